//! `prob_improvement`: how likely is a run of one arm better than a run of the other?

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{A, ARM, Arms, B, LEVEL, NONFINITE, X, comparison_type, number, or_reason};
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{Constants, Definition, FunctionKind};
use super::outcome::Cell;

pub(super) static DEFINITION: Definition = Definition {
    name: "prob_improvement",
    kind: FunctionKind::Aggregate,
    summary: "The probability of improvement (Agarwal et al. 2021; Vargha and Delaney's A12): P(a > b) + P(a = b) / 2 \
              for a run of arm a and one of arm b, with a logit t interval that holds also without overlap. For a \
              metric to minimise swap a and b. error is empty_sample, too_few_runs (below two runs an arm; the \
              estimate is given) or nonfinite_value.",
    parameters: &[X, ARM, A, B, LEVEL, NONFINITE],
    returns: "struct(estimate, low, high, df, n_a, n_b, n_nonfinite, error)",
    example: "SELECT prob_improvement(x, arm, 'new', 'old')['estimate'] AS p_better\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.82, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

const FIELDS: [(&str, DataType); 4] = [number("estimate"), number("low"), number("high"), number("df")];

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ProbImprovement;

impl CollectingFunction for ProbImprovement {
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
                analysis::probability_of_superiority(&samples.a, &samples.b, self.level),
                |effect| {
                    let [low, high] = effect.interval;
                    let numbers = [effect.a12, low, high, effect.degrees_of_freedom];
                    numbers.map(|number| Cell::Number(Some(number))).to_vec()
                },
                |_| {
                    let counted = analysis::MannWhitneyTests::normal().test(&samples.a, &samples.b);
                    vec![Cell::Number(counted.ok().map(|counted| counted.a12))]
                },
            )
        })
    }
}
