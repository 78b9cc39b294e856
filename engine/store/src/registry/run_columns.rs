//! The runs of one chunk in columns: what a checkpoint holds, in the form in which SQL asks for it. Immutable.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, Float64Array, Int64Array, StringViewArray,
    TimestampMicrosecondArray, UInt16Array, make_view,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use model::{ExperimentName, Key, ParamValue, ProjectName, Run, RunId, RunStatus, TagValue};

use super::config_hash::ConfigHash;
use super::key_columns::{KeyColumn, KeyColumns, KeyColumnsBuilder, Place, gather};
use super::run_row::RunRow;

/// A column of `runs` that is no param, tag or metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the columns of model::schema::Table::Runs")]
pub enum RunField {
    Project,
    Experiment,
    RunId,
    Name,
    Status,
    User,
    StartTime,
    EndTime,
    Duration,
    ParentRunId,
    Source,
    SourceRunId,
    GitCommit,
    Seed,
    ConfigHash,
    ConfigHashWithSeed,
    Deleted,
}

impl RunField {
    /// Whether a run may have none.
    pub fn is_nullable(self) -> bool {
        !matches!(
            self,
            Self::Project
                | Self::Experiment
                | Self::RunId
                | Self::Name
                | Self::Status
                | Self::ConfigHash
                | Self::ConfigHashWithSeed
                | Self::Deleted
        )
    }
}

/// Distinct texts and which of them each run has.
#[derive(Debug, Clone)]
struct TextColumn {
    codes: UInt16Array,
    texts: StringViewArray,
}

impl TextColumn {
    fn get(&self, place: Place) -> Option<&str> {
        let place = usize::from(place);
        let held = place < self.codes.len() && self.codes.is_valid(place);
        held.then(|| self.texts.value(usize::from(self.codes.value(place))))
    }

    fn array(&self, places: &UInt16Array) -> StringViewArray {
        match arrow::compute::take(&self.codes, places, None) {
            Ok(codes) => gather(&self.texts, codes.as_primitive()),
            // Every place is one of the chunk.
            Err(_) => StringViewArray::new_null(places.len()),
        }
    }

    fn bytes(&self) -> usize {
        self.codes.get_array_memory_size() + self.texts.get_array_memory_size()
    }
}

/// The distinct texts of a column and which of them each place has.
#[derive(Debug, Clone, Copy)]
pub enum CodedTexts<'a> {
    /// Codes into texts; a place without a text has NULL.
    Codes(&'a UInt16Array, &'a StringViewArray),
    /// The words of statuses.
    Statuses(&'a [RunStatus]),
}

impl CodedTexts<'_> {
    /// The distinct texts, by code.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Codes(_, texts) => texts.iter().flatten().collect(),
            Self::Statuses(_) => RunStatus::ALL.map(RunStatus::as_str).to_vec(),
        }
    }

    /// The code of a place; `None` where it has no text.
    pub fn code(&self, place: Place) -> Option<usize> {
        let place = usize::from(place);
        match self {
            Self::Codes(codes, _) => {
                (place < codes.len() && codes.is_valid(place)).then(|| usize::from(codes.value(place)))
            }
            Self::Statuses(statuses) => statuses.get(place).map(|status| *status as usize),
        }
    }
}

/// The runs of one chunk.
#[derive(Debug, Clone)]
pub struct RunColumns {
    held: BooleanBuffer,
    places: Arc<[Place]>,
    ids: Box<[RunId]>,
    since: Box<[u64]>,
    project_codes: UInt16Array,
    projects: Box<[ProjectName]>,
    project_texts: StringViewArray,
    experiment_codes: UInt16Array,
    experiments: Box<[ExperimentName]>,
    experiment_texts: StringViewArray,
    names: TextColumn,
    statuses: Box<[RunStatus]>,
    users: TextColumn,
    start_times: TimestampMicrosecondArray,
    end_times: TimestampMicrosecondArray,
    parents: HashMap<Place, RunId>,
    sources: TextColumn,
    source_run_ids: TextColumn,
    git_commits: TextColumn,
    deleted: BooleanBuffer,
    hashes: Box<[ConfigHash]>,
    params: KeyColumns,
    tags: KeyColumns,
    seeds: OnceLock<Int64Array>,
    hashes_with_seed: OnceLock<Box<[ConfigHash]>>,
}

impl Default for RunColumns {
    fn default() -> Self {
        RunColumnsBuilder::default().finish(0)
    }
}

impl RunColumns {
    /// The columns of these runs with the WAL numbers that made them; a chunk has this number of places.
    pub(super) fn of_rows<'a>(places: usize, rows: impl Iterator<Item = (Place, RunRow<'a>, u64)>) -> Self {
        let mut builder = RunColumnsBuilder::default();
        for (place, row, since) in rows {
            builder.push(place, row, since, row.config_hash());
            row.params().for_each(|(key, text)| builder.params.push(place, key, text));
            row.tags().for_each(|(key, text)| builder.tags.push(place, key, text));
        }
        builder.finish(places)
    }

    pub(super) fn with_params(self, params: KeyColumns) -> Self {
        Self { params, seeds: OnceLock::new(), hashes_with_seed: OnceLock::new(), ..self }
    }

    pub(super) fn with_tags(self, tags: KeyColumns) -> Self {
        Self { tags, seeds: OnceLock::new(), ..self }
    }

    /// Number of places.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// The places that hold a run, rising.
    pub fn places(&self) -> &Arc<[Place]> {
        &self.places
    }

    /// The run at a place.
    pub fn get(&self, place: Place) -> Option<RunRow<'_>> {
        self.holds(place).then(|| RunRow::at(self, place))
    }

    pub(super) fn holds(&self, place: Place) -> bool {
        usize::from(place) < self.held.len() && self.held.value(usize::from(place))
    }

    /// The WAL number of the command that made the run.
    pub(super) fn since(&self, place: Place) -> u64 {
        self.since[usize::from(place)]
    }

    pub(super) fn id(&self, place: Place) -> RunId {
        self.ids[usize::from(place)]
    }

    pub(super) fn project(&self, place: Place) -> &ProjectName {
        &self.projects[usize::from(self.project_codes.value(usize::from(place)))]
    }

    pub(super) fn experiment(&self, place: Place) -> &ExperimentName {
        &self.experiments[usize::from(self.experiment_codes.value(usize::from(place)))]
    }

    pub(super) fn name(&self, place: Place) -> &str {
        self.names.get(place).unwrap_or_default()
    }

    pub(super) fn status(&self, place: Place) -> RunStatus {
        self.statuses[usize::from(place)]
    }

    pub(super) fn user(&self, place: Place) -> Option<&str> {
        self.users.get(place)
    }

    pub(super) fn start_time(&self, place: Place) -> Option<i64> {
        let place = usize::from(place);
        self.start_times.is_valid(place).then(|| self.start_times.value(place))
    }

    pub(super) fn end_time(&self, place: Place) -> Option<i64> {
        let place = usize::from(place);
        self.end_times.is_valid(place).then(|| self.end_times.value(place))
    }

    pub(super) fn parent(&self, place: Place) -> Option<RunId> {
        self.parents.get(&place).copied()
    }

    pub(super) fn source(&self, place: Place) -> Option<&str> {
        self.sources.get(place)
    }

    pub(super) fn source_run_id(&self, place: Place) -> Option<&str> {
        self.source_run_ids.get(place)
    }

    pub(super) fn git_commit(&self, place: Place) -> Option<&str> {
        self.git_commits.get(place)
    }

    pub(super) fn is_deleted(&self, place: Place) -> bool {
        self.deleted.value(usize::from(place))
    }

    pub(super) fn config_hash(&self, place: Place) -> ConfigHash {
        self.hashes[usize::from(place)]
    }

    /// The params of all runs.
    pub fn params(&self) -> &KeyColumns {
        &self.params
    }

    /// The tags of all runs.
    pub fn tags(&self) -> &KeyColumns {
        &self.tags
    }

    /// The run at a place that holds one, copied.
    pub(super) fn run(&self, place: Place) -> Run {
        let row = RunRow::at(self, place);
        // What is in columns was checked before it came in; a name that is not valid cannot be here.
        let params =
            row.params().filter_map(|(key, text)| Some((Key::new(key).ok()?, ParamValue::new(text).ok()?)));
        let tags =
            row.tags().filter_map(|(key, text)| Some((Key::new(key).ok()?, TagValue::new(text).ok()?)));
        Run {
            id: self.id(place),
            project: self.project(place).clone(),
            experiment: self.experiment(place).clone(),
            name: self.name(place).to_owned(),
            status: self.status(place),
            user: self.user(place).map(str::to_owned),
            start_time: self.start_time(place),
            end_time: self.end_time(place),
            parent: self.parent(place),
            source: self.source(place).map(str::to_owned),
            source_run_id: self.source_run_id(place).map(str::to_owned),
            git_commit: self.git_commit(place).map(str::to_owned),
            deleted: self.is_deleted(place),
            params: params.collect(),
            tags: tags.collect(),
        }
    }

    /// A column that is kept as codes; `None` for the others.
    pub fn coded(&self, field: RunField) -> Option<CodedTexts<'_>> {
        let (codes, texts) = match field {
            RunField::Status => return Some(CodedTexts::Statuses(&self.statuses)),
            RunField::Project => (&self.project_codes, &self.project_texts),
            RunField::Experiment => (&self.experiment_codes, &self.experiment_texts),
            RunField::User => (&self.users.codes, &self.users.texts),
            RunField::Source => (&self.sources.codes, &self.sources.texts),
            RunField::GitCommit => (&self.git_commits.codes, &self.git_commits.texts),
            _ => return None,
        };
        Some(CodedTexts::Codes(codes, texts))
    }

    /// A column of the runs at these places, rising; texts as views.
    pub fn array(&self, field: RunField, places: &[Place]) -> ArrayRef {
        let at = || UInt16Array::from_iter_values(places.iter().copied());
        let names = |texts: &StringViewArray, codes: &UInt16Array| -> ArrayRef {
            let codes: UInt16Array =
                places.iter().map(|place| Some(codes.value(usize::from(*place)))).collect();
            Arc::new(gather(texts, &codes))
        };
        let times = |times: &TimestampMicrosecondArray| -> ArrayRef {
            let taken = arrow::compute::take(times, &at(), None);
            // Every place is one of the chunk.
            taken.unwrap_or_else(|_| Arc::new(times.slice(0, 0)))
        };
        match field {
            RunField::Project => names(&self.project_texts, &self.project_codes),
            RunField::Experiment => names(&self.experiment_texts, &self.experiment_codes),
            RunField::RunId => hexadecimal(places.iter().map(|place| Some(self.id(*place).as_u128()))),
            RunField::Name => Arc::new(self.names.array(&at())),
            RunField::Status => Arc::new(
                places.iter().map(|place| Some(self.status(*place).as_str())).collect::<StringViewArray>(),
            ),
            RunField::User => Arc::new(self.users.array(&at())),
            RunField::StartTime => times(&self.start_times),
            RunField::EndTime => times(&self.end_times),
            RunField::Duration => Arc::new(
                places
                    .iter()
                    .map(|place| RunRow::at(self, *place).duration_seconds())
                    .collect::<Float64Array>(),
            ),
            RunField::ParentRunId => {
                hexadecimal(places.iter().map(|place| self.parent(*place).map(RunId::as_u128)))
            }
            RunField::Source => Arc::new(self.sources.array(&at())),
            RunField::SourceRunId => Arc::new(self.source_run_ids.array(&at())),
            RunField::GitCommit => Arc::new(self.git_commits.array(&at())),
            RunField::Seed => {
                let seeds = self.seeds();
                let seed = |place: &Place| {
                    let place = usize::from(*place);
                    seeds.is_valid(place).then(|| seeds.value(place))
                };
                Arc::new(places.iter().map(seed).collect::<Int64Array>())
            }
            RunField::ConfigHash => {
                hexadecimal(places.iter().map(|place| Some(self.config_hash(*place).as_u128())))
            }
            RunField::ConfigHashWithSeed => {
                let hashes = self.hashes_with_seed();
                hexadecimal(places.iter().map(|place| Some(hashes[usize::from(*place)].as_u128())))
            }
            RunField::Deleted => {
                Arc::new(places.iter().map(|place| Some(self.is_deleted(*place))).collect::<BooleanArray>())
            }
        }
    }

    fn seeds(&self) -> &Int64Array {
        self.seeds.get_or_init(|| {
            let column = |keys: &'_ KeyColumns| model::SEED_KEYS.iter().any(|key| keys.get(key).is_some());
            if !column(&self.params) && !column(&self.tags) {
                return Int64Array::new_null(self.len());
            }
            (0..self.len() as Place).map(|place| RunRow::at(self, place).seed()).collect()
        })
    }

    fn hashes_with_seed(&self) -> &[ConfigHash] {
        self.hashes_with_seed.get_or_init(|| {
            let seeds: Vec<(&str, Option<&KeyColumn>)> =
                model::SEED_KEYS.iter().map(|key| (*key, self.params.get(key))).collect();
            let seed = |key: &str, place: Place| {
                seeds.iter().find(|(of, _)| *of == key).and_then(|(_, column)| column.as_ref()?.text(place))
            };
            (0..self.len() as Place)
                .zip(&self.hashes)
                .map(|(place, hash)| hash.with_seed(|key| seed(key, place)))
                .collect()
        })
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.names, &self.users, &self.sources, &self.source_run_ids, &self.git_commits];
        let texts: usize = texts.iter().map(|column| column.bytes()).sum();
        // Identity, number, status, two times, two codes, hash, place.
        let fixed = self.len() * (16 + 8 + 1 + 16 + 4 + 16 + 2);
        size_of::<Self>() + fixed + texts + self.params.bytes() + self.tags.bytes()
    }
}

/// Run ids as texts.
pub(crate) fn run_ids(ids: impl Iterator<Item = RunId>) -> ArrayRef {
    hexadecimal(ids.map(|id| Some(id.as_u128())))
}

/// Numbers of 128 bits as 32 hexadecimal digits.
fn hexadecimal(numbers: impl Iterator<Item = Option<u128>>) -> ArrayRef {
    const DIGITS: usize = 32;
    let (rows, _) = numbers.size_hint();
    let mut texts: Vec<u8> = Vec::with_capacity(rows * DIGITS);
    let mut views: Vec<u128> = Vec::with_capacity(rows);
    let mut valid = BooleanBufferBuilder::new(rows);
    for number in numbers {
        valid.append(number.is_some());
        let Some(number) = number else {
            views.push(0);
            continue;
        };
        let text = digits(number);
        views.push(make_view(&text, 0, texts.len() as u32));
        texts.extend_from_slice(&text);
    }
    let valid = valid.finish();
    let nulls = (valid.count_set_bits() < valid.len()).then(|| NullBuffer::new(valid));
    match StringViewArray::try_new(views.into(), vec![Buffer::from_vec(texts)], nulls) {
        Ok(array) => Arc::new(array),
        // Every view is of digits that are there.
        Err(_) => Arc::new(StringViewArray::new_null(rows)),
    }
}

/// The hexadecimal digits of a number, the most significant first.
fn digits(number: u128) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0_u8; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// Collects the runs of a chunk.
#[derive(Debug, Default)]
pub(crate) struct RunColumnsBuilder {
    rows: Vec<Head>,
    projects: Codes<ProjectName>,
    experiments: Codes<ExperimentName>,
    names: Codes<Box<str>>,
    users: Codes<Box<str>>,
    sources: Codes<Box<str>>,
    source_run_ids: Codes<Box<str>>,
    git_commits: Codes<Box<str>>,
    params: KeyColumnsBuilder,
    tags: KeyColumnsBuilder,
}

#[derive(Debug)]
struct Head {
    place: Place,
    id: RunId,
    since: u64,
    project: u16,
    experiment: u16,
    name: u16,
    status: RunStatus,
    user: Option<u16>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    parent: Option<RunId>,
    source: Option<u16>,
    source_run_id: Option<u16>,
    git_commit: Option<u16>,
    deleted: bool,
    hash: ConfigHash,
}

#[derive(Debug)]
struct Codes<T> {
    codes: HashMap<T, u16, foldhash::fast::RandomState>,
    texts: Vec<T>,
}

impl<T> Default for Codes<T> {
    fn default() -> Self {
        Self { codes: HashMap::default(), texts: Vec::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Codes<T> {
    fn code<Q>(&mut self, text: &Q, own: impl FnOnce(&Q) -> T) -> u16
    where
        T: std::borrow::Borrow<Q>,
        Q: Eq + std::hash::Hash + ?Sized,
    {
        if let Some(code) = self.codes.get(text) {
            return *code;
        }
        // A chunk has fewer runs than there are codes.
        let code = u16::try_from(self.texts.len()).unwrap_or(u16::MAX);
        let text = own(text);
        self.codes.insert(text.clone(), code);
        self.texts.push(text);
        code
    }
}

impl Codes<Box<str>> {
    fn text(&mut self, text: &str) -> u16 {
        self.code(text, |text: &str| text.into())
    }

    fn column(&self, codes: UInt16Array) -> TextColumn {
        TextColumn { codes, texts: self.texts.iter().map(|text| Some(&**text)).collect() }
    }
}

impl RunColumnsBuilder {
    /// Takes in a run, without its params and tags, whose configuration has this hash. Each place is taken once.
    pub(crate) fn push(&mut self, place: Place, row: RunRow<'_>, since: u64, hash: ConfigHash) {
        let head = Head {
            place,
            id: row.id(),
            since,
            project: self.projects.code(row.project(), Clone::clone),
            experiment: self.experiments.code(row.experiment(), Clone::clone),
            name: self.names.text(row.name()),
            status: row.status(),
            user: row.user().map(|text| self.users.text(text)),
            start_time: row.start_time(),
            end_time: row.end_time(),
            parent: row.parent(),
            source: row.source().map(|text| self.sources.text(text)),
            source_run_id: row.source_run_id().map(|text| self.source_run_ids.text(text)),
            git_commit: row.git_commit().map(|text| self.git_commits.text(text)),
            deleted: row.is_deleted(),
            hash,
        };
        self.rows.push(head);
    }

    /// The columns of a chunk with this number of places.
    pub(crate) fn finish(self, places: usize) -> RunColumns {
        let mut by_place: Vec<Option<&Head>> = vec![None; places];
        for head in &self.rows {
            if let Some(slot) = by_place.get_mut(usize::from(head.place)) {
                *slot = Some(head);
            }
        }
        let heads = || by_place.iter();
        let codes =
            |of: fn(&Head) -> Option<u16>| -> UInt16Array { heads().map(|head| head.and_then(of)).collect() };
        let plain =
            |of: fn(&Head) -> u16| -> UInt16Array { heads().map(|head| Some(head.map_or(0, of))).collect() };
        let times = |of: fn(&Head) -> Option<i64>| {
            heads().map(|head| head.and_then(of)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")
        };
        let texts = |names: &mut dyn Iterator<Item = &str>| names.map(Some).collect::<StringViewArray>();
        RunColumns {
            held: heads().map(Option::is_some).collect(),
            places: (0..).zip(heads()).filter(|(_, head)| head.is_some()).map(|(place, _)| place).collect(),
            ids: heads().map(|head| head.map_or(RunId::from_u128(0), |head| head.id)).collect(),
            since: heads().map(|head| head.map_or(0, |head| head.since)).collect(),
            project_codes: plain(|head| head.project),
            project_texts: texts(&mut self.projects.texts.iter().map(ProjectName::as_str)),
            projects: self.projects.texts.into(),
            experiment_codes: plain(|head| head.experiment),
            experiment_texts: texts(&mut self.experiments.texts.iter().map(ExperimentName::as_str)),
            experiments: self.experiments.texts.into(),
            names: self.names.column(codes(|head| Some(head.name))),
            statuses: heads().map(|head| head.map_or_else(RunStatus::default, |head| head.status)).collect(),
            users: self.users.column(codes(|head| head.user)),
            start_times: times(|head| head.start_time),
            end_times: times(|head| head.end_time),
            parents: heads().flatten().filter_map(|head| Some((head.place, head.parent?))).collect(),
            sources: self.sources.column(codes(|head| head.source)),
            source_run_ids: self.source_run_ids.column(codes(|head| head.source_run_id)),
            git_commits: self.git_commits.column(codes(|head| head.git_commit)),
            deleted: heads().map(|head| head.is_some_and(|head| head.deleted)).collect(),
            hashes: heads().map(|head| head.map_or_else(ConfigHash::default, |head| head.hash)).collect(),
            params: self.params.finish(places),
            tags: self.tags.finish(places),
            seeds: OnceLock::new(),
            hashes_with_seed: OnceLock::new(),
        }
    }
}
