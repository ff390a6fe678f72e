//! Views of row-major matrices in f32 or bf16: what kernels take and give.

pub use half::bf16;

/// The type of a matrix's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// bfloat16: the upper half of an f32, 8 bits of precision.
    Bf16,
}

impl DType {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::Bf16 => 2,
        }
    }

    /// Half the distance between 1 and the next number: the relative error of rounding once.
    pub fn epsilon(self) -> f64 {
        match self {
            DType::F32 => f64::powi(2.0, -24),
            DType::Bf16 => f64::powi(2.0, -8),
        }
    }

    /// `f32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
        }
    }
}

/// An element type of a matrix.
pub trait Element: bytemuck::Pod + Default + Send + Sync + 'static {
    /// Its name at run time.
    const DTYPE: DType;
    /// Widens exactly.
    fn to_f32(self) -> f32;
    /// Rounds to the nearest, ties to even.
    fn from_f32(x: f32) -> Self;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(x: f32) -> f32 {
        x
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn from_f32(x: f32) -> bf16 {
        // Without branches, so that loops vectorise: add half of the last place that is kept (less one if that place is even), cut.
        let bits = x.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
        bf16::from_bits(if x.is_nan() { (bits >> 16) as u16 | 0x40 } else { rounded })
    }
}

/// Elements of either type.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// f32 elements.
    F32(&'a [f32]),
    /// bf16 elements.
    Bf16(&'a [bf16]),
}

/// Writable elements of either type.
#[derive(Debug)]
pub enum ElementsMut<'a> {
    /// f32 elements.
    F32(&'a mut [f32]),
    /// bf16 elements.
    Bf16(&'a mut [bf16]),
}

/// A matrix of `rows × cols`: row `r` begins at element `r * stride` and only its first `cols` elements belong to it.
/// A view of some columns of a wider matrix is the wider one's slice from that column on, with its stride.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    /// The elements, from the first of row 0 to at least the last of the last row.
    pub data: Elements<'a>,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements from the start of a row to the start of the next, at least `cols`.
    pub stride: usize,
}

/// A writable matrix; see [`Mat`].
#[derive(Debug)]
pub struct MatMut<'a> {
    /// The elements.
    pub data: ElementsMut<'a>,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements from the start of a row to the start of the next, at least `cols`.
    pub stride: usize,
}

fn check(len: usize, rows: usize, cols: usize, stride: usize) {
    assert!(stride >= cols, "matrix {rows}×{cols}: stride {stride} is less than the columns");
    let need = if rows == 0 { 0 } else { (rows - 1) * stride + cols };
    assert!(
        len >= need,
        "matrix {rows}×{cols} with stride {stride} needs {need} elements, the slice has {len}"
    );
}

impl<'a> Mat<'a> {
    /// A view of a strided matrix.
    ///
    /// # Panics
    /// If the slice is too short or the stride less than the columns.
    pub fn new(data: Elements<'a>, rows: usize, cols: usize, stride: usize) -> Mat<'a> {
        let len = match data {
            Elements::F32(d) => d.len(),
            Elements::Bf16(d) => d.len(),
        };
        check(len, rows, cols, stride);
        Mat { data, rows, cols, stride }
    }

    /// A dense f32 matrix.
    pub fn f32(data: &'a [f32], rows: usize, cols: usize) -> Mat<'a> {
        Mat::new(Elements::F32(data), rows, cols, cols)
    }

    /// A dense bf16 matrix.
    pub fn bf16(data: &'a [bf16], rows: usize, cols: usize) -> Mat<'a> {
        Mat::new(Elements::Bf16(data), rows, cols, cols)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self.data {
            Elements::F32(_) => DType::F32,
            Elements::Bf16(_) => DType::Bf16,
        }
    }

    /// One element, widened.
    pub fn get(&self, r: usize, c: usize) -> f32 {
        let i = r * self.stride + c;
        match self.data {
            Elements::F32(d) => d[i],
            Elements::Bf16(d) => d[i].to_f32(),
        }
    }
}

impl<'a> MatMut<'a> {
    /// A view of a strided matrix.
    ///
    /// # Panics
    /// If the slice is too short or the stride less than the columns.
    pub fn new(data: ElementsMut<'a>, rows: usize, cols: usize, stride: usize) -> MatMut<'a> {
        let len = match &data {
            ElementsMut::F32(d) => d.len(),
            ElementsMut::Bf16(d) => d.len(),
        };
        check(len, rows, cols, stride);
        MatMut { data, rows, cols, stride }
    }

    /// A dense f32 matrix.
    pub fn f32(data: &'a mut [f32], rows: usize, cols: usize) -> MatMut<'a> {
        MatMut::new(ElementsMut::F32(data), rows, cols, cols)
    }

    /// A dense bf16 matrix.
    pub fn bf16(data: &'a mut [bf16], rows: usize, cols: usize) -> MatMut<'a> {
        MatMut::new(ElementsMut::Bf16(data), rows, cols, cols)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self.data {
            ElementsMut::F32(_) => DType::F32,
            ElementsMut::Bf16(_) => DType::Bf16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_half_crate_on_every_upper_half() {
        for high in 0..=u16::MAX {
            for low in [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(high) << 16 | low);
                let (ours, theirs) = (<bf16 as Element>::from_f32(x), bf16::from_f32(x));
                assert!(ours.to_bits() == theirs.to_bits() || (x.is_nan() && ours.is_nan()), "{x:e}");
            }
        }
    }
}
