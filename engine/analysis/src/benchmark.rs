//! One number, or one curve, for many tasks × seeds (Agarwal et al. 2021): scores of several runs on each task.

use serde::Serialize;

use crate::describe::{interquartile_mean, quantile};
use crate::effect_size::Superiority;
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;

/// The scores of each task, one list of runs a task. Runs of different tasks need not match.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskScores {
    tasks: Vec<Vec<f64>>,
}

/// Aggregates over tasks and runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BenchmarkAggregates {
    /// Mean over tasks of the mean over runs.
    pub mean: f64,
    /// Median over tasks of the mean over runs.
    pub median: f64,
    /// Interquartile mean of all scores: a quarter of them, rounded down, cut off each end.
    pub iqm: f64,
    /// gamma less the mean of the scores, those above gamma counted as gamma.
    pub optimality_gap: f64,
    /// Tasks.
    pub tasks: usize,
    /// Runs of the task that has fewest.
    pub runs_min: usize,
    /// Fewer than ten runs of a task: bootstrap intervals of these numbers cover too little.
    pub bootstrap_undercovers: bool,
}

impl TaskScores {
    /// The scores of each task.
    ///
    /// # Errors
    /// `empty_sample` (no task, or a task without a run), `nonfinite_value`.
    pub fn new(tasks: &[&[f64]]) -> Result<Self> {
        if tasks.is_empty() {
            return Err(AnalysisError::EmptySample { sample: "the set of tasks".into() });
        }
        let sorted = |task: &&[f64]| crate::describe::finite_sample("a task", task, 1);
        Ok(Self { tasks: tasks.iter().map(sorted).collect::<Result<_>>()? })
    }

    /// The aggregates; `gamma` is the score that would be good enough, 1 for normalized ones.
    ///
    /// # Examples
    /// ```
    /// let scores = analysis::TaskScores::new(&[&[0.5, 0.7, 0.6], &[0.9, 1.1, 1.0]])?;
    /// let aggregates = scores.aggregates(1.0)?;
    /// assert!((aggregates.iqm - 0.8).abs() < 1e-12 && aggregates.bootstrap_undercovers);
    /// # Ok::<(), analysis::AnalysisError>(())
    /// ```
    ///
    /// # Errors
    /// `nonfinite_value` (gamma).
    pub fn aggregates(&self, gamma: f64) -> Result<BenchmarkAggregates> {
        if !gamma.is_finite() {
            return Err(AnalysisError::NonfiniteValue { sample: "gamma".into(), count: 1 });
        }
        let means = self.task_means();
        let all: Vec<f64> = self.tasks.iter().flatten().copied().collect();
        let capped: Vec<f64> = all.iter().map(|score| score.min(gamma)).collect();
        let runs_min = self.tasks.iter().map(Vec::len).min().unwrap_or(0);
        Ok(BenchmarkAggregates {
            mean: Moments::of(&means).mean().unwrap_or(f64::NAN),
            median: quantile(&means, 0.5)?,
            iqm: interquartile_mean(&all)?,
            optimality_gap: gamma - Moments::of(&capped).mean().unwrap_or(f64::NAN),
            tasks: self.tasks.len(),
            runs_min,
            bootstrap_undercovers: runs_min < 10,
        })
    }

    fn task_means(&self) -> Vec<f64> {
        self.tasks.iter().filter_map(|task| Moments::of(task).mean()).collect()
    }

    /// The performance profile: for each threshold the share of all scores above it, tasks weighing alike.
    pub fn profile(&self, thresholds: &[f64]) -> Vec<f64> {
        let above = |tau: f64, scores: &[f64]| {
            scores.iter().filter(|score| **score > tau).count() as f64 / scores.len() as f64
        };
        let share = |&tau: &f64| {
            self.tasks.iter().map(|task| above(tau, task)).sum::<f64>() / self.tasks.len() as f64
        };
        thresholds.iter().map(share).collect()
    }

    /// The profile of the means: for each threshold the share of tasks whose mean score is above it.
    pub fn mean_profile(&self, thresholds: &[f64]) -> Vec<f64> {
        let means = self.task_means();
        let share = |tau: &f64| means.iter().filter(|mean| *mean > tau).count() as f64 / means.len() as f64;
        thresholds.iter().map(share).collect()
    }

    /// The probability of improvement over `other`: the mean over tasks of P(a run of ours is better than one of
    /// theirs), ties half. Its interval is [`kernels::stratified_improvement`].
    ///
    /// # Errors
    /// `pairing_mismatch` unless both have the same number of tasks, in one order.
    pub fn probability_of_improvement(&self, other: &Self) -> Result<f64> {
        if self.tasks.len() != other.tasks.len() {
            let detail = format!("{} tasks against {}", self.tasks.len(), other.tasks.len());
            return Err(AnalysisError::PairingMismatch { detail });
        }
        let wins = self.tasks.iter().zip(&other.tasks).map(|(a, b)| Superiority::of(a, b).a12);
        Ok(wins.sum::<f64>() / self.tasks.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_falls_from_one_to_zero() {
        let scores = TaskScores::new(&[&[0.1, 0.9], &[0.5, 0.6]]).unwrap();
        assert_eq!(scores.profile(&[0.0, 0.55, 0.9]), [1.0, 0.5, 0.0]);
        assert_eq!(scores.mean_profile(&[0.0, 0.52, 0.9]), [1.0, 0.5, 0.0]);
        assert_eq!(scores.probability_of_improvement(&scores).unwrap(), 0.5);
    }

    #[test]
    fn tasks_without_runs_are_refused() {
        assert_eq!(TaskScores::new(&[]).unwrap_err().code(), "empty_sample");
        assert_eq!(TaskScores::new(&[&[1.0], &[]]).unwrap_err().code(), "empty_sample");
        assert_eq!(TaskScores::new(&[&[f64::NAN]]).unwrap_err().code(), "nonfinite_value");
        let one = TaskScores::new(&[&[1.0]]).unwrap();
        let two = TaskScores::new(&[&[1.0], &[2.0]]).unwrap();
        assert_eq!(one.probability_of_improvement(&two).unwrap_err().code(), "pairing_mismatch");
        assert_eq!(one.aggregates(f64::NAN).unwrap_err().code(), "nonfinite_value");
    }
}
