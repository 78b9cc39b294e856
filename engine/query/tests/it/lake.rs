//! The lake that the tests ask, and the way they ask it.

use std::sync::{Arc, LazyLock};

use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use model::{
    Command, Context, Decision, DecisionKind, ExperimentName, ExperimentUpdate, Key, MetricName, NewRun,
    Note, ParamValue, Point, PointBatch, PointColumns, ProjectName, RecordFields, RecordId, RecordKind,
    RecordUpdate, RunId, RunStatus, SeriesPoints, TagValue,
};
use query::{QueryError, QueryOptions, SessionConfig, SessionFactory, run};
use store::{Snapshot, Store, StoreConfig};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_767_225_600_000_000;

pub(crate) static FACTORY: LazyLock<SessionFactory> = LazyLock::new(|| {
    SessionFactory::new(&SessionConfig { memory: 1 << 30, spill: 1 << 30, threads: 2 }).unwrap()
});

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
});

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// Where the points of a lake are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In the memtable.
    InMemory,
    /// In one segment.
    Flushed,
    /// Part in two segments that overlap, part in the memtable.
    Both,
}

pub(crate) struct Lake {
    pub(crate) snapshot: Snapshot,
    pub(crate) store: Store,
    _folder: tempfile::TempDir,
}

impl Lake {
    pub(crate) fn empty() -> Self {
        block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let config = StoreConfig::new(folder.path().join("lake"), Arc::new(|| START));
            let store = Store::open(config).await.unwrap();
            Self { snapshot: store.snapshot(), store, _folder: folder }
        })
    }

    /// Two projects, four runs, every oddity of values, a record of every kind.
    pub(crate) fn small(kept: Kept) -> Self {
        let mut lake = Self::empty();
        block_on(async {
            let store = &lake.store;
            store.apply(registry(), None).await.unwrap();
            store.apply(records(), None).await.unwrap();
            let batches = points();
            let last = batches.len() - 1;
            for (position, batch) in batches.into_iter().enumerate() {
                store.append(batch, None).await.unwrap();
                let flush = match kept {
                    Kept::InMemory => false,
                    Kept::Flushed => position == last,
                    Kept::Both => position == 0 || position == 1,
                };
                if flush {
                    store.flush().await.unwrap();
                }
            }
        });
        lake.snapshot = lake.store.snapshot();
        lake
    }

    pub(crate) fn ask_with(&self, sql: &str, options: QueryOptions) -> Result<Vec<RecordBatch>, QueryError> {
        block_on(async { run(&FACTORY, &self.snapshot, sql, options).await?.collect().await })
    }

    pub(crate) fn ask(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        self.ask_with(sql, QueryOptions::default())
    }

    /// The rows as texts.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        texts(&self.ask(sql).unwrap_or_else(|error| panic!("{sql}\n{error}")))
    }

    /// The one cell of the one row.
    pub(crate) fn cell(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "{sql}: {rows:?}");
        rows[0][0].clone()
    }
}

impl Drop for Lake {
    fn drop(&mut self) {
        block_on(self.store.close());
    }
}

pub(crate) fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
        }
    }
    rows
}

pub(crate) fn run_id(number: u128) -> RunId {
    RunId::from_u128(number)
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(crate) fn new_run(
    number: u128,
    project: &str,
    experiment: &str,
    name: &str,
    status: RunStatus,
) -> Command {
    Command::CreateRun(NewRun {
        id: run_id(number),
        project: ProjectName::new(project).unwrap(),
        experiment: ExperimentName::new(experiment).unwrap(),
        name: name.to_owned(),
        status,
        user: Some("ada".to_owned()),
        start_time: Some(START + number as i64 * 1_000_000),
        end_time: None,
        parent: None,
        source: None,
        source_run_id: None,
        git_commit: None,
        deleted: false,
        time: START,
    })
}

pub(crate) fn params(number: u128, params: &[(&str, &str)]) -> Command {
    let params = params.iter().map(|(k, v)| (key(k), ParamValue::new(v).unwrap())).collect();
    Command::SetParams { run: run_id(number), params }
}

fn tags(number: u128, tags: &[(&str, &str)]) -> Command {
    let tags = tags.iter().map(|(k, v)| (key(k), TagValue::new(v).unwrap())).collect();
    Command::SetTags { run: run_id(number), tags }
}

/// A record on a run or on none.
pub(crate) fn record(
    kind: RecordKind,
    project: &str,
    id: &str,
    run: Option<u128>,
    values: &[(&str, &str)],
) -> Command {
    let mut fields = RecordFields::of(kind);
    values.iter().for_each(|(column, text)| fields.set(column, text).unwrap());
    let (project, id) = (ProjectName::new(project).unwrap(), RecordId::new(id).unwrap());
    let update = RecordUpdate::new(project, id, fields, START + 7);
    Command::PutRecord(RecordUpdate { run: run.map(run_id), author: Some("ada".to_owned()), ..update })
}

/// One of each kind, more of some.
fn records() -> Vec<Command> {
    use RecordKind::*;
    let of = |kind, id, values: &[(&str, &str)]| record(kind, "vision", id, None, values);
    vec![
        of(
            Baselines,
            "main@1",
            &[
                ("name", "main"),
                ("version", "1"),
                ("status", "retired"),
                ("established", "2026-01-01"),
                ("mean", "0.5"),
            ],
        ),
        of(
            Baselines,
            "main@2",
            &[
                ("name", "main"),
                ("version", "2"),
                ("owner", "ada"),
                ("established", "2026-02-01T12:00:00Z"),
                ("max_age_days", "30"),
                ("mean", "NaN"),
                ("previous", "main@1"),
                ("runs", r#"["00000000000000000000000000000001"]"#),
            ],
        ),
        record(
            Gates,
            "vision",
            "g1",
            Some(1),
            &[
                ("verdict", "inconclusive"),
                ("metric", "val_loss"),
                ("direction", "down"),
                ("relative", "false"),
                ("difference", "-0.0"),
                ("report", "{\n  \"verdict\": \"inconclusive\"\n}"),
            ],
        ),
        of(Reviews, "r1", &[("subject", "gate"), ("subject_id", "g1"), ("verdict", "comment")]),
        of(Directions, "data", &[("name", "data"), ("experiments", r#"["augment"]"#)]),
        of(Resources, "paper", &[("name", "paper"), ("type", "paper"), ("priority", "2")]),
        of(
            Lineage,
            "l1",
            &[
                ("from_kind", "dataset"),
                ("from_id", "cifar@0f"),
                ("relation", "used_by"),
                ("to_kind", "run"),
                ("to_id", "00000000000000000000000000000001"),
            ],
        ),
        record(Artifacts, "nlp", "a1", Some(4), &[("name", "model/weights.pt"), ("size_bytes", "12")]),
        of(Datasets, "cifar@0f", &[("name", "cifar"), ("digest", "0f"), ("row_count", "50000")]),
        of(Sweeps, "s", &[("name", "s"), ("method", "tpe"), ("direction", "down")]),
        of(Trials, "s@0", &[("sweep", "s"), ("number", "0"), ("state", "COMPLETE"), ("value", "0.25")]),
        record(Trials, "vision", "s@1", Some(3), &[("sweep", "s"), ("number", "1"), ("state", "FAIL")]),
        of(Budgets, "gpu", &[("name", "gpu"), ("unit", "gpu_hours"), ("amount", "100")]),
    ]
}

fn registry() -> Vec<Command> {
    let (project, experiment) =
        (ProjectName::new("vision").unwrap(), ExperimentName::new("lr sweep").unwrap());
    let mut update = ExperimentUpdate::named(project.clone(), experiment.clone(), START);
    update.hypothesis = Some("a larger rate helps".to_owned());
    update.target_metric = Some(MetricName::new("val_loss").unwrap());
    vec![
        Command::UpdateExperiment(update),
        new_run(1, "vision", "lr sweep", "small", RunStatus::Finished),
        new_run(2, "vision", "lr sweep", "large", RunStatus::Failed),
        new_run(3, "vision", "augment", "flip", RunStatus::Finished),
        new_run(4, "nlp", "prompts", "zero-shot", RunStatus::Running),
        params(1, &[("lr", "0.001"), ("depth", "4"), ("bias", "True"), ("opt/lr", "0.5"), ("seed", "7")]),
        params(2, &[("lr", "1"), ("depth", "8"), ("bias", "False"), ("optimizer", "adam")]),
        params(3, &[("depth", "16"), ("Name", "x")]),
        params(4, &[("prompt", "it's"), ("depth", "many")]),
        tags(1, &[("team", "cv")]),
        tags(4, &[("team", "nlp")]),
        Command::Decide(Decision {
            project: project.clone(),
            experiment: experiment.clone(),
            decision: DecisionKind::Ship,
            reason: "better in 3 of 3".to_owned(),
            author: Some("ada".to_owned()),
            time: START + 5,
        }),
        Command::AddNote(Note {
            project,
            experiment: Some(experiment),
            run: Some(run_id(1)),
            text: "look at the end".to_owned(),
            author: None,
            time: START + 6,
        }),
    ]
}

pub(crate) fn series(run: u128, metric: &str, context: Option<&str>, points: &[(i64, f64)]) -> SeriesPoints {
    let mut columns = PointColumns::default();
    for (position, (step, value)) in points.iter().enumerate() {
        let time = START + *step * 1_000 + position as i64;
        columns.push(Point { step: *step, step_fraction: None, time, value: *value });
    }
    SeriesPoints {
        run: run_id(run),
        metric: MetricName::new(metric).unwrap(),
        context: context.map(|context| Context::parse(context).unwrap()),
        attempt: 0,
        points: columns,
    }
}

/// One point more.
pub(crate) async fn append_point(lake: &Lake, run: u128, metric: &str, step: i64, value: f64) {
    let batch = PointBatch::new(vec![series(run, metric, None, &[(step, value)])]).unwrap();
    lake.store.append(batch, None).await.unwrap();
}

fn points() -> Vec<PointBatch> {
    let batch = |parts: Vec<SeriesPoints>| PointBatch::new(parts).unwrap();
    vec![
        batch(vec![
            series(1, "val_loss", None, &[(0, 1.0), (10, 0.5), (20, 0.25)]),
            series(1, "val/acc", Some(r#"{"subset":"val"}"#), &[(0, 0.1), (20, 0.9)]),
            series(2, "val_loss", None, &[(0, 1.0), (10, f64::NAN), (20, f64::INFINITY)]),
        ]),
        batch(vec![
            // Step 10 once more, and steps that come late.
            series(1, "val_loss", None, &[(10, 0.75), (5, 0.625), (-5, -0.0)]),
            series(3, "val_loss", None, &[(0, 3.0)]),
        ]),
        batch(vec![
            series(1, "val_loss", None, &[(30, 0.125)]),
            series(4, "bleu", None, &[(1, 20.0), (2, 30.0)]),
        ]),
    ]
}
