//! What is imported twice is there once, for every kind of source that real clients wrote.

use std::collections::BTreeSet;
use std::path::Path;

use e2e::{data, run, sql, sql_texts};

use crate::expected;

/// The points of a lake, counted and hashed.
fn hashes(lake: &Path) -> Vec<Vec<String>> {
    let statement =
        "SELECT run_id, metric, coalesce(count, 0), fingerprint FROM series ORDER BY 1, 2, context";
    sql_texts(lake, statement)
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
        if first.code == 5 {
            // Only of a kind that is not read yet.
            assert!(first.stderr.contains("nothing to import was recognised"), "{name}: {}", first.stderr);
            println!("{name}: {}", first.stderr.lines().next().unwrap_or_default());
            continue;
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
