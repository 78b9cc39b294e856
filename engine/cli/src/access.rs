//! Opening what a command works on: a lake for reading, a lake for writing, or a server.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use runlake::query::{QueryOptions, Settings};
use runlake::store::StaleLog;
use runlake::{Lake, LakeOptions, Location};
use server::client::Client;

use crate::arguments::Place;
use crate::exit::UsageError;

/// Rows on their way.
pub(crate) struct Rows {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: BoxStream<'static, anyhow::Result<RecordBatch>>,
    /// After `SET`: what to give to the next statements.
    pub(crate) settings: Option<Settings>,
}

/// Where SQL is asked.
pub(crate) enum Source {
    Lake(Lake),
    Server(Box<Client>),
}

impl Source {
    /// The server when one is named, else the lake, open for reading.
    pub(crate) async fn open(place: &Place) -> anyhow::Result<Self> {
        match &place.url {
            Some(url) => Ok(Self::Server(Box::new(connect(url).await?))),
            None => Ok(Self::Lake(read(place).await?)),
        }
    }

    pub(crate) async fn query(&self, sql: &str, options: QueryOptions) -> anyhow::Result<Rows> {
        match self {
            Self::Lake(lake) => {
                let answer = lake.query(sql, options).await?;
                let batches = answer.batches.map_err(|error| runlake::Error::from(error).into()).boxed();
                Ok(Rows { schema: answer.schema, batches, settings: answer.settings })
            }
            Self::Server(client) => {
                let rows = client.sql_rows(sql, &[]).await?;
                let schema = rows.schema();
                let batches = stream::try_unfold(rows, |mut rows| async move {
                    let batch = rows.next().await?;
                    anyhow::Ok(batch.map(|batch| (batch, rows)))
                });
                Ok(Rows { schema, batches: batches.boxed(), settings: None })
            }
        }
    }

    pub(crate) async fn rows(&self, sql: &str) -> anyhow::Result<Vec<RecordBatch>> {
        let rows = self.query(sql, QueryOptions::default()).await?;
        let schema = rows.schema;
        let mut batches: Vec<RecordBatch> = rows.batches.try_collect().await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    }
}

/// Where the lake is, and its log on this machine.
pub(crate) fn location(place: &Place) -> anyhow::Result<Location> {
    let location = Location::parse(&place.lake).map_err(runlake::Error::from)?;
    Ok(location.with_state_folder(place.state.clone()))
}

/// The lake, open for reading; a server may own it.
pub(crate) async fn read(place: &Place) -> anyhow::Result<Lake> {
    Ok(Lake::open_read_only(&location(place)?).await?)
}

/// The lake, open for writing.
pub(crate) async fn write(place: &Place, owner: &str) -> anyhow::Result<Lake> {
    let options = LakeOptions { owner: Some(owner.to_owned()), ..LakeOptions::default() };
    Ok(Lake::open_with(&location(place)?, options).await?)
}

/// A server.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Client> {
    Client::connect(url).await.with_context(|| format!("cannot reach the server at {url}"))
}

/// For commands that work on a lake only.
pub(crate) fn lake_only(place: &Place, command: &str) -> anyhow::Result<()> {
    match &place.url {
        None => Ok(()),
        Some(url) => Err(UsageError(format!(
            "`{command}` works on a lake (--lake), not yet through a server; leave out --url {url} (and RUNLAKE_URL)"
        ))
        .into()),
    }
}

/// The lake, open for writing; one that is not there is an error, not a new lake.
pub(crate) async fn write_existing(place: &Place, owner: &str) -> anyhow::Result<Lake> {
    write_existing_with(place, owner, StaleLog::Refuse).await
}

/// The same with a choice about a log that missed a take-over.
pub(crate) async fn write_existing_with(
    place: &Place,
    owner: &str,
    stale_log: StaleLog,
) -> anyhow::Result<Lake> {
    let location = location(place)?;
    runlake::store::find(&location).await.map_err(runlake::Error::from)?;
    let options = LakeOptions { owner: Some(owner.to_owned()), stale_log, ..LakeOptions::default() };
    Ok(Lake::open_with(&location, options).await?)
}

/// Microseconds since 1970 UTC.
pub(crate) fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
