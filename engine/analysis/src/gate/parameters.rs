//! What a gate is asked, and the checks of it.

use std::collections::HashMap;

use crate::error::{AnalysisError, Result};
use crate::sequential::{SpendingFunction, group_sequential};

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

/// Looks at planned numbers of runs, which spend alpha by the share of the runs that they see (Lan & DeMets 1983).
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct LookPlan {
    /// Runs an arm at each look, rising. The last is the largest number that will ever be run.
    pub sizes: Vec<usize>,
    /// How alpha is spent over them.
    pub spending: SpendingFunction,
}

/// The most looks that a plan may have.
const LOOKS_MAX: usize = 100;

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
    /// Name of the key whose values are strata: the equal-weight mean of the improvements within them decides. Values
    /// are taken from [`GateRun::keys`].
    ///
    /// [`GateRun::keys`]: crate::GateRun::keys
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strata: Option<String>,
    /// Name of the key whose values are batches, such as the day: from three batches of the baseline on, what they differ
    /// by counts as error. Values are taken from [`GateRun::keys`].
    ///
    /// [`GateRun::keys`]: crate::GateRun::keys
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_by: Option<String>,
    /// Looks planned and used.
    pub looks: Looks,
    /// Looks at planned numbers of runs in place of looks that share alpha equally: `looks` then only says which one
    /// this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look_plan: Option<LookPlan>,
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
            strata: None,
            batch_by: None,
            looks: Looks::default(),
            look_plan: None,
            seed: 0,
        }
    }

    /// Looks planned before the first one.
    pub(crate) fn planned_looks(&self) -> u32 {
        let planned = self.look_plan.as_ref().map(|plan| plan.sizes.len());
        // A checked plan has at most LOOKS_MAX.
        planned.map_or(self.looks.planned, |planned| planned as u32)
    }

    /// Runs an arm without which nothing is decided at this look.
    pub(crate) fn runs_needed(&self) -> usize {
        let planned =
            self.look_plan.as_ref().and_then(|plan| plan.sizes.get(self.looks.current.max(1) as usize - 1));
        planned.map_or(self.min_runs, |planned| self.min_runs.max(*planned))
    }

    /// Checks every parameter and fills in the mode and the level of this look.
    pub(crate) fn resolve(&self, levels: &LookLevels) -> Result<Resolved> {
        let (mode, margin) = self.check()?;
        let [alpha_look, alpha_left] = match &self.look_plan {
            Some(plan) => levels.of(plan, self.alpha, self.looks.current)?,
            None => {
                let alpha_look = self.alpha / f64::from(self.looks.planned);
                let left = self.looks.planned.saturating_sub(self.looks.current);
                [alpha_look, alpha_look * f64::from(left)]
            }
        };
        Ok(Resolved { mode, margin, alpha_look, alpha_left })
    }

    /// Checks every parameter; the mode and the margin as given.
    pub(crate) fn check(&self) -> Result<(Mode, f64)> {
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
        if let Some(key) = &self.strata {
            let expected = if self.pair_by.is_some() {
                "strata or pairs, not both"
            } else {
                "strata, each with variances of its own, or one variance for all: not both"
            };
            if self.pair_by.is_some() || self.assume_equal_variance {
                return Err(invalid("strata", key, expected));
            }
        }
        if let Some(key) = &self.batch_by
            && (self.pair_by.is_some() || self.strata.is_some())
        {
            return Err(invalid("batch_by", key, "batches only of arms without pairs and strata"));
        }
        if let Some(plan) = &self.look_plan {
            self.check_plan(plan)?;
        } else if !(1..=2).contains(&self.looks.planned) {
            return Err(invalid("looks", self.looks.planned, "1 or 2; more with planned numbers of runs"));
        }
        if self.looks.current == 0 {
            return Err(invalid("look", self.looks.current, "counted from 1"));
        }
        Ok((mode, margin))
    }

    fn check_plan(&self, plan: &LookPlan) -> Result<()> {
        let rising = plan.sizes.windows(2).all(|pair| pair[0] < pair[1]);
        let enough = plan.sizes.first().is_some_and(|first| *first >= self.min_runs);
        if !(rising && enough && plan.sizes.len() <= LOOKS_MAX) {
            let expected = "1 to 100 rising numbers of runs an arm, none below min_runs";
            return Err(invalid("look_sizes", format!("{:?}", plan.sizes), expected));
        }
        Ok(())
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
    /// What the looks after this one may spend.
    pub(crate) alpha_left: f64,
}

/// The levels of planned looks, found once for all metrics that share a plan: each costs a numerical integration.
#[derive(Debug, Default)]
pub(crate) struct LookLevels {
    known: HashMap<(LookPlan, u64), Vec<f64>>,
}

impl LookLevels {
    /// Those of all plans of some parameters. Plans that cannot be are left out: [`GateParameters::check`] refuses them.
    pub(crate) fn of_all<'a>(parameters: impl Iterator<Item = &'a GateParameters>) -> Self {
        let mut known = HashMap::new();
        for parameters in parameters {
            let Some(plan) = &parameters.look_plan else { continue };
            let key = (plan.clone(), parameters.alpha.to_bits());
            if known.contains_key(&key) || parameters.check().is_err() {
                continue;
            }
            let shares: Vec<f64> = plan.sizes.iter().map(|size| share(plan, *size)).collect();
            if let Ok(looks) = group_sequential(&shares, plan.spending, parameters.alpha) {
                known.insert(key, looks.nominal_p);
            }
        }
        Self { known }
    }

    /// The one-sided level of a look, from 1, and what is left after it. A look beyond the plan has the last level; it
    /// decides nothing.
    fn of(&self, plan: &LookPlan, alpha: f64, look: u32) -> Result<[f64; 2]> {
        let levels = self.known.get(&(plan.clone(), alpha.to_bits()));
        let place = (look as usize).min(plan.sizes.len()).saturating_sub(1);
        match (levels.and_then(|levels| levels.get(place)), plan.sizes.get(place)) {
            (Some(level), Some(size)) => {
                Ok([*level, (alpha - plan.spending.spent(share(plan, *size), alpha)).max(0.0)])
            }
            _ => Err(invalid("look_sizes", format!("{:?}", plan.sizes), "looks with a level of their own")),
        }
    }
}

/// The share of the information that a look of this size has.
fn share(plan: &LookPlan, size: usize) -> f64 {
    size as f64 / plan.sizes.last().copied().unwrap_or(size) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(change: impl FnOnce(&mut GateParameters)) -> &'static str {
        let mut parameters = GateParameters::new(Direction::Up);
        parameters.margin = Some(0.1);
        change(&mut parameters);
        parameters.check().map_or_else(|error| error.code(), |_| "accepted")
    }

    #[test]
    fn the_mode_follows_from_the_margin() {
        let mut parameters = GateParameters::new(Direction::Up);
        assert_eq!(parameters.check().unwrap().0, Mode::Better);
        parameters.margin = Some(0.01);
        assert_eq!(parameters.check().unwrap().0, Mode::NotWorse);
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
        assert_eq!(code(|p| p.strata = Some("task".into())), "accepted");
        let both =
            |p: &mut GateParameters| (p.strata, p.pair_by) = (Some("task".into()), Some("seed".into()));
        assert_eq!(code(both), "invalid_argument");
        assert_eq!(code(|_| ()), "accepted");
    }

    fn plan(sizes: &[usize]) -> Option<LookPlan> {
        Some(LookPlan { sizes: sizes.to_vec(), spending: SpendingFunction::Pocock })
    }

    #[test]
    fn planned_looks_have_the_levels_of_their_table() {
        let at = |look| {
            let parameters = GateParameters {
                look_plan: plan(&[5, 10, 20]),
                looks: Looks { planned: 1, current: look },
                ..GateParameters::new(Direction::Up)
            };
            let levels = LookLevels::of_all([&parameters].into_iter());
            (parameters.resolve(&levels).unwrap(), parameters.runs_needed())
        };
        for (look, level, size) in [(1, 0.0179, 5), (2, 0.0189, 10), (3, 0.0279, 20), (4, 0.0279, 3)] {
            let (resolved, needed) = at(look);
            assert!((resolved.alpha_look - level).abs() < 6e-5, "{look}: {}", resolved.alpha_look);
            assert_eq!(needed, size);
        }
        assert!(at(1).0.alpha_left > at(2).0.alpha_left && at(3).0.alpha_left == 0.0);
    }

    #[test]
    fn senseless_plans_of_looks_are_refused() {
        for sizes in [&[][..], &[2, 5], &[5, 5], &[10, 5]] {
            assert_eq!(code(|p| p.look_plan = plan(sizes)), "invalid_argument", "{sizes:?}");
        }
        let many: Vec<usize> = (3..104).collect();
        assert_eq!(code(|p| p.look_plan = plan(&many)), "invalid_argument");
        assert_eq!(code(|p| p.look_plan = plan(&[3, 5, 9])), "accepted");
    }
}
