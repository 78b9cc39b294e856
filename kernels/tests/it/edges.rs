//! Samples at the edges: empty, single, constant, tied, far from zero, near the largest double.

use kernels::{BootstrapOutput, BootstrapRequest, Computation, Flags, Method, Samples, Statistic};

use crate::shared::backend;

fn bootstrap(values: &[f64], offsets: &[u32], statistic: Statistic, method: Method) -> BootstrapOutput {
    let request =
        BootstrapRequest::new(Samples { values, offsets }, statistic).method(method).resamples(2_000);
    backend().bootstrap(&request).unwrap()
}

fn difference(first: &[f64], second: &[f64], method: Method) -> BootstrapOutput {
    let (first_offsets, second_offsets) = ([0, first.len() as u32], [0, second.len() as u32]);
    let request = BootstrapRequest::mean_difference(
        Samples { values: first, offsets: &first_offsets },
        Samples { values: second, offsets: &second_offsets },
    );
    backend().bootstrap(&request.method(method).resamples(2_000)).unwrap()
}

#[test]
fn empty_single_and_constant_groups_keep_their_place_in_the_batch() {
    let mut values = vec![4.5];
    values.extend([0.1; 9]);
    values.extend((0..30).map(f64::from));
    let offsets = [0, 0, 1, 10, 40, 40];
    for (statistic, method) in [
        (Statistic::Mean, Method::Bca),
        (Statistic::Mean, Method::Studentized),
        (Statistic::Iqm, Method::Basic),
        (Statistic::Median, Method::Percentile),
    ] {
        let out = bootstrap(&values, &offsets, statistic, method);
        assert_eq!(out.n, [0, 1, 9, 30, 0]);
        for empty in [0, 4] {
            assert_eq!(out.flags[empty], Flags::ABSENT);
            assert!(out.estimate[empty].is_nan() && out.low[empty].is_nan() && out.se[empty].is_nan());
        }
        assert_eq!(out.flags[1], Flags::DEGENERATE);
        assert_eq!((out.estimate[1], out.low[1], out.high[1]), (4.5, 4.5, 4.5));
        assert!(out.se[1].is_nan());
        assert_eq!(out.flags[2], Flags::ZERO_VARIANCE);
        assert_eq!((out.estimate[2], out.low[2], out.high[2], out.se[2]), (0.1, 0.1, 0.1, 0.0));
        assert!(out.low[3] < out.estimate[3] && out.estimate[3] < out.high[3] && out.flags[3].is_empty());
    }
}

#[test]
fn no_groups_at_all_is_an_empty_answer() {
    let out = bootstrap(&[], &[0], Statistic::Mean, Method::Bca);
    assert!(out.estimate.is_empty() && out.flags.is_empty());
}

#[test]
fn differences_with_a_side_that_shows_no_spread_say_so() {
    let spread: Vec<f64> = (0..25).map(f64::from).collect();
    for method in [Method::Percentile, Method::Basic, Method::Bca, Method::Studentized] {
        assert_eq!(difference(&spread, &[], method).flags, [Flags::ABSENT]);
        for (first, second) in
            [(&spread[..], &[3.0][..]), (&[3.0], &spread), (&[3.0], &[3.0]), (&[3.0], &[1.0, 1.0])]
        {
            let out = difference(first, second, method);
            assert_eq!(out.flags, [Flags::DEGENERATE]);
            assert!(out.low[0].is_nan() && out.estimate[0].is_finite());
        }
        assert_eq!(difference(&[3.0], &spread, method).estimate, [-9.0]);
        let out = difference(&[2.0; 4], &[0.5; 3], method);
        assert_eq!((out.flags[0], out.estimate[0], out.low[0]), (Flags::ZERO_VARIANCE, 1.5, 1.5));
        let out = difference(&spread, &[2.0; 30], method);
        assert_eq!(out.flags, [Flags::ONE_SIDE_CONSTANT]);
        assert!(out.low[0] < 10.0 && 10.0 < out.high[0]);
    }
}

#[test]
fn an_offset_of_a_quadrillion_costs_no_digit_of_the_spread() {
    let small: Vec<f64> = (0..40).map(|i| f64::from(i * i % 17) * 0.125).collect();
    let large: Vec<f64> = small.iter().map(|value| value + 1e15).collect();
    for statistic in [Statistic::Mean, Statistic::Iqm, Statistic::Median] {
        let method = if statistic == Statistic::Median { Method::Basic } else { Method::Bca };
        let (near, far) =
            (bootstrap(&small, &[0, 40], statistic, method), bootstrap(&large, &[0, 40], statistic, method));
        // One unit in the last place at 1e15 is 0.125.
        assert!(
            (far.low[0] - 1e15 - near.low[0]).abs() <= 0.125,
            "{statistic:?}: {} {}",
            far.low[0],
            near.low[0]
        );
        assert!((far.high[0] - 1e15 - near.high[0]).abs() <= 0.125);
        assert!((far.se[0] / near.se[0] - 1.0).abs() < 1e-9, "{statistic:?}: {} {}", far.se[0], near.se[0]);
    }
    let (near, far) = (
        difference(&small[..20], &small[20..], Method::Studentized),
        difference(&large[..20], &large[20..], Method::Studentized),
    );
    assert!((far.low[0] - near.low[0]).abs() < 1e-9 && (far.high[0] - near.high[0]).abs() < 1e-9);
    assert!((far.estimate[0] - near.estimate[0]).abs() < 1e-12);
}

#[test]
fn values_near_the_ends_of_the_range_scale_like_any_other() {
    let values: Vec<f64> = (0..12).map(|i| f64::from(i * 5 % 12) / 16.0).collect();
    for exponent in [-1000, 1020] {
        let scaled: Vec<f64> = values.iter().map(|value| value * 2f64.powi(exponent)).collect();
        for method in [Method::Percentile, Method::Bca, Method::Studentized] {
            let plain = bootstrap(&values, &[0, 12], Statistic::Mean, method);
            let out = bootstrap(&scaled, &[0, 12], Statistic::Mean, method);
            assert_eq!(out.low[0], plain.low[0] * 2f64.powi(exponent));
            assert_eq!(out.high[0], plain.high[0] * 2f64.powi(exponent));
            assert_eq!(out.se[0], plain.se[0] * 2f64.powi(exponent));
        }
    }
    let out = bootstrap(&[-1.7e308, 1.7e308, 1.7e308], &[0, 3], Statistic::Mean, Method::Percentile);
    assert_eq!((out.low[0], out.high[0]), (-1.7e308, 1.7e308));
}

#[test]
fn ties_are_counted_half_and_give_a_symmetric_interval_for_symmetric_data() {
    let values: Vec<f64> = [0.1, 0.3].into_iter().cycle().take(30).collect();
    let out = bootstrap(&values, &[0, 30], Statistic::Mean, Method::Bca);
    assert!((out.low[0] + out.high[0] - 0.4).abs() < 0.02, "{out:?}");
}

#[test]
fn studentized_intervals_of_two_values_report_what_was_dropped() {
    let out = bootstrap(&[1.0, 2.0], &[0, 2], Statistic::Mean, Method::Studentized);
    assert_eq!((out.dropped_share[0], out.computation[0]), (0.5, Computation::Enumeration));
    assert!(out.flags[0].contains(Flags::DROPPED_RESAMPLES));
    let mostly_zero = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    let out = bootstrap(&mostly_zero, &[0, 10], Statistic::Mean, Method::Studentized);
    // A resample without the one is constant: 0.9^10 of them.
    assert!((out.dropped_share[0] - 0.9f64.powi(10)).abs() < 0.06, "{}", out.dropped_share[0]);
    assert!(out.low[0].is_finite() && out.high[0].is_finite());
}

#[test]
fn one_resample_is_enough_for_an_answer() {
    let values: Vec<f64> = (0..50).map(f64::from).collect();
    let request =
        BootstrapRequest::new(Samples { values: &values, offsets: &[0, 50] }, Statistic::Mean).resamples(1);
    let out = backend().bootstrap(&request.method(Method::Percentile)).unwrap();
    assert_eq!(out.low, out.high);
    assert!(out.se[0].is_nan());
    let out = backend().bootstrap(&request.method(Method::Bca)).unwrap();
    assert!(out.flags[0].contains(Flags::NO_INTERVAL) && out.low[0].is_nan());
}

#[test]
fn large_samples_take_the_gathering_path_and_agree_with_theory() {
    let values: Vec<f64> = (0..5_000).map(|i| (f64::from(i) * 0.618).fract()).collect();
    let se = (1.0 / 12.0f64 / 5_000.0).sqrt();
    for (statistic, method) in [
        (Statistic::Mean, Method::Bca),
        (Statistic::Mean, Method::Studentized),
        (Statistic::TrimmedMean(0.0), Method::Percentile),
    ] {
        let out = bootstrap(&values, &[0, 5_000], statistic, method);
        assert!((out.se[0] / se - 1.0).abs() < 0.1, "{statistic:?}: {} and {se}", out.se[0]);
        assert!((out.low[0] - (out.estimate[0] - 1.96 * se)).abs() < 0.3 * se, "{out:?}");
    }
    let out = bootstrap(&values, &[0, 5_000], Statistic::Median, Method::Percentile);
    assert_eq!(out.computation[0], Computation::OrderStatistics);
    // The density of the uniform distribution is 1, so the median's standard error is 1 / (2 sqrt n).
    assert!((out.se[0] * 2.0 * 5_000f64.sqrt() - 1.0).abs() < 0.1, "{}", out.se[0]);
}
