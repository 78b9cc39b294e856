//! One JSON object a line; nested objects are flattened with dots.

use std::collections::HashMap;
use std::path::Path;

use jiter::JsonValue;

use super::guess::{self, Sample};
use super::lines::Lines;
use super::mapping::Mapping;
use super::rows::{Rows, TextNumbers};
use super::{Cell, TablePlan, text};
use crate::error::{ImportError, Result};
use crate::files;
use crate::json;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::Unit;

const SAMPLE_BYTES: usize = 1 << 20;
const SAMPLE_LINES: usize = 1_000;

pub(crate) fn plan(path: &Path, mapping: Option<&Mapping>, limits: &Limits) -> Result<TablePlan> {
    let beginning = files::lines_beginning(path, limits, SAMPLE_BYTES)?;
    let unreadable = |reason| ImportError::unreadable(path, "JSON lines", reason);
    let (encoding, mark) = text::encoding_of(&beginning).map_err(unreadable)?;
    let text = text::decoded(&beginning, encoding, mark);
    let mut sample = Sample::default();
    let mut objects = 0_usize;
    let mut first_fault = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(SAMPLE_LINES) {
        match json::parse(line.as_bytes()) {
            Ok(JsonValue::Object(object)) => {
                objects += 1;
                add_to_sample(&mut sample, &object, limits);
            }
            Ok(_) => first_fault = first_fault.or(Some("a line holds no object".to_owned())),
            Err(reason) => first_fault = first_fault.or(Some(reason)),
        }
    }
    match (objects, first_fault) {
        (0, None) => return Ok(TablePlan::empty()),
        (0, Some(fault)) => {
            return Err(unreadable(format!("no line is a JSON object; the first is {fault}")));
        }
        _ => {}
    }
    let (form, columns) = guess::decide(path, &sample, mapping)?;
    Ok(TablePlan { form, columns, ..TablePlan::empty() })
}

/// Adds an object to a sample; what is too deep or too wide is left out.
pub(crate) fn add_to_sample(
    sample: &mut Sample,
    object: &[(std::borrow::Cow<'_, str>, JsonValue<'_>)],
    limits: &Limits,
) {
    sample.begin_row();
    // Too deep objects are rejected when they are read.
    let _ = json::flatten(object, limits.depth, &mut String::new(), &mut |key, value| {
        // Where there are more, the import ends with that error.
        if sample.column_count() < limits.columns {
            let column = sample.column(key);
            sample.add(column, cell_of(value), json::non_finite);
        }
    });
}

/// A value as a cell.
pub(crate) fn cell_of<'v>(value: &'v JsonValue<'_>) -> Cell<'v> {
    match value {
        JsonValue::Null => Cell::Empty,
        JsonValue::Bool(truth) => Cell::Boolean(*truth),
        JsonValue::Int(integer) => Cell::Integer(*integer),
        JsonValue::BigInt(_) => json::number(value).map_or(Cell::Other, Cell::Number),
        JsonValue::Float(float) => Cell::Number(*float),
        JsonValue::Str(text) => Cell::Text(text),
        JsonValue::Array(_) | JsonValue::Object(_) => Cell::Other,
    }
}

/// Gives keys their columns; new ones are made as they come.
pub(crate) struct Keys {
    columns: HashMap<String, usize>,
}

impl Keys {
    pub(crate) fn new(plan: &TablePlan) -> Self {
        let columns = plan.columns.iter().enumerate().map(|(index, column)| (column.name.clone(), index));
        Self { columns: columns.collect() }
    }

    /// Takes an object as a row.
    pub(crate) fn row(
        &mut self,
        file: &Path,
        place: Place,
        object: &[(std::borrow::Cow<'_, str>, JsonValue<'_>)],
        rows: &mut Rows<'_>,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let mut cells: Vec<Cell<'_>> = vec![Cell::Empty; rows.column_count()];
        let mut fault = None;
        let flat = json::flatten(object, reporter.limits.depth, &mut String::new(), &mut |key, value| {
            let index = match self.columns.get(key) {
                Some(index) => *index,
                None => match rows.new_column(key, reporter) {
                    Ok(index) => {
                        self.columns.insert(key.to_owned(), index);
                        cells.resize(index.saturating_add(1), Cell::Empty);
                        index
                    }
                    Err(error) => {
                        fault.get_or_insert(error);
                        return;
                    }
                },
            };
            if let Some(cell) = cells.get_mut(index) {
                *cell = cell_of(value);
            }
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        if let Err(key) = flat {
            return reporter.reject(file, place, "json.too_deep", || {
                format!("{:?} is nested too deep; the row is not taken", crate::error::beginning(&key))
            });
        }
        rows.row(reporter, place, &cells)
    }
}

pub(crate) fn import(unit: &Unit, plan: &TablePlan, reporter: &mut Reporter<'_>) -> Result<()> {
    let file = unit.path.as_path();
    let beginning = files::lines_beginning(file, reporter.limits, SAMPLE_BYTES)?;
    let (encoding, mark) = text::encoding_of(&beginning)
        .map_err(|reason| ImportError::unreadable(file, "JSON lines", reason))?;
    let bytes = reporter.bytes.clone();
    let unpacked = files::open_lines(file, reporter.limits, &bytes)?;
    let modified = files::modified_micros(&unpacked.metadata);
    let mut stream = text::Utf8Reader::new(unpacked.reader, encoding, mark);
    let mut rows = Rows::new(unit, plan, TextNumbers::NonFinite, modified);
    if rows.is_single_run() {
        rows.set_companion(super::document::companion_params(file, reporter)?);
    }
    let result =
        read(file, &mut Lines::new(&mut stream, reporter.limits.line_bytes), plan, &mut rows, reporter);
    rows.finish(reporter)?;
    result
}

fn read(
    file: &Path,
    lines: &mut Lines<'_>,
    plan: &TablePlan,
    rows: &mut Rows<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let mut keys = Keys::new(plan);
    while let Some(line) = lines.next() {
        let place = Place::Line(lines.number());
        if let Err(fault) = line {
            reporter.reject(file, place, fault.code, || fault.message)?;
            continue;
        }
        if lines.line().iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match json::parse(lines.line()) {
            Ok(JsonValue::Object(object)) => keys.row(file, place, &object, rows, reporter)?,
            Ok(_) => {
                reporter.reject(file, place, "line.not_an_object", || {
                    "the line holds no JSON object".to_owned()
                })?;
            }
            Err(reason) => reporter.reject(file, place, "line.not_json", || reason)?,
        }
    }
    Ok(())
}

/// Parses and flattens each line of any bytes; for fuzzing.
#[doc(hidden)]
pub fn fuzz_json_lines(bytes: &[u8]) -> usize {
    let mut source = bytes;
    let mut lines = Lines::new(&mut source, 1 << 12);
    let mut count = 0;
    while let Some(line) = lines.next() {
        if line.is_ok()
            && let Ok(JsonValue::Object(object)) = json::parse(lines.line())
        {
            let _ = json::flatten(&object, 32, &mut String::new(), &mut |_, value| {
                count += usize::from(json::number(value).is_some() || json::text(value, 32).is_some());
            });
        }
    }
    count
}
