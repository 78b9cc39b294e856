//! `runlake vacuum`.

use std::time::Duration;

use clap::Args;
use runlake::store::VacuumOptions;

use crate::arguments::Place;
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake vacuum --dry-run\n  runlake vacuum\n  runlake vacuum --older-than 0s    # nobody else reads the lake; deleted runs are gone from the disk now"
)]
pub(crate) struct VacuumArguments {
    /// Keep files that a version of the last while needs: a number with s, m, h or d
    #[arg(long, default_value = "24h", value_parser = duration, value_name = "TIME")]
    older_than: Duration,
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// Reads a time such as `90s`, `30m`, `24h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text.strip_suffix(unit).unwrap_or_default();
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err("write a whole number and s, m, h or d, such as 24h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write a whole number in front of the unit".to_owned())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "that is too long".to_owned())
}

pub(crate) async fn run(place: &Place, arguments: VacuumArguments) -> anyhow::Result<u8> {
    access::lake_only(place, "runlake vacuum")?;
    let lake = access::write_existing(place, "runlake vacuum").await?;
    let options = VacuumOptions { older_than: Some(arguments.older_than), dry_run: arguments.dry_run };
    let outcome = lake.vacuum(options).await;
    lake.close().await;
    let report = outcome?;
    if report.dry_run {
        for file in &report.files {
            println!("tables/{}/{} ({} bytes)", file.table, file.file, file.bytes);
        }
    }
    println!(
        "{} data files ({} bytes) {}, {} log files removed; {} unneeded files are too young or in use",
        report.files.len(),
        report.bytes(),
        if report.dry_run { "would be removed" } else { "removed" },
        report.log_files,
        report.kept
    );
    Ok(exit::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "h", "24", "1.5h", "-1h", "1w", "99999999999999999d", "2ä"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
