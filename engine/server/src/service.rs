//! What the server needs of a lake, in the words of `model`. The library implements it once; tests implement it too.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use model::{Command, PointBatch, WriterSequence};
pub use runlake::query::Dialect;

use crate::error::ServiceError;

/// A batch that has its place in the log and is not durable yet.
pub type PendingAppend = BoxFuture<'static, Result<Appended, ServiceError>>;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Whether it had been written before and was not written again.
    pub duplicate: bool,
}

/// One read-only statement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statement {
    /// The text.
    pub sql: String,
    /// Who asks; callers take turns, and see their own statements.
    pub caller: String,
    /// Settings for this statement only; the service refuses keys that it does not list.
    pub settings: BTreeMap<String, String>,
    /// Time for planning, running and reading the answer. The server enforces it; the service may plan with it.
    pub timeout: Duration,
    /// How the text is read.
    pub dialect: Dialect,
    /// The values of `$1`, `$2`, …: arrays of one value each.
    pub parameters: Vec<ArrayRef>,
}

/// What a statement takes and gives, without running it.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The columns of its rows; `None` where it has none, as `SET`.
    pub columns: Option<SchemaRef>,
    /// The types of `$1`, `$2`, …
    pub parameters: Vec<DataType>,
}

/// A table that a caller sees.
#[derive(Debug, Clone, PartialEq)]
pub struct TableEntry {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns, where they were asked for.
    pub columns: Option<SchemaRef>,
}

/// Which tables' columns are wanted, by schema and name.
pub type WantsColumns<'a> = &'a (dyn Fn(&str, &str) -> bool + Send + Sync);

/// A part of the answer to a statement.
#[derive(Debug, Clone)]
pub enum QueryPart {
    /// The next rows, of the schema of the answer.
    Rows(RecordBatch),
    /// Something that the reader should know.
    Notice(String),
}

/// The answer to a statement. Dropping it cancels the query.
pub struct QueryAnswer {
    /// The schema of all rows.
    pub schema: SchemaRef,
    /// The rows.
    pub parts: BoxStream<'static, Result<QueryPart, ServiceError>>,
}

/// Numbers of the statements of a lake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryMetrics {
    /// Statements that run now.
    pub running: u64,
    /// Statements that wait now.
    pub waiting: u64,
    /// Statements that were answered.
    pub finished: u64,
    /// Statements that ended with an error.
    pub failed: u64,
    /// Statements that were cancelled, or whose reader went away.
    pub cancelled: u64,
    /// Answers that were given again.
    pub kept_hits: u64,
    /// Statements for which no answer was kept.
    pub kept_misses: u64,
    /// Bytes of kept answers now.
    pub kept_bytes: u64,
    /// Memory that running statements hold now.
    pub memory: u64,
    /// Bytes in temporary files now.
    pub spill: u64,
    /// Bytes written to temporary files since the start.
    pub spilled: u64,
}

/// What a flush did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Points that went into table files.
    pub points: u64,
    /// Tables that got a commit.
    pub tables: u64,
}

/// Something wrong in a lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or the table.
    pub place: String,
    /// What is wrong there.
    pub message: String,
}

/// What a check of the lake found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Table files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Log records read.
    pub log_records: u64,
    /// What is wrong; empty means sound.
    pub problems: Vec<Problem>,
}

/// What a lake is and holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LakeStatus {
    /// The version of Runlake.
    pub version: String,
    /// URL or folder, as the lake was opened.
    pub lake: String,
    /// Number of projects.
    pub projects: u64,
    /// Number of experiments.
    pub experiments: u64,
    /// Number of runs.
    pub runs: u64,
    /// Number of series.
    pub series: u64,
    /// Number of points, flushed or not.
    pub points: u64,
    /// Points acknowledged and not yet in table files.
    pub unflushed_points: u64,
    /// Bytes of log files.
    pub log_bytes: u64,
}

/// Whether a lake takes requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It reads its log after a start.
    Recovering {
        /// How far it is, for a person.
        progress: String,
    },
    /// It can be read and not written.
    ReadOnly {
        /// Why.
        why: String,
    },
}

/// A lake as the server sees it. Calls come from network tasks: an implementation moves long or blocking work off
/// them, and checks nothing that a type of `model` already guarantees.
#[async_trait]
pub trait LakeService: Send + Sync + 'static {
    /// Gives a batch its place in the log, once there is room for it. Batches of one caller that awaits each call get
    /// their places in the order of the calls; the returned future is done when the batch is durable and visible, holds
    /// nothing of the batch, and need not be polled for that.
    async fn append(
        &self,
        batch: PointBatch,
        sequence: Option<WriterSequence>,
    ) -> Result<PendingAppend, ServiceError>;

    /// Applies commands in their order, all or none, and returns when they are durable.
    async fn apply(&self, commands: Vec<Command>) -> Result<(), ServiceError>;

    /// Checks that a statement only reads, waits for its turn among the others, plans it and begins to run it.
    async fn query(&self, statement: Statement) -> Result<QueryAnswer, ServiceError>;

    /// Ends a statement that waits or runs, by its number in `system.queries`; false when there is none that the caller
    /// may end. Must not wait.
    fn cancel_query(&self, id: u64, caller: &str) -> bool {
        let _ = (id, caller);
        false
    }

    /// Numbers of the statements; must not wait.
    fn query_metrics(&self) -> QueryMetrics {
        QueryMetrics::default()
    }

    /// Checks that a statement only reads, and plans it without running it. A parameter has the type that is declared for
    /// it, else the one that the statement asks for.
    async fn describe(
        &self,
        statement: Statement,
        declared: Vec<Option<DataType>>,
    ) -> Result<Description, ServiceError>;

    /// Does what a `CREATE VIEW` or a `DROP VIEW` says.
    async fn change_views(&self, sql: &str) -> Result<(), ServiceError>;

    /// All tables, in the order of their schemas.
    async fn tables(&self, columns: WantsColumns<'_>) -> Result<Vec<TableEntry>, ServiceError>;

    /// Moves everything acknowledged into table files and commits them.
    async fn flush(&self) -> Result<Flushed, ServiceError>;

    /// Checks every file, log record and invariant.
    async fn verify(&self) -> Result<Verified, ServiceError>;

    /// What the lake is and holds.
    async fn status(&self) -> Result<LakeStatus, ServiceError>;

    /// Whether the lake takes requests; must not wait.
    fn readiness(&self) -> Readiness;

    /// The lake's clock, microseconds since 1970 UTC.
    fn now_micros(&self) -> i64;

    /// Completes when the lake has failed for good and its process should end; never on a healthy lake.
    async fn failed(&self) -> ServiceError;

    /// Syncs and closes the lake. Called once, after the last other call has returned or was dropped.
    async fn close(&self) -> Result<(), ServiceError>;
}
