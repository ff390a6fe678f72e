//! How good a model is, with error bars: bits per byte of a text, the curriculum's held-out skills, multiple choice by likelihood, tasks
//! that are answered in words, and whether one model is better than another.
//!
//! Everything goes through the model's one forward pass, many sequences side by side in one row. This room prints nothing and reads no
//! files but through `data`.
#![forbid(unsafe_code)]

pub mod answers;
pub mod compare;
pub mod exam;
pub mod likelihood;
pub mod score;
pub mod statistics;
pub mod tasks;

pub use answers::Writer;
pub use compare::{Comparison, compare};
pub use exam::Exam;
pub use likelihood::Judge;
pub use score::{Outcome, Score, Sheet};
pub use tasks::{Item, Task};
