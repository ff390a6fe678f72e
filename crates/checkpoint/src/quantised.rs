//! Weights of 8 or 4 bits in safetensors: whole numbers and scales, as the `compressed-tensors` form of the Hugging Face world lays them out.
//!
//! A matrix `NAME` of 8 bits is an I8 tensor `NAME` and an F32 tensor `NAME_scale` of one number for each row: weight = whole number · scale. Of 4 bits
//! it is an I32 tensor `NAME_packed`, eight numbers to a word, the first in the lowest bits, each with 8 added; a BF16 tensor
//! `NAME_scale` of one number for each 32 columns of a row; and an I64 tensor `NAME_shape`. Vectors (gains, biases) stay F32. `config.json` says it under
//! `quantization_config` (formats `int-quantized` and `pack-quantized`). Rows are those of the file's matrix.

use std::path::Path;

use pupil_tensor::kernels::eight::Eight;
use pupil_tensor::kernels::pool;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

use crate::Error;
use crate::tensors::{Raw, Stored, plain};

/// Columns that share a scale of 4-bit weights.
pub const BLOCK: usize = 32;

/// How many bits a weight of a matrix has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// Whole numbers from −127 to 127, a scale for each row.
    Eight,
    /// Whole numbers from −8 to 7, a scale for each 32 columns.
    Four,
}

/// What `config.json` says about it.
pub(crate) fn config(bits: Bits) -> Value {
    let (format, number, strategy, group) = match bits {
        Bits::Eight => ("int-quantized", 8, "channel", Value::Null),
        Bits::Four => ("pack-quantized", 4, "group", json!(BLOCK)),
    };
    let weights = json!({
        "num_bits": number, "type": "int", "symmetric": true, "strategy": strategy, "group_size": group, "dynamic": false,
    });
    json!({
        "quant_method": "compressed-tensors", "format": format, "quantization_status": "compressed", "ignore": [],
        "config_groups": {"group_0": {"targets": ["Linear", "Embedding"], "weights": weights, "input_activations": null, "output_activations": null}},
    })
}

/// A tensor as the file's tensors; vectors stay as they are.
pub(crate) fn pack(name: &str, t: &Stored, bits: Bits) -> Vec<Raw> {
    let &[rows, cols] = &t.shape[..] else { return vec![plain(name, t)] };
    if rows * cols == 0 {
        return vec![plain(name, t)];
    }
    match bits {
        Bits::Eight => {
            let mut whole = vec![0u8; rows * cols];
            let mut scales = Vec::with_capacity(rows * 4);
            for (row, to) in t.data.chunks_exact(cols).zip(whole.chunks_exact_mut(cols)) {
                let scale = largest(row) / 127.0;
                scales.extend(scale.to_le_bytes());
                to.iter_mut().zip(row).for_each(|(q, x)| *q = nearest(*x, scale, -127.0, 127.0) as u8);
            }
            let scale =
                Raw { name: format!("{name}_scale"), dtype: Dtype::F32, shape: vec![rows, 1], bytes: scales };
            vec![
                Raw { name: name.to_owned(), dtype: Dtype::I8, shape: vec![rows, cols], bytes: whole },
                scale,
            ]
        }
        Bits::Four => {
            let (words, blocks) = (cols.div_ceil(8), cols.div_ceil(BLOCK));
            let (mut packed, mut scales) =
                (Vec::with_capacity(rows * words * 4), Vec::with_capacity(rows * blocks * 2));
            for row in t.data.chunks_exact(cols) {
                let mut word = vec![0u32; words];
                for (b, block) in row.chunks(BLOCK).enumerate() {
                    let upper = fitted(block);
                    scales.extend(upper.to_le_bytes());
                    let scale = widen(upper);
                    for (i, x) in block.iter().enumerate() {
                        let at = b * BLOCK + i;
                        word[at / 8] |= ((nearest(*x, scale, -8.0, 7.0) + 8) as u32) << (4 * (at % 8));
                    }
                }
                packed.extend(word.iter().flat_map(|w| w.to_le_bytes()));
            }
            let shape: Vec<u8> = [rows, cols].iter().flat_map(|n| (*n as i64).to_le_bytes()).collect();
            let raw =
                |end: &str, dtype, shape, bytes| Raw { name: format!("{name}{end}"), dtype, shape, bytes };
            vec![
                raw("_packed", Dtype::I32, vec![rows, words], packed),
                raw("_scale", Dtype::BF16, vec![rows, blocks], scales),
                raw("_shape", Dtype::I64, vec![2], shape),
            ]
        }
    }
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |m, v| m.max(v.abs()))
}

fn nearest(x: f32, scale: f32, low: f32, high: f32) -> i32 {
    if scale > 0.0 { (x / scale).round().clamp(low, high) as i32 } else { 0 }
}

/// A bf16 from its bits.
fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The scale, as the bits of a bf16, that a block of 4-bit numbers loses least with: of those that put its largest number near −8 or 7.
fn fitted(block: &[f32]) -> u16 {
    let most = largest(block);
    let error = |bits: u16| -> f32 {
        let s = widen(bits);
        block.iter().map(|x| (x - s * nearest(*x, s, -8.0, 7.0) as f32).powi(2)).sum()
    };
    let scales =
        (56..=84).step_by(2).map(|tenths| (((most * 10.0 / tenths as f32).to_bits() + 0x8000) >> 16) as u16);
    scales.min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(0)
}

/// Whether a tensor of a file is a part of a matrix that another tensor stands for.
pub(crate) fn is_part(file: &SafeTensors<'_>, name: &str) -> bool {
    let whole = |end: &str| name.strip_suffix(end).map(str::to_owned);
    let is = |name: String, dtype: Dtype| file.tensor(&name).is_ok_and(|t| t.dtype() == dtype);
    whole("_scale").is_some_and(|n| is(n.clone(), Dtype::I8) || is(n + "_packed", Dtype::I32))
        || whole("_shape").is_some_and(|n| is(n + "_packed", Dtype::I32))
}

/// The matrix that a tensor of whole numbers stands for, and its name; `None` if the tensor is none of this form.
pub(crate) fn unpack(
    path: &Path,
    file: &SafeTensors<'_>,
    name: &str,
    view: &TensorView<'_>,
) -> Option<Result<(String, Stored), Error>> {
    match (view.dtype(), name.strip_suffix("_packed")) {
        (Dtype::I8, _) => Some(eight(file, name, view).map(|k| (name.to_owned(), k.widened()))),
        (Dtype::I32, Some(whole)) => Some(four(file, whole, view).map(|t| (whole.to_owned(), t))),
        _ => None,
    }
    .map(|r| r.map_err(|what| Error::content(path, format!("tensor `{name}`: {what}"))))
}

/// The scales of a matrix, `[rows, blocks]`.
fn scales(file: &SafeTensors<'_>, name: &str, shape: [usize; 2]) -> Result<Vec<f32>, String> {
    let name = format!("{name}_scale");
    let view = file.tensor(&name).map_err(|_| format!("whole numbers without their scales `{name}`"))?;
    if view.shape() != shape {
        return Err(format!("`{name}` has shape {:?}, expected {shape:?}", view.shape()));
    }
    let scales = crate::tensors::floats(&view)
        .ok_or(format!("`{name}` is {:?}, expected F32, F16 or BF16", view.dtype()))?;
    match scales.iter().find(|s| !s.is_finite()) {
        Some(s) => Err(format!("`{name}` holds {s}")),
        None => Ok(scales),
    }
}

/// An 8-bit matrix as it is.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) shape: [usize; 2],
    pub(crate) numbers: Vec<i8>,
    pub(crate) scales: Vec<f32>,
}

impl Kept {
    /// What it stands for.
    pub(crate) fn widened(self) -> Stored {
        let data = Eight::new(self.numbers, self.scales, self.shape[1]).to_f32();
        Stored { shape: self.shape.to_vec(), data }
    }
}

/// An 8-bit matrix of a file, as it is.
pub(crate) fn kept(
    path: &Path,
    file: &SafeTensors<'_>,
    name: &str,
    view: &TensorView<'_>,
) -> Result<Kept, Error> {
    eight(file, name, view).map_err(|what| Error::content(path, format!("tensor `{name}`: {what}")))
}

fn eight(file: &SafeTensors<'_>, name: &str, view: &TensorView<'_>) -> Result<Kept, String> {
    let &[rows, cols] = view.shape() else {
        return Err(format!("shape {:?}, expected a matrix", view.shape()));
    };
    let scales = scales(file, name, [rows, 1])?;
    let numbers = view.data().iter().map(|q| *q as i8).collect();
    Ok(Kept { shape: [rows, cols], numbers, scales })
}

fn four(file: &SafeTensors<'_>, name: &str, view: &TensorView<'_>) -> Result<Stored, String> {
    let &[rows, words] = view.shape() else {
        return Err(format!("shape {:?}, expected a matrix", view.shape()));
    };
    let shape =
        file.tensor(&format!("{name}_shape")).ok().filter(|t| t.dtype() == Dtype::I64 && t.shape() == [2]);
    let shape = shape.ok_or(format!("`{name}_shape` is missing or no pair of I64"))?;
    let number = |i: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&shape.data()[8 * i..8 * i + 8]);
        usize::try_from(i64::from_le_bytes(bytes)).unwrap_or(usize::MAX)
    };
    let cols = number(1);
    if number(0) != rows || cols.div_ceil(8) != words {
        return Err(format!("{rows} rows of {words} words cannot be a matrix of {}×{cols}", number(0)));
    }
    let blocks = cols.div_ceil(BLOCK);
    let scales = scales(file, name, [rows, blocks])?;
    // The file holds four bytes for each eight numbers, so the memory is bounded by its length.
    let mut data = vec![0f32; rows * cols];
    let from = view.data();
    if cols > 0 {
        pool::chunks(&mut data, cols, |r, to| {
            let row = &from[r * words * 4..(r + 1) * words * 4];
            for (b, block) in to.chunks_mut(BLOCK).enumerate() {
                let scale = scales[r * blocks + b];
                for (i, x) in block.iter_mut().enumerate() {
                    let at = b * BLOCK + i;
                    let nibble = row[at / 2] >> (4 * (at % 2)) & 15;
                    *x = (f32::from(nibble) - 8.0) * scale;
                }
            }
        });
    }
    Ok(Stored { shape: vec![rows, cols], data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::{from_bytes, raw_bytes};
    use pupil_tensor::kernels::random::{Key, normal};

    fn matrix(rows: usize, cols: usize) -> Stored {
        let mut data = vec![0.0; rows * cols];
        normal(Key { seed: 1, stream: 2, step: 3 }, 0.0, 0.02, &mut data);
        Stored { shape: vec![rows, cols], data }
    }

    fn back(raw: Vec<Raw>) -> Result<Stored, Error> {
        let bytes = raw_bytes(raw).unwrap();
        from_bytes(Path::new("x"), &bytes).map(|mut t| {
            assert_eq!(t.len(), 1);
            t.remove("w").unwrap()
        })
    }

    #[test]
    fn weights_come_back_within_half_a_step() {
        for (rows, cols) in [(1, 1), (3, 32), (5, 70), (2, 7)] {
            let t = matrix(rows, cols);
            for (bits, steps) in [(Bits::Eight, 127.0), (Bits::Four, 5.0)] {
                let b = back(pack("w", &t, bits)).unwrap();
                assert_eq!(b.shape, t.shape);
                let block = if bits == Bits::Eight { cols } else { BLOCK };
                for (row, got) in t.data.chunks(cols).zip(b.data.chunks(cols)) {
                    for (x, y) in row.chunks(block).zip(got.chunks(block)) {
                        let step = largest(x) / steps;
                        let worst = x.iter().zip(y).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                        // Half a step; of 4 bits a step that was fitted, which may cut the largest number.
                        let bound = if bits == Bits::Eight { 0.5001 * step } else { 1.5 * step };
                        assert!(worst <= bound, "{bits:?} {rows}×{cols}: {worst} of {step}");
                    }
                }
            }
            // What has 8 bits already does not change again.
            let once = back(pack("w", &t, Bits::Eight)).unwrap();
            let twice = back(pack("w", &once, Bits::Eight)).unwrap();
            let worst = once.data.iter().zip(&twice.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-8, "{worst}");
        }
        let zeros = Stored { shape: vec![2, 40], data: vec![0.0; 80] };
        for bits in [Bits::Eight, Bits::Four] {
            assert_eq!(back(pack("w", &zeros, bits)).unwrap(), zeros);
        }
        let vector = Stored { shape: vec![3], data: vec![1.0, 2.0, 3.0] };
        assert_eq!(back(pack("w", &vector, Bits::Four)).unwrap(), vector);
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let change = |bits: Bits, f: &dyn Fn(&mut Vec<Raw>)| {
            let mut raw = pack("w", &matrix(4, 40), bits);
            f(&mut raw);
            back(raw).unwrap_err().to_string()
        };
        assert!(change(Bits::Eight, &|r| drop(r.remove(1))).contains("w_scale"));
        assert!(change(Bits::Four, &|r| drop(r.remove(1))).contains("w_scale"));
        assert!(change(Bits::Four, &|r| drop(r.remove(2))).contains("w_shape"));
        assert!(change(Bits::Eight, &|r| r[1].shape = vec![1, 4]).contains("[1, 4]"));
        let enormous = |r: &mut Vec<Raw>| r[2].bytes[8..].copy_from_slice(&i64::MAX.to_le_bytes());
        assert!(change(Bits::Four, &enormous).contains("cannot be a matrix"));
        let infinite = |r: &mut Vec<Raw>| r[1].bytes[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        assert!(change(Bits::Eight, &infinite).contains("holds inf"));
    }
}
