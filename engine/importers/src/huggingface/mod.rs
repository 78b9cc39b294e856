//! Hugging Face `trainer_state.json`: every numeric key of a `log_history` entry but `step` is a metric.
//!
//! `checkpoint-N/trainer_state.json` repeats the entries of the run above it. It is imported only where it says something
//! that the run does not; alone it stands for the run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jiter::JsonValue;
use model::Point;

use crate::error::Result;
use crate::files;
use crate::json;
use crate::number::Step;
use crate::report::Reporter;
use crate::series::SeriesByName;
use crate::sink::{Place, TimeSource};
use crate::source::{Candidate, Claim, ClaimedFile, Found, FoundUnit, Search, Source, SourceKind, Unit};
use crate::table::TablePlan;

/// The source. The first file of a unit is the state of the run; the others are those of its checkpoints, whose entries
/// are imported only when they are no beginning of the run's.
pub(crate) struct HuggingFace;

impl Source for HuggingFace {
    fn kind(&self) -> SourceKind {
        SourceKind::HuggingFace
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        let has_history = || String::from_utf8_lossy(file.beginning).contains("\"log_history\"");
        if file.name == "trainer_state.json" || (file.name.ends_with(".json") && has_history()) {
            Claim::Read
        } else {
            Claim::No
        }
    }

    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        group(files, search).into()
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        read(unit, reporter)
    }
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

/// The folder of a run, its own state, and the states of its checkpoints by number.
type FoundRun = (PathBuf, Option<ClaimedFile>, Vec<(u64, ClaimedFile)>);

/// Puts the state files of a run and its checkpoints together.
fn group(states: Vec<ClaimedFile>, search: &Search<'_>) -> Vec<FoundUnit> {
    let mut runs: Vec<FoundRun> = Vec::new();
    let mut places: HashMap<PathBuf, usize> = HashMap::new();
    for state in states {
        let folder = state.path.parent().unwrap_or(Path::new("/")).to_owned();
        let (run, checkpoint) = match checkpoint_number(&folder) {
            Some(number) => (folder.parent().unwrap_or(&folder).to_owned(), Some(number)),
            None => (folder, None),
        };
        let index = *places.entry(run).or_insert_with_key(|run| {
            runs.push((run.clone(), None, Vec::new()));
            runs.len() - 1
        });
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
        let name = search.folder_name(&folder);
        let files = std::iter::once(main).chain(checkpoints.into_iter().map(|(_, state)| state));
        let (files, sizes): (Vec<PathBuf>, Vec<u64>) = files.map(|file| (file.path, file.size)).unzip();
        let unit = Unit::new(SourceKind::HuggingFace, folder, name, files);
        units.push(FoundUnit { store: search.root.to_owned(), unit, bytes: sizes.iter().sum() });
    }
    units
}

fn checkpoint_number(folder: &Path) -> Option<u64> {
    folder.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse().ok()
}

/// Reads a run: its state, then what its checkpoints say beyond it.
fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    let Some((main, checkpoints)) = unit.files.split_first() else { return Ok(()) };
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
    for checkpoint in checkpoints {
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
        let id = unit.shown(folder).to_string_lossy().into_owned();
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
    let mut series = SeriesByName::of(run_id);
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
        let mut values = Vec::new();
        let flat = json::flatten(entry, depth, &mut String::new(), &mut |key, value| {
            values.push((key.to_owned(), json::number(value)));
        });
        if let Err(key) = flat {
            reporter.reject(file, place, "json.too_deep", || format!("{key} is nested too deep"))?;
        }
        for (key, value) in values.into_iter().filter(|(key, _)| key != "step") {
            match value {
                Some(value) => {
                    let point = Point { step: step.whole, step_fraction: step.fraction, time, value };
                    series.point(reporter, file, place, &key, point)?;
                }
                None => reporter.remark(file, place, "ignored.not_a_number", &key, 1, || {
                    format!("values of {key:?} that are no numbers are not imported")
                }),
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
