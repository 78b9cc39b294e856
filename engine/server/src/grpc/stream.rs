//! The stream of batches: answers in order, many syncs under way at once, never more unanswered than the window.
//!
//! - The window is counted when a batch is decoded and given back just before its answer is sent, so a client that
//!   counts by the answers it got can never overdraw.
//! - The budget of a batch is given back when it has its place in the log, where the store's own budget counts it: whether
//!   or not the client reads its answers.
//! - Batches get their places in the log in the order of the client; after one that could not be written now, none is.
//! - Every batch that was read is answered before the stream ends, whatever ends it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use model::WriterSequence;
use prost::Message;
use proto::v1;
use proto::v1::write_request::Part as RequestPart;
use proto::v1::write_response::Part as ResponsePart;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::budget::Ledger;
use super::gate::{blame, panicked};
use super::{Shared, status};
use crate::error::ServiceError;
use crate::metrics::add;
use crate::service::{Appended, PendingAppend};
use crate::translate;

type Answer = Result<v1::WriteResponse, Status>;

/// Serves one stream; the receiver gets the answers.
pub(super) fn serve(
    shared: Arc<Shared>,
    request: Request<Streaming<v1::WriteRequest>>,
) -> ReceiverStream<Answer> {
    // Room for the window, a full window of answers and the status: a client within its window never blocks us here.
    let capacity = shared.config.window_batches as usize + 2;
    let (answers, receiver) = mpsc::channel(capacity);
    let ledger = request.extensions().get::<Ledger>().cloned().unwrap_or_default();
    let inbound = request.into_inner();
    tokio::spawn(async move {
        let stream = WriteStream { shared: &shared, ledger, answers: &answers, window: WindowUse::default() };
        let ended = AssertUnwindSafe(stream.run(inbound)).catch_unwind().await;
        let status = match ended {
            Ok(Ok(())) => return,
            Ok(Err(status)) => status,
            Err(panic) => shared.refuse(&panicked(&shared, panic.as_ref())),
        };
        // The client may be gone.
        let _ = answers.send(Err(status)).await;
    });
    ReceiverStream::new(receiver)
}

/// Counts an acknowledged batch.
pub(super) fn count(shared: &Shared, points: u64, appended: Appended) {
    add(&shared.metrics.batches, 1);
    if appended.duplicate {
        add(&shared.metrics.batches_duplicate, 1);
    } else {
        add(&shared.metrics.points, points);
    }
}

/// What is unanswered.
#[derive(Default)]
struct WindowUse {
    batches: AtomicU64,
    bytes: AtomicU64,
}

/// A batch that was read and not answered.
struct Unanswered {
    client_seq: u64,
    bytes: u64,
    points: u64,
    outcome: Result<PendingAppend, ServiceError>,
}

struct WriteStream<'a> {
    shared: &'a Shared,
    ledger: Ledger,
    answers: &'a mpsc::Sender<Answer>,
    window: WindowUse,
}

impl WriteStream<'_> {
    async fn run(&self, inbound: Streaming<v1::WriteRequest>) -> Result<(), Status> {
        // The window alone bounds what is under way; the channel is a little larger than it.
        let (sender, receiver) = mpsc::channel(self.shared.config.window_batches as usize + 1);
        let mut reading = std::pin::pin!(self.read(inbound, sender));
        let mut answering = std::pin::pin!(self.answer(receiver));
        tokio::select! {
            read = &mut reading => answering.await.and(read),
            answered = &mut answering => answered,
        }
    }

    async fn read(
        &self,
        mut inbound: Streaming<v1::WriteRequest>,
        unanswered: mpsc::Sender<Unanswered>,
    ) -> Result<(), Status> {
        let refuse = |error: &ServiceError| self.shared.refuse(error);
        let Some(first) = self.next(&mut inbound).await? else { return Ok(()) };
        drop(self.ledger.take_first());
        let Some(RequestPart::Open(v1::Open { client_id })) = first.part else {
            let error = ServiceError::field("ingest.not_open", "open", "must be the first message");
            return Err(refuse(&error));
        };
        WriterSequence::new(client_id.as_str(), 0)
            .map_err(|error| refuse(&ServiceError::at("open.client_id", &error)))?;
        self.shared.check_writable().map_err(|error| refuse(&error))?;
        let config = &self.shared.config;
        self.send(ResponsePart::Window(v1::Window {
            batches: config.window_batches,
            bytes: config.announced_window_bytes() as u64,
            max_message_bytes: config.message_bytes as u64,
        }))
        .await;
        while let Some(message) = self.next(&mut inbound).await? {
            let permit = self.ledger.take_first();
            let sequenced = match message.part {
                Some(RequestPart::Batch(sequenced)) => sequenced,
                Some(RequestPart::Open(_)) => {
                    let what = "may only be the first message";
                    return Err(refuse(&ServiceError::field("ingest.opened_twice", "open", what)));
                }
                None => {
                    let what = "is missing or of a newer version than this server";
                    return Err(refuse(&ServiceError::field("ingest.no_part", "part", what)));
                }
            };
            let (client_seq, bytes) = (sequenced.client_seq, sequenced.encoded_len() as u64);
            self.take_from_window(bytes).map_err(|error| refuse(&error))?;
            let (points, outcome) = self.append(&client_id, sequenced).await;
            drop(permit);
            // The next batch must not overtake one that will be sent again.
            let last = outcome.as_ref().is_err_and(|error| !error.concerns_only_the_request());
            let entry = Unanswered { client_seq, bytes, points, outcome };
            if unanswered.send(entry).await.is_err() || last {
                break;
            }
        }
        Ok(())
    }

    /// The next message; `None` at the end of the client's side, UNAVAILABLE when the server stops.
    async fn next(
        &self,
        inbound: &mut Streaming<v1::WriteRequest>,
    ) -> Result<Option<v1::WriteRequest>, Status> {
        let received = tokio::select! {
            biased;
            () = self.shared.stop_begun() => return Err(self.shared.refuse(&ServiceError::stopping())),
            received = inbound.message() => received,
        };
        received.map_err(|status| match blame(status) {
            Ok(error) => self.shared.refuse(&error),
            Err(status) => status,
        })
    }

    fn take_from_window(&self, bytes: u64) -> Result<(), ServiceError> {
        let config = &self.shared.config;
        let (most_batches, most_bytes) =
            (u64::from(config.window_batches), config.announced_window_bytes() as u64);
        let batches = self.window.batches.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.window.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if batches <= most_batches && bytes <= most_bytes {
            return Ok(());
        }
        Err(ServiceError::TooLarge {
            reason: "ingest.window_exceeded",
            message: format!(
                "{batches} batches with {bytes} bytes are unanswered, the window is {most_batches} batches with \
                 {most_bytes} bytes; wait for answers before sending more"
            ),
        })
    }

    async fn append(
        &self,
        client_id: &str,
        sequenced: v1::SequencedBatch,
    ) -> (u64, Result<PendingAppend, ServiceError>) {
        let checked = translate::batch_from_proto(sequenced.batch.unwrap_or_default()).and_then(|batch| {
            let sequence = WriterSequence::new(client_id, sequenced.client_seq)
                .map_err(|error| ServiceError::at("open.client_id", &error))?;
            Ok((batch, sequence))
        });
        match checked {
            Ok((batch, sequence)) => {
                let points = batch.point_count() as u64;
                (points, self.shared.lake.append(batch, Some(sequence)).await)
            }
            Err(error) => (0, Err(error)),
        }
    }

    async fn answer(&self, mut unanswered: mpsc::Receiver<Unanswered>) -> Result<(), Status> {
        while let Some(Unanswered { client_seq, bytes, points, outcome }) = unanswered.recv().await {
            let appended = match outcome {
                Ok(pending) => pending.await,
                Err(error) => Err(error),
            };
            let part = match appended {
                Ok(appended) => {
                    count(self.shared, points, appended);
                    ResponsePart::Acknowledgement(v1::Acknowledgement {
                        client_seq,
                        duplicate: appended.duplicate,
                        points,
                        credit_batches: 1,
                        credit_bytes: bytes,
                    })
                }
                Err(error) if error.concerns_only_the_request() => {
                    add(&self.shared.metrics.requests_refused, 1);
                    let field = match &error {
                        ServiceError::Invalid { field, .. } => field.clone().unwrap_or_default(),
                        _ => String::new(),
                    };
                    ResponsePart::Refusal(v1::Refusal {
                        client_seq,
                        reason: error.reason().to_owned(),
                        message: status::shortened(&error.to_string()),
                        field,
                        credit_batches: 1,
                        credit_bytes: bytes,
                    })
                }
                Err(error) => return Err(self.shared.refuse(&error)),
            };
            self.window.batches.fetch_sub(1, Ordering::Relaxed);
            self.window.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.send(part).await;
        }
        Ok(())
    }

    async fn send(&self, part: ResponsePart) {
        // When the client is gone, what it sent is still written; there is just nobody to tell.
        let _ = self.answers.send(Ok(v1::WriteResponse { part: Some(part) })).await;
    }
}
