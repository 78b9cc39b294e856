//! Questions over samples: describe, compare, gate. Samples in, findings out.
//!
//! Nothing here reads a file, a clock or a random device: the same samples, parameters and seed give the same
//! finding, whatever the order of the runs within an arm and whatever the number of threads.

mod describe;
pub mod distributions;
mod error;
mod moments;
mod t_test;

pub use describe::{
    MeanInterval, Nonfinite, Summary, describe, interquartile_mean, mean_ci, quantile, trimmed_mean,
};
pub use error::{AnalysisError, Result};
pub use moments::Moments;
pub use t_test::{Alternative, TTest, one_sample, paired, student, welch};
