//! What stands between a text and the engine: caps before parsing, one statement of an allowed kind, a plan of our
//! tables and functions only, and limits while rows flow. The same guard serves local and remote callers.

mod functions;
mod limits;
mod plan;
mod result;
mod statement;

pub use limits::QueryLimits;

pub(crate) use functions::{guarded_scalar_functions, guarded_table_functions};
pub(crate) use plan::check_plan;
pub(crate) use result::LimitedStream;
pub(crate) use statement::{Request, read_statement};
