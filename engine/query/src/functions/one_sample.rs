//! `one_sample_test`: is the mean of one sample what it should be?

use analysis::Alternative;

use super::arms::{ALTERNATIVE, LEVEL, NONFINITE, alternative, number};
use super::collect::RowKey;
use super::definition::{ArgumentKind, Definition, FunctionKind, required};
use super::grouped::{GroupFunction, Prepare, Sample, found};
use super::outcome::{Cell, known};

static DEFINITION: Definition = Definition {
    name: "one_sample_test",
    kind: FunctionKind::Aggregate,
    summary: "Student's t test of a mean against a fixed number, such as an accuracy that must be reached: estimate is the \
              mean, low and high its interval. On skewed values below ten runs it rejects too often. For two arms see \
              welch_test. error is empty_sample, too_few_runs, zero_variance or nonfinite_value.",
    parameters: &[
        required("x", ArgumentKind::Value, "the values, one a run"),
        required("mean", ArgumentKind::Number, "the number to test against"),
        LEVEL,
        ALTERNATIVE,
        NONFINITE,
    ],
    returns: "struct(estimate, low, high, se, t, df, p, n, n_nonfinite, error)",
    example: "SELECT one_sample_test(x, 0.80, alternative => 'greater')['p'] AS p FROM (VALUES (0.81), (0.83), (0.80), (0.84)) AS runs(x)",
};

pub(super) static FUNCTIONS: [GroupFunction; 1] = [GroupFunction {
    definition: &DEFINITION,
    fields: || ["estimate", "low", "high", "se", "t", "df", "p"].map(number).to_vec(),
    prepare: Prepare::Sample(|constants, _| {
        let mean = constants.number("mean").unwrap_or(f64::NAN);
        if !mean.is_finite() {
            return constants.refuse("mean", mean, "give a finite number");
        }
        let (level, alternative) = (constants.level()?, alternative(constants)?);
        let answer = move |sample: &Sample<'_>| found(tested(sample.values, mean, level, alternative), |c| c);
        Ok((RowKey::None, Box::new(answer)))
    }),
}];

fn tested(values: &[f64], mean: f64, level: f64, alternative: Alternative) -> analysis::Result<Vec<Cell>> {
    let test = analysis::one_sample(values, mean)?;
    let estimate = analysis::mean_ci(values, level)?.mean;
    // The test is of the difference from the number; what is told is the mean.
    let [low, high] = test.interval(level, alternative)?.map(|end| end + mean);
    let (t, df, p) = (test.statistic(), test.degrees_of_freedom, test.p_value(alternative));
    Ok(known([estimate, low, high, test.standard_error, t, df, p]))
}
