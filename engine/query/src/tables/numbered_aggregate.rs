//! Aggregates over runs, series, params and tags whose groups are made of columns of few distinct texts: rows are put into
//! groups by numbers that the tables have for these texts, and the texts are made once a group.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{Field, Schema, SchemaRef, UInt32Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt as _;

use super::column_scan::{ColumnScan, Numbered};
use super::group_numbers::GroupNumbers;
use super::key_values::KeyValues;
use super::runs::Runs;
use super::series::Series;

/// Puts the rows of such aggregates into groups by number.
#[derive(Debug)]
pub(crate) struct AggregateByNumbers;

impl PhysicalOptimizerRule for AggregateByNumbers {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rewritten = plan.transform_down(|node| {
            let by_numbers = match node.downcast_ref::<AggregateExec>() {
                Some(aggregate) => NumberedAggregate::of(aggregate)?,
                None => None,
            };
            Ok(match by_numbers {
                Some(by_numbers) => Transformed::yes(Arc::new(by_numbers) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        })?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &str {
        "aggregate_by_numbers"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// One aggregate, with what it reads in terms of the columns of the input.
#[derive(Debug, Clone)]
struct Asked {
    function: Arc<AggregateFunctionExpr>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

/// The first step of an aggregate, or all of it where there is one step.
struct NumberedAggregate {
    /// A scan whose last column is the number of the group.
    input: Arc<dyn ExecutionPlan>,
    numbers: Arc<GroupNumbers>,
    /// The columns that were numbered.
    numbered: SchemaRef,
    /// The keys of the groups in terms of those columns.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    asked: Vec<Asked>,
    gives_states: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// An expression over the answer of a projection as one over its input.
fn over_input(
    expression: &Arc<dyn PhysicalExpr>,
    inputs: Option<&[Arc<dyn PhysicalExpr>]>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let Some(inputs) = inputs else { return Ok(Arc::clone(expression)) };
    let replaced = Arc::clone(expression).transform_down(|part| {
        let Some(column) = part.downcast_ref::<Column>() else { return Ok(Transformed::no(part)) };
        match inputs.get(column.index()) {
            Some(input) => Ok(Transformed::new(Arc::clone(input), true, TreeNodeRecursion::Jump)),
            None => internal_err!("column {column} is not in the projection"),
        }
    })?;
    Ok(replaced.data)
}

/// An expression in which each column stands where it has its place among `columns`.
fn at_places(expression: Arc<dyn PhysicalExpr>, columns: &[usize]) -> Result<Arc<dyn PhysicalExpr>> {
    let replaced = expression.transform_down(|part| {
        let Some(column) = part.downcast_ref::<Column>() else { return Ok(Transformed::no(part)) };
        match columns.iter().position(|known| *known == column.index()) {
            Some(place) => {
                Ok(Transformed::yes(Arc::new(Column::new(column.name(), place)) as Arc<dyn PhysicalExpr>))
            }
            None => internal_err!("column {column} is not read"),
        }
    })?;
    Ok(replaced.data)
}

/// The columns that expressions read, rising.
fn columns_of<'a>(expressions: impl IntoIterator<Item = &'a Arc<dyn PhysicalExpr>>) -> Vec<usize> {
    let mut columns: Vec<usize> =
        expressions.into_iter().flat_map(collect_columns).map(|column| column.index()).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

fn numbered(plan: &Arc<dyn ExecutionPlan>, columns: &[usize], kept: &[usize]) -> Result<Option<Numbered>> {
    if let Some(scan) = plan.downcast_ref::<ColumnScan<Runs>>() {
        scan.numbered(columns, kept)
    } else if let Some(scan) = plan.downcast_ref::<ColumnScan<Series>>() {
        scan.numbered(columns, kept)
    } else if let Some(scan) = plan.downcast_ref::<ColumnScan<KeyValues>>() {
        scan.numbered(columns, kept)
    } else {
        Ok(None)
    }
}

impl NumberedAggregate {
    /// The same as an aggregate of the engine, where its groups can be numbered.
    fn of(aggregate: &AggregateExec) -> Result<Option<Self>> {
        let groups = aggregate.group_expr();
        let is_plain = groups.is_single()
            && !groups.is_empty()
            && aggregate.limit_options().is_none()
            && aggregate.aggr_expr().iter().all(|function| {
                function.groups_accumulator_supported()
                    && function.order_bys().is_empty()
                    && !function.is_distinct()
            });
        let gives_states = match aggregate.mode() {
            AggregateMode::Partial => true,
            AggregateMode::Single if aggregate.input().output_partitioning().partition_count() == 1 => false,
            _ => return Ok(None),
        };
        if !is_plain {
            return Ok(None);
        }
        let projected: Option<Vec<Arc<dyn PhysicalExpr>>> = aggregate
            .input()
            .downcast_ref::<ProjectionExec>()
            .map(|projection| projection.expr().iter().map(|column| Arc::clone(&column.expr)).collect());
        let scan = match aggregate.input().downcast_ref::<ProjectionExec>() {
            Some(projection) => projection.input(),
            None => aggregate.input(),
        };
        let inputs = projected.as_deref();
        let keys: Vec<Arc<dyn PhysicalExpr>> =
            groups.expr().iter().map(|(key, _)| over_input(key, inputs)).collect::<Result<_>>()?;
        let mut asked = Vec::with_capacity(aggregate.aggr_expr().len());
        for (function, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
            asked.push(Asked {
                function: Arc::clone(function),
                arguments: function
                    .expressions()
                    .iter()
                    .map(|argument| over_input(argument, inputs))
                    .collect::<Result<_>>()?,
                filter: filter.as_ref().map(|filter| over_input(filter, inputs)).transpose()?,
            });
        }
        if keys.iter().any(is_volatile) {
            return Ok(None);
        }
        let named = columns_of(&keys);
        let kept = columns_of(asked.iter().flat_map(|asked| asked.arguments.iter().chain(&asked.filter)));
        // A constant alone names no column.
        if named.is_empty() {
            return Ok(None);
        }
        let Some((input, numbers)) = numbered(scan, &named, &kept)? else { return Ok(None) };
        let schema = scan.schema();
        let numbered: Vec<Field> = named.iter().map(|column| schema.field(*column).clone()).collect();
        let keys = keys.into_iter().map(|key| at_places(key, &named)).collect::<Result<_>>()?;
        for asked in &mut asked {
            for read in asked.arguments.iter_mut().chain(&mut asked.filter) {
                *read = at_places(Arc::clone(read), &kept)?;
            }
        }
        Ok(Some(Self {
            input,
            numbers,
            numbered: Arc::new(Schema::new(numbered)),
            keys,
            asked,
            gives_states,
            properties: Arc::clone(aggregate.properties()),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

impl fmt::Debug for NumberedAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NumberedAggregate").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl DisplayAs for NumberedAggregate {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        let asked: Vec<&str> = self.asked.iter().map(|asked| asked.function.name()).collect();
        let step = if self.gives_states { "Partial" } else { "Single" };
        write!(f, "NumberedAggregate: mode={step}, gby=[{}], aggr=[{}]", keys.join(", "), asked.join(", "))
    }
}

impl ExecutionPlan for NumberedAggregate {
    fn name(&self) -> &'static str {
        "NumberedAggregate"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let read = self.asked.iter().flat_map(|asked| asked.arguments.iter().chain(&asked.filter));
        for expression in self.keys.iter().chain(read) {
            if visit(expression)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else {
            return internal_err!("NumberedAggregate has one child");
        };
        Ok(Arc::new(Self {
            input,
            numbers: Arc::clone(&self.numbers),
            numbered: Arc::clone(&self.numbered),
            keys: self.keys.clone(),
            asked: self.asked.clone(),
            gives_states: self.gives_states,
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut input = self.input.execute(partition, Arc::clone(&context))?;
        let accumulators = self.asked.iter().map(|asked| asked.function.create_groups_accumulator());
        let consumer = MemoryConsumer::new(format!("NumberedAggregate[{partition}]"));
        let mut grouping = Grouping {
            numbers: Arc::clone(&self.numbers),
            numbered: Arc::clone(&self.numbered),
            keys: self.keys.clone(),
            asked: self.asked.clone(),
            accumulators: accumulators.collect::<Result<_>>()?,
            gives_states: self.gives_states,
            schema: self.schema(),
            places: vec![None; self.numbers.len()],
            met: Vec::new(),
            places_of_rows: Vec::new(),
            memory: consumer.register(context.memory_pool()),
        };
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let answer = async move {
            while let Some(batch) = input.next().await {
                let _timer = metrics.elapsed_compute().timer();
                grouping.take_in(&batch?)?;
            }
            let _timer = metrics.elapsed_compute().timer();
            let answer = grouping.finish()?;
            metrics.record_output(answer.num_rows());
            Ok(answer)
        };
        // No group at all gives no batch, as of any operator.
        let answer = futures::stream::once(answer).filter(|answer| {
            let has_rows = !matches!(answer, Ok(batch) if batch.num_rows() == 0);
            futures::future::ready(has_rows)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), answer)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The state of one partition.
struct Grouping {
    numbers: Arc<GroupNumbers>,
    numbered: SchemaRef,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    asked: Vec<Asked>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    gives_states: bool,
    schema: SchemaRef,
    /// By number, where the accumulators keep the group, once a row of it came.
    places: Vec<Option<u32>>,
    /// The numbers of the groups that came, by place.
    met: Vec<u32>,
    places_of_rows: Vec<usize>,
    memory: MemoryReservation,
}

impl Grouping {
    fn take_in(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(numbers) = batch.columns().last().and_then(|column| column.as_primitive_opt::<UInt32Type>())
        else {
            return internal_err!("the numbers of groups are missing");
        };
        self.places_of_rows.clear();
        for number in numbers.values() {
            let Some(place) = self.places.get_mut(*number as usize) else {
                return internal_err!("there is no group {number}");
            };
            let place = *place.get_or_insert_with(|| {
                self.met.push(*number);
                self.met.len() as u32 - 1
            });
            self.places_of_rows.push(place as usize);
        }
        for (asked, accumulator) in self.asked.iter().zip(&mut self.accumulators) {
            let evaluate = |read: &Arc<dyn PhysicalExpr>| read.evaluate(batch)?.into_array(batch.num_rows());
            let arguments: Vec<ArrayRef> = asked.arguments.iter().map(evaluate).collect::<Result<_>>()?;
            let filter: Option<BooleanArray> =
                asked.filter.as_ref().map(evaluate).transpose()?.map(|filter| filter.as_boolean().clone());
            accumulator.update_batch(&arguments, &self.places_of_rows, filter.as_ref(), self.met.len())?;
        }
        let accumulated: usize = self.accumulators.iter().map(|accumulator| accumulator.size()).sum();
        let own = self.places.len() * size_of::<Option<u32>>() + self.met.len() * size_of::<u32>();
        self.memory.try_resize(accumulated + own + self.places_of_rows.capacity() * size_of::<usize>())
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        if self.met.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let values = RecordBatch::try_new(Arc::clone(&self.numbered), self.numbers.values(&self.met))?;
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for key in &self.keys {
            columns.push(key.evaluate(&values)?.into_array(values.num_rows())?);
        }
        for accumulator in &mut self.accumulators {
            if self.gives_states {
                columns.extend(accumulator.state(EmitTo::All)?);
            } else {
                columns.push(accumulator.evaluate(EmitTo::All)?);
            }
        }
        self.memory.free();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
