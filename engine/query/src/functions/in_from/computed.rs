//! Tables whose rows are computed at once from all rows of some queries: what the functions in FROM that call kernels
//! share.
//!
//! The queries run as parts of the statement's plan. Their rows are taken up batch by batch into columns of numbers,
//! which count as memory of the statement. A kernel computes on the thread that asked for its rows, as in aggregates:
//! when the statement is stopped meanwhile, the caller has its answer and the kernel comes to its end.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::curve_set::CurveTaker;
use super::row_table::RowTaker;

/// Rows of a batch of the answer.
const BATCH_ROWS: usize = 8_192;

/// What is computed.
pub(super) trait Work: fmt::Debug + Send + Sync {
    /// The method in EXPLAIN.
    fn described(&self) -> String;

    /// All rows of the answer, from what the queries gave.
    ///
    /// # Errors
    /// Whatever is wrong with the data; memory that there is not.
    fn compute(&self, taken: Taken, memory: &Memory) -> Result<RecordBatch>;
}

/// What the queries of a call give, each as far as the call has it.
#[derive(Debug, Clone)]
pub(super) struct Inputs<T> {
    /// One row a run or trial.
    pub(super) rows: Option<T>,
    /// Points of curves.
    pub(super) curves: Option<T>,
}

impl<T> Inputs<T> {
    fn each(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().chain(&self.curves)
    }
}

/// The rows of the queries in columns of numbers.
pub(super) struct Taken {
    /// Of a query with one row a run or trial.
    pub(super) rows: Option<RowTaker>,
    /// Of a query of points.
    pub(super) curves: Option<CurveTaker>,
}

/// The memory that a call takes of its statement; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Memory(MemoryReservation);

impl Memory {
    /// Takes bytes before they are used.
    ///
    /// # Errors
    /// When the statement may not have them, or was stopped.
    pub(super) fn take(&self, bytes: usize) -> Result<()> {
        self.0.try_grow(bytes)
    }

    /// Takes what a kernel says that it will need.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) fn take_for(&self, cost: kernels::Cost) -> Result<()> {
        self.take(cost.bytes.max(0.0) as usize)
    }
}

/// A table that a function in FROM computes.
#[derive(Debug)]
pub(crate) struct ComputedTable {
    name: &'static str,
    schema: SchemaRef,
    inputs: Inputs<LogicalPlan>,
    work: Arc<dyn Work>,
}

impl ComputedTable {
    pub(super) fn new(
        name: &'static str,
        schema: SchemaRef,
        inputs: Inputs<LogicalPlan>,
        work: Arc<dyn Work>,
    ) -> Self {
        Self { name, schema, inputs, work }
    }

    /// The queries that it reads.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &LogicalPlan> {
        self.inputs.each()
    }
}

#[async_trait]
impl TableProvider for ComputedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (mut rows, mut curves) = (None, None);
        for (plan, planned) in [(&self.inputs.rows, &mut rows), (&self.inputs.curves, &mut curves)] {
            if let Some(plan) = plan {
                *planned = Some(in_one_part(session.create_physical_plan(plan).await?));
            }
        }
        let projection = projection.cloned();
        let schema = match &projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        Ok(Arc::new(ComputedExec {
            name: self.name,
            inputs: Inputs { rows, curves },
            work: Arc::clone(&self.work),
            projection,
            properties: Arc::new(PlanProperties::new(
                EquivalenceProperties::new(schema),
                Partitioning::UnknownPartitioning(1),
                EmissionType::Final,
                Boundedness::Bounded,
            )),
        }))
    }
}

fn in_one_part(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match plan.output_partitioning().partition_count() {
        1 => plan,
        _ => Arc::new(CoalescePartitionsExec::new(plan)),
    }
}

/// Takes all rows of its inputs and computes.
#[derive(Debug)]
struct ComputedExec {
    name: &'static str,
    inputs: Inputs<Arc<dyn ExecutionPlan>>,
    work: Arc<dyn Work>,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl ComputedExec {
    fn with_inputs(&self, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.len() != self.inputs.each().count() {
            return internal_err!("{} has {} inputs", self.name, self.inputs.each().count());
        }
        let mut children = children.into_iter().map(in_one_part);
        let mut next = |input: &Option<_>| if input.is_some() { children.next() } else { None };
        let (rows, curves) = (next(&self.inputs.rows), next(&self.inputs.curves));
        Ok(Arc::new(Self {
            name: self.name,
            inputs: Inputs { rows, curves },
            work: Arc::clone(&self.work),
            projection: self.projection.clone(),
            properties: Arc::clone(&self.properties),
        }))
    }
}

impl DisplayAs for ComputedExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComputedExec: {}, {}", self.name, self.work.described())
    }
}

impl ExecutionPlan for ComputedExec {
    fn name(&self) -> &'static str {
        "ComputedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.each().count()]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.each().collect()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.with_inputs(children)
    }

    #[allow(deprecated)]
    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.with_inputs(children)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("{} has no partition {partition}", self.name);
        }
        let stream = |input: &Option<Arc<dyn ExecutionPlan>>| {
            input.as_ref().map(|input| input.execute(0, Arc::clone(&context))).transpose()
        };
        let (rows, curves) = (stream(&self.inputs.rows)?, stream(&self.inputs.curves)?);
        let memory = Memory(MemoryConsumer::new(self.name).register(context.memory_pool()));
        let (work, projection) = (Arc::clone(&self.work), self.projection.clone());
        let computed = async move {
            let mut taken = Taken { rows: None, curves: None };
            if let Some(mut batches) = rows {
                let mut taker = RowTaker::new(&batches.schema())?;
                while let Some(batch) = batches.next().await {
                    taker.take(&batch?, &memory)?;
                }
                taken.rows = Some(taker);
            }
            if let Some(mut batches) = curves {
                let mut taker = CurveTaker::default();
                while let Some(batch) = batches.next().await {
                    taker.take(&batch?, &memory)?;
                }
                taken.curves = Some(taker);
            }
            let batch = apart(|| work.compute(taken, &memory))?;
            let batch = match projection {
                Some(columns) => batch.project(&columns)?,
                None => batch,
            };
            let parts = (0..batch.num_rows()).step_by(BATCH_ROWS);
            let parts: Vec<RecordBatch> =
                parts.map(|first| batch.slice(first, BATCH_ROWS.min(batch.num_rows() - first))).collect();
            // The answer is held until its last part is taken.
            Ok::<_, DataFusionError>(futures::stream::iter(parts).map(move |part| {
                let _held = &memory;
                Ok(part)
            }))
        };
        let batches = futures::stream::once(computed).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// Computes for long without keeping the other tasks of this thread waiting.
fn apart<T>(compute: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(compute),
        // An embedder's runtime of one thread has nobody to hand them to.
        _ => compute(),
    }
}
