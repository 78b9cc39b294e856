//! Operations that fail, a full disk, and clocks that jump: what is acknowledged stays, what is refused leaves no trace.

use std::time::Duration;

use store::disk::{Fault, FaultyDisk};
use store::{Store, StoreConfig, VacuumOptions};

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
        let (failures, failed_syncs) = (life.disk.failures(), life.failed_syncs());
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
                if life.random.chance(2) {
                    life.perform(Operation::BackUp).await;
                }
                plan_fault(&mut life, &[4, 30, 90, 400]);
            }
            for _ in 0..16 {
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
                assert_eq!(life.failed_syncs(), failed_syncs, "{}: a sync failed", life.context);
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
        outcome.failed_syncs += life.failed_syncs() - failed_syncs;
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
        life.verify().await;
        life.close().await;
    }
    life.disk.crash(seed);
    life.expect_success();
    life.open().await.unwrap_or_else(|error| panic!("{}: {error}", life.context));
    life.compare().await;
    life.close().await;
    life.verify().await;
    outcome.figures += life.model.figures;
}

#[tokio::test]
async fn failing_operations_lose_and_double_nothing() {
    let lives = count("RUNLAKE_TEST_FAULTS", 24).div_ceil(FAULTS_PER_LIFE);
    let young = young_lake().await;
    let mut outcome = Outcome::default();
    let start = std::time::Instant::now();
    for seed in seeds(1, lives) {
        println!("seed {seed}");
        live(seed, &young, &mut outcome).await;
    }
    println!("{outcome:#?} in {:?}", start.elapsed());
}

/// A read that fails in the middle of a flush leaves nobody in the dark for long: the next flush finds out what was
/// committed, and nothing is written twice.
#[tokio::test]
async fn a_failed_read_in_a_flush_holds_up_only_that_flush() {
    let mut prepared = Life::with_runs(young_lake().await, 5).await;
    prepared.perform(Operation::Append).await;
    prepared.close().await;
    let (mut faults, mut failed) = (0, 0);
    let mut random = crate::random::Random::new(seeds(1, 1)[0]);
    let mut at = random.below(4);
    loop {
        let mut life = prepared.branch(0, format!("reading operation {at} of a flush"));
        life.open().await.unwrap();
        life.disk.fail_read_at(life.disk.reads() + at);
        failed += u64::from(life.store().flush().await.is_err());
        if life.disk.failures() == 0 {
            break;
        }
        faults += 1;
        life.expect_success();
        for operation in [Operation::Compare, Operation::Append, Operation::Flush, Operation::Compare] {
            life.perform(operation).await;
        }
        life.die();
        life.disk.crash_to_synced();
        life.open().await.unwrap();
        life.compare().await;
        life.close().await;
        life.verify().await;
        at += 1 + random.below(2 * 80 / count("RUNLAKE_TEST_FAULTS", 30).clamp(1, 80));
    }
    assert!(faults > 5 && failed > 2, "{faults} reads failed, {failed} flushes");
}

/// A failed sync of any file or folder ends the writer: nothing is acknowledged any more, and what was is there after
/// the power failed as well.
#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged() {
    let mut prepared = Life::with_runs(young_lake().await, 5).await;
    prepared.perform(Operation::Append).await;
    prepared.close().await;
    let mut faults = 0;
    let step = 60 / count("RUNLAKE_TEST_FAULTS", 30).clamp(6, 60);
    for at in (0..80).step_by(step as usize * 2) {
        let mut life = prepared.branch(at, format!("operation {at} of a flush"));
        life.open().await.unwrap();
        let failed_syncs = life.disk.failed_syncs();
        life.disk.fail_at(life.disk.operations() + at, Fault::Error);
        life.perform(Operation::Append).await;
        life.perform(Operation::Flush).await;
        if life.disk.failed_syncs() > failed_syncs {
            faults += 1;
            assert!(life.is_lost(), "{}", life.context);
            life.nothing_is_acknowledged().await;
        }
        life.die();
        life.disk.crash_to_synced();
        life.open().await.unwrap_or_else(|error| panic!("{}: {error}", life.context));
        life.compare().await;
        life.close().await;
    }
    assert!(faults > 2, "only {faults} syncs failed");
}

/// So it is when the sync was one of vacuum and there is nothing that a flush would have to write.
#[tokio::test]
async fn after_a_failed_sync_of_a_vacuum_nothing_is_flushed() {
    let mut prepared = Life::with_runs(young_lake().await, 5).await;
    prepared.close().await;
    let now = VacuumOptions { older_than: Some(Duration::ZERO), dry_run: false };
    let mut whole = prepared.branch(1, "a whole vacuum".to_owned());
    whole.open().await.unwrap();
    let before = whole.disk.operations();
    whole.store().vacuum(now).await.unwrap();
    let operations = whole.disk.operations() - before;
    let mut stopped = 0;
    for at in (operations / 2..operations).step_by((operations / 12) as usize) {
        let mut life = prepared.branch(1, format!("operation {at} of {operations} of a vacuum"));
        life.open().await.unwrap();
        life.disk.fail_at(life.disk.operations() + at, Fault::Error);
        let _ = life.store().vacuum(now).await;
        if life.is_lost() {
            stopped += 1;
            life.nothing_is_acknowledged().await;
        }
    }
    assert!(stopped > 1, "{stopped} syncs failed");
}

/// Fills the disk to the last byte, again and again at another place, and looks at everything that must still work.
#[tokio::test]
async fn a_full_disk_refuses_clearly_reads_go_on_and_writing_resumes_by_itself() {
    let mut life = Life::with_runs(young_lake().await, 3).await;
    let mut refused_flushes = 0;
    for room in [0, 1_000, 10_000, 17_000, 33_000, 50_000] {
        life.context = format!("room for {room} bytes");
        life.disk.set_capacity(Some(life.disk.used() + room));
        life.full = true;
        loop {
            let acknowledged = life.model.figures.acknowledged;
            life.perform(Operation::Append).await;
            if life.model.figures.acknowledged == acknowledged {
                break;
            }
        }
        assert_eq!(life.refusal, "disk.full", "{}", life.context);
        assert!(!life.is_lost(), "{}", life.context);
        // Several more are refused, and nothing changes.
        for _ in 0..3 {
            life.perform(Operation::AppendTogether).await;
        }
        life.perform(Operation::Compare).await;
        life.perform(Operation::Read).await;
        if let Err(error) = life.store().flush().await {
            refused_flushes += 1;
            let text = error.to_string();
            assert!(text.contains("full") || text.contains("No space"), "{}: {text}", life.context);
        }
        life.perform(Operation::Compare).await;
        // A start on the full disk; then also after the power failed.
        for cut in [false, true] {
            life.close().await;
            if cut {
                life.disk.crash(room);
            }
            life.open().await.unwrap_or_else(|error| panic!("{}: {error}", life.context));
            life.compare().await;
            life.perform(Operation::Read).await;
        }
        life.disk.set_capacity(None);
        life.full = false;
        life.expect_success();
        let acknowledged = life.model.figures.acknowledged;
        for operation in [Operation::Append, Operation::Flush, Operation::Append, Operation::Compare] {
            life.perform(operation).await;
        }
        assert_eq!(life.model.figures.acknowledged, acknowledged + 2, "{}", life.context);
    }
    assert!(refused_flushes > 0, "no flush met the full disk");
    life.close().await;
    life.verify().await;
}

/// Of many writers that open a lake at once, one gets it, and only that one can ever acknowledge anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_writers_one_gets_the_lake() {
    for round in 0..3 {
        let life = Life::new(FaultyDisk::new(), round);
        let real = tempfile::tempdir().unwrap();
        for on_disk in [false, true] {
            let opens = (0..6).map(|_| {
                let config = match on_disk {
                    true => StoreConfig { wal_file_bytes: 1 << 20, ..crate::lake::config(real.path()) },
                    false => life.config(),
                };
                tokio::spawn(Store::open(config))
            });
            let opened: Vec<_> = futures::future::join_all(opens).await;
            let (winners, losers): (Vec<_>, Vec<_>) =
                opened.into_iter().map(Result::unwrap).partition(Result::is_ok);
            assert_eq!(winners.len(), 1);
            for loser in losers {
                let error = loser.unwrap_err();
                assert_eq!(error.code(), "lake.locked", "{error}");
            }
            let winner = winners.into_iter().next().unwrap().unwrap();
            winner.apply(vec![crate::lake::create(1)], None).await.unwrap();
            winner.close().await;
        }
    }
}
