//! Import speed on generated files: `cargo bench -p importers`. Points are counted and thrown away, so that what is
//! measured is reading, decoding and handing over.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use importers::tensorboard::event::{Event, Summary, Value};
use importers::tensorboard::record::framed;
use importers::{ImportedRun, Limits, Options, Rejection, RunFacts, Sink, SinkError};
use model::{Context, MetricName, PointColumns, RunId};
use prost::Message;

#[derive(Default)]
struct Counter {
    points: u64,
}

impl Sink for Counter {
    fn run(&mut self, _: ImportedRun) -> Result<(), SinkError> {
        Ok(())
    }
    fn points(
        &mut self,
        _: RunId,
        _: &MetricName,
        _: Option<&Context>,
        points: PointColumns,
    ) -> Result<(), SinkError> {
        self.points += points.len() as u64;
        Ok(())
    }
    fn facts(&mut self, _: RunId, _: RunFacts) -> Result<(), SinkError> {
        Ok(())
    }
    fn reject(&mut self, rejection: Rejection) -> Result<(), SinkError> {
        Err(SinkError::new(rejection.to_string()))
    }
}

/// 40 tags with 50,000 points each, one scalar an event, as torch writes it.
fn tensorboard(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut bytes = Vec::new();
    for step in 0..50_000_i64 {
        for tag in 0..40 {
            let value = Value {
                tag: format!("train/layer_{tag}/loss").into_bytes().into(),
                simple_value: Some((step * 40 + tag) as f32 * 1e-3),
                ..Value::default()
            };
            let event = Event {
                wall_time: 1.75e9 + step as f64 * 0.1,
                step,
                summary: Some(Summary { value: vec![value] }),
                ..Event::default()
            };
            bytes.extend_from_slice(&framed(&event.encode_to_vec()));
        }
    }
    Ok(std::fs::write(folder.join("events.out.tfevents.1"), bytes)?)
}

fn long_csv(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut text = "run,step,time,metric,value\n".to_owned();
    for step in 0..200_000_i64 {
        for metric in 0..10 {
            let value = (step * 10 + metric) as f64 * 1.234_567_89e-3;
            writeln!(
                text,
                "run-{:03},{step},{}.5,train/metric_{metric},{value}",
                step % 7,
                1_750_000_000 + step
            )?;
        }
    }
    Ok(std::fs::write(folder.join("long.csv"), text)?)
}

fn wide_csv(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut text = "step".to_owned();
    for metric in 0..40 {
        write!(text, ",train/metric_{metric}")?;
    }
    for step in 0..50_000_i64 {
        write!(text, "\n{step}")?;
        for metric in 0..40 {
            write!(text, ",{}", (step * 40 + metric) as f64 * 1.234_567_89e-3)?;
        }
    }
    Ok(std::fs::write(folder.join("wide.csv"), text)?)
}

fn measure(name: &str, write: fn(&Path) -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    write(folder.path())?;
    let sources = importers::detect(folder.path(), &Limits::default())?.sources;
    let plan = importers::plan(&sources, &Options::default())?;
    let bytes: u64 = sources.iter().map(|source| source.bytes).sum();
    let mut best = f64::INFINITY;
    let mut points = 0;
    for _ in 0..5 {
        let mut counter = Counter::default();
        let start = Instant::now();
        importers::import(&plan, &mut counter)?;
        best = best.min(start.elapsed().as_secs_f64());
        points = counter.points;
    }
    println!(
        "{name:12} {points} points, {:6.2} M points/s, {:6.0} MB/s (best of 5)",
        points as f64 / best / 1e6,
        bytes as f64 / best / 1e6
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    measure("tensorboard", tensorboard)?;
    measure("csv, long", long_csv)?;
    measure("csv, wide", wide_csv)
}
