//! Parquet files in the schema of the Neptune exporter.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use importers::{Options, SourceKind};
use model::{RunId, RunStatus};
use serde_json::Value;

use crate::collector::{detect, import, import_kinds};
use crate::expected;

fn micros(time: &str) -> i64 {
    importers::time::micros_from_text(time).unwrap()
}

/// The steps of the file have six decimals always, ours only where they are needed.
fn shortened(step: &str) -> String {
    let (whole, decimals) = step.split_once('.').unwrap();
    match decimals.trim_end_matches('0') {
        "" => whole.to_owned(),
        decimals => format!("{whole}.{decimals}"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(file) => file["path"].as_str().unwrap().to_owned(),
        Value::Number(number) if number.is_f64() => format!("{:?}", number.as_f64().unwrap()),
        other => other.to_string(),
    }
}

#[test]
fn every_attribute_and_fractional_step_is_there() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("clients/neptune");
    let document = e2e::expected_document(&folder);
    let points = expected::points(&folder);
    let (found, summary) = import_kinds(&folder, &[SourceKind::Neptune], &Options::default());
    assert_eq!(found.runs.len(), document["runs"].as_object().unwrap().len());
    assert_eq!(summary.total.points, document["totals"]["points"].as_u64().unwrap());
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    for (key, wanted) in document["runs"].as_object().unwrap() {
        let run = &found.runs[&RunId::imported("neptune", key)];
        assert_eq!(run.name, wanted["attributes"]["sys/name"].as_str().unwrap());
        assert_eq!(run.project.as_ref().unwrap().as_str(), "demo");
        assert_eq!(run.start_time, Some(micros(wanted["attributes"]["sys/creation_time"].as_str().unwrap())));
        assert_eq!(run.status, RunStatus::Finished);
        for (path, value) in wanted["attributes"].as_object().unwrap() {
            let actual = match run.params.iter().find(|(k, _)| k.as_str() == path) {
                Some((_, param)) => param.to_string(),
                None => run.tags.iter().find(|(k, _)| k.as_str() == path).unwrap().1.to_string(),
            };
            if path == "sys/creation_time" {
                assert_eq!(micros(&actual), micros(value.as_str().unwrap()));
            } else {
                assert_eq!(actual, text(value), "{key} {path}");
            }
        }
        let series = found.series_of(run.id);
        assert_eq!(series.len(), wanted["metrics"].as_object().unwrap().len());
        for (metric, series) in series {
            let wanted: Vec<_> = points[&(key.clone(), metric.to_owned())]
                .iter()
                .map(|(step, time, value)| (shortened(step), time.clone(), value.clone()))
                .collect();
            expected::check_points(&format!("{key} {metric}"), &wanted, series, micros);
        }
        assert_eq!(found.series_of(run.id)["metrics/val/loss"].get(0).unwrap().step_fraction, Some(500_000));
    }
    // String and histogram series have no place here: counted, not lost in silence.
    let left: BTreeMap<&str, u64> = summary
        .remarks
        .iter()
        .filter(|remark| remark.code == "ignored.attributes")
        .map(|remark| (remark.message.as_str(), remark.count))
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.values().all(|count| *count == 2));
}

/// Run, path, type, step in millionths, value.
type Row<'r> = (&'r str, &'r str, &'r str, Option<i128>, Option<f64>);

fn part(path: &Path, rows: &[Row<'_>]) {
    let texts = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    let steps =
        Decimal128Array::from_iter(rows.iter().map(|row| row.3)).with_precision_and_scale(18, 6).unwrap();
    let batch = RecordBatch::try_from_iter([
        ("project_id", texts(rows.iter().map(|_| "w/p").collect())),
        ("run_id", texts(rows.iter().map(|row| row.0).collect())),
        ("attribute_path", texts(rows.iter().map(|row| row.1).collect())),
        ("attribute_type", texts(rows.iter().map(|row| row.2).collect())),
        ("step", Arc::new(steps) as ArrayRef),
        (
            "timestamp",
            Arc::new(TimestampMillisecondArray::from(vec![Some(1_750_000_000_000); rows.len()])) as ArrayRef,
        ),
        ("float_value", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.4))) as ArrayRef),
        ("string_value", texts(rows.iter().map(|_| "text").collect())),
    ])
    .unwrap();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None)
            .unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn parts_belong_together_and_an_unfinished_export_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    part(
        &file("R-1_part_0.parquet"),
        &[
            ("R-1", "m/loss", "float_series", Some(-500_000), Some(1.0)),
            ("R-1", "m/loss", "float_series", None, Some(2.0)),
            ("R-1", "m/loss", "float_series", Some(1_000_001), None),
            ("R-1", "sys/owner", "string", None, None),
            ("R-1", "count", "int", None, None),
            ("", "m/loss", "float_series", Some(0), Some(2.0)),
        ],
    );
    part(
        &file("R-1_part_10.parquet"),
        &[
            ("R-1", "m/loss", "float_series", Some(10_000_001), Some(f64::NAN)),
            ("R-1", "m/loss", "float_series", Some(99_999_999_999_999_999), Some(f64::NEG_INFINITY)),
            ("R-1", "logs", "string_series", Some(0), None),
        ],
    );
    part(&file("R-1_part_2.parquet"), &[("R-1", "m/loss", "float_series", Some(2_000_000), Some(3.0))]);
    part(&file("R-2_part_1.parquet"), &[("R-2", "m/loss", "float_series", Some(0), Some(1.0))]);
    std::fs::write(file("R-3_part_0.parquet"), b"PAR1 and then nothing PAR1").unwrap();
    let detection = detect(folder.path());
    assert!(
        detection.unrecognised.iter().any(
            |left| left.path.ends_with("R-2_part_1.parquet") && left.reason.contains("part_0 is missing")
        )
    );
    let (found, _) = import(folder.path());
    let run = &found.runs[&RunId::imported("neptune", "w/p/R-1")];
    assert_eq!(run.user.as_deref(), Some("text"));
    let points = found.series_of(run.id)["m/loss"];
    let steps: Vec<_> = points.iter().map(|p| (p.step, p.step_fraction)).collect();
    assert_eq!(steps, [(-1, Some(500_000)), (2, None), (10, Some(1)), (99_999_999_999, Some(999_999))]);
    assert_eq!(points.values[1], 3.0);
    assert!(points.values[2].is_nan());
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("attribute.empty", 1), ("import.unreadable", 1), ("point.malformed", 2), ("run.missing", 1)]
    );
}
