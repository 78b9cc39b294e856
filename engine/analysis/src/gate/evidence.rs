//! What is printed beside the deciding test, for all metrics of a decision at once: permutation tests and bootstrap
//! intervals. They inform and never decide.

use std::collections::BTreeMap;

use kernels::{
    Backend as _, BootstrapRequest, CpuBackend, Design, Method, PermutationRequest, PermutationStatistic,
    Samples as KernelSamples, Statistic,
};

use crate::p_value::PValue;
use crate::permutation::EXACT_MAX;

use super::arms::Samples;
use super::estimate::Threshold;
use super::report::{BootstrapReport, PermutationReport};

/// Below this many values an arm no bootstrap interval is printed: it would cover too little.
const BOOTSTRAP_RUNS_MIN: usize = 10;

/// From this many values an arm BCa covers what it promises and is printed as well.
pub(crate) const BCA_RUNS_MIN: usize = 50;

/// Beyond this many runs in all the permutation test is left out: it would take seconds and agree with Welch's.
const PERMUTATION_RUNS_MAX: usize = 20_000;

const RESAMPLES: u32 = 9_999;

/// One metric of which more is to be said than the deciding test does.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) samples: &'a Samples,
    pub(crate) threshold: Threshold,
    /// Two-sided level of the intervals.
    pub(crate) level: f64,
    pub(crate) seed: u64,
}

/// What was found beside the deciding test.
#[derive(Clone, Default)]
pub(crate) struct Beside {
    pub(crate) permutation: Option<PermutationReport>,
    /// Bootstrap-t from ten values an arm, and BCa from fifty; without those that the data leave undefined.
    pub(crate) bootstrap: Vec<BootstrapReport>,
}

/// The answers in the order of the questions. A question's answer does not depend on the others.
pub(crate) fn beside(questions: &[Question<'_>]) -> Vec<Beside> {
    let mut answers = vec![Beside::default(); questions.len()];
    let permutations = permutations(questions);
    for (answer, permutation) in answers.iter_mut().zip(permutations) {
        answer.permutation = permutation;
    }
    for (method, runs_min) in [(Method::Studentized, BOOTSTRAP_RUNS_MIN), (Method::Bca, BCA_RUNS_MIN)] {
        let enough = |question: &Question<'_>| question.samples.smaller_count() >= runs_min;
        // Intervals of one level, seed and kind of samples are one call.
        let mut calls: BTreeMap<(bool, u64, u64), Vec<usize>> = BTreeMap::new();
        for (i, question) in questions.iter().enumerate().filter(|(_, question)| enough(question)) {
            let paired = matches!(question.samples, Samples::Pairs(_));
            calls.entry((paired, question.level.to_bits(), question.seed)).or_default().push(i);
        }
        for members in calls.values() {
            for (i, interval) in intervals(questions, members, method) {
                answers[i].bootstrap.push(interval);
            }
        }
    }
    answers
}

/// One flat list of values and where each group begins.
#[derive(Default)]
struct Flat {
    values: Vec<f64>,
    offsets: Vec<u32>,
}

impl Flat {
    /// `None` beyond the 2^32 values that offsets can name.
    fn push(&mut self, group: impl Iterator<Item = f64>) -> Option<()> {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.values.extend(group);
        self.offsets.push(u32::try_from(self.values.len()).ok()?);
        Some(())
    }

    fn samples(&self) -> KernelSamples<'_> {
        KernelSamples { values: &self.values, offsets: &self.offsets }
    }
}

fn intervals(questions: &[Question<'_>], members: &[usize], method: Method) -> Vec<(usize, BootstrapReport)> {
    let Some(first) = members.first().map(|&i| questions[i]) else { return Vec::new() };
    let (mut candidates, mut baselines) = (Flat::default(), Flat::default());
    for &i in members {
        let pushed = match questions[i].samples {
            Samples::Pairs(differences) => candidates.push(differences.iter().copied()),
            // Never asked: no kernel relabels or resamples within strata.
            Samples::Stratified(_) => None,
            Samples::Independent { baseline, candidate } => candidates
                .push(candidate.iter().copied())
                .and_then(|()| baselines.push(baseline.iter().copied())),
        };
        if pushed.is_none() {
            return Vec::new();
        }
    }
    let request = match first.samples {
        Samples::Pairs(_) => BootstrapRequest::new(candidates.samples(), Statistic::Mean),
        Samples::Independent { .. } | Samples::Stratified(_) => {
            BootstrapRequest::mean_difference(candidates.samples(), baselines.samples())
        }
    };
    let request = request.method(method).level(first.level).resamples(RESAMPLES).seed(first.seed);
    // Far too small for a device; the answer is the same on any.
    let Ok(output) = CpuBackend::new().bootstrap(&request) else { return Vec::new() };
    let interval = |(place, i): (usize, &usize)| {
        let (low, high) = (*output.low.get(place)?, *output.high.get(place)?);
        let report = BootstrapReport { method: method.name(), low, high, resamples: RESAMPLES };
        (low.is_finite() && high.is_finite()).then_some((*i, report))
    };
    members.iter().enumerate().filter_map(interval).collect()
}

/// One comparison of a permutation call: a question against one edge of its claim.
struct Comparison {
    question: usize,
    edge: f64,
    /// The claim lies below the edge.
    below: bool,
}

/// The permutation tests of the claims: the candidate is moved so that the edge of the claim becomes zero.
fn permutations(questions: &[Question<'_>]) -> Vec<Option<PermutationReport>> {
    let mut calls: BTreeMap<(bool, bool, u64), Vec<Comparison>> = BTreeMap::new();
    for (i, question) in questions.iter().enumerate() {
        let samples = question.samples;
        if samples.baseline_count() + samples.candidate_count() > PERMUTATION_RUNS_MAX {
            continue;
        }
        let paired = matches!(samples, Samples::Pairs(_));
        // A single value has no spread to divide by.
        let divided = !paired && samples.smaller_count() > 1;
        let comparisons = calls.entry((paired, divided, question.seed)).or_default();
        let low = Comparison { question: i, edge: question.threshold.low(), below: false };
        let high = question.threshold.high().map(|edge| Comparison { question: i, edge, below: true });
        comparisons.push(low);
        comparisons.extend(high);
    }
    let mut answers: Vec<Option<PermutationReport>> = vec![None; questions.len()];
    for ((paired, divided, seed), comparisons) in calls {
        let statistic =
            if divided { PermutationStatistic::WelchT } else { PermutationStatistic::MeanDifference };
        for (comparison, report) in compared(questions, &comparisons, paired, statistic, seed) {
            let answer = &mut answers[comparison.question];
            // Equivalence must clear both edges: the larger p-value counts.
            if answer.is_none_or(|earlier| report.p > earlier.p) {
                *answer = Some(report);
            }
        }
    }
    answers
}

fn compared<'a>(
    questions: &[Question<'_>],
    comparisons: &'a [Comparison],
    paired: bool,
    statistic: PermutationStatistic,
    seed: u64,
) -> Vec<(&'a Comparison, PermutationReport)> {
    let (mut moved, mut fixed) = (Flat::default(), Flat::default());
    for comparison in comparisons {
        let pushed = match questions[comparison.question].samples {
            Samples::Pairs(differences) => moved.push(differences.iter().map(|d| d - comparison.edge)),
            Samples::Stratified(_) => None,
            Samples::Independent { baseline, candidate } => moved
                .push(candidate.iter().map(|v| v - comparison.edge))
                .and_then(|()| fixed.push(baseline.iter().copied())),
        };
        if pushed.is_none() {
            return Vec::new();
        }
    }
    let design = if paired { Design::Signs } else { Design::TwoSamples(fixed.samples()) };
    let request = PermutationRequest::new(moved.samples(), design, statistic)
        .resamples(RESAMPLES)
        .max_exact(EXACT_MAX)
        .seed(seed);
    let Ok(output) = CpuBackend::new().permutation(&request) else { return Vec::new() };
    let report = |(i, comparison): (usize, &'a Comparison)| {
        let p = if comparison.below { &output.p_less } else { &output.p_greater };
        let report = PermutationReport {
            p: PValue::new(*p.get(i)?),
            floor: PValue::new(*output.p_minimum.get(i)?),
            exact: output.computation.get(i)?.is_exact(),
            relabellings: *output.relabellings.get(i)? as u64,
        };
        p[i].is_finite().then_some((comparison, report))
    };
    comparisons.iter().enumerate().filter_map(report).collect()
}
