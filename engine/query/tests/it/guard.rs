//! Hostile statements: each is refused with a clear error, quickly, and nothing is read or written outside of the lake.

use std::time::{Duration, Instant};

use query::{QueryError, QueryLimits, QueryOptions, SessionConfig, SessionFactory, run};

use crate::lake::{Kept, Lake, block_on};

fn code(lake: &Lake, sql: &str) -> &'static str {
    match lake.ask(sql) {
        Ok(_) => "answered",
        Err(error) => {
            assert!(error.to_string().len() < 2_000, "{error}");
            error.code()
        }
    }
}

#[test]
fn statements_that_are_too_complex_are_refused_before_they_are_planned() {
    let lake = Lake::empty();
    let terms = |term: &str, between: &str, count: usize| vec![term; count].join(between);
    let hostile = [
        format!("SELECT {}", terms("1", "+", 20_000)),
        format!("SELECT 1 WHERE {}", terms("1=1", " OR ", 50_000)),
        terms("SELECT 1", " UNION ALL ", 5_000),
        format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("SELECT {}1{}", "(".repeat(100), ")".repeat(100)),
        format!("SELECT {}", "NOT ".repeat(20_000) + "true"),
        format!("SELECT {}1", "- ".repeat(5_000)),
        format!("SELECT 1{}", "::bigint".repeat(5_000)),
        format!("SELECT {}1{}", "[".repeat(3_000), "]".repeat(3_000)),
        format!("SELECT {} 1 {}", "CASE WHEN true THEN ".repeat(500), "END ".repeat(500)),
        format!("SELECT 1 FROM {}", terms("runs", " CROSS JOIN ", 40)),
        format!("SELECT '{}'", "x".repeat(2 << 20)),
        format!("SELECT {}", terms("1", ",", 60_000)),
    ];
    for sql in hostile {
        let started = Instant::now();
        let shown: String = sql.chars().take(60).collect();
        assert_eq!(code(&lake, &sql), "sql.too_complex", "{shown}");
        assert!(started.elapsed() < Duration::from_secs(2), "{shown}: {:?}", started.elapsed());
    }
}

#[test]
fn what_a_person_writes_is_not_too_complex() {
    let lake = Lake::small(Kept::InMemory);
    let ids: Vec<String> = (0..5_000).map(|number| format!("'{number:032x}'")).collect();
    assert_eq!(lake.cell(&format!("SELECT count(*) FROM runs WHERE run_id IN ({})", ids.join(","))), "4");
    let terms = vec!["1"; 900].join("+");
    assert_eq!(lake.cell(&format!("SELECT {terms}")), "900");
    let nested = format!("SELECT {}1{}", "(".repeat(60), ")".repeat(60));
    assert_eq!(lake.cell(&nested), "1");
    let unions = vec!["SELECT 1 AS x"; 100].join(" UNION ALL ");
    assert_eq!(lake.cell(&format!("SELECT sum(x) FROM ({unions}) AS u")), "100");
}

#[test]
fn only_reads_pass() {
    let lake = Lake::small(Kept::InMemory);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv").display().to_string();
    let refused = [
        format!("COPY (SELECT 1) TO '{path}'"),
        format!("COPY runs TO '{path}' STORED AS CSV"),
        format!("EXPLAIN ANALYZE COPY (SELECT 1) TO '{path}'"),
        format!("EXPLAIN COPY runs TO '{path}'"),
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'".to_owned(),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "CREATE VIEW v AS SELECT 1".to_owned(),
        "SELECT 1 INTO t".to_owned(),
        "INSERT INTO runs SELECT * FROM runs".to_owned(),
        "EXPLAIN ANALYZE INSERT INTO runs SELECT * FROM runs".to_owned(),
        "WITH x AS (SELECT 1) INSERT INTO runs SELECT * FROM x".to_owned(),
        "UPDATE runs SET name = 'x'".to_owned(),
        "DELETE FROM runs".to_owned(),
        "DROP TABLE runs".to_owned(),
        "TRUNCATE TABLE runs".to_owned(),
        "ALTER TABLE runs ADD COLUMN x INT".to_owned(),
        "BEGIN".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "RESET ALL".to_owned(),
        "CREATE FUNCTION f() RETURNS INT RETURN 1".to_owned(),
        "CALL f()".to_owned(),
    ];
    for sql in refused {
        let answer = code(&lake, &sql);
        assert!(matches!(answer, "sql.read_only" | "sql.syntax" | "sql.invalid"), "{sql}: {answer}");
    }
    assert!(!std::path::Path::new(&path).exists());
    assert_eq!(lake.cell("SELECT count(*) FROM runs"), "4");
}

#[test]
fn what_only_shows_is_allowed() {
    let lake = Lake::empty();
    for sql in [
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT count(*) FROM runs",
        "SHOW TABLES",
        "SHOW COLUMNS FROM runs",
        "DESCRIBE points",
        "VALUES (1), (2)",
        "WITH x AS (SELECT 1 AS y) SELECT y FROM x",
    ] {
        assert_eq!(code(&lake, sql), "answered", "{sql}");
    }
}

#[test]
fn files_and_settings_are_out_of_reach() {
    let lake = Lake::empty();
    for sql in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'file:///etc/hosts.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('/tmp/x.parquet')",
        "SELECT * FROM parquet_metadata('/tmp/x.parquet')",
        "SET datafusion.runtime.temp_directory = '/tmp'",
        "SET datafusion.execution.batch_size = 1",
        "SET runlake.device = 'gpu'",
        "SET runlake.seed = 'x'",
    ] {
        let answer = code(&lake, sql);
        let refused =
            matches!(answer, "sql.unknown_table" | "sql.unknown_function" | "sql.setting" | "sql.invalid");
        assert!(refused, "{sql}: {answer}");
    }
}

#[test]
fn one_statement_at_a_time() {
    let lake = Lake::empty();
    assert_eq!(code(&lake, "SELECT 1; SELECT 2"), "sql.statement_count");
    assert_eq!(code(&lake, "SELECT 1; DROP TABLE runs"), "sql.statement_count");
    assert_eq!(code(&lake, ""), "sql.statement_count");
    assert_eq!(code(&lake, " ; -- nothing"), "sql.statement_count");
    assert_eq!(code(&lake, "SELECT 1;"), "answered");
}

#[test]
fn results_that_explode_are_refused() {
    let lake = Lake::empty();
    for sql in [
        "SELECT repeat('x', 1000000000)",
        "SELECT length(repeat('x', 1000000000))",
        "SELECT repeat(repeat('x', 10000000), 100)",
        "SELECT lpad('x', 1000000000)",
        "SELECT rpad('x', 2000000000, 'y')",
        "SELECT array_repeat(1, 1000000000)",
        "SELECT array_resize([1], 1000000000)",
        "SELECT range(10000000000)",
        "SELECT generate_series(1, 10000000000)",
        "SELECT range(0, 10000000000, 1)",
        "SELECT * FROM range(10000000000)",
        "SELECT count(*) FROM generate_series(1, 10000000000)",
        "SELECT repeat('x', v * 1000) FROM range(100000) AS t(v)",
    ] {
        let started = Instant::now();
        let answer = code(&lake, sql);
        assert!(matches!(answer, "sql.invalid" | "sql.execution"), "{sql}: {answer}");
        assert!(started.elapsed() < Duration::from_secs(2), "{sql}: {:?}", started.elapsed());
    }
    assert_eq!(lake.cell("SELECT repeat('ab', 3)"), "ababab");
    assert_eq!(lake.cell("SELECT lpad('x', 3, '-')"), "--x");
    assert_eq!(lake.cell("SELECT sum(v) FROM range(10) AS t(v)"), "45");
    assert_eq!(lake.cell("SELECT array_length(range(0, 10, 3))"), "4");
}

#[test]
fn rows_bytes_time_and_memory_are_limited() {
    let lake = Lake::empty();
    let with = |limits: QueryLimits| QueryOptions { limits, ..QueryOptions::default() };
    let ask = |sql: &str, limits: QueryLimits| lake.ask_with(sql, with(limits)).unwrap_err();

    let few = QueryLimits { rows: Some(100), ..QueryLimits::default() };
    let error = ask("SELECT * FROM range(101)", few.clone());
    assert_eq!(error, QueryError::ResultTooLarge { limit: 100, unit: "rows" });
    assert!(lake.ask_with("SELECT * FROM range(100)", with(few)).is_ok());

    let small = QueryLimits { bytes: Some(1 << 20), ..QueryLimits::default() };
    assert_eq!(ask("SELECT * FROM range(1000000)", small).code(), "sql.result_too_large");

    let started = Instant::now();
    let short = QueryLimits { time: Duration::from_millis(300), ..QueryLimits::default() };
    let sql = "SELECT count(*) FROM range(20000) AS a(x), range(20000) AS b(y) WHERE sin(a.x) > cos(b.y)";
    // Threads of its own, since these will be busy.
    let factory = SessionFactory::new(&SessionConfig { memory: 1 << 30, spill: 0, threads: 2 }).unwrap();
    let answer = block_on(async { run(&factory, &lake.snapshot, sql, with(short)).await?.collect().await });
    assert_eq!(answer.unwrap_err().code(), "sql.time");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());

    // Without disk to fall back to, memory that is not there is an error.
    let little = QueryLimits { memory: 1 << 20, ..QueryLimits::default() };
    let factory = SessionFactory::new(&SessionConfig { memory: 1 << 30, spill: 0, threads: 1 }).unwrap();
    let sql = "SELECT v % 1000000, array_agg(v) FROM range(2000000) AS t(v) GROUP BY 1";
    let answer = block_on(async { run(&factory, &lake.snapshot, sql, with(little)).await?.collect().await });
    let error = answer.map(|batches| batches.len()).unwrap_err();
    assert_eq!(error, QueryError::Memory { limit_mib: 1 });
}
