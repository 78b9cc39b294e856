//! Points in panels of vector lanes, for tiles of distances.

use rayon::prelude::*;

use crate::cluster::features::{Points, squared_norm};
use crate::cpu::distances::{PANEL, PointPanel};

/// All points, [`PANEL`] to a panel, one feature after the other; the last panel is filled up with zeros.
#[derive(Debug)]
pub(crate) struct Panels {
    /// Number of points.
    pub(crate) points: usize,
    features: usize,
    coordinates: Vec<f32>,
    /// Minus half the squared norms.
    biases: Vec<[f32; PANEL]>,
}

impl Panels {
    pub(crate) fn new(points: &Points) -> Self {
        let features = points.columns;
        let panels = points.rows.div_ceil(PANEL);
        let mut coordinates = vec![0.0; panels * features * PANEL];
        let mut biases = vec![[0.0; PANEL]; panels];
        coordinates.par_chunks_mut(features * PANEL).zip(&mut biases).enumerate().for_each(
            |(panel, (coordinates, biases))| {
                let rows = panel * PANEL..points.rows.min((panel + 1) * PANEL);
                transpose(rows.clone().map(|row| points.row(row)), features, coordinates);
                for (bias, row) in biases.iter_mut().zip(rows) {
                    *bias = (-0.5 * squared_norm(points.row(row))) as f32;
                }
            },
        );
        Self { points: points.rows, features, coordinates, biases }
    }

    /// The number of panels.
    pub(crate) fn len(&self) -> usize {
        self.biases.len()
    }

    /// One panel.
    pub(crate) fn panel(&self, panel: usize) -> PointPanel<'_> {
        let size = self.features * PANEL;
        PointPanel {
            coordinates: &self.coordinates[panel * size..(panel + 1) * size],
            biases: &self.biases[panel],
        }
    }

    /// How many points of a panel are real.
    pub(crate) fn filled(&self, panel: usize) -> usize {
        (self.points - panel * PANEL).min(PANEL)
    }
}

/// Writes up to [`PANEL`] rows as lanes of a panel.
pub(crate) fn transpose<'a>(rows: impl Iterator<Item = &'a [f32]>, features: usize, panel: &mut [f32]) {
    for (lane, row) in rows.enumerate() {
        for (feature, value) in row[..features].iter().enumerate() {
            panel[feature * PANEL + lane] = *value;
        }
    }
}

/// A bound on the error of a score (see [`crate::cpu::distances`]) of two points whose norms add up to `norms`.
///
/// Every partial sum of the chain is at most half of `norms` squared, and each of its `features` steps, the rounding
/// of the biases and of shifted coordinates adds at most a few units of 2^-24 of it.
pub(crate) fn score_error(features: usize, norms: f64) -> f64 {
    const UNIT: f64 = 1.0 / (1 << 24) as f64;
    (features as f64 + 10.0) * UNIT * 0.51 * norms * norms
}
