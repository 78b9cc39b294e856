//! NVIDIA's compiler and assembler, of one version, from the Python package index.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// A wheel with a tool in it.
pub(crate) struct Wheel {
    /// Name of the package.
    package: &'static str,
    /// File that the package index serves.
    file: &'static str,
    /// Hash of that file.
    sha256: &'static str,
}

/// The run-time compiler.
pub(crate) const NVRTC: Wheel = Wheel {
    package: "nvidia-cuda-nvrtc-cu12==12.0.140",
    file: "nvidia_cuda_nvrtc_cu12-12.0.140-py3-none-manylinux1_x86_64.whl",
    sha256: "8e94e991d85c422de4da87bdc7472fdc1364367bd4aace7000b559cd33122071",
};

/// The assembler.
pub(crate) const PTXAS: Wheel = Wheel {
    package: "nvidia-cuda-nvcc-cu12==12.0.140",
    file: "nvidia_cuda_nvcc_cu12-12.0.140-py3-none-manylinux1_x86_64.whl",
    sha256: "958d54df87d0c0b7207e7fed403d6eeda0890a01cc44cfeaccf87c7f90e9b165",
};

/// The folder of the kernels' sources.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels/cuda")
}

/// The hash in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Wheel {
    /// The folder into which the wheel is unpacked, fetched first if need be.
    pub(crate) fn folder(&self) -> Result<PathBuf, Failure> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err(Failure::Unreachable("the CUDA tools run on Linux and x86-64 only".to_owned()));
        }
        let cache = cache();
        let wheel = cache.join(self.file);
        if !wheel.is_file() {
            std::fs::create_dir_all(&cache).map_err(Failure::file(&cache))?;
            let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
            let platform = ["--only-binary=:all:", "--platform=manylinux1_x86_64", "--dest"];
            python(Command::new("python3").args(pip).args(platform).arg(&cache).arg(self.package))?;
        }
        let bytes = std::fs::read(&wheel).map_err(Failure::file(&wheel))?;
        let got = sha256(&bytes);
        if got != self.sha256 {
            return Err(Failure::WrongTool { path: wheel, got, expected: self.sha256 });
        }
        let unpacked = cache.join(&got[..16]);
        if !unpacked.is_dir() {
            let partly = cache.join(format!("{}.{}", &got[..16], std::process::id()));
            python(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&partly))?;
            std::fs::rename(&partly, &unpacked).map_err(Failure::file(&unpacked))?;
        }
        Ok(unpacked)
    }
}

fn cache() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    home.unwrap_or_else(std::env::temp_dir).join("runlake-device-code")
}

fn python(command: &mut Command) -> Result<(), Failure> {
    let output = command.output().map_err(|error| Failure::Unreachable(format!("python3: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("no message").to_owned();
    Err(Failure::Unreachable(format!(
        "the CUDA tools cannot be fetched from the Python package index ({last})"
    )))
}
