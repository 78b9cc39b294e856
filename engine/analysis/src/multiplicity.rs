//! P-values adjusted for looking at several hypotheses together.

use crate::error::{AnalysisError, Result};

/// Holm's step-down adjustment (1979): controls the chance of any false finding. In input order.
///
/// # Errors
/// `nonfinite_value` for a NaN, `probability_out_of_range`. An empty list gives an empty list.
///
/// # Examples
/// ```
/// let adjusted = analysis::holm(&[0.01, 0.04, 0.03])?;
/// assert_eq!(adjusted, [0.03, 0.06, 0.06]);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn holm(p: &[f64]) -> Result<Vec<f64>> {
    Correction::Holm.adjust(p)
}

/// Benjamini and Hochberg's step-up adjustment (1995): controls the expected share of false findings.
///
/// # Errors
/// As [`holm`].
pub fn benjamini_hochberg(p: &[f64]) -> Result<Vec<f64>> {
    Correction::BenjaminiHochberg.adjust(p)
}

/// A correction for looking at several hypotheses together.
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
pub enum Correction {
    /// None: each hypothesis by itself.
    None,
    /// m p (Dunn 1961).
    Bonferroni,
    /// 1 - (1 - p)^m, for independent hypotheses (Sidak 1967).
    Sidak,
    /// Step-down Bonferroni (Holm 1979): holds under any dependence; the default of gates.
    #[default]
    Holm,
    /// Step-down Sidak.
    HolmSidak,
    /// Step-up (Hochberg 1988): more powerful than Holm's, for hypotheses that are not negatively dependent.
    Hochberg,
    /// The closure of Simes' test (Hommel 1988), under the same condition.
    Hommel,
    /// False discovery rate (Benjamini & Hochberg 1995), for exploring.
    BenjaminiHochberg,
    /// False discovery rate under any dependence (Benjamini & Yekutieli 2001).
    BenjaminiYekutieli,
}

impl Correction {
    /// Every correction, the one that changes nothing first.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Bonferroni,
        Self::Sidak,
        Self::Holm,
        Self::HolmSidak,
        Self::Hochberg,
        Self::Hommel,
        Self::BenjaminiHochberg,
        Self::BenjaminiYekutieli,
    ];

    /// The adjusted p-values in input order: those at or below a level are its findings.
    ///
    /// # Errors
    /// As [`holm`].
    ///
    /// # Examples
    /// ```
    /// use analysis::Correction;
    /// let adjusted = Correction::Hochberg.adjust(&[0.02, 0.04])?;
    /// assert_eq!(adjusted, [0.04, 0.04]);
    /// # Ok::<(), analysis::AnalysisError>(())
    /// ```
    pub fn adjust(self, p: &[f64]) -> Result<Vec<f64>> {
        let order = ascending(p)?;
        let m = p.len() as f64;
        let sidak = |p: f64, of: f64| -f64::exp_m1(of * (-p).ln_1p());
        let each = |adjusted: &dyn Fn(f64) -> f64| p.iter().map(|p| adjusted(*p).min(1.0)).collect();
        Ok(match self {
            Self::None => p.to_vec(),
            Self::Bonferroni => each(&|p| m * p),
            Self::Sidak => each(&|p| sidak(p, m)),
            Self::Holm => step_down(p, &order, |p, left| left * p),
            Self::HolmSidak => step_down(p, &order, sidak),
            Self::Hochberg => step_up(p, &order, |p, rank| (m - rank + 1.0) * p),
            Self::Hommel => hommel_adjusted(p, &order),
            Self::BenjaminiHochberg => step_up(p, &order, |p, rank| m / rank * p),
            Self::BenjaminiYekutieli => {
                let harmonic: f64 = (1..=p.len()).map(|i| 1.0 / i as f64).sum();
                step_up(p, &order, |p, rank| harmonic * m / rank * p)
            }
        })
    }

    /// The name that users type and read.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bonferroni => "bonferroni",
            Self::Sidak => "sidak",
            Self::Holm => "holm",
            Self::HolmSidak => "holm_sidak",
            Self::Hochberg => "hochberg",
            Self::Hommel => "hommel",
            Self::BenjaminiHochberg => "benjamini_hochberg",
            Self::BenjaminiYekutieli => "benjamini_yekutieli",
        }
    }
}

/// The two-stage adjustment of Benjamini, Krieger & Yekutieli (2006) at level `alpha`: the first stage estimates how
/// many hypotheses are true.
///
/// # Errors
/// As [`holm`], and `alpha_out_of_range`.
pub fn two_stage_false_discovery(p: &[f64], alpha: f64) -> Result<Vec<f64>> {
    crate::power::check_alpha(alpha)?;
    let first = benjamini_hochberg(p)?;
    let found = first.iter().filter(|p| **p <= alpha / (1.0 + alpha)).count();
    // With nothing or everything found there is no share of true hypotheses to learn from.
    let left = if found == p.len() { p.len() } else { p.len() - found };
    let share = if p.is_empty() { 1.0 } else { left as f64 / p.len() as f64 };
    Ok(first.into_iter().map(|p| (p * share * (1.0 + alpha)).min(1.0)).collect())
}

/// From the smallest p-value on; `adjusted(p, left)` knows how many hypotheses are left.
fn step_down(p: &[f64], order: &[usize], adjusted: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let mut result = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max(adjusted(p[i], (p.len() - rank) as f64)).min(1.0);
        result[i] = largest;
    }
    result
}

/// From the largest p-value on; `adjusted(p, rank)` knows the rank, from 1 for the smallest.
fn step_up(p: &[f64], order: &[usize], adjusted: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let mut result = vec![0.0; p.len()];
    let mut smallest = 1.0f64;
    for (rank, &i) in order.iter().enumerate().rev() {
        smallest = smallest.min(adjusted(p[i], (rank + 1) as f64));
        result[i] = smallest;
    }
    result
}

/// For each size of a set of hypotheses the Simes bound of its largest members (Wright 1992).
fn hommel_adjusted(p: &[f64], order: &[usize]) -> Vec<f64> {
    let m = p.len();
    let sorted: Vec<f64> = order.iter().map(|&i| p[i]).collect();
    let simes = |size: usize, values: &[f64]| {
        let ranked = values.iter().zip(m - values.len()..).map(|(p, i)| (p, i + 1 + size - m));
        ranked.map(|(p, rank)| size as f64 * p / rank as f64).fold(f64::INFINITY, f64::min)
    };
    let mut adjusted = sorted.clone();
    for size in 2..=m {
        // The p-values ranked 2 and higher among the largest `size` of them.
        let bound = simes(size, &sorted[m - size + 1..]);
        for i in 0..m {
            let first = size as f64 * sorted[i.min(m - size)];
            adjusted[i] = adjusted[i].max(bound.min(first));
        }
    }
    let mut result = vec![0.0; m];
    order.iter().zip(adjusted).for_each(|(&i, p)| result[i] = p.min(1.0));
    result
}

fn ascending(p: &[f64]) -> Result<Vec<usize>> {
    let nan_count = p.iter().filter(|p| p.is_nan()).count();
    if nan_count > 0 {
        return Err(AnalysisError::NonfiniteValue {
            sample: "the list of p-values".into(),
            count: nan_count,
        });
    }
    if let Some(value) = p.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(AnalysisError::ProbabilityOutOfRange { name: "p", value: *value });
    }
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_hypothesis_is_left_alone_and_none_gives_none() {
        for correction in Correction::ALL {
            let alone = correction.adjust(&[0.03]).unwrap();
            assert!((alone[0] - 0.03).abs() < 1e-16, "{correction:?} {alone:?}");
            assert!(correction.adjust(&[]).unwrap().is_empty());
            assert_eq!(correction.adjust(&[f64::NAN]).unwrap_err().code(), "nonfinite_value");
            assert_eq!(correction.adjust(&[1.5]).unwrap_err().code(), "probability_out_of_range");
        }
    }

    #[test]
    fn stronger_procedures_never_adjust_more() {
        let p = [0.011, 0.2, 0.049, 0.0004, 0.013, 0.6];
        let adjusted = |correction: Correction| correction.adjust(&p).unwrap();
        let chain = [
            Correction::Bonferroni,
            Correction::Holm,
            Correction::Hochberg,
            Correction::Hommel,
            Correction::BenjaminiHochberg,
            Correction::None,
        ];
        for pair in chain.windows(2) {
            for (more, less) in adjusted(pair[0]).iter().zip(adjusted(pair[1])) {
                assert!(less <= more + 1e-15, "{:?} {:?}", pair[0], pair[1]);
            }
        }
    }
}
