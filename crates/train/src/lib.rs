//! Learning: plans, the one step, optimisers, schedules, loops, resume, metrics.
//!
//! Only [`step::Step`] changes a weight. This room prints nothing: loops report to whoever runs them.
#![forbid(unsafe_code)]

pub mod optim;
pub mod schedule;
pub mod step;
