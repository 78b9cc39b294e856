//! Delimited text.

use std::fmt;
use std::io::Read;
use std::path::Path;

use encoding_rs::Encoding;

use super::guess::{self, Sample};
use super::lines::LineFault;
use super::mapping::Mapping;
use super::rows::{Rows, TextNumbers};
use super::{Cell, Form, TablePlan, text};
use crate::error::{ImportError, Result};
use crate::files;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::Unit;

/// How a file is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Between cells.
    pub delimiter: u8,
    /// Whether decimals stand behind a comma.
    pub decimal_comma: bool,
    /// Whether the first row names the columns.
    pub has_header: bool,
    encoding: &'static Encoding,
    mark: usize,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delimiter = match self.delimiter {
            b'\t' => "tabs".to_owned(),
            other => format!("'{}'", char::from(other)),
        };
        write!(f, "{} text between {delimiter}", self.encoding.name())?;
        if self.decimal_comma {
            f.write_str(", decimal commas")?;
        }
        if !self.has_header {
            f.write_str(", no header")?;
        }
        Ok(())
    }
}

/// How much of a file is looked at before it is read.
const SAMPLE_BYTES: usize = 1 << 20;
const SAMPLE_ROWS: usize = 1_000;

pub(crate) fn plan(path: &Path, mapping: Option<&Mapping>, limits: &Limits) -> Result<TablePlan> {
    let beginning = files::lines_beginning(path, limits, SAMPLE_BYTES)?;
    let whole = beginning.len() < SAMPLE_BYTES;
    let (encoding, mark) = text::encoding_of(&beginning)
        .map_err(|reason| ImportError::unreadable(path, "delimited text", reason))?;
    let text = text::decoded(&beginning, encoding, mark);
    let (delimiter, decimal_comma) = sniff(&text);
    let mut bytes = text.as_bytes();
    let mut records = Records::new(&mut bytes, delimiter, limits);
    let mut rows: Vec<Vec<String>> = Vec::new();
    while let Some(record) = records.next() {
        if record.is_ok() {
            rows.push(
                (0..records.len()).map(|index| cell_text(records.cell(index)).0.into_owned()).collect(),
            );
        }
        if rows.len() > SAMPLE_ROWS {
            break;
        }
    }
    // The last row of the sample may be cut.
    if !whole && rows.len() > 1 && rows.len() <= SAMPLE_ROWS {
        rows.pop();
    }
    let Some(first) = rows.first() else {
        return Ok(TablePlan::empty());
    };
    if first.len() > limits.columns {
        return Err(ImportError::TooLarge {
            path: path.to_owned(),
            what: "the number of columns",
            actual: first.len() as u64,
            limit: limits.columns as u64,
        });
    }
    let is_number = |text: &str| guess::text_number(text, decimal_comma);
    let has_header = !first.iter().all(|cell| is_number(cell).is_some());
    let names = if has_header {
        unique_names(first)
    } else {
        (0..first.len()).map(|index| format!("(col {index})")).collect()
    };
    let mut sample = Sample::default();
    for name in &names {
        sample.column(name);
    }
    for row in rows.iter().skip(usize::from(has_header)) {
        sample.begin_row();
        for (index, cell) in row.iter().enumerate().take(names.len()) {
            sample.add(index, cell_of(cell), is_number);
        }
    }
    let (form, columns) = guess::decide(path, &sample, mapping)?;
    let dialect = Dialect { delimiter, decimal_comma, has_header, encoding, mark };
    Ok(TablePlan { form, columns, dialect: Some(dialect), ..TablePlan::empty() })
}

pub(crate) fn import(unit: &Unit, plan: &TablePlan, reporter: &mut Reporter<'_>) -> Result<()> {
    let Some(dialect) = plan.dialect else { return Ok(()) };
    let file = unit.path.as_path();
    let bytes = reporter.bytes.clone();
    let unpacked = files::open_lines(file, reporter.limits, &bytes)?;
    let mut stream = text::Utf8Reader::new(unpacked.reader, dialect.encoding, dialect.mark);
    let modified = files::modified_micros(&unpacked.metadata);
    let numbers = if dialect.decimal_comma { TextNumbers::DecimalComma } else { TextNumbers::Decimal };
    let mut rows = Rows::new(unit, plan, numbers, modified);
    if rows.is_single_run() {
        rows.set_companion(super::document::companion_params(file, reporter)?);
    }
    if dialect.encoding != encoding_rs::UTF_8 {
        reporter.remark(file, Place::File, "text.encoding", dialect.encoding.name(), 1, || {
            format!("the text is not UTF-8 and was read as {}", dialect.encoding.name())
        });
    }
    if !dialect.has_header {
        reporter.remark(file, Place::Line(1), "header.missing", "", 1, || {
            "the first line holds only numbers: the file is read as one without a header, see --dry-run for what each \
             column feeds and --map to say it"
                .to_owned()
        });
    }
    let result = read(file, dialect, &mut stream, plan.columns.len(), &mut rows, reporter);
    rows.finish(reporter)?;
    result
}

fn read(
    file: &Path,
    dialect: Dialect,
    stream: &mut dyn Read,
    planned: usize,
    rows: &mut Rows<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let limits = reporter.limits;
    let mut records = Records::new(stream, dialect.delimiter, limits);
    let mut header = dialect.has_header;
    while let Some(record) = records.next() {
        let place = Place::Line(records.line());
        if let Err(fault) = record {
            reporter.reject(file, place, fault.code, || fault.message)?;
            continue;
        }
        if std::mem::take(&mut header) {
            continue;
        }
        while rows.column_count() < records.len() {
            rows.new_column(&format!("(extra column {})", rows.column_count()), reporter)?;
        }
        if records.len() != planned {
            reporter.remark(file, place, "row.ragged", "", 1, || {
                format!("rows have more or fewer cells than the {planned} of the header; the cells are taken in order")
            });
        }
        let mut not_utf8 = 0_u64;
        let texts: Vec<_> = (0..records.len())
            .map(|index| {
                let (text, replaced) = cell_text(records.cell(index));
                not_utf8 += u64::from(replaced);
                text
            })
            .collect();
        let cells: Vec<Cell<'_>> = texts.iter().map(|text| cell_of(text)).collect();
        if not_utf8 > 0 {
            reporter.remark(file, place, "text.replaced", "", not_utf8, || {
                "cells that are not UTF-8 have their bad bytes replaced".to_owned()
            });
        }
        rows.row(reporter, place, &cells)?;
    }
    Ok(())
}

pub(crate) fn cell_text(bytes: &[u8]) -> (std::borrow::Cow<'_, str>, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.into(), false),
        Err(_) => (String::from_utf8_lossy(bytes), true),
    }
}

fn cell_of(text: &str) -> Cell<'_> {
    if text.trim().is_empty() { Cell::Empty } else { Cell::Text(text) }
}

/// Names of columns: `name#1`, `name#2` where a name repeats, `(col N)` where there is none.
pub(crate) fn unique_names(header: &[String]) -> Vec<String> {
    let mut counts = std::collections::HashMap::new();
    for name in header {
        *counts.entry(name.trim()).or_insert(0_usize) += 1;
    }
    let mut given = std::collections::HashMap::new();
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    for (index, name) in header.iter().enumerate() {
        let name = name.trim();
        if name.is_empty() {
            names.push(format!("(col {index})"));
        } else if counts.get(name).is_some_and(|count| *count > 1) {
            let number = given.entry(name).or_insert(0_usize);
            *number += 1;
            names.push(format!("{name}#{number}"));
        } else {
            names.push(name.to_owned());
        }
    }
    // A file may name a column `loss#1` itself.
    let mut seen = std::collections::HashSet::new();
    for (index, name) in names.iter_mut().enumerate() {
        if !seen.insert(name.clone()) {
            *name = format!("{name} (col {index})");
            seen.insert(name.clone());
        }
    }
    names
}

/// The delimiter of a text, and whether its decimals stand behind commas: tabs, semicolons and bars count when the first
/// two rows have equally many of them, since they are rare inside of cells.
fn sniff(text: &str) -> (u8, bool) {
    let mut rows = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let (first, second) = (rows.next().unwrap_or(""), rows.next());
    let delimiter = [b'\t', b';', b'|']
        .into_iter()
        .find(|delimiter| {
            let count = unquoted_count(first, *delimiter);
            count > 0 && second.is_none_or(|second| unquoted_count(second, *delimiter) == count)
        })
        .unwrap_or(b',');
    if delimiter == b',' {
        return (delimiter, false);
    }
    let mut commas = 0_usize;
    let mut points = 0_usize;
    for cell in text.lines().skip(1).take(200).flat_map(|line| line.split(char::from(delimiter))) {
        let cell = cell.trim();
        if cell.contains('.') && guess::text_number(cell, false).is_some() {
            points += 1;
        } else if cell.contains(',') && guess::text_number(cell, true).is_some() {
            commas += 1;
        }
    }
    (delimiter, commas > points)
}

/// Whether a text begins as a table of numbers by step: a first row of names of which the first names steps, and a second one
/// of as many cells that begins with a number. Keras's `CSVLogger` mostly writes to a `.log`.
pub(super) fn is_log(beginning: &[u8]) -> bool {
    let Ok((encoding, mark)) = text::encoding_of(beginning) else { return false };
    let text = text::decoded(beginning, encoding, mark);
    let mut lines = text.lines();
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return false };
    [',', ';', '\t'].iter().any(|delimiter| {
        let (mut names, mut values) = (names.split(*delimiter), values.split(*delimiter));
        let begins = names.next().is_some_and(guess::is_step_name)
            && values.next().is_some_and(|value| guess::text_number(value, false).is_some());
        let (names, values) = (names.count(), values.count());
        begins && names > 0 && names == values
    })
}

fn unquoted_count(line: &str, delimiter: u8) -> usize {
    let mut quoted = false;
    let mut count = 0;
    for byte in line.bytes() {
        if byte == b'"' {
            quoted = !quoted;
        } else if byte == delimiter && !quoted {
            count += 1;
        }
    }
    count
}

/// Rows of delimited text (RFC 4180, with `#` comments and blank lines left out), each of bounded size.
pub(crate) struct Records<'r> {
    core: csv_core::Reader,
    source: &'r mut dyn Read,
    input: Vec<u8>,
    position: usize,
    filled: usize,
    out: Vec<u8>,
    ends: Vec<usize>,
    cells: usize,
    line: u64,
    ended_at_return: bool,
    finished: bool,
    most_bytes: usize,
    most_cell: usize,
    most_columns: usize,
}

impl<'r> Records<'r> {
    pub(crate) fn new(source: &'r mut dyn Read, delimiter: u8, limits: &Limits) -> Self {
        Self {
            core: csv_core::ReaderBuilder::new().delimiter(delimiter).comment(Some(b'#')).build(),
            source,
            input: vec![0; 1 << 17],
            position: 0,
            filled: 0,
            out: vec![0; 1 << 12],
            ends: vec![0; 64],
            cells: 0,
            line: 0,
            ended_at_return: false,
            finished: false,
            most_bytes: limits.line_bytes,
            most_cell: limits.cell_bytes,
            most_columns: limits.columns,
        }
    }

    /// The line at which the current row begins, from 1; comments and blank lines before it count to it.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    pub(crate) fn len(&self) -> usize {
        self.cells
    }

    pub(crate) fn cell(&self, index: usize) -> &[u8] {
        let end = self.ends.get(index).copied().unwrap_or(0);
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before).copied()).unwrap_or(0);
        self.out.get(start..end).unwrap_or_default()
    }

    /// Goes to the next row. A row over a limit is skipped, and so is a last row that a fault has cut.
    pub(crate) fn next(&mut self) -> Option<std::result::Result<(), LineFault>> {
        use csv_core::ReadRecordResult as Found;
        if self.finished {
            return None;
        }
        // The `\n` of a `\r\n` is counted when the next row begins.
        self.line = self.core.line().saturating_add(u64::from(self.ended_at_return));
        let (mut written, mut ends) = (0_usize, 0_usize);
        let mut fault: Option<LineFault> = None;
        loop {
            if self.position == self.filled {
                self.position = 0;
                self.filled = match self.fill() {
                    Ok(count) => count,
                    Err(error) => {
                        self.finished = true;
                        let message = format!("the file cannot be read further: {error}");
                        return Some(Err(LineFault { code: "file.cut", message }));
                    }
                };
            }
            let input = self.input.get(self.position..self.filled).unwrap_or_default();
            let out = self.out.get_mut(written..).unwrap_or_default();
            let ends_left = self.ends.get_mut(ends..).unwrap_or_default();
            let (found, read, wrote, ended) = self.core.read_record(input, out, ends_left);
            if let Some(last) = read.checked_sub(1).and_then(|last| input.get(last)) {
                self.ended_at_return = *last == b'\r';
            }
            self.position = self.position.saturating_add(read);
            written = written.saturating_add(wrote);
            ends = ends.saturating_add(ended);
            match found {
                Found::InputEmpty => {}
                Found::OutputFull if self.out.len() >= self.most_bytes || fault.is_some() => {
                    let message = format!("the row is longer than {} bytes", self.most_bytes);
                    fault.get_or_insert(LineFault { code: "line.too_long", message });
                    written = 0;
                }
                Found::OutputFull => {
                    self.out.resize(self.out.len().saturating_mul(2).min(self.most_bytes), 0)
                }
                Found::OutputEndsFull if self.ends.len() > self.most_columns => {
                    let message = format!("the row has more than {} cells", self.most_columns);
                    fault.get_or_insert(LineFault { code: "row.too_many_cells", message });
                    ends = 0;
                }
                Found::OutputEndsFull => {
                    let more = self.ends.len().saturating_mul(2).min(self.most_columns.saturating_add(1));
                    self.ends.resize(more, 0);
                }
                Found::Record => {
                    self.cells = ends;
                    if let Some(fault) = fault {
                        return Some(Err(fault));
                    }
                    return Some(self.check_cells());
                }
                Found::End => {
                    self.finished = true;
                    return fault.map(Err);
                }
            }
        }
    }

    fn check_cells(&self) -> std::result::Result<(), LineFault> {
        let last = self.cells.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        if last <= self.most_cell || (0..self.cells).all(|index| self.cell(index).len() <= self.most_cell) {
            return Ok(());
        }
        let message = format!("a cell of the row is longer than {} bytes", self.most_cell);
        Err(LineFault { code: "cell.too_long", message })
    }

    fn fill(&mut self) -> std::io::Result<usize> {
        loop {
            match self.source.read(&mut self.input) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// Reads any bytes as a delimited file and counts its rows and cells; for fuzzing.
#[doc(hidden)]
pub fn fuzz_csv(bytes: &[u8]) -> (usize, usize) {
    let Ok((encoding, mark)) = text::encoding_of(bytes) else { return (0, 0) };
    let (delimiter, decimal_comma) = sniff(&text::decoded(bytes, encoding, mark));
    let limits = Limits { line_bytes: 1 << 12, cell_bytes: 1 << 10, columns: 100, ..Limits::default() };
    let mut stream = text::Utf8Reader::new(bytes, encoding, mark);
    let mut records = Records::new(&mut stream, delimiter, &limits);
    let (mut rows, mut numbers) = (0, 0);
    while let Some(record) = records.next() {
        if record.is_err() {
            continue;
        }
        rows += 1;
        for index in 0..records.len() {
            let (text, _) = cell_text(records.cell(index));
            numbers += usize::from(guess::text_number(&text, decimal_comma).is_some());
        }
    }
    (rows, numbers)
}

impl Form {
    /// Whether rows of this form give points.
    #[must_use]
    pub fn has_points(self) -> bool {
        !matches!(self, Self::Runs | Self::Empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8], limits: &Limits) -> Vec<std::result::Result<(u64, Vec<String>), &'static str>> {
        let mut source = text;
        let mut records = Records::new(&mut source, b',', limits);
        let mut found = Vec::new();
        while let Some(record) = records.next() {
            let cells = (0..records.len()).map(|i| cell_text(records.cell(i)).0.into_owned()).collect();
            found.push(record.map(|()| (records.line(), cells)).map_err(|fault| fault.code));
        }
        found
    }

    #[test]
    fn rows_have_their_lines_whatever_ends_them() {
        for end in ["\n", "\r\n"] {
            let text = ["a,b", "1,\"x", "y\"", "2,"].join(end);
            let found: Vec<_> =
                rows(text.as_bytes(), &Limits::default()).into_iter().map(Result::unwrap).collect();
            let cells = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
            let quoted = format!("x{end}y");
            assert_eq!(
                found,
                [(1, cells("a", "b")), (2, cells("1", &quoted)), (4, cells("2", ""))],
                "{end:?}"
            );
        }
    }

    #[test]
    fn what_is_over_a_limit_is_skipped_and_the_rest_read() {
        let limits = Limits { line_bytes: 8_192, cell_bytes: 100, columns: 80, ..Limits::default() };
        let text = ["1,2".to_owned(), "x".repeat(50_000), "y".repeat(200), ",".repeat(500), "3,4".to_owned()]
            .join("\n");
        let codes: Vec<_> =
            rows(text.as_bytes(), &limits).into_iter().map(|row| row.map(|(_, cells)| cells.len())).collect();
        assert_eq!(
            codes,
            [Ok(2), Err("line.too_long"), Err("cell.too_long"), Err("row.too_many_cells"), Ok(2)]
        );
    }

    #[test]
    fn delimiters_and_decimal_commas_are_found() {
        assert_eq!(sniff("a;b\n1,5;2,0\n"), (b';', true));
        assert_eq!(sniff("a;b\n1.5;2.0\n"), (b';', false));
        assert_eq!(sniff("a\tb\n1\t2\n"), (b'\t', false));
        assert_eq!(sniff("# x;y\n\na,b;c\n1,2\n"), (b',', false));
        assert_eq!(sniff(""), (b',', false));
    }

    #[test]
    fn repeated_and_empty_names_become_unique() {
        let header: Vec<String> = ["a", "a", "", "b", "a#1"].map(str::to_owned).to_vec();
        assert_eq!(unique_names(&header), ["a#1", "a#2", "(col 2)", "b", "a#1 (col 4)"]);
    }
}
