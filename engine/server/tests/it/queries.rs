//! SQL: rows, errors, limits, readers that stop reading.

use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{Array, Int64Array, StringArray};
use server::ServerConfig;
use server::error::Position;
use tonic::Code;

use crate::{Running, eventually, soon};

#[tokio::test]
async fn rows_come_through_in_chunks_and_in_order() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    for rows in [0_usize, 1, 250_000] {
        let answer = soon(client.sql(&format!("rows {rows}"))).await.unwrap();
        assert_eq!(answer.summary.rows, rows as u64);
        assert_eq!(answer.summary.notices, ["one file was skipped"]);
        assert_eq!(answer.schema.field(1).name(), "text");
        let mut expected = 0_i64;
        for batch in &answer.batches {
            let numbers = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
            let texts = batch.column(1).as_any().downcast_ref::<StringArray>().unwrap();
            for row in 0..batch.num_rows() {
                assert_eq!(numbers.value(row), expected);
                assert_eq!(texts.value(row), format!("row {expected}"));
                expected += 1;
            }
            assert!(numbers.null_count() == 0);
        }
        assert_eq!(expected, rows as i64);
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn errors_have_their_code_and_their_place() {
    let running = Running::start(ServerConfig { sql_bytes: 1_000, ..ServerConfig::default() }).await;
    let client = running.client().await;
    for (sql, code, reason) in [
        ("SELEC 1".to_owned(), Code::InvalidArgument, "sql.syntax"),
        (" ".to_owned(), Code::InvalidArgument, "sql.empty"),
        ("x".repeat(1_001), Code::ResourceExhausted, "sql.too_long"),
        ("corrupt".to_owned(), Code::DataLoss, "segment.corrupt"),
        ("internal".to_owned(), Code::Internal, "bug"),
        ("panic".to_owned(), Code::Internal, "server.panic"),
    ] {
        let error = soon(client.sql(&sql)).await.unwrap_err();
        let remote = error.remote().unwrap();
        assert_eq!((remote.code, remote.reason.as_str()), (code, reason), "{sql}");
        let position = (reason == "sql.syntax").then_some(Position { line: 1, column: 8 });
        assert_eq!(remote.position, position);
        assert!(!remote.message.contains("secret") && !remote.message.contains("told to"), "{remote}");
    }
    assert_eq!(soon(client.sql("rows 1")).await.unwrap().summary.rows, 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_statement_ends_with_its_time() {
    let config = ServerConfig { statement_time: Duration::from_millis(100), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let client = running.client().await;
    let error = soon(client.sql("stuck")).await.unwrap_err();
    let remote = error.remote().unwrap();
    assert_eq!((remote.code, remote.reason.as_str()), (Code::DeadlineExceeded, "query.time"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_reader_that_stops_reading_stops_its_query_and_nobody_else() {
    let config = ServerConfig { statement_time: Duration::from_millis(2_500), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let client = running.client().await;
    let mut slow = soon(client.sql_rows("endless", &[])).await.unwrap();
    assert!(soon(slow.next()).await.unwrap().is_some());
    // On the same connection, while the slow answer fills its own flow-control window.
    for _ in 0..20 {
        assert_eq!(soon(client.sql("rows 1000")).await.unwrap().summary.rows, 1_000);
    }
    let mut second = soon(client.sql_rows("endless", &[])).await.unwrap();
    assert!(soon(second.next()).await.unwrap().is_some());
    // One reader goes away, the other one's time passes.
    drop(second);
    eventually("the dropped query is gone", || running.lake.queries.load(Ordering::SeqCst) == 1).await;
    eventually("the slow query is gone", || running.lake.queries.load(Ordering::SeqCst) == 0).await;
    assert_eq!(soon(client.sql("rows 1")).await.unwrap().summary.rows, 1);
    // What was under way arrives, the rest was thrown away, and the end is an error.
    let error = soon(async {
        loop {
            match slow.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a cut answer ended as if it were whole"),
                Err(error) => break error,
            }
        }
    });
    assert_eq!(error.await.remote().unwrap().reason, "query.time");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_answer_cut_short_is_an_error_and_not_a_short_answer() {
    let config = ServerConfig { statement_time: Duration::from_millis(200), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let client = running.client().await;
    let error = soon(client.sql("endless")).await.unwrap_err();
    assert_eq!(error.remote().unwrap().reason, "query.time", "{error}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_reader_that_goes_away_cancels_its_query() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.client().await;
    let mut rows = soon(client.sql_rows("endless", &[])).await.unwrap();
    assert!(soon(rows.next()).await.unwrap().is_some());
    assert_eq!(running.lake.queries.load(Ordering::SeqCst), 1);
    drop(rows);
    eventually("the query is gone", || running.lake.queries.load(Ordering::SeqCst) == 0).await;
    running.stop().await.unwrap();
}
