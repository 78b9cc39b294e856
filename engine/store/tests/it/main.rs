//! The store through its front door.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kill;
mod lake;
mod ledger;
mod random;
mod recovery;
mod simulation;
mod sources;
mod stumbling;
mod whole_batches;
