//! The tape: the operations to undo, in order, and the gradients that undoing them collects.
//!
//! An operation with a tape pushes what its backward needs; no gradient wanted means no tape. A result's gradient has the
//! result's shape and element type. The first contribution to a gradient is taken as it is, later ones are added, so a value
//! may be used any number of times. Undoing pops: what an operation saved is freed as soon as it is undone.

use crate::kernels::{arithmetic, matrix::DType, random::Key};
use crate::ops;
use crate::parameters::{Gradients, ParameterId, Parameters};
use crate::tensor::Tensor;

/// A value's place on the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node(u32);

/// What an operation saved, one kind for each file of `ops`.
pub(crate) enum Record {
    Linear(ops::linear::Saved),
    LowRank(Box<ops::low_rank::Saved>),
    Norm(ops::norm::Saved),
    HeadNorm(ops::norm::SavedHeads),
    Rope(ops::rope::Saved),
    Attention(ops::attention::Saved),
    Activation(ops::activation::Saved),
    Embedding(ops::embedding::Saved),
    Add(ops::add::Saved),
    Dropout(ops::dropout::Saved),
    Recurrent(Box<ops::recurrent::Saved>),
    Attentive(Box<ops::attentive::Saved>),
    Shift(ops::shift::Saved),
    Rows(ops::rows::Saved),
}

impl Record {
    fn undo(self, undo: &mut Undo<'_>) {
        match self {
            Record::Linear(s) => s.backward(undo),
            Record::LowRank(s) => s.backward(undo),
            Record::Norm(s) => s.backward(undo),
            Record::HeadNorm(s) => s.backward(undo),
            Record::Rope(s) => s.backward(undo),
            Record::Attention(s) => s.backward(undo),
            Record::Activation(s) => s.backward(undo),
            Record::Embedding(s) => s.backward(undo),
            Record::Add(s) => s.backward(undo),
            Record::Dropout(s) => s.backward(undo),
            Record::Recurrent(s) => s.backward(undo),
            Record::Attentive(s) => s.backward(undo),
            Record::Shift(s) => s.backward(undo),
            Record::Rows(s) => s.backward(undo),
        }
    }

    /// Tells every parameter whose gradient undoing adds to.
    fn each_parameter(&self, tell: &mut dyn FnMut(ParameterId)) {
        match self {
            Record::Linear(s) => s.each_parameter(tell),
            Record::LowRank(s) => s.each_parameter(tell),
            Record::Norm(s) => s.each_parameter(tell),
            Record::HeadNorm(s) => s.each_parameter(tell),
            Record::Embedding(s) => s.each_parameter(tell),
            Record::Recurrent(s) => s.each_parameter(tell),
            Record::Attentive(s) => s.each_parameter(tell),
            Record::Rope(_)
            | Record::Attention(_)
            | Record::Activation(_)
            | Record::Add(_)
            | Record::Dropout(_)
            | Record::Shift(_)
            | Record::Rows(_) => {}
        }
    }
}

/// The operations done since the last [`Tape::backward`], and the gradients.
#[derive(Default)]
pub struct Tape {
    records: Vec<Record>,
    values: Vec<Option<Tensor>>,
    gradients: Gradients,
}

impl Tape {
    /// An empty tape for these parameters.
    pub fn new(parameters: &Parameters) -> Tape {
        Tape { gradients: Gradients::new(parameters), ..Tape::default() }
    }

    /// The parameters' gradients.
    pub fn gradients(&mut self) -> &mut Gradients {
        &mut self.gradients
    }

    /// Says what the gradient of a value is, from outside the tape: where backward begins. Adds to what is there.
    ///
    /// # Panics
    /// If the value is not on the tape or the shapes differ.
    pub fn seed(&mut self, value: &Tensor, gradient: Tensor) {
        assert_eq!(value.shape(), gradient.shape(), "Tape::seed: gradient of another shape than the value");
        let node = value.node.expect("the value was computed with this tape");
        Undo::new_for_seed(&mut self.values).give(node, gradient);
    }

    /// Undoes everything, last first, adding to the parameters' gradients. The tape is empty afterwards.
    pub fn backward(&mut self, parameters: &Parameters) {
        while let Some(record) = self.records.pop() {
            self.undo(record, parameters);
        }
        self.values.clear();
    }

    /// As [`Tape::backward`], and tells of each parameter, once, as soon as no operation that is still to be undone adds to its gradient:
    /// whoever sends gradients away need not wait for the last. Parameters that no operation reads come first.
    pub fn backward_telling(
        &mut self,
        parameters: &Parameters,
        complete: &mut dyn FnMut(&mut Gradients, ParameterId),
    ) {
        let mut uses = vec![0u32; parameters.len()];
        self.records.iter().for_each(|r| r.each_parameter(&mut |id| uses[id.index()] += 1));
        for (id, _) in parameters.iter().filter(|(id, _)| uses[id.index()] == 0) {
            complete(&mut self.gradients, id);
        }
        let mut done = Vec::new();
        while let Some(record) = self.records.pop() {
            record.each_parameter(&mut |id| {
                uses[id.index()] -= 1;
                if uses[id.index()] == 0 {
                    done.push(id);
                }
            });
            self.undo(record, parameters);
            done.drain(..).for_each(|id| complete(&mut self.gradients, id));
        }
        self.values.clear();
    }

    fn undo(&mut self, record: Record, parameters: &Parameters) {
        let mut undo = Undo {
            parameters: Some(parameters),
            gradients: Some(&mut self.gradients),
            values: &mut self.values,
        };
        record.undo(&mut undo);
    }

    pub(crate) fn node(&mut self) -> Node {
        self.values.push(None);
        Node(self.values.len() as u32 - 1)
    }

    pub(crate) fn push(&mut self, record: Record) {
        self.records.push(record);
    }
}

/// What an operation sees while it is undone.
pub(crate) struct Undo<'a> {
    parameters: Option<&'a Parameters>,
    gradients: Option<&'a mut Gradients>,
    values: &'a mut Vec<Option<Tensor>>,
}

impl<'a> Undo<'a> {
    fn new_for_seed(values: &'a mut Vec<Option<Tensor>>) -> Undo<'a> {
        Undo { parameters: None, gradients: None, values }
    }

    pub(crate) fn parameters(&self) -> &'a Parameters {
        self.parameters.expect("undo has its parameters")
    }

    pub(crate) fn gradients(&mut self) -> &mut Gradients {
        self.gradients.as_mut().expect("undo has its gradients")
    }

    /// The gradient of an operation's result; `None` if nothing depends on it.
    pub(crate) fn take(&mut self, node: Node) -> Option<Tensor> {
        self.values[node.0 as usize].take()
    }

    /// What has been collected for a value so far, in memory of its own, for an operation that adds to it in place; to be given back by
    /// [`Undo::put`].
    pub(crate) fn collected(&mut self, node: Node) -> Option<Tensor> {
        self.values[node.0 as usize].take().map(Tensor::into_unique)
    }

    /// Sets what has been collected for a value.
    pub(crate) fn put(&mut self, node: Node, gradient: Tensor) {
        self.values[node.0 as usize] = Some(gradient);
    }

    /// Adds a contribution to a value's gradient.
    pub(crate) fn give(&mut self, node: Node, gradient: Tensor) {
        let sum = match self.collected(node) {
            None => gradient,
            Some(mut sum) => {
                add_into(&mut sum, &gradient);
                sum
            }
        };
        self.put(node, sum);
    }
}

/// `sum += x`, in either element type.
fn add_into(sum: &mut Tensor, x: &Tensor) {
    assert_eq!(sum.shape(), x.shape(), "gradient: contributions of different shapes");
    match (sum.dtype(), x.dtype()) {
        (DType::F32, DType::F32) => arithmetic::add_assign(sum.f32s_mut(), x.f32s()),
        (DType::F32, DType::Bf16) => arithmetic::add_assign(sum.f32s_mut(), x.bf16s()),
        (DType::Bf16, DType::F32) => arithmetic::add_assign(sum.bf16s_mut(), x.f32s()),
        (DType::Bf16, DType::Bf16) => arithmetic::add_assign(sum.bf16s_mut(), x.bf16s()),
    }
}

/// Where a forward pass computes: the parameters it reads, the element type of matrix operands, and, if gradients are wanted, the
/// tape. Operations are its methods, one file each in `ops`.
pub struct Graph<'a> {
    /// The parameters that the operations read.
    pub parameters: &'a Parameters,
    /// Element type of the operands of matrix products.
    pub dtype: DType,
    pub(crate) tape: Option<&'a mut Tape>,
    /// Seed and step of the random numbers of this pass; each use has its own stream.
    pub(crate) randomness: Option<Key>,
    pub(crate) streams: u32,
    /// Whether packed weights are kept for later passes.
    pub(crate) keep: bool,
    /// If results are watched: what was first seen to be not finite.
    watch: Option<Option<String>>,
    operations: usize,
}

impl<'a> Graph<'a> {
    /// A pass without gradients.
    pub fn inference(parameters: &'a Parameters, dtype: DType) -> Graph<'a> {
        Graph {
            parameters,
            dtype,
            tape: None,
            randomness: None,
            streams: 0,
            keep: true,
            watch: None,
            operations: 0,
        }
    }

    /// A pass whose operations are recorded. `randomness` is for dropout; `None` switches dropout off.
    pub fn training(
        parameters: &'a Parameters,
        dtype: DType,
        tape: &'a mut Tape,
        randomness: Option<Key>,
    ) -> Graph<'a> {
        Graph {
            parameters,
            dtype,
            tape: Some(tape),
            randomness,
            streams: 0,
            keep: false,
            watch: None,
            operations: 0,
        }
    }

    /// Whether operations are recorded.
    pub fn is_training(&self) -> bool {
        self.tape.is_some()
    }

    /// A pass after which the weights will change: they are packed one after the other into the same memory.
    pub fn passing(mut self) -> Graph<'a> {
        self.keep = false;
        self
    }

    /// Looks for NaN and infinity in every result of this pass: slow, to explain a loss that is not finite.
    pub fn watching(mut self) -> Graph<'a> {
        self.watch = Some(None);
        self
    }

    /// The first result of a watched pass that was not finite, named.
    pub fn first_nonfinite(&self) -> Option<&str> {
        self.watch.as_ref()?.as_deref()
    }

    fn look(&mut self, out: &Tensor, name: &dyn Fn(&Parameters) -> String) {
        if let Some(None) = self.watch {
            let at = match out.dtype() {
                DType::F32 => arithmetic::first_nonfinite(out.f32s()),
                DType::Bf16 => arithmetic::first_nonfinite(out.bf16s()),
            };
            if let Some(i) = at {
                let (row, col, cols) = (i / out.cols(), i % out.cols(), out.cols());
                let name = name(self.parameters);
                let text = format!(
                    "operation {} of the forward pass, {name}, gave {} at row {row}, column {col} of {}×{cols}",
                    self.operations,
                    out.view().get(row, col),
                    out.rows()
                );
                self.watch = Some(Some(text));
            }
        }
        self.operations += 1;
    }

    /// Records an operation, if there is a tape: makes the result's node and pushes what `saved` builds from it.
    pub(crate) fn record(
        &mut self,
        mut out: Tensor,
        name: impl Fn(&Parameters) -> String,
        saved: impl FnOnce(Node) -> Record,
    ) -> Tensor {
        self.look(&out, &name);
        out.node = self.tape.as_mut().map(|tape| {
            let node = tape.node();
            tape.push(saved(node));
            node
        });
        out
    }

    /// A result on which no gradient depends: all that it was computed from is frozen.
    pub(crate) fn unrecorded(&mut self, mut out: Tensor, name: impl Fn(&Parameters) -> String) -> Tensor {
        self.look(&out, &name);
        out.node = None;
        out
    }

    /// Whether learning leaves a parameter as it is.
    pub(crate) fn is_frozen(&self, id: ParameterId) -> bool {
        self.parameters.get(id).is_frozen()
    }

    /// The number of columns or entries of a parameter, for checks.
    pub(crate) fn shape(&self, id: ParameterId) -> [usize; 2] {
        self.parameters.get(id).shape
    }
}
