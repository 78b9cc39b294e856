//! A CUDA driver whose device is this machine's CPU, compiled from `emu/` and the kernels' own sources, and programs
//! that run with it.
//!
//! Each case runs in a process of its own, which finds the emulator where the loader looks first; so nothing in the
//! backend knows of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// Set in processes that have the emulator for a driver.
pub(crate) const CHILD: &str = "RL_EMU_CHILD";

/// A compiled emulator.
pub(crate) struct Emulator {
    folder: PathBuf,
}

impl Emulator {
    /// The emulator, compiled if need be; `None` (after saying so) where there is no C++ compiler.
    pub(crate) fn new() -> Option<Self> {
        Self::with_flags(&[])
    }

    /// As [`Emulator::new`], compiled with more flags.
    pub(crate) fn with_flags(flags: &[&str]) -> Option<Self> {
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "g++".to_owned());
        let version = Command::new(&compiler).arg("--version").output();
        let Some(version) = version.ok().filter(|output| output.status.success()) else {
            println!("skipped: no C++ compiler for the emulator ({compiler})");
            return None;
        };
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut hasher = DefaultHasher::new();
        (version.stdout, flags).hash(&mut hasher);
        let mut sources = Vec::new();
        for folder in ["emu", "cuda"] {
            let mut files: Vec<PathBuf> = std::fs::read_dir(crate_folder.join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            files.retain(|path| path.is_file());
            files.sort();
            for file in files {
                std::fs::read(&file).unwrap().hash(&mut hasher);
                if file.extension().is_some_and(|extension| extension == "cpp") {
                    sources.push(file);
                }
            }
        }
        // Tests of this process that want the same emulator wait for the one that compiles it.
        static COMPILING: Mutex<()> = Mutex::new(());
        let _compiling = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("emulator-{:016x}", hasher.finish()));
        if !folder.is_dir() {
            let unfinished = folder.with_extension(std::process::id().to_string());
            std::fs::create_dir_all(&unfinished).unwrap();
            let output = Command::new(&compiler)
                .args([
                    "-std=c++17",
                    "-O2",
                    "-march=native",
                    "-ffp-contract=off",
                    "-fPIC",
                    "-shared",
                    "-pthread",
                ])
                .args(["-Wall", "-Wno-unknown-pragmas", "-Wl,-soname,libcuda.so"])
                .args(flags)
                .args(&sources)
                .arg("-o")
                .arg(unfinished.join("libcuda.so"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "the emulator does not compile:\n{said}");
            // Another process may have compiled it at the same time; either is good.
            if std::fs::rename(&unfinished, &folder).is_err() {
                std::fs::remove_dir_all(&unfinished).unwrap();
            }
        }
        Some(Self { folder })
    }

    /// Runs tests of this program, by the beginning of their names, with the emulator for a driver.
    pub(crate) fn run(&self, tests: &str, environment: &[(&str, &str)]) -> Output {
        run_with_driver(&self.folder, tests, environment)
    }

    /// As [`Emulator::run`]; fails unless at least one test ran and all passed.
    #[track_caller]
    pub(crate) fn pass(&self, tests: &str, environment: &[(&str, &str)]) {
        passed(tests, environment, &self.run(tests, environment));
    }
}

/// Runs tests of this program with the driver in a folder.
pub(crate) fn run_with_driver(folder: &Path, tests: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--include-ignored", "--nocapture", tests]).env("LD_LIBRARY_PATH", folder).env(CHILD, "1");
    command.env_remove("RUNLAKE_DEVICE").envs(environment.iter().copied());
    command.output().unwrap()
}

/// Fails unless at least one test ran and all passed.
#[track_caller]
pub(crate) fn passed(tests: &str, environment: &[(&str, &str)], output: &Output) {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ran = out.lines().any(|line| line.starts_with("test result: ok") && !line.contains(" 0 passed"));
    assert!(output.status.success() && ran, "{tests} with {environment:?}:\n{out}\n{error}");
    print!(
        "{}",
        out.lines()
            .filter(|line| line.starts_with("emulated:"))
            .fold(String::new(), |all, line| all + line + "\n")
    );
}
