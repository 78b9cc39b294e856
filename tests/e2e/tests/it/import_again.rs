//! What is imported twice is there once, for every kind of source that real clients wrote.

use std::collections::BTreeSet;
use std::path::Path;

use e2e::{data, run, sql, sql_texts};

use crate::expected;

/// The points of a lake, counted and hashed.
fn hashes(lake: &Path) -> Vec<Vec<String>> {
    let statement = "SELECT run_id, metric, context, coalesce(count, 0), fingerprint FROM series";
    let mut rows = sql_texts(lake, statement);
    rows.sort_unstable();
    rows
}

/// All that the sets of public logs hold outside of their archives.
#[test]
fn importing_every_public_set_twice_adds_nothing() {
    let Some(data) = data() else { return };
    let temporary = tempfile::tempdir().unwrap();
    for (set, runs, series, points) in [
        ("autosklearn-meta", 410, 410, 410),
        ("dopamine-json", 34, 34, 36_250),
        ("dreamerv3-scores", 1_159, 1_159, 472_978),
        ("openlm-scaling", 69, 9_246, 9_246),
        ("rlzoo-monitor", 103, 309, 486_495),
        ("tdmpc2-csv", 624, 624, 24_022),
        ("timm-results", 9_949, 81_946, 81_946),
    ] {
        let lake = temporary.path().join(set);
        let path = data.join(set).join("raw");
        let first = run(&lake, [Path::new("import"), &path]);
        assert_eq!(first.code, if set == "timm-results" { 6 } else { 0 }, "{set}: {}", first.stderr);
        let (counts, hashed) = (expected::counts(&lake), hashes(&lake));
        assert_eq!(counts[..3], [("runs", runs), ("points", points), ("series", series)], "{set}");
        let second = run(&lake, [Path::new("import"), &path]).expect(first.code);
        assert!(second.stdout.contains("points (0 new"), "{set}: {}", second.stdout);
        assert_eq!((expected::counts(&lake), hashes(&lake)), (counts, hashed), "{set}");
    }
}

#[test]
fn importing_the_files_of_every_client_twice_adds_nothing() {
    let Some(data) = data() else { return };
    let clients = data.join("clients");
    let mut kinds = BTreeSet::new();
    let mut folders: Vec<_> = std::fs::read_dir(&clients)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    let temporary = tempfile::tempdir().unwrap();
    for folder in &folders {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let lake = temporary.path().join(name);
        let import = || run(&lake, [Path::new("import"), folder, Path::new("--tables")]);
        let first = import();
        if name == "aim" {
            // Only Aim can read its store; what to do is told. What stands beside it is a table.
            assert!(first.code == 6 && first.stdout.contains("a repository of Aim"), "{}", first.stdout);
        }
        assert!(first.code == 0 || first.code == 6, "{name}: {} {}", first.code, first.stderr);
        let (counts, points) = (expected::counts(&lake), hashes(&lake));
        assert!(!points.is_empty(), "{name}: no points\n{}", first.stdout);
        for row in sql(&lake, "SELECT DISTINCT kind FROM imports") {
            kinds.insert(row["kind"].as_str().unwrap().to_owned());
        }
        // Unread, as its content is known.
        let second = import().expect(first.code);
        assert!(second.stdout.contains("points (0 new"), "{name}: {}", second.stdout);
        assert!(!second.stdout.contains(" 0 unchanged"), "{name}: {}", second.stdout);
        assert_eq!((expected::counts(&lake), hashes(&lake)), (counts.clone(), points.clone()), "{name}");
        // Read again, as the lake forgets what was imported when a run goes: only that run is new.
        let gone =
            sql(&lake, "SELECT run_id, source_run_id FROM runs ORDER BY start_time DESC, run_id LIMIT 1");
        run(&lake, ["delete", "--run", gone[0]["run_id"].as_str().unwrap(), "--yes"]).expect(0);
        let third = import().expect(first.code);
        assert!(third.stdout.contains(" 0 unchanged"), "{name}: {}", third.stdout);
        assert_eq!(counts, expected::counts(&lake), "{name}: {}", third.stdout);
        // What the lake holds is what the receipt says.
        let receipts = run(&lake, ["import", "--receipts"]).expect(0).stdout;
        let id = receipts.lines().last().unwrap().split_whitespace().next().unwrap();
        run(&lake, ["import", "--verify", id]).expect(0);
    }
    let wanted = [
        "csv",
        "dvclive",
        "huggingface",
        "json",
        "jsonl",
        "lightning",
        "mlflow",
        "neptune",
        "optuna",
        "parquet",
        "ray",
        "sacred",
        "tensorboard",
        "trackio",
        "wandb",
    ];
    let missing: Vec<_> = wanted.iter().filter(|kind| !kinds.contains(**kind)).collect();
    assert!(missing.is_empty(), "no files of {missing:?}; there are {kinds:?}");
}
