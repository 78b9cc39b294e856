//! `paired_test`: two arms compared pair by pair.

use analysis::{Alternative, AnalysisError, Resampling};
use datafusion::common::Result;

use super::arms::{A, ALTERNATIVE, ARM, B, LEVEL, NONFINITE, X, alternative, number};
use super::bootstrap::Draws;
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional};
use super::grouped::{GroupFunction, OfPairs, Prepare};
use super::outcome::{Cell, known};
use super::pairs::PAIR;

static DEFINITION: Definition = Definition {
    name: "paired_test",
    kind: FunctionKind::Aggregate,
    summary: "The paired t test: the differences a - b of runs with the same pair (a seed, an eval example). p_signs is \
              the exact sign-flip test of the same differences (Fisher 1935; drawn above 17 pairs), d_z their mean in \
              standard deviations, with its interval by the noncentral t. Pairs that one arm lacks are left out and counted in n_unpaired. Declare pairs \
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
    returns: "struct(estimate, low, high, se, t, df, p, p_signs, d_z, d_z_low, d_z_high, n, n_unpaired, n_nonfinite, error)",
    example: "SELECT paired_test(x, arm, 'new', 'old', seed)['p'] AS p\nFROM (VALUES (0.84, 'new', 1), (0.86, 'new', 2), (0.85, 'new', 3), (0.81, 'old', 1), (0.84, 'old', 2), (0.82, 'old', 3)) AS runs(x, arm, seed)",
};

pub(super) static FUNCTIONS: [GroupFunction; 1] = [GroupFunction {
    definition: &DEFINITION,
    fields: || {
        ["estimate", "low", "high", "se", "t", "df", "p", "p_signs", "d_z", "d_z_low", "d_z_high"]
            .map(number)
            .to_vec()
    },
    prepare: Prepare::Pairs(paired_test),
}];

fn paired_test(constants: &Constants<'_>, draws: Draws) -> Result<OfPairs> {
    let (level, alternative) = (constants.level()?, alternative(constants)?);
    let resampling = Resampling { seed: constants.seed(draws.seed)?, ..Resampling::default() };
    Ok(Box::new(move |pairs| match tested(&pairs.differences(), level, alternative, resampling) {
        Ok(cells) => (cells, None),
        Err(error) => {
            let difference = match &error {
                AnalysisError::ZeroVariance { difference } => Some(*difference),
                _ => None,
            };
            (vec![Cell::Number(difference)], Some(error))
        }
    }))
}

fn tested(
    differences: &[f64],
    level: f64,
    alternative: Alternative,
    resampling: Resampling,
) -> analysis::Result<Vec<Cell>> {
    let test = analysis::one_sample(differences, 0.0)?;
    let [low, high] = test.interval(level, alternative)?;
    let signs = analysis::sign_flip_test(differences, resampling)?;
    let p_signs = match alternative {
        Alternative::TwoSided => signs.p_two_sided,
        Alternative::Greater => signs.p_greater,
        Alternative::Less => signs.p_less,
    };
    let effect = analysis::paired_effect(differences, level)?;
    let [d_low, d_high] = effect.cohens_d_interval;
    let (error, df, p) = (test.standard_error, test.degrees_of_freedom, test.p_value(alternative));
    let mut cells = known([test.difference, low, high, error, test.statistic(), df, p]);
    cells.extend(known([p_signs.value(), effect.cohens_d, d_low, d_high]));
    Ok(cells)
}
