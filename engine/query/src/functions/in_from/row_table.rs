//! Rows of a query in columns of numbers and levels, as kernels take them.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, plan_err};
use model::RunId;
use store::{RunOrdinal, Snapshot};

use super::computed::Memory;
use crate::tables::{ParamColumn, ParamTable, ParamValues, TextColumn};

/// The column that names the run of a row.
const RUN_ID: &str = "run_id";
/// The column that tells experiments apart.
const EXPERIMENT: &str = "experiment";

/// Columns as they fill.
#[derive(Debug)]
pub(in crate::functions) struct RowTaker {
    columns: Vec<Column>,
    rows: usize,
}

#[derive(Debug)]
struct Column {
    name: String,
    values: Values,
    /// Bytes that were taken from the memory of the statement.
    taken: usize,
}

#[derive(Debug)]
enum Values {
    Runs(Vec<RunId>),
    Numbers(Vec<f64>),
    Texts(TextColumn),
}

impl RowTaker {
    /// Columns for these fields.
    ///
    /// # Errors
    /// Types that are neither numbers nor texts; two columns of one name.
    pub(super) fn new(schema: &Schema) -> Result<Self> {
        let mut columns: Vec<Column> = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let name = key_of(field.name()).to_owned();
            if columns.iter().any(|column| column.name == name) {
                return plan_err!("the query gives two columns '{name}': name them with AS");
            }
            let values = match field.data_type() {
                _ if name == RUN_ID => Values::Runs(Vec::new()),
                _ if name == EXPERIMENT => Values::Texts(TextColumn::default()),
                kind if kind.is_numeric() || kind.is_temporal() => Values::Numbers(Vec::new()),
                DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Boolean
                | DataType::Dictionary(..)
                | DataType::Null => Values::Texts(TextColumn::default()),
                DataType::Struct(_) => {
                    return plan_err!(
                        "column '{name}' of the query is a struct: select the keys that matter, such as \
                         params['lr'] AS lr, or name the experiment in place of a query"
                    );
                }
                other => {
                    return plan_err!(
                        "column '{name}' of the query has the type {other}: only numbers, texts and truth values \
                         can be params"
                    );
                }
            };
            columns.push(Column { name, values, taken: 0 });
        }
        Ok(Self { columns, rows: 0 })
    }

    /// Takes up a batch.
    ///
    /// # Errors
    /// Memory that there is not, and run ids that are none.
    pub(super) fn take(&mut self, batch: &RecordBatch, memory: &Memory) -> Result<()> {
        for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
            column.take(array)?;
            let bytes = column.bytes();
            memory.take(bytes.saturating_sub(column.taken))?;
            column.taken = bytes;
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// The table; rows with a `run_id` in the order in which the runs were made.
    ///
    /// # Errors
    /// Run ids that are of no run, or stand twice.
    pub(super) fn finish(
        self,
        snapshot: &Snapshot,
        allows: &dyn Fn(RunOrdinal) -> bool,
    ) -> Result<ParamTable> {
        let mut table = ParamTable { rows: self.rows, ..ParamTable::default() };
        let mut order: Option<Vec<u32>> = None;
        for column in self.columns {
            match column.values {
                Values::Runs(ids) => {
                    let runs = ordinals(&ids, snapshot, allows)?;
                    let mut rows: Vec<u32> = (0..runs.len() as u32).collect();
                    rows.sort_unstable_by_key(|row| runs[*row as usize]);
                    table.runs = rows.iter().map(|row| runs[*row as usize]).collect();
                    if let Some(twice) = table.runs.windows(2).find(|pair| pair[0] == pair[1]) {
                        let id = snapshot.registry().runs().get(twice[0]).map(|run| run.id().to_string());
                        return plan_err!(
                            "run {} stands in several rows of the query: give one row a run",
                            id.unwrap_or_default()
                        );
                    }
                    order = Some(rows);
                }
                Values::Texts(texts) if column.name == EXPERIMENT => match texts.finish() {
                    ParamValues::Levels { codes, levels } => {
                        table.experiments = levels;
                        table.experiment_of = codes;
                    }
                    ParamValues::Numbers { values, .. } => {
                        (table.experiment_of, table.experiments) = numbered(&values);
                    }
                },
                Values::Texts(texts) => {
                    let (name, values) = (column.name, texts.finish());
                    table.params.push(ParamColumn { name, values });
                }
                Values::Numbers(values) => {
                    let (name, values) = (column.name, ParamValues::numbers(values));
                    table.params.push(ParamColumn { name, values });
                }
            }
        }
        if table.experiments.is_empty() {
            table.experiments = vec![String::new()];
            table.experiment_of = vec![0; table.rows];
        }
        if table.experiment_of.contains(&u32::MAX) {
            return plan_err!(
                "the column experiment of the query is NULL in some rows: name every row's experiment"
            );
        }
        if let Some(order) = order {
            sort(&mut table, &order);
        }
        // As they stand in the registry: what a query says first must not count more.
        table.params.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(table)
    }
}

/// The key that a column shows, where it is one of a struct: the engine calls `params.lr` by `runs.params[lr]`.
fn key_of(name: &str) -> &str {
    let inner = name.strip_suffix(']').and_then(|rest| rest.split_once('['));
    match inner {
        Some((of, key)) if ["params", "tags", "metrics"].iter().any(|column| of.ends_with(column)) => key,
        _ => name,
    }
}

/// Experiments that are called by numbers.
fn numbered(values: &[f64]) -> (Vec<u32>, Vec<String>) {
    let mut distinct: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    distinct.sort_unstable_by(f64::total_cmp);
    distinct.dedup();
    let place = |value: &f64| {
        distinct.binary_search_by(|known| known.total_cmp(value)).map_or(u32::MAX, |at| at as u32)
    };
    (values.iter().map(place).collect(), distinct.iter().map(f64::to_string).collect())
}

fn ordinals(
    ids: &[RunId],
    snapshot: &Snapshot,
    allows: &dyn Fn(RunOrdinal) -> bool,
) -> Result<Vec<RunOrdinal>> {
    let registry = snapshot.registry();
    let mut runs = Vec::with_capacity(ids.len());
    for id in ids {
        match registry.ordinal(*id).filter(|ordinal| allows(*ordinal)) {
            Some(ordinal) => runs.push(ordinal),
            None => {
                return plan_err!(
                    "run_id {id} in the query is of no run; SELECT run_id FROM runs lists them"
                );
            }
        }
    }
    Ok(runs)
}

fn sort(table: &mut ParamTable, order: &[u32]) {
    fn sorted<T: Copy>(values: &[T], order: &[u32]) -> Vec<T> {
        order.iter().map(|row| values[*row as usize]).collect()
    }
    if order.is_sorted() {
        return;
    }
    table.experiment_of = sorted(&table.experiment_of, order);
    for param in &mut table.params {
        match &mut param.values {
            ParamValues::Numbers { values, .. } => *values = sorted(values, order),
            ParamValues::Levels { codes, .. } => *codes = sorted(codes, order),
        }
    }
}

impl Column {
    /// Bytes that the values take, and take again while rows are put in order.
    fn bytes(&self) -> usize {
        match &self.values {
            Values::Runs(runs) => runs.capacity() * (size_of::<RunId>() + 2 * size_of::<RunOrdinal>()),
            Values::Numbers(values) => values.capacity() * size_of::<f64>(),
            Values::Texts(texts) => texts.bytes(),
        }
    }

    fn take(&mut self, array: &ArrayRef) -> Result<()> {
        match &mut self.values {
            Values::Runs(runs) => {
                let texts = cast(array, &DataType::Utf8View)?;
                for text in texts.as_string_view() {
                    match text.and_then(|text| text.parse::<RunId>().ok()) {
                        Some(id) => runs.push(id),
                        None => {
                            let text = text.unwrap_or("NULL");
                            return plan_err!("'{text}' in the column run_id of the query is no run id");
                        }
                    }
                }
            }
            Values::Numbers(values) => {
                let numbers = match array.data_type() {
                    kind if kind.is_temporal() => cast(&cast(array, &DataType::Int64)?, &DataType::Float64)?,
                    _ => cast(array, &DataType::Float64)?,
                };
                let numbers = numbers.as_primitive::<Float64Type>();
                values.extend(numbers.iter().map(|number| number.unwrap_or(f64::NAN)));
            }
            Values::Texts(column) => {
                let texts = cast(array, &DataType::Utf8View)?;
                for text in texts.as_string_view() {
                    column.push(text)?;
                }
            }
        }
        Ok(())
    }
}
