//! `runlake tail`, which is also `runlake import --follow`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use runlake::{FollowReport, FollowRound, ImportOptions};

use crate::arguments::Place;
use crate::{access, exit, import};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake tail ./runs                   (event files, W&B offline runs, CSV and JSON lines as they grow)\n  runlake tail log.csv --map run=run,step=step\nEnds with Ctrl-C. `runlake import` of the same path afterwards takes what was not whole yet."
)]
pub(crate) struct TailArguments {
    /// A file, a store, or a folder with any of them; new files in it are found too
    path: PathBuf,
    /// Which column feeds what, for tables
    #[arg(long, value_name = "ROLE=COLUMN,…")]
    map: Option<String>,
    /// The same in a TOML file
    #[arg(long, value_name = "FILE", conflicts_with = "map")]
    map_file: Option<PathBuf>,
    /// Put all runs into this experiment
    #[arg(long)]
    experiment: Option<String>,
    /// Put runs that name no project into this one
    #[arg(long, default_value = "default")]
    project: String,
}

pub(crate) async fn run(place: &Place, arguments: TailArguments) -> anyhow::Result<u8> {
    let TailArguments { path, map, map_file, experiment, project } = arguments;
    let options =
        import::options(map.as_deref(), map_file.as_deref(), experiment.as_deref(), &project, false)?;
    follow(place, &path, options).await
}

/// Follows a path until Ctrl-C, or the end that a supervisor asks for.
pub(crate) async fn follow(place: &Place, path: &Path, options: ImportOptions) -> anyhow::Result<u8> {
    access::lake_only(place, "tail")?;
    let stop = stop()?;
    let lake = access::write(place, "runlake tail").await?;
    println!("following {}; Ctrl-C ends it", path.display());
    let outcome = lake.follow(path, options, stop, show).await;
    lake.close().await;
    let report = outcome?;
    print(&report);
    Ok(if report.rejected > 0 { exit::REJECTED } else { exit::DONE })
}

/// Is there when the user or a supervisor asks for the end. The signals are caught from here on, before the lake is open.
fn stop() -> anyhow::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut ended = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate()).context("cannot listen for the end")?
    };
    #[cfg(unix)]
    let mut interrupted = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?
    };
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = ended.recv() => {}
            _ = interrupted.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    })
}

fn show(round: &FollowRound) {
    if round.new_points == 0 && round.new_runs == 0 {
        return;
    }
    const SHOWN: usize = 3;
    let mut units = round.units.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if round.units.len() > SHOWN {
        units.push_str(&format!(" and {} more", round.units.len() - SHOWN));
    }
    let runs = if round.new_runs > 0 { format!(" ({} new runs)", round.new_runs) } else { String::new() };
    println!("+{} points{runs} from {units}", round.new_points);
}

fn print(report: &FollowReport) {
    println!(
        "followed {} files or run folders: {} points and {} runs added",
        report.units, report.new_points, report.new_runs
    );
    if report.rejected > 0 {
        println!("  {} records rejected:", report.rejected);
        for rejection in report.rejections.iter().take(20) {
            println!("    {rejection}");
        }
    }
}
