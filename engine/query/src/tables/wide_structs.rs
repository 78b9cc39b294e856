//! Structs with more keys than a row should have: of those that a statement shows whole, the commonest keys are shown.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Fields};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, Result};
use datafusion::functions::core::expr_fn::{get_field, named_struct};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use store::Snapshot;

use super::keys_needed::STRUCTS;

/// Shows at most `limit` keys of each struct column of `runs` in the rows of a statement; `tell` gets a sentence on each
/// column that has more.
///
/// Only what comes out is cut: filters, sorts and expressions see all keys.
pub(crate) fn show_commonest_keys(
    plan: LogicalPlan,
    snapshot: &Snapshot,
    limit: usize,
    tell: &mut dyn FnMut(String),
) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Explain(mut explain) => {
            let inner = Arc::unwrap_or_clone(explain.plan);
            explain.plan = Arc::new(show_commonest_keys(inner, snapshot, limit, tell)?);
            Ok(LogicalPlan::Explain(explain))
        }
        LogicalPlan::Analyze(mut analyze) => {
            let inner = Arc::unwrap_or_clone(analyze.input);
            analyze.input = Arc::new(show_commonest_keys(inner, snapshot, limit, tell)?);
            Ok(LogicalPlan::Analyze(analyze))
        }
        plan => cut(plan, snapshot, limit, tell),
    }
}

fn cut(
    plan: LogicalPlan,
    snapshot: &Snapshot,
    limit: usize,
    tell: &mut dyn FnMut(String),
) -> Result<LogicalPlan> {
    let wide = |name: &str, data_type: &DataType| match data_type {
        DataType::Struct(keys) if STRUCTS.contains(&name) && keys.len() > limit => Some(keys.clone()),
        _ => None,
    };
    if !plan.schema().fields().iter().any(|field| wide(field.name(), field.data_type()).is_some()) {
        return Ok(plan);
    }
    let mut of_runs: Vec<DataType> = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let fields = scan.source.schema();
            let structs = fields.fields().iter().filter(|field| STRUCTS.contains(&field.name().as_str()));
            of_runs.extend(structs.map(|field| field.data_type().clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    // A struct that the statement itself made is the statement's.
    let wide =
        |name: &str, data_type: &DataType| wide(name, data_type).filter(|_| of_runs.contains(data_type));
    let shown: Vec<Expr> = plan
        .schema()
        .iter()
        .map(|(relation, field)| {
            let name = field.name();
            let column = Expr::Column(Column::new(relation.cloned(), name));
            let Some(keys) = wide(name, field.data_type()) else { return column };
            let commonest = commonest(name, &keys, snapshot, limit);
            tell(format!(
                "{name} has {} keys; the {limit} that most runs have are shown. Name others, such as {name}['{}']",
                keys.len(),
                keys.iter().map(|key| key.name().as_str()).find(|key| !commonest.contains(key)).unwrap_or_default(),
            ));
            let pairs = commonest.iter().flat_map(|key| [lit(*key), get_field(column.clone(), *key)]);
            named_struct(pairs.collect()).alias_qualified(relation.cloned(), name)
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(shown)?.build()
}

/// The keys that most runs have, in the order in which they stand in the struct.
fn commonest<'a>(column: &str, keys: &'a Fields, snapshot: &Snapshot, limit: usize) -> Vec<&'a str> {
    let mut runs: HashMap<&str, usize> = HashMap::new();
    let pieces = snapshot.registry().runs().pieces();
    if column == "metrics" {
        for entry in snapshot.series().entries().iter() {
            *runs.entry(entry.metric.as_str()).or_default() += 1;
        }
    } else {
        for piece in &pieces {
            let of_piece = if column == "params" { piece.columns.params() } else { piece.columns.tags() };
            for key in of_piece.iter() {
                *runs.entry(key.key()).or_default() += key.len();
            }
        }
    }
    let mut by_runs: Vec<&str> = keys.iter().map(|key| key.name().as_str()).collect();
    by_runs.sort_by_key(|key| std::cmp::Reverse(runs.get(key).copied().unwrap_or_default()));
    let kept: HashSet<&str> = by_runs.into_iter().take(limit).collect();
    keys.iter().map(|key| key.name().as_str()).filter(|key| kept.contains(key)).collect()
}
