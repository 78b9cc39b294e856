//! Importances of large tables with closed forms, of conditional and broken tables, and the promise
//! that an answer depends on trials and seed alone.

use kernels::importance::{
    Assessment, FanovaRequest, Forest, ForestRequest, FunctionalAnova, ImportanceError, MISSING, Measure,
    Pairs, Parameter, PedAnova, PedAnovaRequest, PermutationImportanceRequest, PoolRequest, TreeArrays,
    Trials, Warning, functional_anova, impurity_decrease, ped_anova, permutation_importance, pool,
    tree_variance,
};
use kernels::rng::{Stream, Tag, uniform, words64};
use kernels::{Backend, CpuBackend, KernelError, Request};

/// Uniform numbers in `[0, 1)`; each column has its own.
fn column(trials: usize, column: u32) -> Vec<f64> {
    let stream = Stream { seed: 99, stream: column, tag: Tag::Other, sub: 0 };
    let words = (0u32..).flat_map(|block| words64(stream.block(block, 0)));
    words.take(trials).map(uniform).collect()
}

fn fit(trials: Trials<'_>) -> Forest {
    CpuBackend::new().forest(&ForestRequest::new(trials).seed(5)).unwrap()
}

fn anova(parameters: &[Parameter<'_>], objective: &[f64]) -> FunctionalAnova {
    let forest = fit(Trials { parameters, objective });
    functional_anova(&forest, &FanovaRequest { pairs: Pairs::All, ..FanovaRequest::default() }).unwrap()
}

fn ped(parameters: &[Parameter<'_>], objective: &[f64]) -> PedAnova {
    ped_anova(&PedAnovaRequest::new(Trials { parameters, objective })).unwrap()
}

#[track_caller]
fn assert_near(got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (got_one, expected_one) in got.iter().zip(expected) {
        assert!((got_one - expected_one).abs() <= tolerance, "{got:?} for {expected:?}");
    }
}

#[test]
fn ishigami_is_decomposed_into_its_indices() {
    use std::f64::consts::PI;
    let columns: Vec<Vec<f64>> =
        (0..3).map(|c| column(20_000, c).iter().map(|u| PI * (2.0 * u - 1.0)).collect()).collect();
    let objective: Vec<f64> = (0..20_000)
        .map(|row| {
            let [a, b, c] = [0, 1, 2].map(|c| columns[c][row]);
            a.sin() + 7.0 * b.sin().powi(2) + 0.1 * c.powi(4) * a.sin()
        })
        .collect();
    let parameters: Vec<_> = columns.iter().map(|column| Parameter::linear(column).range(-PI, PI)).collect();
    let anova = anova(&parameters, &objective);
    assert_near(&anova.parameters.importance, &[0.3139, 0.4424, 0.0], 0.03);
    assert_near(&anova.pairs.importance, &[0.0, 0.2437, 0.0], 0.03);
    assert!(anova.remainder.abs() < 0.03 && anova.warnings.is_empty(), "{anova:?}");
}

#[test]
fn sums_and_products_are_decomposed_into_their_indices() {
    let [a, b, c] = [0, 1, 2].map(|c| column(10_000, c));
    let parameters = [&a, &b, &c].map(|column| Parameter::linear(column).range(0.0, 1.0));
    let sum: Vec<f64> = (0..10_000).map(|row| 3.0 * a[row] - 2.0 * b[row]).collect();
    let of_sum = anova(&parameters, &sum);
    assert_near(&of_sum.parameters.importance, &[9.0 / 13.0, 4.0 / 13.0, 0.0], 0.01);
    assert_near(&of_sum.pairs.importance, &[0.0, 0.0, 0.0], 0.01);
    // Each factor has mean 1 and variance 1/3: shares 3/7, 3/7 and 1/7.
    let product: Vec<f64> = (0..10_000).map(|row| 4.0 * a[row] * b[row]).collect();
    let of_product = anova(&parameters, &product);
    assert_near(&of_product.parameters.importance, &[3.0 / 7.0, 3.0 / 7.0, 0.0], 0.01);
    assert_near(&of_product.pairs.importance, &[1.0 / 7.0, 0.0, 0.0], 0.01);
}

#[test]
fn shuffling_a_parameter_of_a_sum_doubles_its_share() {
    let [a, b] = [0, 1].map(|c| column(4_000, c));
    let objective: Vec<f64> = (0..4_000).map(|row| 3.0 * a[row] + 2.0 * b[row]).collect();
    let parameters = [&a, &b].map(|column| Parameter::linear(column));
    let forest = fit(Trials { parameters: &parameters, objective: &objective });
    let table = permutation_importance(&forest, &PermutationImportanceRequest::default()).unwrap();
    assert_near(&table.importance, &[18.0 / 13.0, 8.0 / 13.0], 0.05);
    let few = PermutationImportanceRequest { trials_per_tree: 200, ..Default::default() };
    let of_few = permutation_importance(&forest, &few).unwrap();
    assert_near(&of_few.importance, &table.importance, 0.1);
    let impurity = impurity_decrease(&forest, 0.95).unwrap();
    assert!((impurity.importance.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert_near(&impurity.importance, &[9.0 / 13.0, 4.0 / 13.0], 0.02);
}

/// f = (0, 3 or 9 by level) + (2 when x is below 1/4), each cell seen often, so that trees are exact.
#[test]
fn levels_count_the_same_and_make_no_impossible_boxes() {
    let x: Vec<f64> = (0..1_200).map(|row| if row % 4 == 0 { 0.125 } else { 0.375 }).collect();
    let codes: Vec<u32> = (0..1_200).map(|row| (row / 4 % 3) as u32).collect();
    let value = |row: usize| [0.0, 3.0, 9.0][codes[row] as usize] + if x[row] < 0.25 { 2.0 } else { 0.0 };
    let objective: Vec<f64> = (0..1_200).map(value).collect();
    let parameters = [Parameter::categorical(&codes, 3), Parameter::linear(&x).range(0.0, 1.0)];
    let anova = anova(&parameters, &objective);
    assert_near(&anova.parameters.importance, &[14.0 / 14.75, 0.75 / 14.75], 1e-9);
    assert_near(&anova.pairs.importance, &[0.0], 1e-9);
    assert_near(&[anova.remainder], &[0.0], 1e-9);
}

#[test]
fn a_conditional_parameter_is_assessed_where_it_is_active() {
    let model: Vec<u32> = (0..900).map(|row| u32::from(row % 3 == 0)).collect();
    let rate = column(900, 0);
    let uniforms = column(900, 1);
    let width: Vec<f64> =
        uniforms.iter().zip(&model).map(|(&u, &m)| if m == 0 { u } else { f64::NAN }).collect();
    let kernel: Vec<f64> =
        uniforms.iter().zip(&model).map(|(&u, &m)| if m == 1 { u } else { f64::NAN }).collect();
    let objective: Vec<f64> =
        (0..900).map(|row| rate[row] + if model[row] == 0 { 2.0 * width[row] } else { 0.5 }).collect();
    let parameters = [
        Parameter::categorical(&model, 2),
        Parameter::linear(&rate).range(0.0, 1.0),
        Parameter::linear(&width).range(0.0, 1.0),
        Parameter::linear(&kernel).range(0.0, 1.0),
    ];
    let anova = anova(&parameters, &objective);
    let table = &anova.parameters;
    assert_eq!(table.n, [900, 900, 600, 300]);
    use Assessment::{AllTrials, WhereActive};
    assert_eq!(table.assessment, [AllTrials, AllTrials, WhereActive, WhereActive]);
    // Where width is active the rate explains 1 part and the width 4; where kernel is, it explains none.
    assert_near(&table.importance[2..], &[0.8, 0.0], 0.04);
    assert!(anova.overall[2] < table.importance[2] && table.importance[1] < 0.6, "{anova:?}");
    let pair =
        |a, b| anova.pairs.first.iter().zip(&anova.pairs.second).position(|pair| pair == (&a, &b)).unwrap();
    assert_eq!(anova.pairs.n[pair(1, 2)], 600);
    let never = pair(2, 3);
    assert!(anova.pairs.n[never] == 0 && anova.pairs.importance[never].is_nan());
    let ped = ped(&parameters, &objective);
    assert_eq!(ped.parameters.n, [900, 900, 600, 300]);
    assert!(ped.parameters.importance[2] > ped.parameters.importance[3], "{ped:?}");
}

#[test]
fn where_nothing_varies_nothing_is_important() {
    let model: Vec<u32> = (0..600).map(|row| row % 2).collect();
    let [rate, uniforms] = [0, 1].map(|c| column(600, c));
    let active_in = |kind: u32| -> Vec<f64> {
        uniforms.iter().zip(&model).map(|(&u, &m)| if m == kind { u } else { f64::NAN }).collect()
    };
    let (width, kernel) = (active_in(0), active_in(1));
    let objective: Vec<f64> =
        (0..600).map(|row| if model[row] == 0 { width[row] + rate[row] } else { 5.3 }).collect();
    let parameters = [
        Parameter::linear(&rate),
        Parameter::linear(&width),
        Parameter::linear(&kernel),
        Parameter::categorical(&model, 2),
    ];
    let anova = anova(&parameters, &objective);
    assert_eq!(anova.parameters.assessment[2], Assessment::NoVariance, "{anova:?}");
    assert!(anova.parameters.importance[2].is_nan() && anova.parameters.low[2].is_nan());
    assert!(anova.remainder.is_finite());
    assert_near(&anova.parameters.importance[1..2], &[0.5], 0.05);
}

#[test]
fn without_resamples_there_is_no_interval() {
    let x = column(100, 0);
    let parameters = [Parameter::linear(&x)];
    let trials = Trials { parameters: &parameters, objective: &x };
    let ped = ped_anova(&PedAnovaRequest::new(trials).resamples(0)).unwrap();
    assert!(ped.parameters.importance[0] > 0.0);
    let ends = [ped.parameters.se[0], ped.parameters.low[0], ped.parameters.high[0]];
    assert!(ends.iter().all(|end| end.is_nan()), "{ends:?}");
    let forest = CpuBackend::new().forest(&ForestRequest::new(trials).trees(1)).unwrap();
    let table = functional_anova(&forest, &FanovaRequest::default()).unwrap().parameters;
    assert!(table.importance[0] > 0.9 && table.se[0].is_nan() && table.high[0].is_nan());
}

#[test]
fn constant_and_absent_parameters_are_said_to_be_so() {
    let x = column(200, 0);
    let (constant, absent) = (vec![0.5; 200], vec![f64::NAN; 200]);
    let (one_level, no_level) = (vec![3; 200], vec![MISSING; 200]);
    let parameters = [
        Parameter::linear(&x),
        Parameter::linear(&constant),
        Parameter::linear(&absent),
        Parameter::categorical(&one_level, 9),
        Parameter::categorical(&no_level, 2),
    ];
    use Assessment::{Absent, AllTrials, Constant};
    let expected = [AllTrials, Constant, Absent, Constant, Absent];
    let anova = anova(&parameters, &x);
    assert_eq!(anova.parameters.assessment, expected);
    assert_eq!(anova.parameters.importance[1], 0.0);
    assert!(anova.parameters.importance[2].is_nan());
    assert_eq!(anova.parameters.ranking()[0], 0);
    let forest = fit(Trials { parameters: &parameters, objective: &x });
    let shuffled = permutation_importance(&forest, &PermutationImportanceRequest::default()).unwrap();
    assert_eq!(shuffled.assessment, expected);
    assert_eq!(impurity_decrease(&forest, 0.9).unwrap().assessment, expected);
    let ped = ped(&parameters, &x);
    assert_eq!(ped.parameters.assessment[..3], expected[..3]);
    assert!(ped.parameters.importance[0] > 0.0 && ped.parameters.importance[1] == 0.0);
}

#[test]
fn ten_thousand_levels_are_merged_with_a_warning() {
    let trials = 30_000;
    let x = column(trials, 0);
    // Half of the trials have one of ten levels that matter, the others each of the rest.
    let pick = column(trials, 1);
    let codes: Vec<u32> =
        pick.iter().map(|&u| if u < 0.5 { (u * 20.0) as u32 } else { (u * 10_000.0) as u32 }).collect();
    let objective: Vec<f64> =
        (0..trials).map(|row| x[row] + if codes[row] < 5 { 4.0 } else { 0.0 }).collect();
    let parameters = [Parameter::linear(&x), Parameter::categorical(&codes, 10_000)];
    let forest = fit(Trials { parameters: &parameters, objective: &objective });
    let [Warning::MergedLevels { parameter: 1, levels, trials: merged }] = forest.warnings()[..] else {
        panic!("{:?}", forest.warnings())
    };
    assert!(levels > 4_000 && merged > 10_000, "{levels} {merged}");
    let empirical = FanovaRequest { measure: Measure::Empirical, ..FanovaRequest::default() };
    let anova = functional_anova(&forest, &empirical).unwrap();
    // 4 in a quarter of the trials: variance 3, against 1/12 of x.
    assert_near(&anova.parameters.importance, &[1.0 / 37.0, 36.0 / 37.0], 0.02);
    let ped = ped(&parameters, &objective);
    assert!(ped.parameters.importance.iter().all(|importance| importance.is_finite()));
}

#[test]
fn missing_values_and_failed_trials_are_counted_and_do_not_disturb() {
    let [a, mut b] = [0, 1].map(|c| column(2_000, c));
    let mut objective: Vec<f64> = (0..2_000).map(|row| 2.0 * a[row] + b[row]).collect();
    for row in (0..2_000).step_by(10) {
        b[row] = f64::NAN;
    }
    objective[3] = f64::NAN;
    objective[5] = f64::INFINITY;
    objective[8] = f64::NEG_INFINITY;
    let parameters = [&a, &b].map(|column| Parameter::linear(column).range(0.0, 1.0));
    let anova = anova(&parameters, &objective);
    assert_eq!(anova.parameters.n, [1_997, 1_797]);
    assert_eq!(anova.parameters.assessment, [Assessment::AllTrials, Assessment::WhereActive]);
    assert_near(&anova.parameters.importance, &[0.8, 0.2], 0.05);
    assert_eq!(anova.warnings, [Warning::FailedTrials { failed: 3, trials: 2_000 }]);
    assert!(ped(&parameters, &objective).warnings.contains(&anova.warnings[0]));
}

fn everything(columns: &[Vec<f64>], codes: &[u32], objective: &[f64]) -> Vec<f64> {
    let mut parameters: Vec<_> = columns.iter().map(|column| Parameter::linear(column)).collect();
    parameters.push(Parameter::categorical(codes, 7));
    let trials = Trials { parameters: &parameters, objective };
    let forest = fit(trials);
    let anova = functional_anova(&forest, &FanovaRequest::default()).unwrap();
    let shuffled = permutation_importance(&forest, &PermutationImportanceRequest::default()).unwrap();
    let impurity = impurity_decrease(&forest, 0.95).unwrap();
    let ped = ped(&parameters, objective);
    let tables = [anova.parameters, shuffled, impurity, ped.parameters];
    let mut all: Vec<f64> =
        tables.into_iter().flat_map(|table| [table.importance, table.se].concat()).collect();
    all.extend([anova.pairs.importance, anova.overall].concat());
    all.extend([anova.remainder, forest.out_of_bag_r2()]);
    all
}

#[test]
fn answers_do_not_depend_on_threads_order_of_trials_or_units() {
    for trials in [200, 9_000] {
        let mut columns: Vec<Vec<f64>> = (0..4).map(|c| column(trials, c)).collect();
        for row in (0..trials).step_by(7) {
            columns[3][row] = f64::NAN;
        }
        let codes: Vec<u32> = column(trials, 9).iter().map(|u| (u * 7.0) as u32).collect();
        // Quarters, so that sums and offsets are exact.
        let objective: Vec<f64> = (0..trials)
            .map(|row| {
                let smooth = 40.0 * columns[0][row] + 20.0 * columns[1][row] * columns[2][row];
                (smooth + f64::from(codes[row])).round() / 4.0
            })
            .collect();
        let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<u64>>();
        let expected = bits(everything(&columns, &codes, &objective));
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(bits(pool.install(|| everything(&columns, &codes, &objective))), expected);
        }
        let stream = Stream { seed: 1, stream: 0, tag: Tag::Shuffle, sub: 0 };
        let order: Vec<usize> =
            stream.shuffle(trials as u32, 0).into_iter().map(|row| row as usize).collect();
        let of = |column: &Vec<f64>| order.iter().map(|&row| column[row]).collect::<Vec<f64>>();
        let shuffled_columns: Vec<Vec<f64>> = columns.iter().map(of).collect();
        let shuffled_codes: Vec<u32> = order.iter().map(|&row| codes[row]).collect();
        assert_eq!(bits(everything(&shuffled_columns, &shuffled_codes, &of(&objective))), expected);
        for moved in [
            objective.iter().map(|value| value + 1e15).collect::<Vec<f64>>(),
            objective.iter().map(|value| value * 1024.0).collect(),
        ] {
            assert_eq!(bits(everything(&columns, &codes, &moved)), expected);
        }
    }
}

#[test]
fn the_cost_of_a_forest_is_foreseen() {
    let columns: Vec<Vec<f64>> = (0..4).map(|c| column(5_000, c)).collect();
    let parameters: Vec<_> = columns.iter().map(|column| Parameter::linear(column)).collect();
    let request = ForestRequest::new(Trials { parameters: &parameters, objective: &columns[0] });
    let backend = CpuBackend::new();
    let cost = backend.estimate(&Request::Forest(&request)).unwrap();
    let additions = backend.forest(&request).unwrap().additions() as f64;
    assert!((0.5..2.0).contains(&(cost.operations / additions)), "{cost:?} {additions}");
    assert!(backend.estimate(&Request::Forest(&request.trees(0))).is_err());
}

#[test]
fn noise_is_shared_out_evenly() {
    let columns: Vec<Vec<f64>> = (0..5).map(|c| column(600, c)).collect();
    let objective = column(600, 77);
    let parameters: Vec<_> = columns.iter().map(|column| Parameter::linear(column)).collect();
    let forest = fit(Trials { parameters: &parameters, objective: &objective });
    let impurity = impurity_decrease(&forest, 0.95).unwrap();
    assert!(impurity.importance.iter().all(|share| (0.13..0.27).contains(share)), "{impurity:?}");
    assert!(forest.out_of_bag_r2() < 0.1);
    assert!(matches!(forest.warnings()[..], [Warning::PoorFit { .. }]), "{:?}", forest.warnings());
    assert!(forest.warnings()[0].to_string().contains("noise"));
}

/// How often intervals hold the mean of the estimates over tables, and how wide they are.
#[test]
fn intervals_cover_the_mean_of_estimates_and_are_not_wild() {
    let tables = 120;
    let of_table = |table: u32| {
        let columns: Vec<Vec<f64>> = (0..3).map(|c| column(100, 1_000 + 4 * table + c)).collect();
        let noise = column(100, 1_003 + 4 * table);
        let value = |row: usize| 3.0 * columns[0][row] + 2.0 * columns[1][row] + noise[row];
        let objective: Vec<f64> = (0..100).map(value).collect();
        let parameters: Vec<_> =
            columns.iter().map(|column| Parameter::linear(column).range(0.0, 1.0)).collect();
        (anova(&parameters, &objective).parameters, ped(&parameters, &objective).parameters)
    };
    let (forests, densities): (Vec<_>, Vec<_>) = (0..tables).map(of_table).unzip();
    for (name, answers, widest) in [("fanova", forests, 3.5), ("ped", densities, 2.0)] {
        for parameter in 0..2 {
            let of =
                |read: &dyn Fn(usize) -> f64| (0..answers.len()).map(read).sum::<f64>() / f64::from(tables);
            let mean = of(&|t| answers[t].importance[parameter]);
            let deviation = of(&|t| (answers[t].importance[parameter] - mean).powi(2)).sqrt();
            let se = of(&|t| answers[t].se[parameter]);
            let covered = of(&|t| {
                let (low, high) = (answers[t].low[parameter], answers[t].high[parameter]);
                f64::from(u8::from(low <= mean && mean <= high))
            });
            println!(
                "{name} {parameter}: mean {mean:.4}, sd {deviation:.4}, se {se:.4}, covered {covered:.3}"
            );
            assert!(covered >= 0.85, "{name} {parameter}: covered {covered}");
            assert!(se < widest * deviation, "{name} {parameter}: se {se} for {deviation}");
        }
    }
}

#[test]
fn tiny_tables_answer_without_nonsense() {
    for trials in 2..8 {
        let x = column(trials, 0);
        let parameters = [Parameter::linear(&x)];
        let forest = fit(Trials { parameters: &parameters, objective: &x });
        assert!(matches!(forest.warnings()[0], Warning::FewTrials { .. }));
        let anova = functional_anova(&forest, &FanovaRequest::default()).unwrap();
        let importance = anova.parameters.importance[0];
        assert!((importance - 1.0).abs() < 1e-9, "{trials}: {importance}");
        let shuffled = permutation_importance(&forest, &PermutationImportanceRequest::default()).unwrap();
        assert!(!shuffled.importance[0].is_infinite());
        let ped = ped(&parameters, &x);
        assert!(ped.parameters.importance[0].is_finite() && ped.top == 1);
        assert!(ped.warnings.contains(&Warning::FewTopTrials { trials: 1 }));
    }
}

#[test]
fn equal_objectives_are_refused_by_forests_and_flagged_by_densities() {
    let x = column(50, 0);
    let objective = vec![2.5; 50];
    let parameters = [Parameter::linear(&x)];
    let trials = Trials { parameters: &parameters, objective: &objective };
    let error = CpuBackend::new().forest(&ForestRequest::new(trials)).unwrap_err();
    assert_eq!(error.code(), "zero_variance");
    let ped = ped_anova(&PedAnovaRequest::new(trials)).unwrap();
    assert_eq!((ped.parameters.importance[0], ped.top, ped.region), (0.0, 50, 50));
    assert_eq!(ped.warnings, [Warning::TopIsRegion]);
}

#[test]
fn one_extreme_trial_is_noticed() {
    let x = column(300, 0);
    let mut objective = x.clone();
    objective[17] = 1e300;
    let parameters = [Parameter::linear(&x)];
    let forest = fit(Trials { parameters: &parameters, objective: &objective });
    assert!(forest.warnings().contains(&Warning::Outliers), "{:?}", forest.warnings());
    objective[17] = f64::MAX;
    objective[18] = -f64::MAX;
    let forest = fit(Trials { parameters: &parameters, objective: &objective });
    assert!(forest.warnings().contains(&Warning::Outliers));
    assert!(functional_anova(&forest, &FanovaRequest::default()).unwrap().parameters.importance[0] > 0.0);
}

#[test]
fn unsound_requests_are_refused_with_a_code() {
    let (x, short, objective) = (column(20, 0), column(19, 0), column(20, 1));
    let (infinite, codes) = (vec![f64::INFINITY; 20], vec![7u32; 20]);
    let refuse = |parameters: &[Parameter<'_>], code: &str| {
        let trials = Trials { parameters, objective: &objective };
        let error = CpuBackend::new().forest(&ForestRequest::new(trials)).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().len() > 20);
        assert_eq!(ped_anova(&PedAnovaRequest::new(trials)).unwrap_err().code(), code);
    };
    refuse(&[], "no_parameters");
    refuse(&[Parameter::linear(&short)], "column_length");
    refuse(&[Parameter::linear(&infinite)], "infinite_parameter");
    refuse(&[Parameter::log(&[&x[..19], &[0.0]].concat())], "log_of_nonpositive");
    refuse(&[Parameter::categorical(&codes, 7)], "code_out_of_range");
    refuse(&[Parameter::categorical(&codes, u32::MAX)], "too_many_levels");
    refuse(&[Parameter::linear(&x).range(1.0, 0.0)], "bad_range");
    refuse(&[Parameter::linear(&x).range(f64::NAN, 0.0)], "bad_range");
    refuse(&[Parameter::linear(&x).range(0.0, 0.01)], "value_out_of_range");
    refuse(&[Parameter::log(&x).range(0.0, 1.0)], "bad_range");
    let parameters = [Parameter::linear(&x), Parameter::linear(&objective)];
    let trials = Trials { parameters: &parameters, objective: &objective };
    let request = ForestRequest::new(trials);
    for request in [
        request.trees(0),
        request.trees(u32::MAX),
        ForestRequest { max_depth: 0, ..request },
        ForestRequest { min_leaf: 0, ..request },
    ] {
        let error = CpuBackend::new().forest(&request).unwrap_err();
        assert_eq!(error.code(), "setting_out_of_range");
    }
    let forest = fit(trials);
    for level in [0.0, 1.0, f64::NAN] {
        let request = FanovaRequest { level, ..FanovaRequest::default() };
        assert!(matches!(functional_anova(&forest, &request), Err(ImportanceError::Setting { .. })));
        assert!(impurity_decrease(&forest, level).is_err());
    }
    for pair in [(0, 0), (0, 2)] {
        let request = FanovaRequest { pairs: Pairs::These(&[pair]), ..FanovaRequest::default() };
        assert_eq!(functional_anova(&forest, &request).unwrap_err().code(), "bad_pair");
    }
    let request = PedAnovaRequest::new(trials);
    for request in [
        PedAnovaRequest { top: 0.0, ..request },
        PedAnovaRequest { top: 0.5, region: 0.5, ..request },
        PedAnovaRequest { region: 1.5, ..request },
        PedAnovaRequest { region: f64::NAN, ..request },
    ] {
        assert_eq!(ped_anova(&request).unwrap_err().code(), "setting_out_of_range");
    }
    let nothing = vec![f64::NAN; 20];
    let trials = Trials { parameters: &parameters, objective: &nothing };
    let error = CpuBackend::new().forest(&ForestRequest::new(trials)).unwrap_err();
    assert!(matches!(
        error,
        KernelError::Importance(ImportanceError::TooFewTrials { usable: 0, trials: 20 })
    ));
}

#[test]
fn small_leaves_and_shallow_trees_are_respected() {
    let x = column(400, 0);
    let parameters = [Parameter::linear(&x)];
    let trials = Trials { parameters: &parameters, objective: &x };
    let of = |request: ForestRequest<'_>| CpuBackend::new().forest(&request).unwrap().leaves();
    let request = ForestRequest::new(trials).trees(4);
    assert_eq!(of(ForestRequest { max_depth: 3, ..request }), 4 * 8);
    let leaves = of(ForestRequest { min_leaf: 50, ..request });
    assert!((4..=4 * 8).contains(&leaves), "{leaves}");
    assert_eq!(of(ForestRequest { min_leaf: 400, ..request }), 4);
}

#[test]
fn arrays_that_are_no_tree_are_refused() {
    let sound = TreeArrays {
        feature: &[0, -1, -1],
        threshold: &[0.5, 0.0, 0.0],
        left: &[1, -1, -1],
        right: &[2, -1, -1],
        value: &[0.0, 1.0, 3.0],
        low: &[0.0],
        high: &[1.0],
    };
    let parts = tree_variance(&sound).unwrap();
    assert_eq!((parts.mean, parts.variance, parts.main[0]), (2.0, 1.0, 1.0));
    let outside = tree_variance(&TreeArrays { threshold: &[7.0, 0.0, 0.0], ..sound }).unwrap();
    assert_eq!((outside.mean, outside.variance), (1.0, 0.0));
    for wrong in [
        TreeArrays { left: &[0, -1, -1], ..sound },
        TreeArrays { left: &[2, -1, -1], right: &[2, -1, -1], feature: &[0, -1, 0], ..sound },
        TreeArrays { left: &[9, -1, -1], ..sound },
        TreeArrays { feature: &[1, -1, -1], ..sound },
        TreeArrays { feature: &[0, -1], ..sound },
        TreeArrays { threshold: &[f64::NAN, 0.0, 0.0], ..sound },
        TreeArrays { value: &[0.0, f64::NAN, 0.0], ..sound },
        TreeArrays { high: &[0.0], ..sound },
    ] {
        assert_eq!(tree_variance(&wrong).unwrap_err().code(), "bad_tree");
    }
}

#[test]
fn pooling_of_few_or_odd_experiments() {
    let nan = f64::NAN;
    let request = PoolRequest {
        estimates: &[0.4, nan, 0.2, 0.3, 0.3, 0.3, 0.1, 0.5, 0.3],
        standard_errors: &[0.1, 0.1, nan, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1],
        offsets: &[0, 0, 3, 6, 9],
        level: 0.95,
    };
    let pooled = pool(&request).unwrap();
    assert!(pooled.estimate[0].is_nan() && pooled.experiments[0] == 0);
    assert_eq!((pooled.estimate[1], pooled.experiments[1], pooled.left_out[1]), (0.4, 1, 2));
    assert!((pooled.low[1] - 0.204).abs() < 1e-3);
    assert_eq!((pooled.estimate[2], pooled.se[2], pooled.low[2]), (0.3, 0.0, 0.3));
    assert!((pooled.estimate[3] - 0.3).abs() < 1e-12, "{pooled:?}");
    for wrong in [
        PoolRequest { offsets: &[0, 5], ..request },
        PoolRequest { offsets: &[], ..request },
        PoolRequest { offsets: &[0, 5, 3, 9], ..request },
        PoolRequest { estimates: &[0.1], ..request },
        PoolRequest { estimates: &[f64::INFINITY; 9], ..request },
        PoolRequest { standard_errors: &[-1.0; 9], ..request },
    ] {
        assert_eq!(pool(&wrong).unwrap_err().code(), "bad_pooling");
    }
    assert!(pool(&PoolRequest { level: 2.0, ..request }).is_err());
}
