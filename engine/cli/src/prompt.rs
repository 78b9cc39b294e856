//! The SQL prompt: statements end with a semicolon, history is kept.

use std::path::PathBuf;

use runlake::query::{QueryOptions, Settings};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::access::Source;
use crate::output::Format;
use crate::{exit, output, sql};

pub(crate) async fn run(source: &Source, format: Format) -> anyhow::Result<u8> {
    let mut editor = DefaultEditor::new()?;
    let history = history_file();
    if let Some(history) = &history {
        // The first time there is none.
        let _ = editor.load_history(history);
    }
    println!("Statements end with ; and the prompt with \\q. Try: SHOW TABLES;");
    let mut statement = String::new();
    let mut settings = Settings::default();
    loop {
        let prompt = if statement.is_empty() { "runlake> " } else { "     ... " };
        match editor.readline(prompt) {
            Ok(line) if statement.is_empty() && matches!(line.trim(), "\\q" | "exit" | "quit") => break,
            Ok(line) => {
                statement.push_str(&line);
                statement.push('\n');
            }
            Err(ReadlineError::Interrupted) => {
                statement.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
        let complete = statement.trim_end().ends_with(';');
        if statement.trim().is_empty() {
            statement.clear();
        } else if complete {
            let text = std::mem::take(&mut statement);
            // A history that cannot be kept is no reason to refuse a statement.
            let _ = editor.add_history_entry(text.trim());
            match answer(source, &text, format, settings).await {
                Ok(changed) => settings = changed,
                Err(error) => eprintln!("{error:#}"),
            }
        }
    }
    if let Some(history) = &history {
        let _ = editor.save_history(history);
    }
    Ok(exit::DONE)
}

/// Shows the answer to a statement and gives back the settings for the next one.
async fn answer(
    source: &Source,
    statement: &str,
    format: Format,
    settings: Settings,
) -> anyhow::Result<Settings> {
    let rows = source.query(statement, QueryOptions { settings, ..sql::local_options() }).await?;
    let changed = rows.settings;
    output::write(rows, format).await?;
    Ok(changed.unwrap_or(settings))
}

fn history_file() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    Some(PathBuf::from(home).join(".runlake_history"))
}
