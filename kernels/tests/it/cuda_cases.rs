//! What runs with an emulated or a real device; started by the tests of `cuda`, or by hand on a machine with a GPU:
//! `RL_EMU_CHILD=1 cargo test -p kernels --test it -- --include-ignored cuda_cases::equal`.

use kernels::{
    Backend, BootstrapOutput, BootstrapRequest, CpuBackend, CudaBackend, CudaMemory, KernelError, Method,
    Policy, Samples, Statistic, Streams, select,
};

use crate::cuda_emulator::CHILD;

/// Whether this process was started to be tested with a device.
fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn expected() -> String {
    std::env::var("EXPECTED").unwrap()
}

/// All that an answer says, with numbers as bits, but for where it was computed.
fn bits(out: &BootstrapOutput) -> impl PartialEq + std::fmt::Debug + use<> {
    let numbers = |column: &[f64]| column.iter().map(|number| number.to_bits()).collect::<Vec<u64>>();
    (
        [&out.estimate, &out.low, &out.high, &out.se, &out.dropped_share].map(|column| numbers(column)),
        (out.n.clone(), out.n_second.clone(), out.computation.clone(), out.flags.clone(), out.method),
    )
}

/// Fails unless device and CPU agree.
#[track_caller]
fn assert_equal(cuda: &CudaBackend, request: &BootstrapRequest<'_>) {
    let (got, expected) = (cuda.bootstrap(request).unwrap(), CpuBackend::new().bootstrap(request).unwrap());
    assert_eq!(got.provenance.backend, "cuda");
    for group in 0..expected.n.len() {
        let of = |out: &BootstrapOutput| {
            [out.estimate[group], out.low[group], out.high[group], out.se[group], out.dropped_share[group]]
        };
        let same = of(&got).map(f64::to_bits) == of(&expected).map(f64::to_bits);
        assert!(
            same,
            "group {group} of {} values, {:?} {:?}, {} resamples: {:?}, expected {:?}",
            expected.n[group],
            request.statistic,
            request.method,
            request.resamples,
            of(&got),
            of(&expected)
        );
    }
    assert_eq!(bits(&got), bits(&expected));
}

const COMBINATIONS: [(Statistic, Method); 16] = [
    (Statistic::Mean, Method::Percentile),
    (Statistic::Mean, Method::Basic),
    (Statistic::Mean, Method::Bca),
    (Statistic::Mean, Method::Studentized),
    (Statistic::Sum, Method::Bca),
    (Statistic::Sum, Method::Studentized),
    (Statistic::PairedDifference, Method::Bca),
    (Statistic::Iqm, Method::Bca),
    (Statistic::TrimmedMean(0.0), Method::Percentile),
    (Statistic::TrimmedMean(0.1), Method::Basic),
    (Statistic::Median, Method::Percentile),
    (Statistic::Quantile(0.3), Method::Basic),
    (Statistic::MeanDifference, Method::Percentile),
    (Statistic::MeanDifference, Method::Basic),
    (Statistic::MeanDifference, Method::Bca),
    (Statistic::MeanDifference, Method::Studentized),
];

/// Groups of given sizes, with ties, both zeros and offsets; other numbers for another `salt`.
fn groups(sizes: &[u32], salt: u64) -> (Vec<f64>, Vec<u32>) {
    let mut offsets = vec![0];
    sizes.iter().for_each(|size| offsets.push(offsets[offsets.len() - 1] + size));
    let mut state = salt;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut values = Vec::new();
    for (index, &size) in sizes.iter().enumerate() {
        let kind = index % 4;
        values.extend((0..size).map(|_| match kind {
            0 => next() - 0.5,
            1 => (next() * 5.0).floor() - 2.0,
            2 => -next().ln() * 1e-3,
            _ => 1e9 + next(),
        }));
    }
    (values, offsets)
}

/// Runs every combination, with shared and independent resamples.
fn all_combinations(cuda: &CudaBackend, sizes: &[u32], resamples: u32) {
    let (first, first_offsets) = groups(sizes, 1);
    let reversed: Vec<u32> = sizes.iter().rev().copied().collect();
    let (other, other_offsets) = groups(&reversed, 2);
    let (pairs, pair_offsets) = groups(sizes, 3);
    let names: Vec<u32> = (0..sizes.len() as u32).map(|group| group / 2 * 7).collect();
    for (statistic, method) in COMBINATIONS {
        for streams in [Streams::Shared, Streams::Independent(&names)] {
            let request = BootstrapRequest {
                second: match statistic {
                    Statistic::MeanDifference => Some(Samples { values: &other, offsets: &other_offsets }),
                    Statistic::PairedDifference => Some(Samples { values: &pairs, offsets: &pair_offsets }),
                    _ => None,
                },
                streams,
                ..BootstrapRequest::new(Samples { values: &first, offsets: &first_offsets }, statistic)
            };
            assert_equal(cuda, &request.method(method).resamples(resamples).seed(0x0123_4567_89ab_cdef));
        }
    }
}

mod equal {
    use proptest::prelude::*;

    use super::*;

    fn cuda() -> Option<CudaBackend> {
        is_child().then(|| CudaBackend::new(0).unwrap())
    }

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn every_size_and_combination() {
        let Some(cuda) = cuda() else { return };
        let sizes: Vec<u32> =
            (0..=33).chain([50, 100, 101, 102, 257, 1_000, 1_024, 1_025, 4_096, 4_097, 5_000]).collect();
        // No multiple of a block, a panel or a warp.
        all_combinations(&cuda, &sizes, 333);
        println!("emulated: {} sizes, {} combinations", sizes.len(), 2 * COMBINATIONS.len());
    }

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn many_groups_of_one_size_and_awkward_numbers_of_resamples() {
        let Some(cuda) = cuda() else { return };
        for resamples in [1, 2, 31, 32, 255, 256, 257, 1_025] {
            all_combinations(&cuda, &[20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 9, 9, 12, 12], resamples);
        }
    }

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn chunks_change_no_bit() {
        let Some(cuda) = cuda() else { return };
        let many: Vec<u32> = [20; 40].into_iter().chain([9, 33, 33, 700]).collect();
        for (sizes, bytes) in [
            (&many[..], 1 << 30),
            (&many, 900_000),
            (&many, 500_000),
            // Counts of large samples need 4.6 MB for one panel: two lanes, and only one.
            (&[20, 20, 4_500, 4_500, 20], 12_000_000),
            (&[20, 20, 4_500, 4_500, 20], 6_000_000),
        ] {
            all_combinations(&cuda.clone().with_memory(CudaMemory::AtMost(bytes)), sizes, 600);
        }
    }

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn crowded_bins_are_split() {
        let Some(cuda) = cuda() else { return };
        // Few different replicates, and replicates that an outlier pushes into one bin.
        let coins: Vec<f64> = (0..40).map(|i| f64::from(i % 2)).collect();
        let mut outlier = vec![0.0; 38];
        outlier.extend([1e-200, 1e200]);
        let values = [coins, outlier].concat();
        let samples = Samples { values: &values, offsets: &[0, 40, 80] };
        for method in [Method::Percentile, Method::Bca, Method::Studentized] {
            for level in [0.001, 0.5, 0.95, 0.9999] {
                let request = BootstrapRequest::new(samples, Statistic::Mean).method(method).level(level);
                assert_equal(&cuda, &request.resamples(3_000));
            }
        }
    }

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn requests_from_several_threads_at_once() {
        let Some(cuda) = cuda() else { return };
        std::thread::scope(|scope| {
            for salt in 0..4 {
                let cuda = &cuda;
                scope.spawn(move || {
                    let (values, offsets) = groups(&[20, 21, 22, 5_000], salt);
                    let samples = Samples { values: &values, offsets: &offsets };
                    assert_equal(cuda, &BootstrapRequest::new(samples, Statistic::Mean).resamples(500));
                });
            }
        });
    }

    fn any_groups() -> impl Strategy<Value = Vec<Vec<f64>>> {
        let value = prop_oneof![
            4 => -1.0f64..1.0,
            2 => (-2i8..3).prop_map(f64::from),
            1 => Just(-0.0),
            1 => Just(1e12),
        ];
        let size = prop_oneof![0usize..4, Just(8), Just(9), Just(20), Just(33), Just(130)];
        let group = size.prop_flat_map(move |size| prop::collection::vec(value.clone(), size));
        prop::collection::vec(group, 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        #[ignore = "needs a device or the emulator"]
        fn any_request(
            groups in any_groups(),
            combination in 0..COMBINATIONS.len(),
            seed in any::<u64>(),
            resamples in 1u32..700,
            level in 0.01f64..0.999,
            independent in any::<bool>(),
            bytes in prop_oneof![Just(u64::MAX), 300_000u64..2_000_000],
        ) {
            let Some(cuda) = cuda() else { return Ok(()) };
            let mut offsets = vec![0u32];
            groups.iter().for_each(|group| offsets.push(offsets[offsets.len() - 1] + group.len() as u32));
            let values = groups.concat();
            let names: Vec<u32> = (0..groups.len() as u32).map(|group| group * 0x1234_5678).collect();
            let samples = Samples { values: &values, offsets: &offsets };
            let (statistic, method) = COMBINATIONS[combination];
            let request = BootstrapRequest {
                second: statistic.has_second_sample().then_some(samples),
                streams: if independent { Streams::Independent(&names) } else { Streams::Shared },
                ..BootstrapRequest::new(samples, statistic)
            };
            let request = request.method(method).resamples(resamples).level(level).seed(seed);
            assert_equal(&cuda.with_memory(CudaMemory::AtMost(bytes)), &request);
        }
    }
}

mod automatic {
    use super::*;

    #[test]
    #[ignore = "needs the emulator"]
    fn small_on_the_cpu_and_the_answer_says_so() {
        if !is_child() {
            return;
        }
        let selection = select(Policy::Auto).unwrap();
        assert_eq!(selection.fallback, None);
        let (values, offsets) = groups(&[20; 10], 1);
        let samples = Samples { values: &values, offsets: &offsets };
        let out = selection.backend.bootstrap(&BootstrapRequest::new(samples, Statistic::Mean)).unwrap();
        assert_eq!((out.provenance.backend, out.provenance.fallback), ("cpu", None));
        assert_eq!(selection.backend.info().name, "auto");
    }

    #[test]
    #[ignore = "needs the emulator"]
    fn a_device_by_name_is_taken_and_one_that_is_not_there_is_not() {
        if !is_child() {
            return;
        }
        let selection = select(Policy::Cuda { ordinal: 0 }).unwrap();
        assert_eq!(selection.backend.info().name, "cuda");
        let error = select(Policy::Cuda { ordinal: 1 }).err().unwrap();
        assert_eq!(error.code(), "device_unavailable");
        assert!(error.to_string().contains("no CUDA device 1; there are 1"), "{error}");
        // The device is open now, and this would take the CPU tens of milliseconds.
        let out = heavy(&*select(Policy::Auto).unwrap().backend);
        assert_eq!((out.provenance.backend, &out.provenance.fallback), ("cuda", &None));
        assert_eq!(bits(&out), bits(&heavy(&CpuBackend::new())));
    }
}

#[test]
#[ignore = "needs a device or the emulator"]
fn what_has_no_kernel_is_computed_on_the_host_and_says_so() {
    if !is_child() {
        return;
    }
    let cuda = CudaBackend::new(0).unwrap();
    let (values, offsets) = groups(&[20, 30], 1);
    let samples = Samples { values: &values, offsets: &offsets };
    for statistic in [Statistic::Variance, Statistic::MeanRatio, Statistic::ProbabilityOfImprovement] {
        let second = statistic.has_second_sample().then_some(samples);
        let request = BootstrapRequest { second, ..BootstrapRequest::new(samples, statistic) }.resamples(300);
        let out = cuda.bootstrap(&request).unwrap();
        assert_eq!(bits(&out), bits(&CpuBackend::new().bootstrap(&request).unwrap()));
        assert_eq!(out.provenance.backend, "cpu");
        let reason = out.provenance.fallback.unwrap().to_string();
        assert!(reason.contains("no device kernel"), "{reason}");
    }
}

#[test]
#[ignore = "needs the emulator"]
fn environment_says_cpu() {
    if !is_child() {
        return;
    }
    let selection = select(Policy::Auto).unwrap();
    assert_eq!(selection.backend.info().name, "cpu");
    assert!(selection.fallback.unwrap().to_string().contains("RUNLAKE_DEVICE=cpu"));
    let error = select(Policy::Cuda { ordinal: 0 }).err().unwrap();
    assert_eq!(error.code(), "device_unavailable");
}

#[test]
#[ignore = "needs the emulator"]
fn environment_says_cuda() {
    if !is_child() {
        return;
    }
    assert_eq!(select(Policy::Auto).unwrap().backend.info().name, "cuda");
    assert_eq!(select(Policy::Cpu).unwrap().backend.info().name, "cpu");
}

#[test]
#[ignore = "needs the emulator"]
fn environment_says_nonsense() {
    if !is_child() {
        return;
    }
    for policy in [Policy::Auto, Policy::Cpu, Policy::Cuda { ordinal: 0 }] {
        assert_eq!(select(policy).err().unwrap().code(), "bad_device_name");
    }
}

/// The answer to a request that the CPU needs so long for that a device which is open is taken.
fn heavy(backend: &dyn Backend) -> BootstrapOutput {
    let (values, offsets) = groups(&[20; 30], 3);
    let names: Vec<u32> = (0..30).collect();
    let samples = Samples { values: &values, offsets: &offsets };
    let request = BootstrapRequest::new(samples, Statistic::Mean).streams(Streams::Independent(&names));
    backend.bootstrap(&request.resamples(100_000)).unwrap()
}

#[test]
#[ignore = "needs a broken driver"]
fn refused() {
    if !is_child() {
        return;
    }
    let error = select(Policy::Cuda { ordinal: 0 }).err().unwrap();
    assert_eq!(error.code(), "device_unavailable");
    assert!(error.to_string().contains(&expected()), "{error}");
    // Asked again, the answer is the same.
    assert_eq!(select(Policy::Cuda { ordinal: 0 }).err(), Some(error));
    let selection = select(Policy::Auto).unwrap();
    let (values, offsets) = groups(&[20], 1);
    let samples = Samples { values: &values, offsets: &offsets };
    let request = BootstrapRequest::new(samples, Statistic::Mean);
    let out = selection.backend.bootstrap(&request).unwrap();
    assert_eq!(bits(&out), bits(&CpuBackend::new().bootstrap(&request).unwrap()));
    let reason = selection.fallback.map(|reason| reason.to_string());
    // A driver that is there is only started for a request that is worth it.
    assert!(reason.is_none_or(|reason| reason.contains(&expected())));
}

#[test]
#[ignore = "needs a device that fails"]
fn fails_mid_way() {
    if !is_child() {
        return;
    }
    let (values, offsets) = groups(&[20, 20, 30, 40, 50, 60], 3);
    let samples = Samples { values: &values, offsets: &offsets };
    let request = BootstrapRequest::new(samples, Statistic::Mean).resamples(60_000);
    // Several chunks, so that both lanes are used.
    let cuda = CudaBackend::new(0).unwrap().with_memory(CudaMemory::AtMost(4_000_000));
    let error = cuda.bootstrap(&request).unwrap_err();
    assert_eq!(error.code(), expected(), "{error}");
    if let KernelError::Device { device, call, .. } = &error {
        assert!(device.contains("CPU emulation"), "{device}");
        assert!(["kernel", "copying"].iter().any(|word| call.contains(word)), "{call}");
        // A device that failed is not used again in this process, and nobody is told a number.
        assert_eq!(cuda.bootstrap(&request), Err(KernelError::Poisoned));
        assert_eq!(CudaBackend::new(0).err(), Some(KernelError::Poisoned));
    }
}

#[test]
#[ignore = "needs a device that fails"]
fn auto_goes_on_without_the_device() {
    if !is_child() {
        return;
    }
    CudaBackend::new(0).unwrap();
    let backend = select(Policy::Auto).unwrap().backend;
    let out = heavy(&*backend);
    assert_eq!(bits(&out), bits(&heavy(&CpuBackend::new())));
    assert_eq!(out.provenance.backend, "cpu");
    let reason = out.provenance.fallback.unwrap().to_string();
    assert!(reason.contains(&expected()), "{reason}");
    // And from then on without trying, when the device is lost.
    assert_eq!(heavy(&*backend).provenance.backend, "cpu");
}

#[test]
#[ignore = "needs a device with 3 MB"]
fn little_memory() {
    if !is_child() {
        return;
    }
    let cuda = CudaBackend::new(0).unwrap();
    // 600 groups of 2,000 resamples: 9.6 MB of replicates.
    let (values, offsets) = groups(&[20; 600], 3);
    let samples = Samples { values: &values, offsets: &offsets };
    assert_equal(&cuda, &BootstrapRequest::new(samples, Statistic::Mean).resamples(2_000));
    let error =
        cuda.bootstrap(&BootstrapRequest::new(samples, Statistic::Mean).resamples(500_000)).unwrap_err();
    let KernelError::OutOfMemory { need, free } = error else { panic!("{error}") };
    assert!(need > 4_000_000 && free <= 1_500_000, "{need} {free}");
    // That was no failure of the device.
    assert_equal(&cuda, &BootstrapRequest::new(samples, Statistic::Iqm).resamples(300));
}

#[test]
#[ignore = "needs a device or the emulator"]
fn ceilings_are_measured() {
    if !is_child() {
        return;
    }
    let ceilings = CudaBackend::new(0).unwrap().ceilings().unwrap();
    assert!(ceilings.copied_bytes_per_second > 1e6, "{ceilings:?}");
    assert!(ceilings.multiply_adds_per_second > 1e6, "{ceilings:?}");
    assert!(ceilings.wide_multiplies_per_second > 1e6, "{ceilings:?}");
}
