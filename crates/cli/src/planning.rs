//! From what was asked to a plan: depth, batch and tokens by the rules of the dial and the speed of the machine, with a forecast.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use pupil_data::{Examples, Position, Row};
use pupil_model::Settings as Architecture;
use pupil_model::gpt::Config;
use pupil_report::{number, size};
use pupil_tensor::buffer;
use pupil_train::plan::{Forecast, Limits};
use pupil_train::{Plan, dial, difficulty, memory, optim, plan};

use crate::arguments::Given;
use crate::exit::Usage;
use crate::pretrain::Pretrain;
use crate::process;
use crate::progress::clock;
use crate::ranks;
use crate::room;

/// Share of --minutes that a run is planned for; what is left is for the machine's moods and the last save.
const SHARE: f64 = 0.95;
/// How much longer a step takes in a run than alone: rows are read, metrics written.
const OVERHEAD: f64 = 1.03;
/// Depths whose speed is measured when one is chosen.
const MEASURED: [usize; 2] = [2, 4];
/// Tokens of a row when the machine is measured.
const ROW: usize = 2048;
/// Operations of a row from which on its time is reckoned from that of smaller models instead of measured: a second or two.
const HEAVY: f64 = 4e11;
/// Tokens of an evaluation: at least so many, and at least a hundredth of the run's.
pub(crate) const EVALUATED: u64 = 16_384;
/// Bytes of the program itself, before it reads anything.
const PROGRAM: u64 = 10 << 20;
/// Bytes of what comes after planning: more of the program, caches of the samples that are written on the way, the report.
const LATER: u64 = 6 << 20;
/// How much more the system counts than is in use: what was freed between things that stay.
const FRAGMENTED: f64 = 1.04;

/// The depth for vocabulary and context, which must be known before the machine is measured.
pub(crate) fn likely_depth(a: &Pretrain) -> usize {
    let by_time = |minutes: f64| if minutes < 60.0 { 4 } else { 6 };
    a.depth.or(a.layers).or(a.common.minutes.map(by_time)).unwrap_or(4)
}

/// What a run learns from, as far as a plan needs it.
pub(crate) struct Material<'a> {
    /// To learn from.
    pub(crate) train: &'a dyn Examples,
    /// Held out.
    pub(crate) validation: &'a dyn Examples,
    /// Bytes of each id.
    pub(crate) id_bytes: &'a [u32],
    /// What tells it from other data.
    pub(crate) fingerprint: String,
}

/// A plan, and where each of its settings comes from.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    pub(crate) depth: Option<usize>,
    pub(crate) settings: Vec<Setting>,
}

/// A setting as it was settled.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) origin: String,
}

/// The model of a depth with what was asked otherwise.
fn config(a: &Pretrain, depth: usize, vocab: usize, context: usize) -> anyhow::Result<Config> {
    let width = a.width.unwrap_or_else(|| dial::width(depth));
    let fits = |h: &usize| width.is_multiple_of(*h) && (width / h).is_multiple_of(2);
    let heads = a.heads.or_else(|| (1..=(width / dial::HEAD).max(1)).rev().find(fits)).unwrap_or(1);
    if !width.is_multiple_of(heads) {
        anyhow::bail!(Usage(format!("--width {width} is not a multiple of --heads {heads}")));
    }
    let config = dial::llama(a.layers.unwrap_or(depth), width, heads, vocab, context);
    config.check().map_err(Usage)?;
    Ok(config)
}

/// The optimiser of the dial with what was asked otherwise.
fn optimiser(a: &Pretrain, tokens: f64, unique: f64) -> optim::Settings {
    let rule = dial::optimiser(tokens, unique);
    let muon = a.common.muon.or(rule.muon).filter(|m| *m > 0.0);
    optim::Settings {
        learning_rate: a.common.lr.unwrap_or(rule.learning_rate),
        muon,
        weight_decay: a.weight_decay.unwrap_or(rule.weight_decay),
        ..rule
    }
}

/// Settles everything. `begun` is when the command began.
pub(crate) fn plan(
    a: &Pretrain,
    of: &Material<'_>,
    context: usize,
    begun: Instant,
) -> anyhow::Result<Planned> {
    let common = &a.common;
    let dtype = process::dtype(&common.dtype)?;
    let vocab = of.id_bytes.len();
    let unique = of.train.tokens() as f64;
    let is_shaped = a.layers.is_some() || a.width.is_some() || a.heads.is_some();
    let pairs = difficulty::pairs(of.train, of.validation, of.id_bytes, ROW.max(context))?;
    let base = memory::resident_bytes().unwrap_or(0).max(PROGRAM);
    let budget = common.minutes.map(|m| m * 60.0 * SHARE);
    let left = |budget: f64| budget - begun.elapsed().as_secs_f64();

    let (depth, why) = match (a.depth, budget) {
        (Some(depth), _) => (depth, None),
        (None, Some(budget)) if !is_shaped => {
            let speed = Speed::measure(vocab, context, dtype);
            let seconds = |d: usize| speed.seconds(&dial::model(d, vocab, context));
            let (depth, _) = dial::choose(|_| vocab, unique, left(budget).max(0.0), seconds);
            (depth, Some("minutes"))
        }
        _ => (likely_depth(a), Some("default")),
    };
    let model = config(a, depth, vocab, context)?;
    let architecture = Architecture::Gpt(model.clone());
    let parameters = model.parameter_count();

    let seconds_of = |row: usize| {
        // Parameters, gradients, moments, and the activations of a row: what does not fit cannot be tried, only reckoned, and refused afterwards.
        let held = 16 * parameters + architecture.activation_bytes(row, dtype.size()) as u64 * 9 / 8;
        if model.training_flops_per_token(context) * row as f64 > HEAVY || !room::holds(held) {
            return Speed::measure(vocab, context, dtype).seconds(&model) * row as f64;
        }
        plan::seconds_per_row(&architecture, optimiser(a, 0.0, 0.0), row, dtype) * OVERHEAD
    };

    // The batch depends on the tokens, the time of a step on the batch, and the tokens on that time.
    let rough = match (common.steps, budget) {
        (Some(steps), _) => steps as f64 * ROW as f64,
        (None, Some(_)) => {
            let row = ROW.max(context);
            let each = seconds_of(row) / row as f64;
            budget.map_or(0.0, left).max(0.0) / each
        }
        (None, None) => {
            let most = if unique > 0.0 { dial::EPOCHS * unique } else { f64::INFINITY };
            dial::LAW.best_tokens(parameters).min(most)
        }
    };
    let batch = common.batch_tokens.unwrap_or_else(|| dial::batch_tokens(rough));
    let (rows, row_tokens) = ranks::rows(batch, context, common.rows)?;
    let tokens_of_step = (rows * row_tokens) as u64;
    let each = seconds_of(row_tokens) * ranks::rows_here(rows) as f64;
    buffer::trim();

    let evaluations: u32 = if a.until_loss.is_some() || a.early_stopping.is_some() { 20 } else { 8 };
    let mut evaluate_tokens = EVALUATED.max(rough as u64 / 100);
    evaluate_tokens = evaluate_tokens.min(of.validation.tokens().max(1));
    // Forward is a third of a step.
    let evaluation = evaluate_tokens as f64 * each / tokens_of_step as f64 / 3.0;
    let steps = match (common.steps, budget) {
        (Some(steps), _) => steps,
        (None, Some(budget)) => {
            let steps = (left(budget) - 1.0 - f64::from(evaluations) * evaluation) / each;
            if steps < 10.0 {
                let minutes = common.minutes.unwrap_or_default();
                anyhow::bail!(Usage(format!(
                    "--minutes {minutes}: time for fewer than ten steps of {} s; more minutes, a smaller --depth or fewer --batch-tokens",
                    each.ceil()
                )));
            }
            steps as u64
        }
        (None, None) => (rough / tokens_of_step as f64).ceil().max(10.0) as u64,
    };
    let tokens = steps as f64 * tokens_of_step as f64;
    let epochs = tokens / unique.max(1.0);
    let limits = Limits {
        seconds: budget.map(|b| (left(b) - 0.5).max(1.0)),
        bits_per_byte: a.until_loss,
        evaluations: a.early_stopping,
        evaluate_tokens: Some(evaluate_tokens),
    };
    let mut plan = Plan {
        stage: "pretrain".to_owned(),
        model: architecture,

        lora: None,
        optimiser: optimiser(a, rough, unique),
        schedule: dial::schedule(steps),
        steps,
        rows,
        row_tokens,
        seed: common.seed,
        dtype: dtype.name().to_owned(),
        evaluate_every: (steps / u64::from(evaluations)).max(1),
        save_every: common.save_every.max(1),
        keep_best: a.early_stopping.is_some() || (unique > 0.0 && epochs > dial::EPOCHS),
        data: of.fingerprint.clone(),
        limits,
        forecast: None,
    };
    // Of text that is not there: as that of the study.
    let pairs = pairs.or((unique == 0.0).then_some(dial::PAIRS));
    let expected = pairs.map(|pairs| dial::LAW.expected(parameters, tokens, unique) * pairs / dial::PAIRS);
    let used = base + plan.memory_bytes() + short_row_bytes(&plan, of.train)? + LATER;
    plan.forecast = Some(Forecast {
        seconds: begun.elapsed().as_secs_f64()
            + 1.5
            + steps as f64 * each
            + f64::from(evaluations) * evaluation,
        seconds_per_step: each,
        seconds_per_evaluation: evaluation,
        memory_bytes: process::peak_rss_mb().saturating_mul(1_000_000).max((FRAGMENTED * used as f64) as u64),
        disk_bytes: plan.disk_bytes(),
        bits_per_byte: expected.map(|e| a.until_loss.map_or(e, |u| e.max(u))),
    });
    let shown = if is_shaped { None } else { Some(depth) };
    let settings = settings(&a.given, &plan, &model, shown, why);
    Ok(Planned { plan, depth: shown, settings })
}

/// Bytes of the buffers of the shortest row, if they are not those of the others: if it is shorter than half of them.
fn short_row_bytes(plan: &Plan, train: &dyn Examples) -> anyhow::Result<u64> {
    if train.tokens() == 0 {
        return Ok(0);
    }
    let (mut rows, mut row) = (train.rows(plan.row_tokens, plan.seed), Row::default());
    let (mut shortest, mut left) = (plan.row_tokens, plan.steps.saturating_mul(plan.rows as u64));
    let is_first = |p: Position| p.epoch == 0 && p.window == 0;
    while left > 0 && is_first(rows.position()) {
        rows.next(&mut row)?;
        shortest = shortest.min(row.ids.len());
        left -= 1;
    }
    let own = 2 * shortest < plan.row_tokens;
    Ok(if own { plan.model.activation_bytes(shortest, plan.dtype().size()) as u64 } else { 0 })
}

/// How fast this machine trains, from two depths.
struct Speed {
    /// Operations of a token and its seconds.
    points: [(f64, f64); 2],
}

impl Speed {
    fn measure(vocab: usize, context: usize, dtype: pupil_tensor::DType) -> Speed {
        let row = ROW.max(context);
        let points = MEASURED.map(|depth| {
            let c = dial::model(depth, vocab, context);
            let flops = c.training_flops_per_token(context);
            let seconds = plan::seconds_per_row(&Architecture::Gpt(c), dial::optimiser(0.0, 0.0), row, dtype);
            (flops, OVERHEAD * seconds / row as f64)
        });
        Speed { points }
    }

    /// Seconds of a token: a power of its operations through both points.
    fn seconds(&self, model: &Config) -> f64 {
        let [(f, t), (g, u)] = self.points;
        let power = ((u / t).ln() / (g / f).ln()).clamp(0.6, 1.1);
        u * (model.training_flops_per_token(model.context) / g).powf(power)
    }
}

/// Every setting with its origin.
fn settings(
    given: &BTreeMap<String, Given>,
    plan: &Plan,
    model: &Config,
    depth: Option<usize>,
    why: Option<&str>,
) -> Vec<Setting> {
    let by = match (depth, why) {
        (Some(depth), Some("minutes")) => format!("depth {depth}, by --minutes"),
        (Some(depth), Some(_)) => format!("depth {depth}, the default"),
        (Some(depth), None) => format!("depth {depth}"),
        (None, _) => "default".to_owned(),
    };
    let o = &plan.optimiser;
    let number = |n: usize| n.to_string();
    let mut list = Vec::new();
    let mut add = |name: &'static str, value: String, otherwise: &str| {
        let was_given = given.get(name).filter(|g| g.origin != "default" || otherwise.is_empty());
        let origin = was_given.map_or(otherwise, |g| &g.origin).to_owned();
        let origin = if origin.is_empty() { "default".to_owned() } else { origin };
        list.push(Setting { name, value, origin });
    };
    if let Some(depth) = depth {
        add(
            "depth",
            number(depth),
            why.map_or("flag", |w| if w == "minutes" { "by --minutes" } else { "default" }),
        );
    }
    add("layers", number(model.layers), &by);
    add("width", number(model.width), &by);
    add("heads", number(model.heads), &by);
    add("vocab", number(model.vocab), "the tokenizer");
    add("context", number(model.context), &by);
    add("batch-tokens", number(plan.rows * plan.row_tokens), "by the tokens");
    let steps = if given.contains_key("minutes") { "by --minutes" } else { by.as_str() };
    add("steps", plan.steps.to_string(), steps);
    add("lr", o.learning_rate.to_string(), "by the text");
    add("muon", o.muon.unwrap_or(0.0).to_string(), "by the text");
    add("weight-decay", o.weight_decay.to_string(), "by the epochs");
    add("seed", plan.seed.to_string(), "");
    add("dtype", plan.dtype.clone(), "the processor");
    add("save-every", plan.save_every.to_string(), "");
    for (name, value) in [
        ("until-loss", plan.limits.bits_per_byte.map(|b| b.to_string())),
        ("early-stopping", plan.limits.evaluations.map(|n| n.to_string())),
    ] {
        if let Some(value) = value {
            add(name, value, "");
        }
    }
    list
}

/// The settings as lines for a person.
pub(crate) fn table(settings: &[Setting]) -> String {
    let mut text = String::new();
    for s in settings {
        let _ = writeln!(text, "{:<16}{:<14}{}", s.name, s.value, s.origin);
    }
    text
}

/// The settings as a recipe that gives the same run, whatever the machine's speed.
pub(crate) fn recipe(settings: &[Setting]) -> String {
    let mut text = "# Every setting of this run and where it came from. `pupil pretrain --recipe THIS --data … --out …` repeats it.\n".to_owned();
    for s in settings.iter().filter(|s| s.name != "depth") {
        let quote = if s.value.parse::<f64>().is_ok() { "" } else { "\"" };
        let _ = writeln!(text, "# {}\n{} = {quote}{}{quote}", s.origin, s.name.replace('-', "_"), s.value);
    }
    text
}

/// What a plan is and what it is expected to take, for a person.
pub(crate) fn describe(planned: &Planned, unique: u64) -> String {
    let plan = &planned.plan;
    let tokens = plan.steps * (plan.rows * plan.row_tokens) as u64;
    let f = plan.forecast.unwrap_or_default();
    let depth = planned.depth.map_or(String::new(), |d| format!("depth {d}: "));
    let times = if unique == 0 {
        String::new()
    } else {
        format!(", {:.1} times the data", tokens as f64 / unique as f64)
    };
    let mut text = format!(
        "  {depth}{} parameters, {} steps of {} tokens{times}; {} on {} threads\n",
        number(plan.model.parameter_count()),
        number(plan.steps),
        number((plan.rows * plan.row_tokens) as u64),
        plan.dtype,
        pupil_tensor::kernels::pool::threads()
    );
    let _ = write!(
        text,
        "  forecast: {}, {} of memory, {} of disk",
        clock(f.seconds),
        size(f.memory_bytes),
        size(f.disk_bytes)
    );
    if let Some(bits) = f.bits_per_byte {
        let _ = write!(text, ", {bits:.2} bits per byte");
    }
    text
}
