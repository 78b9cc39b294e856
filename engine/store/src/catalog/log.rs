//! Reading and checking the commits of a Delta log.
//!
//! Delta takes an empty commit file as an empty commit, and one damaged file makes a table unreadable. Here every
//! commit is checked before it counts: it has complete lines, as many actions as it says, and the checksum over them.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CatalogError, DataFile, Result};

/// The application id of our transactions in every table.
pub const APP_ID: &str = "runlake";
/// The folder of the log.
pub(crate) const LOG_FOLDER: &str = "_delta_log";
/// Commits that are fetched at once.
const FETCHES: usize = 32;

/// What we say about a commit in its `commitInfo`, under the key `runlake`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitStamp {
    /// The id of this commit, made by the writer.
    pub commit_id: String,
    /// The epoch of the writer.
    pub epoch: u64,
    /// First WAL number whose rows are in the added files.
    pub first_seq: u64,
    /// Last WAL number whose rows are in the table after this commit.
    pub last_seq: u64,
    /// Rows in the added files.
    pub rows: u64,
    /// Number of actions beside `commitInfo`.
    pub actions: u64,
    /// CRC32C over those actions in canonical form, as eight hexadecimal digits.
    pub crc32c: String,
}

/// One checked commit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Commit {
    /// `None` for the commit that creates the table.
    pub(crate) stamp: Option<CommitStamp>,
    pub(crate) add: Vec<DataFile>,
    pub(crate) remove: Vec<String>,
    pub(crate) last_seq: Option<u64>,
    /// When the commit was made, milliseconds since 1970 UTC by the clock of the writer; not known without files.
    pub(crate) time: Option<i64>,
}

/// The file of a commit, relative to the table.
pub(crate) fn commit_path(version: i64) -> Path {
    Path::from_iter([LOG_FOLDER, &format!("{version:020}.json")])
}

/// Why a commit is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Damaged(String),
    Foreign(String),
}

impl Fault {
    pub(crate) fn into_error(self, table: &'static str, version: i64, last: bool) -> CatalogError {
        match self {
            Self::Damaged(reason) => {
                CatalogError::LogDamaged { table, file: commit_path(version).to_string(), reason, last }
            }
            Self::Foreign(reason) => CatalogError::Foreign { table, version, reason },
        }
    }
}

/// The versions that a table has, in rising order.
pub(crate) async fn versions(store: &dyn ObjectStore, table: &'static str) -> Result<Vec<i64>> {
    let folder = Path::from(LOG_FOLDER);
    let listed = store.list_with_delimiter(Some(&folder)).await;
    let objects = match listed {
        Ok(listed) => listed.objects,
        Err(object_store::Error::NotFound { .. }) => Vec::new(),
        Err(error) => return Err(CatalogError::store(table, error)),
    };
    let mut versions: Vec<i64> = objects
        .iter()
        .filter_map(|object| object.location.filename()?.strip_suffix(".json")?.parse().ok())
        .collect();
    versions.sort_unstable();
    Ok(versions)
}

/// Reads and checks the commits `from..`; the versions must follow each other without a gap.
pub(crate) async fn read(
    store: &dyn ObjectStore,
    table: &'static str,
    from: i64,
) -> Result<Vec<(i64, Commit)>> {
    let versions: Vec<i64> = versions(store, table).await?.into_iter().filter(|v| *v >= from).collect();
    let newest = versions.last().copied().unwrap_or(from);
    for (expected, found) in (from..).zip(&versions) {
        if expected != *found {
            let reason = format!("commit {expected} is missing, {found} is there");
            return Err(Fault::Damaged(reason).into_error(table, expected, false));
        }
    }
    futures::stream::iter(versions)
        .map(|version| async move {
            let read = read_commit(store, table, version).await?;
            let commit = read.unwrap_or_else(|| Err(Fault::Damaged("it vanished".to_owned())));
            commit
                .map(|commit| (version, commit))
                .map_err(|f| f.into_error(table, version, version == newest))
        })
        .buffered(FETCHES)
        .try_collect()
        .await
}

/// Reads one commit; `None` when it is not there.
pub(crate) async fn read_commit(
    store: &dyn ObjectStore,
    table: &'static str,
    version: i64,
) -> Result<Option<std::result::Result<Commit, Fault>>> {
    let read = async { store.get(&commit_path(version)).await?.bytes().await };
    match read.await {
        Ok(bytes) => Ok(Some(parse(&bytes, version))),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(CatalogError::store(table, error)),
    }
}

/// Parses and checks the bytes of a commit.
pub(crate) fn parse(bytes: &[u8], version: i64) -> std::result::Result<Commit, Fault> {
    let damaged = |reason: String| Fault::Damaged(reason);
    if bytes.is_empty() {
        return Err(damaged("it is empty".to_owned()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
    let mut stamp: Option<CommitStamp> = None;
    let mut info_found = false;
    let mut created = false;
    let mut checksum = 0;
    let mut actions = 0_u64;
    let mut commit = Commit { stamp: None, add: Vec::new(), remove: Vec::new(), last_seq: None, time: None };
    for (number, line) in text.lines().enumerate() {
        let at = |error: &dyn std::fmt::Display| damaged(format!("line {}: {error}", number + 1));
        let action: BTreeMap<String, Value> = serde_json::from_str(line).map_err(|error| at(&error))?;
        if let Some(info) = action.get("commitInfo") {
            info_found = true;
            if let Some(found) = info.get("runlake") {
                stamp = Some(CommitStamp::deserialize(found).map_err(|error| at(&error))?);
            }
            continue;
        }
        actions += 1;
        let value = Value::Object(action.into_iter().collect());
        checksum = append_canonical(checksum, &value);
        if let Some(add) = value.get("add") {
            commit.time = add.get("modificationTime").and_then(Value::as_i64);
            commit.add.push(DataFile::from_add(add).map_err(|error| at(&error))?);
        } else if let Some(remove) = value.get("remove") {
            commit.time = remove.get("deletionTimestamp").and_then(Value::as_i64).or(commit.time);
            let path =
                remove.get("path").and_then(Value::as_str).ok_or_else(|| at(&"a remove has no path"))?;
            commit.remove.push(super::data_file::decode_path(path).map_err(|error| at(&error))?);
        } else if let Some(txn) = value.get("txn") {
            if txn.get("appId").and_then(Value::as_str) == Some(APP_ID) {
                let seq = txn.get("version").and_then(Value::as_u64);
                commit.last_seq = Some(seq.ok_or_else(|| at(&"a txn has no version"))?);
            }
        } else if value.get("metaData").is_some() {
            created = true;
        }
    }
    if version == 0 && created && commit.add.is_empty() && commit.remove.is_empty() {
        return Ok(commit);
    }
    let Some(stamp) = stamp else {
        return Err(if info_found || actions == 0 {
            Fault::Foreign("it has no stamp of ours".to_owned())
        } else {
            damaged("its first line is missing".to_owned())
        });
    };
    if stamp.actions != actions {
        return Err(damaged(format!("it has {actions} actions of {}", stamp.actions)));
    }
    let checksum = format!("{checksum:08x}");
    if stamp.crc32c != checksum {
        return Err(damaged(format!("CRC32C of its actions is {checksum}, written was {}", stamp.crc32c)));
    }
    if commit.last_seq != Some(stamp.last_seq) {
        return Err(damaged(format!(
            "txn {:?} is not its last WAL number {}",
            commit.last_seq, stamp.last_seq
        )));
    }
    for file in &mut commit.add {
        // A file of a flush, or of a version that did not tell: its rows came up to this number.
        file.tags.entry(super::ARRIVAL_TAG.to_owned()).or_insert_with(|| stamp.last_seq.to_string());
    }
    commit.stamp = Some(stamp);
    Ok(commit)
}

/// The CRC32C of a JSON value with sorted keys and without blanks, and a line end.
pub(crate) fn canonical_crc32c(value: &Value) -> u32 {
    append_canonical(0, value)
}

/// Continues a CRC32C over a JSON value with sorted keys and without blanks, and a line end.
pub(crate) fn append_canonical(checksum: u32, value: &Value) -> u32 {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text.push('\n');
    crc32c::crc32c_append(checksum, text.as_bytes())
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<&String, &Value> = object.iter().collect();
            out.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_damage_and_not_an_empty_commit() {
        assert!(matches!(parse(b"", 3), Err(Fault::Damaged(_))));
        assert!(matches!(parse(&[0; 64], 3), Err(Fault::Damaged(_))));
    }

    #[test]
    fn the_checksum_does_not_depend_on_the_order_of_keys() {
        let a: Value = serde_json::from_str(r#"{"a":{"x":1,"y":[2,null]},"b":"é"}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{ "b":"é", "a":{"y":[2,null],"x":1} }"#).unwrap();
        assert_eq!(append_canonical(7, &a), append_canonical(7, &b));
    }

    #[test]
    fn a_commit_of_another_program_is_named_as_such() {
        let text = r#"{"commitInfo":{"operation":"OPTIMIZE"}}"#;
        assert!(matches!(parse(text.as_bytes(), 4), Err(Fault::Foreign(_))));
    }
}
