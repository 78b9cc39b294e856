//! Nearest rows with an emulated or a real device; started by the tests of `cuda`, as `cuda_cases` is.

use kernels::cluster::{
    Features, HdbscanOutput, HdbscanRequest, KmeansRequest, KnnOutput, KnnRequest, NeighbourSearch, Queries,
};
use kernels::{Backend, CpuBackend, CudaBackend, CudaMemory, KernelError, Policy, select};

use crate::cuda_emulator::CHILD;

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn cuda() -> Option<CudaBackend> {
    is_child().then(|| CudaBackend::new(0).unwrap())
}

fn same(left: &KnnOutput, right: &KnnOutput) -> bool {
    let bits =
        |out: &KnnOutput| out.distances.iter().map(|distance| distance.to_bits()).collect::<Vec<u64>>();
    (left.k, &left.rows) == (right.k, &right.rows) && bits(left) == bits(right)
}

#[track_caller]
fn assert_equal(cuda: &CudaBackend, request: &KnnRequest<'_>) {
    let got = cuda.nearest_neighbours(request).unwrap();
    let expected = CpuBackend::new().nearest_neighbours(request).unwrap();
    assert_eq!((got.provenance.backend, &got.provenance.fallback), ("cuda", &None));
    let (rows, columns) = (request.features.rows(), request.features.columns);
    assert!(same(&got, &expected), "{rows} rows of {columns}, k = {}", request.k);
}

/// Rows with ties and repetitions, far from zero.
fn rows(rows: usize, columns: usize) -> Vec<f64> {
    let mut state = 5u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut values: Vec<f64> = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            let value = match row % 4 {
                0 => next(),
                1 => (next() * 3.0).floor(),
                2 => next() * 1e-3 + 7.0,
                _ if row >= 8 => values[(row - 8) * columns + column] - 1e6,
                _ => 1.0,
            };
            values.push(value + 1e6);
        }
    }
    values
}

mod equal {
    use super::*;

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn sizes_around_blocks_and_tiles() {
        let Some(cuda) = cuda() else { return };
        // An emulated device takes a microsecond for what a real one does in a nanosecond: few rows where columns are many.
        for (columns, counts) in [
            (1, &[2, 127, 129, 300][..]),
            (3, &[5, 128]),
            (8, &[127, 128]),
            (13, &[129]),
            (64, &[5, 40]),
            (130, &[2, 33]),
        ] {
            for count in counts.iter().copied() {
                let values = rows(count, columns);
                let features = Features { values: &values, columns };
                for k in [1, 2, 17, 200] {
                    if k < count {
                        assert_equal(&cuda, &KnnRequest { features, k, queries: Queries::All });
                    }
                }
                let some = [1, 0, count as u32 - 1, 1];
                assert_equal(&cuda, &KnnRequest { features, k: 1, queries: Queries::Rows(&some) });
                assert_equal(&cuda, &KnnRequest { features, k: 1, queries: Queries::Rows(&[]) });
            }
        }
        println!("emulated: neighbours of up to 300 rows of up to 130 features");
    }

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn pieces_change_no_list() {
        let Some(cuda) = cuda() else { return };
        let values = rows(260, 20);
        let request =
            KnnRequest { features: Features { values: &values, columns: 20 }, k: 9, queries: Queries::All };
        for bytes in [1 << 30, 50_000] {
            assert_equal(&cuda.clone().with_memory(CudaMemory::AtMost(bytes)), &request);
        }
        let error = cuda.with_memory(CudaMemory::AtMost(10_000)).nearest_neighbours(&request).unwrap_err();
        assert!(matches!(error, KernelError::OutOfMemory { need, free: 10_000 } if need > 10_000), "{error}");
    }

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn clusters_by_density_are_those_of_the_cpu() {
        let Some(cuda) = cuda() else { return };
        for (count, columns, size) in [(200, 5, 5), (150, 9, 20), (3, 2, 2), (1, 1, 2)] {
            let values = rows(count, columns);
            let request = HdbscanRequest::new(Features { values: &values, columns }, size);
            let (got, expected) =
                (cuda.hdbscan(&request).unwrap(), CpuBackend::new().hdbscan(&request).unwrap());
            assert_eq!(got.provenance.backend, "cuda");
            let got = HdbscanOutput { provenance: expected.provenance.clone(), ..got };
            assert!(got == expected, "{count} rows of {columns}, clusters of {size}");
        }
    }

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn equal_rows_have_each_other() {
        let Some(cuda) = cuda() else { return };
        let features = Features { values: &[3.0; 40], columns: 4 };
        assert_equal(&cuda, &KnnRequest { features, k: 4, queries: Queries::All });
    }

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn what_has_no_kernel_says_so() {
        let Some(cuda) = cuda() else { return };
        let wide = rows(10, 1_030);
        let features = Features { values: &wide, columns: 1_030 };
        let request = KnnRequest { features, k: 2, queries: Queries::All };
        let out = cuda.nearest_neighbours(&request).unwrap();
        assert!(same(&out, &CpuBackend::new().nearest_neighbours(&request).unwrap()));
        let means = cuda.kmeans(&KmeansRequest::new(features, 2)).unwrap().provenance;
        let near = NeighbourSearch::Near { leaves: 1 };
        let density = cuda.hdbscan(&HdbscanRequest::new(features, 2).search(near)).unwrap().provenance;
        for provenance in [out.provenance, means, density] {
            assert_eq!(provenance.backend, "cpu");
            assert!(provenance.fallback.unwrap().to_string().contains("no device kernel"));
        }
        let nan = Features { values: &[1.0, f64::NAN], columns: 1 };
        let error =
            cuda.nearest_neighbours(&KnnRequest { features: nan, k: 1, queries: Queries::All }).unwrap_err();
        assert_eq!(error.code(), "nonfinite_feature");
    }
}

/// Neighbours that the CPU needs tens of milliseconds for.
fn heavy(backend: &dyn Backend) -> KnnOutput {
    let values = rows(6_000, 64);
    let features = Features { values: &values, columns: 64 };
    backend.nearest_neighbours(&KnnRequest { features, k: 3, queries: Queries::All }).unwrap()
}

#[test]
#[ignore = "needs the emulator"]
fn automatic() {
    if !is_child() {
        return;
    }
    CudaBackend::new(0).unwrap();
    let out = heavy(&*select(Policy::Auto).unwrap().backend);
    assert!(same(&out, &heavy(&CpuBackend::new())));
    // The emulated device says how fast it is; whichever is taken, the answer says so.
    assert!(["cpu", "cuda"].contains(&out.provenance.backend) && out.provenance.fallback.is_none());
}

#[test]
#[ignore = "needs a device that fails"]
fn fails_mid_way() {
    if !is_child() {
        return;
    }
    let expected = std::env::var("EXPECTED").unwrap();
    // More than the memory that the device is tested with.
    let values = rows(6_000, 64);
    let features = Features { values: &values, columns: 64 };
    let cuda = CudaBackend::new(0).unwrap();
    let request = KnnRequest { features, k: 3, queries: Queries::Rows(&[0, 1, 2, 3]) };
    let error = cuda.nearest_neighbours(&request).unwrap_err();
    assert_eq!(error.code(), expected, "{error}");
    if matches!(error, KernelError::Device { .. }) {
        assert_eq!(cuda.nearest_neighbours(&request).err(), Some(KernelError::Poisoned));
    }
}
