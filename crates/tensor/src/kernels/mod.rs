//! Plain functions over slices: the only place where `unsafe` is allowed.
#![allow(unsafe_code)]
pub mod level;
pub mod matrix;
pub mod pool;
