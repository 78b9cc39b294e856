//! The lake in a few lines: what was asked, what was acknowledged, and what must therefore be in the lake.
//!
//! Every request can be recognised in the lake: each value of its points, and a note for commands, hold its number. So
//! after a restart it is known of every request without an answer whether it is there.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Command, ExperimentName, Key, MetricName, NewRun, Note, ParamValue, Point, PointBatch, PointColumns,
    ProjectName, RunId, RunStatus, RunUpdate, SeriesKey, SeriesPoints, TagValue, WriterSequence,
};
use store::Snapshot;

use crate::random::Random;

/// Points of one request at the most.
const MOST_POINTS: u64 = 40;

/// A point as it is compared: step, fraction, time, bits of the value.
pub(crate) type PointBits = (i64, Option<i32>, i64, u64);

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
    fn marks(&self) -> u64 {
        match &self.body {
            Body::Points(series) => series.iter().map(|(_, _, points)| points.len() as u64).sum(),
            Body::Commands(_) => 1,
        }
    }

    pub(crate) fn points(&self) -> u64 {
        if matches!(self.body, Body::Points(_)) { self.marks() } else { 0 }
    }
}

/// A value that tells its request and its place in it: small ones, large negative ones, and NaNs with a payload.
fn value(number: u64, index: u64) -> f64 {
    let bits = number << 16 | index;
    f64::from_bits(match number % 3 {
        0 => bits,
        1 => 0xc1e0_0000_0000_0000 | bits,
        _ => 0x7ff8_0000_0000_0000 | bits,
    })
}

/// The number of the request that a value belongs to.
fn request_of(bits: u64) -> u64 {
    (bits & 0x0000_ffff_ffff_ffff) >> 16
}

/// A run as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RunView {
    name: String,
    status: String,
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

/// Everything in a lake, as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct View {
    runs: BTreeMap<u128, RunView>,
    notes: Vec<String>,
    series: BTreeMap<(u128, String), Vec<PointBits>>,
}

impl View {
    /// Reads everything through the snapshot.
    pub(crate) async fn of(snapshot: &Snapshot) -> Result<Self, store::StoreError> {
        let registry = snapshot.registry();
        let text = |(key, value): (&Key, &str)| (key.as_str().to_owned(), value.to_owned());
        let runs = registry.runs().iter().map(|run| {
            let view = RunView {
                name: run.name.clone(),
                status: run.status.as_str().to_owned(),
                params: run.params.iter().map(|(key, value)| text((key, value.as_str()))).collect(),
                tags: run.tags.iter().map(|(key, value)| text((key, value.as_str()))).collect(),
            };
            (run.id.as_u128(), view)
        });
        let mut view = Self {
            runs: runs.collect(),
            notes: registry.notes().iter().map(|note| note.text.clone()).collect(),
            series: BTreeMap::new(),
        };
        for entry in snapshot.series().entries() {
            let points = snapshot.series_points(&entry.key).await?;
            assert_eq!(entry.statistics.count, points.len() as u64, "statistics of {:?}", entry.key);
            let SeriesKey { run, metric, .. } = &entry.key;
            let bits = points
                .iter()
                .map(|point| (point.step, point.step_fraction, point.time, point.value.to_bits()));
            view.series.insert((run.as_u128(), metric.as_str().to_owned()), bits.collect());
        }
        Ok(view)
    }

    /// How much of each request is there.
    fn marks(&self) -> BTreeMap<u64, u64> {
        let mut marks = BTreeMap::new();
        for (_, _, _, bits) in self.series.values().flatten() {
            *marks.entry(request_of(*bits)).or_default() += 1;
        }
        for note in &self.notes {
            *marks.entry(note.strip_prefix("request ").unwrap().parse().unwrap()).or_default() += 1;
        }
        marks
    }
}

/// What is counted on the way, for the figures at the end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) acknowledged: u64,
    pub(crate) acknowledged_points: u64,
    pub(crate) compared: u64,
    pub(crate) retries: u64,
    pub(crate) duplicates: u64,
    pub(crate) unanswered: u64,
    pub(crate) unanswered_found: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.acknowledged_points += other.acknowledged_points;
        self.compared += other.compared;
        self.retries += other.retries;
        self.duplicates += other.duplicates;
        self.unanswered += other.unanswered;
        self.unanswered_found += other.unanswered_found;
    }
}

/// What was asked and answered so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    next: u64,
    /// What is in the lake for certain, in the order of arrival.
    applied: BTreeMap<u64, Request>,
    orders: BTreeMap<u64, u64>,
    /// What nobody knows of: attempts that got no answer, with the place in the order that they would have.
    unanswered: BTreeMap<u64, (u64, Request)>,
    /// What is certainly not in the lake, and shall be sent again.
    pub(crate) missing: Vec<Request>,
    arrivals: u64,
    runs: Vec<u128>,
    sequences: BTreeMap<String, (u64, Vec<u64>)>,
    pub(crate) figures: Figures,
}

impl Model {
    /// The place of a request that is sent now in the order of arrival.
    pub(crate) fn arrive(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    /// A request was acknowledged.
    pub(crate) fn acknowledged(&mut self, arrival: u64, request: &Request, duplicate: bool) {
        self.missing.retain(|other| other.number != request.number);
        let known = self.orders.contains_key(&request.number);
        assert_eq!(duplicate, known, "request {} of {:?}", request.number, request.writer);
        self.figures.acknowledged += 1;
        if duplicate {
            self.figures.duplicates += 1;
            return;
        }
        self.figures.acknowledged_points += request.points();
        self.take(arrival, request.clone());
    }

    fn take(&mut self, arrival: u64, request: Request) {
        if let Body::Commands(commands) = &request.body {
            for command in commands {
                if let Command::CreateRun(run) = command {
                    self.runs.push(run.id.as_u128());
                }
            }
        }
        self.orders.insert(request.number, arrival);
        self.applied.insert(arrival, request);
    }

    /// A request got no answer, or one after which nobody knows.
    pub(crate) fn unanswered(&mut self, arrival: u64, request: &Request) {
        if !self.orders.contains_key(&request.number) {
            self.missing.retain(|other| other.number != request.number);
            self.figures.unanswered += 1;
            self.unanswered.insert(request.number, (arrival, request.clone()));
        }
    }

    /// A request was refused: it is not in the lake.
    pub(crate) fn refused(&mut self, request: &Request) {
        if !self.orders.contains_key(&request.number)
            && !self.missing.iter().any(|other| other.number == request.number)
        {
            self.missing.push(request.clone());
        }
    }

    /// Compares the lake with what it must hold. What had no answer is there whole or not at all, and counts from now
    /// on as what it is.
    pub(crate) fn compare(&mut self, view: &View, context: &str) {
        let marks = view.marks();
        for (number, (arrival, request)) in std::mem::take(&mut self.unanswered) {
            match marks.get(&number) {
                None => self.missing.push(request),
                Some(found) => {
                    assert_eq!(*found, request.marks(), "{context}: request {number} is there in part");
                    self.figures.unanswered_found += 1;
                    self.take(arrival, request);
                }
            }
        }
        let known: BTreeSet<u64> = self.orders.keys().copied().collect();
        let found: BTreeSet<u64> = marks.keys().copied().collect();
        let lost: Vec<_> = known.difference(&found).collect();
        let extra: Vec<_> = found.difference(&known).collect();
        assert!(lost.is_empty(), "{context}: acknowledged requests {lost:?} are lost");
        assert!(extra.is_empty(), "{context}: requests {extra:?} are there although they were refused");
        let expected = self.view();
        if expected != *view {
            for (key, points) in &expected.series {
                assert_eq!(view.series.get(key), Some(points), "{context}: series {key:?}");
            }
            assert_eq!(*view, expected, "{context}");
        }
        self.figures.compared += 1;
    }

    fn view(&self) -> View {
        let mut view = View::default();
        for request in self.applied.values() {
            match &request.body {
                Body::Points(series) => {
                    for (run, metric, points) in series {
                        let bits =
                            points.iter().map(|p| (p.step, p.step_fraction, p.time, p.value.to_bits()));
                        view.series.entry((*run, metric.clone())).or_default().extend(bits);
                    }
                }
                Body::Commands(commands) => commands.iter().for_each(|command| apply(&mut view, command)),
            }
        }
        // Stable: points of one step and time stay in order of arrival.
        view.series
            .values_mut()
            .for_each(|points| points.sort_by_key(|(step, fraction, time, _)| (*step, *fraction, *time)));
        view
    }

    pub(crate) fn points(&self) -> u64 {
        self.applied.values().map(Request::points).sum()
    }

    pub(crate) fn has_runs(&self) -> bool {
        !self.runs.is_empty()
    }

    /// A request of the past that had a sequence number.
    pub(crate) fn old_request(&self, random: &mut Random) -> Option<Request> {
        let known: Vec<&Request> = self.applied.values().filter(|request| request.writer.is_some()).collect();
        (!known.is_empty()).then(|| Request::clone(known[random.below(known.len() as u64) as usize]))
    }

    /// The next number of one of a few clients; each client sends its numbers a little out of order, with gaps.
    fn sequence(&mut self, random: &mut Random) -> Option<WriterSequence> {
        if random.chance(4) {
            return None;
        }
        let client = format!("client {}", random.below(3));
        let (next, waiting) = self.sequences.entry(client.clone()).or_default();
        if waiting.is_empty() {
            *waiting = (*next..*next + 1 + random.below(6)).collect();
            *next += waiting.len() as u64 + random.below(2);
        }
        let chosen = waiting.remove(random.below(waiting.len() as u64) as usize);
        Some(WriterSequence::new(client, chosen).unwrap())
    }

    /// New points for a few series of the runs that are there.
    pub(crate) fn new_points(&mut self, random: &mut Random) -> Request {
        let number = self.next;
        self.next += 1;
        let mut index = 0;
        let mut series = BTreeMap::new();
        for _ in 0..=random.below(3) {
            let run = *random.pick(&self.runs);
            let metric = (*random.pick(&["loss", "acc"])).to_owned();
            let points: &mut Vec<Point> = series.entry((run, metric)).or_default();
            for _ in 0..=random.below(MOST_POINTS / 4) {
                points.push(Point {
                    step: random.below(8) as i64 - 4,
                    step_fraction: random.chance(8).then(|| random.below(1_000_000) as i32),
                    time: random.below(3) as i64,
                    value: value(number, index),
                });
                index += 1;
            }
        }
        let series = series.into_iter().map(|((run, metric), points)| (run, metric, points)).collect();
        Request { number, writer: self.sequence(random), body: Body::Points(series) }
    }

    /// New commands that fit the registry, the last of them the note that marks them.
    pub(crate) fn new_commands(&mut self, random: &mut Random) -> Request {
        let number = self.next;
        self.next += 1;
        let mut commands = Vec::new();
        if self.runs.len() < 3 || (self.runs.len() < 5 && random.chance(4)) {
            let id = RunId::from_u128(u128::from(number) + 1);
            let (project, experiment) =
                (ProjectName::new("vision").unwrap(), ExperimentName::new("lr").unwrap());
            commands.push(Command::CreateRun(NewRun::named(
                id,
                project,
                experiment,
                format!("run {number}"),
                5,
            )));
        } else {
            for _ in 0..random.below(3) {
                let run = RunId::from_u128(*random.pick(&self.runs));
                let key = Key::new(format!("key{}", random.below(4))).unwrap();
                commands.push(match random.below(4) {
                    0 => Command::SetParams {
                        run,
                        params: vec![(
                            Key::new(format!("param{number}")).unwrap(),
                            ParamValue::new("0.1").unwrap(),
                        )],
                    },
                    1 => Command::SetTags {
                        run,
                        tags: vec![(key, TagValue::new(number.to_string()).unwrap())],
                    },
                    2 => Command::DeleteTags { run, keys: vec![key] },
                    _ => Command::UpdateRun(RunUpdate {
                        name: Some(format!("named by {number}")),
                        status: Some(*random.pick(&[RunStatus::Running, RunStatus::Failed])),
                        ..RunUpdate::of(run)
                    }),
                });
            }
        }
        commands.push(mark(number));
        Request { number, writer: self.sequence(random), body: Body::Commands(commands) }
    }
}

fn apply(view: &mut View, command: &Command) {
    match command {
        Command::CreateRun(new) => {
            let run = view.runs.entry(new.id.as_u128()).or_default();
            run.name = new.name.clone();
            run.status = new.status.as_str().to_owned();
        }
        Command::UpdateRun(update) => {
            let run = view.runs.get_mut(&update.id.as_u128()).unwrap();
            if let Some(name) = &update.name {
                run.name.clone_from(name);
            }
            if let Some(status) = update.status {
                run.status = status.as_str().to_owned();
            }
        }
        Command::SetParams { run, params } => {
            let run = view.runs.get_mut(&run.as_u128()).unwrap();
            for (key, value) in params {
                run.params.insert(key.as_str().to_owned(), value.as_str().to_owned());
            }
        }
        Command::SetTags { run, tags } => {
            let run = view.runs.get_mut(&run.as_u128()).unwrap();
            for (key, value) in tags {
                run.tags.insert(key.as_str().to_owned(), value.as_str().to_owned());
            }
        }
        Command::DeleteTags { run, keys } => {
            let run = view.runs.get_mut(&run.as_u128()).unwrap();
            keys.iter().for_each(|key| drop(run.tags.remove(key.as_str())));
        }
        Command::AddNote(note) => view.notes.push(note.text.clone()),
        other => panic!("the model does not know {other:?}"),
    }
}

/// The request that has a number, for a lake with the runs 1 to `runs`: points mostly, else tags.
pub(crate) fn numbered_request(number: u64, runs: u128) -> Request {
    let mut random = Random::new(number);
    let run = |random: &mut Random| 1 + u128::from(random.below(runs as u64));
    let body = if number % 7 == 3 {
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
