//! Integration tests: expected values from independent packages, edge cases, and the promise that
//! an answer depends on data, seed and parameters alone.
// Test helpers outside of test functions may stop a test too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;
mod cluster_curves;
mod coverage;
mod edges;
mod golden;
mod invariance;
mod shared;
mod stratified;
