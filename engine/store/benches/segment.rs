//! Speed and size of segments of points: `cargo bench -p store --bench segment`.
//!
//! The synthetic runs follow the shape of real logs: float32 losses with noise, smooth schedules, counters, rounded
//! system metrics, many short series. With folders as arguments, the number columns of the CSV files in them are
//! measured as well, and the encodings and compression levels that could be chosen for values are compared.

use std::error::Error;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt;
use model::{ExperimentName, MetricName, Point, PointColumns, ProjectName, RunId, SeriesKey};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use store::segment::points::{self, Reader, Scan, SeriesSelection, SortedSeries, TextColumns};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Each measurement is the fastest of this many.
const REPEATS: usize = 5;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let all = synthetic(40);
    measure("synthetic", &all, &runtime)?;
    compare_encodings("synthetic", &all)?;
    let folders = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    for folder in folders {
        let all = from_csv(FilePath::new(&folder))?;
        if !all.is_empty() {
            measure(&folder, &all, &runtime)?;
            compare_encodings(&folder, &all)?;
        }
    }
    Ok(())
}

fn fastest<T>(mut work: impl FnMut() -> Result<T>) -> Result<(T, Duration)> {
    let mut best = Duration::MAX;
    let mut last = None;
    for _ in 0..REPEATS {
        let start = Instant::now();
        last = Some(work()?);
        best = best.min(start.elapsed());
    }
    Ok((last.ok_or("no repeats")?, best))
}

fn measure(name: &str, all: &[SortedSeries], runtime: &tokio::runtime::Runtime) -> Result<()> {
    let (segment, encode) = fastest(|| Ok(points::write(all.to_vec())?))?;
    let rows = segment.rows as f64;
    let million = |time: Duration| rows / time.as_secs_f64() / 1e6;
    println!("{name}: {} points, {} series", segment.rows, all.len());
    println!("  size             {:8.2} bytes/point", segment.bytes.len() as f64 / rows);
    println!("  encode           {:8.2} M points/s", million(encode));
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (path, size) = (Path::from("segment"), segment.bytes.len() as u64);
    runtime.block_on(store.put(&path, segment.bytes.into()))?;
    let scan = |reader: &Reader, scan: &Scan| -> Result<usize> {
        let batches: Vec<RecordBatch> = runtime.block_on(reader.scan(scan)?.0.try_collect())?;
        Ok(batches.iter().map(RecordBatch::num_rows).sum())
    };
    let (reader, open) = fastest(|| Ok(runtime.block_on(Reader::open(Arc::clone(&store), &path, size))?))?;
    println!("  open             {:8.1} µs", open.as_secs_f64() * 1e6);
    for (what, projection) in
        [("all columns", (0..10).collect::<Vec<_>>()), ("step, time, value", vec![5, 7, 8])]
    {
        let wanted = Scan { projection, texts: TextColumns::Utf8View, ..Scan::all() };
        let (_, time) = fastest(|| scan(&reader, &wanted))?;
        println!("  decode           {:8.2} M points/s ({what}, checked before)", million(time));
    }
    let start = Instant::now();
    let fresh = runtime.block_on(Reader::open(Arc::clone(&store), &path, size))?;
    scan(&fresh, &Scan { projection: vec![5, 7, 8], ..Scan::all() })?;
    println!("  first decode     {:8.2} M points/s (opens and checks)", million(start.elapsed()));
    let longest = reader.series().iter().max_by_key(|series| series.rows.rows).ok_or("no series")?;
    let curve = Scan {
        selection: SeriesSelection::Positions(vec![longest.position]),
        projection: vec![5, 7, 8],
        ..Scan::all()
    };
    let (count, time) = fastest(|| scan(&reader, &curve))?;
    println!("  one curve        {:8.1} µs ({count} points)", time.as_secs_f64() * 1e6);
    Ok(())
}

/// Bytes per value and speed of what could be chosen for the column `value`.
fn compare_encodings(name: &str, all: &[SortedSeries]) -> Result<()> {
    let values: Vec<f64> = all.iter().flat_map(|series| series.points.values.iter().copied()).collect();
    let array: ArrayRef = Arc::new(Float64Array::from(values));
    let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Float64, false)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![array])?;
    println!("{name}: encodings of value, bytes/value and M values/s");
    for level in [1, 3, 6] {
        for (what, encoding, dictionary) in [
            ("byte stream split", Encoding::BYTE_STREAM_SPLIT, false),
            ("plain", Encoding::PLAIN, false),
            ("dictionary", Encoding::PLAIN, true),
        ] {
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?))
                .set_dictionary_enabled(dictionary)
                .set_encoding(encoding)
                .set_max_row_group_row_count(Some(store::segment::ROW_GROUP_ROWS))
                .set_data_page_row_count_limit(store::segment::PAGE_ROWS)
                .set_write_batch_size(store::segment::PAGE_ROWS)
                .build();
            let (bytes, time) = fastest(|| {
                let mut writer =
                    ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties.clone()))?;
                writer.write(&batch)?;
                Ok(writer.into_inner()?)
            })?;
            let rows = batch.num_rows() as f64;
            println!(
                "  zstd {level} {what:18} {:6.2} {:8.1}",
                bytes.len() as f64 / rows,
                rows / time.as_secs_f64() / 1e6
            );
        }
    }
    Ok(())
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn synthetic(runs: u128) -> Vec<SortedSeries> {
    let mut random = Random(42);
    let mut all = Vec::new();
    for run in 0..runs {
        let id = RunId::from_u128((random.0 as u128) << 64 | (run * 7_919));
        // A power law: many short runs, few long ones.
        let steps = (200.0 * (1.0 - random.uniform()).powf(-0.9)).min(20_000.0) as usize;
        let start = 1_700_000_000_000_000_i64 + (random.uniform() * 1e13) as i64;
        let mut add = |metric: String, every: usize, value: &mut dyn FnMut(f64, &mut Random) -> f64| {
            let mut points = PointColumns::default();
            for step in (0..steps).step_by(every) {
                // Clients log milliseconds.
                let time = start + step as i64 * 350_000 + (random.uniform() * 20.0) as i64 * 1_000;
                let value = value(step as f64 / steps as f64, &mut random);
                points.push(Point { step: step as i64, step_fraction: None, time, value });
            }
            if let (Ok(metric), Ok(experiment)) = (MetricName::new(metric), ExperimentName::new("sweep")) {
                let key = SeriesKey { run: id, metric, context: None };
                let attempts = vec![1; points.len()];
                all.push(SortedSeries::from_arrival(
                    ProjectName::default(),
                    experiment,
                    key,
                    points,
                    attempts,
                ));
            }
        };
        let noisy = |at: f64, random: &mut Random| {
            f64::from((2.0 * (-3.0 * at).exp() + 0.1 * random.uniform() + 0.3) as f32)
        };
        for name in ["loss", "loss_z", "acc", "grad_norm", "perplexity"] {
            add(format!("train/{name}"), 1, &mut { noisy });
        }
        add("train/lr".to_owned(), 1, &mut |at, _| {
            f64::from((1e-3 * (1.0 + (at * std::f64::consts::PI).cos()) / 2.0) as f32)
        });
        add("train/tokens".to_owned(), 1, &mut |at, _| (at * 1e9).round());
        for layer in 0..24 {
            add(format!("grad_norm/layers.{layer}.weight"), 10, &mut { noisy });
        }
        for gpu in 0..4 {
            add(format!("system/gpu.{gpu}.util"), 20, &mut |_, random| {
                (random.uniform() * 10.0).round() + 88.0
            });
            add(format!("system/gpu.{gpu}.memory"), 20, &mut |_, random| {
                (random.uniform() * 20.0).round() / 10.0 + 70.0
            });
        }
        for name in ["loss", "acc"] {
            add(format!("val/{name}"), 50, &mut { noisy });
        }
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

/// Every column of numbers of every CSV file under a folder as a series.
fn from_csv(folder: &FilePath) -> Result<Vec<SortedSeries>> {
    let mut pending = vec![PathBuf::from(folder)];
    let mut all = Vec::new();
    let mut run = 0_u128;
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path)?.filter_map(|entry| Some(entry.ok()?.path())));
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let mut columns = vec![PointColumns::default(); header.len()];
        for (step, line) in lines.enumerate() {
            for (column, cell) in columns.iter_mut().zip(line.split(',')) {
                if let Ok(value) = cell.trim().parse::<f64>() {
                    let time = 1_700_000_000_000_000 + step as i64 * 60_000_000;
                    column.push(Point { step: step as i64, step_fraction: None, time, value });
                }
            }
        }
        run += 1;
        for (number, (name, points)) in header.iter().zip(columns).enumerate() {
            let name = format!("{number}/{}", name.trim().chars().take(100).collect::<String>());
            if let (false, Ok(metric), Ok(experiment)) =
                (points.is_empty(), MetricName::new(name), ExperimentName::new("csv"))
            {
                let key = SeriesKey { run: RunId::from_u128(run), metric, context: None };
                let attempts = vec![1; points.len()];
                all.push(SortedSeries::from_arrival(
                    ProjectName::default(),
                    experiment,
                    key,
                    points,
                    attempts,
                ));
            }
        }
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(all)
}
