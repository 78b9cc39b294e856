//! Confidence sequences of the mean of values in [0, 1] (Waudby-Smith & Ramdas 2024): no shape is assumed.

use serde::Serialize;

use crate::error::{AnalysisError, Result};

use super::check_alpha;

/// Positions at which a betting sequence asks whether a mean is still possible.
const BETTING_GRID: usize = 1_000;

/// The interval after each value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BoundedSequence {
    /// Lower end after each value.
    pub lower: Vec<f64>,
    /// Upper end after each value.
    pub upper: Vec<f64>,
}

impl BoundedSequence {
    /// The part that all intervals so far share: it never grows, and holds at the same level. Empty (lower above
    /// upper) once the values contradict every mean.
    pub fn intersected(mut self) -> Self {
        for i in 1..self.lower.len() {
            self.lower[i] = self.lower[i].max(self.lower[i - 1]);
            self.upper[i] = self.upper[i].min(self.upper[i - 1]);
        }
        self
    }
}

/// The predictable plug-in Hoeffding sequence: simple and wide.
///
/// # Errors
/// `alpha_out_of_range`, `probability_out_of_range` (a value outside [0, 1]), `nonfinite_value`.
pub fn hoeffding_sequence(values: &[f64], alpha: f64) -> Result<BoundedSequence> {
    check_bounded(values, alpha)?;
    let goal = (2.0 / alpha).ln();
    let step = |(i, x): (usize, &f64)| {
        let t = (i + 1) as f64;
        let bet = (8.0 * goal / (t * (t + 1.0).ln())).sqrt().min(1.0);
        (*x, bet, bet * bet / 8.0)
    };
    Ok(weighted_sequence(values.iter().enumerate().map(step), goal))
}

/// What an empirical-Bernstein sequence takes for the mean before each value: any guess from what came before is sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guess {
    /// The mean of what came before and one value of one half, as the paper has it.
    #[default]
    Regularized,
    /// The mean of what came before, 0 before the first, as the package `confseq` has it.
    Plain,
}

/// The predictable plug-in empirical-Bernstein sequence: adapts to the spread of the values.
///
/// # Errors
/// As [`hoeffding_sequence`].
pub fn empirical_bernstein_sequence(values: &[f64], alpha: f64, guess: Guess) -> Result<BoundedSequence> {
    check_bounded(values, alpha)?;
    let mirrored: Vec<f64> = values.iter().map(|x| 1.0 - x).collect();
    let upper = empirical_bernstein_lower(&mirrored, alpha, guess);
    Ok(BoundedSequence {
        lower: empirical_bernstein_lower(values, alpha, guess),
        upper: upper.into_iter().map(|end| 1.0 - end).collect(),
    })
}

fn empirical_bernstein_lower(values: &[f64], alpha: f64, guess: Guess) -> Vec<f64> {
    /// Bets are at most this, for which the bound exists.
    const BET_MAX: f64 = 0.5;
    let bets = plug_in_bets(values, alpha);
    let mut sum = 0.0;
    let steps = values.iter().zip(&bets).enumerate().map(|(i, (x, bet))| {
        let plain = if i == 0 { 0.0 } else { sum / i as f64 };
        sum += x;
        let center = if guess == Guess::Plain { plain } else { bet.mean_before };
        let size = bet.size.min(BET_MAX);
        (*x, size, (x - center).powi(2) * (-(-size).ln_1p() - size))
    });
    weighted_sequence(steps, (2.0 / alpha).ln()).lower
}

/// The weighted means of (value, weight, cost) with the reach (goal + costs) / weights.
fn weighted_sequence(steps: impl Iterator<Item = (f64, f64, f64)>, goal: f64) -> BoundedSequence {
    let mut sequence = BoundedSequence { lower: Vec::new(), upper: Vec::new() };
    let (mut products, mut weights, mut costs) = (0.0, 0.0, goal);
    for (x, weight, cost) in steps {
        products += x * weight;
        weights += weight;
        costs += cost;
        sequence.lower.push(((products - costs) / weights).max(0.0));
        sequence.upper.push(((products + costs) / weights).min(1.0));
    }
    sequence
}

struct Bet {
    size: f64,
    /// Mean of what came before, with one value of one half added.
    mean_before: f64,
}

/// Bets from what came before each value.
fn plug_in_bets(values: &[f64], alpha: f64) -> Vec<Bet> {
    let goal = (2.0 / alpha).ln();
    let (mut sum, mut squares) = (0.5, 0.25);
    let bet = |(i, x): (usize, &f64)| {
        let t = (i + 1) as f64;
        let (mean_before, variance_before) = (sum / t, squares / t);
        sum += x;
        let mean = sum / (t + 1.0);
        squares += (x - mean) * (x - mean);
        Bet { size: (2.0 * goal / (variance_before * t * (t + 1.0).ln())).sqrt(), mean_before }
    };
    values.iter().enumerate().map(bet).collect()
}

/// The hedged capital sequence: the means against which no gambler who bets on both sides gets rich. The tightest of
/// the three; its ends lie on a grid of 1/1000.
///
/// # Errors
/// As [`hoeffding_sequence`].
///
/// # Examples
/// ```
/// use analysis::sequential::{betting_sequence, hoeffding_sequence};
/// let answers: Vec<f64> = (0..40).map(|i| f64::from(u8::from(i % 4 != 0))).collect();
/// let (betting, simple) = (betting_sequence(&answers, 0.05)?, hoeffding_sequence(&answers, 0.05)?);
/// assert!(betting.lower[39] > simple.lower[39]);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn betting_sequence(values: &[f64], alpha: f64) -> Result<BoundedSequence> {
    /// Share of what could be lost at a mean that is bet at most.
    const STAKE_MAX: f64 = 0.5;
    check_bounded(values, alpha)?;
    let bets = plug_in_bets(values, alpha);
    let goal = (2.0 / alpha).ln();
    // Logarithms of the capital of the gambler on high and on low values, for each possible mean.
    let mut capital = vec![[0.0f64; 2]; BETTING_GRID + 1];
    let mut sequence = BoundedSequence { lower: Vec::new(), upper: Vec::new() };
    let mean_at = |i: usize| i as f64 / BETTING_GRID as f64;
    for (x, bet) in values.iter().zip(&bets) {
        for (i, [on_high, on_low]) in capital.iter_mut().enumerate() {
            let mean = mean_at(i);
            *on_high += (bet.size.min(STAKE_MAX / mean) * (x - mean)).ln_1p();
            *on_low += (-bet.size.min(STAKE_MAX / (1.0 - mean)) * (x - mean)).ln_1p();
        }
        let possible = |i: &usize| capital[*i][0].max(capital[*i][1]) < goal;
        // One step wider, so that the grid never cuts off a possible mean.
        let low = (0..=BETTING_GRID).find(possible).map_or(0, |least| least.saturating_sub(1));
        let high = (0..=BETTING_GRID).rev().find(possible).map_or(BETTING_GRID, |most| most + 1);
        sequence.lower.push(mean_at(low));
        sequence.upper.push(mean_at(high.min(BETTING_GRID)));
    }
    Ok(sequence)
}

fn check_bounded(values: &[f64], alpha: f64) -> Result<()> {
    check_alpha(alpha)?;
    let count = values.iter().filter(|v| v.is_nan()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the sample".into(), count });
    }
    match values.iter().find(|v| !(0.0..=1.0).contains(*v)) {
        Some(&value) => Err(AnalysisError::ProbabilityOutOfRange { name: "value", value }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_never_grow_and_hold_the_mean_of_a_constant() {
        let values = [0.25; 200];
        let bernstein = empirical_bernstein_sequence(&values, 0.05, Guess::Regularized);
        for found in [hoeffding_sequence(&values, 0.05), bernstein, betting_sequence(&values, 0.05)] {
            let found = found.unwrap().intersected();
            assert!(found.lower.windows(2).all(|pair| pair[0] <= pair[1]));
            assert!(found.upper.windows(2).all(|pair| pair[0] >= pair[1]));
            assert!(found.lower[199] < 0.25 && found.upper[199] > 0.25);
        }
        let betting = betting_sequence(&values, 0.05).unwrap();
        assert!(betting.upper[199] - betting.lower[199] < 0.1);
    }

    #[test]
    fn values_outside_are_refused() {
        assert_eq!(hoeffding_sequence(&[1.5], 0.05).unwrap_err().code(), "probability_out_of_range");
        assert_eq!(betting_sequence(&[f64::NAN], 0.05).unwrap_err().code(), "nonfinite_value");
        assert_eq!(betting_sequence(&[0.5], 0.0).unwrap_err().code(), "alpha_out_of_range");
        assert!(empirical_bernstein_sequence(&[], 0.05, Guess::Plain).unwrap().lower.is_empty());
    }
}
