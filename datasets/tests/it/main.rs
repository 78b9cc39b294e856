//! The corpora as their users see them.

// The tests' own helpers fail as tests do.
#![allow(clippy::unwrap_used)]

mod demo;
mod shape;
mod truth;
