//! `params` and `tags`: one row a run and key.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray, UInt32Array};
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use model::schema::Table;
use store::{KeyColumn, Place, RunField, RunOrdinal, RunPiece};

use super::column_scan::{ColumnScan, ColumnTable, Request};
use super::constraints::Constraints;
use super::group_numbers::ColumnNumbers;
use super::keys_needed::NeededKeys;
use super::{SnapshotTable, runs};

/// A scan; with `key = ...` it reads only the columns of those keys.
pub(super) fn scan(
    shown: &SnapshotTable,
    table: Table,
    constraints: &Constraints,
    request: &Request<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let runs = runs::pieces(&shown.snapshot, &shown.access, constraints);
    let mut columns = Vec::new();
    for (piece, runs) in runs.iter().enumerate() {
        let keys = match table {
            Table::Params => runs.columns.params(),
            _ => runs.columns.tags(),
        };
        let wanted = keys.iter().filter(|column| constraints.allows("key", column.key()));
        columns.extend(wanted.map(|column| (piece, Arc::from(column.key()))));
    }
    let table = KeyValues { table, runs, columns };
    ColumnScan::plan(table, &shown.schema, &NeededKeys::default(), request)
}

/// A piece is one key of the runs of one piece.
pub(super) struct KeyValues {
    table: Table,
    runs: Vec<RunPiece>,
    columns: Vec<(usize, Arc<str>)>,
}

impl KeyValues {
    fn column(&self, piece: usize) -> Option<(&RunPiece, &KeyColumn)> {
        let (runs, key) = self.columns.get(piece)?;
        let runs = self.runs.get(*runs)?;
        let keys = match self.table {
            Table::Params => runs.columns.params(),
            _ => runs.columns.tags(),
        };
        Some((runs, keys.get(key)?))
    }
}

impl ColumnTable for KeyValues {
    type Row = Place;

    fn name(&self) -> &'static str {
        self.table.name()
    }

    fn pieces(&self) -> usize {
        self.columns.len()
    }

    fn rows_in(&self, piece: usize) -> usize {
        self.column(piece).map_or(0, |(runs, column)| runs.places.len().min(column.len()))
    }

    fn is_exact(&self) -> bool {
        self.runs.iter().all(|runs| runs.places.len() == runs.columns.places().len())
    }

    fn rows(&self, piece: usize) -> Vec<Place> {
        let Some((runs, column)) = self.column(piece) else { return Vec::new() };
        let codes = column.codes_at(&runs.places);
        runs.places.iter().zip(codes).filter(|(_, code)| code.is_some()).map(|(place, _)| *place).collect()
    }

    fn run_ordinals(&self, piece: usize, rows: &[Place]) -> UInt32Array {
        let first = self.column(piece).map_or(0, |(runs, _)| runs.first);
        UInt32Array::from_iter_values(rows.iter().map(|place| first + RunOrdinal::from(*place)))
    }

    fn column_numbers(&self, column: usize) -> Option<ColumnNumbers> {
        match column {
            0 => runs::coded_numbers(&self.runs, RunField::Project),
            1 => runs::coded_numbers(&self.runs, RunField::Experiment),
            3 => {
                let mut known = ColumnNumbers::default();
                for (_, key) in &self.columns {
                    let number = known.number(Some(key));
                    known.numbers.push(vec![number]);
                }
                Some(known)
            }
            _ => None,
        }
    }

    fn numbers_of(
        &self,
        piece: usize,
        rows: &[Place],
        column: usize,
        numbers: &ColumnNumbers,
        mut tell: impl FnMut(usize, u32),
    ) {
        let field = match column {
            0 => RunField::Project,
            1 => RunField::Experiment,
            _ => {
                let number = numbers.numbers.get(piece).and_then(|of_piece| of_piece.first());
                (0..rows.len()).for_each(|at| tell(at, number.copied().unwrap_or_default()));
                return;
            }
        };
        let Some((of_runs, _)) = self.columns.get(piece) else { return };
        if let Some(piece) = self.runs.get(*of_runs) {
            runs::tell_coded(piece, rows, field, numbers.numbers.get(*of_runs), tell);
        }
    }

    fn columns(
        &self,
        piece: usize,
        rows: &[Place],
        columns: &[usize],
        _needed: &NeededKeys,
    ) -> Result<Vec<ArrayRef>> {
        let Some((runs, column)) = self.column(piece) else { return Ok(Vec::new()) };
        let array = |position: &usize| -> ArrayRef {
            match position {
                0 => runs.columns.array(RunField::Project, rows),
                1 => runs.columns.array(RunField::Experiment, rows),
                2 => runs.columns.array(RunField::RunId, rows),
                3 => Arc::new(rows.iter().map(|_| Some(column.key())).collect::<StringViewArray>()),
                4 => Arc::new(column.text_array(rows)),
                _ => Arc::new(column.number_array(rows)),
            }
        };
        Ok(columns.iter().map(array).collect())
    }
}
