//! `Admin`: care of the lake, decisions, notes and records.

use std::sync::Arc;

use model::Command;
use proto::v1;
use proto::v1::admin_server::Admin;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{Shared, status};
use crate::error::ServiceError;
use crate::service::{Flushed, LakeStatus, Problem, Readiness, Verified};
use crate::translate;

pub(super) struct AdminService {
    shared: Arc<Shared>,
}

impl AdminService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn apply(&self, commands: Result<Vec<Command>, ServiceError>) -> Result<(), Status> {
        let applied = async {
            let commands = commands?;
            self.shared.check_writable()?;
            self.shared.lake.apply(commands).await
        };
        applied.await.map_err(|error| self.shared.refuse(&error))
    }

    fn state(&self) -> v1::ServerState {
        if self.shared.stopping() {
            return v1::ServerState::Stopping;
        }
        match self.shared.lake.readiness() {
            Readiness::Ready => v1::ServerState::Ready,
            Readiness::Recovering { .. } => v1::ServerState::Recovering,
            Readiness::ReadOnly { .. } => v1::ServerState::ReadOnly,
        }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn flush(&self, _: Request<v1::FlushRequest>) -> Result<Response<v1::FlushResponse>, Status> {
        let begun = Instant::now();
        let flushed = async {
            self.shared.check_writable()?;
            self.shared.lake.flush().await
        };
        let Flushed { points, tables } = flushed.await.map_err(|error| self.shared.refuse(&error))?;
        Ok(Response::new(v1::FlushResponse { points, tables, elapsed_micros: micros_since(begun) }))
    }

    async fn verify(&self, _: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyResponse>, Status> {
        let verified = self.shared.lake.verify().await;
        let Verified { files, bytes, log_records, problems } =
            verified.map_err(|error| self.shared.refuse(&error))?;
        let problems = problems
            .into_iter()
            .map(|Problem { place, message }| v1::Problem { place, message: status::shortened(&message) });
        Ok(Response::new(v1::VerifyResponse { files, bytes, log_records, problems: problems.collect() }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let held = self.shared.lake.status().await.map_err(|error| self.shared.refuse(&error))?;
        let LakeStatus {
            version,
            lake,
            projects,
            experiments,
            runs,
            series,
            points,
            unflushed_points,
            log_bytes,
        } = held;
        Ok(Response::new(v1::StatusResponse {
            version,
            lake,
            state: self.state().into(),
            uptime_micros: micros_since(self.shared.started),
            projects,
            experiments,
            runs,
            series,
            points,
            unflushed_points,
            log_bytes,
        }))
    }

    async fn decide(
        &self,
        request: Request<v1::DecideRequest>,
    ) -> Result<Response<v1::DecideResponse>, Status> {
        let now = self.shared.lake.now_micros();
        self.apply(translate::decide_from_proto(request.into_inner(), now).map(|c| vec![c])).await?;
        Ok(Response::new(v1::DecideResponse {}))
    }

    async fn add_note(
        &self,
        request: Request<v1::AddNoteRequest>,
    ) -> Result<Response<v1::AddNoteResponse>, Status> {
        let now = self.shared.lake.now_micros();
        self.apply(translate::add_note_from_proto(request.into_inner(), now).map(|c| vec![c])).await?;
        Ok(Response::new(v1::AddNoteResponse {}))
    }

    async fn change_views(
        &self,
        request: Request<v1::ChangeViewsRequest>,
    ) -> Result<Response<v1::ChangeViewsResponse>, Status> {
        let sql = request.into_inner().sql;
        let changed = async {
            self.shared.check_writable()?;
            self.shared.lake.change_views(&sql).await
        };
        changed.await.map_err(|error| self.shared.refuse(&error))?;
        Ok(Response::new(v1::ChangeViewsResponse {}))
    }

    async fn put_records(
        &self,
        request: Request<v1::PutRecordsRequest>,
    ) -> Result<Response<v1::PutRecordsResponse>, Status> {
        let now = self.shared.lake.now_micros();
        let records = translate::put_records_from_proto(request.into_inner(), now);
        let ids = records.iter().flatten().map(|record| record.id.to_string()).collect();
        self.apply(records.map(|records| records.into_iter().map(Command::PutRecord).collect())).await?;
        Ok(Response::new(v1::PutRecordsResponse { ids }))
    }

    async fn remove_record(
        &self,
        request: Request<v1::RemoveRecordRequest>,
    ) -> Result<Response<v1::RemoveRecordResponse>, Status> {
        self.apply(translate::remove_record_from_proto(request.into_inner()).map(|c| vec![c])).await?;
        Ok(Response::new(v1::RemoveRecordResponse {}))
    }
}

fn micros_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}
