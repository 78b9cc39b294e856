//! What several experiments say together: pooled effects, and how often a direction worked.

use serde::Serialize;

use crate::describe::check_level;
use crate::distributions::{chi_squared_sf, regularized_beta, root, student_t_quantile};
use crate::error::{AnalysisError, Result};
use crate::p_value::PValue;
use crate::rates::{jeffreys, rate_lower_limit, rate_upper_limit, wilson};

/// Effects of several experiments, pooled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PooledEffect {
    /// Experiments.
    pub count: usize,
    /// Mean weighted by the inverse variances, as if all experiments had one true effect.
    pub fixed_mean: f64,
    /// Its standard error.
    pub fixed_error: f64,
    /// Cochran's Q: the spread of the effects in units of their errors.
    pub q: f64,
    /// P(Q at least as large) when all true effects are one.
    pub p_q: PValue,
    /// Share of the spread that is not noise (Higgins & Thompson 2002).
    pub i_squared: f64,
    /// Variance between true effects by DerSimonian & Laird (1986), not below 0.
    pub tau_squared: f64,
    /// Mean when every experiment has its own true effect.
    pub random_mean: f64,
    /// Its standard error.
    pub random_error: f64,
    /// Hartung and Knapp's standard error (2001), which holds with few experiments.
    pub hartung_knapp_error: f64,
    /// Their t interval of the mean at `level`: the one to report.
    pub interval: [f64; 2],
    /// Where the true effect of a next experiment lies at `level` (Higgins et al. 2009); from three experiments.
    pub prediction: Option<[f64; 2]>,
    /// Confidence level of both intervals.
    pub level: f64,
    /// Variance between true effects by Paule & Mandel (1982), not below 0.
    pub tau_squared_paule_mandel: f64,
    /// Mean with that variance.
    pub random_mean_paule_mandel: f64,
}

/// Pools effects with their squared standard errors by a random-effects model.
///
/// # Errors
/// `pairing_mismatch`, `nonfinite_value`, `too_few_runs` (one experiment), `invalid_argument` (a variance that is not
/// above 0), `probability_out_of_range`.
///
/// # Examples
/// ```
/// let pooled = analysis::pool_effects(&[0.02, 0.03, 0.05], &[1e-4, 2e-4, 1e-4], 0.95)?;
/// assert!(pooled.random_mean > 0.02 && pooled.random_mean < 0.05);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn pool_effects(effects: &[f64], variances: &[f64], level: f64) -> Result<PooledEffect> {
    check_level(level)?;
    if effects.len() != variances.len() {
        let detail = format!("{} effects, {} variances", effects.len(), variances.len());
        return Err(AnalysisError::PairingMismatch { detail });
    }
    let count = effects.iter().chain(variances).filter(|v| !v.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the experiments".into(), count });
    }
    if effects.len() < 2 {
        let sample = "the experiments".into();
        return Err(AnalysisError::TooFewRuns { sample, have: effects.len(), need: 2 });
    }
    if let Some(variance) = variances.iter().find(|variance| **variance <= 0.0) {
        let expected = "above 0: an effect without error cannot be pooled";
        return Err(AnalysisError::InvalidArgument {
            name: "variance",
            value: variance.to_string(),
            expected,
        });
    }
    let mut experiments: Vec<(f64, f64)> = effects.iter().copied().zip(variances.iter().copied()).collect();
    // In a fixed order, so that the order of the experiments does not show in the last digit.
    experiments.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let df = (experiments.len() - 1) as f64;
    let fixed = Weighted::of(&experiments, 0.0);
    let scale = fixed.weight - fixed.squared_weights / fixed.weight;
    let tau_squared = ((fixed.spread - df) / scale).max(0.0);
    let random = Weighted::of(&experiments, tau_squared);
    let error = 1.0 / random.weight.sqrt();
    let hartung_knapp_error = (random.spread / (df * random.weight)).sqrt();
    let around = |reach: f64| [random.mean - reach, random.mean + reach];
    let quantile = |df: f64| student_t_quantile(0.5 * (1.0 + level), df);
    let paule_mandel = paule_mandel(&experiments, df);
    Ok(PooledEffect {
        count: experiments.len(),
        fixed_mean: fixed.mean,
        fixed_error: 1.0 / fixed.weight.sqrt(),
        q: fixed.spread,
        p_q: PValue::new(chi_squared_sf(fixed.spread, df)),
        i_squared: if fixed.spread > 0.0 { ((fixed.spread - df) / fixed.spread).max(0.0) } else { 0.0 },
        tau_squared,
        random_mean: random.mean,
        random_error: error,
        hartung_knapp_error,
        interval: around(quantile(df) * hartung_knapp_error),
        prediction: (df >= 2.0).then(|| around(quantile(df - 1.0) * (tau_squared + error * error).sqrt())),
        level,
        tau_squared_paule_mandel: paule_mandel,
        random_mean_paule_mandel: Weighted::of(&experiments, paule_mandel).mean,
    })
}

/// The variance between effects at which their weighted spread is what chance alone would leave.
fn paule_mandel(experiments: &[(f64, f64)], df: f64) -> f64 {
    let excess = |tau_squared: f64| Weighted::of(experiments, tau_squared).spread - df;
    if excess(0.0) <= 0.0 {
        return 0.0;
    }
    let mut high = experiments.iter().map(|(_, variance)| *variance).fold(f64::MIN_POSITIVE, f64::max);
    while excess(high) > 0.0 {
        high *= 2.0;
    }
    root(0.0, high, excess)
}

/// Sums with the weights 1 / (variance + tau^2).
struct Weighted {
    weight: f64,
    squared_weights: f64,
    mean: f64,
    /// Weighted squares about the mean.
    spread: f64,
}

impl Weighted {
    fn of(experiments: &[(f64, f64)], tau_squared: f64) -> Self {
        let weights = || experiments.iter().map(|(_, variance)| 1.0 / (variance + tau_squared));
        let weight: f64 = weights().sum();
        let squared_weights = weights().map(|w| w * w).sum();
        let mean = weights().zip(experiments).map(|(w, (effect, _))| w * effect).sum::<f64>() / weight;
        let spread = weights().zip(experiments).map(|(w, (effect, _))| w * (effect - mean).powi(2)).sum();
        Self { weight, squared_weights, mean, spread }
    }
}

/// Whether a direction works, by the share of its experiments that passed their gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectionVerdict {
    /// More than half of its experiments would pass.
    Productive,
    /// Fewer than half would.
    Unproductive,
    /// Not decided yet.
    NotEnoughEvidence,
}

impl DirectionVerdict {
    /// The name that users read, in JSON too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Productive => "productive",
            Self::Unproductive => "unproductive",
            Self::NotEnoughEvidence => "not_enough_evidence",
        }
    }
}

/// How often a direction worked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HitRate {
    /// Share of the experiments that passed.
    pub rate: f64,
    /// Exact one-sided 95 % lower limit of the true share (Clopper & Pearson 1934).
    pub lower95: f64,
    /// Exact one-sided 95 % upper limit.
    pub upper95: f64,
    /// Wilson's 95 % interval, for display.
    pub wilson95: [f64; 2],
    /// The 95 % interval after Jeffreys' prior.
    pub jeffreys95: [f64; 2],
    /// P(true share above one half) after a uniform prior.
    pub p_above_half: f64,
    /// The verdict by the exact limits.
    pub verdict: DirectionVerdict,
}

/// Judges a direction of research by its experiments. A hit is a gate that passed, never a mean that went up.
///
/// # Errors
/// `empty_sample` (no experiment), `invalid_argument` (more hits than experiments).
///
/// # Examples
/// ```
/// use analysis::{DirectionVerdict, hit_rate};
/// assert_eq!(hit_rate(5, 5)?.verdict, DirectionVerdict::Productive);
/// assert_eq!(hit_rate(4, 4)?.verdict, DirectionVerdict::NotEnoughEvidence);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn hit_rate(hits: u64, experiments: u64) -> Result<HitRate> {
    let lower95 = rate_lower_limit(hits, experiments, 0.95)?;
    let upper95 = rate_upper_limit(hits, experiments, 0.95)?;
    let misses = experiments - hits;
    Ok(HitRate {
        rate: hits as f64 / experiments as f64,
        lower95,
        upper95,
        wilson95: wilson(hits, experiments, 0.95)?,
        jeffreys95: jeffreys(hits, experiments, 0.95)?,
        // P(B > 1/2) of Beta(hits + 1, misses + 1) is P(B < 1/2) of its mirror.
        p_above_half: regularized_beta(misses as f64 + 1.0, hits as f64 + 1.0, 0.5),
        verdict: if lower95 > 0.5 {
            DirectionVerdict::Productive
        } else if upper95 < 0.5 {
            DirectionVerdict::Unproductive
        } else {
            DirectionVerdict::NotEnoughEvidence
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_effects_leave_nothing_between_them() {
        let pooled = pool_effects(&[0.1; 4], &[0.01, 0.02, 0.01, 0.04], 0.95).unwrap();
        assert_eq!((pooled.tau_squared, pooled.tau_squared_paule_mandel, pooled.i_squared), (0.0, 0.0, 0.0));
        assert!((pooled.random_mean - 0.1).abs() < 1e-15 && pooled.q < 1e-20);
    }

    #[test]
    fn senseless_experiments_are_refused() {
        assert_eq!(pool_effects(&[0.1], &[0.1], 0.95).unwrap_err().code(), "too_few_runs");
        assert_eq!(pool_effects(&[0.1, 0.2], &[0.1, 0.0], 0.95).unwrap_err().code(), "invalid_argument");
        assert_eq!(pool_effects(&[0.1, 0.2], &[0.1], 0.95).unwrap_err().code(), "pairing_mismatch");
        assert_eq!(hit_rate(0, 0).unwrap_err().code(), "empty_sample");
        assert_eq!(hit_rate(2, 1).unwrap_err().code(), "invalid_argument");
    }
}
