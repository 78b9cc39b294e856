//! The chunk index: which rows of a segment belong to which series.
//!
//! It stands in the footer (key `runlake.chunk_index`), compressed and in base 64, so that a reader selects exact rows
//! without guessing from statistics. The byte table is in `docs/formats/segment.md`.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::RunId;

use super::series_lookup::SeriesLookup;

/// Key of the index in the footer's key-value metadata.
pub(crate) const KEY: &str = "runlake.chunk_index";

/// Version of the layout, its first byte.
const LAYOUT: u8 = 1;
/// Largest index that is unpacked; a segment of 16 million one-point series stays below.
const LIMIT: usize = 256 * 1024 * 1024;

/// Where the rows of one series are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesRows {
    /// The first row in the file.
    pub first_row: u64,
    /// Number of rows, at least one.
    pub rows: u64,
    /// Smallest step.
    pub first_step: i64,
    /// Largest step.
    pub last_step: i64,
}

impl SeriesRows {
    /// The rows in the file.
    pub fn range(&self) -> Range<u64> {
        self.first_row..self.first_row + self.rows
    }
}

/// One series in memory, where there are millions of them: 32 bytes. Its rows end where those of the next one begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    run: u32,
    metric: u32,
    /// 0 for none, else the number of the text and one more.
    context: u32,
    first_row: u32,
    first_step: i64,
    last_step: i64,
}

/// A run that a segment holds series of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct RunEntry {
    id: RunId,
    project: u32,
    experiment: u32,
}

/// One series of a segment, as a predicate sees it.
#[derive(Debug, Clone, Copy)]
pub struct IndexedSeries<'a> {
    /// Position in the index.
    pub position: usize,
    /// The project.
    pub project: &'a str,
    /// The experiment.
    pub experiment: &'a str,
    /// The run.
    pub run: RunId,
    /// The metric.
    pub metric: &'a str,
    /// The context, as canonical JSON.
    pub context: Option<&'a str>,
    /// Its rows and steps.
    pub rows: SeriesRows,
}

/// The series of a segment in file order.
#[derive(Debug, Clone, Default)]
pub struct ChunkIndex {
    texts: Vec<Arc<str>>,
    runs: Vec<RunEntry>,
    series: Vec<Entry>,
    rows: u64,
    lookup: OnceLock<SeriesLookup>,
}

impl PartialEq for ChunkIndex {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
            && self.runs == other.runs
            && self.series == other.series
            && self.rows == other.rows
    }
}

impl Eq for ChunkIndex {}

impl ChunkIndex {
    /// Number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are no series.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Number of rows of all series.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The runs, each once for every project and experiment that it stands under.
    pub fn runs(&self) -> impl Iterator<Item = RunId> + '_ {
        self.runs.iter().map(|run| run.id)
    }

    /// The series at `position`, `None` past the end.
    pub fn get(&self, position: usize) -> Option<IndexedSeries<'_>> {
        let entry = *self.series.get(position)?;
        let run = self.runs.get(entry.run as usize)?;
        let text = |index: u32| self.texts.get(index as usize).map(AsRef::as_ref);
        Some(IndexedSeries {
            position,
            project: text(run.project)?,
            experiment: text(run.experiment)?,
            run: run.id,
            metric: text(entry.metric)?,
            context: match entry.context {
                0 => None,
                number => Some(text(number - 1)?),
            },
            rows: SeriesRows {
                first_row: u64::from(entry.first_row),
                rows: self.end_of(position) - u64::from(entry.first_row),
                first_step: entry.first_step,
                last_step: entry.last_step,
            },
        })
    }

    /// The row after the last one of a series.
    fn end_of(&self, position: usize) -> u64 {
        self.series.get(position + 1).map_or(self.rows, |next| u64::from(next.first_row))
    }

    /// All series in file order.
    pub fn iter(&self) -> impl Iterator<Item = IndexedSeries<'_>> + Clone {
        (0..self.len()).filter_map(|position| self.get(position))
    }

    /// Positions of the series for which `predicate` holds, in file order.
    pub fn matching(&self, predicate: impl Fn(&IndexedSeries<'_>) -> bool) -> Vec<usize> {
        self.iter().filter(|series| predicate(series)).map(|series| series.position).collect()
    }

    /// Positions of the series of these runs for which `predicate` holds, in file order.
    pub fn of_runs(
        &self,
        runs: impl Iterator<Item = RunId>,
        predicate: impl Fn(&IndexedSeries<'_>) -> bool,
    ) -> Vec<usize> {
        let lookup = self.lookup();
        let mut positions: Vec<usize> =
            runs.flat_map(|run| lookup.of_run(run)).map(|position| position as usize).collect();
        positions.sort_unstable();
        positions.dedup();
        positions.retain(|position| self.get(*position).is_some_and(|series| predicate(&series)));
        positions
    }

    /// How many series these runs have.
    pub fn count_of_runs(&self, runs: impl Iterator<Item = RunId>) -> usize {
        runs.map(|run| self.lookup().of_run(run).count()).sum()
    }

    /// Positions of the series of the metrics that `is_wanted` takes, for which `predicate` holds, in file order.
    pub fn of_metrics(
        &self,
        is_wanted: impl Fn(&str) -> bool,
        predicate: impl Fn(&IndexedSeries<'_>) -> bool,
    ) -> Vec<usize> {
        let lookup = self.lookup();
        let mut positions = Vec::new();
        for (number, text) in (0..).zip(&self.texts) {
            // The texts are names of all kinds; few of them are metrics that are wanted.
            let of_metric = lookup.of_metric(number);
            if !of_metric.is_empty() && is_wanted(text) {
                positions.extend(of_metric.iter().map(|position| *position as usize));
            }
        }
        positions.sort_unstable();
        positions.retain(|position| self.get(*position).is_some_and(|series| predicate(&series)));
        positions
    }

    fn lookup(&self) -> &SeriesLookup {
        self.lookup.get_or_init(|| {
            SeriesLookup::new(
                self.runs.iter().map(|run| run.id),
                self.series.iter().map(|series| series.run),
                self.series.iter().map(|series| series.metric),
                self.texts.len(),
            )
        })
    }

    pub(crate) fn memory(&self) -> usize {
        SeriesLookup::bytes(self.runs.len(), self.texts.len(), self.series.len())
            + self.texts.iter().map(|text| text.len() + size_of::<Arc<str>>()).sum::<usize>()
            + self.runs.len() * size_of::<RunEntry>()
            + self.series.len() * size_of::<Entry>()
    }

    /// The text of the footer's value.
    ///
    /// # Errors
    /// A segment of 2^32 rows and more has no index.
    pub(crate) fn encode(&self) -> std::io::Result<String> {
        if u32::try_from(self.rows).is_err() {
            return Err(std::io::Error::other(format!("a segment of {} rows is too long", self.rows)));
        }
        let mut raw = vec![LAYOUT];
        write_number(&mut raw, self.texts.len() as u64);
        for text in &self.texts {
            write_number(&mut raw, text.len() as u64);
            raw.extend_from_slice(text.as_bytes());
        }
        write_number(&mut raw, self.runs.len() as u64);
        for run in &self.runs {
            raw.extend_from_slice(&run.id.as_u128().to_be_bytes());
            write_number(&mut raw, u64::from(run.project));
            write_number(&mut raw, u64::from(run.experiment));
        }
        write_number(&mut raw, self.series.len() as u64);
        for (position, series) in self.series.iter().enumerate() {
            write_number(&mut raw, u64::from(series.run));
            write_number(&mut raw, u64::from(series.metric));
            write_number(&mut raw, u64::from(series.context));
            write_number(&mut raw, self.end_of(position) - u64::from(series.first_row));
            write_number(&mut raw, zigzag(series.first_step));
            // Steps are sorted, so the difference is not negative; as u64 it holds any two i64.
            write_number(&mut raw, series.last_step.wrapping_sub(series.first_step) as u64);
        }
        let mut packed = (raw.len() as u64).to_le_bytes().to_vec();
        packed.extend_from_slice(&crc32c::crc32c(&raw).to_le_bytes());
        packed.extend_from_slice(&zstd::bulk::compress(&raw, 3)?);
        Ok(BASE64.encode(packed))
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Says what does not fit; nothing larger than the claims of the text, checked against a limit, is allocated.
    pub(crate) fn decode(text: &str) -> Result<Self, String> {
        let packed = BASE64.decode(text).map_err(|error| error.to_string())?;
        let (length, rest) = packed.split_first_chunk::<8>().ok_or("it is cut")?;
        let (checksum, compressed) = rest.split_first_chunk::<4>().ok_or("it is cut")?;
        let length = usize::try_from(u64::from_le_bytes(*length))
            .ok()
            .filter(|length| *length <= LIMIT)
            .ok_or("it is larger than 256 MiB")?;
        let raw = zstd::bulk::decompress(compressed, length).map_err(|error| error.to_string())?;
        if crc32c::crc32c(&raw) != u32::from_le_bytes(*checksum) {
            return Err("its CRC32C does not fit".to_owned());
        }
        let mut bytes = Cursor(&raw);
        let layout = bytes.take(1)?;
        if layout != [LAYOUT] {
            return Err(format!("its layout {layout:?} is not known"));
        }
        let mut texts = Vec::new();
        for _ in 0..bytes.count()? {
            let length = bytes.count()?;
            let text = std::str::from_utf8(bytes.take(length)?).map_err(|error| error.to_string())?;
            texts.push(Arc::from(text));
        }
        let text =
            |index: u32| if (index as usize) < texts.len() { Ok(index) } else { Err("a text is missing") };
        let mut runs = Vec::new();
        for _ in 0..bytes.count()? {
            let id = bytes.take(16)?.try_into().map_err(|_| "a run id is cut")?;
            let id = RunId::from_u128(u128::from_be_bytes(id));
            runs.push(RunEntry { id, project: text(bytes.index()?)?, experiment: text(bytes.index()?)? });
        }
        let count = bytes.count()?;
        // A series takes at least six bytes.
        let mut series = Vec::with_capacity(count.min(bytes.0.len() / 6));
        let mut first_row = 0_u64;
        for _ in 0..count {
            let run = bytes.index()?;
            if run as usize >= runs.len() {
                return Err("a run is missing".to_owned());
            }
            let metric = text(bytes.index()?)?;
            let context = match bytes.index()? {
                0 => 0,
                index => text(index - 1)? + 1,
            };
            let rows = bytes.number()?;
            let first_step = unzigzag(bytes.number()?);
            let last_step = first_step.wrapping_add(bytes.number()? as i64);
            let begin = u32::try_from(first_row).map_err(|_| "it has more than 2^32 rows")?;
            series.push(Entry { run, metric, context, first_row: begin, first_step, last_step });
            first_row =
                first_row.checked_add(rows).filter(|_| rows > 0).ok_or("a row count is impossible")?;
        }
        if !bytes.0.is_empty() {
            return Err("bytes are left over".to_owned());
        }
        Ok(Self { texts, runs, series, rows: first_row, lookup: OnceLock::new() })
    }
}

/// Collects the series of a segment while it is written.
#[derive(Debug, Default)]
pub(crate) struct ChunkIndexBuilder {
    index: ChunkIndex,
    texts: HashMap<Arc<str>, u32>,
    runs: HashMap<RunEntry, u32>,
}

impl ChunkIndexBuilder {
    /// Appends a series; the numbers of its project, experiment, run, metric and context are stable in this index.
    pub(crate) fn push(&mut self, series: &super::points::SortedSeries) {
        let project = self.text(series.project.shared());
        let experiment = self.text(series.experiment.shared());
        let metric = self.text(series.key.metric.shared());
        let context = series.key.context.as_ref().map_or(0, |context| self.text(context.shared()) + 1);
        let entry = RunEntry { id: series.key.run, project, experiment };
        let next = self.index.runs.len() as u32;
        let run = *self.runs.entry(entry).or_insert(next);
        if run == next {
            self.index.runs.push(entry);
        }
        let steps = &series.points.steps;
        let (first_step, last_step) =
            (steps.first().copied().unwrap_or_default(), steps.last().copied().unwrap_or_default());
        let rows = steps.len() as u64;
        // What does not fit is refused when the index is written.
        let first_row = u32::try_from(self.index.rows).unwrap_or(u32::MAX);
        self.index.series.push(Entry { run, metric, context, first_row, first_step, last_step });
        self.index.rows += rows;
    }

    /// More rows of the series that was pushed last.
    pub(crate) fn extend(&mut self, more: &super::points::SortedSeries) {
        let rows = more.points.len() as u64;
        if let Some((series, last_step)) = self.index.series.last_mut().zip(more.points.steps.last()) {
            series.last_step = *last_step;
            self.index.rows += rows;
        }
    }

    /// Rows of all series so far.
    pub(crate) fn rows(&self) -> u64 {
        self.index.rows
    }

    fn text(&mut self, text: Arc<str>) -> u32 {
        let next = self.index.texts.len() as u32;
        let index = *self.texts.entry(Arc::clone(&text)).or_insert(next);
        if index == next {
            self.index.texts.push(text);
        }
        index
    }

    pub(crate) fn finish(self) -> ChunkIndex {
        self.index
    }
}

/// Writes a number in groups of seven bits, the lowest first (LEB128).
fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    ((number >> 1) as i64) ^ -((number & 1) as i64)
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(count).ok_or("it is cut")?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first().ok_or("it is cut")?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number is too long".to_owned())
    }

    /// A count of things that take at least one byte each: more than there are bytes left cannot be true.
    fn count(&mut self) -> Result<usize, String> {
        let count = self.number()?;
        usize::try_from(count)
            .ok()
            .filter(|c| *c <= self.0.len())
            .ok_or_else(|| "a count is impossible".to_owned())
    }

    fn index(&mut self) -> Result<u32, String> {
        u32::try_from(self.number()?).map_err(|error| error.to_string())
    }
}
