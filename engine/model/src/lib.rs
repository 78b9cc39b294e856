//! The words of Runlake as types: ids, names, points, runs, experiments, registry commands, Arrow schemas.
//!
//! A value that exists is valid: every public type here is either checked when it is made or cannot be wrong.
//! Nothing in this crate does I/O, reads a clock or holds global state, and nothing here is a wire or disk format
//! (those belong to `proto` and `store`).

pub mod batch;
pub mod command;
pub mod context;
pub mod error;
pub mod experiment;
pub mod id;
pub mod limits;
pub mod name;
pub mod param;
pub mod point;
pub mod record;
pub mod run;
pub mod schema;
pub mod series;
mod text;
pub mod view;

pub use batch::{PointBatch, SeriesPoints};
pub use command::{Command, ImportRecord, NewRun, RunUpdate, WriterSequence};
pub use context::Context;
pub use error::{ModelError, Result};
pub use experiment::{Decision, DecisionKind, Experiment, ExperimentUpdate, MetricDirection, Note};
pub use id::RunId;
pub use name::{ExperimentName, Key, MetricName, ProjectName, RecordId};
pub use param::{ParamValue, TagValue};
pub use point::{Point, PointColumns};
pub use record::{FieldKind, FieldValue, Record, RecordColumn, RecordFields, RecordKind, RecordUpdate};
pub use run::{Run, RunStatus, SEED_KEYS, seed_of};
pub use series::{SeriesKey, SeriesStatistics};
pub use view::{View, ViewName};
