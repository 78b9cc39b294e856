//! The difference of two independent rates: intervals that hold for rare events, and how many trials show it.

use serde::Serialize;

use crate::describe::check_level;
use crate::distributions::{normal_cdf, normal_quantile, normal_sf, root};
use crate::error::{AnalysisError, Result};
use crate::p_value::PValue;
use crate::power::Sides;
use crate::rates::{check_rate, wilson};

/// Hits of a number of trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hits {
    /// Trials that count.
    pub hits: u64,
    /// All trials.
    pub trials: u64,
}

impl Hits {
    fn rate(self) -> f64 {
        self.hits as f64 / self.trials as f64
    }
}

/// The difference of two rates, the first less the second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RateDifference {
    /// The difference.
    pub difference: f64,
    /// The pooled z statistic; `None` when no trial, or every trial, is a hit.
    pub z: Option<f64>,
    /// Its two-sided p-value; 1 where there is no statistic.
    pub p: PValue,
    /// Newcombe's interval of the two Wilson intervals (1998, method 10): the default.
    pub newcombe: [f64; 2],
    /// Agresti and Caffo's interval (2000): one more hit and one more miss in each group.
    pub agresti_caffo: [f64; 2],
    /// Miettinen and Nurminen's score interval (1985).
    pub miettinen_nurminen: [f64; 2],
    /// Confidence level of the intervals.
    pub level: f64,
}

/// Compares two independent rates.
///
/// # Errors
/// `empty_sample` (no trial), `invalid_argument` (more hits than trials), `probability_out_of_range`.
///
/// # Examples
/// ```
/// use analysis::{Hits, rate_difference};
/// let found = rate_difference(Hits { hits: 19, trials: 45 }, Hits { hits: 41, trials: 286 }, 0.95)?;
/// assert!(found.newcombe[0] > 0.13 && found.p.value() < 1e-5);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn rate_difference(first: Hits, second: Hits, level: f64) -> Result<RateDifference> {
    check_level(level)?;
    check_rate(first.hits, first.trials, level)?;
    check_rate(second.hits, second.trials, level)?;
    let (p1, p2) = (first.rate(), second.rate());
    let (n1, n2) = (first.trials as f64, second.trials as f64);
    let difference = p1 - p2;
    let pooled = (first.hits + second.hits) as f64 / (n1 + n2);
    let error = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
    let z = (error > 0.0).then(|| difference / error);
    let [low1, high1] = wilson(first.hits, first.trials, level)?;
    let [low2, high2] = wilson(second.hits, second.trials, level)?;
    let reach = normal_quantile(0.5 * (1.0 + level));
    let moved = |hits: Hits| ((hits.hits + 1) as f64 / (hits.trials + 2) as f64, (hits.trials + 2) as f64);
    let ((a1, m1), (a2, m2)) = (moved(first), moved(second));
    let half = reach * (a1 * (1.0 - a1) / m1 + a2 * (1.0 - a2) / m2).sqrt();
    Ok(RateDifference {
        difference,
        z,
        p: PValue::new(z.map_or(1.0, |z| 2.0 * normal_sf(z.abs()))),
        newcombe: [difference - (p1 - low1).hypot(high2 - p2), difference + (high1 - p1).hypot(p2 - low2)],
        agresti_caffo: [a1 - a2 - half, a1 - a2 + half],
        miettinen_nurminen: score_interval(first, second, reach),
        level,
    })
}

/// The differences that the score test with the restricted variance does not reject.
fn score_interval(first: Hits, second: Hits, reach: f64) -> [f64; 2] {
    let (n1, n2) = (first.trials as f64, second.trials as f64);
    let observed = first.rate() - second.rate();
    let inflation = (n1 + n2) / (n1 + n2 - 1.0);
    let score = |difference: f64| {
        let p2 = restricted_rate(first, second, difference);
        let p1 = (p2 + difference).clamp(0.0, 1.0);
        let variance = inflation * (p1 * (1.0 - p1) / n1 + p2 * (1.0 - p2) / n2);
        let distance = observed - difference;
        // Where the variance vanishes any distance is infinitely far.
        if distance == 0.0 { 0.0 } else { distance / variance.max(f64::MIN_POSITIVE).sqrt() }
    };
    let end = |limit: f64, goal: f64| {
        let inside = if goal > 0.0 { score(limit) <= goal } else { score(limit) >= goal };
        if inside { limit } else { root(limit, observed, |difference| score(difference) - goal) }
    };
    // Just inside of the ends, where the restricted rates are defined.
    let limit = 1.0 - 1e-12;
    [end(-limit, reach), end(limit, -reach)]
}

/// The most likely second rate when the first exceeds it by `difference` (a root of a cubic in closed form).
fn restricted_rate(first: Hits, second: Hits, difference: f64) -> f64 {
    let (x1, n1) = (first.hits as f64, first.trials as f64);
    let (x2, n2) = (second.hits as f64, second.trials as f64);
    let (all, hits) = (n1 + n2, x1 + x2);
    let l2 = (n1 + 2.0 * n2) * difference - all - hits;
    let l1 = (n2 * difference - all - 2.0 * x2) * difference + hits;
    let l0 = x2 * difference * (1.0 - difference);
    let third = l2 / (3.0 * all);
    let q = third.powi(3) - l1 * l2 / (6.0 * all * all) + l0 / (2.0 * all);
    let p = (third * third - l1 / (3.0 * all)).max(0.0).sqrt().copysign(q);
    if p == 0.0 {
        return (-third).clamp(0.0, 1.0);
    }
    let angle = (std::f64::consts::PI + (q / p.powi(3)).clamp(-1.0, 1.0).acos()) / 3.0;
    (2.0 * p * angle.cos() - third).clamp((-difference).max(0.0), (1.0 - difference).min(1.0))
}

/// Cohen's h (1988): the distance of two rates on the arcsine scale, never negative.
///
/// # Errors
/// `probability_out_of_range`.
pub fn cohens_h(p1: f64, p2: f64) -> Result<f64> {
    for (name, value) in [("p1", p1), ("p2", p2)] {
        if !(0.0..=1.0).contains(&value) {
            return Err(AnalysisError::ProbabilityOutOfRange { name, value });
        }
    }
    Ok((2.0 * p1.sqrt().asin() - 2.0 * p2.sqrt().asin()).abs())
}

/// The power of the test of two rates at Cohen's `h` with `trials` in each group (not necessarily whole).
///
/// # Errors
/// `alpha_out_of_range`, `empty_sample` (no trials).
pub fn rate_power(h: f64, trials: f64, alpha: f64, sides: Sides) -> Result<f64> {
    crate::power::check_alpha(alpha)?;
    if trials.is_nan() || trials <= 0.0 {
        return Err(AnalysisError::EmptySample { sample: "the set of trials".into() });
    }
    let shift = h.abs() * (0.5 * trials).sqrt();
    Ok(match sides {
        Sides::One => normal_sf(normal_quantile(1.0 - alpha) - shift),
        Sides::Two => {
            let critical = normal_quantile(1.0 - 0.5 * alpha);
            normal_sf(critical - shift) + normal_cdf(-critical - shift)
        }
    })
}

/// The trials in each group at which two rates show with the wanted power; round up for a plan.
///
/// # Errors
/// `effect_is_zero` (equal rates), `probability_out_of_range`, `alpha_out_of_range`.
///
/// # Examples
/// ```
/// use analysis::{Sides, required_trials};
/// assert_eq!(required_trials(0.9, 0.92, 0.05, 0.8, Sides::Two)?.ceil(), 3205.0);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn required_trials(p1: f64, p2: f64, alpha: f64, wanted: f64, sides: Sides) -> Result<f64> {
    let h = cohens_h(p1, p2)?;
    crate::power::check_wanted(h, wanted)?;
    let mut most = 1.0;
    while rate_power(h, most, alpha, sides)? < wanted {
        most *= 2.0;
        if most > 1e15 {
            return Ok(f64::INFINITY);
        }
    }
    Ok(root(1e-9, most, |trials| rate_power(h, trials, alpha, sides).unwrap_or(f64::NAN) - wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(first: (u64, u64), second: (u64, u64)) -> RateDifference {
        let hits = |(hits, trials)| Hits { hits, trials };
        rate_difference(hits(first), hits(second), 0.95).unwrap()
    }

    #[test]
    fn swapping_the_groups_mirrors_every_interval() {
        let (forth, back) = (of((3, 20), (9, 30)), of((9, 30), (3, 20)));
        for (a, b) in [
            (forth.newcombe, back.newcombe),
            (forth.agresti_caffo, back.agresti_caffo),
            (forth.miettinen_nurminen, back.miettinen_nurminen),
        ] {
            assert!((a[0] + b[1]).abs() < 1e-9 && (a[1] + b[0]).abs() < 1e-9, "{a:?} {b:?}");
        }
    }

    #[test]
    fn the_score_interval_is_that_of_newcombe_1998() {
        // Table II of Newcombe 1998, method 6 (Miettinen-Nurminen).
        for ((first, second), expected) in
            [(((56, 70), (48, 80)), [0.0528, 0.3382]), (((9, 10), (3, 10)), [0.1700, 0.8406])]
        {
            let found = of(first, second).miettinen_nurminen;
            let near = |i: usize| (found[i] - expected[i]).abs() < 1e-4;
            assert!(near(0) && near(1), "{found:?} {expected:?}");
        }
    }

    #[test]
    fn groups_without_a_hit_do_not_differ() {
        let found = of((0, 10), (0, 12));
        assert_eq!((found.z, found.p.value(), found.difference), (None, 1.0, 0.0));
        for [low, high] in [found.newcombe, found.agresti_caffo, found.miettinen_nurminen] {
            assert!(low < 0.0 && high > 0.0 && low > -1.0 && high < 1.0, "{low} {high}");
        }
    }

    #[test]
    fn opposite_groups_have_finite_intervals() {
        let found = of((10, 10), (0, 10));
        for [low, high] in [found.newcombe, found.miettinen_nurminen] {
            assert!(low > 0.5 && high <= 1.0 + 1e-9, "{low} {high}");
        }
    }

    #[test]
    fn senseless_questions_are_refused() {
        let refused = |first, second| rate_difference(first, second, 0.95).unwrap_err().code();
        let some = Hits { hits: 1, trials: 2 };
        assert_eq!(refused(Hits { hits: 0, trials: 0 }, some), "empty_sample");
        assert_eq!(refused(some, Hits { hits: 3, trials: 2 }), "invalid_argument");
        assert_eq!(required_trials(0.5, 0.5, 0.05, 0.8, Sides::One).unwrap_err().code(), "effect_is_zero");
        assert_eq!(cohens_h(1.5, 0.5).unwrap_err().code(), "probability_out_of_range");
    }
}
