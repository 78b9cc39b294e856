//! A lake in memory: what goes into an export, and what an import makes of it.

use std::collections::BTreeMap;
use std::path::Path;

use exporters::{Export, ExportedSeries, Manifest, Options};
use importers::{ImportedRun, Limits, Rejection, Remark, RunFacts, Sink, SinkError};
use model::{Context, MetricName, Point, PointColumns, ProjectName, Run, RunId, SeriesKey};

/// Runs and points.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Lake {
    pub(crate) runs: BTreeMap<RunId, Run>,
    pub(crate) series: BTreeMap<SeriesKey, Vec<(Bits, u32)>>,
}

/// A point that equals itself, also where it is not a number: step, fraction, time and bits of the value.
pub(crate) type Bits = (i64, Option<i32>, i64, u64);

pub(crate) fn bits(point: Point) -> Bits {
    (point.step, point.step_fraction, point.time, point.value.to_bits())
}

impl Lake {
    /// Exports everything, in parts of a few series.
    pub(crate) fn export(&self, target: &Path, options: Options) -> Manifest {
        let mut export = Export::begin(target, options).unwrap();
        self.runs.values().for_each(|run| export.run(run).unwrap());
        let encoder = export.encoder().unwrap();
        let series: Vec<ExportedSeries> =
            self.series.iter().map(|(key, points)| exported(key, points)).collect();
        for part in series.chunks(2) {
            export.part(encoder.encode(part).unwrap()).unwrap();
        }
        export.finish().unwrap()
    }
}

fn exported(key: &SeriesKey, points: &[(Bits, u32)]) -> ExportedSeries {
    let mut columns = PointColumns::default();
    for ((step, step_fraction, time, value), _) in points {
        let (step, step_fraction, time) = (*step, *step_fraction, *time);
        columns.push(Point { step, step_fraction, time, value: f64::from_bits(*value) });
    }
    let attempts = points.iter().map(|(_, attempt)| i32::try_from(*attempt).unwrap()).collect();
    ExportedSeries { key: key.clone(), points: columns, attempts }
}

/// What an import found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) lake: Lake,
    pub(crate) rejections: Vec<Rejection>,
    pub(crate) remarks: Vec<Remark>,
}

/// Imports everything at a path; nothing where nothing is known.
pub(crate) fn import(path: &Path) -> Found {
    let limits = Limits { buffered_points: 3, ..Limits::default() };
    let detection = importers::detect(path, &limits).unwrap();
    if detection.sources.is_empty() {
        return Found::default();
    }
    let plan =
        importers::plan(&detection.sources, &importers::Options { limits, ..Default::default() }).unwrap();
    let mut found = Found::default();
    found.remarks = importers::import(&plan, &mut found).unwrap().remarks;
    found
}

impl Sink for Found {
    fn run(&mut self, run: ImportedRun) -> Result<(), SinkError> {
        let run = Run {
            id: run.id,
            project: run.project.unwrap_or_default(),
            experiment: run.experiment,
            name: run.name,
            status: run.status,
            user: run.user,
            start_time: run.start_time,
            end_time: run.end_time,
            parent: run.parent,
            source: run.source,
            source_run_id: run.source_run_id,
            git_commit: run.git_commit,
            deleted: run.deleted,
            params: run.params,
            tags: run.tags,
        };
        assert!(self.lake.runs.insert(run.id, run).is_none(), "a run came twice");
        Ok(())
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
        assert!(self.lake.runs.contains_key(&run), "points before their run");
        let key = SeriesKey { run, metric: metric.clone(), context: context.cloned() };
        let series = self.lake.series.entry(key).or_default();
        series.extend(points.iter().map(|point| (bits(point), attempt)));
        Ok(())
    }

    fn facts(&mut self, run: RunId, facts: RunFacts) -> Result<(), SinkError> {
        let run = self.lake.runs.get_mut(&run).unwrap();
        run.status = facts.status.unwrap_or(run.status);
        run.start_time = facts.start_time.or(run.start_time);
        run.end_time = facts.end_time.or(run.end_time);
        run.params.extend(facts.params);
        run.tags.extend(facts.tags);
        Ok(())
    }

    fn reject(&mut self, rejection: Rejection) -> Result<(), SinkError> {
        self.rejections.push(rejection);
        Ok(())
    }
}

/// A run with nothing but an id and a name.
pub(crate) fn plain_run(id: u128, name: &str) -> Run {
    Run {
        id: RunId::from_u128(id),
        project: ProjectName::default(),
        experiment: model::ExperimentName::new("trial").unwrap(),
        name: name.to_owned(),
        status: model::RunStatus::Finished,
        user: None,
        start_time: Some(1_750_000_000_000_000),
        end_time: Some(1_750_000_100_000_000),
        parent: None,
        source: None,
        source_run_id: None,
        git_commit: None,
        deleted: false,
        params: BTreeMap::new(),
        tags: BTreeMap::new(),
    }
}
