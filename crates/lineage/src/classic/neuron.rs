//! The artificial neuron: Rosenblatt's perceptron (1958) learns AND and OR, cannot learn XOR (Minsky & Papert 1969); two layers can.
//!
//! The perceptron learns by its own rule. The two layers learn like every network here: by the tape and `train::step`.

use pupil_model::{Batch, Model};
use pupil_tensor::kernels::random::{self, Key};
use pupil_tensor::{Activation, CrossEntropy, DType, Graph, Loss, ParameterId, Parameters, Role, Tensor};
use pupil_train::optim;
use pupil_train::step::{Diverged, Step};
use serde::{Deserialize, Serialize};

/// The inputs of a gate of two switches.
pub(super) const INPUTS: [[f64; 2]; 4] = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
/// The gates: names and what they give for `INPUTS`.
pub(super) const GATES: [(&str, [bool; 4]); 3] = [
    ("AND", [false, false, false, true]),
    ("OR", [false, true, true, true]),
    ("XOR", [false, true, true, false]),
];
/// Rounds after which the perceptron gives up. For gates that it can learn a handful is enough.
const ROUNDS: usize = 20;
/// Neurons of the hidden layer, and steps of learning.
const HIDDEN: usize = 4;
const STEPS: u64 = 300;
/// Cells of the picture of a network's answers, along each side.
pub(super) const GRID: usize = 24;

/// What a perceptron learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perceptron {
    /// The gate.
    pub gate: String,
    /// Weights of both inputs, and the threshold's negative.
    pub weights: [f64; 3],
    /// Wrong answers in each round.
    pub mistakes: Vec<usize>,
}

impl Perceptron {
    /// Learns a gate: every wrong answer adds the input to the weights or takes it away.
    pub fn learn(gate: &str, answers: [bool; 4]) -> Perceptron {
        let mut p = Perceptron { gate: gate.to_owned(), weights: [0.0; 3], mistakes: Vec::new() };
        for _ in 0..ROUNDS {
            let mut wrong = 0;
            for (x, right) in INPUTS.iter().zip(answers) {
                if p.answer(*x) != right {
                    wrong += 1;
                    let by = if right { 1.0 } else { -1.0 };
                    p.weights = [p.weights[0] + by * x[0], p.weights[1] + by * x[1], p.weights[2] + by];
                }
            }
            p.mistakes.push(wrong);
            if wrong == 0 {
                break;
            }
        }
        p
    }

    /// Whether it fires.
    pub fn answer(&self, x: [f64; 2]) -> bool {
        self.weights[0] * x[0] + self.weights[1] * x[1] + self.weights[2] > 0.0
    }

    /// Whether a whole round went without a mistake.
    pub fn learned(&self) -> bool {
        self.mistakes.last() == Some(&0)
    }
}

/// What two layers learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwoLayers {
    /// Loss after each step, in nats.
    pub losses: Vec<f64>,
    /// The probability of "yes" for each of `INPUTS`.
    pub answers: [f64; 4],
    /// The same over the square from −0.5 to 1.5, `GRID` rows from below.
    pub grid: Vec<f64>,
}

/// Two layers; the ids of a batch are the points that it is asked.
struct Network {
    parameters: Parameters,
    points: Vec<[f64; 2]>,
    hidden: [ParameterId; 2],
    out: [ParameterId; 2],
}

impl Network {
    fn new(points: &[[f64; 2]], seed: u64) -> Network {
        let mut p = Parameters::new();
        let hidden = [
            p.add("hidden.weight", [HIDDEN, 2], Role::Matrix),
            p.add("hidden.bias", [1, HIDDEN], Role::Vector),
        ];
        let out = [p.add("out.weight", [2, HIDDEN], Role::Matrix), p.add("out.bias", [1, 2], Role::Vector)];
        for id in [hidden[0], out[0]] {
            random::normal(Key { seed, stream: id.index() as u64, step: 0 }, 0.0, 1.0, p.data_mut(id));
        }
        Network { parameters: p, points: points.to_vec(), hidden, out }
    }

    fn layer(&self, g: &mut Graph<'_>, batch: &Batch) -> Tensor {
        let x: Vec<f32> = batch.ids.iter().flat_map(|i| self.points[*i as usize].map(|v| v as f32)).collect();
        let x = Tensor::from_f32(&x, batch.tokens(), 2, DType::F32);
        let h = g.linear_f32(&x, self.hidden[0], Some(self.hidden[1]));
        g.activation(&h, Activation::Tanh)
    }

    /// The probability of "yes" at each point.
    fn answers(&self, points: &[[f64; 2]]) -> Vec<f64> {
        let ids: Vec<u32> = (0..points.len() as u32).collect();
        let asked = Network { parameters: Parameters::new(), points: points.to_vec(), ..*self };
        let mut g = Graph::inference(&self.parameters, DType::F32);
        let h = asked.layer(&mut g, &Batch::reading(&ids, std::slice::from_ref(&(0..points.len()))));
        let scores = g.linear_f32(&h, self.out[0], Some(self.out[1])).to_vec();
        scores.chunks(2).map(|s| 1.0 / (1.0 + f64::from(s[0] - s[1]).exp())).collect()
    }
}

impl Model for Network {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&self, g: &mut Graph<'_>, batch: &Batch, scale: f32) -> Loss {
        let h = self.layer(g, batch);
        let options = CrossEntropy { scale, softcap: None, smoothing: 0.0, bias: Some(self.out[1]) };
        g.cross_entropy(&h, self.out[0], &batch.targets, &batch.weights, options)
    }
}

/// Teaches a gate to a network of two layers.
///
/// # Errors
/// If its numbers leave the finite.
pub(super) fn two_layers(answers: [bool; 4], seed: u64) -> Result<TwoLayers, Diverged> {
    let mut network = Network::new(&INPUTS, seed);
    let settings = optim::Settings { learning_rate: 0.05, weight_decay: 0.0, ..optim::Settings::default() };
    let mut step = Step::new(&network, settings, DType::F32, seed);
    let batch = Batch::new(&[0, 1, 2, 3], &answers.map(u32::from), &[1.0; 4], std::slice::from_ref(&(0..4)));
    let mut losses = Vec::new();
    for _ in 0..STEPS {
        losses.push(step.run(&mut network, std::slice::from_ref(&batch), 1.0)?.loss.mean());
    }
    let at = |i: usize| -0.5 + 2.0 * (i as f64 + 0.5) / GRID as f64;
    let points: Vec<[f64; 2]> = (0..GRID * GRID).map(|i| [at(i % GRID), at(i / GRID)]).collect();
    let given = network.answers(&INPUTS);
    Ok(TwoLayers {
        losses,
        answers: [given[0], given[1], given[2], given[3]],
        grid: network.answers(&points),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_neuron_learns_and_and_or_and_two_layers_xor() {
        for (gate, answers) in GATES {
            let p = Perceptron::learn(gate, answers);
            assert_eq!(p.learned(), gate != "XOR", "{p:?}");
            let right = INPUTS.iter().zip(answers).filter(|(x, a)| p.answer(**x) == *a).count();
            assert_eq!(right == 4, gate != "XOR", "{p:?}");
        }
        for seed in 1..4 {
            let n = two_layers(GATES[2].1, seed).unwrap();
            let right = n.answers.iter().zip(GATES[2].1).all(|(p, a)| if a { *p > 0.9 } else { *p < 0.1 });
            assert!(right && n.losses[0] > n.losses[STEPS as usize - 1], "seed {seed}: {:?}", n.answers);
        }
    }
}
