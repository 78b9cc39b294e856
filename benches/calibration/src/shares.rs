//! Shares of repetitions with their exact intervals.

use analysis::{binomial_sf, clopper_pearson};

use crate::error::Result;

/// How often something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Repetitions in which it did.
    pub hits: u64,
    /// All of them.
    pub trials: u64,
}

impl Share {
    /// Counts one repetition.
    pub fn add(&mut self, hit: bool) {
        self.hits += u64::from(hit);
        self.trials += 1;
    }

    /// The share.
    pub fn value(self) -> f64 {
        self.hits as f64 / self.trials as f64
    }

    /// Clopper and Pearson's interval at this level.
    ///
    /// # Errors
    /// Without any repetition.
    pub fn interval(self, level: f64) -> Result<[f64; 2]> {
        Ok(clopper_pearson(self.hits, self.trials, level)?)
    }
}

/// Whether a share is above `rate` by more than chance: as many hits or more come with probability below `doubt`.
///
/// # Errors
/// Without any repetition.
pub fn above(share: Share, rate: f64, doubt: f64) -> Result<bool> {
    Ok(binomial_sf(share.hits, share.trials, rate)? < doubt)
}

/// In per cent with its interval, such as `4.4 (4.0-4.8)`.
///
/// # Errors
/// Without any repetition.
pub fn shown(share: Share) -> Result<String> {
    let [low, high] = share.interval(0.95)?;
    Ok(format!("{:.1} ({:.1}-{:.1})", 100.0 * share.value(), 100.0 * low, 100.0 * high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_above_its_rate_only_beyond_chance() {
        let share = |hits| Share { hits, trials: 1_000 };
        assert!(!above(share(0), 0.05, 1e-3).unwrap() && !above(share(60), 0.05, 1e-3).unwrap());
        assert!(above(share(90), 0.05, 1e-3).unwrap());
        assert_eq!(shown(share(50)).unwrap(), "5.0 (3.7-6.5)");
    }
}
