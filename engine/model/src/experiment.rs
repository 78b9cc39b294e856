//! Experiments: a hypothesis under test, with what was decided and why.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result, beginning};
use crate::id::RunId;
use crate::name::{ExperimentName, MetricName, ProjectName};

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricDirection {
    /// Larger is better.
    Up,
    /// Smaller is better.
    Down,
}

impl MetricDirection {
    /// `up` or `down`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl FromStr for MetricDirection {
    type Err = ModelError;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "up" | "max" | "maximize" => Ok(Self::Up),
            "down" | "min" | "minimize" => Ok(Self::Down),
            _ => Err(ModelError::UnknownWord {
                what: "direction",
                text: beginning(text),
                allowed: "up (larger is better), down (smaller is better)",
            }),
        }
    }
}

impl fmt::Display for MetricDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was decided about an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecisionKind {
    /// The change is taken.
    Ship,
    /// The change needs more work or more runs.
    Iterate,
    /// The change is not taken.
    Reject,
}

impl DecisionKind {
    /// `ship`, `iterate` or `reject`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ship => "ship",
            Self::Iterate => "iterate",
            Self::Reject => "reject",
        }
    }
}

impl FromStr for DecisionKind {
    type Err = ModelError;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ship" => Ok(Self::Ship),
            "iterate" => Ok(Self::Iterate),
            "reject" => Ok(Self::Reject),
            _ => Err(ModelError::UnknownWord {
                what: "decision",
                text: beginning(text),
                allowed: "ship, iterate, reject",
            }),
        }
    }
}

impl fmt::Display for DecisionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A decision about an experiment; the latest one counts, all are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The project.
    pub project: ProjectName,
    /// The experiment.
    pub experiment: ExperimentName,
    /// What was decided.
    pub decision: DecisionKind,
    /// Why.
    pub reason: String,
    /// Who decided.
    pub author: Option<String>,
    /// When, microseconds since 1970 UTC.
    pub time: i64,
}

/// A note on a run or on an experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The project.
    pub project: ProjectName,
    /// The experiment that the note is on, when it is on one.
    pub experiment: Option<ExperimentName>,
    /// The run that the note is on, when it is on one.
    pub run: Option<RunId>,
    /// The text.
    pub text: String,
    /// Who wrote it.
    pub author: Option<String>,
    /// When, microseconds since 1970 UTC.
    pub time: i64,
}

/// An experiment as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    /// The project that holds it.
    pub project: ProjectName,
    /// Its name, unique inside the project.
    pub name: ExperimentName,
    /// What is believed and tested.
    pub hypothesis: Option<String>,
    /// Where the idea comes from: a paper, a colleague, an earlier run.
    pub source: Option<String>,
    /// The metric that decides.
    pub target_metric: Option<MetricName>,
    /// Which way the target metric gets better.
    pub direction: Option<MetricDirection>,
    /// Who is responsible.
    pub owner: Option<String>,
    /// Free notes.
    pub notes: Option<String>,
    /// When it was first seen, microseconds since 1970 UTC.
    pub created: i64,
}

/// New facts about an experiment; `None` leaves a field as it is. The experiment is made when it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentUpdate {
    /// The project that holds it.
    pub project: ProjectName,
    /// Its name.
    pub name: ExperimentName,
    /// What is believed and tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypothesis: Option<String>,
    /// Where the idea comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The metric that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_metric: Option<MetricName>,
    /// Which way the target metric gets better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<MetricDirection>,
    /// Who is responsible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Free notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// When it was first seen, microseconds since 1970 UTC; only counts when the experiment is new.
    pub time: i64,
}

impl ExperimentUpdate {
    /// An update that only makes sure that the experiment is there.
    pub fn named(project: ProjectName, name: ExperimentName, time: i64) -> Self {
        Self {
            project,
            name,
            hypothesis: None,
            source: None,
            target_metric: None,
            direction: None,
            owner: None,
            notes: None,
            time,
        }
    }
}
