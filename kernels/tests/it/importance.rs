//! Importances against closed forms, exact trees and the figures of an independent package.

use kernels::importance::{
    Baseline, Direction, FanovaRequest, Forest, ForestRequest, MISSING, Measure, NumericSpace, Pairs,
    Parameter, PedAnovaRequest, PermutationImportanceRequest, PoolRequest, Scale, TreeArrays, Trials,
    Warning, functional_anova, impurity_decrease, ped_anova, permutation_importance, pool, tree_variance,
};
use kernels::{Backend, CpuBackend, KernelError};
use serde_json::Value;

use crate::shared::{assert_close, number, numbers, tolerances, vectors};

/// The table of one golden vector.
struct Table {
    names: Vec<String>,
    numbers: Vec<Vec<f64>>,
    codes: Vec<Vec<u32>>,
    spaces: Vec<Value>,
    objective: Vec<f64>,
}

impl Table {
    fn new(vector: &Value) -> Self {
        let input = &vector["input"];
        let space = input["space"].as_object().unwrap();
        let mut table = Self {
            names: space.keys().cloned().collect(),
            numbers: Vec::new(),
            codes: Vec::new(),
            spaces: space.values().cloned().collect(),
            objective: numbers(&input["value"]),
        };
        for (name, space) in space {
            let column = input["columns"][name].as_array().unwrap();
            let choices = space["choices"].as_array();
            table.numbers.push(match choices {
                Some(_) => Vec::new(),
                None => column.iter().map(|v| if v.is_null() { f64::NAN } else { number(v) }).collect(),
            });
            table.codes.push(choices.map_or_else(Vec::new, |choices| {
                let code = |value| choices.iter().position(|choice| choice == value);
                column.iter().map(|value| code(value).map_or(MISSING, |code| code as u32)).collect()
            }));
        }
        table
    }

    fn parameters(&self) -> Vec<Parameter<'_>> {
        let parameter = |(index, space): (usize, &Value)| match space["choices"].as_array() {
            Some(choices) => Parameter::categorical(&self.codes[index], choices.len() as u32),
            None => {
                let step = if space["type"] == "int" { Some(1.0) } else { space["step"].as_f64() };
                let scale = if space["log"] == true { Scale::Log } else { Scale::Linear };
                let range = Some((number(&space["low"]), number(&space["high"])));
                let space = NumericSpace { scale, range, step };
                Parameter::Numeric { values: &self.numbers[index], space }
            }
        };
        self.spaces.iter().enumerate().map(parameter).collect()
    }
}

fn fit(trials: Trials<'_>, seed: u64) -> Result<Forest, KernelError> {
    CpuBackend::new().forest(&ForestRequest::new(trials).seed(seed))
}

fn direction(vector: &Value) -> Direction {
    match vector["params"]["direction"].as_str() {
        Some("minimize") => Direction::Minimize,
        Some("maximize") => Direction::Maximize,
        other => panic!("direction {other:?}"),
    }
}

#[test]
fn forests_meet_closed_forms_and_the_other_package() {
    let Some(vectors) = vectors("hpo_importance") else { return };
    let mut compared = 0;
    for vector in vectors {
        let table = Table::new(&vector);
        let parameters = table.parameters();
        let trials = Trials { parameters: &parameters, objective: &table.objective };
        let expected = &vector["expected"];
        let forest = match (fit(trials, 1), expected["error"].as_str()) {
            (Err(error), Some(code)) => {
                assert_eq!(error.code(), code, "{}", vector["name"]);
                compared += 1;
                continue;
            }
            (Ok(forest), None) => forest,
            (got, code) => panic!("{}: {got:?} instead of {code:?}", vector["name"]),
        };
        let request = FanovaRequest { pairs: Pairs::All, ..FanovaRequest::default() };
        let anova = functional_anova(&forest, &request).unwrap();
        let linear = FanovaRequest { measure: Measure::Linear, pairs: Pairs::None, ..request };
        let as_peer = functional_anova(&forest, &linear).unwrap();
        let impurity = impurity_decrease(&forest, 0.95).unwrap();
        let shuffled = permutation_importance(&forest, &PermutationImportanceRequest::default()).unwrap();
        for (index, name) in table.names.iter().enumerate() {
            let got = anova.parameters.importance[index];
            if let (Some(truth), Some(tolerance)) =
                (expected["truth"]["main"][name].as_f64(), expected["abs_tol_main"].as_f64())
            {
                assert!((got - truth).abs() <= tolerance, "{} {name}: {got} for {truth}", vector["name"]);
                compared += 1;
            }
            let (tolerance, _) = tolerances(&vector, "fanova");
            // The other package integrates levels over one-hot boxes with impossible corners.
            let comparable = table.codes.iter().all(Vec::is_empty);
            if let (true, Some(peer)) = (comparable, expected["peer_fanova"][name].as_f64()) {
                let got = as_peer.parameters.importance[index];
                assert!((got - peer).abs() <= tolerance, "{} {name}: {got}, peer {peer}", vector["name"]);
                compared += 1;
            }
            if expected["peer_mdi"].is_object() {
                assert_close(&vector, "mdi", impurity.importance[index], number(&expected["peer_mdi"][name]));
                compared += 1;
            }
            assert!(shuffled.importance[index] > -0.2, "{} {name}", vector["name"]);
        }
        println!(
            "{}: {:?} remainder {:.4} pairs {:?} R2 {:.3} shuffled {:?}",
            vector["name"],
            anova.parameters.importance,
            anova.remainder,
            anova.pairs.importance,
            forest.out_of_bag_r2(),
            shuffled.importance
        );
        if let Some(used) = expected["n_used"].as_u64() {
            assert_eq!(forest.trials() as u64, used);
            assert!(matches!(forest.warnings()[..], [Warning::FailedTrials { failed: 8, trials: 120 }]));
        }
    }
    assert!(compared >= 85, "only {compared} comparisons");
}

#[test]
fn ped_anova_equals_the_other_package() {
    let Some(vectors) = vectors("hpo_importance") else { return };
    let mut compared = 0;
    for vector in vectors {
        let table = Table::new(&vector);
        let parameters = table.parameters();
        let trials = Trials { parameters: &parameters, objective: &table.objective };
        for (key, top, baseline) in [
            ("peer_ped_anova_q0.1", 0.1, Baseline::Trials),
            ("peer_ped_anova_q0.1_global", 0.1, Baseline::Uniform),
            ("peer_ped_anova_q0.25", 0.25, Baseline::Trials),
            ("peer_ped_anova_q0.25_global", 0.25, Baseline::Uniform),
        ] {
            let Some(expected) = vector["expected"][key].as_object() else { continue };
            let request = PedAnovaRequest {
                top,
                baseline,
                ..PedAnovaRequest::new(trials).direction(direction(&vector))
            };
            let anova = ped_anova(&request).unwrap();
            for (index, name) in table.names.iter().enumerate() {
                let got = anova.parameters.importance[index];
                assert_close(&vector, "ped_anova", got, number(&expected[name]));
                assert!(anova.parameters.low[index] <= got && got <= anova.parameters.high[index]);
                compared += 1;
            }
        }
    }
    assert!(compared >= 50, "only {compared} comparisons");
}

#[test]
fn trees_decompose_as_rational_arithmetic_says() {
    let Some(vectors) = vectors("fanova_trees") else { return };
    let mut compared = 0;
    for vector in vectors {
        let input = &vector["input"];
        if !input["table"].is_null() {
            continue;
        }
        let integers = |key: &str| -> Vec<i32> { numbers(&input[key]).iter().map(|&v| v as i32).collect() };
        let (feature, left, right) = (integers("feature"), integers("left"), integers("right"));
        let of = |key: &str| numbers(&input[key]);
        let (threshold, value, low, high) = (of("threshold"), of("value"), of("low"), of("high"));
        let arrays = TreeArrays {
            feature: &feature,
            threshold: &threshold,
            left: &left,
            right: &right,
            value: &value,
            low: &low,
            high: &high,
        };
        let parts = tree_variance(&arrays).unwrap();
        let expected = &vector["expected"];
        assert_close(&vector, "mean", parts.mean, number(&expected["mean"]));
        assert_close(&vector, "variance", parts.variance, number(&expected["variance"]));
        for (got, &expected) in parts.main.iter().zip(&numbers(&expected["main_variance"])) {
            assert_close(&vector, "main_variance", *got, expected);
        }
        let mut pair = parts.pair.iter();
        for a in 0..low.len() {
            for b in a + 1..low.len() {
                let expected = number(&expected["pair_variance"][format!("{a},{b}")]);
                assert_close(&vector, "pair_variance", *pair.next().unwrap(), expected);
                compared += 1;
            }
        }
        compared += 2 + low.len();
    }
    assert!(compared >= 45, "only {compared} comparisons");
}

#[test]
fn pooled_importances_equal_closed_forms() {
    let Some(vectors) = vectors("patterns") else { return };
    let mut compared = 0;
    for vector in vectors {
        let Some(variances) = vector["input"]["variance"].as_array() else { continue };
        let estimates = numbers(&vector["input"]["effect"]);
        let standard_errors: Vec<f64> = variances.iter().map(|variance| number(variance).sqrt()).collect();
        let offsets = [0, estimates.len() as u32];
        let request = PoolRequest {
            estimates: &estimates,
            standard_errors: &standard_errors,
            offsets: &offsets,
            level: 0.95,
        };
        let pooled = pool(&request).unwrap();
        let expected = &vector["expected"];
        for (key, got) in [
            ("random_mean_dl", pooled.estimate[0]),
            ("tau2_dl", pooled.tau2[0]),
            ("Q", pooled.q[0]),
            ("Q_p", pooled.q_p[0]),
            ("i2", pooled.i2[0]),
            ("hksj_se", pooled.se[0]),
        ] {
            assert_close(&vector, key, got, number(&expected[key]));
            compared += 1;
        }
        let ends = numbers(&expected["hksj_ci95"]);
        assert_close(&vector, "hksj_ci95", pooled.low[0], ends[0]);
        assert_close(&vector, "hksj_ci95", pooled.high[0], ends[1]);
        match expected["prediction95"].as_array() {
            Some(ends) => {
                assert_close(&vector, "prediction95", pooled.prediction_low[0], number(&ends[0]));
                assert_close(&vector, "prediction95", pooled.prediction_high[0], number(&ends[1]));
            }
            None => assert!(pooled.prediction_low[0].is_nan()),
        }
    }
    assert!(compared >= 30, "only {compared} comparisons");
}
