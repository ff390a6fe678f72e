//! Recurrence through time over ragged sequences: gates from the input `[T, G·H]`, a recurrent weight `[G·H, H]`, and a state before the first step
//! → hidden states `[T, H]` and the state after each sequence's last step, f32.
//!
//! A step is one matrix product over the sequences that are still going on. Backward walks back in time with the records of forward; the
//! weight's gradient is one product over all steps. Equals `torch.nn.LSTM`, `GRU` and `RNN` (and Keras' LSTM) with their order of gates.

use crate::kernels::arithmetic;
use crate::kernels::attention::Span;
use crate::kernels::matmul::{self, Epilogue};
use crate::kernels::matrix::{DType, Elements, ElementsMut, Mat, MatMut};
use crate::kernels::recurrent::{Cell, backward, forward};
use crate::ops::history::History;
use crate::parameters::ParameterId;
use crate::tape::{Graph, Node, Record, Undo};
use crate::tensor::Tensor;

/// What a cell remembers of each sequence.
#[derive(Clone, Debug)]
pub struct State {
    /// Hidden states, `[S, H]`, f32.
    pub hidden: Tensor,
    /// The cells' states, `[S, H]`, f32; zeros for cells that have none.
    pub cell: Tensor,
}

impl State {
    /// Before anything was read.
    pub fn zeros(sequences: usize, width: usize) -> State {
        let zeros = || Tensor::zeros(sequences, width, DType::F32);
        State { hidden: zeros(), cell: zeros() }
    }

    /// The states of the given sequences, in that order, as often as they are named.
    pub fn select(&self, sequences: &[usize]) -> State {
        State { hidden: self.hidden.select_rows(sequences), cell: self.cell.select_rows(sequences) }
    }
}

/// A cell with its weights, and which way it reads.
#[derive(Clone, Copy, Debug)]
pub struct Recurrence {
    /// Kind of cell.
    pub cell: Cell,
    /// `[G·H, H]`.
    pub weight: ParameterId,
    /// `[1, G·H]`, added to the recurrent product (GRU, whose reset gate comes after it).
    pub bias: Option<ParameterId>,
    /// Whether sequences are read from their end: one half of a bidirectional network.
    pub reversed: bool,
}

pub(crate) struct Saved {
    recurrence: Recurrence,
    history: History,
    gates: Option<Node>,
    tokens: usize,
    initial: [Option<Node>; 2],
    hidden: Node,
    last: [Node; 2],
    dtype: DType,
}

impl Graph<'_> {
    /// Runs a cell over the sequences in `spans`; tokens outside of them give zeros.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn recurrent(
        &mut self,
        recurrence: Recurrence,
        gates: &Tensor,
        spans: &[Span],
        initial: Option<&State>,
    ) -> (Tensor, State) {
        let Recurrence { cell, weight, bias, reversed } = recurrence;
        let [columns, width] = self.shape(weight);
        assert!(
            columns == cell.gates() * width && gates.cols() == columns,
            "recurrent {cell:?}: gates are {:?}, the weight {columns}×{width}",
            gates.shape()
        );
        let mut history = History::new(cell, width, spans, reversed, initial);
        let mut product = Tensor::new(spans.len(), columns, DType::F32);
        let mut rows = Vec::new();
        {
            let panels = self.parameters.forward_panels(weight, self.dtype, self.keep);
            let epilogue =
                Epilogue { bias: bias.map(|b| self.parameters.get(b).data()), ..Epilogue::default() };
            for t in 0..history.schedule.steps() {
                let n = history.schedule.active[t];
                history.schedule.rows(t, &mut rows);
                let hidden = history.hidden(t, &history.look(t).0);
                matmul::matmul(hidden, &panels, part(&mut product, n), &epilogue);
                let (before, now) = history.step(t);
                forward(cell, width, gates.f32s(), &rows, product.f32s(), columns, before, now);
            }
        }
        let (out, mut last) = history.results(gates.rows());
        let nodes = self.nodes(&mut last);
        let initial = initial.map_or([None; 2], |s| [s.hidden.node, s.cell.node]);
        let (gates, tokens, dtype) = (gates.node, gates.rows(), self.dtype);
        let out = self.record(
            out,
            |p| format!("{cell:?} `{}`", p.get(weight).name),
            |hidden| {
                let last = nodes.unwrap_or([hidden; 2]);
                let saved = Saved { recurrence, history, gates, tokens, initial, hidden, last, dtype };
                Record::Recurrent(Box::new(saved))
            },
        );
        (out, last)
    }

    /// Gives a state its places on the tape: hidden, then cell.
    pub(crate) fn nodes(&mut self, state: &mut State) -> Option<[Node; 2]> {
        let tape = self.tape.as_mut()?;
        let nodes = [tape.node(), tape.node()];
        [state.hidden.node, state.cell.node] = nodes.map(Some);
        Some(nodes)
    }
}

/// The first rows of a product.
pub(crate) fn part(x: &mut Tensor, rows: usize) -> MatMut<'_> {
    let cols = x.cols();
    MatMut::f32(&mut x.f32s_mut()[..rows * cols], rows, cols)
}

impl Saved {
    /// Tells the parameters whose gradients [`Saved::backward`] adds to.
    pub(crate) fn each_parameter(&self, tell: &mut dyn FnMut(ParameterId)) {
        tell(self.recurrence.weight);
        self.recurrence.bias.into_iter().for_each(tell);
    }

    pub(crate) fn backward(self: Box<Self>, undo: &mut Undo<'_>) {
        let Saved { recurrence: Recurrence { cell, weight, bias, .. }, history, dtype, .. } = *self;
        let (dy, dlast) = (undo.take(self.hidden), self.last.map(|n| undo.take(n)));
        let parameters = undo.parameters();
        let [columns, width] = parameters.get(weight).shape;
        let schedule = &history.schedule;
        let mut carry = history.carry(&dlast);
        let mut d = Tensor::new(schedule.total(), 2 * columns, DType::F32);
        let mut rows = Vec::new();
        {
            let panels = parameters.backward_panels(weight, dtype);
            for t in (0..schedule.steps()).rev() {
                let (n, offset) = (schedule.active[t], schedule.offsets[t]);
                schedule.rows(t, &mut rows);
                let (before, now) = history.look(t);
                let dt = &mut d.f32s_mut()[offset * 2 * columns..][..n * 2 * columns];
                let carry = &mut carry.f32s_mut()[..n * 2 * width];
                backward(cell, width, dy.as_ref().map(Tensor::f32s), &rows, now, before, carry, dt);
                let product = Mat::new(Elements::F32(&dt[columns..]), n, columns, 2 * columns);
                add_to_hidden(product, &panels, carry, width);
            }
        }
        // The states before all steps, side by side with the gradients of their products.
        let states = history.states();
        let (dw, accumulate) = undo.gradients().contribute(weight);
        let dw = MatMut::f32(dw, columns, width);
        matmul::matmul_tn(d.columns(columns, columns), states.view(), dw, accumulate, dtype);
        if let Some(b) = bias {
            let mut all = vec![0.0; 2 * columns];
            arithmetic::column_sums(d.f32s(), 2 * columns, &mut all);
            let db = undo.gradients().accumulator(b);
            db.iter_mut().zip(&all[columns..]).for_each(|(to, from)| *to += from);
        }
        if let Some(node) = self.gates {
            undo.give(node, schedule.tokens(d.f32s(), 2 * columns, 0, columns, self.tokens));
        }
        for (at, node) in [0, width].into_iter().zip(self.initial) {
            if let Some(node) = node {
                undo.give(node, schedule.scatter(carry.f32s(), 2 * width, at, width));
            }
        }
    }
}

/// Adds what flows back through the recurrent product to the gradients of the hidden states.
pub(crate) fn add_to_hidden(d: Mat<'_>, panels: &matmul::Panels, carry: &mut [f32], width: usize) {
    let epilogue = Epilogue { accumulate: true, ..Epilogue::default() };
    let into = MatMut::new(ElementsMut::F32(carry), d.rows, width, 2 * width);
    matmul::matmul(d, panels, into, &epilogue);
}
