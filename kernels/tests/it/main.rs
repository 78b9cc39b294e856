//! Integration tests of the kernels.

use kernels::{BootstrapRequest, Method, Policy, Samples, select};

#[test]
fn a_studentized_difference_of_means_brackets_the_truth() {
    let first: Vec<f64> = (0..12).map(|i| 1.0 + f64::from(i * 7 % 12) / 10.0).collect();
    let second: Vec<f64> = (0..15).map(|i| f64::from(i * 4 % 15) / 10.0).collect();
    let request = BootstrapRequest::mean_difference(
        Samples { values: &first, offsets: &[0, 12] },
        Samples { values: &second, offsets: &[0, 15] },
    )
    .method(Method::Studentized);
    let out = select(Policy::Auto).unwrap().backend.bootstrap(&request).unwrap();
    assert!(out.low[0] < 0.85 && out.high[0] > 0.85 && (out.estimate[0] - 0.85).abs() < 1e-12, "{out:?}");
}
