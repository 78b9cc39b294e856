//! `runlake gate`.

mod outputs;
mod plan;
mod policy_file;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use runlake::analysis::sequential::SpendingFunction;
use runlake::analysis::{GatePolicy, Ground, MethodChoice, MetricPolicy, Mode, OnInconclusive};
use runlake::{GateOrigin, GateQuery, Lake, Selector};

use crate::arguments::Place;
use crate::exit::UsageError;
use crate::{access, exit};
pub(crate) use outputs::gained;
use outputs::{Output, OutputFormat};
pub(crate) use plan::direction;

/// How long a gate waits for another command that writes into the lake, before it judges without a record.
const WAIT_FOR_WRITER: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Selectors: run ids separated by commas, tag:KEY=VALUE, param:KEY=VALUE, experiment:NAME, baseline:NAME, or an SQL\ncondition on the table runs; several joined by ' & ' must all hold.\n\nExamples:\n  runlake gate --candidate tag:arm=new --baseline tag:arm=main --metric val/acc --direction up\n  runlake gate --candidate experiment:augment --baseline baseline:main --metric val/loss --direction down --mode not-worse --margin 0.01\n  runlake gate --candidate \"params.lr = 0.1\" --baseline \"params.lr = 0.01\" --metric val/acc --direction up --pair-by seed --format json\n  runlake gate --policy gates/nightly.toml --candidate tag:commit=$SHA --output junit=gate.xml --output markdown=gate.md\n  runlake gate plan --baseline baseline:main --metric val/acc --effect 0.005\n\nExit codes: 0 pass, 1 fail, 2 wrong usage or policy, 3 inconclusive, 4 the lake cannot be read, 5 nothing to judge."
)]
pub(crate) struct GateArguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    ask: AskArguments,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// How many runs are needed to see an effect, before any is made
    Plan(plan::PlanArguments),
    /// Judge a gate run of the table gates again, and compare the report byte for byte
    Replay {
        /// Its id, the column gate_run
        gate_run: String,
    },
    /// Print the JSON Schema of policies
    Schema,
}

#[derive(Debug, Args)]
struct AskArguments {
    /// What must hold, in a TOML or JSON file [default: runlake.toml, else the only file in gates/]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The runs under test
    #[arg(long, value_name = "SELECTOR")]
    candidate: Option<String>,
    /// The runs to compare with
    #[arg(long, value_name = "SELECTOR")]
    baseline: Option<String>,
    /// The metric; its last value in a run counts
    #[arg(long, conflicts_with = "policy", requires = "direction")]
    metric: Option<String>,
    /// Which way the metric gets better: up or down
    #[arg(long, requires = "metric")]
    direction: Option<String>,
    #[command(flatten)]
    claim: ClaimArguments,
    /// Which look at the same question this is [default: counted from the gates on record]
    #[arg(long)]
    look: Option<u32>,
    /// Runs of the baseline's recipe that were made again now, to see whether the baseline still holds
    #[arg(long, value_name = "SELECTOR")]
    refresh_baseline: Option<String>,
    /// Accept that the arms differ in this: dataset, metric_definition, code, environment or hardware
    #[arg(long, value_name = "GROUND")]
    waive: Vec<String>,
    /// What inconclusive means to the pipeline: report (exit 3), pass or fail [default: the policy's, else report]
    #[arg(long, value_enum)]
    on_inconclusive: Option<Inconclusive>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    /// Also write the verdict into a file, such as junit=gate.xml; may be given several times
    #[arg(long, value_name = "FORMAT=FILE")]
    output: Vec<String>,
    /// Leave no row in the table gates
    #[arg(long)]
    no_record: bool,
    /// The page of the pipeline, for the record [default: that of GitHub or GitLab]
    #[arg(long, value_name = "URL")]
    link: Option<String>,
    /// Who asks, for the record
    #[arg(long, env = "USER")]
    author: Option<String>,
}

/// The claim about the only metric.
#[derive(Debug, Args)]
struct ClaimArguments {
    /// The claim; without it not-worse when a margin is given, else better
    #[arg(long, value_enum, requires = "metric")]
    mode: Option<GateMode>,
    /// The margin, in units of the metric
    #[arg(long, allow_hyphen_values = true, requires = "metric")]
    margin: Option<f64>,
    /// The margin is a share of the baseline's mean
    #[arg(long, requires = "metric")]
    relative: bool,
    /// One-sided error rate over all looks
    #[arg(long, default_value_t = 0.05, conflicts_with = "policy")]
    alpha: f64,
    /// Power for which the number of runs is planned
    #[arg(long, default_value_t = 0.8, conflicts_with = "policy")]
    power: f64,
    /// The smallest gain worth having, to plan the number of runs in mode better
    #[arg(long, requires = "metric")]
    detect: Option<f64>,
    /// Finite runs an arm below which nothing is decided
    #[arg(long, default_value_t = 3, conflicts_with = "policy")]
    min_runs: usize,
    /// Runs an arm that you would pay for
    #[arg(long, default_value_t = 20, conflicts_with = "policy")]
    max_runs: usize,
    /// Looks planned before the first one (1 or 2); each spends an equal part of alpha
    #[arg(long, default_value_t = 2, conflicts_with = "policy")]
    looks: u32,
    /// Compare runs in pairs that share this param or tag, such as seed
    #[arg(long, value_name = "KEY", conflicts_with = "policy")]
    pair_by: Option<String>,
    /// Compare within the values of this param or tag, such as task, each value with equal weight
    #[arg(long, value_name = "KEY", conflicts_with_all = ["policy", "pair_by"])]
    strata: Option<String>,
    /// Count what batches of runs differ by as error: this param or tag says which batch a run is of
    #[arg(long, value_name = "KEY", conflicts_with = "policy")]
    batch_by: Option<String>,
    /// Look at these numbers of runs an arm in place of --looks, such as 5,10,20
    #[arg(long, value_name = "RUNS,…", value_delimiter = ',', conflicts_with_all = ["policy", "looks"])]
    look_sizes: Vec<usize>,
    /// How alpha is spent over --look-sizes
    #[arg(long, value_enum, default_value_t = Spending::Pocock, requires = "look_sizes")]
    spending: Spending,
    /// Accept up to this share of failed candidate runs
    #[arg(long, value_name = "SHARE", conflicts_with = "policy")]
    allow_failures: Option<f64>,
    /// Count failed runs with this value of the metric
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true, requires = "metric")]
    failure_value: Option<f64>,
    /// Training is deterministic: compare two constant arms exactly
    #[arg(long, conflicts_with = "policy")]
    deterministic: bool,
    /// Use Student's test with one variance for both arms
    #[arg(long, conflicts_with = "policy")]
    assume_equal_variance: bool,
    /// A baseline older than this many days is stale
    #[arg(long, value_name = "DAYS", conflicts_with = "policy")]
    max_age_days: Option<f64>,
    /// Seed of everything that is resampled
    #[arg(long, default_value_t = 0, conflicts_with = "policy")]
    seed: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum GateMode {
    /// Better by more than the margin
    Better,
    /// Worse by less than the margin
    #[value(alias = "not_worse")]
    NotWorse,
    /// Different by less than the margin
    Equivalent,
}

impl From<GateMode> for Mode {
    fn from(mode: GateMode) -> Self {
        match mode {
            GateMode::Better => Self::Better,
            GateMode::NotWorse => Self::NotWorse,
            GateMode::Equivalent => Self::Equivalent,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Spending {
    /// As easy to pass early as late
    Pocock,
    /// Almost nothing early, almost all at the end (O'Brien and Fleming)
    Obf,
    /// In proportion to the runs
    Linear,
    /// With their square
    Quadratic,
}

impl From<Spending> for SpendingFunction {
    fn from(spending: Spending) -> Self {
        match spending {
            Spending::Pocock => Self::Pocock,
            Spending::Obf => Self::OBrienFleming,
            Spending::Linear => Self::Linear,
            Spending::Quadratic => Self::Quadratic,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Inconclusive {
    #[value(alias = "3")]
    Report,
    Pass,
    Fail,
}

impl From<Inconclusive> for OnInconclusive {
    fn from(on: Inconclusive) -> Self {
        match on {
            Inconclusive::Report => Self::Report,
            Inconclusive::Pass => Self::Pass,
            Inconclusive::Fail => Self::Fail,
        }
    }
}

pub(crate) async fn run(place: &Place, arguments: GateArguments) -> anyhow::Result<u8> {
    match arguments.action {
        None => ask(place, arguments.ask).await,
        Some(Action::Plan(arguments)) => plan::run(place, arguments).await,
        Some(Action::Replay { gate_run }) => replay(place, &gate_run).await,
        Some(Action::Schema) => {
            println!("{}", serde_json::to_string_pretty(&GatePolicy::json_schema())?);
            Ok(exit::DONE)
        }
    }
}

async fn ask(place: &Place, arguments: AskArguments) -> anyhow::Result<u8> {
    access::lake_only(place, "gate")?;
    let outputs: Vec<Output> =
        arguments.output.iter().map(|text| Output::parse(text)).collect::<Result<_, _>>()?;
    let (policy, file) = policy(&arguments)?;
    let mut query = GateQuery::new(policy, arguments.candidate.as_deref(), arguments.baseline.as_deref())?;
    query.look = arguments.look;
    query.refreshed = arguments.refresh_baseline.as_deref().map(Selector::parse).transpose()?;
    let (lake, unrecorded) = open(place, arguments.no_record).await?;
    let judged = judge(&lake, &query, &arguments, unrecorded.is_none() && !arguments.no_record).await;
    lake.close().await;
    let (outcome, gate_run) = judged?;
    let shown = outputs::Shown { outcome: &outcome, policy_file: file.as_deref() };
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    std::io::stdout().write_all(&shown.bytes_of(arguments.format, colour)?)?;
    for output in &outputs {
        shown.write(output)?;
    }
    match (gate_run, unrecorded) {
        (Some(id), _) => eprintln!("recorded: gate_run {id} in the table gates"),
        (None, Some(why)) => {
            eprintln!("note: not recorded, so that a later look is not known to be one: {why}")
        }
        (None, None) => {}
    }
    Ok(outcome.report.exit_code)
}

async fn judge(
    lake: &Lake,
    query: &GateQuery,
    arguments: &AskArguments,
    record: bool,
) -> anyhow::Result<(runlake::GateOutcome, Option<String>)> {
    let outcome = lake.gate(query).await?;
    if !record {
        return Ok((outcome, None));
    }
    let origin = GateOrigin {
        author: arguments.author.clone(),
        git_commit: environment(&["GITHUB_SHA", "CI_COMMIT_SHA"]),
        url: arguments.link.clone().or_else(page_of_pipeline),
    };
    let gate_run = lake.record_gate(&outcome, &origin).await?;
    Ok((outcome, Some(gate_run)))
}

/// The lake, open for writing so that the gate can be recorded. Where something else writes, or nothing may, it is open
/// for reading, and why is said.
async fn open(place: &Place, no_record: bool) -> anyhow::Result<(Lake, Option<String>)> {
    if no_record {
        return Ok((access::read(place).await?, None));
    }
    let start = Instant::now();
    let refused = loop {
        match access::write_existing(place, "runlake gate").await {
            Ok(lake) => return Ok((lake, None)),
            Err(error) if is_passing(&error) && start.elapsed() < WAIT_FOR_WRITER => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => break error,
        }
    };
    match access::read(place).await {
        Ok(lake) => Ok((lake, Some(exit::message(&refused)))),
        Err(_) => Err(refused),
    }
}

/// Whether another command writes, which ends soon; a server does not.
fn is_passing(error: &anyhow::Error) -> bool {
    let is_locked = error.downcast_ref::<runlake::Error>().is_some_and(|error| error.code() == "lake.locked");
    is_locked && !exit::message(error).contains("runlake serve")
}

fn environment(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// The page of the job, as GitHub and GitLab tell it.
fn page_of_pipeline() -> Option<String> {
    let github = || -> Option<String> {
        let part = |name| environment(&[name]);
        Some(format!(
            "{}/{}/actions/runs/{}",
            part("GITHUB_SERVER_URL")?,
            part("GITHUB_REPOSITORY")?,
            part("GITHUB_RUN_ID")?
        ))
    };
    environment(&["CI_JOB_URL"]).or_else(github)
}

/// The policy: of a file, or of the words of the command line; and the file.
fn policy(arguments: &AskArguments) -> anyhow::Result<(GatePolicy, Option<PathBuf>)> {
    let (mut policy, file) = match &arguments.metric {
        Some(metric) => (of_words(arguments, metric)?, None),
        None => {
            let file = policy_file::find(arguments.policy.as_deref())?;
            (policy_file::read(&file)?, Some(file))
        }
    };
    if let Some(on) = arguments.on_inconclusive {
        policy.on_inconclusive = on.into();
    }
    for ground in &arguments.waive {
        policy.staleness.waive.push(ground_named(ground)?);
    }
    policy.staleness.waive.sort_unstable();
    policy.staleness.waive.dedup();
    policy.check().map_err(runlake::Error::from)?;
    Ok((policy, file))
}

fn ground_named(text: &str) -> anyhow::Result<Ground> {
    const ALL: [Ground; 5] =
        [Ground::Dataset, Ground::MetricDefinition, Ground::Code, Ground::Environment, Ground::Hardware];
    let word = text.replace('-', "_");
    ALL.into_iter().find(|ground| ground.name() == word).ok_or_else(|| {
        let known = ALL.map(Ground::name).join(", ");
        UsageError(format!("--waive {text:?} is no ground of comparison; there are {known}")).into()
    })
}

fn of_words(arguments: &AskArguments, metric: &str) -> anyhow::Result<GatePolicy> {
    let claim = &arguments.claim;
    let direction = plan::direction(arguments.direction.as_deref().unwrap_or_default())?;
    let metric = MetricPolicy {
        mode: claim.mode.map(Mode::from),
        margin: claim.margin,
        relative: claim.relative,
        detect: claim.detect,
        failure_value: claim.failure_value,
        ..MetricPolicy::new(metric, direction)
    };
    let mut policy = GatePolicy::new(vec![metric]);
    policy.alpha = claim.alpha;
    policy.power = claim.power;
    policy.min_runs = claim.min_runs;
    policy.max_runs = claim.max_runs;
    policy.looks = claim.looks;
    policy.pair_by.clone_from(&claim.pair_by);
    policy.strata.clone_from(&claim.strata);
    policy.batch_by.clone_from(&claim.batch_by);
    policy.look_sizes.clone_from(&claim.look_sizes);
    policy.spending = claim.spending.into();
    policy.allow_failures = claim.allow_failures;
    policy.deterministic = claim.deterministic;
    policy.staleness.max_age_days = claim.max_age_days;
    policy.seed = claim.seed;
    if claim.assume_equal_variance {
        policy.method = MethodChoice::Student;
    }
    Ok(policy)
}

async fn replay(place: &Place, gate_run: &str) -> anyhow::Result<u8> {
    access::lake_only(place, "gate replay")?;
    let lake = access::read(place).await?;
    let replay = lake.replay_gate(gate_run).await?;
    let shown = outputs::Shown { outcome: &replay.outcome, policy_file: None };
    std::io::stdout().write_all(&shown.bytes_of(OutputFormat::Text, false)?)?;
    if replay.is_same() {
        println!("same bytes as on record");
        return Ok(exit::DONE);
    }
    let same =
        replay.recorded.bytes().zip(replay.again.bytes()).take_while(|(then, now)| then == now).count();
    let around = |text: &str| -> String {
        let start = text.floor_char_boundary(same.saturating_sub(60));
        text[start..].chars().take(160).collect()
    };
    println!(
        "differs from the record, since runs, values or the program changed:\n  then … {}\n  now  … {}",
        around(&replay.recorded),
        around(&replay.again)
    );
    Ok(exit::DIFFERS)
}
