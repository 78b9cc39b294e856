//! SQL over one snapshot: session, tables, functions.
//!
//! [`SessionFactory`] is built once; [`run`] answers one statement over one [`store::Snapshot`] behind the guard;
//! [`QueryService`] stands before it with a queue, limits over all statements, and answers that are kept.
//! Nothing here writes, and nothing here is a statistic: functions check types and NULLs and call down.

pub mod described;
mod error;
mod execute;
mod explain_error;
mod filters_by_name;
pub mod functions;
mod guard;
mod ordered_answer;
mod parameters;
pub mod postgres;
mod service;
mod session;
mod tables;
pub mod text;
mod views;

pub use error::{Located, Place, QueryError, Result};
pub use execute::{Answer, Description, ListedTable, QueryOptions, describe, list_tables, run};
pub use guard::QueryLimits;
pub use service::{
    JobReport, LakeState, LogFile, QueryService, ServiceConfig, ServiceMetrics, StatementReport,
    StatementState,
};
pub use session::{Device, Dialect, SessionConfig, SessionFactory, Settings};
pub use tables::{Access, Notices, OnCorrupt};
pub use views::{ViewChange, WhenPresent, check_view, view_change};
