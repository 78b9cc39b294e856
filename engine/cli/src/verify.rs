//! `runlake verify`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use runlake::store::disk::RealDisk;
use runlake::store::{self, Finding, VerifyReport};

use crate::arguments::Place;
use crate::progress::Bar;
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake verify\n  runlake --lake ./lake verify --format json\n  runlake verify --salvage         (a damaged log: keep what is readable, the lake opens again)\n\nExit codes: 0 sound, 4 something is damaged."
)]
pub(crate) struct VerifyArguments {
    /// How findings are written
    #[arg(long, value_enum, default_value_t = VerifyFormat::Text)]
    format: VerifyFormat,
    /// Make a damaged log readable: damaged ranges are copied to wal/quarantine and given up, everything else is kept
    #[arg(long)]
    salvage: bool,
    /// Set damaged data files aside that the log can give back, and make their rows again from it
    #[arg(long)]
    quarantine: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VerifyFormat {
    /// One line a finding
    Text,
    /// One JSON object
    Json,
}

pub(crate) async fn run(place: &Place, arguments: VerifyArguments) -> anyhow::Result<u8> {
    if arguments.salvage || arguments.quarantine {
        access::lake_only(place, "verify --salvage and --quarantine")?;
    }
    if let Some(url) = &place.url {
        let verified = access::connect(url).await?.verify().await?;
        let findings =
            verified.problems.iter().map(|problem| (problem.place.as_str(), problem.message.as_str()));
        if arguments.format == VerifyFormat::Json {
            let findings: Vec<_> =
                findings.map(|(place, what)| serde_json::json!({ "place": place, "what": what })).collect();
            let count = findings.len();
            let report = serde_json::json!({
                "files": verified.files, "bytes": verified.bytes, "log_records": verified.log_records,
                "findings": findings,
            });
            print_json(&report)?;
            return Ok(if count == 0 { exit::DONE } else { exit::INTERNAL });
        }
        println!("{} files ({} bytes), {} log records", verified.files, verified.bytes, verified.log_records);
        return Ok(conclude(findings));
    }
    if arguments.salvage {
        salvage(&access::folder(place, "verify --salvage")?).await?;
    }
    if arguments.quarantine {
        quarantine(place, &access::folder(place, "verify --quarantine")?).await?;
    }
    let location = access::location(place)?;
    let bar = Bar::new("checking");
    let report = store::verify_with(location, Arc::new(RealDisk), Some(bar.sink())).await;
    bar.finish();
    let report = report.map_err(runlake::Error::from)?;
    match arguments.format {
        VerifyFormat::Json => {
            print_json(&serde_json::to_value(&report)?)?;
            Ok(if report.is_sound() { exit::DONE } else { exit::INTERNAL })
        }
        VerifyFormat::Text => Ok(print(&report)),
    }
}

async fn salvage(path: &Path) -> anyhow::Result<()> {
    let salvaged = store::salvage(path, Arc::new(RealDisk), "runlake verify --salvage").await;
    let salvaged = salvaged.map_err(runlake::Error::from)?;
    if salvaged.files.is_empty() {
        eprintln!("salvage: the log is readable, nothing was changed");
    }
    for file in &salvaged.files {
        eprintln!("salvage: {}, the original is kept as {}", file.file, file.kept);
    }
    for lost in &salvaged.lost {
        eprintln!("salvage: log records {} to {} are lost", lost.start(), lost.end());
    }
    for left in &salvaged.left_out {
        eprintln!("salvage: {left}");
    }
    Ok(())
}

async fn quarantine(place: &Place, path: &Path) -> anyhow::Result<()> {
    let done = store::quarantine(path, Arc::new(RealDisk), "runlake verify --quarantine").await;
    let done = done.map_err(runlake::Error::from)?;
    for file in &done.set_aside {
        let kept = file.kept.as_deref().unwrap_or("nothing: it was missing");
        eprintln!("quarantine: {} ({} rows), kept as {kept}; the log has its rows", file.file, file.rows);
    }
    for left in &done.left {
        eprintln!("quarantine: {} stays: the log no longer has its rows", left.place);
    }
    if !done.set_aside.is_empty() {
        let lake = access::write_existing(place, "runlake verify --quarantine").await?;
        let flushed = lake.flush().await;
        lake.close().await;
        flushed?;
    }
    Ok(())
}

fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{value:#}")?;
    Ok(())
}

fn print(report: &VerifyReport) -> u8 {
    println!(
        "{} runs, {} series, {} points, {} files ({} bytes), {} commits, {} log records",
        report.runs,
        report.series,
        report.points,
        report.files,
        report.bytes,
        report.commits,
        report.log_records
    );
    for note in &report.notes {
        println!("note  {note}");
    }
    let places: Vec<(String, String)> = report.findings.iter().map(|f| (place_of(f), f.detail())).collect();
    conclude(places.iter().map(|(place, what)| (place.as_str(), what.as_str())))
}

fn place_of(finding: &Finding) -> String {
    match &finding.part {
        Some(part) => format!("{}, {part}", finding.place),
        None => finding.place.clone(),
    }
}

fn conclude<'a>(findings: impl Iterator<Item = (&'a str, &'a str)>) -> u8 {
    let mut count = 0;
    for (place, what) in findings {
        count += 1;
        println!("DAMAGED  {place}: {what}");
    }
    if count == 0 {
        println!("sound");
        return exit::DONE;
    }
    println!("{count} findings; what is not named here is sound.");
    exit::INTERNAL
}
