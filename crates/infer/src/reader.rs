//! What a BERT says of texts: hidden words, labels of texts, tags of words, vectors. Sequences are read side by side in rows, without padding.

use std::ops::Range;

use pupil_model::bert::{Embedding, Head, Pooling};
use pupil_model::{Batch, Bert, Model};
use pupil_tensor::{DType, Graph, Tensor};
use pupil_tokenizer::WordPiece;

/// Tokens that are read at a time, if no sequence is longer.
const ROW: usize = 4096;

/// Why a BERT cannot say it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unable(String);

/// A BERT with its tokenizer.
pub struct Reader {
    /// The model.
    pub bert: Bert,
    /// Its tokenizer.
    pub tokenizer: WordPiece,
    /// Element type of matrix operands.
    pub dtype: DType,
}

/// A word that may stand in a hidden one's place.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// Its id.
    pub id: u32,
    /// The piece as in the vocabulary, `##` included.
    pub piece: String,
    /// How likely it is, of all ids.
    pub probability: f32,
}

impl Reader {
    /// A reader.
    ///
    /// # Errors
    /// If the tokenizer has ids that the model does not know, or puts nothing before a text.
    pub fn new(bert: Bert, tokenizer: WordPiece, dtype: DType) -> Result<Reader, Unable> {
        let (ids, vocab) = (tokenizer.len(), bert.config.vocab);
        if ids > vocab {
            return Err(Unable(format!("the tokenizer has {ids} ids, the model {vocab}")));
        }
        if tokenizer.leading() == 0 || bert.config.room() == 0 {
            return Err(Unable(
                "the tokenizer puts no [CLS] before a text, or there is no room for it".into(),
            ));
        }
        Ok(Reader { bert, tokenizer, dtype })
    }

    /// The likeliest words for each `[MASK]` of a text, `count` at most, best first; and whether the text was cut to the context.
    ///
    /// # Errors
    /// If the model does not name words, or no `[MASK]` is left.
    pub fn fill(&self, text: &str, count: usize) -> Result<(Vec<Vec<Guess>>, bool), Unable> {
        let mask = self.tokenizer.special("[MASK]");
        let mask = mask.ok_or_else(|| Unable("the tokenizer has no [MASK]".into()))?;
        let mut ids = Vec::new();
        for (i, part) in text.split("[MASK]").enumerate() {
            ids.extend((i > 0).then_some(mask));
            ids.extend(self.tokenizer.encode(part));
        }
        let cut = ids.len() > self.bert.config.room();
        ids.truncate(self.bert.config.room());
        let ids = self.tokenizer.around(&ids);
        let places: Vec<usize> = (0..ids.len()).filter(|&i| ids[i] == mask).collect();
        if places.is_empty() {
            return Err(Unable("the text has no [MASK] where the word is missing".into()));
        }
        let scores = |g: &mut Graph<'_>, states: &Tensor, _: &[Range<usize>]| {
            vec![self.bert.word_scores(g, &states.select_rows(&places))]
        };
        let scores = self.read(&[ids], scores).pop().flatten();
        let scores = scores.ok_or_else(|| Unable("this BERT has no head that names words".into()))?.to_vec();
        let guesses = scores.chunks(self.bert.config.vocab).map(|scores| {
            let probabilities = softmax(scores);
            let mut order: Vec<u32> = (0..self.tokenizer.len() as u32).collect();
            order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
            let guess = |id: u32| Guess {
                id,
                piece: self.tokenizer.piece(id).unwrap_or_default().to_owned(),
                probability: probabilities[id as usize],
            };
            order.into_iter().take(count).map(guess).collect()
        });
        Ok((guesses.collect(), cut))
    }

    /// How likely each label is, of each text. Long texts lose their middle, as in training.
    ///
    /// # Errors
    /// If the model has no labels for texts.
    pub fn classify(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Unable> {
        let sequence = |text: &&str| {
            let mut ids = self.tokenizer.encode(text);
            self.bert.config.fit(&mut ids);
            self.tokenizer.around(&ids)
        };
        let sequences: Vec<Vec<u32>> = texts.iter().map(sequence).collect();
        let said = self.read(&sequences, |g, states, spans| {
            let firsts: Vec<usize> = spans.iter().map(|s| s.start).collect();
            let pooled = self.bert.pooled(g, &states.select_rows(&firsts));
            match pooled.and_then(|p| self.bert.label_scores(g, &p)) {
                Some(scores) => scores.to_vec().chunks(scores.cols()).map(|s| Some(softmax(s))).collect(),
                None => vec![None; spans.len()],
            }
        });
        said.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| {
            Unable("this BERT has no labels for texts: `pupil finetune` teaches it some".into())
        })
    }

    /// The tag of each word of each sentence.
    ///
    /// # Errors
    /// If the model has no tags for words.
    pub fn tag<S: AsRef<str>>(&self, sentences: &[&[S]]) -> Result<Vec<Vec<usize>>, Unable> {
        let (mut sequences, mut places) = (Vec::new(), Vec::new());
        for (i, words) in sentences.iter().enumerate() {
            let pieces: Vec<Vec<u32>> =
                words.iter().map(|w| self.tokenizer.encode_word(w.as_ref())).collect();
            for run in self.bert.config.runs(&pieces) {
                let (mut ids, mut at) = (Vec::new(), Vec::new());
                for pieces in &pieces[run] {
                    at.push(ids.len() + self.tokenizer.leading());
                    ids.extend_from_slice(pieces);
                }
                ids.truncate(self.bert.config.room());
                sequences.push(self.tokenizer.around(&ids));
                places.push((i, at));
            }
        }
        let said = self.read(&sequences, |g, states, spans| {
            let scores = match self.bert.config.head {
                Head::Token(_) => self.bert.label_scores(g, states),
                _ => None,
            };
            let scores = scores.map(|s| (s.cols(), s.to_vec()));
            let of = |span: &Range<usize>| {
                let (cols, all) = scores.as_ref()?;
                let rows = all[span.start * cols..span.end * cols].chunks(*cols);
                Some(rows.map(best).collect::<Vec<usize>>())
            };
            spans.iter().map(of).collect()
        });
        let mut tags = vec![Vec::new(); sentences.len()];
        for (said, (i, at)) in said.into_iter().zip(places) {
            let said = said.ok_or_else(|| Unable("this BERT has no tags for words".into()))?;
            tags[i].extend(at.into_iter().map(|place| said[place]));
        }
        Ok(tags)
    }

    /// A vector of each text.
    pub fn embed(&self, texts: &[&str], about: Embedding) -> Vec<Vec<f32>> {
        let room =
            about.most.map_or(self.bert.config.room(), |n| n.saturating_sub(2).min(self.bert.config.room()));
        let sequence = |text: &&str| {
            let mut ids = self.tokenizer.encode(text);
            ids.truncate(room);
            self.tokenizer.around(&ids)
        };
        let sequences: Vec<Vec<u32>> = texts.iter().map(sequence).collect();
        self.read(&sequences, |_, states, spans| {
            let (width, states) = (states.cols(), states.to_vec());
            let rows = |s: &Range<usize>| states[s.start * width..s.end * width].chunks(width);
            spans.iter().map(|s| pooled(rows(s), about)).collect()
        })
    }

    /// Reads sequences in rows and has something said of each.
    fn read<T>(
        &self,
        sequences: &[Vec<u32>],
        mut say: impl FnMut(&mut Graph<'_>, &Tensor, &[Range<usize>]) -> Vec<T>,
    ) -> Vec<T> {
        let mut said = Vec::with_capacity(sequences.len());
        let (mut ids, mut spans): (Vec<u32>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
        for (i, sequence) in sequences.iter().enumerate() {
            spans.push(ids.len()..ids.len() + sequence.len());
            ids.extend_from_slice(sequence);
            if sequences.get(i + 1).is_none_or(|next| ids.len() + next.len() > ROW) {
                let g = &mut Graph::inference(self.bert.parameters(), self.dtype);
                let states = self.bert.forward(g, &Batch::reading(&ids, &spans));
                said.extend(say(g, &states, &spans));
                ids.clear();
                spans.clear();
            }
        }
        said
    }
}

/// One vector of several.
fn pooled<'a>(mut rows: impl ExactSizeIterator<Item = &'a [f32]>, about: Embedding) -> Vec<f32> {
    let count = rows.len() as f64;
    let Some(first) = rows.next() else { return Vec::new() };
    let mut vector: Vec<f64> = first.iter().map(|&x| f64::from(x)).collect();
    for row in rows {
        for (v, x) in vector.iter_mut().zip(row.iter().map(|&x| f64::from(x))) {
            match about.pooling {
                Pooling::Mean => *v += x,
                Pooling::First => {}
                Pooling::Max => *v = v.max(x),
            }
        }
    }
    if about.pooling == Pooling::Mean {
        vector.iter_mut().for_each(|v| *v /= count);
    }
    if about.normalised {
        let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
        vector.iter_mut().for_each(|v| *v /= length);
    }
    vector.into_iter().map(|v| v as f32).collect()
}

/// Scores as probabilities.
fn softmax(scores: &[f32]) -> Vec<f32> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|s| f64::from(s - most).exp()).sum();
    scores.iter().map(|s| (f64::from(s - most).exp() / sum) as f32).collect()
}

/// The place of the largest number, the first of equal ones; 0 of none.
pub fn best(numbers: &[f32]) -> usize {
    let better = |best: usize, i: usize| if numbers[i] > numbers[best] { i } else { best };
    (0..numbers.len()).reduce(better).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pupil_model::bert::Config;
    use pupil_tokenizer::wordpiece::{Settings, Training};

    fn reader(head: Head) -> Reader {
        let text = ["the cat sat on the mat", "the dog ran to the cat", "a cat, a dog"];
        let training = Training { settings: Settings::default(), size: 60, alphabet: 100, threads: 1 };
        let tokenizer = training.run(&text).unwrap();
        let config = Config {
            vocab: tokenizer.len(),
            context: 12,
            kinds: 2,
            layers: 2,
            width: 16,
            heads: 2,
            hidden: 24,
            norm_eps: 1e-12,
            dropout: 0.1,
            head,
        };
        Reader::new(Bert::new(config, 3), tokenizer, DType::F32).unwrap()
    }

    fn labels() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    #[test]
    fn texts_are_judged_alike_alone_and_among_others() {
        let r = reader(Head::Sequence(labels()));
        let texts = ["the cat", "", "a dog ran on the mat and the cat sat on the mat and on", "dog"];
        let all = r.classify(&texts).unwrap();
        for (text, said) in texts.iter().zip(&all) {
            assert_eq!(&r.classify(&[text]).unwrap()[0], said);
            assert!((said.iter().sum::<f32>() - 1.0).abs() < 1e-5 && said.len() == 3);
        }
        assert!(r.tag(&[&["the", "cat"][..]]).is_err());
        assert!(reader(Head::Masked).classify(&["x"]).is_err());
    }

    #[test]
    fn every_word_has_a_tag_however_long_the_sentence() {
        let r = reader(Head::Token(labels()));
        let long = ["the"; 40];
        let strange = ["", "the cat sat on the mat with a dog and a cat", "mat", "\u{200b}"];
        let tags = r.tag(&[&long[..], &[], &strange[..]]).unwrap();
        assert_eq!(tags.iter().map(Vec::len).collect::<Vec<_>>(), [40, 0, 4]);
        assert!(r.classify(&["the cat"]).is_err());
    }

    #[test]
    fn hidden_words_are_named_best_first() {
        let r = reader(Head::Masked);
        let (guesses, cut) = r.fill("the [MASK] sat on [MASK]", 5).unwrap();
        assert!(guesses.len() == 2 && !cut);
        for g in &guesses {
            assert!(g.len() == 5 && g.windows(2).all(|w| w[0].probability >= w[1].probability));
        }
        let (all, _) = r.fill("[MASK]", usize::MAX).unwrap();
        assert!((all[0].iter().map(|g| g.probability).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(r.fill("no hole", 5).unwrap_err().to_string().contains("[MASK]"));
        let (one, cut) = r.fill(&("[MASK] cat".to_owned() + &" the".repeat(50)), 1).unwrap();
        assert!(one.len() == 1 && cut);
    }

    #[test]
    fn vectors_are_pooled_and_normalised() {
        let rows: [&[f32]; 3] = [&[1.0, 0.0], &[2.0, 4.0], &[3.0, -1.0]];
        let of =
            |pooling, normalised| pooled(rows.into_iter(), Embedding { pooling, normalised, most: None });
        assert_eq!(of(Pooling::Mean, false), [2.0, 1.0]);
        assert_eq!(of(Pooling::First, true), [1.0, 0.0]);
        assert_eq!(of(Pooling::Max, false), [3.0, 4.0]);
        assert_eq!(of(Pooling::Max, true), [0.6, 0.8]);
        let r = reader(Head::None { pooled: true });
        let short = Embedding { most: Some(5), ..Embedding::default() };
        assert_eq!(r.embed(&["the cat sat on"], short), r.embed(&["the cat sat", ""], short)[..1]);
    }
}
