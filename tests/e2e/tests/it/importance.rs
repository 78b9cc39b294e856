//! `runlake importance` and `runlake cluster` over the sweep of the demo corpus, whose truth is known.

use std::path::{Path, PathBuf};

use e2e::{Server, command, done, run};
use serde_json::Value;

fn sweep(folder: &Path) -> PathBuf {
    let (logs, lake) = (folder.join("logs"), folder.join("lake"));
    datasets::unpack_demo_corpus(&logs).unwrap();
    run(&lake, [Path::new("import"), &logs.join("tensorboard")]).expect(0);
    lake
}

fn truth() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/demo-corpus/truth.json");
    let truth: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    truth["importance"].as_array().unwrap().clone()
}

#[test]
fn params_rank_as_in_the_full_factorial_truth() {
    let folder = tempfile::tempdir().unwrap();
    let lake = sweep(folder.path());
    let truth = truth();
    assert!(!truth.is_empty());
    for of_metric in truth {
        let metric = of_metric["metric"].as_str().unwrap();
        // The sweep alone: the truth is that of its grid, and other runs of the folder lie far outside of it.
        let sql = format!(
            "SELECT params.lr AS lr, params.hidden AS hidden, params.batch_size AS batch_size, params.prefetch AS prefetch, \
             metrics['{metric}'] AS target FROM runs \
             WHERE experiment = 'tensorboard' AND params.batch_size IN (16, 64) AND params.hidden IN (8, 32)"
        );
        let words = ["importance", "--metric", "target", "--sql", sql.as_str(), "--format", "ndjson"];
        let rows = run(&lake, words).expect(0).stdout;
        let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let params: Vec<&Value> = rows.iter().filter(|row| row["kind"] == "param").collect();
        let ranking = of_metric["ranking"].as_array().unwrap();
        assert_eq!(params[0]["param"], ranking[0], "{metric}: {rows:?}");
        let last = params.last().unwrap();
        assert_eq!(last["param"], of_metric["no_effect"], "{metric}: {rows:?}");
        for row in rows.iter().filter(|row| row["kind"] != "remainder") {
            let number = |key: &str| row[key].as_f64().unwrap();
            assert!(number("low") <= number("importance") && number("importance") <= number("high"), "{row}");
        }
        // Shares of the variance without the noise of seeds, within what a forest on 200 runs reaches.
        let explained = 1.0 - of_metric["seed_noise_share"].as_f64().unwrap();
        for row in params {
            let share = &of_metric["main_effects"][row["param"].as_str().unwrap()]["share_of_variance"];
            let share = share.as_f64().unwrap() / explained;
            let got = row["importance"].as_f64().unwrap();
            assert!((got - share).abs() < 0.15, "{metric}: {row} for {share}");
        }
    }
}

#[test]
fn every_format_answers_and_a_server_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let lake = sweep(folder.path());
    let importance = ["importance", "tensorboard", "--metric", "test/acc", "--pairs", "2", "--seed", "3"];
    let cluster = ["cluster", "tensorboard", "--k", "3", "--param", "lr", "--param", "hidden"];
    let mut local = Vec::new();
    for words in [&importance[..], &cluster[..]] {
        for format in ["table", "csv", "json", "ndjson", "markdown"] {
            let done = run(&lake, [words, &["--format", format]].concat()).expect(0);
            let least = if format == "json" { 1 } else { 4 };
            assert!(done.stdout.lines().count() >= least, "{words:?} {format}: {}", done.stdout);
            if format == "csv" {
                local.push(done.stdout);
            }
        }
    }
    let server = Server::start(&lake);
    for (words, local) in [&importance[..], &cluster[..]].iter().zip(local) {
        let url = server.url();
        let asked = done(command().args(["--url", url.as_str()]).args(*words).args(["--format", "csv"]));
        assert_eq!(asked.expect(0).stdout, local, "{words:?}");
    }
}

#[test]
fn wrong_questions_end_with_two_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let lake = sweep(folder.path());
    for (words, text) in [
        (&["importance", "--metric", "test/acc"][..], "give an experiment, or --sql"),
        (&["importance", "tensorbord", "--metric", "test/acc"], "Did you mean 'tensorboard'?"),
        (&["importance", "tensorboard", "--metric", "nothing"], "has the metric 'nothing'"),
        (&["cluster", "tensorboard", "--k", "0"], "argument 'k' of cluster_runs is 0"),
        (&["cluster", "tensorboard", "--k", "5000"], "k = 5000 exceeds"),
        (&["cluster", "tensorboard", "--measure", "dtw"], "--curves"),
    ] {
        let done = run(&lake, words).expect(2);
        assert!(done.stderr.contains(text), "{words:?}: {}", done.stderr);
        assert!(done.stdout.is_empty(), "{words:?}");
    }
}
