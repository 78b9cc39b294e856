//! One log file, read and judged: which frames are whole, how they end, and what that means.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Result, WalError};
use super::format::{self, FILE_HEADER_BYTES, FORMAT, FileHeader, Frame, FrameHeader};
use super::record::{HIGHEST_KIND, KIND_POINTS, Names, Record, RecordError};
use super::replay::Replayed;
use crate::disk::{Access, Disk, read_all};

/// The longest log file that is read.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 30;

/// The bytes of a log file.
#[derive(Debug)]
pub(crate) struct LogFile {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    /// Behind this offset nothing was ever written: the bytes are zero.
    written: usize,
}

/// What the frames of a file add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) header: FileHeader,
    /// The last whole frame, or the last number of the file before when there is none.
    pub(crate) last_seq: u64,
    /// Where the whole frames end.
    pub(crate) end: usize,
    /// The highest durable number in the frames.
    pub(crate) durable_seq: u64,
    /// From where on no later frame proves that the bytes were synced.
    pub(crate) unproven: usize,
    pub(crate) ending: Ending,
}

/// What follows the last whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing was ever written there.
    Clean,
    /// Something that is no whole frame. The number is the highest that a later frame calls durable.
    Broken(Option<u64>),
}

/// A file without a whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headless {
    /// Nothing was ever written.
    NeverWritten,
    /// The beginning is broken. The number is the highest that a later frame calls durable.
    Broken(Option<u64>),
}

impl LogFile {
    pub(crate) fn read(disk: &dyn Disk, directory: &Path, number: u64) -> Result<Self> {
        let path = format::file_path(directory, number);
        let file = disk.open(&path, Access::Read).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => WalError::Vanished { file: path.clone() },
            _ => WalError::Read { file: path.clone(), source },
        })?;
        let (bytes, written) = read_all(&*file, MAX_FILE_BYTES)
            .map_err(|source| WalError::Read { file: path.clone(), source })?;
        Ok(Self { number, path, bytes, written })
    }

    pub(crate) fn corrupt(&self, offset: usize, what: impl Into<String>) -> WalError {
        WalError::Corrupt { file: self.path.clone(), offset: offset as u64, what: what.into() }
    }

    pub(crate) fn is_never_written(&self) -> bool {
        self.used() == 0
    }

    /// The end of the bytes that are not zero.
    pub(crate) fn used(&self) -> usize {
        format::used_bytes(self.bytes.get(..self.written).unwrap_or(&self.bytes))
    }

    /// The header when it is whole, checked against the lake and the name of the file.
    ///
    /// `previous_seq` is the last number before this file, as far as it is known.
    pub(crate) fn header(
        &self,
        lake_id: &[u8; 16],
        previous_seq: u64,
    ) -> Result<std::result::Result<FileHeader, Headless>> {
        let Some(header) = FileHeader::decode(&self.bytes) else {
            if self.is_never_written() {
                return Ok(Err(Headless::NeverWritten));
            }
            let seed = format::frame_seed(lake_id, self.number);
            let durable = format::later_durable_seq(&self.bytes, FILE_HEADER_BYTES, seed, previous_seq);
            return Ok(Err(Headless::Broken(durable)));
        };
        if header.format > FORMAT {
            return Err(WalError::NewerFormat {
                file: self.path.clone(),
                what: "format",
                found: header.format,
                known: FORMAT,
            });
        }
        if header.lake_id != *lake_id {
            return Err(WalError::WrongLake { file: self.path.clone() });
        }
        if header.number != self.number {
            return Err(self.corrupt(0, format!("the file was written as number {}", header.number)));
        }
        if header.first_seq != header.previous_seq.saturating_add(1) {
            return Err(self.corrupt(0, "the first record does not follow the file before"));
        }
        Ok(Ok(header))
    }

    /// Walks over all frames and judges the end.
    ///
    /// `limit` is the number that the next file follows. It is the authority: what a file holds after it was given
    /// up after a failure, and may come back when power is cut, although another writer has gone on since.
    pub(crate) fn summary(&self, header: FileHeader, limit: Option<u64>) -> Result<Summary> {
        let seed = format::frame_seed(&header.lake_id, header.number);
        let mut summary = Summary {
            header,
            last_seq: header.previous_seq,
            end: FILE_HEADER_BYTES,
            durable_seq: header.previous_seq,
            unproven: 0,
            ending: Ending::Clean,
        };
        while limit.is_none_or(|limit| summary.last_seq < limit)
            && let Some(frame) = format::read_frame(&self.bytes, summary.end, seed)
        {
            self.check(&frame, &summary)?;
            if frame.header.durable_seq > summary.durable_seq {
                // Frames that are written together name the same durable number.
                summary.unproven = summary.end;
            }
            summary.last_seq = frame.header.seq;
            summary.durable_seq = summary.durable_seq.max(frame.header.durable_seq);
            summary.end = frame.end;
        }
        if limit == Some(summary.last_seq) {
            return Ok(summary);
        }
        if self.used() > summary.end {
            let later = format::later_durable_seq(&self.bytes, summary.end, seed, summary.last_seq);
            summary.ending = Ending::Broken(later);
        }
        Ok(summary)
    }

    /// Checks what a right checksum cannot make right.
    fn check(&self, frame: &Frame<'_>, before: &Summary) -> Result<()> {
        let expected = before.last_seq.saturating_add(1);
        let header = frame.header;
        if header.seq != expected {
            return Err(
                self.corrupt(before.end, format!("record {} stands where {expected} belongs", header.seq))
            );
        }
        if header.durable_seq >= header.seq || header.durable_seq < before.durable_seq {
            let what = format!("record {expected} says that {} was durable before it", header.durable_seq);
            return Err(self.corrupt(before.end, what));
        }
        if header.kind > HIGHEST_KIND {
            return Err(WalError::NewerFormat {
                file: self.path.clone(),
                what: "records of kind",
                found: u32::from(header.kind),
                known: u32::from(HIGHEST_KIND),
            });
        }
        Ok(())
    }

    /// The record at an offset that a [`Summary`] has found whole, with its number and the offset of the next.
    pub(crate) fn record(
        &self,
        lake_id: &[u8; 16],
        offset: usize,
        names: &mut Names,
    ) -> Result<(u64, Record, usize)> {
        let frame = self.frame(lake_id, offset)?;
        let record = Record::decode_with(frame.header.kind, frame.payload, names);
        let record = record.map_err(|source| self.unreadable(offset, &frame, source))?;
        Ok((frame.header.seq, record, frame.end))
    }

    /// The same; of points up to `held_seq` only who sent them.
    pub(crate) fn record_beyond(
        &self,
        lake_id: &[u8; 16],
        offset: usize,
        held_seq: u64,
        names: &mut Names,
    ) -> Result<(u64, Replayed, usize)> {
        let frame = self.frame(lake_id, offset)?;
        let FrameHeader { seq, kind, .. } = frame.header;
        let record = match kind {
            KIND_POINTS if seq <= held_seq => Record::decode_writer(frame.payload).map(Replayed::Held),
            kind => Record::decode_with(kind, frame.payload, names).map(Replayed::Whole),
        };
        let record = record.map_err(|source| self.unreadable(offset, &frame, source))?;
        Ok((seq, record, frame.end))
    }

    fn frame(&self, lake_id: &[u8; 16], offset: usize) -> Result<Frame<'_>> {
        let seed = format::frame_seed(lake_id, self.number);
        format::read_frame(&self.bytes, offset, seed)
            .ok_or_else(|| self.corrupt(offset, "the checksum of the record is wrong"))
    }

    fn unreadable(&self, offset: usize, frame: &Frame<'_>, source: RecordError) -> WalError {
        let (file, offset) = (self.path.clone(), offset as u64);
        WalError::Record { file, offset, seq: frame.header.seq, source }
    }
}

/// The number that the next file follows, when it is there and its header is whole: where the file before ends.
///
/// # Errors
/// Outside, when the next file cannot be read; inside, when its header is whole and wrong, which shows again when that
/// file is read itself.
pub(crate) fn limit(
    disk: &dyn Disk,
    directory: &Path,
    lake_id: &[u8; 16],
    next: Option<u64>,
) -> Result<Result<Option<u64>>> {
    let Some(next) = next else { return Ok(Ok(None)) };
    let header = LogFile::read(disk, directory, next)?.header(lake_id, 0);
    Ok(header.map(|header| header.ok().map(|header| header.previous_seq)))
}

/// The numbers of the log files in a folder, rising. Other files are left alone.
pub(crate) fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<u64>> {
    let names =
        disk.list(directory).map_err(|source| WalError::Read { file: directory.to_owned(), source })?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| format::file_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Refuses a list of log files with a gap: files are removed from the oldest on, one by one.
pub(crate) fn check_numbers(directory: &Path, numbers: &[u64]) -> Result<()> {
    match numbers.windows(2).find(|pair| pair[0].saturating_add(1) != pair[1]) {
        None => Ok(()),
        Some(pair) => Err(WalError::Corrupt {
            file: format::file_path(directory, pair[0].saturating_add(1)),
            offset: 0,
            what: "the file is missing, but later ones are there".into(),
        }),
    }
}

/// The length of all log files in a folder; 0 when there is no folder.
pub(crate) fn bytes(disk: &dyn Disk, directory: &Path) -> Result<u64> {
    match disk.entries(directory) {
        Ok(entries) => {
            let files = entries.iter().filter(|entry| format::file_number(&entry.name).is_some());
            Ok(files.map(|entry| entry.status.length).sum())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(WalError::Read { file: directory.to_owned(), source }),
    }
}
