//! Requests, and how each is recognised in a lake.

use model::{
    Command, ExperimentName, Key, MetricName, NewRun, Note, Point, PointBatch, PointColumns, ProjectName,
    RunId, SeriesPoints, TagValue, WriterSequence,
};

use crate::random::Random;

/// One request, from the first attempt to the last.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) writer: Option<WriterSequence>,
    pub(crate) body: Body,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    Points(Vec<(u128, String, Vec<Point>)>),
    Commands(Vec<Command>),
    /// The store was told to apply the retention of projects, which deletes these runs.
    Expire(Vec<u128>),
}

impl Request {
    pub(crate) fn batch(&self) -> Option<PointBatch> {
        let Body::Points(series) = &self.body else { return None };
        let series = series.iter().map(|(run, metric, points)| {
            let mut columns = PointColumns::default();
            points.iter().for_each(|point| columns.push(*point));
            SeriesPoints {
                run: RunId::from_u128(*run),
                metric: MetricName::new(metric.clone()).unwrap(),
                context: None,
                attempt: 0,
                points: columns,
            }
        });
        Some(PointBatch::new(series.collect()).unwrap())
    }

    /// What must be found of it when it was applied.
    pub(super) fn marks(&self) -> u64 {
        match &self.body {
            Body::Points(series) => series.iter().map(|(_, _, points)| points.len() as u64).sum(),
            Body::Commands(_) => 1,
            Body::Expire(_) => 0,
        }
    }

    /// Whether it deletes runs.
    pub(super) fn deletes(&self) -> bool {
        match &self.body {
            Body::Points(_) => false,
            Body::Commands(commands) => commands
                .iter()
                .any(|command| matches!(command, Command::DeleteRuns { .. } | Command::DeleteProject { .. })),
            Body::Expire(runs) => !runs.is_empty(),
        }
    }

    /// Runs that retention deletes.
    pub(crate) fn expires(&self) -> u64 {
        if let Body::Expire(runs) = &self.body { runs.len() as u64 } else { 0 }
    }

    pub(crate) fn points(&self) -> u64 {
        if matches!(self.body, Body::Points(_)) { self.marks() } else { 0 }
    }
}

/// A value that tells its request and its place in it: small ones, large negative ones, and NaNs with a payload.
pub(super) fn value(number: u64, index: u64) -> f64 {
    let bits = number << 16 | index;
    f64::from_bits(match number % 3 {
        0 => bits,
        1 => 0xc1e0_0000_0000_0000 | bits,
        _ => 0x7ff8_0000_0000_0000 | bits,
    })
}

/// The number of the request that a value belongs to.
pub(super) fn request_of(bits: u64) -> u64 {
    (bits & 0x0000_ffff_ffff_ffff) >> 16
}

/// The request that has a number, for a lake with the runs 1 to `runs`: points mostly, else tags.
pub(crate) fn numbered_request(number: u64, runs: u128) -> Request {
    let mut random = Random::new(number);
    let run = |random: &mut Random| 1 + u128::from(random.below(runs as u64));
    let body = if let Some(body) = visit(number) {
        body
    } else if number % 7 == 3 {
        let key = Key::new(format!("key{}", random.below(4))).unwrap();
        let value = TagValue::new(number.to_string()).unwrap();
        let run = RunId::from_u128(run(&mut random));
        Body::Commands(vec![Command::SetTags { run, tags: vec![(key, value)] }, mark(number)])
    } else {
        let series = (0..1 + random.below(3)).map(|part| {
            let points = (0..1 + random.below(60)).map(|index| Point {
                step: random.below(8) as i64 - 4,
                step_fraction: None,
                time: random.below(3) as i64,
                value: value(number, part << 8 | index),
            });
            (format!("metric {part}"), points.collect::<Vec<_>>())
        });
        let series: Vec<_> = series.collect();
        Body::Points(series.into_iter().map(|(metric, points)| (run(&mut random), metric, points)).collect())
    };
    Request { number, writer: Some(WriterSequence::new("client", number).unwrap()), body }
}

/// Requests to runs that come and go: one in four of 29 makes a run, the others write to it, delete it, and write to
/// it once more, which is refused. They are so far apart that they are never on their way together.
fn visit(number: u64) -> Option<Body> {
    let step = (number % 29).checked_sub(5)?;
    let visitor = (u128::from(number - step) << 64) + 1;
    let project = || ProjectName::new("visits").unwrap();
    let points = || {
        let points = (0..3).map(|index| Point {
            step: index,
            step_fraction: None,
            time: 7,
            value: value(number, index as u64),
        });
        Body::Points(vec![
            (
                1,
                "visited".to_owned(),
                vec![Point { step: 0, step_fraction: None, time: 8, value: value(number, 9) }],
            ),
            (visitor, "metric 0".to_owned(), points.collect()),
        ])
    };
    let commands = |command| Some(Body::Commands(vec![command, mark(number)]));
    match step {
        0 => commands(Command::CreateRun(NewRun::named(
            RunId::from_u128(visitor),
            project(),
            ExperimentName::new("lr").unwrap(),
            format!("visitor {number}"),
            5,
        ))),
        7 | 21 => Some(points()),
        14 if (number / 29) % 3 == 2 => commands(Command::DeleteProject { project: project() }),
        14 => commands(Command::DeleteRuns { runs: vec![RunId::from_u128(visitor)] }),
        _ => None,
    }
}

/// The note that marks the commands of a request.
pub(crate) fn mark(number: u64) -> Command {
    Command::AddNote(Note {
        project: ProjectName::new("vision").unwrap(),
        experiment: None,
        run: None,
        text: format!("request {number}"),
        author: None,
        time: 9,
    })
}
