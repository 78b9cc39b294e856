//! Records to bytes.

use std::collections::HashMap;
use std::hash::Hash;

use model::{Command, PointBatch, PointColumns, WriterSequence};

use super::{COLUMN_DELTAS, COLUMN_STRIDE, FLAG_WRITER, FlushedTable};
use crate::wal::writer_window::{WINDOW, WriterWindow};

/// Runs, metrics or contexts of one record: each is written where it occurs first and named by number afterwards.
struct Table<T> {
    entries: Vec<T>,
    /// Filled only when there are many entries; a few are found faster one by one.
    index: HashMap<T, usize>,
    last: usize,
}

impl<T: Copy + Eq + Hash> Table<T> {
    const SMALL: usize = 16;

    fn new() -> Self {
        Self { entries: Vec::new(), index: HashMap::new(), last: 0 }
    }

    /// The number of an entry and whether it is new.
    fn number(&mut self, entry: T) -> (usize, bool) {
        if self.entries.get(self.last) == Some(&entry) {
            return (self.last, false);
        }
        let found = if self.entries.len() <= Self::SMALL {
            self.entries.iter().position(|e| *e == entry)
        } else {
            self.index.get(&entry).copied()
        };
        if let Some(number) = found {
            self.last = number;
            return (number, false);
        }
        let number = self.entries.len();
        self.entries.push(entry);
        if number == Self::SMALL {
            self.index.extend(self.entries.iter().enumerate().map(|(n, e)| (*e, n)));
        } else if number > Self::SMALL {
            self.index.insert(entry, number);
        }
        self.last = number;
        (number, true)
    }
}

pub(super) fn points(writer: Option<&WriterSequence>, batch: &PointBatch, out: &mut Vec<u8>) {
    // Values take 8 bytes, steps and times seldom more than 4 together, a series about 16.
    out.reserve(batch.point_count() * 12 + batch.series().len() * 16 + 64);
    write_writer(writer, out);
    write_number(batch.series().len() as u64, out);
    let mut runs = Table::new();
    let mut metrics = Table::new();
    let mut contexts = Table::new();
    let (mut step, mut time) = (0, 0);
    for series in batch.series() {
        let (number, new) = runs.number(series.run);
        write_number(number as u64, out);
        if new {
            out.extend_from_slice(&series.run.as_u128().to_le_bytes());
        }
        let (number, new) = metrics.number(series.metric.as_str());
        write_number(number as u64, out);
        if new {
            write_text(series.metric.as_str(), out);
        }
        match &series.context {
            None => out.push(0),
            Some(context) => {
                let (number, new) = contexts.number(context.as_str());
                write_number(number as u64 + 1, out);
                if new {
                    write_text(context.as_str(), out);
                }
            }
        }
        write_number(u64::from(series.attempt), out);
        let columns = &series.points;
        write_number((columns.len() as u64) << 1 | u64::from(columns.step_fractions.is_some()), out);
        write_columns(columns, &mut step, &mut time, out);
    }
}

fn write_columns(columns: &PointColumns, step: &mut i64, time: &mut i64, out: &mut Vec<u8>) {
    write_integers(&columns.steps, step, out);
    write_integers(&columns.times, time, out);
    for fraction in columns.step_fractions.iter().flatten() {
        // The batch has been checked: a fraction is 0..1,000,000.
        write_number(fraction.map_or(0, |f| u64::from(f.unsigned_abs()) + 1), out);
    }
    let start = out.len();
    out.resize(start + columns.values.len() * 8, 0);
    for (bytes, value) in out[start..].chunks_exact_mut(8).zip(&columns.values) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// Writes a column relative to `base`, which becomes its first element: the series of one batch mostly begin at the
/// same step and time.
fn write_integers(column: &[i64], base: &mut i64, out: &mut Vec<u8>) {
    let Some((&first, rest)) = column.split_first() else { return };
    write_number(zigzag(first.wrapping_sub(*base)), out);
    *base = first;
    let Some(&second) = rest.first() else { return };
    let stride = second.wrapping_sub(first);
    if column.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == stride) {
        out.push(COLUMN_STRIDE);
        write_number(zigzag(stride), out);
    } else {
        out.push(COLUMN_DELTAS);
        let mut before = first;
        for &value in rest {
            write_number(zigzag(value.wrapping_sub(before)), out);
            before = value;
        }
    }
}

pub(super) fn commands(writer: Option<&WriterSequence>, commands: &[Command], out: &mut Vec<u8>) {
    write_writer(writer, out);
    #[expect(
        clippy::expect_used,
        reason = "commands are plain data with text keys, and a Vec takes every byte"
    )]
    serde_json::to_writer(out, commands).expect("commands are always representable as JSON");
}

pub(super) fn flushed(tables: &[FlushedTable], out: &mut Vec<u8>) {
    write_number(tables.len() as u64, out);
    for FlushedTable { table, last_seq } in tables {
        write_text(table, out);
        write_number(*last_seq, out);
    }
}

pub(super) fn writers(windows: &[WriterWindow], out: &mut Vec<u8>) {
    write_number(windows.len() as u64, out);
    for window in windows {
        write_text(window.client_id(), out);
        write_number(window.highest(), out);
        write_number(zigzag(window.last_used_micros()), out);
        match window.contiguous() {
            Some(count) => write_number(u64::from(count), out),
            None => {
                write_number(u64::from(WINDOW) + 1, out);
                window.seen().iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
            }
        }
    }
}

fn write_writer(writer: Option<&WriterSequence>, out: &mut Vec<u8>) {
    match writer {
        None => out.push(0),
        Some(writer) => {
            out.push(FLAG_WRITER);
            write_text(writer.client_id(), out);
            write_number(writer.client_seq(), out);
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_number(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// LEB128: seven bits a byte, low ones first, the top bit says that more follow.
#[inline]
fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small numbers of either sign become small numbers without sign.
#[inline]
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}
