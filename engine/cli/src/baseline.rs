//! `runlake baseline`.

use clap::{Args, Subcommand};
use model::{Command, MetricName, RecordUpdate};
use runlake::{BaselineHistory, BaselineQuery, Selector};

use crate::arguments::Place;
use crate::exit::UsageError;
use crate::gate::{direction, gained};
use crate::{access, exit};

#[derive(Debug, Args)]
#[command(
    after_help = "A gate takes one by `--baseline baseline:NAME` (the newest active version) or `baseline:NAME@VERSION`.\n\nExamples:\n  runlake baseline set main --runs \"experiment:nightly & tag:commit=4f2a\" --metric val/acc --direction up --max-age-days 30\n  runlake baseline show main\n  runlake baseline retire main@2"
)]
pub(crate) struct BaselineArguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the next version of a baseline
    Set(SetArguments),
    /// All versions of a baseline, and what they gained
    Show {
        /// Its name, or PROJECT/NAME
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a version out of use
    Retire {
        /// NAME@VERSION, or PROJECT/NAME@VERSION
        name: String,
    },
}

#[derive(Debug, Args)]
struct SetArguments {
    /// Its name, or PROJECT/NAME
    name: String,
    /// Its runs
    #[arg(long, value_name = "SELECTOR")]
    runs: String,
    /// The metric that it stands for
    #[arg(long, requires = "direction")]
    metric: Option<String>,
    /// Which way the metric gets better: up or down
    #[arg(long, requires = "metric")]
    direction: Option<String>,
    /// Who answers for it
    #[arg(long, env = "USER")]
    owner: Option<String>,
    /// After how many days it is stale
    #[arg(long, value_name = "DAYS")]
    max_age_days: Option<u32>,
    /// The rule by which it is to be measured anew, in words
    #[arg(long)]
    reevaluation: Option<String>,
    /// What it is
    #[arg(long)]
    description: Option<String>,
}

pub(crate) async fn run(place: &Place, arguments: BaselineArguments) -> anyhow::Result<u8> {
    access::lake_only(place, "baseline")?;
    match arguments.action {
        Action::Set(arguments) => set(place, arguments).await,
        Action::Show { name, json } => show(place, &name, json).await,
        Action::Retire { name } => retire(place, &name).await,
    }
}

async fn set(place: &Place, arguments: SetArguments) -> anyhow::Result<u8> {
    let metric = match (&arguments.metric, &arguments.direction) {
        (Some(metric), Some(word)) => {
            Some((MetricName::new(metric).map_err(runlake::Error::from)?, direction(word)?))
        }
        _ => None,
    };
    let query = BaselineQuery {
        name: arguments.name,
        runs: Selector::parse(&arguments.runs)?,
        metric,
        owner: arguments.owner,
        max_age_days: arguments.max_age_days,
        reevaluation: arguments.reevaluation,
        description: arguments.description,
    };
    let lake = access::write_existing(place, "runlake baseline").await?;
    let outcome = lake.set_baseline(&query).await;
    lake.close().await;
    let record = outcome?;
    let runs = record.text("runs").map_or(0, |runs| runs.matches(',').count() + 1);
    println!("baseline {}: {runs} runs", record.id);
    if let (Some(metric), Some(mean), Some(n)) =
        (record.text("metric"), record.number("mean"), record.integer("n"))
    {
        let sd = record.number("sd").map_or("none".to_owned(), |sd| sd.to_string());
        println!("  {metric}: mean {mean}, standard deviation {sd}, {n} finite values");
    }
    Ok(exit::DONE)
}

async fn show(place: &Place, name: &str, json: bool) -> anyhow::Result<u8> {
    let lake = access::read(place).await?;
    let history = lake.baseline_history(name).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&json_of(&history))?);
        return Ok(exit::DONE);
    }
    for version in &history.versions {
        let record = &version.record;
        let part = |column: &str, before: &str| {
            record.text(column).map(|text| format!("{before}{text}")).unwrap_or_default()
        };
        let listed = runlake::baseline_runs(record).map_or(0, |runs| runs.len());
        let gone = if version.present < listed {
            format!(" ({} of them are gone)", listed - version.present)
        } else {
            String::new()
        };
        println!(
            "{}  {}  {listed} runs{gone}{}{}{}",
            record.id,
            record.text("status").unwrap_or("active"),
            part("metric", ", "),
            record.number("mean").map(|mean| format!(" {mean}")).unwrap_or_default(),
            part("owner", ", owner ")
        );
    }
    for step in &history.chain {
        let from_before =
            step.step.map(|step| format!(", {step:+.4} over the one before")).unwrap_or_default();
        println!("  {}: {} since the first{from_before}", step.name, gained(step));
    }
    Ok(exit::DONE)
}

fn json_of(history: &BaselineHistory) -> serde_json::Value {
    let versions: Vec<serde_json::Value> = history
        .versions
        .iter()
        .map(|version| {
            let record = &version.record;
            let columns = record.kind.columns().iter().zip(&record.values);
            let mut json = serde_json::json!({ "id": record.id.to_string(), "present": version.present });
            for (column, value) in columns {
                if let (Some(value), Some(json)) = (value, json.as_object_mut()) {
                    let value = match value {
                        model::FieldValue::Integer(number) | model::FieldValue::Time(number) => {
                            (*number).into()
                        }
                        model::FieldValue::Number(number) => serde_json::json!(number),
                        other => other.to_text().into(),
                    };
                    json.insert(column.name.to_owned(), value);
                }
            }
            json
        })
        .collect();
    serde_json::json!({ "versions": versions, "chain": history.chain })
}

async fn retire(place: &Place, name: &str) -> anyhow::Result<u8> {
    let lake = access::write_existing(place, "runlake baseline").await?;
    let outcome = async {
        if !name.contains('@') {
            return Err(UsageError(format!("which version of {name:?}? write NAME@VERSION")).into());
        }
        let record = lake.baseline(name).await?;
        let mut fields = model::RecordFields::of(model::RecordKind::Baselines);
        fields.set("status", "retired").map_err(runlake::Error::from)?;
        let update = RecordUpdate::new(record.project, record.id.clone(), fields, access::now_micros());
        lake.apply(vec![Command::PutRecord(update)], None).await?;
        anyhow::Ok(record.id)
    }
    .await;
    lake.close().await;
    println!("retired {}", outcome?);
    Ok(exit::DONE)
}
