//! The SQL functions of Runlake: one file each, every one a thin adapter that checks types and NULLs and calls down.

mod adjust_p;
mod always_valid;
mod arg_extreme;
mod arg_extreme_groups;
mod arguments;
mod arms;
mod association;
mod auc;
mod benchmark;
mod best;
mod bootstrap;
mod bootstrap_ci;
mod changepoint;
mod clustered_mean;
mod collect;
mod count_tables;
mod cross_validation;
mod curve_dependence;
mod definition;
mod downsample;
mod effect_size;
mod ema;
mod gate_verdict;
mod grouped;
mod in_from;
mod iqm;
mod iqm_ci;
mod isfinite;
mod kept;
mod label_agreement;
mod last_by_step;
mod mann_whitney;
mod matched_groups;
mod mean_ci;
mod meta_analysis;
mod min_max;
mod one_sample;
mod outcome;
mod paired_ranks;
mod paired_test;
mod pairs;
mod permutation_test;
mod planned_looks;
mod power_plans;
mod proportions;
mod quantile_ci;
mod rolling_median;
mod row_by_row;
mod several_groups;
mod simpson;
mod slope;
mod spike;
mod summary;
mod superiority;
mod tost;
mod trimmed_mean;
mod two_arm_tests;
mod windowed;

use std::sync::Arc;

use datafusion::catalog::TableFunction;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

pub(crate) use arguments::complete_named_arguments;
pub use definition::{ArgumentKind, Definition, FunctionKind, Parameter};
pub(crate) use in_from::ComputedTable;

use always_valid::AlwaysValid;
use arg_extreme::ArgExtreme;
use bootstrap::Draws;
use collect::Collecting;
use downsample::Downsample;
use grouped::{GroupFunction, Grouped};
use kept::Keeping;
use min_max::MinMax;
use row_by_row::{RowByRow, RowFunction};
use windowed::{WindowFunction, Windowed};

/// The aggregates that answer each group by itself.
fn group_functions() -> impl Iterator<Item = &'static GroupFunction> {
    let modules: [&'static [GroupFunction]; 17] = [
        &association::FUNCTIONS,
        &benchmark::FUNCTIONS,
        &cross_validation::FUNCTIONS,
        &curve_dependence::FUNCTIONS,
        &effect_size::FUNCTIONS,
        &gate_verdict::FUNCTIONS,
        &label_agreement::FUNCTIONS,
        &matched_groups::FUNCTIONS,
        &meta_analysis::FUNCTIONS,
        &one_sample::FUNCTIONS,
        &paired_ranks::FUNCTIONS,
        &paired_test::FUNCTIONS,
        &several_groups::FUNCTIONS,
        &simpson::FUNCTIONS,
        &summary::FUNCTIONS,
        &superiority::FUNCTIONS,
        &two_arm_tests::FUNCTIONS,
    ];
    modules.into_iter().flatten()
}

/// The functions that answer each row by itself.
fn row_functions() -> impl Iterator<Item = &'static RowFunction> {
    let modules: [&'static [RowFunction]; 5] = [
        &count_tables::FUNCTIONS,
        &cross_validation::ROW_FUNCTIONS,
        &planned_looks::FUNCTIONS,
        &power_plans::FUNCTIONS,
        &proportions::FUNCTIONS,
    ];
    modules.into_iter().flatten()
}

/// The aggregates; those that resample draw with `seed` where a call names none.
pub(crate) fn aggregates(device: kernels::Policy, seed: u64) -> Vec<Arc<AggregateUDF>> {
    let draws = Draws { device, seed };
    let mut all: Vec<Arc<AggregateUDF>> = vec![
        Arc::new(ArgExtreme::largest().into()),
        Arc::new(ArgExtreme::smallest().into()),
        Arc::new(Collecting::new(auc::Auc).into()),
        Arc::new(Keeping::new(best::Best).into()),
        Arc::new(Collecting::new(bootstrap_ci::BootstrapCi { draws }).into()),
        Arc::new(Collecting::new(clustered_mean::ClusteredMean).into()),
        Arc::new(Collecting::new(Downsample::Lttb).into()),
        Arc::new(Collecting::new(Downsample::Minmax).into()),
        Arc::new(MinMax::largest().into()),
        Arc::new(MinMax::smallest().into()),
        Arc::new(Collecting::new(iqm::Iqm).into()),
        Arc::new(Collecting::new(iqm_ci::IqmCi { draws }).into()),
        Arc::new(Keeping::new(last_by_step::LastByStep).into()),
        Arc::new(Collecting::new(mann_whitney::MannWhitney).into()),
        Arc::new(Collecting::new(mean_ci::MeanCi).into()),
        Arc::new(Collecting::new(permutation_test::PermutationTest { draws }).into()),
        Arc::new(Collecting::new(quantile_ci::QuantileCi { draws }).into()),
        Arc::new(Collecting::new(slope::Slope).into()),
        Arc::new(Collecting::new(tost::Tost).into()),
        Arc::new(Collecting::new(trimmed_mean::TrimmedMean).into()),
    ];
    all.extend(
        group_functions().map(|function| Arc::new(Collecting::new(Grouped { function, draws }).into())),
    );
    all
}

/// The functions of one row.
pub(crate) fn scalars() -> Vec<Arc<ScalarUDF>> {
    let mut all: Vec<Arc<ScalarUDF>> = vec![Arc::new(isfinite::IsFinite::new().into())];
    all.extend(row_functions().map(|function| Arc::new(RowByRow::new(function).into())));
    all
}

/// The window functions.
pub(crate) fn windows() -> Vec<Arc<WindowUDF>> {
    let mut all: Vec<Arc<WindowUDF>> = vec![
        Arc::new(Windowed::new(adjust_p::AdjustP).into()),
        Arc::new(Windowed::new(changepoint::Changepoint).into()),
        Arc::new(Windowed::new(ema::Ema).into()),
        Arc::new(Windowed::new(rolling_median::RollingMedian).into()),
        Arc::new(Windowed::new(spike::Spike).into()),
    ];
    all.extend(AlwaysValid::ALL.map(|function| Arc::new(Windowed::new(function).into())));
    all
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
        &downsample::LTTB,
        &downsample::MINMAX,
        &ema::DEFINITION,
        &iqm::DEFINITION,
        &iqm_ci::DEFINITION,
        &isfinite::DEFINITION,
        &last_by_step::DEFINITION,
        &mann_whitney::DEFINITION,
        &mean_ci::DEFINITION,
        &permutation_test::DEFINITION,
        &quantile_ci::DEFINITION,
        &rolling_median::DEFINITION,
        &slope::DEFINITION,
        &spike::DEFINITION,
        &tost::DEFINITION,
        &trimmed_mean::DEFINITION,
        &clustered_mean::DEFINITION,
    ];
    all.extend(group_functions().map(|function| function.definition));
    all.extend(row_functions().map(|function| function.definition));
    all.extend(AlwaysValid::ALL.iter().map(WindowFunction::definition));
    all.extend(in_from::descriptions());
    all.sort_by_key(|definition| definition.name);
    all
}
