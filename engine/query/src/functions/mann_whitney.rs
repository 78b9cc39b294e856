//! `mann_whitney`: does one arm tend to be larger than the other?

use std::sync::Arc;

use analysis::{Alternative, MannWhitneyTests};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{
    A, ALTERNATIVE, ARM, Arms, B, NONFINITE, X, alternative, comparison_type, number, or_reason,
};
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional};
use super::outcome::Cell;

pub(super) static DEFINITION: Definition = Definition {
    name: "mann_whitney",
    kind: FunctionKind::Aggregate,
    summary: "The Mann-Whitney U test (1947): does a value of arm a tend to be larger than one of arm b? estimate is \
              P(a > b) + P(a = b) / 2, u its count over all pairs. Exact without ties up to 10,000 pairs, else normal \
              with corrections for ties and continuity; method says which. It says nothing about means: arms of \
              different shape reject equal means. p is never below its floor, 2 of all C(n+m, n) splits. error is \
              empty_sample or nonfinite_value.",
    parameters: &[
        X,
        ARM,
        A,
        B,
        ALTERNATIVE,
        optional("method", ArgumentKind::Text, "'auto' (default) or 'normal'"),
        NONFINITE,
    ],
    returns: "struct(estimate, u, p, method, n_a, n_b, n_nonfinite, error)",
    example: "SELECT mann_whitney(x, arm, 'new', 'old')['p'] AS p\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

const FIELDS: [(&str, DataType); 4] =
    [number("estimate"), number("u"), number("p"), ("method", DataType::Utf8)];

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MannWhitney;

impl CollectingFunction for MannWhitney {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        comparison_type(&FIELDS)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        let normal = match constants.text("method") {
            None | Some("auto") => false,
            Some("normal") => true,
            Some(other) => {
                return constants.refuse("method", format_args!("'{other}'"), "give 'auto' or 'normal'");
            }
        };
        Ok(Arc::new(Call { arms: Arms::read(constants)?, alternative: alternative(constants)?, normal }))
    }
}

#[derive(Debug)]
struct Call {
    arms: Arms,
    alternative: Alternative,
    normal: bool,
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        self.arms.row_key()
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        let mut tests = if self.normal { MannWhitneyTests::normal() } else { MannWhitneyTests::default() };
        self.arms.compare(groups, &FIELDS, |samples| {
            or_reason(
                tests.test(&samples.a, &samples.b),
                |test| {
                    vec![
                        Cell::Number(Some(test.a12)),
                        Cell::Number(Some(test.u)),
                        Cell::Number(Some(test.p_value(self.alternative).value())),
                        Cell::Word(Some(if test.exact { "exact" } else { "normal" })),
                    ]
                },
                |_| Vec::new(),
            )
        })
    }
}
