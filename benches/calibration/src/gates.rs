//! The whole gate with its defaults, asked over and over.
//!
//! Each repetition is judged once, without a difference. What it says of a candidate that is better by some effect
//! follows: all values of the candidate move by it, so that the bounds of the improvement do.

use analysis::sequential::SpendingFunction;
use analysis::{
    Direction, GateParameters, GateQuestion, GateReport, GateRun, LookPlan, Looks, Verdict, gate_many,
};

use crate::error::Result;
use crate::shares::Share;
use crate::worlds::World;

/// Repetitions that are judged in one call.
const TOGETHER: u32 = 2_500;

/// Runs an arm at each of ten looks.
pub const TEN_LOOKS: [usize; 10] = [3, 4, 5, 6, 8, 10, 12, 14, 17, 20];

/// Runs an arm of gates with one look.
pub const ONE_LOOK: [usize; 4] = [3, 5, 10, 20];

/// What came of the gates.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GateCounts {
    /// Passed.
    pub passed: Share,
    /// Failed.
    pub failed: Share,
    /// Decided neither, in the end.
    pub undecided: Share,
    /// The last interval that was shown held the truth.
    pub covered: Share,
    /// Runs an arm used in all.
    pub runs: u64,
}

/// What one gate said.
#[derive(Debug, Clone, Copy)]
struct Said {
    verdict: Verdict,
    bounds: Option<[f64; 2]>,
    runs: usize,
}

impl Said {
    fn of(report: &GateReport) -> Self {
        let bounds = report.lower.zip(report.upper).map(|(lower, upper)| [lower, upper]);
        Self { verdict: report.verdict, bounds, runs: report.candidate.runs }
    }

    /// The verdict had the candidate been better by `effect`.
    fn verdict(self, effect: f64) -> Verdict {
        match self.bounds {
            Some([lower, _]) if effect != 0.0 && lower + effect > 0.0 => Verdict::Pass,
            Some([_, upper]) if effect != 0.0 && upper + effect < 0.0 => Verdict::Fail,
            Some(_) if effect != 0.0 => Verdict::Inconclusive,
            _ => self.verdict,
        }
    }
}

impl GateCounts {
    /// Counts the first look that decides, else the last.
    fn add(&mut self, looks: &[Said], effect: f64) {
        let open = |said: &&Said| said.verdict(effect) != Verdict::Inconclusive;
        let Some(said) = looks.iter().find(open).or(looks.last()) else { return };
        let verdict = said.verdict(effect);
        self.passed.add(verdict == Verdict::Pass);
        self.failed.add(verdict == Verdict::Fail);
        self.undecided.add(verdict == Verdict::Inconclusive);
        self.covered.add(said.bounds.is_some_and(|[lower, upper]| lower <= 0.0 && 0.0 <= upper));
        self.runs += said.runs as u64;
    }
}

/// The gate with its defaults and one look at `runs` runs an arm, for each effect.
///
/// # Errors
/// When the gate refuses the question.
pub fn gate_fixed(world: &World, runs: usize, effects: &[f64], repetitions: u32) -> Result<Vec<GateCounts>> {
    judged(world, &[(runs, GateParameters::new(Direction::Up))], effects, repetitions)
}

/// The gate at planned looks, for each effect: one that does not decide is asked again with the runs of the next look.
///
/// # Errors
/// When the gate refuses the question.
pub fn gate_looks(
    world: &World,
    sizes: &[usize],
    effects: &[f64],
    repetitions: u32,
) -> Result<Vec<GateCounts>> {
    let plan = LookPlan { sizes: sizes.to_vec(), spending: SpendingFunction::default() };
    let at = |(look, runs): (usize, &usize)| {
        let parameters = GateParameters {
            look_plan: Some(plan.clone()),
            looks: Looks { planned: 1, current: look as u32 + 1 },
            ..GateParameters::new(Direction::Up)
        };
        (*runs, parameters)
    };
    let looks: Vec<(usize, GateParameters)> = sizes.iter().enumerate().map(at).collect();
    judged(world, &looks, effects, repetitions)
}

/// Asks every look of every repetition.
fn judged(
    world: &World,
    looks: &[(usize, GateParameters)],
    effects: &[f64],
    repetitions: u32,
) -> Result<Vec<GateCounts>> {
    // Without ids, so that no run is taken for a repeated record of another.
    let runs_of = |values: Vec<f64>| -> Vec<GateRun> {
        values.into_iter().map(|value| GateRun::finished("", value)).collect()
    };
    let most = looks.last().map_or(0, |(runs, _)| *runs);
    let mut counts = vec![GateCounts::default(); effects.len()];
    for first in (0..repetitions).step_by(TOGETHER as usize) {
        let some = first..repetitions.min(first + TOGETHER);
        let arms: Vec<[Vec<GateRun>; 2]> =
            some.map(|repetition| world.arms(repetition, most).map(runs_of)).collect();
        let questions: Vec<GateQuestion<'_>> = arms
            .iter()
            .flat_map(|[baseline, candidate]| {
                looks.iter().map(|(runs, parameters)| GateQuestion {
                    metric: "metric",
                    baseline: &baseline[..*runs],
                    candidate: &candidate[..*runs],
                    parameters,
                })
            })
            .collect();
        let said = gate_many(&questions)
            .into_iter()
            .map(|report| Ok(Said::of(&report?)))
            .collect::<analysis::Result<Vec<_>>>()?;
        for looks in said.chunks(looks.len().max(1)) {
            for (counts, effect) in counts.iter_mut().zip(effects) {
                counts.add(looks, *effect);
            }
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worlds::made_worlds;

    #[test]
    fn every_repetition_is_counted_once() {
        let world = &made_worlds()[0];
        for counts in [
            gate_fixed(world, 5, &[0.0, 1.0], 301).unwrap(),
            gate_looks(world, &[3, 4, 6], &[1.0], 301).unwrap(),
        ] {
            for counts in counts {
                let all = [counts.passed, counts.failed, counts.undecided];
                assert!(all.iter().all(|share| share.trials == 301));
                assert_eq!(all.iter().map(|share| share.hits).sum::<u64>(), 301);
                assert!(counts.runs >= 3 * 301 && counts.runs <= 6 * 301);
            }
        }
    }

    #[test]
    fn a_candidate_that_is_better_is_judged_as_its_moved_bounds_say() {
        let parameters = GateParameters::new(Direction::Up);
        for world in made_worlds() {
            for (runs, effect) in [(3, 2.0), (10, 1.0)] {
                for repetition in 0..40 {
                    let [baseline, candidate] = world.arms(repetition, runs);
                    let run = |value: f64| GateRun::finished("", value);
                    let baseline: Vec<GateRun> = baseline.into_iter().map(run).collect();
                    let moved = |effect: f64| -> GateReport {
                        let candidate: Vec<GateRun> = candidate.iter().map(|v| run(v + effect)).collect();
                        analysis::gate("metric", &baseline, &candidate, &parameters).unwrap()
                    };
                    assert_eq!(Said::of(&moved(0.0)).verdict(effect), moved(effect).verdict);
                }
            }
        }
    }
}
