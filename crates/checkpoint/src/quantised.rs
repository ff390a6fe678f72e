//! Weights of 8 or 4 bits in safetensors: whole numbers and scales, as the `compressed-tensors` form of the Hugging Face world lays them out.
//!
//! A matrix `NAME` is an I32 tensor `NAME_packed`, four numbers of 8 bits or eight of 4 to a word, the first in the lowest bits, each with half of its
//! range added (128, 8); a tensor `NAME_scale`, of 8 bits F32, one number for each row, of 4 bits BF16, one for each 32 columns of a row; and an
//! I64 tensor `NAME_shape`: weight = whole number · scale. 8 bits are also read as an I8 tensor `NAME` with its scales, as this was written before.
//! Vectors (gains, biases) stay F32, and tables of tokens and places become BF16, because transformers has no module of few bits for them.
//! `config.json` says it under `quantization_config` (format `pack-quantized`). Rows are those of the file's matrix.

use std::path::Path;

use half::bf16;
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

/// What `config.json` says about it. The output layer of a tied model is the table of tokens, and of few bits as little.
pub(crate) fn config(bits: Bits, tied: bool) -> Value {
    let (number, strategy, group) = match bits {
        Bits::Eight => (8, "channel", Value::Null),
        Bits::Four => (4, "group", json!(BLOCK)),
    };
    let weights = json!({
        "num_bits": number, "type": "int", "symmetric": true, "strategy": strategy, "group_size": group, "dynamic": false,
    });
    json!({
        "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
        "ignore": if tied { json!(["lm_head"]) } else { json!([]) },
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": null, "output_activations": null}},
    })
}

/// Whether a matrix is a table that is looked up row by row, by its name in any family.
fn is_table(name: &str) -> bool {
    ["embed_tokens.weight", "wte.weight", "wpe.weight", "_embed.weight"].iter().any(|end| name.ends_with(end))
}

/// A tensor as the file's tensors; vectors stay as they are.
pub(crate) fn pack(name: &str, t: &Stored, bits: Bits) -> Vec<Raw> {
    let &[rows, cols] = &t.shape[..] else { return vec![plain(name, t)] };
    if is_table(name) {
        let bytes = t.data.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        return vec![Raw { name: name.to_owned(), dtype: Dtype::BF16, shape: t.shape.clone(), bytes }];
    }
    // With so few columns the shape would not tell 8 bits from 4.
    if rows == 0 || cols <= 4 {
        return vec![plain(name, t)];
    }
    let shape: Vec<u8> = [rows, cols].iter().flat_map(|n| (*n as i64).to_le_bytes()).collect();
    let raw = |end: &str, dtype, shape, bytes| Raw { name: format!("{name}{end}"), dtype, shape, bytes };
    match bits {
        Bits::Eight => {
            let words = cols.div_ceil(4);
            let mut packed = vec![0u8; rows * words * 4];
            let mut scales = Vec::with_capacity(rows * 4);
            for (row, to) in t.data.chunks_exact(cols).zip(packed.chunks_exact_mut(words * 4)) {
                let scale = largest(row) / 127.0;
                scales.extend(scale.to_le_bytes());
                to.iter_mut()
                    .zip(row)
                    .for_each(|(q, x)| *q = (nearest(*x, scale, -127.0, 127.0) + 128) as u8);
            }
            vec![
                raw("_packed", Dtype::I32, vec![rows, words], packed),
                raw("_scale", Dtype::F32, vec![rows, 1], scales),
                raw("_shape", Dtype::I64, vec![2], shape),
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

/// A matrix of whole numbers that was read: of 8 bits as it is, of 4 what it stands for.
pub(crate) enum Matrix {
    Eight(Kept),
    Four(Stored),
}

/// The matrix that a tensor of whole numbers is a part of, and its name; `None` if the tensor is none of this form.
pub(crate) fn unpack(
    path: &Path,
    file: &SafeTensors<'_>,
    name: &str,
    view: &TensorView<'_>,
) -> Option<Result<(String, Matrix), Error>> {
    match (view.dtype(), name.strip_suffix("_packed")) {
        (Dtype::I8, _) => Some(eight(file, name, view).map(|k| (name.to_owned(), Matrix::Eight(k)))),
        (Dtype::I32, Some(whole)) => Some(packed(file, whole, view).map(|m| (whole.to_owned(), m))),
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

/// An I8 tensor with its scales.
fn eight(file: &SafeTensors<'_>, name: &str, view: &TensorView<'_>) -> Result<Kept, String> {
    let &[rows, cols] = view.shape() else {
        return Err(format!("shape {:?}, expected a matrix", view.shape()));
    };
    let scales = scales(file, name, [rows, 1])?;
    let numbers = view.data().iter().map(|q| *q as i8).collect();
    Ok(Kept { shape: [rows, cols], numbers, scales })
}

/// A matrix of packed words: four numbers or eight to a word, as its shape says.
fn packed(file: &SafeTensors<'_>, name: &str, view: &TensorView<'_>) -> Result<Matrix, String> {
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
    if number(0) == rows && cols > 4 && cols.div_ceil(4) == words {
        let scales = scales(file, name, [rows, 1])?;
        let rows_of = view.data().chunks_exact(words * 4);
        let numbers = rows_of.flat_map(|row| row[..cols].iter().map(|q| (q ^ 0x80) as i8)).collect();
        return Ok(Matrix::Eight(Kept { shape: [rows, cols], numbers, scales }));
    }
    if number(0) != rows || cols.div_ceil(8) != words {
        return Err(format!("{rows} rows of {words} words cannot be a matrix of {}×{cols}", number(0)));
    }
    four(file, name, view.data(), [rows, cols]).map(Matrix::Four)
}

/// What a matrix of 4 bits stands for.
fn four(file: &SafeTensors<'_>, name: &str, from: &[u8], [rows, cols]: [usize; 2]) -> Result<Stored, String> {
    let words = cols.div_ceil(8);
    let blocks = cols.div_ceil(BLOCK);
    let scales = scales(file, name, [rows, blocks])?;
    // The file holds four bytes for each eight numbers, so the memory is bounded by its length.
    let mut data = vec![0f32; rows * cols];
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
        // As it was written before: whole numbers of their own type.
        let t = matrix(3, 40);
        let mut raw = pack("w", &t, Bits::Eight);
        let numbers = raw[0].bytes.iter().map(|q| q ^ 0x80).collect();
        raw[0] = Raw { name: "w".to_owned(), dtype: Dtype::I8, shape: t.shape.clone(), bytes: numbers };
        raw.truncate(2);
        assert_eq!(back(raw).unwrap(), back(pack("w", &t, Bits::Eight)).unwrap());
        let [table, full] =
            ["model.embed_tokens.weight", "w"].map(|name| pack(name, &matrix(5, 70), Bits::Four));
        assert!(table.len() == 1 && table[0].dtype == Dtype::BF16 && full.len() == 3);
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
        assert!(change(Bits::Eight, &|r| drop(r.remove(2))).contains("w_shape"));
        assert!(change(Bits::Four, &|r| drop(r.remove(1))).contains("w_scale"));
        assert!(change(Bits::Four, &|r| drop(r.remove(2))).contains("w_shape"));
        assert!(change(Bits::Eight, &|r| r[1].shape = vec![1, 4]).contains("[1, 4]"));
        let enormous = |r: &mut Vec<Raw>| r[2].bytes[8..].copy_from_slice(&i64::MAX.to_le_bytes());
        assert!(change(Bits::Four, &enormous).contains("cannot be a matrix"));
        let infinite = |r: &mut Vec<Raw>| r[1].bytes[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        assert!(change(Bits::Eight, &infinite).contains("holds inf"));
    }
}
