//! `pupil plan`: what a known model costs: parameters, memory, arithmetic, time on this machine and on hardware given by its speed.

use pupil_model::families::{self, PRESETS};
use pupil_report::{number, size};
use pupil_tensor::kernels::{peak, pool};

use crate::exit::Usage;
use crate::process;

/// `pupil plan`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which model: gpt1, gpt2, gpt2-xl, gpt3, llama3-8b, … (a wrong name lists them all).
    #[arg(long)]
    preset: String,
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

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let Some(config) = families::preset(&a.preset) else {
        let what = format!("--preset {}: known are {}", a.preset, PRESETS.join(", "));
        anyhow::bail!(Usage(what));
    };
    let positive =
        [a.flops, a.utilisation, a.tokens.unwrap_or(1.0)].iter().all(|x| x.is_finite() && *x > 0.0);
    if !positive || a.utilisation > 1.0 || a.devices == 0 || a.price < 0.0 {
        anyhow::bail!(Usage(
            "--flops, --tokens and --devices are positive, --utilisation is at most 1".into()
        ));
    }
    let parameters = config.parameter_count();
    let tokens = a.tokens.unwrap_or(if a.preset == "gpt3" { 300e9 } else { 20.0 * parameters as f64 });
    let per_token = config.training_flops_per_token(config.context);
    let all = per_token * tokens;
    let dtype = process::dtype("auto")?;
    let here = peak::measure(dtype, pool::threads()) * 1e9 * OWN_UTILISATION;
    let there = a.flops * a.utilisation;
    let state = parameters * 16;
    let activations = config.activation_bytes(config.context, dtype.size()) as u64;
    let device_hours = all / there / 3600.0;
    if a.json {
        println!(
            "{:#}",
            serde_json::json!({
                "preset": a.preset, "parameters": parameters, "layers": config.layers, "width": config.width,
                "heads": config.heads, "context": config.context, "vocab": config.vocab, "tokens": tokens,
                "weights_bytes_bf16": parameters * 2, "training_state_bytes": state, "activation_bytes_per_row": activations,
                "flop_per_token": per_token, "flop": all, "seconds_here": all / here, "device_hours": device_hours,
                "hours": device_hours / a.devices as f64, "price": device_hours * a.price,
            })
        );
        return Ok(());
    }
    println!("{}: {} parameters", a.preset, number(parameters));
    println!(
        "  shape        {} layers, width {}, {} heads, {} ids, context {}",
        config.layers, config.width, config.heads, config.vocab, config.context
    );
    println!("  weights      {} in bf16, {} in 8 bits", size(parameters * 2), size(parameters));
    println!(
        "  training     {} for weights, gradients and moments, {} of activations for a row of {} tokens",
        size(state),
        size(activations),
        config.context
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
