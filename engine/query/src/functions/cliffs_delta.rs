//! `cliffs_delta`: how much more often is one arm larger than the other?

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{A, ARM, Arms, B, LEVEL, NONFINITE, X, comparison_type, number};
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{Constants, Definition, FunctionKind};
use super::outcome::Cell;

pub(super) static DEFINITION: Definition = Definition {
    name: "cliffs_delta",
    kind: FunctionKind::Aggregate,
    summary: "Cliff's delta, P(a > b) - P(a < b), with his asymmetric interval (Cliff 1996). Where all values of one arm \
              lie above all of the other, delta is 1 or -1, the interval is NULL and error says degenerate_separation; \
              prob_improvement has an interval there too. Other errors are empty_sample, too_few_runs and \
              nonfinite_value.",
    parameters: &[X, ARM, A, B, LEVEL, NONFINITE],
    returns: "struct(estimate, low, high, se, n_a, n_b, n_nonfinite, error)",
    example: "SELECT cliffs_delta(x, arm, 'new', 'old')['estimate'] AS delta\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.82, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

const FIELDS: [(&str, DataType); 4] = [number("estimate"), number("low"), number("high"), number("se")];

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CliffsDelta;

impl CollectingFunction for CliffsDelta {
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
            match analysis::cliffs_delta(&samples.a, &samples.b, self.level) {
                Ok(effect) => {
                    let end = |side: usize| Cell::Number(effect.interval.map(|interval| interval[side]));
                    let error = effect.interval.map(|_| effect.variance.sqrt());
                    let cells = vec![Cell::Number(Some(effect.delta)), end(0), end(1), Cell::Number(error)];
                    let separated = effect.interval.is_none();
                    (cells, separated.then_some(analysis::AnalysisError::DegenerateSeparation))
                }
                Err(error) => (Vec::new(), Some(error)),
            }
        })
    }
}
