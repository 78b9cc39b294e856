//! `runlake compact`.

use clap::Args;
use runlake::store::CompactOptions;

use crate::arguments::Place;
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake compact\n  runlake compact --full\n\nA server compacts its lake in the background; this is for lakes without one, and for those who cannot wait."
)]
pub(crate) struct CompactArguments {
    /// Merge whatever overlaps, also where more is written than is gained
    #[arg(long)]
    full: bool,
}

pub(crate) async fn run(place: &Place, arguments: CompactArguments) -> anyhow::Result<u8> {
    access::lake_only(place, "runlake compact")?;
    let lake = access::write_existing(place, "runlake compact").await?;
    let outcome = lake.compact(CompactOptions { full: arguments.full, sweep: true }).await;
    lake.close().await;
    let report = outcome?;
    if report.merges == 0 {
        println!("nothing to merge: {} files of points", report.files_after);
    } else {
        println!(
            "{} files of points became {}; up to {} lay on top of each other, now {}",
            report.files_before, report.files_after, report.layers_before, report.layers_after
        );
        println!(
            "{} bytes read, {} bytes written, {} points of deleted runs left out",
            report.bytes_read, report.bytes_written, report.rows_removed
        );
        println!("the replaced files stay for readers until `runlake vacuum` removes them");
    }
    for skipped in &report.skipped {
        println!("LEFT ALONE  {}: {}", skipped.file, skipped.reason);
    }
    Ok(if report.skipped.is_empty() { exit::DONE } else { exit::INTERNAL })
}
