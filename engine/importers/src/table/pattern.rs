//! Lines of free text by a user's regular expression: its named groups are the columns of a row.

use std::path::Path;

use regex::{CaptureLocations, Regex};

use super::guess::{self, Sample};
use super::lines::Lines;
use super::mapping::Mapping;
use super::rows::{Rows, TextNumbers};
use super::{Cell, TablePlan};
use crate::error::{ImportError, Result};
use crate::files;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::Unit;

const SAMPLE_BYTES: usize = 1 << 20;
const SAMPLE_ROWS: usize = 1_000;

/// A pattern with the places of its named groups.
struct Pattern {
    regex: Regex,
    /// The number of each named group in the expression.
    groups: Vec<usize>,
    locations: CaptureLocations,
}

impl Pattern {
    fn new(text: &str) -> Result<Self> {
        let wrong = |reason: String| ImportError::Mapping { text: crate::error::beginning(text), reason };
        let regex = Regex::new(text).map_err(|error| wrong(error.to_string()))?;
        let groups: Vec<usize> =
            regex.capture_names().enumerate().filter_map(|(index, name)| name.map(|_| index)).collect();
        if groups.is_empty() {
            return Err(wrong(
                "it has no named group; write (?<loss>[0-9.]+) for a column `loss`".to_owned(),
            ));
        }
        let locations = regex.capture_locations();
        Ok(Self { regex, groups, locations })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }

    /// The cells of a line; `None` where it does not match.
    fn cells<'t>(&mut self, line: &'t str) -> Option<Vec<Cell<'t>>> {
        self.regex.captures_read(&mut self.locations, line)?;
        let cell = |group: &usize| match self.locations.get(*group).and_then(|(from, to)| line.get(from..to))
        {
            Some(text) if !text.trim().is_empty() => Cell::Text(text),
            _ => Cell::Empty,
        };
        Some(self.groups.iter().map(cell).collect())
    }
}

/// Checks an expression.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn check(text: &str) -> Result<()> {
    Pattern::new(text).map(drop)
}

pub(super) fn plan(path: &Path, mapping: Option<&Mapping>, limits: &Limits) -> Result<TablePlan> {
    let Some(text) = mapping.and_then(Mapping::lines) else { return Ok(TablePlan::empty()) };
    let mut pattern = Pattern::new(text)?;
    let beginning = files::lines_beginning(path, limits, SAMPLE_BYTES)?;
    let mut sample = Sample::default();
    for name in pattern.names() {
        sample.column(name);
    }
    let mut rows = 0_usize;
    for line in String::from_utf8_lossy(&beginning).lines() {
        let Some(cells) = pattern.cells(line) else { continue };
        sample.begin_row();
        for (column, cell) in cells.into_iter().enumerate() {
            sample.add(column, cell, |text| guess::text_number(text, false));
        }
        rows = rows.saturating_add(1);
        if rows >= SAMPLE_ROWS {
            break;
        }
    }
    let (form, columns) = guess::decide(path, &sample, mapping)?;
    Ok(TablePlan { form, columns, lines: Some(text.to_owned()), ..TablePlan::empty() })
}

pub(super) fn import(unit: &Unit, plan: &TablePlan, reporter: &mut Reporter<'_>) -> Result<()> {
    let Some(text) = &plan.lines else { return Ok(()) };
    let file = unit.path.as_path();
    let mut pattern = Pattern::new(text)?;
    let mut unpacked = files::open_lines(file, reporter.limits, &reporter.bytes.clone())?;
    let modified = files::modified_micros(&unpacked.metadata);
    let mut rows = Rows::new(unit, plan, TextNumbers::Decimal, modified);
    let mut lines = Lines::new(&mut unpacked.reader, reporter.limits.line_bytes);
    let (mut matched, mut others) = (0_u64, 0_u64);
    while let Some(line) = lines.next() {
        let place = Place::Line(lines.number());
        if let Err(fault) = line {
            reporter.reject(file, place, fault.code, || fault.message)?;
            continue;
        }
        let text = String::from_utf8_lossy(lines.line());
        match pattern.cells(&text) {
            Some(cells) => {
                matched = matched.saturating_add(1);
                rows.row(reporter, place, &cells)?;
            }
            None => others = others.saturating_add(1),
        }
    }
    rows.finish(reporter)?;
    if matched == 0 {
        return reporter.reject(file, Place::File, "lines.no_match", || {
            format!("none of its {others} lines matches the expression")
        });
    }
    if others > 0 {
        reporter.remark(file, Place::File, "ignored.lines", "", others, || {
            "lines that do not match the expression are not read".to_owned()
        });
    }
    Ok(())
}
