//! `runlake sql`: many statements, large answers, structs, and the queue of a server.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use e2e::{Server, command, done, run};
use server::client::Client;
use tokio::runtime::Runtime;

use crate::cli::small_lake;

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_statements_of_a_file_are_answered_in_turn() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let script = file(
        folder.path(),
        "report.sql",
        "-- two; statements;\nSELECT ';' AS a;\nSET runlake.seed = 42;\n\nSELECT bootstrap_ci(x)['low'] AS low\nFROM range(30) AS t(x);\n",
    );
    let direct = run(
        &lake,
        ["sql", "SELECT bootstrap_ci(x, seed => 42)['low'] AS low FROM range(30) AS t(x)", "--format", "csv"],
    )
    .expect(0)
    .stdout;
    let answered = run(&lake, ["sql", "-f", &script, "--format", "csv"]).expect(0);
    assert_eq!(answered.stdout, format!("a\n;\n\n{direct}"), "a SET holds for the statements after it");

    let wrong = file(
        folder.path(),
        "wrong.sql",
        "SELECT 1 AS one;\nSELECT 2 AS two; SELECT\n  nothing FROM runs;\nSELECT 3 AS three;\nSELECT 4/0 AS four;",
    );
    let stopped = run(&lake, ["sql", "-f", &wrong, "--format", "csv"]).expect(2);
    assert_eq!(stopped.stdout, "one\n1\n\ntwo\n2\n\n");
    assert!(stopped.stderr.contains("wrong.sql, statement 3 (line 2)"), "{}", stopped.stderr);
    assert!(
        stopped.stderr.contains("(line 3, column 3)"),
        "the place is the one in the file: {}",
        stopped.stderr
    );
    let all = run(&lake, ["sql", "-f", &wrong, "--keep-going", "--format", "csv"]).expect(2);
    assert!(all.stdout.contains("three\n3\n"), "{}", all.stdout);
    assert!(all.stderr.contains("statement 3") && all.stderr.contains("statement 5"), "{}", all.stderr);

    // From standard input and through a server it is the same.
    let server = Server::start(&lake);
    let input = done(
        command()
            .args(["--url", &server.url(), "sql", "--format", "csv"])
            .stdin(std::fs::File::open(&script).unwrap()),
    )
    .expect(0);
    assert_eq!((input.stdout, input.stderr), (answered.stdout, String::new()));
    let empty = file(folder.path(), "empty.sql", "-- nothing;\n;");
    assert!(run(&lake, ["sql", "-f", &empty]).expect(2).stderr.contains("no statement in"));
    let two = run(&lake, ["sql", "SELECT 1; SELECT 2", "--format", "parquet"]).expect(2);
    assert!(two.stderr.contains("one statement at a time"), "{}", two.stderr);
}

#[test]
fn structs_are_json_in_csv_and_wide_ones_are_cut_in_tables() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let rows =
        run(&lake, ["sql", "SELECT params, tags, [1, 2] AS list FROM runs ORDER BY name", "--format", "csv"]);
    let expected = "params,tags,list\n\"{\"\"seed\"\":1}\",\"{\"\"arm\"\":\"\"old\"\"}\",\"[1,2]\"\n\"{\"\"seed\"\":2}\",\"{\"\"arm\"\":\"\"new\"\"}\",\"[1,2]\"\n";
    assert_eq!(rows.expect(0).stdout, expected);
    let keys: Vec<String> = (0..300).map(|number| format!("'key{number}', {number}")).collect();
    let wide = format!("SELECT named_struct({}) AS params", keys.join(", "));
    let table = run(&lake, ["sql", &wide]).expect(0).stdout;
    assert!(table.contains("params has 300 keys") && table.contains("{key0: 0, key1: 1"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() < 140), "{table}");
    let many = run(&lake, ["sql", "SELECT * FROM range(2000)"]).expect(0).stdout;
    assert!(many.contains("the first 1000 rows"), "a table says what it leaves out");
}

/// The most memory that a process has had, in bytes.
#[test]
fn views_are_kept_in_the_lake_and_through_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let csv = |sql: &str| run(&lake, ["sql", sql, "--format", "csv"]);
    let names = csv("SELECT name FROM runs ORDER BY name").expect(0).stdout;
    let kept = csv("CREATE VIEW mine AS SELECT name FROM runs").expect(0);
    assert_eq!((kept.stdout.as_str(), kept.stderr.as_str()), ("", "notice: view mine is kept\n"));
    assert_eq!(csv("SELECT * FROM mine ORDER BY name").expect(0).stdout, names);
    run(&lake, ["flush"]).expect(0);
    assert_eq!(csv("SELECT * FROM mine ORDER BY name").expect(0).stdout, names, "a checkpoint has it");
    let taken = csv("CREATE VIEW mine AS SELECT 1 AS one").expect(2);
    assert!(taken.stderr.contains("CREATE OR REPLACE VIEW mine"), "{}", taken.stderr);
    let wrong = csv("CREATE VIEW yours AS SELECT nam FROM runs").expect(2);
    assert!(wrong.stderr.contains("name"), "{}", wrong.stderr);

    let server = Server::start(&lake);
    let url = server.url();
    let remote = |sql: &str| done(command().args(["--url", &url, "sql", sql, "--format", "csv"]));
    assert_eq!(remote("SELECT * FROM mine ORDER BY name").expect(0).stdout, names);
    // The lake has a writer, who is named.
    let owned = csv("DROP VIEW mine").expect(4);
    assert!(owned.stderr.contains("runlake serve"), "{}", owned.stderr);
    remote("CREATE OR REPLACE VIEW mine AS SELECT 1 AS one").expect(0);
    assert_eq!(remote("SELECT * FROM mine").expect(0).stdout, "one\n1\n");
    remote("DROP VIEW mine").expect(0);
    remote("DROP VIEW IF EXISTS mine").expect(0);
    let gone = remote("DROP VIEW mine").expect(2);
    assert!(gone.stderr.contains("mine"), "{}", gone.stderr);
    // The door for questions only reads.
    Runtime::new().unwrap().block_on(async {
        let client = Client::connect(&url).await.unwrap();
        let refused = client.sql("CREATE VIEW mine AS SELECT 1 AS one").await.unwrap_err();
        assert_eq!(refused.remote().unwrap().reason, "sql.read_only");
        // Of many who take one name at the same moment one gets it.
        let taking: Vec<_> = (0..16)
            .map(|number| {
                let client = client.clone();
                let sql = format!("CREATE VIEW ours AS SELECT {number} AS one");
                tokio::spawn(async move { client.change_views(&sql).await.is_ok() })
            })
            .collect();
        let mut got = Vec::new();
        for taken in taking {
            got.push(taken.await.unwrap());
        }
        assert_eq!(got.into_iter().filter(|got| *got).count(), 1);
    });
}

fn peak_memory(process: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? * 1024)
}

#[test]
#[cfg(target_os = "linux")]
fn five_million_rows_stream_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let statement = "SELECT value, value * 2 AS twice, 'row ' || value AS text FROM range(5000000)";
    let mut peaks = Vec::new();
    for format in ["csv", "ndjson"] {
        let mut child = command()
            .arg("--lake")
            .arg(&lake)
            .args(["sql", statement, "--format", format])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut lines, mut bytes, mut peak) = (0_u64, 0_u64, 0);
        let mut output = BufReader::with_capacity(1 << 20, child.stdout.take().unwrap());
        loop {
            let part = output.fill_buf().unwrap();
            if part.is_empty() {
                break;
            }
            lines += part.iter().filter(|byte| **byte == b'\n').count() as u64;
            let count = part.len();
            output.consume(count);
            bytes += count as u64;
            // The last look is shortly before the end.
            peak = peak_memory(child.id()).unwrap_or(peak);
        }
        assert!(child.wait().unwrap().success());
        assert_eq!(lines, 5_000_000 + u64::from(format == "csv"));
        assert!(bytes > 100_000_000, "{bytes}");
        peaks.push(peak);
    }
    // A build without optimization has 150 MB of program alone; the rows are more than 100 MB as text.
    println!("peaks: {peaks:?}");
    assert!(peaks.iter().all(|peak| *peak > 0 && *peak < 250_000_000), "{peaks:?}");
}

#[test]
fn a_server_has_a_queue_shows_its_statements_and_cancels_them() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let server = Server::start_with(&lake, &["--query-slots", "1", "--query-queue", "2"]);
    let runtime = Runtime::new().unwrap();
    let long = "SELECT count(*) FROM range(300000) AS a(x), range(300000) AS b(y) WHERE sin(x) > 2 + cos(y)";
    runtime.block_on(async {
        let client = Client::connect(&server.url()).await.unwrap();
        let first = tokio::spawn({
            let client = client.clone();
            async move { client.sql(long).await }
        });
        // A question about runs and statements is answered beside it.
        let running =
            "SELECT id FROM system.queries WHERE state = 'running' AND sql NOT LIKE '%system.queries%'";
        let began = Instant::now();
        let id = loop {
            assert!(began.elapsed() < Duration::from_secs(30), "the long statement does not run");
            let rows = client.sql(running).await.unwrap();
            if rows.summary.rows == 1 {
                let ids = rows.batches[0].column(0);
                break ids.as_any().downcast_ref::<arrow::array::Int64Array>().unwrap().value(0);
            }
        };
        // One caller may hold half of the queue.
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.sql("SELECT 1 AS one").await }
        });
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < Duration::from_secs(30), "nobody waits");
            if metric(&server, "runlake_queries_waiting") == 1 {
                break;
            }
        }
        let refused = client.sql("SELECT 2 AS two").await.unwrap_err();
        let remote = refused.remote().unwrap();
        assert_eq!(remote.reason, "sql.busy", "{remote}");
        assert!(remote.asks_to_retry());
        // What is cancelled makes room.
        assert!(client.cancel(id as u64).await.unwrap());
        let ended = first.await.unwrap().unwrap_err();
        assert_eq!(ended.remote().unwrap().reason, "sql.cancelled");
        assert_eq!(waiting.await.unwrap().unwrap().summary.rows, 1);
        assert!(!client.cancel(id as u64).await.unwrap(), "it has ended");

        // The same question again is answered from what was kept, until something new is acknowledged.
        let count = "SELECT count(*) FROM points";
        let hits = || metric(&server, "runlake_query_kept_hits_total");
        client.sql(count).await.unwrap();
        let before = hits();
        client.sql(count).await.unwrap();
        assert_eq!(hits(), before + 1);
    });
    assert_eq!(metric(&server, "runlake_query_memory_bytes"), 0);
    assert_eq!(metric(&server, "runlake_query_spill_bytes"), 0);
    let callers = done(command().args([
        "--url",
        &server.url(),
        "sql",
        "SELECT DISTINCT caller FROM system.queries",
        "--format",
        "csv",
    ]));
    assert_eq!(callers.expect(0).stdout, "caller\n127.0.0.1\n");
    let wal = done(command().args([
        "--url",
        &server.url(),
        "sql",
        "SELECT count(*) > 0 AS some, min(bytes) > 0 AS all FROM system.wal",
        "--format",
        "csv",
    ]));
    assert_eq!(wal.expect(0).stdout, "some,all\ntrue,true\n");
}

/// A number of `/metrics`.
fn metric(server: &Server, name: &str) -> u64 {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in {answer}")).trim().parse().unwrap()
}
