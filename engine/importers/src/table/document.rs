//! JSON documents: a list of runs with their histories, or a list of rows. A history is a list of rows too, or an object
//! with a list for each column.

use std::borrow::Cow;
use std::path::Path;

use jiter::{JsonValue, PartialMode};

use super::guess::{self, Sample};
use super::json_lines::{Keys, add_to_sample};
use super::mapping::Mapping;
use super::rows::{Entry, Rows, TextNumbers};
use super::{Form, TablePlan};
use crate::configuration::{Params, params_in_file, params_of};
use crate::error::{ImportError, Result};
use crate::files::{self, ByteCount};
use crate::json;
use crate::limits::Limits;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::{SourceKind, Unit};

/// Rows of the beginning of a document, to tell what it is.
const LOOKED_AT: usize = 64 << 10;

type Object<'v, 'j> = &'v [(Cow<'j, str>, JsonValue<'j>)];
/// An object, or one that was put together.
type Row<'v> = Cow<'v, [(Cow<'v, str>, JsonValue<'v>)]>;

/// Keys under which a run has its name, its inputs, its labels and its points.
const RUN: [&str; 5] = ["run_id", "run", "id", "run_name", "name"];
const NAME: [&str; 3] = ["run_name", "name", "run"];
const EXPERIMENT: [&str; 2] = ["experiment", "experiment_name"];
const PROJECT: [&str; 2] = ["project", "project_name"];
const TAGS: &str = "tags";
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

/// The points of a run.
enum History<'v, 'j> {
    Rows(&'v [JsonValue<'j>]),
    /// A list for each column, all of one length.
    Columns(Vec<(&'v str, &'v [JsonValue<'j>])>),
}

impl<'v, 'j> History<'v, 'j> {
    fn of(entry: Object<'v, 'j>) -> Option<Self> {
        let rows = HISTORY.iter().find_map(|key| match json::get(entry, key) {
            Some(JsonValue::Array(rows)) if rows.iter().all(|row| matches!(row, JsonValue::Object(_))) => {
                Some(Self::Rows(rows))
            }
            Some(JsonValue::Object(inner)) => columns(inner).map(Self::Columns),
            _ => None,
        });
        rows.or_else(|| columns(entry).map(Self::Columns))
    }

    fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Columns(columns) => columns.first().map_or(0, |(_, values)| values.len()),
        }
    }

    /// A row; `None` where it is no object.
    fn row(&self, index: usize) -> Option<Row<'v>>
    where
        'j: 'v,
    {
        match self {
            Self::Rows(rows) => match rows.get(index)? {
                JsonValue::Object(row) => Some(Cow::Borrowed(row.as_slice())),
                _ => None,
            },
            Self::Columns(columns) => {
                let cell = |(name, values): &(&'v str, &'v [JsonValue<'j>])| {
                    (Cow::Borrowed(*name), values.get(index).cloned().unwrap_or(JsonValue::Null))
                };
                Some(columns.iter().map(cell).collect())
            }
        }
    }
}

/// The columns of an object that is a table by columns: lists of numbers, equally many in each. An object that states a step
/// is a row, also where it holds lists.
fn columns<'v, 'j>(entry: Object<'v, 'j>) -> Option<Vec<(&'v str, &'v [JsonValue<'j>])>> {
    let lists = lists_of_numbers(entry);
    let (_, first) = lists.first()?;
    let equal = lists.iter().all(|(_, values)| values.len() == first.len());
    let several = lists.len() > 1 || entry.len() == 1;
    (equal && several && !states_a_step(entry)).then_some(lists)
}

fn lists_of_numbers<'v, 'j>(entry: Object<'v, 'j>) -> Vec<(&'v str, &'v [JsonValue<'j>])> {
    let is_number = |value: &JsonValue<'_>| *value == JsonValue::Null || json::number(value).is_some();
    let list = |(key, value): &'v (Cow<'j, str>, JsonValue<'j>)| match value {
        JsonValue::Array(values) if !values.is_empty() && values.iter().all(is_number) => {
            Some((key.as_ref(), values.as_slice()))
        }
        _ => None,
    };
    entry.iter().filter_map(list).collect()
}

fn states_a_step(entry: Object<'_, '_>) -> bool {
    entry.iter().any(|(key, value)| guess::is_step_name(key) && json::number(value).is_some())
}

/// Whether the beginning of a document shows that it holds points: runs with a history, or a list whose first entry is a row
/// with a step or has a list of steps.
pub(super) fn is_log(beginning: &[u8]) -> bool {
    if String::from_utf8_lossy(beginning).contains("\"history\"") {
        return true;
    }
    let beginning = beginning.get(..LOOKED_AT).unwrap_or(beginning);
    let Ok(JsonValue::Array(entries)) = JsonValue::parse_with_config(beginning, true, PartialMode::On) else {
        return false;
    };
    let Some(JsonValue::Object(first)) = entries.first() else { return false };
    let numbers = first.iter().filter(|(_, value)| json::number(value).is_some()).count();
    let lists = lists_of_numbers(first);
    let has_steps = lists.iter().any(|(name, _)| guess::is_step_name(name));
    (states_a_step(first) && numbers > 1) || (has_steps && lists.len() > 1)
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
        match History::of(object) {
            Some(history) => {
                histories = true;
                for row in (0..history.len().min(1_000)).filter_map(|index| history.row(index)) {
                    add_to_sample(&mut sample, &row, limits);
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
        let history = History::of(object);
        let by_columns = matches!(history, Some(History::Columns(_)));
        let label = if by_columns { label_of(object) } else { None };
        let key = text(&RUN).or_else(|| label.clone().filter(|_| !single));
        let key = key.unwrap_or_else(|| if single { String::new() } else { format!("{index}") });
        // Two entries with one name stay two runs.
        let repeat = seen.entry(key.clone()).or_insert(0_usize);
        *repeat += 1;
        let key = if *repeat > 1 { format!("{key}#{repeat}") } else { key };
        let mut rows = Rows::new(unit, plan, TextNumbers::NonFinite, modified);
        let mut params = entry_params(file, place, object, reporter)?;
        if by_columns {
            params.extend(scalars(object));
        }
        rows.set_companion(params);
        rows.set_entry(Entry {
            key,
            name: text(&NAME).or(label.filter(|_| !single)),
            experiment: text(&EXPERIMENT),
            project: text(&PROJECT),
            tags: entry_tags(object, reporter.limits.depth),
        });
        rows.announce_now(reporter)?;
        let result = match history {
            Some(History::Rows(entries)) => read_rows(file, entries, plan, &mut rows, reporter),
            Some(columns) => read_columns(file, &columns, plan, &mut rows, reporter),
            None => Ok(()),
        };
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

fn read_columns(
    file: &Path,
    history: &History<'_, '_>,
    plan: &TablePlan,
    rows: &mut Rows<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let mut keys = Keys::new(plan);
    for index in 0..history.len() {
        if let Some(row) = history.row(index) {
            keys.row(file, Place::Row(index as u64 + 1), &row, rows, reporter)?;
        }
    }
    Ok(())
}

/// What stands beside the columns of a run and is neither a list nor an object.
fn scalars(entry: Object<'_, '_>) -> Params {
    let scalar = |(key, value): &(Cow<'_, str>, JsonValue<'_>)| match value {
        JsonValue::Array(_) | JsonValue::Object(_) => None,
        value => Some((key.to_string(), json::text(value, 1)?)),
    };
    entry.iter().filter_map(scalar).collect()
}

/// What a run without a name is called: its texts and its seed.
fn label_of(entry: Object<'_, '_>) -> Option<String> {
    let part = |(key, value): &(Cow<'_, str>, JsonValue<'_>)| match value {
        JsonValue::Str(text) if !text.is_empty() => Some(text.to_string()),
        value if key == "seed" => json::number(value).and_then(|_| json::text(value, 1)),
        _ => None,
    };
    let parts: Vec<String> = entry.iter().filter_map(part).collect();
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// The labels of a run: an object of them.
fn entry_tags(object: Object<'_, '_>, depth: usize) -> Params {
    match json::get(object, TAGS) {
        Some(tags @ JsonValue::Object(_)) => params_of(tags, depth).unwrap_or_default(),
        _ => Params::new(),
    }
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
