//! The services of `runlake.v1`: `Ingest`, `Query`, `Admin`.

mod admin;
mod budget;
mod gate;
mod ingest;
mod query;
pub mod status;
mod stream;

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::Router;
use proto::v1::admin_server::AdminServer;
use proto::v1::ingest_server::IngestServer;
use proto::v1::query_server::QueryServer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tonic::Status;
use tonic::service::Routes;

use crate::config::ServerConfig;
use crate::error::ServiceError;
use crate::flight::Flight;
use crate::metrics::{Metrics, add};
use crate::service::{LakeService, Readiness};
use budget::Budget;
pub(crate) use gate::panicked;

/// Statements that are described at once.
const DESCRIPTIONS: usize = 8;

/// What all handlers share.
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) lake: Arc<dyn LakeService>,
    pub(crate) metrics: Metrics,
    pub(crate) started: Instant,
    budget: Budget,
    descriptions: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(config: ServerConfig, lake: Arc<dyn LakeService>) -> Self {
        Self {
            budget: Budget::new(&config),
            descriptions: Arc::new(Semaphore::new(DESCRIPTIONS)),
            lake,
            metrics: Metrics::default(),
            started: Instant::now(),
            stop: watch::Sender::new(false),
            config,
        }
    }

    /// From here on nothing new is begun.
    pub(crate) fn begin_stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Completes when the server begins to stop.
    pub(crate) async fn stop_begun(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Refuses writes while the lake cannot take them.
    fn check_writable(&self) -> Result<(), ServiceError> {
        let retry_after = std::time::Duration::from_secs(5);
        match self.lake.readiness() {
            Readiness::Ready => Ok(()),
            Readiness::Recovering { progress } => Err(ServiceError::Unavailable {
                reason: "server.starting",
                message: format!(
                    "the lake reads its log after a start ({progress}); try again in a few seconds"
                ),
                retry_after,
            }),
            Readiness::ReadOnly { why } => Err(ServiceError::Unavailable {
                reason: "lake.read_only",
                message: format!("the lake takes no writes: {why}"),
                retry_after,
            }),
        }
    }

    /// A place among the statements that are described: they are planned without a turn among those that run.
    pub(crate) async fn description_place(&self) -> Result<OwnedSemaphorePermit, ServiceError> {
        let wait = self.config.permit_wait;
        match tokio::time::timeout(wait, Arc::clone(&self.descriptions).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(ServiceError::Busy {
                reason: "server.busy",
                message: format!("{DESCRIPTIONS} statements are being described; try again"),
                retry_after: wait,
            }),
        }
    }

    /// A place for the bytes of one message that is about to be read.
    pub(crate) async fn message_place(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ServiceError> {
        self.budget.message(bytes).await
    }

    /// The status for an error, counted.
    pub(crate) fn refuse(&self, error: &ServiceError) -> Status {
        add(&self.metrics.requests_refused, 1);
        status::status_from_error(error)
    }
}

/// The services of `runlake.v1` and Flight SQL behind the gate.
pub(crate) fn routes(shared: &Arc<Shared>) -> Router {
    let message_bytes = shared.config.message_bytes;
    let ingest = IngestServer::new(ingest::IngestService::new(Arc::clone(shared)));
    let query = QueryServer::new(query::QueryService::new(Arc::clone(shared)));
    let admin = AdminServer::new(admin::AdminService::new(Arc::clone(shared)));
    let routes = Routes::new(ingest.max_decoding_message_size(message_bytes))
        .add_service(query.max_decoding_message_size(message_bytes))
        .add_service(admin.max_decoding_message_size(message_bytes))
        .add_service(
            FlightServiceServer::new(Flight::new(Arc::clone(shared)))
                .max_decoding_message_size(message_bytes),
        );
    routes.into_axum_router().layer(axum::middleware::from_fn_with_state(Arc::clone(shared), gate::pass))
}
