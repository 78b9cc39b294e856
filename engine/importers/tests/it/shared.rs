//! Shared data that stands in archives.

use std::path::Path;

/// Unpacks a `.tar.zst` into a folder that is removed again.
pub(crate) fn unpacked(archive: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let decoder = zstd::stream::read::Decoder::new(std::fs::File::open(archive).unwrap()).unwrap();
    tar::Archive::new(decoder).unpack(folder.path()).unwrap();
    folder
}
