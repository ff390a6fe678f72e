//! `pupil plan`: what a known model costs: parameters, memory, arithmetic, time on this machine and on hardware given by its speed; and, with
//! --depth or --minutes, what `pupil pretrain` would do here.

use std::time::Instant;

use pupil_data::Items;
use pupil_model::families::{self, PRESETS};
use pupil_model::{Form, Settings, bert, transformer};
use pupil_report::{number, size};
use pupil_tensor::kernels::{peak, pool};

use crate::exit::Usage;
use crate::learn::Common;
use crate::planning::{self, Material};
use crate::pretrain::Pretrain;
use crate::process;
use crate::sane::within;

/// `pupil plan`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which model: gpt1, gpt2-xl, gpt3, llama3-8b, bert-base, transformer-base, … (a wrong name lists them all).
    #[arg(long, required_unless_present_any = ["depth", "minutes"], conflicts_with_all = ["depth", "minutes"])]
    preset: Option<String>,
    /// What `pupil pretrain --depth` would do on this machine with as much text as it likes.
    #[arg(long)]
    depth: Option<usize>,
    /// The same for `pupil pretrain --minutes`, with --depth or without.
    #[arg(long)]
    minutes: Option<f64>,
    /// Tokens to learn from; without it 20 for each parameter (Hoffmann et al. 2022), for gpt3 the 300 billion of its paper.
    #[arg(long)]
    tokens: Option<f64>,
    /// Speed of the hardware to forecast for, in FLOP/s; the default is an A100's in bf16.
    #[arg(long, default_value_t = 312e12)]
    flops: f64,
    /// How many of those.
    #[arg(long, default_value_t = 1)]
    devices: u64,
    /// Share of that speed that training reaches.
    #[arg(long, default_value_t = 0.4)]
    utilisation: f64,
    /// Price of one for an hour, in any currency; 0: not asked.
    #[arg(long, default_value_t = 0.0)]
    price: f64,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// Share of the processor's peak that pupil's training reaches on models of this kind (measured: 55 to 65 %).
const OWN_UTILISATION: f64 = 0.6;

/// Models that are no GPTs, with what their papers say of their size.
const OTHERS: [&str; 3] = ["transformer-base", "bert-base", "bert-large"];

/// The settings of a model that is no GPT.
fn other(name: &str) -> Option<Settings> {
    Some(match name {
        // Vaswani et al. 2017, table 3, with the 37,000 ids of its English–German task.
        "transformer-base" => Settings::Transformer(transformer::Config {
            vocab: 37_000,
            form: Form { length: 512, padded: false, start: 0, start_is_said: false, end: 0 },
            encoder_layers: 6,
            decoder_layers: 6,
            width: 512,
            heads: 8,
            hidden: 2048,
            activation: transformer::Kind::Relu,
            dropout: 0.1,
            smoothing: 0.1,
        }),
        // Devlin et al. 2018.
        "bert-base" => Settings::Bert(bert::Config::base()),
        "bert-large" => {
            let base = bert::Config::base();
            Settings::Bert(bert::Config { layers: 24, width: 1024, heads: 16, hidden: 4096, ..base })
        }
        _ => return None,
    })
}

/// What a plan needs to know of a model.
struct Cost {
    parameters: u64,
    shape: String,
    context: usize,
    flops_per_token: f64,
}

fn cost(settings: &Settings) -> Cost {
    let parameters = settings.parameter_count();
    let context = settings.context();
    let (shape, flops_per_token) = match settings {
        Settings::Gpt(c) => (
            format!(
                "{} layers, width {}, {} heads, {} ids, context {}",
                c.layers, c.width, c.heads, c.vocab, c.context
            ),
            c.training_flops_per_token(context),
        ),
        Settings::Bert(c) => (
            format!(
                "{} layers, width {}, {} heads, {} ids, context {}",
                c.layers, c.width, c.heads, c.vocab, c.context
            ),
            // Every matrix sees every token; the tables of tokens and places are only looked up.
            6.0 * (parameters - (c.vocab + c.context) as u64 * c.width as u64) as f64
                + 12.0 * (c.layers * c.width * context) as f64,
        ),
        Settings::Transformer(c) => (
            format!(
                "{} + {} layers, width {}, {} heads, {} ids",
                c.encoder_layers, c.decoder_layers, c.width, c.heads, c.vocab
            ),
            // A token goes through one of the two stacks.
            3.0 * parameters as f64,
        ),
        _ => (String::new(), 6.0 * parameters as f64),
    };
    Cost { parameters, shape, context, flops_per_token }
}

/// What `pupil pretrain` would do here.
fn pretraining(a: &Arguments) -> anyhow::Result<()> {
    let depths = pupil_train::dial::DEPTHS;
    within("depth", a.depth, *depths.start(), *depths.end())?;
    within("minutes", a.minutes, 0.01, 1e6)?;
    let begun = Instant::now();
    let common = Common { minutes: a.minutes, dtype: "auto".into(), save_every: 250, ..Common::default() };
    let asked = Pretrain { common, depth: a.depth, ..Pretrain::default() };
    let depth = planning::likely_depth(&asked);
    let vocab = pupil_train::dial::vocab(depth, u64::MAX);
    let nothing = Items::default();
    let id_bytes = vec![1; vocab];
    let material =
        Material { train: &nothing, validation: &nothing, id_bytes: &id_bytes, fingerprint: String::new() };
    let planned = planning::plan(&asked, &material, pupil_train::dial::context(depth), begun)?;
    if a.json {
        println!("{}", serde_json::to_string_pretty(&planned.plan)?);
        return Ok(());
    }
    println!("{}", planning::describe(&planned, 0));
    println!("  (bits per byte: of text as mixed as that of docs/scaling.md)");
    print!("{}", planning::table(&planned.settings));
    Ok(())
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let Some(preset) = &a.preset else { return pretraining(a) };
    let Some(config) = families::preset(preset).map(Settings::Gpt).or_else(|| other(preset)) else {
        let known = [&PRESETS[..], &OTHERS[..]].concat().join(", ");
        anyhow::bail!(Usage(format!("--preset {preset}: known are {known}")));
    };
    let positive =
        [a.flops, a.utilisation, a.tokens.unwrap_or(1.0)].iter().all(|x| x.is_finite() && *x > 0.0);
    if !positive || a.utilisation > 1.0 || a.devices == 0 || a.price < 0.0 {
        anyhow::bail!(Usage(
            "--flops, --tokens and --devices are positive, --utilisation is at most 1".into()
        ));
    }
    let Cost { parameters, shape, context, flops_per_token: per_token } = cost(&config);
    let tokens = a.tokens.unwrap_or(if preset == "gpt3" { 300e9 } else { 20.0 * parameters as f64 });
    let all = per_token * tokens;
    let dtype = process::dtype("auto")?;
    let here = peak::measure(dtype, pool::threads()) * 1e9 * OWN_UTILISATION;
    let there = a.flops * a.utilisation;
    let state = parameters * 16;
    let activations = config.activation_bytes(context, dtype.size()) as u64;
    let device_hours = all / there / 3600.0;
    if a.json {
        println!(
            "{:#}",
            serde_json::json!({
                "preset": preset, "parameters": parameters, "model": config, "tokens": tokens,
                "weights_bytes_bf16": parameters * 2, "training_state_bytes": state, "activation_bytes_per_row": activations,
                "flop_per_token": per_token, "flop": all, "seconds_here": all / here, "device_hours": device_hours,
                "hours": device_hours / a.devices as f64, "price": device_hours * a.price,
            })
        );
        return Ok(());
    }
    println!("{preset}: {} parameters", number(parameters));
    println!("  shape        {shape}");
    println!("  weights      {} in bf16, {} in 8 bits", size(parameters * 2), size(parameters));
    println!(
        "  training     {} for weights, gradients and moments, {} of activations for a row of {} tokens",
        size(state),
        size(activations),
        context
    );
    println!("  arithmetic   {per_token:.3e} FLOP a token, {all:.3e} for {tokens:.3e} tokens");
    println!(
        "  here         {} ({:.0} GFLOP/s of {} threads)",
        duration(all / here),
        here / 1e9,
        pool::threads()
    );
    let devices = if a.devices == 1 { String::new() } else { format!(" on {} of them", number(a.devices)) };
    println!(
        "  there        {} device hours at {:.3e} FLOP/s and {:.0} %: {}{devices}",
        number(device_hours.round() as u64),
        a.flops,
        100.0 * a.utilisation,
        duration(device_hours * 3600.0 / a.devices as f64),
    );
    if a.price > 0.0 {
        println!("  price        {}", number((device_hours * a.price).round() as u64));
    }
    Ok(())
}

/// Seconds in the unit that a person would use.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} seconds"),
        s if s < 7200.0 => format!("{:.0} minutes", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} hours", s / 3600.0),
        s if s < 2.0 * 31_557_600.0 => format!("{:.0} days", s / 86_400.0),
        s => format!("{} years", number((s / 31_557_600.0).round() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_are_no_gpts_have_the_sizes_of_their_papers() {
        for (name, millions) in [("transformer-base", 65.0), ("bert-base", 110.0), ("bert-large", 340.0)] {
            let settings = other(name).unwrap();
            settings.check().unwrap();
            let here = settings.parameter_count() as f64 / 1e6;
            assert!(
                (here / millions - 1.0).abs() < 0.035,
                "{name}: {here} million, the paper says {millions}"
            );
            assert!(cost(&settings).flops_per_token > 1e6 * millions, "{name}");
        }
        assert!(OTHERS.iter().all(|n| other(n).is_some()) && other("bert").is_none());
    }
}
