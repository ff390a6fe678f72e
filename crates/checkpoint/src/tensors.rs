//! Named f32 tensors ↔ safetensors bytes.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::Error;
use crate::quantised::{self, Kept, Matrix};

/// A tensor on its way to or from a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

/// A tensor as the bytes of a file.
pub(crate) struct Raw {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// A tensor as f32.
pub(crate) fn plain(name: &str, t: &Stored) -> Raw {
    let bytes = t.data.iter().flat_map(|x| x.to_le_bytes()).collect();
    Raw { name: name.to_owned(), dtype: Dtype::F32, shape: t.shape.clone(), bytes }
}

/// The bytes of a safetensors file.
pub(crate) fn to_bytes(tensors: &[(String, Stored)]) -> Result<Vec<u8>, String> {
    raw_bytes(tensors.iter().map(|(n, t)| plain(n, t)).collect())
}

/// The same of tensors of any type.
pub(crate) fn raw_bytes(raw: Vec<Raw>) -> Result<Vec<u8>, String> {
    let views: Result<Vec<(&str, TensorView<'_>)>, _> = raw
        .iter()
        .map(|r| TensorView::new(r.dtype, r.shape.clone(), &r.bytes).map(|v| (r.name.as_str(), v)))
        .collect();
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    views
        .and_then(|v| safetensors::serialize(v, Some(metadata)))
        .map_err(|e| format!("cannot be put into safetensors: {e}"))
}

/// The tensors of a safetensors file, widened to f32; of whole numbers with scales what they stand for.
pub(crate) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<HashMap<String, Stored>, Error> {
    read(path, bytes, None)
}

/// The same; 8-bit matrices go as they are to `kept`, if that is there.
pub(crate) fn read(
    path: &Path,
    bytes: &[u8],
    mut kept: Option<&mut HashMap<String, Kept>>,
) -> Result<HashMap<String, Stored>, Error> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| Error::content(path, format!("is no sound safetensors file: {e}")))?;
    let mut tensors = HashMap::new();
    for (name, view) in file.tensors() {
        // 0, 1, 2, …: a buffer that old versions of transformers stored.
        if name.ends_with("position_ids") || quantised::is_part(&file, &name) {
            continue;
        }
        if let Some(matrix) = quantised::unpack(path, &file, &name, &view) {
            match (matrix?, &mut kept) {
                ((name, Matrix::Eight(k)), Some(kept)) => drop(kept.insert(name, k)),
                ((name, Matrix::Eight(k)), None) => drop(tensors.insert(name, k.widened())),
                ((name, Matrix::Four(t)), _) => drop(tensors.insert(name, t)),
            }
            continue;
        }
        let Some(data) = floats(&view) else {
            return Err(Error::content(
                path,
                format!("tensor `{name}` is {:?}; expected F32, BF16 or F16", view.dtype()),
            ));
        };
        tensors.insert(name, Stored { shape: view.shape().to_vec(), data });
    }
    Ok(tensors)
}

/// A tensor's numbers widened to f32; `None` if they are not F32, BF16 or F16.
pub(crate) fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    let halves = || data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    Some(match view.dtype() {
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::BF16 => halves().map(|h| f32::from_bits(u32::from(h) << 16)).collect(),
        Dtype::F16 => halves().map(widen_f16).collect(),
        _ => return None,
    })
}

/// IEEE half precision, exactly.
fn widen_f16(h: u16) -> f32 {
    let (sign, exponent, fraction) = (u32::from(h >> 15) << 31, (h >> 10) & 0x1f, u32::from(h & 0x3ff));
    match exponent {
        0 => {
            let size = fraction as f32 * f32::powi(2.0, -24);
            f32::from_bits(sign | size.to_bits())
        }
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        e => f32::from_bits(sign | (u32::from(e) + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        for (h, x) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0), (0x8000, -0.0)]
        {
            assert_eq!(widen_f16(h).to_bits(), f32::to_bits(x));
        }
        assert!(widen_f16(0x7e00).is_nan() && widen_f16(0x7c00).is_infinite());
    }

    #[test]
    fn cut_files_are_errors() {
        let t = Stored { shape: vec![2, 3], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        let bytes = to_bytes(&[("a".into(), t.clone())]).unwrap();
        let path = Path::new("x.safetensors");
        assert_eq!(from_bytes(path, &bytes).unwrap()["a"], t);
        for cut in 0..bytes.len() {
            assert!(from_bytes(path, &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
