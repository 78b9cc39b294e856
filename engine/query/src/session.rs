//! Sessions: what is built once for a process, and what is made for each statement.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList};
use datafusion::common::DataFusionError;
use datafusion::execution::context::SessionContext;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{FunctionRegistry, SessionStateDefaults};
use datafusion::optimizer::Analyzer;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig as EngineConfig;
use object_store::ObjectStore;
use store::Snapshot;
use url::Url;

use crate::error::{Located, QueryError, Result};
use crate::filters_by_name::UnlessNamesRepeat;
use crate::functions;
use crate::guard::{guarded_scalar_functions, guarded_table_functions};
use crate::ordered_answer::KeepAnswerOrdered;
use crate::postgres;
use crate::service::{Engine, EngineView, Resources, SharedResources};
use crate::tables::{
    Access, AggregateByNumbers, AnswerBySeries, CATALOG, JoinOnOrdinals, KeyCache, NameNeededKeys, Notices,
    OnCorrupt, PUBLIC, Reading, SnapshotCatalog,
};

/// Most memory that one part of a sort keeps for merging.
const MERGE_BYTES: usize = 10 << 20;

/// Stack of the threads that plan: what the limits on nesting let through fits.
const STACK_BYTES: usize = 16 << 20;

/// How the engine is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Memory of all statements together, in bytes.
    pub memory: usize,
    /// Disk for sorts and joins that do not fit, in bytes; 0 for none.
    pub spill: u64,
    /// Threads that plan and run statements.
    pub threads: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { memory: 4 << 30, spill: 16 << 30, threads }
    }
}

/// The device of everything that resamples, fits or clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The fastest that works.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// One CUDA device.
    Cuda(u32),
}

impl FromStr for Device {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        match (text, number) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            (_, Some(ordinal)) => Ok(Self::Cuda(ordinal)),
            _ => {
                Err(setting(format!("runlake.device cannot be '{text}'"), "Give 'auto', 'cpu' or 'cuda:0'."))
            }
        }
    }
}

impl Device {
    fn policy(self) -> kernels::Policy {
        match self {
            Self::Auto => kernels::Policy::Auto,
            Self::Cpu => kernels::Policy::Cpu,
            Self::Cuda(ordinal) => kernels::Policy::Cuda { ordinal },
        }
    }
}

/// What `SET` changes, for the statements that follow on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// `runlake.device`.
    pub device: Device,
    /// `runlake.seed`.
    pub seed: u64,
    /// `runlake.on_corrupt`.
    pub on_corrupt: OnCorrupt,
}

impl Settings {
    /// The keys that `SET` takes.
    pub const KEYS: [&'static str; 3] = ["runlake.device", "runlake.seed", "runlake.on_corrupt"];

    /// `SET key = value`.
    ///
    /// # Errors
    /// Unknown keys, and values that the key does not take.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "runlake.device" => self.device = value.parse()?,
            "runlake.seed" => {
                self.seed = value.parse().map_err(|_| {
                    setting(format!("runlake.seed cannot be '{value}'"), "Give a whole number of at least 0.")
                })?;
            }
            "runlake.on_corrupt" => {
                self.on_corrupt = value.parse().map_err(|()| {
                    setting(format!("runlake.on_corrupt cannot be '{value}'"), "Give 'fail' or 'skip'.")
                })?;
            }
            _ => {
                let known = Self::KEYS.map(str::to_owned);
                let hint = crate::explain_error::suggestion(key, &known).unwrap_or_else(|| {
                    "The settings are runlake.device, runlake.seed and runlake.on_corrupt.".to_owned()
                });
                return Err(setting(format!("unknown setting '{key}'"), &hint));
            }
        }
        Ok(())
    }
}

fn setting(message: String, hint: &str) -> QueryError {
    QueryError::Setting(Located { message, place: None, hint: Some(hint.to_owned()) })
}

/// How a statement is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// As it stands.
    #[default]
    Runlake,
    /// As clients of PostgreSQL mean it: with `pg_catalog`, its functions and its ways of writing.
    Postgres,
}

/// Builds sessions; made once for a lake.
pub struct SessionFactory {
    base: SessionState,
    /// The base of statements of clients of PostgreSQL, made for the first of them.
    postgres: OnceLock<SessionState>,
    environment: Arc<RuntimeEnv>,
    resources: SharedResources,
    engine: Arc<Engine>,
    keys: Arc<KeyCache>,
    partitions: usize,
    threads: Option<tokio::runtime::Runtime>,
}

impl fmt::Debug for SessionFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFactory").finish_non_exhaustive()
    }
}

impl Drop for SessionFactory {
    fn drop(&mut self) {
        // A runtime must not be waited for inside of another one.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl SessionFactory {
    /// Builds functions, optimizer, memory pool and threads.
    ///
    /// # Errors
    /// When the operating system gives no threads or no folder for temporary files.
    pub fn new(config: &SessionConfig) -> Result<Self> {
        let internal = |error: &dyn fmt::Display| QueryError::Internal { message: error.to_string() };
        let partitions = config.threads.max(1);
        let resources = SharedResources::new(config.memory, config.spill, partitions);
        let disk = DiskManagerBuilder::default().with_mode(resources.disk_of_sessions());
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::clone(&resources.memory) as Arc<dyn MemoryPool>)
            .with_disk_manager_builder(disk)
            .with_object_store_registry(Arc::new(NoStores))
            .build_arc()
            .map_err(|error| internal(&error))?;
        let mut engine = EngineConfig::new()
            .with_default_catalog_and_schema(CATALOG, PUBLIC)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true)
            .with_target_partitions(partitions);
        engine.options_mut().sql_parser.collect_spans = true;
        engine.options_mut().optimizer.expand_views_at_output = true;
        let mut rules = Analyzer::new().rules;
        rules.push(Arc::new(NameNeededKeys));
        let mut scalars = SessionStateDefaults::default_scalar_functions();
        scalars = guarded_scalar_functions(scalars);
        scalars.extend(functions::scalars());
        let mut aggregates = SessionStateDefaults::default_aggregate_functions();
        aggregates.extend(functions::aggregates(kernels::Policy::Auto, 0));
        let mut windows = SessionStateDefaults::default_window_functions();
        windows.extend(functions::windows());
        let mut tables = guarded_table_functions(SessionStateDefaults::default_table_functions());
        tables.extend(functions::tables(kernels::Policy::Auto, 0));
        let base = SessionStateBuilder::new()
            .with_config(engine)
            .with_runtime_env(Arc::clone(&environment))
            .with_analyzer_rules(rules)
            .with_optimizer_rule(Arc::new(AnswerBySeries))
            .with_physical_optimizer_rules(physical_rules())
            .with_expr_planners(SessionStateDefaults::default_expr_planners())
            .with_scalar_functions(scalars)
            .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
            .with_aggregate_functions(aggregates)
            .with_window_functions(windows)
            .with_table_function_list(tables)
            .build();
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(partitions)
            .thread_name("runlake-query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| internal(&error))?;
        let (engine, keys, postgres) = (Arc::default(), Arc::default(), OnceLock::new());
        Ok(Self { base, postgres, environment, resources, engine, keys, partitions, threads: Some(threads) })
    }

    /// A session over all of one snapshot, for the owner of the lake: an engine's context to use as one likes, without
    /// the guard of [`crate::run`]. Named arguments of our functions may leave no gaps here: `run` fills them, the
    /// engine does not.
    pub fn session(&self, snapshot: &Snapshot) -> SessionContext {
        let dialect = Dialect::Runlake;
        let (state, _) =
            self.state(snapshot, &Access::All, dialect, Settings::default(), None, Notices::default());
        SessionContext::new_with_state(state)
    }

    /// The memory and the temporary files of a statement.
    pub(crate) fn environment(&self, resources: &Resources) -> Arc<RuntimeEnv> {
        let mut environment = self.environment.as_ref().clone();
        resources.give_to(&mut environment);
        Arc::new(environment)
    }

    /// The state for one statement, and the catalog in it. Without a view of the engine it is for an embedder's session.
    pub(crate) fn state(
        &self,
        snapshot: &Snapshot,
        access: &Access,
        dialect: Dialect,
        settings: Settings,
        view: Option<EngineView>,
        notices: Notices,
    ) -> (SessionState, SnapshotCatalog) {
        let reading = Reading { on_corrupt: settings.on_corrupt, notices };
        let view = view.unwrap_or_else(|| EngineView {
            engine: Arc::clone(&self.engine),
            all: self.resources.sizes(),
            ..EngineView::default()
        });
        let merge_bytes = (view.limits.memory / (8 * self.partitions)).min(MERGE_BYTES);
        let (keys, for_postgres) = (Arc::clone(&self.keys), dialect == Dialect::Postgres);
        let catalog =
            SnapshotCatalog::new(snapshot.clone(), access.clone(), keys, reading, view, for_postgres);
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog.clone()));
        // A clone: to build a state anew costs as much as to plan a small statement.
        let mut state = self.base_of(dialect).clone();
        state.register_catalog_list(Arc::new(catalogs));
        // What `now()` and the current date are, for all of the statement.
        state.mark_start_execution();
        // By itself each part of a sort keeps ten mebibytes, which may be all that a statement has.
        state.config_mut().options_mut().execution.sort_spill_reservation_bytes = merge_bytes;
        if settings != Settings::default() {
            let (device, seed) = (settings.device.policy(), settings.seed);
            for function in functions::aggregates(device, seed) {
                // The only error is that of a registry that takes no functions; this one does.
                let _ = state.register_udaf(function);
            }
            for function in functions::tables(device, seed) {
                state.register_udtf(function.name(), Arc::clone(function.function()));
            }
        }
        (state, catalog)
    }

    /// Memory and disk of all statements.
    pub(crate) fn resources(&self) -> &SharedResources {
        &self.resources
    }

    /// What the tables of `system` show.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    fn base_of(&self, dialect: Dialect) -> &SessionState {
        match dialect {
            Dialect::Runlake => &self.base,
            Dialect::Postgres => self.postgres.get_or_init(|| {
                // `information_schema` is ours there, with the types that these clients know.
                let config = self.base.config().clone().with_information_schema(false);
                let mut state = SessionStateBuilder::new_from_existing(self.base.clone())
                    .with_config(config)
                    .with_type_planner(postgres::type_planner())
                    .build();
                for function in postgres::scalars() {
                    // The only error is that of a registry that takes no functions; this one does.
                    let _ = state.register_udf(function);
                }
                let keywords = postgres::keywords();
                state.register_udtf(keywords.name(), Arc::clone(keywords.function()));
                state
            }),
        }
    }

    /// Where statements run.
    pub(crate) fn handle(&self) -> Option<&tokio::runtime::Handle> {
        self.threads.as_ref().map(tokio::runtime::Runtime::handle)
    }
}

/// The engine's own rules; before them, joins on run ids become joins on ordinals, and groups of few texts are numbered;
/// behind them the answer keeps its order.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> =
        vec![Arc::new(JoinOnOrdinals), Arc::new(AggregateByNumbers)];
    for rule in PhysicalOptimizer::new().rules {
        rules.push(if rule.name().starts_with("FilterPushdown") {
            Arc::new(UnlessNamesRepeat(rule))
        } else {
            rule
        });
    }
    rules.push(Arc::new(KeepAnswerOrdered));
    rules
}

/// SQL reaches no files: all reading goes through the snapshot.
#[derive(Debug)]
struct NoStores;

impl ObjectStoreRegistry for NoStores {
    fn register_store(&self, _url: &Url, _store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
        Err(DataFusionError::External(Box::new(QueryError::ReadOnly { what: format!("reading {url}") })))
    }
}
