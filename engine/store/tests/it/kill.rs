//! Real processes and `kill -9`: a child writes and tells what was acknowledged, dies at a fail point or at any moment,
//! and the lake on the real disk is compared with what it told. The same on a server that speaks S3, where the log and
//! the state folder are on the real disk.
//!
//! `RUNLAKE_TEST_KILLS` sets the number of kills at random moments beside those at every fail point (a few by
//! default), `RUNLAKE_TEST_S3_KILLS` those on S3, `RUNLAKE_TEST_SEED` the seed of the moments. The requests of a child follow from their numbers, so parent
//! and child need not talk about them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use e2e::Moto;
use futures::future::join_all;
use model::WriterSequence;
use store::disk::{Disk, RealDisk};
use store::{
    CompactOptions, Location, Store, StoreConfig, StoreError, SyncPolicy, VacuumOptions, open_snapshot,
    verify,
};

use crate::lake::create;
use crate::ledger::{Body, Figures, Model, Request, View, numbered_request};
use crate::object;
use crate::random::{Random, count, seeds};
use crate::sources::sources;
use crate::stumbling::StumblingDisk;

const NOW: VacuumOptions = VacuumOptions { older_than: Some(Duration::ZERO), dry_run: false };
/// Where the lake of a child is; the variable also makes it one.
const LAKE: &str = "RUNLAKE_TEST_CHILD_LAKE";
/// The fail point at which the child dies, and at which crossing of it: `name 3`.
const DIE_AT: &str = "RUNLAKE_TEST_CHILD_DIE_AT";
/// The numbers of requests to send first, and the first new one.
const RETRIES: &str = "RUNLAKE_TEST_CHILD_RETRIES";
const FIRST: &str = "RUNLAKE_TEST_CHILD_FIRST";
/// The URL of the lake of a child on an object store; its state folder is then where the lake would be.
const URL: &str = "RUNLAKE_TEST_CHILD_URL";
/// Set when the child syncs by the clock.
const BY_THE_CLOCK: &str = "RUNLAKE_TEST_CHILD_BY_THE_CLOCK";
/// Requests and flushes of one child, when it is not killed before.
const MOST_REQUESTS: u64 = 4_000;
const MOST_FLUSHES: u64 = 5;
/// A lake is left for a new one after so many kills, so that opening it stays quick.
const KILLS_PER_LAKE: usize = 12;
/// Runs that every lake has from the beginning; requests write to them.
const RUNS: u128 = 3;

fn config(location: &Location) -> StoreConfig {
    let clock = Arc::new(|| 1_000_000);
    StoreConfig {
        wal_file_bytes: 64 << 10,
        flush_bytes: 24 << 10,
        lease: object::LEASE,
        ..StoreConfig::new(location, clock)
    }
}

/// A writer that syncs by the clock keeps what it acknowledged when its process is killed, if not when power fails.
fn config_of(location: &Location, by_the_clock: bool) -> StoreConfig {
    let sync = match by_the_clock {
        true => SyncPolicy::Interval(Duration::from_millis(5)),
        false => SyncPolicy::EveryGroup,
    };
    StoreConfig { sync, ..config(location) }
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
    let location = match std::env::var(URL) {
        Ok(url) => Location::parse(&url).unwrap().with_state_folder(Some(root.clone().into())),
        Err(_) => Location::from(Path::new(&root)),
    };
    let mut config = config_of(&location, std::env::var(BY_THE_CLOCK).is_ok());
    // Compaction would give the rows of a damaged file another place.
    config.maintenance.background = !std::env::var(DIE_AT).is_ok_and(|at| at.starts_with("quarantine"));
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
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let flushed = Arc::new(AtomicU64::new(0));
    let flushes = {
        let (store, flushed, root) = (store.clone(), Arc::clone(&flushed), PathBuf::from(&root));
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
                care(&store, &root, first + count).await;
            }
        })
    };
    let mut next = first;
    let at = std::env::var(DIE_AT).unwrap_or_default();
    let is_later = at.starts_with("restore") || at.starts_with("quarantine");
    while !is_later && next < first + MOST_REQUESTS && flushed.load(Ordering::Relaxed) < MOST_FLUSHES {
        let group = 1 + next % 4;
        join_all((next..next + group).map(|number| send(&store, number))).await;
        next += group;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    flushes.abort();
    if at.starts_with("vacuum") || at.starts_with("checkpoint") {
        // It takes longer than the requests do.
        store.vacuum(NOW).await.unwrap();
    }
    if at.starts_with("backup") || at.starts_with("restore") {
        back_up(Path::new(&root)).await;
    }
    if at.starts_with("restore") {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        store::restore(
            &beside(Path::new(&root), "copies"),
            &beside(Path::new(&root), "target"),
            None,
            &disk,
            None,
        )
        .unwrap();
    }
    if at.starts_with("quarantine") {
        // Of so many in a row one has points.
        for number in next..next + 5 {
            send(&store, number).await;
        }
        store.flush().await.unwrap();
        store.close().await;
        damage_newest(Path::new(&root));
        store::quarantine(Path::new(&root), Arc::new(RealDisk), "a test").await.unwrap();
    }
    store.close().await;
    tell("done");
}

/// What goes on beside writing: where the child shall die, or each in turn.
async fn care(store: &Store, root: &Path, turn: u64) {
    let at = std::env::var(DIE_AT).unwrap_or_default();
    let wanted = match at.split(['-', ':']).next().unwrap_or_default() {
        "" => turn % 4,
        "compact" => 0,
        "vacuum" | "checkpoint" => 1,
        "backup" | "restore" => 2,
        _ => turn % 2 * 3,
    };
    let outcome = match wanted {
        0 => store
            .compact(CompactOptions { full: !turn.is_multiple_of(3), sweep: turn % 3 == 2 })
            .await
            .map(drop),
        1 => store.vacuum(NOW).await.map(drop),
        // A lake on an object store has no backup of ours.
        2 if std::env::var(URL).is_err() => {
            back_up(root).await;
            Ok(())
        }
        _ => Ok(()),
    };
    if let Err(error) = outcome {
        tell(&format!("care {error}"));
    }
}

fn beside(root: &Path, name: &str) -> PathBuf {
    root.with_file_name(name)
}

async fn back_up(root: &Path) {
    tell("begin-backup");
    let disk = Arc::new(RealDisk);
    match store::backup(root, &beside(root, "copies"), disk, Arc::new(|| 77), None).await {
        Ok(report) => tell(&format!("backup {}", report.last_seq)),
        Err(error) => tell(&format!("no-backup {} {error}", error.code())),
    }
}

/// Damages the file of points that was written last; the log can give it back.
fn damage_newest(root: &Path) {
    let files = std::fs::read_dir(root.join("tables/points")).unwrap().map(|entry| entry.unwrap().path());
    // Names begin with the time.
    let newest =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "parquet")).max().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(newest, bytes).unwrap();
}

async fn send(store: &Store, number: u64) {
    let request = numbered_request(number, RUNS);
    tell(&format!("sent {number}"));
    let writer = request.writer.clone();
    let answer = match (&request.body, request.batch()) {
        (Body::Commands(commands), _) => store.apply(commands.clone(), writer).await,
        (_, Some(batch)) => store.append(batch, writer).await,
        (Body::Points(_) | Body::Expire(_), None) => unreachable!("no request of a client"),
    };
    match answer {
        Ok(answer) => tell(&format!("ack {number} {}", answer.duplicate)),
        Err(error) => tell(&format!("refused {number} {} {error}", error.code())),
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
    /// The server where the lakes are when they are not in folders.
    moto: Option<Moto>,
    /// Lakes so far.
    lakes: usize,
    folder: Option<tempfile::TempDir>,
    model: Model,
    next: u64,
    kills: usize,
    figures: Figures,
    died_at: BTreeMap<String, u64>,
    in_recovery: u64,
    restored: u64,
    /// The last backup that was begun: what was acknowledged before it.
    begun: Option<u64>,
    /// The last one that ended: its record, and between which arrivals it was made.
    backup: Option<(u64, RangeInclusive<u64>)>,
    random: Random,
}

impl Suite {
    fn new(seed: u64, moto: Option<Moto>) -> Self {
        Self {
            moto,
            lakes: 0,
            folder: None,
            model: Model::default(),
            next: 0,
            kills: 0,
            figures: Figures::default(),
            died_at: BTreeMap::new(),
            in_recovery: 0,
            restored: 0,
            begun: None,
            backup: None,
            random: Random::new(seed),
        }
    }

    async fn root(&mut self) -> PathBuf {
        if self.folder.is_none() {
            let folder = tempfile::tempdir().unwrap();
            self.lakes += 1;
            let location = self.location(&folder.path().join("lake"));
            let store = Store::open(config(&location)).await.unwrap();
            self.model = Model::default();
            (self.begun, self.backup) = (None, None);
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
        self.folder.as_ref().unwrap().path().join("lake")
    }

    fn url(&self) -> String {
        format!("s3://bucket/kills/{}", self.lakes)
    }

    /// The lake at `root`, or on the server with its state folder there.
    fn location(&self, root: &Path) -> Location {
        match &self.moto {
            None => Location::from(root),
            Some(moto) => {
                let store = object::store_on(moto, "bucket");
                let location = Location::in_store(self.url().parse().unwrap(), store).unwrap();
                location.with_state_folder(Some(root.to_owned()))
            }
        }
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
        if let Some(moto) = &self.moto {
            process.envs(moto.environment()).env(URL, self.url());
        }
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
        let (mut opened, mut died, mut done, mut backing_up) = (false, false, false, false);
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
                    let request = numbered_request(number(), RUNS);
                    arrivals.remove(&number());
                    if words[2].ends_with(".unknown") {
                        assert!(!self.model.fits(&request), "{context}: {line}");
                        self.model.turned_away(&request);
                    } else {
                        // Only the disk that stumbles makes it refuse anything else.
                        assert!(context.contains("undo"), "{context}: {line}");
                        self.model.refused(&request);
                    }
                }
                "begin-backup" => {
                    self.begun = Some(self.model.last_arrival());
                    backing_up = true;
                }
                // The child writes so much into so small log files that they go away faster than they are copied.
                "no-backup" => assert_eq!(words[1], "wal.vanished", "{context}: {line}"),
                "backup" => {
                    backing_up = false;
                    self.model.figures.backups += 1;
                    let now = self.model.arrive();
                    self.backup = self.begun.map(|begun| (number(), begun..=now));
                }
                "flush" | "care" => assert!(context.contains("undo"), "{context}: {line}"),
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
        if context.contains("quarantine") {
            // As whoever finds out that it did not come to its end would.
            let report = store::quarantine(&root, Arc::new(RealDisk), "a test").await;
            assert_eq!(report.unwrap().left, [], "{context}");
        }
        let location = self.location(&root);
        let snapshot = open_snapshot(&location).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        let view = View::of(&snapshot).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        self.model.compare(&view, &context);
        let backs_up = self.moto.is_none();
        if backs_up && (backing_up || self.kills % 6 == 1 || context.contains("restore")) {
            self.compare_backup(&root, &context).await;
        }
        if self.kills % KILLS_PER_LAKE == KILLS_PER_LAKE - 1 {
            self.finish(&context).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        }
    }

    /// Restores the newest backup, which must be the lake of a moment while it was made.
    async fn compare_backup(&mut self, root: &Path, context: &str) {
        let target = beside(root, "target");
        // A child that restored was killed before the lake had its name, or after it was whole.
        if target.exists() {
            assert_eq!(verify(&target).await.unwrap().findings, [], "{context}");
            std::fs::remove_dir_all(&target).unwrap();
        }
        let Some((last_seq, between)) = self.backup.clone() else { return };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let report = store::restore(&beside(root, "copies"), &target, None, &disk, None).unwrap();
        // The child may have died when its last backup was whole and not yet told.
        let between = match report.last_seq == last_seq {
            true => between,
            false => self.begun.unwrap()..=self.model.arrive(),
        };
        self.backup = Some((report.last_seq, between.clone()));
        let view = View::of(&open_snapshot(&target).await.unwrap()).await.unwrap();
        assert!(self.model.held(&view, between), "{context}: the backup is the lake of no moment");
        assert_eq!(verify(&target).await.unwrap().findings, [], "{context}");
        std::fs::remove_dir_all(&target).unwrap();
        self.restored += 1;
    }

    /// Opens the lake once more for writing, compares and reads every byte; the next cycle begins with a new lake.
    async fn finish(&mut self, context: &str) -> Result<(), StoreError> {
        let Some(folder) = self.folder.take() else { return Ok(()) };
        let location = self.location(&folder.path().join("lake"));
        let store = Store::open(config(&location)).await?;
        let view = View::of(&store.snapshot()).await?;
        self.model.compare(&view, context);
        store.flush().await?;
        let view = View::of(&store.snapshot()).await?;
        self.model.compare(&view, context);
        store.close().await;
        let report = verify(&location).await?;
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

/// Whether a fail point is one of what only a lake on an object store has.
fn is_remote(fail_point: &str) -> bool {
    fail_point.starts_with("lease") || fail_point.starts_with("windows")
}

/// Whether a fail point is one of what only a lake in a folder has.
fn is_local(fail_point: &str) -> bool {
    ["backup", "restore", "quarantine", "durable"].iter().any(|part| fail_point.starts_with(part))
}

#[tokio::test]
async fn kills_at_every_fail_point_and_at_any_moment_lose_and_double_nothing() {
    run(None, count("RUNLAKE_TEST_KILLS", 6), |fail_point| !is_remote(fail_point)).await;
}

#[tokio::test]
async fn the_same_kills_lose_and_double_nothing_on_s3() {
    let Some(moto) = Moto::start() else { return };
    let random_kills = count("RUNLAKE_TEST_S3_KILLS", 1);
    // The server of the tests is slow: a short run leaves out what happens in the log and in maintenance.
    let all = random_kills > 1;
    let some = |fail_point: &str| is_remote(fail_point) || fail_point.starts_with("catalog");
    run(Some(moto), random_kills, |fail_point| !is_local(fail_point) && (all || some(fail_point))).await;
}

/// Kills at each of the wanted fail points, and at random moments.
async fn run(moto: Option<Moto>, random_kills: u64, wanted: impl Fn(&str) -> bool) {
    let seed = seeds(1, 1)[0];
    println!("seed {seed}");
    let mut suite = Suite::new(seed, moto);
    let start = std::time::Instant::now();
    let mut fail_points = fail_points();
    fail_points.retain(|fail_point| wanted(fail_point));
    assert!(fail_points.len() > 5, "{fail_points:?}");
    // In a long suite every fail point gets its share.
    for round in 0..=random_kills / 100 {
        for fail_point in &fail_points {
            // The first crossings are those of the start; a point that is rare is crossed once.
            let is_rare = [
                "lock",
                "lease",
                "restore",
                "quarantine",
                "checkpoint",
                "backup-before-manifest",
                "backup-after-manifest",
            ]
            .iter()
            .any(|p| fail_point.starts_with(p));
            for most in if is_rare { [1, 1, 1] } else { [12, 3, 1] } {
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
        "{} kills ({} before the lake was open), {} backups restored, {:?} in {:?}; at {} fail points: {:?}",
        suite.kills,
        suite.in_recovery,
        suite.restored,
        suite.figures,
        start.elapsed(),
        suite.died_at.len(),
        suite.died_at
    );
    let crossed: BTreeSet<String> = suite.died_at.keys().cloned().collect();
    assert_eq!(crossed, fail_points, "a fail point was never crossed");
}
