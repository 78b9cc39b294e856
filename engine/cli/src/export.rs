//! `runlake export`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use runlake::exporters::{Compression, ExportForm};
use runlake::{ExportOptions, ExportReport, MetricGlob, Selector};

use crate::arguments::Place;
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake export --to ./out                                  (all runs, as Parquet)\n  runlake export 'experiment:augmentation' --to ./out --format csv --compress zstd\n  runlake export 'tag:arm=new & params.lr > 0.01' --metric 'val/*' --to ./out --format jsonl\n  runlake export --to ./mlruns --format mlflow               (then: mlflow ui --backend-store-uri ./mlruns)\n  runlake export --to ./logs --format tensorboard            (then: tensorboard --logdir ./logs)"
)]
pub(crate) struct ExportArguments {
    /// Which runs: run ids, tag:KEY=VALUE, param:KEY=VALUE, experiment:NAME or an SQL condition; all when not given
    #[arg(value_name = "RUNS")]
    runs: Option<String>,
    /// The folder to make
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// What is written
    #[arg(long, value_enum, default_value_t = FormatWord::Parquet)]
    format: FormatWord,
    /// Only metrics that match: * stands for any characters, ? for one
    #[arg(long, value_name = "GLOB")]
    metric: Option<String>,
    /// Pack CSV and JSON lines
    #[arg(long, value_enum)]
    compress: Option<CompressionWord>,
    /// Replace the export that stands in the folder
    #[arg(long)]
    overwrite: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FormatWord {
    Parquet,
    Csv,
    Jsonl,
    #[value(name = "tensorboard")]
    TensorBoard,
    Mlflow,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum CompressionWord {
    Gzip,
    Zstd,
}

pub(crate) async fn run(place: &Place, arguments: ExportArguments) -> anyhow::Result<u8> {
    access::lake_only(place, "export")?;
    let options = ExportOptions {
        runs: arguments.runs.as_deref().map(Selector::parse).transpose()?,
        metrics: arguments.metric.as_deref().map(MetricGlob::parse).transpose()?,
        form: match arguments.format {
            FormatWord::Parquet => ExportForm::Parquet,
            FormatWord::Csv => ExportForm::Csv,
            FormatWord::Jsonl => ExportForm::Jsonl,
            FormatWord::TensorBoard => ExportForm::TensorBoard,
            FormatWord::Mlflow => ExportForm::Mlflow,
        },
        compression: match arguments.compress {
            None => Compression::None,
            Some(CompressionWord::Gzip) => Compression::Gzip,
            Some(CompressionWord::Zstd) => Compression::Zstd,
        },
        overwrite: arguments.overwrite,
    };
    let lake = access::read(place).await?;
    let (start, bar) = (Instant::now(), progress_bar());
    let shown = bar.clone();
    let show = move |progress: runlake::ExportProgress| {
        shown.set_length(progress.points_total);
        shown.set_position(progress.points_done);
    };
    let outcome = lake.export(&arguments.to, options, show).await;
    bar.finish_and_clear();
    let Some(report) = outcome? else {
        println!("no run is chosen; nothing is written");
        return Ok(exit::NOTHING);
    };
    print(&report, &arguments.to, start.elapsed().as_secs_f64());
    Ok(if report.manifest.points < report.points_chosen { exit::REJECTED } else { exit::DONE })
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    // The template is fixed; were it wrong, the default style would do.
    let template = "{bar:30} {human_pos}/{human_len} points {per_sec} {elapsed}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn print(report: &ExportReport, target: &std::path::Path, seconds: f64) {
    let manifest = &report.manifest;
    println!(
        "exported {} runs, {} series, {} points to {} in {seconds:.1} s",
        manifest.runs,
        manifest.series,
        manifest.points,
        target.display()
    );
    for file in &manifest.files {
        println!("  {:<24} {} rows, {} bytes", file.file, file.rows, file.bytes);
    }
    let left = report.points_chosen.saturating_sub(manifest.points);
    if left > 0 {
        println!("  {left} points are left out");
    }
    for loss in &manifest.losses {
        println!("  {} × {} [{}]", loss.count, loss.message, loss.code);
    }
    if report.notes > 0 {
        println!(
            "  {} notes and decisions about these runs are not in an export; `runlake backup` copies a lake with all of it",
            report.notes
        );
    }
}
