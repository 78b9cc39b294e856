//! `meta.yaml`: the description of an experiment or a run.

use std::collections::BTreeMap;

use model::RunStatus;

use crate::yaml;

/// What a `meta.yaml` describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meta {
    /// An experiment.
    Experiment(ExperimentMeta),
    /// A run.
    Run(RunMeta),
    /// Something else: a dataset, a model, or a file of another tool.
    Other,
}

/// An experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentMeta {
    /// Its name, or its id where it has none.
    pub name: String,
    /// Whether it is deleted.
    pub deleted: bool,
}

impl ExperimentMeta {
    /// An experiment of which only the id is known.
    pub(crate) fn unnamed(id: &str) -> Self {
        Self { name: id.to_owned(), deleted: false }
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMeta {
    /// Its id.
    pub run_id: Option<String>,
    /// Its name; versions before 1.30 keep it in a tag only.
    pub name: Option<String>,
    /// Who started it.
    pub user: Option<String>,
    /// Start, microseconds since 1970 UTC.
    pub start_time: Option<i64>,
    /// End, microseconds since 1970 UTC.
    pub end_time: Option<i64>,
    /// Whether it is deleted.
    pub deleted: bool,
    status: Option<String>,
}

impl RunMeta {
    /// The status: MLflow's number (`mlflow.entities.RunStatus`) or its name.
    ///
    /// # Errors
    /// What stands there instead; [`RunStatus::Running`] fits best then.
    pub fn status(&self) -> Result<RunStatus, String> {
        match self.status.as_deref() {
            None | Some("1" | "RUNNING") => Ok(RunStatus::Running),
            Some("2" | "SCHEDULED") => Ok(RunStatus::Scheduled),
            Some("3" | "FINISHED") => Ok(RunStatus::Finished),
            Some("4" | "FAILED") => Ok(RunStatus::Failed),
            Some("5" | "KILLED") => Ok(RunStatus::Killed),
            Some(other) => Err(format!("status {:?} is unknown", crate::error::beginning(other))),
        }
    }
}

/// Longest `meta.yaml`; real ones have some hundred bytes, dataset descriptions some ten thousand.
const LONGEST: usize = 4 << 20;
const DEEPEST: usize = 16;

/// Reads a flat mapping; `null` values are left out.
///
/// # Errors
/// The reason, when it is no YAML mapping, not UTF-8, too long, too deep, or uses tags or aliases.
pub fn mapping(content: &[u8]) -> Result<BTreeMap<String, String>, String> {
    if content.len() > LONGEST {
        return Err(format!("it has {} bytes, at most {LONGEST} are read", content.len()));
    }
    let text = std::str::from_utf8(content).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut values = yaml::flat_mapping(text, DEEPEST)?;
    values.retain(|_, value| !matches!(value.as_str(), "null" | "~" | "Null" | "NULL"));
    Ok(values)
}

/// Reads a `meta.yaml`.
///
/// # Errors
/// As [`mapping`].
pub fn parse(content: &[u8]) -> Result<Meta, String> {
    let mut values = mapping(content)?;
    let deleted = values.get("lifecycle_stage").is_some_and(|stage| stage == "deleted");
    let millis = |values: &BTreeMap<String, String>, key: &str| {
        values.get(key)?.trim().parse::<i64>().ok()?.checked_mul(1_000)
    };
    let is_run = values.contains_key("run_id") || values.contains_key("run_uuid");
    if is_run {
        return Ok(Meta::Run(RunMeta {
            start_time: millis(&values, "start_time"),
            end_time: millis(&values, "end_time"),
            run_id: values.remove("run_id").or_else(|| values.remove("run_uuid")),
            name: values.remove("run_name").or_else(|| values.remove("name")),
            user: values.remove("user_id"),
            status: values.remove("status"),
            deleted,
        }));
    }
    match (values.remove("experiment_id"), values.contains_key("lifecycle_stage")) {
        (Some(id), true) => {
            let name = values.remove("name").filter(|name| !name.is_empty()).unwrap_or(id);
            Ok(Meta::Experiment(ExperimentMeta { name, deleted }))
        }
        _ => Ok(Meta::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_of_statuses_are_known() {
        let status = |text: &str| match parse(format!("run_id: a\nstatus: {text}\n").as_bytes()) {
            Ok(Meta::Run(run)) => run.status(),
            other => panic!("{other:?}"),
        };
        assert_eq!(status("4"), Ok(RunStatus::Failed));
        assert_eq!(status("KILLED"), Ok(RunStatus::Killed));
        assert!(status("9").is_err());
    }

    #[test]
    fn experiments_and_runs_are_told_apart_from_other_files() {
        let experiment = parse(b"experiment_id: '7'\nname: demo\nlifecycle_stage: deleted\n");
        assert_eq!(
            experiment,
            Ok(Meta::Experiment(ExperimentMeta { name: "demo".to_owned(), deleted: true }))
        );
        assert_eq!(parse(b"digest: 1\nname: train\n"), Ok(Meta::Other));
        assert!(parse(b"\xff\xfe").is_err());
        assert!(parse(b"- a\n").is_err());
    }
}
