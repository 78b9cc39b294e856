//! Questions over samples: describe, compare, gate. Samples in, findings out.
//!
//! Nothing here reads a file, a clock or a random device: the same samples, parameters and seed give the same
//! finding, whatever the order of the runs within an arm and whatever the number of threads.

pub mod distributions;
mod error;

pub use error::{AnalysisError, Result};
