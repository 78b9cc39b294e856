//! Writes a small lake with the tables `points` and `runs`, to be read with other programs:
//! `cargo run -p store --example small_lake -- FOLDER`, then `python tests/compat/read_with_delta.py FOLDER`.
//!
//! Prints the same summary as that script does, from what was written.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::DataType;
use model::schema::Table;
use model::{Context, ExperimentName, MetricName, Point, PointColumns, ProjectName, RunId, SeriesKey};
use store::catalog::{Catalog, Change, CommitIdentity};
use store::segment::points::{self, SortedSeries};
use store::segment::{EncodedSegment, rows};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args().nth(1).ok_or("usage: small_lake FOLDER")?;
    let catalog = Catalog::open(Path::new(&folder))?;
    catalog.ensure_tables().await?;
    let mut summary: BTreeMap<String, (u64, f64, u64)> = BTreeMap::new();
    let mut points_written = 0;
    for flush in 0..3_u64 {
        let runs: Vec<RunId> =
            (1..=4).map(|run| RunId::from_u128(u128::from(flush * 4 + run) << 64 | 0xabc)).collect();
        commit(&catalog, Table::Runs, flush, &rows::write_batch(Table::Runs, &run_rows(&runs)?)?).await?;
        let mut all = Vec::new();
        for run in &runs {
            for (metric, context, count) in [
                ("loss", None, 5_000),
                ("val/acc é", Some(r#"{"subset":"val"}"#), 120),
                ("diverged", None, 3),
            ] {
                all.push(series(*run, metric, context, count)?);
            }
        }
        all.sort_by(|a, b| a.key.cmp(&b.key));
        for series in &all {
            let finite = series.points.values.iter().filter(|value| value.is_finite()).sum();
            let bits = series.points.values.iter().fold(0_u64, |hash, value| hash ^ value.to_bits());
            let count = series.points.len() as u64;
            points_written += count;
            summary.insert(format!("{}|{}", series.key.run, series.key.metric), (count, finite, bits));
        }
        commit(&catalog, Table::Points, flush, &points::write(all)?).await?;
    }
    let points: serde_json::Map<String, serde_json::Value> = summary
        .into_iter()
        .map(|(key, (count, sum, bits))| {
            (key, serde_json::json!({ "count": count, "sum": sum, "bits": format!("{bits:016x}") }))
        })
        .collect();
    println!("{}", serde_json::json!({ "rows": { "points": points_written, "runs": 12 }, "points": points }));
    Ok(())
}

async fn commit(catalog: &Catalog, table: Table, flush: u64, segment: &EncodedSegment) -> Result<()> {
    let base = catalog.load(table).await?;
    let file = catalog.put(table, &format!("{flush:08}.parquet"), segment).await?;
    let info = CommitIdentity {
        commit_id: uuid::Uuid::from_u128(u128::from(flush) + 1),
        epoch: 1,
        first_seq: flush * 10 + 1,
        time: 1_700_000_000_000,
    };
    let change =
        Change { add: vec![file], remove: vec![], last_seq: flush * 10 + 10, data_change: true, info };
    catalog.commit(table, &base, change).await?;
    Ok(())
}

fn series(run: RunId, metric: &str, context: Option<&str>, count: i64) -> Result<SortedSeries> {
    let mut points = PointColumns::default();
    for step in 0..count {
        let value = match (metric, step) {
            ("diverged", 0) => f64::NAN,
            ("diverged", 1) => f64::NEG_INFINITY,
            ("diverged", _) => -0.0,
            _ => f64::from((step as f32 * 0.37).sin()),
        };
        let step_fraction = (metric != "loss" && step % 2 == 1).then_some(500_000);
        let time = 1_700_000_000_000_000 + step * 1_000_003;
        points.push(Point { step: step - 2, step_fraction, time, value });
    }
    let context = context.map(Context::parse).transpose()?;
    let key = SeriesKey { run, metric: MetricName::new(metric)?, context };
    let attempts = vec![1; points.len()];
    Ok(SortedSeries::from_arrival(
        ProjectName::default(),
        ExperimentName::new("demo")?,
        key,
        points,
        attempts,
    ))
}

fn run_rows(runs: &[RunId]) -> Result<RecordBatch> {
    let schema = Table::Runs.schema();
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef> {
        let null = field.is_nullable();
        let count = runs.len();
        Ok(match field.data_type() {
            DataType::Utf8 => {
                let text = |run: &RunId| match field.name().as_str() {
                    "run_id" => run.to_string(),
                    other => format!("{other} é"),
                };
                Arc::new(runs.iter().map(|run| (!null).then(|| text(run))).collect::<StringArray>())
            }
            DataType::Int64 => Arc::new(Int64Array::from(vec![Some(i64::MIN); count])),
            DataType::Float64 => Arc::new(Float64Array::from(vec![Some(1.5); count])),
            DataType::Boolean => Arc::new(BooleanArray::from(vec![false; count])),
            DataType::Timestamp(..) => Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1_700_000_000_123_456); count])
                    .with_timezone("UTC"),
            ),
            other => return Err(format!("no example for {other}").into()),
        })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(Table::Runs.schema(), columns)?)
}
