//! The registry: everything mutable (runs, params, tags, experiments, decisions, notes, imports, records) as a pure function of
//! the commands in the log.
//!
//! Invariants
//! - Applying the same commands in the same order gives the same state; no clock, no randomness.
//! - A run keeps its ordinal (0, 1, 2, … in order of creation) for the life of the lake.
//! - A clone is cheap (persistent collections), so that readers hold an immutable state while writers go on.
//! - Runs stand in columns, chunk by chunk; a row is made of one only when it changes, and goes back with the next flush.

mod config_hash;
mod key_columns;
mod record_table;
mod records;
mod run_columns;
mod run_row;
mod run_table;
mod slot;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use model::schema::Table;
use model::{
    Command, Decision, Experiment, ExperimentName, ExperimentUpdate, ImportRecord, Key, ModelError, NewRun,
    Note, ParamValue, ProjectName, RecordId, RecordKind, Run, RunId, RunUpdate, View, ViewName, limits,
};
use thiserror::Error;

pub use config_hash::ConfigHash;
pub(crate) use key_columns::KeyColumnsBuilder;
pub use key_columns::{KeyColumn, KeyColumns, Place, ValueKinds, boolean};
pub use record_table::RecordTable;
pub use run_columns::{RunColumns, RunField};
pub(crate) use run_columns::{RunColumnsBuilder, run_ids};
pub use run_row::RunRow;
pub use run_table::RunPiece;
use run_table::RunTable;
use slot::{PAIR_BYTES, ROW_BYTES, Slot};

use crate::series_index::FastMap;
use crate::state::table_of;

/// The dense number of a run, in order of creation.
pub type RunOrdinal = u32;

/// A command does not fit the state of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// The run is not there.
    #[error("run {run} is not in this lake; create it first")]
    RunUnknown {
        /// The run.
        run: RunId,
    },
    /// The experiment is not there.
    #[error("experiment {experiment:?} is not in project {project:?}")]
    ExperimentUnknown {
        /// The project.
        project: ProjectName,
        /// The experiment.
        experiment: ExperimentName,
    },
    /// A param has another value already.
    #[error("param {key:?} of run {run} is {present:?} and cannot become {given:?}: params are written once")]
    ParamConflict {
        /// The run.
        run: RunId,
        /// The key.
        key: Key,
        /// The value that it has.
        present: String,
        /// The value that was given.
        given: ParamValue,
    },
    /// There is no view of this name.
    #[error("there is no view {name:?} in this lake")]
    ViewUnknown {
        /// The name.
        name: ViewName,
    },
    /// There are as many views as a lake takes.
    #[error("there are {limit} views in this lake already: drop one first")]
    TooManyViews {
        /// The limit.
        limit: usize,
    },
    /// Nothing is known of the project.
    #[error("there is no project {project:?} in this lake")]
    ProjectUnknown {
        /// The project.
        project: ProjectName,
    },
    /// A record is not valid, or would not be.
    #[error(transparent)]
    Record(#[from] ModelError),
    /// There is no record of this id.
    #[error("there is no {id:?} in {table} of project {project:?}")]
    RecordUnknown {
        /// Its table.
        table: RecordKind,
        /// The project.
        project: ProjectName,
        /// The id.
        id: RecordId,
    },
    /// A record names a run of another project or experiment.
    #[error("run {run} is in {project}/{experiment}: a row about it belongs there")]
    RecordElsewhere {
        /// The run.
        run: RunId,
        /// Its project.
        project: ProjectName,
        /// Its experiment.
        experiment: ExperimentName,
    },
    /// A run with this id is there, in another project or experiment.
    #[error("run {run} is in {project}/{experiment} already and cannot be made anew elsewhere")]
    RunElsewhere {
        /// The run.
        run: RunId,
        /// Its project.
        project: ProjectName,
        /// Its experiment.
        experiment: ExperimentName,
    },
}

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

    /// Applies one command, the one of this WAL number, and tells what it changed through `changed`.
    ///
    /// # Errors
    /// A command that does not fit changes nothing.
    pub fn apply(
        &mut self,
        command: &Command,
        seq: u64,
        changed: &mut impl FnMut(Changed),
    ) -> Result<(), RegistryError> {
        match command {
            Command::UpdateExperiment(update) => {
                self.update_experiment(update);
                changed(Changed::Experiments);
                Ok(())
            }
            Command::CreateRun(new) => self.create_run(new, seq, true, changed),
            Command::UpdateRun(update) => {
                let ordinal = self.known(update.id)?;
                self.runs.change(ordinal, |run| update_run(run, update));
                changed(Changed::Run(ordinal));
                Ok(())
            }
            Command::SetParams { run, params } => self.set_params(*run, params, changed),
            Command::SetTags { run, tags } => {
                let ordinal = self.known(*run)?;
                self.runs.change(ordinal, |run| run.tags.extend(tags.iter().cloned()));
                // The seed of a run may stand in a tag, and the row of the run shows it.
                changed(Changed::Run(ordinal));
                changed(Changed::Tags(ordinal));
                Ok(())
            }
            Command::DeleteTags { run, keys } => {
                let ordinal = self.known(*run)?;
                self.runs.change(ordinal, |run| keys.iter().for_each(|key| drop(run.tags.remove(key))));
                changed(Changed::Run(ordinal));
                changed(Changed::Tags(ordinal));
                Ok(())
            }
            Command::Decide(decision) => {
                self.known_experiment(&decision.project, &decision.experiment)?;
                self.restore_decision(decision.clone());
                changed(Changed::Decisions);
                // The row of the experiment shows its latest decision.
                changed(Changed::Experiments);
                Ok(())
            }
            Command::AddNote(note) => {
                if let Some(run) = note.run {
                    self.known(run)?;
                }
                if let Some(experiment) = &note.experiment {
                    self.known_experiment(&note.project, experiment)?;
                }
                self.restore_note(note.clone());
                changed(Changed::Notes);
                Ok(())
            }
            Command::RecordImport(record) => {
                let key = (record.kind.clone(), record.location.clone());
                self.imports.insert(key, Arc::new(record.clone()));
                changed(Changed::Imports);
                Ok(())
            }
            Command::DeleteRuns { runs } => {
                runs.iter().try_for_each(|run| self.known(*run).map(drop))?;
                self.delete(&Deletion::of_runs(runs), |_| true, changed);
                Ok(())
            }
            Command::DeleteProject { project } => {
                self.known_project(project)?;
                self.delete(&Deletion::of_project(project), |_| true, changed);
                Ok(())
            }
            Command::SetRetention { project, days } => {
                self.known_project(project)?;
                match days {
                    Some(days) => self.retention.insert(project.clone(), *days),
                    None => self.retention.remove(project),
                };
                changed(Changed::Experiments);
                Ok(())
            }
            Command::SaveView(view) => {
                if !self.views.contains_key(&view.name) && self.views.len() >= limits::VIEWS {
                    return Err(RegistryError::TooManyViews { limit: limits::VIEWS });
                }
                self.restore_view(view.clone());
                changed(Changed::Experiments);
                Ok(())
            }
            Command::DropView { name } => {
                let Some(view) = self.views.remove(name) else {
                    return Err(RegistryError::ViewUnknown { name: name.clone() });
                };
                self.bytes = self.bytes.saturating_sub(ROW_BYTES + view.sql.len());
                changed(Changed::Experiments);
                Ok(())
            }
            Command::PutRecord(update) => self.put_record(update, true, changed),
            Command::RemoveRecord { table, project, id } => self.remove_record(*table, project, id, changed),
            // `Command` may gain variants; one that this version does not know cannot have passed the decoder.
            _ => Ok(()),
        }
    }

    fn push_run(&mut self, run: Run, since: u64) -> RunOrdinal {
        let id = run.id;
        let ordinal = self.runs.push(Slot { run: Arc::new(run), since });
        self.ordinals.insert(id, ordinal);
        ordinal
    }

    /// Puts in the runs of a checkpoint file, without their params and tags, with the WAL numbers that made them; the
    /// first gets the first ordinal of its chunk, or the next one when that is given away.
    pub(crate) fn restore_runs(&mut self, chunk: u32, runs: Vec<(Run, u64, ConfigHash)>) {
        let first = chunk.saturating_mul(crate::state::RUNS_PER_CHUNK);
        if !self.runs.takes_chunk_at(first, runs.len()) {
            self.runs.leave_until(first);
            for (run, since, _) in runs {
                self.push_run(run, since);
            }
            return;
        }
        let mut builder = RunColumnsBuilder::default();
        for (place, (run, since, hash)) in (0..).zip(&runs) {
            self.ordinals.insert(run.id, first + RunOrdinal::from(place));
            builder.push(place, RunRow::of(run), *since, *hash);
        }
        self.runs.push_chunk(first, builder.finish(runs.len()));
    }

    /// Where in the columns of a chunk a run stands that was made up to this WAL number; `None` when it does not.
    pub(crate) fn place_in(&self, chunk: u32, run: RunId, table_seq: u64) -> Option<Place> {
        self.runs.place_in(chunk, self.holder(run, table_seq)?)
    }

    /// Gives the runs in the columns of a chunk their params.
    pub(crate) fn restore_params(&mut self, chunk: u32, params: KeyColumnsBuilder) {
        self.runs.put_params(chunk, params.finish(self.runs.places_of(chunk)));
    }

    /// Gives the runs in the columns of a chunk their tags.
    pub(crate) fn restore_tags(&mut self, chunk: u32, tags: KeyColumnsBuilder) {
        self.runs.put_tags(chunk, tags.finish(self.runs.places_of(chunk)));
    }

    /// The runs of a chunk in columns, when some are rows.
    pub(crate) fn settled(&self, chunk: u32) -> Option<Arc<RunColumns>> {
        self.runs.settled(chunk)
    }

    /// Takes over the columns that [`Self::settled`] made of a chunk of an earlier state of this registry.
    pub(crate) fn settle(&mut self, chunk: u32, columns: Arc<RunColumns>, of: &Self) {
        self.runs.settle(chunk, columns, &of.runs);
    }

    pub(crate) fn restore_retention(&mut self, project: ProjectName, days: u32) {
        self.retention.insert(project, days);
    }

    pub(crate) fn restore_view(&mut self, view: View) {
        self.bytes += ROW_BYTES + view.sql.len();
        if let Some(before) = self.views.insert(view.name.clone(), Arc::new(view)) {
            self.bytes = self.bytes.saturating_sub(ROW_BYTES + before.sql.len());
        }
    }

    /// Applies a command of the log to the tables that do not have it yet.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub(crate) fn replay(
        &mut self,
        command: &Command,
        seq: u64,
        is_new: impl Fn(Table) -> bool,
        changed: &mut impl FnMut(Changed),
    ) -> Result<(), RegistryError> {
        match command {
            Command::DeleteRuns { runs } => self.delete(&Deletion::of_runs(runs), is_new, changed),
            Command::DeleteProject { project } => {
                self.delete(&Deletion::of_project(project), is_new, changed)
            }
            Command::CreateRun(new) if is_new(Table::Runs) => {
                return self.create_run(new, seq, is_new(Table::Experiments), changed);
            }
            Command::PutRecord(update) if is_new(table_of(command)) => {
                return self.put_record(update, false, changed);
            }
            command if is_new(table_of(command)) => {
                // The runs table may be ahead and have let the run go, or have a new one of the same id.
                let is_gone = command.adds_to().is_some_and(|run| !self.holds(run, seq));
                if is_gone && !is_new(Table::Runs) {
                    return Ok(());
                }
                return match self.apply(command, seq, changed) {
                    Err(RegistryError::ExperimentUnknown { .. } | RegistryError::ProjectUnknown { .. })
                        if !is_new(Table::Experiments) =>
                    {
                        Ok(())
                    }
                    outcome => outcome,
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes runs out of these tables, with all that belongs to them.
    fn delete(
        &mut self,
        deletion: &Deletion<'_>,
        has: impl Fn(Table) -> bool,
        changed: &mut impl FnMut(Changed),
    ) {
        self.deletions += 1;
        let found: Vec<(RunOrdinal, RunId)> = match deletion {
            _ if !has(Table::Runs) => Vec::new(),
            Deletion::Runs(runs) => runs.iter().filter_map(|run| Some((self.ordinal(*run)?, *run))).collect(),
            Deletion::Project(project) => self
                .runs()
                .with_ordinals()
                .filter(|(_, run)| run.project() == *project)
                .map(|(ordinal, run)| (ordinal, run.id()))
                .collect(),
        };
        for (ordinal, run) in found {
            self.ordinals.remove(&run);
            self.runs.remove(ordinal);
            changed(Changed::Run(ordinal));
            changed(Changed::Params(ordinal));
            changed(Changed::Tags(ordinal));
            changed(Changed::Deleted(ordinal));
        }
        if has(Table::Notes) {
            let gone = self.notes.iter().filter(|note| deletion.takes(&note.project, note.run));
            let gone: usize = gone.map(|note| note.text.len()).sum();
            self.bytes = self.bytes.saturating_sub(gone);
            self.notes.retain(|note| !deletion.takes(&note.project, note.run));
            changed(Changed::Notes);
        }
        for kind in RecordKind::ALL {
            if has(Table::Records(kind)) {
                self.remove_records(kind, |project, run| deletion.takes_text(project, run), changed);
            }
        }
        if has(Table::Imports) {
            // They do not say which runs came from them, and a file whose run is gone must be read again.
            self.imports.clear();
            changed(Changed::Imports);
        }
        if let Deletion::Project(project) = deletion {
            if has(Table::Experiments) {
                let gone: Vec<_> =
                    self.experiments.keys().filter(|(of, _)| of == *project).cloned().collect();
                for experiment in gone {
                    if let Some(experiment) = self.experiments.remove(&experiment) {
                        self.bytes = self.bytes.saturating_sub(bytes_of_experiment(&experiment));
                    }
                }
                self.retention.remove(*project);
                changed(Changed::Experiments);
            }
            if has(Table::Decisions) {
                self.decisions.retain(|decision| decision.project != **project);
                changed(Changed::Decisions);
            }
        }
    }

    fn known_project(&self, project: &ProjectName) -> Result<(), RegistryError> {
        let known = self.experiments().any(|experiment| experiment.project == *project)
            || self.runs().iter().any(|run| run.project() == project)
            || self.projects_of_records().any(|of| of == project);
        if known { Ok(()) } else { Err(RegistryError::ProjectUnknown { project: project.clone() }) }
    }

    /// Changes the restored run of this id, if it is there and was made up to this WAL number.
    pub(crate) fn restore_into_run(
        &mut self,
        id: RunId,
        table_seq: u64,
        change: impl FnOnce(&mut Run),
    ) -> bool {
        let ordinal = self.ordinal(id).filter(|_| self.holds(id, table_seq));
        if let Some(ordinal) = ordinal {
            self.runs.change(ordinal, change);
        }
        ordinal.is_some()
    }

    pub(crate) fn restore_experiment(&mut self, experiment: Experiment) {
        let key = (experiment.project.clone(), experiment.name.clone());
        self.put_experiment(key, experiment);
    }

    fn put_experiment(&mut self, key: (ProjectName, ExperimentName), experiment: Experiment) {
        self.bytes += bytes_of_experiment(&experiment);
        if let Some(before) = self.experiments.insert(key, Arc::new(experiment)) {
            self.bytes = self.bytes.saturating_sub(bytes_of_experiment(&before));
        }
    }

    pub(crate) fn restore_decision(&mut self, decision: Decision) {
        self.bytes += decision.reason.as_str().len();
        self.decisions.push_back(Arc::new(decision));
    }

    pub(crate) fn restore_note(&mut self, note: Note) {
        self.bytes += note.text.len();
        self.notes.push_back(Arc::new(note));
    }

    pub(crate) fn restore_import(&mut self, record: ImportRecord) {
        self.imports.insert((record.kind.clone(), record.location.clone()), Arc::new(record));
    }

    fn known(&self, run: RunId) -> Result<RunOrdinal, RegistryError> {
        self.ordinal(run).ok_or(RegistryError::RunUnknown { run })
    }

    fn known_experiment(
        &self,
        project: &ProjectName,
        experiment: &ExperimentName,
    ) -> Result<(), RegistryError> {
        match self.experiment(project, experiment) {
            Some(_) => Ok(()),
            None => Err(RegistryError::ExperimentUnknown {
                project: project.clone(),
                experiment: experiment.clone(),
            }),
        }
    }

    fn create_run(
        &mut self,
        new: &NewRun,
        seq: u64,
        with_experiment: bool,
        changed: &mut impl FnMut(Changed),
    ) -> Result<(), RegistryError> {
        if let Some(present) = self.run(new.id) {
            if *present.project() != new.project || *present.experiment() != new.experiment {
                return Err(RegistryError::RunElsewhere {
                    run: new.id,
                    project: present.project().clone(),
                    experiment: present.experiment().clone(),
                });
            }
            return Ok(());
        }
        if with_experiment && self.experiment(&new.project, &new.experiment).is_none() {
            self.update_experiment(&ExperimentUpdate::named(
                new.project.clone(),
                new.experiment.clone(),
                new.time,
            ));
            changed(Changed::Experiments);
        }
        let ordinal = self.push_run(
            Run {
                id: new.id,
                project: new.project.clone(),
                experiment: new.experiment.clone(),
                name: new.name.clone(),
                status: new.status,
                user: new.user.clone(),
                start_time: new.start_time,
                end_time: new.end_time,
                parent: new.parent,
                source: new.source.clone(),
                source_run_id: new.source_run_id.clone(),
                git_commit: new.git_commit.clone(),
                deleted: new.deleted,
                params: BTreeMap::new(),
                tags: BTreeMap::new(),
            },
            seq,
        );
        changed(Changed::Run(ordinal));
        Ok(())
    }

    fn set_params(
        &mut self,
        run: RunId,
        params: &[(Key, ParamValue)],
        changed: &mut impl FnMut(Changed),
    ) -> Result<(), RegistryError> {
        let ordinal = self.known(run)?;
        let mut new: BTreeMap<&Key, &ParamValue> = BTreeMap::new();
        for (key, given) in params {
            let before = self.runs().get(ordinal).and_then(|run| run.param(key.as_str()));
            let present = before.or_else(|| new.get(key).map(|value| value.as_str()));
            match present {
                Some(present) if present != given.as_str() => {
                    return Err(RegistryError::ParamConflict {
                        run,
                        key: key.clone(),
                        present: present.to_owned(),
                        given: given.clone(),
                    });
                }
                Some(_) => {}
                None => drop(new.insert(key, given)),
            }
        }
        let new = new.into_iter().map(|(key, value)| (key.clone(), value.clone()));
        self.runs.change(ordinal, |run| run.params.extend(new));
        changed(Changed::Run(ordinal));
        changed(Changed::Params(ordinal));
        Ok(())
    }

    fn update_experiment(&mut self, update: &ExperimentUpdate) {
        let key = (update.project.clone(), update.name.clone());
        let mut experiment = match self.experiments.get(&key) {
            Some(present) => Experiment::clone(present),
            None => Experiment {
                project: update.project.clone(),
                name: update.name.clone(),
                hypothesis: None,
                source: None,
                target_metric: None,
                direction: None,
                owner: None,
                notes: None,
                created: update.time,
            },
        };
        replace(&mut experiment.hypothesis, &update.hypothesis);
        replace(&mut experiment.source, &update.source);
        replace(&mut experiment.target_metric, &update.target_metric);
        replace(&mut experiment.direction, &update.direction);
        replace(&mut experiment.owner, &update.owner);
        replace(&mut experiment.notes, &update.notes);
        self.put_experiment(key, experiment);
    }
}

/// What is to be deleted.
enum Deletion<'a> {
    Runs(HashSet<RunId>),
    Project(&'a ProjectName),
}

impl<'a> Deletion<'a> {
    fn of_runs(runs: &[RunId]) -> Self {
        Self::Runs(runs.iter().copied().collect())
    }

    fn of_project(project: &'a ProjectName) -> Self {
        Self::Project(project)
    }

    fn takes(&self, project: &ProjectName, run: Option<RunId>) -> bool {
        match self {
            Self::Runs(runs) => run.is_some_and(|run| runs.contains(&run)),
            Self::Project(deleted) => project == *deleted,
        }
    }

    fn takes_text(&self, project: &str, run: Option<&str>) -> bool {
        match self {
            Self::Runs(runs) => run.and_then(|run| run.parse().ok()).is_some_and(|run| runs.contains(&run)),
            Self::Project(deleted) => deleted.as_str() == project,
        }
    }
}

fn replace<T: Clone>(field: &mut Option<T>, given: &Option<T>) {
    if given.is_some() {
        field.clone_from(given);
    }
}

fn update_run(run: &mut Run, update: &RunUpdate) {
    let RunUpdate { id: _, name, status, start_time, end_time, user, deleted } = update;
    if let Some(name) = name {
        run.name.clone_from(name);
    }
    if let Some(status) = status {
        run.status = *status;
    }
    if let Some(deleted) = deleted {
        run.deleted = *deleted;
    }
    replace(&mut run.start_time, start_time);
    replace(&mut run.end_time, end_time);
    replace(&mut run.user, user);
}

#[cfg(test)]
mod tests {
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
