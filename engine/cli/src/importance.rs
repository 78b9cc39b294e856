//! `runlake importance`.

use clap::{Args, ValueEnum};
use runlake::ImportanceQuestion;

use crate::access::Source;
use crate::arguments::{FormatArgument, Place};
use crate::output::Style;
use crate::run_set::{Good, RunSetArguments, word};
use crate::sql::local_options;
use crate::{exit, output};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake importance lr-sweep --metric val/acc\n  runlake importance vision/sweep-1 vision/sweep-2 --metric val_loss --pairs 0\n  runlake importance lr-sweep --metric val/acc --method ped-anova --direction max --format json\n  runlake importance --metric loss --sql \"SELECT params.lr, params.depth, metrics['val/loss'] AS loss FROM runs WHERE tags.team = 'cv'\"\n\nEvery importance has an interval. Several experiments are assessed one by one and pooled. What the columns mean:\n`runlake functions importance`."
)]
pub(crate) struct ImportanceArguments {
    #[command(flatten)]
    runs: RunSetArguments,
    /// The metric to explain, by its last value in a run; with --sql a column of the SELECT
    #[arg(long)]
    metric: String,
    /// How importance is measured
    #[arg(long, value_enum, default_value_t = Method::Fanova)]
    method: Method,
    /// Only this param; may be given more than once
    #[arg(long)]
    param: Vec<String>,
    /// With fanova: assess the pairs of so many of the strongest params, 0 for none [default: 10]
    #[arg(long, value_name = "PARAMS")]
    pairs: Option<u32>,
    /// With ped-anova: which values are good [default: as the experiment says, else min]
    #[arg(long, value_enum)]
    direction: Option<Good>,
    /// Trees of the forest [default: 64]
    #[arg(long)]
    trees: Option<u32>,
    /// Confidence level of the intervals [default: 0.95]
    #[arg(long)]
    level: Option<f64>,
    /// Seed; the same seed gives the same answer on any machine [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    format: FormatArgument,
}

/// How importance is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Share of the metric's variance that a param or pair explains over the search space
    Fanova,
    /// What separates the best tenth of the runs from the others
    PedAnova,
    /// How much worse a forest predicts when a param is shuffled
    Permutation,
    /// Share in what the splits of a forest explain
    Mdi,
}

pub(crate) async fn run(place: &Place, arguments: ImportanceArguments) -> anyhow::Result<u8> {
    let question = ImportanceQuestion {
        method: word(arguments.method),
        params: arguments.param,
        pairs: arguments.pairs,
        direction: arguments.direction.and_then(word),
        trees: arguments.trees,
        level: arguments.level,
        seed: arguments.seed,
        ..ImportanceQuestion::new(arguments.runs.runs()?, arguments.metric)
    };
    let source = Source::open(place).await?;
    let rows = source.query(&question.sql(), local_options()).await?;
    output::write(rows, Style::of(arguments.format.format)).await?;
    Ok(exit::DONE)
}
