//! The store through its front door.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backup;
mod corruption;
mod golden;
mod lake;
mod much_log;
mod quarantine;
mod recovery;
mod salvage;
mod sample;
mod simulation;
mod sources;
