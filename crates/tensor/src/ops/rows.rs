//! Some of the rows: those that a head looks at, such as hidden words or the first token of each sequence. Backward puts each row's
//! gradient back to its place.

use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;

pub(crate) struct Saved {
    source: Option<Node>,
    rows: Vec<usize>,
    /// Rows that there were.
    of: usize,
    out: Node,
}

impl Graph<'_> {
    /// The given rows of `x [T, D]`, in increasing order: `[rows, D]`.
    ///
    /// # Panics
    /// If a row is not there, or they are out of order: each may be taken once.
    pub fn rows(&mut self, x: &Tensor, rows: &[usize]) -> Tensor {
        assert!(
            rows.windows(2).all(|w| w[0] < w[1]) && rows.last().is_none_or(|&r| r < x.rows()),
            "rows: {rows:?} of {x:?} are not in increasing order"
        );
        let y = x.select_rows(rows);
        let (source, of) = (x.node, x.rows());
        self.record(y, |_| "rows".into(), |out| Record::Rows(Saved { source, rows: rows.to_vec(), of, out }))
    }
}

impl Saved {
    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let (Some(dy), Some(source)) = (undo.take(self.out), self.source) else { return };
        let mut dx = Tensor::zeros(self.of, dy.cols(), dy.dtype());
        for (i, &row) in self.rows.iter().enumerate() {
            dx.copy_columns(row, &dy, i..i + 1, 0..dy.cols());
        }
        undo.give(source, dx);
    }
}
