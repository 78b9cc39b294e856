//! The corpus: any run by its index, computed on its own.

use std::fmt;

use crate::catalogue::{self, BATCH_SIZE, LEARNING_RATE, SEED};
use crate::config::{CorpusConfig, CorpusError};
use crate::effects::{self, Truth};
use crate::experiment::{self, Experiment, Place};
use crate::series::{Series, Source};
use crate::shape::{Cadence, Course, Resumed, Shape};
use crate::stream::{Purpose, Stream};

/// A synthetic corpus: any number of runs with known truth, none of which is kept in memory.
///
/// Its experiments are (a few kB each). The index of a run says nothing about its id or its time.
#[derive(Debug)]
pub struct Corpus {
    config: CorpusConfig,
    experiments: Vec<Experiment>,
}

/// How a run ended, in MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunStatus {
    /// Still running; there is no end time.
    Running,
    /// Ran to its end.
    Finished,
    /// Ended by an error.
    Failed,
    /// Ended by someone.
    Killed,
}

impl RunStatus {
    /// `RUNNING`, `FINISHED`, `FAILED` or `KILLED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One run: what a client would have logged, and what is true about it.
#[derive(Debug, Clone)]
pub struct SyntheticRun {
    /// Place in the corpus.
    pub index: u64,
    /// 32 lowercase hex digits, random.
    pub id: String,
    /// Project's name.
    pub project: String,
    /// Experiment's name, unique in the corpus.
    pub experiment: String,
    /// Run's name; only exact duplicates share it.
    pub name: String,
    /// Who started it.
    pub user: String,
    /// How it ended.
    pub status: RunStatus,
    /// Where it ran.
    pub host: String,
    /// Start in µs since 1970 UTC.
    pub start_us: i64,
    /// End in µs since 1970 UTC, not before the last point; `None` while running.
    pub end_us: Option<i64>,
    /// Params by key, 20 to 59 of them, `train.seed` included.
    pub params: Vec<(String, String)>,
    /// Tags by key, 4 to 8 of them.
    pub tags: Vec<(String, String)>,
    /// Truth: `val/loss` at the last step, if the run gets there and does not diverge.
    pub final_val_loss: f64,
    /// Truth: losses and norms end in Inf and NaN.
    pub diverged: bool,
    /// Truth: stopped and resumed in place, so that some steps were logged twice.
    pub resumed: bool,
    /// Truth: the index of the earlier run whose params, seed included, and values this one repeats.
    pub duplicate_of: Option<u64>,
    source: Source,
}

impl SyntheticRun {
    /// The series of the run, computed one at a time.
    pub fn metrics(&self) -> Series<'_> {
        Series::new(&self.source)
    }

    /// Number of points of all series, without computing them.
    pub fn point_count(&self) -> u64 {
        let Source { shape, course, .. } = &self.source;
        shape.train * Cadence::ALWAYS.points(course)
            + shape.layers * Cadence::GRADIENTS.points(course)
            + shape.eval * Cadence::evaluation(shape).points(course)
            + shape.system_keys() * course.samples(shape)
    }

    /// The value of a param.
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

impl Corpus {
    /// A corpus of this size and seed.
    ///
    /// # Errors
    /// [`CorpusError`] if the numbers of the configuration do not fit together.
    pub fn new(config: CorpusConfig) -> Result<Self, CorpusError> {
        config.check()?;
        let experiments = experiment::all(&config);
        Ok(Self { config, experiments })
    }

    /// As given to [`Corpus::new`].
    pub fn config(&self) -> &CorpusConfig {
        &self.config
    }

    /// Number of runs.
    pub fn len(&self) -> u64 {
        self.config.runs
    }

    /// Never true: a corpus has at least one run.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a correct analysis finds.
    pub fn truth(&self) -> Truth {
        Truth::new()
    }

    /// (experiment, project, number of runs), largest experiments first.
    pub fn experiments(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.experiments.iter().map(|experiment| (&*experiment.name, &*experiment.project, experiment.runs))
    }

    /// All runs by index.
    pub fn runs(&self) -> impl Iterator<Item = SyntheticRun> {
        (0..self.len()).map(|index| self.run(index))
    }

    /// The first runs, up to the one with which they have at least so many points together.
    pub fn runs_with_points(&self, wanted: u64) -> impl Iterator<Item = SyntheticRun> {
        let mut points = 0;
        self.runs().take_while(move |run| {
            let is_wanted = points < wanted;
            points += run.point_count();
            is_wanted
        })
    }

    /// The run with this index.
    ///
    /// # Panics
    /// If `index` is not below [`Corpus::len`], as with a slice.
    pub fn run(&self, index: u64) -> SyntheticRun {
        assert!(index < self.len(), "run {index} of a corpus of {}", self.len());
        let experiment = &self.experiments[self.experiments.partition_point(|e| e.first <= index) - 1];
        let original = self.original(experiment, index);
        let place = experiment.place(original - experiment.first);
        let (params, shape) = self.configuration(experiment, place);
        let look_up =
            |key: &str| params.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str());
        let number = |key: &str| look_up(key).and_then(|text| text.parse().ok()).unwrap_or(1.0);
        let (learning_rate, batch_size): (f64, f64) = (number(LEARNING_RATE), number(BATCH_SIZE));

        // What an exact duplicate shares with the run it repeats …
        let mut luck = Stream::new(self.config.seed, Purpose::SeedNoise, original);
        let noise = effects::SEED_NOISE_SD * luck.normal();
        let final_val_loss = experiment.base_loss * libm::exp(effects::total(look_up) + noise);
        let diverges = luck.chance(if learning_rate > 0.03 { 0.1 } else { 0.015 });
        let diverges_at = (0.75 + 0.2 * luck.uniform()) * shape.logged as f64;

        // … and what it does not.
        let mut stream = Stream::new(self.config.seed, Purpose::Run, index);
        let _duplicate = stream.bits();
        let status = match stream.below(100) {
            0..80 => RunStatus::Finished,
            80..90 => RunStatus::Failed,
            90..96 => RunStatus::Killed,
            _ => RunStatus::Running,
        };
        let reached = match status {
            RunStatus::Finished => shape.logged,
            _ => ((0.05 + 0.9 * stream.uniform()) * shape.logged as f64) as u64,
        };
        let reached = reached.max(1);
        let resumed = stream.chance(0.05).then(|| resume(reached, &mut stream)).flatten();
        let diverges_at = Some(diverges_at as u64).filter(|at| diverges && *at < reached);
        let course = Course { reached, resumed, diverges_at };
        let opened = experiment.opens_ms + stream.below(experiment.open_for_ms);
        let start_ms = self.config.first_start_us.div_euclid(1000) + opened as i64;
        let end_ms = start_ms + course.lasts_ms(&shape) as i64 + stream.between(100, 60_000) as i64;
        let user = if stream.chance(0.8) { experiment.owner } else { *stream.pick(&catalogue::USERS) };
        let host = format!("gpu-{:03}", stream.below(200));
        let tags = tags(experiment, &mut stream);

        let Place { configuration, seed } = place;
        let name = format!("{}-c{configuration}-s{seed}", experiment.name);
        let mut params: Vec<(String, String)> =
            params.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let at = params.partition_point(|(key, _)| key.as_str() < SEED);
        params.insert(at, (SEED.to_owned(), seed.to_string()));
        let mut ids = Stream::new(self.config.seed, Purpose::Id, index);
        SyntheticRun {
            index,
            id: format!("{:016x}{:016x}", ids.bits(), ids.bits()),
            project: experiment.project.to_string(),
            experiment: experiment.name.to_string(),
            name,
            user: user.to_owned(),
            status,
            host,
            start_us: start_ms * 1000,
            end_us: (status != RunStatus::Running).then_some(end_ms * 1000),
            params,
            tags,
            final_val_loss,
            diverged: diverges_at.is_some(),
            resumed: resumed.is_some(),
            duplicate_of: (original != index).then_some(original),
            source: Source {
                seed: self.config.seed,
                run: original,
                times_of: index,
                start_ms,
                final_loss: final_val_loss,
                learning_rate,
                batch_size,
                shape,
                course,
            },
        }
    }

    /// The run that this one repeats, or itself: one in fifty repeats the one before it in its experiment.
    fn original(&self, experiment: &Experiment, mut index: u64) -> u64 {
        let repeats = |index| Stream::new(self.config.seed, Purpose::Run, index).chance(0.02);
        while index > experiment.first && repeats(index) {
            index -= 1;
        }
        index
    }

    fn configuration(&self, experiment: &Experiment, place: Place) -> (Vec<(&'static str, String)>, Shape) {
        // There are fewer configurations than runs, so the sum belongs to this experiment alone.
        let number = experiment.first + place.configuration;
        let mut stream = Stream::new(self.config.seed, Purpose::Configuration, number);
        let shape = Shape::new(&self.config, &mut stream);
        (experiment.params(&mut stream), shape)
    }
}

/// Where a run stopped and went on; `None` for one that is too short for that.
fn resume(reached: u64, stream: &mut Stream) -> Option<Resumed> {
    if reached < 8 {
        return None;
    }
    let stopped = stream.between(reached * 2 / 5, reached * 4 / 5);
    let back = stream.between(1, (stopped / 5).max(1));
    Some(Resumed { stopped, from: stopped - back, gap_ms: stream.between(60_000, 12 * 3_600_000) })
}

fn tags(experiment: &Experiment, stream: &mut Stream) -> Vec<(String, String)> {
    let mut more = catalogue::MORE_TAGS;
    stream.shuffle(&mut more);
    let count = stream.below(more.len() as u64 + 1) as usize;
    let mut tags = vec![
        ("gpu_type", *stream.pick(&catalogue::GPU_TYPES)),
        ("owner", experiment.owner),
        ("stage", *stream.pick(&catalogue::STAGES)),
        ("team", experiment.team),
    ];
    tags.extend(more[..count].iter().map(|(key, values)| (*key, *stream.pick(values))));
    tags.sort_unstable();
    tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
