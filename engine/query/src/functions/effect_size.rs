//! Effect sizes of two arms: `cliffs_delta`, `cohens_d` and `prob_improvement`.

use std::sync::Arc;

use analysis::AnalysisError;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{A, ARM, ArmSamples, Arms, B, LEVEL, NONFINITE, X, comparison_type, number, or_reason};
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{Constants, Definition, FunctionKind};
use super::outcome::{Cell, known};

pub(super) static CLIFFS_DELTA: Definition = Definition {
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

pub(super) static COHENS_D: Definition = Definition {
    name: "cohens_d",
    kind: FunctionKind::Aggregate,
    summary: "Cohen's d of mean(a) - mean(b), in pooled standard deviations, with its interval by the noncentral t; and \
              Hedges' g (1981), which is d without its bias in small samples. error is empty_sample, too_few_runs, \
              zero_variance or nonfinite_value; all else is NULL then.",
    parameters: &[X, ARM, A, B, LEVEL, NONFINITE],
    returns: "struct(estimate, low, high, hedges_g, g_low, g_high, n_a, n_b, n_nonfinite, error)",
    example: "SELECT cohens_d(x, arm, 'new', 'old')['hedges_g'] AS g\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

pub(super) static PROB_IMPROVEMENT: Definition = Definition {
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

/// Which effect size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum EffectSize {
    CliffsDelta,
    CohensD,
    ProbImprovement,
}

impl EffectSize {
    /// The fields before those of every comparison.
    fn fields(self) -> &'static [(&'static str, DataType)] {
        match self {
            Self::CliffsDelta => const { &[number("estimate"), number("low"), number("high"), number("se")] },
            Self::CohensD => {
                const {
                    &[
                        number("estimate"),
                        number("low"),
                        number("high"),
                        number("hedges_g"),
                        number("g_low"),
                        number("g_high"),
                    ]
                }
            }
            Self::ProbImprovement => {
                const { &[number("estimate"), number("low"), number("high"), number("df")] }
            }
        }
    }

    fn compare(self, samples: &ArmSamples, level: f64) -> (Vec<Cell>, Option<AnalysisError>) {
        let (a, b) = (&samples.a, &samples.b);
        match self {
            Self::CliffsDelta => match analysis::cliffs_delta(a, b, level) {
                Ok(effect) => {
                    let end = |side: usize| effect.interval.map(|interval| interval[side]);
                    let error = effect.interval.map(|_| effect.variance.sqrt());
                    let separated = effect.interval.is_none();
                    let cells = [Some(effect.delta), end(0), end(1), error].map(Cell::Number).to_vec();
                    (cells, separated.then_some(AnalysisError::DegenerateSeparation))
                }
                Err(error) => (Vec::new(), Some(error)),
            },
            Self::CohensD => or_reason(
                analysis::hedges_g(a, b, level),
                |effect| {
                    let ([d_low, d_high], [g_low, g_high]) =
                        (effect.cohens_d_interval, effect.hedges_g_interval);
                    known([effect.cohens_d, d_low, d_high, effect.hedges_g, g_low, g_high])
                },
                |_| Vec::new(),
            ),
            Self::ProbImprovement => or_reason(
                analysis::probability_of_superiority(a, b, level),
                |effect| {
                    let [low, high] = effect.interval;
                    known([effect.a12, low, high, effect.degrees_of_freedom])
                },
                |_| {
                    let counted = analysis::MannWhitneyTests::normal().test(a, b);
                    vec![Cell::Number(counted.ok().map(|counted| counted.a12))]
                },
            ),
        }
    }
}

impl CollectingFunction for EffectSize {
    fn definition(&self) -> &'static Definition {
        match self {
            Self::CliffsDelta => &CLIFFS_DELTA,
            Self::CohensD => &COHENS_D,
            Self::ProbImprovement => &PROB_IMPROVEMENT,
        }
    }

    fn return_type(&self) -> DataType {
        comparison_type(self.fields())
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        Ok(Arc::new(Call { effect: *self, arms: Arms::read(constants)?, level: constants.level()? }))
    }
}

#[derive(Debug)]
struct Call {
    effect: EffectSize,
    arms: Arms,
    level: f64,
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        self.arms.row_key()
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        self.arms.compare(groups, self.effect.fields(), |samples| self.effect.compare(samples, self.level))
    }
}
