//! `welch_test`: is the mean of one arm different from the mean of another?

use std::sync::Arc;

use analysis::Alternative;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{
    A, ALTERNATIVE, ARM, Arms, B, LEVEL, NONFINITE, X, alternative, comparison_type, difference, number,
    or_reason,
};
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{Constants, Definition, FunctionKind};
use super::outcome::Cell;

pub(super) static DEFINITION: Definition = Definition {
    name: "welch_test",
    kind: FunctionKind::Aggregate,
    summary: "Welch's t test of mean(a) - mean(b) for two arms whose variances may differ (Welch 1947). Rows whose arm \
              is neither a nor b, and NULLs, do not count. Where there is nothing to test, p is NULL and error names \
              the reason: empty_sample, too_few_runs, zero_variance or nonfinite_value (a NaN or infinity is a failed \
              run; nonfinite => 'drop' leaves it out). The estimate is given even then, as far as it exists.",
    parameters: &[X, ARM, A, B, LEVEL, ALTERNATIVE, NONFINITE],
    returns: "struct(estimate, low, high, se, t, df, p, n_a, n_b, n_nonfinite, error)",
    example: "SELECT welch_test(x, arm, 'new', 'old')['p'] AS p\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

const FIELDS: [(&str, DataType); 7] =
    [number("estimate"), number("low"), number("high"), number("se"), number("t"), number("df"), number("p")];

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WelchTest;

impl CollectingFunction for WelchTest {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        comparison_type(&FIELDS)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        Ok(Arc::new(Call {
            arms: Arms::read(constants)?,
            level: constants.level()?,
            alternative: alternative(constants)?,
        }))
    }
}

#[derive(Debug)]
struct Call {
    arms: Arms,
    level: f64,
    alternative: Alternative,
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        self.arms.row_key()
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        self.arms.compare(groups, &FIELDS, |samples| {
            let test = analysis::welch(&samples.a, &samples.b);
            let tested = test.and_then(|test| Ok((test, test.interval(self.level, self.alternative)?)));
            or_reason(
                tested,
                |(test, [low, high])| {
                    let numbers = [
                        test.difference,
                        low,
                        high,
                        test.standard_error,
                        test.statistic(),
                        test.degrees_of_freedom,
                        test.p_value(self.alternative),
                    ];
                    numbers.map(|number| Cell::Number(Some(number))).to_vec()
                },
                |error| vec![difference(error, samples)],
            )
        })
    }
}
