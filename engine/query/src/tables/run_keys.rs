//! Joins of runs, params, tags and series on `run_id` are done on the ordinals of runs: small dense numbers in place of
//! texts of 32 digits, which then are made only for the rows and columns of the answer.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::column_scan::ColumnScan;
use super::key_values::KeyValues;
use super::runs::Runs;
use super::series::Series;

/// Rewrites joins on `run_id` between tables that know the ordinals of their runs.
#[derive(Debug)]
pub(crate) struct JoinOnOrdinals;

impl PhysicalOptimizerRule for JoinOnOrdinals {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rewritten = plan.transform_down(|node| {
            if let Some(projection) = node.downcast_ref::<ProjectionExec>()
                && let Some(join) = projection.input().downcast_ref::<HashJoinExec>()
            {
                let used: HashSet<usize> = projection
                    .expr()
                    .iter()
                    .flat_map(|projected| collect_columns(&projected.expr))
                    .map(|column| column.index())
                    .collect();
                return Ok(match on_ordinals(join, Some(&used))? {
                    Some(join) => {
                        let above = ProjectionExec::try_new(projection.expr().to_vec(), join)?;
                        Transformed::yes(Arc::new(above) as Arc<dyn ExecutionPlan>)
                    }
                    None => Transformed::no(node),
                });
            }
            Ok(match node.downcast_ref::<HashJoinExec>() {
                Some(join) => match on_ordinals(join, None)? {
                    Some(join) => Transformed::yes(join),
                    None => Transformed::no(node),
                },
                None => Transformed::no(node),
            })
        })?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &str {
        "join_on_ordinals"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The join on ordinals, when both sides know them. `used` are the columns of its answer that somebody reads, `None` for
/// all; one that nobody reads may come as an ordinal in place of the text.
fn on_ordinals(join: &HashJoinExec, used: Option<&HashSet<usize>>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let [(left_key, right_key)] = join.on() else { return Ok(None) };
    let (Some(left_key), Some(right_key)) =
        (left_key.downcast_ref::<Column>(), right_key.downcast_ref::<Column>())
    else {
        return Ok(None);
    };
    let (has_left, has_right) = match join.join_type() {
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => (true, true),
        JoinType::LeftSemi | JoinType::LeftAnti => (true, false),
        JoinType::RightSemi | JoinType::RightAnti => (false, true),
        _ => return Ok(None),
    };
    if join.projection.is_some() {
        return Ok(None);
    }
    let left_width = join.left().schema().fields().len();
    let right_width = join.right().schema().fields().len();
    let before_right = if has_left { left_width } else { 0 };
    // A filter of the join may read the texts as well.
    let free = |has: bool, position: usize| {
        join.filter().is_none() && (!has || used.is_some_and(|used| !used.contains(&position)))
    };
    let left = with_ordinals(join.left(), left_key.index(), free(has_left, left_key.index()))?;
    let right =
        with_ordinals(join.right(), right_key.index(), free(has_right, before_right + right_key.index()))?;
    let (Some((left, left_on)), Some((right, right_on))) = (left, right) else { return Ok(None) };
    // The answer has the columns that it had, without the ordinals that were added.
    let mut columns: Vec<usize> = if has_left { (0..left_width).collect() } else { Vec::new() };
    if has_right {
        let first = if has_left { left.schema().fields().len() } else { 0 };
        columns.extend(first..first + right_width);
    }
    let total = if has_left { left.schema().fields().len() } else { 0 }
        + if has_right { right.schema().fields().len() } else { 0 };
    let key = |plan: &Arc<dyn ExecutionPlan>, at: usize| -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(plan.schema().field(at).name(), at))
    };
    let on = vec![(key(&left, left_on), key(&right, right_on))];
    let rewritten = HashJoinExec::try_new(
        left,
        right,
        on,
        join.filter().cloned(),
        join.join_type(),
        (columns.len() < total).then_some(columns),
        *join.partition_mode(),
        join.null_equality(),
        join.null_aware,
    )?;
    Ok(Some(Arc::new(rewritten)))
}

/// A plan with the ordinals of the runs that its column `run_id` names, and where they are: in place of that column when
/// it is free, else behind all others. `None` when the plan does not know them.
fn with_ordinals(
    plan: &Arc<dyn ExecutionPlan>,
    column: usize,
    is_free: bool,
) -> Result<Option<(Arc<dyn ExecutionPlan>, usize)>> {
    let of_scan = plan
        .downcast_ref::<ColumnScan<Runs>>()
        .map(|scan| scan.with_ordinals(column, is_free))
        .or_else(|| {
            plan.downcast_ref::<ColumnScan<KeyValues>>().map(|scan| scan.with_ordinals(column, is_free))
        })
        .or_else(|| {
            plan.downcast_ref::<ColumnScan<Series>>().map(|scan| scan.with_ordinals(column, is_free))
        });
    if let Some(found) = of_scan {
        return found;
    }
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return Ok(None) };
    let mut expressions: Vec<ProjectionExpr> = projection.expr().to_vec();
    let Some(inner) = expressions.get(column).and_then(|e| e.expr.downcast_ref::<Column>()) else {
        return Ok(None);
    };
    let inner = inner.index();
    let is_only = expressions
        .iter()
        .enumerate()
        .all(|(at, e)| at == column || collect_columns(&e.expr).iter().all(|used| used.index() != inner));
    let found = with_ordinals(projection.input(), inner, is_free && is_only)?;
    let Some((input, at)) = found else { return Ok(None) };
    let ordinals: Arc<dyn PhysicalExpr> = Arc::new(Column::new(input.schema().field(at).name(), at));
    let place = match expressions.get_mut(column) {
        Some(projected) if is_free => {
            projected.expr = ordinals;
            column
        }
        _ => {
            expressions
                .push(ProjectionExpr { expr: ordinals, alias: input.schema().field(at).name().clone() });
            expressions.len() - 1
        }
    };
    Ok(Some((Arc::new(ProjectionExec::try_new(expressions, input)?), place)))
}
