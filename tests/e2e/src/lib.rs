//! What tests of the whole program need: the real binary, a server that ends with its test, SQL, and the shared data.

// A test that cannot go on says so by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod binary;
mod expected;
mod moto;
mod python;
mod server;
mod shared;

pub use binary::{Done, LakePlace, binary, command, done, run, sql, sql_texts};
pub use expected::{ExpectedPoint, expected_document, expected_points};
pub use moto::Moto;
pub use python::python;
pub use server::Server;
pub use shared::{data, shared};
