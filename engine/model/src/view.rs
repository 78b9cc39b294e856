//! Views: statements that users keep under a name.

use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result, beginning};
use crate::limits;
use crate::name::{check_length, check_text};
use crate::text::text_type;

text_type!(
    /// The name of a view: 1 to 64 of `a-z 0-9 _`, not a digit at first, so that it is a word of SQL without quotes.
    ViewName
);

impl ViewName {
    /// Checks and takes the name of a view.
    ///
    /// # Errors
    /// Refuses empty names, more than 64 characters, and characters outside of `a-z 0-9 _`.
    ///
    /// ```
    /// # use model::ViewName;
    /// assert!(ViewName::new("best_runs").is_ok());
    /// assert!(ViewName::new("Best runs").is_err());
    /// ```
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Whether [`Self::new`] takes a text.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(text: &str) -> Result<()> {
        check_text("view name", text, limits::VIEW_NAME_CHARACTERS)?;
        let fits = |position: usize, c: char| {
            c.is_ascii_lowercase() || c == '_' || (c.is_ascii_digit() && position > 0)
        };
        match text.chars().enumerate().find(|(position, c)| !fits(*position, *c)) {
            None => Ok(()),
            Some((position, character)) => Err(ModelError::Character {
                what: "view name",
                text: beginning(text),
                character,
                position,
                allowed: "small letters, _ and, not at first, digits are allowed",
            }),
        }
    }
}

impl std::borrow::Borrow<str> for ViewName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// A statement that users keep under a name, to ask it as a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The name.
    pub name: ViewName,
    /// The query, in the dialect of the lake.
    pub sql: String,
    /// Who kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When, microseconds since 1970 UTC.
    pub time: i64,
}

impl View {
    /// Checks the texts that have no type of their own.
    ///
    /// # Errors
    /// Refuses an empty query, and texts over their limits.
    pub fn check(&self) -> Result<()> {
        if self.sql.trim().is_empty() {
            return Err(ModelError::Empty { what: "the query of the view" });
        }
        check_length("query of the view", &self.sql, limits::VIEW_SQL_CHARACTERS)?;
        match &self.author {
            Some(author) => check_length("author", author, limits::TAG_VALUE_CHARACTERS),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_sql() {
        for good in ["v", "_v2", "best_runs_of_2026"] {
            assert!(ViewName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "2v", "Best", "a b", "a-b", "é", &"v".repeat(65)] {
            assert!(ViewName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_view_needs_a_query() {
        let view = View { name: ViewName::new("v").unwrap(), sql: " ".to_owned(), author: None, time: 0 };
        assert_eq!(view.check().unwrap_err().code(), "name.empty");
        let long = View { sql: "x".repeat(limits::VIEW_SQL_CHARACTERS + 1), ..view };
        assert_eq!(long.check().unwrap_err().code(), "name.too_long");
    }
}
