//! Pages of many row groups under one decoder.
//!
//! The series of a question are mostly short and lie in many row groups. A reader for each group, with a request for its
//! bytes, a task on another thread and a decompression context for each of its columns, costs several times what the few
//! pages cost: here the pages of all groups come in one request, up to a bound, and go through one decoder, and threads
//! keep their decompression context.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups, RowSelection, RowSelector};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use crate::segment::seal::{CheckedBytes, SealedFile};

/// Bytes that are asked for at once, as long as they are of more than one row group.
const BYTES_AT_ONCE: u64 = 8 << 20;
/// Largest page that is unpacked: one of [`crate::segment::PAGE_ROWS`] numbers has 64 KiB.
const PAGE_BYTES: usize = 64 << 20;

/// The rows to take from one row group.
#[derive(Debug)]
pub(super) struct GroupRows {
    pub(super) group: usize,
    pub(super) selectors: Vec<RowSelector>,
}

/// Reads rows of row groups in file order.
pub(super) struct PageStream {
    bytes: CheckedBytes,
    columns: Vec<usize>,
    levels: FieldLevels,
    batch_size: usize,
    groups: VecDeque<GroupRows>,
    reader: Option<ParquetRecordBatchReader>,
}

impl PageStream {
    /// The rows of some row groups, rising, with columns that hold one number a row, rising.
    pub(super) fn new(
        bytes: CheckedBytes,
        groups: Vec<GroupRows>,
        columns: Vec<usize>,
        batch_size: usize,
    ) -> Result<Self, ParquetError> {
        let metadata = bytes.file.metadata();
        let schema = metadata.parquet_schema();
        let mask = ProjectionMask::roots(schema, columns.iter().copied());
        let levels = parquet_to_arrow_field_levels(schema, mask, Some(metadata.schema().fields()))?;
        Ok(Self { bytes, columns, levels, batch_size, groups: groups.into(), reader: None })
    }

    /// The next batch.
    pub(super) async fn next(&mut self) -> Option<Result<arrow::array::RecordBatch, ParquetError>> {
        loop {
            let found = match self.reader.as_mut().and_then(Iterator::next) {
                Some(batch) => batch.map_err(ParquetError::from),
                None if self.groups.is_empty() => return None,
                None => match self.open_next().await {
                    Ok(reader) => {
                        self.reader = Some(reader);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            if found.is_err() {
                // Nothing comes behind an error.
                self.reader = None;
                self.groups.clear();
            }
            return Some(found);
        }
    }

    /// Fetches the pages of the next groups.
    async fn open_next(&mut self) -> Result<ParquetRecordBatchReader, ParquetError> {
        let file = Arc::clone(&self.bytes.file);
        let (mut ranges, mut total) = (Vec::new(), 0);
        let (mut groups, mut selectors) = (Vec::new(), Vec::new());
        while let Some(next) = self.groups.front() {
            let of_group = pages_of(file.metadata().metadata(), next, &self.columns)?;
            total += file.bytes_to_fetch(&of_group);
            if total > BYTES_AT_ONCE && !groups.is_empty() {
                break;
            }
            ranges.extend(of_group);
            if let Some(next) = self.groups.pop_front() {
                groups.push(next.group);
                selectors.extend(next.selectors);
            }
        }
        let fetched = self.bytes.get_byte_ranges(ranges.clone()).await?;
        let mut pages: Vec<(u64, Bytes)> = ranges.iter().map(|range| range.start).zip(fetched).collect();
        pages.sort_unstable_by_key(|(start, _)| *start);
        let size = file.size();
        let pages = Arc::new(Pages { pages, size });
        let groups = Groups { file, groups: groups.into(), pages };
        let selection = Some(RowSelection::from(selectors));
        ParquetRecordBatchReader::try_new_with_row_groups(&self.levels, &groups, self.batch_size, selection)
    }
}

fn chunk(
    metadata: &ParquetMetaData,
    group: usize,
    column: usize,
) -> Result<(&ColumnChunkMetaData, &[PageLocation]), ParquetError> {
    let chunk = metadata.row_groups().get(group).and_then(|group| group.columns().get(column));
    let offsets = metadata.offset_index().and_then(|index| index.get(group)?.get(column));
    match (chunk, offsets) {
        (Some(chunk), Some(offsets)) => Ok((chunk, offsets.page_locations())),
        _ => Err(ParquetError::General(format!("row group {group} has no page index of column {column}"))),
    }
}

/// The bytes of the pages that hold rows of a selection, column by column.
fn pages_of(
    metadata: &ParquetMetaData,
    rows: &GroupRows,
    columns: &[usize],
) -> Result<Vec<Range<u64>>, ParquetError> {
    let selection = RowSelection::from(rows.selectors.clone());
    let mut ranges = Vec::new();
    for column in columns {
        let (chunk, locations) = chunk(metadata, rows.group, *column)?;
        let (start, _) = chunk.byte_range();
        // What stands before the first page is its dictionary.
        if let Some(first) = locations.first().map(|first| first.offset as u64)
            && first > start
        {
            ranges.push(start..first);
        }
        ranges.extend(selection.scan_ranges(locations));
    }
    Ok(ranges)
}

/// The pages that were fetched, by where they begin in the file.
struct Pages {
    pages: Vec<(u64, Bytes)>,
    size: u64,
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.size
    }
}

impl Pages {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let after = self.pages.partition_point(|(first, _)| *first <= start);
        let page = after.checked_sub(1).and_then(|at| self.pages.get(at));
        let rest = page.and_then(|(first, page)| {
            let skipped = usize::try_from(start - first).ok()?;
            (skipped < page.len()).then(|| page.slice(skipped..))
        });
        rest.ok_or_else(|| ParquetError::General(format!("the page at byte {start} was not asked for")))
    }
}

impl ChunkReader for Pages {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let rest = self.from(start)?;
        if length > rest.len() {
            return Err(ParquetError::EOF(format!("the page at byte {start} is cut")));
        }
        Ok(rest.slice(..length))
    }
}

/// The row groups of one request.
struct Groups {
    file: Arc<SealedFile>,
    groups: Arc<[usize]>,
    pages: Arc<Pages>,
}

impl RowGroups for Groups {
    fn num_rows(&self) -> usize {
        self.row_groups().map(|group| group.num_rows() as usize).sum()
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>, ParquetError> {
        Ok(Box::new(ColumnChunks {
            file: Arc::clone(&self.file),
            groups: Arc::clone(&self.groups),
            pages: Arc::clone(&self.pages),
            column,
            next: 0,
        }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        let all = self.metadata().row_groups();
        Box::new(self.groups.iter().filter_map(|group| all.get(*group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.file.metadata().metadata()
    }
}

/// The chunks of one column.
struct ColumnChunks {
    file: Arc<SealedFile>,
    groups: Arc<[usize]>,
    pages: Arc<Pages>,
    column: usize,
    next: usize,
}

impl ColumnChunks {
    fn open(&self, group: usize) -> Result<Box<dyn PageReader>, ParquetError> {
        let metadata = self.file.metadata().metadata();
        let (chunk, locations) = chunk(metadata, group, self.column)?;
        let rows = metadata.row_groups().get(group).map_or(0, |group| group.num_rows() as usize);
        let open = |chunk: &ColumnChunkMetaData| {
            SerializedPageReader::new(Arc::clone(&self.pages), chunk, rows, Some(locations.to_vec()))
        };
        if !matches!(chunk.compression(), Compression::ZSTD(_)) {
            return Ok(Box::new(open(chunk)?));
        }
        // Told that nothing is compressed, it hands the pages over as they are.
        let plain = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        Ok(Box::new(Unpacking(open(&plain)?)))
    }
}

impl Iterator for ColumnChunks {
    type Item = Result<Box<dyn PageReader>, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = *self.groups.get(self.next)?;
        self.next += 1;
        Some(self.open(group))
    }
}

impl PageIterator for ColumnChunks {}

/// Unpacks pages that are compressed as a whole, as those of version 1 are.
struct Unpacking(SerializedPageReader<Pages>);

thread_local! {
    static UNPACKER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn unpacked(packed: &[u8]) -> Result<Bytes, ParquetError> {
    let fault = |what: &str| ParquetError::General(format!("a page cannot be unpacked: {what}"));
    let size = match zstd::zstd_safe::get_frame_content_size(packed) {
        Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX),
        _ if packed.is_empty() => return Ok(Bytes::new()),
        _ => return Err(fault("it does not say its size")),
    };
    if size > PAGE_BYTES {
        return Err(fault("it is larger than 64 MiB"));
    }
    UNPACKER.with_borrow_mut(|unpacker| {
        let unpacker = match unpacker {
            Some(unpacker) => unpacker,
            None => unpacker.insert(zstd::bulk::Decompressor::new()?),
        };
        Ok(Bytes::from(unpacker.decompress(packed, size)?))
    })
}

impl PageReader for Unpacking {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let Some(mut page) = self.0.get_next_page()? else { return Ok(None) };
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => *buf = unpacked(buf)?,
            Page::DataPageV2 { .. } => {
                return Err(ParquetError::NYI("segments have no pages of version 2".to_owned()));
            }
        }
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.0.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool, ParquetError> {
        self.0.at_record_boundary()
    }
}

impl Iterator for Unpacking {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
