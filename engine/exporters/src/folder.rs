//! The folder of an export: filled beside its target, and renamed to it when it is whole.

use std::fs::File;
use std::path::{Path, PathBuf};

use importers::exported::MANIFEST;
use tempfile::TempDir;

use crate::error::{ExportError, Result};

/// An export that is not finished. Dropped, it leaves nothing behind; killed, a hidden folder that nobody takes for an
/// export.
#[derive(Debug)]
pub(crate) struct Folder {
    target: PathBuf,
    partial: TempDir,
    overwrite: bool,
}

impl Folder {
    /// Begins a folder that will stand at `target`.
    ///
    /// # Errors
    /// When something stands there that is no empty folder and may not be replaced, or the place cannot be written.
    pub(crate) fn begin(target: &Path, overwrite: bool) -> Result<Self> {
        let name = target.file_name().ok_or_else(|| ExportError::Target {
            path: target.to_owned(),
            reason: "is no place for a new folder; give the name that it shall have".to_owned(),
        })?;
        check(target, overwrite)?;
        let parent = match target.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => Path::new("/"),
        };
        std::fs::create_dir_all(parent).map_err(ExportError::io(parent, "making the folder"))?;
        let partial = tempfile::Builder::new()
            .prefix(&format!(".{}.partial-", name.to_string_lossy()))
            .tempdir_in(parent)
            .map_err(ExportError::io(parent, "making a folder in it"))?;
        Ok(Self { target: target.to_owned(), partial, overwrite })
    }

    /// Where files are written meanwhile.
    pub(crate) fn path(&self) -> &Path {
        self.partial.path()
    }

    /// Puts the folder in its place.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { target, partial, overwrite } = self;
        // What came meanwhile is not replaced without being asked for either.
        let replaced = if check(&target, overwrite)? {
            let old = partial.path().with_extension("replaced");
            std::fs::rename(&target, &old).map_err(ExportError::io(&target, "moving the old export away"))?;
            Some(old)
        } else {
            None
        };
        let from = partial.keep();
        make_listable(&from)?;
        if let Err(source) = std::fs::rename(&from, &target) {
            if let Some(old) = &replaced {
                // The old export comes back; of the two errors the first is the one to tell.
                let _ = std::fs::rename(old, &target);
            }
            let _ = std::fs::remove_dir_all(&from);
            return Err(ExportError::Io { path: target, action: "putting the export in its place", source });
        }
        if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync(parent)?;
        }
        match replaced {
            Some(old) => {
                std::fs::remove_dir_all(&old).map_err(ExportError::io(&old, "removing the old export"))
            }
            None => Ok(()),
        }
    }
}

/// Whether an export stands at the target that may be replaced.
fn check(target: &Path, overwrite: bool) -> Result<bool> {
    let refuse =
        |reason: &str| Err(ExportError::Target { path: target.to_owned(), reason: reason.to_owned() });
    let metadata = match std::fs::symlink_metadata(target) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(ExportError::io(target, "looking at the target")(error)),
    };
    if !metadata.is_dir() {
        return refuse("is there already and no folder; an export is a folder of its own");
    }
    let mut entries = std::fs::read_dir(target).map_err(ExportError::io(target, "listing the folder"))?;
    if entries.next().is_none() {
        return Ok(false);
    }
    match (overwrite, target.join(MANIFEST).is_file()) {
        (true, true) => Ok(true),
        (true, false) => refuse(
            "is no export of Runlake, so it is not replaced; remove it yourself or name another folder",
        ),
        (false, true) => refuse("is an export already; replace it with --overwrite, or name another folder"),
        (false, false) => refuse("is a folder that is not empty; name another one"),
    }
}

/// A temporary folder is for its owner alone; an export is as open as any new folder.
#[cfg(unix)]
fn make_listable(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let probe = folder.join(".permissions");
    std::fs::create_dir(&probe).map_err(ExportError::io(&probe, "making the folder"))?;
    let mode =
        std::fs::metadata(&probe).map_err(ExportError::io(&probe, "looking at it"))?.permissions().mode();
    std::fs::remove_dir(&probe).map_err(ExportError::io(&probe, "removing the folder"))?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode))
        .map_err(ExportError::io(folder, "setting its permissions"))
}

#[cfg(not(unix))]
fn make_listable(_: &Path) -> Result<()> {
    Ok(())
}

/// Brings a file or the names in a folder to the disk.
pub(crate) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(ExportError::io(path, "syncing"))
}
