//! Which column means what: given by the user, as one line or as a TOML file.

use std::collections::BTreeMap;
use std::fmt;

use model::ParamValue;
use serde::{Deserialize, Serialize};

use super::Form;
use crate::error::{ImportError, Result};

/// The meaning of a column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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

/// What the cells of a column are, whatever they look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Numbers: other texts in it are rejections.
    Number,
    /// Texts, also where they look like numbers: never a metric.
    Text,
    /// Truth values, which as a metric are 1 and 0.
    Boolean,
    /// Times in seconds since 1970 UTC.
    Seconds,
    /// Times in milliseconds since 1970 UTC.
    Milliseconds,
    /// Times in microseconds since 1970 UTC.
    Microseconds,
    /// Times in nanoseconds since 1970 UTC.
    Nanoseconds,
}

impl ColumnType {
    const ALL: [(&'static str, Self); 7] = [
        ("number", Self::Number),
        ("text", Self::Text),
        ("boolean", Self::Boolean),
        ("seconds", Self::Seconds),
        ("milliseconds", Self::Milliseconds),
        ("microseconds", Self::Microseconds),
        ("nanoseconds", Self::Nanoseconds),
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("number", |(word, _)| word)
    }
}

/// Roles of columns. A column may have several roles; columns that are not named and hold numbers are metrics. Beside
/// roles a mapping may rename metrics, say what type a column has, and give constants for all rows; where it gives no
/// role, they are guessed.
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
    /// New name and old name.
    renames: Vec<(String, String)>,
    types: Vec<(ColumnType, String)>,
    /// What all rows have: name, experiment, project, params, tags, context.
    constants: Vec<(Role, String)>,
    /// [`Form::Runs`] or [`Form::Results`], where it is said.
    form: Option<Form>,
}

/// The forms that can be given.
const FORMS: [(&str, Form); 2] = [("runs", Form::Runs), ("results", Form::Results)];

const WORDS: &str = "run, name, step, time, metric, value, experiment, project, param:KEY, tag:KEY, context:KEY, drop, \
     rename:METRIC, type:TYPE, constant:ROLE, form";

impl Mapping {
    /// Reads `role=column` pairs with commas between them. A comma, `=` or `\` in a column's name is written with a `\`
    /// before it.
    ///
    /// # Errors
    /// Names the pair that is wrong and the known roles.
    pub fn parse(text: &str) -> Result<Self> {
        let mut mapping = Self::default();
        for pair in split_unescaped(text, ',') {
            if pair.trim().is_empty() {
                continue;
            }
            let sides = split_unescaped(&pair, '=');
            let [role, column] = sides.as_slice() else {
                return Err(wrong(&pair, "write it as role=column".to_owned()));
            };
            mapping
                .add(&unescaped(role.trim()), unescaped(column.trim()))
                .map_err(|reason| wrong(&pair, reason))?;
        }
        mapping.checked(text)
    }

    /// Takes in what stands on both sides of an `=`.
    fn add(&mut self, role: &str, column: String) -> std::result::Result<(), String> {
        let unknown = || format!("the role is none of {WORDS}");
        match role.split_once(':').filter(|(_, rest)| !rest.is_empty()) {
            Some(("rename", name)) => self.renames.push((name.to_owned(), column)),
            Some(("type", word)) => {
                let known = ColumnType::ALL.iter().find(|(name, _)| *name == word);
                let (_, kind) = known.ok_or_else(|| {
                    format!("the type is none of {}", ColumnType::ALL.map(|(name, _)| name).join(", "))
                })?;
                self.types.push((*kind, column));
            }
            Some(("constant", role)) => {
                self.constants.push((parse_role(role).ok_or_else(unknown)?, column));
            }
            _ if role == "form" => {
                let known = FORMS.iter().find(|(word, _)| *word == column);
                let (_, form) = known.ok_or(
                    "the form is runs (a row for each run, columns are params) or results (a row for each run, columns of \
                     numbers are metrics)",
                )?;
                self.form = Some(*form);
            }
            _ => self.entries.push((parse_role(role).ok_or_else(unknown)?, column)),
        }
        Ok(())
    }

    /// Reads the same from TOML: `run = "column"`, or a list of columns; `name`, `step`, `time`, `metric`, `value`,
    /// `experiment`, `project` = a column; `drop` = a list; tables `param`, `tag`, `context` of `key = "column"`, `rename` of
    /// `new = "old"`, `type` of `column = "type"`; `constant` with `name`, `experiment`, `project` and tables `param`, `tag`,
    /// `context` of values. `form = "runs"` or `"results"` where each row is a run. And for logs of free text `lines` = a regular expression
    /// whose named groups are the columns.
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
        let mut mapping = Self { entries, lines: file.lines, ..Self::default() };
        mapping.renames.extend(file.rename);
        mapping.types.extend(file.types.into_iter().map(|(column, kind)| (kind, column)));
        for (role, value) in file.constant.into_entries() {
            mapping.constants.push((role, value));
        }
        if let Some(form) = file.form {
            mapping.add("form", form).map_err(|reason| wrong("TOML", reason))?;
        }
        if let Some(lines) = &mapping.lines {
            super::pattern::check(lines)?;
        }
        mapping.checked("TOML")
    }

    /// The same as TOML that [`Self::parse_toml`] reads.
    ///
    /// # Errors
    /// When a key stands there twice, which TOML cannot say.
    pub fn to_toml(&self) -> Result<String> {
        let mut file = File { lines: self.lines.clone(), ..File::default() };
        for (role, column) in &self.entries {
            let column = column.clone();
            let twice = match role {
                Role::Run => {
                    file.run.push(column);
                    false
                }
                Role::Drop => {
                    file.drop.push(column);
                    false
                }
                Role::Name => file.name.replace(column).is_some(),
                Role::Step => file.step.replace(column).is_some(),
                Role::Time => file.time.replace(column).is_some(),
                Role::Metric => file.metric.replace(column).is_some(),
                Role::Value => file.value.replace(column).is_some(),
                Role::Experiment => file.experiment.replace(column).is_some(),
                Role::Project => file.project.replace(column).is_some(),
                Role::Param(key) => file.param.insert(key.clone(), column).is_some(),
                Role::Tag(key) => file.tag.insert(key.clone(), column).is_some(),
                Role::Context(key) => file.context.insert(key.clone(), column).is_some(),
            };
            if twice {
                return Err(wrong(&role.to_string(), "it is given to more than one column".to_owned()));
            }
        }
        file.rename = self.renames.iter().cloned().collect();
        file.types = self.types.iter().map(|(kind, column)| (column.clone(), *kind)).collect();
        file.constant = Constants::of(&self.constants);
        file.form = self.form_word().map(str::to_owned);
        toml::to_string(&file).map_err(|error| wrong("TOML", error.to_string()))
    }

    /// The roles of columns that a plan found out, with what was given beside them.
    pub(super) fn of_plan(entries: Vec<(Role, String)>, form: Form, given: Option<&Self>) -> Self {
        let form = FORMS.iter().map(|(_, form)| *form).find(|known| *known == form);
        Self { entries, form, ..given.cloned().unwrap_or_default() }
    }

    /// The roles of the columns of a tool's table.
    pub(crate) fn of_columns(entries: Vec<(Role, String)>, form: Form) -> Self {
        Self::of_plan(entries, form, None)
    }

    fn form_word(&self) -> Option<&'static str> {
        FORMS.iter().find(|(_, form)| Some(*form) == self.form).map(|(word, _)| *word)
    }

    fn checked(self, text: &str) -> Result<Self> {
        let Self { entries, .. } = &self;
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
        for (role, _) in &self.constants {
            let fits = matches!(
                role,
                Role::Name
                    | Role::Experiment
                    | Role::Project
                    | Role::Param(_)
                    | Role::Tag(_)
                    | Role::Context(_)
            );
            if !fits {
                return Err(wrong(text, format!("{role} cannot be a constant")));
            }
            if has(role) || self.constants.iter().filter(|(other, _)| other == role).count() > 1 {
                return Err(wrong(text, format!("{role} is given twice")));
            }
        }
        for (position, (_, old)) in self.renames.iter().enumerate() {
            if self.renames.iter().skip(position + 1).any(|(_, other)| other == old) {
                return Err(wrong(text, format!("{old} is renamed twice")));
            }
        }
        for (position, (_, column)) in self.types.iter().enumerate() {
            if self.types.iter().skip(position + 1).any(|(_, other)| other == column) {
                return Err(wrong(text, format!("the type of {column} is given twice")));
            }
        }
        Ok(self)
    }

    /// Whether it says what columns mean; else that is guessed.
    pub(super) fn has_roles(&self) -> bool {
        self.form.is_some() || self.entries.iter().any(|(role, _)| *role != Role::Drop)
    }

    /// The form, where it is one in which each row is a run.
    pub(super) fn form(&self) -> Option<Form> {
        self.form
    }

    /// New and old names of metrics.
    pub fn renames(&self) -> &[(String, String)] {
        &self.renames
    }

    /// Types and the columns that have them.
    pub fn types(&self) -> &[(ColumnType, String)] {
        &self.types
    }

    /// What all rows have.
    pub fn constants(&self) -> &[(Role, String)] {
        &self.constants
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
        let roles = self.entries.iter().map(|(role, column)| (role.to_string(), column.as_str()));
        let renames = self.renames.iter().map(|(new, old)| (format!("rename:{new}"), old.as_str()));
        let types =
            self.types.iter().map(|(kind, column)| (format!("type:{}", kind.as_str()), column.as_str()));
        let constants =
            self.constants.iter().map(|(role, value)| (format!("constant:{role}"), value.as_str()));
        let form = self.form_word().map(|word| ("form".to_owned(), word));
        for (index, (role, column)) in
            roles.chain(renames).chain(types).chain(constants).chain(form).enumerate()
        {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}={}", escaped(&role), escaped(column))?;
        }
        Ok(())
    }
}

#[derive(Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<String>,
    #[serde(skip_serializing_if = "Columns::is_none")]
    run: Columns,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    experiment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(skip_serializing_if = "Columns::is_none")]
    drop: Columns,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    param: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tag: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    context: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rename: BTreeMap<String, String>,
    #[serde(rename = "type", skip_serializing_if = "BTreeMap::is_empty")]
    types: BTreeMap<String, ColumnType>,
    #[serde(skip_serializing_if = "Constants::is_empty")]
    constant: Constants,
}

#[derive(Deserialize, Serialize, Default, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Constants {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Scalar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    experiment: Option<Scalar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<Scalar>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    param: BTreeMap<String, Scalar>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tag: BTreeMap<String, Scalar>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    context: BTreeMap<String, Scalar>,
}

impl Constants {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn into_entries(self) -> Vec<(Role, String)> {
        let single =
            [(Role::Name, self.name), (Role::Experiment, self.experiment), (Role::Project, self.project)];
        let mut entries: Vec<(Role, String)> =
            single.into_iter().filter_map(|(role, value)| Some((role, value?.into_text()))).collect();
        for (make, values) in [
            (Role::Param as fn(String) -> Role, self.param),
            (Role::Tag, self.tag),
            (Role::Context, self.context),
        ] {
            entries.extend(values.into_iter().map(|(key, value)| (make(key), value.into_text())));
        }
        entries
    }

    fn of(entries: &[(Role, String)]) -> Self {
        let mut constants = Self::default();
        for (role, value) in entries {
            let value = Scalar::Text(value.clone());
            match role {
                Role::Name => constants.name = Some(value),
                Role::Experiment => constants.experiment = Some(value),
                Role::Project => constants.project = Some(value),
                Role::Param(key) => drop(constants.param.insert(key.clone(), value)),
                Role::Tag(key) => drop(constants.tag.insert(key.clone(), value)),
                Role::Context(key) => drop(constants.context.insert(key.clone(), value)),
                // No other role can be a constant: the mapping was checked.
                _ => {}
            }
        }
        constants
    }
}

/// A value of a constant: what TOML writes without quotes is taken for its text.
#[derive(Deserialize, Serialize, PartialEq)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Number(f64),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Integer(integer) => integer.to_string(),
            Self::Boolean(truth) => truth.to_string(),
            Self::Number(number) => ParamValue::from_f64(number).to_string(),
        }
    }
}

#[derive(Deserialize, Serialize, Default)]
#[serde(untagged)]
enum Columns {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Columns {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    fn push(&mut self, column: String) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(column),
            Self::One(first) => Self::Many(vec![first, column]),
            Self::Many(mut columns) => {
                columns.push(column);
                Self::Many(columns)
            }
        };
    }
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
    fn renames_types_and_constants_are_written_as_they_are_read() {
        let line = Mapping::parse(
            "step=it,rename:val/loss=vl,type:boolean=ok,type:seconds=t,constant:project=vision,constant:tag:team=a\\,b,\
             constant:param:lr=0.1,form=runs",
        )
        .unwrap();
        assert_eq!(Mapping::parse(&line.to_string()).unwrap(), line);
        let toml = "form = 'runs'\nstep = 'it'\n[rename]\n'val/loss' = 'vl'\n[type]\nok = 'boolean'\nt = 'seconds'\n[constant]\n\
                    project = 'vision'\n[constant.param]\nlr = 0.1\n[constant.tag]\nteam = 'a,b'\n";
        let read = Mapping::parse_toml(toml).unwrap();
        assert_eq!(
            (read.entries(), read.renames(), read.types()),
            (line.entries(), line.renames(), line.types())
        );
        assert_eq!(Mapping::parse_toml(&read.to_toml().unwrap()).unwrap(), read);
        assert_eq!(Mapping::parse_toml(&line.to_toml().unwrap()).unwrap(), read);
        assert!(!Mapping::parse("rename:a=b,drop=c").unwrap().has_roles() && line.has_roles());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for text in [
            "type:colour=x",
            "constant:step=1",
            "constant:tag:a=1,tag:a=b",
            "constant:project=a,constant:project=b",
            "rename:a=x,rename:b=x",
            "type:text=x,type:number=x",
            "form=wide",
        ] {
            assert_eq!(Mapping::parse(text).unwrap_err().code(), "import.mapping", "{text}");
        }
        for text in ["run", "run=a=b", "steps=x", "param:=x", "step=a,step=b", "metric=m", "tags:a=b"] {
            assert_eq!(Mapping::parse(text).unwrap_err().code(), "import.mapping", "{text}");
        }
        assert!(Mapping::parse_toml("steps = 'x'").is_err());
        assert!(Mapping::parse("").unwrap().entries().is_empty());
    }
}
