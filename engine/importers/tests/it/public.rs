//! Sets of real public logs against the counts and values that the pages beside them state. Each is read twice, with the same
//! calls in the same order, which is what lets a second import add nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use importers::{ImportedRun, Limits, Mapping, Options, Place, SourceKind};
use model::{PointColumns, RunStatus};
use serde_json::Value;

use crate::collector::{Collector, import_kinds};
use crate::expected::exact_sum;
use crate::{shared, tool};

/// What a page says of a metric: series, points, NaN; the sum of the finite values has as many digits as the page gives.
struct Fact {
    metric: &'static str,
    series: usize,
    points: usize,
    nan: usize,
    min: f64,
    max: f64,
    sum: f64,
}

/// What the parts of a set hold together.
struct Set(Vec<Collector>);

impl Set {
    fn of(paths: &[&Path], kinds: &[SourceKind], options: &Options) -> Self {
        let import = |path: &&Path| {
            let found = import_kinds(path, kinds, options).0;
            let again = import_kinds(path, kinds, options).0;
            assert!(
                found.everything() == again.everything(),
                "{}: another import gives others",
                path.display()
            );
            found
        };
        Self(paths.iter().map(import).collect())
    }

    fn runs(&self) -> impl Iterator<Item = &ImportedRun> {
        self.0.iter().flat_map(|part| part.runs.values())
    }

    /// Series by the name of the metric.
    fn series(&self) -> BTreeMap<&str, Vec<&PointColumns>> {
        let mut series: BTreeMap<&str, Vec<&PointColumns>> = BTreeMap::new();
        for ((_, metric, _), points) in self.0.iter().flat_map(|part| &part.points) {
            series.entry(metric).or_default().push(points);
        }
        series
    }

    /// The series of the run whose identity ends with a text.
    fn series_of(&self, ending: &str) -> BTreeMap<&str, &PointColumns> {
        let is_it = |run: &&ImportedRun| run.source_run_id.as_ref().is_some_and(|id| id.ends_with(ending));
        let found: Vec<_> = self
            .0
            .iter()
            .flat_map(|part| part.runs.values().filter(is_it).map(move |run| (part, run.id)))
            .collect();
        let [(part, run)] = found.as_slice() else { panic!("{} runs end with {ending}", found.len()) };
        part.series_of(*run)
    }

    fn run(&self, ending: &str) -> &ImportedRun {
        let mut found =
            self.runs().filter(|run| run.source_run_id.as_ref().is_some_and(|id| id.ends_with(ending)));
        found.next().unwrap_or_else(|| panic!("no run {ending}"))
    }

    fn assert_nothing_rejected(&self) {
        let rejected: Vec<_> = self.0.iter().flat_map(|part| &part.rejections).collect();
        assert!(rejected.is_empty(), "{}: {}", rejected.len(), rejected[0]);
    }

    /// Runs, metrics, series and points.
    #[track_caller]
    fn assert_counts(&self, runs: usize, metrics: usize, series: usize, points: usize) {
        let all = self.series();
        let names: Vec<&str> = all.keys().copied().take(40).collect();
        let found = (
            self.runs().count(),
            all.len(),
            all.values().map(Vec::len).sum::<usize>(),
            all.values().flatten().map(|points| points.len()).sum::<usize>(),
        );
        assert_eq!(found, (runs, metrics, series, points), "{names:?}");
    }

    #[track_caller]
    fn assert_facts(&self, facts: &[Fact]) {
        let all = self.series();
        for fact in facts {
            let series = all.get(fact.metric).unwrap_or_else(|| panic!("no {}", fact.metric));
            let values: Vec<f64> = series.iter().flat_map(|points| points.values.iter().copied()).collect();
            let finite = || values.iter().copied().filter(|value| value.is_finite());
            assert_eq!(
                (series.len(), values.len(), values.iter().filter(|value| value.is_nan()).count()),
                (fact.series, fact.points, fact.nan),
                "{}",
                fact.metric
            );
            let range = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
            assert_eq!(range, (fact.min, fact.max), "{}", fact.metric);
            let sum = exact_sum(finite());
            assert!(
                (sum - fact.sum).abs() <= fact.sum.abs() * 1e-12,
                "{}: {sum} and {}",
                fact.metric,
                fact.sum
            );
        }
    }
}

fn all_kinds() -> Vec<SourceKind> {
    SourceKind::all().collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn dopamine_agents_with_five_values_a_step() {
    let Some(data) = e2e::data() else { return };
    let root = data.join("dopamine-json/raw");
    let set = Set::of(&[&root], &all_kinds(), &Options::default());
    set.assert_nothing_rejected();
    set.assert_counts(34, 1, 34, 36_250);
    set.assert_facts(&[Fact {
        metric: "Value",
        series: 34,
        points: 36_250,
        nan: 0,
        min: -2124.3465739711087,
        max: 75227.33333333333,
        sum: 199079635.21277016,
    }]);
    for points in &set.series()["Value"] {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        points.steps.iter().for_each(|step| *counts.entry(*step).or_default() += 1);
        assert!(counts.values().all(|count| *count == 5));
    }
    let pong = set.series_of("pong.json#DQN")["Value"];
    assert_eq!((pong.steps[0], pong.values[0], pong.len()), (0, -20.333333333333332, 995));
}

#[test]
fn curves_that_stand_by_columns() {
    let Some(data) = e2e::data() else { return };
    let root = data.join("dreamerv3-scores/raw");
    let mapping = Mapping::parse("rename:score=ys").unwrap();
    let options = Options { mapping: Some(mapping), ..Options::default() };
    let set = Set::of(&[&root], &all_kinds(), &options);
    set.assert_nothing_rejected();
    set.assert_counts(1_159, 1, 1_159, 472_978);
    set.assert_facts(&[Fact {
        metric: "score",
        series: 1_159,
        points: 472_978,
        nan: 0,
        min: -1000.0,
        max: 175070.0,
        sum: 156519952.90817282,
    }]);
    for (file, runs) in [
        ("dmc_proprio-d4pg", 180),
        ("atari100k-dreamerv3", 130),
        ("minecraft_diamond-dreamerv3", 20),
        ("procgen-ppg", 48),
    ] {
        let of_file = |run: &&ImportedRun| run.source_run_id.as_ref().unwrap().contains(file);
        assert_eq!(set.runs().filter(of_file).count(), runs, "{file}");
    }
    // The first curve begins with a null, and has 16 of them.
    let run = set.run("procgen-dreamerv3.json.gz#procgen_bigfish/dreamerv3/0");
    assert_eq!((run.params["task"].as_str(), run.params["seed"].as_str()), ("procgen_bigfish", "0"));
    let curve = set.series_of("procgen-dreamerv3.json.gz#procgen_bigfish/dreamerv3/0")["score"];
    assert!(curve.steps[0] > 0 && curve.steps.is_sorted());
}

#[test]
fn golden_values_of_megatron() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("megatron-golden");
    let rest = shared::unpacked(&folder.join("gpt-and-moe.tar.zst"));
    let set = Set::of(&[&folder.join("raw"), rest.path()], &[SourceKind::Megatron], &Options::default());
    set.assert_nothing_rejected();
    set.assert_counts(777, 7, 3_563, 450_597);
    set.assert_facts(&[
        Fact {
            metric: "lm loss",
            series: 710,
            points: 90_032,
            nan: 6_141,
            min: -0.0439,
            max: 29.29548,
            sum: 550508.72394,
        },
        Fact {
            metric: "iteration-time",
            series: 710,
            points: 89_728,
            nan: 40_144,
            min: 0.04803,
            max: 136.37686,
            sum: 60667.98649,
        },
        Fact {
            metric: "num-zeros",
            series: 709,
            points: 89_932,
            nan: 6_733,
            min: 1.0,
            max: 8191783936.0,
            sum: 35107643073021.0,
        },
        Fact {
            metric: "mtp_1 loss",
            series: 11,
            points: 722,
            nan: 125,
            min: 6.82934,
            max: 11.0776,
            sum: 6047.96833,
        },
    ]);
    let with_curves: BTreeSet<_> =
        set.0.iter().flat_map(|part| part.points.keys().map(|(run, ..)| *run)).collect();
    assert_eq!(777 - with_curves.len(), 65);
}

#[test]
fn models_of_open_lm_with_their_evaluations() {
    let Some(data) = e2e::data() else { return };
    let root = data.join("openlm-scaling/raw");
    let set = Set::of(&[&root], &[SourceKind::OpenLm], &Options::default());
    set.assert_nothing_rejected();
    set.assert_counts(69, 134, 9_246, 9_246);
    let name = "c4_original-d=1024_l=24_h=8-0.25";
    let series = set.series_of(&format!("models/{name}.json"));
    let value = |field: &str| {
        let of_field = |(metric, _): &(&&str, _)| {
            metric.starts_with(&format!("{field} @ ")) && metric.contains("shard_00000000")
        };
        series.iter().find(of_field).unwrap().1.values[0]
    };
    for (field, wanted) in [
        ("loss", 4.257023584842682),
        ("loss_sequences_lower_95", 4.123423239390056),
        ("loss_sequences_upper_95", 4.39102222442627),
        ("loss_tokens_lower_95", 4.241916694641113),
        ("loss_tokens_upper_95", 4.272441368103028),
        ("sequences", 120.0),
        ("tokens", 245_760.0),
    ] {
        assert_eq!(value(field), wanted, "{field}");
    }
    let run = set.run(&format!("models/{name}.json"));
    assert_eq!((run.name.as_str(), run.params["chinchilla_multiplier"].as_str()), (name, "0.25"));
    assert_eq!(run.params["lr"].as_str(), "0.003");
}

#[test]
fn evaluations_of_checkpoints_in_the_order_of_their_steps() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("pythia-evals");
    let rest = shared::unpacked(&folder.join("five-shot.tar.zst"));
    let set = Set::of(&[&folder.join("raw"), rest.path()], &[SourceKind::LmEval], &Options::default());
    set.assert_nothing_rejected();
    set.assert_counts(8, 344, 2_400, 52_512);
    let series = set.series_of("pythia-70m/zero-shot/70m");
    let accuracy = series["lambada_openai/acc"];
    assert_eq!((accuracy.len(), accuracy.steps[0], accuracy.steps[26]), (27, 0, 143_000));
    assert!(accuracy.steps.is_sorted());
    assert_eq!(accuracy.values[26], 0.18455268775470599);
    assert_eq!(accuracy.values.iter().copied().fold(0.0, f64::max), 0.25344459538133124);
    let run = set.run("pythia-70m/zero-shot/70m");
    assert_eq!(run.params["num_fewshot"].as_str(), "0");
    // It names the checkpoint, which is another in each file.
    assert!(!run.params.contains_key("model_args"));
}

#[test]
fn episodes_of_monitored_environments() {
    let Some(data) = e2e::data() else { return };
    let root = data.join("rlzoo-monitor/raw");
    let set = Set::of(&[&root], &all_kinds(), &Options::default());
    set.assert_nothing_rejected();
    set.assert_counts(103, 3, 309, 486_495);
    set.assert_facts(&[
        Fact {
            metric: "r",
            series: 103,
            points: 162_165,
            nan: 0,
            min: -1492.31764,
            max: 59500.0,
            sum: 34328522.603234,
        },
        Fact { metric: "l", series: 103, points: 162_165, nan: 0, min: 1.0, max: 66560.0, sum: 28995414.0 },
    ]);
    let rewards = set.series_of("a2c-Acrobot-v1/0.monitor.csv")["r"];
    assert_eq!((rewards.len(), rewards.steps[1_777], rewards.values[1_777]), (1_778, 1_777, -79.0));
    let run = set.run("a2c-Acrobot-v1/0.monitor.csv");
    assert_eq!((run.start_time, run.params["env_id"].as_str()), (Some(1_614_621_211_068_311), "Acrobot-v1"));
    // The first row says that it ended 2.611522 seconds after the start.
    assert_eq!(rewards.times[0], 1_614_621_213_679_833);
}

#[test]
fn seeds_that_share_a_table() {
    let Some(data) = e2e::data() else { return };
    let root = data.join("tdmpc2-csv/raw");
    let set = Set::of(&[&root], &all_kinds(), &Options::default());
    set.assert_nothing_rejected();
    set.assert_counts(624, 2, 624, 24_022);
    set.assert_facts(&[
        Fact { metric: "reward", series: 234, points: 13_586, nan: 0, min: 0.0, max: 1000.0, sum: 8240728.5 },
        Fact { metric: "success", series: 390, points: 10_436, nan: 0, min: 0.0, max: 1.0, sum: 6138.3 },
    ]);
    let rewards = set.series_of("sac/acrobot-swingup.csv#3")["reward"];
    assert_eq!((rewards.len(), rewards.steps[39], rewards.values[39]), (40, 3_900_000, 32.7));
}

#[test]
fn a_run_for_each_row_of_results() {
    let Some(data) = e2e::data() else { return };
    let root = data.join("timm-results/raw");
    let set = Set::of(&[&root], &all_kinds(), &Options::default());
    set.assert_counts(9_949, 20, 81_946, 81_946);
    // What is written as "1,282.60" is no number, and each such cell is told.
    let mut with_comma = 0;
    for file in files_below(&root) {
        with_comma += std::fs::read_to_string(file).unwrap().matches('"').count() / 2;
    }
    assert!(with_comma >= 5);
    let codes = set.0[0].codes();
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), [("cell.not_a_number", with_comma as u64)]);
    let of_imagenet: Vec<_> = set.0[0]
        .points
        .iter()
        .filter(|((run, ..), _)| {
            set.0[0].runs[run].source_run_id.as_ref().unwrap().contains("/results-imagenet.csv#")
        })
        .collect();
    let values = |name: &str| {
        of_imagenet
            .iter()
            .filter(|((_, metric, _), _)| metric == name)
            .map(|(_, points)| points.values[0])
            .collect::<Vec<_>>()
    };
    let top1 = values("top1");
    assert_eq!((top1.len(), top1.iter().copied().fold(0.0, f64::max)), (1_556, 90.056));
    assert!((exact_sum(top1.iter().copied()) - 126023.658).abs() < 1e-6);
    assert_eq!(values("param_count").len(), 1_551);
    let run = set.run("/results-imagenet.csv#eva02_large_patch14_448.mim_m38m_ft_in22k_in1k");
    assert_eq!(run.params["interpolation"].as_str(), "bicubic");
}

#[test]
fn algorithms_and_their_active_hyperparameters() {
    let Some(data) = e2e::data() else { return };
    let root = data.join("autosklearn-meta/raw");
    let set = Set::of(&[&root], &all_kinds(), &Options::default());
    set.assert_nothing_rejected();
    set.assert_counts(410, 1, 410, 410);
    set.assert_facts(&[Fact {
        metric: "accuracy",
        series: 410,
        points: 410,
        nan: 0,
        min: 0.0,
        max: 0.9385715231349705,
        sum: 50.27527816028765,
    }]);
    for table in ["binary", "multiclass"] {
        let of_table = |run: &&ImportedRun| run.source_run_id.as_ref().unwrap().contains(table);
        assert_eq!(set.runs().filter(of_table).count(), 205, "{table}");
        let params: usize = set.runs().filter(of_table).map(|run| run.params.len()).sum();
        assert_eq!(params, 4_426, "{table}");
    }
    let run = set.run("accuracy_binary.classification_dense#twonorm/1");
    assert_eq!(run.params["classifier:__choice__"].as_str(), "gaussian_nb");
}

#[test]
fn searches_in_the_files_of_their_tools() {
    let Some(data) = e2e::data() else { return };
    let root = data.join("hpo-histories/raw");
    let kinds =
        [SourceKind::Bohb, SourceKind::Smac, SourceKind::DeepCave, SourceKind::Amltk, SourceKind::Ray];
    let mut set = Set::of(&[&root], &kinds, &Options::default());
    set.assert_nothing_rejected();
    // The page counts what a result of Ray has at its top; its own reader shows the configuration as metrics too.
    set.0[0].points.retain(|(_, metric, _), _| !metric.starts_with("config/"));
    set.assert_counts(2_176, 12, 3_618, 16_116);
    let of = |place: &str| {
        let runs: Vec<&ImportedRun> =
            set.runs().filter(|run| run.source_run_id.as_ref().unwrap().contains(place)).collect();
        let ids: BTreeSet<_> = runs.iter().map(|run| run.id).collect();
        let points: Vec<(&str, &PointColumns)> = set.0[0]
            .points
            .iter()
            .filter(|((run, ..), _)| ids.contains(run))
            .map(|((_, metric, _), points)| (metric.as_str(), points))
            .collect();
        (runs, points)
    };
    for (place, metric, configurations, evaluations) in [
        ("cave/smac3/example_output/run_1#", "cost", 62, 271),
        ("AMLTK/smac_optimizer/run_1/history.parquet#", "metric:accuracy [0.0, 1.0] (maximize)", 42, 42),
        ("BOHB/run_1#", "loss", 46, 65),
        ("BOHB/run_2#", "loss", 84, 113),
        ("DeepCAVE/digits_sklearn/run_1#", "cost_0", 200, 2_000),
        ("DeepCAVE/digits_sklearn/run_2#", "cost_1", 200, 2_000),
        ("DeepCAVE/digits_sklearn/run_3#", "cost_0", 200, 2_000),
        ("DeepCAVE/minimal/run_1#", "cost_0", 100, 300),
        ("DeepCAVE/minimal/run_2#", "cost_1", 100, 300),
        ("DeepCAVE/minimal/run_3#", "cost_0", 100, 300),
        ("SMAC3v1/mlp/run_1#", "cost", 20, 20),
        ("SMAC3v1/mlp/run_2#", "cost", 60, 60),
        ("SMAC3v1/mlp/run_3#", "cost", 100, 100),
        ("outlier-detection/DEHB-pendigits-015-0-0#", "cost", 501, 501),
        ("SMAC3v2/mlp-nondeterministic/run_1#", "cost", 61, 154),
        ("SMAC3v2/mlp/run_1#", "cost", 20, 20),
        ("SMAC3v2/multi-fidelity/run_1#", "cost", 143, 179),
        ("SMAC3v2/multi-objective/run_1#", "cost_1", 56, 112),
    ] {
        let (runs, points) = of(place);
        let count: usize =
            points.iter().filter(|(name, _)| *name == metric).map(|(_, points)| points.len()).sum();
        assert_eq!((runs.len(), count), (configurations, evaluations), "{place}");
    }
    let best = |place: &str| {
        let (_, points) = of(place);
        points.iter().flat_map(|(_, points)| points.values.iter().copied()).fold(f64::INFINITY, f64::min)
    };
    assert_eq!((best("BOHB/run_1#"), best("BOHB/run_2#")), (0.0318100072962, 0.01171875));
    let (dehb, _) = of("DEHB-pendigits-015-0-0#");
    let count = |status: RunStatus| dehb.iter().filter(|run| run.status == status).count();
    assert_eq!((count(RunStatus::Finished), count(RunStatus::Failed), count(RunStatus::Killed)), (492, 8, 1));
    // A budget that is no whole number is the step as it stands, to the millionth.
    let step = set.series_of("SMAC3v2/multi-fidelity/run_1#1")["cost"].get(0).unwrap();
    assert_eq!((step.step, step.step_fraction), (2, Some(777_778)));
    let run = set.run("DeepCAVE/minimal/run_1#0");
    assert_eq!(
        (run.params["alpha"].as_str(), tool::tag(run, "deepcave.cost_0")),
        ("0.5488135039273248", Some("accuracy"))
    );
}

/// The numbers of Ray's lines by an independent reading of the file.
#[test]
fn every_result_of_a_search_of_ray() {
    let Some(data) = e2e::data() else { return };
    let root = data.join("hpo-histories/raw/deepcave/RayTune");
    let set = Set::of(&[&root], &[SourceKind::Ray], &Options::default());
    set.assert_nothing_rejected();
    let mut trials = 0;
    for file in files_below(&root).into_iter().filter(|file| file.ends_with("result.json")) {
        let folder = file.parent().unwrap();
        let series = set.series_of(folder.file_name().unwrap().to_str().unwrap());
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (key, value) in lines[0].as_object().unwrap() {
            if value.is_number() && key != "training_iteration" {
                assert_eq!(series[key.as_str()].values[0], value.as_f64().unwrap(), "{key}");
                assert_eq!(series[key.as_str()].len(), lines.len());
            }
        }
        let params = json(&folder.join("params.json"));
        assert_eq!(tool::params(set.run(folder.to_str().unwrap())), tool::flattened(&params));
        trials += 1;
    }
    assert_eq!(trials, 81);
}

#[test]
fn what_of_a_set_is_not_read_is_named() {
    let Some(data) = e2e::data() else { return };
    for set in ["openlm-scaling", "pythia-evals", "hpo-histories", "autosklearn-meta"] {
        let root = data.join(set).join("raw");
        let found = importers::detect(&root, &Limits::default()).unwrap();
        let faulty: Vec<_> = found.unrecognised.iter().filter(|left| left.fault.is_some()).collect();
        assert!(faulty.is_empty(), "{set}: {faulty:?}");
        let claimed: BTreeSet<PathBuf> = found
            .sources
            .iter()
            .flat_map(|source| &source.units)
            .flat_map(|unit| unit.list_files(&Limits::default()).unwrap())
            .collect();
        // Read with a unit, or by the units of a search, or named.
        let beside = |path: &Path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let of_ray = ["experiment_state-", "basic-variant-state-", "search_gen_state-"];
            of_ray.iter().any(|beginning| name.starts_with(beginning))
                || matches!(name, "progress.csv" | "origins.json" | "params.pkl" | "params.json")
        };
        for file in files_below(&root) {
            let named = found.unrecognised.iter().any(|left| file.starts_with(&left.path));
            assert!(claimed.contains(&file) || named || beside(&file), "{}", file.display());
        }
    }
    // A place is told of each cell that is refused.
    let (found, _) =
        import_kinds(&data.join("timm-results/raw/results-imagenet.csv"), &all_kinds(), &Options::default());
    assert_eq!(found.rejections.len(), 5);
    assert_eq!(found.rejections[0].place, Place::Line(4));
}
