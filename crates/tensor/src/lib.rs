//! Numbers: pooled buffers, SIMD kernels, operations with their backward, the tape.
//!
//! This room has never heard of a token or a file: it computes, on plain slices and on tensors of two
//! dimensions, and remembers what a gradient needs. Letters used for axes throughout the project: `T` rows (tokens), `D` model
//! width, `H` heads, `K` key-value heads, `E` head width, `F` hidden width, `V` vocabulary, `S` spans, `L` layers.
pub mod kernels;
