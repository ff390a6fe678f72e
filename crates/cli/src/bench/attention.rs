//! `pupil bench attention`: causal attention forward and backward on spans of equal length.

use std::time::Instant;

use pupil_tensor::kernels::attention::{self, Gradients, Options, Shape, Span};
use pupil_tensor::kernels::{peak, pool, random};
use pupil_tensor::{DType, Tensor};

use super::median;
use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Tokens in a sequence.
    #[arg(long, default_value_t = 512)]
    length: usize,
    /// Sequences side by side.
    #[arg(long, default_value_t = 4)]
    sequences: usize,
    /// Query heads.
    #[arg(long, default_value_t = 8)]
    heads: usize,
    /// Key-value heads.
    #[arg(long, default_value_t = 8)]
    kv_heads: usize,
    /// Width of a head.
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Element type: bf16, f32, or auto.
    #[arg(long, default_value = "auto")]
    dtype: String,
    /// Seconds for each pass.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let dtype = process::dtype(&a.dtype)?;
    let shape = Shape { heads: a.heads, kv_heads: a.kv_heads, width: a.width };
    let options = Options { causal: true, window: None, scale: (a.width as f32).powf(-0.5), softcap: None };
    let (t, q, kv) = (a.length * a.sequences, a.heads * a.width, a.kv_heads * a.width);
    let spans: Vec<Span> = (0..a.sequences)
        .map(|i| i * a.length..(i + 1) * a.length)
        .map(|r| Span { queries: r.clone(), keys: r })
        .collect();
    let random = |stream: u64, cols: usize| {
        let mut v = vec![0.0; t * cols];
        random::normal(random::Key { seed: 5, stream, step: 0 }, 0.0, 1.0, &mut v);
        Tensor::from_f32(&v, t, cols, dtype)
    };
    let (qkv, dout) = (random(0, q + 2 * kv), random(1, q));
    let mut out = Tensor::new(t, q, dtype);
    let mut lse = Tensor::new(t, a.heads, DType::F32);
    let mut dqkv = Tensor::new(t, q + 2 * kv, dtype);
    let parts = || [qkv.columns(0, q), qkv.columns(q, kv), qkv.columns(q + kv, kv)];
    let time = |f: &mut dyn FnMut()| {
        f();
        let (mut times, begun) = (Vec::new(), Instant::now());
        while begun.elapsed().as_secs_f64() < a.seconds || times.len() < 3 {
            let start = Instant::now();
            f();
            times.push(start.elapsed().as_secs_f64());
        }
        median(times)
    };
    let [qs, ks, vs] = parts();
    let forward = time(&mut || {
        attention::forward(qs, ks, vs, &spans, shape, options, out.view_mut(), Some(lse.f32s_mut()))
    });
    let backward = time(&mut || {
        let gradients = Gradients::Fused(dqkv.view_mut());
        attention::backward(
            qs,
            ks,
            vs,
            out.view(),
            dout.view(),
            lse.f32s(),
            &spans,
            shape,
            options,
            gradients,
        );
    });
    // Two products of n(n+1)/2 scores by E columns each forward, five backward.
    let product = (a.length * (a.length + 1) * a.width * a.heads * a.sequences) as f64;
    let (forward_work, backward_work) = (2.0 * product, 5.0 * product);
    let peak = peak::measure(dtype, pool::threads());
    let rates = [
        forward_work / forward,
        backward_work / backward,
        (forward_work + backward_work) / (forward + backward),
    ]
    .map(|r| r / 1e9);
    let report = serde_json::json!({
        "dtype": dtype.name(), "length": a.length, "sequences": a.sequences, "heads": a.heads, "width": a.width,
        "forward_gflops": rates[0], "backward_gflops": rates[1], "both_gflops": rates[2],
        "peak_gflops": peak, "peak_fraction": rates[2] / peak,
    });
    if a.json {
        println!("{report}");
    } else {
        for (name, r) in ["forward", "backward", "both"].iter().zip(rates) {
            println!(
                "{name:<9} {r:>7.1} GFLOP/s of causal work, {:.0} % of {} peak ({peak:.0})",
                100.0 * r / peak,
                dtype.name()
            );
        }
    }
    Ok(())
}
