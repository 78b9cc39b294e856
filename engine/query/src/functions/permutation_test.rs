//! `permutation_test`: how often would a relabelling of the runs look at least as extreme?

use std::sync::Arc;

use analysis::{Alternative, PermutationStatistic, Resampling};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::arms::{
    A, ALTERNATIVE, ARM, Arms, B, NONFINITE, X, alternative, comparison_type, difference_of_means, number,
    or_reason,
};
use super::bootstrap::Draws;
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional};
use super::outcome::Cell;

pub(super) static DEFINITION: Definition = Definition {
    name: "permutation_test",
    kind: FunctionKind::Aggregate,
    summary: "The permutation test of two arms: all splits of the pooled runs up to 200,000, else as many drawn ones as \
              resamples says, and then p = (hits + 1) / (resamples + 1). estimate is mean(a) - mean(b); statistic is \
              Welch's t, or the difference of means when asked for. Two-sided p is twice the smaller side; p_minimum \
              is the smallest one-sided p that so few runs can give. error is empty_sample, too_few_runs or \
              nonfinite_value.",
    parameters: &[
        X,
        ARM,
        A,
        B,
        optional("statistic", ArgumentKind::Text, "'welch' (default) or 'mean'"),
        ALTERNATIVE,
        optional("resamples", ArgumentKind::Integer, "splits drawn where there are too many, default 9999"),
        optional("seed", ArgumentKind::Integer, "default runlake.seed, which is 0 unless set"),
        NONFINITE,
    ],
    returns: "struct(estimate, statistic, p, p_minimum, relabellings, method, n_a, n_b, n_nonfinite, error)",
    example: "SELECT permutation_test(x, arm, 'new', 'old')['p'] AS p\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

const FIELDS: [(&str, DataType); 6] = [
    number("estimate"),
    number("statistic"),
    number("p"),
    number("p_minimum"),
    ("relabellings", DataType::Int64),
    ("method", DataType::Utf8),
];

/// The function, with the device and seed of the session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PermutationTest {
    pub(super) draws: Draws,
}

impl CollectingFunction for PermutationTest {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        comparison_type(&FIELDS)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        let statistic = match constants.text("statistic") {
            None | Some("welch") => PermutationStatistic::WelchT,
            Some("mean") => PermutationStatistic::MeanDifference,
            Some(other) => {
                return constants.refuse("statistic", format_args!("'{other}'"), "give 'welch' or 'mean'");
            }
        };
        let resampling =
            Resampling { resamples: constants.resamples(9_999)?, seed: constants.seed(self.draws.seed)? };
        let (arms, alternative) = (Arms::read(constants)?, alternative(constants)?);
        Ok(Arc::new(Call { arms, statistic, alternative, resampling, device: self.draws.device }))
    }
}

#[derive(Debug)]
struct Call {
    arms: Arms,
    statistic: PermutationStatistic,
    alternative: Alternative,
    resampling: Resampling,
    device: kernels::Policy,
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        self.arms.row_key()
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        let backend = kernels::select(self.device)
            .map_err(|error| DataFusionError::Plan(format!("{}: {error}", DEFINITION.name)))?
            .backend;
        let samples = self.arms.samples_of_groups(groups);
        let pairs: Vec<(&[f64], &[f64])> =
            samples.iter().map(|samples| (samples.a.as_slice(), samples.b.as_slice())).collect();
        let tests = analysis::permutation_tests(backend.as_ref(), &pairs, self.statistic, self.resampling);
        self.arms.rows(&samples, &FIELDS, tests, |samples, test| {
            let estimate = difference_of_means(samples);
            or_reason(
                test,
                |test| {
                    let p = match self.alternative {
                        Alternative::TwoSided => test.p_two_sided,
                        Alternative::Greater => test.p_greater,
                        Alternative::Less => test.p_less,
                    };
                    vec![
                        estimate.clone(),
                        Cell::Number(Some(test.statistic)),
                        Cell::Number(Some(p.value())),
                        Cell::Number(Some(test.p_minimum.value())),
                        Cell::Count(Some(test.relabellings)),
                        Cell::Word(Some(if test.exact { "exact" } else { "sampled" })),
                    ]
                },
                |_| vec![estimate.clone()],
            )
        })
    }
}
