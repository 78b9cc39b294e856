//! The rule of the planner that divides an aggregate over points.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::functions_aggregate::expr_fn::{count, max, min, sum};
use datafusion::logical_expr::expr::{AggregateFunction, Case};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, TableScan, cast, col, lit,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::decision::{Decision, NAMES, Part, Verdict, part_name};
use super::value_set::ValueSet;
use crate::tables::constraints::Constraints;
use crate::tables::reading::OnCorrupt;
use crate::tables::series::{PIECE, WantedSeries};
use crate::tables::{Content, SnapshotTable, stands_alone};

/// Answers an aggregate over points by the statistics of series as far as they go.
///
/// It applies where groups are made of what names a series alone, conditions look either at that or at the value alone,
/// and all that is asked is count, sum, mean, minimum, maximum of the value, or sums of `CASE WHEN … THEN 1 ELSE 0 END`.
/// The answer is that of a plain aggregate, but that sums are rounded once a series and not once a point. Nothing is
/// divided where more points would be read than are left out, nor where damaged files are skipped: the statistics count
/// their points.
#[derive(Debug)]
pub(crate) struct AnswerBySeries;

impl OptimizerRule for AnswerBySeries {
    fn name(&self) -> &str {
        "answer_by_series"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        match Question::of(aggregate)?.map(|question| question.divided(&aggregate.schema)).transpose()? {
            Some(Some(divided)) => Ok(Transformed::yes(divided)),
            _ => Ok(Transformed::no(plan)),
        }
    }
}

/// An aggregate in terms of the columns of `points`.
struct Question {
    scan: TableScan,
    table: SnapshotTable,
    groups: Vec<Expr>,
    answers: Vec<Answer>,
    parts: Vec<Part>,
    /// As [`Self::parts`], as aggregates over points.
    over_points: Vec<Expr>,
    /// Conditions on what names a series.
    of_series: Vec<Expr>,
    /// Conditions on values.
    of_values: Vec<Expr>,
    values: ValueSet,
}

/// How one aggregate follows from parts, by their numbers.
enum Answer {
    Count(usize),
    Sum(usize),
    Minimum(usize),
    Maximum(usize),
    Mean { sum: usize, count: usize },
}

impl Question {
    fn of(aggregate: &Aggregate) -> Result<Option<Self>> {
        let mut expressions: Vec<Expr> = aggregate.group_expr.clone();
        expressions.extend(aggregate.aggr_expr.iter().cloned().map(Expr::unalias));
        let Some(over) = down_to_scan(&aggregate.input, expressions)? else { return Ok(None) };
        let OverScan { scan, mut expressions, conditions } = over;
        let provider = source_as_provider(&scan.source)?;
        let Some(table) = provider.downcast_ref::<SnapshotTable>().cloned() else { return Ok(None) };
        let is_whole = matches!(table.content, Content::Points(None))
            && table.reading.on_corrupt == OnCorrupt::Fail
            && table.snapshot.damage().is_empty()
            && scan.fetch.is_none();
        if !is_whole {
            return Ok(None);
        }
        let aggregates = expressions.split_off(aggregate.group_expr.len());
        let groups = expressions;
        let names_series = |expression: &Expr| {
            stands_alone(expression)
                && !matches!(expression, Expr::GroupingSet(_))
                && expression.column_refs().iter().all(|column| NAMES.contains(&column.name.as_str()))
        };
        if !groups.iter().all(names_series) {
            return Ok(None);
        }
        let (mut of_series, mut of_values, mut values) = (Vec::new(), Vec::new(), ValueSet::all());
        for condition in conditions.into_iter().flat_map(split_conjunction_owned) {
            if names_series(&condition) {
                of_series.push(condition);
            } else if let Some(set) = ValueSet::of(&condition) {
                values = values.and(&set);
                of_values.push(condition);
            } else {
                return Ok(None);
            }
        }
        let mut question = Self {
            scan,
            table,
            groups,
            answers: Vec::new(),
            parts: Vec::new(),
            over_points: Vec::new(),
            of_series,
            of_values,
            values,
        };
        for aggregate in &aggregates {
            let Some(answer) = question.answer(aggregate)? else { return Ok(None) };
            question.answers.push(answer);
        }
        // How many points there are at all is told by the scan itself.
        let only_counts = question.answers.iter().all(|answer| matches!(answer, Answer::Count(_)));
        let is_plain = only_counts && question.groups.is_empty() && question.of_values.is_empty();
        Ok((!question.answers.is_empty() && !is_plain).then_some(question))
    }

    /// Takes in an aggregate; `None` for one that statistics say nothing of.
    fn answer(&mut self, aggregate: &Expr) -> Result<Option<Answer>> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = aggregate else { return Ok(None) };
        let [argument] = params.args.as_slice() else { return Ok(None) };
        if params.distinct || !params.order_by.is_empty() || params.null_treatment.is_some() {
            return Ok(None);
        }
        let mut values = self.values.clone();
        if let Some(filter) = &params.filter {
            let Some(set) = ValueSet::of(filter) else { return Ok(None) };
            values = values.and(&set);
        }
        let with_filter = |over_points: Expr| match &params.filter {
            Some(filter) => over_points.filter(filter.as_ref().clone()).build(),
            None => Ok(over_points),
        };
        let name = func.name();
        let is_value = is_value(argument);
        if name == "count" {
            let counted = if is_value || is_literal(argument) {
                values
            } else if let Some((holds, Some(_), None)) = tally(argument) {
                values.and(&holds)
            } else {
                return Ok(None);
            };
            return Ok(Some(Answer::Count(
                self.part(Part::Count(counted), with_filter(count(argument.clone()))?),
            )));
        }
        if !is_value {
            let Some((holds, inside, outside)) = tally(argument).filter(|_| name == "sum") else {
                return Ok(None);
            };
            let holds_not = values.and(&holds.complement());
            let part = Part::Tally { holds: (values.and(&holds), inside), else_holds: (holds_not, outside) };
            return Ok(Some(Answer::Sum(self.part(part, with_filter(sum(argument.clone()))?))));
        }
        Ok(match name {
            "sum" => Some(Answer::Sum(self.part(Part::Sum(values), with_filter(sum(argument.clone()))?))),
            "min" => {
                Some(Answer::Minimum(self.part(Part::Minimum(values), with_filter(min(argument.clone()))?)))
            }
            "max" => {
                Some(Answer::Maximum(self.part(Part::Maximum(values), with_filter(max(argument.clone()))?)))
            }
            "avg" | "mean" => {
                let count = self.part(Part::Count(values.clone()), with_filter(count(argument.clone()))?);
                let sum = self.part(Part::Sum(values), with_filter(sum(argument.clone()))?);
                Some(Answer::Mean { sum, count })
            }
            _ => None,
        })
    }

    /// The number of a part; equal ones have one.
    fn part(&mut self, part: Part, over_points: Expr) -> usize {
        match self.parts.iter().position(|known| *known == part) {
            Some(number) => number,
            None => {
                self.parts.push(part);
                self.over_points.push(over_points);
                self.parts.len() - 1
            }
        }
    }

    /// The plan that answers it, `None` when statistics leave more points to read than not.
    fn divided(self, schema: &DFSchema) -> Result<Option<LogicalPlan>> {
        let constraints = Constraints::of(&self.of_series);
        let snapshot = &self.table.snapshot;
        let wanted = WantedSeries::new(snapshot, &self.table.access, &constraints);
        let mut decision = Decision::new(self.values.clone(), self.parts.clone());
        let (mut told, mut open) = (0_u64, 0_u64);
        let end = snapshot.series().entries().end();
        let mut first = 0;
        loop {
            // Of named runs all series come at once.
            let last = if wanted.names_runs() { end } else { end.min(first + PIECE) };
            for series in wanted.entries_in(snapshot, first..last) {
                match decision.verdict(series.statistics) {
                    Verdict::Nothing => {}
                    Verdict::Told => told += series.statistics.count,
                    Verdict::Open => {
                        open += series.statistics.count;
                        decision.leave_open(&series);
                    }
                }
            }
            first = last;
            if first >= end {
                break;
            }
        }
        if told == 0 || open > told {
            return Ok(None);
        }
        let by_statistics = SnapshotTable { schema: decision.schema(), ..self.table.clone() };
        let decision = Arc::new(decision);
        let by_statistics =
            SnapshotTable { content: Content::SeriesParts(Arc::clone(&decision)), ..by_statistics };
        let over_series = self.parts.iter().enumerate().map(|(number, part)| {
            merged(part, col(Column::new(Some(self.scan.table_name.clone()), part_name(number))))
        });
        let over_series = over_series.collect();
        let mut plan = self.aggregated(by_statistics, self.of_series.clone(), over_series)?;
        if decision.has_open() {
            let rest = SnapshotTable { content: Content::Points(Some(decision)), ..self.table.clone() };
            let conditions = self.of_series.iter().chain(&self.of_values).cloned().collect();
            let rest = self.aggregated(rest, conditions, self.over_points.clone())?;
            plan = LogicalPlanBuilder::from(plan).union(rest)?.build()?;
        }
        self.put_together(plan, schema).map(Some)
    }

    /// Groups and parts of the rows of a table, under their numbers.
    fn aggregated(
        &self,
        table: SnapshotTable,
        conditions: Vec<Expr>,
        parts: Vec<Expr>,
    ) -> Result<LogicalPlan> {
        let source = provider_as_source(Arc::new(table));
        let mut rows = LogicalPlanBuilder::scan(self.scan.table_name.clone(), source, None)?;
        if let Some(condition) = conjunction(conditions) {
            rows = rows.filter(condition)?;
        }
        let aggregated = rows.aggregate(self.groups.clone(), parts)?;
        let columns = aggregated.schema().columns();
        let (groups, parts) = columns.split_at(self.groups.len());
        let groups = groups.iter().enumerate().map(|(number, c)| col(c.clone()).alias(group_name(number)));
        let parts = parts.iter().enumerate().map(|(number, c)| col(c.clone()).alias(part_name(number)));
        let named: Vec<Expr> = groups.chain(parts).collect();
        aggregated.project(named)?.build()
    }

    /// The answer from what both sides add, with the columns that the aggregate has.
    fn put_together(&self, sides: LogicalPlan, schema: &DFSchema) -> Result<LogicalPlan> {
        let by_name = |name: String| col(Column::new_unqualified(name));
        let groups: Vec<Expr> = (0..self.groups.len()).map(|number| by_name(group_name(number))).collect();
        let parts = self
            .parts
            .iter()
            .enumerate()
            .map(|(number, part)| merged(part, by_name(part_name(number))).alias(part_name(number)));
        let together =
            LogicalPlanBuilder::from(sides).aggregate(groups.clone(), parts.collect::<Vec<_>>())?;
        let part = |number: &usize| by_name(part_name(*number));
        let answers = self.answers.iter().map(|answer| match answer {
            Answer::Count(number) => {
                datafusion::functions::core::expr_fn::coalesce(vec![part(number), lit(0_i64)])
            }
            Answer::Sum(number) | Answer::Minimum(number) | Answer::Maximum(number) => part(number),
            // Without points the sum is NULL, and so is this.
            Answer::Mean { sum, count } => part(sum) / cast(part(count), DataType::Float64),
        });
        let columns = groups.into_iter().chain(answers).zip(schema.iter());
        let named: Vec<Expr> = columns
            .map(|(expression, (qualifier, field))| {
                expression.alias_qualified(qualifier.cloned(), field.name())
            })
            .collect();
        together.project(named)?.build()
    }
}

/// What several rows of a part add together.
fn merged(part: &Part, column: Expr) -> Expr {
    match part {
        Part::Count(_) | Part::Sum(_) | Part::Tally { .. } => sum(column),
        Part::Minimum(_) => min(column),
        Part::Maximum(_) => max(column),
    }
}

fn group_name(number: usize) -> String {
    format!("group {number}")
}

/// What stands over a scan, in terms of its columns.
struct OverScan {
    scan: TableScan,
    expressions: Vec<Expr>,
    conditions: Vec<Expr>,
}

/// The scan below a plan that only filters and renames, expressions over the plan as expressions over the scan, and the
/// conditions on its rows.
fn down_to_scan(plan: &LogicalPlan, mut expressions: Vec<Expr>) -> Result<Option<OverScan>> {
    let kept = expressions.len();
    let mut plan = plan;
    loop {
        let below: Vec<Expr> = match plan {
            LogicalPlan::TableScan(scan) => {
                let mut conditions = expressions.split_off(kept);
                conditions.extend(scan.filters.iter().cloned());
                return Ok(Some(OverScan { scan: scan.clone(), expressions, conditions }));
            }
            LogicalPlan::Filter(filter) => {
                expressions.push(filter.predicate.clone());
                plan = &filter.input;
                continue;
            }
            LogicalPlan::Projection(projection) => {
                projection.expr.iter().cloned().map(Expr::unalias).collect()
            }
            LogicalPlan::SubqueryAlias(alias) => {
                alias.input.schema().columns().into_iter().map(Expr::Column).collect()
            }
            _ => return Ok(None),
        };
        for expression in &mut expressions {
            let renamed = std::mem::take(expression).transform_up(|part| {
                let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
                let place = plan.schema().index_of_column(column)?;
                Ok(match below.get(place) {
                    Some(below) => Transformed::yes(below.clone()),
                    None => Transformed::no(part),
                })
            })?;
            *expression = renamed.data;
        }
        let [input] = plan.inputs()[..] else { return Ok(None) };
        plan = input;
    }
}

fn is_value(expression: &Expr) -> bool {
    matches!(expression, Expr::Column(column) if column.name == "value")
}

fn is_literal(expression: &Expr) -> bool {
    matches!(expression, Expr::Literal(value, _) if !value.is_null())
}

/// `CASE WHEN condition THEN number ELSE number END` over the value, with whole numbers or NULLs.
fn tally(expression: &Expr) -> Option<(ValueSet, Option<i64>, Option<i64>)> {
    let Expr::Case(Case { expr: None, when_then_expr, else_expr }) = expression else { return None };
    let [(when, then)] = when_then_expr.as_slice() else { return None };
    let number = |expression: &Expr| match expression {
        Expr::Literal(ScalarValue::Int64(number), _) => Some(*number),
        Expr::Literal(ScalarValue::Null, _) => Some(None),
        _ => None,
    };
    let otherwise = match else_expr {
        Some(expression) => number(expression)?,
        None => None,
    };
    Some((ValueSet::of(when)?, number(then)?, otherwise))
}
