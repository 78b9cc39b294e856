//! Where runs come from: distributions of known shape, and pools of real runs.

use crate::draws::Draws;

/// A distribution of a final metric over seeds, with mean 0 and standard deviation 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Normal.
    Normal,
    /// The exponential of a normal value, long to the right.
    Skewed,
    /// Student's t with three degrees of freedom.
    HeavyTailed,
    /// Two kinds of outcome: one seed in four ends four standard deviations (of each kind) lower.
    Bimodal,
    /// Normal, and the candidate has three times the baseline's standard deviation: not the same recipe twice, so that
    /// no method needs to keep its level here but one that is to decide about means.
    UnequalSpread,
}

impl Shape {
    /// A value, with mean 0 and standard deviation 1.
    fn draw(self, draws: &mut Draws) -> f64 {
        match self {
            Self::Normal | Self::UnequalSpread => draws.normal(),
            Self::Skewed => {
                let e = std::f64::consts::E;
                (draws.normal().exp() - e.sqrt()) / ((e - 1.0) * e).sqrt()
            }
            Self::HeavyTailed => {
                let z = draws.normal();
                let squares: f64 = (0..3).map(|_| draws.normal().powi(2)).sum();
                z / squares.sqrt()
            }
            Self::Bimodal => {
                let lower = draws.uniform() < 0.25;
                (draws.normal() - if lower { 4.0 } else { 0.0 } + 1.0) / 2.0
            }
        }
    }
}

/// Final values of real runs that differ in their seed alone, moved to mean 0 and scaled to standard deviation 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// What they are runs of.
    pub name: String,
    values: Vec<f64>,
}

impl Pool {
    /// `None` when the values do not vary.
    pub fn new(name: String, values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        // Of the pool itself, which is what is drawn from.
        let sd = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
        let scaled = || values.iter().map(|value| (value - mean) / sd).collect();
        (sd > 0.0 && sd.is_finite()).then(|| Self { name, values: scaled() })
    }

    /// Runs in the pool.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Distinct runs as far as they reach; from a pool too small for both arms each run is drawn anew.
    fn draw(&self, draws: &mut Draws, count: usize) -> Vec<f64> {
        if self.values.len() < count {
            return (0..count).map(|_| self.values[draws.below(self.values.len())]).collect();
        }
        let mut places: Vec<usize> = (0..self.values.len()).collect();
        for i in 0..count {
            places.swap(i, i + draws.below(self.values.len() - i));
        }
        places[..count].iter().map(|place| self.values[*place]).collect()
    }
}

/// What runs are drawn from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A distribution.
    Made(Shape),
    /// Pools of real runs, which repetitions take in turn.
    Real(Vec<Pool>),
}

/// A source of runs with its name in the tables.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Its name.
    pub name: String,
    /// Which stream of random numbers it has.
    pub stream: u32,
    /// What runs are drawn from.
    pub source: Source,
}

impl World {
    /// `count` runs of the baseline and as many of the candidate, of equal mean.
    pub fn arms(&self, repetition: u32, count: usize) -> [Vec<f64>; 2] {
        let mut draws = Draws::new(self.stream, count as u32, repetition);
        match &self.source {
            Source::Made(shape) => {
                let mut arm = |scale: f64| (0..count).map(|_| scale * shape.draw(&mut draws)).collect();
                let spread = if *shape == Shape::UnequalSpread { 3.0 } else { 1.0 };
                [arm(1.0), arm(spread)]
            }
            Source::Real(pools) => {
                let mut baseline = pools[repetition as usize % pools.len()].draw(&mut draws, 2 * count);
                let candidate = baseline.split_off(count);
                [baseline, candidate]
            }
        }
    }

    /// The standard deviation of a run, over both arms.
    pub fn sd(&self) -> f64 {
        match self.source {
            Source::Made(Shape::UnequalSpread) => 5f64.sqrt(),
            _ => 1.0,
        }
    }

    /// Both arms are runs of one recipe, so that a pass is a false one.
    pub fn is_null(&self) -> bool {
        self.source != Source::Made(Shape::UnequalSpread)
    }
}

/// The made worlds.
pub fn made_worlds() -> Vec<World> {
    let worlds = [
        ("normal", Shape::Normal),
        ("skewed (lognormal)", Shape::Skewed),
        ("heavy tails (t3)", Shape::HeavyTailed),
        ("bimodal", Shape::Bimodal),
        ("unequal spread (1:3)", Shape::UnequalSpread),
    ];
    let world = |(stream, (name, shape)): (usize, (&str, Shape))| World {
        name: name.to_owned(),
        stream: stream as u32,
        source: Source::Made(shape),
    };
    worlds.into_iter().enumerate().map(world).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_values_have_mean_zero_and_the_spread_they_claim() {
        for world in made_worlds() {
            let values: Vec<f64> =
                (0..2_000).flat_map(|repetition| world.arms(repetition, 20).concat()).collect();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let sd = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
            // The variance of t3 has no variance of its own: its estimate wanders.
            assert!(mean.abs() < 0.03 && (sd / world.sd() - 1.0).abs() < 0.1, "{}: {mean} {sd}", world.name);
        }
    }

    #[test]
    fn arms_of_a_pool_share_no_run_while_it_lasts() {
        let values: Vec<f64> = (0..25).map(f64::from).collect();
        let pool = Pool::new("p".to_owned(), &values).unwrap();
        let mut drawn = pool.draw(&mut Draws::new(0, 0, 3), 24);
        drawn.sort_unstable_by(f64::total_cmp);
        drawn.dedup();
        assert_eq!(drawn.len(), 24);
        assert_eq!(pool.draw(&mut Draws::new(0, 0, 3), 40).len(), 40);
        assert!(Pool::new("constant".to_owned(), &[1.0; 5]).is_none());
    }
}
