//! `pupil recipe`: a chatbot of an encoder and decoder, every step of it written in a TOML file: lines → pairs → words → training → replies.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use pupil_data::cornell::{Cornell, article_clean};
use pupil_data::{Items, Packer, documents, prepare};
use pupil_model::{Form, Network, Settings, rnn, rnnsearch, seq2seq, transformer};
use pupil_report::number;
use pupil_tokenizer::{WordLevel, word_level};
use pupil_train::schedule::Schedule;
use pupil_train::{Plan, optim};
use serde::Deserialize;

use crate::exit::Usage;
use crate::learn::{self, Common};
use crate::process;

/// The recipes that the program carries.
const RECIPES: [(&str, &str); 4] = [
    ("article", include_str!("../../../recipes/article.toml")),
    ("article-fixed", include_str!("../../../recipes/article-fixed.toml")),
    ("attention", include_str!("../../../recipes/attention.toml")),
    ("transformer", include_str!("../../../recipes/transformer.toml")),
];

/// `pupil recipe`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// article, article-fixed, attention, transformer, or a TOML file of that form; without it the recipes are listed.
    recipe: Option<String>,
    /// Prints the recipe, every field with what it means, to start one's own from.
    #[arg(long)]
    show: bool,
    /// The Cornell corpus in its original form, or files of chats or question-answer pairs.
    #[arg(long, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Directory of the run.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Pairs that are used, instead of the recipe's.
    #[arg(long)]
    pairs: Option<usize>,
    /// Times that the data is seen, instead of the recipe's.
    #[arg(long)]
    epochs: Option<u64>,
    /// Of initial values and orders.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Goes on with the run in --out.
    #[arg(long)]
    resume: bool,
    /// Element type of matrix operands: bf16, f32, or auto.
    #[arg(long, default_value = "auto")]
    dtype: String,
}

/// A recipe: what the TOML file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    about: String,
    data: Data,
    tokenizer: Tokenizer,
    pairs: Pairs,
    split: Split,
    model: Model,
    train: Train,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    clean: Clean,
    pairs: usize,
}

/// How a line is cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Clean {
    /// As the article does.
    Article,
    /// Lower-cased, punctuation as words of its own.
    Spaced,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tokenizer {
    words: usize,
    unknown: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pairs {
    length: usize,
    padded: bool,
    marks: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Split {
    validation: Validation,
    share: f64,
}

/// What is held out.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Validation {
    /// The last pairs.
    Tail,
    /// By the pairs' text.
    Hash,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    #[serde(default)]
    architecture: Architecture,
    width: usize,
    hidden: usize,
    cell: Option<rnn::Kind>,
    keys: Option<usize>,
    bidirectional: Option<bool>,
    layers: Option<usize>,
    heads: Option<usize>,
    dropout: Option<f32>,
    smoothing: Option<f32>,
}

/// Which encoder and decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Architecture {
    /// Two recurrent networks; a state passes between them.
    #[default]
    Seq2Seq,
    /// The second looks at all states of the first.
    Attention,
    /// Attention alone.
    Transformer,
}

impl Model {
    /// The model's settings.
    ///
    /// # Errors
    /// Names a field that is missing, or of no use to this architecture.
    fn settings(&self, vocab: usize, form: Form) -> Result<Settings, String> {
        let Model { architecture, width, hidden, .. } = *self;
        let used: &[&str] = match architecture {
            Architecture::Seq2Seq => &["cell"],
            Architecture::Attention => &["cell", "keys", "bidirectional", "dropout"],
            Architecture::Transformer => &["layers", "heads", "dropout", "smoothing"],
        };
        let there = [
            ("cell", self.cell.is_some()),
            ("keys", self.keys.is_some()),
            ("bidirectional", self.bidirectional.is_some()),
            ("layers", self.layers.is_some()),
            ("heads", self.heads.is_some()),
            ("dropout", self.dropout.is_some()),
            ("smoothing", self.smoothing.is_some()),
        ];
        for (name, there) in there {
            match (used.contains(&name), there) {
                (true, false) => return Err(format!("model.{name} is missing: {architecture:?} has it")),
                (false, true) => return Err(format!("model.{name}: {architecture:?} has no such thing")),
                _ => {}
            }
        }
        let cell = self.cell.unwrap_or(rnn::Kind::Lstm);
        let [dropout, smoothing] = [self.dropout, self.smoothing].map(|x| x.unwrap_or(0.0));
        let [keys, layers, heads] = [self.keys, self.layers, self.heads].map(|x| x.unwrap_or(0));
        Ok(match architecture {
            Architecture::Seq2Seq => Settings::Seq2Seq(seq2seq::Config { vocab, form, width, hidden, cell }),
            Architecture::Attention => {
                let bidirectional = self.bidirectional.unwrap_or(false);
                Settings::RnnSearch(rnnsearch::Config {
                    vocab,
                    form,
                    width,
                    hidden,
                    keys,
                    cell,
                    bidirectional,
                    dropout,
                })
            }
            Architecture::Transformer => Settings::Transformer(transformer::Config {
                vocab,
                form,
                encoder_layers: layers,
                decoder_layers: layers,
                width,
                heads,
                hidden,
                activation: transformer::Kind::Relu,
                dropout,
                smoothing,
            }),
        })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Train {
    epochs: u64,
    batch: usize,
    learning_rate: f32,
    beta2: f32,
    eps: f32,
    clip: f32,
    /// Steps over which the learning rate rises, to fall with the root of the steps afterwards; without it it stays the same.
    warmup: Option<u64>,
    keep_best: bool,
}

/// Marks of a reply's ends.
const START: &str = "<start>";
const END: &str = "<end>";

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let Some(name) = &a.recipe else {
        for (name, text) in RECIPES {
            println!("{name:<15}{}", parse(name, text)?.about);
        }
        return Ok(());
    };
    let (recipe, text) = read(name)?;
    if a.show {
        print!("{text}");
        return Ok(());
    }
    let Some(out) = &a.out else { anyhow::bail!(Usage("--out DIR: where the run is to live".into())) };
    if a.data.is_empty() {
        anyhow::bail!(Usage(
            "--data PATH: the Cornell corpus (`pupil data import cornell` says where it is published), or chats of your own".into()
        ));
    }
    train(a, &recipe, &text, out)
}

/// A recipe by its name or from its file, and its text.
fn read(name: &str) -> anyhow::Result<(Recipe, String)> {
    if let Some((_, text)) = RECIPES.iter().find(|r| r.0 == name) {
        return Ok((parse(name, text)?, (*text).to_owned()));
    }
    let path = Path::new(name);
    if !path.exists() {
        let known = RECIPES.map(|r| r.0).join(", ");
        anyhow::bail!(Usage(format!(
            "no recipe is called {name:?} and there is no such file; known are {known}"
        )));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
    Ok((parse(name, &text)?, text))
}

fn parse(name: &str, text: &str) -> anyhow::Result<Recipe> {
    let recipe: Recipe = toml::from_str(text).map_err(|e| Usage(format!("{name}: {e}")))?;
    let wrong = |what: &str| Err(Usage(format!("{name}: {what}")).into());
    if !(0.0..1.0).contains(&recipe.split.share) {
        return wrong("split.share is at least 0 and below 1");
    }
    if recipe.pairs.length < 2 || recipe.train.batch == 0 || recipe.train.epochs == 0 {
        return wrong("pairs.length is at least 2; train.batch and train.epochs at least 1");
    }
    // With any words: so that a field that does not fit is named before anything is read.
    let any = Form { length: recipe.pairs.length, padded: false, start: 0, start_is_said: false, end: 0 };
    if let Err(e) = recipe.model.settings(1, any).and_then(|m| m.check()) {
        return wrong(&e);
    }
    Ok(recipe)
}

fn train(a: &Arguments, recipe: &Recipe, text: &str, out: &Path) -> anyhow::Result<()> {
    let mut pairs = recipe.data.load(&a.data)?;
    let most = a.pairs.unwrap_or(recipe.data.pairs);
    if most > 0 {
        pairs.truncate(most);
    }
    let tokenizer = recipe.tokenizer(&pairs);
    eprintln!("  {} pairs, {} word ids", number(pairs.len() as u64), number(tokenizer.len() as u64));
    let (items, start) = recipe.items(&pairs, &tokenizer);
    let [train, validation] = &items;
    if train.is_empty() {
        anyhow::bail!(Usage("there is nothing to learn from: no pair is left".into()));
    }
    let longest = if recipe.pairs.padded { 2 * recipe.pairs.length - 1 } else { average(train) };
    let row_tokens = (recipe.train.batch * longest).max(2 * recipe.pairs.length + 2);
    let rows = Packer::new(train, row_tokens, a.seed).rows_per_epoch() as u64;
    let epochs = a.epochs.unwrap_or(recipe.train.epochs);
    let form = Form {
        length: recipe.pairs.length,
        padded: recipe.pairs.padded,
        start,
        start_is_said: !recipe.pairs.marks,
        end: if recipe.pairs.marks { tokenizer.encode(END)[0] } else { 0 },
    };
    let model = recipe.model.settings(tokenizer.len(), form).map_err(Usage)?;
    model.check().map_err(Usage)?;
    let dtype = process::dtype(&a.dtype)?;
    let t = &recipe.train;
    let optimiser = optim::Settings {
        learning_rate: t.learning_rate,
        beta2: t.beta2,
        eps: t.eps,
        eps_first: true,
        clip: t.clip,
        weight_decay: 0.0,
        ..optim::Settings::default()
    };
    eprintln!(
        "  {} parameters, {epochs} epochs of {rows} steps, {} tokens to learn from, {} held out",
        number(model.parameter_count()),
        number(train.tokens() as u64),
        number(validation.tokens() as u64)
    );
    let plan = Plan {
        stage: "recipe".into(),
        model,
        optimiser,
        schedule: t.warmup.map_or(Schedule::Constant, |warmup| Schedule::InverseRoot { warmup }),
        steps: rows * epochs,
        rows: 1,
        row_tokens,
        seed: a.seed,
        dtype: dtype.name().to_owned(),
        evaluate_every: rows,
        save_every: 500,
        keep_best: t.keep_best,
        lora: None,
        data: learn::fingerprint(train, &tokenizer.to_json()),
        limits: pupil_train::plan::Limits::default(),
        forecast: None,
    };
    let plan = match learn::planned(a.resume, out)? {
        Some(there) => learn::checked(there, plan.data)?,
        None => plan,
    };
    let network = Network::new(plan.model.clone(), plan.seed);
    let extra = vec![
        (TOKENIZER.to_owned(), tokenizer.to_json().into_bytes()),
        (RECIPE.to_owned(), text.as_bytes().to_vec()),
    ];
    let id_bytes: Vec<u32> = (0..tokenizer.len() as u32).map(|id| word_bytes(&tokenizer, id)).collect();
    let vocabulary = learn::Vocabulary { id_bytes, end: vec![], extra };
    let common = Common { out: out.to_owned(), resume: a.resume, ..Common::default() };
    let (path, _) = learn::go(&common, plan, network, vocabulary, [train, validation], "learning")?;
    println!("{}", path.display());
    eprintln!("  now: pupil chat -m {}", out.display());
    Ok(())
}

/// Tokens of a pair, on average.
fn average(items: &Items) -> usize {
    (items.tokens() + items.source_tokens()).div_ceil(items.len())
}

/// Bytes of a word with the blank before it.
fn word_bytes(tokenizer: &WordLevel, id: u32) -> u32 {
    match tokenizer.decode(&[id]) {
        word if [START, END, UNKNOWN].contains(&word.as_str()) || word.is_empty() => 0,
        word => word.len() as u32 + 1,
    }
}

/// What stands for words that are not known.
const UNKNOWN: &str = "<unk>";
/// Files of a model directory.
const TOKENIZER: &str = "keras_tokenizer.json";
const RECIPE: &str = "recipe.toml";

impl Data {
    /// The pairs of some files, cleaned.
    fn load(&self, paths: &[PathBuf]) -> anyhow::Result<Vec<[String; 2]>> {
        let cornell =
            |p: &Path| p.join("movie_lines.txt").exists() || p.extension().is_some_and(|e| e == "zip");
        let pairs: Vec<[String; 2]> = match paths {
            [path] if cornell(path) => {
                let corpus = Cornell::read(path)?;
                if self.clean == Clean::Article {
                    return Ok(corpus.article_pairs());
                }
                corpus.pairs().collect()
            }
            paths => {
                let corpus = documents::read(paths)?;
                let chats = corpus.chats.iter().map(|c| &c.messages);
                let pair = |t: &[pupil_data::record::Turn]| [t[0].content.clone(), t[1].content.clone()];
                chats.flat_map(|turns| turns.windows(2).map(pair).collect::<Vec<_>>()).collect()
            }
        };
        let cleaned = pairs.into_iter().map(|p| p.map(|line| self.clean.line(&line)));
        Ok(cleaned.filter(|p| p.iter().all(|line| !line.trim().is_empty())).collect())
    }
}

impl Clean {
    fn line(self, line: &str) -> String {
        match self {
            Clean::Article => article_clean(line),
            Clean::Spaced => spaced(line),
        }
    }

    /// A reply's words as a person writes them.
    fn written(self, words: &str) -> String {
        match self {
            Clean::Article => words.to_owned(),
            Clean::Spaced => {
                let mut out = String::new();
                for word in words.split(' ') {
                    let closes = word.starts_with(['.', ',', '!', '?', ';', ':', ')', '…']);
                    if !out.is_empty() && !closes {
                        out.push(' ');
                    }
                    out.push_str(word);
                }
                out
            }
        }
    }
}

/// Lower-cased, with blanks around punctuation; apostrophes and hyphens inside words stay.
fn spaced(line: &str) -> String {
    let chars: Vec<char> = line.to_lowercase().chars().collect();
    let letter = |i: Option<usize>| i.and_then(|i| chars.get(i)).is_some_and(|c| c.is_alphanumeric());
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let inside = ['\'', '’', '-'].contains(&c) && letter(i.checked_sub(1)) && letter(Some(i + 1));
        let repeated = i > 0 && chars[i - 1] == c;
        if c.is_alphanumeric() || inside || c.is_whitespace() {
            out.push(if c.is_whitespace() {
                ' '
            } else if c == '’' {
                '\''
            } else {
                c
            });
        } else if !(repeated && ['.', '-', '!', '?'].contains(&c)) {
            out.push_str(&format!(" {c} "));
        }
    }
    out.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ")
}

impl Recipe {
    fn tokenizer(&self, pairs: &[[String; 2]]) -> WordLevel {
        let settings = word_level::Settings {
            filters: String::new(),
            lower: true,
            num_words: (self.tokenizer.words > 0).then_some(self.tokenizer.words),
            unknown: self.tokenizer.unknown.then(|| UNKNOWN.to_owned()),
        };
        let marks = self.pairs.marks.then(|| format!("{START} {END}"));
        // The marks come first and often, so that they have ids whatever the number of words.
        let marks = marks.iter().flat_map(|m| std::iter::repeat_n(m.as_str(), pairs.len()));
        WordLevel::fit(settings, marks.chain(pairs.iter().flatten().map(String::as_str)))
    }

    /// A line's ids, cut to the length and filled up, if the recipe says so.
    fn ids(&self, tokenizer: &WordLevel, line: &str) -> Vec<u32> {
        let mut ids = tokenizer.encode(line);
        ids.truncate(self.pairs.length);
        if self.pairs.padded {
            ids.resize(self.pairs.length, 0);
        }
        ids
    }

    /// Pairs to learn from and held-out ones, and what the decoder reads first.
    fn items(&self, pairs: &[[String; 2]], tokenizer: &WordLevel) -> ([Items; 2], u32) {
        let mut split = [Items::default(), Items::default()];
        let tail = (pairs.len() as f64 * (1.0 - self.split.share)) as usize;
        let mut first: HashMap<u32, usize> = HashMap::new();
        let mark = |mark: &str| tokenizer.encode(mark).first().copied().unwrap_or(0);
        for (i, [question, answer]) in pairs.iter().enumerate() {
            let held_out = match self.split.validation {
                Validation::Tail => i >= tail,
                Validation::Hash => {
                    let text = format!("{question}\n{answer}");
                    prepare::is_validation(&text, (self.split.share * 1000.0).round() as u64)
                }
            };
            let (source, mut target) = (self.ids(tokenizer, question), self.ids(tokenizer, answer));
            *first.entry(target.first().copied().unwrap_or(0)).or_default() += 1;
            if self.pairs.marks {
                target.insert(0, mark(START));
                target.push(mark(END));
            }
            if !source.is_empty() && target.len() > 1 {
                split[usize::from(held_out)].push_pair(&source, &target);
            }
        }
        first.remove(&0);
        let commonest =
            first.into_iter().max_by_key(|&(id, n)| (n, std::cmp::Reverse(id))).map_or(0, |f| f.0);
        (split, if self.pairs.marks { mark(START) } else { commonest })
    }
}

/// What a trained recipe needs to answer.
pub(crate) struct Words {
    recipe: Recipe,
    tokenizer: WordLevel,
}

impl Words {
    /// The words of a model directory.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Words> {
        let file = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let recipe = parse(&dir.join(RECIPE).display().to_string(), &file(RECIPE)?)?;
        let tokenizer = WordLevel::from_json(&file(TOKENIZER)?)
            .map_err(|what| pupil_data::Error::Content { path: dir.join(TOKENIZER), what })?;
        Ok(Words { recipe, tokenizer })
    }

    /// The ids of what a person says.
    pub(crate) fn read(&self, line: &str) -> Vec<u32> {
        self.tokenizer.encode(&self.recipe.data.clean.line(line))
    }

    /// Each id as a word.
    pub(crate) fn each(&self, ids: &[u32]) -> Vec<String> {
        ids.iter().map(|&id| self.tokenizer.decode(&[id])).collect()
    }

    /// The id of words that are not known, if the recipe has one: no word to say.
    pub(crate) fn unknown(&self) -> Option<u32> {
        self.recipe.tokenizer.unknown.then(|| self.tokenizer.encode(UNKNOWN).first().copied()).flatten()
    }

    /// A reply as a person writes it.
    pub(crate) fn write(&self, ids: &[u32]) -> String {
        self.recipe.data.clean.written(&self.tokenizer.decode(ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_read_and_wrong_ones_are_named() {
        for (name, text) in RECIPES {
            parse(name, text).unwrap();
            let e = parse(name, &text.replace("share = 0.2", "share = 1.0")).unwrap_err();
            assert!(e.to_string().contains("split.share"));
            let e = parse(name, &text.replace("width = 256", "widht = 256")).unwrap_err();
            assert!(e.to_string().contains("widht"));
            let e = parse(name, &text.replace("hidden =", "colour = 1\nhidden =")).unwrap_err();
            assert!(e.to_string().contains("colour"));
        }
        let transformer = RECIPES[3].1;
        let e = parse("t", &transformer.replace("heads = 4", "heads = 5")).unwrap_err();
        assert!(e.to_string().contains("5 heads"), "{e}");
        let e = parse("t", &transformer.replace("heads = 4", "")).unwrap_err();
        assert!(e.to_string().contains("model.heads is missing"), "{e}");
        let e = parse("t", &transformer.replace("heads = 4", "heads = 4\ncell = \"gru\"")).unwrap_err();
        assert!(e.to_string().contains("model.cell"), "{e}");
    }

    #[test]
    fn punctuation_becomes_words_and_back() {
        let line = spaced("Don't go!!  It’s—well... \"over\", Mr. X-ray?");
        assert_eq!(line, "don't go ! it's — well . \" over \" , mr . x-ray ?");
        assert_eq!(Clean::Spaced.written("don't go ! well , then ."), "don't go! well, then.");
    }

    #[test]
    fn the_articles_pairs_are_padded_and_its_tail_is_held_out() {
        let recipe = parse("article", RECIPES[0].1).unwrap();
        let pairs: Vec<[String; 2]> = (0..10).map(|i| ["how are you".into(), format!("fine {i}")]).collect();
        let tokenizer = recipe.tokenizer(&pairs);
        let ([train, validation], start) = recipe.items(&pairs, &tokenizer);
        assert_eq!((train.len(), validation.len()), (8, 2));
        assert_eq!((train.tokens(), train.source_tokens()), (8 * 19, 8 * 20));
        assert_eq!(tokenizer.decode(&[start]), "fine");
        let fixed = parse("article-fixed", RECIPES[1].1).unwrap();
        let tokenizer = fixed.tokenizer(&pairs);
        let ([train, validation], start) = fixed.items(&pairs, &tokenizer);
        assert_eq!((train.len() + validation.len(), tokenizer.decode(&[start])), (10, START.into()));
        assert_eq!(train.tokens(), train.len() * 3);
    }
}
