//! Ray Tune: a folder for each trial with `result.json` (a line for each result) and `params.json`.
//!
//! Every number of a result is a metric over `training_iteration`, also those that Ray adds itself; nested keys are joined
//! with `/` as Ray does. `progress.csv` and the event file beside hold the same values and are not read, pickles never. How
//! a trial ended stands in `experiment_state-*.json` above it.

use std::path::{Path, PathBuf};

use jiter::JsonValue;
use model::{Point, RunStatus};

use crate::configuration::params_in_file;
use crate::error::Result;
use crate::files;
use crate::json;
use crate::number::Step;
use crate::report::Reporter;
use crate::series::SeriesByName;
use crate::sink::{Place, RunFacts, TimeSource};
use crate::source::{
    Candidate, Claim, ClaimedFile, Folder, Found, FoundUnit, Search, Source, SourceKind, Unit,
};
use crate::table::TablePlan;
use crate::table::lines::Lines;
use crate::time::micros_from_number;

/// The source.
pub(crate) struct Ray;

impl Source for Ray {
    fn kind(&self) -> SourceKind {
        SourceKind::Ray
    }

    fn folder(&self, folder: &Folder<'_>, search: &Search<'_>) -> Option<Found> {
        let has = |name: &str| folder.files.iter().any(|file| file == name);
        if !has("result.json") || !has("params.json") {
            return None;
        }
        let result = folder.path.join("result.json");
        let bytes = std::fs::metadata(&result).map_or(0, |metadata| metadata.len());
        let unit = Unit::new(
            self.kind(),
            folder.path.to_owned(),
            search.folder_name(folder.path),
            vec![result, folder.path.join("params.json")],
        );
        Some(vec![FoundUnit { store: search.root.to_owned(), unit, bytes }].into())
    }

    /// What Ray keeps of a whole experiment is read with its trials.
    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        let of_experiment = file.name.ends_with(".json")
            && ["experiment_state-", "basic-variant-state-", "search_gen_state-"]
                .iter()
                .any(|beginning| file.name.starts_with(beginning));
        if of_experiment { Claim::Read } else { Claim::No }
    }

    fn group(&self, _: Vec<ClaimedFile>, _: &Search<'_>) -> Found {
        Found::default()
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        read(unit, reporter)
    }
}

fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    let file = unit.path.join("result.json");
    let mut unpacked = files::open_lines(&file, reporter.limits, &reporter.bytes.clone())?;
    let mut run = reporter.blank_run(unit.kind, unit.location.to_string_lossy().into_owned(), &unit.name);
    let params = unit.path.join("params.json");
    for (key, value) in params_in_file(&params, reporter)? {
        reporter.param(&mut run.params, &params, &key, &value)?;
    }
    let state = state_of(&unit.path, reporter)?;
    let failed = unit.path.join("error.txt").is_file();
    run.status = state.unwrap_or(if failed { RunStatus::Failed } else { RunStatus::Running });
    let base = reporter.fallback_time(run.id, files::modified_micros(&unpacked.metadata));
    run.start_time = Some(base);
    // Ray states whole seconds.
    run.time_source = TimeSource::Recorded;
    let id = run.id;
    reporter.run(run)?;
    let mut facts = RunFacts::default();
    let mut series = SeriesByName::of(id);
    let mut lines = Lines::new(&mut unpacked.reader, reporter.limits.line_bytes);
    let mut count = 0_i64;
    while let Some(line) = lines.next() {
        let place = Place::Line(lines.number());
        if let Err(fault) = line {
            reporter.reject(&file, place, fault.code, || fault.message)?;
            continue;
        }
        if lines.line().trim_ascii().is_empty() {
            continue;
        }
        let parsed = match json::parse(lines.line()) {
            Ok(value) => value,
            Err(reason) => {
                reporter.reject(&file, place, "line.not_json", || reason)?;
                continue;
            }
        };
        let JsonValue::Object(result) = &parsed else {
            reporter.reject(&file, place, "line.not_an_object", || "the line is no object".to_owned())?;
            continue;
        };
        count = count.saturating_add(1);
        let number = |key: &str| json::get(result, key).and_then(json::number);
        let Some(step) = number("training_iteration").and_then(Step::from_f64) else {
            reporter
                .reject(&file, place, "step.missing", || "the result has no training_iteration".to_owned())?;
            continue;
        };
        let time = number("timestamp").and_then(micros_from_number);
        let time = time.unwrap_or(base.saturating_add(count));
        facts.start_time = Some(facts.start_time.map_or(time, |start| start.min(time)));
        facts.end_time = facts.end_time.max(Some(time));
        for (key, tag) in
            [("trial_id", "ray.trial_id"), ("hostname", "ray.host"), ("experiment_id", "ray.experiment_id")]
        {
            if let Some(JsonValue::Str(text)) = json::get(result, key) {
                reporter.tag(&mut facts.tags, &file, tag, text)?;
            }
        }
        if state.is_none() && matches!(json::get(result, "done"), Some(JsonValue::Bool(true))) {
            facts.status = Some(RunStatus::Finished);
        }
        let mut numbers = Vec::new();
        let mut others = Vec::new();
        let flat = json::sort_numbers(
            &parsed,
            &mut String::new(),
            '/',
            reporter.limits.depth,
            &mut |path, number| match number {
                Some(number) => numbers.push((path.to_owned(), number)),
                None => others.push(path.to_owned()),
            },
        );
        if let Err(path) = flat {
            reporter.reject(&file, place, "json.too_deep", || format!("{path:?} is nested too deep"))?;
        }
        for (key, value) in numbers {
            // The step is no metric of its own.
            if key != "training_iteration" {
                let point = Point { step: step.whole, step_fraction: step.fraction, time, value };
                series.point(reporter, &file, place, &key, point)?;
            }
        }
        for key in others {
            reporter.remark(&file, place, "ignored.not_a_number", &key, 1, || {
                format!("values of {key:?} that are no numbers are not imported")
            });
        }
    }
    reporter.facts(id, facts)
}

/// The status that the newest state of the experiment gives a trial.
fn state_of(trial: &Path, reporter: &mut Reporter<'_>) -> Result<Option<RunStatus>> {
    let Some(experiment) = trial.parent() else { return Ok(None) };
    let Ok(listed) = std::fs::read_dir(experiment) else { return Ok(None) };
    let is_state = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("experiment_state-") && name.ends_with(".json")
    };
    // The names end with the time at which they were made.
    let newest = listed.filter_map(|entry| Some(entry.ok()?.path())).filter(is_state).max();
    let Some(file) = newest else { return Ok(None) };
    let content = match files::read_whole(&file, reporter.limits) {
        Ok(content) => content,
        Err(error) => {
            reporter.reject(&file, Place::File, error.code(), || error.to_string())?;
            return Ok(None);
        }
    };
    let folder = trial.file_name().unwrap_or_default().to_string_lossy();
    Ok(status_in(&content, &folder))
}

/// The status in `{"trial_data": [["{…}", …], …]}` of the trial whose folder it is; older versions have objects in
/// `checkpoints`.
fn status_in(content: &[u8], folder: &str) -> Option<RunStatus> {
    let parsed = json::parse(content).ok()?;
    let JsonValue::Object(state) = &parsed else { return None };
    let trials = match json::get(state, "trial_data").or_else(|| json::get(state, "checkpoints")) {
        Some(JsonValue::Array(trials)) => trials,
        _ => return None,
    };
    trials.iter().find_map(|trial| {
        let text = match trial {
            JsonValue::Array(parts) => parts.first()?,
            other => other,
        };
        let JsonValue::Str(text) = text else { return None };
        let parsed = json::parse(text.as_bytes()).ok()?;
        let JsonValue::Object(trial) = &parsed else { return None };
        let word = |key: &str| match json::get(trial, key) {
            Some(JsonValue::Str(text)) => Some(text.to_string()),
            _ => None,
        };
        let place = word("relative_logdir").or_else(|| word("logdir"))?;
        if place.rsplit('/').next() != Some(folder) {
            return None;
        }
        match word("status")?.as_str() {
            "PENDING" => Some(RunStatus::Scheduled),
            "RUNNING" | "PAUSED" => Some(RunStatus::Running),
            "TERMINATED" => Some(RunStatus::Finished),
            "ERROR" => Some(RunStatus::Failed),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_found_by_its_folder() {
        let state =
            br#"{"trial_data": [["{\"relative_logdir\": \"f_0\", \"status\": \"ERROR\"}", "{}"], ["{"], 7,
            ["{\"logdir\": \"/x/f_1\", \"status\": \"TERMINATED\"}"]]}"#;
        assert_eq!(status_in(state, "f_0"), Some(RunStatus::Failed));
        assert_eq!(status_in(state, "f_1"), Some(RunStatus::Finished));
        assert_eq!(status_in(state, "f_2"), None);
        for bad in [&b""[..], b"[]", b"{\"trial_data\": 1}"] {
            assert_eq!(status_in(bad, "f_0"), None);
        }
    }
}
