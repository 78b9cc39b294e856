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
use model::{Command, PointBatch, WriterSequence};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::config::SyncPolicy;
use crate::error::{Result, StoreError};
use crate::flush::FlushInput;
use crate::lease::LeaseError;
use crate::registry::{Registry, RegistryError};
use crate::store::Shared;
use crate::wal::{Observation, Record, Wal, WalError, WriterWindow};

/// How long writers wait for a flush before they are refused.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(10);

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
    BeginFlush(oneshot::Sender<Result<FlushInput>>),
    /// Delete log files whose records are all in tables.
    Trim { through: u64, reply: oneshot::Sender<Result<()>> },
    /// End the thread.
    Stop,
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
        while self.shared.state.read().memtable_bytes() >= self.shared.config.hard_limit_bytes {
            self.shared.flush_wanted.notify_one();
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

    fn control(&mut self, request: Control) {
        // A receiver that is gone has stopped waiting; that is its own affair.
        match request {
            Control::BeginFlush(reply) => drop(reply.send(self.begin_flush())),
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
    fn begin_flush(&mut self) -> Result<FlushInput> {
        let last_seq = self.shared.state.read().applied_seq;
        self.rotate().map_err(|error| self.failed(error))?;
        let applied = self.wal.durable_seq();
        let mut state = self.shared.state.write();
        state.applied_seq = applied;
        if !state.active.is_empty() {
            let frozen = Arc::new(std::mem::take(&mut state.active));
            state.frozen.push_back(frozen);
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

    fn rotate(&mut self) -> Result<(), WalError> {
        self.wal.rotate()?;
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
        let mut accepted: Vec<(Write, bool)> = Vec::with_capacity(group.len());
        let mut replaced: Vec<(String, Option<WriterWindow>)> = Vec::new();
        let mut pending: Option<Registry> = None;
        for write in group {
            match self.take(&write, &mut pending, &mut replaced) {
                Ok(duplicate) => accepted.push((write, duplicate)),
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
        let durable_seq = match committed {
            Ok(durable_seq) => durable_seq,
            Err(error) => {
                // Nothing of this group is durable, so nothing of it may count as seen.
                for (client_id, window) in replaced.into_iter().rev() {
                    match window {
                        Some(window) => drop(self.windows.insert(client_id, window)),
                        None => drop(self.windows.remove(&client_id)),
                    }
                }
                let error = Arc::new(error);
                self.note_failure(&error);
                for (write, _) in accepted {
                    drop(write.reply.send(Err(StoreError::Wal(Arc::clone(&error)))));
                }
                return;
            }
        };
        self.apply(&accepted, durable_seq);
        // The writes are durable here; whether they are part of the lake is for whoever holds its lease to say.
        let own = self.shared.guard.wait();
        for (write, duplicate) in accepted {
            let acknowledged = Acknowledgement { durable_seq, duplicate };
            drop(write.reply.send(own.as_ref().map(|()| acknowledged).map_err(refusal)));
        }
    }

    /// Checks one write and appends it to the log's buffer; `true` when it was applied before.
    fn take(
        &mut self,
        write: &Write,
        pending: &mut Option<Registry>,
        replaced: &mut Vec<(String, Option<WriterWindow>)>,
    ) -> Result<bool> {
        let window = match writer_of(&write.record) {
            Some(writer) => match self.observe(writer)? {
                Some(window) => Some(window),
                None => return Ok(true),
            },
            None => None,
        };
        let fitting = match &write.record {
            Record::Points { batch, .. } => self.check_points(batch, pending.as_ref()),
            Record::Commands { commands, .. } => self.check_commands(commands, pending),
            Record::Writers(_) => Ok(None),
        };
        let registry = fitting?;
        self.wal.append(&write.record).map_err(|error| self.failed(error))?;
        if let Some(registry) = registry {
            *pending = Some(registry);
        }
        if let Some(window) = window {
            let client_id = window.client_id().to_owned();
            let before = self.windows.insert(client_id.clone(), window);
            replaced.push((client_id, before));
        }
        Ok(false)
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
            registry.apply(command, &mut |_| {})?;
        }
        Ok(Some(registry))
    }

    fn apply(&self, accepted: &[(Write, bool)], durable_seq: u64) {
        let mut state = self.shared.state.write();
        for (write, duplicate) in accepted {
            if *duplicate {
                continue;
            }
            match &write.record {
                Record::Points { batch, .. } => state.apply_points(batch),
                Record::Commands { commands, .. } => {
                    if let Err(error) = state.apply_commands(commands) {
                        // The same commands were applied to the same registry a moment ago.
                        tracing::error!(%error, "a checked command did not apply");
                    }
                }
                Record::Writers(_) => {}
            }
        }
        state.applied_seq = durable_seq;
        if state.active.bytes() >= self.shared.config.flush_bytes {
            self.shared.flush_wanted.notify_one();
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
        Record::Writers(_) => None,
    }
}

fn refuse(group: Vec<Write>, error: impl Fn() -> StoreError) {
    group.into_iter().for_each(|write| drop(write.reply.send(Err(error()))));
}
