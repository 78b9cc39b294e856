//! The rules of the gate that the golden file does not reach, and its text.

use analysis::{
    Direction, GateParameters, GateReport, GateRun, Looks, Method, Mode, OnInconclusive, Verdict, gate,
};

fn arm(name: &str, values: &[f64]) -> Vec<GateRun> {
    let run = |(i, value): (usize, &f64)| GateRun {
        pair: Some(i.to_string()),
        ..GateRun::finished(format!("{name}{i}"), *value)
    };
    values.iter().enumerate().map(run).collect()
}

fn not_worse(margin: f64) -> GateParameters {
    GateParameters { margin: Some(margin), ..GateParameters::new(Direction::Up) }
}

fn run(baseline: &[f64], candidate: &[f64], parameters: &GateParameters) -> GateReport {
    gate("accuracy", &arm("b", baseline), &arm("c", candidate), parameters).unwrap()
}

fn codes(report: &GateReport) -> Vec<&'static str> {
    report.warnings.iter().map(|warning| warning.code).collect()
}

const BASELINE: [f64; 5] = [0.812, 0.807, 0.815, 0.809, 0.811];
const BETTER: [f64; 5] = [0.842, 0.846, 0.839, 0.850, 0.844];

#[test]
fn a_crashed_run_counts_as_failed_whatever_it_logged() {
    let mut candidate = arm("c", &BETTER);
    candidate[0].failed = true;
    candidate[1].value = None;
    let report = gate("accuracy", &arm("b", &BASELINE), &candidate, &not_worse(0.01)).unwrap();
    assert_eq!((report.candidate.failed, report.candidate.finite), (2, 3));
    assert_eq!((report.verdict, report.reason), (Verdict::Inconclusive, Some("failed_runs")));
}

#[test]
fn a_failure_value_replaces_the_worst_value() {
    let candidate = [f64::NAN, 0.842, 0.846, 0.839, 0.850];
    let parameters = GateParameters { failure_value: Some(0.80), ..not_worse(0.02) };
    let report = run(&BASELINE, &candidate, &parameters);
    assert_eq!(report.n_candidate, 5);
    assert_eq!(report.verdict, Verdict::Pass);
    let ruinous = GateParameters { failure_value: Some(0.0), ..not_worse(0.02) };
    assert_eq!(run(&BASELINE, &candidate, &ruinous).verdict, Verdict::Inconclusive);
    let all_failed = run(&BASELINE, &[f64::NAN; 3], &parameters);
    assert_eq!((all_failed.verdict, all_failed.reason), (Verdict::Fail, Some("all_runs_failed")));
}

#[test]
fn inconclusive_can_be_mapped_but_stays_inconclusive() {
    for (rule, code) in [(OnInconclusive::Report, 3), (OnInconclusive::Pass, 0), (OnInconclusive::Fail, 1)] {
        let parameters = GateParameters { on_inconclusive: rule, ..not_worse(0.001) };
        let report = run(&BASELINE, &[0.811, 0.814, 0.806], &parameters);
        assert_eq!((report.verdict, report.exit_code), (Verdict::Inconclusive, code));
    }
}

#[test]
fn one_candidate_run_is_judged_only_when_equal_variance_is_asked_for() {
    let baseline: Vec<f64> = (0..10).map(|i| 0.8 + f64::from(i * 7 % 10) / 1000.0).collect();
    assert_eq!(run(&baseline, &[0.85], &not_worse(0.01)).reason, Some("too_few_runs"));
    let asked = GateParameters { assume_equal_variance: true, ..not_worse(0.01) };
    let report = run(&baseline, &[0.85], &asked);
    assert_eq!((report.verdict, report.method), (Verdict::Pass, Some(Method::Student)));
    assert!(report.warnings.iter().any(|w| w.message.contains("20 %")));
    assert_eq!(run(&baseline[..9], &[0.85], &asked).reason, Some("too_few_runs"));
}

#[test]
fn two_runs_decide_only_with_min_runs_two() {
    let (baseline, candidate) = ([0.80, 0.801], [0.95, 0.951]);
    let report = run(&baseline, &candidate, &not_worse(0.01));
    assert_eq!(report.reason, Some("too_few_runs"));
    assert!(report.lower.is_none() && report.improvement.is_some());
    let parameters = GateParameters { min_runs: 2, ..not_worse(0.01) };
    assert_eq!(run(&baseline, &candidate, &parameters).verdict, Verdict::Pass);
}

#[test]
fn pairs_follow_their_key_and_not_the_order() {
    let parameters = GateParameters { pair_by: Some("seed".into()), ..GateParameters::new(Direction::Up) };
    let baseline = arm("b", &[0.80, 0.70, 0.75, 0.60]);
    let mut candidate = arm("c", &[0.812, 0.711, 0.763, 0.614]);
    candidate.reverse();
    let report = gate("accuracy", &baseline, &candidate, &parameters).unwrap();
    assert_eq!((report.verdict, report.method), (Verdict::Pass, Some(Method::PairedT)));
    candidate[0].pair = Some("7".into());
    let report = gate("accuracy", &baseline, &candidate, &parameters).unwrap();
    assert_eq!(
        (report.verdict, report.reason, report.exit_code),
        (Verdict::Error, Some("pairing_mismatch"), 5)
    );
    assert!(report.sentence.contains("seed=3 (baseline only)"), "{}", report.sentence);
    candidate[0].pair = None;
    assert_eq!(
        gate("accuracy", &baseline, &candidate, &parameters).unwrap().reason,
        Some("pairing_mismatch")
    );
    candidate[0].pair = Some("0".into());
    assert_eq!(
        gate("accuracy", &baseline, &candidate, &parameters).unwrap().reason,
        Some("pairing_mismatch")
    );
}

#[test]
fn a_pair_with_a_failed_candidate_counts_against_it() {
    let parameters = GateParameters { pair_by: Some("seed".into()), ..not_worse(0.05) };
    let report = run(&[0.80, 0.70, 0.75, 0.60, 0.65], &[0.81, 0.71, 0.76, 0.61, f64::NAN], &parameters);
    assert_eq!((report.n_candidate, report.reason), (4, Some("zero_variance")));
    let report = run(&[0.80, 0.70, 0.75, 0.60, 0.65], &[0.81, 0.712, 0.76, 0.61, f64::NAN], &parameters);
    assert_eq!((report.verdict, report.reason), (Verdict::Inconclusive, Some("failed_runs")));
    assert_eq!(report.failures.unwrap().imputed_value, Some(0.60));
}

#[test]
fn a_run_may_not_be_compared_with_itself() {
    let runs = arm("x", &BASELINE);
    assert_eq!(gate("accuracy", &runs, &runs, &not_worse(0.1)).unwrap_err().code(), "run_in_both_arms");
}

#[test]
fn repeated_records_count_once_and_differing_ones_are_refused() {
    let mut candidate = arm("c", &BETTER);
    candidate.push(candidate[0].clone());
    let report = gate("accuracy", &arm("b", &BASELINE), &candidate, &not_worse(0.01)).unwrap();
    assert_eq!((report.n_candidate, codes(&report)), (5, vec!["duplicate_runs"]));
    candidate[5].value = Some(0.9);
    let error = gate("accuracy", &arm("b", &BASELINE), &candidate, &not_worse(0.01)).unwrap_err();
    assert_eq!(error.code(), "invalid_argument");
}

#[test]
fn worse_within_the_margin_passes_and_says_so() {
    let worse: Vec<f64> = BASELINE.iter().map(|v| v - 0.01).collect();
    let report = run(&BASELINE, &worse, &not_worse(0.05));
    assert_eq!((report.verdict, codes(&report)), (Verdict::Pass, vec!["worse_within_margin"]));
}

#[test]
fn a_second_look_spends_half_of_alpha_and_a_third_is_refused() {
    let look = |current| GateParameters { looks: Looks { planned: 2, current }, ..not_worse(0.01) };
    let report = run(&BASELINE, &BETTER, &look(1));
    assert_eq!((report.look.alpha_used, report.look.alpha_left), (0.025, 0.025));
    assert_eq!(report.level, 0.95);
    assert_eq!(run(&BASELINE, &BETTER, &look(2)).look.alpha_left, 0.0);
    assert_eq!(run(&BASELINE, &BETTER, &look(3)).reason, Some("looks_spent"));
}

#[test]
fn a_deterministic_training_is_compared_exactly_even_on_one_run() {
    let parameters = GateParameters { deterministic: true, ..GateParameters::new(Direction::Up) };
    let report = run(&[0.8], &[0.8 + 1e-9], &parameters);
    assert_eq!((report.verdict, report.reason), (Verdict::Pass, Some("deterministic")));
    assert_eq!(run(&[0.8], &[0.7], &parameters).verdict, Verdict::Fail);
    let report = run(&BASELINE, &BETTER, &parameters);
    assert_eq!((report.method, codes(&report)), (Some(Method::Welch), vec!["not_deterministic"]));
}

#[test]
fn one_constant_arm_is_tested_with_a_warning() {
    let report = run(&[0.8; 4], &BETTER, &not_worse(0.01));
    assert_eq!((report.verdict, codes(&report)), (Verdict::Pass, vec!["zero_variance_one_arm"]));
}

#[test]
fn what_is_printed_depends_on_the_number_of_runs() {
    let values = |n: u32, shift: f64| -> Vec<f64> {
        (0..n).map(|i| 0.8 + shift + f64::from(i * 37 % n) / f64::from(100 * n)).collect()
    };
    for (n, a12, bootstraps) in
        [(3, false, 0), (4, false, 0), (5, true, 0), (9, true, 0), (10, true, 1), (50, true, 2)]
    {
        let report = run(&values(n, 0.0), &values(n, 0.002), &not_worse(0.05));
        assert!(report.permutation.is_some() && report.hedges_g.is_some(), "{n}");
        assert_eq!((report.a12.is_some(), report.bootstrap.len()), (a12, bootstraps), "{n}");
    }
}

#[test]
fn an_equivalence_plan_asks_for_more_runs_than_a_one_sided_one() {
    let (baseline, candidate) = ([0.80, 0.82, 0.81], [0.805, 0.815, 0.811]);
    let needed = |mode| {
        let parameters = GateParameters { mode: Some(mode), ..not_worse(0.01) };
        run(&baseline, &candidate, &parameters).seeds.unwrap().n_needed.unwrap()
    };
    assert!(needed(Mode::Equivalent) > needed(Mode::NotWorse));
}

#[test]
fn hostile_values_give_an_answer_and_no_panic() {
    let cases: [&[f64]; 8] = [
        &[],
        &[f64::NAN],
        &[f64::INFINITY, f64::NEG_INFINITY, f64::NAN],
        &[f64::MAX, f64::MIN, 0.0],
        &[5e-324, 0.0, -5e-324],
        &[0.0, -0.0, 0.0],
        &[1e15, 1e15 + 0.125, 1e15 + 0.25],
        &[1e300, 1.0, 1e-300, 0.0],
    ];
    for baseline in cases {
        for candidate in cases {
            for mode in [Mode::Better, Mode::NotWorse, Mode::Equivalent] {
                for (relative, pair_by) in [(false, None), (true, None), (false, Some("seed".to_owned()))] {
                    let parameters =
                        GateParameters { mode: Some(mode), relative, pair_by, ..not_worse(0.01) };
                    let report = run(baseline, candidate, &parameters);
                    assert!(!report.to_text().contains("NaN"), "{}", report.to_text());
                    serde_json::to_string(&report).unwrap();
                }
            }
        }
    }
}

#[test]
fn the_text_of_each_verdict() {
    insta::assert_snapshot!("pass", run(&BASELINE, &BETTER, &not_worse(0.01)).to_text());
    let worse: Vec<f64> = BASELINE.iter().map(|v| v - 0.03).collect();
    insta::assert_snapshot!("fail", run(&BASELINE, &worse, &not_worse(0.01)).to_text());
    let parameters = GateParameters::new(Direction::Up);
    insta::assert_snapshot!(
        "inconclusive",
        run(&[0.823, 0.825, 0.830], &[0.827, 0.824, 0.829], &parameters).to_text()
    );
    let parameters = GateParameters { detect: Some(0.005), ..parameters };
    insta::assert_snapshot!(
        "inconclusive_with_a_plan",
        run(&[0.7947, 0.80512, 0.80275], &[0.80345, 0.80819, 0.80247], &parameters).to_text()
    );
    insta::assert_snapshot!("failed_runs", {
        run(&BASELINE, &[f64::NAN, 0.842, 0.846, 0.839, 0.850], &not_worse(0.01)).to_text()
    });
    insta::assert_snapshot!("all_failed", run(&BASELINE, &[f64::NAN; 3], &not_worse(0.01)).to_text());
    insta::assert_snapshot!("no_candidate", run(&BASELINE, &[], &not_worse(0.01)).to_text());
    insta::assert_snapshot!("too_few", run(&[0.8], &[0.9], &not_worse(0.01)).to_text());
    let loss = GateParameters {
        mode: Some(Mode::Equivalent),
        margin: Some(0.05),
        relative: true,
        ..GateParameters::new(Direction::Down)
    };
    let (baseline, candidate) = ([2.31, 2.29, 2.305, 2.298, 2.35], [2.33, 2.30, 2.325, 2.318, 2.36]);
    insta::assert_snapshot!("equivalent_loss", run(&baseline, &candidate, &loss).to_text());
}

#[test]
fn the_json_is_stable() {
    let report = run(&BASELINE, &BETTER, &not_worse(0.01));
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&report).unwrap());
}
