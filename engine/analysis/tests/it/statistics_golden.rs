//! Golden suites of the plain statistics: t tests, effects, power, counts, descriptions, edge cases.

use analysis::distributions::{noncentral_t_cdf, student_t_cdf, student_t_quantile, student_t_sf};
use analysis::{
    Alternative, AnalysisError, Decay, Design, MannWhitneyTests, Moments, Nonfinite, PermutationStatistic,
    PermutationTest, Resampling, Sides, Summary, TTest, cliffs_delta, clopper_pearson, describe,
    detectable_effect, ewm, fisher_exact, hedges_g, holm, mcnemar_exact, one_sample, paired, paired_effect,
    permutation_test, power, probability_of_superiority, quantile, required_runs, sign_flip_test, slope,
    student, trimmed_mean, welch, wilson,
};
use serde_json::{Map, Value, json};

use crate::golden::{Answer, Vector, check, number, numbers, shown, shown_list, shown_option};

#[test]
fn ttests() {
    check("ttests", &[], |vector| {
        if vector.name().starts_with("tdist") {
            return Answer::Got(t_distribution(vector));
        }
        let a = vector.input("a");
        let test = match vector.parameter("test").as_str().unwrap() {
            "welch" => welch(&a, &vector.input("b")).unwrap(),
            "student" => student(&a, &vector.input("b")).unwrap(),
            "paired" => paired(&a, &vector.input("b")).unwrap(),
            "one_sample" => {
                let test = one_sample(&a, number(vector.parameter("popmean"))).unwrap();
                return Answer::Got(t_test(&test, number(vector.parameter("popmean"))));
            }
            other => panic!("unknown test {other}"),
        };
        Answer::Got(t_test(&test, 0.0))
    });
}

#[test]
fn equivalence() {
    check("equivalence", &["noninferior_p"], |vector| {
        let (a, b) = (vector.input("a"), vector.input("b"));
        let (low, high) = (number(vector.parameter("low")), number(vector.parameter("high")));
        let sides = |test: &TTest| {
            json!({
                "t_low": test.statistic_against(low),
                "p_low": test.p_value_against(low, Alternative::Greater),
                "t_high": test.statistic_against(high),
                "p_high": test.p_value_against(high, Alternative::Less),
                "df": test.degrees_of_freedom,
            })
        };
        if vector.name().starts_with("tost_paired") {
            let test = paired(&a, &b).unwrap();
            let mut got = sides(&test);
            got["p"] = json!(test.p_equivalence(low, high));
            return Answer::Got(got);
        }
        let test = welch(&a, &b).unwrap();
        let mut got = sides(&test);
        got["p_welch"] = json!(test.p_equivalence(low, high));
        got["p_pooled"] = json!(student(&a, &b).unwrap().p_equivalence(low, high));
        got["ci90"] = json!(test.interval(0.9, Alternative::TwoSided).unwrap());
        got["equivalent_05"] = json!(test.p_equivalence(low, high) < 0.05);
        Answer::Got(got)
    });
}

/// The interval is for the mean itself, hence shifted by the reference.
fn t_test(test: &TTest, reference: f64) -> Value {
    let interval = |level, alternative| {
        let ends = test.interval(level, alternative).unwrap();
        shown_list(&ends.map(|end| end + reference))
    };
    let side = |alternative| {
        json!({
            "t": test.statistic(),
            "df": test.degrees_of_freedom,
            "p": test.p_value(alternative),
            "ci95": interval(0.95, alternative),
        })
    };
    json!({
        "two-sided": side(Alternative::TwoSided),
        "greater": side(Alternative::Greater),
        "less": side(Alternative::Less),
        "ci90": interval(0.9, Alternative::TwoSided),
        "se": test.standard_error,
    })
}

fn t_distribution(vector: &Vector) -> Value {
    let df = number(vector.parameter("df"));
    let x = vector.input("x");
    let at = |f: fn(f64, f64) -> f64, points: &[f64]| {
        shown_list(&points.iter().map(|&x| f(x, df)).collect::<Vec<_>>())
    };
    json!({
        "sf": at(student_t_sf, &x),
        "cdf": at(student_t_cdf, &x),
        "ppf": at(student_t_quantile, &numbers(vector.field("p"))),
    })
}

#[test]
fn effect_sizes() {
    let elsewhere = [
        "hedges_g_approx",
        "cohen_d_avg_sd",
        "glass_delta",
        "a12_ci95_bm_t",
        "cles",
        "hodges_lehmann",
        "rel_diff_pct",
        "d_av",
        "pearson_r",
    ];
    check("effect_sizes", &elsewhere, |vector| {
        let (a, b) = (vector.input("a"), vector.input("b"));
        if vector.name().starts_with("paired") {
            let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            let effect = paired_effect(&differences, 0.95).unwrap();
            return Answer::Got(json!({"d_z": effect.cohens_d, "d_z_ci95": effect.cohens_d_interval}));
        }
        let effect = hedges_g(&a, &b, 0.95).unwrap();
        let superiority = probability_of_superiority(&a, &b, 0.95).unwrap();
        let cliff = cliffs_delta(&a, &b, 0.95).unwrap();
        assert!((cliff.delta - superiority.cliffs_delta()).abs() < 1e-14);
        Answer::Got(json!({
            "cliff_var": cliff.variance,
            "cliff_ci95": cliff.interval,
            "cohen_d": effect.cohens_d,
            "hedges_g": effect.hedges_g,
            "J": effect.correction,
            "d_ci95": effect.cohens_d_interval,
            "cliffs_delta": superiority.cliffs_delta(),
            "a12": superiority.a12,
            "a12_ci95_logit_t": superiority.interval,
            "a12_logit_df": superiority.degrees_of_freedom,
        }))
    });
}

#[test]
fn rank_tests() {
    check("rank_tests", &["asymptotic_nocc_p", "hodges_lehmann"], |vector| {
        if vector.parameter("test") != "mann_whitney" {
            return Answer::Skip("other rank tests and tests of spread");
        }
        let (a, b) = (vector.input("a"), vector.input("b"));
        let exact = MannWhitneyTests::default().test(&a, &b).unwrap();
        let normal = MannWhitneyTests::normal().test(&a, &b).unwrap();
        let side = |alternative| {
            json!({
                "U": exact.u,
                "exact_p": if exact.exact { json!(exact.p_value(alternative).value()) } else { Value::Null },
                "asymptotic_p": normal.p_value(alternative).value(),
            })
        };
        Answer::Got(json!({
            "two-sided": side(Alternative::TwoSided),
            "greater": side(Alternative::Greater),
            "less": side(Alternative::Less),
            "a12": exact.a12,
            "cliffs_delta": 2.0 * exact.a12 - 1.0,
        }))
    });
}

#[test]
fn correlation() {
    let elsewhere = [
        "pearson_r",
        "pearson_p",
        "pearson_ci95",
        "spearman_rho",
        "spearman_p_t",
        "kendall_tau_b",
        "kendall_p",
        "intercept",
        "slope_se",
    ];
    check("correlation", &elsewhere, |vector| {
        Answer::Got(json!({"slope": slope(&vector.input("x"), &vector.input("y")).unwrap()}))
    });
}

#[test]
fn permutation() {
    check("permutation", &["abs"], |vector| {
        let run = |statistic| {
            permutation_test(&vector.input("a"), &vector.input("b"), statistic, Resampling::default())
                .unwrap()
        };
        match vector.parameter("type").as_str() {
            None => Answer::Got(minimum_p(&numbers(vector.parameter("n")))),
            Some("paired") => {
                let differences = vector.input("d");
                let test = sign_flip_test(&differences, Resampling::default()).unwrap();
                let mut got = permuted(&test);
                got["statistic"] = json!(test.statistic);
                Answer::Got(got)
            }
            Some("independent") if vector.name().starts_with("monte_carlo") => {
                let p = run(PermutationStatistic::MeanDifference).p_greater.value();
                let expected = number(&vector.expected()["p"]);
                let resamples = 9_999.0;
                let hits = p * (resamples + 1.0);
                assert!((hits - hits.round()).abs() < 1e-6, "p must be (hits + 1) / (B + 1)");
                let reference = 1.0 / number(vector.parameter("B_ref"));
                let allowed = 5.0 * (p * (1.0 - p) * (1.0 / resamples + reference)).sqrt();
                assert!((p - expected).abs() <= allowed, "{}: {p} against {expected}", vector.name());
                Answer::Got(json!({"p": expected}))
            }
            Some("independent") => {
                let test = run(PermutationStatistic::MeanDifference);
                let mut got = permuted(&test);
                let mean = |key| Moments::of(&vector.input(key)).mean().unwrap();
                got["statistic"] = json!(mean("a") - mean("b"));
                if vector.expected().contains_key("welch_t") {
                    let welch = run(PermutationStatistic::WelchT);
                    got["welch_t"] = permuted(&welch);
                    got["welch_t"]["statistic"] = json!(welch.statistic);
                }
                Answer::Got(got)
            }
            Some(other) => panic!("unknown type {other}"),
        }
    });
}

fn permuted(test: &PermutationTest) -> Value {
    assert!(test.exact);
    json!({
        "greater": test.p_greater.value(),
        "less": test.p_less.value(),
        "two-sided": test.p_two_sided.value(),
        "count": test.relabellings,
        "min_p": test.p_minimum.value(),
    })
}

/// The floors of p at each n, as tests of fully separated samples report them.
fn minimum_p(sizes: &[f64]) -> Value {
    let separated = |n: &f64| {
        let low: Vec<f64> = (0..*n as usize).map(|i| i as f64).collect();
        let high: Vec<f64> = low.iter().map(|v| v + 100.0).collect();
        permutation_test(&high, &low, PermutationStatistic::MeanDifference, Resampling::default()).unwrap()
    };
    let paired = |n: &f64| sign_flip_test(&vec![1.0; *n as usize], Resampling::default()).unwrap();
    let list = |p: &dyn Fn(&f64) -> f64| shown_list(&sizes.iter().map(p).collect::<Vec<_>>());
    json!({
        "unpaired_one_sided": list(&|n| separated(n).p_greater.value()),
        "unpaired_two_sided": list(&|n| separated(n).p_two_sided.value()),
        "paired_one_sided": list(&|n| paired(n).p_greater.value()),
    })
}

#[test]
fn power_of_t_tests() {
    let sides = |vector: &Vector| match vector.parameter("alternative").as_str() {
        Some("two-sided") => Sides::Two,
        _ => Sides::One,
    };
    check("power", &["n_exact", "n1_exact_80"], |vector| {
        let name = vector.name();
        let get = |key| number(vector.parameter(key));
        if name.starts_with("prop_") {
            return Answer::Skip("power of two proportions (Cohen's h)");
        }
        if name.starts_with("nct_") {
            let values: Vec<f64> =
                vector.input("x").iter().map(|&x| noncentral_t_cdf(x, get("df"), get("nc"))).collect();
            return Answer::Got(json!({"cdf": shown_list(&values)}));
        }
        if name.starts_with("mde_") {
            let mde = |sides| {
                detectable_effect(Design::BALANCED, get("n"), get("alpha"), get("power"), sides).unwrap()
            };
            return Answer::Got(
                json!({"mde_d_one_sided": mde(Sides::One), "mde_d_two_sided": mde(Sides::Two)}),
            );
        }
        if name.starts_with("t_ratio") {
            let design = Design::TwoSample { ratio: get("ratio") };
            let value = power(design, get("d"), get("nobs1"), get("alpha"), sides(vector)).unwrap();
            return Answer::Got(json!({"power": value}));
        }
        if name.starts_with("alpha") {
            // The file gives the real-valued n; the whole one is its ceiling.
            let exact = number(&vector.expected()["n_exact"]);
            let whole =
                required_runs(Design::BALANCED, get("d"), get("alpha"), get("power"), Sides::One, 2).unwrap();
            assert_eq!(whole, Some(exact.ceil() as usize), "{name}");
            return Answer::Got(json!({}));
        }
        let (d, alpha, sides) = (get("d"), get("alpha"), sides(vector));
        let powers = |design, key: &str| {
            let by_runs = vector.expected()[key].as_object().unwrap().keys();
            by_runs
                .map(|n| (n.clone(), json!(power(design, d, n.parse().unwrap(), alpha, sides).unwrap())))
                .collect::<Map<_, _>>()
        };
        let runs = |design, wanted| json!({"n": required_runs(design, d, alpha, wanted, sides, 2).unwrap()});
        Answer::Got(json!({
            "power": powers(Design::BALANCED, "power"),
            "paired_power": powers(Design::Paired, "paired_power"),
            "n_ind_0.8": runs(Design::BALANCED, 0.8),
            "n_ind_0.9": runs(Design::BALANCED, 0.9),
            "n_paired_0.8": runs(Design::Paired, 0.8),
            "n_paired_0.9": runs(Design::Paired, 0.9),
        }))
    });
}

fn table(value: &Value) -> [[u64; 2]; 2] {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    [[rows[0][0] as u64, rows[0][1] as u64], [rows[1][0] as u64, rows[1][1] as u64]]
}

#[test]
fn contingency() {
    let elsewhere = [
        "chi2_yates",
        "chi2",
        "g_test",
        "sample_odds_ratio",
        "conditional_or",
        "conditional_or_ci95",
        "barnard_p",
        "boschloo_p",
        "chi2_cc",
        "chi2_cc_p",
        "chi2_p",
        "jeffreys",
        "agresti_coull",
        "normal",
    ];
    check("contingency", &elsewhere, |vector| {
        let name = vector.name();
        if name.starts_with("table_") {
            let table = table(vector.raw_input("table"));
            let fisher = |alternative| fisher_exact(table, alternative);
            let [[_, b], [c, _]] = table;
            return Answer::Got(json!({
                "fisher": {
                    "two-sided": fisher(Alternative::TwoSided),
                    "greater": fisher(Alternative::Greater),
                    "less": fisher(Alternative::Less),
                },
                "mcnemar": {"b": b, "c": c, "exact_p": mcnemar_exact(b, c)},
            }));
        }
        if name.starts_with("proportion_") {
            let count = |key: &str| number(vector.raw_input(key)) as u64;
            let level = number(vector.parameter("level"));
            return Answer::Got(json!({
                "wilson": wilson(count("k"), count("n"), level).unwrap(),
                "beta": clopper_pearson(count("k"), count("n"), level).unwrap(),
            }));
        }
        Answer::Skip("larger tables, differences of rates, paired correctness")
    });
}

fn described(summary: &Summary) -> Value {
    json!({
        "n": summary.count,
        "n_nonfinite": summary.nonfinite_count,
        "mean": shown_option(summary.mean),
        "var": shown_option(summary.variance),
        "sd": shown_option(summary.standard_deviation),
        "sem": shown_option(summary.standard_error),
        "min": shown_option(summary.minimum),
        "median": shown_option(summary.median),
        "max": shown_option(summary.maximum),
        "iqm": shown_option(summary.interquartile_mean),
        "mad": shown_option(summary.median_absolute_deviation),
        "skew_g1": shown_option(summary.skewness),
        "ci95_t": summary.mean_interval.map_or(Value::Null, |ends| shown_list(&ends)),
    })
}

#[test]
fn descriptive() {
    let elsewhere = [
        "range",
        "range_mid",
        "mad_normal",
        "winsorized_mean_20",
        "gmean",
        "hmean",
        "skew_biased",
        "kurtosis_excess_biased",
        "kurtosis_g2",
    ];
    check("descriptive", &elsewhere, |vector| {
        let input = vector.field("input").as_object().unwrap();
        if let Some(parts) = input.get("parts") {
            let parts = parts.as_array().unwrap().iter().map(numbers);
            let merged = parts.map(|part| Moments::of(&part)).reduce(|a, b| a.merge(&b)).unwrap();
            return Answer::Got(json!({
                "n": merged.count(),
                "mean": merged.mean(),
                "var": merged.variance(),
            }));
        }
        let values = match input.get("repeat") {
            Some(repeat) => vec![number(&repeat[0]); number(&repeat[1]) as usize],
            None => vector.input("x"),
        };
        let mut got = described(&describe(&values, 0.95, Nonfinite::Keep).unwrap());
        if let Value::Array(_) = vector.parameter("q") {
            let quantiles: Vec<f64> =
                numbers(vector.parameter("q")).iter().map(|&q| quantile(&values, q).unwrap()).collect();
            got["quantiles"] = shown_list(&quantiles);
        }
        got["iqr"] = shown(quantile(&values, 0.75).unwrap() - quantile(&values, 0.25).unwrap());
        got["trim_mean_10"] = shown(trimmed_mean(&values, 0.1).unwrap());
        got["trim_mean_20"] = shown(trimmed_mean(&values, 0.2).unwrap());
        got["n_used"] = json!(values.len() - 2 * (values.len() / 4));
        Answer::Got(got)
    });
}

fn outcome(result: Result<TTest, AnalysisError>) -> Value {
    match result {
        Ok(test) => {
            let mut got = json!({
                "t": test.statistic(),
                "df": test.degrees_of_freedom,
                "p": test.p_value(Alternative::TwoSided),
                "log10_p": test.p_value(Alternative::TwoSided).log10(),
                "diff": test.difference,
            });
            if test.one_sample_constant {
                got["warning"] = json!("zero_variance_one_arm");
            }
            got
        }
        Err(error) => {
            let mut got = json!({"error": error.code(), "p": null});
            if let AnalysisError::ZeroVariance { difference } = error {
                got["diff"] = json!(difference);
            }
            if let AnalysisError::NonfiniteValue { count, .. } = error {
                got["n_nonfinite_a"] = json!(count);
            }
            got
        }
    }
}

#[test]
fn degenerate() {
    check("degenerate", &[], |vector| {
        let function = vector.parameter("fn").as_str().unwrap();
        match function {
            "describe" => {
                let rule = match vector.field("params_note") {
                    Value::String(_) => Nonfinite::Drop,
                    _ => Nonfinite::Keep,
                };
                let summary = describe(&vector.input("x"), 0.95, rule).unwrap();
                let mut got = described(&summary);
                got["sd_is_finite"] = json!(summary.standard_deviation.is_some_and(f64::is_finite));
                Answer::Got(got)
            }
            "quantile" => Answer::Got(match quantile(&vector.input("x"), number(vector.parameter("q"))) {
                Ok(value) => json!({"value": shown(value)}),
                Err(error) => json!({"error": error.code()}),
            }),
            "welch" => Answer::Got(outcome(welch(&vector.input("a"), &vector.input("b")))),
            "student" => {
                let mut got = outcome(student(&vector.input("a"), &vector.input("b")));
                // A single value is a constant sample, and the name of the test says what it assumes.
                got["warning"] = json!("equal_variance_assumed");
                Answer::Got(got)
            }
            "paired" => Answer::Got(outcome(paired(&vector.input("a"), &vector.input("b")))),
            "mann_whitney" => {
                let (a, b) = (vector.input("a"), vector.input("b"));
                let mut tests = MannWhitneyTests::default();
                let test = tests.test(&a, &b).unwrap();
                let low: Vec<f64> = (0..a.len()).map(|i| i as f64).collect();
                let high: Vec<f64> = (0..b.len()).map(|i| 1e3 + i as f64).collect();
                let floor = tests.test(&low, &high).unwrap();
                Answer::Got(json!({
                    "U": test.u,
                    "a12": test.a12,
                    "p": test.p_two_sided.value(),
                    "exact_p": if test.exact { json!(test.p_two_sided.value()) } else { Value::Null },
                    "min_attainable_p": floor.p_two_sided.value(),
                }))
            }
            "mcnemar" => {
                let [[_, b], [c, _]] = table(vector.raw_input("table"));
                Answer::Got(json!({"exact_p": mcnemar_exact(b, c), "discordant": b + c}))
            }
            "required_n" => {
                let get = |key| number(vector.parameter(key));
                let error =
                    required_runs(Design::BALANCED, get("d"), get("alpha"), get("power"), Sides::Two, 2)
                        .unwrap_err();
                Answer::Got(json!({"error": error.code(), "n": null}))
            }
            "holm" => Answer::Got(match holm(&vector.input("p")) {
                Ok(adjusted) => json!({"adjusted": adjusted}),
                Err(error) => json!({"error": error.code()}),
            }),
            "ewm" => {
                let decay = Decay::Alpha(number(vector.parameter("alpha")));
                let error = ewm(&vector.input("y"), decay, true, false).unwrap_err();
                Answer::Got(json!({"error": error.code()}))
            }
            "brunner_munzel" | "wilcoxon" | "ks_2samp" | "levene" => {
                Answer::Skip("rank and spread tests are not in this crate")
            }
            "bootstrap_mean" | "block_bootstrap_mean" => Answer::Skip("the bootstrap belongs to the kernels"),
            "chi2" => Answer::Skip("chi-squared tests are not in this crate"),
            other => panic!("unknown function {other}"),
        }
    });
}
