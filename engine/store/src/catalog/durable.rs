//! A local object store that survives a power cut.
//!
//! `LocalFileSystem` never syncs: after a power cut, files that were "committed" are empty or gone. This store writes
//! to a temporary file, syncs it, gives it its name (a link where the name must be new, else a rename) and syncs the
//! directory, and every new parent directory as well. Reading and listing are left to `LocalFileSystem`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    RenameTargetMode, Result, UploadPart,
};
use parking_lot::Mutex;

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
    inner: Arc<LocalFileSystem>,
    observer: Option<SyncObserver>,
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
        Self { inner: Arc::new(LocalFileSystem::new()), observer: None }
    }

    /// The same, with an observer of its syncs.
    pub fn with_observer(observer: SyncObserver) -> Self {
        Self { observer: Some(observer), ..Self::new() }
    }

    fn observe(&self, synced: Synced) {
        if let Some(observer) = &self.observer {
            observer(&synced);
        }
    }

    fn sync_file(&self, file: &File, path: &FilePath) -> io::Result<()> {
        file.sync_all()?;
        self.observe(Synced::File(path.to_owned()));
        Ok(())
    }

    fn sync_parent(&self, path: &FilePath) -> io::Result<()> {
        match path.parent() {
            Some(parent) => self.sync_directory(parent),
            None => Ok(()),
        }
    }

    #[cfg(unix)]
    fn sync_directory(&self, path: &FilePath) -> io::Result<()> {
        File::open(path)?.sync_all()?;
        self.observe(Synced::Directory(path.to_owned()));
        Ok(())
    }

    /// Directories cannot be synced here; NTFS keeps names in its own journal.
    #[cfg(not(unix))]
    fn sync_directory(&self, _path: &FilePath) -> io::Result<()> {
        Ok(())
    }

    /// Creates the directories above `path` that are missing and makes each name durable.
    fn create_parents(&self, path: &FilePath) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut parent = path.parent();
        while let Some(directory) = parent.filter(|directory| !directory.exists()) {
            missing.push(directory);
            parent = directory.parent();
        }
        for directory in missing.into_iter().rev() {
            match fs::create_dir(directory) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => other?,
            }
            self.sync_parent(directory)?;
        }
        Ok(())
    }

    /// A new temporary file beside `path`. Its name ends with `#` and digits, which listings leave out.
    fn stage(&self, path: &FilePath) -> io::Result<(File, PathBuf)> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        self.create_parents(path)?;
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let mut name = path.as_os_str().to_owned();
            name.push(format!("#{}{number:06}", std::process::id()));
            let staged = PathBuf::from(name);
            match OpenOptions::new().write(true).create_new(true).open(&staged) {
                Ok(file) => return Ok((file, staged)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Syncs a staged file, gives it its name and makes the name durable.
    fn publish(&self, file: &File, staged: &FilePath, path: &FilePath, create: bool) -> io::Result<()> {
        fail::fail_point!("durable::written");
        self.sync_file(file, path)?;
        fail::fail_point!("durable::synced");
        if create {
            fs::hard_link(staged, path)?;
            // The data has its name; a temporary name that stays is rubbish and nothing more.
            let _ = fs::remove_file(staged);
        } else {
            fs::rename(staged, path)?;
        }
        fail::fail_point!("durable::named");
        self.sync_parent(path)
    }

    fn write(&self, path: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
        let (mut file, staged) = self.stage(path)?;
        let written = payload
            .iter()
            .try_for_each(|part| file.write_all(part))
            .and_then(|()| self.publish(&file, &staged, path, create));
        if written.is_err() {
            let _ = fs::remove_file(&staged);
        }
        written
    }

    fn copy(&self, from: &FilePath, to: &FilePath, create: bool) -> io::Result<()> {
        self.create_parents(to)?;
        self.sync_file(&File::open(from)?, from)?;
        if create {
            fs::hard_link(from, to)?;
        } else {
            let (file, staged) = self.stage(to)?;
            drop(file);
            fs::remove_file(&staged)?;
            fs::hard_link(from, &staged)?;
            if let Err(error) = fs::rename(&staged, to) {
                let _ = fs::remove_file(&staged);
                return Err(error);
            }
            // A rename between two links of one file does nothing and leaves both.
            let _ = fs::remove_file(&staged);
        }
        self.sync_parent(to)
    }

    fn rename(&self, from: &FilePath, to: &FilePath, create: bool) -> io::Result<()> {
        self.create_parents(to)?;
        self.sync_file(&File::open(from)?, from)?;
        if create {
            fs::hard_link(from, to)?;
            self.sync_parent(to)?;
            fs::remove_file(from)?;
        } else {
            fs::rename(from, to)?;
            self.sync_parent(to)?;
        }
        if from.parent() == to.parent() { Ok(()) } else { self.sync_parent(from) }
    }

    fn file_path(&self, location: &Path) -> Result<PathBuf> {
        self.inner.path_to_filesystem(location)
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

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&FilePath) -> io::Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(move || work(&path).map_err(|error| store_error(&path, error)))
        .await
        .map_err(|source| Error::JoinError { source })?
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
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    /// Deletes are not synced: a file that comes back after a power cut is one that no commit names.
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
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
    file: Mutex<File>,
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
        blocking(self.path.clone(), move |_| {
            let mut file = staged.file.lock();
            file.seek(SeekFrom::Start(offset))?;
            data.iter().try_for_each(|part| file.write_all(part))
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.staged.take().ok_or_else(|| self.closed())?;
        let store = self.store.clone();
        blocking(self.path.clone(), move |path| {
            let published = store.publish(&staged.file.lock(), &staged.path, path, false);
            if published.is_err() {
                let _ = fs::remove_file(&staged.path);
            }
            published
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = self.staged.take().ok_or_else(|| self.closed())?;
        blocking(staged.path.clone(), |path| fs::remove_file(path)).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(staged) = self.staged.take() {
            let _ = fs::remove_file(&staged.path);
        }
    }
}
