//! Optuna's journal: a line of JSON for each operation, replayed as `optuna/storages/journal/_storage.py` does.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiter::JsonValue;

use super::study::{State, Study, Trial};
use crate::error::{ImportError, Result, beginning};
use crate::files;
use crate::json;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::Unit;
use crate::table::lines::Lines;
use crate::time::micros_from_text;

type Object<'v, 'j> = &'v [(std::borrow::Cow<'j, str>, JsonValue<'j>)];

/// Whether a line is one of a journal.
pub(super) fn is_line(line: &[u8]) -> bool {
    matches!(json::parse(line), Ok(JsonValue::Object(object))
        if json::get(&object, "op_code").is_some() && json::get(&object, "worker_id").is_some())
}

/// The state of a storage, as far as its journal was replayed.
#[derive(Default)]
pub struct Journal {
    studies: IndexMap<i64, Study>,
    next_study: i64,
    /// Trials by id, with their study.
    trials: Vec<(i64, Trial)>,
    counts: BTreeMap<i64, i64>,
    size: usize,
}

impl Journal {
    /// Applies one line. What Optuna itself would pass over is passed over: operations on what does not exist or has
    /// ended.
    ///
    /// # Errors
    /// The reason, when the line is no operation.
    pub fn apply(&mut self, line: &[u8]) -> std::result::Result<(), String> {
        let parsed = json::parse(line)?;
        let JsonValue::Object(object) = &parsed else { return Err("the line is no object".to_owned()) };
        self.size = self.size.saturating_add(line.len());
        match required(object, "op_code")? {
            0 => self.create_study(object),
            1 => {
                let study = required(object, "study_id")?;
                self.studies.shift_remove(&study);
                Ok(())
            }
            2 | 3 => {
                let user = required(object, "op_code")? == 2;
                let Some(study) = self.studies.get_mut(&required(object, "study_id")?) else { return Ok(()) };
                if user {
                    take_attributes(&mut study.user_attributes, object, "user_attr")
                } else {
                    take_attributes(&mut study.system_attributes, object, "system_attr")
                }
            }
            4 => self.create_trial(object),
            operation @ 5..=9 => {
                let id = required(object, "trial_id")?;
                let place = usize::try_from(id).ok().and_then(|id| self.trials.get_mut(id));
                let Some((_, trial)) = place.filter(|(_, trial)| !trial.state.is_finished()) else {
                    return Ok(());
                };
                change_trial(trial, operation, object)
            }
            other => Err(format!("operation {other} is not known")),
        }
    }

    fn create_study(&mut self, object: Object<'_, '_>) -> std::result::Result<(), String> {
        let name = text(object, "study_name").ok_or("there is no study_name")?;
        if self.studies.values().any(|study| study.name == name) {
            return Ok(());
        }
        let directions = match json::get(object, "directions") {
            Some(JsonValue::Array(directions)) => directions
                .iter()
                .map(|direction| match direction {
                    JsonValue::Int(1) => "MINIMIZE".to_owned(),
                    JsonValue::Int(2) => "MAXIMIZE".to_owned(),
                    _ => "NOT_SET".to_owned(),
                })
                .collect(),
            _ => Vec::new(),
        };
        self.studies.insert(self.next_study, Study { name, directions, ..Study::default() });
        self.next_study = self.next_study.saturating_add(1);
        Ok(())
    }

    fn create_trial(&mut self, object: Object<'_, '_>) -> std::result::Result<(), String> {
        let study = required(object, "study_id")?;
        if !self.studies.contains_key(&study) {
            return Ok(());
        }
        let number = self.counts.entry(study).or_insert(0);
        let mut trial = Trial {
            number: *number,
            state: match json::get(object, "state") {
                None | Some(JsonValue::Null) => State::Running,
                Some(_) => state(object)?,
            },
            start: micros(object, "datetime_start"),
            complete: micros(object, "datetime_complete"),
            values: values(object, "values"),
            ..Trial::default()
        };
        if trial.values.is_empty()
            && let Some(value) = json::get(object, "value").and_then(json::number)
        {
            trial.values.push(Some(value));
        }
        let distributions = match json::get(object, "distributions") {
            Some(JsonValue::Object(distributions)) => distributions.as_slice(),
            _ => &[],
        };
        if let Some(JsonValue::Object(params)) = json::get(object, "params") {
            for (name, value) in params.iter() {
                let internal = json::number(value).ok_or("the value of a param is no number")?;
                let distribution = text(distributions, name).ok_or("a param has no distribution")?;
                trial.params.insert(name.to_string(), (internal, distribution));
            }
        }
        if let Some(JsonValue::Object(reported)) = json::get(object, "intermediate_values") {
            for (step, value) in reported.iter() {
                let step = step.parse().map_err(|_| "the step of a reported value is no whole number")?;
                trial.intermediate.insert(step, json::number(value).unwrap_or(f64::NAN));
            }
        }
        for (attributes, key) in
            [(&mut trial.user_attributes, "user_attrs"), (&mut trial.system_attributes, "system_attrs")]
        {
            if json::get(object, key).is_some() {
                take_attributes(attributes, object, key)?;
            }
        }
        *number = number.saturating_add(1);
        self.trials.push((study, trial));
        Ok(())
    }
}

fn change_trial(
    trial: &mut Trial,
    operation: i64,
    object: Object<'_, '_>,
) -> std::result::Result<(), String> {
    match operation {
        5 => {
            let name = text(object, "param_name").ok_or("there is no param_name")?;
            let internal = json::get(object, "param_value_internal").and_then(json::number);
            let internal = internal.ok_or("param_value_internal is no number")?;
            let distribution = text(object, "distribution").ok_or("there is no distribution")?;
            trial.params.insert(name, (internal, distribution));
        }
        6 => {
            let state = state(object)?;
            // Another worker took the trial already.
            if state == State::Running && trial.state == State::Running {
                return Ok(());
            }
            if state == State::Running {
                trial.start = micros(object, "datetime_start").or(trial.start);
            }
            if state.is_finished() {
                trial.complete = micros(object, "datetime_complete").or(trial.complete);
            }
            trial.state = state;
            let values = values(object, "values");
            if !values.is_empty() {
                trial.values = values;
            }
        }
        7 => {
            let step = required(object, "step")?;
            let value = json::get(object, "intermediate_value").and_then(json::number);
            trial.intermediate.insert(step, value.unwrap_or(f64::NAN));
        }
        8 => take_attributes(&mut trial.user_attributes, object, "user_attr")?,
        _ => take_attributes(&mut trial.system_attributes, object, "system_attr")?,
    }
    Ok(())
}

fn required(object: Object<'_, '_>, key: &str) -> std::result::Result<i64, String> {
    match json::get(object, key) {
        Some(JsonValue::Int(integer)) => Ok(*integer),
        _ => Err(format!("{key} is missing or no whole number")),
    }
}

fn text(object: Object<'_, '_>, key: &str) -> Option<String> {
    match json::get(object, key) {
        Some(JsonValue::Str(text)) => Some(text.to_string()),
        _ => None,
    }
}

fn micros(object: Object<'_, '_>, key: &str) -> Option<i64> {
    micros_from_text(&text(object, key)?)
}

fn state(object: Object<'_, '_>) -> std::result::Result<State, String> {
    let number = required(object, "state")?;
    State::from_number(number).ok_or_else(|| format!("state {number} is not known"))
}

fn values(object: Object<'_, '_>, key: &str) -> Vec<Option<f64>> {
    match json::get(object, key) {
        Some(JsonValue::Array(values)) => values.iter().map(json::number).collect(),
        _ => Vec::new(),
    }
}

fn take_attributes(
    attributes: &mut BTreeMap<String, String>,
    object: Object<'_, '_>,
    key: &str,
) -> std::result::Result<(), String> {
    /// Attributes are kept as JSON; deeper ones than this are cut.
    const DEPTH: usize = 32;
    let Some(JsonValue::Object(given)) = json::get(object, key) else {
        return Err(format!("{key} is missing or no object"));
    };
    for (name, value) in given.iter() {
        let text = match value {
            JsonValue::Str(text) => serde_json::Value::from(text.as_ref()).to_string(),
            other => json::text_or_null(other, DEPTH),
        };
        attributes.insert(name.to_string(), text);
    }
    Ok(())
}

pub(super) fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    let file = unit.path.as_path();
    let mut unpacked = files::open_lines(file, reporter.limits, &reporter.bytes.clone())?;
    let modified = files::modified_micros(&unpacked.metadata);
    let mut lines = Lines::new(&mut unpacked.reader, reporter.limits.line_bytes);
    let mut journal = Journal::default();
    while let Some(line) = lines.next() {
        let place = Place::Line(lines.number());
        match line {
            Ok(()) if lines.line().trim_ascii().is_empty() => {}
            Ok(()) => {
                if let Err(reason) = journal.apply(lines.line()) {
                    reporter.reject(file, place, "operation.malformed", || reason)?;
                }
            }
            Err(fault) => {
                reporter.reject(file, place, fault.code, || fault.message)?;
            }
        }
        // The state of a storage is held as a whole, as Optuna itself does.
        let most = reporter.limits.document_bytes.saturating_mul(16);
        if journal.size as u64 > most {
            return Err(ImportError::TooLarge {
                path: file.to_owned(),
                what: "the size in bytes of a journal",
                actual: journal.size as u64,
                limit: most,
            });
        }
    }
    let mut by_study: BTreeMap<i64, Vec<&Trial>> = BTreeMap::new();
    for (study, trial) in &journal.trials {
        by_study.entry(*study).or_default().push(trial);
    }
    for (id, study) in &journal.studies {
        let trials = by_study.remove(id).unwrap_or_default();
        for trial in &trials {
            study.hand_on(trial, unit, Place::File, modified, reporter)?;
        }
        if trials.is_empty() {
            reporter.remark(file, Place::File, "study.empty", &study.name, 1, || {
                format!("study {:?} has no trials", beginning(&study.name))
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_on_what_has_ended_or_never_was_are_passed_over() {
        let mut journal = Journal::default();
        let mut apply = |text: &str| journal.apply(text.as_bytes());
        assert!(apply(r#"{"op_code":0,"worker_id":"a","study_name":"s","directions":[2]}"#).is_ok());
        assert!(apply(r#"{"op_code":0,"worker_id":"b","study_name":"s","directions":[1]}"#).is_ok());
        assert!(apply(r#"{"op_code":4,"worker_id":"a","study_id":7,"datetime_start":null}"#).is_ok());
        assert!(
            apply(
                r#"{"op_code":4,"worker_id":"a","study_id":0,"datetime_start":"2026-11-20T23:26:55.5+00:00"}"#
            )
            .is_ok()
        );
        assert!(
            apply(r#"{"op_code":7,"worker_id":"a","trial_id":0,"step":3,"intermediate_value":NaN}"#).is_ok()
        );
        assert!(apply(r#"{"op_code":6,"worker_id":"a","trial_id":0,"state":1,"values":[Infinity],"datetime_complete":null}"#).is_ok());
        assert!(
            apply(r#"{"op_code":7,"worker_id":"a","trial_id":0,"step":4,"intermediate_value":1.0}"#).is_ok()
        );
        assert!(apply(r#"{"op_code":5,"worker_id":"a","trial_id":9}"#).is_ok());
        for bad in
            ["", "[]", "{}", r#"{"op_code":10}"#, r#"{"op_code":4}"#, r#"{"op_code":1,"study_id":"x"}"#]
        {
            assert!(apply(bad).is_err(), "{bad}");
        }
        assert_eq!(journal.studies[0].directions, ["MAXIMIZE"]);
        let (_, trial) = &journal.trials[0];
        assert_eq!((trial.state, trial.values.as_slice()), (State::Complete, &[Some(f64::INFINITY)][..]));
        assert_eq!(trial.intermediate.keys().collect::<Vec<_>>(), [&3]);
    }
}
