//! Lightning's CSV logger against its own file.

use std::collections::BTreeMap;

use importers::{Options, SourceKind};
use serde_json::Value;

use crate::collector::{detect, import, import_kinds};
use crate::expected;

#[test]
fn sparse_rows_and_typed_hyperparameters() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("clients/lightning");
    let document = e2e::expected_document(&folder);
    let points = expected::points(&folder);
    let (found, summary) = import_kinds(&folder, &[SourceKind::Lightning], &Options::default());
    assert_eq!(summary.total.points, document["totals"]["points"].as_u64().unwrap());
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    for (key, wanted) in document["runs"].as_object().unwrap() {
        let run = found.run_named(key);
        let params: BTreeMap<_, _> = run.params.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let wanted_params: BTreeMap<_, _> = wanted["params"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
            .collect();
        assert_eq!(params, wanted_params);
        let series = found.series_of(run.id);
        let metrics: BTreeMap<&String, &Value> = wanted["metrics"].as_object().unwrap().iter().collect();
        assert_eq!(series.len(), metrics.len());
        for (metric, wanted) in metrics {
            let what = format!("{key} {metric}");
            expected::check_points(
                &what,
                &points[&(key.clone(), metric.clone())],
                series[metric.as_str()],
                |_| 0,
            );
            expected::check_series(&what, wanted, series[metric.as_str()]);
        }
    }
    // The file alone is the same run.
    let (alone, _) = import(&folder.join("lightning_logs/version_0/metrics.csv"));
    assert_eq!(alone.runs.keys().collect::<Vec<_>>(), found.runs.keys().collect::<Vec<_>>());
    assert_eq!(format!("{:?}", alone.points), format!("{:?}", found.points));
}

#[test]
fn hyperparameters_with_tags_are_refused_and_the_points_taken() {
    let folder = tempfile::tempdir().unwrap();
    let version = folder.path().join("logs/version_3");
    std::fs::create_dir_all(&version).unwrap();
    std::fs::write(version.join("metrics.csv"), "epoch,step,loss\n0,1,0.5\n1,2,\n1,3,nan\n").unwrap();
    std::fs::write(version.join("hparams.yaml"), "a: !!python/object/apply:os.system ['true']\n").unwrap();
    let (found, _) = import(folder.path());
    assert_eq!(found.codes().into_iter().collect::<Vec<_>>(), [("import.unreadable", 1)]);
    assert!(found.rejections[0].message.contains("tags"), "{:?}", found.rejections);
    let run = found.run_named("logs/version_3");
    assert_eq!((run.source.as_deref(), run.params.len()), (Some("lightning"), 0));
    assert_eq!(found.series_of(run.id)["loss"].steps, [1, 3]);
    let detection = detect(folder.path());
    assert!(detection.unrecognised.is_empty(), "{:?}", detection.unrecognised);
    assert_eq!(detection.sources[0].units[0].files.len(), 2);
}
