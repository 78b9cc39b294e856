//! What a client can be told.

use std::time::Duration;

use arrow::error::ArrowError;
use thiserror::Error;
use tonic::{Code, Status, transport};
use tonic_types::StatusExt;

use crate::error::Position;
use crate::grpc::status::ERROR_DOMAIN;

/// Why a call did not do what was asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The URL cannot be one of a server.
    #[error("{url:?} is not the URL of a server ({reason}); it looks like http://127.0.0.1:7070")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server cannot be reached.
    #[error("cannot reach {url}: {}; is `runlake serve` running there?", deepest(source))]
    Connect {
        /// The URL.
        url: String,
        /// What the system said.
        source: transport::Error,
    },
    /// The server, or the connection to it, said no.
    #[error("{0}")]
    Remote(Box<RemoteError>),
    /// The server does not speak as it should.
    #[error("the server broke the protocol: {what}; is it of another version?")]
    Protocol {
        /// What it did.
        what: &'static str,
    },
    /// The rows of an answer cannot be read.
    #[error("the rows of the answer cannot be read: {0}")]
    Arrow(#[from] ArrowError),
    /// There is no call for this.
    #[error("{what} cannot be sent to a server; do it where the lake is")]
    NotOnTheWire {
        /// The command.
        what: &'static str,
    },
    /// A batch is larger than a message may be.
    #[error("the batch has {bytes} bytes, the server takes {limit} at once; send it in parts")]
    BatchTooLarge {
        /// Its size on the wire.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct RemoteError {
    /// The code of gRPC.
    pub code: Code,
    /// The stable reason, such as `name.too_long`; empty when it was not the server that spoke but the network.
    pub reason: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The field at fault, where it is one.
    pub field: Option<String>,
    /// The place in the SQL text, where it is known.
    pub position: Option<Position>,
    /// When to try again, where that may help.
    pub retry_after: Option<Duration>,
}

impl RemoteError {
    /// Whether the server said that the same call may succeed later.
    pub fn asks_to_retry(&self) -> bool {
        self.retry_after.is_some()
    }

    /// Whether the request itself is at fault: sent again as it is, it would be refused again.
    pub fn is_mistake(&self) -> bool {
        matches!(
            self.code,
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::OutOfRange
        )
    }

    /// Whether it is not known if the call was done: the network spoke, not the server.
    pub fn is_unknown(&self) -> bool {
        self.reason.is_empty() && self.code != Code::Unimplemented
    }
}

impl ClientError {
    pub(super) fn from_status(status: Status) -> Self {
        let details = status.get_error_details();
        let ours = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
        let number = |key: &str| ours.and_then(|info| info.metadata.get(key)?.parse::<u64>().ok());
        let position = match (number("line"), number("column")) {
            (Some(line), Some(column)) => Some(Position { line, column }),
            _ => None,
        };
        let field = details.bad_request().and_then(|bad| bad.field_violations.first());
        Self::Remote(Box::new(RemoteError {
            code: status.code(),
            reason: ours.map(|info| info.reason.clone()).unwrap_or_default(),
            message: status.message().to_owned(),
            field: field.map(|violation| violation.field.clone()),
            position,
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }))
    }

    /// What the server said, if it did.
    pub fn remote(&self) -> Option<&RemoteError> {
        match self {
            Self::Remote(error) => Some(error),
            _ => None,
        }
    }
}

/// The innermost cause: "transport error" alone helps nobody.
fn deepest(error: &transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
