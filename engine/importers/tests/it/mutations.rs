//! Small files of every kind with bytes changed at random: whatever comes of it, an import ends, hands on only what is valid,
//! and says the same again. With the shared data the files of real clients are changed too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use importers::exported::MANIFEST;
use importers::tensorboard::event::{Event, Summary, Value};
use importers::tensorboard::record::framed;
use importers::wandb::record::{Changes, Exit, History, HistoryStep, Item, Record, Run};
use importers::{Limits, Options, SourceKind};
use prost::Message;

use crate::collector::Collector;

/// The files of a sample by their paths.
type Sample = Vec<(PathBuf, Vec<u8>)>;

fn sample(files: &[(&str, &[u8])]) -> Sample {
    files.iter().map(|(path, content)| (PathBuf::from(path), content.to_vec())).collect()
}

fn events() -> Vec<u8> {
    let event = |step: i64| {
        let value = Value { tag: "loss".into(), simple_value: Some(0.5), ..Value::default() };
        let summary = Some(Summary { value: vec![value] });
        framed(&Event { wall_time: 1.75e9, step, summary, ..Event::default() }.encode_to_vec())
    };
    (0..4).flat_map(event).collect()
}

fn wandb() -> Vec<u8> {
    let item = |key: &str, value: &str| Item {
        key: key.into(),
        value_json: value.to_owned().into(),
        ..Item::default()
    };
    let run = Run {
        run_id: "abc".into(),
        config: Some(Changes { update: vec![item("lr", "{\"a\": [1, NaN]}")], remove: Vec::new() }),
        ..Run::default()
    };
    let row = |step| History {
        item: vec![item("loss", "0.5"), item("val", "{\"acc\": 1}"), item("_timestamp", "1.75e9")],
        step: Some(HistoryStep { num: step }),
    };
    let records = [
        Record { run: Some(run), ..Record::default() },
        Record { history: Some(row(0)), ..Record::default() },
        Record { history: Some(row(7)), ..Record::default() },
        Record { exit: Some(Exit { exit_code: 1, runtime: 3 }), ..Record::default() },
    ];
    importers::wandb::log::framed(&records.iter().map(Message::encode_to_vec).collect::<Vec<_>>())
}

fn database(statements: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(statements).unwrap();
    std::fs::read(path).unwrap()
}

fn rows(names: [&str; 2]) -> RecordBatch {
    let steps: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2]));
    let values: ArrayRef = Arc::new(Float64Array::from(vec![0.5, f64::NAN, 0.25]));
    RecordBatch::try_from_iter([(names[0], steps), (names[1], values)]).unwrap()
}

fn parquet(names: [&str; 2]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, rows(names).schema(), None).unwrap();
    writer.write(&rows(names)).unwrap();
    writer.close().unwrap();
    bytes
}

fn arrow_file() -> Vec<u8> {
    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    let mut bytes = Vec::new();
    let batch = rows(["step", "loss"]);
    let mut writer = FileWriter::try_new_with_options(&mut bytes, &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn archives() -> (Vec<u8>, Vec<u8>) {
    use std::io::Write;
    let mut tar = tar::Builder::new(zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap());
    let mut header = tar::Header::new_ustar();
    let content = b"step,loss\n0,1\n";
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "a/x.csv", &content[..]).unwrap();
    let tar = tar.into_inner().unwrap().finish().unwrap();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("a/x.csv", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(content).unwrap();
    (tar, zip.finish().unwrap().into_inner())
}

const RUN: &str = "0123456789abcdef0123456789abcdef";

fn tracker_samples() -> Vec<Sample> {
    let mlflow = database(
        "CREATE TABLE experiments(experiment_id INTEGER, name, lifecycle_stage);
         CREATE TABLE runs(run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, experiment_id);
         CREATE TABLE metrics(key, value, timestamp, run_uuid, step, is_nan);
         CREATE TABLE params(key, value, run_uuid); CREATE TABLE tags(key, value, run_uuid);
         INSERT INTO experiments VALUES (1, 'e', 'active');
         INSERT INTO runs VALUES ('a', 'r', 'me', 'FINISHED', 1, 2, 'active', 1);
         INSERT INTO metrics VALUES ('loss', 2.0, 9, 'a', 5, 0), ('loss', 0.0, 9, 'a', 6, 1);",
    );
    let trackio = database(
        "CREATE TABLE configs(id INTEGER PRIMARY KEY, run_name, config, created_at);
         CREATE TABLE metrics(id INTEGER PRIMARY KEY, timestamp, run_name, step, metrics);
         INSERT INTO configs VALUES (1, 'r', '{\"lr\": 0.1}', '2026-01-01T00:00:00');
         INSERT INTO metrics VALUES (1, '2026-01-01T00:00:00', 'r', 0, '{\"loss\": \"NaN\"}');",
    );
    let meta = format!("run_id: {RUN}\nrun_name: r\nstatus: 3\nstart_time: 1\nlifecycle_stage: active\n");
    vec![
        sample(&[("events.out.tfevents.1", &events())]),
        sample(&[("offline-run-20260101_000000-abc/run-abc.wandb", &wandb())]),
        sample(&[("t_p_abc_0.runhistory.parquet", &parquet(["_step", "loss"]))]),
        sample(&[("mlflow.db", &mlflow)]),
        sample(&[("project.db", &trackio)]),
        sample(&[
            ("mlruns/7/meta.yaml", b"experiment_id: '7'\nname: e\nlifecycle_stage: active\n"),
            (&format!("mlruns/7/{RUN}/meta.yaml"), meta.as_bytes()),
            (&format!("mlruns/7/{RUN}/metrics/a/loss"), b"1 0.5 0\n2 nan -1\n3 1e400 7 d 1\n"),
            (&format!("mlruns/7/{RUN}/params/lr"), b"0.1"),
        ]),
        sample(&[(
            "journal.log",
            b"{\"op_code\":0,\"worker_id\":\"a\",\"study_name\":\"s\",\"directions\":[1]}\n\
              {\"op_code\":4,\"worker_id\":\"a\",\"study_id\":0,\"datetime_start\":\"2026-11-20T23:26:55.5+00:00\"}\n\
              {\"op_code\":7,\"worker_id\":\"a\",\"trial_id\":0,\"step\":2,\"intermediate_value\":NaN}\n",
        )]),
        sample(&[(
            "trainer_state.json",
            br#"{"max_steps": 3, "log_history": [{"step": 1, "loss": NaN, "r": {"m": 1}}, {"step": 2.5, "loss": 1e400}]}"#,
        )]),
        sample(&[
            ("v/version_0/metrics.csv", b"epoch,step,loss\n0,1,0.5\n1,2,\n"),
            ("v/version_0/hparams.yaml", b"betas: !!python/tuple\n- 0.9\na: &x {b: 1}\nc: *x\n"),
        ]),
        sample(&[
            ("dvclive/metrics.json", b"{\"loss\": 0.5}"),
            ("dvclive/params.yaml", b"lr: 0.1\n"),
            ("dvclive/plots/metrics/train/loss.tsv", b"step\tloss\n0\t0.5\n1\tnan\n"),
        ]),
        sample(&[
            ("exp/t_0/result.json", b"{\"training_iteration\": 1, \"loss\": NaN, \"info\": {\"a\": 1}}\n"),
            ("exp/t_0/params.json", b"{\"lr\": 0.1}"),
            (
                "exp/experiment_state-1.json",
                br#"{"trial_data": [["{\"relative_logdir\": \"t_0\", \"status\": \"ERROR\"}", "{}"]]}"#,
            ),
        ]),
        sample(&[
            ("1/run.json", br#"{"status": "COMPLETED", "start_time": "2026-01-01T00:00:00", "result": 1}"#),
            ("1/config.json", br#"{"lr": 0.1}"#),
            (
                "1/metrics.json",
                br#"{"loss": {"steps": [0, 1], "timestamps": ["2026-01-01T00:00:00", "x"], "values": [0.5, NaN]}}"#,
            ),
        ]),
        sample(&[(
            "result_0.txt",
            b":::MLLOG {\"time_ms\": 1593354447000, \"key\": \"eval_accuracy\", \"value\": [\"BBOX\", 0.2], \"metadata\": {\"epoch_num\": 1}}\n",
        )]),
        sample(&[
            (
                MANIFEST,
                br#"{"what":"runlake export","version":1,"form":"csv","runs":1,"series":1,"points":1,"files":[
                    {"file":"runs.csv","table":"runs","rows":1,"bytes":1},{"file":"points.csv","table":"points","rows":1,"bytes":1}]}"#,
            ),
            (
                "runs.csv",
                b"run_id,project,experiment,name,status,user,start_time,end_time,parent_run_id,source,source_run_id,git_commit,deleted\n\
                  0123456789abcdef0123456789abcdef,p,e,n,FINISHED,,1,2,,,,,false\n",
            ),
            (
                "points.csv",
                b"run_id,metric,context,attempt,step,step_frac,time,value\n0123456789abcdef0123456789abcdef,loss,,0,1,,5,0.5\n",
            ),
        ]),
    ]
}

fn other_samples() -> Vec<Sample> {
    let (tar, zip) = archives();
    vec![
        sample(&[("a.csv", b"step,loss,note\n0,0.5,x\n1,\"nan\",\"a\nb\"\n")]),
        sample(&[("a.tsv", b"run\tstep\tkey\tvalue\na\t1\tloss\t0.5\n")]),
        sample(&[("b.csv", b"\xef\xbb\xbfa;b\r\n1,5;2,5\r\n")]),
        sample(&[("c.csv", b"model,top1,size\na,1,s\nb,2,l\n")]),
        sample(&[("a.jsonl", b"{\"step\": 1, \"loss\": NaN, \"a\": {\"b\": 1}}\n{\"step\": 2}\n")]),
        sample(&[("a.json", br#"[{"name": "r", "config": {"a": 1}, "history": [{"step": 1, "loss": 2}]}]"#)]),
        sample(&[("b.json", br#"[{"task": "a", "seed": 1, "xs": [0, 1], "ys": [null, 2]}]"#)]),
        sample(&[("a.parquet", &parquet(["step", "loss"]))]),
        sample(&[("a.arrow", &arrow_file())]),
        sample(&[("a.tar.zst", &tar)]),
        sample(&[("a.zip", &zip)]),
        sample(&[
            ("results.json", b"[[0, 0, 0], 3.0, {\"finished\": 1722864857.5}, {\"loss\": 0.5}, null]\n"),
            ("configs.json", b"[[0, 0, 0], {\"lr\": 0.1}, {}]\n"),
        ]),
        sample(&[(
            "runhistory.json",
            br#"{"data": [[1, null, 7, 2.5, [0.5, 2.0], 1.0, 1, 10.0, 1722864857.5, {}]], "configs": {"1": {"x": 1}}}"#,
        )]),
        sample(&[
            ("history.jsonl", b"[0, 20, -1, [0.5, null], 0.0, 1.0, 1, {}]\n"),
            ("configs.json", br#"{"0": {"a": 1}}"#),
            ("meta.json", br#"{"objectives": [{"name": "cost"}]}"#),
        ]),
        sample(&[("a.monitor.csv", b"#{\"t_start\": 1614621211.5}\nr,l,t\n1.5,10,2.25\n2,3,4\n")]),
        sample(&[("golden_values_a.json", br#"{"lm loss": {"start_step": 1, "values": {"1": 1.5, "2": "nan"}}}"#)]),
        sample(&[(
            "m_step10.json",
            br#"{"results": {"t": {"acc": 0.5}}, "versions": {"t": 0}, "config": {"model": "m"}}"#,
        )]),
        sample(&[
            (
                "models/m.json",
                br#"{"name": "m", "hyperparameters": {"lr": 1}, "open_lm_args": [], "results": [{"loss": 1, "val_data": ["a"]}]}"#,
            ),
            ("evals/evaluation_m_heavy.json", br#"{"uuid": "x", "eval_metrics": {"icl": {"t": 0.5}}}"#),
        ]),
        sample(&[
            (
                "algorithm_runs.arff",
                b"@ATTRIBUTE instance_id STRING\n@ATTRIBUTE algorithm STRING\n@ATTRIBUTE cost NUMERIC\n@DATA\ni,'a',0.5\n",
            ),
            ("configurations.csv", b"idx,lr\na,0.1\n"),
        ]),
    ]
}

/// Numbers that are the same on every machine (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound.max(1) as u64).unwrap()
    }
}

/// Texts that parsers trip over.
const SPLINTERS: [&[u8]; 14] = [
    b"99999999999999999999",
    b"-9223372036854775808",
    b"1e999",
    b"NaN",
    b"{\"a\":{\"a\":{\"a\":{\"a\":[[[[",
    b"\"",
    b"\\",
    b"\n",
    b"\0\0\0\0\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"null",
    b"[]",
    b"../../",
];

fn changed(content: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = content.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(12)).min(bytes.len());
        match random.below(7) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 if !bytes.is_empty() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let splinter = SPLINTERS[random.below(SPLINTERS.len())];
                let end = if random.below(2) == 0 { at } else { end };
                bytes.splice(at..end, splinter.iter().copied());
            }
        }
    }
    bytes
}

fn small_limits() -> Limits {
    Limits {
        file_bytes: 1 << 24,
        expanded_bytes: 1 << 24,
        record_bytes: 1 << 20,
        line_bytes: 1 << 16,
        document_bytes: 1 << 20,
        ..Limits::default()
    }
}

/// Imports a folder; the collector checks what it is given.
fn survive(folder: &Path) -> Option<Collector> {
    let limits = small_limits();
    let found = importers::detect(folder, &limits).unwrap();
    let options = Options { limits, ..Options::default() };
    let plan = importers::plan(&found.sources, &options).ok()?;
    let mut collector = Collector::default();
    importers::import(&plan, &mut collector).unwrap();
    Some(collector)
}

fn lay_out(folder: &Path, sample: &Sample) {
    for (path, content) in sample {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

#[test]
fn every_kind_survives_changed_bytes() {
    const ROUNDS: usize = 60;
    let mut kinds = std::collections::BTreeSet::new();
    let mut random = Random(20_261_122);
    for sample in tracker_samples().into_iter().chain(other_samples()) {
        let folder = tempfile::tempdir().unwrap();
        lay_out(folder.path(), &sample);
        let whole = survive(folder.path()).unwrap();
        let named = &sample[0].0;
        assert!(!whole.points.is_empty(), "{}: {:?}", named.display(), whole.rejections);
        assert!(whole.rejections.is_empty(), "{}: {:?}", named.display(), whole.rejections);
        kinds.extend(
            importers::detect(folder.path(), &Limits::default()).unwrap().sources.iter().map(|s| s.kind),
        );
        for (path, content) in &sample {
            for _ in 0..ROUNDS / sample.len() {
                std::fs::write(folder.path().join(path), changed(content, &mut random)).unwrap();
                let first = survive(folder.path()).map(|found| found.everything());
                // The same bytes give the same, also where they are broken.
                assert_eq!(
                    first,
                    survive(folder.path()).map(|found| found.everything()),
                    "{}",
                    path.display()
                );
            }
            std::fs::write(folder.path().join(path), content).unwrap();
        }
    }
    // Optuna's databases, AMLTK and Neptune are read by what these samples read; lines need a map.
    let left: Vec<_> = SourceKind::all().filter(|kind| !kinds.contains(kind)).collect();
    assert_eq!(left, [SourceKind::Neptune, SourceKind::Amltk, SourceKind::Lines]);
}

#[test]
fn files_of_real_clients_survive_changed_bytes() {
    let Some(data) = e2e::data() else { return };
    let mut random = Random(7);
    let folder = tempfile::tempdir().unwrap();
    let mut files = 0;
    let found = importers::detect(&data.join("clients"), &Limits::default()).unwrap();
    let single = found.sources.iter().flat_map(|source| &source.units).filter(|unit| unit.files.len() == 1);
    for unit in single {
        let file = &unit.files[0];
        if std::fs::metadata(file).unwrap().len() > 128 << 10 {
            continue;
        }
        let content = std::fs::read(file).unwrap();
        let path = folder.path().join(file.file_name().unwrap());
        for _ in 0..3 {
            std::fs::write(&path, changed(&content, &mut random)).unwrap();
            survive(folder.path());
        }
        std::fs::remove_file(path).unwrap();
        files += 1;
    }
    assert!(files > 20, "{files}");
}
