//! Other tools' files in, runs and points out.
//!
//! [`detect`] looks at a path and says what stands there; [`plan`] decides how it is read and can be shown to the user;
//! [`import`] reads it and hands runs, points and rejections to a [`Sink`], which the caller implements. This crate never
//! writes to a store, and it holds only a bounded part of the input in memory.
//!
//! Nothing is dropped without a count and a reason. A damaged file never stops the others. The same input gives the same
//! calls in the same order, so that a second import can add only what is new.

#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod archive;
mod aslib;
mod binary;
mod columnar;
mod configuration;
mod detect;
mod dvclive;
mod error;
pub mod exported;
mod files;
mod huggingface;
mod import;
mod json;
mod lightning;
pub mod limits;
mod lm_eval;
mod megatron;
pub mod mlflow;
mod mlperf;
mod monitor;
mod neptune;
pub mod number;
mod open_lm;
pub mod optuna;
mod plan;
mod ray;
mod report;
mod sacred;
mod scored;
mod search;
mod series;
mod sink;
mod source;
mod sqlite;
mod survey;
pub mod table;
pub mod tensorboard;
pub mod time;
mod trackio;
pub mod wandb;
mod yaml;

pub use detect::{Detection, detect, detect_lines};
pub use error::{ImportError, Result, SinkError};
pub use import::{Summary, import};
pub use limits::Limits;
pub use plan::{Options, Plan, PlannedSource, PlannedTable, plan};
pub use report::Remark;
pub use sink::{
    DatasetInput, Decision, ImportedRun, Place, Rejection, RunFacts, Sink, TimeSource, UnitOutcome,
};
pub use source::{DetectedSource, SourceKind, Unit, Unrecognised};
pub use survey::Survey;
pub use table::mapping::{ColumnType, Mapping, Role};
