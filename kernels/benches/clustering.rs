//! Speed of tiles of distances, nearest neighbours, k-means, HDBSCAN* and warping, to be held against the multiply-adds
//! that they need: a core with two 16-lane units does 32 of them a cycle, and half as many warping cells of f64.
// A benchmark that cannot run has nothing better to do than to stop.
#![allow(clippy::expect_used)]

use divan::{Bencher, counter::ItemsCount};
use kernels::cluster::{
    CurveMeasure, CurveRequest, Curves, Features, HdbscanRequest, KmeansRequest, KnnRequest, MedoidsRequest,
    Members, Queries, Seeding, kmedoids,
};
use kernels::rng::{Stream, Tag, uniform, words64};
use kernels::{Backend, CpuBackend, InstructionSet};

/// Rows without clusters: nothing can be left out.
fn cloud(rows: usize, columns: usize) -> Vec<f64> {
    let stream = Stream { seed: 1, stream: 0, tag: Tag::Other, sub: 0 };
    (0..(rows * columns) as u32).map(|i| uniform(words64(stream.block(i, 0))[0])).collect()
}

/// Rows around 40 centres.
fn clusters(rows: usize, columns: usize) -> Vec<f64> {
    let centres = cloud(40, columns);
    let mut values = cloud(rows, columns);
    for (row, values) in values.chunks_exact_mut(columns).enumerate() {
        for (value, centre) in values.iter_mut().zip(&centres[row % 40 * columns..]) {
            *value = *value * 0.4 + centre;
        }
    }
    values
}

/// Items are multiply-adds of all pairs.
fn knn(bencher: Bencher<'_, '_>, backend: &CpuBackend, values: &[f64], columns: usize) {
    let features = Features { values, columns };
    let rows = features.rows();
    let request = KnnRequest { features, k: 15, queries: Queries::All };
    bencher.counter(ItemsCount::new(rows * rows * columns)).bench_local(|| {
        backend.nearest_neighbours(divan::black_box(&request)).expect("the request is valid")
    });
}

#[divan::bench(sample_count = 3, sample_size = 1, args = [8, 32, 128])]
fn neighbours_of_20000_in_a_cloud(bencher: Bencher<'_, '_>, columns: usize) {
    knn(bencher, &CpuBackend::new(), &cloud(20_000, columns), columns);
}

#[divan::bench(sample_count = 3, sample_size = 1, args = [32])]
fn neighbours_of_20000_in_a_cloud_avx2(bencher: Bencher<'_, '_>, columns: usize) {
    if let Ok(backend) = CpuBackend::with_instruction_set(InstructionSet::Avx2) {
        knn(bencher, &backend, &cloud(20_000, columns), columns);
    }
}

#[divan::bench(sample_count = 3, sample_size = 1, args = [8, 32, 128])]
fn neighbours_of_20000_in_clusters(bencher: Bencher<'_, '_>, columns: usize) {
    knn(bencher, &CpuBackend::new(), &clusters(20_000, columns), columns);
}

/// Items are multiply-adds of one pass over all pairs.
#[divan::bench(sample_count = 3, sample_size = 1, args = [false, true])]
fn hdbscan_of_20000_by_32(bencher: Bencher<'_, '_>, clustered: bool) {
    let values = if clustered { clusters(20_000, 32) } else { cloud(20_000, 32) };
    let request = HdbscanRequest::new(Features { values: &values, columns: 32 }, 10);
    bencher
        .counter(ItemsCount::new(20_000usize * 20_000 * 32))
        .bench_local(|| CpuBackend::new().hdbscan(divan::black_box(&request)).expect("the request is valid"));
}

/// Items are multiply-adds of assignment; three iterations, and one seeding by passes over all rows.
#[divan::bench(sample_count = 5, sample_size = 1, args = [(8, 16), (32, 16), (32, 128), (128, 128)])]
fn kmeans_of_200000(bencher: Bencher<'_, '_>, (columns, k): (usize, usize)) {
    let values = cloud(200_000, columns);
    let features = Features { values: &values, columns };
    let request = KmeansRequest { max_iterations: 20, tolerance: 0.0, ..KmeansRequest::new(features, k) };
    let request = request.restarts(1).seeding(Seeding::Parallel);
    bencher
        .counter(ItemsCount::new(200_000 * columns * k * 20))
        .bench_local(|| CpuBackend::new().kmeans(divan::black_box(&request)).expect("the request is valid"));
}

/// Items are cells of the matrices of all pairs.
#[divan::bench(sample_count = 3, sample_size = 1, args = ["euclidean", "dtw", "soft-dtw"])]
fn distances_of_500_curves_by_100(bencher: Bencher<'_, '_>, measure: &str) {
    let values = cloud(500, 100);
    let steps: Vec<f64> = (0..50_000).map(|i| f64::from(i % 100)).collect();
    let offsets: Vec<u32> = (0..=500).map(|curve| curve * 100).collect();
    let measure = match measure {
        "dtw" => CurveMeasure::Dtw { window: None },
        "soft-dtw" => CurveMeasure::SoftDtw { gamma: 0.1 },
        _ => CurveMeasure::Euclidean,
    };
    let curves = Curves { steps: &steps, values: &values, offsets: &offsets };
    let request = CurveRequest { points: 100, ..CurveRequest::new(curves).measure(measure) };
    let cells = if measure == CurveMeasure::Euclidean { 100usize } else { 10_000 };
    bencher.counter(ItemsCount::new(500 * 499 / 2 * cells)).bench_local(|| {
        CpuBackend::new().curve_distances(divan::black_box(&request)).expect("the request is valid")
    });
}

#[divan::bench(sample_count = 3, sample_size = 1, args = [10, 50])]
fn medoids_of_3000(bencher: Bencher<'_, '_>, k: usize) {
    let values = clusters(3_000, 8);
    let members = Members::Features(Features { values: &values, columns: 8 });
    let request = MedoidsRequest { restarts: 1, ..MedoidsRequest::new(members, k) };
    bencher.bench_local(|| kmedoids(divan::black_box(&request)).expect("the request is valid"));
}

fn main() {
    divan::main();
}
