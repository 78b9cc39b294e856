//! The distribution of replicates that stay on the device: the host asks which quantiles an interval needs, and gets
//! the four order statistics behind them.

use crate::describe::{interpolate, type7_rank};
use crate::interval::{Replicates, Target};

/// Number of order statistics behind an interval: two for each end.
pub(crate) const WANTED: usize = 4;

/// Takes down which quantiles are asked for.
struct Question {
    share: f64,
    asked: Option<[f64; 2]>,
}

impl Replicates for Question {
    fn share_around(&self, _: f64, _: f64) -> f64 {
        self.share
    }

    fn quantiles(&mut self, probabilities: [f64; 2]) -> [f64; 2] {
        self.asked = Some(probabilities);
        [f64::NAN; 2]
    }
}

/// The ranks (from 0) of the order statistics that an interval needs, of `kept` replicates with a share of `share`
/// around the estimate; `None` when it needs none.
pub(crate) fn wanted(target: &Target<'_>, share: f64, kept: usize) -> Option<[u32; WANTED]> {
    if kept == 0 {
        return None;
    }
    let mut question = Question { share, asked: None };
    target.ends(&mut question);
    let [low, high] = question.asked?.map(|probability| type7_rank(kept, probability).0);
    let last = kept - 1;
    Some([low, (low + 1).min(last), high, (high + 1).min(last)].map(|rank| rank as u32))
}

/// The replicates of one group as far as they are known.
pub(crate) struct Selected {
    pub(crate) share: f64,
    pub(crate) kept: usize,
    /// The order statistics of the ranks that [`wanted`] named.
    pub(crate) values: [f64; WANTED],
}

impl Replicates for Selected {
    fn share_around(&self, _: f64, _: f64) -> f64 {
        self.share
    }

    fn quantiles(&mut self, probabilities: [f64; 2]) -> [f64; 2] {
        let [a, b, c, d] = self.values;
        [(probabilities[0], a, b), (probabilities[1], c, d)].map(|(probability, lower, upper)| {
            let (_, fraction) = type7_rank(self.kept, probability);
            interpolate(lower, upper, fraction)
        })
    }
}
