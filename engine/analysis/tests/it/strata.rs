//! Strata in the gate: declared ones decide, and an undeclared one that turns the sign is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::distributions::normal_quantile;
use analysis::{
    Circumstances, Direction, GateParameters, GatePolicy, GateReport, GateRun, Method, MetricRuns, RunKeys,
    Verdict, gate, judge,
};
use kernels::rng::{Stream, Tag, uniform, words64};
use serde_json::json;

use crate::golden::{Answer, check};

fn keys(pairs: &[(&str, &str)]) -> RunKeys {
    Arc::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

/// Runs of one arm from their strata and values.
fn arm(name: &str, values: &[(&str, f64)]) -> Vec<GateRun> {
    let run = |(i, (stratum, value)): (usize, &(&str, f64))| GateRun {
        keys: keys(&[("task", stratum), ("seed", &i.to_string())]),
        ..GateRun::finished(format!("{name}{i}"), *value)
    };
    values.iter().enumerate().map(run).collect()
}

fn within(key: &str) -> GateParameters {
    GateParameters { strata: Some(key.to_owned()), ..GateParameters::new(Direction::Up) }
}

/// Better over all, worse on each task: the candidate mostly ran the easy one.
fn turned() -> [Vec<GateRun>; 2] {
    let values = |easy: &[f64], hard: &[f64]| -> Vec<(&'static str, f64)> {
        easy.iter().map(|v| ("easy", *v)).chain(hard.iter().map(|v| ("hard", *v))).collect()
    };
    [
        arm("b", &values(&[9.0, 9.2], &[3.0, 3.1, 3.2, 2.9, 3.0, 3.05, 3.1, 2.95])),
        arm("c", &values(&[8.5, 8.4, 8.6, 8.7, 8.5, 8.6, 8.55, 8.45], &[2.5, 2.6])),
    ]
}

#[test]
fn a_sign_that_pooling_turned_is_inconclusive_and_names_the_key() {
    let [baseline, candidate] = turned();
    let report = gate("score", &baseline, &candidate, &GateParameters::new(Direction::Up)).unwrap();
    assert_eq!((report.verdict, report.reason), (Verdict::Inconclusive, Some("simpson_reversal")));
    // The pooled comparison alone would have passed.
    assert!(report.lower.unwrap() > 0.0);
    let [reversal] = &report.reversals[..] else { panic!("{:?}", report.reversals) };
    assert_eq!((reversal.key.as_str(), reversal.strata.len()), ("task", 2));
    assert!(reversal.pooled > 0.0 && reversal.within < 0.0 && reversal.p_allocation.value() < 0.05);
    insta::assert_snapshot!("simpson_reversal", report.to_text());
}

#[test]
fn declared_strata_decide() {
    let [baseline, candidate] = turned();
    let report = gate("score", &baseline, &candidate, &within("task")).unwrap();
    assert_eq!((report.verdict, report.method), (Verdict::Fail, Some(Method::Stratified)));
    assert!(report.reversals.is_empty() && report.permutation.is_none());
    let strata = report.strata.as_ref().unwrap();
    assert!(strata.pooled.unwrap() > 0.0 && report.improvement.unwrap() < -0.4);
    insta::assert_snapshot!("strata_declared", report.to_text());
}

#[test]
fn arms_that_ran_alike_or_share_no_value_are_left_alone() {
    // The same shares: the sign may turn by chance, but pooling is not to blame.
    let even = |name: &str, easy: f64, hard: f64| {
        arm(name, &[("easy", easy), ("easy", easy + 0.1), ("hard", hard), ("hard", hard + 0.1)])
    };
    let report = |baseline: &[GateRun], candidate: &[GateRun]| {
        gate("score", baseline, candidate, &GateParameters::new(Direction::Up)).unwrap()
    };
    assert!(report(&even("b", 9.0, 3.0), &even("c", 9.5, 2.7)).reversals.is_empty());
    // What was changed differs in every run.
    let of = |name: &str, stratum: &'static str, level: f64| {
        arm(name, &(0..6).map(|i| (stratum, level + f64::from(i) / 10.0)).collect::<Vec<_>>())
    };
    let changed = report(&of("b", "adam", 1.0), &of("c", "muon", 3.0));
    assert_eq!((changed.verdict, changed.reversals.len()), (Verdict::Pass, 0));
}

#[test]
fn strata_of_one_arm_are_listed_and_left_out() {
    let baseline = arm("b", &[("a", 1.0), ("a", 1.1), ("a", 0.9), ("b", 5.0), ("b", 5.1)]);
    let candidate = arm("c", &[("a", 2.0), ("a", 2.1), ("a", 1.9), ("c", 0.0)]);
    let report = gate("score", &baseline, &candidate, &within("task")).unwrap();
    assert_eq!(report.verdict, Verdict::Pass);
    assert_eq!(report.strata.as_ref().unwrap().one_sided, ["b", "c"]);
    assert_eq!((report.n_baseline, report.n_candidate), (3, 3));
    assert!(report.warnings.iter().any(|warning| warning.code == "strata_left_out"));
}

#[test]
fn strata_that_cannot_be_compared_are_told() {
    let few = arm("b", &[("a", 1.0), ("a", 1.1), ("b", 2.0), ("b", 2.1)]);
    let one = arm("c", &[("a", 1.0), ("a", 1.1), ("a", 1.2), ("b", 2.0)]);
    let reason = |report: GateReport| (report.verdict, report.reason);
    let report = gate("score", &few, &one, &within("task")).unwrap();
    assert_eq!(reason(report), (Verdict::Inconclusive, Some("too_few_runs")));
    let apart = arm("c", &[("x", 1.0), ("x", 1.1), ("x", 1.2)]);
    let report = gate("score", &few, &apart, &within("task")).unwrap();
    assert_eq!(reason(report), (Verdict::Error, Some("pairing_mismatch")));
    let report = gate("score", &few, &one, &within("host")).unwrap();
    assert!(report.sentence.contains("has no value of host"), "{}", report.sentence);
    let both = GateParameters { pair_by: Some("seed".into()), ..within("task") };
    assert_eq!(gate("score", &few, &one, &both).unwrap_err().code(), "invalid_argument");
}

#[test]
fn failed_runs_of_a_stratum_are_not_dropped() {
    let level = |name: &str, shift: f64| {
        let of = |stratum, base: f64| (0..5).map(move |i| (stratum, base + shift + f64::from(i) / 10.0));
        arm(name, &of("easy", 9.0).chain(of("hard", 3.0)).collect::<Vec<_>>())
    };
    let (baseline, mut candidate) = (level("b", 0.0), level("c", 1.0));
    assert_eq!(gate("score", &baseline, &candidate, &within("task")).unwrap().verdict, Verdict::Pass);
    candidate[0].failed = true;
    candidate[1].value = None;
    let report = gate("score", &baseline, &candidate, &within("task")).unwrap();
    assert_eq!((report.verdict, report.reason), (Verdict::Inconclusive, Some("failed_runs")));
}

#[test]
fn means_within_strata_are_those_of_other_packages() {
    check("simpson", &["adjusted_ols", "adjusted_ols_se"], |vector| {
        if !vector.raw_input("stratum").is_array() {
            return Answer::Skip("counts and slopes are no final metrics");
        }
        let words = |key| vector.raw_input(key).as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        let mut arms: BTreeMap<&str, Vec<(&str, f64)>> = BTreeMap::new();
        for ((arm, stratum), y) in words("arm").zip(words("stratum")).zip(vector.input("y")) {
            arms.entry(arm).or_default().push((stratum, y));
        }
        let (baseline, candidate) = (arm("b", &arms["base"]), arm("c", &arms["cand"]));
        let report = gate("y", &baseline, &candidate, &within("task")).unwrap();
        let strata = report.strata.unwrap();
        let (pooled, found) = (strata.pooled.unwrap(), report.improvement.unwrap());
        let opposite = |difference: f64| pooled * difference < 0.0;
        let undeclared = gate("y", &baseline, &candidate, &GateParameters::new(Direction::Up)).unwrap();
        // A reversal is named where the arms ran different shares; these arms all did.
        assert_eq!(undeclared.reversals.len(), usize::from(opposite(found)), "{}", vector.name());
        Answer::Got(json!({
            "pooled_diff": pooled,
            "stratum_diff": strata.strata.iter().map(|s| (s.name.clone(), s.improvement)).collect::<BTreeMap<_, _>>(),
            "adjusted_equal_weight": found,
            "adjusted_se": report.standard_error,
            "adjusted_df_welch": report.degrees_of_freedom,
            "reversal": opposite(found),
            "full_reversal": strata.strata.iter().all(|s| opposite(s.improvement)),
        }))
    });
}

#[test]
fn a_policy_declares_strata() {
    let policy =
        GatePolicy::from_toml("version = 1\nstrata = 'task'\n[[metrics]]\nname = 'score'\ndirection = 'up'")
            .unwrap();
    let [baseline, candidate] = turned();
    let runs = [MetricRuns { baseline, candidate }];
    let report = judge(&policy, &runs, Circumstances::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Fail);
    let open = GatePolicy { strata: None, ..policy };
    let report = judge(&open, &runs, Circumstances::default()).unwrap();
    assert_eq!(report.reason, Some("simpson_reversal"));
    assert!(report.next_step.unwrap().contains("within task"));
}

/// Arms without a difference, in strata three standard deviations apart that they ran in opposite shares of 80 and 20 %.
fn uneven(repetition: u32, runs: usize) -> [Vec<GateRun>; 2] {
    let stream = Stream { seed: 8, stream: 0, tag: Tag::Other, sub: 0 };
    let mut block = 0;
    let mut normal = || {
        block += 1;
        normal_quantile(uniform(words64(stream.block(block, repetition))[0]) + 0.5f64.powi(54))
    };
    let mut values = |low: usize| -> Vec<(&'static str, f64)> {
        (0..runs).map(|i| if i < low { ("low", normal()) } else { ("high", 3.0 + normal()) }).collect()
    };
    let (baseline, candidate) = (values(runs * 4 / 5), values(runs / 5));
    [arm("b", &baseline), arm("c", &candidate)]
}

#[test]
fn strata_keep_the_level_where_pooling_does_not() {
    const REPETITIONS: u32 = 400;
    let (mut pooled, mut named, mut stratified) = (0, 0, 0);
    for repetition in 0..REPETITIONS {
        let [baseline, candidate] = uneven(repetition, 20);
        let open = gate("m", &baseline, &candidate, &GateParameters::new(Direction::Up)).unwrap();
        pooled += u32::from(open.lower.unwrap() > 0.0);
        named += u32::from(open.reason == Some("simpson_reversal"));
        let declared = gate("m", &baseline, &candidate, &within("task")).unwrap();
        stratified += u32::from(declared.verdict == Verdict::Pass);
    }
    println!("pooled {pooled}, named {named}, stratified {stratified} of {REPETITIONS}");
    assert!(f64::from(pooled) > 0.85 * f64::from(REPETITIONS));
    // Without a difference the sign within strata turns half of the time.
    assert!(f64::from(named) > 0.35 * f64::from(REPETITIONS));
    // More than 46 of 400 would come once in a million at 5 %.
    assert!((6..=46).contains(&stratified), "{stratified}");
}
