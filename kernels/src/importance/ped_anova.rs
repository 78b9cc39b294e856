//! PED-ANOVA: which parameters separate the best trials from the others.

use rayon::prelude::*;

use super::error::ImportanceError;
use super::forest::{TRIALS_PER_PARAMETER, Warning};
use super::interval::Estimate;
use super::parzen::{ParzenGrid, divergence};
use super::table::{Assessment, ParameterTable};
use super::trials::{Checked, Direction, MISSING, Trials, check_level};
use crate::request::MAX_RESAMPLES;
use crate::rng::{Stream, Tag};

/// Fewer trials than this in the top quantile call for a warning.
const TOP_MIN: usize = 5;
/// Fewer trials than this with a value in the region, and the parameter is not assessed.
const ACTIVE_MIN: u64 = 2;

/// What the density of the best trials is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Baseline {
    /// The density of the trials of the region: what mattered during the search.
    #[default]
    Trials,
    /// A uniform density: what matters in the search space. `region` then has no effect on it.
    Uniform,
}

/// A PED-ANOVA. The defaults are those of [`PedAnovaRequest::new`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PedAnovaRequest<'a> {
    /// The trials.
    pub trials: Trials<'a>,
    /// Whether small or large objectives are good.
    pub direction: Direction,
    /// The share of trials that count as the best, more than 0 and less than `region`.
    pub top: f64,
    /// The share of trials that they are compared with, at most 1.
    pub region: f64,
    /// What the density of the best trials is compared with.
    pub baseline: Baseline,
    /// Resamples of the trials for the intervals; 0 for none.
    pub resamples: u32,
    /// Confidence level of the two-sided intervals, strictly between 0 and 1.
    pub level: f64,
    /// Seed of the generator.
    pub seed: u64,
}

impl<'a> PedAnovaRequest<'a> {
    /// The best tenth against all trials, small objectives being good, 200 resamples, level 0.95, seed 0.
    pub fn new(trials: Trials<'a>) -> Self {
        Self {
            trials,
            direction: Direction::Minimize,
            top: 0.1,
            region: 1.0,
            baseline: Baseline::Trials,
            resamples: 200,
            level: 0.95,
            seed: 0,
        }
    }

    /// The same request with another direction.
    pub fn direction(self, direction: Direction) -> Self {
        Self { direction, ..self }
    }

    /// The same request with another number of resamples.
    pub fn resamples(self, resamples: u32) -> Self {
        Self { resamples, ..self }
    }
}

/// The answer to a [`PedAnovaRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct PedAnova {
    /// Importances; not shares, and not of variance.
    pub parameters: ParameterTable,
    /// Trials that count as the best, ties at the quantile included.
    pub top: usize,
    /// Trials that they are compared with.
    pub region: usize,
    /// Remarks.
    pub warnings: Vec<Warning>,
}

/// For each parameter, how far the density of the best trials is from that of the region (Pearson's
/// divergence), scaled by the squared quantile (Watanabe, Bansal and Hutter 2023; conditional
/// parameters: Baba et al. 2026). It ranks what separates the best trials, **not** what explains
/// variance. Standard errors come from resampled trials. Runs on the CPU.
///
/// # Errors
/// What is wrong with the trials or the settings. Equal objectives are not an error: all trials are
/// then the best, every importance is 0 and a warning says so.
///
/// ```
/// use kernels::importance::{Parameter, PedAnovaRequest, Trials, ped_anova};
/// let rate: Vec<f64> = (0..200).map(|i| f64::from(i * 7 % 200) / 200.0).collect();
/// let other: Vec<f64> = (0..200).map(|i| f64::from(i * 31 % 200) / 200.0).collect();
/// let loss: Vec<f64> = rate.iter().map(|r| (r - 0.3) * (r - 0.3)).collect();
/// let parameters = [Parameter::linear(&rate), Parameter::linear(&other)];
/// let trials = Trials { parameters: &parameters, objective: &loss };
/// let anova = ped_anova(&PedAnovaRequest::new(trials))?;
/// assert_eq!(anova.parameters.ranking(), [0, 1]);
/// # Ok::<(), kernels::importance::ImportanceError>(())
/// ```
pub fn ped_anova(request: &PedAnovaRequest<'_>) -> Result<PedAnova, ImportanceError> {
    check_level(request.level)?;
    let setting = |name, expected, value| Err(ImportanceError::Setting { name, expected, value });
    if !(request.region > 0.0 && request.region <= 1.0) {
        return setting("region", "more than 0 and at most 1", request.region);
    }
    if !(request.top > 0.0 && request.top < request.region) {
        return setting("top", "more than 0 and less than region", request.top);
    }
    if request.resamples > MAX_RESAMPLES {
        return setting("resamples", "at most 16777216", request.resamples.into());
    }
    let checked = Checked::new(&request.trials)?;
    let search = Search::new(request, &checked);
    let every = vec![1u16; search.objective.len()];
    let (values, top, region) = search.importances(&every);
    let replicates: Vec<Vec<f64>> = (0..request.resamples)
        .into_par_iter()
        .map_init(
            || vec![0u16; every.len()],
            |drawn, resample| {
                drawn.fill(0);
                let stream = Stream { seed: request.seed, stream: 0, tag: Tag::Bootstrap, sub: 0 };
                for index in stream.indices(drawn.len() as u32, resample).take(drawn.len()) {
                    let count = &mut drawn[index as usize];
                    *count = count.saturating_add(1);
                }
                search.importances(drawn).0
            },
        )
        .collect();
    let mut parameters = ParameterTable::default();
    for (parameter, (grid, &value)) in search.grids.iter().zip(&values).enumerate() {
        let active = grid.cell.iter().filter(|&&cell| cell != MISSING).count();
        let assessment = match active {
            0 => Assessment::Absent,
            _ if grid.cells < 2 => Assessment::Constant,
            _ if active < grid.cell.len() => Assessment::WhereActive,
            _ => Assessment::AllTrials,
        };
        let of_resamples: Vec<f64> = replicates.iter().map(|values| values[parameter]).collect();
        let bounds = (0.0, f64::INFINITY);
        let estimate = Estimate::of_resamples(value, &of_resamples, request.level, bounds);
        parameters.push(estimate, active as u32, assessment);
    }
    let warnings = warnings(&checked, top, region);
    Ok(PedAnova { parameters, top, region, warnings })
}

fn warnings(checked: &Checked<'_>, top: usize, region: usize) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let (trials, parameters) = (checked.objective.len(), checked.parameters.len());
    if trials < TRIALS_PER_PARAMETER * parameters {
        warnings.push(Warning::FewTrials { trials, advised: TRIALS_PER_PARAMETER * parameters });
    }
    if checked.failed > 0 {
        warnings.push(Warning::FailedTrials { failed: checked.failed, trials: trials + checked.failed });
    }
    if top < TOP_MIN {
        warnings.push(Warning::FewTopTrials { trials: top });
    }
    if top == region {
        warnings.push(Warning::TopIsRegion);
    }
    warnings
}

/// Trials from the best to the worst on the grids of their parameters.
struct Search<'a> {
    request: &'a PedAnovaRequest<'a>,
    /// Ascending; small is good.
    objective: Vec<f64>,
    grids: Vec<ParzenGrid>,
}

impl<'a> Search<'a> {
    fn new(request: &'a PedAnovaRequest<'a>, checked: &Checked<'_>) -> Self {
        let sign = match request.direction {
            Direction::Minimize => 1.0,
            Direction::Maximize => -1.0,
        };
        let mut grids: Vec<ParzenGrid> = checked.parameters.par_iter().map(ParzenGrid::new).collect();
        // Adding zero turns -0 into +0 and changes nothing else.
        let losses: Vec<f64> = checked.objective.iter().map(|value| sign * value + 0.0).collect();
        let mut order: Vec<u32> = (0..losses.len() as u32).collect();
        order.par_sort_unstable_by(|&a, &b| {
            let (a, b) = (a as usize, b as usize);
            let by_cells = || grids.iter().map(|grid| grid.cell[a].cmp(&grid.cell[b])).find(|o| o.is_ne());
            losses[a].total_cmp(&losses[b]).then_with(|| by_cells().unwrap_or(std::cmp::Ordering::Equal))
        });
        grids.par_iter_mut().for_each(|grid| {
            grid.cell = order.iter().map(|&row| grid.cell[row as usize]).collect();
        });
        let objective = order.iter().map(|&row| losses[row as usize]).collect();
        Self { request, objective, grids }
    }

    /// The importances when each trial counts so often, and the trials in the top and the region.
    fn importances(&self, weights: &[u16]) -> (Vec<f64>, usize, usize) {
        let (top_end, top) = self.best(weights, self.request.top);
        let (region_end, region) = self.best(weights, self.request.region);
        let quantile = top as f64 / region as f64;
        let values = self.grids.iter().map(|grid| {
            if grid.cells < 2 {
                return 0.0;
            }
            let mut counts = vec![0u64; grid.cells];
            let mut add = |from: usize, to: usize| -> Vec<u64> {
                for (&cell, &weight) in grid.cell[from..to].iter().zip(&weights[from..to]) {
                    if let Some(count) = counts.get_mut(cell as usize) {
                        *count += u64::from(weight);
                    }
                }
                counts.clone()
            };
            let (of_top, of_region) = (add(0, top_end), add(top_end, region_end));
            let (active_top, active): (u64, u64) = (of_top.iter().sum(), of_region.iter().sum());
            if active < ACTIVE_MIN || active_top == 0 {
                return 0.0;
            }
            let region_density = match self.request.baseline {
                Baseline::Trials => Some(grid.density(&of_region)),
                Baseline::Uniform => None,
            };
            let divergence = divergence(&grid.density(&of_top), region_density.as_deref());
            let (share_top, share) = (active_top as f64 / top as f64, active as f64 / region as f64);
            quantile * quantile * share_top * share_top / share * divergence
        });
        (values.collect(), top, region)
    }

    /// Where the best trials end that are a share of all or tie with the last of them, and how many
    /// they are.
    fn best(&self, weights: &[u16], share: f64) -> (usize, usize) {
        let all: usize = weights.iter().map(|&weight| usize::from(weight)).sum();
        if share >= 1.0 {
            return (weights.len(), all);
        }
        let wanted = libm::ceil(share * all as f64) as usize;
        let (mut end, mut count) = (0, 0);
        while end < weights.len() && count < wanted.max(1) {
            count += usize::from(weights[end]);
            end += 1;
        }
        while end > 0 && end < weights.len() && self.objective[end] == self.objective[end - 1] {
            count += usize::from(weights[end]);
            end += 1;
        }
        (end, count)
    }
}
