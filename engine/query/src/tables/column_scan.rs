//! The plan node over tables that are in memory in columns: runs, params, tags, series.
//!
//! A piece is read in steps: which rows can be in the answer at all, then filter after filter on what is left, and only
//! then the columns that are wanted, of the rows that passed. Filters of joins and of TOP K that become known while the
//! statement runs take part.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::BatchCoalescer;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::group_numbers::{ColumnNumbers, GroupNumbers};
use super::keys_needed::NeededKeys;
use super::rows::BATCH_ROWS;

/// Rows below which a further partition costs more than it brings.
const PARTITION_ROWS: usize = 65_536;

/// Rows below which groups are not worth their numbers.
const NUMBERED_FROM: usize = 4_096;

/// A table in columns, cut into pieces.
pub(super) trait ColumnTable: Send + Sync + 'static {
    /// Where the column `run_id` stands.
    const RUN_ID: usize = 2;

    /// How a row of a piece is named.
    type Row: Copy + Send + Sync;

    /// Its name in EXPLAIN.
    fn name(&self) -> &'static str;

    /// Number of pieces.
    fn pieces(&self) -> usize;

    /// Rows of a piece at most.
    fn rows_in(&self, piece: usize) -> usize;

    /// Whether every piece gives exactly as many rows when nothing is filtered.
    fn is_exact(&self) -> bool;

    /// The rows of a piece that can be in the answer, rising.
    fn rows(&self, piece: usize) -> Vec<Self::Row>;

    /// The ordinal of the run of each of these rows.
    fn run_ordinals(&self, piece: usize, rows: &[Self::Row]) -> UInt32Array;

    /// Numbers for the distinct values of a column; `None` where there may be many, or none are known.
    fn column_numbers(&self, _column: usize) -> Option<ColumnNumbers> {
        None
    }

    /// Tells the number of the value of each of these rows, by its place among them, where its column has numbers.
    fn numbers_of(
        &self,
        _piece: usize,
        _rows: &[Self::Row],
        _column: usize,
        _numbers: &ColumnNumbers,
        _tell: impl FnMut(usize, u32),
    ) {
    }

    /// Columns of these rows, by position in the schema of the table; of struct columns only the keys that are needed.
    ///
    /// # Errors
    /// When arrays cannot be made, as of more than 2 GiB.
    fn columns(
        &self,
        piece: usize,
        rows: &[Self::Row],
        columns: &[usize],
        needed: &NeededKeys,
    ) -> Result<Vec<ArrayRef>>;
}

/// The names of the columns behind those of a table, which SQL cannot name: the ordinals of runs, the numbers of groups.
const BEHIND: [&str; 2] = ["run ordinal", "group number"];

/// What gives the columns behind those of a table.
#[derive(Clone)]
struct Behind {
    /// Columns of the table itself.
    width: usize,
    groups: Option<Arc<GroupNumbers>>,
}

/// Columns of a table, or of those behind them.
fn columns_of<T: ColumnTable>(
    table: &T,
    behind: &Behind,
    piece: usize,
    rows: &[T::Row],
    columns: &[usize],
    needed: &NeededKeys,
) -> Result<Vec<ArrayRef>> {
    let own: Vec<usize> = columns.iter().copied().filter(|column| *column < behind.width).collect();
    let mut arrays = table.columns(piece, rows, &own, needed)?.into_iter();
    if own.len() == columns.len() {
        return Ok(arrays.collect());
    }
    let made = |column: &usize| -> Option<ArrayRef> {
        match column.checked_sub(behind.width) {
            None => arrays.next(),
            Some(0) => Some(Arc::new(table.run_ordinals(piece, rows))),
            Some(_) => Some(Arc::new(behind.groups.as_ref()?.of_rows(table, piece, rows))),
        }
    };
    Ok(columns.iter().filter_map(made).collect())
}

/// A filter over some columns of the table.
#[derive(Debug, Clone)]
struct Filter {
    expression: Arc<dyn PhysicalExpr>,
    /// Positions in the table of the columns that it is given.
    columns: Vec<usize>,
    schema: SchemaRef,
    needed: NeededKeys,
}

impl Filter {
    /// A filter whose columns stand in `schema`, as the columns of the table with these positions.
    fn new(
        expression: Arc<dyn PhysicalExpr>,
        table: &SchemaRef,
        positions: Option<&[usize]>,
        needed: NeededKeys,
    ) -> Result<Self> {
        let place = |column: &Column| match positions {
            Some(positions) => positions.get(column.index()).copied(),
            None => Some(column.index()),
        };
        let mut columns: Vec<usize> = collect_columns(&expression).iter().filter_map(place).collect();
        columns.sort_unstable();
        columns.dedup();
        let schema = Arc::new(table.project(&columns)?);
        let expression = expression
            .transform_down(|expression| {
                let Some(column) = expression.downcast_ref::<Column>() else {
                    return Ok(Transformed::no(expression));
                };
                let Some(at) = place(column).and_then(|place| columns.binary_search(&place).ok()) else {
                    return internal_err!("column {column} is not in the table");
                };
                Ok(Transformed::yes(Arc::new(Column::new(column.name(), at)) as Arc<dyn PhysicalExpr>))
            })?
            .data;
        Ok(Self { expression, columns, schema, needed })
    }

    /// The rows for which the filter holds.
    fn keep<T: ColumnTable>(
        &self,
        table: &T,
        behind: &Behind,
        piece: usize,
        rows: Vec<T::Row>,
    ) -> Result<Vec<T::Row>> {
        if rows.is_empty() {
            return Ok(rows);
        }
        let columns = columns_of(table, behind, piece, &rows, &self.columns, &self.needed)?;
        let batch = batch(&self.schema, columns, rows.len())?;
        let holds = self.expression.evaluate(&batch)?.into_array(rows.len())?;
        let holds = holds.as_boolean();
        let kept = rows.iter().enumerate().filter(|(at, _)| holds.is_valid(*at) && holds.value(*at));
        Ok(kept.map(|(_, row)| *row).collect())
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// What a scan is asked for.
pub(super) struct Request<'a> {
    /// The session that plans.
    pub(super) session: &'a dyn Session,
    /// The columns, `None` for all.
    pub(super) projection: Option<&'a Vec<usize>>,
    /// What must hold, and is asked of every row.
    pub(super) filters: &'a [&'a Expr],
    /// All that must hold, in words.
    pub(super) described: String,
    /// Rows at most.
    pub(super) limit: Option<usize>,
}

/// A scan whose last column is the number of a group, and the groups.
pub(super) type Numbered = (Arc<dyn ExecutionPlan>, Arc<GroupNumbers>);

/// Reads a table in columns.
pub(super) struct ColumnScan<T> {
    table: Arc<T>,
    /// The columns of the table, and those behind them.
    table_schema: SchemaRef,
    groups: Option<Arc<GroupNumbers>>,
    projection: Vec<usize>,
    needed: NeededKeys,
    filters: Vec<Filter>,
    /// Those that become known while the statement runs.
    later: Vec<Filter>,
    /// The pieces of each partition.
    parts: Vec<std::ops::Range<usize>>,
    described: String,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl<T: ColumnTable> ColumnScan<T> {
    /// A scan; `needed` says which keys of struct columns the statement names.
    pub(super) fn plan(
        table: T,
        schema: &SchemaRef,
        needed: &NeededKeys,
        request: &Request<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let named = DFSchema::try_from(schema.as_ref().clone())?;
        let filters = request
            .filters
            .iter()
            .map(|filter| {
                let expression = request.session.create_physical_expr((*filter).clone(), &named)?;
                Filter::new(expression, schema, None, NeededKeys::of_expression(filter)?)
            })
            .collect::<Result<Vec<_>>>()?;
        let all = || (0..schema.fields().len()).collect();
        let projection = request.projection.cloned().unwrap_or_else(all);
        let partitions = request.session.config_options().execution.target_partitions;
        let parts = divide(&table, partitions);
        let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
        fields.extend(BEHIND.map(|name| Arc::new(Field::new(name, DataType::UInt32, false))));
        let table_schema = Arc::new(Schema::new(fields));
        let properties = properties(&table_schema, &projection, parts.len())?;
        Ok(Arc::new(Self {
            table: Arc::new(table),
            table_schema,
            groups: None,
            projection,
            needed: needed.clone(),
            filters,
            later: Vec::new(),
            parts,
            described: request.described.clone(),
            limit: request.limit,
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    /// The scan with the ordinals of the runs that this column of it, when it is `run_id`, names, and where they are: in
    /// place of the column when that is free, else behind all others.
    pub(super) fn with_ordinals(
        &self,
        column: usize,
        is_free: bool,
    ) -> Result<Option<(Arc<dyn ExecutionPlan>, usize)>> {
        if self.projection.get(column) != Some(&T::RUN_ID) {
            return Ok(None);
        }
        let width = self.width();
        let mut projection = self.projection.clone();
        let place = match projection.get_mut(column) {
            Some(column_of_table) if is_free => {
                *column_of_table = width;
                column
            }
            _ => {
                projection.push(width);
                projection.len() - 1
            }
        };
        let properties = properties(&self.table_schema, &projection, self.parts.len())?;
        let scan = Self { projection, properties, ..self.again() };
        Ok(Some((Arc::new(scan), place)))
    }

    /// The scan with only these columns of it, and behind them the numbers of the combinations of some columns of it.
    /// `None` where these have no numbers, or so few rows are read that numbering costs more than it brings.
    pub(super) fn numbered(&self, numbered: &[usize], kept: &[usize]) -> Result<Option<Numbered>> {
        let of_table = |columns: &[usize]| -> Option<Vec<usize>> {
            columns.iter().map(|column| self.projection.get(*column).copied()).collect()
        };
        let rows: usize = (0..self.table.pieces()).map(|piece| self.table.rows_in(piece)).sum();
        let (Some(columns), Some(mut projection)) = (of_table(numbered), of_table(kept)) else {
            return Ok(None);
        };
        if rows < NUMBERED_FROM || self.groups.is_some() {
            return Ok(None);
        }
        let Some(groups) = GroupNumbers::of(self.table.as_ref(), &columns).filter(|g| g.len() <= rows) else {
            return Ok(None);
        };
        let groups = Arc::new(groups);
        projection.push(self.width() + 1);
        let properties = properties(&self.table_schema, &projection, self.parts.len())?;
        let scan = Self { projection, properties, groups: Some(Arc::clone(&groups)), ..self.again() };
        Ok(Some((Arc::new(scan), groups)))
    }

    /// Columns of the table itself.
    fn width(&self) -> usize {
        self.table_schema.fields().len() - BEHIND.len()
    }

    fn behind(&self) -> Behind {
        Behind { width: self.width(), groups: self.groups.clone() }
    }

    /// The same scan, which has not run.
    fn again(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
            table_schema: Arc::clone(&self.table_schema),
            groups: self.groups.clone(),
            projection: self.projection.clone(),
            needed: self.needed.clone(),
            filters: self.filters.clone(),
            later: self.later.clone(),
            parts: self.parts.clone(),
            described: self.described.clone(),
            limit: self.limit,
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

fn properties(table: &SchemaRef, projection: &[usize], partitions: usize) -> Result<Arc<PlanProperties>> {
    Ok(Arc::new(PlanProperties::new(
        EquivalenceProperties::new(Arc::new(table.project(projection)?)),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    )))
}

/// The pieces in about equal parts.
fn divide<T: ColumnTable>(table: &T, partitions: usize) -> Vec<std::ops::Range<usize>> {
    let total: usize = (0..table.pieces()).map(|piece| table.rows_in(piece)).sum();
    let wanted = (total / PARTITION_ROWS).clamp(1, partitions.max(1));
    let each = total.div_ceil(wanted).max(1);
    let mut parts = Vec::with_capacity(wanted);
    let (mut start, mut rows) = (0, 0);
    for piece in 0..table.pieces() {
        rows += table.rows_in(piece);
        if rows >= each {
            parts.push(start..piece + 1);
            (start, rows) = (piece + 1, 0);
        }
    }
    if start < table.pieces() || parts.is_empty() {
        parts.push(start..table.pieces());
    }
    parts
}

impl<T> fmt::Debug for ColumnScan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnScan").field("partitions", &self.parts.len()).finish_non_exhaustive()
    }
}

impl<T: ColumnTable> DisplayAs for ColumnScan<T> {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ColumnScan: table={}, partitions={}", self.table.name(), self.parts.len())?;
        write!(f, ", pieces={}", self.table.pieces())?;
        if !self.described.is_empty() {
            write!(f, ", where=[{}]", self.described)?;
        }
        if !self.later.is_empty() {
            let later: Vec<String> = self.later.iter().map(|filter| filter.expression.to_string()).collect();
            write!(f, ", and=[{}]", later.join(" AND "))?;
        }
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }
}

impl<T: ColumnTable> ExecutionPlan for ColumnScan<T> {
    fn name(&self) -> &'static str {
        "ColumnScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for filter in self.filters.iter().chain(&self.later) {
            if visit(&filter.expression)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("ColumnScan has no children") }
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        pushed: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        // With a limit rows would be counted that the filter takes away.
        if !matches!(phase, FilterPushdownPhase::Post)
            || self.limit.is_some()
            || pushed.parent_filters.is_empty()
        {
            return Ok(FilterPushdownPropagation::all_unsupported(pushed));
        }
        let mut later = self.later.clone();
        for filter in &pushed.parent_filters {
            let expression = Arc::clone(&filter.filter);
            let positions = Some(self.projection.as_slice());
            later.push(Filter::new(expression, &self.table_schema, positions, self.needed.clone())?);
        }
        // They only leave out early what the join or the sort would: those ask again.
        let answers = vec![PushedDown::No; pushed.parent_filters.len()];
        let node = Self { later, ..self.again() };
        Ok(FilterPushdownPropagation { filters: answers, updated_node: Some(Arc::new(node)) })
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(pieces) = self.parts.get(partition).cloned() else {
            return internal_err!("ColumnScan has no partition {partition}");
        };
        let counter = |name: &'static str| MetricBuilder::new(&self.metrics).counter(name, partition);
        let mut reading = Reading {
            table: Arc::clone(&self.table),
            behind: self.behind(),
            schema: self.schema(),
            projection: self.projection.clone(),
            needed: self.needed.clone(),
            filters: self.filters.iter().chain(&self.later).cloned().collect(),
            pieces,
            left: self.limit.unwrap_or(usize::MAX),
            coalescer: BatchCoalescer::new(self.schema(), BATCH_ROWS),
            rows_out: MetricBuilder::new(&self.metrics).output_rows(partition),
            rows_considered: counter("rows_considered"),
            pieces_read: counter("pieces_read"),
            pieces_skipped: counter("pieces_skipped"),
        };
        let batches = futures::stream::iter(std::iter::from_fn(move || reading.next().transpose()));
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        let pieces = match partition {
            Some(partition) => self.parts.get(partition).cloned().unwrap_or_default(),
            None => 0..self.table.pieces(),
        };
        let rows: usize = pieces.map(|piece| self.table.rows_in(piece)).sum();
        let rows = self.limit.map_or(rows, |limit| rows.min(limit));
        // A filter takes away an unknown part; half of it each is as good a guess as any.
        statistics.num_rows = match self.filters.len() {
            0 if self.table.is_exact() => Precision::Exact(rows),
            filters => Precision::Inexact(rows >> filters.min(10)),
        };
        Ok(Arc::new(statistics))
    }
}

/// The state of one partition.
struct Reading<T> {
    table: Arc<T>,
    behind: Behind,
    schema: SchemaRef,
    projection: Vec<usize>,
    needed: NeededKeys,
    filters: Vec<Filter>,
    pieces: std::ops::Range<usize>,
    left: usize,
    coalescer: BatchCoalescer,
    rows_out: datafusion::physical_plan::metrics::Count,
    rows_considered: datafusion::physical_plan::metrics::Count,
    pieces_read: datafusion::physical_plan::metrics::Count,
    pieces_skipped: datafusion::physical_plan::metrics::Count,
}

impl<T: ColumnTable> Reading<T> {
    /// The next batch; empty tables give none.
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.coalescer.next_completed_batch() {
                return Ok(Some(batch));
            }
            let piece = match self.pieces.next() {
                Some(piece) if self.left > 0 => piece,
                _ => {
                    self.pieces = 0..0;
                    self.coalescer.finish_buffered_batch()?;
                    return Ok(self.coalescer.next_completed_batch());
                }
            };
            let mut rows = self.table.rows(piece);
            self.rows_considered.add(rows.len());
            for filter in &self.filters {
                rows = filter.keep(self.table.as_ref(), &self.behind, piece, rows)?;
            }
            rows.truncate(self.left);
            self.left -= rows.len();
            self.rows_out.add(rows.len());
            if rows.is_empty() {
                self.pieces_skipped.add(1);
                continue;
            }
            self.pieces_read.add(1);
            for rows in rows.chunks(BATCH_ROWS) {
                let table = self.table.as_ref();
                let columns = columns_of(table, &self.behind, piece, rows, &self.projection, &self.needed)?;
                self.coalescer.push_batch(batch(&self.schema, columns, rows.len())?)?;
            }
        }
    }
}
