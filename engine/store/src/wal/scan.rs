//! Reading a log that another process may be writing, and checking it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Result, WalError};
use super::file::{self, Ending, Headless, LogFile};
use super::format::{self, FILE_HEADER_BYTES};
use super::record::{Names, Record};
use super::survey::Finding;
use crate::disk::Disk;

/// How often a file that looks broken is read again: its writer may have been in the middle of it.
const ATTEMPTS: usize = 3;

/// Reads the records of a log in order, without changing anything, also while another process appends. What is
/// there when the scan reaches the end is read; a record that is just being written is simply the end.
///
/// The records at the end may not be synced yet. A file that the writer removes meanwhile gives
/// [`WalError::Vanished`]: take a fresh snapshot of the tables and scan again.
///
/// # Errors
/// As the first item, when the folder cannot be listed; later as [`Scan`] meets damage.
pub fn scan(directory: impl Into<PathBuf>, lake_id: [u8; 16], disk: Arc<dyn Disk>) -> Scan {
    let directory = directory.into();
    let listed = file::list(&*disk, &directory);
    let listed = listed.and_then(|numbers| file::check_numbers(&directory, &numbers).map(|()| numbers));
    let (numbers, failed) = match listed {
        Ok(numbers) => (numbers.into(), None),
        Err(error) => (VecDeque::new(), Some(error)),
    };
    Scan { disk, directory, lake_id, numbers, failed, current: None, last_seq: None, names: Names::default() }
}

/// The iterator of [`scan`]. Ends after the first error.
#[derive(Debug)]
pub struct Scan {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    lake_id: [u8; 16],
    numbers: VecDeque<u64>,
    failed: Option<WalError>,
    current: Option<Open>,
    last_seq: Option<u64>,
    names: Names,
}

#[derive(Debug)]
struct Open {
    file: LogFile,
    offset: usize,
    end: usize,
}

impl Scan {
    fn step(&mut self) -> Result<Option<(u64, Record)>> {
        loop {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if let Some(open) = &mut self.current {
                if open.offset < open.end {
                    let (seq, record, next) =
                        open.file.record(&self.lake_id, open.offset, &mut self.names)?;
                    open.offset = next;
                    self.last_seq = Some(seq);
                    return Ok(Some((seq, record)));
                }
                let number = open.file.number;
                if self.has_more(number)? {
                    continue;
                }
            }
            let Some(number) = self.numbers.pop_front() else { return Ok(None) };
            if !self.open(number, FILE_HEADER_BYTES)? {
                return Ok(None);
            }
        }
    }

    /// Whether the file at hand, read to its end, has grown since: it has when the next one is begun.
    fn has_more(&mut self, number: u64) -> Result<bool> {
        let Some(next) = self.numbers.front().copied() else {
            self.current = None;
            return Ok(false);
        };
        let next = LogFile::read(&*self.disk, &self.directory, next)?;
        let (Some(last_seq), Ok(Ok(header))) = (self.last_seq, next.header(&self.lake_id, 0)) else {
            self.current = None;
            return Ok(false);
        };
        let Some(open) = self.current.take() else { return Ok(false) };
        if header.previous_seq == last_seq {
            return Ok(false);
        }
        if !self.open(number, open.offset)? || self.current.as_ref().is_some_and(|o| o.offset >= o.end) {
            let what =
                format!("the file ends at record {last_seq}, the next one follows {}", header.previous_seq);
            return Err(open.file.corrupt(open.offset, what));
        }
        Ok(true)
    }

    /// Reads a file and places the scan at an offset of it. Returns whether it has a header yet.
    fn open(&mut self, number: u64, offset: usize) -> Result<bool> {
        let mut attempt = 1;
        loop {
            // What is wrong with the next file shows when it is read itself.
            let next = self.numbers.front().copied();
            let limit = file::limit(&*self.disk, &self.directory, &self.lake_id, next)?.unwrap_or_default();
            let file = LogFile::read(&*self.disk, &self.directory, number)?;
            match self.judge(&file, limit) {
                Ok(None) => return Ok(false),
                Ok(Some(end)) => {
                    self.current = Some(Open { file, offset, end });
                    return Ok(true);
                }
                Err(error) if attempt >= ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    /// Where the whole frames of a file end, `None` when it has no header yet.
    fn judge(&mut self, file: &LogFile, limit: Option<u64>) -> Result<Option<usize>> {
        let before = self.last_seq.unwrap_or(0);
        let header = match file.header(&self.lake_id, before)? {
            Ok(header) => header,
            Err(headless) => {
                // A file is followed by another, also by a spare one, only after it was synced once; and one without
                // a file before it is the first of its log.
                let first_of_all = self.last_seq.is_some() || file.number == 1;
                let durable = match headless {
                    Headless::Broken(durable) => durable.is_some_and(|durable| durable > before),
                    Headless::NeverWritten => false,
                };
                if durable || !first_of_all || !self.numbers.is_empty() {
                    return Err(file.corrupt(0, "the header is broken or missing"));
                }
                return Ok(None);
            }
        };
        let is_short = limit.is_none() && (file.bytes.len() as u64) < header.file_bytes;
        let summary = file.summary(header, limit)?;
        match summary.ending {
            Ending::Broken(Some(durable)) if durable > summary.last_seq => {
                let what = format!("record {} is broken", summary.last_seq.saturating_add(1));
                Err(file.corrupt(summary.end, what))
            }
            ending if is_short && (ending != Ending::Clean || summary.end != file.bytes.len()) => {
                let what = format!("the file was cut: it had {} bytes", header.file_bytes);
                Err(file.corrupt(file.bytes.len(), what))
            }
            _ => {
                self.last_seq = self.last_seq.or(Some(header.previous_seq));
                Ok(Some(summary.end))
            }
        }
    }
}

impl Iterator for Scan {
    type Item = Result<(u64, Record)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.numbers.clear();
            self.current = None;
        }
        step.transpose()
    }
}

/// The number of the oldest record that the log still has, as its oldest file says; `None` when there is no file or its
/// header is broken. Everything before it was in tables when older files were removed.
///
/// # Errors
/// When the folder or the file cannot be read.
pub fn first_seq(directory: &Path, lake_id: [u8; 16], disk: &dyn Disk) -> Result<Option<u64>> {
    let numbers = match file::list(disk, directory) {
        Ok(numbers) => numbers,
        Err(WalError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let Some(oldest) = numbers.first() else { return Ok(None) };
    let path = format::file_path(directory, *oldest);
    let read = |source| WalError::Read { file: path.clone(), source };
    let file = match disk.open(&path, crate::disk::Access::Read) {
        Ok(file) => file,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(WalError::Vanished { file: path });
        }
        Err(source) => return Err(read(source)),
    };
    let mut bytes = [0; FILE_HEADER_BYTES];
    file.read_at(0, &mut bytes).map_err(read)?;
    Ok(format::FileHeader::decode(&bytes)
        .filter(|header| header.lake_id == lake_id)
        .map(|header| header.first_seq))
}

/// Checks every log file and every record of a log that nobody writes, and goes on after damage as far as it can.
/// A tail that was never acknowledged is no damage: the next open cuts it off.
pub fn verify(directory: &Path, lake_id: [u8; 16], disk: &dyn Disk) -> Vec<Finding> {
    super::survey::survey(directory, lake_id, disk, &mut |_, _| {}, &mut |_| {}).findings
}
