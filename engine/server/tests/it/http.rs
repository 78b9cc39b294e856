//! Plain HTTP on the same port.

use server::ServerConfig;
use server::service::Readiness;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Running, batch, soon};

/// The answer to one GET, with its status line and headers.
pub(crate) async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn health_readiness_and_metrics_answer_beside_grpc() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    client.write_batch(&batch(1, 5), None).await.unwrap();
    assert!(get(running.address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let ready = get(running.address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains(r#""state":"ready""#), "{ready}");
    let metrics = get(running.address, "/metrics").await;
    assert!(metrics.contains("\nrunlake_points_total 5\n"), "{metrics}");
    assert!(metrics.contains("\nrunlake_panics_total 0\n"), "{metrics}");
    assert!(get(running.address, "/nothing").await.starts_with("HTTP/1.1 404"));

    *running.lake.readiness.lock().unwrap() = Readiness::Recovering { progress: "3 of 7 files".into() };
    let recovering = get(running.address, "/readyz").await;
    assert!(recovering.starts_with("HTTP/1.1 503") && recovering.contains("3 of 7 files"), "{recovering}");
    assert!(get(running.address, "/healthz").await.starts_with("HTTP/1.1 200"));
    running.stop().await.unwrap();
}
