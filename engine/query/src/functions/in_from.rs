//! Functions that stand in FROM. Some are a query over our own tables, written in SQL; others compute their rows with the
//! kernels from what such queries give and from the registry. All are planned in the session of the statement, so that
//! they see the same snapshot and the same projects, and pass the same guard.

mod asof;
mod asof_join;
mod cluster_curves;
mod cluster_runs;
mod compare;
mod computed;
mod curve;
mod curve_set;
mod embedded;
mod importance;
mod outliers;
mod row_table;
mod run_diff;
mod selection;
mod shown_runs;
mod similar_runs;
mod source;

use std::sync::Arc;

use datafusion::catalog::{CatalogProviderList, TableFunction, TableFunctionArgs, TableFunctionImpl};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion::datasource::{TableProvider, ViewTable};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr;
use futures::FutureExt;
use model::RunId;

use super::bootstrap::Draws;
use super::definition::{ArgumentKind, Constants, Definition, Parameter, required};
use crate::tables::{CATALOG, SnapshotCatalog};

pub(crate) use computed::ComputedTable;

/// The functions in FROM; those that draw do so with `seed` where a call names none.
pub(super) fn table_functions(device: kernels::Policy, seed: u64) -> Vec<Arc<TableFunction>> {
    let draws = Draws { device, seed };
    FUNCTIONS
        .into_iter()
        .map(|(definition, body)| {
            let function = Arc::new(InFrom { definition, body, draws });
            Arc::new(TableFunction::new(definition.name.to_owned(), function))
        })
        .collect()
}

/// The descriptions of the functions in FROM.
pub(super) fn descriptions() -> impl Iterator<Item = &'static Definition> {
    FUNCTIONS.into_iter().map(|(definition, _)| definition)
}

/// How a call becomes a table.
#[derive(Debug, Clone, Copy)]
enum Body {
    /// A query.
    Sql(fn(&Call<'_>) -> Result<String>),
    /// Anything else.
    Table(fn(&Call<'_>) -> Result<Arc<dyn TableProvider>>),
}

const FUNCTIONS: [(&Definition, Body); 10] = [
    (&asof::DEFINITION, Body::Sql(asof::sql)),
    (&asof_join::DEFINITION, Body::Table(asof_join::table)),
    (&cluster_curves::DEFINITION, Body::Table(cluster_curves::table)),
    (&cluster_runs::DEFINITION, Body::Table(cluster_runs::table)),
    (&compare::DEFINITION, Body::Sql(compare::sql)),
    (&curve::DEFINITION, Body::Sql(curve::sql)),
    (&importance::DEFINITION, Body::Table(importance::table)),
    (&outliers::DEFINITION, Body::Table(outliers::table)),
    (&run_diff::DEFINITION, Body::Sql(run_diff::sql)),
    (&similar_runs::DEFINITION, Body::Table(similar_runs::table)),
];

const RUN: Parameter =
    required("run", ArgumentKind::Text, "the id of a run, or its name where only one run has it");

/// One call: its constants, and the session in which it is planned.
struct Call<'a> {
    constants: Constants<'a>,
    catalog: &'a SnapshotCatalog,
    state: &'a SessionState,
    /// The device and seed of the session.
    draws: Draws,
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

/// A function in FROM.
#[derive(Debug)]
struct InFrom {
    definition: &'static Definition,
    body: Body,
    draws: Draws,
}

impl TableFunctionImpl for InFrom {
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
        let call = Call { constants, catalog, state, draws: self.draws };
        let write = match self.body {
            Body::Table(table) => return table(&call),
            Body::Sql(write) => write,
        };
        let sql = write(&call)?;
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

impl InFrom {
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
