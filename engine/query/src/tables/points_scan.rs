//! The plan node that reads points from segments and from memory.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int32Builder, Int64Builder, StringViewBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue, Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    AcrossPartitions, ConstExpr, EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use store::segment::points::{Scan, SeriesSelection, SortedSeries, TextColumns};
use store::{SeriesEntry, Snapshot};

use super::constraints::Constraints;
use super::reading::with_rows;
use super::rows::BATCH_ROWS;
use super::series_filter::SeriesFilter;
use super::storage;

/// The orders that hold inside of every partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// By run, metric, context, step.
    pub(super) run_first: bool,
    /// By metric, run, context, step.
    pub(super) metric_first: bool,
}

impl Order {
    /// Nothing is against any order.
    pub(super) fn both() -> Self {
        Self { run_first: true, metric_first: true }
    }

    /// No order.
    pub(super) fn none() -> Self {
        Self { run_first: false, metric_first: false }
    }

    /// The order of memory.
    pub(super) fn run_first() -> Self {
        Self { run_first: true, metric_first: false }
    }

    /// What holds in both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            run_first: self.run_first && other.run_first,
            metric_first: self.metric_first && other.metric_first,
        }
    }
}

/// Part of one segment, which is opened when it is read.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Which of the segments of the snapshot.
    pub(super) file: usize,
    /// Its series.
    pub(super) positions: Positions,
    /// Rows to leave out, rising.
    pub(super) without: Vec<Range<u64>>,
}

/// Positions of series in the index of a segment.
#[derive(Debug, Clone)]
pub(super) enum Positions {
    /// All in a range.
    Range(Range<u32>),
    /// These.
    List(Vec<u32>),
}

impl Positions {
    /// Takes rising positions.
    pub(super) fn new(positions: &[usize]) -> Self {
        // A segment has fewer than 2^32 rows, and a series at least one.
        let narrow = |position: usize| u32::try_from(position).unwrap_or(u32::MAX);
        match (positions.first(), positions.last()) {
            (Some(first), Some(last)) if last - first + 1 == positions.len() => {
                Self::Range(narrow(*first)..narrow(*last) + 1)
            }
            _ => Self::List(positions.iter().copied().map(narrow).collect()),
        }
    }

    /// Those with numbers in a range.
    pub(super) fn part(&self, numbers: Range<usize>) -> Self {
        match self {
            Self::Range(all) => {
                let at = |number: usize| all.start + u32::try_from(number).unwrap_or(u32::MAX);
                Self::Range(at(numbers.start)..at(numbers.end))
            }
            Self::List(all) => Self::List(all[numbers].to_vec()),
        }
    }

    fn to_vec(&self) -> Vec<usize> {
        match self {
            Self::Range(all) => all.clone().map(|position| position as usize).collect(),
            Self::List(all) => all.iter().map(|position| *position as usize).collect(),
        }
    }
}

/// What all pieces are read from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) snapshot: Snapshot,
    pub(super) steps: Option<RangeInclusive<i64>>,
    /// Positions in the schema of `points`.
    pub(super) columns: Vec<usize>,
}

/// One partition.
#[derive(Clone)]
pub(super) enum Part {
    /// Pieces of segments, one after another.
    Files(Vec<Piece>),
    /// The points that are only in memory.
    Memory {
        snapshot: Snapshot,
        fits: Arc<dyn Fn(&SeriesEntry<'_>) -> bool + Send + Sync>,
        steps: Option<RangeInclusive<i64>>,
    },
}

/// How much a scan reads of how much there is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Selected {
    pub(super) files: usize,
    pub(super) files_read: usize,
    pub(super) series: usize,
    pub(super) series_read: usize,
    pub(super) rows: u64,
    pub(super) memtable_points: u64,
    /// Whether `rows` is the number of rows that come out.
    pub(super) exact: bool,
}

/// Reads points.
pub(super) struct PointsExec {
    schema: SchemaRef,
    source: Source,
    parts: Vec<Part>,
    selected: Selected,
    described: String,
    /// Filters over the names of series that become known while the statement runs.
    later: Vec<SeriesFilter>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl PointsExec {
    pub(super) fn new(
        table: &SchemaRef,
        source: Source,
        parts: Vec<Part>,
        order: Order,
        selected: Selected,
        constraints: &Constraints,
        limit: Option<usize>,
    ) -> Result<Self> {
        let schema = Arc::new(table.project(&source.columns)?);
        let column = |name: &str| -> Option<Arc<dyn PhysicalExpr>> {
            let position = schema.index_of(name).ok()?;
            Some(Arc::new(Column::new(name, position)))
        };
        let mut properties = EquivalenceProperties::new(Arc::clone(&schema));
        let mut constants = Vec::new();
        for name in ["project", "experiment", "run_id", "metric", "context"] {
            if let Some(allowed) = constraints.texts(name)
                && allowed.len() == 1
                && let (Some(text), Some(column)) = (allowed.first(), column(name))
            {
                let value = ScalarValue::Utf8View(Some(text.clone()));
                constants.push(ConstExpr::new(column, AcrossPartitions::Uniform(Some(value))));
            }
        }
        properties.add_constants(constants)?;
        let orders = [
            (order.run_first, ["run_id", "metric", "context", "step"]),
            (order.metric_first, ["metric", "run_id", "context", "step"]),
        ];
        for (holds, names) in orders {
            // An order holds as far as its columns are there: a constant needs no place in it.
            let is_constant = |name: &str| constraints.texts(name).is_some_and(|allowed| allowed.len() == 1);
            let names = names.into_iter().filter(|name| !is_constant(name));
            let ordering: Vec<PhysicalSortExpr> = names
                .map_while(column)
                .map(|column| PhysicalSortExpr::new(column, Default::default()))
                .collect();
            if holds && !ordering.is_empty() {
                properties.add_ordering(ordering);
            }
        }
        let properties = PlanProperties::new(
            properties,
            Partitioning::UnknownPartitioning(parts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            schema,
            source,
            parts,
            selected,
            described: constraints.describe(),
            later: Vec::new(),
            limit,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl fmt::Debug for PointsExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PointsExec").field("partitions", &self.parts.len()).finish_non_exhaustive()
    }
}

impl DisplayAs for PointsExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selected = &self.selected;
        write!(
            f,
            "PointsExec: partitions={}, files={} of {}, series={} of {}, rows<={}, memory={}",
            self.parts.len(),
            selected.files_read,
            selected.files,
            selected.series_read,
            selected.series,
            selected.rows,
            selected.memtable_points,
        )?;
        if !self.described.is_empty() {
            write!(f, ", where=[{}]", self.described)?;
        }
        if !self.later.is_empty() {
            let later: Vec<String> = self.later.iter().map(ToString::to_string).collect();
            write!(f, ", series where=[{}]", later.join(" AND "))?;
        }
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for PointsExec {
    fn name(&self) -> &'static str {
        "PointsExec"
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
        for filter in &self.later {
            if visit(filter.expression())? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("PointsExec has no children") }
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
        // With a limit points would be counted that the filter takes away.
        if !matches!(phase, FilterPushdownPhase::Post) || self.limit.is_some() {
            return Ok(FilterPushdownPropagation::all_unsupported(pushed));
        }
        let filters = pushed.parent_filters.iter();
        let found: Vec<SeriesFilter> =
            filters.filter_map(|filter| SeriesFilter::new(&filter.filter, &self.source.columns)).collect();
        if found.is_empty() {
            return Ok(FilterPushdownPropagation::all_unsupported(pushed));
        }
        // They only leave out early what the join or the sort would: those ask again.
        let answers = vec![PushedDown::No; pushed.parent_filters.len()];
        let node = Self {
            schema: Arc::clone(&self.schema),
            source: self.source.clone(),
            parts: self.parts.clone(),
            selected: Selected { exact: false, ..self.selected },
            described: self.described.clone(),
            later: self.later.iter().cloned().chain(found).collect(),
            limit: self.limit,
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
        };
        Ok(FilterPushdownPropagation { filters: answers, updated_node: Some(Arc::new(node)) })
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(part) = self.parts.get(partition) else {
            return internal_err!("PointsExec has no partition {partition}");
        };
        let rows_read = MetricBuilder::new(&self.metrics).output_rows(partition);
        let counter = |name: &'static str| MetricBuilder::new(&self.metrics).counter(name, partition);
        let batches = match part {
            Part::Files(pieces) => {
                let counters = ReadCounters {
                    series: counter("series_read"),
                    series_skipped: counter("series_skipped"),
                    row_groups: counter("row_groups_read"),
                    row_groups_total: counter("row_groups_total"),
                    pages: counter("pages_read"),
                    pages_total: counter("pages_total"),
                    rows: counter("rows_selected"),
                };
                let opening = Opening { source: self.source.clone(), later: self.later.clone(), counters };
                // Opened one after another, when the filters of joins are known.
                stream::iter(pieces.clone())
                    .then(move |piece| {
                        let opening = opening.clone();
                        async move { opening.open(piece).await }
                    })
                    .try_flatten()
                    .boxed()
            }
            Part::Memory { snapshot, fits, steps } => {
                let memory = Memory {
                    snapshot: snapshot.clone(),
                    fits: Arc::clone(fits),
                    steps: steps.clone(),
                    later: self.later.clone(),
                    schema: Arc::clone(&self.schema),
                    columns: self.source.columns.clone(),
                };
                stream::iter(std::iter::once_with(move || memory.batches()).flatten()).boxed()
            }
        };
        let mut left = self.limit.unwrap_or(usize::MAX);
        let limited = batches.map(move |batch: Result<RecordBatch>| {
            let batch = batch?;
            let batch = batch.slice(0, batch.num_rows().min(left));
            left -= batch.num_rows();
            rows_read.add(batch.num_rows());
            Ok((batch, left > 0))
        });
        // The batch that fills the limit is the last one that is asked for.
        let mut done = false;
        let until = limited.take_while(move |item| {
            let take = !done;
            done = done || matches!(item, Ok((_, false)));
            std::future::ready(take)
        });
        let stream = until.map_ok(|(batch, _)| batch);
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if partition.is_none() {
            let rows = (self.selected.rows + self.selected.memtable_points) as usize;
            let rows = self.limit.map_or(rows, |limit| rows.min(limit));
            statistics.num_rows =
                if self.selected.exact { Precision::Exact(rows) } else { Precision::Inexact(rows) };
        }
        Ok(Arc::new(statistics))
    }
}

/// What a partition has read, for `EXPLAIN ANALYZE`.
#[derive(Clone)]
struct ReadCounters {
    series: Count,
    series_skipped: Count,
    row_groups: Count,
    row_groups_total: Count,
    pages: Count,
    pages_total: Count,
    rows: Count,
}

/// How the pieces of a partition are opened.
#[derive(Clone)]
struct Opening {
    source: Source,
    later: Vec<SeriesFilter>,
    counters: ReadCounters,
}

impl Opening {
    /// Begins to read the series of a piece that the filters take.
    async fn open(self, piece: Piece) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let Source { snapshot, steps, columns } = self.source;
        let Some(file) = snapshot.point_files().get(piece.file) else {
            return internal_err!("there is no segment {}", piece.file);
        };
        let reader = snapshot.open_segment(file).await.map_err(storage)?;
        let mut positions = piece.positions.to_vec();
        let before = positions.len();
        for filter in &self.later {
            positions = filter.keep(reader.series(), positions)?;
        }
        let counters = self.counters;
        counters.series_skipped.add(before - positions.len());
        if positions.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let scan = Scan {
            selection: SeriesSelection::Positions(positions),
            projection: columns,
            steps,
            texts: TextColumns::Utf8View,
            without: piece.without,
            ..Scan::all()
        };
        let (batches, pruning) = reader.scan(&scan).map_err(storage)?;
        counters.series.add(pruning.series_read as usize);
        counters.row_groups.add(pruning.row_groups_read as usize);
        counters.row_groups_total.add(pruning.row_groups as usize);
        counters.pages.add(pruning.pages_read as usize);
        counters.pages_total.add(pruning.pages as usize);
        counters.rows.add(pruning.rows_read as usize);
        Ok(batches.map_err(move |error| with_rows(error, &reader)).boxed())
    }
}

/// The points in memory, as batches.
struct Memory {
    snapshot: Snapshot,
    fits: Arc<dyn Fn(&SeriesEntry<'_>) -> bool + Send + Sync>,
    steps: Option<RangeInclusive<i64>>,
    later: Vec<SeriesFilter>,
    schema: SchemaRef,
    columns: Vec<usize>,
}

impl Memory {
    fn batches(self) -> impl Iterator<Item = Result<RecordBatch>> + Send {
        let fits = Arc::clone(&self.fits);
        let (registry, later) = (self.snapshot.registry().clone(), self.later);
        // A filter that cannot be asked leaves nothing out; the join asks again.
        let passes = move |entry: &SeriesEntry<'_>| {
            fits(entry) && later.iter().all(|filter| filter.takes(&registry, entry).unwrap_or(true))
        };
        let mut series = self.snapshot.into_memtable_series(passes);
        let mut current: Option<(SortedSeries, usize)> = None;
        std::iter::from_fn(move || {
            let mut builder = PointBuilder::new(&self.columns);
            while builder.rows < BATCH_ROWS {
                let (of, mut row) = match current.take() {
                    Some(position) => position,
                    None => match series.next() {
                        Some(next) => (next, 0),
                        None => break,
                    },
                };
                while row < of.points.len() && builder.rows < BATCH_ROWS {
                    if self.steps.as_ref().is_none_or(|steps| steps.contains(&of.points.steps[row])) {
                        builder.push(&of, row);
                    }
                    row += 1;
                }
                if row < of.points.len() {
                    current = Some((of, row));
                }
            }
            (builder.rows > 0).then(|| builder.finish(&self.schema))
        })
    }
}

/// The columns of a batch while they grow.
struct PointBuilder {
    columns: Vec<PointColumn>,
    rows: usize,
}

enum PointColumn {
    Text(usize, StringViewBuilder),
    Step(Int64Builder),
    Fraction(Int32Builder),
    Time(TimestampMicrosecondBuilder),
    Value(Float64Builder),
    Attempt(Int32Builder),
}

impl PointBuilder {
    fn new(columns: &[usize]) -> Self {
        let column = |&position: &usize| match position {
            5 => PointColumn::Step(Int64Builder::new()),
            6 => PointColumn::Fraction(Int32Builder::new()),
            7 => PointColumn::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            8 => PointColumn::Value(Float64Builder::new()),
            9 => PointColumn::Attempt(Int32Builder::new()),
            position => PointColumn::Text(position, StringViewBuilder::new().with_deduplicate_strings()),
        };
        Self { columns: columns.iter().map(column).collect(), rows: 0 }
    }

    fn push(&mut self, series: &SortedSeries, row: usize) {
        self.rows += 1;
        let points = &series.points;
        for column in &mut self.columns {
            match column {
                PointColumn::Text(0, builder) => builder.append_value(series.project.as_str()),
                PointColumn::Text(1, builder) => builder.append_value(series.experiment.as_str()),
                PointColumn::Text(2, builder) => builder.append_value(series.key.run.to_string()),
                PointColumn::Text(3, builder) => builder.append_value(series.key.metric.as_str()),
                PointColumn::Text(_, builder) => {
                    builder.append_option(series.key.context.as_ref().map(|context| context.as_str()));
                }
                PointColumn::Step(builder) => builder.append_value(points.steps[row]),
                PointColumn::Fraction(builder) => {
                    builder
                        .append_option(points.step_fractions.as_ref().and_then(|fractions| fractions[row]));
                }
                PointColumn::Time(builder) => builder.append_value(points.times[row]),
                PointColumn::Value(builder) => builder.append_value(points.values[row]),
                PointColumn::Attempt(builder) => builder.append_value(series.attempts[row]),
            }
        }
    }

    fn finish(self, schema: &SchemaRef) -> Result<RecordBatch> {
        let finish = |column| -> ArrayRef {
            match column {
                PointColumn::Text(_, mut builder) => Arc::new(builder.finish()),
                PointColumn::Step(mut builder) => Arc::new(builder.finish()),
                PointColumn::Fraction(mut builder) | PointColumn::Attempt(mut builder) => {
                    Arc::new(builder.finish())
                }
                PointColumn::Time(mut builder) => Arc::new(builder.finish()),
                PointColumn::Value(mut builder) => Arc::new(builder.finish()),
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let columns = self.columns.into_iter().map(finish).collect();
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}
