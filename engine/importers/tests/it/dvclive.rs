//! A DVCLive folder against its own files.

use importers::SourceKind;

use crate::collector::{detect, import};
use crate::tool;

#[test]
fn tables_params_and_the_summary() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("clients/dvclive");
    let (found, _, document) = tool::check(&folder, SourceKind::Dvclive, str::to_owned, |_| 0);
    let run = found.run_named("exp-0/dvclive");
    let wanted = &document["runs"]["exp-0/dvclive"];
    assert_eq!(tool::params(run), tool::flattened(&wanted["params"]));
    for (key, value) in tool::flattened(&wanted["latest"]) {
        assert_eq!(tool::tag(run, &format!("dvclive.summary.{key}")), Some(value.as_str()));
    }
    let detection = detect(&folder);
    let source = detection.sources.iter().find(|source| source.kind == SourceKind::Dvclive).unwrap();
    assert_eq!(source.units[0].list_files(&importers::Limits::default()).unwrap().len(), 6);
}

#[test]
fn times_odd_values_and_damaged_tables() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("metrics.json", "{}");
    write(
        "plots/metrics/loss.tsv",
        "timestamp\tstep\tloss\n1750000000500\t0\tnan\n1750000001500\t1\t-inf\nx\t2\t0.5\n",
    );
    write("plots/metrics/a/acc.tsv", "step\tacc\n0\tx\n1\t0.25\n\n");
    write("plots/metrics/bad.tsv", "a\tb\n1\t2\n");
    write("plots/metrics/note.txt", "not a table");
    let (found, _) = import(folder.path());
    let run = found.runs.values().next().unwrap();
    let series = found.series_of(run.id);
    assert_eq!(series["loss"].times[..2], [1_750_000_000_500_000, 1_750_000_001_500_000]);
    assert!(series["loss"].values[0].is_nan());
    assert_eq!(series["loss"].values[1..], [f64::NEG_INFINITY, 0.5]);
    assert_eq!((series["a/acc"].steps.as_slice(), series.len()), (&[1][..], 2));
    assert_eq!((run.start_time, run.end_time), (Some(1_750_000_000_500_000), Some(1_750_000_001_500_000)));
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("import.unreadable", 1), ("point.malformed", 1)]
    );
}
