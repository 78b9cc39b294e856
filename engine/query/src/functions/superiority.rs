//! How far one arm lies above another, beyond means: `almost_stochastic_order` and `hodges_lehmann`.

use analysis::Resampling;

use super::arms::{A, ARM, B, NONFINITE, X, number};
use super::bootstrap::SEED;
use super::definition::{ArgumentKind, Definition, FunctionKind, optional};
use super::grouped::{GroupFunction, Prepare, found};
use super::outcome::known;

/// Resamples where a call names no number.
const RESAMPLES_DEFAULT: u32 = 1_000;

static ORDER: Definition = Definition {
    name: "almost_stochastic_order",
    kind: FunctionKind::Aggregate,
    summary: "Almost stochastic order (del Barrio et al. 2018; Dror et al. 2019): does arm a yield more than arm b at almost \
              every quantile? violation_ratio is the share of the squared distance of both quantile functions where a \
              lies below, epsilon its upper bound by the bootstrap: below 0.2 speaks for a, below 0.5 weakly. Needs ten \
              runs an arm to be of use. error is empty_sample, too_few_runs, zero_variance (equal arms) or \
              nonfinite_value.",
    parameters: &[
        X,
        ARM,
        A,
        B,
        optional("level", ArgumentKind::Number, "confidence level of epsilon, default 0.95"),
        optional("resamples", ArgumentKind::Integer, "default 1000"),
        SEED,
        NONFINITE,
    ],
    returns: "struct(violation_ratio, epsilon, n_a, n_b, n_nonfinite, error)",
    example: "SELECT almost_stochastic_order(x, arm, 'new', 'old', seed => 7)['epsilon'] AS epsilon\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

static SHIFT: Definition = Definition {
    name: "hodges_lehmann",
    kind: FunctionKind::Aggregate,
    summary: "The median of all differences between a run of arm a and one of arm b (Hodges & Lehmann 1963): the shift that \
              belongs to mann_whitney, which outliers hardly move. Takes up to ten million pairs. error is empty_sample, \
              nonfinite_value or invalid_argument (more pairs).",
    parameters: &[X, ARM, A, B, NONFINITE],
    returns: "struct(estimate, n_a, n_b, n_nonfinite, error)",
    example: "SELECT hodges_lehmann(x, arm, 'new', 'old')['estimate'] AS shift\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.10, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

pub(super) static FUNCTIONS: [GroupFunction; 2] = [
    GroupFunction {
        definition: &ORDER,
        fields: || ["violation_ratio", "epsilon"].map(number).to_vec(),
        prepare: Prepare::Arms(|constants, draws| {
            let level = constants.level()?;
            let resampling = Resampling {
                resamples: constants.resamples(RESAMPLES_DEFAULT)?,
                seed: constants.seed(draws.seed)?,
            };
            Ok(Box::new(move |samples| {
                let order = analysis::almost_stochastic_order(&samples.a, &samples.b, level, resampling);
                found(order, |order| known([order.violation_ratio, order.epsilon]))
            }))
        }),
    },
    GroupFunction {
        definition: &SHIFT,
        fields: || vec![number("estimate")],
        prepare: Prepare::Arms(|_, _| {
            Ok(Box::new(|samples| {
                found(analysis::hodges_lehmann(&samples.a, &samples.b), |shift| known([shift]))
            }))
        }),
    },
];
