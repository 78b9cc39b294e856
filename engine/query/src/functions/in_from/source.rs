//! Which runs a function in FROM is about: experiments by name, or a query with one row a run.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result, internal_datafusion_err, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Statement as SqlStatement, Visit};
use futures::FutureExt as _;
use model::{Experiment, ExperimentName, MetricDirection, ProjectName};

use super::selection::CallsInFrom;
use super::{Call, quoted, without_place};
use crate::explain_error::suggestion;
use crate::functions::definition::{ArgumentKind, Parameter, required};
use crate::guard::{QueryLimits, Request, check_plan, read_statement};
use crate::views::plan_views;

pub(super) const RUNS: Parameter = required(
    "experiment_or_sql",
    ArgumentKind::Texts,
    "an experiment ('name' or 'project/name'), several with commas or as a list, or a SELECT with a row for each run",
);

/// The runs that are meant.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// All runs of these experiments that are not deleted.
    Experiments(Vec<(ProjectName, ExperimentName)>),
    /// The rows of a query, planned, and its text written anew.
    Query(Box<LogicalPlan>, String),
}

impl Source {
    /// Reads the argument of this name.
    pub(super) fn read(call: &Call<'_>, argument: &str) -> Result<Self> {
        if let Some(sql) = call.constants.text(argument)
            && is_query(sql)
        {
            let (plan, sql) = planned(call, sql)?;
            return Ok(Self::Query(Box::new(plan), sql));
        }
        let names = call.constants.texts(argument);
        if names.is_empty() {
            return call.constants.refuse(argument, "empty", "give an experiment or a SELECT");
        }
        let mut experiments = Vec::with_capacity(names.len());
        for name in &names {
            let found = experiment(call, argument, name)?;
            if !experiments.contains(&found) {
                experiments.push(found);
            }
        }
        Ok(Self::Experiments(experiments))
    }

    /// The query, where it is one.
    pub(super) fn plan(&self) -> Option<LogicalPlan> {
        match self {
            Self::Experiments(_) => None,
            Self::Query(plan, _) => Some(plan.as_ref().clone()),
        }
    }

    /// Which way a metric gets better, where the experiments say so of it as their target.
    pub(super) fn direction(&self, call: &Call<'_>, metric: &str) -> Option<MetricDirection> {
        let Self::Experiments(experiments) = self else { return None };
        let registry = call.catalog.snapshot().registry();
        experiments.iter().find_map(|(project, name)| {
            let of = registry.experiment(project, name)?;
            of.direction.filter(|_| of.target_metric.as_ref().is_some_and(|target| target.as_str() == metric))
        })
    }

    /// The runs in words.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Experiments(experiments) => {
                let names: Vec<String> =
                    experiments.iter().map(|(project, name)| format!("'{project}/{name}'")).collect();
                match names.as_slice() {
                    [one] => format!("experiment {one}"),
                    several => format!("experiments {}", several.join(", ")),
                }
            }
            Self::Query(..) => "the query".to_owned(),
        }
    }

    /// A condition on a table with `project`, `experiment` and `run_id` that holds for these runs.
    pub(super) fn condition(&self, argument: &str) -> Result<String> {
        match self {
            Self::Experiments(experiments) => {
                let of = |(project, name): &(ProjectName, ExperimentName)| {
                    let (project, name) = (quoted(&project.to_string()), quoted(name.as_ref()));
                    format!("(project = {project} AND experiment = {name})")
                };
                Ok(format!("({})", experiments.iter().map(of).collect::<Vec<_>>().join(" OR ")))
            }
            Self::Query(plan, sql) => {
                if plan.schema().fields().iter().all(|field| field.name() != "run_id") {
                    return plan_err!("argument '{argument}': the SELECT must have a column run_id");
                }
                Ok(format!("run_id IN (SELECT run_id FROM ({sql}) AS chosen)"))
            }
        }
    }
}

/// An experiment whose name begins so can be written with its project before it.
fn is_query(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    text.trim().len() > first.len()
        && ["SELECT", "WITH", "VALUES"].contains(&first.to_ascii_uppercase().as_str())
}

fn experiment(call: &Call<'_>, argument: &str, text: &str) -> Result<(ProjectName, ExperimentName)> {
    let registry = call.catalog.snapshot().registry();
    let seen = || registry.experiments().filter(|of| call.catalog.access().allows(&of.project));
    let whole = |of: &Experiment| format!("{}/{}", of.project, of.name);
    let found: Vec<&Arc<Experiment>> =
        seen().filter(|of| of.name.to_string() == text || whole(of) == text).collect();
    match found.as_slice() {
        [one] => Ok((one.project.clone(), one.name.clone())),
        [] => {
            let known: Vec<String> = seen().map(|of| of.name.to_string()).collect();
            let near = suggestion(text, &known).map_or_else(String::new, |near| format!(" {near}"));
            call.constants.refuse(
                argument,
                format_args!("'{text}'"),
                &format!("there is no such experiment; SELECT * FROM experiments lists them.{near}"),
            )
        }
        several => call.constants.refuse(
            argument,
            format_args!("'{text}'"),
            &format!("{} projects have such an experiment, write '{}'", several.len(), whole(several[0])),
        ),
    }
}

/// Plans a query in the session of the statement, behind the same guard, and writes it anew.
fn planned(call: &Call<'_>, sql: &str) -> Result<(LogicalPlan, String)> {
    let external = |error: crate::QueryError| DataFusionError::External(Box::new(error));
    let unread = |error: DataFusionError| {
        crate::QueryError::Invalid(crate::Located {
            message: without_place(error).strip_backtrace(),
            ..crate::Located::default()
        })
    };
    let statement = match read_statement(sql, &QueryLimits::default(), &unread).map_err(external)? {
        Request::Read(statement) => *statement,
        Request::Set { .. } | Request::View(_) => return plan_err!("the text of a query must be a SELECT"),
    };
    let written = match &statement {
        Statement::Statement(query) if matches!(query.as_ref(), SqlStatement::Query(_)) => {
            if query.visit(&mut CallsInFrom).is_break() {
                return plan_err!("a query in an argument may not call a function in FROM itself");
            }
            query.to_string()
        }
        _ => return plan_err!("the text of a query must be a SELECT"),
    };
    let waits = || internal_datafusion_err!("planning would have to wait");
    // Planning waits for nothing: the tables of a snapshot are there.
    plan_views(call.state, call.catalog, &statement).now_or_never().ok_or_else(waits)??;
    let plan = call.state.statement_to_plan(statement).now_or_never().ok_or_else(waits)?;
    let plan = plan.map_err(without_place)?;
    check_plan(&plan)?;
    Ok((plan, written))
}
