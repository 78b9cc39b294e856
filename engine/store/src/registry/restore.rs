//! The registry out of its tables and the log: rows as they stand there, and commands that tables do not have yet.

use std::sync::Arc;

use model::schema::Table;
use model::{Command, Decision, Experiment, ImportRecord, Note, ProjectName, Run, RunId, View};

use super::delete::Deletion;
use super::run_columns::RunColumnsBuilder;
use super::slot::ROW_BYTES;
use super::{
    Changed, ConfigHash, KeyColumnsBuilder, Place, Registry, RegistryError, RunColumns, RunOrdinal, RunRow,
};
use crate::state::table_of;

impl Registry {
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
}
