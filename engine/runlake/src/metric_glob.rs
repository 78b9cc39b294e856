//! Metrics by a pattern: `*` for any characters, `?` for one.

use std::fmt;

use model::MetricName;
use regex::Regex;

use crate::error::{Error, Result};

/// A pattern that names of metrics match as a whole.
///
/// ```
/// # use runlake::{MetricGlob, model::MetricName};
/// let glob = MetricGlob::parse("val/*")?;
/// assert!(glob.matches(&MetricName::new("val/acc/top1")?) && !glob.matches(&MetricName::new("train/val/acc")?));
/// # Ok::<(), runlake::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MetricGlob {
    text: String,
    regex: Regex,
}

impl MetricGlob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is empty or too long to be one.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |reason: String| Error::Selector { text: text.to_owned(), reason };
        if text.is_empty() {
            return Err(wrong(
                "is empty; write a metric, with * for any characters and ? for one".to_owned(),
            ));
        }
        let parts = text.split_inclusive(['*', '?']).map(|part| match part.chars().last() {
            Some('*') => format!("{}.*", regex::escape(part.trim_end_matches('*'))),
            Some('?') => format!("{}.", regex::escape(part.trim_end_matches('?'))),
            _ => regex::escape(part),
        });
        let pattern = format!("^(?s){}$", parts.collect::<String>());
        let regex = Regex::new(&pattern).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// Whether a metric matches.
    pub fn matches(&self, metric: &MetricName) -> bool {
        self.regex.is_match(metric.as_str())
    }
}

impl fmt::Display for MetricGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stars_and_question_marks_are_special() {
        let matches = |glob: &str, name: &str| {
            MetricGlob::parse(glob).unwrap().matches(&MetricName::new(name).unwrap())
        };
        for (glob, name) in [
            ("*", "a"),
            ("val/*", "val/"),
            ("*loss", "train/loss"),
            ("a?c", "abc"),
            ("a.c", "a.c"),
            ("*a*b*", "xaybz"),
        ] {
            assert!(matches(glob, name), "{glob} {name}");
        }
        for (glob, name) in
            [("val/*", "xval/a"), ("a?c", "ac"), ("a.c", "abc"), ("loss", "train/loss"), ("[a]", "a")]
        {
            assert!(!matches(glob, name), "{glob} {name}");
        }
        assert!(MetricGlob::parse("").is_err());
    }
}
