//! What the Neptune exporter wrote: Parquet files with a row for each attribute and each point of a run.
//!
//! `<run>_part_<n>.parquet`; columns `project_id, run_id, attribute_path, attribute_type, step decimal(18,6), timestamp,
//! {int,float,string,bool,datetime,string_set}_value, file_value{path}, histogram_value{..}`. Float series are points, with
//! their fractional steps; single values are params, below `sys/`, `source_code/` and `monitoring/` tags; the other series
//! are counted and left. Source: `src/neptune_exporter/model.py` of neptune-exporter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, SecondsFormat};
use indexmap::IndexMap;
use model::{Key, ParamValue, Point, RunId, RunStatus, TagValue};
use parquet::arrow::ProjectionMask;

use crate::columnar::{self, caught};
use crate::error::{ImportError, Result, beginning};
use crate::report::{Reporter, shortened};
use crate::series::SeriesByName;
use crate::sink::{ImportedRun, Place, RunFacts};
use crate::source::{
    Candidate, Claim, ClaimedFile, Found, FoundUnit, Search, Source, SourceKind, Unit, Unrecognised,
    relative_name,
};
use crate::table::TablePlan;

/// The source.
pub(crate) struct Neptune;

const COLUMNS: [&str; 5] = ["project_id", "run_id", "attribute_path", "attribute_type", "step"];

impl Source for Neptune {
    fn kind(&self) -> SourceKind {
        SourceKind::Neptune
    }

    fn claim(&self, file: &Candidate<'_>, search: &Search<'_>) -> Claim {
        if !file.beginning.starts_with(b"PAR1") {
            return Claim::No;
        }
        let columns = columnar::column_names(file.path, search.limits);
        let all = COLUMNS.iter().all(|name| columns.iter().any(|column| column == name));
        if all { Claim::Read } else { Claim::No }
    }

    /// The parts of a run are one unit. The exporter writes part 0 last: without it the export was not finished.
    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        let mut runs: BTreeMap<PathBuf, BTreeMap<u64, ClaimedFile>> = BTreeMap::new();
        for file in files {
            let (run, part) = run_and_part(&file.path);
            runs.entry(run).or_default().insert(part, file);
        }
        let mut found = Found::default();
        for (location, parts) in runs {
            if !parts.contains_key(&0) {
                let reason =
                    "a part of a Neptune export whose part_0 is missing: the export was not finished";
                found.left.extend(
                    parts
                        .into_values()
                        .map(|file| Unrecognised::faulty(file.path, "export.unfinished", reason)),
                );
                continue;
            }
            let name = relative_name(
                search.root.parent().filter(|_| search.root.is_file()).unwrap_or(search.root),
                &location,
            );
            let (files, sizes): (Vec<_>, Vec<u64>) =
                parts.into_values().map(|file| (file.path, file.size)).unzip();
            let unit = Unit::new(self.kind(), location, name, files);
            found.units.push(FoundUnit { store: search.root.to_owned(), unit, bytes: sizes.iter().sum() });
        }
        found
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        read(unit, reporter)
    }
}

/// The path of a run's files without the part's number and the ending, and that number; a file with another name is a
/// run's only part.
fn run_and_part(path: &Path) -> (PathBuf, u64) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    match stem.rsplit_once("_part_").map(|(run, part)| (run, part.parse())) {
        Some((run, Ok(part))) => (path.with_file_name(run), part),
        _ => (path.to_owned(), 0),
    }
}

/// Columns of single values, and of points.
const SINGLE: [&str; 11] = [
    "project_id",
    "run_id",
    "attribute_path",
    "attribute_type",
    "int_value",
    "float_value",
    "string_value",
    "bool_value",
    "datetime_value",
    "string_set_value",
    "file_value",
];
const SERIES: [&str; 7] =
    ["project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp", "float_value"];

fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    // What a run is called stands in rows that may come behind its points: the files are read twice, by column.
    let mut runs: IndexMap<(String, String), Attributes> = IndexMap::new();
    for file in &unit.files {
        let rows = Rows::each(file, &SINGLE, reporter, &mut |rows, row, place, reporter| {
            let Some(key) = rows.run(row) else {
                return reporter.reject(file, place, "run.missing", || "the row names no run".to_owned());
            };
            runs.entry(key).or_default().take(file, rows, row, place, reporter)
        });
        or_reject(rows, file, reporter)?;
    }
    let mut reading: IndexMap<(String, String), Reading> = IndexMap::new();
    for (key, attributes) in runs {
        let file = unit.files.first().unwrap_or(&unit.path);
        let run = attributes.describe(unit, file, &key, reporter)?;
        let state =
            Reading { id: run.id, start: run.start_time, last: None, series: SeriesByName::of(run.id) };
        reporter.run(run)?;
        reading.insert(key, state);
    }
    for file in &unit.files {
        let rows = Rows::each(file, &SERIES, reporter, &mut |rows, row, place, reporter| {
            let Some(run) = rows.run(row).and_then(|key| reading.get_mut(&key)) else { return Ok(()) };
            run.point(file, rows, row, place, reporter)
        });
        or_reject(rows, file, reporter)?;
    }
    for run in reading.into_values() {
        let ended = run.last.filter(|_| run.start.is_some());
        reporter.facts(run.id, RunFacts { end_time: ended, ..RunFacts::default() })?;
    }
    Ok(())
}

/// A file that cannot be read does not stop the others of the run.
fn or_reject(result: Result<()>, file: &Path, reporter: &mut Reporter<'_>) -> Result<()> {
    match result {
        Err(error @ ImportError::Sink(_)) => Err(error),
        Err(error) => reporter.reject(file, Place::File, error.code(), || error.to_string()),
        Ok(()) => Ok(()),
    }
}

/// The columns of a batch that were asked for and are there.
struct Rows {
    columns: Vec<(&'static str, ArrayRef)>,
}

type EachRow<'f> = dyn FnMut(&Rows, usize, Place, &mut Reporter<'_>) -> Result<()> + 'f;

impl Rows {
    /// Calls `take` for each row of a file.
    fn each(
        file: &Path,
        wanted: &'static [&'static str],
        reporter: &mut Reporter<'_>,
        take: &mut EachRow<'_>,
    ) -> Result<()> {
        const BATCH_ROWS: usize = 8_192;
        let (builder, _, size) = columnar::open(file, reporter.limits)?;
        let total = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0).max(1);
        let places = builder.schema().fields().iter().enumerate();
        let roots: Vec<usize> = places
            .filter(|(_, field)| wanted.contains(&field.name().as_str()))
            .map(|(index, _)| index)
            .collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let mut reader = caught(file, || {
            builder
                .with_projection(mask)
                .with_batch_size(BATCH_ROWS)
                .build()
                .map_err(|error| error.to_string())
        })?;
        let mut number = 0_u64;
        while let Some(batch) = caught(file, || reader.next().transpose().map_err(|e| e.to_string()))? {
            let rows = caught(file, || Self::of(&batch, wanted))?;
            for row in 0..batch.num_rows() {
                number = number.saturating_add(1);
                take(&rows, row, Place::Row(number), reporter)?;
            }
            // Half for each of the two times that the file is read.
            let share = u128::from(size) * batch.num_rows() as u128 / u128::from(total) / 2;
            reporter.bytes.add(usize::try_from(share).unwrap_or(0));
        }
        Ok(())
    }

    fn of(batch: &RecordBatch, wanted: &'static [&'static str]) -> std::result::Result<Self, String> {
        let mut columns = Vec::new();
        for name in wanted {
            let Some(array) = batch.column_by_name(name) else { continue };
            let to = |kind: &DataType| cast(array, kind).map_err(|error| format!("{name}: {error}"));
            let array = match *name {
                "int_value" => to(&DataType::Int64)?,
                "float_value" => to(&DataType::Float64)?,
                "bool_value" => to(&DataType::Boolean)?,
                // Six decimals are what a step keeps; a file with more is rounded by Arrow.
                "step" => to(&DataType::Decimal128(38, 6))?,
                "timestamp" | "datetime_value" => to(&DataType::Timestamp(TimeUnit::Microsecond, None))?,
                "string_set_value" | "file_value" => array.clone(),
                _ => to(&DataType::Utf8)?,
            };
            columns.push((*name, array));
        }
        Ok(Self { columns })
    }

    /// A column where the row has a value.
    fn valid(&self, name: &str, row: usize) -> Option<&ArrayRef> {
        let (_, array) = self.columns.iter().find(|(column, _)| *column == name)?;
        (row < array.len() && array.is_valid(row)).then_some(array)
    }

    fn text(&self, name: &str, row: usize) -> Option<&str> {
        Some(self.valid(name, row)?.as_string_opt::<i32>()?.value(row))
    }

    fn micros(&self, name: &str, row: usize) -> Option<i64> {
        Some(self.valid(name, row)?.as_primitive_opt::<TimestampMicrosecondType>()?.value(row))
    }

    fn number(&self, row: usize) -> Option<f64> {
        Some(self.valid("float_value", row)?.as_primitive_opt::<Float64Type>()?.value(row))
    }

    /// Project and id.
    fn run(&self, row: usize) -> Option<(String, String)> {
        let run = self.text("run_id", row).filter(|run| !run.is_empty())?;
        Some((self.text("project_id", row).unwrap_or_default().to_owned(), run.to_owned()))
    }

    /// The single value of a row as text, by the type that it names.
    fn value(&self, kind: &str, row: usize) -> Option<String> {
        match kind {
            "int" => {
                Some(self.valid("int_value", row)?.as_primitive_opt::<Int64Type>()?.value(row).to_string())
            }
            "float" => Some(ParamValue::from_f64(self.number(row)?).to_string()),
            "bool" => Some(self.valid("bool_value", row)?.as_boolean_opt()?.value(row).to_string()),
            "datetime" => {
                let time = DateTime::from_timestamp_micros(self.micros("datetime_value", row)?)?;
                Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
            "string_set" => {
                let texts = self.valid("string_set_value", row)?.as_list_opt::<i32>()?.value(row);
                let texts: &StringArray = texts.as_string_opt()?;
                let texts: Vec<&str> = texts.iter().flatten().collect();
                Some(serde_json::Value::from(texts).to_string())
            }
            "file" => {
                let structure = self.valid("file_value", row)?.as_struct_opt()?;
                let paths: &StringArray = structure.column_by_name("path")?.as_string_opt()?;
                paths.is_valid(row).then(|| paths.value(row).to_owned())
            }
            _ => Some(self.text("string_value", row)?.to_owned()),
        }
    }
}

/// The single values of a run.
#[derive(Default)]
struct Attributes {
    values: BTreeMap<String, String>,
}

impl Attributes {
    fn take(
        &mut self,
        file: &Path,
        rows: &Rows,
        row: usize,
        place: Place,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let (Some(path), Some(kind)) = (rows.text("attribute_path", row), rows.text("attribute_type", row))
        else {
            return reporter.reject(file, place, "attribute.missing", || {
                "the row does not say which attribute it is of".to_owned()
            });
        };
        match kind {
            // Read as points.
            "float_series" => {}
            "int" | "float" | "bool" | "datetime" | "string" | "string_set" | "file" => {
                if let Some(value) = rows.value(kind, row) {
                    self.values.insert(path.to_owned(), value);
                } else {
                    reporter.reject(file, place, "attribute.empty", || {
                        format!("{:?} is of type {kind} and has no such value", beginning(path))
                    })?;
                }
            }
            other => reporter.remark(file, place, "ignored.attributes", other, 1, || {
                format!("attributes of type {:?} are not imported", beginning(other))
            }),
        }
        Ok(())
    }

    fn describe(
        self,
        unit: &Unit,
        file: &Path,
        (project, id): &(String, String),
        reporter: &mut Reporter<'_>,
    ) -> Result<ImportedRun> {
        let value = |path: &str| self.values.get(path).filter(|text| !text.is_empty());
        let name = value("sys/name").or(value("sys/custom_run_id")).unwrap_or(id);
        let mut run = reporter.blank_run(unit.kind, format!("{project}/{id}"), name);
        run.name = shortened(name, model::limits::NAME_CHARACTERS);
        // `workspace/project`.
        let short = project.rsplit('/').next().unwrap_or(project);
        if !short.is_empty() {
            reporter.put_into_project(&mut run, file, short);
            let experiment = value("sys/experiment/name").map_or(short, String::as_str);
            reporter.put_into_experiment(&mut run, file, experiment)?;
        }
        run.user = value("sys/owner").cloned();
        run.start_time = value("sys/creation_time").and_then(|time| crate::time::micros_from_text(time));
        run.git_commit = value("source_code/git/commit_id").cloned();
        run.deleted = value("sys/trashed").is_some_and(|trashed| trashed == "true");
        run.status = match (value("sys/failed").map(String::as_str), value("sys/state").map(String::as_str)) {
            (Some("true"), _) => RunStatus::Failed,
            (_, Some("running" | "active")) => RunStatus::Running,
            _ => RunStatus::Finished,
        };
        let (mut params, mut tags): (BTreeMap<Key, ParamValue>, BTreeMap<Key, TagValue>) = Default::default();
        for (key, text) in [("neptune.project", project), ("neptune.run_id", id)] {
            reporter.tag(&mut tags, file, key, text)?;
        }
        for (path, text) in &self.values {
            let is_label =
                ["sys/", "source_code/", "monitoring/"].iter().any(|space| path.starts_with(space));
            if is_label {
                reporter.tag(&mut tags, file, path, text)?;
            } else {
                reporter.param(&mut params, file, path, text)?;
            }
        }
        (run.params, run.tags) = (params, tags);
        Ok(run)
    }
}

/// A run whose points are read.
struct Reading {
    id: RunId,
    start: Option<i64>,
    last: Option<i64>,
    series: SeriesByName,
}

impl Reading {
    fn point(
        &mut self,
        file: &Path,
        rows: &Rows,
        row: usize,
        place: Place,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        if rows.text("attribute_type", row) != Some("float_series") {
            return Ok(());
        }
        let Some(path) = rows.text("attribute_path", row) else { return Ok(()) };
        let step = rows.valid("step", row).and_then(|steps| {
            let millionths = steps.as_primitive_opt::<Decimal128Type>()?.value(row);
            let whole = i64::try_from(millionths.div_euclid(1_000_000)).ok()?;
            // Below one million, as a remainder of it.
            let fraction = i32::try_from(millionths.rem_euclid(1_000_000)).ok()?;
            Some((whole, (fraction != 0).then_some(fraction)))
        });
        let (Some((step, step_fraction)), Some(value)) = (step, rows.number(row)) else {
            return reporter.reject(file, place, "point.malformed", || {
                format!("{:?}: step or value is missing or out of range", beginning(path))
            });
        };
        let recorded = rows.micros("timestamp", row);
        let Some(time) = recorded.or(self.last).or(self.start) else {
            return reporter.reject(file, place, "time.missing", || "the point has no time".to_owned());
        };
        if recorded.is_none() {
            reporter.remark(file, place, "time.missing", "", 1, || {
                "points without a time get the latest time before them".to_owned()
            });
        }
        self.last = self.last.max(Some(time));
        self.series.point(reporter, file, place, path, Point { step, step_fraction, time, value })
    }
}
