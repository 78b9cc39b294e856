//! First centroids of k-means: greedy k-means++ (Arthur & Vassilvitskii 2007) and k-means|| (Bahmani et al. 2012).

use rayon::prelude::*;

use crate::cluster::features::{Points, squared_norm};
use crate::cluster::panels::Panels;
use crate::cpu::distances::{PANEL, ROWS, RowTile, Scores};
use crate::cpu::simd::Simd;
use crate::rng::{Stream, Tag, next_index, uniform, words64};

/// Panels that are added up as one block; fixed, so that sums do not depend on threads.
const BLOCK: usize = 32;
/// Rounds of k-means||.
const ROUNDS: u32 = 5;

/// How the first centroids are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seeding {
    /// k-means|| for many clusters of many rows, else k-means++.
    #[default]
    Auto,
    /// Greedy k-means++: each centroid is the best of `2 + ln k` rows drawn in proportion to their squared distance.
    PlusPlus,
    /// k-means||: five rounds draw about `k` rows each, of which k-means++ chooses. Fewer passes over the data.
    Parallel,
}

impl Seeding {
    /// Above this many clusters, and this many times as many rows, `Auto` is `Parallel`.
    const PARALLEL_FROM: usize = 256;

    pub(crate) fn is_parallel(self, k: usize, rows: usize) -> bool {
        match self {
            Self::Auto => k >= Self::PARALLEL_FROM && rows / k >= 64,
            Self::PlusPlus => false,
            Self::Parallel => true,
        }
    }
}

/// Draws the first centroids of one restart.
pub(crate) struct Seeder<'a> {
    simd: Simd,
    points: &'a Points,
    panels: &'a Panels,
    seed: u64,
    restart: u32,
    /// Squared distance of each point to the nearest centroid so far; 0 in lanes without a point.
    nearest: Vec<[f32; PANEL]>,
    /// Sums of these by block.
    block_sums: Vec<f64>,
}

impl<'a> Seeder<'a> {
    pub(crate) fn new(simd: Simd, points: &'a Points, panels: &'a Panels, seed: u64, restart: u32) -> Self {
        let mut nearest = vec![[f32::INFINITY; PANEL]; panels.len()];
        if let Some(last) = nearest.last_mut() {
            last[panels.filled(panels.len() - 1)..].fill(0.0);
        }
        Self { simd, points, panels, seed, restart, nearest, block_sums: Vec::new() }
    }

    /// `k` rows, as centroids.
    pub(crate) fn centroids(mut self, k: usize, seeding: Seeding) -> Vec<f64> {
        let rows =
            if seeding.is_parallel(k, self.points.rows) { self.parallel(k) } else { self.plus_plus(k) };
        rows.iter().flat_map(|&row| self.points.row(row as usize)).map(|value| f64::from(*value)).collect()
    }

    /// The words for one step of this restart.
    fn words(&self, step: usize) -> impl Iterator<Item = u64> + use<> {
        let stream = Stream { seed: self.seed, stream: 0, tag: Tag::KmeansSeeding, sub: step as u32 };
        let restart = self.restart;
        (0u32..).flat_map(move |block| words64(stream.block(block, restart)))
    }

    fn uniform_row(&self, word: u64) -> u32 {
        let mut word = word;
        next_index(&mut word, self.points.rows as u32)
    }

    fn plus_plus(&mut self, k: usize) -> Vec<u32> {
        let trials = (2 + (k as f64).ln() as usize).min(ROWS);
        let mut rows = Vec::with_capacity(k);
        let first = self.words(0).next().map_or(0, |word| self.uniform_row(word));
        rows.push(first);
        self.include(&[first]);
        for step in 1..k {
            let candidates: Vec<u32> = self.words(step).take(trials).map(|word| self.draw(word)).collect();
            let potentials = self.potentials(&candidates);
            let mut best = 0;
            for (trial, potential) in potentials.iter().enumerate().take(trials) {
                if *potential < potentials[best] {
                    best = trial;
                }
            }
            rows.push(candidates[best]);
            self.include(&[candidates[best]]);
        }
        rows
    }

    fn parallel(&mut self, k: usize) -> Vec<u32> {
        let first = self.words(0).next().map_or(0, |word| self.uniform_row(word));
        let mut candidates = vec![first];
        self.include(&[first]);
        for round in 1..=ROUNDS {
            let total: f64 = self.block_sums.iter().sum();
            let rate = k as f64 / total;
            let stream = Stream { seed: self.seed, stream: 1, tag: Tag::KmeansSeeding, sub: round };
            let restart = self.restart;
            let drawn: Vec<u32> = (0..self.points.rows.div_ceil(2) as u32)
                .into_par_iter()
                .flat_map_iter(|pair| {
                    words64(stream.block(pair, restart)).into_iter().zip([2 * pair, 2 * pair + 1])
                })
                .filter(|&(word, row)| {
                    let row = row as usize;
                    row < self.points.rows
                        && uniform(word) < rate * f64::from(self.nearest[row / PANEL][row % PANEL])
                })
                .map(|(_, row)| row)
                .collect();
            if total > 0.0 {
                self.include(&drawn);
                candidates.extend(drawn);
            }
        }
        let mut words = self.words(1);
        while candidates.len() < k {
            let word = words.next().unwrap_or(0);
            candidates.push(self.uniform_row(word));
        }
        self.reduce(&candidates, k)
    }

    /// Plain k-means++ among candidates, each of which counts for the points nearest to it.
    fn reduce(&self, candidates: &[u32], k: usize) -> Vec<u32> {
        let rows: Vec<&[f32]> = candidates.iter().map(|&row| self.points.row(row as usize)).collect();
        let weights = self.weights(&rows);
        let mut nearest = vec![f64::INFINITY; candidates.len()];
        let mut chosen = Vec::with_capacity(k);
        for word in self.words(2).take(k) {
            let masses: Vec<f64> = if chosen.is_empty() {
                weights.clone()
            } else {
                nearest.iter().zip(&weights).map(|(squared, weight)| squared * weight).collect()
            };
            let mut rest = uniform(word) * masses.iter().sum::<f64>();
            let found = masses.iter().position(|mass| {
                rest -= mass;
                rest < 0.0
            });
            // When all candidates are taken or equal, the next one in order.
            let next = found.unwrap_or(chosen.len() % candidates.len());
            chosen.push(candidates[next]);
            nearest.par_iter_mut().zip(&rows).for_each(|(nearest, row)| {
                *nearest = nearest.min(self.simd.squared_distance(row, rows[next]));
            });
        }
        chosen
    }

    fn weights(&self, candidates: &[&[f32]]) -> Vec<f64> {
        let stride = self.points.stride;
        let coordinates: Vec<f32> = candidates.iter().flat_map(|row| row.iter().copied()).collect();
        let biases: Vec<f32> = candidates.iter().map(|row| (-0.5 * squared_norm(row)) as f32).collect();
        let nearest: Vec<[u32; PANEL]> = (0..self.panels.len())
            .into_par_iter()
            .map(|panel| {
                let mut nearest = crate::cpu::distances::Nearest::new();
                for (tile, first) in tiles(&coordinates, stride, &biases).zip((0..).step_by(ROWS)) {
                    self.simd.nearest(self.panels.panel(panel), tile, first, &mut nearest);
                }
                nearest.row
            })
            .collect();
        let mut weights = vec![0.0; candidates.len()];
        for (panel, nearest) in nearest.iter().enumerate() {
            for &row in &nearest[..self.panels.filled(panel)] {
                weights[row as usize] += 1.0;
            }
        }
        weights
    }

    /// A row in proportion to its squared distance from the centroids so far.
    fn draw(&self, word: u64) -> u32 {
        let total: f64 = self.block_sums.iter().sum();
        let mut rest = uniform(word) * total;
        for (block, sum) in self.block_sums.iter().enumerate() {
            if rest >= *sum {
                rest -= sum;
                continue;
            }
            let first = block * BLOCK * PANEL;
            let last = self.points.rows.min(first + BLOCK * PANEL);
            for row in first..last {
                rest -= f64::from(self.nearest[row / PANEL][row % PANEL]);
                if rest < 0.0 {
                    return row as u32;
                }
            }
        }
        // Rounding left nothing, or every row is a centroid already.
        self.uniform_row(word)
    }

    /// The sum of squared distances when each candidate alone were added to the centroids.
    fn potentials(&self, candidates: &[u32]) -> [f64; ROWS] {
        let (coordinates, biases) = self.rows(candidates);
        let tile = RowTile { coordinates: &coordinates, stride: self.points.stride, biases: &biases };
        let blocks: Vec<[f64; ROWS]> = self
            .nearest
            .par_chunks(BLOCK)
            .enumerate()
            .map(|(block, nearest)| {
                let mut sums = [[0.0; PANEL]; ROWS];
                let mut scores: Scores = [[0.0; PANEL]; ROWS];
                for (panel, nearest) in (block * BLOCK..).zip(nearest) {
                    self.simd.scores(self.panels.panel(panel), tile, &mut scores);
                    self.simd.add_minima(&scores, candidates.len(), nearest, &mut sums);
                }
                sums.map(|lanes| lanes.iter().sum())
            })
            .collect();
        let mut totals = [0.0; ROWS];
        for block in &blocks {
            for (total, sum) in totals.iter_mut().zip(block) {
                *total += sum;
            }
        }
        totals
    }

    fn rows(&self, rows: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let coordinates = rows.iter().flat_map(|&row| self.points.row(row as usize)).copied().collect();
        let norms = rows.iter().map(|&row| squared_norm(self.points.row(row as usize)));
        (coordinates, norms.map(|norm| (-0.5 * norm) as f32).collect())
    }

    /// Adds rows to the centroids.
    fn include(&mut self, rows: &[u32]) {
        let (coordinates, biases) = self.rows(rows);
        let (simd, panels, stride) = (self.simd, self.panels, self.points.stride);
        self.block_sums = self
            .nearest
            .par_chunks_mut(BLOCK)
            .enumerate()
            .map(|(block, nearest)| {
                let mut scores: Scores = [[0.0; PANEL]; ROWS];
                let mut sums = [0.0f64; PANEL];
                for (panel, nearest) in (block * BLOCK..).zip(nearest) {
                    for tile in tiles(&coordinates, stride, &biases) {
                        simd.scores(panels.panel(panel), tile, &mut scores);
                        for scores in &scores[..tile.biases.len()] {
                            for (nearest, score) in nearest.iter_mut().zip(scores) {
                                *nearest = nearest.min((score * -2.0).max(0.0));
                            }
                        }
                    }
                    for (sum, nearest) in sums.iter_mut().zip(nearest) {
                        *sum += f64::from(*nearest);
                    }
                }
                sums.iter().sum()
            })
            .collect();
    }
}

/// Rows in tiles of at most [`ROWS`].
pub(crate) fn tiles<'a>(
    coordinates: &'a [f32],
    stride: usize,
    biases: &'a [f32],
) -> impl Iterator<Item = RowTile<'a>> {
    coordinates.chunks(ROWS * stride).zip(biases.chunks(ROWS)).map(move |(coordinates, biases)| RowTile {
        coordinates,
        stride,
        biases,
    })
}
