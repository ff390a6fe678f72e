//! Rows of a table by index, and their gradients added back.

use crate::kernels::pool::{self, Shareable};
use crate::kernels::reduce;
use crate::kernels::vector::vectorised;

/// Columns of a task of the scatter.
const COLUMNS: usize = 64;

/// `out[t] = scale · table[ids[t]]`, added to what `out` holds if `accumulate`.
///
/// # Panics
/// If an id is not in the table, or the lengths do not fit.
pub fn gather(table: &[f32], width: usize, ids: &[u32], scale: f32, out: &mut [f32], accumulate: bool) {
    assert_eq!(
        out.len(),
        ids.len() * width,
        "embedding: {} rows of {width} into {} numbers",
        ids.len(),
        out.len()
    );
    let each = reduce::block_rows(ids.len());
    pool::chunks(out, each * width.max(1), |i, out| {
        gather_rows(table, width, &ids[i * each..], scale, out, accumulate)
    });
}

vectorised! {
    fn gather_rows(table: &[f32], width: usize, ids: &[u32], scale: f32, out: &mut [f32], accumulate: bool) {
        for (out, &id) in out.chunks_exact_mut(width).zip(ids) {
            let row = &table[id as usize * width..][..width];
            if accumulate {
                for (o, x) in out.iter_mut().zip(row) { *o += scale * x; }
            } else {
                for (o, x) in out.iter_mut().zip(row) { *o = scale * x; }
            }
        }
    }
}

/// `dtable[ids[t]] += scale · d[t]`, in order of `t`: threads share the columns, not the rows.
///
/// # Panics
/// If an id is not in the table, or the lengths do not fit.
pub fn scatter_add(dtable: &mut [f32], width: usize, ids: &[u32], scale: f32, d: &[f32]) {
    assert_eq!(
        d.len(),
        ids.len() * width,
        "embedding: {} rows of {width} from {} numbers",
        ids.len(),
        d.len()
    );
    let rows = dtable.len() / width.max(1);
    assert!(
        ids.iter().all(|&i| (i as usize) < rows),
        "embedding: an index beyond the {rows} rows of the table"
    );
    let table = Shareable(dtable.as_mut_ptr());
    pool::run(width.div_ceil(COLUMNS), |c| {
        let (from, n) = (c * COLUMNS, COLUMNS.min(width - c * COLUMNS));
        for (t, &id) in ids.iter().enumerate() {
            // SAFETY: the id was checked; tasks have different columns.
            let out =
                unsafe { std::slice::from_raw_parts_mut(table.get().add(id as usize * width + from), n) };
            add_scaled(out, scale, &d[t * width + from..][..n]);
        }
    });
}

vectorised! {
    fn add_scaled(out: &mut [f32], scale: f32, x: &[f32]) {
        for (o, x) in out.iter_mut().zip(x) { *o += scale * x; }
    }
}
