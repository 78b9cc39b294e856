//! The golden suite of gate decisions.

use analysis::{Direction, GateParameters, GateReport, GateRun, Mode, Verdict, gate};
use serde_json::{Value, json};

use crate::golden::{Answer, Vector, check, number, shown_option};

#[test]
fn gate_decisions() {
    check("gate", &[], |vector| {
        let parameters = parameters(vector);
        let (baseline, candidate) = (arm(vector, "baseline"), arm(vector, "candidate"));
        Answer::Got(match gate("metric", &baseline, &candidate, &parameters) {
            Err(error) => {
                assert!(!error.is_data_error(), "{error}");
                json!({"verdict": null, "error": error.code(), "exit_code": 2})
            }
            Ok(report) if report.verdict == Verdict::Error => {
                json!({"verdict": null, "error": report.reason, "exit_code": report.exit_code})
            }
            Ok(report) => answer(&report),
        })
    });
}

/// Pairs are the positions in the lists; failed runs are non-finite values.
fn arm(vector: &Vector, key: &str) -> Vec<GateRun> {
    let run = |(i, value): (usize, f64)| GateRun {
        pair: Some(i.to_string()),
        ..GateRun::finished(format!("{key}-{i}"), value)
    };
    vector.input(key).into_iter().enumerate().map(run).collect()
}

fn parameters(vector: &Vector) -> GateParameters {
    let optional = |key| match vector.parameter(key) {
        Value::Null => None,
        value => Some(number(value)),
    };
    let flag = |key| vector.parameter(key).as_bool().unwrap_or(false);
    let direction = match vector.parameter("direction").as_str().unwrap() {
        "max" => Direction::Up,
        "min" => Direction::Down,
        other => panic!("unknown direction {other}"),
    };
    let mode = match vector.parameter("mode").as_str().unwrap() {
        "better" => Mode::Better,
        "not_worse" => Mode::NotWorse,
        "equivalent" => Mode::Equivalent,
        other => panic!("unknown mode {other}"),
    };
    GateParameters {
        mode: Some(mode),
        margin: optional("margin"),
        relative: flag("margin_relative"),
        alpha: optional("alpha").unwrap(),
        detect: optional("detect"),
        allow_failures: optional("allow_failures"),
        deterministic: flag("deterministic"),
        pair_by: flag("paired").then(|| "position".to_owned()),
        ..GateParameters::new(direction)
    }
}

fn answer(report: &GateReport) -> Value {
    let mut got = json!({
        "verdict": report.verdict,
        "reason": report.reason,
        "exit_code": report.exit_code,
        "min_runs": report.parameters.min_runs,
        "improvement": shown_option(report.improvement),
        "se": shown_option(report.standard_error),
        "df": shown_option(report.degrees_of_freedom),
        "lower": shown_option(report.lower),
        "upper": shown_option(report.upper),
        "finite_lower": shown_option(report.lower),
        "finite_upper": shown_option(report.upper),
        "threshold": shown_option(report.threshold),
        "p_pass": report.p_pass,
        "p_fail": report.p_fail,
        "failed_baseline": report.baseline.failed,
        "failed_candidate": report.candidate.failed,
        "failure_rate_upper95": report.candidate.failure_rate_upper95,
    });
    if let Some(failures) = &report.failures {
        got["imputed_value"] = shown_option(failures.imputed_value);
        got["imputed_lower"] = shown_option(failures.imputed_lower);
        got["failure_rate_p"] = json!(failures.p_more_failures);
    }
    if let Some(seeds) = &report.seeds {
        got["sd_used"] = json!(seeds.sd_used);
        got["sd_upper80"] = json!(seeds.sd_upper80);
        got["n_needed"] = json!(seeds.n_needed);
        got["n_needed_conservative"] = json!(seeds.n_needed_conservative);
        got["n_needed_observed"] = json!(seeds.n_needed_observed);
        got["heading"] = json!(seeds.heading);
        got["more_candidate"] = json!(seeds.more_candidate);
        got["more_baseline"] = json!(seeds.more_baseline);
    }
    got
}
