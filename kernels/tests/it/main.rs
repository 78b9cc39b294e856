//! Integration tests: expected values from independent packages, edge cases, and the promise that
//! an answer depends on data, seed and parameters alone.
// Test helpers outside of test functions may stop a test too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;
mod cluster_curves;
mod coverage;
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod cuda;
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod cuda_cases;
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod cuda_emulator;
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod cuda_neighbour_cases;
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod cuda_permutation_cases;
mod cuda_sources;
mod edges;
mod golden;
mod importance;
mod importance_edges;
mod invariance;
mod permutation;
mod shared;
mod statistics;
mod stratified;
mod structured;
