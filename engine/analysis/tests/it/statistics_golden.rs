//! Golden suites of the plain statistics: t tests, effects, power, counts, descriptions, edge cases.

use analysis::distributions::{
    noncentral_t_cdf, normal_quantile, student_t_cdf, student_t_quantile, student_t_sf,
};
use analysis::{
    Alternative, AnalysisError, Center, Decay, Design, MannWhitneyTests, Moments, Nonfinite,
    PermutationStatistic, PermutationTest, RankDistribution, Resampling, Sides, Summary, TTest, Zeros,
    brunner_munzel, cliffs_delta, cohens_h, curve_level, describe, detectable_effect, ewm, exact_runs,
    fisher_exact, fit_line, hedges_g, hodges_lehmann, holm, kendall, kolmogorov_smirnov, levene,
    mcnemar_exact, one_sample, paired, paired_effect, pearson, permutation_test, power,
    probability_of_superiority, quantile, rate_power, relative_difference, required_runs, required_trials,
    shape, sign_flip_test, slope, spearman, student, trimmed_mean, welch, wilcoxon, winsorized_mean,
};
use serde_json::{Map, Value, json};

use crate::counts_golden::{count_table, table};
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
    check("equivalence", &[], |vector| {
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
        got["noninferior_p"] = json!(test.p_value_against(low, Alternative::Greater));
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
    // The exact correction is as cheap as this approximation of it.
    let elsewhere = ["hedges_g_approx"];
    check("effect_sizes", &elsewhere, |vector| {
        let (a, b) = (vector.input("a"), vector.input("b"));
        if vector.name().starts_with("paired") {
            let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            let effect = paired_effect(&differences, 0.95).unwrap();
            return Answer::Got(json!({
                "d_z": effect.cohens_d,
                "d_z_ci95": effect.cohens_d_interval,
                "d_av": relative_difference(&a, &b).unwrap().in_average_spread,
                "pearson_r": pearson(&a, &b, 0.95).unwrap().coefficient,
            }));
        }
        let effect = hedges_g(&a, &b, 0.95).unwrap();
        let superiority = probability_of_superiority(&a, &b, 0.95).unwrap();
        let cliff = cliffs_delta(&a, &b, 0.95).unwrap();
        assert!((cliff.delta - superiority.cliffs_delta()).abs() < 1e-14);
        let relative = relative_difference(&a, &b).unwrap();
        Answer::Got(json!({
            "cohen_d_avg_sd": relative.in_average_spread,
            "glass_delta": relative.glass_delta,
            "rel_diff_pct": relative.share.map(|share| 100.0 * share),
            "a12_ci95_bm_t": brunner_munzel(&a, &b, 0.95).unwrap().interval,
            "cles": superiority.a12,
            "hodges_lehmann": hodges_lehmann(&a, &b).unwrap(),
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
fn correlation() {
    check("correlation", &[], |vector| {
        let (x, y) = (vector.input("x"), vector.input("y"));
        let product = pearson(&x, &y, 0.95).unwrap();
        let (rank, tau) = (spearman(&x, &y).unwrap(), kendall(&x, &y).unwrap());
        let line = fit_line(&x, &y).unwrap();
        assert_eq!(slope(&x, &y), Some(line.slope));
        Answer::Got(json!({
            "pearson_r": product.coefficient,
            "pearson_p": product.p_two_sided.value(),
            "pearson_ci95": product.interval,
            "spearman_rho": rank.coefficient,
            "spearman_p_t": rank.p_two_sided.value(),
            "kendall_tau_b": tau.coefficient,
            "kendall_p": tau.p_two_sided.value(),
            "slope": line.slope,
            "intercept": line.intercept,
            "slope_se": line.slope_error,
        }))
    });
}

#[test]
fn permutation() {
    // Two-sided is twice the smaller side; this is the other convention.
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
    check("power", &[], |vector| {
        let name = vector.name();
        let get = |key| number(vector.parameter(key));
        if name.starts_with("prop_") {
            let h = cohens_h(get("p1"), get("p2")).unwrap();
            let trials = required_trials(get("p1"), get("p2"), get("alpha"), get("power"), Sides::Two);
            return Answer::Got(json!({
                "h": h,
                "n_per_arm": trials.unwrap(),
                "power_n1000": rate_power(h, 1_000.0, get("alpha"), Sides::Two).unwrap(),
            }));
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
            let runs = exact_runs(design, get("d"), get("alpha"), 0.8, sides(vector)).unwrap();
            return Answer::Got(json!({"power": value, "n1_exact_80": runs}));
        }
        if name.starts_with("alpha") {
            // The file gives the real-valued n; the whole one is its ceiling.
            let exact = number(&vector.expected()["n_exact"]);
            let whole =
                required_runs(Design::BALANCED, get("d"), get("alpha"), get("power"), Sides::One, 2).unwrap();
            assert_eq!(whole, Some(exact.ceil() as usize), "{name}");
            let runs = exact_runs(Design::BALANCED, get("d"), get("alpha"), get("power"), Sides::One);
            return Answer::Got(json!({"n_exact": runs.unwrap()}));
        }
        let (d, alpha, sides) = (get("d"), get("alpha"), sides(vector));
        let powers = |design, key: &str| {
            let by_runs = vector.expected()[key].as_object().unwrap().keys();
            by_runs
                .map(|n| (n.clone(), json!(power(design, d, n.parse().unwrap(), alpha, sides).unwrap())))
                .collect::<Map<_, _>>()
        };
        let runs = |design, wanted| {
            json!({
                "n": required_runs(design, d, alpha, wanted, sides, 2).unwrap(),
                "n_exact": exact_runs(design, d, alpha, wanted, sides).unwrap(),
            })
        };
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
    check("descriptive", &[], |vector| {
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
        let summary = describe(&values, 0.95, Nonfinite::Keep).unwrap();
        let mut got = described(&summary);
        let (low, high) = (summary.minimum.unwrap(), summary.maximum.unwrap());
        got["range"] = shown(high - low);
        got["range_mid"] = shown(0.5 * low + 0.5 * high);
        // The scale of the normal distribution: one over its upper quartile.
        let to_deviation = 1.0 / normal_quantile(0.75);
        got["mad_normal"] = shown(summary.median_absolute_deviation.unwrap() * to_deviation);
        got["winsorized_mean_20"] = shown(winsorized_mean(&values, 0.2).unwrap());
        let shape = shape(&values).unwrap();
        got["gmean"] = shown_option(shape.geometric_mean);
        got["hmean"] = shown_option(shape.harmonic_mean);
        got["skew_biased"] = shown_option(shape.skewness_biased);
        got["kurtosis_excess_biased"] = shown_option(shape.kurtosis_biased);
        got["kurtosis_g2"] = shown_option(shape.kurtosis);
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
            "brunner_munzel" => {
                let test = brunner_munzel(&vector.input("a"), &vector.input("b"), 0.95).unwrap();
                assert_eq!((test.statistic(), test.interval), (None, None));
                let error = AnalysisError::DegenerateSeparation;
                Answer::Got(json!({
                    "prob": test.probability,
                    "error": error.code(),
                    "p": null,
                    "fallback": test.permutation.map(|_| "permutation"),
                    "fallback_p_two_sided": test.p_value(Alternative::TwoSided).value(),
                }))
            }
            "wilcoxon" => {
                let (a, b) = (vector.input("a"), vector.input("b"));
                let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
                let test = wilcoxon(&differences, Zeros::Dropped, RankDistribution::Automatic).unwrap();
                Answer::Got(json!({"p": test.p_two_sided.value(), "n_nonzero": test.nonzero}))
            }
            "ks_2samp" => {
                let test = kolmogorov_smirnov(&vector.input("a"), &vector.input("b")).unwrap();
                Answer::Got(json!({
                    "D": test.statistic(Alternative::TwoSided),
                    "exact_p": test.p_value(Alternative::TwoSided).value(),
                }))
            }
            "levene" => {
                let (a, b) = (vector.input("a"), vector.input("b"));
                let error = levene(&[&a, &b], Center::Median).unwrap_err();
                Answer::Got(json!({"error": error.code(), "p": null}))
            }
            "block_bootstrap_mean" => {
                let error = curve_level(&vector.input("x"), 0.95, Resampling::default()).unwrap_err();
                Answer::Got(json!({"error": error.code()}))
            }
            "bootstrap_mean" => Answer::Skip("the bootstrap is the kernels', and so is this test"),
            "chi2" => Answer::Got(match count_table(vector.raw_input("table")) {
                Ok(counts) => json!({
                    "error": counts.chi_squared(false).unwrap_err().code(),
                    "fisher_p": fisher_exact(table(vector.raw_input("table")), Alternative::TwoSided),
                }),
                Err(error) => json!({"error": error.code()}),
            }),
            other => panic!("unknown function {other}"),
        }
    });
}
