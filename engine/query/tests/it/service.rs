//! The query service: turns, limits, cancelling, what is known of statements, answers that are kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use model::ProjectName;
use query::{
    Access, Answer, QueryError, QueryLimits, QueryOptions, QueryService, ServiceConfig, SessionConfig,
    SessionFactory, Settings, StatementState,
};

use crate::lake::{Kept, Lake, append_point, block_on, texts};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
/// Keeps one thread busy for minutes.
const ENDLESS: &str =
    "SELECT count(*) FROM range(300000) AS a(x), range(300000) AS b(y) WHERE sin(x) > 2 + cos(y)";

struct Bench {
    lake: Lake,
    service: QueryService,
}

impl Bench {
    fn new(config: ServiceConfig, session: &SessionConfig) -> Self {
        let factory = Arc::new(SessionFactory::new(session).unwrap());
        Self { lake: Lake::small(Kept::InMemory), service: QueryService::new(factory, config) }
    }

    /// One thread, so that a statement is answered only when no other one computes.
    fn narrow(config: ServiceConfig) -> Self {
        Self::new(config, &SessionConfig { memory: 256 << 20, spill: 1 << 30, threads: 1 })
    }

    async fn begin(&self, sql: &str, options: QueryOptions) -> Result<Answer, QueryError> {
        let newest = self.lake.store.snapshot().last_seq();
        let snapshot = async { Ok::<_, QueryError>(self.lake.store.snapshot()) }.boxed();
        self.service.run(sql, options, Some(newest), snapshot).await
    }

    async fn ask_as(&self, caller: &str, sql: &str) -> Result<Vec<Vec<String>>, QueryError> {
        let options = QueryOptions { caller: caller.to_owned(), ..QueryOptions::default() };
        Ok(texts(&self.begin(sql, options).await?.collect().await?))
    }

    async fn ask(&self, sql: &str) -> Result<Vec<Vec<String>>, QueryError> {
        self.ask_as("", sql).await
    }

    /// Memory, bytes and number of temporary files.
    fn held(&self) -> (u64, u64, u64) {
        let metrics = self.service.metrics();
        (metrics.memory, metrics.spill, metrics.spill_files)
    }

    async fn eventually(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < LONG, "never became true: {what}: {:?}", self.service.metrics());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn with(limits: QueryLimits) -> QueryOptions {
    QueryOptions { limits, ..QueryOptions::default() }
}

fn slots(slots: usize) -> ServiceConfig {
    ServiceConfig { slots, reserved: 1, waiting: 4, wait: LONG, kept_answers: 0 }
}

#[test]
fn sorts_and_groupings_larger_than_their_memory_go_to_disk_and_leave_nothing() {
    for threads in [1, 4] {
        let session = SessionConfig { memory: 256 << 20, spill: 1 << 30, threads };
        let bench = Bench::new(slots(2), &session);
        let little = QueryLimits { memory: 16 << 20, ..QueryLimits::default() };
        block_on(async {
            // 1.5 million rows of 16 bytes, which a sort counts twice, in 16 MiB.
            let sorted = "SELECT count(*) AS n, min(y) AS least FROM (SELECT x, lag(x) OVER (ORDER BY x % 7919, x) AS y \
                          FROM range(1500000) AS t(x))";
            let answer = bench.begin(sorted, with(little.clone())).await.unwrap().collect().await.unwrap();
            assert_eq!(texts(&answer), [["1500000", "0"]]);
            let ordered = "SELECT x, x % 7919 AS k FROM range(1500000) AS t(x) ORDER BY k DESC, x";
            let all = QueryLimits { rows: None, bytes: None, ..little.clone() };
            let mut answer = bench.begin(ordered, with(all)).await.unwrap();
            let (mut rows, mut before) = (0, (i64::MAX, i64::MIN));
            while let Some(batch) = answer.batches.next().await {
                let batch = batch.unwrap();
                let column =
                    |at: usize| batch.column(at).as_any().downcast_ref::<arrow::array::Int64Array>().unwrap();
                for row in 0..batch.num_rows() {
                    let here = (column(1).value(row), column(0).value(row));
                    assert!(
                        here.0 < before.0 || (here.0 == before.0 && here.1 > before.1),
                        "{before:?} {here:?}"
                    );
                    before = here;
                    rows += 1;
                }
            }
            assert_eq!(rows, 1_500_000);
            drop(answer);
            let grouped = "SELECT count(*), sum(n), max(s) FROM \
                           (SELECT x % 1000003 AS k, count(*) AS n, sum(x) AS s FROM range(1500000) AS t(x) GROUP BY k)";
            let answer = bench.begin(grouped, with(little.clone())).await.unwrap().collect().await.unwrap();
            assert_eq!(texts(&answer), [["1000003", "1500000", "1999995"]]);
        });
        let ran = bench.service.statements();
        assert!(ran.iter().all(|row| row.state == StatementState::Finished), "{ran:?}");
        assert!(ran.iter().all(|row| row.spilled > 1 << 20), "{ran:?}");
        assert!(ran.iter().all(|row| row.memory <= 17 << 20 && row.memory > 1 << 20), "{ran:?}");
        block_on(bench.eventually("nothing is held", |bench| bench.held() == (0, 0, 0)));
        assert!(bench.service.metrics().spilled > 30 << 20);
    }
}

#[test]
fn without_disk_or_beyond_its_limit_the_error_says_which() {
    let bench = Bench::narrow(slots(2));
    let sql = "SELECT x FROM range(3000000) AS t(x) ORDER BY x % 7919, x";
    block_on(async {
        for (spill, code) in [(0, "sql.memory"), (4 << 20, "sql.spill")] {
            let limits = QueryLimits { memory: 8 << 20, spill, ..QueryLimits::default() };
            let answer = async { bench.begin(sql, with(limits)).await?.collect().await }.await;
            assert_eq!(answer.unwrap_err().code(), code);
        }
        bench.eventually("nothing is held", |bench| bench.held() == (0, 0, 0)).await;
    });
}

#[test]
fn dropping_an_answer_ends_its_work_at_once() {
    let bench = Bench::narrow(slots(2));
    block_on(async {
        // It computes: with one thread, nobody else is answered before it ends.
        let computing = bench.begin(ENDLESS, QueryOptions::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let dropped = Instant::now();
        drop(computing);
        assert_eq!(bench.ask("SELECT 1").await.unwrap(), [["1"]]);
        assert!(dropped.elapsed() < Duration::from_secs(3), "{:?}", dropped.elapsed());

        // So does its time limit.
        let short = QueryLimits { time: Duration::from_millis(200), ..QueryLimits::default() };
        let began = Instant::now();
        let late = async { bench.begin(ENDLESS, with(short)).await?.collect().await }.await;
        assert_eq!(late.unwrap_err().code(), "sql.time");
        assert_eq!(bench.ask("SELECT 1").await.unwrap(), [["1"]]);
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());

        // It has written temporary files.
        let limits = QueryLimits { memory: 16 << 20, ..QueryLimits::default() };
        let sql = "SELECT x FROM range(10000000) AS t(x) ORDER BY x % 7919, x";
        let spilling = bench.begin(sql, with(limits)).await.unwrap();
        bench.eventually("it spills", |bench| bench.service.metrics().spill > 4 << 20).await;
        let dropped = Instant::now();
        drop(spilling);
        bench.eventually("nothing is held", |bench| bench.held() == (0, 0, 0)).await;
        assert!(dropped.elapsed() < Duration::from_secs(3), "{:?}", dropped.elapsed());
        let rows = bench.service.statements();
        let states: Vec<&str> = rows.iter().map(|row| row.state.as_str()).collect();
        assert_eq!(states, ["cancelled", "finished", "failed", "finished", "cancelled"]);
        bench.eventually("no slot is held", |bench| bench.service.metrics().running == 0).await;
    });
}

#[test]
fn a_statement_is_cancelled_by_its_number_also_when_nobody_reads_it() {
    let bench = Bench::narrow(slots(2));
    block_on(async {
        let limits = QueryLimits { memory: 64 << 20, ..QueryLimits::default() };
        let sql = "SELECT x FROM range(10000000) AS t(x) ORDER BY x % 7919, x";
        let mut idle = bench.begin(sql, with(limits)).await.unwrap();
        bench.eventually("it holds memory", |bench| bench.held().0 > 4 << 20).await;
        let id = bench.service.statements()[0].id;
        let nobody = Access::Projects(Arc::default());
        assert!(!bench.service.cancel(id, &nobody, "a stranger"));
        assert!(!bench.service.cancel(id + 1, &Access::All, ""));
        assert!(bench.service.cancel(id, &Access::All, ""));
        bench.eventually("nothing is held", |bench| bench.held() == (0, 0, 0)).await;
        bench.eventually("its slot is free", |bench| bench.service.metrics().running == 0).await;
        assert_eq!(bench.service.statements()[0].state, StatementState::Cancelled);
        let error = idle.batches.next().await.unwrap().unwrap_err();
        assert_eq!((error.code(), error.sqlstate()), ("sql.cancelled", "57014"));
        assert!(idle.batches.next().await.is_none());
    });
}

#[test]
fn who_waits_has_its_turn_its_time_and_its_cancel() {
    let bench = Bench::narrow(slots(1));
    block_on(async {
        let running = bench.begin(ENDLESS, QueryOptions::default()).await.unwrap();
        // Cancelled while it waits.
        let waiting = async {
            bench.eventually("it waits", |bench| bench.service.metrics().waiting == 1).await;
            let id = bench.service.statements().last().unwrap().id;
            assert_eq!(bench.service.statements().last().unwrap().state, StatementState::Waiting);
            assert!(bench.service.cancel(id, &Access::All, ""));
        };
        let (answer, ()) = tokio::join!(bench.ask("SELECT 1"), waiting);
        assert_eq!(answer.unwrap_err().code(), "sql.cancelled");
        // Its own time counts while it waits.
        let short = with(QueryLimits { time: Duration::from_millis(100), ..QueryLimits::default() });
        let error = bench.begin("SELECT 2", short).await.unwrap_err();
        assert_eq!((error.code(), error.sqlstate()), ("sql.busy", "53300"));
        assert!(error.to_string().contains("try again"), "{error}");
        // It has its turn when the other one ends, and sees the lake of that moment.
        let free = async {
            bench.eventually("it waits", |bench| bench.service.metrics().waiting == 1).await;
            append_point(&bench.lake, 4, "bleu", 1_000, 1.0).await;
            drop(running);
        };
        let points = bench.lake.snapshot.memtable_points();
        let (answer, ()) = tokio::join!(bench.ask("SELECT count(*) FROM points"), free);
        assert_eq!(answer.unwrap(), [[(points + 1).to_string()]]);
        let last = bench.service.statements().last().unwrap().clone();
        assert!(last.waited > Duration::ZERO && last.waited <= last.elapsed, "{last:?}");
    });
}

#[test]
fn a_question_about_runs_is_answered_beside_long_scans() {
    // Also with one thread, which a join never leaves by itself.
    let bench = Bench::narrow(slots(1));
    block_on(async {
        let long = bench.begin(ENDLESS, QueryOptions::default()).await.unwrap();
        assert_eq!(bench.ask("SELECT count(*) FROM runs").await.unwrap(), [["4"]]);
        let states = "SELECT state, sql FROM system.queries WHERE state = 'running' ORDER BY id";
        let rows = bench.ask(states).await.unwrap();
        assert_eq!(rows, [["running", ENDLESS], ["running", states]]);
        drop(long);
    });
}

#[test]
fn a_full_queue_is_refused_and_the_refusal_is_known() {
    let bench = Bench::narrow(ServiceConfig { waiting: 0, ..slots(1) });
    block_on(async {
        let running = bench.begin(ENDLESS, QueryOptions::default()).await.unwrap();
        let error = bench.ask("SELECT 1").await.unwrap_err();
        assert_eq!(error.code(), "sql.busy");
        drop(running);
        let row = bench.service.statements().into_iter().find(|row| &*row.sql == "SELECT 1").unwrap();
        assert_eq!(row.state, StatementState::Failed);
        assert!(row.error.unwrap().contains("waiting already"));
    });
}

#[test]
fn system_queries_shows_everything_and_to_others_their_own() {
    let bench = Bench::narrow(slots(2));
    block_on(async {
        bench.ask_as("ada", "SELECT name FROM runs").await.unwrap();
        assert!(bench.ask_as("bob", "SELECT nam FROM runs").await.is_err());
        let sql = "SELECT id, caller, sql, state, rows, bytes > 0, waited <= elapsed, spilled, cached, error, \
                   started > now() - INTERVAL '1 hour' FROM system.queries ORDER BY id";
        let rows = bench.ask(sql).await.unwrap();
        assert_eq!(
            rows[0][..10],
            ["1", "ada", "SELECT name FROM runs", "finished", "4", "true", "true", "0", "false", "NULL"]
        );
        assert_eq!(rows[1][1..5], ["bob", "SELECT nam FROM runs", "failed", "0"]);
        assert!(rows[1][9].starts_with("unknown column 'nam'"), "{:?}", rows[1]);
        assert_eq!((rows[2][1].as_str(), rows[2][3].as_str(), rows[2][10].as_str()), ("", "running", "true"));
        // A caller who sees one project sees what it asked itself.
        let projects = Arc::new(BTreeSet::from([ProjectName::new("nlp").unwrap()]));
        let options = QueryOptions {
            access: Access::Projects(projects),
            caller: "bob".to_owned(),
            ..QueryOptions::default()
        };
        let answer = bench.begin("SELECT DISTINCT caller FROM system.queries", options).await.unwrap();
        assert_eq!(texts(&answer.collect().await.unwrap()), [["bob"]]);
    });
}

#[test]
fn the_largest_statement_is_ended_when_memory_is_short() {
    let session = SessionConfig { memory: 256 << 20, spill: 1 << 30, threads: 2 };
    let bench = Bench::new(slots(3), &session);
    block_on(async {
        assert_eq!(bench.service.cancel_largest(), None);
        let sql = "SELECT x FROM range(10000000) AS t(x) ORDER BY x % 7919, x";
        let small = QueryLimits { memory: 4 << 20, ..QueryLimits::default() };
        let large = QueryLimits { memory: 100 << 20, ..QueryLimits::default() };
        let first = bench.begin(sql, with(small)).await.unwrap();
        let mut second = bench.begin(sql, with(large)).await.unwrap();
        bench.eventually("the second is larger", |bench| bench.held().0 > 40 << 20).await;
        let (id, bytes) = bench.service.cancel_largest().unwrap();
        assert!(id == 2 && bytes > 20 << 20, "{id} {bytes}");
        let error = second.batches.next().await.unwrap().unwrap_err();
        assert!(error.code() == "sql.busy" && error.to_string().contains("memory limit"), "{error}");
        assert_eq!(bench.service.statements()[0].state, StatementState::Running);
        drop(first);
        bench.eventually("nothing is held", |bench| bench.held() == (0, 0, 0)).await;
    });
}

#[test]
fn a_kept_answer_is_given_again_until_a_point_is_acknowledged() {
    let config = ServiceConfig { kept_answers: 1 << 20, ..slots(2) };
    let bench = Bench::narrow(config);
    let hits = || bench.service.metrics().kept_hits;
    block_on(async {
        let count = "SELECT count(*) FROM points";
        let before: u64 = bench.ask(count).await.unwrap()[0][0].parse().unwrap();
        assert_eq!(
            (bench.ask(" SELECT count(*) FROM points\n").await.unwrap(), hits()),
            (vec![vec![before.to_string()]], 1)
        );
        for number in 1..=20 {
            append_point(&bench.lake, 4, "bleu", 100 + number, 1.0).await;
            let now: u64 = bench.ask(count).await.unwrap()[0][0].parse().unwrap();
            assert_eq!(now, before + number as u64, "an acknowledged point is not seen");
        }
        assert_eq!(hits(), 1);
        let cached = "SELECT sql, cached FROM system.queries WHERE cached";
        assert_eq!(bench.ask(cached).await.unwrap(), [[count, "true"]]);

        // What may differ is never kept.
        let again = hits();
        for sql in [
            "SELECT now()",
            "SELECT name, random() FROM runs",
            "SELECT uuid()",
            "SELECT count(*) FROM runs WHERE start_time < now()",
            "SELECT (SELECT max(random()) FROM runs)",
            "SELECT count(*) FROM system.queries",
            "SELECT count(*) FROM system.files",
            "EXPLAIN ANALYZE SELECT count(*) FROM runs",
            "SELECT nothing FROM runs",
            "SELECT * FROM range(1000000)",
        ] {
            for _ in 0..2 {
                drop(bench.ask(sql).await);
            }
            assert_eq!(hits(), again, "{sql}");
        }
        // An answer that was not read to its end is no answer.
        let part = "SELECT * FROM range(50)";
        drop(bench.begin(part, QueryOptions::default()).await.unwrap());
        bench.ask(part).await.unwrap();
        assert_eq!(hits(), again);
        bench.ask(part).await.unwrap();
        assert_eq!(hits(), again + 1);
        // Other settings, other rights: another answer.
        let seeded =
            QueryOptions { settings: Settings { seed: 9, ..Settings::default() }, ..QueryOptions::default() };
        drop(bench.begin(part, seeded).await.unwrap().collect().await);
        let stranger = QueryOptions { access: Access::Projects(Arc::default()), ..QueryOptions::default() };
        let answer = bench.begin("SELECT count(*) FROM runs", stranger).await.unwrap();
        assert_eq!(texts(&answer.collect().await.unwrap()), [["0"]]);
        assert_eq!(hits(), again + 1);
        assert_eq!(bench.ask("SELECT count(*) FROM runs").await.unwrap(), [["4"]]);
    });
}

#[test]
fn system_limits_says_what_this_statement_may_cost() {
    let bench = Bench::narrow(slots(2));
    block_on(async {
        let sql = "SELECT name, value FROM system.limits WHERE name IN \
                   ('sql.memory', 'sql.memory_all', 'sql.spill', 'sql.result_rows', 'sql.slots', 'sql.waiting') ORDER BY 1";
        let limits = QueryLimits { memory: 7 << 20, rows: None, ..QueryLimits::default() };
        let answer = bench.begin(sql, with(limits)).await.unwrap().collect().await.unwrap();
        assert_eq!(
            texts(&answer),
            [
                ["sql.memory", "7340032"],
                ["sql.memory_all", "268435456"],
                ["sql.result_rows", "NULL"],
                ["sql.slots", "2"],
                ["sql.spill", "1073741824"],
                ["sql.waiting", "4"],
            ]
        );
    });
}
