//! Making a lake of a backup: into a temporary folder, every byte checked and synced, then renamed.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::manifest::{BackupFile, Manifest};
use super::{io_error, refuse};
use crate::disk::{Access, Disk};
use crate::error::Result;
use crate::lake_file;
use crate::layout::Layout;
use crate::verify::{Meter, ProgressSink};

/// Bytes that are copied at a time.
const STEP: usize = 4 << 20;

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoreReport {
    /// The lake holds everything up to this record of the log.
    pub last_seq: u64,
    /// When the backup was made, microseconds since 1970 UTC.
    pub time: i64,
    /// Files of the lake.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// Makes a lake at `target` of the newest backup in the folder `source`, or of the one up to log record `at`.
///
/// # Errors
/// `target` is as it was: it is not empty, a file of the backup is missing or damaged (named), or the disk refuses.
pub fn restore(
    source: &Path,
    target: &Path,
    at: Option<u64>,
    disk: &Arc<dyn Disk>,
    progress: Option<ProgressSink>,
) -> Result<RestoreReport> {
    let disk = &**disk;
    let manifest = Manifest::read(disk, source, at)?;
    if manifest.lake_format > lake_file::FORMAT {
        let reason = format!(
            "the lake in it was written by Runlake {}, format {}; this version reads up to format {}: use a newer Runlake",
            manifest.created_by,
            manifest.lake_format,
            lake_file::FORMAT
        );
        return Err(refuse(source, reason));
    }
    let exists = check_target(disk, target)?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk.create_directories(parent).map_err(io_error("create folder", parent))?;
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".restoring-{}", uuid::Uuid::new_v4().simple()));
    let temporary = parent.join(name);
    disk.create_directories(&temporary).map_err(io_error("create folder", &temporary))?;
    let mut meter = Meter::new(progress);
    let mut report =
        RestoreReport { last_seq: manifest.last_seq, time: manifest.time, ..RestoreReport::default() };
    meter.expect(manifest.files.iter().map(|file| file.bytes).sum());
    let mut folders = std::collections::BTreeSet::from([temporary.clone()]);
    for file in &manifest.files {
        let place = beneath(source, &temporary, file)?;
        if let Some(folder) = place.parent() {
            disk.create_directories(folder).map_err(io_error("create folder", folder))?;
            folders.insert(folder.to_owned());
        }
        copy(disk, source, &place, file)?;
        fail::fail_point!("restore-after-copy");
        report.files += 1;
        report.bytes += file.bytes;
        meter.done(file.bytes, &file.path);
    }
    // A backup holds no empty folder, and a lake without its log is a damaged one.
    let log = Layout::new(&temporary).wal();
    disk.create_directories(&log).map_err(io_error("create folder", &log))?;
    folders.insert(log);
    for folder in &folders {
        disk.sync_directory(folder).map_err(io_error("sync folder", folder))?;
    }
    fail::fail_point!("restore-before-rename");
    if exists {
        disk.remove_directory(target).map_err(io_error("replace", target))?;
    }
    disk.rename(&temporary, target).map_err(io_error("rename", &temporary))?;
    fail::fail_point!("restore-after-rename");
    disk.sync_directory(parent).map_err(io_error("sync folder", parent))?;
    Ok(report)
}

/// Whether the target is there; one with anything in it is refused.
fn check_target(disk: &dyn Disk, target: &Path) -> Result<bool> {
    match disk.entries(target) {
        Ok(entries) if entries.is_empty() => Ok(true),
        Ok(entries) => {
            let first = entries.first().map_or("something", |entry| entry.name.as_str());
            Err(refuse(
                target,
                format!("it is not empty (it holds {first}): restore into a new or empty folder"),
            ))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("read", target)(error)),
    }
}

/// The place of a file below a folder; a path that leads out of it is refused.
fn beneath(source: &Path, folder: &Path, file: &BackupFile) -> Result<PathBuf> {
    let path = Path::new(&file.path);
    if file.path.is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(refuse(
            source,
            format!("the manifest names {:?}, which is no path of a lake", file.path),
        ));
    }
    Ok(folder.join(path))
}

fn copy(disk: &dyn Disk, source: &Path, place: &Path, file: &BackupFile) -> Result<()> {
    let from = source.join("files").join(format!("{}.{}", file.path, file.crc32c));
    let damaged = |reason: String| refuse(&from, format!("the backup is damaged: {reason}"));
    let input = disk.open(&from, Access::Read).map_err(|error| damaged(error.to_string()))?;
    let length = input.length().map_err(io_error("read", &from))?;
    if length != file.bytes {
        return Err(damaged(format!("{length} bytes, {} were written", file.bytes)));
    }
    let mut output = disk.create(place).map_err(io_error("create", place))?;
    let mut buffer = vec![0; STEP.min(usize::try_from(length).unwrap_or(STEP)).max(1)];
    let (mut offset, mut checksum) = (0, 0);
    while offset < length {
        let count = input.read_at(offset, &mut buffer).map_err(io_error("read", &from))?;
        if count == 0 {
            return Err(damaged(format!("it ends at byte {offset}")));
        }
        let part = buffer.get(..count).unwrap_or_default();
        output.write_at(offset, part).map_err(io_error("write", place))?;
        checksum = crc32c::crc32c_append(checksum, part);
        offset += count as u64;
    }
    let checksum = format!("{checksum:08x}");
    if checksum != file.crc32c {
        return Err(damaged(format!("its CRC32C is {checksum}, written was {}", file.crc32c)));
    }
    output.sync_all().map_err(io_error("sync", place))
}
