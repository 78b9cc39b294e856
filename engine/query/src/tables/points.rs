//! `points`: which series of which segments a scan reads, decided while planning, and how the work is divided.

use std::cell::{Cell, OnceCell};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use model::RunId;
use model::schema::Table;
use store::Snapshot;
use store::segment::SegmentError;
use store::segment::chunk_index::IndexedSeries;
use store::segment::points::{Contents, Reader};

use super::constraints::Constraints;
use super::points_scan::{Order, Part, Piece, PointsExec, Positions, Selected, Source};
use super::reading::lost_with;
use super::series::WantedSeries;
use super::series_parts::Decision;
use super::{Access, SnapshotTable, series, storage};

/// Rows below which a further partition costs more than it brings.
const PARTITION_ROWS: u64 = 131_072;

/// A scan; of an aggregate that is answered by series, only of those that a decision leaves open.
pub(super) async fn scan(
    shown: &SnapshotTable,
    partitions: usize,
    projection: Option<&Vec<usize>>,
    constraints: &Constraints,
    decision: Option<&Arc<Decision>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let columns = projection.cloned().unwrap_or_else(|| (0..shown.schema.fields().len()).collect());
    let wanted = Wanted::new(shown, constraints, decision);
    shown.reading.check(&shown.snapshot, &[Table::Points])?;
    let mut chosen: Vec<Chosen> = Vec::new();
    let mut order = Order::both();
    let mut skips = false;
    let mut selected = Selected { files: shown.snapshot.point_files().len(), ..Selected::default() };
    for (number, file) in shown.snapshot.point_files().iter().enumerate() {
        if let Some(contents) = shown.snapshot.contents_of(file)
            && !wanted.may_be_in(&contents)
        {
            selected.series += contents.series();
            continue;
        }
        let reader = match shown.snapshot.open_segment(file).await {
            Ok(reader) => reader,
            Err(store::StoreError::Segment(
                error @ (SegmentError::Corrupt { .. } | SegmentError::Missing { .. }),
            )) => {
                shown.reading.take(lost_with(&shown.snapshot, file, &error).await)?;
                continue;
            }
            Err(error) => return Err(storage(error)),
        };
        let mut last = None;
        let mut positions = wanted.positions(&reader);
        // Points of deleted runs stay in their files until the next compaction.
        positions.retain(|position| {
            let Some(series) = reader.series().get(*position) else { return false };
            match last {
                Some((run, held)) if run == series.run => held,
                _ => {
                    let held = shown.snapshot.holds(file, series.run);
                    last = Some((series.run, held));
                    held
                }
            }
        });
        selected.series += reader.series().len();
        selected.series_read += positions.len();
        if positions.is_empty() {
            continue;
        }
        selected.files_read += 1;
        let damaged = shown.reading.damaged_rows(&reader).await?;
        skips = skips || !damaged.is_empty();
        order = order.and(order_of(&reader, &positions));
        let of_file = Chosen::new(number, &reader, &positions, damaged);
        selected.rows += of_file.parts.iter().map(|(_, rows)| rows).sum::<u64>();
        chosen.push(of_file);
    }
    let rows_each = (selected.rows / partitions.max(1) as u64).max(PARTITION_ROWS);
    let pieces: Vec<(u64, Piece)> =
        chosen.into_iter().flat_map(|of_file| of_file.into_pieces(rows_each)).collect();
    // One file a partition keeps its order; very many small files are read one after another instead.
    let mut parts: Vec<Part> = Vec::new();
    let most = 4 * partitions.max(1);
    if pieces.len() <= most {
        parts.extend(pieces.into_iter().map(|(_, piece)| Part::Files(vec![piece])));
    } else {
        order = Order::none();
        let mut groups: Vec<(u64, Vec<Piece>)> = (0..partitions.max(1)).map(|_| (0, Vec::new())).collect();
        for (rows, piece) in pieces {
            if let Some(group) = groups.iter_mut().min_by_key(|group| group.0) {
                group.0 += rows;
                group.1.push(piece);
            }
        }
        parts.extend(groups.into_iter().map(|(_, pieces)| Part::Files(pieces)));
    }
    if shown.snapshot.memtable_points() > 0 || parts.is_empty() {
        let fits = series::fits(&shown.snapshot, &shown.access, constraints, decision);
        parts.push(Part::Memory {
            snapshot: shown.snapshot.clone(),
            fits: Arc::new(fits),
            steps: constraints.steps(),
        });
        order = order.and(Order::run_first());
        selected.memtable_points = shown.snapshot.memtable_points();
    }
    selected.exact = constraints.steps().is_none() && selected.memtable_points == 0 && !skips;
    let source = Source { snapshot: shown.snapshot.clone(), steps: constraints.steps(), columns };
    Ok(Arc::new(PointsExec::new(&shown.schema, source, parts, order, selected, constraints, limit)?))
}

/// What is read of one segment, cut where a partition may end. The segment is not kept open: with series that all go on,
/// every segment has an index of all of them, which together are more than what is read.
struct Chosen {
    file: usize,
    positions: Positions,
    /// Ends of parts as numbers of positions, and the rows of each.
    parts: Vec<(usize, u64)>,
    damaged: Vec<Range<u64>>,
}

impl Chosen {
    fn new(file: usize, reader: &Reader, positions: &[usize], damaged: Vec<Range<u64>>) -> Self {
        let mut parts = Vec::new();
        let mut rows = 0;
        for (number, position) in positions.iter().enumerate() {
            rows += reader.series().get(*position).map_or(0, |series| series.rows.rows);
            if rows >= PARTITION_ROWS || number + 1 == positions.len() {
                parts.push((number + 1, std::mem::take(&mut rows)));
            }
        }
        Self { file, positions: Positions::new(positions), parts, damaged }
    }

    /// Pieces of about as many rows, with the rows of each.
    fn into_pieces(self, rows_each: u64) -> Vec<(u64, Piece)> {
        let mut pieces = Vec::new();
        let (mut start, mut rows) = (0, 0);
        for (number, (end, of_part)) in self.parts.iter().enumerate() {
            rows += of_part;
            if rows >= rows_each || number + 1 == self.parts.len() {
                let positions = self.positions.part(start..*end);
                let piece = Piece { file: self.file, positions, without: self.damaged.clone() };
                pieces.push((rows, piece));
                (start, rows) = (*end, 0);
            }
        }
        pieces
    }
}

/// Which series are read.
struct Wanted<'a> {
    snapshot: &'a Snapshot,
    constraints: &'a Constraints,
    projects: Option<HashSet<&'a str>>,
    runs: Option<HashSet<RunId>>,
    decision: Option<&'a Decision>,
    series: WantedSeries,
    /// By ordinal, once somebody asked.
    runs_in_time: OnceCell<Vec<bool>>,
    /// The answer for the run of the last series: those of a run mostly stand together.
    last_run: Cell<(Option<RunId>, bool)>,
}

impl<'a> Wanted<'a> {
    fn new(
        shown: &'a SnapshotTable,
        constraints: &'a Constraints,
        decision: Option<&'a Arc<Decision>>,
    ) -> Self {
        let projects = match &shown.access {
            Access::All => None,
            Access::Projects(projects) => Some(projects.iter().map(|project| project.as_str()).collect()),
        };
        let named: Option<HashSet<RunId>> = constraints
            .texts("run_id")
            .map(|ids| ids.iter().filter_map(|id| id.parse::<RunId>().ok()).collect());
        let runs = match decision {
            Some(decision) => {
                let open = decision.open_runs();
                Some(open.filter(|run| named.as_ref().is_none_or(|named| named.contains(run))).collect())
            }
            None => named,
        };
        Self {
            snapshot: &shown.snapshot,
            constraints,
            projects,
            runs,
            decision: decision.map(Arc::as_ref),
            series: WantedSeries::new(&shown.snapshot, &shown.access, constraints),
            runs_in_time: OnceCell::new(),
            last_run: Cell::new((None, false)),
        }
    }

    /// Whether a segment can hold any of the series.
    fn may_be_in(&self, contents: &Contents) -> bool {
        self.runs.as_ref().is_none_or(|runs| runs.iter().any(|run| contents.may_hold(*run)))
    }

    /// The positions of the series that are read, in file order.
    fn positions(&self, reader: &Reader) -> Vec<usize> {
        let index = reader.series();
        let takes = |series: &IndexedSeries<'_>| self.takes(series);
        match (&self.runs, self.constraints.texts("metric")) {
            // The series of a few runs, or else those of a few metrics, are looked up.
            (Some(runs), _) if index.count_of_runs(runs.iter().copied()) <= index.len() / 4 => {
                index.of_runs(runs.iter().copied(), takes)
            }
            (_, Some(metrics)) => index.of_metrics(|name| metrics.contains(name), takes),
            _ => index.matching(takes),
        }
    }

    fn takes(&self, series: &IndexedSeries<'_>) -> bool {
        self.runs.as_ref().is_none_or(|runs| runs.contains(&series.run))
            && self.constraints.allows("metric", series.metric)
            && self.constraints.allows_optional("context", series.context)
            && self.constraints.allows("project", series.project)
            && self.constraints.allows("experiment", series.experiment)
            && self.projects.as_ref().is_none_or(|projects| projects.contains(series.project))
            && self.constraints.steps().is_none_or(|steps| {
                series.rows.first_step <= *steps.end() && series.rows.last_step >= *steps.start()
            })
            && self.decision.is_none_or(|d| d.is_open(series.run, series.metric, series.context))
            && self.is_in_time(series.run)
    }

    /// Whether a run can have points in the range of times: by the statistics of its series that are asked for, which
    /// cover all segments.
    fn is_in_time(&self, run: RunId) -> bool {
        let Some(times) = self.constraints.times() else { return true };
        let in_time = self.runs_in_time.get_or_init(|| {
            let mut in_time = Vec::new();
            for entry in self.series.entries(self.snapshot) {
                let place = entry.run as usize;
                if in_time.len() <= place {
                    in_time.resize(place + 1, false);
                }
                in_time[place] |= entry.statistics.first_time <= *times.end()
                    && entry.statistics.last_time >= *times.start();
            }
            in_time
        });
        let (last, is_in_time) = self.last_run.get();
        if last == Some(run) {
            return is_in_time;
        }
        // A run that is not known is left to those who say so.
        let ordinal = self.snapshot.registry().ordinal(run);
        let is_in_time =
            ordinal.is_none_or(|ordinal| in_time.get(ordinal as usize).copied().unwrap_or(false));
        self.last_run.set((Some(run), is_in_time));
        is_in_time
    }
}

/// In which orders the chosen series of a segment stand.
fn order_of(reader: &Reader, positions: &[usize]) -> Order {
    let mut order = Order::both();
    let series = |position: usize| reader.series().get(position);
    for pair in positions.windows(2) {
        let (Some(a), Some(b)) = (series(pair[0]), series(pair[1])) else { return Order::none() };
        let (metric, run, context) = (a.metric.cmp(b.metric), a.run.cmp(&b.run), a.context.cmp(&b.context));
        let rises = |ordering: Ordering| ordering != Ordering::Greater;
        order = order.and(Order {
            run_first: rises(run.then(metric).then(context)),
            metric_first: rises(metric.then(run).then(context)),
        });
        if order == Order::none() {
            break;
        }
    }
    order
}
