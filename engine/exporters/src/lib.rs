//! Runs and points out, into files that other tools and the importers read.
//!
//! An [`Export`] is begun, given its runs, then their points in parts, and finished: only then does it stand at its
//! target. Parts are encoded by an [`Encoder`], on any thread, and written in the order in which they are given. This
//! crate reads no store, and holds no more than the parts that it is given.
//!
//! What the importers read back of Parquet, CSV and JSON lines is what was exported, bit for bit; what TensorBoard and
//! MLflow cannot hold is counted ([`Losses`]).

#![deny(unsafe_code)]

mod error;
mod export;
mod folder;
mod losses;
mod mlflow;
mod names;
mod tables;
mod tensorboard;

pub use error::{ExportError, Result};
pub use export::{Encoder, Export, ExportedSeries, Options, Part};
pub use importers::exported::{ExportForm, Loss, MANIFEST, Manifest};
pub use losses::Losses;
pub use tables::Compression;
