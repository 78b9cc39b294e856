"""Resampling kernels beside SciPy and rliable, on the same data in the same run.

    cargo build --release -p kernels --example resampling_times
    python3 benches/peers/resampling.py target/release/examples/resampling_times [CASE ...]

Needs numpy, scipy and rliable. The program times the kernels with all threads (set RAYON_NUM_THREADS for fewer) and
leaves its data and answers in a folder; the peers then get the same data. Each peer is run in its best form: batched
over all groups in one call, with the batch sizes listed here, and the fastest counts.
"""

import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy
from scipy import stats


def fastest(calls):
    """The shortest time of some calls that do the same, and what the first returned."""
    best, answer = np.inf, None
    for call in calls:
        start = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - start)
        answer = result if answer is None else answer
    return best, answer


def statistic_of_means(x, y, axis):
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)


def welch(x, y, axis):
    mx, my = x.mean(axis=axis), y.mean(axis=axis)
    vx, vy = x.var(axis=axis, ddof=1), y.var(axis=axis, ddof=1)
    return (mx - my) / np.sqrt(vx / x.shape[axis] + vy / y.shape[axis])


def main():
    program, wanted = sys.argv[1], sys.argv[2:]
    folder = Path(tempfile.mkdtemp())
    out = subprocess.run([program, str(folder)], check=True, capture_output=True, text=True)
    ours = {case["case"]: case for case in map(json.loads, out.stdout.splitlines())}
    load = lambda name: np.fromfile(folder / name)
    print(f"numpy {np.__version__}, scipy {scipy.__version__}, python {platform.python_version()}; {out.stderr.strip()}")
    rows = []

    def compare(case, peer, seconds, agreement):
        mine = ours[case]["seconds"]
        rows.append((case, peer, mine, seconds))
        print(
            f"{case:20} {peer:44} ours {mine:9.5f} s  peer {seconds:9.4f} s  ratio {seconds / mine:9.1f}"
            f"  {ours[case]['per_second'] / 1e9:6.2f} G/s  {agreement}",
            flush=True,
        )

    def asked(case):
        return not wanted or case in wanted

    rng = np.random.default_rng(1)
    data = load("bca_data").reshape(1000, 20)
    options = dict(n_resamples=10_000, method="BCa", rng=rng)
    ends = lambda case: (load(f"{case}_low"), load(f"{case}_high"))

    def distance(case, interval):
        low, high = ends(case)
        width = high - low
        far = np.maximum(abs(interval.low - low), abs(interval.high - high)) / width
        return f"largest distance of ends {far.max():.3f} widths, mean {far.mean():.4f}"

    for case, statistic in [
        ("bca", np.mean),
        ("bca_variance", lambda x, axis: np.var(x, axis=axis, ddof=1)),
        ("bca_iqm", lambda x, axis: stats.trim_mean(x, 0.25, axis=axis)),
    ]:
        if not asked(case):
            continue
        batches = [20, 100, 500] if case == "bca" else [100]
        calls = [
            lambda batch=batch: stats.bootstrap((data,), statistic, axis=1, vectorized=True, batch=batch, **options)
            for batch in batches
        ]
        seconds, answer = fastest(calls)
        compare(case, f"scipy.stats.bootstrap, batches {batches}", seconds, distance(case, answer.confidence_interval))
    if asked("bca"):
        loop = [lambda: [stats.bootstrap((row,), np.mean, vectorized=True, **options) for row in data]]
        seconds, _ = fastest(loop)
        compare("bca", "scipy.stats.bootstrap, loop over groups", seconds, "")

    first, second = (load(f"permutation_{name}").reshape(200, 10) for name in ("first", "second"))
    for case, statistic, kind, resamples in [
        ("permutation_drawn", statistic_of_means, "independent", 9_999),
        ("permutation_exact", statistic_of_means, "independent", np.inf),
        ("welch_drawn", welch, "independent", 9_999),
        ("welch_exact", welch, "independent", np.inf),
        ("signs_drawn", statistic_of_means, "samples", 1_000),
    ]:
        if not asked(case):
            continue
        # All 184,756 splits take too long for 200 comparisons: 20 of them, times ten.
        part = 20 if resamples == np.inf else 200
        batches = [100] if resamples == np.inf else [50, 500]
        calls = [
            lambda batch=batch: stats.permutation_test(
                (first[:part], second[:part]),
                statistic,
                permutation_type=kind,
                vectorized=True,
                axis=1,
                n_resamples=resamples,
                alternative="greater",
                batch=batch,
                rng=rng,
            )
            for batch in batches
        ]
        seconds, answer = fastest(calls)
        if case == "signs_drawn":
            # Ten pairs have 1,024 sign patterns: SciPy draws only below that number.
            seconds *= 9_999 / 1_000
        p = load(f"{case}_p")[:part]
        compare(
            case,
            f"scipy.stats.permutation_test, batches {batches}",
            seconds * 200 / part,
            f"largest difference of p {abs(answer.pvalue - p).max():.2e}",
        )
    if asked("ranks_exact"):
        call = [lambda: stats.mannwhitneyu(first, second, alternative="greater", method="exact", axis=1)]
        seconds, answer = fastest(call * 3)
        p = load("ranks_exact_p")
        compare("ranks_exact", "scipy.stats.mannwhitneyu, exact", seconds, f"largest difference of p {abs(answer.pvalue - p).max():.2e}")

    for case, tasks, runs in [("stratified_26x10", 26, 10), ("stratified_55x5", 55, 5)]:
        if not asked(case):
            continue
        from rliable import library, metrics

        scores = load(f"{case}_data").reshape(tasks, runs).T.copy()
        iqm = lambda x: np.array([metrics.aggregate_iqm(x)])
        seconds, answer = fastest([lambda: library.get_interval_estimates({"a": scores}, iqm, reps=50_000)])
        (low, high) = answer[1]["a"][:, 0]
        mine = load(f"{case}_ends")
        far = max(abs(low - mine[1]), abs(high - mine[2])) / (mine[2] - mine[1])
        compare(case, "rliable, 50,000 resamples", seconds, f"distance of ends {far:.4f} widths")
    return rows


if __name__ == "__main__":
    main()
