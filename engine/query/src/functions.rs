//! The SQL functions of Runlake: one file each, every one a thin adapter that checks types and NULLs and calls down.

mod adjust_p;
mod arg_extreme;
mod arg_extreme_groups;
mod arguments;
mod arms;
mod auc;
mod best;
mod bootstrap;
mod bootstrap_ci;
mod changepoint;
mod clustered_mean;
mod collect;
mod definition;
mod downsample;
mod effect_size;
mod ema;
mod in_from;
mod iqm;
mod iqm_ci;
mod isfinite;
mod kept;
mod last_by_step;
mod mann_whitney;
mod mean_ci;
mod min_max;
mod outcome;
mod paired_ranks;
mod paired_test;
mod pairs;
mod permutation_test;
mod quantile_ci;
mod rolling_median;
mod slope;
mod spike;
mod tost;
mod trimmed_mean;
mod two_arm_tests;
mod welch_test;
mod windowed;

use std::sync::Arc;

use datafusion::catalog::TableFunction;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

pub(crate) use arguments::complete_named_arguments;
pub use definition::{ArgumentKind, Definition, FunctionKind, Parameter};
pub(crate) use in_from::ComputedTable;

use arg_extreme::ArgExtreme;
use bootstrap::Draws;
use collect::Collecting;
use downsample::Downsample;
use effect_size::EffectSize;
use kept::Keeping;
use min_max::MinMax;
use paired_ranks::PairedRanks;
use two_arm_tests::TwoArmTest;
use windowed::Windowed;

/// The aggregates; those that resample draw with `seed` where a call names none.
pub(crate) fn aggregates(device: kernels::Policy, seed: u64) -> Vec<Arc<AggregateUDF>> {
    let draws = Draws { device, seed };
    vec![
        Arc::new(ArgExtreme::largest().into()),
        Arc::new(ArgExtreme::smallest().into()),
        Arc::new(Collecting::new(auc::Auc).into()),
        Arc::new(Keeping::new(best::Best).into()),
        Arc::new(Collecting::new(bootstrap_ci::BootstrapCi { draws }).into()),
        Arc::new(Collecting::new(TwoArmTest::BrunnerMunzel).into()),
        Arc::new(Collecting::new(EffectSize::CliffsDelta).into()),
        Arc::new(Collecting::new(clustered_mean::ClusteredMean).into()),
        Arc::new(Collecting::new(EffectSize::CohensD).into()),
        Arc::new(Collecting::new(Downsample::Lttb).into()),
        Arc::new(Collecting::new(Downsample::Minmax).into()),
        Arc::new(MinMax::largest().into()),
        Arc::new(MinMax::smallest().into()),
        Arc::new(Collecting::new(iqm::Iqm).into()),
        Arc::new(Collecting::new(iqm_ci::IqmCi { draws }).into()),
        Arc::new(Collecting::new(TwoArmTest::KolmogorovSmirnov).into()),
        Arc::new(Keeping::new(last_by_step::LastByStep).into()),
        Arc::new(Collecting::new(mann_whitney::MannWhitney).into()),
        Arc::new(Collecting::new(PairedRanks::Mcnemar).into()),
        Arc::new(Collecting::new(mean_ci::MeanCi).into()),
        Arc::new(Collecting::new(TwoArmTest::NonInferiority).into()),
        Arc::new(Collecting::new(paired_test::PairedTest { seed }).into()),
        Arc::new(Collecting::new(permutation_test::PermutationTest { draws }).into()),
        Arc::new(Collecting::new(EffectSize::ProbImprovement).into()),
        Arc::new(Collecting::new(quantile_ci::QuantileCi { draws }).into()),
        Arc::new(Collecting::new(slope::Slope).into()),
        Arc::new(Collecting::new(TwoArmTest::Student).into()),
        Arc::new(Collecting::new(tost::Tost).into()),
        Arc::new(Collecting::new(trimmed_mean::TrimmedMean).into()),
        Arc::new(Collecting::new(welch_test::WelchTest).into()),
        Arc::new(Collecting::new(PairedRanks::Wilcoxon).into()),
        Arc::new(Collecting::new(TwoArmTest::Yuen).into()),
    ]
}

/// The functions of one row.
pub(crate) fn scalars() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(isfinite::IsFinite::new().into())]
}

/// The window functions.
pub(crate) fn windows() -> Vec<Arc<WindowUDF>> {
    vec![
        Arc::new(Windowed::new(adjust_p::AdjustP).into()),
        Arc::new(Windowed::new(changepoint::Changepoint).into()),
        Arc::new(Windowed::new(ema::Ema).into()),
        Arc::new(Windowed::new(rolling_median::RollingMedian).into()),
        Arc::new(Windowed::new(spike::Spike).into()),
    ]
}

/// The functions that stand in FROM; those that draw do so with `seed` where a call names none.
pub(crate) fn tables(device: kernels::Policy, seed: u64) -> Vec<Arc<TableFunction>> {
    in_from::table_functions(device, seed)
}

/// The description of every function, by name.
pub fn definitions() -> Vec<&'static Definition> {
    let mut all: Vec<&'static Definition> = vec![
        &adjust_p::DEFINITION,
        &arg_extreme::ARG_MAX,
        &arg_extreme::ARG_MIN,
        &auc::DEFINITION,
        &best::DEFINITION,
        &bootstrap_ci::DEFINITION,
        &changepoint::DEFINITION,
        &effect_size::CLIFFS_DELTA,
        &effect_size::COHENS_D,
        &downsample::LTTB,
        &downsample::MINMAX,
        &ema::DEFINITION,
        &iqm::DEFINITION,
        &iqm_ci::DEFINITION,
        &isfinite::DEFINITION,
        &last_by_step::DEFINITION,
        &mann_whitney::DEFINITION,
        &mean_ci::DEFINITION,
        &paired_test::DEFINITION,
        &permutation_test::DEFINITION,
        &effect_size::PROB_IMPROVEMENT,
        &quantile_ci::DEFINITION,
        &rolling_median::DEFINITION,
        &slope::DEFINITION,
        &spike::DEFINITION,
        &tost::DEFINITION,
        &trimmed_mean::DEFINITION,
        &two_arm_tests::BRUNNER_MUNZEL,
        &two_arm_tests::KS_TEST,
        &two_arm_tests::NON_INFERIORITY,
        &two_arm_tests::STUDENT_TEST,
        &two_arm_tests::YUEN_TEST,
        &paired_ranks::MCNEMAR,
        &paired_ranks::WILCOXON,
        &clustered_mean::DEFINITION,
        &welch_test::DEFINITION,
    ];
    all.extend(in_from::descriptions());
    all.sort_by_key(|definition| definition.name);
    all
}
