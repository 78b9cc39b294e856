//! Window functions over partitions: streamed or not, in batches of any size, the answers are the same.

use std::time::Instant;

use query::{QueryLimits, QueryOptions};

use crate::lake::{Lake, texts};

/// Three curves of 30,000 rows, more than a batch each, with steps, spikes and gaps.
const CURVES: &str = "(SELECT p.i AS p, r.i AS step,
    CASE WHEN r.i % 9973 = 17 THEN 'NaN'::double WHEN r.i % 7001 = 5 THEN NULL WHEN r.i % 5003 = 3000 THEN 90.0
         ELSE (r.i / 10000) * 2 * p.i + 0.01 * ((r.i * 7919 + p.i) % 101) END AS value
    FROM range(1, 4) AS p(i), range(30000) AS r(i)) AS curves";

fn plan_of(lake: &Lake, sql: &str) -> String {
    lake.rows(&format!("EXPLAIN {sql}")).concat().join("\n")
}

#[test]
fn every_window_function_streams() {
    let lake = Lake::empty();
    for call in [
        "ema(value, alpha => 0.1)",
        "ema(value, halflife => 5, method => 'ewm')",
        "rolling_median(value, 9)",
        "spike(value)",
        "changepoint(value)",
    ] {
        let sql = format!("SELECT {call} OVER (PARTITION BY p ORDER BY step) FROM {CURVES}");
        let plan = plan_of(&lake, &sql);
        assert!(plan.contains("BoundedWindowAggExec") && !plan.contains(" WindowAggExec"), "{plan}");
    }
}

#[test]
fn a_partition_need_not_fit_in_memory() {
    let lake = Lake::empty();
    // One partition, of which never more is held than the rows within reach.
    let sql = "SELECT count(*) FILTER (WHERE changed), count(*) FILTER (WHERE spiked), max(smooth) FROM (
        SELECT changepoint(value) OVER (ORDER BY step) AS changed, spike(value) OVER (ORDER BY step) AS spiked,
            ema(value, alpha => 0.5) OVER (ORDER BY step) AS smooth
        FROM (SELECT i AS step, 1.0 + 0.01 * (i % 7) AS value FROM range(200000) AS r(i)))";
    let limits = QueryLimits { memory: 32 << 20, ..QueryLimits::default() };
    let started = Instant::now();
    let answer = lake.ask_with(sql, QueryOptions { limits, ..QueryOptions::default() }).unwrap();
    println!("200,000 rows in {:?}", started.elapsed());
    let rows = texts(&answer);
    assert_eq!(rows[0][..2], ["0", "0"], "{rows:?}");
}

#[test]
fn streamed_and_whole_partitions_give_the_same() {
    let lake = Lake::empty();
    let calls = [
        "ema(value, alpha => 0.1)",
        "ema(value, alpha => 0.1, method => 'ewm')",
        "rolling_median(value, 5)",
        "spike(value, 20)",
        "changepoint(value)",
    ];
    for call in calls {
        let over = "OVER (PARTITION BY p ORDER BY step)";
        let digest = "count(x), count(*), sum(CASE WHEN x::double = x::double AND NOT isnan(x::double) THEN x::double * (step % 13) END)";
        let streamed = format!(
            "SELECT p, {digest} FROM (SELECT p, step, {call} {over} AS x FROM {CURVES}) GROUP BY p ORDER BY p"
        );
        // A function that needs the whole partition beside it makes the engine collect the rows first.
        let whole = format!(
            "SELECT p, {digest} FROM (SELECT p, step, {call} {over} AS x, ntile(4) {over} AS n FROM {CURVES}) WHERE n > 0 GROUP BY p ORDER BY p"
        );
        assert!(!plan_of(&lake, &whole).contains("BoundedWindowAggExec"), "{}", plan_of(&lake, &whole));
        let (streamed, whole) = (lake.rows(&streamed), lake.rows(&whole));
        for (streamed, whole) in streamed.iter().zip(&whole) {
            assert_eq!(streamed[..3], whole[..3], "{call}");
            let number = |row: &Vec<String>| row[3].parse::<f64>().unwrap();
            let (a, b) = (number(streamed), number(whole));
            assert!((a - b).abs() <= 1e-9 * a.abs(), "{call}: {a} {b}");
        }
    }
}

#[test]
fn partitions_do_not_mix() {
    let lake = Lake::empty();
    let rows = lake.rows(
        "SELECT p, step, rolling_median(v, 2) OVER (PARTITION BY p ORDER BY step) FROM
         (VALUES ('a', 1, 1.0), ('a', 2, 3.0), ('b', 1, 10.0), ('b', 2, 30.0), ('c', 1, NULL)) AS t(p, step, v) ORDER BY 1, 2",
    );
    let expected =
        [["a", "1", "1.0"], ["a", "2", "2.0"], ["b", "1", "10.0"], ["b", "2", "20.0"], ["c", "1", "NULL"]];
    assert_eq!(rows, expected);
}
