//! What a statement does about damaged files: it fails and names them, or it reads the rest and says so.

use std::collections::BTreeSet;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use model::RunId;
use model::schema::Table;
use parking_lot::Mutex;
use store::Snapshot;
use store::catalog::DataFile;
use store::segment::SegmentError;
use store::segment::points::Reader;

use crate::error::QueryError;

/// What is done when a file that a statement needs is damaged or missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCorrupt {
    /// The statement fails and names file, table, rows and runs.
    #[default]
    Fail,
    /// What can be read is read, the rest is told in a notice.
    Skip,
}

impl FromStr for OnCorrupt {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        match text {
            "fail" => Ok(Self::Fail),
            "skip" => Ok(Self::Skip),
            _ => Err(()),
        }
    }
}

/// What the reader of an answer should know beside its rows. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    /// Adds a notice, once.
    pub fn add(&self, text: String) {
        let mut notices = self.0.lock();
        if !notices.contains(&text) {
            notices.push(text);
        }
    }

    /// All notices so far; complete when the rows are.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

/// How the tables of one statement are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    pub(crate) on_corrupt: OnCorrupt,
    pub(crate) notices: Notices,
}

impl Reading {
    /// Refuses tables whose files could not all be read when the snapshot was taken, or notes what is missing.
    pub(super) fn check(&self, snapshot: &Snapshot, tables: &[Table]) -> Result<()> {
        for damage in snapshot.damage().iter().filter(|damage| tables.contains(&damage.table)) {
            self.take(format!("{damage}"))?;
        }
        Ok(())
    }

    /// Fails with a text, or notes that what it names is left out.
    pub(super) fn take(&self, what: String) -> Result<()> {
        match self.on_corrupt {
            OnCorrupt::Skip => {
                self.notices.add(format!("skipped: {what}"));
                Ok(())
            }
            OnCorrupt::Fail => {
                let message = format!("{what}; the rest can be read after SET runlake.on_corrupt = 'skip'");
                Err(DataFusionError::External(Box::new(QueryError::Storage { message })))
            }
        }
    }

    /// The rows of a segment that cannot be read, when they are to be skipped; nothing otherwise: then the first read of
    /// a damaged part fails.
    pub(super) async fn damaged_rows(&self, reader: &Reader) -> Result<Vec<Range<u64>>> {
        if self.on_corrupt == OnCorrupt::Fail {
            return Ok(Vec::new());
        }
        let mut damaged: Vec<Range<u64>> = Vec::new();
        for chunk in reader.damaged_chunks().await {
            let rows = reader.group_rows(chunk.row_group);
            if damaged.last() == Some(&rows) {
                continue;
            }
            let what = format!(
                "table points: {}: {}: {}{}",
                place(reader.file().path().as_ref()),
                chunk.part(),
                chunk.reason,
                affected(rows.end - rows.start, &reader.runs_in(&rows).collect())
            );
            self.take(what)?;
            damaged.push(rows);
        }
        Ok(damaged)
    }
}

fn place(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((_, name)) => format!("tables/points/{name}"),
        None => format!("tables/points/{path}"),
    }
}

fn affected(rows: u64, runs: &BTreeSet<RunId>) -> String {
    let mut text = format!("; {rows} rows");
    if !runs.is_empty() {
        let shown: Vec<String> = runs.iter().take(5).map(RunId::to_string).collect();
        let more = if runs.len() > shown.len() { ", …" } else { "" };
        text.push_str(&format!(" of {} runs ({}{more})", runs.len(), shown.join(", ")));
    }
    text.push_str(" cannot be read");
    text
}

/// What is lost with a segment of which not even the index can be read: rows and runs, by what all others hold.
pub(super) async fn lost_with(snapshot: &Snapshot, file: &DataFile, error: &SegmentError) -> String {
    let runs = snapshot.runs_short_without(file).await;
    let what = format!("table points: {}: {error}", place(&file.path));
    format!("{what}{}", affected(file.rows, &runs))
}

/// The error of reading rows of an opened segment, with the rows and runs that its part holds.
pub(super) fn with_rows(error: SegmentError, reader: &Reader) -> DataFusionError {
    let text = match &error {
        SegmentError::Corrupt { path, part, reason, .. } => {
            let group = part.strip_prefix("row group ").and_then(|rest| rest.split(',').next()?.parse().ok());
            let rows = group.map_or(0..reader.series().rows(), |group| reader.group_rows(group));
            let runs = reader.runs_in(&rows).collect();
            format!(
                "table points: {}: {part}: {reason}{}; the rest can be read after SET runlake.on_corrupt = 'skip'",
                place(path),
                affected(rows.end - rows.start, &runs)
            )
        }
        _ => return super::storage(error),
    };
    DataFusionError::External(Box::new(QueryError::Storage { message: text }))
}
