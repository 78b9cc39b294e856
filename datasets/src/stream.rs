//! Random numbers by address: each purpose and index has a stream of its own, so that any run can be computed alone.
//!
//! ChaCha with 8 rounds (Bernstein 2008); transcendental functions come from the `libm` crate, so that a corpus is
//! the same on every platform.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream is used for; streams of different purposes are independent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Experiment = 1,
    Configuration = 2,
    Run = 3,
    SeedNoise = 4,
    Series = 5,
    Times = 6,
    Id = 7,
}

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    pub(crate) fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8] = purpose as u8;
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(index);
        Self(generator)
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in [0, 1), with 53 bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// True with the given probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Uniform in 0..n (multiply and shift; the bias is below n / 2^64). `n` must not be 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// Uniform in low..=high.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// One of the items, all equally likely. `items` must not be empty.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Standard normal (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(2.0 * std::f64::consts::PI * self.uniform())
    }

    /// Mean 0, sd 1, nearly normal, within ±3.5: the sum of four uniform numbers of 16 bits, for noise a point.
    pub(crate) fn noise(&mut self) -> f64 {
        let bits = self.bits();
        let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        (sum as f64 - 131_070.0) * (1.0 / 37_837.227)
    }

    /// Shuffles in place (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_independent_and_repeatable() {
        let first = |seed, purpose, index| Stream::new(seed, purpose, index).bits();
        assert_eq!(first(1, Purpose::Run, 5), first(1, Purpose::Run, 5));
        let others = [
            first(1, Purpose::Run, 5),
            first(1, Purpose::Run, 6),
            first(1, Purpose::Series, 5),
            first(2, Purpose::Run, 5),
        ];
        for (place, value) in others.iter().enumerate() {
            assert!(!others[..place].contains(value));
        }
    }

    #[test]
    fn moments_are_as_promised() {
        let mut stream = Stream::new(9, Purpose::Run, 0);
        type Draw = fn(&mut Stream) -> f64;
        let draws: [(Draw, f64, f64); 3] = [
            (Stream::uniform, 0.5, (1.0_f64 / 12.0).sqrt()),
            (Stream::normal, 0.0, 1.0),
            (Stream::noise, 0.0, 1.0),
        ];
        for (draw, mean, sd) in draws {
            let n = 200_000;
            let values: Vec<f64> = (0..n).map(|_| draw(&mut stream)).collect();
            let found = values.iter().sum::<f64>() / n as f64;
            let spread = (values.iter().map(|v| (v - found).powi(2)).sum::<f64>() / n as f64).sqrt();
            assert!((found - mean).abs() < 5.0 * sd / (n as f64).sqrt(), "mean {found}");
            assert!((spread - sd).abs() < 0.01 * sd, "sd {spread}");
        }
    }

    #[test]
    fn below_is_even() {
        let mut stream = Stream::new(3, Purpose::Run, 0);
        let mut counts = [0_i32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 500), "{counts:?}");
    }
}
