//! Joins that end when their statement does, and leave threads to others.
//!
//! The engine stops work where it waits for the next batch of a table, and lets others compute there too. A join of two
//! large inputs makes billions of rows of two batches without ever waiting. So here, at each batch that it gives and each
//! time that its filter looks at one, it is asked whether its statement was stopped; and every so often its thread stops
//! being one that others wait for. In plans that are shown it looks like the join itself.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, SortMergeJoinExec,
};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

use super::stop::Stop;

/// A plan whose joins end when the statement is stopped.
pub(crate) fn stoppable(plan: Arc<dyn ExecutionPlan>, stop: &Arc<Stop>) -> Result<Arc<dyn ExecutionPlan>> {
    let changed = plan.transform_up(|plan| {
        let inner = if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            match join.filter() {
                None => plan,
                Some(filter) => {
                    let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
                    let join = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
                        .with_projection_ref(join.projection().clone())
                        .with_filter(Some(checked(filter, stop)));
                    Arc::new(join.build()?)
                }
            }
        } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            match join.filter() {
                None => plan,
                Some(filter) => join.builder().with_filter(Some(checked(filter, stop))).build_exec()?,
            }
        } else if plan.is::<CrossJoinExec>() || plan.is::<SortMergeJoinExec>() || plan.is::<UnnestExec>() {
            plan
        } else {
            return Ok(Transformed::no(plan));
        };
        let stoppable = Stoppable { inner, look: Look::new(stop) };
        Ok(Transformed::yes(Arc::new(stoppable) as Arc<dyn ExecutionPlan>))
    })?;
    Ok(changed.data)
}

fn checked(filter: &JoinFilter, stop: &Arc<Stop>) -> JoinFilter {
    let checked = Checked { inner: Arc::clone(filter.expression()), look: Look::new(stop) };
    JoinFilter::new(Arc::new(checked), filter.column_indices().to_vec(), Arc::clone(filter.schema()))
}

/// After so many looks, some milliseconds of work each, the other tasks of a thread go to another one.
const LOOKS: u32 = 64;

/// What is asked again and again.
#[derive(Debug, Clone)]
struct Look {
    stop: Arc<Stop>,
    count: Arc<AtomicU32>,
}

impl Look {
    fn new(stop: &Arc<Stop>) -> Self {
        Self { stop: Arc::clone(stop), count: Arc::default() }
    }

    /// Fails when the statement was stopped.
    fn look(&self) -> Result<()> {
        if let Some(cause) = self.stop.cause() {
            return Err(DataFusionError::External(Box::new(cause)));
        }
        if self.count.fetch_add(1, Ordering::Relaxed) % LOOKS == LOOKS - 1 {
            // Hands the tasks that wait for this thread to another one, once for each time that the join is polled.
            // The threads of a factory allow it, and nothing else runs these plans.
            tokio::task::block_in_place(|| {});
        }
        Ok(())
    }
}

/// A node that gives no batch after its statement was stopped.
#[derive(Debug)]
struct Stoppable {
    inner: Arc<dyn ExecutionPlan>,
    look: Look,
}

impl DisplayAs for Stoppable {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_as(kind, f)
    }
}

impl ExecutionPlan for Stoppable {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.inner.maintains_input_order()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inner.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let inner = Arc::clone(&self.inner).replace_children(children, options)?;
        Ok(Arc::new(Self { inner, look: self.look.clone() }))
    }

    #[allow(deprecated)]
    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let inner = Arc::clone(&self.inner).with_new_children(children)?;
        Ok(Arc::new(Self { inner, look: self.look.clone() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batches = self.inner.execute(partition, context)?;
        let (schema, look) = (batches.schema(), self.look.clone());
        let batches = batches.map(move |batch| {
            look.look()?;
            batch
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.inner.metrics()
    }
}

/// A filter that looks at no batch after its statement was stopped.
#[derive(Debug)]
struct Checked {
    inner: Arc<dyn PhysicalExpr>,
    look: Look,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

impl PartialEq for Checked {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Checked {}

impl Hash for Checked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl PhysicalExpr for Checked {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.look.look()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.pop().unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(Self { inner, look: self.look.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
