//! Golden values of Megatron-LM's functional tests: `golden_values_*.json` with `{metric: {start_step, end_step,
//! step_interval, values: {"1": 10.96, "5": "nan"}}}`. A file is a run. Anything else in it, such as the lists of values of older files
//! whose steps do not always end where they say, is counted and left.

use std::path::Path;

use jiter::JsonValue;

use crate::error::{ImportError, Result, beginning};
use crate::files;
use crate::json;
use crate::number::{Step, parse_number};
use crate::report::Reporter;
use crate::scored::{Score, Scored};
use crate::sink::Place;
use crate::source::{Candidate, Claim, Search, Source, SourceKind, Unit};
use crate::table::TablePlan;

/// The source.
pub(crate) struct Megatron;

impl Source for Megatron {
    fn kind(&self) -> SourceKind {
        SourceKind::Megatron
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        let named = file.name.starts_with("golden_values") && file.name.ends_with(".json");
        if named { Claim::Read } else { Claim::No }
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let file = unit.path.as_path();
        let modified = files::modified_micros(&files::open_regular(file, reporter.limits)?.1);
        let content = files::read_whole(file, reporter.limits)?;
        reporter.bytes.add(content.len());
        let mut run = Scored::new(String::new(), unit.name.clone());
        if content.iter().all(u8::is_ascii_whitespace) {
            reporter.remark(file, Place::File, "file.empty", "", 1, || "the file is empty".to_owned());
            run.hand_on(unit, file, modified, reporter)?;
            return Ok(());
        }
        let unreadable = |reason: String| ImportError::unreadable(file, "golden values", reason);
        let document = json::parse(&content).map_err(unreadable)?;
        let JsonValue::Object(metrics) = &document else {
            return Err(unreadable("the document is no object".to_owned()));
        };
        for (metric, described) in metrics.iter() {
            if !take(file, metric, described, &mut run, reporter)? {
                reporter.remark(file, Place::File, "ignored.values", "", 1, || {
                    format!("{:?} has no values by step", beginning(metric))
                });
            }
        }
        run.hand_on(unit, file, modified, reporter)?;
        Ok(())
    }
}

/// Takes the values of a metric; `false` where there are none.
fn take(
    file: &Path,
    metric: &str,
    described: &JsonValue<'_>,
    run: &mut Scored,
    reporter: &mut Reporter<'_>,
) -> Result<bool> {
    let JsonValue::Object(described) = described else { return Ok(false) };
    let mut put = |step: Option<Step>, shown: &str, value: &JsonValue<'_>, reporter: &mut Reporter<'_>| {
        let value = match value {
            // The words of Python.
            JsonValue::Str(text) => parse_number(text),
            value => json::number(value),
        };
        match (step, value) {
            (Some(step), Some(value)) => {
                let metric = metric.to_owned();
                run.scores.push(Score { metric, step, time: None, value, place: Place::File });
                Ok(())
            }
            _ => reporter.reject(file, Place::File, "point.malformed", || {
                format!("{:?} at {:?}: step or value is no number", beginning(metric), beginning(shown))
            }),
        }
    };
    let Some(JsonValue::Object(values)) = json::get(described, "values") else { return Ok(false) };
    for (step, value) in values.iter() {
        put(parse_number(step).and_then(Step::from_f64), step, value, reporter)?;
    }
    Ok(true)
}
