//! Receipts of imports: listed, shown, written to a file, and checked against the lake.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use arrow::temporal_conversions::timestamp_us_to_datetime;
use clap::{Args, ValueEnum};
use runlake::{Held, ImportReport, Lake, Receipt, ReceiptCheck, ReceiptContent, ReceiptSource};
use serde_json::json;

use crate::arguments::Place;
use crate::{access, exit};

/// Differences that are printed one by one.
const SHOWN: usize = 50;
/// Series that are printed of a receipt for people.
const SERIES_SHOWN: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct ReceiptArguments {
    /// Write the receipt of this import to a file too, as JSON
    #[arg(long, value_name = "FILE", requires = "path")]
    receipt_file: Option<PathBuf>,
    /// List the receipts of all imports
    #[arg(long, conflicts_with_all = ["path", "receipt", "verify"])]
    receipts: bool,
    /// Print a receipt
    #[arg(long, value_name = "ID", conflicts_with_all = ["path", "verify"])]
    receipt: Option<String>,
    /// Check that the lake holds exactly the points that a receipt lists: an id or a file
    #[arg(long, value_name = "RECEIPT", conflicts_with = "path")]
    verify: Option<String>,
    /// How receipts and what was found are printed
    #[arg(long, value_enum, default_value_t = ReceiptFormat::Text, conflicts_with = "path")]
    format: ReceiptFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReceiptFormat {
    /// For people
    Text,
    /// One JSON document
    Json,
}

impl ReceiptArguments {
    /// Writes the receipt of an import to the file that was asked for.
    pub(crate) async fn after_import(&self, lake: &Lake, report: &ImportReport) -> anyhow::Result<()> {
        let Some(path) = &self.receipt_file else { return Ok(()) };
        let receipt = lake.receipt(&ReceiptSource::Id(report.receipt.clone())).await?;
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        std::io::copy(&mut receipt.json()?, &mut file)?;
        file.flush().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Everything that is done with receipts without an import.
pub(crate) async fn run(place: &Place, arguments: &ReceiptArguments) -> anyhow::Result<u8> {
    let lake = access::read(place).await?;
    if let Some(receipt) = &arguments.verify {
        // A file that is there is meant before a receipt of that name.
        let source = match Path::new(receipt).is_file() {
            true => ReceiptSource::File(receipt.into()),
            false => ReceiptSource::Id(receipt.clone()),
        };
        let content = lake.receipt(&source).await?;
        let check = lake.verify_receipt(&content).await?;
        return show_check(content.name(), &check, arguments.format);
    }
    if let Some(id) = &arguments.receipt {
        return show(&lake.receipt(&ReceiptSource::Id(id.clone())).await?, arguments.format);
    }
    list(&lake.receipts().await?, arguments.format)
}

fn list(receipts: &[Receipt], format: ReceiptFormat) -> anyhow::Result<u8> {
    if format == ReceiptFormat::Json {
        let heads = receipts.iter().map(|receipt| {
            json!({
                "id": receipt.id, "time": receipt.time, "complete": receipt.complete, "root": receipt.root,
                "runs": receipt.runs, "series_count": receipt.series_count, "points": receipt.points,
                "new_points": receipt.new_points, "rejected": receipt.rejected,
            })
        });
        println!("{}", serde_json::to_string_pretty(&heads.collect::<Vec<_>>())?);
        return Ok(exit::DONE);
    }
    for receipt in receipts {
        println!(
            "{}  {} runs, {} series, {} points ({} new), {} rejected  {}{}",
            receipt.id,
            receipt.runs,
            receipt.series_count,
            receipt.points,
            receipt.new_points,
            receipt.rejected,
            receipt.root,
            unfinished(receipt)
        );
    }
    if receipts.is_empty() {
        println!("nothing was imported into this lake");
    }
    Ok(exit::DONE)
}

fn unfinished(receipt: &Receipt) -> &'static str {
    if receipt.complete { "" } else { " (the import did not come to its end)" }
}

fn show(content: &ReceiptContent, format: ReceiptFormat) -> anyhow::Result<u8> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    if format == ReceiptFormat::Json {
        let mut json: Box<dyn Read> = Box::new(BufReader::new(content.json()?));
        std::io::copy(&mut json, &mut out)?;
        out.flush()?;
        return Ok(exit::DONE);
    }
    let receipt = content.head()?;
    writeln!(out, "receipt {} of {}{}", receipt.id, receipt.root, unfinished(&receipt))?;
    writeln!(out, "  imported {} by {}", shown_time(receipt.time), receipt.created_by)?;
    writeln!(
        out,
        "  {} files or run folders, {} runs, {} series, {} points ({} new; {} NaN, {} infinite)",
        receipt.units.len(),
        receipt.runs,
        receipt.series_count,
        receipt.points,
        receipt.new_points,
        receipt.nan,
        receipt.infinite
    )?;
    if let (Some(steps), Some(times)) = (receipt.steps, receipt.times) {
        writeln!(out, "  steps {} to {}", steps.0, steps.1)?;
        writeln!(out, "  times {} to {}", shown_time(times.0), shown_time(times.1))?;
    }
    for (heading, list) in [("rejected", &receipt.rejections), ("remarks", &receipt.remarks)] {
        if list.is_empty() {
            continue;
        }
        let count: u64 = list.iter().map(|item| item.count).sum();
        writeln!(out, "  {heading}: {count}")?;
        for item in list.iter().take(SHOWN) {
            writeln!(
                out,
                "    {}: {}: {} × {} [{}]",
                item.file, item.place, item.count, item.message, item.code
            )?;
        }
    }
    for left in receipt.left.iter().take(SHOWN) {
        writeln!(out, "  left: {} ({})", left.path, left.reason)?;
    }
    let mut shown = 0;
    let mut failed = None;
    content.for_each_series(&mut |series| {
        shown += 1;
        if shown > SERIES_SHOWN || failed.is_some() {
            return;
        }
        let key = series.key();
        let context = key.context.as_ref().map(|context| format!(" {context}")).unwrap_or_default();
        let lake =
            series.lake.map(|held| format!("; the lake then held {}", shown_held(held))).unwrap_or_default();
        let line = format!("  {} {}{context}: {}{lake}", key.run, key.metric, shown_held(series.source()));
        failed = writeln!(out, "{line}").err();
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if shown > SERIES_SHOWN {
        writeln!(out, "  … and {} more series; --format json has all", shown - SERIES_SHOWN)?;
    }
    out.flush()?;
    Ok(exit::DONE)
}

fn show_check(name: &str, check: &ReceiptCheck, format: ReceiptFormat) -> anyhow::Result<u8> {
    let code = if check.is_equal() { exit::DONE } else { exit::DIFFERS };
    if format == ReceiptFormat::Json {
        let differences = check.differences.iter().map(|difference| {
            json!({
                "run": difference.key.run, "metric": difference.key.metric, "context": difference.key.context,
                "expected": difference.expected, "found": difference.found,
            })
        });
        let report = json!({
            "receipt": name, "equal": check.is_equal(), "series": check.series, "points": check.points,
            "missing": check.missing, "changed": check.changed, "differences": differences.collect::<Vec<_>>(),
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(code);
    }
    if check.is_equal() {
        println!(
            "equal: the lake holds the {} points of {} series of receipt {name}",
            check.points, check.series
        );
        return Ok(code);
    }
    println!(
        "different from receipt {name}: of {} series {} are missing and {} hold other points",
        check.series, check.missing, check.changed
    );
    for difference in check.differences.iter().take(SHOWN) {
        let key = &difference.key;
        let context = key.context.as_ref().map(|context| format!(" {context}")).unwrap_or_default();
        let found = difference.found.map_or_else(|| "missing".to_owned(), shown_held);
        println!(
            "  {} {}{context}: {found}, expected {}",
            key.run,
            key.metric,
            shown_held(difference.expected)
        );
    }
    let more = (check.missing + check.changed).saturating_sub(SHOWN as u64);
    if more > 0 {
        println!("  … and {more} more");
    }
    Ok(code)
}

fn shown_held(held: Held) -> String {
    format!("{} points, hash {:016x}", held.points, held.hash)
}

/// A time for people.
pub(crate) fn shown_time(micros: i64) -> String {
    timestamp_us_to_datetime(micros)
        .map_or_else(|| micros.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}
