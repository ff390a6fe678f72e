//! Recurrence through time over ragged sequences: gates from the input `[T, G·H]`, a recurrent weight `[G·H, H]`, and a state before the first step
//! → hidden states `[T, H]` and the state after each sequence's last step, f32.
//!
//! Sequences are taken in order of length, longest first, so that those still going on at a time are the first ones and a step is one matrix
//! product. Backward walks back in time with the records of forward; the weight's gradient is one product over all steps.
//! Equals `torch.nn.LSTM`, `GRU` and `RNN` (and Keras' LSTM) with their order of gates.

use crate::kernels::arithmetic;
use crate::kernels::attention::Span;
use crate::kernels::matmul::{self, Epilogue};
use crate::kernels::matrix::{DType, Elements, Mat, MatMut};
use crate::kernels::pool;
use crate::kernels::recurrent::{Before, Cell, backward, forward};
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
}

/// Which steps read what: sequences by length, and where their tokens lie.
struct Schedule {
    /// The sequence in each place, longest first.
    order: Vec<usize>,
    /// First token of each place's sequence.
    starts: Vec<usize>,
    /// Sequences that have a step, for each step.
    active: Vec<usize>,
    /// Records before each step.
    offsets: Vec<usize>,
}

impl Schedule {
    fn new(spans: &[Span]) -> Schedule {
        let mut order: Vec<usize> = (0..spans.len()).collect();
        order.sort_by_key(|&s| std::cmp::Reverse(spans[s].queries.len()));
        let steps = order.first().map_or(0, |&s| spans[s].queries.len());
        let active: Vec<usize> =
            (0..steps).map(|t| order.iter().take_while(|&&s| spans[s].queries.len() > t).count()).collect();
        let mut offsets = vec![0];
        active.iter().for_each(|a| offsets.push(offsets[offsets.len() - 1] + a));
        let starts = order.iter().map(|&s| spans[s].queries.start).collect();
        Schedule { order, starts, active, offsets }
    }

    fn steps(&self) -> usize {
        self.active.len()
    }

    /// Tokens of a step, one for each sequence that has it.
    fn rows(&self, t: usize, rows: &mut Vec<u32>) {
        rows.clear();
        rows.extend(self.starts[..self.active[t]].iter().map(|s| (s + t) as u32));
    }

    /// Rows of `x` in order of sequences → order of places, in columns `at..` of rows of `stride`.
    fn gather(&self, x: &Tensor, stride: usize, at: usize, to: &mut [f32]) {
        for (place, &s) in self.order.iter().enumerate() {
            let width = x.cols();
            to[place * stride + at..][..width].copy_from_slice(&x.f32s()[s * width..][..width]);
        }
    }

    /// The other way.
    fn scatter(&self, from: &[f32], stride: usize, at: usize, width: usize) -> Tensor {
        let mut x = Tensor::new(self.order.len(), width, DType::F32);
        for (place, &s) in self.order.iter().enumerate() {
            x.f32s_mut()[s * width..][..width].copy_from_slice(&from[place * stride + at..][..width]);
        }
        x
    }
}

pub(crate) struct Saved {
    cell: Cell,
    weight: ParameterId,
    bias: Option<ParameterId>,
    schedule: Schedule,
    /// `[T, (G + 2)·H]`, in order of time.
    records: Tensor,
    /// The state before the first step, `[S, 2H]`: cell, then hidden, in order of places.
    first: Tensor,
    gates: Option<Node>,
    tokens: usize,
    initial: [Option<Node>; 2],
    hidden: Node,
    last: [Node; 2],
    dtype: DType,
}

impl Graph<'_> {
    /// Runs a cell over the sequences in `spans`; tokens outside of them give zeros. `bias` is added to the recurrent product (GRU).
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn recurrent(
        &mut self,
        cell: Cell,
        gates: &Tensor,
        weight: ParameterId,
        bias: Option<ParameterId>,
        spans: &[Span],
        initial: Option<&State>,
    ) -> (Tensor, State) {
        let [columns, width] = self.shape(weight);
        assert!(
            columns == cell.gates() * width && gates.cols() == columns,
            "recurrent {cell:?}: gates are {:?}, the weight {columns}×{width}",
            gates.shape()
        );
        let schedule = Schedule::new(spans);
        let record = cell.record(width);
        let mut records = Tensor::new(schedule.offsets[schedule.steps()], record, DType::F32);
        let mut first = Tensor::zeros(spans.len(), 2 * width, DType::F32);
        if let Some(state) = initial {
            assert_eq!(state.hidden.shape(), [spans.len(), width], "recurrent: the state's shape");
            schedule.gather(&state.cell, 2 * width, 0, first.f32s_mut());
            schedule.gather(&state.hidden, 2 * width, width, first.f32s_mut());
        }
        let mut product = Tensor::new(spans.len(), columns, DType::F32);
        let mut rows = Vec::new();
        {
            let panels = self.parameters.forward_panels(weight, self.dtype, self.keep);
            let epilogue =
                Epilogue { bias: bias.map(|b| self.parameters.get(b).data()), ..Epilogue::default() };
            for t in 0..schedule.steps() {
                let n = schedule.active[t];
                schedule.rows(t, &mut rows);
                let (past, now) = records.f32s_mut().split_at_mut(schedule.offsets[t] * record);
                let before = before(cell, width, t, &schedule, past, first.f32s());
                matmul::matmul(hidden(&before, n, width), &panels, part(&mut product, n), &epilogue);
                let now = &mut now[..n * record];
                forward(cell, width, gates.f32s(), &rows, product.f32s(), before, now);
            }
        }
        let mut out = Tensor::zeros(gates.rows(), width, DType::F32);
        let mut ends = first.to_vec();
        for t in 0..schedule.steps() {
            schedule.rows(t, &mut rows);
            for (k, &row) in rows.iter().enumerate() {
                let kept = &records.f32s()[(schedule.offsets[t] + k) * record..][..record];
                let h = &kept[record - width..];
                out.f32s_mut()[row as usize * width..][..width].copy_from_slice(h);
                if schedule.active.get(t + 1).is_none_or(|&a| k >= a) {
                    let cell = &kept[record - 2 * width..record - width];
                    ends[k * 2 * width..][..width].copy_from_slice(cell);
                    ends[k * 2 * width + width..][..width].copy_from_slice(h);
                }
            }
        }
        let mut last = State {
            cell: schedule.scatter(&ends, 2 * width, 0, width),
            hidden: schedule.scatter(&ends, 2 * width, width, width),
        };
        if cell != Cell::Lstm {
            last.cell = Tensor::zeros(spans.len(), width, DType::F32);
        }
        if let Some(tape) = self.tape.as_mut() {
            last.hidden.node = Some(tape.node());
            last.cell.node = Some(tape.node());
        }
        let nodes = last.hidden.node.zip(last.cell.node);
        let initial = initial.map_or([None; 2], |s| [s.hidden.node, s.cell.node]);
        let (gates, tokens, dtype) = (gates.node, gates.rows(), self.dtype);
        let out = self.record(
            out,
            |p| format!("{cell:?} `{}`", p.get(weight).name),
            |node| {
                let (h, c) = nodes.unwrap_or((node, node));
                let last = [h, c];
                Record::Recurrent(Box::new(Saved {
                    cell,
                    weight,
                    bias,
                    schedule,
                    records,
                    first,
                    gates,
                    tokens,
                    initial,
                    hidden: node,
                    last,
                    dtype,
                }))
            },
        );
        (out, last)
    }
}

/// The states before step `t`: the records of the step before, or the first.
fn before<'a>(
    cell: Cell,
    width: usize,
    t: usize,
    schedule: &Schedule,
    past: &'a [f32],
    first: &'a [f32],
) -> Before<'a> {
    match t {
        0 => Before { data: first, stride: 2 * width, cell: 0, hidden: width },
        _ => {
            let record = cell.record(width);
            let data = &past[schedule.offsets[t - 1] * record..];
            Before { data, stride: record, cell: record - 2 * width, hidden: record - width }
        }
    }
}

fn hidden<'a>(before: &Before<'a>, rows: usize, width: usize) -> Mat<'a> {
    Mat::new(Elements::F32(&before.data[before.hidden..]), rows, width, before.stride)
}

fn part(x: &mut Tensor, rows: usize) -> MatMut<'_> {
    let cols = x.cols();
    MatMut::f32(&mut x.f32s_mut()[..rows * cols], rows, cols)
}

impl Saved {
    pub(crate) fn backward(self: Box<Self>, undo: &mut Undo<'_>) {
        let Saved { cell, weight, bias, schedule, records, first, dtype, .. } = *self;
        let (dy, dlast) = (undo.take(self.hidden), self.last.map(|n| undo.take(n)));
        let parameters = undo.parameters();
        let [columns, width] = parameters.get(weight).shape;
        let record = cell.record(width);
        // Gradients of hidden state and cell's state, in order of places; a sequence's end waits there for its turn.
        let mut carry = Tensor::zeros(schedule.order.len(), 2 * width, DType::F32);
        for (at, d) in [0, width].into_iter().zip(&dlast) {
            if let Some(d) = d {
                schedule.gather(d, 2 * width, at, carry.f32s_mut());
            }
        }
        let total = records.rows();
        let mut d = Tensor::new(total, 2 * columns, DType::F32);
        let mut rows = Vec::new();
        {
            let panels = parameters.backward_panels(weight, dtype);
            for t in (0..schedule.steps()).rev() {
                let (n, offset) = (schedule.active[t], schedule.offsets[t]);
                schedule.rows(t, &mut rows);
                let before = before(cell, width, t, &schedule, records.f32s(), first.f32s());
                let dt = &mut d.f32s_mut()[offset * 2 * columns..][..n * 2 * columns];
                let now = &records.f32s()[offset * record..][..n * record];
                let carry = &mut carry.f32s_mut()[..n * 2 * width];
                backward(cell, width, dy.as_ref().map(Tensor::f32s), &rows, now, before, carry, dt);
                let product = Mat::new(Elements::F32(&dt[columns..]), n, columns, 2 * columns);
                let into = crate::kernels::matrix::ElementsMut::F32(carry);
                let epilogue = Epilogue { accumulate: true, ..Epilogue::default() };
                matmul::matmul(product, &panels, MatMut::new(into, n, width, 2 * width), &epilogue);
            }
        }
        // The states before all steps, side by side with the gradients of their products.
        let mut states = Tensor::new(total, width, DType::F32);
        for t in 0..schedule.steps() {
            let before = before(cell, width, t, &schedule, records.f32s(), first.f32s());
            let (n, offset) = (schedule.active[t], schedule.offsets[t]);
            for (k, to) in states.f32s_mut()[offset * width..].chunks_exact_mut(width).take(n).enumerate() {
                to.copy_from_slice(&before.data[k * before.stride + before.hidden..][..width]);
            }
        }
        let (dw, accumulate) = undo.gradients().contribute(weight);
        matmul::matmul_tn(
            d.columns(columns, columns),
            states.view(),
            MatMut::f32(dw, columns, width),
            accumulate,
            dtype,
        );
        if let Some(b) = bias {
            let mut all = vec![0.0; 2 * columns];
            arithmetic::column_sums(d.f32s(), 2 * columns, &mut all);
            let db = undo.gradients().accumulator(b);
            db.iter_mut().zip(&all[columns..]).for_each(|(to, from)| *to += from);
        }
        if let Some(node) = self.gates {
            // In the order of the input, tokens of no sequence zero.
            let mut place = vec![u32::MAX; self.tokens];
            for t in 0..schedule.steps() {
                schedule.rows(t, &mut rows);
                (0u32..)
                    .zip(&rows)
                    .for_each(|(k, &row)| place[row as usize] = schedule.offsets[t] as u32 + k);
            }
            let mut dx = Tensor::new(self.tokens, columns, DType::F32);
            let from = d.f32s();
            pool::chunks(dx.f32s_mut(), 64 * columns, |i, to| {
                for (to, &p) in to.chunks_exact_mut(columns).zip(&place[64 * i..]) {
                    match p {
                        u32::MAX => to.fill(0.0),
                        p => to.copy_from_slice(&from[p as usize * 2 * columns..][..columns]),
                    }
                }
            });
            undo.give(node, dx);
        }
        for (at, node) in [0, width].into_iter().zip(self.initial) {
            if let Some(node) = node {
                undo.give(node, schedule.scatter(carry.f32s(), 2 * width, at, width));
            }
        }
    }
}
