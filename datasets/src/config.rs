//! How large a synthetic corpus is, and the sizes that benchmarks agree on.

use thiserror::Error;

/// Which metrics a run logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricMix {
    /// 15 to 152 keys: `train/*`, `grad_norm/layers.N.weight`, `system/*`, `val/*` and `test/*`.
    Full,
    /// `train/loss`, `val/loss` and `val/acc` with 1 to 5 points each, for tests of the metadata side.
    Summary,
}

/// The size and the seed of a corpus; equal configurations give equal corpora, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusConfig {
    /// Number of runs.
    pub runs: u64,
    /// Seed of everything: ids, params, values, times.
    pub seed: u64,
    /// Number of experiments, at most `runs`; their sizes follow a power law.
    pub experiments: u32,
    /// Number of projects, at most `experiments`.
    pub projects: u32,
    /// Median number of points of a run that ran to its end, with [`MetricMix::Full`]; 5 % of the runs have more
    /// than 7 times, 1 % more than 34 times as many, and none more than about 330 times.
    pub points_per_run_median: u64,
    /// Which metrics a run logs.
    pub metrics: MetricMix,
    /// No run starts before this time, in µs since 1970 UTC.
    pub first_start_us: i64,
    /// All runs start within this many days.
    pub days: u32,
}

/// 1 January 2025.
const FIRST_START_US: i64 = 1_735_689_600_000_000;

impl CorpusConfig {
    fn full(runs: u64, experiments: u32, projects: u32, points_per_run_median: u64) -> Self {
        Self {
            runs,
            seed: 1,
            experiments,
            projects,
            points_per_run_median,
            metrics: MetricMix::Full,
            first_start_us: FIRST_START_US,
            days: 600,
        }
    }

    /// 60 runs of about 300 points in 3 experiments: for unit tests.
    pub fn tiny() -> Self {
        Self::full(60, 3, 2, 300)
    }

    /// Scale S: 1,000 runs, about 10 M points, 20 experiments, 4 projects.
    pub fn small() -> Self {
        Self::full(1_000, 20, 4, 4_600)
    }

    /// Scale M: 10,000 runs, about 100 M points, 100 experiments, 10 projects.
    pub fn medium() -> Self {
        Self::full(10_000, 100, 10, 4_600)
    }

    /// Scale L: 100,000 runs, about a billion points, 500 experiments, 30 projects.
    pub fn large() -> Self {
        Self::full(100_000, 500, 30, 4_600)
    }

    /// Scale R: a million runs with three metrics of 1 to 5 points, 2,000 experiments, 50 projects.
    pub fn registry() -> Self {
        Self { metrics: MetricMix::Summary, ..Self::full(1_000_000, 2_000, 50, 0) }
    }

    /// The same size with another seed.
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    pub(crate) fn check(&self) -> Result<(), CorpusError> {
        if self.runs == 0 || self.runs > MOST_RUNS {
            return Err(CorpusError::Runs { runs: self.runs });
        }
        if self.experiments == 0 || u64::from(self.experiments) > self.runs {
            return Err(CorpusError::Experiments { experiments: self.experiments, runs: self.runs });
        }
        if self.projects == 0 || self.projects > self.experiments {
            return Err(CorpusError::Projects { projects: self.projects, experiments: self.experiments });
        }
        if self.metrics == MetricMix::Full && !(50..=MOST_POINTS).contains(&self.points_per_run_median) {
            return Err(CorpusError::Points { points: self.points_per_run_median });
        }
        if self.days == 0 || self.days > MOST_DAYS || self.first_start_us.unsigned_abs() > MOST_START_US {
            return Err(CorpusError::Time { first_start_us: self.first_start_us, days: self.days });
        }
        Ok(())
    }
}

/// A stream number holds a run's index in its upper bits (see `stream`).
const MOST_RUNS: u64 = 1 << 40;
const MOST_POINTS: u64 = 1_000_000;
const MOST_DAYS: u32 = 100_000;
/// Year 4738, far from the end of i64 microseconds.
const MOST_START_US: u64 = 1 << 56;

/// A corpus that cannot be made as configured.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CorpusError {
    /// `runs` is 0 or too large.
    #[error("a corpus has 1 to {MOST_RUNS} runs, not {runs}")]
    Runs {
        /// As configured.
        runs: u64,
    },
    /// `experiments` is 0, or more than there are runs.
    #[error("{runs} runs cannot fill {experiments} experiments: give 1 to as many experiments as runs")]
    Experiments {
        /// As configured.
        experiments: u32,
        /// As configured.
        runs: u64,
    },
    /// `projects` is 0, or more than there are experiments.
    #[error(
        "{experiments} experiments cannot fill {projects} projects: give 1 to as many projects as experiments"
    )]
    Projects {
        /// As configured.
        projects: u32,
        /// As configured.
        experiments: u32,
    },
    /// `points_per_run_median` is out of range.
    #[error("the median number of points of a run must be 50 to {MOST_POINTS}, not {points}")]
    Points {
        /// As configured.
        points: u64,
    },
    /// `first_start_us` or `days` is out of range.
    #[error(
        "runs cannot start within {days} days from {first_start_us} µs: give 1 to {MOST_DAYS} days and a start \
         within {MOST_START_US} µs of 1970"
    )]
    Time {
        /// As configured.
        first_start_us: i64,
        /// As configured.
        days: u32,
    },
}
