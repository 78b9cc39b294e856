//! `Query`: statements, each answered as one Arrow IPC stream in chunks. Who runs and who waits is the lake's to say.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use proto::v1;
use proto::v1::query_server::Query;
use proto::v1::sql_response::Part;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::gate::panicked;
use super::{Shared, status};
use crate::error::ServiceError;
use crate::metrics::add;
use crate::server::Peer;
use crate::service::{QueryPart, Statement};

/// Most bytes in one chunk of Arrow: small enough for the default limit of any client.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that may wait for a slow reader; together with the one being made this is all that an answer holds.
const CHUNKS_WAITING: usize = 4;
/// Rows that are encoded at once.
const ROWS_AT_ONCE: usize = 1 << 16;
/// Most settings in one call.
const SETTINGS: usize = 64;

type Answer = v1::SqlResponse;

/// What waits for the reader of an answer. An error throws away what still waits, so that an answer that failed holds no
/// memory however slowly it is read.
#[derive(Clone)]
struct Outlet(Arc<Mutex<Waiting>>);

struct Waiting {
    receiver: mpsc::Receiver<Answer>,
    last: Option<Status>,
}

impl Outlet {
    /// The caller drops its sender after this, which wakes the reader.
    fn end_with(&self, status: Status) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.receiver.close();
        while waiting.receiver.try_recv().is_ok() {}
        waiting.last = Some(status);
    }
}

/// The reader's side; when it goes away, so does the query.
pub(super) struct AnswerStream(Outlet);

impl Drop for AnswerStream {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).receiver.close();
    }
}

impl Stream for AnswerStream {
    type Item = Result<Answer, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut waiting = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let received = ready!(waiting.receiver.poll_recv(context));
        Poll::Ready(received.map(Ok).or_else(|| waiting.last.take().map(Err)))
    }
}

pub(super) struct QueryService {
    shared: Arc<Shared>,
}

impl QueryService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn statement(&self, call: v1::SqlRequest, caller: String) -> Result<Statement, ServiceError> {
        let v1::SqlRequest { sql, settings, timeout_millis } = call;
        let config = &self.shared.config;
        ServiceError::check_statement(&sql, "sql", config.sql_bytes)?;
        if settings.len() > SETTINGS {
            let what = format!("{} entries, at most {SETTINGS} are taken", settings.len());
            return Err(ServiceError::field("call.too_many_entities", "settings", what));
        }
        let limit = config.statement_time;
        let asked = Duration::from_millis(u64::from(timeout_millis));
        let timeout = if asked.is_zero() { limit } else { asked.min(limit) };
        let settings = settings.into_iter().collect::<BTreeMap<_, _>>();
        Ok(Statement { sql, caller, settings, timeout, ..Statement::default() })
    }
}

/// Who asks: all connections of a machine are one caller.
fn caller_of<T>(request: &Request<T>) -> String {
    request.extensions().get::<Peer>().map_or_else(String::new, |peer| peer.0.ip().to_string())
}

#[tonic::async_trait]
impl Query for QueryService {
    type SqlStream = AnswerStream;

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        let caller = caller_of(&request);
        let v1::CancelRequest { id } = request.into_inner();
        let found = self.shared.lake.cancel_query(id, &caller);
        Ok(Response::new(v1::CancelResponse { found }))
    }

    async fn sql(&self, request: Request<v1::SqlRequest>) -> Result<Response<Self::SqlStream>, Status> {
        let arrived = Instant::now();
        let refuse = |error| self.shared.refuse(&error);
        let caller = caller_of(&request);
        let statement = self.statement(request.into_inner(), caller).map_err(refuse)?;
        add(&self.shared.metrics.statements, 1);
        let (answers, receiver) = mpsc::channel(CHUNKS_WAITING);
        let outlet = Outlet(Arc::new(Mutex::new(Waiting { receiver, last: None })));
        let stream = AnswerStream(outlet.clone());
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let timeout = statement.timeout;
            let run = AssertUnwindSafe(run(&shared, statement, &answers, arrived)).catch_unwind();
            let ended = tokio::select! {
                ended = tokio::time::timeout(timeout, run) => ended,
                // The reader is gone; dropping the query cancels it.
                () = answers.closed() => return,
            };
            let error = match ended {
                Ok(Ok(Ok(()))) => return,
                Ok(Ok(Err(error))) => error,
                Ok(Err(panic)) => panicked(&shared, panic.as_ref()),
                Err(_) => ServiceError::TimedOut {
                    reason: "query.time",
                    message: format!(
                        "the statement took longer than {timeout:?}; narrow it, or raise the limit"
                    ),
                },
            };
            outlet.end_with(shared.refuse(&error));
        });
        Ok(Response::new(stream))
    }
}

async fn run(
    shared: &Shared,
    statement: Statement,
    answers: &mpsc::Sender<Answer>,
    arrived: Instant,
) -> Result<(), ServiceError> {
    let mut answer = shared.lake.query(statement).await?;
    let mut writer = StreamWriter::try_new(Vec::new(), &answer.schema).map_err(encoding)?;
    if send_chunks(answers, &mut writer).await.is_err() {
        return Ok(());
    }
    let (mut rows, mut notices) = (0_u64, Vec::new());
    while let Some(part) = answer.parts.next().await {
        match part? {
            QueryPart::Notice(notice) => notices.push(status::shortened(&notice)),
            QueryPart::Rows(batch) => {
                rows += batch.num_rows() as u64;
                for slice in slices(&batch) {
                    writer.write(&slice).map_err(encoding)?;
                    if send_chunks(answers, &mut writer).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
    writer.finish().map_err(encoding)?;
    if send_chunks(answers, &mut writer).await.is_err() {
        return Ok(());
    }
    let elapsed_micros = u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
    // If the reader is gone now, nobody misses it.
    let _ = send(answers, Part::Summary(v1::SqlSummary { rows, elapsed_micros, notices })).await;
    Ok(())
}

fn slices(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + '_ {
    let begins = (0..batch.num_rows()).step_by(ROWS_AT_ONCE);
    begins.map(|begin| batch.slice(begin, ROWS_AT_ONCE.min(batch.num_rows() - begin)))
}

/// The reader is gone: the query has to end, and must not run on without ever waiting.
struct ReaderGone;

async fn send_chunks(
    answers: &mpsc::Sender<Answer>,
    writer: &mut StreamWriter<Vec<u8>>,
) -> Result<(), ReaderGone> {
    let mut bytes = Bytes::from(std::mem::take(writer.get_mut()));
    while !bytes.is_empty() {
        let chunk = bytes.split_to(CHUNK_BYTES.min(bytes.len()));
        send(answers, Part::ArrowIpc(chunk)).await?;
    }
    Ok(())
}

async fn send(answers: &mpsc::Sender<Answer>, part: Part) -> Result<(), ReaderGone> {
    answers.send(v1::SqlResponse { part: Some(part) }).await.map_err(|_| ReaderGone)
}

fn encoding(error: ArrowError) -> ServiceError {
    ServiceError::Internal {
        reason: "query.encoding",
        message: format!("an answer could not be encoded: {error}"),
    }
}
