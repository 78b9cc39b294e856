//! What a log held when it was opened, read ahead of who applies it: frames are checked and decoded on a thread of
//! their own while the records before are applied.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use model::WriterSequence;

use super::error::{Result, WalError};
use super::record::Record;
use super::recover::Records;

/// Records that are handed over together: few enough to be applied while they are in the cache.
const CHUNK_RECORDS: usize = 512;
/// Bytes of records that are handed over together.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that may wait.
const CHUNKS: usize = 4;
/// Below this the whole log is read faster than a thread starts.
const SHORT_BYTES: u64 = 1 << 20;

/// A record for recovery.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Replayed {
    /// A record as it was written.
    Whole(Record),
    /// Points that the tables hold already: only who sent them counts.
    Held(Option<WriterSequence>),
}

type Item = Result<(u64, Replayed)>;

/// The records of a log in order. Ends after the first error.
#[derive(Debug)]
pub(crate) struct Replay {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Direct {
        records: Records,
        held_seq: u64,
    },
    Ahead {
        chunk: std::vec::IntoIter<Item>,
        chunks: Option<Receiver<Vec<Item>>>,
        thread: Option<JoinHandle<()>>,
    },
}

impl Replay {
    /// Points of records up to `held_seq` are left out.
    pub(super) fn new(records: Records, held_seq: u64) -> Result<Self> {
        if records.bytes_left() < SHORT_BYTES {
            return Ok(Self { source: Source::Direct { records, held_seq } });
        }
        let (sender, chunks) = bounded(CHUNKS);
        let directory = records.directory().to_owned();
        let thread = std::thread::Builder::new()
            .name("runlake-replay".to_owned())
            .spawn(move || read(records, held_seq, &sender))
            .map_err(|source| WalError::Read { file: directory, source })?;
        let chunk = Vec::new().into_iter();
        Ok(Self { source: Source::Ahead { chunk, chunks: Some(chunks), thread: Some(thread) } })
    }
}

fn read(mut records: Records, held_seq: u64, sender: &Sender<Vec<Item>>) {
    loop {
        let start = records.bytes_left();
        let mut chunk = Vec::with_capacity(CHUNK_RECORDS);
        let mut more = true;
        while chunk.len() < CHUNK_RECORDS && start.saturating_sub(records.bytes_left()) < CHUNK_BYTES as u64 {
            match records.next_beyond(held_seq) {
                Some(item) => chunk.push(item),
                None => {
                    more = false;
                    break;
                }
            }
        }
        // Nobody listens any more when recovery has failed.
        if sender.send(chunk).is_err() || !more {
            return;
        }
    }
}

impl Iterator for Replay {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        match &mut self.source {
            Source::Direct { records, held_seq } => records.next_beyond(*held_seq),
            Source::Ahead { chunk, chunks, thread } => loop {
                if let Some(item) = chunk.next() {
                    return Some(item);
                }
                match chunks.as_ref()?.recv() {
                    Ok(next) => *chunk = next.into_iter(),
                    Err(_) => {
                        // A thread that died is not the end of the log.
                        if let Some(Err(panic)) = thread.take().map(JoinHandle::join) {
                            std::panic::resume_unwind(panic);
                        }
                        return None;
                    }
                }
            },
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Ahead { chunks, thread, .. } = self {
            // The thread must not go on reading files after whoever asked has given up.
            drop(chunks.take());
            if let Some(thread) = thread.take() {
                drop(thread.join());
            }
        }
    }
}
