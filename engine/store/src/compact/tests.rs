//! The plan alone, on lakes of numbers: the order of points stays, and the bounds hold over long times.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};

use super::plan::{Bound, Extent, Plan, Policy};
use model::RunId;

/// A file of a lake whose points are numbers in order of arrival, by series.
#[derive(Debug, Clone)]
struct File {
    series: BTreeMap<u32, Vec<u32>>,
    arrival: u64,
}

impl File {
    fn points(&self) -> u64 {
        self.series.values().map(|points| points.len() as u64).sum()
    }

    fn extent(&self) -> Extent {
        let bound = |series: Option<&u32>| Bound::of_run(RunId::from_u128(u128::from(*series.unwrap())));
        Extent {
            low: bound(self.series.keys().next()),
            high: bound(self.series.keys().next_back()),
            arrival: self.arrival,
            bytes: self.points(),
        }
    }
}

#[derive(Debug, Default)]
struct Lake {
    files: Vec<File>,
    next: u32,
    flushed: u64,
    compacted: u64,
}

impl Lake {
    /// A flush with points of these series.
    fn flush(&mut self, series: impl IntoIterator<Item = u32>) {
        let mut file = File { series: BTreeMap::new(), arrival: 0 };
        for series in series {
            self.next += 1;
            file.series.entry(series).or_default().push(self.next);
        }
        file.arrival = u64::from(self.next);
        if !file.series.is_empty() {
            self.flushed += file.points();
            self.files.push(file);
        }
    }

    fn compact(&mut self, policy: &Policy, damaged: &HashSet<u64>) {
        for round in 0.. {
            assert!(round < 1000, "compaction does not come to an end");
            let extents: Vec<Extent> = self.files.iter().map(File::extent).collect();
            let plan = Plan::new(&extents);
            let excluded =
                (0..self.files.len()).filter(|at| damaged.contains(&self.files[*at].arrival)).collect();
            let Some(job) = plan.next(policy, &excluded) else { return };
            assert!(plan.is_sound(&job));
            assert!(job.iter().all(|at| !excluded.contains(at)), "a damaged file is merged");
            let arrival = job.iter().map(|at| self.files[*at].arrival).max().unwrap();
            let mut merged: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            let mut inputs: Vec<File> = Vec::new();
            let taken: HashSet<usize> = job.into_iter().collect();
            let mut at = 0;
            self.files.retain(|file| {
                at += 1;
                let taken = taken.contains(&(at - 1));
                if taken {
                    inputs.push(file.clone());
                }
                !taken
            });
            inputs.sort_by_key(|file| file.arrival);
            for file in &inputs {
                for (series, points) in &file.series {
                    merged.entry(*series).or_default().extend(points);
                }
            }
            let total: u64 = merged.values().map(|points| points.len() as u64).sum();
            self.compacted += total;
            let each = total.div_ceil(total.div_ceil(policy.target_bytes));
            let mut current = File { series: BTreeMap::new(), arrival };
            for (series, points) in merged {
                if current.points() >= each {
                    self.files
                        .push(std::mem::replace(&mut current, File { series: BTreeMap::new(), arrival }));
                }
                current.series.insert(series, points);
            }
            self.files.push(current);
            self.check();
        }
    }

    /// Whoever reads the files by arrival finds the points of each series in the order in which they came.
    fn check(&self) {
        let mut files: Vec<&File> = self.files.iter().collect();
        files.sort_by_key(|file| file.arrival);
        let mut last: BTreeMap<u32, u32> = BTreeMap::new();
        for file in files {
            for (series, points) in &file.series {
                for point in points {
                    let before = last.insert(*series, *point);
                    assert!(before.is_none_or(|before| before < *point), "series {series} is out of order");
                }
            }
        }
    }

    fn depth(&self) -> usize {
        let extents: Vec<Extent> = self.files.iter().map(File::extent).collect();
        Plan::new(&extents).depth()
    }
}

const POLICY: Policy = Policy { target_bytes: 400, width: 4, ratio: 1.0, full: false };

/// What the module promises.
fn promised_layers(points: u64, flush: u64) -> usize {
    POLICY.width + (points as f64 / flush as f64).log2().ceil() as usize + 1
}

fn assert_bounds(lake: &Lake, flush: u64, name: &str) -> (f64, usize, usize) {
    let layers = lake.depth();
    let amplification = lake.compacted as f64 / lake.flushed as f64;
    let most = promised_layers(lake.flushed, flush);
    assert!(layers <= most, "{name}: {layers} layers of at most {most}");
    assert!(amplification <= (1.0 + POLICY.ratio) * most as f64, "{name}: amplification {amplification}");
    // Full files, and for each layer a few small neighbours of every size.
    let full = 2 * lake.flushed.div_ceil(POLICY.target_bytes) as usize;
    let small = most * POLICY.width * POLICY.width;
    assert!(lake.files.len() <= full + small, "{name}: {} files", lake.files.len());
    (amplification, lake.files.len(), layers)
}

#[test]
fn files_layers_and_written_bytes_stay_bounded_over_a_long_time() {
    type Load = fn(u32, u32) -> Vec<u32>;
    let loads: [(&str, Load); 5] = [
        ("the same runs for ever", |_, _| (0..50).collect()),
        ("each flush has its own runs", |flush, _| (flush * 50..flush * 50 + 50).collect()),
        ("runs come and go", |flush, _| (flush * 5..flush * 5 + 50).collect()),
        ("random ids", |_, random| {
            (0..50_u32).map(|i| (i ^ random).wrapping_mul(2_654_435_761) >> 8).collect()
        }),
        ("one old run beside new ones", |flush, _| {
            std::iter::once(0).chain(flush * 50 + 1..flush * 50 + 50).collect()
        }),
    ];
    for (name, load) in loads {
        let mut lake = Lake::default();
        for flush in 0..300 {
            lake.flush(load(flush, flush.wrapping_mul(0x9e37_79b9)));
            lake.compact(&POLICY, &HashSet::new());
        }
        let (amplification, files, layers) = assert_bounds(&lake, 50, name);
        println!("{name}: written again {amplification:.2} times, {files} files, {layers} layers");
    }
}

#[test]
fn a_full_compaction_leaves_one_layer() {
    let mut lake = Lake::default();
    for flush in 0..40_u32 {
        lake.flush((0..30).map(|i| (i * 7 + flush * 13) % 97));
    }
    lake.compact(&Policy { full: true, ..POLICY }, &HashSet::new());
    assert_eq!(lake.depth(), 1);
    assert_eq!(lake.files.len(), 3, "1,200 points in files of 400");
}

fn seed() -> u64 {
    let given = std::env::var("RUNLAKE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed);
    println!("RUNLAKE_TEST_SEED={seed}");
    seed
}

#[test]
fn the_order_of_points_stays_whatever_overlaps_and_whatever_is_damaged() {
    let seed = seed();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(config.rng_algorithm, &bytes);
    let flushes = prop::collection::vec((0..40_u32, 1..40_u32, 1..5_u32, prop::bool::weighted(0.1)), 1..60);
    let outcome = TestRunner::new_with_rng(config, rng).run(&(flushes, 2..6_usize), |(flushes, width)| {
        let policy = Policy { target_bytes: 20, width, ..POLICY };
        let mut lake = Lake::default();
        let mut damaged = HashSet::new();
        for (first, count, stride, is_damaged) in flushes {
            lake.flush((0..count).map(|i| first + i * stride));
            if is_damaged {
                damaged.insert(u64::from(lake.next));
            }
            lake.check();
            lake.compact(&policy, &damaged);
        }
        lake.compact(&Policy { full: true, ..policy }, &damaged);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
