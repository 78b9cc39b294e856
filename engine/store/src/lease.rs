//! The lease of the one writer of a lake on an object store: `lease.json`, replaced only by conditional puts.
//!
//! Invariants
//! - Every change of the object is conditional on its version before: of two writers that want it, one gets it.
//! - The holder acknowledges nothing in the last seconds (`margin`) of a lease that it did not renew. Its time runs from
//!   *before* a renewal was sent, on a clock that also runs while the machine sleeps.
//! - Who wants a lease that was not released watches it for its whole length on its own clock: no two clocks are ever
//!   compared. Only the folder that the holder wrote from may take it at once, since its file lock proves that the
//!   holder is dead.
//! - Whoever takes it raises the epoch and commits that to every table before anything else: what the holder before
//!   still sends meets a commit number that is taken, or an epoch above its own.
//! - A lease that ran out and that nobody took is renewed as if nothing had happened; one that somebody took is lost
//!   for good, and its writer stops.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error as ThisError;

use crate::disk::{Access, Disk, RealDisk};

/// The name of the object below the root of the lake.
pub(crate) const NAME: &str = "lease.json";
/// The format of `lease.json` that this version writes.
const LEASE_FORMAT: u32 = 1;
/// Take-overs that are remembered; a log that is older than all of them is refused unless it is empty.
const REMEMBERED: usize = 100;
/// How often a change is tried when the store does not say what became of it.
const TRIES: usize = 4;

/// How long a lease lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// How often it is renewed: 5 s.
    pub renew_every: Duration,
    /// How long it lasts after a renewal: 15 s.
    pub time_to_live: Duration,
    /// How long before its end nothing is acknowledged any more: 5 s.
    pub margin: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            renew_every: Duration::from_secs(5),
            time_to_live: Duration::from_secs(15),
            margin: Duration::from_secs(5),
        }
    }
}

/// The content of `lease.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFile {
    /// Format version of this file.
    pub format: u32,
    /// The identity of the lake.
    pub lake_id: String,
    /// The epoch of the holder; every holder has a higher one than all before.
    pub epoch: u64,
    /// The claim of the holder, unique, which also stands in the state folder that it writes from.
    pub claim: String,
    /// Who holds it, for the message that a second writer sees.
    pub owner: String,
    /// The machine of the holder.
    pub machine: String,
    /// The state folder of the holder on that machine.
    pub folder: String,
    /// Rises with every renewal.
    pub renewal: u64,
    /// How long it lasts after a renewal.
    pub millis_to_live: u64,
    /// Whether the holder gave it back.
    pub released: bool,
    /// When the lake went from one state folder to another, the oldest first.
    pub takeovers: Vec<Takeover>,
}

/// The lake went over to a writer with another log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// The first epoch of the new writer.
    pub epoch: u64,
    /// Who it was.
    pub owner: String,
    /// The last WAL number in each table at that moment: what any log before it holds beyond that never came into the
    /// lake. Absent while the new writer is still opening the lake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<BTreeMap<String, u64>>,
}

/// The lease cannot be had or read.
#[derive(Debug, ThisError)]
pub enum LeaseError {
    /// Another writer holds it.
    #[error("the lake is being written by {owner}; stop it, or send your writes to it (--url)")]
    Held {
        /// Who.
        owner: String,
    },
    /// Another writer took it over.
    #[error(
        "this writer lost the lake to another one: {reason}. It stops. What it acknowledged and did not flush is in its log; the next start with the same state folder tells what to do"
    )]
    Lost {
        /// How it shows.
        reason: String,
    },
    /// The object is not what it must be.
    #[error("lease.json is damaged: {reason}; when no writer is at work, remove the object")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// A newer version wrote it.
    #[error(
        "lease.json has format {format}; this version reads up to format {LEASE_FORMAT}: use a newer Runlake"
    )]
    TooNew {
        /// Its format.
        format: u32,
    },
    /// The lease is that of another lake.
    #[error(
        "lease.json belongs to the lake {found}, and runlake.json says {wanted}: one of them came from elsewhere"
    )]
    Foreign {
        /// The id in the lease.
        found: String,
        /// The id of the lake.
        wanted: String,
    },
    /// The store did not answer, or refused.
    #[error("cannot {action} lease.json: {source}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// Why.
        source: Box<Error>,
    },
}

type Result<T> = std::result::Result<T, LeaseError>;

/// The lease as it stands in the store.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) file: LeaseFile,
    version: UpdateVersion,
}

/// Who asks for the lease.
#[derive(Debug, Clone)]
pub(crate) struct Claimant {
    pub(crate) lake_id: String,
    pub(crate) owner: String,
    pub(crate) machine: String,
    pub(crate) folder: String,
}

/// The lease object of a lake.
#[derive(Debug, Clone)]
pub(crate) struct LeaseObject {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    pub(crate) lake_id: String,
    pub(crate) times: LeaseTimes,
}

impl LeaseObject {
    /// Reads it; `None` when nobody ever wrote.
    pub(crate) async fn read(&self) -> Result<Option<Found>> {
        #[derive(Deserialize)]
        struct OnlyFormat {
            format: u32,
        }
        let failed = |source| LeaseError::Store { action: "read", source: Box::new(source) };
        let got = match self.store.get(&self.path).await {
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let version = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
        let bytes = got.bytes().await.map_err(failed)?;
        let damaged = |error: serde_json::Error| LeaseError::Damaged { reason: error.to_string() };
        let OnlyFormat { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format > LEASE_FORMAT {
            return Err(LeaseError::TooNew { format });
        }
        let file: LeaseFile = serde_json::from_slice(&bytes).map_err(damaged)?;
        if file.lake_id != self.lake_id {
            return Err(LeaseError::Foreign { found: file.lake_id, wanted: self.lake_id.clone() });
        }
        Ok(Some(Found { file, version }))
    }

    /// Waits until the lease may be taken: at once when it was released or `is_ours` (its holder is known to be dead),
    /// else when nobody renewed it for as long as it lasts.
    ///
    /// # Errors
    /// [`LeaseError::Held`] as soon as its holder gives a sign of life.
    pub(crate) async fn wait_for_turn(&self, is_ours: impl Fn(&LeaseFile) -> bool) -> Result<Option<Found>> {
        let Some(mut first) = self.read().await? else { return Ok(None) };
        if first.file.released || is_ours(&first.file) {
            return Ok(Some(first));
        }
        let lasts = self.times.time_to_live.max(Duration::from_millis(first.file.millis_to_live));
        tracing::info!(owner = first.file.owner, ?lasts, "waiting whether the writer before is still alive");
        let (start, pause) = (now(), lasts / 10);
        loop {
            tokio::time::sleep(pause).await;
            match self.read().await? {
                Some(found) if found.file == first.file => first = found,
                Some(found) if found.file.released => return Ok(Some(found)),
                Some(found) => return Err(LeaseError::Held { owner: found.file.owner }),
                None => return Ok(None),
            }
            if now().saturating_sub(start) > lasts {
                return Ok(Some(first));
            }
        }
    }

    /// Takes the lease as `file`, when it still is as it was `before`, and begins to renew it.
    ///
    /// # Errors
    /// [`LeaseError::Held`] when somebody else was faster.
    pub(crate) async fn take(&self, before: Option<Found>, file: LeaseFile) -> Result<Lease> {
        let mut last = None;
        for attempt in 0..TRIES {
            let started = now();
            let mode = match &before {
                None => PutMode::Create,
                Some(found) => PutMode::Update(found.version.clone()),
            };
            fail::fail_point!("lease-before-take");
            let taken = self.store.put_opts(&self.path, payload(&file), mode.into()).await;
            fail::fail_point!("lease-after-take");
            let source = match taken {
                Ok(put) => return Ok(self.hold(Found { file, version: put.into() }, started)),
                Err(source) => source,
            };
            // The answer may have got lost, and the same put tried again by the client: what stands there counts.
            match self.read().await {
                Ok(Some(found)) if found.file == file => return Ok(self.hold(found, started)),
                Ok(Some(found)) if before.as_ref().is_none_or(|before| before.file != found.file) => {
                    return Err(LeaseError::Held { owner: found.file.owner });
                }
                Ok(_) | Err(LeaseError::Store { .. }) => {}
                Err(error) => return Err(error),
            }
            tracing::warn!(error = %source, attempt, "the lease was not taken, trying again");
            last = Some(LeaseError::Store { action: "write", source: Box::new(source) });
            tokio::time::sleep(self.times.renew_every / 10).await;
        }
        Err(last.unwrap_or(LeaseError::Held { owner: "another process".to_owned() }))
    }

    fn hold(&self, found: Found, started: Duration) -> Lease {
        let holder = Arc::new(Holder {
            object: self.clone(),
            owner: Mutex::new(found.file.owner.clone()),
            current: tokio::sync::Mutex::new(Current { found, attempt: None }),
            fresh_until: AtomicU64::new(0),
            lost: OnceLock::new(),
        });
        holder.renewed(started);
        let renewing = tokio::spawn(Arc::clone(&holder).renew_for_ever());
        Lease { holder, renewing }
    }
}

impl LeaseFile {
    /// The lease of the next holder. `continues` when it goes on with the log of the holder before.
    pub(crate) fn next(
        before: Option<&Self>,
        claimant: &Claimant,
        claim: &str,
        least_epoch: u64,
        continues: bool,
        times: LeaseTimes,
    ) -> Self {
        let epoch = before.map_or(0, |before| before.epoch).max(least_epoch.saturating_sub(1)) + 1;
        let mut takeovers = before.map(|before| before.takeovers.clone()).unwrap_or_default();
        if !continues {
            takeovers.push(Takeover { epoch, owner: claimant.owner.clone(), tables: None });
            let surplus = takeovers.len().saturating_sub(REMEMBERED);
            takeovers.drain(..surplus);
        }
        Self {
            format: LEASE_FORMAT,
            lake_id: claimant.lake_id.clone(),
            epoch,
            claim: claim.to_owned(),
            owner: claimant.owner.clone(),
            machine: claimant.machine.clone(),
            folder: claimant.folder.clone(),
            renewal: 0,
            millis_to_live: u64::try_from(times.time_to_live.as_millis()).unwrap_or(u64::MAX),
            released: false,
            takeovers,
        }
    }

    /// The first take-over after an epoch; `None` when it is not remembered or there was none.
    pub(crate) fn takeover_after(&self, epoch: u64) -> Option<&Takeover> {
        self.takeovers.iter().find(|takeover| takeover.epoch > epoch)
    }
}

/// A lease that is held and renewed until it is dropped, released or lost.
#[derive(Debug)]
pub(crate) struct Lease {
    holder: Arc<Holder>,
    renewing: tokio::task::JoinHandle<()>,
}

impl Lease {
    pub(crate) fn holder(&self) -> Arc<Holder> {
        Arc::clone(&self.holder)
    }

    /// Gives it back, so that the next writer need not wait. Nothing may be written after this.
    pub(crate) async fn release(self) {
        self.renewing.abort();
        if self.holder.lost.get().is_some() {
            return;
        }
        let limit = self.holder.object.times.renew_every;
        match tokio::time::timeout(limit, self.holder.change(|file| file.released = true)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not given back; it runs out by itself"),
            Err(_) => tracing::warn!("the lease was not given back in time; it runs out by itself"),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// What the writer asks before it acknowledges.
#[derive(Debug)]
pub(crate) struct Holder {
    object: LeaseObject,
    owner: Mutex<String>,
    current: tokio::sync::Mutex<Current>,
    /// Until when acknowledging is safe, on the clock of [`now`], in milliseconds.
    fresh_until: AtomicU64,
    lost: OnceLock<String>,
}

#[derive(Debug)]
struct Current {
    found: Found,
    /// A change that was sent and whose outcome is not known, and when it was sent first.
    attempt: Option<(LeaseFile, Duration)>,
}

impl Holder {
    /// Whether a write may be acknowledged now.
    pub(crate) fn is_fresh(&self) -> bool {
        self.lost.get().is_none() && millis(now()) < self.fresh_until.load(Ordering::Acquire)
    }

    /// Whether somebody took it.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Why the lease is lost, when it is.
    pub(crate) fn lost(&self) -> Option<LeaseError> {
        self.lost.get().map(|reason| LeaseError::Lost { reason: reason.clone() })
    }

    /// Notes that another writer was found at work, as by its commit.
    pub(crate) fn note_lost(&self, reason: String) {
        if self.lost.set(reason.clone()).is_ok() {
            tracing::error!(reason, "the lease is lost; the writer stops");
        }
    }

    /// Says who holds the lease, from the next renewal on.
    pub(crate) fn describe(&self, owner: &str) {
        owner.clone_into(&mut self.owner.lock());
    }

    /// The epoch of the lease.
    pub(crate) async fn epoch(&self) -> u64 {
        self.current.lock().await.found.file.epoch
    }

    /// Raises the epoch, when tables were found that have a higher one.
    pub(crate) async fn raise_epoch(&self, epoch: u64) -> Result<()> {
        self.change(|file| {
            let before = file.epoch;
            file.epoch = before.max(epoch);
            if let Some(takeover) = file.takeovers.last_mut().filter(|takeover| takeover.epoch == before) {
                takeover.epoch = file.epoch;
            }
        })
        .await
    }

    /// Notes what every table held when this writer took over, for logs of writers before.
    pub(crate) async fn note_tables(&self, tables: &BTreeMap<String, u64>) -> Result<()> {
        let is_open = |takeover: &Takeover| takeover.tables.is_none();
        if !self.current.lock().await.found.file.takeovers.iter().any(is_open) {
            return Ok(());
        }
        self.change(|file| {
            for takeover in file.takeovers.iter_mut().filter(|takeover| is_open(takeover)) {
                takeover.tables = Some(tables.clone());
            }
        })
        .await
    }

    fn renewed(&self, started: Duration) {
        let times = self.object.times;
        let until = millis(started + times.time_to_live.saturating_sub(times.margin));
        self.fresh_until.fetch_max(until, Ordering::AcqRel);
    }

    async fn renew_for_ever(self: Arc<Self>) {
        let renew_every = self.object.times.renew_every;
        let mut pause = renew_every;
        while self.lost.get().is_none() {
            tokio::time::sleep(pause).await;
            pause = match tokio::time::timeout(renew_every, self.change(|_| {})).await {
                Ok(Ok(())) => renew_every,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the lease was not renewed, trying again");
                    renew_every / 10
                }
                Err(_) => {
                    tracing::warn!(limit = ?renew_every, "the store does not answer; the lease was not renewed");
                    renew_every / 10
                }
            };
        }
    }

    /// Replaces the object by the next renewal with a change; when the store does not say what became of it, several
    /// times.
    async fn change(&self, change: impl Fn(&mut LeaseFile)) -> Result<()> {
        let mut current = self.current.lock().await;
        let mut last = None;
        for _ in 0..TRIES {
            if let Some(lost) = self.lost() {
                return Err(lost);
            }
            let mut next = current.found.file.clone();
            next.renewal += 1;
            self.owner.lock().clone_into(&mut next.owner);
            change(&mut next);
            // The time of a renewal runs from when these bytes were sent first: an earlier try may be the one that
            // arrived.
            let started = match &current.attempt {
                Some((attempt, started)) if *attempt == next => *started,
                _ => now(),
            };
            current.attempt = Some((next.clone(), started));
            let mode = PutMode::Update(current.found.version.clone());
            fail::fail_point!("lease-before-change");
            let put = self.object.store.put_opts(&self.object.path, payload(&next), mode.into()).await;
            fail::fail_point!("lease-after-change");
            let source = match put {
                Ok(put) => {
                    current.found = Found { file: next, version: put.into() };
                    current.attempt = None;
                    self.renewed(started);
                    return Ok(());
                }
                Err(source) => source,
            };
            match self.object.read().await {
                Ok(Some(found)) if found.file == next => {
                    current.found = found;
                    current.attempt = None;
                    self.renewed(started);
                    return Ok(());
                }
                // Still ours: the put did not arrive, or an older one of ours did.
                Ok(Some(found)) if found.file.claim == next.claim => {
                    current.found = found;
                    last = Some(LeaseError::Store { action: "renew", source: Box::new(source) });
                }
                Ok(Some(found)) => {
                    let LeaseFile { epoch, owner, .. } = found.file;
                    self.note_lost(format!("{owner} took it over with epoch {epoch}"));
                }
                Ok(None) => self.note_lost("lease.json was removed".to_owned()),
                Err(LeaseError::Store { source, .. }) => {
                    last = Some(LeaseError::Store { action: "renew", source });
                }
                Err(other) => self.note_lost(other.to_string()),
            }
        }
        Err(self.lost().or(last).unwrap_or(LeaseError::Lost { reason: "no try was made".to_owned() }))
    }
}

fn payload(file: &LeaseFile) -> PutPayload {
    // A struct of texts and numbers cannot fail to serialise.
    let mut bytes = serde_json::to_vec_pretty(file).unwrap_or_default();
    bytes.push(b'\n');
    PutPayload::from(bytes)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that only goes forward, at the pace of real time, also while the machine sleeps: after a sleep the lease of
/// a laptop has run out.
#[cfg(target_os = "linux")]
fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// A clock that only goes forward; here it may stand still while the machine sleeps.
#[cfg(not(target_os = "linux"))]
fn now() -> Duration {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// A name for this machine that stays the same over restarts.
pub(crate) fn machine_name() -> String {
    let read = |path: &str| {
        let file = RealDisk.open(std::path::Path::new(path), Access::Read).ok()?;
        let mut bytes = [0; 256];
        let count = file.read_at(0, &mut bytes).ok()?;
        let text = std::str::from_utf8(bytes.get(..count)?).ok()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    match (read("/proc/sys/kernel/hostname"), read("/etc/machine-id")) {
        (Some(host), Some(id)) => format!("{host} {id}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "unknown".to_owned(),
    }
}
