//! Rows as lines of CSV or JSON.
//!
//! In CSV nothing between commas is null and `""` an empty text, as PostgreSQL has it. In JSON what is null is left out,
//! and what JSON has no number for is a text: `"NaN"`, `"-NaN"`, `"Infinity"`, `"-Infinity"`.

use std::io::Write as _;

use importers::exported::ExportTable;
use model::{Run, RunId};

use super::Rows;
use crate::export::ExportedSeries;
use crate::losses::Losses;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Csv,
    JsonLines,
}

/// A value in a line.
#[derive(Clone, Copy)]
enum Field<'a> {
    Null,
    Text(&'a str),
    Integer(i64),
    Number(f64),
    Truth(bool),
}

impl<'a> Field<'a> {
    fn text(text: Option<&'a str>) -> Self {
        text.map_or(Field::Null, Field::Text)
    }

    fn integer(integer: Option<i64>) -> Self {
        integer.map_or(Field::Null, Field::Integer)
    }
}

/// The first line of a CSV file.
pub(super) fn header(table: ExportTable) -> Vec<u8> {
    let names: Vec<String> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
    format!("{}\n", names.join(",")).into_bytes()
}

impl Style {
    pub(super) fn encode(self, rows: Rows<'_>, out: &mut Vec<u8>, losses: &mut Losses) {
        let schema = rows.table().schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        match rows {
            Rows::Runs(runs) => {
                for run in runs {
                    let (id, parent) = (run.id.to_string(), run.parent.map(|parent| parent.to_string()));
                    self.line(&names, &run_fields(run, &id, parent.as_deref()), out);
                }
            }
            Rows::Params(runs) => {
                for run in runs {
                    let pairs = run.params.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                    self.pairs(&names, run.id, pairs, out);
                }
            }
            Rows::Tags(runs) => {
                for run in runs {
                    let pairs = run.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                    self.pairs(&names, run.id, pairs, out);
                }
            }
            Rows::Points(series) => {
                out.reserve(series.iter().map(|series| series.points.len() * 100).sum());
                for series in series {
                    self.series(&names, series, out, losses);
                }
            }
        }
    }

    fn pairs<'a>(
        self,
        names: &[&str],
        run: RunId,
        pairs: impl Iterator<Item = (&'a str, &'a str)>,
        out: &mut Vec<u8>,
    ) {
        let id = run.to_string();
        for (key, value) in pairs {
            self.line(names, &[Field::Text(&id), Field::Text(key), Field::Text(value)], out);
        }
    }

    /// Run, metric and context are the same for all points: they are written once and copied.
    fn series(self, names: &[&str], series: &ExportedSeries, out: &mut Vec<u8>, losses: &mut Losses) {
        let key = &series.key;
        let id = key.run.to_string();
        let context = key.context.as_ref().map(|context| context.as_str());
        let mut beginning = Vec::new();
        let same = [Field::Text(&id), Field::Text(key.metric.as_str()), Field::text(context)];
        self.begin(&mut beginning);
        let mut first = true;
        for (name, field) in names.iter().zip(same) {
            self.field(name, field, &mut first, &mut beginning);
        }
        let mut payloads = 0;
        for (point, attempt) in series.points.iter().zip(&series.attempts) {
            out.extend_from_slice(&beginning);
            let mut first = false;
            let fields = [
                Field::Integer((*attempt).into()),
                Field::Integer(point.step),
                Field::integer(point.step_fraction.map(i64::from)),
                Field::Integer(point.time),
                Field::Number(point.value),
            ];
            for (name, field) in names.iter().skip(same.len()).zip(fields) {
                self.field(name, field, &mut first, out);
            }
            self.end(out);
            payloads += u64::from(point.value.is_nan() && !is_plain_nan(point.value));
        }
        losses.add("value.nan_payload", "NaN values have a payload, which text does not keep", payloads);
    }

    fn line(self, names: &[&str], fields: &[Field<'_>], out: &mut Vec<u8>) {
        self.begin(out);
        let mut first = true;
        for (name, field) in names.iter().zip(fields) {
            self.field(name, *field, &mut first, out);
        }
        self.end(out);
    }

    fn begin(self, out: &mut Vec<u8>) {
        if self == Self::JsonLines {
            out.push(b'{');
        }
    }

    fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self == Self::JsonLines { b"}\n" } else { b"\n" });
    }

    fn field(self, name: &str, field: Field<'_>, first: &mut bool, out: &mut Vec<u8>) {
        if self == Self::JsonLines && matches!(field, Field::Null) {
            return;
        }
        if !std::mem::take(first) {
            out.push(b',');
        }
        if self == Self::JsonLines {
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
        }
        // Writing to a vector cannot fail.
        let _ = match (field, self) {
            (Field::Null, _) => Ok(()),
            (Field::Text(text), Self::Csv) => {
                quoted(text, out);
                Ok(())
            }
            (Field::Text(text), Self::JsonLines) => {
                serde_json::to_writer(&mut *out, text).map_err(std::io::Error::from)
            }
            (Field::Integer(integer), _) => write!(out, "{integer}"),
            (Field::Truth(truth), _) => write!(out, "{truth}"),
            (Field::Number(number), Self::JsonLines) if !number.is_finite() => {
                write!(out, "\"{}\"", not_finite(number))
            }
            (Field::Number(number), _) if !number.is_finite() => write!(out, "{}", not_finite(number)),
            // The shortest text that reads back as the same double.
            (Field::Number(number), _) => write!(out, "{number:?}"),
        };
    }
}

fn run_fields<'a>(run: &'a Run, id: &'a str, parent: Option<&'a str>) -> [Field<'a>; 13] {
    [
        Field::Text(id),
        Field::Text(run.project.as_str()),
        Field::Text(run.experiment.as_str()),
        Field::Text(&run.name),
        Field::Text(run.status.as_str()),
        Field::text(run.user.as_deref()),
        Field::integer(run.start_time),
        Field::integer(run.end_time),
        Field::text(parent),
        Field::text(run.source.as_deref()),
        Field::text(run.source_run_id.as_deref()),
        Field::text(run.git_commit.as_deref()),
        Field::Truth(run.deleted),
    ]
}

fn quoted(text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() && !text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn not_finite(number: f64) -> &'static str {
    match (number.is_nan(), number.is_sign_negative()) {
        (true, false) => "NaN",
        (true, true) => "-NaN",
        (false, false) => "Infinity",
        (false, true) => "-Infinity",
    }
}

/// Whether a NaN has no other bits than its sign.
fn is_plain_nan(number: f64) -> bool {
    number.to_bits() & !(1 << 63) == f64::NAN.to_bits()
}
