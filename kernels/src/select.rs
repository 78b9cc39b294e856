//! Exact selection of interval ends: quantiles of type 7 without a full sort.

use crate::cpu::simd::Simd;
use crate::describe::{interpolate, type7_rank};

/// Below this many values a plain selection is faster than a filtering pass.
const FILTER_FROM: usize = 2_048;
/// Size of the sample that brackets the wanted ranks.
const BRACKET: usize = 512;

/// Buffers that are reused from group to group.
#[derive(Default)]
pub(crate) struct Selector {
    bracket: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
}

impl Selector {
    /// The two quantiles of type 7. `values` must not be empty, hold no NaN, and may be reordered.
    ///
    /// A sample of the values gives thresholds below and above which the wanted ranks lie almost
    /// certainly; one pass keeps the values beyond them; the ranks are selected among those. When
    /// a threshold was unlucky, the selection runs on all values: the answer is the same.
    pub(crate) fn quantiles(&mut self, simd: Simd, values: &mut [f64], probabilities: [f64; 2]) -> [f64; 2] {
        if values.len() < FILTER_FROM {
            let count = values.len();
            return probabilities.map(|probability| ascending_quantile(values, 0, count, probability));
        }
        let thresholds = self.thresholds(values, probabilities);
        let [low, high] = self.tails_of(simd, values, probabilities, thresholds);
        let all = |values: &mut [f64], probability| ascending_quantile(values, 0, values.len(), probability);
        let low = low.unwrap_or_else(|| all(values, probabilities[0]));
        [low, high.unwrap_or_else(|| all(values, probabilities[1]))]
    }

    /// The same with the help of what is known of the values: about where quantiles of given probabilities lie.
    /// Only the time depends on how good the guess is.
    pub(crate) fn quantiles_near(
        &mut self,
        simd: Simd,
        values: &mut [f64],
        probabilities: [f64; 2],
        guess: impl Fn(f64) -> f64,
    ) -> [f64; 2] {
        if values.len() >= FILTER_FROM {
            // Room for five deviations of the rank, and for an error of the guess.
            let inward = |p: f64| 1.2 * p + 5.0 * (p * (1.0 - p) / values.len() as f64).sqrt() + 0.002;
            let [low, high] = [inward(probabilities[0]), 1.0 - inward(1.0 - probabilities[1])];
            if low < 0.3 && high > 0.7 {
                let thresholds = [guess(low), guess(high)];
                if let [Some(low), Some(high)] = self.tails_of(simd, values, probabilities, thresholds) {
                    return [low, high];
                }
            }
        }
        self.quantiles(simd, values, probabilities)
    }

    /// The quantiles from the values beyond the thresholds, where these hold the wanted ranks.
    fn tails_of(
        &mut self,
        simd: Simd,
        values: &[f64],
        probabilities: [f64; 2],
        thresholds: [f64; 2],
    ) -> [Option<f64>; 2] {
        let count = values.len();
        self.low.resize(count + Simd::SLACK, 0.0);
        self.high.resize(count + Simd::SLACK, 0.0);
        let [kept_low, kept_high] = simd.tails(values, thresholds, &mut self.low, &mut self.high);
        let low = (type7_rank(count, probabilities[0]).0 + 1 < kept_low)
            .then(|| ascending_quantile(&mut self.low[..kept_low], 0, count, probabilities[0]));
        let skipped = count - kept_high;
        let high = (type7_rank(count, probabilities[1]).0 >= skipped)
            .then(|| ascending_quantile(&mut self.high[..kept_high], skipped, count, probabilities[1]));
        [low, high]
    }

    fn thresholds(&mut self, values: &[f64], probabilities: [f64; 2]) -> [f64; 2] {
        self.bracket.clear();
        self.bracket.extend(values.iter().copied().step_by(values.len() / BRACKET));
        let size = self.bracket.len() as f64;
        let last = self.bracket.len() - 1;
        // Four standard deviations of the sample's rank.
        let margin = |p: f64| 4.0 * (size * p * (1.0 - p)).sqrt() + 2.0;
        let low = (size * probabilities[0] + margin(probabilities[0])) as usize;
        let high = (size * probabilities[1] - margin(probabilities[1])).max(0.0) as usize;
        [low.min(last), high.min(last)]
            .map(|rank| *self.bracket.select_nth_unstable_by(rank, f64::total_cmp).1)
    }
}

/// The quantile of type 7 of `count` values of which `part` holds the ranks from `skipped` on.
fn ascending_quantile(part: &mut [f64], skipped: usize, count: usize, probability: f64) -> f64 {
    let (rank, fraction) = type7_rank(count, probability);
    let (_, &mut lower, above) = part.select_nth_unstable_by(rank - skipped, f64::total_cmp);
    if fraction <= 0.0 {
        return lower;
    }
    let upper = above.iter().copied().min_by(f64::total_cmp).unwrap_or(lower);
    interpolate(lower, upper, fraction)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::InstructionSet;
    use crate::describe::quantile_sorted;

    fn check(values: &[f64], probabilities: [f64; 2]) {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let expected = probabilities.map(|probability| quantile_sorted(&sorted, probability).unwrap());
        let guesses: [fn(&[f64], f64) -> f64; 3] = [
            |sorted, probability| quantile_sorted(sorted, probability).unwrap_or(f64::NAN),
            |sorted, probability| sorted[0] + probability * (sorted[sorted.len() - 1] - sorted[0]),
            |_, _| f64::NAN,
        ];
        for guess in guesses {
            let guess = |probability: f64| guess(&sorted, probability);
            let near = Selector::default().quantiles_near(
                Simd::detect(),
                &mut values.to_vec(),
                probabilities,
                guess,
            );
            assert_eq!(near.map(f64::to_bits), expected.map(f64::to_bits), "{probabilities:?}");
        }
        for set in InstructionSet::ALL {
            let Ok(simd) = Simd::named(set) else { continue };
            let selected = Selector::default().quantiles(simd, &mut values.to_vec(), probabilities);
            assert_eq!(selected.map(f64::to_bits), expected.map(f64::to_bits), "{probabilities:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn selection_equals_sorting(
            values in prop_oneof![
                prop::collection::vec(-1e3f64..1e3, 1..50),
                prop::collection::vec((-3i8..3).prop_map(f64::from), 1..6_000),
                prop::collection::vec(-1e3f64..1e3, 2_000..6_000),
            ],
            low in 0.0f64..=1.0,
            high in 0.0f64..=1.0,
        ) {
            check(&values, [low.min(high), low.max(high)]);
        }
    }

    #[test]
    fn a_misleading_order_still_gives_the_exact_ends() {
        // Every value that the bracket sees is large, so both thresholds are wrong.
        let values: Vec<f64> =
            (0..10_240).map(|i| if i % 20 == 0 { 1e9 + f64::from(i) } else { f64::from(i) }).collect();
        check(&values, [0.025, 0.975]);
        let values: Vec<f64> =
            (0..10_240).map(|i| if i % 20 == 0 { -1e9 } else { f64::from(i % 7) }).collect();
        check(&values, [0.3, 0.6]);
        check(&values, [0.0, 1.0]);
    }
}
