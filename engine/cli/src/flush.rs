//! `runlake flush`.

use clap::{Args, ValueEnum};
use runlake::store::StaleLog;

use crate::arguments::Place;
use crate::exit::UsageError;
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake flush\n  runlake --lake s3://runs/team flush\n  runlake --lake s3://runs/team flush --stale-log adopt"
)]
pub(crate) struct FlushArguments {
    /// On an object store: what becomes of acknowledged writes in the log of this machine that never came into the
    /// lake, because another machine has written to it since
    #[arg(long, value_enum, default_value_t = StaleLogChoice::Refuse)]
    stale_log: StaleLogChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StaleLogChoice {
    /// Stop and say how much it is
    Refuse,
    /// Write them into the lake as it is now, each once
    Adopt,
    /// Move the log into the folder `stale` beside it
    SetAside,
}

impl From<StaleLogChoice> for StaleLog {
    fn from(choice: StaleLogChoice) -> Self {
        match choice {
            StaleLogChoice::Refuse => Self::Refuse,
            StaleLogChoice::Adopt => Self::Adopt,
            StaleLogChoice::SetAside => Self::SetAside,
        }
    }
}

pub(crate) async fn run(place: &Place, arguments: FlushArguments) -> anyhow::Result<u8> {
    if let Some(url) = &place.url {
        if arguments.stale_log != StaleLogChoice::Refuse {
            return Err(
                UsageError("`--stale-log` is for a lake (--lake), not for a server".to_owned()).into()
            );
        }
        let flushed = access::connect(url).await?.flush().await?;
        println!("{} points flushed, {} tables committed", flushed.points, flushed.tables);
        return Ok(exit::DONE);
    }
    let lake = access::write_existing_with(place, "runlake flush", arguments.stale_log.into()).await?;
    let mut code = exit::DONE;
    for adopted in lake.adopted() {
        println!(
            "{} records with {} points adopted from {}; {} were in the lake already",
            adopted.records,
            adopted.points,
            adopted.folder.display(),
            adopted.duplicates
        );
        for refused in &adopted.refused {
            println!("not adopted: {refused}");
            code = exit::REJECTED;
        }
    }
    let outcome = lake.flush().await;
    lake.close().await;
    let report = outcome?;
    println!(
        "{} points flushed ({} bytes); committed: {}",
        report.points,
        report.point_bytes,
        if report.tables.is_empty() { "nothing new".to_owned() } else { report.tables.join(", ") }
    );
    Ok(code)
}
