//! Forms of the tools' files that the samples do not show, with bytes as the tools write them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, NullArray, RecordBatch, StringArray, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};
use importers::{ImportedRun, Mapping, Options, SourceKind};
use model::{PointColumns, RunStatus};

use crate::collector::{Collector, detect, import, import_kinds};
use crate::tool;

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn only(found: &Collector) -> (&ImportedRun, BTreeMap<&str, &PointColumns>) {
    assert_eq!(found.runs.len(), 1, "{:?}", found.runs.values().map(|run| &run.name).collect::<Vec<_>>());
    let run = found.runs.values().next().unwrap();
    (run, found.series_of(run.id))
}

fn mapped(path: &Path, mapping: &str) -> Collector {
    let options = Options { mapping: Some(Mapping::parse(mapping).unwrap()), ..Options::default() };
    import_kinds(path, &SourceKind::all().collect::<Vec<_>>(), &options).0
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn parquet(path: &Path, batch: &RecordBatch) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn numbers(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn wholes(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// As `Run.download_history_exports` names and writes them: the parts of a run, of which a later one has another column.
#[test]
fn parts_of_a_downloaded_history_are_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let image = StructArray::from(vec![
        (
            Arc::new(Field::new("_type", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("image-file"), None])) as ArrayRef,
        ),
        (Arc::new(Field::new("size", DataType::Int64, true)), wholes(&[700, 0])),
    ]);
    let nested = StructArray::new(
        vec![Field::new("acc", DataType::Float64, true)].into(),
        vec![numbers(&[Some(0.5), Some(9.0)])],
        Some(NullBuffer::from(vec![true, false])),
    );
    let first = batch(vec![
        ("_step", wholes(&[0, 3])),
        ("_timestamp", numbers(&[Some(1.75e9), Some(1.75e9 + 0.25)])),
        ("_runtime", numbers(&[Some(1.0), Some(2.0)])),
        ("loss", numbers(&[Some(2.0), Some(f64::NAN)])),
        ("val", Arc::new(nested)),
        ("image", Arc::new(image)),
        ("odd", Arc::new(StringArray::from(vec!["Infinity", "text"]))),
        ("flag", Arc::new(BooleanArray::from(vec![true, false]))),
    ]);
    let second = batch(vec![
        ("loss", numbers(&[Some(0.5), None])),
        ("_step", wholes(&[4, 9])),
        ("late", numbers(&[None, Some(7.0)])),
        ("_timestamp", numbers(&[Some(1.75e9 + 1.0), None])),
    ]);
    let name = |part: usize| format!("team_my_project_ab12cd34_{part}.runhistory.parquet");
    // Parts are counted, not sorted as texts.
    parquet(&folder.path().join(name(0)), &first);
    for part in 1..10 {
        let step = 10 + i64::try_from(part).unwrap();
        parquet(
            &folder.path().join(name(part)),
            &batch(vec![("_step", wholes(&[step])), ("n", numbers(&[Some(1.0)]))]),
        );
    }
    parquet(&folder.path().join(name(10)), &second);
    let (found, summary) = import(folder.path());
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    let (run, series) = only(&found);
    assert_eq!(
        (run.name.as_str(), run.source.as_deref()),
        ("team_my_project_ab12cd34", Some("wandb-history"))
    );
    assert_eq!(series["loss"].steps, [0, 3, 4]);
    assert!(series["loss"].values[1].is_nan());
    assert_eq!(series["loss"].times, [1_750_000_000_000_000, 1_750_000_000_250_000, 1_750_000_001_000_000]);
    assert_eq!((&series["val.acc"].steps, &series["val.acc"].values), (&vec![0], &vec![0.5]));
    assert_eq!((&series["late"].steps, &series["odd"].values), (&vec![9], &vec![f64::INFINITY]));
    assert_eq!(series["n"].steps, (11..20).collect::<Vec<i64>>());
    assert_eq!(series.keys().copied().collect::<Vec<_>>(), ["late", "loss", "n", "odd", "val.acc"]);
    let told: Vec<&str> = summary.remarks.iter().map(|remark| remark.code).collect();
    assert!(told.iter().all(|code| *code == "ignored.not_a_number") && told.len() == 3, "{told:?}");
    // One part of it is the run as far as it goes.
    let (alone, _) = import(&folder.path().join(name(0)));
    assert_eq!(alone.runs.keys().collect::<Vec<_>>(), found.runs.keys().collect::<Vec<_>>());
}

fn log() -> RecordBatch {
    batch(vec![
        ("run", Arc::new(StringArray::from(vec!["a", "a", "b"])) as ArrayRef),
        ("step", wholes(&[0, 1, 0])),
        ("loss", numbers(&[Some(0.5), None, Some(f64::NEG_INFINITY)])),
        ("note", Arc::new(StringArray::from(vec!["x", "y", "z"]))),
    ])
}

/// Arrow files as pandas (`to_feather`, packed by LZ4 or not) and streams as `RecordBatchStreamWriter` writes them.
#[test]
fn files_and_streams_of_arrow() {
    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

    let folder = tempfile::tempdir().unwrap();
    let packed = |kind| IpcWriteOptions::default().try_with_compression(kind).unwrap();
    for (name, kind) in [
        ("plain.arrow", None),
        ("lz4.feather", Some(CompressionType::LZ4_FRAME)),
        ("zstd.arrow", Some(CompressionType::ZSTD)),
    ] {
        let mut bytes = Vec::new();
        let mut writer = FileWriter::try_new_with_options(&mut bytes, &log().schema(), packed(kind)).unwrap();
        writer.write(&log()).unwrap();
        writer.write(&log().slice(2, 1)).unwrap();
        writer.finish().unwrap();
        drop(writer);
        write(folder.path(), name, bytes);
    }
    let mut stream = Vec::new();
    let mut writer = StreamWriter::try_new(&mut stream, &log().schema()).unwrap();
    writer.write(&log()).unwrap();
    writer.write(&log().slice(2, 1)).unwrap();
    drop(writer);
    // Without its end, as of a writer that was killed.
    write(folder.path(), "stream.arrows", &stream);
    let (found, _) = import(folder.path());
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    assert_eq!((found.runs.len(), detect(folder.path()).sources[0].kind), (8, SourceKind::Arrow));
    for run in found.runs.values() {
        let values = &found.series_of(run.id)["loss"].values;
        let wanted: &[f64] = if run.name == "a" { &[0.5] } else { &[f64::NEG_INFINITY, f64::NEG_INFINITY] };
        assert_eq!(values, wanted, "{}", run.source_run_id.as_ref().unwrap());
    }
    // Cut anywhere, and with any byte changed, it is told or gives what stands before.
    let whole = std::fs::read(folder.path().join("zstd.arrow")).unwrap();
    let other = tempfile::tempdir().unwrap();
    for position in (0..whole.len()).step_by(7) {
        write(other.path(), "x.arrow", &whole[..position]);
        let _ = import(other.path());
        let mut bytes = whole.clone();
        bytes[position] ^= 0xff;
        write(other.path(), "x.arrow", &bytes);
        let _ = import(other.path());
    }
    write(other.path(), "x.arrow", b"FEA1 and so on");
    let (found, _) = import(other.path());
    assert!(found.rejections[0].message.contains("version 1 of Feather"), "{:?}", found.rejections);
}

#[test]
fn what_a_message_of_arrow_claims_is_checked_first() {
    use arrow_ipc::writer::StreamWriter;

    let folder = tempfile::tempdir().unwrap();
    // A column of nulls takes no bytes for any number of rows.
    let rows = 1_usize << 40;
    let nulls: ArrayRef = Arc::new(NullArray::new(rows));
    let batch = RecordBatch::try_from_iter([("step", nulls)]).unwrap();
    let mut stream = Vec::new();
    let mut writer = StreamWriter::try_new(&mut stream, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    write(folder.path(), "nulls.arrows", &stream);
    write(folder.path(), "length.arrows", [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    let (found, _) = import(folder.path());
    assert!(found.runs.is_empty());
    let messages: Vec<&str> = found.rejections.iter().map(|rejection| rejection.message.as_str()).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages.iter().all(|message| message.contains("claims")), "{messages:?}");
}

#[test]
fn files_without_text_are_never_tables() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, word) in [
        ("logs", &b"7z\xbc\xaf\x27\x1cstep,loss"[..], "7z archive"),
        ("log.csv.bz2", b"BZh91AY&SYstep,loss\n0,1\n", "bzip2"),
        ("log.jsonl.xz", b"\xfd7zXZ\0{}", "xz"),
        ("weights", b"\x80\x04\x95step,loss\n0,1\n", "pickle"),
        ("image", b"GIF89a,step,loss\n0,1\n", "image"),
    ] {
        // By itself and in a folder.
        let path = write(folder.path(), name, bytes);
        let alone = detect(&path);
        assert!(alone.sources.is_empty(), "{name}: {:?}", alone.sources);
        assert!(alone.unrecognised[0].reason.contains(word), "{name}: {:?}", alone.unrecognised);
        let is_table = name.contains(".csv") || name.contains(".jsonl");
        assert_eq!(alone.unrecognised[0].fault, is_table.then_some("file.packing"), "{name}");
    }
    assert!(detect(folder.path()).sources.is_empty());
    assert_eq!(detect(folder.path()).unrecognised.len(), 5);
}

#[test]
fn checkpoints_that_are_archives_are_not_unpacked() {
    use std::io::Write;

    let folder = tempfile::tempdir().unwrap();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("archive/data.csv", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(b"step,loss\n0,1\n").unwrap();
    let zip = zip.finish().unwrap().into_inner();
    // As `torch.save` names and writes models.
    let model = write(folder.path(), "run/checkpoints/epoch=0.ckpt", &zip);
    write(folder.path(), "run/log.csv", "step,loss\n0,1\n");
    let (found, summary) = import(folder.path());
    assert_eq!((found.runs.len(), summary.total.points), (1, 1));
    let left = detect(folder.path()).unrecognised;
    assert!(left.len() == 1 && left[0].fault.is_none() && left[0].reason.contains("an archive"), "{left:?}");
    // Who names it wants to see what is in it.
    assert_eq!(import(&model).1.total.points, 1);
}

/// Event files that were packed one by one, and an archive of them whose name says so too.
#[test]
fn packed_event_files() {
    use importers::tensorboard::event::{Event, Summary, Value};
    use prost::Message;
    use std::io::Write;

    let value = Value { tag: "loss".into(), simple_value: Some(0.5), ..Value::default() };
    let event = Event {
        wall_time: 1.75e9,
        step: 3,
        summary: Some(Summary { value: vec![value] }),
        ..Event::default()
    };
    let bytes = importers::tensorboard::record::framed(&event.encode_to_vec());
    let folder = tempfile::tempdir().unwrap();
    let packed = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    write(folder.path(), "a/events.out.tfevents.1.gz", packed(&bytes));
    write(folder.path(), "b/events.out.tfevents.1.gz", packed(&bytes[..20]));
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, "run/events.out.tfevents.1", bytes.as_slice()).unwrap();
    write(folder.path(), "all-tfevents.tar.gz", packed(&tar.into_inner().unwrap()));
    let (found, _) = import(folder.path());
    let mut names: Vec<_> = found.runs.values().map(|run| run.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "all-tfevents.tar.gz/run"]);
    assert!(found.points.values().all(|points| points.steps == [3]));
    assert_eq!(found.codes().into_iter().collect::<Vec<_>>(), [("record.truncated", 1)]);
}

#[test]
fn a_repository_of_aim_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (repository, name) in [(".aim", "hidden"), ("backup-of-aim", "copied")] {
        for part in ["meta/chunks/a/000009.log", "seqs/chunks/a/LOCK", "run_metadata.sqlite", "VERSION"] {
            write(folder.path(), &format!("{name}/{repository}/{part}"), "x");
        }
    }
    write(folder.path(), "log.csv", "step,loss\n0,1\n");
    let (found, summary) = import(folder.path());
    assert_eq!((found.runs.len(), summary.total.points), (1, 1));
    let check = |path: &Path, count: usize| {
        let left = detect(path).unrecognised;
        assert_eq!(left.len(), count, "{left:?}");
        for repository in left {
            assert_eq!(repository.fault, Some("aim.export_needed"));
            assert!(repository.reason.contains("Aim's Python package"), "{}", repository.reason);
        }
    };
    check(folder.path(), 2);
    check(&folder.path().join("hidden/.aim"), 1);
    if let Some(data) = e2e::data() {
        check(&data.join("clients/aim/indexed"), 1);
    }
}

#[test]
fn results_by_their_map() {
    let folder = tempfile::tempdir().unwrap();
    let text = "entry,top1,params,size,when\nresnet,76.1,25.6,s,2026-01-01\nvit,81.5,\"1,282.60\",l,2026-01-02\n\
                resnet,77.0,25.6,m,2026-01-03\n";
    let path = write(folder.path(), "t.csv", text);
    let found = mapped(&path, "form=results,run=entry,time=when,param:size=size");
    let mut names: Vec<_> =
        found.runs.values().map(|run| (run.name.as_str(), run.params["size"].as_str())).collect();
    names.sort_unstable();
    assert_eq!(names, [("resnet", "m"), ("resnet", "s"), ("vit", "l")]);
    assert_eq!(found.points.len(), 5);
    assert!(found.points.values().all(|points| points.steps == [0]));
    assert_eq!(found.codes().into_iter().collect::<Vec<_>>(), [("cell.not_a_number", 1)]);
    // Written as TOML it is the same, and without any role rows are numbered.
    let mapping = Mapping::parse("form=results,run=entry").unwrap();
    assert_eq!(Mapping::parse_toml(&mapping.to_toml().unwrap()).unwrap(), mapping);
    assert_eq!(Mapping::parse(&mapping.to_string()).unwrap(), mapping);
    let numbered = mapped(&path, "form=results");
    let mut names: Vec<_> = numbered.runs.values().map(|run| run.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["1", "2", "3"]);
    // Another row, or one that moved, changes the identity of none that stays.
    let more = text.replace("resnet,76.1", "first,1.0,1,s,2026-01-04\nresnet,76.1");
    write(folder.path(), "t.csv", more);
    let again = mapped(&path, "form=results,run=entry,time=when,param:size=size");
    assert!(found.runs.keys().all(|id| again.runs.contains_key(id)));
}

/// `json.dump(model.fit(…).history)`, and lists of runs that hold their curves as lists.
#[test]
fn histories_by_columns() {
    let folder = tempfile::tempdir().unwrap();
    let keras = write(
        folder.path(),
        "history.json",
        r#"{"loss": [0.5, NaN, 0.25], "val_loss": [0.75, null, Infinity]}"#,
    );
    let (found, _) = import(&keras);
    let (run, series) = only(&found);
    assert_eq!(
        (run.name.as_str(), series["loss"].len(), &series["val_loss"].steps),
        ("history", 3, &vec![0, 2])
    );
    let runs = write(
        folder.path(),
        "curves.json",
        r#"[{"task": "a", "seed": 0, "steps": [10, 20], "reward": [1, 2], "tags": ["x"]},
            {"task": "a", "seed": 0, "steps": [10, 20], "reward": [3, 4]},
            {"task": "b", "seed": 1, "steps": [], "reward": []}]"#,
    );
    // It has steps: it is found in a folder too.
    let (found, _) = import(folder.path());
    let reward: Vec<_> = found
        .points
        .iter()
        .map(|((run, metric, _), points)| (found.runs[run].name.as_str(), metric.as_str(), &points.steps))
        .collect();
    assert!(reward.contains(&("a/0", "reward", &vec![10, 20])), "{reward:?}");
    let ids: Vec<_> = found.runs.values().filter_map(|run| run.source_run_id.as_deref()).collect();
    assert!(ids.iter().any(|id| id.ends_with("curves.json#a/0#2")), "{ids:?}");
    // A row of a table may hold lists of numbers too.
    write(folder.path(), "curves.json", r#"[{"step": 1, "loss": 2, "sizes": [1, 2], "more": [3, 4]}]"#);
    let (found, _) = import(&runs);
    let (_, series) = only(&found);
    assert_eq!((series.len(), &series["loss"].steps), (1, &vec![1]));
}

/// What the script for Aim writes: a file for each run, its points in long form with the context of each.
#[test]
fn a_run_of_a_document_with_all_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "461b485f.json",
        r#"{"run_id": "461b485f", "run_name": "run 0", "experiment": "demo", "config": {"net": {"depth": 1}, "list": [1, "x"]},
            "tags": {"description": "first"}, "history": [
            {"metric": "loss", "context": {"subset": "val", "fold": 0}, "step": 5, "time": 1.75e9, "value": 0.5},
            {"metric": "loss", "context": {}, "step": 6, "time": 1.75e9, "value": NaN}]}"#,
    );
    let (found, _) = import(folder.path());
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    let run = found.run_named("run 0");
    assert_eq!((run.experiment.as_str(), run.params["net.depth"].as_str()), ("demo", "1"));
    assert_eq!(tool::tag(run, "description"), Some("first"));
    let series: Vec<_> =
        found.points.iter().map(|((_, _, context), points)| (context.as_deref(), &points.steps)).collect();
    assert_eq!(series, [(None, &vec![6]), (Some(r#"{"fold":"0","subset":"val"}"#), &vec![5])]);
}

#[test]
fn curves_of_a_table_are_told_apart_by_what_they_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "t.csv", "Iteration,Agent,Value\n0,DQN,1\n0,C51,2\n1,DQN,3\n1,C51,4\n");
    let (found, _) = import(&path);
    let mut names: Vec<_> = found.runs.values().map(|run| run.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["C51", "DQN"]);
    // A column that changes while the steps go on tells of one run.
    write(folder.path(), "t.csv", "step,env,reward\n0,easy,1\n1,easy,2\n2,hard,3\n");
    assert_eq!(import(&path).0.runs.len(), 1);
}

/// Several versions beside each other, one with a name of its own; as PyYAML writes tuples and what stands there twice.
#[test]
fn versions_of_lightning_with_tuples_in_their_hyperparameters() {
    let folder = tempfile::tempdir().unwrap();
    for version in ["version_0", "version_1", "best"] {
        write(
            folder.path(),
            &format!("lightning_logs/{version}/metrics.csv"),
            "epoch,step,train_loss,val_acc\n0,9,0.5,\n0,9,,0.25\n1,19,0.125,\n",
        );
        write(
            folder.path(),
            &format!("lightning_logs/{version}/hparams.yaml"),
            "betas: !!python/tuple\n- 0.9\n- 0.999\nlayers: &id001\n- 64\n- 32\nskip: *id001\nlr: 0.001\nname: null\n",
        );
    }
    let (found, summary) = import(folder.path());
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    assert_eq!((summary.total.runs, summary.total.points), (3, 18));
    let run = found.run_named("lightning_logs/best");
    let params: Vec<_> = run.params.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        params,
        [
            ("betas", "[0.9,0.999]"),
            ("layers", "[64,32]"),
            ("lr", "0.001"),
            ("name", "null"),
            ("skip", "[64,32]")
        ]
    );
    let series = found.series_of(run.id);
    assert_eq!((&series["train_loss"].steps, &series["val_acc"].steps), (&vec![9, 19], &vec![9]));
    assert_eq!(series["epoch"].values, [0.0, 0.0, 1.0]);
}

/// `log_history` with what callbacks put there: nested values, lists, texts, a step that is no whole number.
#[test]
fn nested_entries_of_a_trainer() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "out/trainer_state.json",
        r#"{"global_step": 4, "log_history": [
            {"step": 2, "epoch": 0.5, "loss": 0.5, "rewards": {"mean": 0.25, "by": {"a": NaN}}, "ids": [1], "note": "x"},
            {"step": 2.5, "loss": 0.25, "rewards": {}}]}"#,
    );
    let (found, summary) = import(folder.path());
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    let (_, series) = only(&found);
    assert_eq!(series.keys().copied().collect::<Vec<_>>(), ["epoch", "loss", "rewards.by.a", "rewards.mean"]);
    assert_eq!(series["loss"].get(1).unwrap().step_fraction, Some(500_000));
    assert_eq!(series["rewards.mean"].values, [0.25]);
    assert_eq!(summary.remarks.iter().map(|remark| remark.count).sum::<u64>(), 3, "{summary}");
}

/// The schemas of MLflow 0.9 and 1.0, in which metrics had no step, and nothing said what is not a number.
#[test]
fn the_first_schemas_of_mlflow() {
    for (columns, values) in [
        ("key, value, timestamp, run_uuid", "'loss', 0.5, 9, 'a'"),
        ("key, value, timestamp, run_uuid, step", "'loss', 0.5, 9, 'a', 3"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let connection = rusqlite::Connection::open(folder.path().join("mlflow.db")).unwrap();
        connection
            .execute_batch(&format!(
                "CREATE TABLE experiments(experiment_id INTEGER, name, lifecycle_stage);
                 CREATE TABLE runs(run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, experiment_id);
                 CREATE TABLE metrics({columns});
                 CREATE TABLE params(key, value, run_uuid);
                 CREATE TABLE tags(key, value, run_uuid);
                 INSERT INTO experiments VALUES (0, 'team/vision: first try', 'active');
                 INSERT INTO runs VALUES ('a', 'r', 'me', 'FINISHED', 1, 2, 'active', 0);
                 INSERT INTO metrics VALUES ({values});"
            ))
            .unwrap();
        drop(connection);
        let (found, _) = import(folder.path());
        assert!(found.rejections.is_empty(), "{:?}", found.rejections);
        let (run, series) = only(&found);
        assert_eq!(run.experiment.as_str(), "team/vision: first try");
        let step = if columns.ends_with("step") { 3 } else { 0 };
        assert_eq!((&series["loss"].steps, &series["loss"].values), (&vec![step], &vec![0.5]));
    }
}

/// `CSVLogger(separator=";")`, appended to, and stopped early, for which Keras writes `NA`.
#[test]
fn a_keras_log_that_was_stopped_early() {
    let folder = tempfile::tempdir().unwrap();
    let text = "epoch;acc;loss;val_loss\r\n0;0.5;0.75;0.5\r\n1;0.75;0.5;0.25\r\n2;NA;nan;NA\r\n0;0.5;1;1\r\n";
    let path = write(folder.path(), "training.csv", text);
    let (found, _) = import(&path);
    let (_, series) = only(&found);
    assert_eq!(series["loss"].steps, [0, 1, 2, 0]);
    assert_eq!((&series["val_loss"].steps, series["acc"].len()), (&vec![0, 1, 0], 3));
    assert_eq!(found.codes().into_iter().collect::<Vec<_>>(), [("cell.not_a_number", 2)]);
    // Mostly it is called so, and no other text of that ending is a table.
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a/training.log", text);
    write(folder.path(), "a/output.log", "epoch, we are at the first\nloss, 1\n");
    write(folder.path(), "a/notes.txt", "epoch,loss\nnot,yet\n");
    let (found, _) = import(folder.path());
    let (run, series) = only(&found);
    assert_eq!((run.name.as_str(), series["loss"].len()), ("a/training", 4));
}

/// `run.history().to_csv(…)`, as pandas writes it: row numbers without a name in front.
#[test]
fn the_row_numbers_of_pandas_are_no_metric() {
    let folder = tempfile::tempdir().unwrap();
    let text = ",loss,_step,_runtime,_timestamp\n0,0.5,0,1.5,1750000000.5\n1,,7,2.5,1750000001.5\n2,0.25,9,3.5,1750000002.5\n";
    let path = write(folder.path(), "history.csv", text);
    let (found, _) = import(&path);
    let (_, series) = only(&found);
    assert_eq!(series.keys().copied().collect::<Vec<_>>(), ["_runtime", "loss"]);
    assert_eq!((&series["loss"].steps, series["loss"].times[1]), (&vec![0, 9], 1_750_000_002_500_000));
}

/// Rows whose time is missing, before and behind rows that have one, get the same times when the file has grown.
#[test]
fn rows_without_a_time_keep_theirs() {
    let folder = tempfile::tempdir().unwrap();
    for (text, counted) in [
        ("step,time,loss\n0,,1\n1,1750000000,2\n2,,3\n", true),
        ("step,time,loss\n0,1750000000,1\n1,,2\n", false),
    ] {
        let path = write(folder.path(), "t.csv", text);
        let (found, _) = import(&path);
        let (run, series) = only(&found);
        let times = &series["loss"].times;
        assert_eq!(*times.last().unwrap(), 1_750_000_000_000_000);
        // What a later import counts from is the start that the run has been given.
        assert_eq!(run.start_time, Some(times[0]));
        assert_eq!(times[0] == 1_750_000_000_000_000, !counted);
    }
}

/// Later versions of the harness: names of filters behind a comma, texts among the numbers, the time in seconds.
#[test]
fn evaluations_of_newer_harnesses() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "org__model/results_2024-06-01T12-00-00.json",
        r#"{"results": {"arc_easy": {"alias": "arc_easy", "acc,none": 0.5, "acc_stderr,none": "N/A"},
            "mmlu": {"acc,none": 0.25, "acc_stderr,none": 0.01}}, "configs": {"arc_easy": {}}, "versions": {"arc_easy": 1.0},
            "n-shot": {"arc_easy": 0}, "config": {"model": "hf", "batch_size": "auto", "model_num_parameters": 7},
            "date": 1717243200.5}"#,
    );
    write(folder.path(), "other.json", r#"{"results": {"a": {"b": 1}}, "note": "of another tool"}"#);
    let (found, summary) = import(folder.path());
    let (run, series) = only(&found);
    assert_eq!(run.name, "org__model/results_2024-06-01T12-00-00");
    assert_eq!(series["mmlu/acc,none"].times, [1_717_243_200_500_000]);
    assert_eq!((series.len(), series["arc_easy/acc,none"].steps[0]), (3, 0));
    assert_eq!(run.params["model"].as_str(), "hf");
    assert_eq!(summary.remarks.iter().map(|remark| remark.count).sum::<u64>(), 2, "{summary}");
    assert_eq!(detect(folder.path()).unrecognised.len(), 1);
}

#[test]
fn damaged_searches_keep_their_good_evaluations() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "bohb/results.json",
        "[[0, 0, 0], 3.0, {\"finished\": 1722864857.5}, {\"loss\": 0.5, \"info\": {}}, null]\n\
         [[0, 0, 1], 3.0, {\"finished\": 1722864858.5}, null, \"Traceback\\nValueError\"]\n[[0, 0\n[1, 2]\n\
         [[0, 0, 0], 9.0, {\"finished\": 1722864859.5}, {\"loss\": NaN}, null]\n",
    );
    write(
        folder.path(),
        "bohb/configs.json",
        "[[0, 0, 0], {\"lr\": 0.1, \"net\": {\"width\": 8}}, {}]\n[[0, 0, 7], {\"lr\": 0.2}, {}]\n[[0], 1]\n",
    );
    write(
        folder.path(),
        "smac/runhistory.json",
        r#"{"data": [[1, null, 7, null, [0.5, 2.0], 1.0, 1, 10.0, 1722864857.5, {}], [2, null, 7, 3.0, 0.25, 1.0, 2, 0, 0, {}], 5],
            "configs": {"1": {"x": 1}, "2": 7}}"#,
    );
    write(
        folder.path(),
        "cave/history.jsonl",
        "[0, 20, -1, [0.5, null], 0.0, 1.0, 1, {}]\n[1, 20, -1, [0.75, 1], 0.0, 1.0, 3, {}]\n[\"x\"]\n",
    );
    write(folder.path(), "cave/configs.json", r#"{"0": {"a": 1}, "1": {"a": 2}}"#);
    let (found, _) = import(folder.path());
    let run = found.run_named("bohb/0_0_0");
    let losses = found.series_of(run.id)["loss"];
    assert_eq!((&losses.steps, losses.times[0]), (&vec![3, 9], 1_722_864_857_500_000));
    assert!(losses.values[1].is_nan());
    assert_eq!((run.status, run.params["net.width"].as_str()), (RunStatus::Finished, "8"));
    let failed = found.run_named("bohb/0_0_1");
    assert_eq!(failed.status, RunStatus::Failed);
    assert!(tool::tag(failed, "bohb.exception").unwrap().ends_with("ValueError"));
    assert_eq!(found.run_named("bohb/0_0_7").status, RunStatus::Scheduled);
    let run = found.run_named("smac/1");
    assert_eq!(found.series_of(run.id)["cost_1"].values, [2.0]);
    assert_eq!((found.run_named("smac/2").status, run.params["x"].as_str()), (RunStatus::Failed, "1"));
    assert_eq!(found.series_of(found.run_named("cave/0").id).len(), 1);
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("configuration.malformed", 1), ("evaluation.malformed", 1), ("line.malformed", 4)]
    );
}

#[test]
fn damaged_logs_of_environments_and_algorithms() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "a.monitor.csv",
        "#{\"t_start\": 1614621211.5, \"env_id\": \"CartPole-v1\"}\nr,l,t,is_success\n1.5,10,2.25,True\nnan,x,3.5,False\n",
    );
    write(folder.path(), "b.monitor.csv", "#{\"t_start\": broken\nr,l,t\n1,2,3\n");
    write(
        folder.path(),
        "aslib/algorithm_runs.arff",
        "% made by hand\n@RELATION runs\n@ATTRIBUTE instance_id STRING\n@ATTRIBUTE repetition NUMERIC\n@ATTRIBUTE algorithm STRING\n\
         @ATTRIBUTE runtime NUMERIC\n@ATTRIBUTE runstatus {ok, timeout}\n\n@DATA\n'inst, 1',1,a,0.5,ok\ninst2,2,a,?,timeout\n?,1,a,1,ok\n",
    );
    write(
        folder.path(),
        "golden_values_dev.json",
        r#"{"lm loss": {"start_step": 0, "end_step": 10, "step_interval": 5, "values": {"0": 10.5, "5": "nan", "10": 9.5}}, "list": {"values": [1]}, "bad": {"values": {"x": 1}}}"#,
    );
    let (found, _) = import(folder.path());
    let run = found.run_named("a.monitor");
    let series = found.series_of(run.id);
    assert_eq!((series["r"].len(), series["l"].len(), series["t"].times[0]), (2, 1, 1_614_621_213_750_000));
    assert_eq!(found.series_of(found.run_named("b.monitor").id)["r"].values, [1.0]);
    let run = found.run_named("aslib/inst, 1/a");
    assert_eq!(found.series_of(run.id)["runtime"].values, [0.5]);
    let late = found.run_named("aslib/inst2/a/2");
    assert_eq!((late.status, found.series_of(late.id).len()), (RunStatus::Failed, 0));
    let golden = found.series_of(found.run_named("golden_values_dev").id);
    assert_eq!(golden["lm loss"].steps, [0, 5, 10]);
    assert!(golden["lm loss"].values[1].is_nan());
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("header.malformed", 1), ("point.malformed", 1), ("row.malformed", 1)]
    );
}
