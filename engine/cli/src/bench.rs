//! `runlake bench`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use load::batches::Shape;
use load::ingest::{Door, Load};
use load::overload::{self, Overload};
use load::questions::{self, Asked, Scale};
use load::{Row, bounds, compact, corpus, import, ingest, restart, show};

use crate::{exit, size};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake bench\n  runlake bench ingest --clients 16 --seconds 10 --histogram\n  runlake bench import --points 5000000 --folder /data/scratch\n  runlake bench overload --time 600 --memory 512MB\n  runlake bench query --scale m --peers ~/venv/bin/python\n\nEverything happens in a fresh folder that is removed afterwards; your lakes are not touched."
)]
pub(crate) struct BenchArguments {
    /// What to measure; everything when not given
    #[arg(value_enum)]
    what: Option<What>,
    /// Clients that send at once
    #[arg(long, default_value_t = 4, default_value_if("what", "overload", "40"), value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: u16,
    /// Points in a request; each shape in turn when not given
    #[arg(long, value_enum)]
    shape: Option<ShapeArgument>,
    /// How points come in; each way in turn, and what they are compared with, when not given
    #[arg(long, value_enum)]
    door: Option<DoorArgument>,
    /// Seconds that each ingest is measured
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Points to import, and to fill the lake with that is flushed and asked
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    points: u64,
    /// Megabytes of log to restart from
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    log_megabytes: u64,
    /// The seed of the synthetic corpus
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to put the files: measure the disk that your lake will be on
    #[arg(long, value_name = "DIR")]
    folder: Option<std::path::PathBuf>,
    /// Seconds of the overload
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time: u64,
    /// The memory limit of the server that is overloaded
    #[arg(long, default_value = "512MB", value_name = "SIZE", value_parser = size::bytes)]
    memory: usize,
    /// The size of the corpus that is asked: 1,000 runs with 10 M points, 10,000 with 100 M, or a million with few
    #[arg(long, value_enum, default_value_t = ScaleArgument::S)]
    scale: ScaleArgument,
    /// Runs in place of those of the scale
    #[arg(long)]
    runs: Option<u64>,
    /// Keep the corpus that is asked in this folder, or ask the one that is there
    #[arg(long, value_name = "DIR")]
    corpus: Option<std::path::PathBuf>,
    /// How often each question is asked
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Ask only these questions, such as Q01,Q12
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// A Python with the packages duckdb and pyarrow (and chdb, datafusion, polars), to ask them the same of plain tables and compare the answers
    #[arg(long, value_name = "PYTHON")]
    peers: Option<std::path::PathBuf>,
    /// Print how each question was answered
    #[arg(long)]
    explain: bool,
    /// Print how long acknowledgements took as a histogram
    #[arg(long)]
    histogram: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Points through gRPC and embedded, beside a file with a sync for each batch
    Ingest,
    /// Parquet, CSV and TensorBoard files
    Import,
    /// Memory to segments, bytes per point, and questions
    Flush,
    /// Many flushes of runs that went on at the same time, merged
    Compact,
    /// Opening a lake after a crash that left a long log
    Restart,
    /// The questions of a team, of a corpus of a given scale; only when asked for
    Query,
    /// More clients than a server with a memory limit can take, for ten minutes; only when asked for
    Overload,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScaleArgument {
    /// 1,000 runs, 10 M points
    S,
    /// 10,000 runs, 100 M points
    M,
    /// A million runs, 9 M points
    R,
}

impl From<ScaleArgument> for Scale {
    fn from(argument: ScaleArgument) -> Self {
        match argument {
            ScaleArgument::S => Self::Small,
            ScaleArgument::M => Self::Medium,
            ScaleArgument::R => Self::Registry,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShapeArgument {
    /// 4 to 140 points, 11 in the mean
    Small,
    /// 1,000 points
    Buffered,
    /// 1 to 1,000 points
    Mixed,
}

impl From<ShapeArgument> for Shape {
    fn from(argument: ShapeArgument) -> Self {
        match argument {
            ShapeArgument::Small => Self::Small,
            ShapeArgument::Buffered => Self::Buffered,
            ShapeArgument::Mixed => Self::Mixed,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DoorArgument {
    /// A gRPC call for each batch
    Calls,
    /// A gRPC stream, the next batch after the answer to the last
    Stream,
    /// A gRPC stream, as many batches under way as the server allows
    Pipelined,
}

impl From<DoorArgument> for Door {
    fn from(argument: DoorArgument) -> Self {
        match argument {
            DoorArgument::Calls => Self::Unary,
            DoorArgument::Stream => Self::Stream,
            DoorArgument::Pipelined => Self::Pipelined,
        }
    }
}

/// How long a bound is measured at most: it does not change with time.
const BOUND: Duration = Duration::from_secs(10);

pub(crate) async fn run(arguments: BenchArguments) -> anyhow::Result<u8> {
    let scratch = match &arguments.folder {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    };
    let scratch = scratch.context("cannot make a folder to measure in; name another with --folder")?;
    if arguments.what == Some(What::Overload) {
        return measure_overload(&arguments, scratch.path()).await;
    }
    if arguments.what == Some(What::Query) {
        let asked = Asked {
            scale: arguments.scale.into(),
            runs: arguments.runs,
            seed: arguments.seed,
            corpus: arguments.corpus.clone(),
            times: arguments.times as usize,
            only: arguments.only.clone(),
            peer: arguments.peers.clone(),
            explain: arguments.explain,
        };
        questions::questions(scratch.path(), &asked, &mut |row| show(&row)).await?;
        return Ok(exit::DONE);
    }
    let wanted = |what| arguments.what.is_none_or(|only| only == what);
    show(&Row::new("memory copy, one core", format!("{:>9.1} GB/s", bounds::memory_copy() / 1e9)));
    if wanted(What::Ingest) {
        measure_ingest(&arguments, scratch.path()).await?;
    }
    if wanted(What::Import) {
        for source in import::Source::ALL {
            let points = usize::try_from(arguments.points).unwrap_or(usize::MAX);
            show(&import::import(scratch.path(), source, points).await?);
        }
    }
    if wanted(What::Flush) {
        let filled = corpus::fill(&scratch.path().join("corpus"), arguments.seed, arguments.points).await?;
        show(&filled.row);
        corpus::flush(&filled.lake).await?.iter().for_each(show);
        corpus::ask(&filled.lake, filled.longest).await?.iter().for_each(show);
        filled.lake.close().await;
    }
    if wanted(What::Compact) {
        let folder = scratch.path().join("compact");
        compact::compact(&folder, arguments.seed, arguments.points).await?.iter().for_each(show);
    }
    if wanted(What::Restart) {
        for shape in arguments.shape.map_or(vec![Shape::Small, Shape::Buffered], |shape| vec![shape.into()]) {
            restart::restart(scratch.path(), shape, arguments.log_megabytes * 1_000_000).await?;
        }
    }
    Ok(exit::DONE)
}

async fn measure_overload(arguments: &BenchArguments, folder: &Path) -> anyhow::Result<u8> {
    let program = std::env::current_exe().context("cannot find this program, to start a server of it")?;
    let (time, clients) = (Duration::from_secs(arguments.time), usize::from(arguments.clients));
    let load = Overload { time, memory: arguments.memory, clients };
    let outcome = overload::overload(&program, &folder.join("lake"), load).await?;
    outcome.rows().iter().for_each(show);
    Ok(if outcome.is_kept() { exit::DONE } else { exit::INTERNAL })
}

async fn measure_ingest(arguments: &BenchArguments, folder: &Path) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program, to start a server of it")?;
    let clients = usize::from(arguments.clients);
    let time = Duration::from_secs(arguments.seconds);
    let shapes = arguments.shape.map_or(Shape::ALL.to_vec(), |shape| vec![shape.into()]);
    for shape in shapes {
        let name = shape.name();
        let load = Load { clients, shape, time };
        let place = folder.to_owned();
        let bound = tokio::task::spawn_blocking(move || {
            bounds::append_and_sync(&place, shape, clients, time.min(BOUND))
        })
        .await??;
        show(&bound.row(format!("{name}: a file and a sync for each batch"), None));
        let bound = Some(bound.rate());
        if arguments.door.is_none() {
            let lake = folder.join(format!("embedded-{name}"));
            let ingested = ingest::embedded(&lake, load).await?;
            show(&ingested.row(format!("{name}: embedded"), bound));
        }
        let doors = arguments.door.map_or(Door::ALL.to_vec(), |door| vec![door.into()]);
        for (number, door) in doors.into_iter().enumerate() {
            let lake = folder.join(format!("server-{name}-{number}"));
            let ingested = ingest::through_server(&program, &lake, door, load).await?;
            show(&ingested.row(format!("{name}: {}", door.name()), bound));
            if arguments.histogram {
                for (micros, count) in ingested.latency.buckets() {
                    show(&Row::new(format!("    acknowledged within {micros} µs"), format!("{count:>9}")));
                }
            }
        }
        #[cfg(feature = "peers")]
        if arguments.door.is_none() {
            let place = folder.to_owned();
            let ingested =
                tokio::task::spawn_blocking(move || load::peers::sqlite(&place, shape, clients, time))
                    .await??;
            show(&ingested.row(format!("{name}: SQLite, embedded, synchronous = FULL"), bound));
        }
    }
    Ok(())
}
