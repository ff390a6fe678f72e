//! Optimisers: AdamW for everything, or Muon for the matrices and AdamW for the rest.
//!
//! AdamW (Loshchilov & Hutter 2019) equals `torch.optim.AdamW`. Muon (Jordan et al. 2024) makes the momentum of each matrix orthogonal by
//! five Newton–Schulz steps; its update is scaled by `0.2·√max(rows, cols)`, so that it has the size of AdamW's and one learning
//! rate serves both (Liu et al. 2025).

use std::sync::{Mutex, PoisonError};

use pupil_tensor::kernels::adamw::{self, AdamW};
use pupil_tensor::kernels::arithmetic;
use pupil_tensor::kernels::newton_schulz::NewtonSchulz;
use pupil_tensor::kernels::pool;
use pupil_tensor::{DType, Gradients, Parameters, Role};
use serde::{Deserialize, Serialize};

/// The settings of an optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Peak learning rate of AdamW's parameters.
    pub learning_rate: f32,
    /// Peak learning rate of Muon's matrices; `None`: AdamW for all.
    pub muon: Option<f32>,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Whether it is added before the moment's bias is corrected, as in Keras, so that small gradients move little in the first steps;
    /// otherwise after, as in PyTorch.
    #[serde(default)]
    pub eps_first: bool,
    /// Decay of matrices and tables (not of gains and biases), times the learning rate.
    pub weight_decay: f32,
    /// Largest norm of all gradients together; 0: no limit.
    pub clip: f32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            learning_rate: 1e-3,
            muon: None,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            eps_first: false,
            weight_decay: 0.1,
            clip: 1.0,
        }
    }
}

/// Muon's momentum.
const MUON_MOMENTUM: f32 = 0.95;

/// What the optimiser remembers of one parameter.
#[derive(Default)]
struct Moments {
    /// Empty for frozen parameters.
    first: Vec<f32>,
    /// Empty for Muon's matrices.
    second: Vec<f32>,
}

/// Elements of a matrix that one thread moves.
const SMALL: usize = 1 << 18;

/// What a move needs beside its matrix.
#[derive(Default)]
struct Workspace {
    newton_schulz: NewtonSchulz,
    update: Vec<f32>,
}

/// A step of Muon for one matrix.
struct Move<'a> {
    weights: &'a mut [f32],
    gradient: &'a [f32],
    momentum: &'a mut [f32],
    shape: [usize; 2],
}

impl Move<'_> {
    fn make(&mut self, here: &mut Workspace, rate: f32, decay: f32, scale: f32, dtype: DType) {
        let ([rows, cols], update) = (self.shape, &mut here.update);
        update.resize(self.gradient.len(), 0.0);
        // momentum = μ·momentum + g, update = g + μ·momentum (Nesterov).
        arithmetic::momentum(self.momentum, self.gradient, MUON_MOMENTUM, scale, update);
        here.newton_schulz.orthogonalise(update, rows, cols, dtype);
        let size = 0.2 * (rows.max(cols) as f32).sqrt();
        // w = (1 − rate·decay)·w − rate·size·update
        arithmetic::scale_add(self.weights, decay, -rate * size, update);
    }
}

/// An optimiser with its state.
pub struct Optimiser {
    settings: Settings,
    moments: Vec<Moments>,
    /// As many as threads made moves at the same time.
    workspaces: Mutex<Vec<Workspace>>,
    /// Updates done.
    steps: u64,
}

impl Optimiser {
    /// A fresh optimiser for these parameters.
    pub fn new(settings: Settings, parameters: &Parameters) -> Optimiser {
        let moments = parameters.iter().map(|(_, p)| {
            if p.is_frozen() {
                return Moments::default();
            }
            let muon = settings.muon.is_some() && p.role == Role::Matrix;
            let second = if muon { Vec::new() } else { vec![0.0; p.data().len()] };
            Moments { first: vec![0.0; p.data().len()], second }
        });
        let moments = moments.collect();
        Optimiser { settings, moments, workspaces: Mutex::default(), steps: 0 }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Updates done so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The norm of all gradients together.
    pub fn gradient_norm(parameters: &Parameters, gradients: &mut Gradients) -> f64 {
        let squares = parameters.iter().map(|(id, _)| arithmetic::sum_of_squares(gradients.get(id)));
        squares.sum::<f64>().sqrt()
    }

    /// Changes the parameters by their gradients times `scale`, at `factor` of the peak learning rates.
    pub fn update(
        &mut self,
        parameters: &mut Parameters,
        gradients: &mut Gradients,
        factor: f32,
        scale: f32,
        dtype: DType,
    ) {
        self.steps += 1;
        if let Some(rate) = self.settings.muon {
            self.muon(parameters, gradients, rate * factor, scale, dtype);
        }
        for i in 0..parameters.len() {
            let id = parameters.id(i);
            let p = parameters.get(id);
            if p.is_frozen() || (self.settings.muon.is_some() && p.role == Role::Matrix) {
                continue;
            }
            let s = &self.settings;
            let bias = if s.eps_first { 1.0 - f64::from(s.beta2).powf(self.steps as f64) } else { 1.0 };
            let eps = (f64::from(s.eps) / bias.sqrt()) as f32;
            let rule = AdamW {
                lr: s.learning_rate * factor,
                beta1: s.beta1,
                beta2: s.beta2,
                eps,
                weight_decay: if p.role == Role::Vector { 0.0 } else { s.weight_decay },
            };
            let m = &mut self.moments[i];
            let (w, g) = (parameters.data_mut(id), gradients.get(id));
            adamw::step(w, g, &mut m.first, &mut m.second, &rule, self.steps, scale);
        }
    }

    /// Moves all matrices. Small ones leave a thread nothing to share, so each is done by one thread, several at a time; large ones by all threads,
    /// one after the other. Which way is taken changes no bit.
    fn muon(
        &mut self,
        parameters: &mut Parameters,
        gradients: &mut Gradients,
        rate: f32,
        scale: f32,
        dtype: DType,
    ) {
        let (decay, gradients) = (1.0 - rate * self.settings.weight_decay, gradients.all());
        let matrices = parameters.learning().filter(|(_, role, ..)| *role == Role::Matrix);
        let mut moments = self.moments.iter_mut().enumerate();
        let moves = matrices.filter_map(|(id, _, shape, weights)| {
            let (_, m) = moments.find(|(i, _)| *i == id.index())?;
            Some(Move { weights, gradient: &gradients[id.index()], momentum: &mut m.first, shape })
        });
        let (mut small, mut large): (Vec<Move<'_>>, Vec<Move<'_>>) =
            moves.partition(|m| m.weights.len() <= SMALL);
        let free = &self.workspaces;
        let make = |m: &mut Move<'_>| {
            let mut here = free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            m.make(&mut here, rate, decay, scale, dtype);
            free.lock().unwrap_or_else(PoisonError::into_inner).push(here);
        };
        pool::chunks(&mut small, 1, |_, m| m.iter_mut().for_each(make));
        large.iter_mut().for_each(make);
    }

    /// Its state by parameter name, for a checkpoint: first and second moments (both are empty of frozen parameters, the second for Muon's matrices).
    pub fn state<'a>(
        &'a self,
        parameters: &'a Parameters,
    ) -> impl Iterator<Item = (&'a str, [&'a [f32]; 2])> {
        let pairs = parameters.iter().zip(&self.moments);
        pairs.map(|((_, p), m)| (p.name.as_str(), [m.first.as_slice(), m.second.as_slice()]))
    }

    /// Takes up a state written by [`Optimiser::state`] after `steps` updates.
    ///
    /// # Errors
    /// Names the parameter whose state is missing or has another size.
    pub fn restore(
        &mut self,
        parameters: &Parameters,
        steps: u64,
        mut find: impl FnMut(&str, usize) -> Option<Vec<f32>>,
    ) -> Result<(), String> {
        for (id, p) in parameters.iter() {
            let m = &mut self.moments[id.index()];
            for (k, slot) in [&mut m.first, &mut m.second].into_iter().enumerate() {
                if slot.is_empty() {
                    continue;
                }
                let name = ["first", "second"][k];
                let found = find(&p.name, k).ok_or_else(|| {
                    format!("optimiser state: the {name} moment of `{}` is missing", p.name)
                })?;
                if found.len() != slot.len() {
                    return Err(format!(
                        "optimiser state: the {name} moment of `{}` has {} numbers, the parameter {}",
                        p.name,
                        found.len(),
                        slot.len()
                    ));
                }
                *slot = found;
            }
        }
        self.steps = steps;
        Ok(())
    }
}
