"""Importances beside Optuna on the same table, in one run.

    cargo build --release -p kernels --example importance
    python benches/peers/importance.py target/release/examples/importance

Needs optuna 5 with scikit-learn and numpy. Optuna's fANOVA of 10,000 trials is timed with few
trees and scaled to 64: its time is proportional to the number of trees, which the run of 1,000
trials checks.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
PARAMETERS = 10


def table(trials):
    random = np.random.default_rng(20261122)
    columns = random.random((PARAMETERS, trials))
    objective = 4 * columns[0] + 2 * columns[1] + columns[2] * columns[3] + 0.5 * random.random(trials)
    return columns, objective


def study_of(columns, objective):
    spaces = {f"x{i}": optuna.distributions.FloatDistribution(0.0, 1.0) for i in range(PARAMETERS)}
    study = optuna.create_study()
    study.add_trials(
        optuna.trial.create_trial(
            params={f"x{i}": float(columns[i, row]) for i in range(PARAMETERS)},
            distributions=spaces,
            value=float(objective[row]),
        )
        for row in range(len(objective))
    )
    return study


def ours(binary, method, columns, objective):
    with tempfile.NamedTemporaryFile() as file:
        np.concatenate([objective, *columns]).astype("<f8").tofile(file.name)
        runs = []
        for _ in range(5):
            text = subprocess.check_output([binary, method, str(len(objective)), str(PARAMETERS), file.name])
            runs.append(json.loads(text))
    return sorted(runs, key=lambda run: run["seconds"])[2]


def peer(study, evaluator):
    start = time.perf_counter()
    importance = evaluator.evaluate(study)
    seconds = time.perf_counter() - start
    return seconds, [importance[f"x{i}"] for i in range(PARAMETERS)]


def line(name, theirs, mine, note=""):
    difference = max(abs(a - b) for a, b in zip(theirs[1], mine["importance"]))
    print(
        f"| {name} | {theirs[0]:.3f} s{note} | {1000 * mine['seconds']:.1f} ms | {theirs[0] / mine['seconds']:.0f}x"
        f" | {difference:.2g} |",
        flush=True,
    )


def main():
    binary = sys.argv[1]
    only = sys.argv[2:]
    print(f"optuna {optuna.__version__}, {os.cpu_count()} cores")
    print("| what | Optuna | Runlake | ratio | greatest difference |\n|---|---:|---:|---:|---:|")
    for trials, trees in [(1_000, 64), (1_000, 4), (10_000, 2)]:
        if only and f"fanova{trials}x{trees}" not in only:
            continue
        columns, objective = table(trials)
        study = study_of(columns, objective)
        seconds, importance = peer(study, FanovaImportanceEvaluator(n_trees=trees, seed=1))
        note = "" if trees == 64 else f" ({trees} trees took {seconds:.1f} s, scaled)"
        theirs = (seconds * 64 / trees, importance)
        for method, label in [("fanova", "singles"), ("pairs", "singles and 45 pairs")]:
            line(f"fANOVA, {trials:,} trials, {label}", theirs, ours(binary, method, columns, objective), note)
    for trials in [10_000, 100_000]:
        if only and f"ped{trials}" not in only:
            continue
        columns, objective = table(trials)
        study = study_of(columns, objective)
        theirs = peer(study, PedAnovaImportanceEvaluator())
        for method, label in [("ped", "no intervals"), ("ped_intervals", "200 resamples for intervals")]:
            line(f"PED-ANOVA, {trials:,} trials, {label}", theirs, ours(binary, method, columns, objective))


if __name__ == "__main__":
    main()
