//! How likely a model finds texts: bits per byte of documents, and the likeliest of some choices.

use std::ops::Range;

use pupil_model::{Batch, Gpt, Model};
use pupil_tensor::{DType, Graph};
use pupil_tokenizer::Tokenizer;

/// Tokens of a row, if no sequence is longer.
const ROW: usize = 1024;

/// A model that judges texts.
pub struct Judge<'a> {
    /// The model.
    pub gpt: &'a Gpt,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Element type of matrix operands.
    pub dtype: DType,
    /// The id that stands before a text, if there is one.
    pub begin: Option<u32>,
}

/// Part of a sequence whose likelihood is asked for.
struct Asked {
    ids: Vec<u32>,
    /// Places of `ids` that are predicted; at least 1.
    predicted: Range<usize>,
}

/// The likelihood of a text after another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likelihood {
    /// The logarithm of its probability; of a text of which nothing can be predicted −∞, as of an empty one: nothing is no answer.
    pub log: f64,
    /// Characters of the text.
    pub characters: usize,
}

impl Judge<'_> {
    /// Bits and bytes of each document. Every token is predicted once, with at least half a context before it where the document has that; the
    /// first token only if there is something that stands before a text. Bytes are those of the tokens that are predicted: of all but that
    /// one the document's own.
    pub fn bits(&self, documents: &[&str], done: &mut dyn FnMut(usize)) -> Vec<(f64, u64)> {
        let mut result = Vec::with_capacity(documents.len());
        for (i, document) in documents.iter().enumerate() {
            let mut ids: Vec<u32> = self.begin.into_iter().collect();
            ids.extend(self.tokenizer.encode(document));
            let mut bytes = document.len() as u64;
            if let (None, Some(first)) = (self.begin, ids.first().and_then(|&id| self.tokenizer.bytes(id))) {
                bytes = bytes.saturating_sub(first.len() as u64);
            }
            let windows = windows(ids.len(), self.gpt.config.context);
            let asked = windows.map(|(all, predicted)| Asked {
                predicted: predicted.start - all.start..predicted.end - all.start,
                ids: ids[all].to_vec(),
            });
            let logs = self.logs(&asked.collect::<Vec<_>>());
            let bits = -logs.iter().sum::<f64>() / std::f64::consts::LN_2;
            result.push((bits, if logs.is_empty() { 0 } else { bytes }));
            done(i + 1);
        }
        result
    }

    /// The likelihood of each text after its context. A context that is too long loses its beginning, a text that is too long even alone its
    /// end.
    pub fn after(&self, pairs: &[(&str, &str)], done: &mut dyn FnMut(usize)) -> Vec<Likelihood> {
        let room = self.gpt.config.context;
        let asked = |(context, text): &(&str, &str)| {
            let mut ids: Vec<u32> = self.begin.into_iter().collect();
            ids.extend(self.tokenizer.encode(context));
            // Without anything before it the first token of the text cannot be predicted.
            let from = ids.len().max(1);
            ids.extend(self.tokenizer.encode(text));
            let from = from.min(ids.len());
            let cut = ids.len().saturating_sub(room + 1).min(from.saturating_sub(1));
            let end = ids.len().min(cut + room + 1);
            Asked { predicted: from - cut..(end - cut).max(from - cut), ids: ids[cut..end].to_vec() }
        };
        let mut result = Vec::with_capacity(pairs.len());
        for part in pairs.chunks(64) {
            let all: Vec<Asked> = part.iter().map(asked).collect();
            for ((asked, log), (_, text)) in all.iter().zip(self.logs(&all)).zip(part) {
                let log = if asked.predicted.is_empty() { f64::NEG_INFINITY } else { log };
                result.push(Likelihood { log, characters: text.trim().chars().count() });
            }
            done(result.len());
        }
        result
    }

    /// The log-likelihood of what is asked for of each sequence.
    fn logs(&self, all: &[Asked]) -> Vec<f64> {
        let mut logs = Vec::with_capacity(all.len());
        let mut from = 0;
        while from < all.len() {
            let mut to = from;
            let mut tokens = 0;
            while to < all.len() && (to == from || tokens + all[to].ids.len() <= ROW) {
                tokens += all[to].ids.len();
                to += 1;
            }
            self.row(&all[from..to], &mut logs);
            from = to;
        }
        logs
    }

    fn row(&self, part: &[Asked], logs: &mut Vec<f64>) {
        let (mut ids, mut spans, mut places, mut targets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for a in part {
            let first = ids.len();
            // The last id is predicted, not read.
            let read = a.predicted.end.saturating_sub(1).min(a.ids.len());
            if !a.predicted.is_empty() {
                ids.extend_from_slice(&a.ids[..read]);
                spans.push(first..ids.len());
            }
            for p in a.predicted.clone() {
                places.push(first + p - 1);
                targets.push(a.ids[p] as usize);
            }
        }
        let each: Vec<f64> = if places.is_empty() {
            Vec::new()
        } else {
            let batch = Batch::reading(&ids, &spans);
            let mut graph = Graph::inference(self.gpt.parameters(), self.dtype);
            let hidden = self.gpt.forward(&mut graph, &batch, None).select_rows(&places);
            let scores = self.gpt.logits(&mut graph, &hidden).to_vec();
            let rows = scores.chunks_exact(self.gpt.config.vocab);
            rows.zip(targets).map(|(row, target)| log_softmax(row, target)).collect()
        };
        let mut each = each.into_iter();
        logs.extend(part.iter().map(|a| each.by_ref().take(a.predicted.len()).sum::<f64>()));
    }
}

fn log_softmax(scores: &[f32], target: usize) -> f64 {
    let most = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = scores.iter().map(|&s| (f64::from(s) - most).exp()).sum();
    f64::from(scores[target]) - most - sum.ln()
}

/// What is read and what is predicted of a sequence of `n` ids, so that a model of `context` tokens predicts each id but the first once.
fn windows(n: usize, context: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let (room, mut predicted) = (context + 1, 1);
    std::iter::from_fn(move || {
        if predicted >= n {
            return None;
        }
        // The first window predicts all it can, each later one its last half.
        let end = if predicted == 1 { n.min(room) } else { n.min(predicted + (room / 2).max(1)) };
        let window = (end.saturating_sub(room)..end, predicted..end);
        predicted = end;
        Some(window)
    })
}

/// Which of some choices is likeliest, first as they are, then for each of their characters: of equals the first. `None` of no choices.
pub fn likeliest(choices: &[Likelihood]) -> [Option<usize>; 2] {
    let by = |score: fn(&Likelihood) -> f64| {
        let mut best: Option<usize> = None;
        for (i, c) in choices.iter().enumerate() {
            if best.is_none_or(|b| score(c) > score(&choices[b])) {
                best = Some(i);
            }
        }
        best
    };
    [by(|c| c.log), by(|c| c.log / c.characters.max(1) as f64)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::tests::model;

    fn tokenizer() -> Tokenizer {
        pupil_tokenizer::train(["ab"], 258, &["<|endoftext|>"])
    }

    #[test]
    fn windows_predict_everything_once_with_half_a_context_before() {
        for context in [1, 2, 3, 8, 9] {
            for n in 0..60 {
                let mut next = 1;
                for (all, predicted) in windows(n, context) {
                    assert!(all.len() <= context + 1 && predicted.start == next && predicted.end == all.end);
                    assert!(predicted.start > all.start);
                    assert!(
                        predicted.start == 1 || predicted.start - all.start >= context / 2,
                        "{all:?} {predicted:?}"
                    );
                    next = predicted.end;
                }
                assert!(next == n.max(1), "{next} of {n}");
            }
        }
    }

    #[test]
    fn documents_of_any_length_have_their_bytes() {
        let t = tokenizer();
        let gpt = wide(&t, 16);
        let judge = Judge { gpt: &gpt, tokenizer: &t, dtype: DType::F32, begin: t.special("<|endoftext|>") };
        let long = "hello, 你好 ".repeat(20);
        let bits = judge.bits(&["", "a", &long, "hello"], &mut |_| {});
        assert_eq!(bits.iter().map(|b| b.1).collect::<Vec<_>>(), [0, 1, long.len() as u64, 5]);
        assert!(bits[0].0 == 0.0 && bits.iter().all(|b| b.0 >= 0.0 && b.0.is_finite()));
        // A document that fits is judged as a choice after nothing is.
        let whole = judge.after(&[("", "hello")], &mut |_| {})[0];
        assert!((whole.log / -std::f64::consts::LN_2 - bits[3].0).abs() < 1e-3, "{whole:?} {:?}", bits[3]);
        assert!(judge.bits(&[], &mut |_| {}).is_empty());
        // Without anything that stands before a text its first token is not predicted.
        let bare = Judge { begin: None, ..judge };
        assert_eq!(
            bare.bits(&["hello", "h", ""], &mut |_| {}).iter().map(|b| b.1).collect::<Vec<_>>(),
            [4, 0, 0]
        );
    }

    /// A model with as many words as a tokenizer has.
    fn wide(t: &Tokenizer, context: usize) -> Gpt {
        let mut config = model(context).config;
        config.vocab = t.len();
        Gpt::new(config, 5)
    }

    #[test]
    fn choices_side_by_side_are_judged_as_alone() {
        let t = tokenizer();
        let gpt = wide(&t, 32);
        let judge = Judge { gpt: &gpt, tokenizer: &t, dtype: DType::F32, begin: t.special("<|endoftext|>") };
        let context = "The sky is ".repeat(9);
        let pairs = [
            (context.as_str(), "blue"),
            ("x", "a longer answer"),
            ("", "b"),
            ("x", ""),
            ("x", "blue"),
            ("x", "blue"),
        ];
        let together = judge.after(&pairs, &mut |_| {});
        for (pair, judged) in pairs.iter().zip(&together) {
            let alone = judge.after(&[*pair], &mut |_| {})[0];
            assert!((alone.log - judged.log).abs() < 1e-3 || alone.log == judged.log, "{pair:?}");
        }
        // An empty choice is never the likeliest, and of two that are the same the first is.
        assert_eq!(together[3].log, f64::NEG_INFINITY);
        let [plain, by_length] = likeliest(&together[3..]);
        assert_eq!((plain, by_length), (Some(1), Some(1)));
        assert_eq!(likeliest(&[]), [None, None]);
        assert_eq!(likeliest(&together[3..4]), [Some(0), Some(0)]);
    }

    #[test]
    fn probabilities_sum_to_one() {
        let scores = [1000.0, -3.0, 999.0, 2.5];
        let sum: f64 = (0..4).map(|i| log_softmax(&scores, i).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}
