//! Functions in FROM: what they read.

use crate::lake::{Kept, Lake};

fn plan_of(lake: &Lake, sql: &str) -> String {
    lake.rows(&format!("EXPLAIN {sql}")).concat().join("\n")
}

#[test]
fn only_the_series_that_are_named_are_read() {
    for kept in [Kept::InMemory, Kept::Flushed] {
        let lake = Lake::small(kept);
        for (call, metrics) in [
            ("curve('small', 'val_loss', 9)", &["val_loss"][..]),
            ("asof('small', 'val_loss', 'val/acc')", &["val_loss", "val/acc"]),
        ] {
            let plan = plan_of(&lake, &format!("SELECT * FROM {call}"));
            let scans: Vec<&str> = plan.lines().filter(|line| line.contains("PointsExec")).collect();
            assert_eq!(scans.len(), metrics.len(), "{plan}");
            for (scan, metric) in scans.iter().zip(metrics) {
                assert!(scan.contains("run_id=00000000000000000000000000000001"), "{plan}");
                assert!(scan.contains(&format!("metric={metric}")), "{plan}");
            }
        }
    }
}

#[test]
fn a_filter_outside_still_filters() {
    let lake = Lake::small(Kept::Both);
    assert_eq!(lake.cell("SELECT count(*) FROM curve('small', 'val_loss', 9) WHERE step > 10"), "2");
    assert_eq!(lake.cell("SELECT count(*) FROM asof('small', 'val_loss', 'val/acc') WHERE b IS NULL"), "1");
    assert_eq!(lake.cell("SELECT count(*) FROM run_diff('small', 'large') WHERE kind = 'tag'"), "1");
    assert_eq!(lake.cell("SELECT count(*) FROM curve('small', 'val_loss', 9) LIMIT 1"), "7");
}

#[test]
fn a_mistake_in_a_selector_is_named_and_not_placed_elsewhere() {
    let lake = Lake::small(Kept::InMemory);
    // Many lines, so that a place in the query behind the function would fall on one of them.
    let sql = format!("SELECT *{}FROM compare('nonsense = 1', 'true', 'val_loss')", "\n".repeat(30));
    let error = lake.ask(&sql).unwrap_err();
    assert_eq!(error.code(), "sql.unknown_column");
    assert!(error.to_string().contains("unknown column 'nonsense'"), "{error}");
    assert_eq!(error.place(), None, "{error}");
}

#[test]
fn a_name_that_two_runs_have_is_not_guessed() {
    use model::{Command, NewRun, RunStatus};
    let mut lake = Lake::small(Kept::InMemory);
    let run = lake.snapshot.registry().run(crate::lake::run_id(1)).unwrap().to_run();
    let twin = NewRun {
        id: crate::lake::run_id(77),
        project: run.project,
        experiment: run.experiment,
        name: run.name,
        status: RunStatus::Running,
        user: None,
        start_time: None,
        end_time: None,
        parent: None,
        source: None,
        source_run_id: None,
        git_commit: None,
        deleted: false,
        time: crate::lake::START,
    };
    crate::lake::block_on(lake.store.apply(vec![Command::CreateRun(twin)], None)).unwrap();
    lake.snapshot = lake.store.snapshot();
    let error = lake.ask("SELECT * FROM curve('small', 'val_loss', 9)").unwrap_err().to_string();
    assert!(error.contains("2 runs have this name, give the id of one, such as '0000"), "{error}");
    assert_eq!(
        lake.cell("SELECT count(*) FROM curve('00000000000000000000000000000001', 'val_loss', 9)"),
        "7"
    );
}
