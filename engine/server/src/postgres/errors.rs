//! Errors become SQLSTATEs here and nowhere else.

use crate::error::{Position, ServiceError};
use crate::grpc::status::shortened;

/// An error as a client of PostgreSQL reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PgError {
    /// Whether the connection ends with it.
    pub(super) fatal: bool,
    /// The SQLSTATE.
    pub(super) code: &'static str,
    /// What was wrong.
    pub(super) message: String,
    /// What to do next.
    pub(super) hint: Option<String>,
    /// Where in the statement, in characters from 1.
    pub(super) position: Option<usize>,
}

impl PgError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { fatal: false, code, message: message.into(), hint: None, position: None }
    }

    pub(super) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::new(code, message) }
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The client broke the rules of the protocol; what follows cannot be read.
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::fatal("08P01", message)
    }

    /// The error for `sql`, which begins `offset` characters into what the client sent.
    pub(super) fn of(error: &ServiceError, sql: &str, offset: usize) -> Self {
        let (shown, position) = match error {
            ServiceError::Internal { reason, message } => {
                let id = uuid::Uuid::now_v7().simple().to_string();
                tracing::error!(error_id = id, reason, cause = message, "internal error");
                (format!("internal error; the server's log has it under the id {id}"), None)
            }
            ServiceError::Sql { message, position, .. } => (message.clone(), *position),
            other => (other.to_string(), None),
        };
        let mut lines = shown.lines();
        let mut message = lines.next().unwrap_or_default().to_owned();
        if let Some(Position { line, column }) = position {
            let place = format!(" (line {line}, column {column})");
            message = message.strip_suffix(&place).map(str::to_owned).unwrap_or(message);
            // The excerpt and the caret: clients draw their own.
            lines.next();
            lines.next();
        }
        let hint = lines.collect::<Vec<_>>().join("\n");
        Self {
            fatal: false,
            code: sqlstate(error),
            message: shortened(&message),
            hint: (!hint.is_empty()).then(|| shortened(&hint)),
            position: position.and_then(|position| characters(sql, position)).map(|at| at + offset),
        }
    }
}

/// How many characters into a text a place is, from 1.
fn characters(sql: &str, place: Position) -> Option<usize> {
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let before: usize = sql.split_inclusive('\n').take(line).map(|line| line.chars().count()).sum();
    Some(before + usize::try_from(place.column).ok()?)
}

fn sqlstate(error: &ServiceError) -> &'static str {
    match (error, error.reason()) {
        (_, "sql.syntax" | "sql.statement_count") => "42601",
        (_, "sql.unknown_table") => "42P01",
        (_, "sql.unknown_column") => "42703",
        (_, "sql.unknown_function") => "42883",
        (_, "sql.setting") => "42704",
        (_, "sql.read_only") => "25006",
        (_, "sql.too_complex") => "54001",
        (_, "sql.memory") => "53200",
        (_, "sql.execution") => "22000",
        (_, "sql.cancelled") => "57014",
        (ServiceError::Sql { .. }, _) => "42000",
        (ServiceError::Invalid { .. }, _) => "22023",
        (ServiceError::NotFound { .. }, _) => "42P01",
        (ServiceError::TooLarge { .. }, _) => "54000",
        (ServiceError::Busy { .. }, _) => "53300",
        (ServiceError::TimedOut { .. } | ServiceError::Cancelled { .. }, _) => "57014",
        (ServiceError::Unavailable { .. }, _) => "57P03",
        (ServiceError::DataLoss { .. }, _) => "XX001",
        (ServiceError::Internal { .. }, _) => "XX000",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_place_is_counted_in_characters_of_what_was_sent() {
        let error = ServiceError::Sql {
            reason: "sql.unknown_column",
            message: "unknown column 'x' (line 2, column 8)\n  SELECT x\n         ^\nDid you mean 'y'?"
                .to_owned(),
            position: Some(Position { line: 2, column: 8 }),
        };
        let shown = PgError::of(&error, "-- ä\nSELECT x", 10);
        assert_eq!(
            shown,
            PgError {
                fatal: false,
                code: "42703",
                message: "unknown column 'x'".to_owned(),
                hint: Some("Did you mean 'y'?".to_owned()),
                position: Some(23),
            }
        );
    }

    #[test]
    fn each_case_has_its_code_and_causes_of_faults_stay_in_the_log() {
        let (message, retry_after) = (|| "secret".to_owned(), Duration::ZERO);
        for (error, code) in [
            (ServiceError::Sql { reason: "sql.read_only", message: message(), position: None }, "25006"),
            (ServiceError::TooLarge { reason: "sql.memory", message: message() }, "53200"),
            (ServiceError::TooLarge { reason: "sql.result_too_large", message: message() }, "54000"),
            (ServiceError::TimedOut { reason: "query.time", message: message() }, "57014"),
            (ServiceError::Busy { reason: "query.busy", message: message(), retry_after }, "53300"),
            (ServiceError::Unavailable { reason: "r", message: message(), retry_after }, "57P03"),
            (ServiceError::DataLoss { reason: "segment.corrupt", message: message() }, "XX001"),
            (ServiceError::Internal { reason: "r", message: message() }, "XX000"),
        ] {
            let shown = PgError::of(&error, "", 0);
            assert_eq!(shown.code, code);
            assert_eq!(shown.message.contains("secret"), code != "XX000");
        }
    }
}
