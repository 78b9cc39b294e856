//! Random numbers that depend on the simulation, the world and the repetition alone.

use analysis::distributions::normal_quantile;
use kernels::rng::{Stream, Tag, uniform, words64};

/// Seed of all simulations.
const SEED: u64 = 20_261_122;

/// The random numbers of one repetition.
#[derive(Debug)]
pub struct Draws {
    stream: Stream,
    repetition: u32,
    block: u32,
    spare: Option<u64>,
}

impl Draws {
    /// Those of a repetition. `world` and `purpose` name streams that share nothing.
    pub fn new(world: u32, purpose: u32, repetition: u32) -> Self {
        let stream = Stream { seed: SEED, stream: world, tag: Tag::Other, sub: purpose };
        Self { stream, repetition, block: 0, spare: None }
    }

    fn word(&mut self) -> u64 {
        if let Some(word) = self.spare.take() {
            return word;
        }
        let [first, second] = words64(self.stream.block(self.block, self.repetition));
        self.block += 1;
        self.spare = Some(second);
        first
    }

    /// Above 0 and below 1.
    pub fn uniform(&mut self) -> f64 {
        // The middle of its cell, so that neither end comes out.
        uniform(self.word()) + 0.5f64.powi(54)
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        normal_quantile(self.uniform())
    }

    /// One of `0..count`.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.uniform() * count as f64) as usize).min(count.saturating_sub(1))
    }
}
