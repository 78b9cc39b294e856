//! Optuna's SQLite file. Schema from `optuna/storages/_rdb/models.py`; read from version 2.4 on, before which a trial had
//! one value.

use std::collections::BTreeMap;

use rusqlite::Statement;

use super::study::{State, Study, Trial};
use crate::error::{ImportError, Result, beginning};
use crate::files;
use crate::report::Reporter;
use crate::sink::Place;
use crate::source::Unit;
use crate::sqlite::{self, Database, integer, number, text};
use crate::time::micros_from_text;

/// The tables by which a storage is known.
pub(super) const TABLES: [&str; 4] = ["studies", "trials", "trial_params", "trial_intermediate_values"];

pub(super) fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    let file = unit.path.as_path();
    let modified = files::modified_micros(&files::open_regular(file, reporter.limits)?.1);
    let database = Database::open(file, reporter.limits)?;
    if !database.has_table("study_directions") || !database.has_column("trial_values", "objective")? {
        let reason = "its schema is older than Optuna 2.4; `optuna storage upgrade` of a newer Optuna makes it readable";
        return Err(ImportError::unreadable(file, "an Optuna storage", reason));
    }
    let mut studies = database.prepare("SELECT study_id, study_name FROM studies ORDER BY study_id")?;
    let mut rows = database.query(&mut studies)?;
    let mut found = Vec::new();
    while let Some(row) = database.next(&mut rows)? {
        let Some(id) = integer(row, 0) else { continue };
        found.push((id, text(row, 1).unwrap_or_default()));
    }
    for (id, name) in found {
        let study = Study {
            name,
            directions: directions(&database, id)?,
            user_attributes: attributes(
                &database,
                &mut database
                    .prepare("SELECT key, value_json FROM study_user_attributes WHERE study_id = ?1")?,
                id,
            )?,
            system_attributes: attributes(
                &database,
                &mut database
                    .prepare("SELECT key, value_json FROM study_system_attributes WHERE study_id = ?1")?,
                id,
            )?,
        };
        read_trials(&database, unit, (id, &study), modified, reporter)?;
    }
    reporter.bytes.add(sqlite::size_of(file));
    Ok(())
}

fn directions(database: &Database, study: i64) -> Result<Vec<String>> {
    let mut statement =
        database.prepare("SELECT direction FROM study_directions WHERE study_id = ?1 ORDER BY objective")?;
    let mut rows = statement.query([study]).map_err(|error| database.error(&error))?;
    let mut found = Vec::new();
    while let Some(row) = database.next(&mut rows)? {
        found.push(text(row, 0).unwrap_or_default());
    }
    Ok(found)
}

fn attributes(
    database: &Database,
    statement: &mut Statement<'_>,
    id: i64,
) -> Result<BTreeMap<String, String>> {
    let mut rows = statement.query([id]).map_err(|error| database.error(&error))?;
    let mut found = BTreeMap::new();
    while let Some(row) = database.next(&mut rows)? {
        found.insert(text(row, 0).unwrap_or_default(), text(row, 1).unwrap_or_default());
    }
    Ok(found)
}

/// A number and the word for what it is: versions from 3.0 on name infinities and NaN, older ones have the number only.
fn typed(value: Option<f64>, kind: Option<&str>) -> Option<f64> {
    match kind {
        Some("INF_POS") => Some(f64::INFINITY),
        Some("INF_NEG") => Some(f64::NEG_INFINITY),
        Some("NAN") => Some(f64::NAN),
        _ => value,
    }
}

fn read_trials(
    database: &Database,
    unit: &Unit,
    (study_id, study): (i64, &Study),
    modified: i64,
    reporter: &mut Reporter<'_>,
) -> Result<()> {
    let file = unit.path.as_path();
    // The columns of the types came with version 3.0.
    let kind = |table: &str, column: &'static str| -> Result<&'static str> {
        Ok(if database.has_column(table, column)? { column } else { "NULL" })
    };
    let value_kind = kind("trial_values", "value_type")?;
    let intermediate_kind = kind("trial_intermediate_values", "intermediate_value_type")?;
    let mut trials = database.prepare(
        "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials WHERE study_id = ?1 \
         ORDER BY trial_id",
    )?;
    let mut params = database.prepare(
        "SELECT param_name, param_value, distribution_json FROM trial_params WHERE trial_id = ?1 ORDER BY param_id",
    )?;
    let mut values = database.prepare(&format!(
        "SELECT objective, value, {value_kind} FROM trial_values WHERE trial_id = ?1 ORDER BY objective"
    ))?;
    let mut intermediate = database.prepare(&format!(
        "SELECT step, intermediate_value, {intermediate_kind} FROM trial_intermediate_values WHERE trial_id = ?1 \
         ORDER BY trial_intermediate_value_id"
    ))?;
    let mut user =
        database.prepare("SELECT key, value_json FROM trial_user_attributes WHERE trial_id = ?1")?;
    let mut system =
        database.prepare("SELECT key, value_json FROM trial_system_attributes WHERE trial_id = ?1")?;
    let failed = |error: rusqlite::Error| database.error(&error);
    let mut rows = trials.query([study_id]).map_err(failed)?;
    let mut count = 0_i64;
    while let Some(row) = database.next(&mut rows)? {
        let Some(id) = integer(row, 0) else { continue };
        let place = Place::Row(u64::try_from(id).unwrap_or(0));
        let word = text(row, 2).unwrap_or_default();
        let Some(state) = State::from_word(&word) else {
            reporter.reject(file, place, "status.unknown", || {
                format!("trial {id}: state {:?} is unknown", beginning(&word))
            })?;
            continue;
        };
        let micros = |index| text(row, index).and_then(|time| micros_from_text(&time));
        let mut trial = Trial {
            number: integer(row, 1).unwrap_or(count),
            state,
            start: micros(3),
            complete: micros(4),
            user_attributes: attributes(database, &mut user, id)?,
            system_attributes: attributes(database, &mut system, id)?,
            ..Trial::default()
        };
        count = count.saturating_add(1);
        let mut rows = params.query([id]).map_err(failed)?;
        while let Some(row) = database.next(&mut rows)? {
            let (name, internal) = (text(row, 0).unwrap_or_default(), number(row, 1).unwrap_or(f64::NAN));
            trial.params.insert(name, (internal, text(row, 2).unwrap_or_default()));
        }
        let mut rows = values.query([id]).map_err(failed)?;
        while let Some(row) = database.next(&mut rows)? {
            trial.values.push(typed(number(row, 1), text(row, 2).as_deref()));
        }
        let mut rows = intermediate.query([id]).map_err(failed)?;
        while let Some(row) = database.next(&mut rows)? {
            // A report of nothing is NaN, as Optuna reads it.
            let value = typed(number(row, 1), text(row, 2).as_deref()).unwrap_or(f64::NAN);
            match integer(row, 0) {
                Some(step) => drop(trial.intermediate.insert(step, value)),
                None => reporter.reject(file, place, "step.missing", || {
                    format!("trial {id}: a reported value has no step")
                })?,
            }
        }
        study.hand_on(&trial, unit, place, modified, reporter)?;
    }
    if count == 0 {
        reporter.remark(file, Place::File, "study.empty", &study.name, 1, || {
            format!("study {:?} has no trials", beginning(&study.name))
        });
    }
    Ok(())
}
