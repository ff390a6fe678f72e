//! Words that an encoder has met, with their ids.

use rustc_hash::FxHashMap;

/// Words remembered at most.
const MOST: usize = 1 << 17;

/// A word of up to 15 bytes with its length, as a number: no memory to follow, nothing to compare byte by byte.
type Key = u128;

/// The ids of words that were encoded before.
#[derive(Default)]
pub(crate) struct Memory {
    /// Of each word where its ids lie, and how many there are.
    known: FxHashMap<Key, (u32, u32)>,
    ids: Vec<u32>,
}

#[inline]
fn key(word: &[u8]) -> Option<Key> {
    if word.len() > 15 {
        return None;
    }
    let mut bytes = [0; 16];
    bytes[..word.len()].copy_from_slice(word);
    bytes[15] = word.len() as u8;
    Some(u128::from_le_bytes(bytes))
}

impl Memory {
    /// Appends the ids of a word, which `make` appends if it is new.
    #[inline]
    pub(crate) fn word(&mut self, word: &[u8], ids: &mut Vec<u32>, make: impl FnOnce(&mut Vec<u32>)) {
        let Some(key) = key(word) else { return make(ids) };
        if let Some((begin, n)) = self.known.get(&key) {
            ids.extend_from_slice(&self.ids[*begin as usize..(begin + n) as usize]);
            return;
        }
        let begin = ids.len();
        make(ids);
        if self.known.len() < MOST {
            let made = &ids[begin..];
            self.known.insert(key, (self.ids.len() as u32, made.len() as u32));
            self.ids.extend_from_slice(made);
        }
    }
}
