//! The lock of the one writer: an advisory lock on a file, which the system releases when the process ends in
//! whatever way. The content of the file only serves the message that a second writer sees.

use std::io;
use std::path::Path;

use thiserror::Error;

use crate::disk::{Access, Disk, DiskLock, is_full};

/// The lake cannot be locked for writing.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process writes.
    #[error("the lake is being written by {owner}; stop it, or send your writes to it (--url)")]
    Held {
        /// Who holds the lock.
        owner: String,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// The lock file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// Bytes of the lock file that are shown to a second writer.
const SHOWN_BYTES: usize = 1_000;

/// Held as long as the lake is open for writing.
#[derive(Debug)]
pub(crate) struct WriterLock {
    lock: Box<dyn DiskLock>,
    path: String,
}

impl WriterLock {
    /// Takes the lock or says who holds it.
    ///
    /// # Errors
    /// When another process holds it, or the file cannot be made.
    pub(crate) fn acquire(disk: &dyn Disk, path: &Path, owner: &str) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: path.display().to_string(), source };
        let lock = match disk.lock(path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let owner = owner_of(disk, path).unwrap_or_else(|| "another process".to_owned());
                return Err(LockError::Held { owner });
            }
            Err(error) => return Err(io(error)),
        };
        fail::fail_point!("lock-taken");
        let mut lock = Self { lock, path: path.display().to_string() };
        match lock.describe(owner) {
            // The lake must open on a full disk; only a message is poorer for it.
            Err(LockError::Io { source, .. }) if is_full(&source) => {}
            other => other?,
        }
        Ok(lock)
    }

    /// Says who holds the lock, in the words that a second writer sees.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn describe(&mut self, owner: &str) -> Result<(), LockError> {
        let text = format!("{owner} (process {})\n", std::process::id());
        self.lock.describe(&text).map_err(|source| LockError::Io { path: self.path.clone(), source })
    }
}

fn owner_of(disk: &dyn Disk, path: &Path) -> Option<String> {
    let mut bytes = vec![0; SHOWN_BYTES];
    let count = disk.open(path, Access::Read).and_then(|file| file.read_at(0, &mut bytes)).ok()?;
    let owner = std::str::from_utf8(bytes.get(..count)?).ok()?.trim();
    (!owner.is_empty()).then(|| owner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{FaultyDisk, RealDisk};

    #[test]
    fn a_second_writer_is_told_who_holds_the_lake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("writer.lock");
        let first = WriterLock::acquire(&RealDisk, &path, "runlake serve on 127.0.0.1:7070").unwrap();
        let error = WriterLock::acquire(&RealDisk, &path, "other").unwrap_err().to_string();
        assert!(error.contains("runlake serve on 127.0.0.1:7070"), "{error}");
        drop(first);
        WriterLock::acquire(&RealDisk, &path, "other").unwrap();
    }

    #[test]
    fn the_lock_is_taken_on_a_full_disk_and_lost_with_the_power() {
        let disk = FaultyDisk::new();
        disk.set_capacity(Some(0));
        let path = Path::new("/writer.lock");
        let first = WriterLock::acquire(&disk, path, "me").unwrap();
        assert!(matches!(WriterLock::acquire(&disk, path, "you"), Err(LockError::Held { .. })));
        disk.crash(1);
        let second = WriterLock::acquire(&disk, path, "you").unwrap();
        drop(first);
        assert!(matches!(WriterLock::acquire(&disk, path, "me"), Err(LockError::Held { .. })));
        drop(second);
    }
}
