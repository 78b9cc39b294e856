//! Strata, clusters and blocks: against resampling in so many words, an independent package, and what must not
//! matter.

use kernels::describe;
use kernels::rng::{Stream, Tag};
use kernels::{
    Backend, BlockLength, BlockScheme, BootstrapOutput, BootstrapRequest, CpuBackend, Flags, Method, Samples,
    Statistic, Structure, StructuredRequest, block_length, structured_bootstrap,
};

use crate::shared::{assert_close, number, numbers, vectors};

const RESAMPLES: u32 = 2_000;
const SEED: u64 = 31;

fn run(values: &[f64], structure: Structure<'_>, statistic: Statistic, method: Method) -> BootstrapOutput {
    let offsets = [0, values.len() as u32];
    let request = StructuredRequest::new(Samples { values, offsets: &offsets }, structure, statistic);
    structured_bootstrap(&StructuredRequest { method, resamples: RESAMPLES, seed: SEED, ..request }).unwrap()
}

fn stream(sub: u32) -> Stream {
    Stream { seed: SEED, stream: 0, tag: Tag::Bootstrap, sub }
}

fn of(statistic: Statistic, values: &[f64]) -> f64 {
    match statistic {
        Statistic::Mean => describe::mean(values),
        Statistic::Sum => Some(values.iter().sum()),
        Statistic::Variance => describe::variance(values),
        Statistic::StandardDeviation => describe::standard_deviation(values),
        Statistic::Iqm => describe::iqm(values),
        Statistic::Quantile(probability) => describe::quantile(values, probability),
        _ => None,
    }
    .unwrap()
}

const STATISTICS: [Statistic; 6] = [
    Statistic::Mean,
    Statistic::Sum,
    Statistic::Variance,
    Statistic::StandardDeviation,
    Statistic::Iqm,
    Statistic::Quantile(0.3),
];

#[track_caller]
fn assert_percentiles(out: &BootstrapOutput, replicates: &[f64], statistic: Statistic) {
    for (got, p) in [(out.low[0], 0.025), (out.high[0], 0.975)] {
        let expected = describe::quantile(replicates, p).unwrap();
        assert!((got - expected).abs() < 1e-10 * expected.abs(), "{statistic:?}: {got} and {expected}");
    }
    let se = describe::standard_deviation(replicates).unwrap();
    assert!((out.se[0] / se - 1.0).abs() < 1e-8, "{statistic:?}: {} and {se}", out.se[0]);
}

/// Ascending parts, ascending in size, as the canonical order has them.
fn parts() -> Vec<Vec<f64>> {
    let part = |part: usize| {
        let values: Vec<f64> =
            (0..4 + part).map(|i| 10.0 + part as f64 + ((i * 5 + part * 3) as f64 * 1.3).sin()).collect();
        describe::sorted(&values)
    };
    (0..7).map(part).collect()
}

fn cuts(parts: &[Vec<f64>]) -> Vec<u32> {
    let mut cuts = vec![0];
    for part in parts {
        cuts.push(cuts[cuts.len() - 1] + part.len() as u32);
    }
    cuts
}

#[test]
fn strata_and_clusters_are_resampled_by_the_contract() {
    let parts = parts();
    let (values, cuts) = (parts.concat(), cuts(&parts));
    let strata = |resample: u32| -> Vec<f64> {
        let drawn = |(part, sub): (&Vec<f64>, u32)| -> Vec<f64> {
            let stream = stream(sub);
            let indices = stream.indices(part.len() as u32, resample).take(part.len());
            indices.map(|index| part[index as usize]).collect()
        };
        parts.iter().zip(0..).flat_map(drawn).collect()
    };
    let clusters = |resample: u32| -> Vec<f64> {
        let stream = stream(0);
        let drawn = stream.indices(7, resample).take(7);
        drawn.flat_map(|index| parts[index as usize].clone()).collect()
    };
    for statistic in STATISTICS {
        let replicates: Vec<f64> = (0..RESAMPLES).map(|b| of(statistic, &strata(b))).collect();
        let out = run(&values, Structure::Strata(&cuts), statistic, Method::Percentile);
        assert_percentiles(&out, &replicates, statistic);
        assert!((out.estimate[0] - of(statistic, &values)).abs() < 1e-12 * out.estimate[0].abs());
        let replicates: Vec<f64> = (0..RESAMPLES).map(|b| of(statistic, &clusters(b))).collect();
        let out = run(&values, Structure::Clusters(&cuts), statistic, Method::Percentile);
        assert_percentiles(&out, &replicates, statistic);
    }
}

#[test]
fn blocks_are_resampled_by_the_contract() {
    let values: Vec<f64> =
        (0..47).map(|i| 3.0 + (f64::from(i) * 0.4).sin() + f64::from(i % 5) * 0.1).collect();
    for (scheme, length) in
        [(BlockScheme::Moving, 6u32), (BlockScheme::Circular, 6), (BlockScheme::Circular, 47)]
    {
        let starts = if scheme == BlockScheme::Moving { 47 - length + 1 } else { 47 };
        let series = |resample: u32| -> Vec<f64> {
            let stream = stream(0);
            let blocks = stream.indices(starts, resample).take(47usize.div_ceil(length as usize));
            blocks
                .flat_map(|start| (start..start + length).map(|i| values[i as usize % 47]))
                .take(47)
                .collect()
        };
        let structure = Structure::Blocks { length: BlockLength::Points(length), scheme };
        for statistic in STATISTICS {
            let replicates: Vec<f64> = (0..RESAMPLES).map(|b| of(statistic, &series(b))).collect();
            // A whole circle is the series itself, turned.
            if length < 47 {
                let out = run(&values, structure, statistic, Method::Percentile);
                assert_percentiles(&out, &replicates, statistic);
            }
        }
    }
}

#[test]
fn parts_of_one_value_give_the_plain_bootstrap() {
    let values: Vec<f64> = (0..30).map(|i| (f64::from(i) * 1.7).cos() + 2.0).collect();
    let singles: Vec<u32> = (0..=30).collect();
    let plain = |statistic, method| {
        let samples = Samples { values: &values, offsets: &[0, 30] };
        let request =
            BootstrapRequest::new(samples, statistic).method(method).resamples(RESAMPLES).seed(SEED);
        CpuBackend::new().bootstrap(&request).unwrap()
    };
    for statistic in [Statistic::Mean, Statistic::Iqm, Statistic::Variance, Statistic::Sum] {
        for method in [Method::Percentile, Method::Basic, Method::Bca] {
            let expected = plain(statistic, method);
            let one_stratum = run(&values, Structure::Strata(&[0, 30]), statistic, method);
            let mut outputs = vec![one_stratum];
            if statistic != Statistic::Iqm || method != Method::Bca {
                outputs.push(run(&values, Structure::Clusters(&singles), statistic, method));
            }
            for out in outputs {
                for (got, expected) in [(out.low[0], expected.low[0]), (out.high[0], expected.high[0])] {
                    assert!(
                        (got - expected).abs() < 1e-9 * expected.abs(),
                        "{statistic:?} {method:?}: {got} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn clusters_widen_the_interval_of_values_that_go_together() {
    // Twenty clusters of eight nearly equal values.
    let values: Vec<f64> = (0..160).map(|i| f64::from(i / 8 * 7 % 20) + f64::from(i % 8) * 0.01).collect();
    let cuts: Vec<u32> = (0..=20).map(|cluster| cluster * 8).collect();
    let clustered = run(&values, Structure::Clusters(&cuts), Statistic::Mean, Method::Bca);
    let naive = run(&values, Structure::Strata(&[0, 160]), Statistic::Mean, Method::Bca);
    let width = |out: &BootstrapOutput| out.high[0] - out.low[0];
    assert!((width(&clustered) / width(&naive) / 8f64.sqrt() - 1.0).abs() < 0.1);
    assert!(!clustered.flags[0].contains(Flags::UNDERCOVERS));
}

#[test]
fn block_lengths_and_ends_match_an_independent_package() {
    let Some(vectors) = vectors("autocorrelation") else { return };
    let mut compared = 0;
    for vector in &vectors {
        let (values, expected) = (numbers(&vector["input"]["y"]), &vector["expected"]);
        let length = block_length(&values, BlockScheme::Circular).unwrap();
        assert_close(vector, "optimal_block_circular", length, number(&expected["optimal_block_circular"]));
        for (key, scheme) in [("moving", BlockScheme::Moving), ("circular", BlockScheme::Circular)] {
            let expected = &expected[key];
            let block = number(&expected["block"]);
            assert_eq!(length.ceil(), block, "{}", vector["name"]);
            let samples = Samples { values: &values, offsets: &[0, values.len() as u32] };
            let structure = Structure::Blocks { length: BlockLength::Automatic, scheme };
            let request = StructuredRequest::new(samples, structure, Statistic::Mean);
            let out =
                structured_bootstrap(&StructuredRequest { resamples: 10_000, seed: 4, ..request }).unwrap();
            assert_close(vector, "boot_se", out.se[0], number(&expected["boot_se"]));
            for (end, bounds) in
                [out.low[0], out.high[0]].into_iter().zip(expected["bounds_B10000"].as_array().unwrap())
            {
                let bounds = numbers(bounds);
                assert!(bounds[0] <= end && end <= bounds[1], "{} {key}: {end} {bounds:?}", vector["name"]);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 20);
}

#[test]
fn groups_order_of_parts_and_threads_do_not_matter() {
    let first = parts();
    let mut second = parts();
    second.reverse();
    second.iter_mut().for_each(|part| part.reverse());
    let values = [first.concat(), second.concat()].concat();
    let n = first.concat().len() as u32;
    let mut all = cuts(&first);
    all.extend(cuts(&second).iter().skip(1).map(|cut| cut + n));
    let samples = Samples { values: &values, offsets: &[0, n, 2 * n] };
    for structure in [Structure::Strata(&all), Structure::Clusters(&all)] {
        for statistic in STATISTICS {
            let request = StructuredRequest::new(samples, structure, statistic);
            let out = structured_bootstrap(&request).unwrap();
            for column in [&out.estimate, &out.low, &out.high, &out.se] {
                assert_eq!(column[0].to_bits(), column[1].to_bits(), "{statistic:?}");
            }
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            assert_eq!(pool.install(|| structured_bootstrap(&request).unwrap()), out);
        }
    }
}

#[test]
fn groups_that_cannot_be_resampled_say_so() {
    let blocks =
        |length| Structure::Blocks { length: BlockLength::Points(length), scheme: BlockScheme::Moving };
    for structure in [Structure::Strata(&[0, 0]), Structure::Clusters(&[0]), blocks(3)] {
        let out = run(&[], structure, Statistic::Mean, Method::Percentile);
        assert!(out.flags[0] == Flags::ABSENT && out.estimate[0].is_nan());
    }
    for structure in [Structure::Strata(&[0, 1, 2, 3]), Structure::Clusters(&[0, 3]), blocks(3), blocks(9)] {
        let out = run(&[1.0, 2.0, 4.0], structure, Statistic::Quantile(0.5), Method::Percentile);
        assert!(out.flags[0] == Flags::DEGENERATE && out.estimate[0] == 2.0 && out.se[0].is_nan());
    }
    for structure in [Structure::Strata(&[0, 3, 6]), blocks(2)] {
        let out = run(&[0.1; 6], structure, Statistic::Mean, Method::Percentile);
        assert_eq!((out.flags[0], out.low[0], out.se[0]), (Flags::ZERO_VARIANCE, 0.1, 0.0));
    }
    // Equal values in clusters of different sizes: the sum varies, the mean does not.
    let cuts = [0, 1, 5, 7, 8];
    let sum = run(&[2.0; 8], Structure::Clusters(&cuts), Statistic::Sum, Method::Percentile);
    assert!(sum.low[0] < 16.0 && 16.0 < sum.high[0], "{sum:?}");
    let mean = run(&[2.0; 8], Structure::Clusters(&cuts), Statistic::Mean, Method::Percentile);
    assert_eq!(mean.flags, [Flags::ZERO_VARIANCE]);
    // Two clusters of one value: half of the resamples repeat one of them, and variances of one value are 0.
    let tiny = run(&[1.0, 3.0], Structure::Clusters(&[0, 1, 2]), Statistic::Variance, Method::Percentile);
    assert!(tiny.low[0] >= 0.0 && tiny.high[0] <= 2.0);
}

#[test]
fn an_offset_of_a_quadrillion_costs_no_digit_of_the_spread() {
    let small: Vec<f64> = (0..60).map(|i| f64::from(i * i % 17) * 0.125).collect();
    let large: Vec<f64> = small.iter().map(|value| value + 1e15).collect();
    let cuts: Vec<u32> = (0..=6).map(|cut| cut * 10).collect();
    for structure in [
        Structure::Strata(&cuts),
        Structure::Clusters(&cuts),
        Structure::Blocks { length: BlockLength::Automatic, scheme: BlockScheme::Circular },
    ] {
        let near = run(&small, structure, Statistic::Mean, Method::Percentile);
        let far = run(&large, structure, Statistic::Mean, Method::Percentile);
        assert!((far.se[0] / near.se[0] - 1.0).abs() < 1e-9);
        assert!((far.low[0] - 1e15 - near.low[0]).abs() <= 0.125);
    }
}
