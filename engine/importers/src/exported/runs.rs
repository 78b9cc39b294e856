//! Runs with their params and tags: three tables in the same order, read side by side.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use model::{ExperimentName, ProjectName, RunId, RunStatus, limits};

use super::reading::Table;
use crate::error::{Result, beginning};
use crate::report::Reporter;
use crate::sink::{ImportedRun, TimeSource};

/// Hands on all runs; gives their ids.
pub(super) fn read(
    mut runs: Table<'_>,
    params: Table<'_>,
    tags: Table<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<HashSet<RunId>> {
    let (mut params, mut tags) = (Pairs::new(params), Pairs::new(tags));
    let mut known = HashSet::new();
    while let Some(batch) = runs.next(reporter)? {
        for row in 0..batch.num_rows() {
            let mut run = match run_of(&batch, row, reporter) {
                Ok(run) => run,
                Err(reason) => {
                    let (file, place) = runs.place(row);
                    reporter.reject(&file, place, "run.malformed", || reason)?;
                    continue;
                }
            };
            if !known.insert(run.id) {
                let (file, place) = runs.place(row);
                reporter.reject(&file, place, "run.twice", || format!("run {} stands here twice", run.id))?;
                continue;
            }
            let id = run.id.to_string();
            while let Some((key, value)) = params.next_of(&id, reporter)? {
                let file = params.file();
                reporter.param(&mut run.params, &file, &key, &value)?;
            }
            while let Some((key, value)) = tags.next_of(&id, reporter)? {
                let file = tags.file();
                reporter.tag(&mut run.tags, &file, &key, &value)?;
            }
            reporter.run(run)?;
        }
        reporter.progress();
    }
    params.reject_rest(reporter)?;
    tags.reject_rest(reporter)?;
    Ok(known)
}

fn run_of(
    batch: &RecordBatch,
    row: usize,
    reporter: &Reporter<'_>,
) -> std::result::Result<ImportedRun, String> {
    let text = |column: usize| {
        let column = batch.column(column).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row))
    };
    let time = |column: usize| {
        let column = batch.column(column).as_primitive::<TimestampMicrosecondType>();
        column.is_valid(row).then(|| column.value(row))
    };
    let checked = |column: usize, most: usize| match text(column) {
        Some(text) if text.chars().count() > most => {
            Err(format!("{} has more than {most} characters", batch.schema_ref().field(column).name()))
        }
        text => Ok(text.map(str::to_owned)),
    };
    let id = |text: &str| text.parse::<RunId>().map_err(|error| error.to_string());
    let experiment = match &reporter.belonging.experiment {
        Some(experiment) => experiment.clone(),
        None => ExperimentName::new(text(2).unwrap_or_default()).map_err(|error| error.to_string())?,
    };
    let project = match &reporter.belonging.project {
        Some(project) => project.clone(),
        None => ProjectName::new(text(1).unwrap_or_default()).map_err(|error| error.to_string())?,
    };
    let status: RunStatus = text(4).unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
    Ok(ImportedRun {
        id: id(text(0).unwrap_or_default())?,
        name: checked(3, limits::NAME_CHARACTERS)?.unwrap_or_default(),
        project: Some(project),
        experiment,
        status,
        user: checked(5, limits::TAG_VALUE_CHARACTERS)?,
        start_time: time(6),
        end_time: time(7),
        parent: text(8).map(id).transpose()?,
        source: checked(9, limits::TAG_VALUE_CHARACTERS)?,
        source_run_id: checked(10, limits::TAG_VALUE_CHARACTERS)?,
        git_commit: checked(11, limits::TAG_VALUE_CHARACTERS)?,
        deleted: batch.column(12).as_boolean().value(row),
        params: BTreeMap::new(),
        tags: BTreeMap::new(),
        datasets: Vec::new(),
        time_source: TimeSource::Recorded,
    })
}

/// Keys and values in the order of the runs that they belong to.
struct Pairs<'a> {
    table: Table<'a>,
    batch: Option<RecordBatch>,
    row: usize,
    ended: bool,
}

impl<'a> Pairs<'a> {
    fn new(table: Table<'a>) -> Self {
        Self { table, batch: None, row: 0, ended: false }
    }

    fn file(&self) -> std::path::PathBuf {
        self.table.place(0).0
    }

    /// The next pair when it is of this run.
    fn next_of(&mut self, run: &str, reporter: &mut Reporter<'_>) -> Result<Option<(String, String)>> {
        let Some(batch) = self.current(reporter)? else { return Ok(None) };
        let text = |column: usize| batch.column(column).as_string::<i32>().value(self.row);
        if text(0) != run {
            return Ok(None);
        }
        let pair = (text(1).to_owned(), text(2).to_owned());
        self.row = self.row.saturating_add(1);
        Ok(Some(pair))
    }

    /// The batch with the next row.
    fn current(&mut self, reporter: &mut Reporter<'_>) -> Result<Option<RecordBatch>> {
        while !self.ended && self.batch.as_ref().is_none_or(|batch| self.row >= batch.num_rows()) {
            self.batch = self.table.next(reporter)?;
            self.row = 0;
            self.ended = self.batch.is_none();
        }
        Ok(self.batch.clone())
    }

    /// What is left belongs to no run that stands at its place.
    fn reject_rest(mut self, reporter: &mut Reporter<'_>) -> Result<()> {
        while let Some(batch) = self.current(reporter)? {
            let (file, place) = self.table.place(self.row);
            let run = batch.column(0).as_string::<i32>().value(self.row).to_owned();
            reporter.reject(&file, place, "run.unknown", || {
                format!("run {:?} is not in the table of runs at this place of its order", beginning(&run))
            })?;
            self.row = self.row.saturating_add(1);
        }
        Ok(())
    }
}
