//! Operations: forward and backward side by side, one file each. An operation is as large as its memory traffic says.

pub(crate) mod activation;
pub(crate) mod add;
pub(crate) mod attention;
pub(crate) mod attentive;
pub(crate) mod cross_entropy;
pub(crate) mod dropout;
pub(crate) mod embedding;
pub(crate) mod history;
pub(crate) mod linear;
pub(crate) mod low_rank;
pub(crate) mod norm;
pub(crate) mod recurrent;
pub(crate) mod rope;
pub(crate) mod rows;
pub(crate) mod shift;

pub use activation::Activation;
pub use attentive::{Attended, Attentive};
pub use cross_entropy::{CrossEntropy, Loss};
pub use norm::Norm;
pub use recurrent::{Recurrence, State};
