//! Densities of one parameter on a grid: a mixture of truncated discrete normal kernels with a wide
//! prior (Scott 1992 for the bandwidth), or smoothed frequencies of levels.

use libm::erfc;

use super::trials::{CheckedParameter, MISSING, Scale};

/// Points of the grid of a continuous parameter.
const STEPS: usize = 50;
/// Half a cell holds nine tenths of the narrowest kernel.
const NARROWEST: f64 = 0.5 / 1.64;
/// Added to densities that a quotient is made of.
const FLOOR: f64 = 1e-12;

/// The grid of one parameter and the cell of each trial, [`MISSING`] where it has no value.
pub(super) struct ParzenGrid {
    pub(super) cells: usize,
    pub(super) cell: Vec<u32>,
    is_categorical: bool,
}

impl ParzenGrid {
    pub(super) fn new(parameter: &CheckedParameter<'_>) -> Self {
        match parameter {
            CheckedParameter::Categorical { codes, levels } => {
                Self { cells: *levels as usize, cell: codes.to_vec(), is_categorical: true }
            }
            CheckedParameter::Numeric { values, scale, low, high, step } => {
                let cells = match (step, scale) {
                    // Ends are NaN when the parameter has no value in any trial.
                    _ if low == high || low.is_nan() => 1,
                    (None, _) => STEPS,
                    (Some(step), Scale::Linear) => {
                        (libm::rint((high - low) / step) + 1.0).min(STEPS as f64) as usize
                    }
                    (Some(step), Scale::Log) => {
                        let doublings = libm::log((high - low) / step + 1.0) / std::f64::consts::LN_2;
                        (libm::ceil(doublings) + 1.0).min(STEPS as f64) as usize
                    }
                };
                let (low, high) = (scale.coordinate(*low), scale.coordinate(*high));
                let width = (high - low) / (cells.max(2) - 1) as f64;
                let cell = values.iter().map(|&value| {
                    if value.is_nan() {
                        MISSING
                    } else if cells == 1 {
                        0
                    } else {
                        // Halfway between two points belongs to the lower.
                        let point = libm::ceil((scale.coordinate(value) - low) / width - 0.5);
                        point.clamp(0.0, (cells - 1) as f64) as u32
                    }
                });
                Self { cells, cell: cell.collect(), is_categorical: false }
            }
        }
    }

    /// The density of trials of which `counts` lie in each cell.
    pub(super) fn density(&self, counts: &[u64]) -> Vec<f64> {
        if self.is_categorical { level_density(counts) } else { ordered_density(counts) }
    }
}

/// Pearson's divergence of the density of top trials from that of the region, or from a uniform one.
pub(super) fn divergence(top: &[f64], region: Option<&[f64]>) -> f64 {
    let uniform = 1.0 / top.len() as f64;
    let at = |cell: usize| region.map_or(uniform, |region| region[cell] + FLOOR);
    let term = |(cell, top): (usize, &f64)| at(cell) * ((top + FLOOR) / at(cell) - 1.0).powi(2);
    top.iter().enumerate().map(term).sum()
}

/// Levels that occur are kernels that leave one part in `kernels` to the others, beside a uniform
/// prior of the weight of one trial.
fn level_density(counts: &[u64]) -> Vec<f64> {
    let levels = counts.len() as f64;
    let trials: u64 = counts.iter().sum();
    let kernels = counts.iter().filter(|&&count| count > 0).count() + 1;
    let left = 1.0 / kernels as f64;
    let trials = trials as f64;
    let of_count = |&count: &u64| {
        ((trials * left + count as f64) / (1.0 + levels * left) + 1.0 / levels) / (trials + 1.0)
    };
    counts.iter().map(of_count).collect()
}

fn ordered_density(counts: &[u64]) -> Vec<f64> {
    let cells = counts.len();
    let trials: u64 = counts.iter().sum();
    let width = bandwidth(counts, trials) * std::f64::consts::SQRT_2;
    let prior_width = cells as f64 * std::f64::consts::SQRT_2;
    // All kernels have one width, so that their mass depends on the distance alone.
    let at_distance: Vec<f64> = (0..cells).map(|distance| cell_mass(distance as f64, width)).collect();
    let middle = (cells as f64 - 1.0) / 2.0;
    let prior_mass = mass_inside(middle, cells, prior_width);
    let weight = 1.0 / (trials as f64 + 1.0);
    let prior = |cell: usize| weight * cell_mass((cell as f64 - middle).abs(), prior_width) / prior_mass;
    let mut density: Vec<f64> = (0..cells).map(prior).collect();
    for (centre, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let weight = count as f64 * weight / mass_inside(centre as f64, cells, width);
        for (cell, density) in density.iter_mut().enumerate() {
            *density += weight * at_distance[cell.abs_diff(centre)];
        }
    }
    density
}

/// Mass of a normal kernel in the cell at a distance from its centre; `width` is its standard
/// deviation times the root of two.
fn cell_mass(distance: f64, width: f64) -> f64 {
    // Both arguments in the upper tail, or around the centre: no difference of numbers near 1.
    if distance >= 0.5 {
        0.5 * (erfc((distance - 0.5) / width) - erfc((distance + 0.5) / width))
    } else {
        1.0 - 0.5 * (erfc((0.5 - distance) / width) + erfc((0.5 + distance) / width))
    }
}

/// Mass of a kernel inside of all cells.
fn mass_inside(centre: f64, cells: usize, width: f64) -> f64 {
    1.0 - 0.5 * (erfc((cells as f64 - 0.5 - centre) / width) + erfc((centre + 0.5) / width))
}

/// Scott's rule for counts in cells.
fn bandwidth(counts: &[u64], trials: u64) -> f64 {
    if trials == 0 {
        return NARROWEST;
    }
    let n = trials as f64;
    let occurring = || counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let mean = occurring().map(|(cell, &count)| cell as f64 * count as f64).sum::<f64>() / n;
    let squares: f64 = occurring().map(|(cell, &count)| (cell as f64 - mean).powi(2) * count as f64).sum();
    let deviation = (squares / (trials - 1).max(1) as f64).sqrt();
    let (mut passed, mut lower, mut upper) = (0, None, None);
    let mut last = 0;
    for (cell, &count) in occurring() {
        passed += count;
        last = cell;
        lower = lower.or((passed >= trials / 4).then_some(cell));
        upper = upper.or((passed > trials * 3 / 4).then_some(cell));
    }
    let range = upper.unwrap_or(last) as f64 - lower.unwrap_or(0) as f64;
    (1.059 * (range / 1.34).min(deviation) * libm::pow(n, -0.2)).max(NARROWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_sum_to_one() {
        let ordered: Vec<u64> = (0..50).map(|cell| if cell % 7 == 0 { 3 * cell } else { 0 }).collect();
        assert!((ordered_density(&ordered).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((level_density(&[4, 0, 9]).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((ordered_density(&[0, 0, 1]).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn equal_densities_do_not_diverge() {
        let density = ordered_density(&[5, 5, 5, 5]);
        assert!(divergence(&density, Some(&density)).abs() < 1e-20);
        assert!(divergence(&density, None) > 0.0);
    }
}
