//! Trackio: a SQLite file for each project with `metrics`, `configs` and `system_metrics`.
//!
//! Schema from `trackio/sqlite_storage.py`. Runs are known by `run_id`, in older files by their name. Nested keys are
//! joined with dots; system metrics come as `system/*`.

use indexmap::IndexMap;
use jiter::JsonValue;
use model::{Point, RunStatus};

use crate::configuration::params_of;
use crate::error::{Result, beginning};
use crate::json;
use crate::report::Reporter;
use crate::series::SeriesByName;
use crate::sink::{Place, RunFacts};
use crate::source::{Candidate, Claim, ClaimedFile, Found, Search, Source, SourceKind, Unit};
use crate::sqlite::{self, Database, integer, text};
use crate::table::TablePlan;
use crate::time::micros_from_text;

/// The source.
pub(crate) struct Trackio;

impl Source for Trackio {
    fn kind(&self) -> SourceKind {
        SourceKind::Trackio
    }

    fn claim(&self, file: &Candidate<'_>, search: &Search<'_>) -> Claim {
        if !file.has_tables(&["configs", "metrics"]) {
            return Claim::No;
        }
        let has_rows = Database::open(file.path, search.limits).and_then(|database| {
            Ok(database.has_column("metrics", "run_name")? && database.has_column("metrics", "metrics")?)
        });
        if has_rows.unwrap_or(false) { Claim::Read } else { Claim::No }
    }

    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        sqlite::units(self.kind(), files, search).into()
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        read(unit, reporter)
    }
}

/// A run and what it read so far.
struct Reading {
    series: SeriesByName,
    facts: RunFacts,
    rows: i64,
}

fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    let file = unit.path.as_path();
    let database = Database::open(file, reporter.limits)?;
    let mut runs = read_runs(unit, &database, reporter)?;
    for (table, prefix) in [("metrics", ""), ("system_metrics", "system/")] {
        if !database.has_table(table) {
            continue;
        }
        let key = if database.has_column(table, "run_id")? { "run_id" } else { "run_name" };
        let step = if database.has_column(table, "step")? { "step" } else { "NULL" };
        let mut statement = database
            .prepare(&format!("SELECT {key}, timestamp, {step}, metrics, rowid FROM {table} ORDER BY id"))?;
        let mut rows = database.query(&mut statement)?;
        while let Some(row) = database.next(&mut rows)? {
            let place = Place::Row(integer(row, 4).and_then(|row| u64::try_from(row).ok()).unwrap_or(0));
            let Some(run) = text(row, 0).and_then(|key| runs.get_mut(&key)) else {
                reporter.reject(file, place, "run.missing", || "the row names no run".to_owned())?;
                continue;
            };
            let Some(time) = text(row, 1).and_then(|time| micros_from_text(&time)) else {
                reporter.reject(file, place, "time.malformed", || "the row has no time".to_owned())?;
                continue;
            };
            let step = integer(row, 2).unwrap_or(run.rows);
            run.rows = run.rows.saturating_add(1);
            run.facts.end_time = run.facts.end_time.max(Some(time));
            let content = text(row, 3).unwrap_or_default();
            let point = Point { step, step_fraction: None, time, value: 0.0 };
            values(&mut run.series, unit, place, (prefix, &content), point, reporter)?;
        }
        // System metrics are numbered by themselves.
        runs.values_mut().for_each(|run| run.rows = 0);
    }
    for table in ["alerts", "artifacts", "traces"] {
        if database.has_table(table)
            && let count @ 1.. = database.count(table)?
        {
            reporter.remark(file, Place::File, "ignored.table", table, count, || {
                format!("{table} are not imported")
            });
        }
    }
    reporter.bytes.add(sqlite::size_of(file));
    for run in runs.into_values() {
        reporter.facts(run.series.run(), run.facts)?;
    }
    Ok(())
}

/// Hands on all runs, those with a configuration first, by their keys.
fn read_runs(
    unit: &Unit,
    database: &Database,
    reporter: &mut Reporter<'_>,
) -> Result<IndexMap<String, Reading>> {
    let file = unit.path.as_path();
    let project = unit.location.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let by_id = |table| -> Result<&'static str> {
        Ok(if database.has_column(table, "run_id")? { "run_id" } else { "run_name" })
    };
    let statements = [
        format!("SELECT {}, run_name, config, created_at FROM configs ORDER BY id", by_id("configs")?),
        format!(
            "SELECT {0}, max(run_name), NULL, min(timestamp) FROM metrics GROUP BY {0} ORDER BY min(id)",
            by_id("metrics")?
        ),
    ];
    let mut runs = IndexMap::new();
    for sql in statements {
        let mut statement = database.prepare(&sql)?;
        let mut rows = database.query(&mut statement)?;
        while let Some(row) = database.next(&mut rows)? {
            let Some(key) = text(row, 0).filter(|key| !key.is_empty() && !runs.contains_key(key)) else {
                continue;
            };
            let name = text(row, 1).unwrap_or_else(|| key.clone());
            let mut run = reporter.blank_run(unit.kind, format!("{project}/{key}"), &name);
            reporter.put_into_project(&mut run, file, &project);
            reporter.put_into_experiment(&mut run, file, &project)?;
            // The file does not say whether a run has ended.
            run.status = RunStatus::Finished;
            run.start_time = text(row, 3).and_then(|time| micros_from_text(&time));
            let config = text(row, 2).unwrap_or_else(|| "{}".to_owned());
            let params =
                json::parse(config.as_bytes()).and_then(|value| params_of(&value, reporter.limits.depth));
            match params {
                Ok(params) => {
                    for (key, value) in params {
                        match key.strip_prefix('_') {
                            // What Trackio adds itself.
                            Some(own) => {
                                if own == "Created" {
                                    run.start_time = micros_from_text(&value).or(run.start_time);
                                }
                                reporter.tag(&mut run.tags, file, &format!("trackio.{own}"), &value)?;
                            }
                            None => reporter.param(&mut run.params, file, &key, &value)?,
                        }
                    }
                }
                Err(reason) => reporter.reject(file, Place::File, "config.malformed", || {
                    format!("run {:?}: {reason}", beginning(&name))
                })?,
            }
            let reading = Reading { series: SeriesByName::of(run.id), facts: RunFacts::default(), rows: 0 };
            reporter.run(run)?;
            runs.insert(key, reading);
        }
    }
    Ok(runs)
}

/// Takes the values of a row.
fn values(
    series: &mut SeriesByName,
    unit: &Unit,
    place: Place,
    (prefix, content): (&str, &str),
    point: Point,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let file = unit.path.as_path();
    let parsed = match json::parse(content.as_bytes()) {
        Ok(value @ JsonValue::Object(_)) => value,
        Ok(_) => {
            return reporter.reject(file, place, "row.malformed", || "the values are no object".to_owned());
        }
        Err(reason) => return reporter.reject(file, place, "row.malformed", || reason),
    };
    let mut numbers = Vec::new();
    let mut others = Vec::new();
    let flat =
        json::sort_numbers(&parsed, &mut String::new(), '.', reporter.limits.depth, &mut |path, number| {
            match number {
                Some(number) => numbers.push((format!("{prefix}{path}"), number)),
                None => others.push(path.to_owned()),
            }
        });
    if let Err(path) = flat {
        reporter.reject(file, place, "json.too_deep", || format!("{path:?} is nested too deep"))?;
    }
    for (key, value) in numbers {
        series.point(reporter, file, place, &key, Point { value, ..point })?;
    }
    for key in others {
        reporter.remark(file, place, "ignored.not_a_number", &key, 1, || {
            format!("values of {key:?} that are no numbers are not imported")
        });
    }
    Ok(())
}
