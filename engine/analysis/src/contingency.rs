//! Tables of counts: chi-squared tests, odds ratios, and answers of the same examples paired.

use serde::Serialize;

use crate::distributions::{chi_squared_sf, normal_quantile, root};
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;
use crate::p_value::PValue;
use crate::rates::{ln_choose, mcnemar_exact};

/// The largest total of a 2x2 table whose tests without fixed margins are computed; they take its square in steps.
const UNCONDITIONAL_MAX: u64 = 2_000;

/// A table of counts with two or more rows and columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CountTable {
    rows: Vec<Vec<u64>>,
}

/// A chi-squared statistic of a table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TableTest {
    /// The statistic.
    pub statistic: f64,
    /// Degrees of freedom: (rows - 1) (columns - 1).
    pub degrees_of_freedom: f64,
    /// P(a statistic at least as large) when rows and columns are independent.
    pub p: PValue,
}

impl TableTest {
    fn of(statistic: f64, degrees_of_freedom: f64) -> Self {
        Self { statistic, degrees_of_freedom, p: PValue::new(chi_squared_sf(statistic, degrees_of_freedom)) }
    }
}

impl CountTable {
    /// A table from its rows.
    ///
    /// # Errors
    /// `negative_count`, `invalid_argument` (fewer than two rows or columns, rows of unequal length, counts above
    /// 2^53 in all).
    pub fn new(rows: &[Vec<i64>]) -> Result<Self> {
        let columns = rows.first().map_or(0, Vec::len);
        let refuse =
            |value: String, expected| Err(AnalysisError::InvalidArgument { name: "table", value, expected });
        if rows.len() < 2 || columns < 2 || rows.iter().any(|row| row.len() != columns) {
            let shape = format!("{} rows, {columns} columns in the first", rows.len());
            return refuse(shape, "two or more rows of two or more counts each");
        }
        if let Some(&count) = rows.iter().flatten().find(|count| **count < 0) {
            return Err(AnalysisError::NegativeCount { count });
        }
        let total: u128 = rows.iter().flatten().map(|count| u128::from(count.unsigned_abs())).sum();
        if total > 1 << 53 {
            return refuse(format!("{total} in all"), "at most 2^53 in all");
        }
        let rows = rows.iter().map(|row| row.iter().map(|count| count.unsigned_abs()).collect()).collect();
        Ok(Self { rows })
    }

    /// Pearson's chi-squared test of independence (1900); with Yates' correction (1934), which only applies to tables
    /// of one degree of freedom, if `corrected`.
    ///
    /// # Errors
    /// `zero_margin` when a row or a column is empty.
    ///
    /// # Examples
    /// ```
    /// use analysis::CountTable;
    /// let table = CountTable::new(&[vec![33, 1], vec![33, 18]])?;
    /// assert!((table.chi_squared(false)?.statistic - 12.302631578947368).abs() < 1e-9);
    /// # Ok::<(), analysis::AnalysisError>(())
    /// ```
    pub fn chi_squared(&self, corrected: bool) -> Result<TableTest> {
        let df = self.degrees_of_freedom();
        let correction = if corrected && df == 1.0 { 0.5 } else { 0.0 };
        let part = |count: f64, expected: f64| {
            let distance = (count - expected).abs();
            (distance - distance.min(correction)).powi(2) / expected
        };
        Ok(TableTest::of(self.sum_of_cells(part)?, df))
    }

    /// The likelihood-ratio test of independence (G, Wilks 1935).
    ///
    /// # Errors
    /// `zero_margin` when a row or a column is empty.
    pub fn g_test(&self) -> Result<TableTest> {
        let part =
            |count: f64, expected: f64| if count > 0.0 { 2.0 * count * (count / expected).ln() } else { 0.0 };
        Ok(TableTest::of(self.sum_of_cells(part)?, self.degrees_of_freedom()))
    }

    /// Cramér's V (1946): the strength of the association, from 0 to 1.
    ///
    /// # Errors
    /// `zero_margin` when a row or a column is empty.
    pub fn cramers_v(&self) -> Result<f64> {
        let total: u64 = self.rows.iter().flatten().sum();
        let least = (self.rows.len().min(self.rows[0].len()) - 1) as f64;
        Ok((self.chi_squared(false)?.statistic / (total as f64 * least)).sqrt())
    }

    fn degrees_of_freedom(&self) -> f64 {
        ((self.rows.len() - 1) * (self.rows[0].len() - 1)) as f64
    }

    fn sum_of_cells(&self, part: impl Fn(f64, f64) -> f64) -> Result<f64> {
        let row_sums: Vec<f64> = self.rows.iter().map(|row| row.iter().sum::<u64>() as f64).collect();
        let column_sum = |column: usize| self.rows.iter().map(|row| row[column]).sum::<u64>() as f64;
        let column_sums: Vec<f64> = (0..self.rows[0].len()).map(column_sum).collect();
        if row_sums.iter().chain(&column_sums).any(|sum| *sum == 0.0) {
            return Err(AnalysisError::ZeroMargin);
        }
        let total: f64 = row_sums.iter().sum();
        let cells = self.rows.iter().zip(&row_sums).flat_map(|(row, row_sum)| {
            let expected = column_sums.iter().map(move |column_sum| row_sum * column_sum / total);
            row.iter().map(|count| *count as f64).zip(expected)
        });
        Ok(cells.map(|(count, expected)| part(count, expected)).sum())
    }
}

/// An odds ratio with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OddsRatio {
    /// a d / (b c) of the table `[[a, b], [c, d]]`; infinite when b c = 0, NaN when a d is 0 as well.
    pub sample: f64,
    /// The conditional maximum-likelihood estimate.
    pub conditional: f64,
    /// The exact interval of the conditional odds ratio at `level` (Cornfield 1956).
    pub interval: [f64; 2],
    /// Confidence level of the interval.
    pub level: f64,
}

/// The odds ratio of `[[a, b], [c, d]]`, conditional on the margins (Fisher 1935).
///
/// # Errors
/// `zero_margin`, `probability_out_of_range`, `invalid_argument` (counts above 100,000 in all).
pub fn odds_ratio(table: [[u64; 2]; 2], level: f64) -> Result<OddsRatio> {
    crate::describe::check_level(level)?;
    let weights = ConditionalWeights::of(table)?;
    let [[a, b], [c, d]] = table.map(|row| row.map(|count| count as f64));
    let tail = 0.5 * (1.0 - level);
    let observed = table[0][0];
    // The logarithm of the odds ratio at which a quantity, which rises with it, reaches a goal.
    let solve = |goal: f64, of: &dyn Fn(f64) -> f64| {
        let mut reach = 1.0;
        while (of(-reach) > goal || of(reach) < goal) && reach < 700.0 {
            reach *= 2.0;
        }
        root(-reach, reach, |ln_odds| of(ln_odds) - goal).exp()
    };
    let (lowest, highest) = weights.range();
    let at_low = observed == lowest;
    let at_high = observed == highest;
    let conditional = match (at_low, at_high) {
        (true, _) => 0.0,
        (_, true) => f64::INFINITY,
        _ => solve(observed as f64, &|ln_odds| weights.mean(ln_odds)),
    };
    let low = if at_low { 0.0 } else { solve(tail, &|ln_odds| weights.upper_tail(ln_odds, observed)) };
    let high = if at_high {
        f64::INFINITY
    } else {
        solve(1.0 - tail, &|ln_odds| weights.upper_tail(ln_odds, observed + 1))
    };
    Ok(OddsRatio { sample: a * d / (b * c), conditional, interval: [low, high], level })
}

/// The hypergeometric weights of the first cell at fixed margins.
struct ConditionalWeights {
    lowest: u64,
    ln_weights: Vec<f64>,
}

impl ConditionalWeights {
    fn of(table: [[u64; 2]; 2]) -> Result<Self> {
        let [[a, b], [c, d]] = table;
        let (row, other_row, column) = (a + b, c + d, a + c);
        if row == 0 || other_row == 0 || column == 0 || b + d == 0 {
            return Err(AnalysisError::ZeroMargin);
        }
        if row + other_row > 100_000 {
            return Err(AnalysisError::InvalidArgument {
                name: "table",
                value: format!("{} in all", row + other_row),
                expected: "at most 100000 in all; use an interval for a difference of rates",
            });
        }
        let lowest = column.saturating_sub(other_row);
        let weight = |x: u64| ln_choose(row, x) + ln_choose(other_row, column - x);
        Ok(Self { lowest, ln_weights: (lowest..=column.min(row)).map(weight).collect() })
    }

    fn range(&self) -> (u64, u64) {
        (self.lowest, self.lowest + self.ln_weights.len() as u64 - 1)
    }

    /// Value of the first cell and its probability at an odds ratio.
    fn probabilities(&self, ln_odds: f64) -> impl Iterator<Item = (u64, f64)> + '_ {
        let exponent = move |(i, weight): (usize, &f64)| weight + ln_odds * (self.lowest + i as u64) as f64;
        let largest = self.ln_weights.iter().enumerate().map(exponent).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.ln_weights.iter().enumerate().map(|cell| (exponent(cell) - largest).exp()).sum();
        let share = move |cell: (usize, &f64)| (exponent(cell) - largest).exp() / sum;
        self.ln_weights.iter().enumerate().map(move |(i, w)| (self.lowest + i as u64, share((i, w))))
    }

    fn mean(&self, ln_odds: f64) -> f64 {
        self.probabilities(ln_odds).map(|(x, p)| x as f64 * p).sum()
    }

    fn upper_tail(&self, ln_odds: f64, from: u64) -> f64 {
        self.probabilities(ln_odds).filter(|(x, _)| *x >= from).map(|(_, p)| p).sum()
    }
}

/// What the two columns of a 2x2 table are compared by when only their totals are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unconditional {
    /// The pooled z statistic of two rates (Barnard 1945).
    Barnard,
    /// Fisher's p-value: never less powerful than Fisher's test (Boschloo 1970).
    Boschloo,
}

/// The two-sided p-value of two rates without fixing how many events there are in all: the largest over every common
/// rate. Columns are the groups, the first row counts the event.
///
/// # Errors
/// `zero_margin`, `invalid_argument` (a total above 2,000).
///
/// # Examples
/// ```
/// use analysis::{Unconditional, unconditional_test};
/// let p = unconditional_test([[6, 1], [9, 7]], Unconditional::Barnard)?;
/// assert!((p.value() - 0.1862).abs() < 1e-3);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn unconditional_test(table: [[u64; 2]; 2], statistic: Unconditional) -> Result<PValue> {
    let [[a, b], [c, d]] = table;
    let (first, second) = (a + c, b + d);
    if first == 0 || second == 0 || a + b == 0 || c + d == 0 {
        return Err(AnalysisError::ZeroMargin);
    }
    if first + second > UNCONDITIONAL_MAX {
        return Err(AnalysisError::InvalidArgument {
            name: "table",
            value: format!("{} in all", first + second),
            expected: "at most 2000 in all; larger tables are for the chi-squared test",
        });
    }
    let p = match statistic {
        Unconditional::Barnard => {
            let z = |x: u64, y: u64| pooled_z(x, first, y, second).abs();
            let observed = z(a, b) * (1.0 - 1e-12);
            largest_tail(first, second, &|x, y| z(x, y) >= observed)
        }
        Unconditional::Boschloo => {
            let side = |upper: bool| {
                let fisher = fisher_tails(first, second, upper);
                let at = |x: u64, y: u64| fisher[(x + y) as usize][x as usize];
                let observed = at(a, b) * (1.0 + 1e-13);
                largest_tail(first, second, &|x, y| at(x, y) <= observed)
            };
            2.0 * side(true).min(side(false))
        }
    };
    Ok(PValue::new(p))
}

fn pooled_z(x: u64, n: u64, y: u64, m: u64) -> f64 {
    let (rate_x, rate_y) = (x as f64 / n as f64, y as f64 / m as f64);
    if rate_x == rate_y {
        return 0.0;
    }
    let pooled = (x + y) as f64 / (n + m) as f64;
    (rate_x - rate_y) / (pooled * (1.0 - pooled) * (1.0 / n as f64 + 1.0 / m as f64)).sqrt()
}

/// One-sided Fisher p-values by the number of events in all and in the first group.
fn fisher_tails(first: u64, second: u64, upper: bool) -> Vec<Vec<f64>> {
    let tails = |events: u64| {
        let (lowest, highest) = (events.saturating_sub(second), events.min(first));
        let ln_all = ln_choose(first + second, events);
        let share = |x: u64| (ln_choose(first, x) + ln_choose(second, events - x) - ln_all).exp();
        let mut tails = vec![0.0; first as usize + 1];
        let mut sum = 0.0;
        let mut add = |x: u64| {
            sum += share(x);
            tails[x as usize] = sum;
        };
        if upper {
            (lowest..=highest).rev().for_each(&mut add)
        } else {
            (lowest..=highest).for_each(&mut add)
        }
        tails
    };
    (0..=first + second).map(tails).collect()
}

/// The largest probability over all common rates that two binomial counts fall where `inside` says.
fn largest_tail(first: u64, second: u64, inside: &dyn Fn(u64, u64) -> bool) -> f64 {
    let by_rows: Vec<Vec<u64>> =
        (0..=first).map(|x| (0..=second).filter(|&y| inside(x, y)).collect()).collect();
    let ln_binomial = |n: u64, rate: f64| -> Vec<f64> {
        let (hit, miss) = (rate.ln(), (-rate).ln_1p());
        (0..=n).map(|k| ln_choose(n, k) + k as f64 * hit + (n - k) as f64 * miss).collect()
    };
    let probability = |rate: f64| -> f64 {
        let (in_first, in_second) = (ln_binomial(first, rate), ln_binomial(second, rate));
        let row = |(x, ys): (usize, &Vec<u64>)| -> f64 {
            ys.iter().map(|&y| (in_first[x] + in_second[y as usize]).exp()).sum()
        };
        by_rows.iter().enumerate().map(row).sum()
    };
    const GRID: u32 = 256;
    let at = |i: u32| f64::from(i) / f64::from(GRID);
    let best = (1..GRID).max_by(|&i, &j| probability(at(i)).total_cmp(&probability(at(j)))).unwrap_or(1);
    // Golden-section search between the neighbours of the best point.
    let golden = 0.5 * (5f64.sqrt() - 1.0);
    let (mut low, mut high) = (at(best - 1).max(1e-9), at(best + 1).min(1.0 - 1e-9));
    for _ in 0..40 {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if probability(left) > probability(right) { high = right } else { low = left }
    }
    probability(0.5 * (low + high)).max(probability(at(best))).min(1.0)
}

/// The test of Cochran (1950): do several classifiers answer the same examples equally often right? Rows are
/// examples, columns are classifiers.
///
/// # Errors
/// `pairing_mismatch` (rows of unequal length), `too_few_runs` (fewer than two classifiers), `zero_variance` (every
/// example has one answer from all).
pub fn cochran_q(rows: &[Vec<bool>]) -> Result<TableTest> {
    let columns = rows.first().map_or(0, Vec::len);
    if columns < 2 {
        let sample = "the classifiers".into();
        return Err(AnalysisError::TooFewRuns { sample, have: columns, need: 2 });
    }
    if let Some(row) = rows.iter().find(|row| row.len() != columns) {
        let detail = format!("one example has {} answers, another {columns}", row.len());
        return Err(AnalysisError::PairingMismatch { detail });
    }
    let column = |j: usize| rows.iter().filter(|row| row[j]).count() as f64;
    let columns_right: Vec<f64> = (0..columns).map(column).collect();
    let rows_right = rows.iter().map(|row| row.iter().filter(|right| **right).count() as f64);
    let (k, total) = (columns as f64, columns_right.iter().sum::<f64>());
    let unequal = k * total - rows_right.map(|r| r * r).sum::<f64>();
    if unequal == 0.0 {
        return Err(AnalysisError::ZeroVariance { difference: 0.0 });
    }
    let squares = columns_right.iter().map(|c| c * c).sum::<f64>();
    Ok(TableTest::of((k - 1.0) * (k * squares - total * total) / unequal, k - 1.0))
}

/// Two sets of answers to the same examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedAnswers {
    /// `[[both right, only the baseline], [only the candidate, neither]]`.
    pub table: [[u64; 2]; 2],
    /// McNemar's exact two-sided p-value of the discordant examples; 1 when there is none.
    pub p_exact: PValue,
    /// Share right of the candidate less that of the baseline.
    pub difference: f64,
    /// Standard error of the difference from the pairs.
    pub standard_error: f64,
    /// Standard error as if the examples were not the same: what pairing saves.
    pub unpaired_error: f64,
    /// The normal interval of the difference at `level`.
    pub interval: [f64; 2],
    /// Confidence level of the interval.
    pub level: f64,
}

/// Compares right and wrong answers of a baseline and a candidate to the same examples (McNemar 1947).
///
/// It speaks about these two checkpoints, not about the recipe that made them.
///
/// # Errors
/// `pairing_mismatch`, `too_few_runs` (fewer than two examples), `probability_out_of_range`.
///
/// # Examples
/// ```
/// let baseline = [true, false, true, false, false, true];
/// let candidate = [true, true, true, true, false, true];
/// let found = analysis::paired_answers(&baseline, &candidate, 0.95)?;
/// assert_eq!(found.table, [[3, 0], [2, 1]]);
/// assert!((found.p_exact.value() - 0.5).abs() < 1e-12);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn paired_answers(baseline: &[bool], candidate: &[bool], level: f64) -> Result<PairedAnswers> {
    crate::describe::check_level(level)?;
    if baseline.len() != candidate.len() {
        let detail = format!("{} answers against {}", candidate.len(), baseline.len());
        return Err(AnalysisError::PairingMismatch { detail });
    }
    if baseline.len() < 2 {
        let sample = "the examples".into();
        return Err(AnalysisError::TooFewRuns { sample, have: baseline.len(), need: 2 });
    }
    let mut table = [[0; 2]; 2];
    let differences: Vec<f64> = baseline
        .iter()
        .zip(candidate)
        .map(|(&before, &after)| {
            table[usize::from(!before)][usize::from(!after)] += 1;
            f64::from(i8::from(after) - i8::from(before))
        })
        .collect();
    let error = |values: &[f64]| Moments::of(values).standard_error().unwrap_or(0.0);
    let shares = |answers: &[bool]| answers.iter().map(|&right| f64::from(right)).collect::<Vec<_>>();
    let difference = Moments::of(&differences).mean().unwrap_or(0.0);
    let standard_error = error(&differences);
    let reach = normal_quantile(0.5 * (1.0 + level)) * standard_error;
    Ok(PairedAnswers {
        table,
        p_exact: PValue::new(mcnemar_exact(table[0][1], table[1][0])),
        difference,
        standard_error,
        unpaired_error: error(&shares(baseline)).hypot(error(&shares(candidate))),
        interval: [difference - reach, difference + reach],
        level,
    })
}

/// McNemar's chi-squared statistic of `b` and `c` discordant pairs, with Edwards' correction (1948) if asked for. The
/// exact test, [`mcnemar_exact`], is as cheap and right for few pairs too. `None` without a discordant pair.
pub fn mcnemar_chi_squared(b: u64, c: u64, corrected: bool) -> Option<TableTest> {
    let (more, fewer) = (b.max(c) as f64, b.min(c) as f64);
    let distance = (more - fewer - if corrected { 1.0 } else { 0.0 }).max(0.0);
    (more > 0.0).then(|| TableTest::of(distance * distance / (more + fewer), 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_tables_are_refused() {
        let code = |rows: &[Vec<i64>]| CountTable::new(rows).unwrap_err().code();
        assert_eq!(code(&[vec![1, -2], vec![3, 4]]), "negative_count");
        assert_eq!(code(&[vec![1, 2]]), "invalid_argument");
        assert_eq!(code(&[vec![1, 2], vec![3]]), "invalid_argument");
        assert_eq!(code(&[vec![i64::MAX, 2], vec![3, 4]]), "invalid_argument");
        let empty_column = CountTable::new(&[vec![0, 5], vec![0, 7]]).unwrap();
        assert_eq!(empty_column.chi_squared(false).unwrap_err().code(), "zero_margin");
        assert_eq!(odds_ratio([[0, 5], [0, 7]], 0.95).unwrap_err().code(), "zero_margin");
        let test = unconditional_test([[1_500, 1], [1_000, 1]], Unconditional::Barnard);
        assert_eq!(test.unwrap_err().code(), "invalid_argument");
    }

    #[test]
    fn a_table_of_equal_rates_has_an_odds_ratio_of_one() {
        let found = odds_ratio([[10, 20], [5, 10]], 0.95).unwrap();
        assert!((found.sample - 1.0).abs() < 1e-15);
        assert!((found.conditional - 1.0).abs() < 0.03, "{}", found.conditional);
        assert!(found.interval[0] < 1.0 && found.interval[1] > 1.0);
    }

    #[test]
    fn without_a_discordant_pair_there_is_nothing_to_test() {
        assert_eq!(mcnemar_chi_squared(0, 0, false), None);
        let rows = vec![vec![true, true], vec![false, false]];
        assert_eq!(cochran_q(&rows).unwrap_err().code(), "zero_variance");
    }
}
