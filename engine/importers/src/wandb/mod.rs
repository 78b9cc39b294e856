//! Weights & Biases: the `.wandb` files of offline and online runs, which alone are complete.
//!
//! Points keep their `_step`; the x-axes that `define_metric` names are metrics themselves, and which metric has which
//! axis stands in tags `wandb.define_metric.*`. System metrics come as `system/*`. Directories of one run id are one run
//! that was resumed. A project is a project and an experiment.

mod export;
pub mod log;
mod nested;
pub mod record;

pub(crate) use self::export::WandbHistory;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::{Key, Point, RunId, RunStatus, TagValue};
use prost::Message;

use self::log::{HEADER, Records};
use self::nested::{Nested, key_of};
use self::record::{Exit, History, Metric, Record, Run, Stats};
use crate::error::{ImportError, Result};
use crate::files;
use crate::json;
use crate::number::Step;
use crate::report::Reporter;
use crate::series::SeriesByName;
use crate::sink::{Place, RunFacts};
use crate::source::{
    Candidate, Claim, ClaimedFile, Folder, Found, FoundUnit, Search, Source, SourceKind, Unit,
};
use crate::table::TablePlan;
use crate::time::micros_from_seconds;

/// The source.
pub(crate) struct Wandb;

impl Source for Wandb {
    fn kind(&self) -> SourceKind {
        SourceKind::Wandb
    }

    /// The folder of a run: what else is in it are logs and files that the run uploaded.
    fn folder(&self, folder: &Folder<'_>, _: &Search<'_>) -> Option<Found> {
        let is_log = |name: &&String| name.starts_with("run-") && name.ends_with(".wandb");
        let files: Vec<ClaimedFile> = folder
            .files
            .iter()
            .filter(is_log)
            .map(|name| {
                let path = folder.path.join(name);
                let size = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
                ClaimedFile { path, size }
            })
            .collect();
        let named = folder.path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with("run-") || name.starts_with("offline-run-")
        });
        (named && !files.is_empty()).then(|| Found { files, ..Found::default() })
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        if file.beginning.starts_with(&HEADER) || file.name.ends_with(".wandb") {
            Claim::Read
        } else {
            Claim::No
        }
    }

    /// Files of one run id in directories side by side are one run, in the order in which the directories were made.
    fn group(&self, mut files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        files.sort_by_cached_key(|file| made(&file.path));
        let mut runs: BTreeMap<PathBuf, FoundUnit> = BTreeMap::new();
        for ClaimedFile { path, size } in files {
            let folder = path.parent().unwrap_or(Path::new("/"));
            let home =
                if run_folder_name(folder).is_some() { folder.parent().unwrap_or(folder) } else { folder };
            let location = home.join(format!("run-{}", run_id(&path)));
            let run = runs.entry(location.clone()).or_insert_with(|| FoundUnit {
                store: search.root.to_owned(),
                unit: Unit::new(self.kind(), location, search.folder_name(folder), Vec::new()),
                bytes: 0,
            });
            run.unit.files.push(path);
            run.bytes = run.bytes.saturating_add(size);
        }
        runs.into_values().collect::<Vec<_>>().into()
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        let mut reading: Option<Reading> = None;
        for file in &unit.files {
            match read_file(unit, file, &mut reading, reporter) {
                Err(error @ ImportError::Sink(_)) => return Err(error),
                Err(error) => reporter.reject(file, Place::File, error.code(), || error.to_string())?,
                Ok(()) => {}
            }
        }
        match reading {
            Some(reading) => reading.finish(reporter),
            None => Ok(()),
        }
    }
}

/// The part of a run folder's name behind `run-`, which begins with the time at which it was made.
fn run_folder_name(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_string_lossy();
    let rest = name.strip_prefix("offline-run-").or_else(|| name.strip_prefix("run-"))?;
    Some(rest.to_owned())
}

fn made(file: &Path) -> (String, PathBuf) {
    (file.parent().and_then(run_folder_name).unwrap_or_default(), file.to_owned())
}

/// The id that the name of a file tells: `run-<id>.wandb`.
fn run_id(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem.strip_prefix("run-").unwrap_or(&stem).to_owned()
}

fn read_file(
    unit: &Unit,
    file: &Path,
    reading: &mut Option<Reading>,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let unpacked = files::open_unpacked(file, reporter.limits, &reporter.bytes.clone())?;
    let source = std::io::BufReader::with_capacity(1 << 17, unpacked.reader);
    let fault = match Records::new(source, reporter.limits.record_bytes) {
        Err(fault) => fault,
        Ok(mut records) => loop {
            let (offset, bytes) = match records.next() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(()),
                Err(fault) => break fault,
            };
            let place = Place::Offset(offset);
            match Record::decode(Bytes::from(bytes)) {
                Ok(record) => take(unit, file, place, record, reading, reporter)?,
                Err(error) => reporter.reject(file, place, "record.malformed", || error.to_string())?,
            }
        },
    };
    reporter.reject(file, Place::Offset(fault.offset), fault.code, || {
        format!("{}; the file is not read further", fault.message)
    })
}

/// Takes one record.
fn take(
    unit: &Unit,
    file: &Path,
    place: Place,
    record: Record,
    slot: &mut Option<Reading>,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let Record { history, summary, config, stats, artifact, alert, metric, output, run, exit, preempting } =
        record;
    if let Some(run) = run {
        begin(unit, file, place, run, slot, reporter)?;
    }
    for (ignored, what) in [(artifact, "artifacts"), (alert, "alerts"), (output, "lines of console output")] {
        if ignored.is_some() {
            reporter.remark(file, place, "ignored.records", what, 1, || format!("{what} are not imported"));
        }
    }
    if history.is_none()
        && summary.is_none()
        && config.is_none()
        && stats.is_none()
        && metric.is_none()
        && exit.is_none()
        && preempting.is_none()
    {
        return Ok(());
    }
    if slot.is_none() {
        // The record that names the run is missing: the file's name has the id.
        begin(unit, file, place, Run { run_id: run_id(file), ..Run::default() }, slot, reporter)?;
    }
    let Some(reading) = slot else { return Ok(()) };
    let depth = reporter.limits.depth;
    let mut faults = Vec::new();
    let mut fault = |reason| faults.push(reason);
    if let Some(changes) = config {
        reading.config.change(&changes, depth, &mut fault);
    }
    if let Some(changes) = summary {
        reading.summary.change(&changes, depth, &mut fault);
    }
    for reason in faults {
        reporter.reject(file, place, "value.malformed", || reason)?;
    }
    if let Some(metric) = metric {
        reading.define(file, &metric, reporter)?;
    }
    if let Some(history) = history {
        reading.history(file, place, &history, reporter)?;
    }
    if let Some(stats) = stats {
        reading.stats(file, place, &stats, reporter)?;
    }
    reading.preempting |= preempting.is_some();
    reading.exit = exit.or(reading.exit);
    Ok(())
}

/// Takes the record that describes a run. It comes again for each directory of a resumed run, and when the client changes
/// something; what it says last counts.
fn begin(
    unit: &Unit,
    file: &Path,
    place: Place,
    run: Run,
    slot: &mut Option<Reading>,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let project = if run.project.is_empty() { "uncategorized" } else { run.project.as_str() };
    let identity = format!("{project}/{}", run.run_id);
    if slot.as_ref().is_none_or(|reading| reading.identity != identity) {
        if let Some(before) = slot.take() {
            before.finish(reporter)?;
            reporter.close_series()?;
        }
        let name = if run.display_name.is_empty() { &run.run_id } else { &run.display_name };
        let mut imported = reporter.blank_run(unit.kind, identity.clone(), name);
        reporter.put_into_project(&mut imported, file, project);
        reporter.put_into_experiment(&mut imported, file, project)?;
        imported.status = RunStatus::Running;
        imported.start_time = run.start_time.and_then(|time| time.micros());
        imported.git_commit =
            run.git.as_ref().map(|git| git.commit.clone()).filter(|commit| !commit.is_empty());
        let id = imported.id;
        let start = imported.start_time;
        reporter.run(imported)?;
        *slot = Some(Reading::new(id, identity, start));
    }
    let Some(reading) = slot else { return Ok(()) };
    // A run that goes on is no longer one that has ended.
    reading.exit = None;
    reading.preempting = false;
    let mut faults = Vec::new();
    let depth = reporter.limits.depth;
    for (changes, values) in [(&run.config, &mut reading.config), (&run.summary, &mut reading.summary)] {
        if let Some(changes) = changes {
            values.change(changes, depth, &mut |reason| faults.push(reason));
        }
    }
    for reason in faults {
        reporter.reject(file, place, "value.malformed", || reason)?;
    }
    let labels = serde_json::Value::from(run.tags).to_string();
    let git = run.git.unwrap_or_default();
    for (key, value) in [
        ("wandb.run_id", run.run_id),
        ("wandb.entity", run.entity),
        ("wandb.group", run.run_group),
        ("wandb.job_type", run.job_type),
        ("wandb.notes", run.notes),
        ("wandb.tags", if labels == "[]" { String::new() } else { labels }),
        ("wandb.sweep", run.sweep_id),
        ("wandb.host", run.host),
        ("wandb.git.remote", git.remote_url),
    ] {
        if !value.is_empty() {
            reporter.tag(&mut reading.tags, file, key, &shortened_text(&value))?;
        }
    }
    reading.file = file.to_owned();
    Ok(())
}

/// At most as many characters as a tag holds, with its line breaks.
fn shortened_text(text: &str) -> String {
    text.chars().take(model::limits::TAG_VALUE_CHARACTERS).collect()
}

/// A run that is being read.
struct Reading {
    id: RunId,
    /// Project and run id.
    identity: String,
    /// The file that was read last.
    file: PathBuf,
    config: Nested,
    summary: Nested,
    tags: BTreeMap<Key, TagValue>,
    series: SeriesByName,
    start: Option<i64>,
    last_time: Option<i64>,
    rows: i64,
    measurements: i64,
    exit: Option<Exit>,
    preempting: bool,
}

impl Reading {
    fn new(id: RunId, identity: String, start: Option<i64>) -> Self {
        Self {
            id,
            identity,
            file: PathBuf::new(),
            config: Nested::default(),
            summary: Nested::default(),
            tags: BTreeMap::new(),
            series: SeriesByName::of(id),
            start,
            last_time: None,
            rows: 0,
            measurements: 0,
            exit: None,
            preempting: false,
        }
    }

    /// Keeps what `define_metric` said.
    fn define(&mut self, file: &Path, metric: &Metric, reporter: &mut Reporter<'_>) -> Result<()> {
        let name = if metric.name.is_empty() { &metric.glob_name } else { &metric.name };
        let mut said = serde_json::Map::new();
        if !metric.step_metric.is_empty() {
            said.insert("step_metric".to_owned(), metric.step_metric.clone().into());
        }
        if let Some(summary) = metric.summary {
            let kept = [
                (summary.min, "min"),
                (summary.max, "max"),
                (summary.mean, "mean"),
                (summary.best, "best"),
                (summary.last, "last"),
                (summary.none, "none"),
            ];
            let kept: Vec<&str> = kept.into_iter().filter_map(|(kept, word)| kept.then_some(word)).collect();
            said.insert("summary".to_owned(), kept.into());
        }
        match metric.goal {
            1 => drop(said.insert("goal".to_owned(), "minimize".into())),
            2 => drop(said.insert("goal".to_owned(), "maximize".into())),
            _ => {}
        }
        let key = format!("wandb.define_metric.{name}");
        reporter.tag(&mut self.tags, file, &key, &serde_json::Value::Object(said).to_string())
    }

    /// Takes a row of values.
    fn history(
        &mut self,
        file: &Path,
        place: Place,
        history: &History,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let own = |key: &str| {
            let item = history.item.iter().find(|item| item.key == key || item.nested_key == [key])?;
            json::parse(&item.value_json).ok().as_ref().and_then(json::number)
        };
        let step = match history.step {
            Some(step) => Step::whole(step.num),
            None => own("_step").and_then(Step::from_f64).unwrap_or(Step::whole(self.rows)),
        };
        self.rows = self.rows.saturating_add(1);
        let recorded = own("_timestamp").and_then(micros_from_seconds);
        let Some(time) = recorded.or(self.last_time).or(self.start) else {
            return reporter.reject(file, place, "time.missing", || "the row has no time".to_owned());
        };
        if recorded.is_none() {
            reporter.remark(file, place, "time.missing", "", 1, || {
                "rows without a time get the time of the row before".to_owned()
            });
        }
        self.last_time = self.last_time.max(Some(time));
        let point = Point { step: step.whole, step_fraction: step.fraction, time, value: 0.0 };
        for item in &history.item {
            let key = key_of(item);
            if matches!(key.as_ref(), "_step" | "_timestamp" | "_runtime") {
                continue;
            }
            self.value(file, place, (key, &item.value_json), point, reporter)?;
        }
        Ok(())
    }

    /// Takes system metrics. They have a time and no step: the step is their number.
    fn stats(&mut self, file: &Path, place: Place, stats: &Stats, reporter: &mut Reporter<'_>) -> Result<()> {
        let time = stats.timestamp.and_then(|time| time.micros());
        let Some(time) = time.or(self.last_time).or(self.start) else {
            return reporter.reject(file, place, "time.missing", || "the measurement has no time".to_owned());
        };
        let point = Point { step: self.measurements, step_fraction: None, time, value: 0.0 };
        self.measurements = self.measurements.saturating_add(1);
        for item in &stats.item {
            let key = key_of(item);
            let name = key.strip_prefix("system.").unwrap_or(&key);
            self.value(file, place, (format!("system/{name}").into(), &item.value_json), point, reporter)?;
        }
        Ok(())
    }

    /// Takes a value: a number is a point, an object is one for each number in it, anything else is told.
    fn value(
        &mut self,
        file: &Path,
        place: Place,
        (key, text): (Cow<'_, str>, &[u8]),
        point: Point,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let value = match json::parse(text) {
            Ok(value) => value,
            Err(reason) => {
                return reporter.reject(file, place, "value.malformed", || format!("{key:?}: {reason}"));
            }
        };
        if let Some(value) = json::number(&value) {
            return self.series.point(reporter, file, place, &key, Point { value, ..point });
        }
        let mut key = key.into_owned();
        let mut numbers = Vec::new();
        let mut others = Vec::new();
        let flat =
            json::sort_numbers(
                &value,
                &mut key,
                '.',
                reporter.limits.depth,
                &mut |path, number| match number {
                    Some(number) => numbers.push((path.to_owned(), number)),
                    None => others.push(path.to_owned()),
                },
            );
        if let Err(path) = flat {
            reporter.reject(file, place, "json.too_deep", || format!("{path:?} is nested too deep"))?;
        }
        for (key, value) in numbers {
            self.series.point(reporter, file, place, &key, Point { value, ..point })?;
        }
        for key in others {
            reporter.remark(file, place, "ignored.not_a_number", &key, 1, || {
                format!("values of {key:?} that are no numbers are not imported")
            });
        }
        Ok(())
    }

    /// Hands on what is known of the run at its end.
    fn finish(self, reporter: &mut Reporter<'_>) -> Result<()> {
        let mut facts = RunFacts { tags: self.tags, ..RunFacts::default() };
        facts.status = Some(match self.exit {
            // Without an end it may still run, or was killed: the file does not say.
            None => RunStatus::Running,
            Some(Exit { exit_code: 0, .. }) => RunStatus::Finished,
            Some(_) if self.preempting => RunStatus::Killed,
            Some(_) => RunStatus::Failed,
        });
        if let Some(exit) = self.exit {
            let ran = self.start.and_then(|start| start.checked_add(i64::from(exit.runtime) * 1_000_000));
            facts.end_time = self.last_time.max(ran);
            reporter.tag(&mut facts.tags, &self.file, "wandb.exit_code", &exit.exit_code.to_string())?;
        }
        for (key, value) in self.config.values() {
            reporter.param(&mut facts.params, &self.file, key, value)?;
        }
        for (key, value) in self.summary.values() {
            reporter.tag(&mut facts.tags, &self.file, &format!("wandb.summary.{key}"), value)?;
        }
        reporter.facts(self.id, facts)
    }
}
