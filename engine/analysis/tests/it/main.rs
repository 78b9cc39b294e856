//! Integration tests of the crate.

// The whole binary is test code; clippy only knows this of functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

mod comparable;
mod counts_golden;
mod curves_golden;
mod error_rates;
mod gate_golden;
mod gate_rules;
mod golden;
mod methods_golden;
mod policy;
mod properties;
mod ranks_golden;
mod render;
mod schemas;
mod statistics_golden;
mod strata;
