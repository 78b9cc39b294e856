//! Which column means what: given by the user, as one line or as a TOML file.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::error::{ImportError, Result};

/// The meaning of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Tells runs apart; several such columns do it together.
    Run,
    /// The name that users see.
    Name,
    /// The step.
    Step,
    /// The time.
    Time,
    /// The name of the metric, in the long form.
    Metric,
    /// The value, in the long form.
    Value,
    /// The experiment.
    Experiment,
    /// The project.
    Project,
    /// An input of the run, under this key.
    Param(String),
    /// A label of the run, under this key.
    Tag(String),
    /// A part of the series' context, under this key.
    Context(String),
    /// Not imported.
    Drop,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => f.write_str("run"),
            Self::Name => f.write_str("name"),
            Self::Step => f.write_str("step"),
            Self::Time => f.write_str("time"),
            Self::Metric => f.write_str("metric"),
            Self::Value => f.write_str("value"),
            Self::Experiment => f.write_str("experiment"),
            Self::Project => f.write_str("project"),
            Self::Param(key) => write!(f, "param:{key}"),
            Self::Tag(key) => write!(f, "tag:{key}"),
            Self::Context(key) => write!(f, "context:{key}"),
            Self::Drop => f.write_str("drop"),
        }
    }
}

/// Roles of columns. A column may have several roles; columns that are not named and hold numbers are metrics.
///
/// ```
/// # use importers::Mapping;
/// let mapping = Mapping::parse("run=trial,step=iter,param:seed=seed,tag:arm=arm,drop=notes")?;
/// assert_eq!(mapping.to_string(), "run=trial,step=iter,param:seed=seed,tag:arm=arm,drop=notes");
/// # Ok::<(), importers::ImportError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    entries: Vec<(Role, String)>,
    lines: Option<String>,
}

const WORDS: &str =
    "run, name, step, time, metric, value, experiment, project, param:KEY, tag:KEY, context:KEY, drop";

impl Mapping {
    /// Reads `role=column` pairs with commas between them. A comma, `=` or `\` in a column's name is written with a `\`
    /// before it.
    ///
    /// # Errors
    /// Names the pair that is wrong and the known roles.
    pub fn parse(text: &str) -> Result<Self> {
        let mut entries = Vec::new();
        for pair in split_unescaped(text, ',') {
            if pair.trim().is_empty() {
                continue;
            }
            let sides = split_unescaped(&pair, '=');
            let [role, column] = sides.as_slice() else {
                return Err(wrong(&pair, "write it as role=column".to_owned()));
            };
            let role = parse_role(&unescaped(role.trim()))
                .ok_or_else(|| wrong(&pair, format!("the role is none of {WORDS}")))?;
            entries.push((role, unescaped(column.trim())));
        }
        Self::checked(text, entries)
    }

    /// Reads the same from TOML: `run = "column"`, or a list of columns; `name`, `step`, `time`, `metric`, `value`,
    /// `experiment`, `project` = a column; `drop` = a list; tables `param`, `tag`, `context` of `key = "column"`. And for
    /// logs of free text `lines` = a regular expression whose named groups are the columns.
    ///
    /// # Errors
    /// Says what TOML, or the mapping, does not allow.
    pub fn parse_toml(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| wrong("TOML", error.to_string()))?;
        let mut entries = Vec::new();
        let mut add = |role: &Role, columns: Columns| match columns {
            Columns::None => {}
            Columns::One(column) => entries.push((role.clone(), column)),
            Columns::Many(columns) => {
                entries.extend(columns.into_iter().map(|column| (role.clone(), column)))
            }
        };
        add(&Role::Run, file.run);
        for (role, column) in [
            (Role::Name, file.name),
            (Role::Step, file.step),
            (Role::Time, file.time),
            (Role::Metric, file.metric),
            (Role::Value, file.value),
            (Role::Experiment, file.experiment),
            (Role::Project, file.project),
        ] {
            add(&role, column.map_or(Columns::None, Columns::One));
        }
        for (make, pairs) in [
            (Role::Param as fn(String) -> Role, file.param),
            (Role::Tag, file.tag),
            (Role::Context, file.context),
        ] {
            for (key, column) in pairs {
                add(&make(key), Columns::One(column));
            }
        }
        add(&Role::Drop, file.drop);
        let mapping = Self::checked("TOML", entries)?;
        if let Some(lines) = &file.lines {
            super::pattern::check(lines)?;
        }
        Ok(Self { lines: file.lines, ..mapping })
    }

    fn checked(text: &str, entries: Vec<(Role, String)>) -> Result<Self> {
        for single in
            [Role::Name, Role::Step, Role::Time, Role::Metric, Role::Value, Role::Experiment, Role::Project]
        {
            if entries.iter().filter(|(role, _)| *role == single).count() > 1 {
                return Err(wrong(text, format!("{single} is given to more than one column")));
            }
        }
        let has = |wanted: &Role| entries.iter().any(|(role, _)| role == wanted);
        if has(&Role::Metric) != has(&Role::Value) {
            return Err(wrong(
                text,
                "metric and value belong together: a table in long form has both".to_owned(),
            ));
        }
        Ok(Self { entries, lines: None })
    }

    /// The expression that takes lines of text apart.
    pub fn lines(&self) -> Option<&str> {
        self.lines.as_deref()
    }

    /// The roles with their columns, in the order given.
    pub fn entries(&self) -> &[(Role, String)] {
        &self.entries
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (role, column)) in self.entries.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}={}", escaped(&role.to_string()), escaped(column))?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    lines: Option<String>,
    #[serde(default)]
    run: Columns,
    name: Option<String>,
    step: Option<String>,
    time: Option<String>,
    metric: Option<String>,
    value: Option<String>,
    experiment: Option<String>,
    project: Option<String>,
    #[serde(default)]
    param: BTreeMap<String, String>,
    #[serde(default)]
    tag: BTreeMap<String, String>,
    #[serde(default)]
    context: BTreeMap<String, String>,
    #[serde(default)]
    drop: Columns,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Columns {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

fn wrong(text: &str, reason: String) -> ImportError {
    ImportError::Mapping { text: crate::error::beginning(text), reason }
}

fn parse_role(text: &str) -> Option<Role> {
    Some(match text {
        "run" => Role::Run,
        "name" => Role::Name,
        "step" => Role::Step,
        "time" => Role::Time,
        "metric" => Role::Metric,
        "value" => Role::Value,
        "experiment" => Role::Experiment,
        "project" => Role::Project,
        "drop" => Role::Drop,
        _ => {
            let (kind, key) = text.split_once(':').filter(|(_, key)| !key.is_empty())?;
            match kind {
                "param" => Role::Param(key.to_owned()),
                "tag" => Role::Tag(key.to_owned()),
                "context" => Role::Context(key.to_owned()),
                _ => return None,
            }
        }
    })
}

/// Parts between separators that have no `\` before them; the `\` stay.
fn split_unescaped(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == separator {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(character);
            if character == '\\' {
                part.extend(characters.next());
            }
        }
    }
    parts
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        out.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | ',' | '=') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_and_toml_say_the_same() {
        let line = Mapping::parse(
            "run=task,run=seed,step=iter,metric=key,value=v,param:seed=seed,context:subset=split,drop=a\\,b",
        )
        .unwrap();
        let toml = "run = ['task', 'seed']\nstep = 'iter'\nmetric = 'key'\nvalue = 'v'\ndrop = 'a,b'\n[param]\nseed = 'seed'\n[context]\nsubset = 'split'\n";
        assert_eq!(Mapping::parse_toml(toml).unwrap(), line);
        assert_eq!(Mapping::parse(&line.to_string()).unwrap(), line);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for text in ["run", "run=a=b", "steps=x", "param:=x", "step=a,step=b", "metric=m", "tags:a=b"] {
            assert_eq!(Mapping::parse(text).unwrap_err().code(), "import.mapping", "{text}");
        }
        assert!(Mapping::parse_toml("steps = 'x'").is_err());
        assert!(Mapping::parse("").unwrap().entries().is_empty());
    }
}
