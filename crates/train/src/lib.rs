//! Learning: plans, the one step, optimisers, schedules, loops, resume, metrics.
//!
//! Only [`step::Step`] changes a weight. This room prints nothing: a loop tells whoever runs it what happens.
#![forbid(unsafe_code)]

pub mod align;
pub mod bert;
mod card;
pub mod collective;
pub mod dial;
pub mod difficulty;
pub mod evaluate;
pub mod examples;
mod folder;
pub mod guard;
pub mod inspect;
pub mod memory;
pub mod optim;
pub mod pace;
pub mod plan;
pub mod preflight;
pub mod reward;
pub mod run;
pub mod schedule;
mod standing;
pub mod step;
mod summation;
mod team;

pub use card::About;
pub use folder::{check_place, planned};
pub use plan::Plan;
pub use run::{Care, Ending, Event, Run};
