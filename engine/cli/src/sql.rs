//! `runlake sql`.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use runlake::query::{QueryLimits, QueryOptions};

use crate::access::Source;
use crate::arguments::{FormatArgument, Place};
use crate::exit::UsageError;
use crate::{exit, output, prompt};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake sql \"SELECT count(*) FROM points\"\n  runlake sql -f report.sql --format csv > report.csv\n  echo 'SHOW TABLES' | runlake sql\n  runlake sql          (a prompt with history)"
)]
pub(crate) struct SqlArguments {
    /// The statement
    statement: Option<String>,
    /// A file with one statement
    #[arg(short, long, conflicts_with = "statement")]
    file: Option<PathBuf>,
    /// A setting for the statement, such as runlake.on_corrupt=skip; may be given more than once
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    format: FormatArgument,
}

pub(crate) async fn run(place: &Place, arguments: SqlArguments) -> anyhow::Result<u8> {
    let source = Source::open(place).await?;
    let format = arguments.format.format;
    let statement = match (arguments.statement, arguments.file) {
        (Some(statement), _) => statement,
        (None, Some(file)) => {
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?
        }
        (None, None) if std::io::stdin().is_terminal() => return prompt::run(&source, format).await,
        (None, None) => {
            let mut statement = String::new();
            std::io::stdin()
                .read_to_string(&mut statement)
                .context("cannot read the statement from standard input")?;
            statement
        }
    };
    let mut options = local_options();
    let mut settings = Vec::new();
    for text in &arguments.settings {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            UsageError(format!("--set takes KEY=VALUE, such as runlake.on_corrupt=skip, not {text:?}"))
        })?;
        options.settings.set(key, value).map_err(runlake::Error::from)?;
        settings.push((key, value));
    }
    let rows = source.query_with(&statement, options, &settings).await?;
    output::write(rows, format).await?;
    Ok(exit::DONE)
}

/// The person at the terminal owns the lake: no limit of rows or time, and the one of memory.
pub(crate) fn local_options() -> QueryOptions {
    QueryOptions { limits: QueryLimits::local(), ..QueryOptions::default() }
}
