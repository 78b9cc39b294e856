//! The golden suites of counts, plans and looks, asked in SQL.
//!
//! Not in SQL, on purpose: Wald's interval of a share, which is never right; the distribution function of the noncentral
//! t, which no question of a user ends in.

use serde_json::{Map, Value, json};

use crate::asked::{along, each, ends, list, of, row, rows, scalar, table, values};
use crate::functions_golden::literal;
use crate::golden::{Answer, Vector, check, number, numbers};
use crate::lake::Lake;

#[test]
fn contingency() {
    let lake = Lake::empty();
    // The peer's score interval takes a count for a number of trials; see the suite in `analysis`.
    let compared = check("contingency", &["normal", "miettinen_nurminen"], |vector| {
        let name = vector.name();
        let count = |key: &str| number(vector.raw_input(key)) as u64;
        if name.starts_with("table_") {
            return Answer::Got(two_by_two(&lake, vector));
        }
        if name.starts_with("rxc_") {
            let mut found = scalar(&lake, &format!("chi_squared_test({})", vector.raw_input("table")));
            return Answer::Got(json!({
                "chi2": found["chi2"].take(),
                "p": found["p"].take(),
                "df": found["df"].take(),
                "cramers_v": found["cramers_v"].take(),
            }));
        }
        if name.starts_with("proportion_") {
            let interval = |method: &str| {
                let (k, n, level) = (count("k"), count("n"), vector.parameter("level"));
                let found = scalar(&lake, &format!("proportion_ci({k}, {n}, '{method}', {level})"));
                assert_eq!(found["estimate"], json!(k as f64 / n as f64));
                ends(&found)
            };
            return Answer::Got(json!({
                "wilson": interval("wilson"),
                "beta": interval("clopper_pearson"),
                "jeffreys": interval("jeffreys"),
                "agresti_coull": interval("agresti_coull"),
            }));
        }
        if name.starts_with("two_prop_") {
            let asked = |method: &str| {
                let counts = ["k1", "n1", "k2", "n2"].map(|key| count(key).to_string()).join(", ");
                let level = vector.parameter("level");
                scalar(&lake, &format!("two_proportion_test({counts}, '{method}', {level})"))
            };
            let found = asked("newcombe");
            return Answer::Got(json!({
                "z": found["z"],
                "p": found["p"],
                "newcombe": ends(&found),
                "agresti_caffo": ends(&asked("agresti_caffo")),
            }));
        }
        if name == "cochran_q" {
            return Answer::Got(cochran_q(&lake, vector));
        }
        // The candidate is b there, and whoever is named first is compared with the other.
        let from = crate::asked::arms(vector, &["a", "b"]);
        let found = of(&lake, "mcnemar(x, arm, 'b', 'a', i)", &from);
        let right = row(
            &lake,
            &format!(
                "SELECT sum(CASE WHEN both = 2 THEN 1 ELSE 0 END) AS yes, sum(CASE WHEN both = 0 THEN 1 ELSE 0 END) AS no \
                 FROM (SELECT sum(x) AS both FROM {from} GROUP BY i) AS u"
            ),
        );
        let unpaired = row(
            &lake,
            &format!(
                "SELECT sqrt(sum(s)) AS se FROM (SELECT var_samp(x) / count(*) AS s FROM {from} GROUP BY arm) AS u"
            ),
        );
        Answer::Got(json!({
            "table": [[right["yes"], found["only_b"]], [found["only_a"], right["no"]]],
            "exact_p": found["p"],
            "diff": found["estimate"],
            "se_paired": found["se"],
            "se_unpaired": unpaired["se"],
            "ci95_normal": ends(&found),
        }))
    });
    assert!(compared >= 200, "{compared}");
}

fn two_by_two(lake: &Lake, vector: &Vector) -> Value {
    let rows: Vec<Vec<f64>> = vector.raw_input("table").as_array().unwrap().iter().map(numbers).collect();
    let [a, b, c, d] = [rows[0][0], rows[0][1], rows[1][0], rows[1][1]].map(|count| count as u64);
    let fisher = |side: &str| scalar(lake, &format!("fisher_test({a}, {b}, {c}, {d}, '{side}')"));
    let chi = |corrected: bool| {
        let found = scalar(lake, &format!("chi_squared_test([[{a}, {b}], [{c}, {d}]], {corrected})"));
        let tested = json!({"stat": found["chi2"], "p": found["p"], "df": found["df"]});
        (tested, json!({"stat": found["g"], "p": found["p_g"], "df": found["df"]}))
    };
    let mcnemar = |corrected: bool| scalar(lake, &format!("mcnemar_counts({b}, {c}, {corrected})"));
    let ((corrected, _), (plain, g)) = (chi(true), chi(false));
    let (two_sided, exact, edwards) = (fisher("two-sided"), mcnemar(false), mcnemar(true));
    let mut got = json!({
        "chi2_yates": corrected,
        "chi2": plain,
        "g_test": g,
        "fisher": {
            "two-sided": two_sided["p"],
            "greater": fisher("greater")["p"],
            "less": fisher("less")["p"],
        },
        "sample_odds_ratio": two_sided["sample_odds_ratio"],
        "conditional_or": two_sided["odds_ratio"],
        "conditional_or_ci95": ends(&two_sided),
        "mcnemar": {
            "b": b,
            "c": c,
            "exact_p": exact["p"],
            "chi2": exact["chi2"],
            "chi2_p": exact["p_chi2"],
            "chi2_cc": edwards["chi2"],
            "chi2_cc_p": edwards["p_chi2"],
        },
    });
    if vector.expected().contains_key("barnard_p") {
        // The peer's groups are the columns.
        for (key, test) in [("barnard_p", "barnard_test"), ("boschloo_p", "boschloo_test")] {
            got[key] = scalar(lake, &format!("{test}({a}, {c}, {b}, {d})"))["p"].take();
        }
    }
    got
}

fn cochran_q(lake: &Lake, vector: &Vector) -> Value {
    let examples = vector.raw_input("matrix").as_array().unwrap();
    let cells = examples.iter().enumerate().flat_map(|(example, answers)| {
        let answers = numbers(answers);
        // In reverse: the order of arrival must not matter.
        (0..answers.len()).rev().map(move |model| format!("{}, 'm{model}', {example}", answers[model]))
    });
    // One example that a model did not answer is left out.
    let from = table(cells.chain(["1, 'm0', 99".to_owned()]), "x, model, example");
    let found = of(lake, "cochran_q(x, model, example)", &from);
    assert_eq!((&found["examples"], &found["n_incomplete"]), (&json!(examples.len()), &json!(1)));
    json!({"Q": found["q"], "p": found["p"], "df": found["df"]})
}

#[test]
fn power() {
    let lake = Lake::empty();
    let compared = check("power", &[], |vector| {
        let name = vector.name();
        let get = |key| literal(number(vector.parameter(key)));
        if name.starts_with("nct_") {
            return Answer::Skip("values of a distribution underneath");
        }
        if name.starts_with("prop_") {
            let (shares, plan) =
                (format!("{}, {}", get("p1"), get("p2")), format!("{}, {}", get("power"), get("alpha")));
            let needed = scalar(&lake, &format!("required_trials({shares}, {plan})"));
            assert_eq!(needed["n"], json!(number(&needed["n_exact"]).ceil() as u64));
            let power = scalar(&lake, &format!("power_proportions({shares}, 1000, {})", get("alpha")));
            return Answer::Got(json!({
                "h": scalar(&lake, &format!("cohens_h({shares})")),
                "n_per_arm": needed["n_exact"],
                "power_n1000": power,
            }));
        }
        if name.starts_with("mde_") {
            let detectable = |sides: &str| {
                let plan = format!("{}, {}, {}", get("n"), get("power"), get("alpha"));
                scalar(&lake, &format!("detectable_effect({plan}, '{sides}')"))
            };
            return Answer::Got(json!({
                "mde_d_one_sided": detectable("one-sided"),
                "mde_d_two_sided": detectable("two-sided"),
            }));
        }
        let sides = match vector.parameter("alternative").as_str() {
            Some("two-sided") => "two-sided",
            _ => "one-sided",
        };
        let required = |wanted: f64, design: &str| {
            let plan = format!("{}, {wanted}, {}, '{sides}', {design}", get("d"), get("alpha"));
            scalar(&lake, &format!("required_runs({plan})"))
        };
        if name.starts_with("t_ratio") {
            let design = format!("ratio => {}", get("ratio"));
            let plan = format!("{}, {}, {}, '{sides}', {design}", get("d"), get("nobs1"), get("alpha"));
            return Answer::Got(json!({
                "power": scalar(&lake, &format!("power_t_test({plan})")),
                "n1_exact_80": required(0.8, &design)["n_exact"],
            }));
        }
        if name.starts_with("alpha") {
            let needed = required(number(vector.parameter("power")), "design => 'two-sample'");
            assert_eq!(needed["n"], json!(number(&vector.expected()["n_exact"]).ceil() as u64), "{name}");
            return Answer::Got(json!({"n_exact": needed["n_exact"]}));
        }
        // All sizes in one statement: the function takes columns.
        let powers = |key: &str, design: &str| -> Value {
            let sizes: Vec<&String> = vector.expected()[key].as_object().unwrap().keys().collect();
            let from = table(sizes.iter().map(|n| n.to_string()), "n");
            let call = format!("power_t_test({}, n, {}, '{sides}', '{design}')", get("d"), get("alpha"));
            let found = rows(&lake, &format!("SELECT n, {call} AS power FROM {from}"));
            let by_size = found.into_iter().map(|row| (row["n"].to_string(), row["power"].clone()));
            Value::Object(by_size.collect::<Map<_, _>>())
        };
        let [independent, paired] = ["design => 'two-sample'", "design => 'paired'"];
        Answer::Got(json!({
            "power": powers("power", "two-sample"),
            "paired_power": powers("paired_power", "paired"),
            "n_ind_0.8": required(0.8, independent),
            "n_ind_0.9": required(0.9, independent),
            "n_paired_0.8": required(0.8, paired),
            "n_paired_0.9": required(0.9, paired),
        }))
    });
    assert!(compared >= 250, "{compared}");
}

#[test]
fn sequential() {
    let lake = Lake::empty();
    let compared = check("sequential", &[], |vector| {
        let name = vector.name();
        let get = |key| literal(number(vector.parameter(key)));
        let level = || literal(1.0 - number(vector.parameter("alpha")));
        let at_times = |options: &str| -> Value {
            let from = values(&vector.input("v"));
            let sql = format!("SELECT time_uniform_bound(x, {options}) AS s FROM {from} ORDER BY i");
            rows(&lake, &sql).into_iter().map(|mut row| row["s"].take()).collect()
        };
        if name.starts_with("normal_mixture") {
            let bound = |side: &str| {
                at_times(&format!("{}, 'normal_mixture', {}, '{side}'", get("v_opt"), get("alpha")))
            };
            return Answer::Got(json!({"two_sided": bound("two-sided"), "one_sided": bound("greater")}));
        }
        if name.starts_with("gamma_exponential") {
            let options =
                format!("{}, 'gamma_exponential', {}, c => {}", get("v_opt"), get("alpha"), get("c"));
            return Answer::Got(json!({"bound": at_times(&options)}));
        }
        if name.starts_with("poly_stitching") {
            let shape = format!("c => {}, s => {}, eta => {}", get("c"), get("s"), get("eta"));
            let options = format!("{}, 'stitched', {}, {shape}", get("v_min"), get("alpha"));
            return Answer::Got(json!({"bound": at_times(&options)}));
        }
        if name.starts_with("bernoulli") {
            let counts = format!("{}, {}", vector.raw_input("k"), vector.raw_input("n"));
            let call = format!("proportion_sequence({counts}, {}, {})", vector.parameter("t_opt"), level());
            return Answer::Got(json!({"ci": ends(&scalar(&lake, &call))}));
        }
        if name.starts_with("cs_") {
            let method = match vector.parameter("kind").as_str().unwrap() {
                "empirical_bernstein" => "empirical_bernstein_plain",
                "betting_default" => "betting",
                kind => kind,
            };
            let call = format!("confidence_sequence(x, '{method}', {})", level());
            let found = along(&lake, &call, &values(&vector.input("x")));
            let times = numbers(&vector.expected()["t"]);
            let at = |field: &str| -> Value {
                times.iter().map(|t| found[*t as usize - 1][field].clone()).collect()
            };
            return Answer::Got(json!({"t": times, "lower": at("low"), "upper": at("high")}));
        }
        if name.starts_with("t_mixture") {
            let from = values(&vector.input("x"));
            let g = get("g");
            let evidence = along(&lake, &format!("sequential_test(x, mixture => {g})"), &from);
            let call = format!("confidence_sequence(x, level => {}, mixture => {g})", level());
            let found = along(&lake, &call, &from).pop().unwrap();
            let half = number(&found["high"]) - number(&found["estimate"]);
            return Answer::Got(json!({
                "log_e_at_0": evidence.last().unwrap()["log_e"],
                "half_width": crate::golden::shown(half),
                "ci": ends(&found),
            }));
        }
        if name.starts_with("msprt") {
            let x = vector.input("x");
            let call =
                format!("sequential_test(x, variance => {}, mixture => {})", get("sigma2"), get("tau2"));
            let found = along(&lake, &call, &values(&x));
            let p = |place: usize| found[place]["p"].clone();
            return Answer::Got(json!({
                "log_lr_last": found[x.len() - 1]["log_e"],
                "p_sequence_last": p(x.len() - 1),
                "p_min_so_far": [p(0), p(x.len() / 2), p(x.len() - 1)],
            }));
        }
        if name.starts_with("asymp") {
            let call = format!("confidence_sequence(x, 'asymptotic', {}, {})", level(), get("rho2"));
            let found = along(&lake, &call, &values(&vector.input("x"))).pop().unwrap();
            return Answer::Got(json!({"half_width": number(&found["high"]) - number(&found["estimate"])}));
        }
        if name.starts_with("ebh") {
            let from = values(&vector.input("e"));
            let findings = along(&lake, &format!("e_bh(x, {})", get("alpha")), &from);
            return Answer::Got(json!({
                "rejected": findings.iter().filter(|found| **found == json!(true)).count(),
                "product_log": of(&lake, "sum(ln(x))", &from),
                "mean": of(&lake, "avg(x)", &from),
            }));
        }
        if name == "pocock_obf_classical" {
            let looks = table(numbers(vector.parameter("K")).iter().map(|k| format!("{k}")), "k");
            let constants = |shape: &str| {
                let sql =
                    format!("SELECT group_sequential_constant(k, '{shape}') AS s FROM {looks} ORDER BY k");
                each(&rows(&lake, &sql), "s")
            };
            return Answer::Got(
                json!({"pocock_c": constants("pocock"), "obf_c": constants("obrien_fleming")}),
            );
        }
        let shares = vector.input("fraction");
        if name == "spending_functions" {
            let spent = |spending: &str| {
                let call = format!("alpha_spent(x, '{spending}', {})", get("alpha"));
                each(&rows(&lake, &format!("SELECT {call} AS s FROM {} ORDER BY i", values(&shares))), "s")
            };
            return Answer::Got(json!({
                "obf": spent("obf"),
                "pocock": spent("pocock"),
                "linear": spent("linear"),
                "power2": spent("quadratic"),
            }));
        }
        let spending = vector.parameter("spending").as_str().unwrap();
        let looks =
            scalar(&lake, &format!("group_sequential({}, '{spending}', {})", list(&shares), get("alpha")));
        let looks = looks.as_array().unwrap();
        Answer::Got(json!({"z": each(looks, "z"), "nominal_p": each(looks, "p")}))
    });
    assert!(compared >= 350, "{compared}");
}
