//! The log against a disk that fails: power cuts, failing operations, a full disk, damage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{MetricName, PointBatch, PointColumns, RunId, SeriesPoints, WriterSequence};
use proptest::prelude::*;

use super::*;
use crate::disk::{Disk, Fault, FaultyDisk, RealDisk};

const LAKE: [u8; 16] = [9; 16];

fn folder() -> PathBuf {
    PathBuf::from("/lake/wal")
}

fn config() -> WalConfig {
    WalConfig {
        file_bytes: 2048,
        frame_bytes: 1024,
        total_bytes: 1 << 20,
        ..WalConfig::new(folder(), LAKE, 1)
    }
}

/// A record whose content follows from one number, of a size that follows from it, too.
fn record(tag: u64) -> Record {
    let count = 1 + (tag % 13) as usize;
    let points = PointColumns {
        steps: (0..count as i64).collect(),
        step_fractions: None,
        times: vec![tag as i64; count],
        values: (0..count).map(|i| (tag * 100 + i as u64) as f64).collect(),
    };
    let metric = MetricName::new(format!("metric_{}", tag % 3)).unwrap();
    let series =
        SeriesPoints { run: RunId::from_u128(tag.into()), metric, context: None, attempt: 0, points };
    Record::Points {
        writer: Some(WriterSequence::new("ledger", tag).unwrap()),
        batch: PointBatch::new(vec![series]).unwrap(),
    }
}

fn open(disk: &FaultyDisk) -> Result<(Wal, Recovered)> {
    open_with(disk, config())
}

fn open_with(disk: &FaultyDisk, config: WalConfig) -> Result<(Wal, Recovered)> {
    Wal::open(config, Arc::new(disk.clone()))
}

/// More seeds for each operation than the usual few: `RUNLAKE_SEEDS=200`.
fn seeds() -> u64 {
    std::env::var("RUNLAKE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// What the writer was told: the tag of every record, by number.
#[derive(Debug, Default, Clone)]
struct Ledger {
    /// Acknowledged: must be there.
    durable: BTreeMap<u64, u64>,
    /// Appended since: may be there after a power cut, each only after all before it.
    waiting: BTreeMap<u64, u64>,
    tag: u64,
}

impl Ledger {
    fn append(&mut self, wal: &mut Wal) -> Result<()> {
        let seq = wal.append(&record(self.tag))?;
        self.waiting.insert(seq, self.tag);
        self.tag += 1;
        Ok(())
    }

    fn sync(&mut self, wal: &mut Wal) -> Result<()> {
        let result = wal.sync();
        let durable = wal.durable_seq();
        let rest = self.waiting.split_off(&(durable + 1));
        self.durable.append(&mut self.waiting);
        match result {
            Ok(seq) => {
                assert_eq!(seq, durable);
                assert!(rest.is_empty());
                Ok(())
            }
            Err(error) => {
                if error.is_fatal() || wal.is_poisoned() {
                    // Nobody knows; the next open decides.
                    self.waiting = rest;
                } else {
                    assert_eq!(wal.next_seq(), durable + 1);
                }
                Err(error)
            }
        }
    }

    /// Opens the log after whatever happened, and compares. What was waiting and is there counts from then on.
    fn check(&mut self, disk: &FaultyDisk, config: WalConfig, context: &str) -> Wal {
        let (wal, recovered) = open_with(disk, config).unwrap_or_else(|e| panic!("{context}: {e}"));
        let (first, last) = (recovered.first_seq(), recovered.last_seq());
        let found: Vec<(u64, Record)> =
            recovered.collect::<Result<_>>().unwrap_or_else(|e| panic!("{context}: {e}"));
        assert_eq!(found.len() as u64, last + 1 - first, "{context}");
        let highest = self.durable.keys().last().copied().unwrap_or(0);
        assert!(last >= highest, "{context}: record {highest} was acknowledged, the log ends at {last}");
        self.durable.append(&mut self.waiting);
        self.durable.retain(|seq, _| *seq <= last);
        for (index, (seq, found)) in found.iter().enumerate() {
            assert_eq!(*seq, first + index as u64, "{context}");
            let tag = self.durable.get(seq).unwrap_or_else(|| panic!("{context}: {seq} was never written"));
            assert_eq!(*found, record(*tag), "{context}: record {seq}");
        }
        assert_eq!((wal.durable_seq(), wal.next_seq()), (last, last + 1), "{context}");
        wal
    }
}

/// A life of the log that touches every path: several files, groups of records, a rotation, removals.
fn life(wal: &mut Wal, ledger: &mut Ledger) -> Result<()> {
    for round in 0..24 {
        for _ in 0..=round % 4 {
            ledger.append(wal)?;
        }
        ledger.sync(wal)?;
        if round % 5 == 4 {
            wal.rotate()?;
        }
        if round > 3 {
            wal.remove_through(wal.durable_seq() - 5)?;
        }
    }
    Ok(())
}

#[test]
fn a_power_cut_at_every_operation_loses_nothing_acknowledged() {
    let whole = FaultyDisk::new();
    let (mut wal, _) = open(&whole).unwrap();
    life(&mut wal, &mut Ledger::default()).unwrap();
    let operations = whole.operations();
    assert!(operations > 60, "{operations}");
    let mut cuts = 0;
    for operation in 0..operations {
        for seed in 0..seeds() {
            let context = format!("operation {operation}, seed {seed}");
            let disk = FaultyDisk::new();
            disk.fail_at(operation, Fault::PowerCut);
            let mut ledger = Ledger::default();
            if let Ok((mut wal, _)) = open(&disk) {
                let _ = life(&mut wal, &mut ledger);
            }
            disk.crash(seed);
            let once = disk.copy();
            let mut again = ledger.clone();
            ledger.check(&once, config(), &context);
            // A second cut right after recovery, and recovery again: the same state.
            once.crash(seed + 1);
            let before = ledger.durable.clone();
            let mut wal = ledger.check(&once, config(), &context);
            assert_eq!(before, ledger.durable, "{context}");
            // And the log goes on.
            life(&mut wal, &mut ledger).unwrap();
            drop(wal);
            ledger.check(&once, config(), &context);
            // A cut in the middle of recovery.
            disk.fail_at(disk.operations() + seed % 7, Fault::PowerCut);
            let interrupted = open(&disk).is_err();
            disk.crash(seed + 2);
            let mut wal = again.check(&disk, config(), &format!("{context}, interrupted: {interrupted}"));
            life(&mut wal, &mut again).unwrap();
            cuts += 3;
        }
    }
    println!("{cuts} power cuts");
    assert!(cuts >= 3 * seeds() * 60);
}

#[test]
fn every_failing_operation_is_reported_and_loses_nothing_acknowledged() {
    let whole = FaultyDisk::new();
    let (mut wal, _) = open(&whole).unwrap();
    life(&mut wal, &mut Ledger::default()).unwrap();
    let (mut poisoned, mut went_on) = (0, 0);
    for fault in [Fault::Error, Fault::Full] {
        for operation in 0..whole.operations() {
            let context = format!("{fault:?} at operation {operation}");
            let disk = FaultyDisk::new();
            disk.fail_at(operation, fault);
            let mut ledger = Ledger::default();
            let Ok((mut wal, _)) = open(&disk) else { continue };
            let mut outcome = life(&mut wal, &mut ledger);
            if wal.is_poisoned() {
                poisoned += 1;
                // Nothing more is accepted, whatever is called.
                assert_eq!(wal.append(&record(0)).unwrap_err().code(), "wal.poisoned", "{context}");
                assert_eq!(wal.sync().unwrap_err().code(), "wal.poisoned", "{context}");
                assert_eq!(wal.rotate().unwrap_err().code(), "wal.poisoned", "{context}");
                assert_eq!(wal.remove_through(1).unwrap_err().code(), "wal.poisoned", "{context}");
            } else {
                if outcome.is_err() {
                    went_on += 1;
                    outcome = life(&mut wal, &mut ledger);
                }
                outcome.unwrap_or_else(|e| panic!("{context}: {e}"));
            }
            drop(wal);
            // The next process starts on the same machine; power fails later, or before.
            let restarted = disk.copy();
            let mut after = ledger.clone();
            let mut wal = after.check(&restarted, config(), &context);
            for _ in 0..3 {
                after.append(&mut wal).unwrap();
                after.sync(&mut wal).unwrap();
            }
            for seed in 0..10 {
                let disk = disk.copy();
                disk.crash(seed);
                ledger.clone().check(&disk, config(), &context);
                let disk = restarted.copy();
                disk.crash(seed);
                after.clone().check(&disk, config(), &format!("{context}, restarted"));
            }
        }
    }
    assert!(poisoned > 20 && went_on > 20, "{poisoned} {went_on}");
}

#[test]
fn a_full_disk_refuses_opens_and_resumes() {
    let disk = FaultyDisk::new();
    let config = WalConfig { free_bytes: 0, ..config() };
    disk.set_capacity(Some(2 * 2048 + 700));
    let mut ledger = Ledger::default();
    let (mut wal, _) = open_with(&disk, config.clone()).unwrap();
    let error = loop {
        if let Err(error) = ledger.append(&mut wal).and_then(|()| ledger.sync(&mut wal)) {
            break error;
        }
    };
    assert_eq!(error.code(), "disk.full", "{error}");
    assert!(ledger.durable.len() > 10);
    // Again and again, and a restart on the full disk changes nothing.
    ledger.append(&mut wal).unwrap();
    assert_eq!(ledger.sync(&mut wal).unwrap_err().code(), "disk.full");
    drop(wal);
    let mut wal = ledger.check(&disk, config.clone(), "full");
    disk.set_capacity(None);
    life(&mut wal, &mut ledger).unwrap();
    drop(wal);
    disk.crash(1);
    ledger.check(&disk, config, "after");
}

#[test]
fn little_free_space_refuses_before_anything_is_written() {
    let disk = FaultyDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    wal.append(&record(1)).unwrap();
    wal.sync().unwrap();
    let used = 2 * 2048;
    // 2 % of the disk: 80 bytes are free, 83 needed, and twice as much to go on.
    disk.set_capacity(Some(used + 80));
    let operations = disk.operations();
    let error = wal.append(&record(2)).unwrap_err();
    assert_eq!(error.code(), "disk.full");
    disk.set_capacity(Some(used + 120));
    assert!(wal.append(&record(2)).is_err());
    assert_eq!(disk.operations(), operations);
    disk.set_capacity(Some(used + 1000));
    assert_eq!(wal.append(&record(2)).unwrap(), 2);
}

#[test]
fn limits_are_named() {
    let disk = FaultyDisk::new();
    let (mut wal, _) = open_with(&disk, WalConfig { total_bytes: 3 * 2048, ..config() }).unwrap();
    let windows = (0..300).map(|n| WriterWindow::new(format!("client{n}"), n, 0)).collect();
    let error = wal.append(&Record::Writers(windows)).unwrap_err();
    assert!(matches!(error, WalError::RecordTooLarge { limit: 1024, .. }), "{error}");
    let mut tag = 0;
    let error = loop {
        match wal.append(&record(tag)) {
            Ok(seq) => assert_eq!(seq, tag + 1),
            Err(error) => break error,
        }
        tag += 1;
    };
    assert!(matches!(error, WalError::Full { bytes: 8192, limit: 6144 }), "{error}");
    assert_eq!(wal.sync().unwrap(), tag);
    assert_eq!(wal.total_bytes(), disk_bytes(&disk) - 2048);
    // Room comes back when two generations are flushed.
    for seq in [tag - 2, tag - 1, tag] {
        wal.remove_through(seq).unwrap();
    }
    wal.append(&record(tag)).unwrap();
    let wrong = WalConfig { file_bytes: 1024, ..config() };
    assert_eq!(open_with(&disk, wrong).unwrap_err().code(), "wal.configuration");
}

fn disk_bytes(disk: &FaultyDisk) -> u64 {
    let names = disk.list(&folder()).unwrap();
    names.iter().map(|name| disk.bytes(&folder().join(name)).unwrap().len() as u64).sum()
}

#[test]
fn two_flushed_generations_stay() {
    let disk = FaultyDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    let mut ledger = Ledger::default();
    let mut flushes = Vec::new();
    for _ in 0..6 {
        for _ in 0..20 {
            ledger.append(&mut wal).unwrap();
        }
        ledger.sync(&mut wal).unwrap();
        flushes.push(wal.durable_seq());
        wal.rotate().unwrap();
        wal.remove_through(wal.durable_seq()).unwrap();
        wal.remove_through(wal.durable_seq()).unwrap();
        let kept_from = flushes.len().checked_sub(3).map_or(1, |index| flushes[index] + 1);
        assert_eq!(wal.first_seq(), kept_from);
    }
    assert!(wal.total_bytes() < 14 * 2048);
    drop(wal);
    ledger.check(&disk, config(), "removed");
}

/// A small log of three files and a spare one, and what it holds.
fn small_log() -> (FaultyDisk, BTreeMap<u64, u64>) {
    let disk = FaultyDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    let mut ledger = Ledger::default();
    for round in 0..3 {
        for _ in 0..4 {
            ledger.append(&mut wal).unwrap();
            ledger.sync(&mut wal).unwrap();
        }
        if round < 2 {
            wal.rotate().unwrap();
        }
    }
    (disk, ledger.durable)
}

#[test]
fn no_flipped_bit_gives_a_wrong_value() {
    let (disk, records) = small_log();
    let names = disk.list(&folder()).unwrap();
    assert_eq!(names.len(), 4);
    let (mut found, mut harmless, mut torn) = (0, 0, 0);
    for name in &names {
        let path = folder().join(name);
        let bytes = disk.bytes(&path).unwrap();
        for byte in 0..bytes.len() {
            let copy = disk.copy();
            let mut damaged = bytes.clone();
            damaged[byte] ^= 1 << (byte % 8);
            copy.damage(&path, damaged.clone());
            let context = format!("{name} byte {byte}");
            match open(&copy) {
                Err(WalError::Corrupt { file, .. }) => {
                    found += 1;
                    // Damage to the link between two files may show at the second.
                    assert!(
                        file == path || name == "00000000000000000001.log",
                        "{context}: {}",
                        file.display()
                    );
                    assert_eq!(copy.bytes(&path).unwrap(), damaged, "{context}: nothing may be changed");
                    let findings = verify(&folder(), LAKE, &copy);
                    assert!(findings.iter().any(|f| f.file == file), "{context}: {findings:?}");
                }
                Err(other) => panic!("{context}: {other}"),
                Ok((_, recovered)) => {
                    let tail = recovered.torn_tail().cloned();
                    let last = recovered.last_seq();
                    for (seq, found) in recovered.map(|item| item.unwrap()) {
                        assert_eq!(found, record(records[&seq]), "{context}");
                    }
                    if last < 12 {
                        // Only the record that no later one calls durable can be taken for one never acknowledged,
                        // and then it is kept and reported.
                        torn += 1;
                        assert_eq!(last, 11, "{context}");
                        assert!(tail.unwrap().kept.is_some(), "{context}");
                    } else {
                        harmless += 1;
                    }
                }
            }
        }
    }
    assert!(found > 1000 && torn > 50 && harmless > 1000, "{found} {torn} {harmless}");
}

#[test]
fn damage_below_the_synced_mark_names_file_and_offset() {
    let (disk, _) = small_log();
    let path = folder().join("00000000000000000003.log");
    let bytes = disk.bytes(&path).unwrap();
    // A page of zeros over the first record: later records say that it was durable.
    let mut zeroed = bytes.clone();
    zeroed[80..144].fill(0);
    disk.damage(&path, zeroed);
    let error = open(&disk).unwrap_err();
    assert_eq!(error.code(), "wal.corrupt");
    assert!(error.to_string().contains("00000000000000000003.log is damaged at offset 80"), "{error}");
    let findings = verify(&folder(), LAKE, &disk);
    assert_eq!((findings[0].offset, &findings[0].file), (80, &path));
    let mut records = scan(folder(), LAKE, Arc::new(disk.clone()));
    assert_eq!(records.by_ref().filter(|r| r.is_ok()).count(), 8);
    disk.damage(&path, bytes);
    assert!(verify(&folder(), LAKE, &disk).is_empty());
}

#[test]
fn cut_emptied_deleted_and_foreign_files_are_found() {
    let (disk, _) = small_log();
    let names = disk.list(&folder()).unwrap();
    for name in &names[..3] {
        let path = folder().join(name);
        let bytes = disk.bytes(&path).unwrap();
        // The last file may be cut at any place; the ones before have given their unused end back.
        for length in (0..bytes.len()).step_by(17) {
            let copy = disk.copy();
            copy.damage(&path, bytes[..length].to_vec());
            let error = open(&copy).unwrap_err();
            assert_eq!(error.code(), "wal.corrupt", "{name} cut to {length}: {error}");
            assert!(!verify(&folder(), LAKE, &copy).is_empty(), "{name} cut to {length}");
        }
        let copy = disk.copy();
        copy.damage(&path, vec![0; bytes.len()]);
        assert_eq!(open(&copy).unwrap_err().code(), "wal.corrupt", "{name} zeroed");
    }
    for name in &names[1..3] {
        let copy = disk.copy();
        copy.delete(&folder().join(name));
        let error = open(&copy).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
    // The oldest file is what the tables must know of.
    let copy = disk.copy();
    copy.delete(&folder().join(&names[0]));
    assert_eq!(open(&copy).unwrap().1.first_seq(), 5);
    let error = open_with(&disk, WalConfig { committed_seq: 13, ..config() }).unwrap_err();
    assert_eq!(error.code(), "wal.ends_early");
    let error = open_with(&disk, WalConfig { lake_id: [1; 16], ..config() }).unwrap_err();
    assert_eq!(error.code(), "wal.wrong_lake");
    let error = open_with(&disk, WalConfig { epoch: 0, ..config() }).unwrap_err();
    assert_eq!(error.code(), "wal.fenced");
}

#[test]
fn a_higher_epoch_begins_a_new_file_and_an_empty_log_goes_on_after_the_tables() {
    let (disk, _) = small_log();
    let (mut wal, _) = open_with(&disk, WalConfig { epoch: 7, ..config() }).unwrap();
    assert_eq!(wal.append(&record(12)).unwrap(), 13);
    wal.sync().unwrap();
    assert_eq!(open(&disk).unwrap_err().code(), "wal.fenced");
    let (mut wal, recovered) =
        open_with(&FaultyDisk::new(), WalConfig { committed_seq: 99, ..config() }).unwrap();
    assert_eq!((recovered.first_seq(), recovered.last_seq()), (100, 99));
    assert_eq!(wal.append(&record(1)).unwrap(), 100);
    assert_eq!(wal.sync().unwrap(), 100);
}

#[test]
fn a_torn_tail_is_kept_and_cut() {
    let disk = FaultyDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    for tag in 0..5 {
        wal.append(&record(tag)).unwrap();
    }
    wal.sync().unwrap();
    let path = folder().join("00000000000000000001.log");
    let before = disk.bytes(&path).unwrap();
    for tag in 0..3 {
        wal.append(&record(tag)).unwrap();
    }
    wal.sync().unwrap();
    drop(wal);
    let after = disk.bytes(&path).unwrap();
    let start = before.iter().zip(&after).position(|(a, b)| a != b).unwrap() / 8 * 8;
    // The first of three records written together is lost, the others are whole: none was acknowledged.
    let mut torn = after.clone();
    torn[start..start + 40].fill(0);
    disk.damage(&path, torn.clone());
    // A spare file stands behind, as behind every file that was synced once.
    let (_, recovered) = open(&disk).unwrap();
    let tail = recovered.torn_tail().unwrap().clone();
    assert_eq!((tail.file, recovered.last_seq()), (path.clone(), 5));
    let end = tail.offset + tail.bytes;
    let kept = disk.bytes(&tail.kept.unwrap()).unwrap();
    assert_eq!(kept, torn[tail.offset as usize..end as usize]);
    assert_eq!(disk.bytes(&path).unwrap(), before);
    assert_eq!(open(&disk).unwrap().1.torn_tail(), None);
}

#[test]
fn frames_that_come_back_after_another_writer_went_on_are_ignored() {
    let path = folder().join("00000000000000000001.log");
    let write = |tags: &[u64]| {
        let disk = FaultyDisk::new();
        let (mut wal, _) = open(&disk).unwrap();
        for tag in tags {
            wal.append(&record(*tag)).unwrap();
            wal.sync().unwrap();
        }
        disk
    };
    let stale = write(&[1, 2, 3]).bytes(&path).unwrap();
    let disk = write(&[1]);
    let (mut wal, _) = open(&disk).unwrap();
    assert_eq!(wal.append(&record(9)).unwrap(), 2);
    wal.sync().unwrap();
    drop(wal);
    // A power cut brings back what a failed sync had left on the disk, behind the record that was kept.
    disk.damage(&path, stale);
    let expected = vec![(1, record(1)), (2, record(9))];
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.collect::<Result<Vec<_>>>().unwrap(), expected);
    let scanned = scan(folder(), LAKE, Arc::new(disk.clone()));
    assert_eq!(scanned.collect::<Result<Vec<_>>>().unwrap(), expected);
    assert!(verify(&folder(), LAKE, &disk).is_empty());
}

#[test]
fn a_scan_follows_a_writer_and_reports_removed_files() {
    let disk = FaultyDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    let mut ledger = Ledger::default();
    let read = |disk: &FaultyDisk| scan(folder(), LAKE, Arc::new(disk.clone()));
    assert_eq!(read(&disk).count(), 0);
    // One scan that began early sees what is added while it reads, to the end of the last file it listed.
    for _ in 0..3 {
        ledger.append(&mut wal).unwrap();
        ledger.sync(&mut wal).unwrap();
    }
    let mut early = read(&disk);
    assert_eq!(early.next().unwrap().unwrap().0, 1);
    while wal.total_bytes() < 4 * 2048 {
        ledger.append(&mut wal).unwrap();
        ledger.sync(&mut wal).unwrap();
        let all: Vec<_> = read(&disk).collect::<Result<_>>().unwrap();
        assert_eq!(all.len(), ledger.durable.len());
        assert!(all.iter().all(|(seq, found)| *found == record(ledger.durable[seq])));
    }
    let rest: Vec<u64> = early.map(|item| item.unwrap().0).collect();
    assert!(rest.len() > 10 && rest.iter().enumerate().all(|(i, seq)| *seq == i as u64 + 2), "{rest:?}");
    // Files that go away in between.
    let mut late = read(&disk);
    late.next().unwrap().unwrap();
    for name in &disk.list(&folder()).unwrap()[..2] {
        disk.delete(&folder().join(name));
    }
    let last = late.find(|item| item.is_err()).unwrap();
    assert_eq!(last.unwrap_err().code(), "wal.vanished");
    assert!(late.next().is_none());
}

#[test]
fn usually_one_write_and_one_sync_acknowledge_a_group() {
    let disk = FaultyDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    wal.append(&record(0)).unwrap();
    wal.sync().unwrap();
    let (operations, syncs) = (disk.operations(), disk.syncs());
    for tag in 1..6 {
        wal.append(&record(tag)).unwrap();
    }
    assert_eq!(wal.sync().unwrap(), 6);
    assert_eq!((disk.operations() - operations, disk.syncs() - syncs), (2, 1));
    assert_eq!(wal.sync().unwrap(), 6);
    assert_eq!(disk.operations() - operations, 2);
}

#[test]
fn the_real_disk_gives_back_what_was_synced() {
    let temporary = tempfile::tempdir().unwrap();
    let mut config = config();
    config.directory = temporary.path().join("deep/wal");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (mut wal, _) = Wal::open(config.clone(), Arc::clone(&disk)).unwrap();
    let mut ledger = Ledger::default();
    life(&mut wal, &mut ledger).unwrap();
    drop(wal);
    let (wal, recovered) = Wal::open(config.clone(), Arc::clone(&disk)).unwrap();
    let found: BTreeMap<u64, Record> = recovered.map(|item| item.unwrap()).collect();
    assert_eq!(found.keys().last(), ledger.durable.keys().last());
    assert!(found.iter().all(|(seq, found)| *found == record(ledger.durable[seq])));
    assert!(verify(&config.directory, LAKE, &*disk).is_empty());
    assert_eq!(scan(&config.directory, LAKE, disk).count(), found.len());
    drop(wal);
    assert!(verify(Path::new("/nowhere"), LAKE, &RealDisk)[0].what.contains("cannot read"));
}

#[derive(Debug, Clone)]
enum Act {
    Append,
    Sync,
    Rotate,
    Remove(u64),
    Restart,
    Crash(u64),
    Fail(u64, Fault, u64),
}

fn act() -> impl Strategy<Value = Act> {
    let fault = prop_oneof![Just(Fault::Error), Just(Fault::Full), Just(Fault::PowerCut)];
    prop_oneof![
        8 => Just(Act::Append),
        5 => Just(Act::Sync),
        1 => Just(Act::Rotate),
        1 => (0..30_u64).prop_map(Act::Remove),
        1 => Just(Act::Restart),
        1 => any::<u64>().prop_map(Act::Crash),
        1 => (0..8_u64, fault, any::<u64>()).prop_map(|(after, fault, seed)| Act::Fail(after, fault, seed)),
    ]
}

proptest! {
    #[test]
    fn any_life_keeps_what_was_acknowledged(acts in prop::collection::vec(act(), 1..120)) {
        let disk = FaultyDisk::new();
        let mut ledger = Ledger::default();
        let mut crash_seed = 0;
        let mut wal = ledger.check(&disk, config(), "new");
        for act in acts {
            let context = format!("{act:?}");
            let outcome = match act {
                Act::Append => ledger.append(&mut wal),
                Act::Sync => ledger.sync(&mut wal),
                Act::Rotate => wal.rotate(),
                Act::Remove(back) => wal.remove_through(wal.durable_seq().saturating_sub(back)).map(drop),
                Act::Restart => {
                    disk.clear_faults();
                    drop(wal);
                    if disk.list(&folder()).is_err() {
                        disk.crash(crash_seed);
                    } else {
                    // What was only in memory is gone with the process, and no sync failed on it.
                    ledger.waiting.clear();
                    }
                    wal = ledger.check(&disk, config(), &context);
                    Ok(())
                }
                Act::Crash(seed) => {
                    drop(wal);
                    disk.crash(seed);
                    wal = ledger.check(&disk, config(), &context);
                    Ok(())
                }
                Act::Fail(after, fault, seed) => {
                    crash_seed = seed;
                    disk.fail_at(disk.operations() + after, fault);
                    Ok(())
                }
            };
            if outcome.is_err() && (wal.is_poisoned() || disk.list(&folder()).is_err()) {
                drop(wal);
                disk.crash(crash_seed);
                wal = ledger.check(&disk, config(), &context);
            }
        }
    }
}
