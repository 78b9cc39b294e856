//! `arg_max` and `arg_min` of many groups at once: what decides is compared as bytes, whatever its type.

use std::cmp::Ordering;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, new_null_array};
use arrow::compute::{not, nullif, prep_null_mask_filter};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, RowParser, SortField};
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

/// The best row of each group so far.
pub(super) struct Extremes {
    wanted: Ordering,
    value: Column,
    by: Column,
    best: Vec<Option<Best>>,
    bytes: usize,
}

/// A row as bytes that compare as its values do.
struct Best {
    by: Box<[u8]>,
    value: Box<[u8]>,
}

impl Best {
    fn bytes(&self) -> usize {
        self.by.len() + self.value.len()
    }
}

/// A column as rows of bytes.
struct Column {
    data_type: DataType,
    rows: RowConverter,
    parser: RowParser,
}

impl Column {
    fn new(data_type: &DataType) -> Result<Self> {
        let rows = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        Ok(Self { data_type: data_type.clone(), parser: rows.parser(), rows })
    }

    fn finish<'a>(&'a self, rows: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef> {
        let null = self.rows.convert_columns(&[new_null_array(&self.data_type, 1)])?;
        let rows = rows.map(|bytes| bytes.map_or_else(|| null.row(0), |bytes| self.parser.parse(bytes)));
        let mut columns = self.rows.convert_rows(rows)?;
        Ok(columns.swap_remove(0))
    }
}

impl Extremes {
    /// Whether columns of these types have rows of bytes.
    pub(super) fn takes(types: &[&DataType]) -> bool {
        types.iter().all(|data_type| {
            // An encoded dictionary comes back as its values.
            !matches!(data_type, DataType::Dictionary(..))
                && RowConverter::supports_fields(&[SortField::new((*data_type).clone())])
        })
    }

    pub(super) fn new(wanted: Ordering, value: &DataType, by: &DataType) -> Result<Self> {
        Ok(Self { wanted, value: Column::new(value)?, by: Column::new(by)?, best: Vec::new(), bytes: 0 })
    }

    fn take(
        &mut self,
        columns: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        self.best.resize_with(groups, || None);
        let (values, by) = (&columns[0], &columns[1]);
        // Also where NULL is not in a bitmap of its own, as in a column of nothing else.
        let (value_nulls, by_nulls) = (values.logical_nulls(), by.logical_nulls());
        let counts = |row: usize| {
            filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
                && value_nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
                && by_nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
        };
        let value_rows = self.value.rows.convert_columns(&[Arc::clone(values)])?;
        let by_rows = self.by.rows.convert_columns(&[Arc::clone(by)])?;
        for (row, group) in group_indices.iter().enumerate().filter(|(row, _)| counts(*row)) {
            let (by, value) = (by_rows.row(row), value_rows.row(row));
            let slot = &mut self.best[*group];
            let is_better = slot.as_ref().is_none_or(|best| match by.data().cmp(&best.by) {
                Ordering::Equal => value.data() < &*best.value,
                order => order == self.wanted,
            });
            if is_better {
                let best = Best { by: by.data().into(), value: value.data().into() };
                self.bytes += best.bytes();
                let before = slot.replace(best);
                self.bytes -= before.map_or(0, |before| before.bytes());
            }
        }
        Ok(())
    }

    fn emit(&mut self, emit_to: EmitTo) -> Vec<Option<Best>> {
        let emitted = emit_to.take_needed(&mut self.best);
        self.bytes -= emitted.iter().flatten().map(Best::bytes).sum::<usize>();
        emitted
    }
}

impl GroupsAccumulator for Extremes {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.take(values, group_indices, filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let best = self.emit(emit_to);
        self.value.finish(best.iter().map(|best| best.as_ref().map(|best| &*best.value)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let best = self.emit(emit_to);
        Ok(vec![
            self.value.finish(best.iter().map(|best| best.as_ref().map(|best| &*best.value)))?,
            self.by.finish(best.iter().map(|best| best.as_ref().map(|best| &*best.by)))?,
        ])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.take(values, group_indices, None, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        // A row is its own state; one that does not count is NULL.
        let Some(filter) = filter else { return Ok(values.to_vec()) };
        let counts = if filter.null_count() > 0 { prep_null_mask_filter(filter) } else { filter.clone() };
        let is_left_out = not(&counts)?;
        values.iter().map(|column| Ok(nullif(column, &is_left_out)?)).collect()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.best.capacity() * size_of::<Option<Best>>() + self.bytes
    }
}
