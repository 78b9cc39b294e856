//! The door through which everything leaves this crate: runs, points and rejections, in order.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use model::{
    Context, ExperimentName, Key, MetricName, ParamValue, PointColumns, ProjectName, RunId, RunStatus,
    TagValue,
};

use crate::error::SinkError;
use crate::source::Unit;

/// Where the times of a run's points come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSource {
    /// The file states a time for each point.
    Recorded,
    /// The file states none: the time is what [`Sink::fallback_time`] gave, plus one microsecond a row.
    FileModified,
}

/// A dataset that a run used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetInput {
    /// Its name.
    pub name: String,
    /// A hash of its content or of its source.
    pub digest: String,
    /// The kind of place that it comes from, such as `s3`.
    pub source_type: String,
    /// The place, as the tool wrote it.
    pub source: String,
    /// What it was used for, such as `mlflow.data.context` → `training`.
    pub tags: BTreeMap<String, String>,
}

/// What is known of a run before its points come.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedRun {
    /// Identity: the tool's own id when it has our form, else derived from [`Self::source`] and [`Self::source_run_id`].
    pub id: RunId,
    /// The name that the tool shows.
    pub name: String,
    /// The project, when the source or the options name one.
    pub project: Option<ProjectName>,
    /// The experiment.
    pub experiment: ExperimentName,
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
    /// The kind of source, such as `tensorboard`; `None` for a run that was logged to Runlake itself.
    pub source: Option<String>,
    /// The identity of the run there: its id, or the absolute path and the run's key in the file.
    pub source_run_id: Option<String>,
    /// The commit of the training code.
    pub git_commit: Option<String>,
    /// Whether the source holds the run as deleted.
    pub deleted: bool,
    /// Inputs.
    pub params: BTreeMap<Key, ParamValue>,
    /// Labels.
    pub tags: BTreeMap<Key, TagValue>,
    /// Datasets that the run used.
    pub datasets: Vec<DatasetInput>,
    /// Whether the points' times were recorded by the tool.
    pub time_source: TimeSource,
}

/// What became known of a run while its points were read; empty fields change nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunFacts {
    /// Where the run stands.
    pub status: Option<RunStatus>,
    /// Start, microseconds since 1970 UTC.
    pub start_time: Option<i64>,
    /// End, microseconds since 1970 UTC.
    pub end_time: Option<i64>,
    /// More inputs.
    pub params: BTreeMap<Key, ParamValue>,
    /// More labels.
    pub tags: BTreeMap<Key, TagValue>,
}

impl RunFacts {
    /// Whether nothing became known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A line, from 1.
    Line(u64),
    /// A row or an entry, from 1.
    Row(u64),
    /// A byte, from 0.
    Offset(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("the file"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
            Self::Offset(offset) => write!(f, "offset {offset}"),
        }
    }
}

/// Input that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// A stable code, such as `cell.not_a_number`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// How many records this stands for: 1, or the number of further ones of the same file and code that are not
    /// told one by one.
    pub count: u64,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {} [{}]", self.file.display(), self.place, self.message, self.code)?;
        if self.count > 1 {
            write!(f, " ({} times)", self.count)?;
        }
        Ok(())
    }
}

/// Whether a unit is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Read it.
    Import,
    /// Leave it: its content is the one that was imported before.
    Skip,
}

/// What came out of one unit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UnitOutcome {
    /// Runs handed over.
    pub runs: u64,
    /// Series with at least one point.
    pub series: u64,
    /// Points handed over.
    pub points: u64,
    /// Of these, points that are not a number.
    pub nan: u64,
    /// Of these, infinite points.
    pub infinite: u64,
    /// Smallest and largest step.
    pub steps: Option<(i64, i64)>,
    /// Earliest and latest time, microseconds since 1970 UTC.
    pub times: Option<(i64, i64)>,
    /// Records rejected.
    pub rejected: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// Receives what an import reads. Calls come in this order for each unit: `begin`, then for each run one `run` before
/// its first `points`, any number of `points` (or `points_of_attempt`) and `reject`, at most one `facts` for each run,
/// `end`.
///
/// An error ends the import at once; what was handed over stays.
pub trait Sink {
    /// A unit (a file or a run folder) is about to be read. `content_hash` gives a SHA-256 over its content; it reads the
    /// unit, so ask only when there is something to compare with.
    ///
    /// # Errors
    /// Ends the import.
    fn begin(
        &mut self,
        _unit: &Unit,
        _content_hash: &mut dyn FnMut() -> crate::Result<String>,
    ) -> Result<Decision, SinkError> {
        Ok(Decision::Import)
    }

    /// A run. The same run may come again in a later unit or import.
    ///
    /// # Errors
    /// Ends the import.
    fn run(&mut self, run: ImportedRun) -> Result<(), SinkError>;

    /// Points of one series in the order of the file; a series comes in any number of parts.
    ///
    /// # Errors
    /// Ends the import.
    fn points(
        &mut self,
        run: RunId,
        metric: &MetricName,
        context: Option<&Context>,
        points: PointColumns,
    ) -> Result<(), SinkError>;

    /// As [`Self::points`], from a source that knows in which attempt of the run they were logged.
    ///
    /// # Errors
    /// Ends the import.
    fn points_of_attempt(
        &mut self,
        run: RunId,
        metric: &MetricName,
        context: Option<&Context>,
        _attempt: u32,
        points: PointColumns,
    ) -> Result<(), SinkError> {
        self.points(run, metric, context, points)
    }

    /// What became known of a run while its points were read.
    ///
    /// # Errors
    /// Ends the import.
    fn facts(&mut self, run: RunId, facts: RunFacts) -> Result<(), SinkError>;

    /// Something was not taken.
    ///
    /// # Errors
    /// Ends the import.
    fn reject(&mut self, rejection: Rejection) -> Result<(), SinkError>;

    /// So many more bytes were read.
    fn progress(&mut self, _bytes_done: u64) {}

    /// The time to give to points of a run whose file states none. `modified` is when the file was last written.
    ///
    /// A file that grows between two imports changes its `modified`: to have the same points get the same times again,
    /// return the start time that the run has had since its first import.
    fn fallback_time(&mut self, _run: RunId, modified: i64) -> i64 {
        modified
    }

    /// A unit was read to its end.
    ///
    /// # Errors
    /// Ends the import.
    fn end(&mut self, _unit: &Unit, _outcome: &UnitOutcome) -> Result<(), SinkError> {
        Ok(())
    }
}
