//! The rows of the registry and series tables as Arrow batches: written by checkpoints, read back at open, and shown
//! by SQL, so that a Delta reader and our SQL see the same rows.

mod decode;
mod encode;
mod extra;
pub(crate) mod records;

pub(crate) use decode::{Checkpoint, RowError, decode_into};
pub use encode::{decisions, experiments, imports, notes, params, runs, series, series_column, tags};
pub(crate) use extra::Extra;
