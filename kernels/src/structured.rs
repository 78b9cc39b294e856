//! The bootstrap of values that depend on each other: runs of several tasks (strata), values that come in clusters,
//! and points of a curve (blocks).
//!
//! What is exchangeable is resampled: values within each stratum (Agarwal et al. 2021), whole clusters (Davison &
//! Hinkley 1997, section 3.8), or blocks of neighbouring points (Künsch 1989; Politis & Romano 1992).

pub(crate) mod blocks;
pub(crate) mod layout;
pub(crate) mod target;

pub use blocks::block_length;

use crate::cpu::structured as cpu;
use crate::error::{Invalid, KernelError};
use crate::plan::{Form, Shape, check};
use crate::request::{BootstrapOutput, BootstrapRequest, Method, Samples, Statistic};
use crate::structured::target::Kind;

/// What the values of a group have in common.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Structure<'a> {
    /// Strata, such as tasks: where each begins in the values, and the number of values last. They lie inside of
    /// groups, so that every group offset is among them. Values are resampled within their stratum, and the
    /// statistic is that of all values of the group together. The order of strata does not matter.
    Strata(&'a [u32]),
    /// Clusters, in the same form. Whole clusters are resampled, as many as there are.
    Clusters(&'a [u32]),
    /// The values of a group are a series in order. Blocks of neighbours are drawn and joined to the length of the
    /// series.
    Blocks {
        /// Length of a block.
        length: BlockLength,
        /// Where blocks may begin.
        scheme: BlockScheme,
    },
}

/// Length of the blocks of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockLength {
    /// This many points.
    Points(u32),
    /// By the rule of Politis & White 2004, from the autocorrelation of each series; see [`block_length`].
    Automatic,
}

/// Where the blocks of a series may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockScheme {
    /// At every point that leaves room for a whole block (Künsch 1989).
    Moving,
    /// At every point: the series is closed to a circle (Politis & Romano 1992), so that all points count equally.
    Circular,
}

/// Bootstrap intervals of groups whose values depend on each other.
#[derive(Debug, Clone, Copy)]
pub struct StructuredRequest<'a> {
    /// The values of all groups.
    pub samples: Samples<'a>,
    /// What the values of a group have in common.
    pub structure: Structure<'a>,
    /// A statistic of one sample.
    pub statistic: Statistic,
    /// Percentile or basic; BCa for strata of anything but quantiles, and for clusters of sums, means, variances
    /// and standard deviations.
    pub method: Method,
    /// Confidence level of the two-sided interval, strictly between 0 and 1.
    pub level: f64,
    /// Number of resamples.
    pub resamples: u32,
    /// Seed of the generator.
    pub seed: u64,
}

impl<'a> StructuredRequest<'a> {
    /// A request with the defaults: percentile intervals, level 0.95, 9,999 resamples, seed 0.
    pub fn new(samples: Samples<'a>, structure: Structure<'a>, statistic: Statistic) -> Self {
        let method = Method::Percentile;
        Self { samples, structure, statistic, method, level: 0.95, resamples: 9_999, seed: 0 }
    }
}

/// Bootstrap intervals of groups whose values depend on each other. Runs on the CPU, with the threads of the
/// caller's pool; the answer does not depend on their number.
///
/// # Errors
/// [`KernelError::Invalid`] when the request is malformed or a value is not finite,
/// [`KernelError::Unsupported`] for a statistic of two samples or a method without a sound answer.
///
/// ```
/// use kernels::{Samples, Statistic, Structure, StructuredRequest, structured_bootstrap};
///
/// // Two tasks of three runs each.
/// let samples = Samples { values: &[0.5, 0.6, 0.4, 0.9, 0.8, 0.7], offsets: &[0, 6] };
/// let request = StructuredRequest::new(samples, Structure::Strata(&[0, 3, 6]), Statistic::Mean);
/// let out = structured_bootstrap(&request)?;
/// assert!(out.low[0] < 0.65 && 0.65 < out.high[0]);
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn structured_bootstrap(request: &StructuredRequest<'_>) -> Result<BootstrapOutput, KernelError> {
    let kind = check_request(request)?;
    Ok(cpu::run(request, kind))
}

/// Checks a request and says how its statistic is computed.
fn check_request(request: &StructuredRequest<'_>) -> Result<Kind, KernelError> {
    let StructuredRequest { samples, structure, statistic, method, level, resamples, seed } = *request;
    let unsupported =
        |advice| Err(KernelError::Unsupported { method: method.name(), statistic: statistic.name(), advice });
    if statistic.has_second_sample() {
        return unsupported("values with a structure are one sample; ask for the mean of paired differences");
    }
    let plain = BootstrapRequest::new(samples, statistic).level(level).resamples(resamples).seed(seed);
    let form = check(&plain.method(method))?;
    let kind = match (statistic, form) {
        (Statistic::Sum, _) => Kind::Sum,
        (Statistic::Variance, _) => Kind::Variance,
        (Statistic::StandardDeviation, _) => Kind::Deviation,
        (_, Form::Linear(Shape::Trimmed(fraction))) => Kind::Trimmed(fraction),
        (_, Form::Linear(Shape::Quantile(probability))) => Kind::Quantile(probability),
        _ => Kind::Mean,
    };
    match (structure, method) {
        (_, Method::Studentized) => return unsupported("ask for percentile, or BCa of strata or clusters"),
        (Structure::Blocks { .. }, Method::Bca) => return unsupported("ask for percentile or basic"),
        (Structure::Clusters(_), Method::Bca) if matches!(kind, Kind::Trimmed(_)) => {
            return unsupported("leaving clusters out one by one costs too much here; ask for percentile");
        }
        _ => {}
    }
    match structure {
        Structure::Strata(cuts) => check_cuts("strata", cuts, samples)?,
        Structure::Clusters(cuts) => check_cuts("clusters", cuts, samples)?,
        Structure::Blocks { length: BlockLength::Points(0), .. } => return Err(Invalid::BlockLength.into()),
        Structure::Blocks { .. } => {}
    }
    Ok(kind)
}

fn check_cuts(sample: &'static str, cuts: &[u32], samples: Samples<'_>) -> Result<(), Invalid> {
    let (Some(&start), Some(&end)) = (cuts.first(), cuts.last()) else {
        return Err(Invalid::OffsetsEmpty { sample });
    };
    if start != 0 {
        return Err(Invalid::OffsetsStart { sample, start });
    }
    if let Some(group) = cuts.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(Invalid::OffsetsFall { sample, group, from: cuts[group], to: cuts[group + 1] });
    }
    if end as usize != samples.values.len() {
        return Err(Invalid::OffsetsEnd { sample, end, values: samples.values.len() });
    }
    match samples.offsets.iter().position(|offset| cuts.binary_search(offset).is_err()) {
        Some(group) => Err(Invalid::CutMissing { sample, group, start: samples.offsets[group] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_requests_are_refused_with_place_and_code() {
        let samples = Samples { values: &[1.0, 2.0, 3.0, 4.0], offsets: &[0, 2, 4] };
        let with = |structure, statistic| StructuredRequest::new(samples, structure, statistic);
        let blocks =
            |points| Structure::Blocks { length: BlockLength::Points(points), scheme: BlockScheme::Moving };
        let strata = |cuts| with(Structure::Strata(cuts), Statistic::Mean);
        let bca = |request| StructuredRequest { method: Method::Bca, ..request };
        let cases = [
            (strata(&[]), "bad_offsets", "strata is empty"),
            (strata(&[1, 4]), "bad_offsets", "starts at 1"),
            (strata(&[0, 3, 2, 4]), "bad_offsets", "falls from 3 to 2"),
            (strata(&[0, 2]), "bad_offsets", "ends at 2"),
            (strata(&[0, 1, 3, 4]), "bad_offsets", "group 1 starts at 2"),
            (with(blocks(0), Statistic::Mean), "bad_block_length", "at least one point"),
            (with(blocks(2), Statistic::MeanRatio), "unsupported_method", "one sample"),
            (bca(with(blocks(2), Statistic::Mean)), "unsupported_method", "percentile"),
            (bca(with(Structure::Clusters(&[0, 2, 4]), Statistic::Iqm)), "unsupported_method", "percentile"),
            (
                StructuredRequest { method: Method::Studentized, ..strata(&[0, 2, 4]) },
                "unsupported_method",
                "BCa",
            ),
            (StructuredRequest { resamples: 0, ..strata(&[0, 2, 4]) }, "resamples_out_of_range", "got 0"),
        ];
        for (request, code, text) in cases {
            let error = structured_bootstrap(&request).expect_err("the request is invalid");
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(text), "{error:?} reads: {error}");
        }
    }
}
