//! Requests and answers of permutation tests, the same for every backend.
//!
//! A permutation test asks how often a relabelling of the data looks at least as extreme as the labels that
//! were observed (Fisher 1935, Pitman 1937). All relabellings are counted where that is possible; else random
//! ones are drawn, and then p = (hits + 1) / (draws + 1), which is never zero and never too small (Phipson &
//! Smyth 2010).

pub(crate) mod plan;
pub(crate) mod problem;

use crate::request::{Flags, Provenance, Samples, Streams};

/// What a relabelling exchanges. Each comparison gives one answer.
#[derive(Debug, Clone, Copy)]
pub enum Design<'a> {
    /// Two independent samples: group `g` of the samples against group `g` of this second one. Labels are
    /// exchanged among all values of both.
    TwoSamples(Samples<'a>),
    /// Two independent samples for each pair of groups, in the order given; [`all_pairs`] lists all of them.
    Pairs(&'a [[u32; 2]]),
    /// Paired differences, one group each: the signs are exchanged.
    Signs,
    /// Several independent samples: comparison `c` is among the groups `blocks[c]..blocks[c + 1]`. `blocks`
    /// has one element more than there are comparisons, starts at 0, never falls and ends at the number of
    /// groups.
    Several(&'a [u32]),
}

/// All pairs `[i, j]` of groups with `i < j`, for [`Design::Pairs`].
///
/// ```
/// assert_eq!(kernels::all_pairs(3), [[0, 1], [0, 2], [1, 2]]);
/// ```
pub fn all_pairs(groups: u32) -> Vec<[u32; 2]> {
    (0..groups).flat_map(|first| (first + 1..groups).map(move |second| [first, second])).collect()
}

/// The quantity that is compared between labellings. Large values speak for the first sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermutationStatistic {
    /// Mean of the first sample minus mean of the second; for [`Design::Signs`] the mean difference.
    MeanDifference,
    /// Welch's t: stays valid in large samples when the variances differ (Janssen 1997).
    WelchT,
    /// Mean of the first sample divided by the mean of the second. Its order among relabellings is that of the
    /// difference as long as no relabelling can change the sign of the denominator; where one can, there is no
    /// p-value ([`Flags::DENOMINATOR`]).
    MeanRatio,
    /// For two samples Mann and Whitney's U of the first (ties count half); for [`Design::Signs`] Wilcoxon's
    /// sum of the ranks of positive differences, zeros dropped.
    RankSum,
    /// Analysis of variance between several samples: F.
    AnovaF,
    /// Kruskal and Wallis' H of several samples, corrected for ties.
    KruskalWallis,
}

impl PermutationStatistic {
    /// The name used in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MeanDifference => "mean difference",
            Self::WelchT => "Welch t",
            Self::MeanRatio => "mean ratio",
            Self::RankSum => "rank sum",
            Self::AnovaF => "F",
            Self::KruskalWallis => "Kruskal-Wallis H",
        }
    }
}

/// Relabellings that are enumerated by default: 2^20.
pub const MAX_EXACT: u64 = 1 << 20;

/// Permutation tests of all groups of one query.
///
/// ```
/// use kernels::{Backend, CpuBackend, Design, PermutationRequest, PermutationStatistic, Samples};
///
/// let candidate = Samples { values: &[3.1, 3.3, 3.2], offsets: &[0, 3] };
/// let baseline = Samples { values: &[1.0, 1.2, 1.1], offsets: &[0, 3] };
/// let design = Design::TwoSamples(baseline);
/// let request = PermutationRequest::new(candidate, design, PermutationStatistic::MeanDifference);
/// let out = CpuBackend::new().permutation(&request)?;
/// assert_eq!((out.p_greater[0], out.relabellings[0]), (0.05, 20.0));
/// # Ok::<(), kernels::KernelError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PermutationRequest<'a> {
    /// The samples, or the differences of [`Design::Signs`].
    pub samples: Samples<'a>,
    /// What is exchanged.
    pub design: Design<'a>,
    /// What is compared.
    pub statistic: PermutationStatistic,
    /// Relabellings drawn where not all are counted.
    pub resamples: u32,
    /// Up to this many relabellings, all are counted; 0 always draws. See [`PermutationComputation`] for what
    /// else is counted at little cost.
    pub max_exact: u64,
    /// Seed of the generator.
    pub seed: u64,
    /// Shared or independent draws; one stream a comparison.
    pub streams: Streams<'a>,
}

impl<'a> PermutationRequest<'a> {
    /// A request with the defaults: 9,999 draws, [`MAX_EXACT`], seed 0, draws shared by comparisons of equal
    /// sizes.
    pub fn new(samples: Samples<'a>, design: Design<'a>, statistic: PermutationStatistic) -> Self {
        Self {
            samples,
            design,
            statistic,
            resamples: 9_999,
            max_exact: MAX_EXACT,
            seed: 0,
            streams: Streams::Shared,
        }
    }

    /// The same request with another number of draws.
    pub fn resamples(self, resamples: u32) -> Self {
        Self { resamples, ..self }
    }

    /// The same request with another limit of enumeration.
    pub fn max_exact(self, max_exact: u64) -> Self {
        Self { max_exact, ..self }
    }

    /// The same request with another seed.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same request with other streams.
    pub fn streams(self, streams: Streams<'a>) -> Self {
        Self { streams, ..self }
    }

    /// The number of comparisons (0 where `blocks` is empty, which validation refuses).
    pub fn comparisons(&self) -> usize {
        match self.design {
            Design::TwoSamples(_) | Design::Signs => self.samples.groups(),
            Design::Pairs(pairs) => pairs.len(),
            Design::Several(blocks) => blocks.len().saturating_sub(1),
        }
    }
}

/// How the p-values of a comparison were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermutationComputation {
    /// Nothing to compute: a sample is empty or too small, or the statistic is not defined.
    None,
    /// All relabellings were counted. Statistics that are a sum are counted from the sums of the two halves of
    /// the data (Horowitz & Sahni 1974), which is done up to 2^(N/2) = `max_exact / 32` sums: with the default
    /// for up to 30 values, far beyond `max_exact` relabellings.
    Enumeration,
    /// The exact distribution of a sum of integers, by dynamic programming (Streitberg & Röhmel 1986): ranks,
    /// counts and other values on a coarse grid.
    Distribution,
    /// Relabellings were drawn.
    Resampling,
}

impl PermutationComputation {
    /// Whether the p-values are those of all relabellings.
    pub fn is_exact(self) -> bool {
        matches!(self, Self::Enumeration | Self::Distribution)
    }
}

/// The tests of all comparisons, one element per comparison in each vector.
#[derive(Debug, Clone, PartialEq)]
pub struct PermutationOutput {
    /// The statistic of the observed labels; infinite for Welch's t of two constant samples that differ.
    pub statistic: Vec<f64>,
    /// P(statistic at least as large).
    pub p_greater: Vec<f64>,
    /// P(statistic at most as large).
    pub p_less: Vec<f64>,
    /// Twice the smaller one-sided p-value, at most 1. For F and H, which only grow with differences, the same
    /// as `p_greater`.
    pub p_two_sided: Vec<f64>,
    /// P(statistic at least as far from its centre as observed): zero for differences and t, the middle of all
    /// rank sums. For the ratio that of the difference behind it.
    pub p_absolute: Vec<f64>,
    /// The smallest one-sided p-value that data of this size can reach with this computation.
    pub p_minimum: Vec<f64>,
    /// Relabellings looked at: all of them, or the number drawn. Exact up to 2^53.
    pub relabellings: Vec<f64>,
    /// How the p-values were found.
    pub computation: Vec<PermutationComputation>,
    /// Number of values of the first sample (of all samples, for several).
    pub n: Vec<u32>,
    /// Number of values of the second sample, 0 without one.
    pub n_second: Vec<u32>,
    /// Remarks.
    pub flags: Vec<Flags>,
    /// Where this was computed.
    pub provenance: Provenance,
}
