//! Integration tests of the crate.

mod golden;
mod statistics_golden;
