//! Stopping: what was begun is finished, nothing new begins, and it ends in time.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use server::ServerConfig;
use server::client::Client;
use tokio::net::TcpStream;

use crate::{Running, batch, eventually, soon};

#[tokio::test]
async fn batches_under_way_are_acknowledged_and_the_lake_is_closed() {
    let running = Running::start(ServerConfig::default()).await;
    let (lake, address) = (running.lake.clone(), running.address);
    lake.syncing.send_replace(false);
    let client = running.client().await;
    let unary = {
        let client = client.clone();
        tokio::spawn(async move { client.write_batch(&batch(1, 1), None).await })
    };
    let mut writer = client.writer("trainer", 1).await.unwrap();
    writer.send(&batch(1, 1)).await.unwrap();
    eventually("both batches have their place", || lake.log.lock().unwrap().len() == 2).await;
    let stop = tokio::spawn(running.stop());
    eventually_async("the port is closed", || async { TcpStream::connect(address).await.is_err() }).await;
    assert!(!lake.closed.load(Ordering::SeqCst), "not before the last request");
    lake.syncing.send_replace(true);
    soon(unary).await.unwrap().unwrap();
    assert_eq!(soon(writer.flush()).await.unwrap().acknowledged, 1);
    // The stream was answered and ended; there is no server to connect to again.
    let error = soon(async {
        writer.send(&batch(2, 1)).await?;
        writer.flush().await
    });
    assert!(error.await.is_err());
    soon(stop).await.unwrap().unwrap();
    assert!(lake.closed.load(Ordering::SeqCst));
    assert_eq!(lake.sequences(), [1]);
}

#[tokio::test]
async fn a_stuck_request_is_cut_at_the_deadline() {
    let config = ServerConfig { shutdown: Duration::from_millis(400), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let lake = running.lake.clone();
    let client = running.client().await;
    let stuck = tokio::spawn(async move { client.sql("stuck").await.map(drop) });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    running.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(lake.closed.load(Ordering::SeqCst));
    assert!(soon(stuck).await.unwrap().is_err());
}

#[tokio::test]
async fn quiet_connections_do_not_delay_a_stop() {
    let running = Running::start(ServerConfig::default()).await;
    let quiet = running.client().await;
    quiet.sql("rows 1").await.unwrap();
    let _writer = quiet.writer("quiet", 1).await.unwrap();
    let begun = Instant::now();
    soon(running.stop()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let running = Running::start(ServerConfig::default()).await;
    let url = running.url();
    running.stop().await.unwrap();
    let error = soon(Client::connect(&url)).await.err().unwrap();
    assert!(error.to_string().contains(&url), "{error}");
    let error = Client::connect("not a url").await.err().unwrap();
    assert!(error.to_string().contains("http://"), "{error}");
}

async fn eventually_async<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    for _ in 0..1_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never became true: {what}");
}
