//! The history walked: counts, networks with a window, recurrent ones, convolutions and Transformers learn the same words in the same time, and a
//! page shows why each step was taken. Encoders and decoders, which are measured on replies, have a table of their own ([`replies`]).
//!
//! [`mod@road`] says who takes part, [`Walk`] trains and measures, [`page`] draws. Nothing here learns in a way of its own: networks go through
//! `train::run` like any other model.
#![forbid(unsafe_code)]

pub mod classic;
pub mod page;
pub mod replies;
pub mod road;
pub mod walk;

pub use page::Language;
pub use replies::{Picture, Replying};
pub use road::{Generation, Learner, road};
pub use walk::{Outcome, Point, Station, Walk};
