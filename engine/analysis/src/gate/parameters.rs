//! What a gate is asked, and the checks of it.

use crate::error::{AnalysisError, Result};

/// Which way a metric improves.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Larger is better, as for an accuracy.
    Up,
    /// Smaller is better, as for a loss.
    Down,
}

impl Direction {
    /// +1 or -1: the factor that turns the metric into "larger is better".
    pub fn sign(self) -> f64 {
        match self {
            Self::Up => 1.0,
            Self::Down => -1.0,
        }
    }
}

/// The claim that a gate tests.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The candidate is better by more than the margin (which may be 0).
    Better,
    /// The candidate is worse by less than the margin. The mode for continuous integration.
    NotWorse,
    /// The candidate differs by less than the margin, either way.
    Equivalent,
}

impl Mode {
    /// The name that users type and read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::NotWorse => "not_worse",
            Self::Equivalent => "equivalent",
        }
    }
}

/// What an inconclusive verdict means to the caller's pipeline. The report says inconclusive all the same.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusive {
    /// Exit code 3.
    #[default]
    Report,
    /// Exit code 0.
    Pass,
    /// Exit code 1.
    Fail,
}

/// How often this decision may be looked at; each look spends an equal part of alpha.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Looks {
    /// Looks planned before the first one: 1, or 2 with alpha/2 each.
    pub planned: u32,
    /// Which look this is, from 1.
    pub current: u32,
}

impl Default for Looks {
    fn default() -> Self {
        Self { planned: 1, current: 1 }
    }
}

/// Everything a gate can be told. `GateParameters::new` gives the defaults.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct GateParameters {
    /// Which way the metric improves.
    pub direction: Direction,
    /// The claim; `None` means `not_worse` when a margin is given, else `better` with margin 0.
    pub mode: Option<Mode>,
    /// Size of the margin, in metric units, or as a share of the baseline mean if `relative`.
    pub margin: Option<f64>,
    /// `margin` and `detect` are shares of the absolute baseline mean.
    pub relative: bool,
    /// One-sided error rate over all looks.
    pub alpha: f64,
    /// Power for which the number of runs is planned.
    pub power: f64,
    /// The smallest gain worth having, for planning in mode `better`; in the unit of `margin`.
    pub detect: Option<f64>,
    /// Finite runs an arm below which nothing is decided.
    pub min_runs: usize,
    /// Runs an arm that the user is willing to pay for.
    pub max_runs: usize,
    /// What an inconclusive verdict means to the pipeline.
    pub on_inconclusive: OnInconclusive,
    /// Accept up to this share of failed candidate runs.
    pub allow_failures: Option<f64>,
    /// Give every failed run this value of the metric instead of the worst finite one.
    pub failure_value: Option<f64>,
    /// The training is deterministic: two constant arms are compared exactly.
    pub deterministic: bool,
    /// Use Student's test with one variance for both arms; allows one candidate run against ten or more.
    pub assume_equal_variance: bool,
    /// Name of the key that pairs the runs (for example `seed`); pairs are taken from [`GateRun::pair`].
    ///
    /// [`GateRun::pair`]: crate::GateRun::pair
    pub pair_by: Option<String>,
    /// Looks planned and used.
    pub looks: Looks,
    /// Seed of everything that is resampled.
    pub seed: u64,
}

impl GateParameters {
    /// The defaults for a metric that improves in this direction.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            mode: None,
            margin: None,
            relative: false,
            alpha: 0.05,
            power: 0.8,
            detect: None,
            min_runs: 3,
            max_runs: 20,
            on_inconclusive: OnInconclusive::Report,
            allow_failures: None,
            failure_value: None,
            deterministic: false,
            assume_equal_variance: false,
            pair_by: None,
            looks: Looks::default(),
            seed: 0,
        }
    }

    /// Checks every parameter and fills in the mode.
    pub(crate) fn resolve(&self) -> Result<Resolved> {
        if !(self.alpha > 0.0 && self.alpha < 0.5) {
            return Err(AnalysisError::AlphaOutOfRange {
                name: "alpha",
                value: self.alpha,
                expected: "above 0 and below 0.5",
            });
        }
        if !(self.power > 0.0 && self.power < 1.0) {
            return Err(AnalysisError::ProbabilityOutOfRange { name: "power", value: self.power });
        }
        if let Some(share) = self.allow_failures
            && !(0.0..=1.0).contains(&share)
        {
            return Err(AnalysisError::ProbabilityOutOfRange { name: "allow_failures", value: share });
        }
        let mode = self.mode.unwrap_or(match self.margin {
            Some(_) => Mode::NotWorse,
            None => Mode::Better,
        });
        let margin = self.resolve_margin(mode)?;
        if let Some(detect) = self.detect
            && mode == Mode::Better
            && !(detect.is_finite() && detect > margin)
        {
            return Err(invalid("detect", detect, "a finite gain above the margin"));
        }
        if let Some(value) = self.failure_value
            && !value.is_finite()
        {
            return Err(invalid("failure_value", value, "a finite value of the metric"));
        }
        if self.min_runs < 2 {
            return Err(invalid(
                "min_runs",
                self.min_runs,
                "2 or more; a single run is judged only with assume_equal_variance or deterministic",
            ));
        }
        if self.max_runs < self.min_runs {
            return Err(invalid("max_runs", self.max_runs, "at least min_runs"));
        }
        if !(1..=2).contains(&self.looks.planned) {
            return Err(invalid("looks", self.looks.planned, "1 or 2"));
        }
        if self.looks.current == 0 {
            return Err(invalid("look", self.looks.current, "counted from 1"));
        }
        Ok(Resolved { mode, margin, alpha_look: self.alpha / f64::from(self.looks.planned) })
    }

    fn resolve_margin(&self, mode: Mode) -> Result<f64> {
        match self.margin {
            Some(margin) if margin.is_nan() || margin < 0.0 => {
                Err(AnalysisError::MarginNegative { value: margin })
            }
            Some(margin) if margin.is_infinite() => Err(invalid("margin", margin, "finite")),
            Some(margin) if margin > 0.0 => Ok(margin),
            _ if mode == Mode::Better => Ok(0.0),
            _ => Err(AnalysisError::MarginRequired { mode: mode.name() }),
        }
    }
}

fn invalid(name: &'static str, value: impl ToString, expected: &'static str) -> AnalysisError {
    AnalysisError::InvalidArgument { name, value: value.to_string(), expected }
}

/// The parameters that follow from others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolved {
    pub(crate) mode: Mode,
    /// As given: absolute, or a share if relative.
    pub(crate) margin: f64,
    pub(crate) alpha_look: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(change: impl FnOnce(&mut GateParameters)) -> &'static str {
        let mut parameters = GateParameters::new(Direction::Up);
        parameters.margin = Some(0.1);
        change(&mut parameters);
        parameters.resolve().map_or_else(|error| error.code(), |_| "accepted")
    }

    #[test]
    fn the_mode_follows_from_the_margin() {
        let mut parameters = GateParameters::new(Direction::Up);
        assert_eq!(parameters.resolve().unwrap().mode, Mode::Better);
        parameters.margin = Some(0.01);
        assert_eq!(parameters.resolve().unwrap().mode, Mode::NotWorse);
    }

    #[test]
    fn senseless_parameters_are_refused_by_name() {
        assert_eq!(code(|p| p.alpha = f64::NAN), "alpha_out_of_range");
        assert_eq!(code(|p| p.alpha = 0.0), "alpha_out_of_range");
        assert_eq!(code(|p| p.power = 1.0), "probability_out_of_range");
        assert_eq!(code(|p| p.margin = Some(-0.1)), "margin_negative");
        assert_eq!(code(|p| p.margin = Some(f64::NAN)), "margin_negative");
        assert_eq!(code(|p| p.margin = Some(0.0)), "margin_required");
        assert_eq!(code(|p| p.margin = Some(f64::INFINITY)), "invalid_argument");
        assert_eq!(code(|p| (p.mode, p.detect) = (Some(Mode::Better), Some(0.05))), "invalid_argument");
        assert_eq!(code(|p| p.failure_value = Some(f64::NAN)), "invalid_argument");
        assert_eq!(code(|p| p.min_runs = 1), "invalid_argument");
        assert_eq!(code(|p| p.max_runs = 2), "invalid_argument");
        assert_eq!(code(|p| p.allow_failures = Some(1.5)), "probability_out_of_range");
        assert_eq!(code(|p| p.looks.planned = 3), "invalid_argument");
        assert_eq!(code(|_| ()), "accepted");
    }
}
