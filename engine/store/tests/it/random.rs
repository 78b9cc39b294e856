//! Seeds of randomized tests.

pub(crate) use store::random::Random;

/// A number from the environment, or the default.
pub(crate) fn count(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => default,
    }
}

/// The seeds of a test: `count` of them, one after the other from a fixed start, so that every run tests the same;
/// or the one in `RUNLAKE_TEST_SEED`.
pub(crate) fn seeds(start: u64, count: u64) -> Vec<u64> {
    match std::env::var("RUNLAKE_TEST_SEED") {
        Ok(text) => vec![text.parse().unwrap_or_else(|_| panic!("RUNLAKE_TEST_SEED is no number: {text}"))],
        Err(_) => (start..start + count).collect(),
    }
}
