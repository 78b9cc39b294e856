//! Host work shared by all backends: validation, canonical samples, and batches of equal size.
//!
//! Invariants of a plan: every value is finite; a canonical sample is ascending and free of
//! negative zeros; groups in a batch have the same sizes and stream. Nothing here depends on the
//! order of values in a group, and nothing about a group depends on other groups.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::describe::{self, exponent_above, scale_by_power_of_two};
use crate::error::{Invalid, KernelError};
use crate::moment::Moment;
use crate::request::{BootstrapRequest, MAX_RESAMPLES, Method, Samples, Statistic, Streams};

/// A statistic reduced to the weights it puts on a resample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// Mean of one sample, or difference of two means.
    Mean,
    /// Mean of the ranks that trimming this fraction leaves.
    Trimmed(f64),
    /// Quantile of type 7.
    Quantile(f64),
}

/// How the replicates of a statistic are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Form {
    /// One weighted sum of each sample.
    Linear(Shape),
    /// Several sums, and a formula.
    Moment(Moment),
    /// Counts of pairs.
    Improvement,
}

/// A checked request with canonical samples.
pub(crate) struct Plan<'a> {
    pub(crate) request: &'a BootstrapRequest<'a>,
    pub(crate) form: Form,
    /// The shape of a linear form, else that of plain sums.
    pub(crate) shape: Shape,
    pub(crate) first: Sorted<'a>,
    pub(crate) second: Option<Sorted<'a>>,
    pub(crate) batches: Vec<Batch>,
}

/// Groups that share sizes and resamples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Size of the first sample.
    pub(crate) n: u32,
    /// Size of the second sample, 0 without one.
    pub(crate) n_second: u32,
    /// Stream of the draws.
    pub(crate) stream: u32,
    /// The groups, ascending.
    pub(crate) groups: Vec<u32>,
}

/// All groups of a sample, each in ascending order.
pub(crate) struct Sorted<'a> {
    values: Vec<f64>,
    offsets: &'a [u32],
}

impl Sorted<'_> {
    pub(crate) fn group(&self, group: usize) -> &[f64] {
        &self.values[self.offsets[group] as usize..self.offsets[group + 1] as usize]
    }

    pub(crate) fn size(&self, group: usize) -> u32 {
        self.offsets[group + 1] - self.offsets[group]
    }
}

/// A group moved and scaled so that all numbers lie in `[-1, 1]` around zero.
///
/// A statistic of the sample is `base + 2^exponent * (statistic of the scaled values)`. The base is
/// the mean, rounded once; without it a sum at an offset of 10^15 would keep no digit of the spread.
pub(crate) struct Centred {
    /// Scaled first sample, ascending.
    pub(crate) first: Vec<f64>,
    /// Scaled second sample, ascending; empty without one.
    pub(crate) second: Vec<f64>,
    base: f64,
    exponent: i32,
}

impl Centred {
    /// Centres and scales a group. The samples must be finite and sorted, and not all constant.
    pub(crate) fn new(first: &[f64], second: &[f64]) -> Self {
        let largest = |values: &[f64]| values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let shrink = match largest(first).max(largest(second)) {
            0.0 => 0,
            value => exponent_above(value),
        };
        let centre_of = |values: &[f64]| describe::mean(values).unwrap_or(0.0);
        let moved = |values: &[f64], centre: f64| -> Vec<f64> {
            let centre = scale_by_power_of_two(centre, -shrink);
            values.iter().map(|&value| scale_by_power_of_two(value, -shrink) - centre).collect()
        };
        let (centre_first, centre_second) = (centre_of(first), centre_of(second));
        let mut first = moved(first, centre_first);
        let mut second = moved(second, centre_second);
        let stretch = match largest(&first).max(largest(&second)) {
            0.0 => 0,
            value => exponent_above(value),
        };
        for value in first.iter_mut().chain(&mut second) {
            *value = scale_by_power_of_two(*value, -stretch);
        }
        Self { first, second, base: centre_first - centre_second, exponent: shrink + stretch }
    }

    /// A location in units of the scaled sample, in the caller's units.
    pub(crate) fn location(&self, scaled: f64) -> f64 {
        let offset = scale_by_power_of_two(scaled, self.exponent);
        if offset.is_finite() || !scaled.is_finite() {
            return self.base + offset;
        }
        // Near the largest double the offset alone may overflow where the sum does not.
        2.0 * (0.5 * self.base + scale_by_power_of_two(scaled, self.exponent - 1))
    }

    /// A spread in units of the scaled sample, in the caller's units.
    pub(crate) fn spread(&self, scaled: f64) -> f64 {
        scale_by_power_of_two(scaled, self.exponent)
    }
}

impl<'a> Plan<'a> {
    /// Checks a request and prepares its samples.
    pub(crate) fn new(request: &'a BootstrapRequest<'a>) -> Result<Self, KernelError> {
        let form = check(request)?;
        let shape = if let Form::Linear(shape) = form { shape } else { Shape::Mean };
        let (first, second) = match (request.statistic, request.second) {
            (Statistic::PairedDifference, Some(second)) => (differences(request.samples, second)?, None),
            (Statistic::PairedRatio, Some(second)) => {
                let (first, second) = sort_pairs(request.samples, second);
                (first, Some(second))
            }
            (_, second) => (sort(request.samples), second.map(sort)),
        };
        let batches = batches(request);
        Ok(Self { request, form, shape, first, second, batches })
    }

    /// The second sample of a group, empty without one.
    pub(crate) fn second_group(&self, group: usize) -> &[f64] {
        self.second.as_ref().map_or(&[], |second| second.group(group))
    }
}

/// Checks everything a backend relies on and reduces the statistic to its form.
pub(crate) fn check(request: &BootstrapRequest<'_>) -> Result<Form, KernelError> {
    let BootstrapRequest { samples, second, statistic, method, level, resamples, seed: _, streams } =
        *request;
    let form = check_statistic(statistic, method)?;
    if !(level > 0.0 && level < 1.0) {
        return Err(Invalid::Level(level).into());
    }
    if !(1..=MAX_RESAMPLES).contains(&resamples) {
        return Err(Invalid::Resamples { got: resamples, max: MAX_RESAMPLES }.into());
    }
    check_samples("first", samples)?;
    match (statistic.has_second_sample(), second) {
        (true, None) => {
            return Err(Invalid::SecondMissing { statistic: statistic.name() }.into());
        }
        (true, Some(other)) => {
            check_samples("second", other)?;
            let (first, second) = (samples.groups(), other.groups());
            if first != second {
                return Err(Invalid::GroupCounts { first, second }.into());
            }
            if statistic.is_paired() {
                check_pairs(samples.offsets, other.offsets)?;
            }
        }
        (_, Some(_)) => return Err(Invalid::SecondUnexpected { statistic: statistic.name() }.into()),
        (_, None) => {}
    }
    match streams {
        Streams::Independent(streams) if streams.len() != samples.groups() => {
            Err(Invalid::StreamCount { streams: streams.len(), groups: samples.groups() }.into())
        }
        _ => Ok(form),
    }
}

/// Both sides of all pairs must be there.
fn check_pairs(first: &[u32], second: &[u32]) -> Result<(), Invalid> {
    let sizes =
        first.windows(2).map(|ends| ends[1] - ends[0]).zip(second.windows(2).map(|ends| ends[1] - ends[0]));
    match sizes.enumerate().find(|(_, (first, second))| first != second) {
        Some((group, (first, second))) => Err(Invalid::PairSizes { group, first, second }),
        None => Ok(()),
    }
}

fn check_statistic(statistic: Statistic, method: Method) -> Result<Form, KernelError> {
    let unsupported =
        |advice| Err(KernelError::Unsupported { method: method.name(), statistic: statistic.name(), advice });
    let studentized = method == Method::Studentized;
    let shape = match statistic {
        Statistic::Variance | Statistic::StandardDeviation if studentized => {
            return unsupported("ask for BCa or percentile");
        }
        Statistic::ProbabilityOfImprovement if studentized => {
            return unsupported("ask for BCa or percentile");
        }
        Statistic::Variance => return Ok(Form::Moment(Moment::Variance)),
        Statistic::StandardDeviation => return Ok(Form::Moment(Moment::Deviation)),
        Statistic::MeanRatio => return Ok(Form::Moment(Moment::Ratio)),
        Statistic::PairedRatio => return Ok(Form::Moment(Moment::PairedRatio)),
        Statistic::ProbabilityOfImprovement => return Ok(Form::Improvement),
        Statistic::Mean | Statistic::MeanDifference | Statistic::Sum | Statistic::PairedDifference => {
            Shape::Mean
        }
        Statistic::Median => Shape::Quantile(0.5),
        Statistic::Quantile(probability) if (0.0..=1.0).contains(&probability) => {
            Shape::Quantile(probability)
        }
        Statistic::Quantile(probability) => return Err(Invalid::Quantile(probability).into()),
        Statistic::Iqm => Shape::Trimmed(0.25),
        Statistic::TrimmedMean(fraction) if (0.0..0.5).contains(&fraction) => Shape::Trimmed(fraction),
        Statistic::TrimmedMean(fraction) => return Err(Invalid::Trim(fraction).into()),
    };
    let advice = match (shape, method) {
        (Shape::Quantile(_), Method::Bca) => {
            "the jackknife behind it is inconsistent for quantiles; ask for percentile, which is exact here"
        }
        (Shape::Quantile(_), Method::Studentized) => "ask for percentile, which is exact here",
        (Shape::Trimmed(_), Method::Studentized) => "ask for BCa or percentile",
        _ => return Ok(Form::Linear(shape)),
    };
    unsupported(advice)
}

/// Checks offsets and that all values are finite.
pub(crate) fn check_samples(sample: &'static str, samples: Samples<'_>) -> Result<(), Invalid> {
    let Samples { values, offsets } = samples;
    let (Some(&start), Some(&end)) = (offsets.first(), offsets.last()) else {
        return Err(Invalid::OffsetsEmpty { sample });
    };
    if start != 0 {
        return Err(Invalid::OffsetsStart { sample, start });
    }
    if let Some(group) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(Invalid::OffsetsFall { sample, group, from: offsets[group], to: offsets[group + 1] });
    }
    if end as usize != values.len() {
        return Err(Invalid::OffsetsEnd { sample, end, values: values.len() });
    }
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        let group = offsets.partition_point(|&offset| offset as usize <= index) - 1;
        let position = index - offsets[group] as usize;
        return Err(Invalid::NonFinite { sample, group, position, value: values[index] });
    }
    Ok(())
}

fn sort(samples: Samples<'_>) -> Sorted<'_> {
    let Samples { values, offsets } = samples;
    // Adding zero turns -0 into +0 and changes nothing else.
    let mut sorted: Vec<f64> = values.par_iter().map(|value| value + 0.0).collect();
    let mut groups = Vec::with_capacity(samples.groups());
    let mut rest = sorted.as_mut_slice();
    for pair in offsets.windows(2) {
        let (group, tail) = rest.split_at_mut((pair[1] - pair[0]) as usize);
        groups.push(group);
        rest = tail;
    }
    groups.par_iter_mut().with_min_len(64).for_each(|group| group.sort_unstable_by(f64::total_cmp));
    Sorted { values: sorted, offsets }
}

/// The differences of pairs, each group ascending.
fn differences<'a>(first: Samples<'a>, second: Samples<'_>) -> Result<Sorted<'a>, Invalid> {
    let values: Vec<f64> = first.values.iter().zip(second.values).map(|(x, y)| x - y).collect();
    let differences = Samples { values: &values, offsets: first.offsets };
    // Only an overflow can make a difference of finite values infinite.
    check_samples("differences", differences)?;
    Ok(Sorted { values: sort(differences).values, offsets: first.offsets })
}

/// Pairs ascending by the first value and then the second, group by group.
fn sort_pairs<'a>(first: Samples<'a>, second: Samples<'a>) -> (Sorted<'a>, Sorted<'a>) {
    // Adding zero turns -0 into +0 and changes nothing else.
    let mut pairs: Vec<(f64, f64)> =
        first.values.iter().zip(second.values).map(|(x, y)| (x + 0.0, y + 0.0)).collect();
    for ends in first.offsets.windows(2) {
        let group = &mut pairs[ends[0] as usize..ends[1] as usize];
        group.sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1)));
    }
    let (x, y) = pairs.into_iter().unzip();
    (Sorted { values: x, offsets: first.offsets }, Sorted { values: y, offsets: first.offsets })
}

fn batches(request: &BootstrapRequest<'_>) -> Vec<Batch> {
    let size = |samples: Samples<'_>, group: usize| samples.offsets[group + 1] - samples.offsets[group];
    let mut batches: BTreeMap<(u32, u32, u32), Vec<u32>> = BTreeMap::new();
    for group in 0..request.samples.groups() {
        let n = size(request.samples, group);
        let n_second = request.second.map_or(0, |second| size(second, group));
        let stream = match request.streams {
            Streams::Shared => 0,
            Streams::Independent(streams) => streams[group],
        };
        batches.entry((n, n_second, stream)).or_default().push(group as u32);
    }
    let batch = |((n, n_second, stream), groups)| Batch { n, n_second, stream, groups };
    batches.into_iter().map(batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(request: BootstrapRequest<'_>) -> KernelError {
        check(&request).expect_err("the request is invalid")
    }

    #[test]
    fn malformed_requests_are_refused_with_place_and_code() {
        let good = Samples { values: &[1.0, 2.0, 3.0], offsets: &[0, 2, 3] };
        let mean = BootstrapRequest::new(good, Statistic::Mean);
        let with = |values, offsets| BootstrapRequest::new(Samples { values, offsets }, Statistic::Mean);
        let cases = [
            (with(&[], &[]), "bad_offsets", "is empty"),
            (with(&[1.0], &[1]), "bad_offsets", "starts at 1"),
            (with(&[1.0, 2.0], &[0, 2, 1, 2]), "bad_offsets", "falls from 2 to 1 at group 1"),
            (with(&[1.0, 2.0], &[0, 1]), "bad_offsets", "ends at 1, but there are 2 values"),
            (with(&[1.0, 2.0, f64::NAN], &[0, 1, 1, 3]), "nonfinite_value", "position 1 of group 2"),
            (mean.resamples(0), "resamples_out_of_range", "got 0"),
            (mean.resamples(u32::MAX), "resamples_out_of_range", "between 1 and 16777216"),
            (mean.level(1.0), "probability_out_of_range", "level"),
            (mean.level(f64::NAN), "probability_out_of_range", "level"),
            (
                BootstrapRequest::new(good, Statistic::Quantile(1.5)),
                "probability_out_of_range",
                "quantile must be between 0 and 1",
            ),
            (BootstrapRequest::new(good, Statistic::TrimmedMean(0.5)), "trim_out_of_range", "0.5"),
            (BootstrapRequest::new(good, Statistic::MeanDifference), "bad_sample_pair", "missing"),
            (
                BootstrapRequest { second: Some(good), ..mean },
                "bad_sample_pair",
                "mean is a statistic of one sample",
            ),
            (
                BootstrapRequest::mean_difference(good, Samples { values: &[1.0], offsets: &[0, 1] }),
                "bad_sample_pair",
                "2 groups, the second 1",
            ),
            (mean.streams(Streams::Independent(&[1])), "bad_streams", "1 streams for 2 groups"),
        ];
        for (request, code, text) in cases {
            let error = error_of(request);
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(text), "{error:?} reads: {error}");
        }
    }

    #[test]
    fn methods_without_a_sound_answer_name_the_one_to_use() {
        let samples = Samples { values: &[1.0, 2.0], offsets: &[0, 2] };
        for (statistic, method) in [
            (Statistic::Median, Method::Bca),
            (Statistic::Quantile(0.9), Method::Studentized),
            (Statistic::Iqm, Method::Studentized),
        ] {
            let error = error_of(BootstrapRequest::new(samples, statistic).method(method));
            assert_eq!(error.code(), "unsupported_method");
            assert!(error.to_string().contains("percentile"), "{error}");
        }
    }

    #[test]
    fn groups_are_batched_by_size_and_stream() {
        let values = [1.0; 7];
        let request =
            BootstrapRequest::new(Samples { values: &values, offsets: &[0, 2, 5, 7] }, Statistic::Mean);
        let shared: Vec<_> = batches(&request).into_iter().map(|batch| (batch.n, batch.groups)).collect();
        assert_eq!(shared, [(2, vec![0, 2]), (3, vec![1])]);
        let request = request.streams(Streams::Independent(&[5, 6, 7]));
        let independent: Vec<_> =
            batches(&request).into_iter().map(|batch| (batch.stream, batch.groups)).collect();
        assert_eq!(independent, [(5, vec![0]), (7, vec![2]), (6, vec![1])]);
    }

    #[test]
    fn centring_survives_offsets_and_the_ends_of_the_range() {
        for values in [
            vec![1e15, 1e15 + 0.125, 1e15 + 2.0],
            vec![-1.7e308, 1.7e308, 1.7e308],
            vec![5e-324, 1e-323, 1.5e-323],
        ] {
            let centred = Centred::new(&values, &[]);
            assert!(centred.first.iter().all(|value| value.abs() <= 1.0));
            for (scaled, value) in centred.first.iter().zip(&values) {
                assert_eq!(centred.location(*scaled), *value);
            }
        }
    }
}
