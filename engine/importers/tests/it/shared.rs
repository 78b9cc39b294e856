//! Where the shared data stands, on machines that have it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The shared folder: `RUNLAKE_SHARED`, or `shared` beside any folder above this crate.
fn shared() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("RUNLAKE_SHARED") {
        return Some(PathBuf::from(path));
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|above| above.join("shared"))
        .find(|folder| folder.join("DESIGN.md").is_file())
}

/// The unpacked data, or `None` with a word on the output where there is none.
pub(crate) fn data() -> Option<PathBuf> {
    static DATA: OnceLock<Option<PathBuf>> = OnceLock::new();
    let data = DATA.get_or_init(|| {
        let output = Command::new(shared()?.join("data/unpack")).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let path = PathBuf::from(text.trim().lines().last()?);
        path.is_dir().then_some(path)
    });
    if data.is_none() {
        println!("skipped: the shared data is not here");
    }
    data.clone()
}

/// Unpacks a `.tar.zst` into a folder that is removed again.
pub(crate) fn unpacked(archive: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let decoder = zstd::stream::read::Decoder::new(std::fs::File::open(archive).unwrap()).unwrap();
    tar::Archive::new(decoder).unpack(folder.path()).unwrap();
    folder
}
