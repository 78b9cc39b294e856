//! Params or tags of the runs of one chunk, a column for each key: codes into the distinct texts of that key.
//!
//! Runs of a sweep repeat a few dozen keys and mostly few values a key, so that a value costs two bytes, and whatever is
//! asked of a text (its number, its type, whether it matches) is asked once for each distinct one.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringViewArray, UInt16Array,
};
use arrow::datatypes::DataType;

/// The position of a run in its chunk.
pub type Place = u16;

/// The code of a run that does not have the key.
const NONE: u16 = u16::MAX;

/// Distinct texts and which of them each run has.
#[derive(Debug, Clone)]
pub struct KeyColumn {
    key: Arc<str>,
    codes: Codes,
    runs: usize,
    texts: StringViewArray,
    kinds: ValueKinds,
    numbers: OnceLock<Float64Array>,
}

#[derive(Debug, Clone)]
enum Codes {
    /// For each place.
    Dense(Box<[u16]>),
    /// By place, rising; for keys that few runs have.
    Sparse(Box<[(Place, u16)]>),
}

/// What all texts of a column can be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueKinds {
    /// Whole numbers that an Int64 holds.
    pub integers: bool,
    /// Numbers.
    pub numbers: bool,
    /// Truth values, as Python and JSON write them.
    pub booleans: bool,
}

impl ValueKinds {
    /// What no text at all can be read as: anything.
    pub const ANY: Self = Self { integers: true, numbers: true, booleans: true };

    /// Takes in one more text.
    pub fn observe(&mut self, text: &str) {
        let trimmed = text.trim();
        self.integers = self.integers && trimmed.parse::<i64>().is_ok();
        self.numbers = self.numbers && (self.integers || trimmed.parse::<f64>().is_ok());
        self.booleans = self.booleans && boolean(trimmed).is_some();
    }

    /// What the texts of both can be read as.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            integers: self.integers && other.integers,
            numbers: self.numbers && other.numbers,
            booleans: self.booleans && other.booleans,
        }
    }
}

/// The truth value that a text spells, as Python and JSON write it.
pub fn boolean(text: &str) -> Option<bool> {
    match text.trim() {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

impl KeyColumn {
    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Number of runs that have the key.
    pub fn len(&self) -> usize {
        self.runs
    }

    /// Whether no run has the key.
    pub fn is_empty(&self) -> bool {
        self.runs == 0
    }

    /// The distinct texts, by code.
    pub fn texts(&self) -> &StringViewArray {
        &self.texts
    }

    /// What all its texts can be read as.
    pub fn kinds(&self) -> ValueKinds {
        self.kinds
    }

    /// The text of a run.
    pub fn text(&self, place: Place) -> Option<&str> {
        self.code(place).map(|code| self.texts.value(usize::from(code)))
    }

    fn code(&self, place: Place) -> Option<u16> {
        match &self.codes {
            Codes::Dense(codes) => codes.get(usize::from(place)).copied().filter(|code| *code != NONE),
            Codes::Sparse(pairs) => {
                let at = pairs.binary_search_by_key(&place, |(place, _)| *place).ok()?;
                pairs.get(at).map(|(_, code)| *code)
            }
        }
    }

    /// The number that each distinct text spells.
    pub fn numbers(&self) -> &Float64Array {
        self.numbers.get_or_init(|| self.texts.iter().map(|text| text?.trim().parse::<f64>().ok()).collect())
    }

    /// The whole number that each distinct text spells.
    pub fn integers(&self) -> Int64Array {
        self.texts.iter().map(|text| text?.trim().parse::<i64>().ok()).collect()
    }

    /// The truth value that each distinct text spells.
    pub fn booleans(&self) -> BooleanArray {
        self.texts.iter().map(boolean_of).collect()
    }

    /// The codes of the runs at these places, rising; `None` where a run does not have the key.
    pub fn codes_at<'a>(&'a self, places: &'a [Place]) -> impl Iterator<Item = Option<u16>> + 'a {
        let mut sparse = match &self.codes {
            Codes::Dense(_) => [].iter(),
            Codes::Sparse(pairs) => pairs.iter(),
        };
        let mut next = sparse.next();
        places.iter().map(move |place| match &self.codes {
            Codes::Dense(codes) => codes.get(usize::from(*place)).copied().filter(|code| *code != NONE),
            Codes::Sparse(_) => {
                while next.is_some_and(|(at, _)| at < place) {
                    next = sparse.next();
                }
                next.filter(|(at, _)| at == place).map(|(_, code)| *code)
            }
        })
    }

    /// The places of the runs that have the key, with their codes, rising.
    pub fn pairs(&self) -> impl Iterator<Item = (Place, u16)> + '_ {
        let (dense, sparse) = match &self.codes {
            Codes::Dense(codes) => (&**codes, [].as_slice()),
            Codes::Sparse(pairs) => ([].as_slice(), &**pairs),
        };
        let dense = (0..).zip(dense).filter(|(_, code)| **code != NONE).map(|(place, code)| (place, *code));
        dense.chain(sparse.iter().copied())
    }

    /// The texts of the runs at these places, rising.
    pub fn text_array(&self, places: &[Place]) -> StringViewArray {
        let codes: UInt16Array = self.codes_at(places).collect();
        gather(&self.texts, &codes)
    }

    /// The numbers of the runs at these places, rising; NULL for texts that spell none.
    pub fn number_array(&self, places: &[Place]) -> Float64Array {
        let numbers = self.numbers();
        let number = |code: u16| {
            let code = usize::from(code);
            numbers.is_valid(code).then(|| numbers.value(code))
        };
        self.codes_at(places).map(|code| code.and_then(number)).collect()
    }

    /// The whole numbers of the runs at these places, rising; NULL for texts that spell none.
    pub fn integer_array(&self, places: &[Place]) -> Int64Array {
        let integers = self.integers();
        let integer = |code: u16| {
            let code = usize::from(code);
            integers.is_valid(code).then(|| integers.value(code))
        };
        self.codes_at(places).map(|code| code.and_then(integer)).collect()
    }

    /// The truth values of the runs at these places, rising; NULL for texts that spell none.
    pub fn boolean_array(&self, places: &[Place]) -> BooleanArray {
        let booleans = self.booleans();
        let truth = |code: u16| {
            let code = usize::from(code);
            booleans.is_valid(code).then(|| booleans.value(code))
        };
        self.codes_at(places).map(|code| code.and_then(truth)).collect()
    }

    /// The values of the runs at these places, rising, as Boolean, Int64, Float64, or else as texts.
    pub fn array(&self, data_type: &DataType, places: &[Place]) -> ArrayRef {
        match data_type {
            DataType::Boolean => Arc::new(self.boolean_array(places)),
            DataType::Int64 => Arc::new(self.integer_array(places)),
            DataType::Float64 => Arc::new(self.number_array(places)),
            _ => Arc::new(self.text_array(places)),
        }
    }

    fn bytes(&self) -> usize {
        let codes = match &self.codes {
            Codes::Dense(codes) => codes.len() * 2,
            Codes::Sparse(pairs) => pairs.len() * 4,
        };
        let numbers = self.numbers.get().map_or(0, Array::get_array_memory_size);
        size_of::<Self>() + self.key.len() + codes + self.texts.get_array_memory_size() + numbers
    }
}

/// The texts with these codes; they share the bytes of the distinct ones.
pub(super) fn gather(texts: &StringViewArray, codes: &UInt16Array) -> StringViewArray {
    match arrow::compute::take(texts, codes, None) {
        Ok(taken) => taken.as_string_view().clone(),
        // Every code is one of a text.
        Err(_) => StringViewArray::new_null(codes.len()),
    }
}

fn boolean_of(text: Option<&str>) -> Option<bool> {
    text.and_then(boolean)
}

/// The columns of all keys, sorted by key.
#[derive(Debug, Clone, Default)]
pub struct KeyColumns(Box<[KeyColumn]>);

impl KeyColumns {
    /// The column of a key, when a run of the chunk has it.
    pub fn get(&self, key: &str) -> Option<&KeyColumn> {
        let at = self.0.binary_search_by(|column| column.key().cmp(key)).ok()?;
        self.0.get(at)
    }

    /// All columns by key.
    pub fn iter(&self) -> std::slice::Iter<'_, KeyColumn> {
        self.0.iter()
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(KeyColumn::bytes).sum()
    }
}

/// Collects params or tags, run after run or key after key.
#[derive(Debug, Default)]
pub(crate) struct KeyColumnsBuilder {
    columns: HashMap<Arc<str>, ColumnBuilder, foldhash::fast::RandomState>,
}

#[derive(Debug, Default)]
struct ColumnBuilder {
    pairs: Vec<(Place, u16)>,
    codes: HashMap<Box<str>, u16, foldhash::fast::RandomState>,
    texts: Vec<Box<str>>,
}

impl KeyColumnsBuilder {
    /// Takes in the value of one run. The latest value of a key at a place counts.
    pub(crate) fn push(&mut self, place: Place, key: &str, text: &str) {
        let column = match self.columns.get_mut(key) {
            Some(column) => column,
            None => self.columns.entry(Arc::from(key)).or_default(),
        };
        let code = match column.codes.get(text) {
            Some(code) => *code,
            None => {
                // A chunk has fewer places than there are codes; a place whose value came twice leaves one unused.
                let code = u16::try_from(column.texts.len()).unwrap_or(NONE).min(NONE - 1);
                column.codes.insert(text.into(), code);
                column.texts.push(text.into());
                code
            }
        };
        column.pairs.push((place, code));
    }

    /// The columns of a chunk with this number of places.
    pub(crate) fn finish(self, places: usize) -> KeyColumns {
        let mut columns: Vec<KeyColumn> =
            self.columns.into_iter().map(|(key, column)| column.finish(key, places)).collect();
        columns.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        KeyColumns(columns.into())
    }
}

impl ColumnBuilder {
    fn finish(mut self, key: Arc<str>, places: usize) -> KeyColumn {
        let mut kinds = ValueKinds::ANY;
        self.texts.iter().for_each(|text| kinds.observe(text));
        // Stable: of two values at one place the later one comes last and is kept.
        self.pairs.sort_by_key(|(place, _)| *place);
        self.pairs.reverse();
        self.pairs.dedup_by_key(|(place, _)| *place);
        self.pairs.reverse();
        let runs = self.pairs.len();
        let codes = if runs * 2 >= places {
            let mut codes = vec![NONE; places];
            for (place, code) in &self.pairs {
                if let Some(slot) = codes.get_mut(usize::from(*place)) {
                    *slot = *code;
                }
            }
            Codes::Dense(codes.into())
        } else {
            Codes::Sparse(self.pairs.into())
        };
        let texts: StringViewArray = self.texts.iter().map(|text| Some(&**text)).collect();
        KeyColumn { key, codes, runs, texts, kinds, numbers: OnceLock::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(places: usize, pairs: &[(Place, &str)]) -> KeyColumn {
        let mut builder = KeyColumnsBuilder::default();
        pairs.iter().for_each(|(place, text)| builder.push(*place, "k", text));
        builder.finish(places).get("k").unwrap().clone()
    }

    #[test]
    fn dense_and_sparse_columns_give_the_same() {
        for places in [4, 400] {
            let column = column(places, &[(0, "1"), (2, "2.5"), (3, "1")]);
            assert_eq!(
                [0, 1, 2, 3].map(|place| column.text(place)),
                [Some("1"), None, Some("2.5"), Some("1")]
            );
            let texts: Vec<_> = column.text_array(&[0, 1, 3]).iter().map(|t| t.map(str::to_owned)).collect();
            assert_eq!(texts, [Some("1".to_owned()), None, Some("1".to_owned())]);
            assert_eq!(column.number_array(&[1, 2, 3]), Float64Array::from(vec![None, Some(2.5), Some(1.0)]));
            assert_eq!(column.integer_array(&[2, 3]), Int64Array::from(vec![None, Some(1)]));
            assert_eq!(column.pairs().map(|(place, _)| place).collect::<Vec<_>>(), [0, 2, 3]);
            assert_eq!(column.kinds(), ValueKinds { integers: false, numbers: true, booleans: false });
        }
    }

    #[test]
    fn the_latest_value_of_a_place_counts() {
        for places in [2, 400] {
            let column = column(places, &[(1, "a"), (0, "c"), (1, "b")]);
            assert_eq!((column.text(0), column.text(1)), (Some("c"), Some("b")));
        }
    }

    #[test]
    fn columns_are_found_by_key() {
        let mut builder = KeyColumnsBuilder::default();
        for key in ["b", "a", "c/d"] {
            builder.push(0, key, key);
        }
        let columns = builder.finish(1);
        assert_eq!(columns.iter().map(KeyColumn::key).collect::<Vec<_>>(), ["a", "b", "c/d"]);
        assert_eq!(columns.get("c/d").and_then(|column| column.text(0)), Some("c/d"));
        assert!(columns.get("c").is_none());
    }
}
