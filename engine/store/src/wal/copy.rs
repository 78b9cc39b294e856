//! The whole records of a log, file by file, for a backup.

use std::path::Path;

use super::error::{Result, WalError};
use super::file::{self, Ending, Headless, LogFile};
use crate::disk::Disk;

/// The whole records of a log file.
pub(crate) struct WholeFile<'a> {
    pub(crate) number: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// From the beginning of the file to the end of its last whole frame.
    pub(crate) bytes: &'a [u8],
}

/// Hands out the whole records of every log file, also while another process appends: what is whole when a file is
/// read counts, the next file is read after it.
///
/// # Errors
/// Damage to what was acknowledged, a file that was removed meanwhile, or what `visit` says.
pub(crate) fn whole_files<E: From<WalError>>(
    directory: &Path,
    lake_id: [u8; 16],
    disk: &dyn Disk,
    visit: &mut dyn FnMut(WholeFile<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let numbers = file::list(disk, directory)?;
    file::check_numbers(directory, &numbers)?;
    let mut before: Option<u64> = None;
    for (index, number) in numbers.iter().copied().enumerate() {
        let next = numbers.get(index + 1).copied();
        let Some((log, first_seq, last_seq, end)) = judge(disk, directory, &lake_id, number, next, before)?
        else {
            continue;
        };
        before = Some(last_seq);
        visit(WholeFile { number, first_seq, last_seq, bytes: log.bytes.get(..end).unwrap_or_default() })?;
    }
    Ok(())
}

fn judge(
    disk: &dyn Disk,
    directory: &Path,
    lake_id: &[u8; 16],
    number: u64,
    next: Option<u64>,
    before: Option<u64>,
) -> Result<Option<(LogFile, u64, u64, usize)>> {
    let limit = file::limit(disk, directory, lake_id, next)??;
    let log = LogFile::read(disk, directory, number)?;
    let header = match log.header(lake_id, before.unwrap_or(0))? {
        Ok(header) => header,
        // The spare, or a file that is just being begun.
        Err(Headless::NeverWritten | Headless::Broken(None)) if next.is_none() => return Ok(None),
        Err(_) => return Err(log.corrupt(0, "the header is broken")),
    };
    if before.is_some_and(|before| before != header.previous_seq) {
        return Err(
            log.corrupt(0, format!("the file follows record {}, not the file before", header.previous_seq))
        );
    }
    let summary = log.summary(header, limit)?;
    if let Ending::Broken(later) = summary.ending
        && limit.max(later).is_some_and(|durable| durable > summary.last_seq)
    {
        let what = format!("record {} is broken", summary.last_seq.saturating_add(1));
        return Err(log.corrupt(summary.end, what));
    }
    Ok(Some((log, header.first_seq, summary.last_seq, summary.end)))
}
