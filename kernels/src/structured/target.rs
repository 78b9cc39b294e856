//! Statistics of values with counts: what a structured resample is reduced to, and the jackknife behind BCa.

use crate::describe::{kept_ranks, scale_by_power_of_two};
use crate::interval::{leave_one_out_means, squared_deviations};
use crate::structured::layout::{Draw, Layout};

/// A statistic of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Mean,
    Sum,
    Variance,
    Deviation,
    /// Mean of the ranks that trimming this fraction leaves.
    Trimmed(f64),
    /// Quantile of type 7.
    Quantile(f64),
}

impl Kind {
    /// A replicate in the caller's units.
    pub(crate) fn unscaled(self, value: f64, layout: &Layout) -> f64 {
        let exponent = layout.exponent;
        match self {
            Self::Mean | Self::Trimmed(_) | Self::Quantile(_) => {
                scale_by_power_of_two(value + layout.centre, exponent)
            }
            Self::Sum | Self::Deviation => scale_by_power_of_two(value, exponent),
            Self::Variance => scale_by_power_of_two(scale_by_power_of_two(value, exponent), exponent),
        }
    }

    /// A difference of replicates in the caller's units.
    pub(crate) fn unscaled_spread(self, value: f64, layout: &Layout) -> f64 {
        match self {
            Self::Mean | Self::Trimmed(_) | Self::Quantile(_) => {
                scale_by_power_of_two(value, layout.exponent)
            }
            _ => self.unscaled(value, layout),
        }
    }

    /// The statistic from a count, a sum and a sum of squares; for statistics that need no order.
    fn of_sums(self, count: f64, sum: f64, squares: f64, centre: f64) -> f64 {
        match self {
            Self::Sum => centre.mul_add(count, sum),
            Self::Variance => squared_deviations(sum, squares, count) / (count - 1.0),
            Self::Deviation => (squared_deviations(sum, squares, count) / (count - 1.0)).sqrt(),
            _ => sum / count,
        }
    }

    /// The statistics with one unit left out in turn, stratum by stratum or for all clusters; `None` where that is
    /// not offered.
    pub(crate) fn left_out(self, layout: &Layout) -> Option<Vec<Vec<f64>>> {
        let Layout { values, parts, part_count, centre, .. } = layout;
        let count = values.len() as f64;
        let sum: f64 = values.iter().sum();
        let squares: f64 = values.iter().map(|value| value * value).sum();
        match (&layout.draw, self) {
            (Draw::Blocks { .. }, _) | (_, Self::Quantile(_)) | (Draw::Clusters(_), Self::Trimmed(_)) => None,
            (Draw::Clusters(_), _) => {
                let mut of_clusters = vec![[0.0; 3]; *part_count];
                for (part, value) in parts.iter().zip(values) {
                    let [count, sum, squares] = &mut of_clusters[*part as usize];
                    *count += 1.0;
                    *sum += value;
                    *squares += value * value;
                }
                let without = |[n, s, q]: &[f64; 3]| self.of_sums(count - n, sum - s, squares - q, *centre);
                Some(vec![of_clusters.iter().map(without).collect()])
            }
            (Draw::Strata(_), _) => {
                let statistics: Vec<f64> = match self {
                    Self::Trimmed(fraction) => leave_one_out_means(values, fraction),
                    _ => values
                        .iter()
                        .map(|value| self.of_sums(count - 1.0, sum - value, squares - value * value, *centre))
                        .collect(),
                };
                let mut by_stratum = vec![Vec::new(); *part_count];
                for (part, statistic) in parts.iter().zip(statistics) {
                    by_stratum[*part as usize].push(statistic);
                }
                Some(by_stratum)
            }
        }
    }

    /// The ranks that count when `count` values are there: for trimmed means.
    pub(crate) fn kept(self, count: usize) -> std::ops::Range<usize> {
        match self {
            Self::Trimmed(fraction) => kept_ranks(count, fraction),
            _ => 0..count,
        }
    }
}
