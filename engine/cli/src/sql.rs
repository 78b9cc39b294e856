//! `runlake sql`: one statement, many of a file or of standard input, or a prompt.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use runlake::query::{QueryLimits, QueryOptions, Settings, ViewChange, text, view_change};

use crate::access::{self, Rows, Source};
use crate::arguments::{FormatArgument, Place};
use crate::exit::UsageError;
use crate::output::{Format, Style};
use crate::{exit, output, prompt};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlake sql \"SELECT count(*) FROM points\"\n  runlake sql -f report.sql --format csv > report.csv\n  echo 'SHOW TABLES' | runlake sql\n  runlake sql          (a prompt with history)\n\nSeveral statements are separated by ; and answered in turn. A SET holds for those after it."
)]
pub(crate) struct SqlArguments {
    /// The statement, or several
    statement: Option<String>,
    /// A file with one statement or several
    #[arg(short, long, conflicts_with = "statement")]
    file: Option<PathBuf>,
    /// Go on after a statement that fails; the exit code is that of the first failure
    #[arg(long)]
    keep_going: bool,
    /// A setting for the statements, such as runlake.on_corrupt=skip; may be given more than once
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    format: FormatArgument,
}

pub(crate) async fn run(place: &Place, arguments: SqlArguments) -> anyhow::Result<u8> {
    let mut session = Session::new(Source::open(place).await?, place.clone());
    for text in &arguments.settings {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            UsageError(format!("--set takes KEY=VALUE, such as runlake.on_corrupt=skip, not {text:?}"))
        })?;
        session.set(key, value)?;
    }
    let format = arguments.format.format;
    let (name, statements) = match (arguments.statement, arguments.file) {
        (Some(statement), _) => (None, statement),
        (None, Some(file)) => {
            let name = file.display().to_string();
            let statements = std::fs::read_to_string(&file).with_context(|| format!("cannot read {name}"))?;
            (Some(name), statements)
        }
        (None, None) if std::io::stdin().is_terminal() => return prompt::run(session, format).await,
        (None, None) => {
            let mut statements = String::new();
            std::io::stdin()
                .read_to_string(&mut statements)
                .context("cannot read statements from standard input")?;
            (Some("standard input".to_owned()), statements)
        }
    };
    let script = Script { name: name.as_deref(), text: &statements, keep_going: arguments.keep_going };
    script.run(&mut session, format).await
}

/// Statements of one text.
struct Script<'a> {
    /// Where the text is from; nothing for the command line.
    name: Option<&'a str>,
    text: &'a str,
    keep_going: bool,
}

impl Script<'_> {
    async fn run(&self, session: &mut Session, format: Format) -> anyhow::Result<u8> {
        let statements = text::statements(self.text);
        if statements.is_empty() {
            let place = self.name.map_or_else(String::new, |name| format!(" in {name}"));
            return Err(UsageError(format!("there is no statement{place}; one looks like SELECT 1")).into());
        }
        let answers = statements.iter().filter(|statement| statement.setting().is_none()).count();
        if matches!(format, Format::Arrow | Format::Parquet) && answers > 1 {
            return Err(UsageError(format!(
                "{answers} statements give {answers} answers, and this format has room for one; use --format csv, json \
                 or ndjson, or one statement at a time"
            ))
            .into());
        }
        let mut outcome = exit::DONE;
        let mut answered = 0;
        for (position, statement) in statements.iter().enumerate() {
            let done = match statement.setting() {
                Some((key, value)) => session.set(&key, &value),
                None => {
                    // Lines of JSON stay lines of JSON.
                    if answered > 0 && format != Format::Ndjson {
                        println!();
                    }
                    answered += 1;
                    self.answer(session, &statement.in_place(), format).await
                }
            };
            let Err(error) = done else { continue };
            if exit::is_closed_pipe(&error) {
                return Err(error);
            }
            let error = match (self.name, statements.len()) {
                (None, 1) => error,
                (None, _) => error.context(format!("statement {}", position + 1)),
                (Some(name), _) => {
                    error.context(format!("{name}, statement {} (line {})", position + 1, statement.line))
                }
            };
            if !self.keep_going {
                return Err(error);
            }
            eprintln!("runlake: {}", exit::message(&error));
            if outcome == exit::DONE {
                outcome = exit::code_of(&error);
            }
        }
        Ok(outcome)
    }

    async fn answer(&self, session: &Session, statement: &str, format: Format) -> anyhow::Result<()> {
        let rows = session.ask(statement).await?;
        output::write(rows, Style::of(format)).await?;
        Ok(())
    }
}

/// Where statements are asked, and what was set for them.
pub(crate) struct Session {
    pub(crate) source: Source,
    /// Where views are kept.
    place: Place,
    settings: Settings,
    /// The same as texts, for a server.
    told: Vec<(String, String)>,
}

impl Session {
    pub(crate) fn new(source: Source, place: Place) -> Self {
        Self { source, place, settings: Settings::default(), told: Vec::new() }
    }

    /// Sets a key for the statements that follow.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> anyhow::Result<()> {
        self.settings.set(key, value).map_err(runlake::Error::from)?;
        self.told.retain(|(other, _)| other != key);
        self.told.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// What was set, in the order of the last `SET` of each key.
    pub(crate) fn settings(&self) -> &[(String, String)] {
        &self.told
    }

    /// Begins to answer a statement that is no `SET`.
    pub(crate) async fn ask(&self, statement: &str) -> anyhow::Result<Rows> {
        if let Some(change) = view_change(statement).map_err(runlake::Error::from)? {
            return self.change_views(statement, change).await;
        }
        let told: Vec<(&str, &str)> =
            self.told.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let options = QueryOptions { settings: self.settings, ..local_options() };
        self.source.query_with(statement, options, &told).await
    }
}

impl Session {
    /// Keeps a view or lets go of one, in the lake or through its server, and tells so.
    async fn change_views(&self, statement: &str, change: ViewChange) -> anyhow::Result<Rows> {
        let told = match &change {
            ViewChange::Save { name, .. } => format!("view {name} is kept"),
            ViewChange::Drop { name, .. } => format!("view {name} is gone"),
        };
        match &self.source {
            Source::Server(client) => client.change_views(statement).await?,
            Source::Lake(_) => {
                let lake = access::write_existing(&self.place, "runlake sql").await?;
                let outcome = lake.change_views(change).await;
                lake.close().await;
                outcome?;
            }
        }
        let rows = Rows::none();
        rows.notices.add(told);
        Ok(rows)
    }
}

/// The person at the terminal owns the lake: no limit of rows or time, and the one of memory.
pub(crate) fn local_options() -> QueryOptions {
    QueryOptions { limits: QueryLimits::local(), ..QueryOptions::default() }
}
