//! Batches as training jobs send them, always the same for the same seed.

use model::{MetricName, Point, PointBatch, PointColumns, RunId, SeriesPoints};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::error::Result;

/// How many points a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One log call of a training loop, unbuffered: 4 to 140 points, 11 in the mean.
    Small,
    /// A client that gathers: 1,000 points.
    Buffered,
    /// Between 1 and 1,000, each order of magnitude alike.
    Mixed,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Small, Self::Buffered, Self::Mixed];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Buffered => "buffered",
            Self::Mixed => "mixed",
        }
    }

    fn points(self, random: &mut ChaCha8Rng) -> usize {
        let unit = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        match self {
            // 4 and more, falling off exponentially; the cut at 140 hardly moves the mean.
            Self::Small => (4.0 - 7.0 * (1.0 - unit).ln()).min(140.0) as usize,
            Self::Buffered => 1000,
            Self::Mixed => 1000_f64.powf(unit) as usize,
        }
    }
}

/// Endless batches of one run.
#[derive(Debug)]
pub struct Batches {
    run: RunId,
    shape: Shape,
    random: ChaCha8Rng,
    metrics: Vec<MetricName>,
    step: i64,
}

/// Metrics that a run logs at each step.
const METRICS: usize = 12;
/// Microseconds between two steps.
const STEP_MICROS: i64 = 250_000;
const START_MICROS: i64 = 1_780_000_000_000_000;

impl Batches {
    /// The batches of a run.
    ///
    /// # Errors
    /// None in practice: the names are fixed and valid.
    pub fn new(run: RunId, shape: Shape, seed: u64) -> Result<Self> {
        let names = (0..METRICS * 12).map(|metric| MetricName::new(format!("train/metric-{metric}")));
        Ok(Self {
            run,
            shape,
            random: ChaCha8Rng::seed_from_u64(seed),
            metrics: names.collect::<std::result::Result<_, _>>()?,
            step: 0,
        })
    }

    /// The next batch.
    ///
    /// # Errors
    /// None in practice: a batch has at least one point and at most a thousand.
    pub fn next_batch(&mut self) -> Result<PointBatch> {
        let points = self.shape.points(&mut self.random).max(1);
        // A log call brings one point of each metric; a client that gathers brings several steps of a dozen.
        let series = match self.shape {
            Shape::Small => points,
            _ => points.min(METRICS),
        };
        let mut parts = Vec::with_capacity(series);
        for (index, metric) in self.metrics.iter().take(series).enumerate() {
            let count = points / series + usize::from(index < points % series);
            let mut columns = PointColumns::with_capacity(count);
            for step in self.step..self.step + count as i64 {
                // Half of the values are exact in 32 bits, as training loops log them.
                let value = (1.0 + (self.random.next_u32() >> 8) as f32 / 16_777_216.0) / (step + 2) as f32;
                let time = START_MICROS + step * STEP_MICROS;
                columns.push(Point { step, step_fraction: None, time, value: f64::from(value) });
            }
            parts.push(SeriesPoints {
                run: self.run,
                metric: metric.clone(),
                context: None,
                attempt: 0,
                points: columns,
            });
        }
        self.step += (points.div_ceil(series)) as i64;
        Ok(PointBatch::new(parts)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_sizes_they_say() {
        for (shape, low, high, mean) in [
            (Shape::Small, 4, 140, 9.5..12.0),
            (Shape::Buffered, 1000, 1000, 999.0..1001.0),
            (Shape::Mixed, 1, 1000, 120.0..170.0),
        ] {
            let mut batches = Batches::new(RunId::from_u128(1), shape, 7).unwrap();
            let counts: Vec<usize> = (0..4000).map(|_| batches.next_batch().unwrap().point_count()).collect();
            assert!(counts.iter().all(|count| (low..=high).contains(count)), "{shape:?}");
            let found = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
            assert!(mean.contains(&found), "{shape:?}: {found}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_batches() {
        let make = || {
            let mut batches = Batches::new(RunId::from_u128(1), Shape::Mixed, 3).unwrap();
            (0..20).map(|_| batches.next_batch().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(make(), make());
    }
}
