//! Integration tests of the crate.

mod curves_golden;
mod gate_golden;
mod golden;
mod statistics_golden;
