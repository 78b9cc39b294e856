//! Simulated error rates of the whole gate against the figures that its rules were chosen by.

use std::collections::BTreeMap;

use analysis::distributions::normal_quantile;
use analysis::{Direction, GateParameters, GateRun, Looks, Verdict, gate};
use kernels::rng::{Stream, Tag, uniform, words64};

const REPETITIONS: u32 = 2_000;

/// A stream of standard normal values.
struct Normals {
    stream: Stream,
    block: u32,
    resample: u32,
}

impl Normals {
    fn new(seed: u64, resample: u32) -> Self {
        Self { stream: Stream { seed, stream: 0, tag: Tag::Other, sub: 0 }, block: 0, resample }
    }

    fn next(&mut self) -> f64 {
        let [word, _] = words64(self.stream.block(self.block, self.resample));
        self.block += 1;
        // The middle of its cell, so that 0 never comes out.
        normal_quantile(uniform(word) + 0.5f64.powi(54))
    }

    fn runs(&mut self, name: &str, count: usize, mean: f64, failing: f64) -> Vec<GateRun> {
        (0..count)
            .map(|i| {
                let value = mean + self.next();
                let failed = normal_quantile(failing) > self.next();
                GateRun { failed, ..GateRun::finished(format!("{name}{i}"), value) }
            })
            .collect()
    }
}

/// Shares of verdicts over simulated comparisons with standard deviation 1 and true improvement `effect`.
fn verdicts(n: usize, effect: f64, failing: f64, parameters: &GateParameters) -> BTreeMap<&'static str, f64> {
    let mut shares = BTreeMap::from([("pass", 0.0), ("fail", 0.0), ("inconclusive", 0.0), ("error", 0.0)]);
    for repetition in 0..REPETITIONS {
        let mut normals = Normals::new(20_260, repetition);
        let baseline = normals.runs("b", n, 0.0, 0.0);
        let candidate = normals.runs("c", n, effect, failing);
        let report = gate("m", &baseline, &candidate, parameters).unwrap();
        *shares.get_mut(report.verdict.name()).unwrap() += 1.0 / f64::from(REPETITIONS);
    }
    println!("n={n} effect={effect} failing={failing}: {shares:?}");
    shares
}

fn not_worse() -> GateParameters {
    GateParameters { margin: Some(1.0), ..GateParameters::new(Direction::Up) }
}

/// Five standard errors of a simulated share near `expected`.
fn near(share: f64, expected: f64) -> bool {
    (share - expected).abs() < 5.0 * (expected * (1.0 - expected) / f64::from(REPETITIONS)).sqrt()
}

#[test]
fn three_runs_with_a_margin_of_one_sd_are_mostly_inconclusive() {
    let equal = verdicts(3, 0.0, 0.0, &not_worse());
    assert!(near(equal["pass"], 0.23) && near(equal["inconclusive"], 0.77) && equal["fail"] < 0.012, "{equal:?}");
    let at_margin = verdicts(3, -1.0, 0.0, &not_worse());
    assert!(near(at_margin["pass"], 0.04), "{at_margin:?}");
}

#[test]
fn five_runs_keep_the_error_rate_in_better_mode() {
    let shares = verdicts(5, 0.0, 0.0, &GateParameters::new(Direction::Up));
    assert!(near(shares["pass"], 0.044) && near(shares["fail"], 0.044), "{shares:?}");
}

#[test]
fn diverging_candidates_do_not_pass_by_their_survivors() {
    let shares = verdicts(10, 1.0, 0.2, &GateParameters::new(Direction::Up));
    assert!(shares["pass"] < 0.07 + 0.02, "{shares:?}");
    let all_fail = verdicts(3, 1.0, 1.0, &GateParameters::new(Direction::Up));
    assert_eq!(all_fail["fail"].round(), 1.0);
}

#[test]
fn two_planned_looks_keep_the_error_rate_together() {
    // Five runs an arm, then ten if the first look was inconclusive.
    let look = |current| GateParameters {
        looks: Looks { planned: 2, current },
        ..GateParameters::new(Direction::Up)
    };
    let mut passes = 0;
    for repetition in 0..REPETITIONS {
        let mut normals = Normals::new(77, repetition);
        let baseline = normals.runs("b", 10, 0.0, 0.0);
        let candidate = normals.runs("c", 10, 0.0, 0.0);
        let first = gate("m", &baseline[..5], &candidate[..5], &look(1)).unwrap();
        let verdict = match first.verdict {
            Verdict::Inconclusive => gate("m", &baseline, &candidate, &look(2)).unwrap().verdict,
            decided => decided,
        };
        passes += u32::from(verdict == Verdict::Pass);
    }
    let share = f64::from(passes) / f64::from(REPETITIONS);
    println!("two looks at no difference: {share}");
    assert!(share < 0.05 + 0.015 && share > 0.02, "{share}");
}
