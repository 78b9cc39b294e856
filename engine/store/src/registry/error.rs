//! What a command is refused for.

use model::{
    ExperimentName, Key, ModelError, ParamValue, ProjectName, RecordId, RecordKind, RunId, ViewName,
};
use thiserror::Error;

/// A command does not fit the state of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// The run is not there.
    #[error("run {run} is not in this lake; create it first")]
    RunUnknown {
        /// The run.
        run: RunId,
    },
    /// The experiment is not there.
    #[error("experiment {experiment:?} is not in project {project:?}")]
    ExperimentUnknown {
        /// The project.
        project: ProjectName,
        /// The experiment.
        experiment: ExperimentName,
    },
    /// A param has another value already.
    #[error("param {key:?} of run {run} is {present:?} and cannot become {given:?}: params are written once")]
    ParamConflict {
        /// The run.
        run: RunId,
        /// The key.
        key: Key,
        /// The value that it has.
        present: String,
        /// The value that was given.
        given: ParamValue,
    },
    /// There is no view of this name.
    #[error("there is no view {name:?} in this lake")]
    ViewUnknown {
        /// The name.
        name: ViewName,
    },
    /// There are as many views as a lake takes.
    #[error("there are {limit} views in this lake already: drop one first")]
    TooManyViews {
        /// The limit.
        limit: usize,
    },
    /// Nothing is known of the project.
    #[error("there is no project {project:?} in this lake")]
    ProjectUnknown {
        /// The project.
        project: ProjectName,
    },
    /// A record is not valid, or would not be.
    #[error(transparent)]
    Record(#[from] ModelError),
    /// There is no record of this id.
    #[error("there is no {id:?} in {table} of project {project:?}")]
    RecordUnknown {
        /// Its table.
        table: RecordKind,
        /// The project.
        project: ProjectName,
        /// The id.
        id: RecordId,
    },
    /// A record names a run of another project or experiment.
    #[error("run {run} is in {project}/{experiment}: a row about it belongs there")]
    RecordElsewhere {
        /// The run.
        run: RunId,
        /// Its project.
        project: ProjectName,
        /// Its experiment.
        experiment: ExperimentName,
    },
    /// A run with this id is there, in another project or experiment.
    #[error("run {run} is in {project}/{experiment} already and cannot be made anew elsewhere")]
    RunElsewhere {
        /// The run.
        run: RunId,
        /// Its project.
        project: ProjectName,
        /// Its experiment.
        experiment: ExperimentName,
    },
}
