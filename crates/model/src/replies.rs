//! Encoders and decoders: one network reads what was said, another writes a reply to it, word by word.

use pupil_tensor::{Graph, Tensor};
use serde::{Deserialize, Serialize};

use crate::Model;

/// Largest size in settings: a number beyond it in a file is a mistake, and products of sizes stay within 64 bits.
pub(crate) const MOST: usize = 1 << 20;

/// Most tokens of a sequence in settings.
const LONGEST: usize = 1 << 15;

/// The form of the pairs that an encoder and decoder learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// Most tokens that are read, and most that are written.
    pub length: usize,
    /// Whether what is read is filled up with id 0 to that length, because it was so in training.
    pub padded: bool,
    /// What the decoder reads first.
    pub start: u32,
    /// Whether that is a word of the reply: without a token for the start the first word is given.
    pub start_is_said: bool,
    /// What ends a reply.
    pub end: u32,
}

/// What searching for replies needs of an architecture.
pub trait EncoderDecoder: Model {
    /// The form of what it reads and writes.
    fn form(&self) -> Form;

    /// Reads what was said and is ready to write one reply; of an empty `source`: what is said to nobody.
    fn begin<'m>(&'m self, g: &mut Graph<'_>, source: &[u32]) -> Box<dyn Writer + 'm>;

    /// How much each token of a reply looked at each token of what was read while it was chosen; `None` of architectures without attention.
    fn alignment(&self, _g: &mut Graph<'_>, _source: &[u32], _reply: &[u32]) -> Option<Alignment> {
        None
    }
}

/// Replies in the middle of being written: at first one that is empty.
pub trait Writer {
    /// Reads the newest token of each reply: scores of every next one, `[replies, V]`, f32.
    fn next(&mut self, g: &mut Graph<'_>, newest: &[u32]) -> Tensor;

    /// Goes on with the replies named, in that order, as often as they are named.
    fn keep(&mut self, replies: &[usize]);
}

/// Which part of what was read each token of a reply looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// Tokens that were read.
    pub read: usize,
    /// A row for each token of the reply and one for its end, `[n + 1, read]`; each sums to 1.
    pub weights: Vec<f32>,
}

impl Form {
    /// Says what is wrong with it.
    ///
    /// # Errors
    /// If the length is zero or an id is not in the vocabulary.
    pub fn check(&self, vocab: usize) -> Result<(), String> {
        let Form { length, start, end, .. } = *self;
        if !(1..=LONGEST).contains(&length) {
            return Err(format!(
                "settings of an encoder and decoder: length is {length}, it must be at least 1 and at most {LONGEST}"
            ));
        }
        if start.max(end) as usize >= vocab {
            return Err(format!(
                "settings of an encoder and decoder: start {start} or end {end} is no id of {vocab}"
            ));
        }
        Ok(())
    }

    /// What is read of a text: cut to the length, filled up if it was so in training, never nothing.
    pub fn source(&self, ids: &[u32]) -> Vec<u32> {
        let mut read = ids[..ids.len().min(self.length)].to_vec();
        if self.padded || read.is_empty() {
            read.resize(self.length, 0);
        }
        read
    }
}
