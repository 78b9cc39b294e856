//! TFRecord framing: length (u64), masked CRC32C of the length, payload, masked CRC32C of the payload, little-endian.
//!
//! Source: `tensorflow/core/lib/io/record_writer.h` (format comment).

#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::io::Read;

use bytes::{Bytes, BytesMut};

/// Reads records from a stream of known length.
pub struct Records<R> {
    source: R,
    buffer: BytesMut,
    /// The offset of the first byte of `buffer` in the file.
    offset: u64,
    /// Bytes of the file that are not in the buffer yet, as far as is known.
    left: u64,
    most: usize,
}

/// Why no further record can be read from a file.
#[derive(Debug)]
pub struct RecordFault {
    /// The offset of the record.
    pub offset: u64,
    /// A stable code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

const HEADER: usize = 12;
const FOOTER: usize = 4;
const CHUNK: usize = 1 << 18;

impl<R: Read> Records<R> {
    /// Records of a source of `length` bytes, each of at most `most` bytes.
    pub fn new(source: R, length: u64, most: usize) -> Self {
        Self { source, buffer: BytesMut::new(), offset: 0, left: length, most }
    }

    /// The next record with its offset; `None` at the end.
    ///
    /// # Errors
    /// A record that is cut, whose checksum is wrong, or which is longer than allowed. Nothing behind it can be trusted.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(u64, Bytes)>, RecordFault> {
        let offset = self.offset;
        let fault = |code, message| Err(RecordFault { offset, code, message });
        let available = self.fill(HEADER).map_err(|error| read_fault(offset, &error))?;
        if available == 0 {
            return Ok(None);
        }
        let Some(header) = self.buffer.get(..HEADER) else {
            return fault("record.truncated", format!("the file ends after {available} bytes of a record"));
        };
        let (Some(length_bytes), Some(length_sum)) = (array::<8>(header, 0), array::<4>(header, 8)) else {
            return fault("record.truncated", "the record has no header".to_owned());
        };
        if masked_crc32c(&length_bytes) != u32::from_le_bytes(length_sum) {
            return fault("record.checksum", "the checksum of the record's length is wrong".to_owned());
        }
        let length = u64::from_le_bytes(length_bytes);
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= self.most) else {
            let message = format!("the record claims {length} bytes, at most {} are read", self.most);
            return fault("record.too_large", message);
        };
        // At most 64 MiB and some, by the check above.
        let whole = length.saturating_add(HEADER).saturating_add(FOOTER);
        let buffered = self.buffer.len();
        if (whole as u64) > (buffered as u64).saturating_add(self.left) {
            let message = format!("the record claims {length} bytes, the file ends before");
            return fault("record.truncated", message);
        }
        if self.fill(whole).map_err(|error| read_fault(offset, &error))? < whole {
            return fault(
                "record.truncated",
                format!("the record claims {length} bytes, the file ends before"),
            );
        }
        let mut record = self.buffer.split_to(whole).freeze();
        self.offset = self.offset.saturating_add(whole as u64);
        let footer = array::<4>(&record, HEADER.saturating_add(length));
        let payload = record.split_off(HEADER).slice(..length);
        if footer.map(u32::from_le_bytes) != Some(masked_crc32c(&payload)) {
            return fault("record.checksum", "the checksum of the record is wrong".to_owned());
        }
        Ok(Some((offset, payload)))
    }

    /// Makes at least `count` bytes available where the file has them; returns how many there are, at most `count`.
    fn fill(&mut self, count: usize) -> std::io::Result<usize> {
        while self.buffer.len() < count {
            let start = self.buffer.len();
            // The claim was checked against the file's size, so this is no allocation on a stranger's word.
            let more = count
                .saturating_sub(start)
                .max(CHUNK.min(usize::try_from(self.left).unwrap_or(CHUNK)))
                .max(1);
            self.buffer.resize(start.saturating_add(more), 0);
            let read = self.buffer.get_mut(start..).map_or(Ok(0), |space| self.source.read(space));
            let got = *read.as_ref().unwrap_or(&0);
            self.buffer.truncate(start.saturating_add(got));
            if read? == 0 {
                break;
            }
            self.left = self.left.saturating_sub(got as u64);
        }
        Ok(self.buffer.len().min(count))
    }
}

fn read_fault(offset: u64, error: &std::io::Error) -> RecordFault {
    RecordFault { offset, code: "record.unreadable", message: format!("reading failed: {error}") }
}

fn array<const N: usize>(bytes: &[u8], start: usize) -> Option<[u8; N]> {
    bytes.get(start..start.checked_add(N)?)?.try_into().ok()
}

/// The checksum of the framing: a CRC32C, turned and shifted so that a checksum of checksums is no weak one.
pub fn masked_crc32c(bytes: &[u8]) -> u32 {
    const MASK: u32 = 0xa282_ead8;
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

/// The record with its framing, for tests, samples and benchmarks.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(payload.len().saturating_add(HEADER).saturating_add(FOOTER));
    out.extend_from_slice(&length);
    out.extend_from_slice(&masked_crc32c(&length).to_le_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(&masked_crc32c(payload).to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8]) -> (Vec<Bytes>, Option<RecordFault>) {
        let mut records = Records::new(bytes, bytes.len() as u64, 1 << 20);
        let mut found = Vec::new();
        loop {
            match records.next() {
                Ok(Some((_, record))) => found.push(record),
                Ok(None) => return (found, None),
                Err(fault) => return (found, Some(fault)),
            }
        }
    }

    #[test]
    fn records_come_back_and_an_empty_file_has_none() {
        let bytes = [framed(b"one"), framed(b""), framed(&[7; 1 << 19])].concat();
        let (records, fault) = read_all(&bytes);
        assert!(fault.is_none());
        assert_eq!(records.iter().map(Bytes::len).collect::<Vec<_>>(), [3, 0, 1 << 19]);
        assert!(read_all(b"").1.is_none());
    }

    #[test]
    fn every_cut_keeps_the_records_before_and_names_the_offset() {
        let bytes = [framed(b"first"), framed(b"second")].concat();
        for cut in 1..bytes.len() {
            let (records, fault) = read_all(&bytes[..cut]);
            let whole = usize::from(cut >= 21);
            assert_eq!(records.len(), whole, "{cut}");
            match fault {
                None => assert_eq!(cut, 21),
                Some(fault) => {
                    assert_eq!((fault.offset, fault.code), (21 * whole as u64, "record.truncated"))
                }
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = [framed(b"first"), framed(b"second")].concat();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (records, fault) = read_all(&flipped);
            let fault = fault.expect("noticed");
            assert_eq!(records.len(), usize::from(bit >= 21 * 8), "bit {bit}: {}", fault.message);
        }
    }

    #[test]
    fn a_huge_claim_with_a_right_checksum_allocates_nothing() {
        for claim in [u64::MAX, 1 << 40, (1 << 20) + 1, 1 << 20] {
            let length = claim.to_le_bytes();
            let bytes = [&length[..], &masked_crc32c(&length).to_le_bytes(), b"xx"].concat();
            let (records, fault) = read_all(&bytes);
            assert!(records.is_empty());
            let expected = if claim <= 1 << 20 { "record.truncated" } else { "record.too_large" };
            assert_eq!(fault.map(|f| f.code), Some(expected), "{claim}");
        }
    }
}
