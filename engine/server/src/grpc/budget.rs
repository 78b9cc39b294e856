//! Memory and time of requests while they come in.
//!
//! The frames of a body are read here before the decoder sees them. The length that a gRPC message declares is refused
//! when it is over the limit, and counted against the budget of what comes in before its payload is taken. When its last
//! byte is there, what it may become is counted against the budget of what is decoded, before the decoder sees that byte:
//! so a message that comes slowly holds no more than its own bytes. The permits lie in the request's [`Ledger`]; a unary
//! request gives them back with its answer, the stream of batches one by one.
//!
//! A unary request waits for a moment and is refused. The stream waits: what it does not read is held back by the
//! client's flow-control window. A message that is whole never waits behind the beginning of the next one, so those who
//! wait do not wait for each other.

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

/// What a message is in memory once it is decoded and checked, in times of its bytes on the wire: a point is 10 bytes
/// there, and 24 twice over while it is moved from column to column, with room in reserve.
const DECODED: u32 = 12;

/// Bytes on the wire up to which a message has a part of its own of the budget of what is decoded, an eighth, so that it
/// does not wait behind large ones.
const SMALL: u32 = 16 << 10;

/// How long a message may come at any rate before the least rate counts.
const RATE_GRACE: Duration = Duration::from_secs(10);

/// Bytes and requests that may be in memory at once.
pub(super) struct Budget {
    bytes: Arc<Semaphore>,
    decoded: Arc<Semaphore>,
    decoded_small: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    message_bytes: usize,
    total_bytes: usize,
    decoded_bytes: usize,
    total_requests: usize,
    wait: Duration,
    idle: Duration,
    least_rate: u64,
}

impl Budget {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(config.in_flight_bytes)),
            decoded: Arc::new(Semaphore::new(large_share(config.decoded_bytes))),
            decoded_small: Arc::new(Semaphore::new(config.decoded_bytes - large_share(config.decoded_bytes))),
            requests: Arc::new(Semaphore::new(config.in_flight_requests)),
            limits: Limits {
                message_bytes: config.message_bytes,
                total_bytes: config.in_flight_bytes,
                decoded_bytes: config.decoded_bytes,
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

    /// A place for the bytes of one message that does not come in a body.
    pub(super) async fn message(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ServiceError> {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        match tokio::time::timeout(self.limits.wait, Arc::clone(&self.bytes).acquire_many_owned(count)).await
        {
            Ok(Ok(place)) => Ok(place),
            _ => {
                let message =
                    format!("{} bytes of requests are being worked on; try again", self.limits.total_bytes);
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
            decoded: Arc::clone(&self.decoded),
            decoded_small: Arc::clone(&self.decoded_small),
            limits: self.limits,
            ledger: ledger.clone(),
            framing: Framing::default(),
            needed: None,
            acquiring: None,
            held: None,
            ready: None,
            between_messages,
            idle: None,
            begun: None,
            done: false,
        };
        (Body::new(counted), ledger)
    }
}

/// What messages that are not small have of the budget of what is decoded.
fn large_share(decoded: usize) -> usize {
    decoded - decoded.div_ceil(8)
}

/// The permits of the messages of one request, in the order of the messages.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<std::sync::Mutex<VecDeque<Held>>>);

/// The permits of one message.
pub(super) struct Held {
    _bytes: OwnedSemaphorePermit,
    decoded: Option<OwnedSemaphorePermit>,
}

impl Ledger {
    /// The permits of the oldest message.
    pub(super) fn take_first(&self) -> Option<Held> {
        self.lock().pop_front()
    }

    /// A message begins.
    fn begin(&self, bytes: OwnedSemaphorePermit) {
        self.lock().push_back(Held { _bytes: bytes, decoded: None });
    }

    /// The message that began last is whole.
    fn complete(&self, decoded: OwnedSemaphorePermit) {
        if let Some(last) = self.lock().back_mut() {
            last.decoded = Some(decoded);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Held>> {
        // A queue of permits is whole after a panic elsewhere.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Where in the framing of gRPC (one byte of flags, four of length, payload) the body is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Framing {
    header: [u8; 5],
    header_bytes: usize,
    length: u32,
    payload_left: usize,
}

/// What comes next in a body.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// A message of this length begins behind the bytes that were gone over.
    Begins(u32),
    /// A message of this length ends there.
    Ends(u32),
}

impl Framing {
    /// Goes over bytes up to the next event; gives back how many, and the event if there is one.
    fn feed(&mut self, bytes: &[u8], limit: usize) -> Result<(usize, Option<Event>), ServiceError> {
        if self.payload_left > 0 {
            let taken = self.payload_left.min(bytes.len());
            self.payload_left -= taken;
            return Ok((taken, (self.payload_left == 0).then_some(Event::Ends(self.length))));
        }
        for (at, byte) in bytes.iter().enumerate() {
            self.header[self.header_bytes] = *byte;
            self.header_bytes += 1;
            if self.header_bytes < self.header.len() {
                continue;
            }
            self.header_bytes = 0;
            let [_, length @ ..] = self.header;
            self.length = u32::from_be_bytes(length);
            self.payload_left = self.length as usize;
            if self.payload_left > limit {
                return Err(ServiceError::TooLarge {
                    reason: "request.too_large",
                    message: format!(
                        "the message has {} bytes, at most {limit} are taken at once; send it in parts",
                        self.length
                    ),
                });
            }
            return Ok((at + 1, Some(Event::Begins(self.length))));
        }
        Ok((bytes.len(), None))
    }

    fn inside_message(&self) -> bool {
        self.payload_left > 0 || self.header_bytes > 0
    }
}

struct CountedBody {
    inner: Body,
    bytes: Arc<Semaphore>,
    limits: Limits,
    decoded: Arc<Semaphore>,
    decoded_small: Arc<Semaphore>,
    ledger: Ledger,
    framing: Framing,
    /// What must be counted before the next bytes are given on.
    needed: Option<Event>,
    acquiring: Option<BoxFuture<'static, Result<OwnedSemaphorePermit, ServiceError>>>,
    /// Bytes of a frame that was read and not given on, or a frame of another kind.
    held: Option<Frame<Bytes>>,
    /// Bytes that were counted.
    ready: Option<Bytes>,
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

    /// What an event costs, and of which budget.
    fn cost(&self, event: &Event) -> (Arc<Semaphore>, u32) {
        match event {
            Event::Begins(length) => (Arc::clone(&self.bytes), (*length).max(LEAST_COST)),
            Event::Ends(length) => {
                let large = large_share(self.limits.decoded_bytes);
                let (budget, all) = match *length <= SMALL {
                    true => (&self.decoded_small, self.limits.decoded_bytes - large),
                    false => (&self.decoded, large),
                };
                let cost = length.saturating_mul(DECODED).max(LEAST_COST);
                // One message is always let through.
                (Arc::clone(budget), cost.min(u32::try_from(all).unwrap_or(u32::MAX)))
            }
        }
    }

    fn note(&self, event: &Event, permit: OwnedSemaphorePermit) {
        match event {
            Event::Begins(_) => self.ledger.begin(permit),
            Event::Ends(_) => self.ledger.complete(permit),
        }
    }

    fn acquire(
        &self,
        budget: Arc<Semaphore>,
        cost: u32,
    ) -> BoxFuture<'static, Result<OwnedSemaphorePermit, ServiceError>> {
        let (limits, lasting) = (self.limits, self.between_messages);
        Box::pin(async move {
            let acquired = budget.acquire_many_owned(cost);
            let acquired = match lasting {
                true => acquired.await.ok(),
                false => tokio::time::timeout(limits.wait, acquired).await.ok().and_then(Result::ok),
            };
            acquired.ok_or_else(|| ServiceError::Busy {
                reason: "server.busy",
                message: format!("{} bytes of requests are in memory; try again", limits.total_bytes),
                retry_after: limits.wait,
            })
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
            if let Some(event) = this.needed.take() {
                let (budget, cost) = this.cost(&event);
                if this.acquiring.is_none() {
                    match Arc::clone(&budget).try_acquire_many_owned(cost) {
                        Ok(permit) => {
                            this.note(&event, permit);
                            continue;
                        }
                        Err(_) => this.acquiring = Some(this.acquire(budget, cost)),
                    }
                }
                if let Some(acquiring) = &mut this.acquiring {
                    let Poll::Ready(acquired) = acquiring.as_mut().poll(context) else {
                        this.needed = Some(event);
                        return Poll::Pending;
                    };
                    this.acquiring = None;
                    match acquired {
                        Ok(permit) => this.note(&event, permit),
                        Err(error) => return this.fail(&error),
                    }
                }
                continue;
            }
            if let Some(ready) = this.ready.take() {
                return Poll::Ready(Some(Ok(Frame::data(ready))));
            }
            if let Some(frame) = this.held.take() {
                let mut data = match frame.into_data() {
                    Ok(data) => data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                };
                match this.framing.feed(&data, this.limits.message_bytes) {
                    Ok((taken, event)) => {
                        this.ready = Some(data.split_to(taken));
                        if matches!(event, Some(Event::Ends(_))) {
                            this.begun = None;
                        }
                        this.needed = event;
                    }
                    Err(error) => return this.fail(&error),
                }
                if !data.is_empty() {
                    this.held = Some(Frame::data(data));
                }
                continue;
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
                        let count = data.len();
                        if !this.note_progress(count) {
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
        let empty = self.held.is_none() && self.ready.is_none() && self.needed.is_none();
        self.done || (empty && self.inner.is_end_stream())
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
            let (mut framing, mut begun, mut ended) = (Framing::default(), Vec::new(), Vec::new());
            let mut parts = Vec::new();
            let mut rest = body.as_slice();
            for cut in cuts {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = after;
            }
            parts.push(rest);
            for mut part in parts {
                while !part.is_empty() {
                    let (taken, event) = framing.feed(part, 40).unwrap();
                    part = &part[taken..];
                    match event {
                        Some(Event::Begins(length)) => begun.push(length as usize),
                        Some(Event::Ends(length)) => ended.push(length as usize),
                        None => {}
                    }
                }
            }
            prop_assert!(!framing.inside_message());
            prop_assert_eq!(&begun, &messages);
            let with_payload: Vec<_> = messages.into_iter().filter(|length| *length > 0).collect();
            prop_assert_eq!(ended, with_payload);
        }
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_before_its_payload() {
        let mut framing = Framing::default();
        let error = framing.feed(&[0, 0xff, 0xff, 0xff, 0xff], 4 << 20).unwrap_err();
        assert_eq!(error.reason(), "request.too_large");
    }
}
