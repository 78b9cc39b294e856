//! What the statistics of a series say about an aggregate over its points.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use model::schema::Table;
use model::{Context, MetricName, RunId, SeriesStatistics};
use store::SeriesEntry;

use super::value_set::{Share, ValueSet};
use crate::tables::as_views;

/// Columns that name a series, the first ones of `series` and of `points`.
pub(super) const NAMES: [&str; 5] = ["project", "experiment", "run_id", "metric", "context"];

/// What points add to an aggregate, each from the values in a set.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    /// How many there are.
    Count(ValueSet),
    /// Their sum.
    Sum(ValueSet),
    /// The smallest.
    Minimum(ValueSet),
    /// The largest.
    Maximum(ValueSet),
    /// The sum of a whole number for each one in the first set, and of another for each one in the second.
    Tally { holds: (ValueSet, Option<i64>), else_holds: (ValueSet, Option<i64>) },
}

/// How many values of a series are in a set, by kind.
#[derive(Debug, Clone, Copy, Default)]
struct Members {
    numbers: u64,
    nans: u64,
    infinities: u64,
}

impl Members {
    /// `None` when the statistics do not tell.
    fn of(set: &ValueSet, statistics: &SeriesStatistics) -> Option<Self> {
        let (nans, infinities) = (statistics.nan_count, statistics.infinite_count);
        let numbers = statistics.count - nans - infinities;
        let among = |count: u64, share: &dyn Fn() -> Share| match count {
            0 => Some(0),
            count => match share() {
                Share::All => Some(count),
                Share::None => Some(0),
                Share::Some => None,
            },
        };
        Some(Self {
            numbers: match (statistics.min, statistics.max) {
                (Some((least, _)), Some((most, _))) => among(numbers, &|| set.share_of_numbers(least, most))?,
                _ if numbers == 0 => 0,
                _ => return None,
            },
            nans: among(nans, &|| set.share_of_nans())?,
            infinities: among(infinities, &|| set.share_of_infinities())?,
        })
    }

    fn count(self) -> u64 {
        self.numbers + self.nans + self.infinities
    }

    /// How many there are when all are numbers: sums and bounds of others are not kept.
    fn only_numbers(self) -> Option<u64> {
        (self.nans + self.infinities == 0).then_some(self.numbers)
    }
}

/// A value of a part; NULL when no point adds to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PartValue {
    Whole(Option<i64>),
    Double(Option<f64>),
}

impl Part {
    fn data_type(&self) -> DataType {
        match self {
            Self::Count(_) | Self::Tally { .. } => DataType::Int64,
            Self::Sum(_) | Self::Minimum(_) | Self::Maximum(_) => DataType::Float64,
        }
    }

    /// What a series adds, `None` when its statistics do not tell.
    fn of(&self, statistics: &SeriesStatistics) -> Option<PartValue> {
        let number = |set: &ValueSet, value: Option<f64>| {
            let numbers = Members::of(set, statistics)?.only_numbers()?;
            Some(PartValue::Double(value.filter(|_| numbers > 0)))
        };
        match self {
            Self::Count(set) => {
                let count = Members::of(set, statistics)?.count();
                Some(PartValue::Whole(Some(i64::try_from(count).ok()?)))
            }
            Self::Sum(set) => {
                // Huge values may sum to more than a double holds, in this order or in another.
                let total =
                    Some(statistics.sum + statistics.compensation).filter(|total| total.is_finite())?;
                number(set, Some(total))
            }
            Self::Minimum(set) => number(set, statistics.min.map(|(value, _)| value)),
            Self::Maximum(set) => number(set, statistics.max.map(|(value, _)| value)),
            Self::Tally { holds, else_holds } => {
                let mut total = None;
                for (set, each) in [holds, else_holds] {
                    let count = i64::try_from(Members::of(set, statistics)?.count()).ok()?;
                    if let Some(each) = each.filter(|_| count > 0) {
                        total = Some(each.checked_mul(count)?.checked_add(total.unwrap_or(0))?);
                    }
                }
                Some(PartValue::Whole(total))
            }
        }
    }
}

/// An aggregate over points, and of which series the points must be read for it.
#[derive(Debug)]
pub(in crate::tables) struct Decision {
    /// The values that take part.
    values: ValueSet,
    parts: Vec<Part>,
    /// The series whose statistics do not tell.
    open: HashMap<RunId, Vec<(MetricName, Option<Context>)>>,
}

/// What one series is to an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// None of its points takes part.
    Nothing,
    /// Its statistics tell.
    Told,
    /// Its points must be read.
    Open,
}

impl Decision {
    pub(super) fn new(values: ValueSet, parts: Vec<Part>) -> Self {
        Self { values, parts, open: HashMap::new() }
    }

    pub(super) fn verdict(&self, statistics: &SeriesStatistics) -> Verdict {
        match Members::of(&self.values, statistics) {
            None => Verdict::Open,
            Some(members) if members.count() == 0 => Verdict::Nothing,
            Some(_) if self.parts.iter().all(|part| part.of(statistics).is_some()) => Verdict::Told,
            Some(_) => Verdict::Open,
        }
    }

    /// Notes a series whose points must be read.
    pub(super) fn leave_open(&mut self, series: &SeriesEntry<'_>) {
        let name = (series.metric.clone(), series.context.cloned());
        self.open.entry(series.run_id).or_default().push(name);
    }

    /// Whether points must be read at all.
    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The runs with series whose points must be read.
    pub(in crate::tables) fn open_runs(&self) -> impl Iterator<Item = RunId> + '_ {
        self.open.keys().copied()
    }

    /// Whether the points of a series must be read.
    pub(in crate::tables) fn is_open(&self, run: RunId, metric: &str, context: Option<&str>) -> bool {
        self.open.get(&run).is_some_and(|series| {
            series.iter().any(|(m, c)| m.as_str() == metric && c.as_ref().map(Context::as_str) == context)
        })
    }

    /// Whether the statistics of a series tell what it adds, and that is something.
    pub(in crate::tables) fn is_told(&self, series: &SeriesEntry<'_>) -> bool {
        self.verdict(series.statistics) == Verdict::Told
    }

    /// What names a series, and a column for each part.
    pub(super) fn schema(&self) -> SchemaRef {
        let names = as_views(&Table::Points.schema());
        let names = names.fields().iter().take(NAMES.len()).map(|field| field.as_ref().clone());
        let parts = self.parts.iter().enumerate();
        let parts = parts.map(|(number, part)| Field::new(part_name(number), part.data_type(), true));
        Arc::new(Schema::new(names.chain(parts).collect::<Vec<_>>()))
    }

    /// The column of [`Self::schema`] behind the names of these series that has this number.
    pub(in crate::tables) fn part_column(
        &self,
        series: &[SeriesEntry<'_>],
        number: usize,
    ) -> Option<ArrayRef> {
        let part = self.parts.get(number)?;
        let values = series.iter().map(|series| part.of(series.statistics));
        Some(match part.data_type() {
            DataType::Int64 => {
                let whole = |value| if let Some(PartValue::Whole(value)) = value { value } else { None };
                Arc::new(values.map(whole).collect::<Int64Array>())
            }
            _ => {
                let double = |value| if let Some(PartValue::Double(value)) = value { value } else { None };
                Arc::new(values.map(double).collect::<Float64Array>())
            }
        })
    }

    /// The number of a part from the position of its column.
    pub(in crate::tables) fn part_number(column: usize) -> Option<usize> {
        column.checked_sub(NAMES.len())
    }
}

/// The name of the column of a part.
pub(super) fn part_name(number: usize) -> String {
    format!("part {number}")
}

#[cfg(test)]
mod tests {
    use datafusion::functions::math::expr_fn::abs;
    use datafusion::logical_expr::{col, lit};
    use model::Point;

    use super::*;

    fn statistics(values: &[f64]) -> SeriesStatistics {
        let point = |(step, value): (usize, &f64)| Point {
            step: step as i64,
            step_fraction: None,
            time: step as i64,
            value: *value,
        };
        let mut points = values.iter().enumerate().map(point);
        let mut statistics = SeriesStatistics::of(points.next().unwrap());
        points.for_each(|point| statistics.observe(point));
        statistics
    }

    fn near() -> ValueSet {
        ValueSet::of(&abs(col("value")).lt(lit(10.0))).unwrap()
    }

    #[test]
    fn a_series_is_told_where_all_or_none_of_its_values_take_part() {
        let parts =
            || vec![Part::Count(near()), Part::Sum(near()), Part::Minimum(near()), Part::Maximum(near())];
        let decision = Decision::new(near(), parts());
        let verdict = |values: &[f64]| decision.verdict(&statistics(values));
        assert_eq!(verdict(&[1.0, -9.0, 2.0]), Verdict::Told);
        assert_eq!(verdict(&[10.0, 12.0]), Verdict::Nothing);
        assert_eq!(verdict(&[1.0, 12.0]), Verdict::Open);
        // NaN and infinities are far from zero, so that they add nothing and hide nothing.
        assert_eq!(verdict(&[1.0, f64::NAN, f64::INFINITY]), Verdict::Told);
        assert_eq!(verdict(&[f64::NAN]), Verdict::Nothing);
        let of =
            |values: &[f64]| parts().iter().map(|p| p.of(&statistics(values)).unwrap()).collect::<Vec<_>>();
        let double = |value| PartValue::Double(Some(value));
        assert_eq!(
            of(&[1.0, f64::NAN, -9.0, 2.0]),
            [PartValue::Whole(Some(3)), double(-6.0), double(-9.0), double(2.0)]
        );
        assert_eq!(of(&[f64::NAN])[..2], [PartValue::Whole(Some(0)), PartValue::Double(None)]);
    }

    #[test]
    fn sums_of_what_is_no_number_are_not_told() {
        let all = Decision::new(ValueSet::all(), vec![Part::Sum(ValueSet::all())]);
        assert_eq!(all.verdict(&statistics(&[1.0, 2.0])), Verdict::Told);
        assert_eq!(all.verdict(&statistics(&[1.0, f64::INFINITY])), Verdict::Open);
        let counted = Decision::new(ValueSet::all(), vec![Part::Count(ValueSet::all())]);
        assert_eq!(counted.verdict(&statistics(&[1.0, f64::INFINITY])), Verdict::Told);
    }

    #[test]
    fn a_tally_counts_each_side() {
        let tally = |inside, outside| Part::Tally {
            holds: (near(), inside),
            else_holds: (ValueSet::of(&(!abs(col("value")).lt(lit(10.0)))).unwrap(), outside),
        };
        let values = [1.0, 2.0, f64::NAN];
        let of = |part: Part| part.of(&statistics(&values));
        assert_eq!(of(tally(Some(1), Some(0))), Some(PartValue::Whole(Some(2))));
        assert_eq!(of(tally(Some(5), Some(7))), Some(PartValue::Whole(Some(17))));
        assert_eq!(of(tally(Some(1), None)), Some(PartValue::Whole(Some(2))));
        assert_eq!(of(tally(None, None)), Some(PartValue::Whole(None)));
        assert_eq!(of(tally(Some(i64::MAX), None)), None);
    }
}
