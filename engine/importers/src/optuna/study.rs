//! Studies and trials as both storages have them, and how they become runs.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiter::JsonValue;
use model::{ParamValue, Point, RunId, RunStatus};

use crate::error::{Result, beginning};
use crate::json;
use crate::report::Reporter;
use crate::series::SeriesByName;
use crate::sink::{Place, TimeSource};
use crate::source::Unit;

/// A study. Attributes are JSON.
#[derive(Debug, Clone, Default)]
pub(super) struct Study {
    pub(super) name: String,
    /// `MINIMIZE` or `MAXIMIZE` for each objective.
    pub(super) directions: Vec<String>,
    pub(super) user_attributes: BTreeMap<String, String>,
    pub(super) system_attributes: BTreeMap<String, String>,
}

/// A trial.
#[derive(Debug, Clone, Default)]
pub(super) struct Trial {
    pub(super) number: i64,
    pub(super) state: State,
    /// The objectives' values; `None` where one is missing.
    pub(super) values: Vec<Option<f64>>,
    /// Internal value and distribution (JSON) by name.
    pub(super) params: IndexMap<String, (f64, String)>,
    pub(super) user_attributes: BTreeMap<String, String>,
    pub(super) system_attributes: BTreeMap<String, String>,
    /// Reported values by step, in the order in which the steps came.
    pub(super) intermediate: IndexMap<i64, f64>,
    /// Microseconds since 1970. The tool writes the local time of its machine, and not where that is.
    pub(super) start: Option<i64>,
    pub(super) complete: Option<i64>,
}

/// `optuna.trial.TrialState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    #[default]
    Running,
    Complete,
    Pruned,
    Fail,
    Waiting,
}

impl State {
    pub(super) fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            0 => Self::Running,
            1 => Self::Complete,
            2 => Self::Pruned,
            3 => Self::Fail,
            4 => Self::Waiting,
            _ => return None,
        })
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        let states = [Self::Running, Self::Complete, Self::Pruned, Self::Fail, Self::Waiting];
        states.into_iter().find(|state| state.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Complete => "COMPLETE",
            Self::Pruned => "PRUNED",
            Self::Fail => "FAIL",
            Self::Waiting => "WAITING",
        }
    }

    pub(super) fn is_finished(self) -> bool {
        matches!(self, Self::Complete | Self::Pruned | Self::Fail)
    }

    fn status(self) -> RunStatus {
        match self {
            Self::Running => RunStatus::Running,
            Self::Complete => RunStatus::Finished,
            Self::Pruned => RunStatus::Killed,
            Self::Fail => RunStatus::Failed,
            Self::Waiting => RunStatus::Scheduled,
        }
    }
}

impl Study {
    /// The metric of each objective: as the user named them, else as Optuna's own tables do.
    fn metric_names(&self, objectives: usize) -> Vec<String> {
        let named = self.system_attributes.get("study:metric_names");
        if let Some(JsonValue::Array(names)) =
            named.and_then(|text| json::parse(text.as_bytes()).ok()).as_ref()
            && names.len() >= objectives
        {
            return names.iter().map(|name| json::text_or_null(name, 1)).collect();
        }
        match objectives {
            1 => vec!["value".to_owned()],
            several => (0..several).map(|index| format!("values_{index}")).collect(),
        }
    }

    /// Hands on a trial as a run: reported values are the metric `intermediate`, objectives a point each at the step of
    /// the last report.
    pub(super) fn hand_on(
        &self,
        trial: &Trial,
        unit: &Unit,
        place: Place,
        modified: i64,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let file = unit.path.as_path();
        let id = format!("{}#{}/{}", unit.location.display(), self.name, trial.number);
        let mut run = reporter.blank_run(unit.kind, id, &format!("{}/{}", self.name, trial.number));
        reporter.put_into_experiment(&mut run, file, &self.name)?;
        run.status = trial.state.status();
        run.start_time = trial.start;
        run.end_time = trial.complete;
        // Trials have times, their values have none.
        run.time_source = TimeSource::FileModified;
        let mut tags = vec![
            ("optuna.study".to_owned(), self.name.clone()),
            ("optuna.number".to_owned(), trial.number.to_string()),
            ("optuna.state".to_owned(), trial.state.word().to_owned()),
            ("optuna.directions".to_owned(), self.directions.join(",")),
        ];
        for (space, attributes) in [
            ("study.user", &self.user_attributes),
            ("study.system", &self.system_attributes),
            ("user", &trial.user_attributes),
            ("system", &trial.system_attributes),
        ] {
            for (key, text) in attributes {
                tags.push((format!("optuna.{space}.{key}"), plain(text)));
            }
        }
        for (name, (internal, distribution)) in &trial.params {
            match external(*internal, distribution) {
                Ok(text) => reporter.param(&mut run.params, file, name, &text)?,
                Err(reason) => reporter.reject(file, place, "param.malformed", || {
                    format!("trial {}: {:?}: {reason}", trial.number, beginning(name))
                })?,
            }
            tags.push((format!("optuna.distribution.{name}"), distribution.clone()));
        }
        for (key, text) in tags {
            reporter.tag(&mut run.tags, file, &key, &text)?;
        }
        let run_id = run.id;
        let base = match trial.start.or(trial.complete) {
            Some(time) => time,
            None => reporter.fallback_time(run_id, modified),
        };
        reporter.run(run)?;
        self.points(trial, unit, place, (run_id, base), reporter)
    }

    fn points(
        &self,
        trial: &Trial,
        unit: &Unit,
        place: Place,
        (run, base): (RunId, i64),
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let file = unit.path.as_path();
        let mut series = SeriesByName::of(run);
        let mut time = base;
        for (step, value) in &trial.intermediate {
            let point = Point { step: *step, step_fraction: None, time, value: *value };
            series.point(reporter, file, place, "intermediate", point)?;
            time = time.saturating_add(1);
        }
        let step = trial.intermediate.keys().copied().max().unwrap_or(0);
        let time = trial.complete.unwrap_or(time);
        let names = self.metric_names(trial.values.len());
        for (name, value) in names.iter().zip(&trial.values) {
            let Some(value) = *value else { continue };
            let point = Point { step, step_fraction: None, time, value };
            series.point(reporter, file, place, name, point)?;
        }
        // The next trial is another run.
        reporter.close_series()
    }
}

/// The value of an attribute without the quotes of JSON.
fn plain(text: &str) -> String {
    match json::parse(text.as_bytes()) {
        Ok(JsonValue::Str(text)) => text.into_owned(),
        _ => text.to_owned(),
    }
}

/// The value of a param as the user's code saw it, from what the storage keeps and the distribution.
///
/// # Errors
/// The reason, when the distribution is not known or the value is not one of its choices.
fn external(internal: f64, distribution: &str) -> std::result::Result<String, String> {
    let parsed = json::parse(distribution.as_bytes())?;
    let JsonValue::Object(object) = &parsed else { return Err("the distribution is no object".to_owned()) };
    let name = match json::get(object, "name") {
        Some(JsonValue::Str(name)) => name.as_ref(),
        _ => return Err("the distribution has no name".to_owned()),
    };
    match name {
        "CategoricalDistribution" => {
            let choices = match json::get(object, "attributes") {
                Some(JsonValue::Object(attributes)) => json::get(attributes, "choices"),
                _ => None,
            };
            let Some(JsonValue::Array(choices)) = choices else { return Err("it has no choices".to_owned()) };
            // In range by the check; a fraction is no index.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let index =
                (internal >= 0.0 && internal.fract() == 0.0 && internal < 1e9).then_some(internal as usize);
            match index.and_then(|index| choices.get(index)) {
                Some(choice) => Ok(json::text_or_null(choice, 8)),
                None => Err(format!("{internal} is none of its {} choices", choices.len())),
            }
        }
        "IntDistribution" | "IntUniformDistribution" | "IntLogUniformDistribution" => {
            if internal.abs() < 9e15 && internal.fract() == 0.0 {
                Ok(format!("{internal:.0}"))
            } else {
                Ok(format!("{internal:?}"))
            }
        }
        "FloatDistribution"
        | "UniformDistribution"
        | "LogUniformDistribution"
        | "DiscreteUniformDistribution" => Ok(ParamValue::from_f64(internal).to_string()),
        other => Err(format!("distribution {:?} is not known", beginning(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_the_users_code_saw() {
        let categorical =
            r#"{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", null, 1, 0.5, true]}}"#;
        let texts: Vec<_> = (0..5).map(|index| external(f64::from(index), categorical).unwrap()).collect();
        assert_eq!(texts, ["sgd", "null", "1", "0.5", "true"]);
        for bad in [5.0, -1.0, 0.5, f64::NAN, 1e300] {
            assert!(external(bad, categorical).is_err(), "{bad}");
        }
        assert_eq!(external(6.0, r#"{"name": "IntUniformDistribution", "attributes": {}}"#).unwrap(), "6");
        assert_eq!(external(6.0, r#"{"name": "FloatDistribution", "attributes": {}}"#).unwrap(), "6.0");
        for bad in ["", "[]", "{}", r#"{"name": "Other"}"#, r#"{"name": "CategoricalDistribution"}"#] {
            assert!(external(0.0, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn objectives_have_the_names_of_the_study() {
        let mut study = Study::default();
        assert_eq!(study.metric_names(1), ["value"]);
        assert_eq!(study.metric_names(2), ["values_0", "values_1"]);
        study.system_attributes.insert("study:metric_names".to_owned(), r#"["cost", "speed"]"#.to_owned());
        assert_eq!(study.metric_names(2), ["cost", "speed"]);
    }
}
