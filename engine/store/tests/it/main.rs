//! The store through its front door.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod backup;
mod corruption;
mod kill;
mod lake;
mod ledger;
mod random;
mod recovery;
mod sample;
mod simulation;
mod sources;
mod stumbling;
mod whole_batches;
