//! Integration tests: expected values from independent packages, edge cases, and the promise that
//! an answer depends on data, seed and parameters alone.

mod edges;
mod golden;
mod invariance;
mod shared;
