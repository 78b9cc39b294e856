//! Numbers for the groups of an aggregate whose keys are columns of few distinct texts, so that no row has to compare,
//! hash or copy a text.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray, UInt32Array};

use super::column_scan::ColumnTable;

/// Most groups that are numbered: every aggregate keeps a place for each, occupied or not.
const MOST_GROUPS: usize = 1 << 16;

/// A number for each distinct value of a column, over all pieces of a table.
#[derive(Debug, Default)]
pub(super) struct ColumnNumbers {
    values: Vec<Option<Arc<str>>>,
    found: HashMap<Option<Arc<str>>, u32>,
    /// By what the table calls its values, piece for piece or for all at once: their numbers.
    pub(super) numbers: Vec<Vec<u32>>,
}

impl ColumnNumbers {
    /// The number of a value.
    pub(super) fn number(&mut self, value: Option<&str>) -> u32 {
        // A look without an allocation is not to be had for an owned Option; there are few values.
        let value: Option<Arc<str>> = value.map(Arc::from);
        if let Some(number) = self.found.get(&value) {
            return *number;
        }
        let number = self.values.len() as u32;
        self.values.push(value.clone());
        self.found.insert(value, number);
        number
    }

    /// Number of distinct values.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are more values than groups can have.
    pub(super) fn is_too_many(&self) -> bool {
        self.len() > MOST_GROUPS
    }
}

/// A number for each combination of values of some columns.
#[derive(Debug)]
pub(super) struct GroupNumbers {
    /// With the position of each column in its table.
    columns: Vec<(usize, ColumnNumbers)>,
    groups: usize,
}

impl GroupNumbers {
    /// Numbers for the combinations of these columns; `None` where a column has no numbers, or there are too many
    /// combinations for the rows.
    pub(super) fn of<T: ColumnTable>(table: &T, columns: &[usize]) -> Option<Self> {
        let mut numbered = Vec::with_capacity(columns.len());
        let mut groups = 1_usize;
        for column in columns {
            let numbers = table.column_numbers(*column)?;
            groups = groups.checked_mul(numbers.len().max(1)).filter(|groups| *groups <= MOST_GROUPS)?;
            numbered.push((*column, numbers));
        }
        Some(Self { columns: numbered, groups })
    }

    /// Number of combinations.
    pub(super) fn len(&self) -> usize {
        self.groups
    }

    /// The combination of each of these rows.
    pub(super) fn of_rows<T: ColumnTable>(&self, table: &T, piece: usize, rows: &[T::Row]) -> UInt32Array {
        let mut combined = vec![0_u32; rows.len()];
        for (column, numbers) in &self.columns {
            let width = numbers.len() as u32;
            table.numbers_of(piece, rows, *column, numbers, |row, number| {
                if let Some(combined) = combined.get_mut(row) {
                    *combined = *combined * width + number;
                }
            });
        }
        UInt32Array::from(combined)
    }

    /// The values of these combinations, a column each.
    pub(super) fn values(&self, combinations: &[u32]) -> Vec<ArrayRef> {
        let mut below = 1_u32;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (_, numbers) in self.columns.iter().rev() {
            let width = (numbers.len() as u32).max(1);
            let value = |combined: &u32| numbers.values.get((combined / below % width) as usize)?.as_deref();
            columns.push(Arc::new(combinations.iter().map(value).collect::<StringViewArray>()));
            below *= width;
        }
        columns.reverse();
        columns
    }
}
