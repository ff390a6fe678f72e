//! Embedding: rows of a table `[V, D]` by index, f32. Backward adds each row's gradient to the table's, in order of position.

use crate::kernels::embedding;
use crate::kernels::matrix::DType;
use crate::parameters::{ParameterId, Parameters};
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::{Indices, Tensor};

pub(crate) struct Saved {
    /// The value that the rows were added to.
    base: Option<Node>,
    table: ParameterId,
    ids: Indices,
    scale: f32,
    out: Node,
}

impl Graph<'_> {
    /// `scale ·` the table's rows at `ids`: `[T, D]`, f32.
    ///
    /// # Panics
    /// If an id is not in the table.
    pub fn embedding(&mut self, table: ParameterId, ids: &Indices, scale: f32) -> Tensor {
        let [_, width] = self.shape(table);
        let mut x = Tensor::new(ids.len(), width, DType::F32);
        self.gather(table, ids, scale, &mut x, false);
        let name = |p: &Parameters| format!("embedding `{}`", p.get(table).name);
        if self.is_frozen(table) {
            return self.unrecorded(x, name);
        }
        self.record(x, name, |out| {
            Record::Embedding(Saved { base: None, table, ids: ids.clone(), scale, out })
        })
    }

    /// `x` plus the table's rows at `ids`: learned positions.
    ///
    /// # Panics
    /// If an id is not in the table or the widths differ.
    pub fn add_embedding(&mut self, x: Tensor, table: ParameterId, ids: &Indices) -> Tensor {
        assert_eq!(
            x.cols(),
            self.shape(table)[1],
            "add_embedding: x is {:?}, the table {:?}",
            x.shape(),
            self.shape(table)
        );
        let base = x.node;
        let mut x = x.into_unique();
        self.gather(table, ids, 1.0, &mut x, true);
        self.record(
            x,
            |p| format!("embedding `{}`", p.get(table).name),
            |out| Record::Embedding(Saved { base, table, ids: ids.clone(), scale: 1.0, out }),
        )
    }

    fn gather(&self, table: ParameterId, ids: &[u32], scale: f32, x: &mut Tensor, accumulate: bool) {
        let p = self.parameters.get(table);
        let [rows, width] = p.shape;
        if let Some(bad) = ids.iter().find(|&&i| i as usize >= rows) {
            panic!("embedding `{}`: index {bad} in a table of {rows} rows", p.name);
        }
        if let Some(eight) = p.eight().filter(|_| self.keep) {
            let mut rows = vec![0.0; ids.len() * width];
            for (row, &id) in rows.chunks_exact_mut(width.max(1)).zip(ids) {
                eight.widen(id as usize, row);
            }
            let each: Vec<u32> = (0..ids.len() as u32).collect();
            return embedding::gather(&rows, width, &each, scale, x.f32s_mut(), accumulate);
        }
        embedding::gather(p.data(), width, ids, scale, x.f32s_mut(), accumulate);
    }
}

impl Saved {
    /// Tells the parameters whose gradients [`Saved::backward`] adds to.
    pub(crate) fn each_parameter(&self, tell: &mut dyn FnMut(ParameterId)) {
        tell(self.table);
    }

    pub(crate) fn backward(self, undo: &mut Undo<'_>) {
        let Some(dy) = undo.take(self.out) else { return };
        if !undo.parameters().get(self.table).is_frozen() {
            let table = undo.gradients().accumulator(self.table);
            embedding::scatter_add(table, dy.cols(), &self.ids, self.scale, dy.f32s());
        }
        if let Some(base) = self.base {
            undo.give(base, dy);
        }
    }
}
