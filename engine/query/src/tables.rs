//! The tables of one snapshot.

mod catalog;
mod column_scan;
mod constraints;
mod group_numbers;
mod key_values;
mod keys;
mod keys_needed;
mod numbered_aggregate;
mod param_table;
mod points;
mod points_scan;
mod reading;
mod records;
mod rows;
mod run_keys;
mod runs;
mod series;
mod series_filter;
mod series_parts;
mod system;
mod wide_structs;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use model::ProjectName;
use model::schema::Table;
use store::Snapshot;

pub(crate) use catalog::{CATALOG, Listing, PUBLIC, SnapshotCatalog, is_table};
use column_scan::Request;
use constraints::Constraints;
pub(crate) use keys::{KeyCache, KeyTypes};
pub(crate) use keys_needed::{NameNeededKeys, NeededKeys};
pub(crate) use numbered_aggregate::AggregateByNumbers;
pub(crate) use param_table::{ParamColumn, ParamTable, ParamValues, TextColumn, params_of};
pub(crate) use reading::Reading;
pub use reading::{Notices, OnCorrupt};
pub(crate) use run_keys::JoinOnOrdinals;
pub(crate) use runs::{last_values, shown_series};
pub(crate) use series_parts::AnswerBySeries;
use series_parts::Decision;
pub(crate) use wide_structs::show_commonest_keys;

use crate::service::EngineView;

/// Which projects a caller sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// All of them.
    #[default]
    All,
    /// Only these.
    Projects(Arc<BTreeSet<ProjectName>>),
}

impl Access {
    /// Whether a project is seen.
    pub fn allows(&self, project: &ProjectName) -> bool {
        match self {
            Self::All => true,
            Self::Projects(projects) => projects.contains(project),
        }
    }
}

/// What a table shows.
#[derive(Debug, Clone)]
enum Content {
    Runs {
        types: Arc<KeyTypes>,
        needed: Option<Arc<NeededKeys>>,
    },
    /// Of all series, or of those that a decision leaves open.
    Points(Option<Arc<Decision>>),
    /// What series add to an aggregate over points.
    SeriesParts(Arc<Decision>),
    Rows(Table),
    Files,
    Functions,
    Limits(EngineView),
    Queries(EngineView),
    Wal(EngineView),
    Jobs(EngineView),
}

/// A table of one snapshot, with the rows of the projects that its schema shows.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotTable {
    snapshot: Snapshot,
    access: Access,
    reading: Reading,
    content: Content,
    schema: SchemaRef,
}

/// The schema of a table in SQL: texts as views, which the engine copies without copying the text.
fn as_views(schema: &SchemaRef) -> SchemaRef {
    let view = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 => field.as_ref().clone().with_data_type(DataType::Utf8View),
        _ => field.as_ref().clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(view).collect::<Vec<_>>()))
}

/// Whether a filter can be asked of a row alone.
fn stands_alone(filter: &Expr) -> bool {
    let needs_more = filter.exists(|part| {
        Ok(matches!(
            part,
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::OuterReferenceColumn(..)
        ) || matches!(part, Expr::Placeholder(_)))
    });
    !filter.is_volatile() && !needs_more.unwrap_or(true)
}

impl SnapshotTable {
    /// Whether it shows the engine and not the lake.
    pub(crate) fn is_of_the_engine(&self) -> bool {
        match &self.content {
            Content::Runs { .. } | Content::Points(_) | Content::SeriesParts(_) | Content::Rows(_) => false,
            Content::Files
            | Content::Functions
            | Content::Limits(_)
            | Content::Queries(_)
            | Content::Wal(_)
            | Content::Jobs(_) => true,
        }
    }
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match &self.content {
            Content::Points(_) if Constraints::answers(filter) => TableProviderFilterPushDown::Exact,
            Content::Runs { .. }
            | Content::SeriesParts(_)
            | Content::Rows(Table::Params | Table::Tags | Table::Series | Table::Records(_))
                if stands_alone(filter) =>
            {
                TableProviderFilterPushDown::Exact
            }
            // Only to read less: the engine filters again.
            Content::Points(_) => TableProviderFilterPushDown::Inexact,
            _ => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let constraints = Constraints::of(filters);
        let partitions = session.config_options().execution.target_partitions;
        // What a table looks up by its constraints need not be asked of every row.
        let looked_up: &[&str] = match &self.content {
            Content::Runs { .. } => &["run_id"],
            Content::Rows(Table::Params | Table::Tags) => &["run_id", "key"],
            Content::Rows(Table::Series) | Content::SeriesParts(_) => {
                &["run_id", "metric", "context", "project", "experiment"]
            }
            _ => &[],
        };
        let asked: Vec<&Expr> =
            filters.iter().filter(|filter| !Constraints::answers_by(filter, looked_up)).collect();
        let described: Vec<String> = filters.iter().map(ToString::to_string).collect();
        let request =
            Request { session, projection, filters: &asked, described: described.join(" AND "), limit };
        match &self.content {
            Content::Points(decision) => {
                let decision = decision.as_ref();
                points::scan(self, partitions, projection, &constraints, decision, limit).await
            }
            Content::SeriesParts(decision) => {
                self.reading.check(&self.snapshot, &[Table::Series])?;
                series::scan_parts(self, decision, &constraints, &request)
            }
            Content::Runs { types, needed } => {
                self.reading.check(&self.snapshot, &runs::tables_of(&self.schema, projection))?;
                runs::scan(self, types, needed.as_ref(), &constraints, &request)
            }
            Content::Rows(table) => {
                self.reading.check(&self.snapshot, &[*table])?;
                match table {
                    Table::Params | Table::Tags => key_values::scan(self, *table, &constraints, &request),
                    Table::Series => series::scan(self, &constraints, &request),
                    Table::Records(kind) => records::scan(self, *kind, &request),
                    _ => rows::scan(self, *table, projection, limit),
                }
            }
            Content::Files => system::files(self, projection, limit),
            Content::Functions => system::functions(self, projection, limit),
            Content::Limits(view) => system::limits(self, view, projection, limit),
            Content::Queries(view) => system::queries(self, view, projection, limit),
            Content::Wal(view) => system::wal(self, view, projection, limit),
            Content::Jobs(view) => system::jobs(self, view, projection, limit),
        }
    }
}

/// A fault of the store, on its way through the engine.
fn storage(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
