//! Importance, clusters, neighbours and outliers over runs: what reaches the kernels from registry and queries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use model::{PointBatch, ProjectName, RunStatus};
use query::{Access, QueryLimits, QueryOptions, Settings};

use crate::lake::{Lake, block_on, new_run, params, series};

/// Two experiments of one design, and one with two runs only. In the design the loss follows the rate on a logarithmic
/// scale and a little the depth, momentum exists for sgd alone, and every run has another folder.
static SWEEPS: LazyLock<Lake> = LazyLock::new(|| {
    let mut lake = Lake::empty();
    let (mut commands, mut points) = (Vec::new(), Vec::new());
    for (number, experiment) in (0u128..).zip(["first", "second"]) {
        for run in 0..60u128 {
            let id = 1 + number * 100 + run;
            let exponent = -4.0 + 3.0 * ((run * 37 % 60) as f64) / 59.0;
            let rate = format!("{:.6e}", 10f64.powf(exponent));
            let depth = (2 + run * 7 % 5).to_string();
            let is_sgd = run % 2 == 0;
            let (folder, seed) = (format!("/out/{id}"), run.to_string());
            let mut of_run = vec![
                ("lr", rate.as_str()),
                ("depth", depth.as_str()),
                ("optimizer", if is_sgd { "sgd" } else { "adam" }),
                ("folder", folder.as_str()),
                ("seed", seed.as_str()),
                ("fixed", "1"),
            ];
            if is_sgd {
                of_run.push(("momentum", if run % 4 == 0 { "0.9" } else { "None" }));
            }
            commands.push(new_run(
                id,
                "tuning",
                experiment,
                &format!("{experiment}-{run}"),
                RunStatus::Finished,
            ));
            commands.push(params(id, &of_run));
            let level = (exponent + 2.5).powi(2) + 0.05 * (run * 7 % 5) as f64;
            let curve: Vec<(i64, f64)> = match run {
                // The last runs of each: one diverges, one is stuck, one spikes.
                57 => (0..40).map(|step| (step, if step < 30 { 3.0 } else { f64::NAN })).collect(),
                58 => (0..40).map(|step| (step, 3.0 + level)).collect(),
                59 => {
                    (0..40).map(|step| (step, if step == 20 { 90.0 } else { decay(step, level) })).collect()
                }
                _ => (0..40).map(|step| (step, decay(step, level))).collect(),
            };
            points.push(series(id, "loss", None, &curve));
        }
    }
    commands.push(new_run(900, "tuning", "tiny", "one", RunStatus::Finished));
    commands.push(new_run(901, "tuning", "tiny", "two", RunStatus::Finished));
    commands.push(params(900, &[("lr", "1"), ("depth", "1")]));
    commands.push(params(901, &[("lr", "2"), ("depth", "1")]));
    points.push(series(900, "loss", None, &[(0, 1.0)]));
    points.push(series(901, "loss", None, &[(0, 1.0)]));
    commands.push(new_run(950, "secret", "hidden", "one", RunStatus::Finished));
    block_on(async {
        lake.store.apply(commands, None).await.unwrap();
        let half = points.split_off(points.len() / 2);
        lake.store.append(PointBatch::new(points).unwrap(), None).await.unwrap();
        lake.store.flush().await.unwrap();
        lake.store.append(PointBatch::new(half).unwrap(), None).await.unwrap();
    });
    lake.snapshot = lake.store.snapshot();
    lake
});

fn decay(step: i64, level: f64) -> f64 {
    level + 3.0 * (-(step as f64) / 8.0).exp()
}

/// The flags of each param.
fn flags(rows: &[Vec<String>]) -> BTreeMap<&str, &str> {
    rows.iter().filter(|row| row[1] == "param").map(|row| (row[0].as_str(), row[8].as_str())).collect()
}

fn importance(call: &str) -> Vec<Vec<String>> {
    SWEEPS.rows(&format!(
        "SELECT coalesce(param, kind), kind, importance, low, high, n, n_failed, experiments, flags FROM importance({call})"
    ))
}

fn number(text: &str) -> f64 {
    text.parse().unwrap()
}

#[test]
fn the_param_that_matters_comes_first_with_an_interval() {
    for method in ["fanova", "permutation", "mdi", "ped-anova"] {
        let rows = importance(&format!("'first', 'loss', method => '{method}'"));
        assert_eq!((rows[0][0].as_str(), rows[0][1].as_str()), ("lr", "param"), "{method}: {rows:?}");
        let [importance, low, high] = [2, 3, 4].map(|at| number(&rows[0][at]));
        assert!(low <= importance && importance <= high && low < high, "{method}: {rows:?}");
        // One run has no finite loss at its end.
        assert_eq!((rows[0][5].as_str(), rows[0][6].as_str()), ("59", "1"), "{method}");
        let flags = flags(&rows);
        assert!(flags["fixed"].contains("constant"), "{method}: {flags:?}");
        assert!(
            flags["momentum"].contains("where_active") || flags["momentum"].contains("constant"),
            "{flags:?}"
        );
        assert_eq!(flags["folder"], "all_different");
    }
}

#[test]
fn fanova_has_pairs_and_what_is_left() {
    let rows = SWEEPS.rows(
        "SELECT kind, count(*) FROM importance('first', 'loss', params => 'lr,depth,optimizer') GROUP BY kind ORDER BY kind",
    );
    assert_eq!(rows, [["pair", "3"], ["param", "3"], ["remainder", "1"]]);
    let none = importance("'first', 'loss', params => 'lr,depth', pairs => 0");
    assert!(none.iter().all(|row| row[1] != "pair"), "{none:?}");
    let total = "SELECT round(sum(importance), 6) FROM importance('first', 'loss', params => 'lr,depth')";
    assert_eq!(SWEEPS.cell(total), "1.0");
}

#[test]
fn experiments_are_pooled_and_one_that_says_nothing_is_left_out_with_a_word() {
    let rows = importance("'first,second', 'loss', params => 'lr,depth'");
    assert_eq!((rows[0][0].as_str(), rows[0][7].as_str()), ("lr", "2"), "{rows:?}");
    assert_eq!(number(&rows[0][5]), 118.0);
    let list = importance("['first', 'tuning/second'], 'loss', params => ['lr', 'depth']");
    assert_eq!(list, rows);
    let with_tiny = importance("'first,second,tiny', 'loss', params => 'lr,depth'");
    assert_eq!(with_tiny[0][2], rows[0][2]);
    assert!(with_tiny.iter().all(|row| row[8].contains("experiments_left_out")), "{with_tiny:?}");
}

#[test]
fn a_query_gives_the_same_as_its_experiment() {
    let by_name = importance("'first', 'loss', params => 'lr,depth,optimizer'");
    let by_query = importance(
        "'SELECT run_id, params.lr, params.depth, params.optimizer, metrics.loss FROM runs WHERE experiment = ''first''', 'loss'",
    );
    assert_eq!(by_query, by_name);
    let pooled = importance(
        "'SELECT experiment, params.lr, params.depth, metrics.loss FROM runs WHERE experiment <> ''tiny'' AND project = ''tuning''', 'loss'",
    );
    assert_eq!(pooled, importance("'first,second', 'loss', params => 'lr,depth'"));
}

#[test]
fn the_seed_of_the_session_counts_and_the_same_seed_gives_the_same() {
    let sql =
        "SELECT importance FROM importance('first', 'loss', params => 'lr,depth') WHERE param = 'depth'";
    let with = |seed: u64| {
        let settings = Settings { seed, ..Settings::default() };
        crate::lake::texts(
            &SWEEPS.ask_with(sql, QueryOptions { settings, ..QueryOptions::default() }).unwrap(),
        )
    };
    assert_eq!(with(3), with(3));
    assert_ne!(with(3), with(4));
    assert_eq!(with(4), SWEEPS.rows(&sql.replace("'lr,depth'", "'lr,depth', seed => 4")));
}

#[test]
fn runs_are_clustered_by_params_and_by_curves() {
    let clusters = |call: &str| -> Vec<Vec<String>> {
        SWEEPS.rows(&format!(
            "SELECT name, label, size, distance, probability FROM cluster_runs({call}) ORDER BY run_id"
        ))
    };
    let by_optimizer = clusters("'first', k => 2, params => 'optimizer'");
    let of: BTreeSet<(bool, &str)> = by_optimizer
        .iter()
        .map(|row| (row[0].rsplit('-').next().unwrap().parse::<u32>().unwrap() % 2 == 0, row[1].as_str()))
        .collect();
    assert_eq!(of.len(), 2, "{by_optimizer:?}");
    assert!(by_optimizer.iter().all(|row| row[2] == "30" && row[3] == "0.0" && row[4] == "NULL"));
    // The best silhouette of two points that many runs share is that of two clusters.
    assert_eq!(clusters("'first', params => 'optimizer'"), by_optimizer);
    let dense = clusters("'first', 'hdbscan', params => 'optimizer', min_size => 10");
    assert_eq!(dense.iter().map(|row| &row[1]).collect::<BTreeSet<_>>().len(), 2, "{dense:?}");
    assert!(dense.iter().all(|row| row[3] == "NULL" && row[4] == "1.0"), "{dense:?}");
    let with_curves = clusters("'first', k => 3, params => 'optimizer', metrics => 'loss'");
    assert_ne!(with_curves, clusters("'first', k => 3"), "{with_curves:?}");
    assert_eq!(with_curves.len(), 60);
}

#[test]
fn curves_are_clustered_around_runs() {
    for measure in ["euclidean", "dtw", "soft-dtw"] {
        let rows = SWEEPS.rows(&format!(
            "SELECT name, label, size, is_medoid, distance, medoid = run_id FROM cluster_curves('first', 'loss', k => 2, \
             measure => '{measure}') ORDER BY run_id"
        ));
        assert_eq!(rows.len(), 60, "{measure}");
        let medoids: Vec<_> = rows.iter().filter(|row| row[3] == "true").collect();
        assert_eq!(medoids.len(), 2, "{measure}");
        assert!(
            medoids.iter().all(|row| row[5] == "true" && number(&row[4]).abs() < 1e-6),
            "{measure}: {medoids:?}"
        );
    }
}

#[test]
fn the_nearest_runs_are_those_with_like_params() {
    let near = SWEEPS
        .rows("SELECT rank, name, distance FROM similar_runs('first-0', 3, params => 'lr') ORDER BY rank");
    // Rates of neighbours: run * 37 modulo 60 is 0 for run 0, and 1, 2, 3 for these.
    let rates: Vec<u32> =
        near.iter().map(|row| row[1].rsplit('-').next().unwrap().parse::<u32>().unwrap() * 37 % 60).collect();
    assert_eq!(rates, [1, 2, 3], "{near:?}");
    assert_eq!(SWEEPS.cell("SELECT count(*) FROM similar_runs('first-0')"), "10");
    assert_eq!(SWEEPS.cell("SELECT count(*) FROM similar_runs('two', experiment_or_sql => 'tiny')"), "1");
    let elsewhere =
        "SELECT project || experiment FROM similar_runs('first-0', 1, 'first,second', params => 'lr')";
    assert_eq!(SWEEPS.cell(elsewhere), "tuningsecond");
}

#[test]
fn curves_that_went_wrong_are_named_with_their_reason() {
    let rows = SWEEPS
        .rows("SELECT name, reason, score > threshold FROM outliers('first', 'loss') ORDER BY name, reason");
    for expected in [["first-57", "diverged"], ["first-58", "stuck"], ["first-59", "spiking"]] {
        assert!(rows.iter().any(|row| row[..2] == expected), "{expected:?}: {rows:?}");
    }
    assert!(rows.iter().all(|row| row[2] == "true"));
    assert_eq!(SWEEPS.cell("SELECT count(*) FROM outliers('first', 'loss', diverged_above => 1e9, stuck_above => 1e9, spiking_above => 1e9) WHERE score < 'inf'::double"), "0");
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    for (call, text) in [
        ("importance('frist', 'loss')", "there is no such experiment"),
        ("importance('frist', 'loss')", "Did you mean 'first'?"),
        ("importance('first', 'nothing')", "no run of experiment 'tuning/first' has the metric 'nothing'"),
        ("importance('tiny', 'loss')", "all 2 finite values of the objective equal 1"),
        ("importance('first', 'loss', params => 'nothing')", "has no params to assess"),
        (
            "importance('first', 'loss', method => 'magic')",
            "give 'fanova', 'ped-anova', 'permutation' or 'mdi'",
        ),
        ("importance('SELECT 1 AS a, 2 AS loss', 'loss')", "only 1 of 1 trials have a finite objective"),
        (
            "importance('SELECT params, metrics.loss FROM runs', 'loss')",
            "column 'params' of the query is a struct",
        ),
        ("importance('SELECT params.lr FROM runs', 'loss')", "the query has no column 'loss'"),
        (
            "importance('SELECT * FROM importance(''first'', ''loss'')', 'loss')",
            "may not call a function in FROM",
        ),
        ("importance('SELECT nonsense FROM runs', 'loss')", "nonsense"),
        ("importance('SET x = 1', 'loss')", "there is no such experiment"),
        ("importance('WITH x AS (SELECT 1) DELETE FROM runs', 'loss')", "not implemented"),
        ("cluster_runs('first', k => 61)", "k = 61 exceeds the 60 rows"),
        ("cluster_runs('first', k => 0)", "argument 'k' of cluster_runs is 0"),
        ("cluster_runs('first', 'hdbscan', k => 3)", "hdbscan finds the number of clusters itself"),
        ("cluster_runs('hidden')", "has 1 run(s), at least 2 are needed"),
        ("cluster_runs('first', params => 'fixed')", "none of their params differs"),
        ("cluster_runs('first', metrics => 'nothing')", "has the metric 'nothing'"),
        ("cluster_runs('SELECT params.lr FROM runs')", "must have a column run_id"),
        (
            "cluster_runs('SELECT ''x'' AS run_id, 1 AS a')",
            "'x' in the column run_id of the query is no run id",
        ),
        (
            "cluster_runs('SELECT run_id, 1 AS a FROM runs UNION ALL SELECT run_id, 2 FROM runs')",
            "stands in several rows of the query",
        ),
        ("similar_runs('first-0', 60)", "k = 60 exceeds the 59 rows"),
        ("similar_runs('first-0', 3, 'second')", "is not among experiment 'tuning/second'"),
        ("cluster_curves('first', 'loss', k => 99)", "k = 99 exceeds the 60 rows"),
        (
            "cluster_curves('first', 'loss', measure => 'soft-dtw', gamma => 0)",
            "give a finite number above 0",
        ),
        ("outliers('first', 'nothing')", "has the metric 'nothing'"),
    ] {
        let error = SWEEPS.ask(&format!("SELECT * FROM {call}")).unwrap_err();
        assert!(error.to_string().contains(text), "{call}: {error}");
        assert_ne!(error.code(), "sql.internal", "{call}: {error}");
    }
}

#[test]
fn rights_hold_by_name_and_in_queries() {
    let access = Access::Projects(Arc::new(BTreeSet::from([ProjectName::new("secret").unwrap()])));
    let options = || QueryOptions { access: access.clone(), ..QueryOptions::default() };
    let error = SWEEPS.ask_with("SELECT * FROM importance('first', 'loss')", options()).unwrap_err();
    assert!(error.to_string().contains("there is no such experiment"), "{error}");
    assert!(!error.to_string().contains("Did you mean"), "{error}");
    let by_id = "SELECT * FROM cluster_runs('SELECT * FROM (VALUES (''00000000000000000000000000000001'', 1), (''00000000000000000000000000000002'', 2)) AS t(run_id, a)', k => 1)";
    assert!(SWEEPS.ask(by_id).is_ok());
    let error = SWEEPS.ask_with(by_id, options()).unwrap_err();
    assert!(error.to_string().contains("is of no run"), "{error}");
}

#[test]
fn memory_is_that_of_the_statement() {
    let limits = QueryLimits { memory: 64 << 10, ..QueryLimits::default() };
    let options = || QueryOptions { limits: limits.clone(), ..QueryOptions::default() };
    for call in [
        "importance('first', 'loss')",
        "cluster_curves('first', 'loss', k => 2)",
        "outliers('first', 'loss')",
    ] {
        let error = SWEEPS.ask_with(&format!("SELECT * FROM {call}"), options()).unwrap_err();
        assert_eq!(error.code(), "sql.memory", "{call}: {error}");
    }
}

#[test]
fn columns_that_nobody_asks_for_and_filters_do_no_harm() {
    assert_eq!(SWEEPS.cell("SELECT count(*) FROM cluster_runs('first', k => 2)"), "60");
    let filtered = "SELECT param FROM importance('first', 'loss') WHERE kind = 'param' ORDER BY importance DESC NULLS LAST LIMIT 1";
    assert_eq!(SWEEPS.cell(filtered), "lr");
    let joined =
        "SELECT count(*) FROM cluster_runs('first', k => 2) AS c JOIN runs AS r ON r.run_id = c.run_id";
    assert_eq!(SWEEPS.cell(joined), "60");
    let twice = "SELECT count(*) FROM importance('first', 'loss') AS a JOIN importance('second', 'loss') AS b ON a.param = b.param AND a.kind = b.kind WHERE a.kind = 'param'";
    assert_eq!(SWEEPS.cell(twice), "7");
    let plan = SWEEPS.rows("EXPLAIN SELECT * FROM outliers('first', 'loss')").concat().join("\n");
    assert!(plan.contains("ComputedExec: outliers") && plan.contains("PointsExec"), "{plan}");
}

/// Prints how long importance and clusters take over many runs, and the peak of memory: `RUNS=1000000 cargo test -p query
/// --test it -- --ignored --nocapture many_runs`. What a statement of a remote caller may take is enough.
#[test]
#[ignore = "takes minutes"]
fn many_runs_fit_into_the_memory_of_a_statement() {
    let count: u128 = std::env::var("RUNS").map_or(100_000, |runs| runs.parse().unwrap());
    let mut lake = Lake::empty();
    block_on(async {
        for first in (0..count).step_by(10_000) {
            let (mut commands, mut points) = (Vec::new(), Vec::new());
            for run in first..count.min(first + 10_000) {
                let mixed = (run * 2_654_435_761) % 1_000_003;
                let rate = format!("{:.5e}", 10f64.powf(-4.0 + 3.0 * mixed as f64 / 1_000_003.0));
                let keys = ["width", "depth", "heads", "batch", "warmup", "clip", "decay", "beta", "epsilon"];
                let texts: Vec<String> = (7u128..).take(9).map(|by| (mixed % by).to_string()).collect();
                let mut of_run: Vec<(&str, &str)> =
                    keys.iter().copied().zip(texts.iter().map(String::as_str)).collect();
                of_run.push(("lr", &rate));
                commands.push(new_run(run + 1, "large", "sweep", "run", RunStatus::Finished));
                commands.push(params(run + 1, &of_run));
                points.push(series(run + 1, "loss", None, &[(0, (mixed as f64 / 1e6 - 0.4).powi(2))]));
            }
            lake.store.apply(commands, None).await.unwrap();
            lake.store.append(PointBatch::new(points).unwrap(), None).await.unwrap();
        }
    });
    lake.snapshot = lake.store.snapshot();
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned()
    };
    println!("{count} runs, before: {}", peak());
    for call in [
        "importance('sweep', 'loss', method => 'ped-anova')",
        "importance('sweep', 'loss')",
        "cluster_runs('sweep', k => 8)",
        "similar_runs('00000000000000000000000000000001', 10)",
    ] {
        let started = std::time::Instant::now();
        let limits = QueryLimits { time: std::time::Duration::from_secs(3_600), ..QueryLimits::default() };
        let options = QueryOptions { limits, ..QueryOptions::default() };
        let rows = lake.ask_with(&format!("SELECT count(*) FROM {call}"), options).unwrap();
        println!("{call}: {:?} rows, {:?}, {}", crate::lake::texts(&rows), started.elapsed(), peak());
    }
}
