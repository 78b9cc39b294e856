//! `cohens_d`: how many standard deviations lie between two arms?

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{A, ARM, Arms, B, LEVEL, NONFINITE, X, comparison_type, number, or_reason};
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{Constants, Definition, FunctionKind};
use super::outcome::Cell;

pub(super) static DEFINITION: Definition = Definition {
    name: "cohens_d",
    kind: FunctionKind::Aggregate,
    summary: "Cohen's d of mean(a) - mean(b), in pooled standard deviations, with its interval by the noncentral t; and \
              Hedges' g (1981), which is d without its bias in small samples. error is empty_sample, too_few_runs, \
              zero_variance or nonfinite_value; all else is NULL then.",
    parameters: &[X, ARM, A, B, LEVEL, NONFINITE],
    returns: "struct(estimate, low, high, hedges_g, g_low, g_high, n_a, n_b, n_nonfinite, error)",
    example: "SELECT cohens_d(x, arm, 'new', 'old')['hedges_g'] AS g\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

const FIELDS: [(&str, DataType); 6] = [
    number("estimate"),
    number("low"),
    number("high"),
    number("hedges_g"),
    number("g_low"),
    number("g_high"),
];

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CohensD;

impl CollectingFunction for CohensD {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        comparison_type(&FIELDS)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        Ok(Arc::new(Call { arms: Arms::read(constants)?, level: constants.level()? }))
    }
}

#[derive(Debug)]
struct Call {
    arms: Arms,
    level: f64,
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        self.arms.row_key()
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        self.arms.compare(groups, &FIELDS, |samples| {
            or_reason(
                analysis::hedges_g(&samples.a, &samples.b, self.level),
                |effect| {
                    let ([d_low, d_high], [g_low, g_high]) =
                        (effect.cohens_d_interval, effect.hedges_g_interval);
                    let numbers = [effect.cohens_d, d_low, d_high, effect.hedges_g, g_low, g_high];
                    numbers.map(|number| Cell::Number(Some(number))).to_vec()
                },
                |_| Vec::new(),
            )
        })
    }
}
