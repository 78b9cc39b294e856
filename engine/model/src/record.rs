//! Records: rows that people and tools write down about runs, such as baselines, gate runs, artifacts and trials.
//!
//! All kinds have the same shape: who, where, when, and the columns that their [`RecordKind`] declares. What is given
//! is checked against those columns once; whatever holds a value of these types holds a valid one.

mod kinds;

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use serde::{Deserialize, Serialize};

pub use kinds::{FieldKind, RecordColumn, RecordKind};

use crate::error::{ModelError, Result, beginning};
use crate::id::RunId;
use crate::limits;
use crate::name::{ExperimentName, ProjectName, RecordId, check_length};
use crate::schema::timestamp;

/// Columns of a record before those of its kind: project, experiment, run_id, id. Behind them stand author, created
/// and updated.
pub const RECORD_COLUMNS_BEFORE: usize = 4;

/// The value of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// Of columns of text, words, documents and JSON.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A double.
    Number(f64),
    /// Yes or no.
    Boolean(bool),
    /// Microseconds since 1970 UTC.
    Time(i64),
}

impl FieldValue {
    /// The text that [`RecordFields::set`] makes the same value of.
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Integer(number) | Self::Time(number) => number.to_string(),
            // The shortest digits that give the same bits back.
            Self::Number(number) => format!("{number:?}"),
            Self::Boolean(is) => is.to_string(),
        }
    }

    /// The text, of a column of text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn text_bytes(&self) -> usize {
        self.as_text().map_or(0, str::len)
    }
}

/// What is to be set in a record, by column: `None` takes a value away.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordFields {
    kind: RecordKind,
    /// By place among the columns of the kind.
    values: BTreeMap<usize, Option<FieldValue>>,
}

impl RecordFields {
    /// Nothing yet, for a record of this kind.
    ///
    /// ```
    /// # use model::{RecordFields, RecordKind};
    /// let mut fields = RecordFields::of(RecordKind::Baselines);
    /// fields.set("name", "resnet")?;
    /// fields.set("version", "3")?;
    /// assert_eq!(fields.id(None).as_deref(), Some("resnet@3"));
    /// assert!(fields.set("version", "three").is_err());
    /// # Ok::<(), model::ModelError>(())
    /// ```
    pub fn of(kind: RecordKind) -> Self {
        Self { kind, values: BTreeMap::new() }
    }

    /// The kind of record.
    pub fn kind(&self) -> RecordKind {
        self.kind
    }

    /// Sets a column to what a text says in its type.
    ///
    /// # Errors
    /// Refuses unknown columns and texts that are no value of the column.
    pub fn set(&mut self, column: &str, text: &str) -> Result<()> {
        let value = parse(self.kind, &self.kind.columns()[self.kind.column(column)?], text)?;
        self.put(column, value)
    }

    /// Sets a column to a value.
    ///
    /// # Errors
    /// Refuses unknown columns, values of another type than the column's, words that are none of the column's, texts
    /// over their limits, and what is not JSON in a column of JSON.
    pub fn put(&mut self, column: &str, value: FieldValue) -> Result<()> {
        let place = self.kind.column(column)?;
        check_value(self.kind, &self.kind.columns()[place], &value)?;
        self.values.insert(place, Some(value));
        Ok(())
    }

    /// Takes the value of a column away.
    ///
    /// # Errors
    /// Refuses unknown columns, and those that every record of the kind has.
    pub fn clear(&mut self, column: &str) -> Result<()> {
        let place = self.kind.column(column)?;
        if self.kind.columns()[place].required {
            let (table, column) = (self.kind.name(), self.kind.columns()[place].name);
            return Err(ModelError::RecordNeeds { table, column });
        }
        self.values.insert(place, None);
        Ok(())
    }

    /// What a column is set to.
    pub fn get(&self, column: &str) -> Option<&FieldValue> {
        self.values.get(&self.kind.column(column).ok()?)?.as_ref()
    }

    /// What is set, by column; `None` takes a value away.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<&FieldValue>)> {
        self.values.iter().map(|(place, value)| (self.kind.columns()[*place].name, value.as_ref()))
    }

    /// The id of a record that is given none: the values of its [identity](RecordKind::identity), joined by `@`, behind
    /// its run for an artifact of a run. `None` where a record needs an id of its own.
    pub fn id(&self, run: Option<RunId>) -> Option<String> {
        let columns = self.kind.identity();
        let mut parts: Vec<String> =
            columns.iter().filter_map(|column| self.get(column)).map(FieldValue::to_text).collect();
        if parts.is_empty() {
            return None;
        }
        if self.kind == RecordKind::Artifacts
            && let Some(run) = run
        {
            parts.insert(0, run.to_string());
        }
        Some(parts.join("@"))
    }

    fn bytes(&self) -> usize {
        self.values.values().flatten().map(FieldValue::text_bytes).sum()
    }
}

fn wrong(kind: RecordKind, column: &RecordColumn, text: &str) -> ModelError {
    ModelError::RecordValue {
        table: kind.name(),
        column: column.name,
        text: beginning(text).into(),
        expected: column.kind.expected().into(),
    }
}

fn parse(kind: RecordKind, column: &RecordColumn, text: &str) -> Result<FieldValue> {
    use arrow::compute::kernels::cast_utils::Parser as _;
    let trimmed = text.trim();
    let value = match column.kind {
        FieldKind::Text | FieldKind::Word(_) | FieldKind::Document | FieldKind::Json => {
            Some(FieldValue::Text(text.to_owned()))
        }
        FieldKind::Integer => trimmed.parse().ok().map(FieldValue::Integer),
        FieldKind::Number => trimmed.parse().ok().map(FieldValue::Number),
        FieldKind::Boolean => trimmed.parse().ok().map(FieldValue::Boolean),
        FieldKind::Time => {
            let micros = trimmed.parse().ok().or_else(|| TimestampMicrosecondType::parse(trimmed));
            micros.map(FieldValue::Time)
        }
    };
    value.ok_or_else(|| wrong(kind, column, text))
}

fn check_value(kind: RecordKind, column: &RecordColumn, value: &FieldValue) -> Result<()> {
    let is_of_type = match value {
        FieldValue::Text(text) => match column.kind {
            FieldKind::Text => {
                check_length(column.name, text, limits::TEXT_CHARACTERS)?;
                true
            }
            // The limit of the whole record holds for it.
            FieldKind::Document => true,
            FieldKind::Word(words) => words.contains(&text.as_str()),
            FieldKind::Json => serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(),
            _ => false,
        },
        FieldValue::Integer(_) => column.kind == FieldKind::Integer,
        FieldValue::Number(_) => column.kind == FieldKind::Number,
        FieldValue::Boolean(_) => column.kind == FieldKind::Boolean,
        FieldValue::Time(_) => column.kind == FieldKind::Time,
    };
    if !is_of_type {
        return Err(wrong(kind, column, &value.to_text()));
    }
    if column.required && value.as_text().is_some_and(|text| text.trim().is_empty()) {
        return Err(ModelError::RecordNeeds { table: kind.name(), column: column.name });
    }
    Ok(())
}

/// Makes a record, or sets columns of the one that has its project, kind and id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WrittenUpdate", into = "WrittenUpdate")]
pub struct RecordUpdate {
    /// The project.
    pub project: ProjectName,
    /// Which one of its kind in the project.
    pub id: RecordId,
    /// The experiment that it is about; `None` leaves it as it is. A record on a run is in the experiment of the run.
    pub experiment: Option<ExperimentName>,
    /// The run that it is about, with which it is deleted; `None` leaves it as it is.
    pub run: Option<RunId>,
    /// Who writes; `None` leaves it as it is.
    pub author: Option<String>,
    /// What is set.
    pub fields: RecordFields,
    /// When, microseconds since 1970 UTC.
    pub time: i64,
}

impl RecordUpdate {
    /// An update on no run and no experiment, by nobody.
    pub fn new(project: ProjectName, id: RecordId, fields: RecordFields, time: i64) -> Self {
        Self { project, id, experiment: None, run: None, author: None, fields, time }
    }

    /// The kind of record.
    pub fn kind(&self) -> RecordKind {
        self.fields.kind
    }

    /// Bytes of its texts.
    pub fn bytes(&self) -> usize {
        self.id.as_str().len() + self.author.as_ref().map_or(0, String::len) + self.fields.bytes()
    }

    /// Checks the texts that have no type of their own.
    ///
    /// # Errors
    /// Refuses an author and a record over their limits.
    pub fn check(&self) -> Result<()> {
        if let Some(author) = &self.author {
            check_length("author", author, limits::TAG_VALUE_CHARACTERS)?;
        }
        check_bytes(self.kind(), self.bytes())
    }
}

fn check_bytes(kind: RecordKind, bytes: usize) -> Result<()> {
    if bytes > limits::RECORD_BYTES {
        return Err(ModelError::RecordTooLarge { table: kind.name(), bytes, limit: limits::RECORD_BYTES });
    }
    Ok(())
}

/// A [`RecordUpdate`] in the log: every value as its text.
#[derive(Serialize, Deserialize)]
struct WrittenUpdate {
    table: String,
    project: ProjectName,
    id: RecordId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    experiment: Option<ExperimentName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    fields: BTreeMap<String, Option<String>>,
    time: i64,
}

impl From<RecordUpdate> for WrittenUpdate {
    fn from(update: RecordUpdate) -> Self {
        let fields = update.fields.iter();
        let fields = fields.map(|(column, value)| (column.to_owned(), value.map(FieldValue::to_text)));
        Self {
            table: update.kind().name().to_owned(),
            fields: fields.collect(),
            project: update.project,
            id: update.id,
            experiment: update.experiment,
            run: update.run,
            author: update.author,
            time: update.time,
        }
    }
}

impl TryFrom<WrittenUpdate> for RecordUpdate {
    type Error = ModelError;

    fn try_from(written: WrittenUpdate) -> Result<Self> {
        let WrittenUpdate { table, project, id, experiment, run, author, fields: texts, time } = written;
        let mut fields = RecordFields::of(table.parse()?);
        for (column, text) in &texts {
            match text {
                Some(text) => fields.set(column, text)?,
                None => fields.clear(column)?,
            }
        }
        Ok(Self { project, id, experiment, run, author, fields, time })
    }
}

/// A record as the registry knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its kind.
    pub kind: RecordKind,
    /// The project.
    pub project: ProjectName,
    /// Which one of its kind in the project.
    pub id: RecordId,
    /// The experiment that it is about.
    pub experiment: Option<ExperimentName>,
    /// The run that it is about, with which it is deleted.
    pub run: Option<RunId>,
    /// Who wrote it last.
    pub author: Option<String>,
    /// When it was made, microseconds since 1970 UTC.
    pub created: i64,
    /// When it was last written.
    pub updated: i64,
    /// By place among the columns of the kind.
    pub values: Box<[Option<FieldValue>]>,
}

impl Record {
    /// The record after an update; `before` is the one that there was.
    ///
    /// # Errors
    /// Refuses a new record that lacks a column which every record of its kind has, another value in a column of its
    /// [identity](RecordKind::identity), and a record over the limit.
    pub fn updated(before: Option<Self>, update: &RecordUpdate) -> Result<Self> {
        let kind = update.kind();
        let is_new = before.is_none();
        let mut record = before.unwrap_or_else(|| Self {
            kind,
            project: update.project.clone(),
            id: update.id.clone(),
            experiment: None,
            run: None,
            author: None,
            created: update.time,
            updated: update.time,
            values: vec![None; kind.columns().len()].into(),
        });
        for (place, value) in &update.fields.values {
            let column = &kind.columns()[*place];
            let slot = &mut record.values[*place];
            if !is_new && kind.identity().contains(&column.name) && slot != value {
                let shown = |value: &Option<FieldValue>| -> Box<str> {
                    value.as_ref().map_or_else(|| "NULL".into(), |value| beginning(&value.to_text()).into())
                };
                return Err(ModelError::RecordIdentity {
                    table: kind.name(),
                    column: column.name,
                    present: shown(slot),
                    given: shown(value),
                });
            }
            slot.clone_from(value);
        }
        for (column, value) in kind.columns().iter().zip(&record.values) {
            if column.required && value.is_none() {
                return Err(ModelError::RecordNeeds { table: kind.name(), column: column.name });
            }
        }
        if update.experiment.is_some() {
            record.experiment.clone_from(&update.experiment);
        }
        record.run = update.run.or(record.run);
        if update.author.is_some() {
            record.author.clone_from(&update.author);
        }
        record.updated = update.time;
        check_bytes(kind, record.text_bytes())?;
        Ok(record)
    }

    /// The value of a column of its kind; `None` when it has none, or the kind has no such column.
    pub fn value(&self, column: &str) -> Option<&FieldValue> {
        self.values.get(self.kind.column(column).ok()?)?.as_ref()
    }

    /// The text in a column.
    pub fn text(&self, column: &str) -> Option<&str> {
        self.value(column)?.as_text()
    }

    /// The whole number or time in a column.
    pub fn integer(&self, column: &str) -> Option<i64> {
        match self.value(column)? {
            FieldValue::Integer(number) | FieldValue::Time(number) => Some(*number),
            _ => None,
        }
    }

    /// The number in a column.
    pub fn number(&self, column: &str) -> Option<f64> {
        match self.value(column)? {
            FieldValue::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        let values: usize = self.values.iter().flatten().map(FieldValue::text_bytes).sum();
        let experiment = self.experiment.as_ref().map_or(0, |name| name.as_str().len());
        let run = self.run.map_or(0, |_| RUN_ID_BYTES);
        let author = self.author.as_ref().map_or(0, String::len);
        values + experiment + run + author + self.project.as_str().len() + self.id.as_str().len()
    }
}

/// Bytes of a run id as text.
const RUN_ID_BYTES: usize = 32;

/// The schema of the table of a kind.
pub(crate) fn schema(kind: RecordKind) -> Schema {
    let own = kind.columns().iter();
    let mut fields = vec![
        Field::new("project", DataType::Utf8, false),
        Field::new("experiment", DataType::Utf8, true),
        Field::new("run_id", DataType::Utf8, true),
        Field::new("id", DataType::Utf8, false),
    ];
    fields.extend(own.map(|column| Field::new(column.name, column.kind.data_type(), !column.required)));
    fields.extend([
        Field::new("author", DataType::Utf8, true),
        Field::new("created", timestamp(), false),
        Field::new("updated", timestamp(), false),
    ]);
    Schema::new(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(fields: &[(&str, &str)]) -> Result<RecordUpdate> {
        let mut of = RecordFields::of(RecordKind::Baselines);
        for (column, text) in fields {
            of.set(column, text)?;
        }
        let id = RecordId::new(of.id(None).unwrap_or("x".to_owned()))?;
        Ok(RecordUpdate::new(ProjectName::default(), id, of, 7))
    }

    #[test]
    fn an_update_is_the_same_after_the_log() {
        let mut update = baseline(&[
            ("name", "a"),
            ("version", "3"),
            ("description", "ü \"x\"\n"),
            ("mean", "-0.0"),
            ("sd", "NaN"),
            ("established", "2026-11-22T10:00:00.000001Z"),
            ("runs", "[\"a\", {\"b\": [1e400]}]"),
        ])
        .unwrap();
        update.fields.clear("owner").unwrap();
        update.fields.put("max_age_days", FieldValue::Integer(i64::MIN)).unwrap();
        update.author = Some("ada".to_owned());
        update.run = Some(RunId::from_u128(9));
        let json = serde_json::to_string(&update).unwrap();
        let back: RecordUpdate = serde_json::from_str(&json).unwrap();
        // NaN is not equal to itself.
        assert_eq!(format!("{back:?}"), format!("{update:?}"));
        assert_eq!(back.fields.get("established"), Some(&FieldValue::Time(1_795_341_600_000_001)));
        let Some(FieldValue::Number(mean)) = back.fields.get("mean") else { panic!("{back:?}") };
        assert!(mean.is_sign_negative());
    }

    #[test]
    fn what_is_no_value_of_its_column_is_refused_with_what_is_expected() {
        let refused = |column: &str, text: &str| baseline(&[(column, text)]).unwrap_err();
        for (column, text, expected) in [
            ("version", "3.5", "whole number"),
            ("version", "9223372036854775808", "whole number"),
            ("mean", "many", "a number"),
            ("established", "yesterday", "a time such as"),
            ("status", "Active", "one of active, retired"),
            ("runs", "[1,", "JSON"),
            ("runs", &"[".repeat(10_000), "JSON"),
        ] {
            let error = refused(column, text);
            assert_eq!(error.code(), "record.value", "{column} {text}");
            let shown = error.to_string();
            assert!(shown.contains(expected) && shown.len() < 300, "{shown}");
        }
        assert_eq!(refused("nme", "x").code(), "record.column");
        assert!(refused("nme", "x").to_string().contains("max_age_days"));
        assert_eq!(refused("name", " ").code(), "record.needs");
        assert_eq!(refused("owner", &"o".repeat(100_001)).code(), "name.too_long");
        let mut fields = RecordFields::of(RecordKind::Baselines);
        assert!(fields.put("version", FieldValue::Number(3.0)).is_err());
        assert!(fields.put("mean", FieldValue::Integer(3)).is_err());
        assert_eq!(fields.clear("name").unwrap_err().code(), "record.needs");
    }

    #[test]
    fn a_record_keeps_what_an_update_does_not_name() {
        let first = baseline(&[("name", "a"), ("version", "1"), ("owner", "ada"), ("mean", "0.5")]).unwrap();
        let record = Record::updated(None, &first).unwrap();
        let mut second = baseline(&[("name", "a"), ("version", "1"), ("mean", "0.75")]).unwrap();
        second.fields.clear("owner").unwrap();
        second.time = 9;
        let after = Record::updated(Some(record), &second).unwrap();
        assert_eq!((after.created, after.updated), (7, 9));
        assert_eq!(
            (after.number("mean"), after.text("owner"), after.integer("version")),
            (Some(0.75), None, Some(1))
        );
    }

    #[test]
    fn a_record_needs_its_columns_and_keeps_its_identity() {
        let incomplete = baseline(&[("name", "a")]).unwrap();
        assert_eq!(Record::updated(None, &incomplete).unwrap_err().code(), "record.needs");
        let first = baseline(&[("name", "a"), ("version", "1")]).unwrap();
        let record = Record::updated(None, &first).unwrap();
        let other = baseline(&[("name", "b"), ("version", "1")]).unwrap();
        let error = Record::updated(Some(record), &other).unwrap_err();
        assert_eq!(error.code(), "record.identity");
        assert!(error.to_string().contains("\"a\""), "{error}");
    }

    #[test]
    fn a_record_of_too_many_bytes_is_refused_also_when_it_grows_bit_by_bit() {
        let half = "x".repeat(limits::RECORD_BYTES / 2 + 1);
        let update = |column: &str| {
            let mut fields = RecordFields::of(RecordKind::Gates);
            fields.set("verdict", "pass").unwrap();
            fields.set(column, &half).unwrap();
            RecordUpdate::new(ProjectName::default(), RecordId::new("g").unwrap(), fields, 0)
        };
        let record = Record::updated(None, &update("report")).unwrap();
        assert_eq!(Record::updated(Some(record), &update("policy")).unwrap_err().code(), "record.too_large");
        let mut both = update("report");
        both.fields.set("policy", &half).unwrap();
        assert_eq!(both.check().unwrap_err().code(), "record.too_large");
    }

    #[test]
    fn ids_are_made_of_what_tells_records_apart() {
        let id = |kind, fields: &[(&str, &str)], run: Option<u128>| {
            let mut of = RecordFields::of(kind);
            fields.iter().for_each(|(column, text)| of.set(column, text).unwrap());
            of.id(run.map(RunId::from_u128))
        };
        assert_eq!(id(RecordKind::Trials, &[("sweep", "s"), ("number", "12")], Some(1)).unwrap(), "s@12");
        assert_eq!(id(RecordKind::Gates, &[("verdict", "pass")], None), None);
        assert_eq!(id(RecordKind::Datasets, &[("name", "d")], None).unwrap(), "d");
        let artifact = id(RecordKind::Artifacts, &[("name", "model/w.pt")], Some(1)).unwrap();
        assert_eq!(artifact, format!("{}@model/w.pt", RunId::from_u128(1)));
    }
}
