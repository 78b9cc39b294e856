//! Which statements give the same answer as long as the lake, the settings and the rights are the same.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility, WindowFunctionDefinition};

use crate::functions::ComputedTable;
use crate::tables::SnapshotTable;

/// Whether the answer to a plan depends on nothing but a snapshot: no clock, no chance, no table of the engine's own
/// state, no measurement.
pub(crate) fn is_repeatable(plan: &LogicalPlan) -> bool {
    let mut repeatable = true;
    let walked = plan.apply_with_subqueries(|node| {
        repeatable &= match node {
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => false,
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source)?;
                if let Some(table) = provider.downcast_ref::<SnapshotTable>() {
                    !table.is_of_the_engine()
                } else if let Some(computed) = provider.downcast_ref::<ComputedTable>() {
                    computed.plans().all(is_repeatable)
                } else {
                    // What `information_schema` shows of the session is the same for all.
                    true
                }
            }
            _ => true,
        };
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                repeatable &= is_immutable(part);
                Ok(continue_while(repeatable))
            })
        })?;
        Ok(continue_while(repeatable))
    });
    walked.is_ok() && repeatable
}

fn continue_while(repeatable: bool) -> TreeNodeRecursion {
    if repeatable { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop }
}

fn is_immutable(expression: &Expr) -> bool {
    let volatility = match expression {
        Expr::ScalarFunction(function) => function.func.signature().volatility,
        Expr::AggregateFunction(function) => function.func.signature().volatility,
        Expr::WindowFunction(function) => match &function.fun {
            WindowFunctionDefinition::AggregateUDF(function) => function.signature().volatility,
            WindowFunctionDefinition::WindowUDF(function) => function.signature().volatility,
        },
        _ => return true,
    };
    volatility == Volatility::Immutable
}
