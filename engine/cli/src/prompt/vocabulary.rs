//! The names that can be completed, asked of the lake or the server by SQL.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use futures::TryStreamExt;

use crate::access::Source;
use crate::sql::local_options;

/// Keys of each kind that are completed at most.
const KEYS: usize = 5_000;

/// Tables, columns, keys and functions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Vocabulary {
    /// Tables by schema.
    pub(super) tables: BTreeMap<String, BTreeSet<String>>,
    /// Columns by table, without those of projects' schemas, which are the same.
    pub(super) columns: BTreeMap<String, BTreeSet<String>>,
    /// Keys of `params`, `tags` and `metrics`.
    pub(super) keys: BTreeMap<String, BTreeSet<String>>,
    pub(super) functions: BTreeSet<String>,
}

impl Vocabulary {
    /// Everything in one statement: a lake that is read only is opened anew for each.
    pub(super) async fn ask(source: &Source) -> anyhow::Result<Self> {
        let sql = format!(
            "SELECT 'table' AS kind, table_schema AS of, table_name AS name FROM information_schema.tables \
             UNION ALL SELECT 'column', table_name, column_name FROM information_schema.columns \
             WHERE table_schema IN ('public', 'system') \
             UNION ALL SELECT 'function', '', routine_name FROM information_schema.routines \
             UNION ALL SELECT 'key', 'params', key FROM (SELECT DISTINCT key FROM params LIMIT {KEYS}) AS a \
             UNION ALL SELECT 'key', 'tags', key FROM (SELECT DISTINCT key FROM tags LIMIT {KEYS}) AS b \
             UNION ALL SELECT 'key', 'metrics', metric FROM (SELECT DISTINCT metric FROM series LIMIT {KEYS}) AS c"
        );
        let mut rows = source.query(&sql, local_options()).await?;
        let mut found = Self::default();
        while let Some(batch) = rows.batches.try_next().await? {
            // Texts come in several forms.
            let column = |position: usize| cast(batch.column(position), &DataType::Utf8);
            let (kinds, of, names) = (column(0)?, column(1)?, column(2)?);
            let (kinds, of) = (kinds.as_string::<i32>(), of.as_string::<i32>());
            for ((kind, of), name) in kinds.iter().zip(of).zip(names.as_string::<i32>()) {
                let (Some(kind), Some(of), Some(name)) = (kind, of, name) else { continue };
                found.add(kind, of, name);
            }
        }
        Ok(found)
    }

    pub(super) fn add(&mut self, kind: &str, of: &str, name: &str) {
        let into = match kind {
            "table" => self.tables.entry(of.to_owned()).or_default(),
            "column" => self.columns.entry(of.to_owned()).or_default(),
            "key" => self.keys.entry(of.to_owned()).or_default(),
            _ => &mut self.functions,
        };
        into.insert(name.to_owned());
    }
}
