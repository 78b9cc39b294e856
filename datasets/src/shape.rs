//! How long a run is, which metrics it logs and when: everything about its series but the values.

use crate::catalogue::{EVAL_KEYS, GPU_KEYS, HOST_KEYS, TRAIN_KEYS};
use crate::config::{CorpusConfig, MetricMix};
use crate::stream::Stream;

/// Gradient norms are logged every tenth time.
pub(crate) const GRADIENT_EVERY: u64 = 10;
const MOST_KEYS: u64 = 152;
const MOST_LAYERS: u64 = 120;
const MOST_LOGGED: u64 = 60_000;
/// Points of system metrics for each point of `train/*`: 16 % against 57 % of all.
const SYSTEM_RATIO: f64 = 0.16 / 0.57;
/// Layers for each `train/*` key, so that gradient norms have 25 % of the points.
const LAYERS_RATIO: f64 = 0.25 / 0.57 * GRADIENT_EVERY as f64;

/// What the runs of one configuration log when they run to their end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Number of `train/*`, `grad_norm/*` and `val/*` or `test/*` keys.
    pub(crate) train: u64,
    pub(crate) layers: u64,
    pub(crate) eval: u64,
    /// Number of GPUs that are watched; `None` when system metrics are not logged at all.
    pub(crate) gpus: Option<u64>,
    /// How many times `train/*` is logged, and how many steps lie between.
    pub(crate) logged: u64,
    pub(crate) stride: u64,
    /// `val/*` is logged every so many times, and the last time.
    pub(crate) eval_every: u64,
    /// From one logging to the next, and between two samples of the system metrics.
    pub(crate) logging_ms: u64,
    pub(crate) sampling_ms: u64,
}

impl Shape {
    pub(crate) fn new(config: &CorpusConfig, stream: &mut Stream) -> Self {
        match config.metrics {
            MetricMix::Summary => Self {
                train: 1,
                layers: 0,
                eval: 2,
                gpus: None,
                // 3.3 on average, 3 after some runs are cut short.
                logged: *stream.pick(&[1, 2, 3, 4, 5, 5]),
                stride: *stream.pick(&[100, 500, 1000]),
                eval_every: 1,
                logging_ms: stream.between(60_000, 1_200_000),
                sampling_ms: 60_000,
            },
            MetricMix::Full => Self::full(config.points_per_run_median, stream),
        }
    }

    fn full(median: u64, stream: &mut Stream) -> Self {
        let relative = relative_points(stream.uniform());
        // Very long runs belong to large models with many keys.
        let train = if relative > 30.0 { 12 } else { stream.between(4, 12) };
        let gpus = *stream.pick(&[1, 1, 1, 2, 2, 2, 4, 4, 8]);
        let eval = stream.between(3, EVAL_KEYS.len() as u64);
        let system = gpus * GPU_KEYS.len() as u64 + HOST_KEYS.len() as u64;
        let spread = libm::exp(0.5 * stream.normal());
        let room = (MOST_KEYS - train - eval - system).min(MOST_LAYERS);
        let layers = match stream.chance(0.1) {
            true => 0,
            false => (LAYERS_RATIO * train as f64 * spread) as u64,
        };
        let layers = if relative > 30.0 { room } else { layers.min(room) };
        let eval_every = *stream.pick(&[10, 10, 10, 20, 20, 50]);

        let points_a_logging = train as f64 * (1.0 + SYSTEM_RATIO)
            + layers as f64 / GRADIENT_EVERY as f64
            + eval as f64 / eval_every as f64;
        let logged = (median as f64 * relative / points_a_logging) as u64;
        let logged = logged.clamp(2, MOST_LOGGED);
        let sampling_ms = *stream.pick(&[15_000, 30_000, 60_000]);
        let samples = SYSTEM_RATIO * (train * logged) as f64 / system as f64;
        let logging_ms = (samples * sampling_ms as f64 / logged as f64) as u64;
        Self {
            train,
            layers,
            eval,
            gpus: Some(gpus),
            logged,
            stride: *stream.pick(&[1, 10, 50, 100]),
            eval_every,
            logging_ms,
            sampling_ms,
        }
    }

    /// The keys of the system metrics, in order: those of the host, then those of each GPU.
    pub(crate) fn system_keys(&self) -> u64 {
        self.gpus.map_or(0, |gpus| HOST_KEYS.len() as u64 + gpus * GPU_KEYS.len() as u64)
    }

    /// Number of metric keys.
    pub(crate) fn keys(&self) -> u64 {
        debug_assert!(self.train <= TRAIN_KEYS.len() as u64 && self.eval <= EVAL_KEYS.len() as u64);
        self.train + self.layers + self.eval + self.system_keys()
    }
}

/// Quantile function of the points of a run over their median: linear between knots in ln(points), against the
/// probability below the median and against -ln(1 - probability) above it, which makes each piece a power law.
fn relative_points(probability: f64) -> f64 {
    // (place, points over median): the 0, 5 and 50 % quantiles, then 50, 95, 99 and 99.99 %.
    const BELOW: [(f64, f64); 3] = [(0.0, 0.13), (0.05, 0.36), (0.5, 1.0)];
    const ABOVE: [(f64, f64); 4] =
        [(std::f64::consts::LN_2, 1.0), (2.9957, 7.3), (4.6052, 34.0), (9.2103, 325.0)];
    let between = |knots: &[(f64, f64)], place: f64| {
        let upper =
            knots.iter().position(|knot| place < knot.0).unwrap_or(knots.len()).clamp(1, knots.len() - 1);
        let ((x0, y0), (x1, y1)) = (knots[upper - 1], knots[upper]);
        let share = ((place - x0) / (x1 - x0)).clamp(0.0, 1.0);
        libm::exp(libm::log(y0) + share * (libm::log(y1) - libm::log(y0)))
    };
    match probability < 0.5 {
        true => between(&BELOW, probability),
        false => between(&ABOVE, -libm::log(1.0 - probability)),
    }
}

/// What one run made of its shape: how far it came and what happened on the way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// Number of loggings reached, from 1 to `Shape::logged`.
    pub(crate) reached: u64,
    pub(crate) resumed: Option<Resumed>,
    /// The logging from which losses and norms are no longer finite.
    pub(crate) diverges_at: Option<u64>,
}

/// A run that stopped after `stopped` loggings and went on from `from`, before that, after a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resumed {
    pub(crate) stopped: u64,
    pub(crate) from: u64,
    pub(crate) gap_ms: u64,
}

impl Course {
    /// The loggings of the first attempt and, if the run was resumed, of the second.
    pub(crate) fn attempts(&self) -> [std::ops::Range<u64>; 2] {
        match self.resumed {
            Some(resumed) => [0..resumed.stopped, resumed.from..self.reached],
            None => [0..self.reached, 0..0],
        }
    }

    /// Number of loggings of both attempts.
    pub(crate) fn visits(&self) -> u64 {
        self.attempts().iter().map(|attempt| attempt.end - attempt.start).sum()
    }

    /// Wall time of both attempts, without the gap.
    pub(crate) fn busy_ms(&self, shape: &Shape) -> u64 {
        self.visits() * shape.logging_ms
    }

    /// Wall time from start to end.
    pub(crate) fn lasts_ms(&self, shape: &Shape) -> u64 {
        self.busy_ms(shape) + self.resumed.map_or(0, |resumed| resumed.gap_ms)
    }

    /// Number of samples of each system metric.
    pub(crate) fn samples(&self, shape: &Shape) -> u64 {
        self.busy_ms(shape) / shape.sampling_ms + 1
    }
}

/// Which loggings a series takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cadence {
    /// Those with `logging % every == phase` …
    pub(crate) every: u64,
    pub(crate) phase: u64,
    /// … and this one.
    pub(crate) also: Option<u64>,
}

impl Cadence {
    pub(crate) const ALWAYS: Self = Self { every: 1, phase: 0, also: None };
    pub(crate) const GRADIENTS: Self = Self { every: GRADIENT_EVERY, phase: 0, also: None };

    pub(crate) fn evaluation(shape: &Shape) -> Self {
        Self { every: shape.eval_every, phase: shape.eval_every - 1, also: Some(shape.logged - 1) }
    }

    pub(crate) fn includes(self, logging: u64) -> bool {
        logging % self.every == self.phase || self.also == Some(logging)
    }

    /// How many loggings of the range it includes.
    fn count(self, range: std::ops::Range<u64>) -> u64 {
        let regular = |end: u64| (end + self.every - 1 - self.phase) / self.every;
        let also = self.also.filter(|also| range.contains(also) && also % self.every != self.phase);
        regular(range.end) - regular(range.start) + u64::from(also.is_some())
    }

    /// How many points a run with this course has in such a series.
    pub(crate) fn points(self, course: &Course) -> u64 {
        course.attempts().into_iter().map(|attempt| self.count(attempt)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counting_agrees_with_including(every in 1_u64..60, phase in 0_u64..60, start in 0_u64..200, length in 0_u64..200, also in 0_u64..400) {
            let cadence = Cadence { every, phase: phase % every, also: Some(also) };
            let range = start..start + length;
            let counted = range.clone().filter(|logging| cadence.includes(*logging)).count() as u64;
            prop_assert_eq!(cadence.count(range), counted);
        }

        #[test]
        fn more_probability_is_never_fewer_points(low in 0.0_f64..1.0, high in 0.0_f64..1.0) {
            let (low, high) = (low.min(high), low.max(high));
            prop_assert!(relative_points(low) <= relative_points(high) * (1.0 + 1e-12));
        }
    }

    #[test]
    fn quantiles_meet_their_knots() {
        for (probability, wanted) in
            [(0.0, 0.13), (0.05, 0.36), (0.5, 1.0), (0.95, 7.3), (0.99, 34.0), (0.9999, 325.0)]
        {
            let found = relative_points(probability);
            assert!((found / wanted - 1.0).abs() < 1e-3, "{probability}: {found}");
        }
        assert!(relative_points(1.0 - 1e-16) <= 325.1);
    }
}
