//! What can be wrong with a value that a user gave us.

use thiserror::Error;

/// The result of a check in this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// A value was refused: what it is, why, and what would be accepted.
///
/// Every variant has a stable code ([`ModelError::code`]) that is the same on every surface.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A name, key or text is empty where it may not be.
    #[error("{what} is empty")]
    Empty {
        /// The kind of value, such as `metric name`.
        what: &'static str,
    },
    /// A text is longer than its limit.
    #[error("{what} has {length} characters, at most {limit} are allowed (it begins {beginning:?})")]
    TooLong {
        /// The kind of value.
        what: &'static str,
        /// Its length in characters.
        length: usize,
        /// The limit in characters.
        limit: usize,
        /// The first characters of the text.
        beginning: String,
    },
    /// A text holds a character that is not allowed at this place.
    #[error("{what} {text:?} has the character {character:?} at position {position}; {allowed}")]
    Character {
        /// The kind of value.
        what: &'static str,
        /// The text, shortened.
        text: String,
        /// The offending character.
        character: char,
        /// Its position in characters from 0.
        position: usize,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A run id is not 32 lowercase hexadecimal digits.
    #[error("run id {text:?} is not 32 lowercase hexadecimal digits")]
    RunId {
        /// The text, shortened.
        text: String,
    },
    /// A context is not a JSON object.
    #[error("context is not a JSON object: {reason}")]
    Context {
        /// What the parser or the check said.
        reason: String,
    },
    /// The columns of a series have different lengths.
    #[error(
        "series {metric:?}: {steps} steps, {times} times, {values} values; the three must be equally many"
    )]
    ColumnLengths {
        /// The metric.
        metric: String,
        /// Number of steps.
        steps: usize,
        /// Number of times.
        times: usize,
        /// Number of values.
        values: usize,
    },
    /// A fractional step is outside of 0..1,000,000 millionths.
    #[error("series {metric:?}: step fraction {value} is outside of 0..999999 millionths")]
    StepFraction {
        /// The metric.
        metric: String,
        /// The refused value.
        value: i32,
    },
    /// A batch holds nothing.
    #[error("the batch holds no points")]
    EmptyBatch,
    /// A batch holds more than is taken at once.
    #[error("the batch holds {count} {what}, at most {limit} are taken at once; send it in parts")]
    BatchTooLarge {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A word is not one of a fixed list.
    #[error("{what} {text:?} is unknown; use one of {allowed}")]
    UnknownWord {
        /// The kind of word.
        what: &'static str,
        /// The text, shortened.
        text: String,
        /// The accepted words.
        allowed: &'static str,
    },
    /// A table of records has no such column.
    #[error("table {table} has no column {column:?} that could be set; it has {known}")]
    RecordColumn {
        /// The table.
        table: &'static str,
        /// The name, shortened.
        column: String,
        /// The columns that it has.
        known: String,
    },
    /// A value does not fit its column of a table of records.
    #[error("{table}.{column}: {text:?} is not {expected}")]
    RecordValue {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The value, shortened.
        text: Box<str>,
        /// What would be accepted.
        expected: Box<str>,
    },
    /// A record lacks a value that every one of its table has.
    #[error("every row of {table} has a {column}: give one")]
    RecordNeeds {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// A record would become another one.
    #[error(
        "the row of {table} has {column} {present:?}, which cannot become {given:?}: give the other one an id of its own"
    )]
    RecordIdentity {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The value that it has, shortened.
        present: Box<str>,
        /// The value that was given, shortened.
        given: Box<str>,
    },
    /// A record has too many bytes of text.
    #[error("a row of {table} with {bytes} bytes of text is too large, at most {limit} are allowed")]
    RecordTooLarge {
        /// The table.
        table: &'static str,
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

impl ModelError {
    /// The stable code of this error, such as `name.too_long`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "name.empty",
            Self::TooLong { .. } => "name.too_long",
            Self::Character { .. } => "name.character",
            Self::RunId { .. } => "run_id.malformed",
            Self::Context { .. } => "context.malformed",
            Self::ColumnLengths { .. } => "batch.column_lengths",
            Self::StepFraction { .. } => "batch.step_fraction",
            Self::EmptyBatch => "batch.empty",
            Self::BatchTooLarge { .. } => "batch.too_large",
            Self::UnknownWord { .. } => "word.unknown",
            Self::RecordColumn { .. } => "record.column",
            Self::RecordValue { .. } => "record.value",
            Self::RecordNeeds { .. } => "record.needs",
            Self::RecordIdentity { .. } => "record.identity",
            Self::RecordTooLarge { .. } => "record.too_large",
        }
    }
}

/// The first characters of a text, for error messages that must stay short.
pub(crate) fn beginning(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
