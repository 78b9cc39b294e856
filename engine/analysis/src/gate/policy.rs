//! Gate policies: what must hold of a candidate, in a file that is reviewed like code.
//!
//! A policy names both arms, its metrics (goals that the change is for, guardrails that it must not break) and the
//! rules that they share. TOML and JSON mean the same. A key that does not exist is an error that names the nearest one
//! that does; [`GatePolicy::json_schema`] is for editors.

mod keys;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{AnalysisError, Result};
use crate::multiplicity::Correction;
use crate::sequential::SpendingFunction;

use super::parameters::{Direction, GateParameters, LookPlan, Looks, Mode, OnInconclusive};

/// Version of the layout of [`GatePolicy`].
pub const POLICY_VERSION: u32 = 1;

/// The most metrics that one policy may have.
pub const POLICY_METRICS_MAX: usize = 10_000;

/// What must hold of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatePolicy {
    /// Layout of this file: 1.
    pub version: u32,
    /// What reports call this policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which runs to compare with: a selector, as for the command line. The command line may override it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Which runs are under test: a selector. The command line may override it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// The metrics. A candidate passes when every guardrail does, and its goals as `goals` says.
    pub metrics: Vec<MetricPolicy>,
    /// Whether all goals must pass or one is enough.
    #[serde(default)]
    pub goals: GoalRule,
    /// Correction for looking at several metrics.
    #[serde(default)]
    pub correction: Correction,
    /// One-sided error rate over all looks.
    #[serde(default = "default_alpha")]
    pub alpha: f64,
    /// Power for which the number of runs is planned.
    #[serde(default = "default_power")]
    pub power: f64,
    /// Finite runs an arm below which nothing is decided.
    #[serde(default = "default_min_runs")]
    pub min_runs: usize,
    /// Runs an arm that you would pay for.
    #[serde(default = "default_max_runs")]
    pub max_runs: usize,
    /// Compare runs in pairs that share this param or tag, such as `seed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair_by: Option<String>,
    /// Compare within the values of this param or tag, such as `task`, each value with equal weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strata: Option<String>,
    /// Count what batches of runs differ by as error: this param or tag, such as the day, says which batch a run is of. It
    /// takes three batches of the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_by: Option<String>,
    /// The deciding test.
    #[serde(default)]
    pub method: MethodChoice,
    /// Looks planned before the first one: 1, or 2 with half of alpha each.
    #[serde(default = "default_looks")]
    pub looks: u32,
    /// Look at these numbers of runs an arm, such as `[5, 10, 20]`, in place of `looks`: alpha is spent over them as
    /// `spending` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub look_sizes: Vec<usize>,
    /// How alpha is spent over `look_sizes`.
    #[serde(default)]
    pub spending: SpendingFunction,
    /// Accept up to this share of failed candidate runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_failures: Option<f64>,
    /// Training is deterministic: two constant arms are compared exactly.
    #[serde(default)]
    pub deterministic: bool,
    /// What inconclusive means to the pipeline; the report says inconclusive all the same.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
    /// When a baseline is too old or too different to compare with.
    #[serde(default)]
    pub staleness: Staleness,
    /// Seed of everything that is resampled.
    #[serde(default)]
    pub seed: u64,
}

/// One metric of a policy. Keys that are left out have the policy's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricPolicy {
    /// Its name; the last value in a run counts.
    pub name: String,
    /// Which way it improves.
    pub direction: Direction,
    /// Goal or guardrail; without it a guardrail when `mode` is `not_worse` or `equivalent`, else a goal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The claim; without it `not_worse` when a margin is given, else `better`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Size of the margin, in units of the metric, or a share of the baseline's mean if `relative`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// `margin` and `detect` are shares of the baseline's mean.
    #[serde(default)]
    pub relative: bool,
    /// The smallest gain worth having, to plan the number of runs in mode `better`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect: Option<f64>,
    /// Count failed runs with this value of the metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_value: Option<f64>,
    /// One-sided error rate over all looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Finite runs an arm below which nothing is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_runs: Option<usize>,
    /// The deciding test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<MethodChoice>,
}

impl MetricPolicy {
    /// A metric with the policy's values.
    pub fn new(name: impl Into<String>, direction: Direction) -> Self {
        Self {
            name: name.into(),
            direction,
            role: None,
            mode: None,
            margin: None,
            relative: false,
            detect: None,
            failure_value: None,
            alpha: None,
            min_runs: None,
            method: None,
        }
    }
}

/// What a metric is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// What the change is for.
    Goal,
    /// What it must not break.
    Guardrail,
}

/// How several goals make one verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GoalRule {
    /// Every goal must pass. No correction is needed for that: the chance of a false pass is at most that of one
    /// metric (Berger 1982).
    #[default]
    All,
    /// One goal is enough; the correction keeps the chance of a false pass over all of them.
    Any,
}

/// The deciding test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MethodChoice {
    /// Welch's t from three runs an arm; the t test of the differences when a pairing is declared.
    #[default]
    Auto,
    /// Student's t with one variance for both arms: a single candidate run may be judged against ten or more.
    Student,
}

/// When a baseline is too old or too different to compare with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Staleness {
    /// The newest baseline run may be this many days old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_days: Option<f64>,
    /// What must be the same in both arms; a difference is inconclusive (`baseline_mismatch`).
    pub same: Vec<Ground>,
    /// Differences that are known and accepted. Reports print them.
    pub waive: Vec<Ground>,
}

impl Default for Staleness {
    fn default() -> Self {
        Self { max_age_days: None, same: vec![Ground::Dataset, Ground::MetricDefinition], waive: Vec::new() }
    }
}

/// What two arms must share for their difference to be the candidate's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// Hash or version of the data.
    Dataset,
    /// What the metric measures, and the code of it.
    MetricDefinition,
    /// The commit of the training code.
    Code,
    /// Versions of libraries.
    Environment,
    /// Kind and number of devices.
    Hardware,
}

impl Ground {
    /// The name in policies and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::MetricDefinition => "metric_definition",
            Self::Code => "code",
            Self::Environment => "environment",
            Self::Hardware => "hardware",
        }
    }
}

fn default_alpha() -> f64 {
    0.05
}

fn default_power() -> f64 {
    0.8
}

fn default_min_runs() -> usize {
    3
}

fn default_max_runs() -> usize {
    20
}

fn default_looks() -> u32 {
    2
}

impl GatePolicy {
    /// A policy of these metrics, everything else by default.
    pub fn new(metrics: Vec<MetricPolicy>) -> Self {
        Self {
            version: POLICY_VERSION,
            name: None,
            baseline: None,
            candidate: None,
            metrics,
            goals: GoalRule::All,
            correction: Correction::default(),
            alpha: default_alpha(),
            power: default_power(),
            min_runs: default_min_runs(),
            max_runs: default_max_runs(),
            pair_by: None,
            strata: None,
            batch_by: None,
            method: MethodChoice::Auto,
            looks: default_looks(),
            look_sizes: Vec::new(),
            spending: SpendingFunction::default(),
            allow_failures: None,
            deterministic: false,
            on_inconclusive: OnInconclusive::Report,
            staleness: Staleness::default(),
            seed: 0,
        }
    }

    /// Reads a policy from TOML.
    ///
    /// # Errors
    /// `policy_invalid`, with every key that does not exist and the nearest one that does, and the place of a wrong
    /// value; and the errors of [`GatePolicy::check`].
    ///
    /// # Examples
    /// ```
    /// let policy = analysis::GatePolicy::from_toml(r#"
    ///     version = 1
    ///     pair_by = "seed"
    ///
    ///     [[metrics]]
    ///     name = "val/accuracy"
    ///     direction = "up"
    ///     detect = 0.005
    ///
    ///     [[metrics]]
    ///     name = "val/loss"
    ///     direction = "down"
    ///     margin = 0.02
    ///     relative = true
    /// "#)?;
    /// assert_eq!(policy.metrics.len(), 2);
    /// # Ok::<(), analysis::AnalysisError>(())
    /// ```
    pub fn from_toml(text: &str) -> Result<Self> {
        let value: toml::Value = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let value = serde_json::to_value(value).map_err(|error| malformed(error.to_string()))?;
        Self::from_value(value)
    }

    /// Reads a policy from JSON.
    ///
    /// # Errors
    /// As [`GatePolicy::from_toml`].
    pub fn from_json(text: &str) -> Result<Self> {
        let value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        Self::from_value(value)
    }

    fn from_value(value: Value) -> Result<Self> {
        let unknown = keys::unknown(&Self::json_schema(), &value);
        if !unknown.is_empty() {
            return Err(malformed(unknown.join("; ")));
        }
        let policy: Self = serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
        policy.check()?;
        Ok(policy)
    }

    /// The JSON Schema of a policy (draft 2020-12).
    pub fn json_schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Checks what no schema can: every metric's parameters, names that appear twice, empty policies.
    ///
    /// # Errors
    /// `policy_invalid`, naming the metric, and saying what its parameters would be refused for.
    pub fn check(&self) -> Result<()> {
        let refuse = |detail: String| Err(malformed(detail));
        if self.version != POLICY_VERSION {
            return refuse(format!(
                "version = {}: this program knows version {POLICY_VERSION}",
                self.version
            ));
        }
        if self.metrics.is_empty() {
            return refuse("metrics is empty: name at least one".to_owned());
        }
        if self.metrics.len() > POLICY_METRICS_MAX {
            return refuse(format!(
                "{} metrics: at most {POLICY_METRICS_MAX} are judged together",
                self.metrics.len()
            ));
        }
        if let Some(days) = self.staleness.max_age_days
            && !(days.is_finite() && days >= 0.0)
        {
            return refuse(format!("staleness.max_age_days = {days}: a number of days, 0 or more"));
        }
        let mut names = std::collections::BTreeSet::new();
        for (i, metric) in self.metrics.iter().enumerate() {
            let place = format!("metrics[{i}] ({})", metric.name);
            if metric.name.is_empty() {
                return refuse(format!("{place}: the name is empty"));
            }
            if !names.insert(&metric.name) {
                return refuse(format!("{place}: this metric is there before; give it one entry"));
            }
            if let Err(error) = self.parameters(metric, 1).check() {
                return refuse(format!("{place}: {error}"));
            }
        }
        Ok(())
    }

    /// Looks planned before the first one: as many as `look_sizes`, else `looks`.
    pub fn planned_looks(&self) -> u32 {
        if self.look_sizes.is_empty() { self.looks } else { self.look_sizes.len() as u32 }
    }

    /// The role of a metric.
    pub fn role(&self, metric: &MetricPolicy) -> Role {
        metric.role.unwrap_or(match metric.mode {
            Some(Mode::NotWorse | Mode::Equivalent) => Role::Guardrail,
            None if metric.margin.is_some() => Role::Guardrail,
            _ => Role::Goal,
        })
    }

    /// The parameters of the gate of one metric, at this look.
    pub fn parameters(&self, metric: &MetricPolicy, look: u32) -> GateParameters {
        let method = metric.method.unwrap_or(self.method);
        GateParameters {
            mode: metric.mode,
            margin: metric.margin,
            relative: metric.relative,
            alpha: metric.alpha.unwrap_or(self.alpha),
            power: self.power,
            detect: metric.detect,
            min_runs: metric.min_runs.unwrap_or(self.min_runs),
            max_runs: self.max_runs,
            on_inconclusive: OnInconclusive::Report,
            allow_failures: self.allow_failures,
            failure_value: metric.failure_value,
            deterministic: self.deterministic,
            assume_equal_variance: method == MethodChoice::Student,
            pair_by: self.pair_by.clone(),
            strata: self.strata.clone(),
            batch_by: self.batch_by.clone(),
            looks: Looks { planned: self.looks, current: look },
            look_plan: (!self.look_sizes.is_empty())
                .then(|| LookPlan { sizes: self.look_sizes.clone(), spending: self.spending }),
            seed: self.seed,
            ..GateParameters::new(metric.direction)
        }
    }
}

fn malformed(detail: String) -> AnalysisError {
    AnalysisError::PolicyInvalid { detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        version = 1
        name = "nightly"
        baseline = "tag:branch=main"
        goals = "any"
        correction = "holm"
        on_inconclusive = "fail"
        [staleness]
        max_age_days = 30
        same = ["dataset", "hardware"]
        [[metrics]]
        name = "acc"
        direction = "up"
        [[metrics]]
        name = "loss"
        direction = "down"
        margin = 0.1
        alpha = 0.01
    "#;

    fn refused(text: &str) -> String {
        let error = GatePolicy::from_toml(text).unwrap_err();
        assert_eq!(error.code(), "policy_invalid");
        assert!(!error.is_data_error());
        error.to_string()
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let policy = GatePolicy::from_toml(POLICY).unwrap();
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(GatePolicy::from_json(&json).unwrap(), policy);
        assert_eq!(policy.role(&policy.metrics[0]), Role::Goal);
        assert_eq!(policy.role(&policy.metrics[1]), Role::Guardrail);
        assert_eq!(policy.parameters(&policy.metrics[1], 1).alpha, 0.01);
        assert_eq!(policy.parameters(&policy.metrics[0], 1).alpha, 0.05);
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest() {
        let text = POLICY.replace("direction = \"up\"", "directon = \"up\"").replace("goals", "gaols");
        let message = refused(&text);
        assert!(message.contains("gaols: unknown key, did you mean goals?"), "{message}");
        assert!(message.contains("metrics[0].directon: unknown key, did you mean direction?"), "{message}");
        let message = refused(&POLICY.replace("max_age_days", "fortnight"));
        assert!(message.contains("staleness.fortnight: unknown key, known are max_age_days"), "{message}");
    }

    #[test]
    fn wrong_values_are_told_with_their_place() {
        let message = refused(&POLICY.replace("\"up\"", "\"upward\""));
        assert!(message.contains("upward") && message.contains("up"), "{message}");
        let message = refused(&POLICY.replace("margin = 0.1", "margin = -0.1"));
        assert!(message.contains("metrics[1] (loss): margin -0.1 must not be negative"), "{message}");
        let message = refused(&POLICY.replace("\"loss\"", "\"acc\""));
        assert!(message.contains("metrics[1] (acc): this metric is there before"), "{message}");
        assert!(refused(&POLICY.replace("version = 1", "version = 2")).contains("knows version 1"));
        assert!(refused("version = 1\nmetrics = []").contains("metrics is empty"));
        assert!(refused("version = ").contains("TOML"));
        assert!(refused(&POLICY.replace("max_age_days = 30", "max_age_days = -1")).contains("max_age_days"));
        assert_eq!(GatePolicy::from_json("{").unwrap_err().code(), "policy_invalid");
    }
}
