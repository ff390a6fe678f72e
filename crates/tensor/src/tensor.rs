//! A tensor: rows × columns of f32 or bf16 in a pooled buffer, shared by counting.

use std::ops::Range;
use std::rc::Rc;

use crate::buffer::{self, Buffer};
use crate::kernels::matrix::{DType, Element, Elements, ElementsMut, Mat, MatMut, bf16};
use crate::kernels::{arithmetic, softcap};
use crate::tape::Node;

/// A dense matrix `[rows, cols]`. Cloning shares the memory; whoever writes must hold it alone.
pub struct Tensor {
    /// `None` only inside `drop`.
    buffer: Option<Rc<Buffer>>,
    rows: usize,
    cols: usize,
    dtype: DType,
    /// Where its gradient is collected, if anything asks for one.
    pub(crate) node: Option<Node>,
}

impl Tensor {
    /// A tensor with unspecified contents (NaN in debug builds): the caller writes every element.
    pub fn new(rows: usize, cols: usize, dtype: DType) -> Tensor {
        let buffer = buffer::take(rows * cols * dtype.size());
        Tensor { buffer: Some(buffer), rows, cols, dtype, node: None }
    }

    /// A tensor of zeros.
    pub fn zeros(rows: usize, cols: usize, dtype: DType) -> Tensor {
        let mut t = Tensor::new(rows, cols, dtype);
        match dtype {
            DType::F32 => t.f32s_mut().fill(0.0),
            DType::Bf16 => t.bf16s_mut().fill(bf16::ZERO),
        }
        t
    }

    /// Copies `data` (`rows * cols` numbers, row by row), rounding to `dtype`.
    ///
    /// # Panics
    /// If the number of elements differs.
    pub fn from_f32(data: &[f32], rows: usize, cols: usize, dtype: DType) -> Tensor {
        assert_eq!(data.len(), rows * cols, "Tensor::from_f32: {rows}×{cols} of {} numbers", data.len());
        let mut t = Tensor::new(rows, cols, dtype);
        match dtype {
            DType::F32 => t.f32s_mut().copy_from_slice(data),
            DType::Bf16 => t.bf16s_mut().iter_mut().zip(data).for_each(|(o, &x)| *o = bf16::from_f32(x)),
        }
        t
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// `[rows, cols]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Bytes of its elements.
    pub fn bytes(&self) -> usize {
        self.rows * self.cols * self.dtype.size()
    }

    fn buffer(&self) -> &Rc<Buffer> {
        self.buffer.as_ref().expect("a tensor has its buffer until it is dropped")
    }

    fn elements<T: bytemuck::Pod>(&self) -> &[T] {
        &self.buffer().as_slice()[..self.rows * self.cols]
    }

    fn elements_mut<T: bytemuck::Pod>(&mut self) -> &mut [T] {
        let n = self.rows * self.cols;
        let buffer = self.buffer.as_mut().expect("a tensor has its buffer until it is dropped");
        let buffer = Rc::get_mut(buffer).expect("a tensor that is written to is not shared");
        &mut buffer.as_mut_slice()[..n]
    }

    /// Its elements.
    ///
    /// # Panics
    /// If it is not of type `E`.
    pub fn as_slice<E: Element>(&self) -> &[E] {
        assert_eq!(self.dtype, E::DTYPE, "Tensor::as_slice: a tensor of another element type");
        self.elements()
    }

    /// Its elements, to write.
    ///
    /// # Panics
    /// If it is not of type `E`, or shared.
    pub fn as_mut_slice<E: Element>(&mut self) -> &mut [E] {
        assert_eq!(self.dtype, E::DTYPE, "Tensor::as_mut_slice: a tensor of another element type");
        self.elements_mut()
    }

    /// The elements of an f32 tensor.
    pub fn f32s(&self) -> &[f32] {
        self.as_slice()
    }

    /// The elements of an f32 tensor that is not shared.
    pub fn f32s_mut(&mut self) -> &mut [f32] {
        self.as_mut_slice()
    }

    /// The elements of a bf16 tensor.
    pub fn bf16s(&self) -> &[bf16] {
        self.as_slice()
    }

    /// The elements of a bf16 tensor that is not shared.
    pub fn bf16s_mut(&mut self) -> &mut [bf16] {
        self.as_mut_slice()
    }

    /// A copy of the elements, widened: the only way out of the engine.
    pub fn to_vec(&self) -> Vec<f32> {
        match self.dtype {
            DType::F32 => self.f32s().to_vec(),
            DType::Bf16 => self.bf16s().iter().map(|x| x.to_f32()).collect(),
        }
    }

    /// The whole as a matrix.
    pub fn view(&self) -> Mat<'_> {
        self.columns(0, self.cols)
    }

    /// Columns `from .. from + cols` as a matrix.
    pub fn columns(&self, from: usize, cols: usize) -> Mat<'_> {
        assert!(from + cols <= self.cols, "columns {from}..{} of a tensor with {}", from + cols, self.cols);
        let from = from.min(self.rows * self.cols);
        let data = match self.dtype {
            DType::F32 => Elements::F32(&self.f32s()[from..]),
            DType::Bf16 => Elements::Bf16(&self.bf16s()[from..]),
        };
        Mat::new(data, self.rows, cols, self.cols)
    }

    /// The whole as a matrix to write.
    ///
    /// # Panics
    /// If it is shared.
    pub fn view_mut(&mut self) -> MatMut<'_> {
        let (rows, cols) = (self.rows, self.cols);
        let data = match self.dtype {
            DType::F32 => ElementsMut::F32(self.f32s_mut()),
            DType::Bf16 => ElementsMut::Bf16(self.bf16s_mut()),
        };
        MatMut::new(data, rows, cols, cols)
    }

    /// The same numbers in another element type; itself, shared, if it has it already.
    pub fn converted(&self, dtype: DType) -> Tensor {
        if self.dtype == dtype {
            return self.clone();
        }
        let mut t = Tensor::new(self.rows, self.cols, dtype);
        match dtype {
            DType::F32 => arithmetic::convert(self.bf16s(), t.f32s_mut()),
            DType::Bf16 => arithmetic::convert(self.f32s(), t.bf16s_mut()),
        }
        t
    }

    /// `cap · tanh(x / cap)` of every element of an f32 tensor.
    pub fn softcapped(self, cap: f32) -> Tensor {
        let mut t = self.into_unique();
        softcap::forward(t.f32s_mut(), cap);
        t
    }

    /// Copies rows `rows` and columns `columns` of a wider tensor of the same element type to the rows from `first` on.
    ///
    /// # Panics
    /// If they do not fit, or this tensor is shared.
    pub fn copy_columns(&mut self, first: usize, from: &Tensor, rows: Range<usize>, columns: Range<usize>) {
        assert_eq!(
            (self.cols, self.dtype),
            (columns.len(), from.dtype),
            "copy_columns: {self:?} from {from:?}"
        );
        fn copy<E: Element>(
            to: &mut Tensor,
            first: usize,
            from: &Tensor,
            rows: Range<usize>,
            columns: Range<usize>,
        ) {
            let (width, stride) = (columns.len(), from.cols);
            let target = &mut to.as_mut_slice::<E>()[first * width..(first + rows.len()) * width];
            for (t, r) in target.chunks_exact_mut(width).zip(rows) {
                t.copy_from_slice(&from.as_slice::<E>()[r * stride..][columns.clone()]);
            }
        }
        match self.dtype {
            DType::F32 => copy::<f32>(self, first, from, rows, columns),
            DType::Bf16 => copy::<bf16>(self, first, from, rows, columns),
        }
    }

    /// A tensor of the given rows.
    pub fn select_rows(&self, rows: &[usize]) -> Tensor {
        let mut t = Tensor::new(rows.len(), self.cols, self.dtype);
        for (i, &r) in rows.iter().enumerate() {
            t.copy_columns(i, self, r..r + 1, 0..self.cols);
        }
        t
    }

    /// Whether nobody else shares its memory, so that it may be written.
    pub fn is_unique(&self) -> bool {
        Rc::strong_count(self.buffer()) == 1
    }

    /// The same contents in memory of its own: itself if it is not shared, a copy otherwise.
    pub(crate) fn into_unique(self) -> Tensor {
        if self.is_unique() {
            return self;
        }
        let mut t = Tensor::new(self.rows, self.cols, self.dtype);
        match self.dtype {
            DType::F32 => t.f32s_mut().copy_from_slice(self.f32s()),
            DType::Bf16 => t.bf16s_mut().copy_from_slice(self.bf16s()),
        }
        t.node = self.node;
        t
    }
}

impl Clone for Tensor {
    fn clone(&self) -> Tensor {
        let buffer = Some(Rc::clone(self.buffer()));
        Tensor { buffer, rows: self.rows, cols: self.cols, dtype: self.dtype, node: self.node }
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        if let Some(b) = self.buffer.take() {
            buffer::give(b);
        }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor[{}×{} {}]", self.rows, self.cols, self.dtype.name())
    }
}

/// A list of indices (ids, positions, targets) in pooled memory, shared by counting.
pub struct Indices {
    buffer: Option<Rc<Buffer>>,
    len: usize,
}

impl Indices {
    /// Copies the numbers.
    pub fn new(data: &[u32]) -> Indices {
        let mut buffer = buffer::take(data.len() * 4);
        if let Some(b) = Rc::get_mut(&mut buffer) {
            b.as_mut_slice()[..data.len()].copy_from_slice(data);
        }
        Indices { buffer: Some(buffer), len: data.len() }
    }
}

impl std::ops::Deref for Indices {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.buffer.as_ref().expect("indices have their buffer until they are dropped").as_slice()
            [..self.len]
    }
}

impl Clone for Indices {
    fn clone(&self) -> Indices {
        Indices { buffer: self.buffer.clone(), len: self.len }
    }
}

impl Drop for Indices {
    fn drop(&mut self) {
        if let Some(b) = self.buffer.take() {
            buffer::give(b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_and_a_shared_tensor_is_copied_before_it_is_written() {
        let a = Tensor::from_f32(&[1.0, 2.0, 3.0, 4.0], 2, 2, DType::F32);
        let b = a.clone();
        assert!(!b.is_unique());
        let mut c = b.into_unique();
        c.f32s_mut()[0] = 9.0;
        assert_eq!(a.to_vec(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(c.to_vec(), [9.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn columns_are_a_strided_view() {
        let a = Tensor::from_f32(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3, DType::Bf16);
        let m = a.columns(1, 2);
        assert_eq!([m.get(0, 0), m.get(0, 1), m.get(1, 0), m.get(1, 1)], [2.0, 3.0, 5.0, 6.0]);
    }
}
