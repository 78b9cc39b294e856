//! What the line editor asks while a person types: is it complete, what may follow, how does it look.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::RwLock;
use runlake::query::text::{self, PartKind};
use rustyline::completion::Completer;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper, Result};

use super::commands::Command;
use super::completion;
use super::vocabulary::Vocabulary;

const BOLD: &str = "\x1b[1m";
const FAINT: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

pub(super) struct Typing {
    names: Arc<RwLock<Vocabulary>>,
    history: HistoryHinter,
}

impl Typing {
    pub(super) fn new(names: Arc<RwLock<Vocabulary>>) -> Self {
        Self { names, history: HistoryHinter::new() }
    }
}

impl Helper for Typing {}

impl Validator for Typing {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        Ok(if is_done(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

/// Whether Enter ends what was typed; else it begins the next line of it.
fn is_done(typed: &str) -> bool {
    typed.trim().is_empty() || Command::read(typed).is_some() || text::is_complete(typed)
}

impl Completer for Typing {
    type Candidate = String;

    fn complete(&self, line: &str, cursor: usize, _context: &Context<'_>) -> Result<(usize, Vec<String>)> {
        Ok(completion::complete(line, cursor, &self.names.read()))
    }
}

impl Hinter for Typing {
    type Hint = String;

    fn hint(&self, line: &str, cursor: usize, context: &Context<'_>) -> Option<String> {
        self.history.hint(line, cursor, context)
    }
}

impl Highlighter for Typing {
    fn highlight<'l>(&self, line: &'l str, _cursor: usize) -> Cow<'l, str> {
        let mut shown = String::with_capacity(line.len() * 2);
        let mut at = 0;
        for (range, kind) in text::parts(line) {
            let color = match kind {
                PartKind::Keyword => BOLD,
                PartKind::Text => GREEN,
                PartKind::Number => CYAN,
                PartKind::Comment => FAINT,
                PartKind::Name => continue,
            };
            shown.push_str(&line[at..range.start]);
            shown.push_str(color);
            shown.push_str(&line[range.clone()]);
            shown.push_str(PLAIN);
            at = range.end;
        }
        if at == 0 {
            return Cow::Borrowed(line);
        }
        shown.push_str(&line[at..]);
        Cow::Owned(shown)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("{FAINT}{hint}{PLAIN}"))
    }

    fn highlight_char(&self, _line: &str, _cursor: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_ends_statements_and_commands_only() {
        for done in ["", "SELECT 1;", "\\d", "exit", "SELECT ';';\n"] {
            assert!(is_done(done), "{done:?}");
        }
        for open in ["SELECT 1", "SELECT ';'", "SELECT 'a;", "exits"] {
            assert!(!is_done(open), "{open:?}");
        }
    }

    #[test]
    fn colours_change_no_character() {
        let helper = Typing::new(Arc::default());
        let line = "SELECT 'é;' AS x, 1.5 -- why";
        let shown = helper.highlight(line, 0).into_owned();
        assert!(shown.contains("\x1b[1mSELECT\x1b[0m") && shown.contains("\x1b[32m'é;'\x1b[0m"), "{shown:?}");
        let mut plain = shown;
        for color in [BOLD, FAINT, GREEN, CYAN, PLAIN] {
            plain = plain.replace(color, "");
        }
        assert_eq!(plain, line);
    }
}
