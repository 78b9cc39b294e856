//! Tables of records, such as `baselines` and `trials`: chunks of rows that are in memory in columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use model::{RecordKind, RunId};
use store::Snapshot;

use super::column_scan::{ColumnScan, ColumnTable, Request};
use super::keys_needed::NeededKeys;
use super::{Access, SnapshotTable};

/// Where the project stands.
const PROJECT: usize = 0;

/// A scan of the records of a kind.
pub(super) fn scan(
    shown: &SnapshotTable,
    kind: RecordKind,
    request: &Request<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let chunks = match shown.snapshot.registry().records(kind) {
        Some(records) => records.batches().collect::<Result<Vec<_>, _>>()?,
        None => Vec::new(),
    };
    let (snapshot, access) = (shown.snapshot.clone(), shown.access.clone());
    let table = Records { kind, snapshot, access, schema: Arc::clone(&shown.schema), chunks };
    ColumnScan::plan(table, &shown.schema, &NeededKeys::default(), request)
}

struct Records {
    kind: RecordKind,
    snapshot: Snapshot,
    access: Access,
    schema: SchemaRef,
    chunks: Vec<RecordBatch>,
}

impl ColumnTable for Records {
    type Row = u32;

    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn pieces(&self) -> usize {
        self.chunks.len()
    }

    fn rows_in(&self, piece: usize) -> usize {
        self.chunks.get(piece).map_or(0, RecordBatch::num_rows)
    }

    fn is_exact(&self) -> bool {
        self.access == Access::All
    }

    fn rows(&self, piece: usize) -> Vec<u32> {
        let Some(chunk) = self.chunks.get(piece) else { return Vec::new() };
        let rows = 0..chunk.num_rows() as u32;
        let Access::Projects(seen) = &self.access else { return rows.collect() };
        let Some(projects) = chunk.column(PROJECT).as_string_opt::<i32>() else { return Vec::new() };
        // Rows of a project mostly stand together.
        let mut last = ("", false);
        let is_seen = |row: &u32| {
            let project = projects.value(*row as usize);
            if last.0 != project {
                last = (project, seen.contains(project));
            }
            last.1
        };
        rows.filter(is_seen).collect()
    }

    fn run_ordinals(&self, piece: usize, rows: &[u32]) -> UInt32Array {
        let runs = self.chunks.get(piece).and_then(|chunk| chunk.column(Self::RUN_ID).as_string_opt::<i32>());
        let Some(runs) = runs else { return UInt32Array::new_null(rows.len()) };
        let registry = self.snapshot.registry();
        let ordinal = |row: &u32| {
            let row = *row as usize;
            let run: RunId = runs.is_valid(row).then(|| runs.value(row).parse().ok())??;
            registry.ordinal(run)
        };
        rows.iter().map(ordinal).collect()
    }

    fn columns(
        &self,
        piece: usize,
        rows: &[u32],
        columns: &[usize],
        _needed: &NeededKeys,
    ) -> Result<Vec<ArrayRef>> {
        let Some(chunk) = self.chunks.get(piece) else { return Ok(Vec::new()) };
        let wanted = (rows.len() < chunk.num_rows()).then(|| UInt32Array::from(rows.to_vec()));
        let array = |column: &usize| -> Result<ArrayRef> {
            let whole = chunk.column(*column);
            let array = match &wanted {
                Some(rows) => take(whole, rows, None)?,
                None => Arc::clone(whole),
            };
            Ok(cast(&array, self.schema.field(*column).data_type())?)
        };
        columns.iter().map(array).collect()
    }
}
