//! Files of torch, tensorboardX and TensorBoard's own writer against TensorBoard's own reader.

use std::collections::BTreeMap;

use importers::{Options, SourceKind, Summary};
use serde_json::Value;

use crate::collector::{Collector, import_kinds};
use crate::expected;

fn import(path: &std::path::Path) -> (Collector, Summary) {
    import_kinds(path, &[SourceKind::TensorBoard], &Options::default())
}

fn micros(seconds: &str) -> i64 {
    (seconds.parse::<f64>().unwrap() * 1e6).round() as i64
}

#[test]
fn every_run_param_and_point_is_what_tensorboard_reads() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("clients/tensorboard");
    let (found, summary) = import(&folder);
    let document = e2e::expected_document(&folder);
    let points = expected::points(&folder);
    let runs = document["runs"].as_object().unwrap();
    let names: Vec<&str> = found.runs.values().map(|run| run.name.as_str()).collect();
    assert_eq!(names.len(), runs.len(), "{names:?}");
    let mut differing_views = 0;
    for (name, wanted) in runs {
        let run = found.run_named(name);
        let series = found.series_of(run.id);
        let all = wanted["metrics_all"].as_object().unwrap();
        differing_views += usize::from(wanted["metrics_all"] != wanted["metrics"]);
        assert_eq!(
            series.keys().copied().collect::<Vec<_>>(),
            {
                let mut k: Vec<_> = all.keys().map(String::as_str).collect();
                k.sort();
                k
            },
            "{name}"
        );
        for (metric, wanted) in all {
            let what = format!("{name} {metric}");
            expected::check_series(&what, wanted, series[metric.as_str()]);
            expected::check_points(
                &what,
                &points[&(name.clone(), metric.clone())],
                series[metric.as_str()],
                micros,
            );
        }
        let params: BTreeMap<String, String> =
            run.params.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let wanted: BTreeMap<String, String> = wanted["params"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| {
                let text = match value {
                    Value::Number(number) => format!("{:?}", number.as_f64().unwrap()),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                (key.clone(), text)
            })
            .collect();
        assert_eq!(params, wanted, "{name}");
        assert!(run.start_time.is_some() && run.end_time >= run.start_time, "{name}: {run:?}");
    }
    // In these files nothing was logged again: TensorBoard's view and all points are the same.
    assert_eq!(differing_views, 0);
    assert_eq!(summary.total.points, document["totals"]["points"].as_u64().unwrap());
    // The cut file is told with its place.
    assert_eq!(found.rejections.len(), 1, "{:?}", found.rejections);
    assert!(found.rejections[0].file.ends_with("torch/truncated/events.out.tfevents.1795214522.vm.20131.8"));
    assert_eq!(found.rejections[0].code, "record.truncated");
    assert!(
        summary.remarks.iter().any(|remark| remark.code == "ignored.values" && remark.count == 2),
        "{summary}"
    );
}

#[test]
fn a_run_has_the_same_identity_from_any_root_and_each_time() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("clients/tensorboard");
    let (whole, _) = import(&folder);
    let (again, _) = import(&folder);
    assert_eq!(whole.everything(), again.everything());
    let (part, _) = import(&folder.join("torch/mlp/lr=0.001/seed_0/train"));
    let run = part.runs.values().next().unwrap();
    assert_eq!(run.name, "train");
    assert_eq!(run.id, whole.run_named("torch/mlp/lr=0.001/seed_0/train").id);
    let file = std::fs::read_dir(folder.join("torch/mlp/lr=0.001/seed_0/train"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let (one, _) = import(&file);
    assert_eq!(one.runs.values().next().unwrap().id, run.id);
    assert_eq!(one.series_of(run.id), part.series_of(run.id));
}

#[test]
fn restarted_runs_keep_all_points_in_the_order_of_their_files() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("algoperf/raw/external_tuning/cyclic_lr/study_0/criteo1tb_pytorch/trial_4");
    let (found, _) = import(&folder);
    assert_eq!(found.runs.len(), 1);
    let run = found.runs.values().next().unwrap();
    let series = found.series_of(run.id);
    assert_eq!(series["validation/loss"].len(), 2, "{:?}", series.keys().collect::<Vec<_>>());
    assert!(series["validation/loss"].times.is_sorted());
}
