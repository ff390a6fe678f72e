//! Parameters: what learning changes, with their gradients and the packed forms that the matrix product reads.

use std::cell::{OnceCell, Ref, RefCell};

use crate::kernels::arithmetic;
use crate::kernels::eight::Eight;
use crate::kernels::matmul::Panels;
use crate::kernels::matrix::{DType, Mat};

/// A parameter's place in its [`Parameters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(u32);

impl ParameterId {
    /// Its index in order of creation.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a parameter is used for: decides its initial values, its decay and its optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A linear map `[out, in]`.
    Matrix,
    /// A table of vectors `[count, width]` looked up by index (also when it serves as the output layer).
    Embedding,
    /// Gains and biases `[1, width]`.
    Vector,
}

/// One named parameter, f32; or of 8-bit numbers as they were read, which become f32 when somebody asks for that.
#[derive(Debug)]
pub struct Parameter {
    /// Its name, unique among its siblings.
    pub name: String,
    /// `[rows, cols]`; a vector has one row.
    pub shape: [usize; 2],
    /// What it is used for.
    pub role: Role,
    /// Whether it stays as it is: it has no gradient and nothing is spent on one.
    frozen: bool,
    data: OnceCell<Vec<f32>>,
    eight: Option<Eight>,
}

impl Parameter {
    /// Its values, row by row.
    pub fn data(&self) -> &[f32] {
        self.data.get_or_init(|| match &self.eight {
            Some(eight) => eight.to_f32(),
            None => vec![0.0; self.count()],
        })
    }

    /// Its values, to change: from here on they are f32.
    fn data_mut(&mut self) -> &mut [f32] {
        self.data();
        self.eight = None;
        self.data.get_mut().map(Vec::as_mut_slice).unwrap_or_default()
    }

    /// Its 8-bit form, if it was read in one and did not change since.
    pub fn eight(&self) -> Option<&Eight> {
        self.eight.as_ref()
    }

    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// Whether learning leaves it as it is.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }
}

/// Packed forms of one parameter, made when first asked for after a change.
#[derive(Default)]
struct Packed {
    /// Which parameter, at which version, in which element type.
    what: Option<(u32, u64, DType)>,
    panels: Panels,
}

/// The parameters of a model, in order of creation.
#[derive(Default)]
pub struct Parameters {
    list: Vec<Parameter>,
    /// Raised whenever values may have changed.
    version: u64,
    forward: Vec<RefCell<Packed>>,
    /// One for each direction, for passes that use each packed form once.
    passing: [RefCell<Packed>; 2],
}

impl Parameters {
    /// None yet.
    pub fn new() -> Parameters {
        Parameters { version: 1, ..Parameters::default() }
    }

    /// Adds a parameter of zeros.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn add(&mut self, name: impl Into<String>, shape: [usize; 2], role: Role) -> ParameterId {
        let name = name.into();
        assert!(self.find(&name).is_none(), "parameter `{name}` exists already");
        let (data, eight) = (OnceCell::new(), None);
        self.list.push(Parameter { name, shape, role, frozen: false, data, eight });
        self.forward.push(RefCell::default());
        ParameterId(self.list.len() as u32 - 1)
    }

    /// Freezes every parameter that is there now, or thaws them. Only the operations of a GPT know of frozen parameters.
    pub fn freeze(&mut self, frozen: bool) {
        self.list.iter_mut().for_each(|p| p.frozen = frozen);
    }

    /// Removes all parameters but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.version += 1;
        self.list.truncate(len);
        self.forward.truncate(len);
    }

    /// The parameter of that name.
    pub fn find(&self, name: &str) -> Option<ParameterId> {
        self.list.iter().position(|p| p.name == name).map(|i| ParameterId(i as u32))
    }

    /// One parameter.
    pub fn get(&self, id: ParameterId) -> &Parameter {
        &self.list[id.index()]
    }

    /// The values of one parameter, to change.
    pub fn data_mut(&mut self, id: ParameterId) -> &mut [f32] {
        self.version += 1;
        self.list[id.index()].data_mut()
    }

    /// The values of all parameters that are not frozen, to change side by side.
    pub fn learning(&mut self) -> impl Iterator<Item = (ParameterId, Role, [usize; 2], &mut [f32])> {
        self.version += 1;
        let learning = self.list.iter_mut().enumerate().filter(|(_, p)| !p.frozen);
        learning.map(|(i, p)| (ParameterId(i as u32), p.role, p.shape, p.data_mut()))
    }

    /// Makes these the values of one parameter.
    ///
    /// # Panics
    /// If they are not as many as it has.
    pub fn set(&mut self, id: ParameterId, data: Vec<f32>) {
        self.version += 1;
        let p = &mut self.list[id.index()];
        assert_eq!(data.len(), p.count(), "parameter `{}` has {:?} values", p.name, p.shape);
        (p.data, p.eight) = (OnceCell::from(data), None);
    }

    /// Makes one parameter an 8-bit matrix; what reads it widens it as it goes.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn set_eight(&mut self, id: ParameterId, eight: Eight) {
        self.version += 1;
        let p = &mut self.list[id.index()];
        assert_eq!(eight.shape(), p.shape, "parameter `{}` has another shape", p.name);
        (p.data, p.eight) = (OnceCell::new(), Some(eight));
    }

    /// All parameters in order of creation.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ParameterId, &Parameter)> {
        self.list.iter().enumerate().map(|(i, p)| (ParameterId(i as u32), p))
    }

    /// The parameter with that index.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn id(&self, index: usize) -> ParameterId {
        assert!(index < self.list.len(), "parameter {index} of {}", self.list.len());
        ParameterId(index as u32)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Numbers in all of them together.
    pub fn count(&self) -> usize {
        self.list.iter().map(Parameter::count).sum()
    }

    /// Bytes of the packed forms made so far.
    pub fn packed_bytes(&self) -> usize {
        self.forward.iter().chain(&self.passing).map(|p| p.borrow().panels.bytes()).sum()
    }

    /// A parameter `[out, in]` as the right operand of `x · wᵀ`. Kept, it is packed once for many passes; otherwise into memory that all
    /// parameters share, because weights that are being trained change before they are used again.
    pub(crate) fn forward_panels(&self, id: ParameterId, dtype: DType, keep: bool) -> Ref<'_, Panels> {
        let cell = if keep { &self.forward[id.index()] } else { &self.passing[0] };
        self.packed(cell, id, true, dtype)
    }

    /// A parameter `[out, in]` as the right operand of `dy · w`.
    pub(crate) fn backward_panels(&self, id: ParameterId, dtype: DType) -> Ref<'_, Panels> {
        self.packed(&self.passing[1], id, false, dtype)
    }

    fn packed<'a>(
        &'a self,
        cell: &'a RefCell<Packed>,
        id: ParameterId,
        transposed: bool,
        dtype: DType,
    ) -> Ref<'a, Panels> {
        let what = Some((id.0, self.version, dtype));
        if cell.borrow().what != what {
            let w = self.get(id);
            let mut p = cell.borrow_mut();
            match &w.eight {
                Some(eight) if transposed => p.panels.pack_eight(eight, dtype),
                _ => p.panels.pack(Mat::f32(w.data(), w.shape[0], w.shape[1]), transposed, dtype),
            }
            p.what = what;
        }
        Ref::map(cell.borrow(), |p| &p.panels)
    }
}

/// One gradient for each parameter that is not frozen. The first contribution after [`Gradients::clear`] assigns, later ones add.
#[derive(Default)]
pub struct Gradients {
    list: Vec<Vec<f32>>,
    written: Vec<bool>,
}

impl Gradients {
    /// Makes room for the parameters and clears.
    pub fn new(parameters: &Parameters) -> Gradients {
        let room = |p: &Parameter| if p.frozen { Vec::new() } else { vec![0.0; p.count()] };
        let list: Vec<_> = parameters.list.iter().map(room).collect();
        Gradients { written: vec![false; list.len()], list }
    }

    /// Forgets every contribution.
    pub fn clear(&mut self) {
        self.written.fill(false);
    }

    /// The gradient of one parameter; zeros if nothing contributed, nothing if it is frozen.
    pub fn get(&mut self, id: ParameterId) -> &[f32] {
        self.accumulator(id)
    }

    /// All gradients, by the parameters' indices.
    pub fn all(&mut self) -> &[Vec<f32>] {
        for i in 0..self.list.len() {
            self.accumulator(ParameterId(i as u32));
        }
        &self.list
    }

    /// The gradient of one parameter, to change in place (scaling, clipping, reduction between machines).
    pub fn get_mut(&mut self, id: ParameterId) -> &mut [f32] {
        self.accumulator(id)
    }

    /// Puts `left` before the gradient of one parameter: it becomes `left`'s plus its own.
    pub fn prepend(&mut self, left: &mut Gradients, id: ParameterId) {
        arithmetic::add_assign(self.accumulator(id), left.get(id));
    }

    /// The buffer to add to, zeroed if this is the first contribution.
    pub(crate) fn accumulator(&mut self, id: ParameterId) -> &mut [f32] {
        let (buffer, accumulate) = self.contribute(id);
        if !accumulate {
            buffer.fill(0.0);
        }
        buffer
    }

    /// The buffer and whether a contribution is added (true) or assigned (false).
    pub(crate) fn contribute(&mut self, id: ParameterId) -> (&mut [f32], bool) {
        let accumulate = std::mem::replace(&mut self.written[id.index()], true);
        (&mut self.list[id.index()], accumulate)
    }
}
