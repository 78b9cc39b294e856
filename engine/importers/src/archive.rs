//! Archives (tar, also in gzip or Zstandard, and zip): their files are laid out in a folder of their own, under limits, and
//! imported from there as if they stood in the archive's place.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::error::{ImportError, Result};
use crate::files::{self, ByteCount, Packing};
use crate::limits::Limits;
use crate::source::Unrecognised;

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Tar,
    Zip,
}

/// Tells an archive by its first bytes.
pub(crate) fn form_of(path: &Path, beginning: &[u8], limits: &Limits) -> Option<Form> {
    const TAR_MARK: std::ops::Range<usize> = 257..262;
    if beginning.starts_with(b"PK\x03\x04") || beginning.starts_with(b"PK\x05\x06") {
        return Some(Form::Zip);
    }
    let is_tar = |bytes: &[u8]| bytes.get(TAR_MARK) == Some(&b"ustar"[..]);
    let tar = match Packing::of(beginning) {
        Packing::Plain => is_tar(beginning),
        _ => files::unpacked_beginning(path, limits, 512).is_ok_and(|bytes| is_tar(&bytes)),
    };
    tar.then_some(Form::Tar)
}

/// The endings of archives that are read.
const ENDINGS: [&str; 6] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".zip"];

/// Whether a name in lower case is one of an archive.
pub(crate) fn is_named(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// What to say of a file whose name is one of an archive, and whose content is not; code and reason.
pub(crate) fn false_name(name: &str) -> Option<(&'static str, &'static str)> {
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if is_named(name) {
        return Some(("archive.damaged", "its name is one of an archive, and it cannot be read as one"));
    }
    ends(&[".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".7z", ".rar"]).then_some((
        "archive.unknown",
        "archives of this kind are not read; unpack it, or pack it as tar or zip",
    ))
}

/// What an archive held.
pub(crate) struct LaidOut {
    pub(crate) folder: TempDir,
    /// What was not laid out: links, unsafe paths, what is over a limit.
    pub(crate) left: Vec<Unrecognised>,
}

/// Lays out an archive's regular files. What stands before damage is kept, and the damage told.
///
/// # Errors
/// Fails when the archive cannot be opened, or the folder cannot be made.
pub(crate) fn lay_out(path: &Path, form: Form, limits: &Limits) -> Result<LaidOut> {
    let folder = TempDir::new().map_err(ImportError::io(path, "making a folder for the archive's files"))?;
    let mut layout =
        Layout { archive: path, folder: folder.path(), limits, files: 0, bytes: 0, left: Vec::new() };
    let outcome = match form {
        Form::Tar => layout.tar(),
        Form::Zip => layout.zip(),
    };
    if let Err(error) = outcome {
        let reason = format!("the archive is not read further: {error}");
        layout.left.push(Unrecognised::faulty(path.to_owned(), "archive.damaged", reason));
    }
    let left = layout.left;
    Ok(LaidOut { folder, left })
}

struct Layout<'a> {
    archive: &'a Path,
    folder: &'a Path,
    limits: &'a Limits,
    files: usize,
    bytes: u64,
    left: Vec<Unrecognised>,
}

impl Layout<'_> {
    fn tar(&mut self) -> Result<()> {
        let unpacked = files::open_unpacked(self.archive, self.limits, &ByteCount::default())?;
        let mut archive = tar::Archive::new(unpacked.reader);
        let path = self.archive;
        let failed =
            |error: std::io::Error| ImportError::unreadable(path, "a tar archive", error.to_string());
        let entries = archive.entries().map_err(failed)?;
        for entry in entries {
            let mut entry = entry.map_err(failed)?;
            let name = entry.path().map_err(failed)?.into_owned();
            let kind = entry.header().entry_type();
            if kind.is_dir() || kind.is_pax_global_extensions() {
                continue;
            }
            if !(kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse()) {
                self.leave(&name);
                continue;
            }
            let modified = entry.header().mtime().unwrap_or(0);
            // A cut archive ends its last file early, and the reader does not say so.
            let size = entry.size();
            self.file(&name, &mut entry, modified, (size, u64::MAX))?;
        }
        Ok(())
    }

    fn zip(&mut self) -> Result<()> {
        let (file, _) = files::open_regular(self.archive, self.limits)?;
        let path = self.archive;
        let unreadable =
            |error: zip::result::ZipError| ImportError::unreadable(path, "a zip archive", error.to_string());
        let mut archive = zip::ZipArchive::new(file).map_err(unreadable)?;
        for index in 0..archive.len() {
            let mut entry = match archive.by_index(index) {
                Ok(entry) => entry,
                // Another entry may be readable: this one is encrypted, or packed in a way that is not known.
                Err(error) => {
                    self.unreadable(index, &error.to_string());
                    continue;
                }
            };
            let name = match entry.name() {
                Ok(name) => PathBuf::from(name.into_owned()),
                Err(error) => {
                    self.unreadable(index, &error.to_string());
                    continue;
                }
            };
            if entry.is_dir() {
                continue;
            }
            if entry.is_symlink() {
                self.leave(&name);
                continue;
            }
            let modified = entry.last_modified().and_then(seconds_of).unwrap_or(0);
            // Small entries may have any ratio.
            let most = entry.compressed_size().saturating_mul(self.limits.expansion_ratio).max(16 << 20);
            self.file(&name, &mut entry, modified, (0, most))?;
        }
        Ok(())
    }

    fn leave(&mut self, name: &Path) {
        let reason = "no regular file in the archive, not laid out";
        self.left.push(Unrecognised::left(self.folder.join(name), reason));
    }

    fn unreadable(&mut self, index: usize, reason: &str) {
        let place = self.folder.join(format!("entry {index}"));
        self.left.push(Unrecognised::faulty(place, "archive.entry", reason));
    }

    /// Writes one file, of at least and at most so many bytes.
    fn file(
        &mut self,
        name: &Path,
        content: &mut dyn Read,
        modified: u64,
        (least, most): (u64, u64),
    ) -> Result<()> {
        self.files = self.files.saturating_add(1);
        if self.files > self.limits.files {
            return Err(ImportError::TooLarge {
                path: self.archive.to_owned(),
                what: "the number of files in the archive",
                actual: self.files as u64,
                limit: self.limits.files as u64,
            });
        }
        let Some(inner) = safe_path(name, self.limits.depth) else {
            let reason =
                format!("the entry {name:?} would leave its folder, or is too deep; it is not laid out");
            self.left.push(Unrecognised::faulty(self.archive.to_owned(), "archive.path", reason));
            return Ok(());
        };
        let target = self.folder.join(inner);
        let most =
            most.min(self.limits.file_bytes).min(self.limits.expanded_bytes.saturating_sub(self.bytes));
        let written = write(&target, content, modified, most).and_then(|written| {
            if written < least {
                return Err(std::io::Error::other(format!("{written} of its {least} bytes are there")));
            }
            Ok(written)
        });
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                // What was written of it would be taken for the whole file.
                let _ = std::fs::remove_file(&target);
                let reason = format!("{}: {error}", name.display());
                return Err(ImportError::unreadable(self.archive, "an archive", reason));
            }
        };
        self.bytes = self.bytes.saturating_add(written);
        Ok(())
    }
}

/// The path without anything that could lead out of the folder.
fn safe_path(name: &Path, depth: usize) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    let parts = path.components().count();
    (parts > 0 && parts <= depth).then_some(path)
}

fn write(target: &Path, content: &mut dyn Read, modified: u64, most: u64) -> std::io::Result<u64> {
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // A later entry of the same name replaces the earlier one, as `tar` does.
    let mut file = File::create(target)?;
    let written = std::io::copy(&mut content.take(most.saturating_add(1)), &mut file)?;
    if written > most {
        return Err(std::io::Error::other(format!("it expands to more than {most} bytes")));
    }
    file.flush()?;
    // Points without a time get the file's: it must not change with each import.
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(modified)).unwrap_or(SystemTime::UNIX_EPOCH);
    file.set_modified(time)?;
    Ok(written)
}

/// Seconds since 1970 of a zip entry's time, which has no time zone: taken for UTC.
fn seconds_of(time: zip::DateTime) -> Option<u64> {
    let date = chrono::NaiveDate::from_ymd_opt(time.year().into(), time.month().into(), time.day().into())?;
    let time = date.and_hms_opt(time.hour().into(), time.minute().into(), time.second().into())?;
    u64::try_from(time.and_utc().timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_archives_are_known() {
        for name in ["runs.tar.gz", "a.tgz", "x.tar", "logs.zip"] {
            assert_eq!(false_name(name).map(|(code, _)| code), Some("archive.damaged"), "{name}");
        }
        assert_eq!(false_name("runs.tar.xz").map(|(code, _)| code), Some("archive.unknown"));
        assert_eq!(false_name("log.csv.gz"), None);
    }

    #[test]
    fn no_path_leaves_the_folder() {
        for bad in ["../x", "/x", "a/../../x", "", ".", "a/b/c/d"] {
            assert_eq!(safe_path(Path::new(bad), 3), None, "{bad}");
        }
        assert_eq!(safe_path(Path::new("./a/./b"), 3), Some(PathBuf::from("a/b")));
    }
}
