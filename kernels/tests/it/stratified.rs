//! The bootstrap over tasks: expected bounds of an independent package, and what must not matter.

use kernels::{
    Flags, KernelError, Samples, Statistic, StratifiedImprovement, StratifiedInterval, StratifiedRequest,
    stratified_bootstrap, stratified_improvement,
};
use serde_json::Value;

use crate::shared::{assert_close, number, numbers, vectors};

fn asked(
    tasks: &[Vec<f64>],
    statistic: Statistic,
    resamples: u32,
) -> Result<StratifiedInterval, KernelError> {
    let mut offsets = vec![0];
    for task in tasks {
        offsets.push(offsets[offsets.len() - 1] + task.len() as u32);
    }
    let tasks = Samples { values: &tasks.concat(), offsets: &offsets };
    stratified_bootstrap(&StratifiedRequest { tasks, statistic, level: 0.95, resamples, seed: 3 })
}

fn columns(scores: &Value) -> Vec<Vec<f64>> {
    let rows: Vec<Vec<f64>> = scores.as_array().unwrap().iter().map(numbers).collect();
    (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column]).collect()).collect()
}

#[test]
fn ends_fall_inside_of_the_bounds_of_rliable() {
    let Some(vectors) = vectors("rliable") else { return };
    let mut tested = 0;
    for vector in vectors.iter().filter(|v| v["name"].as_str().unwrap().starts_with("ci_")) {
        let tasks = columns(&vector["input"]["scores"]);
        for (key, statistic) in [("mean", Statistic::Mean), ("iqm", Statistic::Iqm)] {
            let out = asked(&tasks, statistic, 50_000).unwrap();
            let expected = &vector["expected"][key];
            assert_close(vector, "point", out.estimate, number(&expected["point"]));
            for (end, got) in [out.low, out.high].into_iter().enumerate() {
                let bounds = numbers(&expected["bounds_B50000"][end]);
                let inside = bounds[0] - 1e-9 <= got && got <= bounds[1] + 1e-9;
                assert!(inside, "{} {key}: {got} outside of {bounds:?}", vector["name"]);
                tested += 1;
            }
        }
    }
    assert!(tested >= 16, "{tested}");
}

#[test]
fn the_order_of_tasks_and_runs_and_the_threads_do_not_matter() {
    let tasks = vec![vec![0.1, 0.9, 0.4, 0.4], vec![0.7, 0.2, 0.5], vec![0.3, 0.8, 0.6]];
    let mixed = vec![vec![0.6, 0.3, 0.8], vec![0.4, 0.1, 0.4, 0.9], vec![0.5, 0.7, 0.2]];
    let first = asked(&tasks, Statistic::Iqm, 999).unwrap();
    assert_eq!(first, asked(&mixed, Statistic::Iqm, 999).unwrap());
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(first, one.install(|| asked(&tasks, Statistic::Iqm, 999).unwrap()));
}

#[test]
fn scores_that_cannot_be_resampled_say_so() {
    let empty = asked(&[], Statistic::Iqm, 99).unwrap();
    assert!(empty.flags.contains(Flags::ABSENT) && empty.estimate.is_nan());
    let single = asked(&[vec![0.1], vec![0.3]], Statistic::Mean, 99).unwrap();
    assert!(single.flags.contains(Flags::DEGENERATE) && single.se.is_nan());
    assert_eq!(single.estimate, 0.2);
    let constant = asked(&[vec![0.1; 3], vec![0.3; 3]], Statistic::Mean, 99).unwrap();
    assert!(constant.flags.contains(Flags::ZERO_VARIANCE));
    assert_eq!((constant.low, constant.high, constant.se), (constant.estimate, constant.estimate, 0.0));
    assert!(asked(&[vec![0.1, f64::NAN]], Statistic::Mean, 99).is_err());
    assert!(asked(&[vec![0.1, 0.2]], Statistic::MeanDifference, 99).is_err());
    assert!(asked(&[vec![0.1, 0.2]], Statistic::Mean, 0).is_err());
}

#[test]
fn probabilities_of_improvement_fall_inside_of_the_bounds_of_rliable() {
    let Some(vectors) = vectors("rliable") else { return };
    let mut tested = 0;
    for vector in &vectors {
        let expected = &vector["expected"];
        let (scores, other) = (columns(&vector["input"]["scores"]), columns(&vector["input"]["other"]));
        let flat = |tasks: &[Vec<f64>]| {
            let mut offsets = vec![0];
            tasks.iter().for_each(|task| offsets.push(offsets[offsets.len() - 1] + task.len() as u32));
            (tasks.concat(), offsets)
        };
        let run = |first: &[Vec<f64>], second: &[Vec<f64>]| {
            let ((first, first_offsets), (second, second_offsets)) = (flat(first), flat(second));
            let first = Samples { values: &first, offsets: &first_offsets };
            let second = Samples { values: &second, offsets: &second_offsets };
            let request = StratifiedImprovement { first, second, level: 0.95, resamples: 2_000, seed: 3 };
            stratified_improvement(&request).unwrap()
        };
        if expected["poi_other_over_scores"].is_number() {
            let out = run(&other, &scores);
            assert_close(
                vector,
                "poi_other_over_scores",
                out.estimate,
                number(&expected["poi_other_over_scores"]),
            );
            tested += 1;
        }
        let expected = &expected["probability_of_improvement"];
        if expected.is_object() {
            // The order of the two sides as in the vector: by its point.
            let (one, two) = (run(&scores, &other), run(&other, &scores));
            let point = number(&expected["point"]);
            let out = if (one.estimate - point).abs() < 1e-9 { one } else { two };
            assert_close(vector, "point", out.estimate, point);
            for (end, got) in [out.low, out.high].into_iter().enumerate() {
                let bounds = numbers(&expected["bounds_B2000"][end]);
                let inside = bounds[0] - 1e-9 <= got && got <= bounds[1] + 1e-9;
                assert!(inside, "{}: {got} outside of {bounds:?}", vector["name"]);
                tested += 1;
            }
            let (mut turned, mut turned_other) = (scores.clone(), other.clone());
            turned.reverse();
            turned_other.reverse();
            turned.iter_mut().for_each(|task| task.reverse());
            let again = if (run(&scores, &other).estimate - point).abs() < 1e-9 {
                run(&turned, &turned_other)
            } else {
                run(&turned_other, &turned)
            };
            assert_eq!(again, out);
        }
    }
    assert!(tested >= 14, "{tested}");
}
