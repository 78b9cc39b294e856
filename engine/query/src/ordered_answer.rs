//! The order that ORDER BY asks for stays to the end.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Takes away what would divide sorted rows just before they are the answer.
///
/// Above the sort there may be a projection that computes, such as the casts of views that a client cannot take. The
/// engine asks for the order below it, and then gives the projection several partitions: each is sorted, but the answer is
/// put together from their batches as they come. Rows of one partition in order stay in one.
#[derive(Debug)]
pub(crate) struct KeepAnswerOrdered;

impl PhysicalOptimizerRule for KeepAnswerOrdered {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        undivided(plan)
    }

    fn name(&self) -> &str {
        "keep_answer_ordered"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn undivided(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(divided) = plan.downcast_ref::<RepartitionExec>() {
        let input = divided.input();
        let is_in_order =
            input.output_ordering().is_some() && input.output_partitioning().partition_count() == 1;
        return match divided.partitioning() {
            Partitioning::RoundRobinBatch(_) if is_in_order => undivided(Arc::clone(input)),
            _ => Ok(plan),
        };
    }
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return Ok(plan) };
    let input = undivided(Arc::clone(projection.input()))?;
    if Arc::ptr_eq(&input, projection.input()) {
        return Ok(plan);
    }
    Ok(Arc::new(ProjectionExec::try_new(projection.expr().to_vec(), input)?))
}
