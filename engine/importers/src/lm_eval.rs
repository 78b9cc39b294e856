//! Results of the lm-evaluation-harness: `{"results": {task: {field: number}}, "versions": …, "config": …}`.
//!
//! A file is an evaluation. Files whose names end in a step (`70m_step1000.json`) are evaluations of the checkpoints of one
//! run. A metric is `task/field`. Source: `lm_eval/evaluator.py`, `lm_eval/loggers/evaluation_tracker.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiter::JsonValue;

use crate::configuration::params_of;
use crate::error::{ImportError, Result};
use crate::files;
use crate::json;
use crate::number::Step;
use crate::report::Reporter;
use crate::scored::{Score, Scored};
use crate::sink::Place;
use crate::source::{
    Candidate, Claim, ClaimedFile, Found, FoundUnit, Search, Source, SourceKind, Unit,
    file_name_without_format,
};
use crate::table::TablePlan;
use crate::time::micros_from_number;

/// The source.
pub(crate) struct LmEval;

impl Source for LmEval {
    fn kind(&self) -> SourceKind {
        SourceKind::LmEval
    }

    fn claim(&self, file: &Candidate<'_>, search: &Search<'_>) -> Claim {
        if !file.name.ends_with(".json") || !begins_with_results(file.beginning) {
            return Claim::No;
        }
        // What tells it from other results stands behind them.
        let content = files::read_whole(file.path, search.limits).unwrap_or_default();
        let is_one = json::parse(&content).is_ok_and(|document| results_of(&document).is_some());
        if is_one { Claim::Read } else { Claim::No }
    }

    /// The checkpoints of one run are one unit, in the order of their steps.
    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        let mut runs: BTreeMap<PathBuf, Vec<(i64, ClaimedFile)>> = BTreeMap::new();
        for file in files {
            let (location, step) = run_and_step(&file.path);
            runs.entry(location).or_default().push((step.unwrap_or(0), file));
        }
        let units = runs.into_iter().map(|(location, mut files)| {
            files.sort();
            let bytes = files.iter().fold(0_u64, |sum, (_, file)| sum.saturating_add(file.size));
            let files = files.into_iter().map(|(_, file)| file.path).collect();
            let root = search.root.parent().filter(|_| search.root.is_file()).unwrap_or(search.root);
            let name = file_name_without_format(root, &location);
            FoundUnit {
                store: search.root.to_owned(),
                unit: Unit::new(self.kind(), location, name, files),
                bytes,
            }
        });
        units.collect::<Vec<_>>().into()
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let mut run = Scored::new(String::new(), unit.name.clone());
        let mut configuration: Option<BTreeMap<String, String>> = None;
        let mut modified = i64::MAX;
        for file in &unit.files {
            match read_file(file, &mut run, reporter) {
                Ok((params, written)) => {
                    modified = modified.min(written);
                    configuration = Some(match configuration {
                        None => params.into_iter().collect(),
                        // What differs between checkpoints, as the revision does, is no param of the run.
                        Some(mut known) => {
                            known.retain(|key, value| {
                                params.iter().any(|(other, text)| other == key && text == value)
                            });
                            known
                        }
                    });
                }
                Err(error @ ImportError::Sink(_)) => return Err(error),
                Err(error) => reporter.reject(file, Place::File, error.code(), || error.to_string())?,
            }
        }
        let Some(configuration) = configuration else { return Ok(()) };
        run.params = configuration.into_iter().collect();
        let file = unit.files.first().unwrap_or(&unit.path);
        run.hand_on(unit, file, modified, reporter)?;
        Ok(())
    }
}

/// Whether a text begins as `{"results"` with any blanks.
fn begins_with_results(beginning: &[u8]) -> bool {
    let mut rest = beginning.trim_ascii_start();
    for part in [&b"{"[..], b"\"results\"", b":", b"{"] {
        match rest.strip_prefix(part) {
            Some(behind) => rest = behind.trim_ascii_start(),
            None => return false,
        }
    }
    true
}

type Object<'v, 'j> = &'v [(std::borrow::Cow<'j, str>, JsonValue<'j>)];

/// The results of a document; `None` where it is of another tool.
fn results_of<'v, 'j>(document: &'v JsonValue<'j>) -> Option<(Object<'v, 'j>, Object<'v, 'j>)> {
    let JsonValue::Object(object) = document else { return None };
    let JsonValue::Object(results) = json::get(object, "results")? else { return None };
    let has = |key: &str| matches!(json::get(object, key), Some(JsonValue::Object(_)));
    (has("versions") && (has("config") || has("configs"))).then_some((object, results))
}

/// The path without its step, and the step: a number behind `step`, `step-`, `step_` or `checkpoint-` at the end of the name.
fn run_and_step(path: &Path) -> (PathBuf, Option<i64>) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let digits = stem.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (rest, number) = stem.split_at(stem.len().saturating_sub(digits));
    let before = rest.trim_end_matches(['_', '-']);
    let named = ["step", "checkpoint"].iter().find_map(|word| before.strip_suffix(word));
    match (named, number.parse()) {
        (Some(run), Ok(step)) => {
            let run = run.trim_end_matches(['_', '-', '.']);
            let folder = path.parent().unwrap_or(Path::new("/"));
            (if run.is_empty() { folder.to_owned() } else { folder.join(run) }, Some(step))
        }
        _ => (path.to_owned(), None),
    }
}

/// Takes the results of a file; returns its configuration and when it was written.
fn read_file(
    file: &Path,
    run: &mut Scored,
    reporter: &mut Reporter<'_>,
) -> Result<(crate::configuration::Params, i64)> {
    let modified = files::modified_micros(&files::open_regular(file, reporter.limits)?.1);
    let content = files::read_whole(file, reporter.limits)?;
    reporter.bytes.add(content.len());
    let unreadable =
        |reason: String| ImportError::unreadable(file, "results of the lm-evaluation-harness", reason);
    let document = json::parse(&content).map_err(unreadable)?;
    let Some((object, results)) = results_of(&document) else {
        return Err(unreadable("it has no results, or no versions".to_owned()));
    };
    let step = Step::whole(run_and_step(file).1.unwrap_or(0));
    // Newer versions say when, in seconds.
    let time = json::get(object, "date").and_then(json::number).and_then(micros_from_number);
    for (task, fields) in results {
        let JsonValue::Object(fields) = fields else { continue };
        for (field, value) in fields.iter() {
            let metric = format!("{task}/{field}");
            match json::number(value) {
                Some(value) => run.scores.push(Score { metric, step, time, value, place: Place::File }),
                None => reporter.remark(file, Place::File, "ignored.not_a_number", field, 1, || {
                    format!("fields {field:?} that are no numbers are not imported")
                }),
            }
        }
    }
    let params = match json::get(object, "config") {
        Some(config) => params_of(config, reporter.limits.depth).map_err(unreadable)?,
        None => Vec::new(),
    };
    Ok((params, modified))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_by_names() {
        let told = |name: &str| {
            let (run, step) = run_and_step(Path::new(name));
            (run.display().to_string(), step)
        };
        assert_eq!(told("/a/70m_step1000.json"), ("/a/70m".to_owned(), Some(1000)));
        assert_eq!(told("/a/step-5.json"), ("/a".to_owned(), Some(5)));
        assert_eq!(told("/a/x-checkpoint-12.json"), ("/a/x".to_owned(), Some(12)));
        for name in
            ["/a/results_2024-05-01.json", "/a/12.json", "/a/step.json", "/a/step99999999999999999999.json"]
        {
            assert_eq!(told(name), (name.to_owned(), None));
        }
        assert!(begins_with_results(b" {\n \"results\" : { \"a\""));
        assert!(!begins_with_results(b"{\"results\": [") && !begins_with_results(b"{"));
    }
}
