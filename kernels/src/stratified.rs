//! The bootstrap of a statistic over several tasks: runs are resampled within each task, and the statistic is that of
//! all scores together (Agarwal et al. 2021).

use rayon::prelude::*;

use crate::describe;
use crate::error::KernelError;
use crate::interval::tails;
use crate::plan::{Form, Shape, check};
use crate::request::{BootstrapRequest, Flags, Method, Samples, Statistic};
use crate::rng::{Stream, Tag};

/// Runs a task below which a percentile interval of several tasks covers too little.
const RUNS_MIN: u32 = 10;

/// A percentile bootstrap over the tasks of one group.
#[derive(Debug, Clone, Copy)]
pub struct StratifiedRequest<'a> {
    /// The scores: one group a task. The order of the tasks and of the scores in them does not matter.
    pub tasks: Samples<'a>,
    /// The statistic of all scores together; not a difference.
    pub statistic: Statistic,
    /// Confidence level of the two-sided interval, strictly between 0 and 1.
    pub level: f64,
    /// Number of resamples.
    pub resamples: u32,
    /// Seed of the generator.
    pub seed: u64,
}

/// The answer to a [`StratifiedRequest`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StratifiedInterval {
    /// The statistic of all scores; NaN when there are none.
    pub estimate: f64,
    /// Lower interval end.
    pub low: f64,
    /// Upper interval end.
    pub high: f64,
    /// Standard deviation of the replicates.
    pub se: f64,
    /// Number of scores.
    pub n: usize,
    /// Remarks; [`Flags::DEGENERATE`] when no task has a second run, so that there is nothing to resample.
    pub flags: Flags,
}

/// The percentile interval of a statistic whose scores are resampled within their tasks. Runs on the CPU, with the
/// threads of the caller's pool; the answer does not depend on their number.
///
/// # Errors
/// [`KernelError::Invalid`] when the request is malformed or a value is not finite.
///
/// ```
/// use kernels::{Samples, Statistic, StratifiedRequest, stratified_bootstrap};
/// let tasks = Samples { values: &[0.5, 0.6, 0.4, 0.9, 0.8, 0.7], offsets: &[0, 3, 6] };
/// let request = StratifiedRequest { tasks, statistic: Statistic::Iqm, level: 0.95, resamples: 2_000, seed: 1 };
/// let out = stratified_bootstrap(&request)?;
/// assert!(out.low < out.estimate && out.estimate < out.high);
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn stratified_bootstrap(request: &StratifiedRequest<'_>) -> Result<StratifiedInterval, KernelError> {
    let StratifiedRequest { tasks, statistic, level, resamples, seed } = *request;
    let plain = BootstrapRequest::new(tasks, statistic)
        .method(Method::Percentile)
        .level(level)
        .resamples(resamples)
        .seed(seed);
    let Form::Linear(shape) = check(&plain)? else {
        return Err(KernelError::Unsupported {
            method: "stratified",
            statistic: statistic.name(),
            advice: "ask for the mean, a trimmed mean, the IQM or a quantile",
        });
    };
    let tasks = canonical(tasks);
    let mut scores = tasks.concat();
    let mut flags = Flags::empty();
    let n = scores.len();
    let estimate = of_scores(shape, &mut scores);
    let point = |flags| StratifiedInterval { estimate, low: estimate, high: estimate, se: 0.0, n, flags };
    if n == 0 {
        flags.insert(Flags::ABSENT);
        return Ok(StratifiedInterval { se: f64::NAN, ..point(flags) });
    }
    if tasks.iter().all(|task| task.len() < 2) {
        flags.insert(Flags::DEGENERATE);
        return Ok(StratifiedInterval { se: f64::NAN, ..point(flags) });
    }
    if tasks.iter().all(|task| task.first() == task.last()) {
        flags.insert(Flags::ZERO_VARIANCE);
        return Ok(point(flags));
    }
    if tasks.iter().any(|task| task.len() < RUNS_MIN as usize) {
        flags.insert(Flags::UNDERCOVERS);
    }
    let mut replicates: Vec<f64> = (0..resamples)
        .into_par_iter()
        .map_init(
            || Vec::with_capacity(n),
            |drawn, resample| {
                drawn.clear();
                for (task, sub) in tasks.iter().zip(0..) {
                    let stream = Stream { seed, stream: 0, tag: Tag::Bootstrap, sub };
                    let indices = stream.indices(task.len() as u32, resample).take(task.len());
                    drawn.extend(indices.map(|index| task[index as usize]));
                }
                of_scores(shape, drawn)
            },
        )
        .collect();
    replicates.sort_unstable_by(f64::total_cmp);
    let [low, high] = tails(level).map(|p| describe::quantile_sorted(&replicates, p).unwrap_or(f64::NAN));
    let se = describe::standard_deviation(&replicates).unwrap_or(f64::NAN);
    Ok(StratifiedInterval { estimate, low, high, se, n, flags })
}

/// The tasks with scores, each ascending, in an order that follows from the scores alone.
fn canonical(tasks: Samples<'_>) -> Vec<Vec<f64>> {
    let mut sorted: Vec<Vec<f64>> = tasks
        .offsets
        .windows(2)
        .map(|ends| &tasks.values[ends[0] as usize..ends[1] as usize])
        .filter(|scores| !scores.is_empty())
        .map(|scores| {
            // Adding zero turns -0 into +0 and changes nothing else.
            let mut scores: Vec<f64> = scores.iter().map(|score| score + 0.0).collect();
            scores.sort_unstable_by(f64::total_cmp);
            scores
        })
        .collect();
    sorted.sort_by(|a, b| {
        let by_scores = || a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
        a.len().cmp(&b.len()).then_with(|| by_scores().unwrap_or(std::cmp::Ordering::Equal))
    });
    sorted
}

/// The statistic of scores in any order, which are sorted on the way; NaN without scores.
fn of_scores(shape: Shape, scores: &mut [f64]) -> f64 {
    scores.sort_unstable_by(f64::total_cmp);
    let value = match shape {
        Shape::Mean => describe::mean(scores),
        Shape::Trimmed(fraction) => describe::mean(&scores[describe::kept_ranks(scores.len(), fraction)]),
        Shape::Quantile(probability) => describe::quantile_sorted(scores, probability),
    };
    value.unwrap_or(f64::NAN)
}
