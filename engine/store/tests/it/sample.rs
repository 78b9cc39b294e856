//! A small lake that touches every kind of file, and its whole content as text to compare by.

use std::fmt::Write as _;
use std::path::Path;

use model::{
    Command, Context, ImportRecord, Key, Note, ParamValue, Point, PointBatch, PointColumns, ProjectName,
    RecordFields, RecordId, RecordKind, RecordUpdate, SeriesKey, SeriesPoints, TagValue, WriterSequence,
};
use store::{Snapshot, Store, StoreConfig};

use crate::lake::{config, create, key, run_id};

pub(crate) fn sample_config(root: &Path) -> StoreConfig {
    StoreConfig { wal_file_bytes: 64 << 10, ..config(root) }
}

fn odd_points(run: u128, from: i64, count: i64) -> PointBatch {
    let mut loss = PointColumns::default();
    let mut accuracy = PointColumns::default();
    for step in from..from + count {
        let value = match (run + step as u128) % 11 {
            0 => f64::NAN,
            1 => f64::NEG_INFINITY,
            2 => -0.0,
            _ => f64::from((step as f32 * 0.37 + run as f32).sin()),
        };
        loss.push(Point { step: step - 2, step_fraction: None, time: step * 1_000_003, value });
        let step_fraction = (step % 2 == 1).then_some(500_000);
        accuracy.push(Point { step, step_fraction, time: step * 7, value: value * 0.5 });
    }
    let part = |metric: &str, context: Option<&str>, points| SeriesPoints {
        run: run_id(run),
        metric: model::MetricName::new(metric).unwrap(),
        context: context.map(|text| Context::parse(text).unwrap()),
        attempt: 1,
        points,
    };
    PointBatch::new(vec![part("loss", None, loss), part("val/acc é", Some(r#"{"subset":"val"}"#), accuracy)])
        .unwrap()
}

fn describe(run: u128) -> Vec<Command> {
    let (key, text) = (|key: &str| Key::new(key).unwrap(), format!("0.{run}"));
    let Command::CreateRun(new) = create(run) else { unreachable!() };
    vec![
        Command::CreateRun(model::NewRun { time: run as i64 * 1_000, ..new }),
        Command::SetParams {
            run: run_id(run),
            params: vec![
                (key("lr"), ParamValue::new(text).unwrap()),
                (key("seed"), ParamValue::new("7").unwrap()),
            ],
        },
        Command::SetTags { run: run_id(run), tags: vec![(key("team"), TagValue::new("visión").unwrap())] },
    ]
}

fn baseline(version: i64) -> Command {
    let mut fields = RecordFields::of(RecordKind::Baselines);
    for (column, value) in
        [("name", "main"), ("version", &version.to_string()), ("mean", "-0.0"), ("runs", "[\"é\"]")]
    {
        fields.set(column, value).unwrap();
    }
    let id = RecordId::new(fields.id(None).unwrap()).unwrap();
    let update = RecordUpdate::new(ProjectName::new("vision").unwrap(), id, fields, version);
    Command::PutRecord(RecordUpdate { run: Some(run_id(1)), author: Some("ada".to_owned()), ..update })
}

/// Two flushes and a tail that is only in the log; closed.
pub(crate) async fn build(root: &Path) {
    let store = Store::open(sample_config(root)).await.unwrap();
    let writer = |seq| Some(WriterSequence::new("client", seq).unwrap());
    store.apply(describe(1).into_iter().chain(describe(2)).collect(), writer(1)).await.unwrap();
    store
        .apply(
            vec![
                Command::AddNote(Note {
                    project: ProjectName::new("vision").unwrap(),
                    experiment: None,
                    run: Some(run_id(1)),
                    text: "looks fine".to_owned(),
                    author: None,
                    time: 3,
                }),
                Command::RecordImport(ImportRecord {
                    kind: "csv".to_owned(),
                    location: "a.csv".to_owned(),
                    content_hash: "0f".to_owned(),
                    points: 3,
                    rejected: 0,
                    time: 4,
                }),
            ],
            None,
        )
        .await
        .unwrap();
    for (seq, run) in [(2, 1), (3, 2)] {
        store.append(odd_points(run, 0, 40), writer(seq)).await.unwrap();
    }
    store.flush().await.unwrap();
    store.apply(describe(3), writer(4)).await.unwrap();
    store.apply(vec![baseline(1), baseline(2)], None).await.unwrap();
    store.append(odd_points(3, 0, 30), writer(5)).await.unwrap();
    store.append(odd_points(1, 35, 10), writer(6)).await.unwrap();
    store.flush().await.unwrap();
    store.apply(describe(4), writer(7)).await.unwrap();
    for seq in 8..14 {
        store.append(odd_points(4, seq as i64 * 5, 5), writer(seq)).await.unwrap();
    }
    store.close().await;
}

/// Copies a lake.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Everything in a lake, bit for bit.
pub(crate) async fn content(snapshot: &Snapshot) -> Result<String, store::StoreError> {
    let mut text = String::new();
    let registry = snapshot.registry();
    for run in registry.runs().iter() {
        writeln!(text, "{:?}", run.to_run()).unwrap();
    }
    for experiment in registry.experiments() {
        writeln!(text, "{experiment:?}").unwrap();
    }
    for decision in registry.decisions() {
        writeln!(text, "{decision:?}").unwrap();
    }
    for note in registry.notes() {
        writeln!(text, "{note:?}").unwrap();
    }
    for record in registry.imports() {
        writeln!(text, "{record:?}").unwrap();
    }
    for record in
        RecordKind::ALL.into_iter().filter_map(|kind| registry.records(kind)).flat_map(|of| of.iter())
    {
        writeln!(text, "{record:?}").unwrap();
    }
    let mut keys: Vec<SeriesKey> = snapshot.series().entries().iter().map(|entry| entry.key()).collect();
    keys.sort();
    for series in keys {
        let statistics = snapshot.series_entry(&series).unwrap().statistics;
        writeln!(text, "{series:?} {statistics:?}").unwrap();
        for point in snapshot.series_points(&series).await?.iter() {
            let Point { step, step_fraction, time, value } = point;
            writeln!(text, "{step} {step_fraction:?} {time} {:016x}", value.to_bits()).unwrap();
        }
    }
    Ok(text)
}

#[tokio::test]
async fn the_sample_lake_holds_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    build(folder.path()).await;
    let snapshot = store::open_snapshot(folder.path()).await.unwrap();
    assert_eq!(snapshot.registry().runs().len(), 4);
    assert_eq!(snapshot.series_points(&key(1, "loss")).await.unwrap().len(), 50);
    let report = store::verify(folder.path()).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.runs, report.points, report.series), (4, 2 * (40 + 40 + 30 + 10 + 30), 8));
    assert_eq!(report.notes, []);
}
