//! From rows to runs and points: what all table formats share.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use indexmap::IndexMap;
use model::{Context, Key, MetricName, ParamValue, Point, RunId, TagValue};

use super::mapping::{ColumnType, Mapping, Role};
use super::{Cell, Content, Form, TablePlan, guess};
use crate::error::{ImportError, Result, beginning};
use crate::json;
use crate::number::Step;
use crate::report::{Reporter, SeriesIndex, shortened};
use crate::sink::{Place, RunFacts, TimeSource};
use crate::source::Unit;
use crate::time;

/// How texts of a format become numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextNumbers {
    /// Texts are all there is.
    Decimal,
    /// As before, with a comma before the decimals.
    DecimalComma,
    /// Numbers have a type of their own; texts only spell what JSON has no number for.
    NonFinite,
}

/// Turns rows into runs and points.
pub(crate) struct Rows<'u> {
    unit: &'u Unit,
    form: Form,
    numbers: TextNumbers,
    columns: Vec<Column>,
    run: Vec<usize>,
    name: Option<usize>,
    step: Option<usize>,
    time: Option<usize>,
    metric: Option<usize>,
    value: Option<usize>,
    experiment: Option<usize>,
    project: Option<usize>,
    params: Vec<KeyedColumn>,
    tags: Vec<KeyedColumn>,
    contexts: Vec<KeyedColumn>,
    /// Columns that are metrics of their own.
    metrics: Vec<usize>,
    /// New names of metrics by their old ones.
    renames: HashMap<String, String>,
    /// What all rows have.
    constants: &'u [(Role, String)],
    /// The part of the context that all rows have.
    constant_context: serde_json::Map<String, serde_json::Value>,
    runs: IndexMap<String, RunState>,
    last_run: usize,
    key: String,
    /// Of a table of results: what the row is called, and how often each name was there.
    result_name: String,
    repeats: HashMap<String, u64>,
    modified: i64,
    /// Params of the only run that stand beside the rows.
    companion: Vec<(String, String)>,
    /// The only run, when it is an entry of a document.
    entry: Option<Entry>,
}

/// What an entry of a document says of its run.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// What tells it from the others; empty for the only one.
    pub(crate) key: String,
    pub(crate) name: Option<String>,
    pub(crate) experiment: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) tags: Vec<(String, String)>,
}

/// The key of a param, a tag or a part of the context, and the column that has its value.
type KeyedColumn = (String, usize);

struct Column {
    name: String,
    /// The metric that it is, where it is one.
    metric: String,
    numeric: bool,
    column_type: Option<ColumnType>,
}

struct RunState {
    id: RunId,
    rows: u64,
    base: i64,
    /// Whether a point's time was counted from the base, which then must stay the start of the run.
    counted: bool,
    first: Option<i64>,
    last: Option<i64>,
    /// The time of the last row that has one.
    recorded: Option<i64>,
    by_column: Vec<Option<Slot>>,
    by_metric: HashMap<String, Slot>,
    by_name: HashMap<(String, usize, Option<Context>), Slot>,
    params: Vec<Option<String>>,
    tags: Vec<Option<String>>,
    later: RunFacts,
}

/// A series, or that its name was refused.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Open(SeriesIndex),
    Refused,
}

impl<'u> Rows<'u> {
    pub(crate) fn new(unit: &'u Unit, plan: &'u TablePlan, numbers: TextNumbers, modified: i64) -> Self {
        let constants = plan.given.as_ref().map(Mapping::constants).unwrap_or_default();
        let renames = plan.given.as_ref().map(Mapping::renames).unwrap_or_default();
        let of_context = |(role, value): &(Role, String)| match role {
            Role::Context(key) => Some((key.clone(), serde_json::Value::String(value.clone()))),
            _ => None,
        };
        let mut rows = Self {
            renames: renames.iter().map(|(new, old)| (old.clone(), new.clone())).collect(),
            constants,
            constant_context: constants.iter().filter_map(of_context).collect(),
            unit,
            form: plan.form,
            numbers,
            columns: Vec::new(),
            run: Vec::new(),
            name: None,
            step: None,
            time: None,
            metric: None,
            value: None,
            experiment: None,
            project: None,
            params: Vec::new(),
            tags: Vec::new(),
            contexts: Vec::new(),
            metrics: Vec::new(),
            runs: IndexMap::new(),
            last_run: 0,
            key: String::new(),
            result_name: String::new(),
            repeats: HashMap::new(),
            modified,
            companion: Vec::new(),
            entry: None,
        };
        for column in &plan.columns {
            let numeric = column.content != Content::Other;
            let index = rows.add_column(&column.name, numeric, column.roles.is_empty());
            if let Some(added) = rows.columns.get_mut(index) {
                added.column_type = column.column_type;
            }
            for role in &column.roles {
                rows.give(index, role);
            }
        }
        rows
    }

    fn give(&mut self, index: usize, role: &Role) {
        match role {
            Role::Run => self.run.push(index),
            Role::Name => self.name = Some(index),
            Role::Step => self.step = Some(index),
            Role::Time => self.time = Some(index),
            Role::Metric => self.metric = Some(index),
            Role::Value => self.value = Some(index),
            Role::Experiment => self.experiment = Some(index),
            Role::Project => self.project = Some(index),
            Role::Param(key) => self.params.push((key.clone(), index)),
            Role::Tag(key) => self.tags.push((key.clone(), index)),
            Role::Context(key) => self.contexts.push((key.clone(), index)),
            Role::Drop => {}
        }
    }

    fn add_column(&mut self, name: &str, numeric: bool, free: bool) -> usize {
        let index = self.columns.len();
        let metric = self.renames.get(name).cloned().unwrap_or_else(|| name.to_owned());
        self.columns.push(Column { name: name.to_owned(), metric, numeric, column_type: None });
        match self.form {
            Form::Wide | Form::Histories if free => self.metrics.push(index),
            Form::Runs if free => self.params.push((name.to_owned(), index)),
            Form::Results if free && numeric => self.metrics.push(index),
            Form::Results if free => self.params.push((name.to_owned(), index)),
            _ => {}
        }
        index
    }

    /// A column that the plan does not know.
    pub(crate) fn new_column(&mut self, name: &str, reporter: &Reporter<'_>) -> Result<usize> {
        if self.columns.len() >= reporter.limits.columns {
            return Err(ImportError::TooLarge {
                path: self.unit.path.clone(),
                what: "the number of columns or keys",
                actual: self.columns.len() as u64 + 1,
                limit: reporter.limits.columns as u64,
            });
        }
        // What the sample has not seen may be numbers or not; only numbers will count.
        Ok(self.add_column(name, self.numbers != TextNumbers::NonFinite, true))
    }

    pub(crate) fn column_count(&self) -> usize {
        self.columns.len()
    }

    /// Whether the whole file is one run.
    pub(crate) fn is_single_run(&self) -> bool {
        self.run.is_empty() && !matches!(self.form, Form::Runs | Form::Results)
    }

    pub(crate) fn set_companion(&mut self, params: Vec<(String, String)>) {
        self.companion = params;
    }

    /// All rows belong to one run.
    pub(crate) fn set_entry(&mut self, entry: Entry) {
        self.entry = Some(entry);
    }

    /// Hands on the run of an entry even if no row comes.
    pub(crate) fn announce_now(&mut self, reporter: &mut Reporter<'_>) -> Result<()> {
        self.last_run = self.announce(reporter, None, &[])?;
        Ok(())
    }

    /// Takes a row; `cells` are by column, missing ones at the end are empty.
    pub(crate) fn row(
        &mut self,
        reporter: &mut Reporter<'_>,
        place: Place,
        cells: &[Cell<'_>],
    ) -> Result<()> {
        let file = self.unit.path.as_path();
        let cell = |index: usize| cells.get(index).copied().unwrap_or(Cell::Empty);
        self.key.clear();
        for (position, index) in self.run.iter().enumerate() {
            let part = match cell(*index) {
                Cell::Text(text) => std::borrow::Cow::Borrowed(text.trim()),
                other => std::borrow::Cow::Owned(text_of(other).unwrap_or_default()),
            };
            if part.is_empty() {
                return reporter.reject(file, place, "run.missing", || {
                    "the row does not say which run it is of".to_owned()
                });
            }
            if position > 0 {
                self.key.push('/');
            }
            self.key.push_str(&part);
        }
        if self.form == Form::Results {
            self.number_result();
        }
        let recorded = match self.time.map(cell) {
            None | Some(Cell::Empty) => None,
            Some(time_cell) => {
                let micros = micros_of(time_cell, self.time.and_then(|index| self.type_of(index)));
                if micros.is_none() {
                    reporter.reject(file, place, "time.malformed", || {
                        format!("{} is no time", shown(time_cell))
                    })?;
                }
                micros
            }
        };
        let known = self.runs.get_index(self.last_run).is_some_and(|(key, _)| *key == self.key);
        if !known {
            self.last_run = match self.runs.get_index_of(&self.key) {
                Some(index) => index,
                None => self.announce(reporter, recorded, cells)?,
            };
        }
        let Some((_, run)) = self.runs.get_index_mut(self.last_run) else { return Ok(()) };
        run.note_values(reporter, file, place, (&self.params, &self.tags), &cell)?;
        let row = run.rows;
        run.rows = run.rows.saturating_add(1);
        let row_number = i64::try_from(row).unwrap_or(i64::MAX);
        run.recorded = recorded.or(run.recorded);
        run.counted |= run.recorded.is_none();
        let time = run.recorded.unwrap_or(run.base.saturating_add(row_number));
        run.first = Some(run.first.map_or(time, |first| first.min(time)));
        run.last = run.last.max(Some(time));
        if self.time.is_some() && recorded.is_none() {
            reporter.remark(file, place, "time.missing", "", 1, || {
                "rows without a time get the time of the row before, or at which the file was written"
                    .to_owned()
            });
        }
        if self.form == Form::Runs {
            return Ok(());
        }
        let step = match self.step.map(cell) {
            None => Step::whole(row_number),
            Some(Cell::Empty) if self.form == Form::Results => Step::whole(0),
            Some(Cell::Empty) => {
                reporter.remark(file, place, "step.missing", "", 1, || {
                    "rows without a step get the number of the row".to_owned()
                });
                Step::whole(row_number)
            }
            Some(step_cell) => match step_of(step_cell, self.numbers) {
                Some(step) => step,
                None => {
                    return reporter.reject(file, place, "step.malformed", || {
                        format!("{} is no step; the row is not taken", shown(step_cell))
                    });
                }
            },
        };
        if step.rounded {
            reporter
                .remark(file, place, "step.rounded", "", 1, || "steps are rounded to millionths".to_owned());
        }
        let context = context_of(&self.constant_context, &self.contexts, &cell);
        let context = match context {
            Ok(context) => context,
            Err(message) => return reporter.reject(file, place, "context.refused", || message),
        };
        let point = Point { step: step.whole, step_fraction: step.fraction, time, value: 0.0 };
        if let (Some(metric), Some(value_column)) = (self.metric, self.value) {
            let name = match cell(metric) {
                Cell::Text(text) => std::borrow::Cow::Borrowed(text),
                other => std::borrow::Cow::Owned(text_of(other).unwrap_or_default()),
            };
            if name.is_empty() {
                return reporter
                    .reject(file, place, "metric.missing", || "the row names no metric".to_owned());
            }
            let value = cell(value_column);
            if value == Cell::Empty {
                return Ok(());
            }
            let name = match self.renames.get(name.as_ref()) {
                Some(new) => std::borrow::Cow::Borrowed(new.as_str()),
                None => name,
            };
            let column_type = self.columns.get(value_column).and_then(|column| column.column_type);
            let Some(number) = typed_number(value, column_type, self.numbers) else {
                return reporter.reject(file, place, "cell.not_a_number", || {
                    format!("{}: {} is no number", beginning(&name), shown(value))
                });
            };
            let point = Point { value: number, ..point };
            if context.is_none() {
                return run.point_by_metric(reporter, file, place, &name, point);
            }
            return run.point_by_name(reporter, file, place, (name.into_owned(), usize::MAX, context), point);
        }
        for index in &self.metrics {
            let value = cell(*index);
            if value == Cell::Empty {
                continue;
            }
            let Some(column) = self.columns.get(*index) else { continue };
            let number = match value {
                // A column whose first rows are texts is a text column, even where a text looks like a number.
                Cell::Text(_) if !column.numeric && self.numbers != TextNumbers::NonFinite => None,
                value => typed_number(value, column.column_type, self.numbers),
            };
            let Some(number) = number else {
                match value {
                    Cell::Text(_) if column.numeric => {
                        reporter.reject(file, place, "cell.not_a_number", || {
                            format!("column {:?}: {} is no number", beginning(&column.name), shown(value))
                        })?
                    }
                    _ => reporter.remark(file, place, "ignored.cells", &column.name, 1, || {
                        format!(
                            "cells of {:?} that hold no numbers are not imported",
                            beginning(&column.name)
                        )
                    }),
                }
                continue;
            };
            let point = Point { value: number, ..point };
            if context.is_some() {
                run.point_by_name(
                    reporter,
                    file,
                    place,
                    (column.metric.clone(), *index, context.clone()),
                    point,
                )?;
            } else {
                run.point_by_column(reporter, file, place, (*index, &column.metric), point)?;
            }
        }
        if self.form == Form::Results {
            // No later row is of this run.
            reporter.close_series()?;
        }
        Ok(())
    }

    /// Gives the row of a result a key of its own: its name, with a number behind it from the second of the name on; the
    /// number of the row where it has none.
    fn number_result(&mut self) {
        let row = self.runs.len().saturating_add(1);
        self.result_name.clone_from(&self.key);
        if self.key.is_empty() {
            self.key = row.to_string();
            return;
        }
        let count = self.repeats.entry(self.result_name.clone()).or_insert(0_u64);
        loop {
            *count = count.saturating_add(1);
            if *count > 1 {
                self.key = format!("{}#{count}", self.result_name);
            }
            // A row may be called `name#2` itself.
            if !self.runs.contains_key(&self.key) {
                break;
            }
        }
    }

    fn type_of(&self, index: usize) -> Option<ColumnType> {
        self.columns.get(index)?.column_type
    }

    /// What all rows have in a role.
    fn constant(&self, wanted: &Role) -> Option<String> {
        self.constants.iter().find(|(role, _)| role == wanted).map(|(_, value)| value.clone())
    }

    fn announce(
        &mut self,
        reporter: &mut Reporter<'_>,
        recorded: Option<i64>,
        cells: &[Cell<'_>],
    ) -> Result<usize> {
        let file = self.unit.path.as_path();
        if self.runs.len() >= reporter.limits.files.max(1_000_000) {
            return Err(ImportError::TooLarge {
                path: file.to_owned(),
                what: "the number of runs",
                actual: self.runs.len() as u64 + 1,
                limit: reporter.limits.files.max(1_000_000) as u64,
            });
        }
        let text = |index: Option<usize>| index.and_then(|index| text_of(*cells.get(index)?));
        let path = self.unit.location.to_string_lossy();
        let entry = self.entry.as_ref();
        let key = entry.map_or(self.key.as_str(), |entry| entry.key.as_str());
        let of_entry = |what: fn(&Entry) -> &Option<String>| entry.and_then(|entry| what(entry).clone());
        let single = key.is_empty() && self.run.is_empty();
        let source_run_id = if single { path.into_owned() } else { format!("{path}#{key}") };
        let name =
            match text(self.name).or_else(|| self.constant(&Role::Name)).or_else(|| of_entry(|e| &e.name)) {
                Some(name) => name,
                None if single => self.unit.name.clone(),
                None if !self.result_name.is_empty() => self.result_name.clone(),
                None => key.to_owned(),
            };
        let mut run = reporter.blank_run(self.unit.kind, source_run_id, &name);
        let experiment = text(self.experiment).or_else(|| self.constant(&Role::Experiment));
        if let Some(experiment) = experiment.or_else(|| of_entry(|entry| &entry.experiment)) {
            reporter.put_into_experiment(&mut run, file, &experiment)?;
        }
        let project = text(self.project).or_else(|| self.constant(&Role::Project));
        if let Some(project) = project.or_else(|| of_entry(|entry| &entry.project)) {
            reporter.put_into_project(&mut run, file, &project);
        }
        let mut base = 0;
        if self.time.is_none() || recorded.is_none() {
            base = reporter.fallback_time(run.id, self.modified);
        }
        if self.time.is_none() {
            run.time_source = TimeSource::FileModified;
        }
        run.start_time = Some(recorded.unwrap_or(base));
        for (key, value) in &self.companion {
            reporter.param(&mut run.params, file, key, value)?;
        }
        for (key, value) in entry.iter().flat_map(|entry| &entry.tags) {
            reporter.tag(&mut run.tags, file, key, value)?;
        }
        for (role, value) in self.constants {
            match role {
                Role::Param(key) => reporter.param(&mut run.params, file, key, value)?,
                Role::Tag(key) => reporter.tag(&mut run.tags, file, key, value)?,
                _ => {}
            }
        }
        let mut params = Vec::with_capacity(self.params.len());
        for (key, index) in &self.params {
            let value = text(Some(*index));
            if let Some(value) = &value {
                reporter.param(&mut run.params, file, key, value)?;
            }
            params.push(value);
        }
        let mut tags = Vec::with_capacity(self.tags.len());
        for (key, index) in &self.tags {
            let value = text(Some(*index));
            if let Some(value) = &value {
                reporter.tag(&mut run.tags, file, key, value)?;
            }
            tags.push(value);
        }
        let state = RunState {
            id: run.id,
            rows: 0,
            base,
            counted: false,
            first: run.start_time,
            last: None,
            recorded: None,
            by_column: Vec::new(),
            by_metric: HashMap::new(),
            by_name: HashMap::new(),
            params,
            tags,
            later: RunFacts::default(),
        };
        reporter.run(run)?;
        Ok(self.runs.insert_full(self.key.clone(), state).0)
    }

    /// Hands on what became known of the runs.
    pub(crate) fn finish(self, reporter: &mut Reporter<'_>) -> Result<()> {
        for (_, run) in self.runs {
            let mut facts = run.later;
            // The next import of a grown file asks for it and must count from the same.
            facts.start_time = if run.counted { Some(run.base) } else { run.first };
            facts.end_time = run.last.or(run.first);
            reporter.facts(run.id, facts)?;
        }
        Ok(())
    }
}

impl RunState {
    /// Keeps the first value of each param and tag column; another value of a param is told, of a tag it wins.
    fn note_values<'c>(
        &mut self,
        reporter: &mut Reporter<'_>,
        file: &Path,
        place: Place,
        (params, tags): (&[KeyedColumn], &[KeyedColumn]),
        cell: &dyn Fn(usize) -> Cell<'c>,
    ) -> Result<()> {
        for ((key, index), known) in params.iter().zip(&mut self.params) {
            let Some(value) = text_of(cell(*index)) else { continue };
            match known {
                Some(known) if *known == value => {}
                Some(known) => {
                    let known = known.clone();
                    reporter.reject(file, place, "param.changed", || {
                        format!(
                            "param {key:?} was {:?} before, here it is {:?}",
                            beginning(&known),
                            beginning(&value)
                        )
                    })?;
                }
                None => {
                    let mut later: BTreeMap<Key, ParamValue> = std::mem::take(&mut self.later.params);
                    reporter.param(&mut later, file, key, &value)?;
                    self.later.params = later;
                    *known = Some(value);
                }
            }
        }
        for ((key, index), known) in tags.iter().zip(&mut self.tags) {
            let Some(value) = text_of(cell(*index)) else { continue };
            if known.as_ref() != Some(&value) {
                let mut later: BTreeMap<Key, TagValue> = std::mem::take(&mut self.later.tags);
                reporter.tag(&mut later, file, key, &value)?;
                self.later.tags = later;
                *known = Some(value);
            }
        }
        Ok(())
    }

    fn point_by_column(
        &mut self,
        reporter: &mut Reporter<'_>,
        file: &Path,
        place: Place,
        (index, name): (usize, &str),
        point: Point,
    ) -> Result<()> {
        if self.by_column.len() <= index {
            self.by_column.resize(index.saturating_add(1), None);
        }
        let slot = match self.by_column.get(index).copied().flatten() {
            Some(slot) => slot,
            None => {
                let slot = open(reporter, file, self.id, name, None)?;
                if let Some(place) = self.by_column.get_mut(index) {
                    *place = Some(slot);
                }
                slot
            }
        };
        put(reporter, file, place, slot, name, point)
    }

    fn point_by_metric(
        &mut self,
        reporter: &mut Reporter<'_>,
        file: &Path,
        place: Place,
        name: &str,
        point: Point,
    ) -> Result<()> {
        let slot = match self.by_metric.get(name) {
            Some(slot) => *slot,
            None => {
                let slot = open(reporter, file, self.id, name, None)?;
                self.by_metric.insert(name.to_owned(), slot);
                slot
            }
        };
        put(reporter, file, place, slot, name, point)
    }

    fn point_by_name(
        &mut self,
        reporter: &mut Reporter<'_>,
        file: &Path,
        place: Place,
        key: (String, usize, Option<Context>),
        point: Point,
    ) -> Result<()> {
        let slot = match self.by_name.get(&key) {
            Some(slot) => *slot,
            None => {
                let slot = open(reporter, file, self.id, &key.0, key.2.clone())?;
                self.by_name.insert(key.clone(), slot);
                slot
            }
        };
        put(reporter, file, place, slot, &key.0, point)
    }
}

fn open(
    reporter: &mut Reporter<'_>,
    file: &Path,
    run: RunId,
    name: &str,
    context: Option<Context>,
) -> Result<Slot> {
    match MetricName::new(name) {
        Ok(metric) => Ok(Slot::Open(reporter.series(file, run, metric, context)?)),
        Err(_) => Ok(Slot::Refused),
    }
}

fn put(
    reporter: &mut Reporter<'_>,
    file: &Path,
    place: Place,
    slot: Slot,
    name: &str,
    point: Point,
) -> Result<()> {
    match slot {
        Slot::Open(series) => reporter.point(series, point),
        Slot::Refused => reporter.reject(file, place, "metric.refused", || match MetricName::new(name) {
            Err(error) => error.to_string(),
            Ok(_) => String::new(),
        }),
    }
}

fn context_of<'c>(
    constant: &serde_json::Map<String, serde_json::Value>,
    contexts: &[(String, usize)],
    cell: &dyn Fn(usize) -> Cell<'c>,
) -> std::result::Result<Option<Context>, String> {
    let mut object = constant.clone();
    for (key, index) in contexts {
        if let Some(text) = text_of(cell(*index)) {
            object.insert(key.clone(), serde_json::Value::String(text));
        }
    }
    if object.is_empty() {
        return Ok(None);
    }
    Context::parse(&serde_json::Value::Object(object).to_string())
        .map(Some)
        .map_err(|error| error.to_string())
}

/// A cell as the text of a param, tag or name; `None` when there is nothing.
pub(crate) fn text_of(cell: Cell<'_>) -> Option<String> {
    match cell {
        Cell::Empty | Cell::Other | Cell::Text("") => None,
        Cell::Text(text) => Some(text.to_owned()),
        Cell::Integer(integer) => Some(integer.to_string()),
        Cell::Number(number) => Some(ParamValue::from_f64(number).to_string()),
        Cell::Boolean(truth) => Some(truth.to_string()),
        Cell::Time(micros) => Some(chrono::DateTime::from_timestamp_micros(micros).map_or_else(
            || micros.to_string(),
            |time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        )),
    }
}

fn shown(cell: Cell<'_>) -> String {
    match text_of(cell) {
        Some(text) => format!("{:?}", beginning(&shortened(&text, 80))),
        None => "a list".to_owned(),
    }
}

pub(crate) fn number_of(cell: Cell<'_>, numbers: TextNumbers) -> Option<f64> {
    match cell {
        Cell::Number(number) => Some(number),
        Cell::Integer(integer) => Some(integer as f64),
        Cell::Text(text) => match numbers {
            TextNumbers::Decimal => guess::text_number(text, false),
            TextNumbers::DecimalComma => guess::text_number(text, true),
            TextNumbers::NonFinite => json::non_finite(text),
        },
        _ => None,
    }
}

/// The number that a cell is in a column of a type.
fn typed_number(cell: Cell<'_>, column_type: Option<ColumnType>, numbers: TextNumbers) -> Option<f64> {
    let truth = |truth: bool| f64::from(u8::from(truth));
    match (column_type, cell) {
        (Some(ColumnType::Text), _) => None,
        (Some(ColumnType::Boolean), Cell::Boolean(value)) => Some(truth(value)),
        (Some(ColumnType::Boolean), Cell::Text(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(1.0),
            "false" | "no" | "0" => Some(0.0),
            _ => None,
        },
        // Numbers that JSON holds as texts.
        (Some(_), Cell::Text(_)) if numbers == TextNumbers::NonFinite => {
            number_of(cell, TextNumbers::Decimal)
        }
        _ => number_of(cell, numbers),
    }
}

fn step_of(cell: Cell<'_>, numbers: TextNumbers) -> Option<Step> {
    match cell {
        Cell::Integer(integer) => Some(Step::whole(integer)),
        Cell::Text(text) => {
            let text = text.trim();
            match text.parse::<i64>() {
                Ok(integer) => Some(Step::whole(integer)),
                Err(_) => Step::from_f64(guess::text_number(text, numbers == TextNumbers::DecimalComma)?),
            }
        }
        Cell::Number(number) => Step::from_f64(number),
        _ => None,
    }
}

fn micros_of(cell: Cell<'_>, column_type: Option<ColumnType>) -> Option<i64> {
    let per_second = match column_type {
        Some(ColumnType::Seconds) => 1,
        Some(ColumnType::Milliseconds) => 1_000,
        Some(ColumnType::Microseconds) => 1_000_000,
        Some(ColumnType::Nanoseconds) => 1_000_000_000,
        _ => return guessed_micros_of(cell),
    };
    match cell {
        Cell::Time(micros) => Some(micros),
        Cell::Integer(integer) => time::micros_of_integer(integer, per_second),
        Cell::Number(number) => time::micros_of_number(number, per_second),
        Cell::Text(text) => match text.trim().parse::<i64>() {
            Ok(integer) => time::micros_of_integer(integer, per_second),
            Err(_) => match guess::text_number(text, false) {
                Some(number) => time::micros_of_number(number, per_second),
                None => time::micros_from_text(text),
            },
        },
        _ => None,
    }
}

fn guessed_micros_of(cell: Cell<'_>) -> Option<i64> {
    match cell {
        Cell::Time(micros) => Some(micros),
        Cell::Integer(integer) => time::micros_from_integer(integer),
        Cell::Number(number) => time::micros_from_number(number),
        Cell::Text(text) => time::micros_from_text(text),
        _ => None,
    }
}
