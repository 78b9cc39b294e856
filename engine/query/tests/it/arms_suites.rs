//! The golden suites of arms, strata and several experiments, asked in SQL.
//!
//! Not in SQL, on purpose: p-values by the normal distribution where a better one is given, and the range of a bound over
//! the peer's own seeds.

use serde_json::{Value, json};

use crate::asked::{arms, ends, of, refused, scalar, table};
use crate::functions_golden::literal;
use crate::golden::{Answer, Vector, check, number, numbers, shown};
use crate::lake::Lake;

const SIDES: [&str; 3] = ["two-sided", "greater", "less"];

fn by_side(side: impl Fn(&str) -> Value) -> Value {
    Value::Object(SIDES.iter().map(|name| ((*name).to_owned(), side(name))).collect())
}

#[test]
fn t_tests() {
    let lake = Lake::empty();
    let compared = check("ttests", &[], |vector| {
        let function = match vector.parameter("test").as_str() {
            Some("welch") => "welch_test(x, arm, 'a', 'b'",
            Some("student") => "student_test(x, arm, 'a', 'b'",
            Some("paired") => "paired_test(x, arm, 'a', 'b', i",
            Some("one_sample") => &format!("one_sample_test(x, {}", vector.parameter("popmean")),
            _ => return Answer::Skip("values of a distribution underneath"),
        };
        let names = if vector.raw_input("b").is_array() { &["a", "b"][..] } else { &["a"] };
        let from = arms(vector, names);
        let test = |side: &str, level: f64| {
            of(&lake, &format!("{function}, alternative => '{side}', level => {level})"), &from)
        };
        let mut got = by_side(|side| {
            let found = test(side, 0.95);
            json!({"t": found["t"], "df": found["df"], "p": found["p"], "ci95": ends(&found)})
        });
        let found = test("two-sided", 0.9);
        got["ci90"] = ends(&found);
        got["se"] = found["se"].clone();
        Answer::Got(got)
    });
    assert!(compared >= 700, "{compared}");
}

#[test]
fn effect_sizes() {
    let lake = Lake::empty();
    // The exact correction is given, which is as cheap as this approximation of it.
    let compared = check("effect_sizes", &["hedges_g_approx"], |vector| {
        let from = arms(vector, &["a", "b"]);
        let asked = |function: &str| of(&lake, &format!("{function}(x, arm, 'a', 'b')"), &from);
        let relative = asked("relative_difference");
        if vector.name().starts_with("paired") {
            let found = of(&lake, "paired_test(x, arm, 'a', 'b', i)", &from);
            let wide = format!(
                "(SELECT max(CASE WHEN arm = 'a' THEN x END) AS a, max(CASE WHEN arm = 'b' THEN x END) AS b FROM {from} GROUP BY i) AS u"
            );
            return Answer::Got(json!({
                "d_z": found["d_z"],
                "d_z_ci95": [found["d_z_low"], found["d_z_high"]],
                "d_av": relative["in_average_spread"],
                "pearson_r": of(&lake, "correlation_test(a, b)", &wide)["estimate"],
            }));
        }
        let (effect, a12, cliff) = (asked("cohens_d"), asked("prob_improvement"), asked("cliffs_delta"));
        let percent = relative["share"].as_f64().map(|share| 100.0 * share);
        // The error of arms that do not overlap is not told: 0 would be taken for certainty.
        let apart = cliff["error"] == "degenerate_separation";
        let variance = if apart { Some(0.0) } else { cliff["se"].as_f64().map(|se| se * se) };
        let mut got = json!({
            "cohen_d": effect["estimate"],
            "hedges_g": effect["hedges_g"],
            "J": number(&effect["hedges_g"]) / number(&effect["estimate"]),
            "d_ci95": ends(&effect),
            "cohen_d_avg_sd": relative["in_average_spread"],
            "glass_delta": relative["glass_delta"],
            "rel_diff_pct": percent,
            "a12": a12["estimate"],
            "cles": a12["estimate"],
            "a12_ci95_logit_t": ends(&a12),
            "a12_logit_df": a12["df"],
            "a12_ci95_bm_t": ends(&asked("brunner_munzel")),
            "hodges_lehmann": asked("hodges_lehmann")["estimate"],
            "cliffs_delta": cliff["estimate"],
            "cliff_var": variance,
            "cliff_ci95": ends(&cliff),
        });
        // Arms that do not overlap have no interval of these kinds.
        for key in ["cliff_ci95", "a12_ci95_bm_t"] {
            if got[key][0].is_null() {
                got[key] = Value::Null;
            }
        }
        Answer::Got(got)
    });
    assert!(compared >= 150, "{compared}");
}

#[test]
fn gate_decisions() {
    let lake = Lake::empty();
    // Exit codes are the command's, and the least number of runs is not asked for.
    let compared = check("gate", &["exit_code", "min_runs"], |vector| {
        let mut options = Vec::new();
        let mut give = |name: &str, key: &str| {
            let value = vector.parameter(key);
            if !value.is_null() {
                let value = if value.is_boolean() { value.to_string() } else { literal(number(value)) };
                options.push(format!("{name} => {value}"));
            }
        };
        give("margin", "margin");
        give("relative", "margin_relative");
        give("alpha", "alpha");
        give("detect", "detect");
        give("allow_failures", "allow_failures");
        give("deterministic", "deterministic");
        options.push(format!("mode => '{}'", vector.parameter("mode").as_str().unwrap()));
        let direction = if vector.parameter("direction") == "max" { "up" } else { "down" };
        options.push(format!("direction => '{direction}'"));
        if vector.parameter("paired") == &json!(true) {
            options.push("pair => i".to_owned());
        }
        let call = format!("gate_verdict(x, arm, 'candidate', 'baseline', {})", options.join(", "));
        let from = arms(vector, &["baseline", "candidate"]);
        let expected = vector.field("expected");
        if expected["verdict"].is_null() && expected["exit_code"] == json!(2) {
            let code = refused(&lake, &format!("SELECT {call} FROM {from}"));
            return Answer::Got(json!({"verdict": null, "error": code}));
        }
        let found = of(&lake, &call, &from);
        if found["verdict"] == "error" {
            return Answer::Got(json!({"verdict": null, "error": found["reason"]}));
        }
        Answer::Got(json!({
            "verdict": found["verdict"],
            "reason": found["reason"],
            "improvement": found["improvement"],
            "se": found["se"],
            "df": found["df"],
            "lower": found["low"],
            "upper": found["high"],
            "finite_lower": found["low"],
            "finite_upper": found["high"],
            "threshold": found["threshold"],
            "p_pass": found["p_pass"],
            "p_fail": found["p_fail"],
            "failed_baseline": found["failed_b"],
            "failed_candidate": found["failed_a"],
            "failure_rate_upper95": found["failure_rate_upper95"],
            "failure_rate_p": found["p_more_failures"],
            "imputed_value": found["imputed_value"],
            "imputed_lower": found["imputed_low"],
            "sd_used": found["sd_used"],
            "sd_upper80": found["sd_upper80"],
            "n_needed": found["n_needed"],
            "n_needed_conservative": found["n_needed_conservative"],
            "n_needed_observed": found["n_needed_observed"],
            "heading": found["heading"],
            "more_candidate": found["more_a"],
            "more_baseline": found["more_b"],
        }))
    });
    assert!(compared >= 900, "{compared}");
}

#[test]
fn patterns() {
    let lake = Lake::empty();
    let compared = check("patterns", &[], |vector| {
        if vector.name().starts_with("hits") {
            let counts = format!("{}, {}", vector.raw_input("hits"), vector.raw_input("n"));
            let found = scalar(&lake, &format!("hit_rate({counts})"));
            return Answer::Got(json!({
                "rate": found["estimate"],
                "clopper_lower95": found["lower95"],
                "clopper_upper95": found["upper95"],
                "wilson95": [found["wilson_low"], found["wilson_high"]],
                "jeffreys95": [found["jeffreys_low"], found["jeffreys_high"]],
                "p_rate_gt_half_uniform_prior": found["p_above_half"],
                "verdict": found["verdict"],
            }));
        }
        let (effects, variances) = (vector.input("effect"), vector.input("variance"));
        let rows = effects.iter().zip(&variances);
        let from = table(rows.map(|(e, v)| format!("{}, {}", literal(*e), literal(*v))), "effect, variance");
        let found = of(&lake, "meta_analysis(effect, sqrt(variance))", &from);
        let prediction = match &found["prediction_low"] {
            Value::Null => Value::Null,
            low => json!([low, found["prediction_high"]]),
        };
        Answer::Got(json!({
            "fixed_mean": found["fixed"],
            "fixed_se": found["fixed_se"],
            "Q": found["q"],
            "Q_p": found["p_q"],
            "i2": found["i_squared"],
            "tau2_dl": found["tau_squared"],
            "random_mean_dl": found["estimate"],
            "random_se_dl": found["dersimonian_laird_se"],
            "hksj_se": found["se"],
            "hksj_ci95": ends(&found),
            "prediction95": prediction,
            "tau2_pm": found["tau_squared_pm"],
            "random_mean_pm": found["estimate_pm"],
        }))
    });
    assert!(compared >= 150, "{compared}");
}

/// The numbers of a list of (name, number).
fn second(list: &Value, name: &str) -> Value {
    list.as_array().unwrap().iter().map(|row| row[name].clone()).collect()
}

#[test]
fn strata() {
    let lake = Lake::empty();
    let compared = check("simpson", &[], |vector| {
        if let Some(tables) = vector.raw_input("tables").as_array() {
            return Answer::Got(rates(&lake, tables));
        }
        if vector.raw_input("group").is_array() {
            let (x, y, group) = (vector.input("x"), vector.input("y"), vector.input("group"));
            let rows = (0..x.len()).map(|i| format!("{}, {}, {}", literal(x[i]), literal(y[i]), group[i]));
            let found = of(&lake, "simpson_slopes(x, y, g)", &table(rows, "x, y, g"));
            return Answer::Got(json!({
                "pooled_slope": found["pooled"],
                "group_slopes": second(&found["slopes"], "slope"),
                "within_slope": found["estimate"],
                "reversal": found["reversal"],
            }));
        }
        let words = |key| vector.raw_input(key).as_array().unwrap();
        let rows =
            words("arm").iter().zip(words("stratum")).zip(vector.input("y")).map(|((arm, stratum), y)| {
                format!("{}, '{}', '{}'", literal(y), arm.as_str().unwrap(), stratum.as_str().unwrap())
            });
        // A stratum of one arm is left out of everything but the pooled difference; so one of neither.
        let from = table(rows.chain(["7.0, 'other', 's9'".to_owned()]), "y, arm, stratum");
        let found = of(&lake, "simpson_check(y, arm, 'cand', 'base', stratum)", &from);
        let strata = found["strata"].as_array().unwrap().iter();
        let by_name =
            strata.map(|row| (row["stratum"].as_str().unwrap().to_owned(), row["difference"].clone()));
        Answer::Got(json!({
            "pooled_diff": found["pooled"],
            "stratum_diff": Value::Object(by_name.collect()),
            "adjusted_equal_weight": found["estimate"],
            "adjusted_se": found["se"],
            "adjusted_df_welch": found["df"],
            "adjusted_ols": found["least_squares"],
            "adjusted_ols_se": found["least_squares_se"],
            "reversal": found["reversal"],
            "full_reversal": found["full_reversal"],
        }))
    });
    assert!(compared >= 60, "{compared}");
}

fn rates(lake: &Lake, tables: &[Value]) -> Value {
    let mut parts = Vec::new();
    for (stratum, counts) in tables.iter().enumerate() {
        for (arm, counts) in ["cand", "base"].into_iter().zip(counts.as_array().unwrap()) {
            for (hit, count) in [1, 0].into_iter().zip(numbers(counts)) {
                parts.push(format!(
                    "SELECT {hit} AS x, '{arm}' AS arm, 's{stratum:02}' AS stratum FROM range({count})"
                ));
            }
        }
    }
    let from = format!("({}) AS t", parts.join(" UNION ALL "));
    let found = of(lake, "simpson_rates(x, arm, 'cand', 'base', stratum)", &from);
    json!({
        "pooled_diff": found["pooled"],
        "stratum_diff": second(&found["strata"], "difference"),
        "mh_risk_difference": found["estimate"],
        "mh_odds_ratio": found["odds_ratio"],
        "cmh_stat": found["chi2"],
        "cmh_p": found["p"],
        "breslow_day_stat": found["homogeneity"],
        "breslow_day_p": found["p_homogeneity"],
        "reversal": found["reversal"],
        "full_reversal": found["full_reversal"],
    })
}

#[test]
fn model_comparisons() {
    let lake = Lake::empty();
    let compared = check("ml_comparison", &["eps_min_range"], |vector| {
        let name = vector.name();
        let get = |key| number(vector.parameter(key));
        if name.starts_with("nadeau_bengio") {
            let from = crate::asked::values(&vector.input("d"));
            let test = |side: &str| {
                let call = format!(
                    "nadeau_bengio_test(x, {}, {}, alternative => '{side}')",
                    get("n_train"),
                    get("n_test")
                );
                of(&lake, &call, &from)
            };
            let found = test("two-sided");
            return Answer::Got(json!({
                "t": found["t"],
                "df": found["df"],
                "p_two_sided": found["p"],
                "p_greater": test("greater")["p"],
                "t_naive": of(&lake, "avg(x) / (stddev(x) / sqrt(count(x)))", &from),
            }));
        }
        if name.starts_with("cv5x2") {
            let found = scalar(&lake, &format!("five_by_two_test({})", vector.raw_input("p")));
            return Answer::Got(
                json!({"t": found["t"], "t_p": found["p_t"], "f": found["f"], "f_p": found["p_f"]}),
            );
        }
        if name.starts_with("noether") {
            let plan = format!("{}, {}, {}", get("gamma"), 1.0 - get("beta"), get("alpha"));
            let found = scalar(&lake, &format!("required_pairs({plan})"));
            return Answer::Got(json!({"n_exact": found["n_exact"], "n": found["n"]}));
        }
        let from = arms(vector, &["a", "b"]);
        if name.starts_with("prob_outperform") {
            return Answer::Got(json!({
                "paired": of(&lake, "paired_wins(x, arm, 'a', 'b', i)", &from)["estimate"],
                "all_pairs": of(&lake, "prob_improvement(x, arm, 'a', 'b')", &from)["estimate"],
            }));
        }
        let level = literal(get("confidence"));
        let call = format!("almost_stochastic_order(x, arm, 'a', 'b', {level}, 4000, seed => 1)");
        let found = of(&lake, &call, &from);
        Answer::Got(json!({"violation_ratio": found["violation_ratio"], "eps_min_mean": found["epsilon"]}))
    });
    assert!(compared >= 45, "{compared}");
}

#[test]
fn benchmarks() {
    let lake = Lake::empty();
    let compared = check("rliable", &[], |vector| {
        if vector.name().starts_with("ci_") {
            return Answer::Skip("the test of iqm_ci");
        }
        let cells = |arm: &str| -> Vec<String> {
            let runs = vector.raw_input(arm).as_array().unwrap();
            let scores = runs.iter().flat_map(|run| numbers(run).into_iter().enumerate());
            scores.map(|(task, x)| format!("{}, '{arm}', {task}", literal(x))).collect()
        };
        let from = table([cells("scores"), cells("other")].concat(), "x, arm, task");
        let scores = format!("{from} WHERE arm = 'scores'");
        let call = format!("benchmark_scores(x, task, {})", literal(number(vector.parameter("gamma"))));
        let found = of(&lake, &call, &scores);
        let profile = |of_what: &str| -> Value {
            let at = |tau: &f64| {
                let call = format!("performance_profile(x, task, {}, '{of_what}')", literal(*tau));
                of(&lake, &call, &scores)["estimate"].take()
            };
            numbers(vector.parameter("taus")).iter().map(at).collect()
        };
        let improvement = of(&lake, "benchmark_improvement(x, arm, 'other', 'scores', task)", &from);
        Answer::Got(json!({
            "mean": found["mean"],
            "median": found["median"],
            "iqm": found["iqm"],
            "optimality_gap": found["optimality_gap"],
            "poi_other_over_scores": improvement["estimate"],
            "profile": profile("runs"),
            "mean_profile": profile("means"),
        }))
    });
    assert!(compared >= 100, "{compared}");
}

#[test]
fn rank_tests() {
    let lake = Lake::empty();
    // Approximations where something better is given.
    let elsewhere = ["asymptotic_nocc_p", "p_normal", "asymp_p", "asymptotic_p", "asymptotic_cc_p", "p"];
    let compared = check("rank_tests", &elsewhere, |vector| {
        let two_arms = |call: &str| of(&lake, call, &arms(vector, &["a", "b"]));
        match vector.parameter("test").as_str() {
            Some("mann_whitney") => {
                let mut got = by_side(|side| {
                    let exact = two_arms(&format!("mann_whitney(x, arm, 'a', 'b', '{side}')"));
                    let normal = two_arms(&format!("mann_whitney(x, arm, 'a', 'b', '{side}', 'normal')"));
                    let p = if exact["method"] == "exact" { exact["p"].clone() } else { Value::Null };
                    json!({"U": exact["u"], "exact_p": p, "asymptotic_p": normal["p"]})
                });
                got["a12"] = two_arms("mann_whitney(x, arm, 'a', 'b')")["estimate"].take();
                got["cliffs_delta"] = two_arms("cliffs_delta(x, arm, 'a', 'b')")["estimate"].take();
                got["hodges_lehmann"] = two_arms("hodges_lehmann(x, arm, 'a', 'b')")["estimate"].take();
                Answer::Got(got)
            }
            Some("brunner_munzel") => {
                let test = |side: &str| {
                    two_arms(&format!("brunner_munzel(x, arm, 'a', 'b', alternative => '{side}')"))
                };
                // The peer's statistic is negative when a is larger.
                let mut got = by_side(|side| {
                    let found = test(side);
                    json!({"statistic": -number(&found["t"]), "p_t": found["p"]})
                });
                let found = test("two-sided");
                got["prob_a_gt_b"] = found["estimate"].clone();
                got["prob_ci95_t"] = ends(&found);
                got["df"] = found["df"].clone();
                got["var_prob"] = json!(number(&found["se"]).powi(2));
                Answer::Got(got)
            }
            Some("ks_2samp") => Answer::Got(by_side(|side| {
                let found = two_arms(&format!("ks_test(x, arm, 'a', 'b', '{side}')"));
                json!({"D": found["d"], "exact_p": found["p"]})
            })),
            Some("wilcoxon") => Answer::Got(wilcoxon(&lake, vector)),
            Some("k_groups") => Answer::Got(groups(&lake, vector)),
            _ => Answer::Got(friedman(&lake, vector)),
        }
    });
    assert!(compared >= 500, "{compared}");
}

fn wilcoxon(lake: &Lake, vector: &Vector) -> Value {
    let zeros = match vector.parameter("zero_method").as_str() {
        None | Some("wilcox") => "drop",
        Some("pratt") => "pratt",
        Some("zsplit") => "split",
        Some(other) => panic!("unknown rule {other}"),
    };
    let differences: Vec<f64> = if vector.raw_input("d").is_array() {
        vector.input("d")
    } else {
        vector.input("a").iter().zip(vector.input("b")).map(|(a, b)| a - b).collect()
    };
    // In reverse, so that no order of arrival is relied upon.
    let rows = differences.iter().enumerate().rev();
    let rows = rows.flat_map(|(i, d)| [format!("{i}, {}, 'a'", literal(*d)), format!("{i}, 0.0, 'b'")]);
    let from = table(rows, "i, x, arm");
    let test = |side: &str| of(lake, &format!("wilcoxon(x, arm, 'a', 'b', i, '{side}', '{zeros}')"), &from);
    // The ranks of both signs together: those of zeros are left out, or are the smallest, or count half on each side.
    let sum_to = |n: usize| (n * (n + 1) / 2) as f64;
    let (all, zero_count) = (differences.len(), differences.iter().filter(|d| **d == 0.0).count());
    let ranks = match zeros {
        "drop" => sum_to(all - zero_count),
        "pratt" => sum_to(all) - sum_to(zero_count),
        _ => sum_to(all),
    };
    let mut got = by_side(|side| {
        let found = test(side);
        let w = number(&found["w"]);
        let exact = found["method"] == "exact";
        let mut got = json!({"exact_p": if exact { found["p"].clone() } else { Value::Null }});
        // The peer's statistic is the smaller sum for two sides.
        got["W"] = if side == "two-sided" { shown(w.min(ranks - w)) } else { shown(w) };
        if !exact {
            got["asymptotic_cc_p"] = found["p"].clone();
        }
        got
    });
    got["hodges_lehmann"] = test("two-sided")["estimate"].take();
    got
}

fn groups(lake: &Lake, vector: &Vector) -> Value {
    let groups = vector.raw_input("groups").as_array().unwrap().iter().enumerate();
    let cells = groups.flat_map(|(group, values)| {
        numbers(values).into_iter().map(move |x| format!("{}, 'g{group}'", literal(x)))
    });
    let from = table(cells, "x, g");
    let test = |call: &str| {
        let found = of(lake, call, &from);
        json!([found["statistic"], found["p"]])
    };
    json!({
        "levene_mean": test("levene_test(x, g, 'mean')"),
        "brown_forsythe": test("levene_test(x, g)"),
        "levene_trimmed": test("levene_test(x, g, center => 'trimmed')"),
        "bartlett": test("bartlett_test(x, g)"),
        "fligner": test("fligner_test(x, g)"),
        "kruskal": test("kruskal_test(x, g)"),
        "anova": test("anova_test(x, g)"),
        "welch_anova": test("anova_test(x, g, variances => 'unequal')"),
    })
}

fn friedman(lake: &Lake, vector: &Vector) -> Value {
    let rows = vector.raw_input("matrix").as_array().unwrap().iter().enumerate();
    let cells = rows.flat_map(|(row, values)| {
        let values = numbers(values).into_iter().enumerate().rev();
        values.map(move |(method, x)| format!("{}, 'm{method}', {row}", literal(x)))
    });
    let call = format!("friedman_test(x, method, dataset, {})", literal(number(vector.parameter("alpha"))));
    let found = of(lake, &call, &table(cells, "x, method, dataset"));
    json!({
        "chi2": found["chi2"],
        "p": found["p"],
        "mean_ranks": second(&found["ranks"], "mean_rank"),
        "nemenyi_cd": found["critical_difference"],
    })
}
