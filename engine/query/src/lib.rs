//! SQL over one snapshot: session, tables, functions.
pub mod curve;
pub mod functions;
