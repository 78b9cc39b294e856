//! SQLite files of strangers: opened for reading only, never changed, with their own code switched off.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row, Rows, Statement};
use tempfile::TempDir;

use crate::error::{ImportError, Result};
use crate::files;
use crate::limits::Limits;
use crate::source::{ClaimedFile, FoundUnit, Search, SourceKind, Unit, file_name_without_format};

const KIND: &str = "a SQLite database";

/// Whether a file begins like a database.
pub(crate) fn is_database(beginning: &[u8]) -> bool {
    beginning.starts_with(b"SQLite format 3\0")
}

/// The tables of a database, in the order of their names.
///
/// # Errors
/// Fails when the file cannot be read as a database.
pub(crate) fn table_names(path: &Path) -> Result<Vec<String>> {
    Ok(Database::open(path, &Limits::default())?.tables)
}

/// A unit for each database: the file, and the log of changes that are not in it yet.
pub(crate) fn units(kind: SourceKind, files: Vec<ClaimedFile>, search: &Search<'_>) -> Vec<FoundUnit> {
    files
        .into_iter()
        .map(|ClaimedFile { path, size }| {
            let mut unit = Unit::of_file(kind, &path, file_name_without_format(search.root, &path));
            unit.files.extend(side_files(&path));
            FoundUnit { store: path, unit, bytes: size }
        })
        .collect()
}

/// The size of the file, for progress.
pub(crate) fn size_of(path: &Path) -> usize {
    std::fs::metadata(path).ok().and_then(|metadata| usize::try_from(metadata.len()).ok()).unwrap_or(0)
}

/// Files beside a database that hold a part of its content.
fn side_files(path: &Path) -> impl Iterator<Item = PathBuf> {
    ["-wal", "-journal"].into_iter().filter_map(|ending| {
        let mut name = OsString::from(path.as_os_str());
        name.push(ending);
        let side = PathBuf::from(name);
        let holds = std::fs::symlink_metadata(&side).is_ok_and(|found| found.is_file() && found.len() > 0);
        holds.then_some(side)
    })
}

/// An open database.
pub(crate) struct Database {
    connection: Connection,
    path: PathBuf,
    tables: Vec<String>,
    /// Where the database was copied to, so that SQLite can bring it up to date without touching the original.
    _copy: Option<TempDir>,
}

impl Database {
    /// Opens a database. The file and its folder stay as they are: where a log of changes stands beside it, a copy of
    /// both is read.
    ///
    /// # Errors
    /// Fails when the file is no regular one, is over the limits, or is no database.
    pub(crate) fn open(path: &Path, limits: &Limits) -> Result<Self> {
        use std::io::Read;
        let (mut file, _) = files::open_regular(path, limits)?;
        let mut header = [0_u8; 20];
        file.read_exact(&mut header).map_err(ImportError::io(path, "reading"))?;
        // Bytes 18 and 19 are the versions of the format to write and read; 2 is a write-ahead log.
        let logged_ahead = matches!(header, [.., 2, _] | [.., 2]);
        let sides: Vec<PathBuf> = side_files(path).collect();
        let copy = if sides.is_empty() { None } else { Some(copy_of(path, &sides, limits)?) };
        let (place, options) = match &copy {
            Some((_, place)) => (place.as_path(), "mode=rw"),
            // Without a log nothing but the file counts; SQLite would make one in the folder otherwise.
            None if logged_ahead => (path, "mode=ro&immutable=1"),
            None => (path, "mode=ro"),
        };
        let failed = |error: rusqlite::Error| ImportError::unreadable(path, KIND, error.to_string());
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let flags = if copy.is_some() {
            flags
        } else {
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX
        };
        let connection = Connection::open_with_flags(uri(place, options), flags).map_err(failed)?;
        for (option, value) in
            [(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true), (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)]
        {
            connection.set_db_config(option, value).map_err(failed)?;
        }
        let longest = i32::try_from(limits.record_bytes).unwrap_or(i32::MAX);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, longest).map_err(failed)?;
        connection
            .execute_batch("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA query_only = ON")
            .map_err(failed)?;
        let mut database =
            Self { connection, path: path.to_owned(), tables: Vec::new(), _copy: copy.map(|(copy, _)| copy) };
        database.tables = database.real_tables()?;
        Ok(database)
    }

    /// Tables that hold rows of their own. Views and virtual tables could run anything.
    fn real_tables(&self) -> Result<Vec<String>> {
        let mut statement = self.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name LIMIT 10000",
        )?;
        let mut rows = self.query(&mut statement)?;
        let mut names = Vec::new();
        while let Some(row) = self.next(&mut rows)? {
            names.extend(text(row, 0).filter(|name| !name.starts_with("sqlite_")));
        }
        Ok(names)
    }

    pub(crate) fn has_table(&self, name: &str) -> bool {
        self.tables.iter().any(|table| table == name)
    }

    /// Whether a table has a column.
    pub(crate) fn has_column(&self, table: &str, column: &str) -> Result<bool> {
        let mut statement = self.prepare("SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2")?;
        statement.exists([table, column]).map_err(|error| self.error(&error))
    }

    /// The number of rows of a table whose name is known to be harmless.
    pub(crate) fn count(&self, table: &'static str) -> Result<u64> {
        let mut statement = self.prepare(&format!("SELECT count(*) FROM \"{table}\""))?;
        let count: i64 = statement.query_row([], |row| row.get(0)).map_err(|error| self.error(&error))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    pub(crate) fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        self.connection.prepare(sql).map_err(|error| self.error(&error))
    }

    pub(crate) fn query<'s>(&self, statement: &'s mut Statement<'_>) -> Result<Rows<'s>> {
        statement.query([]).map_err(|error| self.error(&error))
    }

    pub(crate) fn next<'r>(&self, rows: &'r mut Rows<'_>) -> Result<Option<&'r Row<'r>>> {
        rows.next().map_err(|error| self.error(&error))
    }

    /// What SQLite said, as an error of this file.
    pub(crate) fn error(&self, error: &rusqlite::Error) -> ImportError {
        ImportError::unreadable(&self.path, KIND, error.to_string())
    }
}

/// Copies a database and what stands beside it into a folder that is removed with it.
fn copy_of(path: &Path, sides: &[PathBuf], limits: &Limits) -> Result<(TempDir, PathBuf)> {
    let folder =
        TempDir::new().map_err(ImportError::io(path, "making a folder for a copy of the database"))?;
    let place = folder.path().join("copy.db");
    let parts = std::iter::once((path, "")).chain(sides.iter().map(|side| {
        (
            side.as_path(),
            if side.as_os_str().as_encoded_bytes().ends_with(b"-wal") { "-wal" } else { "-journal" },
        )
    }));
    for (part, ending) in parts {
        let (mut from, _) = files::open_regular(part, limits)?;
        let mut to = std::fs::File::create(folder.path().join(format!("copy.db{ending}")))
            .map_err(ImportError::io(path, "copying the database"))?;
        std::io::copy(&mut from, &mut to).map_err(ImportError::io(part, "copying the database"))?;
    }
    Ok((folder, place))
}

/// The path as SQLite wants it in a URI.
fn uri(path: &Path, options: &str) -> String {
    use std::fmt::Write;
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte))
            }
            // Writing to a String cannot fail.
            byte => drop(write!(uri, "%{byte:02X}")),
        }
    }
    uri.push('?');
    uri.push_str(options);
    uri
}

/// Rows of `(owner, key, value)` sorted by owner, taken owner by owner.
pub(crate) struct ByKey<'s> {
    database: &'s Database,
    rows: Rows<'s>,
    next: Option<(String, String, String)>,
    skipped: u64,
}

impl<'s> ByKey<'s> {
    pub(crate) fn new(database: &'s Database, statement: &'s mut Statement<'_>) -> Result<Self> {
        let rows = database.query(statement)?;
        let mut by_key = Self { database, rows, next: None, skipped: 0 };
        by_key.advance()?;
        Ok(by_key)
    }

    fn advance(&mut self) -> Result<()> {
        let field = |row: &Row<'_>, index| text(row, index).unwrap_or_default();
        self.next =
            self.database.next(&mut self.rows)?.map(|row| (field(row, 0), field(row, 1), field(row, 2)));
        Ok(())
    }

    /// The next key and value of an owner; owners are asked for in rising order.
    pub(crate) fn next_of(&mut self, owner: &str) -> Result<Option<(String, String)>> {
        while self.next.as_ref().is_some_and(|(found, ..)| found.as_str() < owner) {
            self.skipped = self.skipped.saturating_add(1);
            self.advance()?;
        }
        match self.next.take() {
            Some((found, key, value)) if found == owner => {
                self.advance()?;
                Ok(Some((key, value)))
            }
            other => {
                self.next = other;
                Ok(None)
            }
        }
    }

    /// The number of rows whose owner nobody asked for.
    pub(crate) fn without_owner(mut self) -> Result<u64> {
        while self.next.is_some() {
            self.skipped = self.skipped.saturating_add(1);
            self.advance()?;
        }
        Ok(self.skipped)
    }
}

/// A cell as text; `None` for NULL. Bytes that are no UTF-8 become replacement characters.
pub(crate) fn text(row: &Row<'_>, index: usize) -> Option<String> {
    match row.get_ref(index).ok()? {
        ValueRef::Null => None,
        ValueRef::Integer(integer) => Some(integer.to_string()),
        ValueRef::Real(real) => Some(format!("{real:?}")),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}

/// A cell as a double; `None` for NULL and what is no number.
pub(crate) fn number(row: &Row<'_>, index: usize) -> Option<f64> {
    match row.get_ref(index).ok()? {
        ValueRef::Integer(integer) => Some(integer as f64),
        ValueRef::Real(real) => Some(real),
        _ => None,
    }
}

/// A cell as a whole number; `None` for NULL and what is none.
pub(crate) fn integer(row: &Row<'_>, index: usize) -> Option<i64> {
    match row.get_ref(index).ok()? {
        ValueRef::Integer(integer) => Some(integer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        table_names(path).unwrap()
    }

    #[test]
    fn a_log_of_changes_is_read_and_nothing_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b%#?.db");
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        writer.execute_batch("CREATE TABLE first(a); INSERT INTO first VALUES (1)").unwrap();
        let listed = |folder: &Path| {
            let mut names: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    (entry.file_name(), entry.metadata().unwrap().len())
                })
                .collect();
            names.sort();
            names
        };
        let before = listed(folder.path());
        assert_eq!(before.len(), 3);
        assert_eq!(names(&path), ["first"]);
        assert_eq!(listed(folder.path()), before);
        // Without its writer the log is gone, but the format stays.
        drop(writer);
        let before = listed(folder.path());
        assert_eq!(before.len(), 1);
        assert_eq!(names(&path), ["first"]);
        assert_eq!(listed(folder.path()), before);
    }

    #[test]
    fn views_are_no_tables_and_other_files_no_databases() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("CREATE TABLE b(x); CREATE TABLE a(x); CREATE VIEW runs AS SELECT 1").unwrap();
        drop(writer);
        assert_eq!(names(&path), ["a", "b"]);
        for bytes in
            [&b""[..], b"SQLite format 3\0", &[0_u8; 4096], b"SQLite format 3\0aaaaaaaaaaaaaaaaaaaaaaaaaa"]
        {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(table_names(&path).unwrap_err().code().split('.').next(), Some("import"));
        }
    }
}
