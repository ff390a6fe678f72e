//! Rotary position embedding: pair `j` of a head is turned by `position · θ^(−2j/width)`.
//!
//! `(a, b) → (a·cos − b·sin, b·cos + a·sin)`; the inverse turns back. Pairs are columns `j` and `j + width/2` (Hugging Face's Llama) or
//! `2j` and `2j + 1` (the paper, GPT-J). Su et al. 2021.

use serde::{Deserialize, Serialize};

use crate::kernels::matrix::Element;
use crate::kernels::pool;
use crate::kernels::reduce;
use crate::kernels::vector::vectorised;

/// Which columns of a head form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pairing {
    /// `j` and `j + width/2`.
    Halves,
    /// `2j` and `2j + 1`.
    Interleaved,
}

/// How wavelengths are changed to reach a longer context.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Positions are divided by a factor (Chen et al. 2023).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Long wavelengths are divided by a factor, short ones kept, those between mixed (Llama 3.1).
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths above `original_max_position / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The context before scaling.
        original_max_position: usize,
    },
}

/// Cosines and sines of every position and pair.
pub struct RopeTable {
    cos: Vec<f32>,
    sin: Vec<f32>,
    pairs: usize,
}

impl RopeTable {
    /// For `positions` positions and heads of which `width` columns are turned; angles in f64.
    pub fn new(positions: usize, width: usize, theta: f64, scaling: RopeScaling) -> RopeTable {
        let pairs = width / 2;
        let frequencies: Vec<f64> =
            (0..pairs).map(|j| scaled(theta.powf(-2.0 * j as f64 / width as f64), scaling)).collect();
        let angles = || (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        RopeTable {
            cos: angles().map(|a| a.cos() as f32).collect(),
            sin: angles().map(|a| a.sin() as f32).collect(),
            pairs,
        }
    }

    /// Positions that it holds.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.pairs.max(1)
    }
}

fn scaled(frequency: f64, scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => {
            let turns = original_max_position as f64 * frequency / std::f64::consts::TAU;
            if turns < low_freq_factor {
                frequency / factor
            } else if turns > high_freq_factor {
                frequency
            } else {
                let smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

/// Turns `heads` heads of `width` columns, from column `offset` of rows of `stride` on, by the rows' positions.
///
/// # Panics
/// If the heads do not fit, or a position is not in the table.
pub fn apply<X: Element>(
    data: &mut [X],
    stride: usize,
    offset: usize,
    heads: usize,
    width: usize,
    positions: &[u32],
    table: &RopeTable,
    pairing: Pairing,
    inverse: bool,
) {
    assert!(
        offset + heads * width <= stride
            && 2 * table.pairs <= width
            && data.len() == positions.len() * stride,
        "rope: {heads} heads of {width} from column {offset} of {stride}, {} pairs",
        table.pairs
    );
    if let Some(p) = positions.iter().find(|&&p| p as usize >= table.positions()) {
        panic!("rope: position {p} in a table of {}", table.positions());
    }
    let each = reduce::block_rows(positions.len());
    pool::chunks(data, each * stride.max(1), |i, rows| {
        let positions = &positions[i * each..];
        turn_rows(rows, stride, offset, heads, width, positions, table, pairing, inverse);
    });
}

vectorised! {
    fn turn_rows[X: Element](
        rows: &mut [X], stride: usize, offset: usize, heads: usize, width: usize, positions: &[u32],
        table: &RopeTable, pairing: Pairing, inverse: bool,
    ) {
        let n = table.pairs;
        let sign = if inverse { -1.0 } else { 1.0 };
        for (row, &p) in rows.chunks_exact_mut(stride).zip(positions) {
            let (cos, sin) = (&table.cos[p as usize * n..][..n], &table.sin[p as usize * n..][..n]);
            for head in row[offset..offset + heads * width].chunks_exact_mut(width) {
                match pairing {
                    Pairing::Halves => {
                        let (a, b) = head.split_at_mut(n);
                        for j in 0..n {
                            let (x, y, c, s) = (a[j].to_f32(), b[j].to_f32(), cos[j], sin[j] * sign);
                            a[j] = X::from_f32(x * c - y * s);
                            b[j] = X::from_f32(y * c + x * s);
                        }
                    }
                    Pairing::Interleaved => {
                        for (j, pair) in head[..2 * n].chunks_exact_mut(2).enumerate() {
                            let (x, y, c, s) = (pair[0].to_f32(), pair[1].to_f32(), cos[j], sin[j] * sign);
                            pair[0] = X::from_f32(x * c - y * s);
                            pair[1] = X::from_f32(y * c + x * s);
                        }
                    }
                }
            }
        }
    }
}
