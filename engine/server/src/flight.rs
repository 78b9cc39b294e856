//! Arrow Flight SQL: statements, prepared statements and what there is to ask, on the port of the other services.
//!
//! `GetFlightInfo` describes and hands out a ticket, `DoGet` runs. Everything that would write, and plans of other
//! engines, is refused.

mod metadata;
mod prepared;
mod tickets;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, Any, Command, DoPutPreparedStatementResult, ProstMessageExt,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, IpcMessage, PollInfo, PutResult, SchemaAsIpc, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::error::ServiceError;
use crate::grpc::Shared;
use crate::metrics::add;
use crate::server::Peer;
use crate::service::{QueryPart, Statement};
use crate::statements;
use prepared::{Prepared, PreparedStatements};
use tickets::{Content, Tickets};

/// Most bytes in one message of an answer.
const MESSAGE_BYTES: usize = 1 << 20;
/// The header fields that begin so are settings of the statement.
const SETTINGS: &str = "runlake.";
/// The action that makes a prepared statement.
const CREATE_PREPARED: &str = "CreatePreparedStatement";
/// The action that forgets one.
const CLOSE_PREPARED: &str = "ClosePreparedStatement";

type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

/// The service.
pub(crate) struct Flight {
    shared: Arc<Shared>,
    tickets: Tickets,
    prepared: PreparedStatements,
}

impl Flight {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, tickets: Tickets::new(), prepared: PreparedStatements::default() }
    }

    fn refuse(&self, error: &ServiceError) -> Status {
        self.shared.refuse(error)
    }

    /// Says that this is not offered here, and what is.
    fn not_offered(&self, what: &str) -> Status {
        add(&self.shared.metrics.requests_refused, 1);
        Status::unimplemented(format!(
            "{what} is not offered: statements, prepared statements and metadata are"
        ))
    }

    fn writes(&self, what: &str) -> Status {
        self.refuse(&ServiceError::Sql {
            reason: "sql.read_only",
            message: format!("{what} is not allowed: SQL only reads here; points come in through Ingest"),
            position: None,
        })
    }

    fn malformed(&self, error: &dyn std::fmt::Display) -> Status {
        self.refuse(&ServiceError::Invalid {
            reason: "request.malformed",
            field: None,
            message: format!("the request is no Flight SQL command: {error}"),
        })
    }

    fn command(&self, bytes: &[u8]) -> Result<Command, Status> {
        let any = Any::decode(bytes).map_err(|error| self.malformed(&error))?;
        Command::try_from(any).map_err(|error| self.malformed(&error))
    }

    /// A statement of this call.
    fn statement(&self, sql: &str, call: &Call<'_>) -> Result<Statement, ServiceError> {
        let config = &self.shared.config;
        ServiceError::check_statement(sql, "query", config.sql_bytes)?;
        let mut settings = BTreeMap::new();
        for entry in call.headers.iter() {
            if let tonic::metadata::KeyAndValueRef::Ascii(key, value) = entry
                && key.as_str().starts_with(SETTINGS)
            {
                let value = value.to_str().map_err(|_| {
                    ServiceError::field("setting.not_text", key.as_str(), "is not plain text")
                })?;
                settings.insert(key.as_str().to_owned(), value.to_owned());
            }
        }
        let (sql, caller, timeout) = (sql.to_owned(), call.peer.clone(), config.statement_time);
        Ok(Statement { sql, caller, settings, timeout, ..Statement::default() })
    }

    fn no_transaction(&self, transaction: Option<&Bytes>) -> Result<(), Status> {
        match transaction {
            Some(_) => Err(self.not_offered("a transaction")),
            None => Ok(()),
        }
    }

    /// The columns of a command's answer, and what its ticket stands for.
    async fn plan(&self, command: Command, call: &Call<'_>) -> Result<(SchemaRef, Content), Status> {
        let refuse = |error: ServiceError| self.refuse(&error);
        match command {
            Command::CommandStatementQuery(query) => {
                self.no_transaction(query.transaction_id.as_ref())?;
                let statement = self.statement(&query.query, call).map_err(refuse)?;
                let described =
                    statements::describe(&self.shared, statement, Vec::new()).await.map_err(refuse)?;
                let columns = open(&described.columns.unwrap_or_else(|| Arc::new(Schema::empty())));
                Ok((columns, Content::Statement(query.query)))
            }
            Command::CommandPreparedStatementQuery(query) => {
                let id = self.prepared_id(&query.prepared_statement_handle, call)?;
                let columns =
                    self.prepared.with(id, |prepared| Arc::clone(&prepared.columns)).map_err(refuse)?;
                Ok((columns, Content::Prepared(id)))
            }
            Command::CommandStatementSubstraitPlan(_) => Err(self.not_offered("a Substrait plan")),
            Command::CommandStatementUpdate(_)
            | Command::CommandPreparedStatementUpdate(_)
            | Command::CommandStatementIngest(_) => Err(self.writes("an update")),
            command => match metadata::columns(&command) {
                Some(columns) => Ok((columns, Content::Metadata(command.into_any().encode_to_vec()))),
                None => Err(self.not_offered("this command")),
            },
        }
    }

    fn prepared_id(&self, handle: &[u8], call: &Call<'_>) -> Result<u128, Status> {
        let caller = call.rights();
        match self.tickets.open(handle, &caller).map_err(|error| self.refuse(&error))? {
            Content::Prepared(id) => Ok(id),
            _ => Err(self.malformed(&"this is no handle of a prepared statement")),
        }
    }

    /// The rows of a statement, as they come.
    async fn run(&self, statement: Statement) -> Result<Answer<FlightData>, Status> {
        let running = statements::begin(&self.shared, statement).await.map_err(|e| self.refuse(&e))?;
        let columns = open(&running.schema);
        let shared = Arc::clone(&self.shared);
        let of = Arc::clone(&columns);
        let batches = statements::delivered(running).filter_map(move |part| {
            future::ready(match part {
                Ok(QueryPart::Rows(batch)) => Some(
                    RecordBatch::try_new(Arc::clone(&of), batch.columns().to_vec())
                        .map_err(FlightError::from),
                ),
                // There is no place for it in the protocol.
                Ok(QueryPart::Notice(notice)) => {
                    tracing::debug!(notice, "notice of a Flight SQL statement");
                    None
                }
                Err(error) => Some(Err(FlightError::from(shared.refuse(&error)))),
            })
        });
        Ok(encoded(columns, batches))
    }

    async fn metadata(&self, command: Command) -> Result<Answer<FlightData>, Status> {
        let rows = metadata::rows(&self.shared, command).await.map_err(|error| self.refuse(&error))?;
        Ok(encoded(rows.schema(), stream::iter([Ok(rows)])))
    }

    async fn create_prepared(
        &self,
        request: ActionCreatePreparedStatementRequest,
        call: &Call<'_>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        self.no_transaction(request.transaction_id.as_ref())?;
        let refuse = |error: ServiceError| self.refuse(&error);
        let statement = self.statement(&request.query, call).map_err(refuse)?;
        let described = statements::describe(&self.shared, statement, Vec::new()).await.map_err(refuse)?;
        let columns = open(&described.columns.unwrap_or_else(|| Arc::new(Schema::empty())));
        let parameters = parameter_schema(&described.parameters);
        let prepared = Prepared::new(request.query, Arc::clone(&columns));
        let id = self.prepared.add(prepared).map_err(refuse)?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: self.tickets.handle(id, &call.rights()).into(),
            dataset_schema: ipc(&columns).map_err(refuse)?,
            parameter_schema: ipc(&parameters).map_err(refuse)?,
        })
    }

    /// Keeps the values of a prepared statement: one row of the stream.
    async fn bind(
        &self,
        handle: Bytes,
        request: Request<impl Stream<Item = Result<FlightData, Status>> + Send + 'static>,
    ) -> Result<Answer<PutResult>, Status> {
        let refuse = |error: ServiceError| self.refuse(&error);
        let id = self.prepared_id(&handle, &Call::of(&request))?;
        let data = request.into_inner().map_err(FlightError::from);
        let mut batches = FlightRecordBatchStream::new_from_flight_data(data);
        let mut values: Option<Vec<ArrayRef>> = None;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| match error {
                FlightError::Tonic(status) => *status,
                error => self.malformed(&error),
            })?;
            if batch.num_rows() == 0 {
                continue;
            }
            if values.is_some() || batch.num_rows() > 1 {
                let what = "have more than one row; give the values of one execution";
                return Err(refuse(ServiceError::field("parameters.rows", "parameters", what)));
            }
            values = Some(batch.columns().to_vec());
        }
        self.prepared.bind(id, values.unwrap_or_default()).map_err(refuse)?;
        let result = DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) };
        let result = PutResult { app_metadata: result.encode_to_vec().into() };
        Ok(stream::iter([Ok(result)]).boxed())
    }
}

/// A call: what it says of itself, and where it comes from.
struct Call<'a> {
    headers: &'a MetadataMap,
    /// For turns and `system.queries`: all connections of a machine are one caller.
    peer: String,
}

impl<'a> Call<'a> {
    fn of<T>(request: &'a Request<T>) -> Self {
        Self::new(request.metadata(), request.extensions())
    }

    fn new(headers: &'a MetadataMap, extensions: &Extensions) -> Self {
        let peer = extensions.get::<Peer>().map_or_else(String::new, |peer| peer.0.ip().to_string());
        Self { headers, peer }
    }

    /// What the call says to prove its rights: tickets are bound to it.
    fn rights(&self) -> Vec<u8> {
        let rights = self.headers.get("authorization");
        rights.map(|value| value.as_encoded_bytes().to_vec()).unwrap_or_default()
    }
}

/// The schema under which rows are announced and sent: whether a column may hold NULL is known for sure only when the
/// statement has been planned to its end, and both must be the same.
fn open(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn parameter_schema(types: &[DataType]) -> Schema {
    let field = |(at, kind): (usize, &DataType)| Field::new(format!("${}", at + 1), kind.clone(), true);
    Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>())
}

fn ipc(schema: &Schema) -> Result<Bytes, ServiceError> {
    let options = IpcWriteOptions::default();
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &options).try_into();
    message.map(|message| message.0).map_err(|error| encoding(&error))
}

fn encoding(error: &dyn std::fmt::Display) -> ServiceError {
    ServiceError::Internal {
        reason: "flight.encoding",
        message: format!("an answer could not be encoded: {error}"),
    }
}

fn encoded(
    columns: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> Answer<FlightData> {
    let encoder = FlightDataEncoderBuilder::new()
        .with_schema(columns)
        .with_max_flight_data_size(MESSAGE_BYTES)
        .with_dictionary_handling(DictionaryHandling::Resend)
        .build(batches);
    encoder
        .map_err(|error| match error {
            FlightError::Tonic(status) => *status,
            error => crate::grpc::status::status_from_error(&encoding(&error)),
        })
        .boxed()
}

#[tonic::async_trait]
impl FlightService for Flight {
    type HandshakeStream = Answer<HandshakeResponse>;
    type ListFlightsStream = Answer<FlightInfo>;
    type DoGetStream = Answer<FlightData>;
    type DoPutStream = Answer<PutResult>;
    type DoActionStream = Answer<arrow_flight::Result>;
    type ListActionsStream = Answer<ActionType>;
    type DoExchangeStream = Answer<FlightData>;

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let command = self.command(&request.get_ref().cmd)?;
        let call = Call::of(&request);
        let (columns, content) = self.plan(command, &call).await?;
        let handle = self.tickets.issue(&content, &call.rights());
        let ticket = TicketStatementQuery { statement_handle: handle.into() };
        let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket.as_any().encode_to_vec()));
        let info = FlightInfo::new()
            .try_with_schema(&columns)
            .map_err(|error| self.refuse(&encoding(&error)))?
            .with_endpoint(endpoint)
            .with_descriptor(request.into_inner());
        Ok(Response::new(info))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let command = self.command(&request.get_ref().cmd)?;
        let (columns, _) = self.plan(command, &Call::of(&request)).await?;
        let options = IpcWriteOptions::default();
        let result: Result<SchemaResult, _> = SchemaAsIpc::new(&columns, &options).try_into();
        result.map(Response::new).map_err(|error| self.refuse(&encoding(&error)))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let refuse = |error: ServiceError| self.refuse(&error);
        let call = &Call::of(&request);
        let handle = match self.command(&request.get_ref().ticket)? {
            Command::TicketStatementQuery(ticket) => ticket.statement_handle,
            _ => return Err(self.malformed(&"a ticket comes from GetFlightInfo")),
        };
        let answer = match self.tickets.open(&handle, &call.rights()).map_err(refuse)? {
            Content::Statement(sql) => self.run(self.statement(&sql, call).map_err(refuse)?).await?,
            Content::Prepared(id) => {
                let (sql, parameters) = self
                    .prepared
                    .with(id, |prepared| (prepared.sql.clone(), prepared.parameters.clone()))
                    .map_err(refuse)?;
                let statement = self.statement(&sql, call).map_err(refuse)?;
                self.run(Statement { parameters, ..statement }).await?
            }
            Content::Metadata(command) => self.metadata(self.command(&command)?).await?,
        };
        Ok(Response::new(answer))
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let (metadata, extensions, mut data) = request.into_parts();
        let Some(first) = data.next().await.transpose()? else {
            return Err(self.malformed(&"the stream is empty"));
        };
        let Some(descriptor) = first.flight_descriptor.clone() else {
            return Err(self.malformed(&"the first message has no descriptor"));
        };
        let data = stream::iter([Ok(first)]).chain(data);
        match self.command(&descriptor.cmd)? {
            Command::CommandPreparedStatementQuery(query) => {
                let request = Request::from_parts(metadata, extensions, data);
                let answer = self.bind(query.prepared_statement_handle, request).await?;
                Ok(Response::new(answer))
            }
            Command::CommandStatementSubstraitPlan(_) => Err(self.not_offered("a Substrait plan")),
            _ => Err(self.writes("an update")),
        }
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let (metadata, extensions, action) = request.into_parts();
        let call = Call::new(&metadata, &extensions);
        let unpack = |error: &dyn std::fmt::Display| self.malformed(error);
        let body = || Any::decode(&*action.body).map_err(|error| unpack(&error));
        match action.r#type.as_str() {
            CREATE_PREPARED => {
                let created: Option<ActionCreatePreparedStatementRequest> =
                    body()?.unpack().map_err(|error| unpack(&error))?;
                let created = created.ok_or_else(|| unpack(&"another message is in it"))?;
                let created = self.create_prepared(created, &call).await?;
                let result = arrow_flight::Result::new(created.as_any().encode_to_vec());
                Ok(Response::new(stream::iter([Ok(result)]).boxed()))
            }
            CLOSE_PREPARED => {
                let closed: Option<ActionClosePreparedStatementRequest> =
                    body()?.unpack().map_err(|error| unpack(&error))?;
                let closed = closed.ok_or_else(|| unpack(&"another message is in it"))?;
                let id = self.prepared_id(&closed.prepared_statement_handle, &call)?;
                self.prepared.remove(id);
                Ok(Response::new(stream::empty().boxed()))
            }
            "BeginTransaction" | "EndTransaction" | "BeginSavepoint" | "EndSavepoint" => {
                Err(self.not_offered("a transaction"))
            }
            "CreatePreparedSubstraitPlan" => Err(self.not_offered("a Substrait plan")),
            other => Err(self.not_offered(&format!("the action {}", shortened(other)))),
        }
    }

    async fn list_actions(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let actions = [
            (CREATE_PREPARED, "Describes a statement and keeps it for repeated execution"),
            (CLOSE_PREPARED, "Forgets a prepared statement"),
        ];
        let action = |(name, description): (&str, &str)| {
            Ok(ActionType { r#type: name.to_owned(), description: description.to_owned() })
        };
        Ok(Response::new(stream::iter(actions.map(action)).boxed()))
    }

    async fn handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(self.not_offered("a handshake"))
    }

    async fn list_flights(
        &self,
        _request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(self.not_offered("a list of flights"))
    }

    async fn poll_flight_info(
        &self,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(self.not_offered("polling"))
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(self.not_offered("an exchange"))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}
