//! Records in SQL: at once after the acknowledgement, of the caller's projects only, and many of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Command, ProjectName, RecordId, RecordKind};
use query::{Access, QueryOptions};

use crate::lake::{Kept, Lake, block_on, record, run_id, texts};

#[test]
fn a_record_is_in_the_next_answer_and_a_removed_one_is_not() {
    let mut lake = Lake::small(Kept::Flushed);
    let apply = |lake: &mut Lake, command: Command| {
        block_on(lake.store.apply(vec![command], None)).unwrap();
        lake.snapshot = lake.store.snapshot();
    };
    let budget = |amount: &str| {
        let values = [("name", "gpu"), ("unit", "gpu_hours"), ("amount", amount)];
        record(RecordKind::Budgets, "planning", "gpu", None, &values)
    };
    apply(&mut lake, budget("7"));
    // A project that has only records is a schema as well.
    assert_eq!(lake.cell("SELECT amount FROM planning.budgets"), "7.0");
    apply(&mut lake, budget("8"));
    assert_eq!(lake.cell("SELECT sum(amount) FROM budgets"), "108.0");
    let (project, id) = (ProjectName::new("planning").unwrap(), RecordId::new("gpu").unwrap());
    apply(&mut lake, Command::RemoveRecord { table: RecordKind::Budgets, project, id });
    assert_eq!(lake.cell("SELECT count(*) FROM budgets"), "1");
    assert_eq!(lake.ask("SELECT * FROM planning.budgets").unwrap_err().code(), "sql.unknown_table");
    apply(&mut lake, Command::DeleteRuns { runs: vec![run_id(1)] });
    assert_eq!(lake.cell("SELECT count(*) FROM gates"), "0");
    assert_eq!(lake.cell("SELECT count(*) FROM trials"), "2");
}

#[test]
fn a_caller_sees_only_the_records_of_their_projects() {
    let lake = Lake::small(Kept::Both);
    let projects = Arc::new(BTreeSet::from([ProjectName::new("nlp").unwrap()]));
    let ask = |sql: &str| {
        let access = Access::Projects(Arc::clone(&projects));
        lake.ask_with(sql, QueryOptions { access, ..QueryOptions::default() }).map(|batches| texts(&batches))
    };
    for kind in RecordKind::ALL {
        let count = if kind == RecordKind::Artifacts { "1" } else { "0" };
        assert_eq!(ask(&format!("SELECT count(*) FROM {kind}")).unwrap(), [[count]], "{kind}");
        assert_eq!(ask(&format!("SELECT count(*) FROM nlp.{kind}")).unwrap(), [[count]], "{kind}");
        assert_eq!(ask(&format!("SELECT * FROM vision.{kind}")).unwrap_err().code(), "sql.unknown_table");
        let all = lake.rows(&format!("SELECT DISTINCT project FROM {kind}"));
        assert_eq!(all, [[if kind == RecordKind::Artifacts { "nlp" } else { "vision" }]]);
    }
    assert_eq!(ask("SELECT count(*) FROM artifacts WHERE project = 'vision'").unwrap(), [["0"]]);
}

#[test]
fn many_trials_are_filtered_grouped_and_joined() {
    let mut lake = Lake::small(Kept::Flushed);
    let trials: Vec<Command> = (0..20_000)
        .map(|number| {
            let (sweep, value) = (format!("many {}", number % 2), (number % 100).to_string());
            let (id, number) = (format!("{sweep}@{number}"), number.to_string());
            let values = [("sweep", sweep.as_str()), ("number", &number), ("value", &value)];
            record(RecordKind::Trials, "vision", &id, Some(2), &values)
        })
        .collect();
    for part in trials.chunks(5_000) {
        block_on(lake.store.apply(part.to_vec(), None)).unwrap();
    }
    lake.snapshot = lake.store.snapshot();
    let rows = lake.rows("SELECT sweep, count(*), max(value) FROM trials GROUP BY sweep ORDER BY sweep");
    assert_eq!(rows, [["many 0", "10000", "98.0"], ["many 1", "10000", "99.0"], ["s", "2", "0.25"]]);
    assert_eq!(lake.cell("SELECT number FROM trials WHERE id = 'many 1@12345'"), "12345");
    let join = "SELECT r.name, count(*) FROM trials t JOIN runs r USING (run_id) WHERE t.value < 10 GROUP BY 1 ORDER BY 1";
    assert_eq!(lake.rows(join), [["large", "2000"]]);
    assert_eq!(
        lake.rows("SELECT number FROM trials WHERE value > 0 ORDER BY value DESC, number LIMIT 2"),
        [["99"], ["199"]]
    );
    let plan = lake.rows("EXPLAIN SELECT number FROM trials WHERE sweep = 'many 0'");
    let plan = format!("{plan:?}");
    assert!(!plan.contains("FilterExec"), "the scan filters by itself: {plan}");
}
