//! Integration tests of SQL: over a lake made with the store, in memory, flushed, and half and half.

// The lints know tests only by their attribute, not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answered_by_series;
mod arms_suites;
mod asked;
mod counts_suites;
mod damage;
mod errors;
mod examples;
mod fresh;
mod functions_golden;
// The harness of the same files in `analysis`, which uses more of it.
#[allow(dead_code)]
#[path = "../../../analysis/tests/it/golden.rs"]
mod golden;
mod guard;
mod in_from;
mod lake;
mod numbered_groups;
mod order;
mod partitions;
mod points;
mod postgres;
mod pruning;
mod records;
mod reference;
mod runs_as_data;
mod samples_suites;
mod service;
mod session;
mod sql_files;
mod structs;
mod tests_golden;
mod views;
