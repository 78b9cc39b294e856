//! Bytes to records. The bytes may be anything: every length is checked against what is left before it is used.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]

use std::collections::HashMap;

use model::{
    Command, Context, MetricName, PointBatch, PointColumns, RunId, SeriesPoints, WriterSequence, limits,
};

use super::{COLUMN_DELTAS, COLUMN_STRIDE, FLAG_WRITER, FlushedTable, Record, RecordError};
use crate::wal::writer_window::{WINDOW, WORDS, WriterWindow};

type Result<T> = std::result::Result<T, RecordError>;

/// The longest text of a record: a character has at most four bytes.
const TEXT_BYTES: usize = 4 * limits::CONTEXT_CHARACTERS;
/// The fewest bytes that a writer's window takes.
const WINDOW_BYTES: usize = 4;
/// The fewest bytes that what a table holds takes.
const FLUSHED_BYTES: usize = 2;
/// The fewest bytes that a series takes.
const SERIES_BYTES: usize = 5;

struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, length: bytes.len() }
    }

    fn position(&self) -> usize {
        self.length.saturating_sub(self.rest.len())
    }

    fn cut_off(&self, what: &'static str) -> RecordError {
        RecordError::CutOff { what, position: self.position() }
    }

    fn out_of_range(&self, what: &'static str, value: u64, limit: usize) -> RecordError {
        RecordError::OutOfRange { what, value, limit: limit as u64, position: self.position() }
    }

    fn bytes(&mut self, what: &'static str, count: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.cut_off(what))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.cut_off(what))?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn number(&mut self, what: &'static str) -> Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(self.out_of_range(what, bits, 1));
            }
            number |= bits.wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.out_of_range(what, u64::MAX, 10))
    }

    fn signed(&mut self, what: &'static str) -> Result<i64> {
        let number = self.number(what)?;
        let half = number.wrapping_shr(1).cast_signed();
        Ok(half ^ (number & 1).cast_signed().wrapping_neg())
    }

    /// A number of things of which each takes at least `size` bytes, so that the rest must hold them.
    fn count(&mut self, what: &'static str, limit: usize, size: usize) -> Result<usize> {
        let number = self.number(what)?;
        self.fitting(what, number, limit, size)
    }

    fn fitting(&self, what: &'static str, number: u64, limit: usize, size: usize) -> Result<usize> {
        let limit = self.rest.len().checked_div(size).unwrap_or(0).min(limit);
        usize::try_from(number)
            .ok()
            .filter(|count| *count <= limit)
            .ok_or_else(|| self.out_of_range(what, number, limit))
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str> {
        let count = self.count(what, TEXT_BYTES, 1)?;
        let position = self.position();
        std::str::from_utf8(self.bytes(what, count)?).map_err(|_| RecordError::Text { what, position })
    }

    fn writer(&mut self) -> Result<Option<WriterSequence>> {
        match self.byte("the flags")? {
            0 => Ok(None),
            FLAG_WRITER => {
                let client_id = self.text("the client id")?;
                let client_seq = self.number("the number of the batch")?;
                Ok(Some(WriterSequence::new(client_id, client_seq)?))
            }
            flags => Err(self.out_of_range("the flags", u64::from(flags), usize::from(FLAG_WRITER))),
        }
    }

    fn end(&self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(RecordError::Trailing { count: self.rest.len(), position: self.position() })
    }

    /// An entry of a table: a number that is known, or the next one followed by the entry itself.
    fn entry<T: Clone>(
        &mut self,
        what: &'static str,
        number: u64,
        table: &mut Vec<T>,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(entry) = table.get(number) {
            return Ok(entry.clone());
        }
        if number != table.len() {
            return Err(self.out_of_range(what, u64::try_from(number).unwrap_or(u64::MAX), table.len()));
        }
        let entry = read(self)?;
        table.push(entry.clone());
        Ok(entry)
    }

    /// A column of `count` integers; `count` has been checked against the bytes of the values that follow.
    fn integers(&mut self, what: &'static str, count: usize, base: &mut i64) -> Result<Vec<i64>> {
        let mut column = Vec::new();
        if count == 0 {
            return Ok(column);
        }
        column.reserve_exact(count);
        let first = base.wrapping_add(self.signed(what)?);
        *base = first;
        column.push(first);
        if count == 1 {
            return Ok(column);
        }
        let mut value = first;
        match self.byte(what)? {
            COLUMN_STRIDE => {
                let stride = self.signed(what)?;
                for _ in 1..count {
                    value = value.wrapping_add(stride);
                    column.push(value);
                }
            }
            COLUMN_DELTAS => {
                for _ in 1..count {
                    value = value.wrapping_add(self.signed(what)?);
                    column.push(value);
                }
            }
            layout => {
                return Err(self.out_of_range(
                    "the layout of a column",
                    u64::from(layout),
                    usize::from(COLUMN_DELTAS),
                ));
            }
        }
        Ok(column)
    }

    fn fractions(&mut self, count: usize) -> Result<Vec<Option<i32>>> {
        let mut fractions = Vec::with_capacity(count);
        for _ in 0..count {
            let number = self.number("a step fraction")?;
            let fraction = match number.checked_sub(1) {
                None => None,
                Some(fraction) => Some(
                    i32::try_from(fraction)
                        .map_err(|_| self.out_of_range("a step fraction", fraction, 999_999))?,
                ),
            };
            fractions.push(fraction);
        }
        Ok(fractions)
    }
}

/// Names of metrics and contexts that were read before, so that each is checked and stored once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    metrics: Known<MetricName>,
    contexts: Known<Context>,
}

/// What texts stand for; at most [`KEPT_TEXTS`] of them, then it begins anew.
#[derive(Debug)]
struct Known<T>(HashMap<Box<str>, T>);

const KEPT_TEXTS: usize = 65_536;

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone> Known<T> {
    fn get(&mut self, text: &str, read: impl FnOnce(&str) -> model::Result<T>) -> Result<T> {
        if let Some(known) = self.0.get(text) {
            return Ok(known.clone());
        }
        let new = read(text)?;
        if self.0.len() >= KEPT_TEXTS {
            self.0.clear();
        }
        self.0.insert(text.into(), new.clone());
        Ok(new)
    }
}

pub(super) fn writer(payload: &[u8]) -> Result<Option<WriterSequence>> {
    Reader::new(payload).writer()
}

pub(super) fn points(payload: &[u8], names: &mut Names) -> Result<Record> {
    let mut reader = Reader::new(payload);
    let writer = reader.writer()?;
    let count = reader.count("the number of series", limits::BATCH_SERIES, SERIES_BYTES)?;
    let mut series = Vec::with_capacity(count);
    let mut runs = Vec::new();
    let mut metrics = Vec::new();
    let mut contexts = Vec::new();
    let (mut step, mut time) = (0, 0);
    for _ in 0..count {
        let number = reader.number("a run")?;
        let run = reader.entry("a run", number, &mut runs, |reader| {
            Ok(RunId::from_u128(u128::from_le_bytes(reader.array("a run id")?)))
        })?;
        let number = reader.number("a metric")?;
        let metric = reader.entry("a metric", number, &mut metrics, |reader| {
            names.metrics.get(reader.text("a metric name")?, |text| MetricName::new(text))
        })?;
        let context = match reader.number("a context")?.checked_sub(1) {
            None => None,
            Some(number) => Some(reader.entry("a context", number, &mut contexts, |reader| {
                names.contexts.get(reader.text("a context")?, Context::parse)
            })?),
        };
        let number = reader.number("an attempt")?;
        let attempt = u32::try_from(number)
            .map_err(|_| reader.out_of_range("an attempt", number, u32::MAX as usize))?;
        let number = reader.number("the number of points")?;
        let has_fractions = number & 1 == 1;
        let points =
            reader.fitting("the number of points", number.wrapping_shr(1), limits::BATCH_POINTS, 8)?;
        let steps = reader.integers("a step", points, &mut step)?;
        let times = reader.integers("a time", points, &mut time)?;
        let step_fractions = if has_fractions { Some(reader.fractions(points)?) } else { None };
        let bytes = reader.bytes("the values", points.saturating_mul(8))?;
        let (chunks, _) = bytes.as_chunks::<8>();
        let values = chunks.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect();
        let points = PointColumns { steps, step_fractions, times, values };
        series.push(SeriesPoints { run, metric, context, attempt, points });
    }
    reader.end()?;
    Ok(Record::Points { writer, batch: PointBatch::new(series)? })
}

pub(super) fn commands(payload: &[u8]) -> Result<Record> {
    let mut reader = Reader::new(payload);
    let writer = reader.writer()?;
    let commands: Vec<Command> = serde_json::from_slice(reader.rest)
        .map_err(|error| RecordError::Json { reason: error.to_string() })?;
    commands.iter().try_for_each(Command::check)?;
    Ok(Record::Commands { writer, commands })
}

pub(super) fn flushed(payload: &[u8]) -> Result<Record> {
    let mut reader = Reader::new(payload);
    let count = reader.count("the number of tables", usize::MAX, FLUSHED_BYTES)?;
    let mut tables = Vec::with_capacity(count);
    for _ in 0..count {
        let table = reader.text("the name of a table")?.to_owned();
        tables.push(FlushedTable { table, last_seq: reader.number("what a table holds")? });
    }
    reader.end()?;
    Ok(Record::Flushed(tables))
}

pub(super) fn writers(payload: &[u8]) -> Result<Record> {
    let mut reader = Reader::new(payload);
    let count = reader.count("the number of writers", usize::MAX, WINDOW_BYTES)?;
    let mut windows = Vec::with_capacity(count);
    for _ in 0..count {
        // The model's check of a writer's identity is the check of the client id.
        let identity =
            WriterSequence::new(reader.text("the client id")?, reader.number("the highest number")?)?;
        let last_used = reader.signed("the time of the last use")?;
        let number = reader.number("the seen numbers")?;
        let window = WriterWindow::new(identity.client_id(), identity.client_seq(), last_used);
        windows.push(match u16::try_from(number) {
            Ok(count) if count <= WINDOW => window.with_contiguous(count),
            Ok(count) if count == WINDOW.saturating_add(1) => {
                let mut seen = [0_u64; WORDS];
                for word in &mut seen {
                    *word = u64::from_le_bytes(reader.array("the seen numbers")?);
                }
                window.with_seen(seen)
            }
            _ => {
                let limit = usize::from(WINDOW).saturating_add(1);
                return Err(reader.out_of_range("the seen numbers", number, limit));
            }
        });
    }
    reader.end()?;
    Ok(Record::Writers(windows))
}
