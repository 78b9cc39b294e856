//! Shares by their counts: `proportion_ci`, `proportion_sequence`, `two_proportion_test` and `hit_rate`.

use analysis::{Hits, RateDifference, agresti_coull, clopper_pearson, jeffreys, rate_difference, wilson};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{LEVEL, number};
use super::definition::{ArgumentKind, Definition, FunctionKind, Parameter, optional, required};
use super::outcome::{Cell, known};
use super::row_by_row::{Found, Returns, Row, RowFunction};

const HITS: Parameter = required("hits", ArgumentKind::Integer, "how often it came");
const TRIALS: Parameter = required("n", ArgumentKind::Integer, "out of how many");

static PROPORTION_CI: Definition = Definition {
    name: "proportion_ci",
    kind: FunctionKind::Scalar,
    summary: "A share with its interval: 'wilson' (default; 1927) is the one to show, 'clopper_pearson' (1934) the exact \
              one to claim by, which never covers less than its level; also 'jeffreys' and 'agresti_coull' (1998). Of \
              0 out of 10 failed runs it says how often runs may fail all the same. error is empty_sample for 0 out of \
              0.",
    parameters: &[
        HITS,
        TRIALS,
        optional("method", ArgumentKind::Text, "the interval, default 'wilson'"),
        LEVEL,
    ],
    returns: "struct(estimate, low, high, error)",
    example: "SELECT proportion_ci(0, 10, 'clopper_pearson')['high'] AS may_fail",
};

static PROPORTION_SEQUENCE: Definition = Definition {
    name: "proportion_sequence",
    kind: FunctionKind::Scalar,
    summary: "A share with an interval that holds however often it is looked at, as runs or answers come in: a \
              beta-binomial mixture (Howard et al. 2021), tightest at the number of trials named beforehand. error is \
              empty_sample for 0 out of 0.",
    parameters: &[
        HITS,
        TRIALS,
        required("tightest", ArgumentKind::Integer, "the number of trials at which it is to be tightest"),
        LEVEL,
    ],
    returns: "struct(estimate, low, high, error)",
    example: "SELECT proportion_sequence(12, 20, tightest => 100)['low'] AS low",
};

static TWO_PROPORTIONS: Definition = Definition {
    name: "two_proportion_test",
    kind: FunctionKind::Scalar,
    summary: "The difference of two shares of independent groups, the first less the second, with its interval: \
              'newcombe' (default; 1998, of the two Wilson intervals), 'agresti_caffo' (2000) or 'miettinen_nurminen' \
              (1985). p is that of the pooled z statistic, two-sided; z is NULL and p is 1 where nothing or everything \
              is a hit. For few hits fisher_test has the exact p. error is empty_sample.",
    parameters: &[
        required("hits_a", ArgumentKind::Integer, "how often it came in the first group"),
        required("n_a", ArgumentKind::Integer, "out of how many"),
        required("hits_b", ArgumentKind::Integer, "how often it came in the second group"),
        required("n_b", ArgumentKind::Integer, "out of how many"),
        optional("method", ArgumentKind::Text, "the interval, default 'newcombe'"),
        LEVEL,
    ],
    returns: "struct(estimate, low, high, z, p, error)",
    example: "SELECT two_proportion_test(19, 45, 41, 286)['low'] AS at_least",
};

static HIT_RATE: Definition = Definition {
    name: "hit_rate",
    kind: FunctionKind::Scalar,
    summary: "How often a direction of research worked: hits are experiments that passed their gate, n all that were \
              decided. lower95 and upper95 are exact one-sided limits; verdict is 'productive' where even the lower one \
              is above one half, 'unproductive' where the upper one is below, else 'not_enough_evidence'. p_above_half \
              is the probability of more than one half after a uniform prior. error is empty_sample.",
    parameters: &[HITS, TRIALS],
    returns: "struct(estimate, lower95, upper95, wilson_low, wilson_high, jeffreys_low, jeffreys_high, p_above_half, verdict, error)",
    example: "SELECT hit_rate(5, 6)['verdict'] AS verdict",
};

pub(super) static FUNCTIONS: [RowFunction; 4] = [
    RowFunction {
        definition: &PROPORTION_CI,
        returns: || Returns::Struct(vec![number("estimate"), number("low"), number("high")]),
        answer: proportion_ci,
    },
    RowFunction {
        definition: &PROPORTION_SEQUENCE,
        returns: || Returns::Struct(vec![number("estimate"), number("low"), number("high")]),
        answer: proportion_sequence,
    },
    RowFunction {
        definition: &TWO_PROPORTIONS,
        returns: || {
            Returns::Struct(vec![number("estimate"), number("low"), number("high"), number("z"), number("p")])
        },
        answer: two_proportion_test,
    },
    RowFunction {
        definition: &HIT_RATE,
        returns: || {
            Returns::Struct(vec![
                number("estimate"),
                number("lower95"),
                number("upper95"),
                number("wilson_low"),
                number("wilson_high"),
                number("jeffreys_low"),
                number("jeffreys_high"),
                number("p_above_half"),
                ("verdict", DataType::Utf8),
            ])
        },
        answer: hit_rate,
    },
];

/// An interval of a share: hits, trials, level.
type Interval = fn(u64, u64, f64) -> analysis::Result<[f64; 2]>;

const INTERVALS: [(&str, Interval); 4] = [
    ("wilson", wilson),
    ("clopper_pearson", clopper_pearson),
    ("jeffreys", jeffreys),
    ("agresti_coull", agresti_coull),
];

fn proportion_ci(row: &Row<'_>) -> Result<Found> {
    let interval = row.one_of("method", &INTERVALS)?;
    let (hits, trials) = (row.count("hits")?, row.count("n")?);
    row.found(interval(hits, trials, row.level()), |[low, high]| {
        known([hits as f64 / trials as f64, low, high])
    })
}

fn proportion_sequence(row: &Row<'_>) -> Result<Found> {
    let (hits, trials) = (row.count("hits")?, row.count("n")?);
    let found = analysis::sequential::rate_sequence(hits, trials, row.count("tightest")?, 1.0 - row.level());
    row.found(found, |[low, high]| known([hits as f64 / trials as f64, low, high]))
}

/// Which interval of a difference.
type Ends = fn(&RateDifference) -> [f64; 2];

const DIFFERENCES: [(&str, Ends); 3] = [
    ("newcombe", |found| found.newcombe),
    ("agresti_caffo", |found| found.agresti_caffo),
    ("miettinen_nurminen", |found| found.miettinen_nurminen),
];

fn two_proportion_test(row: &Row<'_>) -> Result<Found> {
    let ends = row.one_of("method", &DIFFERENCES)?;
    let first = Hits { hits: row.count("hits_a")?, trials: row.count("n_a")? };
    let second = Hits { hits: row.count("hits_b")?, trials: row.count("n_b")? };
    let found = rate_difference(first, second, row.level());
    row.found(found, |found| {
        let [low, high] = ends(&found);
        let mut cells = known([found.difference, low, high]);
        cells.extend([Cell::Number(found.z), Cell::Number(Some(found.p.value()))]);
        cells
    })
}

fn hit_rate(row: &Row<'_>) -> Result<Found> {
    row.found(analysis::hit_rate(row.count("hits")?, row.count("n")?), |found| {
        let ([wilson_low, wilson_high], [jeffreys_low, jeffreys_high]) = (found.wilson95, found.jeffreys95);
        let mut cells = known([
            found.rate,
            found.lower95,
            found.upper95,
            wilson_low,
            wilson_high,
            jeffreys_low,
            jeffreys_high,
            found.p_above_half,
        ]);
        cells.push(Cell::Word(Some(found.verdict.name())));
        cells
    })
}
