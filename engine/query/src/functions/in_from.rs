//! Functions that stand in FROM: each is a query over our own tables, written in SQL and planned in the session of the
//! statement, so that it sees the same snapshot and the same projects, and passes the same guard.

mod asof;
mod compare;
mod curve;
mod run_diff;
mod selection;

use std::sync::Arc;

use datafusion::catalog::{CatalogProviderList, TableFunction, TableFunctionArgs, TableFunctionImpl};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion::datasource::{TableProvider, ViewTable};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr;
use futures::FutureExt;
use model::RunId;

use super::definition::{ArgumentKind, Constants, Definition, Parameter, required};
use crate::tables::{CATALOG, SnapshotCatalog};

/// The functions in FROM.
pub(super) fn table_functions() -> Vec<Arc<TableFunction>> {
    let functions: [(&'static Definition, WriteSql); 4] = [
        (&asof::DEFINITION, asof::sql),
        (&compare::DEFINITION, compare::sql),
        (&curve::DEFINITION, curve::sql),
        (&run_diff::DEFINITION, run_diff::sql),
    ];
    functions
        .into_iter()
        .map(|(definition, sql)| {
            let function = Arc::new(WrittenInSql { definition, sql });
            Arc::new(TableFunction::new(definition.name.to_owned(), function))
        })
        .collect()
}

pub(super) const DEFINITIONS: [&Definition; 4] =
    [&asof::DEFINITION, &compare::DEFINITION, &curve::DEFINITION, &run_diff::DEFINITION];

const RUN: Parameter =
    required("run", ArgumentKind::Text, "the id of a run, or its name where only one run has it");

type WriteSql = fn(&Call<'_>) -> Result<String>;

/// One call: its constants, and the session in which it is planned.
struct Call<'a> {
    constants: Constants<'a>,
    catalog: &'a SnapshotCatalog,
    state: &'a SessionState,
}

impl Call<'_> {
    /// A text that must be given.
    fn text(&self, name: &str) -> Result<&str> {
        match self.constants.text(name) {
            Some(text) => Ok(text),
            None => self.constants.refuse(name, "NULL", "give a text"),
        }
    }

    /// The run that an argument means.
    fn run(&self, name: &str) -> Result<RunId> {
        let text = self.text(name)?;
        match self.catalog.runs_called(text).as_slice() {
            [run] => Ok(*run),
            [] => self.constants.refuse(
                name,
                format_args!("'{text}'"),
                "no run has this id or name; SELECT run_id, name FROM runs lists them",
            ),
            several => self.constants.refuse(
                name,
                format_args!("'{text}'"),
                &format!(
                    "{} runs have this name, give the id of one, such as '{}'",
                    several.len(),
                    several[0]
                ),
            ),
        }
    }
}

/// A text as a literal of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A function whose rows are those of a query.
#[derive(Debug)]
struct WrittenInSql {
    definition: &'static Definition,
    sql: WriteSql,
}

impl TableFunctionImpl for WrittenInSql {
    fn call_with_args(&self, arguments: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let name = self.definition.name;
        let fault = |what: &str| internal_datafusion_err!("{name}: {what}");
        let Some(state) = arguments.session().as_any().downcast_ref::<SessionState>() else {
            return Err(fault("the session is of another kind"));
        };
        let catalogs: &Arc<dyn CatalogProviderList> = state.catalog_list();
        let Some(catalog) = catalogs.catalog(CATALOG) else {
            return Err(fault("the session has no lake"));
        };
        let Some(catalog) = catalog.downcast_ref::<SnapshotCatalog>() else {
            return Err(fault("the session has another catalog"));
        };
        let values = self.literals(arguments.exprs())?;
        let constants = Constants::new(self.definition, &values)?;
        let sql = (self.sql)(&Call { constants, catalog, state })?;
        // Planning waits for nothing: the tables of a snapshot are there.
        let plan = match state.create_logical_plan(&sql).now_or_never() {
            Some(plan) => plan.map_err(without_place)?,
            None => return Err(fault("planning would have to wait")),
        };
        Ok(Arc::new(ViewTable::new(plan, Some(sql))))
    }
}

/// An error without the place in a text that the caller did not write.
fn without_place(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Diagnostic(_, inner) => without_place(*inner),
        DataFusionError::Context(context, inner) => {
            DataFusionError::Context(context, Box::new(without_place(*inner)))
        }
        DataFusionError::Collection(errors) => {
            DataFusionError::Collection(errors.into_iter().map(without_place).collect())
        }
        other => other,
    }
}

impl WrittenInSql {
    /// The constants of a call, each with the type of its parameter.
    fn literals(&self, arguments: &[Expr]) -> Result<Vec<Option<ScalarValue>>> {
        let values: Vec<ScalarValue> = arguments
            .iter()
            .zip(self.definition.parameters.iter().map(Some).chain(std::iter::repeat(None)))
            .map(|(argument, parameter)| match argument {
                Expr::Literal(value, _) => Ok(value.clone()),
                _ => plan_err!(
                    "argument '{}' of {} must be a constant, not a column or a query",
                    parameter.map_or("", |parameter| parameter.name),
                    self.definition.name
                ),
            })
            .collect::<Result<_>>()?;
        let given: Vec<_> = values.iter().map(ScalarValue::data_type).collect();
        let types = self.definition.coerce(&given)?;
        values.iter().zip(&types).map(|(value, wanted)| value.cast_to(wanted).map(Some)).collect()
    }
}
