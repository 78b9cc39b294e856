//! `runlake bench`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use load::batches::Shape;
use load::ingest::{Door, Load};
use load::{Row, bounds, corpus, import, ingest, show};

use crate::exit;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake bench\n  runlake bench ingest --clients 16 --seconds 10 --histogram\n  runlake bench import --points 5000000 --folder /data/scratch\n\nEverything happens in a fresh folder that is removed afterwards; your lakes are not touched."
)]
pub(crate) struct BenchArguments {
    /// What to measure; everything when not given
    #[arg(value_enum)]
    what: Option<What>,
    /// Clients that send at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: u16,
    /// Seconds that each ingest is measured
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Points to import, and to fill the lake with that is flushed and asked
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    points: u64,
    /// The seed of the synthetic corpus
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to put the files: measure the disk that your lake will be on
    #[arg(long, value_name = "DIR")]
    folder: Option<std::path::PathBuf>,
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
}

pub(crate) async fn run(arguments: BenchArguments) -> anyhow::Result<u8> {
    let scratch = match &arguments.folder {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    };
    let scratch = scratch.context("cannot make a folder to measure in; name another with --folder")?;
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
    Ok(exit::DONE)
}

async fn measure_ingest(arguments: &BenchArguments, folder: &Path) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program, to start a server of it")?;
    let clients = usize::from(arguments.clients);
    let time = Duration::from_secs(arguments.seconds);
    for shape in Shape::ALL {
        let name = shape.name();
        let load = Load { clients, shape, time };
        let place = folder.to_owned();
        let bound =
            tokio::task::spawn_blocking(move || bounds::append_and_sync(&place, shape, clients, time))
                .await??;
        show(&bound.row(format!("{name}: a file and a sync for each batch"), None));
        let bound = Some(bound.rate());
        let lake = folder.join(format!("embedded-{name}"));
        let ingested = ingest::embedded(&lake, load).await?;
        show(&ingested.row(format!("{name}: embedded"), bound));
        for (number, door) in [Door::Unary, Door::Stream, Door::Pipelined].into_iter().enumerate() {
            let lake = folder.join(format!("server-{name}-{number}"));
            let ingested = ingest::through_server(&program, &lake, door, load).await?;
            show(&ingested.row(format!("{name}: {}", door.name()), bound));
            if arguments.histogram && door != Door::Pipelined {
                for (micros, count) in ingested.latency.buckets() {
                    show(&Row::new(format!("    acknowledged within {micros} µs"), format!("{count:>9}")));
                }
            }
        }
        #[cfg(feature = "peers")]
        {
            let place = folder.to_owned();
            let ingested =
                tokio::task::spawn_blocking(move || load::peers::sqlite(&place, shape, clients, time))
                    .await??;
            show(&ingested.row(format!("{name}: SQLite, embedded, synchronous = FULL"), bound));
        }
    }
    Ok(())
}
