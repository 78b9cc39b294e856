//! Result logs of MLPerf Training v0.7.

use std::collections::BTreeMap;

use importers::{Options, SourceKind};
use model::{PointColumns, RunStatus};

use crate::collector::{Collector, import, import_kinds};
use crate::{shared, tool};

#[test]
fn results_are_the_published_counts() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("mlperf-v0.7");
    let unpacked = shared::unpacked(&folder.join("bulk-results.tar.zst"));
    let import = |path| import_kinds(path, &[SourceKind::Mlperf], &Options::default()).0;
    let parts = [import(&folder.join("raw")), import(unpacked.path())];
    let rejected: Vec<_> = parts.iter().flat_map(|part| &part.rejections).collect();
    assert!(rejected.is_empty(), "{}: {:?}", rejected.len(), rejected[0]);
    assert_eq!(parts.iter().map(|part| part.runs.len()).sum::<usize>(), 490);
    let mut series: BTreeMap<&str, Vec<&PointColumns>> = BTreeMap::new();
    for ((_, metric, _), points) in parts.iter().flat_map(|part| &part.points) {
        series.entry(metric).or_default().push(points);
    }
    assert_eq!(series.values().map(Vec::len).sum::<usize>(), 525);
    assert_eq!(series.values().flatten().map(|points| points.len()).sum::<usize>(), 5_119);
    for (metric, count, points, min, max) in [
        ("eval_accuracy", 455, 4_055, 0.0, 0.8027622699737549),
        ("eval_accuracy/BBOX", 35, 532, 0.04760417342185974, 0.38104068523512724),
    ] {
        let values = || series[metric].iter().flat_map(|points| points.values.iter().copied());
        assert_eq!((series[metric].len(), values().count()), (count, points), "{metric}");
        assert_eq!(values().fold(f64::INFINITY, f64::min), min);
        assert_eq!(values().fold(f64::NEG_INFINITY, f64::max), max);
    }
    let mean = |place: &str| {
        let seconds: Vec<f64> = parts.iter().flat_map(|part| times(part, place)).collect();
        (seconds.len(), format!("{:.6}", seconds.iter().sum::<f64>() / seconds.len() as f64))
    };
    assert_eq!(mean("DellEMC/results/4xC4140/ssd/"), (5, "746.440600".to_owned()));
    assert_eq!(mean("Google/results/tpu-v4-16-TF/bert/"), (10, "2733.984900".to_owned()));
    assert_eq!(mean("Fujitsu/results/gx_V100x8_fjmxnet/resnet/"), (5, "3695.052000".to_owned()));
    let failed =
        parts.iter().flat_map(|part| part.runs.values()).filter(|run| run.status == RunStatus::Failed);
    assert_eq!(failed.count(), 2);
}

fn times<'c>(part: &'c Collector, place: &'c str) -> impl Iterator<Item = f64> + 'c {
    let runs = part.runs.values().filter(move |run| run.name.contains(place));
    runs.map(|run| tool::tag(run, "mlperf.time_to_train").unwrap().parse().unwrap())
}

#[test]
fn prefixes_lists_and_damaged_records() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("result_0.txt"),
        "free text\nhost1: :::MLLOG {\"time_s\": 1593354446.25, \"key\": \"run_start\", \"value\": null, \"metadata\": {}}\n\
         :::MLLOG {\"time_ms\": 1593354447000, \"key\": \"eval_accuracy\", \"value\": [\"BBOX\", 0.2, \"SEGM\", 0.1]}\n\
         :::MLLOG {\"time_ms\": 1593354448000, \"key\": \"eval_accuracy\", \"value\": NaN, \"metadata\": {\"step_num\": 7}}\n\
         :::MLLOG {\"time_ms\": 1593354448000, \"key\": \"eval_accuracy\", \"value\": \"high\"}\n\
         :::MLLOG {\"time_ms\": 1593354448000, \"key\": \"seed\", \"value\": 12}\n:::MLLOG {\"cut\n:::MLLOG {\"key\": \"seed\"}\n\
         :::MLLOG {\"time_ms\": 1593354449750, \"key\": \"run_stop\", \"value\": null, \"metadata\": {\"status\": \"aborted\"}}",
    )
    .unwrap();
    // What is only written about such logs is none.
    std::fs::write(folder.path().join("README.md"), "Logs with `:::MLLOG {json}` between free text.\n")
        .unwrap();
    let (found, _) = import(folder.path());
    let run = found.run_named("result_0.txt");
    assert_eq!((run.status, tool::tag(run, "mlperf.time_to_train")), (RunStatus::Failed, Some("3.5")));
    assert_eq!(run.params["seed"].as_str(), "12");
    let series = found.series_of(run.id);
    assert_eq!(series["eval_accuracy/BBOX"].steps, [0]);
    assert_eq!(series["eval_accuracy"].steps, [7]);
    assert!(series["eval_accuracy"].values[0].is_nan());
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("record.malformed", 1), ("time.missing", 1), ("value.not_a_number", 1)]
    );
}
