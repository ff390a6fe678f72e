//! Recurrent cells walking through ragged sequences: which steps read what, and what is remembered of them.
//!
//! Sequences are taken in order of length, longest first, so that those still going on at a time are the first ones and a step is one matrix
//! product over them. Rows in order of time: those of the first step, of the second, …; within a step in order of places.

use crate::kernels::attention::Span;
use crate::kernels::matrix::{DType, Elements, Mat};
use crate::kernels::pool;
use crate::kernels::recurrent::{Before, Cell};
use crate::ops::recurrent::State;
use crate::tensor::Tensor;

/// Which steps read what: sequences by length, and where their tokens lie.
pub(crate) struct Schedule {
    /// The sequence in each place, longest first.
    pub(crate) order: Vec<usize>,
    /// First token of each place's sequence, and how many.
    tokens: Vec<(usize, usize)>,
    /// Whether sequences are read from their end.
    reversed: bool,
    /// Sequences that have a step, for each step.
    pub(crate) active: Vec<usize>,
    /// Rows before each step, and at last all.
    pub(crate) offsets: Vec<usize>,
}

impl Schedule {
    fn new(spans: &[Span], reversed: bool) -> Schedule {
        let length = |s: usize| spans[s].queries.len();
        let mut order: Vec<usize> = (0..spans.len()).collect();
        order.sort_by_key(|&s| std::cmp::Reverse(length(s)));
        let steps = order.first().map_or(0, |&s| length(s));
        let active: Vec<usize> =
            (0..steps).map(|t| order.iter().take_while(|&&s| length(s) > t).count()).collect();
        let mut offsets = vec![0];
        active.iter().for_each(|a| offsets.push(offsets[offsets.len() - 1] + a));
        let tokens = order.iter().map(|&s| (spans[s].queries.start, length(s))).collect();
        Schedule { order, tokens, reversed, active, offsets }
    }

    pub(crate) fn steps(&self) -> usize {
        self.active.len()
    }

    /// Tokens that are read.
    pub(crate) fn total(&self) -> usize {
        self.offsets[self.steps()]
    }

    /// Tokens of a step, one for each sequence that has it.
    pub(crate) fn rows(&self, t: usize, rows: &mut Vec<u32>) {
        let at = |&(start, n): &(usize, usize)| if self.reversed { start + n - 1 - t } else { start + t };
        rows.clear();
        rows.extend(self.tokens[..self.active[t]].iter().map(|s| at(s) as u32));
    }

    /// Row in order of time of each of `tokens` tokens; `u32::MAX` for those of no sequence.
    fn places(&self, tokens: usize) -> Vec<u32> {
        let (mut place, mut rows) = (vec![u32::MAX; tokens], Vec::new());
        for t in 0..self.steps() {
            self.rows(t, &mut rows);
            (0u32..).zip(&rows).for_each(|(k, &row)| place[row as usize] = self.offsets[t] as u32 + k);
        }
        place
    }

    /// Columns `at .. at + cols` of rows of `stride` numbers in order of time → `[tokens, cols]` in order of tokens; zeros for those of no sequence.
    pub(crate) fn tokens(
        &self,
        from: &[f32],
        stride: usize,
        at: usize,
        cols: usize,
        tokens: usize,
    ) -> Tensor {
        let place = self.places(tokens);
        let mut x = Tensor::new(tokens, cols, DType::F32);
        if cols > 0 {
            pool::chunks(x.f32s_mut(), 64 * cols, |i, to| {
                for (to, &p) in to.chunks_exact_mut(cols).zip(&place[64 * i..]) {
                    match p {
                        u32::MAX => to.fill(0.0),
                        p => to.copy_from_slice(&from[p as usize * stride + at..][..cols]),
                    }
                }
            });
        }
        x
    }

    /// Rows of `x` in order of sequences → order of places, in columns `at..` of rows of `stride`.
    fn gather(&self, x: &Tensor, stride: usize, at: usize, to: &mut [f32]) {
        for (place, &s) in self.order.iter().enumerate() {
            let width = x.cols();
            to[place * stride + at..][..width].copy_from_slice(&x.f32s()[s * width..][..width]);
        }
    }

    /// The other way.
    pub(crate) fn scatter(&self, from: &[f32], stride: usize, at: usize, width: usize) -> Tensor {
        let mut x = Tensor::new(self.order.len(), width, DType::F32);
        for (place, &s) in self.order.iter().enumerate() {
            x.f32s_mut()[s * width..][..width].copy_from_slice(&from[place * stride + at..][..width]);
        }
        x
    }
}

/// A walk and its records.
pub(crate) struct History {
    pub(crate) cell: Cell,
    pub(crate) width: usize,
    pub(crate) schedule: Schedule,
    /// `[tokens, (G + 2)·H]`, in order of time.
    records: Tensor,
    /// The states before the first step, `[S, 2H]`: cell, then hidden, in order of places.
    first: Tensor,
}

impl History {
    /// Nothing was read yet.
    ///
    /// # Panics
    /// If the state has another shape than the sequences need.
    pub(crate) fn new(
        cell: Cell,
        width: usize,
        spans: &[Span],
        reversed: bool,
        initial: Option<&State>,
    ) -> History {
        let schedule = Schedule::new(spans, reversed);
        let records = Tensor::new(schedule.total(), cell.record(width), DType::F32);
        let mut first = Tensor::zeros(spans.len(), 2 * width, DType::F32);
        if let Some(state) = initial {
            assert_eq!(state.hidden.shape(), [spans.len(), width], "recurrent: the state's shape");
            schedule.gather(&state.cell, 2 * width, 0, first.f32s_mut());
            schedule.gather(&state.hidden, 2 * width, width, first.f32s_mut());
        }
        History { cell, width, schedule, records, first }
    }

    /// The states before step `t`, and its records to be written.
    pub(crate) fn step(&mut self, t: usize) -> (Before<'_>, &mut [f32]) {
        let (n, record) = (self.schedule.active[t], self.cell.record(self.width));
        let (past, now) = self.records.f32s_mut().split_at_mut(self.schedule.offsets[t] * record);
        let before = before(self.cell, self.width, t, &self.schedule, past, self.first.f32s());
        (before, &mut now[..n * record])
    }

    /// The states before step `t`, and its records.
    pub(crate) fn look(&self, t: usize) -> (Before<'_>, &[f32]) {
        let (n, record) = (self.schedule.active[t], self.cell.record(self.width));
        let all = self.records.f32s();
        let before = before(self.cell, self.width, t, &self.schedule, all, self.first.f32s());
        (before, &all[self.schedule.offsets[t] * record..][..n * record])
    }

    /// The hidden states before step `t`, `[n, H]`.
    pub(crate) fn hidden<'a>(&self, t: usize, before: &Before<'a>) -> Mat<'a> {
        let data = Elements::F32(&before.data[before.hidden..]);
        Mat::new(data, self.schedule.active[t], self.width, before.stride)
    }

    /// The hidden states of `tokens` tokens, zeros for those of no sequence, and the states after the sequences.
    pub(crate) fn results(&self, tokens: usize) -> (Tensor, State) {
        let (width, record) = (self.width, self.cell.record(self.width));
        let hidden = self.schedule.tokens(self.records.f32s(), record, record - width, width, tokens);
        let mut ends = self.first.to_vec();
        for t in 0..self.schedule.steps() {
            let going_on = self.schedule.active.get(t + 1).copied().unwrap_or(0);
            let (_, now) = self.look(t);
            for k in going_on..self.schedule.active[t] {
                let end = &now[k * record..][record - 2 * width..record];
                ends[k * 2 * width..][..2 * width].copy_from_slice(end);
            }
        }
        let mut last = State {
            cell: self.schedule.scatter(&ends, 2 * width, 0, width),
            hidden: self.schedule.scatter(&ends, 2 * width, width, width),
        };
        if self.cell != Cell::Lstm {
            last.cell = Tensor::zeros(self.schedule.order.len(), width, DType::F32);
        }
        (hidden, last)
    }

    /// The hidden states before all steps, `[tokens, H]`, in order of time.
    pub(crate) fn states(&self) -> Tensor {
        let width = self.width;
        let mut states = Tensor::new(self.schedule.total(), width, DType::F32);
        for t in 0..self.schedule.steps() {
            let (before, _) = self.look(t);
            let (n, offset) = (self.schedule.active[t], self.schedule.offsets[t]);
            for (k, to) in states.f32s_mut()[offset * width..].chunks_exact_mut(width).take(n).enumerate() {
                to.copy_from_slice(&before.data[k * before.stride + before.hidden..][..width]);
            }
        }
        states
    }

    /// What backward begins with: gradients of hidden and cell's states after the sequences, `[S, 2H]` in order of places; a sequence's end waits
    /// there for its turn.
    pub(crate) fn carry(&self, dlast: &[Option<Tensor>; 2]) -> Tensor {
        let width = self.width;
        let mut carry = Tensor::zeros(self.schedule.order.len(), 2 * width, DType::F32);
        for (at, d) in [0, width].into_iter().zip(dlast) {
            if let Some(d) = d {
                self.schedule.gather(d, 2 * width, at, carry.f32s_mut());
            }
        }
        carry
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
