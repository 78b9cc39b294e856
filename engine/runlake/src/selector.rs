//! Selectors: which runs are meant.

use std::collections::HashSet;
use std::fmt;

use arrow::array::AsArray;
use model::{ExperimentName, Key, ProjectName, RunId, TagValue};
use store::{RunRow, Snapshot};

use crate::baseline;
use crate::error::{Error, Result};
use crate::lake::Lake;

/// Which runs are meant, as users write it:
///
/// - run ids, separated by commas;
/// - `tag:KEY=VALUE`;
/// - `param:KEY=VALUE` (the text of the param, or an equal number);
/// - `experiment:NAME` or `experiment:PROJECT/NAME`;
/// - `baseline:NAME` or `baseline:NAME@VERSION`: the runs of a baseline on record, the newest active version where none is
///   given; `baseline:PROJECT/NAME` of another project;
/// - anything else: an SQL condition on the table `runs`, such as `params.lr > 0.01 AND status = 'FINISHED'`.
///
/// Several selectors joined by ` & ` must all hold: `experiment:augmentation & tag:arm=baseline`.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Ids(Vec<RunId>),
    Tag(Key, TagValue),
    Param(Key, String),
    Experiment(Option<String>, ExperimentName),
    Baseline(BaselineName),
    Condition(String),
}

/// A baseline as users write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaselineName {
    pub(crate) project: ProjectName,
    pub(crate) name: String,
    /// `None` for the newest active one.
    pub(crate) version: Option<i64>,
}

impl BaselineName {
    /// Parses `NAME`, `NAME@VERSION` or either behind `PROJECT/`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (project, name) = match text.split_once('/') {
            Some((project, name)) => (ProjectName::new(project).ok()?, name),
            None => (ProjectName::default(), text),
        };
        let (name, version) = match name.rsplit_once('@') {
            Some((name, version)) => (name, Some(version.parse().ok()?)),
            None => (name, None),
        };
        (!name.is_empty()).then(|| Self { project, name: name.to_owned(), version })
    }
}

impl fmt::Display for BaselineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.map(|version| format!("@{version}")).unwrap_or_default();
        write!(f, "{}/{}{version}", self.project, self.name)
    }
}

impl Selector {
    /// Parses a selector.
    ///
    /// # Errors
    /// Says which part is not understood; an SQL condition is checked when it runs.
    pub fn parse(text: &str) -> Result<Self> {
        let parts = text.split(" & ").map(|part| Part::parse(part.trim())).collect::<Result<_>>()?;
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The selector as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The params and tags by which it chooses.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Tag(key, _) | Part::Param(key, _) => Some(key.as_str()),
            _ => None,
        })
    }

    /// The baseline on record that it names, when it names one.
    pub(crate) fn baseline_name(&self) -> Option<&BaselineName> {
        self.parts.iter().find_map(|part| match part {
            Part::Baseline(name) => Some(name),
            _ => None,
        })
    }

    /// The runs that it takes, in order of creation. Deleted runs are left out unless their ids are named.
    ///
    /// # Errors
    /// When an SQL condition is wrong, or a run id is not in the lake.
    pub async fn runs<'s>(&self, lake: &Lake, snapshot: &'s Snapshot) -> Result<Vec<RunRow<'s>>> {
        let registry = snapshot.registry();
        let mut runs: Vec<RunRow<'s>> = match self.parts.first() {
            Some(Part::Ids(_)) => registry.runs().iter().collect(),
            _ => registry.runs().iter().filter(|run| !run.is_deleted()).collect(),
        };
        for part in &self.parts {
            match part {
                Part::Ids(ids) => {
                    if let Some(absent) = ids.iter().find(|id| registry.run(**id).is_none()) {
                        return Err(self.wrong(&format!("run {absent} is not in this lake")));
                    }
                    runs.retain(|run| ids.contains(&run.id()));
                }
                Part::Tag(key, value) => {
                    runs.retain(|run| run.tag(key.as_str()) == Some(value.as_str()));
                }
                Part::Param(key, value) => runs.retain(|run| param_equals(*run, key, value)),
                Part::Experiment(project, name) => runs.retain(|run| {
                    run.experiment() == name && project.as_ref().is_none_or(|p| run.project().as_str() == p)
                }),
                Part::Baseline(name) => {
                    let ids = baseline::runs_of(&baseline::named(snapshot, name)?)?;
                    runs.retain(|run| ids.contains(&run.id()));
                }
                Part::Condition(condition) => {
                    let ids = ids_of(lake, snapshot, condition).await?;
                    runs.retain(|run| ids.contains(&run.id()));
                }
            }
        }
        Ok(runs)
    }

    fn wrong(&self, reason: &str) -> Error {
        Error::Selector { text: self.text.clone(), reason: reason.to_owned() }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Part {
    fn parse(text: &str) -> Result<Self> {
        let wrong = |reason: String| Error::Selector { text: text.to_owned(), reason };
        if text.is_empty() {
            return Err(wrong(
                "is empty; use run ids, tag:KEY=VALUE, param:KEY=VALUE, experiment:NAME or an SQL condition"
                    .to_owned(),
            ));
        }
        if let Some(rest) = text.strip_prefix("tag:") {
            let (key, value) = pair(rest).ok_or_else(|| wrong("write it as tag:KEY=VALUE".to_owned()))?;
            return Ok(Self::Tag(Key::new(key)?, TagValue::new(value)?));
        }
        if let Some(rest) = text.strip_prefix("param:") {
            let (key, value) = pair(rest).ok_or_else(|| wrong("write it as param:KEY=VALUE".to_owned()))?;
            return Ok(Self::Param(Key::new(key)?, value.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("experiment:") {
            return Ok(match rest.split_once('/') {
                Some((project, name)) if model::ProjectName::new(project).is_ok() && !name.is_empty() => {
                    Self::Experiment(Some(project.to_owned()), ExperimentName::new(name)?)
                }
                _ => Self::Experiment(None, ExperimentName::new(rest)?),
            });
        }
        if let Some(rest) = text.strip_prefix("baseline:") {
            let name = BaselineName::parse(rest);
            return name.map(Self::Baseline).ok_or_else(|| {
                wrong("write it as baseline:NAME, baseline:NAME@VERSION or baseline:PROJECT/NAME".to_owned())
            });
        }
        let looks_like_ids = text.split(',').all(|id| id.trim().len() == 32 && !id.trim().contains(' '));
        if looks_like_ids {
            return Ok(Self::Ids(text.split(',').map(|id| Ok(id.trim().parse()?)).collect::<Result<_>>()?));
        }
        Ok(Self::Condition(text.to_owned()))
    }
}

fn pair(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(key, _)| !key.is_empty())
}

fn param_equals(run: RunRow<'_>, key: &Key, value: &str) -> bool {
    run.param(key.as_str()).is_some_and(|present| {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        let same_number = || Some(number(present)? == number(value)?);
        present == value || same_number().unwrap_or(false)
    })
}

async fn ids_of(lake: &Lake, snapshot: &Snapshot, condition: &str) -> Result<HashSet<RunId>> {
    // The line end keeps a comment in the condition from swallowing what follows it.
    let sql = format!("SELECT run_id FROM runs WHERE ({condition}\n)");
    let answer = query::run(lake.sessions(), snapshot, &sql, query::QueryOptions::default()).await?;
    let batches = answer.collect().await?;
    let mut ids = HashSet::new();
    for batch in &batches {
        let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8)?;
        for id in column.as_string::<i32>().iter().flatten() {
            ids.insert(id.parse()?);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_told_apart() {
        let id = "0123456789abcdef0123456789abcdef";
        let form = |text: &str| Selector::parse(text).unwrap().parts;
        assert!(matches!(&form(&format!("{id}, {id}"))[..], [Part::Ids(ids)] if ids.len() == 2));
        assert!(matches!(&form("tag:arm=a=b")[..], [Part::Tag(_, value)] if value.as_str() == "a=b"));
        assert!(matches!(&form("experiment:noop")[..], [Part::Experiment(None, _)]));
        assert!(matches!(&form("experiment:vision/noop")[..], [Part::Experiment(Some(_), _)]));
        let named = |text: &str| BaselineName::parse(text).map(|name| name.to_string());
        assert_eq!(named("main").as_deref(), Some("default/main"));
        assert_eq!(named("vision/main@3").as_deref(), Some("vision/main@3"));
        assert_eq!((named("main@x"), named("")), (None, None));
        assert!(matches!(&form("baseline:main")[..], [Part::Baseline(_)]));
        assert!(matches!(&form("params.lr > 0.1")[..], [Part::Condition(_)]));
        assert_eq!(form("experiment:e & tag:arm=base & params.lr > 1").len(), 3);
        for text in ["", "tag:arm", "baseline:", "baseline:a@b", "param:=1", "a & "] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
