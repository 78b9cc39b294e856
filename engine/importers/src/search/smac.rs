//! SMAC's `runhistory.json`: `{"data": […], "configs": {"1": {…}}}`.
//!
//! An entry of `data` is `[[config, instance, seed, budget], [cost, time, status, start, end, info]]` in version 1 and
//! `[config, instance, seed, budget, cost, time, status, start, end, info]` in version 2, where newer ones have the processor
//! time behind the time; some write it with names. A cost is a list where there are several objectives. Source:
//! `smac/runhistory/runhistory.py`.

use jiter::JsonValue;
use model::RunStatus;

use super::{Configurations, Evaluation, configurations_in, folders, step_of};
use crate::error::{ImportError, Result};
use crate::files;
use crate::json;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::{Candidate, Claim, ClaimedFile, Found, Search, Source, SourceKind, Unit};
use crate::table::TablePlan;
use crate::time::micros_from_number;

/// The source.
pub(crate) struct Smac;

const HISTORY: &str = "runhistory.json";

impl Source for Smac {
    fn kind(&self) -> SourceKind {
        SourceKind::Smac
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        if file.name == HISTORY { Claim::Read } else { Claim::No }
    }

    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        folders(self.kind(), files, (HISTORY, &[]), search)
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let file = unit.path.join(HISTORY);
        let modified = files::modified_micros(&files::open_regular(&file, reporter.limits)?.1);
        let content = files::read_whole(&file, reporter.limits)?;
        reporter.bytes.add(content.len());
        let unreadable = |reason: String| ImportError::unreadable(&file, "a run history of SMAC", reason);
        let document = json::parse(&content).map_err(unreadable)?;
        let JsonValue::Object(object) = &document else {
            return Err(unreadable("the document is no object".to_owned()));
        };
        let (Some(JsonValue::Array(data)), Some(configurations)) =
            (json::get(object, "data"), json::get(object, "configs"))
        else {
            return Err(unreadable("it has no list `data`, or no `configs`".to_owned()));
        };
        let mut runs = Configurations::of(unit);
        let mut by_instance = 0_u64;
        for (index, entry) in data.iter().enumerate() {
            let place = Place::Row(index as u64 + 1);
            let Some(entry) = Entry::of(entry) else {
                reporter.reject(&file, place, "evaluation.malformed", || {
                    "the evaluation does not say its configuration, budget and cost".to_owned()
                })?;
                continue;
            };
            let Some(step) = step_of(entry.budget) else {
                reporter.reject(&file, place, "step.malformed", || "the budget is no number".to_owned())?;
                continue;
            };
            by_instance += u64::from(!matches!(entry.instance, None | Some(JsonValue::Null)));
            // An evaluation that has not ended is at time 0.
            let time = entry.end.and_then(json::number).filter(|end| *end > 0.0).and_then(micros_from_number);
            let run = runs.entry(&entry.configuration);
            run.status = entry.status();
            match (Evaluation { step, time, place }).scores("cost", entry.cost) {
                Some(scores) => run.scores.extend(scores),
                None if run.status == RunStatus::Running => {}
                None => reporter.reject(&file, place, "cell.not_a_number", || {
                    format!("configuration {}: the cost is no number", entry.configuration)
                })?,
            }
        }
        if by_instance > 0 {
            reporter.remark(&file, Place::File, "ignored.instances", "", by_instance, || {
                "the instance and seed of an evaluation are not imported".to_owned()
            });
        }
        let mut faults = Vec::new();
        let depth = reporter.limits.depth;
        for (id, values) in configurations_in(configurations, depth, &mut |fault| faults.push(fault)) {
            runs.configure(id, values);
        }
        for fault in faults {
            reporter.reject(&file, Place::File, "configuration.malformed", || fault)?;
        }
        runs.hand_on(&file, modified, reporter)
    }
}

/// An entry of `data`, whatever its form.
struct Entry<'v, 'j> {
    configuration: String,
    instance: Option<&'v JsonValue<'j>>,
    budget: Option<&'v JsonValue<'j>>,
    cost: &'v JsonValue<'j>,
    status: Option<&'v JsonValue<'j>>,
    end: Option<&'v JsonValue<'j>>,
}

impl<'v, 'j> Entry<'v, 'j> {
    fn of(entry: &'v JsonValue<'j>) -> Option<Self> {
        let id = |value: &JsonValue<'_>| match value {
            JsonValue::Int(id) => Some(id.to_string()),
            _ => None,
        };
        match entry {
            JsonValue::Array(parts) => match parts.as_slice() {
                [JsonValue::Array(key), JsonValue::Array(value)] => {
                    let ([configuration, instance, rest @ ..], [cost, _, status, times @ ..]) =
                        (key.as_slice(), value.as_slice())
                    else {
                        return None;
                    };
                    Some(Self {
                        configuration: id(configuration)?,
                        instance: Some(instance),
                        // Before multi-fidelity a key had no budget.
                        budget: rest.get(1),
                        cost,
                        status: Some(status),
                        end: times.get(1),
                    })
                }
                [configuration, instance, _, budget, cost, _, rest @ ..] => {
                    // With the processor time behind the time there are five more, else four.
                    let rest = if rest.len() > 4 { rest.get(1..)? } else { rest };
                    Some(Self {
                        configuration: id(configuration)?,
                        instance: Some(instance),
                        budget: Some(budget),
                        cost,
                        status: rest.first(),
                        end: rest.get(2),
                    })
                }
                _ => None,
            },
            JsonValue::Object(entry) => Some(Self {
                configuration: id(json::get(entry, "config_id")?)?,
                instance: json::get(entry, "instance"),
                budget: json::get(entry, "budget"),
                cost: json::get(entry, "cost")?,
                status: json::get(entry, "status"),
                end: json::get(entry, "endtime"),
            }),
            _ => None,
        }
    }

    /// Version 1 names a status, version 2 numbers it: 0 running, 1 success, all others some failure.
    fn status(&self) -> RunStatus {
        let word = match self.status {
            Some(JsonValue::Object(status)) => json::get(status, "__enum__"),
            other => other,
        };
        match word {
            Some(JsonValue::Int(0)) => RunStatus::Running,
            Some(JsonValue::Int(1)) => RunStatus::Finished,
            Some(JsonValue::Str(word)) => match word.rsplit('.').next() {
                Some("SUCCESS" | "DONOTADVANCE") => RunStatus::Finished,
                Some("RUNNING") => RunStatus::Running,
                Some("STOP") => RunStatus::Killed,
                _ => RunStatus::Failed,
            },
            _ => RunStatus::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_all_versions_say_the_same() {
        for text in [
            r#"[[3, "a.cnf", 7, 2.5], [0.5, 1.0, {"__enum__": "StatusType.SUCCESS"}, 10.0, 11.5, {}]]"#,
            r#"[3, "a.cnf", 7, 2.5, 0.5, 1.0, 1, 10.0, 11.5, {}]"#,
            r#"[3, "a.cnf", 7, 2.5, 0.5, 1.0, 0.9, 1, 10.0, 11.5, {}]"#,
            r#"{"config_id": 3, "instance": "a.cnf", "seed": 7, "budget": 2.5, "cost": 0.5, "time": 1.0, "status": 1,
                "starttime": 10.0, "endtime": 11.5, "additional_info": {}}"#,
        ] {
            let value = json::parse(text.as_bytes()).unwrap();
            let entry = Entry::of(&value).unwrap();
            assert_eq!((entry.configuration.as_str(), entry.status()), ("3", RunStatus::Finished), "{text}");
            assert_eq!(json::number(entry.cost), Some(0.5));
            assert_eq!(entry.end.and_then(json::number), Some(11.5), "{text}");
            assert_eq!(entry.budget.and_then(json::number), Some(2.5));
        }
        for bad in ["[]", "1", "[[1], [2]]", "{}", "[\"x\", null, 0, null, 1.0, 1.0, 1, 0, 0, {}]"] {
            assert!(Entry::of(&json::parse(bad.as_bytes()).unwrap()).is_none(), "{bad}");
        }
    }
}
