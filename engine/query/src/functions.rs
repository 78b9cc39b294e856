//! The SQL functions of Runlake: one file each, every one a thin adapter that checks types and NULLs and calls down.

mod arguments;
mod bootstrap_ci;
mod collect;
mod definition;
mod downsample_lttb;
mod ema;
mod iqm;
mod isfinite;
mod last_by_step;
mod mean_ci;
mod outcome;
mod welch_test;

use std::sync::Arc;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

pub(crate) use arguments::complete_named_arguments;
pub use definition::{ArgumentKind, Definition, FunctionKind, Parameter};

use collect::Collecting;

/// The aggregates; bootstraps draw with `seed` where a call names none.
pub(crate) fn aggregates(device: kernels::Policy, seed: u64) -> Vec<Arc<AggregateUDF>> {
    vec![
        Arc::new(Collecting::new(bootstrap_ci::BootstrapCi::new(device, seed)).into()),
        Arc::new(Collecting::new(downsample_lttb::DownsampleLttb).into()),
        Arc::new(Collecting::new(iqm::Iqm).into()),
        Arc::new(last_by_step::LastByStep::new().into()),
        Arc::new(Collecting::new(mean_ci::MeanCi).into()),
        Arc::new(Collecting::new(welch_test::WelchTest).into()),
    ]
}

/// The functions of one row.
pub(crate) fn scalars() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(isfinite::IsFinite::new().into())]
}

/// The window functions.
pub(crate) fn windows() -> Vec<Arc<WindowUDF>> {
    vec![Arc::new(ema::Ema::new().into())]
}

/// The description of every function, by name.
pub fn definitions() -> [&'static Definition; 8] {
    [
        &bootstrap_ci::DEFINITION,
        &downsample_lttb::DEFINITION,
        &ema::DEFINITION,
        &iqm::DEFINITION,
        &isfinite::DEFINITION,
        &last_by_step::DEFINITION,
        &mean_ci::DEFINITION,
        &welch_test::DEFINITION,
    ]
}
