//! Speed of bootstrap intervals: many groups of few values, and fewer groups of many.
// A benchmark that cannot run has nothing better to do than to stop.
#![allow(clippy::expect_used)]

use divan::{Bencher, counter::ItemsCount};
use kernels::{
    Backend, BlockLength, BlockScheme, BootstrapRequest, CpuBackend, InstructionSet, Method, Samples,
    Statistic, Structure, StructuredRequest, structured_bootstrap,
};

/// A fixed sample with spread and skew; what the values are does not matter for speed.
fn values(count: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * 2_654_435_761 % 1_000_003) as f64 / 1_000_003.0).powi(3)).collect()
}

fn run(
    bencher: Bencher<'_, '_>,
    backend: &CpuBackend,
    (groups, n): (usize, usize),
    statistic: Statistic,
    method: Method,
) {
    let values = values(groups * n);
    let offsets: Vec<u32> = (0..=groups).map(|group| (group * n) as u32).collect();
    let samples = Samples { values: &values, offsets: &offsets };
    let request = BootstrapRequest::new(samples, statistic).method(method).resamples(10_000);
    bencher
        .counter(ItemsCount::new(groups * n * 10_000))
        .bench_local(|| backend.bootstrap(divan::black_box(&request)).expect("the request is valid"));
}

/// Groups and size: a query over many run groups, one over larger samples, one over curves.
const SHAPES: [(usize, usize); 5] = [(1, 20), (1_000, 20), (1_000, 100), (100, 1_000), (10, 10_000)];

#[divan::bench(sample_count = 20, args = SHAPES)]
fn bca(bencher: Bencher<'_, '_>, (groups, n): (usize, usize)) {
    run(bencher, &CpuBackend::new(), (groups, n), Statistic::Mean, Method::Bca);
}

#[divan::bench(sample_count = 20, args = [(1_000, 20)])]
fn studentized(bencher: Bencher<'_, '_>, (groups, n): (usize, usize)) {
    run(bencher, &CpuBackend::new(), (groups, n), Statistic::Mean, Method::Studentized);
}

/// Exact, without resampling; the rate still counts the draws that were saved.
#[divan::bench(sample_count = 20, args = [(1_000, 20), (100, 1_000)])]
fn median(bencher: Bencher<'_, '_>, shape: (usize, usize)) {
    run(bencher, &CpuBackend::new(), shape, Statistic::Median, Method::Percentile);
}

#[divan::bench(sample_count = 20, args = [(1_000, 20), (1_000, 100)])]
fn bca_avx2(bencher: Bencher<'_, '_>, (groups, n): (usize, usize)) {
    if let Ok(backend) = CpuBackend::with_instruction_set(InstructionSet::Avx2) {
        run(bencher, &backend, (groups, n), Statistic::Mean, Method::Bca);
    }
}

#[divan::bench(sample_count = 20, args = [(1_000, 20), (1_000, 100)])]
fn variance(bencher: Bencher<'_, '_>, shape: (usize, usize)) {
    run(bencher, &CpuBackend::new(), shape, Statistic::Variance, Method::Bca);
}

/// Statistics of two samples: the rate counts the draws of both.
#[divan::bench(
    sample_count = 20,
    args = [
        Statistic::MeanDifference,
        Statistic::MeanRatio,
        Statistic::PairedRatio,
        Statistic::ProbabilityOfImprovement,
    ]
)]
fn two_samples(bencher: Bencher<'_, '_>, statistic: Statistic) {
    let (first, second) = (values(20_000), values(20_001));
    let offsets: Vec<u32> = (0..=1_000).map(|group| group * 20).collect();
    let request = BootstrapRequest::two_samples(
        Samples { values: &first, offsets: &offsets },
        Samples { values: &second[1..], offsets: &offsets },
        statistic,
    )
    .resamples(10_000);
    let backend = CpuBackend::new();
    bencher
        .counter(ItemsCount::new(2usize * 20_000 * 10_000))
        .bench_local(|| backend.bootstrap(divan::black_box(&request)).expect("the request is valid"));
}

/// The interquartile mean over tasks at rliable's defaults, and a curve in blocks: tasks (or 0) and runs (or points).
#[divan::bench(sample_count = 20, args = [(26, 10), (55, 5), (0, 1_000)])]
fn structured(bencher: Bencher<'_, '_>, (tasks, runs): (usize, usize)) {
    let values = values(tasks.max(1) * runs);
    let cuts: Vec<u32> = (0..=tasks).map(|task| (task * runs) as u32).collect();
    let offsets = [0, values.len() as u32];
    let structure = match tasks {
        0 => Structure::Blocks { length: BlockLength::Points(20), scheme: BlockScheme::Moving },
        _ => Structure::Strata(&cuts),
    };
    let request =
        StructuredRequest::new(Samples { values: &values, offsets: &offsets }, structure, Statistic::Iqm);
    let request = StructuredRequest { resamples: 50_000, ..request };
    bencher
        .counter(ItemsCount::new(values.len() * 50_000))
        .bench_local(|| structured_bootstrap(divan::black_box(&request)).expect("the request is valid"));
}

fn main() {
    divan::main();
}
