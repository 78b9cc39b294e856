//! The SQL prompt: statements over several lines, history, completion, and commands that begin with a backslash.

mod commands;
mod completion;
mod typing;
mod vocabulary;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use runlake::query::text;
use rustyline::config::Config;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{ColorMode, CompletionType, Editor};

use crate::output::{Format, Style};
use crate::sql::Session;
use crate::{exit, output};
use commands::{Command, Next};
use typing::Typing;
use vocabulary::Vocabulary;

const PROMPT: &str = "runlake> ";
/// Statements that are kept in the history.
const HISTORY: usize = 10_000;
/// How old the names that are completed may be.
const NAMES_AGE: Duration = Duration::from_secs(60);

type SqlEditor = Editor<Typing, FileHistory>;

pub(crate) async fn run(session: Session, format: Format) -> anyhow::Result<u8> {
    let colors =
        if std::env::var_os("NO_COLOR").is_some() { ColorMode::Disabled } else { ColorMode::Enabled };
    let config = Config::builder()
        .max_history_size(HISTORY)?
        .history_ignore_dups(true)?
        .completion_type(CompletionType::List)
        .color_mode(colors)
        .build();
    let names = Arc::new(RwLock::new(Vocabulary::default()));
    let mut editor = SqlEditor::with_config(config)?;
    editor.set_helper(Some(Typing::new(Arc::clone(&names))));
    let history = history_file();
    if let Some(history) = &history {
        // The first time there is none.
        let _ = editor.load_history(history);
    }
    println!("Statements end with ; and the prompt with \\q. Try SHOW TABLES; or \\? for help.");
    let mut prompt = Prompt {
        session,
        style: Style::of(format),
        timing: false,
        last: String::new(),
        names,
        names_asked: None,
    };
    prompt.ask_for_names();
    let mut initial = String::new();
    loop {
        let line = editor.readline_with_initial(PROMPT, (&initial, ""));
        initial.clear();
        let line = match line {
            Ok(line) => line,
            // Ctrl-C throws away what was typed.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        let typed = line.trim();
        if typed.is_empty() {
            continue;
        }
        // A history that cannot be kept is no reason to refuse a statement.
        let _ = editor.add_history_entry(typed);
        match prompt.take(typed).await {
            Next::Go => {}
            Next::Edit(text) => initial = text,
            Next::Quit => break,
        }
        if let Some(history) = &history {
            let _ = editor.save_history(history);
        }
        prompt.ask_for_names();
    }
    Ok(exit::DONE)
}

/// What the prompt keeps from one statement to the next.
struct Prompt {
    session: Session,
    style: Style,
    timing: bool,
    /// The last statement, to edit it.
    last: String,
    names: Arc<RwLock<Vocabulary>>,
    names_asked: Option<Instant>,
}

impl Prompt {
    /// Does what was typed.
    async fn take(&mut self, typed: &str) -> Next {
        if let Some(command) = Command::read(typed) {
            return match command {
                Ok(command) => self.obey(command).await,
                Err(wrong) => {
                    eprintln!("{wrong}");
                    Next::Go
                }
            };
        }
        typed.clone_into(&mut self.last);
        self.answer_all(typed).await;
        Next::Go
    }

    /// Answers statements one after the other, until one fails.
    async fn answer_all(&mut self, statements: &str) {
        for statement in text::statements(statements) {
            let done = match statement.setting() {
                Some((key, value)) => self.session.set(&key, &value),
                None => self.answer(&statement.in_place(), self.style).await,
            };
            if let Err(error) = done {
                eprintln!("{}", exit::message(&error));
                return;
            }
        }
    }

    /// Answers one statement; Ctrl-C ends it and not the prompt.
    async fn answer(&self, statement: &str, style: Style) -> anyhow::Result<()> {
        let began = Instant::now();
        let answering = async {
            let rows = self.session.ask(statement).await?;
            output::write(rows, style).await
        };
        let rows = tokio::select! {
            answered = answering => answered?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                // What answers it is dropped here, which ends the work, also on a server.
                eprintln!("\ncancelled");
                return Ok(());
            }
        };
        if style.format == Format::Table {
            let s = if rows == 1 { "" } else { "s" };
            let time = if self.timing { format!(", {}", spoken(began.elapsed())) } else { String::new() };
            println!("({rows} row{s}{time})");
        } else if self.timing {
            eprintln!("({})", spoken(began.elapsed()));
        }
        Ok(())
    }

    /// Has the names that can be completed read again in the background, when they are old.
    fn ask_for_names(&mut self) {
        if self.names_asked.is_some_and(|asked| asked.elapsed() < NAMES_AGE) {
            return;
        }
        self.names_asked = Some(Instant::now());
        let (source, names) = (self.session.source.clone(), Arc::clone(&self.names));
        tokio::spawn(async move {
            // Without names there is less to complete; what is wrong shows with the next statement.
            if let Ok(found) = Vocabulary::ask(&source).await {
                *names.write() = found;
            }
        });
    }
}

fn spoken(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

fn history_file() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    Some(PathBuf::from(home).join(".runlake_history"))
}
