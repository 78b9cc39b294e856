//! SQL over one snapshot: session, tables, functions.
//!
//! [`SessionFactory`] is built once; [`run`] answers one statement over one [`store::Snapshot`] behind the guard.
//! Nothing here writes, and nothing here is a statistic: functions check types and NULLs and call down.

mod error;
mod execute;
mod explain_error;
pub mod functions;
mod guard;
mod parameters;
pub mod postgres;
mod session;
mod tables;

pub use error::{Located, Place, QueryError, Result};
pub use execute::{Answer, Description, QueryOptions, describe, list_tables, run};
pub use guard::QueryLimits;
pub use session::{Device, Dialect, SessionConfig, SessionFactory, Settings};
pub use tables::{Access, Notices, OnCorrupt};
