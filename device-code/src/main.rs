//! Compiles the CUDA kernels of `kernels/cuda` to PTX ahead of time, and checks that what is in the repository is what
//! the sources give.
//!
//! ```text
//! cargo run -p device-code -- ptx                 compile every kernels/cuda/*.cu to kernels/cuda/ptx/
//! cargo run -p device-code -- ptx --check         compile and compare with the files that are there
//! cargo run -p device-code -- resources           write registers and shared memory to kernels/cuda/resources.txt
//! cargo run -p device-code -- resources --check   compare; fails on any spill or stack frame
//! ```
//!
//! The compiler and the assembler are NVIDIA's, of one version, fetched as Python wheels into a cache folder and never
//! passed on. Where they cannot be fetched, a check says `skipped` and succeeds: a test of the kernels crate still
//! compares the hash of every source.

mod failure;
mod ptx;
mod resources;
mod tool;

use std::process::ExitCode;

use failure::Failure;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (check, outcome) = match arguments.as_slice() {
        ["ptx"] => (false, ptx::write()),
        ["ptx", "--check"] => (true, ptx::check()),
        ["resources"] => (false, resources::write()),
        ["resources", "--check"] => (true, resources::check()),
        // How this program calls itself, with the compiler's folder in the search path of the loader.
        ["compile", source, out] => (false, ptx::compile(source, out)),
        _ => (false, Err(Failure::Usage)),
    };
    match outcome {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(Failure::Unreachable(what)) if check => {
            println!("skipped: {what}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
