//! Golden values of independent packages for the tests beyond Welch's, asked for in SQL.

use serde_json::Value;

use crate::functions_golden::{
    assert_close, assert_interval, cells, compared, each_vector, literal, number, numbers,
};

const SIDES: [&str; 3] = ["two-sided", "greater", "less"];

#[test]
fn student_and_yuen() {
    each_vector("ttests", 57, |lake, vector| {
        let name = vector["name"].as_str().unwrap();
        let function = match vector["params"]["test"].as_str() {
            Some("student") => "student_test",
            _ if name.starts_with("yuen") => "yuen_test",
            _ => return 0,
        };
        let mut tested = 0;
        for side in SIDES {
            let expected = &vector["expected"][side];
            if !expected["p"].is_number() {
                continue;
            }
            let call = format!("{function}(x, arm, 'a', 'b', alternative => '{side}')");
            let got = compared(lake, vector, &call, &["t", "df", "p", "low", "high"]);
            for (position, key) in ["t", "df", "p"].into_iter().enumerate() {
                if expected[key].is_number() {
                    assert_close(vector, key, got[position], number(&expected[key]));
                }
            }
            if expected["ci95"].is_array() {
                assert_interval(vector, "ci95", &got[3..], &expected["ci95"]);
            }
            tested += 1;
        }
        tested
    });
}

#[test]
fn brunner_munzel_and_kolmogorov_smirnov() {
    each_vector("rank_tests", 80, |lake, vector| {
        let mut tested = 0;
        for side in SIDES {
            let expected = &vector["expected"][side];
            if vector["params"]["test"] == "brunner_munzel" && expected["p_t"].is_number() {
                let call = format!("brunner_munzel(x, arm, 'a', 'b', alternative => '{side}')");
                let got = compared(lake, vector, &call, &["p", "estimate", "df", "low", "high"]);
                assert_close(vector, "p_t", got[0], number(&expected["p_t"]));
                assert_close(vector, "prob_a_gt_b", got[1], number(&vector["expected"]["prob_a_gt_b"]));
                assert_close(vector, "df", got[2], number(&vector["expected"]["df"]));
                assert_interval(vector, "prob_ci95_t", &got[3..], &vector["expected"]["prob_ci95_t"]);
                tested += 1;
            }
            if vector["params"]["test"] == "ks_2samp" && expected["exact_p"].is_number() {
                let got =
                    compared(lake, vector, &format!("ks_test(x, arm, 'a', 'b', '{side}')"), &["d", "p"]);
                assert_close(vector, "D", got[0], number(&expected["D"]));
                assert_close(vector, "exact_p", got[1], number(&expected["exact_p"]));
                tested += 1;
            }
        }
        tested
    });
}

/// Two arms as pairs, in reverse so that no order of arrival is relied upon.
fn pairs(vector: &Value) -> String {
    let rows = |arm: &str| -> Vec<String> {
        let values = numbers(&vector["input"][arm]);
        values.iter().enumerate().rev().map(|(i, v)| format!("({},'{arm}','s{i}')", literal(*v))).collect()
    };
    format!("(VALUES {}) AS t(x, arm, pair)", [rows("b"), rows("a")].concat().join(","))
}

#[test]
fn wilcoxon() {
    each_vector("rank_tests", 20, |lake, vector| {
        if vector["params"]["test"] != "wilcoxon" || !vector["input"]["b"].is_array() {
            return 0;
        }
        let mut tested = 0;
        for side in SIDES {
            let expected = &vector["expected"][side];
            let key = if expected["exact_p"].is_number() { "exact_p" } else { "asymptotic_cc_p" };
            if !expected[key].is_number() {
                continue;
            }
            let sql = format!(
                "SELECT s['p'], s['w'] FROM (SELECT wilcoxon(x, arm, 'a', 'b', pair, '{side}') AS s FROM {}) AS u",
                pairs(vector)
            );
            let got = cells(lake, &sql);
            assert_close(vector, key, got[0], number(&expected[key]));
            if side != "two-sided" {
                assert_close(vector, "W", got[1], number(&expected["W"]));
            }
            tested += 1;
        }
        tested
    });
}

#[test]
fn corrections_for_many_tests() {
    let methods = [
        ("bonferroni", "bonferroni"),
        ("sidak", "sidak"),
        ("holm", "holm"),
        ("holm_sidak", "holm_sidak"),
        ("hochberg", "hochberg"),
        ("hommel", "hommel"),
        ("bh", "benjamini_hochberg"),
        ("by", "benjamini_yekutieli"),
    ];
    each_vector("multiplicity", 60, |lake, vector| {
        let p = numbers(&vector["input"]["p"]);
        if p.is_empty() {
            return 0;
        }
        let rows: Vec<String> = p.iter().enumerate().map(|(i, p)| format!("({i}, {p:?})")).collect();
        let mut tested = 0;
        for (key, method) in methods {
            let Some(expected) = vector["expected"][key]["adjusted"].as_array() else { continue };
            // A NULL among them is no test.
            let sql = format!(
                "SELECT a FROM (SELECT i, p, adjust_p(p, '{method}') OVER () AS a FROM (VALUES {}, (-1, NULL)) AS t(i, p)) AS u WHERE p IS NOT NULL ORDER BY i",
                rows.join(",")
            );
            let got = lake.rows(&sql);
            assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().zip(expected) {
                assert_close(vector, key, got[0].parse().unwrap(), number(expected));
            }
            tested += 1;
        }
        tested
    });
}

#[test]
fn means_over_clusters() {
    each_vector("evals", 3, |lake, vector| {
        if !vector["input"]["cluster"].is_array() || !vector["expected"]["a"].is_object() {
            return 0;
        }
        let clusters = numbers(&vector["input"]["cluster"]);
        for arm in ["a", "b"] {
            let values = numbers(&vector["input"][arm]);
            let rows: Vec<String> =
                values.iter().zip(&clusters).map(|(x, cluster)| format!("({x:?}, {cluster})")).collect();
            let sql = format!(
                "SELECT s['estimate'], s['se'], s['se_independent'], s['p'], s['low'], s['high'] FROM (SELECT clustered_mean(x, c) AS s FROM (VALUES {}) AS t(x, c)) AS u",
                rows.join(",")
            );
            let (got, expected) = (cells(lake, &sql), &vector["expected"][arm]);
            for (position, key) in ["mean", "se_clustered_g", "se_clt", "p_two_sided"].into_iter().enumerate()
            {
                assert_close(vector, key, got[position], number(&expected[key]));
            }
            assert_interval(vector, "ci95_t", &got[4..], &expected["ci95_t"]);
        }
        1
    });
}

#[test]
fn non_inferiority() {
    each_vector("equivalence", 20, |lake, vector| {
        let (Some(low), Some(high)) = (vector["params"]["low"].as_f64(), vector["params"]["high"].as_f64())
        else {
            return 0;
        };
        if !vector["expected"]["noninferior_p"].is_number() || low != -high {
            return 0;
        }
        let call = format!("non_inferiority(x, arm, 'a', 'b', {high:?})");
        let got = compared(lake, vector, &call, &["p"]);
        assert_close(vector, "noninferior_p", got[0], number(&vector["expected"]["noninferior_p"]));
        1
    });
}
