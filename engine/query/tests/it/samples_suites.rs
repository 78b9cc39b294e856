//! The golden suites of one sample, one curve and one set of labels, asked in SQL.
//!
//! Not in SQL, on purpose: biased forms of skewness and kurtosis beside the better ones, the stationary bootstrap (its
//! blocks have random lengths; the two offered cover as well), and k-means, HDBSCAN, linkage and silhouettes of bare
//! vectors, since clusters in SQL are of runs: `cluster_runs` and `cluster_curves` prepare their features themselves.

use serde_json::{Value, json};

use crate::asked::{along, arms, ends, of, refused, row, scalar, table, values};
use crate::functions_golden::literal;
use crate::golden::{Answer, Vector, check, number, numbers, shown};
use crate::lake::Lake;

fn described(found: &Value) -> Value {
    let interval = if found["low"].is_null() { Value::Null } else { ends(found) };
    let spread = |low: &str, high: &str| match (&found[low], &found[high]) {
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        (low, high) => shown(number(high) - number(low)),
    };
    let middle = || shown(0.5 * number(&found["min"]) + 0.5 * number(&found["max"]));
    json!({
        "n": found["n"],
        "n_nonfinite": found["n_nonfinite"],
        "mean": found["mean"],
        "var": found["variance"],
        "sd": found["sd"],
        "sd_is_finite": found["sd"].is_number(),
        "sem": found["se"],
        "min": found["min"],
        "median": found["median"],
        "max": found["max"],
        "range": spread("min", "max"),
        "range_mid": if found["min"].is_null() { Value::Null } else { middle() },
        "iqr": spread("q1", "q3"),
        "iqm": found["iqm"],
        "mad": found["mad"],
        "skew_g1": found["skewness"],
        "kurtosis_g2": found["kurtosis"],
        "winsorized_mean_20": found["winsorized_mean"],
        "gmean": found["geometric_mean"],
        "hmean": found["harmonic_mean"],
        "ci95_t": interval,
    })
}

#[test]
fn descriptive() {
    let lake = Lake::empty();
    let elsewhere = ["mad_normal", "skew_biased", "kurtosis_excess_biased"];
    let compared = check("descriptive", &elsewhere, |vector| {
        let input = vector.field("input").as_object().unwrap();
        if let Some(parts) = input.get("parts") {
            let all: Vec<f64> = parts.as_array().unwrap().iter().flat_map(numbers).collect();
            return Answer::Got(described(&of(&lake, "summary(x)", &values(&all))));
        }
        if let Some(repeat) = input.get("repeat") {
            let from = format!("(SELECT {} AS x FROM range({})) AS t", repeat[0], repeat[1]);
            return Answer::Got(described(&of(&lake, "summary(x)", &from)));
        }
        let sample = vector.input("x");
        let from = values(&sample);
        let mut got = described(&of(&lake, "summary(x)", &from));
        got["trim_mean_10"] = of(&lake, "trimmed_mean(x, 0.1)", &from);
        got["trim_mean_20"] = of(&lake, "trimmed_mean(x)", &from);
        got["n_used"] = json!(sample.len() - 2 * (sample.len() / 4));
        if let Value::Array(_) = vector.parameter("q") {
            let calls: Vec<String> = numbers(vector.parameter("q"))
                .iter()
                .map(|q| format!("quantile_ci(x, {})['estimate']", literal(*q)))
                .collect();
            got["quantiles"] = of(&lake, &format!("[{}]", calls.join(", ")), &from);
        }
        Answer::Got(got)
    });
    assert!(compared >= 700, "{compared}");
}

#[test]
fn correlation() {
    let lake = Lake::empty();
    let compared = check("correlation", &[], |vector| {
        let rows = vector.input("x").into_iter().zip(vector.input("y"));
        let from = table(rows.map(|(x, y)| format!("{}, {}", literal(x), literal(y))), "x, y");
        let test = |method: &str| of(&lake, &format!("correlation_test(x, y, '{method}')"), &from);
        let (product, ranks, tau) = (test("pearson"), test("spearman"), test("kendall"));
        let line = of(&lake, "linear_fit(x, y)", &from);
        Answer::Got(json!({
            "pearson_r": product["estimate"],
            "pearson_p": product["p"],
            "pearson_ci95": ends(&product),
            "spearman_rho": ranks["estimate"],
            "spearman_p_t": ranks["p"],
            "kendall_tau_b": tau["estimate"],
            "kendall_p": tau["p"],
            "slope": line["slope"],
            "intercept": line["intercept"],
            "slope_se": line["slope_se"],
        }))
    });
    assert!(compared >= 60, "{compared}");
}

#[test]
fn curves() {
    let lake = Lake::empty();
    let elsewhere = ["hac_lag", "optimal_block_stationary", "stationary", "percentile95"];
    let compared = check("autocorrelation", &elsewhere, |vector| {
        // In reverse: the functions sort by step.
        let y = vector.input("y");
        let rows = y.iter().enumerate().rev().map(|(i, y)| format!("{i}, {}", literal(*y)));
        let from = table(rows, "i, y");
        let lags = of(&lake, "autocorrelation(i, y, 12)", &from)["lags"].take();
        let tests = [5, 10].map(|lags| of(&lake, &format!("ljung_box(i, y, {lags})"), &from));
        let mean = of(&lake, "curve_mean(i, y, resamples => 100)", &from);
        let boot = |scheme: &str| {
            let call =
                format!("block_bootstrap_ci(i, y, scheme => '{scheme}', resamples => 10000, seed => 4)");
            of(&lake, &call, &from)
        };
        let inside = |found: &Value, bounds: &Value| {
            let inside = ["low", "high"].into_iter().zip(bounds.as_array().unwrap()).all(|(end, bounds)| {
                let (end, bounds) = (number(&found[end]), numbers(bounds));
                bounds[0] <= end && end <= bounds[1]
            });
            if inside { bounds.clone() } else { json!([found["low"], found["high"]]) }
        };
        let resampled = |scheme: &str| {
            let found = boot(scheme);
            let bounds = inside(&found, &vector.expected()[scheme]["bounds_B10000"]);
            json!({"block": found["block_length"], "boot_se": found["se"], "bounds_B10000": bounds})
        };
        Answer::Got(json!({
            "acf": crate::asked::each(lags.as_array().unwrap(), "correlation"),
            "hac_se": mean["se_newey_west"],
            "iid_se": mean["se_independent"],
            "optimal_block_circular": boot("circular")["optimal_length"],
            "moving": resampled("moving"),
            "circular": resampled("circular"),
            "ljung_box_q": crate::asked::each(&tests, "statistic"),
            "ljung_box_p": crate::asked::each(&tests, "p"),
        }))
    });
    assert!(compared >= 120, "{compared}");
}

#[test]
fn clusters() {
    let lake = Lake::empty();
    let compared = check("clustering", &[], |vector| {
        let both = ["a", "b"].map(|key| vector.raw_input(key).is_array());
        if both != [true, true] {
            return Answer::Skip("of bare vectors, which are no rows of a lake");
        }
        let labels = vector.input("a").into_iter().zip(vector.input("b"));
        let from = table(labels.map(|(a, b)| format!("{a}, {b}")), "a, b");
        let found = of(&lake, "label_agreement(a, b)", &from);
        Answer::Got(json!({
            "ari": found["adjusted_rand"],
            "nmi": found["normalized_mutual"],
            "ami": found["adjusted_mutual"],
            "rand": found["rand"],
            "fowlkes_mallows": found["fowlkes_mallows"],
            "homogeneity": found["homogeneity"],
            "completeness": found["completeness"],
        }))
    });
    assert!(compared >= 29, "{compared}");
}

fn t_outcome(found: &Value) -> Value {
    let p = &found["p"];
    let mut got = json!({
        "t": found["t"],
        "df": found["df"],
        "p": p,
        "diff": found["estimate"],
        "n_nonfinite_a": found["n_nonfinite"],
    });
    if p.is_number() {
        got["log10_p"] = json!(number(p).log10());
    }
    if !found["error"].is_null() {
        got["error"] = found["error"].clone();
    }
    got
}

#[test]
fn degenerate() {
    let lake = Lake::empty();
    // Words that go with a p-value in a report, where the numbers say the same; threads are the session's to choose.
    let elsewhere = ["warning", "recommended", "n_nonzero", "identical_across_threads"];
    let compared = check("degenerate", &elsewhere, |vector| {
        let two_arms = |call: &str| of(&lake, call, &arms(vector, &["a", "b"]));
        let sample = || values(&vector.input("x"));
        Answer::Got(match vector.parameter("fn").as_str().unwrap() {
            "describe" => {
                let call = match vector.field("params_note") {
                    Value::String(_) => "summary(x, nonfinite => 'drop')",
                    _ => "summary(x)",
                };
                described(&of(&lake, call, &sample()))
            }
            "quantile" => {
                let call = format!("quantile_ci(x, {})", literal(number(vector.parameter("q"))));
                if vector.expected().contains_key("error") {
                    json!({"error": refused(&lake, &format!("SELECT {call} FROM {}", sample()))})
                } else {
                    json!({"value": of(&lake, &call, &sample())["estimate"]})
                }
            }
            "welch" => t_outcome(&two_arms("welch_test(x, arm, 'a', 'b')")),
            "student" => t_outcome(&two_arms("student_test(x, arm, 'a', 'b')")),
            "paired" => paired(&two_arms("paired_test(x, arm, 'a', 'b', i)")),
            "mann_whitney" => mann_whitney(&lake, vector),
            "mcnemar" => {
                let table: Vec<Vec<f64>> =
                    vector.raw_input("table").as_array().unwrap().iter().map(numbers).collect();
                let (b, c) = (table[0][1] as u64, table[1][0] as u64);
                json!({"exact_p": scalar(&lake, &format!("mcnemar_counts({b}, {c})"))["p"], "discordant": b + c})
            }
            "required_n" => {
                let get = |key| literal(number(vector.parameter(key)));
                let found = scalar(
                    &lake,
                    &format!("required_runs({}, {}, {})", get("d"), get("power"), get("alpha")),
                );
                json!({"error": found["error"], "n": found["n"]})
            }
            "holm" => {
                let from = values(&vector.input("p"));
                if vector.expected().contains_key("error") {
                    let sql = format!("SELECT adjust_p(x) OVER () FROM {from}");
                    json!({"error": refused(&lake, &sql)})
                } else {
                    json!({"adjusted": along(&lake, "adjust_p(x)", &from)})
                }
            }
            "ewm" => {
                let alpha = literal(number(vector.parameter("alpha")));
                let from = values(&vector.input("y"));
                let sql =
                    format!("SELECT ema(x, alpha => {alpha}, method => 'ewm') OVER (ORDER BY i) FROM {from}");
                json!({"error": refused(&lake, &sql)})
            }
            "brunner_munzel" => {
                let found = two_arms("brunner_munzel(x, arm, 'a', 'b')");
                assert!(found["t"].is_null() && found["low"].is_null());
                json!({
                    "prob": found["estimate"],
                    "error": found["error"],
                    // There is none by the t distribution; the one given is the fallback.
                    "p": found["t"],
                    "fallback": "permutation",
                    "fallback_p_two_sided": found["p"],
                })
            }
            "wilcoxon" => json!({"p": two_arms("wilcoxon(x, arm, 'a', 'b', i)")["p"]}),
            "ks_2samp" => {
                let found = two_arms("ks_test(x, arm, 'a', 'b')");
                json!({"D": found["d"], "exact_p": found["p"]})
            }
            "levene" => {
                let found = two_arms("levene_test(x, arm)");
                json!({"error": found["error"], "p": found["p"]})
            }
            "block_bootstrap_mean" => json!({"error": of(&lake, "curve_mean(i, x)", &sample())["error"]}),
            "bootstrap_mean" => bootstrap(&lake, vector),
            "chi2" => counts(&lake, vector),
            other => panic!("unknown function {other}"),
        })
    });
    assert!(compared >= 150, "{compared}");
}

/// Runs without a partner are left out and counted, where the peer refuses arms of different length.
fn paired(found: &Value) -> Value {
    if found["n_unpaired"] != json!(0) {
        return json!({"error": "pairing_mismatch"});
    }
    t_outcome(found)
}

fn mann_whitney(lake: &Lake, vector: &Vector) -> Value {
    let found = of(lake, "mann_whitney(x, arm, 'a', 'b')", &arms(vector, &["a", "b"]));
    let [low, high] = [("a", 0.0), ("b", 1e3)].map(|(arm, offset)| {
        let places = 0..vector.input(arm).len();
        places.map(|i| format!("{}, '{arm}'", literal(offset + i as f64))).collect::<Vec<_>>()
    });
    let floor = of(lake, "mann_whitney(x, arm, 'a', 'b')", &table([low, high].concat(), "x, arm"));
    json!({
        "U": found["u"],
        "a12": found["estimate"],
        "p": found["p"],
        "exact_p": if found["method"] == "exact" { found["p"].clone() } else { Value::Null },
        "min_attainable_p": floor["p"],
    })
}

/// An interval that is missing says why by what else is missing.
fn bootstrap(lake: &Lake, vector: &Vector) -> Value {
    let method = vector.parameter("method").as_str().unwrap().to_lowercase();
    let call = format!("bootstrap_ci(x, method => '{method}', seed => 7)");
    let ask = || of(lake, &call, &values(&vector.input("x")));
    let found = ask();
    let mut got = json!({"low": found["low"], "high": found["high"]});
    let expected = vector.expected();
    if expected.contains_key("error") {
        got["error"] = json!(match (&found["n"], &found["low"]) {
            (n, Value::Null) if *n == json!(0) => "empty_sample",
            (_, Value::Null) => "too_few_runs",
            (_, low) if *low == json!("NaN") => "nonfinite_value",
            other => panic!("{}: {other:?}", vector.name()),
        });
    }
    if let Some(word) = expected.get("warning") {
        let told = found["warning"].as_str().unwrap_or_default();
        let has = told.split(',').any(|one| Some(one) == word.as_str());
        got["warning"] = if has { word.clone() } else { found["warning"].clone() };
    }
    got["identical_across_runs"] = json!(ask() == found);
    got
}

fn counts(lake: &Lake, vector: &Vector) -> Value {
    let input = vector.raw_input("table");
    if vector.expected()["error"] == "negative_count" {
        return json!({"error": refused(lake, &format!("SELECT chi_squared_test({input})"))});
    }
    let cells: Vec<String> =
        input.as_array().unwrap().iter().flat_map(numbers).map(|count| format!("{count}")).collect();
    let sql = format!("SELECT chi_squared_test({input}) AS chi, fisher_test({}) AS fisher", cells.join(", "));
    let found = row(lake, &sql);
    json!({"error": found["chi"]["error"], "fisher_p": found["fisher"]["p"]})
}
