//! The protocol of PostgreSQL, version 3, for reading: psql, drivers and tools that speak it find a database `runlake`.
//!
//! Every message is bounded before it is read. One task reads and one answers, so that a client that goes away ends its
//! statement. What a client says about transactions and settings is taken; what would write is refused by the guard that
//! stands before every statement of every door.

mod array_text;
mod cancels;
mod connection_settings;
mod dates;
mod encode;
mod errors;
mod frames;
mod messages;
mod numbers;
mod parameters;
mod portals;
mod session;
mod start;

use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::grpc::Shared;
use cancels::Cancels;

/// How long a silent connection may be before it is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// What all connections of this door share.
pub(crate) struct Door {
    shared: Arc<Shared>,
    cancels: Cancels,
}

impl Door {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, cancels: Cancels::default() }
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(stream: TcpStream, door: Arc<Door>) {
    // Answers are put together before they are sent; waiting for more costs a round trip.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    // A client may be silent for hours; one that is gone is found out by the system.
    let alive = TcpKeepalive::new().with_time(KEEP_ALIVE);
    if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&alive) {
        tracing::debug!(%error, "SO_KEEPALIVE");
    }
    let deadline = door.shared.config.header_deadline;
    match tokio::time::timeout(deadline, start::negotiate(stream, &door)).await {
        Ok(Some(started)) => session::run(started, door).await,
        Ok(None) => {}
        Err(_) => tracing::debug!("a client did not begin in time"),
    }
}
