//! Tables in Apache Parquet.

use std::path::Path;

use super::TablePlan;
use super::batches::{self, BATCH_ROWS, Batches, SAMPLE_ROWS};
use super::mapping::Mapping;
use crate::columnar::{self, caught};
use crate::error::Result;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::source::Unit;

pub(crate) fn plan(path: &Path, mapping: Option<&Mapping>, limits: &Limits) -> Result<TablePlan> {
    batches::plan(path, open(path, limits, SAMPLE_ROWS)?, mapping, limits)
}

pub(crate) fn import(unit: &Unit, plan: &TablePlan, reporter: &mut Reporter<'_>) -> Result<()> {
    let batches = open(&unit.path, reporter.limits, BATCH_ROWS)?;
    batches::import(unit, batches, plan, reporter)
}

fn open(path: &Path, limits: &Limits, batch_rows: usize) -> Result<Batches> {
    let (builder, modified, bytes) = columnar::open(path, limits)?;
    let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let schema = builder.schema().clone();
    let mut reader =
        caught(path, || builder.with_batch_size(batch_rows).build().map_err(|error| error.to_string()))?;
    let next = Box::new(move || reader.next().transpose().map_err(|error| error.to_string()));
    Ok(Batches { kind: columnar::KIND, schema, bytes, rows, modified, next })
}
