//! A stream of batches that survives its connections: what is not answered is kept, and sent again in order with the
//! same numbers.

use std::collections::VecDeque;

use model::{PointBatch, WriterSequence};
use prost::Message;
use proto::v1;
use proto::v1::ingest_client::IngestClient;
use proto::v1::write_request::Part as RequestPart;
use proto::v1::write_response::Part as ResponsePart;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::{ClientError, RemoteError, RetryPolicy};
use crate::error::ServiceError;
use crate::grpc::status::status_from_error;
use crate::translate;

/// Messages between this and the connection; the window is what counts.
const OUTGOING: usize = 4;

/// A batch that the server did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedBatch {
    /// Its number.
    pub client_seq: u64,
    /// What the server said.
    pub error: RemoteError,
}

/// What became of batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Batches that are durable.
    pub acknowledged: u64,
    /// Of these, batches that had been written before.
    pub duplicates: u64,
    /// Points in the acknowledged batches that were not duplicates.
    pub points: u64,
    /// Connections that were lost and made again.
    pub reconnects: u64,
    /// Batches that were not taken.
    pub refused: Vec<RefusedBatch>,
}

/// A writer of batches; see [`super::Client::writer`].
pub struct Writer {
    ingest: IngestClient<Channel>,
    retry: RetryPolicy,
    client_id: String,
    next_seq: u64,
    /// Batches without an answer, in order, and how many of the first are under way on this link.
    unanswered: VecDeque<v1::SequencedBatch>,
    sent: usize,
    link: Option<Link>,
    report: WriteReport,
}

/// One connection's stream.
struct Link {
    outgoing: mpsc::Sender<v1::WriteRequest>,
    incoming: Streaming<v1::WriteResponse>,
    credit_batches: u64,
    credit_bytes: u64,
    max_message_bytes: u64,
}

impl Writer {
    pub(super) async fn open(
        ingest: IngestClient<Channel>,
        retry: RetryPolicy,
        client_id: String,
        first_seq: u64,
    ) -> Result<Self, ClientError> {
        // Found here rather than by the server, so that no attempt is made with it.
        WriterSequence::new(client_id.as_str(), first_seq).map_err(|error| {
            ClientError::from_status(status_from_error(&ServiceError::at("client_id", &error)))
        })?;
        let mut writer = Self {
            ingest,
            retry,
            client_id,
            next_seq: first_seq,
            unanswered: VecDeque::new(),
            sent: 0,
            link: None,
            report: WriteReport::default(),
        };
        writer.advance(Goal::Connected).await?;
        Ok(writer)
    }

    /// Sends a batch, once the window has room for it, and returns its number. The batch is durable when
    /// [`Writer::flush`] has returned and does not name it as refused.
    ///
    /// # Errors
    /// [`ClientError::BatchTooLarge`], after which the writer goes on; what the server says, after which the
    /// unanswered batches are still kept and a later call tries again.
    pub async fn send(&mut self, batch: &PointBatch) -> Result<u64, ClientError> {
        let client_seq = self.next_seq;
        let message = v1::SequencedBatch { client_seq, batch: Some(translate::proto_from_batch(batch)) };
        self.advance(Goal::Connected).await?;
        if let Some(Link { max_message_bytes: limit, .. }) = self.link {
            let bytes = request(message.clone()).encoded_len() as u64;
            if bytes > limit {
                return Err(ClientError::BatchTooLarge { bytes, limit });
            }
        }
        self.next_seq += 1;
        self.unanswered.push_back(message);
        self.advance(Goal::Sent).await?;
        Ok(client_seq)
    }

    /// The number of the next batch.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Batches without an answer.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Waits for the answer to every batch and reports what came since the last report.
    ///
    /// # Errors
    /// What the server says when trying again did not help; nothing is forgotten by it.
    pub async fn flush(&mut self) -> Result<WriteReport, ClientError> {
        self.advance(Goal::Answered).await?;
        Ok(std::mem::take(&mut self.report))
    }

    /// As [`Writer::flush`], and ends the stream.
    ///
    /// # Errors
    /// As [`Writer::flush`].
    pub async fn finish(mut self) -> Result<WriteReport, ClientError> {
        let report = self.flush().await?;
        if let Some(Link { outgoing, mut incoming, .. }) = self.link.take() {
            drop(outgoing);
            // All answers are there; how the stream ends changes nothing.
            while let Ok(Some(_)) = incoming.message().await {}
        }
        Ok(report)
    }

    async fn advance(&mut self, goal: Goal) -> Result<(), ClientError> {
        // In a row without an answer in between: a server that takes the stream and no batch is a failing one.
        let (mut failures, mut answered) = (0, self.answered());
        while !self.reached(goal) {
            let Err(error) = self.step(goal).await else { continue };
            self.link = None;
            self.sent = 0;
            let Some(remote) = error.remote().filter(|r| r.asks_to_retry() || r.is_unknown()) else {
                return Err(error);
            };
            failures = if self.answered() > answered { 1 } else { failures + 1 };
            answered = self.answered();
            let Some(pause) = self.retry.pause(failures, remote.retry_after) else { return Err(error) };
            tracing::debug!(%error, ?pause, "the stream of batches broke, connecting again");
            tokio::time::sleep(pause).await;
            self.report.reconnects += 1;
        }
        Ok(())
    }

    fn reached(&self, goal: Goal) -> bool {
        self.link.is_some()
            && match goal {
                Goal::Connected => true,
                Goal::Sent => self.sent == self.unanswered.len(),
                Goal::Answered => self.unanswered.is_empty(),
            }
    }

    fn answered(&self) -> u64 {
        self.report.acknowledged + self.report.refused.len() as u64
    }

    /// Connects, or sends what fits, or waits for one answer.
    async fn step(&mut self, goal: Goal) -> Result<(), ClientError> {
        let Some(link) = &mut self.link else {
            self.link = Some(Link::open(self.ingest.clone(), &self.client_id).await?);
            return Ok(());
        };
        while let Some(next) = self.unanswered.get(self.sent) {
            let bytes = next.encoded_len() as u64;
            if link.credit_batches == 0 || link.credit_bytes < bytes {
                break;
            }
            if link.outgoing.send(request(next.clone())).await.is_err() {
                // Why it broke stands in what comes in.
                break;
            }
            link.credit_batches -= 1;
            link.credit_bytes -= bytes;
            self.sent += 1;
        }
        if goal == Goal::Sent && self.sent == self.unanswered.len() {
            return Ok(());
        }
        let answer = link.incoming.message().await.map_err(ClientError::from_status)?;
        let Some(answer) = answer else {
            return Err(ClientError::from_status(Status::unavailable("the server ended the stream")));
        };
        match answer.part {
            Some(ResponsePart::Acknowledgement(acknowledgement)) => self.acknowledged(&acknowledgement),
            Some(ResponsePart::Refusal(refusal)) => self.refused(refusal),
            Some(ResponsePart::Window(_)) => Err(ClientError::Protocol { what: "a second window" }),
            // A part of a newer server.
            None => Ok(()),
        }
    }

    fn acknowledged(&mut self, acknowledgement: &v1::Acknowledgement) -> Result<(), ClientError> {
        self.answer(
            acknowledgement.client_seq,
            acknowledgement.credit_batches,
            acknowledgement.credit_bytes,
        )?;
        self.report.acknowledged += 1;
        if acknowledgement.duplicate {
            self.report.duplicates += 1;
        } else {
            self.report.points += acknowledgement.points;
        }
        Ok(())
    }

    fn refused(&mut self, refusal: v1::Refusal) -> Result<(), ClientError> {
        self.answer(refusal.client_seq, refusal.credit_batches, refusal.credit_bytes)?;
        let v1::Refusal { client_seq, reason, message, field, .. } = refusal;
        let field = (!field.is_empty()).then_some(field);
        let code = Code::InvalidArgument;
        let error = RemoteError { code, reason, message, field, position: None, retry_after: None };
        self.report.refused.push(RefusedBatch { client_seq, error });
        Ok(())
    }

    /// Answers come in order, so each one is for the first batch.
    fn answer(&mut self, client_seq: u64, credit_batches: u32, credit_bytes: u64) -> Result<(), ClientError> {
        let first = self.unanswered.front().filter(|_| self.sent > 0);
        if first.is_none_or(|batch| batch.client_seq != client_seq) {
            return Err(ClientError::Protocol {
                what: "an answer for another batch than the first unanswered",
            });
        }
        self.unanswered.pop_front();
        self.sent -= 1;
        if let Some(link) = &mut self.link {
            link.credit_batches = link.credit_batches.saturating_add(u64::from(credit_batches));
            link.credit_bytes = link.credit_bytes.saturating_add(credit_bytes);
        }
        Ok(())
    }
}

/// What to go on for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    Connected,
    Sent,
    Answered,
}

impl Link {
    async fn open(mut ingest: IngestClient<Channel>, client_id: &str) -> Result<Self, ClientError> {
        let (outgoing, receiver) = mpsc::channel(OUTGOING);
        let open = v1::Open { client_id: client_id.to_owned() };
        // The receiver is there, and the channel is empty.
        let _ = outgoing.send(v1::WriteRequest { part: Some(RequestPart::Open(open)) }).await;
        let response = ingest.write(ReceiverStream::new(receiver)).await.map_err(ClientError::from_status)?;
        let mut incoming = response.into_inner();
        match incoming.message().await.map_err(ClientError::from_status)?.and_then(|message| message.part) {
            Some(ResponsePart::Window(window)) => Ok(Self {
                outgoing,
                incoming,
                credit_batches: u64::from(window.batches),
                credit_bytes: window.bytes,
                max_message_bytes: window.max_message_bytes,
            }),
            _ => Err(ClientError::Protocol { what: "a stream that does not begin with its window" }),
        }
    }
}

fn request(batch: v1::SequencedBatch) -> v1::WriteRequest {
    v1::WriteRequest { part: Some(RequestPart::Batch(batch)) }
}
