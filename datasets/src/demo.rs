//! The demo corpus inside the program: one archive, unpacked where it is asked for.

use std::fs;
use std::io;
use std::path::Path;

use flate2::read::GzDecoder;
use tar::Archive;

static ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo-corpus.tar.gz"));

/// Writes the demo corpus into the folder `into`, which is made if absent.
///
/// Afterwards it holds `mlflow/` (an MLflow file store), `tensorboard/` (a log folder), `truth.json` (what an
/// import and a gate must find) and `README.md`. Files of these names are written over, others are left alone,
/// so that unpacking again is harmless.
///
/// # Errors
/// Any error of the file system, with the folder's name in the message.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// datasets::unpack_demo_corpus(folder.path())?;
/// assert!(folder.path().join("truth.json").is_file());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn unpack_demo_corpus(into: &Path) -> io::Result<()> {
    let explain = |error: io::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
        let folder = into.display();
        io::Error::new(error.kind(), format!("cannot write the demo corpus to {folder}: {error}{cause}"))
    };
    fs::create_dir_all(into).map_err(explain)?;
    let mut archive = Archive::new(GzDecoder::new(ARCHIVE));
    archive.set_preserve_mtime(false);
    archive.unpack(into).map_err(explain)
}
