//! One session: messages in, answers out, one statement at a time.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use bytes::{BufMut, Bytes};
use runlake::query::postgres::{ClientStatement, ClientText, PgKind, PgType, SetValue, split};
use tokio::io::BufReader;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Door;
use super::cancels::Cancellable;
use super::connection_settings::{Changed, ConnectionSettings};
use super::encode::{self, COLUMNS, Rows};
use super::errors::PgError;
use super::frames::{self, Framed, Incoming, Target};
use super::messages::{ColumnDescription, Outgoing, Transaction};
use super::parameters;
use super::portals::{Open, Portal, PortalState, Portals, Prepared, Statements, is_binary};
use super::start::Started;
use crate::error::ServiceError;
use crate::grpc::Shared;
use crate::metrics::add;
use crate::service::{Description, Dialect, QueryPart, Statement};
use crate::statements::{self, Running};

/// Messages that may wait while a statement runs.
const MESSAGES: usize = 16;
/// Most statements in one text.
const TEXTS: usize = 100;
/// Most rows of an answer, and most bytes.
const ROWS: usize = 1_000_000;
const BYTES: usize = 256 << 20;

/// Why what is being done is not finished.
enum Stop {
    /// The client is told, and the session goes on unless it is fatal.
    Error(PgError),
    /// The connection is over.
    End,
}

impl From<PgError> for Stop {
    fn from(error: PgError) -> Self {
        Self::Error(error)
    }
}

type Done<T = ()> = Result<T, Stop>;

/// Serves a session to its end.
pub(super) async fn run(started: Started, door: Arc<Door>) {
    let Started { incoming, outgoing, settings, cancellable, peer } = started;
    let (sender, messages) = mpsc::channel(MESSAGES);
    let (gone, is_gone) = watch::channel(false);
    let shared = Arc::clone(&door.shared);
    let reader = tokio::spawn(read(incoming, Arc::clone(&shared), sender, gone));
    let mut session = Session {
        shared,
        outgoing,
        settings,
        cancellable,
        peer,
        gone: is_gone,
        transaction: Transaction::None,
        skipping: false,
        statements: Statements::default(),
        portals: Portals::default(),
    };
    session.serve(messages).await;
    reader.abort();
}

/// Reads messages as fast as they are answered, and notices when the client goes away.
async fn read(
    half: OwnedReadHalf,
    shared: Arc<Shared>,
    messages: mpsc::Sender<Result<Framed, PgError>>,
    gone: watch::Sender<bool>,
) {
    let mut half = BufReader::new(half);
    loop {
        let next = frames::next(&mut half, &shared).await;
        let last = !matches!(next, Ok(Some(_)));
        let Some(message) = next.transpose() else { break };
        if messages.send(message).await.is_err() || last {
            break;
        }
    }
    gone.send_replace(true);
}

struct Session {
    shared: Arc<Shared>,
    outgoing: Outgoing,
    settings: ConnectionSettings,
    cancellable: Cancellable,
    peer: String,
    gone: watch::Receiver<bool>,
    transaction: Transaction,
    /// After an error, everything up to the next Sync is left out.
    skipping: bool,
    statements: Statements,
    portals: Portals,
}

impl Session {
    async fn serve(&mut self, mut messages: mpsc::Receiver<Result<Framed, PgError>>) {
        let shared = Arc::clone(&self.shared);
        let mut stop = std::pin::pin!(shared.stop_begun());
        loop {
            let deadline = self.portals.next_deadline();
            let expires = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                biased;
                () = &mut stop => Some(Err(PgError::fatal("57P01", "the server is stopping"))),
                message = messages.recv() => message,
                () = expires => {
                    self.portals.expire();
                    continue;
                }
            };
            let done = match message {
                Some(Ok(framed)) => self.answer(framed.message).await,
                Some(Err(error)) => Err(Stop::Error(PgError { fatal: true, ..error })),
                None => Err(Stop::End),
            };
            let error = match done {
                Ok(()) => continue,
                Err(Stop::End) => match messages.try_recv() {
                    // What could not be read is why the reader ended.
                    Ok(Err(error)) => error,
                    _ => return,
                },
                Err(Stop::Error(error)) => error,
            };
            // Only fatal errors get here.
            add(&self.shared.metrics.requests_refused, 1);
            self.outgoing.error(&PgError { fatal: true, ..error });
            let _ = self.outgoing.send(self.patience()).await;
            return;
        }
    }

    /// Until when a client may take what it is sent while no statement runs.
    fn patience(&self) -> Instant {
        Instant::now() + self.shared.config.statement_time
    }

    async fn send(&mut self) -> Done {
        let deadline = self.patience();
        self.outgoing.send(deadline).await.map_err(|_| Stop::End)
    }

    async fn answer(&mut self, message: Incoming) -> Done {
        match message {
            Incoming::Terminate => return Err(Stop::End),
            Incoming::Sync => {
                self.skipping = false;
                if self.transaction == Transaction::None {
                    self.portals.clear();
                }
                self.outgoing.ready(self.transaction);
                return self.send().await;
            }
            _ if self.skipping => return Ok(()),
            Incoming::Query(sql) => {
                add(&self.shared.metrics.requests, 1);
                let done = self.simple(&sql).await;
                self.told(done)?;
                self.outgoing.ready(self.transaction);
                return self.send().await;
            }
            Incoming::FunctionCall => {
                let done = Err(PgError::new("0A000", "calls of functions by number are not offered").into());
                self.told(done)?;
                self.outgoing.ready(self.transaction);
                return self.send().await;
            }
            Incoming::Flush => return self.send().await,
            Incoming::Copy => return Ok(()),
            extended => {
                add(&self.shared.metrics.requests, 1);
                let done = self.extended(extended).await;
                self.skipping = matches!(done, Err(Stop::Error(_)));
                self.told(done)?;
            }
        }
        if self.outgoing.is_enough() { self.send().await } else { Ok(()) }
    }

    /// Tells the client of an error; only what ends the connection goes on.
    fn told(&mut self, done: Done) -> Done {
        match done {
            Err(Stop::Error(error)) if !error.fatal => {
                add(&self.shared.metrics.requests_refused, 1);
                if self.transaction == Transaction::Begun {
                    self.transaction = Transaction::Failed;
                }
                self.outgoing.error(&error);
                Ok(())
            }
            done => done,
        }
    }

    // The simple protocol.

    async fn simple(&mut self, sql: &str) -> Done {
        self.check_size(sql)?;
        self.portals.remove("");
        let texts = split(sql);
        if texts.is_empty() {
            self.outgoing.empty_query();
            return Ok(());
        }
        if texts.len() > TEXTS {
            let what = format!("{} statements at once, at most {TEXTS} are taken", texts.len());
            return Err(PgError::new("54001", what).into());
        }
        for text in &texts {
            self.simple_statement(text).await?;
        }
        Ok(())
    }

    fn check_size(&self, sql: &str) -> Result<(), PgError> {
        let limit = self.shared.config.sql_bytes;
        if sql.len() > limit {
            let what = format!("the statement has {} bytes, at most {limit} are taken", sql.len());
            return Err(PgError::new("54000", what));
        }
        Ok(())
    }

    async fn simple_statement(&mut self, text: &ClientText) -> Done {
        if let ClientStatement::Fetch { name, most } = &text.statement {
            self.check_transaction()?;
            self.describe_cursor(name, &[]).await?;
            return self.fetch(name, *most, &[]).await;
        }
        if text.statement != ClientStatement::Query {
            if let Some(columns) = shown_columns(&text.statement) {
                self.outgoing.row_description(&columns);
            }
            return self.for_connection(text, Vec::new()).await;
        }
        self.check_transaction()?;
        let running = self.begin(text, Vec::new()).await?;
        check_width(&running)?;
        let columns = encode::describe(&running.schema, |_| false);
        self.outgoing.row_description(&columns);
        let mut open = Open::new(running);
        let rows = self.deliver(&mut open, &[], 0, text).await?.0;
        self.outgoing.command_complete(&tag(&text.sql, rows));
        Ok(())
    }

    fn check_transaction(&self) -> Result<(), PgError> {
        if self.transaction == Transaction::Failed {
            let what = "the transaction has failed: nothing is done until it is rolled back";
            return Err(PgError::new("25P02", what));
        }
        Ok(())
    }

    // Statements.

    /// A statement of this connection: the one place where they are made.
    fn statement(&self, sql: &str, parameters: Vec<ArrayRef>) -> Statement {
        Statement {
            sql: sql.to_owned(),
            caller: self.peer.clone(),
            settings: self.settings.ours().clone(),
            timeout: self.settings.time(self.shared.config.statement_time),
            dialect: Dialect::Postgres,
            parameters,
        }
    }

    async fn begin(&mut self, text: &ClientText, parameters: Vec<ArrayRef>) -> Done<Running> {
        let statement = self.statement(&text.sql, parameters);
        let Self { shared, cancellable, gone, .. } = self;
        cancellable.requests.mark_unchanged();
        tokio::select! {
            begun = statements::begin(shared, statement) => {
                begun.map_err(|error| PgError::of(&error, &text.sql, text.offset).into())
            }
            stop = interrupted(&mut cancellable.requests, gone) => Err(stop),
        }
    }

    async fn describe(&mut self, text: &ClientText, oids: &[u32]) -> Done<Description> {
        let declared = oids.iter().map(|oid| parameters::declared(*oid)).collect::<Result<Vec<_>, _>>()?;
        let statement = self.statement(&text.sql, Vec::new());
        let Self { shared, cancellable, gone, .. } = self;
        cancellable.requests.mark_unchanged();
        tokio::select! {
            described = statements::describe(shared, statement, declared) => {
                described.map_err(|error| PgError::of(&error, &text.sql, text.offset).into())
            }
            stop = interrupted(&mut cancellable.requests, gone) => Err(stop),
        }
    }

    /// Sends up to `most` rows (0: all); gives back how many, and whether there may be more.
    async fn deliver(
        &mut self,
        open: &mut Open,
        formats: &[i16],
        most: usize,
        text: &ClientText,
    ) -> Done<(usize, bool)> {
        let failed = |error: ServiceError| PgError::of(&error, &text.sql, text.offset);
        let mut sent = 0;
        loop {
            if let Some(rows) = &mut open.rows {
                while rows.at < rows.count {
                    if most > 0 && sent == most {
                        return Ok((sent, true));
                    }
                    if open.sent == ROWS {
                        return Err(failed(too_large(ROWS, "rows")).into());
                    }
                    let before = self.outgoing.waiting();
                    self.outgoing.row(rows.width(), |column, out| rows.put(column, out)).map_err(failed)?;
                    open.bytes += self.outgoing.waiting() - before;
                    if open.bytes > BYTES {
                        return Err(failed(too_large(BYTES >> 20, "MiB")).into());
                    }
                    (rows.at, open.sent, sent) = (rows.at + 1, open.sent + 1, sent + 1);
                    if self.outgoing.is_enough() {
                        let Self { outgoing, cancellable, gone, .. } = self;
                        tokio::select! {
                            written = outgoing.send(open.running.deadline) => written.map_err(|_| Stop::End)?,
                            // Half a buffer may be out: the client cannot be told any more.
                            _ = interrupted(&mut cancellable.requests, gone) => return Err(Stop::End),
                        }
                    }
                }
                open.rows = None;
            }
            let part = tokio::select! {
                part = open.running.next() => part,
                stop = interrupted(&mut self.cancellable.requests, &mut self.gone) => return Err(stop),
            };
            match part {
                None => return Ok((sent, false)),
                Some(Err(error)) => return Err(failed(error).into()),
                Some(Ok(QueryPart::Notice(notice))) => self.outgoing.notice("00000", &notice),
                Some(Ok(QueryPart::Rows(batch))) => {
                    open.rows = Some(Rows::new(&batch, |column| is_binary(formats, column)).map_err(failed)?);
                }
            }
        }
    }

    /// What a statement for the connection does, and its answer.
    async fn for_connection(&mut self, text: &ClientText, parameters: Vec<ArrayRef>) -> Done {
        let (statement, sql) = (&text.statement, text.sql.as_str());
        if !ends_failure(statement) {
            self.check_transaction()?;
        }
        let tag = match statement {
            ClientStatement::Query | ClientStatement::Fetch { .. } => return Ok(()),
            ClientStatement::Declare { name, query } => {
                if self.transaction == Transaction::None {
                    let error = PgError::new("25P01", "a cursor is declared within a transaction");
                    return Err(error.with_hint("BEGIN first.").into());
                }
                let text = Some(Arc::new(query.as_ref().clone()));
                let state = PortalState::Waiting;
                self.portals.add(name.clone(), Portal { text, parameters, formats: Vec::new(), state })?;
                "DECLARE CURSOR"
            }
            ClientStatement::CloseCursor(name) => {
                self.portals.take(name)?;
                "CLOSE CURSOR"
            }
            ClientStatement::Begin => {
                if self.transaction == Transaction::Begun {
                    self.outgoing.notice("25001", "there is already a transaction in progress");
                }
                self.transaction = Transaction::Begun;
                "BEGIN"
            }
            ClientStatement::Commit | ClientStatement::Rollback => {
                let failed = self.transaction == Transaction::Failed;
                if self.transaction == Transaction::None {
                    self.outgoing.notice("25P01", "there is no transaction in progress");
                }
                self.transaction = Transaction::None;
                self.portals.clear();
                if failed || *statement == ClientStatement::Rollback { "ROLLBACK" } else { "COMMIT" }
            }
            ClientStatement::RollbackTo => {
                if self.transaction == Transaction::Failed {
                    self.transaction = Transaction::Begun;
                }
                "ROLLBACK"
            }
            ClientStatement::Copy => {
                let error = PgError::new("0A000", "COPY is not offered: SQL only reads here");
                return Err(error.with_hint("Use SELECT, or Arrow Flight SQL for large results.").into());
            }
            ClientStatement::Set { name, value } => {
                self.set(name, value, sql).await?;
                if sql.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("reset")) {
                    "RESET"
                } else {
                    "SET"
                }
            }
            ClientStatement::Show(name) => {
                let value = self.settings.get(name).ok_or_else(|| {
                    PgError::new("42704", format!("unrecognized configuration parameter \"{name}\""))
                })?;
                self.row_of_texts(&[value]);
                "SHOW"
            }
            ClientStatement::ShowAll => {
                for (name, value) in self.settings.all() {
                    self.row_of_texts(&[name, value, String::new()]);
                }
                "SHOW"
            }
            ClientStatement::Reset(tag) => {
                self.settings.reset();
                if *tag == "DISCARD ALL" {
                    self.statements.clear();
                    self.portals.clear();
                }
                for (name, value) in self.settings.reported() {
                    self.outgoing.parameter_status(name, &value);
                }
                tag
            }
            ClientStatement::Deallocate(name) => match name {
                Some(name) => {
                    self.statements.remove(name);
                    "DEALLOCATE"
                }
                None => {
                    self.statements.clear();
                    "DEALLOCATE ALL"
                }
            },
            ClientStatement::Accepted(tag) => tag,
        };
        self.outgoing.command_complete(tag);
        Ok(())
    }

    /// Describes the rows of a cursor.
    async fn describe_cursor(&mut self, name: &str, formats: &[i16]) -> Done {
        let mut cursor = self.portals.take(name)?;
        if !formats.is_empty() {
            cursor.formats = formats.to_vec();
        }
        self.describe_portal(&mut cursor).await?;
        self.portals.put_back(name.to_owned(), cursor);
        Ok(())
    }

    /// Sends the next rows of a cursor.
    async fn fetch(&mut self, name: &str, most: Option<usize>, formats: &[i16]) -> Done {
        let mut cursor = self.portals.take(name)?;
        let Some(text) = cursor.text.clone() else { return Ok(()) };
        let mut rows = 0;
        if most != Some(0)
            && let Some(open) = self.opened(&mut cursor, &text).await?
        {
            let more;
            (rows, more) = self.deliver(open, formats, most.unwrap_or(0), &text).await?;
            if !more {
                cursor.state = PortalState::Done;
            }
        }
        self.portals.put_back(name.to_owned(), cursor);
        self.outgoing.command_complete(&format!("FETCH {rows}"));
        Ok(())
    }

    fn row_of_texts(&mut self, values: &[String]) {
        let written: Result<(), std::convert::Infallible> = self.outgoing.row(values.len(), |column, out| {
            out.put_slice(values.get(column).map_or(&b""[..], |value| value.as_bytes()));
            Ok(true)
        });
        let Ok(()) = written;
    }

    async fn set(&mut self, name: &str, value: &SetValue, sql: &str) -> Done {
        match self.settings.set(name, value)? {
            Changed::Quietly => {}
            Changed::Reported(name, value) => self.outgoing.parameter_status(name, &value),
            Changed::Ours(key, value) => {
                // The lake knows its settings and their values.
                let text = ClientText { sql: sql.to_owned(), offset: 0, statement: ClientStatement::Query };
                drop(self.begin(&text, Vec::new()).await?);
                self.settings.accept(key, value);
            }
        }
        Ok(())
    }

    // The extended protocol.

    async fn extended(&mut self, message: Incoming) -> Done {
        match message {
            Incoming::Parse { name, sql, types } => self.parse(name, &sql, types),
            Incoming::Bind { portal, statement, formats, values, results } => {
                self.bind(portal, &statement, &formats, &values, results).await
            }
            Incoming::Describe(Target::Statement(name)) => self.describe_statement(&name).await,
            Incoming::Describe(Target::Portal(name)) => self.with_portal(name, None).await,
            Incoming::Execute { portal, most } => self.with_portal(portal, Some(most as usize)).await,
            Incoming::Close(target) => {
                match target {
                    Target::Statement(name) => self.statements.remove(&name),
                    Target::Portal(name) => self.portals.remove(&name),
                }
                self.outgoing.close_complete();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn parse(&mut self, name: String, sql: &str, types: Vec<u32>) -> Done {
        self.check_size(sql)?;
        let mut texts = split(sql);
        if texts.len() > 1 {
            return Err(PgError::new("42601", "a prepared statement is one statement").into());
        }
        let text = texts.pop().map(Arc::new);
        if !text.as_ref().is_some_and(|text| ends_failure(&text.statement)) {
            self.check_transaction()?;
        }
        self.statements.add(name, Prepared { text, oids: types.into(), described: None })?;
        self.outgoing.parse_complete();
        Ok(())
    }

    /// What a prepared statement takes and gives; `None` when it is not one for the engine.
    async fn described(&mut self, name: &str) -> Done<Option<Arc<Description>>> {
        let prepared = self.statements.get(name)?.clone();
        if let Some(described) = prepared.described {
            return Ok(Some(described));
        }
        let Some(text) = prepared.text else { return Ok(None) };
        let text = match &text.statement {
            ClientStatement::Query => text.as_ref(),
            ClientStatement::Declare { query, .. } => query.as_ref(),
            _ => return Ok(None),
        };
        let described = Arc::new(self.describe(text, &prepared.oids).await?);
        self.statements.set_description(name, Arc::clone(&described));
        Ok(Some(described))
    }

    async fn describe_statement(&mut self, name: &str) -> Done {
        let described = self.described(name).await?;
        let prepared = self.statements.get(name)?;
        let Some(described) = described else {
            let columns = prepared.text.as_ref().and_then(|text| shown_columns(&text.statement));
            self.outgoing.parameter_description(&[]);
            match columns {
                Some(columns) => self.outgoing.row_description(&columns),
                None => self.outgoing.no_data(),
            }
            return Ok(());
        };
        let oid = |(at, data_type): (usize, &arrow::datatypes::DataType)| {
            let declared = prepared.oids.get(at).copied().filter(|oid| *oid != 0);
            declared.unwrap_or_else(|| PgType::of(&Field::new("", data_type.clone(), true)).oid())
        };
        let oids: Vec<u32> = described.parameters.iter().enumerate().map(oid).collect();
        self.outgoing.parameter_description(&oids);
        let declares = prepared
            .text
            .as_ref()
            .is_some_and(|text| matches!(text.statement, ClientStatement::Declare { .. }));
        match &described.columns {
            Some(columns) if !declares => {
                self.outgoing.row_description(&encode::describe(columns, |_| false))
            }
            _ => self.outgoing.no_data(),
        }
        Ok(())
    }

    async fn bind(
        &mut self,
        portal: String,
        statement: &str,
        formats: &[i16],
        values: &[Option<Bytes>],
        results: Vec<i16>,
    ) -> Done {
        let (text, oids) = {
            let prepared = self.statements.get(statement)?;
            (prepared.text.clone(), Arc::clone(&prepared.oids))
        };
        let refuse = |what: String| Stop::Error(PgError::new("08P01", what));
        if formats.len() > 1 && formats.len() != values.len() {
            return Err(refuse(format!("{} formats for {} values", formats.len(), values.len())));
        }
        if formats.iter().chain(&results).any(|format| !matches!(format, 0 | 1)) {
            return Err(Stop::Error(PgError::new("22023", "a format is 0 for text or 1 for binary")));
        }
        let mut parameters = Vec::new();
        if !values.is_empty() || !oids.is_empty() {
            let described = self.described(statement).await?;
            let types = described.as_ref().map_or(&[][..], |described| &described.parameters);
            if types.len() != values.len() {
                return Err(refuse(format!("{} values for {} parameters", values.len(), types.len())));
            }
            for (at, (value, data_type)) in values.iter().zip(types).enumerate() {
                let oid = oids.get(at).copied().unwrap_or(0);
                let binary = is_binary(formats, at);
                parameters.push(parameters::value(value.as_ref(), binary, oid, data_type, at + 1)?);
            }
        }
        let state = PortalState::Waiting;
        self.portals.add(portal, Portal { text, parameters, formats: results, state })?;
        self.outgoing.bind_complete();
        Ok(())
    }

    /// Describes a portal, or executes it and sends up to so many rows.
    async fn with_portal(&mut self, name: String, execute: Option<usize>) -> Done {
        let mut portal = self.portals.take(&name)?;
        let done = match execute {
            None => self.describe_portal(&mut portal).await,
            Some(most) => self.execute(&mut portal, most).await,
        };
        if done.is_ok() {
            self.portals.put_back(name, portal);
        }
        done
    }

    /// A portal whose statement has begun; its columns are known then, and nothing is planned twice.
    async fn opened<'a>(&mut self, portal: &'a mut Portal, text: &ClientText) -> Done<Option<&'a mut Open>> {
        if matches!(portal.state, PortalState::Waiting) {
            self.check_transaction()?;
            let running = self.begin(text, std::mem::take(&mut portal.parameters)).await?;
            check_width(&running)?;
            let (asked, have) = (portal.formats.len(), running.schema.fields().len());
            if asked > 1 && asked != have {
                return Err(PgError::new("08P01", format!("{asked} formats for {have} columns")).into());
            }
            portal.state = PortalState::Running(Box::new(Open::new(running)));
        }
        Ok(match &mut portal.state {
            PortalState::Running(open) => Some(open),
            _ => None,
        })
    }

    async fn describe_portal(&mut self, portal: &mut Portal) -> Done {
        let Some(text) = portal.text.clone() else {
            self.outgoing.no_data();
            return Ok(());
        };
        if let ClientStatement::Fetch { name, .. } = &text.statement {
            let formats = portal.formats.clone();
            // A cursor has a query, so this goes no deeper.
            return Box::pin(self.describe_cursor(name, &formats)).await;
        }
        if text.statement != ClientStatement::Query {
            match shown_columns(&text.statement) {
                Some(columns) => self.outgoing.row_description(&columns),
                None => self.outgoing.no_data(),
            }
            return Ok(());
        }
        let formats = portal.formats.clone();
        match self.opened(portal, &text).await? {
            Some(open) => {
                let columns = encode::describe(&open.running.schema, |column| is_binary(&formats, column));
                self.outgoing.row_description(&columns);
            }
            None => self.outgoing.no_data(),
        }
        Ok(())
    }

    async fn execute(&mut self, portal: &mut Portal, most: usize) -> Done {
        let Some(text) = portal.text.clone() else {
            self.outgoing.empty_query();
            return Ok(());
        };
        if let ClientStatement::Fetch { name, most } = &text.statement {
            let formats = portal.formats.clone();
            return self.fetch(name, *most, &formats).await;
        }
        if text.statement != ClientStatement::Query {
            return self.for_connection(&text, std::mem::take(&mut portal.parameters)).await;
        }
        let formats = portal.formats.clone();
        let Some(open) = self.opened(portal, &text).await? else {
            self.outgoing.command_complete(&tag(&text.sql, 0));
            return Ok(());
        };
        let (rows, more) = self.deliver(open, &formats, most, &text).await?;
        if more {
            self.outgoing.portal_suspended();
        } else {
            portal.state = PortalState::Done;
            self.outgoing.command_complete(&tag(&text.sql, rows));
        }
        Ok(())
    }
}

/// Completes when the statement has to end: the client cancels it, or is gone.
async fn interrupted(requests: &mut watch::Receiver<u64>, gone: &mut watch::Receiver<bool>) -> Stop {
    tokio::select! {
        Ok(()) = requests.changed() => Stop::Error(PgError::new("57014", "the statement was cancelled")),
        _ = gone.wait_for(|gone| *gone) => Stop::End,
    }
}

/// Whether a statement may come after an error in a transaction.
fn ends_failure(statement: &ClientStatement) -> bool {
    matches!(statement, ClientStatement::Commit | ClientStatement::Rollback | ClientStatement::RollbackTo)
}

fn check_width(running: &Running) -> Result<(), PgError> {
    let width = running.schema.fields().len();
    if width > COLUMNS {
        return Err(PgError::new(
            "54011",
            format!("the result has {width} columns, at most {COLUMNS} are sent"),
        ));
    }
    Ok(())
}

fn too_large(limit: usize, unit: &str) -> ServiceError {
    ServiceError::TooLarge {
        reason: "sql.result_too_large",
        message: format!(
            "the result is larger than {limit} {unit}: add a LIMIT, or aggregate; Flight SQL has no such limit"
        ),
    }
}

/// The columns of what `SHOW` gives.
fn shown_columns(statement: &ClientStatement) -> Option<Vec<ColumnDescription>> {
    let text = PgType::scalar(PgKind::Text);
    let column = |name: &str| ColumnDescription {
        name: name.to_owned(),
        oid: text.oid(),
        length: text.length(),
        binary: false,
    };
    match statement {
        ClientStatement::Show(name) => Some(vec![column(name)]),
        ClientStatement::ShowAll => Some(vec![column("name"), column("setting"), column("description")]),
        _ => None,
    }
}

/// What a statement is called when it is complete.
fn tag(sql: &str, rows: usize) -> String {
    let word =
        sql.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or_default();
    match word.to_uppercase().as_str() {
        "EXPLAIN" => "EXPLAIN".to_owned(),
        "SHOW" | "DESCRIBE" | "DESC" => "SHOW".to_owned(),
        _ => format!("SELECT {rows}"),
    }
}
