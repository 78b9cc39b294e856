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

/// How often a file that looks broken is read again: its writer may have been in the middle of it.
const ATTEMPTS: usize = 3;

/// Hands out the whole records of every log file, also while another process appends: what is whole when a file is
/// read counts, the next file is read after it. When a file was still appended to as it was read and another has been
/// begun since, it ends there.
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
    let log = Log { disk, directory, lake_id: &lake_id };
    let mut before = None;
    for (index, number) in numbers.iter().copied().enumerate() {
        let next = numbers.get(index + 1).copied();
        let Some(judged) = log.judge_again(number, next, before)? else { break };
        before = Some(Before { last_seq: judged.last_seq, may_grow: judged.may_grow });
        visit(WholeFile {
            number,
            first_seq: judged.first_seq,
            last_seq: judged.last_seq,
            bytes: judged.file.bytes.get(..judged.end).unwrap_or_default(),
        })?;
    }
    Ok(())
}

struct Log<'a> {
    disk: &'a dyn Disk,
    directory: &'a Path,
    lake_id: &'a [u8; 16],
}

/// The file before the one that is judged.
#[derive(Clone, Copy)]
struct Before {
    last_seq: u64,
    /// Whether no file followed it when it was read.
    may_grow: bool,
}

struct Judged {
    file: LogFile,
    first_seq: u64,
    last_seq: u64,
    end: usize,
    may_grow: bool,
}

impl Log<'_> {
    fn judge_again(&self, number: u64, next: Option<u64>, before: Option<Before>) -> Result<Option<Judged>> {
        let mut attempt = 1;
        loop {
            match self.judge(number, next, before) {
                Err(WalError::Corrupt { .. }) if attempt < ATTEMPTS => attempt += 1,
                other => return other,
            }
        }
    }

    /// `None` where the log ends before this file.
    fn judge(&self, number: u64, next: Option<u64>, before: Option<Before>) -> Result<Option<Judged>> {
        // What follows is looked at first: a file that is followed by another does not grow any more.
        let limit = file::limit(self.disk, self.directory, self.lake_id, next)??;
        let log = LogFile::read(self.disk, self.directory, number)?;
        let header = match log.header(self.lake_id, before.map_or(0, |before| before.last_seq))? {
            Ok(header) => header,
            // The spare, or a file that is just being begun.
            Err(Headless::NeverWritten | Headless::Broken(None)) if next.is_none() => return Ok(None),
            Err(_) => return Err(log.corrupt(0, "the header is broken")),
        };
        match before {
            Some(before) if before.may_grow && before.last_seq < header.previous_seq => return Ok(None),
            Some(before) if before.last_seq != header.previous_seq => {
                let what = format!("the file follows record {}, not the file before", header.previous_seq);
                return Err(log.corrupt(0, what));
            }
            _ => {}
        }
        let summary = log.summary(header, limit)?;
        if let Ending::Broken(later) = summary.ending
            && limit.max(later).is_some_and(|durable| durable > summary.last_seq)
        {
            let what = format!("record {} is broken", summary.last_seq.saturating_add(1));
            return Err(log.corrupt(summary.end, what));
        }
        let (first_seq, last_seq, end) = (header.first_seq, summary.last_seq, summary.end);
        Ok(Some(Judged { file: log, first_seq, last_seq, end, may_grow: limit.is_none() }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::disk::FaultyDisk;
    use crate::wal::{Record, Wal, WalConfig};

    const LAKE: [u8; 16] = [3; 16];

    fn record() -> Record {
        Record::Flushed(Vec::new())
    }

    #[test]
    fn a_file_that_grows_and_is_followed_by_another_while_it_is_copied_ends_where_it_was_read() {
        let disk = FaultyDisk::new();
        let folder = PathBuf::from("/lake/wal");
        let config = WalConfig { file_bytes: 2048, frame_bytes: 1024, ..WalConfig::new(&folder, LAKE, 1) };
        let (mut wal, _) = Wal::open(config, Arc::new(disk.clone())).unwrap();
        for _ in 0..3 {
            wal.append(&record()).unwrap();
        }
        wal.sync().unwrap();
        let mut seen = Vec::new();
        whole_files(&folder, LAKE, &disk, &mut |file| {
            seen.push((file.number, file.first_seq, file.last_seq));
            wal.append(&record())?;
            wal.sync()?;
            wal.rotate()?;
            wal.append(&record())?;
            wal.sync()?;
            Ok::<_, WalError>(())
        })
        .unwrap();
        assert_eq!(seen, [(1, 1, 3)]);
        seen.clear();
        whole_files(&folder, LAKE, &disk, &mut |file| {
            seen.push((file.number, file.first_seq, file.last_seq));
            Ok::<_, WalError>(())
        })
        .unwrap();
        assert_eq!(seen, [(1, 1, 4), (2, 5, 5)]);
    }
}
