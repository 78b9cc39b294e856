//! BOHB, as HpBandSter's `json_result_logger` writes it: a line for each evaluation in `results.json`
//! (`[id, budget, times, {loss, info}, exception]`) and for each configuration in `configs.json` (`[id, values, info]`).
//! Source: `hpbandster/core/result.py`.

use std::path::Path;

use jiter::JsonValue;
use model::RunStatus;

use super::{Configurations, Evaluation, folders, step_of};
use crate::configuration::params_of;
use crate::error::{Result, beginning};
use crate::files;
use crate::json;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::{Candidate, Claim, ClaimedFile, Found, Search, Source, SourceKind, Unit};
use crate::table::TablePlan;
use crate::table::lines::Lines;
use crate::time::micros_from_number;

/// The source.
pub(crate) struct Bohb;

const RESULTS: &str = "results.json";
const CONFIGURATIONS: &str = "configs.json";

impl Source for Bohb {
    fn kind(&self) -> SourceKind {
        SourceKind::Bohb
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        // Both begin with the id of a configuration, which is a list.
        let is_list_of_id = file.beginning.starts_with(b"[[");
        let other = match file.name {
            RESULTS => CONFIGURATIONS,
            CONFIGURATIONS => RESULTS,
            _ => return Claim::No,
        };
        if is_list_of_id && file.has_sibling(other) { Claim::Read } else { Claim::No }
    }

    fn group(&self, mut files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        // A configuration file that was given stands for its results.
        for file in &mut files {
            if search.root.is_file() {
                file.path.set_file_name(RESULTS);
            }
        }
        folders(self.kind(), files, (RESULTS, &[CONFIGURATIONS]), search)
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let results = unit.path.join(RESULTS);
        let modified = files::modified_micros(&files::open_regular(&results, reporter.limits)?.1);
        let mut runs = Configurations::of(unit);
        each_line(&results, reporter, &mut |place, parts, _| {
            let [id, budget, times, result, rest @ ..] = parts else {
                return Err("an evaluation has an id, a budget, times and a result".to_owned());
            };
            let id = id_of(id).ok_or("the id is no list of numbers")?;
            let step = step_of(Some(budget)).ok_or("the budget is no number")?;
            let finished = match times {
                JsonValue::Object(times) => json::get(times, "finished"),
                _ => None,
            };
            let time = finished.and_then(json::number).and_then(micros_from_number);
            let loss = match result {
                JsonValue::Object(result) => json::get(result, "loss"),
                _ => None,
            };
            let run = runs.entry(&id);
            let scores = loss
                .and_then(|loss| Evaluation { step, time, place }.scores("loss", loss))
                .unwrap_or_default();
            // A job that failed has no loss.
            run.status = if scores.is_empty() { RunStatus::Failed } else { RunStatus::Finished };
            run.scores.extend(scores);
            if let Some(JsonValue::Str(exception)) = rest.first() {
                run.tags.push(("bohb.exception".to_owned(), end_of(exception)));
            }
            Ok(())
        })?;
        let configurations = unit.path.join(CONFIGURATIONS);
        each_line(&configurations, reporter, &mut |_, parts, depth| {
            let [id, values, ..] = parts else {
                return Err("a configuration has an id and values".to_owned());
            };
            let id = id_of(id).ok_or("the id is no list of numbers")?;
            runs.configure(&id, params_of(values, depth)?);
            Ok(())
        })?;
        runs.hand_on(&results, modified, reporter)
    }
}

/// The numbers of an id, joined.
fn id_of(id: &JsonValue<'_>) -> Option<String> {
    let JsonValue::Array(parts) = id else { return None };
    let parts: Option<Vec<String>> = parts
        .iter()
        .map(|part| match part {
            JsonValue::Int(number) => Some(number.to_string()),
            _ => None,
        })
        .collect();
    parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join("_"))
}

/// The end of a trace says what went wrong.
fn end_of(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(model::limits::TAG_VALUE_CHARACTERS);
    text.chars().skip(skipped).collect()
}

type TakeLine<'f> = dyn FnMut(Place, &[JsonValue<'_>], usize) -> std::result::Result<(), String> + 'f;

/// Calls `take` with the parts of each line of a file, and with how deep values may be; what it refuses is a rejection.
fn each_line(file: &Path, reporter: &mut Reporter<'_>, take: &mut TakeLine<'_>) -> Result<()> {
    let mut unpacked = files::open_lines(file, reporter.limits, &reporter.bytes.clone())?;
    let mut lines = Lines::new(&mut unpacked.reader, reporter.limits.line_bytes);
    while let Some(line) = lines.next() {
        let place = Place::Line(lines.number());
        if let Err(fault) = line {
            reporter.reject(file, place, fault.code, || fault.message)?;
            continue;
        }
        if lines.line().trim_ascii().is_empty() {
            continue;
        }
        let taken = json::parse(lines.line()).and_then(|value| match &value {
            JsonValue::Array(parts) => take(place, parts, reporter.limits.depth),
            _ => Err("the line is no list".to_owned()),
        });
        if let Err(reason) = taken {
            let line = beginning(&String::from_utf8_lossy(lines.line()));
            reporter.reject(file, place, "line.malformed", || format!("{reason}: {line:?}"))?;
        }
    }
    Ok(())
}
