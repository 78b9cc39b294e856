//! Gates over time: what is on record, how looks are counted, judging again, and baselines with versions.

use std::path::{Path, PathBuf};

use e2e::{Done, run, sql};
use serde_json::Value;

/// A lake to which runs are added arm by arm.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    tables: usize,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), tables: 0 }
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One run a value of `score`, with the tag `arm` and a param `lr` of the arm; seeds are counted from `first_seed`.
    pub(crate) fn add(&mut self, arm: &str, lr: &str, first_seed: usize, values: &[f64]) {
        self.tables += 1;
        let mut text = "trial,arm,lr,seed,epoch,score\n".to_owned();
        for (seed, value) in (first_seed..).zip(values) {
            text += &format!("{arm}-{seed},{arm},{lr},{seed},1,{value}\n");
        }
        let file = self.path(&format!("{}.csv", self.tables));
        std::fs::write(&file, text).unwrap();
        let mapping = "run=trial,step=epoch,tag:arm=arm,param:lr=lr,param:seed=seed";
        run(&self.lake(), ["import", file.to_str().unwrap(), "--map", mapping, "--experiment", "lab"])
            .expect(0);
    }

    fn gate(&self, more: &[&str]) -> Done {
        let words = ["gate", "--candidate", "tag:arm=new", "--baseline", "tag:arm=main", "--metric", "score"];
        run(&self.lake(), words.iter().chain(&["--direction", "up", "--format", "json"]).chain(more))
    }
}

fn report(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error} in {done:?}"))
}

fn rows(lake: &Path, columns: &str, condition: &str) -> Vec<Value> {
    sql(lake, &format!("SELECT {columns} FROM gates WHERE {condition} ORDER BY created, metric NULLS FIRST"))
}

/// About zero, with a spread of one.
const NOISE: [f64; 6] = [-1.1, 0.4, 0.9, -0.6, 1.2, -0.8];

#[test]
fn looks_are_counted_by_the_data_that_they_see() {
    let mut lab = Lab::new();
    lab.add("main", "0.1", 0, &NOISE[..3]);
    lab.add("new", "0.3", 0, &NOISE[..3]);
    let first = lab.gate(&[]).expect(3);
    assert_eq!(
        (&report(&first)["look"]["current"], &report(&first)["look"]["alpha_used"]),
        (&1.into(), &0.025.into())
    );
    let again = lab.gate(&[]);
    assert_eq!(again.stdout, first.stdout, "the same data give the same bytes");
    // Another question about the same runs is none of these looks.
    let other = lab.gate(&["--margin", "9"]);
    assert_eq!(report(&other)["look"]["current"], 1);
    lab.add("new", "0.3", 3, &NOISE[3..5]);
    let second = report(&lab.gate(&[]).expect(3));
    assert_eq!((&second["look"]["current"], &second["look"]["alpha_left"]), (&2.into(), &0.0.into()));
    lab.add("new", "0.3", 5, &NOISE[5..]);
    let third = lab.gate(&[]).expect(3);
    assert_eq!(report(&third)["reason"], "looks_spent", "{third:?}");
    assert_eq!(report(&lab.gate(&["--look", "2"]).expect(3))["look"]["current"], 2, "said by hand");
    // Another recipe is another question, and reading alone leaves no record.
    let before = rows(&lab.lake(), "id", "TRUE").len();
    lab.add("newer", "0.9", 0, &NOISE[..3]);
    let words = ["gate", "--candidate", "tag:arm=newer", "--baseline", "tag:arm=main", "--metric", "score"];
    let done =
        run(&lab.lake(), words.iter().chain(&["--direction", "up", "--format", "json", "--no-record"]));
    assert_eq!(report(&done.expect(3))["look"]["current"], 1);
    assert_eq!(rows(&lab.lake(), "id", "TRUE").len(), before);
}

#[test]
fn every_gate_is_on_record_and_can_be_judged_again() {
    let mut lab = Lab::new();
    lab.add("main", "0.1", 0, &NOISE);
    lab.add("new", "0.3", 0, &NOISE.map(|value| value + 5.0));
    let done = lab.gate(&["--author", "ada", "--link", "https://ci.example/7"]).expect(0);
    let judged = report(&done);
    assert_eq!(judged["circumstances"]["changed"][0]["key"], "params.lr", "{judged}");
    let columns = "gate_run, metric, verdict, exit_code, difference, low, high, p_value, n_candidate, look, looks, alpha, author, url, candidate, candidate_runs, sentence";
    let [all, metric] = &rows(&lab.lake(), columns, "TRUE")[..] else { panic!("two rows were expected") };
    assert_eq!(
        (&all["metric"], &all["verdict"], &all["exit_code"]),
        (&Value::Null, &"pass".into(), &0.into())
    );
    assert_eq!((&all["author"], &all["url"]), (&"ada".into(), &"https://ci.example/7".into()));
    assert_eq!(all["candidate_runs"].as_str().unwrap().matches(',').count(), 5);
    assert_eq!((&metric["metric"], &metric["gate_run"]), (&"score".into(), &all["gate_run"]));
    for (column, place) in
        [("difference", "improvement"), ("low", "lower"), ("high", "upper"), ("n_candidate", "n_candidate")]
    {
        assert_eq!(metric[column].as_f64(), judged[place].as_f64(), "{column}");
    }
    let gate_run = all["gate_run"].as_str().unwrap();
    assert!(done.stderr.contains(gate_run), "{done:?}");
    let replay = run(&lab.lake(), ["gate", "replay", gate_run]).expect(0);
    assert!(replay.stdout.contains("same bytes"), "{replay:?}");
    // Runs that were added since are none of those that were judged; a new value of one of them is.
    lab.add("new", "0.3", 6, &[0.0]);
    run(&lab.lake(), ["gate", "replay", gate_run]).expect(0);
    let file = lab.path("later.csv");
    std::fs::write(&file, "trial,epoch,score\nnew-0,2,-70\n").unwrap();
    let mapping = "run=trial,step=epoch";
    run(&lab.lake(), ["import", file.to_str().unwrap(), "--map", mapping, "--experiment", "lab"]).expect(0);
    let id = sql(&lab.lake(), "SELECT run_id FROM runs WHERE name = 'new-0'");
    if id.len() == 1 {
        let changed = run(&lab.lake(), ["gate", "replay", gate_run]).expect(1);
        assert!(changed.stdout.contains("differs from the record"), "{changed:?}");
    }
    let unknown = run(&lab.lake(), ["gate", "replay", "nothing"]).expect(2);
    assert!(unknown.stderr.contains("not in the table gates"), "{unknown:?}");
}

#[test]
fn a_lake_that_another_process_writes_is_judged_without_a_record() {
    let mut lab = Lab::new();
    lab.add("main", "0.1", 0, &NOISE);
    lab.add("new", "0.3", 0, &NOISE.map(|value| value + 5.0));
    let server = e2e::Server::start(&lab.lake());
    let done = lab.gate(&[]).expect(0);
    assert!(done.stderr.contains("not recorded"), "{done:?}");
    drop(server);
    assert_eq!(rows(&lab.lake(), "id", "TRUE").len(), 0);
}

#[test]
fn baselines_have_versions_an_age_and_a_chain() {
    let mut lab = Lab::new();
    lab.add("one", "0.1", 0, &NOISE);
    lab.add("two", "0.2", 0, &NOISE.map(|value| value + 3.0));
    lab.add("new", "0.3", 0, &NOISE.map(|value| value + 6.0));
    let set = |arm: &str| {
        let runs = format!("tag:arm={arm}");
        let words = ["baseline", "set", "main", "--runs", &runs, "--metric", "score", "--direction", "up"];
        run(&lab.lake(), words.iter().chain(&["--max-age-days", "30", "--owner", "ada"]))
    };
    assert!(set("one").expect(0).stdout.contains("main@1: 6 runs"));
    assert!(set("two").expect(0).stdout.contains("main@2: 6 runs"));
    assert!(set("nothing").expect(2).stderr.contains("takes no run"));
    let shown = run(&lab.lake(), ["baseline", "show", "main", "--json"]);
    let shown: Value = serde_json::from_str(&shown.expect(0).stdout).unwrap();
    assert_eq!(shown["versions"].as_array().unwrap().len(), 2);
    assert_eq!(shown["versions"][1]["previous"], "main@1");
    assert!((shown["chain"][1]["total"].as_f64().unwrap() - 3.0).abs() < 1e-12, "{shown}");
    let gate = |baseline: &str, more: &[&str]| {
        let words = ["gate", "--candidate", "tag:arm=new", "--baseline", baseline, "--metric", "score"];
        run(&lab.lake(), words.iter().chain(&["--direction", "up", "--format", "json"]).chain(more))
    };
    let judged = report(&gate("baseline:main", &[]).expect(0));
    assert!((judged["improvement"].as_f64().unwrap() - 3.0).abs() < 1e-12);
    assert_eq!(judged["chain"].as_array().unwrap().len(), 3);
    assert!((judged["chain"][2]["total"].as_f64().unwrap() - 6.0).abs() < 1e-12);
    assert!(judged["chain"][2]["interval"][0].as_f64().unwrap() > 3.0);
    let first = report(&gate("baseline:main@1", &[]).expect(0));
    assert!((first["improvement"].as_f64().unwrap() - 6.0).abs() < 1e-12);
    assert!(gate("baseline:other", &[]).expect(2).stderr.contains("default/main"));
    // It grows old, and says so.
    let words = ["record", "put", "baselines", "--id", "main@2", "--set", "established=2020-01-01"];
    run(&lab.lake(), words).expect(0);
    let stale = report(&gate("baseline:main", &[]).expect(3));
    assert_eq!((&stale["verdict"], &stale["reason"]), (&"inconclusive".into(), &"baseline_stale".into()));
    assert!(stale["next_step"].as_str().unwrap().contains("baseline"), "{stale}");
    // Its runs were logged again: what is on record is no longer what they say.
    run(&lab.lake(), ["record", "put", "baselines", "--id", "main@1", "--set", "mean=0.5"]).expect(0);
    let changed = report(&gate("baseline:main@1", &[]).expect(0));
    let codes: Vec<&str> = changed["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"baseline_changed"), "{codes:?}");
    run(&lab.lake(), ["baseline", "retire", "main@2"]).expect(0);
    let older = report(&gate("baseline:main", &[]).expect(0));
    assert!((older["improvement"].as_f64().unwrap() - 6.0).abs() < 1e-12, "the newest active one");
}

#[test]
fn runs_are_planned_before_they_are_made() {
    let mut lab = Lab::new();
    lab.add("main", "0.1", 0, &NOISE);
    let plan = |words: &[&str]| run(&lab.lake(), ["gate", "plan"].iter().chain(words));
    let said = plan(&["--effect", "1", "--sd", "1", "--json"]);
    let said: Value = serde_json::from_str(&said.expect(0).stdout).unwrap();
    assert_eq!((&said[0]["runs"], &said[0]["runs_conservative"]), (&17.into(), &Value::Null));
    let seen = plan(&["--effect", "1", "--baseline", "tag:arm=main", "--metric", "score", "--json"]);
    let seen: Value = serde_json::from_str(&seen.expect(0).stdout).unwrap();
    assert!(seen[0]["runs_conservative"].as_u64() > seen[0]["runs"].as_u64(), "{seen}");
    assert!(plan(&["--effect", "1"]).expect(2).stderr.contains("--sd"));
    assert!(plan(&["--effect", "0", "--sd", "1"]).expect(2).stderr.contains("effect"));
    assert!(
        plan(&["--effect", "1", "--baseline", "tag:arm=none", "--metric", "score"])
            .expect(2)
            .stderr
            .contains("two are needed")
    );
}

#[test]
fn two_arms_are_compared_over_all_their_metrics() {
    let mut lab = Lab::new();
    lab.add("main", "0.1", 0, &NOISE);
    lab.add("new", "0.3", 0, &NOISE.map(|value| value + 5.0));
    let compare = |more: &[&str]| {
        let words = ["compare", "--candidate", "tag:arm=new", "--baseline", "tag:arm=main"];
        run(&lab.lake(), words.iter().chain(more))
    };
    let found: Value = serde_json::from_str(&compare(&["--json"]).expect(0).stdout).unwrap();
    let metric = &found["metrics"][0];
    assert_eq!((&metric["metric"], &metric["candidate_finite"]), (&"score".into(), &6.into()));
    assert!((metric["difference"].as_f64().unwrap() - 5.0).abs() < 1e-12);
    let welch = sql(&lab.lake(), "SELECT low, high, p FROM compare('tag:arm=new', 'tag:arm=main', 'score')");
    for column in ["low", "high", "p"] {
        assert_eq!(metric[column].as_f64(), welch[0][column].as_f64(), "{column}");
    }
    assert_eq!(found["changed"][0]["key"], "params.lr");
    let text = compare(&[]).expect(0).stdout;
    assert!(text.contains("score") && text.contains("changed: params.lr from 0.1 to 0.3"), "{text}");
    let nobody = run(&lab.lake(), ["compare", "--candidate", "tag:arm=x", "--baseline", "tag:arm=main"]);
    assert!(nobody.expect(2).stderr.contains("takes no run"));
}

#[test]
fn strata_planned_looks_and_a_baseline_that_was_run_again_reach_the_gate() {
    let mut lab = Lab::new();
    lab.add("main", "0.1", 0, &NOISE);
    lab.add("new", "0.3", 0, &NOISE.map(|value| value + 5.0));
    lab.add("again", "0.1", 0, &NOISE.map(|value| value + 0.1));
    lab.add("drifted", "0.1", 0, &NOISE.map(|value| value + 4.0));
    let planned = report(&lab.gate(&["--look-sizes", "6,12,20"]).expect(0));
    let look = &planned["look"];
    assert_eq!((&look["planned"], &look["current"]), (&3.into(), &1.into()));
    assert!(
        look["alpha_used"].as_f64().unwrap() < 0.05 && look["alpha_left"].as_f64().unwrap() > 0.0,
        "{look}"
    );
    assert!(
        lab.gate(&["--look-sizes", "6,12", "--looks", "2"]).expect(2).stderr.contains("cannot be used with")
    );
    // One run of each arm within a seed: the strata are told, and nothing is decided.
    let strata = report(&lab.gate(&["--strata", "seed"]).expect(3));
    assert_eq!(strata["reason"], "too_few_runs");
    assert_eq!(strata["strata"]["strata"].as_array().map(Vec::len), Some(6), "{strata}");
    // The arms ran at other learning rates altogether: no stratum has runs of both.
    let apart = report(&lab.gate(&["--strata", "lr"]).expect(5));
    assert_eq!(apart["reason"], "pairing_mismatch", "{apart}");
    let fresh = ["--mode", "not-worse", "--margin", "2.5", "--refresh-baseline"];
    let with = |arm: &'static str| fresh.iter().copied().chain([arm]).collect::<Vec<_>>();
    lab.gate(&with("tag:arm=again")).expect(0);
    let drifted = report(&lab.gate(&with("tag:arm=drifted")).expect(3));
    assert_eq!(drifted["reason"], "baseline_drift", "{drifted}");
}
