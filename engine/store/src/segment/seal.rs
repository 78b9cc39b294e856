//! The seal of a segment: checksums that cover every byte a reader relies on.
//!
//! The footer's key-value metadata hold a CRC32C for every column chunk. Everything behind the last column chunk
//! (bloom filters, page indexes, footer) is the *tail*; its CRC32C stands in the tail itself, computed with eight
//! zeros in its place. A changed bit is therefore found before Parquet sees it: in the tail when the file is opened,
//! in a column chunk at its first read.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    FileMetaData, KeyValue, PageIndexPolicy, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader,
};

use super::{FORMAT, Result, SegmentError};

/// Key of the checksums of the column chunks: eight hexadecimal digits for each, by row group, then by column.
const CHUNKS_KEY: &str = "runlake.chunk_crc32c";
/// Key of the format number.
const FORMAT_KEY: &str = "runlake.format";
/// Key of the seal.
const SEAL_KEY: &str = "runlake.seal";
/// Beginning of the value of the seal; behind it eight digits of CRC32C, `:`, 16 digits of the offset of the tail.
const SEAL_MARK: &[u8] = b"runlake-tail-crc32c:";
/// Hexadecimal digits of a CRC32C.
const CRC_DIGITS: usize = 8;
/// Hexadecimal digits of an offset.
const OFFSET_DIGITS: usize = 16;
/// Bytes of a Parquet file behind its metadata: their length (4) and the magic number (4).
const PARQUET_END: usize = 8;
/// How much of the end of a file is fetched at once; holds the tail of all but the largest segments.
const TAIL_GUESS: u64 = 256 * 1024;

/// Ends a file: adds `metadata`, the checksums and the seal, and gives back its bytes.
pub(crate) fn finish(
    mut writer: ArrowWriter<Vec<u8>>,
    table: &'static str,
    metadata: Vec<(String, String)>,
) -> Result<Vec<u8>> {
    let failed = |error| SegmentError::parquet(table, error);
    let internal = |reason: &str| SegmentError::Input { table, reason: reason.to_owned() };
    writer.flush().map_err(failed)?;
    writer.sync().map_err(|error| failed(ParquetError::External(Box::new(error))))?;
    let mut checksums = String::new();
    let mut tail_start = 4_u64;
    for group in writer.flushed_row_groups() {
        for column in group.columns() {
            let (start, length) = column.byte_range();
            let end = start + length;
            let chunk = usize::try_from(start)
                .ok()
                .zip(usize::try_from(end).ok())
                .and_then(|(start, end)| writer.inner().get(start..end))
                .ok_or_else(|| internal("a column chunk lies outside of the file"))?;
            checksums.push_str(&format!("{:08x}", crc32c::crc32c(chunk)));
            tail_start = tail_start.max(end);
        }
    }
    for (key, value) in metadata {
        writer.append_key_value_metadata(KeyValue::new(key, value));
    }
    writer.append_key_value_metadata(KeyValue::new(FORMAT_KEY.to_owned(), FORMAT.to_string()));
    writer.append_key_value_metadata(KeyValue::new(CHUNKS_KEY.to_owned(), checksums));
    let mark = String::from_utf8_lossy(SEAL_MARK);
    writer.append_key_value_metadata(KeyValue::new(
        SEAL_KEY.to_owned(),
        format!("{mark}{:0CRC_DIGITS$x}:{tail_start:0OFFSET_DIGITS$x}", 0),
    ));
    let mut bytes = writer.into_inner().map_err(failed)?;
    let tail = usize::try_from(tail_start)
        .ok()
        .and_then(|start| bytes.get_mut(start..))
        .ok_or_else(|| internal("the tail lies outside of the file"))?;
    let at = find_seal(tail).ok_or_else(|| internal("the footer does not hold the seal"))?;
    let checksum = format!("{:08x}", crc32c::crc32c(tail));
    match tail.get_mut(at..at + CRC_DIGITS) {
        Some(place) => place.copy_from_slice(checksum.as_bytes()),
        None => return Err(internal("the seal is cut")),
    }
    Ok(bytes)
}

/// The offset of the CRC digits of the seal. The seal is the last value of the footer, behind all text of users.
fn find_seal(tail: &[u8]) -> Option<usize> {
    tail.windows(SEAL_MARK.len()).rposition(|window| window == SEAL_MARK).map(|at| at + SEAL_MARK.len())
}

/// An opened segment: its checked footer, and which of its column chunks have been checked.
#[derive(Debug)]
pub struct SealedFile {
    path: Path,
    table: &'static str,
    size: u64,
    tail_start: u64,
    metadata: ArrowReaderMetadata,
    /// The footer's key-value metadata, which `metadata` is without.
    values: Vec<KeyValue>,
    chunks: Vec<Chunk>,
}

/// A column chunk that is not as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedChunk {
    /// The row group.
    pub row_group: usize,
    /// The column.
    pub column: String,
    /// What is wrong.
    pub reason: String,
}

impl DamagedChunk {
    /// The part of the file, as errors name it.
    pub fn part(&self) -> String {
        format!("row group {}, column {}", self.row_group, self.column)
    }
}

#[derive(Debug)]
struct Chunk {
    range: Range<u64>,
    checksum: u32,
    row_group: usize,
    column: String,
    checked: AtomicBool,
}

impl SealedFile {
    /// Reads and checks the tail of a file of `size` bytes.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] when a bit of the tail is not as written, or the file is not a segment.
    pub async fn open(store: &dyn ObjectStore, path: &Path, size: u64, table: &'static str) -> Result<Self> {
        let corrupt = |part: &str, reason: String| SegmentError::Corrupt {
            path: path.to_string(),
            table,
            part: part.to_owned(),
            reason,
        };
        let fetch = async |range: Range<u64>| {
            let expected = range.end - range.start;
            let bytes = match store.get_range(path, range).await {
                Ok(bytes) => bytes,
                // Stores word "the range is behind the end" differently; the length itself tells.
                Err(error) => match store.head(path).await {
                    Ok(found) if found.size != size => {
                        return Err(corrupt("length", format!("{} bytes instead of {size}", found.size)));
                    }
                    _ => return Err(SegmentError::store(path, table, error)),
                },
            };
            if bytes.len() as u64 == expected {
                Ok(bytes)
            } else {
                Err(corrupt("length", format!("the file is shorter than {size} bytes")))
            }
        };
        if size < (4 + PARQUET_END + SEAL_MARK.len()) as u64 {
            return Err(corrupt("length", format!("{size} bytes are too few for a segment")));
        }
        let mut start = size.saturating_sub(TAIL_GUESS);
        let mut tail = fetch(start..size).await?;
        let footer_start = footer_start(&tail, size).map_err(|reason| corrupt("footer", reason))?;
        if footer_start < start {
            start = footer_start;
            tail = fetch(start..size).await?;
        }
        let seal = find_seal(&tail).ok_or_else(|| corrupt("footer", "it has no seal".to_owned()))?;
        let digits = |from: usize, count: usize| {
            tail.get(from..from + count)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .filter(|digits| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        };
        let (checksum, tail_start) = digits(seal, CRC_DIGITS)
            .zip(digits(seal + CRC_DIGITS + 1, OFFSET_DIGITS))
            .ok_or_else(|| corrupt("footer", "its seal is not readable".to_owned()))?;
        if tail_start > footer_start {
            return Err(corrupt("footer", "its seal names an impossible offset".to_owned()));
        }
        let seal_offset = start + seal as u64;
        if tail_start < start {
            tail = fetch(tail_start..size).await?;
        } else {
            tail = tail.slice((tail_start - start) as usize..);
        }
        let seal = (seal_offset - tail_start) as usize;
        let (before, rest) = tail.split_at(seal.min(tail.len()));
        let after = rest.get(CRC_DIGITS..).unwrap_or_default();
        let mut found = crc32c::crc32c(before);
        found = crc32c::crc32c_append(found, &[b'0'; CRC_DIGITS]);
        found = crc32c::crc32c_append(found, after);
        if u64::from(found) != checksum {
            return Err(corrupt("tail", format!("CRC32C is {found:08x}, written was {checksum:08x}")));
        }

        let parsed = parse_metadata(&tail, size).map_err(|error| corrupt("footer", error.to_string()))?;
        let (parsed, values) = without_values(parsed);
        let value = |key| value_of(&values, key);
        let format = value(FORMAT_KEY)
            .and_then(|format| format.parse::<u32>().ok())
            .ok_or_else(|| corrupt("footer", "it names no format".to_owned()))?;
        if format > FORMAT {
            return Err(SegmentError::Newer { path: path.to_string(), format, supported: FORMAT });
        }
        let checksums = value(CHUNKS_KEY).unwrap_or_default().as_bytes();
        let columns = parsed
            .row_groups()
            .iter()
            .enumerate()
            .flat_map(|(group, g)| g.columns().iter().map(move |c| (group, c)));
        let mut chunks = Vec::new();
        for (index, (row_group, column)) in columns.enumerate() {
            let checksum = checksums
                .get(index * CRC_DIGITS..(index + 1) * CRC_DIGITS)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or_else(|| corrupt("footer", "checksums of column chunks are missing".to_owned()))?;
            let (from, length) = column.byte_range();
            let range = from..from.saturating_add(length);
            if range.end > tail_start {
                return Err(corrupt("footer", "a column chunk lies outside of the data".to_owned()));
            }
            let column = column.column_path().string();
            chunks.push(Chunk { range, checksum, row_group, column, checked: AtomicBool::new(false) });
        }
        chunks.sort_by_key(|chunk| chunk.range.start);
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::try_new(Arc::new(parsed), options)
            .map_err(|error| corrupt("schema", error.to_string()))?;
        Ok(Self { path: path.clone(), table, size, tail_start, metadata, values, chunks })
    }

    /// Path of the file in its store.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The parsed footer.
    pub fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    /// A value of the footer's key-value metadata.
    pub fn value(&self, key: &str) -> Option<&str> {
        value_of(&self.values, key)
    }

    /// Takes a value out of memory, where it may be as long as all else.
    pub(crate) fn take_value(&mut self, key: &str) -> Option<String> {
        let place = self.values.iter().position(|entry| entry.key == key)?;
        self.values.swap_remove(place).value
    }

    pub(crate) fn corrupt(&self, part: impl Into<String>, reason: impl Into<String>) -> SegmentError {
        SegmentError::Corrupt {
            path: self.path.to_string(),
            table: self.table,
            part: part.into(),
            reason: reason.into(),
        }
    }

    /// About how much memory the opened file takes.
    pub(crate) fn memory(&self) -> usize {
        let value = |entry: &KeyValue| entry.key.len() + entry.value.as_ref().map_or(0, String::len);
        self.metadata.metadata().memory_size()
            + self.chunks.len() * size_of::<Chunk>()
            + self.values.iter().map(value).sum::<usize>()
    }

    /// Reads every byte of the file and checks it.
    ///
    /// # Errors
    /// The first damage found.
    pub async fn verify(&self, store: &dyn ObjectStore) -> Result<()> {
        let magic = store.get_range(&self.path, 0..4).await;
        let magic = magic.map_err(|error| SegmentError::store(&self.path, self.table, error))?;
        if magic.as_ref() != b"PAR1" {
            return Err(self.corrupt("first bytes", "not the mark of a Parquet file"));
        }
        let mut end = 4;
        for chunk in &self.chunks {
            if chunk.range.start != end {
                return Err(self.corrupt("layout", format!("bytes from {end} belong to no column chunk")));
            }
            end = chunk.range.end;
            self.fetch_checked(store, chunk).await?;
        }
        if end != self.tail_start {
            return Err(self.corrupt("layout", format!("bytes from {end} belong to no column chunk")));
        }
        // The tail was checked at opening; it is read again, since the opened file may be an old one.
        Self::open(store, &self.path, self.size, self.table).await.map(|_| ())
    }

    /// Reads every column chunk and gives those that are not as written.
    pub(crate) async fn damaged_chunks(&self, store: &dyn ObjectStore) -> Vec<DamagedChunk> {
        let mut damaged = Vec::new();
        for chunk in &self.chunks {
            if chunk.checked.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = self.fetch_checked(store, chunk).await {
                let reason = match error {
                    SegmentError::Corrupt { reason, .. } => reason,
                    other => other.to_string(),
                };
                damaged.push(DamagedChunk {
                    row_group: chunk.row_group,
                    column: chunk.column.clone(),
                    reason,
                });
            }
        }
        damaged.sort_by_key(|chunk| chunk.row_group);
        damaged
    }

    /// Reads the column chunks of some columns and checks them.
    ///
    /// # Errors
    /// The first damage found.
    pub(crate) async fn verify_columns(
        &self,
        store: &dyn ObjectStore,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<()> {
        for chunk in self.chunks.iter().filter(|chunk| wanted(&chunk.column)) {
            self.fetch_checked(store, chunk).await?;
        }
        Ok(())
    }

    async fn fetch_checked(&self, store: &dyn ObjectStore, chunk: &Chunk) -> Result<Bytes> {
        let bytes = store
            .get_range(&self.path, chunk.range.clone())
            .await
            .map_err(|error| SegmentError::store(&self.path, self.table, error))?;
        self.check_chunk(chunk, &bytes)?;
        Ok(bytes)
    }

    fn check_chunk(&self, chunk: &Chunk, bytes: &Bytes) -> Result<()> {
        let found = crc32c::crc32c(bytes);
        if found != chunk.checksum || bytes.len() as u64 != chunk.range.end - chunk.range.start {
            return Err(self.corrupt(
                format!("row group {}, column {}", chunk.row_group, chunk.column),
                format!("CRC32C is {found:08x}, written was {:08x}", chunk.checksum),
            ));
        }
        chunk.checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// How many bytes it takes to read ranges that lie in column chunks.
    pub(crate) fn bytes_to_fetch(&self, ranges: &[Range<u64>]) -> u64 {
        let mut whole = None;
        let bytes = ranges.iter().map(|range| {
            let after = self.chunks.partition_point(|chunk| chunk.range.start <= range.start);
            match after.checked_sub(1).and_then(|index| self.chunks.get(index)) {
                Some(chunk) if !chunk.checked.load(Ordering::Relaxed) => {
                    let is_new = whole.replace(chunk.range.start) != Some(chunk.range.start);
                    if is_new { chunk.range.end - chunk.range.start } else { 0 }
                }
                _ => range.end - range.start,
            }
        });
        bytes.sum()
    }

    /// The bytes of ranges that lie in column chunks; a chunk that is read for the first time is read whole and
    /// checked. Everything is asked of the store in one call, which joins ranges that lie near each other: on an object
    /// store each request costs as much as a megabyte.
    async fn fetch(&self, store: &dyn ObjectStore, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        // For each range: which of the wanted ones holds it. Ranges of one chunk come one after the other.
        let mut wanted: Vec<(Range<u64>, Option<&Chunk>)> = Vec::new();
        let mut places = Vec::with_capacity(ranges.len());
        for range in ranges {
            let after = self.chunks.partition_point(|chunk| chunk.range.start <= range.start);
            let chunk = after
                .checked_sub(1)
                .and_then(|index| self.chunks.get(index))
                .filter(|chunk| range.start < range.end && range.end <= chunk.range.end)
                .ok_or_else(|| {
                    self.corrupt("footer", format!("bytes {range:?} belong to no column chunk"))
                })?;
            if chunk.checked.load(Ordering::Relaxed) {
                wanted.push((range.clone(), None));
            } else if !wanted
                .last()
                .is_some_and(|(last, whole)| whole.is_some() && last.start == chunk.range.start)
            {
                wanted.push((chunk.range.clone(), Some(chunk)));
            }
            places.push(wanted.len() - 1);
        }
        let asked: Vec<_> = wanted.iter().map(|(range, _)| range.clone()).collect();
        let read = store
            .get_ranges(&self.path, &asked)
            .await
            .map_err(|error| SegmentError::store(&self.path, self.table, error))?;
        for ((range, chunk), bytes) in wanted.iter().zip(&read) {
            match chunk {
                Some(chunk) => self.check_chunk(chunk, bytes)?,
                None if bytes.len() as u64 != range.end - range.start => {
                    return Err(self.corrupt("length", "the file became shorter while it was open"));
                }
                None => {}
            }
        }
        let parts = ranges.iter().zip(places).map(|(range, place)| {
            let start = (range.start - asked[place].start) as usize;
            read[place].slice(start..start + (range.end - range.start) as usize)
        });
        Ok(parts.collect())
    }
}

/// Where the footer begins, from the last bytes of the file.
fn footer_start(end: &[u8], size: u64) -> Result<u64, String> {
    let Some((_, [a, b, c, d, magic @ ..])) = end.split_last_chunk::<PARQUET_END>() else {
        return Err("the file is too short".to_owned());
    };
    if magic != b"PAR1" {
        return Err("the file does not end as a Parquet file".to_owned());
    }
    let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
    size.checked_sub(PARQUET_END as u64)
        .and_then(|rest| rest.checked_sub(length))
        .ok_or_else(|| format!("its length of {length} bytes is more than the file"))
}

/// Metadata without the key-value part, and that part.
fn without_values(parsed: ParquetMetaData) -> (ParquetMetaData, Vec<KeyValue>) {
    let file = parsed.file_metadata();
    let values = file.key_value_metadata().cloned().unwrap_or_default();
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        None,
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let mut parts = parsed.into_builder();
    let metadata = ParquetMetaDataBuilder::new(file)
        .set_row_groups(parts.take_row_groups())
        .set_column_index(parts.take_column_index())
        .set_offset_index(parts.take_offset_index())
        .build();
    (metadata, values)
}

fn value_of<'a>(values: &'a [KeyValue], key: &str) -> Option<&'a str> {
    values.iter().find(|entry| entry.key == key).and_then(|entry| entry.value.as_deref())
}

fn parse_metadata(tail: &Bytes, size: u64) -> Result<ParquetMetaData, ParquetError> {
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    reader.try_parse_sized(tail, size)?;
    reader.finish()
}

/// Hands checked bytes of a segment to the Parquet reader.
#[derive(Debug, Clone)]
pub(crate) struct CheckedBytes {
    pub(crate) file: Arc<SealedFile>,
    pub(crate) store: Arc<dyn ObjectStore>,
}

impl AsyncFileReader for CheckedBytes {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            let mut found = self.get_byte_ranges(vec![range]).await?;
            found.pop().ok_or_else(|| ParquetError::General("no bytes came".to_owned()))
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            let fetched = self.file.fetch(self.store.as_ref(), &ranges).await;
            fetched.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        std::future::ready(Ok(Arc::clone(self.file.metadata.metadata()))).boxed()
    }
}
