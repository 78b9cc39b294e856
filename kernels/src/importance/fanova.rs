//! Functional ANOVA: which share of the variance over the search space each parameter explains
//! alone, and which each pair explains together.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::boxes::{AxisMeasure, Parts, decompose};
use super::encode::{Encoded, Measure};
use super::error::ImportanceError;
use super::forest::{Forest, Warning};
use super::impurity::shares;
use super::interval::Estimate;
use super::table::{Assessment, ParameterTable};
use super::trials::check_level;
use crate::request::Provenance;

/// Which pairs of parameters to assess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pairs<'a> {
    /// None; what interactions explain is in the remainder.
    None,
    /// All pairs of so many parameters: those whose splits explain most, alone or not.
    Top(usize),
    /// All pairs.
    All,
    /// Pairs by number.
    These(&'a [(usize, usize)]),
}

/// What to make of a forest. The defaults are those of [`FanovaRequest::default`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FanovaRequest<'a> {
    /// How much each part of the search space counts.
    pub measure: Measure,
    /// Which pairs to assess.
    pub pairs: Pairs<'a>,
    /// Confidence level of the two-sided intervals, strictly between 0 and 1.
    pub level: f64,
}

impl Default for FanovaRequest<'_> {
    /// The scale of the search, the pairs of the 10 strongest parameters, level 0.95.
    fn default() -> Self {
        Self { measure: Measure::Scale, pairs: Pairs::Top(10), level: 0.95 }
    }
}

/// Importances of pairs: variance that two parameters explain together beyond each alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairTable {
    /// First parameter of each pair, the lower number.
    pub first: Vec<usize>,
    /// Second parameter.
    pub second: Vec<usize>,
    /// The share of variance; NaN where the two are never active together or nothing varies there.
    pub importance: Vec<f64>,
    /// Its standard error.
    pub se: Vec<f64>,
    /// Lower end of its interval.
    pub low: Vec<f64>,
    /// Upper end of its interval.
    pub high: Vec<f64>,
    /// Trials in which both parameters have a value.
    pub n: Vec<u32>,
    /// The share of the variance over the whole search space, absence included.
    pub overall: Vec<f64>,
}

/// A functional ANOVA.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionalAnova {
    /// The share of variance that each parameter explains alone, averaged over trees. Of a
    /// conditional parameter: the variance over the part of the space where it is active.
    pub parameters: ParameterTable,
    /// The share of the variance over the whole search space, where having no value is a value of
    /// its own. Equal to the importance for parameters that are always active.
    pub overall: Vec<f64>,
    /// The pairs asked for.
    pub pairs: PairTable,
    /// What neither `overall` nor the pairs' `overall` account for: interactions not asked for or
    /// of more than two parameters. Main effects of a pure interaction are 0; it shows here.
    pub remainder: f64,
    /// Remarks.
    pub warnings: Vec<Warning>,
    /// Where the forest was fitted.
    pub provenance: Provenance,
}

/// A part of the search space: where some parameters are active.
struct Context {
    /// Trials there with each code of each parameter.
    counts: Vec<Vec<u32>>,
    mains: Vec<usize>,
    pairs: Vec<(usize, usize)>,
}

/// Decomposes the variance of a forest's prediction over the search space, parameters drawn
/// independently from the measure (Hutter, Hoos and Leyton-Brown 2014). All integrals are exact.
///
/// A conditional parameter is assessed where it is active: in trials with a value of it, with the
/// other parameters as they are there, and the share is of the variance there.
///
/// # Errors
/// [`ImportanceError::Setting`] for a level, [`ImportanceError::Pair`] for a pair that there is not.
///
/// ```
/// use kernels::importance::{FanovaRequest, ForestRequest, Parameter, Trials, functional_anova};
/// use kernels::{CpuBackend, Backend};
///
/// let rate: Vec<f64> = (0..200).map(|i| f64::from(i * 7 % 200) / 200.0).collect();
/// let depth: Vec<f64> = (0..200).map(|i| f64::from(i * 13 % 8)).collect();
/// let loss: Vec<f64> = rate.iter().zip(&depth).map(|(r, d)| 4.0 * r + 0.1 * d).collect();
/// let parameters = [Parameter::linear(&rate), Parameter::integer(&depth)];
/// let trials = Trials { parameters: &parameters, objective: &loss };
/// let forest = CpuBackend::new().forest(&ForestRequest::new(trials).seed(1))?;
/// let anova = functional_anova(&forest, &FanovaRequest::default())?;
/// assert!(anova.parameters.importance[0] > 0.8);
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn functional_anova(
    forest: &Forest,
    request: &FanovaRequest<'_>,
) -> Result<FunctionalAnova, ImportanceError> {
    check_level(request.level)?;
    let encoded = &forest.encoded;
    let pairs = pairs(forest, request.pairs)?;
    let (contexts, main_context, pair_context) = contexts(encoded, &pairs);
    let measures: Vec<Vec<AxisMeasure>> = contexts
        .iter()
        .map(|context| {
            let of_axis = encoded.axes.iter().zip(&context.counts);
            of_axis
                .map(|(axis, counts)| AxisMeasure {
                    of_codes: axis.measure(request.measure, counts),
                    is_categorical: axis.is_categorical(),
                })
                .collect()
        })
        .collect();
    let parts: Vec<Vec<Parts>> = forest
        .trees
        .par_iter()
        .map(|tree| {
            let in_context = contexts.iter().zip(&measures);
            in_context.map(|(context, axes)| decompose(tree, axes, &context.mains, &context.pairs)).collect()
        })
        .collect();
    // The share of each tree whose prediction varies in the context.
    let shares = |context: usize, variance: &dyn Fn(&Parts) -> f64| -> Vec<f64> {
        let varying = parts.iter().map(|parts| &parts[context]).filter(|parts| parts.variance > 0.0);
        varying.map(|parts| (variance(parts) / parts.variance).min(1.0)).collect()
    };
    let estimate =
        |shares: &[f64]| (!shares.is_empty()).then(|| Estimate::of_trees(shares, request.level, (0.0, 1.0)));
    let mean = |shares: &[f64]| shares.iter().sum::<f64>() / shares.len() as f64;
    let main_shares = |context: usize, parameter: usize| -> Vec<f64> {
        let at = contexts[context].mains.iter().position(|&main| main == parameter);
        at.map_or_else(Vec::new, |at| shares(context, &|parts| parts.mains[at]))
    };
    let pair_shares = |context: usize, pair: (usize, usize)| -> Vec<f64> {
        let at = contexts[context].pairs.iter().position(|&other| other == pair);
        at.map_or_else(Vec::new, |at| shares(context, &|parts| parts.pairs[at]))
    };
    let mut table = ParameterTable::default();
    let mut overall = Vec::with_capacity(encoded.axes.len());
    for (parameter, axis) in encoded.axes.iter().enumerate() {
        let estimate = main_context[parameter].and_then(|context| estimate(&main_shares(context, parameter)));
        let assessment = match Assessment::of(axis) {
            Assessment::AllTrials | Assessment::WhereActive if estimate.is_none() => Assessment::NoVariance,
            assessment => assessment,
        };
        table.push(estimate.unwrap_or(Estimate::ABSENT), axis.active(), assessment);
        overall.push(mean(&main_shares(0, parameter)));
    }
    let mut pair_table = PairTable::default();
    for (&pair, context) in pairs.iter().zip(pair_context) {
        let estimate = context.and_then(|(context, _)| estimate(&pair_shares(context, pair)));
        let estimate = estimate.unwrap_or(Estimate::ABSENT);
        pair_table.first.push(pair.0);
        pair_table.second.push(pair.1);
        pair_table.importance.push(estimate.value);
        pair_table.se.push(estimate.se);
        pair_table.low.push(estimate.low);
        pair_table.high.push(estimate.high);
        pair_table.n.push(context.map_or(0, |(_, trials)| trials));
        pair_table.overall.push(mean(&pair_shares(0, pair)));
    }
    let remainder = 1.0 - overall.iter().sum::<f64>() - pair_table.overall.iter().sum::<f64>();
    Ok(FunctionalAnova {
        parameters: table,
        overall,
        pairs: pair_table,
        remainder,
        warnings: forest.warnings(),
        provenance: forest.provenance.clone(),
    })
}

/// The pairs asked for, each with the lower number first, ascending, once.
fn pairs(forest: &Forest, asked: Pairs<'_>) -> Result<Vec<(usize, usize)>, ImportanceError> {
    let parameters = forest.parameters();
    let of = |members: &[usize]| -> Vec<(usize, usize)> {
        let later = |at: usize| members[at + 1..].iter().map(move |&second| (members[at], second));
        (0..members.len()).flat_map(later).collect()
    };
    Ok(match asked {
        Pairs::None => Vec::new(),
        Pairs::All => of(&(0..parameters).collect::<Vec<_>>()),
        Pairs::Top(count) => {
            let shares = shares(forest);
            let mut order: Vec<usize> = (0..parameters).collect();
            let total = |parameter: usize| shares.iter().map(|shares| shares[parameter]).sum::<f64>();
            let totals: Vec<f64> = order.iter().map(|&parameter| total(parameter)).collect();
            order.sort_by(|&a, &b| totals[b].total_cmp(&totals[a]));
            order.truncate(count);
            order.sort_unstable();
            of(&order)
        }
        Pairs::These(pairs) => {
            let mut ordered: Vec<(usize, usize)> = pairs.iter().map(|&(a, b)| (a.min(b), a.max(b))).collect();
            if let Some(&(first, second)) = ordered.iter().find(|&&(a, b)| a == b || b >= parameters) {
                return Err(ImportanceError::Pair { first, second, parameters });
            }
            ordered.sort_unstable();
            ordered.dedup();
            ordered
        }
    })
}

/// A context and the number of trials in it.
type Place = (usize, u32);

/// The contexts that are needed, the whole space first; where each parameter is assessed, and
/// where each pair (`None` when it is active nowhere).
fn contexts(
    encoded: &Encoded,
    pairs: &[(usize, usize)],
) -> (Vec<Context>, Vec<Option<usize>>, Vec<Option<Place>>) {
    let all = encoded.axes.iter().map(|axis| axis.counts.clone()).collect();
    let mut contexts =
        vec![Context { counts: all, mains: (0..encoded.axes.len()).collect(), pairs: pairs.to_vec() }];
    let trials = encoded.trials() as u32;
    let masks: Vec<Option<Vec<u64>>> = encoded
        .axes
        .par_iter()
        .zip(&encoded.columns)
        .map(|(axis, column)| (axis.counts[0] > 0).then(|| active(column)))
        .collect();
    let mut known: BTreeMap<Vec<u64>, Option<Place>> = BTreeMap::new();
    let mut place = |contexts: &mut Vec<Context>, mask: &[u64]| -> Option<Place> {
        if let Some(&place) = known.get(mask) {
            return place;
        }
        let active: u32 = mask.iter().map(|word| word.count_ones()).sum();
        let place = (active > 0).then(|| {
            let counts = encoded.columns.par_iter().zip(&encoded.axes);
            let counts = counts.map(|(column, axis)| counts_within(column, axis.codes(), mask)).collect();
            contexts.push(Context { counts, mains: Vec::new(), pairs: Vec::new() });
            (contexts.len() - 1, active)
        });
        known.insert(mask.to_vec(), place);
        place
    };
    let main_context = masks
        .iter()
        .enumerate()
        .map(|(parameter, mask)| {
            let Some(mask) = mask else { return Some(0) };
            let (context, _) = place(&mut contexts, mask)?;
            contexts[context].mains.push(parameter);
            Some(context)
        })
        .collect();
    let pair_context = pairs
        .iter()
        .map(|&pair| {
            let mask = match (&masks[pair.0], &masks[pair.1]) {
                (None, None) => return Some((0, trials)),
                (Some(mask), None) | (None, Some(mask)) => mask.clone(),
                (Some(a), Some(b)) => a.iter().zip(b).map(|(a, b)| a & b).collect(),
            };
            let (context, active) = place(&mut contexts, &mask)?;
            contexts[context].pairs.push(pair);
            Some((context, active))
        })
        .collect();
    (contexts, main_context, pair_context)
}

/// One bit for each trial in which a parameter has a value.
fn active(column: &[u8]) -> Vec<u64> {
    let word = |codes: &[u8]| codes.iter().rev().fold(0, |word, &code| word << 1 | u64::from(code != 0));
    column.chunks(64).map(word).collect()
}

fn counts_within(column: &[u8], codes: usize, mask: &[u64]) -> Vec<u32> {
    let mut counts = vec![0; codes];
    for (codes, &mask) in column.chunks(64).zip(mask) {
        for (bit, &code) in codes.iter().enumerate() {
            counts[usize::from(code)] += (mask >> bit & 1) as u32;
        }
    }
    counts
}
