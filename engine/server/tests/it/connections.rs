//! Clients that leave things undone, and too many of them.

use std::time::{Duration, Instant};

use server::{Server, ServerConfig, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::get;
use crate::{Running, batch, eventually, soon};

/// Sends the parts with pauses between them and waits until the server closes the connection.
async fn closed_after(running: &Running, parts: &[&[u8]], pause: Duration) -> Duration {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for part in parts {
        if stream.write_all(part).await.is_err() {
            return begun.elapsed();
        }
        tokio::time::sleep(pause).await;
    }
    let mut rest = Vec::new();
    // A reset is a close as well.
    let _ = soon(stream.read_to_end(&mut rest)).await;
    begun.elapsed()
}

#[tokio::test]
async fn who_says_nothing_or_never_ends_a_header_is_cut() {
    let config = ServerConfig { header_deadline: Duration::from_millis(200), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let nothing: &[&[u8]] = &[];
    let half_preface: &[&[u8]] = &[b"PRI * HT"];
    let half_header: &[&[u8]] = &[b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A"];
    for parts in [nothing, half_preface, half_header] {
        let elapsed = closed_after(&running, parts, Duration::ZERO).await;
        assert!(elapsed >= Duration::from_millis(150), "{parts:?} {elapsed:?}");
        assert!(elapsed < Duration::from_secs(5), "{parts:?} {elapsed:?}");
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_and_the_client_makes_a_new_one() {
    let config = ServerConfig { idle_connection: Duration::from_millis(200), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let client = running.client().await;
    client.write_batch(&batch(1, 1), None).await.unwrap();
    let open = |text: &str| text.contains("\nrunlake_connections 2\n");
    assert!(open(&get(running.address, "/metrics").await));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let metrics = get(running.address, "/metrics").await;
    assert!(metrics.contains("\nrunlake_connections 1\n"), "{metrics}");
    soon(client.sql("rows 1")).await.unwrap();
    // A stream that is open but quiet is no idle connection.
    let mut writer = client.writer("quiet", 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    writer.send(&batch(1, 1)).await.unwrap();
    let report = soon(writer.finish()).await.unwrap();
    assert_eq!((report.acknowledged, report.reconnects), (1, 0));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_cap_are_closed_and_the_others_served() {
    let config = ServerConfig { connections_per_address: 3, ..ServerConfig::default() };
    let running = Running::start(config).await;
    let client = running.client().await;
    client.write_batch(&batch(1, 1), None).await.unwrap();
    let held = [
        TcpStream::connect(running.address).await.unwrap(),
        TcpStream::connect(running.address).await.unwrap(),
    ];
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut refused = TcpStream::connect(running.address).await.unwrap();
    let mut rest = Vec::new();
    let _ = soon(refused.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    client.write_batch(&batch(2, 1), None).await.unwrap();
    drop(held);
    let mut answered = false;
    for _ in 0..100 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        answered |= text.starts_with("HTTP/1.1 200");
        if answered {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answered, "places come back");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let running = Running::start(ServerConfig::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n", "a".repeat(100_000));
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert!(get(running.address, "/healthz").await.starts_with("HTTP/1.1 200"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn noise_is_no_reason_to_stop() {
    let running = Running::start(ServerConfig::default()).await;
    for noise in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"\0\0\0\0\0\0\0\0",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff",
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let _ = stream.write_all(noise).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
    }
    eventually("the server still runs", || !running.task.is_finished()).await;
    assert!(get(running.address, "/healthz").await.starts_with("HTTP/1.1 200"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_address_in_use_and_an_open_address_are_refused() {
    let running = Running::start(ServerConfig::default()).await;
    let config = ServerConfig { listen: running.address, ..ServerConfig::default() };
    let error = Server::bind(config, running.lake.clone()).await.err().unwrap();
    assert!(matches!(error, StartError::Bind { .. }) && error.to_string().contains("--listen"), "{error}");
    let config = ServerConfig { listen: "0.0.0.0:0".parse().unwrap(), ..ServerConfig::default() };
    let error = Server::bind(config, running.lake.clone()).await.err().unwrap();
    assert_eq!(error.code(), "server.not_loopback");
    running.stop().await.unwrap();
}
