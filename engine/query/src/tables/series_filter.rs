//! Filters over the names of series (project, experiment, run, metric, context): those of joins, which become known while
//! a statement runs and leave out whole series before any of their points is read.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use model::schema::Table;
use store::segment::chunk_index::ChunkIndex;
use store::{Registry, SeriesEntry};

use super::as_views;

/// The columns in front of `step` are the names of the series.
const NAMES: usize = 5;

/// A filter that needs nothing but the names of a series.
#[derive(Debug, Clone)]
pub(super) struct SeriesFilter {
    expression: Arc<dyn PhysicalExpr>,
    columns: Vec<usize>,
    schema: SchemaRef,
}

/// The names of one series, in the order of the columns of `points`.
type Names<'a> = [Option<&'a str>; NAMES];

impl SeriesFilter {
    /// A filter over the columns of a scan, which stand at `projection` in the table; `None` when it needs more than
    /// names.
    pub(super) fn new(expression: &Arc<dyn PhysicalExpr>, projection: &[usize]) -> Option<Self> {
        let used = collect_columns(expression);
        let place = |column: &Column| projection.get(column.index()).copied().filter(|place| *place < NAMES);
        let mut columns: Vec<usize> = used.iter().map(place).collect::<Option<_>>()?;
        if columns.is_empty() {
            return None;
        }
        columns.sort_unstable();
        columns.dedup();
        let schema = Arc::new(as_views(&Table::Points.schema()).project(&columns).ok()?);
        let expression = Arc::clone(expression)
            .transform_down(|expression| {
                let at = expression.downcast_ref::<Column>().and_then(|column| {
                    Some((column.name().to_owned(), columns.binary_search(&place(column)?).ok()?))
                });
                Ok(match at {
                    Some((name, at)) => {
                        Transformed::yes(Arc::new(Column::new(&name, at)) as Arc<dyn PhysicalExpr>)
                    }
                    None => Transformed::no(expression),
                })
            })
            .ok()?
            .data;
        Some(Self { expression, columns, schema })
    }

    pub(super) fn expression(&self) -> &Arc<dyn PhysicalExpr> {
        &self.expression
    }

    /// The positions of the series that the filter takes.
    pub(super) fn keep(&self, index: &ChunkIndex, positions: Vec<usize>) -> Result<Vec<usize>> {
        if positions.is_empty() {
            return Ok(positions);
        }
        // The texts of run ids are made here and must live as long as the names that borrow them.
        let wants_run = self.columns.contains(&2);
        let series: Vec<_> = positions.iter().filter_map(|position| index.get(*position)).collect();
        let ids: Vec<String> = series
            .iter()
            .map(|series| if wants_run { series.run.to_string() } else { String::new() })
            .collect();
        let names = series.iter().zip(&ids).map(|(series, id)| -> Names<'_> {
            [Some(series.project), Some(series.experiment), Some(id), Some(series.metric), series.context]
        });
        let holds = self.evaluate(names, series.len())?;
        let holds = holds.as_boolean();
        let kept = series.iter().enumerate().filter(|(at, _)| holds.is_valid(*at) && holds.value(*at));
        Ok(kept.map(|(_, series)| series.position).collect())
    }

    /// Whether the filter takes a series of memory.
    pub(super) fn takes(&self, registry: &Registry, entry: &SeriesEntry<'_>) -> Result<bool> {
        let Some(run) = registry.runs().get(entry.run) else { return Ok(false) };
        let id = entry.run_id.to_string();
        let names: Names<'_> = [
            Some(run.project().as_str()),
            Some(run.experiment().as_str()),
            Some(&id),
            Some(entry.metric.as_str()),
            entry.context.map(|context| context.as_str()),
        ];
        let holds = self.evaluate(std::iter::once(names), 1)?;
        let holds = holds.as_boolean();
        Ok(holds.is_valid(0) && holds.value(0))
    }

    fn evaluate<'a>(&self, names: impl Iterator<Item = Names<'a>> + Clone, rows: usize) -> Result<ArrayRef> {
        let column = |column: &usize| -> ArrayRef {
            let mut builder = StringViewBuilder::with_capacity(rows);
            names.clone().for_each(|names| builder.append_option(names.get(*column).copied().flatten()));
            Arc::new(builder.finish())
        };
        let columns = self.columns.iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.expression.evaluate(&batch)?.into_array(rows)
    }
}

impl fmt::Display for SeriesFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.expression)
    }
}
