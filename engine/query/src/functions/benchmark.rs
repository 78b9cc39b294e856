//! One number, or one curve, for tasks × runs (Agarwal et al. 2021): `benchmark_scores`, `benchmark_improvement` and
//! `performance_profile`.

use std::collections::BTreeMap;

use analysis::{AnalysisError, TaskScores};
use arrow::datatypes::DataType;

use super::arms::{A, ARM, Arms, B, X, number};
use super::collect::RowKey;
use super::definition::{ArgumentKind, Definition, FunctionKind, Parameter, optional, required};
use super::grouped::{GroupFunction, Prepare, Sample, found};
use super::outcome::{Cell, known};

const TASK: Parameter = required("task", ArgumentKind::Pair, "the column of tasks");

static SCORES: Definition = Definition {
    name: "benchmark_scores",
    kind: FunctionKind::Aggregate,
    summary: "Scores of several tasks and runs in one number each: mean and median over tasks of the mean over runs, iqm of \
              all scores, and optimality_gap, gamma less the mean of the scores, those above gamma counted as gamma. \
              Normalize scores first, as to a human's. iqm_ci has the interval. error is empty_sample or \
              nonfinite_value.",
    parameters: &[
        required("x", ArgumentKind::Value, "the scores, one a run and task"),
        TASK,
        optional("gamma", ArgumentKind::Number, "the score that would be good enough, default 1"),
    ],
    returns: "struct(mean, median, iqm, optimality_gap, tasks, runs_min, n, n_nonfinite, error)",
    example: "SELECT benchmark_scores(x, task)['optimality_gap'] AS gap\nFROM (VALUES (0.5, 'a'), (0.7, 'a'), (0.6, 'a'), (0.9, 'b'), (1.1, 'b'), (1.0, 'b')) AS scores(x, task)",
};

static IMPROVEMENT: Definition = Definition {
    name: "benchmark_improvement",
    kind: FunctionKind::Aggregate,
    summary: "The probability of improvement over several tasks: the mean over tasks of the probability that a run of arm a \
              is better than one of arm b, ties counting half; prob_improvement is that of one task, with its interval. \
              Tasks that one arm lacks are left out and counted in tasks_one_sided. error is empty_sample (no task has \
              both arms) or nonfinite_value.",
    parameters: &[X, ARM, A, B, TASK],
    returns: "struct(estimate, tasks, tasks_one_sided, n, n_nonfinite, error)",
    example: "SELECT benchmark_improvement(x, arm, 'new', 'old', task)['estimate'] AS p_better\nFROM (VALUES (0.5, 'new', 'a'), (0.7, 'new', 'a'), (0.6, 'old', 'a'), (0.9, 'new', 'b'), (0.8, 'old', 'b')) AS scores(x, arm, task)",
};

static PROFILE: Definition = Definition {
    name: "performance_profile",
    kind: FunctionKind::Aggregate,
    summary: "One point of a performance profile: the share of all scores above a threshold, tasks weighing alike; with of \
              => 'means' the share of tasks whose mean score is above it. Ask for several thresholds to draw the curve. \
              error is empty_sample or nonfinite_value.",
    parameters: &[
        required("x", ArgumentKind::Value, "the scores, one a run and task"),
        TASK,
        required("threshold", ArgumentKind::Number, "the score to exceed"),
        optional("of", ArgumentKind::Text, "'runs' (default) or 'means'"),
    ],
    returns: "struct(estimate, n, n_nonfinite, error)",
    example: "SELECT performance_profile(x, task, 0.6)['estimate'] AS above\nFROM (VALUES (0.5, 'a'), (0.7, 'a'), (0.9, 'b'), (1.1, 'b')) AS scores(x, task)",
};

pub(super) static FUNCTIONS: [GroupFunction; 3] = [
    GroupFunction {
        definition: &SCORES,
        fields: || {
            let numbers = ["mean", "median", "iqm", "optimality_gap"].map(number);
            numbers.into_iter().chain([("tasks", DataType::Int64), ("runs_min", DataType::Int64)]).collect()
        },
        prepare: Prepare::Sample(|constants, _| {
            let gamma = constants.number("gamma").unwrap_or(1.0);
            if !gamma.is_finite() {
                return constants.refuse("gamma", gamma, "give a finite score");
            }
            let answer = move |sample: &Sample<'_>| {
                let scores = tasks(&sample.by_label()).and_then(|tasks| tasks.aggregates(gamma));
                found(scores, |scores| {
                    let mut cells = known([scores.mean, scores.median, scores.iqm, scores.optimality_gap]);
                    cells.extend([scores.tasks, scores.runs_min].map(|n| Cell::Count(Some(n as u64))));
                    cells
                })
            };
            Ok((RowKey::Stratum, Box::new(answer)))
        }),
    },
    GroupFunction {
        definition: &IMPROVEMENT,
        fields: || {
            let counts = ["tasks", "tasks_one_sided"].map(|name| (name, DataType::Int64));
            [number("estimate")].into_iter().chain(counts).collect()
        },
        prepare: Prepare::Sample(|constants, _| {
            let key = Arms::read(constants)?.row_key_with_pairs();
            Ok((key, Box::new(|sample| found(improvement(sample), |cells| cells))))
        }),
    },
    GroupFunction {
        definition: &PROFILE,
        fields: || vec![number("estimate")],
        prepare: Prepare::Sample(|constants, _| {
            let threshold = constants.number("threshold").unwrap_or(f64::NAN);
            if threshold.is_nan() {
                return constants.refuse("threshold", "no number", "give the score to exceed");
            }
            let of_means = constants.one_of("of", &[("runs", false), ("means", true)])?;
            let answer = move |sample: &Sample<'_>| {
                let profile = |tasks: TaskScores| {
                    if of_means { tasks.mean_profile(&[threshold]) } else { tasks.profile(&[threshold]) }
                };
                found(tasks(&sample.by_label()).map(profile), |shares| {
                    shares.into_iter().map(|share| Cell::Number(Some(share))).collect()
                })
            };
            Ok((RowKey::Stratum, Box::new(answer)))
        }),
    },
];

fn tasks(by_task: &BTreeMap<&str, Vec<f64>>) -> analysis::Result<TaskScores> {
    TaskScores::new(&by_task.values().map(Vec::as_slice).collect::<Vec<_>>())
}

fn improvement(sample: &Sample<'_>) -> analysis::Result<Vec<Cell>> {
    let count = sample.values.iter().filter(|value| !value.is_finite()).count();
    if count > 0 {
        return Err(AnalysisError::NonfiniteValue { sample: "the scores".into(), count });
    }
    let [mut ours, mut theirs] = sample.arms_by_label();
    let all = ours.len() + theirs.len();
    ours.retain(|task, _| theirs.contains_key(task));
    theirs.retain(|task, _| ours.contains_key(task));
    let estimate = tasks(&ours)?.probability_of_improvement(&tasks(&theirs)?)?;
    let mut cells = known([estimate]);
    cells.extend([ours.len(), all - 2 * ours.len()].map(|count| Cell::Count(Some(count as u64))));
    Ok(cells)
}
