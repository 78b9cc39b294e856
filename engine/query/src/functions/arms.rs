//! Two arms of runs told apart by a label: what all functions that compare two arms share.

use analysis::{Alternative, AnalysisError, Nonfinite};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::collect::{Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Parameter, optional, required};
use super::outcome::{Cell, struct_of_rows, struct_type};

pub(super) const X: Parameter = required("x", ArgumentKind::Value, "the values, one a run");
pub(super) const ARM: Parameter =
    required("arm", ArgumentKind::Label, "the column that tells the arms apart");
pub(super) const A: Parameter = required("a", ArgumentKind::Text, "the label of the first arm");
pub(super) const B: Parameter = required("b", ArgumentKind::Text, "the label of the second arm");
pub(super) const LEVEL: Parameter =
    optional("level", ArgumentKind::Number, "confidence level of the interval, default 0.95");
pub(super) const ALTERNATIVE: Parameter =
    optional("alternative", ArgumentKind::Text, "'two-sided' (default), 'greater' or 'less'");
pub(super) const NONFINITE: Parameter =
    optional("nonfinite", ArgumentKind::Text, "'keep' (default) or 'drop'");

/// The last fields of every comparison.
const TAIL: [(&str, DataType); 4] = [
    ("n_a", DataType::Int64),
    ("n_b", DataType::Int64),
    ("n_nonfinite", DataType::Int64),
    ("error", DataType::Utf8),
];

/// The type of a comparison with these fields before the common ones.
pub(super) fn comparison_type(fields: &[(&'static str, DataType)]) -> DataType {
    struct_type(&[fields, &TAIL].concat())
}

/// A field with a number.
pub(super) const fn number(name: &'static str) -> (&'static str, DataType) {
    (name, DataType::Float64)
}

/// The two arms of a call, and what happens to failed runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arms {
    labels: [String; 2],
    nonfinite: Nonfinite,
}

/// The values of the two arms in one group.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ArmSamples {
    /// Values of the first arm.
    pub(super) a: Vec<f64>,
    /// Values of the second arm.
    pub(super) b: Vec<f64>,
    /// Values of both that are NaN or infinite, used or dropped.
    pub(super) nonfinite_count: usize,
}

impl Arms {
    /// Reads `a`, `b` and `nonfinite`.
    pub(super) fn read(constants: &Constants<'_>) -> Result<Self> {
        let label = |name: &str| match constants.text(name) {
            Some(label) => Ok(label.to_owned()),
            None => constants.refuse(name, "NULL", "give the label of an arm"),
        };
        let labels = [label("a")?, label("b")?];
        if labels[0] == labels[1] {
            return constants.refuse("b", format_args!("'{}'", labels[1]), "give two different labels");
        }
        Ok(Self { labels, nonfinite: constants.nonfinite()? })
    }

    /// How rows are told apart.
    pub(super) fn row_key(&self) -> RowKey {
        RowKey::Arm(self.labels.clone())
    }

    /// How rows are told apart when they come in pairs too.
    pub(super) fn row_key_with_pairs(&self) -> RowKey {
        RowKey::ArmAndPair(self.labels.clone())
    }

    /// Whether failed runs are left out.
    pub(super) fn drops_nonfinite(&self) -> bool {
        self.nonfinite == Nonfinite::Drop
    }

    fn samples(&self, arms: &[i64], values: &[f64]) -> ArmSamples {
        let mut samples = ArmSamples::default();
        for (arm, value) in arms.iter().zip(values) {
            samples.nonfinite_count += usize::from(!value.is_finite());
            if value.is_finite() || !self.drops_nonfinite() {
                if *arm == 0 { &mut samples.a } else { &mut samples.b }.push(*value);
            }
        }
        samples
    }

    /// The samples of each group.
    pub(super) fn samples_of_groups(&self, groups: &Groups) -> Vec<ArmSamples> {
        groups.keyed().map(|(arms, values)| self.samples(arms, values)).collect()
    }

    /// One struct a group: the cells that `compare` gives (as many as there are `fields`), then sizes and error.
    ///
    /// `compare` gives the cells that it has also where it fails; missing ones are NULL.
    pub(super) fn compare(
        &self,
        groups: &Groups,
        fields: &[(&'static str, DataType)],
        mut compare: impl FnMut(&ArmSamples) -> (Vec<Cell>, Option<AnalysisError>),
    ) -> Result<ArrayRef> {
        let samples = self.samples_of_groups(groups);
        let nothing = samples.iter().map(|_| ());
        self.rows(&samples, fields, nothing, |samples, ()| compare(samples))
    }

    /// As [`Self::compare`], with something that was made of all groups at once, an element for each.
    pub(super) fn rows<T>(
        &self,
        samples: &[ArmSamples],
        fields: &[(&'static str, DataType)],
        of_groups: impl IntoIterator<Item = T>,
        mut compare: impl FnMut(&ArmSamples, T) -> (Vec<Cell>, Option<AnalysisError>),
    ) -> Result<ArrayRef> {
        let rows: Vec<Vec<Cell>> = samples
            .iter()
            .zip(of_groups)
            .map(|(samples, of_group)| {
                let (mut cells, error) = compare(samples, of_group);
                cells.resize(fields.len(), Cell::Number(None));
                cells.extend([
                    Cell::Count(Some(samples.a.len() as u64)),
                    Cell::Count(Some(samples.b.len() as u64)),
                    Cell::Count(Some(samples.nonfinite_count as u64)),
                    Cell::Word(error.map(|error| error.code())),
                ]);
                cells
            })
            .collect();
        struct_of_rows(&[fields, &TAIL].concat(), &rows)
    }
}

/// The words for the alternative of a test.
pub(super) const ALTERNATIVES: [(&str, Alternative); 3] =
    [("two-sided", Alternative::TwoSided), ("greater", Alternative::Greater), ("less", Alternative::Less)];

/// The alternative of a test.
pub(super) fn alternative(constants: &Constants<'_>) -> Result<Alternative> {
    constants.one_of("alternative", &ALTERNATIVES)
}

/// Splits what a comparison gives: its cells, or those that are known without it and the reason.
pub(super) fn or_reason<T>(
    result: analysis::Result<T>,
    cells: impl FnOnce(T) -> Vec<Cell>,
    otherwise: impl FnOnce(&AnalysisError) -> Vec<Cell>,
) -> (Vec<Cell>, Option<AnalysisError>) {
    match result {
        Ok(result) => (cells(result), None),
        Err(error) => (otherwise(&error), Some(error)),
    }
}

/// mean(a) - mean(b) as far as it exists, also where there is nothing to test.
pub(super) fn difference(error: &AnalysisError, samples: &ArmSamples) -> Cell {
    if let AnalysisError::ZeroVariance { difference } = error {
        return Cell::Number(Some(*difference));
    }
    difference_of_means(samples)
}

/// mean(a) - mean(b); NULL when an arm is empty.
pub(super) fn difference_of_means(samples: &ArmSamples) -> Cell {
    let mean = |values: &[f64]| {
        analysis::describe(values, 0.95, Nonfinite::Keep).ok().and_then(|summary| summary.mean)
    };
    Cell::Number(mean(&samples.a).zip(mean(&samples.b)).map(|(a, b)| a - b))
}
