//! The life of one lake on a disk in memory: random operations, each checked against the model.
//!
//! A further operation of the store is one more [`Operation`], drawn in [`Operation::draw`] and done in
//! [`Life::perform`]; whatever it does, the lake must stay what the model says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::join_all;
use store::disk::FaultyDisk;
use store::{Acknowledgement, Store, StoreConfig, StoreError, open_snapshot_on, verify_on};

use super::care::Backup;
use crate::ledger::{Body, Model, Request, View};
use crate::random::Random;

/// Where the lake is; no such folder exists on the machine.
pub(crate) const ROOT: &str = "/not-on-this-machine/lake";
/// What a clock may jump by: 400 days.
const JUMP_MICROS: u64 = 400 * 86_400 * 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// One batch of points.
    Append,
    /// Several requests at once, for one group commit or a few.
    AppendTogether,
    /// Registry commands.
    Apply,
    /// A request whose fate is unknown or that failed is sent again.
    Retry,
    /// A request of long ago is sent again.
    RetryOld,
    /// A request that must be refused and leave no trace.
    Invalid,
    Flush,
    /// Runs are deleted, or a project.
    Delete,
    /// The retention of projects is applied.
    Expire,
    Compact,
    Vacuum,
    /// The lake is copied beside it.
    BackUp,
    /// A backup of some time ago is made a lake and compared with what the lake was then.
    Restore,
    /// Every byte is read, and nothing may be wrong.
    Verify,
    /// A snapshot of the writer is compared with the model.
    Compare,
    /// A reader in another process is compared with the model.
    Read,
    /// A second writer must be refused.
    SecondWriter,
    /// The clock jumps, by up to 400 days in either direction.
    ClockJump,
    /// The store is closed in order and opened again.
    Restart,
}

impl Operation {
    fn draw(random: &mut Random, model: &Model) -> Self {
        if !model.has_runs() {
            return Self::Apply;
        }
        match random.below(56) {
            0..12 => Self::Append,
            12..16 => Self::AppendTogether,
            16..22 => Self::Apply,
            22..25 if !model.missing.is_empty() => Self::Retry,
            22..27 => Self::RetryOld,
            27 => Self::Invalid,
            28..35 => Self::Flush,
            35 => Self::Compare,
            36 => Self::Read,
            37 => Self::SecondWriter,
            38 => Self::ClockJump,
            39..42 => Self::Delete,
            42 => Self::Expire,
            43..46 => Self::Compact,
            46..49 => Self::Vacuum,
            49..52 => Self::BackUp,
            52..54 => Self::Restore,
            54 => Self::Verify,
            _ => Self::Restart,
        }
    }
}

pub(crate) struct Life {
    pub(crate) disk: FaultyDisk,
    pub(crate) model: Model,
    pub(crate) random: Random,
    pub(crate) context: String,
    /// Settings that differ from the usual ones.
    pub(crate) adjust: fn(&mut StoreConfig),
    pub(super) clock: Arc<AtomicI64>,
    /// What was copied so far.
    pub(super) backups: Vec<Backup>,
    /// Failed syncs of copies, which are no affair of the lake.
    pub(super) failed_syncs_of_copies: u64,
    /// Folders into which backups were restored so far.
    pub(super) restored: u64,
    /// Small ones are often full, so that groups span two.
    wal_file_bytes: u64,
    /// Small ones let the store flush by itself while it is used.
    flush_bytes: usize,
    store: Option<Store>,
    /// Failures of the disk up to the last moment when all was well.
    sound_failures: u64,
    /// Whether the disk has little room, so that writing may be refused.
    pub(crate) full: bool,
    /// The code of the last refusal.
    pub(crate) refusal: &'static str,
}

impl Life {
    pub(crate) fn new(disk: FaultyDisk, seed: u64) -> Self {
        Self {
            disk,
            model: Model::default(),
            random: Random::new(seed),
            context: format!("seed {seed}"),
            adjust: |_| {},
            clock: Arc::new(AtomicI64::new(1_760_000_000_000_000)),
            backups: Vec::new(),
            failed_syncs_of_copies: 0,
            restored: 0,
            wal_file_bytes: [4 << 10, 16 << 10][seed as usize % 2],
            flush_bytes: if seed % 4 == 3 { 2_000 } else { 128 << 20 },
            store: None,
            sound_failures: 0,
            full: false,
            refusal: "",
        }
    }

    /// A life of a lake with a few runs, in which the store is open.
    pub(crate) async fn with_runs(disk: FaultyDisk, seed: u64) -> Self {
        let mut life = Self::new(disk, seed);
        life.open().await.unwrap();
        for _ in 0..4 {
            life.perform(Operation::Apply).await;
        }
        life
    }

    /// Another life from where this one is, on a disk of its own; the store is not open.
    pub(crate) fn branch(&self, seed: u64, context: String) -> Self {
        Self { model: self.model.clone(), context, ..Self::new(self.disk.copy(), seed) }
    }

    /// From now on an operation that fails is a fault of the store, until the disk fails again.
    pub(crate) fn expect_success(&mut self) {
        self.sound_failures = self.disk.failures();
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().expect("the store is open")
    }

    pub(crate) fn config(&self) -> StoreConfig {
        let clock = Arc::clone(&self.clock);
        let mut config = StoreConfig {
            disk: Arc::new(self.disk.process()),
            wal_file_bytes: self.wal_file_bytes,
            flush_bytes: self.flush_bytes,
            ..StoreConfig::new(Path::new(ROOT), Arc::new(move || clock.load(Ordering::Relaxed)))
        };
        (self.adjust)(&mut config);
        config
    }

    pub(crate) async fn open(&mut self) -> Result<(), StoreError> {
        self.store = Some(Store::open(self.config()).await?);
        Ok(())
    }

    /// Ends the process without warning. What happens to the disk is the caller's affair.
    pub(crate) fn die(&mut self) {
        self.store = None;
    }

    pub(crate) async fn close(&mut self) {
        if let Some(store) = self.store.take() {
            store.close().await;
        }
    }

    /// Does one random operation.
    pub(crate) async fn step(&mut self) {
        let operation = Operation::draw(&mut self.random, &self.model);
        self.perform(operation).await;
    }

    pub(crate) async fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Append => {
                let request = self.model.new_points(&mut self.random);
                self.send(request).await;
            }
            Operation::Apply => {
                let request = self.model.new_commands(&mut self.random);
                self.send(request).await;
            }
            Operation::AppendTogether => {
                let count = 2 + self.random.below(5);
                let requests = (0..count).map(|_| match self.random.chance(4) {
                    true => self.model.new_commands(&mut self.random),
                    false => self.model.new_points(&mut self.random),
                });
                let requests: Vec<Request> = requests.collect();
                self.send_together(requests).await;
            }
            Operation::Retry => {
                let index = self.random.below(self.model.missing.len() as u64) as usize;
                let request = self.model.missing[index].clone();
                self.model.figures.retries += 1;
                self.send(request).await;
            }
            Operation::RetryOld => {
                if let Some(request) = self.model.old_request(&mut self.random) {
                    self.model.figures.retries += 1;
                    self.send(request).await;
                }
            }
            Operation::Invalid => {
                let stranger = crate::lake::batch(u128::MAX, "loss", &[(0, 0.5)]);
                let refused = self.store().append(stranger, None).await.unwrap_err();
                assert!(self.is_lost() || refused.code() == "run.unknown", "{}: {refused}", self.context);
            }
            Operation::Flush => {
                let flushed = self.store().flush().await;
                assert!(
                    flushed.is_ok() || self.faults_are_on(),
                    "{}: {}",
                    self.context,
                    flushed.unwrap_err()
                );
            }
            Operation::Delete => {
                let request = self.model.new_deletion(&mut self.random);
                self.send(request).await;
            }
            Operation::Expire => self.expire().await,
            Operation::Compact => self.compact().await,
            Operation::Vacuum => self.vacuum().await,
            Operation::BackUp => self.back_up().await,
            Operation::Restore => self.restore().await,
            Operation::Verify => self.verify().await,
            Operation::Compare => {
                if !self.is_lost() {
                    match View::of(&self.store().snapshot()).await {
                        Ok(view) => self.model.compare(&view, &self.context),
                        Err(error) => assert!(self.faults_are_on(), "{}: {error}", self.context),
                    }
                }
            }
            Operation::Read => {
                let reader = open_snapshot_on(Path::new(ROOT), Arc::new(self.disk.process())).await;
                match reader {
                    Ok(snapshot) if !self.is_lost() => match View::of(&snapshot).await {
                        Ok(view) => self.model.compare(&view, &format!("{}, reader", self.context)),
                        Err(error) => assert!(self.faults_are_on(), "{}: {error}", self.context),
                    },
                    Ok(_) => {}
                    Err(error) => assert!(self.faults_are_on(), "{}: {error}", self.context),
                }
            }
            Operation::SecondWriter => {
                let second = Store::open(self.config()).await.map(drop).unwrap_err();
                assert!(self.faults_are_on() || second.code() == "lake.locked", "{}: {second}", self.context);
            }
            Operation::ClockJump => {
                let jump = self.random.below(2 * JUMP_MICROS) as i64 - JUMP_MICROS as i64;
                let now = self.clock.fetch_add(jump, Ordering::Relaxed) + jump;
                self.disk.set_time(now);
            }
            Operation::Restart => {
                self.close().await;
                if let Err(error) = self.open().await {
                    assert!(self.faults_are_on(), "{}: {error}", self.context);
                }
            }
        }
    }

    /// Whether the process can do no more.
    pub(crate) fn is_lost(&self) -> bool {
        self.disk.is_off() || self.store.as_ref().is_none_or(Store::is_stopped)
    }

    /// Syncs of the lake so far that were made to fail.
    pub(super) fn failed_syncs(&self) -> u64 {
        self.disk.failed_syncs() - self.failed_syncs_of_copies
    }

    /// Whether something may fail at this moment.
    pub(super) fn faults_are_on(&self) -> bool {
        self.full || self.disk.failures() > self.sound_failures || self.is_lost()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.store.is_some()
    }

    pub(crate) fn has_runs(&self) -> bool {
        self.model.has_runs()
    }

    /// After a failure for good, whatever is asked is answered with an error.
    pub(crate) async fn nothing_is_acknowledged(&mut self) {
        for operation in [Operation::Apply, Operation::Append] {
            if operation == Operation::Apply || self.has_runs() {
                let acknowledged = self.model.figures.acknowledged;
                self.perform(operation).await;
                assert_eq!(self.model.figures.acknowledged, acknowledged, "{}", self.context);
            }
        }
        assert!(self.store().flush().await.is_err(), "{}", self.context);
    }

    async fn send(&mut self, request: Request) {
        self.send_together(vec![request]).await;
    }

    async fn send_together(&mut self, requests: Vec<Request>) {
        let arrivals: Vec<u64> = requests.iter().map(|_| self.model.arrive()).collect();
        let store = self.store().clone();
        let answers = join_all(requests.iter().map(|request| send(&store, request))).await;
        for ((request, arrival), answer) in requests.iter().zip(arrivals).zip(answers) {
            match answer {
                Ok(answer) => self.model.acknowledged(arrival, request, answer.duplicate),
                Err(_) if self.is_lost() => self.model.unanswered(arrival, request),
                Err(error) if error.code().ends_with(".unknown") || error.code().ends_with(".elsewhere") => {
                    assert!(!self.model.fits(request), "{}: {error}", self.context);
                    self.model.turned_away(request);
                }
                Err(error) => {
                    assert!(self.faults_are_on(), "{}: {error}", self.context);
                    self.refusal = error.code();
                    self.model.refused(request);
                }
            }
        }
    }

    /// Compares what the open store holds with the model.
    pub(crate) async fn compare(&mut self) {
        let view = View::of(&self.store().snapshot()).await.unwrap();
        self.model.compare(&view, &self.context);
    }

    /// Reads every byte of the lake; nothing may be wrong with it, unless something fails meanwhile.
    pub(crate) async fn verify(&mut self) {
        let verified = verify_on(Path::new(ROOT), Arc::new(self.disk.process())).await;
        if self.disk.is_off() || self.disk.failures() > self.sound_failures {
            return;
        }
        let report = verified.unwrap_or_else(|error| panic!("{}: {error}", self.context));
        assert_eq!(report.findings, [], "{}", self.context);
        assert_eq!(report.points, self.model.points(), "{}", self.context);
        self.model.figures.verified += 1;
    }
}

async fn send(store: &Store, request: &Request) -> Result<Acknowledgement, StoreError> {
    match (&request.body, request.batch()) {
        (Body::Commands(commands), _) => store.apply(commands.clone(), request.writer.clone()).await,
        (_, Some(batch)) => store.append(batch, request.writer.clone()).await,
        (Body::Points(_) | Body::Expire(_), None) => unreachable!("no request of a client"),
    }
}
