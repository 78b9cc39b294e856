//! Speed of permutation tests. The bound of drawn tests is one 64-byte look-up for eight values of eight comparisons:
//! at two loads a cycle, 20 values cost 0.19 cycles a relabelling and core, and the counting of extremes as much again.
// A benchmark that cannot run has nothing better to do than to stop.
#![allow(clippy::expect_used)]

use divan::{Bencher, counter::ItemsCount};
use kernels::{Backend, CpuBackend, Design, PermutationRequest, PermutationStatistic, Samples};

/// A fixed sample with spread and skew; what the values are does not matter for speed.
fn values(count: usize, salt: usize) -> Vec<f64> {
    (0..count).map(|i| (((i + salt) * 2_654_435_761 % 1_000_003) as f64 / 1_000_003.0).powi(3)).collect()
}

/// Comparisons of two samples of `n` values; the rate is relabellings a second.
fn run(
    bencher: Bencher<'_, '_>,
    (comparisons, n): (usize, usize),
    statistic: PermutationStatistic,
    max_exact: u64,
) {
    let (first, second) = (values(comparisons * n, 0), values(comparisons * n, 500_009));
    let offsets: Vec<u32> = (0..=comparisons).map(|comparison| (comparison * n) as u32).collect();
    let design = Design::TwoSamples(Samples { values: &second, offsets: &offsets });
    let samples = Samples { values: &first, offsets: &offsets };
    let request = PermutationRequest::new(samples, design, statistic).max_exact(max_exact);
    let backend = CpuBackend::new();
    let out = backend.permutation(&request).expect("the request is valid");
    let relabellings: f64 = out.relabellings.iter().sum();
    bencher
        .counter(ItemsCount::new(relabellings as u64))
        .bench_local(|| backend.permutation(divan::black_box(&request)).expect("the request is valid"));
}

/// Comparisons and size of each sample.
const SHAPES: [(usize, usize); 5] = [(1, 10), (1_000, 10), (1_000, 50), (100, 500), (2, 50_000)];

#[divan::bench(sample_count = 20, args = SHAPES)]
fn drawn_mean_difference(bencher: Bencher<'_, '_>, shape: (usize, usize)) {
    run(bencher, shape, PermutationStatistic::MeanDifference, 0);
}

#[divan::bench(sample_count = 20, args = [(1, 10), (1_000, 10), (1_000, 50)])]
fn drawn_welch(bencher: Bencher<'_, '_>, shape: (usize, usize)) {
    run(bencher, shape, PermutationStatistic::WelchT, 0);
}

/// Counted by halves: the rate is that of relabellings that were not made one by one.
#[divan::bench(sample_count = 20, args = [(1, 10), (1_000, 10), (100, 15)])]
fn exact_mean_difference(bencher: Bencher<'_, '_>, shape: (usize, usize)) {
    run(bencher, shape, PermutationStatistic::MeanDifference, kernels::MAX_EXACT);
}

#[divan::bench(sample_count = 5, args = [(1, 10), (100, 10)])]
fn exact_welch(bencher: Bencher<'_, '_>, shape: (usize, usize)) {
    run(bencher, shape, PermutationStatistic::WelchT, kernels::MAX_EXACT);
}

/// The distribution of rank sums, shared by comparisons without ties.
#[divan::bench(sample_count = 20, args = [(1, 40), (100, 40)])]
fn exact_rank_sum(bencher: Bencher<'_, '_>, shape: (usize, usize)) {
    run(bencher, shape, PermutationStatistic::RankSum, kernels::MAX_EXACT);
}

fn main() {
    divan::main();
}
