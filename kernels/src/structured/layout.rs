//! Which rows of counts a resample has, and how the values of one group refer to them.

use crate::describe::{self, exponent_above, scale_by_power_of_two};
use crate::structured::{BlockLength, BlockScheme, Structure, block_length};

/// What is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Draw {
    /// From each of some strata as many values as it has; one row a value, stratum after stratum.
    Strata(Vec<u32>),
    /// As many clusters as there are; one row each.
    Clusters(u32),
    /// Blocks of a series; one row a point.
    Blocks { points: u32, length: u32, scheme: BlockScheme },
}

/// One group, ready to be resampled.
pub(crate) struct Layout {
    /// Values ascending, moved by their mean and scaled by a power of two.
    pub(crate) values: Vec<f64>,
    /// The row of counts of each value.
    pub(crate) rows: Vec<u32>,
    /// The stratum or cluster of each value; 0 for blocks.
    pub(crate) parts: Vec<u32>,
    /// Number of strata or clusters.
    pub(crate) part_count: usize,
    pub(crate) draw: Draw,
    /// What was subtracted, in scaled units.
    pub(crate) centre: f64,
    pub(crate) exponent: i32,
}

impl Layout {
    /// The layout of some finite values; `parts` are the strata or clusters that they consist of, one after the
    /// other.
    pub(crate) fn new(values: &[f64], parts: &[&[f64]], structure: Structure<'_>) -> Self {
        let largest = |values: &[f64]| values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let exponent_of = |value: f64| if value == 0.0 { 0 } else { exponent_above(value) };
        let shrink = exponent_of(largest(values));
        // The mean of sorted values does not depend on the order in which they came.
        let sorted = describe::sorted(values);
        let centre = scale_by_power_of_two(describe::mean(&sorted).unwrap_or(0.0), -shrink);
        let moved = |value: f64| scale_by_power_of_two(value + 0.0, -shrink) - centre;
        let stretch = exponent_of(largest(&sorted.iter().map(|&value| moved(value)).collect::<Vec<_>>()));
        let scaled = |value: f64| scale_by_power_of_two(moved(value), -stretch);
        let mut entries: Vec<(f64, u32, u32)> = Vec::with_capacity(values.len());
        let draw = match structure {
            Structure::Strata(_) | Structure::Clusters(_) => {
                let clusters = matches!(structure, Structure::Clusters(_));
                let parts = canonical(parts);
                for (part, values) in parts.iter().enumerate() {
                    for value in values {
                        let row = if clusters { part } else { entries.len() };
                        entries.push((scaled(*value), row as u32, part as u32));
                    }
                }
                if clusters {
                    Draw::Clusters(parts.len() as u32)
                } else {
                    Draw::Strata(parts.iter().map(|values| values.len() as u32).collect())
                }
            }
            Structure::Blocks { length, scheme } => {
                entries.extend(values.iter().zip(0..).map(|(value, row)| (scaled(*value), row, 0)));
                let points = values.len() as u32;
                let length = match length {
                    BlockLength::Points(points) => points,
                    BlockLength::Automatic => {
                        let length = block_length(values, scheme).map_or(1.0, f64::ceil) as u32;
                        length.clamp(1, points.max(1))
                    }
                };
                Draw::Blocks { points, length, scheme }
            }
        };
        let part_count = match &draw {
            Draw::Strata(sizes) => sizes.len(),
            Draw::Clusters(count) => *count as usize,
            Draw::Blocks { .. } => 1,
        };
        entries.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
        Self {
            values: entries.iter().map(|entry| entry.0).collect(),
            rows: entries.iter().map(|entry| entry.1).collect(),
            parts: entries.iter().map(|entry| entry.2).collect(),
            part_count,
            draw,
            centre: scale_by_power_of_two(centre, -stretch),
            exponent: shrink + stretch,
        }
    }

    /// How many values a resample has, where all have the same number.
    pub(crate) fn fixed_size(&self) -> Option<f64> {
        (!matches!(self.draw, Draw::Clusters(_))).then_some(self.values.len() as f64)
    }

    /// Whether nothing can vary between resamples: one value in each stratum, one cluster, one block.
    pub(crate) fn is_degenerate(&self) -> bool {
        match &self.draw {
            Draw::Strata(sizes) => sizes.iter().all(|size| *size < 2),
            Draw::Clusters(count) => *count < 2,
            Draw::Blocks { points, length, scheme } => match scheme {
                BlockScheme::Moving => length >= points,
                BlockScheme::Circular => *points < 2,
            },
        }
    }

    /// Whether all values that can take each other's place are equal.
    pub(crate) fn is_constant(&self) -> bool {
        match self.draw {
            Draw::Strata(_) => {
                let mut seen: Vec<Option<f64>> = vec![None; self.part_count];
                self.parts
                    .iter()
                    .zip(&self.values)
                    .all(|(part, value)| *seen[*part as usize].get_or_insert(*value) == *value)
            }
            Draw::Clusters(_) | Draw::Blocks { .. } => self.values.first() == self.values.last(),
        }
    }

    /// Whether there are too few units for a percentile interval to cover what it says.
    pub(crate) fn is_small(&self) -> bool {
        match &self.draw {
            Draw::Strata(sizes) => sizes.iter().any(|size| *size < 10),
            Draw::Clusters(count) => *count < 20,
            Draw::Blocks { points, length, .. } => points / length < 20,
        }
    }
}

/// The parts with values, each ascending, in an order that follows from the values alone.
fn canonical(parts: &[&[f64]]) -> Vec<Vec<f64>> {
    let mut sorted: Vec<Vec<f64>> =
        parts.iter().filter(|part| !part.is_empty()).map(|part| describe::sorted(part)).collect();
    sorted.sort_by(|a, b| {
        let by_values = || a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
        a.len().cmp(&b.len()).then_with(|| by_values().unwrap_or(std::cmp::Ordering::Equal))
    });
    sorted
}
