//! A recurrent decoder with additive attention: before each step its state asks what was read, and what it is told enters the gates.
//! Bahdanau, Cho & Bengio 2015: `e_tj = v · tanh(W s_{t−1} + U h_j)`, `α_t = softmax(e_t)`, `c_t = Σ_j α_tj h_j`, `s_t = cell(s_{t−1}, y_{t−1}, c_t)`.
//!
//! A context is only ever multiplied by matrices, and `C · Σ_j α_j h_j = Σ_j α_j (C · h_j)`: so one product over all tokens that were read, before
//! the walk, gives keys `U h_j`, what each adds to the gates, and what it adds to the readout, side by side: the source `[T', A + G·H + R]`. A step
//! is then one product of the states (queries and recurrent gates, weight `[A + G·H, H]`), the weights, and the weighted sum.
//!
//! Forward saves the products' queries, the weights and the cells' records. Backward walks back in time; the weight's gradient is one product.

use std::rc::Rc;

use crate::kernels::additive::{self, Ranges, Source};
use crate::kernels::arithmetic;
use crate::kernels::attention::Span;
use crate::kernels::matmul::{self, Epilogue};
use crate::kernels::matrix::{DType, Elements, Mat, MatMut};
use crate::kernels::recurrent::{Cell, backward, forward};
use crate::ops::history::History;
use crate::ops::recurrent::{State, add_to_hidden};
use crate::parameters::ParameterId;
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;

/// A cell that attends, with its weights.
#[derive(Clone, Copy, Debug)]
pub struct Attentive {
    /// Kind of cell.
    pub cell: Cell,
    /// `[A + G·H, H]`: the query, then the recurrent gates.
    pub weight: ParameterId,
    /// `[1, A + G·H]`, added to their product (GRU).
    pub bias: Option<ParameterId>,
    /// `v [1, A]`.
    pub score: ParameterId,
}

/// What an attentive cell did.
pub struct Attended {
    /// Hidden states, `[T, H]`.
    pub hidden: Tensor,
    /// What attention adds to the readout, `[T, R]`.
    pub readout: Tensor,
    /// Weights of the tokens of each one's source, `[T, longest]`, zeros behind; without gradient.
    pub alignment: Tensor,
    /// The states after the sequences.
    pub last: State,
}

pub(crate) struct Saved {
    attentive: Attentive,
    history: History,
    /// `[T, A + G·H]` of the steps, in order of time.
    products: Tensor,
    /// Readout and weights of the steps, in order of time.
    kept: Tensor,
    source: Tensor,
    ranges: Ranges,
    gates: Option<Node>,
    tokens: usize,
    initial: [Option<Node>; 2],
    hidden: Node,
    readout: Node,
    last: [Node; 2],
    dtype: DType,
}

impl Graph<'_> {
    /// Runs an attentive cell over the sequences in `spans`: their queries are rows of `gates [T, G·H]`, their keys rows of `source
    /// [T', A + G·H + R]`. Tokens outside of them give zeros. With a tape no row of the source may be in two spans.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn attentive(
        &mut self,
        attentive: Attentive,
        gates: &Tensor,
        source: &Tensor,
        spans: &Rc<Vec<Span>>,
        initial: Option<&State>,
    ) -> Attended {
        let Attentive { cell, weight, bias, score } = attentive;
        let ([both, width], [_, keys]) = (self.shape(weight), self.shape(score));
        let columns = cell.gates() * width;
        assert!(
            both == keys + columns && gates.cols() == columns && source.cols() >= both,
            "attentive {cell:?}: gates are {:?}, the source {:?}, the weight {both}×{width}, keys {keys} wide",
            gates.shape(),
            source.shape()
        );
        let mut history = History::new(cell, width, spans, false, initial);
        let order = history.schedule.order.iter();
        let ranges = Ranges::new(order.map(|&s| spans[s].keys.clone()).collect());
        let looked_at = view(source, [keys, columns], &ranges, self.parameters.get(score).data());
        let total = history.schedule.total();
        let mut products = Tensor::new(total, both, DType::F32);
        let mut kept = Tensor::new(total, looked_at.kept(), DType::F32);
        let mut told = Tensor::new(spans.len(), columns, DType::F32);
        let mut rows = Vec::new();
        {
            let panels = self.parameters.forward_panels(weight, self.dtype, self.keep);
            let epilogue =
                Epilogue { bias: bias.map(|b| self.parameters.get(b).data()), ..Epilogue::default() };
            for t in 0..history.schedule.steps() {
                let (n, offset) = (history.schedule.active[t], history.schedule.offsets[t]);
                history.schedule.rows(t, &mut rows);
                let hidden = history.hidden(t, &history.look(t).0);
                let product = &mut products.f32s_mut()[offset * both..][..n * both];
                matmul::matmul(hidden, &panels, MatMut::f32(product, n, both), &epilogue);
                let told = &mut told.f32s_mut()[..n * columns];
                let kept = &mut kept.f32s_mut()[offset * looked_at.kept()..][..n * looked_at.kept()];
                additive::forward(looked_at, product, both, gates.f32s(), &rows, told, kept);
                let (before, now) = history.step(t);
                let own: Vec<u32> = (0..n as u32).collect();
                forward(cell, width, told, &own, &product[keys..], both, before, now);
            }
        }
        let (tokens, readout) = (gates.rows(), looked_at.readout);
        let (hidden, mut last) = history.results(tokens);
        let of = |at: usize, cols: usize| history.schedule.tokens(kept.f32s(), kept.cols(), at, cols, tokens);
        let (mut readout, alignment) = (of(0, readout), of(readout, ranges.longest()));
        let nodes = self.nodes(&mut last);
        readout.node = self.tape.as_mut().map(|t| t.node());
        let said = readout.node;
        let initial = initial.map_or([None; 2], |s| [s.hidden.node, s.cell.node]);
        let (gates, source, dtype) = (gates.node, source.clone(), self.dtype);
        let hidden = self.record(
            hidden,
            |p| format!("attentive {cell:?} `{}`", p.get(weight).name),
            |hidden| {
                Record::Attentive(Box::new(Saved {
                    attentive,
                    history,
                    products,
                    kept,
                    source,
                    ranges,
                    gates,
                    tokens,
                    initial,
                    hidden,
                    readout: said.unwrap_or(hidden),
                    last: nodes.unwrap_or([hidden; 2]),
                    dtype,
                }))
            },
        );
        Attended { hidden, readout, alignment, last }
    }
}

/// The source as the kernel sees it.
fn view<'a>(
    source: &'a Tensor,
    [keys, gates]: [usize; 2],
    ranges: &'a Ranges,
    score: &'a [f32],
) -> Source<'a> {
    Source { data: source.f32s(), keys, gates, readout: source.cols() - keys - gates, ranges, score }
}

impl Saved {
    /// Tells the parameters whose gradients [`Saved::backward`] adds to.
    pub(crate) fn each_parameter(&self, tell: &mut dyn FnMut(ParameterId)) {
        let Attentive { weight, bias, score, .. } = self.attentive;
        [Some(weight), bias, Some(score)].into_iter().flatten().for_each(tell);
    }

    pub(crate) fn backward(self: Box<Self>, undo: &mut Undo<'_>) {
        let Saved { attentive: Attentive { cell, weight, bias, score }, history, products, dtype, .. } =
            *self;
        let (kept, source) = (&self.kept, &self.source);
        let (dy, dlast) = (undo.take(self.hidden), self.last.map(|n| undo.take(n)));
        let dreadout = undo.take(self.readout);
        let parameters = undo.parameters();
        let ([both, width], [_, keys]) = (parameters.get(weight).shape, parameters.get(score).shape);
        let columns = both - keys;
        let looked_at = view(source, [keys, columns], &self.ranges, parameters.get(score).data());
        let schedule = &history.schedule;
        let mut carry = history.carry(&dlast);
        let mut d = Tensor::new(schedule.total(), 2 * columns, DType::F32);
        let mut dproducts = Tensor::new(schedule.total(), both, DType::F32);
        let mut dsource = Tensor::zeros(source.rows(), source.cols(), DType::F32);
        let mut dscore = Tensor::zeros(schedule.order.len(), keys, DType::F32);
        let mut rows = Vec::new();
        {
            let panels = parameters.backward_panels(weight, dtype);
            for t in (0..schedule.steps()).rev() {
                let (n, offset) = (schedule.active[t], schedule.offsets[t]);
                schedule.rows(t, &mut rows);
                let (before, now) = history.look(t);
                let dt = &mut d.f32s_mut()[offset * 2 * columns..][..n * 2 * columns];
                let carry = &mut carry.f32s_mut()[..n * 2 * width];
                backward(cell, width, dy.as_ref().map(Tensor::f32s), &rows, now, before, carry, dt);
                let step = additive::Backward {
                    queries: &products.f32s()[offset * both..][..n * both],
                    stride: both,
                    kept: &kept.f32s()[offset * kept.cols()..][..n * kept.cols()],
                    gates: dt,
                    readout: dreadout.as_ref().map(Tensor::f32s),
                    rows: &rows,
                };
                let product = &mut dproducts.f32s_mut()[offset * both..][..n * both];
                additive::backward(looked_at, step, product, dsource.f32s_mut(), dscore.f32s_mut());
                add_to_hidden(Mat::new(Elements::F32(product), n, both, both), &panels, carry, width);
            }
        }
        let states = history.states();
        let (dw, accumulate) = undo.gradients().contribute(weight);
        matmul::matmul_tn(dproducts.view(), states.view(), MatMut::f32(dw, both, width), accumulate, dtype);
        if let Some(b) = bias {
            arithmetic::column_sums(dproducts.f32s(), both, undo.gradients().accumulator(b));
        }
        arithmetic::column_sums(dscore.f32s(), keys, undo.gradients().accumulator(score));
        if let Some(node) = self.gates {
            undo.give(node, schedule.tokens(d.f32s(), 2 * columns, 0, columns, self.tokens));
        }
        if let Some(node) = source.node {
            undo.give(node, dsource);
        }
        for (at, node) in [0, width].into_iter().zip(self.initial) {
            if let Some(node) = node {
                undo.give(node, schedule.scatter(carry.f32s(), 2 * width, at, width));
            }
        }
    }
}
