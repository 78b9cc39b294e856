//! `runlake export`, and `runlake import` of what it wrote.

use std::path::Path;

use e2e::{run, sql_texts};

const EVERYTHING: &str = "SELECT r.name, r.experiment, r.status, r.start_time, p.metric, p.step, p.time, p.value, p.attempt \
     FROM points AS p JOIN runs AS r ON r.run_id = p.run_id ORDER BY r.run_id, p.metric, p.step, p.time, p.value";

fn small_lake(folder: &Path) -> std::path::PathBuf {
    let (lake, table) = (folder.join("lake"), folder.join("log.csv"));
    let rows = "run,step,loss,val/acc,arm,seed\na,1,0.5,,old,1\na,1,0.5,,old,1\na,2.5,-inf,0.1,old,1\n\
                b,1,nan,,new,2\nb,2,-0.0,0.2,new,2\n";
    std::fs::write(&table, rows).unwrap();
    let mapping = "run=run,step=step,tag:arm=arm,param:seed=seed";
    run(&lake, ["import", table.to_str().unwrap(), "--map", mapping, "--experiment", "trial"]).expect(0);
    lake
}

#[test]
fn what_is_exported_and_imported_is_the_same_lake() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    for format in ["parquet", "csv", "jsonl"] {
        let (out, back) = (folder.path().join(format), folder.path().join(format!("{format}-lake")));
        let done = run(&lake, ["export", "--to", out.to_str().unwrap(), "--format", format]).expect(0);
        assert!(done.stdout.contains("exported 2 runs, 4 series, 7 points"), "{}", done.stdout);
        run(&back, ["import", out.to_str().unwrap()]).expect(0);
        assert_eq!(sql_texts(&back, EVERYTHING), sql_texts(&lake, EVERYTHING), "{format}");
        let again = run(&lake, ["import", out.to_str().unwrap()]).expect(0);
        assert!(again.stdout.contains("7 points (0 new; 1 NaN, 1 infinite)"), "{}", again.stdout);
    }
}

#[test]
fn the_exit_code_says_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let export = |runs: &str, to: &str, more: &[&str]| {
        let to = folder.path().join(to);
        let words = ["export", runs, "--to", to.to_str().unwrap()];
        run(&lake, words.iter().chain(more).copied().collect::<Vec<_>>())
    };
    export("tag:arm=new", "new", &[]).expect(0);
    export("tag:arm=none", "none", &[]).expect(5);
    assert!(!folder.path().join("none").exists());
    export("no_such_column = 1", "wrong", &[]).expect(2);
    let refused = export("tag:arm=new", "new", &[]).expect(2);
    assert!(refused.stderr.contains("--overwrite"), "{}", refused.stderr);
    export("tag:arm=new", "new", &["--overwrite", "--format", "csv", "--compress", "zstd"]).expect(0);
    assert!(folder.path().join("new/points.csv.zst").is_file());
    export("tag:arm=new", "packed", &["--compress", "gzip"]).expect(2);
    // Points between two steps have no place in a file store.
    let lossy = export("experiment:trial", "mlruns", &["--format", "mlflow"]).expect(6);
    assert!(lossy.stdout.contains("2 points are left out"), "{}", lossy.stdout);
    assert!(lossy.stdout.contains("[point.step_fraction]"), "{}", lossy.stdout);
    let only = export("experiment:trial", "acc", &["--metric", "*acc"]).expect(0);
    assert!(only.stdout.contains("2 series, 2 points"), "{}", only.stdout);
}
