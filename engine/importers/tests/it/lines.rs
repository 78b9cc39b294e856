//! Lines of free text by a regular expression.

use std::collections::BTreeMap;
use std::path::Path;

use importers::{Limits, Mapping, Options};
use model::PointColumns;

use crate::collector::Collector;

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
