//! One step in time of recurrent cells, forward and backward, over the sequences that are still going on.
//!
//! Each row of `records` keeps what backward needs: the gates after their activation, one more row (LSTM: the cell's state; GRU: the candidate's
//! recurrent product), and the hidden state. Elman 1990; Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al.
//! 2000; Cho et al. 2014 (the reset gate applied after the product, as in cuDNN).

use crate::kernels::math::{sigmoid, tanh};
use crate::kernels::pool;
use crate::kernels::vector::vectorised;

/// Kind of cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// `h = tanh(x + U·h)`.
    Elman,
    /// Input, forget, candidate and output gate: `c = f∘c + i∘g`, `h = o∘tanh c`.
    Lstm,
    /// Reset, update and candidate: `h = (1 − z)∘n + z∘h`, `n = tanh(x + r∘(U·h))`.
    Gru,
}

impl Cell {
    /// Blocks of H columns in the gates: 1, 4 or 3.
    pub fn gates(self) -> usize {
        match self {
            Cell::Elman => 1,
            Cell::Lstm => 4,
            Cell::Gru => 3,
        }
    }

    /// Numbers of a record for width H.
    pub fn record(self, width: usize) -> usize {
        (self.gates() + 2) * width
    }
}

/// The state before a step: in row `k` of `stride` numbers, the cell's state at `cell` and the hidden state at `hidden`.
#[derive(Clone, Copy)]
pub struct Before<'a> {
    /// All rows.
    pub data: &'a [f32],
    /// Numbers of a row.
    pub stride: usize,
    /// Where the cell's state begins.
    pub cell: usize,
    /// Where the hidden state begins.
    pub hidden: usize,
}

/// Rows that a task takes.
const ROWS: usize = 16;

/// A step: row `k` reads row `rows[k]` of `x` (gates from the input), row `k` of `product` (gates from the state, in rows of `stride` numbers) and
/// of `before`, and writes record `k`.
///
/// # Panics
/// If the lengths do not fit.
pub fn forward(
    cell: Cell,
    width: usize,
    x: &[f32],
    rows: &[u32],
    product: &[f32],
    stride: usize,
    before: Before<'_>,
    records: &mut [f32],
) {
    let (gates, record) = (cell.gates() * width, cell.record(width));
    assert!(
        records.len() == rows.len() * record
            && stride >= gates
            && product.len() + stride >= rows.len() * stride + gates,
        "recurrent: lengths"
    );
    pool::chunks(records, ROWS * record, |i, records| {
        let first = i * ROWS;
        let rows = &rows[first..first + records.len() / record];
        let (product, data) = (&product[first * stride..], &before.data[first * before.stride..]);
        let before = Before { data, ..before };
        match cell {
            Cell::Elman => elman(width, x, rows, product, stride, records),
            Cell::Lstm => lstm(width, x, rows, product, stride, before, records),
            Cell::Gru => gru(width, x, rows, product, stride, before, records),
        }
    });
}

vectorised! {
    fn elman(width: usize, x: &[f32], rows: &[u32], product: &[f32], stride: usize, records: &mut [f32]) {
        for (k, record) in records.chunks_exact_mut(3 * width).enumerate() {
            let (x, u) = (&x[rows[k] as usize * width..][..width], &product[k * stride..][..width]);
            let h = &mut record[2 * width..];
            for j in 0..width {
                h[j] = tanh::<FUSED>(x[j] + u[j]);
            }
        }
    }
}

vectorised! {
    fn lstm(
        width: usize, x: &[f32], rows: &[u32], product: &[f32], stride: usize, before: Before<'_>, records: &mut [f32],
    ) {
        for (k, record) in records.chunks_exact_mut(6 * width).enumerate() {
            let (x, u) = (&x[rows[k] as usize * 4 * width..][..4 * width], &product[k * stride..][..4 * width]);
            let c0 = &before.data[k * before.stride + before.cell..][..width];
            let (gates, state) = record.split_at_mut(4 * width);
            for (part, gate) in gates.chunks_exact_mut(width).enumerate() {
                let (x, u) = (&x[part * width..][..width], &u[part * width..][..width]);
                for j in 0..width {
                    let v = x[j] + u[j];
                    gate[j] = if part == 2 { tanh::<FUSED>(v) } else { sigmoid::<FUSED>(v) };
                }
            }
            let (c, h) = state.split_at_mut(width);
            let (i, f, g, o) = quarters(gates, width);
            for j in 0..width {
                c[j] = f[j] * c0[j] + i[j] * g[j];
                h[j] = o[j] * tanh::<FUSED>(c[j]);
            }
        }
    }
}

vectorised! {
    fn gru(
        width: usize, x: &[f32], rows: &[u32], product: &[f32], stride: usize, before: Before<'_>, records: &mut [f32],
    ) {
        for (k, record) in records.chunks_exact_mut(5 * width).enumerate() {
            let (x, u) = (&x[rows[k] as usize * 3 * width..][..3 * width], &product[k * stride..][..3 * width]);
            let h0 = &before.data[k * before.stride + before.hidden..][..width];
            let (gates, state) = record.split_at_mut(3 * width);
            let (r, rest) = gates.split_at_mut(width);
            let (z, n) = rest.split_at_mut(width);
            let (un, h) = state.split_at_mut(width);
            for j in 0..width {
                r[j] = sigmoid::<FUSED>(x[j] + u[j]);
                z[j] = sigmoid::<FUSED>(x[width + j] + u[width + j]);
                un[j] = u[2 * width + j];
                n[j] = tanh::<FUSED>(x[2 * width + j] + r[j] * un[j]);
                h[j] = (1.0 - z[j]) * n[j] + z[j] * h0[j];
            }
        }
    }
}

fn quarters(x: &[f32], width: usize) -> (&[f32], &[f32], &[f32], &[f32]) {
    let (a, rest) = x.split_at(width);
    let (b, rest) = rest.split_at(width);
    let (c, d) = rest.split_at(width);
    (a, b, c, d)
}

/// The step backwards. `carry` holds for each row the gradients of hidden state and cell's state after the step, and gets those that reach the state
/// before it past the product; `dy` is the gradient of the hidden states in the rows of `x`. Row `k` of `d` gets the gradient of the
/// gates from the input, then that of the product.
///
/// # Panics
/// If the lengths do not fit.
#[allow(clippy::too_many_arguments, reason = "kernels take slices, not structures")]
pub fn backward(
    cell: Cell,
    width: usize,
    dy: Option<&[f32]>,
    rows: &[u32],
    records: &[f32],
    before: Before<'_>,
    carry: &mut [f32],
    d: &mut [f32],
) {
    let (gates, record) = (cell.gates() * width, cell.record(width));
    let n = rows.len();
    assert!(
        records.len() == n * record && d.len() == n * 2 * gates && carry.len() == n * 2 * width,
        "recurrent: lengths"
    );
    pool::chunks2(carry, ROWS * 2 * width, d, ROWS * 2 * gates, |i, carry, d| {
        let first = i * ROWS;
        let rows = &rows[first..first + carry.len() / (2 * width)];
        let (records, data) = (&records[first * record..], &before.data[first * before.stride..]);
        let before = Before { data, ..before };
        if let Some(dy) = dy {
            for (&row, carry) in rows.iter().zip(carry.chunks_exact_mut(2 * width)) {
                carry[..width].iter_mut().zip(&dy[row as usize * width..]).for_each(|(c, d)| *c += d);
            }
        }
        match cell {
            Cell::Elman => elman_backward(width, records, carry, d),
            Cell::Lstm => lstm_backward(width, records, before, carry, d),
            Cell::Gru => gru_backward(width, records, before, carry, d),
        }
    });
}

vectorised! {
    fn elman_backward(width: usize, records: &[f32], carry: &mut [f32], d: &mut [f32]) {
        for (k, (carry, d)) in carry.chunks_exact_mut(2 * width).zip(d.chunks_exact_mut(2 * width)).enumerate() {
            let h = &records[k * 3 * width + 2 * width..][..width];
            let (dx, du) = d.split_at_mut(width);
            for j in 0..width {
                dx[j] = carry[j] * (1.0 - h[j] * h[j]);
                du[j] = dx[j];
                carry[j] = 0.0;
            }
        }
    }
}

vectorised! {
    fn lstm_backward(width: usize, records: &[f32], before: Before<'_>, carry: &mut [f32], d: &mut [f32]) {
        for (k, (carry, d)) in carry.chunks_exact_mut(2 * width).zip(d.chunks_exact_mut(8 * width)).enumerate() {
            let record = &records[k * 6 * width..][..6 * width];
            let (i, f, g, o) = quarters(record, width);
            let c = &record[4 * width..][..width];
            let o = &o[..width];
            let c0 = &before.data[k * before.stride + before.cell..][..width];
            let (dh, dc) = carry.split_at_mut(width);
            let (dx, du) = d.split_at_mut(4 * width);
            for j in 0..width {
                let t = tanh::<FUSED>(c[j]);
                let dcell = dc[j] + dh[j] * o[j] * (1.0 - t * t);
                dx[j] = dcell * g[j] * i[j] * (1.0 - i[j]);
                dx[width + j] = dcell * c0[j] * f[j] * (1.0 - f[j]);
                dx[2 * width + j] = dcell * i[j] * (1.0 - g[j] * g[j]);
                dx[3 * width + j] = dh[j] * t * o[j] * (1.0 - o[j]);
                dc[j] = dcell * f[j];
                dh[j] = 0.0;
            }
            du.copy_from_slice(dx);
        }
    }
}

vectorised! {
    fn gru_backward(width: usize, records: &[f32], before: Before<'_>, carry: &mut [f32], d: &mut [f32]) {
        for (k, (carry, d)) in carry.chunks_exact_mut(2 * width).zip(d.chunks_exact_mut(6 * width)).enumerate() {
            let record = &records[k * 5 * width..][..5 * width];
            let (r, z, n, rest) = quarters(record, width);
            let un = &rest[..width];
            let h0 = &before.data[k * before.stride + before.hidden..][..width];
            let (dx, du) = d.split_at_mut(3 * width);
            for j in 0..width {
                let dh = carry[j];
                let dn = dh * (1.0 - z[j]) * (1.0 - n[j] * n[j]);
                dx[j] = dn * un[j] * r[j] * (1.0 - r[j]);
                dx[width + j] = dh * (h0[j] - n[j]) * z[j] * (1.0 - z[j]);
                dx[2 * width + j] = dn;
                du[j] = dx[j];
                du[width + j] = dx[width + j];
                du[2 * width + j] = dn * r[j];
                carry[j] = dh * z[j];
            }
        }
    }
}
