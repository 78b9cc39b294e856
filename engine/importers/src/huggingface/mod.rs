//! Hugging Face `trainer_state.json`: every numeric key of a `log_history` entry but `step` is a metric.
//!
//! `checkpoint-N/trainer_state.json` repeats the entries of the run above it. It is imported only where it says something
//! that the run does not; alone it stands for the run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jiter::JsonValue;
use model::{MetricName, Point};

use crate::error::Result;
use crate::files;
use crate::json;
use crate::limits::Limits;
use crate::number::Step;
use crate::report::{Reporter, SeriesIndex};
use crate::sink::{Place, TimeSource};
use crate::source::{SourceKind, Unit, UnitDetail, relative_name};

/// What detection knows of a state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatePlace {
    /// Checkpoints whose entries are imported only when they are no beginning of this file's.
    checkpoints: Vec<PathBuf>,
}

/// Keys of a state that tell how the run was set up.
const PARAMS: [&str; 9] = [
    "max_steps",
    "num_train_epochs",
    "train_batch_size",
    "eval_steps",
    "logging_steps",
    "save_steps",
    "eval_delay",
    "is_hyper_param_search",
    "trial_name",
];

/// Puts the state files of a run and its checkpoints together.
pub(crate) fn group(root: &Path, mut states: Vec<PathBuf>, limits: &Limits) -> Result<Vec<(Unit, u64)>> {
    states.sort();
    // The folder of the run, its own state, and the states of its checkpoints by number.
    let mut runs: Vec<(PathBuf, Option<PathBuf>, Vec<(u64, PathBuf)>)> = Vec::new();
    for state in states {
        let folder = state.parent().unwrap_or(Path::new("/")).to_owned();
        let (run, checkpoint) = match checkpoint_number(&folder) {
            Some(number) => (folder.parent().unwrap_or(&folder).to_owned(), Some(number)),
            None => (folder, None),
        };
        let index = match runs.iter().position(|(found, ..)| *found == run) {
            Some(index) => index,
            None => {
                runs.push((run, None, Vec::new()));
                runs.len() - 1
            }
        };
        let Some((_, own, checkpoints)) = runs.get_mut(index) else { continue };
        match checkpoint {
            Some(number) => checkpoints.push((number, state)),
            // A folder with two state files of different names: the first in order is the run's.
            None if own.is_none() => *own = Some(state),
            None => checkpoints.push((u64::MAX, state)),
        }
    }
    let mut units = Vec::new();
    for (folder, own, mut checkpoints) in runs {
        checkpoints.sort();
        let main = match own {
            Some(own) => own,
            // Without a state of its own the run is what its latest checkpoint says.
            None => match checkpoints.pop() {
                Some((_, latest)) => latest,
                None => continue,
            },
        };
        let name = if folder.starts_with(root) {
            relative_name(root, &folder)
        } else {
            folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
        };
        let checkpoints: Vec<PathBuf> = checkpoints.into_iter().map(|(_, state)| state).collect();
        let files: Vec<PathBuf> = std::iter::once(main).chain(checkpoints.iter().cloned()).collect();
        let mut bytes = 0_u64;
        for file in &files {
            bytes = bytes.saturating_add(files::open_regular(file, limits)?.1.len());
        }
        let detail = UnitDetail::HuggingFace(StatePlace { checkpoints });
        units.push((Unit { kind: SourceKind::HuggingFace, location: folder, name, files, detail }, bytes));
    }
    Ok(units)
}

fn checkpoint_number(folder: &Path) -> Option<u64> {
    folder.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse().ok()
}

/// Reads a run: its state, then what its checkpoints say beyond it.
pub(crate) fn import(unit: &Unit, place: &StatePlace, reporter: &mut Reporter<'_>) -> Result<()> {
    let Some(main) = unit.files.first() else { return Ok(()) };
    let content = files::read_whole(main, reporter.limits)?;
    let state = parse(&content);
    match &state {
        Ok(state) => {
            let id = unit.location.to_string_lossy().into_owned();
            import_state(unit.kind, main, state, (id, &unit.name), reporter)?;
        }
        Err(reason) => reporter.reject(main, Place::File, "import.unreadable", || reason.clone())?,
    }
    reporter.bytes.add(content.len());
    let main_history = state.as_ref().map(history).unwrap_or_default();
    for checkpoint in &place.checkpoints {
        let content = match files::read_whole(checkpoint, reporter.limits) {
            Ok(content) => content,
            Err(error) => {
                reporter.reject(checkpoint, Place::File, error.code(), || error.to_string())?;
                continue;
            }
        };
        reporter.bytes.add(content.len());
        let state = match parse(&content) {
            Ok(state) => state,
            Err(reason) => {
                reporter.reject(checkpoint, Place::File, "import.unreadable", || reason)?;
                continue;
            }
        };
        let entries = history(&state);
        let repeated =
            entries.len() <= main_history.len() && entries.iter().zip(main_history).all(|(a, b)| same(a, b));
        if repeated {
            let count = entries.len() as u64;
            reporter.remark(checkpoint, Place::File, "checkpoint.repeated", "", count, || {
                "entries of checkpoints that repeat the run's are not imported again".to_owned()
            });
            continue;
        }
        let folder = checkpoint.parent().unwrap_or(checkpoint);
        let last = folder.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{}/{last}", unit.name);
        let id = folder.to_string_lossy().into_owned();
        import_state(unit.kind, checkpoint, &state, (id, &name), reporter)?;
    }
    Ok(())
}

fn parse(content: &[u8]) -> Result<JsonValue<'_>, String> {
    let state = json::parse(content)?;
    let JsonValue::Object(object) = &state else { return Err("the document is no object".to_owned()) };
    match json::get(object, "log_history") {
        Some(JsonValue::Array(_)) => Ok(state),
        _ => Err("there is no list log_history".to_owned()),
    }
}

fn history<'v, 'j>(state: &'v JsonValue<'j>) -> &'v [JsonValue<'j>] {
    match state {
        JsonValue::Object(object) => match json::get(object, "log_history") {
            Some(JsonValue::Array(entries)) => entries,
            _ => &[],
        },
        _ => &[],
    }
}

fn import_state(
    kind: SourceKind,
    file: &Path,
    state: &JsonValue<'_>,
    (id, name): (String, &str),
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let modified = files::modified_micros(&files::open_regular(file, reporter.limits)?.1);
    let mut run = reporter.blank_run(kind, id, name);
    run.time_source = TimeSource::FileModified;
    let start = reporter.fallback_time(run.id, modified);
    run.start_time = Some(start);
    let depth = reporter.limits.depth;
    if let JsonValue::Object(object) = state {
        for key in PARAMS {
            if let Some(text) = json::get(object, key).and_then(|value| json::text(value, depth)) {
                reporter.param(&mut run.params, file, key, &text)?;
            }
        }
        if let Some(JsonValue::Object(trial)) = json::get(object, "trial_params") {
            let mut found = Vec::new();
            let flat = json::flatten(trial, depth, &mut String::new(), &mut |key, value| {
                found.extend(json::text(value, depth).map(|text| (key.to_owned(), text)));
            });
            if let Err(key) = flat {
                reporter
                    .reject(file, Place::File, "json.too_deep", || format!("{key} is nested too deep"))?;
            }
            for (key, text) in found {
                reporter.param(&mut run.params, file, &key, &text)?;
            }
        }
    }
    let run_id = run.id;
    reporter.run(run)?;
    let mut series: HashMap<&str, Option<SeriesIndex>> = HashMap::new();
    for (index, entry) in history(state).iter().enumerate() {
        let place = Place::Row(index as u64 + 1);
        let JsonValue::Object(entry) = entry else {
            reporter.reject(file, place, "entry.not_an_object", || "the entry is no object".to_owned())?;
            continue;
        };
        let step = json::get(entry, "step").and_then(json::number).and_then(Step::from_f64);
        let Some(step) = step else {
            reporter.reject(file, place, "step.missing", || "the entry has no step".to_owned())?;
            continue;
        };
        let time = start.saturating_add(i64::try_from(index).unwrap_or(i64::MAX));
        for (key, value) in entry.iter().filter(|(key, _)| key != "step") {
            let Some(number) = json::number(value) else {
                reporter.remark(file, place, "ignored.not_a_number", key, 1, || {
                    format!("values of {key:?} that are no numbers are not imported")
                });
                continue;
            };
            let series = match series.get(key.as_ref()) {
                Some(series) => *series,
                None => {
                    let opened = match MetricName::new(key) {
                        Ok(metric) => Some(reporter.series(file, run_id, metric, None)?),
                        Err(_) => None,
                    };
                    series.insert(key.as_ref(), opened);
                    opened
                }
            };
            let point = Point { step: step.whole, step_fraction: step.fraction, time, value: number };
            match series {
                Some(series) => reporter.point(series, point)?,
                None => reporter.reject(file, place, "metric.refused", || {
                    format!("the key {:?} cannot name a metric", crate::error::beginning(key))
                })?,
            }
        }
    }
    Ok(())
}

/// Equal, where NaN equals NaN.
fn same(a: &JsonValue<'_>, b: &JsonValue<'_>) -> bool {
    match (a, b) {
        (JsonValue::Float(a), JsonValue::Float(b)) => a.to_bits() == b.to_bits(),
        (JsonValue::Object(a), JsonValue::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|((ka, va), (kb, vb))| ka == kb && same(va, vb))
        }
        (JsonValue::Array(a), JsonValue::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b))
        }
        _ => a == b,
    }
}
