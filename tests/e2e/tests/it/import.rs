//! `runlake import` of files that real clients wrote, against what the tools' own readers gave; and of bad files.

use std::collections::BTreeMap;
use std::path::Path;

use e2e::{Done, data, expected_document, run, sql, sql_texts};
use serde_json::Value;

use crate::expected;

fn import(lake: &Path, path: &Path) -> Done {
    run(lake, [Path::new("import"), path])
}

fn seconds(text: &str) -> i64 {
    (text.parse::<f64>().unwrap() * 1e6).round() as i64
}

fn milliseconds(text: &str) -> i64 {
    text.parse::<i64>().unwrap() * 1_000
}

/// Imports again: nothing may be new.
#[track_caller]
fn assert_nothing_new(lake: &Path, path: &Path) {
    let before = expected::counts(lake);
    let again = import(lake, path);
    assert!(again.stdout.contains("(0 new)") && again.stdout.contains("points (0 new"), "{}", again.stdout);
    assert_eq!(expected::counts(lake), before);
}

/// Compares the table `series`, which is kept at write, with the document's entry of each metric.
fn assert_series(lake: &Path, runs: &BTreeMap<String, &Value>, run_column: &str, metrics_key: &str) {
    let statement = format!(
        "SELECT r.{run_column} AS run, s.metric AS metric, s.count AS n, s.nan_count AS nan, s.min AS low, s.max AS high \
         FROM series s JOIN runs r ON r.run_id = s.run_id"
    );
    let mut seen = 0;
    for row in sql(lake, &statement) {
        let entry = &runs[row["run"].as_str().unwrap()][metrics_key][row["metric"].as_str().unwrap()];
        let what = format!("{row} against {entry}");
        assert_eq!((&row["n"], &row["nan"]), (&entry["n"], &entry["n_nan"]), "{what}");
        if entry["n_posinf"] == 0 && entry["n_neginf"] == 0 {
            assert_eq!(row["low"].as_f64(), entry["min"].as_f64(), "{what}");
            assert_eq!(row["high"].as_f64(), entry["max"].as_f64(), "{what}");
        }
        seen += 1;
    }
    let wanted: usize =
        runs.values().map(|run| run[metrics_key].as_object().map_or(0, |all| all.len())).sum();
    assert_eq!(seen, wanted);
}

/// The runs of a document whose names begin with a text, by the rest of their names.
fn runs_of<'a>(document: &'a Value, prefix: &str) -> BTreeMap<String, &'a Value> {
    let runs = document["runs"].as_object().unwrap().iter();
    runs.filter_map(|(name, entry)| Some((name.strip_prefix(prefix)?.to_owned(), entry))).collect()
}

#[test]
fn tensorboard_folders_give_what_tensorboard_reads_and_nothing_new_the_second_time() {
    let Some(data) = data() else { return };
    let tool = data.join("clients/tensorboard");
    let document = expected_document(&tool);
    let (mut runs, mut points) = (0, 0);
    // `torch` holds a file that was cut.
    for (folder, code) in [("torch", 6), ("tbx", 0), ("native", 0)] {
        let temporary = tempfile::tempdir().unwrap();
        let lake = temporary.path().join("lake");
        let done = import(&lake, &tool.join(folder)).expect(code);
        if code == 6 {
            let cut = "torch/truncated/events.out.tfevents.1795214522.vm.20131.8: offset 884";
            assert!(
                done.stdout.contains(cut) && done.stdout.contains("1 records rejected"),
                "{}",
                done.stdout
            );
        }
        let prefix = format!("{folder}/");
        let wanted = expected::points(&tool, &prefix, seconds);
        expected::assert_same_points(&expected::points_of(&lake, "name"), &wanted);
        let entries = runs_of(&document, &prefix);
        assert_series(&lake, &entries, "name", "metrics_all");
        let mut names: Vec<String> =
            sql_texts(&lake, "SELECT name FROM runs").into_iter().flatten().collect();
        names.sort();
        assert_eq!(names, entries.keys().cloned().collect::<Vec<_>>());
        let params = expected::texts(&lake, "params", "name");
        for (name, entry) in &entries {
            let empty = BTreeMap::new();
            let found = params.get(name).unwrap_or(&empty);
            let wanted = entry["params"].as_object().cloned().unwrap_or_default();
            assert_eq!(found.keys().collect::<Vec<_>>(), {
                let mut keys: Vec<_> = wanted.keys().collect();
                keys.sort();
                keys
            });
            for (key, value) in &wanted {
                match value {
                    Value::Number(number) => {
                        assert_eq!(found[key].parse().ok(), number.as_f64(), "{name} {key}")
                    }
                    Value::String(text) => assert_eq!(found[key], *text, "{name} {key}"),
                    other => assert_eq!(found[key], other.to_string(), "{name} {key}"),
                }
            }
        }
        runs += names.len();
        points += wanted.values().map(Vec::len).sum::<usize>();
        assert_nothing_new(&lake, &tool.join(folder));
    }
    assert_eq!(document["totals"]["runs"].as_u64(), Some(runs as u64));
    assert_eq!(document["totals"]["points"].as_u64(), Some(points as u64));
}

#[test]
fn mlflow_stores_of_three_versions_give_what_mlflow_reads() {
    let Some(data) = data() else { return };
    let tool = data.join("clients/mlflow");
    let document = expected_document(&tool);
    for store in ["mlflow-1.30-file", "mlflow-2.22-file", "mlflow-3.17-file"] {
        let temporary = tempfile::tempdir().unwrap();
        let lake = temporary.path().join("lake");
        import(&lake, &tool.join(store).join("mlruns")).expect(0);
        let prefix = format!("{store}:");
        let wanted = expected::points(&tool, &prefix, milliseconds);
        expected::assert_same_points(&expected::points_of(&lake, "run_id"), &wanted);
        let entries = runs_of(&document, &prefix);
        assert!(entries.len() >= 10);
        assert_series(&lake, &entries, "run_id", "metrics");
        let (params, tags) =
            (expected::texts(&lake, "params", "run_id"), expected::texts(&lake, "tags", "run_id"));
        let rows = sql(
            &lake,
            "SELECT run_id, source_run_id, name, experiment, status, deleted, parent_run_id, \
             CAST(start_time AS BIGINT) AS started, CAST(end_time AS BIGINT) AS ended FROM runs",
        );
        assert_eq!(rows.len(), entries.len());
        for row in rows {
            let id = row["run_id"].as_str().unwrap();
            let entry = entries[id];
            assert_eq!(row["source_run_id"], row["run_id"]);
            for (column, key) in [
                ("name", "name"),
                ("experiment", "experiment"),
                ("status", "status"),
                ("parent_run_id", "parent"),
            ] {
                assert_eq!(row[column], entry[key], "{id} {column}");
            }
            assert_eq!(row["deleted"], Value::Bool(entry["lifecycle_stage"] == "deleted"), "{id}");
            let micros = |key: &str| entry[key].as_i64().map(|time| time * 1_000);
            assert_eq!(
                (row["started"].as_i64(), row["ended"].as_i64()),
                (micros("start_time"), micros("end_time"))
            );
            for (found, key) in [(&params, "params"), (&tags, "tags")] {
                let wanted: BTreeMap<String, String> = entry[key]
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
                    .collect();
                assert_eq!(found.get(id).cloned().unwrap_or_default(), wanted, "{id} {key}");
            }
        }
        // The last value is the one that MLflow calls the latest.
        let statement = "SELECT run_id, metric, last FROM series WHERE isfinite(last)";
        for row in sql(&lake, statement) {
            let latest = &entries[row["run_id"].as_str().unwrap()]["latest_metrics"];
            let metric = row["metric"].as_str().unwrap();
            assert_eq!(row["last"].as_f64(), latest[metric].as_f64(), "{row}");
        }
        assert_nothing_new(&lake, &tool.join(store).join("mlruns"));
        // The folder above is the same store.
        assert_nothing_new(&lake, &tool.join(store));
    }
}

#[test]
fn hugging_face_states_give_each_point_once() {
    let Some(data) = data() else { return };
    let tool = data.join("clients/hf");
    let document = expected_document(&tool);
    let temporary = tempfile::tempdir().unwrap();
    let lake = temporary.path().join("lake");
    import(&lake, &tool.join("toy-clf")).expect(0);
    // Checkpoints repeat what the run's own state holds.
    let mut wanted = expected::points(&tool, "toy-clf/", seconds);
    wanted.retain(|(run, _), _| !run.contains("checkpoint"));
    expected::assert_same_points(&expected::points_of(&lake, "name"), &wanted);
    let entries = [("seed-0".to_owned(), &document["runs"]["toy-clf/seed-0"])].into_iter().collect();
    assert_series(&lake, &entries, "name", "metrics");
    assert_nothing_new(&lake, &tool.join("toy-clf"));

    let real = data.join("hf-trainer-state");
    let temporary = tempfile::tempdir().unwrap();
    let lake = temporary.path().join("lake");
    import(&lake, &real).expect(0);
    let counts = expected::counts(&lake);
    assert_eq!(counts[..3], [("runs", 1), ("points", 1_236), ("series", 34)]);
    let row = &sql(
        &lake,
        "SELECT metrics.loss AS loss, metrics.eval_g0_accuracy AS accuracy, (SELECT count(*) FROM points WHERE metric = \
         'eval_g0_accuracy') AS n FROM runs",
    )[0];
    assert_eq!(row["loss"].as_f64(), Some(0.0549));
    assert_eq!((row["accuracy"].as_f64(), row["n"].as_u64()), (Some(0.5935162094763092), Some(31)));
    assert_nothing_new(&lake, &real);
}

#[test]
fn clean_plain_files_give_what_stands_in_them() {
    let Some(data) = data() else { return };
    let tool = data.join("clients/plain");
    let time = |text: &str| {
        text.parse::<f64>().map_or_else(|_| rfc3339(text), |seconds| (seconds * 1e6).round() as i64)
    };
    let document = expected_document(&tool);
    let mut files = 0;
    for name in document["runs"].as_object().unwrap().keys().filter(|name| name.starts_with("clean/")) {
        let temporary = tempfile::tempdir().unwrap();
        let lake = temporary.path().join("lake");
        import(&lake, &tool.join(name)).expect(0);
        let mut wanted = expected::Points::new();
        for ((rest, key), points) in expected::points(&tool, name, time) {
            // The name of a file may begin another's, as `long.csv` begins `long.csv.gz`.
            if rest.is_empty() {
                let (run, metric) = key.split_once(" | ").unwrap();
                wanted.insert((run.to_owned(), metric.to_owned()), points);
            }
        }
        expected::assert_same_points(&expected::points_of(&lake, "name"), &wanted);
        let runs = sql(&lake, "SELECT count(*) AS n FROM runs")[0]["n"].as_u64();
        let wanted_runs = document["runs"][name]["runs_in_file"].as_u64().unwrap_or(3);
        assert_eq!(runs, Some(wanted_runs), "{name}");
        assert_nothing_new(&lake, &tool.join(name));
        files += 1;
    }
    assert_eq!(files, 9);
    // All in one lake: the runs of one file are not those of another, whatever their names.
    let temporary = tempfile::tempdir().unwrap();
    let lake = temporary.path().join("lake");
    import(&lake, &tool.join("clean")).expect(0);
    let counts = expected::counts(&lake);
    assert_eq!(counts[..2], [("runs", 27), ("points", 1_068)]);
    assert_nothing_new(&lake, &tool.join("clean"));
}

/// Microseconds of a time such as `2025-06-15T15:06:40.250000+00:00`, always UTC in these files.
fn rfc3339(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    // Days since 1970 in the proleptic Gregorian calendar, years beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + number(11..13) * 3_600 + number(14..16) * 60 + number(17..19);
    let rest = &text[19..];
    assert!(rest.ends_with('Z') || rest.ends_with("+00:00"), "{text}");
    let digits: String =
        rest.strip_prefix('.').unwrap_or("").chars().take_while(char::is_ascii_digit).collect();
    let micros: i64 = format!("{digits:0<6}")[..6].parse().unwrap();
    seconds * 1_000_000 + micros
}

#[test]
fn benchmark_trials_give_the_points_of_their_tables_and_event_files() {
    let Some(data) = data() else { return };
    let root = data.join("algoperf/raw");
    let temporary = tempfile::tempdir().unwrap();
    let lake = temporary.path().join("lake");
    run(&lake, [Path::new("import"), &root, Path::new("--tables")]).expect(0);
    let mut found = expected::points_of(&lake, "concat(source, ':', name)");
    let (mut files, mut compared) = (0, 0);
    for folder in folders(&root) {
        let trial = folder.strip_prefix(&root).unwrap().display().to_string();
        for table in ["measurements", "eval_measurements"] {
            let Ok(text) = std::fs::read_to_string(folder.join(format!("{table}.csv"))) else { continue };
            files += 1;
            let mut wanted = expected::Points::new();
            let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
            let at = header.iter().position(|column| *column == "global_step").unwrap();
            let name = format!("csv:{trial}/{table}");
            for line in text.lines().skip(1) {
                let cells: Vec<&str> = line.split(',').collect();
                // Some steps are written as 1.0.
                let step = cells[at].parse::<f64>().unwrap() as i64;
                for (column, cell) in header.iter().zip(&cells).filter(|(_, cell)| !cell.is_empty()) {
                    if *column != "global_step" {
                        let point = (step, None, cell.parse().unwrap());
                        wanted.entry((name.clone(), (*column).to_owned())).or_default().push(point);
                    }
                }
            }
            let of_table: expected::Points =
                wanted.keys().map(|key| (key.clone(), found.remove(key).unwrap_or_default())).collect();
            expected::assert_same_points(&of_table, &wanted);
            // Every cell of the evaluations was also logged for TensorBoard, as a 32-bit float.
            if table == "eval_measurements" {
                for ((_, metric), points) in &wanted {
                    let logged = &found[&(format!("tensorboard:{trial}"), metric.clone())];
                    for (step, _, value) in points {
                        let there =
                            logged.iter().any(|(s, _, v)| s == step && (*v as f32) == (*value as f32));
                        assert!(there, "{trial} {metric} {step}: {value} is not in {logged:?}");
                        compared += 1;
                    }
                }
            }
        }
    }
    assert_eq!(files, 40);
    assert!(compared > 10_000, "{compared}");
    let left: Vec<_> = found.keys().filter(|(run, _)| !run.starts_with("tensorboard:")).collect();
    assert!(left.is_empty(), "points of no table: {left:?}");
    // A trial that was restarted has two event files, and both their points.
    let restarted = &found[&(
        "tensorboard:external_tuning/cyclic_lr/study_0/criteo1tb_pytorch/trial_4".to_owned(),
        "validation/loss".to_owned(),
    )];
    assert_eq!(restarted.len(), 2, "{restarted:?}");
    assert_nothing_new(&lake, &root);
}

#[test]
fn tables_beside_a_tracker_are_left_and_named_unless_asked_for() {
    let Some(data) = data() else { return };
    let tool = data.join("clients/tensorboard");
    let temporary = tempfile::tempdir().unwrap();
    let lake = temporary.path().join("lake");
    // The exit code is that of the file which was cut.
    let done = import(&lake, &tool).expect(6);
    assert!(
        done.stdout.contains("left: ") && done.stdout.contains("expected_points.csv.gz"),
        "{}",
        done.stdout
    );
    assert_eq!(expected::counts(&lake)[..2], [("runs", 14), ("points", 301)]);
    expected::assert_same_points(&expected::points_of(&lake, "name"), &expected::points(&tool, "", seconds));
    run(&lake, [Path::new("import"), &tool, Path::new("--tables")]);
    assert_eq!(expected::counts(&lake)[..2], [("runs", 25), ("points", 602)]);
}

/// All folders below one.
fn folders(root: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![root.to_owned()];
    let mut next = 0;
    while next < all.len() {
        let below = std::fs::read_dir(&all[next]).unwrap().map(|entry| entry.unwrap().path());
        all.extend(below.filter(|path| path.is_dir()));
        next += 1;
    }
    all
}

/// A lake and a folder for input, both gone with the test.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn lake(&self) -> std::path::PathBuf {
        self.folder.path().join("lake")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.folder.path().join("input").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }
}

#[test]
fn a_cut_or_damaged_event_file_keeps_what_stands_before_and_names_the_place() {
    let Some(data) = data() else { return };
    let folder = data.join("clients/tensorboard/native/keras-like/run00/train");
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    let records = record_offsets(&whole);
    let tenth = records[10];
    let cut = whole[..tenth + 5].to_vec();
    let mut damaged = whole.clone();
    // Inside the payload of the record: its length is right, its checksum is not.
    damaged[tenth + 20] ^= 0xff;
    let mut garbled_length = whole.clone();
    garbled_length[tenth + 2] ^= 0x7f;
    for (what, bytes) in [("cut", cut), ("damaged", damaged), ("length", garbled_length)] {
        let place = Place::new();
        let path = place.write("run/events.out.tfevents.1750000000", bytes);
        let done = import(&place.lake(), path.parent().unwrap()).expect(6);
        let named = format!("{}: offset {tenth}", path.canonicalize().unwrap().display());
        assert!(done.stdout.contains(&named), "{what}: {named} is not in {}", done.stdout);
        // The first record is the header, each other one holds one point.
        let count = sql(&place.lake(), "SELECT count(*) AS n FROM points")[0]["n"].as_u64();
        assert!(count >= Some(9), "{what}: {count:?} points");
        assert!(count < Some(40), "{what}: {count:?} points");
    }
}

/// Where each record of an event file begins: length (8), checksum (4), payload, checksum (4).
fn record_offsets(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut at = 0;
    while at + 12 <= bytes.len() {
        offsets.push(at);
        at += 16 + u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    }
    offsets
}

#[test]
fn a_rejected_file_is_told_at_the_second_import_too() {
    let place = Place::new();
    let path = place.write("log.csv", "run,step,loss\na,1,0.5\na,2,bad\na,3,0.25\n");
    let first = import(&place.lake(), &path).expect(6);
    assert!(first.stdout.contains("line 3"), "{}", first.stdout);
    // Nothing changed in the file: its bad line is still not in the lake.
    let again = import(&place.lake(), &path).expect(6);
    assert!(again.stdout.contains("reject"), "{}", again.stdout);
}

#[test]
fn an_empty_folder_and_a_missing_path() {
    let place = Place::new();
    let folder = place.folder.path().join("empty");
    std::fs::create_dir(&folder).unwrap();
    let done = import(&place.lake(), &folder).expect(5);
    assert!(done.stderr.contains("empty") && done.stderr.contains("holds no files"), "{}", done.stderr);
    let only_text = place.write("notes/readme.md", "nothing to see");
    let done = import(&place.lake(), only_text.parent().unwrap()).expect(5);
    assert!(done.stdout.contains("readme.md") || done.stderr.contains("readme.md"), "{done:?}");
    let missing = place.folder.path().join("not-there");
    let done = import(&place.lake(), &missing);
    assert!([2, 4, 5].contains(&done.code) && done.stderr.contains("not-there"), "{done:?}");
}

#[test]
fn a_table_without_a_header_says_what_it_took_for_one() {
    let place = Place::new();
    let path = place.write("log.csv", "1,0.5\n2,0.25\n3,0.125\n");
    let done = import(&place.lake(), &path);
    let rows = sql_texts(&place.lake(), "SELECT metric, step, value FROM points ORDER BY metric, step");
    // Either all three rows are points, or the command says that it could not.
    let all = rows.iter().filter(|row| row[2] == "0.5" || row[2] == "0.25" || row[2] == "0.125").count();
    assert!(all == 3 || done.code == 6, "exit {}: {rows:?}\n{}", done.code, done.stdout);
    assert!(done.stdout.contains("header"), "{}", done.stdout);
}

#[test]
fn odd_values_steps_and_twins_come_back_as_they_are() {
    let place = Place::new();
    let path = place.write(
        "log.csv",
        "run,step,loss\na,-5,nan\na,-4,inf\na,-3,-inf\na,-2,-0.0\na,7,1.5\na,7,1.5\na,7,2.5\na,3,4.9e-324\n",
    );
    let done = import(&place.lake(), &path).expect(0);
    assert!(done.stdout.contains("1 NaN, 2 infinite"), "{}", done.stdout);
    let rows = sql_texts(&place.lake(), "SELECT step, value FROM points ORDER BY step");
    let bits: Vec<(i64, u64)> = rows
        .iter()
        .map(|row| (row[0].parse().unwrap(), row[1].parse::<f64>().unwrap()))
        .map(|(step, value)| (step, if value.is_nan() { 0 } else { value.to_bits() }))
        .collect();
    let wanted = [
        (-5, 0),
        (-4, f64::INFINITY.to_bits()),
        (-3, f64::NEG_INFINITY.to_bits()),
        (-2, (-0.0_f64).to_bits()),
        (3, 1),
        (7, 1.5_f64.to_bits()),
        (7, 1.5_f64.to_bits()),
        (7, 2.5_f64.to_bits()),
    ];
    let sorted = |mut points: Vec<(i64, u64)>| {
        points.sort_unstable();
        points
    };
    assert_eq!(sorted(bits), sorted(wanted.to_vec()));
    let row = &sql(
        &place.lake(),
        "SELECT count, nan_count, infinite_count, min, max, first_step, last_step FROM series",
    )[0];
    assert_eq!(
        (row["count"].as_i64(), row["nan_count"].as_i64(), row["infinite_count"].as_i64()),
        (Some(8), Some(1), Some(2)),
        "{row}"
    );
    assert_nothing_new(&place.lake(), &path);
    // A file that grew adds its new rows only, the third twin among them.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}a,7,1.5\na,8,1.0\n")).unwrap();
    let grown = import(&place.lake(), &path).expect(0);
    assert!(grown.stdout.contains("(2 new"), "{}", grown.stdout);
    let count = sql(&place.lake(), "SELECT count(*) AS n FROM points WHERE step = 7 AND value = 1.5");
    assert_eq!(count[0]["n"].as_u64(), Some(3));
}

#[test]
fn two_runs_of_one_name_stay_two() {
    let place = Place::new();
    place.write("a/metrics.csv", "run,step,loss\nsame,1,0.5\n");
    let path = place.write("b/metrics.csv", "run,step,loss\nsame,1,0.25\n");
    import(&place.lake(), path.parent().unwrap().parent().unwrap()).expect(0);
    let rows = sql_texts(
        &place.lake(),
        "SELECT r.name, p.value FROM points p JOIN runs r ON r.run_id = p.run_id ORDER BY 2",
    );
    assert_eq!(rows, [["same", "0.25"], ["same", "0.5"]]);
    let ids = sql(&place.lake(), "SELECT count(DISTINCT run_id) AS n FROM runs");
    assert_eq!(ids[0]["n"].as_u64(), Some(2));
    // A name alone cannot say which one is meant.
    let shown = run(&place.lake(), ["show", "same"]).expect(2);
    assert!(shown.stderr.contains("fits several runs"), "{}", shown.stderr);
}

#[test]
fn a_metric_of_ten_thousand_characters_is_refused_and_the_rest_is_kept() {
    let place = Place::new();
    let name = "m".repeat(10_000);
    let path = place.write("log.csv", format!("run,step,loss,{name}\na,1,0.5,7\na,2,0.25,8\n"));
    let done = import(&place.lake(), &path).expect(6);
    assert!(done.stdout.contains("log.csv") && done.stdout.contains("250"), "{}", done.stdout);
    assert!(done.stdout.len() < 5_000, "the message repeats the whole name");
    let rows = sql_texts(&place.lake(), "SELECT metric, step, value FROM points ORDER BY step");
    assert_eq!(rows, [["loss", "1", "0.5"], ["loss", "2", "0.25"]]);
}

#[test]
fn text_that_is_not_utf8_is_named() {
    let place = Place::new();
    // Latin-1 in a table is read as such, and said so; in an MLflow store it is refused, and said so.
    let path = place.write("log.csv", b"run,step,pr\xe9cision\na,1,0.5\n");
    let done = import(&place.lake(), &path).expect(0);
    assert!(done.stdout.contains("not UTF-8"), "{}", done.stdout);
    let rows = sql_texts(&place.lake(), "SELECT metric, value FROM points");
    assert_eq!(rows, [["précision", "0.5"]]);

    let place = Place::new();
    let run_folder = "mlruns/1/816b2fdd6e3c43dbb4c4aa925b920381";
    let meta = "run_id: 816b2fdd6e3c43dbb4c4aa925b920381\nrun_name: old\nstatus: 3\nstart_time: 5\nlifecycle_stage: active\n";
    place.write(&format!("{run_folder}/meta.yaml"), meta);
    place.write("mlruns/1/meta.yaml", "experiment_id: '1'\nname: e\nlifecycle_stage: active\n");
    place.write(&format!("{run_folder}/metrics/loss"), "1 0.5 0\n");
    place.write(&format!("{run_folder}/params/good"), "1");
    let bad = place.write(&format!("{run_folder}/params/bad"), b"\xff\xfe\xff");
    std::fs::create_dir_all(bad.parent().unwrap().with_file_name("tags")).unwrap();
    let store = place.folder.path().join("input/mlruns");
    let done = import(&place.lake(), &store).expect(6);
    assert!(done.stdout.contains("params/bad"), "{}", done.stdout);
    assert_eq!(sql_texts(&place.lake(), "SELECT key, text FROM params"), [["good", "1"]]);
    assert_eq!(sql(&place.lake(), "SELECT count(*) AS n FROM points")[0]["n"].as_u64(), Some(1));
}

#[test]
fn wrong_sql_points_at_its_place() {
    let place = Place::new();
    let path = place.write("log.csv", "run,step,loss\na,1,0.5\n");
    import(&place.lake(), &path).expect(0);
    for (statement, words) in [
        ("SELECT * FRO runs", &["line 1", "FRO"][..]),
        ("SELECT nam FROM runs", &["nam", "name", "line 1"][..]),
        ("SELECT name\nFROM run", &["run", "line 2"][..]),
        ("SELECT bootstrap_c(value) FROM points", &["bootstrap_c", "bootstrap_ci"][..]),
        ("DROP TABLE runs", &["DROP"][..]),
        ("COPY runs TO '/tmp/x.csv'", &["COPY"][..]),
        ("", &["statement"][..]),
        ("SELECT 1; SELECT nam FROM runs", &["nam", "name"][..]),
        ("SELECT * FROM '/etc/passwd'", &["/etc/passwd"][..]),
    ] {
        let done = run(&place.lake(), ["sql", statement]).expect(2);
        for word in words {
            assert!(done.stderr.contains(word), "{statement:?}: {word:?} is not in {}", done.stderr);
        }
        assert!(!done.stderr.contains("panicked") && !done.stderr.contains("DataFusion"), "{}", done.stderr);
    }
}
