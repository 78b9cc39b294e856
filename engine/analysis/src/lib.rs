//! Questions over samples: describe, compare, gate. Samples in, findings out.
//!
//! Nothing here reads a file, a clock or a random device: the same samples, parameters and seed give the same
//! finding, whatever the order of the runs within an arm and whatever the number of threads.
//!
//! # Where things are
//! - [`gate()`]: pass, fail or inconclusive, with all its evidence.
//! - [`compare_parameters`]: which parameter separates the runs.
//! - [`describe()`], [`welch`] and its kin, [`permutation_test`], [`hedges_g`], [`power()`], [`fisher_exact`]:
//!   the statistics that these are made of, each usable by itself.
//! - [`MannWhitneyTests`], [`cliffs_delta`], [`probability_of_superiority`]: how often one sample exceeds another.
//! - [`ema_tensorboard`], [`ewm`], [`lttb`]: curves for eyes; [`RollingMedian`], [`Spikes`], [`Changepoints`],
//!   [`area_under_curve`], [`slope`]: what happens along a curve.
//! - [`distributions`]: the distribution functions underneath.

mod changepoint;
mod cliffs_delta;
mod compare;
mod curve;
mod describe;
pub mod distributions;
mod downsampling;
mod effect_size;
mod error;
mod gate;
mod moments;
mod multiplicity;
mod p_value;
mod permutation;
mod power;
mod rank_tests;
mod rates;
mod running;
mod smoothing;
mod t_test;

pub use changepoint::{ChangepointScan, Changepoints};
pub use cliffs_delta::{CliffsDelta, cliffs_delta};
pub use compare::{
    Group, GroupComparison, GroupTest, NotComparable, ParameterColumn, ParameterComparison, ParameterValues,
    compare_parameters,
};
pub use curve::{area_under_curve, slope};
pub use describe::{
    MeanInterval, Nonfinite, Summary, describe, interquartile_mean, mean_ci, quantile, trimmed_mean,
};
pub use downsampling::{downsample_minmax, lttb};
pub use effect_size::{
    ProbabilityOfSuperiority, StandardizedDifference, hedges_g, paired_effect, probability_of_superiority,
};
pub use error::{AnalysisError, Result};
pub use gate::{
    ArmReport, BootstrapReport, Direction, FailureReport, GATE_SCHEMA_VERSION, GateParameters, GateReport,
    GateRun, Heading, LookReport, Looks, Method, Mode, OnInconclusive, PermutationReport, SeedPlan, Verdict,
    Warning, gate,
};
pub use moments::Moments;
pub use multiplicity::{benjamini_hochberg, holm};
pub use p_value::PValue;
pub use permutation::{
    EXACT_MAX, PermutationStatistic, PermutationTest, Resampling, permutation_test, permutation_tests,
    sign_flip_test,
};
pub use power::{Design, RUNS_MAX, Sides, detectable_effect, power, required_runs};
pub use rank_tests::{MannWhitney, MannWhitneyTests};
pub use rates::{
    binomial_sf, clopper_pearson, fisher_exact, mcnemar_exact, rate_lower_limit, rate_upper_limit, wilson,
};
pub use running::{RollingMedian, Spikes, TensorboardAverage, WINDOW_MAX};
pub use smoothing::{Decay, WeightedAverage, ema_tensorboard, ewm};
pub use t_test::{Alternative, TTest, one_sample, paired, student, welch};
