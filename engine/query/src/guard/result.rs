//! Limits while rows flow: time, rows and bytes.

use std::pin::Pin;
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::Stream;
use tokio::time::{Instant, Sleep};

use super::limits::QueryLimits;
use crate::error::{QueryError, Result};

/// A result that ends with an error at its limits.
pub(crate) struct LimitedStream {
    inner: Option<SendableRecordBatchStream>,
    schema: SchemaRef,
    deadline: Pin<Box<Sleep>>,
    limits: QueryLimits,
    rows: usize,
    bytes: usize,
    explain: Box<dyn Fn(DataFusionError) -> QueryError + Send>,
}

impl LimitedStream {
    pub(crate) fn new(
        inner: SendableRecordBatchStream,
        started: Instant,
        limits: QueryLimits,
        explain: Box<dyn Fn(DataFusionError) -> QueryError + Send>,
    ) -> Self {
        let schema = inner.schema();
        let deadline = Box::pin(tokio::time::sleep_until(started + limits.time));
        Self { inner: Some(inner), schema, deadline, limits, rows: 0, bytes: 0, explain }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    fn admit(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        self.rows += batch.num_rows();
        self.bytes += batch.get_array_memory_size();
        if let Some(limit) = self.limits.rows.filter(|limit| self.rows > *limit) {
            return Err(QueryError::ResultTooLarge { limit, unit: "rows" });
        }
        if let Some(limit) = self.limits.bytes.filter(|limit| self.bytes > *limit) {
            return Err(QueryError::ResultTooLarge { limit: limit >> 20, unit: "MiB" });
        }
        Ok(batch)
    }
}

impl Stream for LimitedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(inner) = this.inner.as_mut() else { return Poll::Ready(None) };
        let answer = if this.deadline.as_mut().poll(context).is_ready() {
            Some(Err(QueryError::Time { seconds: this.limits.time.as_secs() }))
        } else {
            match Pin::new(inner).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => None,
                Poll::Ready(Some(Ok(batch))) => Some(this.admit(batch)),
                Poll::Ready(Some(Err(error))) => Some(Err((this.explain)(error))),
            }
        };
        if !matches!(answer, Some(Ok(_))) {
            // Dropping the inner stream stops its workers and frees its memory now, not when the caller lets go.
            this.inner = None;
        }
        Poll::Ready(answer)
    }
}
