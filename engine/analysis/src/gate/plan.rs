//! How many runs a gate needs, before any of them is made.

use serde::Serialize;

use crate::distributions::chi_squared_quantile;
use crate::error::{AnalysisError, Result};
use crate::power::{Design, Sides, detectable_effect, power, required_runs};

use super::parameters::Mode;

/// Numbers of runs whose power a plan shows beside its own.
const RUNS_SHOWN: [usize; 6] = [3, 5, 8, 10, 20, 50];

/// What is to be planned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanQuestion {
    /// The claim.
    pub mode: Mode,
    /// The true improvement less the threshold, in units of the metric: for `better` the gain worth having less the
    /// margin, for the other modes the margin (truth: no difference).
    pub effect: f64,
    /// Standard deviation from seed to seed; of the differences when runs are paired.
    pub sd: f64,
    /// Runs from which `sd` was estimated; `None` when it is known.
    pub sd_runs: Option<usize>,
    /// Runs are compared in pairs.
    pub paired: bool,
    /// One-sided error rate over all looks.
    pub alpha: f64,
    /// Looks, which share alpha equally.
    pub looks: u32,
    /// The chance of a pass that is wanted.
    pub power: f64,
    /// Fewest runs an arm that a gate would judge.
    pub min_runs: usize,
}

/// A number of runs and what it gives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PlanRow {
    /// Runs an arm, or pairs.
    pub runs: usize,
    /// The chance of a pass at the first look.
    pub power: f64,
    /// The smallest effect that is seen with the wanted power, in units of the metric.
    pub detectable: f64,
}

/// How many runs an arm are needed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatePlan {
    /// What was planned.
    pub question: PlanQuestion,
    /// One-sided error rate of one look.
    pub alpha_look: f64,
    /// Runs an arm (or pairs) with the wanted power; `None` beyond 10,000.
    pub runs: Option<usize>,
    /// The 80 % upper limit of the standard deviation; `None` when it is known.
    pub sd_upper80: Option<f64>,
    /// Runs an arm at that limit: from few runs a standard deviation comes out too small more often than not.
    pub runs_conservative: Option<usize>,
    /// Power of some numbers of runs, rising, with `runs` among them.
    pub rows: Vec<PlanRow>,
}

impl GatePlan {
    /// Plans a gate with the power of the t test.
    ///
    /// # Errors
    /// `effect_is_zero`; `zero_variance` unless the standard deviation is above 0; `alpha_out_of_range`,
    /// `probability_out_of_range`, `invalid_argument`.
    ///
    /// # Examples
    /// ```
    /// use analysis::{GatePlan, Mode, PlanQuestion};
    /// let plan = GatePlan::new(PlanQuestion {
    ///     mode: Mode::Better,
    ///     effect: 0.01,
    ///     sd: 0.01,
    ///     sd_runs: None,
    ///     paired: false,
    ///     alpha: 0.05,
    ///     looks: 2,
    ///     power: 0.8,
    ///     min_runs: 3,
    /// })?;
    /// assert_eq!(plan.runs, Some(17));
    /// # Ok::<(), analysis::AnalysisError>(())
    /// ```
    pub fn new(question: PlanQuestion) -> Result<Self> {
        let wrong =
            |name, value: String, expected| Err(AnalysisError::InvalidArgument { name, value, expected });
        if !(question.effect.is_finite() && question.effect >= 0.0) {
            return wrong("effect", question.effect.to_string(), "a gain beyond the threshold, 0 or more");
        }
        if !(question.sd.is_finite() && question.sd >= 0.0) {
            return wrong("sd", question.sd.to_string(), "a standard deviation above 0");
        }
        if question.sd == 0.0 {
            return Err(AnalysisError::ZeroVariance { difference: question.effect });
        }
        if !(1..=2).contains(&question.looks) {
            return wrong("looks", question.looks.to_string(), "1 or 2");
        }
        let alpha = question.alpha / f64::from(question.looks);
        let design = if question.paired { Design::Paired } else { Design::BALANCED };
        // Equivalence must clear both edges; with no true difference each may take half of the missing power.
        let wanted = match question.mode {
            Mode::Equivalent => 1.0 - 0.5 * (1.0 - question.power),
            Mode::Better | Mode::NotWorse => question.power,
        };
        let needed = |sd: f64| {
            required_runs(design, question.effect / sd, alpha, wanted, Sides::One, question.min_runs)
        };
        let runs = needed(question.sd)?;
        let sd_upper80 = question.sd_runs.filter(|&runs| runs > 1).map(|runs| {
            let df = (runs - 1) as f64;
            question.sd * (df / chi_squared_quantile(0.2, df)).sqrt()
        });
        let runs_conservative = sd_upper80.map(needed).transpose()?.flatten();
        let mut shown: Vec<usize> = RUNS_SHOWN.into_iter().chain(runs).chain(runs_conservative).collect();
        shown.sort_unstable();
        shown.dedup();
        let row = |runs: usize| -> Result<PlanRow> {
            let n = runs as f64;
            let one_edge = power(design, question.effect / question.sd, n, alpha, Sides::One)?;
            Ok(PlanRow {
                runs,
                power: match question.mode {
                    Mode::Equivalent => (2.0 * one_edge - 1.0).max(0.0),
                    Mode::Better | Mode::NotWorse => one_edge,
                },
                detectable: detectable_effect(design, n, alpha, wanted, Sides::One)? * question.sd,
            })
        };
        let rows = shown.into_iter().map(row).collect::<Result<_>>()?;
        Ok(Self { question, alpha_look: alpha, runs, sd_upper80, runs_conservative, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(effect: f64) -> PlanQuestion {
        PlanQuestion {
            mode: Mode::Better,
            effect,
            sd: 2.0,
            sd_runs: Some(3),
            paired: false,
            alpha: 0.05,
            looks: 1,
            power: 0.8,
            min_runs: 3,
        }
    }

    #[test]
    fn runs_are_those_of_the_published_table() {
        for (effect, one_look, two_looks) in [(0.5, 51, 64), (1.0, 14, 17), (2.0, 4, 6), (3.0, 3, 4)] {
            let plan = |looks| {
                let question = PlanQuestion { sd: 1.0, sd_runs: None, looks, ..question(effect) };
                GatePlan::new(question).unwrap()
            };
            assert_eq!((plan(1).runs, plan(2).runs), (Some(one_look), Some(two_looks)), "{effect}");
            assert_eq!((plan(1).sd_upper80, plan(1).runs_conservative), (None, None));
        }
        let paired = PlanQuestion { sd: 1.0, paired: true, ..question(1.0) };
        assert_eq!(GatePlan::new(paired).unwrap().runs, Some(8));
    }

    #[test]
    fn a_spread_from_few_runs_is_taken_with_its_upper_limit() {
        let plan = GatePlan::new(question(2.0)).unwrap();
        assert!(plan.sd_upper80.unwrap() > 4.0 && plan.runs_conservative > plan.runs, "{plan:?}");
        let row = plan.rows.iter().find(|row| Some(row.runs) == plan.runs).unwrap();
        assert!(row.power >= 0.8 && row.detectable <= 2.0);
        assert!(plan.rows.is_sorted_by_key(|row| row.runs));
    }

    #[test]
    fn senseless_plans_are_refused() {
        let code = |question| GatePlan::new(question).unwrap_err().code();
        assert_eq!(code(question(0.0)), "effect_is_zero");
        assert_eq!(code(question(-1.0)), "invalid_argument");
        assert_eq!(code(PlanQuestion { sd: 0.0, ..question(1.0) }), "zero_variance");
        assert_eq!(code(PlanQuestion { sd: f64::NAN, ..question(1.0) }), "invalid_argument");
        assert_eq!(code(PlanQuestion { alpha: 0.0, ..question(1.0) }), "alpha_out_of_range");
        assert_eq!(code(PlanQuestion { power: 1.0, ..question(1.0) }), "probability_out_of_range");
        assert_eq!(code(PlanQuestion { looks: 3, ..question(1.0) }), "invalid_argument");
        assert_eq!(GatePlan::new(question(1e-9)).unwrap().runs, None);
    }
}
