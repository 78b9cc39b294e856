//! Lines of free text by a regular expression.

use std::collections::BTreeMap;
use std::path::Path;

use importers::{Limits, Mapping, Options};
use model::PointColumns;

use crate::collector::Collector;
use crate::expected::exact_sum;
use crate::shared;

fn import(path: &Path, map: &str) -> Collector {
    let mapping = Mapping::parse_toml(map).unwrap();
    let sources = importers::detect_lines(path, &Limits::default()).unwrap().sources;
    let options = Options { mapping: Some(mapping), ..Options::default() };
    let plan = importers::plan(&sources, &options).unwrap();
    let mut found = Collector::default();
    importers::import(&plan, &mut found).unwrap();
    found
}

const SPEEDRUN: &str = r"
lines = '^step:(?<step>\d+)/\d+(?: (?:val_loss:(?<val_loss>\S+)|train_loss:(?<train_loss>\S+)|train_time:(?<train_time_ms>[\d.]+)ms|train_time:(?<train_time_s>[\d.]+)s|step_avg:(?<step_avg_ms>[\d.]+|nan)ms|\S+))*'
";

#[test]
fn logs_of_a_speedrun_are_the_published_counts() {
    let Some(data) = e2e::data() else { return };
    let found = import(&data.join("modded-nanogpt/raw/track_1_short/2025-10-24_NorMuon"), SPEEDRUN);
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    assert_eq!(found.runs.len(), 20);
    let last =
        |metric: &str, run: &importers::ImportedRun| *found.series_of(run.id)[metric].values.last().unwrap();
    let losses: Vec<f64> = found.runs.values().map(|run| last("val_loss", run)).collect();
    assert_eq!(format!("{:.6}", losses.iter().sum::<f64>() / 20.0), "3.278395");
    let run = found.runs.values().find(|run| run.name.starts_with("088a77ee-")).unwrap();
    let series = found.series_of(run.id);
    assert_eq!(series["train_time_ms"].len(), 2_326);
    assert_eq!((series["val_loss"].len(), last("val_loss", run)), (11, 3.2783));
    assert_eq!(last("train_time_ms", run), 140_525.0);
    assert!(!series.contains_key("train_time_s"));
}

#[test]
fn all_logs_of_a_speedrun_are_the_published_counts() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("modded-nanogpt");
    let unpacked: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "zst"))
        .map(|archive| shared::unpacked(&archive))
        .collect();
    assert_eq!(unpacked.len(), 2);
    let mut parts = vec![import(&folder.join("raw"), SPEEDRUN)];
    parts.extend(unpacked.iter().map(|folder| import(folder.path(), SPEEDRUN)));
    let runs: usize = parts.iter().map(|part| part.runs.len()).sum();
    let mut all: BTreeMap<&str, Vec<&PointColumns>> = BTreeMap::new();
    for ((_, metric, _), points) in parts.iter().flat_map(|part| &part.points) {
        all.entry(metric).or_default().push(points);
    }
    let points = |series: &[&PointColumns]| series.iter().map(|points| points.len()).sum::<usize>();
    let totals =
        (runs, all.len(), all.values().map(Vec::len).sum(), all.values().map(|all| points(all)).sum());
    assert_eq!(totals, (421, 5, 1_301, 1_371_297), "{:?}", all.keys());
    let numbers = |metric: &str| all[metric].iter().flat_map(|points| points.values.iter().copied());
    assert_eq!((all["val_loss"].len(), points(&all["val_loss"])), (421, 7_469));
    let sum = exact_sum(numbers("val_loss"));
    assert!((sum - 29656.61085).abs() < 1e-6, "{sum}");
    assert_eq!((all["train_time_ms"].len(), points(&all["train_time_ms"])), (333, 554_853));
    assert_eq!(exact_sum(numbers("train_time_ms")), 52_167_492_546.0);
    assert_eq!((all["step_avg_ms"].len(), points(&all["step_avg_ms"])), (421, 652_844));
    assert_eq!(numbers("step_avg_ms").filter(|value| value.is_nan()).count(), 2_062);
    // Every file is one log or says that no line of it matches.
    for rejection in parts.iter().flat_map(|part| &part.rejections) {
        assert_eq!(rejection.code, "lines.no_match", "{rejection}");
    }
}

#[test]
fn groups_are_columns_and_files_without_a_match_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "a.log",
        "hello\n[seed 3] epoch=1 loss=0.5\n[seed 3] epoch=2 loss=nan\n[seed 4] epoch=1 loss=-inf\n",
    );
    write("b.out", "nothing here\n");
    write("c.csv", "step,loss\n0,1\n");
    let map = "lines = '\\[seed (?<seed>\\d+)\\] epoch=(?<epoch>\\d+) loss=(?<loss>\\S+)'\n\
               run = 'seed'\nstep = 'epoch'\n[param]\nseed = 'seed'\n";
    let found = import(folder.path(), map);
    assert_eq!(found.codes().into_iter().collect::<Vec<_>>(), [("lines.no_match", 2)]);
    let series: BTreeMap<String, &PointColumns> = found
        .points
        .iter()
        .map(|((run, metric, _), points)| (format!("{} {metric}", found.runs[run].name), points))
        .collect();
    assert_eq!(series.keys().map(String::as_str).collect::<Vec<_>>(), ["3 loss", "4 loss"]);
    assert_eq!(series["3 loss"].steps, [1, 2]);
    assert_eq!(series["4 loss"].values, [f64::NEG_INFINITY]);
    assert_eq!(found.run_named("3").params["seed"].as_str(), "3");
}

#[test]
fn an_expression_that_names_nothing_is_refused() {
    for map in ["lines = '('", "lines = 'loss=(.*)'", "lines = '(?<loss>.*)'\nstep = 'step'"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.log"), "loss=1\n").unwrap();
        let Ok(mapping) = Mapping::parse_toml(map) else { continue };
        let sources = importers::detect_lines(folder.path(), &Limits::default()).unwrap().sources;
        let options = Options { mapping: Some(mapping), ..Options::default() };
        assert_eq!(importers::plan(&sources, &options).unwrap_err().code(), "import.mapping", "{map}");
    }
}
