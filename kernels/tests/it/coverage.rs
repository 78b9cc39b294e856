//! How often 95 % intervals hold the truth, against published simulation figures.

use kernels::rng::{Stream, Tag, uniform, words64};
use kernels::{BootstrapRequest, Method, Samples, Statistic};

use crate::shared::backend;

/// Standard normal numbers by Box and Muller's transform.
fn normals(count: usize) -> Vec<f64> {
    let stream = Stream { seed: 11, stream: 0, tag: Tag::Other, sub: 0 };
    let pair = |block: u32| {
        let [first, second] = words64(stream.block(block, 0)).map(uniform);
        let radius = (-2.0 * (1.0 - first).ln()).sqrt();
        let angle = 2.0 * std::f64::consts::PI * second;
        [radius * angle.cos(), radius * angle.sin()]
    };
    (0..count.div_ceil(2) as u32).flat_map(pair).take(count).collect()
}

#[test]
fn intervals_of_normal_samples_cover_as_often_as_simulations_say() {
    const GROUPS: usize = 6_000;
    for (n, expected) in [(5usize, [0.84, 0.84, 0.95]), (10, [0.90, 0.90, 0.95]), (20, [0.93, 0.93, 0.95])] {
        let values = normals(GROUPS * n);
        let offsets: Vec<u32> = (0..=GROUPS).map(|group| (group * n) as u32).collect();
        let samples = Samples { values: &values, offsets: &offsets };
        for (method, expected) in
            [Method::Percentile, Method::Bca, Method::Studentized].into_iter().zip(expected)
        {
            let request = BootstrapRequest::new(samples, Statistic::Mean).method(method).resamples(1_999);
            let out = backend().bootstrap(&request).unwrap();
            let covered =
                out.low.iter().zip(&out.high).filter(|(low, high)| **low <= 0.0 && 0.0 <= **high).count();
            let share = covered as f64 / GROUPS as f64;
            // Four standard deviations of the share, and the rounding of the published figure.
            assert!((share - expected).abs() < 0.025, "n = {n}, {method:?}: {share}, expected {expected}");
        }
    }
}
