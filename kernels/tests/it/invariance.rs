//! An answer depends on data, seed and parameters alone, bit for bit.

use kernels::{
    Backend, BootstrapOutput, BootstrapRequest, CpuBackend, InstructionSet, Method, Samples, Statistic,
    Streams,
};
use proptest::prelude::*;

/// All numbers of one group as bits, so that NaN equals itself.
fn bits(out: &BootstrapOutput, group: usize) -> [u64; 5] {
    [out.estimate[group], out.low[group], out.high[group], out.se[group], out.dropped_share[group]]
        .map(f64::to_bits)
}

fn all_bits(out: &BootstrapOutput) -> Vec<[u64; 5]> {
    (0..out.estimate.len()).map(|group| bits(out, group)).collect()
}

fn flat(groups: &[Vec<f64>]) -> (Vec<f64>, Vec<u32>) {
    let mut offsets = vec![0];
    for group in groups {
        offsets.push(offsets[offsets.len() - 1] + group.len() as u32);
    }
    (groups.concat(), offsets)
}

/// Statistic, method and whether there is a second sample.
const COMBINATIONS: [(Statistic, Method); 11] = [
    (Statistic::Mean, Method::Percentile),
    (Statistic::Mean, Method::Bca),
    (Statistic::Mean, Method::Studentized),
    (Statistic::Iqm, Method::Bca),
    (Statistic::TrimmedMean(0.1), Method::Basic),
    (Statistic::Median, Method::Percentile),
    (Statistic::Quantile(0.3), Method::Basic),
    (Statistic::MeanDifference, Method::Percentile),
    (Statistic::MeanDifference, Method::Basic),
    (Statistic::MeanDifference, Method::Bca),
    (Statistic::MeanDifference, Method::Studentized),
];

#[derive(Debug, Clone)]
struct Setting {
    combination: usize,
    seed: u64,
    resamples: u32,
    independent: bool,
}

fn settings() -> impl Strategy<Value = Setting> {
    (0..COMBINATIONS.len(), any::<u64>(), 1u32..400, any::<bool>()).prop_map(
        |(combination, seed, resamples, independent)| Setting { combination, seed, resamples, independent },
    )
}

/// Few sizes, so that several groups share their resamples; ties, zeros of both signs, outliers.
fn groups() -> impl Strategy<Value = Vec<(Vec<f64>, Vec<f64>)>> {
    let value = prop_oneof![
        4 => -1.0f64..1.0,
        2 => (-2i8..3).prop_map(f64::from),
        1 => Just(-0.0),
        1 => Just(1e12),
    ];
    let size = prop_oneof![0usize..4, Just(6), Just(9), Just(20), Just(33)];
    let group = size.prop_flat_map(move |size| prop::collection::vec(value.clone(), size));
    prop::collection::vec((group.clone(), group), 1..9)
}

fn run_on(
    backend: &CpuBackend,
    groups: &[(Vec<f64>, Vec<f64>)],
    names: &[u32],
    setting: &Setting,
) -> BootstrapOutput {
    let (statistic, method) = COMBINATIONS[setting.combination];
    let (first, second): (Vec<Vec<f64>>, Vec<Vec<f64>>) = groups.iter().cloned().unzip();
    let ((first, first_offsets), (second, second_offsets)) = (flat(&first), flat(&second));
    let request = BootstrapRequest {
        second: (statistic == Statistic::MeanDifference)
            .then_some(Samples { values: &second, offsets: &second_offsets }),
        streams: if setting.independent { Streams::Independent(names) } else { Streams::Shared },
        ..BootstrapRequest::new(Samples { values: &first, offsets: &first_offsets }, statistic)
            .method(method)
            .seed(setting.seed)
            .resamples(setting.resamples)
    };
    backend.bootstrap(&request).unwrap()
}

fn run(groups: &[(Vec<f64>, Vec<f64>)], names: &[u32], setting: &Setting) -> BootstrapOutput {
    run_on(&CpuBackend::new(), groups, names, setting)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn group_order_batch_split_and_value_order_change_no_bit(
        groups in groups(),
        setting in settings(),
        split in any::<prop::sample::Index>(),
        turn in any::<prop::sample::Index>(),
    ) {
        let names: Vec<u32> = (0..groups.len() as u32).map(|group| group * 7 + 1).collect();
        let whole = all_bits(&run(&groups, &names, &setting));

        let at = split.index(groups.len() + 1);
        let mut parts = all_bits(&run(&groups[..at], &names[..at], &setting));
        parts.extend(all_bits(&run(&groups[at..], &names[at..], &setting)));
        prop_assert_eq!(&parts, &whole, "split at {}", at);

        let turn = turn.index(groups.len());
        let (mut turned, mut turned_names) = (groups.clone(), names.clone());
        turned.rotate_left(turn);
        turned_names.rotate_left(turn);
        for (first, second) in &mut turned {
            first.reverse();
            second.sort_unstable_by(|left, right| right.total_cmp(left));
        }
        let mut answers = all_bits(&run(&turned, &turned_names, &setting));
        answers.rotate_right(turn);
        prop_assert_eq!(&answers, &whole, "turned by {}", turn);
    }

    #[test]
    fn instruction_sets_give_the_same_bits(groups in groups(), setting in settings()) {
        let names: Vec<u32> = (0..groups.len() as u32).collect();
        let expected = all_bits(&run(&groups, &names, &setting));
        for set in InstructionSet::ALL {
            if let Ok(backend) = CpuBackend::with_instruction_set(set) {
                let got = all_bits(&run_on(&backend, &groups, &names, &setting));
                prop_assert_eq!(&got, &expected, "{:?}", set);
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let sample = |group: usize, n: usize| -> Vec<f64> {
        (0..n).map(|i| ((i * 7919 + group * 104_729) % 10_007) as f64 / 10_007.0).collect()
    };
    // Enough groups of one size for several chunks, one large sample, and odd ones.
    let mut groups: Vec<(Vec<f64>, Vec<f64>)> =
        (0..70).map(|group| (sample(group, 20), sample(group + 1, 12))).collect();
    groups.push((sample(3, 5_000), sample(4, 4_097)));
    groups.push((sample(3, 4_096), sample(4, 300)));
    let names: Vec<u32> = (0..groups.len() as u32).collect();
    for (combination, name) in COMBINATIONS.iter().enumerate() {
        for independent in [false, true] {
            let setting = Setting { combination, seed: 42, resamples: 999, independent };
            let answers = [1, 2, 8].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                all_bits(&pool.install(|| run(&groups, &names, &setting)))
            });
            assert_eq!(answers[0], answers[1], "{name:?}");
            assert_eq!(answers[0], answers[2], "{name:?}");
        }
    }
}

#[test]
fn seeds_and_streams_matter_and_equal_streams_share() {
    let values: Vec<f64> = (0..60).map(|i| (f64::from(i % 30) * 0.77).sin()).collect();
    let samples = Samples { values: &values, offsets: &[0, 30, 60] };
    let request = BootstrapRequest::new(samples, Statistic::Mean).resamples(500);
    let backend = CpuBackend::new();
    let shared = backend.bootstrap(&request).unwrap();
    // The two groups hold the same values, so shared resamples give the same interval.
    assert_eq!(bits(&shared, 0), bits(&shared, 1));
    let other_seed = backend.bootstrap(&request.seed(1)).unwrap();
    assert_ne!(bits(&shared, 0), bits(&other_seed, 0));
    let independent = backend.bootstrap(&request.streams(Streams::Independent(&[0, 5]))).unwrap();
    assert_eq!(bits(&shared, 0), bits(&independent, 0));
    assert_ne!(bits(&independent, 0), bits(&independent, 1));
}

#[test]
fn the_two_sides_of_a_difference_draw_independently() {
    let values: Vec<f64> = (0..40).map(|i| (f64::from(i) * 1.3).sin()).collect();
    let samples = Samples { values: &values, offsets: &[0, 40] };
    let backend = CpuBackend::new();
    let difference = backend.bootstrap(&BootstrapRequest::mean_difference(samples, samples)).unwrap();
    let mean = backend.bootstrap(&BootstrapRequest::new(samples, Statistic::Mean)).unwrap();
    // Equal draws on both sides would cancel to nothing; independent ones add their variances.
    assert!(
        (difference.se[0] / mean.se[0] / 2f64.sqrt() - 1.0).abs() < 0.05,
        "{}",
        difference.se[0] / mean.se[0]
    );
}
