//! `information_schema` as SQL describes it, with the types under which columns are sent.

use std::sync::Arc;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use model::View;

use super::pg_catalog::{self, Relation};
use super::rows::{Cell, columns, table};
use super::settings::{DATABASE, ROLE};
use super::types::PgType;
use super::{INFORMATION_SCHEMA, PG_CATALOG};
use crate::functions;
use crate::tables::{PUBLIC, SnapshotCatalog};

/// Its tables.
pub(super) const TABLES: &[&str] = &[
    "character_sets",
    "check_constraints",
    "columns",
    "constraint_column_usage",
    "key_column_usage",
    "referential_constraints",
    "routines",
    "schemata",
    "sequences",
    "table_constraints",
    "table_privileges",
    "tables",
    "triggers",
    "views",
];

/// The rows of a table; `None` when there is no such table.
pub(super) async fn rows_of(catalog: &SnapshotCatalog, name: &str) -> Result<Option<RecordBatch>> {
    let none = |line| table(columns(line), &[]);
    let batch = match name {
        "columns" => return Ok(Some(all_columns(catalog).await?)),
        "tables" => tables(catalog),
        "schemata" => schemata(catalog),
        "routines" => routines(),
        "character_sets" => table(
            columns(
                "character_set_catalog:t character_set_schema:t character_set_name:t character_repertoire:t",
            ),
            &[vec![("character_set_name", Cell::from("UTF8")), ("character_repertoire", "UCS".into())]],
        ),
        "views" => views(catalog),
        "table_constraints" => none(
            "constraint_catalog:t constraint_schema:t constraint_name:t table_catalog:t table_schema:t \
             table_name:t constraint_type:t is_deferrable:t initially_deferred:t",
        ),
        "check_constraints" => {
            none("constraint_catalog:t constraint_schema:t constraint_name:t check_clause:t")
        }
        "key_column_usage" => none(
            "constraint_catalog:t constraint_schema:t constraint_name:t table_catalog:t table_schema:t \
             table_name:t column_name:t ordinal_position:i position_in_unique_constraint:i",
        ),
        "constraint_column_usage" => none(
            "table_catalog:t table_schema:t table_name:t column_name:t constraint_catalog:t \
             constraint_schema:t constraint_name:t",
        ),
        "referential_constraints" => none(
            "constraint_catalog:t constraint_schema:t constraint_name:t unique_constraint_catalog:t \
             unique_constraint_schema:t unique_constraint_name:t match_option:t update_rule:t delete_rule:t",
        ),
        "sequences" => none(
            "sequence_catalog:t sequence_schema:t sequence_name:t data_type:t start_value:t minimum_value:t \
             maximum_value:t increment:t cycle_option:t",
        ),
        "table_privileges" => none(
            "grantor:t grantee:t table_catalog:t table_schema:t table_name:t privilege_type:t is_grantable:t \
             with_hierarchy:t",
        ),
        "triggers" => none(
            "trigger_catalog:t trigger_schema:t trigger_name:t event_manipulation:t event_object_schema:t \
             event_object_table:t action_statement:t",
        ),
        _ => return Ok(None),
    };
    Ok(Some(batch?))
}

fn schemata(catalog: &SnapshotCatalog) -> Result<RecordBatch, ArrowError> {
    let of_lake = catalog.listing().into_iter().map(|(schema, _)| schema);
    let all = of_lake.chain([PG_CATALOG, INFORMATION_SCHEMA].map(str::to_owned));
    let row = |schema: String| {
        vec![
            ("catalog_name", Cell::from(DATABASE)),
            ("schema_name", schema.into()),
            ("schema_owner", ROLE.into()),
        ]
    };
    let rows: Vec<_> = all.map(row).collect();
    table(columns("catalog_name:t schema_name:t schema_owner:t sql_path:t"), &rows)
}

fn tables(catalog: &SnapshotCatalog) -> Result<RecordBatch, ArrowError> {
    const COLUMNS: &str = "table_catalog:t table_schema:t table_name:t table_type:t \
         self_referencing_column_name:t reference_generation:t user_defined_type_name:t is_insertable_into:t \
         is_typed:t commit_action:t";
    let of_lake = |relation: &Relation| ![PG_CATALOG, INFORMATION_SCHEMA].contains(&relation.schema.as_str());
    let row = |relation: Relation| {
        let kind = if relation.is_view() { "VIEW" } else { "BASE TABLE" };
        vec![
            ("table_catalog", Cell::from(DATABASE)),
            ("table_schema", relation.schema.into()),
            ("table_name", relation.name.into()),
            ("table_type", kind.into()),
            ("is_insertable_into", "NO".into()),
            ("is_typed", "NO".into()),
        ]
    };
    let rows: Vec<_> =
        pg_catalog::relations(catalog.listing()).into_iter().filter(of_lake).map(row).collect();
    table(columns(COLUMNS), &rows)
}

fn views(catalog: &SnapshotCatalog) -> Result<RecordBatch, ArrowError> {
    const COLUMNS: &str =
        "table_catalog:t table_schema:t table_name:t view_definition:t check_option:t is_updatable:t";
    let row = |view: &Arc<View>| {
        vec![
            ("table_catalog", Cell::from(DATABASE)),
            ("table_schema", PUBLIC.into()),
            ("table_name", view.name.as_str().into()),
            ("view_definition", view.sql.as_str().into()),
            ("check_option", "NONE".into()),
            ("is_updatable", "NO".into()),
        ]
    };
    let rows: Vec<_> = catalog.snapshot().registry().views().map(row).collect();
    table(columns(COLUMNS), &rows)
}

async fn all_columns(catalog: &SnapshotCatalog) -> Result<RecordBatch> {
    const COLUMNS: &str = "table_catalog:t table_schema:t table_name:t column_name:t ordinal_position:i \
         column_default:t is_nullable:t data_type:t character_maximum_length:i character_octet_length:i \
         numeric_precision:i numeric_precision_radix:i numeric_scale:i datetime_precision:i interval_type:t \
         character_set_name:t collation_name:t domain_name:t udt_catalog:t udt_schema:t udt_name:t \
         is_identity:t identity_generation:t is_generated:t generation_expression:t is_updatable:t";
    let mut rows = Vec::new();
    for (schema, names) in catalog.listing() {
        for name in names {
            let Some(fields) = catalog.columns(&schema, &name, false).await? else { continue };
            for (position, field) in (1_i64..).zip(fields.fields()) {
                let pg_type = PgType::of(field);
                let data_type = if pg_type.array { "ARRAY".to_owned() } else { pg_type.sql_name() };
                rows.push(vec![
                    ("table_catalog", Cell::from(DATABASE)),
                    ("table_schema", schema.as_str().into()),
                    ("table_name", name.as_str().into()),
                    ("column_name", field.name().as_str().into()),
                    ("ordinal_position", position.into()),
                    ("is_nullable", if field.is_nullable() { "YES" } else { "NO" }.into()),
                    ("data_type", data_type.into()),
                    ("udt_catalog", DATABASE.into()),
                    ("udt_schema", PG_CATALOG.into()),
                    ("udt_name", pg_type.name().into()),
                    ("is_identity", "NO".into()),
                    ("is_generated", "NEVER".into()),
                    ("is_updatable", "NO".into()),
                ]);
            }
        }
    }
    Ok(table(columns(COLUMNS), &rows)?)
}

fn routines() -> Result<RecordBatch, ArrowError> {
    const COLUMNS: &str = "specific_catalog:t specific_schema:t specific_name:t routine_catalog:t \
         routine_schema:t routine_name:t routine_type:t data_type:t routine_definition:t external_language:t";
    let row = |function: &functions::Definition| {
        vec![
            ("specific_catalog", Cell::from(DATABASE)),
            ("specific_schema", PUBLIC.into()),
            ("specific_name", function.name.into()),
            ("routine_catalog", DATABASE.into()),
            ("routine_schema", PUBLIC.into()),
            ("routine_name", function.name.into()),
            ("routine_type", "FUNCTION".into()),
            ("data_type", function.returns.into()),
        ]
    };
    let rows: Vec<_> = functions::definitions().into_iter().map(row).collect();
    table(columns(COLUMNS), &rows)
}
