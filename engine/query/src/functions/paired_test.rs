//! `paired_test`: two arms compared pair by pair.

use std::sync::Arc;

use analysis::{Alternative, AnalysisError, Resampling};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{A, ALTERNATIVE, ARM, Arms, B, LEVEL, NONFINITE, X, alternative, number};
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional};
use super::outcome::Cell;
use super::pairs::{PAIR, compare_pairs, paired_type};

pub(super) static DEFINITION: Definition = Definition {
    name: "paired_test",
    kind: FunctionKind::Aggregate,
    summary: "The paired t test: the differences a - b of runs with the same pair (a seed, an eval example). p_signs is \
              the exact sign-flip test of the same differences (Fisher 1935; drawn above 17 pairs), d_z their mean in \
              standard deviations. Pairs that one arm lacks are left out and counted in n_unpaired. Declare pairs \
              before looking at the result. error is empty_sample, too_few_runs, zero_variance, nonfinite_value, or \
              pairing_mismatch where an arm has a pair twice.",
    parameters: &[
        X,
        ARM,
        A,
        B,
        PAIR,
        LEVEL,
        ALTERNATIVE,
        optional(
            "seed",
            ArgumentKind::Integer,
            "for drawn signs; default runlake.seed, which is 0 unless set",
        ),
        NONFINITE,
    ],
    returns: "struct(estimate, low, high, se, t, df, p, p_signs, d_z, n, n_unpaired, n_nonfinite, error)",
    example: "SELECT paired_test(x, arm, 'new', 'old', seed)['p'] AS p\nFROM (VALUES (0.84, 'new', 1), (0.86, 'new', 2), (0.85, 'new', 3), (0.81, 'old', 1), (0.84, 'old', 2), (0.82, 'old', 3)) AS runs(x, arm, seed)",
};

const FIELDS: [(&str, DataType); 9] = [
    number("estimate"),
    number("low"),
    number("high"),
    number("se"),
    number("t"),
    number("df"),
    number("p"),
    number("p_signs"),
    number("d_z"),
];

/// The function, with the seed of the session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PairedTest {
    pub(super) seed: u64,
}

impl CollectingFunction for PairedTest {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        paired_type(&FIELDS)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        Ok(Arc::new(Call {
            arms: Arms::read(constants)?,
            level: constants.level()?,
            alternative: alternative(constants)?,
            resampling: Resampling { seed: constants.seed(self.seed)?, ..Resampling::default() },
        }))
    }
}

#[derive(Debug)]
struct Call {
    arms: Arms,
    level: f64,
    alternative: Alternative,
    resampling: Resampling,
}

impl Call {
    fn test(&self, differences: &[f64]) -> std::result::Result<[f64; 9], AnalysisError> {
        let test = analysis::one_sample(differences, 0.0)?;
        let [low, high] = test.interval(self.level, self.alternative)?;
        let signs = analysis::sign_flip_test(differences, self.resampling)?;
        let p_signs = match self.alternative {
            Alternative::TwoSided => signs.p_two_sided,
            Alternative::Greater => signs.p_greater,
            Alternative::Less => signs.p_less,
        };
        Ok([
            test.difference,
            low,
            high,
            test.standard_error,
            test.statistic(),
            test.degrees_of_freedom,
            test.p_value(self.alternative),
            p_signs.value(),
            analysis::paired_effect(differences, self.level)?.cohens_d,
        ])
    }
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        self.arms.row_key_with_pairs()
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        compare_pairs(&self.arms, groups, &FIELDS, |pairs| match self.test(&pairs.differences()) {
            Ok(numbers) => (numbers.map(|number| Cell::Number(Some(number))).to_vec(), None),
            Err(error) => {
                let known = match &error {
                    AnalysisError::ZeroVariance { difference } => vec![Cell::Number(Some(*difference))],
                    _ => Vec::new(),
                };
                (known, Some(error))
            }
        })
    }
}
