//! Requests and answers of the bootstrap, the same for every backend.

use std::fmt;

use crate::error::Reason;

/// The largest number of resamples of one request: the replicates of one group must fit in memory.
pub const MAX_RESAMPLES: u32 = 1 << 24;

/// Groups of values: group `g` is `values[offsets[g]..offsets[g + 1]]`.
///
/// `offsets` has one element more than there are groups, starts at 0, never falls and ends at
/// `values.len()`. All values must be finite. Their order inside a group does not matter.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// The values of all groups, one group after the other.
    pub values: &'a [f64],
    /// Where each group starts; the last element is the number of values.
    pub offsets: &'a [u32],
}

impl Samples<'_> {
    /// The number of groups (0 when `offsets` is empty, which validation refuses).
    pub fn groups(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }
}

/// The quantity to estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Statistic {
    /// Arithmetic mean.
    Mean,
    /// The middle value: `Quantile(0.5)`.
    Median,
    /// Quantile of type 7 (linear interpolation, as in NumPy and R), probability in `[0, 1]`.
    Quantile(f64),
    /// Mean after dropping `floor(fraction * n)` values at each end, fraction in `[0, 0.5)`.
    TrimmedMean(f64),
    /// Interquartile mean: `TrimmedMean(0.25)` (Agarwal et al. 2021).
    Iqm,
    /// Mean of the first sample minus mean of the second.
    MeanDifference,
    /// Sum of the values.
    Sum,
    /// Sample variance (divisor `n - 1`).
    Variance,
    /// Sample standard deviation, the square root of the variance.
    StandardDeviation,
    /// Mean of the first sample divided by the mean of the second, independent of each other.
    MeanRatio,
    /// Mean of the differences of pairs: value `i` of the first sample minus value `i` of the second. Pairs are
    /// resampled together.
    PairedDifference,
    /// Mean of the first values of pairs divided by the mean of the second; pairs are resampled together.
    PairedRatio,
    /// Probability that a value of the first sample is above one of the second, ties counting half (Mann &
    /// Whitney 1947; Agarwal et al. 2021).
    ProbabilityOfImprovement,
}

impl Statistic {
    /// The name used in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Median => "median",
            Self::Quantile(_) => "quantile",
            Self::TrimmedMean(_) => "trimmed mean",
            Self::Iqm => "interquartile mean",
            Self::MeanDifference => "mean difference",
            Self::Sum => "sum",
            Self::Variance => "variance",
            Self::StandardDeviation => "standard deviation",
            Self::MeanRatio => "mean ratio",
            Self::PairedDifference => "paired difference",
            Self::PairedRatio => "paired ratio",
            Self::ProbabilityOfImprovement => "probability of improvement",
        }
    }

    /// Whether the statistic needs a second sample.
    pub fn has_second_sample(&self) -> bool {
        self.is_paired()
            || matches!(self, Self::MeanDifference | Self::MeanRatio | Self::ProbabilityOfImprovement)
    }

    /// Whether value `i` of the first sample belongs to value `i` of the second.
    pub fn is_paired(&self) -> bool {
        matches!(self, Self::PairedDifference | Self::PairedRatio)
    }
}

/// How interval ends are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Method {
    /// Quantiles of the replicates.
    Percentile,
    /// Percentile ends reflected at the estimate: `2 * estimate - q`.
    Basic,
    /// Bias-corrected and accelerated (Efron 1987). Not for quantiles.
    #[default]
    Bca,
    /// Bootstrap-t. For the mean, the sum, and differences and ratios of means (with the delta method).
    Studentized,
}

impl Method {
    /// The name used in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Percentile => "percentile",
            Self::Basic => "basic",
            Self::Bca => "BCa",
            Self::Studentized => "studentized",
        }
    }
}

/// Whether groups of equal size share their resamples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Streams<'a> {
    /// Groups of equal size use the same resamples, so one matrix product serves all of them.
    /// Each interval is as good as any other; errors of different groups are correlated.
    #[default]
    Shared,
    /// Group `g` draws from its own stream, which the caller names (for example a hash of the
    /// group key). Slower by about the cost of the draws.
    Independent(&'a [u32]),
}

/// A bootstrap of all groups of one query.
#[derive(Debug, Clone, Copy)]
pub struct BootstrapRequest<'a> {
    /// The samples; for a difference the samples that count positive, for a ratio the numerator.
    pub samples: Samples<'a>,
    /// The second samples of statistics that have two, group by group.
    pub second: Option<Samples<'a>>,
    /// What to estimate.
    pub statistic: Statistic,
    /// How interval ends are found.
    pub method: Method,
    /// Confidence level of the two-sided interval, strictly between 0 and 1.
    pub level: f64,
    /// Number of resamples. Not used where the exact distribution is computed instead
    /// (see [`Computation`]).
    pub resamples: u32,
    /// Seed of the generator.
    pub seed: u64,
    /// Shared or independent resamples.
    pub streams: Streams<'a>,
}

impl<'a> BootstrapRequest<'a> {
    /// A request with the defaults: BCa where it exists (percentile for quantiles), level 0.95,
    /// 9,999 resamples, seed 0, shared resamples.
    pub fn new(samples: Samples<'a>, statistic: Statistic) -> Self {
        let method = match statistic {
            Statistic::Median | Statistic::Quantile(_) => Method::Percentile,
            _ => Method::Bca,
        };
        Self {
            samples,
            second: None,
            statistic,
            method,
            level: 0.95,
            resamples: 9_999,
            seed: 0,
            streams: Streams::Shared,
        }
    }

    /// A request for the difference of means, first minus second, with the defaults of
    /// [`BootstrapRequest::new`].
    pub fn mean_difference(first: Samples<'a>, second: Samples<'a>) -> Self {
        Self { second: Some(second), ..Self::new(first, Statistic::MeanDifference) }
    }

    /// A request for a statistic of two samples, with the defaults of [`BootstrapRequest::new`].
    ///
    /// ```
    /// use kernels::{Backend, BootstrapRequest, CpuBackend, Samples, Statistic};
    ///
    /// let faster = Samples { values: &[0.8, 0.9, 0.7, 1.0], offsets: &[0, 4] };
    /// let slower = Samples { values: &[1.6, 1.7, 1.9, 1.8], offsets: &[0, 4] };
    /// let request = BootstrapRequest::two_samples(faster, slower, Statistic::MeanRatio);
    /// let out = CpuBackend::new().bootstrap(&request)?;
    /// assert!(out.low[0] < 3.4 / 7.0 && 3.4 / 7.0 < out.high[0]);
    /// # Ok::<(), kernels::KernelError>(())
    /// ```
    pub fn two_samples(first: Samples<'a>, second: Samples<'a>, statistic: Statistic) -> Self {
        Self { second: Some(second), ..Self::new(first, statistic) }
    }

    /// The same request with another method.
    pub fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// The same request with another confidence level.
    pub fn level(self, level: f64) -> Self {
        Self { level, ..self }
    }

    /// The same request with another number of resamples.
    pub fn resamples(self, resamples: u32) -> Self {
        Self { resamples, ..self }
    }

    /// The same request with another seed.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same request with other streams.
    pub fn streams(self, streams: Streams<'a>) -> Self {
        Self { streams, ..self }
    }
}

/// How the interval of a group was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Computation {
    /// Nothing to compute: an empty group, a single value or equal values.
    None,
    /// All multisets of one tiny sample (up to 7 values), weighted by their multinomial probability.
    /// Differences of two samples are resampled at any size.
    Enumeration,
    /// The exact distribution of one or two order statistics of a resample.
    OrderStatistics,
    /// Drawn resamples.
    Resampling,
}

/// Remarks on the interval of one group; a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u16);

impl Flags {
    /// The group (or one of the two samples) is empty; all numbers are NaN.
    pub const ABSENT: Self = Self(1);
    /// A sample has a single value. One sample: the interval is that point and the standard
    /// error NaN. Two samples: the interval is NaN as well, since one side shows no spread.
    pub const DEGENERATE: Self = Self(1 << 1);
    /// All values of the group (of both samples: of each) are equal; the interval is a point.
    pub const ZERO_VARIANCE: Self = Self(1 << 2);
    /// One of the two samples is constant, the other is not.
    pub const ONE_SIDE_CONSTANT: Self = Self(1 << 3);
    /// Fewer than 20 values with a percentile, basic or BCa interval: it covers less than it says.
    pub const UNDERCOVERS: Self = Self(1 << 4);
    /// Studentized: resamples without spread were dropped; see
    /// [`BootstrapOutput::dropped_share`].
    pub const DROPPED_RESAMPLES: Self = Self(1 << 5);
    /// No interval: the BCa correction diverges at this level, or no resample was left.
    pub const NO_INTERVAL: Self = Self(1 << 6);
    /// Ratios: a resample or relabelling can make the denominator zero or change its sign. Bootstrap:
    /// [`BootstrapOutput::dropped_share`] says how many did; when more than a quarter of one minus the level,
    /// there is no interval. Permutation: there is no p-value.
    pub const DENOMINATOR: Self = Self(1 << 7);
    /// Probability of improvement: all values of one sample lie above all of the other, so that no resample
    /// differs and there is no interval.
    pub const SEPARATED: Self = Self(1 << 8);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::ABSENT, "absent"),
        (Self::DEGENERATE, "degenerate"),
        (Self::ZERO_VARIANCE, "zero_variance"),
        (Self::ONE_SIDE_CONSTANT, "one_side_constant"),
        (Self::UNDERCOVERS, "bootstrap_undercovers"),
        (Self::DROPPED_RESAMPLES, "dropped_resamples"),
        (Self::NO_INTERVAL, "no_interval"),
        (Self::DENOMINATOR, "denominator_near_zero"),
        (Self::SEPARATED, "degenerate_separation"),
    ];

    /// No remark.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Sets the bits of `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The stable names of the bits that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}

/// Where and under which rules an answer was computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Version of the random-number contract; see [`crate::rng::RNG_VERSION`].
    pub rng_version: u32,
    /// The backend that answered, for example `cpu`.
    pub backend: &'static str,
    /// Why a faster device was not used, when one was asked for with [`crate::Policy::Auto`].
    pub fallback: Option<Reason>,
}

/// The intervals of all groups, one element per group in each vector.
#[derive(Debug, Clone, PartialEq)]
pub struct BootstrapOutput {
    /// The statistic of the sample itself.
    pub estimate: Vec<f64>,
    /// Lower interval end.
    pub low: Vec<f64>,
    /// Upper interval end.
    pub high: Vec<f64>,
    /// Bootstrap standard error: the standard deviation of the replicates (exact where
    /// the distribution is exact).
    pub se: Vec<f64>,
    /// Number of values of the (first) sample.
    pub n: Vec<u32>,
    /// Number of values of the second sample; empty for statistics of one sample.
    pub n_second: Vec<u32>,
    /// How each interval was computed.
    pub computation: Vec<Computation>,
    /// Remarks.
    pub flags: Vec<Flags>,
    /// Studentized: the share of resamples dropped because they have no spread. Ratios: also the share of those
    /// with a denominator that is zero or of another sign than that of the sample, which count as infinite
    /// ([`Flags::DENOMINATOR`]). 0 otherwise.
    pub dropped_share: Vec<f64>,
    /// The method asked for.
    pub method: Method,
    /// Where this was computed.
    pub provenance: Provenance,
}
