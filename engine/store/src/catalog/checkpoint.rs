//! Checkpoints: the files of a table at one version, so that a long log need not be read from its beginning.
//!
//! Beside each of Delta's own checkpoints, which other readers use and which has no checksum, stands ours:
//! `_delta_log/<version>.runlake`, lines of JSON under one CRC32C. It only makes opening faster: when it is damaged, the
//! one before it is taken, and the commits behind that.

use std::collections::BTreeMap;

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::log::LOG_FOLDER;
use super::{DataFile, TableVersion};

/// The ending of our checkpoints.
pub(crate) const ENDING: &str = ".runlake";
/// The layout of the file.
const LAYOUT: u32 = 1;
/// Begins the last line, which holds the CRC32C over all lines before.
const CRC: &str = "crc32c ";

#[derive(Serialize, Deserialize)]
struct Header {
    layout: u32,
    table: String,
    version: i64,
    last_seq: u64,
    epoch: u64,
    files: usize,
}

#[derive(Serialize, Deserialize)]
struct FileLine {
    path: String,
    bytes: u64,
    rows: u64,
    stats: String,
    tags: BTreeMap<String, String>,
}

/// The file of our checkpoint of a version.
pub(crate) fn path(version: i64) -> Path {
    Path::from_iter([LOG_FOLDER, &format!("{version:020}{ENDING}")])
}

/// The version of which a file of the log is our checkpoint.
pub(crate) fn version_of(name: &str) -> Option<i64> {
    name.strip_suffix(ENDING)?.parse().ok()
}

/// The bytes of a checkpoint; `None` for a table that does not exist.
pub(crate) fn encode(table: &str, at: &TableVersion) -> Option<Bytes> {
    let header = Header {
        layout: LAYOUT,
        table: table.to_owned(),
        version: at.version?,
        last_seq: at.last_seq,
        epoch: at.epoch,
        files: at.files.len(),
    };
    let mut text = serde_json::to_string(&header).ok()?;
    text.push('\n');
    for file in &at.files {
        let DataFile { path, bytes, rows, stats, tags } = file.clone();
        text.push_str(&serde_json::to_string(&FileLine { path, bytes, rows, stats, tags }).ok()?);
        text.push('\n');
    }
    let checksum = crc32c::crc32c(text.as_bytes());
    text.push_str(&format!("{CRC}{checksum:08x}\n"));
    Some(text.into())
}

/// Reads and checks a checkpoint.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn decode(bytes: &[u8], table: &str, version: i64) -> Result<TableVersion, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let (body, checksum) = text.rsplit_once(CRC).ok_or("it has no checksum")?;
    if checksum != format!("{:08x}\n", crc32c::crc32c(body.as_bytes())) {
        return Err("its CRC32C does not fit".to_owned());
    }
    let mut lines = body.lines();
    let header: Header = serde_json::from_str(lines.next().unwrap_or_default()).map_err(|e| e.to_string())?;
    if header.layout != LAYOUT || header.table != table || header.version != version {
        return Err("it is not the checkpoint of this version".to_owned());
    }
    let files = lines
        .map(|line| {
            let FileLine { path, bytes, rows, stats, tags } = serde_json::from_str(line)?;
            Ok(DataFile { path, bytes, rows, stats, tags })
        })
        .collect::<Result<Vec<_>, serde_json::Error>>()
        .map_err(|error| error.to_string())?;
    if files.len() != header.files {
        return Err(format!("it has {} files of {}", files.len(), header.files));
    }
    Ok(TableVersion { version: Some(version), last_seq: header.last_seq, epoch: header.epoch, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_and_every_flipped_bit_is_found() {
        let file = DataFile {
            path: "a.parquet".to_owned(),
            bytes: 7,
            rows: 2,
            stats: r#"{"numRecords":2}"#.to_owned(),
            tags: BTreeMap::from([("arrival".to_owned(), "9".to_owned())]),
        };
        let at = TableVersion { version: Some(100), last_seq: 9, epoch: 1, files: vec![file.clone(), file] };
        let bytes = encode("points", &at).unwrap();
        assert_eq!(decode(&bytes, "points", 100).unwrap(), at);
        assert!(decode(&bytes, "runs", 100).is_err() && decode(&bytes, "points", 101).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, "points", 100).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], "points", 100).is_err(), "{length} bytes");
        }
    }
}
