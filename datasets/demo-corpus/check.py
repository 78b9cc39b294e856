"""Reads the demo corpus with the clients' own readers and SciPy, and writes or checks truth.json.

    python check.py            # compares with truth.json; exit code 1 and the differences if anything differs
    python check.py --write    # writes truth.json

It fails, in both forms, when the data do not show what train.py built in: a better, a worse and a no-op arm.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import math
import os
import sys
from pathlib import Path

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import numpy as np  # noqa: E402
from scipy import stats  # noqa: E402

HERE = Path(__file__).resolve().parent
ALPHA, LOOKS, MIN_RUNS = 0.05, 2, 3
ALPHA_LOOK = ALPHA / LOOKS

Run = collections.namedtuple("Run", "id name experiment status params tags series")
# series: {metric: [(step, milliseconds, value)] in logged order}


def read_mlflow() -> tuple[list[str], list[Run]]:
    """Names of all experiments, and every run, through MlflowClient."""
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    for meta in (HERE / "mlflow").glob("*/*/meta.yaml"):
        # MLflow takes a run without this folder for no run at all, and git keeps no empty folders.
        (meta.parent / "artifacts").mkdir(exist_ok=True)
    client = mlflow.MlflowClient((HERE / "mlflow").as_uri())
    experiments = client.search_experiments()
    runs = []
    for experiment in experiments:
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            series = {
                key: [(m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, key)]
                for key in sorted(run.data.metrics)
            }
            runs.append(
                Run(
                    run.info.run_id,
                    run.info.run_name,
                    experiment.name,
                    run.info.status,
                    run.data.params,
                    run.data.tags,
                    series,
                )
            )
    return sorted(e.name for e in experiments), sorted(runs, key=lambda run: run.id)


def read_tensorboard() -> list[Run]:
    """Every folder with event files as one run, through EventAccumulator."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.util.tensor_util import make_ndarray

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    root = HERE / "tensorboard"
    runs = []
    for folder in sorted({path.parent for path in root.rglob("events.out.tfevents.*")}):
        events = EventAccumulator(str(folder), {"scalars": 0, "tensors": 0}, purge_orphaned_data=False)
        events.Reload()
        series, params, status = {}, {}, "RUNNING"
        for tag in events.Tags()["scalars"]:
            series[tag] = [(e.step, e.wall_time, e.value) for e in events.Scalars(tag)]
        for tag in events.Tags()["tensors"]:
            if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
                series[tag] = [(e.step, e.wall_time, float(make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]
        contents = events.PluginTagToContent("hparams")
        start = HParamsPluginData.FromString(contents["_hparams_/session_start_info"]).session_start_info
        for key, value in start.hparams.items():
            params[key] = getattr(value, value.WhichOneof("kind"))
        if "_hparams_/session_end_info" in contents:
            status = "FINISHED"
        name = folder.relative_to(root).as_posix()
        runs.append(Run(name, name, name.split("/")[0], status, params, {}, series))
    return runs


def number(value: float):
    """JSON has no NaN and Inf: they are strings."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def receipt(runs: list[Run]) -> dict:
    """What an importer must report: totals, totals of each metric, and one row a series."""
    totals, rows = {}, []
    for run in runs:
        for key, points in sorted(run.series.items()):
            values = [value for _, _, value in points]
            finite = [value for value in values if math.isfinite(value)]
            steps = [step for step, _, _ in points]
            nan = sum(map(math.isnan, values))
            infinite = len(values) - nan - len(finite)
            last = max(points, key=lambda point: (point[0], point[1]))[2]
            rows.append(
                [run.id, key, len(values), nan, infinite, min(steps), max(steps), math.fsum(finite), number(last)]
            )
            total = totals.setdefault(key, {"series": 0, "points": 0, "nan": 0, "infinite": 0, "finite": []})
            total["series"] += 1
            total["points"] += len(values)
            total["nan"] += nan
            total["infinite"] += infinite
            total["finite"] += finite
    for total in totals.values():
        total["sum_of_finite"] = math.fsum(total.pop("finite"))
    return {
        "runs": len(runs),
        "runs_by_experiment": dict(sorted(collections.Counter(run.experiment for run in runs).items())),
        "runs_by_status": dict(sorted(collections.Counter(run.status for run in runs).items())),
        "params": sum(len(run.params) for run in runs),
        "tags": sum(len(run.tags) for run in runs),
        "series": len(rows),
        "points": sum(row[2] for row in rows),
        "metrics": dict(sorted(totals.items())),
        "series_columns": ["run", "metric", "points", "nan", "infinite", "first_step", "last_step", "sum_of_finite", "last"],
        "series_rows": rows,
    }


def selected(runs: list[Run], selector: str) -> list[Run]:
    kind, _, rest = selector.partition(":")
    if kind == "experiment":
        return [run for run in runs if run.experiment == rest]
    key, _, value = rest.partition("=")
    return [run for run in runs if run.tags.get(key) == value]


def final(run: Run, metric: str) -> float:
    """The last value, NaN when the run failed: not finished, not finite, or no such metric."""
    if run.status != "FINISHED" or metric not in run.series:
        return math.nan
    value = max(run.series[metric])[2]
    return value if math.isfinite(value) else math.nan


def decide(mode: str, margin: float, low: float, high: float) -> str:
    if mode == "better":
        return "pass" if low > margin else "fail" if high < margin else "inconclusive"
    if mode == "not_worse":
        return "pass" if low > -margin else "fail" if high < -margin else "inconclusive"
    if low > -margin and high < margin:
        return "pass"
    return "fail" if high < -margin or low > margin else "inconclusive"


def gate(runs, baseline, candidate, metric, direction, mode, margin, pair_by=None) -> dict:
    """One gate question and its answer: Welch (or the paired t test) at alpha/looks, failed runs by Fisher's test."""
    question = {
        "baseline": baseline,
        "candidate": candidate,
        "metric": metric,
        "direction": direction,
        "mode": mode,
        "margin": margin,
        "pair_by": pair_by,
        "alpha": ALPHA,
        "looks": LOOKS,
        "alpha_look": ALPHA_LOOK,
    }
    base_runs, cand_runs = selected(runs, baseline), selected(runs, candidate)
    base_all, cand_all = ([final(run, metric) for run in arm] for arm in (base_runs, cand_runs))
    base, cand = (np.array([x for x in arm if not math.isnan(x)]) for arm in (base_all, cand_all))
    counts = {
        "n_baseline": len(base),
        "n_candidate": len(cand),
        "failed_baseline": len(base_all) - len(base),
        "failed_candidate": len(cand_all) - len(cand),
    }

    def answer(verdict, reason=None, **numbers):
        codes = {"pass": 0, "fail": 1, "inconclusive": 3, "nothing_matched": 5}
        expected = {"verdict": verdict, "reason": reason, "exit_code": codes[verdict]}
        return {**question, "expected": expected, "scipy": {**counts, **numbers}}

    if not base_all or not cand_all:
        return answer("nothing_matched")
    if len(cand) == 0:
        return answer("fail", "all_runs_failed")
    table = [
        [counts["failed_candidate"], counts["n_candidate"]],
        [counts["failed_baseline"], counts["n_baseline"]],
    ]
    fisher = float(stats.fisher_exact(table, alternative="greater").pvalue)
    if fisher <= ALPHA_LOOK:
        return answer("fail", "failure_rate", fisher_p=fisher)
    if min(len(base), len(cand)) < MIN_RUNS:
        return answer("inconclusive", "too_few_runs")
    sign = 1.0 if direction == "max" else -1.0
    if pair_by:
        by_key = {run.params[pair_by]: final(run, metric) for run in base_runs}
        differences = np.array([sign * (final(r, metric) - by_key[r.params[pair_by]]) for r in cand_runs])
        test = stats.ttest_1samp(differences, 0.0)
        estimate = float(differences.mean())
        se = float(stats.sem(differences))
    else:
        test = stats.ttest_ind(sign * cand, sign * base, equal_var=False)
        estimate = float(sign * (cand.mean() - base.mean()))
        se = math.sqrt(cand.var(ddof=1) / len(cand) + base.var(ddof=1) / len(base))
    interval = test.confidence_interval(1 - 2 * ALPHA_LOOK)
    low, high, df = float(interval.low), float(interval.high), float(test.df)
    upper_tail = lambda threshold: float(stats.t.sf((estimate - threshold) / se, df))  # noqa: E731
    lower_tail = lambda threshold: float(stats.t.cdf((estimate - threshold) / se, df))  # noqa: E731
    p = {
        "better": upper_tail(margin),
        "not_worse": upper_tail(-margin),
        "equivalent": max(upper_tail(-margin), lower_tail(margin)),
    }[mode]
    return answer(
        decide(mode, margin, low, high),
        method="paired_t" if pair_by else "welch_t",
        mean_baseline=float(base.mean()),
        mean_candidate=float(cand.mean()),
        sd_baseline=float(base.std(ddof=1)),
        sd_candidate=float(cand.std(ddof=1)),
        estimate=estimate,
        se=se,
        df=df,
        low=low,
        high=high,
        p_pass=p,
        p_two_sided=float(test.pvalue),
    )


# (candidate, metric, direction, mode, margin, pair_by) -> the verdict that train.py was designed for.
QUESTIONS = [
    ("experiment:augmentation", "test/acc", "max", "better", 0.0, None, "pass"),
    ("tag:arm=shift", "test/acc", "max", "better", 0.0, None, "pass"),
    ("tag:arm=shift", "test/acc", "max", "better", 0.0, "seed", "pass"),
    ("tag:arm=shift", "test/loss", "min", "better", 0.0, None, "pass"),
    ("tag:arm=shift", "test/acc", "max", "not_worse", 0.01, None, "pass"),
    ("tag:arm=shift", "test/acc", "max", "equivalent", 0.01, None, "fail"),
    ("experiment:architecture", "test/acc", "max", "better", 0.0, None, "pass"),
    ("experiment:learning-rate", "test/acc", "max", "better", 0.0, None, "fail"),
    ("experiment:learning-rate", "test/acc", "max", "not_worse", 0.01, None, "fail"),
    ("experiment:learning-rate", "test/loss", "min", "not_worse", 0.1, None, "fail"),
    ("experiment:noop", "test/acc", "max", "better", 0.0, None, "inconclusive"),
    ("experiment:noop", "test/loss", "min", "better", 0.0, None, "inconclusive"),
    ("experiment:noop", "test/acc", "max", "not_worse", 0.01, None, "pass"),
    ("experiment:noop", "test/acc", "max", "equivalent", 0.01, None, "pass"),
    ("experiment:own-softmax", "test/loss", "min", "not_worse", 0.1, None, "fail"),
    ("tag:arm=no-space", "test/acc", "max", "better", 0.0, None, "fail"),
    ("tag:arm=resumed", "test/acc", "max", "better", 0.0, None, "inconclusive"),
    ("tag:arm=never-trained", "test/acc", "max", "better", 0.0, None, "nothing_matched"),
]


def importance(runs: list[Run], metric: str) -> dict:
    """Main effects of the balanced sweep: share of the total sum of squares and F test of each factor."""
    factors = ("lr", "hidden", "batch_size", "prefetch")
    cells = collections.defaultdict(list)
    for run in runs:
        if run.experiment == "sweep":
            cells[tuple(run.params[factor] for factor in factors)].append(run.series[metric][-1][2])
    keys = sorted(cells)
    sizes = {len(values) for values in cells.values()}
    assert len(sizes) == 1, f"the sweep is not balanced: {sizes}"
    values = np.array([cells[key] for key in keys])
    mean, total = values.mean(), float(((values - values.mean()) ** 2).sum())
    within = float(((values - values.mean(axis=1, keepdims=True)) ** 2).sum())
    within_df = values.size - len(keys)
    result = {}
    for index, factor in enumerate(factors):
        levels = sorted({key[index] for key in keys})
        means = [values[[key[index] == level for key in keys]].mean() for level in levels]
        square = float(sum((m - mean) ** 2 for m in means) * values.size / len(levels))
        f = (square / (len(levels) - 1)) / (within / within_df)
        result[factor] = {
            "levels": levels,
            "means": [float(m) for m in means],
            "share_of_variance": square / total,
            "f": f,
            "p": float(stats.f.sf(f, len(levels) - 1, within_df)),
        }
    best = max(keys, key=lambda key: np.mean(cells[key]) * (1 if metric.endswith("acc") else -1))
    return {
        "metric": metric,
        "runs": int(values.size),
        "seeds_per_setting": sizes.pop(),
        "main_effects": result,
        "seed_noise_share": within / total,
        "ranking": sorted(result, key=lambda factor: -result[factor]["share_of_variance"]),
        "no_effect": "prefetch",
        "best_setting_by_mean": dict(zip(factors, best)),
    }


def truth() -> tuple[dict, list[str]]:
    """The content of truth.json, and what contradicts the design."""
    problems = []
    experiments, mlflow_runs = read_mlflow()
    tensorboard_runs = read_tensorboard()
    gates = []
    for candidate, metric, direction, mode, margin, pair_by, designed in QUESTIONS:
        found = gate(mlflow_runs, "tag:arm=baseline", candidate, metric, direction, mode, margin, pair_by)
        gates.append(found)
        if found["expected"]["verdict"] != designed:
            problems.append(f"gate {candidate} {metric} {mode}: built to {designed}, data say {found}")
    sweeps = [importance(tensorboard_runs, metric) for metric in ("test/acc", "test/loss")]
    for sweep in sweeps:
        effects = sweep["main_effects"]
        if sweep["ranking"][0] != "lr" or sweep["ranking"][-1] != "prefetch":
            problems.append(f"sweep on {sweep['metric']}: ranking {sweep['ranking']}")
        if effects["prefetch"]["p"] < 0.05 or any(effects[f]["p"] > 1e-3 for f in ("lr", "hidden")):
            problems.append(f"sweep on {sweep['metric']}: p of {({f: e['p'] for f, e in effects.items()})}")
    histories = collections.Counter(
        json.dumps([run.params, {k: [p[2] for p in v] for k, v in run.series.items()}], sort_keys=True)
        for run in mlflow_runs + tensorboard_runs
    )
    if max(histories.values()) > 1:
        problems.append("two runs have the same settings, seed and history")
    document = {
        "schema": 1,
        "about": "Expected by construction and read back by check.py; see README.md. JSON strings NaN, Infinity.",
        "mlflow": {"root": "mlflow", "experiments": experiments, **receipt(mlflow_runs)},
        "tensorboard": {"root": "tensorboard", **receipt(tensorboard_runs)},
        "gates": gates,
        "importance": sweeps,
    }
    return document, problems


def render(document: dict) -> str:
    """JSON with one line a series row, so that a changed series is a changed line."""
    text = json.dumps(document, indent=1, sort_keys=False, allow_nan=False)
    for source in ("mlflow", "tensorboard"):
        rows = document[source]["series_rows"]
        pretty = json.dumps(rows, indent=1).replace("\n", "\n  ")
        flat = "[\n   " + ",\n   ".join(json.dumps(row, allow_nan=False) for row in rows) + "\n  ]"
        assert pretty in text, source
        text = text.replace(pretty, flat)
    return text + "\n"


def differences(kept, found, path="") -> list[str]:
    """Where two documents differ; floats that a sum may round differently agree to 1e-12."""
    if isinstance(kept, dict) and isinstance(found, dict):
        keys = sorted(kept.keys() | found.keys())
        return [d for key in keys for d in differences(kept.get(key), found.get(key), f"{path}/{key}")]
    if isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        return [d for i, pair in enumerate(zip(kept, found)) for d in differences(*pair, f"{path}/{i}")]
    if isinstance(kept, float) and isinstance(found, float) and math.isclose(kept, found, rel_tol=1e-9):
        return []
    return [] if kept == found else [f"{path}: truth.json has {kept!r}, the logs say {found!r}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="write truth.json instead of comparing with it")
    arguments = parser.parse_args()
    document, problems = truth()
    if arguments.write:
        (HERE / "truth.json").write_text(render(document))
    else:
        problems += differences(json.loads((HERE / "truth.json").read_text()), json.loads(render(document)))
    for gate_ in document["gates"]:
        numbers = gate_["scipy"]
        print(
            f"{gate_['candidate']:26} {gate_['metric']:9} {gate_['mode']:10} {gate_['margin']:<5}"
            f" {gate_['expected']['verdict']:15} {gate_['expected']['reason'] or '':15}"
            f" D={numbers.get('estimate', math.nan):+.4f} [{numbers.get('low', math.nan):+.4f},"
            f" {numbers.get('high', math.nan):+.4f}] n={numbers['n_baseline']}+{numbers['n_candidate']}"
        )
    for sweep in document["importance"]:
        shares = {f: f"{e['share_of_variance']:.3f} (p {e['p']:.2g})" for f, e in sweep["main_effects"].items()}
        print(f"sweep {sweep['metric']}: {shares}, seed noise {sweep['seed_noise_share']:.3f}")
    for source in ("mlflow", "tensorboard"):
        kept = document[source]
        print({source: {k: kept[k] for k in ("runs", "runs_by_status", "params", "tags", "series", "points")}})
    for problem in problems:
        print("PROBLEM:", problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
