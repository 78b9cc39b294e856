//! Tests of tables of counts: `fisher_test`, `barnard_test`, `boschloo_test`, `chi_squared_test` and `mcnemar_counts`.

use analysis::{AnalysisError, CountTable, TableTest, Unconditional, fisher_exact, odds_ratio};
use datafusion::common::Result;

use super::arms::{ALTERNATIVE, LEVEL, number};
use super::definition::{ArgumentKind, Definition, FunctionKind, Parameter, optional, required};
use super::outcome::{Cell, known};
use super::row_by_row::{Found, Returns, Row, RowFunction};

/// The largest total of a table whose test without fixed margins takes well below a second; larger ones are for the
/// chi-squared test.
const UNCONDITIONAL_MAX: u64 = 500;

/// The largest count that a double holds exactly.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

const A: Parameter = required("a", ArgumentKind::Integer, "how often the event came in the first group");
const B: Parameter = required("b", ArgumentKind::Integer, "how often it did not");
const C: Parameter = required("c", ArgumentKind::Integer, "how often it came in the second group");
const D: Parameter = required("d", ArgumentKind::Integer, "how often it did not");

static FISHER: Definition = Definition {
    name: "fisher_test",
    kind: FunctionKind::Scalar,
    summary: "Fisher's exact test (1935) of two groups by their counts: does the event come more often in one of them, as \
              failed runs in one arm? odds_ratio is its conditional maximum-likelihood estimate with the exact interval, \
              sample_odds_ratio is a d / (b c). Alternative 'greater' asks whether it comes more often in the first \
              group. Where a row or a column is empty p is 1 and error says zero_margin. Takes up to 100,000 in all.",
    parameters: &[A, B, C, D, ALTERNATIVE, LEVEL],
    returns: "struct(odds_ratio, low, high, sample_odds_ratio, p, error)",
    example: "SELECT fisher_test(5, 5, 0, 10, 'greater')['p'] AS p",
};

static BARNARD: Definition = Definition {
    name: "barnard_test",
    kind: FunctionKind::Scalar,
    summary: "Barnard's exact test (1945) of two groups by their counts, two-sided: the largest p-value of the pooled z \
              statistic over every rate that both could share. Unlike Fisher's it does not fix how many events there are \
              in all, and finds more in small tables. error is zero_margin. Takes up to 500 in all.",
    parameters: &[A, B, C, D],
    returns: "struct(p, error)",
    example: "SELECT barnard_test(5, 5, 0, 10)['p'] AS p",
};

static BOSCHLOO: Definition = Definition {
    name: "boschloo_test",
    kind: FunctionKind::Scalar,
    summary: "Boschloo's exact test (1970) of two groups by their counts, two-sided: as barnard_test, with Fisher's \
              p-value for a statistic, so that it never finds less than fisher_test. error is zero_margin. Takes up to \
              500 in all.",
    parameters: &[A, B, C, D],
    returns: "struct(p, error)",
    example: "SELECT boschloo_test(5, 5, 0, 10)['p'] AS p",
};

static CHI_SQUARED: Definition = Definition {
    name: "chi_squared_test",
    kind: FunctionKind::Scalar,
    summary: "Pearson's chi-squared test (1900) of a table of counts: do its columns come alike in all rows? g is the \
              likelihood-ratio statistic (Wilks 1935) of the same question, cramers_v the strength of the association \
              from 0 to 1. A table of two rows and two columns is corrected for continuity (Yates 1934) unless \
              correction => false; small counts are for fisher_test. error is zero_margin where a row or a column is \
              empty.",
    parameters: &[
        required("table", ArgumentKind::Table, "the counts, a list for each row"),
        optional("correction", ArgumentKind::Boolean, "Yates' correction of a 2x2 table, default true"),
    ],
    returns: "struct(chi2, df, p, g, p_g, cramers_v, error)",
    example: "SELECT chi_squared_test([[33, 1], [33, 18]], correction => false)['chi2'] AS chi2",
};

static MCNEMAR_COUNTS: Definition = Definition {
    name: "mcnemar_counts",
    kind: FunctionKind::Scalar,
    summary: "McNemar's test (1947) from the counts of examples that only one of two classifiers answered right; mcnemar \
              takes the answers themselves. p is exact and the one to report. chi2 is the approximation for many \
              examples, corrected as Edwards has it (1948) if asked for, NULL where both counts are 0.",
    parameters: &[
        required("only_a", ArgumentKind::Integer, "examples that only the first answered right"),
        required("only_b", ArgumentKind::Integer, "those that only the second did"),
        optional("correction", ArgumentKind::Boolean, "correct chi2 for continuity, default false"),
    ],
    returns: "struct(p, chi2, p_chi2, error)",
    example: "SELECT mcnemar_counts(8, 1)['p'] AS p",
};

pub(super) static FUNCTIONS: [RowFunction; 5] = [
    RowFunction {
        definition: &FISHER,
        returns: || {
            Returns::Struct(vec![
                number("odds_ratio"),
                number("low"),
                number("high"),
                number("sample_odds_ratio"),
                number("p"),
            ])
        },
        answer: fisher,
    },
    RowFunction {
        definition: &BARNARD,
        returns: || Returns::Struct(vec![number("p")]),
        answer: |row| unconditional(row, Unconditional::Barnard),
    },
    RowFunction {
        definition: &BOSCHLOO,
        returns: || Returns::Struct(vec![number("p")]),
        answer: |row| unconditional(row, Unconditional::Boschloo),
    },
    RowFunction {
        definition: &CHI_SQUARED,
        returns: || {
            Returns::Struct(vec![
                number("chi2"),
                number("df"),
                number("p"),
                number("g"),
                number("p_g"),
                number("cramers_v"),
            ])
        },
        answer: chi_squared,
    },
    RowFunction {
        definition: &MCNEMAR_COUNTS,
        returns: || Returns::Struct(vec![number("p"), number("chi2"), number("p_chi2")]),
        answer: mcnemar_counts,
    },
];

/// The counts of two groups, whose sum no longer overflows.
fn two_by_two(row: &Row<'_>) -> Result<[[u64; 2]; 2]> {
    let count = |name| row.integer(name).unwrap_or_default();
    let counts = [[count("a"), count("b")], [count("c"), count("d")]];
    CountTable::new(&counts.map(|group| group.to_vec())).map_err(|error| row.error(&error))?;
    Ok(counts.map(|group| group.map(i64::unsigned_abs)))
}

fn fisher(row: &Row<'_>) -> Result<Found> {
    let table = two_by_two(row)?;
    let alternative = row.alternative()?;
    match odds_ratio(table, row.level()) {
        Ok(odds) => {
            let [low, high] = odds.interval;
            Ok((known([odds.conditional, low, high, odds.sample, fisher_exact(table, alternative)]), None))
        }
        Err(AnalysisError::ZeroMargin) => {
            let mut cells = vec![Cell::Number(None); 4];
            cells.extend(known([fisher_exact(table, alternative)]));
            Ok((cells, Some(AnalysisError::ZeroMargin)))
        }
        Err(error) => Err(row.error(&error)),
    }
}

fn unconditional(row: &Row<'_>, statistic: Unconditional) -> Result<Found> {
    // There the columns are the groups.
    let [[a, b], [c, d]] = two_by_two(row)?;
    let total = a + b + c + d;
    if total > UNCONDITIONAL_MAX {
        return row.refuse(
            "a",
            format_args!("one of {total} in all"),
            "give at most 500, or ask chi_squared_test",
        );
    }
    row.found(analysis::unconditional_test([[a, c], [b, d]], statistic), |p| known([p.value()]))
}

fn chi_squared(row: &Row<'_>) -> Result<Found> {
    let table = row.table("table")?;
    if let Some(number) = table.iter().flatten().find(|n| n.fract() != 0.0 || n.abs() > COUNT_MAX) {
        return row.refuse("table", format_args!("with {number} in it"), "give whole numbers, 0 or more");
    }
    let whole = |counts: &Vec<f64>| counts.iter().map(|count| *count as i64).collect();
    let table = CountTable::new(&table.iter().map(whole).collect::<Vec<Vec<i64>>>())
        .map_err(|error| row.error(&error))?;
    let tested = || -> analysis::Result<(TableTest, TableTest, f64)> {
        let correction = row.truth("correction").unwrap_or(true);
        Ok((table.chi_squared(correction)?, table.g_test()?, table.cramers_v()?))
    };
    row.found(tested(), |(chi, g, strength)| {
        known([chi.statistic, chi.degrees_of_freedom, chi.p.value(), g.statistic, g.p.value(), strength])
    })
}

fn mcnemar_counts(row: &Row<'_>) -> Result<Found> {
    let (only_a, only_b) = (row.count("only_a")?, row.count("only_b")?);
    let corrected = row.truth("correction").unwrap_or(false);
    let chi = analysis::mcnemar_chi_squared(only_a, only_b, corrected);
    let cells = [
        Some(analysis::mcnemar_exact(only_a, only_b)),
        chi.map(|chi| chi.statistic),
        chi.map(|chi| chi.p.value()),
    ];
    Ok((cells.map(Cell::Number).to_vec(), None))
}
