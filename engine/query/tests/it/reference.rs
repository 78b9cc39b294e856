//! `docs/reference/sql.md` is made of the descriptions in the code, and is not stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use model::RecordKind;
use query::described::{
    LIMITS, LimitScope, SETTINGS, SYSTEM_TABLES, TABLES, TableDescription, record_columns,
};
use query::functions::{Definition, FunctionKind, definitions};
use query::{QueryOptions, Settings, run};

use crate::lake::{FACTORY, Lake, block_on};

const RENEW: &str = "RUNLAKE_RENEW=1 cargo test -p query --test it reference";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/sql.md")
}

/// The columns of a table with type and whether they may be NULL, as SQL itself tells them.
fn columns(lake: &Lake, schema: &str, table: &str) -> Vec<Vec<String>> {
    lake.rows(&format!(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns
         WHERE table_schema = '{schema}' AND table_name = '{table}' ORDER BY ordinal_position"
    ))
}

/// An Arrow type in the words of SQL.
fn in_words(data_type: &str) -> &str {
    match data_type {
        "Utf8" | "Utf8View" | "LargeUtf8" => "text",
        "Int64" => "bigint",
        "Int32" => "integer",
        "Float64" => "double",
        "Boolean" => "boolean",
        other if other.starts_with("Timestamp") => "timestamp",
        other if other.starts_with("Struct") => "struct",
        other if other.starts_with("Dictionary") => "text",
        other => panic!("say what {other} is in SQL"),
    }
}

fn write_table(
    text: &mut String,
    lake: &Lake,
    (schema, name): (&str, &str),
    summary: &str,
    sentences: &[(&str, &str)],
) {
    let shown = if schema == "public" { name.to_owned() } else { format!("{schema}.{name}") };
    writeln!(text, "\n### {shown}\n\n{summary}\n\n| column | type | |\n|---|---|---|").unwrap();
    let columns = columns(lake, schema, name);
    assert_eq!(columns.len(), sentences.len(), "{shown}: describe its columns in src/described.rs");
    for (row, (described, sentence)) in columns.iter().zip(sentences) {
        assert_eq!(*described, row[0], "{shown}: its columns stand in another order");
        let nullable = if row[2] == "YES" { "" } else { ", never NULL" };
        writeln!(text, "| `{}` | {}{nullable} | {sentence} |", row[0], in_words(&row[1])).unwrap();
    }
}

fn write_function(text: &mut String, definition: &Definition) {
    writeln!(text, "\n### {}\n\n`{}` → `{}`\n", definition.name, definition.syntax(), definition.returns)
        .unwrap();
    writeln!(text, "{}\n", definition.summary).unwrap();
    for parameter in definition.parameters {
        writeln!(text, "- `{}`: {}", parameter.name, parameter.summary).unwrap();
    }
    writeln!(text, "\n```sql\n{}\n```", definition.example).unwrap();
}

/// The engine's own functions by kind, without ours and without operators.
fn engine_functions(lake: &Lake) -> BTreeMap<String, BTreeSet<String>> {
    let ours: BTreeSet<&str> = definitions().iter().map(|definition| definition.name).collect();
    let mut by_kind: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in lake.rows("SELECT DISTINCT function_type, routine_name FROM information_schema.routines") {
        let is_name = row[1].chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_name && !ours.contains(row[1].as_str()) {
            by_kind.entry(row[0].to_lowercase()).or_default().insert(row[1].clone());
        }
    }
    by_kind
}

fn reference(lake: &Lake) -> String {
    let mut text = String::from(
        "# SQL reference\n\nMade from the descriptions in the code; do not edit. A guide is [SQL](../guide/sql.md), and the\n\
         [cookbook](../guide/cookbook.md) answers what teams ask.\n\n## Tables\n\n\
         They stand in the schema `public`, which shows all projects, and in a schema for each project, which shows its rows\n\
         only. Times are microseconds UTC. Every table can be empty; none can be written.\n",
    );
    let described = |text: &mut String, schema: &str, table: &TableDescription| {
        write_table(text, lake, (schema, table.name), table.summary, table.columns);
    };
    TABLES.iter().for_each(|table| described(&mut text, "public", table));
    for kind in RecordKind::ALL {
        write_table(&mut text, lake, ("public", kind.name()), kind.summary(), &record_columns(kind));
    }
    SYSTEM_TABLES.iter().for_each(|table| described(&mut text, "system", table));
    text.push_str(
        "\n## Functions of Runlake\n\nArguments can be named, `level => 0.9`, and named ones leave gaps. NULL is \"not recorded\" \
         and does not count; NaN and\ninfinities are failed runs. Where a test cannot be made, p is NULL and `error` says why.\n",
    );
    for (kind, title) in [
        (FunctionKind::Aggregate, "Aggregates"),
        (FunctionKind::Window, "Along a window: `f(…) OVER (PARTITION BY … ORDER BY …)`"),
        (FunctionKind::Scalar, "Of one row"),
        (FunctionKind::Table, "In FROM"),
    ] {
        writeln!(text, "\n## {title}").unwrap();
        for definition in definitions().into_iter().filter(|definition| definition.kind == kind) {
            write_function(&mut text, definition);
        }
    }
    text.push_str(
        "\n## Functions of the engine\n\nThose of [DataFusion](https://datafusion.apache.org/user-guide/sql/), without any that reads a file.\n\
         `quantile_cont(x, q)`, `median`, `stddev`, `corr` and `regr_slope(y, x)` are among them. In FROM: `range`, `generate_series`.\n",
    );
    for (kind, names) in engine_functions(lake) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        writeln!(text, "\n**{kind}**: {}", names.join(", ")).unwrap();
    }
    text.push_str("\n## Settings\n\n| setting | values | unless set | |\n|---|---|---|---|\n");
    for setting in SETTINGS {
        writeln!(
            text,
            "| `{}` | {} | `{}` | {} |",
            setting.name, setting.values, setting.default, setting.summary
        )
        .unwrap();
    }
    text.push_str(
        "\n## Limits\n\nOf statements from remote callers; the owner of a lake on the own machine has an hour, 4 GiB and no cap on the\n\
         result. `system.limits` tells those of the statement that asks.\n\n| limit | value | |\n|---|---|---|\n",
    );
    let shown = lake.rows("SELECT name, value, unit FROM system.limits");
    for described in LIMITS {
        let value = match (described.scope, shown.iter().find(|row| row[0] == described.name)) {
            (LimitScope::Statement, Some(row)) => format!("{} {}", row[1], row[2]),
            _ => "as started".to_owned(),
        };
        writeln!(text, "| `{}` | {value} | {} |", described.name, described.summary).unwrap();
    }
    text
}

#[test]
fn the_reference_is_not_stale() {
    let made = reference(&Lake::empty());
    if std::env::var_os("RUNLAKE_RENEW").is_some() {
        std::fs::create_dir_all(path().parent().unwrap()).unwrap();
        std::fs::write(path(), made).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(path()).unwrap_or_default();
    let differs =
        made.lines().zip(kept.lines().chain(std::iter::repeat(""))).find(|(made, kept)| made != kept);
    assert!(made == kept, "docs/reference/sql.md is stale at {differs:?}; renew it by\n  {RENEW}");
}

#[test]
fn every_table_and_column_is_described_and_no_other() {
    let lake = Lake::empty();
    for (schema, described) in [("public", &TABLES[..]), ("system", &SYSTEM_TABLES[..])] {
        let tables = lake.rows(&format!(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'"
        ));
        let tables: BTreeSet<&str> = tables.iter().map(|row| row[0].as_str()).collect();
        let mut names: BTreeSet<&str> = described.iter().map(|table| table.name).collect();
        if schema == "public" {
            names.extend(RecordKind::ALL.map(RecordKind::name));
        }
        assert_eq!(tables, names, "schema {schema}: describe it in src/described.rs");
        for table in described {
            let columns = columns(&lake, schema, table.name);
            let columns: Vec<&str> = columns.iter().map(|row| row[0].as_str()).collect();
            let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
            assert_eq!(columns, names, "{}: describe it in src/described.rs", table.name);
        }
    }
    for kind in RecordKind::ALL {
        let columns = columns(&lake, "public", kind.name());
        let columns: Vec<&str> = columns.iter().map(|row| row[0].as_str()).collect();
        let names: Vec<&str> = record_columns(kind).into_iter().map(|(name, _)| name).collect();
        assert_eq!(columns, names, "{}: describe its columns where the kind is declared", kind.name());
    }
}

#[test]
fn every_limit_and_setting_is_described_and_no_other() {
    let lake = Lake::empty();
    let shown = lake.rows("SELECT name FROM system.limits");
    let shown: BTreeSet<&str> = shown.iter().map(|row| row[0].as_str()).collect();
    for described in LIMITS {
        // A queue may be there or not.
        let expected = described.scope != LimitScope::Queue;
        assert!(shown.contains(described.name) || !expected, "{} is no limit", described.name);
    }
    for name in &shown {
        assert!(LIMITS.iter().any(|limit| limit.name == *name), "{name}: describe it in src/described.rs");
    }

    let set = |sql: &str| {
        block_on(async { run(&FACTORY, &lake.snapshot, sql, QueryOptions::default()).await })
            .map(|answer| answer.settings.unwrap())
    };
    for setting in SETTINGS {
        let settings = set(&format!("SET {} = '{}'", setting.name, setting.default)).unwrap();
        assert_eq!(settings, Settings::default(), "{} has another default", setting.name);
    }
    let error = set("SET runlake.nonsense = 1").unwrap_err().to_string();
    let named = error.matches("runlake.").count() - 1;
    assert_eq!(named, SETTINGS.len(), "the message names all settings: {error}");
}
