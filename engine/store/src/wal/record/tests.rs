//! Round trips and hostile bytes of the record codec.

use model::{Context, MetricName, PointColumns, RunId, SeriesPoints};
use proptest::prelude::*;

use super::*;

pub(crate) fn arbitrary_integers(count: usize) -> impl Strategy<Value = Vec<i64>> {
    let wild = prop::collection::vec(prop_oneof![any::<i64>(), -5_i64..5, Just(i64::MIN)], count);
    let even = (any::<i64>(), -3_i64..1_000_000)
        .prop_map(move |(first, stride)| (0..count).map(|i| first.wrapping_add(stride * i as i64)).collect());
    prop_oneof![wild, even]
}

fn arbitrary_series() -> impl Strategy<Value = SeriesPoints> {
    let metric = prop_oneof![
        (0..40_u32).prop_map(|n| format!("metric/{n}")),
        "\\PC{1,250}".prop_filter("250 characters", |t| t.chars().count() <= 250)
    ];
    let context = prop::option::of((0..20_u32).prop_map(|n| format!(r#"{{"subset":"ä{n}","x":{n}.5}}"#)));
    let columns = (0_usize..20).prop_flat_map(|count| {
        let fractions = prop::option::of(prop::collection::vec(prop::option::of(0..1_000_000), count));
        let values = prop::collection::vec(any::<u64>().prop_map(f64::from_bits), count);
        (arbitrary_integers(count), arbitrary_integers(count), fractions, values)
    });
    (0..30_u128, metric, context, any::<u32>(), columns).prop_map(
        |(run, metric, context, attempt, columns)| {
            let (steps, times, step_fractions, values) = columns;
            SeriesPoints {
                run: RunId::from_u128(run << 100 | run),
                metric: MetricName::new(metric.replace(char::is_control, "x")).unwrap(),
                context: context.map(|text| Context::parse(&text).unwrap()),
                attempt,
                points: PointColumns { steps, step_fractions, times, values },
            }
        },
    )
}

fn arbitrary_writer() -> impl Strategy<Value = Option<WriterSequence>> {
    prop::option::of(
        ("[a-z0-9ä-]{1,40}", any::<u64>()).prop_map(|(id, seq)| WriterSequence::new(id, seq).unwrap()),
    )
}

fn arbitrary_points() -> impl Strategy<Value = Record> {
    (arbitrary_writer(), prop::collection::vec(arbitrary_series(), 1..60))
        .prop_filter_map("a batch has points", |(writer, series)| {
            Some(Record::Points { writer, batch: PointBatch::new(series).ok()? })
        })
}

fn arbitrary_flushed() -> impl Strategy<Value = Record> {
    prop::collection::vec(("[a-z]{1,12}", any::<u64>()), 0..12).prop_map(|tables| {
        Record::Flushed(
            tables.into_iter().map(|(table, last_seq)| FlushedTable { table, last_seq }).collect(),
        )
    })
}

fn arbitrary_windows() -> impl Strategy<Value = Record> {
    let window = ("[a-z]{1,9}", prop::collection::vec(0..3000_u64, 1..50), any::<i64>(), any::<bool>())
        .prop_map(|(id, numbers, time, contiguous)| {
            let mut window = WriterWindow::new(id, numbers[0], time);
            if contiguous {
                (0..numbers[0]).for_each(|seq| {
                    window.observe(seq, time);
                });
            } else {
                numbers.iter().for_each(|seq| {
                    window.observe(*seq, time);
                });
            }
            window
        });
    prop::collection::vec(window, 0..20).prop_map(Record::Writers)
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

/// NaN is not equal to itself; the bits are what counts.
fn assert_same(left: &Record, right: &Record) {
    if let (Record::Points { writer, batch }, Record::Points { writer: w, batch: b }) = (left, right) {
        assert_eq!(writer, w);
        assert_eq!(batch.series().len(), b.series().len());
        for (one, two) in batch.series().iter().zip(b.series()) {
            assert_eq!((one.key(), one.attempt), (two.key(), two.attempt));
            assert_eq!(one.points.steps, two.points.steps);
            assert_eq!(one.points.times, two.points.times);
            assert_eq!(one.points.step_fractions, two.points.step_fractions);
            let bits = |p: &PointColumns| p.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&one.points), bits(&two.points));
        }
    } else {
        assert_eq!(left, right);
    }
}

fn small_commands() -> Record {
    let run = RunId::from_u128(5);
    Record::Commands {
        writer: Some(WriterSequence::new("client", 7).unwrap()),
        commands: vec![
            Command::SetTags {
                run,
                tags: vec![(model::Key::new("team").unwrap(), "vision".to_owned().try_into().unwrap())],
            },
            Command::UpdateRun(model::RunUpdate { name: Some("näme".into()), ..model::RunUpdate::of(run) }),
        ],
    }
}

proptest! {
    #[test]
    fn points_round_trip(record in arbitrary_points()) {
        assert_same(&Record::decode(record.kind(), &encoded(&record)).unwrap(), &record);
    }

    #[test]
    fn windows_round_trip(record in prop_oneof![arbitrary_windows(), arbitrary_flushed()]) {
        assert_same(&Record::decode(record.kind(), &encoded(&record)).unwrap(), &record);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(kind in 0..5_u16, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(record) = Record::decode(kind, &bytes) {
            assert_same(&Record::decode(record.kind(), &encoded(&record)).unwrap(), &record);
        }
    }

    #[test]
    fn damaged_records_do_no_harm(
        record in prop_oneof![arbitrary_points(), arbitrary_windows(), arbitrary_flushed()],
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encoded(&record);
        prop_assert!(Record::decode(record.kind(), &bytes[..cut.index(bytes.len())]).is_err());
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(other) = Record::decode(record.kind(), &bytes) {
            assert_same(&Record::decode(other.kind(), &encoded(&other)).unwrap(), &other);
        }
    }
}

#[test]
fn commands_round_trip_and_refused_ones_do_not_come_in() {
    let record = small_commands();
    let bytes = encoded(&record);
    assert_same(&Record::decode(KIND_COMMANDS, &bytes).unwrap(), &record);
    for length in 0..bytes.len() {
        assert!(Record::decode(KIND_COMMANDS, &bytes[..length]).is_err(), "{length}");
    }
    let nameless = br#"[{"command":"add_note","text":" "}]"#;
    let payload: Vec<u8> = [&[0], &nameless[..]].concat();
    assert!(matches!(Record::decode(KIND_COMMANDS, &payload), Err(RecordError::Json { .. })));
}

#[test]
fn huge_claims_are_refused_with_their_place() {
    // No writer, then 2^63 series.
    let mut payload = vec![0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let error = Record::decode(KIND_POINTS, &payload).unwrap_err();
    assert!(error.to_string().contains("number of series is 9223372036854775807 at byte 10"), "{error}");
    payload.push(0xff);
    payload[9] = 0xff;
    assert!(matches!(Record::decode(KIND_POINTS, &payload), Err(RecordError::OutOfRange { .. })));
    assert_eq!(Record::decode(9, &payload), Err(RecordError::UnknownKind { kind: 9 }));
}

#[test]
fn a_usual_batch_is_small() {
    let series = (0..11)
        .map(|n| SeriesPoints {
            run: RunId::from_u128(9),
            metric: MetricName::new(format!("train/metric_{n:02}")).unwrap(),
            context: None,
            attempt: 0,
            points: PointColumns {
                steps: vec![12_345],
                step_fractions: None,
                times: vec![1_700_000_000_000_000],
                values: vec![0.5],
            },
        })
        .collect();
    let bytes = encoded(&Record::Points { writer: None, batch: PointBatch::new(series).unwrap() });
    // 16 for the run, 16 for each name with its length, 8 for each value, 7 for the rest of a series.
    assert!(bytes.len() < 16 + 11 * (16 + 8 + 7) + 16, "{}", bytes.len());
}
