//! The lake in a few lines: what was asked, what was acknowledged, and what must therefore be in the lake.
//!
//! Every request can be recognised in the lake: each value of its points, and a note for commands, hold its number. So
//! after a restart it is known of every request without an answer whether it is there; a deletion that followed leaves
//! less of it, and how much is known as well.

mod draw;
mod request;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use model::{Command, ProjectName, RunId};

use crate::random::Random;

pub(crate) use request::{Body, Request, mark, numbered_request};
pub(crate) use view::View;

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
    /// Requests without an answer of which nothing would be left, since their runs were deleted later.
    pub(crate) without_a_trace: u64,
    /// Requests that were refused since they named what had been deleted.
    pub(crate) turned_away: u64,
    pub(crate) deletions: u64,
    pub(crate) backups: u64,
    pub(crate) restored: u64,
    pub(crate) verified: u64,
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
        self.without_a_trace += other.without_a_trace;
        self.turned_away += other.turned_away;
        self.deletions += other.deletions;
        self.backups += other.backups;
        self.restored += other.restored;
        self.verified += other.verified;
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
    /// What the lake holds besides points.
    registry: View,
    /// Every run that ever was.
    gone: BTreeSet<u128>,
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
        assert!(self.fits(request), "{request:?} was accepted and names what is not there");
        self.figures.acknowledged_points += request.points();
        self.take(arrival, request.clone());
    }

    fn take(&mut self, arrival: u64, request: Request) {
        if !matches!(request.body, Body::Points(_)) {
            self.registry.apply(&request);
            self.gone.extend(self.registry.runs.keys());
        }
        self.figures.deletions += u64::from(request.deletes());
        self.orders.insert(request.number, arrival);
        self.applied.insert(arrival, request);
    }

    /// Whether everything is there that a request names.
    pub(crate) fn fits(&self, request: &Request) -> bool {
        let View { runs, experiments, records, .. } = &self.registry;
        let is_project = |project: &ProjectName| {
            experiments.iter().any(|(of, _)| of == project.as_str())
                || records.keys().any(|(_, of, _)| of == project.as_str())
        };
        let commands = match &request.body {
            Body::Points(series) => return series.iter().all(|(run, _, _)| runs.contains_key(run)),
            Body::Commands(commands) => commands,
            Body::Expire(_) => return true,
        };
        let mut made = BTreeSet::new();
        commands.iter().all(|command| {
            if let Command::CreateRun(new) = command {
                made.insert(new.id);
            }
            let is_run = |run: &RunId| runs.contains_key(&run.as_u128()) || made.contains(run);
            match command {
                Command::CreateRun(new) => {
                    runs.get(&new.id.as_u128()).is_none_or(|run| run.project == new.project.as_str())
                }
                Command::UpdateRun(update) => is_run(&update.id),
                Command::SetParams { run, .. }
                | Command::SetTags { run, .. }
                | Command::DeleteTags { run, .. } => is_run(run),
                Command::DeleteRuns { runs } => runs.iter().all(is_run),
                Command::PutRecord(update) => update.run.is_none_or(|run| {
                    let found = runs.get(&run.as_u128());
                    found.is_some_and(|run| run.project == update.project.as_str())
                }),
                Command::RemoveRecord { table, project, id } => {
                    records.contains_key(&(*table, project.to_string(), id.to_string()))
                }
                Command::DeleteProject { project } | Command::SetRetention { project, .. } => {
                    is_project(project)
                }
                _ => true,
            }
        })
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
        if matches!(request.body, Body::Expire(_)) {
            return;
        }
        if !self.orders.contains_key(&request.number)
            && !self.missing.iter().any(|other| other.number == request.number)
        {
            self.missing.push(request.clone());
        }
    }

    /// A request was refused since it names what is not there; nobody will send it again.
    pub(crate) fn turned_away(&mut self, request: &Request) {
        self.missing.retain(|other| other.number != request.number);
        self.figures.turned_away += 1;
    }

    /// Compares the lake with what it must hold. What had no answer is there whole or not at all, and counts from now
    /// on as what it is.
    pub(crate) fn compare(&mut self, view: &View, context: &str) {
        let marks = view.marks();
        let mut pending: Vec<(u64, Request)> = std::mem::take(&mut self.unanswered).into_values().collect();
        // Commands tell by their note whether they are there; then it is known what is left of points.
        pending.sort_by_key(|(arrival, request)| (matches!(request.body, Body::Points(_)), *arrival));
        for (arrival, request) in pending {
            let number = request.number;
            let found = marks.get(&number).copied().unwrap_or_default();
            let (left, is_there) = match &request.body {
                Body::Points(_) => (self.left_of(arrival, &request), found > 0),
                Body::Commands(_) => (request.marks(), found > 0),
                Body::Expire(runs) => (0, runs.iter().all(|run| !view.runs.contains_key(run))),
            };
            if is_there {
                assert_eq!(found, left, "{context}: request {number} is there in part");
                self.figures.unanswered_found += 1;
                self.take(arrival, request);
            } else if left > 0 {
                self.missing.push(request);
            } else {
                self.figures.without_a_trace += 1;
            }
        }
        let mut expected = self.view();
        let known: BTreeSet<u64> = expected.marks().into_keys().collect();
        let found: BTreeSet<u64> = marks.keys().copied().collect();
        let lost: Vec<_> = known.difference(&found).collect();
        let extra: Vec<_> = found.difference(&known).collect();
        assert!(lost.is_empty(), "{context}: acknowledged requests {lost:?} are lost");
        assert!(extra.is_empty(), "{context}: requests {extra:?} are there although they were refused");
        if expected != *view {
            for (key, points) in &expected.series {
                assert_eq!(view.series.get(key), Some(points), "{context}: series {key:?}");
            }
            assert_eq!(*view, expected, "{context}");
        }
        expected.series.clear();
        self.registry = expected;
        self.gone.extend(self.registry.runs.keys());
        self.figures.compared += 1;
    }

    /// How much would be left of points that had arrived then.
    fn left_of(&mut self, arrival: u64, request: &Request) -> u64 {
        self.applied.insert(arrival, request.clone());
        let left = self.view().marks().get(&request.number).copied().unwrap_or_default();
        self.applied.remove(&arrival);
        left
    }

    /// What the lake must hold.
    pub(crate) fn view(&self) -> View {
        self.view_until(u64::MAX)
    }

    /// What the lake held when everything up to this arrival was there and nothing else.
    pub(crate) fn view_until(&self, arrival: u64) -> View {
        let mut view = View::default();
        self.applied.range(..=arrival).for_each(|(_, request)| view.apply(request));
        view.sort();
        view
    }

    /// Everything up to which arrival is there for certain.
    pub(crate) fn last_arrival(&self) -> u64 {
        self.applied.last_key_value().map_or(0, |(arrival, _)| *arrival)
    }

    /// Whether a view is what the lake held at one moment between two arrivals.
    pub(crate) fn held(&self, view: &View, between: RangeInclusive<u64>) -> bool {
        // A request behind the last one that shows would show as well.
        let last = view.marks().into_keys().filter_map(|number| self.orders.get(&number)).max();
        let moment = last.copied().unwrap_or_default().max(*between.start());
        between.contains(&moment) && self.view_until(moment) == *view
    }

    /// Points that are there.
    pub(crate) fn points(&self) -> u64 {
        self.view().series.values().map(|points| points.len() as u64).sum()
    }

    pub(crate) fn has_runs(&self) -> bool {
        !self.registry.runs.is_empty()
    }

    fn has_projects(&self) -> bool {
        !self.registry.experiments.is_empty()
    }

    /// A request of the past that had a sequence number.
    pub(crate) fn old_request(&self, random: &mut Random) -> Option<Request> {
        let known: Vec<&Request> = self.applied.values().filter(|request| request.writer.is_some()).collect();
        (!known.is_empty()).then(|| Request::clone(known[random.below(known.len() as u64) as usize]))
    }
}
