//! Baselines over time: whether a stored one still holds, and what a chain of them gained in all.

use serde::Serialize;

use crate::describe::{check_level, finite_sample};
use crate::error::{AnalysisError, Result};
use crate::gate::Direction;
use crate::moments::Moments;
use crate::p_value::PValue;
use crate::t_test::{Alternative, TTest, welch};

/// A stored baseline against the same recipe run again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BaselineDrift {
    /// Mean of the new runs less that of the stored ones.
    pub difference: f64,
    /// The two-sided interval of the difference at level 1 - 2 alpha.
    pub interval: [f64; 2],
    /// The p-value of equivalence (TOST).
    pub p: PValue,
    /// Shown to differ by less than the margin. If not, the baseline counts as drifted (`baseline_drift`): a shift of half
    /// a standard deviation between batches raises false passes to 12 % at five runs and 25 % at twenty.
    pub equivalent: bool,
}

/// Whether new runs of a baseline's recipe show that its stored runs may still be compared with.
///
/// # Errors
/// As [`crate::welch`]; `margin_required` unless the margin is above 0, `alpha_out_of_range`.
///
/// # Examples
/// ```
/// let (stored, again) = ([0.80, 0.81, 0.82, 0.81], [0.81, 0.80, 0.82, 0.815]);
/// assert!(analysis::baseline_drift(&stored, &again, 0.02, 0.05)?.equivalent);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn baseline_drift(stored: &[f64], again: &[f64], margin: f64, alpha: f64) -> Result<BaselineDrift> {
    crate::power::check_alpha(alpha)?;
    if !(margin > 0.0 && margin.is_finite()) {
        return Err(AnalysisError::MarginRequired { mode: "equivalent" });
    }
    let test = welch(again, stored)?;
    let interval = test.interval(1.0 - 2.0 * alpha, Alternative::TwoSided)?;
    Ok(BaselineDrift {
        difference: test.difference,
        interval,
        p: PValue::new(test.p_equivalence(-margin, margin)),
        equivalent: interval[0] > -margin && interval[1] < margin,
    })
}

/// One version of a baseline in the chain of its successors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChainStep {
    /// Name of the version.
    pub name: String,
    /// Runs with a finite value.
    pub count: usize,
    /// Improvement over the version before, larger is better; `None` for the first.
    pub step: Option<f64>,
    /// Improvement over the first version.
    pub total: f64,
    /// The two-sided interval of `total`; `None` for the first version, and where both have no spread.
    pub interval: Option<[f64; 2]>,
}

/// The improvement over a chain of baselines, each version against the first.
///
/// The steps add up to the total, but their errors do not: neighbouring steps share the runs of the version between
/// them. The interval is therefore Welch's of the first version against each. Every version but the last was kept
/// because it looked better, so that totals of versions that were never run again are somewhat too large.
///
/// # Errors
/// `too_few_runs` (fewer than two versions, or fewer than two runs in one), `empty_sample`, `nonfinite_value`,
/// `probability_out_of_range`.
///
/// # Examples
/// ```
/// use analysis::{Direction, cumulative_improvement};
/// let versions: [(&str, &[f64]); 3] =
///     [("v1", &[0.80, 0.81, 0.79]), ("v2", &[0.82, 0.83, 0.82]), ("v3", &[0.85, 0.84, 0.86])];
/// let chain = cumulative_improvement(&versions, Direction::Up, 0.95)?;
/// assert!((chain[2].total - 0.05).abs() < 1e-12 && chain[2].interval.unwrap()[0] > 0.0);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn cumulative_improvement(
    versions: &[(&str, &[f64])],
    direction: Direction,
    level: f64,
) -> Result<Vec<ChainStep>> {
    check_level(level)?;
    if versions.len() < 2 {
        let sample = "the chain of baselines".into();
        return Err(AnalysisError::TooFewRuns { sample, have: versions.len(), need: 2 });
    }
    let sign = direction.sign();
    let signed = |(name, values): &(&str, &[f64])| -> Result<Vec<f64>> {
        let sorted = finite_sample(&format!("baseline {name}"), values, 2)?;
        Ok(sorted.into_iter().map(|value| sign * value).collect())
    };
    let arms: Vec<Vec<f64>> = versions.iter().map(signed).collect::<Result<_>>()?;
    let compared = |after: &[f64], before: &[f64]| -> Result<(f64, Option<TTest>)> {
        match welch(after, before) {
            Ok(test) => Ok((test.difference, Some(test))),
            Err(AnalysisError::ZeroVariance { difference }) => Ok((difference, None)),
            Err(error) => Err(error),
        }
    };
    let mut chain = Vec::with_capacity(versions.len());
    for (i, (name, _)) in versions.iter().enumerate() {
        let (step, total, interval) = if i == 0 {
            (None, 0.0, None)
        } else {
            let (total, test) = compared(&arms[i], &arms[0])?;
            let interval = test.map(|test| test.interval(level, Alternative::TwoSided)).transpose()?;
            (Some(compared(&arms[i], &arms[i - 1])?.0), total, interval)
        };
        chain.push(ChainStep { name: (*name).to_owned(), count: arms[i].len(), step, total, interval });
    }
    Ok(chain)
}

/// A step of a chain of baselines as it was measured when it was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredStep<'a> {
    /// Name of the version that the step led to.
    pub name: &'a str,
    /// Runs of the version before, as they were compared with.
    pub before: &'a [f64],
    /// Runs of the new version.
    pub after: &'a [f64],
}

/// The improvement over a chain of steps, each measured against the runs of its own time.
///
/// [`cumulative_improvement`] compares the first version with each later one, which is the comparison to make where one
/// set of runs stands for each version. Here a version that was run again has two: what drifted between them (data,
/// libraries, machines) is in neither step, so that the total is that of the changes alone. The price is error. The total is
/// a sum of means with weights 1 and -1; a set of runs that ends one step and begins the next has the weight 0 and adds
/// no error, and each of the others adds its variance (degrees of freedom after Satterthwaite). With the same runs
/// throughout, the chain telescopes to Welch's comparison of its ends.
///
/// # Errors
/// `empty_sample` (no step, or an arm without runs), `too_few_runs` (fewer than two runs in an arm), `nonfinite_value`,
/// `probability_out_of_range`.
///
/// # Examples
/// ```
/// use analysis::{Direction, MeasuredStep, chained_improvement};
/// let steps = [
///     MeasuredStep { name: "v2", before: &[0.80, 0.81, 0.79], after: &[0.82, 0.83, 0.82] },
///     // v2 was run again, on new machines that cost it a point.
///     MeasuredStep { name: "v3", before: &[0.81, 0.82, 0.81], after: &[0.84, 0.83, 0.85] },
/// ];
/// let chain = chained_improvement(&steps, Direction::Up, 0.95)?;
/// assert!((chain[1].total - 0.05).abs() < 1e-12);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn chained_improvement(
    steps: &[MeasuredStep<'_>],
    direction: Direction,
    level: f64,
) -> Result<Vec<ChainStep>> {
    check_level(level)?;
    if steps.is_empty() {
        return Err(AnalysisError::EmptySample { sample: "the chain of baselines".into() });
    }
    let sign = direction.sign();
    // Distinct sets of runs and their weights in the total.
    let mut sets: Vec<(Vec<f64>, f64)> = Vec::new();
    let (mut chain, mut total) = (Vec::with_capacity(steps.len()), 0.0);
    for step in steps {
        let sample = |when: &str| format!("baseline {} ({when})", step.name);
        let before = finite_sample(&sample("before"), step.before, 2)?;
        let after = finite_sample(&sample("after"), step.after, 2)?;
        let means = Moments::of(&after).mean().zip(Moments::of(&before).mean());
        let difference = means.map_or(0.0, |(after, before)| sign * (after - before));
        total += difference;
        for (set, weight) in [(before, -1.0), (after.clone(), 1.0)] {
            match sets.iter_mut().find(|(known, _)| *known == set) {
                Some((_, sum)) => *sum += weight,
                None => sets.push((set, weight)),
            }
        }
        chain.push(ChainStep {
            name: step.name.to_owned(),
            count: after.len(),
            step: Some(difference),
            total,
            interval: weighted_test(total, &sets)
                .map(|test| test.interval(level, Alternative::TwoSided))
                .transpose()?,
        });
    }
    Ok(chain)
}

/// The test of a weighted sum of means; `None` when nothing varies.
fn weighted_test(difference: f64, sets: &[(Vec<f64>, f64)]) -> Option<TTest> {
    let (mut error, mut satterthwaite) = (0.0, 0.0);
    for (set, weight) in sets {
        let moments = Moments::of(set);
        let part = weight * weight * moments.variance()? / moments.count() as f64;
        error += part;
        satterthwaite += part * part / (moments.count() - 1) as f64;
    }
    (error > 0.0).then(|| TTest {
        difference,
        standard_error: error.sqrt(),
        degrees_of_freedom: error * error / satterthwaite,
        one_sample_constant: false,
    })
}

/// The variance between batches of runs of one recipe, such as days or machines (analysis of variance), not below 0.
/// A comparison of `kb` with `kc` batches has this much more error: its square grows by the variance times
/// 1/kb + 1/kc.
///
/// # Errors
/// `too_few_runs` (fewer than three batches, or no batch with two runs), `empty_sample`, `nonfinite_value`.
pub fn batch_variance(batches: &[&[f64]]) -> Result<f64> {
    Ok(batch_component(batches)?.variance)
}

/// Batches without which the variance between them is not known.
pub(crate) const BATCHES_MIN: usize = 3;

/// A variance between batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BatchComponent {
    pub(crate) variance: f64,
    /// Its share of Satterthwaite's denominator: the squares of the mean squares that it is made of, by their degrees of
    /// freedom (Satterthwaite 1946).
    pub(crate) uncertainty: f64,
}

pub(crate) fn batch_component(batches: &[&[f64]]) -> Result<BatchComponent> {
    if batches.len() < BATCHES_MIN {
        let sample = "the batches".into();
        return Err(AnalysisError::TooFewRuns { sample, have: batches.len(), need: BATCHES_MIN });
    }
    let moments: Vec<Moments> = batches
        .iter()
        .map(|batch| Ok(Moments::of(&finite_sample("a batch", batch, 1)?)))
        .collect::<Result<_>>()?;
    let all: usize = moments.iter().map(Moments::count).sum();
    if all == batches.len() {
        let sample = "the largest batch".into();
        return Err(AnalysisError::TooFewRuns { sample, have: 1, need: 2 });
    }
    let (n, k) = (all as f64, batches.len() as f64);
    let whole = moments.iter().skip(1).fold(moments[0], |sum, batch| sum.merge(batch));
    let center = whole.mean().unwrap_or(0.0);
    let (mut between, mut within, mut squares) = (0.0, 0.0, 0.0);
    for batch in &moments {
        let count = batch.count() as f64;
        between += count * (batch.mean().unwrap_or(center) - center).powi(2);
        within += batch.variance().unwrap_or(0.0) * (count - 1.0);
        squares += count * count;
    }
    let typical = (n - squares / n) / (k - 1.0);
    let (between, within) = (between / (k - 1.0), within / (n - k));
    Ok(BatchComponent {
        variance: ((between - within) / typical).max(0.0),
        uncertainty: (between * between / (k - 1.0) + within * within / (n - k)) / (typical * typical),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_baseline_has_drifted() {
        let (stored, again) = ([1.0, 1.1, 0.9, 1.05], [1.5, 1.6, 1.4, 1.55]);
        let drift = baseline_drift(&stored, &again, 0.2, 0.05).unwrap();
        assert!(!drift.equivalent && (drift.difference - 0.5).abs() < 1e-12 && drift.p.value() > 0.9);
        // Few and noisy runs show nothing, and that is no equivalence.
        assert!(!baseline_drift(&[1.0, 2.0], &[1.1, 1.9], 0.2, 0.05).unwrap().equivalent);
        assert_eq!(baseline_drift(&stored, &again, 0.0, 0.05).unwrap_err().code(), "margin_required");
    }

    #[test]
    fn steps_add_up_to_the_total_in_the_direction_of_the_metric() {
        let versions: [(&str, &[f64]); 3] = [("a", &[2.0, 2.2]), ("b", &[1.8, 1.7]), ("c", &[1.9, 1.9])];
        let chain = cumulative_improvement(&versions, Direction::Down, 0.9).unwrap();
        let steps: f64 = chain.iter().filter_map(|step| step.step).sum();
        assert!((steps - chain[2].total).abs() < 1e-12 && chain[1].total > 0.0);
        assert!(chain[1].interval.is_some() && chain[0].interval.is_none());
        assert_eq!(
            cumulative_improvement(&versions[..1], Direction::Up, 0.9).unwrap_err().code(),
            "too_few_runs"
        );
    }

    #[test]
    fn a_chain_of_the_same_runs_telescopes_to_its_ends() {
        let versions: [(&str, &[f64]); 3] = [
            ("a", &[0.80, 0.81, 0.79, 0.80]),
            ("b", &[0.90, 0.70, 0.85]),
            ("c", &[0.86, 0.84, 0.85, 0.87, 0.85]),
        ];
        let direct = cumulative_improvement(&versions, Direction::Up, 0.9).unwrap();
        let step =
            |i: usize| MeasuredStep { name: versions[i].0, before: versions[i - 1].1, after: versions[i].1 };
        let chain = chained_improvement(&[step(1), step(2)], Direction::Up, 0.9).unwrap();
        for (chained, direct) in chain.iter().zip(&direct[1..]) {
            assert!((chained.total - direct.total).abs() < 1e-14);
            let (got, expected) = (chained.interval.unwrap(), direct.interval.unwrap());
            assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-12));
        }
        // The noisy version between adds nothing.
        let width = |interval: [f64; 2]| interval[1] - interval[0];
        assert!(width(chain[1].interval.unwrap()) < 0.3 * width(chain[0].interval.unwrap()));
    }

    #[test]
    fn versions_that_were_run_again_add_their_variances() {
        let (a, b, b_again, c) = ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 5.0, 7.0], [9.0, 8.0, 7.0]);
        let steps = [
            MeasuredStep { name: "b", before: &a, after: &b },
            MeasuredStep { name: "c", before: &b_again, after: &c },
        ];
        let chain = chained_improvement(&steps, Direction::Down, 0.9).unwrap();
        assert_eq!((chain[0].total, chain[1].total), (-2.0, -5.0));
        // Variances 1, 4, 4, 1 over three runs each: 10 / 3, and (10/3)^2 / (2 (1/9 + 16/9) / 2) degrees of freedom.
        let [low, high] = chain[1].interval.unwrap();
        let df = (100.0 / 9.0) / (34.0 / 9.0 / 2.0);
        let half = crate::distributions::student_t_quantile(0.95, df) * (10.0f64 / 3.0).sqrt();
        assert!((low + 5.0 + half).abs() < 1e-12 && (high + 5.0 - half).abs() < 1e-12, "{low} {high}");
    }

    #[test]
    fn chains_that_cannot_be_are_refused() {
        let code =
            |steps: &[MeasuredStep<'_>]| chained_improvement(steps, Direction::Up, 0.9).unwrap_err().code();
        assert_eq!(code(&[]), "empty_sample");
        assert_eq!(code(&[MeasuredStep { name: "b", before: &[1.0], after: &[1.0, 2.0] }]), "too_few_runs");
        let nan = MeasuredStep { name: "b", before: &[1.0, f64::NAN], after: &[1.0, 2.0] };
        assert_eq!(code(&[nan]), "nonfinite_value");
        let constant = MeasuredStep { name: "b", before: &[1.0, 1.0], after: &[2.0, 2.0] };
        let chain = chained_improvement(&[constant], Direction::Up, 0.9).unwrap();
        assert_eq!((chain[0].total, chain[0].interval), (1.0, None));
    }

    #[test]
    fn equal_batches_have_no_variance_between_them() {
        let batch: &[f64] = &[1.0, 2.0, 3.0];
        assert_eq!(batch_variance(&[batch; 4]).unwrap(), 0.0);
        // Three batches of two, 10 apart: between 200 / 2 * 2 = 200, within 0.5, (200 - 0.5) / 2.
        let apart: [&[f64]; 3] = [&[0.0, 1.0], &[10.0, 11.0], &[20.0, 21.0]];
        assert!((batch_variance(&apart).unwrap() - 99.75).abs() < 1e-9);
        assert_eq!(batch_variance(&[batch; 2]).unwrap_err().code(), "too_few_runs");
    }
}
