//! DVCLive: a folder with `plots/metrics/**/<metric>.tsv`, `params.yaml` and `metrics.json`.
//!
//! A metric is the path of its table, `train/loss`; the column is named by the last part of it. Layout from
//! `src/dvclive/plots/metric.py`. Images, plots of scikit-learn and artifacts are not read.

use std::path::{Path, PathBuf};

use model::Point;
use walkdir::WalkDir;

use crate::configuration::params_in_file;
use crate::error::{ImportError, Result, beginning};
use crate::files;
use crate::limits::Limits;
use crate::number::{Step, parse_number};
use crate::report::Reporter;
use crate::series::SeriesByName;
use crate::sink::{Place, RunFacts, TimeSource};
use crate::source::{Folder, Found, FoundUnit, Search, Source, SourceKind, Unit, relative_name};
use crate::table::TablePlan;
use crate::table::csv::{Records, cell_text};
use crate::time::micros_from_text;

/// The source.
pub(crate) struct Dvclive;

impl Source for Dvclive {
    fn kind(&self) -> SourceKind {
        SourceKind::Dvclive
    }

    fn folder(&self, folder: &Folder<'_>, search: &Search<'_>) -> Option<Found> {
        let tables = folder.path.join("plots").join("metrics");
        let has = |name: &str| folder.files.iter().any(|file| file == name);
        // `metrics.json` is always written; its absence means that another tool made the folder.
        if !has("metrics.json") || !std::fs::symlink_metadata(&tables).is_ok_and(|found| found.is_dir()) {
            return None;
        }
        let unit =
            Unit::new(self.kind(), folder.path.to_owned(), search.folder_name(folder.path), Vec::new());
        let store = search.root.to_owned();
        Some(vec![FoundUnit { store, unit, bytes: 0 }].into())
    }

    fn list_files(&self, unit: &Unit, limits: &Limits) -> Result<Vec<PathBuf>> {
        let mut listed = tables(&unit.path, limits)?;
        for name in ["metrics.json", "params.yaml"] {
            let file = unit.path.join(name);
            if file.is_file() {
                listed.push(file);
            }
        }
        Ok(listed)
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        read(unit, reporter)
    }
}

/// The tables of a run by name.
fn tables(folder: &Path, limits: &Limits) -> Result<Vec<PathBuf>> {
    let root = folder.join("plots").join("metrics");
    let mut found = Vec::new();
    for entry in WalkDir::new(&root).max_depth(limits.depth).follow_links(false).sort_by_file_name() {
        let entry = entry.map_err(|error| ImportError::Io {
            path: root.clone(),
            action: "listing the folder",
            source: error.into(),
        })?;
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|ending| ending == "tsv") {
            found.push(entry.into_path());
        }
        if found.len() > limits.files {
            return Err(ImportError::TooLarge {
                path: root,
                what: "the number of files",
                actual: found.len() as u64,
                limit: limits.files as u64,
            });
        }
    }
    Ok(found)
}

fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    let folder = unit.path.as_path();
    let summary = folder.join("metrics.json");
    let modified = files::modified_micros(&files::open_regular(&summary, reporter.limits)?.1);
    let mut run = reporter.blank_run(unit.kind, unit.location.to_string_lossy().into_owned(), &unit.name);
    let base = reporter.fallback_time(run.id, modified);
    run.start_time = Some(base);
    run.time_source = TimeSource::FileModified;
    let params = folder.join("params.yaml");
    for (key, value) in params_in_file(&params, reporter)? {
        reporter.param(&mut run.params, &params, &key, &value)?;
    }
    for (key, value) in params_in_file(&summary, reporter)? {
        reporter.tag(&mut run.tags, &summary, &format!("dvclive.summary.{key}"), &value)?;
    }
    let id = run.id;
    reporter.run(run)?;
    let mut reading = Reading { series: SeriesByName::of(id), base, times: None };
    let root = folder.join("plots").join("metrics");
    for file in tables(folder, reporter.limits)? {
        let name = relative_name(&root, &file);
        let metric = name.strip_suffix(".tsv").unwrap_or(&name);
        match reading.table(&file, metric, reporter) {
            Err(error @ ImportError::Sink(_)) => return Err(error),
            Err(error) => reporter.reject(&file, Place::File, error.code(), || error.to_string())?,
            Ok(()) => {}
        }
    }
    let (start_time, end_time) = reading.times.unzip();
    reporter.facts(id, RunFacts { start_time, end_time, ..RunFacts::default() })
}

struct Reading {
    series: SeriesByName,
    base: i64,
    /// The first and the last time that a table states.
    times: Option<(i64, i64)>,
}

impl Reading {
    fn table(&mut self, file: &Path, metric: &str, reporter: &mut Reporter<'_>) -> Result<()> {
        let mut unpacked = files::open_lines(file, reporter.limits, &reporter.bytes.clone())?;
        let mut rows = Records::new(&mut unpacked.reader, b'\t', reporter.limits);
        let last = metric.rsplit('/').next().unwrap_or(metric);
        let mut columns: Option<(usize, usize, Option<usize>)> = None;
        let mut count = 0_i64;
        while let Some(row) = rows.next() {
            let place = Place::Line(rows.line());
            if let Err(fault) = row {
                reporter.reject(file, place, fault.code, || fault.message)?;
                continue;
            }
            let Some((step, value, time)) = columns else {
                let names: Vec<String> =
                    (0..rows.len()).map(|index| cell_text(rows.cell(index)).0.into_owned()).collect();
                let find = |name: &str| names.iter().position(|found| found == name);
                // One column beside step and timestamp is the metric, whatever it is called.
                let other = || names.iter().position(|name| name != "step" && name != "timestamp");
                let (Some(step), Some(value)) = (find("step"), find(last).or_else(other)) else {
                    let reason = "the first line does not name a step and a value";
                    return Err(ImportError::unreadable(file, "a table of DVCLive", reason));
                };
                columns = Some((step, value, find("timestamp")));
                continue;
            };
            let cell = |index: usize| cell_text(rows.cell(index)).0;
            let recorded = time.and_then(|index| micros_from_text(&cell(index)));
            if let Some(time) = recorded {
                self.times =
                    Some(self.times.map_or((time, time), |(low, high)| (low.min(time), high.max(time))));
            }
            let time = recorded.unwrap_or(self.base.saturating_add(count));
            count = count.saturating_add(1);
            let number = parse_number(&cell(step)).and_then(Step::from_f64);
            let (Some(step), Some(number)) = (number, parse_number(&cell(value))) else {
                reporter.reject(file, place, "point.malformed", || {
                    format!("{:?}: step or value is no number", beginning(metric))
                })?;
                continue;
            };
            let point = Point { step: step.whole, step_fraction: step.fraction, time, value: number };
            self.series.point(reporter, file, place, metric, point)?;
        }
        Ok(())
    }
}
