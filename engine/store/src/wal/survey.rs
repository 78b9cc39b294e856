//! Looking at every byte of a log that may be damaged: what is whole, what is not, and which records are lost.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::error::{Result, WalError};
use super::file::{self, Headless, LogFile};
use super::format::{self, FILE_HEADER_BYTES, FileHeader, Frame};
use super::record::Record;
use crate::disk::Disk;

/// One thing that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, or the folder.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How many bytes, 0 when that makes no sense.
    pub bytes: u64,
    /// The numbers of the records that are lost because of it.
    pub lost: Option<RangeInclusive<u64>>,
    /// What is wrong there.
    pub what: String,
}

/// Bytes between whole frames, or behind the last one, that are no frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The last whole record before it.
    pub(crate) after_seq: u64,
    /// The first whole record behind it in the same file.
    pub(crate) next_seq: Option<u64>,
    /// Whether something later proves that records in it were synced.
    pub(crate) proven: bool,
}

/// A file as far as it can be made out.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) header: Option<FileHeader>,
    /// The number before its first record.
    pub(crate) previous_seq: u64,
    /// Its last whole record, or the number before its first one.
    pub(crate) last_seq: u64,
    pub(crate) gaps: Vec<Gap>,
}

/// Goes over all whole frames of a file, also behind damage.
///
/// `before` is the last record of the file before, as far as it is known; `limit` the number that the next file follows.
pub(crate) fn walk(
    file: &LogFile,
    lake_id: &[u8; 16],
    before: Option<u64>,
    limit: Option<u64>,
    visit: &mut dyn FnMut(usize, &Frame<'_>),
) -> Result<Walk> {
    let header = match file.header(lake_id, before.unwrap_or(0)) {
        Ok(Ok(header)) => Some(header),
        Ok(Err(Headless::NeverWritten | Headless::Broken(_))) | Err(WalError::Corrupt { .. }) => None,
        Err(error) => return Err(error),
    };
    let seed = format::frame_seed(lake_id, file.number);
    let used = file.used();
    let first = |offset| next_frame(&file.bytes, offset, seed, 0, limit);
    let previous_seq = match (&header, before) {
        (Some(header), _) => header.previous_seq,
        (None, Some(before)) => before,
        (None, None) => first(FILE_HEADER_BYTES).map_or(0, |(_, seq)| seq.saturating_sub(1)),
    };
    let mut walk = Walk { header, previous_seq, last_seq: previous_seq, gaps: Vec::new() };
    let mut durable = 0;
    let mut offset = FILE_HEADER_BYTES;
    loop {
        if limit.is_some_and(|limit| walk.last_seq >= limit) {
            // What follows was given up by a writer that failed.
            break;
        }
        if let Some(frame) = format::read_frame(&file.bytes, offset, seed)
            && frame.header.seq == walk.last_seq.saturating_add(1)
        {
            visit(offset, &frame);
            walk.last_seq = frame.header.seq;
            durable = durable.max(frame.header.durable_seq);
            offset = frame.end;
            continue;
        }
        let next = next_frame(&file.bytes, offset, seed, walk.last_seq, limit);
        if next.is_none() && used <= offset && limit.is_none_or(|limit| limit <= walk.last_seq) {
            break;
        }
        let end = next.map_or(used.max(offset), |(at, _)| at);
        walk.gaps.push(Gap {
            start: offset,
            end,
            after_seq: walk.last_seq,
            next_seq: next.map(|(_, seq)| seq),
            proven: false,
        });
        let Some((at, seq)) = next else { break };
        offset = at;
        walk.last_seq = seq.saturating_sub(1);
    }
    let durable = durable.max(limit.unwrap_or(0));
    for gap in &mut walk.gaps {
        gap.proven = durable > gap.after_seq;
    }
    Ok(walk)
}

/// The next whole frame at or behind an offset with a number above `seq`: its offset and number.
fn next_frame(bytes: &[u8], offset: usize, seed: u32, seq: u64, limit: Option<u64>) -> Option<(usize, u64)> {
    let mut offset = offset.next_multiple_of(format::ALIGNMENT);
    while offset + format::FRAME_HEADER_BYTES <= bytes.len() {
        // The checksum is computed only where the fields could be those of a frame.
        let possible = bytes.get(offset + 4..offset + 8).is_some_and(|length| *length != [0; 4]);
        if possible
            && let Some(frame) = format::read_frame(bytes, offset, seed)
            && frame.header.seq > seq
            && limit.is_none_or(|limit| frame.header.seq <= limit)
        {
            return Some((offset, frame.header.seq));
        }
        offset += format::ALIGNMENT;
    }
    None
}

/// What a log holds and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
    /// Whole records.
    pub records: u64,
    /// The number of the first record that is there or should be; `None` when there is no file.
    pub first_seq: Option<u64>,
    /// The number of the last whole record.
    pub last_seq: Option<u64>,
    /// Bytes of a write that was never acknowledged, at the end.
    pub torn: Option<(PathBuf, u64)>,
}

/// Reads every log file and every record, and goes on after damage. A tail that was never acknowledged is no damage:
/// the next open cuts it off. `visit` gets every whole record, `progress` the bytes of every file when it is done.
pub fn survey(
    directory: &Path,
    lake_id: [u8; 16],
    disk: &dyn Disk,
    visit: &mut dyn FnMut(u64, &Record),
    progress: &mut dyn FnMut(u64),
) -> Survey {
    let mut survey = Survey::default();
    let whole = |file: &Path, error: &dyn std::fmt::Display| Finding {
        file: file.to_owned(),
        offset: 0,
        bytes: 0,
        lost: None,
        what: error.to_string(),
    };
    let mut numbers = match file::list(disk, directory) {
        Ok(numbers) => numbers,
        Err(error) => {
            survey.findings.push(whole(directory, &error));
            return survey;
        }
    };
    if let Some(last) = numbers.last().copied()
        && matches!(LogFile::read(disk, directory, last), Ok(file) if file.is_never_written())
    {
        numbers.pop();
        if numbers.is_empty() && last > 1 {
            let missing = format::file_path(directory, last - 1);
            survey
                .findings
                .push(whole(&missing, &"the file is missing, but the one made ahead of it is there"));
        }
    }
    for pair in numbers.windows(2) {
        for missing in pair[0] + 1..pair[1] {
            let path = format::file_path(directory, missing);
            survey.findings.push(whole(&path, &"the file is missing, but later ones are there"));
        }
    }
    let mut before: Option<u64> = None;
    for (index, number) in numbers.iter().copied().enumerate() {
        let path = format::file_path(directory, number);
        let next = numbers.get(index + 1).copied();
        match look(disk, directory, &lake_id, number, next, before, &mut survey, visit) {
            Ok((last_seq, bytes)) => {
                before = Some(last_seq);
                progress(bytes);
            }
            Err(WalError::Vanished { .. }) => {}
            Err(error) => survey.findings.push(whole(&path, &error)),
        }
    }
    survey.last_seq = before;
    // The judgement of the open covers what only shows between files: it is the authority on what may be cut.
    if survey.findings.is_empty()
        && let Err(error) = super::recover::analyse(disk, directory, &lake_id, 0, &mut |_, _| {})
    {
        let found = match error {
            WalError::Corrupt { file, offset, what } => Finding { file, offset, bytes: 0, lost: None, what },
            // A writer removed a file meanwhile.
            WalError::Vanished { .. } => return survey,
            other => whole(directory, &other),
        };
        survey.findings.push(found);
    }
    survey
}

#[allow(clippy::too_many_arguments, reason = "one step of the loop above")]
fn look(
    disk: &dyn Disk,
    directory: &Path,
    lake_id: &[u8; 16],
    number: u64,
    next: Option<u64>,
    before: Option<u64>,
    survey: &mut Survey,
    visit: &mut dyn FnMut(u64, &Record),
) -> Result<(u64, u64)> {
    let log = LogFile::read(disk, directory, number)?;
    let limit = file::limit(disk, directory, lake_id, next)?.unwrap_or_default();
    let mut broken = Vec::new();
    let mut records = 0;
    let walk = walk(&log, lake_id, before, limit, &mut |offset, frame| {
        records += 1;
        match Record::decode(frame.header.kind, frame.payload) {
            Ok(record) => visit(frame.header.seq, &record),
            Err(source) => broken.push((offset, frame.header.seq, frame.end, source)),
        }
    })?;
    survey.records += records;
    survey.first_seq = survey.first_seq.or(Some(walk.previous_seq.saturating_add(1)));
    let mut add = |offset: usize, bytes: usize, lost, what: String| {
        let (offset, bytes) = (offset as u64, bytes as u64);
        survey.findings.push(Finding { file: log.path.clone(), offset, bytes, lost, what });
    };
    if let Some(before) = before
        && walk.header.is_some()
        && walk.previous_seq != before
        && walk.previous_seq > before
    {
        let lost = before.saturating_add(1)..=walk.previous_seq;
        let what = format!("records {} to {} before this file are missing", lost.start(), lost.end());
        add(0, 0, Some(lost), what);
    }
    if walk.header.is_none() {
        let is_torn = next.is_none() && records == 0 && (before.is_some() || number == 1);
        if !is_torn {
            add(0, FILE_HEADER_BYTES, None, "the header is broken".to_owned());
        }
    }
    for (offset, seq, end, source) in broken {
        add(offset, end - offset, Some(seq..=seq), format!("record {seq} cannot be read: {source}"));
    }
    for gap in &walk.gaps {
        let (first, last) =
            (gap.after_seq.saturating_add(1), gap.next_seq.map(|next| next.saturating_sub(1)));
        let last = last.or(limit.filter(|_| gap.proven));
        if !gap.proven {
            survey.torn = Some((log.path.clone(), gap.start as u64));
            continue;
        }
        let lost = first..=last.unwrap_or(first).max(first);
        let what = match last {
            Some(last) if last > first => format!("records {first} to {last} are broken"),
            Some(_) => format!("record {first} is broken"),
            None => format!("record {first} and what follows it is broken"),
        };
        survey.findings.push(Finding {
            file: log.path.clone(),
            offset: gap.start as u64,
            bytes: gap.end.saturating_sub(gap.start) as u64,
            lost: Some(lost),
            what,
        });
    }
    let last_seq = walk.last_seq.max(limit.unwrap_or(0));
    Ok((last_seq, log.bytes.len() as u64))
}
