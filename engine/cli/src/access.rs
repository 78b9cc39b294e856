//! Opening what a command works on: a lake for reading, a lake for writing, or a server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use runlake::query::{Notices, QueryOptions};
use runlake::store::StaleLog;
use runlake::{Lake, LakeOptions, Location};
use server::client::Client;

use crate::arguments::Place;
use crate::exit::UsageError;
use crate::progress::Bar;

/// Rows on their way.
pub(crate) struct Rows {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: BoxStream<'static, anyhow::Result<RecordBatch>>,
    /// What to tell beside the rows; complete when they are taken.
    pub(crate) notices: Notices,
}

impl Rows {
    /// No rows and no columns.
    pub(crate) fn none() -> Self {
        Self {
            schema: Arc::new(arrow::datatypes::Schema::empty()),
            batches: stream::empty().boxed(),
            notices: Notices::default(),
        }
    }
}

/// Where SQL is asked. Clones ask the same.
#[derive(Clone)]
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

    /// Answers a statement; `settings` are given to a server, and are in `options` for a lake.
    pub(crate) async fn query_with(
        &self,
        sql: &str,
        options: QueryOptions,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Rows> {
        match self {
            Self::Lake(lake) => {
                let answer = lake.query(sql, options).await?;
                let batches = answer.batches.map_err(|error| runlake::Error::from(error).into()).boxed();
                Ok(Rows { schema: answer.schema, batches, notices: answer.notices })
            }
            Self::Server(client) => {
                let rows = client.sql_rows(sql, settings).await?;
                let schema = rows.schema();
                let notices = Notices::default();
                let told = notices.clone();
                let batches = stream::try_unfold((rows, told), |(mut rows, told)| async move {
                    let batch = rows.next().await?;
                    if batch.is_none() {
                        let summary = rows.summary();
                        summary.into_iter().flat_map(|s| &s.notices).for_each(|text| told.add(text.clone()));
                    }
                    anyhow::Ok(batch.map(|batch| (batch, (rows, told))))
                });
                Ok(Rows { schema, batches: batches.boxed(), notices })
            }
        }
    }

    /// Ends a statement by its number in `system.queries`; false when none with it waits or runs.
    pub(crate) async fn cancel(&self, id: u64) -> anyhow::Result<bool> {
        match self {
            Self::Lake(lake) => Ok(lake.cancel_query(id)),
            Self::Server(client) => Ok(client.cancel(id).await?),
        }
    }

    pub(crate) async fn query(&self, sql: &str, options: QueryOptions) -> anyhow::Result<Rows> {
        self.query_with(sql, options, &[]).await
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

/// The folder of the lake, for commands that change or copy its files one by one.
pub(crate) fn folder(place: &Place, command: &str) -> anyhow::Result<PathBuf> {
    match location(place)?.folder() {
        Some(folder) => Ok(folder.to_owned()),
        None => Err(UsageError(format!(
            "`{command}` works on a lake in a folder, not on an object store; for {} use what the store itself offers (versions of objects, replication to another bucket)",
            place.lake
        ))
        .into()),
    }
}

/// The lake, open for reading; a server may own it.
pub(crate) async fn read(place: &Place) -> anyhow::Result<Lake> {
    Ok(Lake::open_read_only(&location(place)?).await?)
}

/// The lake, open for writing.
pub(crate) async fn write(place: &Place, owner: &str) -> anyhow::Result<Lake> {
    open(&location(place)?, owner, StaleLog::Refuse).await
}

async fn open(location: &Location, owner: &str, stale_log: StaleLog) -> anyhow::Result<Lake> {
    let bar = Bar::new("reading the log");
    let progress = Some(bar.sink());
    let options =
        LakeOptions { owner: Some(owner.to_owned()), stale_log, progress, ..LakeOptions::default() };
    let opened = Lake::open_with(location, options).await;
    bar.finish();
    Ok(opened?)
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
    open(&location, owner, stale_log).await
}

/// Microseconds since 1970 UTC.
pub(crate) fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
