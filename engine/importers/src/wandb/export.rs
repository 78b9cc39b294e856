//! The history of a run as W&B's own client downloads it (`Run.download_history_exports`): Parquet files
//! `<entity>_<project>_<run id>_<n>.runhistory.parquet`, of which the parts of a run are one run. A part may have columns that
//! others lack; nested values are structures, and media are structures that name their `_type`. Names from
//! `core/internal/runhistoryreader/reader.go`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::Point;

use crate::columnar::{self, caught};
use crate::error::{ImportError, Result};
use crate::number::Step;
use crate::report::Reporter;
use crate::series::SeriesByName;
use crate::sink::{ImportedRun, Place, RunFacts, TimeSource};
use crate::source::{
    Candidate, Claim, ClaimedFile, Found, FoundUnit, Search, Source, SourceKind, Unit, relative_name,
};
use crate::table::batches::{self, BATCH_ROWS};
use crate::table::rows::{TextNumbers, number_of};
use crate::table::{Cell, TablePlan};
use crate::time::micros_from_seconds;

/// The source.
pub(crate) struct WandbHistory;

const ENDING: &str = ".runhistory.parquet";

impl Source for WandbHistory {
    fn kind(&self) -> SourceKind {
        SourceKind::WandbHistory
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        if file.name.ends_with(ENDING) { Claim::Read } else { Claim::No }
    }

    /// The parts of a run are one unit, in the order of their numbers.
    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        let mut runs: BTreeMap<PathBuf, Vec<(u64, ClaimedFile)>> = BTreeMap::new();
        for file in files {
            let (run, part) = run_and_part(&file.path);
            runs.entry(run).or_default().push((part, file));
        }
        let units = runs.into_iter().map(|(location, mut parts)| {
            parts.sort();
            let bytes = parts.iter().fold(0_u64, |sum, (_, file)| sum.saturating_add(file.size));
            let files = parts.into_iter().map(|(_, file)| file.path).collect();
            let root = search.root.parent().filter(|_| search.root.is_file()).unwrap_or(search.root);
            let name = relative_name(root, &location);
            let unit = Unit::new(self.kind(), location, name, files);
            FoundUnit { store: search.root.to_owned(), unit, bytes }
        });
        units.collect::<Vec<_>>().into()
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let run = reporter.blank_run(unit.kind, unit.location.to_string_lossy().into_owned(), &unit.name);
        let series = SeriesByName::of(run.id);
        let mut reading = Reading { series, run: Some(run), base: 0, counted: false, times: None, rows: 0 };
        for file in &unit.files {
            match reading.file(file, reporter) {
                Err(error @ ImportError::Sink(_)) => return Err(error),
                Err(error) => reporter.reject(file, Place::File, error.code(), || error.to_string())?,
                Ok(()) => {}
            }
        }
        if reading.run.is_some() {
            return Ok(());
        }
        let (start_time, end_time) = reading.times.unzip();
        let start_time = if reading.counted { Some(reading.base) } else { start_time };
        reporter.facts(reading.series.run(), RunFacts { start_time, end_time, ..RunFacts::default() })
    }
}

/// The path of a run's parts without the number of the part, and that number.
fn run_and_part(path: &Path) -> (PathBuf, u64) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let length = name.len().saturating_sub(ENDING.len());
    let stem = name.get(..length).unwrap_or(&name);
    match stem.rsplit_once('_').map(|(run, part)| (run, part.parse())) {
        Some((run, Ok(part))) if !run.is_empty() => (path.with_file_name(run), part),
        _ => (path.with_file_name(stem), 0),
    }
}

struct Reading {
    series: SeriesByName,
    /// Until the sink knows it.
    run: Option<ImportedRun>,
    base: i64,
    /// Whether a time was counted from the base, which then must stay the start of the run.
    counted: bool,
    /// The first and the latest time that a row states.
    times: Option<(i64, i64)>,
    rows: i64,
}

impl Reading {
    fn file(&mut self, file: &Path, reporter: &mut Reporter<'_>) -> Result<()> {
        let (builder, modified, size) = columnar::open(file, reporter.limits)?;
        let total = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0).max(1);
        let mut names = Vec::new();
        batches::flat_names(builder.schema().fields(), "", batches::DEEPEST, &mut names);
        let find = |wanted: &str| names.iter().position(|name| name == wanted);
        let (step, time) = (find("_step"), find("_timestamp"));
        if let Some(mut run) = self.run.take() {
            self.base = reporter.fallback_time(run.id, modified);
            run.start_time = Some(self.base);
            if time.is_none() {
                run.time_source = TimeSource::FileModified;
            }
            reporter.run(run)?;
        }
        let mut reader =
            caught(file, || builder.with_batch_size(BATCH_ROWS).build().map_err(|error| error.to_string()))?;
        let mut number = 0_u64;
        while let Some(batch) = caught(file, || reader.next().transpose().map_err(|error| error.to_string()))?
        {
            let columns = batches::flat_readable(file, &batch, batches::DEEPEST)?;
            for row in 0..batch.num_rows() {
                number = number.saturating_add(1);
                let cell = |index: usize| columns.get(index).map_or(Cell::Empty, |column| column.cell(row));
                let point = self.point(step.map(cell), time.map(cell));
                for (index, name) in names.iter().enumerate() {
                    if !matches!(name.as_str(), "_step" | "_timestamp" | "_runtime") {
                        self.value(file, Place::Row(number), name, cell(index), point, reporter)?;
                    }
                }
            }
            let share = u128::from(size) * batch.num_rows() as u128 / u128::from(total);
            reporter.bytes.add(usize::try_from(share).unwrap_or(0));
        }
        Ok(())
    }

    /// Step and time of a row; without a step it is the number of the row, as W&B numbers rows itself.
    fn point(&mut self, step: Option<Cell<'_>>, time: Option<Cell<'_>>) -> Point {
        let number = |cell: Option<Cell<'_>>| number_of(cell?, TextNumbers::Decimal);
        let step = match step {
            Some(Cell::Integer(step)) => Step::whole(step),
            step => number(step).and_then(Step::from_f64).unwrap_or(Step::whole(self.rows)),
        };
        let recorded = number(time).and_then(micros_from_seconds);
        if let Some(time) = recorded {
            self.times = Some(self.times.map_or((time, time), |(low, high)| (low.min(time), high.max(time))));
        }
        let known = recorded.or(self.times.map(|(_, latest)| latest));
        self.counted |= known.is_none();
        let time = known.unwrap_or(self.base.saturating_add(self.rows));
        self.rows = self.rows.saturating_add(1);
        Point { step: step.whole, step_fraction: step.fraction, time, value: 0.0 }
    }

    fn value(
        &mut self,
        file: &Path,
        place: Place,
        name: &str,
        cell: Cell<'_>,
        point: Point,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        match (cell, number_of(cell, TextNumbers::NonFinite)) {
            (Cell::Empty, _) => Ok(()),
            (_, Some(value)) => self.series.point(reporter, file, place, name, Point { value, ..point }),
            _ => {
                reporter.remark(file, place, "ignored.not_a_number", name, 1, || {
                    format!("values of {name:?} that are no numbers are not imported")
                });
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_by_their_numbers() {
        let told = |name: &str| {
            let (run, part) = run_and_part(Path::new(name));
            (run.display().to_string(), part)
        };
        assert_eq!(
            told("/a/team_my_project_ab12_0.runhistory.parquet"),
            ("/a/team_my_project_ab12".to_owned(), 0)
        );
        assert_eq!(told("/a/team_p_ab12_11.runhistory.parquet"), ("/a/team_p_ab12".to_owned(), 11));
        assert_eq!(told("/a/ab12.runhistory.parquet"), ("/a/ab12".to_owned(), 0));
    }
}
