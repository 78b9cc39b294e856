//! What a connection has set: our own settings reach its statements, those of PostgreSQL are taken and given back.

use std::collections::BTreeMap;
use std::time::Duration;

use runlake::query::postgres::{CLIENT_SETTINGS, SetValue};

use super::errors::PgError;

/// Settings whose value a client is told at the beginning and after each change.
const REPORTED: [&str; 12] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "standard_conforming_strings",
    "TimeZone",
];
/// Settings that say how the server is; they cannot be changed.
const FIXED: [&str; 7] = [
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "server_encoding",
    "server_version",
    "server_version_num",
    "session_authorization",
];
/// Most settings of a connection, and longest name and value.
const MOST: usize = 200;
const LONGEST: usize = 1_024;

/// The settings of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionSettings {
    begun: BTreeMap<String, String>,
    set: BTreeMap<String, String>,
    /// Keys of the lake's SQL, with their values.
    ours: BTreeMap<String, String>,
    time: Option<Duration>,
}

/// What a change means for the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Nothing to tell.
    Quietly,
    /// This setting has another value now.
    Reported(&'static str, String),
    /// A setting of ours, which the lake has to accept first: its key and value.
    Ours(String, String),
}

impl ConnectionSettings {
    /// The settings with which a client begins.
    pub(super) fn new(parameters: &BTreeMap<String, String>) -> Result<Self, PgError> {
        let mut settings = Self::default();
        let mut take = |name: &str, value: &str| match settings.set(name, &SetValue::Text(value.to_owned())) {
            Ok(Changed::Ours(key, value)) => {
                settings.accept(key, value);
                Ok(())
            }
            other => other.map(drop),
        };
        for (name, value) in parameters {
            match name.as_str() {
                "user" | "database" | "replication" => {}
                "options" => {
                    for (name, value) in options(value)? {
                        take(&name, &value)?;
                    }
                }
                name => take(name, value)?,
            }
        }
        settings.begun = settings.set.clone();
        Ok(settings)
    }

    /// Changes a setting.
    pub(super) fn set(&mut self, name: &str, value: &SetValue) -> Result<Changed, PgError> {
        let refuse = |what: &str| PgError::new("22023", format!("setting \"{name}\": {what}"));
        if name.is_empty() || name.len() > LONGEST {
            return Err(PgError::new("42601", "SET needs a name and a value"));
        }
        let lower = name.to_lowercase();
        if lower.starts_with("runlake.") {
            return Ok(match value {
                SetValue::Default => {
                    self.ours.remove(&lower);
                    Changed::Quietly
                }
                SetValue::Text(value) => Changed::Ours(lower, value.clone()),
            });
        }
        if FIXED.contains(&lower.as_str()) {
            let error = format!("parameter \"{name}\" cannot be changed");
            return Err(PgError::new("55P02", error));
        }
        let text = match value {
            SetValue::Default => self.begun.get(&lower).cloned().unwrap_or_else(|| first(&lower)),
            SetValue::Text(text) if text.len() > LONGEST => return Err(refuse("the value is too long")),
            SetValue::Text(text) => text.clone(),
        };
        match lower.as_str() {
            "client_encoding" => {
                let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
                if !["utf8", "unicode", "sqlascii"].contains(&plain.to_lowercase().as_str()) {
                    return Err(refuse("texts are sent in UTF-8 only"));
                }
            }
            "statement_timeout" => {
                let time = duration(&text)
                    .ok_or_else(|| refuse("a number of milliseconds, or a time such as 5s"))?;
                self.time = (!time.is_zero()).then_some(time);
            }
            _ => {}
        }
        if self.set.len() >= MOST && !self.set.contains_key(&lower) {
            return Err(refuse("too many settings"));
        }
        let told = REPORTED.iter().find(|told| told.eq_ignore_ascii_case(&lower));
        // How values are written stays as it is; the client is told so, and reads them right.
        let shown = match lower.as_str() {
            "client_encoding" | "datestyle" | "intervalstyle" | "timezone" | "bytea_output" => first(&lower),
            _ => text,
        };
        self.set.insert(lower, shown.clone());
        Ok(told.map_or(Changed::Quietly, |told| Changed::Reported(told, shown)))
    }

    /// Keeps a setting of ours that the lake has accepted.
    pub(super) fn accept(&mut self, key: String, value: String) {
        if self.ours.len() < MOST {
            self.ours.insert(key, value);
        }
    }

    /// Back to the beginning.
    pub(super) fn reset(&mut self) {
        self.set = self.begun.clone();
        self.ours.clear();
        self.time =
            self.set.get("statement_timeout").and_then(|text| duration(text)).filter(|t| !t.is_zero());
    }

    /// The value of a setting, `None` when there is no such setting.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let lower = name.to_lowercase();
        if let Some(value) = self.ours.get(&lower).or_else(|| self.set.get(&lower)) {
            return Some(value.clone());
        }
        known(&lower).map(str::to_owned)
    }

    /// All settings with their values.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let mut all: BTreeMap<String, String> =
            CLIENT_SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for (name, value) in &self.set {
            let shown = CLIENT_SETTINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            all.insert(shown.map_or_else(|| name.clone(), |(shown, _)| (*shown).to_owned()), value.clone());
        }
        all.extend(self.ours.clone());
        all.into_iter().collect()
    }

    /// What a client is told at the beginning.
    pub(super) fn reported(&self) -> Vec<(&'static str, String)> {
        REPORTED.iter().map(|name| (*name, self.get(name).unwrap_or_default())).collect()
    }

    /// The settings that go with each statement.
    pub(super) fn ours(&self) -> &BTreeMap<String, String> {
        &self.ours
    }

    /// The time that a statement may take, at most `limit`.
    pub(super) fn time(&self, limit: Duration) -> Duration {
        self.time.map_or(limit, |time| time.min(limit))
    }
}

fn known(lower: &str) -> Option<&'static str> {
    CLIENT_SETTINGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(lower)).map(|(_, value)| *value)
}

fn first(lower: &str) -> String {
    known(lower).unwrap_or_default().to_owned()
}

/// `-c name=value --name=value`, a backslash before a space that belongs to a value.
fn options(text: &str) -> Result<Vec<(String, String)>, PgError> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => words.last_mut().into_iter().for_each(|word| word.extend(characters.next())),
            c if c.is_whitespace() => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    let mut options = Vec::new();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let option = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(option), _) => Some(option.replace('-', "_")),
            (None, Some("")) => words.next(),
            (None, Some(option)) => Some(option.to_owned()),
            (None, None) => None,
        };
        match option.as_deref().and_then(|option| option.split_once('=')) {
            Some((name, value)) => options.push((name.to_owned(), value.to_owned())),
            None => return Err(PgError::fatal("42601", "options are given as -c name=value")),
        }
    }
    Ok(options)
}

/// Milliseconds, or a number with a unit.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text.get(..end)?.parse().ok()?;
    let millis = match text.get(end..)?.trim() {
        "" | "ms" => number,
        "us" => number / 1_000,
        "s" => number.checked_mul(1_000)?,
        "min" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        "d" => number.checked_mul(86_400_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> SetValue {
        SetValue::Text(value.to_owned())
    }

    #[test]
    fn settings_are_kept_told_and_reset() {
        let begun = BTreeMap::from([
            ("user".to_owned(), "me".to_owned()),
            ("application_name".to_owned(), "psql".to_owned()),
            ("options".to_owned(), "-c statement_timeout=5s --runlake.seed=7 -cx.y=a\\ b".to_owned()),
        ]);
        let mut settings = ConnectionSettings::new(&begun).unwrap();
        assert_eq!(settings.time(Duration::from_secs(60)), Duration::from_secs(5));
        assert_eq!(settings.ours()["runlake.seed"], "7");
        assert_eq!(settings.get("x.y").unwrap(), "a b");
        assert_eq!(settings.get("APPLICATION_NAME").unwrap(), "psql");
        let changed = settings.set("application_name", &text("mine")).unwrap();
        assert_eq!(changed, Changed::Reported("application_name", "mine".to_owned()));
        let zone = settings.set("timezone", &text("Europe/Zurich")).unwrap();
        assert_eq!(zone, Changed::Reported("TimeZone", "UTC".to_owned()), "times are written in UTC");
        settings.set("statement_timeout", &text("0")).unwrap();
        assert_eq!(settings.time(Duration::from_secs(60)), Duration::from_secs(60));
        settings.reset();
        assert_eq!(settings.get("application_name").unwrap(), "psql");
        assert_eq!(settings.time(Duration::from_secs(60)), Duration::from_secs(5));
        assert_eq!(settings.get("nothing"), None);
    }

    #[test]
    fn what_would_change_an_answer_is_refused() {
        let mut settings = ConnectionSettings::default();
        assert_eq!(settings.set("client_encoding", &text("LATIN1")).unwrap_err().code, "22023");
        assert!(settings.set("client_encoding", &text("utf-8")).is_ok());
        assert_eq!(settings.set("server_version", &text("9")).unwrap_err().code, "55P02");
        assert_eq!(settings.set("statement_timeout", &text("soon")).unwrap_err().code, "22023");
        assert_eq!(
            settings.set("Runlake.Seed", &text("7")).unwrap(),
            Changed::Ours("runlake.seed".to_owned(), "7".to_owned())
        );
        assert!(ConnectionSettings::new(&BTreeMap::from([("options".to_owned(), "-x".to_owned())])).is_err());
    }
}
