//! Aggregates over points that statistics of series answer: the same rows as from the points themselves.

use std::sync::Arc;

use model::{PointBatch, ProjectName};
use query::{Access, QueryOptions};

use crate::lake::{Kept, Lake, block_on, run_id, series, texts};

/// What the planner does not see through.
const POINTS: &str = "(SELECT * FROM points LIMIT 1000000000)";

/// In an order of their own. Sums are rounded at other places, and of two zeros either is the smallest.
fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for cell in rows.iter_mut().flatten() {
        if cell.contains('.')
            && let Ok(number) = cell.parse::<f64>()
        {
            *cell = format!("{:.12e}", number + 0.0);
        }
    }
    rows.sort_unstable();
    rows
}

/// Whether the plan reads statistics in place of points, and whether it reads points as well.
fn plan(lake: &Lake, sql: &str) -> (bool, bool) {
    let plan = format!("{:?}", lake.rows(&format!("EXPLAIN {sql}")));
    (plan.contains("series in place of points"), plan.contains("PointsExec"))
}

/// Series of all kinds: far from zero, near it, across bounds, with zeros of both signs, with NaNs of both signs, with
/// infinities; all sums are exact.
fn lake_of_kinds(kept: Kept) -> Lake {
    let mut lake = Lake::small(Kept::Flushed);
    let nan = f64::NAN.copysign(1.0);
    let kinds: [(&str, &[f64]); 10] = [
        ("loss/near", &[1.0, 2.0, 3.0]),
        ("loss/far", &[100.0, 200.0]),
        ("loss/across", &[1.0, 100.0, -100.0]),
        ("loss/edge", &[10.0, 5.0]),
        ("acc/zeros", &[0.0, -0.0]),
        ("acc/below", &[-4.0, -0.0]),
        ("acc/nan", &[nan, 1.0, -nan]),
        ("acc/nans", &[nan]),
        ("acc/up", &[f64::INFINITY, 2.0]),
        ("acc/down", &[f64::NEG_INFINITY, 2.0, nan]),
    ];
    block_on(async {
        for (run, context) in [(1, None), (2, Some(r#"{"subset":"val"}"#)), (3, None)] {
            for (metric, values) in kinds {
                let points: Vec<(i64, f64)> = (0..).zip(values.iter().map(|v| v * run as f64)).collect();
                let of_run = series(run, metric, context, &points);
                lake.store.append(PointBatch::new(vec![of_run]).unwrap(), None).await.unwrap();
            }
            if kept == Kept::Flushed || (kept == Kept::Both && run < 3) {
                lake.store.flush().await.unwrap();
            }
        }
    });
    lake.snapshot = lake.store.snapshot();
    lake
}

const CONDITIONS: [&str; 14] = [
    "true",
    "abs(value) < 10",
    "value < 10",
    "value <= 10.0 AND value > -5",
    "value >= 0",
    "value < 0",
    "isfinite(value)",
    "NOT isfinite(value)",
    "isnan(value)",
    "NOT isnan(value) AND value <> 2",
    "value BETWEEN 1 AND 100",
    "value IN (1, 2, 3) OR value > 1e300",
    "metric LIKE 'loss/%' AND value > 1.5",
    "run_id = '00000000000000000000000000000002' AND abs(value) < 50",
];

const AGGREGATES: [&str; 6] = [
    "count(*), count(value)",
    "count(*) AS n, min(value) FILTER (WHERE NOT isnan(value)) AS lo, max(value) FILTER (WHERE NOT isnan(value)) AS hi, sum(value) AS s",
    "avg(value)",
    "sum(CASE WHEN isfinite(value) THEN 1 ELSE 0 END), sum(CASE WHEN isnan(value) THEN 1 END), count(CASE WHEN value > 2 THEN 1 END)",
    "count(*) FILTER (WHERE value < 3), sum(value) FILTER (WHERE isfinite(value)), max(value) FILTER (WHERE abs(value) < 7)",
    "sum(CASE WHEN value < 5 THEN 2 ELSE -3 END), avg(value) FILTER (WHERE abs(value) < 200)",
];

const GROUPS: [&str; 5] =
    ["metric", "split_part(metric, '/', 1)", "run_id, context", "project, upper(experiment)", ""];

#[test]
fn the_answer_is_that_of_the_points() {
    for kept in [Kept::Flushed, Kept::Both, Kept::InMemory] {
        let lake = lake_of_kinds(kept);
        let (mut told, mut divided) = (0, 0);
        for condition in CONDITIONS {
            for aggregates in AGGREGATES {
                for group in GROUPS {
                    // Where the points are changes little of this; one of three lakes is asked everything.
                    if kept != Kept::Both && group != "metric" {
                        continue;
                    }
                    let ask = |from: &str| match group {
                        "" => format!("SELECT {aggregates} FROM {from} AS p WHERE {condition}"),
                        group => format!(
                            "SELECT {group}, {aggregates} FROM {from} AS p WHERE {condition} GROUP BY {group}"
                        ),
                    };
                    let (plain, ours) = (ask(POINTS), ask("points"));
                    assert_eq!(sorted(lake.rows(&ours)), sorted(lake.rows(&plain)), "{ours}");
                    if kept == Kept::Both {
                        assert!(!plan(&lake, &plain).0, "{plain}");
                        let (by_series, by_points) = plan(&lake, &ours);
                        told += usize::from(by_series && !by_points);
                        divided += usize::from(by_series && by_points);
                    }
                }
            }
        }
        // Else the test has compared points with points.
        assert!(kept != Kept::Both || (told > 20 && divided > 100), "{told} told, {divided} divided");
    }
}

#[test]
fn what_other_clauses_say_holds() {
    let lake = lake_of_kinds(Kept::Both);
    for sql in [
        "SELECT metric, count(*) AS n FROM {} AS p GROUP BY metric HAVING count(*) > 3 ORDER BY n DESC, metric LIMIT 3",
        "WITH p AS (SELECT metric AS m, value AS value FROM {}) SELECT m, sum(value) FROM p WHERE isfinite(value) GROUP BY m ORDER BY m",
        "SELECT x.metric, x.hi - y.lo FROM (SELECT metric, max(value) AS hi FROM {} AS p WHERE isfinite(value) GROUP BY metric) AS x JOIN (SELECT metric, min(value) AS lo FROM {} AS p WHERE isfinite(value) GROUP BY metric) AS y ON x.metric = y.metric ORDER BY 1",
        "SELECT DISTINCT count(*) FROM {} AS p WHERE abs(value) < 10 GROUP BY run_id, metric ORDER BY 1",
        "SELECT metric, step, count(*) FROM {} AS p WHERE value < 10 GROUP BY metric, step ORDER BY 1, 2",
        "SELECT metric, count(*) FROM {} AS p WHERE step < 1 GROUP BY metric ORDER BY 1",
        "SELECT metric, count(DISTINCT value), median(value) FROM {} AS p WHERE isfinite(value) GROUP BY metric ORDER BY 1",
        "SELECT metric, sum(value * 2), count(context) FROM {} AS p WHERE isfinite(value) GROUP BY metric ORDER BY 1",
        "SELECT metric, grouping(metric), count(*) FROM {} AS p WHERE isfinite(value) GROUP BY ROLLUP (metric) ORDER BY 1, 2",
        "SELECT count(*), sum(value), avg(value), min(value) FROM {} AS p WHERE value > 1e308 AND isfinite(value)",
        "SELECT metric FROM {} AS p WHERE abs(value) < 10 GROUP BY metric ORDER BY 1",
    ] {
        let (plain, ours) = (sql.replace("{}", POINTS), sql.replace("{}", "points"));
        assert_eq!(lake.rows(&ours), lake.rows(&plain), "{ours}");
    }
}

#[test]
fn only_projects_that_are_seen_count() {
    let lake = lake_of_kinds(Kept::Both);
    let projects = lake.rows("SELECT DISTINCT project FROM runs ORDER BY 1");
    assert!(projects.len() > 1);
    for project in projects {
        let seen = Arc::new([ProjectName::new(&project[0]).unwrap()].into());
        let ask = |from: &str| {
            let sql = format!(
                "SELECT metric, count(*), max(value) FROM {from} AS p WHERE isfinite(value) GROUP BY metric"
            );
            let options =
                QueryOptions { access: Access::Projects(Arc::clone(&seen)), ..QueryOptions::default() };
            sorted(texts(&lake.ask_with(&sql, options).unwrap()))
        };
        assert_eq!(ask("points"), ask(POINTS), "{project:?}");
        assert_ne!(
            ask("points"),
            sorted(lake.rows(
                "SELECT metric, count(*), max(value) FROM points WHERE isfinite(value) GROUP BY metric"
            ))
        );
    }
}

#[test]
fn points_of_deleted_runs_are_in_no_part() {
    let mut lake = lake_of_kinds(Kept::Both);
    let ask = |lake: &Lake, from: &str| {
        sorted(lake.rows(&format!(
            "SELECT run_id, count(*), min(value) FROM {from} AS p WHERE isfinite(value) GROUP BY run_id"
        )))
    };
    let before = ask(&lake, "points");
    block_on(lake.store.apply(vec![model::Command::DeleteRuns { runs: vec![run_id(2)] }], None)).unwrap();
    lake.snapshot = lake.store.snapshot();
    let after = ask(&lake, "points");
    assert_eq!(after, ask(&lake, POINTS));
    assert_eq!(after.len() + 1, before.len());
}

#[test]
fn nan_is_greater_than_all_numbers_whatever_the_order() {
    let rows = [
        "('a', 3.0)",
        "('a', 'NaN'::double)",
        "('a', 1.0)",
        "('b', 'NaN'::double)",
        "('a', -('NaN'::double))",
        "('c', -1.0)",
    ];
    for first in 0..rows.len() {
        let turned: Vec<&str> = rows.iter().cycle().skip(first).take(rows.len()).copied().collect();
        let table = format!("(VALUES {}) AS t(g, x)", turned.join(", "));
        let lake = Lake::empty();
        let in_groups = lake.rows(&format!("SELECT g, min(x), max(x) FROM {table} GROUP BY g ORDER BY g"));
        assert_eq!(in_groups, [["a", "1.0", "NaN"], ["b", "NaN", "NaN"], ["c", "-1.0", "-1.0"]], "{table}");
        assert_eq!(lake.rows(&format!("SELECT min(x), max(x) FROM {table}")), [["-1.0", "NaN"]], "{table}");
        assert_eq!(
            lake.rows(&format!("SELECT min(x), max(x) FROM {table} WHERE x = 77")),
            [["NULL", "NULL"]]
        );
    }
}
