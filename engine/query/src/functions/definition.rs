//! What a function is called, takes and returns: one description for the planner, the documentation,
//! `system.functions` and named arguments.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{DocSection, Documentation, Signature, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

/// Whether a function folds rows or looks along them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// Folds the rows of a group into one value.
    Aggregate,
    /// Gives one value a row, computed along a window.
    Window,
    /// Gives one value a row from that row alone.
    Scalar,
    /// Stands in FROM and gives rows.
    Table,
}

impl FunctionKind {
    /// The word in `system.functions`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aggregate => "aggregate",
            Self::Window => "window",
            Self::Scalar => "scalar",
            Self::Table => "table",
        }
    }
}

/// What an argument may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArgumentKind {
    /// A column of numbers, read as doubles.
    Value,
    /// A column of steps (whole numbers).
    Step,
    /// A column of numbers that says where a value stands: steps, or anything else in order.
    Position,
    /// A column of times.
    Time,
    /// A column of labels, read as text.
    Label,
    /// A column of labels of which equal ones belong together: seeds, tasks.
    Pair,
    /// A column of any type.
    Any,
    /// A constant text.
    Text,
    /// A constant number.
    Number,
    /// A constant whole number.
    Integer,
    /// A constant truth value.
    Boolean,
    /// A constant list of texts, or one text with commas.
    Texts,
    /// A list of numbers.
    Numbers,
    /// A list of lists of numbers.
    Table,
}

impl ArgumentKind {
    fn in_words(self) -> &'static str {
        match self {
            Self::Value => "a column of numbers",
            Self::Step => "a column of whole numbers",
            Self::Position => "a column of numbers",
            Self::Time => "a column of times",
            Self::Label | Self::Pair => "a column of labels",
            Self::Any => "a column",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Texts => "a text or a list of texts",
            Self::Numbers => "a list of numbers, such as [0.5, 1.0]",
            Self::Table => "a list of lists of numbers, such as [[3, 1], [2, 5]]",
        }
    }

    /// The type that an argument of type `given` is cast to, `None` when it does not fit.
    pub(super) fn coerce(self, given: &DataType) -> Option<DataType> {
        let null = matches!(given, DataType::Null);
        let number = given.is_numeric() || null;
        match self {
            Self::Value | Self::Position | Self::Number => number.then_some(DataType::Float64),
            Self::Step | Self::Integer => (given.is_integer() || null).then_some(DataType::Int64),
            Self::Time => (given.is_temporal() || given.is_integer() || null).then(model::schema::timestamp),
            Self::Text => {
                let text = matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
                (text || null).then_some(DataType::Utf8)
            }
            Self::Label | Self::Pair => (!given.is_nested()).then_some(DataType::Utf8),
            Self::Any => Some(given.clone()),
            Self::Texts => {
                let is_text =
                    |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
                match given {
                    DataType::List(item) if is_text(item.data_type()) => {
                        Some(DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))))
                    }
                    given => (is_text(given) || null).then_some(DataType::Utf8),
                }
            }
            Self::Boolean => (matches!(given, DataType::Boolean) || null).then_some(DataType::Boolean),
            Self::Numbers => {
                (null || is_list(given, DataType::is_numeric)).then(|| list_of(DataType::Float64))
            }
            Self::Table => (null || is_list(given, |row| is_list(row, DataType::is_numeric)))
                .then(|| list_of(list_of(DataType::Float64))),
        }
    }
}

/// Whether `given` is a list of what `fits`; an empty one fits everything.
fn is_list(given: &DataType, fits: impl Fn(&DataType) -> bool) -> bool {
    match given {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_null() || fits(item.data_type())
        }
        _ => false,
    }
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// The largest number of resamples of one call, so that one statement cannot hold a machine for hours.
const RESAMPLES_MAX: i64 = 1_000_000;

/// One parameter of a function.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name, for `name => value`.
    pub name: &'static str,
    /// What it may be.
    pub kind: ArgumentKind,
    /// Whether a call must give it.
    pub required: bool,
    /// What it means, with its default.
    pub summary: &'static str,
}

/// A parameter that a call must give.
pub(super) const fn required(name: &'static str, kind: ArgumentKind, summary: &'static str) -> Parameter {
    Parameter { name, kind, required: true, summary }
}

/// A parameter with a default.
pub(super) const fn optional(name: &'static str, kind: ArgumentKind, summary: &'static str) -> Parameter {
    Parameter { name, kind, required: false, summary }
}

/// What the word in `given` stands for among the choices, the first of which is the default; else what is allowed.
pub(super) fn choose<T: Copy>(
    given: Option<&str>,
    choices: &[(&'static str, T)],
) -> std::result::Result<T, String> {
    match given {
        None => Ok(choices[0].1),
        Some(word) => match choices.iter().find(|(name, _)| *name == word) {
            Some((_, choice)) => Ok(*choice),
            None => {
                let mut names: Vec<String> = choices.iter().map(|(name, _)| format!("'{name}'")).collect();
                let last = names.pop().unwrap_or_default();
                Err(format!("give {} or {last}", names.join(", ")))
            }
        },
    }
}

/// Everything that is said about a function.
#[derive(Debug)]
pub struct Definition {
    /// Its name in SQL.
    pub name: &'static str,
    /// What it does with rows.
    pub kind: FunctionKind,
    /// What it computes, in a few sentences.
    pub summary: &'static str,
    /// The parameters in order.
    pub parameters: &'static [Parameter],
    /// What it returns, in SQL words.
    pub returns: &'static str,
    /// A statement that runs as it stands.
    pub example: &'static str,
}

impl Definition {
    /// How a call is written: `mean_ci(x [, level])`.
    pub fn syntax(&self) -> String {
        let mut syntax = format!("{}(", self.name);
        let mut bracket_open = false;
        for (position, parameter) in self.parameters.iter().enumerate() {
            if !parameter.required && !bracket_open {
                syntax.push_str(" [");
                bracket_open = true;
            }
            if position > 0 {
                syntax.push_str(", ");
            }
            syntax.push_str(parameter.name);
        }
        if bracket_open {
            syntax.push(']');
        }
        syntax.push(')');
        syntax
    }

    /// The documentation that DataFusion shows.
    pub(super) fn documentation(&self) -> Documentation {
        let section = DocSection { include: true, label: "Runlake Functions", description: None };
        let mut builder = Documentation::builder(section, self.summary, self.syntax())
            .with_sql_example(format!("```sql\n{}\n```", self.example));
        for parameter in self.parameters {
            builder = builder.with_argument(parameter.name, parameter.summary);
        }
        builder.build()
    }

    /// The signature: types are checked by [`Self::coerce`], names allow `name => value`.
    pub(super) fn signature(&self) -> Signature {
        let signature = Signature::user_defined(Volatility::Immutable);
        let names = self.parameters.iter().map(|p| p.name).collect::<Vec<_>>();
        // Names are refused only when two are equal, which a test rules out; without names a call by position
        // still works.
        signature.clone().with_parameter_names(names).unwrap_or(signature)
    }

    /// The types that the arguments of a call are cast to.
    pub(super) fn coerce(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let needed = self.parameters.iter().filter(|p| p.required).count();
        if given.len() < needed || given.len() > self.parameters.len() {
            return plan_err!(
                "{} takes {needed} to {} arguments, got {}: write {}",
                self.name,
                self.parameters.len(),
                given.len(),
                self.syntax()
            );
        }
        let mut types = Vec::with_capacity(given.len());
        for (parameter, data_type) in self.parameters.iter().zip(given) {
            match parameter.kind.coerce(data_type) {
                Some(coerced) => types.push(coerced),
                None => {
                    return plan_err!(
                        "argument '{}' of {} must be {}, got {data_type}: write {}",
                        parameter.name,
                        self.name,
                        parameter.kind.in_words(),
                        self.syntax()
                    );
                }
            }
        }
        Ok(types)
    }
}

/// A definition with what the engine asks of it again and again. Two are equal when they have one name, which is what
/// the engine compares calls by.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) definition: &'static Definition,
    pub(super) signature: Signature,
    pub(super) documentation: Arc<Documentation>,
}

impl From<&'static Definition> for Described {
    fn from(definition: &'static Definition) -> Self {
        Self {
            definition,
            signature: definition.signature(),
            documentation: Arc::new(definition.documentation()),
        }
    }
}

impl PartialEq for Described {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name
    }
}

impl Eq for Described {}

impl Hash for Described {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
    }
}

/// The arguments of a call that are constants, `None` for the others.
pub(super) fn constants_of(arguments: &[Arc<dyn PhysicalExpr>]) -> Vec<Option<ScalarValue>> {
    let constant = |argument: &Arc<dyn PhysicalExpr>| {
        argument.downcast_ref::<Literal>().map(|literal| literal.value().clone())
    };
    arguments.iter().map(constant).collect()
}

/// The constant arguments of one call; a NULL counts as not given.
pub(super) struct Constants<'a> {
    definition: &'static Definition,
    values: &'a [Option<ScalarValue>],
}

impl<'a> Constants<'a> {
    /// Takes the constants of a call, `None` for columns, in the order of the parameters.
    pub(super) fn new(definition: &'static Definition, values: &'a [Option<ScalarValue>]) -> Result<Self> {
        for (parameter, value) in definition.parameters.iter().zip(values) {
            use ArgumentKind::{Boolean, Integer, Number, Text, Texts};
            let constant = matches!(parameter.kind, Text | Number | Integer | Boolean | Texts);
            if constant && value.is_none() {
                return plan_err!(
                    "argument '{}' of {} must be a constant, not a column or an expression over rows",
                    parameter.name,
                    definition.name
                );
            }
        }
        Ok(Self { definition, values })
    }

    /// The value of a constant that is given.
    fn value(&self, name: &str) -> Option<&'a ScalarValue> {
        let position = self.definition.parameters.iter().position(|p| p.name == name)?;
        self.values.get(position)?.as_ref().filter(|value| !value.is_null())
    }

    /// A constant number.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        match self.value(name)? {
            ScalarValue::Float64(number) => *number,
            _ => None,
        }
    }

    /// A constant whole number.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            ScalarValue::Int64(number) => *number,
            _ => None,
        }
    }

    /// A constant text.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.value(name)?.try_as_str().flatten()
    }

    /// What a constant word stands for; the first choice is the default.
    pub(super) fn one_of<T: Copy>(&self, name: &str, choices: &[(&'static str, T)]) -> Result<T> {
        let given = self.text(name);
        choose(given, choices)
            .or_else(|allowed| self.refuse(name, format_args!("'{}'", given.unwrap_or_default()), &allowed))
    }

    /// A constant list of texts; those of one text are separated by commas.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(ScalarValue::List(list)) if !list.is_empty() => {
                let items = list.value(0);
                items.as_string_opt::<i32>().into_iter().flatten().flatten().map(str::to_owned).collect()
            }
            Some(value) => {
                let text = value.try_as_str().flatten().unwrap_or_default();
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
            }
            None => Vec::new(),
        }
    }

    /// A constant truth value.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        match self.value(name)? {
            ScalarValue::Boolean(truth) => *truth,
            _ => None,
        }
    }

    /// The error of an argument with a value outside of what is allowed.
    pub(super) fn refuse<T>(&self, name: &str, value: impl std::fmt::Display, allowed: &str) -> Result<T> {
        plan_err!("argument '{name}' of {} is {value}: {allowed}", self.definition.name)
    }

    /// A confidence level, strictly between 0 and 1; 0.95 when not given.
    pub(super) fn level(&self) -> Result<f64> {
        let level = self.number("level").unwrap_or(0.95);
        if level > 0.0 && level < 1.0 {
            return Ok(level);
        }
        self.refuse("level", level, "give a confidence level between 0 and 1, such as 0.95")
    }

    /// A number of resamples.
    pub(super) fn resamples(&self, default: u32) -> Result<u32> {
        match self.integer("resamples") {
            None => Ok(default),
            Some(count @ 1..=RESAMPLES_MAX) => Ok(count as u32),
            Some(count) => self.refuse("resamples", count, "give a number from 1 to 1000000"),
        }
    }

    /// The seed of a call, else that of the session.
    pub(super) fn seed(&self, session: u64) -> Result<u64> {
        match self.integer("seed").map(u64::try_from) {
            None => Ok(session),
            Some(Ok(seed)) => Ok(seed),
            Some(Err(_)) => self.refuse("seed", "negative", "give a whole number of at least 0"),
        }
    }

    /// A count of at least `least`.
    pub(super) fn count(&self, name: &str, least: usize, meaning: &str) -> Result<usize> {
        let allowed = format!("give {meaning} of at least {least}");
        match self.integer(name) {
            Some(count) => match usize::try_from(count) {
                Ok(count) if count >= least => Ok(count),
                _ => self.refuse(name, count, &allowed),
            },
            None => self.refuse(name, "NULL", &allowed),
        }
    }

    /// What happens to NaN and infinities.
    pub(super) fn nonfinite(&self) -> Result<analysis::Nonfinite> {
        match self.text("nonfinite") {
            None | Some("keep") => Ok(analysis::Nonfinite::Keep),
            Some("drop") => Ok(analysis::Nonfinite::Drop),
            Some(other) => self.refuse("nonfinite", format_args!("'{other}'"), "give 'keep' or 'drop'"),
        }
    }
}
