//! Records as rows of their tables, out and in, by the columns that their kind declares.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use model::record::RECORD_COLUMNS_BEFORE;
use model::schema::Table;
use model::{
    ExperimentName, FieldKind, FieldValue, ModelError, ProjectName, Record, RecordId, RecordKind, RunId,
};

use super::decode::RowError;
use super::encode::{batch, integer, number, optional_text, text, time};

/// Where the project stands in a row of any kind.
pub(crate) const PROJECT: usize = 0;
const EXPERIMENT: usize = 1;
/// Where the run stands.
pub(crate) const RUN: usize = 2;
/// Where the id stands.
pub(crate) const ID: usize = 3;

/// One row per record, in the given order; all are of this kind.
///
/// # Errors
/// Only when a column is too large for Arrow.
pub(crate) fn records<'a>(
    kind: RecordKind,
    records: impl Iterator<Item = &'a Record> + Clone,
) -> Result<RecordBatch, ArrowError> {
    let all = || records.clone();
    let mut columns = vec![
        text(all().map(|record| record.project.as_str())),
        optional_text(all().map(|record| record.experiment.as_ref().map(|name| name.as_str()))),
        optional_text(all().map(|record| record.run.map(|run| run.to_string()))),
        text(all().map(|record| record.id.as_str())),
    ];
    for (place, column) in kind.columns().iter().enumerate() {
        let values = || all().map(move |record| record.values.get(place)?.as_ref());
        let whole = || {
            values().map(|value| match value? {
                FieldValue::Integer(number) | FieldValue::Time(number) => Some(*number),
                _ => None,
            })
        };
        columns.push(match column.kind {
            FieldKind::Text | FieldKind::Word(_) | FieldKind::Document | FieldKind::Json => {
                optional_text(values().map(|value| value?.as_text()))
            }
            FieldKind::Integer => integer(whole()),
            FieldKind::Time => time(whole()),
            FieldKind::Number => number(values().map(|value| match value? {
                FieldValue::Number(number) => Some(*number),
                _ => None,
            })),
            FieldKind::Boolean => {
                let truths = values().map(|value| match value? {
                    FieldValue::Boolean(is) => Some(*is),
                    _ => None,
                });
                Arc::new(truths.collect::<BooleanArray>()) as ArrayRef
            }
        });
    }
    columns.extend([
        optional_text(all().map(|record| record.author.as_deref())),
        time(all().map(|record| Some(record.created))),
        time(all().map(|record| Some(record.updated))),
    ]);
    batch(Table::Records(kind), columns)
}

/// The record in a row of a batch that [`check`] took or [`records`] made.
pub(crate) fn record_of(kind: RecordKind, batch: &RecordBatch, row: usize) -> Option<Record> {
    let behind = RECORD_COLUMNS_BEFORE + kind.columns().len();
    let value = |(place, column): (usize, &model::RecordColumn)| {
        let place = RECORD_COLUMNS_BEFORE + place;
        match column.kind {
            FieldKind::Text | FieldKind::Word(_) | FieldKind::Document | FieldKind::Json => {
                text_at(batch, place, row).map(|text| FieldValue::Text(text.to_owned()))
            }
            FieldKind::Integer => value_at::<Int64Type>(batch, place, row).map(FieldValue::Integer),
            FieldKind::Number => value_at::<Float64Type>(batch, place, row).map(FieldValue::Number),
            FieldKind::Time => value_at::<TimestampMicrosecondType>(batch, place, row).map(FieldValue::Time),
            FieldKind::Boolean => {
                let array = batch.column(place).as_boolean_opt()?;
                array.is_valid(row).then(|| FieldValue::Boolean(array.value(row)))
            }
        }
    };
    Some(Record {
        kind,
        project: ProjectName::new(text_at(batch, PROJECT, row)?).ok()?,
        id: RecordId::new(text_at(batch, ID, row)?).ok()?,
        experiment: text_at(batch, EXPERIMENT, row).and_then(|name| ExperimentName::new(name).ok()),
        run: text_at(batch, RUN, row).and_then(|run| run.parse().ok()),
        author: text_at(batch, behind, row).map(str::to_owned),
        created: value_at::<TimestampMicrosecondType>(batch, behind + 1, row)?,
        updated: value_at::<TimestampMicrosecondType>(batch, behind + 2, row)?,
        values: kind.columns().iter().enumerate().map(value).collect(),
    })
}

/// Checks what makes the rows of a file records: project, id, experiment and run. What else stands in them was checked
/// when it was written and is under the seal of the file.
pub(crate) fn check(batch: &RecordBatch) -> Result<(), RowError> {
    let mut project = "";
    for row in 0..batch.num_rows() {
        let wrong = |source: ModelError| RowError::Value { row, source };
        let given = text_at(batch, PROJECT, row).ok_or(RowError::Null { column: "project", row })?;
        if given != project {
            ProjectName::new(given).map_err(wrong)?;
            project = given;
        }
        RecordId::check(text_at(batch, ID, row).ok_or(RowError::Null { column: "id", row })?)
            .map_err(wrong)?;
        if let Some(name) = text_at(batch, EXPERIMENT, row) {
            ExperimentName::check(name).map_err(wrong)?;
        }
        if let Some(run) = text_at(batch, RUN, row) {
            run.parse::<RunId>().map_err(wrong)?;
        }
    }
    Ok(())
}

/// The text at a place; `None` for NULL.
pub(crate) fn text_at(batch: &RecordBatch, column: usize, row: usize) -> Option<&str> {
    let array = batch.column(column).as_string_opt::<i32>()?;
    array.is_valid(row).then(|| array.value(row))
}

fn value_at<T: ArrowPrimitiveType>(batch: &RecordBatch, column: usize, row: usize) -> Option<T::Native> {
    let array = batch.column(column).as_primitive_opt::<T>()?;
    array.is_valid(row).then(|| array.value(row))
}

/// Bytes of all texts.
pub(crate) fn text_bytes(batch: &RecordBatch) -> usize {
    let texts = batch.columns().iter().filter_map(|column| column.as_string_opt::<i32>());
    let bytes = |texts: &StringArray| match (texts.value_offsets().first(), texts.value_offsets().last()) {
        (Some(first), Some(last)) => usize::try_from(last - first).unwrap_or_default(),
        _ => 0,
    };
    texts.map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use model::{RecordFields, RecordUpdate};

    use super::*;

    fn value(kind: FieldKind, number: usize) -> FieldValue {
        match kind {
            FieldKind::Text | FieldKind::Document => FieldValue::Text(format!("ü{number}\n")),
            FieldKind::Word(words) => FieldValue::Text(words[number % words.len()].to_owned()),
            FieldKind::Json => FieldValue::Text(format!("[{number}]")),
            FieldKind::Integer => FieldValue::Integer(i64::MIN + number as i64),
            FieldKind::Number => FieldValue::Number([-0.0, f64::NEG_INFINITY, 1e-300][number % 3]),
            FieldKind::Boolean => FieldValue::Boolean(number.is_multiple_of(2)),
            FieldKind::Time => FieldValue::Time(number as i64 - 2),
        }
    }

    #[test]
    fn records_of_every_kind_are_the_same_as_rows() {
        for kind in RecordKind::ALL {
            let records: Vec<Record> = (0..4)
                .map(|number| {
                    let mut fields = RecordFields::of(kind);
                    for (place, column) in kind.columns().iter().enumerate() {
                        if column.required || (place + number) % 3 > 0 {
                            fields.put(column.name, value(column.kind, place + number)).unwrap();
                        }
                    }
                    let id = RecordId::new(format!("id {number}")).unwrap();
                    let mut update = RecordUpdate::new(ProjectName::default(), id, fields, number as i64);
                    if number > 1 {
                        update.run = Some(RunId::from_u128(number as u128));
                        update.experiment = Some(ExperimentName::new("e").unwrap());
                        update.author = Some("ada".to_owned());
                    }
                    Record::updated(None, &update).unwrap()
                })
                .collect();
            let batch = super::records(kind, records.iter()).unwrap();
            check(&batch).unwrap();
            let back: Vec<Record> = (0..4).map(|row| record_of(kind, &batch, row).unwrap()).collect();
            assert_eq!(back, records);
            assert_eq!(text_bytes(&batch), records.iter().map(Record::text_bytes).sum::<usize>(), "{kind}");
        }
    }
}
