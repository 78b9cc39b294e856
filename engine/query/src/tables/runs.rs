//! `runs`: the columns of the registry and one struct each of params, tags and metrics.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Array, Float64Builder, Int64Builder, StringBuilder, StructArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use model::schema::Table;
use model::{Point, Run, RunId};
use store::Snapshot;

use super::SnapshotTable;
use super::constraints::Constraints;
use super::keys::{KeyTypes, boolean};
use super::keys_needed::NeededKeys;
use super::rows::{plan, projected, runs_of};

/// The schema of `runs`.
pub(super) fn schema(types: &KeyTypes) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = Table::Runs.schema().fields().iter().cloned().collect();
    for (name, keys) in [("params", &types.params), ("tags", &types.tags), ("metrics", &types.metrics)] {
        fields.push(Arc::new(Field::new(name, DataType::Struct(keys.clone()), false)));
    }
    Arc::new(Schema::new(fields))
}

/// The tables on disk that the columns of a scan come from.
pub(super) fn tables_of(schema: &SchemaRef, projection: Option<&Vec<usize>>) -> Vec<Table> {
    let mut tables = vec![Table::Runs];
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    for column in projection.unwrap_or(&all) {
        match schema.fields().get(*column).map(|field| field.name().as_str()) {
            Some("params" | "config_hash") => tables.push(Table::Params),
            Some("seed") => tables.extend([Table::Params, Table::Tags]),
            Some("tags") => tables.push(Table::Tags),
            Some("metrics") => tables.push(Table::Series),
            _ => {}
        }
    }
    tables
}

/// A scan; structs are made only where they are asked for, and in them only the keys that the statement names.
pub(super) fn scan(
    shown: &SnapshotTable,
    types: &Arc<KeyTypes>,
    needed: Option<&Arc<NeededKeys>>,
    partitions: usize,
    projection: Option<&Vec<usize>>,
    constraints: &Constraints,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let runs = runs_of(&shown.snapshot, &shown.access, constraints);
    let schema = projected(&shown.schema, projection)?;
    let needed = needed.map_or_else(Arc::default, Arc::clone);
    let wants_metrics = schema.column_with_name("metrics").is_some();
    let metrics = Arc::new(if wants_metrics {
        last_values(&shown.snapshot, &types.metrics, &needed)
    } else {
        HashMap::new()
    });
    let plain: Vec<usize> = {
        let table = Table::Runs.schema();
        schema.fields().iter().filter_map(|field| table.index_of(field.name()).ok()).collect()
    };
    let (types, batch_schema) = (Arc::clone(types), Arc::clone(&schema));
    plan(schema, runs, partitions, limit, move |runs: &[Arc<Run>]| {
        let table = if plain.is_empty() { None } else { Some(store::tables::runs(runs.iter())?) };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch_schema.fields().len());
        for field in batch_schema.fields() {
            let name = field.name().as_str();
            let wanted = |key: &str| needed.contains(name, key);
            columns.push(match name {
                "params" => structs(&types.params, runs.len(), wanted, |key, data_type| {
                    typed(data_type, runs.iter().map(|run| run.params.get(key).map(|value| value.as_str())))
                })?,
                "tags" => structs(&types.tags, runs.len(), wanted, |key, data_type| {
                    typed(data_type, runs.iter().map(|run| run.tags.get(key).map(|value| value.as_str())))
                })?,
                "metrics" => structs(&types.metrics, runs.len(), wanted, |key, _| {
                    let values = metrics.get(key);
                    let value =
                        |run: &Arc<Run>| values.and_then(|values| values.get(&run.id)).map(|p| p.value);
                    Arc::new(runs.iter().map(value).collect::<Float64Array>())
                })?,
                name => match table.as_ref().and_then(|table| table.column_by_name(name)) {
                    Some(column) => Arc::clone(column),
                    None => new_null_array(field.data_type(), runs.len()),
                },
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(runs.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&batch_schema), columns, &options)?)
    })
}

/// For each metric that is needed the last point of each run. A series without context goes before those with one;
/// among those with one the latest point counts.
fn last_values(
    snapshot: &Snapshot,
    fields: &Fields,
    needed: &NeededKeys,
) -> HashMap<String, HashMap<RunId, Point>> {
    let mut values: HashMap<String, HashMap<RunId, Point>> = fields
        .iter()
        .filter(|field| needed.contains("metrics", field.name()))
        .map(|field| (field.name().clone(), HashMap::new()))
        .collect();
    let place = |point: &Point| (point.step, point.step_fraction.unwrap_or(0), point.time);
    for with_context in [true, false] {
        for entry in snapshot.series().entries() {
            if entry.key.context.is_some() != with_context {
                continue;
            }
            let Some(of_metric) = values.get_mut(entry.key.metric.as_str()) else { continue };
            let last = entry.statistics.last;
            of_metric
                .entry(entry.key.run)
                .and_modify(|known| {
                    if !with_context || place(&last) > place(known) {
                        *known = last;
                    }
                })
                .or_insert(last);
        }
    }
    values
}

fn structs(
    fields: &Fields,
    rows: usize,
    wanted: impl Fn(&str) -> bool,
    column: impl Fn(&str, &DataType) -> ArrayRef,
) -> Result<ArrayRef> {
    if fields.is_empty() {
        return Ok(Arc::new(StructArray::new_empty_fields(rows, None)));
    }
    // Keys that nobody asks for share one column of NULLs a type.
    let mut nulls: HashMap<DataType, ArrayRef> = HashMap::new();
    let columns = fields
        .iter()
        .map(|field| {
            if wanted(field.name()) {
                column(field.name(), field.data_type())
            } else {
                let null = || new_null_array(field.data_type(), rows);
                Arc::clone(nulls.entry(field.data_type().clone()).or_insert_with(null))
            }
        })
        .collect();
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}

fn typed<'a>(data_type: &DataType, texts: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    match data_type {
        DataType::Boolean => {
            let mut builder = BooleanBuilder::new();
            texts.for_each(|text| builder.append_option(text.and_then(|text| boolean(text.trim()))));
            Arc::new(builder.finish())
        }
        DataType::Int64 => {
            let mut builder = Int64Builder::new();
            texts.for_each(|text| builder.append_option(text.and_then(|text| text.trim().parse().ok())));
            Arc::new(builder.finish())
        }
        DataType::Float64 => {
            let mut builder = Float64Builder::new();
            texts.for_each(|text| builder.append_option(text.and_then(|text| text.trim().parse().ok())));
            Arc::new(builder.finish())
        }
        _ => {
            let mut builder = StringBuilder::new();
            texts.for_each(|text| builder.append_option(text));
            Arc::new(builder.finish())
        }
    }
}
