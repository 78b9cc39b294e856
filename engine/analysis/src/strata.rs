//! Comparisons within strata: what a difference is when task, hardware or data are held equal, and whether pooling
//! turned its sign (Simpson 1951).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::correlation::Products;
use crate::distributions::chi_squared_sf;
use crate::error::{AnalysisError, Result};
use crate::moments::Moments;
use crate::p_value::PValue;
use crate::t_test::TTest;

/// One arm's values in each stratum.
pub type StratumValues<'a> = BTreeMap<&'a str, Vec<f64>>;

/// A difference of means within strata.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StratifiedDifference {
    /// Candidate less baseline over all values, whatever their stratum; `None` when an arm is empty.
    pub pooled: Option<f64>,
    /// The same in each stratum with values of both arms.
    pub strata: BTreeMap<String, f64>,
    /// The equal-weight mean of the differences of the strata, with Satterthwaite's degrees of freedom; `None` unless
    /// every such stratum has two values an arm and something varies.
    pub adjusted: Option<TTest>,
    /// Strata with values of one arm only: left out.
    pub one_sided: Vec<String>,
    /// The pooled difference has the opposite sign of the mean over strata.
    pub reversal: bool,
    /// It has the opposite sign of every single stratum.
    pub full_reversal: bool,
}

/// Compares two arms within strata: the unweighted mean of the differences of all strata that both arms have.
///
/// # Errors
/// `nonfinite_value`, `pairing_mismatch` (no stratum with values of both arms).
///
/// # Examples
/// ```
/// use std::collections::BTreeMap;
/// // Worse on each task, but mostly run on the easy one.
/// let baseline = BTreeMap::from([("easy", vec![9.0, 9.2]), ("hard", vec![3.0, 3.1, 3.2, 2.9])]);
/// let candidate = BTreeMap::from([("easy", vec![8.5, 8.4, 8.6, 8.7]), ("hard", vec![2.5, 2.6])]);
/// let found = analysis::stratified_difference(&baseline, &candidate)?;
/// assert!(found.pooled.unwrap() > 0.0 && found.adjusted.unwrap().difference < 0.0);
/// assert!(found.reversal && found.full_reversal);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn stratified_difference(
    baseline: &StratumValues<'_>,
    candidate: &StratumValues<'_>,
) -> Result<StratifiedDifference> {
    let all = |arm: &StratumValues<'_>| {
        let mut values: Vec<f64> = arm.values().flatten().copied().collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (all_before, all_after) = (all(baseline), all(candidate));
    let count = all_before.iter().chain(&all_after).filter(|v| !v.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "a stratum".into(), count });
    }
    let moments = |arm: &StratumValues<'_>, stratum: &str| {
        let mut values = arm.get(stratum).cloned().unwrap_or_default();
        values.sort_by(f64::total_cmp);
        Moments::of(&values)
    };
    let mut strata = BTreeMap::new();
    let mut one_sided = Vec::new();
    let mut parts = Vec::new();
    let names: std::collections::BTreeSet<&str> = baseline.keys().chain(candidate.keys()).copied().collect();
    for name in names {
        let (before, after) = (moments(baseline, name), moments(candidate, name));
        let (Some(mean_before), Some(mean_after)) = (before.mean(), after.mean()) else {
            if before.count() + after.count() > 0 {
                one_sided.push(name.to_owned());
            }
            continue;
        };
        strata.insert(name.to_owned(), mean_after - mean_before);
        parts.push((before, after));
    }
    if strata.is_empty() {
        let detail = "no stratum has values of both arms".into();
        return Err(AnalysisError::PairingMismatch { detail });
    }
    let mean = strata.values().sum::<f64>() / strata.len() as f64;
    let pooled = Moments::of(&all_after).mean().zip(Moments::of(&all_before).mean()).map(|(c, b)| c - b);
    let opposite = |difference: f64| pooled.is_some_and(|pooled| pooled * difference < 0.0);
    Ok(StratifiedDifference {
        pooled,
        adjusted: equal_weight_test(mean, &parts),
        reversal: opposite(mean),
        full_reversal: strata.values().all(|difference| opposite(*difference)),
        strata,
        one_sided,
    })
}

/// The test of the mean of the differences within strata, from the moments of both arms in each; `None` unless each has
/// two values and something varies.
pub(crate) fn equal_weight_test(difference: f64, parts: &[(Moments, Moments)]) -> Option<TTest> {
    let weight = 1.0 / parts.len() as f64;
    let (mut error, mut satterthwaite) = (0.0, 0.0);
    let mut constant = false;
    for arm in parts.iter().flat_map(|(before, after)| [before, after]) {
        let part = weight * weight * arm.variance()? / arm.count() as f64;
        error += part;
        satterthwaite += part * part / (arm.count() - 1) as f64;
        constant |= part == 0.0;
    }
    (error > 0.0).then(|| TTest {
        difference,
        standard_error: error.sqrt(),
        degrees_of_freedom: error * error / satterthwaite,
        one_sample_constant: constant,
    })
}

/// The difference of two arms by least squares with a level for each stratum and one error: weighs strata by their
/// information, where [`stratified_difference`] weighs them alike.
///
/// # Errors
/// As [`stratified_difference`]; `too_few_runs` (no degree of freedom left), `zero_variance`.
pub fn least_squares_difference(
    baseline: &StratumValues<'_>,
    candidate: &StratumValues<'_>,
) -> Result<TTest> {
    stratified_difference(baseline, candidate)?;
    // The arm's effect after taking the strata's means off both sides (Frisch & Waugh 1933).
    let (mut squares_x, mut products, mut squares_y) = (0.0, 0.0, 0.0);
    let (mut values, mut levels) = (0, 0);
    let names: std::collections::BTreeSet<&str> = baseline.keys().chain(candidate.keys()).copied().collect();
    for name in names {
        let of = |arm: &StratumValues<'_>| arm.get(name).cloned().unwrap_or_default();
        let (before, after) = (of(baseline), of(candidate));
        let y: Vec<f64> = before.iter().chain(&after).copied().collect();
        if y.is_empty() {
            continue;
        }
        let x: Vec<f64> = (0..y.len()).map(|i| f64::from(u8::from(i >= before.len()))).collect();
        let sums = Products::of_finite(&x, &y);
        squares_x += sums.squares_x;
        squares_y += sums.squares_y;
        products += sums.products;
        values += y.len();
        levels += 1;
    }
    if values <= levels + 1 {
        let sample = "all strata together".into();
        return Err(AnalysisError::TooFewRuns { sample, have: values, need: levels + 2 });
    }
    let difference = products / squares_x;
    let df = (values - levels - 1) as f64;
    let unexplained = (squares_y - difference * products).max(0.0);
    if unexplained == 0.0 {
        return Err(AnalysisError::ZeroVariance { difference });
    }
    let standard_error = (unexplained / df / squares_x).sqrt();
    Ok(TTest { difference, standard_error, degrees_of_freedom: df, one_sample_constant: false })
}

/// Counts of two arms in several strata.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StratifiedRates {
    /// Candidate's rate less the baseline's over all strata together.
    pub pooled: f64,
    /// The same in each stratum.
    pub strata: Vec<f64>,
    /// The difference of rates over strata (Mantel & Haenszel 1959).
    pub risk_difference: f64,
    /// The common odds ratio (Mantel & Haenszel 1959).
    pub odds_ratio: f64,
    /// The Cochran-Mantel-Haenszel statistic, chi-squared with one degree of freedom, without correction.
    pub statistic: f64,
    /// Its p-value.
    pub p: PValue,
    /// Breslow and Day's statistic of one common odds ratio (1980), strata - 1 degrees of freedom; `None` when the
    /// common odds ratio is 0 or infinite, or there is one stratum.
    pub homogeneity: Option<f64>,
    /// Its p-value.
    pub p_homogeneity: Option<PValue>,
    /// The pooled difference has the opposite sign of the one over strata.
    pub reversal: bool,
    /// It has the opposite sign of every single stratum.
    pub full_reversal: bool,
}

/// Compares two rates within strata. Each table is
/// `[[candidate hits, candidate misses], [baseline hits, baseline misses]]`.
///
/// # Errors
/// `empty_sample` (no stratum), `zero_margin` (an arm without trials in a stratum, or no hit or no miss anywhere).
///
/// # Examples
/// ```
/// // Charig et al. 1986: better for small and for large stones, worse over all.
/// let found = analysis::stratified_rates(&[[[81, 6], [234, 36]], [[192, 71], [55, 25]]])?;
/// assert!(found.pooled < 0.0 && found.risk_difference > 0.0 && found.full_reversal);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn stratified_rates(tables: &[[[u64; 2]; 2]]) -> Result<StratifiedRates> {
    if tables.is_empty() {
        return Err(AnalysisError::EmptySample { sample: "the set of strata".into() });
    }
    let mut totals = [[0.0; 2]; 2];
    let mut strata = Vec::with_capacity(tables.len());
    let [mut weights, mut weighted, mut odds_up, mut odds_down, mut surplus, mut variance] = [0.0; 6];
    for table in tables {
        let [[a, b], [c, d]] = table.map(|row| row.map(|count| count as f64));
        let (candidate, baseline, all) = (a + b, c + d, a + b + c + d);
        if candidate == 0.0 || baseline == 0.0 {
            return Err(AnalysisError::ZeroMargin);
        }
        for (total, count) in totals.iter_mut().flatten().zip([a, b, c, d]) {
            *total += count;
        }
        let difference = a / candidate - c / baseline;
        strata.push(difference);
        weights += candidate * baseline / all;
        weighted += candidate * baseline / all * difference;
        odds_up += a * d / all;
        odds_down += b * c / all;
        surplus += a - candidate * (a + c) / all;
        if all > 1.0 {
            variance += candidate * baseline * (a + c) * (b + d) / (all * all * (all - 1.0));
        }
    }
    if variance == 0.0 {
        return Err(AnalysisError::ZeroMargin);
    }
    let [[a, b], [c, d]] = totals;
    let pooled = a / (a + b) - c / (c + d);
    let risk_difference = weighted / weights;
    let odds_ratio = odds_up / odds_down;
    let statistic = surplus * surplus / variance;
    let usable = tables.len() > 1 && odds_ratio > 0.0 && odds_ratio.is_finite();
    let homogeneity =
        usable.then(|| tables.iter().map(|table| distance_from_odds(*table, odds_ratio)).sum::<f64>());
    let df = (tables.len() - 1) as f64;
    Ok(StratifiedRates {
        pooled,
        risk_difference,
        odds_ratio,
        statistic,
        p: PValue::new(chi_squared_sf(statistic, 1.0)),
        homogeneity,
        p_homogeneity: homogeneity.map(|statistic| PValue::new(chi_squared_sf(statistic, df))),
        reversal: pooled * risk_difference < 0.0,
        full_reversal: strata.iter().all(|difference| pooled * difference < 0.0),
        strata,
    })
}

/// The squared distance of the first cell from what the common odds ratio leaves for it, in its variances.
fn distance_from_odds(table: [[u64; 2]; 2], odds: f64) -> f64 {
    let [[a, b], [c, d]] = table.map(|row| row.map(|count| count as f64));
    let (row, column, all) = (a + b, a + c, a + b + c + d);
    // x (all - row - column + x) = odds (row - x) (column - x)
    let square = 1.0 - odds;
    let linear = all - row - column + odds * (row + column);
    let constant = -odds * row * column;
    let expected = if square.abs() < 1e-12 {
        -constant / linear
    } else {
        // The form without cancellation of the root that lies inside of the margins.
        -2.0 * constant / (linear + (linear * linear - 4.0 * square * constant).max(0.0).sqrt())
    };
    let cells = [expected, row - expected, column - expected, all - row - column + expected];
    let variance = 1.0 / cells.iter().map(|cell| 1.0 / cell).sum::<f64>();
    if variance > 0.0 { (a - expected).powi(2) / variance } else { 0.0 }
}

/// Slopes within groups and over all points.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupedSlopes {
    /// The slope over all points.
    pub pooled: f64,
    /// The slope in each group, in the order of their names; `None` where a group has one position.
    pub groups: Vec<Option<f64>>,
    /// The common slope when every group has its own level.
    pub within: f64,
    /// The pooled slope has the opposite sign of the one within groups.
    pub reversal: bool,
}

/// Compares the slope of `y` on `x` over all points with the slopes within groups.
///
/// # Errors
/// `pairing_mismatch`, `nonfinite_value`, `too_few_runs` (fewer than three points), `zero_variance` (one position, over
/// all or in every group).
pub fn grouped_slopes(x: &[f64], y: &[f64], group: &[u64]) -> Result<GroupedSlopes> {
    if x.len() != group.len() {
        let detail = format!("{} points, {} names of groups", x.len(), group.len());
        return Err(AnalysisError::PairingMismatch { detail });
    }
    let all = Products::of(x, y, 3)?;
    let mut members: BTreeMap<u64, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for ((x, y), group) in x.iter().zip(y).zip(group) {
        let (xs, ys) = members.entry(*group).or_default();
        xs.push(*x);
        ys.push(*y);
    }
    let sums: Vec<Products> = members.values().map(|(x, y)| Products::of_finite(x, y)).collect();
    let within_squares: f64 = sums.iter().map(|sums| sums.squares_x).sum();
    if all.squares_x == 0.0 || within_squares == 0.0 {
        return Err(AnalysisError::ZeroVariance { difference: 0.0 });
    }
    let pooled = all.products / all.squares_x;
    let within = sums.iter().map(|sums| sums.products).sum::<f64>() / within_squares;
    let slope = |sums: &Products| (sums.squares_x > 0.0).then(|| sums.products / sums.squares_x);
    Ok(GroupedSlopes {
        pooled,
        groups: sums.iter().map(slope).collect(),
        within,
        reversal: pooled * within < 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strata_of_one_arm_are_left_out_and_named() {
        let baseline = BTreeMap::from([("a", vec![1.0, 2.0]), ("b", vec![5.0])]);
        let candidate = BTreeMap::from([("a", vec![2.0, 4.0]), ("c", vec![])]);
        let found = stratified_difference(&baseline, &candidate).unwrap();
        assert_eq!((found.one_sided, found.strata.len()), (vec!["b".to_owned()], 1));
        assert_eq!(found.adjusted.unwrap().difference, 1.5);
        let apart = BTreeMap::from([("d", vec![1.0])]);
        assert_eq!(stratified_difference(&baseline, &apart).unwrap_err().code(), "pairing_mismatch");
    }

    #[test]
    fn one_stratum_is_welch() {
        let (a, b) = (vec![1.0, 2.0, 4.0], vec![2.0, 5.0, 6.0, 3.0]);
        let found =
            stratified_difference(&BTreeMap::from([("", a.clone())]), &BTreeMap::from([("", b.clone())]));
        let (test, expected) = (found.unwrap().adjusted.unwrap(), crate::welch(&b, &a).unwrap());
        assert!((test.standard_error - expected.standard_error).abs() < 1e-14);
        assert!((test.degrees_of_freedom - expected.degrees_of_freedom).abs() < 1e-12);
    }

    #[test]
    fn empty_margins_are_refused() {
        assert_eq!(stratified_rates(&[]).unwrap_err().code(), "empty_sample");
        assert_eq!(stratified_rates(&[[[0, 0], [1, 2]]]).unwrap_err().code(), "zero_margin");
        assert_eq!(stratified_rates(&[[[1, 0], [2, 0]]]).unwrap_err().code(), "zero_margin");
        assert_eq!(grouped_slopes(&[1.0; 3], &[1.0; 3], &[0; 3]).unwrap_err().code(), "zero_variance");
    }
}
