//! Opening files of strangers: regular files only, links not followed, sizes checked, compressed data expanded under a limit.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::error::{ImportError, Result};
use crate::limits::Limits;

/// How a file is packed, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As it is.
    Plain,
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Packing {
    pub(crate) fn of(beginning: &[u8]) -> Self {
        match beginning {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Opens a regular file for reading, or says what stands there instead. The last component is not followed when it is a
/// link, and a pipe does not block.
pub(crate) fn open_regular(path: &Path, limits: &Limits) -> Result<(File, Metadata)> {
    let found =
        std::fs::symlink_metadata(path).map_err(ImportError::io(path, "reading the file's metadata"))?;
    check_regular(path, &found)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(NOFOLLOW_NONBLOCK);
    }
    let file = options.open(path).map_err(ImportError::io(path, "opening the file"))?;
    // What was opened may not be what was looked at before.
    let opened = file.metadata().map_err(ImportError::io(path, "reading the file's metadata"))?;
    check_regular(path, &opened)?;
    if opened.len() > limits.file_bytes {
        return Err(ImportError::TooLarge {
            path: path.to_owned(),
            what: "the file's size in bytes",
            actual: opened.len(),
            limit: limits.file_bytes,
        });
    }
    Ok((file, opened))
}

#[cfg(unix)]
const NOFOLLOW_NONBLOCK: i32 = {
    let flags = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK);
    flags.bits() as i32
};

fn check_regular(path: &Path, metadata: &Metadata) -> Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_symlink() {
        "a link"
    } else if kind.is_dir() {
        "a folder"
    } else {
        "a device, pipe or socket"
    };
    Err(ImportError::NotRegular { path: path.to_owned(), what })
}

/// When a file was last written, microseconds since 1970 UTC; 0 where the system does not say.
pub(crate) fn modified_micros(metadata: &Metadata) -> i64 {
    let Ok(modified) = metadata.modified() else { return 0 };
    match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(0),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(0, |micros| -micros),
    }
}

/// Reads a whole small file.
pub(crate) fn read_whole(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    let (file, metadata) = open_regular(path, limits)?;
    let too_large = |actual| ImportError::TooLarge {
        path: path.to_owned(),
        what: "the size in bytes of a document that must be read as a whole",
        actual,
        limit: limits.document_bytes,
    };
    if metadata.len() > limits.document_bytes {
        return Err(too_large(metadata.len()));
    }
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // The file may grow meanwhile.
    file.take(limits.document_bytes.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(ImportError::io(path, "reading"))?;
    if content.len() as u64 > limits.document_bytes {
        return Err(too_large(content.len() as u64));
    }
    Ok(content)
}

/// A SHA-256 over names, lengths and contents of files, in the order given.
pub(crate) fn content_hash<'a>(
    files: impl Iterator<Item = (&'a str, &'a Path)>,
    limits: &Limits,
) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 17];
    for (name, path) in files {
        let (mut file, metadata) = open_regular(path, limits)?;
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(metadata.len().to_le_bytes());
        loop {
            let count = file.read(&mut buffer).map_err(ImportError::io(path, "reading"))?;
            match buffer.get(..count) {
                Some([]) | None => break,
                Some(bytes) => hash.update(bytes),
            }
        }
    }
    let digest = hash.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Counts the bytes that are read from a file, for progress.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByteCount(Arc<AtomicU64>);

impl ByteCount {
    /// The bytes since the last call.
    pub(crate) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// A reader that counts.
#[derive(Debug)]
struct Counted<R> {
    inner: R,
    count: ByteCount,
    total: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(out)?;
        self.count.add(count);
        self.total.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Refuses to expand further than the limits allow.
struct Expanding<R> {
    inner: R,
    packed: Arc<AtomicU64>,
    expanded: u64,
    most: u64,
    ratio: u64,
}

impl<R: Read> Read for Expanding<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        /// Small files may have any ratio.
        const FREE: u64 = 16 << 20;
        let count = self.inner.read(out)?;
        self.expanded = self.expanded.saturating_add(count as u64);
        let packed = self.packed.load(Ordering::Relaxed);
        if self.expanded > self.most || self.expanded > FREE.max(packed.saturating_mul(self.ratio)) {
            return Err(std::io::Error::other(format!(
                "the compressed data expands to more than {} bytes or {} times its size",
                self.most, self.ratio
            )));
        }
        Ok(count)
    }
}

/// A file's content after unpacking, as a stream.
pub(crate) struct Unpacked {
    pub(crate) reader: Box<dyn Read>,
    pub(crate) metadata: Metadata,
}

/// Opens a file and unpacks it by its first bytes, whatever its name is.
pub(crate) fn open_unpacked(path: &Path, limits: &Limits, count: &ByteCount) -> Result<Unpacked> {
    open(path, limits, count, false)
}

/// As [`open_unpacked`], for files of lines: of one that is being written, a last line without its end is not read yet.
pub(crate) fn open_lines(path: &Path, limits: &Limits, count: &ByteCount) -> Result<Unpacked> {
    open(path, limits, count, limits.growing)
}

fn open(path: &Path, limits: &Limits, count: &ByteCount, whole_lines: bool) -> Result<Unpacked> {
    let (mut file, metadata) = open_regular(path, limits)?;
    let mut beginning = Vec::with_capacity(4);
    (&mut file).take(4).read_to_end(&mut beginning).map_err(ImportError::io(path, "reading"))?;
    let packing = Packing::of(&beginning);
    let length = if whole_lines && packing == Packing::Plain {
        let behind = beginning.len() as u64;
        length_of_lines(&mut file, metadata.len())
            .and_then(|length| file.seek(SeekFrom::Start(behind)).map(|_| length))
            .map_err(ImportError::io(path, "looking for the last line"))?
    } else {
        u64::MAX
    };
    let total = Arc::new(AtomicU64::new(0));
    let raw = Counted {
        inner: std::io::Cursor::new(beginning).chain(file).take(length),
        count: count.clone(),
        total: Arc::clone(&total),
    };
    let expanding = |inner: Box<dyn Read>| Expanding {
        inner,
        packed: Arc::clone(&total),
        expanded: 0,
        most: limits.expanded_bytes,
        ratio: limits.expansion_ratio,
    };
    let reader: Box<dyn Read> = match packing {
        Packing::Plain => Box::new(raw),
        Packing::Gzip => Box::new(expanding(Box::new(flate2::bufread::MultiGzDecoder::new(
            BufReader::with_capacity(1 << 16, raw),
        )))),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(raw)
                .map_err(ImportError::io(path, "preparing to decompress"))?;
            // 128 MiB, the largest window that `zstd -d` takes by itself.
            decoder.window_log_max(27).map_err(ImportError::io(path, "preparing to decompress"))?;
            Box::new(expanding(Box::new(decoder)))
        }
    };
    Ok(Unpacked { reader, metadata })
}

/// Where the last line of a file ends that has its end.
fn length_of_lines(file: &mut File, length: u64) -> std::io::Result<u64> {
    const CHUNK: u64 = 1 << 16;
    let mut end = length;
    let mut chunk = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        file.seek(SeekFrom::Start(start))?;
        chunk.clear();
        Read::take(&mut *file, end.saturating_sub(start)).read_to_end(&mut chunk)?;
        if let Some(place) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start.saturating_add(place as u64).saturating_add(1));
        }
        end = start;
    }
    Ok(0)
}

/// The first bytes of a file after unpacking; used where a plan must not read a file whole.
pub(crate) fn unpacked_beginning(path: &Path, limits: &Limits, count: usize) -> Result<Vec<u8>> {
    beginning_of(path, open_unpacked(path, limits, &ByteCount::default())?, count)
}

/// As [`unpacked_beginning`], of what [`open_lines`] reads.
pub(crate) fn lines_beginning(path: &Path, limits: &Limits, count: usize) -> Result<Vec<u8>> {
    beginning_of(path, open_lines(path, limits, &ByteCount::default())?, count)
}

fn beginning_of(path: &Path, mut unpacked: Unpacked, count: usize) -> Result<Vec<u8>> {
    let (prefix, fault) = read_prefix(&mut unpacked.reader, count);
    match fault {
        Some(fault) if prefix.is_empty() => Err(ImportError::io(path, "reading")(fault)),
        _ => Ok(prefix),
    }
}

/// Reads up to `count` bytes; fewer only at the end or at a fault, which is then returned too.
pub(crate) fn read_prefix(reader: &mut dyn Read, count: usize) -> (Vec<u8>, Option<std::io::Error>) {
    let mut prefix = Vec::new();
    let result = reader.take(count as u64).read_to_end(&mut prefix);
    (prefix, result.err())
}
