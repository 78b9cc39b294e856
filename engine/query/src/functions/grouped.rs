//! Aggregates that answer each group by itself with one struct: what they share. Each is its description, its fields and
//! how a call is prepared: the constants are read once, what is given back answers group after group.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use analysis::Nonfinite;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{ArmSamples, Arms, comparison_type};
use super::bootstrap::Draws;
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{Constants, Definition};
use super::outcome::{Cell, struct_of_rows, struct_type};
use super::pairs::{Pairs, compare_pairs, paired_type};
use super::row_by_row::{Fields, Found, with_reason};

/// The last fields where a group is taken as a whole, before `error`.
const TAIL: [(&str, DataType); 2] = [("n", DataType::Int64), ("n_nonfinite", DataType::Int64)];

/// An aggregate.
#[derive(Debug)]
pub(super) struct GroupFunction {
    pub(super) definition: &'static Definition,
    /// The fields of its own; those of every function of its kind follow.
    pub(super) fields: fn() -> Fields,
    pub(super) prepare: Prepare,
}

/// What a call is made of, by what it looks at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prepare {
    /// All rows of a group; `n`, `n_nonfinite` and `error` follow.
    Sample(fn(&Constants<'_>, Draws) -> Result<(RowKey, OfSample)>),
    /// The same of all groups in one go, for what is cheaper so.
    Samples(fn(&Constants<'_>, Draws) -> Result<(RowKey, OfSamples)>),
    /// The values of two arms; their sizes and `error` follow.
    Arms(fn(&Constants<'_>, Draws) -> Result<OfArms>),
    /// The values of two arms that come in pairs; their number and `error` follow.
    Pairs(fn(&Constants<'_>, Draws) -> Result<OfPairs>),
}

/// Answers one group.
pub(super) type OfSample = Box<dyn Fn(&Sample<'_>) -> Found + Send + Sync>;
/// Answers all groups, in their order.
pub(super) type OfSamples = Box<dyn Fn(&[Sample<'_>]) -> Vec<Found> + Send + Sync>;
/// Answers two arms.
pub(super) type OfArms = Box<dyn Fn(&ArmSamples) -> Found + Send + Sync>;
/// Answers two arms of pairs.
pub(super) type OfPairs = Box<dyn Fn(&Pairs) -> Found + Send + Sync>;

/// What was found, or why nothing was.
pub(super) fn found<T>(result: analysis::Result<T>, cells: impl FnOnce(T) -> Vec<Cell>) -> Found {
    match result {
        Ok(result) => (cells(result), None),
        Err(error) => (Vec::new(), Some(error)),
    }
}

/// The rows of one group that count.
pub(super) struct Sample<'a> {
    pub(super) values: &'a [f64],
    /// Bits of a position, a step or the number of an arm; empty without such a column.
    pub(super) keys: &'a [i64],
    labels: Vec<&'a [u32]>,
    names: &'a [String],
}

impl<'a> Sample<'a> {
    /// These rows of some groups.
    fn of(groups: &'a Groups, rows: Range<usize>) -> Self {
        Self {
            values: &groups.values[rows.clone()],
            keys: groups.keys.get(rows.clone()).unwrap_or_default(),
            labels: groups.labels.iter().map(|labels| &labels[rows.clone()]).collect(),
            names: &groups.names,
        }
    }

    /// Positions and values.
    pub(super) fn points(&self) -> (Vec<f64>, Vec<f64>) {
        let positions = self.keys.iter().map(|bits| f64::from_bits(bits.cast_unsigned()));
        (positions.collect(), self.values.to_vec())
    }

    /// The values in the order of their positions.
    pub(super) fn in_order(&self) -> Vec<f64> {
        let (positions, values) = self.points();
        let mut points: Vec<(f64, f64)> = positions.into_iter().zip(values).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        points.into_iter().map(|(_, value)| value).collect()
    }

    /// The label of each row in a column of labels; nothing where the call names no such column.
    pub(super) fn labels(&self, column: usize) -> impl Iterator<Item = &'a str> + use<'a> {
        let names = self.names;
        let labels = self.labels.get(column).copied().unwrap_or_default();
        labels.iter().map(move |&label| names[label as usize].as_str())
    }

    /// The values of each label of the first column of labels, in the order of the labels.
    pub(super) fn by_label(&self) -> BTreeMap<&'a str, Vec<f64>> {
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (label, value) in self.labels(0).zip(self.values) {
            values.entry(label).or_default().push(*value);
        }
        values
    }

    /// The same of each of two arms, whose numbers are the keys.
    pub(super) fn arms_by_label(&self) -> [BTreeMap<&'a str, Vec<f64>>; 2] {
        let mut arms = [BTreeMap::new(), BTreeMap::new()];
        for ((label, value), arm) in self.labels(0).zip(self.values).zip(self.keys) {
            let own: &mut Vec<f64> = arms[usize::from(*arm != 0)].entry(label).or_default();
            own.push(*value);
        }
        arms
    }
}

/// Makes a [`GroupFunction`] an aggregate over collected values, with the device and seed of the session.
#[derive(Debug, Clone)]
pub(super) struct Grouped {
    pub(super) function: &'static GroupFunction,
    pub(super) draws: Draws,
}

impl PartialEq for Grouped {
    fn eq(&self, other: &Self) -> bool {
        self.function.definition.name == other.function.definition.name && self.draws == other.draws
    }
}

impl Eq for Grouped {}

impl Hash for Grouped {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.definition.name.hash(state);
        self.draws.hash(state);
    }
}

impl CollectingFunction for Grouped {
    fn definition(&self) -> &'static Definition {
        self.function.definition
    }

    fn return_type(&self) -> DataType {
        let fields = (self.function.fields)();
        match self.function.prepare {
            Prepare::Sample(_) | Prepare::Samples(_) => struct_type(&with_tail(&fields)),
            Prepare::Arms(_) => comparison_type(&fields),
            Prepare::Pairs(_) => paired_type(&fields),
        }
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        let fields = (self.function.fields)();
        let answer = match self.function.prepare {
            Prepare::Sample(prepare) => {
                let (key, one) = prepare(constants, self.draws)?;
                let answer: OfSamples = Box::new(move |samples| samples.iter().map(&one).collect());
                Answer::Samples { key, nonfinite: constants.nonfinite()?, answer }
            }
            Prepare::Samples(prepare) => {
                let (key, answer) = prepare(constants, self.draws)?;
                Answer::Samples { key, nonfinite: constants.nonfinite()?, answer }
            }
            Prepare::Arms(prepare) => {
                Answer::Arms { arms: Arms::read(constants)?, answer: prepare(constants, self.draws)? }
            }
            Prepare::Pairs(prepare) => {
                Answer::Pairs { arms: Arms::read(constants)?, answer: prepare(constants, self.draws)? }
            }
        };
        Ok(Arc::new(Call { name: self.function.definition.name, fields, answer }))
    }
}

fn with_tail(fields: &[(&'static str, DataType)]) -> Fields {
    [fields, &TAIL, &[("error", DataType::Utf8)]].concat()
}

enum Answer {
    Samples { key: RowKey, nonfinite: Nonfinite, answer: OfSamples },
    Arms { arms: Arms, answer: OfArms },
    Pairs { arms: Arms, answer: OfPairs },
}

struct Call {
    name: &'static str,
    fields: Fields,
    answer: Answer,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        match &self.answer {
            Answer::Samples { key, .. } => key.clone(),
            Answer::Arms { arms, .. } => arms.row_key(),
            Answer::Pairs { arms, .. } => arms.row_key_with_pairs(),
        }
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        match &self.answer {
            Answer::Arms { arms, answer } => arms.compare(groups, &self.fields, answer),
            Answer::Pairs { arms, answer } => compare_pairs(arms, groups, &self.fields, answer),
            Answer::Samples { nonfinite, answer, .. } => self.of_samples(groups, *nonfinite, answer),
        }
    }
}

impl Call {
    fn of_samples(&self, groups: &Groups, nonfinite: Nonfinite, answer: &OfSamples) -> Result<ArrayRef> {
        let nonfinite_counts: Vec<usize> =
            groups.values().map(|values| values.iter().filter(|value| !value.is_finite()).count()).collect();
        let rows = || groups.offsets.windows(2).map(|ends| ends[0]..ends[1]);
        let dropped: Vec<Option<Groups>> = rows()
            .zip(&nonfinite_counts)
            .map(|(rows, count)| {
                (nonfinite == Nonfinite::Drop && *count > 0).then(|| only_finite(groups, rows))
            })
            .collect();
        let samples: Vec<Sample<'_>> = rows()
            .zip(&dropped)
            .map(|(rows, dropped)| match dropped {
                Some(kept) => Sample::of(kept, 0..kept.values.len()),
                None => Sample::of(groups, rows),
            })
            .collect();
        let rows: Vec<Vec<Cell>> = answer(&samples)
            .into_iter()
            .zip(samples.iter().zip(nonfinite_counts))
            .map(|((mut cells, error), (sample, nonfinite_count))| {
                cells.resize(self.fields.len(), Cell::Number(None));
                cells.extend(
                    [sample.values.len(), nonfinite_count].map(|count| Cell::Count(Some(count as u64))),
                );
                let count = cells.len();
                with_reason((cells, error), count)
            })
            .collect();
        struct_of_rows(&with_tail(&self.fields), &rows)
    }
}

/// The rows of one group whose value is finite, as a group of its own.
fn only_finite(groups: &Groups, rows: Range<usize>) -> Groups {
    let kept: Vec<usize> = rows.filter(|row| groups.values[*row].is_finite()).collect();
    let keys =
        if groups.keys.is_empty() { Vec::new() } else { kept.iter().map(|row| groups.keys[*row]).collect() };
    Groups {
        offsets: vec![0, kept.len()],
        values: kept.iter().map(|row| groups.values[*row]).collect(),
        keys,
        labels: groups.labels.iter().map(|labels| kept.iter().map(|row| labels[*row]).collect()).collect(),
        names: Arc::clone(&groups.names),
    }
}
