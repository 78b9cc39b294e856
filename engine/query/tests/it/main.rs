//! Integration tests of SQL: over a lake made with the store, in memory, flushed, and half and half.

// The lints know tests only by their attribute, not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod damage;
mod errors;
mod examples;
mod fresh;
mod functions_golden;
mod guard;
mod lake;
mod points;
mod postgres;
mod pruning;
mod session;
mod sql_files;
