//! The writer of the log.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{Result, WalError};
use super::file::MAX_FILE_BYTES;
use super::format::{self, FILE_HEADER_BYTES, FORMAT, FRAME_HEADER_BYTES, FileHeader, FrameHeader};
use super::record::Record;
use super::recover::{self, KnownFile, Recovered};
use crate::disk::{Access, Disk, DiskFile, is_full};

/// Flushed generations that stay, so that a damaged last commit of a table can be rebuilt.
const KEPT_GENERATIONS: usize = 2;

/// How a log is written. [`WalConfig::new`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalConfig {
    /// The folder of the log files; made when it is not there.
    pub directory: PathBuf,
    /// The identity of the lake: files of another lake are refused.
    pub lake_id: [u8; 16],
    /// The epoch of this writer, at least that of every writer before.
    pub epoch: u64,
    /// The highest number that any table holds, 0 for a new lake. A log that ends before it is refused; a log
    /// without files goes on after it.
    pub committed_seq: u64,
    /// The size of a log file, reserved before its first frame: 64 MiB.
    pub file_bytes: u64,
    /// The largest payload of a record: 16 MiB.
    pub frame_bytes: u64,
    /// The size of all log files from which on records are refused: 4 GiB.
    pub total_bytes: u64,
    /// Records are refused below this much free space, or 2 % of the disk when that is less, until there is twice as
    /// much: 512 MiB.
    pub free_bytes: u64,
}

impl WalConfig {
    /// The defaults.
    pub fn new(directory: impl Into<PathBuf>, lake_id: [u8; 16], epoch: u64) -> Self {
        Self {
            directory: directory.into(),
            lake_id,
            epoch,
            committed_seq: 0,
            file_bytes: 64 << 20,
            frame_bytes: 16 << 20,
            total_bytes: 4 << 30,
            free_bytes: 512 << 20,
        }
    }

    fn check(&self) -> Result<()> {
        let overhead = (FILE_HEADER_BYTES + FRAME_HEADER_BYTES + format::ALIGNMENT) as u64;
        let what = if self.file_bytes > MAX_FILE_BYTES {
            format!("log files of {} bytes, at most {MAX_FILE_BYTES} are possible", self.file_bytes)
        } else if self.frame_bytes.saturating_add(overhead) > self.file_bytes {
            format!(
                "a record of {} bytes does not fit into a log file of {}",
                self.frame_bytes, self.file_bytes
            )
        } else if self.total_bytes < self.file_bytes {
            format!("{} bytes in all are less than one log file of {}", self.total_bytes, self.file_bytes)
        } else {
            return Ok(());
        };
        Err(WalError::Configuration { what })
    }
}

/// The open end of the log: appends records and makes them durable. Every writer begins a file of its own.
///
/// [`Wal::append`] only keeps a record in memory; [`Wal::sync`] makes all that was appended durable. Only then may
/// it be acknowledged or shown to anyone.
#[derive(Debug)]
pub struct Wal {
    config: WalConfig,
    disk: Arc<dyn Disk>,
    /// All files with a header, the oldest first.
    files: Vec<KnownFile>,
    current: Option<Current>,
    spare: Option<u64>,
    parts: Vec<Part>,
    /// An empty buffer, kept for its memory.
    buffer: Vec<u8>,
    next_seq: u64,
    durable_seq: u64,
    /// The highest number that was written; above `durable_seq` only after [`Wal::write`].
    written_seq: u64,
    /// Whether the next record begins a new file.
    rotating: bool,
    low_space: bool,
    /// Whether no later frame or file proves that the last frames were synced.
    unproven: bool,
    /// Up to where tables were flushed, the last few times.
    flushed: Vec<u64>,
    poisoned: Option<String>,
}

/// The file that takes frames; its facts are the last of `Wal::files`.
#[derive(Debug)]
struct Current {
    file: Box<dyn DiskFile>,
    seed: u32,
}

/// Frames that wait for [`Wal::sync`], all for one file.
#[derive(Debug)]
struct Part {
    number: u64,
    /// Whether the buffer begins with the header of a new file.
    is_new: bool,
    offset: u64,
    seed: u32,
    first_seq: u64,
    last_seq: u64,
    buffer: Vec<u8>,
}

impl Wal {
    /// Opens a log, or makes one: reads and judges all, then cuts off what was never acknowledged.
    ///
    /// # Errors
    /// Damage to acknowledged data stops the open and changes nothing; so does a log of another lake, of a newer
    /// version or of a higher epoch. A full disk does not.
    pub fn open(config: WalConfig, disk: Arc<dyn Disk>) -> Result<(Self, Recovered)> {
        Self::open_telling(config, disk, &mut |_, _| {})
    }

    /// [`Self::open`]; `told` hears how many of how many files are judged.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_telling(
        config: WalConfig,
        disk: Arc<dyn Disk>,
        told: &mut dyn FnMut(usize, usize),
    ) -> Result<(Self, Recovered)> {
        config.check()?;
        let directory = &config.directory;
        disk.create_directories(directory).map_err(|source| WalError::Write {
            file: directory.clone(),
            offset: 0,
            source,
        })?;
        let mut analysis = recover::analyse(&*disk, directory, &config.lake_id, config.committed_seq, told)?;
        if let Some(last) = analysis.files.last()
            && last.epoch > config.epoch
        {
            let file = format::file_path(directory, last.number);
            return Err(WalError::Fenced { file, found: last.epoch, own: config.epoch });
        }
        let last_seq = analysis.last_seq.unwrap_or(config.committed_seq);
        if last_seq < config.committed_seq {
            let (directory, committed_seq) = (directory.clone(), config.committed_seq);
            return Err(WalError::EndsEarly { directory, last_seq, committed_seq });
        }
        let unproven = analysis.has_unproven();
        let torn = recover::settle(&*disk, directory, &mut analysis)?;
        let recovered = Recovered::new(
            Arc::clone(&disk),
            directory.clone(),
            config.lake_id,
            &analysis.files,
            last_seq,
            torn,
        );
        let mut wal = Self {
            disk,
            files: analysis.files,
            current: None,
            spare: analysis.spare,
            parts: Vec::new(),
            buffer: Vec::new(),
            next_seq: last_seq.saturating_add(1),
            durable_seq: last_seq,
            written_seq: last_seq,
            rotating: true,
            low_space: false,
            unproven,
            flushed: Vec::new(),
            poisoned: None,
            config,
        };
        wal.make_spare();
        wal.check_poison()?;
        Ok((wal, recovered))
    }

    /// Takes a record into memory and returns its number. Never touches the disk beyond asking for its free space.
    ///
    /// # Errors
    /// [`WalError::RecordTooLarge`], [`WalError::Full`] and [`WalError::DiskFull`] refuse this record and change
    /// nothing; [`WalError::Poisoned`] after a failed sync.
    pub fn append(&mut self, record: &Record) -> Result<u64> {
        self.check_poison()?;
        self.check_space()?;
        let seq = self.next_seq;
        let (number, position, seed) = self.place();
        let mut header = FrameHeader { seq, durable_seq: self.durable_seq, kind: record.kind() };
        // The frame is made where it most likely belongs. When it does not fit there it is made again.
        if let Some((part, start)) = position {
            let capacity = self.capacity(number);
            let part = &mut self.parts[part];
            if part.is_new {
                header.durable_seq = header.durable_seq.max(part.first_seq - 1);
            }
            let payload = format::write_frame(header, seed, &mut part.buffer, |out| record.encode(out));
            let end = part.offset + part.buffer.len() as u64;
            if payload as u64 > self.config.frame_bytes {
                part.buffer.truncate(start);
                self.drop_empty_part();
                return Err(self.too_large(payload));
            }
            if end <= capacity {
                part.last_seq = seq;
                self.next_seq += 1;
                return Ok(seq);
            }
            part.buffer.truncate(start);
            self.drop_empty_part();
        }
        // A new file is begun only after the one before was synced.
        header.durable_seq = seq - 1;
        self.append_to_new_file(record, header)
    }

    fn append_to_new_file(&mut self, record: &Record, header: FrameHeader) -> Result<u64> {
        let planned = self.total_bytes() + self.config.file_bytes;
        if planned > self.config.total_bytes {
            return Err(WalError::Full { bytes: planned, limit: self.config.total_bytes });
        }
        let number = self.last_number() + 1;
        let seed = self.seed(number);
        let mut buffer = std::mem::take(&mut self.buffer);
        let file_header = FileHeader {
            format: FORMAT,
            lake_id: self.config.lake_id,
            epoch: self.config.epoch,
            number,
            first_seq: header.seq,
            previous_seq: header.seq - 1,
            file_bytes: self.config.file_bytes,
        };
        buffer.extend_from_slice(&file_header.encode());
        let payload = format::write_frame(header, seed, &mut buffer, |out| record.encode(out));
        if payload as u64 > self.config.frame_bytes {
            self.recycle(buffer);
            return Err(self.too_large(payload));
        }
        let seq = header.seq;
        self.parts.push(Part {
            number,
            is_new: true,
            offset: 0,
            seed,
            first_seq: seq,
            last_seq: seq,
            buffer,
        });
        self.rotating = false;
        self.next_seq += 1;
        Ok(seq)
    }

    /// Where the next frame goes, as long as it fits: the number of the file, the waiting part and the place in its
    /// buffer, and the seed. No part when a new file must begin.
    fn place(&mut self) -> (u64, Option<(usize, usize)>, u32) {
        if self.rotating {
            return (0, None, 0);
        }
        if let Some(part) = self.parts.last() {
            return (part.number, Some((self.parts.len() - 1, part.buffer.len())), part.seed);
        }
        match (&self.current, self.files.last()) {
            (Some(current), Some(file)) => {
                let (number, seed) = (file.number, current.seed);
                let buffer = std::mem::take(&mut self.buffer);
                let (first_seq, last_seq) = (self.next_seq, file.last_seq);
                let offset = file.end;
                self.parts.push(Part { number, is_new: false, offset, seed, first_seq, last_seq, buffer });
                (number, Some((0, 0)), seed)
            }
            _ => (0, None, 0),
        }
    }

    fn drop_empty_part(&mut self) {
        if self.parts.last().is_some_and(|part| part.buffer.is_empty())
            && let Some(part) = self.parts.pop()
        {
            self.recycle(part.buffer);
        }
    }

    /// Writes and syncs all that was appended: usually one write and one `fdatasync`. Returns the highest durable
    /// number.
    ///
    /// # Errors
    /// Everything above [`Wal::durable_seq`] is then void: it must not be acknowledged, and its numbers are given
    /// out again. After [`WalError::DiskFull`] and [`WalError::Write`] the log goes on with the next record; after a
    /// failed sync it is poisoned and the process should end.
    pub fn sync(&mut self) -> Result<u64> {
        self.write_parts(true)?;
        self.sync_written()?;
        Ok(self.durable_seq)
    }

    /// Writes all that was appended and leaves the sync to a later [`Wal::sync`]: it survives the end of this process
    /// at any moment, but not yet a power cut. Returns the highest number that was written.
    ///
    /// # Errors
    /// As [`Wal::sync`], for everything above what was written before.
    pub fn write(&mut self) -> Result<u64> {
        self.write_parts(false)?;
        Ok(self.written_seq)
    }

    fn write_parts(&mut self, sync: bool) -> Result<()> {
        self.check_poison()?;
        for part in std::mem::take(&mut self.parts) {
            if let Err(error) = self.write_part(&part, sync) {
                self.parts.clear();
                self.next_seq = self.written_seq + 1;
                self.rotating = self.current.is_none();
                return Err(error);
            }
            self.recycle(part.buffer);
        }
        Ok(())
    }

    /// Syncs what [`Wal::write`] has left.
    fn sync_written(&mut self) -> Result<()> {
        if self.written_seq == self.durable_seq {
            return Ok(());
        }
        if let Some(current) = &mut self.current
            && let Err(source) = current.file.sync_data()
        {
            let path = format::file_path(&self.config.directory, self.last_number());
            return Err(self.sync_failed(path, source));
        }
        self.durable_seq = self.written_seq;
        Ok(())
    }

    fn write_part(&mut self, part: &Part, sync: bool) -> Result<()> {
        let path = format::file_path(&self.config.directory, part.number);
        if part.is_new {
            // A file is followed by another only when all of it is durable.
            self.sync_written()?;
            let file = self.start_file(part.number)?;
            self.current = Some(Current { file, seed: part.seed });
        }
        let Some(current) = &mut self.current else {
            return Err(self.poison(format!("no log file is open for record {}", part.first_seq)));
        };
        fail::fail_point!("wal-before-write");
        let end = part.offset + part.buffer.len() as u64;
        if let Err(source) = current.file.write_at(part.offset, &part.buffer) {
            return Err(self.undo(part, end, source));
        }
        if sync || part.is_new {
            fail::fail_point!("wal-before-sync");
            if let Err(source) = current.file.sync_data() {
                return Err(self.sync_failed(path, source));
            }
            fail::fail_point!("wal-after-sync");
            self.durable_seq = part.last_seq;
        }
        self.written_seq = part.last_seq;
        self.unproven = true;
        if part.is_new {
            self.files.push(KnownFile {
                number: part.number,
                epoch: self.config.epoch,
                first_seq: part.first_seq,
                last_seq: part.last_seq,
                end,
                length: self.config.file_bytes,
                file_bytes: self.config.file_bytes,
            });
            self.after_start();
        } else if let Some(file) = self.files.last_mut() {
            file.last_seq = part.last_seq;
            file.end = end;
        }
        Ok(())
    }

    /// Undoes a failed write, so that nothing follows a broken frame.
    fn undo(&mut self, part: &Part, end: u64, source: io::Error) -> WalError {
        let path = format::file_path(&self.config.directory, part.number);
        let full = is_full(&source);
        let Some(current) = &mut self.current else {
            return self.poison("no log file is open".into());
        };
        fail::fail_point!("wal-before-undo", |_| WalError::Poisoned { reason: "fail point".into() });
        let undone = recover::erase(&mut *current.file, part.offset, end);
        let sealed = match undone.and_then(|sealed| current.file.sync_all().map(|()| sealed)) {
            Ok(sealed) => {
                self.durable_seq = self.written_seq;
                sealed
            }
            Err(error) => {
                return self.sync_failed(path, error);
            }
        };
        if part.is_new {
            // Without a header it is a spare file again.
            self.current = None;
            self.spare = Some(part.number);
        } else if sealed {
            self.current = None;
            if let Some(file) = self.files.last_mut() {
                file.length = part.offset;
            }
        }
        if full {
            return WalError::DiskFull { path, what: source.to_string() };
        }
        WalError::Write { file: path, offset: part.offset, source }
    }

    /// Opens the spare file, or makes the file now. Its length and name are durable when this returns.
    fn start_file(&mut self, number: u64) -> Result<Box<dyn DiskFile>> {
        if self.spare == Some(number) {
            let path = format::file_path(&self.config.directory, number);
            let mut file = self
                .disk
                .open(&path, Access::ReadWrite)
                .map_err(|source| WalError::Read { file: path.clone(), source })?;
            let length = file.length().map_err(|source| WalError::Read { file: path.clone(), source })?;
            if length != self.config.file_bytes {
                self.reserve(&mut *file, &path)?;
            }
            self.spare = None;
            return Ok(file);
        }
        self.create_file(number)
    }

    fn create_file(&mut self, number: u64) -> Result<Box<dyn DiskFile>> {
        let path = format::file_path(&self.config.directory, number);
        fail::fail_point!("wal-before-create");
        let created = match self.disk.create(&path) {
            // An earlier attempt may have left it behind, without a header.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.open(&path, Access::ReadWrite)
            }
            other => other,
        };
        let mut file = created.map_err(|source| self.create_failed(path.clone(), source))?;
        if let Err(error) = self.reserve(&mut *file, &path) {
            if self.poisoned.is_none() {
                // It holds nothing; if it stays it is taken up again.
                let _ = self.disk.remove(&path);
            }
            return Err(error);
        }
        let directory = self.config.directory.clone();
        match self.disk.sync_directory(&directory) {
            Ok(()) => Ok(file),
            Err(source) => Err(self.sync_failed(directory, source)),
        }
    }

    fn reserve(&mut self, file: &mut dyn DiskFile, path: &std::path::Path) -> Result<()> {
        let length = self.config.file_bytes;
        // A file left behind by a writer with larger files is cut, so that its header tells its length.
        let reserved =
            file.length().and_then(|old| if old > length { file.truncate(length) } else { Ok(()) });
        if let Err(source) = reserved.and_then(|()| file.preallocate(length)) {
            return Err(self.create_failed(path.to_owned(), source));
        }
        file.sync_all().map_err(|source| self.sync_failed(path.to_owned(), source))
    }

    /// After the first sync of a file: the one before gives back its unused end, and a spare one is made.
    fn after_start(&mut self) {
        if let [.., before, _] = &mut self.files[..]
            && before.length > before.end
        {
            let path = format::file_path(&self.config.directory, before.number);
            let shortened = self.disk.open(&path, Access::ReadWrite).and_then(|mut f| f.truncate(before.end));
            // Only space is at stake, and the next restart finds the file as it is.
            if shortened.is_ok() {
                before.length = before.end;
            }
        }
        self.make_spare();
    }

    /// Makes the file after the last one ahead of its use. It also shows that the last one was synced.
    fn make_spare(&mut self) {
        let Some(number) = self.files.last().map(|file| file.number + 1) else { return };
        match self.create_file(number) {
            Ok(_) => self.spare = Some(number),
            // A failed sync has poisoned the log; a full disk shows again when the file is needed.
            Err(error) => tracing::warn!(%error, "no spare log file could be made"),
        }
    }

    /// Proves that everything durable was synced, with one more record that stands for nothing. Called when a writer
    /// ends: damage to its last records is then told from a torn write.
    ///
    /// # Errors
    /// As [`Wal::append`] and [`Wal::sync`]; nothing that was durable is lost.
    pub fn prove_end(&mut self) -> Result<()> {
        if !self.unproven {
            return Ok(());
        }
        self.append(&Record::Writers(Vec::new()))?;
        self.sync()?;
        self.unproven = false;
        Ok(())
    }

    /// Lets the next record begin a new file, so that all records so far can be removed by whole files later.
    pub fn rotate(&mut self) -> Result<()> {
        self.check_poison()?;
        if self.parts.last().is_some_and(|part| !part.buffer.is_empty()) || self.current.is_some() {
            self.rotating = true;
        }
        Ok(())
    }

    /// Takes over from the writer before how far the last flushes got, so that log files go away also when no process
    /// lives for long. `seqs` are numbers up to which some table was flushed; a few of the highest are kept.
    pub fn note_flushed(&mut self, seqs: &BTreeSet<u64>) {
        let durable_seq = self.durable_seq;
        let newest = seqs.iter().rev().copied().filter(|seq| *seq <= durable_seq).take(KEPT_GENERATIONS + 1);
        self.flushed = newest.collect();
        self.flushed.reverse();
    }

    /// Removes whole files of which every record has been flushed twice over: `seq` is the number up to which every
    /// table, re-read from a fresh snapshot, holds everything. The generations between the last three different
    /// numbers given here stay, also the newest file. Returns the number of files removed.
    ///
    /// # Errors
    /// Files are removed one by one from the oldest on; an error leaves the rest in place.
    pub fn remove_through(&mut self, seq: u64) -> Result<usize> {
        self.check_poison()?;
        let seq = seq.min(self.durable_seq);
        if self.flushed.last().is_none_or(|last| *last < seq) {
            self.flushed.push(seq);
        }
        let Some(index) = self.flushed.len().checked_sub(KEPT_GENERATIONS + 1) else { return Ok(0) };
        let limit = self.flushed[index];
        self.flushed.drain(..index);
        let mut removed = 0;
        while self.files.len() > 1 && self.files[0].last_seq <= limit {
            let path = format::file_path(&self.config.directory, self.files[0].number);
            fail::fail_point!("wal-before-remove");
            if let Err(source) = self.disk.remove(&path)
                && source.kind() != io::ErrorKind::NotFound
            {
                return Err(WalError::Write { file: path, offset: 0, source });
            }
            // One by one, so that a power cut cannot leave a gap.
            let directory = self.config.directory.clone();
            if let Err(source) = self.disk.sync_directory(&directory) {
                return Err(self.sync_failed(directory, source));
            }
            self.files.remove(0);
            removed += 1;
        }
        Ok(removed)
    }

    /// Whether [`Wal::write`] has left something for [`Wal::sync`].
    pub fn has_unsynced(&self) -> bool {
        self.written_seq > self.durable_seq
    }

    /// The highest number that was written, 0 when there is none: what [`Wal::sync`] or [`Wal::write`] has kept also
    /// when it failed later on.
    pub fn written_seq(&self) -> u64 {
        self.written_seq
    }

    /// The highest number that is durable, 0 when there is none.
    pub fn durable_seq(&self) -> u64 {
        self.durable_seq
    }

    /// The number of the next record; the first is 1.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The number of the oldest record that is kept, or of the next one when there is none.
    pub fn first_seq(&self) -> u64 {
        self.files.first().map_or(self.durable_seq + 1, |file| file.first_seq)
    }

    /// The length of all log files, with those that records in memory will begin.
    pub fn total_bytes(&self) -> u64 {
        let files: u64 = self.files.iter().map(|file| file.length).sum();
        let planned = self.parts.iter().filter(|part| part.is_new).count() as u64;
        files + planned * self.config.file_bytes
    }

    /// Bytes that wait for [`Wal::sync`].
    pub fn pending_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.buffer.len() as u64).sum()
    }

    /// Whether a failure has ended this writer.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// The configuration.
    pub fn config(&self) -> &WalConfig {
        &self.config
    }

    fn seed(&self, number: u64) -> u32 {
        format::frame_seed(&self.config.lake_id, number)
    }

    /// The highest number of a file that has a header or will have one.
    fn last_number(&self) -> u64 {
        let waiting = self.parts.last().map(|part| part.number);
        waiting.or(self.files.last().map(|file| file.number)).unwrap_or(0)
    }

    /// The length of the file that a waiting part is for.
    fn capacity(&self, number: u64) -> u64 {
        self.files.last().filter(|file| file.number == number).map_or(self.config.file_bytes, |f| f.length)
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        if buffer.capacity() > self.buffer.capacity() {
            self.buffer = buffer;
        }
    }

    fn too_large(&self, payload: usize) -> WalError {
        WalError::RecordTooLarge { bytes: payload as u64, limit: self.config.frame_bytes }
    }

    fn check_poison(&self) -> Result<()> {
        match &self.poisoned {
            None => Ok(()),
            Some(reason) => Err(WalError::Poisoned { reason: reason.clone() }),
        }
    }

    /// Refuses records when space is low. Asked once for all records of one sync.
    fn check_space(&mut self) -> Result<()> {
        if !self.parts.is_empty() && !self.low_space {
            return Ok(());
        }
        let path = &self.config.directory;
        let space = self.disk.space(path).map_err(|source| WalError::Read { file: path.clone(), source })?;
        let mark = self.config.free_bytes.min(space.total / 50);
        let needed = if self.low_space { mark.saturating_mul(2) } else { mark };
        self.low_space = space.free < needed;
        if self.low_space {
            let what = format!("{} bytes are free, writing needs {needed}", space.free);
            return Err(WalError::DiskFull { path: path.clone(), what });
        }
        Ok(())
    }

    fn create_failed(&self, path: PathBuf, source: io::Error) -> WalError {
        if is_full(&source) {
            let what = format!("no room for a log file of {} bytes", self.config.file_bytes);
            return WalError::DiskFull { path, what };
        }
        WalError::Write { file: path, offset: 0, source }
    }

    fn sync_failed(&mut self, file: PathBuf, source: io::Error) -> WalError {
        self.poison(format!("cannot sync {}: {source}", file.display()));
        WalError::Sync { file, source }
    }

    fn poison(&mut self, reason: String) -> WalError {
        tracing::error!(reason, "the log is poisoned");
        self.poisoned = Some(reason.clone());
        WalError::Poisoned { reason }
    }
}
