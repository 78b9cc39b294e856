//! The t tests: Welch, Student, paired and one-sample.
//!
//! All are stated for mean(a) - mean(b), or for the mean of one sample minus a reference.

use crate::describe::{check_level, finite_sample};
use crate::distributions::{student_t_cdf, student_t_quantile, student_t_sf};
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;

/// Which alternative a p-value or an interval speaks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alternative {
    /// The difference is not zero.
    TwoSided,
    /// The difference is above zero.
    Greater,
    /// The difference is below zero.
    Less,
}

/// An estimated difference, its standard error and degrees of freedom.
///
/// Everything a t test says follows from these three numbers.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct TTest {
    /// The estimated difference, in the units of the values.
    pub difference: f64,
    /// Its standard error, above 0.
    pub standard_error: f64,
    /// Degrees of freedom.
    pub degrees_of_freedom: f64,
    /// One of two samples is constant, so that its error comes from the other alone.
    pub one_sample_constant: bool,
}

impl TTest {
    /// The t statistic for a true difference of zero.
    pub fn statistic(&self) -> f64 {
        self.statistic_against(0.0)
    }

    /// The t statistic for a true difference of `reference`.
    pub fn statistic_against(&self, reference: f64) -> f64 {
        (self.difference - reference) / self.standard_error
    }

    /// The p-value of equivalence: that the true difference lies outside `low` to `high`.
    ///
    /// The larger of two one-sided p-values (Schuirmann 1987). A large p-value of a difference never shows
    /// equivalence; a small one of this test does.
    pub fn p_equivalence(&self, low: f64, high: f64) -> f64 {
        self.p_value_against(low, Alternative::Greater).max(self.p_value_against(high, Alternative::Less))
    }

    /// The p-value against a true difference of zero.
    pub fn p_value(&self, alternative: Alternative) -> f64 {
        self.p_value_against(0.0, alternative)
    }

    /// The p-value against a true difference of `reference`.
    pub fn p_value_against(&self, reference: f64, alternative: Alternative) -> f64 {
        let t = self.statistic_against(reference);
        match alternative {
            Alternative::Greater => student_t_sf(t, self.degrees_of_freedom),
            Alternative::Less => student_t_cdf(t, self.degrees_of_freedom),
            Alternative::TwoSided => (2.0 * student_t_sf(t.abs(), self.degrees_of_freedom)).min(1.0),
        }
    }

    /// The confidence interval of the difference; one end is infinite for a one-sided alternative.
    ///
    /// # Errors
    /// `probability_out_of_range` unless 0 < level < 1.
    pub fn interval(&self, level: f64, alternative: Alternative) -> Result<[f64; 2]> {
        check_level(level)?;
        let reach = |p: f64| student_t_quantile(p, self.degrees_of_freedom) * self.standard_error;
        Ok(match alternative {
            Alternative::TwoSided => {
                let half_width = reach(0.5 * (1.0 + level));
                [self.difference - half_width, self.difference + half_width]
            }
            Alternative::Greater => [self.difference - reach(level), f64::INFINITY],
            Alternative::Less => [f64::NEG_INFINITY, self.difference + reach(level)],
        })
    }
}

/// Welch's t test for two samples whose variances may differ (Welch 1947).
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `too_few_runs` (fewer than two values in a sample), `zero_variance`
/// (both samples constant).
///
/// # Examples
/// ```
/// use analysis::{Alternative, welch};
/// let test = welch(&[0.827, 0.824, 0.829], &[0.823, 0.825, 0.830])?;
/// assert!(test.p_value(Alternative::Greater) > 0.4);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn welch(a: &[f64], b: &[f64]) -> Result<TTest> {
    let a = Moments::of(&finite_sample("sample a", a, 2)?);
    let b = Moments::of(&finite_sample("sample b", b, 2)?);
    welch_of_moments(&a, &b)
}

pub(crate) fn welch_of_moments(a: &Moments, b: &Moments) -> Result<TTest> {
    let (a, b) = Moments::at_common_scale(a, b);
    let difference = a.unscale(a.scaled_difference(&b));
    let (na, nb) = (a.count() as f64, b.count() as f64);
    let error_a = a.scaled_squares() / (na - 1.0) / na;
    let error_b = b.scaled_squares() / (nb - 1.0) / nb;
    let error = error_a + error_b;
    if error == 0.0 {
        return Err(AnalysisError::ZeroVariance { difference });
    }
    // Shares of the squared error, so that no fourth power can overflow.
    let (share_a, share_b) = (error_a / error, error_b / error);
    Ok(TTest {
        difference,
        standard_error: a.unscale(error.sqrt()),
        degrees_of_freedom: 1.0 / (share_a * share_a / (na - 1.0) + share_b * share_b / (nb - 1.0)),
        one_sample_constant: error_a == 0.0 || error_b == 0.0,
    })
}

/// Student's t test for two samples with one common variance (Student 1908).
///
/// One sample may hold a single value: then this asks whether that value could come from the other's
/// distribution. It is wrong when the variances differ; [`welch`] is the default.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `too_few_runs` (fewer than three values in all), `zero_variance`.
pub fn student(a: &[f64], b: &[f64]) -> Result<TTest> {
    let (a, b) = (finite_sample("sample a", a, 1)?, finite_sample("sample b", b, 1)?);
    let have = a.len() + b.len();
    if have < 3 {
        return Err(AnalysisError::TooFewRuns { sample: "both samples together".into(), have, need: 3 });
    }
    student_of_moments(&Moments::of(&a), &Moments::of(&b))
}

pub(crate) fn student_of_moments(a: &Moments, b: &Moments) -> Result<TTest> {
    let (a, b) = Moments::at_common_scale(a, b);
    let difference = a.unscale(a.scaled_difference(&b));
    let (na, nb) = (a.count() as f64, b.count() as f64);
    let squares = a.scaled_squares() + b.scaled_squares();
    if squares == 0.0 {
        return Err(AnalysisError::ZeroVariance { difference });
    }
    let degrees_of_freedom = na + nb - 2.0;
    let error = squares / degrees_of_freedom * (1.0 / na + 1.0 / nb);
    Ok(TTest {
        difference,
        standard_error: a.unscale(error.sqrt()),
        degrees_of_freedom,
        one_sample_constant: a.is_constant() || b.is_constant(),
    })
}

/// The paired t test: [`one_sample`] on the differences of `a` and `b`, element by element.
///
/// # Errors
/// `pairing_mismatch` (different lengths), and those of [`one_sample`].
pub fn paired(a: &[f64], b: &[f64]) -> Result<TTest> {
    if a.len() != b.len() {
        return Err(AnalysisError::PairingMismatch {
            detail: format!("{} values against {}", a.len(), b.len()),
        });
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    one_sample(&differences, 0.0)
}

/// The t test of mean(values) - reference.
///
/// # Errors
/// `empty_sample`, `nonfinite_value`, `too_few_runs` (one value), `zero_variance`.
pub fn one_sample(values: &[f64], reference: f64) -> Result<TTest> {
    let moments = Moments::of(&finite_sample("the sample", values, 2)?);
    let n = moments.count() as f64;
    let difference = moments.unscale(moments.scaled_distance_from(reference));
    if moments.is_constant() {
        return Err(AnalysisError::ZeroVariance { difference });
    }
    Ok(TTest {
        difference,
        standard_error: moments.unscale((moments.scaled_squares() / (n - 1.0) / n).sqrt()),
        degrees_of_freedom: n - 1.0,
        one_sample_constant: false,
    })
}

/// Yuen's test (1974): Welch's on means after a share of `trim`, rounded down, was cut off each end, with winsorized
/// variances. For heavy tails from ten values a sample; it speaks about trimmed means and must say so.
///
/// # Errors
/// As [`welch`]; `probability_out_of_range` unless 0 <= trim < 1/2; `too_few_runs` when fewer than two values are left.
///
/// # Examples
/// ```
/// let (a, b) = ([5.0, 5.2, 5.1, 4.9, 5.3, 80.0], [4.0, 4.2, 4.1, 3.9, 4.3, 4.2]);
/// let test = analysis::yuen(&a, &b, 0.2)?;
/// assert!(test.p_value(analysis::Alternative::Greater) < 0.001);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn yuen(a: &[f64], b: &[f64], trim: f64) -> Result<TTest> {
    let part = |name: &str, values: &[f64]| {
        let center = crate::describe::trimmed_mean(&finite_sample(name, values, 2)?, trim)?;
        let cut = (trim * values.len() as f64).floor() as usize;
        let left = values.len() - 2 * cut;
        if left < 2 {
            return Err(AnalysisError::TooFewRuns { sample: name.into(), have: left, need: 2 });
        }
        let squares = Moments::of(&crate::shape::winsorized(values, trim)?).variance().unwrap_or(0.0)
            * (values.len() - 1) as f64;
        let left = left as f64;
        Ok((center, squares / (left * (left - 1.0)), left - 1.0))
    };
    let (center_a, error_a, df_a) = part("sample a", a)?;
    let (center_b, error_b, df_b) = part("sample b", b)?;
    let (difference, error) = (center_a - center_b, error_a + error_b);
    if error == 0.0 {
        return Err(AnalysisError::ZeroVariance { difference });
    }
    let (share_a, share_b) = (error_a / error, error_b / error);
    Ok(TTest {
        difference,
        standard_error: error.sqrt(),
        degrees_of_freedom: 1.0 / (share_a * share_a / df_a + share_b * share_b / df_b),
        one_sample_constant: error_a == 0.0 || error_b == 0.0,
    })
}
