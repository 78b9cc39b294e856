//! Integration tests of SQL: over a lake made with the store, in memory, flushed, and half and half.

mod errors;
mod examples;
mod functions_golden;
mod guard;
mod lake;
mod points;
mod session;
mod sql_files;
