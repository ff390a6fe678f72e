//! Numbers: pooled buffers, SIMD kernels, operations with their backward, the tape.
//!
//! This room has never heard of a token or a file: it computes, on plain slices and on tensors of two
//! dimensions, and remembers what a gradient needs. Letters used for axes throughout the project: `T` rows (tokens), `D` model
//! width, `H` heads, `K` key-value heads, `E` head width, `F` hidden width, `V` vocabulary, `S` spans, `L` layers.

pub mod buffer;
pub mod kernels;
mod ops;
mod parameters;
mod tape;
mod tensor;

pub use kernels::matrix::{DType, bf16};
pub use kernels::recurrent::Cell;
pub use ops::{Activation, Attended, Attentive, CrossEntropy, Loss, Norm, Recurrence, State};
pub use parameters::{Gradients, Parameter, ParameterId, Parameters, Role};
pub use tape::{Graph, Tape};
pub use tensor::{Indices, Tensor};
