//! A run as readers see it, wherever it stands: as a row that changed lately, or in the columns of its chunk.

use std::collections::btree_map;

use model::{ExperimentName, Key, ParamValue, ProjectName, Run, RunId, RunStatus, TagValue, seed_of};

use super::config_hash::ConfigHash;
use super::key_columns::{KeyColumn, KeyColumns, Place};
use super::run_columns::RunColumns;

/// One run. Cheap to copy; nothing is made until it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct RunRow<'a>(Form<'a>);

#[derive(Debug, Clone, Copy)]
enum Form<'a> {
    Row(&'a Run),
    Columns(&'a RunColumns, Place),
}

impl<'a> RunRow<'a> {
    /// A run that stands alone.
    pub fn of(run: &'a Run) -> Self {
        Self(Form::Row(run))
    }

    pub(super) fn at(columns: &'a RunColumns, place: Place) -> Self {
        Self(Form::Columns(columns, place))
    }

    /// Identity.
    pub fn id(self) -> RunId {
        match self.0 {
            Form::Row(run) => run.id,
            Form::Columns(columns, place) => columns.id(place),
        }
    }

    /// The project that holds the run.
    pub fn project(self) -> &'a ProjectName {
        match self.0 {
            Form::Row(run) => &run.project,
            Form::Columns(columns, place) => columns.project(place),
        }
    }

    /// The experiment that holds the run.
    pub fn experiment(self) -> &'a ExperimentName {
        match self.0 {
            Form::Row(run) => &run.experiment,
            Form::Columns(columns, place) => columns.experiment(place),
        }
    }

    /// The name that users see.
    pub fn name(self) -> &'a str {
        match self.0 {
            Form::Row(run) => &run.name,
            Form::Columns(columns, place) => columns.name(place),
        }
    }

    /// Where it stands.
    pub fn status(self) -> RunStatus {
        match self.0 {
            Form::Row(run) => run.status,
            Form::Columns(columns, place) => columns.status(place),
        }
    }

    /// Who started it.
    pub fn user(self) -> Option<&'a str> {
        match self.0 {
            Form::Row(run) => run.user.as_deref(),
            Form::Columns(columns, place) => columns.user(place),
        }
    }

    /// Start, microseconds since 1970 UTC.
    pub fn start_time(self) -> Option<i64> {
        match self.0 {
            Form::Row(run) => run.start_time,
            Form::Columns(columns, place) => columns.start_time(place),
        }
    }

    /// End, microseconds since 1970 UTC.
    pub fn end_time(self) -> Option<i64> {
        match self.0 {
            Form::Row(run) => run.end_time,
            Form::Columns(columns, place) => columns.end_time(place),
        }
    }

    /// Seconds between start and end, `None` while one is unknown.
    pub fn duration_seconds(self) -> Option<f64> {
        let micros = self.end_time()?.checked_sub(self.start_time()?)?;
        Some(micros as f64 / 1e6)
    }

    /// The run that this one is nested in.
    pub fn parent(self) -> Option<RunId> {
        match self.0 {
            Form::Row(run) => run.parent,
            Form::Columns(columns, place) => columns.parent(place),
        }
    }

    /// The tool or file that the run came from.
    pub fn source(self) -> Option<&'a str> {
        match self.0 {
            Form::Row(run) => run.source.as_deref(),
            Form::Columns(columns, place) => columns.source(place),
        }
    }

    /// The identity of the run in its source.
    pub fn source_run_id(self) -> Option<&'a str> {
        match self.0 {
            Form::Row(run) => run.source_run_id.as_deref(),
            Form::Columns(columns, place) => columns.source_run_id(place),
        }
    }

    /// The commit of the training code.
    pub fn git_commit(self) -> Option<&'a str> {
        match self.0 {
            Form::Row(run) => run.git_commit.as_deref(),
            Form::Columns(columns, place) => columns.git_commit(place),
        }
    }

    /// Whether the source holds the run as deleted.
    pub fn is_deleted(self) -> bool {
        match self.0 {
            Form::Row(run) => run.deleted,
            Form::Columns(columns, place) => columns.is_deleted(place),
        }
    }

    /// The value of a param.
    pub fn param(self, key: &str) -> Option<&'a str> {
        match self.0 {
            Form::Row(run) => run.params.get(key).map(ParamValue::as_str),
            Form::Columns(columns, place) => columns.params().get(key)?.text(place),
        }
    }

    /// The value of a tag.
    pub fn tag(self, key: &str) -> Option<&'a str> {
        match self.0 {
            Form::Row(run) => run.tags.get(key).map(TagValue::as_str),
            Form::Columns(columns, place) => columns.tags().get(key)?.text(place),
        }
    }

    /// All params by key.
    pub fn params(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        match self.0 {
            Form::Row(run) => Pairs::Row(RowPairs::Params(run.params.iter())),
            Form::Columns(columns, place) => Pairs::of_columns(columns.params(), place),
        }
    }

    /// All tags by key.
    pub fn tags(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        match self.0 {
            Form::Row(run) => Pairs::Row(RowPairs::Tags(run.tags.iter())),
            Form::Columns(columns, place) => Pairs::of_columns(columns.tags(), place),
        }
    }

    /// The seed; see [`Run::seed`].
    pub fn seed(self) -> Option<i64> {
        seed_of(|key| self.param(key), |key| self.tag(key))
    }

    /// The hash of its configuration without the seed.
    pub fn config_hash(self) -> ConfigHash {
        match self.0 {
            Form::Row(_) => ConfigHash::of(self.params()),
            Form::Columns(columns, place) => columns.config_hash(place),
        }
    }

    /// The hash of its configuration with the seed.
    pub fn config_hash_with_seed(self) -> ConfigHash {
        self.config_hash().with_seed(|key| self.param(key))
    }

    /// The run, copied.
    pub fn to_run(self) -> Run {
        match self.0 {
            Form::Row(run) => run.clone(),
            Form::Columns(columns, place) => columns.run(place),
        }
    }
}

enum Pairs<'a> {
    Row(RowPairs<'a>),
    Columns(std::slice::Iter<'a, KeyColumn>, Place),
}

enum RowPairs<'a> {
    Params(btree_map::Iter<'a, Key, ParamValue>),
    Tags(btree_map::Iter<'a, Key, TagValue>),
}

impl<'a> Pairs<'a> {
    fn of_columns(columns: &'a KeyColumns, place: Place) -> Self {
        Self::Columns(columns.iter(), place)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Row(RowPairs::Params(pairs)) => {
                pairs.next().map(|(key, value)| (key.as_str(), value.as_str()))
            }
            Self::Row(RowPairs::Tags(pairs)) => {
                pairs.next().map(|(key, value)| (key.as_str(), value.as_str()))
            }
            Self::Columns(columns, place) => {
                columns.find_map(|column| Some((column.key(), column.text(*place)?)))
            }
        }
    }
}
