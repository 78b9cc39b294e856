//! `runlake gate`.

use clap::{Args, ValueEnum};
use model::{MetricDirection, MetricName};
use runlake::analysis::{Direction, GateParameters, Looks, Mode, OnInconclusive};
use runlake::{GateQuery, Selector};

use crate::access;
use crate::arguments::Place;

#[derive(Debug, Args)]
#[command(
    after_help = "Selectors: run ids separated by commas, tag:KEY=VALUE, param:KEY=VALUE, experiment:NAME, or an SQL condition on\nthe table runs; several joined by ' & ' must all hold.\n\nExamples:\n  runlake gate --candidate tag:arm=new --baseline tag:arm=main --metric val/acc --direction up\n  runlake gate --candidate experiment:augment --baseline tag:arm=main --metric val/loss --direction down --mode not-worse --margin 0.01\n  runlake gate --candidate \"params.lr = 0.1\" --baseline \"params.lr = 0.01\" --metric val/acc --direction up --pair-by seed --format json\n\nExit codes: 0 pass, 1 fail, 2 wrong usage, 3 inconclusive, 5 nothing to judge."
)]
pub(crate) struct GateArguments {
    /// The runs under test
    #[arg(long, value_name = "SELECTOR")]
    candidate: String,
    /// The runs to compare with
    #[arg(long, value_name = "SELECTOR")]
    baseline: String,
    /// The metric; its last value in a run counts
    #[arg(long)]
    metric: String,
    /// Which way the metric gets better: up or down
    #[arg(long)]
    direction: String,
    /// The claim; without it not-worse when a margin is given, else better
    #[arg(long, value_enum)]
    mode: Option<GateMode>,
    /// The margin, in units of the metric
    #[arg(long, allow_hyphen_values = true)]
    margin: Option<f64>,
    /// The margin is a share of the baseline's mean
    #[arg(long)]
    relative: bool,
    /// One-sided error rate over all looks
    #[arg(long, default_value_t = 0.05)]
    alpha: f64,
    /// Power for which the number of runs is planned
    #[arg(long, default_value_t = 0.8)]
    power: f64,
    /// The smallest gain worth having, to plan the number of runs in mode better
    #[arg(long)]
    detect: Option<f64>,
    /// Finite runs an arm below which nothing is decided
    #[arg(long, default_value_t = 3)]
    min_runs: usize,
    /// Runs an arm that you would pay for
    #[arg(long, default_value_t = 20)]
    max_runs: usize,
    /// Looks that were planned before the first one (1 or 2); each spends an equal part of alpha
    #[arg(long, default_value_t = 1)]
    looks: u32,
    /// Which look this is
    #[arg(long, default_value_t = 1)]
    look: u32,
    /// Compare runs in pairs that share this param or tag, such as seed
    #[arg(long, value_name = "KEY")]
    pair_by: Option<String>,
    /// Accept up to this share of failed candidate runs
    #[arg(long, value_name = "SHARE")]
    allow_failures: Option<f64>,
    /// Count failed runs with this value of the metric
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    failure_value: Option<f64>,
    /// Training is deterministic: compare two constant arms exactly
    #[arg(long)]
    deterministic: bool,
    /// Use Student's test with one variance for both arms
    #[arg(long)]
    assume_equal_variance: bool,
    /// What inconclusive means to the pipeline: report (exit 3), pass or fail
    #[arg(long, value_enum, default_value_t = Inconclusive::Report)]
    on_inconclusive: Inconclusive,
    /// Seed of everything that is resampled
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// text or json
    #[arg(long, value_enum, default_value_t = GateFormat::Text)]
    format: GateFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GateMode {
    /// Better by more than the margin
    Better,
    /// Worse by less than the margin
    #[value(alias = "not_worse")]
    NotWorse,
    /// Different by less than the margin
    Equivalent,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Inconclusive {
    #[value(alias = "3")]
    Report,
    Pass,
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GateFormat {
    #[value(alias = "table")]
    Text,
    Json,
}

pub(crate) async fn run(place: &Place, arguments: GateArguments) -> anyhow::Result<u8> {
    access::lake_only(place, "gate")?;
    let format = arguments.format;
    let query = query(arguments)?;
    let lake = access::read(place).await?;
    let outcome = lake.gate(&query).await?;
    match format {
        GateFormat::Text => println!("{}", outcome.report.to_text()),
        GateFormat::Json => println!("{}", serde_json::to_string_pretty(&outcome.report)?),
    }
    if !outcome.still_running.is_empty() {
        eprintln!(
            "note: {} runs are still running and count with what they logged so far: {}",
            outcome.still_running.len(),
            outcome.still_running.iter().take(5).cloned().collect::<Vec<_>>().join(", ")
        );
    }
    Ok(outcome.report.exit_code)
}

fn query(arguments: GateArguments) -> anyhow::Result<GateQuery> {
    let direction: MetricDirection = arguments.direction.parse().map_err(runlake::Error::from)?;
    let direction = match direction {
        MetricDirection::Up => Direction::Up,
        MetricDirection::Down => Direction::Down,
    };
    let parameters = GateParameters {
        mode: arguments.mode.map(|mode| match mode {
            GateMode::Better => Mode::Better,
            GateMode::NotWorse => Mode::NotWorse,
            GateMode::Equivalent => Mode::Equivalent,
        }),
        margin: arguments.margin,
        relative: arguments.relative,
        alpha: arguments.alpha,
        power: arguments.power,
        detect: arguments.detect,
        min_runs: arguments.min_runs,
        max_runs: arguments.max_runs,
        on_inconclusive: match arguments.on_inconclusive {
            Inconclusive::Report => OnInconclusive::Report,
            Inconclusive::Pass => OnInconclusive::Pass,
            Inconclusive::Fail => OnInconclusive::Fail,
        },
        allow_failures: arguments.allow_failures,
        failure_value: arguments.failure_value,
        deterministic: arguments.deterministic,
        assume_equal_variance: arguments.assume_equal_variance,
        pair_by: arguments.pair_by,
        looks: Looks { planned: arguments.looks, current: arguments.look },
        seed: arguments.seed,
        ..GateParameters::new(direction)
    };
    Ok(GateQuery {
        candidate: Selector::parse(&arguments.candidate)?,
        baseline: Selector::parse(&arguments.baseline)?,
        metric: MetricName::new(&arguments.metric).map_err(runlake::Error::from)?,
        parameters,
    })
}
