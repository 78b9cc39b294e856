//! Real clients against the real server: psql, psycopg, SQLAlchemy and the ADBC driver of Flight SQL, where they are
//! installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Server, python, run};
use serde_json::{Value, json};

/// A lake with two runs of three points each.
fn small_lake(folder: &Path) -> PathBuf {
    let (lake, table) = (folder.join("lake"), folder.join("log.csv"));
    let rows = "run,step,loss,arm,seed\na,1,0.5,old,1\na,2,0.25,old,1\na,3,nan,old,1\n\
                b,1,1.5,new,2\nb,2,-0.0,new,2\nb,3,1e-300,new,2\n";
    std::fs::write(&table, rows).unwrap();
    let mapping = "run=run,step=step,tag:arm=arm,param:seed=seed";
    run(&lake, ["import", table.to_str().unwrap(), "--map", mapping, "--experiment", "trial"]).expect(0);
    lake
}

fn answer(mut python: Command, script: &str, url: &str) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(script);
    let output = python.arg(script).arg(url).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn psycopg_reads_the_same_in_text_and_binary() {
    let Some(python) = python("psycopg") else { return };
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let server = Server::start(&lake);
    let answer = answer(python, "read_with_psycopg.py", server.postgres_url());
    assert_eq!(answer["text"], answer["binary"]);
    let text = &answer["text"];
    assert_eq!(
        text["oddities"],
        json!([
            "nan", "-inf", "-0.0", "5e-324", null, 9_223_372_036_854_775_807_i64, true, "it's; \"ä\"", "00ff",
            [1, null, 3], ["a b", "", "NULL"], {"a": 1, "b": "x"}, "-12.50", "1999-12-31",
            text["oddities"][14], text["oddities"][15]
        ])
    );
    assert!(text["oddities"][14].as_str().unwrap().starts_with("2024-02-2"), "{text}");
    let values: Vec<&str> =
        text["points"].as_array().unwrap().iter().map(|row| row[3].as_str().unwrap()).collect();
    assert_eq!(values, ["0.5", "0.25", "nan", "1.5", "-0.0", "1e-300"]);
    assert!(text["points"][0][2].as_str().unwrap().ends_with("+00:00"), "times have their zone");
    assert_eq!(text["runs"][0][1], json!({"seed": 1}), "structs are JSON");
    assert_eq!(text["runs"][0][3], json!({"loss": "NaN"}), "as PostgreSQL writes it");
    assert_eq!(text["after"], json!([[4]]));
    assert_eq!(text["text"], json!(["x'; DROP", 7, "2024-01-02T03:04:05.678901+00:00"]));
    assert_eq!(answer["named"], json!({"count": 6, "max": 3}));
    assert_eq!(answer["parts"], json!([4, 2, 0]));
    assert_eq!(answer["seed"], "7");
    assert_eq!(
        answer["codes"],
        json!({
            "INSERT INTO runs VALUES (1)": "25006",
            "SELECT nope FROM runs": "42703",
            "SELEC 1": "42601",
            "COPY runs TO STDOUT": "0A000",
            "SELECT 1/0": "22000",
        })
    );
    assert_eq!(answer["pipeline"], true);
}

#[test]
fn sqlalchemy_reflects_tables_and_asks() {
    let Some(python) = python("psycopg, sqlalchemy") else { return };
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let server = Server::start(&lake);
    let answer = answer(python, "read_with_sqlalchemy.py", server.postgres_url());
    assert!(answer["schemas"].as_array().unwrap().contains(&json!("public")), "{answer}");
    for table in ["runs", "points", "series", "params"] {
        assert!(answer["tables"].as_array().unwrap().contains(&json!(table)), "{answer}");
    }
    let columns = &answer["columns"];
    assert_eq!(
        [&columns["run_id"], &columns["start_time"], &columns["duration"], &columns["params"]],
        ["TEXT", "TIMESTAMP", "DOUBLE PRECISION", "JSON"]
    );
    assert!(answer["nothing"].as_array().unwrap().iter().all(|of| of == &json!([])), "{answer}");
    assert_eq!(answer["there"], json!([true, false]));
    assert_eq!(answer["counted"], json!([["loss", 4, 3]]));
}

#[test]
fn adbc_reads_over_flight_sql() {
    let Some(python) = python("adbc_driver_flightsql.dbapi, pyarrow") else { return };
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let server = Server::start(&lake);
    let answer = answer(python, "read_with_adbc.py", &server.url());
    assert_eq!(answer["columns"], json!(["name", "step", "value"]));
    assert_eq!(
        answer["points"],
        json!([
            ["a", 1, "0.5"],
            ["a", 2, "0.25"],
            ["a", 3, "nan"],
            ["b", 1, "1.5"],
            ["b", 2, "-0.0"],
            ["b", 3, "1e-300"]
        ])
    );
    assert_eq!((&answer["marks"], &answer["numbers"]), (&json!([[4]]), &json!([[4]])));
    assert_eq!(answer["structs"], json!([[{"seed": 1}], [{"seed": 2}]]));
    assert!(answer["read_only"].as_str().unwrap().contains("only reads"), "{answer}");
    assert!(answer["unknown"].as_str().unwrap().contains("unknown column 'nope'"), "{answer}");
    assert_eq!((&answer["types"], &answer["vendor"]), (&json!(["TABLE"]), &json!("Runlake")));
    assert!(answer["schema"].as_array().unwrap().contains(&json!("metric")), "{answer}");
    assert!(answer["schemas"].as_array().unwrap().contains(&json!("system")), "{answer}");
}

#[test]
fn psql_shows_tables_columns_and_places_of_mistakes() {
    if !Command::new("psql").arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: no psql");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let server = Server::start(&lake);
    let psql = |words: &str| {
        let output = Command::new("psql")
            .args([server.postgres_url(), "--no-psqlrc", "--username", "tester", "--command", words])
            .env_remove("PGOPTIONS")
            .output()
            .unwrap();
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        format!("{text}{errors}")
    };
    for (words, shown) in [
        ("\\conninfo", "database \"runlake\""),
        ("\\l", "runlake"),
        ("\\dn", "public"),
        ("\\dt", "points"),
        ("\\d", "points"),
        ("\\d runs", "| json "),
        ("\\d+ points", "double precision"),
        ("\\d \"default\".runs", "Table \"default.runs\""),
        ("\\df", "bootstrap_ci"),
        ("\\du", "runlake"),
        ("\\dp", "points"),
        ("\\dv", "Did not find any relations"),
        ("SHOW server_version", "15.0"),
        ("SELECT count(*) FROM points", " count \n-------\n     6\n"),
        ("BEGIN; SELECT 1; COMMIT", "COMMIT"),
        (
            "SELECT stauts FROM runs",
            "LINE 1: SELECT stauts FROM runs\n               ^\nHINT:  Did you mean 'status'?",
        ),
        ("DROP TABLE runs", "ERROR:  DROP is not allowed"),
        ("\\copy runs to stdout", "COPY is not offered"),
    ] {
        let answer = psql(words);
        assert!(answer.contains(shown), "{words}:\n{answer}");
    }
}
