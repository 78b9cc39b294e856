//! Runs the files under `tests/sql` over the same lake in three forms: the answers must not depend on where points are.
//!
//! With `RUNLAKE_RENEW=1` the answers of `points_in_memory` and `an_empty_lake` are written into the files: read the
//! difference before it is committed.

use std::path::PathBuf;

use query::QueryError;
use sqllogictest::{
    DB, DBOutput, DefaultColumnType, Runner, default_column_validator, default_normalizer, default_validator,
};

use crate::lake::{Kept, Lake, texts};

struct Asked<'a>(&'a Lake);

impl DB for Asked<'_> {
    type Error = QueryError;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, QueryError> {
        let batches = self.0.ask(sql)?;
        let columns = batches.first().map_or(1, |batch| batch.num_columns());
        let mut rows = texts(&batches);
        for cell in rows.iter_mut().flatten() {
            if cell.is_empty() {
                *cell = "(empty)".to_owned();
            }
        }
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows })
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/sql").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {}", root.display());
    files
}

fn renew(folder: &str, lake: &Lake) {
    for file in files(folder) {
        let mut runner = Runner::new(|| async { Ok(Asked(lake)) });
        let renewed = runner.update_test_file(
            file,
            " ",
            default_validator,
            default_normalizer,
            default_column_validator,
        );
        futures::executor::block_on(renewed).unwrap();
    }
}

fn run_all(folder: &str, lake: &Lake) {
    let mut failures = Vec::new();
    for file in files(folder) {
        let mut runner = Runner::new(|| async { Ok(Asked(lake)) });
        if let Err(error) = runner.run_file(&file) {
            failures.push(format!("{}: {error}", file.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn points_in_memory() {
    let lake = Lake::small(Kept::InMemory);
    if std::env::var_os("RUNLAKE_RENEW").is_some() {
        renew("small", &lake);
    }
    run_all("small", &lake);
}

#[test]
fn points_in_a_segment() {
    run_all("small", &Lake::small(Kept::Flushed));
}

#[test]
fn points_in_segments_and_in_memory() {
    run_all("small", &Lake::small(Kept::Both));
}

#[test]
fn an_empty_lake() {
    let lake = Lake::empty();
    if std::env::var_os("RUNLAKE_RENEW").is_some() {
        renew("empty", &lake);
    }
    run_all("empty", &lake);
}
