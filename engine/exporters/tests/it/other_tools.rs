//! TensorBoard and MLflow: what these forms can hold comes back through the importers, and what they cannot is counted.

use std::collections::BTreeMap;

use exporters::{ExportForm, Manifest, Options};
use importers::Remark;
use model::SeriesKey;
use proptest::prelude::*;

use crate::collector::{Bits, Lake, import};
use crate::random;

/// The lake as a form can hold it: whole steps, no contexts, and what a test allows beyond.
fn held(lake: &Lake, keep: impl Fn(&SeriesKey) -> bool, change: impl Fn(Bits) -> Bits) -> Lake {
    let mut held = Lake { runs: lake.runs.clone(), series: BTreeMap::new() };
    for (key, points) in &lake.series {
        let points: Vec<_> = points
            .iter()
            .filter(|((_, fraction, ..), _)| fraction.is_none())
            .map(|(point, _)| (change(*point), 0))
            .collect();
        if key.context.is_none() && keep(key) && !points.is_empty() {
            held.series.insert(key.clone(), points);
        }
    }
    held
}

fn count(manifest: &Manifest, code: &str) -> u64 {
    manifest.losses.iter().find(|loss| loss.code == code).map_or(0, |loss| loss.count)
}

fn points(lake: &Lake) -> u64 {
    lake.series.values().map(|points| points.len() as u64).sum()
}

fn without_losses(remarks: &[Remark]) -> Vec<&'static str> {
    remarks.iter().map(|remark| remark.code).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn event_files_hold_points_params_and_status(lake in random::lake()) {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        // Times that are exact in seconds.
        let mut lake = lake;
        for ((_, _, time, _), _) in lake.series.values_mut().flatten() {
            *time = time.rem_euclid(4_000_000_000_000_000);
        }
        for run in lake.runs.values_mut() {
            run.start_time = run.start_time.map(|time| time.rem_euclid(4_000_000_000_000_000));
            run.end_time = run.end_time.map(|time| time.rem_euclid(4_000_000_000_000_000) + 1);
        }
        let manifest = lake.export(&target, Options::new(ExportForm::TensorBoard));
        prop_assert_eq!(count(&manifest, "time.rounded"), 0);
        let expected = held(&lake, |_| true, |point| point);
        let left = count(&manifest, "series.context") + count(&manifest, "point.step_fraction");
        prop_assert_eq!(points(&expected) + left, points(&lake));
        prop_assert_eq!(manifest.points, points(&expected));
        if lake.runs.is_empty() {
            return Ok(());
        }
        let found = import(&target);
        prop_assert!(found.rejections.is_empty(), "{:?}", found.rejections);
        prop_assert_eq!(without_losses(&found.remarks), Vec::<&str>::new());
        // Runs have new ids: they are told apart by what is in them.
        prop_assert_eq!(found.lake.runs.len(), lake.runs.len());
        let contents = |lake: &Lake| {
            let mut contents: Vec<_> = lake.runs.values().map(|run| {
                let series = lake.series.iter().filter(|(key, _)| key.run == run.id);
                let series: BTreeMap<_, _> = series.map(|(key, points)| (key.metric.to_string(), points.clone())).collect();
                (series, run.params.clone())
            }).collect();
            contents.sort_by_key(|content| format!("{content:?}"));
            contents
        };
        prop_assert_eq!(contents(&found.lake), contents(&expected));
        let statuses = |lake: &Lake| {
            let mut statuses: Vec<&str> = lake.runs.values().map(|run| match run.status.as_str() {
                // Not known to event files.
                "SCHEDULED" | "KILLED" => "FINISHED",
                status => status,
            }).collect();
            statuses.sort_unstable();
            statuses.join(" ")
        };
        prop_assert_eq!(statuses(&found.lake), statuses(&lake));
    }

    #[test]
    fn a_file_store_holds_runs_and_points_in_milliseconds(lake in random::lake()) {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        let mut lake = lake;
        for run in lake.runs.values_mut() {
            // Without what MLflow reads from tags of its own.
            run.name = format!("n{}", run.name.replace(char::is_control, ""));
            run.user = run.user.take().filter(|user| !user.is_empty());
            run.git_commit = run.git_commit.take().map(|commit| commit.trim().to_owned());
        }
        let manifest = lake.export(&target, Options::new(ExportForm::Mlflow));
        let valid = |key: &str| {
            let allowed = |c: char| c.is_alphanumeric() || "_-.:/ ".contains(c);
            key.chars().all(allowed) && key.split('/').all(|part| !matches!(part, "" | "." | ".."))
        };
        let millis = |micros: i64| micros.div_euclid(1_000) * 1_000;
        let expected = held(&lake, |key| valid(key.metric.as_str()), |(step, fraction, time, value)| {
            let number = f64::from_bits(value);
            let value = if number.is_nan() { f64::NAN.to_bits() } else { value };
            (step, fraction, millis(time), value)
        });
        let paths_clash = count(&manifest, "metric.key") > 0
            && lake.series.keys().filter(|key| !valid(key.metric.as_str())).count() == 0;
        prop_assume!(!paths_clash);
        if lake.runs.is_empty() {
            return Ok(());
        }
        let found = import(&target);
        prop_assert!(found.rejections.is_empty(), "{:?}", found.rejections);
        prop_assert_eq!(&found.lake.series, &expected.series);
        prop_assert_eq!(manifest.points, points(&expected));
        for (id, run) in &lake.runs {
            let back = &found.lake.runs[id];
            let times = |run: &model::Run| (run.start_time.map(millis), run.end_time.map(millis));
            prop_assert_eq!((&back.name, back.status, back.deleted), (&run.name, run.status, run.deleted));
            prop_assert_eq!(times(back), times(run));
            prop_assert_eq!((&back.user, back.parent), (&run.user, run.parent));
            let lost = count(&manifest, "param.key");
            for (key, value) in &run.params {
                match back.params.get(key) {
                    Some(found) => prop_assert_eq!(found, value),
                    None => prop_assert!(lost > 0),
                }
            }
        }
    }
}
