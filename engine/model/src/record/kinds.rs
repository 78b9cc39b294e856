//! The kinds of records: a table each, with the columns that it has beside those of every record.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result, beginning};
use crate::schema::timestamp;

/// A kind of record, and the table that holds its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// What the runs of a candidate are compared with: named, versioned, with the rule by which it gets old.
    Baselines,
    /// Gate runs with their verdicts.
    Gates,
    /// What people think of a run, an experiment, a gate or a baseline.
    Reviews,
    /// Themes that group experiments.
    Directions,
    /// Papers, repositories and models to try.
    Resources,
    /// What was made of what.
    Lineage,
    /// Files and models that runs made or used.
    Artifacts,
    /// The data that runs were given.
    Datasets,
    /// Hyperparameter searches.
    Sweeps,
    /// Their trials.
    Trials,
    /// How much may be spent.
    Budgets,
}

/// What a column of a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Text of at most [`TEXT_CHARACTERS`](crate::limits::TEXT_CHARACTERS).
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text of any length that a record may have, byte for byte.
    Document,
    /// JSON, kept as it was written.
    Json,
    /// A whole number of 64 bits.
    Integer,
    /// A double; NaN and infinities are values.
    Number,
    /// Yes or no.
    Boolean,
    /// Microseconds since 1970 UTC.
    Time,
}

impl FieldKind {
    /// The type of the column in Arrow.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text | Self::Word(_) | Self::Document | Self::Json => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Time => timestamp(),
        }
    }

    /// What a text must be to become a value of the column, as the end of a sentence.
    pub fn expected(self) -> String {
        match self {
            Self::Text | Self::Document => "text".to_owned(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Json => "JSON".to_owned(),
            Self::Integer => "a whole number of 64 bits".to_owned(),
            Self::Number => "a number, nan, inf or -inf".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Time => {
                "a time such as 2026-11-22T10:00:00Z, a date, or microseconds since 1970 UTC".to_owned()
            }
        }
    }
}

/// A column of a kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordColumn {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    /// Whether every record of the kind has it.
    pub required: bool,
    /// What it means, in a sentence.
    pub about: &'static str,
}

const fn column(name: &'static str, kind: FieldKind, about: &'static str) -> RecordColumn {
    RecordColumn { name, kind, required: false, about }
}

const fn text(name: &'static str, about: &'static str) -> RecordColumn {
    column(name, FieldKind::Text, about)
}

const fn json(name: &'static str, about: &'static str) -> RecordColumn {
    column(name, FieldKind::Json, about)
}

const fn integer(name: &'static str, about: &'static str) -> RecordColumn {
    column(name, FieldKind::Integer, about)
}

const fn number(name: &'static str, about: &'static str) -> RecordColumn {
    column(name, FieldKind::Number, about)
}

const fn time(name: &'static str, about: &'static str) -> RecordColumn {
    column(name, FieldKind::Time, about)
}

impl RecordColumn {
    const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

const UP_OR_DOWN: FieldKind = FieldKind::Word(&["up", "down"]);

const BASELINES: &[RecordColumn] = &[
    text("name", "The name under which gates ask for it.").required(),
    integer("version", "Its version, counted from 1.").required(),
    column(
        "status",
        FieldKind::Word(&["active", "retired"]),
        "`active` or `retired`; NULL is as good as active.",
    ),
    text("owner", "Who answers for it."),
    time("established", "When its runs were taken as the baseline."),
    text("reevaluation", "The rule by which it is to be measured anew, in words."),
    integer("max_age_days", "After how many days from `established` it is stale."),
    text("metric", "The metric, when it is one."),
    column("direction", UP_OR_DOWN, "Which way the metric gets better: `up` or `down`."),
    text("selector", "What chose its runs."),
    json("runs", "The ids of its runs, a JSON array."),
    number("mean", "The mean of the metric over its runs."),
    number("sd", "Its standard deviation, divisor n - 1."),
    integer("n", "The runs with a finite value."),
    text("config_hash", "The configuration of its runs, without the seed."),
    text("dataset_hash", "The data that it was measured on."),
    text("git_commit", "The code that it was measured with."),
    json("environment", "Libraries and hardware that it was measured with."),
    text("previous", "The id of the version that it took the place of."),
    integer("snapshot", "The number in the log up to which the lake was read for it."),
    text("description", "What it is."),
];

const GATES: &[RecordColumn] = &[
    text("name", "The gate or the policy, when it has a name."),
    text(
        "gate_run",
        "What the rows of one gate run have in common; the row without a metric is the verdict over all.",
    ),
    text("metric", "The metric."),
    column("direction", UP_OR_DOWN, "Which way it gets better: `up` or `down`."),
    column(
        "mode",
        FieldKind::Word(&["better", "not_worse", "equivalent"]),
        "The claim: `better`, `not_worse` or `equivalent`.",
    ),
    number("margin", "The margin of the claim."),
    column("relative", FieldKind::Boolean, "Whether the margin is a share of the mean of the baseline."),
    text("candidate", "What chose the candidate runs."),
    json("candidate_runs", "Their ids, a JSON array."),
    text("baseline", "What chose the runs of the baseline, or the id of the baseline."),
    json("baseline_runs", "Their ids, a JSON array."),
    column(
        "verdict",
        FieldKind::Word(&["pass", "fail", "inconclusive", "error"]),
        "`pass`, `fail`, `inconclusive`, or `error` when there was nothing to judge.",
    )
    .required(),
    text("reason", "The code of what decided, where it is not the interval alone."),
    integer("exit_code", "The exit code that the caller got."),
    text("sentence", "The verdict in a sentence."),
    text("method", "The test that decided."),
    number("difference", "The improvement, larger is better."),
    number("low", "Its lower bound."),
    number("high", "Its upper bound."),
    number("p_value", "The p-value of a pass."),
    integer("n_candidate", "Candidate runs with a finite value."),
    integer("n_baseline", "Runs of the baseline with a finite value."),
    number("alpha", "The error rate that this look used."),
    number("alpha_left", "The error rate that is left for looks to come."),
    integer("look", "Which look it was, counted from 1."),
    integer("looks", "How many looks were planned."),
    text(
        "look_key",
        "What looks at the same question have in common: baseline, candidate, metric, mode and margin.",
    ),
    text("data", "A hash of the runs and values that were judged: looks at the same data are one look."),
    integer("seed", "The seed of everything that was resampled."),
    integer("snapshot", "The number in the log up to which the lake was read."),
    text("version", "The version of the program that judged."),
    json("waived", "What was accepted by name though it would have stopped the gate."),
    text("git_commit", "The commit that was judged."),
    text("url", "The page of the pipeline that asked."),
    column("policy", FieldKind::Document, "The policy as it was read."),
    column("report", FieldKind::Document, "The whole report, byte for byte."),
];

const REVIEWS: &[RecordColumn] = &[
    text("subject", "What was looked at: `run`, `experiment`, `gate`, `baseline`, ...").required(),
    text("subject_id", "Which one: its id or name.").required(),
    column(
        "verdict",
        FieldKind::Word(&["approve", "request_changes", "comment"]),
        "`approve`, `request_changes` or `comment`.",
    )
    .required(),
    column("text", FieldKind::Document, "What the reviewer says."),
    text("url", "Where it was said."),
];

const DIRECTIONS: &[RecordColumn] = &[
    text("name", "The theme.").required(),
    text("question", "What it is to find out."),
    text("status", "Where it stands: open, paused, closed, ..."),
    text("owner", "Who answers for it."),
    json("experiments", "The names of its experiments, a JSON array."),
    number("priority", "Larger is sooner."),
    column("description", FieldKind::Document, "What it is."),
];

const RESOURCES: &[RecordColumn] = &[
    text("name", "What people call it.").required(),
    text("type", "What it is: paper, repository, model, dataset, ..."),
    text("title", "Its title."),
    text("url", "Where it is."),
    text("authors", "Who made it."),
    time("published", "When it came out."),
    text("status", "Where it stands: to try, trying, tried, ..."),
    text("direction", "The id of the direction that it belongs to."),
    number("priority", "Larger is sooner."),
    json("labels", "Labels, a JSON array."),
    column("summary", FieldKind::Document, "What it says."),
];

const LINEAGE: &[RecordColumn] = &[
    text("from_kind", "What the source is: `dataset`, `artifact`, `run`, ...").required(),
    text("from_id", "Which one.").required(),
    text("relation", "How the two hang together: `used_by`, `made`, `derived`, ...").required(),
    text("to_kind", "What the other end is.").required(),
    text("to_id", "Which one.").required(),
    text("context", "In what role, such as `training`."),
    json("details", "More about it."),
];

const ARTIFACTS: &[RecordColumn] = &[
    text("name", "Its name, or its path among the files of the run.").required(),
    text("version", "Its version."),
    text("type", "What it is: model, checkpoint, plot, ..."),
    text("uri", "Where it lies."),
    text("digest", "A hash of its content."),
    integer("size_bytes", "Its size."),
    text("media_type", "Its media type."),
    json("aliases", "Other names of this version, a JSON array."),
    json("metadata", "More about it."),
    text("description", "What it is."),
];

const DATASETS: &[RecordColumn] = &[
    text("name", "Its name.").required(),
    text("digest", "A hash of its content."),
    text("version", "Its version."),
    text("source_type", "What kind of place it came from."),
    text("source", "The place, as the tool wrote it."),
    json("schema", "Its columns."),
    json("profile", "Counts and statistics of it."),
    integer("row_count", "Its rows."),
    integer("size_bytes", "Its size."),
    json("metadata", "More about it."),
    text("description", "What it is."),
];

const SWEEPS: &[RecordColumn] = &[
    text("name", "Its name.").required(),
    text("state", "Where it stands, in the words of its tool."),
    text("method", "How trials are chosen."),
    text("metric", "The objective, when it is one."),
    column("direction", UP_OR_DOWN, "Which way it gets better: `up` or `down`."),
    json("objectives", "Metrics and directions, when they are several."),
    json("space", "What is searched."),
    json("early_stopping", "The rule by which trials are ended."),
    integer("planned_trials", "How many trials it may take."),
    integer("seed", "Its seed."),
    text("tool", "The tool that runs it."),
    text("source_id", "Its id in that tool."),
    time("start_time", "When it began."),
    time("end_time", "When it ended."),
    json("metadata", "More about it."),
];

const TRIALS: &[RecordColumn] = &[
    text("sweep", "The id of its sweep.").required(),
    integer("number", "Its number in the sweep.").required(),
    text("state", "Where it stands, in the words of its tool."),
    number("value", "The objective, when it is one."),
    json("objective_values", "The objectives, when they are several."),
    json("params", "What was tried."),
    json("distributions", "What it was drawn from."),
    json("intermediate", "The objective on the way, by step."),
    time("start_time", "When it began."),
    time("end_time", "When it ended."),
    text("source_id", "Its id in the tool that ran it."),
    json("metadata", "More about it."),
];

const BUDGETS: &[RecordColumn] = &[
    text("name", "Its name.").required(),
    text("unit", "What is counted: `gpu_hours`, `runs`, `usd`, ...").required(),
    number("amount", "How much may be spent.").required(),
    number("spent", "How much is."),
    time("period_start", "From when on."),
    time("period_end", "Until when."),
    text("owner", "Who answers for it."),
    text("direction", "The id of the direction that it is for."),
    text("status", "Where it stands."),
    text("description", "What it is for."),
];

impl RecordKind {
    /// All kinds, in the order in which a flush commits their tables.
    pub const ALL: [Self; 11] = [
        Self::Baselines,
        Self::Gates,
        Self::Reviews,
        Self::Directions,
        Self::Resources,
        Self::Lineage,
        Self::Artifacts,
        Self::Datasets,
        Self::Sweeps,
        Self::Trials,
        Self::Budgets,
    ];

    /// The name of its table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baselines => "baselines",
            Self::Gates => "gates",
            Self::Reviews => "reviews",
            Self::Directions => "directions",
            Self::Resources => "resources",
            Self::Lineage => "lineage",
            Self::Artifacts => "artifacts",
            Self::Datasets => "datasets",
            Self::Sweeps => "sweeps",
            Self::Trials => "trials",
            Self::Budgets => "budgets",
        }
    }

    /// What a row of its table is, in a sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Baselines => "One row a version of a baseline: the runs that candidates are compared with.",
            Self::Gates => "One row a gate run and metric: the verdict, its numbers and its whole report.",
            Self::Reviews => {
                "One row a review: what somebody thinks of a run, an experiment, a gate, a baseline."
            }
            Self::Directions => "One row a direction: a theme that groups experiments.",
            Self::Resources => "One row a paper, repository or model to try.",
            Self::Lineage => "One row a link: what was made of what, and who used it.",
            Self::Artifacts => "One row an artifact: a file or a model that a run made or used.",
            Self::Datasets => "One row a dataset.",
            Self::Sweeps => "One row a sweep: a search for hyperparameters.",
            Self::Trials => "One row a trial of a sweep.",
            Self::Budgets => "One row a budget: how much may be spent on what.",
        }
    }

    /// The columns that it has beside those of every record.
    pub fn columns(self) -> &'static [RecordColumn] {
        match self {
            Self::Baselines => BASELINES,
            Self::Gates => GATES,
            Self::Reviews => REVIEWS,
            Self::Directions => DIRECTIONS,
            Self::Resources => RESOURCES,
            Self::Lineage => LINEAGE,
            Self::Artifacts => ARTIFACTS,
            Self::Datasets => DATASETS,
            Self::Sweeps => SWEEPS,
            Self::Trials => TRIALS,
            Self::Budgets => BUDGETS,
        }
    }

    /// The columns that say which record it is: they make up the id of a record that is given none, and stay as they
    /// were first set. Empty for kinds whose records are all different ones.
    pub fn identity(self) -> &'static [&'static str] {
        match self {
            Self::Baselines => &["name", "version"],
            Self::Gates | Self::Reviews => &[],
            Self::Directions | Self::Resources | Self::Sweeps | Self::Budgets => &["name"],
            Self::Lineage => &["from_kind", "from_id", "relation", "to_kind", "to_id"],
            Self::Artifacts => &["name", "version"],
            Self::Datasets => &["name", "digest", "version"],
            Self::Trials => &["sweep", "number"],
        }
    }

    /// Where a column stands among [`Self::columns`].
    ///
    /// # Errors
    /// [`ModelError::RecordColumn`] names the columns that there are.
    pub fn column(self, name: &str) -> Result<usize> {
        let place = self.columns().iter().position(|column| column.name == name);
        place.ok_or_else(|| {
            let known: Vec<&str> = self.columns().iter().map(|column| column.name).collect();
            ModelError::RecordColumn { table: self.name(), column: beginning(name), known: known.join(", ") }
        })
    }
}

impl FromStr for RecordKind {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| ModelError::UnknownWord {
            what: "table of records",
            text: beginning(text),
            allowed: "artifacts, baselines, budgets, datasets, directions, gates, lineage, resources, reviews, sweeps, trials",
        })
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_has_columns_that_are_words_of_sql() {
        for kind in RecordKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            let names: BTreeSet<&str> = kind.columns().iter().map(|column| column.name).collect();
            assert_eq!(names.len(), kind.columns().len(), "{kind}");
            for name in &names {
                assert!(crate::ViewName::check(name).is_ok(), "{kind}.{name}");
                let common = ["project", "experiment", "run_id", "id", "author", "created", "updated"];
                assert!(!common.contains(name), "{kind}.{name}");
            }
            assert!(kind.identity().iter().all(|name| names.contains(name)), "{kind}");
        }
        let error = "gate".parse::<RecordKind>().unwrap_err().to_string();
        assert!(RecordKind::ALL.iter().all(|kind| error.contains(kind.name())), "{error}");
    }
}
