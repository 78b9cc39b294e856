//! What begins with a backslash at the prompt.

use anyhow::Context;
use clap::ValueEnum;
use runlake::query::functions;

use super::Prompt;
use crate::exit;
use crate::output::{Format, Style};

/// What the prompt does after a command.
pub(super) enum Next {
    /// Asks for the next statement.
    Go,
    /// Asks for it with a text that is there already.
    Edit(String),
    /// Ends.
    Quit,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Tables,
    Columns(String),
    Functions(Option<String>),
    Expanded,
    Timing,
    Format(Format),
    Settings,
    File(String),
    Edit,
    Cancel(u64),
    Help,
    Quit,
}

/// The commands with what they do, for the help and for completion.
pub(super) const COMMANDS: [(&str, &str, &str); 12] = [
    ("\\d", "", "the tables"),
    ("\\d", "TABLE", "the columns of a table"),
    ("\\df", "[NAME]", "Runlake's functions, or one of them"),
    ("\\x", "", "rows as lines of name and value, or as a table again"),
    ("\\timing", "", "how long each statement took, or not"),
    ("\\format", "FORMAT", "table, csv, json, ndjson, markdown"),
    ("\\set", "", "what was SET"),
    ("\\i", "FILE", "answers the statements of a file"),
    ("\\e", "", "the last statement in $EDITOR"),
    ("\\cancel", "ID", "ends a statement of system.queries"),
    ("\\?", "", "this help"),
    ("\\q", "", "the end; Ctrl-D too"),
];

impl Command {
    /// The command that was typed; nothing when it is a statement.
    pub(super) fn read(typed: &str) -> Option<Result<Self, String>> {
        let typed = typed.trim().trim_end_matches(';').trim_end();
        if matches!(typed, "exit" | "quit") {
            return Some(Ok(Self::Quit));
        }
        if !typed.starts_with('\\') {
            return None;
        }
        let (name, argument) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
        let argument = argument.trim();
        let needs = |what: &str| Err(format!("{name} needs {what}; \\? lists the commands"));
        Some(match (name, argument) {
            ("\\d" | "\\dt", "") => Ok(Self::Tables),
            ("\\d", table) => Ok(Self::Columns(table.to_owned())),
            ("\\df", name) => Ok(Self::Functions((!name.is_empty()).then(|| name.to_owned()))),
            ("\\x", _) => Ok(Self::Expanded),
            ("\\timing", _) => Ok(Self::Timing),
            ("\\format", text) => match Format::from_str(text, true) {
                Ok(format) if !matches!(format, Format::Arrow | Format::Parquet) => Ok(Self::Format(format)),
                _ => needs("table, csv, json, ndjson or markdown"),
            },
            ("\\set", _) => Ok(Self::Settings),
            ("\\i", "") => needs("a file"),
            ("\\i", file) => Ok(Self::File(file.to_owned())),
            ("\\e", _) => Ok(Self::Edit),
            ("\\cancel", id) => match id.parse() {
                Ok(id) => Ok(Self::Cancel(id)),
                Err(_) => needs("the id of a statement in system.queries"),
            },
            ("\\?" | "\\h" | "\\help", _) => Ok(Self::Help),
            ("\\q", _) => Ok(Self::Quit),
            _ => Err(format!("there is no command {name}; \\? lists them")),
        })
    }
}

impl Prompt {
    /// Does a command and says what is wrong with it.
    pub(super) async fn obey(&mut self, command: Command) -> Next {
        match self.try_to_obey(command).await {
            Ok(next) => next,
            Err(error) => {
                eprintln!("{}", exit::message(&error));
                Next::Go
            }
        }
    }

    async fn try_to_obey(&mut self, command: Command) -> anyhow::Result<Next> {
        let table = Style { format: Format::Table, ..self.style };
        match command {
            Command::Quit => return Ok(Next::Quit),
            Command::Tables => {
                let sql = "SELECT table_schema AS schema, table_name AS name FROM information_schema.tables \
                           WHERE table_schema IN ('public', 'system') ORDER BY 1, 2";
                self.answer(sql, table).await?;
            }
            Command::Columns(table_name) => {
                let (schema, name) = table_name.split_once('.').unwrap_or(("public", &table_name));
                let sql = format!(
                    "SELECT column_name AS name, data_type AS type, is_nullable AS nullable \
                     FROM information_schema.columns WHERE table_schema = {} AND table_name = {} \
                     ORDER BY ordinal_position",
                    quoted(schema),
                    quoted(name)
                );
                self.answer(&sql, table).await?;
            }
            Command::Functions(name) => tell_functions(name.as_deref()),
            Command::Expanded => {
                self.style.expanded = !self.style.expanded;
                let how = if self.style.expanded { "lines of name and value" } else { "a table" };
                println!("Rows are shown as {how}.");
            }
            Command::Timing => {
                self.timing = !self.timing;
                println!("Times are {}.", if self.timing { "shown" } else { "not shown" });
            }
            Command::Format(format) => self.style.format = format,
            Command::Settings => {
                for (key, value) in self.session.settings() {
                    println!("{key} = {value}");
                }
            }
            Command::File(file) => {
                let statements =
                    std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
                self.answer_all(&statements).await;
            }
            Command::Edit => return Ok(Next::Edit(edited(&self.last)?)),
            Command::Cancel(id) => {
                let found = self.session.source.cancel(id).await?;
                println!("{}", if found { "cancelled" } else { "no statement with this id waits or runs" });
            }
            Command::Help => {
                for (name, argument, what) in COMMANDS {
                    println!("  {:<18} {what}", format!("{name} {argument}"));
                }
                println!(
                    "Tab completes tables, columns, keys (params.), functions and settings. Ctrl-C cancels a statement."
                );
            }
        }
        Ok(Next::Go)
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn tell_functions(name: Option<&str>) {
    let all = functions::definitions();
    match name {
        None => all.iter().for_each(|function| println!("{:<60} {}", function.syntax(), function.summary)),
        Some(name) => match all.iter().find(|function| function.name.eq_ignore_ascii_case(name)) {
            Some(function) => {
                println!("{}\n  {}", function.syntax(), function.summary);
                for parameter in function.parameters {
                    println!("  {:<12} {}", parameter.name, parameter.summary);
                }
                println!("  returns      {}\n  example      {}", function.returns, function.example);
            }
            None => println!("Runlake has no function {name} of its own; \\df lists those that it has."),
        },
    }
}

/// A text as it is after the user's editor.
fn edited(text: &str) -> anyhow::Result<String> {
    let editor = ["VISUAL", "EDITOR"].into_iter().find_map(|name| std::env::var(name).ok());
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    let file = tempfile::Builder::new().prefix("runlake-").suffix(".sql").tempfile()?;
    std::fs::write(file.path(), text)?;
    // An editor may come with words of its own, such as `code --wait`.
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = std::process::Command::new(program)
        .args(words)
        .arg(file.path())
        .status()
        .with_context(|| format!("cannot start the editor {editor:?}; set EDITOR"))?;
    anyhow::ensure!(status.success(), "the editor {editor:?} ended with {status}");
    Ok(std::fs::read_to_string(file.path())?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_statements() {
        let read = |typed: &str| Command::read(typed).map(|command| command.map_err(drop));
        assert_eq!(read("SELECT 1;"), None);
        assert_eq!(read("\\d"), Some(Ok(Command::Tables)));
        assert_eq!(read("\\d system.queries;"), Some(Ok(Command::Columns("system.queries".to_owned()))));
        assert_eq!(read("\\format CSV"), Some(Ok(Command::Format(Format::Csv))));
        assert_eq!(read("\\cancel 17"), Some(Ok(Command::Cancel(17))));
        assert_eq!(read("quit;"), Some(Ok(Command::Quit)));
        for wrong in ["\\cancel it", "\\format parquet", "\\i", "\\nothing"] {
            assert_eq!(read(wrong), Some(Err(())), "{wrong}");
        }
        for (name, argument, _) in COMMANDS {
            let typed = match argument {
                "ID" => "\\cancel 1".to_owned(),
                "FORMAT" => "\\format csv".to_owned(),
                _ => format!("{name} {argument}"),
            };
            assert!(matches!(read(&typed), Some(Ok(_))), "{typed}");
        }
    }
}
