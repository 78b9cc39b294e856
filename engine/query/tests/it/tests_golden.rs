//! Golden values of independent packages for the tests beyond Welch's, asked for in SQL.

use crate::functions_golden::{assert_close, assert_interval, cells, compared, each_vector};
use crate::golden::{number, numbers};

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
