//! Questions over samples: describe, compare, gate. Samples in, findings out.
//!
//! Nothing here reads a file, a clock or a random device: the same samples, parameters and seed give the same
//! finding, whatever the order of the runs within an arm and whatever the number of threads.

mod describe;
pub mod distributions;
mod effect_size;
mod error;
mod moments;
mod p_value;
mod power;
mod rates;
mod t_test;

pub use describe::{
    MeanInterval, Nonfinite, Summary, describe, interquartile_mean, mean_ci, quantile, trimmed_mean,
};
pub use effect_size::{
    ProbabilityOfSuperiority, StandardizedDifference, hedges_g, paired_effect, probability_of_superiority,
};
pub use error::{AnalysisError, Result};
pub use moments::Moments;
pub use p_value::PValue;
pub use power::{Design, RUNS_MAX, Sides, detectable_effect, power, required_runs};
pub use rates::{
    binomial_sf, clopper_pearson, fisher_exact, mcnemar_exact, rate_lower_limit, rate_upper_limit, wilson,
};
pub use t_test::{Alternative, TTest, one_sample, paired, student, welch};
