//! The configuration of the server: one struct, printed at the start.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use runlake::MemoryPlan;

use crate::error::StartError;

const MIB: usize = 1 << 20;

/// Largest message that may be configured: beyond it one request could hold up all others.
const MESSAGE_BYTES_CEILING: usize = 64 * MIB;

/// Smallest flow-control window of a connection.
const LEAST_WINDOW: u32 = 64 << 10;

/// Where to listen, and the limits of everything that a client can make the server do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// The address of the one port.
    pub listen: SocketAddr,
    /// The address for clients of PostgreSQL; `None` for none.
    pub postgres: Option<SocketAddr>,
    /// Whether to listen beyond loopback although nobody has to say who they are.
    pub insecure: bool,
    /// Largest gRPC message, in bytes.
    pub message_bytes: usize,
    /// Batches that one stream may have unanswered.
    pub window_batches: u32,
    /// Bytes of batches that one stream may have unanswered; never less than `message_bytes` on the wire.
    pub window_bytes: usize,
    /// Unary requests worked on at once.
    pub in_flight_requests: usize,
    /// Bytes of requests in memory at once as they are on the wire, over all connections.
    pub in_flight_bytes: usize,
    /// Bytes of requests at once that are decoded and have no place in the log yet; a message counts twelve times what it
    /// is on the wire.
    pub decoded_bytes: usize,
    /// How long a request waits for its place before it is refused.
    pub permit_wait: Duration,
    /// Time of one statement: waiting for its turn, planning, running and sending.
    pub statement_time: Duration,
    /// Longest SQL text, in bytes.
    pub sql_bytes: usize,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_per_address: usize,
    /// How long a new connection may take to say what it speaks, and a request to send its headers.
    pub header_deadline: Duration,
    /// Most header fields, and most bytes of them.
    pub header_fields: usize,
    /// Most bytes of headers.
    pub header_bytes: usize,
    /// How long a begun message may bring no byte.
    pub body_idle: Duration,
    /// Bytes a second that a begun message must bring after its first ten seconds.
    pub body_least_rate: u64,
    /// How long a connection may have no request.
    pub idle_connection: Duration,
    /// How often a connection is asked whether it lives.
    pub keep_alive_interval: Duration,
    /// How long it may take to answer.
    pub keep_alive_timeout: Duration,
    /// Bytes that a connection may have sent and that nobody has taken.
    pub connection_window_bytes: u32,
    /// The same for one request; less, so that one that waits does not hold up the others of its connection.
    pub stream_window_bytes: u32,
    /// Bytes of one answer that wait in a connection for a slow reader.
    pub send_buffer_bytes: usize,
    /// Requests at once on one connection.
    pub streams_per_connection: u32,
    /// Streams that a client may open and reset before they were accepted.
    pub pending_resets: usize,
    /// How long a stop may take.
    pub shutdown: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070),
            postgres: None,
            insecure: false,
            message_bytes: 4 * MIB,
            window_batches: 64,
            window_bytes: 8 * MIB,
            in_flight_requests: 64,
            in_flight_bytes: 128 * MIB,
            decoded_bytes: 512 * MIB,
            permit_wait: Duration::from_secs(1),
            statement_time: Duration::from_secs(60),
            sql_bytes: MIB,
            connections: 1_024,
            connections_per_address: 128,
            header_deadline: Duration::from_secs(10),
            header_fields: 100,
            header_bytes: 16 << 10,
            body_idle: Duration::from_secs(20),
            body_least_rate: 1 << 10,
            idle_connection: Duration::from_secs(75),
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(10),
            connection_window_bytes: 4 << 20,
            stream_window_bytes: 1 << 20,
            send_buffer_bytes: 256 << 10,
            streams_per_connection: 128,
            pending_resets: 20,
            shutdown: Duration::from_secs(10),
        }
    }
}

impl ServerConfig {
    /// These limits, as far as they fit into a limit of memory.
    #[must_use]
    pub fn within(self, plan: &MemoryPlan) -> Self {
        let connection = u32::try_from(plan.connection).unwrap_or(u32::MAX);
        // The rest for answers.
        let connection_window_bytes = self.connection_window_bytes.min(connection / 4 * 3).max(LEAST_WINDOW);
        let stream_window_bytes =
            self.stream_window_bytes.min(connection_window_bytes / 3 * 2).max(LEAST_WINDOW / 2);
        Self {
            in_flight_bytes: self.in_flight_bytes.min(plan.requests),
            decoded_bytes: self.decoded_bytes.min(plan.decoded),
            window_bytes: self.window_bytes.min(plan.requests / 4),
            connections: self.connections.min(plan.connections),
            connection_window_bytes,
            stream_window_bytes,
            send_buffer_bytes: self.send_buffer_bytes.min(plan.connection / 4),
            ..self
        }
    }

    /// Checks that the values fit together.
    ///
    /// # Errors
    /// [`StartError::Config`] names the key and what it may be; [`StartError::NotLoopback`] when the address is
    /// reachable from elsewhere and `insecure` is not set.
    pub fn check(&self) -> Result<(), StartError> {
        let refuse = |key, allowed: String| Err(StartError::Config { key, allowed });
        if !(1..=MESSAGE_BYTES_CEILING).contains(&self.message_bytes) {
            return refuse("message_bytes", format!("1 to {MESSAGE_BYTES_CEILING} bytes"));
        }
        if self.in_flight_bytes < 2 * self.message_bytes || u32::try_from(self.in_flight_bytes).is_err() {
            return refuse("in_flight_bytes", "at least twice message_bytes and less than 4 GiB".to_owned());
        }
        if self.decoded_bytes == 0 || u32::try_from(self.decoded_bytes).is_err() {
            return refuse("decoded_bytes", "more than 0 and less than 4 GiB".to_owned());
        }
        // hyper refuses a smaller buffer by a panic.
        if self.header_bytes < 8 << 10 || u32::try_from(self.header_bytes).is_err() {
            return refuse("header_bytes", "8 KiB to 4 GiB".to_owned());
        }
        for (key, value) in [
            ("window_batches", self.window_batches as usize),
            ("in_flight_requests", self.in_flight_requests),
            ("sql_bytes", self.sql_bytes),
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
            ("header_fields", self.header_fields),
            ("streams_per_connection", self.streams_per_connection as usize),
        ] {
            // Half of what tokio's semaphores and windows take is more than any machine has.
            if !(1..=1 << 20).contains(&value) {
                return refuse(key, "1 to 1,048,576".to_owned());
            }
        }
        for (key, value) in [
            ("permit_wait", self.permit_wait),
            ("statement_time", self.statement_time),
            ("header_deadline", self.header_deadline),
            ("body_idle", self.body_idle),
            ("idle_connection", self.idle_connection),
            ("keep_alive_interval", self.keep_alive_interval),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("shutdown", self.shutdown),
        ] {
            if value.is_zero() || value > Duration::from_secs(30 * 86_400) {
                return refuse(key, "more than 0 and at most 30 days".to_owned());
            }
        }
        for listen in std::iter::once(self.listen).chain(self.postgres) {
            if !self.insecure && !listen.ip().is_loopback() {
                return Err(StartError::NotLoopback { listen });
            }
        }
        Ok(())
    }

    /// The window of bytes that a stream is told.
    pub fn announced_window_bytes(&self) -> usize {
        self.window_bytes.max(self.message_bytes)
    }
}

impl fmt::Display for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart by name, so that a new field does not compile until it is shown.
        let Self {
            listen,
            postgres,
            insecure,
            message_bytes,
            window_batches,
            window_bytes,
            in_flight_requests,
            in_flight_bytes,
            decoded_bytes,
            permit_wait,
            statement_time,
            sql_bytes,
            connections,
            connections_per_address,
            header_deadline,
            header_fields,
            header_bytes,
            body_idle,
            body_least_rate,
            idle_connection,
            keep_alive_interval,
            keep_alive_timeout,
            connection_window_bytes,
            stream_window_bytes,
            send_buffer_bytes,
            streams_per_connection,
            pending_resets,
            shutdown,
        } = self;
        write!(
            f,
            "listen={listen} postgres={} insecure={insecure} message_bytes={message_bytes} window_batches={window_batches} \
             window_bytes={window_bytes} in_flight_requests={in_flight_requests} \
             in_flight_bytes={in_flight_bytes} decoded_bytes={decoded_bytes} permit_wait={permit_wait:?} \
             statement_time={statement_time:?} \
             sql_bytes={sql_bytes} connections={connections} \
             connections_per_address={connections_per_address} header_deadline={header_deadline:?} \
             header_fields={header_fields} header_bytes={header_bytes} body_idle={body_idle:?} \
             body_least_rate={body_least_rate} idle_connection={idle_connection:?} \
             keep_alive_interval={keep_alive_interval:?} keep_alive_timeout={keep_alive_timeout:?} \
             connection_window_bytes={connection_window_bytes} stream_window_bytes={stream_window_bytes} \
             send_buffer_bytes={send_buffer_bytes} streams_per_connection={streams_per_connection} pending_resets={pending_resets} \
             shutdown={shutdown:?}",
            postgres.map_or_else(|| "off".to_owned(), |address| address.to_string())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_addresses_need_a_word_of_consent() {
        let mut config = ServerConfig { listen: "0.0.0.0:7070".parse().unwrap(), ..ServerConfig::default() };
        assert!(config.check().unwrap_err().to_string().contains("--insecure"));
        config.insecure = true;
        assert!(config.check().is_ok());
        config.listen = "[::1]:7070".parse().unwrap();
        config.insecure = false;
        assert!(config.check().is_ok());
        config.postgres = Some("0.0.0.0:5433".parse().unwrap());
        assert!(config.check().unwrap_err().to_string().contains("0.0.0.0:5433"));
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (config, key) in [
            (ServerConfig { message_bytes: 0, ..ServerConfig::default() }, "message_bytes"),
            (ServerConfig { message_bytes: 65 * MIB, ..ServerConfig::default() }, "message_bytes"),
            (ServerConfig { in_flight_bytes: MIB, ..ServerConfig::default() }, "in_flight_bytes"),
            (ServerConfig { header_bytes: 100, ..ServerConfig::default() }, "header_bytes"),
            (ServerConfig { connections: 0, ..ServerConfig::default() }, "connections"),
            (ServerConfig { shutdown: Duration::ZERO, ..ServerConfig::default() }, "shutdown"),
        ] {
            let error = config.check().unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
