//! Run folders of Sacred against their own JSON.

use importers::SourceKind;
use model::RunStatus;

use crate::collector::import;
use crate::tool;

fn micros(text: &str) -> i64 {
    importers::time::micros_from_text(text).unwrap()
}

#[test]
fn metrics_config_and_result() {
    let Some(data) = e2e::data() else { return };
    let (found, _, document) =
        tool::check(&data.join("clients/sacred"), SourceKind::Sacred, str::to_owned, micros);
    for (key, wanted) in document["runs"].as_object().unwrap() {
        let run = found.run_named(key);
        assert_eq!(run.status, RunStatus::Finished);
        assert_eq!(run.experiment.as_str(), wanted["experiment"].as_str().unwrap());
        assert_eq!(tool::params(run), tool::flattened(&wanted["params"]), "{key}");
        let result: f64 = tool::tag(run, "sacred.result").unwrap().parse().unwrap();
        assert_eq!(Some(result), wanted["result"].as_f64());
        assert!(tool::tag(run, "sacred.info.note.k").is_some());
    }
    let first = found.run_named("sacred_runs/1");
    assert_eq!(first.start_time, Some(micros("2026-11-20T23:40:05.258716")));
    assert_eq!(first.end_time, Some(micros("2026-11-20T23:40:05.266701")));
}

#[test]
fn numbers_of_numpy_lengths_and_failures() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "1/run.json",
        r#"{"status": "FAILED", "start_time": "2026-01-01T00:00:00", "heartbeat": "2026-01-01T00:00:09",
        "fail_trace": ["a\n", "b\n"], "experiment": {"name": "e", "repositories": [{"commit": "abc"}]}}"#,
    );
    write("1/config.json", "{");
    write(
        "1/metrics.json",
        r#"{
        "loss": {"steps": [0, 1, 2], "values": [NaN, {"dtype": "float64", "py/object": "numpy.float64", "value": 0.5}, "x"],
                 "timestamps": ["2026-01-01T00:00:01", "2026-01-01T00:00:02", "2026-01-01T00:00:03"]},
        "short": {"steps": [0, 1], "values": [1.0], "timestamps": ["2026-01-01T00:00:01", "2026-01-01T00:00:02"]},
        "bad": [1]}"#,
    );
    write("2/run.json", "{\"status\": \"RUNNING\"}");
    write("2/config.json", "{\"seed\": 1}");
    write("3/run.json", "not json");
    write("3/config.json", "{}");
    let (found, _) = import(folder.path());
    let run = found.run_named("1");
    assert_eq!((run.status, run.git_commit.as_deref()), (RunStatus::Failed, Some("abc")));
    assert_eq!(run.end_time, Some(micros("2026-01-01T00:00:09")));
    let series = found.series_of(run.id);
    assert_eq!(series["loss"].values.len(), 2);
    assert_eq!(series["loss"].values[1], 0.5);
    assert_eq!(series["short"].values, [1.0]);
    assert_eq!(found.run_named("2").params["seed"].as_str(), "1");
    assert_eq!(found.runs.len(), 2);
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("import.unreadable", 2), ("metric.lengths", 1), ("metric.malformed", 1), ("point.malformed", 1)]
    );
}
