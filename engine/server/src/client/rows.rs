//! The answer to a statement: chunks of an Arrow stream become record batches.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamDecoder;
use proto::v1;
use proto::v1::sql_response::Part;
use tonic::Streaming;

use super::ClientError;

/// Rows that come as they are asked for. Dropping it cancels the query.
pub struct SqlRows {
    incoming: Streaming<v1::SqlResponse>,
    decoder: StreamDecoder,
    ready: VecDeque<RecordBatch>,
    schema: SchemaRef,
    summary: Option<v1::SqlSummary>,
}

/// All rows of an answer.
#[derive(Debug, Clone)]
pub struct SqlAnswer {
    /// The schema of the rows.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// How many, how long, and what to know.
    pub summary: v1::SqlSummary,
}

impl SqlRows {
    pub(super) async fn begin(incoming: Streaming<v1::SqlResponse>) -> Result<Self, ClientError> {
        let schema = SchemaRef::new(arrow::datatypes::Schema::empty());
        let (decoder, ready) = (StreamDecoder::new(), VecDeque::new());
        let mut rows = Self { incoming, decoder, ready, schema, summary: None };
        loop {
            if let Some(schema) = rows.decoder.schema() {
                rows.schema = schema;
                return Ok(rows);
            }
            if !rows.receive().await? {
                return Err(ClientError::Protocol { what: "an answer without a schema" });
            }
        }
    }

    /// The schema of all rows.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// The next rows, `None` after the last.
    ///
    /// # Errors
    /// What the server says, and an answer that ends before its summary.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, ClientError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if self.summary.is_some() {
                return Ok(None);
            }
            if !self.receive().await? {
                return Err(ClientError::Protocol { what: "an answer that ends before its summary" });
            }
        }
    }

    /// What the server says of the whole answer; after the last rows.
    pub fn summary(&self) -> Option<&v1::SqlSummary> {
        self.summary.as_ref()
    }

    /// All rows that are left.
    ///
    /// # Errors
    /// As [`SqlRows::next`].
    pub async fn collect(mut self) -> Result<SqlAnswer, ClientError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(SqlAnswer { schema: self.schema, batches, summary: self.summary.unwrap_or_default() })
    }

    /// Takes one message in; false at the end.
    async fn receive(&mut self) -> Result<bool, ClientError> {
        match self.incoming.message().await.map_err(ClientError::from_status)? {
            None => return Ok(false),
            Some(v1::SqlResponse { part: Some(Part::ArrowIpc(chunk)) }) => {
                let mut buffer = Buffer::from(chunk);
                while let Some(batch) = self.decoder.decode(&mut buffer)? {
                    self.ready.push_back(batch);
                }
            }
            Some(v1::SqlResponse { part: Some(Part::Summary(summary)) }) => {
                self.decoder.finish()?;
                self.summary = Some(summary);
            }
            // A part of a newer server.
            Some(v1::SqlResponse { part: None }) => {}
        }
        Ok(true)
    }
}
