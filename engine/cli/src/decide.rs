//! `runlake decide`.

use clap::Args;
use model::{Command, Decision, ExperimentName, MetricDirection, MetricName, ProjectName};

use crate::arguments::Place;
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake decide augmentation ship --reason \"+0.059 accuracy on 12 + 12 seeds, gate passed\"\n  runlake decide high-lr reject --reason \"diverges\" --hypothesis \"a larger rate trains faster\""
)]
pub(crate) struct DecideArguments {
    /// The experiment
    experiment: String,
    /// ship, iterate or reject
    decision: String,
    /// Why
    #[arg(long)]
    reason: String,
    /// The project of the experiment
    #[arg(long, default_value = "default")]
    project: String,
    /// Who decides
    #[arg(long, env = "USER")]
    author: Option<String>,
    /// Also record what was believed
    #[arg(long)]
    hypothesis: Option<String>,
    /// Also record where the idea came from
    #[arg(long)]
    source: Option<String>,
    /// Also record the metric that decides
    #[arg(long)]
    metric: Option<String>,
    /// Also record which way that metric gets better: up or down
    #[arg(long)]
    direction: Option<String>,
}

pub(crate) async fn run(place: &Place, arguments: DecideArguments) -> anyhow::Result<u8> {
    let commands = commands(&arguments).map_err(runlake::Error::from)?;
    apply(place, commands, "runlake decide").await?;
    println!("{}: {} ({})", arguments.experiment, arguments.decision, arguments.reason);
    Ok(exit::DONE)
}

fn commands(arguments: &DecideArguments) -> Result<Vec<Command>, model::ModelError> {
    let time = access::now_micros();
    let project = ProjectName::new(&arguments.project)?;
    let experiment = ExperimentName::new(&arguments.experiment)?;
    let mut update = model::ExperimentUpdate::named(project.clone(), experiment.clone(), time);
    update.hypothesis.clone_from(&arguments.hypothesis);
    update.source.clone_from(&arguments.source);
    update.target_metric = arguments.metric.as_ref().map(MetricName::new).transpose()?;
    update.direction = arguments.direction.as_deref().map(str::parse::<MetricDirection>).transpose()?;
    let facts = update.hypothesis.is_some()
        || update.source.is_some()
        || update.target_metric.is_some()
        || update.direction.is_some();
    let decision = Command::Decide(Decision {
        project,
        experiment,
        decision: arguments.decision.parse()?,
        reason: arguments.reason.clone(),
        author: arguments.author.clone(),
        time,
    });
    decision.check()?;
    // The decision goes first: an experiment that is not there must not be made by deciding on it.
    Ok(if facts { vec![decision, Command::UpdateExperiment(update)] } else { vec![decision] })
}

/// Applies commands to the lake or through the server.
pub(crate) async fn apply(place: &Place, commands: Vec<Command>, owner: &str) -> anyhow::Result<()> {
    match &place.url {
        Some(url) => {
            let client = access::connect(url).await?;
            for command in commands {
                client.apply(command).await?;
            }
        }
        None => {
            let lake = access::write_existing(place, owner).await?;
            let outcome = lake.apply(commands, None).await;
            lake.close().await;
            outcome?;
        }
    }
    Ok(())
}
