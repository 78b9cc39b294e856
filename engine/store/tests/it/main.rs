//! The store through its front door.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod backup;
mod corruption;
mod golden;
mod kill;
mod lake;
mod ledger;
mod lifecycle;
mod memory;
mod much_log;
mod object;
mod quarantine;
mod random;
mod records;
mod recovery;
mod salvage;
mod sample;
mod simulation;
mod sources;
mod stumbling;
mod whole_batches;
