//! Golden values of independent packages, asked for in SQL. The statistics are tested where they are computed; this
//! tests that arguments and results reach them unharmed.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::lake::Lake;

/// The folder with golden values, or `None` on a machine that does not have it.
fn shared() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("RUNLAKE_SHARED") {
        return Some(folder.into());
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().map(|folder| folder.join("shared")).find(|folder| folder.join("DESIGN.md").exists())
}

fn vectors(suite: &str) -> Vec<Value> {
    let Some(folder) = shared() else {
        println!("skipped: no golden values on this machine");
        return Vec::new();
    };
    let text = std::fs::read_to_string(folder.join(format!("golden/{suite}.json"))).unwrap();
    let mut suite: Value = serde_json::from_str(&text).unwrap();
    suite["vectors"].take().as_array().unwrap().clone()
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        value => value.as_f64().unwrap(),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn literal(value: f64) -> String {
    if value.is_finite() { format!("{value:?}") } else { format!("'{value}'::double") }
}

/// `(VALUES (0, x0), (1, x1), ...)`.
fn table(values: &[f64]) -> String {
    let rows: Vec<String> =
        values.iter().enumerate().map(|(i, v)| format!("({i}, {})", literal(*v))).collect();
    format!("(VALUES {}) AS t(i, x)", rows.join(","))
}

fn cells(lake: &Lake, sql: &str) -> Vec<f64> {
    lake.rows(sql)[0].iter().map(|cell| cell.parse().unwrap()).collect()
}

fn tolerance(vector: &Value, key: &str) -> (f64, f64) {
    let of = |value: &Value| match value {
        Value::Object(by_key) => number(by_key.get(key).unwrap_or(&by_key["*"])),
        value => number(value),
    };
    (of(&vector["atol"]), of(&vector["rtol"]))
}

fn assert_close(vector: &Value, key: &str, got: f64, expected: f64) {
    let (absolute, relative) = tolerance(vector, key);
    let near = got == expected || (got - expected).abs() <= absolute + relative * expected.abs();
    assert!(near || (got.is_nan() && expected.is_nan()), "{} {key}: {got} is not {expected}", vector["name"]);
}

fn arms(vector: &Value) -> String {
    let rows = |arm: &str| -> Vec<String> {
        numbers(&vector["input"][arm]).iter().map(|v| format!("({},'{arm}')", literal(*v))).collect()
    };
    format!("(VALUES {}) AS t(x, arm)", [rows("a"), rows("b")].concat().join(","))
}

#[test]
fn welch_test() {
    let lake = Lake::empty();
    let mut tested = 0;
    for vector in vectors("ttests").iter().filter(|v| v["params"]["test"] == "welch") {
        for side in ["two-sided", "greater", "less"] {
            let expected = &vector["expected"][side];
            if !expected["p"].is_number() {
                continue;
            }
            let sql = format!(
                "SELECT w['t'], w['df'], w['p'], w['low'], w['high'] FROM (SELECT welch_test(x, arm, 'a', 'b', alternative => '{side}') AS w FROM {}) AS u",
                arms(vector)
            );
            let got = cells(&lake, &sql);
            for (position, key) in ["t", "df", "p"].into_iter().enumerate() {
                assert_close(vector, key, got[position], number(&expected[key]));
            }
            let interval = numbers(&expected["ci95"]);
            assert_close(vector, "ci95", got[3], interval[0]);
            assert_close(vector, "ci95", got[4], interval[1]);
            tested += 1;
        }
    }
    assert!(tested >= 30 || shared().is_none(), "{tested}");
}

#[test]
fn mean_ci_and_iqm() {
    let lake = Lake::empty();
    let mut tested = 0;
    for vector in vectors("descriptive") {
        let (Some(x), Some(interval)) =
            (vector["input"]["x"].as_array(), vector["expected"]["ci95_t"].as_array())
        else {
            continue;
        };
        if x.len() < 2 || x.len() > 2_000 {
            continue;
        }
        let values = numbers(&vector["input"]["x"]);
        let sql = format!(
            "SELECT m['estimate'], m['low'], m['high'], m['se'], q FROM (SELECT mean_ci(x) AS m, iqm(x) AS q FROM {}) AS u",
            table(&values)
        );
        let got = cells(&lake, &sql);
        let expected = &vector["expected"];
        assert_close(&vector, "mean", got[0], number(&expected["mean"]));
        assert_close(&vector, "ci95_t", got[1], number(&interval[0]));
        assert_close(&vector, "ci95_t", got[2], number(&interval[1]));
        assert_close(&vector, "sem", got[3], number(&expected["sem"]));
        assert_close(&vector, "iqm", got[4], number(&expected["iqm"]));
        tested += 1;
    }
    assert!(tested >= 5 || shared().is_none(), "{tested}");
}

#[test]
fn bootstrap_ci() {
    let lake = Lake::empty();
    let mut tested = 0;
    for vector in vectors("bootstrap") {
        let expected = &vector["expected"];
        let Some(statistic) =
            vector["params"]["statistic"].as_str().filter(|s| ["mean", "median", "iqm"].contains(s))
        else {
            continue;
        };
        let exact = vector["input"]["x"].is_array();
        let input = if exact { &vector["input"]["x"] } else { &vector["input"]["a"] };
        if !input.is_array() || vector["input"]["b"].is_array() || !expected["theta"].is_number() {
            continue;
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
            let got = cells(&lake, &sql);
            assert_close(&vector, "theta", got[0], number(&expected["theta"]));
            for end in 0..2 {
                let bounds = &expected[format!("{key}_bounds_B10000")][end];
                if exact && values.len() <= 7 && expected[&key].is_array() {
                    assert_close(&vector, &key, got[end + 1], number(&expected[&key][end]));
                    tested += 1;
                } else if bounds.is_array() {
                    let bounds = numbers(bounds);
                    let inside = bounds[0] - 1e-12 <= got[end + 1] && got[end + 1] <= bounds[1] + 1e-12;
                    assert!(inside, "{} {key}: {} outside of {bounds:?}", vector["name"], got[end + 1]);
                    tested += 1;
                }
            }
        }
    }
    assert!(tested >= 60 || shared().is_none(), "{tested}");
}

#[test]
fn downsample_lttb() {
    let lake = Lake::empty();
    let mut tested = 0;
    for vector in vectors("downsampling") {
        if vector["input"]["x"] != "arange" || !vector["expected"]["lttb_steinarsson"].is_array() {
            continue;
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
        tested += 1;
    }
    assert!(tested >= 3 || shared().is_none(), "{tested}");
}

#[test]
fn ema() {
    let lake = Lake::empty();
    let mut tested = 0;
    for vector in vectors("smoothing") {
        let parameters = &vector["params"];
        let call = match parameters["kind"].as_str() {
            Some("tensorboard") => "method => 'tensorboard'".to_owned(),
            Some("ewm") => format!(
                "method => 'ewm', adjust => {}, ignore_na => {}",
                parameters["adjust"].as_bool().unwrap_or(true),
                parameters["ignore_na"].as_bool().unwrap_or(false)
            ),
            _ => continue,
        };
        let alpha = 1.0 - parameters["weight"].as_f64().unwrap_or(f64::NAN);
        if !(alpha > 0.0 && alpha <= 1.0) {
            continue;
        }
        let values = numbers(&vector["input"]["y"]);
        if values.is_empty() {
            continue;
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
        tested += 1;
    }
    assert!(tested >= 8 || shared().is_none(), "{tested}");
}
