//! The tables of `pg_catalog` that have rows: what schemas, tables, columns, types and functions there are.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use model::View;

use super::empty_tables::EMPTY_TABLES;
use super::rows::{Cell, columns, table};
use super::settings::{CLIENT_SETTINGS, DATABASE, ROLE};
use super::types::{PgKind, PgType};
use super::{INFORMATION_SCHEMA, PG_CATALOG};
use crate::functions::{self, FunctionKind};
use crate::tables::{Listing, PUBLIC, SnapshotCatalog, is_table};

/// The object id of the one role.
pub(super) const ROLE_OID: u32 = 10;
const DATABASE_OID: u32 = 16_384;
const TABLESPACE_OID: u32 = 1_663;
const ACCESS_METHOD_OID: u32 = 2;
/// The first object id of the tables of `information_schema`.
const STANDARD_OID: u32 = 13_100;
/// The first object id of our functions.
const FUNCTION_OID: u32 = 15_000;
/// Object ids of the tables of `public` have this bit and no higher one.
const PUBLIC_BIT: u32 = 1 << 24;
/// Object ids of all other tables of a lake have this bit.
const OTHER_BIT: u32 = 1 << 30;

/// The tables of `pg_catalog` with rows.
pub(super) const TABLES: &[&str] = &[
    "pg_am",
    "pg_attribute",
    "pg_authid",
    "pg_class",
    "pg_database",
    "pg_namespace",
    "pg_proc",
    "pg_roles",
    "pg_settings",
    "pg_shadow",
    "pg_tables",
    "pg_tablespace",
    "pg_type",
    "pg_user",
    "pg_views",
];

/// A table as PostgreSQL knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
}

impl Relation {
    /// Whether it is a view that a user keeps.
    pub(super) fn is_view(&self) -> bool {
        self.schema == PUBLIC && !is_table(PUBLIC, &self.name)
    }
}

/// The object id of a schema.
pub(super) fn namespace_oid(schema: &str) -> u32 {
    match schema {
        PG_CATALOG => 11,
        PUBLIC => 2_200,
        INFORMATION_SCHEMA => 13_000,
        _ => OTHER_BIT | (crc32c::crc32c(schema.as_bytes()) & (OTHER_BIT - 1)),
    }
}

/// Whether a name without its schema means the table with this object id.
pub(super) fn is_visible(oid: i64) -> bool {
    (oid < i64::from(PUBLIC_BIT) && !(STANDARD_OID..FUNCTION_OID).contains(&u32::try_from(oid).unwrap_or(0)))
        || oid >> 24 == 1
}

/// The object id of a table, as far as its name says; `None` when no schema has such a table.
pub(super) fn relation_oid(schema: Option<&str>, name: &str) -> Option<u32> {
    if schema.is_none_or(|schema| schema == PG_CATALOG)
        && let Some(at) = catalog_table_names().iter().position(|known| *known == name)
    {
        return Some(catalog_oid(at, name));
    }
    let schema = schema.unwrap_or(PUBLIC);
    is_table(schema, name).then(|| lake_oid(schema, name))
}

fn catalog_oid(at: usize, name: &str) -> u32 {
    match name {
        "pg_type" => 1_247,
        "pg_attribute" => 1_249,
        "pg_proc" => 1_255,
        "pg_class" => 1_259,
        "pg_database" => 1_262,
        "pg_constraint" => 2_606,
        "pg_namespace" => 2_615,
        _ => 12_000 + u32::try_from(at).unwrap_or(0),
    }
}

fn lake_oid(schema: &str, name: &str) -> u32 {
    let hash = crc32c::crc32c(format!("{schema}\0{name}").as_bytes());
    let bit = if schema == PUBLIC { PUBLIC_BIT } else { OTHER_BIT };
    bit | (hash & (bit - 1))
}

/// All tables that the caller sees, each with an object id that depends on its name alone, so that it is the same in the
/// next statement.
pub(super) fn relations(listing: Listing) -> Vec<Relation> {
    let mut taken = HashSet::new();
    let mut relations = Vec::new();
    let mut add = |oid: u32, schema: &str, name: &str| {
        let mut oid = oid;
        while !taken.insert(oid) {
            oid += 1;
        }
        relations.push(Relation { oid, schema: schema.to_owned(), name: name.to_owned() });
    };
    for (at, name) in catalog_table_names().into_iter().enumerate() {
        add(catalog_oid(at, name), PG_CATALOG, name);
    }
    for (at, name) in super::information_schema::TABLES.iter().enumerate() {
        add(STANDARD_OID + u32::try_from(at).unwrap_or(0), INFORMATION_SCHEMA, name);
    }
    for (schema, tables) in listing {
        for name in tables {
            add(lake_oid(&schema, &name), &schema, &name);
        }
    }
    relations
}

/// The names of all tables of `pg_catalog`.
pub(super) fn catalog_table_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = EMPTY_TABLES.iter().map(|(name, _)| *name).collect();
    names.extend(TABLES);
    names.sort_unstable();
    names
}

/// The rows of a table of `pg_catalog`; `None` when there is no such table.
pub(super) async fn rows_of(catalog: &SnapshotCatalog, name: &str) -> Result<Option<RecordBatch>> {
    let batch = match name {
        "pg_am" => access_methods(),
        "pg_attribute" => return Ok(Some(attributes(catalog).await?)),
        "pg_authid" | "pg_roles" => roles(),
        "pg_class" => return Ok(Some(classes(catalog).await?)),
        "pg_database" => databases(),
        "pg_namespace" => namespaces(catalog),
        "pg_proc" => procedures(),
        "pg_settings" => settings(),
        "pg_shadow" | "pg_user" => users(),
        "pg_tables" => tables(catalog),
        "pg_tablespace" => tablespaces(),
        "pg_type" => types(),
        "pg_views" => views(catalog),
        _ => match EMPTY_TABLES.iter().find(|(known, _)| *known == name) {
            Some((_, line)) => table(columns(line), &[]),
            None => return Ok(None),
        },
    };
    Ok(Some(batch?))
}

fn access_methods() -> Result<RecordBatch, ArrowError> {
    let row = vec![
        ("oid", Cell::from(ACCESS_METHOD_OID)),
        ("amname", "runlake".into()),
        ("amhandler", "-".into()),
        ("amtype", "t".into()),
    ];
    table(columns("oid:o amname:t amhandler:t amtype:c"), &[row])
}

fn namespaces(catalog: &SnapshotCatalog) -> Result<RecordBatch, ArrowError> {
    let of_lake = catalog.listing().into_iter().map(|(schema, _)| schema);
    let of_postgres = [PG_CATALOG, INFORMATION_SCHEMA].map(str::to_owned);
    let row = |name: String| {
        vec![
            ("oid", Cell::from(namespace_oid(&name))),
            ("nspname", name.into()),
            ("nspowner", ROLE_OID.into()),
        ]
    };
    let rows: Vec<_> = of_postgres.into_iter().chain(of_lake).map(row).collect();
    table(columns("oid:o nspname:t nspowner:o nspacl:tt"), &rows)
}

/// The columns of a table of the lake, structs without their fields.
async fn fields_of(catalog: &SnapshotCatalog, relation: &Relation) -> Result<Option<SchemaRef>> {
    if relation.schema == PG_CATALOG || relation.schema == INFORMATION_SCHEMA {
        return Ok(None);
    }
    catalog.columns(&relation.schema, &relation.name, false).await
}

async fn classes(catalog: &SnapshotCatalog) -> Result<RecordBatch> {
    const COLUMNS: &str = "oid:o relname:t relnamespace:o reltype:o reloftype:o relowner:o relam:o relfilenode:o \
         reltablespace:o relpages:i reltuples:f relallvisible:i reltoastrelid:o relhasindex:b relisshared:b \
         relpersistence:c relkind:c relnatts:s relchecks:s relhasrules:b relhastriggers:b relhassubclass:b \
         relrowsecurity:b relforcerowsecurity:b relispopulated:b relreplident:c relispartition:b relrewrite:o \
         relfrozenxid:l relminmxid:l relacl:tt reloptions:tt relpartbound:t";
    let mut rows = Vec::new();
    for relation in relations(catalog.listing()) {
        let width = fields_of(catalog, &relation).await?.map_or(0, |schema| schema.fields().len());
        let kind = if relation.is_view() { "v" } else { "r" };
        let mut row = vec![
            ("oid", Cell::from(relation.oid)),
            ("relname", relation.name.into()),
            ("relnamespace", namespace_oid(&relation.schema).into()),
            ("relowner", ROLE_OID.into()),
            ("relam", ACCESS_METHOD_OID.into()),
            ("relfilenode", relation.oid.into()),
            ("reltuples", Cell::Float(-1.0)),
            ("relpersistence", "p".into()),
            ("relkind", kind.into()),
            ("relnatts", i64::try_from(width).unwrap_or(0).into()),
            ("relispopulated", true.into()),
            ("relreplident", "n".into()),
        ];
        let zeros = [
            "reltype",
            "reloftype",
            "reltablespace",
            "relpages",
            "relallvisible",
            "reltoastrelid",
            "relchecks",
            "relrewrite",
            "relfrozenxid",
            "relminmxid",
        ];
        row.extend(zeros.map(|name| (name, Cell::Integer(0))));
        let falses = [
            "relhasindex",
            "relisshared",
            "relhasrules",
            "relhastriggers",
            "relhassubclass",
            "relrowsecurity",
            "relforcerowsecurity",
            "relispartition",
        ];
        row.extend(falses.map(|name| (name, Cell::Boolean(false))));
        rows.push(row);
    }
    Ok(table(columns(COLUMNS), &rows)?)
}

async fn attributes(catalog: &SnapshotCatalog) -> Result<RecordBatch> {
    const COLUMNS: &str = "attrelid:o attname:t atttypid:o attstattarget:i attlen:s attnum:s attndims:i \
         attcacheoff:i atttypmod:i attbyval:b attalign:c attstorage:c attcompression:c attnotnull:b atthasdef:b \
         atthasmissing:b attidentity:c attgenerated:c attisdropped:b attislocal:b attinhcount:i attcollation:o \
         attacl:tt attoptions:tt attfdwoptions:tt attmissingval:t";
    let mut rows = Vec::new();
    for relation in relations(catalog.listing()) {
        let Some(schema) = fields_of(catalog, &relation).await? else { continue };
        for (position, field) in (1_i64..).zip(schema.fields()) {
            rows.push(attribute(relation.oid, position, field));
        }
    }
    Ok(table(columns(COLUMNS), &rows)?)
}

fn attribute(relation: u32, position: i64, field: &Field) -> Vec<(&'static str, Cell)> {
    let pg_type = PgType::of(field);
    let by_value = (1..=8).contains(&pg_type.length());
    vec![
        ("attrelid", relation.into()),
        ("attname", field.name().as_str().into()),
        ("atttypid", pg_type.oid().into()),
        ("attstattarget", (-1).into()),
        ("attlen", i64::from(pg_type.length()).into()),
        ("attnum", position.into()),
        ("attndims", i64::from(pg_type.array).into()),
        ("attcacheoff", (-1).into()),
        ("atttypmod", (-1).into()),
        ("attbyval", by_value.into()),
        ("attalign", alignment(pg_type).into()),
        ("attstorage", if pg_type.length() == -1 { "x" } else { "p" }.into()),
        ("attcompression", "".into()),
        ("attnotnull", (!field.is_nullable()).into()),
        ("atthasdef", false.into()),
        ("atthasmissing", false.into()),
        ("attidentity", "".into()),
        ("attgenerated", "".into()),
        ("attisdropped", false.into()),
        ("attislocal", true.into()),
        ("attinhcount", 0.into()),
        ("attcollation", collation(pg_type).into()),
    ]
}

fn alignment(pg_type: PgType) -> &'static str {
    match pg_type.length() {
        1 => "c",
        2 => "s",
        8 | 16 => "d",
        _ => "i",
    }
}

fn collation(pg_type: PgType) -> u32 {
    if pg_type.kind == PgKind::Text { 100 } else { 0 }
}

fn types() -> Result<RecordBatch, ArrowError> {
    const COLUMNS: &str = "oid:o typname:t typnamespace:o typowner:o typlen:s typbyval:b typtype:c typcategory:c \
         typispreferred:b typisdefined:b typdelim:c typrelid:o typsubscript:t typelem:o typarray:o typinput:o \
         typoutput:o typreceive:o typsend:o typmodin:o typmodout:o typanalyze:o typalign:c typstorage:c \
         typnotnull:b typbasetype:o typtypmod:i typndims:i typcollation:o typdefaultbin:t typdefault:t typacl:tt";
    let mut rows = Vec::new();
    for kind in PgKind::ALL {
        let (scalar, array) = (PgType::scalar(kind), PgType { kind, array: true });
        rows.push(type_row(scalar.oid(), &scalar.name(), scalar.length(), kind.category()));
        if let Some(row) = rows.last_mut() {
            row.extend([("typelem", Cell::Integer(0)), ("typarray", array.oid().into())]);
            row.extend([("typalign", alignment(scalar).into()), ("typcollation", collation(scalar).into())]);
        }
        rows.push(type_row(array.oid(), &array.name(), -1, "A"));
        if let Some(row) = rows.last_mut() {
            row.extend([("typelem", scalar.oid().into()), ("typarray", Cell::Integer(0))]);
            row.extend([("typalign", "i".into()), ("typcollation", collation(scalar).into())]);
        }
    }
    // What clients look up although no column has it.
    let others = [
        (19, "name", 64, "S", 1003),
        (24, "regproc", 4, "N", 1008),
        (28, "xid", 4, "U", 1011),
        (705, "unknown", -2, "X", 0),
        (1042, "bpchar", -1, "S", 1014),
        (1043, "varchar", -1, "S", 1015),
        (2205, "regclass", 4, "N", 2210),
        (2206, "regtype", 4, "N", 2211),
        (2249, "record", -1, "P", 2287),
        (2278, "void", 4, "P", 0),
        (2950, "uuid", 16, "U", 2951),
        (3802, "jsonb", -1, "U", 3807),
    ];
    for (oid, name, length, category, array) in others {
        rows.push(type_row(oid, name, length, category));
        if let Some(row) = rows.last_mut() {
            row.extend([("typelem", Cell::Integer(0)), ("typarray", Cell::Integer(array))]);
            row.extend([("typalign", "i".into()), ("typcollation", Cell::Integer(0))]);
        }
    }
    table(columns(COLUMNS), &rows)
}

fn type_row(oid: u32, name: &str, length: i16, category: &str) -> Vec<(&'static str, Cell)> {
    let pseudo = category == "P";
    // Drivers tell arrays by the functions that read them; no other type's are asked for.
    let function = |of_array: u32| Cell::from(if category == "A" { of_array } else { 0 });
    vec![
        ("oid", oid.into()),
        ("typname", name.into()),
        ("typnamespace", namespace_oid(PG_CATALOG).into()),
        ("typowner", ROLE_OID.into()),
        ("typlen", i64::from(length).into()),
        ("typbyval", (1..=8).contains(&length).into()),
        ("typtype", if pseudo { "p" } else { "b" }.into()),
        ("typcategory", category.into()),
        ("typispreferred", false.into()),
        ("typisdefined", true.into()),
        ("typdelim", ",".into()),
        ("typrelid", 0.into()),
        ("typsubscript", "-".into()),
        ("typinput", function(750)),
        ("typoutput", function(751)),
        ("typreceive", function(2_400)),
        ("typsend", function(2_401)),
        ("typmodin", 0.into()),
        ("typmodout", 0.into()),
        ("typanalyze", 0.into()),
        ("typstorage", if length < 0 { "x" } else { "p" }.into()),
        ("typnotnull", false.into()),
        ("typbasetype", 0.into()),
        ("typtypmod", (-1).into()),
        ("typndims", 0.into()),
    ]
}

/// The functions of PostgreSQL itself that clients look up.
const BUILTIN: [(u32, &str); 4] =
    [(750, "array_in"), (751, "array_out"), (2_400, "array_recv"), (2_401, "array_send")];

/// The object id of one of them.
pub(super) fn builtin_function(name: &str) -> Option<u32> {
    BUILTIN.into_iter().find(|(_, known)| *known == name).map(|(oid, _)| oid)
}

/// The function of ours with this object id.
pub(super) fn function_of_oid(oid: i64) -> Option<&'static functions::Definition> {
    let at = oid.checked_sub(i64::from(FUNCTION_OID))?;
    functions::definitions().into_iter().nth(usize::try_from(at).ok()?)
}

fn procedures() -> Result<RecordBatch, ArrowError> {
    const COLUMNS: &str = "oid:o proname:t pronamespace:o proowner:o prolang:o procost:f prorows:f provariadic:o \
         prosupport:t prokind:c prosecdef:b proleakproof:b proisstrict:b proretset:b provolatile:c proparallel:c \
         pronargs:s pronargdefaults:s prorettype:o proargtypes:oo proallargtypes:oo proargmodes:tt proargnames:tt \
         proargdefaults:t protrftypes:oo prosrc:t probin:t prosqlbody:t proconfig:tt proacl:tt";
    let row = |(oid, function): (u32, &functions::Definition)| {
        let kind = match function.kind {
            FunctionKind::Aggregate => "a",
            FunctionKind::Window => "w",
            FunctionKind::Scalar | FunctionKind::Table => "f",
        };
        let parameters = function.parameters;
        vec![
            ("oid", Cell::from(oid)),
            ("proname", function.name.into()),
            ("pronamespace", namespace_oid(PUBLIC).into()),
            ("proowner", ROLE_OID.into()),
            ("prolang", Cell::Integer(12)),
            ("procost", Cell::Float(1.0)),
            ("prorows", Cell::Float(0.0)),
            ("provariadic", Cell::Integer(0)),
            ("prokind", kind.into()),
            ("prosecdef", false.into()),
            ("proleakproof", false.into()),
            ("proisstrict", false.into()),
            ("proretset", (function.kind == FunctionKind::Table).into()),
            ("provolatile", "i".into()),
            ("proparallel", "s".into()),
            ("pronargs", i64::try_from(parameters.len()).unwrap_or(0).into()),
            ("pronargdefaults", Cell::Integer(0)),
            ("prorettype", PgType::scalar(PgKind::Json).oid().into()),
            ("proargnames", Cell::Texts(parameters.iter().map(|p| p.name.to_owned()).collect())),
            ("prosrc", function.name.into()),
        ]
    };
    let builtin = |(oid, name): (u32, &'static str)| {
        vec![
            ("oid", Cell::from(oid)),
            ("proname", name.into()),
            ("pronamespace", namespace_oid(PG_CATALOG).into()),
            ("proowner", ROLE_OID.into()),
            ("prokind", "f".into()),
            ("proretset", false.into()),
            ("prosrc", name.into()),
        ]
    };
    let ours = (FUNCTION_OID..).zip(functions::definitions()).map(row);
    let rows: Vec<_> = BUILTIN.into_iter().map(builtin).chain(ours).collect();
    table(columns(COLUMNS), &rows)
}

fn databases() -> Result<RecordBatch, ArrowError> {
    const COLUMNS: &str = "oid:o datname:t datdba:o encoding:i datlocprovider:c datistemplate:b datallowconn:b \
         datconnlimit:i datfrozenxid:l datminmxid:l dattablespace:o datcollate:t datctype:t daticulocale:t \
         datcollversion:t datacl:tt";
    let row = vec![
        ("oid", Cell::from(DATABASE_OID)),
        ("datname", DATABASE.into()),
        ("datdba", ROLE_OID.into()),
        ("encoding", 6.into()),
        ("datlocprovider", "c".into()),
        ("datistemplate", false.into()),
        ("datallowconn", true.into()),
        ("datconnlimit", (-1).into()),
        ("datfrozenxid", 0.into()),
        ("datminmxid", 0.into()),
        ("dattablespace", TABLESPACE_OID.into()),
        ("datcollate", "C".into()),
        ("datctype", "C".into()),
    ];
    table(columns(COLUMNS), &[row])
}

fn roles() -> Result<RecordBatch, ArrowError> {
    const COLUMNS: &str = "oid:o rolname:t rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b \
         rolreplication:b rolconnlimit:i rolpassword:t rolvaliduntil:z rolbypassrls:b rolconfig:tt";
    let mut row = vec![
        ("oid", Cell::from(ROLE_OID)),
        ("rolname", ROLE.into()),
        ("rolinherit", true.into()),
        ("rolcanlogin", true.into()),
        ("rolconnlimit", (-1).into()),
    ];
    let falses = ["rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls"];
    row.extend(falses.map(|name| (name, Cell::Boolean(false))));
    table(columns(COLUMNS), &[row])
}

fn users() -> Result<RecordBatch, ArrowError> {
    const COLUMNS: &str = "usename:t usesysid:o usecreatedb:b usesuper:b userepl:b usebypassrls:b passwd:t \
         valuntil:z useconfig:tt";
    let mut row = vec![("usename", Cell::from(ROLE)), ("usesysid", ROLE_OID.into())];
    let falses = ["usecreatedb", "usesuper", "userepl", "usebypassrls"];
    row.extend(falses.map(|name| (name, Cell::Boolean(false))));
    table(columns(COLUMNS), &[row])
}

fn settings() -> Result<RecordBatch, ArrowError> {
    const COLUMNS: &str = "name:t setting:t unit:t category:t short_desc:t extra_desc:t context:t vartype:t \
         source:t min_val:t max_val:t enumvals:tt boot_val:t reset_val:t sourcefile:t sourceline:i \
         pending_restart:b";
    let row = |(name, value): &(&str, &str)| {
        vec![
            ("name", Cell::from(*name)),
            ("setting", (*value).into()),
            ("category", "Client".into()),
            ("short_desc", "Known for the sake of clients".into()),
            ("context", "user".into()),
            ("vartype", "string".into()),
            ("source", "default".into()),
            ("boot_val", (*value).into()),
            ("reset_val", (*value).into()),
            ("pending_restart", false.into()),
        ]
    };
    let rows: Vec<_> = CLIENT_SETTINGS.iter().map(row).collect();
    table(columns(COLUMNS), &rows)
}

fn tables(catalog: &SnapshotCatalog) -> Result<RecordBatch, ArrowError> {
    const COLUMNS: &str = "schemaname:t tablename:t tableowner:t tablespace:t hasindexes:b hasrules:b \
         hastriggers:b rowsecurity:b";
    let row = |relation: Relation| {
        let mut row = vec![
            ("schemaname", Cell::from(relation.schema)),
            ("tablename", relation.name.into()),
            ("tableowner", ROLE.into()),
        ];
        let falses = ["hasindexes", "hasrules", "hastriggers", "rowsecurity"];
        row.extend(falses.map(|name| (name, Cell::Boolean(false))));
        row
    };
    let tables = relations(catalog.listing()).into_iter().filter(|relation| !relation.is_view());
    let rows: Vec<_> = tables.map(row).collect();
    table(columns(COLUMNS), &rows)
}

fn views(catalog: &SnapshotCatalog) -> Result<RecordBatch, ArrowError> {
    let row = |view: &Arc<View>| {
        vec![
            ("schemaname", Cell::from(PUBLIC)),
            ("viewname", view.name.as_str().into()),
            ("viewowner", ROLE.into()),
            ("definition", view.sql.as_str().into()),
        ]
    };
    let rows: Vec<_> = catalog.snapshot().registry().views().map(row).collect();
    table(columns("schemaname:t viewname:t viewowner:t definition:t"), &rows)
}

fn tablespaces() -> Result<RecordBatch, ArrowError> {
    let row = vec![
        ("oid", Cell::from(TABLESPACE_OID)),
        ("spcname", "pg_default".into()),
        ("spcowner", ROLE_OID.into()),
    ];
    table(columns("oid:o spcname:t spcowner:o spcacl:tt spcoptions:tt"), &[row])
}
