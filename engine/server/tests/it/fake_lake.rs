//! A lake in memory. It keeps what it is given, syncs when it is allowed to, and fails when it is told to.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use model::{Command, PointBatch, WriterSequence};
use server::error::Position;
use server::service::{
    Appended, Description, Flushed, LakeStatus, PendingAppend, Problem, QueryAnswer, QueryPart, Readiness,
    Statement, TableEntry, Verified, WantsColumns,
};
use server::{LakeService, ServiceError};
use tokio::sync::watch;

pub(crate) const NOW: i64 = 1_700_000_000_000_000;

/// Client id and number.
type Place = (String, u64);

pub(crate) struct FakeLake {
    /// Batches in the order of the log.
    pub(crate) log: Mutex<Vec<(Option<Place>, PointBatch)>>,
    pub(crate) commands: Mutex<Vec<Command>>,
    pub(crate) closed: AtomicBool,
    /// Queries that run or are being read.
    pub(crate) queries: Arc<AtomicUsize>,
    /// While false, nothing becomes durable.
    pub(crate) syncing: watch::Sender<bool>,
    /// How many appends to come fail as if the disk were full.
    pub(crate) full_for: AtomicUsize,
    pub(crate) readiness: Mutex<Readiness>,
    /// Once true, the lake has failed for good.
    pub(crate) broken: watch::Sender<bool>,
    /// Every statement that was asked.
    pub(crate) statements: Mutex<Vec<Statement>>,
    seen: Mutex<HashSet<Place>>,
}

impl Default for FakeLake {
    fn default() -> Self {
        Self {
            log: Mutex::default(),
            commands: Mutex::default(),
            closed: AtomicBool::default(),
            queries: Arc::default(),
            syncing: watch::Sender::new(true),
            full_for: AtomicUsize::default(),
            readiness: Mutex::new(Readiness::Ready),
            broken: watch::Sender::new(false),
            statements: Mutex::default(),
            seen: Mutex::default(),
        }
    }
}

impl FakeLake {
    pub(crate) fn sequences(&self) -> Vec<u64> {
        self.log.lock().unwrap().iter().filter_map(|(sequence, _)| sequence.as_ref().map(|s| s.1)).collect()
    }

    pub(crate) fn points(&self) -> usize {
        self.log.lock().unwrap().iter().map(|(_, batch)| batch.point_count()).sum()
    }
}

#[async_trait]
impl LakeService for FakeLake {
    async fn append(
        &self,
        batch: PointBatch,
        sequence: Option<WriterSequence>,
    ) -> Result<PendingAppend, ServiceError> {
        let full = self.full_for.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if full.is_ok() {
            return Err(ServiceError::Unavailable {
                reason: "disk.full",
                message: "the disk is full".into(),
                retry_after: Duration::from_millis(1),
            });
        }
        if batch.series()[0].metric.as_str() == "panic" {
            panic!("told to");
        }
        let place = sequence.map(|s| (s.client_id().to_owned(), s.client_seq()));
        let duplicate = place.as_ref().is_some_and(|place| !self.seen.lock().unwrap().insert(place.clone()));
        if !duplicate {
            self.log.lock().unwrap().push((place, batch));
        }
        let mut syncing = self.syncing.subscribe();
        Ok(Box::pin(async move {
            syncing.wait_for(|syncing| *syncing).await.unwrap();
            Ok(Appended { duplicate })
        }))
    }

    async fn apply(&self, commands: Vec<Command>) -> Result<(), ServiceError> {
        let unknown =
            commands.iter().any(|c| matches!(c, Command::SetTags { run, .. } if run.as_u128() == 404));
        if unknown {
            return Err(ServiceError::NotFound { reason: "run.not_found", message: "no such run".into() });
        }
        self.commands.lock().unwrap().extend(commands);
        Ok(())
    }

    /// `rows N`: N numbered rows; `given`: the parameters as texts; `endless`; `stuck`; `panic`; `corrupt`; `internal`;
    /// SET of a key that begins with `runlake.` but for `runlake.none`; anything else is a syntax error.
    async fn query(&self, statement: Statement) -> Result<QueryAnswer, ServiceError> {
        self.statements.lock().unwrap().push(statement.clone());
        if statement.sql == "given" {
            return Ok(given(&statement.parameters));
        }
        if statement.sql.starts_with("SET runlake.") && !statement.sql.contains("none") {
            let schema = Arc::new(Schema::empty());
            return Ok(QueryAnswer { schema, parts: stream::empty().boxed() });
        }
        let words: Vec<&str> = statement.sql.split_whitespace().collect();
        let rows: i64 = match words.as_slice() {
            ["rows", count] => count.parse().unwrap(),
            ["endless"] => i64::MAX,
            ["stuck"] => return std::future::pending().await,
            ["panic"] => panic!("told to"),
            ["corrupt"] => {
                return Err(ServiceError::DataLoss {
                    reason: "segment.corrupt",
                    message: "tables/points/a".into(),
                });
            }
            ["internal"] => {
                return Err(ServiceError::Internal { reason: "bug", message: "secret cause".into() });
            }
            _ => {
                return Err(ServiceError::Sql {
                    reason: "sql.syntax",
                    message: format!("unexpected {:?}", statement.sql),
                    position: Some(Position { line: 1, column: 8 }),
                });
            }
        };
        let schema = numbered();
        let running = Running::begin(&self.queries);
        let of = schema.clone();
        let batches = stream::unfold((0_i64, running), move |(begin, running)| {
            let of = of.clone();
            async move {
                let end = rows.min(begin + 100_000);
                let numbers = Int64Array::from_iter_values(begin..end);
                let texts = StringArray::from_iter_values((begin..end).map(|n| format!("row {n}")));
                let batch = RecordBatch::try_new(of, vec![Arc::new(numbers), Arc::new(texts)]).unwrap();
                (begin < rows).then_some((Ok(QueryPart::Rows(batch)), (end, running)))
            }
        });
        let notice = stream::iter([Ok(QueryPart::Notice("one file was skipped".into()))]);
        Ok(QueryAnswer { schema, parts: batches.chain(notice).boxed() })
    }

    /// `given` takes what is declared, two texts when nothing is.
    async fn describe(
        &self,
        statement: Statement,
        declared: Vec<Option<DataType>>,
    ) -> Result<Description, ServiceError> {
        if statement.sql == "given" {
            let count = declared.len().max(2);
            let of = |at: usize| declared.get(at).cloned().flatten().unwrap_or(DataType::Utf8);
            let parameters: Vec<DataType> = (0..count).map(of).collect();
            return Ok(Description { columns: Some(texts(count)), parameters });
        }
        let known = ["rows", "endless", "stuck"].iter().any(|word| statement.sql.starts_with(word));
        if !known {
            return self
                .query(statement)
                .await
                .map(|answer| Description { columns: Some(answer.schema), parameters: Vec::new() });
        }
        Ok(Description { columns: Some(numbered()), parameters: Vec::new() })
    }

    async fn change_views(&self, sql: &str) -> Result<(), ServiceError> {
        Err(ServiceError::field("view.no_change", "sql", format!("{sql} changes nothing here")))
    }

    async fn tables(&self, columns: WantsColumns<'_>) -> Result<Vec<TableEntry>, ServiceError> {
        let entry = |(schema, name): (&str, &str)| TableEntry {
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns: columns(schema, name).then(numbered),
        };
        Ok([("public", "points"), ("public", "runs"), ("system", "limits")].map(entry).to_vec())
    }

    async fn flush(&self) -> Result<Flushed, ServiceError> {
        Ok(Flushed { points: self.points() as u64, tables: 1 })
    }

    async fn verify(&self) -> Result<Verified, ServiceError> {
        let problem = Problem { place: "tables/points/part-0.parquet".into(), message: "m".repeat(5_000) };
        Ok(Verified { files: 3, bytes: 4_096, log_records: 17, problems: vec![problem] })
    }

    async fn status(&self) -> Result<LakeStatus, ServiceError> {
        let points = self.points() as u64;
        Ok(LakeStatus { version: "0.1.0".into(), lake: "memory".into(), points, ..LakeStatus::default() })
    }

    fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap().clone()
    }

    fn now_micros(&self) -> i64 {
        NOW
    }

    async fn failed(&self) -> ServiceError {
        self.broken.subscribe().wait_for(|broken| *broken).await.unwrap();
        ServiceError::Unavailable {
            reason: "writer.stopped",
            message: "a sync failed".into(),
            retry_after: Duration::from_secs(1),
        }
    }

    async fn close(&self) -> Result<(), ServiceError> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

fn numbered() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("number", DataType::Int64, false),
        Field::new("text", DataType::Utf8, false),
    ]))
}

fn texts(count: usize) -> Arc<Schema> {
    Arc::new(Schema::new(
        (0..count).map(|at| Field::new(format!("p{at}"), DataType::Utf8, true)).collect::<Vec<_>>(),
    ))
}

/// One row with the values of the parameters.
fn given(parameters: &[ArrayRef]) -> QueryAnswer {
    let schema = texts(parameters.len());
    let shown = |value: &ArrayRef| -> ArrayRef {
        let text = arrow::compute::cast(value, &DataType::Utf8).unwrap();
        Arc::new(text.as_string::<i32>().clone())
    };
    let columns = parameters.iter().map(shown).collect();
    let parts = match RecordBatch::try_new(schema.clone(), columns) {
        Ok(batch) => stream::iter([Ok(QueryPart::Rows(batch))]).boxed(),
        Err(_) => stream::empty().boxed(),
    };
    QueryAnswer { schema, parts }
}

/// Counts a query as long as it lives.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
