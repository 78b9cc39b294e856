//! The one thread that writes: it takes requests in order, checks them, appends them to the log, syncs once for a
//! whole group, applies them to the state and acknowledges them.
//!
//! Invariants
//! - Nothing is acknowledged, and nothing becomes visible, before its frame is synced; with
//!   [`SyncPolicy::Interval`], before it is written.
//! - Requests are applied in the order of their sequence numbers.
//! - A request that is refused leaves no trace in the log, the state or the exactly-once windows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, after, never, select_biased};
use model::{Command, PointBatch, SeriesKey, WriterSequence};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::config::SyncPolicy;
use crate::error::{Result, StoreError};
use crate::flush::FlushInput;
use crate::lease::LeaseError;
use crate::registry::{Registry, RegistryError};
use crate::series_index;
use crate::store::Shared;
use crate::wal::{FlushedTable, Observation, Record, Wal, WalError, WriterWindow};

/// How long writers wait for a flush before they are refused.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(10);

/// What the numbers of one writer take in memory.
const WINDOW_BYTES: usize = 512;

/// What a writer gets for a durable batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The log's sequence number up to which everything is as safe as the store's [`SyncPolicy`] says: durable, or
    /// written.
    pub durable_seq: u64,
    /// Whether the batch had been applied before and was not applied again.
    pub duplicate: bool,
}

/// One write on its way.
pub(crate) struct Write {
    pub(crate) record: Record,
    pub(crate) bytes: usize,
    pub(crate) reply: oneshot::Sender<Result<Acknowledgement>>,
    /// Room that the write takes among those in flight, given back when it is answered.
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// What else the thread is asked to do.
pub(crate) enum Control {
    /// Freeze the memtable and hand over what a flush needs.
    BeginFlush { tables: Vec<FlushedTable>, reply: oneshot::Sender<Result<FlushInput>> },
    /// Delete log files whose records are all in tables.
    Trim { through: u64, reply: oneshot::Sender<Result<()>> },
    /// End the thread.
    Stop,
}

/// A write that was checked; `taken` is `None` when it had been applied before.
struct Accepted {
    write: Write,
    taken: Option<Taken>,
}

/// What a write was given.
struct Taken {
    /// Its number in the log.
    seq: u64,
    /// The exactly-once window that its client had before.
    replaced: Option<(String, Option<WriterWindow>)>,
}

pub(crate) struct Writer {
    pub(crate) wal: Wal,
    pub(crate) windows: HashMap<String, WriterWindow>,
    pub(crate) shared: Arc<Shared>,
}

impl Writer {
    /// Serves requests until told to stop or until all senders are gone.
    pub(crate) fn run(mut self, writes: &Receiver<Write>, control: &Receiver<Control>) {
        let mut overdue = never();
        loop {
            // Control first: a flush must be able to start while writers keep the queue full.
            select_biased! {
                recv(overdue) -> _ => {
                    overdue = never();
                    if let Err(error) = self.wal.sync() {
                        self.note_failure(&error);
                    }
                },
                recv(control) -> request => match request {
                    Ok(Control::Stop) | Err(_) => {
                        self.drain(writes);
                        self.end();
                        return;
                    }
                    Ok(request) => self.control(request),
                },
                recv(writes) -> write => match write {
                    Ok(first) => {
                        let group = self.gather(first, writes);
                        if let Err(waited) = self.wait_for_room(control) {
                            let reason = self.shared.flush_failure();
                            refuse(group, || StoreError::Busy { waited_secs: waited.as_secs(), reason: reason.clone() });
                        } else {
                            let unsynced = self.wal.has_unsynced();
                            self.commit(group);
                            if let SyncPolicy::Interval(time) = self.shared.config.sync
                                && !unsynced
                                && self.wal.has_unsynced()
                            {
                                overdue = after(time);
                            }
                        }
                    }
                    Err(_) => return,
                },
            }
        }
    }

    /// Commits what is queued when the store closes, so that nobody waits for an answer that never comes, and syncs.
    fn drain(&mut self, writes: &Receiver<Write>) {
        while let Ok(first) = writes.try_recv() {
            let group = self.gather(first, writes);
            self.commit(group);
        }
        if let Err(error) = self.wal.sync() {
            self.note_failure(&error);
        }
    }

    /// Proves what was written last, so that damage to it is not taken for a write that was torn.
    fn end(&mut self) {
        if let Err(error) = self.wal.prove_end()
            && !self.shared.is_stopped()
        {
            // What was acknowledged is on disk; only damage to the last group would look like a torn write.
            tracing::warn!(%error, "the end of the log could not be marked");
        }
    }

    fn gather(&self, first: Write, writes: &Receiver<Write>) -> Vec<Write> {
        let mut bytes = first.bytes;
        let mut group = vec![first];
        while bytes < self.shared.config.group_bytes
            && let Ok(next) = writes.try_recv()
        {
            bytes += next.bytes;
            group.push(next);
        }
        group
    }

    fn wait_for_room(&mut self, control: &Receiver<Control>) -> Result<(), Duration> {
        let start = Instant::now();
        while !self.has_room() {
            self.shared.want_flush_of_more_than(self.shared.config.flush_bytes / 4);
            if start.elapsed() > WAIT_FOR_ROOM {
                return Err(start.elapsed());
            }
            match control.recv_timeout(Duration::from_millis(20)) {
                Ok(request) => self.control(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(start.elapsed()),
            }
        }
        Ok(())
    }

    /// Whether memtables may take another group.
    fn has_room(&self) -> bool {
        let config = &self.shared.config;
        let state = self.shared.state.read();
        // Twice: a flush or a reader holds them as they were while they change.
        let resident = state.resident_bytes() + self.windows.len() * WINDOW_BYTES;
        let least = config.flush_bytes.saturating_add(config.flush_bytes / 2).min(config.hard_limit_bytes);
        let most = config.hard_limit_bytes.saturating_sub(resident.saturating_mul(2)).max(least);
        state.memtable_bytes() < most
    }

    fn control(&mut self, request: Control) {
        // A receiver that is gone has stopped waiting; that is its own affair.
        match request {
            Control::BeginFlush { tables, reply } => drop(reply.send(self.begin_flush(tables))),
            Control::Trim { through, reply } => {
                drop(
                    reply.send(
                        self.wal.remove_through(through).map(|_| ()).map_err(|error| self.failed(error)),
                    ),
                );
            }
            Control::Stop => {}
        }
    }

    /// Starts a new log file that begins with the exactly-once windows, and freezes the memtable: everything up to
    /// the returned sequence number is in what the flush gets, everything after it is in newer log files.
    fn begin_flush(&mut self, tables: Vec<FlushedTable>) -> Result<FlushInput> {
        let last_seq = self.shared.state.read().applied_seq;
        let rotated = self.rotate(tables);
        self.note_poison();
        rotated.map_err(|error| self.failed(error))?;
        let applied = self.wal.durable_seq();
        let mut state = self.shared.state.write();
        state.applied_seq = applied;
        if !state.active.is_empty() {
            let mut frozen = std::mem::take(&mut state.active);
            frozen.freeze(last_seq);
            state.frozen.push_back(Arc::new(frozen));
        }
        Ok(FlushInput {
            registry: state.registry.clone(),
            series: state.series.clone(),
            frozen: state.frozen.clone(),
            dirty: std::mem::take(&mut state.dirty),
            last_seq,
            windows: self.shared.guard.is_remote().then(|| self.windows.values().cloned().collect()),
        })
    }

    fn rotate(&mut self, tables: Vec<FlushedTable>) -> Result<(), WalError> {
        self.wal.rotate()?;
        self.wal.append(&Record::Flushed(tables))?;
        // In parts, so that a million clients do not make one frame that is over the limit.
        let windows: Vec<_> = self.windows.values().cloned().collect();
        for part in windows.chunks(10_000) {
            self.wal.append(&Record::Writers(part.to_vec()))?;
        }
        self.wal.sync()?;
        Ok(())
    }

    fn commit(&mut self, group: Vec<Write>) {
        if self.shared.is_stopped() {
            refuse(group, || self.shared.stop_reason());
            return;
        }
        let mut accepted: Vec<Accepted> = Vec::with_capacity(group.len());
        let mut pending: Option<Registry> = None;
        let mut added = 0;
        for write in group {
            match self.take(&write, &mut pending, &mut added) {
                Ok(taken) => accepted.push(Accepted { write, taken }),
                Err(error) => drop(write.reply.send(Err(error))),
            }
        }
        if accepted.is_empty() {
            return;
        }
        let committed = match self.shared.config.sync {
            SyncPolicy::EveryGroup => self.wal.sync(),
            SyncPolicy::Interval(_) => self.wal.write(),
        };
        self.note_poison();
        let (durable_seq, failed) = match committed {
            Ok(durable_seq) => (durable_seq, Vec::new()),
            Err(error) => {
                self.note_failure(&error);
                // A group that spans two log files may be in the first of them and not in the second.
                let kept_seq = self.wal.written_seq();
                let kept = |one: &Accepted| one.taken.as_ref().is_some_and(|t| t.seq <= kept_seq);
                let failed;
                (accepted, failed) = accepted.into_iter().partition(kept);
                (kept_seq, self.undo(failed, error))
            }
        };
        self.apply(&accepted, durable_seq);
        // The writes are durable here; whether they are part of the lake is for whoever holds its lease to say.
        let own = self.shared.guard.wait();
        for Accepted { write, taken } in accepted {
            let acknowledged = Acknowledgement { durable_seq, duplicate: taken.is_none() };
            drop(write.reply.send(own.as_ref().map(|()| acknowledged).map_err(refusal)));
        }
        for (write, error) in failed {
            drop(write.reply.send(Err(error)));
        }
    }

    /// Nothing of these writes is durable, so nothing of them may count as seen. Repeated ones are refused as well:
    /// what they repeat may be among them.
    fn undo(&mut self, failed: Vec<Accepted>, error: WalError) -> Vec<(Write, StoreError)> {
        let error = Arc::new(error);
        let mut refused = Vec::with_capacity(failed.len());
        for Accepted { write, taken } in failed.into_iter().rev() {
            if let Some((client_id, window)) = taken.and_then(|taken| taken.replaced) {
                match window {
                    Some(window) => drop(self.windows.insert(client_id, window)),
                    None => drop(self.windows.remove(&client_id)),
                }
            }
            refused.push((write, StoreError::Wal(Arc::clone(&error))));
        }
        refused
    }

    /// Checks one write and appends it to the log's buffer; `None` when it was applied before.
    fn take(
        &mut self,
        write: &Write,
        pending: &mut Option<Registry>,
        added: &mut usize,
    ) -> Result<Option<Taken>> {
        let window = match writer_of(&write.record) {
            Some(writer) => match self.observe(writer)? {
                Some(window) => Some(window),
                None => return Ok(None),
            },
            None => None,
        };
        let fitting = match &write.record {
            Record::Points { batch, .. } => self.check_points(batch, pending.as_ref()),
            Record::Commands { commands, .. } => self.check_commands(commands, pending),
            Record::Writers(_) | Record::Flushed(_) => Ok(None),
        };
        let registry = fitting?;
        let adds = self.adds(&write.record, window.as_ref(), registry.as_ref(), pending.as_ref(), *added)?;
        let seq = self.wal.append(&write.record).map_err(|error| self.failed(error))?;
        *added += adds;
        if let Some(registry) = registry {
            *pending = Some(registry);
        }
        let replaced = window.map(|window| {
            let client_id = window.client_id().to_owned();
            let before = self.windows.insert(client_id.clone(), window);
            (client_id, before)
        });
        Ok(Some(Taken { seq, replaced }))
    }

    /// Bytes that a record adds to what stays in memory, `added` of its group before it not yet applied: with them the
    /// registry is `before`, and `after` with those of the record.
    fn adds(
        &self,
        record: &Record,
        window: Option<&WriterWindow>,
        after: Option<&Registry>,
        before: Option<&Registry>,
        added: usize,
    ) -> Result<usize> {
        let limit = self.shared.config.resident_bytes;
        let is_new_writer = window.is_some_and(|window| !self.windows.contains_key(window.client_id()));
        let writer = if is_new_writer { WINDOW_BYTES } else { 0 };
        let state = self.shared.state.read();
        let held = state.resident_bytes() + self.windows.len() * WINDOW_BYTES + added;
        let adds = writer
            + match record {
                Record::Points { batch, .. } => {
                    let keys = batch.series().iter().map(|part| part.key());
                    // Looked up only when it may matter.
                    let most: usize = keys.clone().map(|key| series_index::bytes_of(&key)).sum();
                    if held.saturating_add(writer + most) <= limit - limit / 8 {
                        0
                    } else {
                        let is_new = |key: &SeriesKey| {
                            let run = state.registry.ordinal(key.run);
                            run.and_then(|run| state.series.ordinal(key, run)).is_none()
                        };
                        let new = keys.filter(is_new);
                        new.map(|key| series_index::bytes_of(&key)).sum()
                    }
                }
                Record::Commands { .. } => {
                    let before = before.unwrap_or(&state.registry);
                    after.map_or(0, |after| after.bytes().saturating_sub(before.bytes()))
                }
                Record::Writers(_) | Record::Flushed(_) => 0,
            };
        if adds > 0 && held.saturating_add(adds) > limit {
            return Err(StoreError::Resident { held_mib: held >> 20 });
        }
        Ok(adds)
    }

    /// The window of a writer after this batch, `None` when the batch was seen before.
    fn observe(&self, writer: &WriterSequence) -> Result<Option<WriterWindow>> {
        let now = (self.shared.config.clock)();
        let Some(window) = self.windows.get(writer.client_id()) else {
            return Ok(Some(WriterWindow::new(writer.client_id(), writer.client_seq(), now)));
        };
        let mut window = window.clone();
        match window.observe(writer.client_seq(), now) {
            Observation::Fresh => Ok(Some(window)),
            Observation::Repeated => Ok(None),
            Observation::TooOld => Err(StoreError::SequenceTooOld {
                client_id: writer.client_id().to_owned(),
                client_seq: writer.client_seq(),
            }),
        }
    }

    fn check_points(&self, batch: &PointBatch, pending: Option<&Registry>) -> Result<Option<Registry>> {
        let state = self.shared.state.read();
        let registry = pending.unwrap_or(&state.registry);
        match batch.series().iter().find(|part| registry.ordinal(part.run).is_none()) {
            Some(part) => Err(RegistryError::RunUnknown { run: part.run }.into()),
            None => Ok(None),
        }
    }

    /// The registry after these commands.
    fn check_commands(&self, commands: &[Command], pending: &Option<Registry>) -> Result<Option<Registry>> {
        let mut registry = match pending {
            Some(registry) => registry.clone(),
            None => self.shared.state.read().registry.clone(),
        };
        for command in commands {
            command.check()?;
            registry.apply(command, u64::MAX, &mut |_| {})?;
        }
        Ok(Some(registry))
    }

    fn apply(&self, accepted: &[Accepted], durable_seq: u64) {
        let mut state = self.shared.state.write();
        for Accepted { write, taken } in accepted {
            let Some(Taken { seq, .. }) = *taken else { continue };
            match &write.record {
                Record::Points { batch, .. } => state.apply_points(batch),
                Record::Commands { commands, .. } => {
                    if let Err(error) = state.apply_commands(commands, seq) {
                        // The same commands were applied to the same registry a moment ago.
                        tracing::error!(%error, "a checked command did not apply");
                    }
                }
                Record::Writers(_) | Record::Flushed(_) => {}
            }
        }
        state.applied_seq = durable_seq;
        if state.active.bytes() >= self.shared.config.flush_bytes {
            self.shared.flush_wanted.notify_one();
        }
    }

    /// A failed sync may show in what came after the group, which is itself durable.
    fn note_poison(&self) {
        if self.wal.is_poisoned() {
            self.shared.stop();
        }
    }

    fn failed(&self, error: WalError) -> StoreError {
        self.note_failure(&error);
        error.into()
    }

    /// After some failures of the log nothing may be acknowledged any more.
    fn note_failure(&self, error: &WalError) {
        if self.wal.is_poisoned() {
            tracing::error!(%error, "the log failed; the writer stops");
            self.shared.stop();
        }
    }
}

/// The same refusal for one more write of a group.
fn refusal(error: &StoreError) -> StoreError {
    match error {
        StoreError::Lease(LeaseError::Lost { reason }) => LeaseError::Lost { reason: reason.clone() }.into(),
        StoreError::Unrenewed { waited_secs } => StoreError::Unrenewed { waited_secs: *waited_secs },
        _ => StoreError::Stopped,
    }
}

/// Who sent a record as which number.
pub(crate) fn writer_of(record: &Record) -> Option<&WriterSequence> {
    match record {
        Record::Points { writer, .. } | Record::Commands { writer, .. } => writer.as_ref(),
        Record::Writers(_) | Record::Flushed(_) => None,
    }
}

fn refuse(group: Vec<Write>, error: impl Fn() -> StoreError) {
    group.into_iter().for_each(|write| drop(write.reply.send(Err(error()))));
}
