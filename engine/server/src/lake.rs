//! The library's lake as the server sees it: the one place where their words and errors meet.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::datatypes::DataType;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use model::{Command, PointBatch, WriterSequence};
use runlake::query::{self, Access, QueryError, QueryLimits, QueryOptions, Settings};
use runlake::store::wal::WalError;
use runlake::store::{self, LeaseError, RegistryError, Store, StoreError};
use runlake::{Error, Lake};

use crate::error::{Position, ServiceError};
use crate::service::{
    Appended, Description, Flushed, LakeService, LakeStatus, PendingAppend, Problem, QueryAnswer,
    QueryMetrics, QueryPart, Readiness, Statement, TableEntry, Verified, WantsColumns,
};

/// When a client should try again what the lake could not do now.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often the writer is looked after.
const LOOK: Duration = Duration::from_millis(200);

#[async_trait]
impl LakeService for Lake {
    async fn append(
        &self,
        batch: PointBatch,
        sequence: Option<WriterSequence>,
    ) -> Result<PendingAppend, ServiceError> {
        let begun = writable(self)?.begin_append(batch, sequence).await.map_err(error_from_store)?;
        Ok(Box::pin(async move {
            let acknowledged = begun.acknowledged().await.map_err(error_from_store)?;
            Ok(Appended { duplicate: acknowledged.duplicate })
        }))
    }

    async fn apply(&self, commands: Vec<Command>) -> Result<(), ServiceError> {
        writable(self)?.apply(commands, None).await.map(drop).map_err(error_from_store)
    }

    async fn query(&self, statement: Statement) -> Result<QueryAnswer, ServiceError> {
        let (sql, options) = options(self, statement)?;
        let answer = Lake::query(self, &sql, options).await.map_err(error_from_lake)?;
        let set = answer
            .settings
            .map(|_| "a SET holds for its own call only; send the key with each statement".to_owned());
        let notices = answer.notices;
        // Known only when the rows have been read.
        let notice = stream::once(async move { stream::iter(set.into_iter().chain(notices.all())) })
            .flatten()
            .map(|text| Ok(QueryPart::Notice(text)));
        let rows = answer.batches.map(|batch| batch.map(QueryPart::Rows).map_err(error_from_query));
        Ok(QueryAnswer { schema: answer.schema, parts: rows.chain(notice).boxed() })
    }

    fn cancel_query(&self, id: u64, caller: &str) -> bool {
        // Without tokens every caller sees and may do everything.
        self.queries().cancel(id, &Access::All, caller)
    }

    fn query_metrics(&self) -> QueryMetrics {
        let metrics = self.queries().metrics();
        QueryMetrics {
            running: metrics.running,
            waiting: metrics.waiting,
            finished: metrics.finished,
            failed: metrics.failed,
            cancelled: metrics.cancelled,
            kept_hits: metrics.kept_hits,
            kept_misses: metrics.kept_misses,
            kept_bytes: metrics.kept_bytes,
            memory: metrics.memory,
            spill: metrics.spill,
            spilled: metrics.spilled,
        }
    }

    async fn describe(
        &self,
        statement: Statement,
        declared: Vec<Option<DataType>>,
    ) -> Result<Description, ServiceError> {
        let (sql, options) = options(self, statement)?;
        let snapshot = self.snapshot().await.map_err(error_from_lake)?;
        let described = query::describe(self.sessions(), &snapshot, &sql, options, declared);
        let query::Description { columns, parameters } = described.await.map_err(error_from_query)?;
        Ok(Description { columns, parameters })
    }

    async fn change_views(&self, sql: &str) -> Result<(), ServiceError> {
        match query::view_change(sql).map_err(error_from_query)? {
            Some(change) => Lake::change_views(self, change).await.map_err(error_from_lake),
            None => Err(ServiceError::field("view.no_change", "sql", "this is no CREATE VIEW or DROP VIEW")),
        }
    }

    async fn tables(&self, columns: WantsColumns<'_>) -> Result<Vec<TableEntry>, ServiceError> {
        let snapshot = self.snapshot().await.map_err(error_from_lake)?;
        let tables = query::list_tables(self.sessions(), &snapshot, &Access::All, columns);
        let entry = |(schema, name, columns)| TableEntry { schema, name, columns };
        Ok(tables.await.map_err(error_from_query)?.into_iter().map(entry).collect())
    }

    async fn flush(&self) -> Result<Flushed, ServiceError> {
        let report = writable(self)?.flush().await.map_err(error_from_store)?;
        Ok(Flushed { points: report.points, tables: report.tables.len() as u64 })
    }

    async fn verify(&self) -> Result<Verified, ServiceError> {
        let (location, runtime) = (self.location().clone(), tokio::runtime::Handle::current());
        // It reads and hashes every byte: nothing for the threads that serve the network.
        let report = tokio::task::spawn_blocking(move || runtime.block_on(store::verify(location))).await;
        let report = report.map_err(|error| internal("verify.ended", &error))?.map_err(error_from_store)?;
        let problems = report.findings.into_iter().map(|finding| {
            let place = match &finding.part {
                Some(part) => format!("{}, {part}", finding.place),
                None => finding.place.clone(),
            };
            Problem { place, message: finding.detail() }
        });
        Ok(Verified {
            files: report.files,
            bytes: report.bytes,
            log_records: report.log_records,
            problems: problems.collect(),
        })
    }

    async fn status(&self) -> Result<LakeStatus, ServiceError> {
        let snapshot = self.snapshot().await.map_err(error_from_lake)?;
        let lake = self.location().to_string();
        let log = self.location().layout().map(|layout| layout.wal());
        let counted = tokio::task::spawn_blocking(move || {
            let registry = snapshot.registry();
            let projects: BTreeSet<_> =
                registry.experiments().map(|experiment| experiment.project.shared()).collect();
            LakeStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                lake,
                projects: projects.len() as u64,
                experiments: registry.experiments().count() as u64,
                runs: registry.runs().len() as u64,
                series: snapshot.series().entries().len() as u64,
                points: snapshot.series().entries().iter().map(|entry| entry.statistics.count).sum(),
                unflushed_points: snapshot.memtable_points(),
                log_bytes: log.map_or(0, |log| bytes_in(&log)),
            }
        });
        counted.await.map_err(|error| internal("status.ended", &error))
    }

    fn readiness(&self) -> Readiness {
        match self.store() {
            Ok(store) => match store.stop_reason() {
                Some(reason) => Readiness::ReadOnly { why: reason.to_string() },
                None => Readiness::Ready,
            },
            Err(error) => Readiness::ReadOnly { why: error.to_string() },
        }
    }

    fn now_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    async fn failed(&self) -> ServiceError {
        let Ok(store) = self.store() else { return std::future::pending().await };
        while !store.is_stopped() {
            tokio::time::sleep(LOOK).await;
        }
        error_from_store(store.stop_reason().unwrap_or(StoreError::Stopped))
    }

    async fn close(&self) -> Result<(), ServiceError> {
        Lake::close(self).await;
        Ok(())
    }
}

/// The text of a statement, and how it is run.
fn options(lake: &Lake, statement: Statement) -> Result<(String, QueryOptions), ServiceError> {
    let Statement { sql, caller, settings, timeout, dialect, parameters } = statement;
    // An answer is streamed: the time bounds it, and the reader's window.
    let mut limits = QueryLimits { time: timeout, rows: None, bytes: None, ..QueryLimits::default() };
    if let Some(plan) = lake.memory() {
        limits.memory = limits.memory.min(plan.statement);
    }
    let mut options = QueryOptions {
        limits,
        settings: Settings::default(),
        caller,
        dialect,
        parameters,
        ..QueryOptions::default()
    };
    for (key, value) in &settings {
        options.settings.set(key, value).map_err(error_from_query)?;
    }
    Ok((sql, options))
}

fn writable(lake: &Lake) -> Result<&Store, ServiceError> {
    lake.store().map_err(error_from_lake)
}

fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|data| data.is_file())
        .map(|d| d.len())
        .sum()
}

fn internal(reason: &'static str, error: &dyn std::fmt::Display) -> ServiceError {
    ServiceError::Internal { reason, message: error.to_string() }
}

fn error_from_lake(error: Error) -> ServiceError {
    match error {
        Error::Store(error) => error_from_store(error),
        Error::Query(error) => error_from_query(error),
        Error::Model(error) => {
            ServiceError::Invalid { reason: error.code(), field: None, message: error.to_string() }
        }
        Error::ReadOnly { .. } => unavailable(error.code(), error.to_string()),
        error => ServiceError::Internal { reason: error.code(), message: error.to_string() },
    }
}

/// What a [`StoreError`] means to a client.
pub(crate) fn error_from_store(error: StoreError) -> ServiceError {
    let (reason, message) = (error.code(), error.to_string());
    match &error {
        StoreError::Registry(
            RegistryError::RunUnknown { .. }
            | RegistryError::ExperimentUnknown { .. }
            | RegistryError::RecordUnknown { .. },
        ) => ServiceError::NotFound { reason, message },
        StoreError::Registry(_) | StoreError::Model(_) | StoreError::SequenceTooOld { .. } => {
            ServiceError::Invalid { reason, field: None, message }
        }
        StoreError::Busy { .. } | StoreError::Resident { .. } | StoreError::Memory { .. } => {
            ServiceError::Busy { reason, message, retry_after: RETRY_AFTER }
        }
        StoreError::Stopped | StoreError::Unrenewed { .. } | StoreError::Lease(LeaseError::Lost { .. }) => {
            unavailable(reason, message)
        }
        StoreError::Wal(error) => match error.as_ref() {
            WalError::RecordTooLarge { .. } => ServiceError::TooLarge { reason, message },
            WalError::Full { .. } => ServiceError::Busy { reason, message, retry_after: RETRY_AFTER },
            WalError::DiskFull { .. }
            | WalError::Write { .. }
            | WalError::Sync { .. }
            | WalError::Poisoned { .. }
            | WalError::Fenced { .. } => unavailable(reason, message),
            WalError::Corrupt { .. } | WalError::EndsEarly { .. } => {
                ServiceError::DataLoss { reason, message }
            }
            _ => ServiceError::Internal { reason, message },
        },
        _ if matches!(
            reason,
            "segment.corrupt"
                | "segment.missing"
                | "catalog.log_damaged"
                | "checkpoint.corrupt"
                | "lake.damaged"
        ) =>
        {
            ServiceError::DataLoss { reason, message }
        }
        _ => ServiceError::Internal { reason, message },
    }
}

fn unavailable(reason: &'static str, message: String) -> ServiceError {
    ServiceError::Unavailable { reason, message, retry_after: RETRY_AFTER }
}

/// What a [`QueryError`] means to a client.
pub(crate) fn error_from_query(error: QueryError) -> ServiceError {
    let (reason, message) = (error.code(), error.to_string());
    match &error {
        QueryError::TooComplex { .. }
        | QueryError::Memory { .. }
        | QueryError::Spill { .. }
        | QueryError::ResultTooLarge { .. } => ServiceError::TooLarge { reason, message },
        QueryError::Busy { .. } => ServiceError::Busy { reason, message, retry_after: RETRY_AFTER },
        QueryError::Cancelled { .. } => ServiceError::Cancelled { reason, message },
        QueryError::Time { .. } => ServiceError::TimedOut { reason, message },
        QueryError::Storage { .. } => ServiceError::DataLoss { reason, message },
        QueryError::Internal { .. } => ServiceError::Internal { reason, message },
        _ => {
            let position =
                error.place().map(|place| Position { line: place.line as u64, column: place.column as u64 });
            ServiceError::Sql { reason, message, position }
        }
    }
}
