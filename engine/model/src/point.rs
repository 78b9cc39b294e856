//! Points: what a training run logs.

use crate::error::{ModelError, Result};
use crate::name::MetricName;

/// One point of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The step; negative steps are allowed.
    pub step: i64,
    /// The fraction of the step in millionths, 0..=999,999, for tools with fractional steps.
    pub step_fraction: Option<i32>,
    /// Microseconds since 1970 UTC.
    pub time: i64,
    /// The value, any IEEE double; NaN, infinities and -0.0 are kept bit for bit.
    pub value: f64,
}

impl Point {
    /// Mixes a point into 64 bits. The wrapping sum over the points of a series is its fingerprint, the same in
    /// whatever order and parts the points come.
    ///
    /// The words are step, fraction (all ones when there is none), time and the bits of the value; each is mixed in
    /// by the finaliser of splitmix64 (Steele, Lea & Flood 2014).
    pub fn fingerprint(&self) -> u64 {
        let fraction = self.step_fraction.map_or(u64::MAX, |f| f as u64);
        [self.step as u64, fraction, self.time as u64, self.value.to_bits()].into_iter().fold(
            0,
            |state, word| {
                let mut z = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            },
        )
    }
}

/// The points of one series as columns of equal length, in order of arrival.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PointColumns {
    /// Steps; any order, repeats allowed.
    pub steps: Vec<i64>,
    /// Fractions of steps in millionths; `None` when no point has one (the usual case costs nothing).
    pub step_fractions: Option<Vec<Option<i32>>>,
    /// Microseconds since 1970 UTC.
    pub times: Vec<i64>,
    /// Values, bit for bit.
    pub values: Vec<f64>,
}

impl PointColumns {
    /// Empty columns with room for `count` points.
    pub fn with_capacity(count: usize) -> Self {
        Self {
            steps: Vec::with_capacity(count),
            step_fractions: None,
            times: Vec::with_capacity(count),
            values: Vec::with_capacity(count),
        }
    }

    /// Points at whole steps; the columns are equally long.
    pub fn at_whole_steps(steps: Vec<i64>, times: Vec<i64>, values: Vec<f64>) -> Self {
        Self { steps, step_fractions: None, times, values }
    }

    /// Bytes that the columns take in memory, with the room that they have in reserve.
    pub fn reserved_bytes(&self) -> usize {
        let fractions = self.step_fractions.as_ref().map_or(0, Vec::capacity);
        8 * (self.steps.capacity() + self.times.capacity() + self.values.capacity() + fractions)
    }

    /// Gives back the room in reserve.
    pub fn shrink_to_fit(&mut self) {
        self.steps.shrink_to_fit();
        self.times.shrink_to_fit();
        self.values.shrink_to_fit();
        if let Some(fractions) = &mut self.step_fractions {
            fractions.shrink_to_fit();
        }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Appends a point.
    pub fn push(&mut self, point: Point) {
        if let Some(fractions) = &mut self.step_fractions {
            fractions.push(point.step_fraction);
        } else if point.step_fraction.is_some() {
            let mut fractions = vec![None; self.len()];
            fractions.push(point.step_fraction);
            self.step_fractions = Some(fractions);
        }
        self.steps.push(point.step);
        self.times.push(point.time);
        self.values.push(point.value);
    }

    /// Appends all points of another set of columns.
    pub fn extend_from(&mut self, other: &Self) {
        if self.step_fractions.is_some() || other.step_fractions.is_some() {
            let fractions = self.step_fractions.get_or_insert_with(|| vec![None; self.values.len()]);
            match &other.step_fractions {
                Some(more) => fractions.extend_from_slice(more),
                None => fractions.resize(fractions.len() + other.len(), None),
            }
        }
        self.steps.extend_from_slice(&other.steps);
        self.times.extend_from_slice(&other.times);
        self.values.extend_from_slice(&other.values);
    }

    /// The point at `index`, `None` past the end.
    pub fn get(&self, index: usize) -> Option<Point> {
        Some(Point {
            step: *self.steps.get(index)?,
            step_fraction: self.step_fractions.as_ref().and_then(|f| f.get(index).copied().flatten()),
            time: *self.times.get(index)?,
            value: *self.values.get(index)?,
        })
    }

    /// All points in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Point> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Checks lengths and fractions.
    ///
    /// # Errors
    /// Names the metric when the columns differ in length or a fraction is out of range.
    pub fn check(&self, metric: &MetricName) -> Result<()> {
        let fractions_fit = self.step_fractions.as_ref().is_none_or(|f| f.len() == self.values.len());
        if self.steps.len() != self.values.len() || self.times.len() != self.values.len() || !fractions_fit {
            return Err(ModelError::ColumnLengths {
                metric: metric.to_string(),
                steps: self.steps.len(),
                times: self.times.len(),
                values: self.values.len(),
            });
        }
        let out_of_range =
            self.step_fractions.iter().flatten().flatten().find(|f| !(0..1_000_000).contains(*f));
        match out_of_range {
            Some(value) => Err(ModelError::StepFraction { metric: metric.to_string(), value: *value }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(step: i64, step_fraction: Option<i32>) -> Point {
        Point { step, step_fraction, time: step * 10, value: step as f64 }
    }

    #[test]
    fn fractions_cost_nothing_until_one_comes() {
        let mut columns = PointColumns::default();
        columns.push(point(1, None));
        assert_eq!(columns.step_fractions, None);
        columns.push(point(2, Some(500_000)));
        columns.push(point(3, None));
        assert_eq!(columns.step_fractions, Some(vec![None, Some(500_000), None]));
        let mut plain = PointColumns::default();
        plain.push(point(0, None));
        plain.extend_from(&columns);
        assert_eq!(plain.iter().collect::<Vec<_>>()[2], point(2, Some(500_000)));
        columns.extend_from(&plain);
        assert_eq!(columns.len(), 7);
        assert!(columns.check(&MetricName::new("m").unwrap()).is_ok());
    }

    #[test]
    fn unequal_columns_and_wild_fractions_are_refused() {
        let metric = MetricName::new("loss").unwrap();
        let mut columns = PointColumns::default();
        columns.push(point(1, Some(1_000_000)));
        assert_eq!(columns.check(&metric).unwrap_err().code(), "batch.step_fraction");
        columns.steps.push(1);
        assert_eq!(columns.check(&metric).unwrap_err().code(), "batch.column_lengths");
    }
}
