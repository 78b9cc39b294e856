//! Host work shared by all backends: checks of a permutation request and batches of comparisons of equal sizes.

use std::collections::BTreeMap;

use crate::error::{Invalid, KernelError};
use crate::permutation::problem::Problem;
use crate::permutation::{Design, PermutationRequest, PermutationStatistic};
use crate::plan::check_samples;
use crate::request::{MAX_RESAMPLES, Streams};

/// Comparisons that share sizes and draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Sizes of the samples.
    pub(crate) sizes: Vec<u32>,
    /// Stream of the draws.
    pub(crate) stream: u32,
    /// The comparisons, ascending.
    pub(crate) comparisons: Vec<u32>,
}

/// A checked request.
pub(crate) struct Plan<'a> {
    pub(crate) request: &'a PermutationRequest<'a>,
    pub(crate) batches: Vec<Batch>,
}

impl<'a> Plan<'a> {
    /// Checks a request and batches its comparisons.
    pub(crate) fn new(request: &'a PermutationRequest<'a>) -> Result<Self, KernelError> {
        check(request)?;
        let mut batches: BTreeMap<(Vec<u32>, u32), Vec<u32>> = BTreeMap::new();
        for comparison in 0..request.comparisons() {
            let sizes = samples_of(request, comparison).iter().map(|sample| sample.len() as u32).collect();
            let stream = match request.streams {
                Streams::Shared => 0,
                Streams::Independent(streams) => streams[comparison],
            };
            batches.entry((sizes, stream)).or_default().push(comparison as u32);
        }
        let batch = |((sizes, stream), comparisons)| Batch { sizes, stream, comparisons };
        Ok(Self { request, batches: batches.into_iter().map(batch).collect() })
    }

    /// The canonical data of one comparison.
    pub(crate) fn problem(&self, comparison: u32) -> Problem {
        let samples = samples_of(self.request, comparison as usize);
        Problem::new(&samples, self.request.design, self.request.statistic)
    }
}

/// The samples of one comparison: one for signs, else two or more.
pub(crate) fn samples_of<'a>(request: &PermutationRequest<'a>, comparison: usize) -> Vec<&'a [f64]> {
    let group = |samples: crate::Samples<'a>, group: usize| {
        &samples.values[samples.offsets[group] as usize..samples.offsets[group + 1] as usize]
    };
    let samples = request.samples;
    match request.design {
        Design::TwoSamples(second) => vec![group(samples, comparison), group(second, comparison)],
        Design::Pairs(pairs) => pairs[comparison].map(|index| group(samples, index as usize)).to_vec(),
        Design::Signs => vec![group(samples, comparison)],
        Design::Several(blocks) => {
            let groups = blocks[comparison] as usize..blocks[comparison + 1] as usize;
            groups.map(|index| group(samples, index)).collect()
        }
    }
}

/// Checks everything that a backend relies on.
pub(crate) fn check(request: &PermutationRequest<'_>) -> Result<(), KernelError> {
    let PermutationRequest { samples, design, statistic, resamples, streams, max_exact: _, seed: _ } =
        *request;
    if !(1..=MAX_RESAMPLES).contains(&resamples) {
        return Err(Invalid::Resamples { got: resamples, max: MAX_RESAMPLES }.into());
    }
    check_statistic(statistic, design)?;
    check_samples("first", samples)?;
    let groups = samples.groups();
    match design {
        Design::TwoSamples(second) => {
            check_samples("second", second)?;
            if second.groups() != groups {
                return Err(Invalid::GroupCounts { first: groups, second: second.groups() }.into());
            }
        }
        Design::Pairs(pairs) => {
            if let Some(pair) =
                pairs.iter().position(|pair| pair.iter().any(|&group| group as usize >= groups))
            {
                let group = pairs[pair][0].max(pairs[pair][1]);
                return Err(Invalid::PairGroup { pair, group, groups }.into());
            }
        }
        Design::Signs => {}
        Design::Several(blocks) => check_blocks(blocks, groups)?,
    }
    match streams {
        Streams::Independent(streams) if streams.len() != request.comparisons() => {
            Err(Invalid::StreamCount { streams: streams.len(), groups: request.comparisons() }.into())
        }
        _ => Ok(()),
    }
}

fn check_statistic(statistic: PermutationStatistic, design: Design<'_>) -> Result<(), KernelError> {
    use PermutationStatistic::{AnovaF, KruskalWallis, MeanDifference, MeanRatio, RankSum, WelchT};
    let advice = match (design, statistic) {
        (Design::TwoSamples(_) | Design::Pairs(_), MeanDifference | WelchT | MeanRatio | RankSum)
        | (Design::Signs, MeanDifference | RankSum)
        | (Design::Several(_), AnovaF | KruskalWallis) => return Ok(()),
        (Design::Several(_), _) => "ask for F or Kruskal-Wallis H, or compare all pairs",
        (Design::Signs, WelchT) => "ask for the mean difference, which orders sign flips as t does",
        (Design::Signs, _) => "ask for the mean difference or the rank sum",
        (_, _) => "ask for the mean difference, Welch t, the mean ratio or the rank sum",
    };
    let method = match design {
        Design::TwoSamples(_) | Design::Pairs(_) => "two-sample permutation",
        Design::Signs => "sign-flip permutation",
        Design::Several(_) => "several-sample permutation",
    };
    Err(KernelError::Unsupported { method, statistic: statistic.name(), advice })
}

fn check_blocks(blocks: &[u32], groups: usize) -> Result<(), Invalid> {
    const SAMPLE: &str = "blocks";
    let (Some(&start), Some(&end)) = (blocks.first(), blocks.last()) else {
        return Err(Invalid::OffsetsEmpty { sample: SAMPLE });
    };
    if start != 0 {
        return Err(Invalid::OffsetsStart { sample: SAMPLE, start });
    }
    if let Some(group) = blocks.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(Invalid::OffsetsFall {
            sample: SAMPLE,
            group,
            from: blocks[group],
            to: blocks[group + 1],
        });
    }
    if end as usize != groups {
        return Err(Invalid::OffsetsEnd { sample: SAMPLE, end, values: groups });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Samples;

    #[test]
    fn malformed_requests_are_refused_with_place_and_code() {
        use PermutationStatistic::{AnovaF, MeanDifference, MeanRatio, WelchT};
        let samples = Samples { values: &[1.0, 2.0, 3.0], offsets: &[0, 2, 3] };
        let one = Samples { values: &[1.0], offsets: &[0, 1] };
        let nan = Samples { values: &[1.0, f64::NAN], offsets: &[0, 1, 2] };
        let with = |design, statistic| PermutationRequest::new(samples, design, statistic);
        let good = with(Design::TwoSamples(samples), MeanDifference);
        let cases = [
            (good.resamples(0), "resamples_out_of_range", "got 0"),
            (with(Design::TwoSamples(one), MeanDifference), "bad_sample_pair", "2 groups, the second 1"),
            (with(Design::TwoSamples(nan), MeanDifference), "nonfinite_value", "group 1 in sample second"),
            (with(Design::Pairs(&[[0, 1], [1, 2]]), WelchT), "bad_sample_pair", "pair 1 names group 2"),
            (with(Design::Several(&[]), AnovaF), "bad_offsets", "blocks is empty"),
            (with(Design::Several(&[0, 1]), AnovaF), "bad_offsets", "ends at 1, but there are 2"),
            (with(Design::Several(&[0, 2, 1, 2]), AnovaF), "bad_offsets", "falls from 2 to 1"),
            (with(Design::Several(&[0, 2]), WelchT), "unsupported_method", "all pairs"),
            (with(Design::Signs, MeanRatio), "unsupported_method", "rank sum"),
            (with(Design::TwoSamples(samples), AnovaF), "unsupported_method", "Welch t"),
            (good.streams(Streams::Independent(&[1])), "bad_streams", "1 streams for 2 groups"),
        ];
        for (request, code, text) in cases {
            let error = check(&request).expect_err("the request is invalid");
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(text), "{error:?} reads: {error}");
        }
        assert_eq!(check(&good), Ok(()));
    }

    #[test]
    fn comparisons_are_batched_by_sizes_and_stream() {
        let samples = Samples { values: &[1.0; 7], offsets: &[0, 2, 5, 7] };
        let pairs = crate::all_pairs(3);
        let request =
            PermutationRequest::new(samples, Design::Pairs(&pairs), PermutationStatistic::MeanDifference);
        let plan = Plan::new(&request).unwrap();
        let batches: Vec<_> =
            plan.batches.iter().map(|batch| (batch.sizes.clone(), batch.comparisons.clone())).collect();
        assert_eq!(batches, [(vec![2, 2], vec![1]), (vec![2, 3], vec![0]), (vec![3, 2], vec![2])]);
    }
}
