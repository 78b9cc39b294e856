//! `series`: one row a series with its statistics. Everything that asks for the last, best or mean value of a metric
//! reads this and no point.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, UInt32Array};
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use model::{Context, MetricName, RunId};
use store::{MetricNumber, RunField, RunOrdinal, RunRow, SeriesEntry, SeriesOrdinal, Snapshot};

use super::column_scan::{ColumnScan, ColumnTable, Request};
use super::constraints::Constraints;
use super::group_numbers::ColumnNumbers;
use super::keys_needed::NeededKeys;
use super::series_parts::Decision;
use super::{Access, SnapshotTable};

/// Where columns stand that have few values.
const PROJECT: usize = 0;
const EXPERIMENT: usize = 1;
const METRIC: usize = 3;

/// Series in a piece.
pub(super) const PIECE: SeriesOrdinal = 16_384;

/// A scan; with `metric = …` or `run_id = …` it passes over all others.
pub(super) fn scan(
    shown: &SnapshotTable,
    constraints: &Constraints,
    request: &Request<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let table = Series {
        snapshot: shown.snapshot.clone(),
        wanted: WantedSeries::new(&shown.snapshot, &shown.access, constraints),
        parts: None,
    };
    ColumnScan::plan(table, &shown.schema, &NeededKeys::default(), request)
}

/// A scan of what series add to an aggregate over points, for those whose statistics tell.
pub(super) fn scan_parts(
    shown: &SnapshotTable,
    decision: &Arc<Decision>,
    constraints: &Constraints,
    request: &Request<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let table = Series {
        snapshot: shown.snapshot.clone(),
        wanted: WantedSeries::new(&shown.snapshot, &shown.access, constraints),
        parts: Some(Arc::clone(decision)),
    };
    ColumnScan::plan(table, &shown.schema, &NeededKeys::default(), request)
}

/// Which series a statement can ask for, by what its filters say of run, metric and project.
#[derive(Debug)]
pub(super) struct WantedSeries {
    runs: Option<Vec<RunOrdinal>>,
    metrics: Option<HashSet<MetricNumber>>,
    contexts: Option<BTreeSet<String>>,
    projects: Option<Vec<String>>,
    experiments: Option<BTreeSet<String>>,
    /// By ordinal of the run whether it is in one of these projects and experiments, once somebody asked.
    runs_within: OnceLock<Vec<bool>>,
}

impl WantedSeries {
    pub(super) fn new(snapshot: &Snapshot, access: &Access, constraints: &Constraints) -> Self {
        let ordinal = |id: &String| snapshot.registry().ordinal(id.parse::<RunId>().ok()?);
        let runs = constraints.texts("run_id").map(|ids| {
            let mut runs: Vec<RunOrdinal> = ids.iter().filter_map(ordinal).collect();
            runs.sort_unstable();
            runs
        });
        let number = |name: &String| snapshot.series().metric_number(&MetricName::new(name).ok()?);
        let allowed = constraints.texts("project");
        let projects = match access {
            Access::All => allowed.map(|projects| projects.iter().cloned().collect()),
            Access::Projects(seen) => {
                let seen = seen.iter().map(|project| project.as_str());
                let both = seen.filter(|project| allowed.is_none_or(|allowed| allowed.contains(*project)));
                Some(both.map(str::to_owned).collect())
            }
        };
        Self {
            runs,
            metrics: constraints.texts("metric").map(|names| names.iter().filter_map(number).collect()),
            contexts: constraints.texts("context").cloned(),
            projects,
            experiments: constraints.texts("experiment").cloned(),
            runs_within: OnceLock::new(),
        }
    }

    fn is_within(&self, run: RunRow<'_>) -> bool {
        self.projects.as_ref().is_none_or(|projects| projects.iter().any(|p| p == run.project().as_str()))
            && self.experiments.as_ref().is_none_or(|names| names.contains(run.experiment().as_str()))
    }

    fn runs_within(&self, snapshot: &Snapshot) -> &[bool] {
        self.runs_within.get_or_init(|| {
            let mut within = Vec::new();
            for piece in snapshot.registry().runs().pieces() {
                for place in piece.places.iter() {
                    let ordinal = piece.first as usize + usize::from(*place);
                    if within.len() <= ordinal {
                        within.resize(ordinal + 1, false);
                    }
                    within[ordinal] = piece.columns.get(*place).is_some_and(|run| self.is_within(run));
                }
            }
            within
        })
    }

    /// Whether nothing is left out.
    fn is_all(&self) -> bool {
        self.runs.is_none()
            && self.metrics.is_none()
            && self.contexts.is_none()
            && self.projects.is_none()
            && self.experiments.is_none()
    }

    /// Whether a series is asked for.
    pub(super) fn takes(&self, snapshot: &Snapshot, entry: &SeriesEntry<'_>) -> bool {
        self.runs.as_ref().is_none_or(|runs| runs.binary_search(&entry.run).is_ok())
            && self.metrics.as_ref().is_none_or(|metrics| {
                snapshot.series().metric_number(entry.metric).is_some_and(|number| metrics.contains(&number))
            })
            && self.takes_context(entry.context)
            && (self.projects.is_none() && self.experiments.is_none()
                || snapshot.registry().runs().get(entry.run).is_some_and(|run| self.is_within(run)))
    }

    /// The series that are asked for, rising: those with ordinals in a range, or all of the runs that are named.
    fn ordinals(&self, snapshot: &Snapshot, range: Range<SeriesOrdinal>) -> Vec<SeriesOrdinal> {
        let entries = snapshot.series().entries();
        let takes = |entry: &SeriesEntry<'_>| self.takes(snapshot, entry);
        if let Some(runs) = &self.runs {
            let of_runs = runs.iter().flat_map(|run| entries.of_run(*run)).filter(takes);
            let mut ordinals: Vec<SeriesOrdinal> = of_runs.map(|entry| entry.ordinal).collect();
            ordinals.sort_unstable();
            return ordinals;
        }
        let mut ordinals = match &self.metrics {
            Some(metrics) => match metrics.iter().next() {
                Some(only) if metrics.len() == 1 => entries.of_metrics(range, |metric| metric == *only),
                // One look a series in a table of all metrics, where a set would hash each.
                _ => {
                    let last = metrics.iter().max().map_or(0, |last| *last as usize + 1);
                    let mut is_wanted = vec![false; last];
                    metrics.iter().for_each(|metric| is_wanted[*metric as usize] = true);
                    entries
                        .of_metrics(range, |metric| is_wanted.get(metric as usize).copied().unwrap_or(false))
                }
            },
            None => entries.of_metrics(range, |_| true),
        };
        if self.projects.is_some() || self.experiments.is_some() {
            let within = self.runs_within(snapshot);
            let is_within = |run: RunOrdinal| within.get(run as usize).copied().unwrap_or(false);
            ordinals.retain(|ordinal| entries.run_of(*ordinal).is_some_and(is_within));
        }
        if self.contexts.is_some() {
            ordinals.retain(|ordinal| entries.get(*ordinal).is_some_and(|entry| takes(&entry)));
        }
        ordinals
    }

    /// Whether runs are named, of which all series are looked up at once.
    pub(super) fn names_runs(&self) -> bool {
        self.runs.is_some()
    }

    /// All series that are asked for.
    pub(super) fn entries<'a>(&self, snapshot: &'a Snapshot) -> Vec<SeriesEntry<'a>> {
        self.entries_in(snapshot, 0..snapshot.series().entries().end())
    }

    /// The series that are asked for, as by [`Self::ordinals`].
    pub(super) fn entries_in<'a>(
        &self,
        snapshot: &'a Snapshot,
        range: Range<SeriesOrdinal>,
    ) -> Vec<SeriesEntry<'a>> {
        snapshot.series().entries().at(&self.ordinals(snapshot, range))
    }

    fn takes_context(&self, context: Option<&Context>) -> bool {
        self.contexts
            .as_ref()
            .is_none_or(|contexts| context.is_some_and(|context| contexts.contains(context.as_str())))
    }
}

pub(super) struct Series {
    snapshot: Snapshot,
    wanted: WantedSeries,
    /// What they add to an aggregate, in place of their statistics.
    parts: Option<Arc<Decision>>,
}

impl Series {
    fn range(&self, piece: usize) -> Range<SeriesOrdinal> {
        let first = piece as SeriesOrdinal * PIECE;
        first..first.saturating_add(PIECE).min(self.snapshot.series().entries().end())
    }
}

impl ColumnTable for Series {
    type Row = SeriesOrdinal;

    fn name(&self) -> &'static str {
        if self.parts.is_some() { "series in place of points" } else { "series" }
    }

    fn pieces(&self) -> usize {
        match &self.wanted.runs {
            // The series of a few runs are looked up.
            Some(_) => 1,
            None => self.snapshot.series().entries().end().div_ceil(PIECE) as usize,
        }
    }

    fn rows_in(&self, piece: usize) -> usize {
        let entries = self.snapshot.series().entries();
        match &self.wanted.runs {
            Some(runs) => runs.iter().map(|run| entries.count_of_run(*run)).sum(),
            None => self.range(piece).len(),
        }
    }

    fn is_exact(&self) -> bool {
        let entries = self.snapshot.series().entries();
        self.parts.is_none() && self.wanted.is_all() && entries.len() == entries.end() as usize
    }

    fn rows(&self, piece: usize) -> Vec<SeriesOrdinal> {
        let range = self.range(piece);
        match &self.parts {
            None => self.wanted.ordinals(&self.snapshot, range),
            Some(decision) => {
                let series = self.wanted.entries_in(&self.snapshot, range);
                let told = series.iter().filter(|series| decision.is_told(series));
                told.map(|series| series.ordinal).collect()
            }
        }
    }

    fn run_ordinals(&self, _piece: usize, rows: &[SeriesOrdinal]) -> UInt32Array {
        let entries = self.snapshot.series().entries();
        rows.iter().map(|row| entries.run_of(*row)).collect()
    }

    fn column_numbers(&self, column: usize) -> Option<ColumnNumbers> {
        let mut known = ColumnNumbers::default();
        let mut numbers = Vec::new();
        match column {
            METRIC => {
                for (number, name) in self.snapshot.series().metrics() {
                    numbers.resize(numbers.len().max(number as usize + 1), 0);
                    numbers[number as usize] = known.number(Some(name.as_str()));
                }
            }
            PROJECT | EXPERIMENT => {
                for piece in self.snapshot.registry().runs().pieces() {
                    let field = if column == PROJECT { RunField::Project } else { RunField::Experiment };
                    let coded = piece.columns.coded(field)?;
                    let of_codes: Vec<u32> =
                        coded.texts().into_iter().map(|text| known.number(Some(text))).collect();
                    for place in piece.places.iter() {
                        let run = piece.first as usize + usize::from(*place);
                        numbers.resize(numbers.len().max(run + 1), 0);
                        numbers[run] = *of_codes.get(coded.code(*place)?)?;
                    }
                }
            }
            _ => return None,
        }
        known.numbers.push(numbers);
        (!known.is_too_many()).then_some(known)
    }

    fn numbers_of(
        &self,
        _piece: usize,
        rows: &[SeriesOrdinal],
        column: usize,
        numbers: &ColumnNumbers,
        mut tell: impl FnMut(usize, u32),
    ) {
        let Some(numbers) = numbers.numbers.first() else { return };
        for (at, of_row) in self.snapshot.series().entries().numbers(rows).enumerate() {
            let Some((run, metric)) = of_row else { continue };
            let number = numbers.get(if column == METRIC { metric } else { run } as usize);
            tell(at, number.copied().unwrap_or_default());
        }
    }

    fn columns(
        &self,
        _piece: usize,
        rows: &[SeriesOrdinal],
        columns: &[usize],
        _needed: &NeededKeys,
    ) -> Result<Vec<ArrayRef>> {
        let entries = self.snapshot.series().entries().at(rows);
        let registry = self.snapshot.registry();
        let column = |column: &usize| {
            let part = self.parts.as_ref().zip(Decision::part_number(*column));
            part.and_then(|(decision, number)| decision.part_column(&entries, number))
                .unwrap_or_else(|| store::tables::series_column(registry, &entries, *column))
        };
        Ok(columns.iter().map(column).collect())
    }
}

/// Which series of memory a scan of points takes.
pub(super) fn fits(
    snapshot: &Snapshot,
    access: &Access,
    constraints: &Constraints,
    decision: Option<&Arc<Decision>>,
) -> impl Fn(&SeriesEntry<'_>) -> bool + Send + Sync + use<> {
    let wanted = WantedSeries::new(snapshot, access, constraints);
    let (snapshot, decision) = (snapshot.clone(), decision.cloned());
    move |series| {
        let context = series.context.map(Context::as_str);
        decision.as_ref().is_none_or(|d| d.is_open(series.run_id, series.metric.as_str(), context))
            && wanted.takes(&snapshot, series)
    }
}
