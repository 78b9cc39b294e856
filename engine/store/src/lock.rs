//! The lock of the one writer: an advisory lock on a file, which the system releases when the process ends in
//! whatever way. The content of the file only serves the message that a second writer sees.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use thiserror::Error;

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

/// Held as long as the lake is open for writing.
#[derive(Debug)]
pub(crate) struct WriterLock {
    file: File,
    path: String,
}

impl WriterLock {
    /// Takes the lock or says who holds it.
    ///
    /// # Errors
    /// When another process holds it, or the file cannot be made.
    pub(crate) fn acquire(path: &Path, owner: &str) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: path.display().to_string(), source };
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let read = file.take(1_000).read_to_string(&mut owner);
                let known = read.is_ok() && !owner.trim().is_empty();
                let owner = if known { owner.trim().to_owned() } else { "another process".to_owned() };
                return Err(LockError::Held { owner });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut lock = Self { file, path: path.display().to_string() };
        lock.describe(owner)?;
        Ok(lock)
    }

    /// Says who holds the lock, in the words that a second writer sees.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn describe(&mut self, owner: &str) -> Result<(), LockError> {
        let Self { file, path } = self;
        let io = |source| LockError::Io { path: path.clone(), source };
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{owner} (process {})", std::process::id()).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_told_who_holds_the_lake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("writer.lock");
        let first = WriterLock::acquire(&path, "runlake serve on 127.0.0.1:7070").unwrap();
        let error = WriterLock::acquire(&path, "other").unwrap_err().to_string();
        assert!(error.contains("runlake serve on 127.0.0.1:7070"), "{error}");
        drop(first);
        WriterLock::acquire(&path, "other").unwrap();
    }
}
