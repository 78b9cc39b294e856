//! A local object store that survives a power cut.
//!
//! `LocalFileSystem` never syncs: after a power cut, files that were "committed" are empty or gone. This store writes
//! to a temporary file, syncs it, gives it its name (a link where the name must be new, else a rename) and syncs the
//! directory, and every new parent directory as well. All of it goes through [`Disk`], so that tests can cut the power
//! between any two steps.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, RenameTargetMode, Result, UploadPart,
};
use parking_lot::Mutex;

use crate::disk::{Access, Disk, DiskFile, EntryKind, FileStatus, RealDisk, is_full};

/// Bytes that are read at once; what is asked for beyond them comes as a stream of such parts.
const READ_BYTES: u64 = 8 << 20;

/// One sync, as an observer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Synced {
    /// The contents of a file.
    File(PathBuf),
    /// The names in a directory.
    Directory(PathBuf),
}

/// Is told of every sync that succeeded; tests count them.
pub type SyncObserver = Arc<dyn Fn(&Synced) + Send + Sync>;

/// Local files as an object store, each write durable before it is acknowledged. Paths are absolute.
#[derive(Clone)]
pub struct DurableStore {
    disk: Arc<dyn Disk>,
    /// Only names files: object paths to paths of the machine.
    names: Arc<LocalFileSystem>,
    observer: Option<SyncObserver>,
    failed_sync: Arc<OnceLock<String>>,
}

impl std::fmt::Debug for DurableStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DurableStore")
    }
}

impl std::fmt::Display for DurableStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DurableStore")
    }
}

impl Default for DurableStore {
    fn default() -> Self {
        Self::new()
    }
}

impl DurableStore {
    /// A store of the whole local file system.
    pub fn new() -> Self {
        Self::over(Arc::new(RealDisk))
    }

    /// A store of a whole disk.
    pub fn over(disk: Arc<dyn Disk>) -> Self {
        Self { disk, names: Arc::new(LocalFileSystem::new()), observer: None, failed_sync: Arc::default() }
    }

    /// The store of the local file system with an observer of its syncs.
    pub fn with_observer(observer: SyncObserver) -> Self {
        Self { observer: Some(observer), ..Self::new() }
    }

    /// Whether `file://` names what is in this store.
    pub(crate) fn is_of_this_machine(&self) -> bool {
        self.disk.is_of_this_machine()
    }

    fn observe(&self, synced: Synced) {
        if let Some(observer) = &self.observer {
            observer(&synced);
        }
    }

    fn sync_file(&self, file: &mut dyn DiskFile, path: &FilePath) -> io::Result<()> {
        match file.sync_all() {
            Ok(()) => self.observe(Synced::File(path.to_owned())),
            // A new file that found no room is given up; the next attempt makes another one.
            Err(error) if is_full(&error) => return Err(error),
            Err(error) => return Err(self.note_failed_sync(path, error)),
        }
        Ok(())
    }

    fn sync_parent(&self, path: &FilePath) -> io::Result<()> {
        match path.parent() {
            Some(parent) => self.sync_directory(parent),
            None => Ok(()),
        }
    }

    fn sync_directory(&self, path: &FilePath) -> io::Result<()> {
        self.disk.sync_directory(path).map_err(|error| self.note_failed_sync(path, error))?;
        self.observe(Synced::Directory(path.to_owned()));
        Ok(())
    }

    /// Why this store writes nothing more: after a failed sync, what is on the disk is unknown, and no later sync
    /// would tell.
    pub fn failed_sync(&self) -> Option<&str> {
        self.failed_sync.get().map(String::as_str)
    }

    fn note_failed_sync(&self, path: &FilePath, error: io::Error) -> io::Error {
        let reason = format!("cannot sync {}: {error}", path.display());
        tracing::error!(reason, "nothing more is written");
        // The first failure is the one to tell.
        let _ = self.failed_sync.set(reason);
        error
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.failed_sync() {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(format!("nothing more is written since: {reason}"))),
        }
    }

    /// Creates the directories above `path` that are missing and makes each name durable.
    fn create_parents(&self, path: &FilePath) -> io::Result<()> {
        self.check_writable()?;
        let mut missing = Vec::new();
        let mut parent = path.parent();
        while let Some(directory) = parent {
            if self.disk.directory_exists(directory)? {
                break;
            }
            missing.push(directory);
            parent = directory.parent();
        }
        for directory in missing.into_iter().rev() {
            match self.disk.create_directory(directory) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => other?,
            }
            self.sync_parent(directory)?;
        }
        Ok(())
    }

    /// A new temporary file beside `path`. Its name ends with `#` and digits, which listings leave out.
    fn stage(&self, path: &FilePath) -> io::Result<(Box<dyn DiskFile>, PathBuf)> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        self.create_parents(path)?;
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let mut name = path.as_os_str().to_owned();
            name.push(format!("#{}{number:06}", std::process::id()));
            let staged = PathBuf::from(name);
            match self.disk.create(&staged) {
                Ok(file) => return Ok((file, staged)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Syncs a staged file, gives it its name and makes the name durable.
    fn publish(
        &self,
        file: &mut dyn DiskFile,
        staged: &FilePath,
        path: &FilePath,
        create: bool,
    ) -> io::Result<()> {
        fail::fail_point!("durable::written");
        self.sync_file(file, path)?;
        fail::fail_point!("durable::synced");
        if create {
            self.disk.hard_link(staged, path)?;
            // The data has its name; a temporary name that stays is rubbish and nothing more.
            let _ = self.disk.remove(staged);
        } else {
            self.disk.rename(staged, path)?;
        }
        fail::fail_point!("durable::named");
        self.sync_parent(path)
    }

    fn write(&self, path: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
        let (mut file, staged) = self.stage(path)?;
        let written = write_parts(&mut *file, 0, payload)
            .and_then(|()| self.publish(&mut *file, &staged, path, create));
        if written.is_err() {
            let _ = self.disk.remove(&staged);
        }
        written
    }

    /// Syncs a file that is there, before it gets another name.
    fn sync_existing(&self, path: &FilePath) -> io::Result<()> {
        let mut file = self.disk.open(path, Access::Read)?;
        self.sync_file(&mut *file, path)
    }

    fn copy(&self, from: &FilePath, to: &FilePath, create: bool) -> io::Result<()> {
        self.create_parents(to)?;
        self.sync_existing(from)?;
        if create {
            self.disk.hard_link(from, to)?;
        } else {
            let (file, staged) = self.stage(to)?;
            drop(file);
            self.disk.remove(&staged)?;
            self.disk.hard_link(from, &staged)?;
            if let Err(error) = self.disk.rename(&staged, to) {
                let _ = self.disk.remove(&staged);
                return Err(error);
            }
            // A rename between two links of one file does nothing and leaves both.
            let _ = self.disk.remove(&staged);
        }
        self.sync_parent(to)
    }

    fn rename(&self, from: &FilePath, to: &FilePath, create: bool) -> io::Result<()> {
        self.create_parents(to)?;
        self.sync_existing(from)?;
        if create {
            self.disk.hard_link(from, to)?;
            self.sync_parent(to)?;
            self.disk.remove(from)?;
        } else {
            self.disk.rename(from, to)?;
            self.sync_parent(to)?;
        }
        if from.parent() == to.parent() { Ok(()) } else { self.sync_parent(from) }
    }

    /// All files below a folder; none when there is no such folder.
    fn walk(&self, folder: &FilePath, found: &mut Vec<ObjectMeta>) -> io::Result<()> {
        for entry in self.entries(folder)? {
            let path = folder.join(&entry.name);
            match entry.kind {
                EntryKind::Directory => self.walk(&path, found)?,
                EntryKind::File => found.extend(listed(&path, entry.status)),
            }
        }
        Ok(())
    }

    fn entries(&self, folder: &FilePath) -> io::Result<Vec<crate::disk::Entry>> {
        match self.disk.entries(folder) {
            // Listing a prefix under which nothing is finds nothing.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(Vec::new())
            }
            other => other,
        }
    }

    fn list_folder(&self, folder: &FilePath, prefix: &Path) -> io::Result<ListResult> {
        let mut common_prefixes = BTreeSet::new();
        let mut objects = Vec::new();
        for entry in self.entries(folder)? {
            match entry.kind {
                EntryKind::Directory => drop(common_prefixes.insert(prefix.clone().join(entry.name))),
                EntryKind::File => objects.extend(listed(&folder.join(&entry.name), entry.status)),
            }
        }
        Ok(ListResult { common_prefixes: common_prefixes.into_iter().collect(), objects })
    }

    fn list_from(
        &self,
        prefix: Option<&Path>,
        offset: Option<Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = self.folder_path(prefix);
        let store = self.clone();
        let list = blocking(folder, move |folder| {
            let mut found = Vec::new();
            store.walk(folder, &mut found)?;
            found.retain(|object| offset.as_ref().is_none_or(|offset| object.location > *offset));
            found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
            Ok(found)
        });
        list.map(|listed| match listed {
            Ok(found) => futures::stream::iter(found.into_iter().map(Ok)).boxed(),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        })
        .flatten_stream()
        .boxed()
    }

    fn folder_path(&self, prefix: Option<&Path>) -> PathBuf {
        FilePath::new("/").join(prefix.map_or("", Path::as_ref))
    }

    fn file_path(&self, location: &Path) -> Result<PathBuf> {
        self.names.path_to_filesystem(location)
    }
}

fn store_error(path: &FilePath, error: io::Error) -> Error {
    let path = path.to_string_lossy().into_owned();
    match error.kind() {
        ErrorKind::NotFound => Error::NotFound { path, source: error.into() },
        ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: error.into() },
        ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: error.into() },
        _ => Error::Generic { store: "DurableStore", source: format!("{path}: {error}").into() },
    }
}

/// What a listing tells of a file; `None` when its name cannot be one of an object or is that of an unfinished write.
fn listed(path: &FilePath, status: FileStatus) -> Option<ObjectMeta> {
    let location = Path::from_absolute_path(path).ok()?;
    let unfinished = location
        .filename()
        .and_then(|name| name.split_once('#'))
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    (!unfinished).then(|| object_meta(location, status))
}

fn object_meta(location: Path, status: FileStatus) -> ObjectMeta {
    let FileStatus { length, modified_micros } = status;
    ObjectMeta {
        location,
        last_modified: DateTime::<Utc>::from_timestamp_micros(modified_micros).unwrap_or_default(),
        size: length,
        e_tag: Some(format!("{modified_micros:x}-{length:x}")),
        version: None,
    }
}

fn write_parts(file: &mut dyn DiskFile, offset: u64, payload: &PutPayload) -> io::Result<()> {
    let mut offset = offset;
    payload.iter().try_for_each(|part| {
        file.write_at(offset, part)?;
        offset += part.len() as u64;
        Ok(())
    })
}

/// The bytes of a range, fewer when the file ends before.
fn read_range(file: &dyn DiskFile, range: Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let count = file.read_at(range.start, &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes.into())
}

/// A long range in parts, each read when it is asked for.
fn read_in_parts(
    path: PathBuf,
    file: Box<dyn DiskFile>,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes>> {
    futures::stream::try_unfold((file, range), move |(file, range)| {
        let path = path.clone();
        async move {
            if range.is_empty() {
                return Ok(None);
            }
            blocking(path, move |_| {
                let bytes = read_range(&*file, range.start..range.end.min(range.start + READ_BYTES))?;
                // The file became shorter: whoever counts the bytes finds out.
                let next = if bytes.is_empty() { range.end } else { range.start + bytes.len() as u64 };
                Ok(Some((bytes, (file, next..range.end))))
            })
            .await
        }
    })
    .boxed()
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&FilePath) -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let work = move || work(&path).map_err(|error| store_error(&path, error));
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?,
        Err(_) => work(),
    }
}

#[async_trait]
impl ObjectStore for DurableStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "put with a condition on the version".to_owned(),
                    implementer: self.to_string(),
                });
            }
        };
        let store = self.clone();
        blocking(self.file_path(location)?, move |path| store.write(path, &payload, create)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let store = self.clone();
        let path = self.file_path(location)?;
        let (file, staged) = blocking(path.clone(), move |path| store.stage(path)).await?;
        let staged = Arc::new(Staged { file: Mutex::new(file), path: staged });
        Ok(Box::new(Upload { store: self.clone(), path, staged: Some(staged), offset: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let store = self.clone();
        let path = self.file_path(location)?;
        let wanted = location.clone();
        let opened = blocking(path.clone(), move |path| {
            let file = store.disk.open(path, Access::Read)?;
            let meta = object_meta(wanted, file.status()?);
            let range = match options.check_preconditions(&meta) {
                Ok(()) => match &options.range {
                    Some(range) => range
                        .as_range(meta.size)
                        .map_err(|error| Error::Generic { store: "DurableStore", source: error.into() }),
                    None => Ok(0..meta.size),
                },
                Err(error) => Err(error),
            };
            let range = match range {
                Ok(range) => range,
                Err(error) => return Ok(Err(error)),
            };
            let now = if options.head { range.start } else { range.end.min(range.start + READ_BYTES) };
            let bytes = read_range(&*file, range.start..now)?;
            Ok(Ok((meta, range, file, bytes, options.head)))
        });
        let (meta, range, file, bytes, head) = opened.await??;
        let read = range.start + bytes.len() as u64;
        let first = futures::stream::iter((!head).then_some(Ok(bytes)));
        let payload = if head || range.end - range.start <= READ_BYTES {
            first.boxed()
        } else {
            first.chain(read_in_parts(path, file, read..range.end)).boxed()
        };
        let payload = GetResultPayload::Stream(payload);
        Ok(GetResult { payload, meta, range, attributes: Attributes::default() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let store = self.clone();
        let ranges = ranges.to_vec();
        blocking(self.file_path(location)?, move |path| {
            let file = store.disk.open(path, Access::Read)?;
            ranges.into_iter().map(|range| read_range(&*file, range)).collect()
        })
        .await
    }

    /// Deletes are not synced: a file that comes back after a power cut is one that no commit names.
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    let path = store.file_path(&location)?;
                    blocking(path, move |path| {
                        store.check_writable()?;
                        store.disk.remove(path)
                    })
                    .await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    /// The objects come in order of their paths.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix, Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let store = self.clone();
        let folder = self.folder_path(prefix);
        let prefix = prefix.cloned().unwrap_or_default();
        blocking(folder, move |folder| store.list_folder(folder, &prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let create = matches!(options.mode, CopyMode::Create);
        let (store, to) = (self.clone(), self.file_path(to)?);
        blocking(self.file_path(from)?, move |from| store.copy(from, &to, create)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let create = matches!(options.target_mode, RenameTargetMode::Create);
        let (store, to) = (self.clone(), self.file_path(to)?);
        blocking(self.file_path(from)?, move |from| store.rename(from, &to, create)).await
    }
}

#[derive(Debug)]
struct Staged {
    file: Mutex<Box<dyn DiskFile>>,
    path: PathBuf,
}

/// An upload in parts: they go to a temporary file that gets its name at the end.
#[derive(Debug)]
struct Upload {
    store: DurableStore,
    path: PathBuf,
    staged: Option<Arc<Staged>>,
    offset: u64,
}

impl Upload {
    fn closed(&self) -> Error {
        let source = format!("{}: the upload is closed", self.path.display()).into();
        Error::Generic { store: "DurableStore", source }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let offset = self.offset;
        self.offset += data.content_length() as u64;
        let Some(staged) = self.staged.clone() else {
            return std::future::ready(Err(self.closed())).boxed();
        };
        blocking(self.path.clone(), move |_| write_parts(&mut **staged.file.lock(), offset, &data)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.staged.take().ok_or_else(|| self.closed())?;
        let store = self.store.clone();
        blocking(self.path.clone(), move |path| {
            let published = store.publish(&mut **staged.file.lock(), &staged.path, path, false);
            if published.is_err() {
                let _ = store.disk.remove(&staged.path);
            }
            published
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = self.staged.take().ok_or_else(|| self.closed())?;
        let store = self.store.clone();
        blocking(staged.path.clone(), move |path| store.disk.remove(path)).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(staged) = self.staged.take() {
            let _ = self.store.disk.remove(&staged.path);
        }
    }
}
