//! `runlake gate plan`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use model::{MetricDirection, MetricName};
use runlake::Selector;
use runlake::analysis::{Direction, GatePlan, Mode, PlanQuestion};

use super::{GateMode, policy_file};
use crate::arguments::Place;
use crate::exit::UsageError;
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "The spread comes from runs that are there (--baseline with --metric) or is said (--sd).\n\nExamples:\n  runlake gate plan --effect 0.005 --sd 0.008\n  runlake gate plan --effect 0.01 --relative --baseline tag:arm=main --metric val/acc\n  runlake gate plan --policy gates/nightly.toml --baseline baseline:main"
)]
pub(super) struct PlanArguments {
    /// The effect that is to be seen, in units of the metric: a gain in mode better, else the margin
    #[arg(long, required_unless_present = "policy")]
    effect: Option<f64>,
    /// The effect is a share of the baseline's mean
    #[arg(long)]
    relative: bool,
    /// Standard deviation from seed to seed; of the differences with --paired
    #[arg(long, conflicts_with_all = ["baseline", "policy"])]
    sd: Option<f64>,
    /// Runs that show the spread
    #[arg(long, value_name = "SELECTOR")]
    baseline: Option<String>,
    /// The metric
    #[arg(long, conflicts_with = "policy", requires = "baseline")]
    metric: Option<String>,
    /// Plan every metric of this policy
    #[arg(long, value_name = "FILE", conflicts_with_all = ["effect", "relative", "mode", "margin", "alpha", "power", "looks", "min_runs"])]
    policy: Option<PathBuf>,
    /// The claim
    #[arg(long, value_enum, default_value_t = GateMode::Better)]
    mode: GateMode,
    /// With mode better: by how much more than this the candidate must gain
    #[arg(long, default_value_t = 0.0)]
    margin: f64,
    /// Runs will be compared in pairs
    #[arg(long)]
    paired: bool,
    /// One-sided error rate over all looks
    #[arg(long, default_value_t = 0.05)]
    alpha: f64,
    /// The chance of a pass that is wanted
    #[arg(long, default_value_t = 0.8)]
    power: f64,
    /// Looks planned (1 or 2)
    #[arg(long, default_value_t = 2)]
    looks: u32,
    /// Fewest runs an arm that the gate would judge
    #[arg(long, default_value_t = 3)]
    min_runs: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A metric that is planned.
struct Planned {
    name: String,
    plan: GatePlan,
}

pub(super) async fn run(place: &Place, arguments: PlanArguments) -> anyhow::Result<u8> {
    let planned = match (&arguments.policy, arguments.sd) {
        (Some(file), _) => of_policy(place, file, &arguments).await?,
        (None, Some(sd)) => vec![with_sd(&arguments, sd)?],
        (None, None) => vec![from_runs(place, &arguments).await?],
    };
    if arguments.json {
        let all: Vec<serde_json::Value> = planned
            .iter()
            .map(|planned| {
                let mut json = serde_json::json!({ "metric": planned.name });
                if let (Some(json), serde_json::Value::Object(plan)) =
                    (json.as_object_mut(), serde_json::to_value(&planned.plan)?)
                {
                    json.extend(plan);
                }
                anyhow::Ok(json)
            })
            .collect::<Result<_, _>>()?;
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        planned.iter().for_each(|planned| println!("{}", text(planned)));
    }
    Ok(exit::DONE)
}

/// Which way a metric gets better, in the words of users.
pub(crate) fn direction(text: &str) -> anyhow::Result<Direction> {
    Ok(match text.parse().map_err(runlake::Error::from)? {
        MetricDirection::Up => Direction::Up,
        MetricDirection::Down => Direction::Down,
    })
}

impl PlanArguments {
    fn question(&self, effect: f64, sd: f64, sd_runs: Option<usize>) -> PlanQuestion {
        let mode = Mode::from(self.mode);
        PlanQuestion {
            mode,
            effect: if mode == Mode::Better { effect - self.margin } else { effect },
            sd,
            sd_runs,
            paired: self.paired,
            alpha: self.alpha,
            looks: self.looks,
            power: self.power,
            min_runs: self.min_runs,
        }
    }
}

fn plan(name: &str, question: PlanQuestion) -> anyhow::Result<Planned> {
    let plan = GatePlan::new(question).map_err(runlake::Error::from)?;
    Ok(Planned { name: name.to_owned(), plan })
}

fn with_sd(arguments: &PlanArguments, sd: f64) -> anyhow::Result<Planned> {
    if arguments.relative {
        return Err(UsageError(
            "--relative needs runs: give --baseline and --metric in place of --sd".to_owned(),
        )
        .into());
    }
    plan("the metric", arguments.question(arguments.effect.unwrap_or_default(), sd, None))
}

/// Mean, standard deviation and number of the runs of a baseline.
async fn spread(place: &Place, selector: &str, metric: &str) -> anyhow::Result<(f64, f64, usize)> {
    access::lake_only(place, "gate plan")?;
    let lake = access::read(place).await?;
    let metric = MetricName::new(metric).map_err(runlake::Error::from)?;
    let moments = lake.spread(&Selector::parse(selector)?, &metric).await?;
    match (moments.mean(), moments.standard_deviation()) {
        (Some(mean), Some(sd)) => Ok((mean, sd, moments.count())),
        _ => Err(UsageError(format!(
            "{selector:?} has {} finished runs with a finite {metric}; two are needed to know the spread, or say it with --sd",
            moments.count()
        ))
        .into()),
    }
}

async fn from_runs(place: &Place, arguments: &PlanArguments) -> anyhow::Result<Planned> {
    let (Some(baseline), Some(metric)) = (&arguments.baseline, &arguments.metric) else {
        return Err(UsageError(
            "how much do runs differ from seed to seed? give --sd, or --baseline and --metric to take it from runs"
                .to_owned(),
        )
        .into());
    };
    let (mean, sd, runs) = spread(place, baseline, metric).await?;
    let unit = if arguments.relative { mean.abs() } else { 1.0 };
    let mut question = arguments.question(arguments.effect.unwrap_or_default(), sd, Some(runs));
    question.effect *= unit;
    plan(metric, question)
}

async fn of_policy(
    place: &Place,
    file: &std::path::Path,
    arguments: &PlanArguments,
) -> anyhow::Result<Vec<Planned>> {
    let policy = policy_file::read(file)?;
    let baseline = arguments.baseline.as_ref().or(policy.baseline.as_ref()).ok_or_else(|| {
        UsageError("which runs show the spread? the policy names no baseline: give --baseline".to_owned())
    })?;
    let mut planned = Vec::new();
    for metric in &policy.metrics {
        let (mean, sd, runs) = spread(place, baseline, &metric.name).await?;
        let unit = if metric.relative { mean.abs() } else { 1.0 };
        let margin = metric.margin.unwrap_or(0.0);
        let mode = metric.mode.unwrap_or(if metric.margin.is_some() { Mode::NotWorse } else { Mode::Better });
        let effect = match mode {
            Mode::Better => {
                metric.detect.ok_or_else(|| {
                    UsageError(format!(
                        "metric {}: say in the policy which gain is worth having (detect)",
                        metric.name
                    ))
                })? - margin
            }
            Mode::NotWorse | Mode::Equivalent => margin,
        };
        let question = PlanQuestion {
            mode,
            effect: effect * unit,
            sd,
            sd_runs: Some(runs),
            paired: arguments.paired,
            alpha: metric.alpha.unwrap_or(policy.alpha),
            looks: policy.looks,
            power: policy.power,
            min_runs: metric.min_runs.unwrap_or(policy.min_runs),
        };
        planned.push(plan(&metric.name, question)?);
    }
    Ok(planned)
}

fn text(planned: &Planned) -> String {
    let plan = &planned.plan;
    let question = &plan.question;
    let unit = if question.paired { "pairs" } else { "runs an arm" };
    let claim = match question.mode {
        Mode::Better => format!("a gain of {} beyond the threshold", question.effect),
        Mode::NotWorse => format!("not worse by {}, when there is no difference", question.effect),
        Mode::Equivalent => format!("equal within {}, when there is no difference", question.effect),
    };
    let count = |runs: Option<usize>| runs.map_or("more than 10000".to_owned(), |runs| runs.to_string());
    let mut text = format!(
        "{}: {} {unit} to see {claim}\n  with power {:.0} % at one-sided alpha {} a look ({} planned)",
        planned.name,
        count(plan.runs),
        100.0 * question.power,
        plan.alpha_look,
        question.looks,
    );
    let _ = match (question.sd_runs, plan.sd_upper80) {
        (Some(runs), Some(upper)) => write!(
            text,
            "\n  spread {:.4} from {runs} runs; it may be {upper:.4}, which takes {}",
            question.sd,
            count(plan.runs_conservative)
        ),
        _ => write!(text, "\n  spread {} as given", question.sd),
    };
    let mut table = comfy_table::Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    table.set_header([unit, "power", "smallest effect seen"]);
    for row in &plan.rows {
        table.add_row([
            row.runs.to_string(),
            format!("{:.0} %", 100.0 * row.power),
            format!("{:.4}", row.detectable),
        ]);
    }
    let _ = write!(text, "\n{table}");
    text
}
