//! The columnar batch: flat columns on the wire, series with their points in the model.

use std::collections::HashMap;
use std::hash::Hash;

use model::{Context, MetricName, ModelError, PointBatch, PointColumns, RunId, SeriesPoints, limits};
use proto::v1;

use crate::error::ServiceError;

/// Checks a batch from the wire.
///
/// # Errors
/// [`ServiceError::Invalid`] with the path of the field at fault, such as `batch.metrics[3]`.
pub fn batch_from_proto(batch: v1::Batch) -> Result<PointBatch, ServiceError> {
    let v1::Batch {
        runs,
        metrics,
        contexts,
        series_run,
        series_metric,
        series_context,
        series_attempt,
        series_points,
        step_deltas,
        time_deltas,
        values,
        step_fractions,
    } = batch;
    let series_count = series_run.len();
    for (path, count) in [
        ("batch.runs", runs.len()),
        ("batch.metrics", metrics.len()),
        ("batch.contexts", contexts.len()),
        ("batch.series_run", series_count),
    ] {
        check_count(path, count, limits::BATCH_SERIES)?;
    }
    check_count("batch.values", values.len(), limits::BATCH_POINTS)?;
    check_length("batch.series_metric", series_metric.len(), series_count, "series_run")?;
    check_length("batch.series_points", series_points.len(), series_count, "series_run")?;
    check_optional_length("batch.series_context", series_context.len(), series_count, "series_run")?;
    check_optional_length("batch.series_attempt", series_attempt.len(), series_count, "series_run")?;
    let point_count: u64 = series_points.iter().map(|count| u64::from(*count)).sum();
    if point_count != values.len() as u64 {
        return Err(ServiceError::field(
            "batch.column_lengths",
            "batch.series_points",
            format!("the series have {point_count} points together, but `values` has {}", values.len()),
        ));
    }
    check_length("batch.step_deltas", step_deltas.len(), values.len(), "values")?;
    check_length("batch.time_deltas", time_deltas.len(), values.len(), "values")?;
    check_optional_length("batch.step_fractions", step_fractions.len(), values.len(), "values")?;

    let runs = table("batch.runs", &runs, |text| text.parse::<RunId>())?;
    let metrics = table("batch.metrics", &metrics, |text| MetricName::new(text))?;
    let contexts = table("batch.contexts", &contexts, Context::parse)?;

    let steps = running_sums(&step_deltas);
    let times = running_sums(&time_deltas);
    let mut begin = 0_usize;
    let mut series = Vec::with_capacity(series_count);
    for (index, (run, count)) in series_run.iter().zip(&series_points).enumerate() {
        // The sum of all counts is the length of the columns, so the end is never past it.
        let end = begin + *count as usize;
        let metric = series_metric.get(index).copied().unwrap_or_default();
        let context = match series_context.get(index).copied().unwrap_or_default() {
            0 => None,
            number => Some(entry("batch.series_context", index, "contexts", &contexts, number - 1)?.clone()),
        };
        series.push(SeriesPoints {
            run: *entry("batch.series_run", index, "runs", &runs, *run)?,
            metric: entry("batch.series_metric", index, "metrics", &metrics, metric)?.clone(),
            context,
            attempt: series_attempt.get(index).copied().unwrap_or_default(),
            points: PointColumns {
                steps: part(&steps, begin, end),
                step_fractions: fractions(&part(&step_fractions, begin, end)),
                times: part(&times, begin, end),
                values: part(&values, begin, end),
            },
        });
        begin = end;
    }
    PointBatch::new(series).map_err(|error| {
        let path = match &error {
            ModelError::StepFraction { .. } => "batch.step_fractions",
            ModelError::EmptyBatch => "batch.values",
            _ => "batch",
        };
        ServiceError::at(path, &error)
    })
}

/// A batch as the wire has it; each text once.
pub fn proto_from_batch(batch: &PointBatch) -> v1::Batch {
    let mut runs = Interner::default();
    let mut metrics = Interner::default();
    let mut contexts = Interner::default();
    let mut wire = v1::Batch::default();
    let (mut last_step, mut last_time) = (0_i64, 0_i64);
    let any_context = batch.series().iter().any(|part| part.context.is_some());
    let any_attempt = batch.series().iter().any(|part| part.attempt != 0);
    let any_fraction = batch.series().iter().any(|part| part.points.step_fractions.is_some());
    for part in batch.series() {
        wire.series_run.push(runs.index(part.run));
        wire.series_metric.push(metrics.index(part.metric.as_str()));
        if any_context {
            wire.series_context.push(part.context.as_ref().map_or(0, |c| contexts.index(c.as_str()) + 1));
        }
        if any_attempt {
            wire.series_attempt.push(part.attempt);
        }
        let columns = &part.points;
        // A batch has at most 2^20 points.
        wire.series_points.push(u32::try_from(columns.len()).unwrap_or(u32::MAX));
        for step in &columns.steps {
            wire.step_deltas.push(step.wrapping_sub(last_step));
            last_step = *step;
        }
        for time in &columns.times {
            wire.time_deltas.push(time.wrapping_sub(last_time));
            last_time = *time;
        }
        wire.values.extend_from_slice(&columns.values);
        if any_fraction {
            match &columns.step_fractions {
                Some(fractions) => wire.step_fractions.extend(fractions.iter().map(|f| f.unwrap_or(-1))),
                None => wire.step_fractions.resize(wire.step_fractions.len() + columns.len(), -1),
            }
        }
    }
    wire.runs = runs.into_texts();
    wire.metrics = metrics.into_texts();
    wire.contexts = contexts.into_texts();
    wire
}

/// Numbers for things in the order in which they come.
struct Interner<T> {
    numbers: HashMap<T, u32>,
    things: Vec<T>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), things: Vec::new() }
    }
}

impl<T: Copy + Eq + Hash + ToString> Interner<T> {
    fn index(&mut self, thing: T) -> u32 {
        *self.numbers.entry(thing).or_insert_with(|| {
            self.things.push(thing);
            // A batch has at most 2^16 series, and each brings at most one thing.
            u32::try_from(self.things.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn into_texts(self) -> Vec<String> {
        self.things.iter().map(ToString::to_string).collect()
    }
}

fn check_count(path: &str, count: usize, limit: usize) -> Result<(), ServiceError> {
    if count <= limit {
        return Ok(());
    }
    let what = format!("{count} entries, at most {limit} are taken at once; send the batch in parts");
    Err(ServiceError::field("batch.too_large", path, what))
}

fn check_length(path: &str, length: usize, expected: usize, other: &str) -> Result<(), ServiceError> {
    if length == expected {
        return Ok(());
    }
    let what = format!("{length} entries, but `{other}` has {expected}; the two must be equally many");
    Err(ServiceError::field("batch.column_lengths", path, what))
}

fn check_optional_length(
    path: &str,
    length: usize,
    expected: usize,
    other: &str,
) -> Result<(), ServiceError> {
    if length == 0 { Ok(()) } else { check_length(path, length, expected, other) }
}

fn table<T>(
    path: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, ModelError>,
) -> Result<Vec<T>, ServiceError> {
    let parsed = texts.iter().enumerate().map(|(index, text)| {
        parse(text).map_err(|error| ServiceError::at(format!("{path}[{index}]"), &error))
    });
    parsed.collect()
}

fn entry<'a, T>(
    path: &str,
    index: usize,
    table_name: &str,
    table: &'a [T],
    number: u32,
) -> Result<&'a T, ServiceError> {
    table.get(number as usize).ok_or_else(|| {
        let what = format!("names entry {number} of `{table_name}`, which has {}", table.len());
        ServiceError::field("batch.index", format!("{path}[{index}]"), what)
    })
}

fn running_sums(deltas: &[i64]) -> Vec<i64> {
    let mut sum = 0_i64;
    let sums = deltas.iter().map(|delta| {
        sum = sum.wrapping_add(*delta);
        sum
    });
    sums.collect()
}

fn part<T: Clone>(column: &[T], begin: usize, end: usize) -> Vec<T> {
    column.get(begin..end).unwrap_or_default().to_vec()
}

/// The fractions of one series; `None` when no point has one, which is also what an absent column means.
fn fractions(column: &[i32]) -> Option<Vec<Option<i32>>> {
    let some = column.iter().any(|fraction| *fraction != -1);
    some.then(|| column.iter().map(|fraction| (*fraction != -1).then_some(*fraction)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RUN: &str = "01890a5d96e07f2c8b1a6e0f5d3c2b1a";

    fn small() -> v1::Batch {
        v1::Batch {
            runs: vec![RUN.to_owned()],
            metrics: vec!["loss".to_owned(), "accuracy".to_owned()],
            series_run: vec![0, 0],
            series_metric: vec![0, 1],
            series_points: vec![2, 1],
            step_deltas: vec![10, 1, 0],
            time_deltas: vec![1_700_000_000_000_000, 0, 0],
            values: vec![0.31, 0.30, 0.92],
            ..v1::Batch::default()
        }
    }

    #[test]
    fn the_example_of_the_documentation_reads_as_it_says() {
        let batch = batch_from_proto(small()).unwrap();
        let series = batch.series();
        assert_eq!(series[0].points.steps, [10, 11]);
        assert_eq!((series[1].points.steps.as_slice(), series[1].metric.as_str()), (&[11][..], "accuracy"));
        assert_eq!(series[1].points.times, [1_700_000_000_000_000]);
        assert_eq!(proto_from_batch(&batch), small());
    }

    fn refused(change: impl FnOnce(&mut v1::Batch), path: &str, reason: &str) {
        let mut batch = small();
        change(&mut batch);
        match batch_from_proto(batch) {
            Err(ServiceError::Invalid { reason: found, field: Some(field), message }) => {
                assert_eq!((field.as_str(), found), (path, reason), "{message}");
                assert!(message.contains(path), "{message}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn every_wrong_field_is_named() {
        refused(|b| b.runs[0] = "x".into(), "batch.runs[0]", "run_id.malformed");
        refused(|b| b.metrics[1] = "m".repeat(251), "batch.metrics[1]", "name.too_long");
        refused(|b| b.metrics[0].clear(), "batch.metrics[0]", "name.empty");
        refused(|b| b.contexts = vec!["[]".into()], "batch.contexts[0]", "context.malformed");
        refused(|b| b.series_run[1] = 1, "batch.series_run[1]", "batch.index");
        refused(|b| b.series_metric[0] = u32::MAX, "batch.series_metric[0]", "batch.index");
        refused(|b| b.series_context = vec![0, 1], "batch.series_context[1]", "batch.index");
        refused(|b| b.series_context = vec![0], "batch.series_context", "batch.column_lengths");
        refused(|b| b.series_attempt = vec![0; 3], "batch.series_attempt", "batch.column_lengths");
        refused(|b| b.series_metric.truncate(1), "batch.series_metric", "batch.column_lengths");
        refused(|b| b.series_points[0] = u32::MAX, "batch.series_points", "batch.column_lengths");
        refused(|b| b.step_deltas.truncate(2), "batch.step_deltas", "batch.column_lengths");
        refused(|b| b.time_deltas.push(0), "batch.time_deltas", "batch.column_lengths");
        refused(|b| b.step_fractions = vec![0], "batch.step_fractions", "batch.column_lengths");
        refused(|b| b.step_fractions = vec![-2, 0, 0], "batch.step_fractions", "batch.step_fraction");
        refused(|b| b.step_fractions = vec![1_000_000, 0, 0], "batch.step_fractions", "batch.step_fraction");
        refused(|b| *b = v1::Batch::default(), "batch.values", "batch.empty");
        refused(
            |b| b.metrics = vec!["m".into(); limits::BATCH_SERIES + 1],
            "batch.metrics",
            "batch.too_large",
        );
        refused(|b| b.values = vec![0.0; limits::BATCH_POINTS + 1], "batch.values", "batch.too_large");
    }

    fn columns() -> impl Strategy<Value = PointColumns> {
        let point = (any::<i64>(), prop::option::of(0..1_000_000_i32), any::<i64>(), any::<u64>());
        prop::collection::vec(point, 0..5).prop_map(|points| {
            let mut columns = PointColumns::default();
            for (step, step_fraction, time, bits) in points {
                columns.push(model::Point { step, step_fraction, time, value: f64::from_bits(bits) });
            }
            columns
        })
    }

    fn series() -> impl Strategy<Value = SeriesPoints> {
        let context = prop::option::of((0..3_i32).prop_map(|n| format!("{{\"fold\":{n}}}")));
        (0..3_u128, "[a-zß/]{1,3}", context, 0..3_u32, columns()).prop_map(
            |(run, metric, context, attempt, points)| SeriesPoints {
                run: RunId::from_u128(run),
                metric: MetricName::new(metric).unwrap(),
                context: context.map(|text| Context::parse(&text).unwrap()),
                attempt,
                points,
            },
        )
    }

    /// Everything of a batch, with the bits of the values, since NaN is not equal to itself.
    fn fingerprint(batch: &PointBatch) -> Vec<(SeriesPoints, Vec<u64>)> {
        let split = batch.series().iter().cloned().map(|mut part| {
            let bits = part.points.values.drain(..).map(f64::to_bits).collect();
            (part, bits)
        });
        split.collect()
    }

    proptest! {
        #[test]
        fn batches_come_back_bit_for_bit(parts in prop::collection::vec(series(), 1..6)) {
            let Ok(batch) = PointBatch::new(parts) else { return Ok(()) };
            let wire = proto_from_batch(&batch);
            let bytes = prost::Message::encode_to_vec(&wire);
            let decoded: v1::Batch = prost::Message::decode(bytes.as_slice()).unwrap();
            let back = batch_from_proto(decoded).unwrap();
            prop_assert_eq!(fingerprint(&back), fingerprint(&batch));
        }

        #[test]
        fn wild_columns_are_refused_or_taken_and_never_panic(
            series_run in prop::collection::vec(0..3_u32, 0..4),
            series_metric in prop::collection::vec(0..3_u32, 0..4),
            series_context in prop::collection::vec(0..3_u32, 0..4),
            series_points in prop::collection::vec(prop_oneof![0..3_u32, Just(u32::MAX)], 0..4),
            step_deltas in prop::collection::vec(any::<i64>(), 0..5),
            values in prop::collection::vec(any::<f64>(), 0..5),
            step_fractions in prop::collection::vec(any::<i32>(), 0..5),
        ) {
            let wire = v1::Batch {
                runs: vec![RUN.to_owned(); 2],
                metrics: vec!["a".to_owned(), "b".to_owned()],
                contexts: vec!["{}".to_owned()],
                series_run, series_metric, series_context, series_points,
                time_deltas: step_deltas.clone(),
                step_deltas, values, step_fractions,
                ..v1::Batch::default()
            };
            let count = wire.values.len();
            if let Ok(batch) = batch_from_proto(wire) {
                prop_assert_eq!(batch.point_count(), count);
            }
        }
    }
}
