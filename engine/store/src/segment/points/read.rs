//! Reading a segment of `points`: exact rows of the wanted series, and nothing else.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    StringViewArray,
};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::{Stream, StreamExt, TryStreamExt};
use model::RunId;
use model::schema::Table;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::arrow_reader::RowSelector;
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use super::pages::{GroupRows, PageStream};
use crate::segment::chunk_index::{self, ChunkIndex, IndexedSeries};
use crate::segment::seal::{CheckedBytes, DamagedChunk, SealedFile};
use crate::segment::{Result, SegmentError};

/// Position of `step` in the schema of `points`.
const STEP: usize = 5;
/// The column with the smallest pages.
const VALUE: usize = 8;
/// The columns in front of `step` are texts and come from the chunk index; the others from Parquet.
const TEXT_COLUMNS: usize = STEP;

/// A stream of record batches in file order.
pub type PointStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// Which series to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeriesSelection {
    /// All of them.
    All,
    /// Those at these positions of the chunk index, in any order; see [`ChunkIndex::matching`].
    Positions(Vec<usize>),
}

/// How texts (project, experiment, run_id, metric, context) are given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TextColumns {
    /// As `Utf8`, the type in the schema.
    #[default]
    Utf8,
    /// As `Utf8View`: one copy of each text in a batch.
    Utf8View,
    /// As `Dictionary(Int32, Utf8)`: one copy of each text in a scan.
    Dictionary,
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The series.
    pub selection: SeriesSelection,
    /// The columns, as positions in the schema of `points`; may be empty, then batches only have a row count.
    pub projection: Vec<usize>,
    /// Rows in a batch at most.
    pub batch_size: usize,
    /// Only points with a step in this range.
    pub steps: Option<RangeInclusive<i64>>,
    /// The type of texts.
    pub texts: TextColumns,
    /// Rows to leave out, rising: those of damaged row groups.
    pub without: Vec<Range<u64>>,
}

impl Scan {
    /// All series and columns, in batches of 8,192 rows.
    pub fn all() -> Self {
        Self {
            selection: SeriesSelection::All,
            projection: (0..Table::Points.schema().fields().len()).collect(),
            batch_size: crate::segment::PAGE_ROWS,
            steps: None,
            texts: TextColumns::Utf8,
            without: Vec::new(),
        }
    }
}

/// How much of a segment a scan reads, for `EXPLAIN ANALYZE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruning {
    /// Series in the segment.
    pub series: u64,
    /// Series that are read.
    pub series_read: u64,
    /// Row groups in the segment.
    pub row_groups: u64,
    /// Row groups that are read from.
    pub row_groups_read: u64,
    /// Data pages of the column `value` in the segment.
    pub pages: u64,
    /// Data pages of that column that are decoded; 0 when the chunk index alone answers.
    pub pages_read: u64,
    /// Rows in the segment.
    pub rows: u64,
    /// Rows that are read.
    pub rows_read: u64,
}

/// An open segment of `points`.
#[derive(Debug, Clone)]
pub struct Reader {
    store: Arc<dyn ObjectStore>,
    file: Arc<SealedFile>,
    index: Arc<ChunkIndex>,
}

impl Reader {
    /// Opens a segment of `size` bytes: reads and checks its tail.
    ///
    /// # Errors
    /// [`SegmentError::Missing`] and [`SegmentError::Corrupt`] name the file and its damaged part.
    pub async fn open(store: Arc<dyn ObjectStore>, path: &Path, size: u64) -> Result<Self> {
        let file = SealedFile::open(store.as_ref(), path, size, Table::Points.name()).await?;
        Self::of(store, file)
    }

    /// The reader of an opened file.
    pub(crate) fn of(store: Arc<dyn ObjectStore>, mut file: SealedFile) -> Result<Self> {
        let text = file.take_value(chunk_index::KEY);
        let text = text.ok_or_else(|| file.corrupt("footer", "it has no chunk index"))?;
        let index = ChunkIndex::decode(&text).map_err(|reason| file.corrupt("chunk index", reason))?;
        let rows: i64 = file.metadata().metadata().row_groups().iter().map(|group| group.num_rows()).sum();
        if u64::try_from(rows) != Ok(index.rows()) {
            let reason = format!("it names {} rows, the file has {rows}", index.rows());
            return Err(file.corrupt("chunk index", reason));
        }
        let expected = Table::Points.schema();
        let types = |schema: &Schema| {
            schema.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>()
        };
        if types(file.metadata().schema()) != types(&expected) {
            return Err(file.corrupt("schema", "it is not that of points"));
        }
        Ok(Self { store, file: Arc::new(file), index: Arc::new(index) })
    }

    pub(super) fn parts(&self) -> (&Arc<dyn ObjectStore>, &Arc<SealedFile>) {
        (&self.store, &self.file)
    }

    /// The rows of a row group.
    pub fn group_rows(&self, row_group: usize) -> Range<u64> {
        let groups = self.file.metadata().metadata().row_groups();
        let rows = |group: &parquet::file::metadata::RowGroupMetaData| group.num_rows() as u64;
        let start: u64 = groups.iter().take(row_group).map(rows).sum();
        start..start + groups.get(row_group).map_or(0, rows)
    }

    /// The runs that have points in a range of rows; a run may come more than once.
    pub fn runs_in(&self, rows: &Range<u64>) -> impl Iterator<Item = RunId> + '_ {
        let rows = rows.clone();
        self.index.iter().filter_map(move |series| {
            let range = series.rows.range();
            (range.start < rows.end && range.end > rows.start).then_some(series.run)
        })
    }

    /// Checks every column chunk and gives the damaged ones.
    pub async fn damaged_chunks(&self) -> Vec<DamagedChunk> {
        self.file.damaged_chunks(self.store.as_ref()).await
    }

    /// The series of the segment and their rows.
    pub fn series(&self) -> &ChunkIndex {
        &self.index
    }

    /// About how much memory the opened segment takes.
    pub(super) fn memory(&self) -> usize {
        self.file.memory() + self.index.memory()
    }

    /// The opened file.
    pub fn file(&self) -> &SealedFile {
        &self.file
    }

    /// Reads and checks every byte.
    ///
    /// # Errors
    /// The first damage found.
    pub async fn verify(&self) -> Result<()> {
        self.file.verify(self.store.as_ref()).await
    }

    /// The schema of the batches of a scan.
    ///
    /// # Errors
    /// [`SegmentError::Request`] for a column that does not exist.
    pub fn schema(scan: &Scan) -> Result<SchemaRef> {
        let schema = Table::Points.schema();
        let fields = scan
            .projection
            .iter()
            .map(|column| {
                let field = schema.fields().get(*column).ok_or_else(|| SegmentError::Request {
                    reason: format!("points has no column {column}"),
                })?;
                let data_type = match (field.data_type(), scan.texts) {
                    (DataType::Utf8, TextColumns::Utf8View) => DataType::Utf8View,
                    (DataType::Utf8, TextColumns::Dictionary) => {
                        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
                    }
                    (other, _) => other.clone(),
                };
                Ok(field.as_ref().clone().with_data_type(data_type))
            })
            .collect::<Result<Vec<Field>>>()?;
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Reads points in file order. Also says what is left out.
    ///
    /// # Errors
    /// [`SegmentError::Request`] for columns or series that do not exist; the stream gives the errors of reading.
    pub fn scan(&self, scan: &Scan) -> Result<(PointStream, Pruning)> {
        let schema = Self::schema(scan)?;
        let batch_size = scan.batch_size.max(1);
        let pieces = self.pieces(scan)?;
        let mut pruning = self.pruning(&pieces);
        let mut columns: Vec<usize> =
            scan.projection.iter().copied().filter(|column| *column >= TEXT_COLUMNS).collect();
        if scan.steps.is_some() {
            columns.push(STEP);
        }
        columns.sort_unstable();
        columns.dedup();
        let assembly = Assembly::new(&self.index, &pieces, scan, schema, columns.clone());
        if columns.is_empty() {
            // The chunk index knows the texts of every row: nothing is read.
            pruning.pages_read = 0;
            pruning.row_groups_read = 0;
            return Ok((without_columns(assembly, pruning.rows_read, batch_size), pruning));
        }
        let bytes = CheckedBytes { file: Arc::clone(&self.file), store: Arc::clone(&self.store) };
        let path = self.file.path().to_string();
        let pages = PageStream::new(bytes, self.row_selection(&pieces), columns, batch_size)
            .map_err(|error| SegmentError::parquet(&path, error))?;
        let batches =
            futures::stream::unfold(pages, |mut pages| async move { Some((pages.next().await?, pages)) });
        let file = Arc::clone(&self.file);
        let mut assembly = assembly;
        let stream = batches
            .map_err(move |error| SegmentError::parquet(&path, error))
            .map(move |batch| {
                assembly.assemble(&batch?).map_err(|error| file.corrupt("record batch", error.to_string()))
            })
            .try_filter(|batch| std::future::ready(batch.num_rows() > 0))
            .boxed();
        Ok((stream, pruning))
    }

    /// The ranges of rows to read, in file order, each with its series.
    fn pieces(&self, scan: &Scan) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut add = |series: IndexedSeries<'_>| {
            let Some(steps) = &scan.steps else {
                pieces.push(Piece { position: series.position, rows: series.rows.range() });
                return;
            };
            if series.rows.last_step < *steps.start() || series.rows.first_step > *steps.end() {
                return;
            }
            for rows in self.pages_with_steps(series.rows.range(), steps) {
                pieces.push(Piece { position: series.position, rows });
            }
        };
        match &scan.selection {
            SeriesSelection::All => self.index.iter().for_each(&mut add),
            SeriesSelection::Positions(positions) => {
                let mut positions = positions.clone();
                positions.sort_unstable();
                positions.dedup();
                for position in positions {
                    add(self.index.get(position).ok_or_else(|| SegmentError::Request {
                        reason: format!("the segment has no series {position}"),
                    })?);
                }
            }
        }
        for without in &scan.without {
            pieces = pieces.into_iter().flat_map(|piece| piece.cut(without)).collect();
        }
        Ok(pieces)
    }

    /// Cuts from a range of rows the pages in which no step lies in `steps`.
    fn pages_with_steps(&self, rows: Range<u64>, steps: &RangeInclusive<i64>) -> Vec<Range<u64>> {
        let metadata = self.file.metadata().metadata();
        let mut kept: Vec<Range<u64>> = Vec::new();
        let mut group_start = 0_u64;
        for (group, group_metadata) in metadata.row_groups().iter().enumerate() {
            let group_rows = group_metadata.num_rows() as u64;
            let group_range = group_start..group_start + group_rows;
            group_start = group_range.end;
            if group_range.start >= rows.end || group_range.end <= rows.start {
                continue;
            }
            let bounds = metadata.column_index().and_then(|index| match index.get(group)?.get(STEP)? {
                ColumnIndexMetaData::INT64(bounds) => Some(bounds),
                _ => None,
            });
            let pages = metadata
                .offset_index()
                .and_then(|index| index.get(group)?.get(STEP))
                .map(|offsets| offsets.page_locations().as_slice())
                .unwrap_or_default();
            if pages.is_empty() {
                kept.push(rows.start.max(group_range.start)..rows.end.min(group_range.end));
                continue;
            }
            for (page, location) in pages.iter().enumerate() {
                let next = pages.get(page + 1).map_or(group_rows, |next| next.first_row_index as u64);
                let start = rows.start.max(group_range.start + location.first_row_index as u64);
                let end = rows.end.min(group_range.start + next);
                let outside = bounds.is_some_and(|bounds| {
                    bounds.min_value(page).is_some_and(|low| low > steps.end())
                        || bounds.max_value(page).is_some_and(|high| high < steps.start())
                });
                if start >= end || outside {
                    continue;
                }
                match kept.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => kept.push(start..end),
                }
            }
        }
        kept
    }

    /// The row groups that hold the pieces, and the rows to take from those groups.
    fn row_selection(&self, pieces: &[Piece]) -> Vec<GroupRows> {
        let mut groups = Vec::new();
        let mut group_start = 0_u64;
        let mut pieces = pieces.iter().map(|piece| piece.rows.clone()).peekable();
        let mut current = pieces.next();
        for (group, metadata) in self.file.metadata().metadata().row_groups().iter().enumerate() {
            let group_end = group_start + metadata.num_rows() as u64;
            let mut at = group_start;
            let mut selectors = Vec::new();
            while let Some(rows) = current.clone().filter(|rows| rows.start < group_end) {
                let end = rows.end.min(group_end);
                if rows.start > at {
                    selectors.push(RowSelector::skip((rows.start - at) as usize));
                }
                selectors.push(RowSelector::select((end - rows.start.max(at)) as usize));
                at = end;
                current = if rows.end > group_end { Some(group_end..rows.end) } else { pieces.next() };
            }
            if !selectors.is_empty() {
                if at < group_end {
                    selectors.push(RowSelector::skip((group_end - at) as usize));
                }
                groups.push(GroupRows { group, selectors });
            }
            group_start = group_end;
        }
        groups
    }

    fn pruning(&self, pieces: &[Piece]) -> Pruning {
        let metadata = self.file.metadata().metadata();
        let mut pruning = Pruning {
            series: self.index.len() as u64,
            row_groups: metadata.num_row_groups() as u64,
            rows: self.index.rows(),
            ..Pruning::default()
        };
        let mut last_series = None;
        for piece in pieces {
            pruning.rows_read += piece.rows.end - piece.rows.start;
            pruning.series_read += u64::from(last_series != Some(piece.position));
            last_series = Some(piece.position);
        }
        let mut group_start = 0_u64;
        let mut first = 0;
        for (group, group_metadata) in metadata.row_groups().iter().enumerate() {
            let group_rows = group_metadata.num_rows() as u64;
            let locations = metadata
                .offset_index()
                .and_then(|index| index.get(group)?.get(VALUE))
                .map(|offsets| offsets.page_locations().as_slice())
                .unwrap_or_default();
            pruning.pages += locations.len() as u64;
            let mut group_is_read = false;
            for (page, location) in locations.iter().enumerate() {
                let start = group_start + location.first_row_index as u64;
                let end = group_start
                    + locations.get(page + 1).map_or(group_rows, |next| next.first_row_index as u64);
                while pieces.get(first).is_some_and(|piece| piece.rows.end <= start) {
                    first += 1;
                }
                if pieces.get(first).is_some_and(|piece| piece.rows.start < end) {
                    pruning.pages_read += 1;
                    group_is_read = true;
                }
            }
            pruning.row_groups_read += u64::from(group_is_read);
            group_start += group_rows;
        }
        pruning
    }
}

/// Rows of one series that are read.
#[derive(Debug, Clone)]
struct Piece {
    position: usize,
    rows: Range<u64>,
}

impl Piece {
    /// What is left without a range of rows.
    fn cut(self, without: &Range<u64>) -> impl Iterator<Item = Self> {
        let Range { start, end } = self.rows;
        let before = start..end.min(without.start);
        let behind = start.max(without.end)..end;
        let position = self.position;
        [before, behind]
            .into_iter()
            .filter(|rows| rows.start < rows.end)
            .map(move |rows| Self { position, rows })
    }
}

/// Joins the columns from Parquet with the texts from the chunk index.
struct Assembly {
    schema: SchemaRef,
    projection: Vec<usize>,
    /// The columns that the batches from Parquet have.
    columns: Vec<usize>,
    steps: Option<RangeInclusive<i64>>,
    /// For each text column: whether it is wanted, its distinct texts and the key of every piece.
    texts: Vec<Option<PieceTexts>>,
    /// Rows of every piece.
    rows: Vec<u64>,
    /// The piece that the next row belongs to, and how many of its rows are done.
    piece: usize,
    done: u64,
}

struct PieceTexts {
    distinct: ArrayRef,
    kind: TextColumns,
    keys: Vec<Option<i32>>,
}

impl Assembly {
    fn new(
        index: &ChunkIndex,
        pieces: &[Piece],
        scan: &Scan,
        schema: SchemaRef,
        columns: Vec<usize>,
    ) -> Self {
        let texts = (0..TEXT_COLUMNS)
            .map(|column| {
                scan.projection.contains(&column).then(|| PieceTexts::new(index, pieces, column, scan.texts))
            })
            .collect();
        Self {
            schema,
            projection: scan.projection.clone(),
            columns,
            steps: scan.steps.clone(),
            texts,
            rows: pieces.iter().map(|piece| piece.rows.end - piece.rows.start).collect(),
            piece: 0,
            done: 0,
        }
    }

    /// For the next `count` rows: which pieces they belong to, and how many rows of each.
    fn advance(&mut self, count: usize) -> Vec<(usize, usize)> {
        let mut spans = Vec::new();
        let mut missing = count as u64;
        while missing > 0
            && let Some(rows) = self.rows.get(self.piece)
        {
            let taken = missing.min(rows - self.done);
            spans.push((self.piece, taken as usize));
            missing -= taken;
            self.done += taken;
            if self.done == *rows {
                self.piece += 1;
                self.done = 0;
            }
        }
        spans
    }

    fn assemble(&mut self, batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
        let spans = self.advance(batch.num_rows());
        let mut columns = Vec::with_capacity(self.projection.len());
        for column in &self.projection {
            let array = match self.texts.get(*column) {
                Some(Some(texts)) => texts.array(&spans)?,
                _ => {
                    let place = self.columns.binary_search(column).unwrap_or(usize::MAX);
                    let array = batch.columns().get(place).ok_or_else(|| {
                        arrow::error::ArrowError::SchemaError(format!("column {column} did not come"))
                    })?;
                    Arc::clone(array)
                }
            };
            columns.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let full = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let Some(range) = &self.steps else { return Ok(full) };
        let place = self.columns.binary_search(&STEP).unwrap_or(usize::MAX);
        let steps = batch.columns().get(place).and_then(|array| array.as_any().downcast_ref::<Int64Array>());
        let steps =
            steps.ok_or_else(|| arrow::error::ArrowError::SchemaError("step did not come".to_owned()))?;
        if steps.values().iter().all(|step| range.contains(step)) {
            return Ok(full);
        }
        let wanted: BooleanArray = steps.values().iter().map(|step| Some(range.contains(step))).collect();
        compute::filter_record_batch(&full, &wanted)
    }
}

impl PieceTexts {
    fn new(index: &ChunkIndex, pieces: &[Piece], column: usize, kind: TextColumns) -> Self {
        let mut known: HashMap<String, i32> = HashMap::new();
        let mut distinct: Vec<String> = Vec::new();
        let mut run = String::new();
        let keys = pieces
            .iter()
            .map(|piece| {
                let series = index.get(piece.position)?;
                let text = match column {
                    0 => series.project,
                    1 => series.experiment,
                    2 => {
                        run = series.run.to_string();
                        &run
                    }
                    3 => series.metric,
                    _ => series.context?,
                };
                if let Some(key) = known.get(text) {
                    return Some(*key);
                }
                let key = distinct.len() as i32;
                known.insert(text.to_owned(), key);
                distinct.push(text.to_owned());
                Some(key)
            })
            .collect();
        let distinct: ArrayRef = match kind {
            TextColumns::Utf8View => Arc::new(StringViewArray::from_iter_values(&distinct)),
            TextColumns::Utf8 | TextColumns::Dictionary => Arc::new(StringArray::from_iter_values(&distinct)),
        };
        Self { distinct, kind, keys }
    }

    fn array(&self, spans: &[(usize, usize)]) -> Result<ArrayRef, arrow::error::ArrowError> {
        let keys: Int32Array = spans
            .iter()
            .flat_map(|(piece, rows)| std::iter::repeat_n(self.keys.get(*piece).copied().flatten(), *rows))
            .collect();
        match self.kind {
            TextColumns::Dictionary => {
                Ok(Arc::new(arrow::array::DictionaryArray::try_new(keys, Arc::clone(&self.distinct))?))
            }
            TextColumns::Utf8 | TextColumns::Utf8View => compute::take(&self.distinct, &keys, None),
        }
    }
}

fn without_columns(mut assembly: Assembly, rows: u64, batch_size: usize) -> PointStream {
    let mut left = rows;
    futures::stream::iter(std::iter::from_fn(move || {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(batch_size);
        (count > 0).then(|| {
            left -= count as u64;
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
                .and_then(|batch| assembly.assemble(&batch))
                .map_err(|error| SegmentError::Request { reason: error.to_string() })
        })
    }))
    .boxed()
}
