//! MLflow's SQLite file: `experiments, runs, metrics, params, tags, inputs, input_tags, datasets`.
//!
//! Schema from `mlflow/store/tracking/dbmodels/models.py`. MLflow itself stores NaN as 0 with `is_nan`, which is undone;
//! an infinity as ±1.7976931348623157e308, which cannot be told from that number and is taken as it stands, and told.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use model::{MetricName, Point, RunId, RunStatus};

use super::meta::ExperimentMeta;
use crate::error::{Result, beginning};
use crate::report::{Reporter, SeriesIndex};
use crate::sink::{DatasetInput, Place};
use crate::source::Unit;
use crate::sqlite::{self, ByKey, Database, integer, number, text};

/// The tables by which a store is known.
pub(super) const TABLES: [&str; 5] = ["experiments", "runs", "metrics", "params", "tags"];

/// Tables of things that are not imported, and how they are called.
const LEFT: [(&str, &str); 5] = [
    ("trace_info", "traces"),
    ("logged_models", "logged models"),
    ("logged_model_metrics", "metrics of logged models"),
    ("registered_models", "registered models"),
    ("assessments", "assessments"),
];

pub(super) fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    let file = unit.path.as_path();
    let database = Database::open(file, reporter.limits)?;
    let runs = read_runs(unit, &database, reporter)?;
    read_metrics(file, &database, &runs, reporter)?;
    for (table, what) in LEFT {
        if database.has_table(table)
            && let count @ 1.. = database.count(table)?
        {
            reporter.remark(file, Place::File, "ignored.table", table, count, || {
                format!("{what} are not imported")
            });
        }
    }
    reporter.bytes.add(sqlite::size_of(file));
    Ok(())
}

fn experiments(database: &Database) -> Result<HashMap<i64, ExperimentMeta>> {
    let mut statement = database.prepare("SELECT experiment_id, name, lifecycle_stage FROM experiments")?;
    let mut rows = database.query(&mut statement)?;
    let mut found = HashMap::new();
    while let Some(row) = database.next(&mut rows)? {
        let Some(id) = integer(row, 0) else { continue };
        let deleted = text(row, 2).is_some_and(|stage| stage == "deleted");
        let name = text(row, 1).filter(|name| !name.is_empty()).unwrap_or_else(|| id.to_string());
        found.insert(id, ExperimentMeta { name, deleted });
    }
    Ok(found)
}

/// Hands on all runs in the order of their ids, each with its params, tags and datasets.
fn read_runs(
    unit: &Unit,
    database: &Database,
    reporter: &mut Reporter<'_>,
) -> Result<HashMap<String, RunId>> {
    let file = unit.path.as_path();
    let experiments = experiments(database)?;
    let mut params = database.prepare("SELECT run_uuid, key, value FROM params ORDER BY run_uuid, rowid")?;
    let mut params = ByKey::new(database, &mut params)?;
    let mut tags = database.prepare("SELECT run_uuid, key, value FROM tags ORDER BY run_uuid, rowid")?;
    let mut tags = ByKey::new(database, &mut tags)?;
    let mut datasets = datasets(database)?;
    let mut statement = database.prepare(
        "SELECT run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, experiment_id FROM runs \
         ORDER BY run_uuid",
    )?;
    let mut rows = database.query(&mut statement)?;
    let mut runs = HashMap::new();
    while let Some(row) = database.next(&mut rows)? {
        let Some(id) = text(row, 0).filter(|id| !id.is_empty()) else {
            reporter.reject(file, Place::File, "run.missing", || "a run has no id".to_owned())?;
            continue;
        };
        let mut run = reporter.blank_run(unit.kind, id.clone(), &id);
        let experiment = integer(row, 7).and_then(|id| experiments.get(&id));
        if let Some(experiment) = experiment {
            reporter.put_into_experiment(&mut run, file, &experiment.name)?;
        }
        while let Some((key, value)) = params.next_of(&id)? {
            reporter.param(&mut run.params, file, &key, &value)?;
        }
        let mut labels = BTreeMap::new();
        while let Some((key, value)) = tags.next_of(&id)? {
            reporter.tag(&mut run.tags, file, &key, &value)?;
            labels.insert(key, value);
        }
        super::name_by_tags(&mut run, &labels, text(row, 1).as_deref(), text(row, 2).as_deref());
        let status = text(row, 3).unwrap_or_default();
        match status.parse::<RunStatus>() {
            Ok(status) => run.status = status,
            Err(_) => {
                run.status = RunStatus::Running;
                reporter.reject(file, Place::File, "status.unknown", || {
                    format!("run {id}: status {:?} is unknown", beginning(&status))
                })?;
            }
        }
        let micros = |index| integer(row, index).and_then(|millis| millis.checked_mul(1_000));
        run.start_time = micros(4);
        run.end_time = micros(5);
        run.deleted = text(row, 6).is_some_and(|stage| stage == "deleted")
            || experiment.is_some_and(|experiment| experiment.deleted);
        run.datasets = datasets.remove(&id).unwrap_or_default();
        runs.insert(id, run.id);
        reporter.run(run)?;
    }
    for (what, count) in [("params", params.without_owner()?), ("tags", tags.without_owner()?)] {
        if count > 0 {
            reporter.reject(file, Place::File, "run.unknown", || {
                format!("{count} {what} are of runs that the store does not have")
            })?;
        }
    }
    Ok(runs)
}

/// The datasets that runs used, by run.
fn datasets(database: &Database) -> Result<HashMap<String, Vec<DatasetInput>>> {
    let mut found: HashMap<String, Vec<DatasetInput>> = HashMap::new();
    if !["inputs", "input_tags", "datasets"].iter().all(|table| database.has_table(table)) {
        return Ok(found);
    }
    let mut tags = database.prepare("SELECT name, value FROM input_tags WHERE input_uuid = ?1")?;
    let mut statement = database.prepare(
        "SELECT i.destination_id, i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source \
         FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id \
         WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' ORDER BY i.destination_id, i.rowid",
    )?;
    let mut rows = database.query(&mut statement)?;
    while let Some(row) = database.next(&mut rows)? {
        let field = |index| text(row, index).unwrap_or_default();
        let mut labels = BTreeMap::new();
        let mut input_tags = tags.query([field(1)]).map_err(|error| database.error(&error))?;
        while let Some(row) = database.next(&mut input_tags)? {
            labels.insert(text(row, 0).unwrap_or_default(), text(row, 1).unwrap_or_default());
        }
        found.entry(field(0)).or_default().push(DatasetInput {
            name: field(2),
            digest: field(3),
            source_type: field(4),
            source: field(5),
            tags: labels,
        });
    }
    Ok(found)
}

fn read_metrics(
    file: &Path,
    database: &Database,
    runs: &HashMap<String, RunId>,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    // By run, so that only the series of one run are open; within it in the order in which the points arrived.
    // The columns came with versions 1.0 and 1.4.
    let column = |name: &'static str| -> Result<&'static str> {
        Ok(if database.has_column("metrics", name)? { name } else { "0" })
    };
    let (step, is_nan) = (column("step")?, column("is_nan")?);
    let mut statement = database.prepare(&format!(
        "SELECT run_uuid, key, value, timestamp, {step}, {is_nan}, rowid FROM metrics ORDER BY run_uuid, rowid"
    ))?;
    let mut rows = database.query(&mut statement)?;
    let mut run: Option<(String, RunId)> = None;
    let mut series: HashMap<String, Option<SeriesIndex>> = HashMap::new();
    while let Some(row) = database.next(&mut rows)? {
        let place = Place::Row(integer(row, 6).and_then(|row| u64::try_from(row).ok()).unwrap_or(0));
        let same = matches!((&run, row.get_ref(0)), (Some((id, _)), Ok(found)) if found.as_str() == Ok(id));
        if !same {
            reporter.close_series()?;
            series.clear();
            run = text(row, 0).and_then(|id| runs.get(&id).map(|found| (id, *found)));
        }
        let Some((_, run)) = &run else {
            reporter.reject(file, place, "run.unknown", || {
                "the point is of a run that the store does not have".to_owned()
            })?;
            continue;
        };
        let Some(key) = text(row, 1) else {
            reporter.reject(file, place, "metric.missing", || "the point names no metric".to_owned())?;
            continue;
        };
        let nan = integer(row, 5).unwrap_or(0) != 0;
        let value = if nan { Some(f64::NAN) } else { number(row, 2) };
        let time = integer(row, 3).and_then(|millis| millis.checked_mul(1_000));
        let (Some(value), Some(time), Some(step)) = (value, time, integer(row, 4)) else {
            reporter.reject(file, place, "point.malformed", || {
                format!("{}: value, time or step is missing or no number", beginning(&key))
            })?;
            continue;
        };
        if value.abs() == f64::MAX {
            reporter.remark(file, place, "value.clamped", "", 1, || {
                "values of ±1.7976931348623157e308 are what MLflow's SQLite store makes of infinities; they are taken \
                 as they stand"
                    .to_owned()
            });
        }
        let opened = match series.get(&key) {
            Some(opened) => *opened,
            None => {
                let opened = match MetricName::new(&key) {
                    Ok(metric) => Some(reporter.series(file, *run, metric, None)?),
                    Err(_) => None,
                };
                series.insert(key.clone(), opened);
                opened
            }
        };
        match opened {
            Some(series) => reporter.point(series, Point { step, step_fraction: None, time, value })?,
            None => reporter.reject(file, place, "metric.refused", || {
                format!("the key {:?} cannot name a metric", beginning(&key))
            })?,
        }
    }
    reporter.close_series()
}
