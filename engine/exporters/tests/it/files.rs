//! The folder of an export: what stands at the target before, and what damage an import tells of.

use std::path::Path;

use exporters::{Export, ExportError, ExportForm, MANIFEST, Options};
use model::{MetricName, RunId, SeriesKey};

use crate::collector::{Lake, import, plain_run};

fn small() -> Lake {
    let mut lake = Lake::default();
    for id in [1, 2] {
        let mut run = plain_run(id, &format!("r{id}"));
        run.params.insert(model::Key::new("lr").unwrap(), model::ParamValue::new("0.1").unwrap());
        lake.runs.insert(run.id, run);
        let key =
            SeriesKey { run: RunId::from_u128(id), metric: MetricName::new("loss").unwrap(), context: None };
        let points = (0..3).map(|step| ((step, None, 1_750_000_000_000_000 + step, 0.5_f64.to_bits()), 0));
        lake.series.insert(key, points.collect());
    }
    lake
}

fn begin(target: &Path, overwrite: bool) -> Result<Export, ExportError> {
    Export::begin(target, Options { overwrite, ..Options::new(ExportForm::Csv) })
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn an_export_that_is_not_finished_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new/out");
    let mut export = begin(&target, false).unwrap();
    export.run(&plain_run(1, "r")).unwrap();
    assert!(!target.exists());
    drop(export);
    assert_eq!(names(&folder.path().join("new")), [""; 0]);
}

#[test]
fn only_an_export_is_replaced_and_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    std::fs::create_dir(&target).unwrap();
    small().export(&target, Options::new(ExportForm::Csv));
    assert_eq!(names(&target), ["params.csv", "points.csv", MANIFEST, "runs.csv", "tags.csv"]);
    assert_eq!(begin(&target, false).err().unwrap().code(), "export.target");
    small().export(&target, Options { overwrite: true, ..Options::new(ExportForm::Jsonl) });
    assert_eq!(names(&target), ["params.jsonl", "points.jsonl", MANIFEST, "runs.jsonl", "tags.jsonl"]);
    assert_eq!(names(folder.path()), ["out"]);

    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("thesis.tex"), "…").unwrap();
    for overwrite in [false, true] {
        assert_eq!(begin(&work, overwrite).err().unwrap().code(), "export.target");
    }
    assert_eq!(begin(&work.join("thesis.tex"), true).err().unwrap().code(), "export.target");
    assert_eq!(names(&work), ["thesis.tex"]);
}

#[test]
fn damage_is_told_and_stops_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    small().export(&target, Options::new(ExportForm::Csv));
    let edit = |name: &str, change: &dyn Fn(String) -> String| {
        let path = target.join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, change(text)).unwrap();
    };
    let codes = || {
        let found = import(&target);
        let mut codes: Vec<&str> = found.rejections.iter().map(|rejection| rejection.code).collect();
        codes.sort_unstable();
        (codes, found.lake.series.values().map(Vec::len).sum::<usize>())
    };
    assert_eq!(codes(), (vec![], 6));
    // A value that is none, and a row that is missing.
    edit("points.csv", &|text| text.replacen(",0.5\n", ",half\n", 1));
    assert_eq!(codes(), (vec!["row.malformed"], 5));
    edit("points.csv", &|text| text.trim_end().rsplit_once('\n').unwrap().0.to_owned() + "\n");
    assert_eq!(codes(), (vec!["export.rows", "row.malformed"], 4));
    // A run that is none: its points and params are of a run that is not there.
    edit("runs.csv", &|text| text.replacen("FINISHED", "DONE", 1));
    let (found, points) = codes();
    assert_eq!(points, 2);
    assert_eq!(
        found,
        [
            "export.rows",
            "row.malformed",
            "run.malformed",
            "run.unknown",
            "run.unknown",
            "run.unknown",
            "run.unknown"
        ]
    );
    std::fs::remove_file(target.join("points.csv")).unwrap();
    assert_eq!(codes().1, 0);
    assert!(codes().0.contains(&"import.io"));
}

#[test]
fn parquet_is_not_packed_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { compression: exporters::Compression::Gzip, ..Options::new(ExportForm::Parquet) };
    let error = Export::begin(&folder.path().join("out"), options).err().unwrap();
    assert_eq!(error.code(), "export.options");
}
