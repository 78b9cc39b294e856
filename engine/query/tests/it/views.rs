//! Views that users keep.

use model::{Command, View, ViewName};
use query::{
    Dialect, QueryError, QueryOptions, ViewChange, WhenPresent, check_view, list_tables, view_change,
};

use crate::lake::{FACTORY, Kept, Lake, block_on, texts};

fn name(text: &str) -> ViewName {
    ViewName::new(text).unwrap()
}

/// The small lake with these views.
fn with_views(views: &[(&str, &str)]) -> Lake {
    let mut lake = Lake::small(Kept::Both);
    let commands = views.iter().map(|(word, sql)| {
        Command::SaveView(View { name: name(word), sql: (*sql).to_owned(), author: None, time: 5 })
    });
    block_on(lake.store.apply(commands.collect(), None)).unwrap();
    lake.snapshot = lake.store.snapshot();
    lake
}

#[test]
fn a_view_is_asked_as_a_table() {
    let lake = with_views(&[
        ("finished", "SELECT * FROM runs WHERE status = 'FINISHED'"),
        (
            "finished_adam",
            "SELECT name, params['optimizer'] AS opt FROM finished WHERE params['optimizer'] LIKE 'adam%'",
        ),
        ("counts", "SELECT metric, sum(count) AS n FROM series GROUP BY metric"),
    ]);
    let plain =
        lake.rows("SELECT name, params['optimizer'] FROM runs WHERE status = 'FINISHED' ORDER BY name");
    assert!(!plain.is_empty());
    assert_eq!(lake.rows("SELECT name, params['optimizer'] FROM finished ORDER BY name"), plain);
    assert_eq!(lake.rows("SELECT f.name, f.params['optimizer'] FROM public.finished AS f ORDER BY 1"), plain);
    let adam: Vec<_> = plain.into_iter().filter(|row| row[1].starts_with("adam")).collect();
    assert_eq!(lake.rows("SELECT * FROM finished_adam ORDER BY name"), adam);
    let joined = "SELECT count(*) FROM counts JOIN (SELECT DISTINCT metric FROM points) AS p USING (metric)";
    assert_eq!(lake.cell(joined), lake.cell("SELECT count(DISTINCT metric) FROM points"));
    assert_eq!(
        lake.cell("WITH c AS (SELECT * FROM counts) SELECT sum(n) FROM c"),
        lake.cell("SELECT count(*) FROM points")
    );
}

#[test]
fn views_are_listed_with_their_columns() {
    let lake = with_views(&[
        ("counts", "SELECT metric, sum(count) AS n FROM series GROUP BY metric"),
        ("broken", "SELECT nothing FROM runs"),
    ]);
    let listed = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'public' AND table_name IN ('counts', 'broken', 'runs') ORDER BY 1";
    assert_eq!(lake.rows(listed), [["counts", "VIEW"], ["runs", "BASE TABLE"]]);
    assert!(lake.rows("SHOW TABLES").iter().any(|row| row.contains(&"counts".to_owned())));
    let described = lake.rows("SELECT column_name FROM information_schema.columns WHERE table_name = 'counts' ORDER BY ordinal_position");
    assert_eq!(described, [["metric"], ["n"]]);
    assert_eq!(lake.rows("DESCRIBE counts").len(), 2);
    let definition = lake.rows("SELECT definition FROM information_schema.views WHERE table_name = 'counts'");
    assert_eq!(definition, [["SELECT metric, sum(count) AS n FROM series GROUP BY metric"]]);

    let tables =
        block_on(list_tables(&FACTORY, &lake.snapshot, &query::Access::All, &|_, table| table == "counts"))
            .unwrap();
    let counts = tables.iter().find(|(schema, table, _)| schema == "public" && table == "counts").unwrap();
    assert_eq!(counts.2.as_ref().unwrap().fields().len(), 2);

    let options = || QueryOptions { dialect: Dialect::Postgres, ..QueryOptions::default() };
    let relations = "SELECT relname, relkind FROM pg_catalog.pg_class WHERE relname IN ('counts', 'runs') AND relnamespace = 2200 ORDER BY 1";
    assert_eq!(texts(&lake.ask_with(relations, options()).unwrap()), [["counts", "v"], ["runs", "r"]]);
    for definitions in [
        "SELECT viewname, definition FROM pg_catalog.pg_views WHERE viewname = 'counts'",
        "SELECT table_name, view_definition FROM information_schema.views WHERE table_name = 'counts'",
    ] {
        let told = texts(&lake.ask_with(definitions, options()).unwrap());
        assert_eq!(told, [["counts", "SELECT metric, sum(count) AS n FROM series GROUP BY metric"]]);
    }
    let tables = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'public' AND tablename IN ('counts', 'runs')";
    assert_eq!(texts(&lake.ask_with(tables, options()).unwrap()), [["runs"]]);
    assert_eq!(
        texts(&lake.ask_with("SELECT count(*) FROM counts", options()).unwrap()),
        [[lake.cell("SELECT count(*) FROM counts")]]
    );
}

#[test]
fn a_view_that_cannot_be_read_any_more_is_named() {
    let lake = with_views(&[
        ("broken", "SELECT nothing FROM runs"),
        ("above", "SELECT * FROM broken"),
        ("round", "SELECT * FROM about"),
        ("about", "SELECT * FROM round"),
    ]);
    for (sql, words) in [
        ("SELECT * FROM broken", &["view broken", "nothing", "CREATE OR REPLACE VIEW broken"][..]),
        ("SELECT * FROM above", &["view broken", "nothing"][..]),
        ("SELECT * FROM round", &["made of itself"][..]),
    ] {
        let error = lake.ask(sql).unwrap_err();
        assert_eq!(error.code(), "sql.invalid", "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{sql}: {word} is not in {error}");
        }
    }
    // Those that do not ask it do not mind.
    assert_eq!(lake.cell("SELECT 1"), "1");
    let error = lake.ask("SELECT * FROM abov").unwrap_err().to_string();
    assert!(error.contains("above"), "{error}");
}

#[test]
fn changes_are_read_with_all_that_may_be_wrong() {
    let save = |sql: &str| match view_change(sql).unwrap().unwrap() {
        ViewChange::Save { name, sql, present } => (name.to_string(), sql, present),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        save("CREATE VIEW Best AS SELECT 1 AS x"),
        ("best".into(), "SELECT 1 AS x".into(), WhenPresent::Refuse)
    );
    assert_eq!(save("create or replace view public.best as select 1 as x").2, WhenPresent::Replace);
    assert_eq!(save("CREATE VIEW IF NOT EXISTS best AS SELECT 1").2, WhenPresent::Keep);
    assert_eq!(save("CREATE VIEW v (a, b) AS SELECT 1, 2").1, "SELECT * FROM (SELECT 1, 2) AS v(a, b)");
    assert_eq!(
        view_change("-- a view\nDROP VIEW IF EXISTS best").unwrap(),
        Some(ViewChange::Drop { name: name("best"), if_exists: true })
    );
    for other in [
        "SELECT 1",
        "SELECT 'CREATE VIEW'",
        "CREATE TABLE view (a INT)",
        "",
        "CREATE VIEW v AS SELECT 1; DROP VIEW v",
    ] {
        assert_eq!(view_change(other).unwrap(), None, "{other}");
    }
    for (sql, word) in [
        ("CREATE VIEW runs AS SELECT 1", "name of a table"),
        ("CREATE VIEW pg_mine AS SELECT 1", "name of a table"),
        ("CREATE VIEW \"Best\" AS SELECT 1", "small letters"),
        ("CREATE VIEW vision.best AS SELECT 1", "public"),
        ("CREATE MATERIALIZED VIEW best AS SELECT 1", "read anew"),
        ("DROP VIEW a, b", "one name"),
    ] {
        let error = view_change(sql).unwrap_err();
        assert!(error.to_string().contains(word), "{sql}: {error}");
    }
}

#[test]
fn what_cannot_be_a_view_is_refused_before_it_is_kept() {
    let lake = with_views(&[("first", "SELECT name FROM runs"), ("second", "SELECT name FROM first")]);
    let check = |word: &str, sql: &str| block_on(check_view(&FACTORY, &lake.snapshot, &name(word), sql));
    check("third", "SELECT * FROM second").unwrap();
    check("first", "SELECT name FROM runs WHERE status = 'FAILED'").unwrap();
    for (word, sql, code, text) in [
        ("third", "SELECT nam FROM runs", "sql.unknown_column", "name"),
        ("third", "SELECT * FROM third", "sql.unknown_table", "third"),
        ("first", "SELECT name FROM second", "sql.invalid", "itself"),
        ("third", "SELECT name FROM runs WHERE name = $1", "sql.invalid", "without parameters"),
        ("third", "DROP TABLE runs", "sql.read_only", "DROP"),
    ] {
        let error = check(word, sql).unwrap_err();
        assert_eq!(error.code(), code, "{sql}: {error}");
        assert!(error.to_string().contains(text), "{sql}: {error}");
    }
}

#[test]
fn statements_only_read() {
    let lake = with_views(&[("first", "SELECT name FROM runs")]);
    for sql in
        ["CREATE VIEW second AS SELECT 1", "DROP VIEW first", "CREATE OR REPLACE VIEW first AS SELECT 1"]
    {
        let error = lake.ask(sql).unwrap_err();
        assert!(matches!(error, QueryError::ReadOnly { .. }), "{error}");
    }
}
