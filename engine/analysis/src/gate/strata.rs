//! Comparisons within strata: declared ones decide, and undeclared ones are looked through for a sign that pooling
//! turned (Simpson 1951).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::contingency::CountTable;
use crate::describe::sorted;
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;
use crate::p_value::PValue;
use crate::rates::fisher_exact;
use crate::strata::{StratumValues, stratified_difference};
use crate::t_test::Alternative;

use super::arms::{Arm, GateRun, Samples};

/// Keys with more values than this are not looked through.
const VALUES_MAX: usize = 10;

/// Arms whose runs are spread over the values of a key as unevenly as this are not alike in it.
const ALLOCATION_P: f64 = 0.05;

/// What runs without a value of a key share.
const NO_VALUE: &str = "(none)";

/// Both arms within one stratum, signed so that larger is better, each in ascending order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stratum {
    pub(crate) name: String,
    pub(crate) baseline: Vec<f64>,
    pub(crate) candidate: Vec<f64>,
}

impl Stratum {
    pub(crate) fn moments(&self) -> (Moments, Moments) {
        (Moments::of(&self.baseline), Moments::of(&self.candidate))
    }

    /// The improvement within the stratum.
    pub(crate) fn difference(&self) -> Option<f64> {
        let (baseline, candidate) = self.moments();
        Some(candidate.mean()? - baseline.mean()?)
    }
}

/// The equal-weight mean of the improvements within strata.
pub(crate) fn mean_difference(strata: &[Stratum]) -> Option<f64> {
    let differences: Vec<f64> = strata.iter().map(Stratum::difference).collect::<Option<_>>()?;
    (!differences.is_empty()).then(|| differences.iter().sum::<f64>() / differences.len() as f64)
}

/// Two arms compared within the values of a declared key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StrataReport {
    /// The key.
    pub key: String,
    /// Strata with finite values of both arms, by name: what decides is the equal-weight mean of their improvements.
    pub strata: Vec<StratumReport>,
    /// Strata with finite values of one arm only: left out.
    pub one_sided: Vec<String>,
    /// The improvement over all values, whatever their stratum.
    pub pooled: Option<f64>,
}

/// One stratum.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StratumReport {
    /// The value of the key.
    pub name: String,
    /// Finite baseline runs.
    pub n_baseline: usize,
    /// Finite candidate runs.
    pub n_candidate: usize,
    /// Improvement within the stratum.
    pub improvement: f64,
}

/// A key that was not declared, whose values the arms ran in different shares, and within which the improvement has the
/// other sign.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reversal {
    /// The key.
    pub key: String,
    /// P-value that both arms are spread alike over its values.
    pub p_allocation: PValue,
    /// The improvement over all runs.
    pub pooled: f64,
    /// The equal-weight mean of the improvements within its values.
    pub within: f64,
    /// The values that both arms have.
    pub strata: Vec<StratumReport>,
}

/// The samples of a declared key, and what is told of them.
///
/// # Errors
/// `pairing_mismatch`: a run without the key, or no stratum with values of both arms.
pub(crate) fn declared(
    key: &str,
    baseline: &Arm<'_>,
    candidate: &Arm<'_>,
    value_of: &dyn Fn(&GateRun) -> Option<f64>,
    candidate_value_of: &dyn Fn(&GateRun) -> Option<f64>,
) -> Result<(Samples, StrataReport)> {
    let grouped = |name: &str, arm: &Arm<'_>, value_of: &dyn Fn(&GateRun) -> Option<f64>| {
        let mut strata: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for run in &arm.runs {
            let Some(stratum) = run.keys.get(key) else {
                let detail =
                    format!("{name} run {} has no value of {key}, which is to be its stratum", run.id);
                return Err(AnalysisError::PairingMismatch { detail });
            };
            let values = strata.entry(stratum.clone()).or_default();
            values.extend(value_of(run));
        }
        Ok(strata)
    };
    let mut before = grouped("baseline", baseline, value_of)?;
    let mut after = grouped("candidate", candidate, candidate_value_of)?;
    before.retain(|_, values| !values.is_empty());
    after.retain(|_, values| !values.is_empty());
    let one_sided: BTreeSet<&String> = before
        .keys()
        .chain(after.keys())
        .filter(|name| !(before.contains_key(*name) && after.contains_key(*name)))
        .collect();
    let one_sided: Vec<String> = one_sided.into_iter().cloned().collect();
    let all = |arm: &BTreeMap<String, Vec<f64>>| {
        Moments::of(&sorted(&arm.values().flatten().copied().collect::<Vec<_>>())).mean()
    };
    let pooled = all(&after).zip(all(&before)).map(|(after, before)| after - before);
    let strata: Vec<Stratum> = before
        .iter()
        .filter_map(|(name, values)| {
            let candidate = sorted(after.get(name)?);
            Some(Stratum { name: name.clone(), baseline: sorted(values), candidate })
        })
        .collect();
    // Arms that failed as a whole have rules of their own.
    if strata.is_empty() && !before.is_empty() && !after.is_empty() {
        let detail = format!(
            "no value of {key} has finite runs of both arms ({}); run both arms on the same ones",
            one_sided.join(", ")
        );
        return Err(AnalysisError::PairingMismatch { detail });
    }
    let report = StrataReport {
        key: key.to_owned(),
        strata: strata.iter().filter_map(stratum_report).collect(),
        one_sided,
        pooled,
    };
    Ok((Samples::Stratified(strata), report))
}

fn stratum_report(stratum: &Stratum) -> Option<StratumReport> {
    Some(StratumReport {
        name: stratum.name.clone(),
        n_baseline: stratum.baseline.len(),
        n_candidate: stratum.candidate.len(),
        improvement: stratum.difference()?,
    })
}

/// Looks through all keys of the runs for such within which the improvement has the other sign. `sign` turns values so
/// that larger is better.
pub(crate) fn reversals(baseline: &Arm<'_>, candidate: &Arm<'_>, sign: f64) -> Vec<Reversal> {
    let keys: BTreeSet<&str> = baseline
        .runs
        .iter()
        .chain(&candidate.runs)
        .flat_map(|run| run.keys.keys())
        .map(String::as_str)
        .collect();
    keys.into_iter().filter_map(|key| reversal(key, baseline, candidate, sign)).collect()
}

fn reversal(key: &str, baseline: &Arm<'_>, candidate: &Arm<'_>, sign: f64) -> Option<Reversal> {
    fn grouped<'a>(key: &str, arm: &Arm<'a>, sign: f64) -> StratumValues<'a> {
        let mut strata = StratumValues::new();
        for run in &arm.runs {
            let name = run.keys.get(key).map_or(NO_VALUE, String::as_str);
            strata.entry(name).or_default().extend(run.finite_value().map(|value| sign * value));
        }
        strata.retain(|_, values| !values.is_empty());
        strata
    }
    let (before, after) = (grouped(key, baseline, sign), grouped(key, candidate, sign));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    if !(2..=VALUES_MAX).contains(&names.len()) {
        return None;
    }
    // Arms that share no value differ in the key altogether: it is what was changed, and no comparison within it exists.
    let found = stratified_difference(&before, &after).ok().filter(|found| found.reversal)?;
    let count = |arm: &StratumValues<'_>, name: &str| arm.get(name).map_or(0, Vec::len);
    let p_allocation = match names.iter().copied().collect::<Vec<_>>()[..] {
        [first, second] => {
            let row = |arm: &StratumValues<'_>| [count(arm, first) as u64, count(arm, second) as u64];
            fisher_exact([row(&before), row(&after)], Alternative::TwoSided)
        }
        ref names => {
            let row = |arm: &StratumValues<'_>| names.iter().map(|name| count(arm, name) as i64).collect();
            CountTable::new(&[row(&before), row(&after)])
                .and_then(|table| table.chi_squared(false))
                .ok()?
                .p
                .value()
        }
    };
    if p_allocation >= ALLOCATION_P {
        return None;
    }
    let strata: Vec<StratumReport> = found
        .strata
        .iter()
        .map(|(name, improvement)| StratumReport {
            name: name.clone(),
            n_baseline: count(&before, name),
            n_candidate: count(&after, name),
            improvement: *improvement,
        })
        .collect();
    let within = strata.iter().map(|stratum| stratum.improvement).sum::<f64>() / strata.len() as f64;
    Some(Reversal {
        key: key.to_owned(),
        p_allocation: PValue::new(p_allocation),
        pooled: found.pooled?,
        within,
        strata,
    })
}
