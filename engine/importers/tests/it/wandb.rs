//! `.wandb` files of versions 0.12, 0.17 and 0.31 against W&B's own reader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use importers::wandb::log::framed;
use importers::wandb::record::{Changes, Exit, History, HistoryStep, Item, Record, Run, Stats, Timestamp};
use importers::{Options, Place, SourceKind};
use model::{PointColumns, RunId, RunStatus};
use prost::Message;
use serde_json::Value;

use crate::collector::{Collector, detect, import, import_kinds};
use crate::{expected, tool};

fn micros(seconds: &str) -> i64 {
    (seconds.parse::<f64>().unwrap() * 1e6).round() as i64
}

#[test]
fn all_three_versions_give_what_wandb_reads() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("clients/wandb");
    let document = e2e::expected_document(&folder);
    let points = expected::points(&folder);
    let (found, summary) = import_kinds(&folder, &[SourceKind::Wandb], &Options::default());
    assert_eq!(summary.total.points, document["totals"]["points"].as_u64().unwrap());
    // Directories of one run, in the order in which they were made.
    let mut runs: BTreeMap<String, Vec<(&String, &Value)>> = BTreeMap::new();
    for (key, wanted) in document["runs"].as_object().unwrap() {
        let id = wanted["run_id"].as_str().unwrap();
        runs.entry(format!("{}/{id}", wanted["project"].as_str().unwrap())).or_default().push((key, wanted));
    }
    assert_eq!(found.runs.len(), runs.len());
    for (identity, directories) in runs {
        let run = &found.runs[&RunId::imported("wandb", &identity)];
        let (first, last) = (directories[0].1, directories.last().unwrap().1);
        assert_eq!(run.name, first["display_name"].as_str().unwrap());
        assert_eq!(run.project.as_ref().unwrap().as_str(), first["project"].as_str().unwrap());
        let status = match last["exit_code"].as_i64() {
            None => RunStatus::Running,
            Some(0) => RunStatus::Finished,
            Some(_) => RunStatus::Failed,
        };
        assert_eq!(run.status, status, "{identity}");
        assert_eq!(run.start_time, Some(micros(&first["start_time"].to_string())), "{identity}");
        let tag = |key: &str| run.tags.iter().find(|(k, _)| k.as_str() == key).map(|(_, v)| v.as_str());
        for (key, field) in
            [("wandb.group", "group"), ("wandb.job_type", "job_type"), ("wandb.notes", "notes")]
        {
            assert_eq!(tag(key).unwrap_or(""), first[field].as_str().unwrap(), "{identity} {key}");
        }
        let labels: Value = tag("wandb.tags").unwrap_or("[]").parse().unwrap();
        assert_eq!(labels, first["tags"], "{identity}");
        let mut params = BTreeMap::new();
        let mut summary = BTreeMap::new();
        for (_, directory) in &directories {
            params.extend(tool::flattened(&directory["config"]));
            summary.extend(tool::flattened(&directory["summary"]));
        }
        let actual: BTreeMap<_, _> = run.params.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        // Versions differ in whether they wrote infinities as texts.
        let same = |actual: &str, wanted: &str| {
            actual == wanted || actual.parse::<f64>().is_ok_and(|a| Ok(a) == wanted.parse())
        };
        assert_eq!(actual.keys().collect::<Vec<_>>(), params.keys().collect::<Vec<_>>(), "{identity}");
        for (key, wanted) in &params {
            assert!(same(&actual[key], wanted), "{identity} {key}: {} is not {wanted}", actual[key]);
        }
        for (key, wanted) in &summary {
            let actual = tag(&format!("wandb.summary.{key}")).unwrap_or_else(|| panic!("{identity} {key}"));
            assert!(same(actual, wanted), "{identity} {key}: {actual} is not {wanted}");
        }
        for (_, directory) in &directories {
            for defined in directory["define_metric"].as_array().unwrap() {
                let name = [&defined["name"], &defined["glob"]].map(|name| name.as_str().unwrap()).concat();
                let said: Value = tag(&format!("wandb.define_metric.{name}")).unwrap().parse().unwrap();
                assert_eq!(
                    said["step_metric"].as_str().unwrap_or(""),
                    defined["step_metric"].as_str().unwrap()
                );
                let keeps_min =
                    said["summary"].as_array().is_some_and(|kept| kept.contains(&Value::from("min")));
                assert_eq!(keeps_min, defined["summary_min"].as_bool().unwrap());
            }
        }
        check_points(&identity, &found.series_of(run.id), &directories, &points);
    }
    // Killed while it wrote: the half record is told, and nothing else is rejected.
    let codes: Vec<_> = found.codes().into_iter().collect();
    assert_eq!(codes, [("record.truncated", 1)], "{:?}", found.rejections);
    assert!(found.rejections[0].file.to_string_lossy().contains("crash017"));
    assert_eq!(found.rejections[0].place, Place::Offset(40_864));
}

type Expected = BTreeMap<(String, String), Vec<expected::TextPoint>>;

fn check_points(
    identity: &str,
    series: &BTreeMap<&str, &PointColumns>,
    directories: &[(&String, &Value)],
    points: &Expected,
) {
    let names: BTreeSet<&str> = directories
        .iter()
        .flat_map(|(_, directory)| directory["metrics"].as_object().unwrap().keys().map(String::as_str))
        .collect();
    assert_eq!(series.keys().copied().collect::<BTreeSet<_>>(), names, "{identity}");
    for name in names {
        let wanted: Vec<_> = directories
            .iter()
            .flat_map(|(key, _)| {
                points.get(&((*key).clone(), name.to_owned())).into_iter().flatten().cloned()
            })
            .collect();
        let what = format!("{identity} {name}");
        expected::check_points(&what, &wanted, series[name], micros);
        if let [(_, directory)] = directories {
            expected::check_series(&what, &directory["metrics"][name], series[name]);
        }
    }
}

#[test]
fn run_folders_are_taken_whole_and_links_named() {
    let Some(data) = e2e::data() else { return };
    let found = detect(&data.join("clients/wandb"));
    let source = found.sources.iter().find(|source| source.kind == SourceKind::Wandb).unwrap();
    assert_eq!(source.units.len(), 18);
    assert_eq!(source.units.iter().map(|unit| unit.files.len()).sum::<usize>(), 21);
    let links = found.unrecognised.iter().filter(|left| left.reason.contains("link")).count();
    assert_eq!(links, 9, "{:?}", found.unrecognised);
    // The folder of one run, and its file alone.
    let folder = data.join("clients/wandb/wandb-0.31/wandb/offline-run-20261120_230903-odds031");
    let (whole, _) = import(&folder);
    let (file, _) = import(&folder.join("run-odds031.wandb"));
    assert_eq!(whole.everything(), file.everything());
    assert_eq!(whole.runs.len(), 1);
}

fn item(key: &str, value: &str) -> Item {
    Item { key: key.to_owned(), value_json: value.to_owned().into(), ..Item::default() }
}

fn row(step: i64, time: f64, items: &[(&str, &str)]) -> Record {
    let mut item: Vec<Item> = items.iter().map(|(key, value)| self::item(key, value)).collect();
    item.push(self::item("_timestamp", &time.to_string()));
    Record { history: Some(History { item, step: Some(HistoryStep { num: step }) }), ..Record::default() }
}

fn run(id: &str, config: &[(&str, &str)]) -> Record {
    let update = config.iter().map(|(key, value)| item(key, value)).collect();
    let run = Run {
        run_id: id.to_owned(),
        project: "p.q".to_owned(),
        config: Some(Changes { update, remove: Vec::new() }),
        start_time: Some(Timestamp { seconds: 1_750_000_000, nanos: 1_999 }),
        ..Run::default()
    };
    Record { run: Some(run), ..Record::default() }
}

fn write(folder: &Path, name: &str, records: &[Record]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, framed(&records.iter().map(Message::encode_to_vec).collect::<Vec<_>>())).unwrap();
}

fn only(found: &Collector) -> (&importers::ImportedRun, BTreeMap<&str, &PointColumns>) {
    assert_eq!(found.runs.len(), 1);
    let run = found.runs.values().next().unwrap();
    (run, found.series_of(run.id))
}

#[test]
fn odd_records_are_points_rejections_or_remarks() {
    let folder = tempfile::tempdir().unwrap();
    let stats = Stats {
        timestamp: Some(Timestamp { seconds: 1_750_000_009, nanos: 500_000_000 }),
        item: vec![item("gpu.0.temp", "61.5"), item("system.cpu", "3"), item("proc", "{")],
    };
    let long = "k".repeat(300);
    let records = [
        run("abc", &[("lr", "0.1"), ("bad", "{"), ("deep", r#"{"a": {"b": [1, NaN]}}"#)]),
        row(0, 1.75e9, &[("loss", "NaN"), ("x", "\"Infinity\""), ("text", "\"7\""), ("none", "null")]),
        row(
            5,
            1.75e9 + 1.0,
            &[
                ("loss", "-Infinity"),
                ("val", r#"{"acc": 0.5, "image": {"_type": "image-file", "size": 7}, "flag": true}"#),
                ("media", r#"{"_type": "table-file", "nrows": 3}"#),
                (&long, "1"),
                ("broken", "1 2"),
            ],
        ),
        row(5, 1.75e9 - 1.0, &[("loss", "9007199254740993")]),
        row(3, f64::NAN, &[("loss", "2")]),
        Record { stats: Some(stats), ..Record::default() },
        Record { output: Some("text".into()), alert: Some("text".into()), ..Record::default() },
        Record { exit: Some(Exit { exit_code: 0, runtime: 60 }), ..Record::default() },
    ];
    write(folder.path(), "offline-run-20260101_000000-abc/run-abc.wandb", &records);
    let (found, summary) = import(folder.path());
    let (run, series) = only(&found);
    assert_eq!((run.project.as_ref(), run.experiment.as_str()), (None, "p.q"));
    assert_eq!(run.status, RunStatus::Finished);
    assert_eq!(run.start_time, Some(1_750_000_000_000_001));
    assert_eq!(run.end_time, Some(1_750_000_060_000_001));
    let params: Vec<_> = run.params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(params, [("deep.a.b", "[1,NaN]"), ("lr", "0.1")]);
    assert_eq!(series["loss"].steps, [0, 5, 5, 3]);
    assert_eq!(
        series["loss"].times,
        [1_750_000_000_000_000, 1_750_000_001_000_000, 1_749_999_999_000_000, 1_750_000_001_000_000]
    );
    assert!(series["loss"].values[0].is_nan());
    assert_eq!(series["loss"].values[1..], [f64::NEG_INFINITY, 9_007_199_254_740_992.0, 2.0]);
    assert_eq!(series["x"].values, [f64::INFINITY]);
    assert_eq!(series["val.acc"].values, [0.5]);
    assert_eq!(
        (series["system/gpu.0.temp"].values.as_slice(), series["system/cpu"].steps.as_slice()),
        (&[61.5][..], &[0][..])
    );
    assert_eq!(series.len(), 5);
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("metric.refused", 1), ("value.malformed", 3)]
    );
    let remarks: BTreeSet<&str> = summary.remarks.iter().map(|remark| remark.code).collect();
    assert_eq!(
        remarks,
        ["ignored.not_a_number", "ignored.records", "project.refused", "time.missing"].into()
    );
}

#[test]
fn a_damaged_file_keeps_what_is_before_and_the_other_parts() {
    let folder = tempfile::tempdir().unwrap();
    let first =
        [run("abc", &[("part", "0")]), row(0, 1.75e9, &[("loss", "1")]), row(1, 1.75e9, &[("loss", "2")])];
    write(folder.path(), "run-20260101_000000-abc/run-abc.wandb", &first);
    write(
        folder.path(),
        "offline-run-20260101_000001-abc/run-abc.wandb",
        &[
            run("abc", &[("part", "1")]),
            row(2, 1.75e9, &[("loss", "3")]),
            Record { exit: Some(Exit { exit_code: 1, runtime: 1 }), ..Record::default() },
        ],
    );
    let path = folder.path().join("run-20260101_000000-abc/run-abc.wandb");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    write(folder.path(), "other.wandb", &[row(4, 1.75e9, &[("loss", "5")])]);
    std::fs::write(folder.path().join("broken.wandb"), b"PK\x03\x04 and so on").unwrap();
    let (found, _) = import(folder.path());
    assert_eq!(found.codes().into_iter().collect::<Vec<_>>(), [("file.header", 1), ("record.checksum", 1)]);
    assert_eq!(found.runs.len(), 2);
    let run = found.run_named("abc");
    assert_eq!(found.series_of(run.id)["loss"].values, [1.0, 3.0]);
    assert_eq!((run.status, run.params["part"].as_str()), (RunStatus::Failed, "1"));
    assert_eq!(found.series_of(found.run_named("other").id)["loss"].values, [5.0]);
}
