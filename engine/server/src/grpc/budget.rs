//! Memory and time of requests while they come in.
//!
//! The frames of a body are read here before the decoder sees them: the length that a gRPC message declares is refused
//! when it is over the limit and counted against the one budget before the decoder makes room for it. The permits lie
//! in the request's [`Ledger`]; a unary request gives them back with its answer, the stream of batches one by one.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use super::status::status_from_error;
use crate::config::ServerConfig;
use crate::error::ServiceError;

/// What even an empty message costs the server, in bytes.
const LEAST_COST: u32 = 256;

/// How long a message may come at any rate before the least rate counts.
const RATE_GRACE: Duration = Duration::from_secs(10);

/// Bytes and requests that may be in memory at once.
pub(super) struct Budget {
    bytes: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    message_bytes: usize,
    total_bytes: usize,
    total_requests: usize,
    wait: Duration,
    idle: Duration,
    least_rate: u64,
}

impl Budget {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(config.in_flight_bytes)),
            requests: Arc::new(Semaphore::new(config.in_flight_requests)),
            limits: Limits {
                message_bytes: config.message_bytes,
                total_bytes: config.in_flight_bytes,
                total_requests: config.in_flight_requests,
                wait: config.permit_wait,
                idle: config.body_idle,
                least_rate: config.body_least_rate,
            },
        }
    }

    /// A place for one unary request.
    pub(super) async fn request(&self) -> Result<OwnedSemaphorePermit, ServiceError> {
        match tokio::time::timeout(self.limits.wait, Arc::clone(&self.requests).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let message =
                    format!("{} requests are being worked on; try again", self.limits.total_requests);
                Err(ServiceError::Busy { reason: "server.busy", message, retry_after: self.limits.wait })
            }
        }
    }

    /// The body, counted. Without `between_messages` the whole body has to come without a pause; with it only a begun
    /// message has to.
    pub(super) fn counted(&self, body: Body, between_messages: bool) -> (Body, Ledger) {
        let ledger = Ledger::default();
        let counted = CountedBody {
            inner: body,
            bytes: Arc::clone(&self.bytes),
            limits: self.limits,
            ledger: ledger.clone(),
            framing: Framing::default(),
            needed: VecDeque::new(),
            acquiring: None,
            held: None,
            between_messages,
            idle: None,
            begun: None,
            done: false,
        };
        (Body::new(counted), ledger)
    }
}

/// The permits of the messages of one request, in the order of the messages.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<std::sync::Mutex<VecDeque<OwnedSemaphorePermit>>>);

impl Ledger {
    /// The permit of the oldest message.
    pub(super) fn take_first(&self) -> Option<OwnedSemaphorePermit> {
        self.lock().pop_front()
    }

    fn push(&self, permit: OwnedSemaphorePermit) {
        self.lock().push_back(permit);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<OwnedSemaphorePermit>> {
        // A queue of permits is whole after a panic elsewhere.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Where in the framing of gRPC (one byte of flags, four of length, payload) the body is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Framing {
    header: [u8; 5],
    header_bytes: usize,
    payload_left: usize,
}

impl Framing {
    /// Goes over more bytes and returns the declared lengths of the messages that begin in them.
    fn feed(
        &mut self,
        mut bytes: &[u8],
        limit: usize,
        lengths: &mut VecDeque<u32>,
    ) -> Result<(), ServiceError> {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let taken = self.payload_left.min(bytes.len());
                self.payload_left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            self.header[self.header_bytes] = bytes[0];
            self.header_bytes += 1;
            bytes = &bytes[1..];
            if self.header_bytes == self.header.len() {
                self.header_bytes = 0;
                let [_, length @ ..] = self.header;
                let length = u32::from_be_bytes(length);
                self.payload_left = length as usize;
                if self.payload_left > limit {
                    return Err(ServiceError::TooLarge {
                        reason: "request.too_large",
                        message: format!(
                            "the message has {length} bytes, at most {limit} are taken at once; send it in parts"
                        ),
                    });
                }
                lengths.push_back(length);
            }
        }
        Ok(())
    }

    fn inside_message(&self) -> bool {
        self.payload_left > 0 || self.header_bytes > 0
    }
}

struct CountedBody {
    inner: Body,
    bytes: Arc<Semaphore>,
    limits: Limits,
    ledger: Ledger,
    framing: Framing,
    needed: VecDeque<u32>,
    acquiring: Option<BoxFuture<'static, Result<OwnedSemaphorePermit, ServiceError>>>,
    held: Option<Frame<Bytes>>,
    between_messages: bool,
    idle: Option<Pin<Box<Sleep>>>,
    /// When the message that is coming in began, and its bytes so far.
    begun: Option<(Instant, u64)>,
    done: bool,
}

impl CountedBody {
    fn fail(&mut self, error: &ServiceError) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.done = true;
        Poll::Ready(Some(Err(status_from_error(error))))
    }

    fn too_slow(&self) -> ServiceError {
        let Limits { idle, least_rate, .. } = self.limits;
        ServiceError::TimedOut {
            reason: "request.too_slow",
            message: format!(
                "the message came too slowly: no pause over {idle:?} and at least {least_rate} bytes/s are expected"
            ),
        }
    }

    /// Whether a message, or a body that must come at once, is under way.
    fn must_go_on(&self) -> bool {
        !self.between_messages || self.framing.inside_message()
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.must_go_on() {
            self.idle = None;
            return Poll::Pending;
        }
        let idle = self.limits.idle;
        self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle))).as_mut().poll(context)
    }

    /// Notes that bytes came; false when a message has been coming too slowly.
    fn note_progress(&mut self, count: usize) -> bool {
        self.idle = None;
        if !self.framing.inside_message() {
            self.begun = None;
            return true;
        }
        let now = Instant::now();
        let (since, total) = self.begun.get_or_insert((now, 0));
        *total += count as u64;
        let elapsed = now.duration_since(*since);
        elapsed < RATE_GRACE || *total >= self.limits.least_rate.saturating_mul(elapsed.as_secs())
    }

    fn acquire(&self, length: u32) -> BoxFuture<'static, Result<OwnedSemaphorePermit, ServiceError>> {
        let (bytes, limits) = (Arc::clone(&self.bytes), self.limits);
        Box::pin(async move {
            match tokio::time::timeout(limits.wait, bytes.acquire_many_owned(length.max(LEAST_COST))).await {
                Ok(Ok(permit)) => Ok(permit),
                _ => Err(ServiceError::Busy {
                    reason: "server.busy",
                    message: format!("{} bytes of requests are in memory; try again", limits.total_bytes),
                    retry_after: limits.wait,
                }),
            }
        })
    }
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if this.done {
                return Poll::Ready(None);
            }
            if let Some(acquiring) = &mut this.acquiring {
                let acquired = ready!(acquiring.as_mut().poll(context));
                this.acquiring = None;
                match acquired {
                    Ok(permit) => this.ledger.push(permit),
                    Err(error) => return this.fail(&error),
                }
            }
            if let Some(length) = this.needed.pop_front() {
                match Arc::clone(&this.bytes).try_acquire_many_owned(length.max(LEAST_COST)) {
                    Ok(permit) => this.ledger.push(permit),
                    Err(_) => this.acquiring = Some(this.acquire(length)),
                }
                continue;
            }
            if let Some(frame) = this.held.take() {
                return Poll::Ready(Some(Ok(frame)));
            }
            match Pin::new(&mut this.inner).poll_frame(context) {
                Poll::Pending => {
                    ready!(this.poll_idle(context));
                    let error = this.too_slow();
                    return this.fail(&error);
                }
                Poll::Ready(None) => {
                    this.done = true;
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    this.done = true;
                    // The connection or the stream is gone: for the handler that is the end of the request.
                    return Poll::Ready(Some(Err(Status::cancelled(error.to_string()))));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        let fed = this.framing.feed(data, this.limits.message_bytes, &mut this.needed);
                        if let Err(error) = fed {
                            return this.fail(&error);
                        }
                        if !this.note_progress(data.len()) {
                            let error = this.too_slow();
                            return this.fail(&error);
                        }
                    }
                    this.held = Some(frame);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || (self.held.is_none() && self.needed.is_empty() && self.inner.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lengths_are_found_however_the_body_is_cut(
            messages in prop::collection::vec(0..40_usize, 0..6), cuts in prop::collection::vec(1..9_usize, 0..40)
        ) {
            let mut body = Vec::new();
            for length in &messages {
                body.push(0);
                body.extend_from_slice(&(*length as u32).to_be_bytes());
                body.resize(body.len() + length, 0xff);
            }
            let (mut framing, mut lengths, mut rest) = (Framing::default(), VecDeque::new(), body.as_slice());
            for cut in cuts {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                framing.feed(part, 40, &mut lengths).unwrap();
                rest = after;
            }
            framing.feed(rest, 40, &mut lengths).unwrap();
            prop_assert!(!framing.inside_message());
            prop_assert_eq!(lengths.into_iter().map(|l| l as usize).collect::<Vec<_>>(), messages);
        }
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_before_its_payload() {
        let mut framing = Framing::default();
        let error = framing.feed(&[0, 0xff, 0xff, 0xff, 0xff], 4 << 20, &mut VecDeque::new()).unwrap_err();
        assert_eq!(error.reason(), "request.too_large");
    }
}
