//! Properties that hold for any sample.

use analysis::{
    Direction, GateParameters, GateReport, GateRun, Nonfinite, PermutationStatistic, Resampling, Verdict,
    describe, gate, permutation_test, welch,
};
use proptest::prelude::*;

fn sample() -> impl Strategy<Value = Vec<f64>> {
    // A grid makes ties; a fine one does not lose digits under a shift.
    prop::collection::vec((-1000i32..1000).prop_map(|i| f64::from(i) / 64.0), 3..9)
}

fn runs(name: &str, values: &[f64]) -> Vec<GateRun> {
    values.iter().enumerate().map(|(i, v)| GateRun::finished(format!("{name}{i}"), *v)).collect()
}

fn judge(baseline: &[f64], candidate: &[f64], parameters: &GateParameters) -> GateReport {
    gate("m", &runs("b", baseline), &runs("c", candidate), parameters).unwrap()
}

fn close(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs())),
        (a, b) => a == b,
    }
}

fn not_worse(direction: Direction, margin: f64) -> GateParameters {
    GateParameters { margin: Some(margin), ..GateParameters::new(direction) }
}

/// The fine classes of rounding aside, a verdict may only change at its edge.
fn same_verdict(a: &GateReport, b: &GateReport) -> bool {
    let gap = |report: &GateReport| {
        let threshold = report.threshold.unwrap_or(0.0);
        let distance = |bound: Option<f64>| bound.map_or(f64::INFINITY, |bound| (bound - threshold).abs());
        distance(report.lower).min(distance(report.upper))
    };
    a.verdict == b.verdict || gap(a) < 1e-9
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_of_runs_changes_no_byte(
        (baseline, candidate) in (sample(), sample()),
        seed in any::<prop::sample::Index>(),
    ) {
        let parameters = not_worse(Direction::Up, 0.5);
        let (b, c) = (runs("b", &baseline), runs("c", &candidate));
        let report = gate("m", &b, &c, &parameters).unwrap();
        let rotate = |runs: &[GateRun]| {
            let mut runs = runs.to_vec();
            runs.reverse();
            let middle = seed.index(runs.len());
            runs.rotate_left(middle);
            runs
        };
        let other = gate("m", &rotate(&b), &rotate(&c), &parameters).unwrap();
        prop_assert_eq!(serde_json::to_string(&report).unwrap(), serde_json::to_string(&other).unwrap());
    }

    #[test]
    fn a_loss_is_the_mirror_of_a_score((baseline, candidate) in (sample(), sample())) {
        let up = judge(&baseline, &candidate, &not_worse(Direction::Up, 0.5));
        let negated = |values: &[f64]| values.iter().map(|v| -v).collect::<Vec<_>>();
        let down = judge(&negated(&baseline), &negated(&candidate), &not_worse(Direction::Down, 0.5));
        prop_assert_eq!((up.verdict, up.reason), (down.verdict, down.reason));
        prop_assert_eq!((up.improvement, up.lower, up.upper), (down.improvement, down.lower, down.upper));
        prop_assert_eq!(up.seeds, down.seeds);
        prop_assert_eq!(up.permutation, down.permutation);
    }

    #[test]
    fn a_shift_of_the_metric_changes_nothing((baseline, candidate) in (sample(), sample()), shift in -1e6..1e6f64) {
        let shift = shift.round();
        let moved = |values: &[f64]| values.iter().map(|v| v + shift).collect::<Vec<_>>();
        let parameters = not_worse(Direction::Up, 0.5);
        let (here, there) =
            (judge(&baseline, &candidate, &parameters), judge(&moved(&baseline), &moved(&candidate), &parameters));
        prop_assert!(same_verdict(&here, &there));
        prop_assert!(close(here.improvement, there.improvement));
        prop_assert!(close(here.lower, there.lower) && close(here.upper, there.upper));
    }

    #[test]
    fn a_change_of_units_scales_everything((baseline, candidate) in (sample(), sample()), power in -30i32..30) {
        let factor = 2f64.powi(power);
        let scaled = |values: &[f64]| values.iter().map(|v| v * factor).collect::<Vec<_>>();
        let here = judge(&baseline, &candidate, &not_worse(Direction::Up, 0.5));
        let there = judge(&scaled(&baseline), &scaled(&candidate), &not_worse(Direction::Up, 0.5 * factor));
        prop_assert_eq!((here.verdict, here.reason), (there.verdict, there.reason));
        let back = |bound: Option<f64>| bound.map(|v| v / factor);
        prop_assert!(close(here.lower, back(there.lower)) && close(here.upper, back(there.upper)));
        prop_assert_eq!(here.p_pass, there.p_pass);
        prop_assert_eq!(
            here.seeds.as_ref().map(|s| (s.n_needed, s.n_needed_observed)),
            there.seeds.as_ref().map(|s| (s.n_needed, s.n_needed_observed))
        );
    }

    #[test]
    fn swapping_the_arms_turns_a_pass_into_a_fail((baseline, candidate) in (sample(), sample())) {
        let parameters = GateParameters::new(Direction::Up);
        let (forth, back) =
            (judge(&baseline, &candidate, &parameters), judge(&candidate, &baseline, &parameters));
        let mirrored = match forth.verdict {
            Verdict::Pass => Verdict::Fail,
            Verdict::Fail => Verdict::Pass,
            other => other,
        };
        prop_assert_eq!(mirrored, back.verdict);
    }

    #[test]
    fn a_wider_margin_never_turns_a_pass_away((baseline, candidate) in (sample(), sample())) {
        let verdicts: Vec<Verdict> = [0.01, 0.5, 5.0, 1000.0]
            .iter()
            .map(|margin| judge(&baseline, &candidate, &not_worse(Direction::Up, *margin)).verdict)
            .collect();
        let first_pass = verdicts.iter().position(|v| *v == Verdict::Pass).unwrap_or(verdicts.len());
        prop_assert!(verdicts[first_pass..].iter().all(|v| *v == Verdict::Pass), "{:?}", verdicts);
    }

    #[test]
    fn permutation_tails_overlap_in_the_observed_labels((a, b) in (sample(), sample())) {
        let test =
            permutation_test(&a, &b, PermutationStatistic::WelchT, Resampling::default()).unwrap();
        let both = test.p_greater.value() + test.p_less.value();
        prop_assert!(both >= 1.0 + test.p_minimum.value() - 1e-12);
        prop_assert!(test.p_greater.value() >= test.p_minimum.value());
    }

    #[test]
    fn a_summary_lies_between_its_extremes(values in sample()) {
        let summary = describe(&values, 0.9, Nonfinite::Keep).unwrap();
        let (low, high) = (summary.minimum.unwrap(), summary.maximum.unwrap());
        for value in [summary.mean, summary.median, summary.interquartile_mean] {
            prop_assert!((low..=high).contains(&value.unwrap()));
        }
        let [from, to] = summary.mean_interval.unwrap();
        prop_assert!(from <= summary.mean.unwrap() && summary.mean.unwrap() <= to);
    }

    #[test]
    fn welch_is_antisymmetric((a, b) in (sample(), sample())) {
        if let (Ok(forth), Ok(back)) = (welch(&a, &b), welch(&b, &a)) {
            prop_assert_eq!(forth.difference, -back.difference);
            prop_assert_eq!(forth.standard_error, back.standard_error);
            prop_assert!((forth.degrees_of_freedom / back.degrees_of_freedom - 1.0).abs() < 1e-12);
        }
    }
}
