//! Checked names: projects, experiments, metrics, and the keys of params and tags.

use crate::error::{ModelError, Result, beginning};
use crate::id::RunId;
use crate::limits;
use crate::text::text_type;

/// Checks a text for emptiness, length and control characters.
pub(crate) fn check_text(what: &'static str, text: &str, limit: usize) -> Result<()> {
    if text.is_empty() {
        return Err(ModelError::Empty { what });
    }
    check_length(what, text, limit)?;
    for (position, character) in text.chars().enumerate() {
        if character.is_control() {
            return Err(ModelError::Character {
                what,
                text: beginning(text),
                character,
                position,
                allowed: "control characters are not allowed",
            });
        }
    }
    Ok(())
}

/// Checks only the length; free text may hold line ends.
pub(crate) fn check_length(what: &'static str, text: &str, limit: usize) -> Result<()> {
    // A text of at most `limit` bytes has at most `limit` characters: the count is only taken when it matters.
    if text.len() > limit {
        let length = text.chars().count();
        if length > limit {
            return Err(ModelError::TooLong { what, length, limit, beginning: beginning(text) });
        }
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:expr) => {
        text_type!($(#[$doc])* $name);

        impl $name {
            /// Checks and takes a name; the bytes are kept as given.
            ///
            /// # Errors
            /// Refuses empty names, names over the limit and control characters.
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
                check_text($what, text, $limit)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(
    /// The name of an experiment inside its project, at most 500 characters.
    ExperimentName, "experiment name", limits::NAME_CHARACTERS
);
name_type!(
    /// The name of a metric, at most 250 characters; `/` separates namespaces, nothing is normalised.
    MetricName, "metric name", limits::KEY_CHARACTERS
);
name_type!(
    /// The key of a param or a tag, at most 250 characters.
    Key, "key", limits::KEY_CHARACTERS
);
name_type!(
    /// The id of a record among those of its kind in a project, at most 1,000 characters.
    RecordId, "record id", limits::RECORD_ID_CHARACTERS
);

impl From<RunId> for RecordId {
    /// An id in the form of those of runs, for a record that is given none.
    fn from(id: RunId) -> Self {
        Self(id.to_string().into())
    }
}

text_type!(
    /// The name of a project: 1 to 64 of `A-Z a-z 0-9 _ -`.
    ProjectName
);

impl ProjectName {
    /// Checks and takes a project name.
    ///
    /// # Errors
    /// Refuses empty names, more than 64 characters, and characters outside of `A-Z a-z 0-9 _ -`.
    ///
    /// ```
    /// # use model::ProjectName;
    /// assert!(ProjectName::new("vision-2").is_ok());
    /// assert!(ProjectName::new("../etc").is_err());
    /// ```
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        check_text("project name", text, limits::PROJECT_CHARACTERS)?;
        let refused =
            text.chars().enumerate().find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')));
        if let Some((position, character)) = refused {
            return Err(ModelError::Character {
                what: "project name",
                text: beginning(text),
                character,
                position,
                allowed: "letters, digits, _ and - are allowed",
            });
        }
        Ok(Self(text.into()))
    }
}

impl std::borrow::Borrow<str> for ProjectName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl Default for ProjectName {
    /// The project of everything that names none: `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_of_250_characters_is_taken_and_of_251_refused() {
        assert!(MetricName::new("é".repeat(250)).is_ok());
        let error = MetricName::new("é".repeat(251)).unwrap_err();
        assert_eq!(error.code(), "name.too_long");
        assert!(error.to_string().contains("251"));
    }

    #[test]
    fn ten_thousand_characters_give_a_short_message() {
        let error = MetricName::new("m".repeat(10_000)).unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }

    #[test]
    fn bytes_are_kept_as_given() {
        for name in ["a//b", "../x", "loss ", " täst/模型", "a.b-c:d"] {
            assert_eq!(MetricName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn control_characters_are_refused_with_their_position() {
        let error = MetricName::new("a\u{0}b").unwrap_err();
        assert!(matches!(error, ModelError::Character { position: 1, .. }), "{error:?}");
    }

    #[test]
    fn project_names_cannot_be_paths() {
        for name in ["", ".", "a/b", "a b", "ü"] {
            assert!(ProjectName::new(name).is_err(), "{name}");
        }
    }
}
