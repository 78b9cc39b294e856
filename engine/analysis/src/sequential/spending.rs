//! Planned looks: how much of alpha each may spend, and the boundaries that follow (Lan & DeMets 1983).

use std::f64::consts::{E, PI};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::distributions::{normal_quantile, normal_sf, root};
use crate::error::{AnalysisError, Result};

/// Steps of the integration between two looks.
const STEPS: usize = 800;

/// Where the integration begins: nothing lies below this many standard deviations.
const FAR: f64 = 9.0;

/// How alpha is spent over the share of information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpendingFunction {
    /// Like constant boundaries (Pocock 1977): as easy to pass early as late. The default.
    #[default]
    Pocock,
    /// Like those of O'Brien & Fleming (1979): almost nothing early, almost all at the end.
    #[serde(rename = "obf", alias = "obrien_fleming")]
    OBrienFleming,
    /// In proportion to the information.
    Linear,
    /// With its square.
    Quadratic,
}

impl SpendingFunction {
    /// One-sided alpha spent when this share of the information is there; all of it from 1 on.
    pub fn spent(self, share: f64, alpha: f64) -> f64 {
        let share = share.clamp(0.0, 1.0);
        match self {
            Self::Pocock => alpha * ((E - 1.0) * share).ln_1p(),
            Self::OBrienFleming if share == 0.0 => 0.0,
            Self::OBrienFleming => 2.0 * normal_sf(normal_quantile(1.0 - 0.5 * alpha) / share.sqrt()),
            Self::Linear => alpha * share,
            Self::Quadratic => alpha * share * share,
        }
    }
}

/// The boundaries of planned looks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupSequential {
    /// The z statistic that each look must exceed.
    pub z: Vec<f64>,
    /// The one-sided p-value that each look must stay below: compare t p-values with these.
    pub nominal_p: Vec<f64>,
}

/// The one-sided boundaries of looks at these shares of the information, by the recursion of Armitage, McPherson &
/// Rowe (1969). Runs an arm over the largest planned number are the shares.
///
/// # Errors
/// `alpha_out_of_range`, `invalid_argument` unless shares rise from above 0 to at most 1, 100 at most.
///
/// # Examples
/// ```
/// use analysis::sequential::{SpendingFunction, group_sequential};
/// let looks = group_sequential(&[0.25, 0.5, 1.0], SpendingFunction::Pocock, 0.05)?;
/// let rounded: Vec<f64> = looks.nominal_p.iter().map(|p| (p * 1e4).round() / 1e4).collect();
/// assert_eq!(rounded, [0.0179, 0.0189, 0.0279]);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn group_sequential(shares: &[f64], spending: SpendingFunction, alpha: f64) -> Result<GroupSequential> {
    crate::power::check_alpha(alpha)?;
    let rising = shares.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = shares.iter().all(|share| *share > 0.0 && *share <= 1.0);
    if !(rising && inside && (1..=100).contains(&shares.len())) {
        return Err(AnalysisError::InvalidArgument {
            name: "looks",
            value: format!("{shares:?}"),
            expected: "1 to 100 rising shares of the information, above 0 and at most 1",
        });
    }
    let mut walk = Walk::new(false);
    let (mut z, mut before) = (Vec::with_capacity(shares.len()), 0.0);
    for &share in shares {
        let spent = spending.spent(share, alpha);
        let goal = (spent - before).max(1e-300);
        let boundary = walk.boundary(share, |walk, bound| walk.above(share, bound) - goal);
        walk.advance(share, boundary);
        z.push(boundary / share.sqrt());
        before = spent;
    }
    let nominal_p = z.iter().map(|z| normal_sf(*z)).collect();
    Ok(GroupSequential { z, nominal_p })
}

/// The constant of classic two-sided boundaries over equally spaced looks: Pocock's z, the same at each look, or
/// O'Brien and Fleming's, to be multiplied by sqrt(looks / look) (Jennison & Turnbull 2000, tables 2.1 and 2.3).
///
/// # Errors
/// `alpha_out_of_range`, `invalid_argument` unless there are 1 to 100 looks and the shape is one of these two.
pub fn constant_boundary(looks: usize, shape: SpendingFunction, alpha: f64) -> Result<f64> {
    crate::power::check_alpha(alpha)?;
    if !(1..=100).contains(&looks) || matches!(shape, SpendingFunction::Linear | SpendingFunction::Quadratic)
    {
        return Err(AnalysisError::InvalidArgument {
            name: "looks",
            value: format!("{looks} of {shape:?}"),
            expected: "1 to 100 looks of Pocock or O'Brien and Fleming",
        });
    }
    let crossed = |constant: f64| {
        let mut walk = Walk::new(true);
        let mut all = 0.0;
        for look in 1..=looks {
            let share = look as f64 / looks as f64;
            let z = if shape == SpendingFunction::Pocock { constant } else { constant / share.sqrt() };
            let bound = z * share.sqrt();
            all += 2.0 * walk.above(share, bound);
            walk.advance(share, bound);
        }
        all
    };
    Ok(root(0.5, FAR - 1.0, |constant| crossed(constant) - alpha))
}

/// The density of a standard Brownian motion that has crossed no boundary so far, on a grid.
struct Walk {
    time: f64,
    /// (position, density times width of the cell); empty before the first look, where all mass is at 0.
    cells: Vec<(f64, f64)>,
    /// Boundaries on both sides instead of the upper alone.
    two_sided: bool,
}

impl Walk {
    fn new(two_sided: bool) -> Self {
        Self { time: 0.0, cells: Vec::new(), two_sided }
    }

    /// P(not crossed before, above `bound` at `time`).
    fn above(&self, time: f64, bound: f64) -> f64 {
        if self.cells.is_empty() {
            return normal_sf(bound / time.sqrt());
        }
        let deviation = (time - self.time).sqrt();
        self.cells.iter().map(|(x, mass)| mass * normal_sf((bound - x) / deviation)).sum()
    }

    fn boundary(&self, time: f64, excess: impl Fn(&Self, f64) -> f64) -> f64 {
        let reach = (FAR + 29.0) * time.sqrt();
        root(-reach, reach, |bound| excess(self, bound))
    }

    /// Lets the motion run to `time` and takes off what lies beyond `bound`.
    fn advance(&mut self, time: f64, bound: f64) {
        let low = if self.two_sided { -bound } else { -FAR * time.sqrt() };
        let high = bound.min(FAR * time.sqrt());
        let width = (high - low) / STEPS as f64;
        let density = |x: f64| {
            let normal = |distance: f64, variance: f64| {
                (-0.5 * distance * distance / variance).exp() / (2.0 * PI * variance).sqrt()
            };
            if self.cells.is_empty() {
                return normal(x, time);
            }
            self.cells.iter().map(|(from, mass)| mass * normal(x - from, time - self.time)).sum()
        };
        // Simpson's weights.
        let weight = |i: usize| match i {
            0 | STEPS => 1.0,
            i if i % 2 == 1 => 4.0,
            _ => 2.0,
        };
        let cell = |i: usize| {
            let x = low + width * i as f64;
            (x, density(x) * width / 3.0 * weight(i))
        };
        let cells = (0..=STEPS).map(cell).collect();
        self.cells = cells;
        self.time = time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_spends_all_at_once() {
        for spending in [SpendingFunction::Pocock, SpendingFunction::OBrienFleming, SpendingFunction::Linear]
        {
            let looks = group_sequential(&[1.0], spending, 0.05).unwrap();
            assert!((looks.nominal_p[0] - 0.05).abs() < 1e-12, "{spending:?}");
        }
    }

    #[test]
    fn the_boundaries_of_the_gate_are_those_of_its_table() {
        // 3, 5 and 10 runs of 10.
        let looks = group_sequential(&[0.3, 0.5, 1.0], SpendingFunction::Pocock, 0.05).unwrap();
        for (p, expected) in looks.nominal_p.iter().zip([0.0208, 0.0176, 0.0279]) {
            assert!((p - expected).abs() < 6e-5, "{p} {expected}");
        }
    }

    #[test]
    fn senseless_looks_are_refused() {
        for shares in [&[][..], &[0.5, 0.5], &[0.0, 1.0], &[0.5, 1.1], &[f64::NAN]] {
            let refused = group_sequential(shares, SpendingFunction::Pocock, 0.05).unwrap_err();
            assert_eq!(refused.code(), "invalid_argument", "{shares:?}");
        }
        assert_eq!(
            constant_boundary(0, SpendingFunction::Pocock, 0.05).unwrap_err().code(),
            "invalid_argument"
        );
        let single = constant_boundary(1, SpendingFunction::Pocock, 0.05).unwrap();
        assert!((normal_sf(single) - 0.025).abs() < 1e-9);
    }
}
