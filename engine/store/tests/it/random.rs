//! Seeds of randomized tests, and the small generator that they start.

/// splitmix64 (Steele, Lea & Flood 2014): small, and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

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
