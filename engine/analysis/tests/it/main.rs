//! Integration tests of the crate.
