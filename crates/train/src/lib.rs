//! Learning: plans, the one step, optimisers, schedules, loops, resume, metrics.
//!
//! Only [`step::Step`] changes a weight. This room prints nothing: a loop tells whoever runs it what happens.
#![forbid(unsafe_code)]

pub mod bert;
pub mod collective;
pub mod evaluate;
pub mod examples;
pub mod guard;
pub mod memory;
pub mod optim;
pub mod pace;
pub mod plan;
pub mod run;
pub mod schedule;
pub mod step;
mod summation;
mod team;

pub use plan::Plan;
pub use run::{Ending, Event, Run};
