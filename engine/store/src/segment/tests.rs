//! Round trips, selections and damage of segments.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use model::schema::Table;
use model::{Context, ExperimentName, MetricName, Point, PointColumns, ProjectName, RunId, SeriesKey};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;

use super::points::{Reader, ReaderCache, Scan, SeriesOrder, SeriesSelection, SortedSeries, TextColumns};
use super::{EncodedSegment, PAGE_ROWS, ROW_GROUP_ROWS, SegmentError, points, rows};
use crate::random::Random;

/// A point as it comes out of a segment, doubles as bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    project: String,
    experiment: String,
    run: String,
    metric: String,
    context: Option<String>,
    step: i64,
    fraction: Option<i32>,
    time: i64,
    bits: u64,
    attempt: i32,
}

fn rows_of(series: &[SortedSeries]) -> Vec<Row> {
    let row = |s: &SortedSeries, index: usize, point: Point| Row {
        project: s.project.to_string(),
        experiment: s.experiment.to_string(),
        run: s.key.run.to_string(),
        metric: s.key.metric.to_string(),
        context: s.key.context.as_ref().map(ToString::to_string),
        step: point.step,
        fraction: point.step_fraction,
        time: point.time,
        bits: point.value.to_bits(),
        attempt: s.attempts[index],
    };
    series.iter().flat_map(|s| s.points.iter().enumerate().map(move |(i, p)| row(s, i, p))).collect()
}

fn rows_of_batches(batches: &[RecordBatch]) -> Vec<Row> {
    let mut all = Vec::new();
    for batch in batches {
        let text = |column: usize| {
            arrow::compute::cast(batch.column(column), &DataType::Utf8).unwrap().as_string::<i32>().clone()
        };
        let texts: Vec<StringArray> = (0..5).map(text).collect();
        let steps = batch.column(5).as_primitive::<Int64Type>();
        let fractions = batch.column(6).as_primitive::<Int32Type>();
        let times = batch.column(7).as_primitive::<TimestampMicrosecondType>();
        let values = batch.column(8).as_primitive::<Float64Type>();
        let attempts = batch.column(9).as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            all.push(Row {
                project: texts[0].value(row).to_owned(),
                experiment: texts[1].value(row).to_owned(),
                run: texts[2].value(row).to_owned(),
                metric: texts[3].value(row).to_owned(),
                context: texts[4].is_valid(row).then(|| texts[4].value(row).to_owned()),
                step: steps.value(row),
                fraction: fractions.is_valid(row).then(|| fractions.value(row)),
                time: times.value(row),
                bits: values.value(row).to_bits(),
                attempt: attempts.value(row),
            });
        }
    }
    all
}

async fn stored(bytes: impl Into<bytes::Bytes>) -> (Arc<dyn ObjectStore>, Path, u64) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let path = Path::from("segment.parquet");
    let bytes = bytes.into();
    let size = bytes.len() as u64;
    store.put(&path, bytes.into()).await.unwrap();
    (store, path, size)
}

async fn read(bytes: impl Into<bytes::Bytes>, scan: &Scan) -> super::Result<Vec<RecordBatch>> {
    let (store, path, size) = stored(bytes).await;
    Reader::open(store, &path, size).await?.scan(scan)?.0.try_collect().await
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn seed() -> u64 {
    let seed = std::env::var("RUNLAKE_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_260_101);
    println!("RUNLAKE_TEST_SEED={seed}");
    seed
}

fn key(run: u128, metric: &str, context: Option<&str>) -> SeriesKey {
    SeriesKey {
        run: RunId::from_u128(run),
        metric: MetricName::new(metric).unwrap(),
        context: context.map(|text| Context::parse(text).unwrap()),
    }
}

fn series(key: SeriesKey, count: usize, random: &mut Random) -> SortedSeries {
    let mut points = PointColumns::with_capacity(count);
    for step in 0..count {
        let value = f64::from(((random.next() >> 40) as f32) / 1e6);
        points.push(Point {
            step: step as i64 * 10,
            step_fraction: None,
            time: step as i64 * 1_000_000,
            value,
        });
    }
    let attempts = vec![1; count];
    let project = ProjectName::new(if key.run.as_u128().is_multiple_of(2) { "even" } else { "odd" }).unwrap();
    SortedSeries::from_arrival(project, ExperimentName::new("sweep").unwrap(), key, points, attempts)
}

/// 12 runs with series from one point to more than a row group.
fn many_series() -> Vec<SortedSeries> {
    let mut random = Random::new(7);
    let mut all = Vec::new();
    for run in 0..12 {
        for (metric, count) in [("acc", 1), ("grad/layer", 300), ("loss", 9_000), ("system/gpu", 2_500)] {
            let count = if run == 5 && metric == "loss" { ROW_GROUP_ROWS + 20_000 } else { count };
            for context in [None, Some(r#"{"subset":"val"}"#)] {
                all.push(series(key(run, metric, context), count, &mut random));
            }
        }
    }
    all
}

fn wild_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<f32>().prop_map(f64::from),
        Just(-0.0),
        Just(f64::NEG_INFINITY),
        Just(f64::from_bits(0x7ff8_dead_beef_0001)),
        Just(f64::from_bits(0xfff0_0000_0000_0001)),
        Just(f64::from_bits(1)),
    ]
}

fn wild_point() -> impl Strategy<Value = Point> {
    let step = prop_oneof![any::<i64>(), -3i64..3, Just(i64::MIN), Just(i64::MAX)];
    let time = prop_oneof![any::<i64>(), 0i64..4, Just(i64::MIN), Just(i64::MAX)];
    (step, prop::option::weighted(0.2, 0..1_000_000i32), time, wild_value())
        .prop_map(|(step, step_fraction, time, value)| Point { step, step_fraction, time, value })
}

fn wild_series() -> impl Strategy<Value = Vec<SortedSeries>> {
    let metric =
        prop_oneof![Just("loss"), Just("模型/täst"), Just("runlake-tail-crc32c:00000000:0"), Just("a")];
    let context = prop_oneof![Just(None), Just(Some("{}")), Just(Some(r#"{"é":[1,null]}"#))];
    let key = (prop_oneof![0u128..4, Just(u128::MAX)], metric, context);
    prop::collection::btree_map(key, prop::collection::vec((wild_point(), any::<i32>()), 1..40), 1..12)
        .prop_map(|all| {
            let made = all.into_iter().map(|((run, metric, context), logged)| {
                let mut points = PointColumns::default();
                logged.iter().for_each(|(point, _)| points.push(*point));
                let attempts = logged.iter().map(|(_, attempt)| *attempt).collect();
                let experiment = ExperimentName::new(format!("ex {}", run % 2)).unwrap();
                let project = ProjectName::default();
                SortedSeries::from_arrival(
                    project,
                    experiment,
                    key_of(run, metric, context),
                    points,
                    attempts,
                )
            });
            made.map(|s| (s.key.clone(), s)).collect::<BTreeMap<_, _>>().into_values().collect()
        })
}

fn key_of(run: u128, metric: &str, context: Option<&str>) -> SeriesKey {
    key(run, metric, context)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_bit_comes_back(all in wild_series(), batch_size in 1usize..50, kind in 0..3) {
        let segment = points::write(all.clone()).unwrap();
        let texts = [TextColumns::Utf8, TextColumns::Utf8View, TextColumns::Dictionary][kind as usize];
        let batches = block_on(read(segment.bytes, &Scan { batch_size, texts, ..Scan::all() })).unwrap();
        prop_assert_eq!(rows_of_batches(&batches), rows_of(&all));
    }

    #[test]
    fn selected_series_and_steps_are_exactly_those(
        all in wild_series(), wanted in any::<u16>(), low in -4i64..4, width in 0i64..4
    ) {
        let segment = points::write(all.clone()).unwrap();
        let positions: Vec<usize> = (0..all.len()).filter(|i| wanted & (1 << (i % 16)) != 0).collect();
        let steps = low..=low + width;
        let expected: Vec<Row> = rows_of(&positions.iter().map(|p| all[*p].clone()).collect::<Vec<_>>())
            .into_iter().filter(|row| steps.contains(&row.step)).collect();
        let selection = SeriesSelection::Positions(positions.into_iter().rev().collect());
        let scan = Scan { selection, steps: Some(steps), ..Scan::all() };
        prop_assert_eq!(rows_of_batches(&block_on(read(segment.bytes, &scan)).unwrap()), expected);
    }
}

#[test]
fn many_row_groups_give_exact_selections_in_both_orders() {
    for order in [SeriesOrder::RunFirst, SeriesOrder::MetricFirst] {
        let mut all = many_series();
        all.sort_by(|a, b| order.compare(&a.key, &b.key));
        let rows: Vec<Vec<Row>> = all.iter().map(|series| rows_of(std::slice::from_ref(series))).collect();
        let segment = points::write_in_order(all.clone(), order).unwrap();
        block_on(async {
            let (store, path, size) = stored(segment.bytes).await;
            let reader = Reader::open(store, &path, size).await.unwrap();
            assert!(reader.file().metadata().metadata().num_row_groups() >= 3);
            reader.verify().await.unwrap();
            for steps in [None, Some(40_000..=50_000), Some(-5..=-1)] {
                let selections: [&dyn Fn(&SortedSeries) -> bool; 4] = [
                    &|_| true,
                    &|s| s.key.run == RunId::from_u128(5),
                    &|s| s.key.metric.as_str() == "loss" && s.key.context.is_none(),
                    &|_| false,
                ];
                for wanted in selections {
                    let positions: Vec<usize> = (0..all.len()).filter(|p| wanted(&all[*p])).collect();
                    let expected: Vec<&Row> = positions
                        .iter()
                        .flat_map(|position| &rows[*position])
                        .filter(|row| steps.as_ref().is_none_or(|steps| steps.contains(&row.step)))
                        .collect();
                    let selection = SeriesSelection::Positions(positions);
                    let scan = Scan { selection, steps: steps.clone(), ..Scan::all() };
                    let (stream, pruning) = reader.scan(&scan).unwrap();
                    let found = rows_of_batches(&stream.try_collect::<Vec<_>>().await.unwrap());
                    let is_equal = found.iter().eq(expected.iter().copied());
                    assert!(is_equal, "{order:?} {steps:?}: {} of {}", found.len(), expected.len());
                    assert!(pruning.rows_read >= found.len() as u64 && pruning.rows_read <= pruning.rows);
                }
            }
        });
    }
}

fn series_of(run: u128) -> [SortedSeries; 1] {
    [series(key(run, "loss", None), 3, &mut Random::new(run as u64))]
}

#[test]
fn one_series_costs_few_pages_and_a_count_none() {
    let all = many_series();
    let segment = points::write(all.clone()).unwrap();
    block_on(async {
        let (store, path, size) = stored(segment.bytes).await;
        let cache = ReaderCache::new(1 << 20);
        let reader = cache.open(&store, &path, size).await.unwrap();
        let positions = reader
            .series()
            .matching(|s| s.metric == "grad/layer" && s.run == RunId::from_u128(3) && s.context.is_none());
        let selection = SeriesSelection::Positions(positions);
        let (stream, pruning) = reader.scan(&Scan { selection: selection.clone(), ..Scan::all() }).unwrap();
        assert_eq!(
            stream.try_collect::<Vec<_>>().await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(),
            300
        );
        assert_eq!((pruning.series_read, pruning.rows_read, pruning.row_groups_read), (1, 300, 1));
        assert!(pruning.pages_read <= 2 && pruning.pages as usize >= rows_of(&all).len() / PAGE_ROWS);
        let texts = Scan { selection, projection: vec![3, 2], ..Scan::all() };
        let (stream, pruning) = cache.open(&store, &path, size).await.unwrap().scan(&texts).unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        assert_eq!((batches[0].num_rows(), batches[0].num_columns(), pruning.pages_read), (300, 2, 0));
        assert_eq!(batches[0].column(0).as_string::<i32>().value(299), "grad/layer");
        let (stream, _) = reader.scan(&Scan { projection: vec![], ..Scan::all() }).unwrap();
        let counted: usize =
            stream.try_collect::<Vec<_>>().await.unwrap().iter().map(RecordBatch::num_rows).sum();
        assert_eq!(counted, rows_of(&all).len());
    });
}

#[test]
fn what_a_segment_holds_is_known_after_it_had_to_go() {
    let write = |run| points::write(series_of(run)).unwrap();
    block_on(async {
        let (first, second) = (write(3), write(4));
        let ((store, path, size), (others, other, other_size)) =
            (stored(first.bytes).await, stored(second.bytes).await);
        let other_path = Path::from("other");
        let bytes = others.get(&other).await.unwrap().bytes().await.unwrap();
        store.put(&other_path, bytes.into()).await.unwrap();
        // Of one byte: only the last one stays open.
        let cache = ReaderCache::new(1);
        assert!(cache.contents(&path, size).is_none());
        cache.open(&store, &path, size).await.unwrap();
        cache.open(&store, &other_path, other_size).await.unwrap();
        let contents = cache.contents(&path, size).unwrap();
        assert_eq!(contents.series(), 1);
        assert!(contents.may_hold(RunId::from_u128(3)) && !contents.may_hold(RunId::from_u128(4)));
        assert!(cache.contents(&path, size + 1).is_none());
        cache.forget(&path);
        assert!(cache.contents(&path, size).is_none());
    });
}

#[test]
fn a_million_rows_and_one_row() {
    let mut random = Random::new(1);
    for count in [1, 1_000_000] {
        let all = series(key(1, "loss", None), count, &mut random);
        let segment = points::write([all.clone()]).unwrap();
        assert_eq!(segment.rows, count as u64);
        let scan = Scan { projection: vec![8, 5], batch_size: 65_536, ..Scan::all() };
        let batches = block_on(read(segment.bytes, &scan)).unwrap();
        let values = batches.iter().flat_map(|b| b.column(0).as_primitive::<Float64Type>().values().iter());
        assert!(values.map(|v| v.to_bits()).eq(all.points.values.iter().map(|v| v.to_bits())));
        let steps = batches.iter().flat_map(|b| b.column(1).as_primitive::<Int64Type>().values().iter());
        assert!(steps.eq(&all.points.steps));
    }
}

#[test]
fn points_of_equal_place_keep_their_order_of_arrival() {
    let mut points = PointColumns::default();
    for (step, time, value) in [(2, 1, 1.0), (1, 5, 2.0), (2, 1, 0.5), (1, 4, 3.0), (2, 1, 9.0)] {
        points.push(Point { step, step_fraction: None, time, value });
    }
    let name = ExperimentName::new("e").unwrap();
    let sorted = SortedSeries::from_arrival(
        ProjectName::default(),
        name,
        key(1, "m", None),
        points,
        vec![1, 2, 3, 4, 5],
    );
    assert_eq!(sorted.points.values, [3.0, 2.0, 1.0, 0.5, 9.0]);
    assert_eq!(sorted.attempts, [4, 2, 1, 3, 5]);
}

#[test]
fn disorder_repeats_and_emptiness_are_refused() {
    let mut random = Random::new(3);
    let a = series(key(1, "a", None), 3, &mut random);
    let b = series(key(1, "b", None), 3, &mut random);
    let code = |result: super::Result<EncodedSegment>| result.unwrap_err().code();
    assert_eq!(code(points::write([b.clone(), a.clone()])), "segment.order");
    assert_eq!(code(points::write([a.clone(), a.clone()])), "segment.order");
    let mut unsorted = a.clone();
    unsorted.points.steps.swap(0, 2);
    assert_eq!(code(points::write([unsorted])), "segment.order");
    let mut short = a.clone();
    short.attempts.pop();
    assert_eq!(code(points::write([short])), "segment.input");
    assert_eq!(code(points::write([])), "segment.input");
}

/// Flips bits all over a file; each time reading must give the written rows or an error.
async fn flip_bits<T: PartialEq>(
    bytes: &[u8],
    trials: usize,
    written: &T,
    read: impl AsyncFn(Vec<u8>) -> Result<T, SegmentError>,
) {
    let mut random = Random::new(seed());
    let mut found = 0;
    for trial in 0..trials {
        let mut damaged = bytes.to_vec();
        // Every other trial hits the tail, where the structure is.
        let from = if trial % 2 == 0 { 0 } else { bytes.len() * 3 / 4 };
        let at = from + random.index(bytes.len() - from);
        damaged[at] ^= 1 << random.below(8);
        match read(damaged).await {
            Ok(rows) => assert!(&rows == written, "a flipped bit at byte {at} gave wrong rows"),
            Err(error) => {
                assert!(["segment.corrupt", "segment.newer_format"].contains(&error.code()), "{error}");
                assert!(error.to_string().contains("segment.parquet"), "{error}");
                found += 1;
            }
        }
    }
    assert!(found > trials / 2, "only {found} of {trials} were noticed");
    for length in [0, 1, 8, 40, bytes.len() / 2, bytes.len() - 1] {
        assert!(read(bytes[..length].to_vec()).await.is_err(), "a file cut to {length} bytes was read");
    }
}

#[test]
fn a_flipped_bit_in_points_is_an_error_or_harmless() {
    let mut random = Random::new(11);
    let all: Vec<SortedSeries> = (0..40)
        .map(|number| {
            series(key(number / 4, ["a", "b", "c", "d"][number as usize % 4], None), 500, &mut random)
        })
        .collect();
    let segment = points::write(all.clone()).unwrap();
    block_on(flip_bits(&segment.bytes, 300, &rows_of(&all), async |bytes| {
        Ok(rows_of_batches(&read(bytes, &Scan::all()).await?))
    }));
}

#[test]
fn a_damaged_column_is_named_and_the_others_stay_readable() {
    let segment = points::write(many_series()).unwrap();
    block_on(async {
        let (store, path, size) = stored(segment.bytes.clone()).await;
        let reader = Reader::open(store, &path, size).await.unwrap();
        let value = reader.file().metadata().metadata().row_group(1).column(8).byte_range();
        let mut damaged = segment.bytes.to_vec();
        damaged[(value.0 + value.1 / 2) as usize] ^= 4;
        let error = read(damaged.clone(), &Scan::all()).await.unwrap_err().to_string();
        assert!(error.contains("table points") && error.contains("row group 1, column value"), "{error}");
        let others = Scan { projection: vec![2, 3, 5, 7], ..Scan::all() };
        assert!(read(damaged.clone(), &others).await.is_ok());
        let (store, path, size) = stored(damaged).await;
        let reader = Reader::open(store, &path, size).await.unwrap();
        assert_eq!(reader.verify().await.unwrap_err().code(), "segment.corrupt");
    });
}

#[test]
fn a_missing_file_and_a_wrong_length_are_told_apart() {
    let segment = points::write([series(key(1, "m", None), 10, &mut Random::new(1))]).unwrap();
    block_on(async {
        let (store, path, size) = stored(segment.bytes).await;
        let open = async |path: &str, size| Reader::open(Arc::clone(&store), &Path::from(path), size).await;
        assert_eq!(open("other", size).await.unwrap_err().code(), "segment.missing");
        for wrong in [size - 1, size + 1, size * 10, 3] {
            assert_eq!(open(path.as_ref(), wrong).await.unwrap_err().code(), "segment.corrupt", "{wrong}");
        }
    });
}

/// Rows of any table, with nulls wherever they are allowed.
fn batch_of(table: Table, count: usize) -> RecordBatch {
    let mut random = Random::new(table.name().bytes().map(u64::from).sum());
    let schema = table.schema();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let mut some = |_| !(field.is_nullable() && random.below(3) == 0);
        let present: Vec<bool> = (0..count).map(&mut some).collect();
        let number = |row: usize| (row as i64 - 7).wrapping_mul(0x0123_4567_89ab_cdef);
        let values = || present.iter().enumerate().map(move |(row, some)| some.then_some(row));
        match field.data_type() {
            DataType::Utf8 => {
                Arc::new(values().map(|r| r.map(|r| format!("té{r}"))).collect::<StringArray>())
            }
            DataType::Int64 => Arc::new(values().map(|r| r.map(number)).collect::<Int64Array>()),
            DataType::Int32 => Arc::new(values().map(|r| r.map(|r| r as i32)).collect::<Int32Array>()),
            DataType::Boolean => Arc::new(values().map(|r| r.map(|r| r % 2 == 0)).collect::<BooleanArray>()),
            DataType::Float64 => Arc::new(
                values().map(|r| r.map(|r| f64::from_bits(number(r) as u64))).collect::<Float64Array>(),
            ),
            DataType::Timestamp(..) => Arc::new(
                values().map(|r| r.map(number)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"),
            ),
            other => panic!("no rows of type {other}"),
        }
    });
    RecordBatch::try_new(table.schema(), columns.collect()).unwrap()
}

/// Equality that looks at the bits of doubles.
fn same_bits(a: &RecordBatch, b: &RecordBatch) -> bool {
    a.schema() == b.schema()
        && a.columns().iter().zip(b.columns()).all(|(a, b)| match a.data_type() {
            DataType::Float64 => {
                let bits = |array: &ArrayRef| {
                    array
                        .as_primitive::<Float64Type>()
                        .iter()
                        .map(|v| v.map(f64::to_bits))
                        .collect::<Vec<_>>()
                };
                bits(a) == bits(b)
            }
            _ => a == b,
        })
}

struct Exact(RecordBatch);

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        same_bits(&self.0, &other.0)
    }
}

#[test]
fn every_table_comes_back_and_flipped_bits_are_noticed() {
    for table in Table::ALL {
        for count in [0, 1, 300] {
            let batch = batch_of(table, count);
            let segment = rows::write_batch(table, &batch).unwrap();
            block_on(async {
                let (store, path, size) = stored(segment.bytes.clone()).await;
                let found = rows::read_all(table, store, &path, size).await.unwrap();
                assert!(same_bits(&found, &batch), "{} with {count} rows", table.name());
            });
        }
        let written = Exact(batch_of(table, 300));
        let segment = rows::write_batch(table, &written.0).unwrap();
        block_on(flip_bits(&segment.bytes, 60, &written, async |bytes| {
            let (store, path, size) = stored(bytes).await;
            Ok(Exact(rows::read_all(table, store, &path, size).await?))
        }));
    }
    let foreign = rows::write_batch(Table::Runs, &batch_of(Table::Notes, 1)).unwrap_err();
    assert_eq!(foreign.code(), "segment.input");
}

#[test]
fn statistics_are_those_of_the_rows() {
    let segment = points::write(many_series()).unwrap();
    let stats: serde_json::Value = serde_json::from_str(&segment.stats).unwrap();
    assert_eq!(stats["numRecords"], segment.rows);
    assert_eq!(stats["minValues"]["metric"], "acc");
    assert_eq!(stats["maxValues"]["metric"], "system/gpu");
    assert_eq!(stats["maxValues"]["step"], (ROW_GROUP_ROWS as i64 + 20_000 - 1) * 10);
    assert_eq!(stats["minValues"]["time"], "1970-01-01T00:00:00.000000Z");
    assert!(stats["minValues"].get("value").is_none(), "bounds of doubles leave out NaN");
    assert_eq!(segment.tags["crc32c"], format!("{:08x}", crc32c::crc32c(&segment.bytes)));
}
