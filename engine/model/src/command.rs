//! Registry commands: every change to something mutable, in the order in which it happened.
//!
//! Commands are plain data with named fields. Fields are only ever added, each with a default, so that a log that
//! an older version wrote stays readable.

use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result};
use crate::experiment::{Decision, ExperimentUpdate, Note};
use crate::id::RunId;
use crate::limits;
use crate::name::{ExperimentName, Key, ProjectName, RecordId, check_length, check_text};
use crate::param::{ParamValue, TagValue};
use crate::record::{RecordKind, RecordUpdate};
use crate::run::RunStatus;
use crate::view::{View, ViewName};

/// The place of a batch in the sequence of one writer. A batch whose number was seen before is acknowledged again
/// and not applied again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WriterSequence {
    client_id: String,
    client_seq: u64,
}

impl WriterSequence {
    /// Checks a writer's identity. Numbers start anywhere and rise; gaps are allowed.
    ///
    /// # Errors
    /// Refuses an empty client id, more than 128 characters, and control characters.
    pub fn new(client_id: impl Into<String>, client_seq: u64) -> Result<Self> {
        let client_id = client_id.into();
        check_text("client id", &client_id, limits::CLIENT_ID_CHARACTERS)?;
        Ok(Self { client_id, client_seq })
    }

    /// Who writes.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The number of the batch.
    pub fn client_seq(&self) -> u64 {
        self.client_seq
    }
}

/// A run to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewRun {
    /// Identity.
    pub id: RunId,
    /// The project; made when it is not there.
    pub project: ProjectName,
    /// The experiment; made when it is not there.
    pub experiment: ExperimentName,
    /// The name that users see.
    pub name: String,
    /// Where it stands.
    #[serde(default)]
    pub status: RunStatus,
    /// Who started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Start, microseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<i64>,
    /// End, microseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<i64>,
    /// The run that this one is nested in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// The tool or file that the run came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The identity of the run in its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_run_id: Option<String>,
    /// The commit of the training code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    /// Whether the source holds the run as deleted.
    #[serde(default)]
    pub deleted: bool,
    /// When the command was given, microseconds since 1970 UTC.
    pub time: i64,
}

impl NewRun {
    /// A running run with only the fields that every run has.
    pub fn named(
        id: RunId,
        project: ProjectName,
        experiment: ExperimentName,
        name: impl Into<String>,
        time: i64,
    ) -> Self {
        Self {
            id,
            project,
            experiment,
            name: name.into(),
            status: RunStatus::Running,
            user: None,
            start_time: Some(time),
            end_time: None,
            parent: None,
            source: None,
            source_run_id: None,
            git_commit: None,
            deleted: false,
            time,
        }
    }
}

/// New facts about a run; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunUpdate {
    /// The run.
    pub id: RunId,
    /// The name that users see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RunStatus>,
    /// Start, microseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<i64>,
    /// End, microseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<i64>,
    /// Who started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether the run is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
}

impl RunUpdate {
    /// An update that changes nothing yet.
    pub fn of(id: RunId) -> Self {
        Self { id, name: None, status: None, start_time: None, end_time: None, user: None, deleted: None }
    }
}

/// That a file of another tool was imported, as it was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// The kind of source, such as `tensorboard`.
    pub kind: String,
    /// The file or folder, as an absolute path.
    pub location: String,
    /// A hash over the content at the time of the import.
    pub content_hash: String,
    /// Points added.
    pub points: u64,
    /// Records rejected.
    pub rejected: u64,
    /// When, microseconds since 1970 UTC.
    pub time: i64,
}

/// A change of the registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// Makes an experiment or adds facts to it.
    UpdateExperiment(ExperimentUpdate),
    /// Makes a run. Making the same run again changes nothing.
    CreateRun(NewRun),
    /// Adds facts to a run.
    UpdateRun(RunUpdate),
    /// Sets params. Params are write-once: the same value again is fine, another value is a conflict.
    SetParams {
        /// The run.
        run: RunId,
        /// Keys and values.
        params: Vec<(Key, ParamValue)>,
    },
    /// Sets tags; later values replace earlier ones.
    SetTags {
        /// The run.
        run: RunId,
        /// Keys and values.
        tags: Vec<(Key, TagValue)>,
    },
    /// Removes tags; absent ones are no error.
    DeleteTags {
        /// The run.
        run: RunId,
        /// Keys.
        keys: Vec<Key>,
    },
    /// Records a decision.
    Decide(Decision),
    /// Adds a note.
    AddNote(Note),
    /// Remembers what was imported.
    RecordImport(ImportRecord),
    /// Deletes runs with their params, tags, notes, records, series and points, for good. Their ids may be used again, for new runs.
    DeleteRuns {
        /// The runs.
        runs: Vec<RunId>,
    },
    /// Deletes a project: its runs, experiments, decisions, notes and records, for good.
    DeleteProject {
        /// The project.
        project: ProjectName,
    },
    /// Says after how many days from its end a run of a project is deleted; `None` keeps runs for ever.
    SetRetention {
        /// The project.
        project: ProjectName,
        /// Days, at least 1.
        #[serde(default)]
        days: Option<u32>,
    },
    /// Keeps a view, in place of the one that has its name.
    SaveView(View),
    /// Lets go of a view.
    DropView {
        /// Its name.
        name: ViewName,
    },
    /// Makes a record or sets columns of it.
    PutRecord(RecordUpdate),
    /// Removes a record for good.
    RemoveRecord {
        /// Its table.
        table: RecordKind,
        /// The project.
        project: ProjectName,
        /// Which one.
        id: RecordId,
    },
}

impl Command {
    /// The run that it adds facts, params, tags, a note or a record to; `None` when there is no such run, as for the creation and
    /// the deletion of runs.
    pub fn adds_to(&self) -> Option<RunId> {
        match self {
            Self::UpdateRun(update) => Some(update.id),
            Self::SetParams { run, .. } | Self::SetTags { run, .. } | Self::DeleteTags { run, .. } => {
                Some(*run)
            }
            Self::AddNote(note) => note.run,
            Self::PutRecord(update) => update.run,
            _ => None,
        }
    }

    /// Checks the texts that have no type of their own.
    ///
    /// # Errors
    /// Refuses names, reasons and notes over their limits, and an empty reason or note.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::UpdateExperiment(update) => {
                for text in
                    [&update.hypothesis, &update.source, &update.owner, &update.notes].into_iter().flatten()
                {
                    check_length("experiment text", text, limits::TEXT_CHARACTERS)?;
                }
            }
            Self::CreateRun(run) => {
                check_length("run name", &run.name, limits::NAME_CHARACTERS)?;
                for text in
                    [&run.user, &run.source, &run.source_run_id, &run.git_commit].into_iter().flatten()
                {
                    check_length("run text", text, limits::TAG_VALUE_CHARACTERS)?;
                }
            }
            Self::UpdateRun(update) => {
                if let Some(name) = &update.name {
                    check_length("run name", name, limits::NAME_CHARACTERS)?;
                }
                if let Some(user) = &update.user {
                    check_length("user", user, limits::TAG_VALUE_CHARACTERS)?;
                }
            }
            Self::Decide(decision) => {
                if decision.reason.trim().is_empty() {
                    return Err(ModelError::Empty { what: "the reason of the decision" });
                }
                check_length("reason", &decision.reason, limits::TEXT_CHARACTERS)?;
            }
            Self::AddNote(note) => {
                if note.text.trim().is_empty() {
                    return Err(ModelError::Empty { what: "the note" });
                }
                check_length("note", &note.text, limits::TEXT_CHARACTERS)?;
            }
            Self::RecordImport(record) => {
                check_length("import location", &record.location, limits::TAG_VALUE_CHARACTERS)?;
            }
            Self::SetRetention { days, .. } => {
                if *days == Some(0) {
                    return Err(ModelError::Empty { what: "the number of days" });
                }
            }
            Self::SaveView(view) => view.check()?,
            Self::PutRecord(update) => update.check()?,
            Self::SetParams { .. }
            | Self::SetTags { .. }
            | Self::DeleteTags { .. }
            | Self::DeleteRuns { .. }
            | Self::DeleteProject { .. }
            | Self::DropView { .. }
            | Self::RemoveRecord { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_round_trip_as_json_and_bad_ones_do_not_come_in() {
        let run = RunId::from_u128(7);
        let command = Command::SetParams {
            run,
            params: vec![(Key::new("lr").unwrap(), ParamValue::new("0.1").unwrap())],
        };
        let json = serde_json::to_string(&command).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&json).unwrap(), command);
        let bad = json.replace("\"lr\"", "\"\"");
        assert!(serde_json::from_str::<Command>(&bad).is_err());
        let create = Command::CreateRun(NewRun::named(
            run,
            ProjectName::default(),
            ExperimentName::new("e").unwrap(),
            "r",
            5,
        ));
        let json = serde_json::to_string(&create).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&json).unwrap(), create);
    }

    #[test]
    fn a_decision_needs_a_reason() {
        let decision = Decision {
            project: ProjectName::default(),
            experiment: ExperimentName::new("e").unwrap(),
            decision: crate::DecisionKind::Ship,
            reason: " ".into(),
            author: None,
            time: 0,
        };
        assert_eq!(Command::Decide(decision).check().unwrap_err().code(), "name.empty");
    }
}
