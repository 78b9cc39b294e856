//! Which parameter matters? Groups of runs by the values of one parameter, compared on a metric.
//!
//! One parameter at a time: the runs of a group differ in everything else, so that a parameter that was
//! changed together with another shares its effect. Importance over all parameters at once is another question.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::describe::{check_level, quantile_of_sorted, sorted, t_interval};
use crate::distributions::f_sf;
use crate::error::{AnalysisError, Result};
use crate::gate::Direction;
use crate::moments::Moments;
use crate::multiplicity::holm;
use crate::p_value::PValue;

/// Numbers with more distinct values than this are cut into quarters of the runs.
const DISTINCT_NUMBERS_MAX: usize = 10;

/// Values of one parameter, one for each run; `None` where the run does not have it.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterValues {
    /// Words, flags, anything without an order.
    Categories(Vec<Option<String>>),
    /// Numbers: each value is a group, or each quarter of the runs if there are more than ten values.
    Numbers(Vec<Option<f64>>),
}

impl ParameterValues {
    fn len(&self) -> usize {
        match self {
            Self::Categories(values) => values.len(),
            Self::Numbers(values) => values.len(),
        }
    }
}

/// One parameter of a set of runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterColumn {
    /// Its name.
    pub name: String,
    /// Its values, in the order of the runs.
    pub values: ParameterValues,
}

/// The runs that share a value (or a range of values) of the parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// The value, or the range as `low to high`.
    pub label: String,
    /// Runs with a finite metric.
    pub count: usize,
    /// Runs without one: crashed, NaN or infinite, or not recorded.
    pub failed: usize,
    /// Mean of the metric.
    pub mean: Option<f64>,
    /// Student t interval of the mean; `None` below two finite runs.
    pub interval: Option<[f64; 2]>,
}

/// How the group means were tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupTest {
    /// Welch's analysis of variance (1951): variances may differ.
    WelchAnova,
    /// Fisher's one-way analysis of variance, because a group is constant.
    OneWayAnova,
}

/// One parameter against the metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParameterComparison {
    /// Name of the parameter.
    pub name: String,
    /// Its groups: numbers ascending, words in alphabetical order.
    pub groups: Vec<Group>,
    /// Label of the group with the best mean among those of two or more runs.
    pub best: String,
    /// Runs without a value of this parameter; they are in no group.
    pub missing: usize,
    /// Share of the variance of the metric that lies between groups. Too large in small samples.
    pub eta_squared: f64,
    /// The same without that bias (Hays 1963); 0 when the groups differ no more than chance.
    pub omega_squared: f64,
    /// The test.
    pub test: GroupTest,
    /// Its F statistic.
    pub statistic: f64,
    /// Degrees of freedom between groups.
    pub df_between: f64,
    /// Degrees of freedom within groups.
    pub df_within: f64,
    /// P-value of equal means.
    pub p: PValue,
    /// The same adjusted by Holm for all parameters compared.
    pub p_holm: PValue,
}

/// A parameter that could not be compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NotComparable {
    /// Name of the parameter.
    pub name: String,
    /// Stable code of the reason.
    pub code: &'static str,
    /// The reason in words.
    pub message: String,
}

/// All parameters, the one that explains most first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupComparison {
    /// Confidence level of the intervals.
    pub level: f64,
    /// Parameters that could be compared, by falling `omega_squared`, then by name.
    pub parameters: Vec<ParameterComparison>,
    /// The others, by name.
    pub not_comparable: Vec<NotComparable>,
}

/// Compares the groups of every parameter on a metric (`None` or not finite: the run failed).
///
/// Groups of one run are listed, but only groups of two or more are tested.
///
/// # Errors
/// `invalid_argument` when a column has not one value for each run; `empty_sample` without any run;
/// `probability_out_of_range` for the level.
///
/// # Examples
/// ```
/// use analysis::{Direction, ParameterColumn, ParameterValues, compare_parameters};
/// let optimizer = ["adam", "adam", "adam", "sgd", "sgd", "sgd"].map(|v| Some(v.to_owned()));
/// let column =
///     ParameterColumn { name: "optimizer".into(), values: ParameterValues::Categories(optimizer.to_vec()) };
/// let accuracy = [0.91, 0.92, 0.90, 0.81, 0.83, 0.80].map(Some);
/// let found = compare_parameters(&[column], &accuracy, Direction::Up, 0.95)?;
/// assert_eq!(found.parameters[0].best, "adam");
/// assert!(found.parameters[0].p_holm.value() < 0.01);
/// # Ok::<(), analysis::AnalysisError>(())
/// ```
pub fn compare_parameters(
    columns: &[ParameterColumn],
    metric: &[Option<f64>],
    direction: Direction,
    level: f64,
) -> Result<GroupComparison> {
    check_level(level)?;
    if metric.is_empty() {
        return Err(AnalysisError::EmptySample { sample: "the set of runs".into() });
    }
    let mut parameters = Vec::new();
    let mut not_comparable = Vec::new();
    for column in columns {
        if column.values.len() != metric.len() {
            return Err(AnalysisError::InvalidArgument {
                name: "column",
                value: format!("{} with {} values", column.name, column.values.len()),
                expected: "one value for each run",
            });
        }
        match compare_one(column, metric, direction, level) {
            Ok(comparison) => parameters.push(comparison),
            Err(error) => not_comparable.push(NotComparable {
                name: column.name.clone(),
                code: error.code(),
                message: error.to_string(),
            }),
        }
    }
    let raw: Vec<f64> = parameters.iter().map(|parameter| parameter.p.value()).collect();
    for (parameter, adjusted) in parameters.iter_mut().zip(holm(&raw)?) {
        parameter.p_holm = PValue::new(adjusted);
    }
    parameters.sort_by(|a, b| b.omega_squared.total_cmp(&a.omega_squared).then_with(|| a.name.cmp(&b.name)));
    not_comparable.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(GroupComparison { level, parameters, not_comparable })
}

impl GroupComparison {
    /// One line for each parameter, the most telling first; without a trailing newline.
    pub fn to_text(&self) -> String {
        let mut lines: Vec<String> = self.parameters.iter().map(ParameterComparison::to_line).collect();
        lines.extend(self.not_comparable.iter().map(|n| format!("{}: not compared, {}", n.name, n.message)));
        lines.join("\n")
    }
}

impl ParameterComparison {
    fn to_line(&self) -> String {
        let best = self.groups.iter().find(|group| group.label == self.best);
        let shown = best.and_then(|group| Some((group.mean?, group.interval?, group.count)));
        let best = shown.map_or(String::new(), |(mean, [low, high], count)| {
            format!("; best {} with mean {mean:.4} ({low:.4} to {high:.4}, {count} runs)", self.best)
        });
        format!(
            "{}: explains {:.0} % of the variance over {} groups, p {} ({} adjusted){best}",
            self.name,
            100.0 * self.omega_squared,
            self.groups.len(),
            self.p,
            self.p_holm,
        )
    }
}

/// Runs of one label: the finite values and the number of failures.
#[derive(Default)]
struct Members {
    values: Vec<f64>,
    failed: usize,
}

fn compare_one(
    column: &ParameterColumn,
    metric: &[Option<f64>],
    direction: Direction,
    level: f64,
) -> Result<ParameterComparison> {
    let (grouped, missing) = group_runs(&column.values, metric);
    let moments: Vec<Moments> =
        grouped.iter().map(|(_, members)| Moments::of(&sorted(&members.values))).collect();
    let tested: Vec<Moments> = moments.iter().copied().filter(|m| m.count() > 1).collect();
    if tested.len() < 2 {
        return Err(AnalysisError::TooFewRuns {
            sample: format!("{} (groups of two or more runs)", column.name),
            have: tested.len(),
            need: 2,
        });
    }
    let variance = Variance::of(&tested)?;
    let anova =
        if tested.iter().any(Moments::is_constant) { variance.one_way_anova() } else { welch_anova(&tested) };
    let group = |(label, members): &(String, Members), moments: &Moments| Group {
        label: label.clone(),
        count: moments.count(),
        failed: members.failed,
        mean: moments.mean(),
        interval: moments
            .mean()
            .zip(moments.standard_error())
            .map(|(mean, error)| t_interval(mean, error, (moments.count() - 1) as f64, level)),
    };
    let goodness = |i: usize| direction.sign() * moments[i].mean().unwrap_or(f64::NAN);
    let best = (0..grouped.len())
        .filter(|&i| moments[i].count() > 1)
        .reduce(|best, i| if goodness(i) > goodness(best) { i } else { best });
    Ok(ParameterComparison {
        name: column.name.clone(),
        best: best.map_or(String::new(), |i| grouped[i].0.clone()),
        groups: grouped.iter().zip(&moments).map(|(members, moments)| group(members, moments)).collect(),
        missing,
        eta_squared: variance.eta_squared(),
        omega_squared: variance.omega_squared(),
        test: anova.test,
        statistic: anova.statistic,
        df_between: anova.df_between,
        df_within: anova.df_within,
        p: PValue::new(f_sf(anova.statistic, anova.df_between, anova.df_within)),
        // Filled in when all parameters are known.
        p_holm: PValue::new(1.0),
    })
}

fn group_runs(values: &ParameterValues, metric: &[Option<f64>]) -> (Vec<(String, Members)>, usize) {
    let labels: Vec<Option<(f64, String)>> = match values {
        ParameterValues::Categories(values) => {
            values.iter().map(|value| value.as_ref().map(|value| (0.0, value.clone()))).collect()
        }
        ParameterValues::Numbers(values) => number_labels(values),
    };
    // The rank keeps ranges of numbers in their own order rather than that of their text.
    let mut groups: BTreeMap<(u64, String), Members> = BTreeMap::new();
    let mut missing = 0;
    for (label, metric) in labels.into_iter().zip(metric) {
        let Some((rank, label)) = label else {
            missing += 1;
            continue;
        };
        let members = groups.entry((ascending_bits(rank), label)).or_default();
        match metric.filter(|value| value.is_finite()) {
            Some(value) => members.values.push(value),
            None => members.failed += 1,
        }
    }
    (groups.into_iter().map(|((_, label), members)| (label, members)).collect(), missing)
}

/// Bits that sort as the numbers do.
fn ascending_bits(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn number_labels(values: &[Option<f64>]) -> Vec<Option<(f64, String)>> {
    let known = sorted(&values.iter().flatten().copied().filter(|v| !v.is_nan()).collect::<Vec<_>>());
    let mut distinct = known.clone();
    distinct.dedup();
    let usable = |value: &Option<f64>| value.filter(|v| !v.is_nan()).map(|v| v + 0.0);
    if distinct.len() <= DISTINCT_NUMBERS_MAX {
        return values.iter().map(|value| usable(value).map(|v| (v, v.to_string()))).collect();
    }
    let cuts = [0.25, 0.5, 0.75].map(|q| quantile_of_sorted(&known, q));
    let bin = |value: f64| cuts.iter().filter(|cut| value > **cut).count();
    // Labels show the values that are really there.
    let range = |wanted: usize| {
        let members: Vec<f64> = distinct.iter().copied().filter(|v| bin(*v) == wanted).collect();
        match (members.first(), members.last()) {
            (Some(low), Some(high)) if low != high => format!("{low} to {high}"),
            (Some(only), _) => only.to_string(),
            _ => String::new(),
        }
    };
    let ranges: [String; 4] = std::array::from_fn(range);
    values.iter().map(|value| usable(value).map(|v| (bin(v) as f64, ranges[bin(v)].clone()))).collect()
}

pub(crate) struct Anova {
    test: GroupTest,
    pub(crate) statistic: f64,
    pub(crate) df_between: f64,
    pub(crate) df_within: f64,
}

/// Welch 1951, "On the comparison of several mean values". Every group must vary.
pub(crate) fn welch_anova(groups: &[Moments]) -> Anova {
    let k = groups.len() as f64;
    let origin = groups[0];
    // Means relative to the first group keep their digits on a large offset.
    let means: Vec<f64> = groups.iter().map(|group| relative_mean(group, &origin)).collect();
    let weights: Vec<f64> = groups
        .iter()
        .map(|group| {
            let (group, _) = Moments::at_common_scale(group, &origin);
            group.count() as f64 * (group.count() - 1) as f64 / group.scaled_squares()
        })
        .collect();
    let weight: f64 = weights.iter().sum();
    let center = weights.iter().zip(&means).map(|(w, m)| w * m).sum::<f64>() / weight;
    let between = weights.iter().zip(&means).map(|(w, m)| w * (m - center).powi(2)).sum::<f64>() / (k - 1.0);
    let lack: f64 = weights
        .iter()
        .zip(groups)
        .map(|(w, group)| (1.0 - w / weight).powi(2) / (group.count() - 1) as f64)
        .sum();
    Anova {
        test: GroupTest::WelchAnova,
        statistic: between / (1.0 + 2.0 * (k - 2.0) / (k * k - 1.0) * lack),
        df_between: k - 1.0,
        df_within: (k * k - 1.0) / (3.0 * lack),
    }
}

fn relative_mean(group: &Moments, origin: &Moments) -> f64 {
    let (group, origin) = Moments::at_common_scale(group, origin);
    group.scaled_difference(&origin)
}

/// Sums of squares of a one-way layout.
pub(crate) struct Variance {
    between: f64,
    within: f64,
    df_between: f64,
    df_within: f64,
}

impl Variance {
    /// # Errors
    /// `zero_variance` when no group varies.
    pub(crate) fn of(groups: &[Moments]) -> Result<Self> {
        let origin = groups[0];
        let total: usize = groups.iter().map(Moments::count).sum();
        let weighted = |group: &Moments| group.count() as f64 / total as f64 * relative_mean(group, &origin);
        let center: f64 = groups.iter().map(weighted).sum();
        let between = groups
            .iter()
            .map(|group| group.count() as f64 * (relative_mean(group, &origin) - center).powi(2))
            .sum();
        let within: f64 =
            groups.iter().map(|group| Moments::at_common_scale(group, &origin).0.scaled_squares()).sum();
        if within == 0.0 {
            return Err(AnalysisError::ZeroVariance { difference: origin.unscale(center) });
        }
        let df_between = (groups.len() - 1) as f64;
        Ok(Self { between, within, df_between, df_within: (total - groups.len()) as f64 })
    }

    fn eta_squared(&self) -> f64 {
        self.between / (self.between + self.within)
    }

    fn omega_squared(&self) -> f64 {
        let error = self.within / self.df_within;
        ((self.between - self.df_between * error) / (self.between + self.within + error)).max(0.0)
    }

    pub(crate) fn one_way_anova(&self) -> Anova {
        Anova {
            test: GroupTest::OneWayAnova,
            statistic: (self.between / self.df_between) / (self.within / self.df_within),
            df_between: self.df_between,
            df_within: self.df_within,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::t_test::{Alternative, student, welch};

    fn categories(labels: &[&str]) -> ParameterValues {
        ParameterValues::Categories(labels.iter().map(|l| (!l.is_empty()).then(|| (*l).to_owned())).collect())
    }

    fn compare(values: ParameterValues, metric: &[f64]) -> GroupComparison {
        let metric: Vec<Option<f64>> = metric.iter().copied().map(Some).collect();
        let column = ParameterColumn { name: "x".into(), values };
        compare_parameters(&[column], &metric, Direction::Up, 0.95).unwrap()
    }

    #[test]
    fn two_groups_are_the_squared_t_tests() {
        let (a, b) = ([1.0, 2.0, 4.0, 3.5], [2.0, 5.0, 9.0]);
        let metric = [a.as_slice(), b.as_slice()].concat();
        let found = compare(categories(&["a", "a", "a", "a", "b", "b", "b"]), &metric);
        let (test, found) = (welch(&a, &b).unwrap(), &found.parameters[0]);
        assert!((found.statistic / test.statistic().powi(2) - 1.0).abs() < 1e-12);
        assert!((found.df_within / test.degrees_of_freedom - 1.0).abs() < 1e-12);
        assert!((found.p.value() / test.p_value(Alternative::TwoSided) - 1.0).abs() < 1e-9);
        // eta squared = t^2 / (t^2 + df) of the test with one variance.
        let t = student(&a, &b).unwrap().statistic().powi(2);
        assert!((found.eta_squared - t / (t + 5.0)).abs() < 1e-12);
        assert_eq!(found.best, "b");
    }

    #[test]
    fn welch_anova_of_three_groups_matches_exact_fractions() {
        let metric = [1.0, 2.0, 3.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0];
        let found = compare(categories(&["a", "a", "a", "b", "b", "b", "c", "c", "c"]), &metric);
        let found = &found.parameters[0];
        // Weights 3, 3/4, 3/4, weighted mean 11/3, between 77/4, lack of balance 3/4.
        assert!((found.df_within - 32.0 / 9.0).abs() < 1e-12, "{}", found.df_within);
        assert!((found.statistic - 308.0 / 19.0).abs() < 1e-12, "{}", found.statistic);
    }

    #[test]
    fn many_numbers_become_quarters_in_their_own_order() {
        let lr: Vec<Option<f64>> = (1..=40).map(|i| Some(f64::from(i) / 4.0)).collect();
        let metric: Vec<f64> = (1..=40).map(|i| f64::from(i % 5) + f64::from(i) / 10.0).collect();
        let found = compare(ParameterValues::Numbers(lr), &metric);
        let labels: Vec<&str> = found.parameters[0].groups.iter().map(|g| g.label.as_str()).collect();
        assert_eq!(labels, ["0.25 to 2.5", "2.75 to 5", "5.25 to 7.5", "7.75 to 10"]);
        assert_eq!(found.parameters[0].best, "7.75 to 10");
    }

    #[test]
    fn failed_runs_and_missing_values_are_counted_not_dropped() {
        let values = categories(&["a", "a", "a", "b", "b", ""]);
        let found = compare(values, &[1.0, 2.0, f64::NAN, 3.0, 4.0, 5.0]);
        let found = &found.parameters[0];
        assert_eq!((found.groups[0].count, found.groups[0].failed, found.missing), (2, 1, 1));
    }

    #[test]
    fn a_parameter_with_one_value_is_listed_as_not_comparable() {
        let found = compare(categories(&["a", "a", "b"]), &[1.0, 2.0, 3.0]);
        assert!(found.parameters.is_empty());
        assert_eq!(found.not_comparable[0].code, "too_few_runs");
        let constant = compare(categories(&["a", "a", "b", "b"]), &[1.0, 1.0, 2.0, 2.0]);
        assert_eq!(constant.not_comparable[0].code, "zero_variance");
    }

    #[test]
    fn a_constant_group_falls_back_to_one_variance() {
        let found = compare(categories(&["a", "a", "b", "b"]), &[1.0, 1.0, 2.0, 2.5]);
        assert_eq!(found.parameters[0].test, GroupTest::OneWayAnova);
    }

    #[test]
    fn groups_do_not_depend_on_the_order_of_runs() {
        let labels = ["a", "b", "c", "a", "b", "c", "a", "b", "c", "a"];
        let metric: Vec<f64> = (0..10).map(|i| f64::from(i * i % 7) * 0.1).collect();
        let forth = compare(categories(&labels), &metric);
        let (mut labels_back, mut metric_back) = (labels, metric);
        labels_back.reverse();
        metric_back.reverse();
        assert_eq!(forth, compare(categories(&labels_back), &metric_back));
    }

    #[test]
    fn columns_of_the_wrong_length_are_refused() {
        let column = ParameterColumn { name: "x".into(), values: categories(&["a"]) };
        let error = compare_parameters(&[column], &[Some(1.0), None], Direction::Up, 0.95).unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
    }
}
