//! `runlake import`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use model::{ExperimentName, ProjectName};
use runlake::importers::{Mapping, Plan, PlannedTable};
use runlake::{ImportOptions, ImportProgress, ImportReport, Lake};

use crate::arguments::Place;
use crate::exit::UsageError;
use crate::receipts::{self, ReceiptArguments};
use crate::{access, exit, tail};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake import ./runs                 (TensorBoard, W&B, MLflow, CSV and more: found by itself)\n  runlake import log.csv --dry-run      (shows what each column would feed)\n  runlake import log.csv --map run=run,step=step,tag:arm=arm,param:seed=seed\n  runlake import log.csv --save-map map.toml --dry-run\n  runlake import log.csv --map map.toml\n  runlake import --receipts             (what was imported so far)\n  runlake import --verify 20261122-063000-123456\n\nExit codes: 0 done, 1 --verify found a difference, 5 nothing to import, 6 done but some input was rejected."
)]
pub(crate) struct ImportArguments {
    /// A file, a store, or a folder with any of them
    #[arg(required_unless_present_any = ["receipts", "receipt", "verify"])]
    path: Option<PathBuf>,
    /// Which column feeds what, for tables, or a TOML file that says so; columns that are not named and hold numbers are
    /// metrics. Kept for the next import of the path
    #[arg(long, value_name = "ROLE=COLUMN,…|FILE.toml")]
    map: Option<String>,
    /// The same in a TOML file of any name
    #[arg(long, value_name = "FILE", conflicts_with = "map")]
    map_file: Option<PathBuf>,
    /// Guess what columns mean, whatever map is kept for the path
    #[arg(long, conflicts_with_all = ["map", "map_file"])]
    guess: bool,
    /// Write what columns mean, as guessed or given, to a TOML file for --map
    #[arg(long, value_name = "FILE", requires = "path")]
    save_map: Option<PathBuf>,
    /// Put all runs into this experiment
    #[arg(long)]
    experiment: Option<String>,
    /// Put runs that name no project into this one
    #[arg(long, default_value = "default")]
    project: String,
    /// Also take tables that stand beside or above the runs of a tracker
    #[arg(long)]
    tables: bool,
    /// Go on and add what comes, until Ctrl-C; the same as `runlake tail`
    #[arg(long, conflicts_with = "dry_run")]
    follow: bool,
    /// Show what would be imported and how, and import nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    receipts: ReceiptArguments,
}

pub(crate) async fn run(place: &Place, arguments: ImportArguments) -> anyhow::Result<u8> {
    access::lake_only(place, "import")?;
    let Some(path) = &arguments.path else { return receipts::run(place, &arguments.receipts).await };
    let ImportArguments { map, map_file, experiment, project, tables, .. } = &arguments;
    let mut options = options(map.as_deref(), map_file.as_deref(), experiment.as_deref(), project, *tables)?;
    options.guess = arguments.guess;
    if arguments.follow {
        return tail::follow(place, path, options).await;
    }
    if arguments.dry_run {
        options.kept_mappings = match access::read(place).await {
            Ok(lake) => lake.kept_mappings().await?,
            // What would be imported can be shown before there is a lake.
            Err(error) if exit::is_no_lake(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        let (detection, plan) = Lake::import_plan(path, &options)?;
        save_map(&plan, &arguments)?;
        println!("{plan}");
        for left in &detection.unrecognised {
            println!("left: {} ({})", left.path.display(), left.reason);
        }
        return Ok(exit::DONE);
    }
    let lake = access::write(place, "runlake import").await?;
    let outcome = async {
        if arguments.save_map.is_some() {
            options.kept_mappings = lake.kept_mappings().await?;
            save_map(&Lake::import_plan(path, &options)?.1, &arguments)?;
        }
        let report = import(&lake, path, options).await?;
        arguments.receipts.after_import(&lake, &report).await?;
        anyhow::Ok(report)
    };
    let outcome = outcome.await;
    lake.close().await;
    let report = outcome?;
    Ok(code_of(&report))
}

/// Writes the meaning of the columns of a plan to the file that was asked for.
fn save_map(plan: &Plan, arguments: &ImportArguments) -> anyhow::Result<()> {
    let Some(file) = &arguments.save_map else { return Ok(()) };
    let tables = plan.sources.iter().flat_map(|source| &source.tables);
    let mut maps: Vec<Mapping> =
        tables.filter_map(|table| table.as_ref().ok()?.as_ref()).map(PlannedTable::mapping).collect();
    maps.dedup();
    let [map] = maps.as_slice() else {
        let reason = match maps.len() {
            0 => "there is no table whose columns could be mapped".to_owned(),
            count => format!("there are {count} tables with different columns; give the path of one"),
        };
        return Err(UsageError(format!("--save-map: {reason}")).into());
    };
    let toml = map.to_toml().map_err(runlake::Error::from)?;
    std::fs::write(file, toml).with_context(|| format!("cannot write {}", file.display()))
}

/// Imports with a progress bar and prints the receipt.
pub(crate) async fn import(lake: &Lake, path: &Path, options: ImportOptions) -> anyhow::Result<ImportReport> {
    let start = Instant::now();
    let bar = progress_bar();
    let shown = bar.clone();
    let outcome = lake.import(path, options, move |progress| show(&shown, &progress)).await;
    bar.finish_and_clear();
    let report = outcome?;
    print_receipt(&report, start.elapsed().as_secs_f64());
    Ok(report)
}

/// How an import is done, from what the command line says.
pub(crate) fn options(
    map: Option<&str>,
    map_file: Option<&Path>,
    experiment: Option<&str>,
    project: &str,
    tables: bool,
) -> anyhow::Result<ImportOptions> {
    let in_file =
        map.map(Path::new).filter(|file| file.extension().is_some_and(|e| e == "toml") || file.is_file());
    let mapping = match (in_file.or(map_file), map) {
        (Some(file), _) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            Some(Mapping::parse_toml(&text).map_err(runlake::Error::from)?)
        }
        (None, Some(text)) => Some(Mapping::parse(text).map_err(runlake::Error::from)?),
        (None, None) => None,
    };
    Ok(ImportOptions {
        project: ProjectName::new(project).map_err(runlake::Error::from)?,
        experiment: experiment.map(ExperimentName::new).transpose().map_err(runlake::Error::from)?,
        tables_beside_trackers: tables,
        mapping,
        ..ImportOptions::default()
    })
}

fn code_of(report: &ImportReport) -> u8 {
    if report.rejected + report.rejected_before > 0 {
        exit::REJECTED
    } else if report.kinds.is_empty() {
        exit::NOTHING
    } else {
        exit::DONE
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    // The template is fixed; were it wrong, the default style would do.
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {elapsed}, {eta} left  {wide_msg}",
    ) {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, progress: &ImportProgress) {
    bar.set_length(progress.bytes_total.max(progress.bytes_done));
    bar.set_position(progress.bytes_done);
    let rate = progress.points as f64 / bar.elapsed().as_secs_f64().max(1e-3);
    bar.set_message(format!("{} points, {rate:.0}/s  {}", progress.points, progress.unit));
}

fn print_receipt(report: &ImportReport, seconds: f64) {
    println!("imported from {}", report.root.display());
    for path in &report.mappings_used {
        println!(
            "  columns as at the last import of {} (--map changes that, --guess forgets it)",
            path.display()
        );
    }
    for (kind, found) in &report.kinds {
        println!(
            "  {kind:<12} {} files or run folders read, {} unchanged since the last import, {} points",
            found.units, found.unchanged, found.points
        );
    }
    println!(
        "  {} runs ({} new), {} series, {} points ({} new; {} NaN, {} infinite) in {seconds:.1} s",
        report.runs,
        report.new_runs,
        report.series,
        report.points,
        report.new_points,
        report.nan,
        report.infinite
    );
    if let Some((first, last)) = report.steps {
        println!("  steps {first} to {last}");
    }
    for remark in &report.remarks {
        println!(
            "  {} × {} [{}], first in {}, {}",
            remark.count,
            remark.message,
            remark.code,
            remark.file.display(),
            remark.place
        );
    }
    if let Some((first, last)) = report.times {
        println!("  times {} to {}", receipts::shown_time(first), receipts::shown_time(last));
    }
    if report.rejected > 0 {
        println!("  {} records rejected:", report.rejected);
        for rejection in report.rejections.iter().take(20) {
            println!("    {rejection}");
        }
        if report.rejections.len() > 20 {
            let by_code: Vec<String> =
                report.rejected_by_code.iter().map(|(code, count)| format!("{count} {code}")).collect();
            println!("    … and more; all by code: {}", by_code.join(", "));
        }
    }
    if report.rejected_before > 0 {
        println!(
            "  {} records of the unchanged files were rejected at their import and are not in the lake",
            report.rejected_before
        );
    }
    for left in report.unrecognised.iter().take(20) {
        println!("  left: {} ({})", left.path.display(), left.reason);
    }
    if report.unrecognised.len() > 20 {
        println!("  … and {} more that were left", report.unrecognised.len() - 20);
    }
    println!("  receipt {} of {} series", report.receipt, report.receipt_series);
}
