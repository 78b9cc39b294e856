//! The real binary: built once, run with a known environment, its output taken.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The path of the `runlake` binary.
///
/// The first call builds it with the cargo, the target folder and the profile of the running test, so that it is never
/// older than the sources. The variable `RUNLAKE_BIN` names another binary, such as an installed one.
///
/// # Panics
/// When it cannot be built, with what cargo said.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("RUNLAKE_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    // A test binary stands in TARGET/PROFILE/deps.
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile_folder =
        test.parent().and_then(Path::parent).expect("a test binary stands in a target folder");
    let target = profile_folder.parent().expect("a profile's folder stands in a target folder");
    let profile = match profile_folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // What cargo tells a test of its package would count as a change for build scripts that ask for it, and most
    // dependencies would be built anew, here and again in the next build outside of a test.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            build.env_remove(name);
        }
    }
    let built = build
        .args([
            "build",
            "--quiet",
            "--workspace",
            "--bin",
            "runlake",
            "--profile",
            profile,
            "--manifest-path",
        ])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .output()
        .expect("cargo can be run");
    assert!(built.status.success(), "the binary does not build:\n{}", String::from_utf8_lossy(&built.stderr));
    profile_folder.join(format!("runlake{}", std::env::consts::EXE_SUFFIX))
}

/// A command line of the binary, without what the environment of the tester would change.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    for name in [
        "RUNLAKE_LAKE",
        "RUNLAKE_STATE",
        "RUNLAKE_URL",
        "RUNLAKE_MEMORY",
        "RUNLAKE_LOG",
        "RUNLAKE_TOKEN",
        "RUST_LOG",
        "RUST_BACKTRACE",
    ] {
        command.env_remove(name);
    }
    command.env("COLUMNS", "100").env("USER", "tester").stdin(Stdio::null());
    command
}

/// A lake as the command line takes it.
pub trait LakePlace {
    /// Names the lake, and what else is needed to reach it.
    fn prepare(&self, command: &mut Command);

    /// The file for what servers of this lake log.
    fn log(&self) -> PathBuf;
}

impl LakePlace for Path {
    fn prepare(&self, command: &mut Command) {
        command.arg("--lake").arg(self);
    }

    fn log(&self) -> PathBuf {
        self.with_file_name("serve.log")
    }
}

impl LakePlace for PathBuf {
    fn prepare(&self, command: &mut Command) {
        self.as_path().prepare(command);
    }

    fn log(&self) -> PathBuf {
        self.as_path().log()
    }
}

impl<T: LakePlace + ?Sized> LakePlace for &T {
    fn prepare(&self, command: &mut Command) {
        T::prepare(self, command);
    }

    fn log(&self) -> PathBuf {
        T::log(self)
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Done {
    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another one, with everything that the command said.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "exit code {}, expected {code}\n{}\n{}",
            self.code, self.stdout, self.stderr
        );
        self
    }
}

/// Runs a prepared command to its end.
///
/// # Panics
/// When it cannot be started or its output is not UTF-8.
pub fn done(command: &mut Command) -> Done {
    let output = command.output().expect("the binary can be run");
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("the output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("the messages are UTF-8"),
    }
}

/// Runs the binary on a lake.
///
/// # Panics
/// As [`done`].
pub fn run<S: AsRef<OsStr>>(
    lake: &(impl LakePlace + ?Sized),
    arguments: impl IntoIterator<Item = S>,
) -> Done {
    let mut command = command();
    lake.prepare(&mut command);
    done(command.args(arguments))
}

/// The rows of a statement as JSON objects, through `runlake sql --format json`. JSON has no NaN and no infinity:
/// they come as null; [`sql_texts`] tells them apart.
///
/// # Panics
/// When the statement fails.
#[track_caller]
pub fn sql(lake: &(impl LakePlace + ?Sized), statement: &str) -> Vec<Value> {
    let answer = run(lake, ["sql", statement, "--format", "json"]).expect(0);
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error} in {}", answer.stdout))
}

/// The rows of a statement as cells of text, through `runlake sql --format csv`; for cells without commas and quotes.
///
/// # Panics
/// When the statement fails.
#[track_caller]
pub fn sql_texts(lake: &(impl LakePlace + ?Sized), statement: &str) -> Vec<Vec<String>> {
    let answer = run(lake, ["sql", statement, "--format", "csv"]).expect(0);
    answer.stdout.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}
