//! `runlake runs`.

use clap::Args;

use crate::access::Source;
use crate::arguments::{FormatArgument, Place};
use crate::output::Style;
use crate::sql::local_options;
use crate::{exit, output};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake runs --metric val/acc --sort val/acc --limit 10\n  runlake runs --where \"params.lr > 0.01 AND status = 'FINISHED'\""
)]
pub(crate) struct RunsArguments {
    /// Only runs of this experiment
    #[arg(long)]
    experiment: Option<String>,
    /// Only runs that fulfil this SQL condition on the table runs
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Show the last value of this metric; may be given more than once
    #[arg(long)]
    metric: Vec<String>,
    /// Show this param; may be given more than once
    #[arg(long)]
    param: Vec<String>,
    /// Sort by the last value of this metric, largest first, in place of newest first
    #[arg(long, value_name = "METRIC")]
    sort: Option<String>,
    /// With --sort: smallest first
    #[arg(long, requires = "sort")]
    ascending: bool,
    /// Rows at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    format: FormatArgument,
}

pub(crate) async fn run(place: &Place, arguments: RunsArguments) -> anyhow::Result<u8> {
    let source = Source::open(place).await?;
    let sql = statement(&arguments);
    let rows = source.query(&sql, local_options()).await?;
    output::write(rows, Style::of(arguments.format.format)).await?;
    Ok(exit::DONE)
}

fn statement(arguments: &RunsArguments) -> String {
    let mut columns: Vec<String> =
        ["run_id", "name", "experiment", "status", "start_time", "duration"].map(str::to_owned).to_vec();
    let struct_field =
        |table: &str, key: &str| format!("{table}[{}] AS {}", quoted(key, '\''), quoted(key, '"'));
    columns.extend(arguments.param.iter().map(|key| struct_field("params", key)));
    columns.extend(arguments.metric.iter().map(|key| struct_field("metrics", key)));
    let mut conditions = vec!["NOT deleted".to_owned()];
    conditions.extend(arguments.experiment.iter().map(|name| format!("experiment = {}", quoted(name, '\''))));
    conditions.extend(arguments.condition.iter().map(|condition| format!("({condition}\n)")));
    let order = match &arguments.sort {
        Some(metric) => {
            let direction = if arguments.ascending { "ASC" } else { "DESC" };
            format!("metrics[{}] {direction} NULLS LAST, run_id", quoted(metric, '\''))
        }
        None => "start_time DESC NULLS LAST, run_id".to_owned(),
    };
    format!(
        "SELECT {} FROM runs WHERE {} ORDER BY {order} LIMIT {}",
        columns.join(", "),
        conditions.join(" AND "),
        arguments.limit
    )
}

/// A text between quotes, with quotes inside doubled.
pub(crate) fn quoted(text: &str, quote: char) -> String {
    format!("{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}")))
}
