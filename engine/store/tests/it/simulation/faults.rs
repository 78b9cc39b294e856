//! Operations that fail, a full disk, and clocks that jump: what is acknowledged stays, what is refused leaves no trace.

use std::sync::Arc;

use store::disk::{Fault, FaultyDisk};
use store::{Store, StoreConfig};

use super::life::{Life, Operation};
use super::power::young_lake;
use crate::ledger::Figures;
use crate::random::{count, seeds};

/// Faults in the life of one lake.
const FAULTS_PER_LIFE: u64 = 6;

#[derive(Debug, Default)]
struct Outcome {
    figures: Figures,
    faults: u64,
    failed_syncs: u64,
    stopped: u64,
    not_opened: u64,
    went_on: u64,
}

/// Lets one of the next operations of the disk fail.
fn plan_fault(life: &mut Life, ranges: &[u64]) {
    let range = *life.random.pick(ranges);
    let after = life.random.below(range);
    match life.random.below(4) {
        0 => life.disk.fail_read_at(life.disk.reads() + 2 * after),
        1 => life.disk.fail_at(life.disk.operations() + after, Fault::Full),
        _ => life.disk.fail_at(life.disk.operations() + after, Fault::Error),
    }
}

async fn live(seed: u64, young: &FaultyDisk, outcome: &mut Outcome) {
    let mut life = Life::new(young.copy(), seed);
    for fault in 0..FAULTS_PER_LIFE {
        life.context = format!("seed {seed}, fault {fault}");
        let (failures, failed_syncs) = (life.disk.failures(), life.disk.failed_syncs());
        life.expect_success();
        let in_recovery = life.random.chance(4);
        if in_recovery {
            plan_fault(&mut life, &[5, 20, 60]);
        }
        if let Err(error) = life.open().await {
            assert!(life.disk.failures() > failures, "{}: {error}", life.context);
            outcome.not_opened += 1;
        } else {
            if !in_recovery {
                plan_fault(&mut life, &[4, 30, 90]);
            }
            for _ in 0..12 {
                if life.is_lost() || life.disk.failures() > failures {
                    break;
                }
                life.step().await;
            }
            if !life.is_open() {
                outcome.not_opened += 1;
            } else if life.is_lost() {
                outcome.stopped += 1;
                life.nothing_is_acknowledged().await;
            } else {
                assert_eq!(life.disk.failed_syncs(), failed_syncs, "{}: a sync failed", life.context);
                // The disk is sound again, and so must the store be, without a restart.
                life.disk.clear_faults();
                life.expect_success();
                outcome.went_on += 1;
                for operation in [Operation::Compare, Operation::Append, Operation::Flush, Operation::Compare]
                {
                    if operation != Operation::Append || life.has_runs() {
                        life.perform(operation).await;
                    }
                }
            }
        }
        outcome.failed_syncs += life.disk.failed_syncs() - failed_syncs;
        outcome.faults += u64::from(life.disk.failures() > failures);
        life.die();
        match life.random.below(3) {
            0 => life.disk.kill(),
            1 => life.disk.crash_to_synced(),
            _ => life.disk.crash(seed * 100 + fault),
        }
        life.expect_success();
        life.open().await.unwrap_or_else(|error| panic!("{}: {error}", life.context));
        life.compare().await;
        life.close().await;
    }
    life.disk.crash(seed);
    life.open().await.unwrap_or_else(|error| panic!("{}: {error}", life.context));
    life.compare().await;
    life.close().await;
    life.verify().await;
    outcome.figures += life.model.figures;
}

#[tokio::test]
async fn failing_operations_lose_and_double_nothing() {
    let lives = count("RUNLAKE_TEST_FAULTS", 48).div_ceil(FAULTS_PER_LIFE);
    let young = young_lake().await;
    let mut outcome = Outcome::default();
    let start = std::time::Instant::now();
    for seed in seeds(1, lives) {
        println!("seed {seed}");
        live(seed, &young, &mut outcome).await;
    }
    println!("{outcome:#?} in {:?}", start.elapsed());
}
