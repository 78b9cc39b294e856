//! What can go wrong: with one call, and with the server itself.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use model::ModelError;
use thiserror::Error;

/// A place in a SQL text, both from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// Why a call was not done. Every variant has a stable reason, such as `name.too_long`, and a message that says what
/// was wrong and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ServiceError {
    /// The caller gave something that cannot be taken; asking again will not help.
    #[error("{message}")]
    Invalid {
        /// The stable reason.
        reason: &'static str,
        /// The path of the field at fault, such as `batch.metrics[3]`, where it is one field.
        field: Option<String>,
        /// What is wrong.
        message: String,
    },
    /// A statement is wrong or not allowed.
    #[error("{message}")]
    Sql {
        /// The stable reason.
        reason: &'static str,
        /// What is wrong.
        message: String,
        /// Where, when that is known.
        position: Option<Position>,
    },
    /// A run, an experiment or another named thing is not there.
    #[error("{message}")]
    NotFound {
        /// The stable reason.
        reason: &'static str,
        /// What is not there.
        message: String,
    },
    /// A message, a text or a result is larger than its limit, or a query over its memory.
    #[error("{message}")]
    TooLarge {
        /// The stable reason.
        reason: &'static str,
        /// What is too large, with the limit.
        message: String,
    },
    /// Too much at once; the same call may succeed later.
    #[error("{message}")]
    Busy {
        /// The stable reason.
        reason: &'static str,
        /// What is used up.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The time limit passed.
    #[error("{message}")]
    TimedOut {
        /// The stable reason.
        reason: &'static str,
        /// Which limit.
        message: String,
    },
    /// Somebody ended the call.
    #[error("{message}")]
    Cancelled {
        /// The stable reason.
        reason: &'static str,
        /// Who or why.
        message: String,
    },
    /// The server cannot do this now: disk full, starting, stopping, no longer the writer.
    #[error("{message}")]
    Unavailable {
        /// The stable reason.
        reason: &'static str,
        /// Why.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A damaged file was touched.
    #[error("{message}")]
    DataLoss {
        /// The stable reason.
        reason: &'static str,
        /// Which file, and what to do.
        message: String,
    },
    /// A fault of ours. The message goes to the log; the caller gets an id that the log has too.
    #[error("{message}")]
    Internal {
        /// The stable reason.
        reason: &'static str,
        /// For the log.
        message: String,
    },
}

impl ServiceError {
    /// A value of the field at `path` was refused by the model.
    pub fn at(path: impl Into<String>, error: &ModelError) -> Self {
        let path = path.into();
        let message = format!("{path}: {error}");
        Self::Invalid { reason: error.code(), field: Some(path), message }
    }

    /// The field at `path` is wrong for a reason that only the wire has.
    pub fn field(reason: &'static str, path: impl Into<String>, what: impl AsRef<str>) -> Self {
        let path = path.into();
        let message = format!("{path}: {}", what.as_ref());
        Self::Invalid { reason, field: Some(path), message }
    }

    /// Refuses a text that is empty or longer than `limit` bytes, before anything reads it.
    ///
    /// # Errors
    /// `sql.too_long`, and `sql.empty` at the field with this name.
    pub(crate) fn check_statement(sql: &str, field: &str, limit: usize) -> Result<(), Self> {
        if sql.len() > limit {
            let message = format!("the statement has {} bytes, at most {limit} are taken", sql.len());
            return Err(Self::TooLarge { reason: "sql.too_long", message });
        }
        if sql.trim().is_empty() {
            return Err(Self::field("sql.empty", field, "is empty; give one statement"));
        }
        Ok(())
    }

    /// The server is stopping.
    pub fn stopping() -> Self {
        Self::Unavailable {
            reason: "server.stopping",
            message: "the server is stopping; try again in a few seconds".to_owned(),
            retry_after: Duration::from_secs(5),
        }
    }

    /// The stable reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { reason, .. }
            | Self::Sql { reason, .. }
            | Self::NotFound { reason, .. }
            | Self::TooLarge { reason, .. }
            | Self::Busy { reason, .. }
            | Self::TimedOut { reason, .. }
            | Self::Cancelled { reason, .. }
            | Self::Unavailable { reason, .. }
            | Self::DataLoss { reason, .. }
            | Self::Internal { reason, .. } => reason,
        }
    }

    /// Whether the fault lies in what was asked, so that the next, other request may well succeed.
    pub fn concerns_only_the_request(&self) -> bool {
        match self {
            Self::Invalid { .. } | Self::Sql { .. } | Self::NotFound { .. } | Self::TooLarge { .. } => true,
            Self::Busy { .. }
            | Self::TimedOut { .. }
            | Self::Cancelled { .. }
            | Self::Unavailable { .. }
            | Self::DataLoss { .. }
            | Self::Internal { .. } => false,
        }
    }
}

/// Why the server did not start, went down, or did not stop well.
#[derive(Debug, Error)]
pub enum StartError {
    /// A value of the configuration cannot be used.
    #[error("server configuration: {key} must be {allowed}")]
    Config {
        /// The key.
        key: &'static str,
        /// What it may be.
        allowed: String,
    },
    /// The address is reachable from other machines, and nothing checks who calls.
    #[error(
        "{listen} is reachable from other machines and anyone there could write and read; listen on 127.0.0.1, or give \
         --insecure if the network itself is closed"
    )]
    NotLoopback {
        /// The address.
        listen: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {listen}: {source}; is another server running there? choose another with {flag}"
    )]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// The word on the command line that changes it.
        flag: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The lake failed while it was served.
    #[error("{source}")]
    LakeFailed {
        /// What the lake said.
        source: ServiceError,
    },
    /// The lake could not be closed well; what was acknowledged is in its log.
    #[error("the lake did not close well: {source}")]
    Close {
        /// What the lake said.
        source: ServiceError,
    },
    /// Closing the lake took longer than a stop may take.
    #[error("the lake did not close within {limit:?}; what was acknowledged is in its log")]
    CloseTimedOut {
        /// The limit.
        limit: Duration,
    },
}

impl StartError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config { .. } => "server.config",
            Self::NotLoopback { .. } => "server.not_loopback",
            Self::Bind { .. } => "server.bind",
            Self::LakeFailed { source } => source.reason(),
            Self::Close { .. } => "server.close",
            Self::CloseTimedOut { .. } => "server.close_timed_out",
        }
    }
}
