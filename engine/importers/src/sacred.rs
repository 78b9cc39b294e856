//! Sacred's file storage: a folder for each run with `run.json, config.json, metrics.json, info.json`.
//!
//! Layout from `sacred/observers/file_storage.py`. Times are written in UTC without saying so. Captured output, sources and
//! artifacts are not read.

use jiter::JsonValue;
use model::{Point, RunStatus};

use crate::configuration::params_in_file;
use crate::error::{ImportError, Result, beginning};
use crate::files;
use crate::json;
use crate::number::Step;
use crate::report::Reporter;
use crate::series::SeriesByName;
use crate::sink::{ImportedRun, Place};
use crate::source::{Folder, Found, FoundUnit, Search, Source, SourceKind, Unit};
use crate::table::TablePlan;
use crate::time::micros_from_text;

/// The source.
pub(crate) struct Sacred;

const DESCRIPTION: &str = "run.json";
const FILES: [&str; 4] = [DESCRIPTION, "config.json", "metrics.json", "info.json"];

type Object<'v, 'j> = &'v [(std::borrow::Cow<'j, str>, JsonValue<'j>)];

impl Source for Sacred {
    fn kind(&self) -> SourceKind {
        SourceKind::Sacred
    }

    fn folder(&self, folder: &Folder<'_>, search: &Search<'_>) -> Option<Found> {
        let has = |name: &str| folder.files.iter().any(|file| file == name);
        if !has(DESCRIPTION) || !has("config.json") {
            return None;
        }
        let files = FILES.into_iter().filter(|name| has(name)).map(|name| folder.path.join(name)).collect();
        let unit = Unit::new(self.kind(), folder.path.to_owned(), search.folder_name(folder.path), files);
        let bytes = unit
            .files
            .iter()
            .filter_map(|file| std::fs::metadata(file).ok())
            .fold(0_u64, |sum, metadata| sum.saturating_add(metadata.len()));
        Some(vec![FoundUnit { store: search.root.to_owned(), unit, bytes }].into())
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let file = unit.path.join(DESCRIPTION);
        let content = files::read_whole(&file, reporter.limits)?;
        reporter.bytes.add(content.len());
        let description = json::parse(&content);
        let description = match &description {
            Ok(JsonValue::Object(object)) => object.as_slice(),
            Ok(_) => return Err(ImportError::unreadable(&file, "a run of Sacred", "it is no object")),
            Err(reason) => return Err(ImportError::unreadable(&file, "a run of Sacred", reason.clone())),
        };
        let run = describe(unit, description, reporter)?;
        let (id, start) = (run.id, run.start_time);
        reporter.run(run)?;
        let mut series = SeriesByName::of(id);
        read_metrics(unit, &mut series, start, reporter)
    }
}

fn text<'v>(object: Object<'v, '_>, key: &str) -> Option<&'v str> {
    match json::get(object, key) {
        Some(JsonValue::Str(text)) => Some(text),
        _ => None,
    }
}

fn describe(unit: &Unit, object: Object<'_, '_>, reporter: &mut Reporter<'_>) -> Result<ImportedRun> {
    let file = unit.path.join(DESCRIPTION);
    let id = unit.location.to_string_lossy().into_owned();
    let mut run = reporter.blank_run(unit.kind, id, &unit.name);
    let status = text(object, "status").unwrap_or_default();
    run.status = match status {
        "QUEUED" => RunStatus::Scheduled,
        "RUNNING" => RunStatus::Running,
        "COMPLETED" => RunStatus::Finished,
        "FAILED" => RunStatus::Failed,
        "INTERRUPTED" | "TIMEOUT" => RunStatus::Killed,
        other => {
            reporter.reject(&file, Place::File, "status.unknown", || {
                format!("status {:?} is unknown", beginning(other))
            })?;
            RunStatus::Running
        }
    };
    let micros = |key: &str| text(object, key).and_then(micros_from_text);
    run.start_time = micros("start_time");
    run.end_time = micros("stop_time").or(micros("heartbeat").filter(|_| run.status.is_ended()));
    let depth = reporter.limits.depth;
    let mut tags: Vec<(&str, String)> = vec![("sacred.status", status.to_owned())];
    for key in ["result", "command", "fail_trace"] {
        if let Some(value) = json::get(object, key).and_then(|value| json::text(value, depth)) {
            tags.push((
                match key {
                    "result" => "sacred.result",
                    "command" => "sacred.command",
                    _ => "sacred.fail_trace",
                },
                value,
            ));
        }
    }
    if let Some(JsonValue::Object(host)) = json::get(object, "host")
        && let Some(name) = text(host, "hostname")
    {
        tags.push(("sacred.host", name.to_owned()));
    }
    if let Some(JsonValue::Object(meta)) = json::get(object, "meta") {
        let comment = match json::get(meta, "options") {
            Some(JsonValue::Object(options)) => text(options, "--comment"),
            _ => None,
        };
        if let Some(comment) = comment.or_else(|| text(meta, "comment")) {
            tags.push(("sacred.comment", comment.to_owned()));
        }
    }
    if let Some(JsonValue::Object(experiment)) = json::get(object, "experiment") {
        if let Some(name) = text(experiment, "name").filter(|name| !name.is_empty()) {
            reporter.put_into_experiment(&mut run, &file, name)?;
        }
        if let Some(JsonValue::Array(repositories)) = json::get(experiment, "repositories")
            && let Some(JsonValue::Object(repository)) = repositories.first()
        {
            run.git_commit = text(repository, "commit").map(str::to_owned);
        }
    }
    for (key, value) in tags {
        // A trace may be longer than a tag; its end says what went wrong.
        let most = model::limits::TAG_VALUE_CHARACTERS;
        let skipped = value.chars().count().saturating_sub(most);
        let value: String = value.chars().skip(skipped).collect();
        reporter.tag(&mut run.tags, &file, key, &value)?;
    }
    let config = unit.path.join("config.json");
    for (key, value) in params_in_file(&config, reporter)? {
        reporter.param(&mut run.params, &config, &key, &value)?;
    }
    let info = unit.path.join("info.json");
    for (key, value) in params_in_file(&info, reporter)? {
        reporter.tag(&mut run.tags, &info, &format!("sacred.info.{key}"), &value)?;
    }
    Ok(run)
}

/// Reads `{"name": {"steps": […], "timestamps": […], "values": […]}}`.
fn read_metrics(
    unit: &Unit,
    series: &mut SeriesByName,
    start: Option<i64>,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let file = unit.path.join("metrics.json");
    if !unit.files.contains(&file) {
        return Ok(());
    }
    let content = match files::read_whole(&file, reporter.limits) {
        Ok(content) => content,
        Err(error) => return reporter.reject(&file, Place::File, error.code(), || error.to_string()),
    };
    reporter.bytes.add(content.len());
    let parsed = json::parse(&content);
    let metrics = match &parsed {
        Ok(JsonValue::Object(metrics)) => metrics,
        Ok(_) => {
            return reporter
                .reject(&file, Place::File, "import.unreadable", || "the document is no object".to_owned());
        }
        Err(reason) => {
            return reporter.reject(&file, Place::File, "import.unreadable", || reason.clone());
        }
    };
    for (name, metric) in metrics.iter() {
        let list = |key: &str| match metric {
            JsonValue::Object(metric) => match json::get(metric, key) {
                Some(JsonValue::Array(values)) => Some(values.as_slice()),
                _ => None,
            },
            _ => None,
        };
        let (Some(steps), Some(values)) = (list("steps"), list("values")) else {
            reporter.reject(&file, Place::File, "metric.malformed", || {
                format!("{:?} has no lists of steps and values", beginning(name))
            })?;
            continue;
        };
        let times = list("timestamps").unwrap_or_default();
        if steps.len() != values.len() || times.len() != values.len() {
            reporter.reject(&file, Place::File, "metric.lengths", || {
                format!(
                    "{:?} has {} steps, {} values and {} timestamps; as many points as all of them allow are taken",
                    beginning(name),
                    steps.len(),
                    values.len(),
                    times.len()
                )
            })?;
        }
        for (index, ((step, value), time)) in steps.iter().zip(values).zip(times).enumerate() {
            let place = Place::Row(index as u64 + 1);
            let step = json::number(step).and_then(Step::from_f64);
            let time = match time {
                JsonValue::Str(text) => micros_from_text(text),
                _ => None,
            };
            let (Some(step), Some(value), Some(time)) = (step, scalar(value), time.or(start)) else {
                reporter.reject(&file, place, "point.malformed", || {
                    format!("{:?}: step, value or time is missing or no number", beginning(name))
                })?;
                continue;
            };
            let point = Point { step: step.whole, step_fraction: step.fraction, time, value };
            series.point(reporter, &file, place, name, point)?;
        }
    }
    Ok(())
}

/// A number, also as jsonpickle writes those of NumPy: `{"dtype": "float64", "py/object": …, "value": 0.5}`.
fn scalar(value: &JsonValue<'_>) -> Option<f64> {
    match value {
        JsonValue::Object(object) => json::get(object, "value").and_then(json::number),
        value => json::number(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_numpy_are_read_as_data() {
        let read = |text: &str| scalar(&json::parse(text.as_bytes()).unwrap());
        assert_eq!(read(r#"{"dtype": "float32", "py/object": "numpy.float32", "value": 0.5}"#), Some(0.5));
        assert_eq!(read("NaN").map(f64::is_nan), Some(true));
        assert_eq!(read(r#"{"py/object": "os.system"}"#), None);
    }
}
