//! Where the level of a curve changes: moving sums (MOSUM, Eichinger & Kirch 2018).
//!
//! At each value the mean of the values before it is compared with the mean of it and those after it, by Student's t.
//! A change is where the p-value is small and no neighbour has a smaller one. Time and memory are those of one window
//! a value, however long the curve is.

use std::collections::VecDeque;

use crate::distributions::student_t_sf;
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;

/// Values that each side needs.
const SIDE_MIN: usize = 5;

/// Below this t statistic no p-value is computed: it would be above the largest allowed `alpha`.
const T_MIN: f64 = 2.0;

/// The largest window: its values are summed anew for each row.
const WINDOW_MAX: usize = 1_000;

/// How changes of level are looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Changepoints {
    window: usize,
    alpha: f64,
}

impl Changepoints {
    /// `window` values on each side, at the ends of a curve fewer; `alpha` is the p-value below which a change counts,
    /// for each value by itself.
    ///
    /// # Errors
    /// `invalid_argument` unless 5 <= window <= 1,000; `alpha_out_of_range` unless 0 < alpha <= 0.05.
    pub fn new(window: usize, alpha: f64) -> Result<Self> {
        if !(SIDE_MIN..=WINDOW_MAX).contains(&window) {
            return Err(AnalysisError::InvalidArgument {
                name: "window",
                value: window.to_string(),
                expected: "from 5 to 1000 rows",
            });
        }
        if !(alpha > 0.0 && alpha <= 0.05) {
            return Err(AnalysisError::AlphaOutOfRange {
                name: "alpha",
                value: alpha,
                expected: "above 0 and at most 0.05",
            });
        }
        Ok(Self { window, alpha })
    }

    /// How far to each side of a value its answer looks.
    pub fn reach(&self) -> usize {
        self.window + self.near()
    }

    /// Starts before the first value of a curve.
    pub fn scan(&self) -> ChangepointScan {
        ChangepointScan { changepoints: *self, row: 0, first: 0, p_values: VecDeque::new() }
    }

    /// Where new levels begin in a whole curve.
    ///
    /// # Examples
    /// ```
    /// let curve: Vec<f64> = (0..60).map(|i| f64::from(i / 30) + 0.01 * f64::from(i % 3)).collect();
    /// let changes = analysis::Changepoints::new(20, 1e-5)?.of(&curve);
    /// assert_eq!(changes, [30]);
    /// # Ok::<(), analysis::AnalysisError>(())
    /// ```
    pub fn of(&self, values: &[f64]) -> Vec<usize> {
        let (reach, mut scan) = (self.reach(), self.scan());
        let mut begins = |row: usize| {
            let start = row.saturating_sub(reach);
            scan.next(&values[start..(row + reach).min(values.len())], row - start)
        };
        (0..values.len()).filter(|row| begins(*row)).collect()
    }

    /// How far to each side a place must be the clearest.
    fn near(&self) -> usize {
        self.window / 2
    }

    fn p_value(&self, values: &[f64], at: usize) -> f64 {
        if !values[at].is_finite() {
            return 1.0;
        }
        let finite = |part: &[f64]| part.iter().copied().filter(|v| v.is_finite()).collect::<Vec<f64>>();
        let before = finite(&values[at.saturating_sub(self.window)..at]);
        let after = finite(&values[at..(at + self.window).min(values.len())]);
        if before.len() < SIDE_MIN || after.len() < SIDE_MIN {
            return 1.0;
        }
        let (before, after) = Moments::at_common_scale(&Moments::of(&before), &Moments::of(&after));
        let (n, m) = (before.count() as f64, after.count() as f64);
        let difference = after.scaled_difference(&before);
        if difference == 0.0 {
            return 1.0;
        }
        let degrees_of_freedom = n + m - 2.0;
        let variance = (before.scaled_squares() + after.scaled_squares()) / degrees_of_freedom;
        let t = difference.abs() / (variance * (1.0 / n + 1.0 / m)).sqrt();
        if t < T_MIN { 1.0 } else { 2.0 * student_t_sf(t, degrees_of_freedom) }
    }
}

/// Goes along a curve, from its first value to its last.
#[derive(Debug, Clone)]
pub struct ChangepointScan {
    changepoints: Changepoints,
    /// The row that is answered next.
    row: usize,
    /// The row of the first of the p-values.
    first: usize,
    /// Those of the rows near the one that is answered; each is computed once.
    p_values: VecDeque<f64>,
}

impl ChangepointScan {
    /// Whether a new level begins at the next row, which is `values[at]`. `values` must hold
    /// [`Changepoints::reach`] values on each side of it, or begin and end where the curve does. NaN and infinities
    /// are left out of the means; none begins a level.
    pub fn next(&mut self, values: &[f64], at: usize) -> bool {
        let (row, near) = (self.row, self.changepoints.near());
        self.row += 1;
        let last = row + near.min(values.len() - 1 - at);
        while self.first + self.p_values.len() <= last {
            let place = self.first + self.p_values.len() + at - row;
            self.p_values.push_back(self.changepoints.p_value(values, place));
        }
        while self.first + near < row {
            self.p_values.pop_front();
            self.first += 1;
        }
        let here = row - self.first;
        let p = self.p_values[here];
        // Of equally clear places the first one counts.
        p < self.changepoints.alpha
            && self.p_values.iter().take(here).all(|other| *other > p)
            && self.p_values.iter().skip(here + 1).all(|other| *other >= p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random, the same on every machine, about uniform in -0.5..0.5.
    fn noise(count: usize) -> Vec<f64> {
        let stream = kernels::rng::Stream { seed: 5, stream: 0, tag: kernels::rng::Tag::Other, sub: 0 };
        (0..count)
            .map(|i| kernels::rng::uniform(kernels::rng::words64(stream.block(i as u32, 0))[0]) - 0.5)
            .collect()
    }

    fn changes(values: &[f64]) -> Vec<usize> {
        Changepoints::new(20, 1e-5).unwrap().of(values)
    }

    #[test]
    fn steps_are_found_where_they_are() {
        let mut values = noise(300);
        for (i, value) in values.iter_mut().enumerate() {
            *value += match i {
                0..=99 => 0.0,
                100..=219 => 2.0,
                _ => -1.0,
            };
        }
        let found = changes(&values);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].abs_diff(100) <= 1 && found[1].abs_diff(220) <= 1, "{found:?}");
    }

    #[test]
    fn noise_and_constants_have_no_level_but_one() {
        let found = changes(&noise(20_000));
        assert!(found.len() <= 1, "{found:?}");
        assert!(changes(&[3.0; 100]).is_empty());
        assert!(changes(&[]).is_empty());
        assert!(changes(&[1.0, 2.0, 3.0]).is_empty());
    }

    #[test]
    fn a_step_without_noise_is_exact_also_near_an_end() {
        for at in [5, 6, 20, 55] {
            let values: Vec<f64> = (0..60).map(|i| if i < at { 0.25 } else { 0.5 }).collect();
            assert_eq!(changes(&values), [at]);
        }
        // Two values are too few to be a level.
        let values: Vec<f64> = (0..60).map(|i| if i < 2 { 0.25 } else { 0.5 }).collect();
        assert!(changes(&values).is_empty(), "{:?}", changes(&values));
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let mut values: Vec<f64> = (0..60).map(|i| if i < 30 { 0.25 } else { 0.5 }).collect();
        values[10] = f64::NAN;
        values[29] = f64::INFINITY;
        assert_eq!(changes(&values), [30]);
    }

    #[test]
    fn parts_of_the_curve_are_enough() {
        let mut values = noise(200);
        values.iter_mut().skip(90).for_each(|v| *v += 3.0);
        values.iter_mut().skip(97).for_each(|v| *v += 3.0);
        let changepoints = Changepoints::new(12, 1e-4).unwrap();
        let reach = changepoints.reach();
        let (mut by_parts, mut at_once) = (changepoints.scan(), changepoints.scan());
        for row in 0..values.len() {
            let (start, end) = (row.saturating_sub(reach + 7), (row + reach + 3).min(values.len()));
            assert_eq!(by_parts.next(&values[start..end], row - start), at_once.next(&values, row), "{row}");
        }
    }

    #[test]
    fn settings_without_sense_are_refused() {
        assert_eq!(Changepoints::new(4, 1e-5).unwrap_err().code(), "invalid_argument");
        assert_eq!(Changepoints::new(20, 0.5).unwrap_err().code(), "alpha_out_of_range");
        assert_eq!(Changepoints::new(20, f64::NAN).unwrap_err().code(), "alpha_out_of_range");
    }
}
