//! Temporary files of statements: without a name, so that nothing of them is left however the process ends, and bounded
//! for one statement and for all together.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SpillFile, SpillWriter, TempFileFactory};
use futures::Stream;
use parking_lot::Mutex;

use super::stop::Stop;
use crate::error::QueryError;

/// Bytes that are read back at once.
const CHUNK_BYTES: usize = 128 << 10;

/// The temporary files of all statements.
#[derive(Debug)]
pub(crate) struct SpillSpace {
    folder: PathBuf,
    limit: u64,
    used: AtomicU64,
    files: AtomicUsize,
    written: AtomicU64,
}

impl SpillSpace {
    /// At most `limit` bytes in the system's folder for temporary files.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            folder: std::env::temp_dir(),
            limit,
            used: AtomicU64::new(0),
            files: AtomicUsize::new(0),
            written: AtomicU64::new(0),
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes in files that are there now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Files that are there now.
    pub(crate) fn files(&self) -> usize {
        self.files.load(Ordering::Relaxed)
    }

    /// Bytes written since the start.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// The temporary files of one statement.
#[derive(Debug)]
pub(crate) struct StatementSpill {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    all: Arc<SpillSpace>,
    stop: Arc<Stop>,
    limit: u64,
    used: AtomicU64,
    written: AtomicU64,
}

impl StatementSpill {
    pub(crate) fn new(all: Arc<SpillSpace>, limit: u64, stop: Arc<Stop>) -> Self {
        let (used, written) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { account: Arc::new(Account { all, stop, limit, used, written }) }
    }

    /// Bytes that the statement has written.
    pub(crate) fn written(&self) -> u64 {
        self.account.written.load(Ordering::Relaxed)
    }
}

impl TempFileFactory for StatementSpill {
    fn create_temp_file(&self, description: &str) -> Result<Arc<dyn SpillFile>> {
        if let Some(cause) = self.account.stop.cause() {
            return Err(DataFusionError::External(Box::new(cause)));
        }
        let folder = &self.account.all.folder;
        let file = tempfile::tempfile_in(folder).map_err(|error| {
            DataFusionError::External(Box::new(QueryError::Spill {
                message: format!("no temporary file in {} for {description}: {error}", folder.display()),
            }))
        })?;
        self.account.all.files.fetch_add(1, Ordering::Relaxed);
        let account = Arc::clone(&self.account);
        Ok(Arc::new(Spilled(Arc::new(Contents { file: Mutex::new((file, 0)), account }))))
    }
}

/// A file without a name, gone with its last user.
struct Contents {
    /// The file, and how long it is.
    file: Mutex<(File, u64)>,
    account: Arc<Account>,
}

impl Contents {
    fn length(&self) -> u64 {
        self.file.lock().1
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let Account { all, stop, limit, used, written } = &*self.account;
        let refuse = |cause: QueryError| {
            // The statement cannot go on without its file, and the text of an I/O error loses what it was.
            stop.cancel(cause.clone());
            Err(io::Error::other(cause))
        };
        if let Some(cause) = stop.cause() {
            return Err(io::Error::other(cause));
        }
        let count = bytes.len() as u64;
        if !take(used, count, *limit) {
            let message = format!("the statement needs more than its {} MiB of temporary files", limit >> 20);
            return refuse(QueryError::Spill { message });
        }
        if !take(&all.used, count, all.limit) {
            used.fetch_sub(count, Ordering::Relaxed);
            let message = format!(
                "all statements together need more than their {} MiB of temporary files",
                all.limit >> 20
            );
            return refuse(QueryError::Spill { message });
        }
        let mut file = self.file.lock();
        let (file, length) = &mut *file;
        let done = file.seek(SeekFrom::Start(*length)).and_then(|_| file.write_all(bytes));
        if let Err(error) = done {
            used.fetch_sub(count, Ordering::Relaxed);
            all.used.fetch_sub(count, Ordering::Relaxed);
            let message = format!("a temporary file in {} cannot be written: {error}", all.folder.display());
            return refuse(QueryError::Spill { message });
        }
        *length += count;
        written.fetch_add(count, Ordering::Relaxed);
        all.written.fetch_add(count, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn read(&self, at: u64) -> io::Result<Vec<u8>> {
        let mut file = self.file.lock();
        let (file, length) = &mut *file;
        let count = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let mut bytes = vec![0; count];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn take(used: &AtomicU64, count: u64, limit: u64) -> bool {
    let within = |used: u64| used.checked_add(count).filter(|total| *total <= limit);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
}

impl Drop for Contents {
    fn drop(&mut self) {
        let length = self.length();
        self.account.used.fetch_sub(length, Ordering::Relaxed);
        self.account.all.used.fetch_sub(length, Ordering::Relaxed);
        self.account.all.files.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Spilled(Arc<Contents>);

impl SpillFile for Spilled {
    fn size(&self) -> Option<u64> {
        Some(self.0.length())
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<bytes::Bytes>> + Send>>> {
        let begin = (Arc::clone(&self.0), 0_u64);
        Ok(Box::pin(futures::stream::try_unfold(begin, |(contents, at)| async move {
            let reader = Arc::clone(&contents);
            let chunk = tokio::task::spawn_blocking(move || reader.read(at)).await;
            let chunk = chunk.map_err(|error| DataFusionError::External(Box::new(error)))??;
            let next = at + chunk.len() as u64;
            Ok((!chunk.is_empty()).then(|| (bytes::Bytes::from(chunk), (contents, next))))
        })))
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(Appending(Arc::clone(&self.0))))
    }
}

struct Appending(Arc<Contents>);

impl Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SpillWriter for Appending {
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    fn statement(all: &Arc<SpillSpace>, limit: u64) -> StatementSpill {
        StatementSpill::new(Arc::clone(all), limit, Arc::default())
    }

    #[tokio::test]
    async fn what_was_written_is_read_and_gone_with_its_last_user() {
        let all = Arc::new(SpillSpace::new(10 << 20));
        let spill = statement(&all, 10 << 20);
        let file = spill.create_temp_file("a test").unwrap();
        let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut writer = file.open_writer().unwrap();
        for part in text.chunks(7_001) {
            writer.write_all(part).unwrap();
        }
        writer.finish().unwrap();
        drop(writer);
        assert_eq!(file.size(), Some(text.len() as u64));
        assert_eq!((all.used(), all.files(), spill.written()), (1_200_000, 1, 1_200_000));
        let stream = file.read_stream().unwrap();
        drop(file);
        assert_eq!(all.files(), 1, "a reader keeps it");
        let chunks: Vec<bytes::Bytes> = stream.try_collect().await.unwrap();
        assert_eq!(chunks.concat(), text);
        assert_eq!((all.used(), all.files(), all.written()), (0, 0, 1_200_000));
    }

    #[test]
    fn both_limits_hold_and_name_themselves() {
        let all = Arc::new(SpillSpace::new(1_500));
        let (first, second) = (statement(&all, 1_000), statement(&all, 1_000));
        let write = |of: &StatementSpill, count: usize| {
            let file = of.create_temp_file("a test").unwrap();
            let written = file.open_writer().unwrap().write(&vec![7; count]);
            (file, written.map_err(|error| error.to_string()))
        };
        let (_kept, written) = write(&first, 1_000);
        assert_eq!(written, Ok(1_000));
        let (_none, refused) = write(&first, 1);
        assert!(refused.unwrap_err().contains("the statement needs more"));
        assert_eq!(first.account.stop.cause().unwrap().code(), "sql.spill");
        let (_other, refused) = write(&second, 501);
        assert!(refused.unwrap_err().contains("all statements together"));
        assert_eq!(all.used(), 1_000);
    }
}
