//! `Ingest`: one call, one or a few commands; the stream of batches is in [`super::stream`].

use std::sync::Arc;

use model::{Command, WriterSequence};
use proto::v1;
use proto::v1::ingest_server::Ingest;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, stream};
use crate::error::ServiceError;
use crate::translate;

pub(super) struct IngestService {
    shared: Arc<Shared>,
}

impl IngestService {
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

    async fn apply_one(&self, command: Result<Command, ServiceError>) -> Result<(), Status> {
        self.apply(command.map(|command| vec![command])).await
    }

    async fn write_one(&self, call: v1::WriteBatchRequest) -> Result<v1::Acknowledgement, ServiceError> {
        let v1::WriteBatchRequest { client_id, batch } = call;
        let sequenced = batch.ok_or_else(|| ServiceError::field("batch.empty", "batch", "is missing"))?;
        let client_seq = sequenced.client_seq;
        let sequence = if client_id.is_empty() {
            None
        } else {
            let sequence = WriterSequence::new(client_id, client_seq);
            Some(sequence.map_err(|error| ServiceError::at("client_id", &error))?)
        };
        let batch = translate::batch_from_proto(sequenced.batch.unwrap_or_default())?;
        self.shared.check_writable()?;
        let points = batch.point_count() as u64;
        let appended = self.shared.lake.append(batch, sequence).await?.await?;
        stream::count(&self.shared, points, appended);
        Ok(v1::Acknowledgement {
            client_seq,
            duplicate: appended.duplicate,
            points,
            credit_batches: 0,
            credit_bytes: 0,
        })
    }
}

#[tonic::async_trait]
impl Ingest for IngestService {
    async fn create_run(
        &self,
        request: Request<v1::CreateRunRequest>,
    ) -> Result<Response<v1::CreateRunResponse>, Status> {
        let now = self.shared.lake.now_micros();
        self.apply(translate::create_run_from_proto(request.into_inner(), now)).await?;
        Ok(Response::new(v1::CreateRunResponse {}))
    }

    async fn update_run(
        &self,
        request: Request<v1::UpdateRunRequest>,
    ) -> Result<Response<v1::UpdateRunResponse>, Status> {
        self.apply_one(translate::update_run_from_proto(request.into_inner())).await?;
        Ok(Response::new(v1::UpdateRunResponse {}))
    }

    async fn finish_run(
        &self,
        request: Request<v1::FinishRunRequest>,
    ) -> Result<Response<v1::FinishRunResponse>, Status> {
        let now = self.shared.lake.now_micros();
        self.apply_one(translate::finish_run_from_proto(request.into_inner(), now)).await?;
        Ok(Response::new(v1::FinishRunResponse {}))
    }

    async fn set_params(
        &self,
        request: Request<v1::SetParamsRequest>,
    ) -> Result<Response<v1::SetParamsResponse>, Status> {
        self.apply_one(translate::set_params_from_proto(request.into_inner())).await?;
        Ok(Response::new(v1::SetParamsResponse {}))
    }

    async fn set_tags(
        &self,
        request: Request<v1::SetTagsRequest>,
    ) -> Result<Response<v1::SetTagsResponse>, Status> {
        self.apply_one(translate::set_tags_from_proto(request.into_inner())).await?;
        Ok(Response::new(v1::SetTagsResponse {}))
    }

    async fn delete_tags(
        &self,
        request: Request<v1::DeleteTagsRequest>,
    ) -> Result<Response<v1::DeleteTagsResponse>, Status> {
        self.apply_one(translate::delete_tags_from_proto(request.into_inner())).await?;
        Ok(Response::new(v1::DeleteTagsResponse {}))
    }

    async fn update_experiment(
        &self,
        request: Request<v1::UpdateExperimentRequest>,
    ) -> Result<Response<v1::UpdateExperimentResponse>, Status> {
        let now = self.shared.lake.now_micros();
        self.apply_one(translate::experiment_from_proto(request.into_inner(), now)).await?;
        Ok(Response::new(v1::UpdateExperimentResponse {}))
    }

    async fn write_batch(
        &self,
        request: Request<v1::WriteBatchRequest>,
    ) -> Result<Response<v1::WriteBatchResponse>, Status> {
        match self.write_one(request.into_inner()).await {
            Ok(acknowledgement) => {
                Ok(Response::new(v1::WriteBatchResponse { acknowledgement: Some(acknowledgement) }))
            }
            Err(error) => Err(self.shared.refuse(&error)),
        }
    }

    type WriteStream = ReceiverStream<Result<v1::WriteResponse, Status>>;

    async fn write(
        &self,
        request: Request<Streaming<v1::WriteRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        Ok(Response::new(stream::serve(Arc::clone(&self.shared), request)))
    }
}
