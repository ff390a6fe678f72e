//! Replies given the question: encoders and decoders, which read one text and write another.
//!
//! Their bits per byte are of the reply alone, so they stand in a table of their own. One of the language models of the road stands beside them: it read
//! questions and replies as one text, and is measured on the same replies.

use std::fmt::Write;

use pupil_chat::{END, END_OF_TEXT, START};
use pupil_data::{Chat, Items};
use pupil_infer::Beam;
use pupil_model::{Form, Model, Network, Settings, rnn, rnnsearch, seq2seq, transformer};
use pupil_report::page::escape;
use pupil_tensor::Graph;
use pupil_tokenizer::Tokenizer;
use pupil_train::evaluate::evaluate;
use pupil_train::examples;
use serde::{Deserialize, Serialize};

use crate::page::{Language, millions};
use crate::road::{Generation, Learner, adam};
use crate::walk::{Error, Observe, ROW, Walk, slug};

/// Most tokens of a question and of a reply.
const LENGTH: usize = 48;
/// The language model that is measured on the same replies.
const BESIDE: &str = "Llama";

/// What became of one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replying {
    /// When it was published.
    pub year: u16,
    /// Its name.
    pub name: String,
    /// Who published it.
    pub paper: String,
    /// Numbers that were learned.
    pub parameters: u64,
    /// Seconds of learning.
    pub seconds: f64,
    /// Bits for each byte of held-out replies, given their questions.
    pub bits_per_byte: f64,
    /// Its answers to the prompts.
    pub answers: Vec<String>,
    /// Which words of the first prompt each word of its answer looked at, if it has attention.
    pub picture: Option<Picture>,
}

/// An alignment with its words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// What was read.
    pub read: Vec<String>,
    /// What was said, and its end.
    pub said: Vec<String>,
    /// A row for each word that was said.
    pub weights: Vec<f32>,
}

/// The encoders and decoders for a tokenizer, in order of their years, with word vectors and states of about `width`; none if it has no marks for
/// the ends of a reply.
pub fn generations(tokenizer: &Tokenizer, width: usize) -> Vec<Generation> {
    let (Some(start), Some(end)) = (tokenizer.special(START), tokenizer.special(END)) else {
        return Vec::new();
    };
    let form = Form { length: LENGTH, padded: false, start, start_is_said: false, end };
    let (vocab, cell, adam) = (tokenizer.len(), rnn::Kind::Lstm, adam(width));
    let network = |year, name, paper, settings| Generation {
        year,
        name,
        paper,
        idea: [""; 2],
        learner: Learner::Network(Box::new(settings), adam),
    };
    let attention = rnnsearch::Config {
        vocab,
        form,
        width,
        hidden: width,
        keys: width,
        cell,
        bidirectional: true,
        dropout: 0.0,
    };
    let transformer = transformer::Config {
        vocab,
        form,
        encoder_layers: 2,
        decoder_layers: 2,
        width,
        heads: 4,
        hidden: 4 * width,
        activation: transformer::Kind::Relu,
        dropout: 0.0,
        // The paper's 0.1 is for better words at the price of worse probabilities, and probabilities are what is measured.
        smoothing: 0.0,
    };
    let plain = seq2seq::Config { vocab, form, width, hidden: width * 3 / 2, cell };
    vec![
        network(2014, "seq2seq LSTM", "Sutskever et al.", Settings::Seq2Seq(plain)),
        network(2015, "Attention", "Bahdanau et al.", Settings::RnnSearch(attention)),
        network(2017, "Transformer", "Vaswani et al.", Settings::Transformer(transformer)),
    ]
}

/// Adds each reply of some chats with what it answers, cut to the length.
pub fn add_pairs<'a>(items: &mut Items, tokenizer: &Tokenizer, chats: impl Iterator<Item = &'a Chat>) {
    let (Some(start), Some(end)) = (tokenizer.special(START), tokenizer.special(END)) else { return };
    for chat in chats {
        for turns in chat.messages.windows(2).filter(|t| t[1].role == "assistant") {
            let [mut source, mut reply] = [0, 1].map(|i| tokenizer.encode(turns[i].content.trim()));
            source.truncate(LENGTH);
            reply.truncate(LENGTH);
            if !source.is_empty() && !reply.is_empty() {
                items.push_pair(&source, &[&[start], &reply[..], &[end]].concat());
            }
        }
    }
}

/// Lets each learn from the pairs of `walk`, and measures a language model of `road`, which lies in the walk's directory, on the replies of
/// `chats`.
///
/// # Errors
/// As [`Walk::run`].
pub fn run<'a>(
    walk: &Walk<'_>,
    generations: &[Generation],
    road: &[Generation],
    chats: impl Iterator<Item = &'a Chat>,
    observe: Observe<'_>,
) -> Result<Vec<Replying>, Error> {
    let mut all = Vec::new();
    for g in generations {
        let Learner::Network(settings, optimiser) = &g.learner else { continue };
        all.push(walk.kept(&slug(g.name), || {
            let dir = walk.dir.join("runs").join(slug(g.name));
            let learned =
                walk.learn(&dir, g.name, settings, *optimiser, walk.train, walk.seconds, observe)?;
            let (answers, picture) = answer(walk, &learned.network);
            Ok(Replying {
                year: g.year,
                name: g.name.into(),
                paper: g.paper.into(),
                parameters: settings.parameter_count(),
                seconds: learned.seconds,
                bits_per_byte: learned.bits_per_byte,
                answers,
                picture,
            })
        })?);
    }
    for g in road.iter().filter(|g| g.name == BESIDE) {
        let dir = walk.dir.join("runs").join(slug(g.name));
        let model = dir.join("model");
        if !model.exists() {
            continue;
        }
        let network = pupil_checkpoint::load(&model)?;
        let mut items = Items::default();
        examples::add_chats(&mut items, walk.tokenizer, chats, walk.context, false)
            .map_err(|e| Error::Other(e.to_string()))?;
        let id_bytes = examples::id_bytes(walk.tokenizer);
        let result = evaluate(&network, &items, &id_bytes, ROW, walk.dtype)
            .map_err(|e| Error::Other(e.to_string()))?;
        all.push(Replying {
            year: g.year,
            name: g.name.into(),
            paper: g.paper.into(),
            parameters: network.settings().parameter_count(),
            seconds: walk.seconds,
            bits_per_byte: result.bits_per_byte(),
            answers: Vec::new(),
            picture: None,
        });
        break;
    }
    Ok(all)
}

/// The best reply to each prompt, and the picture of the first.
fn answer(walk: &Walk<'_>, network: &Network) -> (Vec<String>, Option<Picture>) {
    let Some(model) = network.encoder_decoder() else { return (Vec::new(), None) };
    let never = [START, END_OF_TEXT].iter().filter_map(|s| walk.tokenizer.special(s)).collect();
    let beam = Beam { width: 4, length_penalty: 1.0, max_new: 32, originality: 0.0, never };
    let (mut answers, mut picture) = (Vec::new(), None);
    for (i, prompt) in walk.prompts.iter().enumerate() {
        let source = model.form().source(&walk.tokenizer.encode(prompt));
        let best = beam.replies(model, &source, walk.dtype).into_iter().next();
        let ids = best.map_or(Vec::new(), |r| r.ids);
        answers.push(walk.tokenizer.decode(&ids).trim().to_owned());
        if i == 0 {
            let mut g = Graph::inference(network.parameters(), walk.dtype);
            let word = |id: &u32| walk.tokenizer.decode(&[*id]);
            picture = model.alignment(&mut g, &source, &ids).map(|a| Picture {
                read: source.iter().map(word).collect(),
                said: ids.iter().map(word).chain(["∎".to_owned()]).collect(),
                weights: a.weights,
            });
        }
    }
    (answers, picture)
}

/// Their part of the page; nothing if there is none of them.
pub(crate) fn section(all: &[Replying], prompts: &[String], language: Language) -> String {
    if all.is_empty() {
        return String::new();
    }
    let say = |english, chinese| language.say(english, chinese);
    let mut s = format!(
        "<h2>{}</h2><p>{}</p><div class=wide><table><tr><th>{}<th>{}<th>{}<th>{}<th>{}</tr>",
        say("Replies, given the question", "给定问题的回答"),
        say(
            "Before GPT, one network read the question and another wrote the reply. These learned from questions and replies in the same time; the bits are those of the reply alone, so they do not compare with the table above. The last line is the language model from there, measured on the same replies.",
            "在 GPT 之前，一个网络读问题，另一个网络写回答。它们用同样的时间从问答中学习；比特数只计回答部分，因此不能与上面的表直接比较。最后一行是上表中的语言模型，在同样的回答上测量。"
        ),
        say("year", "年份"),
        say("model", "模型"),
        say("paper", "论文"),
        say("numbers learned", "参数"),
        say("bits per byte of the reply", "回答的比特/字节"),
    );
    for r in all {
        let _ = write!(
            s,
            "<tr><td>{}<td><b>{}</b><td>{}<td class=n>{}<td class=n>{:.3}</tr>",
            r.year,
            escape(&r.name),
            escape(&r.paper),
            millions(r.parameters),
            r.bits_per_byte
        );
    }
    s += "</table></div>";
    for (i, prompt) in prompts.iter().enumerate() {
        let _ = write!(s, "<p class=prompt>{}</p><table class=answers>", escape(prompt));
        for r in all.iter().filter(|r| i < r.answers.len()) {
            let _ =
                write!(s, "<tr><td><b>{}</b> {}<td>{}</tr>", escape(&r.name), r.year, escape(&r.answers[i]));
        }
        s += "</table>";
    }
    let pictures: Vec<_> = all.iter().filter_map(|r| Some((r, r.picture.as_ref()?))).collect();
    if !pictures.is_empty() {
        let _ = write!(
            s,
            "<p>{}</p>",
            say(
                "Attention as a picture: each row is a token of the reply, each column one of the first question; the darker, the more it was looked at. The first model has none: all that it knows of the question is one state.",
                "注意力图：每行是回答的一个词元，每列是第一个问题的一个词元；越深表示看得越多。第一个模型没有注意力：它对问题的全部了解只是一个状态。"
            )
        );
    }
    for (r, picture) in pictures {
        let _ = write!(s, "<p class=prompt>{} · {}</p>{}", r.year, escape(&r.name), matrix(picture));
    }
    s
}

/// A picture as SVG that takes its colours from the page.
fn matrix(p: &Picture) -> String {
    let (cell, left, top) = (34, 130, 92);
    let (width, height) = (left + cell * p.read.len() + 60, top + cell * p.said.len() + 8);
    let mut s = format!("<svg viewBox='0 0 {width} {height}' style='max-width:{width}px' role=img>");
    for (i, word) in p.read.iter().enumerate() {
        let (x, y) = (left + cell * i + cell / 2, top - 8);
        let word = escape(word);
        let _ = write!(s, "<text class=axis x={x} y={y} transform='rotate(-50 {x} {y})'>{word}</text>");
    }
    for (k, row) in p.weights.chunks_exact(p.read.len().max(1)).enumerate() {
        let y = top + cell * k;
        let word = p.said.get(k).map_or("", String::as_str);
        let (x, below) = (left - 8, y + cell / 2 + 5);
        let _ = write!(s, "<text class=axis text-anchor=end x={x} y={below}>{}</text>", escape(word));
        for (i, w) in row.iter().enumerate() {
            let (x, side) = (left + cell * i, cell - 2);
            let _ = write!(
                s,
                "<rect x={x} y={y} width={side} height={side} rx=3 fill=currentColor fill-opacity='{:.3}'/>",
                0.04 + 0.96 * w.clamp(0.0, 1.0)
            );
        }
    }
    s + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use pupil_tensor::DType;

    #[test]
    fn each_learns_answers_and_shows_what_it_looked_at() {
        let chats: Vec<_> = pupil_data::starter::Curriculum::standard().unwrap().chats(1, 200).collect();
        let texts: Vec<String> = chats.iter().map(|c| c.plain()).collect();
        let tokenizer = pupil_tokenizer::train(&texts, 400, &pupil_chat::SPECIALS);
        let mut split = [Items::default(), Items::default()];
        for (i, items) in split.iter_mut().enumerate() {
            add_pairs(items, &tokenizer, chats.iter().skip(i).step_by(8));
        }
        assert!(split.iter().all(|items| !items.is_empty() && items.source_tokens() > 0));
        let dir = tempfile::tempdir().unwrap();
        let walk = Walk {
            dir: dir.path(),
            tokenizer: &tokenizer,
            train: &split[0],
            validation: &split[1],
            context: 64,
            seconds: 0.01,
            dtype: DType::F32,
            seed: 1,
            prompts: vec!["Hello".into(), "Who?".into()],
        };
        let mut small = generations(&tokenizer, 256);
        for g in &mut small {
            g.learner = match &g.learner {
                Learner::Network(s, o) => Learner::Network(Box::new(shrunk(s)), *o),
                other => other.clone(),
            };
        }
        let all = run(&walk, &small, &[], [].into_iter(), &mut |_, _| true).unwrap();
        assert_eq!(all.iter().map(|r| r.picture.is_some()).collect::<Vec<_>>(), [false, true, true]);
        for r in &all {
            assert!(
                r.bits_per_byte > 0.0 && r.bits_per_byte < 400f64.log2() && r.answers.len() == 2,
                "{r:?}"
            );
        }
        let again = run(&walk, &small, &[], [].into_iter(), &mut |_, _| panic!("nothing is learned twice"));
        assert_eq!(again.unwrap().len(), 3);
        let marked = vec!["<b>?".to_owned(), "x".into()];
        let page = section(&all, &marked, Language::English);
        assert!(page.contains("&lt;b&gt;?") && !page.contains("<b>?") && !page.contains("NaN"));
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(section(&[], &marked, Language::Chinese).is_empty());
    }

    fn shrunk(s: &Settings) -> Settings {
        match s.clone() {
            Settings::Seq2Seq(c) => Settings::Seq2Seq(seq2seq::Config { width: 16, hidden: 16, ..c }),
            Settings::RnnSearch(c) => {
                Settings::RnnSearch(rnnsearch::Config { width: 16, hidden: 16, keys: 16, ..c })
            }
            Settings::Transformer(c) => {
                Settings::Transformer(transformer::Config { width: 16, hidden: 32, ..c })
            }
            other => other,
        }
    }

    #[test]
    fn all_settings_hold_and_sizes_are_alike() {
        let tokenizer = pupil_tokenizer::train(["a b c"], 300, &pupil_chat::SPECIALS);
        for width in [64, 128, 512] {
            let mut sizes = Vec::new();
            for g in generations(&tokenizer, width) {
                if let Learner::Network(settings, _) = g.learner {
                    settings.check().unwrap();
                    sizes.push(settings.parameter_count());
                }
            }
            assert!(
                sizes.len() == 3 && sizes.iter().max() < sizes.iter().map(|s| 3 * s).min().as_ref(),
                "{sizes:?}"
            );
        }
    }
}
