//! Deletion of runs and projects, with all that belongs to them.

use std::collections::HashSet;

use model::schema::Table;
use model::{ProjectName, RecordKind, RunId};

use super::{Changed, Registry, RunOrdinal, bytes_of_experiment};

/// What is to be deleted.
pub(super) enum Deletion<'a> {
    Runs(HashSet<RunId>),
    Project(&'a ProjectName),
}

impl<'a> Deletion<'a> {
    pub(super) fn of_runs(runs: &[RunId]) -> Self {
        Self::Runs(runs.iter().copied().collect())
    }

    pub(super) fn of_project(project: &'a ProjectName) -> Self {
        Self::Project(project)
    }

    pub(super) fn takes(&self, project: &ProjectName, run: Option<RunId>) -> bool {
        match self {
            Self::Runs(runs) => run.is_some_and(|run| runs.contains(&run)),
            Self::Project(deleted) => project == *deleted,
        }
    }

    pub(super) fn takes_text(&self, project: &str, run: Option<&str>) -> bool {
        match self {
            Self::Runs(runs) => run.and_then(|run| run.parse().ok()).is_some_and(|run| runs.contains(&run)),
            Self::Project(deleted) => deleted.as_str() == project,
        }
    }
}

impl Registry {
    /// Takes runs out of these tables, with all that belongs to them.
    pub(super) fn delete(
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
}
