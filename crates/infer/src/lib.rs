//! Replies: choosing the next token, and generating with a cache of keys and values.
//!
//! The forward pass is the model's own, the one it was trained with. [`Generator`] knows ids, not text; [`Conversation`] turns one side's words into
//! the other's; [`Reader`] says what a BERT thinks of texts.
#![forbid(unsafe_code)]

mod beam;
mod conversation;
mod generate;
pub mod reader;
mod sample;
mod speech;
mod stop;
pub mod together;

pub use beam::{Beam, Reply};
pub use conversation::{Conversation, Ended, Event, Form, Outcome, Trouble};
pub use generate::{Error, Generator};
pub use reader::Reader;
pub use sample::{Sampler, likeliest, probability};
pub use speech::Speech;
pub use stop::Stops;
