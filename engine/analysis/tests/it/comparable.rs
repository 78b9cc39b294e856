//! Whether a baseline is comparable: the same recipe run again, and batches that differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::distributions::normal_quantile;
use analysis::{
    Circumstances, Direction, GateParameters, GatePolicy, GateRun, Ground, GroundDifference, MeasuredStep,
    MetricRuns, Verdict, chained_improvement, gate, judge,
};
use kernels::rng::{Stream, Tag, uniform, words64};

const STORED: [f64; 5] = [0.800, 0.804, 0.798, 0.802, 0.801];
const CANDIDATE: [f64; 5] = [0.811, 0.806, 0.809, 0.812, 0.808];

fn arm(name: &str, values: &[f64]) -> Vec<GateRun> {
    values.iter().enumerate().map(|(i, v)| GateRun::finished(format!("{name}{i}"), *v)).collect()
}

fn policy(metric: &str) -> GatePolicy {
    GatePolicy::from_toml(&format!(
        "version = 1\n[staleness]\nmax_age_days = 30\n[[metrics]]\nname = 'acc'\ndirection = 'up'\n{metric}"
    ))
    .unwrap()
}

fn refreshed(values: &[f64]) -> Circumstances {
    let refreshed = BTreeMap::from([("acc".to_owned(), values.to_vec())]);
    Circumstances { refreshed, ..Circumstances::default() }
}

fn runs() -> [MetricRuns; 1] {
    [MetricRuns { baseline: arm("b", &STORED), candidate: arm("c", &CANDIDATE) }]
}

#[test]
fn a_baseline_that_drifted_decides_nothing() {
    let policy = policy("margin = 0.01");
    // Today's baseline is as good as the candidate: the gain is the environment's.
    let report = judge(&policy, &runs(), refreshed(&[0.811, 0.809, 0.812])).unwrap();
    assert_eq!((report.verdict, report.reason), (Verdict::Inconclusive, Some("baseline_drift")));
    assert!(!report.metrics[0].drift.unwrap().equivalent);
    assert!(report.next_step.unwrap().contains("run again now"));
    let report = judge(&policy, &runs(), refreshed(&[0.801, 0.799, 0.803])).unwrap();
    assert_eq!(report.verdict, Verdict::Pass);
    assert!(report.metrics[0].drift.unwrap().equivalent);
}

#[test]
fn a_baseline_that_came_out_the_same_is_neither_old_nor_different() {
    let policy = policy("margin = 0.01");
    let ground = GroundDifference {
        ground: Ground::Dataset,
        baseline: vec!["v1".into()],
        candidate: vec!["v2".into()],
    };
    let old = Circumstances {
        baseline_age_days: Some(90.0),
        grounds: vec![ground],
        ..refreshed(&[0.801, 0.799, 0.803])
    };
    assert_eq!(judge(&policy, &runs(), old.clone()).unwrap().verdict, Verdict::Pass);
    let unchecked = Circumstances { refreshed: BTreeMap::new(), ..old };
    assert_eq!(judge(&policy, &runs(), unchecked).unwrap().reason, Some("baseline_mismatch"));
}

#[test]
fn a_repetition_that_says_nothing_is_told() {
    let codes = |policy: &GatePolicy, circumstances: Circumstances| -> Vec<&'static str> {
        let report = judge(policy, &runs(), circumstances).unwrap();
        assert_eq!(report.verdict, Verdict::Pass);
        report.warnings.iter().map(|warning| warning.code).collect()
    };
    assert_eq!(codes(&policy("margin = 0.01"), refreshed(&[0.8, f64::NAN, 0.801])), ["drift_unchecked"]);
    assert_eq!(codes(&policy(""), refreshed(&[0.8, 0.802, 0.801])), ["drift_unchecked"]);
}

#[test]
fn constant_baselines_are_compared_exactly() {
    let runs = [MetricRuns { baseline: arm("b", &[0.8; 4]), candidate: arm("c", &CANDIDATE) }];
    let policy = policy("margin = 0.01");
    assert!(judge(&policy, &runs, refreshed(&[0.8; 3])).unwrap().metrics[0].drift.unwrap().equivalent);
    let report = judge(&policy, &runs, refreshed(&[0.82; 3])).unwrap();
    assert_eq!(report.reason, Some("baseline_drift"));
}

/// Runs in batches that differ by half a standard deviation, which the seed does not show.
fn in_batches(repetition: u32) -> [Vec<GateRun>; 2] {
    let stream = Stream { seed: 21, stream: 0, tag: Tag::Other, sub: 0 };
    let mut block = 0;
    let mut normal = || {
        block += 1;
        normal_quantile(uniform(words64(stream.block(block, repetition))[0]) + 0.5f64.powi(54))
    };
    let mut batches = |name: &str, count: usize, runs: usize| -> Vec<GateRun> {
        let mut arm = Vec::new();
        for batch in 0..count {
            let level = 0.5 * normal();
            let keys = Arc::new(BTreeMap::from([("day".to_owned(), format!("{name}{batch}"))]));
            arm.extend((0..runs).map(|i| GateRun {
                keys: Arc::clone(&keys),
                ..GateRun::finished(format!("{name}{batch}-{i}"), level + normal())
            }));
        }
        arm
    };
    [batches("b", 5, 5), batches("c", 1, 20)]
}

fn by_day() -> GateParameters {
    GateParameters { batch_by: Some("day".into()), ..GateParameters::new(Direction::Up) }
}

#[test]
fn what_batches_differ_by_counts_as_error() {
    const REPETITIONS: u32 = 500;
    let mut passed = [0, 0];
    for repetition in 0..REPETITIONS {
        let [baseline, candidate] = in_batches(repetition);
        for (passed, parameters) in passed.iter_mut().zip([GateParameters::new(Direction::Up), by_day()]) {
            let report = gate("m", &baseline, &candidate, &parameters).unwrap();
            *passed += u32::from(report.verdict == Verdict::Pass);
        }
    }
    let [alone, with_batches] = passed;
    println!("without batches {alone}, with them {with_batches} of {REPETITIONS}");
    // Half a standard deviation between batches passes one useless candidate in five.
    assert!(alone > 70, "{alone}");
    // With them: 57 of 500 would come once in a million at 6 %.
    assert!(with_batches <= 57, "{with_batches}");
}

#[test]
fn batches_are_told_and_few_of_them_warned_of() {
    let [baseline, candidate] = in_batches(1);
    let report = gate("m", &baseline, &candidate, &by_day()).unwrap();
    let batches = report.batches.unwrap();
    assert_eq!((batches.baseline, batches.candidate), (5, 1));
    let alone = gate("m", &baseline, &candidate, &GateParameters::new(Direction::Up)).unwrap();
    if batches.sd.unwrap() > 0.0 {
        assert!(report.standard_error > alone.standard_error);
        assert!(report.degrees_of_freedom < alone.degrees_of_freedom);
    }
    let few = gate("m", &baseline[..10], &candidate, &by_day()).unwrap();
    assert!(few.warnings.iter().any(|warning| warning.code == "few_batches"));
    assert_eq!(few.batches.unwrap().sd, None);
    let unnamed = GateParameters { batch_by: Some("machine".into()), ..GateParameters::new(Direction::Up) };
    let report = gate("m", &baseline, &candidate, &unnamed).unwrap();
    assert_eq!((report.verdict, report.reason), (Verdict::Error, Some("pairing_mismatch")));
}

#[test]
fn the_interval_of_a_chain_covers_what_its_changes_gained() {
    const REPETITIONS: u32 = 1_000;
    let mut covered = 0;
    for repetition in 0..REPETITIONS {
        let stream = Stream { seed: 5, stream: 0, tag: Tag::Other, sub: 0 };
        let mut block = 0;
        let mut runs = |mean: f64, sd: f64| -> Vec<f64> {
            let mut normal = || {
                block += 1;
                normal_quantile(uniform(words64(stream.block(block, repetition))[0]) + 0.5f64.powi(54))
            };
            (0..5).map(|_| mean + sd * normal()).collect()
        };
        // Three changes of 1 each; everything drifted by -5 before the last, for which the version was run again.
        let (v1, v2, v3) = (runs(0.0, 1.0), runs(1.0, 2.0), runs(2.0, 0.5));
        let (v3_again, v4) = (runs(-3.0, 0.5), runs(-2.0, 1.0));
        let steps = [("v2", &v1, &v2), ("v3", &v2, &v3), ("v4", &v3_again, &v4)];
        let steps = steps.map(|(name, before, after)| MeasuredStep { name, before, after });
        let chain = chained_improvement(&steps, Direction::Up, 0.9).unwrap();
        let [low, high] = chain[2].interval.unwrap();
        covered += u32::from(low <= 3.0 && 3.0 <= high);
    }
    println!("covered {covered} of {REPETITIONS}");
    // Five standard errors about 90 %.
    assert!((853..=947).contains(&covered), "{covered}");
}
