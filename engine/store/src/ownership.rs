//! What makes this process the one writer of its lake: a lock on a file, and on an object store also a lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Result, StoreError};
use crate::lease::{Holder, Lease};
use crate::lock::WriterLock;

/// How long a write waits for a renewal of the lease before its writer is told to send it again.
const WAIT_FOR_RENEWAL: Duration = Duration::from_secs(10);
/// How often a waiting write looks.
const LOOK: Duration = Duration::from_millis(20);

/// Held as long as the lake is open for writing.
#[derive(Debug)]
pub(crate) struct Ownership {
    /// Of the lake's folder, or of the state folder.
    pub(crate) lock: WriterLock,
    /// On an object store.
    pub(crate) lease: Option<Lease>,
}

impl Ownership {
    /// What the writer asks before it acknowledges.
    pub(crate) fn guard(&self) -> Guard {
        Guard { holder: self.lease.as_ref().map(Lease::holder) }
    }

    /// Says who writes, in the words that a second writer sees.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub(crate) fn describe(&mut self, owner: &str) -> Result<()> {
        self.lock.describe(owner)?;
        if let Some(lease) = &self.lease {
            lease.holder().describe(&named(owner));
        }
        Ok(())
    }

    /// Gives everything back.
    pub(crate) async fn release(self) {
        if let Some(lease) = self.lease {
            lease.release().await;
        }
        drop(self.lock);
    }
}

/// The owner with its process and machine: a lease is seen from other machines.
pub(crate) fn named(owner: &str) -> String {
    let machine = crate::lease::machine_name();
    let host = machine.split(' ').next().unwrap_or_default();
    format!("{owner} (process {} on {host})", std::process::id())
}

/// Whether this process still is the writer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    holder: Option<Arc<Holder>>,
}

impl Guard {
    /// Why this process is no longer the writer, when it is not.
    pub(crate) fn lost(&self) -> Option<StoreError> {
        Some(self.holder.as_ref()?.lost()?.into())
    }

    /// Whether the lake is on an object store, and another machine may take it over.
    pub(crate) fn is_remote(&self) -> bool {
        self.holder.is_some()
    }

    /// Whether another process took the lake over.
    pub(crate) fn is_lost(&self) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.is_lost())
    }

    /// Notes that another writer was met.
    pub(crate) fn note_lost(&self, reason: String) {
        if let Some(holder) = &self.holder {
            holder.note_lost(reason);
        }
    }

    /// Returns when the lease is known to be held at this moment, so that what was seen before is still the lake's.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub(crate) async fn wait_here(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            match self.look(start)? {
                true => return Ok(()),
                false => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Whether the lease is held for sure; `false` while that is not known.
    fn look(&self, start: Instant) -> Result<bool> {
        let Some(holder) = &self.holder else { return Ok(true) };
        if let Some(lost) = holder.lost() {
            return Err(lost.into());
        }
        if !holder.is_fresh() && start.elapsed() > WAIT_FOR_RENEWAL {
            return Err(StoreError::Unrenewed { waited_secs: start.elapsed().as_secs() });
        }
        Ok(holder.is_fresh())
    }

    /// Returns when a write may be acknowledged.
    ///
    /// # Errors
    /// When the lease is lost, or was not renewed within [`WAIT_FOR_RENEWAL`].
    pub(crate) fn wait(&self) -> Result<()> {
        let start = Instant::now();
        while !self.look(start)? {
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}
