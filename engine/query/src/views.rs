//! Views that users keep: what changes them, and how a view becomes a table of a statement.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::catalog::view::ViewTable;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::datasource::TableProvider;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{CreateView, ObjectName, ObjectType, Statement as SqlStatement};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{View, ViewName};
use parking_lot::RwLock;
use store::Snapshot;

use crate::error::{Located, QueryError, Result};
use crate::execute::{QueryOptions, describe};
use crate::guard::{QueryLimits, Request, check_plan, read_statement};
use crate::session::SessionFactory;
use crate::tables::{PUBLIC, SnapshotCatalog, is_table};

/// A change of the kept views that a statement asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewChange {
    /// `CREATE VIEW`.
    Save {
        /// The name.
        name: ViewName,
        /// The query, written anew: without comments.
        sql: String,
        /// What happens to a view that has the name.
        present: WhenPresent,
    },
    /// `DROP VIEW`.
    Drop {
        /// The name.
        name: ViewName,
        /// Whether a view that is not there is no error.
        if_exists: bool,
    },
}

/// What `CREATE VIEW` does where the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenPresent {
    /// An error.
    Refuse,
    /// The new view takes its place: `OR REPLACE`.
    Replace,
    /// The old view stays: `IF NOT EXISTS`.
    Keep,
}

/// The change of views that a text asks for; `None` when it is another statement or none at all, which is for
/// [`crate::run`] to say.
///
/// # Errors
/// When it is such a change and asks for what is not there: several names, columns with types, a name that is no word.
///
/// ```
/// use query::{ViewChange, view_change};
///
/// let change = view_change("CREATE VIEW best AS SELECT run_id, min FROM series WHERE metric = 'val/loss'")?;
/// assert!(matches!(change, Some(ViewChange::Save { name, .. }) if name.as_str() == "best"));
/// assert_eq!(view_change("SELECT 1")?, None);
/// # Ok::<(), query::QueryError>(())
/// ```
pub fn view_change(sql: &str) -> Result<Option<ViewChange>> {
    // Most statements are others, and need not be parsed twice.
    if !sql.to_ascii_lowercase().contains("view") {
        return Ok(None);
    }
    let unread = |_| QueryError::StatementCount { count: 0 };
    match read_statement(sql, &QueryLimits::default(), &unread) {
        Ok(Request::View(change)) => Ok(Some(change)),
        Err(error @ QueryError::Invalid(_)) => Err(error),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// The change that a parsed `CREATE VIEW` or `DROP VIEW` asks for, `None` for other statements.
pub(crate) fn change_of(statement: &SqlStatement) -> Option<Result<ViewChange>> {
    match statement {
        SqlStatement::CreateView(create) => Some(saved(create)),
        SqlStatement::Drop { object_type: ObjectType::View, if_exists, names, .. } => {
            Some(match names.as_slice() {
                [name] => view_name(name).map(|name| ViewChange::Drop { name, if_exists: *if_exists }),
                _ => Err(invalid("DROP VIEW takes one name".to_owned(), "Drop them one after another.")),
            })
        }
        _ => None,
    }
}

fn saved(create: &CreateView) -> Result<ViewChange> {
    let CreateView { or_replace, if_not_exists, name, columns, query, .. } = create;
    let name = view_name(name)?;
    if create.materialized || create.temporary || create.to.is_some() || create.or_alter {
        return Err(invalid(
            format!("view {name} can only be made by CREATE [OR REPLACE] VIEW {name} AS SELECT ..."),
            "A view keeps its query, not its rows: they are read anew each time.",
        ));
    }
    if columns.iter().any(|column| column.data_type.is_some()) {
        return Err(invalid(
            format!("the columns of view {name} take no types"),
            "Cast in the query: CAST(x AS DOUBLE).",
        ));
    }
    let sql = match columns.as_slice() {
        [] => query.to_string(),
        columns => {
            let names: Vec<String> = columns.iter().map(|column| column.name.to_string()).collect();
            format!("SELECT * FROM ({query}) AS {name}({})", names.join(", "))
        }
    };
    let present = match (or_replace, if_not_exists) {
        (true, _) => WhenPresent::Replace,
        (false, true) => WhenPresent::Keep,
        (false, false) => WhenPresent::Refuse,
    };
    Ok(ViewChange::Save { name, sql, present })
}

/// The name of a view, which may stand after `public.`.
fn view_name(name: &ObjectName) -> Result<ViewName> {
    let parts: Vec<String> = name
        .0
        .iter()
        .map(|part| match part.as_ident() {
            Some(ident) if ident.quote_style.is_none() => ident.value.to_lowercase(),
            Some(ident) => ident.value.clone(),
            None => part.to_string(),
        })
        .collect();
    let word = match parts.as_slice() {
        [word] => word,
        [schema, word] if schema == PUBLIC => word,
        _ => {
            return Err(invalid(
                format!("views are kept in the schema public, not as {name}"),
                "Leave the schema away.",
            ));
        }
    };
    let hint = "Give a name of small letters, digits and _.";
    if is_table(PUBLIC, word) || word.starts_with("pg_") {
        return Err(invalid(format!("{word} is the name of a table"), "Give the view another name."));
    }
    ViewName::new(word).map_err(|error| invalid(error.to_string(), hint))
}

fn invalid(message: String, hint: &str) -> QueryError {
    QueryError::Invalid(Located { message, place: None, hint: Some(hint.to_owned()) })
}

/// Checks that a view may be kept: its query is one, can be planned, and does not come back to the view itself.
///
/// # Errors
/// As those of [`crate::run`], about the query.
pub fn check_view<'a>(
    factory: &'a SessionFactory,
    snapshot: &'a Snapshot,
    name: &'a ViewName,
    sql: &'a str,
) -> BoxFuture<'a, Result<()>> {
    async move {
        let described = describe(factory, snapshot, sql, QueryOptions::default(), Vec::new()).await?;
        if described.columns.is_none() || !described.parameters.is_empty() {
            return Err(invalid(
                format!("view {name} needs a query without parameters"),
                "Write the values out, or filter where the view is asked.",
            ));
        }
        let mut reached = BTreeSet::new();
        let mut waiting = vec![sql.to_owned()];
        while let Some(sql) = waiting.pop() {
            for other in named_in(&sql, snapshot)? {
                if other == *name {
                    return Err(invalid(
                        format!("view {name} would be made of itself"),
                        "Name the tables that it is made of, or give it another name.",
                    ));
                }
                if reached.insert(other.clone())
                    && let Some(view) = snapshot.registry().view(other.as_str())
                {
                    waiting.push(view.sql.clone());
                }
            }
        }
        Ok(())
    }
    .boxed()
}

/// The views that the text of a view names.
fn named_in(sql: &str, snapshot: &Snapshot) -> Result<Vec<ViewName>> {
    let unread = |error: DataFusionError| invalid(error.strip_backtrace(), "");
    match read_statement(sql, &QueryLimits::default(), &unread)? {
        Request::Read(statement) => {
            let (named, _) =
                datafusion::sql::resolve::resolve_table_references(&statement, true).map_err(unread)?;
            Ok(named.iter().filter_map(|table| kept(table, snapshot)).map(|view| view.name.clone()).collect())
        }
        Request::Set { .. } | Request::View(_) => Ok(Vec::new()),
    }
}

/// The kept view that a name means.
fn kept<'a>(table: &TableReference, snapshot: &'a Snapshot) -> Option<&'a Arc<View>> {
    let in_public = table.schema().is_none_or(|schema| schema == PUBLIC);
    let view = snapshot.registry().view(table.table()).filter(|_| in_public)?;
    (!is_table(PUBLIC, table.table())).then_some(view)
}

/// The views of one statement that were planned, by name.
#[derive(Debug, Default)]
pub(crate) struct PlannedViews(RwLock<HashMap<ViewName, Arc<dyn TableProvider>>>);

impl PlannedViews {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.0.read().get(name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.read().keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }
}

/// Plans the views that a statement needs: those that it names, with those that they name; all of them when it looks at
/// the tables in which tables are listed, where one that cannot be planned any more is left out.
pub(crate) async fn plan_views(
    state: &SessionState,
    catalog: &SnapshotCatalog,
    statement: &Statement,
) -> Result<(), DataFusionError> {
    let snapshot = catalog.snapshot();
    if snapshot.registry().views().next().is_none() {
        return Ok(());
    }
    let named = state.resolve_table_references(statement)?;
    let is_listing = |table: &TableReference| {
        table.schema().is_some_and(|schema| ["information_schema", "pg_catalog"].contains(&schema))
            || table.table().starts_with("pg_")
    };
    if named.iter().any(is_listing) {
        return plan_all_views(state, catalog).await;
    }
    for view in named.iter().filter_map(|table| kept(table, snapshot)) {
        plan_view(state, catalog, view, &mut Vec::new()).await?;
    }
    Ok(())
}

/// Plans every view; one that cannot be planned any more is left out.
pub(crate) async fn plan_all_views(
    state: &SessionState,
    catalog: &SnapshotCatalog,
) -> Result<(), DataFusionError> {
    for view in catalog.snapshot().registry().views() {
        if let Err(error) = plan_view(state, catalog, view, &mut Vec::new()).await {
            tracing::debug!(view = %view.name, "left out: {error}");
        }
    }
    Ok(())
}

fn plan_view<'a>(
    state: &'a SessionState,
    catalog: &'a SnapshotCatalog,
    view: &'a View,
    within: &'a mut Vec<ViewName>,
) -> BoxFuture<'a, Result<(), DataFusionError>> {
    async move {
        if catalog.views().0.read().contains_key(&view.name) {
            return Ok(());
        }
        let broken = |error: DataFusionError| {
            let error = match error {
                DataFusionError::External(source) => source.to_string(),
                other => other.strip_backtrace(),
            };
            let message = format!("view {} cannot be read: {error}", view.name);
            let hint = format!("Mend it with CREATE OR REPLACE VIEW {}, or drop it.", view.name);
            DataFusionError::External(Box::new(invalid(message, &hint)))
        };
        if within.contains(&view.name) {
            return Err(broken(DataFusionError::Plan("it is made of itself".to_owned())));
        }
        within.push(view.name.clone());
        let unread = |error: DataFusionError| invalid(error.strip_backtrace(), "");
        let statement = match read_statement(&view.sql, &QueryLimits::default(), &unread) {
            Ok(Request::Read(statement)) => *statement,
            Ok(_) => return Err(broken(DataFusionError::Plan("it is no query".to_owned()))),
            Err(error) => return Err(broken(DataFusionError::External(Box::new(error)))),
        };
        for table in state.resolve_table_references(&statement)? {
            if let Some(inner) = kept(&table, catalog.snapshot()) {
                plan_view(state, catalog, inner, within).await?;
            }
        }
        let plan = state.statement_to_plan(statement).await.map_err(broken)?;
        check_plan(&plan).map_err(broken)?;
        let table = ViewTable::new(plan, Some(view.sql.clone()));
        catalog.views().0.write().insert(view.name.clone(), Arc::new(table));
        within.pop();
        Ok(())
    }
    .boxed()
}
