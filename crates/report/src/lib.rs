//! Pictures and pages: SVG curves, pages that open offline, tables and lines for the terminal, TensorBoard's event files.
//!
//! This room gets numbers and words and gives text. It reads and writes no file, and knows no other room: what a run, a tokenizer or a model is, its callers
//! know. Everything that it is given may be untrusted: [`page::escape`] and [`terminal::plain`] stand between that and a browser or a terminal.
#![forbid(unsafe_code)]

pub mod chart;
pub mod compare;
pub mod curves;
pub mod history;
pub mod number;
pub mod page;
pub mod run;
pub mod tensorboard;
pub mod terminal;

pub use number::{number, size};
