//! The Brunner-Munzel test: is P(a > b) one half, also where the spreads differ?

use serde::Serialize;

use crate::describe::{check_level, finite_sample};
use crate::distributions::{normal_cdf, normal_sf, student_t_cdf, student_t_quantile, student_t_sf};
use crate::effect_size::Superiority;
use crate::error::Result;
use crate::p_value::PValue;
use crate::permutation::{PermutationStatistic, PermutationTest, Resampling, permutation_test};
use crate::ranks::midranks;
use crate::t_test::Alternative;

/// The result of a Brunner-Munzel test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BrunnerMunzel {
    /// P(a > b) + P(a = b) / 2 over all pairs.
    pub probability: f64,
    /// Its standard error; 0 when the samples do not overlap.
    pub standard_error: f64,
    /// Degrees of freedom; `None` when the samples do not overlap.
    pub degrees_of_freedom: Option<f64>,
    /// The t interval of the probability at `level`, which may pass 0 or 1; `None` when the samples do not overlap.
    pub interval: Option<[f64; 2]>,
    /// Confidence level of the interval.
    pub level: f64,
    /// The permutation test of the ranks, only when the samples do not overlap and nothing else can be said.
    pub permutation: Option<PermutationTest>,
}

impl BrunnerMunzel {
    /// (P(a > b) - 1/2) / standard error: positive when a is larger. `None` when the samples do not overlap.
    pub fn statistic(&self) -> Option<f64> {
        self.degrees_of_freedom.map(|_| (self.probability - 0.5) / self.standard_error)
    }

    /// The p-value by the t distribution; by permutation when the samples do not overlap.
    pub fn p_value(&self, alternative: Alternative) -> PValue {
        match (self.statistic(), self.degrees_of_freedom, &self.permutation) {
            (Some(w), Some(df), _) => PValue::new(match alternative {
                Alternative::Greater => student_t_sf(w, df),
                Alternative::Less => student_t_cdf(w, df),
                Alternative::TwoSided => (2.0 * student_t_sf(w.abs(), df)).min(1.0),
            }),
            (_, _, Some(test)) => match alternative {
                Alternative::Greater => test.p_greater,
                Alternative::Less => test.p_less,
                Alternative::TwoSided => test.p_two_sided,
            },
            _ => PValue::new(1.0),
        }
    }

    /// The p-value by the normal distribution, for large samples; `None` when they do not overlap.
    pub fn p_normal(&self, alternative: Alternative) -> Option<PValue> {
        self.statistic().map(|w| {
            PValue::new(match alternative {
                Alternative::Greater => normal_sf(w),
                Alternative::Less => normal_cdf(w),
                Alternative::TwoSided => (2.0 * normal_sf(w.abs())).min(1.0),
            })
        })
    }
}

/// The Brunner-Munzel test of two independent samples (2000): Welch's t on the placements of each value in the other
/// sample. From five values a sample its error rate holds.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `too_few_runs` (fewer than two values in a sample), `probability_out_of_range`.
///
/// # Examples
/// ```
/// use analysis::{Alternative, brunner_munzel};
/// let test = brunner_munzel(&[3.0, 4.0, 6.0, 7.0], &[1.0, 2.0, 5.0, 2.5], 0.95)?;
/// assert_eq!(test.probability, 0.875);
/// assert!(test.p_value(Alternative::Greater).value() < 0.05);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn brunner_munzel(a: &[f64], b: &[f64], level: f64) -> Result<BrunnerMunzel> {
    check_level(level)?;
    let (a, b) = (finite_sample("sample a", a, 2)?, finite_sample("sample b", b, 2)?);
    let found = Superiority::of(&a, &b);
    let standard_error = (found.error_a + found.error_b).sqrt();
    if standard_error == 0.0 {
        let pooled: Vec<f64> = a.iter().chain(&b).copied().collect();
        let ranks = midranks(&pooled);
        let (ranks_a, ranks_b) = ranks.split_at(a.len());
        let statistic = PermutationStatistic::MeanDifference;
        let permutation = permutation_test(ranks_a, ranks_b, statistic, Resampling::default())?;
        return Ok(BrunnerMunzel {
            probability: found.a12,
            standard_error,
            degrees_of_freedom: None,
            interval: None,
            level,
            permutation: Some(permutation),
        });
    }
    let df = found.welch_df();
    let reach = student_t_quantile(0.5 * (1.0 + level), df) * standard_error;
    Ok(BrunnerMunzel {
        probability: found.a12,
        standard_error,
        degrees_of_freedom: Some(df),
        interval: Some([found.a12 - reach, found.a12 + reach]),
        level,
        permutation: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapping_the_samples_swaps_the_sides() {
        let (a, b) = ([0.3, 1.2, 0.7, 2.0], [0.1, 0.9, 0.4]);
        let forth = brunner_munzel(&a, &b, 0.95).unwrap();
        let back = brunner_munzel(&b, &a, 0.95).unwrap();
        let (greater, less) = (forth.p_value(Alternative::Greater), back.p_value(Alternative::Less));
        assert!((greater.value() - less.value()).abs() < 1e-14);
        assert!((forth.probability + back.probability - 1.0).abs() < 1e-15);
    }

    #[test]
    fn equal_values_prove_nothing() {
        let test = brunner_munzel(&[1.0; 3], &[1.0; 3], 0.95).unwrap();
        assert_eq!((test.probability, test.interval), (0.5, None));
        assert_eq!(test.p_value(Alternative::TwoSided).value(), 1.0);
    }
}
