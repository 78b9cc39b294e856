//! What each command does to the registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Command, Experiment, ExperimentName, ExperimentUpdate, Key, NewRun, ParamValue, ProjectName, Run, RunId,
    RunUpdate, limits,
};

use super::delete::Deletion;
use super::slot::ROW_BYTES;
use super::{Changed, Registry, RegistryError, RunOrdinal};

impl Registry {
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

    pub(super) fn known_project(&self, project: &ProjectName) -> Result<(), RegistryError> {
        let known = self.experiments().any(|experiment| experiment.project == *project)
            || self.runs().iter().any(|run| run.project() == project)
            || self.projects_of_records().any(|of| of == project);
        if known { Ok(()) } else { Err(RegistryError::ProjectUnknown { project: project.clone() }) }
    }

    pub(super) fn known(&self, run: RunId) -> Result<RunOrdinal, RegistryError> {
        self.ordinal(run).ok_or(RegistryError::RunUnknown { run })
    }

    pub(super) fn known_experiment(
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

    pub(super) fn create_run(
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
