//! `runlake cluster`.

use clap::{Args, ValueEnum};
use runlake::{ClusterCurvesQuestion, ClusterRunsQuestion};

use crate::access::Source;
use crate::arguments::{FormatArgument, Place};
use crate::output::Style;
use crate::run_set::{Good, RunSetArguments, word};
use crate::sql::local_options;
use crate::{exit, output};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake cluster lr-sweep\n  runlake cluster lr-sweep --k 4 --metric val_loss\n  runlake cluster lr-sweep --method hdbscan --min-size 10 --format csv\n  runlake cluster lr-sweep --curves train/loss --k 3 --measure soft-dtw --normalise\n\nWithout --curves runs are clustered by their params, and by the shape of the curves of each --metric; with it by one\ncurve alone. How runs become numbers: `runlake functions cluster_runs`."
)]
pub(crate) struct ClusterArguments {
    #[command(flatten)]
    runs: RunSetArguments,
    /// How runs are clustered
    #[arg(long, value_enum, default_value_t = Method::Kmeans, conflicts_with = "curves")]
    method: Method,
    /// Number of clusters [default: by silhouette; 3 with --curves]
    #[arg(long)]
    k: Option<u32>,
    /// With hdbscan: fewest runs of a cluster [default: 5]
    #[arg(long, value_name = "RUNS", conflicts_with = "curves")]
    min_size: Option<u32>,
    /// The curve of this metric counts too; may be given more than once
    #[arg(long, conflicts_with = "curves")]
    metric: Vec<String>,
    /// Only this param; may be given more than once
    #[arg(long, conflicts_with = "curves")]
    param: Vec<String>,
    /// Which values of the metrics are good [default: as the experiment says, else min]
    #[arg(long, value_enum, conflicts_with = "curves")]
    direction: Option<Good>,
    /// Cluster by the curve of this metric alone
    #[arg(long, value_name = "METRIC")]
    curves: Option<String>,
    /// With --curves: how far apart two curves are
    #[arg(long, value_enum, default_value_t = Measure::Euclidean, requires = "curves")]
    measure: Measure,
    /// With --curves: points that they are compared at [default: 64]
    #[arg(long, requires = "curves")]
    points: Option<u32>,
    /// With --curves: only the shape counts, not level and spread
    #[arg(long, requires = "curves")]
    normalise: bool,
    /// Seed; the same seed gives the same answer on any machine [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    format: FormatArgument,
}

/// How runs are clustered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Around means: every run belongs to a cluster
    Kmeans,
    /// By density: clusters of any shape, and runs that belong to none
    Hdbscan,
}

/// How far apart two curves are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// Point by point
    Euclidean,
    /// Curves may run ahead and behind
    Dtw,
    /// The same, smoothed
    SoftDtw,
}

pub(crate) async fn run(place: &Place, arguments: ClusterArguments) -> anyhow::Result<u8> {
    let runs = arguments.runs.runs()?;
    let sql = match arguments.curves {
        Some(metric) => ClusterCurvesQuestion {
            k: arguments.k,
            measure: word(arguments.measure),
            points: arguments.points,
            normalise: arguments.normalise,
            seed: arguments.seed,
            ..ClusterCurvesQuestion::new(runs, metric)
        }
        .sql(),
        None => ClusterRunsQuestion {
            method: word(arguments.method),
            k: arguments.k,
            min_size: arguments.min_size,
            metrics: arguments.metric,
            params: arguments.param,
            direction: arguments.direction.and_then(word),
            seed: arguments.seed,
            ..ClusterRunsQuestion::new(runs)
        }
        .sql(),
    };
    let source = Source::open(place).await?;
    let rows = source.query(&sql, local_options()).await?;
    output::write(rows, Style::of(arguments.format.format)).await?;
    Ok(exit::DONE)
}
