//! How many clusters: inertia and silhouette over a range of k, the elbow, and the gap statistic.

use crate::cluster::features::Features;
use crate::cluster::kmeans::{KmeansRequest, kmeans};
use crate::cluster::quality::silhouette;
use crate::cpu::simd::Simd;
use crate::error::KernelError;
use crate::rng::{Stream, Tag, uniform, words64};

/// A search for the number of clusters, see [`choose_k`].
#[derive(Debug, Clone, Copy)]
pub struct ChoiceRequest<'a> {
    /// Everything but `k`.
    pub kmeans: KmeansRequest<'a>,
    /// The largest number of clusters to try, from 1.
    pub k_max: usize,
    /// Uniform reference data sets of the gap statistic; 0 leaves it out.
    pub references: u32,
}

/// One number of clusters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The number of clusters.
    pub k: usize,
    /// Sum of squared distances to the centroids.
    pub inertia: f64,
    /// Mean silhouette; NaN for one cluster and for as many clusters as rows.
    pub silhouette: f64,
    /// Whether the silhouette was estimated from a sample of rows.
    pub silhouette_sampled: bool,
    /// Gap statistic; NaN without references or without inertia.
    pub gap: f64,
    /// Its standard error, with the factor for simulation.
    pub gap_error: f64,
    /// Mean adjusted Rand index of restarts against the best one.
    pub stability: f64,
}

/// The answer to a [`ChoiceRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// One element per k from 1, fewer where there are not so many different rows.
    pub candidates: Vec<Candidate>,
    /// The k farthest below the straight line from the first to the last inertia (Satopaa et al. 2011).
    pub by_elbow: Option<usize>,
    /// The k with the largest silhouette, the smallest of equals.
    pub by_silhouette: Option<usize>,
    /// The smallest k whose gap is at least the next gap less its error (Tibshirani, Walther & Hastie 2001).
    pub by_gap: Option<usize>,
}

/// Runs k-means for each k up to `k_max` and says what three rules of thumb choose. Runs on the CPU.
///
/// # Errors
/// As for [`crate::Backend::kmeans`].
pub fn choose_k(request: &ChoiceRequest<'_>) -> Result<Choice, KernelError> {
    let simd = Simd::detect();
    let features = request.kmeans.features;
    let seed = request.kmeans.seed;
    let rows = features.rows();
    KmeansRequest { k: request.k_max, ..request.kmeans }.check()?;
    let references: Vec<Vec<f64>> = if request.references == 0 {
        Vec::new()
    } else {
        features.check()?;
        (0..request.references).map(|number| reference(features, seed, number)).collect()
    };
    let mut candidates = Vec::new();
    for k in 1..=request.k_max {
        let found = kmeans(simd, &KmeansRequest { k, ..request.kmeans })?;
        if found.clusters < k {
            break;
        }
        let labels: Vec<i32> = found.labels.iter().map(|&label| label as i32).collect();
        let fit = if k >= 2 && k < rows { Some(silhouette(features, &labels, seed)?) } else { None };
        let mut logs = Vec::new();
        for reference in &references {
            let features = Features { values: reference, columns: features.columns };
            logs.push(kmeans(simd, &KmeansRequest { features, k, ..request.kmeans })?.inertia.ln());
        }
        let count = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / count;
        let variance = logs.iter().map(|log| (log - mean) * (log - mean)).sum::<f64>() / count;
        candidates.push(Candidate {
            k,
            inertia: found.inertia,
            silhouette: fit.as_ref().map_or(f64::NAN, |fit| fit.mean),
            silhouette_sampled: fit.is_some_and(|fit| fit.sampled),
            gap: if found.inertia > 0.0 { mean - found.inertia.ln() } else { f64::NAN },
            gap_error: (variance * (1.0 + 1.0 / count)).sqrt(),
            stability: found.stability,
        });
    }
    let by_elbow = elbow(&candidates.iter().map(|candidate| candidate.inertia).collect::<Vec<f64>>());
    let best = candidates.iter().filter(|candidate| !candidate.silhouette.is_nan());
    let best = best.reduce(|best, next| if next.silhouette > best.silhouette { next } else { best });
    let by_gap = candidates.windows(2).find(|pair| pair[0].gap >= pair[1].gap - pair[1].gap_error);
    Ok(Choice {
        by_elbow: by_elbow.map(|position| candidates[position].k),
        by_silhouette: best.map(|candidate| candidate.k),
        by_gap: by_gap.map(|pair| pair[0].k),
        candidates,
    })
}

/// The position of a falling curve that lies farthest below the straight line between its ends, both axes scaled to
/// `[0, 1]`; `None` for fewer than three positions or a curve that does not fall.
///
/// ```
/// assert_eq!(kernels::cluster::elbow(&[100.0, 60.0, 20.0, 18.0, 16.0]), Some(2));
/// ```
pub fn elbow(curve: &[f64]) -> Option<usize> {
    let (first, last) = (*curve.first()?, *curve.last()?);
    let below = |position: usize| {
        let along = position as f64 / (curve.len() - 1) as f64;
        1.0 - along - (curve[position] - last) / (first - last)
    };
    let falls = curve.len() >= 3 && first > last;
    let best = (1..curve.len().saturating_sub(1)).filter(|_| falls);
    let best = best.reduce(|best, next| if below(next) > below(best) { next } else { best })?;
    (below(best) > 0.0).then_some(best)
}

/// Rows drawn uniformly from the box that holds all rows.
fn reference(features: Features<'_>, seed: u64, number: u32) -> Vec<f64> {
    let columns = features.columns;
    let mut low = vec![f64::INFINITY; columns];
    let mut high = vec![f64::NEG_INFINITY; columns];
    for row in features.values.chunks_exact(columns) {
        for ((low, high), value) in low.iter_mut().zip(&mut high).zip(row) {
            *low = low.min(*value);
            *high = high.max(*value);
        }
    }
    let stream = Stream { seed, stream: 0, tag: Tag::Other, sub: 1 };
    let words = (0u32..).flat_map(|block| words64(stream.block(block, number)));
    let positions = (0..features.values.len()).map(|position| position % columns);
    positions
        .zip(words)
        .map(|(column, word)| low[column] + uniform(word) * (high[column] - low[column]))
        .collect()
}

impl<'a> ChoiceRequest<'a> {
    /// A search up to `k_max` with the defaults of [`KmeansRequest::new`] and 10 references.
    pub fn new(features: Features<'a>, k_max: usize) -> Self {
        Self { kmeans: KmeansRequest::new(features, k_max), k_max, references: 10 }
    }
}
