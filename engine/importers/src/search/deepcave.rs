//! DeepCAVE's recorder: `history.jsonl` with `[config, budget, seed, [costs], start, end, status, info]` a line, and
//! `configs.json`. Times are seconds since the search began, of which only the recorder knows when it was. Source:
//! `deepcave/runs/recorder.py`, `deepcave/runs/run.py`.

use jiter::JsonValue;
use model::RunStatus;

use super::{Configurations, Evaluation, configurations_in, folders, step_of};
use crate::error::{ImportError, Result, beginning};
use crate::files;
use crate::json;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::{Candidate, Claim, ClaimedFile, Found, Search, Source, SourceKind, Unit};
use crate::table::TablePlan;
use crate::table::lines::Lines;

/// The source.
pub(crate) struct DeepCave;

const HISTORY: &str = "history.jsonl";
const CONFIGURATIONS: &str = "configs.json";
/// What else the recorder writes; the objectives' names stand in `meta.json`.
const META: &str = "meta.json";
const ORIGINS: &str = "origins.json";

impl Source for DeepCave {
    fn kind(&self) -> SourceKind {
        SourceKind::DeepCave
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        let claimed = match file.name {
            HISTORY => file.beginning.starts_with(b"[") && file.has_sibling(CONFIGURATIONS),
            CONFIGURATIONS => file.beginning.starts_with(b"{") && file.has_sibling(HISTORY),
            META | ORIGINS => file.has_sibling(HISTORY) && file.has_sibling(CONFIGURATIONS),
            _ => false,
        };
        if claimed { Claim::Read } else { Claim::No }
    }

    fn group(&self, mut files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        for file in &mut files {
            if search.root.is_file() {
                file.path.set_file_name(HISTORY);
            }
        }
        folders(self.kind(), files, (HISTORY, &[CONFIGURATIONS, META]), search)
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let history = unit.path.join(HISTORY);
        let mut runs = Configurations::of(unit);
        let mut unpacked = files::open_lines(&history, reporter.limits, &reporter.bytes.clone())?;
        let modified = files::modified_micros(&unpacked.metadata);
        let mut lines = Lines::new(&mut unpacked.reader, reporter.limits.line_bytes);
        while let Some(line) = lines.next() {
            let place = Place::Line(lines.number());
            if let Err(fault) = line {
                reporter.reject(&history, place, fault.code, || fault.message)?;
                continue;
            }
            if lines.line().trim_ascii().is_empty() {
                continue;
            }
            if let Err(reason) = evaluation(lines.line(), place, &mut runs) {
                let line = beginning(&String::from_utf8_lossy(lines.line()));
                reporter.reject(&history, place, "line.malformed", || format!("{reason}: {line:?}"))?;
            }
        }
        let file = unit.path.join(CONFIGURATIONS);
        let content = files::read_whole(&file, reporter.limits)?;
        reporter.bytes.add(content.len());
        let document = json::parse(&content)
            .map_err(|reason| ImportError::unreadable(&file, "configurations of DeepCAVE", reason))?;
        let mut faults = Vec::new();
        let depth = reporter.limits.depth;
        for (id, values) in configurations_in(&document, depth, &mut |fault| faults.push(fault)) {
            runs.configure(id, values);
        }
        for fault in faults {
            reporter.reject(&file, Place::File, "configuration.malformed", || fault)?;
        }
        let names = objectives(unit, reporter);
        for run in runs.runs.values_mut() {
            run.tags.extend(names.iter().cloned());
        }
        runs.hand_on(&history, modified, reporter)
    }
}

fn evaluation(line: &[u8], place: Place, runs: &mut Configurations<'_>) -> std::result::Result<(), String> {
    let value = json::parse(line)?;
    let JsonValue::Array(parts) = &value else { return Err("the line is no list".to_owned()) };
    let [JsonValue::Int(id), budget, _, costs, rest @ ..] = parts.as_slice() else {
        return Err("an evaluation has a configuration, a budget, a seed and costs".to_owned());
    };
    let step = step_of(Some(budget)).ok_or("the budget is no number")?;
    let run = runs.entry(&id.to_string());
    // `Status`: 1 is success; an evaluation that runs has no end yet.
    run.status = match (rest.get(1), rest.get(2)) {
        (_, Some(JsonValue::Int(1))) => RunStatus::Finished,
        (Some(JsonValue::Null), _) => RunStatus::Running,
        _ => RunStatus::Failed,
    };
    let scores = Evaluation { step, time: None, place }.scores("cost", costs);
    run.scores.extend(scores.unwrap_or_default());
    Ok(())
}

/// The name of each objective as a tag; none where the file with them is not there or not understood.
fn objectives(unit: &Unit, reporter: &mut Reporter<'_>) -> Vec<(String, String)> {
    let file = unit.path.join(META);
    if !unit.files.contains(&file) {
        return Vec::new();
    }
    let Ok(content) = files::read_whole(&file, reporter.limits) else { return Vec::new() };
    reporter.bytes.add(content.len());
    let Ok(JsonValue::Object(meta)) = json::parse(&content) else { return Vec::new() };
    let Some(JsonValue::Array(objectives)) = json::get(&meta, "objectives") else { return Vec::new() };
    let name = |objective: &JsonValue<'_>| match objective {
        JsonValue::Object(objective) => json::text(json::get(objective, "name")?, 1),
        _ => None,
    };
    let named = objectives.iter().map(name).enumerate();
    named.filter_map(|(index, name)| Some((format!("deepcave.cost_{index}"), name?))).collect()
}
