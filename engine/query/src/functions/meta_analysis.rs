//! `meta_analysis`: what several experiments say together.

use super::arms::{LEVEL, number};
use super::collect::RowKey;
use super::definition::{ArgumentKind, Definition, FunctionKind, required};
use super::grouped::{GroupFunction, Prepare, Sample, found};
use super::outcome::{Cell, known};
use super::row_by_row::Found;

static DEFINITION: Definition = Definition {
    name: "meta_analysis",
    kind: FunctionKind::Aggregate,
    summary: "Effects of several experiments pooled by a random-effects model, each weighed by its standard error. \
              estimate has the variance between true effects by DerSimonian and Laird (1986, tau_squared), low and high \
              are the t interval of Hartung and Knapp (2001), which holds with few experiments, and se is theirs. \
              Where the true effect of a next experiment lies: prediction_low and prediction_high, from three on. \
              i_squared is the share of the spread that is not noise, q Cochran's with p_q; fixed pools as if there were \
              one true effect; estimate_pm takes tau_squared_pm by Paule and Mandel (1982). error is too_few_runs (one \
              experiment), nonfinite_value, or invalid_argument where a standard error is not above 0.",
    parameters: &[
        required("effect", ArgumentKind::Value, "the effect, one an experiment"),
        required("se", ArgumentKind::Position, "its standard error"),
        LEVEL,
    ],
    returns: "struct(estimate, low, high, se, prediction_low, prediction_high, tau_squared, i_squared, q, p_q, dersimonian_laird_se, fixed, fixed_se, estimate_pm, tau_squared_pm, n, n_nonfinite, error)",
    example: "SELECT m['estimate'] AS gain, m['low'] AS low, m['high'] AS high\nFROM (SELECT meta_analysis(gain, se) AS m FROM (VALUES (0.02, 0.01), (0.03, 0.014), (0.05, 0.01)) AS experiments(gain, se)) AS pooled",
};

pub(super) static FUNCTIONS: [GroupFunction; 1] = [GroupFunction {
    definition: &DEFINITION,
    fields: || {
        [
            "estimate",
            "low",
            "high",
            "se",
            "prediction_low",
            "prediction_high",
            "tau_squared",
            "i_squared",
            "q",
            "p_q",
            "dersimonian_laird_se",
            "fixed",
            "fixed_se",
            "estimate_pm",
            "tau_squared_pm",
        ]
        .map(number)
        .to_vec()
    },
    prepare: Prepare::Sample(|constants, _| {
        let level = constants.level()?;
        Ok((RowKey::Position, Box::new(move |sample| pooled(sample, level))))
    }),
}];

fn pooled(sample: &Sample<'_>, level: f64) -> Found {
    let (errors, effects) = sample.points();
    // A negative error would be squared away.
    let squared = |error: &f64| if *error < 0.0 { -1.0 } else { error * error };
    let variances: Vec<f64> = errors.iter().map(squared).collect();
    found(analysis::pool_effects(&effects, &variances, level), |found| {
        let [low, high] = found.interval;
        let end = |side: usize| Cell::Number(found.prediction.map(|prediction| prediction[side]));
        let mut cells = known([found.random_mean, low, high, found.hartung_knapp_error]);
        cells.extend([end(0), end(1)]);
        cells.extend(known([
            found.tau_squared,
            found.i_squared,
            found.q,
            found.p_q.value(),
            found.random_error,
            found.fixed_mean,
            found.fixed_error,
            found.random_mean_paule_mandel,
            found.tau_squared_paule_mandel,
        ]));
        cells
    })
}
