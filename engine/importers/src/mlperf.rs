//! MLPerf: logs with `:::MLLOG {json}` records between free text; a log is a run.
//!
//! What evaluations measured are points; their step is `epoch_num`, else `epoch_count`, else `step_num`, else a running
//! number. The other records with a value are params. The time to train, from the last `run_start` to the last `run_stop`,
//! is a tag. Records from `mlperf_logging/mllog/mllog.py`.

use std::collections::HashMap;

use jiter::JsonValue;
use model::{Point, RunStatus};

use crate::error::{Result, beginning};
use crate::files;
use crate::json;
use crate::number::Step;
use crate::report::Reporter;
use crate::series::SeriesByName;
use crate::sink::{Place, RunFacts};
use crate::source::{Candidate, Claim, Search, Source, SourceKind, Unit};
use crate::table::TablePlan;
use crate::table::lines::Lines;
use crate::time::micros_from_seconds;

/// The source.
pub(crate) struct Mlperf;

const MARK: &[u8] = b":::MLLOG ";
/// Keys of records that are points.
const METRICS: [&str; 4] = ["eval_accuracy", "eval_error", "tracked_stats", "train_loss"];

impl Source for Mlperf {
    fn kind(&self) -> SourceKind {
        SourceKind::Mlperf
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        // A text that only speaks of the mark is no log.
        let is_record = |record: &[u8]| match record.trim_ascii_start() {
            [b'{', rest @ ..] => rest.trim_ascii_start().starts_with(b"\""),
            _ => false,
        };
        if records_in(file.beginning).any(is_record) { Claim::Read } else { Claim::No }
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        read(unit, reporter)
    }
}

/// What follows each mark in a text.
fn records_in(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = record_of(rest)?;
        Some(rest)
    })
}

/// What follows the mark in a line.
fn record_of(line: &[u8]) -> Option<&[u8]> {
    let start = line.windows(MARK.len()).position(|window| window == MARK)?;
    line.get(start.saturating_add(MARK.len())..)
}

type Object<'v, 'j> = &'v [(std::borrow::Cow<'j, str>, JsonValue<'j>)];

fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    let file = unit.path.as_path();
    let mut unpacked = files::open_lines(file, reporter.limits, &reporter.bytes.clone())?;
    let mut run = reporter.blank_run(unit.kind, unit.location.to_string_lossy().into_owned(), &unit.name);
    run.status = RunStatus::Running;
    let id = run.id;
    reporter.run(run)?;
    let mut reading = Reading {
        series: SeriesByName::of(id),
        facts: RunFacts::default(),
        evaluations: HashMap::new(),
        started: None,
        stopped: None,
    };
    let mut lines = Lines::new(&mut unpacked.reader, reporter.limits.line_bytes);
    while let Some(line) = lines.next() {
        let place = Place::Line(lines.number());
        if let Err(fault) = line {
            reporter.reject(file, place, fault.code, || fault.message)?;
            continue;
        }
        let Some(record) = record_of(lines.line()) else { continue };
        match json::parse(record.trim_ascii()) {
            Ok(JsonValue::Object(object)) => reading.take(unit, place, &object, reporter)?,
            Ok(_) => {
                reporter.reject(file, place, "record.malformed", || "the record is no object".to_owned())?;
            }
            Err(reason) => reporter.reject(file, place, "record.malformed", || reason)?,
        }
    }
    if let (Some(start), Some(stop)) = (reading.started, reading.stopped) {
        let seconds = stop.saturating_sub(start) as f64 / 1e6;
        reporter.tag(&mut reading.facts.tags, file, "mlperf.time_to_train", &format!("{seconds:?}"))?;
    }
    reporter.facts(id, reading.facts)
}

struct Reading {
    series: SeriesByName,
    facts: RunFacts,
    /// How often each metric came without a step.
    evaluations: HashMap<String, i64>,
    /// The times of the last `run_start` and `run_stop`.
    started: Option<i64>,
    stopped: Option<i64>,
}

impl Reading {
    fn take(
        &mut self,
        unit: &Unit,
        place: Place,
        record: Object<'_, '_>,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let file = unit.path.as_path();
        let Some(JsonValue::Str(key)) = json::get(record, "key") else {
            return reporter.reject(file, place, "record.malformed", || "the record has no key".to_owned());
        };
        let metadata = match json::get(record, "metadata") {
            Some(JsonValue::Object(metadata)) => metadata.as_slice(),
            _ => &[],
        };
        let millis = json::get(record, "time_ms").and_then(json::number);
        let seconds = json::get(record, "time_s").and_then(json::number);
        let time = millis.map(|millis| millis / 1e3).or(seconds).and_then(micros_from_seconds);
        let Some(time) = time else {
            return reporter.reject(file, place, "time.missing", || {
                format!("the record {:?} has no time", beginning(key))
            });
        };
        self.facts.start_time = Some(self.facts.start_time.map_or(time, |start| start.min(time)));
        self.facts.end_time = self.facts.end_time.max(Some(time));
        match key.as_ref() {
            "run_start" => self.started = Some(time),
            "run_stop" => {
                self.stopped = Some(time);
                let status = match json::get(metadata, "status") {
                    Some(JsonValue::Str(status)) => status.as_ref(),
                    _ => "",
                };
                self.facts.status =
                    Some(if status == "success" { RunStatus::Finished } else { RunStatus::Failed });
                if !status.is_empty() {
                    reporter.tag(&mut self.facts.tags, file, "mlperf.status", status)?;
                }
            }
            _ => {}
        }
        let value = json::get(record, "value").unwrap_or(&JsonValue::Null);
        let step = ["epoch_num", "epoch_count", "step_num"]
            .iter()
            .find_map(|name| json::get(metadata, name).and_then(json::number))
            .and_then(Step::from_f64);
        if METRICS.contains(&key.as_ref()) {
            return self.evaluation(unit, place, (key, value), (step, time), reporter);
        }
        let event = matches!(json::get(record, "event_type"), Some(JsonValue::Str(kind)) if kind.starts_with("INTERVAL"));
        if event || matches!(value, JsonValue::Null) || key.ends_with("_start") || key.ends_with("_stop") {
            return Ok(());
        }
        let text = json::text_or_null(value, reporter.limits.depth);
        // Workers repeat what they were given; what a later one says differently is told.
        let known = self
            .facts
            .params
            .iter()
            .find(|(known, _)| known.as_str() == key)
            .map(|(_, text)| text.to_string());
        match known {
            Some(known) if known == text => Ok(()),
            Some(known) => {
                reporter.remark(file, place, "param.changed", key, 1, || {
                    format!(
                        "{:?} was {:?} first and is something else later; the first is kept",
                        beginning(key),
                        beginning(&known)
                    )
                });
                Ok(())
            }
            None => reporter.param(&mut self.facts.params, file, key, &text),
        }
    }

    /// Takes a value of a metric: a number, or an object or list of numbers by name.
    fn evaluation(
        &mut self,
        unit: &Unit,
        place: Place,
        (key, value): (&str, &JsonValue<'_>),
        (step, time): (Option<Step>, i64),
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let file = unit.path.as_path();
        let mut numbers: Vec<(String, f64)> = Vec::new();
        match value {
            JsonValue::Object(parts) => {
                for (name, part) in parts.iter() {
                    numbers.extend(json::number(part).map(|number| (format!("{key}/{name}"), number)));
                }
            }
            // `["BBOX", 0.2, "SEGM", 0.1]`
            JsonValue::Array(parts) => {
                for pair in parts.chunks(2) {
                    if let [JsonValue::Str(name), number] = pair
                        && let Some(number) = json::number(number)
                    {
                        numbers.push((format!("{key}/{name}"), number));
                    }
                }
            }
            value => numbers.extend(json::number(value).map(|number| (key.to_owned(), number))),
        }
        if numbers.is_empty() {
            return reporter
                .reject(file, place, "value.not_a_number", || format!("the value of {key} holds no number"));
        }
        for (name, value) in numbers {
            let count = self.evaluations.entry(name.clone()).or_insert(0);
            let step = step.unwrap_or(Step::whole(*count));
            *count = count.saturating_add(1);
            let point = Point { step: step.whole, step_fraction: step.fraction, time, value };
            self.series.point(reporter, file, place, &name, point)?;
        }
        Ok(())
    }
}
