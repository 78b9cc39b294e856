//! `gate_verdict`: the gate's verdict on two arms of runs.

use analysis::{Direction, GateParameters, GateQuestion, GateReport, GateRun, Looks, Mode};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::arms::{ARM, Arms, X, number};
use super::bootstrap::{Draws, SEED};
use super::collect::RowKey;
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::grouped::{GroupFunction, OfSamples, Prepare, Sample, found};
use super::outcome::Cell;
use super::row_by_row::{Fields, Found};

static DEFINITION: Definition = Definition {
    name: "gate_verdict",
    kind: FunctionKind::Aggregate,
    summary: "What runlake gate would say about arm a (the candidate) against arm b (the baseline): 'pass', 'fail', \
              'inconclusive', or 'error' where there is nothing to judge; reason is its stable word. improvement is \
              signed so that larger is better; low and high are its one-sided bounds at the alpha of this look, which \
              are compared with threshold. A NaN or infinity is a failed run: a pass must hold with failed candidates \
              at the worst value seen (imputed_low), and the candidate must not fail more often (p_more_failures). NULLs \
              do not count; write coalesce(x, 'NaN') where a run without a value failed. Inconclusive verdicts say how \
              many runs an arm would decide: n_needed at the spread seen, n_needed_conservative at the 80 % limit of it, \
              n_needed_observed if the difference seen is the true one, which leads to heading. With pair, a column such \
              as the seed, differences of pairs are tested. Unlike the command it records no look: what is looked at \
              again and again belongs there.",
    parameters: &[
        X,
        ARM,
        required("a", ArgumentKind::Text, "the label of the candidate"),
        required("b", ArgumentKind::Text, "the label of the baseline"),
        optional(
            "direction",
            ArgumentKind::Text,
            "which way the metric gets better: 'up' (default) or 'down'",
        ),
        optional("margin", ArgumentKind::Number, "its size, in units of the metric, or a share if relative"),
        optional(
            "mode",
            ArgumentKind::Text,
            "'better', 'not_worse' or 'equivalent'; default 'not_worse' with a margin, else 'better'",
        ),
        optional(
            "relative",
            ArgumentKind::Boolean,
            "margin and detect are shares of the baseline mean, default false",
        ),
        optional("alpha", ArgumentKind::Number, "one-sided error rate over all looks, default 0.05"),
        optional("looks", ArgumentKind::Integer, "looks planned, 1 (default) or 2"),
        optional("look", ArgumentKind::Integer, "which look this is, default 1"),
        optional(
            "detect",
            ArgumentKind::Number,
            "the smallest gain worth having, to plan with in mode 'better'",
        ),
        optional("power", ArgumentKind::Number, "power to plan for, default 0.8"),
        optional(
            "min_runs",
            ArgumentKind::Integer,
            "finite runs an arm below which nothing is decided, default 3",
        ),
        optional("max_runs", ArgumentKind::Integer, "runs an arm that may be paid for, default 20"),
        optional("allow_failures", ArgumentKind::Number, "accept up to this share of failed candidates"),
        optional(
            "failure_value",
            ArgumentKind::Number,
            "the value that failed runs get in place of the worst",
        ),
        optional(
            "deterministic",
            ArgumentKind::Boolean,
            "training is deterministic: constant arms are compared exactly, default false",
        ),
        optional("assume_equal_variance", ArgumentKind::Boolean, "one variance for both arms, default false"),
        SEED,
        optional("pair", ArgumentKind::Pair, "the column whose equal values make a pair"),
    ],
    returns: "struct(verdict, reason, improvement, low, high, se, df, threshold, p_pass, p_fail, n_a, n_b, failed_a, failed_b, failure_rate_upper95, p_more_failures, imputed_value, imputed_low, n_needed, n_needed_conservative, n_needed_observed, heading, more_a, more_b, sd_used, sd_upper80, n, n_nonfinite, error)",
    example: "SELECT g['verdict'] AS verdict, g['n_needed_observed'] AS runs\nFROM (SELECT gate_verdict(x, arm, 'new', 'old', margin => 0.005) AS g FROM (VALUES (0.827, 'new'), (0.8302, 'new'), (0.8241, 'new'), (0.823, 'old'), (0.8255, 'old'), (0.8291, 'old')) AS runs(x, arm)) AS gated",
};

fn fields() -> Fields {
    let word = |name| (name, DataType::Utf8);
    let count = |name| (name, DataType::Int64);
    let mut fields = ["verdict", "reason"].map(word).to_vec();
    fields.extend(["improvement", "low", "high", "se", "df", "threshold", "p_pass", "p_fail"].map(number));
    fields.extend(["n_a", "n_b", "failed_a", "failed_b"].map(count));
    fields.extend(["failure_rate_upper95", "p_more_failures", "imputed_value", "imputed_low"].map(number));
    fields.extend(["n_needed", "n_needed_conservative", "n_needed_observed"].map(count));
    fields.push(word("heading"));
    fields.extend(["more_a", "more_b"].map(count));
    fields.extend(["sd_used", "sd_upper80"].map(number));
    fields
}

pub(super) static FUNCTIONS: [GroupFunction; 1] =
    [GroupFunction { definition: &DEFINITION, fields, prepare: Prepare::Samples(prepare) }];

fn prepare(constants: &Constants<'_>, draws: Draws) -> Result<(RowKey, OfSamples)> {
    let arms = Arms::read(constants)?;
    let parameters = parameters(constants, draws)?;
    // What is wrong with the question is wrong for every group: a gate of nothing tells it before the rows are read.
    analysis::gate(DEFINITION.name, &[], &[], &parameters)
        .map_err(|error| DataFusionError::Plan(format!("{}: {error}", DEFINITION.name)))?;
    let answer: OfSamples = Box::new(move |samples| verdicts(samples, &parameters));
    Ok((arms.row_key_with_pairs(), answer))
}

fn parameters(constants: &Constants<'_>, draws: Draws) -> Result<GateParameters> {
    let direction = constants.one_of("direction", &[("up", Direction::Up), ("down", Direction::Down)])?;
    let modes = [Mode::Better, Mode::NotWorse, Mode::Equivalent].map(|mode| (mode.name(), Some(mode)));
    let mode = match constants.text("mode") {
        Some(_) => constants.one_of("mode", &modes)?,
        None => None,
    };
    let defaults = GateParameters::new(direction);
    let truth = |name| constants.boolean(name).unwrap_or(false);
    let count = |name, default: usize| match constants.integer(name) {
        Some(_) => constants.count(name, 1, "a number"),
        None => Ok(default),
    };
    let looks = |name| Ok::<_, DataFusionError>(u32::try_from(count(name, 1)?).unwrap_or(u32::MAX));
    Ok(GateParameters {
        mode,
        margin: constants.number("margin"),
        relative: truth("relative"),
        alpha: constants.number("alpha").unwrap_or(defaults.alpha),
        power: constants.number("power").unwrap_or(defaults.power),
        detect: constants.number("detect"),
        min_runs: count("min_runs", defaults.min_runs)?,
        max_runs: count("max_runs", defaults.max_runs)?,
        allow_failures: constants.number("allow_failures"),
        failure_value: constants.number("failure_value"),
        deterministic: truth("deterministic"),
        assume_equal_variance: truth("assume_equal_variance"),
        looks: Looks { planned: looks("looks")?, current: looks("look")? },
        seed: constants.seed(draws.seed)?,
        ..defaults
    })
}

/// All groups together, since a gate of many metrics resamples them in a few calls.
fn verdicts(samples: &[Sample<'_>], parameters: &GateParameters) -> Vec<Found> {
    let asked: Vec<(Vec<GateRun>, Vec<GateRun>, GateParameters)> =
        samples.iter().map(|sample| question(sample, parameters)).collect();
    let questions: Vec<GateQuestion<'_>> = asked
        .iter()
        .map(|(candidate, baseline, parameters)| GateQuestion {
            metric: DEFINITION.name,
            baseline,
            candidate,
            parameters,
        })
        .collect();
    let reports = analysis::gate_many(&questions);
    reports.into_iter().map(|report| found(report, |report| cells(&report))).collect()
}

/// The runs of both arms, and whether they come in pairs.
fn question(
    sample: &Sample<'_>,
    parameters: &GateParameters,
) -> (Vec<GateRun>, Vec<GateRun>, GateParameters) {
    let (mut candidate, mut baseline) = (Vec::new(), Vec::new());
    let mut pairs = sample.labels(0);
    let mut parameters = parameters.clone();
    for (value, arm) in sample.values.iter().zip(sample.keys) {
        let pair = pairs.next().map(str::to_owned);
        if pair.is_some() && parameters.pair_by.is_none() {
            parameters.pair_by = Some("pair".to_owned());
        }
        let run = GateRun { pair, ..GateRun::finished("", *value) };
        if *arm == 0 { &mut candidate } else { &mut baseline }.push(run);
    }
    (candidate, baseline, parameters)
}

fn cells(report: &GateReport) -> Vec<Cell> {
    let count = |count: Option<usize>| Cell::Count(count.map(|count| count as u64));
    let p = |p: Option<analysis::PValue>| Cell::Number(p.map(analysis::PValue::value));
    let (failures, seeds) = (report.failures.as_ref(), report.seeds.as_ref());
    vec![
        Cell::Word(Some(report.verdict.name())),
        Cell::Word(report.reason),
        Cell::Number(report.improvement),
        Cell::Number(report.lower),
        Cell::Number(report.upper),
        Cell::Number(report.standard_error),
        Cell::Number(report.degrees_of_freedom),
        Cell::Number(report.threshold),
        p(report.p_pass),
        p(report.p_fail),
        count(Some(report.n_candidate)),
        count(Some(report.n_baseline)),
        count(Some(report.candidate.failed)),
        count(Some(report.baseline.failed)),
        Cell::Number(report.candidate.failure_rate_upper95),
        p(failures.map(|failures| failures.p_more_failures)),
        Cell::Number(failures.and_then(|failures| failures.imputed_value)),
        Cell::Number(failures.and_then(|failures| failures.imputed_lower)),
        count(seeds.and_then(|seeds| seeds.n_needed)),
        count(seeds.and_then(|seeds| seeds.n_needed_conservative)),
        count(seeds.and_then(|seeds| seeds.n_needed_observed)),
        Cell::Word(seeds.map(|seeds| seeds.heading.name())),
        count(seeds.and_then(|seeds| seeds.more_candidate)),
        count(seeds.and_then(|seeds| seeds.more_baseline)),
        Cell::Number(seeds.map(|seeds| seeds.sd_used)),
        Cell::Number(seeds.map(|seeds| seeds.sd_upper80)),
    ]
}
