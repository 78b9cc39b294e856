//! Real processes and `kill -9`: a child writes and tells what was acknowledged, dies at a fail point or at any moment,
//! and the lake on the real disk is compared with what it told.
//!
//! `RUNLAKE_TEST_KILLS` sets the number of kills at random moments beside those at every fail point (a few by
//! default), `RUNLAKE_TEST_SEED` the seed of the moments. The requests of a child follow from their numbers, so parent
//! and child need not talk about them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use model::WriterSequence;
use store::{
    CompactOptions, Store, StoreConfig, StoreError, SyncPolicy, VacuumOptions, open_snapshot, verify,
};

use crate::lake::create;
use crate::ledger::{Body, Figures, Model, Request, View, numbered_request};
use crate::random::{Random, count, seeds};
use crate::sources::sources;
use crate::stumbling::StumblingDisk;

/// Where the lake of a child is; the variable also makes it one.
const LAKE: &str = "RUNLAKE_TEST_CHILD_LAKE";
/// The fail point at which the child dies, and at which crossing of it: `name 3`.
const DIE_AT: &str = "RUNLAKE_TEST_CHILD_DIE_AT";
/// The numbers of requests to send first, and the first new one.
const RETRIES: &str = "RUNLAKE_TEST_CHILD_RETRIES";
const FIRST: &str = "RUNLAKE_TEST_CHILD_FIRST";
/// Set when the child syncs by the clock.
const BY_THE_CLOCK: &str = "RUNLAKE_TEST_CHILD_BY_THE_CLOCK";
/// Requests and flushes of one child, when it is not killed before.
const MOST_REQUESTS: u64 = 4_000;
const MOST_FLUSHES: u64 = 5;
/// A lake is left for a new one after so many kills, so that opening it stays quick.
const KILLS_PER_LAKE: usize = 12;
/// Runs that every lake has from the beginning; requests write to them.
const RUNS: u128 = 3;

fn config(root: &Path) -> StoreConfig {
    StoreConfig { wal_file_bytes: 64 << 10, flush_bytes: 24 << 10, ..crate::lake::config(root) }
}

/// A writer that syncs by the clock keeps what it acknowledged when its process is killed, if not when power fails.
fn config_of(root: &Path, by_the_clock: bool) -> StoreConfig {
    let sync = match by_the_clock {
        true => SyncPolicy::Interval(Duration::from_millis(5)),
        false => SyncPolicy::EveryGroup,
    };
    StoreConfig { sync, ..config(root) }
}

fn tell(line: &str) {
    // Whole lines at once, and each on a line of its own, whatever the test harness prints.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@ {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn die() -> ! {
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    loop {
        std::thread::park();
    }
}

/// What a child process does; as a test of its own it does nothing.
#[tokio::test]
async fn child() {
    let Ok(root) = std::env::var(LAKE) else { return };
    let mut config = config_of(Path::new(&root), std::env::var(BY_THE_CLOCK).is_ok());
    assert!(fail::has_failpoints(), "the tests must be built with fail points");
    if let Ok(at) = std::env::var(DIE_AT) {
        let (name, crossing) = at.rsplit_once(' ').unwrap();
        let left = AtomicU64::new(crossing.parse().unwrap());
        if name == "wal-before-undo" {
            config.disk = Arc::new(StumblingDisk::default());
        }
        let told = name.to_owned();
        fail::cfg_callback(name, move || {
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                tell(&format!("dying {told}"));
                die();
            }
        })
        .unwrap();
    }
    let store = Store::open(config).await.unwrap();
    tell("open");
    let retries = std::env::var(RETRIES).unwrap_or_default();
    for number in retries.split_whitespace() {
        send(&store, number.parse().unwrap()).await;
    }
    let flushed = Arc::new(AtomicU64::new(0));
    let flushes = {
        let (store, flushed) = (store.clone(), Arc::clone(&flushed));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let count = match store.flush().await {
                    Ok(_) => flushed.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        tell(&format!("flush {error}"));
                        continue;
                    }
                };
                if count % 4 == 2
                    && let Err(error) = store.compact(CompactOptions::default()).await
                {
                    tell(&format!("compact {error}"));
                }
                let now = VacuumOptions { older_than: Some(Duration::ZERO), ..VacuumOptions::default() };
                if count % 6 == 3
                    && let Err(error) = store.vacuum(now).await
                {
                    tell(&format!("vacuum {error}"));
                }
            }
        })
    };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let mut next = first;
    while next < first + MOST_REQUESTS && flushed.load(Ordering::Relaxed) < MOST_FLUSHES {
        let group = 1 + next % 4;
        join_all((next..next + group).map(|number| send(&store, number))).await;
        next += group;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    if std::env::var(DIE_AT).is_ok_and(|at| at.starts_with("vacuum")) {
        // It takes longer than the requests do.
        let now = VacuumOptions { older_than: Some(Duration::ZERO), ..VacuumOptions::default() };
        flushes.abort();
        if let Err(error) = store.vacuum(now).await {
            tell(&format!("vacuum {error}"));
        }
    }
    flushes.abort();
    store.close().await;
    tell("done");
}

async fn send(store: &Store, number: u64) {
    let request = numbered_request(number, RUNS);
    tell(&format!("sent {number}"));
    let writer = request.writer.clone();
    let answer = match (&request.body, request.batch()) {
        (Body::Commands(commands), _) => store.apply(commands.clone(), writer).await,
        (_, Some(batch)) => store.append(batch, writer).await,
        (Body::Points(_), None) => unreachable!("points make a batch"),
    };
    match answer {
        Ok(answer) => tell(&format!("ack {number} {}", answer.duplicate)),
        Err(error) => tell(&format!("refused {number} {error}")),
    }
}

/// How a child ends.
#[derive(Debug, Clone)]
enum End {
    At { fail_point: String, crossing: u64 },
    After(Duration),
}

/// The lake as the parent knows it.
struct Suite {
    folder: Option<tempfile::TempDir>,
    model: Model,
    next: u64,
    kills: usize,
    figures: Figures,
    died_at: BTreeMap<String, u64>,
    in_recovery: u64,
    random: Random,
}

impl Suite {
    fn new(seed: u64) -> Self {
        Self {
            folder: None,
            model: Model::default(),
            next: 0,
            kills: 0,
            figures: Figures::default(),
            died_at: BTreeMap::new(),
            in_recovery: 0,
            random: Random::new(seed),
        }
    }

    async fn root(&mut self) -> PathBuf {
        if self.folder.is_none() {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(config(folder.path())).await.unwrap();
            self.model = Model::default();
            let setup = Request {
                number: u64::from(u32::MAX),
                writer: Some(WriterSequence::new("setup", 1).unwrap()),
                body: Body::Commands(
                    (1..=RUNS).map(create).chain([crate::ledger::mark(u64::from(u32::MAX))]).collect(),
                ),
            };
            let Body::Commands(commands) = &setup.body else { unreachable!("just made") };
            store.apply(commands.clone(), setup.writer.clone()).await.unwrap();
            let arrival = self.model.arrive();
            self.model.acknowledged(arrival, &setup, false);
            store.close().await;
            self.folder = Some(folder);
        }
        self.folder.as_ref().unwrap().path().to_owned()
    }

    fn start(&mut self, root: &Path, end: &End) -> Child {
        let mut retries: Vec<u64> = self.model.missing.iter().map(|request| request.number).collect();
        for _ in 0..3 {
            let old = self.model.old_request(&mut self.random).map(|request| request.number);
            // Numbers far behind are refused, since nobody knows any more.
            retries.extend(old.filter(|number| (self.next.saturating_sub(900)..self.next).contains(number)));
        }
        self.model.figures.retries += retries.len() as u64;
        let retries: Vec<String> = retries.iter().map(u64::to_string).collect();
        let mut process = Process::new(std::env::current_exe().unwrap());
        process.args(["kill::child", "--exact", "--nocapture"]);
        process.env(LAKE, root).env(RETRIES, retries.join(" ")).env(FIRST, self.next.to_string());
        if matches!(end, End::After(_)) && self.random.chance(4) {
            process.env(BY_THE_CLOCK, "yes");
        }
        if let End::At { fail_point, crossing } = end {
            process.env(DIE_AT, format!("{fail_point} {crossing}"));
        }
        process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a child, lets it die, and compares.
    async fn cycle(&mut self, end: End) {
        let context = format!("kill {}, {end:?}", self.kills);
        let root = self.root().await;
        let mut child = self.start(&root, &end);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let child = Arc::new(parking_lot::Mutex::new(child));
        let killer = match end {
            End::After(time) => {
                let child = Arc::clone(&child);
                Some(std::thread::spawn(move || {
                    std::thread::sleep(time);
                    child.lock().kill().unwrap();
                }))
            }
            End::At { .. } => None,
        };
        let mut arrivals = BTreeMap::new();
        let (mut opened, mut died, mut done) = (false, false, false);
        while let Some(Ok(line)) = lines.next() {
            let Some(line) = line.strip_prefix("@ ") else { continue };
            let words: Vec<&str> = line.split(' ').collect();
            let number = || words[1].parse::<u64>().unwrap();
            match words[0] {
                "open" => opened = true,
                "sent" => {
                    self.next = self.next.max(number() + 1);
                    arrivals.insert(number(), self.model.arrive());
                }
                "ack" => {
                    let request = numbered_request(number(), RUNS);
                    let arrival = arrivals.remove(&number()).unwrap();
                    self.model.acknowledged(arrival, &request, words[2] == "true");
                }
                "refused" => {
                    // Only the disk that stumbles makes it refuse anything.
                    assert!(context.contains("undo"), "{context}: {line}");
                    arrivals.remove(&number());
                    self.model.refused(&numbered_request(number(), RUNS));
                }
                "flush" => assert!(context.contains("undo"), "{context}: {line}"),
                "dying" => died = true,
                "done" => done = true,
                _ => panic!("{context}: {line}"),
            }
        }
        if let Some(killer) = killer {
            killer.join().unwrap();
        }
        let status = child.lock().wait().unwrap();
        use std::os::unix::process::ExitStatusExt;
        let was_killed = status.signal() == Some(9);
        if !was_killed && !done {
            let mut errors = String::new();
            use std::io::Read;
            child.lock().stderr.take().unwrap().read_to_string(&mut errors).unwrap();
            panic!("{context}: the child failed ({status}): {errors}");
        }
        for (number, arrival) in arrivals {
            self.model.unanswered(arrival, &numbered_request(number, RUNS));
        }
        if let End::At { fail_point, .. } = &end
            && died
        {
            *self.died_at.entry(fail_point.clone()).or_default() += 1;
        }
        self.in_recovery += u64::from(was_killed && !opened);
        self.kills += usize::from(was_killed);
        let snapshot = open_snapshot(&root).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        let view = View::of(&snapshot).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        self.model.compare(&view, &context);
        if self.kills % KILLS_PER_LAKE == KILLS_PER_LAKE - 1 {
            self.finish(&context).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        }
    }

    /// Opens the lake once more for writing, compares and reads every byte; the next cycle begins with a new lake.
    async fn finish(&mut self, context: &str) -> Result<(), StoreError> {
        let Some(folder) = self.folder.take() else { return Ok(()) };
        let store = Store::open(config(folder.path())).await?;
        let view = View::of(&store.snapshot()).await?;
        self.model.compare(&view, context);
        store.flush().await?;
        let view = View::of(&store.snapshot()).await?;
        self.model.compare(&view, context);
        store.close().await;
        let report = verify(folder.path()).await?;
        assert_eq!(report.findings, [], "{context}");
        assert_eq!(report.points, self.model.points(), "{context}");
        self.figures += self.model.figures;
        Ok(())
    }
}

/// The fail points in the sources.
fn fail_points() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, code) in sources() {
        for part in code.split("fail_point!(").skip(1) {
            names.insert(part.trim_start().trim_start_matches('"').split('"').next().unwrap().to_owned());
        }
    }
    names
}

#[tokio::test]
async fn kills_at_every_fail_point_and_at_any_moment_lose_and_double_nothing() {
    let seed = seeds(1, 1)[0];
    let random_kills = count("RUNLAKE_TEST_KILLS", 6);
    println!("seed {seed}");
    let mut suite = Suite::new(seed);
    let start = std::time::Instant::now();
    let fail_points = fail_points();
    assert!(fail_points.len() > 10, "{fail_points:?}");
    // In a long suite every fail point gets its share.
    for round in 0..=random_kills / 100 {
        for fail_point in &fail_points {
            // The first crossings are those of the start; a point that is rare is crossed once.
            for most in [12, 3, 1] {
                let crossing = if round == 0 && most == 12 { 3 } else { 1 + suite.random.below(most) };
                let before = suite.died_at.get(fail_point).copied();
                suite.cycle(End::At { fail_point: fail_point.clone(), crossing }).await;
                if suite.died_at.get(fail_point).copied() != before {
                    break;
                }
            }
        }
    }
    for _ in 0..random_kills {
        let after = Duration::from_millis(40 + suite.random.below(900));
        suite.cycle(End::After(after)).await;
    }
    suite.finish("at the end").await.unwrap();
    println!(
        "{} kills ({} before the lake was open), {:?} in {:?}; at fail points: {:?}",
        suite.kills,
        suite.in_recovery,
        suite.figures,
        start.elapsed(),
        suite.died_at
    );
    let crossed: BTreeSet<String> = suite.died_at.keys().cloned().collect();
    assert_eq!(crossed, fail_points, "a fail point was never crossed");
}
