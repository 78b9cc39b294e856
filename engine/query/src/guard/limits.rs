//! The limits of one statement.

use std::time::Duration;

/// What one statement may cost. The defaults are those of remote callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryLimits {
    /// Bytes of SQL text.
    pub text_bytes: usize,
    /// Tokens.
    pub tokens: usize,
    /// Operators: arithmetic, comparisons, AND, OR, NOT, casts, subscripts.
    pub operators: usize,
    /// Levels of parentheses, brackets and CASE.
    pub nesting: usize,
    /// Joins, commas between tables not counted.
    pub joins: usize,
    /// UNION, INTERSECT and EXCEPT.
    pub unions: usize,
    /// Keys of `params`, `tags` or `metrics` in a row that shows them whole.
    pub keys: usize,
    /// Memory in bytes.
    pub memory: usize,
    /// Temporary files in bytes, for sorts and groupings that do not fit into the memory; 0 for none.
    pub spill: u64,
    /// Time for planning and running together.
    pub time: Duration,
    /// Rows of the result; `None` for no limit.
    pub rows: Option<usize>,
    /// Bytes of the result in Arrow form; `None` for no limit.
    pub bytes: Option<usize>,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            text_bytes: 1 << 20,
            tokens: 50_000,
            operators: 1_000,
            nesting: 64,
            joins: 32,
            unions: 128,
            keys: 256,
            memory: 512 << 20,
            spill: 4 << 30,
            time: Duration::from_secs(60),
            rows: Some(1_000_000),
            bytes: Some(256 << 20),
        }
    }
}

impl QueryLimits {
    /// For the owner of the lake on the own machine: no cap on the result, an hour, 4 GiB of memory and all the disk of
    /// all statements; the shape of a statement stays capped, since that guards the process.
    pub fn local() -> Self {
        Self {
            memory: 4 << 30,
            spill: u64::MAX,
            time: Duration::from_secs(3_600),
            rows: None,
            bytes: None,
            ..Self::default()
        }
    }
}
