//! Adapters: what `--lora` takes, and `pupil merge`, which adds them to the model that they change.

use std::path::{Path, PathBuf};

use anyhow::Context;
use pupil_checkpoint::adapter;
use pupil_model::{Gpt, Lora, Network, Target};

use crate::exit::Usage;
use crate::model::Choice;
use crate::room;

/// Files that a model's directory has beside its weights.
const BESIDE: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

/// What `--lora` takes.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct LoraArguments {
    /// The model stays as it is, and small adapters beside its matrices learn (LoRA); they are saved in PEFT's form.
    #[arg(long)]
    pub(crate) lora: bool,
    /// Rank of the adapters [default: 8].
    #[arg(long, requires = "lora")]
    pub(crate) rank: Option<usize>,
    /// What they say is multiplied by alpha / rank [default: twice the rank].
    #[arg(long, requires = "lora")]
    pub(crate) alpha: Option<f32>,
    /// The matrices that have one: q, k, v, o, gate, up, down, or all [default: all].
    #[arg(long, requires = "lora", value_delimiter = ',')]
    pub(crate) target: Vec<String>,
    /// Share of an adapter's input that is dropped in training [default: 0].
    #[arg(long, requires = "lora")]
    pub(crate) dropout: Option<f32>,
}

impl LoraArguments {
    /// Makes a model ready to be learned from: with adapters, if they are asked for, or if the run that goes on has some (`there`); otherwise
    /// whole, its own adapters added to it. Returns the adapters.
    pub(crate) fn prepare(
        &self,
        gpt: &mut Gpt,
        dir: &Path,
        there: Option<&Option<Lora>>,
        seed: u64,
    ) -> anyhow::Result<Option<Lora>> {
        let planned = there.cloned().flatten();
        if !self.lora && planned.is_none() {
            if gpt.adapted().is_some() {
                gpt.merge();
                eprintln!(
                    "  the adapters were added to their model, and all of it learns; --lora goes on with them"
                );
            }
            return Ok(None);
        }
        let has = gpt.adapted().map(|a| a.lora.clone());
        let known = planned.or_else(|| has.clone());
        let lora = self.settled(gpt, known.as_ref())?;
        if let Some(known) = known.filter(|known| *known != lora) {
            anyhow::bail!(Usage(format!(
                "there are adapters of rank {}, alpha {}, dropout {} on {}: leave --rank, --alpha, --target and --dropout out to go on with them, \
                 or merge them first",
                known.rank,
                known.alpha,
                known.dropout,
                names(&known.targets)
            )));
        }
        if has.is_none() {
            let (base, hash) = adapter::identify(dir)?;
            gpt.adapt(lora.clone(), base, hash, seed).map_err(Usage)?;
        }
        let learned = lora.parameter_count(&gpt.config);
        eprintln!(
            "  LoRA of rank {}, alpha {}, on {}: {learned} parameters learn, {} stay as they are",
            lora.rank,
            lora.alpha,
            names(&lora.targets),
            gpt.config.parameter_count()
        );
        Ok(Some(lora))
    }

    fn settled(&self, gpt: &Gpt, known: Option<&Lora>) -> anyhow::Result<Lora> {
        let rank = self.rank.or(known.map(|k| k.rank)).unwrap_or(8);
        let alpha = self.alpha.or(known.map(|k| k.alpha)).unwrap_or(2.0 * rank as f32);
        let dropout = self.dropout.or(known.map(|k| k.dropout)).unwrap_or(0.0);
        let all = gpt.config.lora_targets();
        let targets = match (&self.target[..], known) {
            ([], Some(known)) => known.targets.clone(),
            ([], None) => all,
            ([one], _) if one == "all" => all,
            (named, _) => {
                let unknown = |n: &str| Usage(format!("--target {n}: expected {}, or all", names(&all)));
                let found: Result<Vec<Target>, Usage> =
                    named.iter().map(|n| Target::named(n).ok_or_else(|| unknown(n))).collect();
                let mut found = found?;
                found.sort();
                found.dedup();
                found
            }
        };
        let lora = Lora { rank, alpha, dropout, targets };
        lora.check(&gpt.config).map_err(Usage)?;
        Ok(lora)
    }
}

fn names(targets: &[Target]) -> String {
    targets.iter().map(|t| t.name()).collect::<Vec<_>>().join(", ")
}

/// `pupil merge`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A directory of adapters, or of the run that made them.
    adapter: PathBuf,
    /// The directory of the whole model to be written.
    #[arg(long)]
    out: PathBuf,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let choice = Choice::of(&a.adapter, "f32");
    let (dir, network) = choice.network()?;
    let mut opened = choice.opened(&dir, network)?;
    let Some(adapted) = opened.gpt.adapted().cloned() else {
        anyhow::bail!(Usage(format!("{} is a whole model: there is nothing to merge", dir.display())));
    };
    room::vacant(&a.out)?;
    opened.gpt.merge();
    let places = [dir.as_path(), Path::new(&adapted.base)];
    let mut extra = Vec::new();
    for name in BESIDE {
        if let Some(path) = places.iter().map(|p| p.join(name)).find(|p| p.is_file()) {
            extra.push((name.to_owned(), std::fs::read(&path).with_context(|| path.display().to_string())?));
        }
    }
    pupil_checkpoint::save(&a.out, &Network::from(opened.gpt), &opened.ends, &extra)?;
    eprintln!("{} and its adapters are one model in {}", adapted.base, a.out.display());
    Ok(())
}
