//! The structs of `runs`: made as far as a statement names their keys, cut where they are shown whole and are too wide.

use model::{Command, ExperimentName, Key, NewRun, ParamValue, ProjectName};
use query::{QueryLimits, QueryOptions, run};

use crate::lake::{FACTORY, Kept, Lake, block_on, run_id, texts};

/// 400 keys; run 1 has all of them, run 2 the first hundred and the last.
fn wide() -> Lake {
    let mut lake = Lake::empty();
    block_on(async {
        for number in [1, 2] {
            let (project, experiment) =
                (ProjectName::new("wide").unwrap(), ExperimentName::new("keys").unwrap());
            let params = (0..400)
                .filter(|key| number == 1 || *key < 100 || *key == 399)
                .map(|key| {
                    let value = format!("{}", key * 10 + number);
                    (Key::new(format!("key{key:03}")).unwrap(), ParamValue::new(value).unwrap())
                })
                .collect();
            let commands = vec![
                Command::CreateRun(NewRun::named(
                    run_id(number),
                    project,
                    experiment,
                    format!("run {number}"),
                    5,
                )),
                Command::SetParams { run: run_id(number), params },
            ];
            lake.store.apply(commands, None).await.unwrap();
        }
    });
    lake.snapshot = lake.store.snapshot();
    lake
}

#[test]
fn a_wide_struct_shows_its_commonest_keys_and_says_so() {
    let lake = wide();
    let notices = |sql: &str| {
        block_on(async {
            let answer = run(&FACTORY, &lake.snapshot, sql, QueryOptions::default()).await.unwrap();
            let notices = answer.notices.clone();
            answer.collect().await.unwrap();
            notices.all()
        })
    };
    let told = notices("SELECT * FROM runs ORDER BY name");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("params has 400 keys; the 256 that most runs have are shown"), "{told:?}");
    assert!(notices("SELECT params['key200'] FROM runs").is_empty());

    let rows = lake.rows("SELECT params FROM runs ORDER BY name");
    // Both runs have it, though its name comes last.
    assert!(rows[0][0].contains("key399: 3991") && rows[1][0].contains("key399: 3992"), "{rows:?}");
    assert_eq!(rows[0][0].matches("key").count(), 256);

    // Only what comes out is cut.
    assert_eq!(lake.cell("SELECT name FROM runs WHERE params['key300'] = 3001"), "run 1");
    let within = "SELECT r.params['key300'] FROM (SELECT * FROM runs) AS r WHERE r.name = 'run 1'";
    assert_eq!(lake.cell(within), "3001");
    assert_eq!(lake.cell("SELECT count(*) FROM (SELECT DISTINCT params FROM runs)"), "2");

    let limits = QueryLimits { keys: 400, ..QueryLimits::default() };
    let all = lake.ask_with(
        "SELECT params FROM runs ORDER BY name",
        QueryOptions { limits, ..QueryOptions::default() },
    );
    assert_eq!(texts(&all.unwrap())[0][0].matches("key").count(), 400);
}

/// However a struct is passed on, whoever looks at it sees what is in it.
#[test]
fn a_struct_that_is_passed_on_is_whole_for_those_that_look_at_it() {
    let lake = Lake::small(Kept::Both);
    let whole = lake.rows("SELECT params FROM runs ORDER BY name");
    assert!(whole.iter().any(|row| row[0].contains("adam")), "{whole:?}");
    for sql in [
        "SELECT params FROM (SELECT * FROM runs) AS r ORDER BY name",
        "WITH r AS (SELECT * FROM runs) SELECT r.params FROM r ORDER BY name",
        "SELECT params AS p FROM runs ORDER BY name",
        "SELECT p.q FROM (SELECT params AS q, name FROM runs) AS p ORDER BY name",
        "SELECT params FROM (SELECT params, name FROM runs UNION ALL SELECT params, name FROM runs WHERE false) ORDER BY name",
        "SELECT params FROM (SELECT DISTINCT params, name FROM runs) ORDER BY name",
        "SELECT params FROM (SELECT params, name FROM runs GROUP BY params, name) ORDER BY name",
        "SELECT first_value(params) FROM runs GROUP BY name ORDER BY name",
        "SELECT a.params FROM runs AS a JOIN (SELECT * FROM runs) AS b ON a.run_id = b.run_id ORDER BY b.name",
        "SELECT CASE WHEN true THEN params END FROM runs ORDER BY name",
        "SELECT params FROM (SELECT params, name FROM runs EXCEPT SELECT params, name FROM runs WHERE false) ORDER BY name",
        "SELECT params FROM (SELECT params, name, row_number() OVER (ORDER BY name) AS n FROM runs) ORDER BY n",
    ] {
        assert_eq!(lake.rows(sql), whole, "{sql}");
    }
    let named = lake.rows("SELECT params['optimizer'], params['opt/lr'] FROM runs ORDER BY name");
    for sql in [
        "SELECT params['optimizer'], params['opt/lr'] FROM (SELECT * FROM runs) ORDER BY name",
        "WITH r AS (SELECT * FROM runs), s AS (SELECT * FROM r) SELECT s.params['optimizer'], s.params['opt/lr'] FROM s ORDER BY name",
        "SELECT q['optimizer'], q['opt/lr'] FROM (SELECT params AS q, name FROM runs) ORDER BY name",
        "SELECT params['optimizer'], params['opt/lr'] FROM (SELECT DISTINCT params, name FROM runs) ORDER BY name",
    ] {
        assert_eq!(lake.rows(sql), named, "{sql}");
    }
}
