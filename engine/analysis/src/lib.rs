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

mod autocorrelation;
mod baseline;
mod benchmark;
mod brunner_munzel;
mod changepoint;
mod cliffs_delta;
mod clustered;
mod compare;
mod contingency;
mod correlation;
mod curve;
mod describe;
pub mod distributions;
mod downsampling;
mod effect_size;
mod error;
mod gate;
mod group_tests;
mod hodges_lehmann;
mod kolmogorov_smirnov;
mod meta_analysis;
mod model_comparison;
mod moments;
mod multiplicity;
mod p_value;
mod permutation;
mod power;
mod rank_tests;
mod ranks;
mod rates;
mod running;
pub mod sequential;
mod shape;
mod signed_rank;
mod smoothing;
mod spread_tests;
mod strata;
mod t_test;
mod two_rates;

pub use autocorrelation::{CurveLevel, autocorrelation, curve_level, ljung_box, newey_west_error};
pub use baseline::{
    BaselineDrift, ChainStep, MeasuredStep, baseline_drift, batch_variance, chained_improvement,
    cumulative_improvement,
};
pub use benchmark::{BenchmarkAggregates, TaskScores};
pub use brunner_munzel::{BrunnerMunzel, brunner_munzel};
pub use changepoint::{ChangepointScan, Changepoints};
pub use cliffs_delta::{CliffsDelta, cliffs_delta};
pub use clustered::{
    CLUSTERS_MIN, ClusteredMean, PairedScores, ResampledScores, clustered_mean, paired_scores,
    resampled_scores,
};
pub use compare::{
    Group, GroupComparison, GroupTest, NotComparable, ParameterColumn, ParameterComparison, ParameterValues,
    compare_parameters,
};
pub use contingency::{
    CountTable, OddsRatio, PairedAnswers, TableTest, Unconditional, cochran_q, mcnemar_chi_squared,
    odds_ratio, paired_answers, unconditional_test,
};
pub use correlation::{Correlation, Line, fit_line, kendall, pearson, spearman};
pub use curve::{area_under_curve, slope};
pub use describe::{
    MeanInterval, Nonfinite, Summary, describe, interquartile_mean, mean_ci, quantile, trimmed_mean,
};
pub use downsampling::{downsample_minmax, lttb};
pub use effect_size::{
    ProbabilityOfSuperiority, RelativeDifference, StandardizedDifference, hedges_g, paired_effect,
    probability_of_superiority, relative_difference,
};
pub use error::{AnalysisError, Result};
pub use gate::{
    ArmReport, BatchReport, BootstrapReport, Change, Circumstances, Colour, DECISION_SCHEMA_VERSION,
    DecisionReport, Direction, FailureReport, GATE_SCHEMA_VERSION, GateParameters, GatePlan, GatePolicy,
    GateQuestion, GateReport, GateRun, GoalRule, Ground, GroundDifference, Heading, LookPlan, LookReport,
    Looks, Method, MethodChoice, MetricDecision, MetricPolicy, MetricRuns, Mode, OnInconclusive,
    POLICY_METRICS_MAX, POLICY_VERSION, PermutationReport, PlanQuestion, PlanRow, Reversal, Role, RunKeys,
    SeedPlan, Staleness, StrataReport, StratumReport, Verdict, Warning, gate, gate_many, judge,
};
pub use group_tests::{Friedman, GroupVariance, anova, friedman, kruskal_wallis};
pub use hodges_lehmann::{hodges_lehmann, pseudomedian};
pub use kolmogorov_smirnov::{KolmogorovSmirnov, kolmogorov_smirnov};
pub use meta_analysis::{DirectionVerdict, HitRate, PooledEffect, hit_rate, pool_effects};
pub use model_comparison::{
    AlmostStochasticOrder, FiveByTwo, all_wins, almost_stochastic_order, five_by_two, noether_pairs,
    paired_wins, resampled_t,
};
pub use moments::Moments;
pub use multiplicity::{Correction, benjamini_hochberg, holm, two_stage_false_discovery};
pub use p_value::PValue;
pub use permutation::{
    EXACT_MAX, PermutationStatistic, PermutationTest, Resampling, permutation_test, permutation_tests,
    sign_flip_test,
};
pub use power::{Design, RUNS_MAX, Sides, detectable_effect, exact_runs, power, required_runs};
pub use rank_tests::{MannWhitney, MannWhitneyTests};
pub use rates::{
    agresti_coull, binomial_sf, clopper_pearson, fisher_exact, jeffreys, mcnemar_exact, rate_lower_limit,
    rate_upper_limit, wilson,
};
pub use running::{RollingMedian, Spikes, TensorboardAverage, WINDOW_MAX};
pub use shape::{Shape, shape, winsorized_mean};
pub use signed_rank::{RankDistribution, SignedRank, Zeros, wilcoxon};
pub use smoothing::{Decay, WeightedAverage, ema_tensorboard, ewm};
pub use spread_tests::{Center, GroupStatistic, bartlett, fligner_killeen, levene};
pub use strata::{
    GroupedSlopes, StratifiedDifference, StratifiedRates, StratumValues, grouped_slopes,
    least_squares_difference, stratified_difference, stratified_rates,
};
pub use t_test::{Alternative, TTest, one_sample, paired, student, welch, yuen};
pub use two_rates::{Hits, RateDifference, cohens_h, rate_difference, rate_power, required_trials};
