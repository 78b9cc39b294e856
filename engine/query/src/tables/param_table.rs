//! Params of runs in columns of numbers and levels, as kernels take them, straight from the columns of the registry.

use std::collections::{BTreeMap, HashMap};

use arrow::array::Array;
use datafusion::common::{Result, plan_err};
use model::{ExperimentName, ProjectName};
use store::{KeyColumn, Place, RunOrdinal, RunPiece, Snapshot, ValueKinds, boolean};

use super::Access;

/// The code of a run without a value.
const MISSING: u32 = u32::MAX;

/// Runs or trials with their params.
#[derive(Debug, Default)]
pub(crate) struct ParamTable {
    /// Number of rows.
    pub(crate) rows: usize,
    /// The run of each row; empty where a query gave no `run_id`.
    pub(crate) runs: Vec<RunOrdinal>,
    /// The experiment of each row, by its place in `experiments`.
    pub(crate) experiment_of: Vec<u32>,
    /// The names of the experiments; one without a name where nothing tells rows apart.
    pub(crate) experiments: Vec<String>,
    /// The params, by name.
    pub(crate) params: Vec<ParamColumn>,
}

/// One param of all rows.
#[derive(Debug)]
pub(crate) struct ParamColumn {
    /// Its key.
    pub(crate) name: String,
    /// Its values.
    pub(crate) values: ParamValues,
}

/// What the values of a param are.
#[derive(Debug)]
pub(crate) enum ParamValues {
    /// Numbers; NaN where there is none.
    Numbers {
        /// One a row.
        values: Vec<f64>,
        /// Whether all are whole.
        whole: bool,
    },
    /// Levels without an order; `u32::MAX` where there is none.
    Levels {
        /// One a row.
        codes: Vec<u32>,
        /// The level of each code, by name.
        levels: Vec<String>,
    },
}

impl ParamValues {
    /// Numbers; NaN where there is none.
    pub(crate) fn numbers(values: Vec<f64>) -> Self {
        let whole = values.iter().all(|value| value.is_nan() || value.fract() == 0.0);
        Self::Numbers { values, whole }
    }
}

impl ParamColumn {
    /// Rows with a value.
    pub(crate) fn present(&self) -> usize {
        match &self.values {
            ParamValues::Numbers { values, .. } => values.iter().filter(|value| !value.is_nan()).count(),
            ParamValues::Levels { codes, .. } => codes.iter().filter(|code| **code != MISSING).count(),
        }
    }

    /// Whether it is a text that is another one in every run, like a name or a folder: it tells runs apart and nothing
    /// about them.
    pub(crate) fn names_each_run(&self) -> bool {
        match &self.values {
            ParamValues::Numbers { .. } => false,
            ParamValues::Levels { levels, .. } => levels.len() > 4 && levels.len() == self.present(),
        }
    }
}

/// A column of texts on the way to numbers or levels: equal ones are kept once.
#[derive(Debug, Default)]
pub(crate) struct TextColumn {
    numbers: HashMap<Box<str>, u32>,
    codes: Vec<u32>,
    bytes: usize,
}

impl TextColumn {
    /// The code of a text, `u32::MAX` for one that says that there is no value.
    ///
    /// # Errors
    /// When there are too many different texts to count.
    pub(crate) fn code(&mut self, text: &str) -> Result<u32> {
        if says_missing(text) {
            return Ok(MISSING);
        }
        if let Some(code) = self.numbers.get(text) {
            return Ok(*code);
        }
        let Some(code) = u32::try_from(self.numbers.len()).ok().filter(|code| *code < MISSING) else {
            return plan_err!("a column has more than 2^32 different texts: leave it out of the query");
        };
        self.bytes += text.len() + 2 * size_of::<Box<str>>() + size_of::<u32>();
        self.numbers.insert(text.into(), code);
        Ok(code)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// As [`Self::code`].
    pub(crate) fn push(&mut self, text: Option<&str>) -> Result<()> {
        let code = text.map_or(Ok(MISSING), |text| self.code(text))?;
        self.codes.push(code);
        Ok(())
    }

    /// Bytes of the codes, of the numbers that may come of them, and of the distinct texts.
    pub(crate) fn bytes(&self) -> usize {
        self.codes.capacity() * (size_of::<u32>() + size_of::<f64>()) + self.bytes
    }

    /// Numbers where all texts spell finite ones, else levels in the order of their names.
    pub(crate) fn finish(self) -> ParamValues {
        let mut texts: Vec<(Box<str>, u32)> = self.numbers.into_iter().collect();
        texts.sort_unstable();
        let mut kinds = ValueKinds::ANY;
        texts.iter().for_each(|(text, _)| kinds.observe(text));
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| !number.is_infinite());
        if kinds.numbers && texts.iter().all(|(text, _)| number(text).is_some()) {
            let mut by_code = vec![f64::NAN; texts.len()];
            for (text, code) in &texts {
                by_code[*code as usize] = number(text).unwrap_or(f64::NAN);
            }
            let value = |code: &u32| by_code.get(*code as usize).copied().unwrap_or(f64::NAN);
            return ParamValues::numbers(self.codes.iter().map(value).collect());
        }
        // Python writes True, JSON true: they mean the same.
        let written = |text: &str| match boolean(text) {
            Some(truth) if kinds.booleans => truth.to_string(),
            _ => text.to_owned(),
        };
        let mut levels: Vec<String> = texts.iter().map(|(text, _)| written(text)).collect();
        levels.sort_unstable();
        levels.dedup();
        let mut by_code = vec![MISSING; texts.len()];
        for (text, code) in &texts {
            let place = levels.binary_search(&written(text)).unwrap_or(0);
            by_code[*code as usize] = place as u32;
        }
        let mut codes = self.codes;
        for code in &mut codes {
            *code = by_code.get(*code as usize).copied().unwrap_or(MISSING);
        }
        ParamValues::Levels { codes, levels }
    }
}

/// Whether a text stands where there is no value: what Python and JSON write for none.
fn says_missing(text: &str) -> bool {
    matches!(text.trim(), "" | "None" | "null" | "NaN" | "nan")
}

/// The params of the runs of some experiments that are not deleted, in the order in which the runs were made; only those
/// with these names, when there are any. `take` is asked for memory before it is used.
///
/// # Errors
/// Those of `take`.
pub(crate) fn params_of(
    snapshot: &Snapshot,
    access: &Access,
    experiments: &[(ProjectName, ExperimentName)],
    only: &[String],
    take: &dyn Fn(usize) -> Result<()>,
) -> Result<ParamTable> {
    let mut table = ParamTable {
        experiments: experiments.iter().map(|(project, name)| format!("{project}/{name}")).collect(),
        ..ParamTable::default()
    };
    let mut chosen: Vec<(RunPiece, Vec<Place>)> = Vec::new();
    for piece in snapshot.registry().runs().pieces() {
        let mut places = Vec::new();
        for place in piece.places.iter() {
            let Some(run) = piece.columns.get(*place).filter(|run| !run.is_deleted()) else { continue };
            let of = experiments
                .iter()
                .position(|(project, name)| run.project() == project && run.experiment() == name);
            let Some(of) = of.filter(|_| access.allows(run.project())) else { continue };
            places.push(*place);
            table.runs.push(piece.first + RunOrdinal::from(*place));
            table.experiment_of.push(of as u32);
        }
        if !places.is_empty() {
            take(places.len() * (size_of::<RunOrdinal>() + size_of::<u32>() + size_of::<Place>()))?;
            chosen.push((piece, places));
        }
    }
    table.rows = table.runs.len();
    let mut keys: BTreeMap<&str, bool> = BTreeMap::new();
    for (piece, places) in &chosen {
        for column in piece.columns.params().iter() {
            let is_new = !keys.get(column.key()).copied().unwrap_or(false);
            if is_new && (only.is_empty() || only.iter().any(|name| name == column.key())) {
                let is_used = column.codes_at(places).any(|code| code.is_some());
                *keys.entry(column.key()).or_default() |= is_used;
            }
        }
    }
    for (key, _) in keys.into_iter().filter(|(_, is_used)| *is_used) {
        take(table.rows * size_of::<f64>())?;
        let values = values_of(key, &chosen, table.rows, take)?;
        table.params.push(ParamColumn { name: key.to_owned(), values });
    }
    Ok(table)
}

fn values_of(
    key: &str,
    chosen: &[(RunPiece, Vec<Place>)],
    rows: usize,
    take: &dyn Fn(usize) -> Result<()>,
) -> Result<ParamValues> {
    let columns = || chosen.iter().map(|(piece, places)| (piece.columns.params().get(key), places));
    // What all texts of a chunk are, those of the chosen runs are too.
    let mut kinds = ValueKinds::ANY;
    columns().filter_map(|(column, _)| column).for_each(|column| kinds = kinds.and(column.kinds()));
    if kinds.numbers && !kinds.booleans {
        let mut values = Vec::with_capacity(rows);
        for (column, places) in columns() {
            match column {
                Some(column) => {
                    let numbers = column.numbers();
                    let number = |code: u16| numbers.value(usize::from(code));
                    values.extend(column.codes_at(places).map(|code| code.map_or(f64::NAN, number)));
                }
                None => values.resize(values.len() + places.len(), f64::NAN),
            }
        }
        if !values.iter().any(|value| value.is_infinite()) {
            return Ok(ParamValues::numbers(values));
        }
    }
    let mut texts = TextColumn::default();
    for (column, places) in columns() {
        match column {
            Some(column) => append(&mut texts, column, places)?,
            None => texts.codes.resize(texts.codes.len() + places.len(), MISSING),
        }
    }
    take(texts.bytes())?;
    Ok(texts.finish())
}

fn append(texts: &mut TextColumn, column: &KeyColumn, places: &[Place]) -> Result<()> {
    let mut known: Vec<Option<u32>> = vec![None; column.texts().len()];
    for code in column.codes_at(places) {
        let Some(at) = code.map(usize::from) else {
            texts.codes.push(MISSING);
            continue;
        };
        let code = match known[at] {
            Some(code) => code,
            None => texts.code(column.texts().value(at))?,
        };
        known[at] = Some(code);
        texts.codes.push(code);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(texts: &[Option<&str>]) -> ParamValues {
        let mut column = TextColumn::default();
        texts.iter().for_each(|text| column.push(*text).unwrap());
        column.finish()
    }

    #[test]
    fn numbers_stay_numbers_where_some_runs_have_none() {
        let ParamValues::Numbers { values, whole } = finished(&[Some("1e-3"), None, Some("None"), Some("2")])
        else {
            panic!("no numbers")
        };
        assert!(!whole);
        assert_eq!((values[0], values[3]), (0.001, 2.0));
        assert!(values[1].is_nan() && values[2].is_nan());
        assert!(matches!(finished(&[Some("3"), Some(" 4")]), ParamValues::Numbers { whole: true, .. }));
    }

    #[test]
    fn levels_are_in_the_order_of_their_names_and_truths_are_one_word() {
        let ParamValues::Levels { codes, levels } = finished(&[Some("sgd"), Some("adam"), Some("sgd"), None])
        else {
            panic!("no levels")
        };
        assert_eq!(levels, ["adam", "sgd"]);
        assert_eq!(codes, [1, 0, 1, MISSING]);
        let ParamValues::Levels { codes, levels } = finished(&[Some("True"), Some("false"), Some("true")])
        else {
            panic!("no levels")
        };
        assert_eq!((codes, levels.len()), (vec![1, 0, 1], 2));
        // A kernel takes no infinite number: the runs that have it are one level.
        assert!(matches!(finished(&[Some("inf"), Some("1")]), ParamValues::Levels { .. }));
    }
}
