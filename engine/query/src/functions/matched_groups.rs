//! Tests of several methods over the same examples or data sets: `cochran_q` and `friedman_test`.

use std::collections::{BTreeMap, BTreeSet};

use analysis::AnalysisError;
use arrow::datatypes::DataType;

use super::arms::{X, number};
use super::collect::RowKey;
use super::definition::{ArgumentKind, Definition, FunctionKind, optional, required};
use super::grouped::{GroupFunction, Prepare, Sample, found};
use super::outcome::{Cell, known, rows_field};

static COCHRAN_Q: Definition = Definition {
    name: "cochran_q",
    kind: FunctionKind::Aggregate,
    summary: "Cochran's Q (1950): are several classifiers right (not 0) equally often on the same examples? For two of them \
              it is McNemar's chi-squared, and mcnemar is exact. Examples that not every classifier answered are left \
              out and counted in n_incomplete. error is too_few_runs (one classifier), zero_variance (every example has \
              one answer from all), nonfinite_value, or pairing_mismatch where an example is answered twice.",
    parameters: &[
        X,
        required("classifier", ArgumentKind::Pair, "the column that names the classifiers"),
        required("example", ArgumentKind::Pair, "the column that names the examples"),
    ],
    returns: "struct(q, df, p, classifiers, examples, n_incomplete, n, n_nonfinite, error)",
    example: "SELECT cochran_q(x, model, question)['p'] AS p\nFROM (VALUES (1, 'a', 1), (0, 'b', 1), (1, 'c', 1), (1, 'a', 2), (0, 'b', 2), (0, 'c', 2), (1, 'a', 3), (1, 'b', 3), (0, 'c', 3)) AS answers(x, model, question)",
};

static FRIEDMAN: Definition = Definition {
    name: "friedman_test",
    kind: FunctionKind::Aggregate,
    summary: "Friedman's test (1937) of several methods over the same data sets, by their ranks (Demsar 2006): ranks has the \
              mean rank of each method, 1 for the largest value, and two methods differ when their mean ranks are \
              further apart than critical_difference (Nemenyi 1963). Data sets that a method lacks are left out and \
              counted in n_incomplete. error is too_few_runs, zero_variance (all tie everywhere), nonfinite_value, or \
              pairing_mismatch where a method has a data set twice.",
    parameters: &[
        X,
        required("method", ArgumentKind::Pair, "the column that names the methods"),
        required("dataset", ArgumentKind::Pair, "the column that names the data sets"),
        optional("alpha", ArgumentKind::Number, "level of critical_difference, default 0.05"),
    ],
    returns: "struct(chi2, df, p, critical_difference, ranks list(struct(method, mean_rank)), datasets, n_incomplete, n, n_nonfinite, error)",
    example: "SELECT friedman_test(x, optimizer, task)['p'] AS p\nFROM (VALUES (0.81, 'adam', 't1'), (0.78, 'sgd', 't1'), (0.85, 'lion', 't1'), (0.62, 'adam', 't2'), (0.60, 'sgd', 't2'), (0.66, 'lion', 't2')) AS scores(x, optimizer, task)",
};

pub(super) static FUNCTIONS: [GroupFunction; 2] = [
    GroupFunction {
        definition: &COCHRAN_Q,
        fields: || {
            let counts = ["classifiers", "examples", "n_incomplete"].map(|name| (name, DataType::Int64));
            ["q", "df", "p"].map(number).into_iter().chain(counts).collect()
        },
        prepare: Prepare::Sample(|_, _| {
            Ok((RowKey::None, Box::new(|sample| found(cochran_q(sample), |cells| cells))))
        }),
    },
    GroupFunction {
        definition: &FRIEDMAN,
        fields: || {
            let mut fields = ["chi2", "df", "p", "critical_difference"].map(number).to_vec();
            fields.push(rows_field("ranks", &[("method", DataType::Utf8), number("mean_rank")]));
            fields.extend([("datasets", DataType::Int64), ("n_incomplete", DataType::Int64)]);
            fields
        },
        prepare: Prepare::Sample(|constants, _| {
            let alpha = constants.number("alpha").unwrap_or(0.05);
            if !(alpha > 0.0 && alpha < 1.0) {
                return constants.refuse("alpha", alpha, "give a number above 0 and below 1");
            }
            Ok((RowKey::None, Box::new(move |sample| found(friedman(sample, alpha), |cells| cells))))
        }),
    },
];

/// The values of all columns (first labels) in each row (second labels) that has them all, both in order of their names.
struct Matrix<'a> {
    columns: Vec<&'a str>,
    rows: Vec<Vec<f64>>,
    incomplete: usize,
}

impl<'a> Matrix<'a> {
    fn of(sample: &Sample<'a>) -> analysis::Result<Self> {
        let count = sample.values.iter().filter(|value| !value.is_finite()).count();
        if count > 0 {
            return Err(AnalysisError::NonfiniteValue { sample: "the values".into(), count });
        }
        let columns: BTreeSet<&str> = sample.labels(0).collect();
        let mut by_row: BTreeMap<&str, BTreeMap<&str, f64>> = BTreeMap::new();
        for ((column, row), value) in sample.labels(0).zip(sample.labels(1)).zip(sample.values) {
            if by_row.entry(row).or_default().insert(column, *value).is_some() {
                let detail = format!("{column} has {row} more than once");
                return Err(AnalysisError::PairingMismatch { detail });
            }
        }
        let row_count = by_row.len();
        let complete = by_row.into_values().filter(|row| row.len() == columns.len());
        let rows: Vec<Vec<f64>> = complete.map(|row| row.into_values().collect()).collect();
        Ok(Self { columns: columns.into_iter().collect(), incomplete: row_count - rows.len(), rows })
    }

    fn sizes(&self) -> [Cell; 2] {
        [self.rows.len(), self.incomplete].map(|count| Cell::Count(Some(count as u64)))
    }
}

fn cochran_q(sample: &Sample<'_>) -> analysis::Result<Vec<Cell>> {
    let matrix = Matrix::of(sample)?;
    let right = |row: &Vec<f64>| row.iter().map(|answer| *answer != 0.0).collect();
    let test = analysis::cochran_q(&matrix.rows.iter().map(right).collect::<Vec<Vec<bool>>>())?;
    let mut cells = known([test.statistic, test.degrees_of_freedom, test.p.value()]);
    cells.push(Cell::Count(Some(matrix.columns.len() as u64)));
    cells.extend(matrix.sizes());
    Ok(cells)
}

fn friedman(sample: &Sample<'_>, alpha: f64) -> analysis::Result<Vec<Cell>> {
    let matrix = Matrix::of(sample)?;
    let rows: Vec<&[f64]> = matrix.rows.iter().map(Vec::as_slice).collect();
    let found = analysis::friedman(&rows, alpha)?;
    let rank =
        |(method, rank): (&&str, &f64)| vec![Cell::Text((*method).to_owned()), Cell::Number(Some(*rank))];
    let test = found.test;
    let mut cells = known([test.statistic, test.df_between, test.p.value(), found.critical_difference]);
    cells.push(Cell::Rows(matrix.columns.iter().zip(&found.mean_ranks).map(rank).collect()));
    cells.extend(matrix.sizes());
    Ok(cells)
}
