//! Bulk import of the same points as Parquet, CSV and TensorBoard event files.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use prost::Message;
use runlake::importers::tensorboard::event::{Event, Summary, Value};
use runlake::importers::tensorboard::record::framed;
use runlake::{ImportOptions, Lake};

use crate::error::{Result, io};
use crate::machine;
use crate::report::Row;

/// What the points are imported from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// One file of columns run, metric, step, time, value.
    Parquet,
    /// The same as text.
    Csv,
    /// One event file a run.
    TensorBoard,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Parquet, Self::Csv, Self::TensorBoard];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::Csv => "CSV, long form",
            Self::TensorBoard => "TensorBoard event files",
        }
    }
}

const METRICS: [&str; 5] = ["train/loss", "train/acc", "val/loss", "lr", "grad_norm"];
const RUNS: usize = 20;
const START_MICROS: i64 = 1_780_000_000_000_000;

fn value(run: usize, step: usize, metric: usize) -> f64 {
    f64::from((1.0 + metric as f32) / (step + run + 1) as f32)
}

/// Writes at least as many points and returns where.
fn write(folder: &Path, source: Source, points: usize) -> Result<PathBuf> {
    let steps = points.div_ceil(RUNS * METRICS.len());
    let each = (0..RUNS).flat_map(|run| (0..steps).map(move |step| (run, step)));
    match source {
        Source::Csv => {
            let mut text = String::from("run,metric,step,time,value\n");
            for (run, step) in each {
                let micros = START_MICROS + step as i64 * 250_000;
                let (seconds, part) = (micros / 1_000_000, micros % 1_000_000);
                for (number, metric) in METRICS.iter().enumerate() {
                    let value = value(run, step, number);
                    // Writing into a String cannot fail.
                    let _ = writeln!(text, "run-{run},{metric},{step},{seconds}.{part:06},{value}");
                }
            }
            let path = folder.join("points.csv");
            std::fs::write(&path, text).map_err(io("write the CSV file to import"))?;
            Ok(path)
        }
        Source::Parquet => {
            let path = folder.join("points.parquet");
            let file = File::create(&path).map_err(io("write the Parquet file to import"))?;
            let mut writer: Option<ArrowWriter<File>> = None;
            let mut file = Some(file);
            for run in 0..RUNS {
                let rows =
                    || (0..steps).flat_map(|step| (0..METRICS.len()).map(move |metric| (step, metric)));
                let numbers =
                    |column: fn(i64) -> i64| rows().map(|(step, _)| column(step as i64)).collect::<Vec<_>>();
                let names: Vec<String> = rows().map(|_| format!("run-{run}")).collect();
                let metrics: Vec<&str> = rows().map(|(_, metric)| METRICS[metric]).collect();
                let values: Vec<f64> = rows().map(|(step, metric)| value(run, step, metric)).collect();
                let times = numbers(|step| START_MICROS + step * 250_000);
                let columns: [(&str, ArrayRef); 5] = [
                    ("run", Arc::new(StringArray::from(names))),
                    ("metric", Arc::new(StringArray::from(metrics))),
                    ("step", Arc::new(Int64Array::from(numbers(|step| step)))),
                    ("time", Arc::new(TimestampMicrosecondArray::from(times))),
                    ("value", Arc::new(Float64Array::from(values))),
                ];
                let batch = RecordBatch::try_from_iter(columns)?;
                if let Some(file) = file.take() {
                    writer = Some(ArrowWriter::try_new(file, batch.schema(), None)?);
                }
                if let Some(writer) = &mut writer {
                    writer.write(&batch)?;
                }
            }
            if let Some(writer) = writer {
                writer.close()?;
            }
            Ok(path)
        }
        Source::TensorBoard => {
            let folder = folder.join("events");
            for run in 0..RUNS {
                let mut bytes = Vec::new();
                for step in 0..steps {
                    for (number, metric) in METRICS.iter().enumerate() {
                        let value = Value {
                            tag: metric.as_bytes().to_vec().into(),
                            simple_value: Some(value(run, step, number) as f32),
                            ..Value::default()
                        };
                        let event = Event {
                            wall_time: START_MICROS as f64 / 1e6 + step as f64 * 0.25,
                            step: step as i64,
                            summary: Some(Summary { value: vec![value] }),
                            ..Event::default()
                        };
                        bytes.extend_from_slice(&framed(&event.encode_to_vec()));
                    }
                }
                let run = folder.join(format!("run-{run}"));
                std::fs::create_dir_all(&run)
                    .and_then(|()| std::fs::write(run.join("events.out.tfevents.1780000000.host"), bytes))
                    .map_err(io("write the event files to import"))?;
            }
            Ok(folder)
        }
    }
}

/// Imports points of one kind of source into a fresh lake.
///
/// # Errors
/// What the lake says.
pub async fn import(folder: &Path, source: Source, points: usize) -> Result<Row> {
    let path = write(folder, source, points)?;
    let lake = Lake::open(&folder.join(format!("lake-{source:?}")).to_string_lossy()).await?;
    let own = std::process::id();
    let (start, cpu) = (Instant::now(), machine::cpu_seconds(own));
    let report = lake.import(&path, ImportOptions::default(), |_| {}).await?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = machine::cpu_seconds(own).zip(cpu).map(|(after, before)| after - before);
    let flushing = Instant::now();
    lake.flush().await?;
    let flush_seconds = flushing.elapsed().as_secs_f64();
    lake.close().await;
    let taken = report.new_points as f64;
    let mut figure = format!("{:>9.0} points/s", taken / seconds);
    if let Some(cpu) = cpu {
        figure.push_str(&format!(", {:.2} M points a CPU-s", taken / 1e6 / cpu.max(0.01)));
    }
    figure.push_str(&format!(", with flush {:.0} points/s", taken / (seconds + flush_seconds)));
    Ok(Row::new(format!("import {}, {} points", source.name(), report.new_points), figure))
}
