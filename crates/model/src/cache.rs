//! Keys and values of what was read: generation appends to them instead of reading the past again.

use std::ops::Range;

use pupil_tensor::{DType, Tensor};

use crate::batch::Span;

/// The past of several sequences, each with room for `capacity` tokens. Whoever runs a forward pass advances it afterwards.
pub struct KvCache {
    /// Keys and values of each layer, `[sequences · capacity, K·E]`.
    layers: Vec<[Tensor; 2]>,
    capacity: usize,
    lengths: Vec<usize>,
}

impl KvCache {
    /// An empty cache.
    pub fn new(layers: usize, width: usize, sequences: usize, capacity: usize, dtype: DType) -> KvCache {
        let room = || Tensor::zeros(sequences * capacity, width, dtype);
        KvCache {
            layers: (0..layers).map(|_| [room(), room()]).collect(),
            capacity,
            lengths: vec![0; sequences],
        }
    }

    /// Tokens that each sequence can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Tokens that a sequence holds.
    pub fn len(&self, sequence: usize) -> usize {
        self.lengths[sequence]
    }

    /// Whether no sequence holds anything.
    pub fn is_empty(&self) -> bool {
        self.lengths.iter().all(|&n| n == 0)
    }

    /// Forgets what a sequence holds past its first `len` tokens.
    pub fn truncate(&mut self, sequence: usize, len: usize) {
        self.lengths[sequence] = self.lengths[sequence].min(len);
    }

    /// The sequences named, in that order, as often as they are named.
    pub fn select(&self, sequences: &[usize]) -> KvCache {
        let copy = |from: &Tensor| {
            let mut to = Tensor::zeros(sequences.len() * self.capacity, from.cols(), from.dtype());
            for (i, &s) in sequences.iter().enumerate() {
                let first = s * self.capacity;
                to.copy_columns(i * self.capacity, from, first..first + self.lengths[s], 0..from.cols());
            }
            to
        };
        KvCache {
            layers: self.layers.iter().map(|[k, v]| [copy(k), copy(v)]).collect(),
            capacity: self.capacity,
            lengths: sequences.iter().map(|&s| self.lengths[s]).collect(),
        }
    }

    /// Counts the tokens of a forward pass as read: span `i` of the batch belongs to sequence `i`.
    pub fn advance(&mut self, spans: &[Span]) {
        for (length, span) in self.lengths.iter_mut().zip(spans) {
            *length += span.queries.len();
        }
    }

    /// Which rows of the cache each span's queries see, the new tokens included.
    ///
    /// # Panics
    /// If a sequence has no room for its new tokens.
    pub(crate) fn spans(&self, spans: &[Span]) -> Vec<Span> {
        assert!(spans.len() <= self.lengths.len(), "cache: more spans than sequences");
        let placed = spans.iter().enumerate().map(|(i, s)| {
            let end = self.lengths[i] + s.queries.len();
            assert!(end <= self.capacity, "cache: {end} tokens do not fit into {}", self.capacity);
            Span { queries: s.queries.clone(), keys: i * self.capacity..i * self.capacity + end }
        });
        placed.collect()
    }

    /// Writes the new tokens' keys and values (columns `keys` and `values` of `qkv`) behind the past of one layer.
    pub(crate) fn append(
        &mut self,
        layer: usize,
        qkv: &Tensor,
        keys: Range<usize>,
        values: Range<usize>,
        placed: &[Span],
    ) {
        for (store, columns) in self.layers[layer].iter_mut().zip([keys, values]) {
            for span in placed {
                let first = span.keys.end - span.queries.len();
                store.copy_columns(first, qkv, span.queries.clone(), columns.clone());
            }
        }
    }

    /// The keys and values of one layer.
    pub(crate) fn layer(&self, layer: usize) -> &[Tensor; 2] {
        &self.layers[layer]
    }
}
