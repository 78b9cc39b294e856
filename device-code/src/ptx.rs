//! From `.cu` to PTX.

use std::path::{Path, PathBuf};
use std::process::Command;

use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};

use crate::failure::Failure;
use crate::tool::{NVRTC, sha256, sources};

/// Text that is put in front of every source.
const PRELUDE: &str = "prelude.cuh";

/// The names of the kernel files, without ending, in order.
pub(crate) fn families() -> Result<Vec<String>, Failure> {
    let folder = sources();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(Failure::file(&folder))? {
        let path = entry.map_err(Failure::file(&folder))?.path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Where the PTX of a family is kept.
pub(crate) fn path(family: &str) -> PathBuf {
    sources().join("ptx").join(format!("{family}.ptx"))
}

/// Compiles all families and writes what they give.
pub(crate) fn write() -> Result<String, Failure> {
    let families = families()?;
    for family in &families {
        let path = path(family);
        std::fs::write(&path, fresh(family)?).map_err(Failure::file(&path))?;
    }
    Ok(format!("written: PTX of {}", families.join(", ")))
}

/// Compiles all families and compares.
pub(crate) fn check() -> Result<String, Failure> {
    let families = families()?;
    for family in &families {
        let path = path(family);
        let kept = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
        if kept != fresh(family)? {
            let advice = "run `cargo run -p device-code -- ptx` and commit what it writes";
            return Err(Failure::Stale(format!("{} is not what its source gives; {advice}", path.display())));
        }
    }
    Ok(format!("PTX is up to date: {}", families.join(", ")))
}

/// The PTX that a family's source gives now.
fn fresh(family: &str) -> Result<String, Failure> {
    let libraries = NVRTC.folder()?.join("nvidia/cuda_nvrtc/lib");
    let source = sources().join(format!("{family}.cu"));
    let out = std::env::temp_dir().join(format!("runlake-{family}-{}.ptx", std::process::id()));
    let program = std::env::current_exe().map_err(Failure::file(&source))?;
    // The loader reads its search path once, at the start.
    let output = Command::new(program)
        .arg("compile")
        .args([&source, &out])
        .env("LD_LIBRARY_PATH", libraries)
        .output()
        .map_err(Failure::file(&source))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failure::Refused { tool: "NVRTC", said });
    }
    let ptx = std::fs::read_to_string(&out).map_err(Failure::file(&out))?;
    std::fs::remove_file(&out).map_err(Failure::file(&out))?;
    Ok(ptx)
}

/// Compiles one source; NVRTC must be in the search path.
pub(crate) fn compile(source: &str, out: &str) -> Result<String, Failure> {
    let (source, out) = (Path::new(source), Path::new(out));
    let prelude = sources().join(PRELUDE);
    let text = std::fs::read_to_string(&prelude).map_err(Failure::file(&prelude))?
        + &std::fs::read_to_string(source).map_err(Failure::file(source))?;
    let options = CompileOptions {
        arch: Some("compute_75"),
        // A multiply and an add stay two operations, as on the CPU.
        fmad: Some(false),
        options: vec!["-default-device".to_owned(), "--std=c++17".to_owned()],
        // Symbols contain a hash of the name, so it must not depend on the folder.
        name: source.file_name().map(|name| name.to_string_lossy().into_owned()),
        ..CompileOptions::default()
    };
    let ptx = compile_ptx_with_opts(&text, options)
        .map_err(|error| Failure::Refused { tool: "NVRTC", said: error.to_string() })?;
    let ptx = without_constants_of_the_compiler(&ptx.to_src());
    let ptx = format!("// source-sha256: {}\n{ptx}", sha256(text.as_bytes()));
    std::fs::write(out, ptx).map_err(Failure::file(out))?;
    Ok(format!("written: {}", out.display()))
}

/// NVRTC's own header leaves constants in every module, which nothing uses.
fn without_constants_of_the_compiler(ptx: &str) -> String {
    let ours = |line: &&str| !(line.starts_with(".global") && line.contains("nv6target"));
    let mut lines: Vec<&str> = ptx.trim_end_matches(['\0', '\n']).lines().filter(ours).collect();
    lines.dedup_by(|line, before| line.trim().is_empty() && before.trim().is_empty());
    lines.join("\n") + "\n"
}
