//! From the replicates of any statistic to interval ends, in the units of the replicates.

use crate::interval::{Replicates, bca_levels, tails};
use crate::request::Method;

/// What an interval needs to know of the sample, beside the replicates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) method: Method,
    pub(crate) level: f64,
    /// The statistic of the sample, computed as the replicates are.
    pub(crate) theta: f64,
    /// Replicates this close to `theta` are ties.
    pub(crate) tie: f64,
    /// Acceleration of BCa; `None` where the jackknife is not defined.
    pub(crate) acceleration: Option<f64>,
    /// Standard error of the sample, for studentized intervals.
    pub(crate) standard_error: f64,
}

impl Summary {
    /// Interval ends; `None` where there are none: the BCa correction diverges, or an end is not finite. For the
    /// studentized method the replicates are t statistics.
    pub(crate) fn ends(&self, replicates: &mut impl Replicates) -> Option<[f64; 2]> {
        let tails = tails(self.level);
        let ends = match self.method {
            Method::Percentile => replicates.quantiles(tails),
            Method::Basic => {
                let [low, high] = replicates.quantiles(tails);
                [high, low].map(|end| 2.0 * self.theta - end)
            }
            Method::Bca => {
                let share = replicates.share_around(self.theta, self.tie);
                replicates.quantiles(bca_levels(share, self.acceleration?, tails)?)
            }
            Method::Studentized => {
                let [low, high] = replicates.quantiles(tails);
                [high, low].map(|t| self.theta - t * self.standard_error)
            }
        };
        ends.iter().all(|end| end.is_finite()).then_some(ends)
    }
}

/// The acceleration from the statistics with one unit left out in turn, for each of the samples (or strata) that
/// are resampled on their own; `None` where one is not defined. A sample of a single unit has no influence.
pub(crate) fn acceleration(left_out: &[Vec<f64>]) -> Option<f64> {
    let (mut squares, mut cubes) = (0.0, 0.0);
    for statistics in left_out.iter().filter(|statistics| statistics.len() > 1) {
        let n = statistics.len() as f64;
        let mean = statistics.iter().sum::<f64>() / n;
        for statistic in statistics {
            let influence = (n - 1.0) * (mean - statistic) / n;
            squares += influence * influence;
            cubes += influence * influence * influence;
        }
    }
    if !squares.is_finite() || !cubes.is_finite() {
        return None;
    }
    Some(if squares > 0.0 { cubes / (6.0 * squares * squares.sqrt()) } else { 0.0 })
}
