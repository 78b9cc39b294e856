//! What a question costs on an object store: requests.

use model::schema::Table;
use store::Location;
use store::segment::points::{Scan, SeriesSelection};

use super::faulty_store::FaultyStore;
use super::{location, open};
use crate::lake::{batch, create};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_series_of_a_segment_is_two_requests_and_the_next_one_fewer() {
    let (network, here) = (FaultyStore::new(), tempfile::tempdir().unwrap());
    let mine: Location = location(&network.shared(), here.path());
    let lake = open(&mine).await;
    lake.apply((1..=20).map(create).collect(), None).await.unwrap();
    for run in 1..=20 {
        for metric in ["loss", "accuracy"] {
            let points: Vec<(i64, f64)> =
                (0..500).map(|step| (step, (step as f64 * run as f64).sin())).collect();
            lake.append(batch(run, metric, &points), None).await.unwrap();
        }
    }
    lake.flush().await.unwrap();
    lake.close().await;

    let snapshot = store::open_snapshot(&mine).await.unwrap();
    let before = network.gets();
    let points = snapshot.series_points(&crate::lake::key(7, "loss")).await.unwrap();
    assert_eq!(points.len(), 500);
    let first = network.gets() - before;
    assert!(first <= 2, "footer and all columns of one row group, each one request, took {first}");
    let before = network.gets();
    snapshot.series_points(&crate::lake::key(8, "accuracy")).await.unwrap();
    let second = network.gets() - before;
    assert!(second <= 1, "the footer is known: {second}");
    // A scan of everything in a file with one row group: all columns lie side by side.
    let file = &snapshot.point_files()[0];
    let reader = snapshot.open_segment(file).await.unwrap();
    let before = network.gets();
    let scan = Scan { selection: SeriesSelection::All, ..Scan::all() };
    let (mut batches, _) = reader.scan(&scan).unwrap();
    let mut rows = 0;
    while let Some(batch) = futures::StreamExt::next(&mut batches).await {
        rows += batch.unwrap().num_rows();
    }
    let whole = network.gets() - before;
    assert_eq!(rows, 20_000, "{}", Table::Points.name());
    assert!(whole <= 2, "{whole}");
    println!("requests: first series {first}, second {second}, whole segment {whole}");
}
