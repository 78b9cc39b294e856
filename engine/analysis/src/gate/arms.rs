//! The runs of both arms, sorted into usable values, failures and pairs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::describe::sorted;
use crate::error::{AnalysisError, Result};

use super::parameters::GateParameters;
use super::strata::{StrataReport, Stratum, declared};

/// Params, tags and other settings of a run by name, shared by all its metrics.
pub type RunKeys = Arc<BTreeMap<String, String>>;

/// One training run as the gate sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct GateRun {
    /// Id or label; names the run in warnings. May be empty.
    pub id: String,
    /// Final value of the metric; `None` when none was recorded.
    pub value: Option<f64>,
    /// The run crashed or was killed, whatever it logged before.
    pub failed: bool,
    /// Value of the pairing key.
    pub pair: Option<String>,
    /// What it ran with, by name, such as `params.task`: the strata that are declared, those that are looked through
    /// for a reversal, and batches.
    pub keys: RunKeys,
}

impl GateRun {
    /// A finished run.
    pub fn finished(id: impl Into<String>, value: f64) -> Self {
        Self { id: id.into(), value: Some(value), failed: false, pair: None, keys: RunKeys::default() }
    }

    /// The final value, unless the run failed: crashed, NaN, infinite or without a final value.
    pub fn finite_value(&self) -> Option<f64> {
        self.value.filter(|v| v.is_finite() && !self.failed)
    }
}

/// One arm after repeated records of one run were counted once.
pub(crate) struct Arm<'a> {
    pub(crate) runs: Vec<&'a GateRun>,
    pub(crate) repeated: usize,
}

impl<'a> Arm<'a> {
    pub(crate) fn of(name: &str, runs: &'a [GateRun]) -> Result<Self> {
        let mut by_id: BTreeMap<&str, &GateRun> = BTreeMap::new();
        let mut kept = Vec::with_capacity(runs.len());
        for run in runs {
            if run.id.is_empty() {
                kept.push(run);
                continue;
            }
            match by_id.insert(&run.id, run) {
                None => kept.push(run),
                Some(earlier) if same_record(earlier, run) => {}
                Some(_) => {
                    return Err(AnalysisError::InvalidArgument {
                        name: "run id",
                        value: run.id.clone(),
                        expected: "one record for each run, but two differ",
                    });
                }
            }
        }
        if kept.is_empty() {
            return Err(AnalysisError::EmptySample { sample: format!("the {name}") });
        }
        Ok(Self { repeated: runs.len() - kept.len(), runs: kept })
    }

    pub(crate) fn finite(&self) -> Vec<f64> {
        sorted(&self.runs.iter().filter_map(|run| run.finite_value()).collect::<Vec<_>>())
    }

    pub(crate) fn failed(&self) -> usize {
        self.runs.iter().filter(|run| run.finite_value().is_none()).count()
    }
}

fn same_record(a: &GateRun, b: &GateRun) -> bool {
    a.value.map(f64::to_bits) == b.value.map(f64::to_bits)
        && a.failed == b.failed
        && a.pair == b.pair
        && a.keys == b.keys
}

/// A run must not be compared with itself.
pub(crate) fn check_disjoint(baseline: &Arm<'_>, candidate: &Arm<'_>) -> Result<()> {
    let ids: BTreeSet<&str> = baseline.runs.iter().map(|run| run.id.as_str()).collect();
    match candidate.runs.iter().find(|run| !run.id.is_empty() && ids.contains(run.id.as_str())) {
        Some(run) => Err(AnalysisError::RunInBothArms { run: run.id.clone() }),
        None => Ok(()),
    }
}

/// The values that are compared, signed so that larger is better and in canonical order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Samples {
    /// Two independent arms.
    Independent { baseline: Vec<f64>, candidate: Vec<f64> },
    /// Differences candidate - baseline of declared pairs.
    Pairs(Vec<f64>),
    /// Two independent arms within each declared stratum that has values of both.
    Stratified(Vec<Stratum>),
}

impl Samples {
    /// Values of the smaller arm, or pairs.
    pub(crate) fn smaller_count(&self) -> usize {
        match self {
            Self::Independent { baseline, candidate } => baseline.len().min(candidate.len()),
            Self::Pairs(differences) => differences.len(),
            Self::Stratified(_) => self.baseline_count().min(self.candidate_count()),
        }
    }

    /// Values of the baseline arm, or pairs.
    pub(crate) fn baseline_count(&self) -> usize {
        match self {
            Self::Independent { baseline, .. } => baseline.len(),
            Self::Pairs(differences) => differences.len(),
            Self::Stratified(strata) => strata.iter().map(|stratum| stratum.baseline.len()).sum(),
        }
    }

    /// Values of the candidate arm, or pairs.
    pub(crate) fn candidate_count(&self) -> usize {
        match self {
            Self::Independent { candidate, .. } => candidate.len(),
            Self::Pairs(differences) => differences.len(),
            Self::Stratified(strata) => strata.iter().map(|stratum| stratum.candidate.len()).sum(),
        }
    }
}

/// Both arms in the two readings that the rules need.
pub(crate) struct Evidence {
    /// Failed runs left out, or replaced by the declared failure value.
    pub(crate) finite: Samples,
    /// Failed candidate runs set to the worst finite value of both arms (equal to `finite` without any).
    pub(crate) imputed: Samples,
    /// That worst value, signed.
    pub(crate) worst: Option<f64>,
    /// What is told of declared strata.
    pub(crate) strata: Option<StrataReport>,
}

pub(crate) fn evidence(
    baseline: &Arm<'_>,
    candidate: &Arm<'_>,
    parameters: &GateParameters,
) -> Result<Evidence> {
    let sign = parameters.direction.sign();
    let usable = |run: &GateRun| run.finite_value().or(parameters.failure_value).map(|value| sign * value);
    let worst = baseline
        .runs
        .iter()
        .chain(&candidate.runs)
        .filter_map(|run| run.finite_value())
        .map(|value| sign * value)
        .reduce(f64::min);
    let pessimistic = |run: &GateRun| usable(run).or(worst);
    let mut strata = None;
    let (finite, imputed) = if let Some(key) = &parameters.strata {
        let (finite, report) = declared(key, baseline, candidate, &usable, &usable)?;
        strata = Some(report);
        (finite, declared(key, baseline, candidate, &usable, &pessimistic)?.0)
    } else if let Some(key) = &parameters.pair_by {
        let pairs = pair_up(key, baseline, candidate)?;
        let differences = |candidate_value: &dyn Fn(&GateRun) -> Option<f64>| {
            let differences = pairs.iter().filter_map(|(b, c)| Some(candidate_value(c)? - usable(b)?));
            Samples::Pairs(sorted(&differences.collect::<Vec<_>>()))
        };
        (differences(&usable), differences(&pessimistic))
    } else {
        let values = |arm: &Arm<'_>, value: &dyn Fn(&GateRun) -> Option<f64>| {
            sorted(&arm.runs.iter().filter_map(|run| value(run)).collect::<Vec<_>>())
        };
        let independent = |value: &dyn Fn(&GateRun) -> Option<f64>| Samples::Independent {
            baseline: values(baseline, &usable),
            candidate: values(candidate, value),
        };
        (independent(&usable), independent(&pessimistic))
    };
    Ok(Evidence { finite, imputed, worst, strata })
}

fn pair_up<'a>(
    key: &str,
    baseline: &Arm<'a>,
    candidate: &Arm<'a>,
) -> Result<Vec<(&'a GateRun, &'a GateRun)>> {
    let baseline = by_pair(key, "baseline", baseline)?;
    let candidate = by_pair(key, "candidate", candidate)?;
    let alone: Vec<String> = baseline
        .keys()
        .filter(|pair| !candidate.contains_key(*pair))
        .map(|pair| format!("{key}={pair} (baseline only)"))
        .chain(
            candidate
                .keys()
                .filter(|pair| !baseline.contains_key(*pair))
                .map(|pair| format!("{key}={pair} (candidate only)")),
        )
        .collect();
    if !alone.is_empty() {
        const SHOWN: usize = 5;
        let more = alone.len().saturating_sub(SHOWN);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let detail = format!(
            "{} have no partner{rest}; select the same {key} values in both arms, or compare unpaired",
            alone[..alone.len() - more].join(", ")
        );
        return Err(AnalysisError::PairingMismatch { detail });
    }
    Ok(baseline.into_iter().filter_map(|(pair, run)| Some((run, *candidate.get(pair)?))).collect())
}

fn by_pair<'a>(key: &str, name: &str, arm: &Arm<'a>) -> Result<BTreeMap<&'a str, &'a GateRun>> {
    let mut runs = BTreeMap::new();
    for &run in &arm.runs {
        let Some(pair) = run.pair.as_deref() else {
            let detail = format!("{name} run {} has no value of {key}", run.id);
            return Err(AnalysisError::PairingMismatch { detail });
        };
        if runs.insert(pair, run).is_some() {
            let detail = format!("{key}={pair} stands for more than one {name} run");
            return Err(AnalysisError::PairingMismatch { detail });
        }
    }
    Ok(runs)
}
