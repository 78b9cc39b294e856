//! What a record costs before it meets a disk: encoding, checksum and bookkeeping, in points per second.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start shall say so and end")]

use std::io;
use std::path::Path;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use model::{MetricName, PointBatch, PointColumns, RunId, SeriesPoints, WriterSequence};
use store::disk::{Access, Disk, DiskFile, DiskLock, Entry, FileStatus, Space};
use store::wal::{Record, Wal, WalConfig};

fn main() {
    divan::main();
}

/// A disk that takes everything and keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl Disk for Nowhere {
    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Nowhere))
    }
    fn open(&self, _: &Path, _: Access) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Nowhere))
    }
    fn create_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn directory_exists(&self, _: &Path) -> io::Result<bool> {
        Ok(true)
    }
    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn hard_link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn lock(&self, _: &Path) -> io::Result<Box<dyn DiskLock>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn entries(&self, _: &Path) -> io::Result<Vec<Entry>> {
        Ok(Vec::new())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space { free: 1 << 50, total: 1 << 50 })
    }
}

impl DiskFile for Nowhere {
    fn write_at(&mut self, _: u64, bytes: &[u8]) -> io::Result<()> {
        divan::black_box(bytes);
        Ok(())
    }
    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
    fn sync_data(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn sync_all(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn preallocate(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn length(&self) -> io::Result<u64> {
        Ok(64 << 20)
    }
    fn status(&self) -> io::Result<FileStatus> {
        Ok(FileStatus { length: 64 << 20, modified_micros: 0 })
    }
}

/// One step of a training loop: one point for each of `metrics` series; or the history of one series.
fn batch(metrics: usize, points: usize) -> Record {
    let time = 1_760_000_000_000_000_i64;
    let series = (0..metrics)
        .map(|metric| SeriesPoints {
            run: RunId::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001),
            metric: MetricName::new(format!("train/metric_{metric:02}")).unwrap(),
            context: None,
            attempt: 0,
            points: PointColumns::at_whole_steps(
                (0..points as i64).map(|i| 1000 + i).collect(),
                // About ten steps a second with some jitter.
                (0..points as i64).map(|i| time + i * 100_000 + (i * 7919) % 9973).collect(),
                (0..points).map(|i| 1.0 / (i as f64 + 1.7)).collect(),
            ),
        })
        .collect();
    Record::Points {
        writer: Some(WriterSequence::new("0198a5e2c4d87b6e", 123_456).unwrap()),
        batch: PointBatch::new(series).unwrap(),
    }
}

const SHAPES: [(usize, usize); 4] = [(1, 1), (11, 1), (1, 1000), (100, 100)];

/// Encoding, checksum and bookkeeping; groups of 64 records are "synced" to nowhere.
#[divan::bench(args = SHAPES)]
fn append(bencher: Bencher<'_, '_>, (metrics, points): (usize, usize)) {
    let record = batch(metrics, points);
    let config = WalConfig { total_bytes: u64::MAX, ..WalConfig::new("/nowhere", [1; 16], 1) };
    let (mut wal, _) = Wal::open(config, Arc::new(Nowhere)).unwrap();
    let mut count = 0_u64;
    bencher.counter(ItemsCount::new(metrics * points)).bench_local(|| {
        wal.append(&record).unwrap();
        count += 1;
        if count.is_multiple_of(64) {
            wal.sync().unwrap();
        }
    });
}

#[divan::bench(args = SHAPES)]
fn encode(bencher: Bencher<'_, '_>, (metrics, points): (usize, usize)) {
    let record = batch(metrics, points);
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(metrics * points)).bench_local(|| {
        out.clear();
        record.encode(divan::black_box(&mut out));
    });
}

#[divan::bench(args = SHAPES)]
fn decode(bencher: Bencher<'_, '_>, (metrics, points): (usize, usize)) {
    let record = batch(metrics, points);
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bencher
        .counter(ItemsCount::new(metrics * points))
        .bench_local(|| Record::decode(record.kind(), divan::black_box(&bytes)).unwrap());
}
