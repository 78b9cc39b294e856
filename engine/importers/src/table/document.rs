//! JSON documents: a list of runs with their histories, or a list of rows.

use std::path::Path;

use jiter::JsonValue;

use super::guess::{self, Sample};
use super::json_lines::{Keys, add_to_sample};
use super::mapping::Mapping;
use super::rows::{Rows, TextNumbers};
use super::{Form, TablePlan};
use crate::configuration::{Params, params_in_file, params_of};
use crate::error::{ImportError, Result};
use crate::files::{self, ByteCount};
use crate::json;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::{SourceKind, Unit};

type Object<'v, 'j> = &'v [(std::borrow::Cow<'j, str>, JsonValue<'j>)];

/// Keys under which a run has its name, its inputs, its labels and its points.
const RUN: [&str; 5] = ["run_id", "run", "id", "run_name", "name"];
const NAME: [&str; 3] = ["run_name", "name", "run"];
const PARAMS: [&str; 6] = ["config", "params", "hparams", "hyperparameters", "parameters", "args"];
const HISTORY: [&str; 5] = ["history", "log_history", "metrics", "points", "logs"];

fn read_document(path: &Path, limits: &Limits, count: &ByteCount) -> Result<(Vec<u8>, i64)> {
    use std::io::Read;
    let unpacked = files::open_unpacked(path, limits, count)?;
    let mut content = Vec::new();
    unpacked
        .reader
        .take(limits.document_bytes.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(ImportError::io(path, "reading"))?;
    if content.len() as u64 > limits.document_bytes {
        return Err(ImportError::TooLarge {
            path: path.to_owned(),
            what: "the size in bytes of a JSON document (JSON lines may be larger)",
            actual: content.len() as u64,
            limit: limits.document_bytes,
        });
    }
    let content = content.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec).unwrap_or(content);
    Ok((content, files::modified_micros(&unpacked.metadata)))
}

/// The entries of a document: the list that it is, or that it has under `runs`; a single object is a list of one.
fn entries<'v, 'j>(document: &'v JsonValue<'j>) -> std::result::Result<&'v [JsonValue<'j>], String> {
    match document {
        JsonValue::Array(entries) => Ok(entries),
        JsonValue::Object(object) => match json::get(object, "runs") {
            Some(JsonValue::Array(entries)) => Ok(entries),
            _ => Ok(std::slice::from_ref(document)),
        },
        _ => Err("the document is neither a list nor an object".to_owned()),
    }
}

fn history<'v, 'j>(entry: Object<'v, 'j>) -> Option<&'v [JsonValue<'j>]> {
    HISTORY.iter().find_map(|key| match json::get(entry, key) {
        Some(JsonValue::Array(rows)) if rows.iter().all(|row| matches!(row, JsonValue::Object(_))) => {
            Some(rows.as_slice())
        }
        _ => None,
    })
}

pub(crate) fn plan(path: &Path, mapping: Option<&Mapping>, limits: &Limits) -> Result<TablePlan> {
    let (content, _) = read_document(path, limits, &ByteCount::default())?;
    if content.iter().all(u8::is_ascii_whitespace) {
        return Ok(TablePlan::empty());
    }
    let unreadable = |reason| ImportError::unreadable(path, "JSON", reason);
    let document = json::parse(&content).map_err(unreadable)?;
    let entries = entries(&document).map_err(unreadable)?;
    let mut sample = Sample::default();
    let mut histories = false;
    for entry in entries.iter().take(1_000) {
        let JsonValue::Object(object) = entry else { continue };
        match history(object) {
            Some(rows) => {
                histories = true;
                for row in rows.iter().take(1_000) {
                    if let JsonValue::Object(row) = row {
                        add_to_sample(&mut sample, row, limits);
                    }
                }
            }
            None => add_to_sample(&mut sample, object, limits),
        }
    }
    let (form, mut columns) = guess::decide(path, &sample, mapping)?;
    if !histories {
        return Ok(TablePlan { form, columns, ..TablePlan::empty() });
    }
    // The run of a point is the entry that it stands in.
    for column in &mut columns {
        column.roles.retain(|role| *role != super::mapping::Role::Run);
    }
    Ok(TablePlan { form: Form::Histories, columns, ..TablePlan::empty() })
}

pub(crate) fn import(unit: &Unit, plan: &TablePlan, reporter: &mut Reporter<'_>) -> Result<()> {
    let file = unit.path.as_path();
    let bytes = reporter.bytes.clone();
    let (content, modified) = read_document(file, reporter.limits, &bytes)?;
    let unreadable = |reason| ImportError::unreadable(file, SourceKind::Json.as_str(), reason);
    let document = json::parse(&content).map_err(unreadable)?;
    let entries = entries(&document).map_err(unreadable)?;
    if plan.form != Form::Histories {
        let mut rows = Rows::new(unit, plan, TextNumbers::NonFinite, modified);
        let result = read_rows(file, entries, plan, &mut rows, reporter);
        rows.finish(reporter)?;
        return result;
    }
    let single = entries.len() == 1;
    let mut seen = std::collections::HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let place = Place::Row(index as u64 + 1);
        let JsonValue::Object(object) = entry else {
            reporter.reject(file, place, "entry.not_an_object", || "the entry is no object".to_owned())?;
            continue;
        };
        let text = |keys: &[&str]| {
            keys.iter().find_map(|key| match json::get(object, key) {
                Some(JsonValue::Array(_) | JsonValue::Object(_)) | None => None,
                Some(value) => json::text(value, 1),
            })
        };
        let key = text(&RUN).unwrap_or_else(|| if single { String::new() } else { format!("{index}") });
        // Two entries with one name stay two runs.
        let repeat = seen.entry(key.clone()).or_insert(0_usize);
        *repeat += 1;
        let key = if *repeat > 1 { format!("{key}#{repeat}") } else { key };
        let mut rows = Rows::new(unit, plan, TextNumbers::NonFinite, modified);
        rows.set_companion(entry_params(file, place, object, reporter)?);
        rows.set_entry(key, text(&NAME));
        rows.announce_now(reporter)?;
        let result = read_rows(file, history(object).unwrap_or_default(), plan, &mut rows, reporter);
        rows.finish(reporter)?;
        // The next entry is another run.
        reporter.close_series()?;
        result?;
    }
    Ok(())
}

fn read_rows(
    file: &Path,
    entries: &[JsonValue<'_>],
    plan: &TablePlan,
    rows: &mut Rows<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let mut keys = Keys::new(plan);
    for (index, entry) in entries.iter().enumerate() {
        let place = Place::Row(index as u64 + 1);
        match entry {
            JsonValue::Object(object) => keys.row(file, place, object, rows, reporter)?,
            _ => {
                reporter.reject(file, place, "entry.not_an_object", || "the entry is no object".to_owned())?
            }
        }
    }
    Ok(())
}

/// The params of a run: its configuration, flattened.
fn entry_params(
    file: &Path,
    place: Place,
    object: Object<'_, '_>,
    reporter: &mut Reporter<'_>,
) -> Result<Params> {
    let mut params = Params::new();
    for key in PARAMS {
        if let Some(config @ JsonValue::Object(_)) = json::get(object, key) {
            match params_of(config, reporter.limits.depth) {
                Ok(found) => params.extend(found),
                Err(reason) => reporter.reject(file, place, "json.too_deep", || reason)?,
            }
        }
    }
    Ok(params)
}

/// Params that a tool wrote beside its table: `hparams.json`, `params.json` or `hparams.yaml` in the same folder.
pub(crate) fn companion_params(table: &Path, reporter: &mut Reporter<'_>) -> Result<Params> {
    let is_file = |file: &Path| std::fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_file());
    let names = ["hparams.json", "params.json", "hparams.yaml"].into_iter();
    match names.map(|name| table.with_file_name(name)).find(|file| file != table && is_file(file)) {
        Some(file) => params_in_file(&file, reporter),
        None => Ok(Params::new()),
    }
}
