//! `runs`: the columns of the registry and one struct each of params, tags and metrics.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Float64Array, StructArray, UInt32Array, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;
use model::schema::Table;
use model::{MetricName, Point, RunId};
use store::{KeyColumns, Place, RunField, RunOrdinal, RunPiece, SeriesEntry, Snapshot};

use super::column_scan::{ColumnScan, ColumnTable, Request};
use super::constraints::Constraints;
use super::group_numbers::ColumnNumbers;
use super::keys::{KeyTypes, seen_places};
use super::keys_needed::NeededKeys;
use super::{Access, SnapshotTable, as_views};

/// The columns of `runs` in SQL that are no structs, in their order.
const FIELDS: [(&str, RunField); 17] = [
    ("project", RunField::Project),
    ("experiment", RunField::Experiment),
    ("run_id", RunField::RunId),
    ("name", RunField::Name),
    ("status", RunField::Status),
    ("user", RunField::User),
    ("start_time", RunField::StartTime),
    ("end_time", RunField::EndTime),
    ("duration", RunField::Duration),
    ("parent_run_id", RunField::ParentRunId),
    ("source", RunField::Source),
    ("source_run_id", RunField::SourceRunId),
    ("git_commit", RunField::GitCommit),
    ("seed", RunField::Seed),
    ("config_hash", RunField::ConfigHash),
    ("config_hash_with_seed", RunField::ConfigHashWithSeed),
    ("deleted", RunField::Deleted),
];

/// The schema of `runs`.
pub(super) fn schema(types: &KeyTypes) -> SchemaRef {
    let on_disk = as_views(&Table::Runs.schema());
    let mut fields: Vec<Arc<Field>> = FIELDS
        .iter()
        .map(|(name, _)| match on_disk.field_with_name(name) {
            Ok(field) => Arc::new(field.clone()),
            Err(_) => Arc::new(Field::new(*name, DataType::Utf8View, false)),
        })
        .collect();
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
            Some("params" | "config_hash" | "config_hash_with_seed") => tables.push(Table::Params),
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
    constraints: &Constraints,
    request: &Request<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let table = Runs {
        pieces: pieces(&shown.snapshot, &shown.access, constraints),
        schema: Arc::clone(&shown.schema),
        types: Arc::clone(types),
        metrics: Metrics::new(&shown.snapshot, &types.metrics),
    };
    let needed = needed.map_or_else(Arc::default, Arc::clone);
    ColumnScan::plan(table, &shown.schema, &needed, request)
}

/// The runs that a scan may show, with filters on their ids already applied.
pub(super) fn pieces(snapshot: &Snapshot, access: &Access, constraints: &Constraints) -> Vec<RunPiece> {
    let runs = snapshot.registry().runs();
    let mut pieces = runs.pieces();
    if let Some(ids) = constraints.texts("run_id") {
        let wanted: HashSet<RunOrdinal> = ids
            .iter()
            .filter_map(|id| id.parse::<RunId>().ok())
            .filter_map(|id| snapshot.registry().ordinal(id))
            .collect();
        pieces = pieces.into_iter().filter_map(|piece| only(piece, &wanted)).collect();
    }
    if *access != Access::All {
        for piece in &mut pieces {
            piece.places = seen_places(piece, access);
        }
    }
    pieces.retain(|piece| !piece.places.is_empty());
    pieces
}

fn only(piece: RunPiece, wanted: &HashSet<RunOrdinal>) -> Option<RunPiece> {
    let holds = |ordinal: &RunOrdinal| {
        let place = ordinal.checked_sub(piece.first).and_then(|place| Place::try_from(place).ok());
        place.filter(|place| piece.places.binary_search(place).is_ok())
    };
    let mut places: Vec<Place> = wanted.iter().filter_map(holds).collect();
    places.sort_unstable();
    (!places.is_empty()).then(|| RunPiece { places: places.into(), ..piece })
}

pub(super) struct Runs {
    pieces: Vec<RunPiece>,
    schema: SchemaRef,
    types: Arc<KeyTypes>,
    metrics: Metrics,
}

impl ColumnTable for Runs {
    type Row = Place;

    fn name(&self) -> &'static str {
        "runs"
    }

    fn pieces(&self) -> usize {
        self.pieces.len()
    }

    fn rows_in(&self, piece: usize) -> usize {
        self.pieces.get(piece).map_or(0, |piece| piece.places.len())
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn rows(&self, piece: usize) -> Vec<Place> {
        self.pieces.get(piece).map_or_else(Vec::new, |piece| piece.places.to_vec())
    }

    fn run_ordinals(&self, piece: usize, rows: &[Place]) -> UInt32Array {
        let first = self.pieces.get(piece).map_or(0, |piece| piece.first);
        UInt32Array::from_iter_values(rows.iter().map(|place| first + RunOrdinal::from(*place)))
    }

    fn column_numbers(&self, column: usize) -> Option<ColumnNumbers> {
        let (_, field) = *FIELDS.get(column)?;
        coded_numbers(&self.pieces, field)
    }

    fn numbers_of(
        &self,
        piece: usize,
        rows: &[Place],
        column: usize,
        numbers: &ColumnNumbers,
        tell: impl FnMut(usize, u32),
    ) {
        if let (Some(runs), Some((_, field))) = (self.pieces.get(piece), FIELDS.get(column)) {
            tell_coded(runs, rows, *field, numbers.numbers.get(piece), tell);
        }
    }

    fn columns(
        &self,
        piece: usize,
        rows: &[Place],
        columns: &[usize],
        needed: &NeededKeys,
    ) -> Result<Vec<ArrayRef>> {
        let Some(piece) = self.pieces.get(piece) else { return Ok(Vec::new()) };
        let of_keys = |keys: &KeyColumns, fields: &Fields, name: &str| {
            structs(
                fields,
                rows.len(),
                |key| needed.contains(name, key),
                |field| Ok(keys.get(field.name()).map(|column| column.array(field.data_type(), rows))),
            )
        };
        let column = |position: &usize| -> Result<ArrayRef> {
            if let Some((_, field)) = FIELDS.get(*position) {
                return Ok(piece.columns.array(*field, rows));
            }
            match self.schema.field(*position).name().as_str() {
                "params" => of_keys(piece.columns.params(), &self.types.params, "params"),
                "tags" => of_keys(piece.columns.tags(), &self.types.tags, "tags"),
                name => structs(
                    &self.types.metrics,
                    rows.len(),
                    |key| needed.contains(name, key),
                    |field| Ok(Some(self.metrics.last_values(field.name(), piece.first, rows)?)),
                ),
            }
        };
        columns.iter().map(column).collect()
    }
}

/// Numbers for the distinct texts of a column of the registry; that of a run without a text comes last in each piece.
pub(super) fn coded_numbers(pieces: &[RunPiece], field: RunField) -> Option<ColumnNumbers> {
    let mut known = ColumnNumbers::default();
    for piece in pieces {
        let coded = piece.columns.coded(field)?;
        let mut numbers: Vec<u32> = coded.texts().into_iter().map(|text| known.number(Some(text))).collect();
        if field.is_nullable() {
            numbers.push(known.number(None));
        }
        known.numbers.push(numbers);
        if known.is_too_many() {
            return None;
        }
    }
    Some(known)
}

/// Tells the numbers of runs of a piece, from those of its codes.
pub(super) fn tell_coded(
    piece: &RunPiece,
    rows: &[Place],
    field: RunField,
    numbers: Option<&Vec<u32>>,
    mut tell: impl FnMut(usize, u32),
) {
    let (Some(coded), Some(numbers)) = (piece.columns.coded(field), numbers) else { return };
    for (at, place) in rows.iter().enumerate() {
        let number = match coded.code(*place) {
            Some(code) => numbers.get(code),
            None => numbers.last(),
        };
        tell(at, number.copied().unwrap_or_default());
    }
}

/// A struct column. Keys that nobody asks for, and those that no run has, share one column of NULLs a type.
fn structs(
    fields: &Fields,
    rows: usize,
    wanted: impl Fn(&str) -> bool,
    column: impl Fn(&Field) -> Result<Option<ArrayRef>>,
) -> Result<ArrayRef> {
    if fields.is_empty() {
        return Ok(Arc::new(StructArray::new_empty_fields(rows, None)));
    }
    let mut nulls: HashMap<DataType, ArrayRef> = HashMap::new();
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let made = if wanted(field.name()) { column(field)? } else { None };
        columns.push(match made {
            Some(column) => column,
            None => {
                let null = || new_null_array(field.data_type(), rows);
                Arc::clone(nulls.entry(field.data_type().clone()).or_insert_with(null))
            }
        });
    }
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}

/// Rows up to which the series of each run are looked up; for more, those of all runs are gone through once.
const FEW_RUNS: usize = 256;

/// The last value of a metric in a run. A series without context goes before those with one; among those with one the
/// latest point counts.
struct Metrics {
    snapshot: Snapshot,
    /// For each metric its last value by ordinal of the run, once somebody asked for many.
    values: HashMap<String, OnceLock<Vec<Option<f64>>>>,
}

impl Metrics {
    fn new(snapshot: &Snapshot, fields: &Fields) -> Self {
        let values = fields.iter().map(|field| (field.name().clone(), OnceLock::new())).collect();
        Self { snapshot: snapshot.clone(), values }
    }

    fn last_values(&self, metric: &str, first: RunOrdinal, places: &[Place]) -> Result<ArrayRef> {
        let name = MetricName::new(metric).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let ordinals = places.iter().map(|place| first + RunOrdinal::from(*place));
        let known = self.values.get(metric);
        let of_all = match known.and_then(OnceLock::get) {
            Some(values) => Some(values),
            None if places.len() > FEW_RUNS => {
                known.map(|known| known.get_or_init(|| last_values(&self.snapshot, &name)))
            }
            None => None,
        };
        let values: Float64Array = match of_all {
            Some(values) => ordinals.map(|run| values.get(run as usize).copied().flatten()).collect(),
            None => ordinals
                .map(|run| Some(shown_series(&self.snapshot, &name, run)?.statistics.last.value))
                .collect(),
        };
        Ok(Arc::new(values))
    }
}

/// The series of a metric of a run that `metrics` shows.
pub(crate) fn shown_series<'a>(
    snapshot: &'a Snapshot,
    metric: &MetricName,
    run: RunOrdinal,
) -> Option<SeriesEntry<'a>> {
    let series = snapshot.series();
    if let Some(plain) = series.ordinal_of(run, metric, None).and_then(|at| series.entries().get(at)) {
        return Some(plain);
    }
    let last = |best: Option<SeriesEntry<'a>>, entry: SeriesEntry<'a>| match best {
        Some(best) if place(&best.statistics.last) >= place(&entry.statistics.last) => Some(best),
        _ => Some(entry),
    };
    series.entries().of_run(run).filter(|entry| entry.metric == metric).fold(None, last)
}

/// The last value of a metric, as `metrics` shows it, by ordinal of the run.
pub(crate) fn last_values(snapshot: &Snapshot, metric: &MetricName) -> Vec<Option<f64>> {
    let entries = snapshot.series().entries();
    let number = snapshot.series().metric_number(metric);
    let mut last: Vec<Option<(bool, Point)>> = Vec::new();
    for ordinal in entries.of_metrics(0..entries.end(), |of| Some(of) == number) {
        let Some(entry) = entries.get(ordinal) else { continue };
        let run = entry.run as usize;
        if last.len() <= run {
            last.resize(run + 1, None);
        }
        let (plain, point) = (entry.context.is_none(), entry.statistics.last);
        let is_better = match &last[run] {
            Some((known_plain, known)) => (plain, place(&point)) > (*known_plain, place(known)),
            None => true,
        };
        if is_better {
            last[run] = Some((plain, point));
        }
    }
    last.into_iter().map(|last| last.map(|(_, point)| point.value)).collect()
}

fn place(point: &Point) -> (i64, i32, i64) {
    (point.step, point.step_fraction.unwrap_or(0), point.time)
}
