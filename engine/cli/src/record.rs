//! `runlake record`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use model::{Command, ExperimentName, ProjectName, RecordFields, RecordId, RecordKind, RecordUpdate};
use serde_json::Value;

use crate::arguments::Place;
use crate::exit::UsageError;
use crate::{access, decide, exit};

/// Rows that are written into a lake at once.
const ROWS_AT_ONCE: usize = 500;

#[derive(Debug, Args)]
#[command(
    after_help = "Tables: baselines, gates, reviews, directions, resources, lineage, artifacts, datasets, sweeps, trials, budgets; `runlake sql \"DESCRIBE baselines\"` lists the columns of one.\n\nExamples:\n  runlake record put baselines --set name=main --set version=3 --set max_age_days=30\n  runlake record put baselines --id main@2 --set status=retired\n  runlake record put trials --json trials.ndjson\n  runlake record remove resources some-paper"
)]
pub(crate) struct RecordArguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write a row, or set columns of one that is there
    Put(PutArguments),
    /// Remove a row for good
    Remove(RemoveArguments),
}

#[derive(Debug, Args)]
struct PutArguments {
    /// The table
    table: String,
    /// A column and its value; may be given several times
    #[arg(long, value_name = "COLUMN=VALUE")]
    set: Vec<String>,
    /// A column whose value goes away; may be given several times
    #[arg(long, value_name = "COLUMN")]
    clear: Vec<String>,
    /// Rows as JSON: an object, an array of them, or one after the other; - is standard input. Their keys are columns, and
    /// id, project, experiment, run_id and author, which go before what is said here
    #[arg(long, value_name = "FILE", conflicts_with_all = ["set", "clear", "id"])]
    json: Option<PathBuf>,
    /// Which row; by default the one that its columns name, such as main@3, else a new one
    #[arg(long)]
    id: Option<String>,
    /// The project
    #[arg(long, default_value = "default")]
    project: String,
    /// The experiment that it is about
    #[arg(long)]
    experiment: Option<String>,
    /// The run that it is about; it is deleted with it
    #[arg(long)]
    run: Option<String>,
    /// Who writes
    #[arg(long, env = "USER")]
    author: Option<String>,
}

#[derive(Debug, Args)]
struct RemoveArguments {
    /// The table
    table: String,
    /// Which row
    id: String,
    /// The project
    #[arg(long, default_value = "default")]
    project: String,
}

pub(crate) async fn run(place: &Place, arguments: RecordArguments) -> anyhow::Result<u8> {
    match arguments.action {
        Action::Put(arguments) => put(place, arguments).await,
        Action::Remove(arguments) => remove(place, arguments).await,
    }
}

async fn remove(place: &Place, arguments: RemoveArguments) -> anyhow::Result<u8> {
    let RemoveArguments { table, id, project } = arguments;
    let command = || -> Result<Command, model::ModelError> {
        let (table, project) = (table.parse()?, ProjectName::new(&project)?);
        Ok(Command::RemoveRecord { table, project, id: RecordId::new(&id)? })
    };
    decide::apply(place, vec![command().map_err(runlake::Error::from)?], "runlake record").await?;
    println!("removed {id} from {table}");
    Ok(exit::DONE)
}

async fn put(place: &Place, arguments: PutArguments) -> anyhow::Result<u8> {
    let kind: RecordKind = arguments.table.parse().map_err(runlake::Error::from)?;
    let records = match &arguments.json {
        Some(file) => from_json(kind, &arguments, file)?,
        None => vec![from_words(kind, &arguments)?],
    };
    let shown = match records.as_slice() {
        [] => return Err(UsageError("no row was given".to_owned()).into()),
        [record] => format!("{kind}: {}", record.id),
        records => format!("{kind}: {} rows", records.len()),
    };
    match &place.url {
        Some(url) => access::connect(url).await?.put_records(records).await?,
        None => {
            let lake = access::write_existing(place, "runlake record").await?;
            let mut outcome = Ok(());
            for part in records.chunks(ROWS_AT_ONCE) {
                let commands = part.iter().cloned().map(Command::PutRecord).collect();
                outcome = lake.apply(commands, None).await.map(drop);
                if outcome.is_err() {
                    break;
                }
            }
            lake.close().await;
            outcome?;
        }
    }
    println!("{shown}");
    Ok(exit::DONE)
}

/// A row whose id and place are given in words.
struct Row<'a> {
    id: Option<&'a str>,
    project: &'a str,
    experiment: Option<&'a str>,
    run: Option<&'a str>,
    author: Option<&'a str>,
    fields: RecordFields,
}

impl Row<'_> {
    fn update(self) -> Result<RecordUpdate, model::ModelError> {
        let run = self.run.map(str::parse).transpose()?;
        let id = match self.id {
            Some(id) => RecordId::new(id)?,
            None => match self.fields.id(run) {
                Some(id) => RecordId::new(id)?,
                None => runlake::new_record_id(),
            },
        };
        let update = RecordUpdate {
            project: ProjectName::new(self.project)?,
            id,
            experiment: self.experiment.map(ExperimentName::new).transpose()?,
            run,
            author: self.author.map(str::to_owned),
            fields: self.fields,
            time: access::now_micros(),
        };
        update.check()?;
        Ok(update)
    }
}

fn from_words(kind: RecordKind, arguments: &PutArguments) -> anyhow::Result<RecordUpdate> {
    let mut fields = RecordFields::of(kind);
    for text in &arguments.set {
        let Some((column, value)) = text.split_once('=') else {
            return Err(UsageError(format!("--set {text:?} has no value: write --set {text}=VALUE")).into());
        };
        fields.set(column, value).map_err(runlake::Error::from)?;
    }
    for column in &arguments.clear {
        fields.clear(column).map_err(runlake::Error::from)?;
    }
    let row = Row {
        id: arguments.id.as_deref(),
        project: &arguments.project,
        experiment: arguments.experiment.as_deref(),
        run: arguments.run.as_deref(),
        author: arguments.author.as_deref(),
        fields,
    };
    Ok(row.update().map_err(runlake::Error::from)?)
}

fn from_json(kind: RecordKind, arguments: &PutArguments, file: &Path) -> anyhow::Result<Vec<RecordUpdate>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    let wrong = |row: usize, what: &dyn std::fmt::Display| {
        UsageError(format!("{}: row {row}: {what}", file.display()))
    };
    let mut rows = Vec::new();
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        match value.map_err(|error| wrong(rows.len() + 1, &error))? {
            Value::Array(values) => rows.extend(values),
            value => rows.push(value),
        }
    }
    let update = |(index, value): (usize, Value)| -> anyhow::Result<RecordUpdate> {
        let Value::Object(row) = value else {
            return Err(wrong(index + 1, &"it is no JSON object").into());
        };
        from_object(kind, arguments, row).map_err(|error| wrong(index + 1, &error).into())
    };
    rows.into_iter().enumerate().map(update).collect()
}

fn from_object(
    kind: RecordKind,
    arguments: &PutArguments,
    row: serde_json::Map<String, Value>,
) -> Result<RecordUpdate, model::ModelError> {
    let (mut fields, mut place) = (RecordFields::of(kind), BTreeMap::new());
    for (key, value) in row {
        if matches!(key.as_str(), "id" | "project" | "experiment" | "run_id" | "author") {
            match value {
                Value::Null => {}
                Value::String(text) => drop(place.insert(key, text)),
                value => drop(place.insert(key, value.to_string())),
            }
            continue;
        }
        match value {
            Value::Null => fields.clear(&key)?,
            Value::String(text) => fields.set(&key, &text)?,
            value => fields.set(&key, &value.to_string())?,
        }
    }
    let of_row = |key: &str| place.get(key).map(String::as_str);
    let row = Row {
        id: of_row("id"),
        project: of_row("project").unwrap_or(&arguments.project),
        experiment: of_row("experiment").or(arguments.experiment.as_deref()),
        run: of_row("run_id").or(arguments.run.as_deref()),
        author: of_row("author").or(arguments.author.as_deref()),
        fields,
    };
    row.update()
}
