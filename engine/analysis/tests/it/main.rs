//! Integration tests of the crate.

mod curves_golden;
mod gate_golden;
mod gate_rules;
mod golden;
mod properties;
mod statistics_golden;
