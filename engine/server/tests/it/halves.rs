//! Requests whose bytes stop coming.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use server::ServerConfig;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::ServiceExt;

use crate::{Running, soon};

/// What the server says to a request that brings these bytes and then nothing.
async fn after(running: &Running, path: &str, bytes: &'static [u8]) -> Status {
    let frames =
        stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(bytes)))]).chain(stream::pending());
    let request = http::Request::post(format!("{}{path}", running.url()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(StreamBody::new(frames)))
        .unwrap();
    let channel = tonic::transport::Endpoint::from_shared(running.url()).unwrap().connect().await.unwrap();
    let response = soon(channel.oneshot(request)).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let mut body = response.into_body();
    loop {
        match soon(http_body_util::BodyExt::frame(&mut body)).await {
            Some(Ok(frame)) => {
                if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    return status;
                }
            }
            other => panic!("no status: {other:?}"),
        }
    }
}

#[tokio::test]
async fn half_a_message_is_given_up_after_a_pause_on_unary_calls_and_streams() {
    let config = ServerConfig { body_idle: Duration::from_millis(150), ..ServerConfig::default() };
    let running = Running::start(config).await;
    // A message of 100 bytes is announced and 3 come; for the unary call a pause before it counts too.
    for (path, bytes) in [
        ("/runlake.v1.Ingest/CreateRun", &b"\0\0\0\0\x64abc"[..]),
        ("/runlake.v1.Ingest/CreateRun", &b""[..]),
        ("/runlake.v1.Query/Sql", &b"\0\0"[..]),
        ("/runlake.v1.Ingest/Write", &b"\0\0\0\0\x64abc"[..]),
    ] {
        let status = after(&running, path, bytes).await;
        let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
        assert_eq!(
            (status.code(), reason.as_deref()),
            (Code::DeadlineExceeded, Some("request.too_slow")),
            "{path}"
        );
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_length_of_four_gigabytes_is_refused_when_it_is_announced() {
    let running = Running::start(ServerConfig::default()).await;
    for path in ["/runlake.v1.Ingest/WriteBatch", "/runlake.v1.Ingest/Write", "/runlake.v1.Query/Sql"] {
        let status = after(&running, path, b"\0\xff\xff\xff\xff").await;
        let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
        assert_eq!(
            (status.code(), reason.as_deref()),
            (Code::ResourceExhausted, Some("request.too_large")),
            "{path}"
        );
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn compressed_and_unflagged_messages_are_the_callers_fault() {
    let running = Running::start(ServerConfig::default()).await;
    for bytes in [&b"\x01\0\0\0\x01a"[..], &b"\x07\0\0\0\x01a"[..]] {
        for path in ["/runlake.v1.Ingest/CreateRun", "/runlake.v1.Ingest/Write"] {
            let status = after(&running, path, bytes).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{path} {status:?}");
        }
    }
    running.stop().await.unwrap();
}
