//! Permutation tests: expected values of independent packages, sizes at which the ways of counting meet, and
//! what must not matter.

use kernels::rng::{Stream, Tag, uniform, words64};
use kernels::{
    Backend, CpuBackend, Design, Flags, InstructionSet, PermutationComputation, PermutationOutput,
    PermutationRequest, PermutationStatistic, Samples, Streams, all_pairs,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::shared::{assert_close, number, numbers, vectors};

fn flat(groups: &[Vec<f64>]) -> (Vec<f64>, Vec<u32>) {
    let mut offsets = vec![0];
    for group in groups {
        offsets.push(offsets[offsets.len() - 1] + group.len() as u32);
    }
    (groups.concat(), offsets)
}

/// One comparison of two samples, drawn or exact as `max_exact` says.
fn two(a: &[f64], b: &[f64], statistic: PermutationStatistic, max_exact: u64) -> PermutationOutput {
    let (a_offsets, b_offsets) = ([0, a.len() as u32], [0, b.len() as u32]);
    let second = Samples { values: b, offsets: &b_offsets };
    let first = Samples { values: a, offsets: &a_offsets };
    let request = PermutationRequest::new(first, Design::TwoSamples(second), statistic);
    CpuBackend::new().permutation(&request.max_exact(max_exact).resamples(20_000).seed(5)).unwrap()
}

fn signs(d: &[f64], statistic: PermutationStatistic, max_exact: u64) -> PermutationOutput {
    let offsets = [0, d.len() as u32];
    let request = PermutationRequest::new(Samples { values: d, offsets: &offsets }, Design::Signs, statistic);
    CpuBackend::new().permutation(&request.max_exact(max_exact).resamples(20_000).seed(5)).unwrap()
}

fn several(samples: &[Vec<f64>], statistic: PermutationStatistic, max_exact: u64) -> PermutationOutput {
    let (values, offsets) = flat(samples);
    let blocks = [0, samples.len() as u32];
    let request = PermutationRequest::new(
        Samples { values: &values, offsets: &offsets },
        Design::Several(&blocks),
        statistic,
    );
    CpuBackend::new().permutation(&request.max_exact(max_exact).resamples(20_000).seed(5)).unwrap()
}

/// All p-values of one comparison.
fn p_values(out: &PermutationOutput, index: usize) -> [f64; 5] {
    [&out.p_greater, &out.p_less, &out.p_two_sided, &out.p_absolute, &out.p_minimum]
        .map(|column| column[index])
}

const DEFAULT: u64 = kernels::MAX_EXACT;

#[test]
fn exact_tests_match_full_enumerations() {
    let Some(vectors) = vectors("permutation") else { return };
    let mut compared = 0;
    for vector in &vectors {
        let (input, expected) = (&vector["input"], &vector["expected"]);
        if vector["name"].as_str().unwrap().starts_with("monte_carlo") {
            let (a, b) = (numbers(&input["a"]), numbers(&input["b"]));
            let out = two(&a, &b, PermutationStatistic::MeanDifference, 0);
            let (p, draws) = (number(&expected["p"]), 20_000.0f64);
            let bound = 5.0 * (p * (1.0 - p) * (1.0 / draws + 1.0 / 400_000.0)).sqrt() + 1.0 / draws;
            assert!((out.p_greater[0] - p).abs() < bound, "{}: {}", vector["name"], out.p_greater[0]);
            compared += 1;
            continue;
        }
        let out = if input["d"].is_array() {
            signs(&numbers(&input["d"]), PermutationStatistic::MeanDifference, DEFAULT)
        } else if input["a"].is_array() {
            let (a, b) = (numbers(&input["a"]), numbers(&input["b"]));
            if expected["welch_t"].is_object() {
                let out = two(&a, &b, PermutationStatistic::WelchT, DEFAULT);
                let expected = &expected["welch_t"];
                for (key, got) in
                    [("statistic", out.statistic[0]), ("greater", out.p_greater[0]), ("less", out.p_less[0])]
                {
                    assert_close(vector, key, got, number(&expected[key]));
                    compared += 1;
                }
            }
            two(&a, &b, PermutationStatistic::MeanDifference, DEFAULT)
        } else {
            let sizes = numbers(&vector["params"]["n"]);
            for (index, n) in sizes.into_iter().enumerate() {
                let values: Vec<f64> = (0..n as usize).map(|i| (i as f64 * 0.7).sin()).collect();
                let unpaired = two(&values, &values, PermutationStatistic::MeanDifference, DEFAULT);
                let paired = signs(&values, PermutationStatistic::MeanDifference, DEFAULT);
                for (key, got) in [
                    ("unpaired_one_sided", unpaired.p_minimum[0]),
                    ("unpaired_two_sided", 2.0 * unpaired.p_minimum[0]),
                    ("paired_one_sided", paired.p_minimum[0]),
                ] {
                    assert_close(vector, key, got, number(&expected[key][index]));
                    compared += 1;
                }
            }
            continue;
        };
        assert!(out.computation[0].is_exact());
        let [greater, less, two_sided, absolute, minimum] = p_values(&out, 0);
        for (key, expected) in expected.as_object().unwrap() {
            let got = match key.as_str() {
                "statistic" => out.statistic[0],
                "greater" => greater,
                "less" => less,
                "two-sided" => two_sided,
                "abs" => absolute,
                "min_p" => minimum,
                "count" => out.relabellings[0],
                _ => continue,
            };
            assert_close(vector, key, got, number(expected));
            compared += 1;
        }
    }
    assert!(compared >= 330, "{compared}");
}

/// P-values of one alternative in the vectors of rank tests.
fn rank_vector(vector: &Value, out: &PermutationOutput, statistic: &str, compared: &mut usize) {
    let [greater, less, two_sided, ..] = p_values(out, 0);
    for (alternative, got) in [("greater", greater), ("less", less), ("two-sided", two_sided)] {
        let expected = &vector["expected"][alternative];
        if alternative == "greater" {
            assert_close(vector, "statistic", out.statistic[0], number(&expected[statistic]));
        }
        if expected["exact_p"].is_number() {
            assert_close(vector, "exact_p", got, number(&expected["exact_p"]));
            *compared += 1;
        }
    }
}

#[test]
fn rank_sums_match_exact_rank_tests() {
    let Some(vectors) = vectors("rank_tests") else { return };
    let mut compared = 0;
    for vector in &vectors {
        let input = &vector["input"];
        match vector["params"]["test"].as_str() {
            Some("mann_whitney") => {
                let (a, b) = (numbers(&input["a"]), numbers(&input["b"]));
                let out = two(&a, &b, PermutationStatistic::RankSum, DEFAULT);
                assert!(out.computation[0].is_exact(), "{}", vector["name"]);
                rank_vector(vector, &out, "U", &mut compared);
            }
            Some("wilcoxon") if input["a"].is_array() => {
                let (a, b) = (numbers(&input["a"]), numbers(&input["b"]));
                let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
                let out = signs(&differences, PermutationStatistic::RankSum, DEFAULT);
                rank_vector(vector, &out, "W", &mut compared);
            }
            _ => {}
        }
    }
    assert!(compared >= 60, "{compared}");
}

#[test]
fn large_rank_sums_have_exact_tails() {
    // Complete separation of 40 and 40: one relabelling of C(80, 40).
    let (a, b): (Vec<f64>, Vec<f64>) = (0..40).map(|i| (f64::from(i) + 100.0, f64::from(i))).unzip();
    let out = two(&a, &b, PermutationStatistic::RankSum, DEFAULT);
    assert_eq!(out.computation[0], PermutationComputation::Distribution);
    let all = 1.075_072_087_333_361_8e23;
    assert!((out.relabellings[0] / all - 1.0).abs() < 1e-12 && (out.p_greater[0] * all - 1.0).abs() < 1e-12);
    assert!((out.p_absolute[0] * all - 2.0).abs() < 1e-12, "{}", out.p_absolute[0]);
    assert!((out.p_minimum[0] / out.p_greater[0] - 1.0).abs() < 1e-12);
}

/// The known p-value of an F test whose data are far from any edge.
#[test]
fn several_samples_agree_with_enumeration_and_with_the_f_distribution() {
    let samples = [vec![1.0, 2.5, 2.0], vec![3.5, 4.0, 3.0], vec![6.0, 5.0, 5.5]];
    for statistic in [PermutationStatistic::AnovaF, PermutationStatistic::KruskalWallis] {
        let exact = several(&samples, statistic, DEFAULT);
        assert_eq!((exact.relabellings[0], exact.n[0]), (1_680.0, 9));
        // Only the 6 labellings of this one partition separate the samples.
        assert!((exact.p_greater[0] - 6.0 / 1_680.0).abs() < 1e-15, "{}", exact.p_greater[0]);
        let drawn = several(&samples, statistic, 0);
        assert!((drawn.p_greater[0] - exact.p_greater[0]).abs() < 0.002);
    }
    // 12 values in three samples of four: F = 27 for means 0, 3, 6 with variance 1 (5/3 here).
    let spread = [-1.5, -0.5, 0.5, 1.5];
    let shifted = |by: f64| spread.iter().map(|x| x + by).collect::<Vec<_>>();
    let out = several(&[shifted(0.0), shifted(3.0), shifted(6.0)], PermutationStatistic::AnovaF, DEFAULT);
    assert!((out.statistic[0] - 36.0 / (5.0 / 3.0)).abs() < 1e-12, "{}", out.statistic[0]);
}

#[test]
fn drawn_and_exact_tests_agree_for_every_statistic() {
    let a: Vec<f64> = (0..9).map(|i| 1.3 + f64::from(i * 7 % 9) / 9.0).collect();
    let b: Vec<f64> = (0..8).map(|i| 1.0 + f64::from(i * 3 % 8) / 7.0).collect();
    for statistic in [
        PermutationStatistic::MeanDifference,
        PermutationStatistic::WelchT,
        PermutationStatistic::MeanRatio,
        PermutationStatistic::RankSum,
    ] {
        let (exact, drawn) = (two(&a, &b, statistic, DEFAULT), two(&a, &b, statistic, 0));
        assert!(exact.computation[0].is_exact());
        assert_eq!(drawn.computation[0], PermutationComputation::Resampling);
        assert_eq!(exact.statistic, drawn.statistic);
        for (exact, drawn) in p_values(&exact, 0).into_iter().zip(p_values(&drawn, 0)).take(4) {
            assert!((exact - drawn).abs() < 0.015, "{statistic:?}: {exact} and {drawn}");
        }
        assert_eq!(drawn.p_minimum[0], 1.0 / 20_001.0);
    }
    let differences: Vec<f64> = a.iter().map(|x| x - 1.5).collect();
    for statistic in [PermutationStatistic::MeanDifference, PermutationStatistic::RankSum] {
        let (exact, drawn) = (signs(&differences, statistic, DEFAULT), signs(&differences, statistic, 0));
        for (exact, drawn) in p_values(&exact, 0).into_iter().zip(p_values(&drawn, 0)).take(4) {
            assert!((exact - drawn).abs() < 0.015, "{statistic:?}: {exact} and {drawn}");
        }
    }
}

#[test]
fn the_ratio_of_positive_means_is_ordered_as_the_difference() {
    let (a, b) = ([3.0, 5.0, 4.5, 6.0], [2.0, 3.5, 2.5]);
    let (ratio, difference) = (
        two(&a, &b, PermutationStatistic::MeanRatio, DEFAULT),
        two(&a, &b, PermutationStatistic::MeanDifference, DEFAULT),
    );
    assert_eq!(p_values(&ratio, 0), p_values(&difference, 0));
    assert!((ratio.statistic[0] - 4.625 / (8.0 / 3.0)).abs() < 1e-15);
    // With all signs turned the ratio is the same, and so is its test.
    let negative = |values: &[f64]| values.iter().map(|x| -x).collect::<Vec<_>>();
    let turned = two(&negative(&a), &negative(&b), PermutationStatistic::MeanRatio, DEFAULT);
    assert_eq!(p_values(&turned, 0), p_values(&ratio, 0));
    let mixed = two(&a, &[-2.0, 3.5, 2.5], PermutationStatistic::MeanRatio, DEFAULT);
    assert_eq!(mixed.flags, [Flags::empty()]);
    let mixed = two(&a, &[-9.0, 3.5, 2.5], PermutationStatistic::MeanRatio, DEFAULT);
    assert_eq!(mixed.flags, [Flags::DENOMINATOR]);
    assert!(mixed.p_greater[0].is_nan() && mixed.statistic[0].is_finite());
}

#[test]
fn samples_at_the_edges_are_flagged_and_never_wrong() {
    use PermutationStatistic::{MeanDifference, MeanRatio, RankSum, WelchT};
    for statistic in [MeanDifference, WelchT, MeanRatio, RankSum] {
        let absent = two(&[], &[1.0, 2.0], statistic, DEFAULT);
        assert_eq!((absent.flags[0], absent.relabellings[0]), (Flags::ABSENT, 0.0));
        assert!(absent.p_greater[0].is_nan() && absent.statistic[0].is_nan());
        let constant = two(&[2.0; 4], &[2.0; 3], statistic, DEFAULT);
        assert_eq!(constant.flags, [Flags::ZERO_VARIANCE]);
        assert_eq!(p_values(&constant, 0), [1.0; 5]);
    }
    assert_eq!(two(&[1.0], &[2.0, 3.0], WelchT, DEFAULT).flags, [Flags::DEGENERATE]);
    assert_eq!(two(&[1.0], &[2.0, 3.0], MeanDifference, DEFAULT).p_less, [1.0 / 3.0]);
    let apart = two(&[2.0; 3], &[1.0; 3], WelchT, DEFAULT);
    assert_eq!((apart.statistic[0], apart.p_greater[0]), (f64::INFINITY, 0.05));
    let narrow = two(&[1e6 + 0.001, 1e6 + 0.003, 1e6 + 0.002], &[0.001, 0.004, 0.002], WelchT, DEFAULT);
    assert_eq!(narrow.p_greater, [0.05]);
    let one = signs(&[3.0], MeanDifference, DEFAULT);
    assert_eq!((one.p_greater[0], one.p_less[0], one.statistic[0]), (0.5, 1.0, 3.0));
    assert_eq!(signs(&[0.0; 5], MeanDifference, DEFAULT).flags, [Flags::ZERO_VARIANCE]);
    assert_eq!(signs(&[0.0; 5], RankSum, DEFAULT).p_greater, [1.0]);
    assert_eq!(signs(&[], MeanDifference, DEFAULT).flags, [Flags::ABSENT]);
    let singles = several(&[vec![1.0], vec![2.0]], PermutationStatistic::AnovaF, DEFAULT);
    assert_eq!(singles.flags, [Flags::DEGENERATE]);
    let gap = several(&[vec![1.0, 3.0], vec![]], PermutationStatistic::AnovaF, DEFAULT);
    assert_eq!(gap.flags, [Flags::ABSENT]);
}

#[test]
fn offsets_and_scales_change_no_p_value() {
    let a: Vec<f64> = (0..8).map(|i| f64::from(i * 5 % 8) * 0.125).collect();
    let b: Vec<f64> = (0..7).map(|i| f64::from(i * 3 % 7) * 0.25).collect();
    let changed =
        |values: &[f64], change: fn(f64) -> f64| values.iter().map(|x| change(*x)).collect::<Vec<_>>();
    for statistic in
        [PermutationStatistic::MeanDifference, PermutationStatistic::WelchT, PermutationStatistic::RankSum]
    {
        for max_exact in [0, DEFAULT] {
            let plain = two(&a, &b, statistic, max_exact);
            for change in [|x: f64| x + 1e15, |x: f64| x * 2f64.powi(1018), |x: f64| x * 2f64.powi(-1040)] {
                let out = two(&changed(&a, change), &changed(&b, change), statistic, max_exact);
                assert_eq!(p_values(&out, 0), p_values(&plain, 0), "{statistic:?}");
            }
        }
    }
    let far = two(&[-1.7e308, 1.7e308], &[1.7e308, 1.6e308], PermutationStatistic::MeanDifference, DEFAULT);
    assert_eq!(far.relabellings, [6.0]);
    assert!((far.statistic[0] + 1.65e308).abs() < 1e294);
}

#[test]
fn all_pairs_are_the_comparisons_one_by_one() {
    let groups: Vec<Vec<f64>> = (0..6)
        .map(|group| (0..5 + group % 3).map(|i| ((i * 7 + group * 3) as f64 * 0.9).sin()).collect())
        .collect();
    let (values, offsets) = flat(&groups);
    let pairs = all_pairs(6);
    for max_exact in [0, DEFAULT] {
        let request = PermutationRequest::new(
            Samples { values: &values, offsets: &offsets },
            Design::Pairs(&pairs),
            PermutationStatistic::WelchT,
        );
        let out =
            CpuBackend::new().permutation(&request.max_exact(max_exact).resamples(20_000).seed(5)).unwrap();
        assert_eq!(out.statistic.len(), 15);
        for (index, [first, second]) in pairs.iter().enumerate() {
            let (first, second) = (&groups[*first as usize], &groups[*second as usize]);
            let one = two(first, second, PermutationStatistic::WelchT, max_exact);
            assert_eq!(p_values(&out, index), p_values(&one, 0));
            assert_eq!((out.n[index], out.n_second[index]), (first.len() as u32, second.len() as u32));
        }
    }
}

#[test]
fn p_values_of_equal_samples_are_uniform() {
    const COMPARISONS: usize = 4_000;
    let stream = Stream { seed: 23, stream: 0, tag: Tag::Other, sub: 0 };
    let value = |i: usize| uniform(words64(stream.block(i as u32, 0))[0]).powi(2);
    let values: Vec<f64> = (0..COMPARISONS * 30).map(value).collect();
    let offsets = |n: usize| (0..=COMPARISONS).map(|c| (c * n) as u32).collect::<Vec<_>>();
    let (first, second) = values.split_at(COMPARISONS * 18);
    let (first_offsets, second_offsets) = (offsets(18), offsets(12));
    let streams: Vec<u32> = (0..COMPARISONS as u32).collect();
    let request = PermutationRequest::new(
        Samples { values: first, offsets: &first_offsets },
        Design::TwoSamples(Samples { values: second, offsets: &second_offsets }),
        PermutationStatistic::WelchT,
    );
    let request = request.resamples(199).streams(Streams::Independent(&streams));
    let out = CpuBackend::new().permutation(&request).unwrap();
    for level in [0.05, 0.25, 0.5, 0.9] {
        let share = out.p_greater.iter().filter(|p| **p <= level).count() as f64 / COMPARISONS as f64;
        let deviation = (level * (1.0 - level) / COMPARISONS as f64).sqrt();
        assert!((share - level).abs() < 4.5 * deviation, "{level}: {share}");
    }
}

/// Everything that a comparison answers, as bits.
fn bits(out: &PermutationOutput) -> Vec<[u64; 7]> {
    (0..out.statistic.len())
        .map(|index| {
            let [a, b, c, d, e] = p_values(out, index);
            [out.statistic[index], a, b, c, d, e, out.relabellings[index]].map(f64::to_bits)
        })
        .collect()
}

const STATISTICS: [PermutationStatistic; 4] = [
    PermutationStatistic::MeanDifference,
    PermutationStatistic::WelchT,
    PermutationStatistic::MeanRatio,
    PermutationStatistic::RankSum,
];

fn run_on(
    backend: &CpuBackend,
    groups: &[(Vec<f64>, Vec<f64>)],
    statistic: PermutationStatistic,
    max_exact: u64,
    seed: u64,
) -> PermutationOutput {
    let (first, second): (Vec<Vec<f64>>, Vec<Vec<f64>>) = groups.iter().cloned().unzip();
    let ((first, first_offsets), (second, second_offsets)) = (flat(&first), flat(&second));
    let second = Samples { values: &second, offsets: &second_offsets };
    let first = Samples { values: &first, offsets: &first_offsets };
    let request = PermutationRequest::new(first, Design::TwoSamples(second), statistic);
    backend.permutation(&request.max_exact(max_exact).resamples(300).seed(seed)).unwrap()
}

fn groups() -> impl Strategy<Value = Vec<(Vec<f64>, Vec<f64>)>> {
    let value = prop_oneof![
        4 => -1.0f64..1.0,
        2 => (-2i8..3).prop_map(f64::from),
        1 => Just(-0.0),
        1 => Just(1e12),
    ];
    let size = prop_oneof![0usize..4, Just(6), Just(9), Just(17)];
    let group = size.prop_flat_map(move |size| prop::collection::vec(value.clone(), size));
    prop::collection::vec((group.clone(), group), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_and_batching_change_no_bit(
        groups in groups(),
        statistic in 0..STATISTICS.len(),
        max_exact in prop_oneof![Just(0u64), Just(500), Just(20_000)],
        seed in any::<u64>(),
        split in any::<prop::sample::Index>(),
    ) {
        let statistic = STATISTICS[statistic];
        let backend = CpuBackend::new();
        let whole = bits(&run_on(&backend, &groups, statistic, max_exact, seed));
        let at = split.index(groups.len() + 1);
        let mut parts = bits(&run_on(&backend, &groups[..at], statistic, max_exact, seed));
        parts.extend(bits(&run_on(&backend, &groups[at..], statistic, max_exact, seed)));
        prop_assert_eq!(&parts, &whole);
        let mut turned = groups.clone();
        turned.reverse();
        turned.iter_mut().for_each(|(first, second)| { first.reverse(); let half = second.len() / 2; second.rotate_left(half); });
        let mut answers = bits(&run_on(&backend, &turned, statistic, max_exact, seed));
        answers.reverse();
        prop_assert_eq!(&answers, &whole);
        for set in InstructionSet::ALL {
            if let Ok(backend) = CpuBackend::with_instruction_set(set) {
                prop_assert_eq!(&bits(&run_on(&backend, &groups, statistic, max_exact, seed)), &whole);
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let sample = |group: usize, n: usize| -> Vec<f64> {
        (0..n).map(|i| ((i * 7919 + group * 104_729) % 10_007) as f64 / 10_007.0).collect()
    };
    let mut groups: Vec<(Vec<f64>, Vec<f64>)> =
        (0..40).map(|group| (sample(group, 30), sample(group + 1, 22))).collect();
    groups.push((sample(3, 9_000), sample(4, 4_097)));
    for statistic in STATISTICS {
        let answers = [1, 2, 8].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            bits(&pool.install(|| run_on(&CpuBackend::new(), &groups, statistic, DEFAULT, 42)))
        });
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0], answers[2]);
    }
}

#[test]
fn one_huge_comparison_beside_many_tiny_ones() {
    let huge: Vec<f64> = (0..300_000u64).map(|i| ((i * 7919) % 10_007) as f64).collect();
    let mut groups = vec![(huge.clone(), huge[..200_000].to_vec())];
    groups.extend((0..20_000).map(|i| (vec![f64::from(i), 2.0, 3.0], vec![1.0, f64::from(i % 7), 0.5])));
    let (first, second): (Vec<Vec<f64>>, Vec<Vec<f64>>) = groups.into_iter().unzip();
    let ((first, first_offsets), (second, second_offsets)) = (flat(&first), flat(&second));
    let second = Samples { values: &second, offsets: &second_offsets };
    let first = Samples { values: &first, offsets: &first_offsets };
    for statistic in [PermutationStatistic::MeanDifference, PermutationStatistic::WelchT] {
        let request = PermutationRequest::new(first, Design::TwoSamples(second), statistic).resamples(99);
        let out = CpuBackend::new().permutation(&request).unwrap();
        assert_eq!(out.computation[0], PermutationComputation::Resampling);
        assert!(out.p_greater[0] >= 0.01 && out.p_greater[0] <= 1.0 && out.statistic[0].abs() < 30.0);
        assert!(out.relabellings[1..].iter().all(|count| *count == 20.0));
    }
}

/// Counts at least and at most as large as observed, by Welch's t of every split from its values.
fn counts_of_every_split(first: &[f64], second: &[f64]) -> [f64; 2] {
    let pooled = [first, second].concat();
    let t = |mask: u32| {
        let side = |marked: bool| -> Vec<f64> {
            let of_side = pooled.iter().enumerate().filter(|(i, _)| (mask >> i & 1 == 1) == marked);
            of_side.map(|(_, value)| *value).collect()
        };
        let of = |values: &[f64]| {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n * (n - 1.0)))
        };
        let ((mean, error), (mean_second, error_second)) = (of(&side(true)), of(&side(false)));
        let (difference, error) = (mean - mean_second, error + error_second);
        if error > 1e-28 {
            difference / error.sqrt()
        } else if difference.abs() < 1e-13 {
            0.0
        } else {
            f64::INFINITY.copysign(difference)
        }
    };
    let observed = t((1 << first.len()) - 1);
    let mut counts = [0.0; 2];
    for mask in (0..1u32 << pooled.len()).filter(|mask| mask.count_ones() as usize == first.len()) {
        let (t, slack) = (t(mask), 1e-9 * (1.0 + observed.abs()));
        counts[0] += f64::from(u8::from(t == observed || t >= observed - slack));
        counts[1] += f64::from(u8::from(t == observed || t <= observed + slack));
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Of equal sizes, which are counted by their sums, and of unequal ones, which share the splits.
    #[test]
    fn welch_counts_are_those_of_every_split(
        groups in prop::collection::vec(
            (
                prop::collection::vec(-40i32..40, 2..7),
                prop::collection::vec(-40i32..40, 2..7),
            ),
            1..12,
        ),
        // Ties of decimals, ties of whole numbers, hardly any ties, and arms far apart.
        shape in 0..4,
    ) {
        let value = |(i, raw): (usize, &i32)| match shape {
            0 => f64::from(*raw) / 10.0,
            1 => f64::from(raw / 8),
            2 => (f64::from(*raw) * 0.37 + i as f64).sin(),
            _ => f64::from(*raw) * 0.001 + 7.0,
        };
        let arms: Vec<(Vec<f64>, Vec<f64>)> = groups
            .iter()
            .map(|(first, second)| {
                let shift = if shape == 3 { 50.0 } else { 0.0 };
                let moved = second.iter().enumerate().map(value).map(|value| value + shift).collect();
                (first.iter().enumerate().map(value).collect(), moved)
            })
            .collect();
        let out = run_on(&CpuBackend::new(), &arms, PermutationStatistic::WelchT, DEFAULT, 0);
        for (index, (first, second)) in arms.iter().enumerate() {
            let expected = counts_of_every_split(first, second);
            let total = out.relabellings[index];
            // Equal values throughout are one relabelling; every p-value is 1 there as well.
            let got = if out.flags[index].contains(Flags::ZERO_VARIANCE) {
                expected
            } else {
                [out.p_greater[index] * total, out.p_less[index] * total].map(f64::round)
            };
            prop_assert_eq!(got, expected, "{:?} {:?}", first, second);
        }
    }
}
