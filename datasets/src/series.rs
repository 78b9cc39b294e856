//! The points of a run: steps, times and values of each metric.

use crate::catalogue::{EVAL_KEYS, GPU_KEYS, HOST_KEYS, TRAIN_KEYS};
use crate::shape::{Cadence, Course, Resumed, Shape};
use crate::stream::{Purpose, Stream};

/// One metric of one run, in the order of logging: three columns of equal length.
///
/// A resumed run logs some steps again, with later times, so steps may fall back once.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticSeries {
    /// The metric's name, such as `val/loss`.
    pub key: String,
    /// Steps, never negative.
    pub steps: Vec<i64>,
    /// Times in µs since 1970 UTC, whole milliseconds, never falling.
    pub times_us: Vec<i64>,
    /// Values; NaN and +Inf occur.
    pub values: Vec<f64>,
}

/// All that the values of a run depend on.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) seed: u64,
    /// The run whose random numbers are used: the run itself, or the one that it repeats exactly.
    pub(crate) run: u64,
    pub(crate) times_of: u64,
    pub(crate) start_ms: i64,
    pub(crate) final_loss: f64,
    pub(crate) learning_rate: f64,
    pub(crate) batch_size: f64,
    pub(crate) shape: Shape,
    pub(crate) course: Course,
}

/// Iterator over the series of one run, one metric at a time; made by [`SyntheticRun::metrics`].
///
/// [`SyntheticRun::metrics`]: crate::SyntheticRun::metrics
#[derive(Debug)]
pub struct Series<'run> {
    source: &'run Source,
    /// (logging, time in µs) of every visit, shared by all series but the system's.
    visits: Vec<(u64, i64)>,
    next: u64,
}

impl<'run> Series<'run> {
    pub(crate) fn new(source: &'run Source) -> Self {
        let Source { shape, course, .. } = source;
        let mut stream = Stream::new(source.seed, Purpose::Times, source.times_of);
        let jitter_ms = shape.logging_ms / 4;
        let mut visits = Vec::with_capacity(course.visits() as usize);
        let mut gap_ms = 0;
        for attempt in course.attempts() {
            for logging in attempt {
                let jitter = if jitter_ms == 0 { 0 } else { stream.below(jitter_ms) };
                let after = gap_ms + visits.len() as u64 * shape.logging_ms + jitter;
                visits.push((logging, (source.start_ms + after as i64) * 1000));
            }
            gap_ms = course.resumed.map_or(0, |resumed| resumed.gap_ms);
        }
        Self { source, visits, next: 0 }
    }

    fn logged(
        &self,
        key: String,
        cadence: Cadence,
        mut curve: impl FnMut(&Moment) -> f64,
    ) -> SyntheticSeries {
        let Source { shape, course, .. } = self.source;
        let points = cadence.points(course) as usize;
        let mut series = SyntheticSeries {
            key,
            steps: Vec::with_capacity(points),
            times_us: Vec::with_capacity(points),
            values: Vec::with_capacity(points),
        };
        let whole = shape.logged as f64;
        for &(logging, time_us) in &self.visits {
            if cadence.includes(logging) {
                let moment = Moment { logging, progress: (logging + 1) as f64 / whole };
                series.steps.push((logging * shape.stride) as i64);
                series.times_us.push(time_us);
                series.values.push(curve(&moment));
            }
        }
        series
    }

    fn train(&self, number: u64, mut stream: Stream) -> SyntheticSeries {
        let key = TRAIN_KEYS[number as usize];
        let Source { final_loss, learning_rate, batch_size, ref shape, .. } = *self.source;
        let descent = Descent::new(final_loss * 0.9, &mut stream);
        let level = 0.2 + 2.0 * stream.uniform();
        let fragile = self.fragile();
        let tokens = batch_size * shape.stride as f64 * 512.0;
        // Clients log these from float32 tensors; the counter and the schedule are Python numbers.
        let series = |curve: &mut dyn FnMut(&Moment) -> f64| {
            self.logged(key.to_owned(), Cadence::ALWAYS, |moment| f64::from(curve(moment) as f32))
        };
        match key {
            "train/loss" => series(&mut |moment| {
                let noise = stream.noise();
                fragile.value(moment, &mut stream, descent.at(moment.progress) * (1.0 + 0.04 * noise))
            }),
            "train/lr" => self.logged(key.to_owned(), Cadence::ALWAYS, |moment| {
                // Linear warm-up over 5 %, then a parabola down to a tenth.
                let left = 1.0 - moment.progress;
                learning_rate * (moment.progress * 20.0).min(0.1 + 0.9 * left * left)
            }),
            "train/acc" => series(&mut |moment| {
                let loss = descent.at(moment.progress);
                (1.0 / (1.0 + 0.5 * loss) + 0.01 * stream.noise()).clamp(0.0, 1.0)
            }),
            "train/tokens" => {
                self.logged(key.to_owned(), Cadence::ALWAYS, |moment| tokens * (moment.logging + 1) as f64)
            }
            "train/tokens_per_second" | "train/step_seconds" => {
                series(&mut |_| 1000.0 * level * (1.0 + 0.05 * stream.noise()))
            }
            "train/param_norm" => series(&mut |moment| 10.0 * level * (1.0 + moment.progress)),
            _ => series(&mut |moment| {
                let noise = stream.noise();
                let value = level * (1.0 + 2.0 / (1.0 + 30.0 * moment.progress)) * (1.0 + 0.15 * noise);
                fragile.value(moment, &mut stream, value)
            }),
        }
    }

    fn gradient_norm(&self, layer: u64, mut stream: Stream) -> SyntheticSeries {
        let level = 0.01 + stream.uniform() * 2.0 / (1.0 + layer as f64 * 0.1);
        let fragile = self.fragile();
        self.logged(format!("grad_norm/layers.{layer}.weight"), Cadence::GRADIENTS, |moment| {
            let noise = stream.noise();
            let value = level * (1.0 + 3.0 / (1.0 + 40.0 * moment.progress)) * (1.0 + 0.2 * noise);
            f64::from(fragile.value(moment, &mut stream, value) as f32)
        })
    }

    fn evaluation(&self, number: u64, mut stream: Stream) -> SyntheticSeries {
        let key = EVAL_KEYS[number as usize];
        let Source { final_loss, ref shape, ref course, .. } = *self.source;
        // The same loss under every key of a split: a stream of the split, not of the key.
        let split = if key.starts_with("val/") { 1.0 } else { 1.0 + 0.02 * stream.noise() };
        let descent = Descent::new(final_loss * split, &mut stream);
        let wobble = 0.05 * stream.uniform();
        let name = key.rsplit('/').next().unwrap_or(key);
        self.logged(key.to_owned(), Cadence::evaluation(shape), |moment| {
            let noise = if moment.logging + 1 == shape.logged { 0.0 } else { stream.noise() };
            let loss = descent.at(moment.progress) * (1.0 + 0.02 * noise);
            let diverged = course.diverges_at.is_some_and(|at| moment.logging >= at);
            match name {
                "loss" if diverged => f64::INFINITY,
                "perplexity" if diverged => f64::INFINITY,
                "loss" => loss,
                "perplexity" => libm::exp(loss),
                _ if diverged => 0.0,
                "calibration_error" => 0.02 + wobble * loss / (1.0 + loss),
                _ => 1.0 / (1.0 + 0.5 * loss),
            }
        })
    }

    fn system(&self, number: u64, mut stream: Stream) -> SyntheticSeries {
        let Source { start_ms, ref shape, ref course, .. } = *self.source;
        let samples = course.samples(shape);
        let host = HOST_KEYS.len() as u64;
        let (key, kind) = match HOST_KEYS.get(number as usize) {
            Some(key) => ((*key).to_owned(), *key),
            None => {
                let gpus = GPU_KEYS.len() as u64;
                let kind = GPU_KEYS[((number - host) % gpus) as usize];
                (format!("system/gpu.{}.{kind}", (number - host) / gpus), kind)
            }
        };
        let level = stream.uniform();
        let mut total = 0.0;
        let mut value = || match kind {
            "util" | "system/cpu.util" | "system/disk.util" => {
                tenths((20.0 + 75.0 * level + 6.0 * stream.noise()).clamp(0.0, 100.0))
            }
            "memory_gb" | "system/memory_gb" => tenths(10.0 + 65.0 * level + 0.05 * stream.noise()),
            "temperature_c" => (45.0 + 30.0 * level + 2.0 * stream.noise()).round(),
            "power_w" => tenths(150.0 + 450.0 * level + 15.0 * stream.noise()),
            _ => {
                total += 5.0 + 50.0 * level * (1.0 + 0.2 * stream.noise());
                tenths(total)
            }
        };
        // The gap of a resumed run has no samples.
        let stop_ms = course.resumed.map_or(u64::MAX, |Resumed { stopped, .. }| stopped * shape.logging_ms);
        let gap_ms = course.resumed.map_or(0, |resumed| resumed.gap_ms);
        let time_us = |sample: u64| {
            let busy_ms = sample * shape.sampling_ms;
            let after_ms = if busy_ms >= stop_ms { busy_ms + gap_ms } else { busy_ms };
            (start_ms + after_ms as i64) * 1000
        };
        SyntheticSeries {
            key,
            steps: (0..samples as i64).collect(),
            times_us: (0..samples).map(time_us).collect(),
            values: (0..samples).map(|_| value()).collect(),
        }
    }

    fn fragile(&self) -> Fragile {
        let Course { diverges_at, .. } = self.source.course;
        let inf_from = diverges_at.unwrap_or(u64::MAX);
        // The last eighth of what follows is NaN.
        let tail = self.source.shape.logged.saturating_sub(inf_from);
        Fragile { inf_from, nan_from: inf_from.saturating_add(tail - tail / 8) }
    }
}

impl Iterator for Series<'_> {
    type Item = SyntheticSeries;

    fn next(&mut self) -> Option<SyntheticSeries> {
        let Source { shape, seed, run, .. } = self.source;
        loop {
            let number = self.next;
            if number >= shape.keys() {
                return None;
            }
            self.next += 1;
            let stream = Stream::new(*seed, Purpose::Series, *run << 16 | number);
            let series = if number < shape.train {
                self.train(number, stream)
            } else if number < shape.train + shape.eval {
                self.evaluation(number - shape.train, stream)
            } else if number < shape.train + shape.eval + shape.layers {
                self.gradient_norm(number - shape.train - shape.eval, stream)
            } else {
                self.system(number - shape.train - shape.eval - shape.layers, stream)
            };
            // A run that was cut short before its first evaluation has no such series.
            if !series.values.is_empty() {
                return Some(series);
            }
        }
    }
}

/// Where a run stands at one logging: its number, and the share of the whole, in (0, 1].
struct Moment {
    logging: u64,
    progress: f64,
}

/// A loss that falls from a multiple of its final value, like 1 / time, and ends exactly there.
struct Descent {
    last: f64,
    drop: f64,
    speed: f64,
}

impl Descent {
    fn new(last: f64, stream: &mut Stream) -> Self {
        Self { last, drop: last * (1.0 + 3.0 * stream.uniform()), speed: 5.0 + 40.0 * stream.uniform() }
    }

    fn at(&self, progress: f64) -> f64 {
        // (1 - p) / (1 + speed p) is 1 at the start and 0 at the end.
        self.last + self.drop * (1.0 - progress) / (1.0 + self.speed * progress)
    }
}

/// Values that overflow when a run diverges, and that are NaN now and then for no reason.
#[derive(Clone, Copy)]
struct Fragile {
    inf_from: u64,
    nan_from: u64,
}

impl Fragile {
    const NAN_SHARE: f64 = 0.0001;

    fn value(self, moment: &Moment, stream: &mut Stream, finite: f64) -> f64 {
        if moment.logging >= self.nan_from || stream.chance(Self::NAN_SHARE) {
            f64::NAN
        } else if moment.logging >= self.inf_from {
            f64::INFINITY
        } else {
            finite
        }
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
