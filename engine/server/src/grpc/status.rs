//! Errors become gRPC codes here and nowhere else.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::ServiceError;

/// The domain of every reason.
pub const ERROR_DOMAIN: &str = "runlake";

/// Longest message to a user, in bytes.
const MESSAGE_BYTES: usize = 1 << 10;

/// The code, the message and the details (reason, field, position, when to try again) of an error.
///
/// An [`ServiceError::Internal`] is written to the log here; its caller gets only the id under which it stands there.
pub fn status_from_error(error: &ServiceError) -> Status {
    let mut details = ErrorDetails::new();
    let mut metadata = HashMap::new();
    let mut message = shortened(&error.to_string());
    let code = match error {
        ServiceError::Invalid { field, .. } => {
            if let Some(field) = field {
                details.add_bad_request_violation(field, &message);
            }
            Code::InvalidArgument
        }
        ServiceError::Sql { position, .. } => {
            if let Some(position) = position {
                metadata.insert("line".to_owned(), position.line.to_string());
                metadata.insert("column".to_owned(), position.column.to_string());
            }
            Code::InvalidArgument
        }
        ServiceError::NotFound { .. } => Code::NotFound,
        ServiceError::TooLarge { .. } => Code::ResourceExhausted,
        ServiceError::Busy { retry_after, .. } => {
            details.set_retry_info(Some(*retry_after));
            Code::ResourceExhausted
        }
        ServiceError::TimedOut { .. } => Code::DeadlineExceeded,
        ServiceError::Cancelled { .. } => Code::Cancelled,
        ServiceError::Unavailable { retry_after, .. } => {
            details.set_retry_info(Some(*retry_after));
            Code::Unavailable
        }
        ServiceError::DataLoss { .. } => Code::DataLoss,
        ServiceError::Internal { reason, message: cause } => {
            let id = uuid::Uuid::now_v7().simple().to_string();
            tracing::error!(error_id = id, reason, cause, "internal error");
            message = format!("internal error; the server's log has it under the id {id}");
            metadata.insert("error_id".to_owned(), id);
            Code::Internal
        }
    };
    details.set_error_info(error.reason(), ERROR_DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// A text of at most [`MESSAGE_BYTES`], cut between characters.
pub(crate) fn shortened(text: &str) -> String {
    if text.len() <= MESSAGE_BYTES {
        return text.to_owned();
    }
    let end = (0..=MESSAGE_BYTES - '…'.len_utf8()).rev().find(|end| text.is_char_boundary(*end));
    format!("{}…", &text[..end.unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Position;

    #[test]
    fn each_case_has_its_code_reason_and_details() {
        let message = String::new;
        let retry_after = Duration::from_secs(3);
        for (error, code) in [
            (ServiceError::field("name.empty", "batch.metrics[0]", "is empty"), Code::InvalidArgument),
            (ServiceError::NotFound { reason: "run.not_found", message: message() }, Code::NotFound),
            (ServiceError::TooLarge { reason: "r", message: message() }, Code::ResourceExhausted),
            (ServiceError::Busy { reason: "r", message: message(), retry_after }, Code::ResourceExhausted),
            (ServiceError::TimedOut { reason: "r", message: message() }, Code::DeadlineExceeded),
            (ServiceError::Cancelled { reason: "r", message: message() }, Code::Cancelled),
            (ServiceError::Unavailable { reason: "r", message: message(), retry_after }, Code::Unavailable),
            (ServiceError::DataLoss { reason: "segment.corrupt", message: message() }, Code::DataLoss),
        ] {
            let status = status_from_error(&error);
            assert_eq!(status.code(), code, "{error:?}");
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().reason, error.reason());
            assert_eq!(details.error_info().unwrap().domain, ERROR_DOMAIN);
            let retry = matches!(error, ServiceError::Busy { .. } | ServiceError::Unavailable { .. });
            assert_eq!(details.retry_info().and_then(|i| i.retry_delay), retry.then_some(retry_after));
        }
        let field = status_from_error(&ServiceError::field("name.empty", "batch.metrics[0]", "is empty"));
        let details = field.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "batch.metrics[0]");
        let position = Some(Position { line: 3, column: 14 });
        let sql = ServiceError::Sql { reason: "sql.syntax", message: "no".into(), position };
        let details = status_from_error(&sql).get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["line"], "3");
        assert_eq!(details.error_info().unwrap().metadata["column"], "14");
    }

    #[test]
    fn causes_of_internal_errors_stay_in_the_log() {
        let cause = "lock poisoned in /var/lib/secret".to_owned();
        let status = status_from_error(&ServiceError::Internal { reason: "internal", message: cause });
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret"), "{status}");
    }

    #[test]
    fn messages_are_cut_between_characters() {
        let status = status_from_error(&ServiceError::field("r", "f", "é".repeat(5_000)));
        assert!(status.message().len() <= MESSAGE_BYTES && status.message().ends_with('…'));
        assert_eq!(shortened("short"), "short");
    }
}
