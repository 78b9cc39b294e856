//! Input that is broken or means harm: counted, located, and never in the way of the rest.

use std::io::Write;
use std::path::Path;

use importers::tensorboard::event::{Event, Summary, Value};
use importers::tensorboard::record::framed;
use importers::{Limits, Options, Place, SourceKind};
use prost::Message;

use crate::collector::{Collector, detect, import};

fn write(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn event(step: i64, wall_time: f64, tag: &[u8], value: f32) -> Vec<u8> {
    let value = Value { tag: tag.to_vec().into(), simple_value: Some(value), ..Value::default() };
    let event = Event { wall_time, step, summary: Some(Summary { value: vec![value] }), ..Event::default() };
    framed(&event.encode_to_vec())
}

fn events(count: i64) -> Vec<Vec<u8>> {
    (0..count).map(|step| event(step, 1.75e9, b"loss", step as f32)).collect()
}

#[test]
fn an_empty_folder_has_no_sources_and_a_plan_of_nothing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let found = detect(folder.path());
    assert!(found.sources.is_empty() && found.unrecognised.is_empty());
    assert_eq!(
        importers::plan(&found.sources, &Options::default()).unwrap_err().code(),
        "import.nothing_recognised"
    );
}

#[test]
fn empty_files_stop_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["events.out.tfevents.1", "a.csv", "a.jsonl", "a.parquet", "a.csv.gz"] {
        write(folder.path(), name, b"");
    }
    write(folder.path(), "good.csv", b"step,loss\n0,1\n");
    let (found, summary) = import(folder.path());
    assert_eq!(summary.total.points, 1);
    assert_eq!(found.runs.len(), 1);
    assert_eq!(found.codes().into_iter().collect::<Vec<_>>(), [("file.empty", 1), ("import.unreadable", 1)]);
}

#[test]
fn a_wrong_checksum_keeps_what_is_before_and_the_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = events(5).concat();
    let third = events(2).concat().len();
    bytes[third + 20] ^= 1;
    write(folder.path(), "run/events.out.tfevents.1", &bytes);
    write(folder.path(), "run/events.out.tfevents.2", &event(9, 1.75e9, b"loss", 9.0));
    let (found, _) = import(folder.path());
    assert_eq!(found.points.values().next().unwrap().steps, [0, 1, 9]);
    assert_eq!(found.rejections.len(), 1);
    let rejection = &found.rejections[0];
    assert_eq!((rejection.code, rejection.place), ("record.checksum", Place::Offset(third as u64)));
    assert!(rejection.file.ends_with("run/events.out.tfevents.1"));
}

#[test]
fn odd_events_are_counted_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let long = vec![b'm'; 10_000];
    let records = [
        event(-3, 1.75e9, b"loss", f32::NAN),
        event(-3, 1.75e9, b"loss", f32::INFINITY),
        event(0, 1.75e9, &long, 1.0),
        event(1, 1.75e9, &long, 1.0),
        event(0, 1.75e9, b"bad \xff name", 1.0),
        event(0, f64::NAN, b"loss", 1.0),
        framed(b"\xff\xff\xff\xff"),
        event(7, 1.75e9, b"loss", -0.0),
    ];
    write(folder.path(), "events.out.tfevents.1", &records.concat());
    let (found, summary) = import(folder.path());
    let points = found.points.values().next().unwrap();
    assert_eq!(points.steps, [-3, -3, 7]);
    assert_eq!(points.values[2].to_bits(), (-0.0_f64).to_bits());
    assert_eq!((summary.total.nan, summary.total.infinite), (1, 1));
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("event.malformed", 1), ("metric.refused", 3), ("time.out_of_range", 1)]
    );
    assert!(found.rejections.iter().all(|rejection| rejection.message.len() < 1_100));
}

#[test]
fn long_names_bad_texts_and_missing_headers_in_tables() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "long.csv", format!("step,{}\n0,1\n1,2\n", "m".repeat(10_000)).as_bytes());
    let mut bytes = b"step,metric,value\n".to_vec();
    bytes.extend(vec![b' '; 0]);
    for step in 0..40_000 {
        bytes.extend(format!("{step},loss,{step}.5\n").as_bytes());
    }
    // Far behind the sample that decides on the encoding.
    bytes.resize(bytes.len().max(1 << 20), b'\n');
    bytes.extend(b"40000,lo\xffss,1\n40001,loss,nan\n");
    write(folder.path(), "late.csv", &bytes);
    write(folder.path(), "none.csv", b"0,1.0\n1,-inf\n");
    let (found, summary) = import(folder.path());
    assert_eq!(found.codes().into_iter().collect::<Vec<_>>(), [("metric.refused", 2)]);
    let metrics: Vec<&str> = found.points.keys().map(|(_, metric, _)| metric.as_str()).collect();
    assert!(metrics.contains(&"lo\u{fffd}ss") && metrics.contains(&"(col 1)"), "{metrics:?}");
    assert!(summary.remarks.iter().any(|remark| remark.code == "text.replaced" && remark.count == 1));
    assert_eq!(summary.total.points, 40_000 + 2 + 2);
}

#[cfg(unix)]
#[test]
fn links_pipes_and_loops_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret.csv", b"step,loss\n0,1\n");
    write(folder.path(), "in/good.csv", b"step,loss\n0,1\n");
    std::os::unix::fs::symlink(outside.path().join("secret.csv"), folder.path().join("link.csv")).unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("linked")).unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("in/loop")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(folder.path().join("pipe.csv")).status();
    let (found, summary) = import(folder.path());
    assert_eq!((found.runs.len(), summary.total.points), (1, 1));
    let left = detect(folder.path()).unrecognised.len();
    assert_eq!(left, 3 + usize::from(pipe.is_ok_and(|status| status.success())));
}

#[test]
fn a_bomb_is_cut_at_its_ratio() {
    let folder = tempfile::tempdir().unwrap();
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 19).unwrap();
    bomb.write_all(b"step,loss\n0,1\n").unwrap();
    let line = vec![b' '; 1 << 20];
    for _ in 0..64 {
        bomb.write_all(&line).unwrap();
    }
    write(folder.path(), "bomb.csv.zst", &bomb.finish().unwrap());
    let (found, _) = import(folder.path());
    assert!(found.codes().contains_key("file.cut"), "{:?}", found.rejections);
}

#[test]
fn limits_of_files_depth_columns_and_documents_hold() {
    let folder = tempfile::tempdir().unwrap();
    let deep = (0..40).map(|_| "d").collect::<Vec<_>>().join("/");
    write(folder.path(), &format!("{deep}/a.csv"), b"step,loss\n0,1\n");
    let found = detect(folder.path());
    assert!(found.sources.is_empty());
    assert!(found.unrecognised[0].reason.contains("deeper than 32"));

    let limits = Limits { files: 3, columns: 50, document_bytes: 100, ..Limits::default() };
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "wide.csv",
        (0..60).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",").as_bytes(),
    );
    write(
        folder.path(),
        "keys.jsonl",
        (0..60).map(|i| format!("{{\"k{i}\": 1}}\n")).collect::<String>().as_bytes(),
    );
    write(
        folder.path(),
        "big.json",
        format!("[{{\"history\": [], \"x\": \"{}\"}}]", "x".repeat(200)).as_bytes(),
    );
    let sources = importers::detect(folder.path(), &limits).unwrap().sources;
    let plan = importers::plan(&sources, &Options { limits: limits.clone(), ..Options::default() }).unwrap();
    let mut collector = Collector::default();
    importers::import(&plan, &mut collector).unwrap();
    assert_eq!(collector.codes().values().sum::<u64>(), 3, "{:?}", collector.rejections);
    write(folder.path(), "one_more.csv", b"step,loss\n");
    assert_eq!(importers::detect(folder.path(), &limits).unwrap_err().code(), "import.too_large");
}

#[test]
fn deep_json_and_runaway_quotes_cost_only_their_rows() {
    let folder = tempfile::tempdir().unwrap();
    let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let text =
        format!("{{\"step\":0,\"loss\":1}}\n{}\n{}\n{{\"step\":1,\"loss\":2}}\n", deep(40), deep(50_000));
    write(folder.path(), "deep.jsonl", text.as_bytes());
    write(folder.path(), "quote.csv", b"step,loss\n0,1\n1,\"2\n2,3\n3,4\n");
    let (found, _) = import(folder.path());
    let lengths: Vec<usize> = found.points.values().map(model::PointColumns::len).collect();
    assert_eq!(lengths.iter().sum::<usize>(), 3);
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("cell.not_a_number", 1), ("json.too_deep", 1), ("line.not_json", 1)]
    );
}

#[test]
fn damaged_parquet_files_never_panic() {
    let Some(data) = e2e::data() else { return };
    let original = std::fs::read(data.join("clients/plain/clean/long.parquet")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Every 37th byte, so that header, pages and footer are all hit.
    for position in (0..original.len()).step_by(37) {
        let mut bytes = original.clone();
        bytes[position] ^= 0xff;
        write(folder.path(), "x.parquet", &bytes);
        let _ = import(folder.path());
    }
}

#[test]
fn a_sink_that_fails_ends_the_import() {
    struct Full;
    impl importers::Sink for Full {
        fn run(&mut self, _: importers::ImportedRun) -> Result<(), importers::SinkError> {
            Err(importers::SinkError::new("the disk is full"))
        }
        fn points(
            &mut self,
            _: model::RunId,
            _: &model::MetricName,
            _: Option<&model::Context>,
            _: model::PointColumns,
        ) -> Result<(), importers::SinkError> {
            unreachable!()
        }
        fn facts(&mut self, _: model::RunId, _: importers::RunFacts) -> Result<(), importers::SinkError> {
            unreachable!()
        }
        fn reject(&mut self, _: importers::Rejection) -> Result<(), importers::SinkError> {
            Ok(())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "events.out.tfevents.1", &events(2).concat());
    let sources = detect(folder.path()).sources;
    assert_eq!(sources[0].kind, SourceKind::TensorBoard);
    let plan = importers::plan(&sources, &Options::default()).unwrap();
    let error = importers::import(&plan, &mut Full).unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("import.sink", "the disk is full"));
}
