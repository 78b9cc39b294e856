//! New requests that fit what the lake holds.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Command, ExperimentName, Key, NewRun, ParamValue, Point, ProjectName, RecordFields, RecordId, RecordKind,
    RecordUpdate, RunId, RunStatus, RunUpdate, TagValue, View, ViewName, WriterSequence,
};

use super::Model;
use super::request::{Body, Request, mark, value};
use super::view::RunView;
use crate::random::Random;

/// Points of one request at the most.
const MOST_POINTS: u64 = 40;
const DAY: u64 = 86_400 * 1_000_000;
/// Around which runs end.
const SOME_TIME: i64 = 1_760_000_000_000_000;

impl Model {
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
        let runs: Vec<u128> = self.registry.runs.keys().copied().collect();
        let mut series = BTreeMap::new();
        for _ in 0..=random.below(3) {
            let run = *random.pick(&runs);
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
        let runs: Vec<u128> = self.registry.runs.keys().copied().collect();
        if runs.len() < 3 || (runs.len() < 5 && random.chance(4)) {
            // The id of a run that was deleted is free.
            let gone: Vec<u128> = self.gone.difference(&runs.iter().copied().collect()).copied().collect();
            let id = match !gone.is_empty() && random.chance(3) {
                true => *random.pick(&gone),
                false => u128::from(number) + 1,
            };
            let id = RunId::from_u128(id);
            // The marks of all requests stand in the first project, which stays.
            let name = if self.has_projects() && random.chance(3) { "text" } else { "vision" };
            let (project, experiment) = (ProjectName::new(name).unwrap(), ExperimentName::new("lr").unwrap());
            commands.push(Command::CreateRun(NewRun::named(
                id,
                project,
                experiment,
                format!("run {number}"),
                5,
            )));
        } else {
            for _ in 0..random.below(3) {
                let run = RunId::from_u128(*random.pick(&runs));
                let key = Key::new(format!("key{}", random.below(4))).unwrap();
                commands.push(match random.below(9) {
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
                    3 => Command::SetRetention {
                        project: ProjectName::new(self.registry.runs[&run.as_u128()].project.clone())
                            .unwrap(),
                        days: (!random.chance(4)).then(|| 1 + random.below(900) as u32),
                    },
                    4 => Command::UpdateRun(RunUpdate {
                        end_time: Some(SOME_TIME + random.below(1_600 * DAY) as i64 - 800 * DAY as i64),
                        ..RunUpdate::of(run)
                    }),
                    5 => self.change_of_views(number, commands.is_empty(), random),
                    6 | 7 => self.change_of_records(number, run, commands.is_empty(), random),
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

    /// Keeps a view, or lets go of one that was there before this request (only as its first command: a second one
    /// might let go of the same).
    fn change_of_views(&self, number: u64, is_first: bool, random: &mut Random) -> Command {
        let name = ViewName::new(format!("view{}", random.below(3))).unwrap();
        match is_first && self.registry.views.contains_key(name.as_str()) {
            true => Command::DropView { name },
            false => Command::SaveView(View { name, sql: format!("SELECT {number}"), author: None, time: 5 }),
        }
    }

    /// Makes or changes a record of a run or of its project, or removes one that was there before this request.
    fn change_of_records(&self, number: u64, run: RunId, is_first: bool, random: &mut Random) -> Command {
        let known: Vec<_> = self.registry.records.keys().collect();
        if is_first && !known.is_empty() && random.chance(3) {
            let (table, project, id) = Clone::clone(*random.pick(&known));
            let (project, id) = (ProjectName::new(project).unwrap(), RecordId::new(id).unwrap());
            return Command::RemoveRecord { table, project, id };
        }
        let project = ProjectName::new(self.registry.runs[&run.as_u128()].project.clone()).unwrap();
        let name = format!("record {}", random.below(4));
        let kind = *random.pick(&[RecordKind::Artifacts, RecordKind::Directions]);
        let mut fields = RecordFields::of(kind);
        fields.set("name", &name).unwrap();
        fields.set("description", &number.to_string()).unwrap();
        let mut update = RecordUpdate::new(project, RecordId::new(name).unwrap(), fields, 5);
        update.run = (kind == RecordKind::Artifacts).then_some(run);
        Command::PutRecord(update)
    }

    /// Deletes a run or two, or all runs of the project that comes and goes.
    pub(crate) fn new_deletion(&mut self, random: &mut Random) -> Request {
        let number = self.next;
        self.next += 1;
        let text = ProjectName::new("text").unwrap();
        let command =
            if self.registry.experiments.iter().any(|(of, _)| of == text.as_str()) && random.chance(3) {
                Command::DeleteProject { project: text }
            } else {
                let known: Vec<u128> = self.registry.runs.keys().copied().collect();
                let runs: BTreeSet<u128> = (0..=random.below(2)).map(|_| *random.pick(&known)).collect();
                Command::DeleteRuns { runs: runs.into_iter().map(RunId::from_u128).collect() }
            };
        let body = Body::Commands(vec![command, mark(number)]);
        Request { number, writer: self.sequence(random), body }
    }

    /// What happens when the retention of projects is applied at a time.
    pub(crate) fn new_expiry(&mut self, now: i64) -> Request {
        let number = self.next;
        self.next += 1;
        let is_over = |run: &RunView| {
            let days = self.registry.retention.get(&run.project);
            days.zip(run.end_time).is_some_and(|(days, end)| end < now - i64::from(*days) * DAY as i64)
        };
        let runs = self.registry.runs.iter().filter(|(_, run)| is_over(run)).map(|(id, _)| *id).collect();
        Request { number, writer: None, body: Body::Expire(runs) }
    }
}
