//! The library: open a lake, log runs, import, ask SQL, gate, close. Wires the parts and owns start and stop.
//!
//! ```no_run
//! # async fn example() -> Result<(), runlake::Error> {
//! let lake = runlake::Lake::open("./lake").await?;
//! let mut run = lake.start_run(runlake::RunOptions::new("learning-rate").name("lr=0.1")).await?;
//! run.set_params([("lr", "0.1"), ("seed", "1")]).await?;
//! for step in 0..100 {
//!     run.log(step, &[("train/loss", 1.0 / (step + 1) as f64)]).await?;
//! }
//! run.finish().await?;
//! let batches = lake.sql("SELECT name, metrics['train/loss'] FROM runs").await?;
//! println!("{}", arrow::util::pretty::pretty_format_batches(&batches)?);
//! lake.close().await;
//! # Ok(())
//! # }
//! ```

mod arms_compared;
mod baseline;
mod compare;
mod error;
mod export;
mod follow;
mod gate;
mod import;
mod lake;
mod mappings;
mod memory;
mod metric_glob;
mod questions;
mod receipt;
mod record;
mod repeated;
mod run;
mod samples;
mod selector;

pub use arms_compared::{ArmsCompared, ComparisonQuery, MetricCompared};
pub use baseline::{BaselineHistory, BaselineQuery, BaselineVersion, runs_of as baseline_runs};
pub use error::{Error, Result};
pub use export::{ExportOptions, ExportProgress, ExportReport};
pub use follow::{FollowReport, FollowRound};
pub use gate::{GateOrigin, GateOutcome, GateQuery, GateReplay};
pub use import::{ImportOptions, ImportProgress, ImportReport, KindReport};
pub use lake::{Lake, LakeOptions};
pub use mappings::KeptMapping;
pub use memory::MemoryPlan;
pub use metric_glob::MetricGlob;
pub use questions::{
    ClusterCurvesQuestion, ClusterRunsQuestion, ImportanceQuestion, OutliersQuestion, RunSet,
    SimilarRunsQuestion,
};
pub use receipt::{
    Held, Receipt, ReceiptCheck, ReceiptContent, ReceiptLeft, ReceiptRejection, ReceiptSeries, ReceiptSource,
    ReceiptUnit, SeriesDifference,
};
pub use record::new_record_id;
pub use run::{ActiveRun, RunOptions};
pub use selector::Selector;
pub use store::{Location, LocationError};

pub use {analysis, exporters, importers, model, query, store};
