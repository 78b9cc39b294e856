//! The walk over a plan: only tables and functions that the session gave out, nothing that writes.

use std::sync::Arc;

use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::{TableProvider, source_as_provider};
use datafusion::logical_expr::LogicalPlan;

use crate::error::QueryError;
use crate::functions::ComputedTable;
use crate::guard::functions::CappedSeries;
use crate::postgres::PostgresTable;
use crate::tables::SnapshotTable;

/// Refuses a plan that holds anything but reads of its own tables.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let refused = match node {
            LogicalPlan::Dml(_) => Some("a statement that writes rows"),
            LogicalPlan::Ddl(_) => Some("a statement that creates or drops"),
            LogicalPlan::Copy(_) => Some("COPY"),
            LogicalPlan::Statement(_) => Some("this statement"),
            LogicalPlan::Extension(_) => Some("an extension of the engine"),
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source)?;
                if let Some(computed) = provider.downcast_ref::<ComputedTable>() {
                    computed.plans().try_for_each(check_plan)?;
                }
                (!is_ours(&provider)).then_some("reading from outside of the lake")
            }
            _ => None,
        };
        match refused {
            Some(what) => {
                let error = QueryError::ReadOnly { what: what.to_owned() };
                Err(DataFusionError::External(Box::new(error)))
            }
            None => Ok(TreeNodeRecursion::Continue),
        }
    })?;
    Ok(())
}

/// Our tables, those that our functions compute, those for clients of PostgreSQL, the capped series, and the streams of
/// `information_schema`, which nothing else can bring in: the session has no way to register a table.
fn is_ours(provider: &Arc<dyn TableProvider>) -> bool {
    provider.is::<SnapshotTable>()
        || provider.is::<ComputedTable>()
        || provider.is::<PostgresTable>()
        || provider.is::<CappedSeries>()
        || provider.is::<StreamingTable>()
}
