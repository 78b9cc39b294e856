//! Functions of one row: what they share. Each is its description, its type and `answer`, which reads the arguments of
//! a row by their names.

use std::hash::{Hash, Hasher};

use analysis::{Alternative, AnalysisError};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arms::ALTERNATIVES;
use super::definition::{Definition, Described, choose};
use super::outcome::{Cell, column_of_rows, struct_type};

/// The fields of a struct, in order.
pub(super) type Fields = Vec<(&'static str, DataType)>;

/// What was found: the cells as far as they are known, and why the others are not.
pub(super) type Found = (Vec<Cell>, Option<AnalysisError>);

/// The last field of every struct.
const ERROR: (&str, DataType) = ("error", DataType::Utf8);

/// A function of one row. A NULL in an argument that must be given makes the answer NULL; any other stands for the
/// default.
#[derive(Debug)]
pub(super) struct RowFunction {
    pub(super) definition: &'static Definition,
    pub(super) returns: fn() -> Returns,
    pub(super) answer: fn(&Row<'_>) -> Result<Found>,
}

/// What a function of one row gives.
#[derive(Debug)]
pub(super) enum Returns {
    /// One value: what cannot be computed ends the statement.
    One(DataType),
    /// A struct: a mistake in the data is told in its last field, `error`.
    Struct(Fields),
}

impl Returns {
    /// A double.
    pub(super) fn number() -> Self {
        Self::One(DataType::Float64)
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::One(data_type) => data_type.clone(),
            Self::Struct(fields) => struct_type(&[fields.as_slice(), &[ERROR]].concat()),
        }
    }
}

/// The arguments of a function in one row.
pub(super) struct Row<'a> {
    definition: &'static Definition,
    columns: &'a [ArrayRef],
    row: usize,
    /// Whether mistakes in the data have a field to be told in.
    tells_errors: bool,
}

impl Row<'_> {
    /// The column of an argument that is given and not NULL here.
    fn column(&self, name: &str) -> Option<&ArrayRef> {
        let position = self.definition.parameters.iter().position(|p| p.name == name)?;
        self.columns.get(position).filter(|column| column.is_valid(self.row))
    }

    /// A number that may be left out.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        Some(self.column(name)?.as_primitive_opt::<Float64Type>()?.value(self.row))
    }

    /// A number that is there: rows without one are answered before.
    pub(super) fn given(&self, name: &str) -> f64 {
        self.number(name).unwrap_or(f64::NAN)
    }

    /// A whole number that may be left out.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        Some(self.column(name)?.as_primitive_opt::<Int64Type>()?.value(self.row))
    }

    /// A count.
    pub(super) fn count(&self, name: &str) -> Result<u64> {
        match self.integer(name).map(u64::try_from) {
            Some(Ok(count)) => Ok(count),
            Some(Err(_)) => self.refuse(name, self.integer(name).unwrap_or_default(), "counts are 0 or more"),
            None => self.refuse(name, "NULL", "give a count"),
        }
    }

    /// A truth that may be left out.
    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        Some(self.column(name)?.as_boolean_opt()?.value(self.row))
    }

    /// What a word stands for; the first choice is the default.
    pub(super) fn one_of<T: Copy>(&self, name: &str, choices: &[(&'static str, T)]) -> Result<T> {
        let given = self.column(name).and_then(|column| column.as_string_opt::<i32>());
        let given = given.map(|column| column.value(self.row));
        choose(given, choices)
            .or_else(|allowed| self.refuse(name, format_args!("'{}'", given.unwrap_or_default()), &allowed))
    }

    /// The alternative of a test.
    pub(super) fn alternative(&self) -> Result<Alternative> {
        self.one_of("alternative", &ALTERNATIVES)
    }

    /// The confidence level; whoever takes it checks it.
    pub(super) fn level(&self) -> f64 {
        self.number("level").unwrap_or(0.95)
    }

    /// The error rate of planned tests; whoever takes it checks it.
    pub(super) fn alpha(&self) -> f64 {
        self.number("alpha").unwrap_or(0.05)
    }

    /// A list of numbers, none of them NULL.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        match self.column(name).and_then(|column| column.as_list_opt::<i32>()) {
            Some(lists) => self.whole_list(name, &lists.value(self.row)),
            None => self.refuse(name, "NULL", "give a list of numbers"),
        }
    }

    /// A list of lists of numbers, none of them NULL.
    pub(super) fn table(&self, name: &str) -> Result<Vec<Vec<f64>>> {
        let Some(tables) = self.column(name).and_then(|column| column.as_list_opt::<i32>()) else {
            return self.refuse(name, "NULL", "give a list of lists of numbers");
        };
        let table = tables.value(self.row);
        let Some(rows) = table.as_list_opt::<i32>().filter(|rows| rows.null_count() == 0) else {
            return self.refuse(name, "with a NULL in it", "give a list of lists of numbers");
        };
        rows.iter().flatten().map(|row| self.whole_list(name, &row)).collect()
    }

    fn whole_list(&self, name: &str, list: &ArrayRef) -> Result<Vec<f64>> {
        match list.as_primitive_opt::<Float64Type>().filter(|list| list.null_count() == 0) {
            Some(list) => Ok(list.values().to_vec()),
            None => self.refuse(name, "with a NULL in it", "give numbers only"),
        }
    }

    /// What a statistic found. A mistake in the data is told in the answer where it has a field for that; one in the
    /// question ends the statement.
    pub(super) fn found<T>(
        &self,
        result: analysis::Result<T>,
        cells: impl FnOnce(T) -> Vec<Cell>,
    ) -> Result<Found> {
        match result {
            Ok(found) => Ok((cells(found), None)),
            // An effect of zero is a finding of the data too: no number of runs shows it.
            Err(error)
                if self.tells_errors && (error.is_data_error() || error == AnalysisError::EffectIsZero) =>
            {
                Ok((Vec::new(), Some(error)))
            }
            Err(error) => Err(self.error(&error)),
        }
    }

    /// The error of a statement that asks for what cannot be.
    pub(super) fn error(&self, error: &AnalysisError) -> DataFusionError {
        DataFusionError::Execution(format!("{}: {error}", self.definition.name))
    }

    /// The error of an argument with a value outside of what is allowed.
    pub(super) fn refuse<T>(&self, name: &str, value: impl std::fmt::Display, allowed: &str) -> Result<T> {
        exec_err!("argument '{name}' of {} is {value}: {allowed}", self.definition.name)
    }
}

/// Makes a [`RowFunction`] a function of DataFusion.
#[derive(Debug)]
pub(super) struct RowByRow {
    function: &'static RowFunction,
    described: Described,
}

impl RowByRow {
    pub(super) fn new(function: &'static RowFunction) -> Self {
        Self { function, described: function.definition.into() }
    }

    fn answers(&self, columns: &[ArrayRef], row_count: usize) -> Result<ArrayRef> {
        let definition = self.function.definition;
        let returns = (self.function.returns)();
        let required: Vec<&ArrayRef> =
            columns.iter().zip(definition.parameters).filter(|(_, p)| p.required).map(|(c, _)| c).collect();
        let tells_errors = matches!(returns, Returns::Struct(_));
        let rows = (0..row_count)
            .map(|row| {
                if required.iter().any(|column| column.is_null(row)) {
                    return Ok((Vec::new(), None));
                }
                (self.function.answer)(&Row { definition, columns, row, tells_errors })
            })
            .collect::<Result<Vec<Found>>>()?;
        let rows: Vec<Vec<Cell>> = rows
            .into_iter()
            .map(|(cells, error)| match &returns {
                Returns::One(_) => cells,
                Returns::Struct(fields) => with_reason((cells, error), fields.len()),
            })
            .collect();
        column_of_rows(&returns.data_type(), &rows)
    }
}

/// The cells of as many fields, then why some are missing.
pub(super) fn with_reason((mut cells, error): Found, field_count: usize) -> Vec<Cell> {
    cells.resize(field_count, Cell::Number(None));
    cells.push(Cell::Word(error.map(|error| error.code())));
    cells
}

impl PartialEq for RowByRow {
    fn eq(&self, other: &Self) -> bool {
        self.described == other.described
    }
}

impl Eq for RowByRow {}

impl Hash for RowByRow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.described.hash(state);
    }
}

impl ScalarUDFImpl for RowByRow {
    fn name(&self) -> &str {
        self.function.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.described.signature
    }

    fn coerce_types(&self, argument_types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.definition.coerce(argument_types)
    }

    fn return_type(&self, _argument_types: &[DataType]) -> Result<DataType> {
        Ok((self.function.returns)().data_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // Constants alone are answered once, whatever the number of rows.
        let constant = arguments.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let row_count = if constant { 1 } else { arguments.number_rows };
        let columns: Vec<ArrayRef> =
            arguments.args.iter().map(|value| value.to_array(row_count)).collect::<Result<_>>()?;
        let answers = self.answers(&columns, row_count)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answers, 0)?));
        }
        Ok(ColumnarValue::Array(answers))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.described.documentation)
    }
}
