//! A client of the server: calls, SQL as record batches, and a writer that sends again what was not answered.
//!
//! The wire stays inside: arguments and answers are words of `model` and of Arrow.

mod error;
mod rows;
mod writer;

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{Command, PointBatch, RecordUpdate, WriterSequence};
use proto::v1;
use proto::v1::admin_client::AdminClient;
use proto::v1::ingest_client::IngestClient;
use proto::v1::query_client::QueryClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

pub use error::{ClientError, RemoteError};
pub use rows::{SqlAnswer, SqlRows};
pub use writer::{RefusedBatch, WriteReport, Writer};

use crate::service::{Appended, Flushed, LakeStatus, Problem, Verified};
use crate::translate::{self, Call};

/// How often and how fast to try again what may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in a row without success, the first included.
    pub attempts: u32,
    /// The pause after the first failure; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 8, first_pause: Duration::from_millis(100), longest_pause: Duration::from_secs(5) }
    }
}

impl RetryPolicy {
    /// The pause after a number of failures in a row, from 1; `None` when no attempt is left.
    fn pause(&self, failures: u32, asked: Option<Duration>) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(20));
        Some(doubled.max(asked.unwrap_or_default()).min(self.longest_pause))
    }
}

/// A connection to a server. Clones share it.
///
/// ```no_run
/// # async fn example() -> Result<(), server::client::ClientError> {
/// let client = server::client::Client::connect("http://127.0.0.1:7070").await?;
/// let answer = client.sql("SELECT count(*) FROM runs").await?;
/// println!("{} rows", answer.summary.rows);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    ingest: IngestClient<Channel>,
    query: QueryClient<Channel>,
    admin: AdminClient<Channel>,
    retry: RetryPolicy,
}

/// Bytes of the texts of records that go into one call.
const PART_BYTES: usize = 2 << 20;

/// One attempt of a call of `Ingest`, as a future that owns what it needs.
macro_rules! attempt {
    ($client:ident.$method:ident($message:ident)) => {{
        let mut ingest = $client.ingest.clone();
        async move { ingest.$method($message).await.map(Response::into_inner) }
    }};
}

impl Client {
    /// Connects to `http://HOST:PORT`.
    ///
    /// # Errors
    /// [`ClientError::Url`] and [`ClientError::Connect`].
    pub fn connect<'a>(url: &'a str) -> BoxFuture<'a, Result<Self, ClientError>> {
        async move {
            let endpoint = Endpoint::from_shared(url.to_owned())
                .map_err(|error| ClientError::Url { url: url.to_owned(), reason: error.to_string() })?
                .connect_timeout(Duration::from_secs(10))
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(Duration::from_secs(10))
                .keep_alive_while_idle(true);
            let channel = endpoint
                .connect()
                .await
                .map_err(|source| ClientError::Connect { url: url.to_owned(), source })?;
            Ok(Self {
                ingest: IngestClient::new(channel.clone()),
                query: QueryClient::new(channel.clone()),
                admin: AdminClient::new(channel),
                retry: RetryPolicy::default(),
            })
        }
        .boxed()
    }

    /// With another policy of trying again.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Applies a command and returns when it is durable.
    ///
    /// # Errors
    /// [`ClientError::NotOnTheWire`] for commands that only a lake's own process gives; what the server says.
    pub fn apply<'a>(&'a self, command: Command) -> BoxFuture<'a, Result<(), ClientError>> {
        async move {
            let what = match &command {
                Command::RecordImport(_) => "RecordImport",
                _ => "this command",
            };
            let call = translate::call_from_command(command).ok_or(ClientError::NotOnTheWire { what })?;
            match call {
                Call::CreateRun(message) => {
                    self.repeat(&*message, |m| attempt!(self.create_run(m))).await.map(drop)
                }
                Call::UpdateRun(message) => {
                    self.repeat(&message, |m| attempt!(self.update_run(m))).await.map(drop)
                }
                Call::SetParams(message) => {
                    self.repeat(&message, |m| attempt!(self.set_params(m))).await.map(drop)
                }
                Call::SetTags(message) => {
                    self.repeat(&message, |m| attempt!(self.set_tags(m))).await.map(drop)
                }
                Call::DeleteTags(message) => {
                    self.repeat(&message, |m| attempt!(self.delete_tags(m))).await.map(drop)
                }
                Call::UpdateExperiment(message) => {
                    self.repeat(&message, |m| attempt!(self.update_experiment(m))).await.map(drop)
                }
                // Not idempotent: nothing is tried again whose first attempt may have been done.
                Call::Decide(message) => {
                    self.admin.clone().decide(message).await.map(drop).map_err(ClientError::from_status)
                }
                Call::AddNote(message) => {
                    self.admin.clone().add_note(message).await.map(drop).map_err(ClientError::from_status)
                }
                Call::RemoveRecord(message) => self
                    .admin
                    .clone()
                    .remove_record(message)
                    .await
                    .map(drop)
                    .map_err(ClientError::from_status),
                Call::PutRecords(message) => self.put_part(message).await,
            }
        }
        .boxed()
    }

    /// Makes or changes records and returns when they are durable. Many go in parts; each part is taken whole or not.
    ///
    /// # Errors
    /// What the server says.
    pub fn put_records(&self, records: Vec<RecordUpdate>) -> BoxFuture<'_, Result<(), ClientError>> {
        async move {
            let (mut part, mut bytes) = (Vec::new(), 0);
            for record in records {
                bytes += record.bytes();
                if !part.is_empty() && (part.len() == translate::ENTITIES_PER_CALL || bytes > PART_BYTES) {
                    bytes = record.bytes();
                    self.put_part(v1::PutRecordsRequest { records: std::mem::take(&mut part) }).await?;
                }
                part.push(translate::proto_from_record(record));
            }
            match part.is_empty() {
                true => Ok(()),
                false => self.put_part(v1::PutRecordsRequest { records: part }).await,
            }
        }
        .boxed()
    }

    async fn put_part(&self, message: v1::PutRecordsRequest) -> Result<(), ClientError> {
        let attempt = |message: v1::PutRecordsRequest| {
            let mut admin = self.admin.clone();
            async move { admin.put_records(message).await }
        };
        self.repeat(&message, attempt).await.map(drop)
    }

    /// Does what a `CREATE VIEW` or a `DROP VIEW` says, and returns when it is durable.
    ///
    /// # Errors
    /// What the server says.
    pub async fn change_views(&self, sql: &str) -> Result<(), ClientError> {
        let message = v1::ChangeViewsRequest { sql: sql.to_owned() };
        self.admin.clone().change_views(message).await.map(drop).map_err(ClientError::from_status)
    }

    /// Attempts an idempotent call until it succeeds, is refused for good, or the policy ends.
    async fn repeat<M, R, F>(&self, message: &M, attempt: impl Fn(M) -> F) -> Result<R, ClientError>
    where
        M: Clone,
        F: Future<Output = Result<R, Status>> + Send,
    {
        let mut failures = 0;
        loop {
            let error = match attempt(message.clone()).await {
                Ok(response) => return Ok(response),
                Err(status) => ClientError::from_status(status),
            };
            failures += 1;
            let retry = error.remote().filter(|remote| remote.asks_to_retry() || remote.is_unknown());
            let pause = retry.and_then(|remote| self.retry.pause(failures, remote.retry_after));
            let Some(pause) = pause else { return Err(error) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Writes one batch and returns when it is durable. With a sequence it is tried again where that may help.
    ///
    /// # Errors
    /// What the server says.
    pub fn write_batch<'a>(
        &'a self,
        batch: &'a PointBatch,
        sequence: Option<&'a WriterSequence>,
    ) -> BoxFuture<'a, Result<Appended, ClientError>> {
        async move {
            let message = v1::WriteBatchRequest {
                client_id: sequence.map_or_else(String::new, |s| s.client_id().to_owned()),
                batch: Some(v1::SequencedBatch {
                    client_seq: sequence.map_or(0, WriterSequence::client_seq),
                    batch: Some(translate::proto_from_batch(batch)),
                }),
            };
            let attempt = |m| attempt!(self.write_batch(m));
            let response = match sequence {
                Some(_) => self.repeat(&message, attempt).await?,
                None => attempt(message).await.map_err(ClientError::from_status)?,
            };
            let acknowledgement = response.acknowledgement.ok_or(ClientError::Protocol {
                what: "an answer to WriteBatch without an acknowledgement",
            })?;
            Ok(Appended { duplicate: acknowledgement.duplicate })
        }
        .boxed()
    }

    /// A stream of batches of one writer. Batches get the numbers `first_seq`, `first_seq + 1`, …; a writer that goes
    /// on after a restart of its process goes on with its numbers too.
    ///
    /// # Errors
    /// What the server says.
    pub async fn writer(&self, client_id: &str, first_seq: u64) -> Result<Writer, ClientError> {
        Writer::open(self.ingest.clone(), self.retry, client_id.to_owned(), first_seq).await
    }

    /// Runs a statement; rows come as they are asked for.
    ///
    /// # Errors
    /// What the server says; [`ClientError::Remote`] has the position in the text where that is known.
    pub fn sql_rows<'a>(
        &'a self,
        sql: &'a str,
        settings: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<SqlRows, ClientError>> {
        async move {
            let request = v1::SqlRequest {
                sql: sql.to_owned(),
                settings: settings
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
                timeout_millis: 0,
            };
            let response = self.query.clone().sql(request).await.map_err(ClientError::from_status)?;
            SqlRows::begin(response.into_inner()).await
        }
        .boxed()
    }

    /// Runs a statement and collects its rows.
    ///
    /// # Errors
    /// As [`Client::sql_rows`].
    pub async fn sql(&self, sql: &str) -> Result<SqlAnswer, ClientError> {
        self.sql_rows(sql, &[]).await?.collect().await
    }

    /// Ends a statement by its number in `system.queries`; false when none with it waits or runs.
    ///
    /// # Errors
    /// What the server says.
    pub fn cancel<'a>(&'a self, id: u64) -> BoxFuture<'a, Result<bool, ClientError>> {
        async move {
            let request = v1::CancelRequest { id };
            let response = self.query.clone().cancel(request).await.map_err(ClientError::from_status)?;
            Ok(response.into_inner().found)
        }
        .boxed()
    }

    /// Moves everything acknowledged into table files.
    ///
    /// # Errors
    /// What the server says.
    pub fn flush<'a>(&'a self) -> BoxFuture<'a, Result<Flushed, ClientError>> {
        async move {
            let response =
                self.admin.clone().flush(v1::FlushRequest {}).await.map_err(ClientError::from_status)?;
            let v1::FlushResponse { points, tables, elapsed_micros: _ } = response.into_inner();
            Ok(Flushed { points, tables })
        }
        .boxed()
    }

    /// Checks the lake.
    ///
    /// # Errors
    /// What the server says; problems of the lake are in the answer.
    pub fn verify<'a>(&'a self) -> BoxFuture<'a, Result<Verified, ClientError>> {
        async move {
            let response =
                self.admin.clone().verify(v1::VerifyRequest {}).await.map_err(ClientError::from_status)?;
            let v1::VerifyResponse { files, bytes, log_records, problems } = response.into_inner();
            let problems =
                problems.into_iter().map(|v1::Problem { place, message }| Problem { place, message });
            Ok(Verified { files, bytes, log_records, problems: problems.collect() })
        }
        .boxed()
    }

    /// What the server's lake is and holds, and how long the server has been up.
    ///
    /// # Errors
    /// What the server says.
    pub fn status<'a>(&'a self) -> BoxFuture<'a, Result<(LakeStatus, Duration), ClientError>> {
        async move {
            let response =
                self.admin.clone().status(v1::StatusRequest {}).await.map_err(ClientError::from_status)?;
            let v1::StatusResponse {
                version,
                lake,
                state: _,
                uptime_micros,
                projects,
                experiments,
                runs,
                series,
                points,
                unflushed_points,
                log_bytes,
            } = response.into_inner();
            let held = LakeStatus {
                version,
                lake,
                projects,
                experiments,
                runs,
                series,
                points,
                unflushed_points,
                log_bytes,
            };
            Ok((held, Duration::from_micros(uptime_micros)))
        }
        .boxed()
    }
}
