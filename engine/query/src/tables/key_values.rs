//! `params` and `tags`: one row a run and key.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, StringBuilder};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use model::schema::Table;
use model::{Key, Run};

use super::SnapshotTable;
use super::constraints::Constraints;
use super::rows::{plan, projected, runs_of};

/// A scan; with `key = ...` it looks up only those keys of each run.
pub(super) fn scan(
    shown: &SnapshotTable,
    table: Table,
    partitions: usize,
    projection: Option<&Vec<usize>>,
    constraints: &Constraints,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let runs = runs_of(&shown.snapshot, &shown.access, constraints);
    let keys: Option<Vec<String>> = constraints.texts("key").map(|keys| keys.iter().cloned().collect());
    let schema = projected(&shown.schema, projection)?;
    let columns = projection.cloned().unwrap_or_else(|| (0..shown.schema.fields().len()).collect());
    let batch_schema = Arc::clone(&schema);
    plan(schema, runs, partitions, limit, move |runs: &[Arc<Run>]| {
        let mut rows = Rows::new(&columns);
        for run in runs {
            match table {
                Table::Params => each(&run.params, keys.as_deref(), |key, value| {
                    rows.push(run, key, value.as_str(), || value.number());
                }),
                _ => each(&run.tags, keys.as_deref(), |key, value| {
                    rows.push(run, key, value.as_str(), || value.number());
                }),
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&batch_schema), rows.finish(), &options)?)
    })
}

fn each<V>(
    values: &std::collections::BTreeMap<Key, V>,
    keys: Option<&[String]>,
    mut take: impl FnMut(&str, &V),
) {
    match keys {
        Some(keys) => {
            for key in keys {
                if let Some(value) = values.get(key.as_str()) {
                    take(key, value);
                }
            }
        }
        None => values.iter().for_each(|(key, value)| take(key.as_str(), value)),
    }
}

/// The columns that are wanted, while they grow.
struct Rows {
    columns: Vec<Column>,
    count: usize,
}

enum Column {
    Text(usize, StringBuilder),
    Number(Float64Builder),
}

impl Rows {
    fn new(columns: &[usize]) -> Self {
        let column = |&position: &usize| match position {
            5 => Column::Number(Float64Builder::new()),
            position => Column::Text(position, StringBuilder::new()),
        };
        Self { columns: columns.iter().map(column).collect(), count: 0 }
    }

    fn push(&mut self, run: &Run, key: &str, text: &str, number: impl Fn() -> Option<f64>) {
        self.count += 1;
        for column in &mut self.columns {
            match column {
                Column::Text(0, builder) => builder.append_value(run.project.as_str()),
                Column::Text(1, builder) => builder.append_value(run.experiment.as_str()),
                Column::Text(2, builder) => builder.append_value(run.id.to_string()),
                Column::Text(3, builder) => builder.append_value(key),
                Column::Text(_, builder) => builder.append_value(text),
                Column::Number(builder) => builder.append_option(number()),
            }
        }
    }

    fn finish(self) -> Vec<ArrayRef> {
        let finish = |column| -> ArrayRef {
            match column {
                Column::Text(_, mut builder) => Arc::new(builder.finish()),
                Column::Number(mut builder) => Arc::new(builder.finish()),
            }
        };
        self.columns.into_iter().map(finish).collect()
    }
}
