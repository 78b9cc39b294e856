//! The schemas `pg_catalog` and `information_schema` of one caller.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{SchemaProvider, Session};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;

use super::{information_schema, pg_catalog};
use crate::tables::SnapshotCatalog;

/// The schema in which clients of PostgreSQL look for everything.
pub(crate) const PG_CATALOG: &str = "pg_catalog";
/// The schema of the standard.
pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";

/// One of the two schemas. Its tables are made when a statement names them.
#[derive(Debug)]
pub(crate) struct PostgresSchema {
    catalog: SnapshotCatalog,
    standard: bool,
}

impl PostgresSchema {
    /// The schema of this name, `None` for any other name.
    pub(crate) fn new(name: &str, catalog: SnapshotCatalog) -> Option<Self> {
        match name {
            PG_CATALOG => Some(Self { catalog, standard: false }),
            INFORMATION_SCHEMA => Some(Self { catalog, standard: true }),
            _ => None,
        }
    }
}

#[async_trait]
impl SchemaProvider for PostgresSchema {
    fn table_names(&self) -> Vec<String> {
        let names = if self.standard {
            information_schema::TABLES.to_vec()
        } else {
            pg_catalog::catalog_table_names()
        };
        names.into_iter().map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let rows = if self.standard {
            information_schema::rows_of(&self.catalog, name).await?
        } else {
            pg_catalog::rows_of(&self.catalog, name).await?
        };
        Ok(rows.map(|rows| Arc::new(PostgresTable::new(rows)) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        if self.standard {
            information_schema::TABLES.contains(&name)
        } else {
            pg_catalog::catalog_table_names().contains(&name)
        }
    }
}

/// A table of one of the two schemas.
#[derive(Debug)]
pub(crate) struct PostgresTable {
    rows: RecordBatch,
}

impl PostgresTable {
    pub(super) fn new(rows: RecordBatch) -> Self {
        Self { rows }
    }
}

#[async_trait]
impl TableProvider for PostgresTable {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = vec![vec![self.rows.clone()]];
        Ok(MemorySourceConfig::try_new_exec(&rows, self.rows.schema(), projection.cloned())?)
    }
}
