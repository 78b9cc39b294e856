//! Tests of the exporters: what is exported comes back, and other tools read it.

// The helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clients;
mod collector;
mod files;
mod other_tools;
mod random;
mod tables;
