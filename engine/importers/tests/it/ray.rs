//! Trial folders of Ray Tune against Ray's own data frames.

use importers::{Options, SourceKind};
use model::RunStatus;

use crate::collector::{detect, import, import_kinds};
use crate::tool;

#[test]
fn every_number_of_every_result() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("clients/ray");
    let (found, _, document) = tool::check(&folder, SourceKind::Ray, str::to_owned, |_| 0);
    for (key, wanted) in document["runs"].as_object().unwrap() {
        let run = found.run_named(key);
        assert_eq!(tool::params(run), tool::flattened(&wanted["params"]), "{key}");
        assert_eq!(run.status, RunStatus::Finished);
        assert!(tool::tag(run, "ray.trial_id").unwrap().starts_with("c355d_0000"));
    }
    // What stands beside the results is accounted for: it would be the same points again.
    let detection = detect(&folder.join("exp_fifo"));
    assert_eq!(detection.sources.len(), 1, "{:?}", detection.sources);
    assert!(detection.unrecognised.is_empty(), "{:?}", detection.unrecognised);
}

#[test]
fn results_of_a_public_search() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("hpo-histories/raw/deepcave/RayTune");
    let (found, summary) = import_kinds(&folder, &[SourceKind::Ray], &Options::default());
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    let lines: usize = walk(&folder);
    assert!(lines > 0);
    // One value of each metric for each line: the trials of these searches report always the same.
    assert_eq!(summary.total.points as usize % lines, 0);
}

fn walk(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| match path.is_dir() {
            true => walk(&path),
            false if path.ends_with("result.json") => {
                std::fs::read_to_string(path).unwrap().lines().filter(|line| !line.is_empty()).count()
            }
            false => 0,
        })
        .sum()
}

#[test]
fn damaged_lines_and_missing_steps() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("params.json", "{\"a\": {\"b\": null}, \"c\": [1, NaN]}");
    write(
        "result.json",
        "{\"training_iteration\": 2, \"loss\": NaN, \"timestamp\": 1750000000, \"done\": false}\n\
         {\"training_iteration\": 1, \"loss\": -Infinity}\n{\"loss\": 1}\n[1]\n{\"training_iter\n",
    );
    let (found, _) = import(folder.path());
    let run = found.runs.values().next().unwrap();
    let series = found.series_of(run.id);
    assert_eq!(series["loss"].steps, [2, 1]);
    assert_eq!(series["loss"].times[0], 1_750_000_000_000_000);
    assert_eq!(run.status, RunStatus::Running);
    assert_eq!(
        tool::params(run).into_iter().collect::<Vec<_>>(),
        [("a.b".to_owned(), "null".to_owned()), ("c".to_owned(), "[1,NaN]".to_owned())]
    );
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("line.not_an_object", 1), ("line.not_json", 1), ("step.missing", 1)]
    );
}
