//! What a statement does not need is not read, and EXPLAIN ANALYZE says so.

use model::{
    Command, ExperimentName, Key, MetricName, NewRun, ParamValue, Point, PointBatch, PointColumns,
    ProjectName, SeriesPoints,
};

use crate::lake::{Kept, Lake, block_on, run_id};

/// 300 runs in three experiments, with two metrics of 40 points each.
fn many() -> Lake {
    let mut lake = Lake::empty();
    block_on(async {
        for start in (0..300_u128).step_by(100) {
            let mut commands = Vec::new();
            let mut parts = Vec::new();
            for number in start..start + 100 {
                let (project, experiment) = (ProjectName::default(), format!("e{}", number % 3));
                let experiment = ExperimentName::new(experiment).unwrap();
                let id = run_id(number + 1);
                commands.push(Command::CreateRun(NewRun::named(id, project, experiment, "r", 1)));
                let lr = ParamValue::new((number as f64 / 1000.0).to_string()).unwrap();
                commands.push(Command::SetParams { run: id, params: vec![(Key::new("lr").unwrap(), lr)] });
                for metric in ["loss", "acc"] {
                    let mut points = PointColumns::default();
                    for step in 0..40 {
                        let time = number as i64 * 1_000_000 + step;
                        points.push(Point { step, step_fraction: None, time, value: step as f64 });
                    }
                    let metric = MetricName::new(metric).unwrap();
                    parts.push(SeriesPoints { run: id, metric, context: None, attempt: 0, points });
                }
            }
            lake.store.apply(commands, None).await.unwrap();
            lake.store.append(PointBatch::new(parts).unwrap(), None).await.unwrap();
            if start < 200 {
                lake.store.flush().await.unwrap();
            }
        }
    });
    lake.snapshot = lake.store.snapshot();
    lake
}

/// The line of EXPLAIN ANALYZE about a scan of a table.
fn scan(lake: &Lake, sql: &str, of: &str) -> String {
    let rows = lake.rows(&format!("EXPLAIN ANALYZE {sql}"));
    let text = rows.concat().join("\n");
    let found = text.lines().find(|line| line.contains(of)).map(|line| line.trim().to_owned());
    found.unwrap_or_else(|| panic!("no {of} in\n{text}"))
}

#[test]
fn filters_on_runs_leave_out_whole_series_through_joins() {
    let lake = many();
    for sql in [
        "SELECT count(*) FROM points p JOIN runs r ON r.run_id = p.run_id WHERE r.params.lr < 0.005 AND p.metric = 'loss'",
        "SELECT count(*) FROM points WHERE metric = 'loss' AND run_id IN (SELECT run_id FROM runs WHERE params.lr < 0.005)",
        "SELECT count(*) FROM points WHERE metric = 'loss' AND run_id IN (SELECT run_id FROM params WHERE key = 'lr' AND number < 0.005)",
    ] {
        assert_eq!(lake.cell(sql), "200", "{sql}");
        let line = scan(&lake, sql, "PointsExec");
        assert!(line.contains("series_skipped=195"), "{sql}: {line}");
        assert!(line.contains("series_read=5,"), "{sql}: {line}");
    }
}

#[test]
fn runs_metrics_steps_and_times_choose_what_is_read() {
    let lake = many();
    let line = scan(&lake, &format!("SELECT * FROM points WHERE run_id = '{}'", run_id(7)), "PointsExec");
    assert!(line.contains("files=1 of 2, series=2 of 400, rows<=80"), "{line}");
    let line = scan(&lake, "SELECT * FROM points WHERE metric = 'acc'", "PointsExec");
    assert!(line.contains("files=2 of 2, series=200 of 400"), "{line}");
    let sql = "SELECT count(*) FROM points WHERE time >= to_timestamp_micros(150000000) AND time < to_timestamp_micros(152000000)";
    assert_eq!(lake.cell(sql), "160");
    let line = scan(&lake, sql, "PointsExec");
    assert!(line.contains("series=4 of 400"), "{line}");
}

#[test]
fn columns_of_runs_are_made_for_the_runs_that_pass() {
    let lake = many();
    let sql = "SELECT run_id, params.lr, metrics.acc FROM runs WHERE experiment = 'e1' AND params.lr >= 0.2";
    assert_eq!(lake.rows(sql).len(), 33);
    let line = scan(&lake, sql, "ColumnScan");
    assert!(line.contains("table=runs") && line.contains("output_rows=33"), "{line}");
    assert!(line.contains("rows_considered=300"), "{line}");
    let line =
        scan(&lake, "SELECT last FROM series WHERE metric = 'acc' AND experiment = 'e2'", "ColumnScan");
    assert!(line.contains("rows_considered=100"), "{line}");
    let line = scan(&lake, &format!("SELECT * FROM params WHERE run_id = '{}'", run_id(9)), "ColumnScan");
    assert!(line.contains("rows_considered=1"), "{line}");
}

#[test]
fn five_thousand_keys_are_columns_and_cost_only_what_is_named() {
    let mut lake = Lake::empty();
    block_on(async {
        for number in 0..100_u128 {
            let id = run_id(number + 1);
            let (project, experiment) = (ProjectName::default(), ExperimentName::new("wide").unwrap());
            let new = Command::CreateRun(NewRun::named(id, project, experiment, "r", 1));
            let params = (0..50)
                .map(|key| {
                    let key = Key::new(format!("group{number}.key{key}")).unwrap();
                    (key, ParamValue::new(number.to_string()).unwrap())
                })
                .collect();
            lake.store.apply(vec![new, Command::SetParams { run: id, params }], None).await.unwrap();
        }
    });
    lake.snapshot = lake.store.snapshot();
    assert_eq!(lake.rows("SELECT run_id FROM runs WHERE params['group7.key3'] = 7").len(), 1);
    assert_eq!(lake.cell("SELECT count(params['group7.key3']) FROM runs"), "1");
    assert_eq!(lake.cell("SELECT count(DISTINCT key) FROM params"), "5000");
    assert_eq!(lake.rows("SELECT params FROM runs").len(), 100);
}

#[test]
fn joins_on_run_ids_give_the_same_on_ordinals() {
    let mut lake = many();
    // Runs without series, and series of a run that goes.
    block_on(async {
        for number in [400, 401] {
            let (project, experiment) = (ProjectName::default(), ExperimentName::new("e9").unwrap());
            let new = NewRun::named(run_id(number), project, experiment, "bare", 1);
            lake.store.apply(vec![Command::CreateRun(new)], None).await.unwrap();
        }
        lake.store.apply(vec![Command::DeleteRuns { runs: vec![run_id(5)] }], None).await.unwrap();
    });
    lake.snapshot = lake.store.snapshot();
    let sources = [
        ("runs", "runs WHERE params.lr < 0.05 OR name = 'bare'"),
        ("series", "series WHERE metric = 'loss'"),
        ("params", "params WHERE number > 0.02"),
    ];
    let mut on_ordinals = 0;
    for (left, left_source) in &sources {
        for (right, right_source) in &sources {
            for join in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "LEFT SEMI JOIN", "LEFT ANTI JOIN"] {
                for columns in
                    ["a.run_id AS one, a.experiment AS two", "a.experiment AS one, count(*) AS two"]
                {
                    let grouped = if columns.contains("count") { "GROUP BY a.experiment" } else { "" };
                    let sql = |key: &str| {
                        format!(
                            "SELECT {columns} FROM (SELECT * FROM {left_source}) a {join} (SELECT * FROM {right_source}) b \
                             ON a.run_id = {key} {grouped} ORDER BY 1, 2"
                        )
                    };
                    let (plain, hidden) = (sql("b.run_id"), sql("concat(b.run_id, '')"));
                    assert_eq!(lake.rows(&plain), lake.rows(&hidden), "{left} {right}: {plain}");
                    let plan = lake.rows(&format!("EXPLAIN FORMAT INDENT {plain}")).concat().join("\n");
                    on_ordinals += usize::from(plan.contains("(run ordinal@"));
                }
            }
        }
    }
    assert_eq!(on_ordinals, 3 * 3 * 6 * 2);
    let both = "SELECT r.run_id, s.run_id AS other, s.last, r.params.lr FROM runs r JOIN series s ON s.run_id = r.run_id \
                WHERE s.metric = 'acc' AND r.run_id < s.experiment || 'z' ORDER BY 1 LIMIT 3";
    assert_eq!(lake.rows(both)[0][..2], [run_id(1).to_string(), run_id(1).to_string()]);
}

#[test]
fn a_filter_over_an_outer_join_of_equal_names_is_asked_of_the_right_side() {
    let lake = Lake::small(Kept::Flushed);
    let of = |run: u128| {
        let keys = |table: &str| format!("SELECT key, text FROM {table} WHERE run_id = '{}'", run_id(run));
        format!("{} UNION ALL {}", keys("params"), keys("tags"))
    };
    let count = |join: &str| {
        lake.cell(&format!(
            "SELECT count(*) FROM ({}) x {join} ({}) y ON x.key = y.key WHERE x.text IS DISTINCT FROM y.text",
            of(1),
            of(2)
        ))
    };
    let renamed = |join: &str| {
        lake.cell(&format!(
            "SELECT count(*) FROM ({}) x {join} (SELECT key AS other, text AS said FROM ({})) y \
             ON x.key = y.other WHERE x.text IS DISTINCT FROM y.said",
            of(1),
            of(2)
        ))
    };
    for join in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
        assert_eq!(count(join), renamed(join), "{join}");
    }
    assert_ne!(count("RIGHT JOIN"), "0");
}
