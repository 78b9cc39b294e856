//! Errors of SQL as users see them: what was wrong, where in the statement, and what to do next.

use std::fmt;

/// A place in the text of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are meant, at least 1.
    pub width: usize,
    /// The text of the line, cut around the place when it is long.
    excerpt: String,
    /// Where in the excerpt the place begins, in characters.
    excerpt_column: usize,
}

impl Place {
    /// The place at a line and column (both from 1) of `sql`.
    pub(crate) fn new(sql: &str, line: usize, column: usize, width: usize) -> Option<Self> {
        const BEFORE: usize = 60;
        const LENGTH: usize = 100;
        let text = sql.lines().nth(line.checked_sub(1)?)?;
        let start = column.checked_sub(1)?.saturating_sub(BEFORE);
        // A tab would move the caret away from what it points at.
        let excerpt: String =
            text.chars().skip(start).take(LENGTH).map(|c| if c == '\t' { ' ' } else { c }).collect();
        let excerpt_column = column - 1 - start;
        let width = width.clamp(1, LENGTH.saturating_sub(excerpt_column).max(1));
        Some(Self { line, column, width, excerpt, excerpt_column })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}\n  {}{}", self.excerpt, " ".repeat(self.excerpt_column), "^".repeat(self.width))
    }
}

/// A message with its place and a hint, where they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Located {
    /// What was wrong.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// What to do next.
    pub hint: Option<String>,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(place) = &self.place {
            write!(f, " (line {}, column {})\n{place}", place.line, place.column)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{hint}")?;
        }
        Ok(())
    }
}

/// Why a statement was not answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The text is not SQL.
    #[error("{0}")]
    Syntax(Located),
    /// A table that is not there.
    #[error("{0}")]
    UnknownTable(Located),
    /// A column or a key that is not there.
    #[error("{0}")]
    UnknownColumn(Located),
    /// A function that is not there.
    #[error("{0}")]
    UnknownFunction(Located),
    /// A setting that is not there, or a value that it does not take.
    #[error("{0}")]
    Setting(Located),
    /// The statement is SQL but makes no sense here: wrong types, wrong arguments, ambiguous names.
    #[error("{0}")]
    Invalid(Located),
    /// The statement would write, or touch files.
    #[error("{what} is not allowed: SQL only reads here")]
    ReadOnly {
        /// The kind of statement.
        what: String,
    },
    /// More than one statement, or none.
    #[error("one statement at a time, got {count}: send them one after another")]
    StatementCount {
        /// Statements found.
        count: usize,
    },
    /// The statement is larger than any that a person or a tool writes.
    #[error(
        "the statement is too complex: {have} {what}, the limit is {limit}; split it, or join with a VALUES list"
    )]
    TooComplex {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        have: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The statement needs more memory than it may use.
    #[error(
        "the statement needs more than its {limit_mib} MiB of memory: filter more, group by less, or add a LIMIT"
    )]
    Memory {
        /// The limit, in MiB.
        limit_mib: usize,
    },
    /// The statement needs more temporary files than it may have, or none can be written.
    #[error("{message}: filter more, or group by less")]
    Spill {
        /// What is used up, or what went wrong.
        message: String,
    },
    /// Too much is asked at once; the same statement may be answered later.
    #[error("busy: {message}; try again")]
    Busy {
        /// What is used up.
        message: String,
    },
    /// Somebody ended the statement.
    #[error("the statement was ended: {why}")]
    Cancelled {
        /// Why.
        why: String,
    },
    /// The statement takes longer than it may.
    #[error("the statement took longer than {seconds} s and was stopped: filter more, or ask in parts")]
    Time {
        /// The limit, in seconds.
        seconds: u64,
    },
    /// The result is larger than it may be.
    #[error("the result is larger than {limit} {unit}: add a LIMIT, or aggregate")]
    ResultTooLarge {
        /// How much is allowed.
        limit: usize,
        /// Rows or MiB.
        unit: &'static str,
    },
    /// A value could not be computed: a division by zero, a cast that does not fit.
    #[error("{0}")]
    Execution(Located),
    /// A file of the lake could not be read.
    #[error("the lake could not be read: {message}; run `runlake verify`")]
    Storage {
        /// What went wrong.
        message: String,
    },
    /// A fault of Runlake itself.
    #[error("internal error: {message}; please report this statement")]
    Internal {
        /// What went wrong.
        message: String,
    },
}

impl QueryError {
    /// A stable identifier, the same on every surface.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "sql.syntax",
            Self::UnknownTable(_) => "sql.unknown_table",
            Self::UnknownColumn(_) => "sql.unknown_column",
            Self::UnknownFunction(_) => "sql.unknown_function",
            Self::Setting(_) => "sql.setting",
            Self::Invalid(_) => "sql.invalid",
            Self::ReadOnly { .. } => "sql.read_only",
            Self::StatementCount { .. } => "sql.statement_count",
            Self::TooComplex { .. } => "sql.too_complex",
            Self::Memory { .. } => "sql.memory",
            Self::Spill { .. } => "sql.spill",
            Self::Busy { .. } => "sql.busy",
            Self::Cancelled { .. } => "sql.cancelled",
            Self::Time { .. } => "sql.time",
            Self::ResultTooLarge { .. } => "sql.result_too_large",
            Self::Execution(_) => "sql.execution",
            Self::Storage { .. } => "sql.storage",
            Self::Internal { .. } => "sql.internal",
        }
    }

    /// The SQLSTATE of PostgreSQL for this error.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Syntax(_) | Self::StatementCount { .. } => "42601",
            Self::UnknownTable(_) => "42P01",
            Self::UnknownColumn(_) => "42703",
            Self::UnknownFunction(_) => "42883",
            Self::Setting(_) => "42704",
            Self::Invalid(_) => "42000",
            Self::ReadOnly { .. } => "25006",
            Self::TooComplex { .. } => "54001",
            Self::Memory { .. } => "53200",
            Self::Spill { .. } => "53400",
            Self::Busy { .. } => "53300",
            Self::Time { .. } | Self::Cancelled { .. } => "57014",
            Self::ResultTooLarge { .. } => "54000",
            Self::Execution(_) => "22000",
            Self::Storage { .. } => "XX001",
            Self::Internal { .. } => "XX000",
        }
    }

    /// Where in the statement the mistake is, when that is known.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Syntax(at)
            | Self::UnknownTable(at)
            | Self::UnknownColumn(at)
            | Self::UnknownFunction(at)
            | Self::Setting(at)
            | Self::Invalid(at)
            | Self::Execution(at) => at.place.as_ref(),
            _ => None,
        }
    }
}

/// Results of this crate.
pub type Result<T, E = QueryError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_word_also_in_a_long_line() {
        let sql = format!("SELECT 1,\n\t{}, stauts FROM runs", "x".repeat(300));
        let column = sql.lines().nth(1).unwrap().find("stauts").unwrap() + 1;
        let shown = Place::new(&sql, 2, column, 6).unwrap().to_string();
        let (above, below) = shown.split_once('\n').unwrap();
        let at = below.find('^').unwrap();
        assert_eq!(&above[at..at + 6], "stauts");
        assert!(above.len() < 120, "{above}");
    }

    #[test]
    fn a_place_outside_of_the_text_is_none() {
        assert_eq!(Place::new("SELECT 1", 2, 1, 1), None);
        assert_eq!(Place::new("SELECT 1", 0, 1, 1), None);
    }
}
