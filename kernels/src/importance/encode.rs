//! Trials as small integers: parameters as codes of at most 255 bins, the objective in fixed point.
//!
//! A forest sees only what is here, so that its sums are sums of integers and its answer does not
//! depend on the order of trials, on threads or on the device.

use rayon::prelude::*;

use super::trials::{Checked, CheckedParameter, MISSING, Scale};

/// Codes of one parameter: 0 for no value, then at most 255 bins or levels.
pub(crate) const CODES: usize = 256;
/// The largest number of bins of a parameter.
const BINS: usize = CODES - 1;

/// How much a part of the search space counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Measure {
    /// Equally over the scale of the search: logarithmic parameters by ratios. Levels of a
    /// categorical parameter count the same.
    #[default]
    Scale,
    /// Equally over raw values, also of logarithmic parameters, as some other tools do.
    Linear,
    /// As often as the trials were there.
    Empirical,
}

/// One parameter in codes.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    kind: AxisKind,
    /// Trials with each code; the first has no value.
    pub(crate) counts: Vec<u32>,
    /// Levels of a categorical parameter that share the last code because there are too many.
    pub(crate) merged_levels: u32,
    /// Trials with such a level.
    pub(crate) merged_trials: u32,
}

#[derive(Debug, Clone)]
enum AxisKind {
    /// Ends of the bins in the coordinate of the scale, one more than there are bins.
    Ordered { edges: Vec<f64>, scale: Scale },
    /// The number of levels behind each code, from code 1.
    Levels { behind: Vec<u32> },
}

impl Axis {
    /// An ordered axis with given ends of its bins and without trials.
    pub(crate) fn of_edges(edges: Vec<f64>) -> Self {
        let counts = vec![0; edges.len()];
        let kind = AxisKind::Ordered { edges, scale: Scale::Linear };
        Self { kind, counts, merged_levels: 0, merged_trials: 0 }
    }

    /// The number of codes, with code 0.
    pub(crate) fn codes(&self) -> usize {
        self.counts.len()
    }

    pub(crate) fn is_categorical(&self) -> bool {
        matches!(self.kind, AxisKind::Levels { .. })
    }

    /// Trials in which the parameter has a value.
    pub(crate) fn active(&self) -> u32 {
        self.counts.iter().skip(1).sum()
    }

    /// Whether the parameter takes a single value, or none, where it is active.
    pub(crate) fn is_constant(&self) -> bool {
        self.counts.iter().skip(1).filter(|&&count| count > 0).count() < 2
    }

    /// The measure of each code among trials of which `counts` is the number with each code. The
    /// measures sum to 1; code 0 has the share of trials without a value.
    pub(crate) fn measure(&self, measure: Measure, counts: &[u32]) -> Vec<f64> {
        let trials: f64 = counts.iter().map(|&count| f64::from(count)).sum();
        let inactive = counts.first().map_or(0.0, |&count| f64::from(count)) / trials.max(1.0);
        let weights: Vec<f64> = match (measure, &self.kind) {
            (Measure::Empirical, _) => counts.iter().skip(1).map(|&count| f64::from(count)).collect(),
            (_, AxisKind::Levels { behind }) => {
                let occurring = behind.iter().zip(counts.iter().skip(1));
                occurring.map(|(&levels, &count)| f64::from(if count > 0 { levels } else { 0 })).collect()
            }
            (Measure::Linear, AxisKind::Ordered { edges, scale }) => {
                edges.windows(2).map(|ends| scale.value(ends[1]) - scale.value(ends[0])).collect()
            }
            (Measure::Scale, AxisKind::Ordered { edges, .. }) => {
                edges.windows(2).map(|ends| ends[1] - ends[0]).collect()
            }
        };
        let total: f64 = weights.iter().sum();
        // All values are equal: the bin has no width, but it is all there is.
        let flat = weights.len().max(1) as f64;
        let share = |weight: f64| if total > 0.0 { weight / total } else { 1.0 / flat };
        let active = if inactive < 1.0 { 1.0 - inactive } else { 0.0 };
        std::iter::once(inactive).chain(weights.into_iter().map(|weight| active * share(weight))).collect()
    }
}

/// The trials of a request in codes, in an order that follows from the trials alone.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    /// The code of each trial, one column for each parameter.
    pub(crate) columns: Vec<Vec<u8>>,
    pub(crate) axes: Vec<Axis>,
    /// The objective, 0 for the lowest and 2^32 - 1 for the highest value.
    pub(crate) target: Vec<u32>,
    /// Trials left out because their objective is not finite.
    pub(crate) failed: usize,
    /// Whether one or a few extreme trials stretch the range, so that half of the others lie within
    /// a few steps of the target although they differ.
    pub(crate) is_squeezed: bool,
}

/// Steps of the target that half of the trials must spread over.
const SPREAD_MIN: u32 = 1 << 10;

impl Encoded {
    pub(crate) fn new(checked: &Checked<'_>) -> Self {
        let objective = checked.objective.as_ref();
        let (mut columns, axes): (Vec<Vec<u8>>, Vec<Axis>) =
            checked.parameters.par_iter().map(encode).unzip();
        let mut order: Vec<u32> = (0..objective.len() as u32).collect();
        order.par_sort_unstable_by(|&a, &b| {
            let (a, b) = (a as usize, b as usize);
            let by_codes = || columns.iter().map(|column| column[a].cmp(&column[b])).find(|o| o.is_ne());
            // Adding zero turns -0 into +0 and changes nothing else.
            (objective[a] + 0.0)
                .total_cmp(&(objective[b] + 0.0))
                .then_with(|| by_codes().unwrap_or(std::cmp::Ordering::Equal))
        });
        columns.par_iter_mut().for_each(|column| {
            *column = order.iter().map(|&row| column[row as usize]).collect();
        });
        let at = |position: Option<&u32>| position.map_or(0.0, |&row| objective[row as usize]);
        let (lowest, highest) = (at(order.first()), at(order.last()));
        // Halves do not overflow where the range does.
        let half = if (highest - lowest).is_finite() { 1.0 } else { 0.5 };
        let range = highest * half - lowest * half;
        let steps = f64::from(u32::MAX);
        let target = order.iter().map(|&row| {
            let share = (objective[row as usize] * half - lowest * half) / range;
            libm::rint(share * steps) as u32
        });
        let target: Vec<u32> = target.collect();
        let [lower, upper] = [target.len() / 4, target.len() * 3 / 4];
        let is_squeezed = target[upper] - target[lower] < SPREAD_MIN
            && objective[order[lower] as usize] < objective[order[upper] as usize];
        Self { columns, axes, target, failed: checked.failed, is_squeezed }
    }

    pub(crate) fn trials(&self) -> usize {
        self.target.len()
    }

    /// The mean of the target.
    pub(crate) fn centre(&self) -> f64 {
        let sum: u64 = self.target.iter().map(|&target| u64::from(target)).sum();
        sum as f64 / self.target.len().max(1) as f64
    }
}

fn encode(parameter: &CheckedParameter<'_>) -> (Vec<u8>, Axis) {
    match parameter {
        CheckedParameter::Numeric { values, scale, low, high, step } => {
            encode_numbers(values, *scale, (*low, *high), *step)
        }
        CheckedParameter::Categorical { codes, levels } => encode_levels(codes, *levels),
    }
}

/// The bins of ascending values: for each the largest value in it and the smallest of the next.
/// Few distinct values have a bin each; many share bins of about equal numbers of trials.
fn cuts(sorted: &[f64]) -> Vec<(f64, f64)> {
    let distinct = sorted.chunk_by(|a, b| a == b).count();
    let mut cuts = Vec::new();
    let mut passed = 0;
    let mut closed = 0;
    for run in sorted.chunk_by(|a, b| a == b) {
        passed += run.len();
        let Some(&next) = sorted.get(passed) else { break };
        let reached = if distinct <= BINS { closed + 1 } else { passed * BINS / sorted.len() };
        if reached > closed {
            closed = reached;
            cuts.push((run[0], next));
        }
    }
    cuts
}

fn encode_numbers(
    values: &[f64],
    scale: Scale,
    (low, high): (f64, f64),
    step: Option<f64>,
) -> (Vec<u8>, Axis) {
    let mut sorted: Vec<f64> =
        values.iter().filter(|value| !value.is_nan()).map(|value| value + 0.0).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let cuts = cuts(&sorted);
    // A step takes up the room to halfway between its neighbours.
    let half = step.map_or(0.0, |step| step / 2.0);
    let first = if scale == Scale::Log && low - half <= 0.0 { low / 2.0 } else { low - half };
    let middle = |&(below, above): &(f64, f64)| {
        if half > 0.0 {
            scale.coordinate(below / 2.0 + above / 2.0)
        } else {
            scale.coordinate(below) / 2.0 + scale.coordinate(above) / 2.0
        }
    };
    let mut edges = Vec::with_capacity(cuts.len() + 2);
    edges.push(scale.coordinate(first));
    edges.extend(cuts.iter().map(middle));
    edges.push(scale.coordinate(high + half));
    let uppers: Vec<f64> = cuts.iter().map(|&(below, _)| below).collect();
    let mut counts = vec![0; edges.len()];
    let codes = values.iter().map(|&value| {
        // At most 254 cuts, so that codes fit.
        let code = if value.is_nan() { 0 } else { 1 + uppers.partition_point(|&upper| upper < value) };
        counts[code] += 1;
        code as u8
    });
    let codes = codes.collect();
    let kind = AxisKind::Ordered { edges, scale };
    (codes, Axis { kind, counts, merged_levels: 0, merged_trials: 0 })
}

/// Levels that occur get codes in their order. When there are too many, the most frequent keep
/// theirs (the lower level first among equals) and all others share the last code.
fn encode_levels(codes: &[u32], levels: u32) -> (Vec<u8>, Axis) {
    let mut occurrences = vec![0u32; levels as usize];
    for &code in codes.iter().filter(|&&code| code != MISSING) {
        occurrences[code as usize] += 1;
    }
    let mut occurring: Vec<u32> = (0..levels).filter(|&level| occurrences[level as usize] > 0).collect();
    let mut merged_levels = 0;
    if occurring.len() > BINS {
        occurring.sort_by_key(|&level| std::cmp::Reverse(occurrences[level as usize]));
        merged_levels = (occurring.len() - (BINS - 1)) as u32;
        occurring.truncate(BINS - 1);
        occurring.sort_unstable();
    }
    let mut behind = vec![1; occurring.len()];
    let mut code_of = vec![BINS as u8; levels as usize];
    for (&level, code) in occurring.iter().zip(1..) {
        code_of[level as usize] = code;
    }
    if merged_levels > 0 {
        behind.push(merged_levels);
    }
    let mut counts = vec![0u32; behind.len() + 1];
    let encoded = codes.iter().map(|&code| {
        let code = if code == MISSING { 0 } else { code_of[code as usize] };
        counts[usize::from(code)] += 1;
        code
    });
    let encoded = encoded.collect();
    let merged_trials = if merged_levels > 0 { counts[BINS] } else { 0 };
    (encoded, Axis { kind: AxisKind::Levels { behind }, counts, merged_levels, merged_trials })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[f64], scale: Scale, range: (f64, f64), step: Option<f64>) -> (Vec<u8>, Axis) {
        encode_numbers(values, scale, range, step)
    }

    #[test]
    fn few_values_have_a_bin_each_and_many_share_equal_ones() {
        let (codes, axis) = numbers(&[3.0, 1.0, f64::NAN, 3.0], Scale::Linear, (0.0, 4.0), None);
        assert_eq!(codes, [2, 1, 0, 2]);
        assert_eq!(axis.counts, [1, 1, 2]);
        assert_eq!(axis.measure(Measure::Scale, &axis.counts), [0.25, 0.375, 0.375]);
        let values: Vec<f64> = (0..10_000).map(f64::from).collect();
        let (_, axis) = numbers(&values, Scale::Linear, (0.0, 9_999.0), None);
        assert_eq!(axis.codes(), CODES);
        assert!(axis.counts[1..].iter().all(|count| (39..=40).contains(count)), "{:?}", axis.counts);
    }

    #[test]
    fn a_value_that_nearly_all_trials_have_does_not_waste_bins() {
        let mut values = vec![0.5; 10_000];
        values.extend((0..1_000).map(|i| f64::from(i) / 1_000.0));
        let (codes, axis) = numbers(&values, Scale::Linear, (0.0, 1.0), None);
        assert_eq!(axis.counts.iter().sum::<u32>(), 11_000);
        assert!(axis.codes() > 20, "{}", axis.codes());
        assert_eq!(codes[0], codes[10_500]);
    }

    #[test]
    fn logarithmic_and_stepped_parameters_have_the_measure_of_their_scale() {
        let (_, axis) = numbers(&[1.0, 10.0, 100.0], Scale::Log, (1.0, 100.0), None);
        let measure = axis.measure(Measure::Scale, &axis.counts);
        for (got, expected) in measure.iter().zip([0.0, 0.25, 0.5, 0.25]) {
            assert!((got - expected).abs() < 1e-12, "{measure:?}");
        }
        let linear = axis.measure(Measure::Linear, &axis.counts);
        assert!(linear[1] < 0.03 && linear[3] > 0.6, "{linear:?}");
        let (_, axis) = numbers(&[1.0, 2.0, 3.0, 4.0], Scale::Linear, (1.0, 4.0), Some(1.0));
        assert_eq!(axis.measure(Measure::Scale, &axis.counts), [0.0, 0.25, 0.25, 0.25, 0.25]);
    }

    #[test]
    fn levels_count_the_same_however_often_they_occur() {
        let (codes, axis) = encode_levels(&[5, 5, 5, 2, MISSING], 9);
        assert_eq!(codes, [2, 2, 2, 1, 0]);
        let measure = axis.measure(Measure::Scale, &axis.counts);
        assert_eq!(measure, [0.2, 0.4, 0.4]);
        assert_eq!(axis.measure(Measure::Empirical, &axis.counts), [0.2, 0.2, 0.8 * 0.75]);
        assert_eq!(axis.measure(Measure::Scale, &[0, 0, 3]), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn of_too_many_levels_the_frequent_keep_their_own_code() {
        let mut codes: Vec<u32> = (0..10_000).collect();
        codes.extend([7_777; 5]);
        let (encoded, axis) = encode_levels(&codes, 10_000);
        assert_eq!((axis.merged_levels, axis.merged_trials), (9_746, 9_746));
        assert_ne!(encoded[7_777], 255);
        assert_eq!(encoded[9_999], 255);
        let measure = axis.measure(Measure::Scale, &axis.counts);
        assert!((measure[255] - 0.9746).abs() < 1e-12 && (measure.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
