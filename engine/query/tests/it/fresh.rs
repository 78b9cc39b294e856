//! What is acknowledged is there for the next statement, and a statement that is under way sees what was there when it
//! began, whatever is written, flushed, compacted and deleted meanwhile.

use futures::StreamExt;
use model::{Command, MetricName, Point, PointBatch, PointColumns, SeriesPoints};
use query::{QueryOptions, run};
use store::CompactOptions;

use crate::lake::{FACTORY, Kept, Lake, block_on, run_id, texts};

fn more(run: u128, from: i64, count: i64) -> PointBatch {
    let mut points = PointColumns::default();
    for step in from..from + count {
        points.push(Point { step, step_fraction: None, time: step, value: step as f64 });
    }
    let metric = MetricName::new("more").unwrap();
    PointBatch::new(vec![SeriesPoints { run: run_id(run), metric, context: None, attempt: 0, points }])
        .unwrap()
}

#[test]
fn an_acknowledged_point_is_in_the_next_answer() {
    let mut lake = Lake::small(Kept::Both);
    for step in 0..50 {
        block_on(lake.store.append(more(1, step, 1), None)).unwrap();
        if step % 20 == 19 {
            block_on(lake.store.flush()).unwrap();
        }
        lake.snapshot = lake.store.snapshot();
        let expected = (step + 1).to_string();
        assert_eq!(lake.cell("SELECT count(*) FROM points WHERE metric = 'more'"), expected);
        assert_eq!(lake.cell("SELECT count FROM series WHERE metric = 'more'"), expected);
        assert_eq!(lake.cell("SELECT metrics.more FROM runs WHERE run_id LIKE '%01'"), format!("{step}.0"));
    }
}

#[test]
fn a_statement_under_way_sees_one_moment() {
    let lake = Lake::small(Kept::Both);
    block_on(async {
        for part in 0..4 {
            lake.store.append(more(1, part * 50_000, 50_000), None).await.unwrap();
            lake.store.flush().await.unwrap();
        }
        lake.store.append(more(1, 200_000, 1_000), None).await.unwrap();
        let snapshot = lake.store.snapshot();
        let sql = "SELECT p.step, r.name, r.tags.team FROM points p JOIN runs r ON r.run_id = p.run_id \
                   WHERE p.metric = 'more'";
        let mut answer = run(&FACTORY, &snapshot, sql, QueryOptions::default()).await.unwrap();
        let first = answer.batches.next().await.unwrap().unwrap();
        // Now everything changes under it.
        lake.store.append(more(1, 300_000, 10_000), None).await.unwrap();
        lake.store.flush().await.unwrap();
        lake.store.compact(CompactOptions::default()).await.unwrap();
        lake.store.apply(vec![Command::DeleteRuns { runs: vec![run_id(1)] }], None).await.unwrap();
        lake.store.flush().await.unwrap();
        lake.store.compact(CompactOptions::default()).await.unwrap();
        lake.store.vacuum(store::VacuumOptions::default()).await.unwrap();
        let mut batches = vec![first];
        while let Some(batch) = answer.batches.next().await {
            batches.push(batch.unwrap());
        }
        let rows = texts(&batches);
        assert_eq!(rows.len(), 201_000);
        assert!(rows.iter().all(|row| row[1] == "small" && row[2] == "cv"));
        let now = lake.store.snapshot();
        let after = run(&FACTORY, &now, sql, QueryOptions::default()).await.unwrap().collect().await.unwrap();
        assert_eq!(texts(&after).len(), 0);
    });
}
