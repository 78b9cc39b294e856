//! Policies over many metrics: how verdicts combine, and that the published schema is true.

use std::path::Path;

use analysis::{
    Change, Circumstances, DecisionReport, Direction, GateParameters, GatePolicy, GateQuestion, GateRun,
    Ground, GroundDifference, MetricRuns, Verdict, gate, gate_many, judge,
};

/// Runs with these values, each with its own id.
fn arm(name: &str, values: &[f64]) -> Vec<GateRun> {
    values.iter().enumerate().map(|(i, v)| GateRun::finished(format!("{name}{i}"), *v)).collect()
}

fn runs(baseline: &[f64], candidate: &[f64]) -> MetricRuns {
    MetricRuns { baseline: arm("b", baseline), candidate: arm("c", candidate) }
}

/// Five values about `center` with a standard deviation of one.
fn about(center: f64) -> Vec<f64> {
    [-1.2, -0.7, 0.1, 0.5, 1.3].iter().map(|v| center + v).collect()
}

fn policy(head: &str, metrics: &[&str]) -> GatePolicy {
    let metrics: String = metrics.iter().map(|metric| format!("\n[[metrics]]\n{metric}\n")).collect();
    GatePolicy::from_toml(&format!("version = 1\nlooks = 1\n{head}\n{metrics}")).unwrap()
}

const GOAL: &str = "name = 'goal'\ndirection = 'up'\nrole = 'goal'";
const OTHER: &str = "name = 'other'\ndirection = 'up'\nrole = 'goal'";
const GUARD: &str = "name = 'guard'\ndirection = 'down'\nmargin = 3.0";

fn decide(policy: &GatePolicy, runs: &[MetricRuns]) -> DecisionReport {
    judge(policy, runs, Circumstances::default()).unwrap()
}

#[test]
fn a_pass_needs_every_guardrail_and_every_goal() {
    let policy = policy("", &[GOAL, GUARD]);
    let better = runs(&about(0.0), &about(4.0));
    let same = runs(&about(0.0), &about(0.0));
    let worse = runs(&about(0.0), &about(9.0));
    let verdicts = |goal: &MetricRuns, guard: &MetricRuns| {
        let report = decide(&policy, &[goal.clone(), guard.clone()]);
        (report.verdict, report.exit_code)
    };
    assert_eq!(verdicts(&better, &same), (Verdict::Pass, 0));
    assert_eq!(verdicts(&same, &same), (Verdict::Inconclusive, 3));
    assert_eq!(verdicts(&better, &worse), (Verdict::Fail, 1));
    let falling = runs(&about(0.0), &about(-9.0));
    assert_eq!(verdicts(&falling, &same), (Verdict::Fail, 1));
}

#[test]
fn one_of_several_goals_is_corrected_for() {
    let any = policy("goals = 'any'", &[GOAL, OTHER]);
    let (better, same) = (runs(&about(0.0), &about(4.0)), runs(&about(0.0), &about(0.0)));
    let report = decide(&any, &[better.clone(), same.clone()]);
    assert_eq!(report.verdict, Verdict::Pass);
    let (raw, adjusted) =
        (report.metrics[0].report.p_pass.unwrap(), report.metrics[0].p_pass_adjusted.unwrap());
    assert!((adjusted.value() - 2.0 * raw.value()).abs() < 1e-15);
    assert!(report.family.contains("holm over 2 goals"));

    // Passes by itself, but not as the better of two.
    let barely = runs(&about(0.0), &about(1.35));
    let alone = decide(&policy("", &[GOAL]), std::slice::from_ref(&barely));
    assert_eq!(alone.verdict, Verdict::Pass, "{}", alone.sentence);
    let both = decide(&any, &[barely, same]);
    assert_eq!(both.verdict, Verdict::Inconclusive);
    assert_eq!(both.metrics[0].reason, Some("not_after_correction"));
}

#[test]
fn a_fail_among_many_metrics_is_corrected_for() {
    let metrics: Vec<String> =
        (0..20).map(|i| format!("name = 'm{i}'\ndirection = 'up'\nmargin = 0.5")).collect();
    let metrics: Vec<&str> = metrics.iter().map(String::as_str).collect();
    let mut arms = vec![runs(&about(0.0), &about(6.0)); 20];
    arms[7] = runs(&about(0.0), &about(-2.1));
    let alone = decide(&policy("", &metrics[7..8]), &arms[7..8]);
    assert_eq!(alone.verdict, Verdict::Fail, "{}", alone.sentence);
    let report = decide(&policy("", &metrics), &arms);
    assert_eq!((report.verdict, report.reason), (Verdict::Inconclusive, Some("not_after_correction")));
    let uncorrected = decide(&policy("correction = 'none'", &metrics), &arms);
    assert_eq!(uncorrected.verdict, Verdict::Fail);
    assert!(uncorrected.sentence.contains("fail: m7"), "{}", uncorrected.sentence);
}

#[test]
fn a_metric_of_one_arm_is_told_and_never_passed_over() {
    let policy = policy("", &[GOAL, GUARD]);
    let missing = MetricRuns { baseline: arm("b", &about(0.0)), candidate: Vec::new() };
    let report = decide(&policy, &[runs(&about(0.0), &about(4.0)), missing.clone()]);
    assert_eq!((report.verdict, report.reason), (Verdict::Inconclusive, Some("empty_sample")));
    assert!(report.sentence.contains("not judged: guard"), "{}", report.sentence);
    let report = decide(&policy, &[missing.clone(), missing]);
    assert_eq!((report.verdict, report.exit_code), (Verdict::Error, 5));
}

#[test]
fn a_baseline_that_cannot_be_compared_decides_nothing() {
    let mut policy = policy("[staleness]\nmax_age_days = 30\nsame = ['dataset']", &[GOAL]);
    let better = [runs(&about(0.0), &about(4.0))];
    let difference = GroundDifference {
        ground: Ground::Dataset,
        baseline: vec!["v1".into()],
        candidate: vec!["v2".into()],
    };
    let differs = Circumstances { grounds: vec![difference], ..Circumstances::default() };
    let report = judge(&policy, &better, differs.clone()).unwrap();
    assert_eq!((report.verdict, report.reason), (Verdict::Inconclusive, Some("baseline_mismatch")));
    assert_eq!(report.metrics[0].verdict, Verdict::Pass);

    policy.staleness.waive = vec![Ground::Dataset];
    let report = judge(&policy, &better, differs).unwrap();
    assert_eq!(report.verdict, Verdict::Pass);
    assert_eq!(report.warnings[0].code, "waived");

    let old = Circumstances { baseline_age_days: Some(31.0), ..Circumstances::default() };
    let report = judge(&policy, &better, old).unwrap();
    assert_eq!(report.reason, Some("baseline_stale"));
    assert!(report.next_step.unwrap().contains("three baseline seeds"));
}

#[test]
fn changing_everything_is_told() {
    let change = |key: &str, confounded| Change {
        key: key.into(),
        baseline: vec!["1".into()],
        candidate: vec!["2".into()],
        confounded,
    };
    let changed = vec![change("params.lr", true), change("params.width", true), change("tags.host", false)];
    let circumstances =
        Circumstances { changed, still_running: vec!["c1".into()], ..Circumstances::default() };
    let policy = policy("", &[GOAL]);
    let report = judge(&policy, &[runs(&about(0.0), &about(4.0))], circumstances).unwrap();
    let codes: Vec<&str> = report.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["several_changes", "still_running"]);
    let message = &report.warnings[0].message;
    assert!(message.contains("3 changes; params.lr, params.width cannot be told apart"), "{message}");
}

#[test]
fn mistakes_in_the_question_are_errors() {
    let policy = policy("", &[GOAL]);
    assert_eq!(judge(&policy, &[], Circumstances::default()).unwrap_err().code(), "invalid_argument");
    let both = MetricRuns { baseline: arm("x", &about(0.0)), candidate: arm("x", &about(1.0)) };
    assert_eq!(judge(&policy, &[both], Circumstances::default()).unwrap_err().code(), "run_in_both_arms");
}

#[test]
fn a_batch_answers_as_each_gate_does_alone() {
    let sizes = [3, 5, 10, 12, 20, 55];
    let arms: Vec<(Vec<GateRun>, Vec<GateRun>)> = sizes
        .iter()
        .map(|&n| {
            let values =
                |shift: f64| -> Vec<f64> { (0..n).map(|i| shift + f64::from(i * 37 % 101) / 50.0).collect() };
            (arm("b", &values(0.0)), arm("c", &values(0.3)))
        })
        .collect();
    let better = GateParameters::new(Direction::Up);
    let equivalent = GateParameters {
        mode: Some(analysis::Mode::Equivalent),
        margin: Some(1.0),
        alpha: 0.01,
        ..GateParameters::new(Direction::Down)
    };
    let questions: Vec<GateQuestion<'_>> = arms
        .iter()
        .flat_map(|(baseline, candidate)| {
            [&better, &equivalent].map(|parameters| GateQuestion {
                metric: "m",
                baseline,
                candidate,
                parameters,
            })
        })
        .collect();
    for (together, question) in gate_many(&questions).into_iter().zip(&questions) {
        let alone =
            gate(question.metric, question.baseline, question.candidate, question.parameters).unwrap();
        assert_eq!(
            serde_json::to_string(&together.unwrap()).unwrap(),
            serde_json::to_string(&alone).unwrap()
        );
    }
}

/// `RUNLAKE_RENEW=1 cargo test -p analysis --test it schema` writes the file anew.
#[test]
fn the_published_schema_is_that_of_the_policy() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/gate-policy.schema.json");
    let schema = serde_json::to_string_pretty(&GatePolicy::json_schema()).unwrap() + "\n";
    if std::env::var_os("RUNLAKE_RENEW").is_some() {
        std::fs::write(&file, &schema).unwrap();
    }
    let published = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(published == schema, "{} is not true; renew it with RUNLAKE_RENEW=1", file.display());
}
