//! Series and their statistics, kept up to date at every write so that leaderboards never scan points.

use crate::context::Context;
use crate::id::RunId;
use crate::name::MetricName;
use crate::point::Point;

/// The identity of a series: one metric of one run in one context.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    /// The run.
    pub run: RunId,
    /// The metric.
    pub metric: MetricName,
    /// The context, `None` when there is none.
    pub context: Option<Context>,
}

/// What is known of a series without reading its points.
///
/// `last` is the value at the largest (step, step fraction, time, value), MLflow's rule. Minimum, maximum and mean
/// are over finite values; NaN and infinities are counted. Merging is associative up to the rounding of the sum, and
/// exact for everything else.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesStatistics {
    /// Number of points.
    pub count: u64,
    /// Number of NaN values.
    pub nan_count: u64,
    /// Number of infinite values.
    pub infinite_count: u64,
    /// Smallest step.
    pub first_step: i64,
    /// Largest step.
    pub last_step: i64,
    /// Earliest time, microseconds since 1970 UTC.
    pub first_time: i64,
    /// Latest time, microseconds since 1970 UTC.
    pub last_time: i64,
    /// The last point.
    pub last: Point,
    /// The last point with a finite value.
    pub last_finite: Option<Point>,
    /// Smallest finite value and its (smallest) step.
    pub min: Option<(f64, i64)>,
    /// Largest finite value and its (smallest) step.
    pub max: Option<(f64, i64)>,
    /// Sum of the finite values, to be read with its compensation.
    pub sum: f64,
    /// What the plain sum lost (Neumaier 1974).
    pub compensation: f64,
    /// A hash over the multiset of (step, fraction, time, value): two series with equal points have equal
    /// fingerprints in whatever order the points came.
    pub fingerprint: u64,
}

impl SeriesStatistics {
    /// The statistics of a single point.
    pub fn of(point: Point) -> Self {
        let finite = point.value.is_finite();
        Self {
            count: 1,
            nan_count: u64::from(point.value.is_nan()),
            infinite_count: u64::from(point.value.is_infinite()),
            first_step: point.step,
            last_step: point.step,
            first_time: point.time,
            last_time: point.time,
            last: point,
            last_finite: finite.then_some(point),
            min: finite.then_some((point.value, point.step)),
            max: finite.then_some((point.value, point.step)),
            sum: if finite { point.value } else { 0.0 },
            compensation: 0.0,
            fingerprint: point.fingerprint(),
        }
    }

    /// Takes in one more point.
    pub fn observe(&mut self, point: Point) {
        self.count += 1;
        self.first_step = self.first_step.min(point.step);
        self.last_step = self.last_step.max(point.step);
        self.first_time = self.first_time.min(point.time);
        self.last_time = self.last_time.max(point.time);
        self.fingerprint = self.fingerprint.wrapping_add(point.fingerprint());
        if is_later(&point, &self.last) {
            self.last = point;
        }
        if point.value.is_finite() {
            if self.last_finite.as_ref().is_none_or(|last| is_later(&point, last)) {
                self.last_finite = Some(point);
            }
            take_smaller(&mut self.min, (point.value, point.step));
            take_larger(&mut self.max, (point.value, point.step));
            self.add(point.value);
        } else if point.value.is_nan() {
            self.nan_count += 1;
        } else {
            self.infinite_count += 1;
        }
    }

    /// Takes in the statistics of more points of the same series.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.nan_count += other.nan_count;
        self.infinite_count += other.infinite_count;
        self.first_step = self.first_step.min(other.first_step);
        self.last_step = self.last_step.max(other.last_step);
        self.first_time = self.first_time.min(other.first_time);
        self.last_time = self.last_time.max(other.last_time);
        self.fingerprint = self.fingerprint.wrapping_add(other.fingerprint);
        if is_later(&other.last, &self.last) {
            self.last = other.last;
        }
        if let Some(candidate) = other.last_finite
            && self.last_finite.as_ref().is_none_or(|last| is_later(&candidate, last))
        {
            self.last_finite = Some(candidate);
        }
        if let Some(candidate) = other.min {
            take_smaller(&mut self.min, candidate);
        }
        if let Some(candidate) = other.max {
            take_larger(&mut self.max, candidate);
        }
        self.add(other.sum);
        self.compensation += other.compensation;
    }

    /// Number of finite values.
    pub fn finite_count(&self) -> u64 {
        self.count - self.nan_count - self.infinite_count
    }

    /// The mean of the finite values, `None` when there is none.
    pub fn mean(&self) -> Option<f64> {
        let count = self.finite_count();
        (count > 0).then(|| {
            let total = self.sum + self.compensation;
            // The sum of huge finite values may overflow where the mean does not; then the plain sum is all we have.
            (if total.is_nan() { self.sum } else { total }) / count as f64
        })
    }

    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        self.compensation +=
            if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        self.sum = sum;
    }
}

fn take_smaller(slot: &mut Option<(f64, i64)>, candidate: (f64, i64)) {
    let better =
        slot.is_none_or(|(value, step)| candidate.0 < value || (candidate.0 == value && candidate.1 < step));
    if better {
        *slot = Some(candidate);
    }
}

fn take_larger(slot: &mut Option<(f64, i64)>, candidate: (f64, i64)) {
    let better =
        slot.is_none_or(|(value, step)| candidate.0 > value || (candidate.0 == value && candidate.1 < step));
    if better {
        *slot = Some(candidate);
    }
}

/// Whether `a` comes after `b` in the order (step, fraction, time, value).
fn is_later(a: &Point, b: &Point) -> bool {
    let by_place =
        (a.step, a.step_fraction.unwrap_or(0), a.time).cmp(&(b.step, b.step_fraction.unwrap_or(0), b.time));
    by_place.then_with(|| a.value.total_cmp(&b.value)).is_gt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn statistics(points: &[Point]) -> SeriesStatistics {
        let mut statistics = SeriesStatistics::of(points[0]);
        points[1..].iter().for_each(|p| statistics.observe(*p));
        statistics
    }

    fn at(step: i64, time: i64, value: f64) -> Point {
        Point { step, step_fraction: None, time, value }
    }

    #[test]
    fn last_is_the_largest_step_then_time_then_value() {
        let s = statistics(&[at(2, 5, 1.0), at(2, 6, 0.5), at(2, 6, 0.7), at(1, 9, 9.0)]);
        assert_eq!(s.last.value, 0.7);
        assert_eq!((s.first_step, s.last_step, s.first_time, s.last_time), (1, 2, 5, 9));
    }

    #[test]
    fn nan_and_infinities_are_counted_and_left_out_of_the_rest() {
        let s = statistics(&[at(0, 0, f64::NAN), at(1, 1, 2.0), at(2, 2, f64::INFINITY), at(3, 3, 4.0)]);
        assert_eq!((s.count, s.nan_count, s.infinite_count), (4, 1, 1));
        assert_eq!((s.min, s.max, s.mean()), (Some((2.0, 1)), Some((4.0, 3)), Some(3.0)));
        let diverged = statistics(&[at(0, 0, 1.0), at(1, 1, f64::NAN)]);
        assert!(diverged.last.value.is_nan());
        assert_eq!(diverged.last_finite.map(|p| p.value), Some(1.0));
        assert_eq!(statistics(&[at(0, 0, f64::NAN)]).mean(), None);
    }

    fn arbitrary_point() -> impl Strategy<Value = Point> {
        let value =
            prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), (-8i32..8).prop_map(f64::from)];
        (-3i64..3, prop::option::of(0..3i32), 0i64..3, value)
            .prop_map(|(step, step_fraction, time, value)| Point { step, step_fraction, time, value })
    }

    proptest! {
        #[test]
        fn merging_parts_equals_observing_all(
            points in prop::collection::vec(arbitrary_point(), 2..12), cut in 1usize..11
        ) {
            let cut = cut.min(points.len() - 1);
            let whole = statistics(&points);
            let mut merged = statistics(&points[..cut]);
            merged.merge(&statistics(&points[cut..]));
            prop_assert_eq!(whole.fingerprint, merged.fingerprint);
            prop_assert_eq!(whole.count, merged.count);
            prop_assert_eq!(whole.last.value.to_bits(), merged.last.value.to_bits());
            prop_assert_eq!(whole.min, merged.min);
            prop_assert_eq!(whole.max, merged.max);
            prop_assert_eq!(whole.mean(), merged.mean());
        }
    }
}
