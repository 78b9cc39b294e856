//! `$1`, `$2`, …: which types a statement asks for, and the values put in their places.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::LogicalPlan;

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

/// The type of every parameter: the declared one, else the one that the plan asks for, else text.
pub(crate) fn types(plan: &LogicalPlan, declared: &[Option<DataType>]) -> Result<Vec<DataType>> {
    let count = numbers(plan)?.into_iter().max().unwrap_or(0);
    let asked = plan.get_parameter_types()?;
    let of = |number: usize| {
        let declared = declared.get(number - 1).cloned().flatten();
        let asked = || asked.get(&format!("${number}")).cloned().flatten();
        declared.or_else(asked).filter(|kind| kind != &DataType::Null).unwrap_or(DataType::Utf8)
    };
    Ok((1..=count).map(of).collect())
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
