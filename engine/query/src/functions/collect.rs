//! Aggregates that need all values of a group at once: collects them and hands all groups over in one batch.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, not_impl_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature,
};

use super::definition::{ArgumentKind, Constants, Definition, Described, constants_of};

/// What tells the rows of one group apart, beside their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowKey {
    /// Nothing.
    None,
    /// The step.
    Step,
    /// A number, kept as its bits.
    Position,
    /// One of two labels, kept as 0 and 1; rows with another label do not count.
    Arm([String; 2]),
    /// One of two labels as above, and a label that pairs rows; rows without one do not count.
    ArmAndPair([String; 2]),
    /// A label of which equal ones belong together; no label is a label too.
    Stratum,
}

/// The values of all groups: those of group `g` are `values[offsets[g]..offsets[g + 1]]`, in order of arrival.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Groups {
    /// Where each group starts; one more element than there are groups.
    pub(super) offsets: Vec<usize>,
    /// The values.
    pub(super) values: Vec<f64>,
    /// The step, position or arm of each value; empty without keys.
    pub(super) keys: Vec<i64>,
    /// For each column of labels the number of each value's label; empty without labels. Equal labels have equal numbers
    /// in all groups and columns.
    pub(super) labels: Vec<Vec<u32>>,
    /// The labels by their numbers.
    pub(super) names: Arc<Vec<String>>,
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

    /// The positions and values of each group; without those that are not finite when `only_finite`.
    pub(super) fn curves(&self, only_finite: bool) -> impl Iterator<Item = (Vec<f64>, Vec<f64>)> {
        self.keyed().map(move |(positions, values)| {
            let positions = positions.iter().map(|bits| f64::from_bits(bits.cast_unsigned()));
            let points = positions.zip(values.iter().copied());
            points.filter(|(x, y)| !only_finite || (x.is_finite() && y.is_finite())).unzip()
        })
    }

    /// The numbers of the labels of each group, of the first column of labels.
    pub(super) fn labels(&self) -> impl Iterator<Item = &[u32]> {
        self.offsets.windows(2).map(|ends| &self.labels[0][ends[0]..ends[1]])
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Collecting<F> {
    function: F,
    described: Described,
}

impl<F: CollectingFunction> Collecting<F> {
    pub(super) fn new(function: F) -> Self {
        Self { described: function.definition().into(), function }
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
        let constants = constants_of(arguments.exprs);
        let finish = self.function.prepare(&Constants::new(self.function.definition(), &constants)?)?;
        let columns = Columns {
            value_at: self.position(&[ArgumentKind::Value]),
            key_at: self.position(&KEYS),
            labels_at: self.labels_of(arguments.exprs.len()),
        };
        Ok(Rows::new(finish, columns))
    }

    /// Where the columns of labels stand among so many arguments.
    fn labels_of(&self, argument_count: usize) -> Vec<usize> {
        let parameters = self.function.definition().parameters.iter().take(argument_count).enumerate();
        parameters.filter(|(_, parameter)| LABELS.contains(&parameter.kind)).map(|(at, _)| at).collect()
    }
}

/// Where the columns stand among the arguments.
#[derive(Debug, Clone)]
struct Columns {
    /// The values; without them every row counts, with a value of 0.
    value_at: Option<usize>,
    key_at: Option<usize>,
    labels_at: Vec<usize>,
}

/// Arguments whose values are kept as whole numbers.
const KEYS: [ArgumentKind; 3] = [ArgumentKind::Step, ArgumentKind::Position, ArgumentKind::Label];
/// Arguments whose values are kept as texts.
const LABELS: [ArgumentKind; 1] = [ArgumentKind::Pair];

impl<F: CollectingFunction> AggregateUDFImpl for Collecting<F> {
    fn name(&self) -> &str {
        self.function.definition().name
    }

    fn signature(&self) -> &Signature {
        &self.described.signature
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
        if self.position(&KEYS).is_some() {
            fields.push(list("keys", DataType::Int64));
        }
        for (number, _) in self.labels_of(arguments.input_fields.len()).iter().enumerate() {
            fields.push(list(&format!("labels{number}"), DataType::Utf8));
        }
        Ok(fields)
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        datafusion::logical_expr::utils::AggregateOrderSensitivity::Insensitive
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.described.documentation)
    }
}

/// Labels by number, in the order in which they came.
#[derive(Debug, Default)]
struct Labels {
    numbers: HashMap<String, u32>,
    texts: Arc<Vec<String>>,
    bytes: usize,
}

impl Labels {
    fn number_of(&mut self, text: &str) -> Result<u32> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        let number = group_number(self.texts.len())?;
        self.numbers.insert(text.to_owned(), number);
        // Nobody else holds them while rows come: groups that were handed out are gone by then.
        Arc::make_mut(&mut self.texts).push(text.to_owned());
        self.bytes += 2 * (text.len() + size_of::<String>()) + size_of::<u32>();
        Ok(number)
    }
}

/// The rows of all groups as they came.
#[derive(Debug)]
struct Rows {
    finish: Arc<dyn Finish>,
    columns: Columns,
    row_key: RowKey,
    group_count: usize,
    groups: Vec<u32>,
    keys: Vec<i64>,
    labels: Vec<Vec<u32>>,
    values: Vec<f64>,
    texts: Labels,
}

/// Which key a row has; `None` when it does not count.
fn key_of(row_key: &RowKey, column: &ArrayRef, row: usize) -> Option<i64> {
    if column.is_null(row) {
        return None;
    }
    match row_key {
        RowKey::None | RowKey::Stratum => Some(0),
        RowKey::Step => Some(column.as_primitive::<Int64Type>().value(row)),
        RowKey::Position => Some(column.as_primitive::<Float64Type>().value(row).to_bits().cast_signed()),
        RowKey::Arm(arms) | RowKey::ArmAndPair(arms) => {
            let label = column.as_string::<i32>().value(row);
            arms.iter().position(|arm| arm == label).map(|arm| arm as i64)
        }
    }
}

impl Rows {
    fn new(finish: Arc<dyn Finish>, columns: Columns) -> Self {
        Self {
            row_key: finish.row_key(),
            finish,
            labels: vec![Vec::new(); columns.labels_at.len()],
            columns,
            group_count: 0,
            groups: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
            texts: Labels::default(),
        }
    }

    /// Takes in rows; those with a NULL value, a NULL key or a label of neither arm do not count.
    fn take(
        &mut self,
        arguments: &[ArrayRef],
        group_of: impl Fn(usize) -> usize,
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let values = self.columns.value_at.map(|at| arguments[at].as_primitive::<Float64Type>());
        let labels: Vec<_> =
            self.columns.labels_at.iter().map(|at| arguments[*at].as_string::<i32>()).collect();
        for row in 0..arguments[0].len() {
            let counts = filter.is_none_or(|f| f.is_valid(row) && f.value(row));
            if !counts || values.is_some_and(|values| values.is_null(row)) {
                continue;
            }
            let key = match self.columns.key_at {
                Some(at) => match key_of(&self.row_key, &arguments[at], row) {
                    Some(key) => Some(key),
                    None => continue,
                },
                None => None,
            };
            if self.row_key != RowKey::Stratum && labels.iter().any(|labels| labels.is_null(row)) {
                continue;
            }
            for (column, labels) in labels.iter().enumerate() {
                let text = if labels.is_null(row) { "" } else { labels.value(row) };
                let number = self.texts.number_of(text)?;
                self.labels[column].push(number);
            }
            self.keys.extend(key);
            self.groups.push(group_number(group_of(row))?);
            self.values.push(values.map_or(0.0, |values| values.value(row)));
        }
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], group_of: impl Fn(usize) -> usize) -> Result<()> {
        let values = state[0].as_list::<i32>();
        let keys = self.columns.key_at.map(|_| state[1].as_list::<i32>());
        // The labels are the last columns of a state.
        let first_labels = state.len() - self.labels.len();
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
            for (column, labels) in self.labels.iter_mut().zip(&state[first_labels..]) {
                for text in labels.as_list::<i32>().value(row).as_string::<i32>().iter().flatten() {
                    column.push(self.texts.number_of(text)?);
                }
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
        let mut keys = vec![0; if self.columns.key_at.is_some() { total } else { 0 }];
        let mut labels = vec![vec![0; total]; self.labels.len()];
        for (row, &group) in self.groups.iter().enumerate() {
            let group = group as usize;
            if group < count {
                let place = next[group];
                next[group] += 1;
                values[place] = self.values[row];
                if self.columns.key_at.is_some() {
                    keys[place] = self.keys[row];
                }
                for (sorted, own) in labels.iter_mut().zip(&self.labels) {
                    sorted[place] = own[row];
                }
            }
        }
        Groups { offsets, values, keys, labels, names: Arc::clone(&self.texts.texts) }
    }

    /// The rows of the groups to emit, which are forgotten here.
    fn emit(&mut self, emit_to: EmitTo) -> Groups {
        match emit_to {
            EmitTo::All => {
                let groups = self.grouped(self.group_count);
                self.groups = Vec::new();
                self.keys = Vec::new();
                self.labels.iter_mut().for_each(|column| *column = Vec::new());
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
                        if self.columns.key_at.is_some() {
                            self.keys[kept] = self.keys[row];
                        }
                        for column in &mut self.labels {
                            column[kept] = column[row];
                        }
                        kept += 1;
                    }
                }
                self.groups.truncate(kept);
                self.values.truncate(kept);
                self.keys.truncate(kept);
                self.labels.iter_mut().for_each(|column| column.truncate(kept));
                self.group_count = self.group_count.saturating_sub(count);
                emitted
            }
        }
    }

    fn state_of(&self, groups: &Groups) -> Result<Vec<ArrayRef>> {
        let lengths = || groups.offsets.windows(2).map(|ends| ends[1] - ends[0]);
        if i32::try_from(groups.values.len()).is_err() {
            return plan_err!("more than 2^31 values in one aggregation: filter or group further");
        }
        let list = |items: ArrayRef| -> Result<ArrayRef> {
            let field = Arc::new(Field::new_list_field(items.data_type().clone(), false));
            Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths()), items, None)?))
        };
        let mut state = vec![list(Arc::new(Float64Array::from(groups.values.clone())))?];
        if self.columns.key_at.is_some() {
            state.push(list(Arc::new(Int64Array::from(groups.keys.clone())))?);
        }
        for labels in &groups.labels {
            let texts = labels.iter().map(|label| self.texts.texts[*label as usize].as_str());
            state.push(list(Arc::new(StringArray::from_iter_values(texts)))?);
        }
        Ok(state)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.groups.capacity() * size_of::<u32>()
            + self.keys.capacity() * size_of::<i64>()
            + self.labels.iter().map(|column| column.capacity() * size_of::<u32>()).sum::<usize>()
            + self.values.capacity() * size_of::<f64>()
            + self.texts.bytes
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
        self.state_of(&groups)
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
        let row_count = values[0].len();
        let mut rows = Self::new(Arc::clone(&self.finish), self.columns.clone());
        rows.take(values, |row| row, filter)?;
        rows.state_of(&rows.grouped(row_count))
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
        self.0.state_of(&groups)?.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge(states, |_| 0)
    }
}
