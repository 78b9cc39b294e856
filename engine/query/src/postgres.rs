//! What makes our SQL usable for clients of PostgreSQL: the types of columns, `pg_catalog` and `information_schema` over
//! one snapshot, the functions that drivers call, and what their statements say differently.
//!
//! Nothing here is reached by a statement of another door. Nothing shows a project that the caller does not see: every
//! table is made, when it is named, from the schemas and tables of the caller's own catalog.

mod catalog;
mod empty_tables;
mod functions;
mod information_schema;
mod pg_catalog;
mod rewrite;
mod rows;
mod settings;
mod split;
mod types;

pub use settings::{CLIENT_SETTINGS, DATABASE, ROLE, SERVER_VERSION};
pub use split::{ClientStatement, ClientText, SetValue, split};
pub use types::{PgKind, PgType};

pub(crate) use catalog::{INFORMATION_SCHEMA, PG_CATALOG, PostgresSchema, PostgresTable};
pub(crate) use functions::{keywords, scalars, type_planner};
pub(crate) use rewrite::rewrite;
