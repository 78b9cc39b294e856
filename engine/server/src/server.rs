//! The listener: one port, own accept loop, a stop that ends in time.

mod connection;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::ServerConfig;
use crate::error::StartError;
use crate::grpc::{self, Shared};
use crate::health;
use crate::metrics::add;
use crate::postgres::{self, Door};
use crate::service::LakeService;

pub(crate) use connection::Peer;

/// How long to wait after a failed accept: descriptors come back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The part of a stop that is kept for closing the lake: an eighth.
const CLOSE_SHARE: u32 = 8;

/// A server that listens and does not serve yet.
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    /// For clients of PostgreSQL.
    postgres: Option<(TcpListener, SocketAddr)>,
    shared: Arc<Shared>,
}

impl Server {
    /// Checks the configuration and begins to listen; connections wait until [`Server::serve`].
    ///
    /// # Errors
    /// [`StartError::Config`], [`StartError::NotLoopback`], [`StartError::Bind`].
    pub fn bind(
        config: ServerConfig,
        lake: Arc<dyn LakeService>,
    ) -> BoxFuture<'static, Result<Self, StartError>> {
        async move {
        config.check()?;
        let (listener, local_addr) = listen(config.listen, "--listen").await?;
        let postgres = match config.postgres {
            Some(address) => Some(listen(address, "--postgres, or --postgres off").await?),
            None => None,
        };
        tracing::info!(%local_addr, "listening; configuration: {config}");
        if !local_addr.ip().is_loopback() {
            tracing::warn!(%local_addr, "--insecure: everyone who reaches this address can read and write");
        }
        if let Some((_, address)) = &postgres
            && !address.ip().is_loopback()
        {
            tracing::warn!(%address, "--insecure: everyone who reaches this address can read");
        }
        Ok(Self { listener, local_addr, postgres, shared: Arc::new(Shared::new(config, lake)) })
        }
        .boxed()
    }

    /// The address that is listened on, with the port that the system chose if it was asked to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The address for clients of PostgreSQL.
    pub fn postgres_addr(&self) -> Option<SocketAddr> {
        self.postgres.as_ref().map(|(_, address)| *address)
    }

    /// Serves until `shutdown` completes or the lake fails, then stops: no new connections and requests, what was begun is finished,
    /// the lake is synced and closed. Takes no longer than [`ServerConfig::shutdown`] after `shutdown`.
    ///
    /// # Errors
    /// [`StartError::LakeFailed`], after which the process should end with status 4; [`StartError::Close`] and [`StartError::CloseTimedOut`]; acknowledged writes are durable in all cases.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
        self.serve_until(shutdown.boxed()).await
    }

    fn serve_until(self, shutdown: BoxFuture<'static, ()>) -> BoxFuture<'static, Result<(), StartError>> {
        async move {
            let Self { listener, shared, postgres, .. } = self;
            let router = grpc::routes(&shared)
                .merge(health::routes(Arc::clone(&shared)))
                .fallback(health::nothing_here);
            let mut connections = JoinSet::new();
            let lake = Arc::clone(&shared.lake);
            let ended = async {
                tokio::select! {
                    () = shutdown => None,
                    failure = lake.failed() => Some(failure),
                }
            };
            let door = Arc::new(Door::new(Arc::clone(&shared)));
            let places = Places::new(shared.config.connections, shared.config.connections_per_address);
            let (stop_postgres, stopped) = tokio::sync::oneshot::channel::<()>();
            let of_postgres = postgres.map(|(listener, _)| {
                let (shared, places) = (Arc::clone(&shared), places.clone());
                tokio::spawn(async move {
                    let mut connections = JoinSet::new();
                    let begin = |stream, shared: Arc<Shared>, place| {
                        serve_postgres(stream, shared, Arc::clone(&door), place).boxed()
                    };
                    let end = async {
                        // Either way it is over.
                        let _ = stopped.await;
                    };
                    accept_until(end, &listener, &shared, &places, &begin, &mut connections).await;
                    connections
                })
            });
            let begin = |stream, shared, place| serve_one(stream, shared, router.clone(), place).boxed();
            let failure = accept_until(ended, &listener, &shared, &places, &begin, &mut connections).await;
            if let Some(failure) = &failure {
                tracing::error!(%failure, "the lake failed, the server stops");
            }

            let limit = shared.config.shutdown;
            let deadline = Instant::now() + limit;
            shared.begin_stop();
            drop(listener);
            drop(stop_postgres);
            let mut postgres_connections = match of_postgres {
                Some(task) => task.await.unwrap_or_default(),
                None => JoinSet::new(),
            };
            let drained = async {
                while connections.join_next().await.is_some() {}
                while postgres_connections.join_next().await.is_some() {}
            };
            if tokio::time::timeout_at(deadline - limit / CLOSE_SHARE, drained).await.is_err() {
                let left = connections.len() + postgres_connections.len();
                tracing::warn!(connections = left, "connections that did not end are cut");
                connections.shutdown().await;
                postgres_connections.shutdown().await;
            }
            let closed = match tokio::time::timeout_at(deadline, shared.lake.close()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(source)) => Err(StartError::Close { source }),
                Err(_) => Err(StartError::CloseTimedOut { limit }),
            };
            failure.map_or(closed, |source| Err(StartError::LakeFailed { source }))
        }
        .boxed()
    }
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source: io::Error| StartError::Bind { listen: address, flag, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    Ok((listener, local_addr))
}

/// What is done with a connection that was accepted.
type Begin<'a> = &'a (dyn Fn(TcpStream, Arc<Shared>, Place) -> BoxFuture<'static, ()> + Send + Sync);

/// Accepts connections until `end` completes, and returns what it gave.
async fn accept_until<T>(
    end: impl Future<Output = T>,
    listener: &TcpListener,
    shared: &Arc<Shared>,
    places: &Places,
    begin: Begin<'_>,
    connections: &mut JoinSet<()>,
) -> T {
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            biased;
            ended = &mut end => return ended,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match places.take(peer.ip()) {
                    Some(place) => {
                        connections.spawn(begin(stream, Arc::clone(shared), place));
                    }
                    None => {
                        add(&shared.metrics.connections_refused, 1);
                        tracing::debug!(%peer, "too many connections, this one is closed");
                    }
                },
                Err(error) => {
                    add(&shared.metrics.accept_errors, 1);
                    if !concerns_one_connection(&error) {
                        tracing::warn!(%error, "cannot accept connections, trying on");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            },
        }
    }
}

async fn serve_one(stream: TcpStream, shared: Arc<Shared>, router: Router, place: Place) {
    add(&shared.metrics.connections, 1);
    connection::serve(stream, &shared, router).await;
    shared.metrics.connections.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    drop(place);
}

async fn serve_postgres(stream: TcpStream, shared: Arc<Shared>, door: Arc<Door>, place: Place) {
    add(&shared.metrics.connections, 1);
    add(&shared.metrics.postgres_connections, 1);
    postgres::serve(stream, door).await;
    shared.metrics.connections.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    drop(place);
}

/// Whether an accept failed for the fault of the one that connected.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Places for connections, altogether and for each address.
#[derive(Clone)]
struct Places {
    all: Arc<Semaphore>,
    of_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    per_address: usize,
}

impl Places {
    fn new(all: usize, per_address: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), of_address: Arc::default(), per_address }
    }

    fn take(&self, address: IpAddr) -> Option<Place> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut counts = self.of_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place { _permit: permit, address, of_address: Arc::clone(&self.of_address) })
    }
}

/// The place of one connection, given back on drop.
struct Place {
    _permit: OwnedSemaphorePermit,
    address: IpAddr,
    of_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.of_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let places = Places::new(3, 2);
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = places.take(here).unwrap();
        let _second = places.take(here).unwrap();
        assert!(places.take(here).is_none());
        let _third = places.take(there).unwrap();
        assert!(places.take(there).is_none(), "three altogether");
        drop(first);
        assert!(places.take(here).is_some());
        assert_eq!(places.of_address.lock().unwrap().len(), 2);
    }
}
