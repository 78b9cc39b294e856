//! The registry: everything mutable (runs, params, tags, experiments, decisions, notes, imports, records) as a pure function of
//! the commands in the log.
//!
//! Invariants
//! - Applying the same commands in the same order gives the same state; no clock, no randomness.
//! - A run keeps its ordinal (0, 1, 2, … in order of creation) for the life of the lake.
//! - A clone is cheap (persistent collections), so that readers hold an immutable state while writers go on.
//! - Runs stand in columns, chunk by chunk; a row is made of one only when it changes, and goes back with the next flush.

mod commands;
mod config_hash;
mod delete;
mod error;
mod key_columns;
mod record_table;
mod records;
mod restore;
mod run_columns;
mod run_row;
mod run_table;
mod slot;

use std::ops::Range;
use std::sync::Arc;

pub use config_hash::ConfigHash;
pub use error::RegistryError;
use imbl::{OrdMap, Vector};
pub(crate) use key_columns::KeyColumnsBuilder;
pub use key_columns::{KeyColumn, KeyColumns, Place, ValueKinds, boolean};
use model::{
    Command, Decision, Experiment, ExperimentName, ImportRecord, Note, ProjectName, RecordKind, Run, RunId,
    View, ViewName,
};
pub use record_table::RecordTable;
pub(crate) use run_columns::run_ids;
pub use run_columns::{CodedTexts, RunColumns, RunField};
pub use run_row::RunRow;
pub use run_table::RunPiece;
use run_table::RunTable;
use slot::{PAIR_BYTES, ROW_BYTES, Slot};

use crate::series_index::FastMap;

/// The dense number of a run, in order of creation.
pub type RunOrdinal = u32;

/// What a command changed, so that a flush rewrites only that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The row of a run.
    Run(RunOrdinal),
    /// The params of a run.
    Params(RunOrdinal),
    /// The tags of a run.
    Tags(RunOrdinal),
    /// An experiment.
    Experiments,
    /// The decisions.
    Decisions,
    /// The notes.
    Notes,
    /// The imports.
    Imports,
    /// A chunk of records.
    Record(RecordKind, u32),
    /// A run that is gone, with everything that belonged to it.
    Deleted(RunOrdinal),
}

/// The state of everything mutable.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    runs: RunTable,
    ordinals: FastMap<RunId, RunOrdinal>,
    experiments: OrdMap<(ProjectName, ExperimentName), Arc<Experiment>>,
    decisions: Vector<Arc<Decision>>,
    notes: Vector<Arc<Note>>,
    imports: OrdMap<(String, String), Arc<ImportRecord>>,
    retention: OrdMap<ProjectName, u32>,
    views: OrdMap<ViewName, Arc<View>>,
    records: OrdMap<RecordKind, RecordTable>,
    deletions: u64,
    /// Of everything but runs and records.
    bytes: usize,
}

/// Cost of a run in the map of ids.
const ID_BYTES: usize = 48;

fn bytes_of_experiment(experiment: &Experiment) -> usize {
    let texts = [&experiment.hypothesis, &experiment.source, &experiment.owner, &experiment.notes];
    texts.into_iter().flatten().map(|text| text.len()).sum()
}

/// Bytes that a command takes on its way.
pub(crate) fn bytes_of_command(command: &Command) -> usize {
    match command {
        Command::SetParams { params, .. } => {
            params.iter().map(|(key, value)| PAIR_BYTES + key.as_str().len() + value.as_str().len()).sum()
        }
        Command::SetTags { tags, .. } => {
            tags.iter().map(|(key, value)| PAIR_BYTES + key.as_str().len() + value.as_str().len()).sum()
        }
        Command::AddNote(note) => ROW_BYTES + note.text.len(),
        Command::Decide(decision) => ROW_BYTES + decision.reason.as_str().len(),
        Command::SaveView(view) => ROW_BYTES + view.sql.len(),
        Command::PutRecord(update) => ROW_BYTES + update.bytes(),
        Command::CreateRun(_) | Command::UpdateExperiment(_) | Command::RecordImport(_) => ROW_BYTES,
        // These change what is there, or make it less.
        _ => 0,
    }
}

/// The runs of a registry by ordinal, without deleted ones.
#[derive(Debug, Clone, Copy)]
pub struct Runs<'a>(&'a Registry);

impl<'a> Runs<'a> {
    /// Number of runs.
    pub fn len(&self) -> usize {
        self.0.ordinals.len()
    }

    /// Whether there are no runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The run of this ordinal; `None` when it was deleted or never made.
    pub fn get(&self, ordinal: RunOrdinal) -> Option<RunRow<'a>> {
        self.0.runs.get(ordinal).map(|(run, _)| run)
    }

    /// All runs in order of creation.
    pub fn iter(&self) -> impl Iterator<Item = RunRow<'a>> + Clone + use<'a> {
        self.with_ordinals().map(|(_, run)| run)
    }

    /// All runs in order of creation, with their ordinals.
    pub fn with_ordinals(&self) -> impl Iterator<Item = (RunOrdinal, RunRow<'a>)> + Clone + use<'a> {
        self.0.runs.range(0..RunOrdinal::MAX).map(|(ordinal, run, _)| (ordinal, run))
    }

    /// The runs with ordinals in this range.
    pub(crate) fn range(
        &self,
        ordinals: Range<RunOrdinal>,
    ) -> impl Iterator<Item = RunRow<'a>> + Clone + use<'a> {
        self.0.runs.range(ordinals).map(|(_, run, _)| run)
    }

    /// All runs in columns, in order of creation.
    pub fn pieces(&self) -> Vec<RunPiece> {
        self.0.runs.pieces()
    }
}

impl Registry {
    /// Bytes that everything here takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let rows = self.experiments.len() + self.decisions.len() + self.notes.len() + self.imports.len();
        let runs = self.runs.bytes() + self.ordinals.len() * ID_BYTES;
        self.bytes + rows * ROW_BYTES + runs + self.bytes_of_records()
    }

    /// All runs by ordinal.
    pub fn runs(&self) -> Runs<'_> {
        Runs(self)
    }

    /// The run of this id.
    pub fn run(&self, id: RunId) -> Option<RunRow<'_>> {
        self.runs().get(self.ordinal(id)?)
    }

    /// Whether the points of this run in a segment of this arrival are there for readers: not those of a deleted run,
    /// and not those of an earlier run of the same id.
    pub fn holds(&self, run: RunId, arrival: u64) -> bool {
        self.holder(run, arrival).is_some()
    }

    /// The ordinal of a run that [holds](Self::holds) points of this arrival.
    pub(crate) fn holder(&self, run: RunId, arrival: u64) -> Option<RunOrdinal> {
        let ordinal = self.ordinal(run)?;
        let (_, since) = self.runs.get(ordinal)?;
        (since <= arrival).then_some(ordinal)
    }

    /// How many commands that delete runs were applied since the lake was opened, those of the log included.
    pub fn deletions(&self) -> u64 {
        self.deletions
    }

    /// After how many days from its end a run of each project is deleted, for projects that have such a limit.
    pub fn retention(&self) -> impl Iterator<Item = (&ProjectName, u32)> {
        self.retention.iter().map(|(project, days)| (project, *days))
    }

    /// All views by name.
    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.views.values()
    }

    /// The view of this name.
    pub fn view(&self, name: &str) -> Option<&Arc<View>> {
        self.views.get(name)
    }

    /// The WAL numbers of the commands that made the runs with ordinals in this range.
    pub(crate) fn since(&self, ordinals: Range<RunOrdinal>) -> Vec<u64> {
        self.runs.range(ordinals).map(|(_, _, since)| since).collect()
    }

    /// The ordinal of a run.
    pub fn ordinal(&self, id: RunId) -> Option<RunOrdinal> {
        self.ordinals.get(&id).copied()
    }

    /// All experiments by project and name.
    pub fn experiments(&self) -> impl Iterator<Item = &Arc<Experiment>> {
        self.experiments.values()
    }

    /// An experiment.
    pub fn experiment(&self, project: &ProjectName, name: &ExperimentName) -> Option<&Arc<Experiment>> {
        self.experiments.get(&(project.clone(), name.clone()))
    }

    /// All decisions in order of time of arrival.
    pub fn decisions(&self) -> &Vector<Arc<Decision>> {
        &self.decisions
    }

    /// The latest decision about an experiment.
    pub fn latest_decision(
        &self,
        project: &ProjectName,
        experiment: &ExperimentName,
    ) -> Option<&Arc<Decision>> {
        self.decisions.iter().rev().find(|d| d.project == *project && d.experiment == *experiment)
    }

    /// All notes in order of arrival.
    pub fn notes(&self) -> &Vector<Arc<Note>> {
        &self.notes
    }

    /// All imports by kind and location.
    pub fn imports(&self) -> impl Iterator<Item = &Arc<ImportRecord>> {
        self.imports.values()
    }

    /// The last import of a location.
    pub fn import(&self, kind: &str, location: &str) -> Option<&Arc<ImportRecord>> {
        self.imports.get(&(kind.to_owned(), location.to_owned()))
    }

    fn push_run(&mut self, run: Run, since: u64) -> RunOrdinal {
        let id = run.id;
        let ordinal = self.runs.push(Slot { run: Arc::new(run), since });
        self.ordinals.insert(id, ordinal);
        ordinal
    }

    fn put_experiment(&mut self, key: (ProjectName, ExperimentName), experiment: Experiment) {
        self.bytes += bytes_of_experiment(&experiment);
        if let Some(before) = self.experiments.insert(key, Arc::new(experiment)) {
            self.bytes = self.bytes.saturating_sub(bytes_of_experiment(&before));
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Key, NewRun, ParamValue};

    use super::*;

    fn apply(registry: &mut Registry, command: &Command) -> Result<Vec<Changed>, RegistryError> {
        let mut changes = Vec::new();
        registry.apply(command, 1, &mut |change| changes.push(change))?;
        Ok(changes)
    }

    fn create(id: u128, experiment: &str) -> Command {
        Command::CreateRun(NewRun::named(
            RunId::from_u128(id),
            ProjectName::default(),
            ExperimentName::new(experiment).unwrap(),
            "run",
            1,
        ))
    }

    fn params(id: u128, params: &[(&str, &str)]) -> Command {
        let params = params
            .iter()
            .map(|(key, value)| (Key::new(key).unwrap(), ParamValue::new(value).unwrap()))
            .collect();
        Command::SetParams { run: RunId::from_u128(id), params }
    }

    #[test]
    fn making_a_run_twice_changes_nothing_and_elsewhere_is_an_error() {
        let mut registry = Registry::default();
        assert_eq!(apply(&mut registry, &create(1, "a")).unwrap(), [Changed::Experiments, Changed::Run(0)]);
        assert_eq!(apply(&mut registry, &create(1, "a")).unwrap(), []);
        assert!(matches!(apply(&mut registry, &create(1, "b")), Err(RegistryError::RunElsewhere { .. })));
        assert_eq!(registry.runs().len(), 1);
    }

    #[test]
    fn params_are_written_once_and_a_conflict_changes_nothing() {
        let mut registry = Registry::default();
        apply(&mut registry, &create(1, "a")).unwrap();
        apply(&mut registry, &params(1, &[("lr", "0.1")])).unwrap();
        apply(&mut registry, &params(1, &[("lr", "0.1"), ("seed", "3")])).unwrap();
        let error = apply(&mut registry, &params(1, &[("new", "1"), ("lr", "0.2")])).unwrap_err();
        assert!(error.to_string().contains("written once"), "{error}");
        let run = registry.run(RunId::from_u128(1)).unwrap();
        assert_eq!(run.params().count(), 2);
        assert_eq!(run.seed(), Some(3));
    }

    #[test]
    fn a_snapshot_does_not_see_later_commands() {
        let mut registry = Registry::default();
        apply(&mut registry, &create(1, "a")).unwrap();
        let snapshot = registry.clone();
        apply(&mut registry, &create(2, "a")).unwrap();
        apply(&mut registry, &params(1, &[("lr", "0.1")])).unwrap();
        assert_eq!(snapshot.runs().len(), 1);
        assert_eq!(snapshot.runs().get(0).unwrap().params().count(), 0);
    }

    #[test]
    fn decisions_and_notes_need_their_subject() {
        let mut registry = Registry::default();
        let decision = Decision {
            project: ProjectName::default(),
            experiment: ExperimentName::new("a").unwrap(),
            decision: model::DecisionKind::Ship,
            reason: "better".into(),
            author: None,
            time: 1,
        };
        assert!(apply(&mut registry, &Command::Decide(decision.clone())).is_err());
        apply(&mut registry, &create(1, "a")).unwrap();
        apply(&mut registry, &Command::Decide(decision.clone())).unwrap();
        let later = Decision { decision: model::DecisionKind::Reject, time: 2, ..decision };
        apply(&mut registry, &Command::Decide(later.clone())).unwrap();
        assert_eq!(**registry.latest_decision(&later.project, &later.experiment).unwrap(), later);
    }
}
