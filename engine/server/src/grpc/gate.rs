//! What every call passes on its way in and out: the stop, the budget, panics, and faults that the decoder blames on
//! us although they are the caller's.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use tonic::{Code, Status};

use super::Shared;
use crate::error::ServiceError;
use crate::metrics::add;

/// The one method whose requests last.
const WRITE: &str = "/runlake.v1.Ingest/Write";
/// Calls of these services have their own queue.
const QUERIES: [&str; 2] = ["/runlake.v1.Query/", "/arrow.flight.protocol.FlightService/"];

/// Lets a call through to its service.
pub(super) async fn pass(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    add(&shared.metrics.requests, 1);
    if shared.stopping() {
        return response(shared.refuse(&ServiceError::stopping()));
    }
    let path = request.uri().path();
    let lasting = path == WRITE;
    let _place = if lasting || QUERIES.iter().any(|service| path.starts_with(service)) {
        None
    } else {
        match shared.budget.request().await {
            Ok(place) => Some(place),
            Err(error) => return response(shared.refuse(&error)),
        }
    };
    let (parts, body) = request.into_parts();
    let (body, ledger) = shared.budget.counted(body, lasting);
    // The handler of a unary call takes the message out of the request; its bytes stay counted until the answer.
    let _counted = (!lasting).then(|| ledger.clone());
    let mut request = Request::from_parts(parts, body);
    request.extensions_mut().insert(ledger);
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    match answered {
        Ok(answered) => with_blame(&shared, answered),
        Err(panic) => response(shared.refuse(&panicked(&shared, panic.as_ref()))),
    }
}

/// The error for a caught panic, counted.
pub(crate) fn panicked(shared: &Shared, panic: &(dyn std::any::Any + Send)) -> ServiceError {
    add(&shared.metrics.panics, 1);
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    ServiceError::Internal {
        reason: "server.panic",
        message: format!("a request panicked: {}", text.unwrap_or_default()),
    }
}

/// Bytes that are no message are the caller's fault, but the decoder answers INTERNAL. Our own internal errors always
/// have details, the decoder's never do.
pub(super) fn blame(status: Status) -> Result<ServiceError, Status> {
    match status.code() {
        Code::Internal if status.details().is_empty() => Ok(ServiceError::Invalid {
            reason: "request.malformed",
            field: None,
            message: format!("the request is no valid message: {}", status.message()),
        }),
        _ => Err(status),
    }
}

fn with_blame(shared: &Shared, answered: Response) -> Response {
    let Some(status) = Status::from_header_map(answered.headers()) else { return answered };
    match blame(status) {
        Ok(error) => response(shared.refuse(&error)),
        Err(_) => answered,
    }
}

fn response(status: Status) -> Response {
    status.into_http()
}
