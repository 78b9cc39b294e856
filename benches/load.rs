//! `cargo bench`: everything that `runlake bench` measures, with peers under the same load.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    // `cargo test` runs benches with --test; there is nothing to test here.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    // What stands behind `--` goes on: `cargo bench -- ingest --seconds 2`. Cargo itself adds `--bench`.
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let outcome = Command::new(env!("CARGO_BIN_EXE_runlake")).arg("bench").args(arguments).status();
    match outcome {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot start runlake: {error}");
            ExitCode::FAILURE
        }
    }
}
