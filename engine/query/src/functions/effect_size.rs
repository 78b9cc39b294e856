//! Effect sizes of two arms: `cliffs_delta`, `cohens_d`, `prob_improvement` and `relative_difference`.

use analysis::AnalysisError;

use super::arms::{A, ARM, ArmSamples, B, LEVEL, NONFINITE, X, number, or_reason};
use super::definition::{Definition, FunctionKind};
use super::grouped::{GroupFunction, Prepare, found};
use super::outcome::{Cell, known};
use super::row_by_row::Found;

static CLIFFS_DELTA: Definition = Definition {
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

static COHENS_D: Definition = Definition {
    name: "cohens_d",
    kind: FunctionKind::Aggregate,
    summary: "Cohen's d of mean(a) - mean(b), in pooled standard deviations, with its interval by the noncentral t; and \
              Hedges' g (1981), which is d without its bias in small samples. error is empty_sample, too_few_runs, \
              zero_variance or nonfinite_value; all else is NULL then.",
    parameters: &[X, ARM, A, B, LEVEL, NONFINITE],
    returns: "struct(estimate, low, high, hedges_g, g_low, g_high, n_a, n_b, n_nonfinite, error)",
    example: "SELECT cohens_d(x, arm, 'new', 'old')['hedges_g'] AS g\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

static PROB_IMPROVEMENT: Definition = Definition {
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

static RELATIVE_DIFFERENCE: Definition = Definition {
    name: "relative_difference",
    kind: FunctionKind::Aggregate,
    summary: "mean(a) - mean(b), and the same in other units: share is of the absolute mean of b, glass_delta in standard \
              deviations of b (Glass 1976), in_average_spread in the root of the mean variance of both arms; cohens_d has \
              the pooled one, with intervals. What has no unit, such as the spread of one run, is NULL. error is \
              empty_sample or nonfinite_value.",
    parameters: &[X, ARM, A, B, NONFINITE],
    returns: "struct(estimate, share, glass_delta, in_average_spread, n_a, n_b, n_nonfinite, error)",
    example: "SELECT relative_difference(x, arm, 'new', 'old')['share'] AS gain\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

pub(super) static FUNCTIONS: [GroupFunction; 4] = [
    GroupFunction {
        definition: &CLIFFS_DELTA,
        fields: || ["estimate", "low", "high", "se"].map(number).to_vec(),
        prepare: Prepare::Arms(|constants, _| {
            let level = constants.level()?;
            Ok(Box::new(move |samples| cliffs_delta(samples, level)))
        }),
    },
    GroupFunction {
        definition: &COHENS_D,
        fields: || ["estimate", "low", "high", "hedges_g", "g_low", "g_high"].map(number).to_vec(),
        prepare: Prepare::Arms(|constants, _| {
            let level = constants.level()?;
            Ok(Box::new(move |samples| cohens_d(samples, level)))
        }),
    },
    GroupFunction {
        definition: &PROB_IMPROVEMENT,
        fields: || ["estimate", "low", "high", "df"].map(number).to_vec(),
        prepare: Prepare::Arms(|constants, _| {
            let level = constants.level()?;
            Ok(Box::new(move |samples| prob_improvement(samples, level)))
        }),
    },
    GroupFunction {
        definition: &RELATIVE_DIFFERENCE,
        fields: || ["estimate", "share", "glass_delta", "in_average_spread"].map(number).to_vec(),
        prepare: Prepare::Arms(|_, _| Ok(Box::new(relative_difference))),
    },
];

fn cliffs_delta(samples: &ArmSamples, level: f64) -> Found {
    match analysis::cliffs_delta(&samples.a, &samples.b, level) {
        Ok(effect) => {
            let end = |side: usize| effect.interval.map(|interval| interval[side]);
            let error = effect.interval.map(|_| effect.variance.sqrt());
            let separated = effect.interval.is_none();
            let cells = [Some(effect.delta), end(0), end(1), error].map(Cell::Number).to_vec();
            (cells, separated.then_some(AnalysisError::DegenerateSeparation))
        }
        Err(error) => (Vec::new(), Some(error)),
    }
}

fn cohens_d(samples: &ArmSamples, level: f64) -> Found {
    found(analysis::hedges_g(&samples.a, &samples.b, level), |effect| {
        let ([d_low, d_high], [g_low, g_high]) = (effect.cohens_d_interval, effect.hedges_g_interval);
        known([effect.cohens_d, d_low, d_high, effect.hedges_g, g_low, g_high])
    })
}

fn prob_improvement(samples: &ArmSamples, level: f64) -> Found {
    let (a, b) = (&samples.a, &samples.b);
    or_reason(
        analysis::probability_of_superiority(a, b, level),
        |effect| {
            let [low, high] = effect.interval;
            known([effect.a12, low, high, effect.degrees_of_freedom])
        },
        |_| {
            let counted = analysis::MannWhitneyTests::normal().test(a, b);
            vec![Cell::Number(counted.ok().map(|counted| counted.a12))]
        },
    )
}

fn relative_difference(samples: &ArmSamples) -> Found {
    found(analysis::relative_difference(&samples.a, &samples.b), |relative| {
        let mut cells = known([relative.difference]);
        cells.extend([relative.share, relative.glass_delta, relative.in_average_spread].map(Cell::Number));
        cells
    })
}
