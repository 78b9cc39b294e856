//! `$1`, `$2`, …: which types a statement asks for, and the values put in their places.

use std::ops::ControlFlow;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{Cast, Placeholder};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::sql::sqlparser::ast::{Statement, Value, ValueWithSpan, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::error::{Located, QueryError};

/// Most parameters of a statement.
const PARAMETERS: usize = 4_096;

/// The number of each parameter that a plan names.
fn numbers(plan: &LogicalPlan) -> Result<Vec<usize>> {
    let mut numbers = Vec::new();
    for name in plan.get_parameter_names()? {
        match name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok()) {
            Some(number) if (1..=PARAMETERS).contains(&number) => numbers.push(number),
            _ => {
                let message = format!("a parameter is written $1 to ${PARAMETERS}, not {name}");
                return Err(mistake(message, None));
            }
        }
    }
    Ok(numbers)
}

fn mistake(message: String, hint: Option<&str>) -> DataFusionError {
    let hint = hint.map(str::to_owned);
    DataFusionError::External(Box::new(QueryError::Invalid(Located { message, place: None, hint })))
}

/// Numbers the parameters that are written `?`, in the order in which they stand, and gives back the highest number in
/// the text.
pub(crate) fn number_marks(statement: &mut Statement) -> usize {
    let mut marks: Vec<Location> = Vec::new();
    let mut most = 0;
    visit_marks(statement, &mut |text, at| match text.strip_prefix('$').map(str::parse::<usize>) {
        Some(Ok(number)) => most = most.max(number),
        _ if text == "?" => marks.push(at),
        _ => {}
    });
    marks.sort_unstable();
    visit_marks(statement, &mut |text, at| {
        if text == "?"
            && let Ok(before) = marks.binary_search(&at)
        {
            *text = format!("${}", before + 1);
        }
    });
    most.max(marks.len()).min(PARAMETERS)
}

fn visit_marks(statement: &mut Statement, look: &mut dyn FnMut(&mut String, Location)) {
    struct Marks<'a>(&'a mut dyn FnMut(&mut String, Location));
    impl VisitorMut for Marks<'_> {
        type Break = ();

        fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
            let at = value.span.start;
            if let Value::Placeholder(text) = &mut value.value {
                (self.0)(text, at);
            }
            ControlFlow::Continue(())
        }
    }
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Marks(look));
}

/// The type of every parameter: the declared one, else the one that the plan asks for, else text. There are at least
/// `written`: what stands in the text may have no place in the plan.
pub(crate) fn types(
    plan: &LogicalPlan,
    declared: &[Option<DataType>],
    written: usize,
) -> Result<Vec<DataType>> {
    let count = numbers(plan)?.into_iter().max().unwrap_or(0).max(written);
    let asked = plan.get_parameter_types()?;
    let placed = placed(plan)?;
    let of = |number: usize| {
        let declared = declared.get(number - 1).cloned().flatten();
        let name = format!("${number}");
        let by_place = || placed.iter().find(|(of, _)| *of == name).map(|(_, of)| of.clone());
        let asked = || asked.get(&name).cloned().flatten().or_else(by_place);
        declared.or_else(asked).filter(|kind| kind != &DataType::Null).unwrap_or(DataType::Utf8)
    };
    Ok((1..=count).map(of).collect())
}

/// The types of parameters that the engine does not infer by itself but whose place says them: `metric = ANY($1)`,
/// `$1::bigint`, `LIMIT $1`.
fn placed(plan: &LogicalPlan) -> Result<Vec<(String, DataType)>> {
    let unsaid = |expr: &Expr| match expr {
        Expr::Placeholder(Placeholder { id, field: None }) => Some(id.clone()),
        _ => None,
    };
    let mut placed = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            let counts = [limit.skip.as_deref(), limit.fetch.as_deref()].into_iter().flatten();
            placed.extend(counts.filter_map(unsaid).map(|id| (id, DataType::Int64)));
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::ScalarFunction(call) if call.func.name() == "array_has" => {
                        if let [list, element] = call.args.as_slice()
                            && let Some(id) = unsaid(list)
                        {
                            let inputs = node.inputs().into_iter().map(LogicalPlan::schema);
                            let mut schemas = inputs.chain([node.schema()]);
                            let of = schemas.find_map(|schema| element.get_type(schema).ok());
                            placed.extend(of.map(|of| (id, DataType::new_list(plain(of), true))));
                        }
                    }
                    Expr::Cast(Cast { expr, field }) => {
                        placed.extend(unsaid(expr).map(|id| (id, field.data_type().clone())));
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(placed)
}

/// Texts come from clients in one form.
fn plain(data_type: DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::Dictionary(_, values) => plain(*values),
        other => other,
    }
}

/// The plan with NULLs of these types in the places of the parameters, for its columns.
pub(crate) fn bind_nothing(plan: LogicalPlan, types: &[DataType]) -> Result<LogicalPlan> {
    if types.is_empty() {
        return Ok(plan);
    }
    plan.with_param_values(types.iter().map(ScalarValue::try_from).collect::<Result<Vec<_>>>()?)
}

/// The plan with the values of its parameters.
pub(crate) fn bind(plan: LogicalPlan, parameters: &[ArrayRef]) -> Result<LogicalPlan> {
    let Some(most) = numbers(&plan)?.into_iter().max() else { return Ok(plan) };
    if most > parameters.len() {
        let message = format!("the statement has {most} parameters, {} have a value", parameters.len());
        return Err(mistake(message, Some("Give a value for each of $1, $2, …")));
    }
    if let Some(wrong) = parameters.iter().position(|value| value.len() != 1) {
        return Err(mistake(format!("parameter ${} is not one value", wrong + 1), None));
    }
    let values = parameters.iter().map(|value| ScalarValue::try_from_array(value, 0));
    plan.with_param_values(values.collect::<Result<Vec<_>>>()?)
}

/// The values as a text that no other values have.
pub(crate) fn shown(parameters: &[ArrayRef]) -> String {
    let options = FormatOptions::default();
    let one = |value: &ArrayRef| {
        let formatted = ArrayFormatter::try_new(value.as_ref(), &options);
        let text = match formatted {
            Ok(formatter) if value.len() == 1 && value.is_valid(0) => Some(formatter.value(0).to_string()),
            _ => None,
        };
        format!("{:?} {:?};", value.data_type(), text)
    };
    parameters.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn marks_are_numbered_as_they_stand() {
        let numbered = |sql: &str| {
            let mut statement = Parser::parse_sql(&GenericDialect {}, sql).unwrap().remove(0);
            let most = number_marks(&mut statement);
            (statement.to_string(), most)
        };
        let (sql, most) =
            numbered("SELECT ?, (SELECT a FROM t WHERE b = ?) FROM t\nWHERE c IN (?, ?) LIMIT ?");
        assert_eq!(sql, "SELECT $1, (SELECT a FROM t WHERE b = $2) FROM t WHERE c IN ($3, $4) LIMIT $5");
        assert_eq!(most, 5);
        assert_eq!(numbered("SELECT $3, $1").1, 3);
        assert_eq!(numbered("SELECT '?'"), ("SELECT '?'".to_owned(), 0));
    }
}
