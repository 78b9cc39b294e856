//! Speed and size of segments of points: `cargo bench -p store --bench segment`.
//!
//! On runs of the synthetic corpus and, with folders as arguments, on the number columns of the CSV files in them: size
//! and speed of our segments, and the encodings, compression levels and page sizes that could be chosen for numbers.

use std::error::Error;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use bytes::Bytes;
use datasets::{Corpus, CorpusConfig};
use futures::TryStreamExt;
use model::{ExperimentName, MetricName, Point, PointColumns, ProjectName, RunId, SeriesKey};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use store::segment::points::{self, Reader, Scan, SeriesSelection, SortedSeries, TextColumns};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Each measurement is the fastest of this many.
const REPEATS: usize = 3;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let all = synthetic(2_000_000)?;
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

/// Bytes per point and speed, both ways, of what could be chosen for the columns of numbers.
fn compare_encodings(name: &str, all: &[SortedSeries]) -> Result<()> {
    let points = || all.iter().map(|series| &series.points);
    let steps = Int64Array::from_iter_values(points().flat_map(|p| p.steps.iter().copied()));
    let times = Int64Array::from_iter_values(points().flat_map(|p| p.times.iter().copied()));
    let values = Float64Array::from_iter_values(points().flat_map(|p| p.values.iter().copied()));
    let columns: [(&str, ArrayRef); 3] =
        [("step", Arc::new(steps)), ("time", Arc::new(times)), ("value", Arc::new(values))];
    println!("{name}: encodings; bytes/point, M points/s written, M points/s read");
    for (column, array) in columns {
        for (what, encoding, dictionary) in [
            ("delta", Encoding::DELTA_BINARY_PACKED, false),
            ("byte stream split", Encoding::BYTE_STREAM_SPLIT, false),
            ("plain", Encoding::PLAIN, false),
            ("dictionary", Encoding::PLAIN, true),
        ] {
            if encoding == Encoding::DELTA_BINARY_PACKED && column == "value" {
                continue;
            }
            for level in [1, 3, 6] {
                for page_rows in [store::segment::PAGE_ROWS, 4 * store::segment::PAGE_ROWS] {
                    let properties = WriterProperties::builder()
                        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?))
                        .set_dictionary_enabled(dictionary)
                        .set_encoding(encoding)
                        .set_max_row_group_row_count(Some(store::segment::ROW_GROUP_ROWS))
                        .set_data_page_row_count_limit(page_rows)
                        .set_write_batch_size(page_rows)
                        .build();
                    let batch = RecordBatch::try_from_iter([(column, Arc::clone(&array))])?;
                    let (bytes, write) = fastest(|| {
                        let mut writer =
                            ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.clone()))?;
                        writer.write(&batch)?;
                        Ok(Bytes::from(writer.into_inner()?))
                    })?;
                    let (_, read) = fastest(|| {
                        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?
                            .with_batch_size(store::segment::PAGE_ROWS)
                            .build()?;
                        let mut rows = 0;
                        for batch in reader {
                            rows += batch?.num_rows();
                        }
                        Ok(rows)
                    })?;
                    let rows = batch.num_rows() as f64;
                    println!(
                        "  {column:5} {what:18} zstd {level}, pages of {page_rows:6} {:6.2} {:7.1} {:7.1}",
                        bytes.len() as f64 / rows,
                        rows / write.as_secs_f64() / 1e6,
                        rows / read.as_secs_f64() / 1e6
                    );
                }
            }
        }
    }
    Ok(())
}

/// The first runs of the synthetic corpus, with at least so many points.
fn synthetic(wanted: u64) -> Result<Vec<SortedSeries>> {
    let corpus = Corpus::new(CorpusConfig::small())?;
    let mut all = Vec::new();
    for run in corpus.runs_with_points(wanted) {
        let (project, experiment) = (ProjectName::new(&run.project)?, ExperimentName::new(&run.experiment)?);
        for found in run.metrics() {
            let columns = PointColumns::at_whole_steps(found.steps, found.times_us, found.values);
            let key = SeriesKey { run: run.id.parse()?, metric: MetricName::new(&found.key)?, context: None };
            let attempts = vec![1; columns.len()];
            let series =
                SortedSeries::from_arrival(project.clone(), experiment.clone(), key, columns, attempts);
            all.push(series);
        }
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(all)
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
