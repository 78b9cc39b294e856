//! A log that missed a take-over of its lake: acknowledged records that no table holds and whose numbers have been given
//! to others since. They are counted, set aside, or written into the lake anew; never replayed, never dropped.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::WriterSequence;
use model::schema::Table;
use serde::{Deserialize, Serialize};

use crate::disk::{Access, Disk, read_all, replace_file};
use crate::error::{Result, StoreError};
use crate::layout::Layout;
use crate::state::table_of;
use crate::state_folder::StateError;
use crate::store::Store;
use crate::wal::{self, Record};

/// The most that is read of a note on an adoption; it has a few hundred bytes.
const MOST_BYTES: u64 = 1 << 20;

/// What a stale log holds that no table does.
#[derive(Debug)]
pub(crate) struct StaleRecords {
    folder: PathBuf,
    epoch: u64,
    records: VecDeque<(u64, Record)>,
    /// The note that these are to be adopted; removed when that is done.
    note: Option<PathBuf>,
}

/// The note that a log that was set aside is to be adopted, `stale/epoch-N.json`: it outlives a crash in between.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The folder of the log, beside the note.
    folder: String,
    /// Its last epoch.
    epoch: u64,
    /// The last number that each table held of it.
    tables: BTreeMap<String, u64>,
}

/// What became of an adopted log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Records that were written into the lake.
    pub records: u64,
    /// Points in them.
    pub points: u64,
    /// Records that the lake had already, under the number of their client.
    pub duplicates: u64,
    /// Records that do not fit the lake any more, and why. They stay in the log that was set aside.
    pub refused: Vec<String>,
    /// Where that log is.
    pub folder: PathBuf,
}

impl StaleRecords {
    /// Reads the log of a state folder. `held` is what every table held when the lake was taken over; without it
    /// every record counts.
    ///
    /// # Errors
    /// When the log cannot be read or is damaged.
    pub(crate) fn find(
        disk: &Arc<dyn Disk>,
        folder: PathBuf,
        lake_id: [u8; 16],
        epoch: u64,
        held: Option<&BTreeMap<String, u64>>,
    ) -> Result<Self> {
        let mut records = VecDeque::new();
        let there = disk.directory_exists(&folder).map_err(|source| io("read", &folder, source))?;
        if there {
            let is_new = |table: Table, seq: u64| {
                held.is_none_or(|held| held.get(table.name()).is_none_or(|last| seq > *last))
            };
            for record in wal::scan(folder.clone(), lake_id, Arc::clone(disk)) {
                let (seq, record) = record?;
                match record {
                    Record::Points { .. } if is_new(Table::Points, seq) => records.push_back((seq, record)),
                    Record::Commands { writer, mut commands } => {
                        commands.retain(|command| is_new(table_of(command), seq));
                        if !commands.is_empty() {
                            records.push_back((seq, Record::Commands { writer, commands }));
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(Self { folder, epoch, records, note: None })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn points(&self) -> u64 {
        self.records.iter().map(|(_, record)| points_of(record)).sum()
    }

    /// The refusal to go on with them.
    pub(crate) fn refused(&self, takeover: String) -> StateError {
        let commands = self.records.iter().map(|(_, record)| match record {
            Record::Commands { commands, .. } => commands.len() as u64,
            _ => 0,
        });
        StateError::Stale {
            folder: self.folder.display().to_string(),
            epoch: self.epoch,
            points: self.points(),
            commands: commands.sum(),
            takeover,
        }
    }

    /// Moves the log out of the way of a new one. With `adopt`, a note says that its records are to be written into
    /// the lake, and from behind which numbers on; [`Self::noted`] finds it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn set_aside(
        self,
        disk: &dyn Disk,
        layout: &Layout,
        adopt: Option<BTreeMap<String, u64>>,
    ) -> Result<()> {
        let there = disk.directory_exists(&self.folder).map_err(|source| io("read", &self.folder, source))?;
        if !there {
            return Ok(());
        }
        let stale = layout.stale();
        disk.create_directories(&stale).map_err(|source| io("create folder", &stale, source))?;
        let mut name = format!("epoch-{}", self.epoch);
        for number in 1_u32.. {
            let path = stale.join(&name);
            if !disk.directory_exists(&path).map_err(|source| io("read", &path, source))? {
                break;
            }
            name = format!("epoch-{}.{number}", self.epoch);
        }
        let target = stale.join(&name);
        if let Some(tables) = adopt.filter(|_| !self.is_empty()) {
            let note = Note { folder: name.clone(), epoch: self.epoch, tables };
            let path = stale.join(format!("{name}.json"));
            // A struct of texts and numbers cannot fail to serialise.
            let bytes = serde_json::to_vec_pretty(&note).unwrap_or_default();
            replace_file(disk, &path, &bytes).map_err(|source| io("write", &path, source))?;
        }
        disk.rename(&self.folder, &target).map_err(|source| io("rename", &self.folder, source))?;
        for folder in [stale.as_path(), layout.root()] {
            disk.sync_directory(folder).map_err(|source| io("sync folder", folder, source))?;
        }
        tracing::warn!(
            log = %target.display(),
            records = self.records.len(),
            "set aside the log of this machine: another one has written to the lake since"
        );
        Ok(())
    }

    /// The logs that were set aside to be adopted, and are not yet.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn noted(disk: &Arc<dyn Disk>, layout: &Layout, lake_id: [u8; 16]) -> Result<Vec<Self>> {
        let stale = layout.stale();
        let names = match disk.list(&stale) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(io("list", &stale, source)),
        };
        let mut noted = Vec::new();
        for name in names.iter().filter(|name| name.ends_with(".json")) {
            let path = stale.join(name);
            let (bytes, _) = disk
                .open(&path, Access::Read)
                .and_then(|file| read_all(&*file, MOST_BYTES))
                .map_err(|source| io("read", &path, source))?;
            let note: Note = serde_json::from_slice(&bytes).map_err(|error| StateError::Damaged {
                path: path.display().to_string(),
                reason: error.to_string(),
            })?;
            let folder = stale.join(&note.folder);
            if disk.directory_exists(&folder).map_err(|source| io("read", &folder, source))? {
                let records = Self::find(disk, folder, lake_id, note.epoch, Some(&note.tables))?;
                noted.push(Self { note: Some(path), ..records });
            }
        }
        Ok(noted)
    }
}

fn points_of(record: &Record) -> u64 {
    match record {
        Record::Points { batch, .. } => batch.point_count() as u64,
        _ => 0,
    }
}

/// Writes the records into an open lake. A record that came from a numbered client keeps its number, any other gets
/// one from its log: however often this is repeated, each record counts once.
///
/// # Errors
/// When the store stops; the log that was set aside still has everything.
pub(crate) async fn adopt(store: &Store, disk: &dyn Disk, stale: StaleRecords) -> Result<Adopted> {
    let StaleRecords { folder, epoch, records, note } = stale;
    let mut adopted = Adopted { folder, ..Adopted::default() };
    for (seq, record) in records {
        let points = points_of(&record);
        let numbered = |writer: Option<WriterSequence>| match writer {
            Some(writer) => Ok(Some(writer)),
            None => WriterSequence::new(format!("log of epoch {epoch}"), seq).map(Some),
        };
        let written = match record {
            Record::Points { writer, batch } => store.append(batch, numbered(writer)?).await,
            Record::Commands { writer, commands } => store.apply(commands, numbered(writer)?).await,
            _ => continue,
        };
        match written {
            Ok(acknowledged) if acknowledged.duplicate => adopted.duplicates += 1,
            Ok(_) => {
                adopted.records += 1;
                adopted.points += points;
            }
            Err(
                error @ (StoreError::Registry(_) | StoreError::Model(_) | StoreError::SequenceTooOld { .. }),
            ) => adopted.refused.push(format!("record {seq}: {error}")),
            Err(error) => return Err(error),
        }
    }
    if let Some(note) = note {
        disk.remove(&note).map_err(|source| io("remove", &note, source))?;
    }
    Ok(adopted)
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { action, path: path.display().to_string(), source }
}
