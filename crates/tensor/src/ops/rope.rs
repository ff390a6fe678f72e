//! Rotary positions: each pair of columns of a query or key head is turned by an angle proportional to its position.
//!
//! In place on the projection; backward turns the gradient back, so nothing is saved but the positions (shared).
//! Su et al. 2021.

use std::rc::Rc;

use crate::kernels::matrix::{DType, bf16};
use crate::kernels::rope::{self, Pairing, RopeTable};
use crate::ops::norm::typed;
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::{Indices, Tensor};

pub(crate) struct Saved {
    source: Option<Node>,
    table: Rc<RopeTable>,
    positions: Indices,
    heads: usize,
    width: usize,
    pairing: Pairing,
    out: Node,
}

impl Graph<'_> {
    /// Turns the first `heads` heads of `width` columns of `x [T, …]` by the rows' positions.
    ///
    /// # Panics
    /// If the heads do not fit into the columns, or a position is beyond the table.
    pub fn rope(
        &mut self,
        x: Tensor,
        table: &Rc<RopeTable>,
        positions: &Indices,
        heads: usize,
        width: usize,
        pairing: Pairing,
    ) -> Tensor {
        assert!(heads * width <= x.cols(), "rope: {heads} heads of {width} in {} columns", x.cols());
        assert_eq!(positions.len(), x.rows(), "rope: a position for each row");
        let source = x.node;
        let mut y = x.into_unique();
        turn(&mut y, table, positions, heads, width, pairing, false);
        self.record(
            y,
            |_| "rope".into(),
            |out| {
                let (table, positions) = (Rc::clone(table), positions.clone());
                Record::Rope(Saved { source, table, positions, heads, width, pairing, out })
            },
        )
    }
}

fn turn(
    x: &mut Tensor,
    table: &RopeTable,
    positions: &[u32],
    heads: usize,
    width: usize,
    pairing: Pairing,
    inverse: bool,
) {
    let stride = x.cols();
    typed!(mut x, xs => rope::apply(xs, stride, 0, heads, width, positions, table, pairing, inverse));
}

impl Saved {
    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let (Some(dy), Some(source)) = (undo.take(self.out), self.source) else { return };
        let mut dx = dy.into_unique();
        turn(&mut dx, &self.table, &self.positions, self.heads, self.width, self.pairing, true);
        undo.give(source, dx);
    }
}
