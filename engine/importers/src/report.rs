//! What every importer writes into: it buffers series, counts, and hands on to the caller's sink.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use model::{
    Context, ExperimentName, Key, MetricName, ParamValue, Point, PointColumns, ProjectName, RunId, RunStatus,
    SeriesKey, TagValue,
};

use crate::error::{ImportError, Result};
use crate::files::ByteCount;
use crate::limits::Limits;
use crate::sink::{ImportedRun, Place, Rejection, RunFacts, Sink, TimeSource, UnitOutcome};
use crate::source::{SourceKind, Unit};

/// Something that was taken, but not exactly as it stood there, or knowingly left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// A stable code, such as `row.ragged` or `ignored.images`.
    pub code: &'static str,
    /// What it is, in words.
    pub message: String,
    /// The file in which it occurred first.
    pub file: PathBuf,
    /// The first place.
    pub place: Place,
    /// How often.
    pub count: u64,
}

/// What the options say about all runs of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Belonging {
    pub(crate) project: Option<ProjectName>,
    /// The experiment that the user asks for.
    pub(crate) experiment: Option<ExperimentName>,
    /// The experiment where neither the user nor the source names one.
    pub(crate) fallback_experiment: ExperimentName,
}

/// The receiving side of one unit.
pub(crate) struct Reporter<'a> {
    sink: &'a mut dyn Sink,
    pub(crate) limits: &'a Limits,
    pub(crate) belonging: &'a Belonging,
    unit: &'a Unit,
    pub(crate) bytes: ByteCount,
    pub(crate) outcome: UnitOutcome,
    rejected: IndexMap<(PathBuf, &'static str), u64>,
    remarks: IndexMap<(&'static str, String), Remark>,
    series: Vec<Series>,
    buffered: usize,
}

struct Series {
    run: RunId,
    metric: MetricName,
    context: Option<Context>,
    points: PointColumns,
    handed_on: bool,
}

/// The place of a series in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeriesIndex(usize);

impl<'a> Reporter<'a> {
    pub(crate) fn new(
        sink: &'a mut dyn Sink,
        limits: &'a Limits,
        belonging: &'a Belonging,
        unit: &'a Unit,
    ) -> Self {
        Self {
            sink,
            limits,
            belonging,
            unit,
            bytes: ByteCount::default(),
            outcome: UnitOutcome::default(),
            rejected: IndexMap::new(),
            remarks: IndexMap::new(),
            series: Vec::new(),
            buffered: 0,
        }
    }

    /// A run with nothing but an identity.
    pub(crate) fn blank_run(&self, kind: SourceKind, source_run_id: String, name: &str) -> ImportedRun {
        ImportedRun {
            id: RunId::imported(kind.as_str(), &source_run_id),
            name: shortened(name, model::limits::NAME_CHARACTERS),
            project: self.belonging.project.clone(),
            experiment: self
                .belonging
                .experiment
                .clone()
                .unwrap_or_else(|| self.belonging.fallback_experiment.clone()),
            status: RunStatus::Finished,
            user: None,
            start_time: None,
            end_time: None,
            parent: None,
            source: Some(kind.as_str().to_owned()),
            source_run_id: Some(source_run_id),
            git_commit: None,
            deleted: false,
            params: BTreeMap::new(),
            tags: BTreeMap::new(),
            datasets: Vec::new(),
            time_source: TimeSource::Recorded,
        }
    }

    /// Puts a run into the experiment that its source names, unless the user asked for another.
    pub(crate) fn put_into_experiment(
        &mut self,
        run: &mut ImportedRun,
        file: &Path,
        name: &str,
    ) -> Result<()> {
        if self.belonging.experiment.is_some() {
            return Ok(());
        }
        match ExperimentName::new(name) {
            Ok(name) => run.experiment = name,
            Err(error) => self.reject(file, Place::File, "experiment.refused", || error.to_string())?,
        }
        Ok(())
    }

    /// Puts a run into the project that its source names, unless the user asked for another. Other tools allow more
    /// characters in such a name: the runs of one that cannot be a name here stay where the user puts them.
    pub(crate) fn put_into_project(&mut self, run: &mut ImportedRun, file: &Path, name: &str) {
        if self.belonging.project.is_some() {
            return;
        }
        match ProjectName::new(name) {
            Ok(name) => run.project = Some(name),
            Err(error) => self.remark(file, Place::File, "project.refused", name, 1, || error.to_string()),
        }
    }

    pub(crate) fn fallback_time(&mut self, run: RunId, modified: i64) -> i64 {
        self.sink.fallback_time(run, modified)
    }

    pub(crate) fn run(&mut self, run: ImportedRun) -> Result<()> {
        self.outcome.runs = self.outcome.runs.saturating_add(1);
        Ok(self.sink.run(run)?)
    }

    pub(crate) fn facts(&mut self, run: RunId, facts: RunFacts) -> Result<()> {
        if facts.is_empty() {
            return Ok(());
        }
        self.flush()?;
        Ok(self.sink.facts(run, facts)?)
    }

    /// A param, or a rejection when key or value is over its limit.
    pub(crate) fn param(
        &mut self,
        params: &mut BTreeMap<Key, ParamValue>,
        file: &Path,
        key: &str,
        value: &str,
    ) -> Result<()> {
        match (Key::new(key), ParamValue::new(value)) {
            (Ok(key), Ok(value)) => {
                params.insert(key, value);
                Ok(())
            }
            (Err(error), _) | (_, Err(error)) => {
                self.reject(file, Place::File, "param.refused", || error.to_string())
            }
        }
    }

    /// A tag, or a rejection when key or value is over its limit.
    pub(crate) fn tag(
        &mut self,
        tags: &mut BTreeMap<Key, TagValue>,
        file: &Path,
        key: &str,
        value: &str,
    ) -> Result<()> {
        match (Key::new(key), TagValue::new(value)) {
            (Ok(key), Ok(value)) => {
                tags.insert(key, value);
                Ok(())
            }
            (Err(error), _) | (_, Err(error)) => {
                self.reject(file, Place::File, "tag.refused", || error.to_string())
            }
        }
    }

    /// Opens a series.
    pub(crate) fn series(
        &mut self,
        file: &Path,
        run: RunId,
        metric: MetricName,
        context: Option<Context>,
    ) -> Result<SeriesIndex> {
        if self.series.len() >= self.limits.series {
            return Err(ImportError::TooLarge {
                path: file.to_owned(),
                what: "the number of series",
                actual: self.series.len() as u64 + 1,
                limit: self.limits.series as u64,
            });
        }
        self.series.push(Series { run, metric, context, points: PointColumns::default(), handed_on: false });
        Ok(SeriesIndex(self.series.len() - 1))
    }

    pub(crate) fn point(&mut self, series: SeriesIndex, point: Point) -> Result<()> {
        let Some(series) = self.series.get_mut(series.0) else { return Ok(()) };
        series.points.push(point);
        self.outcome.count(&point);
        self.buffered += 1;
        if self.buffered >= self.limits.buffered_points { self.flush() } else { Ok(()) }
    }

    /// Hands on all buffered points.
    pub(crate) fn flush(&mut self) -> Result<()> {
        for series in &mut self.series {
            if series.points.is_empty() {
                continue;
            }
            if !series.handed_on {
                series.handed_on = true;
                self.outcome.series = self.outcome.series.saturating_add(1);
            }
            let points = std::mem::take(&mut series.points);
            self.sink.points(series.run, &series.metric, series.context.as_ref(), points)?;
        }
        self.buffered = 0;
        self.progress();
        Ok(())
    }

    /// Hands on points of one series past the buffer, for sources that have them by series; `is_new` for the first of
    /// a series.
    pub(crate) fn hand_on(
        &mut self,
        key: &SeriesKey,
        attempt: u32,
        points: PointColumns,
        is_new: bool,
    ) -> Result<()> {
        for point in points.iter() {
            self.outcome.count(&point);
        }
        self.outcome.series = self.outcome.series.saturating_add(u64::from(is_new));
        self.sink.points_of_attempt(key.run, &key.metric, key.context.as_ref(), attempt, points)?;
        self.progress();
        Ok(())
    }

    /// Forgets the series that were opened, after handing on their points.
    pub(crate) fn close_series(&mut self) -> Result<()> {
        self.flush()?;
        self.series.clear();
        Ok(())
    }

    pub(crate) fn progress(&mut self) {
        let bytes = self.bytes.take();
        if bytes > 0 {
            self.outcome.bytes = self.outcome.bytes.saturating_add(bytes);
            self.sink.progress(bytes);
        }
    }

    /// Counts a rejection; the first ones of each file and code are handed on with their place. Of a file that is being
    /// written, a last record that is not whole is none.
    pub(crate) fn reject(
        &mut self,
        file: &Path,
        place: Place,
        code: &'static str,
        message: impl FnOnce() -> String,
    ) -> Result<()> {
        if self.limits.growing && matches!(code, "record.truncated" | "file.empty") {
            return Ok(());
        }
        self.outcome.rejected = self.outcome.rejected.saturating_add(1);
        // The usual case finds the entry of the last rejection again.
        let count = match self.rejected.last_mut().filter(|((f, c), _)| f == file && *c == code) {
            Some((_, count)) => count,
            None => self.rejected.entry((file.to_owned(), code)).or_insert(0),
        };
        *count = count.saturating_add(1);
        if *count <= self.limits.rejections_shown {
            let message = shortened(&self.unit.shown_text(message()), 1_000);
            self.sink.reject(Rejection { file: self.unit.shown(file), place, code, message, count: 1 })?;
        }
        Ok(())
    }

    /// Counts something that is told at the end only, with its first place.
    pub(crate) fn remark(
        &mut self,
        file: &Path,
        place: Place,
        code: &'static str,
        subject: &str,
        count: u64,
        message: impl FnOnce() -> String,
    ) {
        if let Some(remark) = self.remarks.get_mut(&(code, subject.to_owned())) {
            remark.count = remark.count.saturating_add(count);
        } else if self.remarks.len() < 1_000 {
            let remark = Remark {
                code,
                message: shortened(&self.unit.shown_text(message()), 1_000),
                file: self.unit.shown(file),
                place,
                count,
            };
            self.remarks.insert((code, subject.to_owned()), remark);
        }
    }

    /// Hands on what is left, and the counts of rejections that were not told one by one.
    pub(crate) fn finish(mut self) -> Result<(UnitOutcome, Vec<Remark>)> {
        self.flush()?;
        for ((file, code), count) in std::mem::take(&mut self.rejected) {
            let more = count.saturating_sub(self.limits.rejections_shown);
            if more > 0 {
                let message = format!("{more} more rejections of this kind");
                let file = self.unit.shown(&file);
                self.sink.reject(Rejection { file, place: Place::File, code, message, count: more })?;
            }
        }
        Ok((self.outcome, self.remarks.into_values().collect()))
    }
}

impl UnitOutcome {
    fn count(&mut self, point: &Point) {
        self.points = self.points.saturating_add(1);
        self.nan = self.nan.saturating_add(u64::from(point.value.is_nan()));
        self.infinite = self.infinite.saturating_add(u64::from(point.value.is_infinite()));
        widen(&mut self.steps, (point.step, point.step));
        widen(&mut self.times, (point.time, point.time));
    }

    /// Adds another outcome to this one.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { runs, series, points, nan, infinite, steps, times, rejected, bytes } = other;
        for (sum, part) in [
            (&mut self.runs, runs),
            (&mut self.series, series),
            (&mut self.points, points),
            (&mut self.nan, nan),
            (&mut self.infinite, infinite),
            (&mut self.rejected, rejected),
            (&mut self.bytes, bytes),
        ] {
            *sum = sum.saturating_add(*part);
        }
        for (sum, part) in [(&mut self.steps, steps), (&mut self.times, times)] {
            if let Some(part) = part {
                widen(sum, *part);
            }
        }
    }
}

fn widen(range: &mut Option<(i64, i64)>, (low, high): (i64, i64)) {
    *range = Some(range.map_or((low, high), |(l, h)| (l.min(low), h.max(high))));
}

/// At most so many characters of a text, and no control characters.
pub(crate) fn shortened(text: &str, characters: usize) -> String {
    text.chars().take(characters).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
