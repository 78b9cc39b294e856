//! The functions that clients of PostgreSQL call to look around. Most have one answer here, whatever they are asked.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::catalog::{TableFunction, TableFunctionArgs, TableFunctionImpl};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::datasource::TableProvider;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::sql::sqlparser::ast::DataType as SqlType;
use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;

use super::catalog::PostgresTable;
use super::pg_catalog::{function_of_oid, is_visible, namespace_oid, relation_oid};
use super::rows::{Cell, columns, table};
use super::settings::{DATABASE, ROLE, SERVER_VERSION, client_setting};
use super::types::PgType;
use crate::tables::PUBLIC;

/// Words that need quotes to be a name.
const RESERVED: &str = "all analyse analyze and any array as asc asymmetric both case cast check collate column \
     constraint create current_catalog current_date current_role current_time current_timestamp current_user default \
     deferrable desc distinct do else end except false fetch for foreign from grant group having in initially \
     intersect into lateral leading limit localtime localtimestamp not null offset on only or order placing primary \
     references returning select session_user some symmetric table then to trailing true union unique user using \
     variadic when where window with";

/// What a function answers.
#[derive(Clone)]
enum Answer {
    /// Always this.
    Always(ScalarValue),
    /// A value for each row, made from the arguments.
    Each(DataType, fn(&[ArrayRef], usize) -> Result<ArrayRef>),
}

struct Function {
    name: &'static str,
    signature: Signature,
    answer: Answer,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&self.name).finish()
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _argument_types: &[DataType]) -> Result<DataType> {
        Ok(match &self.answer {
            Answer::Always(value) => value.data_type(),
            Answer::Each(data_type, _) => data_type.clone(),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match &self.answer {
            Answer::Always(value) => Ok(ColumnarValue::Scalar(value.clone())),
            Answer::Each(_, compute) => {
                let rows = arguments.number_rows;
                let arrays = arguments.args.iter().map(|a| a.to_array(rows)).collect::<Result<Vec<_>>>()?;
                Ok(ColumnarValue::Array(compute(&arrays, rows)?))
            }
        }
    }
}

/// All of them.
pub(crate) fn scalars() -> Vec<Arc<ScalarUDF>> {
    let mut functions = Vec::new();
    let mut add = |name: &'static str, answer: Answer| {
        let any = TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny]);
        let signature = Signature::new(any, Volatility::Stable);
        functions.push(Arc::new(ScalarUDF::from(Function { name, signature, answer })));
    };
    let text = |value: &str| Answer::Always(ScalarValue::Utf8(Some(value.to_owned())));
    for name in ["current_database", "current_catalog"] {
        add(name, text(DATABASE));
    }
    for name in ["current_user", "session_user", "user", "current_role", "pg_get_userbyid"] {
        add(name, text(ROLE));
    }
    add("current_schema", text(PUBLIC));
    add("version", text(&format!("PostgreSQL {SERVER_VERSION} (Runlake {})", env!("CARGO_PKG_VERSION"))));
    add("pg_encoding_to_char", text("UTF8"));
    add("pg_tablespace_location", text(""));
    for name in [
        "col_description",
        "obj_description",
        "shobj_description",
        "pg_get_constraintdef",
        "pg_get_expr",
        "pg_get_functiondef",
        "pg_get_indexdef",
        "pg_get_partkeydef",
        "pg_get_ruledef",
        "pg_get_serial_sequence",
        "pg_get_statisticsobjdef",
        "pg_get_statisticsobjdef_columns",
        "pg_get_triggerdef",
        "pg_get_viewdef",
        "inet_client_addr",
        "inet_server_addr",
    ] {
        add(name, Answer::Always(ScalarValue::Utf8(None)));
    }
    for name in [
        "has_any_column_privilege",
        "has_column_privilege",
        "has_database_privilege",
        "has_function_privilege",
        "has_schema_privilege",
        "has_sequence_privilege",
        "has_table_privilege",
        "pg_collation_is_visible",
        "pg_function_is_visible",
        "pg_has_role",
        "pg_type_is_visible",
    ] {
        add(name, Answer::Always(ScalarValue::Boolean(Some(true))));
    }
    for name in ["pg_is_in_recovery", "pg_is_other_temp_schema", "pg_relation_is_publishable"] {
        add(name, Answer::Always(ScalarValue::Boolean(Some(false))));
    }
    for name in [
        "pg_database_size",
        "pg_indexes_size",
        "pg_my_temp_schema",
        "pg_relation_size",
        "pg_stat_get_numscans",
        "pg_table_size",
        "pg_total_relation_size",
        "txid_current",
    ] {
        add(name, Answer::Always(ScalarValue::Int64(Some(0))));
    }
    add("pg_backend_pid", Answer::Always(ScalarValue::Int32(Some(1))));
    add("inet_server_port", Answer::Always(ScalarValue::Int32(None)));
    add("pg_size_pretty", text("0 bytes"));
    add("to_regclass", Answer::Each(DataType::Int32, to_regclass));
    add("to_regnamespace", Answer::Each(DataType::Int32, to_regnamespace));
    add("to_regtype", Answer::Each(DataType::Int32, to_regtype));
    add("pg_table_is_visible", Answer::Each(DataType::Boolean, table_is_visible));
    add("format_type", Answer::Each(DataType::Utf8, format_type));
    add("current_setting", Answer::Each(DataType::Utf8, current_setting));
    add("set_config", Answer::Each(DataType::Utf8, set_config));
    add("current_schemas", Answer::Each(DataType::new_list(DataType::Utf8, true), current_schemas));
    add("quote_ident", Answer::Each(DataType::Utf8, quote_ident));
    add("parse_ident", Answer::Each(DataType::new_list(DataType::Utf8, true), parse_ident));
    add("array_lower", Answer::Each(DataType::Int64, array_lower));
    add("array_upper", Answer::Each(DataType::Int64, array_upper));
    add("pg_get_function_result", Answer::Each(DataType::Utf8, function_result));
    for name in ["pg_get_function_arguments", "pg_get_function_identity_arguments"] {
        add(name, Answer::Each(DataType::Utf8, function_arguments));
    }
    functions
}

fn integers(arguments: &[ArrayRef], at: usize, rows: usize) -> Result<Int64Array> {
    match arguments.get(at) {
        Some(array) => Ok(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone()),
        None => Ok(Int64Array::new_null(rows)),
    }
}

fn texts(arguments: &[ArrayRef], at: usize, rows: usize) -> Result<StringArray> {
    match arguments.get(at) {
        Some(array) => Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
        None => Ok(StringArray::new_null(rows)),
    }
}

fn table_is_visible(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let oids = integers(arguments, 0, rows)?;
    Ok(Arc::new(oids.iter().map(|oid| oid.map(is_visible)).collect::<BooleanArray>()))
}

fn format_type(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let oids = integers(arguments, 0, rows)?;
    let name = |oid: i64| {
        let known =
            u32::try_from(oid).ok().filter(|oid| PgType::from_oid(*oid).is_some_and(|t| t.oid() == *oid));
        match (known.and_then(PgType::from_oid), oid) {
            (Some(pg_type), _) => pg_type.sql_name(),
            (None, 0) => "-".to_owned(),
            (None, 19) => "name".to_owned(),
            (None, 1042) => "character".to_owned(),
            (None, 1043) => "character varying".to_owned(),
            (None, 2950) => "uuid".to_owned(),
            (None, 3802) => "jsonb".to_owned(),
            (None, _) => "???".to_owned(),
        }
    };
    Ok(Arc::new(oids.iter().map(|oid| oid.map(name)).collect::<StringArray>()))
}

fn to_regclass(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let names = texts(arguments, 0, rows)?;
    let oid = |name: &str| {
        let found = match identifier_parts(name)?.as_slice() {
            [name] => relation_oid(None, name),
            [schema, name] => relation_oid(Some(schema), name),
            _ => None,
        };
        found.and_then(|oid| i32::try_from(oid).ok())
    };
    Ok(Arc::new(names.iter().map(|name| name.and_then(oid)).collect::<Int32Array>()))
}

fn to_regnamespace(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let names = texts(arguments, 0, rows)?;
    let oid = |name: &str| i32::try_from(namespace_oid(name)).ok();
    Ok(Arc::new(names.iter().map(|name| name.and_then(oid)).collect::<Int32Array>()))
}

fn to_regtype(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let names = texts(arguments, 0, rows)?;
    let oid = |name: &str| PgType::from_name(name).and_then(|found| i32::try_from(found.oid()).ok());
    Ok(Arc::new(names.iter().map(|name| name.and_then(oid)).collect::<Int32Array>()))
}

fn current_setting(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let names = texts(arguments, 0, rows)?;
    let may_miss = arguments.len() > 1;
    let mut values = StringBuilder::new();
    for name in &names {
        match name.map(|name| (name, client_setting(name))) {
            Some((_, Some(value))) => values.append_value(value),
            Some((name, None)) if !may_miss => {
                return exec_err!("unrecognized configuration parameter \"{name}\"");
            }
            _ => values.append_null(),
        }
    }
    Ok(Arc::new(values.finish()))
}

/// Says what it was given, as the function of PostgreSQL does; nothing is set.
fn set_config(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    Ok(Arc::new(texts(arguments, 1, rows)?))
}

fn current_schemas(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let implicit = match arguments.first() {
        Some(array) => cast(array, &DataType::Boolean)?,
        None => return exec_err!("current_schemas takes true or false"),
    };
    let implicit = implicit.as_boolean();
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..rows {
        if implicit.is_valid(row) && implicit.value(row) {
            lists.values().append_value(super::PG_CATALOG);
        }
        lists.values().append_value(PUBLIC);
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

fn quote_ident(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let names = texts(arguments, 0, rows)?;
    let quoted = |name: &str| {
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !RESERVED.split_whitespace().any(|word| word == name);
        if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
    };
    Ok(Arc::new(names.iter().map(|name| name.map(quoted)).collect::<StringArray>()))
}

fn parse_ident(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let names = texts(arguments, 0, rows)?;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for name in &names {
        match name.map(identifier_parts) {
            Some(Some(parts)) => lists.append_value(parts.iter().map(Some)),
            Some(None) => {
                return exec_err!("string is not a valid identifier: \"{}\"", name.unwrap_or_default());
            }
            None => lists.append_null(),
        }
    }
    Ok(Arc::new(lists.finish()))
}

/// The parts of a dotted name, those without quotes in small letters; `None` when it is no name.
pub(super) fn identifier_parts(name: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = name.trim();
    loop {
        let part = if let Some(quoted) = rest.strip_prefix('"') {
            let mut part = String::new();
            let mut characters = quoted.char_indices().peekable();
            let end = loop {
                match characters.next()? {
                    (_, '"') if characters.next_if(|(_, next)| *next == '"').is_some() => part.push('"'),
                    (at, '"') => break at + 1,
                    (_, other) => part.push(other),
                }
            };
            rest = &quoted[end..];
            part
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let part = rest[..end].trim().to_lowercase();
            rest = &rest[end..];
            part
        };
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(more) => rest = more,
            None => return rest.is_empty().then_some(parts),
        }
    }
}

fn lengths(arguments: &[ArrayRef], rows: usize) -> Result<Vec<Option<i64>>> {
    let Some(lists) = arguments.first() else { return exec_err!("the first argument must be an array") };
    let DataType::List(_) = lists.data_type() else { return Ok(vec![None; rows]) };
    let lists = lists.as_list::<i32>();
    let length = |row: usize| {
        let length = i64::from(lists.value_length(row));
        (lists.is_valid(row) && length > 0).then_some(length)
    };
    Ok((0..rows).map(length).collect())
}

fn array_lower(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let lower = lengths(arguments, rows)?.into_iter().map(|length| length.map(|_| 1));
    Ok(Arc::new(lower.collect::<Int64Array>()))
}

fn array_upper(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    Ok(Arc::new(lengths(arguments, rows)?.into_iter().collect::<Int64Array>()))
}

fn function_result(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let oids = integers(arguments, 0, rows)?;
    let returns = |oid: Option<i64>| oid.and_then(function_of_oid).map(|function| function.returns);
    Ok(Arc::new(oids.iter().map(returns).collect::<StringArray>()))
}

fn function_arguments(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let oids = integers(arguments, 0, rows)?;
    let takes = |oid: Option<i64>| {
        let function = oid.and_then(function_of_oid)?;
        Some(function.parameters.iter().map(|p| p.name).collect::<Vec<_>>().join(", "))
    };
    Ok(Arc::new(oids.iter().map(takes).collect::<StringArray>()))
}

/// `pg_get_keywords()`.
pub(crate) fn keywords() -> Arc<TableFunction> {
    Arc::new(TableFunction::new("pg_get_keywords".to_owned(), Arc::new(Keywords)))
}

#[derive(Debug)]
struct Keywords;

impl TableFunctionImpl for Keywords {
    fn call_with_args(&self, _arguments: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let row = |word: &&str| vec![("word", Cell::from(word.to_lowercase())), ("catcode", "U".into())];
        let rows: Vec<_> = ALL_KEYWORDS.iter().map(row).collect();
        let rows = table(columns("word:t catcode:c barelabel:b catdesc:t baredesc:t"), &rows)?;
        Ok(Arc::new(PostgresTable::new(rows)))
    }
}

/// Reads the names of types that only PostgreSQL has.
pub(crate) fn type_planner() -> Arc<dyn TypePlanner> {
    Arc::new(PostgresTypes)
}

#[derive(Debug)]
struct PostgresTypes;

impl TypePlanner for PostgresTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let name = match sql_type {
            SqlType::Regclass => "regclass".to_owned(),
            SqlType::Custom(name, modifiers) if modifiers.is_empty() => {
                let mut parts = name.0.iter().filter_map(|part| part.as_ident());
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(name), None, None) => name.value.to_lowercase(),
                    (Some(schema), Some(name), None)
                        if schema.value.eq_ignore_ascii_case(super::PG_CATALOG) =>
                    {
                        name.value.to_lowercase()
                    }
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        let data_type = match name.as_str() {
            "oid" | "regclass" | "regtype" | "regnamespace" | "regrole" | "regcollation" | "regproc"
            | "regprocedure" | "xid" | "int4" => DataType::Int32,
            "name" | "text" | "varchar" | "bpchar" | "char" | "regoper" | "regoperator" | "regconfig"
            | "regdictionary" | "json" | "jsonb" | "uuid" | "inet" => DataType::Utf8,
            "bool" => DataType::Boolean,
            "int2" => DataType::Int16,
            "int8" => DataType::Int64,
            "float4" => DataType::Float32,
            "float8" => DataType::Float64,
            "bytea" => DataType::Binary,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_they_were_written() {
        let parts = |name| identifier_parts(name);
        let owned = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(parts("runs"), owned(&["runs"]));
        assert_eq!(parts("Public.Runs"), owned(&["public", "runs"]));
        assert_eq!(parts("\"A.b\".\"c\"\"d\""), owned(&["A.b", "c\"d"]));
        for wrong in ["", "a.", ".a", "\"a", "\"a\"b"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_plain_words_need_no_quotes() {
        let quoted = |name: &str| {
            let names: ArrayRef = Arc::new(StringArray::from(vec![name]));
            quote_ident(&[names], 1).unwrap().as_string::<i32>().value(0).to_owned()
        };
        assert_eq!(quoted("runs"), "runs");
        assert_eq!(quoted("select"), "\"select\"");
        assert_eq!(quoted("Runs"), "\"Runs\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
