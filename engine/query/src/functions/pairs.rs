//! Runs of two arms that come in pairs: what the paired tests share.

use std::collections::BTreeMap;

use analysis::AnalysisError;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::Arms;
use super::collect::Groups;
use super::definition::{ArgumentKind, Parameter, required};
use super::outcome::{Cell, struct_of_rows, struct_type};

pub(super) const PAIR: Parameter =
    required("pair", ArgumentKind::Pair, "the column whose equal values make a pair, such as the seed");

/// The last fields of every paired comparison.
const TAIL: [(&str, DataType); 4] = [
    ("n", DataType::Int64),
    ("n_unpaired", DataType::Int64),
    ("n_nonfinite", DataType::Int64),
    ("error", DataType::Utf8),
];

/// The type of a paired comparison with these fields before the common ones.
pub(super) fn paired_type(fields: &[(&'static str, DataType)]) -> DataType {
    struct_type(&[fields, &TAIL].concat())
}

/// The pairs of one group.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pairs {
    /// Values of the first arm.
    pub(super) a: Vec<f64>,
    /// Those of the second arm, pair by pair.
    pub(super) b: Vec<f64>,
    unpaired: u64,
    nonfinite: u64,
    repeated: bool,
}

impl Pairs {
    fn of(arms: &Arms, keys: &[i64], values: &[f64], labels: &[u32]) -> Self {
        let mut pairs = Self::default();
        let mut by_label: BTreeMap<u32, [Option<f64>; 2]> = BTreeMap::new();
        for ((arm, value), label) in keys.iter().zip(values).zip(labels) {
            pairs.nonfinite += u64::from(!value.is_finite());
            if !value.is_finite() && arms.drops_nonfinite() {
                continue;
            }
            let place = &mut by_label.entry(*label).or_default()[usize::from(*arm != 0)];
            pairs.repeated |= place.is_some();
            *place = Some(*value);
        }
        for sides in by_label.into_values() {
            match sides {
                [Some(a), Some(b)] => {
                    pairs.a.push(a);
                    pairs.b.push(b);
                }
                _ => pairs.unpaired += 1,
            }
        }
        pairs
    }

    /// The differences a - b.
    pub(super) fn differences(&self) -> Vec<f64> {
        self.a.iter().zip(&self.b).map(|(a, b)| a - b).collect()
    }
}

/// One struct a group: the cells that `compare` gives, then sizes and error. Missing cells are NULL; where an arm has a
/// pair twice nothing is compared.
pub(super) fn compare_pairs(
    arms: &Arms,
    groups: &Groups,
    fields: &[(&'static str, DataType)],
    compare: impl Fn(&Pairs) -> (Vec<Cell>, Option<AnalysisError>),
) -> Result<ArrayRef> {
    let rows: Vec<Vec<Cell>> = groups
        .keyed()
        .zip(groups.labels())
        .map(|((keys, values), labels)| {
            let pairs = Pairs::of(arms, keys, values, labels);
            let (mut cells, error) = if pairs.repeated {
                let detail = "a pair stands more than once in an arm".to_owned();
                (Vec::new(), Some(AnalysisError::PairingMismatch { detail }))
            } else {
                compare(&pairs)
            };
            cells.resize(fields.len(), Cell::Number(None));
            cells.extend([
                Cell::Count(Some(pairs.a.len() as u64)),
                Cell::Count(Some(pairs.unpaired)),
                Cell::Count(Some(pairs.nonfinite)),
                Cell::Word(error.map(|error| error.code())),
            ]);
            cells
        })
        .collect();
    struct_of_rows(&[fields, &TAIL].concat(), &rows)
}
