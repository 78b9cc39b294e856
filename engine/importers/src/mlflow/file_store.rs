//! The file store of MLflow 1.x, 2.x and 3.x: `mlruns/<experiment>/<run>/{meta.yaml, metrics/, params/, tags/, inputs/}`.
//!
//! Layout from `mlflow/store/tracking/file_store.py`. Deleted runs and experiments (also those in `.trash`) are imported
//! and marked as deleted. Artifacts, traces and models are not read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::{MetricName, Point, RunId};
use walkdir::WalkDir;

use super::meta::{self, ExperimentMeta, Meta, RunMeta};
use super::metric_line;
use crate::error::{ImportError, Result};
use crate::files;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::sink::{DatasetInput, Place};
use crate::source::{Found, FoundUnit, SourceKind, Unit, Unrecognised, relative_name};

/// The runs in an experiment or run folder; `None` when the folder is neither.
pub(crate) fn detect_folder(folder: &Path, limits: &Limits) -> Option<Found> {
    let file = folder.join("meta.yaml");
    if !std::fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file()) {
        return None;
    }
    let parent = folder.parent().unwrap_or(Path::new("/"));
    match read_meta(&file, limits) {
        Ok(Meta::Experiment(_)) => Some(experiment_runs(folder, parent, limits)),
        Ok(Meta::Run(_)) => {
            // One run was given: its experiment stands above it.
            let store = parent.parent().unwrap_or(parent);
            Some(Found { units: vec![run_unit(folder, store)], ..Found::default() })
        }
        Ok(Meta::Other) => None,
        Err(error) => {
            // A damaged `meta.yaml` in a folder that has runs below it: the runs are still there.
            let mut found = experiment_runs(folder, parent, limits);
            found.left.push(Unrecognised::of_error(file, &error));
            Some(found)
        }
    }
}

fn read_meta(file: &Path, limits: &Limits) -> Result<Meta> {
    let content = files::read_whole(file, limits)?;
    meta::parse(&content).map_err(|reason| ImportError::unreadable(file, "an MLflow meta.yaml", reason))
}

fn experiment_runs(folder: &Path, store: &Path, limits: &Limits) -> Found {
    // `.trash` holds the deleted experiments of the store above it.
    let root = if is_trash(store) { store.parent().unwrap_or(store) } else { store };
    let mut found = Found::default();
    let entries = WalkDir::new(folder).min_depth(1).max_depth(1).follow_links(false).sort_by_file_name();
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let reason = format!("cannot be listed: {error}");
                found.left.push(Unrecognised::faulty(folder.to_owned(), "folder.unreadable", reason));
                continue;
            }
        };
        let file = entry.path().join("meta.yaml");
        if !entry.file_type().is_dir() || !file.is_file() {
            continue;
        }
        match read_meta(&file, limits) {
            Ok(Meta::Run(_)) => found.units.push(run_unit(entry.path(), root)),
            Ok(_) => {}
            Err(error) => found.left.push(Unrecognised::of_error(file, &error)),
        }
    }
    found
}

fn is_trash(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == ".trash")
}

fn run_unit(folder: &Path, store: &Path) -> FoundUnit {
    FoundUnit {
        store: store.to_owned(),
        unit: Unit::new(SourceKind::Mlflow, folder.to_owned(), relative_name(store, folder), Vec::new()),
        bytes: 0,
    }
}

/// The experiment of a run; only its id is known where its `meta.yaml` is damaged or missing.
fn experiment_of(run: &Path, limits: &Limits) -> ExperimentMeta {
    let folder = run.parent().unwrap_or(Path::new("/"));
    let mut experiment = match read_meta(&folder.join("meta.yaml"), limits) {
        Ok(Meta::Experiment(experiment)) => experiment,
        _ => ExperimentMeta::unnamed(&folder.file_name().unwrap_or_default().to_string_lossy()),
    };
    experiment.deleted |= folder.parent().is_some_and(is_trash);
    experiment
}

/// The files of a run that are read, in a fixed order: its description, then values by folder and name.
pub(crate) fn list_run_files(run: &Path, limits: &Limits) -> Result<Vec<PathBuf>> {
    let mut listed = vec![run.join("meta.yaml")];
    for part in ["inputs", "metrics", "params", "tags"] {
        listed.extend(list(&run.join(part), limits)?);
    }
    Ok(listed)
}

/// Regular files below a folder by name; links and other things are left out. Empty when there is no such folder.
fn list(folder: &Path, limits: &Limits) -> Result<Vec<PathBuf>> {
    if !std::fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in WalkDir::new(folder).max_depth(limits.depth).follow_links(false).sort_by_file_name() {
        let entry = entry.map_err(|error| ImportError::Io {
            path: folder.to_owned(),
            action: "listing the folder",
            source: error.into(),
        })?;
        if entry.file_type().is_file() {
            found.push(entry.into_path());
        }
        if found.len() > limits.files {
            return Err(ImportError::TooLarge {
                path: folder.to_owned(),
                what: "the number of files",
                actual: found.len() as u64,
                limit: limits.files as u64,
            });
        }
    }
    Ok(found)
}

/// Reads one run folder.
pub(crate) fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    let folder = unit.path.as_path();
    let file = folder.join("meta.yaml");
    let Meta::Run(meta) = read_meta(&file, reporter.limits)? else {
        return Err(ImportError::unreadable(&file, "an MLflow meta.yaml", "it does not describe a run"));
    };
    let run = describe(unit, &meta, &file, reporter)?;
    let id = run.id;
    reporter.run(run)?;
    let root = folder.join("metrics");
    for file in list(&root, reporter.limits)? {
        let key = relative_name(&root, &file);
        match MetricName::new(&key) {
            Ok(metric) => match metric_file(&file, id, metric, reporter) {
                Err(error @ ImportError::Sink(_)) => return Err(error),
                Err(error) => reporter.reject(&file, Place::File, error.code(), || error.to_string())?,
                Ok(()) => {}
            },
            Err(error) => reporter.reject(&file, Place::File, "metric.refused", || error.to_string())?,
        }
    }
    Ok(())
}

fn describe(
    unit: &Unit,
    meta: &RunMeta,
    file: &Path,
    reporter: &mut Reporter<'_>,
) -> Result<crate::sink::ImportedRun> {
    let folder = unit.path.as_path();
    // The id is the folder's name where `meta.yaml` has lost it.
    let source_run_id = match &meta.run_id {
        Some(id) => id.clone(),
        None => folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let mut run = reporter.blank_run(unit.kind, source_run_id.clone(), &source_run_id);
    let experiment = experiment_of(folder, reporter.limits);
    reporter.put_into_experiment(&mut run, file, &experiment.name)?;
    for (key, value) in read_values(&folder.join("params"), reporter)? {
        reporter.param(&mut run.params, file, &key, &value)?;
    }
    let tags = read_values(&folder.join("tags"), reporter)?;
    for (key, value) in &tags {
        reporter.tag(&mut run.tags, file, key, value)?;
    }
    match meta.status() {
        Ok(status) => run.status = status,
        Err(message) => reporter.reject(file, Place::File, "status.unknown", || message)?,
    }
    super::name_by_tags(&mut run, &tags, meta.name.as_deref(), meta.user.as_deref());
    run.start_time = meta.start_time;
    run.end_time = meta.end_time;
    run.deleted = meta.deleted || experiment.deleted;
    run.datasets = read_datasets(folder, reporter)?;
    Ok(run)
}

/// The files below a folder as key → whole text. Texts that are not UTF-8 are rejected.
fn read_values(folder: &Path, reporter: &mut Reporter<'_>) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for file in list(folder, reporter.limits)? {
        let content = match files::read_whole(&file, reporter.limits) {
            Ok(content) => content,
            Err(error) => {
                reporter.reject(&file, Place::File, error.code(), || error.to_string())?;
                continue;
            }
        };
        reporter.bytes.add(content.len());
        match String::from_utf8(content) {
            Ok(text) => {
                values.insert(relative_name(folder, &file), text);
            }
            Err(_) => {
                reporter.reject(&file, Place::File, "text.not_utf8", || "the text is not UTF-8".to_owned())?
            }
        }
    }
    Ok(values)
}

/// The datasets that `inputs/<id>/meta.yaml` name, with their description in the experiment's `datasets` folder.
fn read_datasets(run: &Path, reporter: &mut Reporter<'_>) -> Result<Vec<DatasetInput>> {
    let mut datasets = Vec::new();
    for file in list(&run.join("inputs"), reporter.limits)? {
        if file.file_name().is_none_or(|name| name != "meta.yaml") {
            continue;
        }
        let result = read_mapping(&file, reporter.limits)
            .and_then(|input| dataset_of_input(run, &input, reporter.limits));
        match result {
            Ok(Some(dataset)) => datasets.push(dataset),
            Ok(None) => {}
            Err(error) => reporter.reject(&file, Place::File, "dataset.unreadable", || error.to_string())?,
        }
    }
    Ok(datasets)
}

fn read_mapping(file: &Path, limits: &Limits) -> Result<BTreeMap<String, String>> {
    let content = files::read_whole(file, limits)?;
    meta::mapping(&content).map_err(|reason| ImportError::unreadable(file, "an MLflow meta.yaml", reason))
}

fn dataset_of_input(
    run: &Path,
    input: &BTreeMap<String, String>,
    limits: &Limits,
) -> Result<Option<DatasetInput>> {
    let text = |values: &BTreeMap<String, String>, key| values.get(key).cloned().unwrap_or_default();
    if input.get("source_type").is_none_or(|kind| kind != "DATASET") {
        return Ok(None);
    }
    // The id becomes a part of a path: only the form that MLflow gives it is taken.
    let id = text(input, "source_id");
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(None);
    }
    let Some(experiment) = run.parent() else { return Ok(None) };
    let dataset = read_mapping(&experiment.join("datasets").join(id).join("meta.yaml"), limits)?;
    let tags =
        input.iter().filter_map(|(key, value)| Some((key.strip_prefix("tags.")?.to_owned(), value.clone())));
    Ok(Some(DatasetInput {
        name: text(&dataset, "name"),
        digest: text(&dataset, "digest"),
        source_type: text(&dataset, "source_type"),
        source: text(&dataset, "source"),
        tags: tags.collect(),
    }))
}

fn metric_file(file: &Path, run: RunId, metric: MetricName, reporter: &mut Reporter<'_>) -> Result<()> {
    let mut unpacked = files::open_lines(file, reporter.limits, &reporter.bytes.clone())?;
    let mut lines = crate::table::lines::Lines::new(&mut unpacked.reader, reporter.limits.line_bytes);
    let series = reporter.series(file, run, metric, None)?;
    let mut with_dataset = 0_u64;
    while let Some(line) = lines.next() {
        let line_number = lines.number();
        let text = match line {
            Ok(()) => String::from_utf8_lossy(lines.line()),
            Err(fault) => {
                reporter.reject(file, Place::Line(line_number), fault.code, || fault.message)?;
                continue;
            }
        };
        if text.trim().is_empty() {
            continue;
        }
        match metric_line::parse(&text) {
            Ok(parsed) => {
                with_dataset = with_dataset.saturating_add(u64::from(parsed.names_dataset));
                let (step, time, value) = (parsed.step, parsed.time, parsed.value);
                reporter.point(series, Point { step, step_fraction: None, time, value })?;
            }
            Err(message) => {
                let message = format!("{message}: {:?}", crate::error::beginning(&text));
                reporter.reject(file, Place::Line(line_number), "metric.malformed_line", || message)?;
            }
        }
    }
    if with_dataset > 0 {
        reporter.remark(file, Place::File, "ignored.metric_dataset", "", with_dataset, || {
            "points that name a dataset are taken without the name".to_owned()
        });
    }
    Ok(())
}
