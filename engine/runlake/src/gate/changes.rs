//! What differs between the arms beside the metric: params, tags, code, data, environment.

use std::collections::{BTreeMap, BTreeSet};

use analysis::{Change, Ground, GroundDifference};
use model::SEED_KEYS;
use store::RunRow;

/// Values of a key that a report names.
const VALUES_SHOWN: usize = 8;

/// Tags that trackers write for themselves.
const TRACKER_PREFIXES: [&str; 7] = ["mlflow.", "wandb.", "optuna.", "neptune.", "ray.", "sys/", "runlake."];

/// The values of one key in one arm.
#[derive(Default)]
struct Values<'a> {
    distinct: BTreeSet<&'a str>,
    runs: usize,
}

impl Values<'_> {
    /// Each run has its own: names, paths, times. They tell runs apart, not arms.
    fn is_of_each_run(&self) -> bool {
        self.runs > 1 && self.distinct.len() == self.runs
    }

    fn shown(&self) -> Vec<String> {
        let mut shown: Vec<String> =
            self.distinct.iter().take(VALUES_SHOWN).map(|&value| value.to_owned()).collect();
        if self.distinct.len() > VALUES_SHOWN {
            shown.push(format!("and {} more", self.distinct.len() - VALUES_SHOWN));
        }
        shown
    }
}

/// Settings that differ, and those of them that the arms should share. `left_out` are keys by which the arms were chosen
/// or paired.
pub(crate) fn between(
    candidate: &[RunRow<'_>],
    baseline: &[RunRow<'_>],
    left_out: &[&str],
) -> (Vec<GroundDifference>, Vec<Change>) {
    let mut settings: BTreeMap<(&'static str, &str), [Values<'_>; 2]> = BTreeMap::new();
    for (arm, runs) in [baseline, candidate].into_iter().enumerate() {
        for run in runs {
            let mut add = |kind, key, value| {
                if let Some(values) = settings.entry((kind, key)).or_default().get_mut(arm) {
                    values.distinct.insert(value);
                    values.runs += 1;
                }
            };
            for (key, value) in run.params() {
                add("params.", key, value);
            }
            for (key, value) in run.tags() {
                add("tags.", key, value);
            }
            if let Some(commit) = run.git_commit() {
                add("", "git_commit", commit);
            }
        }
    }
    let (mut grounds, mut changed): (BTreeMap<Ground, GroundDifference>, Vec<Change>) = Default::default();
    for ((kind, key), [before, after]) in settings {
        // Tags are labels; of them only those count that say on what ground a run stands.
        let is_label = kind == "tags." && (ground_of(key).is_none() || is_of_tracker(key));
        if is_label || SEED_KEYS.contains(&key) || before.distinct == after.distinct {
            continue;
        }
        let recorded_in_both = before.runs > 0 && after.runs > 0;
        if let Some(ground) = ground_of(key).filter(|_| recorded_in_both) {
            let difference = grounds.entry(ground).or_insert_with(|| GroundDifference {
                ground,
                baseline: Vec::new(),
                candidate: Vec::new(),
            });
            let named =
                |values: &Values<'_>| values.shown().into_iter().map(|value| format!("{key}={value}"));
            difference.baseline.extend(named(&before));
            difference.candidate.extend(named(&after));
        }
        if left_out.contains(&key)
            || (before.is_of_each_run() && after.is_of_each_run())
            || (before.runs == 0 && after.is_of_each_run())
            || (after.runs == 0 && before.is_of_each_run())
        {
            continue;
        }
        let apart = before.distinct.is_disjoint(&after.distinct);
        // What varies within both arms over shared values was swept, not changed.
        if apart || before.distinct.len() <= 1 || after.distinct.len() <= 1 {
            changed.push(Change {
                key: format!("{kind}{key}"),
                baseline: before.shown(),
                candidate: after.shown(),
                confounded: apart,
            });
        }
    }
    (grounds.into_values().collect(), changed)
}

pub(super) fn is_of_tracker(key: &str) -> bool {
    TRACKER_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// What a key says of the ground on which a run stands; separators and case do not matter.
fn ground_of(key: &str) -> Option<Ground> {
    let word: String =
        key.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let word = word.strip_prefix("env_").unwrap_or(&word);
    Some(match word {
        "dataset" | "dataset_name" | "dataset_hash" | "dataset_version" | "dataset_digest" | "data_hash"
        | "data_version" | "data_digest" => Ground::Dataset,
        "metric_definition" | "metric_version" | "metric_code" | "eval_version" | "eval_hash"
        | "evaluation_version" => Ground::MetricDefinition,
        "git_commit" | "git_sha" | "git_hash" | "commit" | "commit_sha" | "code_version" | "code_hash" => {
            Ground::Code
        }
        "image" | "docker_image" | "container" | "container_image" | "environment" | "packages"
        | "packages_hash" | "requirements_hash" | "python_version" | "torch_version" | "jax_version"
        | "tensorflow_version" | "cuda_version" | "framework_version" | "library_version" => {
            Ground::Environment
        }
        "hardware" | "gpu" | "gpu_type" | "gpu_name" | "gpu_count" | "num_gpus" | "accelerator"
        | "device_type" | "device_name" | "cpu_model" | "machine_type" | "instance_type" => Ground::Hardware,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{ExperimentName, Key, ParamValue, ProjectName, Run, RunId, RunStatus, TagValue};

    use super::*;

    fn run(id: u128, params: &[(&str, &str)], tags: &[(&str, &str)]) -> Run {
        let key = |key: &str| Key::new(key).unwrap();
        Run {
            id: RunId::from_u128(id),
            project: ProjectName::default(),
            experiment: ExperimentName::new("e").unwrap(),
            name: String::new(),
            status: RunStatus::Finished,
            user: None,
            start_time: None,
            end_time: None,
            parent: None,
            source: None,
            source_run_id: None,
            git_commit: None,
            deleted: false,
            params: params
                .iter()
                .map(|(k, v)| (key(k), ParamValue::new(v).unwrap()))
                .collect::<BTreeMap<_, _>>(),
            tags: tags.iter().map(|(k, v)| (key(k), TagValue::new(v).unwrap())).collect(),
        }
    }

    fn rows(runs: &[Run]) -> Vec<RunRow<'_>> {
        runs.iter().map(RunRow::of).collect()
    }

    #[test]
    fn what_changed_is_named_and_what_tells_runs_apart_is_not() {
        let baseline = [
            run(1, &[("lr", "0.1"), ("seed", "1"), ("out", "/a"), ("depth", "3")], &[("arm", "main")]),
            run(2, &[("lr", "0.1"), ("seed", "2"), ("out", "/b"), ("depth", "4")], &[("arm", "main")]),
        ];
        let candidate = [
            run(3, &[("lr", "0.3"), ("seed", "1"), ("out", "/c"), ("depth", "4")], &[("arm", "new")]),
            run(
                4,
                &[("lr", "0.3"), ("seed", "3"), ("out", "/d"), ("depth", "4"), ("flag", "on")],
                &[("arm", "new"), ("mlflow.user", "me")],
            ),
        ];
        let (grounds, changed) = between(&rows(&candidate), &rows(&baseline), &["arm"]);
        assert_eq!(grounds, []);
        let keys: Vec<(&str, bool)> = changed.iter().map(|c| (c.key.as_str(), c.confounded)).collect();
        assert_eq!(keys, [("params.depth", false), ("params.flag", true), ("params.lr", true)]);
        let lr = &changed[2];
        assert_eq!((&lr.baseline[..], &lr.candidate[..]), (&["0.1".to_owned()][..], &["0.3".to_owned()][..]));
        assert_eq!(changed[1].baseline, Vec::<String>::new());
    }

    #[test]
    fn data_and_environment_are_grounds_where_both_arms_tell() {
        let baseline = [run(1, &[("dataset.version", "1")], &[("Docker-Image", "a"), ("gpu", "H100")])];
        let candidate = [run(2, &[("dataset.version", "2")], &[("Docker-Image", "b")])];
        let (grounds, changed) = between(&rows(&candidate), &rows(&baseline), &[]);
        let found: Vec<Ground> = grounds.iter().map(|difference| difference.ground).collect();
        assert_eq!(found, [Ground::Dataset, Ground::Environment]);
        assert_eq!(grounds[0].candidate, ["dataset.version=2"]);
        assert_eq!(changed.len(), 3, "{changed:?}");
    }
}
