//! Power of t tests: how many runs an effect needs, and which effect so many runs can show.

use crate::distributions::{noncentral_t_cdf, noncentral_t_sf, normal_quantile, root, student_t_quantile};
use crate::error::{AnalysisError, Result};

/// Sample sizes beyond this are reported as out of reach.
pub const RUNS_MAX: usize = 10_000;

/// How the runs of a comparison relate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Design {
    /// Two independent arms; the second has `ratio` times as many runs as the first.
    TwoSample {
        /// Runs of the second arm for each run of the first.
        ratio: f64,
    },
    /// Pairs; the effect is in standard deviations of the differences.
    Paired,
}

impl Design {
    /// Two arms of equal size.
    pub const BALANCED: Self = Self::TwoSample { ratio: 1.0 };

    fn degrees_of_freedom(self, runs: f64) -> f64 {
        match self {
            Self::TwoSample { ratio } => runs * (1.0 + ratio) - 2.0,
            Self::Paired => runs - 1.0,
        }
    }

    /// Noncentrality of an effect of one standard deviation.
    fn noncentrality_per_effect(self, runs: f64) -> f64 {
        match self {
            Self::TwoSample { ratio } => (runs * ratio / (1.0 + ratio)).sqrt(),
            Self::Paired => runs.sqrt(),
        }
    }
}

/// Whether the planned test looks at one side or at both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// Only a difference in the direction of the effect counts.
    One,
    /// A difference in either direction counts.
    Two,
}

/// The power of a t test at level `alpha` for a true `effect` in standard deviations.
///
/// `runs` counts the first arm (or the pairs) and need not be whole.
///
/// # Errors
/// `alpha_out_of_range`, `too_few_runs`, `nonfinite_value`.
pub fn power(design: Design, effect: f64, runs: f64, alpha: f64, sides: Sides) -> Result<f64> {
    check_alpha(alpha)?;
    if !effect.is_finite() {
        return Err(AnalysisError::NonfiniteValue { sample: "the effect".into(), count: 1 });
    }
    let df = design.degrees_of_freedom(runs);
    if df.is_nan() || df <= 0.0 || runs <= 1.0 {
        return Err(AnalysisError::TooFewRuns {
            sample: "an arm".into(),
            have: runs.max(0.0) as usize,
            need: 2,
        });
    }
    let delta = effect * design.noncentrality_per_effect(runs);
    Ok(match sides {
        Sides::One => noncentral_t_sf(student_t_quantile(1.0 - alpha, df), df, delta),
        Sides::Two => {
            let critical = student_t_quantile(1.0 - 0.5 * alpha, df);
            noncentral_t_sf(critical, df, delta) + noncentral_t_cdf(-critical, df, delta)
        }
    })
}

/// The smallest whole number of runs an arm (at least `runs_min`) with the wanted power; `None` beyond
/// [`RUNS_MAX`].
///
/// # Errors
/// `effect_is_zero`, `alpha_out_of_range`, `probability_out_of_range`, `nonfinite_value`.
///
/// # Examples
/// ```
/// use analysis::{Design, Sides, required_runs};
/// let n = required_runs(Design::BALANCED, 1.0, 0.05, 0.8, Sides::One, 3)?;
/// assert_eq!(n, Some(14));
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn required_runs(
    design: Design,
    effect: f64,
    alpha: f64,
    wanted: f64,
    sides: Sides,
    runs_min: usize,
) -> Result<Option<usize>> {
    check_wanted(effect, wanted)?;
    let enough = |runs: usize| {
        Ok::<_, AnalysisError>(power(design, effect.abs(), runs as f64, alpha, sides)? >= wanted)
    };
    let runs_min = runs_min.clamp(2, RUNS_MAX);
    if enough(runs_min)? {
        return Ok(Some(runs_min));
    }
    // The normal approximation is a few runs off: widen from there, then bisect.
    let sided = if sides == Sides::One { alpha } else { 0.5 * alpha };
    let z = normal_quantile(1.0 - sided) + normal_quantile(wanted);
    let guess = (z / (effect.abs() * design.noncentrality_per_effect(1.0))).powi(2);
    let mut low = runs_min;
    let mut high = (guess as usize).saturating_add(2).clamp(runs_min + 1, RUNS_MAX.max(runs_min + 1));
    while !enough(high)? {
        if high >= RUNS_MAX {
            return Ok(None);
        }
        low = high;
        high = (high + high / 8 + 2).min(RUNS_MAX);
    }
    let mut step = 3;
    while high - low > 2 * step {
        if enough(high - step)? {
            high -= step;
            step *= 2;
        } else {
            low = high - step;
            break;
        }
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if enough(middle)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(Some(high))
}

/// The number of runs, not necessarily whole, at which the power is exactly the wanted one; infinite beyond
/// 1e9. [`required_runs`] gives the whole number to plan with.
///
/// # Errors
/// As [`required_runs`].
pub fn exact_runs(design: Design, effect: f64, alpha: f64, wanted: f64, sides: Sides) -> Result<f64> {
    check_wanted(effect, wanted)?;
    let effect = effect.abs();
    // Below this the test has no degree of freedom.
    let low = match design {
        Design::TwoSample { ratio } => (2.0 / (1.0 + ratio)).max(1.0) + 1e-6,
        Design::Paired => 1.0 + 1e-6,
    };
    let mut high = 2.0 * low + 2.0;
    while power(design, effect, high, alpha, sides)? < wanted {
        high *= 2.0;
        if high > 1e9 {
            return Ok(f64::INFINITY);
        }
    }
    if power(design, effect, low, alpha, sides)? >= wanted {
        return Ok(low);
    }
    Ok(root(low, high, |runs| power(design, effect, runs, alpha, sides).unwrap_or(f64::NAN) - wanted))
}

/// The smallest effect, in standard deviations, that `runs` runs show with the wanted power.
///
/// # Errors
/// As [`power`], and `probability_out_of_range` for the wanted power.
pub fn detectable_effect(design: Design, runs: f64, alpha: f64, wanted: f64, sides: Sides) -> Result<f64> {
    check_wanted(1.0, wanted)?;
    let mut high = 1.0;
    while power(design, high, runs, alpha, sides)? < wanted {
        high *= 2.0;
        if high > 1e6 {
            return Ok(f64::INFINITY);
        }
    }
    // Power is monotone in the effect; an error cannot come up any more, its arguments were good above.
    Ok(root(0.0, high, |effect| power(design, effect, runs, alpha, sides).unwrap_or(f64::NAN) - wanted))
}

pub(crate) fn check_alpha(alpha: f64) -> Result<()> {
    if alpha > 0.0 && alpha < 0.5 {
        return Ok(());
    }
    Err(AnalysisError::AlphaOutOfRange { name: "alpha", value: alpha, expected: "above 0 and below 0.5" })
}

pub(crate) fn check_wanted(effect: f64, wanted: f64) -> Result<()> {
    if effect == 0.0 {
        return Err(AnalysisError::EffectIsZero);
    }
    if wanted > 0.0 && wanted < 1.0 {
        return Ok(());
    }
    Err(AnalysisError::ProbabilityOutOfRange { name: "power", value: wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_seeds_holds() {
        // Effect in standard deviations -> runs an arm at alpha 0.05 and 0.025, then pairs.
        let table = [
            (0.5, 51, 64, 27, 34),
            (0.75, 23, 29, 13, 16),
            (1.0, 14, 17, 8, 10),
            (1.5, 7, 9, 5, 6),
            (2.0, 4, 6, 4, 5),
            (3.0, 3, 4, 3, 4),
        ];
        for (effect, at5, at2, paired5, paired2) in table {
            let runs =
                |design, alpha| required_runs(design, effect, alpha, 0.8, Sides::One, 3).unwrap().unwrap();
            assert_eq!(runs(Design::BALANCED, 0.05), at5, "{effect}");
            assert_eq!(runs(Design::BALANCED, 0.025), at2, "{effect}");
            assert_eq!(runs(Design::Paired, 0.05), paired5, "{effect}");
            assert_eq!(runs(Design::Paired, 0.025), paired2, "{effect}");
        }
    }

    #[test]
    fn an_effect_out_of_reach_has_no_number() {
        assert_eq!(required_runs(Design::BALANCED, 0.01, 0.05, 0.8, Sides::One, 3).unwrap(), None);
        assert_eq!(
            required_runs(Design::BALANCED, 0.0, 0.05, 0.8, Sides::One, 3).unwrap_err().code(),
            "effect_is_zero"
        );
    }
}
