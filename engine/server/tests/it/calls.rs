//! Unary calls: what they do, what they refuse, and how.

use std::time::Duration;

use model::{
    Command, Decision, DecisionKind, ExperimentName, ImportRecord, Key, NewRun, ParamValue, ProjectName,
    RecordFields, RecordId, RecordKind, RecordUpdate, RunId, TagValue, WriterSequence,
};
use proto::v1;
use proto::v1::ingest_client::IngestClient;
use server::service::Readiness;
use server::{ServerConfig, translate};
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_types::StatusExt;

use crate::fake_lake::NOW;
use crate::{Running, batch, eventually, soon};

fn new_run() -> Command {
    let experiment = ExperimentName::new("baseline").unwrap();
    let run =
        NewRun::named(RunId::from_u128(7), ProjectName::new("vision").unwrap(), experiment, "first", NOW);
    Command::CreateRun(run)
}

fn baseline(version: usize) -> RecordUpdate {
    let mut fields = RecordFields::of(RecordKind::Baselines);
    fields.set("name", "main").unwrap();
    fields.set("version", &version.to_string()).unwrap();
    fields.set("description", &"d".repeat(9_000)).unwrap();
    let id = RecordId::new(fields.id(None).unwrap()).unwrap();
    RecordUpdate::new(ProjectName::default(), id, fields, NOW - 5)
}

/// More of them than one call takes, by number and by bytes.
#[tokio::test]
async fn many_records_reach_the_lake_in_their_order() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    let records: Vec<RecordUpdate> = (0..1_200).map(baseline).collect();
    client.put_records(records.clone()).await.unwrap();
    let commands: Vec<Command> = records.into_iter().map(Command::PutRecord).collect();
    assert!(*running.lake.commands.lock().unwrap() == commands);
    client.put_records(Vec::new()).await.unwrap();
    assert_eq!(running.lake.commands.lock().unwrap().len(), 1_200);
}

#[tokio::test]
async fn commands_reach_the_lake_as_they_were_given() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    let run = RunId::from_u128(7);
    let commands = [
        new_run(),
        Command::SetParams { run, params: vec![(Key::new("lr").unwrap(), ParamValue::new("0.1").unwrap())] },
        Command::SetTags { run, tags: vec![(Key::new("team").unwrap(), TagValue::new("a").unwrap())] },
        Command::DeleteTags { run, keys: vec![Key::new("team").unwrap()] },
        Command::Decide(Decision {
            project: ProjectName::default(),
            experiment: ExperimentName::new("baseline").unwrap(),
            decision: DecisionKind::Ship,
            reason: "better on all seeds".into(),
            author: Some("ada".into()),
            time: NOW - 5,
        }),
        Command::PutRecord(baseline(1)),
        Command::RemoveRecord {
            table: RecordKind::Baselines,
            project: ProjectName::default(),
            id: RecordId::new("main@1").unwrap(),
        },
    ];
    // In a task, since a caller's future has to be one that can move.
    let sent = commands.clone();
    let task = tokio::spawn(async move {
        for command in sent {
            client.apply(command).await.unwrap();
        }
        client
    });
    let client = soon(task).await.unwrap();
    assert_eq!(*running.lake.commands.lock().unwrap(), commands);
    let import = ImportRecord {
        kind: "csv".into(),
        location: "a".into(),
        content_hash: "b".into(),
        points: 1,
        rejected: 0,
        time: 0,
    };
    assert!(
        client.apply(Command::RecordImport(import)).await.unwrap_err().to_string().contains("RecordImport")
    );
    running.stop().await.unwrap();
}

#[tokio::test]
async fn refusals_have_code_reason_and_field() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    let tags = vec![(Key::new("team").unwrap(), TagValue::new("a").unwrap())];
    let error = client.apply(Command::SetTags { run: RunId::from_u128(404), tags }).await.unwrap_err();
    let remote = error.remote().unwrap();
    assert_eq!((remote.code, remote.reason.as_str()), (Code::NotFound, "run.not_found"));

    let mut ingest = IngestClient::connect(running.url()).await.unwrap();
    let call = v1::CreateRunRequest { run_id: "nonsense".into(), ..v1::CreateRunRequest::default() };
    let status = ingest.create_run(call).await.unwrap_err();
    let details = status.get_error_details();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(details.error_info().unwrap().reason, "run_id.malformed");
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "run_id");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn one_batch_is_written_once_however_often_it_is_sent() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    let sequence = WriterSequence::new("trainer", 9).unwrap();
    assert!(!client.write_batch(&batch(1, 5), Some(&sequence)).await.unwrap().duplicate);
    assert!(client.write_batch(&batch(1, 5), Some(&sequence)).await.unwrap().duplicate);
    assert!(!client.write_batch(&batch(1, 5), None).await.unwrap().duplicate);
    assert_eq!(running.lake.points(), 10);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn strange_numbers_come_through_bit_for_bit() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    let mut parts = batch(-5, 5).into_series();
    parts[0].points.values = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN_POSITIVE / 2.0];
    parts[0].points.steps = vec![i64::MIN, i64::MAX, -1, 0, i64::MIN];
    let sent = model::PointBatch::new(parts).unwrap();
    client.write_batch(&sent, None).await.unwrap();
    let written = running.lake.log.lock().unwrap()[0].1.clone();
    let (got, want) = (&written.series()[0].points, &sent.series()[0].points);
    assert_eq!(got.steps, want.steps);
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&got.values), bits(&want.values));
    running.stop().await.unwrap();
}

/// Stands in for a message with a text, and is none when its bytes are no UTF-8.
#[derive(Clone, PartialEq, prost::Message)]
struct BytesForText {
    #[prost(bytes = "vec", tag = "1")]
    first: Vec<u8>,
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_fault() {
    let running = Running::start(ServerConfig::default()).await;
    let channel = tonic::transport::Endpoint::from_shared(running.url()).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    for path in ["/runlake.v1.Ingest/CreateRun", "/runlake.v1.Query/Sql"] {
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<BytesForText, v1::CreateRunResponse>::default();
        let request = tonic::Request::new(BytesForText { first: vec![b'a', 0xff, 0xfe] });
        let status = grpc.unary(request, PathAndQuery::from_static(path), codec).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains("UTF-8"), "{status:?}");
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "request.malformed");
    }
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<BytesForText, v1::CreateRunResponse>::default();
    let path = PathAndQuery::from_static("/runlake.v1.Ingest/Nonsense");
    let status = grpc.unary(tonic::Request::new(BytesForText::default()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_oversize_message_is_refused_before_it_is_read() {
    let running = Running::start(ServerConfig { message_bytes: 4_096, ..ServerConfig::default() }).await;
    let client = running.client().await;
    let error = soon(client.write_batch(&batch(1, 1_000), None)).await.unwrap_err();
    let remote = error.remote().unwrap();
    assert_eq!((remote.code, remote.reason.as_str()), (Code::ResourceExhausted, "request.too_large"));
    assert!(remote.retry_after.is_none(), "trying again does not help");
    client.write_batch(&batch(1, 100), None).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn memory_of_requests_is_bounded_and_comes_back() {
    let config = ServerConfig {
        message_bytes: 40_000,
        in_flight_bytes: 80_000,
        permit_wait: Duration::from_millis(50),
        ..ServerConfig::default()
    };
    let running = Running::start(config).await;
    running.lake.syncing.send_replace(false);
    let mut ingest = IngestClient::connect(running.url()).await.unwrap();
    let wire = translate::proto_from_batch(&batch(1, 3_000));
    let call = v1::WriteBatchRequest {
        client_id: String::new(),
        batch: Some(v1::SequencedBatch { client_seq: 0, batch: Some(wire) }),
    };
    let held: Vec<_> = (0..2)
        .map(|_| {
            let (mut ingest, call) = (ingest.clone(), call.clone());
            tokio::spawn(async move { ingest.write_batch(call).await })
        })
        .collect();
    eventually("two batches are in memory", || running.lake.log.lock().unwrap().len() == 2).await;
    let status = soon(ingest.write_batch(call.clone())).await.unwrap_err();
    let details = status.get_error_details();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(details.error_info().unwrap().reason, "server.busy");
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(50)));
    running.lake.syncing.send_replace(true);
    for task in held {
        soon(task).await.unwrap().unwrap();
    }
    soon(ingest.write_batch(call)).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn requests_are_counted_and_wait_a_moment_for_their_place() {
    let config = ServerConfig {
        in_flight_requests: 2,
        permit_wait: Duration::from_millis(50),
        ..ServerConfig::default()
    };
    let running = Running::start(config).await;
    running.lake.syncing.send_replace(false);
    let client = running.client().await;
    let held: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.write_batch(&batch(1, 1), None).await })
        })
        .collect();
    eventually("two requests are held", || running.lake.log.lock().unwrap().len() == 2).await;
    let error = soon(client.write_batch(&batch(1, 1), None)).await.unwrap_err();
    assert_eq!(error.remote().unwrap().reason, "server.busy");
    // Reading has its own queue.
    assert_eq!(soon(client.sql("rows 3")).await.unwrap().summary.rows, 3);
    running.lake.syncing.send_replace(true);
    for task in held {
        soon(task).await.unwrap().unwrap();
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_lake_that_cannot_be_written_says_why_and_can_be_read() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    *running.lake.readiness.lock().unwrap() = Readiness::ReadOnly { why: "a sync failed".into() };
    let error = client.write_batch(&batch(1, 1), None).await.unwrap_err();
    let remote = error.remote().unwrap();
    assert_eq!((remote.code, remote.reason.as_str()), (Code::Unavailable, "lake.read_only"));
    assert!(remote.message.contains("a sync failed"), "{remote}");
    assert_eq!(client.sql("rows 1").await.unwrap().summary.rows, 1);
    assert_eq!(running.lake.points(), 0);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn care_calls_answer() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    client.write_batch(&batch(1, 5), None).await.unwrap();
    assert_eq!(client.flush().await.unwrap().points, 5);
    let verified = client.verify().await.unwrap();
    assert_eq!((verified.files, verified.bytes, verified.log_records), (3, 4_096, 17));
    assert_eq!(verified.problems[0].place, "tables/points/part-0.parquet");
    assert!(verified.problems[0].message.len() <= 1_024);
    let (status, uptime) = client.status().await.unwrap();
    assert_eq!((status.points, status.lake.as_str()), (5, "memory"));
    assert!(uptime < Duration::from_secs(20));
    running.stop().await.unwrap();
}
