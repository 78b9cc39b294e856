//! Export: chosen runs of one snapshot, read and encoded in parallel, written in order.
//!
//! Series are taken in chunks of a bounded number of points, so that what is held in memory is a few chunks, whatever the
//! size of the lake; a series of more points than that is a chunk by itself.

use std::collections::VecDeque;
use std::path::Path;

use exporters::{Compression, Export, ExportForm, ExportedSeries, Manifest, Part};
use futures::{StreamExt, TryStreamExt, stream};
use model::{RunId, SeriesKey};
use store::{RunRow, Snapshot};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::metric_glob::MetricGlob;
use crate::selector::Selector;

/// Points of a chunk, unless one series has more.
const CHUNK_POINTS: u64 = 1 << 18;
/// Series of a chunk.
const CHUNK_SERIES: usize = 1 << 12;
/// Chunks that are read and encoded at once, at most.
const MOST_AT_ONCE: usize = 8;

/// What is exported, and how.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// Which runs; all that are not deleted where not given.
    pub runs: Option<Selector>,
    /// Which metrics; all where not given.
    pub metrics: Option<MetricGlob>,
    /// The form.
    pub form: ExportForm,
    /// How CSV and JSON lines are packed.
    pub compression: Compression,
    /// Whether an export that stands at the target is replaced.
    pub overwrite: bool,
}

impl ExportOptions {
    /// All runs in a form, at a place where nothing stands.
    pub fn new(form: ExportForm) -> Self {
        Self { runs: None, metrics: None, form, compression: Compression::None, overwrite: false }
    }
}

/// How far an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportProgress {
    /// Points that were written, or counted as left out.
    pub points_done: u64,
    /// Points that were chosen.
    pub points_total: u64,
}

/// What came of an export.
#[derive(Debug, Clone)]
pub struct ExportReport {
    /// What stands in the export, with what its form could not hold.
    pub manifest: Manifest,
    /// Points that were chosen; more than those of the manifest where the form could not hold all.
    pub points_chosen: u64,
    /// Notes and decisions about the exported runs and their experiments, which no export holds.
    pub notes: usize,
}

impl Lake {
    /// Writes runs with their points into a new folder, in a form that [`Lake::import`] takes back and other tools read.
    /// `None` when no run is chosen; then nothing is written.
    ///
    /// The export is one moment of the lake. It stands at `target` only when it is whole.
    ///
    /// # Errors
    /// When the selector is wrong, something stands at the target, the lake cannot be read or the target not written.
    pub async fn export(
        &self,
        target: &Path,
        options: ExportOptions,
        progress: impl FnMut(ExportProgress) + Send + 'static,
    ) -> Result<Option<ExportReport>> {
        let snapshot = self.snapshot().await?;
        let runs: Vec<RunId> = match &options.runs {
            Some(selector) => selector.runs(self, &snapshot).await?.into_iter().map(RunRow::id).collect(),
            None => {
                let kept = snapshot.registry().runs().iter().filter(|run| !run.is_deleted());
                kept.map(RunRow::id).collect()
            }
        };
        if runs.is_empty() {
            return Ok(None);
        }
        let notes = count_notes(&snapshot, &runs);
        let chunks = Chunks::new(snapshot.clone(), runs.clone(), options.metrics.clone());
        let points_chosen = Chunks::new(snapshot.clone(), runs.clone(), options.metrics.clone())
            .map(|chunk| chunk.iter().map(|(_, points)| points).sum::<u64>())
            .sum();
        let (export, encoder) = begin(target, &options, snapshot.clone(), runs).await?;

        let (parts, received) = mpsc::channel(2);
        let writing = spawn_blocking(move || write(export, received, points_chosen, progress));
        let at_once =
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST_AT_ONCE);
        let mut encoded = stream::iter(chunks)
            .map(|chunk| {
                let (snapshot, encoder) = (snapshot.clone(), encoder.clone());
                let points = chunk.iter().map(|(_, points)| points).sum();
                let work = tokio::spawn(encode(snapshot, encoder, chunk));
                async move { Ok::<(Part, u64), Error>((work.await.map_err(|_| Error::Cancelled)??, points)) }
            })
            .buffered(at_once);
        while let Some((part, points)) = encoded.try_next().await? {
            // The writer is gone only when it failed, which it tells below.
            if parts.send(Step::Part(Box::new(part), points)).await.is_err() {
                break;
            }
        }
        let _ = parts.send(Step::Finish).await;
        drop(parts);
        let manifest = writing.await.map_err(|_| Error::Cancelled)??;
        Ok(Some(ExportReport { manifest, points_chosen, notes }))
    }
}

/// Begins the export and gives it all runs.
async fn begin(
    target: &Path,
    options: &ExportOptions,
    snapshot: Snapshot,
    runs: Vec<RunId>,
) -> Result<(Export, exporters::Encoder)> {
    let target = target.to_owned();
    let options = exporters::Options {
        form: options.form,
        compression: options.compression,
        overwrite: options.overwrite,
        selection: options.runs.as_ref().map(ToString::to_string).unwrap_or_default(),
        metrics: options.metrics.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let begin = move || {
        let mut export = Export::begin(&target, options)?;
        for run in runs.into_iter().filter_map(|run| snapshot.registry().run(run)) {
            export.run(&run.to_run())?;
        }
        let encoder = export.encoder()?;
        Ok((export, encoder))
    };
    spawn_blocking(begin).await.map_err(|_| Error::Cancelled)?
}

/// Reads a chunk and encodes it.
async fn encode(
    snapshot: Snapshot,
    encoder: exporters::Encoder,
    chunk: Vec<(SeriesKey, u64)>,
) -> Result<Part> {
    let keys: Vec<SeriesKey> = chunk.into_iter().map(|(key, _)| key).collect();
    let read = snapshot.read_series(&keys).await?.into_iter();
    let series: Vec<ExportedSeries> = read
        .map(|series| ExportedSeries { key: series.key, points: series.points, attempts: series.attempts })
        .collect();
    Ok(spawn_blocking(move || encoder.encode(&series)).await.map_err(|_| Error::Cancelled)??)
}

/// What the writing thread is told.
enum Step {
    /// Write this; so many points were chosen for it.
    Part(Box<Part>, u64),
    /// That was all.
    Finish,
}

/// Writes parts as they come; an export whose end was not told is given up.
fn write(
    mut export: Export,
    mut parts: mpsc::Receiver<Step>,
    points_total: u64,
    mut progress: impl FnMut(ExportProgress),
) -> Result<Manifest> {
    let mut points_done = 0;
    while let Some(step) = parts.blocking_recv() {
        match step {
            Step::Part(part, points) => {
                export.part(*part)?;
                points_done += points;
                progress(ExportProgress { points_done, points_total });
            }
            Step::Finish => return Ok(export.finish()?),
        }
    }
    Err(Error::Cancelled)
}

/// Notes and decisions about these runs and their experiments.
fn count_notes(snapshot: &Snapshot, runs: &[RunId]) -> usize {
    let registry = snapshot.registry();
    let chosen: std::collections::HashSet<RunId> = runs.iter().copied().collect();
    let experiments: std::collections::HashSet<_> = runs
        .iter()
        .filter_map(|run| registry.run(*run))
        .map(|run| (run.project().clone(), run.experiment().clone()))
        .collect();
    let notes = registry.notes().iter().filter(|note| match (note.run, &note.experiment) {
        (Some(run), _) => chosen.contains(&run),
        (None, Some(experiment)) => experiments.contains(&(note.project.clone(), experiment.clone())),
        (None, None) => false,
    });
    let decisions = registry.decisions().iter();
    let decisions =
        decisions.filter(|made| experiments.contains(&(made.project.clone(), made.experiment.clone())));
    notes.count() + decisions.count()
}

/// The chosen series with their numbers of points, in chunks, by run in the order given, then by metric and context.
struct Chunks {
    snapshot: Snapshot,
    runs: std::vec::IntoIter<RunId>,
    metrics: Option<MetricGlob>,
    /// Series of the last run that are not in a chunk yet.
    waiting: VecDeque<(SeriesKey, u64)>,
}

impl Chunks {
    fn new(snapshot: Snapshot, runs: Vec<RunId>, metrics: Option<MetricGlob>) -> Self {
        Self { snapshot, runs: runs.into_iter(), metrics, waiting: VecDeque::new() }
    }

    fn next_series(&mut self) -> Option<(SeriesKey, u64)> {
        while self.waiting.is_empty() {
            let run = self.runs.next()?;
            let Some(ordinal) = self.snapshot.registry().ordinal(run) else { continue };
            let entries = self.snapshot.series().entries().of_run(ordinal);
            let wanted =
                entries.filter(|entry| self.metrics.as_ref().is_none_or(|glob| glob.matches(entry.metric)));
            let mut series: Vec<_> = wanted.map(|entry| (entry.key(), entry.statistics.count)).collect();
            series.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            self.waiting.extend(series);
        }
        self.waiting.pop_front()
    }
}

impl Iterator for Chunks {
    type Item = Vec<(SeriesKey, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chunk = Vec::new();
        let mut points = 0;
        while let Some((key, count)) = self.next_series() {
            if !chunk.is_empty() && (points + count > CHUNK_POINTS || chunk.len() >= CHUNK_SERIES) {
                self.waiting.push_front((key, count));
                break;
            }
            points += count;
            chunk.push((key, count));
        }
        (!chunk.is_empty()).then_some(chunk)
    }
}

#[cfg(test)]
mod tests;
