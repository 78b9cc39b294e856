//! A sink that keeps everything.

use std::collections::BTreeMap;
use std::path::Path;

use importers::{
    Detection, ImportedRun, Limits, Options, Rejection, RunFacts, Sink, SinkError, SourceKind, Summary, Unit,
    UnitOutcome,
};
use model::{Context, MetricName, PointColumns, RunId};

#[derive(Default)]
pub(crate) struct Collector {
    pub(crate) runs: BTreeMap<RunId, ImportedRun>,
    pub(crate) points: BTreeMap<(RunId, String, Option<String>), PointColumns>,
    pub(crate) rejections: Vec<Rejection>,
    pub(crate) outcomes: Vec<(Unit, UnitOutcome)>,
    pub(crate) bytes: u64,
}

impl Sink for Collector {
    fn run(&mut self, run: ImportedRun) -> Result<(), SinkError> {
        assert!(self.runs.insert(run.id, run).is_none(), "a run came twice");
        Ok(())
    }

    fn points(
        &mut self,
        run: RunId,
        metric: &MetricName,
        context: Option<&Context>,
        points: PointColumns,
    ) -> Result<(), SinkError> {
        assert!(self.runs.contains_key(&run), "points before their run");
        assert!(!points.is_empty());
        points.check(metric).unwrap();
        let key = (run, metric.to_string(), context.map(ToString::to_string));
        self.points.entry(key).or_default().extend_from(&points);
        Ok(())
    }

    fn facts(&mut self, run: RunId, facts: RunFacts) -> Result<(), SinkError> {
        let run = self.runs.get_mut(&run).expect("facts of a known run");
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

    fn progress(&mut self, bytes_done: u64) {
        self.bytes += bytes_done;
    }

    fn end(&mut self, unit: &Unit, outcome: &UnitOutcome) -> Result<(), SinkError> {
        self.outcomes.push((unit.clone(), outcome.clone()));
        Ok(())
    }
}

impl Collector {
    pub(crate) fn run_named(&self, name: &str) -> &ImportedRun {
        let mut found = self.runs.values().filter(|run| run.name == name);
        let run = found.next().unwrap_or_else(|| {
            panic!("no run {name}; there are {:?}", self.runs.values().map(|r| &r.name).collect::<Vec<_>>())
        });
        assert!(found.next().is_none(), "more than one run {name}");
        run
    }

    pub(crate) fn series_of(&self, run: RunId) -> BTreeMap<&str, &PointColumns> {
        self.points
            .iter()
            .filter(|((id, ..), _)| *id == run)
            .map(|((_, metric, _), points)| (metric.as_str(), points))
            .collect()
    }

    /// All that was handed on, with the names of runs, for comparing two imports.
    pub(crate) fn everything(&self) -> String {
        format!("{:?}\n{:?}\n{:?}", self.runs, self.points, self.rejections)
    }

    pub(crate) fn codes(&self) -> BTreeMap<&'static str, u64> {
        let mut codes = BTreeMap::new();
        for rejection in &self.rejections {
            *codes.entry(rejection.code).or_default() += rejection.count;
        }
        codes
    }
}

pub(crate) fn detect(path: &Path) -> Detection {
    importers::detect(path, &Limits::default()).unwrap()
}

/// Imports everything of some kinds.
pub(crate) fn import_kinds(path: &Path, kinds: &[SourceKind], options: &Options) -> (Collector, Summary) {
    let sources: Vec<_> =
        detect(path).sources.into_iter().filter(|source| kinds.contains(&source.kind)).collect();
    let plan = importers::plan(&sources, options).unwrap();
    let mut collector = Collector::default();
    let summary = importers::import(&plan, &mut collector).unwrap();
    let points: usize = collector.points.values().map(PointColumns::len).sum();
    assert_eq!(summary.total.points, points as u64);
    assert_eq!(summary.total.series, collector.points.len() as u64);
    assert_eq!(summary.total.rejected, collector.rejections.iter().map(|r| r.count).sum::<u64>());
    (collector, summary)
}

/// Imports everything at a path.
pub(crate) fn import(path: &Path) -> (Collector, Summary) {
    import_kinds(path, &SourceKind::all().collect::<Vec<_>>(), &Options::default())
}
