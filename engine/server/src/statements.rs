//! One statement for Flight SQL or PostgreSQL: its deadline, its panics, and what waits for a reader. Whose turn it is is
//! the lake's to say.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use futures::{FutureExt, Stream, StreamExt, stream::BoxStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::ServiceError;
use crate::grpc::{Shared, panicked};
use crate::metrics::add;
use crate::service::{Description, QueryPart, Statement};

/// Batches that may wait for a slow reader.
const WAITING: usize = 2;

/// A statement under way. Dropping it cancels it.
pub(crate) struct Running {
    /// The columns of its rows.
    pub(crate) schema: SchemaRef,
    /// When it is over at the latest.
    pub(crate) deadline: Instant,
    timeout: Duration,
    parts: BoxStream<'static, Result<QueryPart, ServiceError>>,
    shared: Arc<Shared>,
}

/// Begins a statement: waits for its turn and for its plan.
pub(crate) async fn begin(shared: &Arc<Shared>, statement: Statement) -> Result<Running, ServiceError> {
    if shared.stopping() {
        return Err(ServiceError::stopping());
    }
    add(&shared.metrics.statements, 1);
    let timeout = statement.timeout;
    let deadline = Instant::now() + timeout;
    let begun = caught(shared, deadline, timeout, shared.lake.query(statement)).await?;
    let (schema, parts) = (begun.schema, begun.parts);
    Ok(Running { schema, deadline, timeout, parts, shared: Arc::clone(shared) })
}

/// Describes a statement without running it.
pub(crate) async fn describe(
    shared: &Arc<Shared>,
    statement: Statement,
    declared: Vec<Option<DataType>>,
) -> Result<Description, ServiceError> {
    if shared.stopping() {
        return Err(ServiceError::stopping());
    }
    let _place = shared.description_place().await?;
    let timeout = statement.timeout;
    caught(shared, Instant::now() + timeout, timeout, shared.lake.describe(statement, declared)).await
}

impl Running {
    /// The next part; nothing more after an error.
    pub(crate) async fn next(&mut self) -> Option<Result<QueryPart, ServiceError>> {
        let Self { shared, deadline, timeout, parts, .. } = self;
        let next = async { Ok(parts.next().await) };
        match caught(shared, *deadline, *timeout, next).await {
            Ok(part) => part,
            Err(error) => Some(Err(error)),
        }
    }
}

async fn caught<T>(
    shared: &Shared,
    deadline: Instant,
    timeout: Duration,
    work: impl Future<Output = Result<T, ServiceError>>,
) -> Result<T, ServiceError> {
    match tokio::time::timeout_at(deadline, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => Err(panicked(shared, panic.as_ref())),
        Err(_) => Err(too_late(timeout)),
    }
}

/// The error for a statement whose time is over.
pub(crate) fn too_late(timeout: Duration) -> ServiceError {
    ServiceError::TimedOut {
        reason: "query.time",
        message: format!("the statement took longer than {timeout:?}; narrow it, or raise the limit"),
    }
}

/// The parts of an answer for a reader that may be slow or gone: at most two wait, and at the deadline they are thrown
/// away, so that an answer that nobody reads holds no memory and no place.
pub(crate) fn delivered(mut running: Running) -> Delivery {
    let (parts, receiver) = mpsc::channel(WAITING);
    let waiting = Arc::new(Mutex::new(Waiting { receiver, last: None }));
    let outlet = Arc::clone(&waiting);
    tokio::spawn(async move {
        let (deadline, timeout) = (running.deadline, running.timeout);
        let deliver = async {
            while let Some(part) = running.next().await {
                let part = part?;
                if parts.send(part).await.is_err() {
                    return Ok(());
                }
            }
            Ok::<(), ServiceError>(())
        };
        let ended = tokio::select! {
            ended = tokio::time::timeout_at(deadline, deliver) => ended,
            // The reader is gone; dropping the statement cancels it.
            () = parts.closed() => return,
        };
        let error = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => too_late(timeout),
        };
        let mut waiting = outlet.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.receiver.close();
        while waiting.receiver.try_recv().is_ok() {}
        waiting.last = Some(error);
    });
    Delivery(waiting)
}

struct Waiting {
    receiver: mpsc::Receiver<QueryPart>,
    last: Option<ServiceError>,
}

/// The reader's side; when it goes away, so does the statement.
pub(crate) struct Delivery(Arc<Mutex<Waiting>>);

impl Drop for Delivery {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).receiver.close();
    }
}

impl Stream for Delivery {
    type Item = Result<QueryPart, ServiceError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let received = ready!(waiting.receiver.poll_recv(context));
        Poll::Ready(received.map(Ok).or_else(|| waiting.last.take().map(Err)))
    }
}
