//! `tost`: are two arms equal within what one is ready to lose?

use std::sync::Arc;

use analysis::Alternative;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{A, ARM, Arms, B, NONFINITE, X, comparison_type, difference, number, or_reason};
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::Cell;

pub(super) static DEFINITION: Definition = Definition {
    name: "tost",
    kind: FunctionKind::Aggregate,
    summary: "Two one-sided tests (Schuirmann 1987): does mean(a) - mean(b) lie between lowest and highest? By Welch's t. \
              p is the larger of the two one-sided p; equivalent says p < alpha, which is the same as the interval \
              (of level 1 - 2 alpha) lying inside. A large p of a difference test never shows equality; this does. \
              error is empty_sample, too_few_runs, zero_variance or nonfinite_value.",
    parameters: &[
        X,
        ARM,
        A,
        B,
        required(
            "lowest",
            ArgumentKind::Number,
            "the lowest difference that still counts as none, such as -0.01",
        ),
        required("highest", ArgumentKind::Number, "the highest one, such as 0.01"),
        optional("alpha", ArgumentKind::Number, "probability of a false claim, default 0.05"),
        NONFINITE,
    ],
    returns: "struct(estimate, low, high, se, df, p_low, p_high, p, equivalent, n_a, n_b, n_nonfinite, error)",
    example: "SELECT tost(x, arm, 'new', 'old', -0.05, 0.05)['equivalent'] AS same\nFROM (VALUES (0.84, 'new'), (0.82, 'new'), (0.83, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

const FIELDS: [(&str, DataType); 9] = [
    number("estimate"),
    number("low"),
    number("high"),
    number("se"),
    number("df"),
    number("p_low"),
    number("p_high"),
    number("p"),
    ("equivalent", DataType::Boolean),
];

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tost;

impl CollectingFunction for Tost {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        comparison_type(&FIELDS)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        let bound = |name: &str| match constants.number(name) {
            Some(bound) if bound.is_finite() => Ok(bound),
            Some(bound) => constants.refuse(name, bound, "give a finite number"),
            None => constants.refuse(name, "NULL", "give a number in the units of the metric"),
        };
        let (lowest, highest) = (bound("lowest")?, bound("highest")?);
        if lowest >= highest {
            return constants.refuse("highest", highest, "give a number above lowest");
        }
        let alpha = constants.number("alpha").unwrap_or(0.05);
        if !(alpha > 0.0 && alpha < 0.5) {
            return constants.refuse("alpha", alpha, "give a number above 0 and below 0.5, such as 0.05");
        }
        Ok(Arc::new(Call { arms: Arms::read(constants)?, lowest, highest, alpha }))
    }
}

#[derive(Debug)]
struct Call {
    arms: Arms,
    lowest: f64,
    highest: f64,
    alpha: f64,
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        self.arms.row_key()
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        self.arms.compare(groups, &FIELDS, |samples| {
            let test = analysis::welch(&samples.a, &samples.b);
            let level = 1.0 - 2.0 * self.alpha;
            let tested = test.and_then(|test| Ok((test, test.interval(level, Alternative::TwoSided)?)));
            or_reason(
                tested,
                |(test, [low, high])| {
                    let p = test.p_equivalence(self.lowest, self.highest);
                    let numbers = [
                        test.difference,
                        low,
                        high,
                        test.standard_error,
                        test.degrees_of_freedom,
                        test.p_value_against(self.lowest, Alternative::Greater),
                        test.p_value_against(self.highest, Alternative::Less),
                        p,
                    ];
                    let mut cells = numbers.map(|number| Cell::Number(Some(number))).to_vec();
                    cells.push(Cell::Truth(Some(p < self.alpha)));
                    cells
                },
                |error| vec![difference(error, samples)],
            )
        })
    }
}
