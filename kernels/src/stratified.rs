//! The bootstrap of a statistic over several tasks: runs are resampled within each task, and the statistic is that of
//! all scores together (Agarwal et al. 2021).

use crate::cpu::improvement::over_tasks;
use crate::error::KernelError;
use crate::plan::check;
use crate::request::{BootstrapRequest, Flags, Method, Samples, Statistic};
use crate::structured::{Structure, StructuredRequest, structured_bootstrap};

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
    let all = [0, tasks.values.len() as u32];
    let samples = Samples { values: tasks.values, offsets: &all };
    let structure = Structure::Strata(tasks.offsets);
    let structured = StructuredRequest::new(samples, structure, statistic);
    let out = structured_bootstrap(&StructuredRequest { level, resamples, seed, ..structured })?;
    Ok(StratifiedInterval {
        estimate: out.estimate[0],
        low: out.low[0],
        high: out.high[0],
        se: out.se[0],
        n: tasks.values.len(),
        flags: out.flags[0],
    })
}

/// A percentile bootstrap of the probability that one set of runs beats another, averaged over tasks.
#[derive(Debug, Clone, Copy)]
pub struct StratifiedImprovement<'a> {
    /// The scores that should be higher: one group a task.
    pub first: Samples<'a>,
    /// The scores to beat, task by task.
    pub second: Samples<'a>,
    /// Confidence level of the two-sided interval, strictly between 0 and 1.
    pub level: f64,
    /// Number of resamples.
    pub resamples: u32,
    /// Seed of the generator.
    pub seed: u64,
}

/// The mean over tasks of P(first > second), ties counting half (Agarwal et al. 2021), with its percentile interval:
/// both sides are resampled within each task. Runs on the CPU, with the threads of the caller's pool; the answer does
/// not depend on their number, nor on the order of tasks and scores.
///
/// # Errors
/// [`KernelError::Invalid`] when the request is malformed or a value is not finite.
///
/// ```
/// use kernels::{Samples, StratifiedImprovement, stratified_improvement};
/// let first = Samples { values: &[0.5, 0.6, 0.4, 0.9, 0.8, 0.7], offsets: &[0, 3, 6] };
/// let second = Samples { values: &[0.4, 0.5, 0.3, 0.9, 0.6, 0.7], offsets: &[0, 3, 6] };
/// let request = StratifiedImprovement { first, second, level: 0.95, resamples: 2_000, seed: 1 };
/// let out = stratified_improvement(&request)?;
/// assert!(out.low < out.estimate && out.estimate < out.high);
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn stratified_improvement(
    request: &StratifiedImprovement<'_>,
) -> Result<StratifiedInterval, KernelError> {
    let StratifiedImprovement { first, second, level, resamples, seed } = *request;
    let statistic = Statistic::ProbabilityOfImprovement;
    let plain = BootstrapRequest::two_samples(first, second, statistic)
        .method(Method::Percentile)
        .level(level)
        .resamples(resamples)
        .seed(seed);
    check(&plain)?;
    let n = first.values.len() + second.values.len();
    let interval = over_tasks(&plain);
    Ok(StratifiedInterval {
        estimate: interval.estimate,
        low: interval.low,
        high: interval.high,
        se: interval.se,
        n,
        flags: interval.flags,
    })
}
