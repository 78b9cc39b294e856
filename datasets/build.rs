//! Packs `demo-corpus/` into one archive for `include_bytes!`: the same folder gives the same bytes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// What the program needs of the folder; the scripts that made it stay in the repository.
const PARTS: [&str; 4] = ["README.md", "mlflow", "tensorboard", "truth.json"];

fn main() -> io::Result<()> {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = here.join("demo-corpus");
    println!("cargo:rerun-if-changed=build.rs");
    let mut files = Vec::new();
    for part in PARTS {
        let path = root.join(part);
        println!("cargo:rerun-if-changed={}", path.display());
        collect(&path, &mut files)?;
    }
    // Files of one kind stand together, which the compressor's small window rewards.
    files.sort_by_key(|path| (path.file_name().map(|name| name.to_owned()), path.clone()));

    let archive = PathBuf::from(variable("OUT_DIR")?).join("demo-corpus.tar.gz");
    let mut builder = tar::Builder::new(GzEncoder::new(File::create(archive)?, Compression::best()));
    for path in &files {
        let name = path.strip_prefix(&root).map_err(io::Error::other)?;
        let contents = fs::read(path)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        builder.append_data(&mut header, name, contents.as_slice())?;
    }
    builder.into_inner()?.finish()?.flush()
}

fn variable(name: &str) -> io::Result<std::ffi::OsString> {
    std::env::var_os(name).ok_or_else(|| io::Error::other(format!("cargo did not set {name}")))
}

/// All files below `path`, or the file itself; hidden ones are a reader's leftovers.
fn collect(path: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    if fs::metadata(path)?.is_file() {
        into.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            collect(&entry.path(), into)?;
        }
    }
    Ok(())
}
