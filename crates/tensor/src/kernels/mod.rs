//! Plain functions over slices and matrix views: the only place where `unsafe` is allowed.
//!
//! Each file is one kernel. Work is cut into tasks whose number does not depend on the threads and sums have a fixed order, so
//! results are the same bits for any number of threads.
#![allow(unsafe_code)]
#![allow(clippy::too_many_arguments, reason = "kernels take slices, not structures")]

pub mod adamw;
pub mod additive;
pub mod allocations;
pub mod arithmetic;
pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod eight;
pub mod embedding;
pub mod gelu;
pub mod glu;
pub mod layernorm;
pub mod level;
#[allow(clippy::excessive_precision, reason = "coefficients as they were fitted")]
mod math;
pub mod matmul;
pub mod matrix;
pub mod maxout;
pub mod newton_schulz;
pub mod peak;
pub mod pool;
pub mod random;
pub mod recurrent;
mod reduce;
pub mod relu;
pub mod rmsnorm;
pub mod rope;
pub mod silu;
pub mod softcap;
pub mod tanh;
mod unary;
mod vector;
