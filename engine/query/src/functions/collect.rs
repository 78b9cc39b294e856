//! Aggregates that need all values of a group at once: collects them and hands all groups over in one batch.

use std::fmt::Debug;
use std::hash::Hash;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, internal_err, not_impl_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature,
};
use datafusion::physical_expr::expressions::Literal;

use super::definition::{ArgumentKind, Constants, Definition};

/// What tells the rows of one group apart, beside their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowKey {
    /// Nothing.
    None,
    /// The step.
    Step,
    /// One of two labels, kept as 0 and 1; rows with another label do not count.
    Arm([String; 2]),
}

/// The values of all groups: those of group `g` are `values[offsets[g]..offsets[g + 1]]`, in order of arrival.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Groups {
    /// Where each group starts; one more element than there are groups.
    pub(super) offsets: Vec<usize>,
    /// The values.
    pub(super) values: Vec<f64>,
    /// The step or arm of each value; empty without keys.
    pub(super) keys: Vec<i64>,
}

impl Groups {
    /// The number of groups.
    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The values of each group.
    pub(super) fn values(&self) -> impl Iterator<Item = &[f64]> {
        self.offsets.windows(2).map(|ends| &self.values[ends[0]..ends[1]])
    }

    /// The keys and values of each group.
    pub(super) fn keyed(&self) -> impl Iterator<Item = (&[i64], &[f64])> {
        self.offsets.windows(2).map(|ends| (&self.keys[ends[0]..ends[1]], &self.values[ends[0]..ends[1]]))
    }
}

/// One call with its constants read: from groups to results.
pub(super) trait Finish: Send + Sync + Debug {
    /// What tells rows apart.
    fn row_key(&self) -> RowKey {
        RowKey::None
    }

    /// One result a group.
    fn finish(&self, groups: &Groups) -> Result<ArrayRef>;
}

/// An aggregate over collected values.
pub(super) trait CollectingFunction:
    Debug + Clone + Send + Sync + PartialEq + Eq + Hash + 'static
{
    /// Its description.
    fn definition(&self) -> &'static Definition;

    /// Its type.
    fn return_type(&self) -> DataType;

    /// Checks the constants of a call.
    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>>;
}

/// Makes a [`CollectingFunction`] an aggregate of DataFusion.
#[derive(Debug, Clone)]
pub(super) struct Collecting<F> {
    function: F,
    signature: Signature,
    documentation: Arc<Documentation>,
}

impl<F: CollectingFunction> Collecting<F> {
    pub(super) fn new(function: F) -> Self {
        let definition = function.definition();
        Self {
            signature: definition.signature(),
            documentation: Arc::new(definition.documentation()),
            function,
        }
    }

    fn position(&self, kinds: &[ArgumentKind]) -> Option<usize> {
        self.function.definition().parameters.iter().position(|p| kinds.contains(&p.kind))
    }

    fn rows(&self, arguments: &AccumulatorArgs<'_>) -> Result<Rows> {
        let name = self.function.definition().name;
        if arguments.is_distinct {
            return plan_err!(
                "{name}(DISTINCT ...) beside other aggregates is not supported: ask for it by itself"
            );
        }
        let constants: Vec<Option<ScalarValue>> = arguments
            .exprs
            .iter()
            .map(|expression| expression.downcast_ref::<Literal>().map(|l| l.value().clone()))
            .collect();
        let finish = self.function.prepare(&Constants::new(self.function.definition(), &constants)?)?;
        let Some(value_at) = self.position(&[ArgumentKind::Value]) else {
            return internal_err!("{name} has no column of values");
        };
        let row_key = finish.row_key();
        let key_at = match row_key {
            RowKey::None => None,
            RowKey::Step => self.position(&[ArgumentKind::Step]),
            RowKey::Arm(_) => self.position(&[ArgumentKind::Label]),
        };
        Ok(Rows {
            finish,
            value_at,
            key_at,
            row_key,
            group_count: 0,
            groups: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
        })
    }
}

impl<F: PartialEq> PartialEq for Collecting<F> {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl<F: Eq> Eq for Collecting<F> {}

impl<F: Hash> Hash for Collecting<F> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

impl<F: CollectingFunction> AggregateUDFImpl for Collecting<F> {
    fn name(&self) -> &str {
        self.function.definition().name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _argument_types: &[DataType]) -> Result<DataType> {
        Ok(self.function.return_type())
    }

    fn coerce_types(&self, argument_types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.definition().coerce(argument_types)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let mut rows = self.rows(&arguments)?;
        rows.group_count = 1;
        Ok(Box::new(OneGroup(rows)))
    }

    fn create_sliding_accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!(
            "{} over a moving window frame: use it with GROUP BY, or with a frame that starts at UNBOUNDED PRECEDING",
            self.name()
        )
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.rows(&arguments)?))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |name: &str, item: DataType| {
            let item = Arc::new(Field::new_list_field(item, false));
            Arc::new(Field::new(format_state_name(arguments.name, name), DataType::List(item), true))
        };
        let mut fields = vec![list("values", DataType::Float64)];
        if self.position(&[ArgumentKind::Step, ArgumentKind::Label]).is_some() {
            fields.push(list("keys", DataType::Int64));
        }
        Ok(fields)
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        datafusion::logical_expr::utils::AggregateOrderSensitivity::Insensitive
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The rows of all groups as they came.
#[derive(Debug)]
struct Rows {
    finish: Arc<dyn Finish>,
    value_at: usize,
    key_at: Option<usize>,
    row_key: RowKey,
    group_count: usize,
    groups: Vec<u32>,
    keys: Vec<i64>,
    values: Vec<f64>,
}

impl Rows {
    /// Takes in rows; those with a NULL value, a NULL key or a label of neither arm do not count.
    fn take(
        &mut self,
        arguments: &[ArrayRef],
        group_of: impl Fn(usize) -> usize,
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let values = arguments[self.value_at].as_primitive::<Float64Type>();
        let key_of: Box<dyn Fn(usize) -> Option<i64> + '_> = match (&self.row_key, self.key_at) {
            (RowKey::Step, Some(at)) => {
                let steps = arguments[at].as_primitive::<Int64Type>();
                Box::new(|row| steps.is_valid(row).then(|| steps.value(row)))
            }
            (RowKey::Arm(arms), Some(at)) => {
                let labels = arguments[at].as_string::<i32>();
                Box::new(|row| {
                    if labels.is_null(row) {
                        return None;
                    }
                    let label = labels.value(row);
                    arms.iter().position(|arm| arm == label).map(|arm| arm as i64)
                })
            }
            _ => Box::new(|_| Some(0)),
        };
        let keyed = self.key_at.is_some();
        for row in 0..values.len() {
            let counts = filter.is_none_or(|f| f.is_valid(row) && f.value(row));
            if !counts || values.is_null(row) {
                continue;
            }
            if let Some(key) = key_of(row) {
                self.groups.push(group_number(group_of(row))?);
                self.values.push(values.value(row));
                if keyed {
                    self.keys.push(key);
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], group_of: impl Fn(usize) -> usize) -> Result<()> {
        let values = state[0].as_list::<i32>();
        let keys = self.key_at.map(|_| state[1].as_list::<i32>());
        for row in 0..values.len() {
            if values.is_null(row) {
                continue;
            }
            let list = values.value(row);
            let list = list.as_primitive::<Float64Type>().values();
            let group = group_number(group_of(row))?;
            self.groups.resize(self.groups.len() + list.len(), group);
            self.values.extend_from_slice(list);
            if let Some(keys) = keys {
                self.keys.extend_from_slice(keys.value(row).as_primitive::<Int64Type>().values());
            }
        }
        Ok(())
    }

    /// The rows of the first `count` groups, sorted by group.
    fn grouped(&self, count: usize) -> Groups {
        let mut offsets = vec![0_usize; count + 1];
        for &group in &self.groups {
            if (group as usize) < count {
                offsets[group as usize + 1] += 1;
            }
        }
        for group in 0..count {
            offsets[group + 1] += offsets[group];
        }
        let total = offsets[count];
        let mut next = offsets.clone();
        let mut values = vec![0.0; total];
        let mut keys = vec![0; if self.key_at.is_some() { total } else { 0 }];
        for (row, &group) in self.groups.iter().enumerate() {
            let group = group as usize;
            if group < count {
                let place = next[group];
                next[group] += 1;
                values[place] = self.values[row];
                if self.key_at.is_some() {
                    keys[place] = self.keys[row];
                }
            }
        }
        Groups { offsets, values, keys }
    }

    /// The rows of the groups to emit, which are forgotten here.
    fn emit(&mut self, emit_to: EmitTo) -> Groups {
        match emit_to {
            EmitTo::All => {
                let groups = self.grouped(self.group_count);
                self.groups = Vec::new();
                self.keys = Vec::new();
                self.values = Vec::new();
                self.group_count = 0;
                groups
            }
            EmitTo::First(count) => {
                let emitted = self.grouped(count);
                let mut kept = 0;
                for row in 0..self.groups.len() {
                    if self.groups[row] as usize >= count {
                        self.groups[kept] = self.groups[row] - count as u32;
                        self.values[kept] = self.values[row];
                        if self.key_at.is_some() {
                            self.keys[kept] = self.keys[row];
                        }
                        kept += 1;
                    }
                }
                self.groups.truncate(kept);
                self.values.truncate(kept);
                self.keys.truncate(kept);
                self.group_count = self.group_count.saturating_sub(count);
                emitted
            }
        }
    }

    fn state_of(&self, groups: Groups) -> Result<Vec<ArrayRef>> {
        let lengths = || groups.offsets.windows(2).map(|ends| ends[1] - ends[0]);
        if i32::try_from(groups.values.len()).is_err() {
            return plan_err!("more than 2^31 values in one aggregation: filter or group further");
        }
        let list = |items: ArrayRef| -> Result<ArrayRef> {
            let field = Arc::new(Field::new_list_field(items.data_type().clone(), false));
            Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths()), items, None)?))
        };
        let mut state = vec![list(Arc::new(Float64Array::from(groups.values.clone())))?];
        if self.key_at.is_some() {
            state.push(list(Arc::new(Int64Array::from(groups.keys.clone())))?);
        }
        Ok(state)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.groups.capacity() * size_of::<u32>()
            + self.keys.capacity() * size_of::<i64>()
            + self.values.capacity() * size_of::<f64>()
    }
}

fn group_number(group: usize) -> Result<u32> {
    match u32::try_from(group) {
        Ok(group) => Ok(group),
        Err(_) => plan_err!("more than 2^32 groups in one aggregation"),
    }
}

impl GroupsAccumulator for Rows {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.group_count = total_num_groups;
        self.take(values, |row| group_indices[row], filter)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = self.emit(emit_to);
        self.finish.finish(&groups)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = self.emit(emit_to);
        self.state_of(groups)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.group_count = total_num_groups;
        self.merge(values, |row| group_indices[row])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let row_count = values[self.value_at].len();
        let mut rows = Self {
            finish: Arc::clone(&self.finish),
            value_at: self.value_at,
            key_at: self.key_at,
            row_key: self.row_key.clone(),
            group_count: row_count,
            groups: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
        };
        rows.take(values, |row| row, filter)?;
        let groups = rows.grouped(row_count);
        rows.state_of(groups)
    }

    fn size(&self) -> usize {
        self.bytes()
    }
}

/// The rows of the one group of an aggregation without GROUP BY, or of a window.
#[derive(Debug)]
struct OneGroup(Rows);

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.take(values, |_| 0, None)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // A window asks again after more rows, so nothing may be taken out here.
        let result = self.0.finish.finish(&self.0.grouped(1))?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn size(&self) -> usize {
        self.0.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let groups = self.0.grouped(1);
        self.0.state_of(groups)?.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge(states, |_| 0)
    }
}
