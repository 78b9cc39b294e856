//! The small files in this repository, which every machine has.

use std::path::{Path, PathBuf};

use model::RunStatus;

use crate::collector::import;

fn small(tool: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/small").join(tool)
}

#[test]
fn scalars_of_every_form_and_type() {
    let (found, summary) = import(&small("tensorboard/logs"));
    assert_eq!((summary.total.runs, summary.total.points, summary.total.rejected), (4, 40, 0));
    for (run, first, last) in [
        ("simple", 1.0, f64::from((-9.0_f64 / 4.0).exp() as f32)),
        ("float64", 1.0, (-9.0_f64 / 4.0).exp()),
        ("int64", 10.0, 1.0),
    ] {
        let series = found.series_of(found.run_named(run).id);
        let loss = series["loss"];
        assert_eq!((loss.values[0], loss.values[9]), (first, last), "{run}");
        assert_eq!(loss.times[9], 1_750_000_009_000_000);
    }
    let half = found.series_of(found.run_named("float16").id)["loss"].values[9];
    assert!(
        (half - (-9.0_f64 / 4.0).exp()).abs() < 1e-4 && half.to_bits().trailing_zeros() >= 42,
        "{half:?}"
    );
}

#[test]
fn a_file_store() {
    let (found, summary) = import(&small("mlflow"));
    assert_eq!(
        (summary.total.runs, summary.total.points, summary.total.nan, summary.total.rejected),
        (2, 12, 2, 0)
    );
    let run = found.run_named("run-1");
    assert_eq!(
        (run.status, run.experiment.as_str(), run.params["lr"].as_str()),
        (RunStatus::Failed, "small", "0.1")
    );
    assert_eq!(run.end_time, Some(1_750_000_009_000_000));
    let series = found.series_of(run.id);
    assert_eq!(series["train/loss"].values, [0.5, 1.0 / 3.0, 0.25, 0.2, 1.0 / 6.0]);
    assert_eq!(series["odd"].steps, [-1]);
}
