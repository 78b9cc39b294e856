//! One connection: HTTP/1 or HTTP/2, with deadlines on everything that a client can leave undone.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::ServiceExt;

use crate::config::ServerConfig;
use crate::grpc::Shared;

/// The address that a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What an HTTP/2 client says first.
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often a client that says its first bytes one by one is looked at.
const PREFACE_PAUSE: Duration = Duration::from_millis(20);
/// How long a connection that was told to end may take.
const END_GRACE: Duration = Duration::from_secs(5);
/// Largest and smallest frame of HTTP/2 that is taken: the connection keeps a buffer of it.
const FRAME_BYTES: std::ops::RangeInclusive<u32> = 16 << 10..=64 << 10;

/// Serves until the client is done, does nothing for too long, or the server stops.
pub(super) async fn serve(stream: TcpStream, shared: &Arc<Shared>, router: Router) {
    let config = &shared.config;
    // Answers are small; waiting for more to send costs a round trip.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    // hyper reads the first bytes without a deadline to learn the version.
    match tokio::time::timeout(config.header_deadline, first_bytes(&stream)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return,
    }
    let Ok(peer) = stream.peer_addr() else { return };
    let activity = Arc::new(Activity::default());
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let (router, work) = (router.clone(), activity.begin());
        async move {
            let response = router.oneshot(request.map(Body::new)).await?;
            Ok::<_, Infallible>(response.map(|inner| WorkingBody { inner, _work: work }))
        }
    });
    let builder = builder(config);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut look = tokio::time::interval((config.idle_connection / 4).max(Duration::from_millis(10)));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "connection");
                }
                return;
            }
            () = shared.stop_begun() => {
                connection.as_mut().graceful_shutdown();
                // The listener's deadline cuts what does not end.
                let _ = connection.await;
                return;
            }
            _ = look.tick() => {
                if activity.idle().is_some_and(|idle| idle >= config.idle_connection) {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(END_GRACE, connection).await;
                    return;
                }
            }
        }
    }
}

/// Waits until hyper can tell the version without waiting itself.
async fn first_bytes(stream: &TcpStream) -> std::io::Result<()> {
    let mut bytes = [0_u8; HTTP2_PREFACE.len()];
    loop {
        let count = stream.peek(&mut bytes).await?;
        let said = bytes.get(..count).unwrap_or_default();
        if count == 0 || count == HTTP2_PREFACE.len() || !HTTP2_PREFACE.starts_with(said) {
            return Ok(());
        }
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

fn builder(config: &ServerConfig) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_deadline)
        .max_headers(config.header_fields)
        .max_buf_size(config.header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(config.keep_alive_interval)
        .keep_alive_timeout(config.keep_alive_timeout)
        .max_concurrent_streams(config.streams_per_connection)
        .max_pending_accept_reset_streams(config.pending_resets)
        .max_local_error_reset_streams(1_024)
        // Checked to fit when the server was bound.
        .max_header_list_size(u32::try_from(config.header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(config.send_buffer_bytes)
        .initial_stream_window_size(config.stream_window_bytes)
        .initial_connection_window_size(config.connection_window_bytes)
        .max_frame_size((config.stream_window_bytes / 2).clamp(*FRAME_BYTES.start(), *FRAME_BYTES.end()));
    builder
}

/// Requests under way on a connection, and since when there are none.
struct Activity {
    requests: AtomicUsize,
    idle_since: Mutex<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { requests: AtomicUsize::new(0), idle_since: Mutex::new(Instant::now()) }
    }
}

impl Activity {
    fn begin(self: &Arc<Self>) -> Work {
        self.requests.fetch_add(1, Ordering::AcqRel);
        Work(Arc::clone(self))
    }

    /// How long there has been no request; `None` while there is one.
    fn idle(&self) -> Option<Duration> {
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        (self.requests.load(Ordering::Acquire) == 0).then(|| since.elapsed())
    }
}

/// One request under way; ends when its answer was sent or dropped.
struct Work(Arc<Activity>);

impl Drop for Work {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A body that counts as work until it was sent.
struct WorkingBody {
    inner: Body,
    _work: Work,
}

impl http_body::Body for WorkingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
