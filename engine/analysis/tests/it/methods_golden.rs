//! Golden suites of what is asked over several experiments, tasks, looks and strata.

use std::collections::BTreeMap;

use analysis::sequential::{
    Guess, SpendingFunction, asymptotic_half_width, betting_sequence, combined_log_e, constant_boundary,
    e_bh, empirical_bernstein_sequence, gamma_exponential_bound, group_sequential, hoeffding_sequence,
    normal_mixture_bound, normal_mixture_log_e, normal_mixture_p_values, rate_sequence, stitched_bound,
    t_mixture, t_mixture_log_e,
};
use analysis::{
    Alternative, ClusteredMean, Moments, Resampling, TaskScores, all_wins, almost_stochastic_order,
    autocorrelation, five_by_two, grouped_slopes, hit_rate, least_squares_difference, ljung_box,
    newey_west_error, noether_pairs, one_sample, paired_scores, paired_wins, pool_effects, resampled_scores,
    resampled_t, stratified_difference, stratified_rates,
};
use serde_json::{Value, json};

use crate::golden::{Answer, Vector, check, number, numbers, shown, shown_list};
use crate::ranks_golden::rows;

#[test]
fn evaluations() {
    check("evals", &[], |vector| {
        if vector.name().starts_with("resampled") {
            let scores = rows(vector.raw_input("scores"));
            let questions: Vec<&[f64]> = scores.iter().map(Vec::as_slice).collect();
            let found = resampled_scores(&questions).unwrap();
            return Answer::Got(json!({
                "mean": found.mean,
                "se": found.standard_error,
                "within_var": found.within_variance,
                "between_var": found.between_variance,
                "se_if_K_infinite": found.standard_error_limit,
                "naive_se_all_rows": found.pooled_error,
            }));
        }
        let get = |key| number(vector.parameter(key));
        let clusters: Vec<u64> = vector.input("cluster").iter().map(|c| *c as u64).collect();
        let (a, b) = (vector.input("a"), vector.input("b"));
        let found = paired_scores(&a, &b, &clusters).unwrap();
        let of = |mean: &ClusteredMean| {
            json!({
                "mean": mean.mean,
                "se_clt": mean.independent_error,
                "se_clustered": mean.cluster_error,
                "se_clustered_g": mean.standard_error,
                "ci95_t": mean.interval(get("level")).unwrap(),
                "p_two_sided": mean.p_two_sided().unwrap().value(),
            })
        };
        let share = found.baseline.mean;
        Answer::Got(json!({
            "a": of(&found.baseline),
            "b": of(&found.candidate),
            "diff": of(&found.difference),
            "n": found.difference.examples,
            "clusters": found.difference.clusters,
            "corr": found.correlation,
            "se_unpaired": found.unpaired_error,
            // Of right and wrong answers, as the textbook has it.
            "se_binomial_a": (share * (1.0 - share) / a.len() as f64).sqrt(),
            "n_for_delta_0.03": found.examples_needed(0.03, get("alpha"), get("power")).unwrap(),
            "mde_at_n": found.detectable(get("alpha"), get("power")).unwrap(),
            "icc_anova_diff": found.intraclass_correlation,
        }))
    });
}

#[test]
fn model_comparisons() {
    check("ml_comparison", &["eps_min_range"], |vector| {
        let get = |key| number(vector.parameter(key));
        let name = vector.name();
        if name.starts_with("nadeau_bengio") {
            let differences = vector.input("d");
            let test = resampled_t(&differences, get("n_train") as u64, get("n_test") as u64).unwrap();
            return Answer::Got(json!({
                "t": test.statistic(),
                "df": test.degrees_of_freedom,
                "p_two_sided": test.p_value(Alternative::TwoSided),
                "p_greater": test.p_value(Alternative::Greater),
                "t_naive": one_sample(&differences, 0.0).unwrap().statistic(),
            }));
        }
        if name.starts_with("cv5x2") {
            let folds = rows(vector.raw_input("p"));
            let differences: Vec<[f64; 2]> = folds.iter().map(|fold| [fold[0], fold[1]]).collect();
            let test = five_by_two(&differences.try_into().unwrap()).unwrap();
            return Answer::Got(
                json!({"t": test.t, "t_p": test.p_t.value(), "f": test.f, "f_p": test.p_f.value()}),
            );
        }
        if name.starts_with("noether") {
            let pairs = noether_pairs(get("gamma"), get("alpha"), get("beta")).unwrap();
            return Answer::Got(json!({"n_exact": pairs, "n": pairs.ceil()}));
        }
        let (a, b) = (vector.input("a"), vector.input("b"));
        if name.starts_with("prob_outperform") {
            return Answer::Got(
                json!({"paired": paired_wins(&a, &b).unwrap(), "all_pairs": all_wins(&a, &b).unwrap()}),
            );
        }
        let resampling = Resampling { resamples: 4_000, seed: 1 };
        let order = almost_stochastic_order(&a, &b, get("confidence"), resampling).unwrap();
        Answer::Got(json!({"violation_ratio": order.violation_ratio, "eps_min_mean": order.epsilon}))
    });
}

#[test]
fn patterns() {
    check("patterns", &[], |vector| {
        if vector.name().starts_with("hits") {
            let count = |key: &str| number(vector.raw_input(key)) as u64;
            let found = hit_rate(count("hits"), count("n")).unwrap();
            return Answer::Got(json!({
                "rate": found.rate,
                "clopper_lower95": found.lower95,
                "clopper_upper95": found.upper95,
                "wilson95": found.wilson95,
                "jeffreys95": found.jeffreys95,
                "p_rate_gt_half_uniform_prior": found.p_above_half,
                "verdict": found.verdict,
            }));
        }
        let found = pool_effects(&vector.input("effect"), &vector.input("variance"), 0.95).unwrap();
        Answer::Got(json!({
            "fixed_mean": found.fixed_mean,
            "fixed_se": found.fixed_error,
            "Q": found.q,
            "Q_p": found.p_q.value(),
            "i2": found.i_squared,
            "tau2_dl": found.tau_squared,
            "random_mean_dl": found.random_mean,
            "random_se_dl": found.random_error,
            "hksj_se": found.hartung_knapp_error,
            "hksj_ci95": found.interval,
            "prediction95": found.prediction,
            "tau2_pm": found.tau_squared_paule_mandel,
            "random_mean_pm": found.random_mean_paule_mandel,
        }))
    });
}

#[test]
fn strata() {
    check("simpson", &[], |vector| {
        if vector.raw_input("tables").is_array() {
            let counts = |value: &Value| -> [[u64; 2]; 2] {
                let table = rows(value);
                [0, 1].map(|i| [0, 1].map(|j| table[i][j] as u64))
            };
            let tables: Vec<_> = vector.raw_input("tables").as_array().unwrap().iter().map(counts).collect();
            let found = stratified_rates(&tables).unwrap();
            return Answer::Got(json!({
                "pooled_diff": found.pooled,
                "stratum_diff": found.strata,
                "mh_risk_difference": found.risk_difference,
                "mh_odds_ratio": found.odds_ratio,
                "cmh_stat": found.statistic,
                "cmh_p": found.p.value(),
                "breslow_day_stat": found.homogeneity,
                "breslow_day_p": found.p_homogeneity.map(|p| p.value()),
                "reversal": found.reversal,
                "full_reversal": found.full_reversal,
            }));
        }
        if vector.raw_input("group").is_array() {
            let groups: Vec<u64> = vector.input("group").iter().map(|g| *g as u64).collect();
            let found = grouped_slopes(&vector.input("x"), &vector.input("y"), &groups).unwrap();
            return Answer::Got(json!({
                "pooled_slope": found.pooled,
                "group_slopes": found.groups,
                "within_slope": found.within,
                "reversal": found.reversal,
            }));
        }
        let words = |key| vector.raw_input(key).as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        let mut arms: BTreeMap<&str, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
        for ((arm, stratum), y) in words("arm").zip(words("stratum")).zip(vector.input("y")) {
            arms.entry(arm).or_default().entry(stratum).or_default().push(y);
        }
        let found = stratified_difference(&arms["base"], &arms["cand"]).unwrap();
        let adjusted = found.adjusted.unwrap();
        let fitted = least_squares_difference(&arms["base"], &arms["cand"]).unwrap();
        Answer::Got(json!({
            "pooled_diff": found.pooled,
            "stratum_diff": found.strata,
            "adjusted_equal_weight": adjusted.difference,
            "adjusted_se": adjusted.standard_error,
            "adjusted_df_welch": adjusted.degrees_of_freedom,
            "adjusted_ols": fitted.difference,
            "adjusted_ols_se": fitted.standard_error,
            "reversal": found.reversal,
            "full_reversal": found.full_reversal,
        }))
    });
}

#[test]
fn benchmarks() {
    check("rliable", &[], |vector| {
        if vector.name().starts_with("ci_") {
            return Answer::Skip("intervals are the kernels', and so is their test");
        }
        let tasks = |key| {
            let runs = rows(vector.raw_input(key));
            let tasks: Vec<Vec<f64>> =
                (0..runs[0].len()).map(|task| runs.iter().map(|run| run[task]).collect()).collect();
            TaskScores::new(&tasks.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap()
        };
        let (scores, other) = (tasks("scores"), tasks("other"));
        let found = scores.aggregates(number(vector.parameter("gamma"))).unwrap();
        let thresholds = numbers(vector.parameter("taus"));
        Answer::Got(json!({
            "mean": found.mean,
            "median": found.median,
            "iqm": found.iqm,
            "optimality_gap": found.optimality_gap,
            "poi_other_over_scores": other.probability_of_improvement(&scores).unwrap(),
            "profile": scores.profile(&thresholds),
            "mean_profile": scores.mean_profile(&thresholds),
        }))
    });
}

#[test]
fn curves() {
    // Block bootstraps and their lengths are the kernels', and so is their test.
    let elsewhere =
        ["optimal_block_stationary", "optimal_block_circular", "moving", "circular", "stationary"];
    check("autocorrelation", &elsewhere, |vector| {
        let y = vector.input("y");
        let tests = [5, 10].map(|lags| ljung_box(&y, lags).unwrap());
        Answer::Got(json!({
            "acf": autocorrelation(&y, 12).unwrap(),
            "hac_lag": (4.0 * (y.len() as f64 / 100.0).powf(2.0 / 9.0)).floor(),
            "hac_se": newey_west_error(&y, None).unwrap(),
            "iid_se": Moments::of(&y).standard_error(),
            "ljung_box_q": tests.map(|(statistic, _)| statistic),
            "ljung_box_p": tests.map(|(_, p)| p.value()),
        }))
    });
}

#[test]
fn sequential() {
    check("sequential", &[], |vector| {
        let name = vector.name();
        let get = |key| number(vector.parameter(key));
        let at_times = |bound: &dyn Fn(f64) -> f64| {
            shown_list(&vector.input("v").iter().map(|v| bound(*v)).collect::<Vec<_>>())
        };
        if name.starts_with("normal_mixture") {
            let bound =
                |side| at_times(&|v| normal_mixture_bound(v, get("v_opt"), get("alpha"), side).unwrap());
            return Answer::Got(json!({
                "two_sided": bound(Alternative::TwoSided),
                "one_sided": bound(Alternative::Greater),
            }));
        }
        if name.starts_with("gamma_exponential") {
            let bound = |v| gamma_exponential_bound(v, get("v_opt"), get("c"), get("alpha")).unwrap();
            return Answer::Got(json!({"bound": at_times(&bound)}));
        }
        if name.starts_with("poly_stitching") {
            let bound =
                |v| stitched_bound(v, get("v_min"), get("c"), get("s"), get("eta"), get("alpha")).unwrap();
            return Answer::Got(json!({"bound": at_times(&bound)}));
        }
        if name.starts_with("bernoulli") {
            let count = |key: &str| number(vector.raw_input(key)) as u64;
            let interval = rate_sequence(count("k"), count("n"), get("t_opt") as u64, get("alpha"));
            return Answer::Got(json!({"ci": interval.unwrap()}));
        }
        if name.starts_with("cs_") {
            return Answer::Got(bounded(vector));
        }
        if name.starts_with("t_mixture") {
            let sequence = t_mixture(&vector.input("x"), get("g"), get("alpha")).unwrap();
            return Answer::Got(json!({
                "log_e_at_0": t_mixture_log_e(&vector.input("x"), 0.0, get("g")).unwrap(),
                "half_width": shown(sequence.half_width),
                "ci": shown_list(&sequence.interval()),
            }));
        }
        if name.starts_with("msprt") {
            let (x, sigma2, tau2) = (vector.input("x"), get("sigma2"), get("tau2"));
            let p = normal_mixture_p_values(&x, sigma2, tau2).unwrap();
            return Answer::Got(json!({
                "log_lr_last": normal_mixture_log_e(&x, sigma2, tau2).unwrap(),
                "p_sequence_last": p[p.len() - 1],
                "p_min_so_far": [p[0], p[x.len() / 2], p[x.len() - 1]],
            }));
        }
        if name.starts_with("asymp") {
            let half = asymptotic_half_width(&vector.input("x"), get("rho2"), get("alpha")).unwrap();
            return Answer::Got(json!({"half_width": half}));
        }
        if name.starts_with("ebh") {
            let e = vector.input("e");
            return Answer::Got(json!({
                "rejected": e_bh(&e, get("alpha")).unwrap().len(),
                "product_log": combined_log_e(&e),
                "mean": Moments::of(&e).mean(),
            }));
        }
        if name == "pocock_obf_classical" {
            let constants = |shape| {
                let looks = numbers(vector.parameter("K"));
                shown_list(
                    &looks
                        .iter()
                        .map(|k| constant_boundary(*k as usize, shape, 0.05).unwrap())
                        .collect::<Vec<_>>(),
                )
            };
            return Answer::Got(json!({
                "pocock_c": constants(SpendingFunction::Pocock),
                "obf_c": constants(SpendingFunction::OBrienFleming),
            }));
        }
        let shares = vector.input("fraction");
        if name == "spending_functions" {
            let spent = |function: SpendingFunction| {
                shown_list(&shares.iter().map(|s| function.spent(*s, get("alpha"))).collect::<Vec<_>>())
            };
            return Answer::Got(json!({
                "obf": spent(SpendingFunction::OBrienFleming),
                "pocock": spent(SpendingFunction::Pocock),
                "linear": spent(SpendingFunction::Linear),
                "power2": spent(SpendingFunction::Quadratic),
            }));
        }
        let spending = match vector.parameter("spending").as_str().unwrap() {
            "obf" => SpendingFunction::OBrienFleming,
            "pocock" => SpendingFunction::Pocock,
            other => panic!("unknown spending {other}"),
        };
        let looks = group_sequential(&shares, spending, get("alpha")).unwrap();
        Answer::Got(json!({"z": looks.z, "nominal_p": looks.nominal_p}))
    });
}

/// The interval after the values that the file lists.
fn bounded(vector: &Vector) -> Value {
    let x = vector.input("x");
    let alpha = number(vector.parameter("alpha"));
    let sequence = match vector.parameter("kind").as_str().unwrap() {
        "hoeffding" => hoeffding_sequence(&x, alpha),
        "empirical_bernstein" => empirical_bernstein_sequence(&x, alpha, Guess::Plain),
        "betting_default" => betting_sequence(&x, alpha),
        other => panic!("unknown kind {other}"),
    };
    let sequence = sequence.unwrap();
    let times = numbers(&vector.expected()["t"]);
    let at = |ends: &[f64]| times.iter().map(|t| ends[*t as usize - 1]).collect::<Vec<_>>();
    json!({"t": times, "lower": at(&sequence.lower), "upper": at(&sequence.upper)})
}
