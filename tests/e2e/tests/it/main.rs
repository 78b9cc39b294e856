//! Tests of the whole program: only the real binary, its protocols and real clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cli;
mod clients;
mod cookbook;
mod delta;
mod expected;
mod export;
mod gate;
mod gate_pipeline;
mod gate_records;
mod import;
mod import_again;
mod import_kill;
mod importance;
mod kill;
mod object;
mod overload;
mod prompt;
mod receipts;
mod sql;
