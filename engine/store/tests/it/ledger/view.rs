//! Everything in a lake as it is compared, read from a snapshot or made by the model.

use std::collections::{BTreeMap, BTreeSet};

use model::{Command, Key, RecordKind, RunId, SeriesKey};
use store::Snapshot;

use super::request::{Body, Request, request_of};

/// A point as it is compared: step, fraction, time, bits of the value.
pub(crate) type PointBits = (i64, Option<i32>, i64, u64);

/// A run as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RunView {
    pub(super) project: String,
    name: String,
    status: String,
    pub(super) end_time: Option<i64>,
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

/// Everything in a lake, as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct View {
    pub(super) runs: BTreeMap<u128, RunView>,
    /// Projects and experiments.
    pub(super) experiments: BTreeSet<(String, String)>,
    /// Days by project.
    pub(super) retention: BTreeMap<String, u32>,
    /// Queries by name.
    pub(super) views: BTreeMap<String, String>,
    /// Run and description by kind, project and id.
    pub(super) records: BTreeMap<(RecordKind, String, String), (Option<u128>, String)>,
    notes: Vec<String>,
    pub(super) series: BTreeMap<(u128, String), Vec<PointBits>>,
}

impl View {
    /// Reads everything through the snapshot.
    pub(crate) async fn of(snapshot: &Snapshot) -> Result<Self, store::StoreError> {
        let registry = snapshot.registry();
        let text = |(key, value): (&Key, &str)| (key.as_str().to_owned(), value.to_owned());
        let runs = registry.runs().iter().map(|run| {
            let run = run.to_run();
            let view = RunView {
                project: run.project.as_str().to_owned(),
                name: run.name.clone(),
                status: run.status.as_str().to_owned(),
                end_time: run.end_time,
                params: run.params.iter().map(|(key, value)| text((key, value.as_str()))).collect(),
                tags: run.tags.iter().map(|(key, value)| text((key, value.as_str()))).collect(),
            };
            (run.id.as_u128(), view)
        });
        let mut view = Self {
            runs: runs.collect(),
            experiments: registry
                .experiments()
                .map(|one| (one.project.as_str().to_owned(), one.name.as_str().to_owned()))
                .collect(),
            retention: registry
                .retention()
                .map(|(project, days)| (project.as_str().to_owned(), days))
                .collect(),
            views: registry.views().map(|kept| (kept.name.as_str().to_owned(), kept.sql.clone())).collect(),
            records: RecordKind::ALL
                .into_iter()
                .filter_map(|kind| registry.records(kind))
                .flat_map(|records| records.iter())
                .map(|record| {
                    let text = record.text("description").unwrap().to_owned();
                    let key = (record.kind, record.project.to_string(), record.id.to_string());
                    (key, (record.run.map(RunId::as_u128), text))
                })
                .collect(),
            notes: registry.notes().iter().map(|note| note.text.clone()).collect(),
            series: BTreeMap::new(),
        };
        for entry in snapshot.series().entries() {
            let key = entry.key();
            let points = snapshot.series_points(&key).await?;
            assert_eq!(entry.statistics.count, points.len() as u64, "statistics of {:?}", key);
            let SeriesKey { run, metric, .. } = &key;
            let bits = points
                .iter()
                .map(|point| (point.step, point.step_fraction, point.time, point.value.to_bits()));
            view.series.insert((run.as_u128(), metric.as_str().to_owned()), bits.collect());
        }
        Ok(view)
    }

    /// How much of each request is there.
    pub(super) fn marks(&self) -> BTreeMap<u64, u64> {
        let mut marks = BTreeMap::new();
        for (_, _, _, bits) in self.series.values().flatten() {
            *marks.entry(request_of(*bits)).or_default() += 1;
        }
        for note in &self.notes {
            *marks.entry(note.strip_prefix("request ").unwrap().parse().unwrap()).or_default() += 1;
        }
        marks
    }

    /// Does what a request asks for.
    pub(super) fn apply(&mut self, request: &Request) {
        match &request.body {
            Body::Points(series) => {
                for (run, metric, points) in series {
                    let bits = points.iter().map(|p| (p.step, p.step_fraction, p.time, p.value.to_bits()));
                    self.series.entry((*run, metric.clone())).or_default().extend(bits);
                }
            }
            Body::Commands(commands) => commands.iter().for_each(|command| self.command(command)),
            Body::Expire(runs) => self.delete(|run, _| runs.contains(&run)),
        }
    }

    /// Puts points in the order in which they are read; those of one step and time stay in order of arrival.
    pub(super) fn sort(&mut self) {
        self.series
            .values_mut()
            .for_each(|points| points.sort_by_key(|(step, fraction, time, _)| (*step, *fraction, *time)));
    }

    fn delete(&mut self, is_gone: impl Fn(u128, &RunView) -> bool) {
        self.runs.retain(|id, run| !is_gone(*id, run));
        self.series.retain(|(run, _), _| self.runs.contains_key(run));
        self.records.retain(|_, (run, _)| run.is_none_or(|run| self.runs.contains_key(&run)));
    }

    fn command(&mut self, command: &Command) {
        let view = self;
        match command {
            Command::CreateRun(new) => {
                let project = new.project.as_str().to_owned();
                view.experiments.insert((project.clone(), new.experiment.as_str().to_owned()));
                // A run that is there stays as it is.
                view.runs.entry(new.id.as_u128()).or_insert_with(|| RunView {
                    project,
                    name: new.name.clone(),
                    status: new.status.as_str().to_owned(),
                    ..RunView::default()
                });
            }
            Command::UpdateRun(update) => {
                let run = view.runs.get_mut(&update.id.as_u128()).unwrap();
                if let Some(name) = &update.name {
                    run.name.clone_from(name);
                }
                run.end_time = update.end_time.or(run.end_time);
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
            Command::DeleteRuns { runs } => view.delete(|run, _| runs.contains(&RunId::from_u128(run))),
            Command::DeleteProject { project } => {
                view.delete(|_, run| run.project == project.as_str());
                view.experiments.retain(|(of, _)| of != project.as_str());
                view.retention.remove(project.as_str());
                view.records.retain(|(_, of, _), _| of != project.as_str());
            }
            Command::SetRetention { project, days: Some(days) } => {
                view.retention.insert(project.as_str().to_owned(), *days);
            }
            Command::SetRetention { project, days: None } => drop(view.retention.remove(project.as_str())),
            Command::SaveView(kept) => {
                view.views.insert(kept.name.as_str().to_owned(), kept.sql.clone());
            }
            Command::DropView { name } => drop(view.views.remove(name.as_str())),
            Command::PutRecord(update) => {
                let key = (update.kind(), update.project.to_string(), update.id.to_string());
                let text = update.fields.get("description").unwrap().to_text();
                view.records.insert(key, (update.run.map(RunId::as_u128), text));
            }
            Command::RemoveRecord { table, project, id } => {
                view.records.remove(&(*table, project.to_string(), id.to_string()));
            }
            Command::AddNote(note) => view.notes.push(note.text.clone()),
            other => panic!("the model does not know {other:?}"),
        }
    }
}
