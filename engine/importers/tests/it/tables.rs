//! Mappings, guesses and plans for tables.

use std::collections::BTreeMap;
use std::path::Path;

use importers::{Limits, Mapping, Options, Place, SourceKind};
use model::{ExperimentName, ProjectName};

use crate::collector::{Collector, import, import_kinds};

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn mapped(path: &Path, mapping: &str) -> Collector {
    let options = Options { mapping: Some(Mapping::parse(mapping).unwrap()), ..Options::default() };
    import_kinds(path, &[SourceKind::Csv, SourceKind::JsonLines, SourceKind::Parquet], &options).0
}

#[test]
fn a_mapping_gives_every_column_its_meaning() {
    let folder = tempfile::tempdir().unwrap();
    let text = "task,seed,iter,split,arm,who,acc,junk\nwalk,0,1,val,a,x,0.5,9\nwalk,0,2,val,b,y,0.6,9\nwalk,1,1,,a,x,0.7,9\n";
    let path = write(folder.path(), "t.csv", text);
    let found = mapped(
        &path,
        "run=task,run=seed,step=iter,context:subset=split,tag:arm=arm,param:seed=seed,experiment=who,drop=junk",
    );
    let names: Vec<_> = {
        let mut n: Vec<_> = found.runs.values().map(|r| (r.name.as_str(), r.experiment.as_str())).collect();
        n.sort();
        n
    };
    assert_eq!(names, [("walk/0", "x"), ("walk/1", "x")]);
    let run = found.run_named("walk/0");
    assert_eq!((run.params["seed"].as_str(), run.tags["arm"].as_str()), ("0", "b"));
    let keys: Vec<_> =
        found.points.keys().map(|(_, metric, context)| (metric.as_str(), context.as_deref())).collect();
    assert!(
        keys.contains(&("acc", Some(r#"{"subset":"val"}"#))) && keys.contains(&("acc", None)),
        "{keys:?}"
    );
    assert_eq!(keys.len(), 2);
}

#[test]
fn metrics_are_renamed_types_said_and_constants_given_to_all_rows() {
    let folder = tempfile::tempdir().unwrap();
    let text = "id,iter,at,vl,ok,code\na,1,5000,0.5,yes,007\na,2,6000,x,no,008\n";
    let path = write(folder.path(), "t.csv", text);
    let found = mapped(
        &path,
        "run=id,step=iter,time=at,param:code=code,type:milliseconds=at,type:boolean=ok,type:text=code,rename:val/loss=vl,\
         constant:project=vision,constant:experiment=e,constant:param:lr=0.1,constant:tag:team=t,\
         constant:context:subset=val",
    );
    let run = found.run_named("a");
    assert_eq!(run.project.as_ref().map(|project| project.as_str()), Some("vision"));
    assert_eq!((run.experiment.as_str(), run.tags["team"].as_str()), ("e", "t"));
    assert_eq!((run.params["lr"].as_str(), run.params["code"].as_str()), ("0.1", "007"));
    let series: BTreeMap<&str, (Vec<i64>, Vec<f64>)> = found
        .points
        .iter()
        .map(|((_, metric, context), points)| {
            assert_eq!(context.as_deref(), Some(r#"{"subset":"val"}"#));
            (metric.as_str(), (points.times.clone(), points.values.clone()))
        })
        .collect();
    let wanted =
        [("ok", (vec![5_000_000, 6_000_000], vec![1.0, 0.0])), ("val/loss", (vec![5_000_000], vec![0.5]))];
    assert_eq!(series, BTreeMap::from(wanted));
    assert_eq!(found.codes(), BTreeMap::from([("cell.not_a_number", 1), ("param.changed", 1)]));

    // The long form: names of metrics, which stand in a column.
    let text = "run,step,metric,value\na,1,vl,0.5\na,1,acc,0.25\n";
    let path = write(folder.path(), "long.csv", text);
    let found = mapped(&path, "rename:val/loss=vl");
    let names: Vec<&str> = found.points.keys().map(|(_, metric, _)| metric.as_str()).collect();
    assert_eq!(names, ["acc", "val/loss"]);

    // Numbers and truths that JSON holds as texts.
    let text = "{\"step\":1,\"loss\":\"0.5\",\"done\":true}\n{\"step\":2,\"loss\":\"-1e3\",\"done\":false}\n";
    let path = write(folder.path(), "t.jsonl", text);
    let found = mapped(&path, "type:number=loss,type:boolean=done");
    let values: Vec<&[f64]> = found.points.values().map(|points| points.values.as_slice()).collect();
    assert_eq!(values, [[1.0, 0.0], [0.5, -1000.0]]);
}

#[test]
fn a_guess_written_down_gives_the_same_plan() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "wide.csv", "epoch,seed,loss,note\n1,1,0.5,a\n1,2,0.5,b\n");
    write(folder.path(), "long.tsv", "run_id\tstep\ttime\tkey\tvalue\na\t1\t1750000000\tx\t1\n");
    write(folder.path(), "runs.csv", "run,lr,depth\na,0.1,2\nb,0.2,3\n");
    write(folder.path(), "comma.csv", "a;b\n1,5;2,5\n2,5;3,5\n");
    write(folder.path(), "rows.jsonl", "{\"global_step\":1,\"eval\":{\"acc\":0.5}}\n");
    write(folder.path(), "history.json", "[{\"name\":\"r\",\"history\":[{\"step\":1,\"loss\":2}]}]");
    let mut folders = vec![folder.path().to_owned()];
    if let Some(data) = e2e::data() {
        folders.push(data.join("clients/plain/clean"));
    }
    let mut seen = 0;
    for folder in folders {
        let sources = importers::detect(&folder, &Limits::default()).unwrap().sources;
        for source in &importers::plan(&sources, &Options::default()).unwrap().sources {
            for (unit, table) in source.units.iter().zip(&source.tables) {
                let Ok(Some(guessed)) = table else { continue };
                let toml = guessed.mapping().to_toml().unwrap();
                let options =
                    Options { mapping: Some(Mapping::parse_toml(&toml).unwrap()), ..Options::default() };
                let of_unit = importers::detect(&unit.location, &Limits::default()).unwrap().sources;
                let again = importers::plan(&of_unit, &options).unwrap();
                let Ok(Some(given)) = &again.sources[0].tables[0] else { panic!("{toml}") };
                assert_eq!((given.form, &given.columns), (guessed.form, &guessed.columns), "{toml}");
                assert_eq!(given.dialect, guessed.dialect);
                assert_eq!(given.mapping().to_toml().unwrap(), toml);
                seen += 1;
            }
        }
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn the_mapping_of_the_nearest_path_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("inner")).unwrap();
    write(&root, "a.csv", "n,x\n5,1\n6,2\n");
    write(&root.join("inner"), "b.csv", "n,x\n5,1\n6,2\n");
    let map = |text: &str| Mapping::parse(text).unwrap();
    let options = Options {
        remembered: vec![(root.clone(), map("step=n")), (root.join("inner"), map("step=x"))],
        ..Options::default()
    };
    let sources = importers::detect(&root, &Limits::default()).unwrap().sources;
    let plan = importers::plan(&sources, &options).unwrap();
    let given: Vec<String> = plan.sources[0]
        .tables
        .iter()
        .map(|table| table.as_ref().unwrap().as_ref().unwrap().given.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(given, ["step=n", "step=x"]);
    let options = Options { remembered: vec![(root.clone(), map("step=gone"))], ..Options::default() };
    let sources = importers::detect(&root.join("a.csv"), &Limits::default()).unwrap().sources;
    let refused = importers::plan(&sources, &options).unwrap_err().to_string();
    assert!(refused.contains("no such column") && refused.contains("was kept when"), "{refused}");
}

#[test]
fn a_mapping_that_names_no_column_is_refused_with_the_columns_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "t.csv", "step,loss\n0,1\n");
    let sources = importers::detect(&path, &Limits::default()).unwrap().sources;
    let options = Options { mapping: Some(Mapping::parse("run=trial").unwrap()), ..Options::default() };
    let error = importers::plan(&sources, &options).unwrap_err();
    assert_eq!(error.code(), "import.mapping");
    assert!(error.to_string().contains("step, loss"), "{error}");
}

#[test]
fn the_plan_says_what_each_column_feeds() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        "t.csv",
        "run_id;step;timestamp;loss;note;seed\nr1;0;1750000000;1,5;x;3\nr1;1;;0,5;;3\n",
    );
    let sources = importers::detect(&path, &Limits::default()).unwrap().sources;
    let plan = importers::plan(&sources, &Options::default()).unwrap().to_string();
    let lines: Vec<&str> = plan.lines().skip(2).map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "wide: a column for each metric; UTF-8 text between ';', decimal commas",
            "\"run_id\" -> run  (r1 | r1)",
            "\"step\" -> step  (0 | 1)",
            "\"timestamp\" -> time  (1750000000 | )",
            "\"loss\" -> metric  (1,5 | 0,5)",
            "\"note\" -> not imported (no numbers)  (x | )",
            "\"seed\" -> param:seed  (3 | 3)",
        ]
    );
}

/// A history as W&B exports it: `_step`, `_timestamp`, and nested values as structures.
#[test]
fn structures_in_parquet_are_taken_apart() {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StructArray};
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::{DataType, Field};

    let folder = tempfile::tempdir().unwrap();
    let inner: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), Some(9.0), None]));
    let nested = StructArray::new(
        vec![Field::new("acc", DataType::Float64, true)].into(),
        vec![inner],
        Some(NullBuffer::from(vec![true, false, true])),
    );
    let batch = RecordBatch::try_from_iter([
        ("_step", Arc::new(Int64Array::from(vec![0, 5, 7])) as ArrayRef),
        ("_timestamp", Arc::new(Float64Array::from(vec![1.75e9, 1.75e9 + 0.5, 1.75e9 + 1.0])) as ArrayRef),
        ("val", Arc::new(nested) as ArrayRef),
        ("loss", Arc::new(Float64Array::from(vec![Some(2.0), None, Some(f64::NAN)])) as ArrayRef),
    ])
    .unwrap();
    let file = std::fs::File::create(folder.path().join("0000.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let (found, summary) = import_kinds(folder.path(), &[SourceKind::Parquet], &Options::default());
    assert!(found.rejections.is_empty() && summary.remarks.is_empty(), "{summary}");
    let series = found.series_of(found.run_named("0000").id);
    assert_eq!(
        (series["val.acc"].steps.as_slice(), series["val.acc"].values.as_slice()),
        (&[0][..], &[0.5][..])
    );
    assert_eq!(series["loss"].steps, [0, 7]);
    assert_eq!(series["loss"].times, [1_750_000_000_000_000, 1_750_000_001_000_000]);
    assert_eq!(series.len(), 2);
}

#[test]
fn options_override_and_names_come_from_paths() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a/log.csv", "step,loss\n0,1\n");
    write(folder.path(), "b/log.csv", "step,loss\n0,1\n");
    write(folder.path(), "b/hparams.json", r#"{"lr": 0.1, "opt": {"name": "adam"}}"#);
    let options = Options {
        experiment: Some(ExperimentName::new("mine").unwrap()),
        project: Some(ProjectName::new("p").unwrap()),
        ..Options::default()
    };
    let (found, _) = import_kinds(folder.path(), &[SourceKind::Csv], &options);
    let run = found.run_named("b/log");
    let (guessed, _) = import(&folder.path().join("a/log.csv"));
    assert_eq!(guessed.run_named("log").experiment.as_str(), "log");
    assert_eq!((run.experiment.as_str(), run.project.as_ref().unwrap().as_str()), ("mine", "p"));
    let params: Vec<_> = run.params.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(params, [("lr", "0.1"), ("opt.name", "adam")]);
    assert_ne!(run.id, found.run_named("a/log").id);
}

#[test]
fn negative_repeated_and_fractional_steps_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        "t.csv",
        "step,loss\n-5,1\n3,2\n3,3\n1e2,4\n0.25,5\nx,6\n9223372036854775807,7\n9223372036854775808,8\n",
    );
    let (found, _) = import(&path);
    let points = found.points.values().next().unwrap();
    assert_eq!(points.steps, [-5, 3, 3, 100, 0, i64::MAX]);
    assert_eq!(points.get(4).unwrap().step_fraction, Some(250_000));
    let places: Vec<_> = found.rejections.iter().map(|r| (r.code, r.place)).collect();
    assert_eq!(places, [("step.malformed", Place::Line(7)), ("step.malformed", Place::Line(9))]);
}

#[test]
fn a_grown_file_gives_the_same_points_first_and_the_same_hash_only_when_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "t.csv", "step,loss\n0,1\n1,2\n");
    let unit = |path: &Path| importers::detect(path, &Limits::default()).unwrap().sources[0].units[0].clone();
    let (before, hash) = (import(&path).0, unit(&path).content_hash(&Limits::default()).unwrap());
    assert_eq!(hash, unit(&path).content_hash(&Limits::default()).unwrap());
    write(folder.path(), "t.csv", "step,loss\n0,1\n1,2\n2,3\n");
    let after = import(&path).0;
    assert_ne!(hash, unit(&path).content_hash(&Limits::default()).unwrap());
    assert_eq!(before.runs.keys().collect::<Vec<_>>(), after.runs.keys().collect::<Vec<_>>());
    let (old, new) = (before.points.values().next().unwrap(), after.points.values().next().unwrap());
    assert_eq!(old.values, new.values[..2]);
}

#[test]
fn two_runs_of_one_name_stay_two() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.csv", "run,step,loss\nbase,0,1\n");
    write(folder.path(), "b.csv", "run,step,loss\nbase,0,2\n");
    let (found, _) = import(folder.path());
    assert_eq!(found.runs.len(), 2);
    assert!(found.runs.values().all(|run| run.name == "base"));
}

#[test]
fn a_dictionary_larger_than_what_follows_the_last_column_is_part_of_the_file() {
    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
    use std::sync::Arc;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points.parquet");
    let steps: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2_000));
    let losses: ArrayRef =
        Arc::new(Float64Array::from_iter_values((0..2_000).map(|n| 1.0 / f64::from(n + 1))));
    let batch = RecordBatch::try_from_iter([("step", steps), ("loss", losses)]).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let found = import_kinds(&path, &[SourceKind::Parquet], &Options::default()).0;
    let points: usize = found.points.values().map(|series| series.len()).sum();
    assert_eq!(points, 2_000);
}

#[test]
fn the_epoch_of_a_keras_csv_logger_is_the_step() {
    let folder = tempfile::tempdir().unwrap();
    // As `keras.callbacks.CSVLogger` writes it: epochs from 0, then the logs by name; NaN is Python's.
    let text = "epoch,accuracy,learning_rate,loss,val_accuracy,val_loss\n\
                0,0.5,0.001,0.693,0.51,0.69\n1,0.75,0.0005,0.5,0.7,nan\n";
    let path = write(folder.path(), "training.log.csv", text);
    let (found, _) = import(&path);
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    let run = found.runs.values().next().unwrap();
    let series = found.series_of(run.id);
    let names: Vec<&str> = series.keys().copied().collect();
    assert_eq!(names, ["accuracy", "learning_rate", "loss", "val_accuracy", "val_loss"]);
    assert_eq!((&series["loss"].steps, &series["loss"].values), (&vec![0, 1], &vec![0.693, 0.5]));
    assert!(series["val_loss"].values[1].is_nan());
}
