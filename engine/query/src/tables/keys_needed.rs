//! Which keys of `params`, `tags` and `metrics` a statement names, so that only those are made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use super::{Content, SnapshotTable};

/// The struct columns of `runs`.
pub(super) const STRUCTS: [&str; 3] = ["params", "tags", "metrics"];

/// For each struct column the keys that are named; a column that is not here is wanted whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NeededKeys(BTreeMap<&'static str, BTreeSet<String>>);

impl NeededKeys {
    /// Whether a key of a struct column is needed.
    pub(super) fn contains(&self, column: &str, key: &str) -> bool {
        self.0.get(column).is_none_or(|keys| keys.contains(key))
    }

    fn none() -> BTreeMap<&'static str, BTreeSet<String>> {
        STRUCTS.into_iter().map(|column| (column, BTreeSet::new())).collect()
    }

    /// The keys that one expression names.
    pub(super) fn of_expression(expression: &Expr) -> Result<Self> {
        let mut keys = Self::none();
        collect(expression, &mut keys)?;
        Ok(Self(keys))
    }

    fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut keys = Self::none();
        want_whole(plan, &mut keys);
        plan.apply_with_subqueries(|node| {
            match node {
                // The columns of a scan are no use of them.
                LogicalPlan::TableScan(_) => {}
                // Nor is it one to pass a column on: those above say what they need of it.
                LogicalPlan::Projection(projection) => {
                    for expression in projection.expr.iter().filter(|expression| !passes_on(expression)) {
                        collect(expression, &mut keys)?;
                    }
                }
                LogicalPlan::Filter(_)
                | LogicalPlan::Sort(_)
                | LogicalPlan::Limit(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Subquery(_)
                | LogicalPlan::Join(_)
                | LogicalPlan::Aggregate(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Union(_)
                | LogicalPlan::Repartition(_) => {
                    node.apply_expressions(|expression| collect(expression, &mut keys))?;
                }
                // These look at all columns of what they read, or may do so.
                _ => {
                    node.inputs().into_iter().for_each(|input| want_whole(input, &mut keys));
                    node.apply_expressions(|expression| collect(expression, &mut keys))?;
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Self(keys))
    }
}

/// Takes the struct columns that a plan gives as wanted whole.
fn want_whole(plan: &LogicalPlan, keys: &mut BTreeMap<&'static str, BTreeSet<String>>) {
    for field in plan.schema().fields() {
        keys.remove(field.name().as_str());
    }
}

/// Whether an expression is a struct column as it is, under its own name.
fn passes_on(expression: &Expr) -> bool {
    match expression {
        Expr::Alias(alias) => struct_column(&alias.expr).is_some_and(|column| column == alias.name),
        expression => struct_column(expression).is_some(),
    }
}

fn struct_column(expression: &Expr) -> Option<&'static str> {
    let Expr::Column(column) = expression else { return None };
    STRUCTS.into_iter().find(|name| *name == column.name)
}

fn collect(
    expression: &Expr,
    keys: &mut BTreeMap<&'static str, BTreeSet<String>>,
) -> Result<TreeNodeRecursion> {
    expression.apply(|expression| {
        if let Expr::ScalarFunction(call) = expression
            && call.name() == "get_field"
            && let [from, Expr::Literal(key, _), ..] = call.args.as_slice()
            && let Some(column) = struct_column(from)
            && let Some(key) = text(key)
        {
            if let Some(keys) = keys.get_mut(column) {
                keys.insert(key.to_owned());
            }
            return Ok(TreeNodeRecursion::Jump);
        }
        if let Some(column) = struct_column(expression) {
            keys.remove(column);
        }
        match expression {
            Expr::ScalarSubquery(inner) => want_whole(&inner.subquery, keys),
            Expr::InSubquery(inner) => want_whole(&inner.subquery.subquery, keys),
            Expr::SetComparison(inner) => want_whole(&inner.subquery.subquery, keys),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })
}

fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

/// Tells every scan of `runs` which keys the statement names.
#[derive(Debug)]
pub(crate) struct NameNeededKeys;

impl AnalyzerRule for NameNeededKeys {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let needed = Arc::new(NeededKeys::of(&plan)?);
        let told = plan.transform_down_with_subqueries(|node| {
            let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
            let provider = source_as_provider(&scan.source)?;
            let Some(table) = provider.downcast_ref::<SnapshotTable>() else {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            let Content::Runs { types, .. } = &table.content else {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            let content = Content::Runs { types: Arc::clone(types), needed: Some(Arc::clone(&needed)) };
            scan.source = provider_as_source(Arc::new(SnapshotTable { content, ..table.clone() }));
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        })?;
        Ok(told.data)
    }

    fn name(&self) -> &str {
        "name_needed_keys"
    }
}
