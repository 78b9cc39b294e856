//! The hash of a configuration: runs with equal hashes were started with equal params.

use std::fmt;
use std::str::FromStr;

use model::SEED_KEYS;
use sha2::{Digest, Sha256};

/// 128 bits of SHA-256, written as 32 hexadecimal digits.
///
/// Without the seed it is over the params sorted by key, each as length and bytes of key and value: runs that differ
/// only in their seed have the same one. With the seed it is over that hash and the params that are the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ConfigHash(u128);

impl ConfigHash {
    /// The hash of params, sorted by key, without the seed.
    pub fn of<'a>(params: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut hasher = Sha256::new();
        for (key, value) in params.filter(|(key, _)| !SEED_KEYS.contains(key)) {
            update(&mut hasher, key, value);
        }
        Self::take(hasher)
    }

    /// The hash with the seed among these params.
    #[must_use]
    pub fn with_seed<'a>(self, param: impl Fn(&str) -> Option<&'a str>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0.to_be_bytes());
        for key in SEED_KEYS {
            if let Some(value) = param(key) {
                update(&mut hasher, key, value);
            }
        }
        Self::take(hasher)
    }

    /// The bits.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    fn take(hasher: Sha256) -> Self {
        let bytes = hasher.finalize();
        Self(bytes.iter().take(16).fold(0, |bits, byte| (bits << 8) | u128::from(*byte)))
    }
}

fn update(hasher: &mut Sha256, key: &str, value: &str) {
    for text in [key, value] {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for ConfigHash {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_left_out_and_keys_are_kept_apart() {
        let hash = |params: &[(&'static str, &'static str)]| ConfigHash::of(params.iter().copied());
        let a = hash(&[("lr", "0.1"), ("seed", "1")]);
        assert_eq!(a, hash(&[("lr", "0.1"), ("seed", "2")]));
        assert_ne!(a, hash(&[("l", "r0.1")]));
        assert_ne!(hash(&[("l", "r0.1")]), hash(&[]));
        assert_eq!(a.to_string().parse(), Ok(a));
        assert_eq!(hash(&[]).to_string(), "e3b0c44298fc1c149afbf4c8996fb924");
    }

    #[test]
    fn with_the_seed_runs_that_differ_in_it_differ() {
        let hash = ConfigHash::of([("lr", "0.1")].into_iter());
        let with = |seed: Option<&'static str>| hash.with_seed(|key| seed.filter(|_| key == "seed"));
        assert_ne!(with(Some("1")), with(Some("2")));
        assert_ne!(with(Some("1")), with(None));
        assert_eq!(with(Some("1")), with(Some("1")));
    }
}
