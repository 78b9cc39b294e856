//! The store through its front door.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lake;
mod object;
mod recovery;
mod simulation;
mod sources;
