//! Two small networks that read texts word by word in their order: a convolution (after Kim 2014) and an LSTM; each ends in one attention that
//! gathers what was read into the last place, where the class is told.
//!
//! They learn by `train::step` like every network here. The gathering begins as an average, its queries being zero.

use pupil_model::{Batch, Model};
use pupil_tensor::kernels::attention::{Options, Shape};
use pupil_tensor::kernels::random::{self, Key};
use pupil_tensor::{
    Activation, Cell, CrossEntropy, DType, Graph, Loss, ParameterId, Parameters, Recurrence, Role, Tensor,
};
use pupil_train::optim;
use pupil_train::step::{Diverged, Step};

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A window of three words slides over the text, twice.
    Convolution,
    /// A state that is carried from word to word.
    Lstm,
}

/// Width of word vectors and states.
const WIDTH: usize = 64;
/// Words of a text that are read, its last: reviews end with a verdict.
pub(super) const LONGEST: usize = 160;
/// Words of a batch.
const BATCH: usize = 2048;
/// Times that every text is read: few if they are many words, more if they are few.
const EPOCHS: [usize; 2] = [4, 8];
/// Words that are read in all if that lies between.
const WORDS: usize = 1 << 20;
/// Steps that are taken even if the texts are few.
pub(super) const STEPS: usize = 80;
/// Share of elements dropped in learning.
const DROPOUT: f32 = 0.3;

/// A network with its parameters.
pub(super) struct Reader {
    parameters: Parameters,
    tokens: ParameterId,
    body: Body,
    gather: ParameterId,
    head: ParameterId,
    head_bias: ParameterId,
}

enum Body {
    /// Taps of both layers, nearest first, and their biases.
    Convolution([([ParameterId; 3], ParameterId); 2]),
    Lstm {
        input: ParameterId,
        bias: ParameterId,
        recurrent: ParameterId,
    },
}

impl Reader {
    /// A fresh network for ids below `vocab`.
    pub(super) fn new(kind: Kind, vocab: usize, classes: usize, seed: u64) -> Reader {
        let mut p = Parameters::new();
        let tokens = p.add("tok.weight", [vocab, WIDTH], Role::Embedding);
        let body = match kind {
            Kind::Convolution => Body::Convolution([0, 1].map(|l| {
                let tap = |k: usize| format!("layers.{l}.taps.{k}.weight");
                let taps = [0, 1, 2].map(|k| p.add(tap(k), [WIDTH, WIDTH], Role::Matrix));
                (taps, p.add(format!("layers.{l}.bias"), [1, WIDTH], Role::Vector))
            })),
            Kind::Lstm => Body::Lstm {
                input: p.add("input.weight", [4 * WIDTH, WIDTH], Role::Matrix),
                bias: p.add("input.bias", [1, 4 * WIDTH], Role::Vector),
                recurrent: p.add("recurrent.weight", [4 * WIDTH, WIDTH], Role::Matrix),
            },
        };
        let gather = p.add("gather.weight", [3 * WIDTH, WIDTH], Role::Matrix);
        let head = p.add("head.weight", [classes, WIDTH], Role::Matrix);
        let head_bias = p.add("head.bias", [1, classes], Role::Vector);
        let ids: Vec<_> = p.iter().map(|(id, x)| (id, x.role)).collect();
        for (id, role) in ids {
            let deviation = match role {
                Role::Vector => continue,
                Role::Embedding => 0.3,
                _ if matches!(kind, Kind::Convolution) => 1.0 / (3.0 * WIDTH as f32).sqrt(),
                _ => 1.0 / (WIDTH as f32).sqrt(),
            };
            random::normal(Key { seed, stream: id.index() as u64, step: 0 }, 0.0, deviation, p.data_mut(id));
        }
        p.data_mut(gather)[..WIDTH * WIDTH].fill(0.0);
        Reader { parameters: p, tokens, body, gather, head, head_bias }
    }

    /// What was gathered, `[T, D]`: of a text it stands in its last row.
    fn forward(&self, g: &mut Graph<'_>, batch: &Batch) -> Tensor {
        let x = g.embedding(self.tokens, &batch.ids, 1.0);
        let x = g.dropout(x, DROPOUT);
        let h = match &self.body {
            Body::Convolution(layers) => {
                let mut x = x;
                for (taps, bias) in layers {
                    let mut mixed = g.linear_f32(&x, taps[0], Some(*bias));
                    for (k, &tap) in taps.iter().enumerate().skip(1) {
                        let earlier = g.shift(&x, &batch.spans, k);
                        mixed = g.linear_residual(&earlier, tap, None, &mixed);
                    }
                    x = g.activation(&mixed, Activation::Tanh);
                }
                x
            }
            Body::Lstm { input, bias, recurrent } => {
                let gates = g.linear_f32(&x, *input, Some(*bias));
                let cell = Recurrence { cell: Cell::Lstm, weight: *recurrent, bias: None, reversed: false };
                g.recurrent(cell, &gates, &batch.spans, None).0
            }
        };
        let h = g.dropout(h, DROPOUT);
        let qkv = g.linear_f32(&h, self.gather, None);
        let shape = Shape { heads: 1, kv_heads: 1, width: WIDTH };
        let options =
            Options { causal: true, window: None, scale: 1.0 / (WIDTH as f32).sqrt(), softcap: None };
        g.attention(&qkv, &batch.spans, shape, options)
    }

    /// Learns from texts (none empty) and their classes, `steps` steps at least.
    ///
    /// # Errors
    /// If its numbers leave the finite.
    pub(super) fn learn(
        &mut self,
        texts: &[Vec<u32>],
        labels: &[usize],
        steps: usize,
        seed: u64,
    ) -> Result<(), Diverged> {
        let settings =
            optim::Settings { learning_rate: 3e-3, weight_decay: 0.05, beta2: 0.98, ..Default::default() };
        let mut step = Step::new(self, settings, DType::F32, seed);
        let words: usize = texts.iter().map(Vec::len).sum();
        let each = words.div_ceil(BATCH).max(1);
        let epochs = (WORDS / words.max(1)).clamp(EPOCHS[0], EPOCHS[1]).max(steps.div_ceil(each));
        let total = (epochs * each) as f32;
        let mut done = 0.0;
        for epoch in 0..epochs {
            let mut order: Vec<usize> = (0..texts.len()).collect();
            super::shuffle(&mut order, Key { seed, stream: 0xdee9, step: epoch as u64 });
            let mut batch = Vec::new();
            let mut held = 0;
            for (i, &t) in order.iter().enumerate() {
                batch.push(t);
                held += texts[t].len();
                if held >= BATCH || i + 1 == order.len() {
                    // Up in a twentieth, then down in a straight line.
                    let at = done / total;
                    let factor = (at * 20.0 + 0.05).min((1.0 - at).max(0.02)).min(1.0);
                    let packed = pack(texts, labels, &batch);
                    step.run(self, std::slice::from_ref(&packed), factor)?;
                    done += 1.0;
                    batch.clear();
                    held = 0;
                }
            }
        }
        Ok(())
    }

    /// The likeliest class of each text.
    pub(super) fn predict(&self, texts: &[Vec<u32>]) -> Vec<usize> {
        let mut all = Vec::with_capacity(texts.len());
        for some in texts.chunks(32) {
            let order: Vec<usize> = (0..some.len()).collect();
            let batch = pack(some, &vec![0; some.len()], &order);
            let mut g = Graph::inference(&self.parameters, DType::F32);
            let gathered = self.forward(&mut g, &batch);
            let ends = batch.ends(&gathered);
            let scores = g.linear_f32(&ends, self.head, Some(self.head_bias));
            let classes = scores.cols();
            let best = |row: &[f32]| super::largest(&row.iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
            all.extend(scores.to_vec().chunks(classes).map(best));
        }
        all
    }
}

/// Texts side by side; the class is asked at the last word of each.
fn pack(texts: &[Vec<u32>], labels: &[usize], which: &[usize]) -> Batch {
    let (mut ids, mut spans) = (Vec::new(), Vec::new());
    for &t in which {
        let begin = ids.len();
        ids.extend(&texts[t]);
        spans.push(begin..ids.len());
    }
    let (mut targets, mut weights) = (vec![0; ids.len()], vec![0.0; ids.len()]);
    for (s, &t) in spans.iter().zip(which) {
        targets[s.end - 1] = labels[t] as u32;
        weights[s.end - 1] = 1.0;
    }
    Batch::new(&ids, &targets, &weights, &spans)
}

impl Model for Reader {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&self, g: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss {
        let gathered = self.forward(g, batch);
        let gathered = g.dropout(gathered, DROPOUT);
        let options = CrossEntropy { scale, softcap: None, smoothing: 0.0, bias: Some(self.head_bias) };
        g.cross_entropy(&gathered, self.head, &batch.targets, &batch.weights, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_learned_that_no_bag_can_tell() {
        // Class 1 if 1 comes before 2; both are always there.
        let text = |i: u32| {
            let mut t = vec![3 + i % 5; 6];
            let (a, b) = ((i % 3) as usize, 3 + (i / 3 % 3) as usize);
            (t[a], t[b]) = if i.is_multiple_of(2) { (1, 2) } else { (2, 1) };
            t
        };
        let texts: Vec<Vec<u32>> = (0..150).map(text).collect();
        let labels: Vec<usize> = (0..150).map(|i| usize::from(i % 2 == 0)).collect();
        for kind in [Kind::Convolution, Kind::Lstm] {
            let mut r = Reader::new(kind, 8, 2, 1);
            r.learn(&texts, &labels, 200, 1).unwrap();
            let right = r.predict(&texts).iter().zip(&labels).filter(|(a, b)| a == b).count();
            // A bag of words gets half of them. A window sees only neighbours, and some are neighbours.
            let least = if kind == Kind::Lstm { 0.75 } else { 0.6 };
            assert!(right as f64 >= least * 150.0, "{kind:?}: {right}");
        }
    }
}
