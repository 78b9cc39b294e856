//! `runlake delete`.

use std::io::{IsTerminal, Write};

use clap::Args;
use model::{ProjectName, RunId};
use runlake::Lake;

use crate::arguments::Place;
use crate::exit::UsageError;
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake delete --run 0190a5d96e07f2c8b1a6e0f5d3c2b1a0\n  runlake delete --project scratch --yes\n\nDeleted runs are gone from every table at once. Their bytes leave the disk with `runlake compact` and, a day later or with --older-than 0s at once, `runlake vacuum`."
)]
pub(crate) struct DeleteArguments {
    /// The project to delete, with its runs, experiments, decisions, notes and records
    #[arg(long, conflicts_with = "run", required_unless_present = "run", value_name = "NAME")]
    project: Option<String>,
    /// A run to delete; may be given several times
    #[arg(long, value_name = "ID")]
    run: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(place: &Place, arguments: DeleteArguments) -> anyhow::Result<u8> {
    access::lake_only(place, "runlake delete")?;
    let project =
        arguments.project.as_ref().map(ProjectName::new).transpose().map_err(runlake::Error::from)?;
    let runs: Vec<RunId> = arguments
        .run
        .iter()
        .map(|id| id.parse())
        .collect::<Result<_, model::ModelError>>()
        .map_err(runlake::Error::from)?;
    let lake = access::write_existing(place, "runlake delete").await?;
    let outcome = delete(&lake, project, runs, arguments.yes).await;
    lake.close().await;
    outcome
}

async fn delete(
    lake: &Lake,
    project: Option<ProjectName>,
    runs: Vec<RunId>,
    yes: bool,
) -> anyhow::Result<u8> {
    let snapshot = lake.snapshot().await?;
    let registry = snapshot.registry();
    let what = match &project {
        Some(project) => {
            let count = registry.runs().iter().filter(|run| run.project() == project).count();
            format!("project {project} with {count} runs")
        }
        None => format!("{} runs", runs.len()),
    };
    if !yes && !confirmed(&what)? {
        println!("nothing was deleted");
        return Ok(exit::DONE);
    }
    match project {
        Some(project) => lake.delete_project(project).await?,
        None => lake.delete_runs(runs).await?,
    };
    println!("{what} deleted; `runlake compact` and `runlake vacuum` take the bytes from the disk");
    Ok(exit::DONE)
}

/// Asks on the terminal.
fn confirmed(what: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        let text = format!("this deletes {what} for good; say --yes to do it without being asked");
        return Err(UsageError(text).into());
    }
    print!("Delete {what} for good? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
