//! The tables of one snapshot.

mod catalog;
mod constraints;
mod key_values;
mod keys;
mod keys_needed;
mod points;
mod points_scan;
mod reading;
mod rows;
mod runs;
mod system;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use model::schema::Table;
use model::{ProjectName, Run};
use store::Snapshot;

pub(crate) use catalog::{CATALOG, PUBLIC, SnapshotCatalog};
use constraints::Constraints;
pub(crate) use keys::{KeyCache, KeyTypes};
pub(crate) use keys_needed::{NameNeededKeys, NeededKeys};
pub(crate) use reading::Reading;
pub use reading::{Notices, OnCorrupt};

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

    fn allows_run(&self, run: &Run) -> bool {
        self.allows(&run.project)
    }
}

/// What a table shows.
#[derive(Debug, Clone)]
enum Content {
    Runs { types: Arc<KeyTypes>, needed: Option<Arc<NeededKeys>> },
    Points,
    Rows(Table),
    Files,
    Functions,
    Limits,
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

impl SnapshotTable {
    fn is_points(&self) -> bool {
        matches!(self.content, Content::Points)
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
        let support = |filter: &&Expr| {
            if self.is_points() && Constraints::answers(filter) {
                TableProviderFilterPushDown::Exact
            } else {
                // Only to read less: the engine filters again.
                TableProviderFilterPushDown::Inexact
            }
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
        match &self.content {
            Content::Points => points::scan(self, partitions, projection, &constraints, limit).await,
            Content::Runs { types, needed } => {
                self.reading.check(&self.snapshot, &runs::tables_of(&self.schema, projection))?;
                runs::scan(self, types, needed.as_ref(), partitions, projection, &constraints, limit)
            }
            Content::Rows(table) => {
                self.reading.check(&self.snapshot, &[*table])?;
                rows::scan(self, *table, partitions, projection, &constraints, limit)
            }
            Content::Files => system::files(self, projection, limit),
            Content::Functions => system::functions(self, projection, limit),
            Content::Limits => system::limits(self, projection, limit),
        }
    }
}

/// A fault of the store, on its way through the engine.
fn storage(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
