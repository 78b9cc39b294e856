//! `runlake compare`.

use clap::Args;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use model::MetricName;
use runlake::{ArmsCompared, ComparisonQuery, Selector};

use crate::arguments::Place;
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "Selectors are those of `runlake gate`. Differences are candidate less baseline, whichever way is better; p is\nadjusted for the metrics that are shown. A comparison decides nothing: that is what `runlake gate` is for.\n\nExamples:\n  runlake compare --candidate tag:arm=new --baseline tag:arm=main\n  runlake compare --candidate experiment:augment --baseline baseline:main --metric val/acc --metric val/loss --json"
)]
pub(crate) struct CompareArguments {
    /// The new runs
    #[arg(long, value_name = "SELECTOR")]
    candidate: String,
    /// The runs that they are measured against
    #[arg(long, value_name = "SELECTOR")]
    baseline: String,
    /// Only this metric; may be given several times [default: all that both arms have]
    #[arg(long)]
    metric: Vec<String>,
    /// Confidence level of the intervals
    #[arg(long, default_value_t = 0.95)]
    level: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(place: &Place, arguments: CompareArguments) -> anyhow::Result<u8> {
    access::lake_only(place, "compare")?;
    let metrics = arguments.metric.iter().map(MetricName::new).collect::<Result<_, _>>();
    let query = ComparisonQuery {
        candidate: Selector::parse(&arguments.candidate)?,
        baseline: Selector::parse(&arguments.baseline)?,
        metrics: metrics.map_err(runlake::Error::from)?,
        level: arguments.level,
    };
    let lake = access::read(place).await?;
    let compared = lake.compare_arms(&query).await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&compared)?);
    } else {
        println!("{}", text(&compared));
    }
    Ok(exit::DONE)
}

fn text(compared: &ArmsCompared) -> String {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
    let mut table = comfy_table::Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    let interval = format!("{:.0} % interval", 100.0 * compared.level);
    table.set_header(["metric", "candidate", "baseline", "difference", &interval, "p adjusted", "g", "runs"]);
    for metric in &compared.metrics {
        let interval = match (metric.low, metric.high, metric.error) {
            (Some(low), Some(high), _) => format!("{low:+.4} to {high:+.4}"),
            (_, _, Some(error)) => error.to_owned(),
            _ => "–".to_owned(),
        };
        table.add_row([
            metric.metric.clone(),
            number(metric.candidate),
            number(metric.baseline),
            metric.difference.map_or("–".to_owned(), |value| format!("{value:+.4}")),
            interval,
            metric.p_adjusted.map_or("–".to_owned(), |p| p.to_string()),
            metric.hedges_g.map_or("–".to_owned(), |g| format!("{g:.2}")),
            format!("{} + {}", metric.candidate_finite, metric.baseline_finite),
        ]);
    }
    let mut lines =
        vec![format!("{} candidate and {} baseline runs", compared.candidate_runs, compared.baseline_runs)];
    lines.push(table.to_string());
    let failed =
        |of: fn(&runlake::MetricCompared) -> usize| compared.metrics.iter().map(of).max().unwrap_or(0);
    let (candidates, baselines) = (failed(|m| m.candidate_failed), failed(|m| m.baseline_failed));
    if candidates + baselines > 0 {
        lines.push(format!(
            "not in the numbers, since they failed or have no finite value: up to {candidates} candidate and {baselines} baseline runs of a metric"
        ));
    }
    for change in &compared.changed {
        let (before, after) = (change.baseline.join(", "), change.candidate.join(", "));
        lines.push(format!("changed: {} from {before} to {after}", change.key));
    }
    if compared.changed.len() > 1 {
        let count = compared.changed.len();
        lines.push(format!("{count} things changed at once: the differences belong to all of them together"));
    }
    // Names come from whoever logged them.
    lines.join("\n").replace(|c: char| c.is_control() && c != '\n', " ")
}
