//! Sums, variances, ratios, pairs and the probability of improvement, against resampling in so many words.

use kernels::describe;
use kernels::rng::{Stream, Tag};
use kernels::{
    Backend, BootstrapOutput, BootstrapRequest, Computation, CpuBackend, Flags, Method, Samples, Statistic,
};

const RESAMPLES: u32 = 3_000;
const SEED: u64 = 77;

fn wave(n: usize, base: f64, step: f64) -> Vec<f64> {
    (0..n).map(|i| base + (i as f64 * step).sin() + (i % 3) as f64 * 0.25).collect()
}

fn run(first: &[f64], second: Option<&[f64]>, statistic: Statistic, method: Method) -> BootstrapOutput {
    let first_offsets = [0, first.len() as u32];
    let second_offsets = [0, second.map_or(0, <[f64]>::len) as u32];
    let request = BootstrapRequest::new(Samples { values: first, offsets: &first_offsets }, statistic);
    let second = second.map(|values| Samples { values, offsets: &second_offsets });
    let request = BootstrapRequest { second, ..request }.method(method).resamples(RESAMPLES).seed(SEED);
    CpuBackend::new().bootstrap(&request).unwrap()
}

/// The resamples of a canonical sample, by the rules of the generator.
fn resamples(n: usize, sub: u32) -> impl Iterator<Item = Vec<usize>> {
    let stream = Stream { seed: SEED, stream: 0, tag: Tag::Bootstrap, sub };
    (0..RESAMPLES).map(move |b| stream.indices(n as u32, b).take(n).map(|index| index as usize).collect())
}

fn taken(values: &[f64], indices: &[usize]) -> Vec<f64> {
    indices.iter().map(|&index| values[index]).collect()
}

fn mean(values: &[f64]) -> f64 {
    describe::mean(values).unwrap()
}

fn wins(x: &[f64], y: &[f64]) -> f64 {
    let pair = |x: &f64, y: &f64| f64::from(u8::from(x > y)) + 0.5 * f64::from(u8::from(x == y));
    x.iter().map(|x| y.iter().map(|y| pair(x, y)).sum::<f64>()).sum::<f64>() / (x.len() * y.len()) as f64
}

/// Percentile ends of replicates.
fn ends(replicates: &[f64]) -> [f64; 2] {
    [0.025, 0.975].map(|p| describe::quantile(replicates, p).unwrap())
}

#[track_caller]
fn assert_ends(out: &BootstrapOutput, replicates: &[f64], tolerance: f64) {
    let [low, high] = ends(replicates);
    let scale = tolerance * high.abs().max(low.abs());
    assert!((out.low[0] - low).abs() <= scale, "{} and {low}", out.low[0]);
    assert!((out.high[0] - high).abs() <= scale, "{} and {high}", out.high[0]);
    let se = describe::standard_deviation(replicates).unwrap();
    assert!((out.se[0] / se - 1.0).abs() < 1e-8, "{} and {se}", out.se[0]);
}

#[test]
fn percentile_ends_are_those_of_the_resamples_of_the_contract() {
    // 20 values take the path of weights, 4,500 that of draws.
    for n in [20usize, 4_500] {
        let x = describe::sorted(&wave(n, 40.0, 1.7));
        let y = describe::sorted(&wave(n + 3, 25.0, 2.3));
        let of_x: Vec<Vec<f64>> = resamples(n, 0).map(|indices| taken(&x, &indices)).collect();
        let of_y: Vec<Vec<f64>> = resamples(n + 3, 1).map(|indices| taken(&y, &indices)).collect();
        let one = |statistic| run(&x, None, statistic, Method::Percentile);
        let two = |statistic| run(&x, Some(&y), statistic, Method::Percentile);
        let each = |of: &dyn Fn(&[f64]) -> f64| of_x.iter().map(|values| of(values)).collect::<Vec<_>>();
        let both = |of: &dyn Fn(&[f64], &[f64]) -> f64| {
            of_x.iter().zip(&of_y).map(|(x, y)| of(x, y)).collect::<Vec<_>>()
        };
        assert_ends(&one(Statistic::Sum), &each(&|x| x.iter().sum()), 1e-12);
        assert_ends(&one(Statistic::Variance), &each(&|x| describe::variance(x).unwrap()), 1e-10);
        let deviations = each(&|x| describe::standard_deviation(x).unwrap());
        assert_ends(&one(Statistic::StandardDeviation), &deviations, 1e-10);
        assert_ends(&two(Statistic::MeanRatio), &both(&|x, y| mean(x) / mean(y)), 1e-12);
        if n < 100 {
            let shifted: Vec<f64> = x.iter().map(|x| x - 15.0).collect();
            let replicates: Vec<f64> =
                resamples(n, 0).zip(&of_y).map(|(indices, y)| wins(&taken(&shifted, &indices), y)).collect();
            let out = run(&shifted, Some(&y), Statistic::ProbabilityOfImprovement, Method::Percentile);
            assert!((out.estimate[0] - wins(&shifted, &y)).abs() < 1e-15);
            assert_ends(&out, &replicates, 1e-13);
        }
        // Pairs in their canonical order, ascending by the first value.
        let partner = wave(n, 90.0, 0.9);
        let ratios: Vec<f64> = resamples(n, 0)
            .map(|indices| mean(&taken(&x, &indices)) / mean(&taken(&partner, &indices)))
            .collect();
        assert_ends(&run(&x, Some(&partner), Statistic::PairedRatio, Method::Percentile), &ratios, 1e-12);
    }
}

#[test]
fn paired_differences_are_means_of_differences() {
    let (x, y) = (wave(25, 3.0, 1.1), wave(25, 2.5, 0.7));
    let differences: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
    for method in [Method::Percentile, Method::Basic, Method::Bca, Method::Studentized] {
        let paired = run(&x, Some(&y), Statistic::PairedDifference, method);
        let plain = run(&differences, None, Statistic::Mean, method);
        assert_eq!((&paired.low, &paired.high, &paired.se), (&plain.low, &plain.high, &plain.se));
        assert_eq!((paired.n_second.as_slice(), plain.n_second.is_empty()), (&[25][..], true));
        let sum = run(&x, None, Statistic::Sum, method);
        let mean = run(&x, None, Statistic::Mean, method);
        assert_eq!((sum.low[0], sum.se[0]), (25.0 * mean.low[0], 25.0 * mean.se[0]));
    }
}

/// All resamples of a tiny sample.
fn all_resamples(n: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..n.pow(n as u32)).map(move |code| (0..n).map(|place| code / n.pow(place as u32) % n).collect())
}

#[test]
fn tiny_samples_are_enumerated() {
    let x = [1.5, 2.0, 4.5, 7.0, 7.5];
    let y = [3.0, 2.5, 4.0, 6.5, 5.0];
    let quantile = |replicates: &mut Vec<f64>, p: f64| {
        replicates.sort_unstable_by(f64::total_cmp);
        replicates[(p * replicates.len() as f64 - 1e-9).ceil() as usize - 1]
    };
    let mut variances: Vec<f64> =
        all_resamples(5).map(|indices| describe::variance(&taken(&x, &indices)).unwrap()).collect();
    let mut ratios: Vec<f64> =
        all_resamples(5).map(|indices| mean(&taken(&x, &indices)) / mean(&taken(&y, &indices))).collect();
    for (out, replicates) in [
        (run(&x, None, Statistic::Variance, Method::Percentile), &mut variances),
        (run(&x, Some(&y), Statistic::PairedRatio, Method::Percentile), &mut ratios),
    ] {
        assert_eq!(out.computation, [Computation::Enumeration]);
        for (got, p) in [(out.low[0], 0.025), (out.high[0], 0.975)] {
            let expected = quantile(replicates, p);
            assert!((got - expected).abs() < 1e-12, "{got} and {expected}");
        }
        let moments = describe::Moments::from_slice(replicates);
        let se = (moments.sum_of_squares() / replicates.len() as f64).sqrt();
        assert!((out.se[0] - se).abs() < 1e-12);
    }
}

#[test]
fn every_method_brackets_the_estimate() {
    let (x, y) = (wave(30, 40.0, 1.7), wave(30, 39.5, 2.3));
    for (statistic, two, methods) in [
        (Statistic::Variance, false, 3),
        (Statistic::StandardDeviation, false, 3),
        (Statistic::MeanRatio, true, 4),
        (Statistic::PairedRatio, true, 4),
        (Statistic::ProbabilityOfImprovement, true, 3),
    ] {
        for method in
            [Method::Percentile, Method::Basic, Method::Bca, Method::Studentized].into_iter().take(methods)
        {
            let out = run(&x, two.then_some(&y), statistic, method);
            let (low, estimate, high) = (out.low[0], out.estimate[0], out.high[0]);
            assert!(low < estimate && estimate < high, "{statistic:?} {method:?}: {out:?}");
            assert!(out.flags[0].is_empty(), "{:?}", out.flags[0]);
            let normal = 2.0 * 1.96 * out.se[0];
            assert!(((high - low) / normal - 1.0).abs() < 0.25, "{statistic:?} {method:?}: {out:?}");
        }
    }
    let x = Samples { values: &x, offsets: &[0, 30] };
    for statistic in [Statistic::Variance, Statistic::StandardDeviation] {
        let request = BootstrapRequest::new(x, statistic).method(Method::Studentized);
        assert_eq!(CpuBackend::new().bootstrap(&request).unwrap_err().code(), "unsupported_method");
    }
}

#[test]
fn denominators_near_zero_are_flagged_and_counted() {
    let x = wave(24, 5.0, 1.3);
    let crossing: Vec<f64> = wave(24, 0.0, 1.3).iter().map(|y| y - 0.3).collect();
    for statistic in [Statistic::MeanRatio, Statistic::PairedRatio] {
        for method in [Method::Percentile, Method::Bca, Method::Studentized] {
            let out = run(&x, Some(&crossing), statistic, method);
            assert!(out.flags[0].contains(Flags::DENOMINATOR | Flags::NO_INTERVAL), "{out:?}");
            assert!(out.dropped_share[0] > 0.0125 && out.low[0].is_nan() && out.estimate[0].is_finite());
        }
    }
    // A rare change of sign leaves the interval standing.
    let rare: Vec<f64> = (0..24).map(|i| if i < 2 { -5.0 } else { 2.0 }).collect();
    let out = run(&x, Some(&rare), Statistic::MeanRatio, Method::Percentile);
    assert!(
        out.flags[0].contains(Flags::DENOMINATOR) && !out.flags[0].contains(Flags::NO_INTERVAL),
        "{out:?}"
    );
    assert!(out.dropped_share[0] > 0.0 && out.dropped_share[0] < 0.0125 && out.low[0] > 0.0);
    let zero = run(&x, Some(&[0.0; 24]), Statistic::PairedRatio, Method::Bca);
    assert!(zero.flags[0].contains(Flags::DENOMINATOR) && zero.estimate[0].is_nan());
    // Both signs turned: the same ratio and the same ends.
    let turned = |values: &[f64]| values.iter().map(|value| -value).collect::<Vec<_>>();
    let y = wave(24, 3.0, 0.8);
    let plain = run(&x, Some(&y), Statistic::MeanRatio, Method::Bca);
    let both = run(&turned(&x), Some(&turned(&y)), Statistic::MeanRatio, Method::Bca);
    assert!((plain.low[0] - both.low[0]).abs() < 0.02 && plain.estimate == both.estimate);
}

#[test]
fn samples_at_the_edges_are_flagged() {
    let x = wave(12, 5.0, 1.3);
    let some = Some(&x[..]);
    for (statistic, pairs) in [
        (Statistic::MeanRatio, false),
        (Statistic::PairedRatio, true),
        (Statistic::ProbabilityOfImprovement, false),
    ] {
        let empty: &[f64] = &[];
        assert_eq!(run(&[], Some(empty), statistic, Method::Bca).flags, [Flags::ABSENT]);
        let single = run(&[2.0], Some(if pairs { &[4.0] } else { &x }), statistic, Method::Bca);
        assert_eq!(single.flags, [Flags::DEGENERATE]);
        let constant = run(&[2.0; 9], Some(&[4.0; 9]), statistic, Method::Bca);
        assert_eq!((constant.flags[0], constant.se[0]), (Flags::ZERO_VARIANCE, 0.0));
        assert_eq!(constant.low, constant.estimate);
    }
    for statistic in [Statistic::Variance, Statistic::StandardDeviation] {
        assert_eq!(run(&[], None, statistic, Method::Bca).flags, [Flags::ABSENT]);
        let single = run(&[2.0], None, statistic, Method::Bca);
        assert!(single.flags == [Flags::DEGENERATE] && single.estimate[0].is_nan());
        let constant = run(&[0.1; 7], None, statistic, Method::Bca);
        assert!(constant.flags == [Flags::ZERO_VARIANCE] && constant.high[0] == 0.0);
        let two = run(&[1.0, 2.0], None, statistic, Method::Bca);
        assert!(two.flags[0].contains(Flags::NO_INTERVAL) && two.low[0].is_nan());
    }
    let apart: Vec<f64> = x.iter().map(|x| x + 10.0).collect();
    let out = run(&apart, some, Statistic::ProbabilityOfImprovement, Method::Bca);
    assert!(out.flags[0].contains(Flags::SEPARATED) && out.estimate == [1.0] && out.low[0].is_nan());
    let uneven = BootstrapRequest::two_samples(
        Samples { values: &x, offsets: &[0, 12] },
        Samples { values: &x[..3], offsets: &[0, 3] },
        Statistic::PairedRatio,
    );
    let error = CpuBackend::new().bootstrap(&uneven).unwrap_err();
    assert!(error.code() == "bad_sample_pair" && error.to_string().contains("12 values"), "{error}");
    let far = BootstrapRequest::two_samples(
        Samples { values: &[1.7e308, 0.0], offsets: &[0, 2] },
        Samples { values: &[-1.7e308, 0.0], offsets: &[0, 2] },
        Statistic::PairedDifference,
    );
    assert_eq!(CpuBackend::new().bootstrap(&far).unwrap_err().code(), "nonfinite_value");
}

#[test]
fn offsets_and_scales_cost_no_digit() {
    let (x, y) = (wave(20, 3.0, 1.1), wave(20, 2.0, 0.7));
    let scaled = |values: &[f64], by: i32| values.iter().map(|x| x * 2f64.powi(by)).collect::<Vec<_>>();
    for method in [Method::Percentile, Method::Bca] {
        let plain = run(&x, None, Statistic::Variance, method);
        let large = run(&scaled(&x, 400), None, Statistic::Variance, method);
        assert_eq!(large.low[0], plain.low[0] * 2f64.powi(800));
        let ratio = run(&x, Some(&y), Statistic::PairedRatio, method);
        let far = run(&scaled(&x, 900), Some(&scaled(&y, -100)), Statistic::PairedRatio, method);
        assert_eq!(far.high[0], ratio.high[0] * 2f64.powi(1000));
        let eighths: Vec<f64> = (0..20).map(|i| f64::from(i * 7 % 13) * 0.125).collect();
        let moved: Vec<f64> = eighths.iter().map(|x| x + 1e15).collect();
        let (near, far) = (
            run(&eighths, None, Statistic::Variance, method),
            run(&moved, None, Statistic::Variance, method),
        );
        assert!(
            (far.low[0] / near.low[0] - 1.0).abs() < 1e-9 && (far.high[0] / near.high[0] - 1.0).abs() < 1e-9
        );
    }
}

#[test]
fn intervals_of_ratios_cover() {
    const GROUPS: usize = 2_000;
    let uniform = |i: usize, sub: u32| {
        let stream = Stream { seed: 3, stream: 0, tag: Tag::Other, sub };
        kernels::rng::uniform(kernels::rng::words64(stream.block(i as u32, 0))[0])
    };
    let x: Vec<f64> = (0..GROUPS * 25).map(|i| 1.0 + uniform(i, 1)).collect();
    let y: Vec<f64> = x.iter().enumerate().map(|(i, x)| 2.0 * x * (0.75 + 0.5 * uniform(i, 2))).collect();
    let offsets: Vec<u32> = (0..=GROUPS as u32).map(|group| group * 25).collect();
    let (x, y) = (Samples { values: &x, offsets: &offsets }, Samples { values: &y, offsets: &offsets });
    for statistic in [Statistic::MeanRatio, Statistic::PairedRatio] {
        for method in [Method::Bca, Method::Studentized] {
            let request = BootstrapRequest::two_samples(x, y, statistic).method(method).resamples(999);
            let out = CpuBackend::new().bootstrap(&request).unwrap();
            let covered = out.low.iter().zip(&out.high).filter(|(low, high)| **low <= 0.5 && 0.5 <= **high);
            let share = covered.count() as f64 / GROUPS as f64;
            // Independent resampling of pairs that belong together is too wide, never too narrow.
            let upper = if statistic == Statistic::PairedRatio { 0.97 } else { 1.0 };
            assert!(share > 0.92 && share <= upper, "{statistic:?} {method:?}: {share}");
        }
    }
}
