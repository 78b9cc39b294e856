//! Opening a log: everything is read and judged before anything is changed.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Result, WalError};
use super::file::{self, Ending, Headless, LogFile};
use super::format::{self, FILE_HEADER_BYTES};
use super::record::{Names, Record};
use super::replay::{Replay, Replayed};
use crate::disk::{Access, Disk, DiskFile, is_full};

/// Where the bytes go that recovery cuts off.
const QUARANTINE: &str = "quarantine";

/// A log file with a whole header, after recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownFile {
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// Where the whole frames end.
    pub(crate) end: u64,
    /// The length of the file.
    pub(crate) length: u64,
    /// The length that the file was given before its first frame.
    pub(crate) file_bytes: u64,
}

/// Bytes that were never acknowledged, to be cut off.
#[derive(Debug)]
struct Torn {
    file: LogFile,
    offset: usize,
    end: usize,
}

/// What a log is found to be.
#[derive(Debug)]
pub(crate) struct Analysis {
    pub(crate) files: Vec<KnownFile>,
    /// A file behind the last one in which nothing was ever written.
    pub(crate) spare: Option<u64>,
    pub(crate) last_seq: Option<u64>,
    torn: Option<Torn>,
    /// The end of the last file, of which nothing proves that it was ever synced.
    unproven: Option<Unproven>,
}

impl Analysis {
    /// Whether records at the end have no later frame that proves that they were synced. One that stands for nothing
    /// needs no proof.
    pub(crate) fn has_unproven(&self) -> bool {
        self.unproven.as_ref().is_some_and(|unproven| {
            !unproven.bytes.is_empty() && !format::is_single_empty_record(&unproven.bytes)
        })
    }
}

/// Bytes to be written again: after a failed sync, bytes that are read may not be on the disk, and no later sync
/// would put them there.
#[derive(Debug)]
struct Unproven {
    number: u64,
    offset: u64,
    bytes: Vec<u8>,
}

/// What recovery cut off because it had never been acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The log file.
    pub file: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Where the bytes are kept; `None` when the disk had no room for them.
    pub kept: Option<PathBuf>,
}

/// Reads all log files and judges them. Changes nothing.
///
/// `start_seq` is the number before the first record of a log of which only the first file is left. `told` hears of
/// each file how many are judged, of how many.
pub(crate) fn analyse(
    disk: &dyn Disk,
    directory: &Path,
    lake_id: &[u8; 16],
    start_seq: u64,
    told: &mut dyn FnMut(usize, usize),
) -> Result<Analysis> {
    let mut numbers = file::list(disk, directory)?;
    file::check_numbers(directory, &numbers)?;
    let mut analysis =
        Analysis { files: Vec::new(), spare: None, last_seq: None, torn: None, unproven: None };
    if let Some(last) = numbers.last().copied()
        && LogFile::read(disk, directory, last)?.is_never_written()
    {
        analysis.spare = Some(last);
        numbers.pop();
        // A spare is made only behind a file that was synced, and the newest file is never removed.
        if numbers.is_empty() && last > 1 {
            let file = format::file_path(directory, last - 1);
            return Err(WalError::Corrupt {
                file,
                offset: 0,
                what: "the file is missing, but the one made ahead of it is there".into(),
            });
        }
    }
    let last = numbers.last().copied();
    let mut next = None;
    for (index, number) in numbers.iter().copied().enumerate() {
        let file = match next.take() {
            Some(file) => file,
            None => LogFile::read(disk, directory, number)?,
        };
        next = match numbers.get(index + 1) {
            Some(number) => Some(LogFile::read(disk, directory, *number)?),
            None => None,
        };
        told(index, numbers.len());
        let previous_seq = analysis.last_seq.unwrap_or(start_seq);
        match file.header(lake_id, previous_seq)? {
            Err(Headless::NeverWritten) => {
                return Err(file.corrupt(0, "the file is empty, but a later one is there"));
            }
            Err(Headless::Broken(later)) => {
                // A file is followed by another, also by a spare one, only after it was synced once; and it is the
                // first of its log only when that is new.
                let never_synced = Some(number) == last
                    && analysis.spare.is_none()
                    && (analysis.last_seq.is_some() || number == 1)
                    && later.is_none_or(|durable| durable <= previous_seq);
                if !never_synced {
                    return Err(file.corrupt(0, "the header is broken"));
                }
                let end = file.used();
                analysis.torn = Some(Torn { file, offset: 0, end });
            }
            Ok(header) => {
                if analysis.last_seq.is_some_and(|before| before != header.previous_seq) {
                    let what = format!(
                        "the file follows record {}, but the file before ends at {previous_seq}",
                        header.previous_seq
                    );
                    return Err(file.corrupt(0, what));
                }
                if analysis.files.last().is_some_and(|before| before.epoch > header.epoch) {
                    return Err(file.corrupt(0, "the epoch is lower than in the file before"));
                }
                let limit = match &next {
                    Some(next) => next.header(lake_id, 0)?.ok().map(|header| header.previous_seq),
                    None => None,
                };
                let summary = file.summary(header, limit)?;
                let length = file.bytes.len() as u64;
                analysis.last_seq = Some(summary.last_seq);
                analysis.files.push(KnownFile {
                    number,
                    epoch: header.epoch,
                    first_seq: header.first_seq,
                    last_seq: summary.last_seq,
                    end: summary.end as u64,
                    length,
                    file_bytes: header.file_bytes,
                });
                let is_last = Some(number) == last;
                // A file that is followed only by one whose header is torn was synced to its end.
                if is_last {
                    let bytes = file.bytes.get(summary.unproven..summary.end).unwrap_or_default().to_vec();
                    analysis.unproven = Some(Unproven { number, offset: summary.unproven as u64, bytes });
                }
                let short = is_last && length < header.file_bytes;
                match summary.ending {
                    Ending::Clean if short && summary.end as u64 != length => {
                        let what = format!("the file was cut: it had {} bytes", header.file_bytes);
                        return Err(file.corrupt(file.bytes.len(), what));
                    }
                    Ending::Clean => {}
                    Ending::Broken(later) => {
                        let bad_seq = summary.last_seq.saturating_add(1);
                        if short || !is_last || later.is_some_and(|durable| durable >= bad_seq) {
                            let what = format!("record {bad_seq} is broken");
                            return Err(file.corrupt(summary.end, what));
                        }
                        let end = file.used();
                        analysis.torn = Some(Torn { file, offset: summary.end, end });
                    }
                }
            }
        }
    }
    Ok(analysis)
}

/// Cuts off what [`analyse`] found torn, after keeping a copy, and makes what is left durable: after the death of a
/// process, whole frames may still be only in memory.
pub(crate) fn settle(disk: &dyn Disk, directory: &Path, analysis: &mut Analysis) -> Result<Option<TornTail>> {
    let sync_failed = |path: &Path, source| WalError::Sync { file: path.to_owned(), source };
    let write_failed =
        |path: &Path, offset, source| WalError::Write { file: path.to_owned(), offset, source };
    let tail = match analysis.torn.take() {
        None => None,
        Some(torn) => {
            let kept = keep(disk, directory, &torn)?;
            let path = &torn.file.path;
            let (offset, end) = (torn.offset as u64, torn.end as u64);
            if torn.offset < FILE_HEADER_BYTES {
                disk.remove(path).map_err(|source| write_failed(path, 0, source))?;
            } else {
                let mut file = open(disk, path)?;
                let sealed =
                    erase(&mut *file, offset, end).map_err(|source| write_failed(path, offset, source))?;
                file.sync_all().map_err(|source| sync_failed(path, source))?;
                if sealed && let Some(last) = analysis.files.last_mut() {
                    last.length = offset;
                }
            }
            let bytes = end.saturating_sub(offset);
            tracing::warn!(file = %path.display(), offset, bytes, "cut off a write that was never acknowledged");
            Some(TornTail { file: path.clone(), offset, bytes, kept })
        }
    };
    if let Some(unproven) = analysis.unproven.take() {
        let path = format::file_path(directory, unproven.number);
        let mut file = open(disk, &path)?;
        match file.write_at(unproven.offset, &unproven.bytes) {
            // The same bytes over themselves do no harm when they are written only in part.
            Err(source) if !is_full(&source) => return Err(write_failed(&path, unproven.offset, source)),
            _ => file.sync_all().map_err(|source| sync_failed(&path, source))?,
        }
    }
    // A spare file is made anew: what an earlier failure left on the disk of this one is unknown.
    if let Some(spare) = analysis.spare.take() {
        let path = format::file_path(directory, spare);
        disk.remove(&path).map_err(|source| write_failed(&path, 0, source))?;
    }
    disk.sync_directory(directory).map_err(|source| sync_failed(directory, source))?;
    Ok(tail)
}

fn open(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskFile>> {
    disk.open(path, Access::ReadWrite).map_err(|source| WalError::Read { file: path.to_owned(), source })
}

/// Makes a range of a file read as zero. Returns whether the file had to be cut to do so; it is then never written
/// again. The caller syncs.
pub(crate) fn erase(file: &mut dyn DiskFile, start: u64, end: u64) -> io::Result<bool> {
    const STEP: u64 = 1 << 20;
    let end = end.min(file.length()?);
    let zeros = vec![0; usize::try_from(end.saturating_sub(start).min(STEP)).map_err(io::Error::other)?];
    let mut offset = start;
    while offset < end {
        let count = usize::try_from((end - offset).min(STEP)).map_err(io::Error::other)?;
        if file.write_at(offset, &zeros[..count]).is_err() {
            // A file system that copies on write may be unable to overwrite when it is full.
            return file.truncate(start).map(|()| true);
        }
        offset += count as u64;
    }
    Ok(false)
}

/// Copies a torn tail into the quarantine folder, `None` when there is no room.
fn keep(disk: &dyn Disk, directory: &Path, torn: &Torn) -> Result<Option<PathBuf>> {
    let folder = directory.join(QUARANTINE);
    let path = folder.join(format!("{:020}-{}.torn", torn.file.number, torn.offset));
    let copy = || -> io::Result<()> {
        disk.create_directories(&folder)?;
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = disk.create(&path)?;
        file.write_at(0, torn.file.bytes.get(torn.offset..torn.end).unwrap_or_default())?;
        file.sync_all()?;
        disk.sync_directory(&folder)
    };
    match copy() {
        Ok(()) => Ok(Some(path)),
        Err(error) if is_full(&error) => {
            // The bytes were never acknowledged, and the lake must open on a full disk.
            let _ = disk.remove(&path);
            Ok(None)
        }
        Err(source) => Err(WalError::Write { file: path, offset: 0, source }),
    }
}

/// The records that a log held when it was opened, in order, one file in memory at a time.
#[derive(Debug)]
pub struct Recovered {
    records: Records,
    first_seq: u64,
    last_seq: u64,
    torn_tail: Option<TornTail>,
}

impl Recovered {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        lake_id: [u8; 16],
        files: &[KnownFile],
        last_seq: u64,
        torn_tail: Option<TornTail>,
    ) -> Self {
        let first_seq = files.first().map_or(last_seq.saturating_add(1), |file| file.first_seq);
        let records = Records::new(disk, directory, lake_id, files);
        Self { records, first_seq, last_seq, torn_tail }
    }

    /// The number of the first record, or of the next one when there is none. A table that holds less than all
    /// records before it cannot be recovered.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// The number of the last record; one less than [`Recovered::first_seq`] when there is none.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// What was cut off because it had never been acknowledged.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn_tail.as_ref()
    }

    /// The records for recovery, read ahead. Points of records up to `held_seq` are in tables and left out.
    pub(crate) fn replay(self, held_seq: u64) -> Result<Replay> {
        Replay::new(self.records, held_seq)
    }
}

impl Iterator for Recovered {
    type Item = Result<(u64, Record)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next_whole()
    }
}

/// Reads the whole frames of judged files. Ends after the first error.
#[derive(Debug)]
pub(crate) struct Records {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    lake_id: [u8; 16],
    files: VecDeque<KnownFile>,
    current: Option<(LogFile, usize, usize)>,
    names: Names,
}

impl Records {
    fn new(disk: Arc<dyn Disk>, directory: PathBuf, lake_id: [u8; 16], files: &[KnownFile]) -> Self {
        let files = files.iter().copied().collect();
        Self { disk, directory, lake_id, files, current: None, names: Names::default() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Bytes that are still to be read.
    pub(super) fn bytes_left(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, |(_, offset, end)| end.saturating_sub(*offset) as u64);
        current + self.files.iter().map(|file| file.end).sum::<u64>()
    }

    fn step<T>(
        &mut self,
        read: impl Fn(&LogFile, &[u8; 16], usize, &mut Names) -> Result<(T, usize)>,
    ) -> Result<Option<T>> {
        loop {
            if let Some((file, offset, end)) = &mut self.current {
                if offset < end {
                    let (record, next) = read(file, &self.lake_id, *offset, &mut self.names)?;
                    *offset = next;
                    return Ok(Some(record));
                }
                self.current = None;
            }
            let Some(known) = self.files.pop_front() else { return Ok(None) };
            let file = LogFile::read(&*self.disk, &self.directory, known.number)?;
            let end = usize::try_from(known.end).unwrap_or(usize::MAX);
            self.current = Some((file, FILE_HEADER_BYTES, end));
        }
    }
}

impl Records {
    fn next_by<T>(
        &mut self,
        read: impl Fn(&LogFile, &[u8; 16], usize, &mut Names) -> Result<(T, usize)>,
    ) -> Option<Result<T>> {
        let step = self.step(read);
        if step.is_err() {
            self.files.clear();
            self.current = None;
        }
        step.transpose()
    }

    fn next_whole(&mut self) -> Option<Result<(u64, Record)>> {
        self.next_by(|file, lake_id, offset, names| {
            let (seq, record, next) = file.record(lake_id, offset, names)?;
            Ok(((seq, record), next))
        })
    }

    /// The next record; of points up to `held_seq` only who sent them.
    pub(super) fn next_beyond(&mut self, held_seq: u64) -> Option<Result<(u64, Replayed)>> {
        self.next_by(|file, lake_id, offset, names| {
            let (seq, record, next) = file.record_beyond(lake_id, offset, held_seq, names)?;
            Ok(((seq, record), next))
        })
    }
}
