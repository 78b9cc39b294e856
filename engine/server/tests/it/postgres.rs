//! The PostgreSQL wire with a Rust driver: both protocols, values, errors, cancelling, limits.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use server::ServerConfig;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

use crate::{Running, eventually, soon};

impl Running {
    /// A session of a driver.
    async fn session(&self) -> Client {
        self.session_and_task().await.0
    }

    /// A session, and the task that holds its connection.
    async fn session_and_task(&self) -> (Client, tokio::task::JoinHandle<Result<(), Error>>) {
        let url = format!("host=127.0.0.1 port={} user=me dbname=runlake", self.postgres.port());
        let (client, connection) = soon(tokio_postgres::connect(&url, NoTls)).await.unwrap();
        (client, tokio::spawn(connection))
    }
}

fn code(error: &Error) -> &str {
    error.code().map_or("none", |code| code.code())
}

/// The rows of a text in the simple protocol, and the rows that each statement says it had.
async fn simple(client: &Client, sql: &str) -> Result<(Vec<Vec<String>>, Vec<u64>), Error> {
    let (mut rows, mut counts) = (Vec::new(), Vec::new());
    for message in soon(client.simple_query(sql)).await? {
        match message {
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect());
            }
            SimpleQueryMessage::CommandComplete(count) => counts.push(count),
            _ => {}
        }
    }
    Ok((rows, counts))
}

#[tokio::test]
async fn rows_come_in_both_protocols() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.session().await;
    let (rows, counts) = simple(&client, "rows 3").await.unwrap();
    assert_eq!(rows, [["0", "row 0"], ["1", "row 1"], ["2", "row 2"]]);
    assert_eq!(counts, [3]);
    let statement = soon(client.prepare("rows 250000")).await.unwrap();
    assert_eq!(statement.columns()[0].type_(), &Type::INT8);
    assert_eq!(statement.columns()[1].type_(), &Type::TEXT);
    let rows = soon(client.query(&statement, &[])).await.unwrap();
    assert_eq!(rows.len(), 250_000);
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(row.get::<_, i64>(0), at as i64);
        assert_eq!(row.get::<_, &str>(1), format!("row {at}"));
    }
    let asked = running.lake.statements.lock().unwrap().clone();
    assert!(asked.iter().all(|statement| statement.dialect == server::service::Dialect::Postgres));
    drop(client);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn several_statements_are_answered_one_after_another_until_one_fails() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.session().await;
    let (rows, counts) = simple(&client, "rows 1; SET a.b = 'x;y'; rows 2;").await.unwrap();
    assert_eq!((rows.len(), counts), (3, vec![1, 0, 2]));
    let error = simple(&client, "rows 1; wrong; rows 2").await.unwrap_err();
    assert_eq!(code(&error), "42601");
    let asked: Vec<String> =
        running.lake.statements.lock().unwrap().iter().map(|statement| statement.sql.clone()).collect();
    assert_eq!(asked, ["rows 1", "rows 2", "rows 1", "wrong"]);
    assert!(simple(&client, " ;; ").await.unwrap().0.is_empty(), "nothing is asked");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn errors_have_their_code_and_their_place() {
    let config = ServerConfig { sql_bytes: 1_000, ..ServerConfig::default() };
    let running = Running::start(config).await;
    let client = running.session().await;
    for (sql, expected) in [
        ("SELEC 1".to_owned(), "42601"),
        ("corrupt".to_owned(), "XX001"),
        ("internal".to_owned(), "XX000"),
        ("panic".to_owned(), "XX000"),
        ("COPY runs TO STDOUT".to_owned(), "0A000"),
        ("x".repeat(1_001), "54000"),
        ("rows 1;".repeat(101), "54001"),
    ] {
        let error = simple(&client, &sql).await.unwrap_err();
        assert_eq!(code(&error), expected, "{sql}");
        let shown = error.as_db_error().unwrap();
        assert!(!shown.message().contains("secret") && !shown.message().contains("told to"), "{shown}");
        let of_extended = soon(client.query(&sql, &[])).await.unwrap_err();
        let expected = if expected == "54001" { "42601" } else { expected };
        assert_eq!(code(&of_extended), expected, "{sql}");
    }
    let error = simple(&client, "rows 0;  SELEC 1").await.unwrap_err();
    let place = error.as_db_error().unwrap().position().unwrap();
    // The place that the lake says is within its statement, which begins ten characters later.
    assert_eq!(place, &tokio_postgres::error::ErrorPosition::Original(17));
    assert_eq!(simple(&client, "rows 1").await.unwrap().0.len(), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn parameters_reach_the_statement_in_text_and_binary() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.session().await;
    let statement = soon(client.prepare_typed("given", &[Type::INT8, Type::FLOAT8, Type::TEXT, Type::BOOL]))
        .await
        .unwrap();
    assert_eq!(statement.params(), [Type::INT8, Type::FLOAT8, Type::TEXT, Type::BOOL]);
    let row = soon(client.query_one(&statement, &[&7_i64, &f64::NAN, &None::<&str>, &true])).await.unwrap();
    let values: Vec<Option<&str>> = (0..4).map(|at| row.get(at)).collect();
    assert_eq!(values, [Some("7"), Some("NaN"), None, Some("true")]);
    let unsaid = soon(client.prepare("given")).await.unwrap();
    assert_eq!(unsaid.params(), [Type::TEXT, Type::TEXT]);
    let row = soon(client.query_one(&unsaid, &[&"a", &"b'; DROP"])).await.unwrap();
    assert_eq!(row.get::<_, &str>(1), "b'; DROP");
    let error = soon(client.prepare_typed("given", &[Type::POINT])).await.unwrap_err();
    assert_eq!(code(&error), "0A000");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn settings_stay_with_their_connection() {
    let running = Running::start(ServerConfig::default()).await;
    let (first, second) = (running.session().await, running.session().await);
    for sql in [
        "SET application_name = 'x'",
        "SET extra_float_digits = 3",
        "SET client_encoding TO 'UTF8'",
        "SET search_path TO public",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "BEGIN",
        "SAVEPOINT a",
        "RELEASE a",
        "COMMIT",
        "DISCARD ALL",
        "DEALLOCATE ALL",
        "UNLISTEN *",
        "RESET ALL",
        "SET runlake.seed = 7",
        "SET statement_timeout = '5s'",
    ] {
        simple(&first, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    assert_eq!(simple(&first, "SHOW runlake.seed").await.unwrap().0, [["7"]]);
    assert_eq!(simple(&first, "SHOW server_encoding").await.unwrap().0, [["UTF8"]]);
    assert!(simple(&first, "SHOW ALL").await.unwrap().0.len() > 20);
    assert_eq!(code(&simple(&second, "SHOW runlake.seed").await.unwrap_err()), "42704");
    assert_eq!(code(&simple(&first, "SET runlake.none = 7").await.unwrap_err()), "42601");
    assert_eq!(code(&simple(&first, "SET client_encoding = 'LATIN1'").await.unwrap_err()), "22023");
    simple(&first, "rows 1").await.unwrap();
    simple(&second, "rows 1").await.unwrap();
    {
        let statements = running.lake.statements.lock().unwrap();
        let [.., of_first, of_second] = statements.as_slice() else { panic!("two statements") };
        assert_eq!(of_first.settings.get("runlake.seed").unwrap(), "7");
        assert_eq!(of_first.timeout, Duration::from_secs(5));
        assert!(of_second.settings.is_empty());
        assert_eq!(of_second.timeout, Duration::from_secs(60));
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_failed_transaction_does_nothing_until_it_is_rolled_back() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.session().await;
    simple(&client, "BEGIN").await.unwrap();
    simple(&client, "SAVEPOINT a").await.unwrap();
    simple(&client, "wrong").await.unwrap_err();
    assert_eq!(code(&simple(&client, "rows 1").await.unwrap_err()), "25P02");
    assert_eq!(code(&soon(client.query("rows 1", &[])).await.unwrap_err()), "25P02");
    simple(&client, "ROLLBACK TO SAVEPOINT a").await.unwrap();
    assert_eq!(simple(&client, "rows 1").await.unwrap().0.len(), 1);
    simple(&client, "wrong").await.unwrap_err();
    simple(&client, "ROLLBACK").await.unwrap();
    assert_eq!(simple(&client, "rows 1").await.unwrap().0.len(), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn rows_are_fetched_in_parts() {
    let running = Running::start(ServerConfig::default()).await;
    let mut client = running.session().await;
    let transaction = soon(client.transaction()).await.unwrap();
    let statement = soon(transaction.prepare("rows 7")).await.unwrap();
    let portal = soon(transaction.bind(&statement, &[])).await.unwrap();
    for expected in [3, 3, 1, 0] {
        let rows = soon(transaction.query_portal(&portal, 3)).await.unwrap();
        assert_eq!(rows.len(), expected);
    }
    soon(transaction.commit()).await.unwrap();
    eventually("no statement is left", || running.lake.queries.load(Ordering::SeqCst) == 0).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_statement_is_cancelled_by_who_has_its_key() {
    let running = Running::start(ServerConfig::default()).await;
    let (client, other) = (running.session().await, running.session().await);
    let token = client.cancel_token();
    let stuck = tokio::spawn(async move {
        let error = simple(&client, "stuck").await.unwrap_err();
        assert_eq!(code(&error), "57014");
        assert!(error.to_string().len() < 200);
        assert_eq!(simple(&client, "rows 1").await.unwrap().0.len(), 1, "the session goes on");
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Somebody else's key cancels nothing here.
    soon(other.cancel_token().cancel_query(NoTls)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!stuck.is_finished());
    soon(token.cancel_query(NoTls)).await.unwrap();
    soon(stuck).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_statement_ends_with_its_time() {
    let config = ServerConfig { statement_time: Duration::from_millis(200), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let client = running.session().await;
    assert_eq!(code(&simple(&client, "stuck").await.unwrap_err()), "57014");
    simple(&client, "SET statement_timeout = 50").await.unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(code(&simple(&client, "stuck").await.unwrap_err()), "57014");
    assert!(begun.elapsed() < Duration::from_millis(190), "{:?}", begun.elapsed());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_answer_without_end_is_cut_with_an_error() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.session().await;
    let rows = soon(client.query_raw("endless", Vec::<i64>::new())).await.unwrap();
    let mut rows = std::pin::pin!(rows);
    let limit = Duration::from_secs(120);
    let counted = async {
        let mut count = 0_usize;
        loop {
            match rows.try_next().await {
                Ok(Some(_)) => count += 1,
                Ok(None) => panic!("a cut answer ended as if it were whole"),
                Err(error) => return (count, error),
            }
        }
    };
    let (count, error) = tokio::time::timeout(limit, counted).await.unwrap();
    assert_eq!((count, code(&error)), (1_000_000, "54000"));
    eventually("the statement is gone", || running.lake.queries.load(Ordering::SeqCst) == 0).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_reader_that_goes_away_or_stops_reading_ends_its_statement() {
    let config = ServerConfig { statement_time: Duration::from_millis(1_500), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let (gone, connection) = running.session_and_task().await;
    let (slow, third) = (running.session().await, running.session().await);
    let of_gone = soon(gone.query_raw("endless", Vec::<i64>::new())).await.unwrap();
    let mut of_gone = Box::pin(of_gone);
    assert!(soon(of_gone.next()).await.unwrap().is_ok());
    let of_slow = soon(slow.query_raw("endless", Vec::<i64>::new())).await.unwrap();
    let mut of_slow = Box::pin(of_slow);
    assert!(soon(of_slow.next()).await.unwrap().is_ok());
    assert_eq!(running.lake.queries.load(Ordering::SeqCst), 2);
    connection.abort();
    eventually("the statement of the one that went away is gone", || {
        running.lake.queries.load(Ordering::SeqCst) == 1
    })
    .await;
    assert_eq!(simple(&third, "rows 1").await.unwrap().0.len(), 1);
    // The other one holds its place until its time is over, and no longer.
    eventually("the slow one is gone", || running.lake.queries.load(Ordering::SeqCst) == 0).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_portal_that_nobody_fetches_ends_with_its_time() {
    let config = ServerConfig { statement_time: Duration::from_millis(400), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let (mut client, other) = (running.session().await, running.session().await);
    let transaction = soon(client.transaction()).await.unwrap();
    let statement = soon(transaction.prepare("endless")).await.unwrap();
    let portal = soon(transaction.bind(&statement, &[])).await.unwrap();
    assert_eq!(soon(transaction.query_portal(&portal, 3)).await.unwrap().len(), 3);
    eventually("the portal is given up", || running.lake.queries.load(Ordering::SeqCst) == 0).await;
    assert_eq!(simple(&other, "rows 1").await.unwrap().0.len(), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn sessions_are_counted_and_end_with_the_server() {
    let running = Running::start(ServerConfig::default()).await;
    let client = running.session().await;
    simple(&client, "rows 1").await.unwrap();
    let answer = crate::http::get(running.address, "/metrics").await;
    assert!(answer.contains("runlake_postgres_connections_total 1\n"), "{answer}");
    assert!(answer.contains("runlake_statements_total 1\n"), "{answer}");
    let began = std::time::Instant::now();
    running.stop().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(simple(&client, "rows 1").await.is_err());
}
