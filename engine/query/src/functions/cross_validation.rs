//! Comparing learning algorithms on one data set: `nadeau_bengio_test` over resampled splits, `five_by_two_test` over five
//! halvings.

use datafusion::common::Result;

use super::arms::{ALTERNATIVE, LEVEL, alternative, number};
use super::bootstrap::Draws;
use super::collect::RowKey;
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, required};
use super::grouped::{GroupFunction, OfSample, Prepare, Sample, found};
use super::outcome::known;
use super::row_by_row::{Found, Returns, Row, RowFunction};
use super::two_arm_tests::t_cells;

static NADEAU_BENGIO: Definition = Definition {
    name: "nadeau_bengio_test",
    kind: FunctionKind::Aggregate,
    summary: "The corrected resampled t test (Nadeau & Bengio 2003) of differences over random splits or folds of one data \
              set, which share their training examples: the variance is multiplied by 1/k + n_test/n_train in place of \
              1/k. A plain t test of splits finds differences that are not there. error is empty_sample, too_few_runs, \
              zero_variance or nonfinite_value.",
    parameters: &[
        required("difference", ArgumentKind::Value, "the difference of both methods, one a split"),
        required("n_train", ArgumentKind::Integer, "examples that a split trains on"),
        required("n_test", ArgumentKind::Integer, "examples that it tests on"),
        LEVEL,
        ALTERNATIVE,
    ],
    returns: "struct(estimate, low, high, se, t, df, p, n, n_nonfinite, error)",
    example: "SELECT nadeau_bengio_test(d, 900, 100)['p'] AS p FROM (VALUES (0.01), (0.03), (-0.01), (0.02), (0.02)) AS splits(d)",
};

static FIVE_BY_TWO: Definition = Definition {
    name: "five_by_two_test",
    kind: FunctionKind::Scalar,
    summary: "The 5x2 cross-validation tests of two classifiers on one data set, from the differences of both folds of five \
              halvings: Dietterich's t (1998), for which the first difference counts alone, and Alpaydin's F (1999), \
              which takes all ten and is the one to report. error is zero_variance or nonfinite_value.",
    parameters: &[required("differences", ArgumentKind::Table, "five lists of two differences")],
    returns: "struct(t, p_t, f, p_f, error)",
    example: "SELECT five_by_two_test([[0.02, 0.01], [0.03, 0.01], [-0.01, 0.02], [0.01, 0.02], [0.01, 0.02]])['p_f'] AS p",
};

pub(super) static FUNCTIONS: [GroupFunction; 1] = [GroupFunction {
    definition: &NADEAU_BENGIO,
    fields: || ["estimate", "low", "high", "se", "t", "df", "p"].map(number).to_vec(),
    prepare: Prepare::Sample(nadeau_bengio),
}];

pub(super) static ROW_FUNCTIONS: [RowFunction; 1] = [RowFunction {
    definition: &FIVE_BY_TWO,
    returns: || Returns::Struct(["t", "p_t", "f", "p_f"].map(number).to_vec()),
    answer: five_by_two,
}];

fn nadeau_bengio(constants: &Constants<'_>, _: Draws) -> Result<(RowKey, OfSample)> {
    let train = constants.count("n_train", 1, "a number of examples")? as u64;
    let test = constants.count("n_test", 1, "a number of examples")? as u64;
    let (level, alternative) = (constants.level()?, alternative(constants)?);
    let answer = move |sample: &Sample<'_>| {
        let test = analysis::resampled_t(sample.values, train, test);
        found(test.and_then(|test| t_cells(&test, level, alternative)), |cells| cells)
    };
    Ok((RowKey::None, Box::new(answer)))
}

fn five_by_two(row: &Row<'_>) -> Result<Found> {
    let table = row.table("differences")?;
    let pairs: Option<Vec<[f64; 2]>> = table.iter().map(|pair| pair.as_slice().try_into().ok()).collect();
    let five = pairs.and_then(|pairs| <[[f64; 2]; 5]>::try_from(pairs).ok());
    let Some(differences) = five else {
        return row.refuse("differences", format_args!("{table:?}"), "give five lists of two differences");
    };
    row.found(analysis::five_by_two(&differences), |test| {
        known([test.t, test.p_t.value(), test.f, test.p_f.value()])
    })
}
