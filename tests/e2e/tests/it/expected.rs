//! What the tools' own readers gave, and what a lake has, in one form to compare.

use std::collections::BTreeMap;
use std::path::Path;

use e2e::{ExpectedPoint, expected_points, sql, sql_texts};

/// Points by run and metric: step, time in microseconds where the tool has one, value.
pub(crate) type Points = BTreeMap<(String, String), Vec<(i64, Option<i64>, f64)>>;

/// `expected_points.csv.gz` of a tool: the points of runs that begin with a text, without that text.
pub(crate) fn points(tool: &Path, prefix: &str, micros: fn(&str) -> i64) -> Points {
    let mut points = Points::new();
    for ExpectedPoint { run, metric, step, time, value } in expected_points(tool) {
        let Some(run) = run.strip_prefix(prefix) else { continue };
        let time = (!time.is_empty()).then(|| micros(&time));
        let point = (step.parse().unwrap(), time, value.parse().unwrap());
        points.entry((run.to_owned(), metric)).or_default().push(point);
    }
    points
}

/// All points of a lake; runs are named by a column of the table `runs`.
pub(crate) fn points_of(lake: &Path, run_column: &str) -> Points {
    let names: BTreeMap<String, String> =
        sql_texts(lake, &format!("SELECT run_id AS id, {run_column} AS name FROM runs"))
            .into_iter()
            .map(|row| (row[0].clone(), row[1].clone()))
            .collect();
    let mut points = Points::new();
    for row in sql_texts(lake, "SELECT run_id, metric, step, CAST(time AS BIGINT), value FROM points") {
        let [run, metric, step, time, value] = row.as_slice() else { panic!("{row:?}") };
        let point = (step.parse().unwrap(), Some(time.parse().unwrap()), value.parse().unwrap());
        points.entry((names[run].clone(), metric.clone())).or_default().push(point);
    }
    points
}

/// Compares the same series with the same points, in any order; a time is compared where the tool has one.
#[track_caller]
pub(crate) fn assert_same_points(found: &Points, expected: &Points) {
    let keys = |points: &Points| points.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(found), keys(expected));
    for (key, wanted) in expected {
        let timed = wanted.iter().any(|(_, time, _)| time.is_some());
        let sorted = |points: &[(i64, Option<i64>, f64)]| {
            let mut points: Vec<_> = points
                .iter()
                .map(|(step, time, value)| (*step, time.filter(|_| timed), value.is_nan(), value.to_bits()))
                .map(|(step, time, nan, bits)| (step, time, if nan { u64::MAX } else { bits }))
                .collect();
            points.sort_unstable();
            points
        };
        assert_eq!(sorted(&found[key]), sorted(wanted), "{key:?}");
    }
}

/// Rows of each table that an import fills.
pub(crate) fn counts(lake: &Path) -> Vec<(&'static str, u64)> {
    let tables = ["runs", "points", "series", "params", "tags", "experiments"];
    let columns = tables.map(|table| format!("(SELECT count(*) FROM {table}) AS {table}"));
    let row = &sql(lake, &format!("SELECT {}", columns.join(", ")))[0];
    tables.map(|table| (table, row[table].as_u64().unwrap())).to_vec()
}

/// Key and text of a table by a run's column.
pub(crate) fn texts(
    lake: &Path,
    table: &str,
    run_column: &str,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let statement = format!(
        "SELECT r.{run_column} AS run, k.key AS key, k.text AS text FROM {table} k JOIN runs r ON r.run_id = k.run_id"
    );
    let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for row in sql(lake, &statement) {
        let text = |column: &str| row[column].as_str().unwrap().to_owned();
        found.entry(text("run")).or_default().insert(text("key"), text("text"));
    }
    found
}
