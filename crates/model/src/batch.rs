//! One row of tokens: ids, what follows each, and the borders of the sequences in it.

use std::ops::Range;
use std::rc::Rc;

pub use pupil_tensor::kernels::attention::Span;
use pupil_tensor::{DType, Indices, Tensor};

use crate::aim::Aim;

/// A row of `T` tokens holding `S` sequences side by side, never padded; no token sees another sequence.
pub struct Batch {
    /// Token ids, `T`.
    pub ids: Indices,
    /// Position of each token in its sequence, from the sequence's offset on, `T`.
    pub positions: Indices,
    /// The id to be predicted at each place, `T`.
    pub targets: Indices,
    /// How much each prediction counts, `[T, 1]`; 0 where nothing is learned.
    pub weights: Tensor,
    /// Which rows attend to which, `S`.
    pub spans: Rc<Vec<Span>>,
    /// Which part of its sequence each token is in, 0 or 1, `T`; empty if no sequence has parts.
    pub kinds: Indices,
    /// What an encoder reads; empty for models without one.
    pub source: Source,
    /// How its replies were judged, if it is not simply to be repeated.
    pub aim: Option<Aim>,
    scratch: Vec<u32>,
}

/// What an encoder reads: sequence `i` is what the batch's sequence `i` answers.
pub struct Source {
    /// Token ids.
    pub ids: Indices,
    /// The sequences, as many as the batch has.
    pub spans: Rc<Vec<Span>>,
}

impl Default for Source {
    fn default() -> Source {
        Source { ids: Indices::new(&[]), spans: Rc::default() }
    }
}

impl Default for Batch {
    fn default() -> Batch {
        Batch {
            ids: Indices::new(&[]),
            positions: Indices::new(&[]),
            targets: Indices::new(&[]),
            weights: Tensor::zeros(0, 1, DType::F32),
            spans: Rc::default(),
            kinds: Indices::new(&[]),
            source: Source::default(),
            aim: None,
            scratch: Vec::new(),
        }
    }
}

impl Batch {
    /// A batch to train or evaluate on.
    ///
    /// # Panics
    /// As [`Batch::fill`].
    pub fn new(ids: &[u32], targets: &[u32], weights: &[f32], spans: &[Range<usize>]) -> Batch {
        let mut batch = Batch::default();
        batch.fill(ids, targets, weights, spans);
        batch
    }

    /// Whole sequences to read, without targets: each of `spans` starts at position 0.
    pub fn reading(ids: &[u32], spans: &[Range<usize>]) -> Batch {
        let mut batch = Batch::default();
        batch.fill(ids, &vec![0; ids.len()], &vec![0.0; ids.len()], spans);
        batch
    }

    /// New tokens of sequences that have a past: `offsets[i]` is the position of the first token of `spans[i]`.
    pub fn continuing(ids: &[u32], spans: &[Range<usize>], offsets: &[usize]) -> Batch {
        assert_eq!(spans.len(), offsets.len(), "Batch::continuing: one offset for each span");
        let mut batch = Batch::reading(ids, spans);
        let mut positions = batch.positions.to_vec();
        for (s, &offset) in spans.iter().zip(offsets) {
            positions[s.clone()].iter_mut().for_each(|p| *p += offset as u32);
        }
        batch.positions = Indices::new(&positions);
        batch
    }

    /// Refills the batch, reusing its memory.
    ///
    /// # Panics
    /// If the lengths differ or the spans are not in order within the row.
    pub fn fill(&mut self, ids: &[u32], targets: &[u32], weights: &[f32], spans: &[Range<usize>]) {
        let t = ids.len();
        assert!(
            targets.len() == t && weights.len() == t,
            "batch: {t} ids, {} targets, {} weights",
            targets.len(),
            weights.len()
        );
        self.scratch.clear();
        self.scratch.resize(t, 0);
        let mut end = 0;
        for s in spans {
            assert!(s.start >= end && s.end <= t, "batch: span {s:?} out of order in a row of {t} tokens");
            end = s.end;
            self.scratch[s.clone()].iter_mut().enumerate().for_each(|(i, p)| *p = i as u32);
        }
        self.ids = Indices::new(ids);
        self.kinds = Indices::new(&[]);
        self.aim = None;
        self.positions = Indices::new(&self.scratch);
        self.targets = Indices::new(targets);
        self.weights = Tensor::from_f32(weights, t, 1, DType::F32);
        let own = Rc::make_mut(&mut self.spans);
        own.clear();
        own.extend(spans.iter().map(|s| Span { queries: s.clone(), keys: s.clone() }));
    }

    /// Sets which part of its sequence each token is in.
    ///
    /// # Panics
    /// If there is not one for each token, or none at all.
    pub fn set_kinds(&mut self, kinds: &[u32]) {
        assert!(kinds.is_empty() || kinds.len() == self.tokens(), "batch: a part for each token, or none");
        self.kinds = Indices::new(kinds);
    }

    /// Sets what the encoder reads.
    ///
    /// # Panics
    /// If there are not as many sequences as the batch has.
    pub fn set_source(&mut self, ids: &[u32], spans: &[Range<usize>]) {
        assert_eq!(spans.len(), self.spans.len(), "batch: as many sequences to read as to write");
        self.source.ids = Indices::new(ids);
        let own = Rc::make_mut(&mut self.source.spans);
        own.clear();
        own.extend(spans.iter().map(|s| Span { queries: s.clone(), keys: s.clone() }));
    }

    /// Which rows of the batch attend to which rows of what the encoder read.
    ///
    /// # Panics
    /// If nothing was read.
    pub fn across(&self) -> Rc<Vec<Span>> {
        assert_eq!(self.source.spans.len(), self.spans.len(), "batch: every sequence answers something");
        let pairs = self.spans.iter().zip(self.source.spans.iter());
        Rc::new(pairs.map(|(s, r)| Span { queries: s.queries.clone(), keys: r.keys.clone() }).collect())
    }

    /// The rows of the sequences' last tokens, `[S, cols]`.
    pub fn ends(&self, x: &Tensor) -> Tensor {
        let ends: Vec<usize> = self.spans.iter().map(|s| s.queries.end - 1).collect();
        x.select_rows(&ends)
    }

    /// What the mean of its losses is taken over: learned targets, or what its aim counts.
    pub fn count(&self) -> f64 {
        match &self.aim {
            None => self.weights.f32s().iter().map(|&w| f64::from(w)).sum(),
            Some(aim) => aim.count(),
        }
    }

    /// The places of the learned targets.
    pub fn learned(&self) -> Vec<usize> {
        (0..self.tokens()).filter(|&t| self.weights.f32s()[t] != 0.0).collect()
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}
