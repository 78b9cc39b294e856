//! Flight SQL with arrow-flight's own client: statements, parameters, metadata, tickets, and what is refused.

use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    Any, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandStatementQuery, CommandStatementSubstraitPlan, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{Action, FlightDescriptor, FlightInfo, Ticket};
use futures::TryStreamExt;
use prost::Message;
use server::ServerConfig;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::{Running, eventually, soon};

type Client = FlightSqlServiceClient<Channel>;

impl Running {
    async fn channel(&self) -> Channel {
        Channel::from_shared(self.url()).unwrap().connect().await.unwrap()
    }

    async fn flight(&self) -> Client {
        FlightSqlServiceClient::new(self.channel().await)
    }

    async fn raw(&self) -> FlightServiceClient<Channel> {
        FlightServiceClient::new(self.channel().await)
    }
}

fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().unwrap()
}

async fn rows(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, FlightError> {
    let announced = info.clone().try_decode_schema().unwrap();
    let stream = soon(client.do_get(ticket(&info))).await?;
    let batches: Vec<RecordBatch> = soon(stream.try_collect()).await?;
    assert!(batches.iter().all(|batch| batch.schema().as_ref() == &announced), "rows are as announced");
    Ok(batches)
}

fn status(error: &FlightError) -> (Code, &str) {
    let FlightError::Tonic(status) = error else { panic!("{error}") };
    (status.code(), status.message())
}

fn refused(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn rows_stream_and_are_as_announced() {
    let running = Running::start(ServerConfig::default()).await;
    let mut client = running.flight().await;
    for count in [0_usize, 1, 250_000] {
        let info = soon(client.execute(format!("rows {count}"), None)).await.unwrap();
        let batches = rows(&mut client, info).await.unwrap();
        let mut expected = 0;
        for batch in &batches {
            for number in batch.column(0).as_primitive::<Int64Type>().values() {
                assert_eq!(*number, expected);
                expected += 1;
            }
        }
        assert_eq!(expected, count as i64);
    }
    assert!(crate::http::get(running.address, "/metrics").await.contains("runlake_statements_total 3\n"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn prepared_statements_take_their_values() {
    let running = Running::start(ServerConfig::default()).await;
    let mut client = running.flight().await;
    let mut prepared = soon(client.prepare("given".to_owned(), None)).await.unwrap();
    let parameters = prepared.parameter_schema().unwrap();
    assert_eq!(parameters.fields().len(), 2);
    assert_eq!(parameters.field(0).data_type(), &DataType::Utf8);
    let values = |texts: Vec<&str>, numbers: Vec<i64>| {
        let schema =
            Schema::new(vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Int64, true)]);
        let columns: Vec<arrow::array::ArrayRef> = vec![
            std::sync::Arc::new(StringArray::from(texts)),
            std::sync::Arc::new(Int64Array::from(numbers)),
        ];
        RecordBatch::try_new(std::sync::Arc::new(schema), columns).unwrap()
    };
    for (text, number) in [("x'; DROP", 7), ("y", -1)] {
        prepared.set_parameters(values(vec![text], vec![number])).unwrap();
        let info = soon(prepared.execute()).await.unwrap();
        let batches = rows(&mut client, info).await.unwrap();
        assert_eq!(batches[0].column(0).as_string::<i32>().value(0), text);
        assert_eq!(batches[0].column(1).as_string::<i32>().value(0), number.to_string());
    }
    prepared.set_parameters(values(vec!["a", "b"], vec![1, 2])).unwrap();
    let error = refused(soon(prepared.execute()).await.unwrap_err());
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    soon(prepared.close()).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn metadata_is_there() {
    let running = Running::start(ServerConfig::default()).await;
    let mut client = running.flight().await;
    let info = soon(client.get_catalogs()).await.unwrap();
    let catalogs = rows(&mut client, info).await.unwrap();
    assert_eq!(catalogs[0].column(0).as_string::<i32>().value(0), "runlake");
    let info = soon(client.get_db_schemas(CommandGetDbSchemas::default())).await.unwrap();
    let schemas = rows(&mut client, info).await.unwrap();
    let names: Vec<_> = schemas[0].column(1).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
    assert_eq!(names, ["public", "system"]);
    let wanted = CommandGetTables {
        table_name_filter_pattern: Some("run%".to_owned()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let info = soon(client.get_tables(wanted)).await.unwrap();
    let tables = rows(&mut client, info).await.unwrap();
    assert_eq!((tables[0].num_rows(), tables[0].num_columns()), (1, 5));
    assert_eq!(tables[0].column(2).as_string::<i32>().value(0), "runs");
    let schema = tables[0].column(4).as_binary::<i32>().value(0);
    let schema = arrow::ipc::convert::try_schema_from_ipc_buffer(schema).unwrap();
    assert_eq!(schema.field(1).name(), "text");
    let info = soon(client.get_table_types()).await.unwrap();
    assert_eq!(rows(&mut client, info).await.unwrap()[0].num_rows(), 1);
    let info = soon(client.get_sql_info(vec![SqlInfo::FlightSqlServerReadOnly])).await.unwrap();
    assert_eq!(rows(&mut client, info).await.unwrap()[0].num_rows(), 1);
    let info = soon(client.get_xdbc_type_info(CommandGetXdbcTypeInfo::default())).await.unwrap();
    assert!(rows(&mut client, info).await.unwrap()[0].num_rows() > 3);
    let of_runs = CommandGetPrimaryKeys { table: "runs".to_owned(), ..CommandGetPrimaryKeys::default() };
    let info = soon(client.get_primary_keys(of_runs)).await.unwrap();
    assert_eq!(rows(&mut client, info).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn errors_have_their_code() {
    let running = Running::start(ServerConfig { sql_bytes: 1_000, ..ServerConfig::default() }).await;
    let mut client = running.flight().await;
    for (sql, code) in [
        ("SELEC 1".to_owned(), Code::InvalidArgument),
        (" ".to_owned(), Code::InvalidArgument),
        ("x".repeat(1_001), Code::ResourceExhausted),
        ("corrupt".to_owned(), Code::DataLoss),
        ("internal".to_owned(), Code::Internal),
        ("panic".to_owned(), Code::Internal),
    ] {
        let error = refused(soon(client.execute(sql.clone(), None)).await.unwrap_err());
        assert_eq!(error.code(), code, "{sql}: {error}");
        assert!(!error.message().contains("secret") && !error.message().contains("told to"), "{error}");
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_ticket_is_for_its_caller_and_cannot_be_made_up() {
    let running = Running::start(ServerConfig::default()).await;
    let mut client = running.flight().await;
    client.set_token("mine".to_owned());
    let info = soon(client.execute("rows 1".to_owned(), None)).await.unwrap();
    let mut other = running.flight().await;
    other.set_token("yours".to_owned());
    let error = soon(other.do_get(ticket(&info))).await.err().unwrap();
    assert_eq!(refused(error).code(), Code::InvalidArgument);
    assert_eq!(rows(&mut client, info.clone()).await.unwrap()[0].num_rows(), 1);
    // Changed, made up, or a command where a ticket belongs.
    let mut raw = running.raw().await;
    let good = ticket(&info).ticket;
    let mut changed = good.to_vec();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let made_up = TicketStatementQuery { statement_handle: b"SELECT 1".to_vec().into() };
    let command = CommandStatementQuery { query: "rows 1".to_owned(), transaction_id: None };
    for bytes in [
        changed,
        made_up.as_any().encode_to_vec(),
        command.as_any().encode_to_vec(),
        good[..good.len() / 2].to_vec(),
        b"\xff\xff\xff".to_vec(),
        Vec::new(),
    ] {
        let error = soon(raw.do_get(Request::new(Ticket::new(bytes)))).await.err().unwrap();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    }
    assert!(crate::http::get(running.address, "/metrics").await.contains("runlake_panics_total 0\n"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_writes_and_plans_of_other_engines_are_refused() {
    let running = Running::start(ServerConfig::default()).await;
    let mut client = running.flight().await;
    let error = refused(soon(client.execute_update("rows 1".to_owned(), None)).await.unwrap_err());
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("only reads"), "{error}");
    let error = refused(soon(client.begin_transaction()).await.unwrap_err());
    assert_eq!(error.code(), Code::Unimplemented);
    let mut raw = running.raw().await;
    let substrait = CommandStatementSubstraitPlan::default().as_any().encode_to_vec();
    let error = soon(raw.get_flight_info(FlightDescriptor::new_cmd(substrait))).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.message().contains("Substrait"), "{error}");
    let unknown = Any { type_url: "type.googleapis.com/nobody.Knows".to_owned(), value: Vec::new().into() };
    let error =
        soon(raw.get_flight_info(FlightDescriptor::new_cmd(unknown.encode_to_vec()))).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    let error = soon(raw.get_flight_info(FlightDescriptor::new_cmd(b"\x01\xff".to_vec()))).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    let error = soon(raw.do_action(Action::new("Shutdown", ""))).await.err().unwrap();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(running.lake.statements.lock().unwrap().is_empty());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn readers_that_stop_or_go_away_end_their_statements() {
    let config = ServerConfig { statement_time: Duration::from_millis(1_500), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let mut client = running.flight().await;
    let info = soon(client.execute("endless".to_owned(), None)).await.unwrap();
    let mut slow = soon(client.do_get(ticket(&info))).await.unwrap();
    assert!(soon(slow.try_next()).await.unwrap().is_some());
    let info = soon(client.execute("endless".to_owned(), None)).await.unwrap();
    let mut gone = soon(client.do_get(ticket(&info))).await.unwrap();
    assert!(soon(gone.try_next()).await.unwrap().is_some());
    drop(gone);
    eventually("one is gone", || running.lake.queries.load(Ordering::SeqCst) == 1).await;
    eventually("the slow one has had its time", || running.lake.queries.load(Ordering::SeqCst) == 0).await;
    let error = soon(async {
        loop {
            match slow.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a cut answer ended as if it were whole"),
                Err(error) => break error,
            }
        }
    });
    assert_eq!(status(&error.await).0, Code::DeadlineExceeded);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn settings_come_in_headers() {
    let running = Running::start(ServerConfig::default()).await;
    let mut client = running.flight().await;
    client.set_header("runlake.seed", "7");
    let info = soon(client.execute("rows 1".to_owned(), None)).await.unwrap();
    rows(&mut client, info).await.unwrap();
    let statements = running.lake.statements.lock().unwrap().clone();
    assert_eq!(statements.last().unwrap().settings.get("runlake.seed").unwrap(), "7");
    running.stop().await.unwrap();
}
