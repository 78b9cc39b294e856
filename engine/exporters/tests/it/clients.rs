//! The tools' own readers read what we export, where they are installed.

use std::path::Path;

use exporters::{ExportForm, Options};
use model::{Key, MetricName, ParamValue, RunId, SeriesKey};
use serde_json::{Value, json};

use crate::collector::{Lake, plain_run};

fn lake() -> Lake {
    let mut lake = Lake::default();
    let mut parent = plain_run(1, "sweep: ä \"quoted\"");
    parent.user = Some("ada".to_owned());
    let mut child = plain_run(2, "trial/1");
    child.parent = Some(parent.id);
    child.status = model::RunStatus::Failed;
    child.params.insert(Key::new("lr").unwrap(), ParamValue::new("0.1").unwrap());
    child.params.insert(Key::new("opt").unwrap(), ParamValue::new("adam").unwrap());
    for (metric, values) in [("train/loss", [0.1, f64::NAN, f64::INFINITY]), ("acc", [-0.0, 5e-324, 1e300])] {
        let key = SeriesKey { run: child.id, metric: MetricName::new(metric).unwrap(), context: None };
        // A step that comes again, as after a restart.
        let steps = [5, 1, 5];
        let point = |index: usize| {
            ((steps[index], None, 1_750_000_000_000_000 + index as i64 * 1_000, values[index].to_bits()), 0)
        };
        lake.series.insert(key, (0..3).map(point).collect());
    }
    lake.runs.insert(parent.id, parent);
    lake.runs.insert(child.id, child);
    lake
}

fn answer(modules: &str, script: &str, target: &Path) -> Option<Value> {
    let mut python = e2e::python(modules)?;
    let output = python.args(["-c", script]).arg(target).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    let last = text.trim_end().lines().last().unwrap_or_default();
    Some(serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[test]
fn tensorboard_reads_every_scalar_and_the_hyperparameters() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("logs");
    lake().export(&target, Options::new(ExportForm::TensorBoard));
    let script = r#"
import sys, os, json
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.compat.proto import summary_pb2
found = {}
for folder, _, files in os.walk(sys.argv[1]):
    if not any("tfevents" in name for name in files):
        continue
    events = EventAccumulator(folder, size_guidance={"tensors": 0})
    events.Reload()
    run = {}
    for tag in events.Tags()["tensors"]:
        if tag.startswith("_hparams_"):
            continue
        assert events.SummaryMetadata(tag).data_class == summary_pb2.DATA_CLASS_SCALAR
        run[tag] = [[e.step, round(e.wall_time * 1e6), repr(float(tensor_util.make_ndarray(e.tensor_proto)))]
                    for e in events.Tensors(tag)]
    hparams = {}
    for tag, content in events.PluginTagToContent("hparams").items():
        data = plugin_data_pb2.HParamsPluginData.FromString(content)
        if data.HasField("session_start_info"):
            for key, value in data.session_start_info.hparams.items():
                hparams[key] = getattr(value, value.WhichOneof("kind"))
        if data.HasField("session_end_info"):
            hparams["status"] = data.session_end_info.status
    found[os.path.relpath(folder, sys.argv[1])] = {"scalars": run, "hparams": hparams}
print(json.dumps(found))
"#;
    let Some(found) = answer("tensorboard", script, &target) else { return };
    let times = [1_750_000_000_000_000_i64, 1_750_000_000_001_000, 1_750_000_000_002_000];
    let scalars = |values: [&str; 3]| {
        json!([[5, times[0], values[0]], [1, times[1], values[1]], [5, times[2], values[2]]])
    };
    let expected = json!({
        "scalars": {
            "train/loss": scalars(["0.1", "nan", "inf"]),
            "acc": scalars(["-0.0", "5e-324", "1e+300"]),
        },
        "hparams": {"lr": 0.1, "opt": "adam", "status": 2},
    });
    assert_eq!(found["trial/trial_1"], expected);
    assert_eq!(found["trial/sweep__ä__quoted_"]["hparams"], json!({"status": 1}));
}

#[test]
fn mlflow_reads_runs_and_histories() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("mlruns");
    lake().export(&target, Options::new(ExportForm::Mlflow));
    let script = r#"
import sys, os, json
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
from mlflow.tracking import MlflowClient
client = MlflowClient("file://" + sys.argv[1])
experiments = {e.experiment_id: e.name for e in client.search_experiments()}
found = {}
for run in client.search_runs(list(experiments)):
    found[run.info.run_id] = {
        "experiment": experiments[run.info.experiment_id],
        "name": run.info.run_name, "status": run.info.status, "user": run.info.user_id,
        "start": run.info.start_time, "parent": run.data.tags.get("mlflow.parentRunId"),
        "params": run.data.params,
        "metrics": {key: [[m.step, m.timestamp, repr(m.value)] for m in client.get_metric_history(run.info.run_id, key)]
                    for key in run.data.metrics},
    }
print(json.dumps(found))
"#;
    let Some(found) = answer("mlflow", script, &target) else { return };
    let child = &found[RunId::from_u128(2).to_string()];
    let history = |values: [&str; 3]| {
        json!([
            [5, 1_750_000_000_000_i64, values[0]],
            [1, 1_750_000_000_001_i64, values[1]],
            [5, 1_750_000_000_002_i64, values[2]]
        ])
    };
    assert_eq!(
        *child,
        json!({
            "experiment": "trial", "name": "trial/1", "status": "FAILED", "user": "",
            "start": 1_750_000_000_000_i64, "parent": RunId::from_u128(1).to_string(),
            "params": {"lr": "0.1", "opt": "adam"},
            "metrics": {
                "train/loss": history(["0.1", "nan", "inf"]),
                "acc": history(["-0.0", "5e-324", "1e+300"]),
            },
        })
    );
    let parent = &found[RunId::from_u128(1).to_string()];
    assert_eq!((&parent["name"], &parent["user"]), (&json!("sweep: ä \"quoted\""), &json!("ada")));
}

#[test]
fn pandas_reads_every_table() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    for form in [ExportForm::Parquet, ExportForm::Csv, ExportForm::Jsonl] {
        lake().export(&target.join(format!("{form:?}")), Options::new(form));
    }
    let script = r#"
import sys, os, json
import pandas as pd
found = []
for form, read in [("Parquet", lambda p: pd.read_parquet(p + ".parquet")),
                   ("Csv", lambda p: pd.read_csv(p + ".csv", dtype={"run_id": str})),
                   # read_json of pandas refuses the smallest doubles.
                   ("Jsonl", lambda p: pd.DataFrame([json.loads(line) for line in open(p + ".jsonl")]))]:
    points = read(os.path.join(sys.argv[1], form, "points"))
    runs = read(os.path.join(sys.argv[1], form, "runs"))
    joined = points.merge(runs, on="run_id")
    found.append([sorted(joined.name.unique()), joined.step.tolist(), [repr(float(v)) for v in joined["value"]]])
print(json.dumps(found))
"#;
    let Some(found) = answer("pandas, pyarrow", script, &target) else { return };
    let expected =
        json!([["trial/1"], [5, 1, 5, 5, 1, 5], ["-0.0", "5e-324", "1e+300", "0.1", "nan", "inf"]]);
    assert_eq!(found, json!([expected, expected, expected]));
}
