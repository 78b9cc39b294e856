//! Any sequence of operations, faults and crashes, made shorter by proptest when it shows a fault of the store.
//!
//! `RUNLAKE_TEST_CASES` sets the number of sequences.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use store::disk::{Fault, FaultyDisk};

use super::life::{Life, Operation};
use super::power::young_lake;
use crate::random::{Random, count, seeds};

#[derive(Debug, Clone, Copy)]
enum Act {
    /// An operation, with the seed of what it draws.
    Perform(Operation, u64),
    /// One of the next operations of the disk fails.
    Fail(u64, Fault),
    /// One of the next reading operations of the disk fails.
    FailRead(u64),
    /// The power fails at once, or has failed: the machine starts again, with the seed of what survives.
    Crash(u64),
    /// The process dies at once.
    Kill,
}

fn act() -> impl Strategy<Value = Act> {
    use Operation::*;
    let operation = prop_oneof![
        8 => Just(Append),
        3 => Just(AppendTogether),
        4 => Just(Apply),
        2 => Just(Retry),
        2 => Just(RetryOld),
        5 => Just(Flush),
        2 => Just(Compare),
        1 => Just(Read),
        1 => Just(Invalid),
        1 => Just(SecondWriter),
        1 => Just(ClockJump),
        1 => Just(Restart),
        2 => Just(Delete),
        1 => Just(Expire),
        3 => Just(Compact),
        2 => Just(Vacuum),
        2 => Just(BackUp),
        2 => Just(Restore),
        1 => Just(Verify),
    ];
    let fault = prop_oneof![Just(Fault::Error), Just(Fault::Full), Just(Fault::PowerCut)];
    prop_oneof![
        24 => (operation, any::<u64>()).prop_map(|(operation, seed)| Act::Perform(operation, seed)),
        2 => (0..90_u64, fault).prop_map(|(after, fault)| Act::Fail(after, fault)),
        1 => (0..200_u64).prop_map(Act::FailRead),
        1 => any::<u64>().prop_map(Act::Crash),
        1 => Just(Act::Kill),
    ]
}

async fn live(disk: FaultyDisk, acts: Vec<Act>) {
    let mut life = Life::new(disk, 1);
    life.open().await.unwrap();
    for (index, act) in acts.into_iter().enumerate() {
        life.context = format!("act {index}, {act:?}");
        match act {
            Act::Fail(after, fault) => life.disk.fail_at(life.disk.operations() + after, fault),
            Act::FailRead(after) => life.disk.fail_read_at(life.disk.reads() + after),
            Act::Crash(seed) => begin_again(&mut life, |disk| disk.crash(seed)).await,
            Act::Kill => begin_again(&mut life, FaultyDisk::kill).await,
            Act::Perform(operation, seed) => {
                if life.is_lost() {
                    begin_again(&mut life, |disk| disk.crash(seed)).await;
                }
                life.random = Random::new(seed);
                let possible = match operation {
                    Operation::Retry => !life.model.missing.is_empty(),
                    Operation::Append | Operation::AppendTogether | Operation::Delete => life.has_runs(),
                    _ => true,
                };
                if possible {
                    life.perform(operation).await;
                }
            }
        }
    }
    life.context = "at the end".to_owned();
    begin_again(&mut life, |disk| disk.crash(7)).await;
    life.close().await;
    life.verify().await;
}

async fn begin_again(life: &mut Life, end: impl FnOnce(&FaultyDisk)) {
    life.die();
    end(&life.disk);
    life.expect_success();
    life.open().await.unwrap_or_else(|error| panic!("{}: {error}", life.context));
    life.compare().await;
    life.verify().await;
}

#[test]
fn any_life_keeps_what_was_acknowledged() {
    let seed = seeds(1, 1)[0];
    println!("seed {seed}");
    let cases = count("RUNLAKE_TEST_CASES", 8);
    let config = ProptestConfig {
        cases: cases as u32,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let young = runtime.block_on(young_lake());
    let acts = prop::collection::vec(act(), 1..40);
    let outcome = TestRunner::new_with_rng(config, random).run(&acts, |acts| {
        runtime.block_on(live(young.copy(), acts));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
