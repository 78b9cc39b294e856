//! A store that is slow, refuses requests, loses answers, and delivers late: nothing is lost or doubled.

use std::time::{Duration, SystemTime};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use store::{Store, open_snapshot, verify};

use super::faulty_store::FaultyStore;
use super::{append, config, expected, location, open, points_of};
use crate::lake::create;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_on_a_store_that_fails() {
    let seed = match std::env::var("RUNLAKE_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
    };
    println!("RUNLAKE_TEST_SEED={seed}");
    let rounds: u64 = std::env::var("RUNLAKE_TEST_ROUNDS").map_or(2, |rounds| rounds.parse().unwrap());
    let network = FaultyStore::over(std::sync::Arc::new(InMemory::new()), seed);
    let here = tempfile::tempdir().unwrap();
    let mine = location(&network.shared(), here.path());
    let (mut step, mut flushes, mut opens) = (0, 0, 0);
    for round in 0..rounds {
        // Opening asks for some hundred things one after the other: with few faults it succeeds in the end.
        network.set_faults(if round == 0 { 0 } else { 1 }, Duration::ZERO);
        let lake = loop {
            opens += 1;
            match Store::open(config(&mine, "a test")).await {
                Ok(lake) => break lake,
                Err(error) => assert!(opens < 500, "{error}"),
            }
        };
        if round == 0 {
            lake.apply(vec![create(1)], None).await.unwrap();
        }
        network.set_faults(40, Duration::from_millis(1));
        for _ in 0..12 {
            for _ in 0..5 {
                // A client that does not get its acknowledgement sends again under the same number.
                while let Err(error) = append(&lake, step).await {
                    assert_eq!(error.code(), "lease.unrenewed", "{error}");
                }
                step += 1;
            }
            flushes += u64::from(lake.flush().await.is_ok());
            assert!(!lake.is_stopped(), "{:?}", lake.stop_reason());
            assert_eq!(lake.snapshot().series().entries().get(0).unwrap().statistics.count, step as u64);
        }
        lake.close().await;
    }
    network.set_faults(0, Duration::ZERO);
    println!("{} requests went wrong, {flushes} flushes went through, {opens} opens", network.wrong());
    assert!(network.wrong() > 20 && flushes > 0);
    let lake = open(&mine).await;
    assert_eq!(points_of(&lake.snapshot()).await, expected(0..step));
    lake.flush().await.unwrap();
    assert_eq!(points_of(&lake.snapshot()).await, expected(0..step));
    lake.close().await;
    assert_eq!(verify(&mine).await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_after_it_was_given_up_counts_once() {
    for (table, late) in [("runs", false), ("runs", true), ("points", false), ("points", true)] {
        let (network, here) = (FaultyStore::new(), tempfile::tempdir().unwrap());
        let mine = location(&network.shared(), here.path());
        let lake = open(&mine).await;
        lake.apply(vec![create(1)], None).await.unwrap();
        append(&lake, 1).await.unwrap();
        network.hold_back_commits_of(Some(table));
        assert!(lake.flush().await.is_err(), "{table}");
        network.hold_back_commits_of(None);
        if late {
            // Behind the look of the next flush, just in front of its own commit.
            network.deliver_before_commit_of(table);
        } else {
            assert!(network.deliver().await[0].is_ok(), "the first try of the commit arrives");
        }
        append(&lake, 2).await.unwrap();
        lake.apply(vec![create(2)], None).await.unwrap();
        if late {
            // The next flush meets it, the one after it goes on.
            assert_eq!(lake.flush().await.unwrap_err().code(), "catalog.conflict", "{table}");
        }
        assert_eq!(points_of(&lake.snapshot()).await, expected([1, 2]), "{table}");
        lake.flush().await.unwrap();
        assert_eq!(points_of(&lake.snapshot()).await, expected([1, 2]), "{table}");
        lake.close().await;
        let lake = open(&mine).await;
        assert_eq!(points_of(&lake.snapshot()).await, expected([1, 2]), "{table}");
        assert_eq!(lake.snapshot().registry().runs().len(), 2);
        lake.close().await;
        assert_eq!(verify(&mine).await.unwrap().findings, [], "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_a_dead_writer_that_arrives_late_is_refused() {
    let (network, here) = (FaultyStore::new(), tempfile::tempdir().unwrap());
    let mine = location(&network.shared(), here.path());
    let lake = open(&mine).await;
    lake.apply(vec![create(1)], None).await.unwrap();
    append(&lake, 1).await.unwrap();
    network.hold_back_commits_of(Some("points"));
    assert!(lake.flush().await.is_err());
    network.hold_back_commits_of(None);
    lake.close().await;
    // The next writer has committed its epoch to every table: the number is taken.
    let lake = open(&mine).await;
    assert!(network.deliver().await.iter().all(Result::is_err));
    lake.flush().await.unwrap();
    assert_eq!(points_of(&lake.snapshot()).await, expected([1]));
    lake.close().await;
    assert_eq!(points_of(&open_snapshot(&mine).await.unwrap()).await, expected([1]));
}

#[tokio::test]
async fn a_store_without_conditional_puts_is_refused_before_anything_is_written() {
    let (network, here) = (FaultyStore::new(), tempfile::tempdir().unwrap());
    network.forget_conditions();
    let mine = location(&network.shared(), here.path());
    let error = Store::open(config(&mine, "a test")).await.unwrap_err();
    assert_eq!(error.code(), "store.unfit");
    assert!(error.to_string().contains("If-None-Match"), "{error}");
    let left = network.list_with_delimiter(None).await.unwrap();
    assert_eq!((left.objects.len(), left.common_prefixes.len()), (0, 0), "{left:?}");
}
