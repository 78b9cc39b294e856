//! Power cuts and sudden deaths at random operations of the disk, also inside of recovery.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::schema::Table;
use store::catalog::{Catalog, Change, CommitIdentity};
use store::disk::{Fault, FaultyDisk};
use uuid::Uuid;

use super::life::{Life, Operation, ROOT};
use crate::ledger::Figures;
use crate::random::{Random, count, seeds};

/// Cuts in the life of one lake.
const CUTS_PER_LIFE: u64 = 8;

#[derive(Debug, Default)]
struct Outcome {
    figures: Figures,
    cuts: u64,
    kills: u64,
    in_recovery: u64,
    idle: u64,
    checkpoints: u64,
}

/// A lake with all its tables, so that not every life must begin with making them.
pub(super) async fn young_lake() -> FaultyDisk {
    let mut life = Life::new(FaultyDisk::new(), 0);
    life.open().await.unwrap();
    life.close().await;
    life.disk
}

/// Cuts the power at one of the next operations of the disk.
fn plan_cut(life: &mut Life, ranges: &[u64]) {
    let range = *life.random.pick(ranges);
    let after = life.random.below(range);
    life.disk.fail_at(life.disk.operations() + after, Fault::PowerCut);
}

/// A lake in which the next commits of three tables make checkpoints of their logs.
async fn old_lake() -> FaultyDisk {
    let disk = young_lake().await;
    let catalog = Catalog::open_on(Path::new(ROOT), Arc::new(disk.process())).unwrap();
    for table in [Table::Tags, Table::Series, Table::Points] {
        let mut version = catalog.load(table).await.unwrap();
        for number in 0..98 {
            let info = CommitIdentity { commit_id: Uuid::from_u128(number), epoch: 1, first_seq: 1, time: 1 };
            let change = Change { add: vec![], remove: vec![], last_seq: 0, data_change: true, info };
            version = catalog.commit(table, &version, change).await.unwrap();
        }
    }
    disk
}

fn checkpoints(disk: &FaultyDisk) -> u64 {
    let is_one = |path: &PathBuf| path.to_string_lossy().contains(".checkpoint.parquet");
    disk.files().iter().filter(|path| is_one(path)).count() as u64
}

async fn live(seed: u64, young: &FaultyDisk, old: &FaultyDisk, outcome: &mut Outcome) {
    use Operation::{BackUp, Compact, Delete, Expire, Restore, Vacuum};
    let mut life = Life::new(FaultyDisk::new(), seed);
    life.disk = match life.random.below(12) {
        0 => life.disk,
        1..4 => old.copy(),
        _ => young.copy(),
    };
    for cut in 0..CUTS_PER_LIFE {
        life.context = format!("seed {seed}, cut {cut}");
        life.expect_success();
        let in_recovery = life.random.chance(4);
        if in_recovery {
            plan_cut(&mut life, &[10, 40]);
        }
        match life.open().await {
            Err(error) => {
                assert!(life.disk.is_off(), "{}: {error}", life.context);
                outcome.in_recovery += 1;
            }
            Ok(()) => {
                life.compare().await;
                if !in_recovery {
                    life.verify().await;
                    // Some of these take more operations of the disk than are left before the cut.
                    for _ in 0..life.random.below(3) {
                        let care = [BackUp, Restore, Compact, Vacuum, Delete, Expire];
                        let operation = *life.random.pick(&care);
                        if operation != Delete || life.has_runs() {
                            life.perform(operation).await;
                        }
                    }
                    plan_cut(&mut life, &[5, 50, 150, 600]);
                }
                for _ in 0..20 {
                    if life.is_lost() {
                        break;
                    }
                    life.step().await;
                }
                outcome.idle += u64::from(!life.disk.is_off());
            }
        }
        life.die();
        if life.random.chance(4) {
            // Only the process dies: what it wrote is still in memory, and nobody knows that it is not synced.
            life.disk.kill();
            outcome.kills += 1;
        } else {
            let cut_seed = life.random.next();
            life.disk.crash(cut_seed);
            outcome.cuts += 1;
        }
    }
    life.context = format!("seed {seed}, at the end");
    life.expect_success();
    life.open().await.unwrap_or_else(|error| panic!("{}: {error}", life.context));
    life.compare().await;
    life.close().await;
    life.verify().await;
    outcome.figures += life.model.figures;
    outcome.checkpoints += checkpoints(&life.disk);
}

#[tokio::test]
async fn power_cuts_lose_and_double_nothing() {
    let wanted = count("RUNLAKE_TEST_CUTS", 24);
    let lives = wanted.div_ceil(CUTS_PER_LIFE * 3 / 4);
    let (young, old) = (young_lake().await, old_lake().await);
    let mut outcome = Outcome::default();
    let start = std::time::Instant::now();
    for seed in seeds(1, lives) {
        println!("seed {seed}");
        live(seed, &young, &old, &mut outcome).await;
    }
    println!("{outcome:#?} in {:?}", start.elapsed());
}

/// What a process that was killed had written and not synced looks like any other file to the next one, which must
/// not build on it: the power may still fail.
#[tokio::test]
async fn what_a_dead_process_did_not_sync_is_not_built_upon() {
    let mut prepared = Life::with_runs(young_lake().await, 1).await;
    prepared.close().await;
    let before = prepared.disk.operations();
    let probe = Life::new(prepared.disk.copy(), 1);
    let operations = flush_and_count(probe).await - before;
    assert!(operations > 40, "{operations}");
    let step = operations.div_ceil(count("RUNLAKE_TEST_CUTS", 8)).max(1);
    let mut random = Random::new(seeds(1, 1)[0]);
    let mut at = random.below(step);
    while at < operations {
        let mut life = prepared.branch(at, format!("killed at operation {at} of {operations}"));
        println!("{}", life.context);
        life.disk.fail_at(before + at, Fault::PowerCut);
        if life.open().await.is_ok() {
            let _ = life.store().flush().await;
        }
        life.die();
        life.disk.kill();
        life.open().await.unwrap();
        // The log of what the killed flush wrote goes away.
        for _ in 0..4 {
            life.perform(Operation::Append).await;
            life.perform(Operation::Flush).await;
        }
        life.die();
        life.disk.crash_to_synced();
        life.open().await.unwrap_or_else(|error| panic!("{}: {error}", life.context));
        life.compare().await;
        life.close().await;
        life.verify().await;
        at += step;
    }
}

/// The power fails at any operation of flushes that make checkpoints of Delta logs.
#[tokio::test]
async fn a_power_cut_in_a_checkpoint_loses_nothing() {
    let mut prepared = Life::with_runs(old_lake().await, 2).await;
    prepared.perform(Operation::Append).await;
    assert_eq!(checkpoints(&prepared.disk), 0);
    prepared.close().await;
    let (mut made, mut at) = (0, 0);
    let mut random = Random::new(seeds(1, 1)[0]);
    loop {
        let mut life = prepared.branch(at, format!("cut at operation {at} of a flush"));
        life.open().await.unwrap();
        life.disk.fail_at(life.disk.operations() + at, Fault::PowerCut);
        life.perform(Operation::Flush).await;
        let is_past = !life.disk.is_off();
        life.die();
        life.disk.crash(at);
        life.open().await.unwrap_or_else(|error| panic!("{}: {error}", life.context));
        life.compare().await;
        made += checkpoints(&life.disk);
        for operation in [Operation::Append, Operation::Flush, Operation::Compare] {
            life.perform(operation).await;
        }
        life.close().await;
        life.verify().await;
        if is_past {
            break;
        }
        at += 1 + random.below(480 / count("RUNLAKE_TEST_CUTS", 8).clamp(1, 480));
    }
    assert!(made > 0, "no flush made a checkpoint");
}

async fn flush_and_count(mut life: Life) -> u64 {
    life.open().await.unwrap();
    life.store().flush().await.unwrap();
    life.close().await;
    life.disk.operations()
}
