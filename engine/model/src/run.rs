//! Runs: one execution of training.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result, beginning};
use crate::id::RunId;
use crate::name::{ExperimentName, Key, ProjectName};
use crate::param::{ParamValue, TagValue};

/// Where a run stands, in MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunStatus {
    /// Logging now.
    #[default]
    Running,
    /// Waiting to start.
    Scheduled,
    /// Ended well.
    Finished,
    /// Ended with an error.
    Failed,
    /// Stopped from outside.
    Killed,
}

impl RunStatus {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 5] = [Self::Running, Self::Scheduled, Self::Finished, Self::Failed, Self::Killed];

    /// The word of this status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Scheduled => "SCHEDULED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }

    /// Whether the run has ended.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }
}

impl FromStr for RunStatus {
    type Err = ModelError;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "RUNNING" => Ok(Self::Running),
            "SCHEDULED" => Ok(Self::Scheduled),
            "FINISHED" => Ok(Self::Finished),
            "FAILED" => Ok(Self::Failed),
            "KILLED" => Ok(Self::Killed),
            _ => Err(ModelError::UnknownWord {
                what: "run status",
                text: beginning(text),
                allowed: "RUNNING, SCHEDULED, FINISHED, FAILED, KILLED",
            }),
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything the registry knows of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Identity.
    pub id: RunId,
    /// The project that holds the run.
    pub project: ProjectName,
    /// The experiment that holds the run.
    pub experiment: ExperimentName,
    /// The name that users see; not unique.
    pub name: String,
    /// Where it stands.
    pub status: RunStatus,
    /// Who started it.
    pub user: Option<String>,
    /// Start, microseconds since 1970 UTC.
    pub start_time: Option<i64>,
    /// End, microseconds since 1970 UTC.
    pub end_time: Option<i64>,
    /// The run that this one is nested in.
    pub parent: Option<RunId>,
    /// The tool or file that the run came from, such as `tensorboard`; `None` when logged here.
    pub source: Option<String>,
    /// The identity of the run in its source.
    pub source_run_id: Option<String>,
    /// The commit of the training code.
    pub git_commit: Option<String>,
    /// Whether the source holds the run as deleted.
    pub deleted: bool,
    /// Inputs; write-once.
    pub params: BTreeMap<Key, ParamValue>,
    /// Labels.
    pub tags: BTreeMap<Key, TagValue>,
}

impl Run {
    /// The seed: the integer value of the param or else the tag `seed` (or `random_seed`).
    pub fn seed(&self) -> Option<i64> {
        seed_of(
            |key| self.params.get(key).map(ParamValue::as_str),
            |key| self.tags.get(key).map(TagValue::as_str),
        )
    }
}

/// The keys under which a run names its seed, the first goes first.
pub const SEED_KEYS: [&str; 2] = ["seed", "random_seed"];

/// The seed among params and tags; see [`Run::seed`].
pub fn seed_of<'a>(
    param: impl Fn(&str) -> Option<&'a str>,
    tag: impl Fn(&str) -> Option<&'a str>,
) -> Option<i64> {
    SEED_KEYS.iter().find_map(|key| {
        let text = param(key).or_else(|| tag(key))?;
        let trimmed = text.trim();
        trimmed.parse().ok().or_else(|| {
            let number: f64 = trimmed.parse().ok()?;
            // Tools that keep every number as a double write the seed 3 as 3.0.
            (number.fract() == 0.0 && number.abs() < 9.0e15).then_some(number as i64)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_round_trip_and_unknown_ones_name_the_choice() {
        for status in ["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"] {
            assert_eq!(status.parse::<RunStatus>().unwrap().as_str(), status);
        }
        let error = "finished".parse::<RunStatus>().unwrap_err();
        assert!(error.to_string().contains("FINISHED"), "{error}");
    }
}
