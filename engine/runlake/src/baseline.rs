//! Baselines on record: named and versioned sets of runs that candidates are compared with, and what their chain gained.

use std::collections::{BTreeSet, HashMap, HashSet};

use analysis::{ChainStep, Direction, Moments, cumulative_improvement};
use model::{
    ExperimentName, FieldValue, MetricName, ProjectName, Record, RecordFields, RecordId, RecordKind,
    RecordUpdate, RunId,
};
use store::{RunRow, Snapshot};

use crate::error::{Error, Result};
use crate::lake::{Lake, now_micros};
use crate::samples::last_values_of;
use crate::selector::{BaselineName, Selector};

/// Two-sided confidence level of the intervals of a chain.
const LEVEL: f64 = 0.95;

/// What is to become a version of a baseline.
#[derive(Debug, Clone)]
pub struct BaselineQuery {
    /// The name under which gates ask for it, also `PROJECT/NAME`.
    pub name: String,
    /// Its runs.
    pub runs: Selector,
    /// The metric that it stands for, with its direction; its mean and spread are kept.
    pub metric: Option<(MetricName, Direction)>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// After how many days it is stale.
    pub max_age_days: Option<u32>,
    /// The rule by which it is to be measured anew, in words.
    pub reevaluation: Option<String>,
    /// What it is.
    pub description: Option<String>,
}

/// One version of a baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineVersion {
    /// Its row in the table `baselines`.
    pub record: Record,
    /// Its runs that are still in the lake.
    pub present: usize,
}

/// All versions of a baseline, the oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineHistory {
    /// The versions.
    pub versions: Vec<BaselineVersion>,
    /// What they gained over the first one, where they stand for one metric and have two runs or more.
    pub chain: Vec<ChainStep>,
}

impl Lake {
    /// Makes the next version of a baseline of the runs that are taken now. The version before stays, and is named.
    ///
    /// # Errors
    /// When the name or the selector is wrong, no run is taken, or the lake cannot be written.
    pub async fn set_baseline(&self, query: &BaselineQuery) -> Result<Record> {
        let wrong = |reason: &str| Error::Baseline { name: query.name.clone(), reason: reason.to_owned() };
        let name = BaselineName::parse(&query.name)
            .filter(|name| name.version.is_none())
            .ok_or_else(|| wrong("write it as NAME or PROJECT/NAME; the version is counted"))?;
        let snapshot = self.snapshot().await?;
        let runs = query.runs.runs(self, &snapshot).await?;
        if runs.is_empty() {
            return Err(wrong("the selector takes no run; a baseline has one at least"));
        }
        let before = versions(&snapshot, &name).pop();
        let version = before.as_ref().and_then(|record| record.integer("version")).unwrap_or(0) + 1;
        let mut fields = RecordFields::of(RecordKind::Baselines);
        let mut set = |column: &str, value: Option<FieldValue>| -> Result<()> {
            value.map_or(Ok(()), |value| Ok(fields.put(column, value)?))
        };
        let text = |text: Option<String>| text.map(FieldValue::Text);
        set("name", text(Some(name.name.clone())))?;
        set("version", Some(FieldValue::Integer(version)))?;
        set("status", text(Some("active".to_owned())))?;
        set("owner", text(query.owner.clone()))?;
        let now = now_micros();
        set("established", Some(FieldValue::Time(now)))?;
        set("reevaluation", text(query.reevaluation.clone()))?;
        set("max_age_days", query.max_age_days.map(|days| FieldValue::Integer(i64::from(days))))?;
        set("selector", text(Some(query.runs.as_str().to_owned())))?;
        let ids: Vec<String> = runs.iter().map(|run| run.id().to_string()).collect();
        set("runs", text(Some(serde_json::to_string(&ids).map_err(Error::Report)?)))?;
        if let Some((metric, direction)) = &query.metric {
            let measured = finite(&snapshot, metric, &runs)?;
            let moments = Moments::of(&measured);
            set("metric", text(Some(metric.to_string())))?;
            let word = match direction {
                Direction::Up => "up",
                Direction::Down => "down",
            };
            set("direction", text(Some(word.to_owned())))?;
            set("mean", moments.mean().map(FieldValue::Number))?;
            set("sd", moments.variance().map(|variance| FieldValue::Number(variance.sqrt())))?;
            set("n", Some(FieldValue::Integer(i64::try_from(measured.len()).unwrap_or(i64::MAX))))?;
        }
        set("config_hash", text(shared(&runs, |run| Some(run.config_hash().to_string()))))?;
        set("git_commit", text(shared(&runs, |run| run.git_commit().map(str::to_owned))))?;
        set("previous", text(before.map(|record| record.id.to_string())))?;
        set("snapshot", Some(FieldValue::Integer(i64::try_from(snapshot.last_seq()).unwrap_or(i64::MAX))))?;
        set("description", text(query.description.clone()))?;
        let id = RecordId::new(format!("{}@{version}", name.name))?;
        let mut update = RecordUpdate::new(name.project.clone(), id, fields, now);
        update.author.clone_from(&query.owner);
        update.experiment = experiment_of(&runs, &name.project);
        self.put_record(update).await?;
        named(&self.snapshot().await?, &BaselineName { version: Some(version), ..name })
    }

    /// The version of a baseline that a name means: `NAME@VERSION`, or `NAME` for the newest active one.
    ///
    /// # Errors
    /// When there is none.
    pub async fn baseline(&self, name: &str) -> Result<Record> {
        let parsed = BaselineName::parse(name).ok_or_else(|| Error::Baseline {
            name: name.to_owned(),
            reason: "write it as NAME, NAME@VERSION or PROJECT/NAME@VERSION".to_owned(),
        })?;
        named(&self.snapshot().await?, &parsed)
    }

    /// The finite last values of a metric over runs that ended well.
    ///
    /// # Errors
    /// When the selector is wrong, or a run has the metric in several contexts.
    pub async fn spread(&self, runs: &Selector, metric: &MetricName) -> Result<Moments> {
        let snapshot = self.snapshot().await?;
        let runs = runs.runs(self, &snapshot).await?;
        Ok(Moments::of(&finite(&snapshot, metric, &runs)?))
    }

    /// All versions of a baseline with what they gained.
    ///
    /// # Errors
    /// When there is no baseline of this name.
    pub async fn baseline_history(&self, name: &str) -> Result<BaselineHistory> {
        let wrong = |reason: &str| Error::Baseline { name: name.to_owned(), reason: reason.to_owned() };
        let parsed = BaselineName::parse(name)
            .filter(|name| name.version.is_none())
            .ok_or_else(|| wrong("write it as NAME or PROJECT/NAME"))?;
        let snapshot = self.snapshot().await?;
        let versions = versions(&snapshot, &parsed);
        let Some(newest) = versions.last() else { return Err(unknown(&snapshot, &parsed)) };
        let chain = match (newest.text("metric"), newest.text("direction")) {
            (Some(metric), Some(direction)) => {
                let direction = if direction == "down" { Direction::Down } else { Direction::Up };
                chain(&snapshot, newest, metric, direction, &[])
            }
            _ => Vec::new(),
        };
        let present = |record: &Record| {
            runs_of(record).map_or(0, |ids| ids.iter().filter(|id| is_present(&snapshot, **id)).count())
        };
        let versions = versions
            .into_iter()
            .map(|record| BaselineVersion { present: present(&record), record })
            .collect();
        Ok(BaselineHistory { versions, chain })
    }
}

fn is_present(snapshot: &Snapshot, id: RunId) -> bool {
    snapshot.registry().run(id).is_some_and(|run| !run.is_deleted())
}

/// What all runs have in common, where they do.
fn shared(runs: &[RunRow<'_>], of: impl Fn(&RunRow<'_>) -> Option<String>) -> Option<String> {
    let all: BTreeSet<Option<String>> = runs.iter().map(of).collect();
    if all.len() == 1 { all.into_iter().next().flatten() } else { None }
}

/// The experiment of all the runs, where it is one of the baseline's project.
fn experiment_of(runs: &[RunRow<'_>], project: &ProjectName) -> Option<ExperimentName> {
    let first = runs.first()?;
    let alike = |run: &RunRow<'_>| run.project() == project && run.experiment() == first.experiment();
    runs.iter().all(alike).then(|| first.experiment().clone())
}

fn finite(snapshot: &Snapshot, metric: &MetricName, runs: &[RunRow<'_>]) -> Result<Vec<f64>> {
    let last: HashMap<RunId, f64> = last_values_of(snapshot, metric, runs)?;
    let ended_well =
        |run: &&RunRow<'_>| !matches!(run.status(), model::RunStatus::Failed | model::RunStatus::Killed);
    let mut values: Vec<f64> = runs
        .iter()
        .filter(ended_well)
        .filter_map(|run| last.get(&run.id()).copied())
        .filter(|value| value.is_finite())
        .collect();
    // The sums do not depend on the order in which runs were made.
    values.sort_unstable_by(f64::total_cmp);
    Ok(values)
}

/// All versions, the oldest first.
fn versions(snapshot: &Snapshot, name: &BaselineName) -> Vec<Record> {
    let table = snapshot.registry().records(RecordKind::Baselines);
    let mut versions: Vec<Record> = table
        .into_iter()
        .flat_map(|table| table.iter())
        .filter(|record| record.project == name.project && record.text("name") == Some(&name.name))
        .collect();
    versions.sort_by_key(|record| record.integer("version"));
    versions
}

fn unknown(snapshot: &Snapshot, name: &BaselineName) -> Error {
    let table = snapshot.registry().records(RecordKind::Baselines);
    let names: BTreeSet<String> = table
        .into_iter()
        .flat_map(|table| table.iter())
        .filter_map(|record| Some(format!("{}/{}", record.project, record.text("name")?)))
        .collect();
    let known: Vec<String> = names.into_iter().take(8).collect();
    let reason = if known.is_empty() {
        "is not on record, nor any other; make one with `runlake baseline set`".to_owned()
    } else {
        format!("is not on record; there are {}", known.join(", "))
    };
    Error::Baseline { name: name.to_string(), reason }
}

/// The version that a name means: the one that it says, else the newest active one, else the newest.
pub(crate) fn named(snapshot: &Snapshot, name: &BaselineName) -> Result<Record> {
    let mut versions = versions(snapshot, name);
    let found = match name.version {
        Some(version) => versions.into_iter().find(|record| record.integer("version") == Some(version)),
        None => match versions.iter().rposition(|record| record.text("status") != Some("retired")) {
            Some(newest) => Some(versions.swap_remove(newest)),
            None => versions.pop(),
        },
    };
    found.ok_or_else(|| unknown(snapshot, name))
}

/// The runs of a version.
///
/// # Errors
/// When its row has no list of runs, or one that is not of ids.
pub fn runs_of(record: &Record) -> Result<HashSet<RunId>> {
    let wrong = |reason: String| Error::Baseline { name: record.id.to_string(), reason };
    let text = record
        .text("runs")
        .ok_or_else(|| wrong("has no list of runs; make a version with `runlake baseline set`".to_owned()))?;
    let ids: Vec<String> = serde_json::from_str(text)
        .map_err(|error| wrong(format!("its list of runs is no JSON array of ids: {error}")))?;
    ids.iter().map(|id| id.parse().map_err(|error| wrong(format!("its list of runs: {error}")))).collect()
}

/// What the versions up to `newest`, and behind them a candidate where it has values, gained over the first version.
/// Versions with fewer than two finite values are left out; empty where fewer than two are left.
pub(crate) fn chain(
    snapshot: &Snapshot,
    newest: &Record,
    metric: &str,
    direction: Direction,
    candidate: &[f64],
) -> Vec<ChainStep> {
    let (Ok(metric), Some(name)) = (MetricName::new(metric), newest.text("name")) else { return Vec::new() };
    let name = BaselineName { project: newest.project.clone(), name: name.to_owned(), version: None };
    let mut arms: Vec<(String, Vec<f64>)> = versions(snapshot, &name)
        .into_iter()
        .filter(|record| record.integer("version") <= newest.integer("version"))
        .filter_map(|record| {
            let ids = runs_of(&record).ok()?;
            let rows: Vec<RunRow<'_>> = ids.iter().filter_map(|id| snapshot.registry().run(*id)).collect();
            Some((record.id.to_string(), finite(snapshot, &metric, &rows).ok()?))
        })
        .collect();
    if !candidate.is_empty() {
        arms.push(("candidate".to_owned(), candidate.to_vec()));
    }
    arms.retain(|(_, values)| values.len() > 1);
    let borrowed: Vec<(&str, &[f64])> =
        arms.iter().map(|(name, values)| (name.as_str(), &values[..])).collect();
    cumulative_improvement(&borrowed, direction, LEVEL).unwrap_or_default()
}
