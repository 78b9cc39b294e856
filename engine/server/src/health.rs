//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::grpc::Shared;
use crate::metrics::render_queries;
use crate::service::Readiness;

/// The routes for those who watch over the server.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shared)
}

/// The answer to a path that is nobody's: gRPC clients and browsers each get their own.
pub(crate) async fn nothing_here(headers: HeaderMap) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if content_type.starts_with(b"application/grpc") {
        return tonic::Status::unimplemented("this server has no such method").into_http();
    }
    (StatusCode::NOT_FOUND, "nothing here; /healthz, /readyz and /metrics answer\n").into_response()
}

/// 200 when reading works, 503 with a reason while the server starts or stops.
async fn readyz(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let (status, state, detail) = if shared.stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping", String::new())
    } else {
        match shared.lake.readiness() {
            Readiness::Ready => (StatusCode::OK, "ready", String::new()),
            Readiness::Recovering { progress } => (StatusCode::SERVICE_UNAVAILABLE, "recovering", progress),
            Readiness::ReadOnly { why } => (StatusCode::SERVICE_UNAVAILABLE, "read_only", why),
        }
    };
    (status, Json(std::collections::BTreeMap::from([("state", state.to_owned()), ("detail", detail)])))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let mut text = shared.metrics.render();
    text.push_str(&render_queries(&shared.lake.query_metrics()));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
