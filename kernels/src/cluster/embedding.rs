//! From the parameters and curves of runs to rows of features.

use rayon::prelude::*;

use crate::cluster::InvalidClustering;
use crate::cluster::curves::{Curves, finite};
use crate::cluster::features::Features;
use crate::cluster::outliers::Goal;

/// Levels of a category with a column of their own.
pub const LEVELS_MAX: usize = 64;

/// What a curve is embedded by, in order.
pub const CURVE_FEATURES: [&str; 7] = ["start", "end", "best", "best at", "mean", "slope", "roughness"];

/// One parameter of all runs.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    /// A number; NaN where it is missing.
    Number {
        /// Name of the parameter.
        name: &'a str,
        /// One value per run.
        values: &'a [f64],
        /// Whether the logarithm counts; all values must be positive then.
        log: bool,
    },
    /// One of several levels.
    Category {
        /// Name of the parameter.
        name: &'a str,
        /// One code per run; [`Column::MISSING`] where it is missing.
        codes: &'a [u32],
        /// The names of the codes.
        levels: &'a [&'a str],
    },
    /// A curve, embedded by its [`CURVE_FEATURES`].
    Curve {
        /// Name of the metric.
        name: &'a str,
        /// One curve per run; runs without a finite value count as missing.
        curves: Curves<'a>,
        /// Which values are good.
        goal: Goal,
    },
}

impl Column<'_> {
    /// The code of a missing category.
    pub const MISSING: u32 = u32::MAX;

    fn len(&self) -> usize {
        match self {
            Self::Number { values, .. } => values.len(),
            Self::Category { codes, .. } => codes.len(),
            Self::Curve { curves, .. } => curves.len(),
        }
    }
}

/// Rows of features, one per run.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// `runs * names.len()` features, row-major.
    pub values: Vec<f64>,
    /// What each feature is made of.
    pub names: Vec<String>,
    /// Features that were left out because they do not vary.
    pub constant: Vec<String>,
}

impl Embedding {
    /// The rows, to be clustered. Without any feature that varies there is one column of zeros.
    pub fn features(&self) -> Features<'_> {
        Features { values: &self.values, columns: self.names.len() }
    }
}

/// Makes rows of features of the parameters and curves of runs, by these rules.
///
/// - A number is standardised: less its mean, over its standard deviation (of the population). On a log scale that is
///   done with its logarithm.
/// - A category becomes one column per level, 1 or 0, not standardised. Two runs that differ in one category are then
///   at squared distance 2, as are two runs on average that differ in one standardised number.
/// - The [`LEVELS_MAX`] most frequent levels of a category get a column; the rest share one, `name=(other)`.
/// - A missing number (NaN) becomes the mean, and a column `name (missing)` with 1 or 0 is added. A missing category
///   is 0 in all columns of the category.
/// - Columns that do not vary are left out and named in [`Embedding::constant`].
/// - Curves become [`CURVE_FEATURES`]: levels at the start and the end (medians of a tenth of the points), the best
///   value, its place along the curve, the mean, the slope of a straight line over the own range, and the spread of
///   differences between neighbours; standardised like numbers.
///
/// # Errors
/// Columns of unequal length, infinite numbers, codes without a level, values that a log scale does not take.
///
/// ```
/// use kernels::cluster::{Column, embed};
/// let rate = Column::Number { name: "lr", values: &[1e-4, 1e-3, 1e-2], log: true };
/// let optimizer = Column::Category { name: "opt", codes: &[0, 1, 0], levels: &["adam", "sgd"] };
/// let out = embed(&[rate, optimizer])?;
/// assert_eq!(out.names, ["ln lr", "opt=adam", "opt=sgd"]);
/// assert!((out.values[0] + 1.5f64.sqrt()).abs() < 1e-12 && out.values[3].abs() < 1e-12);
/// # Ok::<(), kernels::cluster::InvalidClustering>(())
/// ```
pub fn embed(columns: &[Column<'_>]) -> Result<Embedding, InvalidClustering> {
    let runs = columns.first().map_or(0, Column::len);
    let mut out = Collected::default();
    for column in columns {
        if column.len() != runs {
            let (name, got) = ("column", column.len());
            return Err(InvalidClustering::Length { name, got, expected: runs });
        }
        match *column {
            Column::Number { name, values, log } => out.number(name, values, log)?,
            Column::Category { name, codes, levels } => out.category(name, codes, levels)?,
            Column::Curve { name, curves, goal } => {
                curves.check()?;
                let by_run: Vec<_> =
                    (0..runs).into_par_iter().map(|run| curve_features(curves, run, goal)).collect();
                for (position, feature) in CURVE_FEATURES.iter().enumerate() {
                    let values = by_run.iter().map(|features| features[position]).collect();
                    out.standardised(format!("{name} {feature}"), values);
                }
            }
        }
    }
    if out.names.is_empty() {
        out.names.push("(nothing varies)".to_owned());
        out.columns.push(vec![0.0; runs]);
    }
    let values = (0..runs).flat_map(|run| out.columns.iter().map(move |column| column[run])).collect();
    Ok(Embedding { values, names: out.names, constant: out.constant })
}

/// Features on the way, column by column.
#[derive(Default)]
struct Collected {
    names: Vec<String>,
    columns: Vec<Vec<f64>>,
    constant: Vec<String>,
}

impl Collected {
    fn push(&mut self, name: String, values: Vec<f64>) {
        if values.windows(2).all(|pair| pair[0] == pair[1]) {
            self.constant.push(name);
        } else {
            self.names.push(name);
            self.columns.push(values);
        }
    }

    fn number(&mut self, name: &str, values: &[f64], log: bool) -> Result<(), InvalidClustering> {
        for (row, &value) in values.iter().enumerate() {
            if value.is_infinite() {
                let (column, rows) = (self.columns.len(), vec![row as u32]);
                return Err(InvalidClustering::NonFiniteFeature { row, column, value, count: 1, rows });
            }
            if log && value <= 0.0 {
                return Err(InvalidClustering::LogOfNonPositive { parameter: name.to_owned(), row, value });
            }
        }
        if log {
            self.standardised(format!("ln {name}"), values.iter().map(|value| value.ln()).collect());
        } else {
            self.standardised(name.to_owned(), values.to_vec());
        }
        Ok(())
    }

    /// Standardises values; those that are NaN become the mean and get a column of their own.
    fn standardised(&mut self, name: String, mut values: Vec<f64>) {
        let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        let missing: Vec<f64> = values.iter().map(|value| f64::from(u8::from(value.is_nan()))).collect();
        let count = present.len() as f64;
        let mean = present.iter().map(|value| value / count).sum::<f64>();
        let largest = present.iter().map(|value| (value - mean).abs()).fold(0.0, f64::max);
        let squares: f64 = present.iter().map(|value| ((value - mean) / largest).powi(2)).sum();
        let deviation = largest * (squares / count).sqrt();
        let varies = present.windows(2).any(|pair| pair[0] != pair[1]);
        for value in &mut values {
            *value = if value.is_nan() || !varies { 0.0 } else { (*value - mean) / deviation };
        }
        let has_missing = present.len() < values.len();
        let missing_name = format!("{name} (missing)");
        self.push(name, values);
        if has_missing {
            self.push(missing_name, missing);
        }
    }

    fn category(&mut self, name: &str, codes: &[u32], levels: &[&str]) -> Result<(), InvalidClustering> {
        let mut counts = vec![0usize; levels.len()];
        for &code in codes.iter().filter(|&&code| code != Column::MISSING) {
            match counts.get_mut(code as usize) {
                Some(count) => *count += 1,
                None => {
                    let expected = "below the number of levels";
                    let got = f64::from(code);
                    return Err(InvalidClustering::Parameter { name: "code of a category", expected, got });
                }
            }
        }
        let mut by_count: Vec<usize> = (0..levels.len()).filter(|&level| counts[level] > 0).collect();
        by_count.sort_by(|&a, &b| counts[b].cmp(&counts[a]));
        let rest = by_count.split_off(by_count.len().min(LEVELS_MAX));
        by_count.sort_unstable();
        for level in by_count {
            let column = codes.iter().map(|&code| f64::from(u8::from(code as usize == level))).collect();
            self.push(format!("{name}={}", levels[level]), column);
        }
        if !rest.is_empty() {
            let mut is_rest = vec![false; levels.len()];
            rest.iter().for_each(|&level| is_rest[level] = true);
            let is_rest = |code: u32| is_rest.get(code as usize).copied().unwrap_or(false);
            let column = codes.iter().map(|&code| f64::from(u8::from(is_rest(code)))).collect();
            self.push(format!("{name}=(other)"), column);
        }
        Ok(())
    }
}

/// The [`CURVE_FEATURES`] of a curve; all NaN without a finite value.
fn curve_features(curves: Curves<'_>, curve: usize, goal: Goal) -> [f64; 7] {
    let points = finite(curves, curve);
    let Some((first, last)) = points.first().zip(points.last()) else { return [f64::NAN; 7] };
    let count = points.len() as f64;
    let level = |part: &[(f64, f64)]| {
        let mut values: Vec<f64> = part.iter().map(|point| point.1).collect();
        values.sort_unstable_by(f64::total_cmp);
        crate::describe::quantile_sorted(&values, 0.5).unwrap_or(f64::NAN)
    };
    let tenth = points.len().div_ceil(10);
    let better = |a: f64, b: f64| if goal == Goal::Low { a < b } else { a > b };
    let best = points.iter().fold(*first, |best, point| if better(point.1, best.1) { *point } else { best });
    let range = last.0 - first.0;
    let along = |step: f64| if range > 0.0 { (step - first.0) / range } else { 0.0 };
    let mean = points.iter().map(|point| point.1 / count).sum::<f64>();
    let mean_along = points.iter().map(|point| along(point.0) / count).sum::<f64>();
    let (mut rise, mut run) = (0.0, 0.0);
    for &(step, value) in &points {
        rise += (along(step) - mean_along) * (value - mean);
        run += (along(step) - mean_along) * (along(step) - mean_along);
    }
    let slope = if run > 0.0 { rise / run } else { 0.0 };
    let steps = points.windows(2).map(|pair| pair[1].1 - pair[0].1);
    let differences = (count - 1.0).max(1.0);
    let drift = (last.1 - first.1) / differences;
    let roughness = (steps.map(|step| (step - drift) * (step - drift)).sum::<f64>() / differences).sqrt();
    [
        level(&points[..tenth]),
        level(&points[points.len() - tenth..]),
        best.1,
        along(best.0),
        mean,
        slope,
        roughness,
    ]
}
