//! `clustered_mean`: a mean over examples that belong together.

use std::collections::HashMap;
use std::sync::Arc;

use analysis::AnalysisError;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::number;
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::{Cell, struct_of_rows, struct_type};

pub(super) static DEFINITION: Definition = Definition {
    name: "clustered_mean",
    kind: FunctionKind::Aggregate,
    summary: "The mean of per-example scores whose examples come in clusters (a passage with ten questions, a \
              repository, a template), with a clustered standard error, its correction for few clusters and t(G - 1) \
              (Miller 2024). se_independent is what it would be without clusters: too small when they matter. For the \
              difference of two checkpoints give the differences by example. Below five clusters error is \
              too_few_clusters, which is told beside the numbers; others are empty_sample, too_few_runs and \
              nonfinite_value.",
    parameters: &[
        required("x", ArgumentKind::Value, "the scores, one an example"),
        required("cluster", ArgumentKind::Pair, "what examples belong together by"),
        optional("level", ArgumentKind::Number, "confidence level of the interval, default 0.95"),
    ],
    returns: "struct(estimate, low, high, se, se_independent, p, clusters, n, error)",
    example: "SELECT clustered_mean(x, passage)['se'] AS se\nFROM (VALUES (1.0, 'a'), (1.0, 'a'), (0.0, 'b'), (0.0, 'b'), (1.0, 'c'), (0.0, 'd'), (1.0, 'e')) AS answers(x, passage)",
};

const FIELDS: [(&str, DataType); 9] = [
    number("estimate"),
    number("low"),
    number("high"),
    number("se"),
    number("se_independent"),
    number("p"),
    ("clusters", DataType::Int64),
    ("n", DataType::Int64),
    ("error", DataType::Utf8),
];

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ClusteredMean;

impl CollectingFunction for ClusteredMean {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        struct_type(&FIELDS)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        Ok(Arc::new(Call { level: constants.level()? }))
    }
}

#[derive(Debug)]
struct Call {
    level: f64,
}

impl Call {
    fn numbers(&self, scores: &[f64], clusters: &[u64]) -> analysis::Result<([f64; 6], bool)> {
        let found = analysis::clustered_mean(scores, clusters)?;
        let [low, high] = found.interval(self.level)?;
        let p = found.p_two_sided()?.value();
        let numbers = [found.mean, low, high, found.standard_error, found.independent_error, p];
        Ok((numbers, found.enough_clusters))
    }
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        RowKey::Stratum
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        let rows: Vec<Vec<Cell>> = groups
            .values()
            .zip(groups.labels())
            .map(|(scores, labels)| {
                // Numbers of labels are those of all groups; a group counts its own.
                let mut own: HashMap<u32, u64> = HashMap::new();
                let clusters: Vec<u64> = labels
                    .iter()
                    .map(|label| {
                        let next = own.len() as u64;
                        *own.entry(*label).or_insert(next)
                    })
                    .collect();
                let found = self.numbers(scores, &clusters);
                let mut cells = match &found {
                    Ok((numbers, _)) => numbers.map(|number| Cell::Number(Some(number))).to_vec(),
                    Err(_) => vec![Cell::Number(None); 6],
                };
                let error = match &found {
                    Ok((_, true)) => None,
                    Ok((_, false)) => Some("too_few_clusters"),
                    Err(error) => Some(AnalysisError::code(error)),
                };
                cells.extend([
                    Cell::Count(Some(own.len() as u64)),
                    Cell::Count(Some(scores.len() as u64)),
                    Cell::Word(error),
                ]);
                cells
            })
            .collect();
        struct_of_rows(&FIELDS, &rows)
    }
}
