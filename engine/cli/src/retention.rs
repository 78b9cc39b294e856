//! `runlake retention`.

use clap::Args;
use model::ProjectName;

use crate::arguments::Place;
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake retention\n  runlake retention --project scratch --days 30\n  runlake retention --project scratch --keep\n  runlake retention --apply"
)]
pub(crate) struct RetentionArguments {
    /// The project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Delete its runs this many days after their end
    #[arg(long, requires = "project", value_parser = clap::value_parser!(u32).range(1..))]
    days: Option<u32>,
    /// Keep its runs for ever
    #[arg(long, requires = "project", conflicts_with = "days")]
    keep: bool,
    /// Delete now what is due; a server does so every hour
    #[arg(long)]
    apply: bool,
}

pub(crate) async fn run(place: &Place, arguments: RetentionArguments) -> anyhow::Result<u8> {
    access::lake_only(place, "runlake retention")?;
    let project =
        arguments.project.as_ref().map(ProjectName::new).transpose().map_err(runlake::Error::from)?;
    let changes = arguments.days.is_some() || arguments.keep;
    if changes || arguments.apply {
        let lake = access::write_existing(place, "runlake retention").await?;
        let outcome = async {
            if let Some(project) = project.clone().filter(|_| changes) {
                lake.set_retention(project, arguments.days).await?;
            }
            if arguments.apply {
                let deleted = lake.store()?.apply_retention().await?;
                println!("{deleted} runs deleted");
            }
            Ok::<(), runlake::Error>(())
        }
        .await;
        lake.close().await;
        outcome?;
    }
    let lake = access::read(place).await?;
    let snapshot = lake.snapshot().await?;
    let mut found = false;
    for (name, days) in snapshot.registry().retention() {
        if project.as_ref().is_none_or(|project| project == name) {
            found = true;
            println!("{name}: runs are deleted {days} days after their end");
        }
    }
    if !found {
        match project {
            Some(project) => println!("{project}: runs are kept for ever"),
            None => println!("runs of all projects are kept for ever"),
        }
    }
    Ok(exit::DONE)
}
