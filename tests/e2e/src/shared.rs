//! Where the shared data stands, on machines that have it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The shared folder: the variable `RUNLAKE_SHARED`, or `shared` in any folder above this crate. Where there is none,
/// this prints `skipped` and is `None`.
pub fn shared() -> Option<PathBuf> {
    let found = std::env::var_os("RUNLAKE_SHARED").map(PathBuf::from).or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(|above| above.join("shared"))
            .find(|folder| folder.join("DESIGN.md").is_file())
    });
    if found.is_none() {
        println!("skipped: the shared data is not here");
    }
    found
}

/// The folder of unpacked data, which `data/unpack` of the shared folder makes. Where there is none, this prints
/// `skipped` and is `None`.
///
/// # Panics
/// When there is a shared folder but its data cannot be unpacked.
pub fn data() -> Option<PathBuf> {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    let shared = shared()?;
    let data = DATA.get_or_init(|| {
        let output = Command::new(shared.join("data/unpack")).output().expect("data/unpack can be run");
        let text = String::from_utf8_lossy(&output.stdout);
        let folder = PathBuf::from(text.trim().lines().last().unwrap_or_default());
        assert!(
            folder.is_dir(),
            "data/unpack made no folder: {text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        folder
    });
    Some(data.clone())
}
