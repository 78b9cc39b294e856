//! AlgoPerf's benchmark trials: sparse wide tables and TensorBoard files of the same runs.

use std::path::Path;

use importers::{Options, SourceKind};

use crate::collector::{Collector, import_kinds};
use crate::shared;

fn measurements(root: &Path) -> Collector {
    let mut collector = Collector::default();
    let mut sources = importers::detect(root, &importers::Limits::default()).unwrap().sources;
    sources.retain(|source| source.kind == SourceKind::Csv);
    for source in &mut sources {
        source.units.retain(|unit| unit.location.ends_with("measurements.csv"));
    }
    let plan = importers::plan(&sources, &Options::default()).unwrap();
    importers::import(&plan, &mut collector).unwrap();
    collector
}

#[test]
fn measurements_are_the_published_counts() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("algoperf");
    let unpacked = shared::unpacked(&folder.join("external_tuning-baseline-csv-json.tar.zst"));
    let baseline = measurements(unpacked.path());
    let raw = measurements(&folder.join("raw"));
    assert_eq!(baseline.runs.len() + raw.runs.len(), 419);
    let all = || baseline.points.iter().chain(&raw.points);
    assert_eq!(all().map(|(_, points)| points.len()).sum::<usize>(), 1_005_741);
    assert_eq!(all().count(), 6_787);
    for (metric, series, points, min, max) in [
        ("loss", 399, 294_487, 0.014858108, 33.534977),
        ("grad_norm", 399, 294_487, 0.0016555564, 560.6184),
        ("validation/loss", 341, 25_520, 0.0429587550461292, 903.603271484375),
    ] {
        let of_metric = || all().filter(|((_, name, _), _)| name == metric).map(|(_, points)| points);
        assert_eq!(of_metric().count(), series, "{metric}");
        assert_eq!(of_metric().map(model::PointColumns::len).sum::<usize>(), points, "{metric}");
        let values = || of_metric().flat_map(|points| points.values.iter().copied());
        assert_eq!(values().fold(f64::INFINITY, f64::min), min, "{metric}");
        assert_eq!(values().fold(f64::NEG_INFINITY, f64::max), max, "{metric}");
    }
    let rejected: Vec<_> = baseline.rejections.iter().chain(&raw.rejections).collect();
    assert!(rejected.is_empty(), "{:?}", rejected[0]);
    let trial = baseline
        .runs
        .values()
        .find(|run| run.name.ends_with("baseline/study_0/criteo1tb_jax/trial_1/measurements"))
        .unwrap();
    assert_eq!(trial.params["learning_rate"].number(), Some(0.001308209823469072));
    let losses = &baseline.series_of(trial.id)["validation/loss"];
    assert_eq!((losses.steps.last(), losses.values.last()), (Some(&9_109), Some(&0.1238287774955266)));
}

#[test]
fn event_files_hold_the_points_of_the_tables() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("algoperf");
    let events = shared::unpacked(&folder.join("external_tuning-baseline-study_0-tfevents.tar.zst"));
    let tables = shared::unpacked(&folder.join("external_tuning-baseline-csv-json.tar.zst"));
    let (found, summary) = import_kinds(events.path(), &[SourceKind::TensorBoard], &Options::default());
    assert!(found.rejections.is_empty(), "{:?}", found.rejections[0]);
    println!("{summary}");
    let tables = measurements(tables.path());
    let mut compared = 0;
    for run in found.runs.values() {
        let Some(table) =
            tables.runs.values().find(|table| table.name == format!("{}/measurements", run.name))
        else {
            continue;
        };
        let (events, rows) = (found.series_of(run.id), tables.series_of(table.id));
        for metric in ["loss", "validation/loss"] {
            let (Some(events), Some(rows)) = (events.get(metric), rows.get(metric)) else { continue };
            // Event files hold 32-bit floats, the table the doubles behind them or their shortest digits.
            let mut logged: Vec<(i64, u32)> =
                events.iter().map(|p| (p.step, (p.value as f32).to_bits())).collect();
            let mut written: Vec<(i64, u32)> =
                rows.iter().map(|p| (p.step, (p.value as f32).to_bits())).collect();
            logged.sort_unstable();
            written.sort_unstable();
            if logged.len() == written.len() {
                assert_eq!(logged, written, "{} {metric}", run.name);
                compared += 1;
            }
        }
    }
    assert!(compared >= 70, "{compared} series compared");
    let trial = found.runs.values().find(|run| run.name.ends_with("study_0/criteo1tb_jax/trial_1")).unwrap();
    let series = found.series_of(trial.id);
    assert_eq!((series["loss"].len(), series["validation/loss"].len()), (98, 7));
    assert!(series.contains_key("global_step"));
}
