//! Arrow schemas of the tables on disk and in SQL, in one place.
//!
//! `runs` on disk has no struct columns (params, tags and metrics are tables of their own); SQL adds the structs.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::record::{self, RecordKind};

/// A table that is kept on disk as a Delta table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// One row per run.
    Runs,
    /// One row per run and param key.
    Params,
    /// One row per run and tag key.
    Tags,
    /// One row per experiment.
    Experiments,
    /// One row per decision.
    Decisions,
    /// One row per note.
    Notes,
    /// One row per imported file.
    Imports,
    /// One row per record of a kind.
    Records(RecordKind),
    /// One row per series.
    Series,
    /// One row per point.
    Points,
}

impl Table {
    /// All tables in the order in which a flush commits them: `points` comes last, so that an outside reader never
    /// sees points of a run that it cannot find.
    pub const ALL: [Self; 20] = [
        Self::Experiments,
        Self::Runs,
        Self::Params,
        Self::Tags,
        Self::Decisions,
        Self::Notes,
        Self::Imports,
        Self::Records(RecordKind::Baselines),
        Self::Records(RecordKind::Gates),
        Self::Records(RecordKind::Reviews),
        Self::Records(RecordKind::Directions),
        Self::Records(RecordKind::Resources),
        Self::Records(RecordKind::Lineage),
        Self::Records(RecordKind::Artifacts),
        Self::Records(RecordKind::Datasets),
        Self::Records(RecordKind::Sweeps),
        Self::Records(RecordKind::Trials),
        Self::Records(RecordKind::Budgets),
        Self::Series,
        Self::Points,
    ];

    /// The name of the table in SQL and of its folder on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Params => "params",
            Self::Tags => "tags",
            Self::Experiments => "experiments",
            Self::Decisions => "decisions",
            Self::Notes => "notes",
            Self::Imports => "imports",
            Self::Records(kind) => kind.name(),
            Self::Series => "series",
            Self::Points => "points",
        }
    }

    /// The schema of the table on disk.
    pub fn schema(self) -> SchemaRef {
        let fields = match self {
            Self::Runs => vec![
                required("project", DataType::Utf8),
                required("experiment", DataType::Utf8),
                required("run_id", DataType::Utf8),
                required("name", DataType::Utf8),
                required("status", DataType::Utf8),
                optional("user", DataType::Utf8),
                optional("start_time", timestamp()),
                optional("end_time", timestamp()),
                optional("duration", DataType::Float64),
                optional("parent_run_id", DataType::Utf8),
                optional("source", DataType::Utf8),
                optional("source_run_id", DataType::Utf8),
                optional("git_commit", DataType::Utf8),
                optional("seed", DataType::Int64),
                required("config_hash", DataType::Utf8),
                required("deleted", DataType::Boolean),
            ],
            Self::Params | Self::Tags => vec![
                required("project", DataType::Utf8),
                required("experiment", DataType::Utf8),
                required("run_id", DataType::Utf8),
                required("key", DataType::Utf8),
                required("text", DataType::Utf8),
                optional("number", DataType::Float64),
            ],
            Self::Experiments => vec![
                required("project", DataType::Utf8),
                required("experiment", DataType::Utf8),
                optional("hypothesis", DataType::Utf8),
                optional("source", DataType::Utf8),
                optional("target_metric", DataType::Utf8),
                optional("direction", DataType::Utf8),
                optional("owner", DataType::Utf8),
                optional("notes", DataType::Utf8),
                required("created", timestamp()),
                optional("decision", DataType::Utf8),
                optional("decision_reason", DataType::Utf8),
                optional("decision_author", DataType::Utf8),
                optional("decision_time", timestamp()),
            ],
            Self::Decisions => vec![
                required("project", DataType::Utf8),
                required("experiment", DataType::Utf8),
                required("decision", DataType::Utf8),
                required("reason", DataType::Utf8),
                optional("author", DataType::Utf8),
                required("time", timestamp()),
            ],
            Self::Notes => vec![
                required("project", DataType::Utf8),
                optional("experiment", DataType::Utf8),
                optional("run_id", DataType::Utf8),
                required("text", DataType::Utf8),
                optional("author", DataType::Utf8),
                required("time", timestamp()),
            ],
            Self::Imports => vec![
                required("kind", DataType::Utf8),
                required("location", DataType::Utf8),
                required("content_hash", DataType::Utf8),
                required("points", DataType::Int64),
                required("rejected", DataType::Int64),
                required("time", timestamp()),
            ],
            Self::Records(kind) => return Arc::new(record::schema(kind)),
            Self::Series => vec![
                required("project", DataType::Utf8),
                required("experiment", DataType::Utf8),
                required("run_id", DataType::Utf8),
                required("metric", DataType::Utf8),
                optional("context", DataType::Utf8),
                required("count", DataType::Int64),
                required("nan_count", DataType::Int64),
                required("infinite_count", DataType::Int64),
                required("first_step", DataType::Int64),
                required("last_step", DataType::Int64),
                optional("last_step_frac", DataType::Int32),
                required("first_time", timestamp()),
                required("last_time", timestamp()),
                required("last", DataType::Float64),
                required("last_at", timestamp()),
                optional("last_finite", DataType::Float64),
                optional("last_finite_step", DataType::Int64),
                optional("last_finite_step_frac", DataType::Int32),
                optional("last_finite_at", timestamp()),
                optional("min", DataType::Float64),
                optional("argmin_step", DataType::Int64),
                optional("max", DataType::Float64),
                optional("argmax_step", DataType::Int64),
                optional("mean", DataType::Float64),
                required("sum", DataType::Float64),
                required("sum_compensation", DataType::Float64),
                required("fingerprint", DataType::Int64),
            ],
            Self::Points => vec![
                required("project", DataType::Utf8),
                required("experiment", DataType::Utf8),
                required("run_id", DataType::Utf8),
                required("metric", DataType::Utf8),
                optional("context", DataType::Utf8),
                required("step", DataType::Int64),
                optional("step_frac", DataType::Int32),
                required("time", timestamp()),
                required("value", DataType::Float64),
                required("attempt", DataType::Int32),
            ],
        };
        Arc::new(Schema::new(fields))
    }
}

/// The type of every time: microseconds since 1970 UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_commit_last_and_every_table_once() {
        assert_eq!(Table::ALL.last(), Some(&Table::Points));
        let names: std::collections::BTreeSet<_> = Table::ALL.iter().map(|t| t.name()).collect();
        assert_eq!(names.len(), Table::ALL.len());
        let kinds = RecordKind::ALL.map(Table::Records);
        assert!(kinds.iter().all(|table| Table::ALL.contains(table)));
    }
}
