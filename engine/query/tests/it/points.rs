//! The scan of points: what it reads, in which order, and that every bit comes back.

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use model::{MetricName, Point, PointBatch, PointColumns, SeriesPoints};

use crate::lake::{Kept, Lake, block_on, run_id};

fn explain(lake: &Lake, sql: &str) -> String {
    let rows = lake.rows(&format!("EXPLAIN FORMAT INDENT {sql}"));
    rows.into_iter().map(|row| row.join("\n")).collect::<Vec<_>>().join("\n")
}

#[test]
fn filters_on_series_are_answered_by_the_scan() {
    let lake = Lake::small(Kept::Flushed);
    let plan = explain(
        &lake,
        "SELECT value FROM points WHERE metric = 'bleu' AND run_id = '00000000000000000000000000000004' AND step > 1",
    );
    assert!(plan.contains("series=1 of 5"), "{plan}");
    assert!(plan.contains("files=1 of 1"), "{plan}");
    assert!(!plan.contains("FilterExec"), "{plan}");
    let nothing = explain(&lake, "SELECT value FROM points WHERE metric = 'nope'");
    assert!(nothing.contains("series=0 of 5"), "{nothing}");
}

#[test]
fn a_curve_in_order_of_steps_needs_no_sort() {
    let lake = Lake::small(Kept::Flushed);
    let sql = "SELECT step, value FROM points WHERE metric = 'val_loss' AND run_id = '00000000000000000000000000000001' AND context = '{}' ORDER BY step";
    let plan = explain(&lake, sql);
    assert!(!plan.contains("SortExec"), "{plan}");
    let all = "SELECT run_id, step FROM points WHERE metric = 'val_loss' ORDER BY run_id, metric, context NULLS FIRST, step";
    let plan = explain(&lake, all);
    assert!(!plan.contains("SortExec"), "{plan}");
}

#[test]
fn explain_analyze_says_how_much_was_read() {
    let lake = Lake::small(Kept::Flushed);
    let rows = lake.rows("EXPLAIN ANALYZE SELECT median(value) FROM points WHERE metric = 'bleu'");
    let plan = rows.into_iter().flatten().collect::<Vec<_>>().join("\n");
    for metric in ["series_read=1", "rows_selected=2", "output_rows=2", "row_groups_total=1", "pages_total="]
    {
        assert!(plan.contains(metric), "{metric} in {plan}");
    }
}

#[test]
fn counting_a_flushed_lake_reads_no_values() {
    let lake = Lake::small(Kept::Flushed);
    let plan = explain(&lake, "SELECT count(*) FROM points");
    assert!(plan.contains("PlaceholderRowExec"), "{plan}");
    assert_eq!(lake.cell("SELECT count(*) FROM points"), "15");
}

#[test]
fn every_bit_of_every_value_comes_back() {
    let values = [
        f64::from_bits(0x7ff8_0000_dead_beef),
        f64::from_bits(0xfff0_0000_0000_0001),
        f64::NEG_INFINITY,
        -0.0,
        5e-324,
        f64::MAX,
    ];
    for flushed in [false, true] {
        let mut lake = Lake::small(Kept::InMemory);
        let mut points = PointColumns::default();
        for (position, value) in values.into_iter().enumerate() {
            points.push(Point { step: position as i64, step_fraction: Some(250_000), time: 0, value });
        }
        let metric = MetricName::new("bits").unwrap();
        let part = SeriesPoints { run: run_id(1), metric, context: None, attempt: 2, points };
        block_on(async {
            lake.store.append(PointBatch::new(vec![part]).unwrap(), None).await.unwrap();
            if flushed {
                lake.store.flush().await.unwrap();
            }
        });
        lake.snapshot = lake.store.snapshot();
        let batches = lake.ask("SELECT value FROM points WHERE metric = 'bits' ORDER BY step").unwrap();
        let got: Vec<u64> = batches
            .iter()
            .flat_map(|b| b.column(0).as_primitive::<Float64Type>().values().iter().map(|v| v.to_bits()))
            .collect();
        assert_eq!(got, values.map(f64::to_bits), "flushed: {flushed}");
        let place = lake.rows("SELECT DISTINCT step_frac, attempt FROM points WHERE metric = 'bits'");
        assert_eq!(place, [["250000", "2"]]);
    }
}

#[test]
fn many_points_over_segments_and_memory_add_up() {
    let mut lake = Lake::small(Kept::InMemory);
    block_on(async {
        for part in 0..4_i64 {
            let mut points = PointColumns::default();
            for step in (0..50_000).map(|step| step * 4 + part) {
                points.push(Point { step, step_fraction: None, time: step, value: step as f64 });
            }
            let metric = MetricName::new("long").unwrap();
            let series = SeriesPoints { run: run_id(2), metric, context: None, attempt: 0, points };
            lake.store.append(PointBatch::new(vec![series]).unwrap(), None).await.unwrap();
            if part < 3 {
                lake.store.flush().await.unwrap();
            }
        }
    });
    lake.snapshot = lake.store.snapshot();
    let sql = "SELECT count(*), sum(value), min(step), max(step) FROM points WHERE metric = 'long'";
    assert_eq!(lake.rows(sql), [["200000", "19999900000.0", "0", "199999"]]);
    let window = "SELECT count(*) FROM (SELECT step - lag(step) OVER (ORDER BY step) AS d FROM points WHERE metric = 'long') AS t WHERE d = 1";
    assert_eq!(lake.cell(window), "199999");
    let part = "SELECT count(*) FROM points WHERE metric = 'long' AND step >= 100 AND step < 1100";
    assert_eq!(lake.cell(part), "1000");
    assert_eq!(
        lake.rows("SELECT step FROM points WHERE metric = 'long' ORDER BY step DESC LIMIT 2"),
        [["199999"], ["199998"]]
    );
    assert_eq!(
        lake.cell("SELECT count(*) FROM (SELECT step FROM points WHERE metric = 'long' LIMIT 70000) AS t"),
        "70000"
    );
}
