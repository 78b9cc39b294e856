//! The `runlake` command: parse, call the library, show, exit with the right code.

mod access;
mod allocator;
mod arguments;
mod backup;
mod baseline;
mod bench;
mod cluster;
mod compact;
mod compare;
mod decide;
mod delete;
mod demo;
mod exit;
mod export;
mod flush;
mod functions;
mod gate;
mod import;
mod importance;
mod note;
mod output;
mod progress;
mod prompt;
mod receipts;
mod record;
mod retention;
mod run_set;
mod runs;
mod serve;
mod show;
mod size;
mod sql;
mod tail;
mod vacuum;
mod verify;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(exit::report_panic));
    let arguments = Arguments::parse();
    if matches!(arguments.command, Command::Serve(_)) {
        allocator::prepare();
    }
    let filter = std::env::var("RUNLAKE_LOG").unwrap_or_else(|_| arguments.default_log().to_owned());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("runlake: cannot start: {error}");
            return ExitCode::from(exit::INTERNAL);
        }
    };
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(arguments))));
    // Threads that still read a file or a socket must not hold up the end of the command.
    runtime.shutdown_background();
    match outcome {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(error)) => {
            if exit::is_closed_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            eprintln!("runlake: {}", exit::message(&error));
            ExitCode::from(exit::code_of(&error))
        }
        Err(_) => ExitCode::from(exit::INTERNAL),
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let place = &arguments.place;
    match arguments.command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Serve(arguments) => serve::run(place, arguments).await,
        Command::Import(arguments) => import::run(place, arguments).await,
        Command::Tail(arguments) => tail::run(place, arguments).await,
        Command::Export(arguments) => export::run(place, arguments).await,
        Command::Sql(arguments) => sql::run(place, arguments).await,
        Command::Runs(arguments) => runs::run(place, arguments).await,
        Command::Show(arguments) => show::run(place, arguments).await,
        Command::Gate(arguments) => gate::run(place, *arguments).await,
        Command::Compare(arguments) => compare::run(place, arguments).await,
        Command::Baseline(arguments) => baseline::run(place, arguments).await,
        Command::Importance(arguments) => importance::run(place, arguments).await,
        Command::Cluster(arguments) => cluster::run(place, arguments).await,
        Command::Decide(arguments) => decide::run(place, arguments).await,
        Command::Note(arguments) => note::run(place, arguments).await,
        Command::Record(arguments) => record::run(place, arguments).await,
        Command::Flush(arguments) => flush::run(place, arguments).await,
        Command::Compact(arguments) => compact::run(place, arguments).await,
        Command::Vacuum(arguments) => vacuum::run(place, arguments).await,
        Command::Delete(arguments) => delete::run(place, arguments).await,
        Command::Retention(arguments) => retention::run(place, arguments).await,
        Command::Verify(arguments) => verify::run(place, arguments).await,
        Command::Backup(arguments) => backup::back_up(place, arguments).await,
        Command::Restore(arguments) => backup::restore(arguments).await,
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Functions(arguments) => functions::run(arguments).await,
    }
}
