//! Making a damaged log readable again: every whole frame stays with its number, and a frame that stands for nothing
//! takes the place of each record that is lost. The originals are kept in `quarantine/`.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::error::{Result, WalError};
use super::file::{self, LogFile, MAX_FILE_BYTES};
use super::format::{self, FILE_HEADER_BYTES, FORMAT, FileHeader, FrameHeader};
use super::record::Record;
use super::survey::walk;
use crate::disk::Disk;

/// Where the originals are kept.
const QUARANTINE: &str = "quarantine";

/// A log file that was made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalvagedFile {
    /// The log file, relative to the folder of the log.
    pub file: String,
    /// Where its original is kept, relative to the folder of the log; "(it was missing)" when there was none.
    pub kept: String,
}

/// A log as far as it can be read.
#[derive(Debug)]
pub(crate) struct Plan {
    files: Vec<PlannedFile>,
    /// The numbers of records that are lost.
    pub(crate) lost: Vec<RangeInclusive<u64>>,
}

#[derive(Debug)]
struct PlannedFile {
    number: u64,
    exists: bool,
    epoch: u64,
    file_bytes: u64,
    previous_seq: u64,
    /// The last record that the file holds or stands for.
    last_seq: u64,
    frames: Vec<PlacedFrame>,
    damaged: bool,
}

#[derive(Debug, Clone, Copy)]
struct PlacedFrame {
    seq: u64,
    durable_seq: u64,
    start: usize,
    end: usize,
}

/// Reads a log that may be damaged, hands out every record that can be read, and plans how to make it whole.
///
/// `committed_seq` is the highest number that any table holds.
pub(crate) fn plan(
    disk: &dyn Disk,
    directory: &Path,
    lake_id: &[u8; 16],
    committed_seq: u64,
    visit: &mut dyn FnMut(u64, &Record),
) -> Result<Plan> {
    let mut numbers = file::list(disk, directory)?;
    if let Some(last) = numbers.last().copied()
        && LogFile::read(disk, directory, last)?.is_never_written()
    {
        numbers.pop();
    }
    let mut plan = Plan { files: Vec::new(), lost: Vec::new() };
    let (Some(first), Some(last)) = (numbers.first().copied(), numbers.last().copied()) else {
        return Ok(plan);
    };
    for number in first..=last {
        let before = plan.files.last().map(|file| file.last_seq);
        let planned = if numbers.binary_search(&number).is_ok() {
            read(disk, directory, lake_id, number, before, visit)?
        } else {
            None
        };
        let exists = numbers.binary_search(&number).is_ok();
        let epoch = plan.files.last().map_or(1, |file| file.epoch);
        let file_bytes = plan.files.last().map_or(FILE_HEADER_BYTES as u64, |file| file.file_bytes);
        let previous_seq = before.unwrap_or(0);
        let mut planned = planned.unwrap_or(PlannedFile {
            number,
            exists,
            epoch,
            file_bytes,
            previous_seq,
            last_seq: previous_seq,
            frames: Vec::new(),
            damaged: true,
        });
        match (before, plan.files.last_mut()) {
            // What is missing between two files is lost at the end of the first.
            (Some(before), Some(last)) if planned.previous_seq > before => {
                last.last_seq = planned.previous_seq;
                last.damaged = true;
            }
            (Some(before), _) if planned.previous_seq < before => {
                planned.frames.retain(|frame| frame.seq > before);
                planned.previous_seq = before;
                planned.last_seq = planned.last_seq.max(before);
                planned.damaged = true;
            }
            _ => {}
        }
        plan.files.push(planned);
    }
    if let Some(oldest) = plan.files.first_mut()
        && oldest.previous_seq > committed_seq
    {
        oldest.previous_seq = committed_seq;
        oldest.damaged = true;
    }
    if let Some(newest) = plan.files.last_mut()
        && newest.last_seq < committed_seq
    {
        newest.last_seq = committed_seq;
        newest.damaged = true;
    }
    let mut lost: Vec<RangeInclusive<u64>> = Vec::new();
    for file in plan.files.iter_mut() {
        let mut expected = file.previous_seq.saturating_add(1);
        for seq in file.frames.iter().map(|frame| frame.seq).chain([file.last_seq.saturating_add(1)]) {
            if seq > expected {
                file.damaged = true;
                match lost.last_mut() {
                    Some(last) if last.end().saturating_add(1) == expected => *last = *last.start()..=seq - 1,
                    _ => lost.push(expected..=seq - 1),
                }
            }
            expected = seq.saturating_add(1);
        }
    }
    plan.lost = lost;
    Ok(plan)
}

fn read(
    disk: &dyn Disk,
    directory: &Path,
    lake_id: &[u8; 16],
    number: u64,
    before: Option<u64>,
    visit: &mut dyn FnMut(u64, &Record),
) -> Result<Option<PlannedFile>> {
    let log = LogFile::read(disk, directory, number)?;
    let limit = file::limit(disk, directory, lake_id, Some(number.saturating_add(1)));
    let limit = limit.ok().and_then(Result::ok).flatten();
    let mut frames = Vec::new();
    let walked = walk(&log, lake_id, before, limit, &mut |start, frame| {
        if let Ok(record) = Record::decode(frame.header.kind, frame.payload) {
            let FrameHeader { seq, durable_seq, .. } = frame.header;
            visit(seq, &record);
            frames.push(PlacedFrame { seq, durable_seq, start, end: frame.end });
        }
    })?;
    if walked.header.is_none() && frames.is_empty() {
        return Ok(None);
    }
    let proven = walked.gaps.iter().any(|gap| gap.proven);
    let is_cut =
        walked.header.is_some_and(|header| limit.is_none() && (log.bytes.len() as u64) < header.file_bytes)
            && frames.last().map_or(FILE_HEADER_BYTES, |frame| frame.end) != log.bytes.len();
    Ok(Some(PlannedFile {
        number,
        exists: true,
        epoch: walked.header.map_or(1, |header| header.epoch),
        file_bytes: walked.header.map_or(log.bytes.len() as u64, |header| header.file_bytes),
        previous_seq: walked.previous_seq,
        last_seq: walked.last_seq.max(limit.unwrap_or(0)),
        frames,
        damaged: walked.header.is_none() || proven || is_cut,
    }))
}

impl Plan {
    /// Makes the damaged files anew. `stand_in` takes the place of the first record that is lost, empty records that of
    /// the others.
    pub(crate) fn carry_out(
        &self,
        disk: &dyn Disk,
        directory: &Path,
        lake_id: &[u8; 16],
        mut stand_in: Option<Record>,
    ) -> Result<Vec<SalvagedFile>> {
        let mut done = Vec::new();
        for file in self.files.iter().filter(|file| file.damaged) {
            let bytes = file.build(disk, directory, lake_id, &mut stand_in)?;
            let path = format::file_path(directory, file.number);
            let failed = |source| WalError::Write { file: path.clone(), offset: 0, source };
            let kept = if file.exists { keep(disk, directory, &path).map_err(failed)? } else { None };
            crate::disk::replace_file(disk, &path, &bytes).map_err(failed)?;
            let name =
                |path: &Path| path.strip_prefix(directory).unwrap_or(path).to_string_lossy().into_owned();
            done.push(SalvagedFile {
                file: name(&path),
                kept: kept.as_deref().map_or_else(|| "(it was missing)".to_owned(), name),
            });
        }
        Ok(done)
    }
}

impl PlannedFile {
    fn build(
        &self,
        disk: &dyn Disk,
        directory: &Path,
        lake_id: &[u8; 16],
        stand_in: &mut Option<Record>,
    ) -> Result<Vec<u8>> {
        let original =
            if self.exists { LogFile::read(disk, directory, self.number)?.bytes } else { Vec::new() };
        let header = FileHeader {
            format: FORMAT,
            lake_id: *lake_id,
            epoch: self.epoch,
            number: self.number,
            first_seq: self.previous_seq.saturating_add(1),
            previous_seq: self.previous_seq,
            file_bytes: 0,
        };
        let seed = format::frame_seed(lake_id, self.number);
        let mut out = header.encode().to_vec();
        let mut durable_seq = self.previous_seq;
        let mut frames = self.frames.iter().peekable();
        for seq in self.previous_seq.saturating_add(1)..=self.last_seq {
            if let Some(frame) = frames.next_if(|frame| frame.seq == seq) {
                durable_seq = durable_seq.max(frame.durable_seq);
                out.extend_from_slice(original.get(frame.start..frame.end).unwrap_or_default());
            } else {
                let record = stand_in.take().unwrap_or(Record::Writers(Vec::new()));
                let header = FrameHeader { seq, durable_seq, kind: record.kind() };
                format::write_frame(header, seed, &mut out, |payload| record.encode(payload));
            }
            if out.len() as u64 > MAX_FILE_BYTES {
                let what =
                    format!("more than {MAX_FILE_BYTES} bytes would be needed to stand for what is lost");
                return Err(WalError::Corrupt {
                    file: format::file_path(directory, self.number),
                    offset: 0,
                    what,
                });
            }
        }
        // The file ends behind its last frame, and its header says so.
        let header = FileHeader { file_bytes: out.len() as u64, ..header };
        if let Some(place) = out.first_chunk_mut::<FILE_HEADER_BYTES>() {
            *place = header.encode();
        }
        Ok(out)
    }
}

/// Gives the original a second name in the quarantine.
fn keep(disk: &dyn Disk, directory: &Path, path: &Path) -> std::io::Result<Option<PathBuf>> {
    let folder = directory.join(QUARANTINE);
    disk.create_directories(&folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for attempt in 0_u32.. {
        let kept = folder.join(format!("{name}.damaged-{attempt}"));
        match disk.hard_link(path, &kept) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => {
                disk.sync_directory(&folder)?;
                return Ok(Some(kept));
            }
        }
    }
    Ok(None)
}
