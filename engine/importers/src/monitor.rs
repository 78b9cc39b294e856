//! The log that stable-baselines3 keeps of an environment: `*.monitor.csv`, whose first line is `#{"t_start": …, "env_id": …}`
//! and whose rows are episodes with reward `r`, length `l` and seconds `t` since the start. The step is the number of the
//! episode. Source: `stable_baselines3/common/monitor.py`.

use std::path::Path;

use jiter::JsonValue;
use model::Point;

use crate::configuration::params_of;
use crate::error::Result;
use crate::files;
use crate::json;
use crate::number::parse_number;
use crate::report::Reporter;
use crate::series::SeriesByName;
use crate::sink::{Place, RunFacts, TimeSource};
use crate::source::{Candidate, Claim, Search, Source, SourceKind, Unit};
use crate::table::TablePlan;
use crate::table::csv::{Records, cell_text, unique_names};
use crate::time::micros_from_seconds;

/// The source.
pub(crate) struct Monitor;

impl Source for Monitor {
    fn kind(&self) -> SourceKind {
        SourceKind::Monitor
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        let is_header =
            file.beginning.starts_with(b"#{") && first_line(file.beginning).contains("\"t_start\"");
        if is_header && file.name.ends_with(".csv") { Claim::Read } else { Claim::No }
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        read(unit, reporter)
    }
}

fn first_line(beginning: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(beginning.split(|byte| *byte == b'\n').next().unwrap_or_default())
}

fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    let file = unit.path.as_path();
    let header = files::unpacked_beginning(file, reporter.limits, 64 << 10)?;
    let header = first_line(&header).trim().trim_start_matches('#').to_owned();
    let mut unpacked = files::open_lines(file, reporter.limits, &reporter.bytes.clone())?;
    let modified = files::modified_micros(&unpacked.metadata);
    let mut run = reporter.blank_run(unit.kind, unit.location.to_string_lossy().into_owned(), &unit.name);
    let mut started = None;
    let described = json::parse(header.as_bytes()).and_then(|value| {
        let params = params_of(&value, reporter.limits.depth)?;
        started = match &value {
            JsonValue::Object(object) => json::get(object, "t_start").and_then(json::number),
            _ => None,
        };
        Ok(params)
    });
    match described {
        Ok(params) => {
            for (key, value) in params.iter().filter(|(key, _)| key != "t_start") {
                reporter.param(&mut run.params, file, key, value)?;
            }
        }
        Err(reason) => reporter.reject(file, Place::Line(1), "header.malformed", || reason)?,
    }
    let start = started.and_then(micros_from_seconds);
    let base = match start {
        Some(start) => start,
        None => {
            run.time_source = TimeSource::FileModified;
            reporter.fallback_time(run.id, modified)
        }
    };
    run.start_time = Some(base);
    let mut episodes = Episodes { started, base, last: base, count: 0, series: SeriesByName::of(run.id) };
    reporter.run(run)?;
    let mut rows = Records::new(&mut unpacked.reader, b',', reporter.limits);
    let mut columns: Option<Vec<String>> = None;
    while let Some(row) = rows.next() {
        let place = Place::Line(rows.line());
        if let Err(fault) = row {
            reporter.reject(file, place, fault.code, || fault.message)?;
            continue;
        }
        let cells: Vec<String> =
            (0..rows.len()).map(|index| cell_text(rows.cell(index)).0.trim().to_owned()).collect();
        match &columns {
            None => columns = Some(unique_names(&cells)),
            Some(columns) => episodes.take(file, place, (columns, &cells), reporter)?,
        }
    }
    let facts = RunFacts { end_time: Some(episodes.last), ..RunFacts::default() };
    reporter.facts(episodes.series.run(), facts)
}

struct Episodes {
    /// Seconds since 1970 at which the log was begun.
    started: Option<f64>,
    base: i64,
    last: i64,
    count: i64,
    series: SeriesByName,
}

impl Episodes {
    fn take(
        &mut self,
        file: &Path,
        place: Place,
        (columns, cells): (&[String], &[String]),
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let elapsed =
            columns.iter().position(|column| column == "t").and_then(|t| parse_number(cells.get(t)?));
        let recorded = self.started.zip(elapsed).and_then(|(start, t)| micros_from_seconds(start + t));
        let time = recorded.unwrap_or(self.base.saturating_add(self.count));
        self.last = self.last.max(time);
        let point = Point { step: self.count, step_fraction: None, time, value: 0.0 };
        self.count = self.count.saturating_add(1);
        if cells.len() != columns.len() {
            reporter.remark(file, place, "row.ragged", "", 1, || {
                format!("rows have more or fewer cells than the {} of the header", columns.len())
            });
        }
        for (name, cell) in columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
            match parse_number(cell) {
                Some(value) => {
                    self.series.point(reporter, file, place, name, Point { value, ..point })?;
                }
                // What the user has written beside, such as whether the goal was reached.
                None => reporter.remark(file, place, "ignored.cells", name, 1, || {
                    format!("cells of {name:?} that hold no numbers are not imported")
                }),
            }
        }
        Ok(())
    }
}
