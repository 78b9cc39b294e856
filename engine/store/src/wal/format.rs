//! The bytes of file headers and frame headers, and the search for frames in the bytes of a file.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]

use std::path::{Path, PathBuf};

/// The format of log files that this version writes, and the highest that it reads.
pub(crate) const FORMAT: u32 = 1;
/// Bytes of the header of a log file.
pub(crate) const FILE_HEADER_BYTES: usize = 80;
/// Bytes of the header of a frame.
pub(crate) const FRAME_HEADER_BYTES: usize = 32;
/// Frames begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

const MAGIC: [u8; 8] = *b"RNLK-WAL";
const EXTENSION: &str = "log";

/// The header of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) format: u32,
    pub(crate) lake_id: [u8; 16],
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    pub(crate) first_seq: u64,
    pub(crate) previous_seq: u64,
    /// The length that the file was given before its first frame.
    pub(crate) file_bytes: u64,
}

impl FileHeader {
    pub(crate) fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        let fields: [&[u8]; 9] = [
            &MAGIC,
            &self.format.to_le_bytes(),
            &[0; 4],
            &self.lake_id,
            &self.epoch.to_le_bytes(),
            &self.number.to_le_bytes(),
            &self.first_seq.to_le_bytes(),
            &self.previous_seq.to_le_bytes(),
            &self.file_bytes.to_le_bytes(),
        ];
        let mut rest = &mut bytes[..];
        for field in fields {
            let (place, after) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = after;
        }
        // What is left are four zero bytes and the checksum.
        let (covered, checksum) = bytes.split_at_mut(FILE_HEADER_BYTES.saturating_sub(4));
        checksum.copy_from_slice(&crc32c::crc32c(covered).to_le_bytes());
        bytes
    }

    /// The header at the beginning of a file, `None` when it is not whole. Every format keeps this layout.
    pub(crate) fn decode(file: &[u8]) -> Option<Self> {
        let (bytes, _) = file.split_first_chunk::<FILE_HEADER_BYTES>()?;
        let (covered, checksum) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(covered) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let mut fields = Fields(covered);
        if fields.take::<8>()? != MAGIC {
            return None;
        }
        let format = u32::from_le_bytes(fields.take()?);
        fields.take::<4>()?;
        Some(Self {
            format,
            lake_id: fields.take()?,
            epoch: fields.number()?,
            number: fields.number()?,
            first_seq: fields.number()?,
            previous_seq: fields.number()?,
            file_bytes: fields.number()?,
        })
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

/// The checksum over what a frame does not repeat: its lake and its file.
pub(crate) fn frame_seed(lake_id: &[u8; 16], number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(lake_id), &number.to_le_bytes())
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) seq: u64,
    pub(crate) durable_seq: u64,
    pub(crate) kind: u16,
}

/// Makes a frame of what `encode` appends to `out`, and returns the size of its payload. The frame begins at the end
/// of `out`, which must be at a multiple of [`ALIGNMENT`] from the beginning of the file.
pub(crate) fn write_frame(
    header: FrameHeader,
    seed: u32,
    out: &mut Vec<u8>,
    encode: impl FnOnce(&mut Vec<u8>),
) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    let payload_start = out.len();
    encode(out);
    let payload = out.len().saturating_sub(payload_start);
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    let length = u32::try_from(payload.saturating_add(FRAME_HEADER_BYTES)).unwrap_or(u32::MAX);
    if let Some(frame) = out.get_mut(start..)
        && let Some((checksum, covered)) = frame.split_first_chunk_mut::<4>()
    {
        if let Some(place) = covered.first_chunk_mut::<{ FRAME_HEADER_BYTES - 4 }>() {
            let fields: [&[u8]; 4] = [
                &length.to_le_bytes(),
                &header.seq.to_le_bytes(),
                &header.durable_seq.to_le_bytes(),
                &header.kind.to_le_bytes(),
            ];
            let mut rest = &mut place[..];
            for field in fields {
                let (place, after) = rest.split_at_mut(field.len());
                place.copy_from_slice(field);
                rest = after;
            }
        }
        *checksum = crc32c::crc32c_append(seed, covered).to_le_bytes();
    }
    payload
}

/// A whole frame in the bytes of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) payload: &'a [u8],
    /// Where the next frame begins.
    pub(crate) end: usize,
}

/// The frame at an offset, `None` when there is no whole one with a right checksum.
pub(crate) fn read_frame(file: &[u8], offset: usize, seed: u32) -> Option<Frame<'_>> {
    let bytes = file.get(offset..)?;
    let mut fields = Fields(bytes);
    let checksum = u32::from_le_bytes(fields.take()?);
    let length = usize::try_from(u32::from_le_bytes(fields.take()?)).ok()?;
    let header = FrameHeader {
        seq: fields.number()?,
        durable_seq: fields.number()?,
        kind: u16::from_le_bytes(fields.take()?),
    };
    let padded = length.checked_next_multiple_of(ALIGNMENT)?;
    let covered = bytes.get(4..padded)?;
    let payload = bytes.get(FRAME_HEADER_BYTES..length)?;
    if crc32c::crc32c_append(seed, covered) != checksum {
        return None;
    }
    Some(Frame { header, payload, end: offset.checked_add(padded)? })
}

/// Whether bytes are exactly one frame of a record that stands for nothing (no exactly-once windows).
pub(crate) fn is_single_empty_record(bytes: &[u8]) -> bool {
    let length = u32::try_from(FRAME_HEADER_BYTES).unwrap_or(0).saturating_add(1);
    bytes.len() == FRAME_HEADER_BYTES.saturating_add(ALIGNMENT)
        && bytes.get(4..8) == Some(&length.to_le_bytes())
        && bytes.get(24..26) == Some(&super::record::KIND_WRITERS.to_le_bytes())
        && bytes.get(FRAME_HEADER_BYTES) == Some(&0)
}

/// The highest durable number in whole frames at or after an offset, whose own numbers are above `seq`.
///
/// This is how bytes that were acknowledged are told from bytes that were not: a frame that says "all up to n was
/// synced when I was written" proves that frame n had been whole.
pub(crate) fn later_durable_seq(file: &[u8], offset: usize, seed: u32, seq: u64) -> Option<u64> {
    let mut highest = None;
    let mut offset = offset.checked_next_multiple_of(ALIGNMENT)?;
    // Numbers of frames that would fit behind this one; others are data that looks like a frame.
    let limit = seq.saturating_add(u64::try_from(file.len()).ok()? / 32);
    while let Some(fields) = file.get(offset..).and_then(|b| b.first_chunk::<FRAME_HEADER_BYTES>()) {
        let mut fields = Fields(fields);
        fields.take::<4>()?;
        let length = u32::from_le_bytes(fields.take()?);
        let (frame_seq, durable_seq) = (fields.number()?, fields.number()?);
        let possible = length >= 32 && frame_seq > seq && frame_seq <= limit && durable_seq < frame_seq;
        match possible.then(|| read_frame(file, offset, seed)).flatten() {
            Some(frame) => {
                highest = highest.max(Some(durable_seq));
                offset = frame.end;
            }
            None => offset = offset.checked_add(ALIGNMENT)?,
        }
    }
    highest
}

/// The end of the bytes that are not zero.
pub(crate) fn used_bytes(file: &[u8]) -> usize {
    // Most of a preallocated file is zeros: whole blocks are compared at the speed of memory.
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut used = file;
    while let Some((front, block)) = used.split_last_chunk::<4096>() {
        if *block != ZEROS {
            break;
        }
        used = front;
    }
    used.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1))
}

/// The path of a log file.
pub(crate) fn file_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.{EXTENSION}"))
}

/// The number of a log file from its name, `None` when the name is not one of a log file.
pub(crate) fn file_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests build their own bytes")]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_no_flipped_bit_passes() {
        let header = FileHeader {
            format: 1,
            lake_id: [7; 16],
            epoch: 3,
            number: 9,
            first_seq: 100,
            previous_seq: 99,
            file_bytes: 4096,
        };
        let bytes = header.encode();
        assert_eq!(FileHeader::decode(&bytes), Some(header));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::decode(&damaged), None, "{bit}");
        }
    }

    #[test]
    fn frames_of_another_file_or_lake_are_none() {
        let mut bytes = Vec::new();
        let header = FrameHeader { seq: 5, durable_seq: 4, kind: 1 };
        let seed = frame_seed(&[1; 16], 1);
        assert_eq!(write_frame(header, seed, &mut bytes, |out| out.extend_from_slice(b"hello")), 5);
        assert_eq!(bytes.len(), 40);
        let frame = read_frame(&bytes, 0, seed).unwrap();
        assert_eq!((frame.header, frame.payload, frame.end), (header, &b"hello"[..], 40));
        assert!(read_frame(&bytes, 0, frame_seed(&[1; 16], 2)).is_none());
        assert!(read_frame(&bytes, 0, frame_seed(&[2; 16], 1)).is_none());
        assert_eq!(later_durable_seq(&bytes, 0, seed, 4), Some(4));
        assert_eq!(later_durable_seq(&bytes, 0, seed, 5), None);
        let mut moved = vec![3; 48];
        moved.extend_from_slice(&bytes);
        assert_eq!(later_durable_seq(&moved, 1, seed, 3), Some(4));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read_frame(&damaged, 0, seed).is_none(), "{bit}");
        }
    }

    #[test]
    fn only_names_of_log_files_have_numbers() {
        let path = file_path(Path::new("/lake/wal"), 42);
        assert_eq!(path.to_str(), Some("/lake/wal/00000000000000000042.log"));
        assert_eq!(file_number("00000000000000000042.log"), Some(42));
        for name in ["42.log", "00000000000000000042.tmp", "+0000000000000000042.log", "", ".log"] {
            assert_eq!(file_number(name), None, "{name}");
        }
    }
}
