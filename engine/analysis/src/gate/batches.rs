//! Batches of runs, such as days or machines: what they differ by is error that more seeds do not take away.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::baseline::{BATCHES_MIN, BatchComponent, batch_component};
use crate::error::{AnalysisError, Result};
use crate::t_test::TTest;

use super::arms::Arm;
use super::report::Warning;

/// Batches of both arms and what they differ by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchReport {
    /// The key whose values are batches.
    pub key: String,
    /// Batches of the baseline.
    pub baseline: usize,
    /// Batches of the candidate.
    pub candidate: usize,
    /// Standard deviation between batches of the baseline; `None` with fewer than three.
    pub sd: Option<f64>,
}

/// The error between batches that a comparison has on top of that within them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BatchError {
    component: BatchComponent,
    /// 1 / batches of the baseline + 1 / batches of the candidate.
    share: f64,
}

impl BatchError {
    /// The test with this error and Satterthwaite's degrees of freedom.
    pub(crate) fn widened(&self, test: TTest) -> TTest {
        let extra = self.component.variance * self.share;
        if extra == 0.0 {
            return test;
        }
        let within = test.standard_error * test.standard_error;
        let uncertainty =
            within * within / test.degrees_of_freedom + self.share * self.share * self.component.uncertainty;
        TTest {
            standard_error: (within + extra).sqrt(),
            degrees_of_freedom: (within + extra) * (within + extra) / uncertainty,
            ..test
        }
    }
}

/// The batches of both arms by a key; the error is `None` with fewer than three batches of the baseline, and a warning
/// says so.
///
/// # Errors
/// `pairing_mismatch`: a run without the key.
pub(crate) fn between(
    key: &str,
    baseline: &Arm<'_>,
    candidate: &Arm<'_>,
) -> Result<(BatchReport, Option<BatchError>, Option<Warning>)> {
    let grouped = |name: &str, arm: &Arm<'_>| {
        let mut batches: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for run in &arm.runs {
            let Some(batch) = run.keys.get(key) else {
                let detail = format!("{name} run {} has no value of {key}, which is to be its batch", run.id);
                return Err(AnalysisError::PairingMismatch { detail });
            };
            batches.entry(batch.clone()).or_default().extend(run.finite_value());
        }
        batches.retain(|_, values| !values.is_empty());
        Ok(batches)
    };
    let (before, after) = (grouped("baseline", baseline)?, grouped("candidate", candidate)?);
    let values: Vec<&[f64]> = before.values().map(Vec::as_slice).collect();
    let component = batch_component(&values).ok();
    let warning = component.is_none().then(|| Warning {
        code: "few_batches",
        message: format!(
            "{} by {key} in the baseline: what batches differ by is not known below {BATCHES_MIN}, of which one has two runs, and is not counted",
            if before.len() == 1 { "1 batch".to_owned() } else { format!("{} batches", before.len()) },
        ),
    });
    let report = BatchReport {
        key: key.to_owned(),
        baseline: before.len(),
        candidate: after.len(),
        sd: component.map(|component| component.variance.sqrt()),
    };
    let share = 1.0 / before.len() as f64 + 1.0 / after.len() as f64;
    let error = component.filter(|_| share.is_finite()).map(|component| BatchError { component, share });
    Ok((report, error, warning))
}
