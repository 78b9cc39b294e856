//! Per-example scores of evaluations: examples that share a passage, a template or a repository are one cluster.
//!
//! What follows is about the checkpoints that were scored, not about the recipe that made them (Miller 2024).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::correlation::Products;
use crate::describe::check_level;
use crate::distributions::{normal_quantile, student_t_sf};
use crate::error::{AnalysisError, Result};
use crate::moments::{Compensated, Moments};
use crate::p_value::PValue;
use crate::t_test::{Alternative, TTest};

/// Fewest clusters from which a verdict is drawn.
pub const CLUSTERS_MIN: usize = 5;

/// A mean over examples with the error of its clusters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClusteredMean {
    /// Mean of the scores.
    pub mean: f64,
    /// Standard error as if every example stood alone: too small when clusters agree in themselves.
    pub independent_error: f64,
    /// sqrt(sum over clusters of (sum of residuals)^2) / n.
    pub cluster_error: f64,
    /// The same times sqrt(G / (G - 1)): the error to use, with G - 1 degrees of freedom.
    pub standard_error: f64,
    /// Examples.
    pub examples: usize,
    /// Clusters, G.
    pub clusters: usize,
    /// Enough clusters for a verdict, [`CLUSTERS_MIN`].
    pub enough_clusters: bool,
}

impl ClusteredMean {
    /// The t interval of the mean.
    ///
    /// # Errors
    /// `probability_out_of_range`, `zero_variance` (no spread between clusters).
    pub fn interval(&self, level: f64) -> Result<[f64; 2]> {
        check_level(level)?;
        self.test()?.interval(level, Alternative::TwoSided)
    }

    /// The t test of the mean against a reference.
    ///
    /// # Errors
    /// `zero_variance` (no spread between clusters).
    pub fn test(&self) -> Result<TTest> {
        if self.standard_error == 0.0 {
            return Err(AnalysisError::ZeroVariance { difference: self.mean });
        }
        Ok(TTest {
            difference: self.mean,
            standard_error: self.standard_error,
            degrees_of_freedom: (self.clusters - 1) as f64,
            one_sample_constant: false,
        })
    }

    /// P(a mean at least as far from 0).
    ///
    /// # Errors
    /// `zero_variance` (no spread between clusters).
    pub fn p_two_sided(&self) -> Result<PValue> {
        let test = self.test()?;
        Ok(PValue::new(2.0 * student_t_sf(test.statistic().abs(), test.degrees_of_freedom)))
    }
}

/// The mean of per-example scores with clustered standard error. `clusters` names the cluster of each example; give
/// every example its own number when they stand alone.
///
/// # Errors
/// `pairing_mismatch` (lengths differ), `nonfinite_value`, `too_few_runs` (fewer than two clusters).
///
/// # Examples
/// ```
/// let scores = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0];
/// let found = analysis::clustered_mean(&scores, &[0, 0, 1, 1, 2, 2])?;
/// assert_eq!((found.mean, found.clusters), (0.5, 3));
/// assert!(found.standard_error > found.independent_error);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn clustered_mean(scores: &[f64], clusters: &[u64]) -> Result<ClusteredMean> {
    let members = by_cluster(scores, clusters)?;
    let n = scores.len() as f64;
    let moments = Moments::of(&members.values().flatten().copied().collect::<Vec<_>>());
    let mean = moments.mean().unwrap_or(0.0);
    let mut squares = Compensated::default();
    for cluster in members.values() {
        let mut sum = Compensated::default();
        cluster.iter().for_each(|score| sum.add(score - mean));
        squares.add(sum.value() * sum.value());
    }
    let cluster_error = if moments.is_constant() { 0.0 } else { squares.value().sqrt() / n };
    let count = members.len() as f64;
    Ok(ClusteredMean {
        mean,
        independent_error: moments.standard_error().unwrap_or(0.0),
        cluster_error,
        standard_error: cluster_error * (count / (count - 1.0)).sqrt(),
        examples: scores.len(),
        clusters: members.len(),
        enough_clusters: members.len() >= CLUSTERS_MIN,
    })
}

/// The scores of each cluster in ascending order.
fn by_cluster(scores: &[f64], clusters: &[u64]) -> Result<BTreeMap<u64, Vec<f64>>> {
    if scores.len() != clusters.len() {
        let detail = format!("{} scores, {} names of clusters", scores.len(), clusters.len());
        return Err(AnalysisError::PairingMismatch { detail });
    }
    let count = scores.iter().filter(|score| !score.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the scores".into(), count });
    }
    let mut members: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (score, cluster) in scores.iter().zip(clusters) {
        members.entry(*cluster).or_default().push(*score);
    }
    if members.len() < 2 {
        let sample = "the clusters".into();
        return Err(AnalysisError::TooFewRuns { sample, have: members.len(), need: 2 });
    }
    members.values_mut().for_each(|cluster| cluster.sort_by(f64::total_cmp));
    Ok(members)
}

/// Two checkpoints on the same examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedScores {
    /// The baseline.
    pub baseline: ClusteredMean,
    /// The candidate.
    pub candidate: ClusteredMean,
    /// Candidate less baseline, example by example: what a verdict is drawn from.
    pub difference: ClusteredMean,
    /// Correlation of the two scores of an example; `None` when one is constant. It is what pairing gains.
    pub correlation: Option<f64>,
    /// Standard error of the difference as if the examples were not the same.
    pub unpaired_error: f64,
    /// How alike the differences within a cluster are (analysis of variance, Donner 1986); `None` when every cluster
    /// holds one example.
    pub intraclass_correlation: Option<f64>,
}

impl PairedScores {
    /// Examples needed to see a true difference of `delta`, two-sided, if they stood alone.
    ///
    /// # Errors
    /// `effect_is_zero`, `alpha_out_of_range`, `probability_out_of_range`.
    pub fn examples_needed(&self, delta: f64, alpha: f64, wanted: f64) -> Result<f64> {
        crate::power::check_wanted(delta, wanted)?;
        let reach = z_sum(alpha, wanted)? * self.difference.independent_error / delta;
        Ok((reach * reach * self.difference.examples as f64).ceil())
    }

    /// The smallest true difference that these examples show with the wanted power, two-sided, if they stood alone.
    ///
    /// # Errors
    /// `alpha_out_of_range`, `probability_out_of_range`.
    pub fn detectable(&self, alpha: f64, wanted: f64) -> Result<f64> {
        crate::power::check_wanted(1.0, wanted)?;
        Ok(z_sum(alpha, wanted)? * self.difference.independent_error)
    }
}

fn z_sum(alpha: f64, wanted: f64) -> Result<f64> {
    crate::power::check_alpha(alpha)?;
    Ok(normal_quantile(1.0 - 0.5 * alpha) + normal_quantile(wanted))
}

/// Compares the scores of two checkpoints on the same examples, clustered.
///
/// # Errors
/// As [`clustered_mean`].
pub fn paired_scores(baseline: &[f64], candidate: &[f64], clusters: &[u64]) -> Result<PairedScores> {
    if baseline.len() != candidate.len() {
        let detail = format!("{} scores against {}", candidate.len(), baseline.len());
        return Err(AnalysisError::PairingMismatch { detail });
    }
    let differences: Vec<f64> = candidate.iter().zip(baseline).map(|(c, b)| c - b).collect();
    let (before, after) = (clustered_mean(baseline, clusters)?, clustered_mean(candidate, clusters)?);
    Ok(PairedScores {
        baseline: before,
        candidate: after,
        difference: clustered_mean(&differences, clusters)?,
        correlation: Products::of_finite(baseline, candidate).correlation().ok(),
        unpaired_error: before.independent_error.hypot(after.independent_error),
        intraclass_correlation: intraclass_correlation(&by_cluster(&differences, clusters)?),
    })
}

fn intraclass_correlation(members: &BTreeMap<u64, Vec<f64>>) -> Option<f64> {
    let all: Vec<f64> = members.values().flatten().copied().collect();
    let (n, groups) = (all.len() as f64, members.len() as f64);
    if all.len() == members.len() {
        return None;
    }
    let center = Moments::of(&all).mean()?;
    let (mut between, mut within, mut sizes) = (0.0, 0.0, 0.0);
    for cluster in members.values() {
        let mean = Moments::of(cluster).mean()?;
        between += cluster.len() as f64 * (mean - center) * (mean - center);
        within += cluster.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
        sizes += (cluster.len() * cluster.len()) as f64;
    }
    let (between, within) = (between / (groups - 1.0), within / (n - groups));
    let typical = (n - sizes / n) / (groups - 1.0);
    let total = between + (typical - 1.0) * within;
    (total != 0.0).then(|| (between - within) / total)
}

/// Questions that were answered several times each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ResampledScores {
    /// Mean of the means of the questions.
    pub mean: f64,
    /// Its standard error, from the means of the questions.
    pub standard_error: f64,
    /// Variance between answers to one question.
    pub within_variance: f64,
    /// Variance between questions without that of the answers; not below 0.
    pub between_variance: f64,
    /// The standard error that endless answers to these questions would leave.
    pub standard_error_limit: f64,
    /// Standard error as if every answer were a question of its own: too small.
    pub pooled_error: f64,
}

/// The mean over questions that were answered equally often, with the part of its error that more answers could
/// remove.
///
/// # Errors
/// `too_few_runs` (fewer than two questions or answers), `pairing_mismatch` (questions answered unequally often),
/// `nonfinite_value`.
pub fn resampled_scores(questions: &[&[f64]]) -> Result<ResampledScores> {
    let answers = questions.first().map_or(0, |question| question.len());
    for (sample, have) in [("the questions", questions.len()), ("the answers to a question", answers)] {
        if have < 2 {
            return Err(AnalysisError::TooFewRuns { sample: sample.into(), have, need: 2 });
        }
    }
    if let Some(question) = questions.iter().find(|question| question.len() != answers) {
        let detail = format!("one question has {} answers, another {answers}", question.len());
        return Err(AnalysisError::PairingMismatch { detail });
    }
    let all: Vec<f64> = questions.iter().flat_map(|question| question.iter().copied()).collect();
    let count = all.iter().filter(|score| !score.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the scores".into(), count });
    }
    let (mut means, mut variances) = (Vec::new(), Vec::new());
    for question in questions {
        let moments = Moments::of(question);
        means.extend(moments.mean());
        variances.extend(moments.variance());
    }
    let of_means = Moments::of(&means);
    let (spread, n) = (of_means.variance().unwrap_or(0.0), questions.len() as f64);
    let within_variance = Moments::of(&variances).mean().unwrap_or(0.0);
    let between_variance = (spread - within_variance / answers as f64).max(0.0);
    Ok(ResampledScores {
        mean: of_means.mean().unwrap_or(0.0),
        standard_error: (spread / n).sqrt(),
        within_variance,
        between_variance,
        standard_error_limit: (between_variance / n).sqrt(),
        pooled_error: Moments::of(&all).standard_error().unwrap_or(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_an_example_add_nothing() {
        let scores = [1.0, 0.0, 1.0, 1.0, 0.0];
        let own: Vec<u64> = (0..5).collect();
        let plain = clustered_mean(&scores, &own).unwrap();
        let twice: Vec<f64> = scores.iter().flat_map(|s| [*s; 2]).collect();
        let clusters: Vec<u64> = own.iter().flat_map(|c| [*c; 2]).collect();
        let copied = clustered_mean(&twice, &clusters).unwrap();
        assert!((copied.standard_error - plain.standard_error).abs() < 1e-15);
        assert!((plain.standard_error - plain.independent_error).abs() < 1e-15);
        assert!(copied.independent_error < 0.9 * copied.standard_error);
    }

    #[test]
    fn the_order_of_examples_does_not_matter() {
        let (scores, clusters) = ([0.1, 0.7, 0.3, 0.9], [7, 2, 7, 2]);
        let turned = clustered_mean(&[0.9, 0.3, 0.7, 0.1], &[2, 7, 2, 7]).unwrap();
        assert_eq!(clustered_mean(&scores, &clusters).unwrap(), turned);
    }

    #[test]
    fn few_clusters_and_no_spread_are_said() {
        assert_eq!(clustered_mean(&[1.0, 0.0], &[3, 3]).unwrap_err().code(), "too_few_runs");
        assert_eq!(clustered_mean(&[1.0, 0.0], &[3]).unwrap_err().code(), "pairing_mismatch");
        let constant = clustered_mean(&[0.1; 6], &[0, 0, 1, 1, 2, 2]).unwrap();
        assert_eq!((constant.standard_error, constant.enough_clusters), (0.0, false));
        assert_eq!(constant.interval(0.95).unwrap_err().code(), "zero_variance");
        let uneven: [&[f64]; 2] = [&[1.0, 0.0], &[1.0]];
        assert_eq!(resampled_scores(&uneven).unwrap_err().code(), "pairing_mismatch");
    }
}
