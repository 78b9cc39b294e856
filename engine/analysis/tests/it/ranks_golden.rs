//! Golden suite of rank tests, tests of spread and of several groups.

use analysis::{
    Alternative, AnalysisError, Center, GroupStatistic, GroupVariance, MannWhitneyTests, RankDistribution,
    Zeros, anova, bartlett, brunner_munzel, fligner_killeen, friedman, hodges_lehmann, kolmogorov_smirnov,
    kruskal_wallis, levene, pseudomedian, wilcoxon,
};
use serde_json::{Value, json};

use crate::golden::{Answer, Vector, check, number, numbers};

#[test]
fn rank_tests() {
    // The normal approximation without the correction for continuity is never better.
    check("rank_tests", &["asymptotic_nocc_p"], |vector| {
        match vector.parameter("test").as_str() {
            Some("mann_whitney") => {}
            Some("brunner_munzel") => return Answer::Got(brunner_munzel_of(vector)),
            Some("ks_2samp") => return Answer::Got(kolmogorov_smirnov_of(vector)),
            Some("wilcoxon") => return Answer::Got(wilcoxon_of(vector)),
            Some("k_groups") => return Answer::Got(group_tests_of(vector)),
            _ => return Answer::Got(friedman_of(vector)),
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
        let mut got = by_side(side);
        got["a12"] = json!(exact.a12);
        got["cliffs_delta"] = json!(2.0 * exact.a12 - 1.0);
        got["hodges_lehmann"] = json!(hodges_lehmann(&a, &b).unwrap());
        Answer::Got(got)
    });
}

fn by_side(side: impl Fn(Alternative) -> Value) -> Value {
    json!({
        "two-sided": side(Alternative::TwoSided),
        "greater": side(Alternative::Greater),
        "less": side(Alternative::Less),
    })
}

/// The peer's statistic is negative when `a` is larger.
fn brunner_munzel_of(vector: &Vector) -> Value {
    let test = brunner_munzel(&vector.input("a"), &vector.input("b"), 0.95).unwrap();
    let mut got = by_side(|alternative| {
        json!({
            "statistic": test.statistic().map(|w| -w),
            "p_t": test.p_value(alternative).value(),
            "p_normal": test.p_normal(alternative).map(|p| p.value()),
        })
    });
    got["prob_a_gt_b"] = json!(test.probability);
    got["prob_ci95_t"] = json!(test.interval);
    got["df"] = json!(test.degrees_of_freedom);
    got["var_prob"] = json!(test.standard_error * test.standard_error);
    got
}

fn kolmogorov_smirnov_of(vector: &Vector) -> Value {
    let test = kolmogorov_smirnov(&vector.input("a"), &vector.input("b")).unwrap();
    by_side(|alternative| {
        json!({
            "D": test.statistic(alternative),
            "exact_p": test.p_value(alternative).value(),
            "asymp_p": test.p_asymptotic(alternative).value(),
        })
    })
}

/// The peer's statistic is the smaller sum for two sides, the sum of the positive ranks for one.
fn wilcoxon_of(vector: &Vector) -> Value {
    let zeros = match vector.parameter("zero_method").as_str() {
        None | Some("wilcox") => Zeros::Dropped,
        Some("pratt") => Zeros::Pratt,
        Some("zsplit") => Zeros::Split,
        Some(other) => panic!("unknown rule {other}"),
    };
    let differences: Vec<f64> = if vector.raw_input("d").is_array() {
        vector.input("d")
    } else {
        vector.input("a").iter().zip(vector.input("b")).map(|(a, b)| a - b).collect()
    };
    let [exact, corrected, plain] =
        [RankDistribution::Automatic, RankDistribution::Normal, RankDistribution::NormalUncorrected]
            .map(|distribution| wilcoxon(&differences, zeros, distribution).unwrap());
    let mut got = by_side(|alternative| {
        let w = match alternative {
            Alternative::TwoSided => exact.w_plus.min(exact.w_minus),
            _ => exact.w_plus,
        };
        json!({
            "W": w,
            "exact_p": if exact.exact { json!(exact.p_value(alternative).value()) } else { Value::Null },
            "asymptotic_cc_p": corrected.p_value(alternative).value(),
            "asymptotic_p": plain.p_value(alternative).value(),
            "p": plain.p_value(alternative).value(),
        })
    });
    got["hodges_lehmann"] = json!(pseudomedian(&differences).unwrap());
    got
}

pub(crate) fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn group_tests_of(vector: &Vector) -> Value {
    let groups = rows(vector.raw_input("groups"));
    let groups: Vec<&[f64]> = groups.iter().map(Vec::as_slice).collect();
    let shown = |test: Result<GroupStatistic, AnalysisError>| {
        let test = test.unwrap();
        json!([test.statistic, test.p.value()])
    };
    json!({
        "levene_mean": shown(levene(&groups, Center::Mean)),
        "brown_forsythe": shown(levene(&groups, Center::Median)),
        "levene_trimmed": shown(levene(&groups, Center::TrimmedMean)),
        "bartlett": shown(bartlett(&groups)),
        "fligner": shown(fligner_killeen(&groups)),
        "kruskal": shown(kruskal_wallis(&groups)),
        "anova": shown(anova(&groups, GroupVariance::Equal)),
        "welch_anova": shown(anova(&groups, GroupVariance::Unequal)),
    })
}

fn friedman_of(vector: &Vector) -> Value {
    let matrix = rows(vector.raw_input("matrix"));
    let matrix: Vec<&[f64]> = matrix.iter().map(Vec::as_slice).collect();
    let found = friedman(&matrix, number(vector.parameter("alpha"))).unwrap();
    json!({
        "chi2": found.test.statistic,
        "p": found.test.p.value(),
        "mean_ranks": found.mean_ranks,
        "nemenyi_cd": found.critical_difference,
    })
}
