//! The stream of batches: windows, answers, refusals, lost connections.

use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::v1;
use proto::v1::ingest_client::IngestClient;
use proto::v1::write_request::Part as RequestPart;
use proto::v1::write_response::Part as ResponsePart;
use server::{ServerConfig, translate};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

use crate::{Running, batch, eventually, soon};

fn small_window() -> ServerConfig {
    ServerConfig { window_batches: 4, ..ServerConfig::default() }
}

/// A stream without the client's care for windows.
async fn raw(running: &Running) -> (mpsc::Sender<v1::WriteRequest>, Streaming<v1::WriteResponse>) {
    let (sender, receiver) = mpsc::channel(1_000);
    let open = v1::Open { client_id: "raw".into() };
    sender.send(v1::WriteRequest { part: Some(RequestPart::Open(open)) }).await.unwrap();
    let mut ingest = IngestClient::connect(running.url()).await.unwrap();
    let mut incoming = ingest.write(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let window = incoming.message().await.unwrap().unwrap();
    assert!(matches!(window.part, Some(ResponsePart::Window(_))), "{window:?}");
    (sender, incoming)
}

fn message(client_seq: u64) -> v1::WriteRequest {
    let wire = translate::proto_from_batch(&batch(client_seq as i64, 3));
    v1::WriteRequest { part: Some(RequestPart::Batch(v1::SequencedBatch { client_seq, batch: Some(wire) })) }
}

fn reason(status: &tonic::Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_thousand_batches_arrive_once_and_in_order_through_a_small_window() {
    let running = Running::start(small_window()).await;
    let client = running.client().await;
    let mut writer = client.writer("trainer", 1).await.unwrap();
    for step in 1..=1_000 {
        assert_eq!(soon(writer.send(&batch(step, 2))).await.unwrap(), step as u64);
    }
    let report = soon(writer.finish()).await.unwrap();
    assert_eq!((report.acknowledged, report.points, report.duplicates), (1_000, 2_000, 0));
    assert_eq!(running.lake.sequences(), (1..=1_000).collect::<Vec<_>>());
    assert_eq!(running.lake.log.lock().unwrap()[41].1, batch(42, 2));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn many_syncs_are_under_way_at_once_but_no_more_than_the_window() {
    let running = Running::start(small_window()).await;
    running.lake.syncing.send_replace(false);
    let client = running.client().await;
    let mut writer = client.writer("trainer", 0).await.unwrap();
    for step in 0..4 {
        soon(writer.send(&batch(step, 1))).await.unwrap();
    }
    eventually("four batches have their place", || running.lake.sequences().len() == 4).await;
    let fifth = tokio::time::timeout(Duration::from_millis(100), writer.send(&batch(4, 1))).await;
    assert!(fifth.is_err(), "the window is full, the fifth batch has to wait");
    running.lake.syncing.send_replace(true);
    let report = soon(writer.flush()).await.unwrap();
    // The fifth was queued before its wait was given up.
    assert_eq!((report.acknowledged, running.lake.sequences()), (5, vec![0, 1, 2, 3, 4]));
    drop(writer);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn batches_that_wait_for_their_sync_or_for_a_reader_take_no_budget_from_others() {
    let config = ServerConfig {
        message_bytes: 40_000,
        in_flight_bytes: 80_000,
        decoded_bytes: 400_000,
        permit_wait: Duration::from_millis(50),
        ..ServerConfig::default()
    };
    let running = Running::start(config).await;
    running.lake.syncing.send_replace(false);
    // Nobody reads its answers.
    let (sender, _incoming) = raw(&running).await;
    for client_seq in 0..12 {
        let wire = translate::proto_from_batch(&batch(client_seq, 2_500));
        let client_seq = client_seq as u64;
        let sequenced = v1::SequencedBatch { client_seq, batch: Some(wire) };
        sender.send(v1::WriteRequest { part: Some(RequestPart::Batch(sequenced)) }).await.unwrap();
    }
    eventually("twelve batches have their place", || running.lake.sequences().len() == 12).await;
    let client = running.client().await;
    let other = tokio::spawn(async move { client.write_batch(&batch(1, 2_500), None).await });
    eventually("the other's too", || running.lake.log.lock().unwrap().len() == 13).await;
    running.lake.syncing.send_replace(true);
    soon(other).await.unwrap().unwrap();
    drop(sender);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_beyond_its_window_is_told_so_after_its_answers() {
    let running = Running::start(small_window()).await;
    running.lake.syncing.send_replace(false);
    let (sender, mut incoming) = raw(&running).await;
    for client_seq in 0..5 {
        sender.send(message(client_seq)).await.unwrap();
    }
    eventually("four batches have their place", || running.lake.sequences().len() == 4).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.lake.syncing.send_replace(true);
    for client_seq in 0..4 {
        match soon(incoming.message()).await.unwrap().unwrap().part {
            Some(ResponsePart::Acknowledgement(answer)) => assert_eq!(answer.client_seq, client_seq),
            other => panic!("{other:?}"),
        }
    }
    let status = soon(incoming.message()).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "ingest.window_exceeded")
    );
    assert_eq!(running.lake.sequences(), [0, 1, 2, 3]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_batch_is_refused_alone() {
    let running = Running::start(ServerConfig::default()).await;
    let (sender, mut incoming) = raw(&running).await;
    let mut wrong = message(2);
    if let Some(RequestPart::Batch(sequenced)) = &mut wrong.part {
        sequenced.batch.as_mut().unwrap().metrics[0] = "m".repeat(251);
    }
    for request in [message(1), wrong, message(3)] {
        sender.send(request).await.unwrap();
    }
    drop(sender);
    let mut answers = Vec::new();
    while let Some(answer) = soon(incoming.message()).await.unwrap() {
        answers.push(match answer.part {
            Some(ResponsePart::Acknowledgement(a)) => (a.client_seq, String::new(), a.credit_batches),
            Some(ResponsePart::Refusal(r)) => {
                (r.client_seq, format!("{} {}", r.reason, r.field), r.credit_batches)
            }
            other => panic!("{other:?}"),
        });
    }
    let refused = "name.too_long batch.metrics[0]".to_owned();
    assert_eq!(answers, [(1, String::new(), 1), (2, refused, 1), (3, String::new(), 1)]);
    assert_eq!(running.lake.sequences(), [1, 3]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_ends_the_stream_and_the_writer_sends_again_in_order() {
    let running = Running::start(small_window()).await;
    let client = running.client().await;
    let mut writer = client.writer("trainer", 1).await.unwrap();
    for step in 1..=30 {
        if step % 10 == 0 {
            running.lake.full_for.store(2, Ordering::SeqCst);
        }
        soon(writer.send(&batch(step, 1))).await.unwrap();
    }
    let report = soon(writer.flush()).await.unwrap();
    assert_eq!((report.acknowledged, report.refused.len()), (30, 0));
    assert!(report.reconnects >= 3, "{report:?}");
    assert_eq!(running.lake.sequences(), (1..=30).collect::<Vec<_>>());
    drop(writer);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn the_writer_gives_up_when_the_policy_says_so_and_forgets_nothing() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    let mut writer = client.writer("trainer", 1).await.unwrap();
    running.lake.full_for.store(1_000, Ordering::SeqCst);
    soon(writer.send(&batch(1, 1))).await.unwrap();
    let error = soon(writer.flush()).await.unwrap_err();
    assert_eq!(error.remote().unwrap().reason, "disk.full", "{error}");
    assert_eq!(writer.unanswered(), 1);
    running.lake.full_for.store(0, Ordering::SeqCst);
    assert_eq!(soon(writer.flush()).await.unwrap().acknowledged, 1);
    drop(writer);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_written_before_is_acknowledged_as_a_duplicate() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    for round in 0..2 {
        let mut writer = client.writer("trainer", 1).await.unwrap();
        for step in 1..=3 {
            soon(writer.send(&batch(step, 2))).await.unwrap();
        }
        let report = soon(writer.finish()).await.unwrap();
        assert_eq!((report.acknowledged, report.duplicates), (3, round * 3));
    }
    assert_eq!(running.lake.points(), 6);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_reads_no_answers_holds_nobody_up() {
    let running = Running::start(small_window()).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        let (sender, incoming) = raw(&running).await;
        for client_seq in 0..4 {
            sender.send(message(client_seq)).await.unwrap();
        }
        silent.push((sender, incoming));
    }
    let client = running.client().await;
    let mut writer = client.writer("lively", 0).await.unwrap();
    for step in 0..200 {
        soon(writer.send(&batch(step, 1))).await.unwrap();
    }
    assert_eq!(soon(writer.finish()).await.unwrap().acknowledged, 200);
    drop(silent);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn wrong_first_messages_and_wrong_parts_are_named() {
    let running = Running::start(ServerConfig::default()).await;
    let open = |client_id: &str| v1::WriteRequest {
        part: Some(RequestPart::Open(v1::Open { client_id: client_id.into() })),
    };
    let cases = [
        (vec![message(0)], "ingest.not_open"),
        (vec![v1::WriteRequest { part: None }], "ingest.not_open"),
        (vec![open("")], "name.empty"),
        (vec![open(&"c".repeat(129))], "name.too_long"),
        (vec![open("a"), open("a")], "ingest.opened_twice"),
        (vec![open("a"), v1::WriteRequest { part: None }], "ingest.no_part"),
    ];
    let mut ingest = IngestClient::connect(running.url()).await.unwrap();
    for (requests, expected) in cases {
        // The client's side stays open: it is the server that ends the stream.
        let (sender, receiver) = mpsc::channel(10);
        for request in requests {
            sender.send(request).await.unwrap();
        }
        let mut incoming = ingest.write(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let status = loop {
            match soon(incoming.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{expected}: ended without an error"),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, expected));
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_oversize_batch_is_refused_on_both_sides() {
    let running = Running::start(ServerConfig { message_bytes: 4_096, ..ServerConfig::default() }).await;
    let client = running.client().await;
    let mut writer = client.writer("trainer", 1).await.unwrap();
    let error = soon(writer.send(&batch(1, 1_000))).await.unwrap_err();
    assert!(error.to_string().contains("4096"), "{error}");
    assert_eq!(
        soon(writer.send(&batch(1, 10))).await.unwrap(),
        1,
        "the writer goes on, the number is not lost"
    );
    soon(writer.finish()).await.unwrap();

    let (sender, mut incoming) = raw(&running).await;
    let wire = translate::proto_from_batch(&batch(1, 1_000));
    let large = v1::SequencedBatch { client_seq: 2, batch: Some(wire) };
    sender.send(v1::WriteRequest { part: Some(RequestPart::Batch(large)) }).await.unwrap();
    let status = soon(incoming.message()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "request.too_large"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_pause_between_messages_ends_nothing() {
    let config = ServerConfig { body_idle: Duration::from_millis(150), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let (sender, mut incoming) = raw(&running).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    sender.send(message(1)).await.unwrap();
    let answer = soon(incoming.message()).await.unwrap().unwrap();
    assert!(matches!(answer.part, Some(ResponsePart::Acknowledgement(_))), "{answer:?}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_panic_in_the_lake_is_an_internal_error_and_never_a_clean_end() {
    let running = Running::start(ServerConfig::default()).await;
    let (sender, mut incoming) = raw(&running).await;
    let mut request = message(1);
    if let Some(RequestPart::Batch(sequenced)) = &mut request.part {
        sequenced.batch.as_mut().unwrap().metrics[0] = "panic".into();
    }
    sender.send(request).await.unwrap();
    let status = soon(incoming.message()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "server.panic"));
    assert!(!status.message().contains("told to"), "{status}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn writers_move_between_tasks() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    let tasks = (0..8_u64).map(|index| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut writer = client.writer(&format!("trainer-{index}"), 1).await.unwrap();
            for step in 1..=20 {
                writer.send(&batch(step, 1)).await.unwrap();
            }
            writer.finish().await.unwrap().acknowledged
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert_eq!(soon(task).await.unwrap(), 20);
    }
    assert_eq!(running.lake.points(), 160);
    running.stop().await.unwrap();
}
