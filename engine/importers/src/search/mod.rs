//! Searches for hyperparameters as their own tools keep them: BOHB (HpBandSter), SMAC 1 and 2 (also what DEHB writes through
//! it), DeepCAVE's recorder, AMLTK. A configuration is a run, its evaluations are points over the budget.

mod amltk;
mod bohb;
mod deepcave;
mod smac;

pub(crate) use self::amltk::Amltk;
pub(crate) use self::bohb::Bohb;
pub(crate) use self::deepcave::DeepCave;
pub(crate) use self::smac::Smac;

use std::path::Path;

use indexmap::IndexMap;
use jiter::JsonValue;
use model::RunStatus;

use crate::configuration::{Params, params_of};
use crate::json;
use crate::number::Step;
use crate::report::Reporter;
use crate::scored::{Score, Scored};
use crate::sink::Place;
use crate::source::{ClaimedFile, Found, FoundUnit, Search, SourceKind, Unit};

/// A unit for each folder in which a file of this name was claimed; `beside` are read with it where they stand there.
fn folders(
    kind: SourceKind,
    files: Vec<ClaimedFile>,
    (main, beside): (&str, &[&str]),
    search: &Search<'_>,
) -> Found {
    let mains = files.into_iter().filter(|file| file.path.ends_with(main));
    let units = mains.map(|ClaimedFile { path, size }| {
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        let others = beside.iter().map(|name| folder.join(name));
        let is_file = |path: &std::path::PathBuf| {
            std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
        };
        let files = std::iter::once(path).chain(others.filter(is_file)).collect();
        let name = search.folder_name(&folder);
        FoundUnit { store: search.root.to_owned(), unit: Unit::new(kind, folder, name, files), bytes: size }
    });
    units.collect::<Vec<_>>().into()
}

/// Configurations in the order in which they were first evaluated.
struct Configurations<'u> {
    unit: &'u Unit,
    runs: IndexMap<String, Scored>,
}

impl<'u> Configurations<'u> {
    fn of(unit: &'u Unit) -> Self {
        Self { unit, runs: IndexMap::new() }
    }

    fn entry(&mut self, id: &str) -> &mut Scored {
        self.runs
            .entry(id.to_owned())
            .or_insert_with(|| Scored::new(id.to_owned(), format!("{}/{id}", self.unit.name)))
    }

    /// The values of a configuration. Those that were never evaluated are runs too, which still wait.
    fn configure(&mut self, id: &str, values: Params) {
        let waits = !self.runs.contains_key(id);
        let run = self.entry(id);
        run.params = values;
        if waits {
            run.status = RunStatus::Scheduled;
        }
    }

    /// Hands on all runs.
    fn hand_on(self, file: &Path, modified: i64, reporter: &mut Reporter<'_>) -> crate::Result<()> {
        for run in self.runs.into_values() {
            run.hand_on(self.unit, file, modified, reporter)?;
        }
        Ok(())
    }
}

/// One evaluation: costs by objective at a budget.
struct Evaluation {
    step: Step,
    time: Option<i64>,
    place: Place,
}

impl Evaluation {
    /// A cost, or one for each objective; `None` where it holds no number.
    fn scores(&self, metric: &str, costs: &JsonValue<'_>) -> Option<Vec<Score>> {
        let score = |metric: String, value: f64| Score {
            metric,
            step: self.step,
            time: self.time,
            value,
            place: self.place,
        };
        match costs {
            JsonValue::Array(costs) => {
                let numbers = costs.iter().map(json::number).enumerate();
                Some(
                    numbers
                        .filter_map(|(index, cost)| Some(score(format!("{metric}_{index}"), cost?)))
                        .collect::<Vec<_>>(),
                )
                .filter(|scores| !scores.is_empty())
            }
            cost => Some(vec![score(metric.to_owned(), json::number(cost)?)]),
        }
    }
}

/// The step of a budget, which is 0 where there is none.
fn step_of(budget: Option<&JsonValue<'_>>) -> Option<Step> {
    match budget {
        None | Some(JsonValue::Null) => Some(Step::whole(0)),
        Some(budget) => json::number(budget).and_then(Step::from_f64),
    }
}

/// The configurations of an object `{"1": {…}}`; those that are no objects are told to `fault`.
fn configurations_in<'v>(
    object: &'v JsonValue<'_>,
    depth: usize,
    fault: &mut dyn FnMut(String),
) -> Vec<(&'v str, Params)> {
    let JsonValue::Object(object) = object else {
        fault("the configurations are no object".to_owned());
        return Vec::new();
    };
    let mut found = Vec::new();
    for (id, values) in object.iter() {
        match params_of(values, depth) {
            Ok(params) => found.push((id.as_ref(), params)),
            Err(reason) => fault(format!("configuration {id}: {reason}")),
        }
    }
    found
}
