"""The bootstrap of a GPU machine's Python, on the data of `gpu_check`: SciPy on the CPU, CuPy and PyTorch on the device.

Prints one line a peer: groups, values a group, resamples, median seconds, draws a second. Peers that are not
installed are skipped by name.
"""

import statistics
import sys
import time

import numpy

RESAMPLES = 9_999
SHAPES = [(1_000, 20), (10_000, 20), (1_000, 100), (100, 1_000)]


def values(groups, n):
    index = numpy.arange(groups * n, dtype=numpy.int64)
    return ((index * 2_654_435_761 % 1_000_003) / 1_000_003.0).reshape(groups, n) ** 3


def seconds(call, runs):
    call()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def show(name, groups, n, taken):
    draws = groups * n * RESAMPLES / taken
    print(f"{name:<34} {groups:>7} {n:>6} {RESAMPLES:>9} {taken * 1e3:>12.2f} ms {draws:>12.3e} draws/s", flush=True)


def scipy_bca(groups, n):
    """SciPy in its best batched form: one call, groups along the first axis."""
    from scipy.stats import bootstrap

    data = values(groups, n)
    rng = numpy.random.default_rng(1)
    call = lambda: bootstrap((data,), numpy.mean, axis=-1, n_resamples=RESAMPLES, batch=100, method="BCa", rng=rng)
    show("scipy.stats.bootstrap BCa", groups, n, seconds(call, 1))


def percentile_by_product(name, library, to_device, wait):
    """Resamples shared by all groups: counts as a matrix, one product, then quantiles."""

    def run(groups, n):
        data = to_device(values(groups, n))

        def call():
            counts = library_counts(library, n)
            means = counts @ data.T / n
            quantiles(library, means)
            wait()

        show(name, groups, n, seconds(call, 5))

    return run


def library_counts(library, n):
    if library.__name__ == "torch":
        drawn = library.randint(0, n, (RESAMPLES, n), device="cuda")
        counts = library.zeros((RESAMPLES, n), dtype=library.float64, device="cuda")
        return counts.scatter_add_(1, drawn, library.ones_like(drawn, dtype=library.float64))
    drawn = library.random.randint(0, n, (RESAMPLES, n))
    counts = library.zeros((RESAMPLES, n))
    library.add.at(counts, (library.arange(RESAMPLES)[:, None], drawn), 1.0)
    return counts


def quantiles(library, means):
    if library.__name__ == "torch":
        ordered = library.sort(means, dim=0).values
        return ordered[[249, 9_749]]
    return library.quantile(means, library.asarray([0.025, 0.975]), axis=0)


def main():
    peers = []
    try:
        import scipy  # noqa: F401

        peers.append(("scipy", scipy_bca, [(1_000, 20)]))
    except ImportError:
        print("skipped: scipy is not installed")
    peers.append(("numpy", percentile_by_product("numpy, product, percentile", numpy, lambda x: x, lambda: None), SHAPES[:1]))
    try:
        import cupy

        wait = cupy.cuda.Device().synchronize
        peers.append(("cupy", percentile_by_product("cupy, product, percentile", cupy, cupy.asarray, wait), SHAPES))
    except ImportError:
        print("skipped: cupy is not installed")
    try:
        import torch

        if torch.cuda.is_available():
            to_device = lambda x: torch.as_tensor(x, device="cuda")
            peers.append(("torch", percentile_by_product("torch, product, percentile", torch, to_device, torch.cuda.synchronize), SHAPES))
        else:
            print("skipped: torch sees no device")
    except ImportError:
        print("skipped: torch is not installed")
    for name, peer, shapes in peers:
        for groups, n in shapes:
            try:
                peer(groups, n)
            except Exception as error:  # A peer that runs out of memory must not hide the others.
                print(f"{name} at {groups} x {n}: {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
