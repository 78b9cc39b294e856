//! `runlake backup` and `runlake restore`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use runlake::store;
use runlake::store::disk::{Disk, RealDisk};

use crate::arguments::Place;
use crate::progress::Bar;
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake backup /mnt/backups/lake        (also while a server writes; copies only what is new)\n  runlake --lake ./lake backup ./copies"
)]
pub(crate) struct BackupArguments {
    /// The folder of the backups
    destination: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake restore /mnt/backups/lake ./lake\n  runlake restore ./copies ./lake --at 1200     (an older backup, by its last log record)"
)]
pub(crate) struct RestoreArguments {
    /// The folder of the backups
    source: PathBuf,
    /// The lake to make: a folder that is not there, or empty
    target: PathBuf,
    /// The backup up to this log record in place of the newest one
    #[arg(long, value_name = "RECORD")]
    at: Option<u64>,
}

pub(crate) async fn back_up(place: &Place, arguments: BackupArguments) -> anyhow::Result<u8> {
    access::lake_only(place, "backup")?;
    let lake = access::folder(place, "backup")?;
    let (start, bar) = (Instant::now(), Bar::new("copying"));
    let clock = Arc::new(access::now_micros);
    let report =
        store::backup(&lake, &arguments.destination, Arc::new(RealDisk), clock, Some(bar.sink())).await;
    bar.finish();
    let report = report.map_err(runlake::Error::from)?;
    println!(
        "backed up everything up to log record {}: {} files ({} bytes), {} of them ({} bytes) new, in {:.1} s",
        report.last_seq,
        report.files,
        report.bytes,
        report.copied_files,
        report.copied_bytes,
        start.elapsed().as_secs_f64()
    );
    println!("{}", report.manifest.display());
    Ok(exit::DONE)
}

pub(crate) async fn restore(arguments: RestoreArguments) -> anyhow::Result<u8> {
    let (start, bar) = (Instant::now(), Bar::new("restoring"));
    let sink = bar.sink();
    let RestoreArguments { source, target, at } = arguments;
    let shown = target.display().to_string();
    let restored = tokio::task::spawn_blocking(move || {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        store::restore(&source, &target, at, &disk, Some(sink))
    })
    .await?;
    bar.finish();
    let report = restored.map_err(runlake::Error::from)?;
    println!(
        "restored {shown} up to log record {}: {} files ({} bytes), all checked, in {:.1} s",
        report.last_seq,
        report.files,
        report.bytes,
        start.elapsed().as_secs_f64()
    );
    Ok(exit::DONE)
}
