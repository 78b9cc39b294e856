//! Tables in Arrow's own format: files (`.arrow`, and `.feather` of version 2) and streams (`.arrows`).
//!
//! A file is a stream behind a padded mark, with an index behind it that is not needed here. What messages claim is
//! checked before anything is allocated for it. Form: <https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format>.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::{MessageHeader, RecordBatch, root_as_message};

use super::TablePlan;
use super::batches::{self, Batches};
use super::mapping::Mapping;
use crate::columnar::caught_in;
use crate::error::{ImportError, Result};
use crate::files;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::source::Unit;

/// What a file begins with, padded to eight bytes.
pub(super) const MARK: &[u8] = b"ARROW1";
const PADDED: u64 = 8;
/// Some pad it further, with zeros, to as much as this.
const PADDED_FURTHER: u64 = 512;
const KIND: &str = "Arrow";
/// What a file of Feather's version 1 begins with.
const FEATHER_1: &[u8] = b"FEA1";
/// What stands before the length of a message, since version 0.15.
const CONTINUATION: [u8; 4] = [0xff; 4];

pub(crate) fn plan(path: &Path, mapping: Option<&Mapping>, limits: &Limits) -> Result<TablePlan> {
    batches::plan(path, open(path, limits)?, mapping, limits)
}

pub(crate) fn import(unit: &Unit, plan: &TablePlan, reporter: &mut Reporter<'_>) -> Result<()> {
    let batches = open(&unit.path, reporter.limits)?;
    batches::import(unit, batches, plan, reporter)
}

fn open(path: &Path, limits: &Limits) -> Result<Batches> {
    let unreadable = |reason: String| ImportError::unreadable(path, KIND, reason);
    let (mut file, metadata) = files::open_regular(path, limits)?;
    let (beginning, _) = files::read_prefix(&mut file, MARK.len());
    if beginning.starts_with(FEATHER_1) {
        let reason = "it is of version 1 of Feather; `pyarrow.feather.read_feather` and `write_feather` make version 2 of it";
        return Err(unreadable(reason.to_owned()));
    }
    let start = if beginning == MARK {
        end_of_padding(&mut file).map_err(ImportError::io(path, "reading"))?
    } else {
        0
    };
    let rows = Claims::of(&mut file, start, metadata.len(), limits).map_err(unreadable)?;
    file.seek(SeekFrom::Start(start)).map_err(ImportError::io(path, "reading"))?;
    let mut reader = caught_in(path, KIND, || {
        StreamReader::try_new(BufReader::with_capacity(1 << 17, file), None)
            .map_err(|error| error.to_string())
    })?;
    let schema = reader.schema();
    let next = Box::new(move || reader.next().transpose().map_err(|error| error.to_string()));
    Ok(Batches {
        kind: KIND,
        schema,
        bytes: metadata.len(),
        rows,
        modified: files::modified_micros(&metadata),
        next,
    })
}

/// Where the first message begins.
fn end_of_padding(file: &mut File) -> std::io::Result<u64> {
    let mut start = PADDED;
    let mut word = [0_u8; 8];
    file.seek(SeekFrom::Start(start))?;
    while start < PADDED_FURTHER && file.read_exact(&mut word).is_ok() && word == [0; 8] {
        start = start.saturating_add(8);
    }
    Ok(start)
}

/// Goes from message to message without reading what they hold.
struct Claims<'f> {
    file: &'f mut File,
    at: u64,
    size: u64,
    rows: u64,
    expanded: u64,
    most: u64,
}

impl<'f> Claims<'f> {
    /// The number of rows, when nothing claims more than the file can hold.
    fn of(file: &'f mut File, start: u64, size: u64, limits: &Limits) -> std::result::Result<u64, String> {
        /// Small files may expand freely.
        const FREE: u64 = 16 << 20;
        let most = limits.expanded_bytes.min(FREE.max(size.saturating_mul(limits.expansion_ratio)));
        let mut claims = Self { file, at: start, size, rows: 0, expanded: 0, most };
        while claims.message(limits.record_bytes)? {}
        Ok(claims.rows)
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> std::result::Result<usize, String> {
        let told = |error: std::io::Error| format!("reading failed: {error}");
        self.file.seek(SeekFrom::Start(at)).map_err(told)?;
        let mut got = 0_usize;
        while let Some(space) = buffer.get_mut(got..).filter(|space| !space.is_empty()) {
            match self.file.read(space).map_err(told)? {
                0 => break,
                count => got = got.saturating_add(count),
            }
        }
        Ok(got)
    }

    /// Looks at a message; `false` at the end.
    fn message(&mut self, longest: usize) -> std::result::Result<bool, String> {
        let mut word = [0_u8; 4];
        let mut got = self.read(self.at, &mut word)?;
        let mut behind = self.at.saturating_add(4);
        if got == 4 && word == CONTINUATION {
            got = self.read(behind, &mut word)?;
            behind = behind.saturating_add(4);
        }
        if got == 0 && self.at == self.size {
            return Ok(false);
        }
        let length = i32::from_le_bytes(word);
        if got < 4 {
            return Err(format!("it ends within a message, at byte {}", self.at));
        }
        if length == 0 {
            return Ok(false);
        }
        let left = self.size.saturating_sub(behind);
        let Some(length) =
            usize::try_from(length).ok().filter(|length| *length as u64 <= left && *length <= longest)
        else {
            return Err(format!("the message at byte {} claims {length} bytes", self.at));
        };
        let mut described = vec![0_u8; length];
        if self.read(behind, &mut described)? < length {
            return Err(format!("it ends within a message, at byte {}", self.at));
        }
        let message = root_as_message(&described)
            .map_err(|error| format!("the message at byte {} is malformed: {error}", self.at))?;
        let body = behind.saturating_add(length as u64);
        let left = self.size.saturating_sub(body);
        let Some(bytes) = u64::try_from(message.bodyLength()).ok().filter(|bytes| *bytes <= left) else {
            return Err(format!(
                "the message at byte {} claims {} bytes of data",
                self.at,
                message.bodyLength()
            ));
        };
        let batch = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            MessageHeader::DictionaryBatch => {
                message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data())
            }
            _ => None,
        };
        if let Some(batch) = batch {
            let rows = self.batch(&batch, body, bytes)?;
            if message.header_type() == MessageHeader::RecordBatch {
                self.rows = self.rows.saturating_add(rows);
            }
        }
        self.at = body.saturating_add(bytes);
        Ok(true)
    }

    /// Checks the rows and buffers that a batch claims; returns the rows.
    fn batch(&mut self, batch: &RecordBatch<'_>, body: u64, bytes: u64) -> std::result::Result<u64, String> {
        let too_much =
            |what: &str, claimed: i64| format!("the message at byte {body} claims {claimed} {what}");
        // A column of nulls takes no bytes at all.
        let rows =
            u64::try_from(batch.length()).ok().filter(|rows| self.rows.saturating_add(*rows) <= self.most);
        let Some(rows) = rows else { return Err(too_much("rows", batch.length())) };
        for buffer in batch.buffers().into_iter().flatten() {
            let (offset, length) = (u64::try_from(buffer.offset()), u64::try_from(buffer.length()));
            let (Ok(offset), Ok(length)) = (offset, length) else {
                return Err(too_much("bytes in a buffer", buffer.length()));
            };
            if offset.checked_add(length).is_none_or(|end| end > bytes) {
                return Err(too_much("bytes in a buffer", buffer.length()));
            }
            let mut claimed = length;
            if batch.compression().is_some() && length >= 8 {
                let mut word = [0_u8; 8];
                self.read(body.saturating_add(offset), &mut word)?;
                // Less than 0 is a buffer that was not compressed after all.
                claimed = u64::try_from(i64::from_le_bytes(word)).unwrap_or(length);
            }
            self.expanded = self.expanded.saturating_add(claimed);
            if self.expanded > self.most {
                return Err(too_much("bytes after unpacking", i64::try_from(claimed).unwrap_or(i64::MAX)));
            }
        }
        Ok(rows)
    }
}
