//! Receipts of imports: what they say, that they can be computed again from the source, and that the lake is checked
//! against them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use e2e::{Done, run, sql, sql_texts};
use serde_json::Value;

const FIRST: &str = "run,step,ts,loss,acc\n\
    a,1,2026-01-01T00:00:00Z,0.5,nan\n\
    a,2,2026-01-01T00:00:01Z,0.25,inf\n\
    a,2,2026-01-01T00:00:01Z,0.25,-0.0\n\
    b,1.5,2026-01-01T00:00:02Z,x,1e-300\n";

fn import(lake: &Path, words: &[&str]) -> Done {
    run(lake, std::iter::once("import").chain(words.iter().copied()))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Imports and gives the receipt as JSON.
fn receipt(lake: &Path, path: &Path, code: i32) -> Value {
    let file = lake.with_file_name("receipt.json");
    import(lake, &[text(path), "--receipt-file", text(&file)]).expect(code);
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// The hash of points by the words of `docs/formats/receipt.md`.
fn hash(points: &[(i64, Option<i32>, i64, f64)]) -> String {
    let mut sum = 0_u64;
    for (step, fraction, time, value) in points {
        let mut state = 0_u64;
        for word in [*step as u64, fraction.map_or(u64::MAX, |f| f as u64), *time as u64, value.to_bits()] {
            state = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
            state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            state ^= state >> 31;
        }
        sum = sum.wrapping_add(state);
    }
    format!("{sum:016x}")
}

/// Points and hash of each series, by the name of its run and its metric.
fn series(lake: &Path, receipt: &Value) -> BTreeMap<(String, String), (u64, String)> {
    let names: BTreeMap<String, String> = sql_texts(lake, "SELECT run_id, name FROM runs")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let list = receipt["series"].as_array().unwrap().iter();
    list.map(|series| {
        let (run, metric) = (series["run"].as_str().unwrap(), series["metric"].as_str().unwrap());
        let name = names.get(run).cloned().unwrap_or_default();
        let hash = series["hash"].as_str().unwrap().to_owned();
        ((name, metric.to_owned()), (series["points"].as_u64().unwrap(), hash))
    })
    .collect()
}

fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let (lake, logs) = (temporary.path().join("lake"), temporary.path().join("logs"));
    std::fs::create_dir(&logs).unwrap();
    (temporary, lake, logs)
}

#[test]
fn a_receipt_can_be_computed_from_the_source_and_the_lake_is_checked_against_it() {
    let (_temporary, lake, logs) = folder();
    let table = logs.join("log.csv");
    std::fs::write(&table, FIRST).unwrap();
    let told = receipt(&lake, &logs, 6);
    assert_eq!(told["complete"], true);
    let counts = ["runs", "series_count", "points", "new_points", "nan", "infinite", "rejected"];
    assert_eq!(counts.map(|key| told[key].as_u64().unwrap()), [2, 3, 7, 7, 1, 1, 1]);
    assert_eq!((&told["steps"][0], &told["steps"][1]), (&1.into(), &2.into()));
    let start = 1_767_225_600_000_000_i64;
    assert_eq!((&told["times"][0], &told["times"][1]), (&start.into(), &(start + 2_000_000).into()));
    let rejection = &told["rejections"][0];
    assert_eq!((&rejection["place"], &rejection["code"]), (&"line 5".into(), &"cell.not_a_number".into()));
    assert_eq!(told["rejected_by_code"]["cell.not_a_number"], 1);
    let second = start + 1_000_000;
    let wanted = [
        ("a", "loss", vec![(1, None, start, 0.5), (2, None, second, 0.25), (2, None, second, 0.25)]),
        (
            "a",
            "acc",
            vec![(2, None, second, -0.0), (1, None, start, f64::NAN), (2, None, second, f64::INFINITY)],
        ),
        ("b", "acc", vec![(1, Some(500_000), start + 2_000_000, 1e-300)]),
    ];
    let found = series(&lake, &told);
    assert_eq!(found.len(), wanted.len());
    for (run, metric, points) in wanted {
        let of_series = &found[&(run.to_owned(), metric.to_owned())];
        assert_eq!(*of_series, (points.len() as u64, hash(&points)), "{run} {metric}");
    }

    let id = told["id"].as_str().unwrap();
    let file = lake.with_file_name("receipt.json");
    std::fs::copy(&file, lake.with_file_name("first.json")).unwrap();
    let first = lake.with_file_name("first.json");
    for receipt in [id, text(&first)] {
        let said = import(&lake, &["--verify", receipt]).expect(0).stdout;
        assert!(said.contains("equal: the lake holds the 7 points of 3 series"), "{said}");
    }
    let listed = import(&lake, &["--receipts"]).expect(0).stdout;
    assert!(listed.contains(id) && listed.contains("2 runs, 3 series, 7 points"), "{listed}");
    let shown = import(&lake, &["--receipt", id, "--format", "json"]).expect(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), told);
    let shown = import(&lake, &["--receipt", id]).expect(0).stdout;
    assert!(shown.contains("steps 1 to 2") && shown.contains("line 5"), "{shown}");

    // Nothing new: the receipt stands.
    assert_eq!(receipt(&lake, &logs, 6)["id"], told["id"]);

    // A point more makes the old receipt differ, and the new one equal.
    let mut grown = std::fs::OpenOptions::new().append(true).open(&table).unwrap();
    grown.write_all(b"a,3,2026-01-01T00:00:03Z,0.125,0.5\n").unwrap();
    let newer = receipt(&lake, &logs, 6);
    assert_eq!((&newer["points"], &newer["new_points"]), (&9.into(), &2.into()));
    import(&lake, &["--verify", newer["id"].as_str().unwrap()]).expect(0);
    let differs = import(&lake, &["--verify", text(&first)]).expect(1).stdout;
    assert!(differs.contains("0 are missing and 2 hold other points"), "{differs}");
    assert!(differs.contains("loss: 4 points") && differs.contains("expected 3 points"), "{differs}");

    // The tables say the same as the log.
    run(&lake, ["flush"]).expect(0);
    import(&lake, &["--verify", newer["id"].as_str().unwrap()]).expect(0);

    // A run that is gone is named; the next import brings it back, and the receipts are equal again.
    let runs = sql(&lake, "SELECT run_id FROM runs WHERE name = 'b'");
    let gone = runs[0]["run_id"].as_str().unwrap();
    run(&lake, ["delete", "--run", gone, "--yes"]).expect(0);
    let check = import(&lake, &["--verify", newer["id"].as_str().unwrap(), "--format", "json"]).expect(1);
    let check: Value = serde_json::from_str(&check.stdout).unwrap();
    assert_eq!((&check["missing"], &check["changed"]), (&1.into(), &0.into()));
    assert_eq!(
        (&check["differences"][0]["run"], &check["differences"][0]["found"]),
        (&gone.into(), &Value::Null)
    );
    receipt(&lake, &logs, 6);
    import(&lake, &["--verify", newer["id"].as_str().unwrap()]).expect(0);
}

#[test]
fn a_receipt_tells_also_of_files_that_were_left_unread() {
    let (_temporary, lake, logs) = folder();
    std::fs::write(logs.join("a.csv"), FIRST).unwrap();
    let first = receipt(&lake, &logs, 6);
    std::fs::write(logs.join("b.csv"), "step,loss\n0,1\n1,2\n").unwrap();
    let second = receipt(&lake, &logs, 6);
    assert_eq!(
        (&second["points"], &second["new_points"], &second["series_count"]),
        (&9.into(), &2.into(), &4.into())
    );
    let unchanged: Vec<bool> =
        second["units"].as_array().unwrap().iter().map(|unit| unit["unchanged"].as_bool().unwrap()).collect();
    assert_eq!(unchanged, [true, false]);
    assert_eq!(second["rejections"][0]["place"], "line 5");
    let (old, new) = (series(&lake, &first), series(&lake, &second));
    assert!(old.iter().all(|(key, held)| new[key] == *held));
    // From the folder above and from the file itself, the same is known.
    let above = receipt(&lake, logs.parent().unwrap(), 6);
    assert_eq!(series(&lake, &above), new);
    let alone = receipt(&lake, &logs.join("b.csv"), 0);
    assert_eq!((&alone["points"], &alone["units"][0]["unchanged"]), (&2.into(), &true.into()));
    import(&lake, &["--verify", alone["id"].as_str().unwrap()]).expect(0);
    // A backup has them too.
    let (backup, restored) = (lake.with_file_name("backup"), lake.with_file_name("restored"));
    run(&lake, ["backup", text(&backup)]).expect(0);
    run(&restored, ["restore", text(&backup), text(&restored)]).expect(0);
    assert_eq!(
        import(&restored, &["--receipts"]).expect(0).stdout,
        import(&lake, &["--receipts"]).expect(0).stdout
    );
    import(&restored, &["--verify", second["id"].as_str().unwrap()]).expect(0);
}

#[test]
fn two_files_of_one_run_bring_in_the_same_together_and_one_after_the_other() {
    let (_temporary, lake, logs) = folder();
    // A store and its copy: the same run ids, the same points.
    for store in ["one", "two"] {
        let run = logs.join(store).join("mlruns/0/0123456789abcdef0123456789abcdef");
        std::fs::create_dir_all(run.join("metrics")).unwrap();
        std::fs::write(run.join("metrics/loss"), "1750000000000 0.5 0\n1750000001000 0.25 1\n").unwrap();
        std::fs::write(
            run.join("meta.yaml"),
            "artifact_uri: x\nend_time: null\nentry_point_name: ''\nexperiment_id: '0'\nlifecycle_stage: active\n\
             run_id: 0123456789abcdef0123456789abcdef\nrun_name: r\nrun_uuid: 0123456789abcdef0123456789abcdef\n\
             source_name: ''\nsource_type: 4\nsource_version: ''\nstart_time: 1750000000000\nstatus: 3\ntags: []\nuser_id: u\n",
        )
        .unwrap();
        std::fs::write(
            logs.join(store).join("mlruns/0/meta.yaml"),
            "artifact_location: x\nexperiment_id: '0'\nlifecycle_stage: active\nname: Default\n",
        )
        .unwrap();
    }
    let told = receipt(&lake, &logs, 0);
    assert_eq!((&told["points"], &told["new_points"]), (&4.into(), &2.into()));
    assert_eq!(sql(&lake, "SELECT count(*) AS n FROM points")[0]["n"], 2);
    import(&lake, &["--verify", told["id"].as_str().unwrap()]).expect(0);
    let other = lake.with_file_name("other");
    receipt(&other, &logs.join("one"), 0);
    receipt(&other, &logs.join("two"), 0);
    assert_eq!(sql(&other, "SELECT count(*) AS n FROM points")[0]["n"], 2);
}

#[test]
fn damaged_archives_and_files_that_cannot_be_read_change_the_exit_code() {
    let (_temporary, lake, logs) = folder();
    std::fs::write(logs.join("good.csv"), "step,loss\n0,1\n").unwrap();
    std::fs::write(logs.join("notes.txt"), "of no known kind").unwrap();
    let told = receipt(&lake, &logs, 0);
    assert_eq!(told["left"].as_array().unwrap().len(), 1);
    for (name, content) in [
        ("cut.tar.gz", &b"\x1f\x8b\x08\x00 and nothing that can be unpacked"[..]),
        ("broken.zip", b"PK\x03\x04 and nothing else"),
        ("empty.tar", b""),
        ("other.7z", b"7z\xbc\xaf\x27\x1c"),
        ("data.db", b"SQLite format 3\0 and no database"),
    ] {
        std::fs::write(logs.join(name), content).unwrap();
        let told = receipt(&lake, &logs, 6);
        assert_eq!(
            (&told["rejected"], &told["rejections"][0]["place"]),
            (&1.into(), &"the file".into()),
            "{name}"
        );
        assert!(told["rejections"][0]["file"].as_str().unwrap().ends_with(name), "{told}");
        // Alone there is nothing to import, and what is wrong is said.
        let alone = lake.with_file_name("alone");
        let said = import(&alone, &[text(&logs.join(name))]);
        assert!(
            said.code == 6 || said.code == 5 && name == "data.db",
            "{name}: {} {}",
            said.code,
            said.stderr
        );
        let text = said.stdout + &said.stderr;
        assert!(text.contains(name), "{name}: {text}");
        std::fs::remove_file(logs.join(name)).unwrap();
    }
    receipt(&lake, &logs, 0);
}

#[test]
fn what_is_no_receipt_is_refused() {
    let (_temporary, lake, logs) = folder();
    std::fs::write(logs.join("good.csv"), "step,loss\n0,1\n").unwrap();
    receipt(&lake, &logs, 0);
    let said = import(&lake, &["--verify", "nobody"]).expect(2).stderr;
    assert!(said.contains("--receipts"), "{said}");
    let said = import(&lake, &["--verify", text(&logs.join("good.csv"))]).expect(2).stderr;
    assert!(said.contains("not a receipt"), "{said}");
    import(&lake, &["--receipts", "--receipt", "x"]).expect(2);
    import(&lake, &[]).expect(2);
}

#[test]
fn the_map_of_a_path_is_kept_for_its_next_import() {
    let (_temporary, lake, logs) = folder();
    let table = logs.join("log.csv");
    std::fs::write(&table, "n,x,who\n5,1,a\n6,2,b\n").unwrap();
    let map = lake.with_file_name("columns.toml");
    // What is guessed, written down, is a map that gives the same.
    let guessed = import(&lake, &[text(&table), "--dry-run"]).expect(0).stdout;
    import(&lake, &[text(&table), "--dry-run", "--save-map", text(&map)]).expect(0);
    assert_eq!(import(&lake, &[text(&table), "--dry-run", "--map", text(&map)]).expect(0).stdout, guessed);
    assert!(!lake.exists());
    std::fs::write(
        &map,
        "step = 'x'\nrun = 'who'\n[rename]\nnumber = 'n'\n[constant.tag]\nteam = 'vision'\n",
    )
    .unwrap();
    import(&lake, &[text(&table), "--map", text(&map)]).expect(0);
    let rows = "SELECT r.name, p.metric, p.step, p.value, r.tags.team FROM points p JOIN runs r USING (run_id) ORDER BY 1";
    let wanted = [["a", "number", "1", "5.0", "vision"], ["b", "number", "2", "6.0", "vision"]];
    assert_eq!(sql_texts(&lake, rows), wanted);
    // Without a map it is read with the one before, also from the folder above, and after it grew.
    let shown = import(&lake, &[text(&table), "--dry-run"]).expect(0).stdout;
    assert!(shown.contains("metric \"number\"") && shown.contains("\"vision\" in all rows"), "{shown}");
    let again = import(&lake, &[text(&table)]).expect(0).stdout;
    assert!(again.contains("columns as at the last import of") && again.contains("points (0 new"), "{again}");
    import(&lake, &[text(&logs)]).expect(0);
    assert_eq!(sql_texts(&lake, rows), wanted);
    std::fs::write(&table, "n,x,who\n5,1,a\n6,2,b\n7,3,b\n").unwrap();
    import(&lake, &[text(&logs)]).expect(0);
    assert_eq!(sql_texts(&lake, rows).len(), 3);
    // Another map, and no map at all.
    let other = import(&lake, &[text(&table), "--map", "step=n,drop=who", "--dry-run"]).expect(0).stdout;
    assert!(other.contains("\"n\" -> step"), "{other}");
    import(&lake, &[text(&table), "--guess", "--dry-run"]).expect(0);
    assert!(import(&lake, &[text(&table), "--dry-run"]).expect(0).stdout.contains("\"vision\" in all rows"));
    import(&lake, &[text(&table), "--guess"]).expect(0);
    let shown = import(&lake, &[text(&table), "--dry-run"]).expect(0).stdout;
    assert!(shown.contains("\"n\" -> step") && !shown.contains("vision"), "{shown}");
    // A map for which the file has no columns is refused with a hint.
    import(&lake, &[text(&table), "--map", "step=gone"]).expect(2);
    import(&lake, &[text(&table), "--map", "step=x"]).expect(0);
    std::fs::write(&table, "n,y\n5,1\n").unwrap();
    let said = import(&lake, &[text(&table)]).expect(2).stderr;
    assert!(said.contains("no such column") && said.contains("was kept when"), "{said}");
    // Tables with different columns have no one map.
    std::fs::write(logs.join("other.csv"), "z,step\n5,1\n").unwrap();
    let said =
        import(&lake, &[text(&logs), "--guess", "--dry-run", "--save-map", text(&map)]).expect(2).stderr;
    assert!(said.contains("2 tables with different columns"), "{said}");
}
