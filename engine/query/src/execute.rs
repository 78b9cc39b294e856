//! From a text to rows: guard, plan, run, all on the threads of the factory.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{FunctionRegistry, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::Statement;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use store::Snapshot;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::error::{QueryError, Result};
use crate::explain_error::{Vocabulary, explain};
use crate::guard::{LimitedStream, QueryLimits, Request, check_plan, read_statement};
use crate::parameters;
use crate::postgres;
use crate::service::{EngineView, Place, Resources, is_repeatable, stoppable};
use crate::session::{Dialect, SessionFactory, Settings};
use crate::tables::{Access, Notices, SnapshotCatalog, show_commonest_keys};
use crate::views;

/// Who asks, and what it may cost.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// The projects that the caller sees.
    pub access: Access,
    /// What the statement may cost.
    pub limits: QueryLimits,
    /// What earlier `SET`s of this connection said.
    pub settings: Settings,
    /// Who asks: callers take turns, and see their own statements in `system.queries`. Empty for the owner of the lake.
    pub caller: String,
    /// How the text is read.
    pub dialect: Dialect,
    /// The values of `$1`, `$2`, …: arrays of one value each.
    pub parameters: Vec<ArrayRef>,
}

/// The answer to a statement.
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows; ends with an error at a limit. Dropping it stops the statement.
    pub batches: Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>,
    /// After `SET`: the settings to give to the next statements.
    pub settings: Option<Settings>,
    /// What the reader should know, such as files that were skipped; complete when the last row is taken.
    pub notices: Notices,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Answer {
    /// The answer to a statement that has no rows.
    pub fn empty() -> Self {
        Self {
            schema: empty_schema(),
            batches: Box::pin(futures::stream::empty()),
            settings: None,
            notices: Notices::default(),
        }
    }

    /// All rows at once.
    ///
    /// # Errors
    /// The first error of the stream.
    pub fn collect(mut self) -> BoxFuture<'static, Result<Vec<RecordBatch>>> {
        async move {
            let mut batches = Vec::new();
            while let Some(batch) = self.batches.next().await {
                batches.push(batch?);
            }
            Ok(batches)
        }
        .boxed()
    }
}

/// How much later than the worker the caller gives up.
const GRACE: Duration = Duration::from_millis(200);

/// Batches that wait for a slow reader.
const WAITING_BATCHES: usize = 2;

/// How a statement was begun.
pub(crate) struct Running {
    /// What it uses.
    pub(crate) resources: Arc<Resources>,
    /// Since when its time counts.
    pub(crate) arrived: Instant,
    /// The slot that it gives back when its work ends.
    pub(crate) held: Option<Place>,
}

/// Answers one statement over one snapshot, without a queue and without a row in `system.queries`;
/// [`crate::QueryService`] has both.
///
/// The text passes the guard (caps, one statement, only reads), is planned and run on the threads of the factory, and
/// its rows pass the limits of `options`. Must be called within a tokio runtime with timers. The time limit counts until
/// the last row is taken; a step of the engine that is under way when it ends is computed to its end on its thread, but
/// the caller has its answer.
///
/// # Errors
/// Whatever is wrong with the statement; see [`QueryError`]. Errors while rows flow come through the stream.
pub fn run<'a>(
    factory: &'a SessionFactory,
    snapshot: &'a Snapshot,
    sql: &'a str,
    options: QueryOptions,
) -> BoxFuture<'a, Result<Answer>> {
    let resources = Arc::new(factory.resources().statement(&options.limits));
    run_with(factory, snapshot, sql, options, Running { resources, arrived: Instant::now(), held: None })
}

/// As [`run`], for a statement that has its turn.
pub(crate) fn run_with<'a>(
    factory: &'a SessionFactory,
    snapshot: &'a Snapshot,
    sql: &'a str,
    options: QueryOptions,
    running: Running,
) -> BoxFuture<'a, Result<Answer>> {
    async move {
        let Some(handle) = factory.handle() else {
            return Err(QueryError::Internal { message: "the engine is stopping".to_owned() });
        };
        let Running { resources, arrived: started, held } = running;
        let environment = factory.environment(&resources);
        let words = Arc::new(Words::new(factory, snapshot, sql, &options, Arc::clone(&resources)));
        let notices = words.notices.clone();

        let mut work: JoinSet<()> = JoinSet::new();
        let (planned, plan) = tokio::sync::oneshot::channel();
        let (rows, mut waiting) = mpsc::channel(WAITING_BATCHES);
        let limits = options.limits.clone();
        let (settings, parameters) = (options.settings, options.parameters);
        let told = Arc::clone(&resources);
        let answering = async move {
            match prepare(&words, environment, &limits, settings, &parameters, started).await {
                Err(error) => drop(planned.send(Err(error))),
                Ok(Prepared::Settings(settings)) => drop(planned.send(Ok((empty_schema(), Some(settings))))),
                Ok(Prepared::Rows(mut stream)) => {
                    if planned.send(Ok((stream.schema(), None))).is_err() {
                        return;
                    }
                    while let Some(batch) = stream.next().await {
                        if rows.send(batch).await.is_err() {
                            return;
                        }
                    }
                }
            }
        };
        work.spawn_on(
            async move {
                // Given back when the work ends, not when the last row is read.
                let _held = held;
                tokio::select! {
                    biased;
                    _ = told.stop().stopped() => {}
                    () = answering => {}
                }
            },
            handle,
        );
        // The worker keeps its own deadline; this one also holds when all workers are busy computing.
        let ending = Ending(Arc::clone(&resources));
        let deadline = started + options.limits.time + GRACE;
        let too_late = QueryError::Time { seconds: options.limits.time.as_secs() };
        let planned = match tokio::time::timeout_at(deadline, plan).await {
            Ok(Ok(planned)) => planned,
            Ok(Err(_)) => match resources.stop().cause() {
                Some(cause) => return Err(cause),
                None => return Err(ended(work.join_next().await)),
            },
            Err(_) => return Err(too_late),
        };
        let (schema, settings) = planned?;
        let batches = async_stream::stream! {
            let _ending = ending;
            loop {
                match tokio::time::timeout_at(deadline, waiting.recv()).await {
                    Ok(Some(batch)) => yield batch,
                    Ok(None) => break,
                    Err(_) => {
                        yield Err(too_late);
                        return;
                    }
                }
            }
            // A worker that was stopped or ended by a fault must not look like the end of the rows.
            if let Some(cause) = resources.stop().cause() {
                yield Err(cause);
            } else if let Some(Err(error)) = work.join_next().await {
                yield Err(ended(Some(Err(error))));
            }
        };
        Ok(Answer { schema, batches: Box::pin(batches), settings, notices })
    }
    .boxed()
}

/// Ends the work of a statement with its answer: a task can be aborted only where it waits.
struct Ending(Arc<Resources>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.stop().cancel(QueryError::Cancelled { why: "its reader went away".to_owned() });
    }
}

fn ended(joined: Option<std::result::Result<(), JoinError>>) -> QueryError {
    let message = match joined {
        Some(Err(error)) if error.is_panic() => "a fault while the statement ran".to_owned(),
        _ => "the statement was stopped".to_owned(),
    };
    QueryError::Internal { message }
}

fn empty_schema() -> SchemaRef {
    Arc::new(Schema::empty())
}

/// What is needed to word an error.
struct Words {
    sql: String,
    state: SessionState,
    catalog: SnapshotCatalog,
    memory_limit: usize,
    keys_limit: usize,
    notices: Notices,
    resources: Arc<Resources>,
    dialect: Dialect,
}

impl Words {
    fn new(
        factory: &SessionFactory,
        snapshot: &Snapshot,
        sql: &str,
        options: &QueryOptions,
        resources: Arc<Resources>,
    ) -> Self {
        let (dialect, notices) = (options.dialect, Notices::default());
        let view = Some(view_of(factory, options));
        let (state, catalog) =
            factory.state(snapshot, &options.access, dialect, options.settings, view, notices.clone());
        Self {
            sql: sql.to_owned(),
            state,
            catalog,
            memory_limit: options.limits.memory,
            keys_limit: options.limits.keys,
            notices,
            resources,
            dialect,
        }
    }

    fn explain(&self, error: DataFusionError) -> QueryError {
        if let Some(cause) = self.resources.cause_of(&error) {
            return cause;
        }
        let tables = || self.catalog.table_names();
        let functions = || {
            let mut names: Vec<String> = self.state.udfs().into_iter().collect();
            names.extend(self.state.udafs());
            names.extend(self.state.udwfs());
            names
        };
        let keys = || self.catalog.key_names();
        let vocabulary = Vocabulary {
            tables: &tables,
            functions: &functions,
            keys: &keys,
            memory_limit: self.memory_limit,
        };
        explain(&self.sql, error, &vocabulary)
    }
}

enum Prepared {
    Rows(LimitedStream),
    Settings(Settings),
}

async fn prepare(
    words: &Arc<Words>,
    environment: Arc<RuntimeEnv>,
    limits: &QueryLimits,
    mut settings: Settings,
    parameters: &[ArrayRef],
    started: Instant,
) -> Result<Prepared> {
    match read_statement(&words.sql, limits, &|error| words.explain(error))? {
        Request::Set { key, value } => {
            settings.set(&key, &value)?;
            Ok(Prepared::Settings(settings))
        }
        Request::View(_) => Err(only_the_owner()),
        Request::Read(statement) => {
            let planning = open(words, environment, *statement, parameters);
            let stream = match tokio::time::timeout_at(started + limits.time, planning).await {
                Ok(stream) => stream.map_err(|error| words.explain(error))?,
                Err(_) => return Err(QueryError::Time { seconds: limits.time.as_secs() }),
            };
            let words = Arc::clone(words);
            let explain = Box::new(move |error| words.explain(error));
            Ok(Prepared::Rows(LimitedStream::new(stream, started, limits.clone(), explain)))
        }
    }
}

async fn open(
    words: &Words,
    environment: Arc<RuntimeEnv>,
    statement: Statement,
    parameters: &[ArrayRef],
) -> std::result::Result<datafusion::execution::SendableRecordBatchStream, DataFusionError> {
    let (plan, _) = plan(words, statement).await?;
    words.resources.note_repeatable(is_repeatable(&plan));
    let plan = parameters::bind(plan, parameters)?;
    let context = context(&words.state, environment, lists_functions(&plan)?);
    let plan = words.state.create_physical_plan(&plan).await?;
    let plan = stoppable(plan, words.resources.stop())?;
    execute_stream(plan, context)
}

/// What a statement runs in. The engine looks for functions in it only to list them; they are copied only for that, which
/// costs as much as to plan a small statement.
fn context(state: &SessionState, environment: Arc<RuntimeEnv>, functions: bool) -> Arc<TaskContext> {
    let (id, config) = (state.session_id().to_owned(), state.config().clone());
    Arc::new(match functions {
        true => TaskContext::new(
            None,
            id,
            config,
            state.scalar_functions().clone(),
            state.higher_order_functions().clone(),
            state.aggregate_functions().clone(),
            state.window_functions().clone(),
            environment,
        ),
        false => TaskContext::new(
            None,
            id,
            config,
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            environment,
        ),
    })
}

/// Whether a plan reads the tables in which the engine lists its functions.
fn lists_functions(plan: &LogicalPlan) -> std::result::Result<bool, DataFusionError> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= scan.table_name.schema() == Some("information_schema");
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The checked plan of a statement, its parameters not bound yet, and how many are written in it.
async fn plan(
    words: &Words,
    mut statement: Statement,
) -> std::result::Result<(LogicalPlan, usize), DataFusionError> {
    let written = number_marks(&mut statement);
    if words.dialect == Dialect::Postgres {
        say_for_the_engine(&mut statement, &words.catalog);
    }
    views::plan_views(&words.state, &words.catalog, &statement).await?;
    let plan = words.state.statement_to_plan(statement).await?;
    check_plan(&plan)?;
    let tell = &mut |text| words.notices.add(text);
    let plan = show_commonest_keys(plan, words.catalog.snapshot(), words.keys_limit, tell)?;
    Ok((plan, written))
}

/// A change of views where statements only read.
fn only_the_owner() -> QueryError {
    let what = "CREATE VIEW and DROP VIEW through this door".to_owned();
    QueryError::ReadOnly { what }
}

fn number_marks(statement: &mut Statement) -> usize {
    match statement {
        Statement::Statement(sql) => parameters::number_marks(sql),
        Statement::Explain(explain) => number_marks(&mut explain.statement),
        _ => 0,
    }
}

fn say_for_the_engine(statement: &mut Statement, catalog: &SnapshotCatalog) {
    match statement {
        Statement::Statement(sql) => postgres::rewrite(sql, &|| catalog.listing()),
        Statement::Explain(explain) => say_for_the_engine(&mut explain.statement, catalog),
        _ => {}
    }
}

/// What a statement takes and gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The columns of its rows; `None` where it has none, as `SET`.
    pub columns: Option<SchemaRef>,
    /// The types of `$1`, `$2`, …
    pub parameters: Vec<DataType>,
}

/// Describes a statement without running it, behind the same guard and in the same time as [`run`]. A parameter has the
/// type that `declared` says, else the one that the statement asks for, else it is a text.
///
/// # Errors
/// As those of [`run`].
pub fn describe<'a>(
    factory: &'a SessionFactory,
    snapshot: &'a Snapshot,
    sql: &'a str,
    options: QueryOptions,
    declared: Vec<Option<DataType>>,
) -> BoxFuture<'a, Result<Description>> {
    async move {
        let Some(handle) = factory.handle() else {
            return Err(QueryError::Internal { message: "the engine is stopping".to_owned() });
        };
        let resources = Arc::new(factory.resources().statement(&options.limits));
        let words = Words::new(factory, snapshot, sql, &options, resources);
        let limits = options.limits;
        let time = limits.time;
        let mut settings = options.settings;
        let mut work = JoinSet::new();
        let describing = async move {
            match read_statement(&words.sql, &limits, &|error| words.explain(error))? {
                Request::Set { key, value } => {
                    settings.set(&key, &value)?;
                    Ok(Description { columns: None, parameters: Vec::new() })
                }
                Request::View(_) => Err(only_the_owner()),
                Request::Read(statement) => {
                    let described = async {
                        let (plan, written) = plan(&words, *statement).await?;
                        let parameters = parameters::types(&plan, &declared, written)?;
                        let plan = parameters::bind_nothing(plan, &parameters)?;
                        let options = words.state.config_options();
                        let plan = words.state.analyzer().execute_and_check(plan, options, |_, _| {})?;
                        let columns = Arc::new(plan.schema().as_arrow().clone());
                        Ok(Description { columns: Some(columns), parameters })
                    };
                    described.await.map_err(|error| words.explain(error))
                }
            }
        };
        work.spawn_on(describing, handle);
        match tokio::time::timeout(time + GRACE, work.join_next()).await {
            Ok(Some(Ok(described))) => described,
            Ok(Some(Err(error))) => Err(ended(Some(Err(error)))),
            Ok(None) => Err(ended(None)),
            Err(_) => Err(QueryError::Time { seconds: time.as_secs() }),
        }
    }
    .boxed()
}

/// What a statement sees of the engine.
fn view_of(factory: &SessionFactory, options: &QueryOptions) -> EngineView {
    EngineView {
        engine: Arc::clone(factory.engine()),
        caller: options.caller.as_str().into(),
        limits: options.limits.clone(),
        all: factory.resources().sizes(),
    }
}

/// A table by its schema and its name, with its columns where they were asked for.
pub type ListedTable = (String, String, Option<SchemaRef>);

/// The tables that a caller sees, by schema and name, each with its columns when `columns` says so for it.
///
/// # Errors
/// When a table of the lake cannot be read.
pub fn list_tables<'a>(
    factory: &'a SessionFactory,
    snapshot: &'a Snapshot,
    access: &'a Access,
    columns: &'a (dyn Fn(&str, &str) -> bool + Send + Sync),
) -> BoxFuture<'a, Result<Vec<ListedTable>>> {
    async move {
        let (dialect, settings) = (Dialect::Runlake, Settings::default());
        let (state, catalog) = factory.state(snapshot, access, dialect, settings, None, Notices::default());
        let planned = views::plan_all_views(&state, &catalog).await;
        planned.map_err(|error| QueryError::Internal { message: error.to_string() })?;
        let mut tables = Vec::new();
        for (schema, names) in catalog.listing() {
            for name in names {
                let described = if columns(&schema, &name) {
                    let described = catalog.columns(&schema, &name, true).await;
                    described.map_err(|error| QueryError::Storage { message: error.to_string() })?
                } else {
                    None
                };
                tables.push((schema.clone(), name, described));
            }
        }
        Ok(tables)
    }
    .boxed()
}
