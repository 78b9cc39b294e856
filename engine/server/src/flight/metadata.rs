//! What there is to ask: catalogs, schemas, tables, types, and what this server can do.

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    GetCatalogsBuilder, SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData,
    XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Command, CommandGetDbSchemas, CommandGetTables, Nullable, Searchable, SqlInfo, SqlNullOrdering,
    SqlSupportedCaseSensitivity, SqlSupportedTransaction, XdbcDataType,
};
use runlake::query::postgres::DATABASE;

use crate::error::ServiceError;
use crate::grpc::Shared;
use crate::service::TableEntry;

/// The kind of every table.
const TABLE: &str = "TABLE";

fn facts() -> Result<SqlInfoData, FlightError> {
    let mut facts = SqlInfoDataBuilder::new();
    facts.append(SqlInfo::FlightSqlServerName, "Runlake");
    facts.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    facts.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    facts.append(SqlInfo::FlightSqlServerReadOnly, true);
    facts.append(SqlInfo::FlightSqlServerSql, true);
    facts.append(SqlInfo::FlightSqlServerSubstrait, false);
    facts.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    facts.append(SqlInfo::FlightSqlServerCancel, false);
    facts.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    facts.append(SqlInfo::SqlDdlCatalog, false);
    facts.append(SqlInfo::SqlDdlSchema, false);
    facts.append(SqlInfo::SqlDdlTable, false);
    facts.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    facts.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    facts.append(
        SqlInfo::SqlQuotedIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32,
    );
    facts.append(SqlInfo::SqlAllTablesAreSelectable, true);
    facts.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i32);
    facts.build()
}

fn types() -> Result<XdbcTypeInfoData, FlightError> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    let kinds = [
        ("boolean", XdbcDataType::XdbcBit, 1, None),
        ("bigint", XdbcDataType::XdbcBigint, 19, Some(10)),
        ("double", XdbcDataType::XdbcDouble, 53, Some(2)),
        ("varchar", XdbcDataType::XdbcVarchar, i32::MAX, None),
        ("date", XdbcDataType::XdbcDate, 10, None),
        ("timestamp", XdbcDataType::XdbcTimestamp, 26, None),
    ];
    for (name, data_type, size, radix) in kinds {
        let quoted = radix.is_none().then(|| "'".to_owned());
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type,
            column_size: Some(size),
            literal_prefix: quoted.clone(),
            literal_suffix: quoted,
            create_params: None,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: data_type == XdbcDataType::XdbcVarchar,
            searchable: Searchable::Full,
            unsigned_attribute: radix.map(|_| false),
            fixed_prec_scale: false,
            auto_increment: radix.map(|_| false),
            local_type_name: Some(name.to_owned()),
            minimum_scale: None,
            maximum_scale: None,
            sql_data_type: data_type,
            datetime_subcode: None,
            num_prec_radix: radix,
            interval_precision: None,
        });
    }
    types.build()
}

static FACTS: LazyLock<Option<SqlInfoData>> = LazyLock::new(|| facts().ok());
static TYPES: LazyLock<Option<XdbcTypeInfoData>> = LazyLock::new(|| types().ok());

fn key_columns(command: &Command) -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let fields = if matches!(command, Command::CommandGetPrimaryKeys(_)) {
        vec![
            text("catalog_name", true),
            text("db_schema_name", true),
            text("table_name", false),
            text("column_name", false),
            Field::new("key_sequence", DataType::Int32, false),
            text("key_name", true),
        ]
    } else {
        vec![
            text("pk_catalog_name", true),
            text("pk_db_schema_name", true),
            text("pk_table_name", false),
            text("pk_column_name", false),
            text("fk_catalog_name", true),
            text("fk_db_schema_name", true),
            text("fk_table_name", false),
            text("fk_column_name", false),
            Field::new("key_sequence", DataType::Int32, false),
            text("fk_key_name", true),
            text("pk_key_name", true),
            Field::new("update_rule", DataType::UInt8, false),
            Field::new("delete_rule", DataType::UInt8, false),
        ]
    };
    Arc::new(Schema::new(fields))
}

/// The columns of the answer to a command of metadata; `None` when it is none.
pub(super) fn columns(command: &Command) -> Option<SchemaRef> {
    Some(match command {
        Command::CommandGetCatalogs(_) => GetCatalogsBuilder::new().schema(),
        Command::CommandGetDbSchemas(request) => request.clone().into_builder().schema(),
        Command::CommandGetTables(request) => request.clone().into_builder().schema(),
        Command::CommandGetTableTypes(request) => (*request).into_builder().schema(),
        Command::CommandGetSqlInfo(_) => FACTS.as_ref()?.schema(),
        Command::CommandGetXdbcTypeInfo(_) => TYPES.as_ref()?.schema(),
        Command::CommandGetPrimaryKeys(_)
        | Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => key_columns(command),
        _ => return None,
    })
}

/// The answer to a command of metadata.
pub(super) async fn rows(shared: &Arc<Shared>, command: Command) -> Result<RecordBatch, ServiceError> {
    let internal = |error: FlightError| ServiceError::Internal {
        reason: "flight.metadata",
        message: format!("metadata could not be put together: {error}"),
    };
    let unsupported = || ServiceError::Invalid {
        reason: "flight.metadata",
        field: None,
        message: "no metadata".to_owned(),
    };
    match command {
        Command::CommandGetCatalogs(_) => {
            let mut catalogs = GetCatalogsBuilder::new();
            catalogs.append(DATABASE);
            catalogs.build().map_err(internal)
        }
        Command::CommandGetDbSchemas(request) => schemas(shared, request).await?.map_err(internal),
        Command::CommandGetTables(request) => tables(shared, request).await?.map_err(internal),
        Command::CommandGetTableTypes(request) => {
            let mut kinds = request.into_builder();
            kinds.append(TABLE);
            kinds.build().map_err(internal)
        }
        Command::CommandGetSqlInfo(request) => {
            let facts = FACTS.as_ref().ok_or_else(unsupported)?;
            request.into_builder(facts).build().map_err(internal)
        }
        Command::CommandGetXdbcTypeInfo(request) => {
            let types = TYPES.as_ref().ok_or_else(unsupported)?;
            request.into_builder(types).build().map_err(internal)
        }
        // A lake has no keys that a database enforces.
        command => Ok(RecordBatch::new_empty(columns(&command).ok_or_else(unsupported)?)),
    }
}

async fn schemas(
    shared: &Arc<Shared>,
    request: CommandGetDbSchemas,
) -> Result<Result<RecordBatch, FlightError>, ServiceError> {
    let mut names: Vec<String> =
        shared.lake.tables(&|_, _| false).await?.into_iter().map(|table| table.schema).collect();
    names.dedup();
    let mut builder = request.into_builder();
    for name in names {
        builder.append(DATABASE, name);
    }
    Ok(builder.build())
}

async fn tables(
    shared: &Arc<Shared>,
    request: CommandGetTables,
) -> Result<Result<RecordBatch, FlightError>, ServiceError> {
    let patterns = (request.db_schema_filter_pattern.clone(), request.table_name_filter_pattern.clone());
    let fits = |schema: &str, name: &str| {
        patterns.0.as_deref().is_none_or(|pattern| like(schema, pattern))
            && patterns.1.as_deref().is_none_or(|pattern| like(name, pattern))
    };
    let with_columns = request.include_schema;
    let wants = |schema: &str, name: &str| with_columns && fits(schema, name);
    let tables = shared.lake.tables(&wants).await?;
    let mut builder = request.into_builder();
    let none = Schema::empty();
    for TableEntry { schema, name, columns } in tables {
        if fits(&schema, &name)
            && let Err(error) =
                builder.append(DATABASE, schema, name, TABLE, columns.as_deref().unwrap_or(&none))
        {
            return Ok(Err(error));
        }
    }
    Ok(builder.build())
}

/// Whether a name fits a pattern with `%` and `_`.
fn like(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) = (name.chars().collect(), pattern.chars().collect());
    let (mut at, mut of) = (0, 0);
    // Where to go back to when what follows the last `%` does not fit.
    let mut again: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(of) {
            Some('%') => {
                again = Some((at, of + 1));
                of += 1;
            }
            Some(c) if *c == '_' || *c == name[at] => (at, of) = (at + 1, of + 1),
            _ => match again {
                Some((begin, rest)) => {
                    (at, of) = (begin + 1, rest);
                    again = Some((at, rest));
                }
                None => return false,
            },
        }
    }
    pattern[of..].iter().all(|c| *c == '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_sql() {
        for (name, pattern, fits) in [
            ("runs", "runs", true),
            ("runs", "r%", true),
            ("runs", "%n_", true),
            ("runs", "%", true),
            ("runs", "", false),
            ("", "%", true),
            ("runs", "run", false),
            ("aaab", "%a%b", true),
            ("aaac", "%a%b", false),
        ] {
            assert_eq!(like(name, pattern), fits, "{name} {pattern}");
        }
    }

    #[test]
    fn what_the_server_can_do_is_there() {
        assert!(FACTS.is_some() && TYPES.is_some());
    }
}
