//! `trainer_state.json` against the Trainer's own reader, and a real one of 30 epochs.

use importers::{Options, SourceKind, TimeSource};

use crate::collector::{import, import_kinds};
use crate::expected;

#[test]
fn a_run_is_imported_once_with_its_checkpoints() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("clients/hf");
    let (found, summary) = import_kinds(&folder, &[SourceKind::HuggingFace], &Options::default());
    let document = e2e::expected_document(&folder);
    let points = expected::points(&folder);
    assert_eq!(found.runs.len(), 1);
    let run = found.run_named("toy-clf/seed-0");
    let wanted = &document["runs"]["toy-clf/seed-0"]["metrics"];
    let series = found.series_of(run.id);
    assert_eq!(series.len(), wanted.as_object().unwrap().len());
    for (metric, wanted) in wanted.as_object().unwrap() {
        expected::check_series(metric, wanted, series[metric.as_str()]);
        let wanted = &points[&("toy-clf/seed-0".to_owned(), metric.clone())];
        expected::check_points(metric, wanted, series[metric.as_str()], |_| 0);
    }
    assert!(found.rejections.is_empty());
    assert_eq!(run.params["max_steps"].as_str(), "100");
    assert_eq!(run.time_source, TimeSource::FileModified);
    // 24 and 12 entries of the two checkpoints.
    assert!(
        summary.remarks.iter().any(|remark| remark.code == "checkpoint.repeated" && remark.count == 36),
        "{summary}"
    );
}

#[test]
fn a_checkpoint_alone_is_the_run_and_has_its_identity() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("clients/hf/toy-clf/seed-0");
    let document = e2e::expected_document(&data.join("clients/hf"));
    let (whole, _) = import(&folder);
    let (alone, _) = import(&folder.join("checkpoint-50"));
    let run = alone.runs.values().next().unwrap();
    assert!(whole.runs.contains_key(&run.id));
    let series = alone.series_of(run.id);
    for (metric, wanted) in document["runs"]["toy-clf/seed-0/checkpoint-50"]["metrics"].as_object().unwrap() {
        expected::check_series(metric, wanted, series[metric.as_str()]);
    }
}

#[test]
fn checkpoints_of_another_run_bare_words_and_bad_entries() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "a/trainer_state.json",
        r#"{"max_steps": 3, "log_history": [{"step": 1, "loss": NaN, "note": "x"}, {"loss": 1}, 7, {"step": 2, "loss": -Infinity, "flag": true}]}"#,
    );
    write("a/checkpoint-1/trainer_state.json", r#"{"log_history": [{"step": 1, "loss": NaN, "note": "x"}]}"#);
    write("a/checkpoint-2/trainer_state.json", r#"{"log_history": [{"step": 1, "loss": 2.0}]}"#);
    write(
        "b/checkpoint-10/trainer_state.json",
        r#"{"log_history": [{"step": 1, "loss": 2.0}, {"step": 10, "loss": 1.0}]}"#,
    );
    write("b/checkpoint-9/trainer_state.json", r#"{"log_history": [{"step": 1, "loss": 2.0}]}"#);
    write("c/trainer_state.json", "{\"log_history\": [");
    let (found, _) = import(folder.path());
    let names: Vec<&str> = {
        let mut names: Vec<_> = found.runs.values().map(|run| run.name.as_str()).collect();
        names.sort();
        names
    };
    assert_eq!(names, ["a", "a/checkpoint-2", "b"]);
    let a = found.series_of(found.run_named("a").id);
    assert!(a["loss"].values[0].is_nan() && a["loss"].values[1] == f64::NEG_INFINITY);
    assert_eq!(a.len(), 1);
    assert_eq!(found.series_of(found.run_named("b").id)["loss"].steps, [1, 10]);
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("entry.not_an_object", 1), ("import.unreadable", 1), ("step.missing", 1)]
    );
}

#[test]
fn the_real_run_of_thirty_epochs() {
    let Some(data) = e2e::data() else { return };
    let (found, summary) = import(&data.join("hf-trainer-state"));
    assert_eq!((summary.total.runs, summary.total.series, summary.total.points), (1, 34, 1_236));
    let run = found.runs.values().next().unwrap();
    let series = found.series_of(run.id);
    assert_eq!(series["loss"].len(), 30);
    assert_eq!(series["loss"].values.last(), Some(&0.0549));
    let accuracy = series["eval_g0_accuracy"];
    assert_eq!((accuracy.values[0], accuracy.values[30]), (0.7082294264339152, 0.5935162094763092));
}
