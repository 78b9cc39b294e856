//! The framing of a `.wandb` file: a header, then LevelDB's log format.
//!
//! Blocks of 32 KiB hold fragments of records: CRC-32 of type and data (u32), length (u16), type (u8), data, all
//! little-endian. A rest of a block that is too short for a fragment's header is zero. Sources:
//! `wandb/sdk/internal/datastore.py` and the format's description, github.com/google/leveldb `doc/log_format.md`.

#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::io::Read;

/// A file begins so: a mark, a magic number and the version 0.
pub const HEADER: [u8; 7] = *b":W&B\xe1\xbe\x00";
const BLOCK: u64 = 32_768;
const FRAGMENT_HEADER: usize = 7;

/// Reads records from a stream.
pub struct Records<R> {
    source: R,
    /// Bytes read so far.
    offset: u64,
    most: usize,
}

/// Why no further record can be read from a file.
#[derive(Debug, PartialEq, Eq)]
pub struct RecordFault {
    /// The offset of the record.
    pub offset: u64,
    /// A stable code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

impl<R: Read> Records<R> {
    /// Records of a source, each of at most `most` bytes; the header of the file is read.
    ///
    /// # Errors
    /// A header that is cut or of another format or version.
    pub fn new(source: R, most: usize) -> Result<Self, RecordFault> {
        let mut records = Self { source, offset: 0, most };
        let mut header = [0_u8; HEADER.len()];
        let got = records.fill(&mut header, 0)?;
        if header == HEADER {
            return Ok(records);
        }
        let (code, message) = match header {
            _ if got < HEADER.len() => ("record.truncated", format!("the file ends after {got} bytes")),
            [b':', b'W', b'&', b'B', 0xe1, 0xbe, version] => {
                ("file.version", format!("the file is of version {version}; 0 is read"))
            }
            _ => ("file.header", "the file does not begin as a .wandb file does".to_owned()),
        };
        Err(RecordFault { offset: 0, code, message })
    }

    /// The next record with its offset; `None` at the end.
    ///
    /// # Errors
    /// A record that is cut, damaged or longer than allowed. Nothing behind it can be trusted.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, RecordFault> {
        let mut record: Option<(u64, Vec<u8>)> = None;
        loop {
            self.skip_padding()?;
            let offset = self.offset;
            let start = record.as_ref().map_or(offset, |(start, _)| *start);
            let fault = |code, message| Err(RecordFault { offset: start, code, message });
            let mut header = [0_u8; FRAGMENT_HEADER];
            let got = self.fill(&mut header, start)?;
            if got == 0 && record.is_none() {
                return Ok(None);
            }
            if got < FRAGMENT_HEADER {
                return fault("record.truncated", "the file ends within a record".to_owned());
            }
            let [c0, c1, c2, c3, l0, l1, kind] = header;
            let (checksum, length) = (u32::from_le_bytes([c0, c1, c2, c3]), u16::from_le_bytes([l0, l1]));
            let left_in_block = BLOCK.saturating_sub(self.offset.checked_rem(BLOCK).unwrap_or(0));
            if u64::from(length) > left_in_block {
                return fault(
                    "record.length",
                    format!("a fragment claims {length} bytes, its block has fewer"),
                );
            }
            let mut data = vec![0_u8; usize::from(length)];
            let got = self.fill(&mut data, start)?;
            if got < data.len() {
                return fault(
                    "record.truncated",
                    format!("a fragment claims {length} bytes, the file has {got}"),
                );
            }
            let mut sum = flate2::Crc::new();
            sum.update(&[kind]);
            sum.update(&data);
            if sum.sum() != checksum {
                return fault("record.checksum", "the checksum of the record is wrong".to_owned());
            }
            match (kind, &mut record) {
                (WHOLE, None) => return Ok(Some((offset, data))),
                (FIRST, None) => record = Some((offset, data)),
                (MIDDLE | LAST, Some((_, whole))) => {
                    if whole.len().saturating_add(data.len()) > self.most {
                        return fault(
                            "record.too_large",
                            format!("the record has more than {} bytes", self.most),
                        );
                    }
                    whole.extend_from_slice(&data);
                    if kind == LAST {
                        return Ok(record);
                    }
                }
                _ => return fault("record.order", format!("a fragment of type {kind} stands out of order")),
            }
        }
    }

    /// Skips what is left of a block when it is too short for a fragment.
    fn skip_padding(&mut self) -> Result<(), RecordFault> {
        let left = BLOCK.saturating_sub(self.offset.checked_rem(BLOCK).unwrap_or(0));
        let mut padding = [0_u8; FRAGMENT_HEADER];
        let Some(padding) = usize::try_from(left)
            .ok()
            .filter(|left| *left < FRAGMENT_HEADER)
            .and_then(|l| padding.get_mut(..l))
        else {
            return Ok(());
        };
        let offset = self.offset;
        self.fill(padding, offset)?;
        if padding.iter().any(|byte| *byte != 0) {
            let message = "the rest of a block is not empty".to_owned();
            return Err(RecordFault { offset, code: "record.padding", message });
        }
        Ok(())
    }

    /// Reads until the buffer is full or the file ends; returns how much there was.
    fn fill(&mut self, buffer: &mut [u8], start: u64) -> Result<usize, RecordFault> {
        let mut got = 0_usize;
        while let Some(space) = buffer.get_mut(got..).filter(|space| !space.is_empty()) {
            match self.source.read(space) {
                Ok(0) => break,
                Ok(count) => got = got.saturating_add(count),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let message = format!("reading failed: {error}");
                    return Err(RecordFault { offset: start, code: "record.unreadable", message });
                }
            }
        }
        self.offset = self.offset.saturating_add(got as u64);
        Ok(got)
    }
}

const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// A file of records, for tests, samples and benchmarks.
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::indexing_slicing)]
pub fn framed(records: &[Vec<u8>]) -> Vec<u8> {
    let mut file = HEADER.to_vec();
    for record in records {
        let mut rest = record.as_slice();
        let mut first = true;
        loop {
            let mut left = BLOCK as usize - file.len() % BLOCK as usize;
            if left < FRAGMENT_HEADER {
                file.resize(file.len() + left, 0);
                left = BLOCK as usize;
            }
            let (data, behind) = rest.split_at(rest.len().min(left - FRAGMENT_HEADER));
            let kind = match (first, behind.is_empty()) {
                (true, true) => WHOLE,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            let mut sum = flate2::Crc::new();
            sum.update(&[kind]);
            sum.update(data);
            file.extend(sum.sum().to_le_bytes());
            file.extend((data.len() as u16).to_le_bytes());
            file.push(kind);
            file.extend(data);
            (rest, first) = (behind, false);
            if rest.is_empty() {
                break;
            }
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8], most: usize) -> (Vec<Vec<u8>>, Option<&'static str>) {
        let mut records = match Records::new(bytes, most) {
            Ok(records) => records,
            Err(fault) => return (Vec::new(), Some(fault.code)),
        };
        let mut found = Vec::new();
        loop {
            match records.next() {
                Ok(Some((_, record))) => found.push(record),
                Ok(None) => return (found, None),
                Err(fault) => return (found, Some(fault.code)),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_framed_is_read(lengths in prop::collection::vec(0_usize..100_000, 0..8)) {
            let records: Vec<Vec<u8>> =
                (0_u8..).zip(&lengths).map(|(byte, length)| vec![byte; *length]).collect();
            prop_assert_eq!(all(&framed(&records), 1 << 20), (records, None));
        }

        #[test]
        fn records_that_end_near_the_end_of_a_block(length in 32_700_usize..32_800) {
            let records = vec![vec![7; length], vec![1], Vec::new()];
            prop_assert_eq!(all(&framed(&records), 1 << 20), (records, None));
        }
    }

    #[test]
    fn damage_ends_the_file_where_it_is() {
        let good = framed(&[vec![1; 10], vec![2; 10]]);
        let first = vec![vec![1; 10]];
        let changed = |position: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[position] = byte;
            all(&bytes, 1 << 20)
        };
        assert_eq!(changed(0, b'x').1, Some("file.header"));
        assert_eq!(changed(6, 1).1, Some("file.version"));
        assert_eq!(changed(7 + 17 + 8, 9), (first.clone(), Some("record.checksum")));
        assert_eq!(changed(7 + 17 + 5, 255), (first.clone(), Some("record.length")));
        for end in 7 + 17 + 1..good.len() {
            assert_eq!(all(&good[..end], 1 << 20), (first.clone(), Some("record.truncated")), "{end}");
        }
        assert_eq!(all(&good[..7 + 17], 1 << 20), (first, None));
        assert_eq!(all(b":W&", 1 << 20).1, Some("record.truncated"));
        assert_eq!(all(&framed(&[vec![0; 100_000]]), 50_000).1, Some("record.too_large"));
        // A file that was made longer and never written.
        let mut bytes = good.clone();
        bytes.resize(good.len() + 100, 0);
        assert_eq!(all(&bytes, 1 << 20).1, Some("record.checksum"));
    }
}
