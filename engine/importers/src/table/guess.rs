//! Guessing what columns mean, from their names and the first rows.

use std::path::Path;

use super::mapping::{ColumnType, Mapping, Role};
use super::{Cell, Content, Form, PlannedColumn};
use crate::error::{ImportError, Result};
use crate::report::shortened;
use crate::{number, time};

/// The first rows of a table.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    columns: Vec<SampledColumn>,
    rows: usize,
}

#[derive(Debug)]
struct SampledColumn {
    name: String,
    numbers: usize,
    /// Numbers written without a decimal point.
    integers: usize,
    booleans: usize,
    texts: usize,
    others: usize,
    /// Cells that are times: by type, a calendar text, or a number that is a time of this century.
    times: usize,
    /// The texts of the first rows, `None` for empty cells.
    values: Vec<Option<String>>,
    decreasing: bool,
    last: f64,
}

/// How many values of a column are remembered to see whether they repeat.
const REMEMBERED: usize = 1_000;
/// How many values of a column a plan shows.
const SHOWN: usize = 3;

impl Sample {
    /// The place of a column, which is made when it is new.
    pub(crate) fn column(&mut self, name: &str) -> usize {
        if let Some(index) = self.columns.iter().position(|column| column.name == name) {
            return index;
        }
        self.columns.push(SampledColumn {
            name: name.to_owned(),
            numbers: 0,
            integers: 0,
            booleans: 0,
            texts: 0,
            others: 0,
            times: 0,
            values: Vec::new(),
            decreasing: false,
            last: f64::NEG_INFINITY,
        });
        self.columns.len() - 1
    }

    pub(crate) fn column_count(&self) -> usize {
        self.columns.len()
    }

    pub(crate) fn begin_row(&mut self) {
        self.rows += 1;
    }

    pub(crate) fn add(
        &mut self,
        column: usize,
        cell: Cell<'_>,
        text_is_number: impl Fn(&str) -> Option<f64>,
    ) {
        let row = self.rows;
        let Some(column) = self.columns.get_mut(column) else { return };
        if column.values.len() < REMEMBERED {
            column.values.resize(row.saturating_sub(1).min(REMEMBERED), None);
            column.values.push(super::rows::text_of(cell));
        }
        match cell {
            Cell::Empty => {}
            Cell::Text(text) => match text_is_number(text) {
                Some(number) => {
                    let whole =
                        text.trim().bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+'));
                    column.number(number, whole);
                }
                None => {
                    column.texts += 1;
                    column.times += usize::from(time::micros_from_text(text).is_some());
                }
            },
            Cell::Integer(integer) => column.number(integer as f64, true),
            Cell::Number(number) => column.number(number, false),
            Cell::Boolean(_) => column.booleans += 1,
            Cell::Time(_) => column.times += 1,
            Cell::Other => column.others += 1,
        }
    }
}

impl SampledColumn {
    fn number(&mut self, number: f64, whole: bool) {
        self.numbers += 1;
        self.integers += usize::from(whole);
        // From 1990 on, in seconds or a finer unit.
        self.times += usize::from(number > 6.3e8);
        self.decreasing |= number < self.last;
        self.last = number;
    }

    fn content(&self) -> Content {
        if self.numbers > 0 {
            Content::Numbers
        } else if self.texts + self.booleans + self.others + self.times > 0 {
            Content::Other
        } else {
            Content::Nothing
        }
    }

    fn is_named(&self, names: &[&str]) -> bool {
        let lower = self.name.trim().to_lowercase();
        names.contains(&lower.as_str())
    }
}

const RUN: [&str; 9] =
    ["run_id", "run", "runid", "run id", "run_uuid", "run_name", "trial_id", "run name", "experiment_run"];
const STEP: [&str; 21] = [
    "step",
    "global_step",
    "_step",
    "steps",
    "iteration",
    "iterations",
    "iter",
    "it",
    "training_iteration",
    "timestep",
    "timesteps",
    "time_step",
    "total_timesteps",
    "num_timesteps",
    "env_step",
    "env_steps",
    "frame",
    "batch",
    "epoch",
    "epochs",
    "xs",
];
const TIME: [&str; 11] = [
    "time",
    "timestamp",
    "ts",
    "_timestamp",
    "wall_time",
    "walltime",
    "datetime",
    "date",
    "created_at",
    "logged_at",
    "time_stamp",
];
const METRIC: [&str; 6] = ["metric", "metric_name", "key", "tag", "name", "variable"];
const VALUE: [&str; 3] = ["value", "metric_value", "val"];
const SEED: [&str; 2] = ["seed", "random_seed"];
/// Beside a seed, what tells apart curves that stand in one table without ids of runs.
const GROUP: [&str; 9] =
    ["task", "env", "env_id", "environment", "game", "agent", "algorithm", "algo", "method"];
/// The first column of a table of results: a row for each of these.
const RESULT: [&str; 6] = ["model", "model_name", "method", "algorithm", "algo", "configuration"];

/// Whether a key of a document names steps.
pub(crate) fn is_step_name(name: &str) -> bool {
    STEP.contains(&name.trim().to_lowercase().as_str())
}

/// Decides the form of a table and the roles of its columns.
pub(crate) fn decide(
    path: &Path,
    sample: &Sample,
    mapping: Option<&Mapping>,
) -> Result<(Form, Vec<PlannedColumn>)> {
    let mut columns: Vec<PlannedColumn> = sample
        .columns
        .iter()
        .map(|column| PlannedColumn {
            name: column.name.clone(),
            roles: Vec::new(),
            content: column.content(),
            first: column
                .values
                .iter()
                .take(SHOWN)
                .map(|value| value.as_deref().map(|text| shortened(text, 20)).unwrap_or_default())
                .collect(),
            column_type: None,
        })
        .collect();
    let form = match mapping {
        Some(mapping) if mapping.has_roles() => apply(path, mapping, &mut columns)?,
        _ => {
            let form = guess(sample, &mut columns);
            for (_, name) in mapping.map(Mapping::entries).unwrap_or_default() {
                find(path, &Role::Drop, name, &mut columns)?.roles = vec![Role::Drop];
            }
            form
        }
    };
    columns.iter_mut().for_each(|column| column.roles.sort());
    Ok((form, columns))
}

/// The column of a name.
fn find<'c>(
    path: &Path,
    what: &dyn std::fmt::Display,
    name: &str,
    columns: &'c mut [PlannedColumn],
) -> Result<&'c mut PlannedColumn> {
    let Some(index) = columns.iter().position(|column| column.name == name) else {
        let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).take(30).collect();
        return Err(ImportError::Mapping {
            text: format!("{what}={name}"),
            reason: format!("{} has no such column; it has {}", path.display(), known.join(", ")),
        });
    };
    // The index was found in it.
    columns.get_mut(index).ok_or_else(|| ImportError::Mapping {
        text: name.to_owned(),
        reason: "the column is not there".to_owned(),
    })
}

/// Gives columns the types that the user named, and checks that what is renamed is there.
pub(crate) fn give_types(
    path: &Path,
    mapping: &Mapping,
    form: Form,
    columns: &mut [PlannedColumn],
) -> Result<()> {
    for (kind, name) in mapping.types() {
        let column = find(path, &format_args!("type:{}", kind.as_str()), name, columns)?;
        column.column_type = Some(*kind);
        column.content = match kind {
            ColumnType::Text => Content::Other,
            _ => Content::Numbers,
        };
    }
    for (new, old) in mapping.renames() {
        // In the long form it is a value of a column, which may come later.
        if matches!(form, Form::Wide | Form::Histories) {
            find(path, &format_args!("rename:{new}"), old, columns)?;
        }
    }
    Ok(())
}

/// Gives columns the roles that the user named; nothing is guessed then.
fn apply(path: &Path, mapping: &Mapping, columns: &mut [PlannedColumn]) -> Result<Form> {
    for (role, name) in mapping.entries() {
        find(path, role, name, columns)?.roles.push(role.clone());
    }
    let long = columns.iter().any(|column| column.roles.contains(&Role::Metric));
    Ok(match (mapping.form(), long) {
        (Some(form), _) => form,
        (None, true) => Form::Long,
        (None, false) => Form::Wide,
    })
}

fn guess(sample: &Sample, columns: &mut [PlannedColumn]) -> Form {
    let find = |names: &[&str], fits: &dyn Fn(&SampledColumn) -> bool| {
        names.iter().find_map(|name| {
            sample.columns.iter().position(|column| column.is_named(&[name]) && fits(column))
        })
    };
    let mut give = |index: Option<usize>, role: Role| {
        if let Some(column) = index.and_then(|index| columns.get_mut(index)) {
            column.roles.push(role);
        }
    };
    // A bad cell among many does not change what a column is.
    let mostly_numbers =
        |column: &SampledColumn| (column.texts + column.booleans + column.others) * 2 <= column.numbers;
    let run = find(&RUN, &|column| column.others == 0);
    let mut step = find(&STEP, &|column| mostly_numbers(column));
    let time = find(&TIME, &|column| {
        let typed = column.times.saturating_sub(column.numbers + column.texts);
        let filled = column.numbers + column.texts + typed;
        // Small numbers in a column named `time` are a duration: a metric.
        filled == 0 || (column.others + column.booleans == 0 && column.times * 2 >= filled)
    });
    let metric = find(&METRIC, &|column| column.numbers == 0 && column.texts > 0);
    let value = find(&VALUE, &|column| column.numbers > 0 || column.content() == Content::Nothing);
    let seed = find(&SEED, &|column| column.others == 0);
    give(run, Role::Run);
    give(time, Role::Time);
    give(seed, Role::Param("seed".to_owned()));
    if let (Some(metric), Some(value)) = (metric, value) {
        give(Some(metric), Role::Metric);
        give(Some(value), Role::Value);
        give(step, Role::Step);
        // As objects in JSON are taken apart.
        for (index, column) in sample.columns.iter().enumerate() {
            if let Some(key) = column.name.strip_prefix("context.").filter(|key| !key.is_empty()) {
                give(Some(index), Role::Context(key.to_owned()));
            }
        }
        return Form::Long;
    }
    // pandas writes the numbers of the rows in front, without a name.
    let index = sample.columns.first().filter(|column| {
        column.is_named(&["(col 0)", "unnamed: 0"])
            && column.integers > 0
            && column.all_differ()
            && !column.decreasing
    });
    if step.is_some() && index.is_some_and(|index| index.integers == index.values.iter().flatten().count()) {
        give(Some(0), Role::Drop);
    }
    let Some(run) = run.and_then(|run| sample.columns.get(run)) else {
        if step.is_none() {
            // A first column of rising whole numbers counts something.
            step = sample
                .columns
                .first()
                .filter(|c| {
                    c.integers > 0
                        && c.integers == c.numbers
                        && mostly_numbers(c)
                        && !c.decreasing
                        && c.times == 0
                })
                .filter(|_| time != Some(0) && seed != Some(0))
                .map(|_| 0);
        }
        if step.is_none() && time.is_none() && is_of_results(sample) {
            give(Some(0), Role::Run);
            return Form::Results;
        }
        give(step, Role::Step);
        // Only where steps come again there is more than one curve.
        let repeats =
            step.and_then(|step| sample.columns.get(step)).is_some_and(|column| !column.all_differ());
        let tells_apart = |column: &SampledColumn| {
            let is_text = column.texts > 0 && column.numbers + column.others == 0;
            column.is_named(&GROUP) && is_text && column.has_several_values()
        };
        for (index, column) in sample.columns.iter().enumerate() {
            if repeats && tells_apart(column) {
                give(Some(index), Role::Run);
            }
        }
        let several_seeds =
            seed.and_then(|seed| sample.columns.get(seed)).is_some_and(SampledColumn::has_several_values);
        if several_seeds {
            give(seed, Role::Run);
        }
        return Form::Wide;
    };
    if step.is_none() && time.is_none() && run.all_differ() {
        return Form::Runs;
    }
    give(step, Role::Step);
    Form::Wide
}

/// Whether the rows of a table are results: the first column names what they are of, most names differ, and the others
/// hold numbers.
fn is_of_results(sample: &Sample) -> bool {
    let Some((first, others)) = sample.columns.split_first() else { return false };
    let different = first.values.iter().flatten().collect::<std::collections::HashSet<_>>().len();
    first.is_named(&RESULT)
        && first.numbers == 0
        && different * 2 > first.values.len()
        && others.iter().any(|column| column.content() == Content::Numbers)
}

impl SampledColumn {
    fn all_differ(&self) -> bool {
        let mut seen = std::collections::HashSet::new();
        !self.values.is_empty()
            && self.values.iter().all(|value| value.as_ref().is_some_and(|v| seen.insert(v)))
    }

    /// Whether there is more than one value.
    fn has_several_values(&self) -> bool {
        let mut values = self.values.iter().flatten();
        values.next().is_some_and(|first| values.any(|value| value != first))
    }
}

/// The number that a text of a delimited file spells.
pub(crate) fn text_number(text: &str, decimal_comma: bool) -> Option<f64> {
    if decimal_comma { number::parse_number_with_decimal_comma(text) } else { number::parse_number(text) }
}
