//! Golden suite of counts: tables, rates, answers right and wrong.

use analysis::{
    Alternative, AnalysisError, CountTable, Hits, TableTest, Unconditional, agresti_coull, clopper_pearson,
    cochran_q, fisher_exact, jeffreys, mcnemar_chi_squared, mcnemar_exact, odds_ratio, paired_answers,
    rate_difference, unconditional_test, wilson,
};
use serde_json::{Value, json};

use crate::golden::{Answer, Vector, check, number, numbers, shown, shown_list};
use crate::ranks_golden::rows;

pub(crate) fn table(value: &Value) -> [[u64; 2]; 2] {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    [[rows[0][0] as u64, rows[0][1] as u64], [rows[1][0] as u64, rows[1][1] as u64]]
}

#[test]
fn contingency() {
    // Wald's interval is never offered. The peer's score interval takes a count for a number of trials in one
    // coefficient of its cubic; ours is checked against Newcombe 1998 where it is computed.
    check("contingency", &["normal", "miettinen_nurminen"], |vector| {
        let name = vector.name();
        if name.starts_with("table_") {
            return Answer::Got(two_by_two(vector));
        }
        if name.starts_with("rxc_") {
            let table = count_table(vector.raw_input("table")).unwrap();
            let test = table.chi_squared(true).unwrap();
            return Answer::Got(json!({
                "chi2": test.statistic,
                "p": test.p.value(),
                "df": test.degrees_of_freedom,
                "cramers_v": table.cramers_v().unwrap(),
            }));
        }
        let count = |key: &str| number(vector.raw_input(key)) as u64;
        if name.starts_with("proportion_") {
            let level = number(vector.parameter("level"));
            return Answer::Got(json!({
                "wilson": wilson(count("k"), count("n"), level).unwrap(),
                "beta": clopper_pearson(count("k"), count("n"), level).unwrap(),
                "jeffreys": jeffreys(count("k"), count("n"), level).unwrap(),
                "agresti_coull": agresti_coull(count("k"), count("n"), level).unwrap(),
            }));
        }
        if name.starts_with("two_prop_") {
            let (first, second) = (
                Hits { hits: count("k1"), trials: count("n1") },
                Hits { hits: count("k2"), trials: count("n2") },
            );
            let found = rate_difference(first, second, number(vector.parameter("level"))).unwrap();
            return Answer::Got(json!({
                "z": found.z,
                "p": found.p.value(),
                "newcombe": found.newcombe,
                "agresti_caffo": found.agresti_caffo,
            }));
        }
        let answers = |values: &[f64]| values.iter().map(|v| *v == 1.0).collect::<Vec<_>>();
        if name == "cochran_q" {
            let rows: Vec<Vec<bool>> =
                rows(vector.raw_input("matrix")).iter().map(|row| answers(row)).collect();
            let test = cochran_q(&rows).unwrap();
            return Answer::Got(
                json!({"Q": test.statistic, "p": test.p.value(), "df": test.degrees_of_freedom}),
            );
        }
        let found = paired_answers(&answers(&vector.input("a")), &answers(&vector.input("b")), 0.95).unwrap();
        Answer::Got(json!({
            "table": found.table,
            "exact_p": found.p_exact.value(),
            "diff": found.difference,
            "se_paired": found.standard_error,
            "se_unpaired": found.unpaired_error,
            "ci95_normal": found.interval,
        }))
    });
}

pub(crate) fn count_table(value: &Value) -> Result<CountTable, AnalysisError> {
    let whole = |row: Vec<f64>| row.iter().map(|count| *count as i64).collect();
    CountTable::new(&rows(value).into_iter().map(whole).collect::<Vec<Vec<i64>>>())
}

fn two_by_two(vector: &Vector) -> Value {
    let counts = table(vector.raw_input("table"));
    let fisher = |alternative| fisher_exact(counts, alternative);
    let [[_, b], [c, _]] = counts;
    let whole = count_table(vector.raw_input("table")).unwrap();
    let tested =
        |test: TableTest| json!({"stat": test.statistic, "p": test.p.value(), "df": test.degrees_of_freedom});
    let mcnemar = |corrected| mcnemar_chi_squared(b, c, corrected);
    let odds = odds_ratio(counts, 0.95).unwrap();
    let mut got = json!({
        "chi2_yates": tested(whole.chi_squared(true).unwrap()),
        "chi2": tested(whole.chi_squared(false).unwrap()),
        "g_test": tested(whole.g_test().unwrap()),
        "fisher": {
            "two-sided": fisher(Alternative::TwoSided),
            "greater": fisher(Alternative::Greater),
            "less": fisher(Alternative::Less),
        },
        "sample_odds_ratio": shown(odds.sample),
        "conditional_or": shown(odds.conditional),
        "conditional_or_ci95": shown_list(&odds.interval),
        "mcnemar": {
            "b": b,
            "c": c,
            "exact_p": mcnemar_exact(b, c),
            "chi2": mcnemar(false).map(|test| test.statistic),
            "chi2_p": mcnemar(false).map(|test| test.p.value()),
            "chi2_cc": mcnemar(true).map(|test| test.statistic),
            "chi2_cc_p": mcnemar(true).map(|test| test.p.value()),
        },
    });
    if vector.expected().contains_key("barnard_p") {
        let p = |statistic| json!(unconditional_test(counts, statistic).unwrap().value());
        got["barnard_p"] = p(Unconditional::Barnard);
        got["boschloo_p"] = p(Unconditional::Boschloo);
    }
    got
}
