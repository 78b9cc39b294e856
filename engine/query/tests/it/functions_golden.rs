//! Golden values of independent packages, asked for in SQL. The statistics are tested where they are computed; this
//! tests that arguments and results reach them unharmed.

use serde_json::Value;

use crate::golden::{number, numbers, shared};
use crate::lake::Lake;

fn vectors(suite: &str) -> Vec<Value> {
    let Some(folder) = shared() else {
        println!("skipped: no golden values on this machine");
        return Vec::new();
    };
    let text = std::fs::read_to_string(folder.join(format!("golden/{suite}.json"))).unwrap();
    let mut suite: Value = serde_json::from_str(&text).unwrap();
    suite["vectors"].take().as_array().unwrap().clone()
}

pub(crate) fn literal(value: f64) -> String {
    if value.is_finite() { format!("{value:?}") } else { format!("'{value}'::double") }
}

/// `(VALUES (0, x0), (1, x1), ...)`.
fn table(values: &[f64]) -> String {
    let rows: Vec<String> =
        values.iter().enumerate().map(|(i, v)| format!("({i}, {})", literal(*v))).collect();
    format!("(VALUES {}) AS t(i, x)", rows.join(","))
}

pub(crate) fn cells(lake: &Lake, sql: &str) -> Vec<f64> {
    lake.rows(sql)[0].iter().map(|cell| cell.parse().unwrap()).collect()
}

fn tolerance(vector: &Value, key: &str) -> (f64, f64) {
    let of = |value: &Value| match value {
        Value::Object(by_key) => number(by_key.get(key).unwrap_or(&by_key["*"])),
        value => number(value),
    };
    (of(&vector["atol"]), of(&vector["rtol"]))
}

pub(crate) fn assert_close(vector: &Value, key: &str, got: f64, expected: f64) {
    let (absolute, relative) = tolerance(vector, key);
    let near = got == expected || (got - expected).abs() <= absolute + relative * expected.abs();
    assert!(near || (got.is_nan() && expected.is_nan()), "{} {key}: {got} is not {expected}", vector["name"]);
}

/// Runs `test` for each vector of a suite on an empty lake; it says how many values it compared, which must be at least
/// `least` in all where the golden values are there.
pub(crate) fn each_vector(suite: &str, least: usize, test: impl Fn(&Lake, &Value) -> usize) {
    let lake = Lake::empty();
    let tested: usize = vectors(suite).iter().map(|vector| test(&lake, vector)).sum();
    assert!(tested >= least || shared().is_none(), "{suite}: {tested}");
}

/// An interval of two columns.
pub(crate) fn assert_interval(vector: &Value, key: &str, got: &[f64], expected: &Value) {
    let expected = numbers(expected);
    assert_close(vector, key, got[0], expected[0]);
    assert_close(vector, key, got[1], expected[1]);
}

fn arms(vector: &Value) -> String {
    let rows = |arm: &str| -> Vec<String> {
        numbers(&vector["input"][arm]).iter().map(|v| format!("({},'{arm}')", literal(*v))).collect()
    };
    format!("(VALUES {}) AS t(x, arm)", [rows("a"), rows("b")].concat().join(","))
}

#[test]
fn mean_ci_and_iqm() {
    each_vector("descriptive", 5, |lake, vector| {
        let (Some(x), Some(interval)) =
            (vector["input"]["x"].as_array(), vector["expected"]["ci95_t"].as_array())
        else {
            return 0;
        };
        if x.len() < 2 || x.len() > 2_000 {
            return 0;
        }
        let values = numbers(&vector["input"]["x"]);
        let sql = format!(
            "SELECT m['estimate'], m['low'], m['high'], m['se'], q FROM (SELECT mean_ci(x) AS m, iqm(x) AS q FROM {}) AS u",
            table(&values)
        );
        let got = cells(lake, &sql);
        let expected = &vector["expected"];
        assert_close(vector, "mean", got[0], number(&expected["mean"]));
        assert_close(vector, "ci95_t", got[1], number(&interval[0]));
        assert_close(vector, "ci95_t", got[2], number(&interval[1]));
        assert_close(vector, "sem", got[3], number(&expected["sem"]));
        assert_close(vector, "iqm", got[4], number(&expected["iqm"]));
        1
    });
}

#[test]
fn bootstrap_ci() {
    each_vector("bootstrap", 60, |lake, vector| {
        let mut tested = 0;
        let expected = &vector["expected"];
        let Some(statistic) =
            vector["params"]["statistic"].as_str().filter(|s| ["mean", "median", "iqm"].contains(s))
        else {
            return 0;
        };
        let exact = vector["input"]["x"].is_array();
        let input = if exact { &vector["input"]["x"] } else { &vector["input"]["a"] };
        if !input.is_array() || vector["input"]["b"].is_array() || !expected["theta"].is_number() {
            return 0;
        }
        let values = numbers(input);
        for (method, level) in [("percentile", 0.9), ("basic", 0.9), ("percentile", 0.95), ("basic", 0.95)] {
            // Seven values and fewer are resampled exactly; more must fall inside of the bounds for 10,000 draws.
            let key = if exact { format!("{method}_{level}") } else { method.to_owned() };
            if !exact && level != 0.95 {
                continue;
            }
            let sql = format!(
                "SELECT b['estimate'], b['low'], b['high'] FROM (SELECT bootstrap_ci(x, '{statistic}', '{method}', {level}, seed => 11) AS b FROM {}) AS u",
                table(&values)
            );
            let got = cells(lake, &sql);
            assert_close(vector, "theta", got[0], number(&expected["theta"]));
            for end in 0..2 {
                let bounds = &expected[format!("{key}_bounds_B10000")][end];
                if exact && values.len() <= 7 && expected[&key].is_array() {
                    assert_close(vector, &key, got[end + 1], number(&expected[&key][end]));
                    tested += 1;
                } else if bounds.is_array() {
                    let bounds = numbers(bounds);
                    let inside = bounds[0] - 1e-12 <= got[end + 1] && got[end + 1] <= bounds[1] + 1e-12;
                    assert!(inside, "{} {key}: {} outside of {bounds:?}", vector["name"], got[end + 1]);
                    tested += 1;
                }
            }
        }
        tested
    });
}

#[test]
fn downsample_lttb() {
    each_vector("downsampling", 3, |lake, vector| {
        if vector["input"]["x"] != "arange" || !vector["expected"]["lttb_steinarsson"].is_array() {
            return 0;
        }
        let values = numbers(&vector["input"]["y"]);
        let count = &vector["params"]["n_out"];
        // In reverse: the function sorts by step.
        let sql = format!(
            "SELECT p['step'], p['value'] FROM (SELECT unnest(downsample_lttb(i, x, {count})) AS p FROM (SELECT * FROM {} ORDER BY i DESC) AS r) AS u ORDER BY 1",
            table(&values)
        );
        let got: Vec<usize> = lake.rows(&sql).iter().map(|row| row[0].parse().unwrap()).collect();
        let expected: Vec<usize> =
            numbers(&vector["expected"]["lttb_steinarsson"]).into_iter().map(|i| i as usize).collect();
        assert_eq!(got, expected, "{}", vector["name"]);
        1
    });
}

#[test]
fn ema() {
    each_vector("smoothing", 8, |lake, vector| {
        let parameters = &vector["params"];
        let call = match parameters["kind"].as_str() {
            Some("tensorboard") => "method => 'tensorboard'".to_owned(),
            Some("ewm") => format!(
                "method => 'ewm', adjust => {}, ignore_na => {}",
                parameters["adjust"].as_bool().unwrap_or(true),
                parameters["ignore_na"].as_bool().unwrap_or(false)
            ),
            _ => return 0,
        };
        let alpha = 1.0 - parameters["weight"].as_f64().unwrap_or(f64::NAN);
        if !(alpha > 0.0 && alpha <= 1.0) {
            return 0;
        }
        let values = numbers(&vector["input"]["y"]);
        if values.is_empty() {
            return 0;
        }
        let sql = format!(
            "SELECT ema(x, alpha => {alpha:?}, {call}) OVER (ORDER BY i) FROM {} ORDER BY i",
            table(&values)
        );
        let got = lake.rows(&sql);
        let expected = numbers(&vector["expected"]["y"]);
        assert_eq!(got.len(), expected.len());
        for (row, expected) in got.iter().zip(expected) {
            // 1 - weight is rounded once on the way in.
            let got: f64 = row[0].parse().unwrap();
            let near = (got - expected).abs() <= 1e-9 * (1.0 + expected.abs());
            assert!(
                near || got == expected || (got.is_nan() && expected.is_nan()),
                "{}: {got} {expected}",
                vector["name"]
            );
        }
        1
    });
}

/// The numbers of a struct that a function of two arms gives.
pub(crate) fn compared(lake: &Lake, vector: &Value, call: &str, fields: &[&str]) -> Vec<f64> {
    let fields: Vec<String> = fields.iter().map(|field| format!("s['{field}']")).collect();
    let sql = format!("SELECT {} FROM (SELECT {call} AS s FROM {}) AS u", fields.join(", "), arms(vector));
    cells(lake, &sql)
}

#[test]
fn tost() {
    each_vector("equivalence", 20, |lake, vector| {
        if !vector["expected"]["p_welch"].is_number() {
            return 0;
        }
        let expected = &vector["expected"];
        let bound = |key: &str| literal(number(&vector["params"][key]));
        let call = format!("tost(x, arm, 'a', 'b', {}, {})", bound("low"), bound("high"));
        let got = compared(lake, vector, &call, &["p", "p_low", "p_high", "df", "low", "high"]);
        for (position, key) in ["p_welch", "p_low", "p_high", "df"].into_iter().enumerate() {
            assert_close(vector, key, got[position], number(&expected[key]));
        }
        assert_interval(vector, "ci90", &got[4..], &expected["ci90"]);
        1
    });
}

#[test]
fn permutation_test() {
    each_vector("permutation", 60, |lake, vector| {
        if vector["params"]["type"] != "independent" {
            return 0;
        }
        let mut tested = 0;
        if vector["name"].as_str().unwrap().starts_with("monte_carlo") {
            return 0;
        }
        for (statistic, expected) in
            [("mean", &vector["expected"]), ("welch", &vector["expected"]["welch_t"])]
        {
            for side in ["two-sided", "greater", "less"] {
                if !expected[side].is_number() {
                    continue;
                }
                let call = format!("permutation_test(x, arm, 'a', 'b', '{statistic}', '{side}')");
                let got = compared(lake, vector, &call, &["p", "relabellings"]);
                assert_close(vector, side, got[0], number(&expected[side]));
                assert_close(vector, "count", got[1], number(&vector["expected"]["count"]));
                tested += 1;
            }
        }
        tested
    });
}

#[test]
fn slope() {
    each_vector("correlation", 3, |lake, vector| {
        if !vector["expected"]["slope"].is_number() {
            return 0;
        }
        let (x, y) = (numbers(&vector["input"]["x"]), numbers(&vector["input"]["y"]));
        let rows: Vec<String> =
            x.iter().zip(&y).map(|(x, y)| format!("({}, {})", literal(*x), literal(*y))).collect();
        let got = cells(lake, &format!("SELECT slope(x, y) FROM (VALUES {}) AS t(x, y)", rows.join(",")));
        assert_close(vector, "slope", got[0], number(&vector["expected"]["slope"]));
        1
    });
}

#[test]
fn iqm_ci_over_tasks() {
    each_vector("rliable", 4, |lake, vector| {
        if !vector["name"].as_str().unwrap().starts_with("ci_") {
            return 0;
        }
        let mut rows = Vec::new();
        for run in vector["input"]["scores"].as_array().unwrap() {
            for (task, score) in numbers(run).iter().enumerate() {
                rows.push(format!("({}, {task})", literal(*score)));
            }
        }
        let sql = format!(
            "SELECT s['estimate'], s['low'], s['high'] FROM (SELECT iqm_ci(x, task, resamples => 50000, seed => 5) AS s FROM (VALUES {}) AS t(x, task)) AS u",
            rows.join(",")
        );
        let got = cells(lake, &sql);
        let expected = &vector["expected"]["iqm"];
        assert_close(vector, "iqm", got[0], number(&expected["point"]));
        for end in 0..2 {
            let bounds = numbers(&expected["bounds_B50000"][end]);
            let inside = bounds[0] - 1e-9 <= got[end + 1] && got[end + 1] <= bounds[1] + 1e-9;
            assert!(inside, "{}: {} outside of {bounds:?}", vector["name"], got[end + 1]);
        }
        1
    });
}

#[test]
fn rolling_median() {
    each_vector("smoothing", 4, |lake, vector| {
        if vector["params"]["kind"] != "rolling" {
            return 0;
        }
        let sql = format!(
            "SELECT rolling_median(x, {}) OVER (ORDER BY i) FROM {} ORDER BY i",
            vector["params"]["window"],
            table(&numbers(&vector["input"]["y"]))
        );
        let got = lake.rows(&sql);
        for (row, expected) in got.iter().zip(numbers(&vector["expected"]["median"])) {
            assert_close(vector, "median", row[0].parse().unwrap(), expected);
        }
        1
    });
}

/// The trials of a vector as the text of a query, with the objective as `objective`.
fn trials(vector: &Value) -> String {
    let columns = vector["input"]["columns"].as_object().unwrap();
    let objective = vector["input"]["value"].as_array().unwrap();
    let cell = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::String(text) if !["NaN", "Infinity", "-Infinity"].contains(&text.as_str()) => {
            format!("'{text}'")
        }
        value => literal(number(value)),
    };
    let rows = (0..objective.len()).map(|row| {
        let cells = columns.values().map(|column| cell(&column[row])).chain([cell(&objective[row])]);
        format!("({})", cells.collect::<Vec<_>>().join(","))
    });
    let names: Vec<&str> = columns.keys().map(String::as_str).chain(["objective"]).collect();
    format!("SELECT * FROM (VALUES {}) AS t({})", rows.collect::<Vec<_>>().join(","), names.join(","))
}

#[test]
fn importance() {
    each_vector("hpo_importance", 30, |lake, vector| {
        let name = &vector["name"];
        let query = trials(vector).replace('\'', "''");
        let sql = format!(
            "SELECT param, other, importance, n_failed FROM importance('{query}', 'objective', seed => 1) WHERE kind <> 'remainder'"
        );
        let expected = &vector["expected"];
        if let Some(code) = expected["error"].as_str() {
            let text = if code == "zero_variance" {
                "there is no variance to explain"
            } else {
                "importances need at least 2"
            };
            let error = lake.ask(&sql).unwrap_err().to_string();
            assert!(error.contains(text), "{name}: {error}");
            return 1;
        }
        let rows = lake.rows(&sql);
        let of = |param: &str, other: &str| -> f64 {
            rows.iter().find(|row| row[0] == param && row[1] == other).unwrap()[2].parse().unwrap()
        };
        let mut tested = 0;
        if let Some(truth) = expected["truth"]["main"].as_object() {
            // The search space is guessed from the trials here, and was given there.
            let allowed = number(&expected["abs_tol_main"]) + 0.03;
            for (param, truth) in truth {
                let got = of(param, "NULL");
                assert!((got - number(truth)).abs() <= allowed, "{name} {param}: {got} for {truth}");
                tested += 1;
            }
        }
        for (pair, truth) in expected["truth"]["pair"].as_object().into_iter().flatten() {
            if number(truth) > 0.5 {
                let (first, second) = pair.split_once(',').unwrap();
                assert!(of(first, second) > 0.5, "{name} {pair}");
                tested += 1;
            }
        }
        if let Some(used) = expected["n_used"].as_u64() {
            let all = vector["input"]["value"].as_array().unwrap().len() as u64;
            assert!(rows.iter().all(|row| row[3] == (all - used).to_string()), "{name}: {rows:?}");
            tested += 1;
        }
        tested
    });
}
