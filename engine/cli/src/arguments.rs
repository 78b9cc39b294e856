//! The command line: what can be said, with an example for each command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::output::Format;
use crate::{
    backup, baseline, bench, cluster, compact, compare, decide, delete, demo, export, flush, functions, gate,
    import, importance, note, record, retention, runs, serve, show, sql, tail, vacuum, verify,
};

/// Every training run a team ever made, in one place, one SQL query away, with the statistics to say what was learned.
#[derive(Debug, Parser)]
#[command(
    name = "runlake",
    version,
    propagate_version = true,
    after_help = "Examples:\n  runlake demo\n  runlake import ./mlruns\n  runlake sql \"SELECT name, metrics['val/acc'] FROM runs ORDER BY 2 DESC NULLS LAST LIMIT 10\"\n  runlake gate --candidate tag:arm=new --baseline tag:arm=main --metric val/acc --direction up\n\nExit codes: 0 done or gate passed, 1 gate failed, 2 wrong usage, 3 gate inconclusive, 4 storage, network or internal failure, 5 nothing matched, 6 done but some input was rejected."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// What is logged when `RUNLAKE_LOG` says nothing: a server tells what it does, a command only what went wrong.
    pub(crate) fn default_log(&self) -> &'static str {
        if matches!(self.command, Command::Serve(_)) {
            "info,buoyant_kernel=warn,deltalake_core=warn"
        } else {
            "error"
        }
    }
}

/// Where the lake is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The lake: a folder, or a URL: file:///folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix
    #[arg(long, global = true, env = "RUNLAKE_LAKE", default_value = "./lake", value_name = "DIR_OR_URL")]
    pub(crate) lake: String,
    /// The folder for the log of a lake on an object store, on a local disk; by default under ~/.local/state/runlake
    #[arg(long, global = true, env = "RUNLAKE_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// A running server to ask in place of the lake, such as http://127.0.0.1:7070
    #[arg(long, global = true, env = "RUNLAKE_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import a corpus of real runs into a fresh lake and answer the questions a team would ask
    Demo(demo::DemoArguments),
    /// Open one port for ingest, SQL and health
    Serve(serve::ServeArguments),
    /// Take in runs of other tools: TensorBoard, W&B, MLflow, Optuna, CSV, Parquet and twenty more
    Import(import::ImportArguments),
    /// Follow live logs: add what TensorBoard, W&B offline runs, CSV and JSON lines gain, as it is written
    Tail(tail::TailArguments),
    /// Write runs with all their points as Parquet, CSV, JSON lines, TensorBoard event files or an MLflow file store
    Export(export::ExportArguments),
    /// Run SQL: one statement, a file, standard input, or a prompt with history
    Sql(sql::SqlArguments),
    /// List runs
    Runs(runs::RunsArguments),
    /// Show one run: params, tags, metrics
    Show(show::ShowArguments),
    /// Is the candidate really better than the baseline? A verdict with evidence
    Gate(Box<gate::GateArguments>),
    /// Two sets of runs side by side: every metric with its interval, and what differs between them
    Compare(compare::CompareArguments),
    /// Name the runs that candidates are compared with, version by version, and see what the versions gained
    Baseline(baseline::BaselineArguments),
    /// Which params explain a metric, alone and in pairs, each with an interval
    Importance(importance::ImportanceArguments),
    /// Groups of runs with like params and curves, or with like curves of one metric
    Cluster(cluster::ClusterArguments),
    /// Record what was decided about an experiment, and why
    Decide(decide::DecideArguments),
    /// Write a note on a run or an experiment
    Note(note::NoteArguments),
    /// Write or remove rows of baselines, gates, reviews, artifacts, sweeps, trials and the other tables of records
    Record(record::RecordArguments),
    /// Write everything that is only in the log into tables that any Delta reader reads
    Flush(flush::FlushArguments),
    /// Merge small and overlapping files of points into few large ones
    Compact(compact::CompactArguments),
    /// Remove files that no reader needs any more
    Vacuum(vacuum::VacuumArguments),
    /// Delete runs or a project, for good
    Delete(delete::DeleteArguments),
    /// Show or set after how many days runs are deleted
    Retention(retention::RetentionArguments),
    /// Check every file, log record and invariant
    Verify(verify::VerifyArguments),
    /// Copy the lake into a folder of backups, also while a server writes; only what is new is copied
    Backup(backup::BackupArguments),
    /// Make a lake of a backup
    Restore(backup::RestoreArguments),
    /// Measure this machine: ingest, import, flush, beside what disk and memory allow
    Bench(bench::BenchArguments),
    /// List the SQL functions of Runlake with their documentation
    Functions(functions::FunctionsArguments),
}

/// How rows are shown.
#[derive(Debug, Args)]
pub(crate) struct FormatArgument {
    /// How rows are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}
