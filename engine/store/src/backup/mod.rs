//! Backups of a lake that may be written meanwhile, and restoring them.
//!
//! A backup is one consistent point: the commits and data files of every table as they were loaded, and the log from
//! before that moment up to its last whole record. Restoring it is opening a lake after a crash at that record. Files
//! never change, so a second backup into the same folder copies only what is new (`docs/formats/backup.md`).

mod manifest;
mod restore;

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use model::schema::Table;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::catalog::{Catalog, CatalogError, TableVersion, commit_file};
use crate::config::Clock;
use crate::disk::{Access, Disk, DiskFile, sync_names};
use crate::error::{Result, StoreError};
use crate::kept_files::KeptFiles;
use crate::lake_file::LakeFile;
use crate::layout::Layout;
use crate::verify::{Meter, ProgressSink};
use crate::wal::{self, WalError};
use manifest::{BackupFile, BackupTable, Manifest};

pub use restore::{RestoreReport, restore};

/// How often a backup starts anew when files vanish under it.
const TRIES: usize = 4;

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackupReport {
    /// The backup holds everything up to this record of the log.
    pub last_seq: u64,
    /// Files of the backup.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Files that were copied; the others were there from an earlier backup.
    pub copied_files: u64,
    /// Bytes of these.
    pub copied_bytes: u64,
    /// The file that makes it a backup.
    pub manifest: PathBuf,
}

/// Copies the lake at `root` into the folder `destination`. Takes no lock: a writer may be at work.
///
/// # Errors
/// Nothing counts as backed up: damage in the lake (named), a destination that cannot be written, or a writer that
/// removes files faster than they are copied.
pub fn backup<'a>(
    root: &'a FilePath,
    destination: &'a FilePath,
    disk: Arc<dyn Disk>,
    clock: Clock,
    progress: Option<ProgressSink>,
) -> BoxFuture<'a, Result<BackupReport>> {
    async move {
        let layout = Layout::new(root);
        let Some(lake_file) = LakeFile::read(&*disk, &layout.lake_file())? else {
            return Err(StoreError::NoLake { path: root.display().to_string() });
        };
        disk.create_directories(destination).map_err(io_error("create folder", destination))?;
        let catalog = Catalog::open_on(root, Arc::clone(&disk))?;
        let copied = parking_lot::Mutex::default();
        let target = Target { disk: Arc::clone(&disk), root: destination.to_owned(), copied };
        let mut last = StoreError::Stopped;
        for _ in 0..TRIES {
            let mut meter = Meter::new(progress.clone());
            let copy = Copy { layout: &layout, lake_file: &lake_file, catalog: &catalog, target: &target };
            match copy.run(&disk, (clock)(), &mut meter).await {
                Err(error) if is_passing(&error) => last = error,
                other => return other,
            }
        }
        Err(last)
    }
    .boxed()
}

/// Whether a file vanished because a writer removed it meanwhile.
fn is_passing(error: &StoreError) -> bool {
    match error {
        StoreError::Wal(error) => matches!(**error, WalError::Vanished { .. }),
        StoreError::Segment(crate::segment::SegmentError::Missing { .. }) => true,
        _ => false,
    }
}

pub(crate) fn io_error(action: &'static str, path: &FilePath) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.display().to_string();
    move |source| StoreError::Io { action, path, source }
}

pub(crate) fn refuse(place: &FilePath, reason: impl Into<String>) -> StoreError {
    StoreError::Backup { place: place.display().to_string(), reason: reason.into() }
}

/// The folder with the backups.
struct Target {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Files and bytes that were copied, over all tries.
    copied: parking_lot::Mutex<(u64, u64)>,
}

impl Target {
    /// Where the contents of a file are kept: the checksum in the name keeps different contents apart.
    fn place(&self, path: &str, checksum: u32) -> PathBuf {
        self.root.join("files").join(format!("{path}.{checksum:08x}"))
    }

    fn has(&self, path: &str, checksum: u32, bytes: u64) -> bool {
        let open = self.disk.open(&self.place(path, checksum), Access::Read);
        open.and_then(|file| file.length()).is_ok_and(|length| length == bytes)
    }

    /// Begins a file under a temporary name.
    fn begin(&self, path: &str) -> Result<(Box<dyn DiskFile>, PathBuf)> {
        let temporary = self.root.join("files").join(format!("{path}.new"));
        if let Some(folder) = temporary.parent() {
            self.disk.create_directories(folder).map_err(io_error("create folder", folder))?;
        }
        match self.disk.remove(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error("remove", &temporary)(error));
            }
            _ => {}
        }
        let file = self.disk.create(&temporary).map_err(io_error("create", &temporary))?;
        Ok((file, temporary))
    }

    /// Gives a file its name, durably.
    fn end(
        &self,
        mut file: Box<dyn DiskFile>,
        temporary: &FilePath,
        path: &str,
        checksum: u32,
    ) -> Result<()> {
        let place = self.place(path, checksum);
        fail::fail_point!("backup-before-sync");
        file.sync_all().map_err(io_error("sync", temporary))?;
        let length = file.length().map_err(io_error("read", temporary))?;
        self.disk.rename(temporary, &place).map_err(io_error("rename", temporary))?;
        fail::fail_point!("backup-after-rename");
        let mut copied = self.copied.lock();
        *copied = (copied.0 + 1, copied.1 + length);
        let folder = place.parent().unwrap_or(&self.root);
        self.disk.sync_directory(folder).map_err(io_error("sync folder", folder))
    }
}

/// One attempt.
struct Copy<'a> {
    layout: &'a Layout,
    lake_file: &'a LakeFile,
    catalog: &'a Catalog,
    target: &'a Target,
}

impl Copy<'_> {
    async fn run(&self, disk: &Arc<dyn Disk>, now: i64, meter: &mut Meter) -> Result<BackupReport> {
        let lake_id = self.lake_file.lake_id_bytes()?;
        let mut report = BackupReport::default();
        let mut files = Vec::new();
        // What the log no longer has at this moment is in the tables that are loaded after it; and the log that is
        // copied after the tables has at least what they hold.
        let log_start = wal::first_seq(&self.layout.wal(), lake_id, &**disk)?;
        let mut tables = Vec::new();
        let mut versions = Vec::new();
        for table in Table::ALL {
            let version = self.catalog.load(table).await?;
            meter.expect(version.files.iter().map(|file| file.bytes).sum());
            tables.push(BackupTable {
                name: table.name().to_owned(),
                version: version.version,
                last_seq: version.last_seq,
            });
            versions.push((table, version));
        }
        for (table, version) in &versions {
            self.copy_table(*table, version, &mut files, meter).await?;
        }
        let newest = versions.iter().map(|(_, version)| version.last_seq).max().unwrap_or_default();
        report.last_seq = self.copy_log(&**disk, lake_id, log_start, &mut files, meter)?;
        if report.last_seq < newest {
            let reason = format!("the log ends at record {}, tables hold up to {newest}", report.last_seq);
            return Err(refuse(&self.layout.wal(), reason));
        }
        for kept in KeptFiles::ALL {
            for id in self.catalog.kept(kept).await? {
                // An import may put another one in its place meanwhile, or remove it.
                if let Some(bytes) = self.catalog.kept_file(kept, &id).await? {
                    self.copy_bytes(&kept.path(&id), &bytes, &mut files)?;
                }
            }
        }
        let lake_file = self.lake_file.to_bytes();
        self.copy_bytes("runlake.json", &lake_file, &mut files)?;
        let manifest = Manifest {
            format: manifest::FORMAT,
            lake_format: self.lake_file.format,
            lake_id: self.lake_file.lake_id.clone(),
            created_by: env!("CARGO_PKG_VERSION").to_owned(),
            time: now,
            last_seq: report.last_seq,
            tables,
            files,
        };
        (report.copied_files, report.copied_bytes) = *self.target.copied.lock();
        report.files = manifest.files.len() as u64;
        report.bytes = manifest.files.iter().map(|file| file.bytes).sum();
        // Files that were there may have got their names from a process that was killed before it synced them.
        let (disk, root) = (&*self.target.disk, &self.target.root);
        sync_names(disk, root).map_err(io_error("sync the folders of", root))?;
        fail::fail_point!("backup-before-manifest");
        // Everything it names is durable: from here on this is a backup.
        report.manifest = manifest.write(&*self.target.disk, &self.target.root)?;
        fail::fail_point!("backup-after-manifest");
        Ok(report)
    }

    async fn copy_table(
        &self,
        table: Table,
        version: &TableVersion,
        files: &mut Vec<BackupFile>,
        meter: &mut Meter,
    ) -> Result<()> {
        let store = self.catalog.store(table);
        let folder = format!("tables/{}", table.name());
        let Some(newest) = version.version else { return Ok(()) };
        for file in &version.files {
            let path = format!("{folder}/{}", file.path);
            let checksum = file.crc32c().ok_or_else(|| CatalogError::Change {
                table: table.name(),
                reason: format!("file {} has no CRC32C", file.path),
            })?;
            if !self.target.has(&path, checksum, file.bytes) {
                self.copy_object(table, &store, &file.path, &path, checksum, file.bytes).await?;
            }
            meter.done(file.bytes, &path);
            files.push(BackupFile { path, bytes: file.bytes, crc32c: format!("{checksum:08x}") });
        }
        for commit in 0..=newest {
            let name = commit_file(commit);
            let read = async { store.get(&Path::from(name.as_str())).await?.bytes().await };
            let bytes = match read.await {
                Ok(bytes) => bytes,
                // Older commits may have been cleaned up behind a checkpoint; the newest is always there.
                Err(object_store::Error::NotFound { .. }) if commit < newest => continue,
                Err(error) => return Err(CatalogError::store(table.name(), error).into()),
            };
            self.copy_bytes(&format!("{folder}/{name}"), &bytes, files)?;
        }
        let listed = store
            .list_with_delimiter(Some(&Path::from("_delta_log")))
            .await
            .map_err(|error| CatalogError::store(table.name(), error))?;
        for object in listed.objects {
            let name = object.location.filename().unwrap_or_default();
            let of = name.split('.').next().and_then(|digits| digits.parse::<i64>().ok());
            let is_checkpoint = name.contains(".checkpoint.") || name.ends_with(".runlake");
            if is_checkpoint && of.is_some_and(|version| version <= newest) {
                let read = async { store.get(&object.location).await?.bytes().await };
                let bytes = read.await.map_err(|error| CatalogError::store(table.name(), error))?;
                self.copy_bytes(&format!("{folder}/{}", object.location), &bytes, files)?;
            }
        }
        Ok(())
    }

    /// Copies a data file in parts and checks it on the way.
    async fn copy_object(
        &self,
        table: Table,
        store: &Arc<dyn ObjectStore>,
        name: &str,
        path: &str,
        checksum: u32,
        length: u64,
    ) -> Result<()> {
        let from = Path::from(name);
        let failed =
            |error| StoreError::from(crate::segment::SegmentError::store(&from, table.name(), error));
        let mut parts = store.get(&from).await.map_err(failed)?.into_stream();
        let (mut file, temporary) = self.target.begin(path)?;
        let (mut offset, mut found) = (0, 0);
        while let Some(part) = parts.try_next().await.map_err(failed)? {
            file.write_at(offset, &part).map_err(io_error("write", &temporary))?;
            offset += part.len() as u64;
            found = crc32c::crc32c_append(found, &part);
        }
        if found != checksum || offset != length {
            drop(file);
            // What was copied is no file of the backup.
            let _ = self.target.disk.remove(&temporary);
            return Err(crate::segment::SegmentError::Corrupt {
                path: name.to_owned(),
                table: table.name(),
                part: "the whole file".to_owned(),
                reason: format!(
                    "{offset} bytes with CRC32C {found:08x}, committed were {length} with {checksum:08x}"
                ),
            }
            .into());
        }
        self.target.end(file, &temporary, path, checksum)
    }

    fn copy_bytes(&self, path: &str, bytes: &[u8], files: &mut Vec<BackupFile>) -> Result<()> {
        let (checksum, length) = (crc32c::crc32c(bytes), bytes.len() as u64);
        if !self.target.has(path, checksum, length) {
            let (mut file, temporary) = self.target.begin(path)?;
            file.write_at(0, bytes).map_err(io_error("write", &temporary))?;
            self.target.end(file, &temporary, path, checksum)?;
        }
        files.push(BackupFile { path: path.to_owned(), bytes: length, crc32c: format!("{checksum:08x}") });
        Ok(())
    }

    /// Copies the whole records of the log, and gives the number of the last one.
    fn copy_log(
        &self,
        disk: &dyn Disk,
        lake_id: [u8; 16],
        log_start: Option<u64>,
        files: &mut Vec<BackupFile>,
        meter: &mut Meter,
    ) -> Result<u64> {
        let folder = self.layout.wal();
        let mut first_seq = None;
        let mut last_seq = 0;
        wal::whole_files(&folder, lake_id, disk, &mut |file| {
            first_seq = first_seq.or(Some(file.first_seq));
            last_seq = file.last_seq;
            let path = format!("wal/{:020}.log", file.number);
            meter.expect(file.bytes.len() as u64);
            meter.done(file.bytes.len() as u64, &path);
            self.copy_bytes(&path, file.bytes, files)
        })?;
        if first_seq > log_start && log_start.is_some() {
            return Err(WalError::Vanished { file: folder }.into());
        }
        Ok(last_seq)
    }
}
