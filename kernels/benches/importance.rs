//! Speed of forests, functional ANOVA and PED-ANOVA, beside the rate of the loop they cannot beat:
//! adding trials to the bins of a histogram in the first cache level.
// A benchmark that cannot run has nothing better to do than to stop.
#![allow(clippy::expect_used)]

use divan::{Bencher, counter::ItemsCount};
use kernels::importance::{
    FanovaRequest, ForestRequest, Pairs, Parameter, PedAnovaRequest, PermutationImportanceRequest, Trials,
    functional_anova, ped_anova, permutation_importance,
};
use kernels::{Backend, CpuBackend};

/// Columns of uniform numbers and an additive objective with an interaction and noise.
struct Study {
    columns: Vec<Vec<f64>>,
    objective: Vec<f64>,
}

impl Study {
    fn new(trials: usize, parameters: usize) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let columns: Vec<Vec<f64>> =
            (0..parameters).map(|_| (0..trials).map(|_| uniform()).collect()).collect();
        let objective = (0..trials)
            .map(|row| {
                let at = |column: usize| columns[column % parameters][row];
                4.0 * at(0) + 2.0 * at(1) + at(2) * at(3) + 0.5 * uniform()
            })
            .collect();
        Self { columns, objective }
    }

    fn parameters(&self) -> Vec<Parameter<'_>> {
        self.columns.iter().map(|column| Parameter::linear(column).range(0.0, 1.0)).collect()
    }
}

/// Trials and parameters.
const SHAPES: [(usize, usize); 3] = [(1_000, 10), (10_000, 10), (100_000, 10)];

#[divan::bench(sample_count = 5, args = SHAPES)]
fn forest(bencher: Bencher<'_, '_>, (trials, parameters): (usize, usize)) {
    let study = Study::new(trials, parameters);
    let columns = study.parameters();
    let trials = Trials { parameters: &columns, objective: &study.objective };
    let backend = CpuBackend::new();
    let request = ForestRequest::new(trials);
    bencher.bench_local(|| backend.forest(divan::black_box(&request)).expect("the trials are sound"));
}

/// The integrals alone: without pairs, and with the pairs of ten parameters.
#[divan::bench(sample_count = 5, args = SHAPES, consts = [0, 10])]
fn integrals<const TOP: usize>(bencher: Bencher<'_, '_>, (trials, parameters): (usize, usize)) {
    let study = Study::new(trials, parameters);
    let columns = study.parameters();
    let trials = Trials { parameters: &columns, objective: &study.objective };
    let forest = CpuBackend::new().forest(&ForestRequest::new(trials)).expect("the trials are sound");
    let request = FanovaRequest { pairs: Pairs::Top(TOP), ..FanovaRequest::default() };
    bencher
        .counter(ItemsCount::new(forest.leaves()))
        .bench_local(|| functional_anova(divan::black_box(&forest), &request).expect("the request is sound"));
}

#[divan::bench(sample_count = 5, args = SHAPES)]
fn permutation(bencher: Bencher<'_, '_>, (trials, parameters): (usize, usize)) {
    let study = Study::new(trials, parameters);
    let columns = study.parameters();
    let trials = Trials { parameters: &columns, objective: &study.objective };
    let forest = CpuBackend::new().forest(&ForestRequest::new(trials)).expect("the trials are sound");
    let request = PermutationImportanceRequest::default();
    bencher.bench_local(|| permutation_importance(divan::black_box(&forest), &request).expect("sound"));
}

/// PED-ANOVA without resamples, and with those of its intervals.
#[divan::bench(sample_count = 5, args = SHAPES, consts = [0, 200])]
fn ped<const RESAMPLES: u32>(bencher: Bencher<'_, '_>, (trials, parameters): (usize, usize)) {
    let study = Study::new(trials, parameters);
    let columns = study.parameters();
    let trials = Trials { parameters: &columns, objective: &study.objective };
    let request = PedAnovaRequest::new(trials).resamples(RESAMPLES);
    bencher.bench_local(|| ped_anova(divan::black_box(&request)).expect("the trials are sound"));
}

/// The bound of a forest: one addition for each trial and parameter of a node, everything in the
/// first cache level.
#[divan::bench(sample_count = 20)]
fn histogram_bound(bencher: Bencher<'_, '_>) {
    const ROWS: usize = 4_096;
    let codes: Vec<u8> = (0..ROWS).map(|row| (row * 2_654_435_761 % 1_000_003 % 255) as u8 + 1).collect();
    let packed: Vec<u64> = (0..ROWS as u64).map(|row| (1 << 48) + row * 1_000_003).collect();
    let mut bins = vec![0u64; 256];
    bencher.counter(ItemsCount::new(ROWS * 100)).bench_local(|| {
        for _ in 0..100 {
            for (&code, &packed) in divan::black_box(&codes).iter().zip(&packed) {
                let bin = &mut bins[usize::from(code)];
                *bin = bin.wrapping_add(packed);
            }
        }
        divan::black_box(&mut bins);
    });
}

fn main() {
    divan::main();
}
