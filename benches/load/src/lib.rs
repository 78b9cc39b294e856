//! Whole-system loads on this machine: ingest, import, flush, questions; each beside the bounds of the machine, in one
//! run. `runlake bench` and `cargo bench` print what these functions measure; `docs/benchmarks.md` keeps figures.
//!
//! Nothing here asserts a speed: a measurement is for a person to read.

mod answers;
pub mod batches;
pub mod bounds;
pub mod compact;
pub mod corpus;
mod error;
pub mod import;
pub mod ingest;
pub mod machine;
pub mod overload;
#[cfg(feature = "peers")]
pub mod peers;
mod plain;
mod question;
pub mod questions;
mod report;
pub mod restart;
mod writers;

pub use error::{LoadError, Result};
pub use report::{Ingested, Latency, Row, show};
