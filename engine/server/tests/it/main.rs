//! The server over real sockets, with a lake that exists only in memory and can be told to misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod connections;
mod descriptors;
mod fake_lake;
mod flight;
mod halves;
mod http;
mod postgres;
mod postgres_hostile;
mod queries;
mod stop;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fake_lake::FakeLake;
use model::{MetricName, Point, PointBatch, PointColumns, RunId, SeriesPoints};
use server::client::{Client, RetryPolicy};
use server::{Server, ServerConfig, StartError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that runs in this process.
struct Running {
    address: SocketAddr,
    /// For clients of PostgreSQL.
    postgres: SocketAddr,
    lake: Arc<FakeLake>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), StartError>>,
}

impl Running {
    async fn start(config: ServerConfig) -> Self {
        let lake = Arc::new(FakeLake::default());
        let any = "127.0.0.1:0".parse().unwrap();
        let config = ServerConfig { listen: any, postgres: Some(any), ..config };
        let server = Server::bind(config, lake.clone()).await.unwrap();
        let address = server.local_addr();
        let postgres = server.postgres_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        Self { address, postgres, lake, stop, task: tokio::spawn(server.serve(shutdown)) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn client(&self) -> Client {
        let client = Client::connect(&self.url()).await.unwrap();
        client.with_retry(RetryPolicy {
            attempts: 5,
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(20),
        })
    }

    async fn stop(self) -> Result<(), StartError> {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }
}

/// `count` points of one series, all at one step.
fn batch(step: i64, count: usize) -> PointBatch {
    let mut points = PointColumns::default();
    for index in 0..count {
        points.push(Point { step, step_fraction: None, time: 1_000 + index as i64, value: index as f64 });
    }
    let metric = MetricName::new("loss").unwrap();
    PointBatch::new(vec![SeriesPoints {
        run: RunId::from_u128(7),
        metric,
        context: None,
        attempt: 0,
        points,
    }])
    .unwrap()
}

/// Fails the test instead of hanging it.
#[track_caller]
fn soon<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    let limit = Duration::from_secs(20);
    async move { tokio::time::timeout(limit, future).await.unwrap_or_else(|_| panic!("{caller} took too long")) }
}

/// Asks until it is so.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never became true: {what}");
}
