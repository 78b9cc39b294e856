//! Permutation tests with an emulated or a real device; started by the tests of `cuda`, as `cuda_cases` is.

use kernels::{
    Backend, CpuBackend, CudaBackend, CudaMemory, Design, KernelError, PermutationOutput, PermutationRequest,
    PermutationStatistic, Policy, Samples, Streams, select,
};

use crate::cuda_emulator::CHILD;

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn cuda() -> Option<CudaBackend> {
    is_child().then(|| CudaBackend::new(0).unwrap())
}

/// All that an answer says, with numbers as bits, but for where it was computed.
fn bits(out: &PermutationOutput) -> impl PartialEq + std::fmt::Debug + use<> {
    let columns = [
        &out.statistic,
        &out.p_greater,
        &out.p_less,
        &out.p_two_sided,
        &out.p_absolute,
        &out.p_minimum,
        &out.relabellings,
    ];
    let numbers = columns.map(|column| column.iter().map(|number| number.to_bits()).collect::<Vec<u64>>());
    (numbers, out.computation.clone(), out.n.clone(), out.n_second.clone(), out.flags.clone())
}

#[track_caller]
fn assert_equal(cuda: &CudaBackend, request: &PermutationRequest<'_>) {
    let (got, expected) =
        (cuda.permutation(request).unwrap(), CpuBackend::new().permutation(request).unwrap());
    assert_eq!((got.provenance.backend, &got.provenance.fallback), ("cuda", &None));
    let of = |out: &PermutationOutput, i: usize| {
        (out.statistic[i], out.p_greater[i], out.p_less[i], out.p_absolute[i])
    };
    for comparison in 0..expected.n.len() {
        let (got, expected) = (of(&got, comparison), of(&expected, comparison));
        assert_eq!(
            format!("{got:?}"),
            format!("{expected:?}"),
            "comparison {comparison} of {:?}, {} draws",
            request.statistic,
            request.resamples
        );
    }
    assert_eq!(bits(&got), bits(&expected));
}

/// Groups of given sizes of several kinds: spread, ties, far from zero, constant, one far outlier.
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
        values.extend((0..size).map(|i| match index % 5 {
            0 => next() + 0.5,
            1 => (next() * 4.0).floor() + 1.0,
            2 => 1e9 + next(),
            3 => 2.5,
            _ if i == 0 => 1e12,
            _ => next() * 1e-3 + 1.0,
        }));
    }
    (values, offsets)
}

/// Sizes of first and second samples: around bytes, words and tiles of masks, and empty ones.
const SIZES: [(u32, u32); 18] = [
    (0, 3),
    (1, 1),
    (1, 6),
    (2, 3),
    (4, 4),
    (5, 4),
    (8, 8),
    (10, 10),
    (10, 10),
    (10, 10),
    (16, 15),
    (16, 16),
    (17, 16),
    (32, 31),
    (33, 32),
    (40, 57),
    (130, 3),
    (150, 151),
];

/// Runs all statistics and designs, always drawing.
fn all_statistics(cuda: &CudaBackend, resamples: u32) {
    use PermutationStatistic::{AnovaF, KruskalWallis, MeanDifference, MeanRatio, RankSum, WelchT};
    let (first_sizes, second_sizes): (Vec<u32>, Vec<u32>) = SIZES.into_iter().unzip();
    let (first, first_offsets) = groups(&first_sizes, 1);
    let (second, second_offsets) = groups(&second_sizes, 9);
    let (differences, difference_offsets) = groups(&second_sizes, 4);
    let differences: Vec<f64> =
        differences.iter().enumerate().map(|(i, value)| if i % 3 == 0 { -value } else { *value }).collect();
    let samples = Samples { values: &first, offsets: &first_offsets };
    let other = Samples { values: &second, offsets: &second_offsets };
    let signed = Samples { values: &differences, offsets: &difference_offsets };
    let blocks: Vec<u32> = vec![0, 3, 7, 12, 18];
    let pairs: Vec<[u32; 2]> = (0..SIZES.len() as u32).map(|i| [i, (i * 7 + 3) % 18]).collect();
    let names: Vec<u32> = (0..SIZES.len() as u32).map(|i| i / 2 * 5).collect();
    let cases = [
        (samples, Design::TwoSamples(other), &[MeanDifference, WelchT, MeanRatio, RankSum][..]),
        (samples, Design::Pairs(&pairs), &[MeanDifference, WelchT]),
        (signed, Design::Signs, &[MeanDifference, RankSum]),
        (samples, Design::Several(&blocks), &[AnovaF, KruskalWallis]),
    ];
    for (samples, design, statistics) in cases {
        for &statistic in statistics {
            let request =
                PermutationRequest::new(samples, design, statistic).max_exact(0).seed(0x0123_4567_89ab);
            let request = request.resamples(resamples);
            assert_equal(cuda, &request);
            let names = &names[..request.comparisons()];
            assert_equal(cuda, &request.streams(Streams::Independent(names)));
        }
    }
}

mod equal {
    use super::*;

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn every_statistic_and_size_with_awkward_numbers_of_draws() {
        let Some(cuda) = cuda() else { return };
        for resamples in [1, 127, 1_024, 1_025, 2_500] {
            all_statistics(&cuda, resamples);
        }
        println!("emulated: permutation tests of {} sizes", SIZES.len());
    }

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn chunks_change_no_count() {
        let Some(cuda) = cuda() else { return };
        // An order of 301 values needs 1.2 MB for one panel.
        for bytes in [1 << 30, 4_000_000, 1_700_000] {
            all_statistics(&cuda.clone().with_memory(CudaMemory::AtMost(bytes)), 3_000);
        }
    }

    #[test]
    #[ignore = "needs a device or the emulator"]
    fn what_is_exact_stays_exact() {
        let Some(cuda) = cuda() else { return };
        let (values, offsets) = groups(&[4, 5, 40, 10], 2);
        let (other, other_offsets) = groups(&[4, 4, 40, 10], 3);
        let samples = Samples { values: &values, offsets: &offsets };
        let design = Design::TwoSamples(Samples { values: &other, offsets: &other_offsets });
        for statistic in [PermutationStatistic::MeanDifference, PermutationStatistic::WelchT] {
            let request = PermutationRequest::new(samples, design, statistic).resamples(500);
            assert_equal(&cuda, &request);
            let out = cuda.permutation(&request).unwrap();
            assert!(out.computation[0].is_exact() && !out.computation[2].is_exact());
        }
    }
}

/// A request that the CPU needs tens of milliseconds for.
fn heavy(backend: &dyn Backend) -> PermutationOutput {
    let (values, offsets) = groups(&[40; 40], 3);
    let (other, other_offsets) = groups(&[40; 40], 5);
    let samples = Samples { values: &values, offsets: &offsets };
    let design = Design::TwoSamples(Samples { values: &other, offsets: &other_offsets });
    let request = PermutationRequest::new(samples, design, PermutationStatistic::WelchT);
    backend.permutation(&request.resamples(400_000)).unwrap()
}

#[test]
#[ignore = "needs the emulator"]
fn automatic() {
    if !is_child() {
        return;
    }
    CudaBackend::new(0).unwrap();
    let out = heavy(&*select(Policy::Auto).unwrap().backend);
    assert_eq!((out.provenance.backend, &out.provenance.fallback), ("cuda", &None));
    assert_eq!(bits(&out), bits(&heavy(&CpuBackend::new())));
}

#[test]
#[ignore = "needs a device that fails"]
fn fails_mid_way() {
    if !is_child() {
        return;
    }
    let expected = std::env::var("EXPECTED").unwrap();
    let (values, offsets) = groups(&[30; 60], 3);
    let samples = Samples { values: &values, offsets: &offsets };
    // Masks of their own need more memory than the device is tested with.
    let names: Vec<u32> = (0..60).collect();
    let request = PermutationRequest::new(samples, Design::Signs, PermutationStatistic::MeanDifference);
    let request = request.streams(Streams::Independent(&names));
    let cuda = CudaBackend::new(0).unwrap();
    let error = cuda.permutation(&request.max_exact(0)).unwrap_err();
    assert_eq!(error.code(), expected, "{error}");
    if matches!(error, KernelError::Device { .. }) {
        assert_eq!(cuda.permutation(&request), Err(KernelError::Poisoned));
    } else {
        // That was no failure of the device: memory may be there the next time.
        assert!(matches!(cuda.permutation(&request), Ok(_) | Err(KernelError::OutOfMemory { .. })));
    }
}

#[test]
#[ignore = "needs a device with 3 MB"]
fn little_memory() {
    if !is_child() {
        return;
    }
    let cuda = CudaBackend::new(0).unwrap();
    let (values, offsets) = groups(&[200; 400], 3);
    let samples = Samples { values: &values, offsets: &offsets };
    let request = PermutationRequest::new(samples, Design::Signs, PermutationStatistic::MeanDifference);
    assert_equal(&cuda, &request.max_exact(0).resamples(1_500));
    // One panel of orders of 1,000 values needs 4 MB.
    let (values, offsets) = groups(&[400, 600], 3);
    let samples = Samples { values: &values, offsets: &offsets };
    let request = PermutationRequest::new(samples, Design::Several(&[0, 2]), PermutationStatistic::AnovaF);
    let Err(KernelError::OutOfMemory { need, free }) = cuda.permutation(&request) else {
        panic!("the device has 3 MB")
    };
    assert!(need > 4_000_000 && free <= 1_500_000, "{need} {free}");
}
