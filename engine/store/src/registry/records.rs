//! Records in the registry: by kind, put and removed by commands.

use arrow::array::RecordBatch;
use model::{ProjectName, Record, RecordId, RecordKind, RecordUpdate};

use super::record_table::RecordTable;
use super::{Changed, Registry, RegistryError};

impl Registry {
    /// The records of a kind; `None` when there never was one.
    pub fn records(&self, kind: RecordKind) -> Option<&RecordTable> {
        self.records.get(&kind)
    }

    /// The record of a kind in a project with this id.
    pub fn record(&self, kind: RecordKind, project: &ProjectName, id: &str) -> Option<Record> {
        self.records(kind)?.get(project, id)
    }

    /// The projects that have records of any kind; some come more than once.
    pub fn projects_of_records(&self) -> impl Iterator<Item = &ProjectName> {
        self.records.values().flat_map(RecordTable::projects)
    }

    /// Bytes in memory, estimated.
    pub(super) fn bytes_of_records(&self) -> usize {
        self.records.values().map(RecordTable::bytes).sum()
    }

    /// Makes or changes a record. `checked` says that what it names must be there: a command of the log was checked
    /// when it was accepted, and may name what a later one deletes.
    pub(super) fn put_record(
        &mut self,
        update: &RecordUpdate,
        checked: bool,
        changed: &mut impl FnMut(Changed),
    ) -> Result<(), RegistryError> {
        let kind = update.kind();
        if checked {
            self.check_place(update)?;
        }
        let before = self.record(kind, &update.project, update.id.as_str());
        let mut record = Record::updated(before, update)?;
        if let Some(run) = update.run.and_then(|run| self.run(run)) {
            record.experiment = Some(run.experiment().clone());
        }
        let table = self.records.entry(kind).or_insert_with(|| RecordTable::new(kind));
        table.put(record, &mut |chunk| changed(Changed::Record(kind, chunk)));
        Ok(())
    }

    fn check_place(&self, update: &RecordUpdate) -> Result<(), RegistryError> {
        if let Some(experiment) = &update.experiment {
            self.known_experiment(&update.project, experiment)?;
        }
        let Some(id) = update.run else { return Ok(()) };
        let run = self.run(id).ok_or(RegistryError::RunUnknown { run: id })?;
        let is_elsewhere =
            update.experiment.as_ref().is_some_and(|experiment| experiment != run.experiment());
        if *run.project() != update.project || is_elsewhere {
            let (project, experiment) = (run.project().clone(), run.experiment().clone());
            return Err(RegistryError::RecordElsewhere { run: id, project, experiment });
        }
        Ok(())
    }

    pub(super) fn remove_record(
        &mut self,
        kind: RecordKind,
        project: &ProjectName,
        id: &RecordId,
        changed: &mut impl FnMut(Changed),
    ) -> Result<(), RegistryError> {
        let mut tell = |chunk| changed(Changed::Record(kind, chunk));
        let table = self.records.get_mut(&kind);
        match table.is_some_and(|table| table.remove(project.as_str(), id.as_str(), &mut tell)) {
            true => Ok(()),
            false => {
                Err(RegistryError::RecordUnknown { table: kind, project: project.clone(), id: id.clone() })
            }
        }
    }

    /// Removes the records of a kind of which this is said by their project and run.
    pub(super) fn remove_records(
        &mut self,
        kind: RecordKind,
        is_gone: impl Fn(&str, Option<&str>) -> bool,
        changed: &mut impl FnMut(Changed),
    ) {
        if let Some(table) = self.records.get_mut(&kind) {
            table.remove_those(is_gone, &mut |chunk| changed(Changed::Record(kind, chunk)));
        }
    }

    /// Puts in the checked rows of a file. `Err` names the row of a record that is there already.
    pub(crate) fn restore_records(
        &mut self,
        kind: RecordKind,
        chunk: u32,
        rows: RecordBatch,
    ) -> Result<(), usize> {
        self.records.entry(kind).or_insert_with(|| RecordTable::new(kind)).restore(chunk, rows)
    }

    /// Takes over the columns that were made of a chunk of records of an earlier state of this registry.
    pub(crate) fn settle_records(&mut self, kind: RecordKind, chunk: u32, of: &Self) {
        if let Some(of) = of.records.get(&kind)
            && let Some(table) = self.records.get_mut(&kind)
        {
            table.settle(chunk, of);
        }
    }
}
