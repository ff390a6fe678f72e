//! `pupil bench matmul`: y = x·Wᵀ, dx = dy·W and dW = dyᵀ·x at the shapes of training.

use std::time::Instant;

use pupil_tensor::kernels::matmul::{self, Epilogue, Panels};
use pupil_tensor::kernels::matrix::MatMut;
use pupil_tensor::kernels::{peak, pool, random};
use pupil_tensor::{DType, Tensor};

use super::median;
use crate::process;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Comma-separated width × rows; each is measured for a map to the same width and to four times it.
    #[arg(long, default_value = "128x768,384x4096,512x2048,768x2048")]
    shapes: String,
    /// Seconds for each product.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Element type of the operands: bf16, f32, or both.
    #[arg(long, default_value = "both")]
    dtype: String,
    /// A JSON object for each line of the table.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(a: &Arguments) -> anyhow::Result<()> {
    let dtypes = match a.dtype.as_str() {
        "both" => vec![DType::F32, DType::Bf16],
        other => vec![process::dtype(other)?],
    };
    if !a.json {
        println!(
            "{:>5} {:>5} {:>5}  type  {:>22} {:>22} {:>22}",
            "in", "out", "rows", "y GFLOP/s", "dx", "dW"
        );
    }
    for dtype in dtypes {
        let peak = peak::measure(dtype, pool::threads());
        for shape in a.shapes.split(',') {
            let (width, rows) = shape
                .split_once('x')
                .ok_or_else(|| anyhow::anyhow!("shape `{shape}`: expected WIDTHxROWS"))?;
            let (width, rows): (usize, usize) = (width.trim().parse()?, rows.trim().parse()?);
            for out in [width, 4 * width] {
                let rates = measure(width, out, rows, dtype, a.seconds);
                if a.json {
                    let line = serde_json::json!({
                        "in": width, "out": out, "rows": rows, "dtype": dtype.name(), "peak_gflops": peak,
                        "y": rates[0], "dx": rates[1], "dw": rates[2],
                    });
                    println!("{line}");
                } else {
                    let cell = |r: f64| format!("{r:.1} ({:.0} %)", 100.0 * r / peak);
                    let cells = rates.map(cell);
                    println!(
                        "{width:>5} {out:>5} {rows:>5}  {:<4}  {:>22} {:>22} {:>22}",
                        dtype.name(),
                        cells[0],
                        cells[1],
                        cells[2]
                    );
                }
            }
        }
        if !a.json {
            println!("measured peak, {}: {peak:.0} GFLOP/s on {} threads", dtype.name(), pool::threads());
        }
    }
    Ok(())
}

/// GFLOP/s of y, dx and dW. Weights are packed beforehand, as once per training step; everything else is included.
fn measure(width: usize, out: usize, rows: usize, dtype: DType, seconds: f64) -> [f64; 3] {
    let make = |stream: u64, r: usize, c: usize| {
        let mut v = vec![0.0; r * c];
        random::normal(random::Key { seed: 3, stream, step: 0 }, 0.0, 1.0, &mut v);
        (Tensor::from_f32(&v, r, c, dtype), v)
    };
    let ((x, _), (dy, _), (_, w)) = (make(0, rows, width), make(1, rows, out), make(2, out, width));
    let w = pupil_tensor::kernels::matrix::Mat::f32(&w, out, width);
    let (mut forward, mut backward) = (Panels::new(), Panels::new());
    forward.pack(w, true, dtype);
    backward.pack(w, false, dtype);
    let mut y = Tensor::new(rows, out, dtype);
    let mut dx = Tensor::new(rows, width, dtype);
    let mut dw = vec![0.0; out * width];
    let flop = 2.0 * (width * out * rows) as f64;
    let rate = |f: &mut dyn FnMut()| {
        for _ in 0..3 {
            f();
        }
        let (mut times, begun) = (Vec::new(), Instant::now());
        while begun.elapsed().as_secs_f64() < seconds {
            let t = Instant::now();
            f();
            times.push(t.elapsed().as_secs_f64());
        }
        flop / median(times) / 1e9
    };
    [
        rate(&mut || matmul::matmul(x.view(), &forward, y.view_mut(), &Epilogue::default())),
        rate(&mut || matmul::matmul(dy.view(), &backward, dx.view_mut(), &Epilogue::default())),
        rate(&mut || matmul::matmul_tn(dy.view(), x.view(), MatMut::f32(&mut dw, out, width), false, dtype)),
    ]
}
