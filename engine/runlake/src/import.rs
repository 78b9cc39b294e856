//! Import: what the importers read goes through the store's door, and only what is new is added.
//!
//! A unit (a file or a run folder) whose content is the one of its last import is left unread. Any other unit is read
//! and each series is compared with what the lake holds of it, point for point, so that a source that grew adds only
//! what is new, and an import that was killed half-way is completed by the next one.
//!
//! A unit is left unread only when a receipt tells of it too, so that the receipt of each import tells of everything that
//! stands at the path.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use importers::{
    Decision, Detection, ImportedRun, Limits, Plan, Rejection, Remark, RunFacts, Sink, SinkError, Unit,
    UnitOutcome, Unrecognised,
};
use model::{
    Command, Context, ExperimentName, ImportRecord, Key, MetricName, NewRun, Note, ParamValue, PointBatch,
    PointColumns, ProjectName, RunId, RunUpdate, SeriesKey, SeriesPoints,
};
use store::{KeptFiles, RunRow, Snapshot, Store};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::lake::{Lake, now_micros};
use crate::mappings::{self, KeptMapping};
use crate::receipt::{
    self, KeptReceipts, Receipt, ReceiptContent, ReceiptLeft, ReceiptRejection, ReceiptWriter,
};
use crate::repeated::KnownPoints;

/// Points that are gathered before they are written: a batch that costs one sync.
const BATCH_POINTS: usize = 200_000;
/// Commands that are gathered before they are written.
const BATCH_COMMANDS: usize = 2_000;
/// Rejections that are kept with their place; all are counted.
const REJECTIONS_KEPT: usize = 5_000;
/// See [`ImportOptions::receipt_pause`].
const RECEIPT_PAUSE: Duration = Duration::from_secs(10);

/// How an import is done.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Where runs go that name no project.
    pub project: ProjectName,
    /// The experiment of all runs, in place of what the source says.
    pub experiment: Option<ExperimentName>,
    /// Take tables also where they stand beside or above the runs of a tracker; they are left otherwise, because there
    /// they mostly hold what the tracker's own files hold.
    pub tables_beside_trackers: bool,
    /// Which column feeds what, for tables; as at the last import of the path, or guessed, when not given.
    pub mapping: Option<importers::Mapping>,
    /// Mappings of earlier imports, for [`Lake::import_plan`]; an import itself takes those that the lake keeps.
    pub kept_mappings: Vec<KeptMapping>,
    /// How long the import goes on before its receipt so far is kept, for the next one to go on from if this one is killed;
    /// ten seconds when not given, and more when keeping it takes long.
    pub receipt_pause: Option<Duration>,
    /// Guess what columns mean also where a mapping is kept for the path, and let go of that one.
    pub guess: bool,
}

impl ImportOptions {
    /// The same with the mappings that the lake keeps, where they are asked for.
    pub(crate) async fn with_kept_mappings(mut self, store: &Store) -> Result<Self> {
        self.kept_mappings = match self.mapping.is_none() && !self.guess {
            true => mappings::all(store.snapshot().catalog()).await?,
            false => Vec::new(),
        };
        Ok(self)
    }

    /// Whether text is taken apart line by line, as the mapping of a path says.
    pub(crate) fn reads_lines(&self, path: &Path) -> bool {
        if let Some(mapping) = &self.mapping {
            return mapping.lines().is_some();
        }
        let absolute = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let remembered = self.remembered();
        let fitting = remembered.iter().filter(|(path, _)| absolute.starts_with(path));
        let nearest = fitting.max_by_key(|(path, _)| path.components().count());
        nearest.is_some_and(|(_, mapping)| mapping.lines().is_some())
    }

    /// Mappings by path, for a plan.
    pub(crate) fn remembered(&self) -> Vec<(PathBuf, importers::Mapping)> {
        let kept = if self.guess { &[] } else { self.kept_mappings.as_slice() };
        kept.iter().map(|kept| (kept.path.clone(), kept.mapping.clone())).collect()
    }
}

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportProgress {
    /// Bytes read of all units.
    pub bytes_done: u64,
    /// Bytes of all units, as far as known.
    pub bytes_total: u64,
    /// Points taken so far.
    pub points: u64,
    /// What is being read.
    pub unit: String,
}

/// What came of one kind of source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindReport {
    /// Units that were read.
    pub units: u64,
    /// Units left unread because their content was imported before.
    pub unchanged: u64,
    /// Points read.
    pub points: u64,
}

/// What an import took and what it did not.
#[derive(Debug, Clone, Default)]
pub struct ImportReport {
    /// The path as it was resolved.
    pub root: PathBuf,
    /// The paths whose kept mappings were used.
    pub mappings_used: Vec<PathBuf>,
    /// By kind of source.
    pub kinds: BTreeMap<&'static str, KindReport>,
    /// Runs that were read.
    pub runs: u64,
    /// Runs that were not in the lake before.
    pub new_runs: u64,
    /// Series that were read.
    pub series: u64,
    /// Points that were read.
    pub points: u64,
    /// Points that were added.
    pub new_points: u64,
    /// Points that are NaN.
    pub nan: u64,
    /// Points that are infinite.
    pub infinite: u64,
    /// Smallest and largest step.
    pub steps: Option<(i64, i64)>,
    /// Earliest and latest time, microseconds since 1970 UTC.
    pub times: Option<(i64, i64)>,
    /// Records that were rejected, and files that could not be read.
    pub rejected: u64,
    /// The same by code.
    pub rejected_by_code: BTreeMap<&'static str, u64>,
    /// Records of unchanged units that were rejected when these were imported, and still are not in the lake.
    pub rejected_before: u64,
    /// The first of the records rejected now, with file and place.
    pub rejections: Vec<Rejection>,
    /// What was taken differently from how it stood there, or left out, by kind.
    pub remarks: Vec<Remark>,
    /// Files that are of no known kind.
    pub unrecognised: Vec<Unrecognised>,
    /// The receipt in the lake: the one of this import, or the one of an earlier import that tells the same.
    pub receipt: String,
    /// Series that the receipt lists.
    pub receipt_series: u64,
}

impl Lake {
    /// Looks at a path and says what an import would do; nothing is written.
    ///
    /// # Errors
    /// When the path cannot be read, or a mapping does not fit.
    pub fn import_plan(path: &Path, options: &ImportOptions) -> Result<(Detection, Plan)> {
        let limits = Limits::default();
        let mut detection = if options.reads_lines(path) {
            importers::detect_lines(path, &limits)?
        } else {
            importers::detect(path, &limits)?
        };
        if !options.tables_beside_trackers {
            leave_tables_beside_trackers(&mut detection);
        }
        if detection.sources.is_empty() {
            let faulty: Vec<_> = detection.unrecognised.iter().filter(|left| left.fault.is_some()).collect();
            if let Some(first) = faulty.first() {
                let reason = format!(
                    "{} files or folders cannot be read, such as {} ({})",
                    faulty.len(),
                    first.path.display(),
                    first.reason
                );
                return Err(importers::ImportError::NothingReadable { path: detection.root, reason }.into());
            }
            let hint = if detection.unrecognised.is_empty() {
                "the folder holds no files".to_owned()
            } else {
                let first = detection.unrecognised.iter().take(3);
                let named: Vec<_> =
                    first.map(|left| format!("{} ({})", left.path.display(), left.reason)).collect();
                format!("{} files were left: {}", detection.unrecognised.len(), named.join(", "))
            };
            return Err(importers::ImportError::NothingRecognised { path: detection.root, hint }.into());
        }
        let plan_options = importers::Options {
            mapping: options.mapping.clone(),
            remembered: options.remembered(),
            experiment: options.experiment.clone(),
            project: None,
            limits,
        };
        let plan = importers::plan(&detection.sources, &plan_options)?;
        Ok((detection, plan))
    }

    /// Imports everything that is recognised at a path. Importing it again adds only what is new.
    ///
    /// # Errors
    /// When the path cannot be read, nothing is recognised, or the lake cannot be written. What one file has wrong is
    /// counted in the report and stops nothing else.
    pub async fn import(
        &self,
        path: &Path,
        options: ImportOptions,
        progress: impl FnMut(ImportProgress) + Send + 'static,
    ) -> Result<ImportReport> {
        let store = self.store()?.clone();
        let handle = Handle::current();
        let path = path.to_owned();
        let options = options.with_kept_mappings(&store).await?;
        // Reading files is blocking work; it must not hold up the threads that drive the network.
        let work =
            tokio::task::spawn_blocking(move || import(&path, &options, store, handle, Box::new(progress)));
        work.await.map_err(|_| Error::Cancelled)?
    }
}

/// Leaves tables in whose folder, or below it, a tracker logged runs: exports and summaries of the same data, such as the
/// CSV files beside the event files of a run.
pub(crate) fn leave_tables_beside_trackers(detection: &mut Detection) {
    let trackers: Vec<PathBuf> = detection
        .sources
        .iter()
        .filter(|source| !source.kind.is_table())
        .flat_map(|source| source.units.iter().map(|unit| unit.location.clone()))
        .collect();
    for source in detection.sources.iter_mut().filter(|source| source.kind.is_table()) {
        let (left, kept) = std::mem::take(&mut source.units).into_iter().partition(|unit| {
            unit.location
                .parent()
                .is_some_and(|folder| trackers.iter().any(|tracker| tracker.starts_with(folder)))
        });
        source.units = kept;
        let left: Vec<Unit> = left;
        detection.unrecognised.extend(left.into_iter().map(|unit| {
            let reason = format!(
                "a {} file beside the runs of a tracker; give its own path, or --tables, to import it",
                unit.kind
            );
            Unrecognised::left(unit.location, reason)
        }));
    }
    detection.sources.retain(|source| !source.units.is_empty());
}

fn import(
    path: &Path,
    options: &ImportOptions,
    store: Store,
    handle: Handle,
    progress: Box<dyn FnMut(ImportProgress) + Send>,
) -> Result<ImportReport> {
    let (detection, plan) = Lake::import_plan(path, options)?;
    import_planned(&detection, &plan, options, store, handle, progress)
}

/// Reads what was planned. Of files that are being written it is not remembered that they were imported.
pub(crate) fn import_planned(
    detection: &Detection,
    plan: &Plan,
    options: &ImportOptions,
    store: Store,
    handle: Handle,
    progress: Box<dyn FnMut(ImportProgress) + Send>,
) -> Result<ImportReport> {
    let bytes_total = detection.sources.iter().map(|source| source.bytes).sum();
    let (faulty, unrecognised): (Vec<_>, Vec<_>) =
        detection.unrecognised.iter().cloned().partition(|left| left.fault.is_some());
    let snapshot = store.snapshot();
    let catalog = snapshot.catalog();
    // Kept before the first row is read: an import that is killed goes on with the same mapping.
    let given = HashMap::from_iter(given_mappings(plan));
    let growing = plan.is_growing();
    // Files that are being written are looked at again and again: the import afterwards keeps what there is to keep.
    let to_keep = options.mapping.as_ref().filter(|_| !growing && !given.is_empty());
    if let Some(mapping) = to_keep {
        let kept = KeptMapping { path: detection.root.clone(), mapping: mapping.clone(), time: now_micros() };
        handle.block_on(mappings::keep(catalog, &kept))?;
    } else if options.guess && !growing {
        handle.block_on(mappings::forget(catalog, &detection.root))?;
    }
    let is_used = |kept: &&KeptMapping| given.keys().any(|unit: &PathBuf| unit.starts_with(&kept.path));
    let mappings_used = options.kept_mappings.iter().filter(is_used).map(|kept| kept.path.clone()).collect();
    // Only what the lake remembers can be left unread.
    let units = plan.sources.iter().flat_map(|source| &source.units);
    let remembered = units
        .map(|unit| (unit.kind.as_str().to_owned(), unit.location.to_string_lossy().into_owned()))
        .filter(|(kind, location)| snapshot.registry().import(kind, location).is_some())
        .collect();
    let find = KeptReceipts::find(catalog.clone(), &detection.root, remembered);
    let kept = handle.block_on(find)?;
    let mut sink = LakeSink {
        snapshot,
        store,
        handle,
        project: options.project.clone(),
        mappings: given,
        commands: Vec::new(),
        records: Vec::new(),
        on_its_way: None,
        points: Vec::new(),
        point_count: 0,
        known: HashMap::new(),
        params: HashMap::new(),
        hashes: HashMap::new(),
        growing,
        ended_runs: HashSet::new(),
        unit_runs: Vec::new(),
        is_current: false,
        kept,
        receipt: ReceiptWriter::new()?,
        receipt_head: new_receipt(&detection.root, now_micros()),
        receipt_pause: options.receipt_pause,
        receipt_due: Instant::now() + options.receipt_pause.unwrap_or(RECEIPT_PAUSE),
        report: ImportReport {
            root: detection.root.clone(),
            mappings_used,
            unrecognised,
            ..ImportReport::default()
        },
        progress,
        state: ImportProgress { bytes_done: 0, bytes_total, points: 0, unit: String::new() },
    };
    for Unrecognised { path, reason, fault } in faulty {
        let code = fault.unwrap_or("import.unreadable");
        let rejection =
            Rejection { file: path, place: importers::Place::File, code, message: reason, count: 1 };
        sink.note_rejection(rejection, None);
    }
    let summary = importers::import(plan, &mut sink)?;
    sink.report.remarks = summary.remarks;
    sink.write().map_err(importers::ImportError::from)?;
    if !sink.growing {
        sink.finish_receipt()?;
    }
    Ok(std::mem::take(&mut sink.report))
}

/// The tables of a plan that have a mapping, by location.
fn given_mappings(plan: &Plan) -> Vec<(PathBuf, String)> {
    let tables = plan.sources.iter().flat_map(|source| source.units.iter().zip(&source.tables));
    let given = tables.filter_map(|(unit, table)| {
        let mapping = table.as_ref().ok()?.as_ref()?.given.as_ref()?;
        let lines = mapping.lines().map(|lines| format!(" lines={lines:?}")).unwrap_or_default();
        Some((unit.location.clone(), format!("{mapping}{lines}")))
    });
    given.collect()
}

/// A receipt without anything in it yet.
fn new_receipt(root: &Path, time: i64) -> Receipt {
    let second = chrono::DateTime::from_timestamp_micros(time).unwrap_or_default();
    // Only to tell receipts of one second apart; whoever runs two imports at once has two lakes.
    let id = format!("{}-{:06}", second.format("%Y%m%d-%H%M%S"), time.rem_euclid(1_000_000));
    Receipt {
        receipt: receipt::FORMAT,
        id,
        created_by: concat!("runlake ", env!("CARGO_PKG_VERSION")).to_owned(),
        time,
        complete: false,
        root: root.to_string_lossy().into_owned(),
        runs: 0,
        series_count: 0,
        points: 0,
        new_points: 0,
        nan: 0,
        infinite: 0,
        steps: None,
        times: None,
        rejected: 0,
        rejected_by_code: BTreeMap::new(),
        rejections: Vec::new(),
        remarks: Vec::new(),
        left: Vec::new(),
        units: Vec::new(),
    }
}

/// Takes what the importers read into a store.
struct LakeSink {
    store: Store,
    handle: Handle,
    /// The lake before this import: its points are what "new" is measured against.
    snapshot: Snapshot,
    project: ProjectName,
    /// How columns are mapped by location: the same file with another mapping is another import.
    mappings: HashMap<PathBuf, String>,
    commands: Vec<Command>,
    /// What to remember of units that were read to their end.
    records: Vec<Command>,
    on_its_way: Option<JoinHandle<Result<(), SinkError>>>,
    points: Vec<SeriesPoints>,
    point_count: usize,
    /// Points that the lake held before of the series of this unit.
    known: HashMap<SeriesKey, KnownPoints>,
    /// Params of runs that this import has handed over.
    params: HashMap<RunId, BTreeMap<Key, ParamValue>>,
    /// Content hashes of the units being read, by location.
    hashes: HashMap<PathBuf, String>,
    /// Whether the files are being written: nothing is kept of what was read of them but their runs and points.
    growing: bool,
    /// Runs of the units that were read to their end.
    ended_runs: HashSet<RunId>,
    /// Runs of the unit being read.
    unit_runs: Vec<RunId>,
    /// Whether the snapshot holds everything that units before this one brought in.
    is_current: bool,
    kept: KeptReceipts,
    receipt: ReceiptWriter,
    /// What the receipt says beside its units and series.
    receipt_head: Receipt,
    /// How long it is between two of these.
    receipt_pause: Option<Duration>,
    /// When the receipt so far is kept next.
    receipt_due: Instant,
    report: ImportReport,
    progress: Box<dyn FnMut(ImportProgress) + Send>,
    state: ImportProgress,
}

impl Drop for LakeSink {
    /// An import that ends early leaves nothing on its way: the next one asks the lake what it holds.
    fn drop(&mut self) {
        if let Some(part) = self.on_its_way.take() {
            let _ = self.handle.block_on(part);
        }
    }
}

impl LakeSink {
    /// Writes what is gathered, and returns when it is on disk.
    fn write(&mut self) -> Result<(), SinkError> {
        self.hand_over()?;
        self.wait_until_written()
    }

    /// Hands what is gathered to the store, which writes it while more is read; one part is on its way at most. Commands
    /// come first, so that points find their runs; records of imports last, so that a unit counts as imported only when
    /// all of it is on disk.
    fn hand_over(&mut self) -> Result<(), SinkError> {
        self.wait_until_written()?;
        let commands = std::mem::take(&mut self.commands);
        let points = std::mem::take(&mut self.points);
        let records = std::mem::take(&mut self.records);
        self.point_count = 0;
        if commands.is_empty() && points.is_empty() && records.is_empty() {
            return Ok(());
        }
        let store = self.store.clone();
        self.on_its_way = Some(self.handle.spawn(async move {
            if !commands.is_empty() {
                store.apply(commands, None).await.map_err(SinkError::new)?;
            }
            if !points.is_empty() {
                let batch = PointBatch::new(points).map_err(SinkError::new)?;
                store.append(batch, None).await.map_err(SinkError::new)?;
            }
            if !records.is_empty() {
                store.apply(records, None).await.map_err(SinkError::new)?;
            }
            Ok(())
        }));
        Ok(())
    }

    fn wait_until_written(&mut self) -> Result<(), SinkError> {
        match self.on_its_way.take() {
            Some(part) => self.handle.block_on(part).map_err(SinkError::new)?,
            None => Ok(()),
        }
    }

    /// Counts a rejection, and keeps the first ones.
    fn note_rejection(&mut self, rejection: Rejection, unit: Option<u32>) {
        self.report.rejected += rejection.count;
        *self.report.rejected_by_code.entry(rejection.code).or_default() += rejection.count;
        if self.report.rejections.len() < REJECTIONS_KEPT {
            self.receipt_head.rejections.push(ReceiptRejection {
                unit,
                file: rejection.file.to_string_lossy().into_owned(),
                place: rejection.place.to_string(),
                code: rejection.code.to_owned(),
                message: rejection.message.clone(),
                count: rejection.count,
            });
            self.report.rejections.push(rejection);
        }
    }

    /// Keeps the receipt so far, when it is time.
    fn keep_receipt_when_due(&mut self) -> Result<(), SinkError> {
        let begun = Instant::now();
        if begun < self.receipt_due {
            return Ok(());
        }
        self.write()?;
        self.put_receipt(false).map_err(SinkError::new)?;
        let pause = self.receipt_pause.unwrap_or_else(|| RECEIPT_PAUSE.max(begun.elapsed() * 20));
        self.receipt_due = Instant::now() + pause;
        Ok(())
    }

    /// Keeps the receipt of an import that came to its end; that of an earlier one stands where nothing was read.
    fn finish_receipt(&mut self) -> Result<()> {
        if let Some(newest) = self.kept.newest.take().filter(|newest| newest.complete)
            && newest
                .rejections
                .iter()
                .filter(|rejection| rejection.unit.is_none())
                .eq(&self.receipt_head.rejections)
            && self.receipt.is_all_of(&newest)
        {
            (self.report.receipt, self.report.receipt_series) = (newest.id, newest.series_count);
            return Ok(());
        }
        self.put_receipt(true)?;
        for unfinished in &self.kept.unfinished {
            let removed = self.kept.catalog().remove_kept(KeptFiles::Receipts, unfinished);
            self.handle.block_on(removed).map_err(store::StoreError::from)?;
        }
        Ok(())
    }

    fn put_receipt(&mut self, complete: bool) -> Result<()> {
        let report = &self.report;
        let mut head = Receipt {
            complete,
            new_points: report.new_points,
            rejected: report.rejected + report.rejected_before,
            rejected_by_code: report
                .rejected_by_code
                .iter()
                .map(|(code, n)| ((*code).to_owned(), *n))
                .collect(),
            ..self.receipt_head.clone()
        };
        head.remarks.extend(report.remarks.iter().map(|remark| ReceiptRejection {
            unit: None,
            file: remark.file.to_string_lossy().into_owned(),
            place: remark.place.to_string(),
            code: remark.code.to_owned(),
            message: remark.message.clone(),
            count: remark.count,
        }));
        head.left.extend(report.unrecognised.iter().map(|left| ReceiptLeft {
            path: left.path.to_string_lossy().into_owned(),
            reason: left.reason.clone(),
        }));
        let mut carried: Vec<ReceiptContent> = Vec::new();
        for id in self.receipt.carried() {
            carried.push(self.handle.block_on(self.kept.read(id))?);
        }
        let snapshot = self.store.snapshot();
        let (head, file) = self.receipt.finish(head, &carried, &snapshot)?;
        let stored = snapshot.catalog().keep_file(KeptFiles::Receipts, &head.id, file);
        self.handle.block_on(stored).map_err(store::StoreError::from)?;
        (self.report.receipt, self.report.receipt_series) = (head.id, head.series_count);
        Ok(())
    }

    fn write_when_full(&mut self) -> Result<(), SinkError> {
        let full = self.point_count >= BATCH_POINTS
            || self.commands.len() + self.records.len() >= BATCH_COMMANDS
            || self.points.len() >= model::limits::BATCH_SERIES / 2;
        if full { self.hand_over() } else { Ok(()) }
    }

    /// Sets the params that are not set yet; one that has another value is rejected, as params are written once.
    fn set_params(&mut self, run: RunId, given: BTreeMap<Key, ParamValue>) -> Result<(), SinkError> {
        let before = self.snapshot.registry().run(run).map(|run| run.to_run().params);
        let present = self.params.entry(run).or_insert_with(|| before.unwrap_or_default());
        let mut new = Vec::new();
        let mut conflicts = Vec::new();
        for (key, value) in given {
            match present.get(&key) {
                None => {
                    present.insert(key.clone(), value.clone());
                    new.push((key, value));
                }
                Some(same) if *same == value => {}
                Some(other) => conflicts.push(format!(
                    "param {key:?} of run {run} is {other:?} in the lake and {value:?} here; params are written once"
                )),
            }
        }
        if !new.is_empty() {
            self.commands.push(Command::SetParams { run, params: new });
        }
        for message in conflicts {
            self.reject(Rejection {
                file: PathBuf::from(&self.state.unit),
                place: importers::Place::File,
                code: "param.conflict",
                message,
                count: 1,
            })?;
        }
        Ok(())
    }

    fn add_notes(&mut self, run: &ImportedRun, project: &ProjectName) {
        for dataset in &run.datasets {
            let text = format!(
                "dataset input: name {:?}, digest {:?}, source {} {:?}",
                dataset.name, dataset.digest, dataset.source_type, dataset.source
            );
            let there =
                self.snapshot.registry().notes().iter().any(|n| n.run == Some(run.id) && n.text == text);
            if !there {
                let time = run.start_time.unwrap_or_default();
                let project = project.clone();
                self.commands.push(Command::AddNote(Note {
                    project,
                    experiment: None,
                    run: Some(run.id),
                    text,
                    author: None,
                    time,
                }));
            }
        }
    }
}

impl Sink for LakeSink {
    fn begin(
        &mut self,
        unit: &Unit,
        content_hash: &mut dyn FnMut() -> importers::Result<String>,
    ) -> Result<Decision, SinkError> {
        if !self.growing {
            self.keep_receipt_when_due()?;
        }
        self.state.unit = unit.name.clone();
        (self.progress)(self.state.clone());
        let kind = self.report.kinds.entry(unit.kind.as_str()).or_default();
        if self.growing {
            self.receipt.begin(unit.kind.as_str(), &unit.location.to_string_lossy(), "");
            return Ok(Decision::Import);
        }
        let location = unit.location.to_string_lossy();
        // A file that cannot be hashed cannot be read either; the importer says so.
        let Ok(hash) = content_hash() else {
            self.receipt.begin(unit.kind.as_str(), &location, "");
            return Ok(Decision::Import);
        };
        let hash = match self.mappings.get(&unit.location) {
            Some(mapping) => format!("{hash} {mapping}"),
            None => hash,
        };
        let before = self.snapshot.registry().import(unit.kind.as_str(), &location);
        let covered = self.kept.covered(unit.kind.as_str(), &location);
        if let (Some(before), Some(covered)) = (before, covered)
            && before.content_hash == hash
            && covered.content_hash == hash
        {
            kind.unchanged += 1;
            self.report.rejected_before += before.rejected;
            self.receipt.carry(unit.kind.as_str(), &location, covered);
            return Ok(Decision::Skip);
        }
        self.receipt.begin(unit.kind.as_str(), &location, &hash);
        self.hashes.insert(unit.location.clone(), hash);
        Ok(Decision::Import)
    }

    fn run(&mut self, run: ImportedRun) -> Result<(), SinkError> {
        self.report.runs += 1;
        self.unit_runs.push(run.id);
        // What another file of the same run brought in counts as there: the points of a file are new or not whether the
        // import of both was one or two.
        if self.ended_runs.contains(&run.id) && !self.is_current {
            self.write()?;
            self.snapshot = self.store.snapshot();
            self.is_current = true;
        }
        let before = self.snapshot.registry().run(run.id).map(RunRow::to_run);
        // A run stays where it is when it comes again, also when the second import names another experiment.
        let (project, experiment) = match &before {
            Some(before) => (before.project.clone(), before.experiment.clone()),
            None => (run.project.clone().unwrap_or_else(|| self.project.clone()), run.experiment.clone()),
        };
        let again = before.is_some() || self.params.contains_key(&run.id);
        if again {
            self.commands.push(Command::UpdateRun(RunUpdate {
                status: Some(run.status),
                start_time: before
                    .as_ref()
                    .map_or(run.start_time, |before| before.start_time.or(run.start_time)),
                end_time: run.end_time,
                deleted: Some(run.deleted),
                ..RunUpdate::of(run.id)
            }));
        } else {
            self.report.new_runs += 1;
            self.commands.push(Command::CreateRun(NewRun {
                id: run.id,
                project: project.clone(),
                experiment,
                name: run.name.clone(),
                status: run.status,
                user: run.user.clone(),
                start_time: run.start_time,
                end_time: run.end_time,
                parent: run.parent,
                source: run.source.clone(),
                source_run_id: run.source_run_id.clone(),
                git_commit: run.git_commit.clone(),
                deleted: run.deleted,
                time: run.start_time.unwrap_or_else(now_micros),
            }));
        }
        self.add_notes(&run, &project);
        self.set_params(run.id, run.params)?;
        if !run.tags.is_empty() {
            self.commands.push(Command::SetTags { run: run.id, tags: run.tags.into_iter().collect() });
        }
        self.write_when_full()
    }

    fn points(
        &mut self,
        run: RunId,
        metric: &MetricName,
        context: Option<&Context>,
        points: PointColumns,
    ) -> Result<(), SinkError> {
        self.points_of_attempt(run, metric, context, 0, points)
    }

    fn points_of_attempt(
        &mut self,
        run: RunId,
        metric: &MetricName,
        context: Option<&Context>,
        attempt: u32,
        points: PointColumns,
    ) -> Result<(), SinkError> {
        self.state.points += points.len() as u64;
        let key = SeriesKey { run, metric: metric.clone(), context: context.cloned() };
        self.receipt.observe(&key, &points);
        if !self.known.contains_key(&key) {
            // What this unit itself brings in is not known before: a later snapshot must not be asked for it.
            let known = if self.snapshot.series_entry(&key).is_some() {
                let present =
                    self.handle.block_on(self.snapshot.series_points(&key)).map_err(SinkError::new)?;
                KnownPoints::new(&present)
            } else {
                KnownPoints::default()
            };
            self.known.insert(key.clone(), known);
        }
        let new = match self.known.get_mut(&key) {
            Some(known) => known.new_ones(points),
            None => points,
        };
        if new.is_empty() {
            return Ok(());
        }
        self.report.new_points += new.len() as u64;
        self.point_count += new.len();
        self.points.push(SeriesPoints {
            run,
            metric: metric.clone(),
            context: context.cloned(),
            attempt,
            points: new,
        });
        self.write_when_full()
    }

    fn facts(&mut self, run: RunId, facts: RunFacts) -> Result<(), SinkError> {
        let RunFacts { status, start_time, end_time, params, tags } = facts;
        if status.is_some() || start_time.is_some() || end_time.is_some() {
            let update = RunUpdate { status, start_time, end_time, ..RunUpdate::of(run) };
            self.commands.push(Command::UpdateRun(update));
        }
        self.set_params(run, params)?;
        if !tags.is_empty() {
            self.commands.push(Command::SetTags { run, tags: tags.into_iter().collect() });
        }
        self.write_when_full()
    }

    fn reject(&mut self, rejection: Rejection) -> Result<(), SinkError> {
        let unit = self.receipt.unit();
        self.note_rejection(rejection, unit);
        Ok(())
    }

    fn progress(&mut self, bytes_done: u64) {
        self.state.bytes_done += bytes_done;
        (self.progress)(self.state.clone());
    }

    fn fallback_time(&mut self, run: RunId, modified: i64) -> i64 {
        self.snapshot.registry().run(run).and_then(RunRow::start_time).unwrap_or(modified)
    }

    fn end(&mut self, unit: &Unit, outcome: &UnitOutcome) -> Result<(), SinkError> {
        let report = &mut self.report;
        let kind = report.kinds.entry(unit.kind.as_str()).or_default();
        kind.units += 1;
        kind.points += outcome.points;
        report.series += outcome.series;
        report.points += outcome.points;
        report.nan += outcome.nan;
        report.infinite += outcome.infinite;
        for (range, of_unit) in [(&mut report.steps, outcome.steps), (&mut report.times, outcome.times)] {
            *range = match (*range, of_unit) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            };
        }
        self.known.clear();
        // The snapshot that is taken when one of its runs comes again knows its params and points.
        self.params.clear();
        self.is_current = false;
        self.ended_runs.extend(self.unit_runs.drain(..));
        self.receipt.end(outcome.runs, outcome.rejected).map_err(SinkError::new)?;
        if let Some(content_hash) = self.hashes.remove(&unit.location) {
            self.records.push(Command::RecordImport(ImportRecord {
                kind: unit.kind.as_str().to_owned(),
                location: unit.location.to_string_lossy().into_owned(),
                content_hash,
                points: outcome.points,
                rejected: outcome.rejected,
                time: now_micros(),
            }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::ReceiptSource;

    /// Imports and dies before unit number `at`, as a process that is killed there.
    async fn import_until(lake: &Lake, logs: &Path, at: usize) {
        let mut begun = HashSet::new();
        let options = ImportOptions { receipt_pause: Some(Duration::ZERO), ..ImportOptions::default() };
        let outcome = lake.import(logs, options, move |progress| {
            begun.insert(progress.unit);
            assert!(begun.len() <= at, "the import ends here");
        });
        outcome.await.unwrap_err();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_import_goes_on_from_the_receipt_of_one_that_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        for file in 0..6 {
            std::fs::write(logs.join(format!("{file}.csv")), "step,loss\n0,1\n0,1\n1,nan\n").unwrap();
        }
        let lake = Lake::open(folder.path().join("lake").to_str().unwrap()).await.unwrap();
        // The receipt that is kept before the third file tells of two, the one before the fifth of four.
        for (at, told) in [(2, 2), (4, 4)] {
            import_until(&lake, &logs, at).await;
            let kept = lake.receipts().await.unwrap();
            let newest = kept.last().unwrap();
            assert_eq!((newest.complete, newest.units.len()), (false, told));
        }
        let report = lake.import(&logs, ImportOptions::default(), |_| {}).await.unwrap();
        let csv = &report.kinds["csv"];
        assert_eq!((csv.unchanged, csv.units), (4, 2));
        let kept = lake.receipts().await.unwrap();
        let [receipt] = kept.as_slice() else { panic!("{kept:?}") };
        assert_eq!((receipt.complete, receipt.points, receipt.nan, receipt.units.len()), (true, 18, 6, 6));
        assert_eq!(receipt.id, report.receipt);
        let content = lake.receipt(&ReceiptSource::Id(report.receipt)).await.unwrap();
        let check = lake.verify_receipt(&content).await.unwrap();
        assert_eq!((check.is_equal(), check.series, check.points), (true, 6, 18));
        lake.close().await;
    }
}
