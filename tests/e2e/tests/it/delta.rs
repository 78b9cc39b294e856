//! A Delta reader that is not ours reads the same rows: the deltalake package and DuckDB, where a Python has both.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Float64Type;
use arrow::ipc::reader::StreamReader;
use e2e::{command, run, sql};
use serde_json::Value;

/// A Python that has deltalake and DuckDB: `RUNLAKE_PYTHON`, else `python3`.
fn python() -> Option<Command> {
    let program = std::env::var_os("RUNLAKE_PYTHON").unwrap_or_else(|| "python3".into());
    let works = Command::new(&program).args(["-c", "import deltalake, duckdb, pyarrow.dataset"]).output();
    if works.is_ok_and(|output| output.status.success()) {
        return Some(Command::new(program));
    }
    println!("skipped: no Python with deltalake, duckdb and pyarrow; name one in RUNLAKE_PYTHON");
    None
}

fn python_json(script: &str, arguments: &[&Path]) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let output = python()?.arg(script).args(arguments).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn another_reader_finds_the_same_rows_after_each_flush() {
    if python().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (logs, lake) = (folder.path().join("logs"), folder.path().join("lake"));
    datasets::unpack_demo_corpus(&logs).unwrap();
    // A flush after each import: the second one adds to tables that are there, and the third one changes rows of them.
    for tool in ["mlflow", "tensorboard"] {
        run(&lake, [Path::new("import"), &logs.join(tool)]).expect(0);
        run(&lake, ["flush"]).expect(0);
        compare(&lake);
    }
    run(&lake, ["decide", "augmentation", "ship", "--reason", "better on 12 + 12 seeds"]).expect(0);
    run(&lake, ["record", "put", "baselines", "--set", "name=main", "--set", "version=1"]).expect(0);
    run(&lake, ["note", "--experiment", "noop", "prefetching changes nothing"]).expect(0);
    run(&lake, ["flush"]).expect(0);
    compare(&lake);
    // Nothing new: the tables stay as they are.
    run(&lake, ["flush"]).expect(0);
    compare(&lake);
    run(&lake, ["verify"]).expect(0);
}

/// Each value with `RUN|METRIC`, bit for bit: as an Arrow stream, for text has one NaN only.
fn values_by_series(lake: &Path) -> Vec<(String, f64)> {
    let statement = "SELECT concat(run_id, '|', metric) AS series, value FROM points";
    let output = command()
        .arg("--lake")
        .arg(lake)
        .args(["sql", statement, "--format", "arrow"])
        .output()
        .unwrap()
        .stdout;
    let mut values = Vec::new();
    for batch in StreamReader::try_new(output.as_slice(), None).unwrap() {
        let batch = batch.unwrap();
        let series = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
        let column = batch.column(1).as_primitive::<Float64Type>();
        assert_eq!(column.null_count(), 0);
        let keys = series.as_string::<i32>().iter().map(|key| key.unwrap().to_owned());
        values.extend(keys.zip(column.values().iter().copied()));
    }
    values
}

fn compare(lake: &Path) {
    let theirs = python_json("../compat/read_with_delta.py", &[lake]).unwrap();
    assert_eq!(theirs["differences"], Value::Array(Vec::new()));
    for table in
        ["runs", "points", "params", "tags", "experiments", "series", "notes", "decisions", "baselines"]
    {
        let ours = &sql(lake, &format!("SELECT count(*) AS n FROM {table}"))[0]["n"];
        assert_eq!(theirs["rows"].get(table).unwrap_or(&Value::from(0)), ours, "{table}");
    }
    let mut ours: BTreeMap<String, (u64, Vec<f64>, u64)> = BTreeMap::new();
    for (key, value) in values_by_series(lake) {
        let entry = ours.entry(key).or_default();
        entry.0 += 1;
        entry.1.extend(value.is_finite().then_some(value));
        entry.2 ^= value.to_bits();
    }
    let series = theirs["points"].as_object().unwrap();
    assert_eq!(ours.keys().collect::<Vec<_>>(), series.keys().collect::<Vec<_>>());
    for (key, (count, values, bits)) in &ours {
        let entry = &series[key];
        assert_eq!(entry["count"].as_u64(), Some(*count), "{key}");
        assert_eq!(entry["bits"].as_str(), Some(format!("{bits:016x}").as_str()), "{key}");
        let (sum, wanted) = (values.iter().sum::<f64>(), entry["sum"].as_f64().unwrap());
        assert!(
            (sum - wanted).abs() <= 1e-12 * values.iter().map(|v| v.abs()).sum::<f64>(),
            "{key}: {sum} {wanted}"
        );
    }
    let rows = python_json("tests/it/read_rows.py", &[lake]).unwrap();
    for (table, statement) in [
        (
            "runs",
            "SELECT run_id, name, experiment, status, source, CAST(start_time AS BIGINT) AS start_time FROM runs ORDER BY run_id",
        ),
        ("params", "SELECT run_id, key, text, number FROM params ORDER BY run_id, key"),
        ("tags", "SELECT run_id, key, text FROM tags ORDER BY run_id, key"),
        ("experiments", "SELECT experiment, decision, decision_reason FROM experiments ORDER BY experiment"),
        ("notes", "SELECT experiment, text FROM notes ORDER BY text"),
    ] {
        let ours = sql(lake, statement);
        assert_eq!(rows[table].as_array().map(Vec::len).unwrap_or_default(), ours.len(), "{table}");
        for (theirs, ours) in rows[table].as_array().into_iter().flatten().zip(&ours) {
            assert_eq!(theirs, ours, "{table}");
        }
    }
}
